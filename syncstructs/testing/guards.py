"""What keeps a user's method from hanging the tests, or from ending them without a word."""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any, Final

from ..objects.replicated import Replicated

if TYPE_CHECKING:
    from .subjects import Subject

_LOOKS: Final = 15.0
"""Seconds of real time between two looks; what is there at both does not return. Methods take
microseconds, and a whole run less than a second."""
_PARKED: Final = "SteppedThread.wait"
"""The function in which a thread that has called a method waits for its turn."""


class Hangs(KeyboardInterrupt):
    """A method does not return; says which.

    A `KeyboardInterrupt`, as nobody on the way takes that for an outcome of a command.
    """


@contextmanager
def guarded(subject: Subject) -> Iterator[None]:
    """Fail if a method does not return, and tell Ctrl-C from what methods raise.

    Raises:
        AssertionError: a method has not returned; where there is no SIGALRM (Windows), or outside
            of the main thread, or when somebody else uses the alarm, it is not noticed.
    """
    alarm = _Alarm(subject)
    with _noticing_interrupts(), alarm.set():
        try:
            yield
        except BaseException:
            # Whatever the interruption has become on its way.
            if not alarm.told:
                raise
    if alarm.told:
        raise AssertionError(alarm.told)


# What never returns


class _Alarm:
    """Looks from time to time whether a method that was running still is."""

    def __init__(self, subject: Subject) -> None:
        self.told = ""
        """Which method does not return."""
        self._codes = _codes(subject)
        self._seen: list[FrameType] = []

    @contextmanager
    def set(self) -> Iterator[None]:
        """Look during the block."""
        if not _is_alarm_free():
            yield
            return
        signal.signal(signal.SIGALRM, self._look)
        signal.setitimer(signal.ITIMER_REAL, _LOOKS, _LOOKS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            self._seen.clear()

    def _look(self, number: int, frame: FrameType | None) -> None:
        running = [f for top in sys._current_frames().values() for f in self._frames(top)]
        for one in running:
            if any(one is other for other in self._seen):
                where = "".join(traceback.format_stack(one, 3)).rstrip()
                self.told = (
                    f"{self._codes[one.f_code]} has not returned for {_LOOKS:g} seconds: it would"
                    f" stop the member that runs it\n{where}"
                )
                raise Hangs(self.told)
        self._seen = running

    def _frames(self, top: FrameType | None) -> list[FrameType]:
        """Return the frames of the user's functions in a thread, unless it waits for its turn."""
        found = []
        while top is not None:
            if top.f_code.co_qualname == _PARKED:
                return []
            if top.f_code in self._codes:
                found.append(top)
            top = top.f_back
        return found


def _is_alarm_free() -> bool:
    if not hasattr(signal, "SIGALRM") or not _is_main_thread():
        return False
    is_set = signal.getitimer(signal.ITIMER_REAL)[0] > 0
    return signal.getsignal(signal.SIGALRM) is signal.SIG_DFL and not is_set


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _codes(subject: Subject) -> dict[CodeType, str]:
    """Return how the user's functions are called, by their code."""
    named: dict[CodeType, str] = {}
    for base in subject.cls.__mro__:
        if base in (Replicated, *Replicated.__mro__):
            continue
        for name, member in vars(base).items():
            named[_code(member)] = f"{subject.name}.{name}()"
    for name in ("invariant", "partition"):
        named[_code(getattr(subject, name))] = f"{name}= of {subject.name}"
    named.pop(_code(None))
    return named


def _code(member: Any) -> CodeType:
    for attribute in ("fget", "__func__", "function"):
        member = getattr(member, attribute, None) or member
    code = getattr(member, "__code__", None)
    return code if isinstance(code, CodeType) else _code.__code__


# What would end the process

_interrupts: list[int] = []
_watches: list[object] = []


@contextmanager
def _noticing_interrupts() -> Iterator[None]:
    """Note when the user presses Ctrl-C, which goes its way."""
    if not _is_main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGINT)

    def handle(number: int, frame: FrameType | None) -> Any:
        _interrupts.append(number)
        return before(number, frame) if callable(before) else None

    # Where it is ignored, as in what a shell runs in the background, none becomes an exception.
    if callable(before):
        signal.signal(signal.SIGINT, handle)
    _watches.append(handle)
    try:
        yield
    finally:
        if callable(before):
            signal.signal(signal.SIGINT, before)
        _watches.pop()
        _interrupts.clear()


def is_own(error: BaseException) -> bool:
    """Return whether a method has raised this itself, rather than somebody at the keyboard."""
    if isinstance(error, Hangs):
        return False
    return isinstance(error, SystemExit) or (bool(_watches) and not _interrupts)


def ends_process(subject: Subject, method: str, error: BaseException) -> str:
    """Say that a method ends the process it runs in."""
    return (
        f"{subject.name}.{method}() raised {error!r}, which ends the process it runs in, on every"
        " member if it is a command; raise an Exception that its caller can catch"
    )
