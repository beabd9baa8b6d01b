"""Taking digests of this replica's objects: here if they hold little, in a forked child if not.

The state must not change while that goes on, and nobody wants to wait for it. A child has the
state as it was, however long it takes.
"""

import os
import selectors
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from .forks import fork_child
from .ports import Digester

Digests = dict[int, bytes]
Then = Callable[[Digests | BaseException], Any]

# What is done in the driver's thread: so many values at the most, and if that took no longer the
# last time, for a class may make much of little. A fork takes some milliseconds as well.
_INLINE_VALUES = 20_000
_INLINE_SECONDS = 0.02
# A child that takes longer waits for something that is not there in a child.
_CHILD_SECONDS = 600.0
_READ_BYTES = 65536


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

    def __init__(self, post: Callable[[Callable[[], object]], object]) -> None:
        """`post` brings a function to the driver's thread."""
        self._post = post
        self._last_seconds = 0.0

    def take(
        self, digests: Callable[[], Digests], outweigh: Callable[[int], bool], then: Then
    ) -> None:
        """Report the digests; see `Digester`.

        Raises:
            OSError: there is no room for another process.
        """
        if self._last_seconds < _INLINE_SECONDS and not outweigh(_INLINE_VALUES):
            self._last_seconds, found = _timed(digests)
            then(found)
            return
        reading, writing = os.pipe()
        try:
            child = fork_child(lambda: _write(writing, digests), keep=writing)
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        threading.Thread(
            target=self._await,
            args=(child, reading, then),
            name="syncstructs-digest-child",
            daemon=True,
        ).start()

    def _await(self, child: int, reading: int, then: Then) -> None:
        result: Digests | BaseException
        try:
            told = msgspec.msgpack.decode(_read(reading, _CHILD_SECONDS), type=_Told)
            self._last_seconds = told.seconds
            result = told.digests if told.error is None else OSError(f"in a child: {told.error}")
        except TimeoutError as error:
            os.kill(child, signal.SIGKILL)
            result = error
        except msgspec.DecodeError as error:
            result = OSError(f"a child that was to take the digests was ended: {error}")
        os.close(reading)
        # Somebody in this process may have reaped it.
        with suppress(ChildProcessError):
            os.waitpid(child, 0)
        self._post(lambda: then(result))


def _timed(digests: Callable[[], Digests]) -> tuple[float, Digests]:
    """Return how many seconds of the processor it took, and the digests."""
    begun = time.thread_time()
    found = digests()
    return time.thread_time() - begun, found


class _Told(msgspec.Struct):
    """What a child tells."""

    seconds: float = 0.0
    digests: Digests = {}
    error: str | None = None


def _write(writing: int, digests: Callable[[], Digests]) -> None:
    try:
        told = _Told(*_timed(digests))
    except Exception as error:
        told = _Told(error=repr(error))
    with open(writing, "wb") as pipe:
        pipe.write(msgspec.msgpack.encode(told))


def _read(reading: int, seconds: float) -> bytes:
    """Return all that comes until the other end is closed.

    Raises:
        TimeoutError: it was not closed within `seconds`.
    """
    deadline = time.monotonic() + seconds
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while selector.select(deadline - time.monotonic()):
            part = os.read(reading, _READ_BYTES)
            if not part:
                return b"".join(parts)
            parts.append(part)
    raise TimeoutError(f"a child has not taken the digests within {seconds} s")


def make_digester(post: Callable[[Callable[[], object]], object]) -> Digester:
    """Return the kind that suits the platform."""
    return ForkDigester(post) if hasattr(os, "fork") else InlineDigester()
