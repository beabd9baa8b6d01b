"""Taking digests of this replica's objects: here if they hold little, in a forked child if not.

The state must not change while that goes on, and nobody wants to wait for it. A child has the
state as it was, however long it takes.
"""

import os
import time
from collections.abc import Callable
from typing import Any

from .children import Children
from .ports import Digester

Digests = dict[int, tuple[bytes, int]]
Then = Callable[[Digests | BaseException], Any]

# What is done in the driver's thread: so many values at the most, and if that took no longer the
# last time, for a class may make much of little. A fork takes some milliseconds as well.
_INLINE_VALUES = 20_000
_INLINE_SECONDS = 0.02
_CHILD_SECONDS = 600.0


class InlineDigester:
    """Take digests in the driver's thread."""

    def take(
        self, digests: Callable[[], Digests], outweigh: Callable[[int], bool], then: Then
    ) -> None:
        """Report the digests; see `Digester`."""
        then(digests())


class ForkDigester:
    """Fork when there is much to look at: the child takes the digests, the node goes on.

    Measured is the time of the processor, so that others who use it have no say.
    """

    def __init__(self, children: Children) -> None:
        self._children = children
        self._last_seconds = 0.0

    def take(
        self, digests: Callable[[], Digests], outweigh: Callable[[int], bool], then: Then
    ) -> None:
        """Report the digests; see `Digester`.

        Raises:
            OSError, RuntimeError: there is no room for another process, or for a thread.
        """
        if self._last_seconds < _INLINE_SECONDS and not outweigh(_INLINE_VALUES):
            self._last_seconds, found = _timed(digests)
            then(found)
            return

        def told(result: tuple[float, Digests] | BaseException) -> None:
            if isinstance(result, BaseException):
                then(result)
            else:
                self._last_seconds, found = result
                then(found)

        self._children.do(
            lambda at_work: _timed(digests), tuple[float, Digests], told,
            name="digest", seconds=_CHILD_SECONDS,
        )  # fmt: skip


def _timed(digests: Callable[[], Digests]) -> tuple[float, Digests]:
    """Return how many seconds of the processor it took, and the digests."""
    begun = time.thread_time()
    found = digests()
    return time.thread_time() - begun, found


def make_digester(children: Children) -> Digester:
    """Return the kind that suits the platform."""
    return ForkDigester(children) if hasattr(os, "fork") else InlineDigester()
