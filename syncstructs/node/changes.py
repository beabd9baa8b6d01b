"""The changes of an object as an iterator, for `for` and for `async for`."""

import threading
from collections import deque
from typing import Self
from weakref import ref

from ..errors import ConfigError
from ..futures import Blocker, Future
from ..objects.changes import Change, subscribe
from ..objects.replicated import Replicated, bound


class Changes:
    """See `Replicated.changes`; for one consumer."""

    def __init__(self, target: Replicated, limit: int, blocker: Blocker) -> None:
        if limit < 1:
            raise ConfigError(f"limit={limit!r} leaves no room for a change; it must be 1 or more")
        self._limit = limit
        self._blocker = blocker
        self._lock = threading.Lock()
        self._waiting: deque[Change] = deque()
        self._wake: Future[None] | None = None
        self._ended = False
        # Weakly, or one that was given up without a `close` would gather changes for ever.
        mine = ref(self)

        def add(change: Change) -> None:
            changes = mine()
            if changes is None:
                subscription.close()
            else:
                changes._add(change)

        def end() -> None:
            changes = mine()
            if changes is not None:
                changes._end()

        with target._port.reading:
            subscription = self._subscription = subscribe(target, bound(target), add, end)

    def _add(self, change: Change) -> None:
        with self._lock:
            if len(self._waiting) >= self._limit:
                self._waiting.clear()
                change = Change(change.index, None)
            self._waiting.append(change)
            wake, self._wake = self._wake, None
        if wake is not None:
            wake.finish(None, None)

    def _end(self) -> None:
        with self._lock:
            self._ended = True
            wake, self._wake = self._wake, None
        if wake is not None:
            wake.finish(None, None)

    def _take(self) -> "Change | Future[None] | None":
        """Return the next change, or what to wait for; None: there are no more."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            if self._ended:
                return None
            if self._wake is None:
                self._wake = Future(self._blocker)
            return self._wake

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Change:
        while isinstance(found := self._take(), Future):
            found.result()
        if found is None:
            raise StopIteration
        return found

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Change:
        while isinstance(found := self._take(), Future):
            await found
        if found is None:
            raise StopAsyncIteration
        return found

    def close(self) -> None:
        """Take no more; whoever waits is told that there are no more."""
        self._subscription.close()
        with self._lock:
            self._waiting.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
