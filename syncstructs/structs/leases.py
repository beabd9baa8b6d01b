"""What this process takes of a `ReplTaskQueue`, and how it says what became of it.

The calling side: a `Task` is the handle on a lease, under the token that the log gave it; whether
the lease still counts, the log knows alone. Who has which task, and who is next, is in `tasks`.
"""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from queue import Empty
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast

from ..codec import shown
from ..errors import SyncError
from ..objects.port import Steps, cleaning
from ..objects.replicated import Replicated, operation
from .prepared import Prepared, prepared
from .queues import ShutDown
from .waiting import Wait

if TYPE_CHECKING:
    from ..futures import Future
    from .tasks import ReplTaskQueue

T = TypeVar("T")

_OWN: Any = object()
"""In place of a lease: that of the queue."""
_DELAY_MAX = 100 * 366 * 86_400.0
"""Seconds, the longest that a delay or a lease may last: anything above is a slip."""
_ERROR_CHARACTERS = 500
"""Of what went wrong with a task, so much is kept."""


class Task(Generic[T]):
    """A task that this node has taken; a context manager that says how it ended.

    Leaving the `with` (or `async with`) block says `ack`, and `nack` if the block raised.
    """

    __slots__ = ("attempt", "id", "key", "payload", "queue", "scheduled", "token")

    def __init__(
        self, queue: "ReplTaskQueue[T]", id_: int, token: int, attempt: int, key: str | None,
        payload: T, scheduled: float | None = None,
    ) -> None:  # fmt: skip
        self.queue = queue
        self.id = id_
        """A number that no other task of the queue has ever had."""
        self.token = token
        """The fencing token of this lease: greater than that of every lease before."""
        self.attempt = attempt
        """How often it was taken, this time included."""
        self.key = key
        self.payload = payload
        self.scheduled = None if scheduled is None else datetime.fromtimestamp(scheduled, UTC)
        """Of a `ReplScheduler`'s job, for when it was due; of several times, the first in grace."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.queue.ack(self)
        else:
            # What the block raised is what its caller has to hear of. Untold, the lease ends.
            with suppress(SyncError):
                self.queue.nack(self, error=shown(error))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: object, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            await self.queue.ack.submit(self)
        else:
            with suppress(SyncError):
                await self.queue.nack.submit(self, error=shown(error))

    def __repr__(self) -> str:
        return f"<Task {self.id}, attempt {self.attempt}: {self.payload!r}>"


class Leasing(Replicated, Generic[T]):
    """How tasks are taken and leases ended; a subclass has the commands."""

    _lease: float | None
    """For how many seconds a task is taken by default; None: while the node's session lives."""
    _take: Any
    """The command `(ticket, lease, wait)`: returns what `Task` is made of, or None: none ready."""
    _withdraw: Any
    """The command `(ticket)`: ends the wait of a ticket, or gives back what it was served."""
    _give_back: Any
    """The command `(id, token)`: undoes a `_take`, if that lease still counts."""
    _ack: Any
    """The command `(id, token)`: the task is done."""
    _nack: Any
    """The command `(id, token, delay, error)`: the task failed."""
    _extend: Any
    """The command `(id, token, lease)`: the lease ends so many seconds from now."""

    @operation
    def get(
        self, block: bool = True, timeout: float | None = None, *, lease: float | None = _OWN
    ) -> Steps[Task[T]]:
        """Take a task; wait for one if none is ready, `timeout` seconds at most.

        `lease`: seconds for which it is taken, None: for as long as this node's session lives; by
        default what the queue was made with. Without a quorum it takes a second more at the most.

        Raises:
            queue.Empty: none was ready (in time), or there was no leader in all that time.
            OutcomeUnknown: time ran out without an answer. What is served later is given back.
            ShutDown: the queue was shut down, and all tasks are done or dead.
            ValueError: `timeout` or `lease` is below 0.
        """
        return (yield from self._getting(block, timeout, lease))

    @operation
    def get_nowait(self) -> Steps[Task[T]]:
        """Take a task that is ready; as `get(block=False)`."""
        return (yield from self._getting(False, None, _OWN))

    def _getting(self, block: bool, timeout: float | None, lease: float | None) -> Steps[Task[T]]:
        if timeout is not None and timeout < 0:
            raise ValueError(f"timeout={timeout!r} must not be below 0; leave it out to wait on")
        seconds = self._lease if lease is _OWN else lease
        if seconds is not None:
            checked_seconds("lease", seconds, least=0.001)
        wait: Wait[list[Any]] = Wait(
            self,
            "get",
            lambda ticket: self._ask(ticket, seconds, block),
            self._withdraw.submit,
            lambda served: self._give_back.submit(served[0], served[1]),
            frees=True,
        )
        served = yield from wait.served(timeout) if block else wait.at_once()
        if served is None:
            raise Empty
        return Task(cast("ReplTaskQueue[T]", self), *served)

    def _ask(self, ticket: int, lease: float | None, wait: bool) -> "Future[Any]":
        """Submit the command that takes; a subclass may have more to say with it."""
        asked: Future[Any] = self._take.submit(ticket, lease, wait)
        return asked

    @get.undone_by
    @get_nowait.undone_by
    def _unget(self, task: Task[T], *_: object, **__: object) -> None:
        cleaning(self._give_back.submit, task.id, task.token)

    def __iter__(self) -> Iterator[Task[T]]:
        """Take tasks until the queue is shut down and all are done or dead."""
        while True:
            try:
                task = self.get()
            except ShutDown:
                return
            yield task

    async def __aiter__(self) -> AsyncIterator[Task[T]]:
        """Take tasks until the queue is shut down and all are done or dead."""
        while True:
            try:
                task = await self.get.submit()
            except ShutDown:
                return
            yield task

    # Ending a lease

    @prepared
    def ack(self, task: Task[T]) -> Prepared[None]:
        """Say that the task is done: it is gone.

        Raises:
            LockLost: the lease had ended, so that others may have the task, or have done it.
        """
        return Prepared(self._ack, task.id, task.token)

    @prepared
    def nack(
        self, task: Task[T], delay: float | None = None, error: str | None = None
    ) -> Prepared[None]:
        """Say that the task failed: it is ready again in `delay` seconds, or dead.

        Dead if this was the last of its attempts. `delay`: by default, what `retry_delay` says.
        `error`: why, to be read in `dead_letters()`.

        Raises:
            LockLost: the lease had ended.
        """
        if delay is not None:
            checked_seconds("delay", delay)
        told = None if error is None else error[:_ERROR_CHARACTERS]
        return Prepared(self._nack, task.id, task.token, delay, told)

    @prepared
    def heartbeat(self, task: Task[T], lease: float | None = _OWN) -> Prepared[None]:
        """Say that the task is still worked on: its lease ends `lease` seconds from now.

        Raises:
            LockLost: the lease had ended; stop, somebody else may have begun.
        """
        seconds = self._lease if lease is _OWN else lease
        if seconds is not None:
            checked_seconds("lease", seconds, least=0.001)
        return Prepared(self._extend, task.id, task.token, seconds)


def checked_seconds(name: str, seconds: float, *, least: float = 0.0) -> float:
    """Return a length of time.

    Raises:
        ValueError: it is below `least`, above a hundred years, or not a number.
    """
    if not least <= seconds <= _DELAY_MAX or math.isnan(seconds):
        raise ValueError(
            f"{name}={seconds!r} must be at least {least:g} and at most {_DELAY_MAX:g} seconds"
        )
    return float(seconds)
