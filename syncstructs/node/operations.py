"""Running operations: generators that wait for futures on the calling side (see `Steps`)."""

import asyncio
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

from ..errors import Cancelled, Timeout, Withdrawn
from ..futures import Blocker, Future
from ..objects.port import Steps, stood_for

R = TypeVar("R")


class _Here(threading.local):
    """What is going on in a thread."""

    stepping = False


_here = _Here()


def is_stepping() -> bool:
    """Return whether this is a step of an operation, which waits nowhere but at its yields."""
    return _here.stepping


def caller() -> Hashable:
    """Return who runs here (see `Port.caller`): a weak reference to the task, or to the thread."""
    if (other := stood_for()) is not None:
        return other
    loop = asyncio._get_running_loop()  # get_running_loop() would raise, which takes a while
    task = None if loop is None else asyncio.current_task(loop)
    who = weakref.ref(threading.current_thread() if task is None else task)
    hash(who)  # kept from now on; of what has ended there would be none
    return who


class HasCancel(Protocol):
    """A timer, which is cancelled in the driver's thread."""

    def cancel(self) -> None:
        """Never fire, and hold on to nothing."""


class Loop(Protocol):
    """The driver's thread, as an operation sees it."""

    def post(self, function: Callable[[], object]) -> object:
        """Run `function` in the driver's thread, soon; False if nothing runs there any more."""

    def after(self, seconds: float, function: Callable[[], object]) -> "HasCancel":
        """Run `function` in the driver's thread, `seconds` from now; may be called anywhere."""

    def in_driver(self) -> bool:
        """Return whether this is the driver's thread."""


class Operation:
    """One run of a generator: its first step in the caller's thread, the others in the driver's.

    Whoever makes a turn claims it under the lock, so a turn is made once: by the future that was
    waited for, by the clock, or by a cancel. A value that a turn has brought never gets lost to a
    cancel: a cancel that comes while the generator runs takes effect at its next wait.
    """

    __slots__ = (
        "_cancel_wanted", "_lock", "_loop", "_on_done", "_steps", "_timer", "_turn", "_waiting",
        "future", "waits_for",
    )  # fmt: skip

    def __init__(self, loop: Loop, blocker: Blocker, steps: Steps[Any]) -> None:
        self._loop = loop
        self._steps = steps
        self._lock = threading.Lock()
        self._turn = 0
        self._waiting = False
        self._cancel_wanted = False
        self._timer: HasCancel | None = None
        self._on_done: Callable[[Future[Any]], object] | None = None
        self.waits_for: Future[Any] | None = None
        """The future that it waits for, or waited for last."""
        self.future: Future[Any] = Future(blocker, self._cancel)

    def advance(self, value: object = None, error: BaseException | None = None) -> None:
        """Run the generator until it has to wait, or ends."""
        while True:
            ended: tuple[Any, Exception | None] | None = None
            before, _here.stepping = _here.stepping, True
            try:
                step = self._steps.send(value) if error is None else self._steps.throw(error)
            except StopIteration as stop:
                ended = stop.value, None
            except Exception as raised:
                ended = None, raised
            finally:
                _here.stepping = before
            if ended is not None:
                self.future.finish(*ended)
                return
            timed = isinstance(step, tuple)
            future, seconds = step if isinstance(step, tuple) else (step, None)
            with self._lock:
                cancelled, self._cancel_wanted = self._cancel_wanted, False
                turn = self._turn
                self.waits_for = future
                self._waiting = not cancelled and not future.done()
                waiting = self._waiting
            if waiting:
                self._await(turn, future, timed, seconds)
                return
            if cancelled:
                value, error = None, Cancelled("the operation was cancelled")
                self.future.finish(None, error)
            else:
                value, error = _seen(future, timed)

    def _await(self, turn: int, future: Future[Any], timed: bool, seconds: float | None) -> None:
        def go_on() -> None:
            if self._claim(turn):
                self._stop_timer()
                self.advance(*_seen(future, timed))

        def done(_: object) -> None:
            # A loop that was closed under its node takes no more posts.
            if self._loop.in_driver() or self._loop.post(go_on) is False:
                go_on()

        def time_out() -> None:
            if self._claim(turn):
                self._leave(future)
                self.advance(future.done())

        self._on_done = done
        if seconds is not None:
            self._timer = self._loop.after(max(0.0, seconds), time_out)
        future.add_done_callback(done)

    def _leave(self, future: Future[Any]) -> None:
        """Wait for it no longer; it may be waited for many times before it is done."""
        if self._on_done is not None:
            future.remove_done_callback(self._on_done)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _claim(self, turn: int) -> bool:
        """Take the turn; False if it was taken already."""
        with self._lock:
            if not self._waiting or self._turn != turn:
                return False
            self._waiting = False
            self._turn += 1
            return True

    def _cancel(self) -> bool:
        with self._lock:
            if not self._waiting:
                self._cancel_wanted = True
                return False
            self._waiting = False
            self._turn += 1

        def throw() -> None:
            self._stop_timer()
            if self.waits_for is not None:
                self._leave(self.waits_for)
            self.advance(None, Cancelled("the operation was cancelled"))

        self._loop.post(throw)
        return True


def answered(command: Future[Any], timeout: float | None, doing: str) -> Steps[Any]:
    """Wait for the answer to a command to the cluster; who waits no longer takes it back unsent.

    Without that it would be carried out whenever there is a leader again, long after somebody was
    told that it was not. `doing`: what it asks for, as in 'to change the members'.

    Raises:
        Withdrawn: time ran out, and the command had not left this node: nothing changes.
        Timeout: time ran out, and a leader may have it.
    """
    try:
        in_time = yield command, timeout
    except Cancelled:
        command.cancel()
        raise
    if in_time:
        return (yield command)
    if command.cancel():
        raise Withdrawn(
            f"nobody was asked {doing} within {timeout} s, as no leader was known; it was taken"
            " back, and nothing changes"
        )
    raise Timeout(f"no answer within {timeout} s from who was asked {doing}; it may yet be done")


def _seen(future: Future[Any], timed: bool) -> tuple[object, BaseException | None]:
    """Return what the generator gets for a future that is done."""
    if timed:
        return True, None
    try:
        return future.result(), None
    except BaseException as error:
        return None, error
