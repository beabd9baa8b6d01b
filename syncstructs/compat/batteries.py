"""PySyncObj's ready-made structures: its methods and calling convention over this package's types.

Each is a handle on one of our own structures, which is what the cluster knows. So a member may use
`compat.pysyncobj.ReplDict` while another one uses `syncstructs.ReplDict` for the same object, and a
program can move over one structure at a time. What is read is a copy; writing to it changes
nothing. Reads are local, and see a synchronous call of this member once it has returned. Lists,
dictionaries and queues that are made with `pickle=True` hold values of any class, as ours do.
"""

import warnings
from collections.abc import Callable, ItemsView, Iterator, KeysView, ValuesView
from contextlib import suppress
from queue import Empty, Full
from typing import Any, ClassVar, Generic, TypeVar, Unpack

from ..errors import NotOwner
from ..objects.replicated import Replicated, ReplicatedDescriptor
from ..structs import counters, dicts, lists, locks, queues, sets
from .calls import Callback, Options, Sendable, Take, perform, plainly

N = TypeVar("N", bound=Replicated)


class Battery(Generic[N]):
    """A handle on a structure of ours; pass it to `SyncObj(consumers=[...])`."""

    _native: N

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, member in vars(cls).items():
            if isinstance(member, ReplicatedDescriptor):
                raise TypeError(
                    f"{cls.__name__}.{name} cannot be replicated: inherit from SyncObjConsumer,"
                    " or from the structure of the same name in syncstructs"
                )

    def _consumer(self) -> N:
        """Return the structure that the cluster knows."""
        return self._native

    def _call(
        self,
        method: Sendable,
        *args: object,
        read: Callable[[Take], Any] = plainly,
        **options: Unpack[Options],
    ) -> Any:
        return perform(method, args, {}, label=type(self).__name__, read=read, **options)

    def __repr__(self) -> str:
        return repr(self._native)


class ReplCounter(Battery[counters.ReplCounter]):
    """A whole number; a fraction raises TypeError in its own call."""

    def __init__(self) -> None:
        self._native = counters.ReplCounter()

    def set(self, newValue: int, **options: Unpack[Options]) -> int | None:  # noqa: N803
        """Replace the value; the result is the new one."""
        return self._call(self._native.set, newValue, **options)  # type: ignore[no-any-return]

    def add(self, value: int, **options: Unpack[Options]) -> int | None:
        """Add to the value; the result is the new one."""
        return self._call(self._native.add, value, **options)  # type: ignore[no-any-return]

    def sub(self, value: int, **options: Unpack[Options]) -> int | None:
        """Subtract from the value; the result is the new one."""
        return self._call(self._native.sub, value, **options)  # type: ignore[no-any-return]

    def inc(self, **options: Unpack[Options]) -> int | None:
        """Add 1 to the value; the result is the new one."""
        return self._call(self._native.inc, **options)  # type: ignore[no-any-return]

    def get(self) -> int:
        """Return the present value on this member."""
        return self._native.get()


class ReplList(Battery[lists.ReplList[Any]]):
    """A list; a call that fails raises what `list` would."""

    def __init__(self, *, pickle: bool = False) -> None:
        self._native = lists.ReplList(pickle=pickle)

    def reset(self, newData: list[Any], **options: Unpack[Options]) -> None:  # noqa: N803
        """Replace the whole content."""
        self._call(self._native.reset, newData, **options)

    def set(
        self, position: int, newValue: object, **options: Unpack[Options]  # noqa: N803
    ) -> None:
        """Replace the element at `position`."""
        self._call(self._native.set, position, newValue, **options)

    def append(self, item: object, **options: Unpack[Options]) -> None:
        """Add an element at the end."""
        self._call(self._native.append, item, **options)

    def extend(self, other: Any, **options: Unpack[Options]) -> None:
        """Add all elements of an iterable at the end."""
        self._call(self._native.extend, other, **options)

    def insert(self, position: int, element: object, **options: Unpack[Options]) -> None:
        """Insert an element before `position`."""
        self._call(self._native.insert, position, element, **options)

    def remove(self, element: object, **options: Unpack[Options]) -> None:
        """Remove the first element that equals `element`."""
        self._call(self._native.remove, element, **options)

    def pop(self, position: int | None = None, **options: Unpack[Options]) -> Any:
        """Remove the element at `position` (None: the last one); it is the result."""
        return self._call(self._native.pop, -1 if position is None else position, **options)

    def sort(self, reverse: bool = False, **options: Unpack[Options]) -> None:
        """Sort the elements, stably."""
        arguments: dict[str, Any] = {"reverse": reverse}
        perform(self._native.sort, (), arguments, label=type(self).__name__, **options)

    def __setitem__(self, position: int, element: object) -> None:
        self.set(position, element)

    def index(self, element: object) -> int:
        """Return the first position of an element, or raise ValueError."""
        return self._native.index(element)

    def count(self, element: object) -> int:
        """Return how often an element occurs."""
        return self._native.count(element)

    def get(self, position: int) -> Any:
        """Return the element at `position`."""
        return self._native[position]

    def __getitem__(self, position: int) -> Any:
        return self._native[position]

    def __len__(self) -> int:
        return len(self._native)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._native)

    def rawData(self) -> list[Any]:  # noqa: N802
        """Return a copy of the content."""
        return self._native.copy()


