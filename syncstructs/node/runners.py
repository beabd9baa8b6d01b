"""Who drives a node: a thread of its own, the user's asyncio loop, or the user's `tick` calls.

All three are an asyncio loop that runs the same callbacks; they differ in who runs the loop, and
so in which threads may block for a result.
"""

import asyncio
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Protocol

from ..config import Drive
from ..errors import BlockingCall, ConfigError
from ..futures import Future, block_thread

# uvloop's timers have milliseconds, and run up to one too early: who set one finds that nothing is
# due yet, and has to set another.
_TIMER_SECONDS = 0.001


class HasCancel(Protocol):
    """A timer."""

    def cancel(self) -> None:
        """Never fire; in the driver's thread only."""


class Loop(Protocol):
    """What runs an engine's callbacks, one at a time: see `Runner`, which does it for real."""

    told: bool
    """Whether a thread that waited in `block` was told that its wait is over, since this was set
    to False, and so will return from there very soon."""

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Begin to run; where it can wait for `main`, raise what that raises."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end; in the driver's thread only."""

    def in_thread(self, function: Callable[[], None]) -> Coroutine[Any, Any, None]:
        """Run blocking work where it blocks nobody."""

    def in_driver(self) -> bool:
        """Return whether this is the thread that runs the driver's callbacks."""

    def post(self, function: Callable[[], object]) -> bool:
        """Run `function` in the driver's thread, soon; False if the node is closed for good."""

    def run(self, function: Callable[[], object]) -> None:
        """Run `function` before anything else; in the driver's thread only, in no posted call."""

    def call_later(self, seconds: float, function: Callable[[], object]) -> HasCancel:
        """Run `function` `seconds` from now; in the driver's thread only."""

    def after(self, seconds: float, function: Callable[[], object]) -> "Timer":
        """Run `function` in the driver's thread, `seconds` from now; may be called anywhere."""

    def block(self, future: Future[Any], timeout: float | None) -> None:
        """Wait for `future`, `timeout` seconds at most.

        Raises:
            BlockingCall: this thread runs the node, and would wait for itself.
        """

    def stopped(self) -> None:
        """Note that the node is closed and nothing will run any more."""

    def join(self, timeout: float) -> None:
        """Wait for what runs the node to end."""

    def abort(self) -> None:
        """Release what was made for a node that never started."""


class Runner(ABC):
    """Runs the driver's callbacks in one thread; knows how others may wait for it."""

    loop: asyncio.AbstractEventLoop
    owns_loop = True
    """Whether the loop was made for the node."""

    def __init__(self) -> None:
        self.told = False
        self._thread = 0
        self._closed = False
        # Callbacks must not run in the context of whoever happened to wake the driver: a batch
        # that is open there would swallow calls made here.
        self._context = Context()
        self._spawned: asyncio.Task[None] | None = None

    @abstractmethod
    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Begin to run; where it can wait for `main`, raise what that raises."""

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine to its end; in the driver's thread only, and one at a time."""
        self._spawned = self.loop.create_task(coroutine)

    async def in_thread(self, function: Callable[[], None]) -> None:
        """Run blocking work in another thread.

        Raises:
            RuntimeError: the interpreter ends, and no thread can be started any more.
        """
        await asyncio.to_thread(function)

    def in_driver(self) -> bool:
        """Return whether this is the thread that runs the driver's callbacks."""
        return threading.get_ident() == self._thread

    def post(self, function: Callable[[], object]) -> bool:
        """Run `function` in the driver's thread, soon; False if the node is closed for good."""
        if self._closed:
            return False
        if self.in_driver():
            self.loop.call_soon(function, context=self._context)
            return True
        try:
            self.loop.call_soon_threadsafe(function, context=self._context)
        except RuntimeError:
            # The loop was closed in this very moment.
            if not self._closed and not self.loop.is_closed():
                raise
            return False
        return True

    def run(self, function: Callable[[], object]) -> None:
        """Run `function` before anything else; in the driver's thread only, in no posted call.

        To post it would cost another turn of the loop. What it raises is raised by the loop.
        """
        try:
            self._context.run(function)
        except BaseException as error:
            # Not here: some loops (uvloop) keep even Ctrl-C of their protocols to themselves.
            if not self.post(_raiser(error)):
                raise

    def call_later(self, seconds: float, function: Callable[[], object]) -> asyncio.TimerHandle:
        """Run `function` `seconds` from now, never earlier; in the driver's thread only."""
        return self.loop.call_later(seconds + _TIMER_SECONDS, function, context=self._context)

    def after(self, seconds: float, function: Callable[[], object]) -> "Timer":
        """Run `function` in the driver's thread, `seconds` from now; may be called anywhere."""
        timer = Timer()
        if self.in_driver():
            timer.arm(self, seconds, function)
        else:
            self.post(lambda: timer.arm(self, seconds, function))
        return timer

    def block(self, future: Future[Any], timeout: float | None) -> None:
        """Wait for `future` in a thread that may wait.

        Raises:
            BlockingCall: this thread runs the node, and would wait for itself.
        """
        if self.in_driver():
            raise BlockingCall(
                "a blocking call in the thread that drives the node would wait for itself;"
                " use method.submit(...), and await it or give it a callback"
            )
        block_thread(future, timeout, self._tell)

    def _tell(self) -> None:
        self.told = True

    def stopped(self) -> None:
        """Note that the node is closed and nothing will run any more."""
        self._closed = True

    def join(self, timeout: float) -> None:  # noqa: B027  (nothing to wait for by default)
        """Wait for what runs the node to end, if it is ours."""

    def abort(self) -> None:  # noqa: B027
        """Release the loop of a node that never started, if it is ours."""


