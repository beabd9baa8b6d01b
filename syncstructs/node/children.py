"""Work in a forked child: on the memory as it is now, while the node goes on."""

import os
import selectors
import signal
import threading
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from typing import Any, TypeVar

import msgspec

from ..errors import NodeClosed
from .forks import fork_child
from .garbage import freezer

T = TypeVar("T")
Post = Callable[[Callable[[], object]], object]
"""Brings a function to the driver's thread."""

_READ_BYTES = 65536
# What a child writes while it is at work: MessagePack's nil, with which no result begins.
_AT_WORK = b"\xc0"


class Children:
    """The children of one node: each does one thing, and none outlives the node's `close`."""

    def __init__(self, post: Post) -> None:
        self._post = post
        self._lock = threading.Lock()
        self._alive: dict[int, threading.Thread] = {}
        self._closed = False

    def do(
        self,
        work: Callable[[Callable[[], object]], T],
        kind: type[T],
        then: Callable[[T | BaseException], Any],
        *,
        name: str,
        seconds: float,
        files: Collection[int] = (),
    ) -> None:
        """Do `work` in a child, and call `then` in the driver's thread with what came of it.

        That is its result, of the type `kind`, which comes back as MessagePack; or why there is
        none: `NodeClosed` if `close` has ended it. Work is given a function to call as it goes on:
        a child that was silent for `seconds` is ended, for it waits for something that is not there
        in a child. `files`: what it needs of open files.

        Raises:
            OSError, RuntimeError: there is no room for another process, or for a thread.
            NodeClosed: `close` was called.
        """
        reading, writing = os.pipe()
        child = 0

        def wait() -> None:
            told = _told(reading, seconds, kind)
            freezer.release()
            with self._lock:
                if not child:
                    # It could not be forked.
                    return
                # From here on its number may be that of another process.
                del self._alive[child]
                _end(child)
                if self._closed and isinstance(told, OSError):
                    told = NodeClosed("the node was closed while a child was at work for it")
            self._post(lambda: then(told))

        thread = threading.Thread(target=wait, name=f"syncstructs-{name}-child", daemon=True)
        freezer.hold()
        try:
            with self._lock:
                if self._closed:
                    raise NodeClosed("the node is closed")
                # First: with a child at work, it may be long before a new thread gets to run.
                thread.start()
                child = fork_child(lambda: _tell(writing, work), keep=(writing, *files))
                self._alive[child] = thread
        except BaseException:
            os.close(writing)
            if thread.ident is None:
                os.close(reading)
                freezer.release()
            else:
                thread.join()
            raise
        os.close(writing)

    def close(self) -> None:
        """End all children, and wait until they are gone; idempotent."""
        with self._lock:
            self._closed = True
            threads = list(self._alive.values())
            for child in self._alive:
                # It may have ended just now, and somebody else in this process have reaped it.
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(child, signal.SIGKILL)
        for thread in threads:
            thread.join()


def while_parent_lives(
    parts: Iterable[bytes], parent: int, at_work: Callable[[], object]
) -> Iterator[bytes]:
    """Yield `parts`, in a child, for as long as somebody is there who will want what comes of it.

    `parent`: its process id, from before the fork: it may be gone as soon as the child is there.
    `at_work` is called with each part.

    Raises:
        ProcessLookupError: the parent is gone, and another process may have its place.
    """
    for part in parts:
        yield part
        if os.getppid() != parent:
            raise ProcessLookupError("the parent of this process is gone")
        at_work()


def _tell(writing: int, work: Callable[[Callable[[], object]], object]) -> None:
    """In the child: write a one-element array with the result, or what the work raised as text."""
    try:
        told: object = [work(lambda: os.write(writing, _AT_WORK))]
    except Exception as error:
        told = f"{type(error).__name__}: {error}"
    with open(writing, "wb") as pipe:
        pipe.write(msgspec.msgpack.encode(told))


def _told(reading: int, seconds: float, kind: type[T]) -> T | BaseException:
    try:
        data = _read(reading, seconds).lstrip(_AT_WORK)
        told = msgspec.msgpack.decode(data, type=list[kind] | str)  # type: ignore[valid-type]
        return OSError(f"in a child: {told}") if isinstance(told, str) else told[0]
    except TimeoutError as error:
        return error
    except (msgspec.DecodeError, LookupError) as error:
        return OSError(f"a child ended before its work was done: {error}")
    finally:
        os.close(reading)


def _end(child: int) -> None:
    """End a child that is not needed any more; mostly it has ended by itself."""
    # Somebody in this process may have reaped it.
    with suppress(ChildProcessError, ProcessLookupError):
        if os.waitpid(child, os.WNOHANG) == (0, 0):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _read(reading: int, seconds: float) -> bytes:
    """Return all that comes until the other end is closed.

    Raises:
        TimeoutError: nothing came for `seconds`.
    """
    parts: list[bytes] = []
    with selectors.DefaultSelector() as selector:
        selector.register(reading, selectors.EVENT_READ)
        while selector.select(seconds):
            part = os.read(reading, _READ_BYTES)
            if not part:
                return b"".join(parts)
            parts.append(part)
    raise TimeoutError(f"a child did not go on with its work for {seconds} s")