class ReplDict(Battery[dicts.ReplDict[Any, Any]]):
    """A dictionary, in the order of insertion."""

    def __init__(self, *, pickle: bool = False) -> None:
        self._native = dicts.ReplDict(pickle=pickle)

    def reset(self, newData: dict[Any, Any], **options: Unpack[Options]) -> None:  # noqa: N803
        """Replace the whole content."""
        self._call(self._native.reset, newData, **options)

    def set(self, key: object, value: object, **options: Unpack[Options]) -> None:
        """Set the value of a key."""
        self._call(self._native.set, key, value, **options)

    def setdefault(self, key: object, default: object, **options: Unpack[Options]) -> Any:
        """Set the value of a key that is absent; the result is the value it has then."""
        return self._call(self._native.setdefault, key, default, **options)

    def update(self, other: Any, **options: Unpack[Options]) -> None:
        """Take over all pairs of another dictionary."""
        self._call(self._native.update, other, **options)

    def pop(self, key: object, default: object = None, **options: Unpack[Options]) -> Any:
        """Remove a key; the result is its value, or `default` if it was absent."""
        return self._call(self._native.pop, key, default, **options)

    def clear(self, **options: Unpack[Options]) -> None:
        """Remove everything."""
        self._call(self._native.clear, **options)

    def __setitem__(self, key: object, value: object) -> None:
        self.set(key, value)

    def __getitem__(self, key: object) -> Any:
        return self._native[key]

    def get(self, key: object, default: Any = None) -> Any:
        """Return the value of a key, or `default`."""
        return self._native.get(key, default)

    def __len__(self) -> int:
        return len(self._native)

    def __contains__(self, key: object) -> bool:
        return key in self._native

    def __iter__(self) -> Iterator[Any]:
        return iter(self._native)

    def keys(self) -> KeysView[Any]:
        """Return a view of the keys."""
        return self._native.keys()

    def values(self) -> ValuesView[Any]:
        """Return a view of the values."""
        return self._native.values()

    def items(self) -> ItemsView[Any, Any]:
        """Return a view of the pairs."""
        return self._native.items()

    def rawData(self) -> dict[Any, Any]:  # noqa: N802
        """Return a copy of the content."""
        return self._native.copy()


class ReplSet(Battery[sets.ReplSet[Any]]):
    """A set; `pop` takes the newest element, the same one on every member."""

    def __init__(self) -> None:
        self._native = sets.ReplSet()

    def reset(self, newData: Any, **options: Unpack[Options]) -> None:  # noqa: N803
        """Replace the whole content."""
        self._call(self._native.reset, newData, **options)

    def add(self, item: object, **options: Unpack[Options]) -> None:
        """Add an element."""
        self._call(self._native.add, item, **options)

    def remove(self, item: object, **options: Unpack[Options]) -> None:
        """Remove an element; KeyError is the outcome if it is absent."""
        self._call(self._native.remove, item, **options)

    def discard(self, item: object, **options: Unpack[Options]) -> None:
        """Remove an element if it is there."""
        self._call(self._native.discard, item, **options)

    def pop(self, **options: Unpack[Options]) -> Any:
        """Remove the newest element; it is the result."""
        return self._call(self._native.pop, **options)

    def clear(self, **options: Unpack[Options]) -> None:
        """Remove everything."""
        self._call(self._native.clear, **options)

    def update(self, other: Any, **options: Unpack[Options]) -> None:
        """Add all elements of an iterable."""
        self._call(self._native.update, other, **options)

    def rawData(self) -> set[Any]:  # noqa: N802
        """Return a copy of the content."""
        return self._native.copy()

    def __len__(self) -> int:
        return len(self._native)

    def __contains__(self, item: object) -> bool:
        return item in self._native

    def __iter__(self) -> Iterator[Any]:
        return iter(self._native)


