"""`ReplBarrier`: a point that a fixed number of callers reach before any of them goes on.

They wait in the log, and the arrival of the last one lets all pass, in the same entry. Whoever
leaves before that, by a time-out, a cancel, or as its session expires, breaks the barrier for all.
"""

from threading import BrokenBarrierError
from types import TracebackType

from ..errors import Withdrawn
from ..objects.context import current_context
from ..objects.port import Steps
from ..objects.replicated import Replicated, operation, reading, replicated
from ..objects.waiters import Waiters
from .waiting import Wait


class ReplBarrier(Replicated):
    """A replicated `threading.Barrier`: `wait`, `reset`, `abort`, `parties`, `n_waiting`, `broken`.

    Without an `action`, which no member could be made to run before all others go on; let who is
    given the index 0 do what has to be done. `await barrier.wait.submit()` is for asyncio, and
    `async with barrier as index:`, as of an `asyncio.Barrier`; cancelling such a wait breaks the
    barrier, as does a time-out.

    If the leader is lost, waits go on under the next one. If the session of a node that waits
    expires (`Config.session_ttl`), the barrier is broken, as nobody can know whether it comes back.

    Each call is one log entry; a time-out takes a second one. The last arrival, `reset`, `abort`
    and a time-out take O(parties), all else O(1).

    >>> ReplBarrier(3)  # doctest: +ELLIPSIS
    <ReplBarrier at 0x...: waiters=0/3>
    """

    LOCAL = frozenset({"_timeout"})

    def __init__(self, parties: int, *, timeout: float | None = None) -> None:
        """`parties`: how many have to come, the same on every member.

        `timeout`: what `wait` takes if it is given none, in seconds; on this member only.

        Raises:
            ValueError: `parties` is below 1.
        """
        if parties < 1:
            raise ValueError(f"a ReplBarrier is for 1 or more parties, not {parties}")
        self._parties = parties
        self._timeout = timeout
        self._broken = False
        self._waiters = Waiters()

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments that are replicated."""
        return {"parties": self._parties}

    @property
    def parties(self) -> int:
        """How many have to come before all of them pass."""
        return self._parties

    @property
    def n_waiting(self) -> int:
        """How many wait, as far as this member knows."""
        with reading(self):
            return len(self._waiters)

    @property
    def broken(self) -> bool:
        """Whether the barrier is broken, as far as this member knows."""
        with reading(self):
            return self._broken

    @operation
    def wait(self, timeout: float | None = None) -> Steps[int]:
        """Wait until all parties have come; return as which of them this one came, from 0 on.

        Without a quorum it takes a second more than `timeout` at the most to end.

        Raises:
            threading.BrokenBarrierError: it was broken or reset, or is broken already; or time ran
                out, which has broken it.
            Withdrawn: time ran out before this call reached the cluster. It broke nothing.
            OutcomeUnknown: time ran out without an answer. If it waits still, that breaks the
                barrier as soon as the cluster answers.
            ResultLost: the wait has ended, but this node had to take a snapshot in place of how.
        """
        wait: Wait[int] = Wait(self, "wait", self._arrive.submit, self._leave.submit)
        timeout = self._timeout if timeout is None else timeout
        index = yield from wait.served(timeout)
        if index is None:
            raise Withdrawn(f"{wait.name}: not sent within {timeout} s; it was taken back")
        return index

    async def __aenter__(self) -> int:
        return await self.wait.submit()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Do nothing: all have passed already."""

    @replicated
    def abort(self) -> None:
        """Break the barrier: who waits, and who comes before `reset`, is told that it is broken."""
        self._break()

    @replicated
    def reset(self) -> None:
        """Make the barrier as new; who waits is told that it is broken."""
        self._broken = False
        self._waiters.refuse_all(BrokenBarrierError())

    # The commands behind wait

    @replicated
    def _arrive(self, ticket: int) -> int:
        if self._broken:
            raise BrokenBarrierError
        before = len(self._waiters)
        if before + 1 < self._parties:
            return self._waiters.park(ticket)  # type: ignore[no-any-return]
        for index in range(before):
            self._waiters.serve(index)
        return before

    @replicated
    def _leave(self, ticket: int) -> None:
        if (current_context().session, ticket) in self._waiters:
            self._break()

    def on_session_expired(self, session: int) -> None:
        """Break the barrier if the session waits there."""
        if any(owner == session for owner, _ in self._waiters):
            self._break()

    def _break(self) -> None:
        self._broken = True
        self._waiters.refuse_all(BrokenBarrierError())

    def __repr__(self) -> str:
        name = "" if self._binding is None else f"{self._binding.name!r} "
        state = "broken" if self.broken else f"waiters={self.n_waiting}/{self._parties}"
        return f"<{type(self).__name__} {name}at {id(self):#x}: {state}>"

    def _check(self) -> None:
        assert len(self._waiters) < self._parties, (len(self._waiters), self._parties)
        assert not (self._broken and self._waiters), len(self._waiters)