class Timer:
    """A timer that may be cancelled before it is armed. Armed and cancelled in the driver's thread.

    A cancelled one holds on to nothing, however far off its time is.
    """

    __slots__ = ("_cancelled", "_handle")

    def __init__(self) -> None:
        self._handle: HasCancel | None = None
        self._cancelled = False

    def arm(self, runner: Loop, seconds: float, function: Callable[[], object]) -> None:
        """Begin to run."""
        if not self._cancelled:
            self._handle = runner.call_later(seconds, function)

    def cancel(self) -> None:
        """Never fire."""
        self._cancelled = True
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class ThreadRunner(Runner):
    """A daemon thread with a loop of its own."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.loop = new_loop()
        self._name = name
        self._worker: threading.Thread | None = None

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        started = threading.Event()
        failure: list[BaseException] = []

        async def begin() -> None:
            try:
                await main
            except BaseException as error:
                failure.append(error)
                self.loop.stop()
            finally:
                started.set()

        def run() -> None:
            self._thread = threading.get_ident()
            asyncio.set_event_loop(self.loop)
            task = self.loop.create_task(begin())
            try:
                self.loop.run_forever()
                # While the interpreter ends, no thread can be started, which this would do.
                with suppress(RuntimeError):
                    self.loop.run_until_complete(self.loop.shutdown_default_executor())
            finally:
                del task
                self._closed = True
                # The system may give this thread's identity to another one.
                self._thread = 0
                self.loop.close()

        self._worker = threading.Thread(target=run, name=self._name, daemon=True)
        self._worker.start()
        started.wait()
        if failure:
            self._worker.join()
            raise failure[0]

    def stopped(self) -> None:
        super().stopped()
        self.loop.call_soon(self.loop.stop)

    def join(self, timeout: float) -> None:
        if self._worker is not None and not self.in_driver():
            self._worker.join(timeout)

    def abort(self) -> None:
        self.loop.close()


class AsyncioRunner(Runner):
    """The loop that is running where the node is made. It may end before the node is closed."""

    owns_loop = False

    def __init__(self) -> None:
        super().__init__()
        self.when_ended: Callable[[], object] = lambda: None
        """Called once when the loop ends; if it is closed already, then in any thread."""
        self._end = asyncio.Event()
        self._losing = threading.Lock()
        try:
            self.loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigError(
                "drive 'asyncio' needs a running loop: make the node inside a coroutine"
            ) from None
        self._thread = threading.get_ident()
        self._main: asyncio.Task[None] | None = None

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        self._main = self.loop.create_task(self._live(main))
        # Without this, one that is cancelled before it began would be reported as never awaited.
        self._main.add_done_callback(lambda _: main.close())

    async def _live(self, main: Coroutine[Any, Any, None]) -> None:
        try:
            await main
            await self._end.wait()
        except asyncio.CancelledError:
            # asyncio.run() cancels what is left, and waits for it, before it closes its loop.
            self.when_ended()
            if self._spawned is not None:
                await self._spawned
            raise

    def in_driver(self) -> bool:
        return super().in_driver() and not self.loop.is_closed()

    def post(self, function: Callable[[], object]) -> bool:
        if self.loop.is_closed():
            self._lose()
            return False
        return super().post(function)

    def block(self, future: Future[Any], timeout: float | None) -> None:
        if self.loop.is_closed():
            self._lose()
        super().block(future, timeout)

    def stopped(self) -> None:
        super().stopped()
        # From here on, no thread waits for itself by waiting for the node.
        self._thread = 0
        if not self.loop.is_closed():
            self._end.set()

    def _lose(self) -> None:
        """Tell that the loop was closed without a word."""
        with self._losing:
            if self._closed:
                return
            self._closed = True
        self.when_ended()


class ManualRunner(Runner):
    """A private loop that runs only inside `tick`, and inside blocking calls."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = new_loop()
        self._ticking = threading.Lock()

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        try:
            self._run(main)
        except BaseException:
            self.loop.close()
            raise

    def tick(self, timeout: float, done: Callable[[], bool], active: asyncio.Event) -> None:
        """Run the node until `done()`, or something happened, or `timeout` seconds are over."""
        if self.in_driver():
            raise BlockingCall("tick() was called by what a tick has called")
        with self._ticking:
            self._run(self._tick(time.monotonic() + timeout, done, active))

    def block(self, future: Future[Any], timeout: float | None) -> None:
        if self.in_driver():
            super().block(future, timeout)
        deadline = None if timeout is None else time.monotonic() + timeout
        finished = asyncio.Event()

        def wake(_: object) -> None:
            self.post(finished.set)

        future.add_done_callback(wake)
        try:
            self._block(future, deadline, finished)
        finally:
            future.remove_done_callback(wake)

    def _block(
        self, future: Future[Any], deadline: float | None, finished: asyncio.Event
    ) -> None:
        while not future.done() and (deadline is None or time.monotonic() < deadline):
            if self._ticking.acquire(blocking=False):
                try:
                    self._run(_wait(finished, deadline))
                finally:
                    self._ticking.release()
            else:
                # Another thread ticks just now; it may stop at any time, so look again soon.
                block_thread(future, 0.01)

    def abort(self) -> None:
        self.loop.close()

    def join(self, timeout: float) -> None:
        # Who ticks in another thread closes the loop after that itself.
        if not self.in_driver() and self._ticking.acquire(timeout=timeout):
            try:
                self._wind_up()
            finally:
                self._ticking.release()

    def _wind_up(self) -> None:
        if self._closed and not self.loop.is_closed():
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()

    async def _tick(self, deadline: float, done: Callable[[], bool], active: asyncio.Event) -> None:
        # Twice: once for what is ready, once for what that made ready.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # The node may have ended in those: nothing would end the wait then.
        if not self._closed and not done():
            active.clear()
            await _wait(active, deadline)

    def _run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        if self._closed or self.loop.is_closed():
            coroutine.close()
            return
        before, self._thread = self._thread, threading.get_ident()
        try:
            self.loop.run_until_complete(coroutine)
        except RuntimeError as error:
            coroutine.close()
            if "another loop is running" not in str(error):
                raise
            raise BlockingCall(
                "a manually driven node cannot run inside an asyncio loop; use drive='asyncio'"
            ) from None
        finally:
            self._thread = before
        # Here, as nobody need call anything after the tick in which the end came.
        self._wind_up()


def new_loop() -> asyncio.AbstractEventLoop:
    """Return a loop for a node to run on: uvloop's if that is installed (the extra `fast`)."""
    try:
        import uvloop  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


def _raiser(error: BaseException) -> Callable[[], object]:
    def again() -> None:
        raise error

    return again


async def _wait(event: asyncio.Event, deadline: float | None) -> None:
    try:
        async with asyncio.timeout(None if deadline is None else deadline - time.monotonic()):
            await event.wait()
    except TimeoutError:
        pass


def make_runner(drive: Drive, name: str) -> Runner:
    """Return the runner for `Config.drive`."""
    if drive == "thread":
        return ThreadRunner(name)
    return AsyncioRunner() if drive == "asyncio" else ManualRunner()