class ReplQueue(Battery[queues.ReplQueue[Any]]):
    """A queue whose calls do not wait for items or room."""

    _kind: ClassVar[type[queues.ReplQueue[Any]]] = queues.ReplQueue

    def __init__(self, maxsize: int = 0, *, pickle: bool = False) -> None:
        self._native = self._kind(maxsize, pickle=pickle)

    def put(self, item: object, **options: Unpack[Options]) -> bool | None:
        """Put an item; the result is True, or False if the queue was full."""
        return self._call(self._native.put_nowait, item, read=_put, **options)  # type: ignore[no-any-return]

    def get(self, default: Any = None, **options: Unpack[Options]) -> Any:
        """Take an item; it is the result, or `default` if there was none."""

        def read(take: Take) -> Any:
            try:
                return take()
            except Empty:
                return default

        return self._call(self._native.get_nowait, read=read, **options)

    def qsize(self) -> int:
        """Return how many items there are on this member, now."""
        return self._native.qsize()

    def empty(self) -> bool:
        """Return whether there are no items on this member, now."""
        return self._native.empty()

    def full(self) -> bool:
        """Return whether there is no room on this member, now."""
        return self._native.full()

    def __len__(self) -> int:
        return self._native.qsize()


class ReplPriorityQueue(ReplQueue):
    """The same, the smallest item first; one that cannot be ordered raises in its own `put`."""

    _kind: ClassVar[type[queues.ReplQueue[Any]]] = queues.ReplPriorityQueue


class ReplLockManager(Battery[locks.ReplLockManager[Any]]):
    """Locks by key, held by this node's session.

    `autoUnlockTime` is the session's life in seconds: a node that is dead or cut off for that long
    loses its locks (for several managers of one node the longest time counts). No member's wall
    clock takes part. `selfID` is ignored: what holds a lock is the node.
    """

    def __init__(self, autoUnlockTime: float, selfID: object = None) -> None:  # noqa: N803
        self._native = locks.ReplLockManager()
        self.unlock_time = float(autoUnlockTime)
        if selfID is not None:
            warnings.warn(
                f"ReplLockManager(selfID={selfID!r}) has no meaning here and is ignored",
                stacklevel=2,
            )

    def tryAcquire(  # noqa: N802
        self,
        lockID: object,  # noqa: N803
        callback: Callback | None = None,
        sync: bool = False,
        timeout: float | None = None,
    ) -> bool | None:
        """Acquire a lock if nobody holds it; the result is whether this node holds it then."""
        return self._call(  # type: ignore[no-any-return]
            self._native.try_acquire,
            lockID,
            read=lambda take: take() or self._native.held(lockID),
            callback=callback,
            sync=sync,
            timeout=timeout,
        )

    def isAcquired(self, lockID: object) -> bool:  # noqa: N802, N803
        """Return whether this node certainly holds the lock."""
        return self._native.held(lockID)

    def release(
        self,
        lockID: object,  # noqa: N803
        callback: Callback | None = None,
        sync: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Release a lock; nothing happens if it is not held here.

        The outcome is `LockLost` if it was lost while it was held: it protected nothing any more.
        """

        def read(take: Take) -> None:
            with suppress(NotOwner):
                take()

        self._call(
            self._native.release, lockID, read=read, callback=callback, sync=sync, timeout=timeout
        )

    def destroy(self) -> None:
        """Release all locks that are held here, without waiting."""
        for key in [key for key in self._native.holders() if self._native.held(key)]:
            # Most likely the node is closed next; then how this ended is of no interest.
            self.release(key, callback=_ignore)


def _ignore(result: object, error: object) -> None:
    """Take an outcome that nobody asks for."""


def _put(take: Take) -> bool:
    try:
        take()
    except Full:
        return False
    return True
