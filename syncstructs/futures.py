"""`Future`: the result of a call under way. Light, awaitable, and like `concurrent.futures`.

A future makes no lock, condition or event until somebody blocks on it; thousands may be under way.
It is resolved once, by the node's driver; everything else may be called from any thread.
"""

import asyncio
import logging
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, Generic, Protocol, TypeVar

from .errors import Cancelled, Timeout

R = TypeVar("R")
_log = logging.getLogger("syncstructs.futures")


class Blocker(Protocol):
    """How a thread may wait for a future of this node: depends on who drives the node."""

    def block(self, future: "Future[Any]", timeout: float | None) -> None:
        """Return when `future` is done or `timeout` seconds are over.

        Raises:
            BlockingCall: waiting here would stop the node itself.
        """


class Future(Generic[R]):
    """The result of a call: `result(timeout)` blocks for it, `await future` waits for it.

    Abandoning a future, or running out of time on it, does not take the call back.

    Cancelling an `await` of an operation (a blocking `get` or `acquire`) does, for all who wait for
    that future; and if the result comes in that very moment it is given back (the item to its
    queue, the lock to the cluster), although another who waits for the same future may have got it.
    So let one task alone wait for the future of an operation; several await a shield of it each,
    `asyncio.shield(future)`, whose cancelling leaves the operation as it is.

    A task that is cancelled before its first step has awaited nothing, so what it was to await goes
    on: `asyncio.wait_for(lock.acquire.submit(), 0)` on CPython 3.11, whose task never begins, may
    leave the lock acquired. Use the operation's own time-out, or cancel its future.
    """

    __slots__ = (
        "_blocker", "_callbacks", "_canceller", "_done", "_error", "_value", "reads", "unclaimed",
    )  # fmt: skip

    def __init__(self, blocker: Blocker, canceller: Callable[[], bool] | None = None) -> None:
        self._blocker = blocker
        self._canceller = canceller
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        # Changed by what is atomic for a list, and by nothing else: whoever takes one out runs it.
        self._callbacks: list[Callable[[Future[R]], object]] = []
        self.unclaimed: Callable[[R], object] | None = None
        """Takes a result back that came in the moment in which its `await` was cancelled."""
        self.reads: Callable[[R], R] | None = None
        """Makes of the result what `result` returns, anew each time; where that is called."""

    def done(self) -> bool:
        """Return whether the call has ended, with a result, an error or by `cancel()`."""
        return self._done

    def cancelled(self) -> bool:
        """Return whether the future was cancelled."""
        return self._done and isinstance(self._error, Cancelled)

    def result(self, timeout: float | None = None) -> R:
        """Return the result, waiting at most `timeout` seconds for it (None: without end).

        Raises:
            Timeout: time ran out; the call goes on, and may be waited for again.
            Cancelled: the future was cancelled.
            BlockingCall: not done yet, and waiting here would stop the node itself.
            Exception: whatever the call raised.
        """
        if not self._done:
            self._wait(timeout)
        if self._error is not None:
            raise self._error
        if self.reads is not None:
            return self.reads(self._value)
        return self._value  # type: ignore[no-any-return]

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None; wait as `result` does.

        Raises:
            Timeout: time ran out.
            Cancelled: the future was cancelled.
        """
        if not self._done:
            self._wait(timeout)
        if isinstance(self._error, Cancelled):
            raise self._error
        return self._error

    def cancel(self) -> bool:
        """Take the call back if that is still possible; return whether it was.

        A call that was already sent goes on, and False is returned. An operation (a blocking
        `get` or `acquire`) withdraws its wait.
        """
        if self._done or self._canceller is None or not self._canceller():
            return False
        self.finish(None, Cancelled("the future was cancelled"))
        return True

    def add_done_callback(self, callback: Callable[["Future[R]"], object]) -> None:
        """Call `callback(self)` once done, in the driver's thread, or here if it is already.

        What the callback raises is logged and changes nothing; but a `KeyboardInterrupt` in the
        main thread goes on to whoever runs the callback there.
        """
        self._callbacks.append(callback)
        # After that: either this thread sees that it is done, or the resolver sees the callback.
        if self._done:
            self._run_callbacks()

    def remove_done_callback(self, callback: Callable[["Future[R]"], object]) -> None:
        """Take back what `add_done_callback` was given and is equal to this, if it did not run."""
        with suppress(ValueError):
            while True:
                self._callbacks.remove(callback)

    def __await__(self) -> Generator[Any, None, R]:
        if not self._done:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            thread = threading.get_ident()

            def wake(_: object) -> None:
                if threading.get_ident() == thread:
                    _release(waiter)
                elif not loop.is_closed():
                    loop.call_soon_threadsafe(_release, waiter)

            self.add_done_callback(wake)
            try:
                yield from waiter
            except asyncio.CancelledError:
                self.remove_done_callback(wake)
                self.abandon()
                raise
        return self.result()

    def finish(self, value: Any, error: BaseException | None) -> None:
        """Resolve the future; only the node does that. A second time has no effect."""
        if self._done:
            return
        self._value = value
        self._error = error
        self._done = True
        if self._callbacks:
            self._run_callbacks()

    def abandon(self) -> None:
        """Give up a wait: cancel, or take back what came too late to be received."""
        if self.unclaimed is None or self.cancel():
            self.cancel()
            return
        if not self._done:
            # Its result is being made in this very moment, in another thread.
            self.add_done_callback(lambda _: self.abandon())
            return
        if self._error is not None:
            return
        value, self._value = self._value, None
        self._error = Cancelled("the await was cancelled, and the result was taken back")
        self.unclaimed(value)

    def _wait(self, timeout: float | None) -> None:
        self._blocker.block(self, timeout)
        if not self._done:
            raise Timeout(f"no result within {timeout} s; the call itself goes on")

    def _run_callbacks(self) -> None:
        # A callback is run by whoever pops it: the resolver, or an adder that came too late.
        callbacks = self._callbacks
        while callbacks:
            try:
                callback = callbacks.pop(0)
            except IndexError:
                return
            try:
                callback(self)
            except BaseException as error:
                # sys.exit(), or the result of a cancelled asyncio future, would end the thread that
                # all others rely on. Ctrl-C comes to the main thread alone.
                if isinstance(error, KeyboardInterrupt) and _in_main_thread():
                    raise
                _log.exception("a callback of a future raised; nothing else is affected")

    def __repr__(self) -> str:
        if not self._done:
            state = "pending"
        elif self._error is not None:
            state = f"raised {type(self._error).__name__}"
        else:
            state = "done"
        return f"<Future {state}>"


def block_thread(
    future: Future[Any], timeout: float | None, waking: Callable[[], object] | None = None
) -> None:
    """Wait on a lock of this thread alone until `future` is done; for threads that may block.

    `waking` is called by who ends it, before this thread is woken. It must not raise.
    """
    lock = threading.Lock()
    lock.acquire()

    def wake(_: object) -> None:
        if waking is not None:
            waking()
        lock.release()

    future.add_done_callback(wake)
    seconds = -1 if timeout is None else max(0.0, min(timeout, threading.TIMEOUT_MAX))
    try:
        lock.acquire(timeout=seconds)
    finally:
        if not future.done():
            # Without this, a future that is polled would gather one callback for each time.
            future.remove_done_callback(wake)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _release(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)
