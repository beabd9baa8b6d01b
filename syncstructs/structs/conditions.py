"""`ReplCondition`: a lock, and callers that sleep until somebody who holds it notifies them.

It is a lock of its own, so that to release the lock and to fall asleep is one command: nobody can
notify in between. Who is notified, or whose time is over, goes from the sleepers to the end of the
lock's line in the log, and is served there as everybody is. So `wait` returns with the lock.

A wake-up is not lost: if who was notified leaves before it has released the lock again, because it
was cancelled, or as its session ended, the next sleeper is notified in its place.
"""

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from ..errors import (
    Cancelled,
    LockLost,
    NotApplied,
    NotOwner,
    ResultLost,
    SessionExpired,
    SyncError,
)
from ..objects.context import current_context
from ..objects.port import Steps, cleaning
from ..objects.replicated import bound, operation, reading, replicated
from ..objects.waiters import Waiters
from .holding import TIMEOUT_MAX, Grant, named
from .locks import ReplLock
from .waiting import WITHDRAW_GRACE

if TYPE_CHECKING:
    from ..futures import Future

T = TypeVar("T")

Waiter = tuple[int, int]
"""Who sleeps or waits: a session, and a ticket of it."""


class ReplCondition(ReplLock):
    """A replicated `threading.Condition`: `wait`, `wait_for`, `notify`, `notify_all`, and a lock.

    Its lock is its own. All that `ReplLock` says of waiting, tokens, sessions and `on_lost` goes
    for it, too. It is held by one thread (in asyncio, by one task) of one node, as in `threading`:
    nobody else may release it, wait or notify. But it is not reentrant.

    `await condition.wait.submit(timeout=5)` and `await condition.wait_for_async(...)` are for
    asyncio. Cancelling such a call ends the wait at once, without the lock: releasing it raises
    `LockLost` then, which the end of an `async with` block keeps to itself. Mind that
    `asyncio.wait_for` of CPython 3.11 runs a coroutine in another task, which does not hold the
    lock: give `wait_for_async` its `timeout` instead.

    Wait in a loop, or by `wait_for`: who is notified may find that another caller was faster, and
    `wait` may return True although nobody has notified it, if the session of its node ended while
    it slept (`Config.session_ttl`), or a snapshot took the place of the answer. It has the lock
    again then, but may have missed something. Reads on this member that follow see all that was
    changed before the lock was granted.

    If the session of the holder ends, who waits longest is granted the lock. Sleepers of other
    sessions sleep on; but one is woken in place of a holder that had been notified, and may have
    died before it did anything.

    If the leader is lost, sleepers sleep on, and are notified under the next one. A time-out runs
    on meanwhile; but the lock is acquired again without a time limit. Only a call that has not left
    this node when its time is over has nothing to acquire: it ends within a second.

    `wait` is one log entry, which releases the lock, too; a time-out takes a second one. `notify`
    is one entry, and takes O(number of those woken); all else O(1), and O(sleepers) when a session
    expires.

    >>> ReplCondition()  # doctest: +ELLIPSIS
    <unlocked ReplCondition object with 0 asleep at 0x...>
    """

    def __init__(self, on_lost: Callable[[], object] | None = None) -> None:
        super().__init__(on_lost)
        self._sleepers = Waiters()
        # Who was notified, and has not released the lock since.
        self._notified: dict[Waiter, None] = {}

    # Commands

    @replicated
    def _sleep(self, key: None, ticket: int, token: int) -> tuple[int, int]:
        """Release the lock and sleep; return session and token under which it is held again."""
        self._ensure_holder(token)
        parked: tuple[int, int] = self._sleepers.park(ticket)
        self._let_go()
        return parked

    @replicated
    def _rouse(self, key: None, ticket: int) -> bool:
        """Let a sleeper whose time is over wait for the lock; return whether it was asleep."""
        return self._line_up((current_context().session, ticket))

    @replicated
    def _notify(self, key: None, token: int, n: int | None) -> None:
        """Let so many sleepers (None: all) wait for the lock, those first that came first."""
        self._ensure_holder(token)
        self._wake(len(self._sleepers) if n is None else n)

    @replicated
    def _withdraw(self, key: None, ticket: int) -> None:
        """End the sleep or the wait of a ticket, or free what it was granted meanwhile."""
        if not self._sleepers.cancel(ticket):
            self._pass_on([(current_context().session, ticket)])
            super()._withdraw(key, ticket)

    @replicated
    def _release(self, key: None, token: int) -> bool:
        """Free the lock if it is still held under that token; return whether it was."""
        holder = self._holders.get(None)
        if holder is None or holder[2] != token:
            return False
        self._let_go()
        return True

    def on_session_expired(self, session: int) -> None:
        """Forget all waits of the session, and give its lock and its wake-ups to others."""
        self._sleepers.expire(session)
        self._pass_on([waiter for waiter in self._notified if waiter[0] == session])
        super().on_session_expired(session)

    def initial_state(self) -> Any:
        """Return the state of a new object, of which nobody was notified."""
        return super().initial_state() | {"_notified": {}}

    def _let_go(self) -> None:
        """Free the lock, whose holder has come back from what it was notified of."""
        self._notified.pop(self._holders[None][:2], None)
        self._free(None)

    def _pass_on(self, gone: list[Waiter]) -> None:
        """Notify others in place of those who were notified, and will not come back."""
        for waiter in gone:
            if waiter in self._notified:
                del self._notified[waiter]
                self._wake(1)

    def _wake(self, n: int) -> None:
        for waiter in list(islice(self._sleepers, max(0, min(n, len(self._sleepers))))):
            self._notified[waiter] = None
            self._line_up(waiter)

    def _line_up(self, waiter: Waiter) -> bool:
        """Let a sleeper wait for the lock, behind all who do; return whether it was asleep."""
        if not self._sleepers.move(*waiter, self._waiters):
            return False
        self._lines.setdefault(None, OrderedDict())[waiter] = None
        if None not in self._holders:
            self._grant_first(None)
        return True

    def _ensure_holder(self, token: int) -> None:
        if self._holders.get(None, (0, 0, 0))[2] != token:
            raise LockLost(f"{self._describe(None)} is no longer held under token {token}")

    # The calling side

    @operation
    def wait(self, timeout: float | None = None) -> Steps[bool]:
        """Release the lock, sleep until notified, for `timeout` seconds at most, and acquire it.

        Return whether it was notified in time; see above for when True says less than that. The
        lock is held again, under a new token, however long that takes: also if time ran out.

        Raises:
            NotOwner: the lock is not held by this thread or task. It is a `RuntimeError`.
            LockLost: it was lost before this call; or no leader was known, as it was to be acquired
                anew after the session had ended.
            Withdrawn: no leader was known for `Config.call_timeout`. The lock is held as before.
            OutcomeUnknown: there was no answer for as long. The lock is not held by this call, and
                nothing of it sleeps or waits once the cluster answers.
            TypeError, OverflowError: the time-out is no number, or too large. The lock is held.
        """
        if timeout is not None and timeout > TIMEOUT_MAX:
            raise OverflowError("timeout value is too large")
        grant = self._own()
        # As long as it sleeps, a release is told that the lock is gone, whenever that may come.
        self._forget(grant)
        self._note_losses([grant])
        try:
            is_back, is_notified = yield from self._sleeping(grant, timeout)
        except NotApplied:
            self._keep(grant)
            self._forget_loss(grant)
            raise
        if not is_back:
            try:
                yield from self._acquiring_for(grant.caller, None, True, None)
            except NotApplied as error:
                what = f"{self._describe(None)} was lost asleep, and not acquired again"
                raise LockLost(what) from error
        self._forget_loss(grant)
        return is_notified

    def _sleeping(self, grant: Grant, timeout: float | None) -> Steps[tuple[bool, bool]]:
        """Sleep; return whether the lock is held again, and whether time did not run out."""
        ticket = bound(self).port.ticket()
        future = self._sleep.submit(None, ticket, grant.token)
        is_notified = True
        try:
            if not (yield future, timeout):
                # In an operation of its own: from here on, no time-out ends it.
                rousing = bound(self).port.start(self._rousing(ticket))
                if not (yield rousing, WITHDRAW_GRACE) and future.cancel():
                    # It was never sent, so the lock was never released.
                    self._keep(grant)
                    return True, False
                is_notified = not (yield rousing)
            served = yield future
        except SessionExpired:
            return False, is_notified
        except ResultLost:
            cleaning(self._withdraw.submit, None, ticket)
            return False, is_notified
        except Cancelled:
            with suppress(SyncError):
                if future.cancel():
                    cleaning(self._release.submit, None, grant.token)
                else:
                    cleaning(self._withdraw.submit, None, ticket)
            raise
        if self._granted(served, None, grant.caller) is None:
            cleaning(self._withdraw.submit, None, ticket)
            return False, is_notified
        return True, is_notified

    def _rousing(self, ticket: int) -> Steps[bool]:
        """End a sleep whose time is over; return whether it has lasted until then."""
        try:
            asleep: bool = yield cleaning(self._rouse.submit, None, ticket)
        except SyncError:
            return False
        return asleep

    def wait_for(self, predicate: Callable[[], T], timeout: float | None = None) -> T:
        """Wait until `predicate()` is true, `timeout` seconds at most; return what it returned.

        It is called here, while the lock is held: at first, and after each wake-up. What it raises
        is raised here; all else is as with `wait`.
        """
        left = self._clock(timeout)
        while not (result := predicate()) and (seconds := left()) != 0:
            self.wait(seconds)
        return result

    async def wait_for_async(
        self, predicate: Callable[[], T], timeout: float | None = None
    ) -> T:
        """Do as `wait_for` in an event loop."""
        left = self._clock(timeout)
        while not (result := predicate()) and (seconds := left()) != 0:
            await self.wait.submit(seconds)
        return result

    def _clock(self, timeout: float | None) -> Callable[[], float | None]:
        """Return what tells how much of a time-out is left; None: it has no end."""
        if timeout is None:
            return lambda: None
        now = bound(self).port.now
        deadline = now() + timeout
        return lambda: max(0.0, deadline - now())

    @operation
    def notify(self, n: int = 1) -> Steps[None]:
        """Wake `n` callers that sleep, or as many as there are; those first that came first.

        Each goes on once it has the lock, after this caller has released it.

        Raises:
            NotOwner: the lock is not held by this thread or task. It is a `RuntimeError`.
            LockLost: it was lost while it was held here. Nobody was woken.
        """
        yield from self._notifying(n)

    @operation
    def notify_all(self) -> Steps[None]:
        """Wake all callers that sleep, as `notify` does."""
        yield from self._notifying(None)

    def _notifying(self, n: int | None) -> Steps[None]:
        try:
            yield self._notify.submit(None, self._own().token, n)
        except SessionExpired:
            raise LockLost(f"{self._describe(None)} was lost; nobody was notified") from None

    # Only who has acquired the lock has it

    def _own(self) -> Grant:
        """Return the caller's grant, which it keeps; unlike a release, this reports no loss."""
        grant = self._found(None)
        if grant is not None:
            return grant
        if self._meant(list(self._lost.get(None, {}).values()), None) is not None:
            raise LockLost(f"{self._describe(None)} was lost while it was held here")
        raise NotOwner(f"{self._describe(None)} is not held by this thread or task")

    def _meant(self, grants: list[Grant], token: int | None) -> Grant | None:
        caller = bound(self).port.caller()
        return super()._meant([grant for grant in grants if grant.caller == caller], token)

    def _releasing(self, key: None, token: int | None) -> Steps[None]:
        # A block ends under another token than it began with if it has slept.
        return super()._releasing(key, None)

    def _give_up(self, grant: Grant) -> "Future[Any]":
        # Not as a release, which says that what it was notified of is done.
        with reading(self):
            holder = self._holders.get(None)
        if holder is None or holder[2] != grant.token:
            return super()._give_up(grant)
        return self._withdraw.submit(None, holder[1])

    def _forget_loss(self, grant: Grant) -> None:
        self._lost.get(None, {}).pop(grant.token, None)

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        with reading(self):
            asleep = len(self._sleepers)
        return (
            f"<{state} {type(self).__name__} object {named(self)}with {asleep} asleep"
            f" at {id(self):#x}>"
        )

    def _check(self) -> None:
        super()._check()
        waiting = {*self._waiters, *(holder[:2] for holder in self._holders.values())}
        assert waiting.isdisjoint(self._sleepers), (waiting, list(self._sleepers))
        assert waiting.issuperset(self._notified), (waiting, self._notified)
