"""PySyncObj's calling convention over futures: `callback=`, `sync=` and `timeout=` keywords.

A call returns None at once, and its outcome goes to `callback(result, error)` in the node's thread.
With `sync=True` it waits and returns the result; `callback` takes precedence over `sync`. Beyond
that convention:

- What the method itself raised is not lost: a synchronous call raises it, a callback gets it as
  `error`, and if there is no callback it is logged.
- What the cluster did to the call is one of `FAIL_REASON`'s numbers: `error` of a callback,
  `SyncObjException.errorCode` of a synchronous call.
- A call that ran out of time before it was sent is taken back; a later one goes on.
- Inside a replicated method, another one runs inline, as a part of it.
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, TypedDict

from ..errors import (
    BlockingCall,
    Busy,
    NodeClosed,
    NodeFailed,
    NotApplied,
    NotReady,
    OutcomeUnknown,
    SessionExpired,
    SyncError,
    Timeout,
    Withdrawn,
)
from ..futures import Future
from ..objects.context import _current

Callback: TypeAlias = Callable[[Any, Any], object]
Take: TypeAlias = Callable[[], Any]
"""Returns the result of a call that has ended, or raises what it raised."""

_log = logging.getLogger("syncstructs.compat.pysyncobj")


class FAIL_REASON:  # noqa: N801  (PySyncObj's name)
    """What became of a call that has no result."""

    SUCCESS = 0
    QUEUE_FULL = 1
    """Too many calls of this node are pending; not applied."""
    MISSING_LEADER = 2
    """There was no leader to send it to; not applied."""
    DISCARDED = 3
    """This node was closed, or cut off for too long; not applied."""
    NOT_LEADER = 4
    """Never given: a call is sent again until it has an outcome."""
    LEADER_CHANGED = 5
    """Never given: a call is sent again until it has an outcome."""
    REQUEST_DENIED = 6
    """The cluster refused it (the object was dropped, for example); not applied."""
    UNKNOWN_OUTCOME = 7
    """It may have been applied, or may yet be."""


class SyncObjException(SyncError):
    """A call has no result: `errorCode` is one of `FAIL_REASON`, or a word such as "Timeout".

    `__cause__` is the `SyncError` that says more, where there is one.
    """

    def __init__(self, errorCode: int | str, *args: object) -> None:  # noqa: N803
        super().__init__(errorCode, *args)
        self.errorCode = errorCode

    def __str__(self) -> str:
        return ": ".join(map(str, self.args))


class Options(TypedDict, total=False):
    """The keywords that every replicated method takes besides its own."""

    callback: Callback | None
    sync: bool
    timeout: float | None


class Sendable(Protocol):
    """A bound method that can be called, which waits, or submitted, which does not."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any: ...

    def submit(self, *args: Any, **kwargs: Any) -> Future[Any]: ...


# The first that fits. What is in none of them was raised by the method itself.
_REASONS: tuple[tuple[tuple[type[SyncError], ...], int], ...] = (
    ((Busy,), FAIL_REASON.QUEUE_FULL),
    ((NotReady, Withdrawn), FAIL_REASON.MISSING_LEADER),
    ((NodeClosed, NodeFailed, SessionExpired), FAIL_REASON.DISCARDED),
    ((OutcomeUnknown,), FAIL_REASON.UNKNOWN_OUTCOME),
    ((NotApplied,), FAIL_REASON.REQUEST_DENIED),
)


def inside_command() -> bool:
    """Return whether a replicated method is running here."""
    return _current.get() is not None


def plainly(take: Take) -> Any:
    """Take the result as it is."""
    return take()


def perform(
    method: Sendable,
    args: tuple[object, ...],
    kwargs: dict[str, Any],
    *,
    label: str,
    read: Callable[[Take], Any] = plainly,
    callback: Callback | None = None,
    sync: bool = False,
    timeout: float | None = None,
) -> Any:
    """Make the call; return its result if it is synchronous or part of another one, else None.

    `read` turns the call's outcome into PySyncObj's; `label` names the call in the log.

    Raises:
        SyncObjException: the call is synchronous and has no result (in time).
        TypeError: `callback` was given inside a replicated method.
        SyncError, TypeError, ValueError: the call cannot be made at all, such as an argument that
            has no encoding. Nothing was sent.
    """
    if inside_command():
        if callback is not None:
            raise TypeError(
                f"{label}: a callback inside a replicated method would run on every member; the"
                " call is a part of that method, and returns its result"
            )
        return read(lambda: method(*args, **kwargs))
    try:
        future = method.submit(*args, **kwargs)
    except (Busy, NodeClosed, NodeFailed) as error:
        refused = error
    else:
        if sync and callback is None:
            return _wait(future, timeout, read)
        if callback is None:
            # Nobody is to have the result, so no pickle in it is read.
            future.reads = None
        future.add_done_callback(lambda done: _answer(done.result, label, callback, read))
        return None
    if sync and callback is None:
        raise SyncObjException(_reason(refused), str(refused)) from refused

    def refuse() -> None:
        raise refused

    _answer(refuse, label, callback, plainly)
    return None


def _answer(
    take: Take, label: str, callback: Callback | None, read: Callable[[Take], Any]
) -> None:
    """Tell the callback how the call ended; without one, log it if it failed."""
    try:
        result = read(take)
    except Exception as error:
        if callback is None:
            _log.warning("%s failed, and had no callback: %r", label, error)
        else:
            callback(None, _reason(error))
    else:
        if callback is not None:
            callback(result, FAIL_REASON.SUCCESS)


def _wait(future: Future[Any], timeout: float | None, read: Callable[[Take], Any]) -> Any:
    """Wait `timeout` seconds at the most (None: without end), and return the result."""
    try:
        future.exception(timeout)
    except BaseException as error:
        taken_back = _give_up(future)
        if isinstance(error, Timeout):
            known = "it was taken back unsent" if taken_back else "it may yet be applied"
            raise SyncObjException("Timeout", f"no result within {timeout} s; {known}") from error
        if isinstance(error, BlockingCall) and not taken_back:
            raise SyncObjException(FAIL_REASON.UNKNOWN_OUTCOME, str(error)) from error
        raise
    try:
        return read(future.result)
    except SyncError as error:
        reason = _reason(error)
        if reason is error:
            raise
        raise SyncObjException(reason, str(error)) from error


def _give_up(future: Future[Any]) -> bool:
    """Take the call back if that is possible; what it brings nevertheless, such as a lock, too."""
    if future.cancel():
        return True
    undo = future.unclaimed
    if undo is not None:

        def give_back(done: Future[Any]) -> None:
            if not done.cancelled() and done.exception() is None:
                undo(done.result())

        future.add_done_callback(give_back)
    return False


def _reason(error: Exception) -> Any:
    """Return the `FAIL_REASON` of an error, or what the method raised as it is."""
    for classes, reason in _REASONS:
        if isinstance(error, classes):
            return reason
    return error
