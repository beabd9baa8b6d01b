"""Running operations: generators that wait for futures on the calling side (see `Steps`)."""

from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from ..errors import Cancelled
from ..futures import Blocker, Future
from ..objects.port import Steps

R = TypeVar("R")


class Loop(Protocol):
    """The driver's thread, as an operation sees it."""

    def post(self, function: Callable[[], object]) -> None:
        """Run `function` in the driver's thread, soon."""

    def after(self, seconds: float, function: Callable[[], object]) -> None:
        """Run `function` in the driver's thread, `seconds` from now; may be called anywhere."""

    def in_driver(self) -> bool:
        """Return whether this is the driver's thread."""


class Operation:
    """One run of a generator: its first step in the caller's thread, the others in the driver's."""

    __slots__ = ("_loop", "_steps", "_wait", "future", "waits_for")

    def __init__(self, loop: Loop, blocker: Blocker, steps: Steps[Any]) -> None:
        self._loop = loop
        self._steps = steps
        self._wait = 0
        self.waits_for: Future[Any] | None = None
        self.future: Future[Any] = Future(blocker, self._cancel)

    def advance(self, value: object = None, error: BaseException | None = None) -> None:
        """Run the generator until it has to wait, or ends."""
        while True:
            try:
                step = self._steps.send(value) if error is None else self._steps.throw(error)
            except StopIteration as stop:
                self.future.finish(stop.value, None)
                return
            except Exception as raised:
                self.future.finish(None, raised)
                return
            timed = isinstance(step, tuple)
            future, seconds = step if isinstance(step, tuple) else (step, None)
            if not future.done():
                self._await(future, timed, seconds)
                return
            value, error = _seen(future, timed)

    def _await(self, future: Future[Any], timed: bool, seconds: float | None) -> None:
        self._wait += 1
        wait = self._wait
        self.waits_for = future

        def go_on() -> None:
            # A wait that ran out of time, or was cancelled, hears of its future too late.
            if self._wait == wait:
                self._wait += 1
                self.advance(*_seen(future, timed))

        def done(_: object) -> None:
            if self._loop.in_driver():
                go_on()
            else:
                self._loop.post(go_on)

        def time_out() -> None:
            if self._wait == wait:
                self._wait += 1
                self.advance(future.done())

        future.add_done_callback(done)
        if seconds is not None:
            self._loop.after(max(0.0, seconds), time_out)

    def _cancel(self) -> bool:
        def throw() -> None:
            self._wait += 1
            self.advance(None, Cancelled("the operation was cancelled"))

        self._loop.post(throw)
        return True


def _seen(future: Future[Any], timed: bool) -> tuple[object, BaseException | None]:
    """Return what the generator gets for a future that is done."""
    if timed:
        return True, None
    try:
        return future.result(), None
    except BaseException as error:
        return None, error
