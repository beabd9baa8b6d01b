"""`ReplRWLock`: many readers or one writer, over all members, in order of arrival."""

from collections.abc import Callable
from typing import ClassVar, Final

from ..objects.port import Steps
from ..objects.replicated import bound, reading
from .holding import Grant, named
from .locks import KeyLock
from .permits import Permits

READ: Final = "read"
WRITE: Final = "write"


class ReplRWLock(Permits[str]):
    """A replicated read/write lock: many may hold its `reader` at once, or one its `writer`.

    Each is used as a `ReplLock`: `with lock.reader:`, `acquire(blocking, timeout)`, `token`, `held`
    and so on. Whoever came first is served first: a reader waits behind a writer who waits, so that
    writers do not starve, and a writer behind the readers that came before it; readers that wait
    one after the other are let in together. Each has a fencing token of its own, greater than all
    that were granted before. What `ReplLock` says of leaders and sessions goes for each;
    `on_lost(kind)` is called with "read" or "write" for each that was lost.

    Not reentrant: a reader that asks once more may wait behind a writer, and that one for the
    reader. Who reads cannot become the writer, as two that tried would wait for each other for
    ever: it must release first, and look again as a writer. Both are refused to a thread (in
    asyncio, a task) that holds the other side.

    Each acquire and each release is one log entry; a request that is not served in time takes a
    second one. O(1), and O(readers) when a session expires.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"on_lost"})

    def __init__(self, on_lost: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self.on_lost = on_lost

    def _admits(self, kind: str) -> bool:
        # Those who hold it are readers all, or one writer.
        return not self._holders or (kind == READ and self._locked(READ))

    @property
    def reader(self) -> KeyLock[str]:
        """The side that any number may hold at once, as long as nobody writes."""
        return KeyLock(self, READ)

    @property
    def writer(self) -> KeyLock[str]:
        """The side that one may hold, as long as nobody reads."""
        return KeyLock(self, WRITE)

    @property
    def readers(self) -> int:
        """How many read at present, as far as this member knows."""
        with reading(self):
            return len(self._holders) if self._locked(READ) else 0

    def _acquiring(
        self, key: str, blocking: bool, seconds: float | None, *said: object
    ) -> Steps[Grant | None]:
        """Acquire one side.

        Raises:
            RuntimeError: the caller holds the other side, and would wait for itself.
        """
        caller = bound(self).port.caller()
        if any(g.caller == caller and g.key != key for g in list(self._grants.values())):
            other = "writer" if key == READ else "reader"
            raise RuntimeError(
                f"{self._describe(key)}: this thread or task holds the {other} already, and would"
                " wait for itself; it must be released first"
            )
        return super()._acquiring(key, blocking, seconds, *said)

    def __repr__(self) -> str:
        state = "writing" if self._locked(WRITE) else f"{self.readers} readers"
        return f"<{type(self).__name__} {named(self)}{state} at {id(self):#x}>"

    def _tell_lost(self, key: str) -> None:
        if self.on_lost is not None:
            self.on_lost(key)

    def _describe(self, key: str) -> str:
        return f"{type(self).__name__} {named(self)}to {key}"

    def _check(self) -> None:
        super()._check()
        kinds = [permit[2] for permit in self._holders.values()]
        assert len(kinds) <= 1 or WRITE not in kinds, self._holders
