"""How long the tests of a class search: for so much CPU time, and for so many tries at the least.

CPU time, as a machine that is busy with something else must not make a test pass for want of tries.
"""

from __future__ import annotations

import os
import time
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from math import isfinite
from typing import Any, Final

from .strategies import hypothesis

BUDGET_VARIABLE: Final = "SYNCSTRUCTS_TEST_SECONDS"
"""The environment variable that gives all classes another budget, in CPU seconds per class."""
_SECONDS: Final = 4.0
_SHRINKING: Final = 1.5
_SHRINKING_MAX: Final = 10.0


def budget(seconds: float | None) -> float:
    """Return the budget of a class that asks for `seconds`; the environment has the last word.

    Raises:
        ValueError: the environment variable has no number of seconds.
    """
    asked = os.environ.get(BUDGET_VARIABLE)
    if asked:
        try:
            return checked_seconds(float(asked), BUDGET_VARIABLE)
        except ValueError:
            raise ValueError(
                f"{BUDGET_VARIABLE}={asked!r} is no number of seconds above 0, such as 10 or 0.5"
            ) from None
    return _SECONDS if seconds is None else seconds


def checked_seconds(seconds: object, name: str = "seconds") -> float:
    """Return the seconds if they can be a budget.

    Raises:
        ValueError: they cannot.
    """
    number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    if not number or not isfinite(seconds) or seconds <= 0:  # type: ignore[operator,arg-type]
        raise ValueError(f"{name}={seconds!r} must be a number of seconds above 0, such as 10")
    return float(seconds)  # type: ignore[arg-type]


class TimeIsUp(unittest.SkipTest):
    """Ends a search of Hypothesis, which passes on what skips a test."""


class Watch:
    """Ends a search when its budget is spent, and the making short of what it found soon after."""

    def __init__(self, seconds: float, least: int = 1) -> None:
        """Take the budget, and how often to try however long it takes."""
        self._deadline = time.process_time() + seconds
        self._shrinking = min(_SHRINKING + seconds / 4, _SHRINKING_MAX)
        self._least = least
        self.tried = 0
        """How many tries there were that might have found something."""
        self.found: BaseException | None = None
        """The last failure, which is the shortest."""

    def look(self) -> None:
        """Raise `TimeIsUp` if it is."""
        enough = self.found is not None or self.tried >= self._least
        if enough and time.process_time() > self._deadline:
            raise TimeIsUp("the budget is spent")

    def failed(self, error: BaseException) -> None:
        """Note a failure; from the first one on there is some time to make it short."""
        if self.found is None:
            self._deadline = time.process_time() + self._shrinking
        self.found = error

    def over(self, test: Callable[..., None]) -> Callable[..., None]:
        """Return the test, which ends the search when time is up; nothing drawn is no try."""

        @wraps(test)
        def timed(**arguments: Any) -> None:
            self.look()
            try:
                test(**arguments)
            except BaseException as error:
                self.failed(error)
                raise
            self.tried += any(arguments.values())

        return timed


@contextmanager
def watch_time(seconds: float, least: int = 1) -> Iterator[Watch]:
    """Give a search in the block a watch; raise what was found when time was up."""
    watch = Watch(seconds, least)
    try:
        with _without_seeds():
            yield watch
    except TimeIsUp:
        if watch.found is not None:
            raise watch.found from None
    except hypothesis().errors.Flaky as error:
        # What failed went well the next time: something is not a function of what was drawn.
        if not isinstance(watch.found, AssertionError):
            raise
        watch.found.add_note(
            "The same calls do not fail each time: the class depends on something besides its"
            " state, its arguments and its context."
        )
        raise watch.found from error


@contextmanager
def _without_seeds() -> Iterator[None]:
    """Keep Hypothesis from telling how to reproduce the end of the time, which is no failure."""
    import hypothesis.reporting as reporting

    told = reporting.current_reporter()
    with reporting.with_reporter(lambda text: None if "@seed(" in str(text) else told(text)):
        yield
