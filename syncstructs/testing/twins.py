"""The plain Python twins of the replicated types: the same methods and errors in one process.

Written for shortness, and on other ground than the real types (which these shall check): a twin
never waits, copies or replicates. A method that would wait without end raises `Blocked` instead.
"""

from bisect import insort_left, insort_right
from collections.abc import Iterable
from queue import Empty, Full
from typing import Any

from ..structs.queues import ShutDown
from ..structs.values import in_order


class Blocked(BaseException):
    """The call cannot take effect in this state: it would wait."""


class Register:
    """One value: `get`, `set`, `compare_and_set`; also spelled `read` and `write`."""

    def __init__(self, value: Any = None) -> None:
        self.value = value

    def get(self) -> Any:
        return self.value

    def set(self, value: Any) -> None:
        self.value = value

    def compare_and_set(self, expected: Any, value: Any) -> bool:
        swapped: bool = self.value == expected
        if swapped:
            self.value = value
        return swapped

    read = get
    write = set


class Counter:
    """`ReplCounter`; what it has not here is that of an `int`."""

    def __init__(self, value: int = 0) -> None:
        self.value = value

    def get(self) -> int:
        return self.value

    def set(self, value: int) -> int:
        self.value = _whole(value)
        return self.value

    def add(self, amount: int) -> int:
        return self.set(self.value + _whole(amount))

    def sub(self, amount: int) -> int:
        return self.set(self.value - _whole(amount))

    def inc(self) -> int:
        return self.add(1)

    def dec(self) -> int:
        return self.sub(1)

    def compare_and_set(self, expected: int, value: int) -> bool:
        value = _whole(value)
        if self.value != expected:
            return False
        self.value = value
        return True

    def __iadd__(self, amount: int) -> None:
        self.add(amount)

    def __isub__(self, amount: int) -> None:
        self.sub(amount)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value, name)


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a ReplCounter counts whole numbers, not {type(value).__name__}")
    return int(value)


class Dict(dict[Any, Any]):
    """`ReplDict`."""

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key, default)

    def set(self, key: Any, value: Any) -> None:
        self[key] = value

    def delete(self, key: Any) -> None:
        del self[key]

    def setdefault(self, key: Any, default: Any = None) -> Any:
        return super().setdefault(key, default)

    def pop(self, key: Any, *default: Any) -> Any:
        return super().pop(key, *default)

    def compare_and_set(self, key: Any, expected: Any, value: Any) -> bool:
        if key not in self or self[key] != expected:
            return False
        self[key] = value
        return True

    def reset(self, other: Any = (), /, **named: Any) -> None:
        content = dict(other, **named)
        self.clear()
        self.update(content)

    def __ior__(self, other: Any) -> None:  # type: ignore[misc,override]
        self.update(other)


class List(list[Any]):
    """`ReplList`."""

    def get(self, index: Any) -> Any:
        return self[index]

    def set(self, index: Any, value: Any) -> None:
        self[index] = value

    def append(self, value: Any) -> None:
        super().append(value)

    def insert(self, index: Any, value: Any) -> None:
        super().insert(index, value)

    def pop(self, index: Any = -1) -> Any:
        return super().pop(index)

    def remove(self, value: Any) -> None:
        super().remove(value)

    def delete(self, index: Any) -> None:
        del self[index]

    def extend(self, values: Iterable[Any]) -> None:
        super().extend(in_order(values))

    def reset(self, values: Iterable[Any] = ()) -> None:
        self[:] = in_order(values)

    def _sort(self, key: None, reverse: bool) -> None:
        super().sort(reverse=reverse)

    def _set_slice(self, bounds: list[int | None], values: list[Any]) -> None:
        self[slice(*bounds)] = values

    def _delete_slice(self, bounds: list[int | None]) -> None:
        del self[slice(*bounds)]

    def _repeat(self, count: int) -> None:
        self[:] = self * count

    def __iadd__(self, values: Iterable[Any]) -> None:  # type: ignore[misc,override]
        self.extend(values)

    def __imul__(self, count: Any) -> None:  # type: ignore[misc,override]
        self[:] = self * count


