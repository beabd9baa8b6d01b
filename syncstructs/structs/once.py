"""`ReplOnce`: a function that is run once in the whole cluster, and whose result all callers get.

The first caller is told to run it, under a fencing token, and the others wait in the log. Its
result is put into the log for all. If it fails, or its session expires, who waits longest runs it.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from ..codec import copy
from ..errors import ResultLost, SessionExpired, SyncError, Timeout
from ..objects.context import current_context
from ..objects.port import Steps, cleaning
from ..objects.replicated import Replicated, operation, reading, replicated
from ..objects.waiters import Waiters
from .waiting import Wait

T = TypeVar("T")

_runs: ContextVar[tuple[tuple["ReplOnce[Any]", int], ...]] = ContextVar(
    "syncstructs_runs", default=()
)
"""The runs that the running thread or task is in: of what, and under which token."""


class ReplOnce(Replicated, Generic[T]):
    """What is done once in the whole cluster, such as Go's `sync.Once`; with a result for all.

    At least once, to be honest: one run counts, but there may be others before it. A function that
    raised may have done half of its work, and the process of one whose session has expired may be
    at work still. So pass `once.token` to what the function changes, and let that refuse tokens
    smaller than the greatest it has seen: each run has a greater one. A late run does not count,
    and its caller gets the result of the one that does.

    A run is two log entries, a wait for another's one, and a time-out or a failure takes one more.
    Where the result is known, `run` costs none, and copies the result. The end of a run takes
    O(number of waits), all else O(1).

    If the leader is lost, the run and the waits for it go on under the next one. When the session
    of the node that runs it expires (`Config.session_ttl`), who waits longest runs it.
    """

    def __init__(self) -> None:
        self._done = False
        self._result: Any = None
        self._runner: tuple[int, int, int] | None = None
        """Who runs it: the session, the ticket it asked with, and the token."""
        self._waiters = Waiters()

    @property
    def done(self) -> bool:
        """Whether a run has counted, as far as this member knows. It stays so."""
        with reading(self):
            return self._done

    @property
    def token(self) -> int | None:
        """The fencing token of the run that the calling thread or task is in; None outside."""
        return next((token for once, token in reversed(_runs.get()) if once is self), None)

    def run(self, function: Callable[[], T], *, timeout: float | None = None) -> T:
        """Return the result of the run that counts; run `function` here if there is none yet.

        It is called in this thread. If it raises, or its result has no encoding, that is raised
        here, and the next caller runs its own function. Whoever calls meanwhile waits, for
        `timeout` seconds at most.

        Raises:
            Timeout: another run has not ended in time. Nothing was run here.
            OutcomeUnknown: it is not known whether this run counts. If it does not, others run.
        """
        while True:
            done, found, token = self._begin(timeout)
            if done:
                return found  # type: ignore[no-any-return]
            with self._running(token), suppress(SessionExpired, ResultLost):
                result = function()
                if self._finish(token, result):
                    return result

    async def run_async(
        self, function: Callable[[], Awaitable[T]], *, timeout: float | None = None
    ) -> T:
        """Do as `run` in an event loop, and await what `function` returns."""
        while True:
            done, found, token = await self._begin.submit(timeout)
            if done:
                return found  # type: ignore[no-any-return]
            with self._running(token), suppress(SessionExpired, ResultLost):
                result = await function()
                if await self._finish.submit(token, result):
                    return result

    @contextmanager
    def _running(self, token: int) -> Iterator[None]:
        """Know the token meanwhile; if the block fails, let the next caller run."""
        run = self, token
        _runs.set((*_runs.get(), run))
        try:
            yield
        except BaseException:
            # Behind `_finish` in the log, if that is still on its way: then it changes nothing.
            with suppress(SyncError):
                cleaning(self._fail.submit, token)
            raise
        finally:
            # Not `reset`: a coroutine may be closed in another context than it ran in.
            _runs.set(tuple(other for other in _runs.get() if other != run))

    @operation
    def _begin(self, timeout: float | None) -> Steps[tuple[bool, Any, int]]:
        """Return whether it is done, the result, and else the token under which to run it."""
        with reading(self):
            if self._done:
                return True, copy(self._result), 0
        wait: Wait[tuple[bool, Any, int]] = Wait(
            self,
            "run",
            self._claim.submit,
            self._withdraw.submit,
            lambda served: self._fail.submit(served[2]),
            frees=True,
        )
        served = yield from wait.served(timeout)
        if served is None:
            raise Timeout(f"{wait.name}: another run has not ended within {timeout} s")
        return served

    @_begin.undone_by
    def _unbegin(self, served: tuple[bool, Any, int], timeout: float | None) -> None:
        cleaning(self._fail.submit, served[2])

    # The commands behind it

    @replicated
    def _claim(self, ticket: int) -> tuple[bool, Any, int]:
        if self._done:
            return True, self._result, 0
        if self._runner is not None:
            return self._waiters.park(ticket)  # type: ignore[no-any-return]
        context = current_context()
        self._runner = context.session, ticket, context.serial
        return False, None, context.serial

    @replicated
    def _finish(self, token: int, result: Any) -> bool:
        """Let the result count, if that is still the run of that token; return whether it is."""
        if self._runner is None or self._runner[2] != token:
            return False
        self._runner, self._done, self._result = None, True, result
        while self._waiters:
            self._waiters.serve((True, result, 0))
        return True

    @replicated
    def _fail(self, token: int) -> None:
        """End the run of that token, if it still runs, and let who waits longest run it."""
        if self._runner is not None and self._runner[2] == token:
            self._pass_on()

    @replicated
    def _withdraw(self, ticket: int) -> None:
        """End the wait of a ticket, or the run that it was told to begin meanwhile."""
        session = current_context().session
        if self._waiters.cancel(ticket):
            return
        if self._runner is not None and self._runner[:2] == (session, ticket):
            self._pass_on()

    def on_session_expired(self, session: int) -> None:
        """Give up the waits of the session, and let another one run what it was running."""
        self._waiters.expire(session)
        if self._runner is not None and self._runner[0] == session:
            self._pass_on()

    def initial_state(self) -> Any:
        """Return the state of a new object, which nobody runs."""
        return super().initial_state() | {"_runner": None}

    def _pass_on(self) -> None:
        self._runner = None
        first = next(iter(self._waiters), None)
        if first is not None:
            token = current_context().serial
            self._runner = *first, token
            self._waiters.serve((False, None, token))

    def __repr__(self) -> str:
        name = "" if self._binding is None else f"{self._binding.name!r} "
        state = "done" if self.done else "not done"
        return f"<{type(self).__name__} {name}at {id(self):#x}: {state}>"

    def _check(self) -> None:
        assert not (self._done and self._runner), self._runner
        assert self._runner or not self._waiters, len(self._waiters)
