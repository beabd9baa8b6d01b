"""Callers of a simulated cluster: each makes the calls that a plan has for it, one after another.

A caller lives outside the nodes, as a client does: it chooses a member for each call, and goes on
with another one when that dies. Plain methods run in a thread of their own, which never runs at the
same time as the simulation: where such a method waits for a command, virtual time goes on.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from ..codec import copy
from ..errors import NotApplied, SyncError, Unserializable
from .guards import ends_process
from .history import History, plain
from .subjects import Made, Subject
from .violation import Violation

if TYPE_CHECKING:
    from ..futures import Future
    from .hosts import Life
    from .simulator import Simulation

OBJECT: Final = "object"
"""The name under which the object under test is attached."""
_PATIENCE: Final = 5.0
_LOOKS: Final = 0.1


def kept(value: object) -> object:
    """Return a result that nobody changes any more, even if it was a part of the state."""
    value = plain(value)
    try:
        return copy(value)
    except Unserializable:
        return value


class _Abandoned(BaseException):
    """Nobody waits for this method any more: unwinds its thread."""


class SteppedThread:
    """A thread that runs a function, but only between `step` and its return."""

    def __init__(self, function: Callable[[], None]) -> None:
        self._function = function
        self._go, self._back = threading.Semaphore(0), threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._abandoned = False
        self._is_lost = False
        self.ended = False

    def step(self) -> None:
        """Let it run until it waits or ends."""
        if not self._thread.is_alive() and not self.ended:
            self._thread.start()
        self._go.release()
        self._is_lost = True  # unless it comes back: its function may never return
        self._back.acquire()
        self._is_lost = False

    def wait(self) -> None:
        """Wait for the next step; to be called in the thread."""
        if self._abandoned:
            raise _Abandoned
        self._back.release()
        self._go.acquire()
        if self._abandoned:
            raise _Abandoned

    def abandon(self) -> None:
        """End it where it waits, or soon if it does not come back."""
        if self._is_lost and self._thread.ident is not None:
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Abandoned)
            )
        elif not self.ended and self._thread.is_alive():
            self._abandoned = True
            self.step()
            self._thread.join()

    def _run(self) -> None:
        self._go.acquire()
        try:
            self._function()
        except _Abandoned:
            pass
        finally:
            self.ended = True
            self._back.release()


class Attempt:
    """One call under way."""

    __slots__ = ("calls", "life", "made", "number", "over", "thread", "until")

    def __init__(self, made: Made, number: int, life: Life, until: float) -> None:
        self.made = made
        self.number = number
        """Its id in the history."""
        self.life = life
        self.until = until
        self.over = False
        self.calls: list[Any] = []
        """The futures that were waited for, of a command or of what a plain method calls."""
        self.thread: SteppedThread | None = None
        """In which a plain method runs."""

    @property
    def is_composite(self) -> bool:
        """Whether it is a plain method that has waited for commands."""
        return self.thread is not None and bool(self.calls)


class Caller:
    """One client: makes its calls, each on the member that its number picks."""

    def __init__(
        self,
        name: str,
        simulation: Simulation,
        subject: Subject,
        history: History,
        calls: Sequence[tuple[float, float, Made]],
    ) -> None:
        """Take calls as (seconds to wait before it, member from 0 to below 1, what)."""
        self.name = name
        self.attempts: list[Attempt] = []
        self.is_done = False
        self._simulation = simulation
        self._schedule = simulation.schedule
        self._subject = subject
        self._history = history
        self._calls = list(reversed(calls))
        self._next()

    def _next(self) -> None:
        if not self._calls:
            self.is_done = True
            return
        wait, pick, made = self._calls.pop()
        self._schedule.at(self._schedule.now + wait, self._begin, pick, made)

    def _begin(self, pick: float, made: Made) -> None:
        lives = self._simulation.lives()
        if not lives:
            self._schedule.at(self._schedule.now + _LOOKS, self._begin, pick, made)
            return
        life = lives[int(pick * len(lives))]
        args, kwargs = self._subject.bind(made)
        number = self._history.begin(self.name, made.method, args, kwargs)
        attempt = Attempt(made, number, life, self._schedule.now + _PATIENCE)
        self.attempts.append(attempt)
        life.soon(self._make, attempt, args, kwargs)
        self._look(attempt)

    def _look(self, attempt: Attempt) -> None:
        """Give up when the member is dead, or time has run out."""
        if attempt.over:
            return
        if attempt.life.alive and self._schedule.now < attempt.until:
            self._schedule.at(self._schedule.now + _LOOKS, self._look, attempt)
            return
        self._end(attempt)

    def _make(self, attempt: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if attempt.over:
            return
        life = attempt.life
        target = life.consumers[OBJECT]
        if not self._subject.is_command(attempt.made.method):
            self._make_plain(attempt, args, kwargs)
            return
        try:
            future = getattr(target, attempt.made.method).submit(*args, **kwargs)
        except Exception as error:
            self._fail(attempt, error)
            return
        attempt.calls.append(future)
        future.add_done_callback(lambda ended: self._ended(attempt, ended))

    def _ended(self, attempt: Attempt, future: Future[Any]) -> None:
        if attempt.over:
            return
        error = future.exception()
        if error is not None:
            self._fail(attempt, error)
            return
        self._history.end(attempt.number, kept(future.result()))
        self._end(attempt)

    def _fail(self, attempt: Attempt, error: BaseException) -> None:
        if not attempt.over:
            self._history.fail(attempt.number, error)
            self._end(attempt)

    def _end(self, attempt: Attempt) -> None:
        attempt.over = True
        if attempt.thread is not None:
            attempt.thread.abandon()
        self._next()

    # Plain methods

    def _make_plain(
        self, attempt: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        life = attempt.life

        def then(step: Callable[[], object]) -> Callable[[Future[Any]], None]:
            def ended(future: Future[Any]) -> None:
                if future.cancelled() or future.exception() is not None:
                    self._fail(attempt, NotApplied("the node was not ready, or no barrier passed"))
                elif not attempt.over:
                    life.soon(step)

            return ended

        def pass_barrier() -> None:
            try:
                life.node.barrier.submit(_PATIENCE).add_done_callback(then(run))
            except SyncError as error:
                self._fail(attempt, NotApplied(str(error)))

        def run() -> None:
            self._run_plain(attempt, args, kwargs)

        try:
            # Not before: what is not attached yet does not show what the cluster has.
            life.node.wait_ready.submit(_PATIENCE).add_done_callback(then(pass_barrier))
        except SyncError as error:
            self._fail(attempt, NotApplied(str(error)))

    def _run_plain(
        self, attempt: Attempt, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if attempt.over:
            return
        life = attempt.life

        def run() -> None:
            try:
                value = getattr(life.consumers[OBJECT], attempt.made.method)
                value = value(*args, **kwargs) if callable(value) else value
                if not attempt.calls:
                    table = life.table
                    self._history.applied(attempt.number, table.serial)
                self._history.end(attempt.number, kept(value))
            except Exception as error:
                if not attempt.calls and not isinstance(error, SyncError):
                    self._history.applied(attempt.number, life.table.serial)
                # With a command of it refused, those before it may be applied: nothing is known.
                if len(attempt.calls) < 2 or not isinstance(error, NotApplied):
                    self._history.fail(attempt.number, error)
            except (SystemExit, KeyboardInterrupt) as error:
                # Nobody presses Ctrl-C in this thread: the method has raised it.
                checks = self._simulation.checks
                told = ends_process(self._subject, attempt.made.method, error)
                checks.violation = checks.violation or Violation(told)

        attempt.thread = SteppedThread(run)
        self._step(attempt)

    def _step(self, attempt: Attempt) -> None:
        """Let the method run until it waits, and be called again when it has what it waits for."""
        thread, loop = attempt.thread, attempt.life.event_loop
        assert thread is not None
        waits: list[tuple[Future[Any], float | None]] = []

        def wait(future: Future[Any], timeout: float | None) -> None:
            attempt.calls.append(future)
            waits.append((future, timeout))
            thread.wait()

        loop.waiter = wait
        try:
            thread.step()
        finally:
            loop.waiter = None
        if thread.ended:
            if not attempt.over:
                self._end(attempt)
            return
        future, timeout = waits[-1]
        woken: list[bool] = []

        def wake(_: object = None) -> None:
            if not woken and not attempt.over:
                woken.append(True)
                attempt.life.soon(self._step, attempt)

        future.add_done_callback(wake)
        if timeout is not None:
            loop.call_later(timeout, wake)