class Set:
    """`ReplSet`: in the order of insertion; reads that are not here are those of a `set`."""

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self.items = dict.fromkeys(elements)

    def add(self, element: Any) -> None:
        self.items.setdefault(element)

    def remove(self, element: Any) -> None:
        del self.items[_hashable(element)]

    def discard(self, element: Any) -> None:
        self.items.pop(_hashable(element), None)

    def pop(self) -> Any:
        if not self.items:
            raise KeyError("pop from an empty set")
        return self.items.popitem()[0]

    def clear(self) -> None:
        self.items.clear()

    def update(self, *others: Iterable[Any]) -> None:
        for other in others:
            self.items.update(dict.fromkeys(in_order(other)))

    def difference_update(self, *others: Iterable[Any]) -> None:
        for other in others:
            for element in list(other):
                self.items.pop(element, None)

    def intersection_update(self, *others: Iterable[Any]) -> None:
        wanted = set(self.items).intersection(*others)
        self.items = {element: None for element in self.items if element in wanted}

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        for element in dict.fromkeys(in_order(other)):
            if element in self.items:
                del self.items[element]
            else:
                self.items[element] = None

    def reset(self, elements: Iterable[Any] = ()) -> None:
        self.items = dict.fromkeys(in_order(elements))

    def __iter__(self) -> Any:
        return iter(self.items)

    def __contains__(self, element: object) -> bool:
        return _hashable(element) in self.items

    def __len__(self) -> int:
        return len(self.items)

    def __getattr__(self, name: str) -> Any:
        return getattr(set(self.items), name)


def _hashable(element: Any) -> Any:
    return frozenset(element) if isinstance(element, set) else element


class Queue:
    """`ReplQueue`. A time-out that is not without end runs out at once."""

    def __init__(self, maxsize: int = 0) -> None:
        self.maxsize = maxsize
        self.items: list[Any] = []
        self.unfinished_tasks = 0
        self.is_shutdown = False
        self.drained = False
        self.hands: tuple[Any, ...] = ()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        _check_timeout(block and self.maxsize > 0, timeout)
        if self.is_shutdown:
            raise ShutDown
        if self.full():
            raise Blocked if block and timeout is None else Full
        self.insert(item)
        self.unfinished_tasks += 1

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        _check_timeout(block, timeout)
        if self.items:
            return self.items.pop(0)
        if self.is_shutdown:
            raise ShutDown
        raise Blocked if block and timeout is None else Empty

    def put_nowait(self, item: Any) -> None:
        self.put(item, block=False)

    def get_nowait(self) -> Any:
        return self.get(block=False)

    def task_done(self) -> None:
        if self.unfinished_tasks <= 0:
            raise ValueError("task_done() called too many times")
        self.unfinished_tasks -= 1

    def join(self) -> None:
        if self.unfinished_tasks:
            raise Blocked

    def shutdown(self, immediate: bool = False) -> None:
        self.is_shutdown = True
        if immediate:
            self.drained = True
            self.unfinished_tasks -= min(len(self.items), self.unfinished_tasks)
            self.items.clear()

    def _put_back(self, item: Any) -> None:
        """What a `get` does that was given up as its item came."""
        if not self.drained:
            self.insert_front(item)
        elif self.unfinished_tasks:
            self.unfinished_tasks -= 1

    def qsize(self) -> int:
        return len(self.items)

    def empty(self) -> bool:
        return not self.items

    def full(self) -> bool:
        return 0 < self.maxsize <= len(self.items)

    def insert(self, item: Any) -> None:
        self.items.append(item)

    def insert_front(self, item: Any) -> None:
        self.items.insert(0, item)


class PriorityQueue(Queue):
    """`ReplPriorityQueue`, for items that can all be compared with each other."""

    def insert(self, item: Any) -> None:
        insort_right(self.items, item)

    def insert_front(self, item: Any) -> None:
        insort_left(self.items, item)


def _check_timeout(block: bool, timeout: float | None) -> None:
    if block and timeout is not None and timeout < 0:
        raise ValueError("'timeout' must be a non-negative number")
