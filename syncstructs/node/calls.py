"""This node's calls before they are numbered: a bounded queue that any thread may use."""

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

from ..config import Config
from ..errors import Busy, Cancelled, NodeClosed, NodeFailed, TooLarge
from ..futures import Future
from ..objects.port import is_cleaning


class Call(Future[Any]):
    """A call and its future in one."""

    __slots__ = ("command", "parked")

    def __init__(self, blocker: "CallBlocker", command: bytes) -> None:
        # What `Future.__init__` does, without the call: this is paid for each call of the user's.
        self._blocker = blocker
        self._canceller = None
        self._done = False
        self._value = None
        self._error = None
        self._callbacks = []
        self.unclaimed = None
        self.reads = None
        self.command = command
        self.parked = False
        """Whether it was applied, and waits in an object for its turn."""

    def cancel(self) -> bool:
        """Take the call back if it was not sent yet; return whether it was."""
        blocker = self._blocker
        assert isinstance(blocker, CallBlocker)
        if self._done or not blocker.calls.withdraw(self):
            return False
        self.finish(None, Cancelled("the call was cancelled before it was sent"))
        return True


class CallBlocker:
    """How threads wait for this node's calls (see `Blocker`); knows the queue they came from."""

    def __init__(self, calls: "CallQueue", block: Callable[[Future[Any], float | None], None]):
        self.calls = calls
        self.block = block


class CallQueue:
    """Calls in the order they were made, until the driver takes them.

    Counts all calls of the node that have not ended, and refuses more than the bounds allow.
    """

    def __init__(self, config: Config) -> None:
        self._lock = threading.Lock()
        self.waiting: deque[Call] = deque()
        """Calls that were not taken yet; not to be changed from outside."""
        self._count = 0
        self._size_bytes = 0
        self._refusal: NodeClosed | NodeFailed | None = None
        self._room: list[Future[None]] = []
        self._count_max = config.max_pending_calls
        self._pending_max = config.max_pending_bytes
        self._command_max = min(config.max_command_bytes, config.max_pending_bytes)

    def put(self, call: Call) -> None:
        """Queue a call.

        Raises:
            TooLarge, Busy, NodeClosed, NodeFailed
        """
        size = len(call.command)
        # Not `acquire`: Ctrl-C as it returns would leave the lock taken, and the driver waiting.
        with self._lock:
            if (
                self._count >= self._count_max
                or self._size_bytes + size > self._pending_max
                or size > self._command_max
                or self._refusal is not None
            ):
                self._refuse(size)
            self._count += 1
            self._size_bytes += size
            self.waiting.append(call)

    def _refuse(self, size: int) -> None:
        """Raise why a call of that size is not taken, unless it takes back another one."""
        if size > self._command_max:
            small = self._pending_max == self._command_max
            name = "max_pending_bytes" if small else "max_command_bytes"
            raise TooLarge(
                f"the encoded call has {size} bytes; Config.{name} allows {self._command_max}"
            )
        if self._refusal is not None:
            raise type(self._refusal)(*self._refusal.args)
        if not is_cleaning():
            raise Busy(
                f"{self._count} calls with {self._size_bytes} bytes are pending on this node;"
                " wait for some, or raise Config.max_pending_calls or max_pending_bytes"
            )

    def _has_room(self, size_bytes: int) -> bool:
        return self._count < self._count_max and self._size_bytes + size_bytes <= self._pending_max

    def take(self, limit_bytes: int) -> list[Call]:
        """Take calls out, oldest first, until `limit_bytes` are passed."""
        waiting = self.waiting
        taken: list[Call] = []
        with self._lock:
            if self._size_bytes <= limit_bytes:
                taken.extend(waiting)
                waiting.clear()
                return taken
            size = 0
            while waiting and size < limit_bytes:
                call = waiting.popleft()
                size += len(call.command)
                taken.append(call)
        return taken

    def withdraw(self, call: Call) -> bool:
        """Take back a call that was not taken yet; return whether it was there."""
        with self._lock:
            try:
                self.waiting.remove(call)
            except ValueError:
                return False
        self.ended(1, len(call.command))
        return True

    def ended(self, count: int, size_bytes: int) -> None:
        """Make room: so many calls have ended."""
        with self._lock:
            self._count -= count
            self._size_bytes -= size_bytes
            room, self._room = self._room, []
        for future in room:
            future.finish(None, None)

    def wait_for_room(self, future: Future[None], size_bytes: int) -> None:
        """Finish `future` when there may be room for such a call, or none is taken any more.

        At once if that is so already. Who waits no longer, says so with `leave`.
        """
        with self._lock:
            if self._refusal is None and not self._has_room(size_bytes):
                self._room.append(future)
                return
        future.finish(None, None)

    def leave(self, future: Future[None]) -> None:
        """Forget somebody who waits for room no longer."""
        with self._lock:
            if future in self._room:
                self._room.remove(future)

    def close(self, refusal: NodeClosed | NodeFailed) -> list[Call]:
        """Refuse all further calls, and return those that were never taken."""
        with self._lock:
            self._refusal = self._refusal or refusal
            queued = list(self.waiting)
            self.waiting.clear()
            room, self._room = self._room, []
        for future in room:
            future.finish(None, None)
        return queued

    def __len__(self) -> int:
        return self._count
