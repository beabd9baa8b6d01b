"""What lists and deques that all members share have in common: commands of one element, and reads.

An index means the sequence as it is when the command is applied.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, MutableSequence
from operator import index as as_index
from typing import Any, ClassVar, Self, SupportsIndex, TypeVar

from ..objects.pickling import Places, enclosed, sought
from ..objects.replicated import Replicated, reading, replicated
from .prepared import Prepared, prepared
from .values import in_order, isolated_list

T = TypeVar("T")

REPEATED_MAX = 2**24
"""One short command must not make more elements than this: every member would have to hold them."""

_VALUE: Places = {0: enclosed, "value": enclosed}
_VALUE_1: Places = {1: enclosed, "value": enclosed}


class SharedSequence(Replicated, MutableSequence[T]):
    """A sequence whose elements are in `_items`, which is a list or a deque."""

    VALUES_IN: ClassVar[Mapping[str, Places]] = {
        "set": _VALUE_1,
        "append": _VALUE,
        "insert": _VALUE_1,
        "remove": _VALUE,
        "_extend": {0: enclosed},
    }
    _items: Any

    # Commands

    @replicated
    def set(self, index: int, value: T) -> None:
        """Do as `items[index] = value`. One log entry.

        Raises:
            IndexError: there is no such element when the command is applied.
        """
        self._items[index] = value

    @replicated
    def append(self, value: T) -> None:
        """Add an element at the end. One log entry."""
        self._items.append(value)

    @replicated
    def insert(self, index: int, value: T) -> None:
        """Insert an element before `index`. One log entry."""
        self._items.insert(index, value)

    @replicated
    def remove(self, value: Any) -> None:
        """Remove the first element that equals `value`. One log entry.

        Raises:
            ValueError: there is none when the command is applied.
        """
        self._items.remove(value)

    @replicated
    def delete(self, index: int) -> None:
        """Do as `del items[index]`. One log entry.

        Raises:
            IndexError: there is no such element when the command is applied.
        """
        del self._items[index]

    @replicated
    def clear(self) -> None:
        """Remove everything. One log entry."""
        self._items.clear()

    @replicated
    def reverse(self) -> None:
        """Reverse the order of the elements. One log entry."""
        self._items.reverse()

    @prepared
    def extend(self, values: Iterable[T]) -> Prepared[None]:
        """Add all elements of an iterable at the end. One log entry; they stay together."""
        return Prepared(self._extend, in_order(values))

    @replicated
    def _extend(self, values: list[T]) -> None:
        self._items.extend(values)

    @replicated
    def _repeat(self, count: int) -> None:
        # Each repetition is a copy: whatever is in one place must not be shared with another.
        if count <= 0:
            self._items.clear()
        else:
            once = list(self._items)
            maxlen = getattr(self._items, "maxlen", None)
            if maxlen is not None or not once:
                # More would change nothing, and take every member years.
                count = min(count, (maxlen or 0) // max(1, len(once)) + 1)
            if len(once) * count > REPEATED_MAX:
                raise OverflowError(
                    f"{len(once)} elements {count} times are more than {REPEATED_MAX:,}"
                )
            for _ in range(count - 1):
                self._items.extend(isolated_list(once))

    def __iadd__(self, values: Iterable[T]) -> Self:
        self.extend(values)
        return self

    def __imul__(self, count: SupportsIndex) -> Self:
        """Repeat the elements, in place. One log entry.

        Raises:
            OverflowError: it would be more than `REPEATED_MAX` elements; nothing is changed.
        """
        if not hasattr(count, "__index__"):
            return NotImplemented
        self._repeat(as_index(count))
        return self

    # Reads

    @abstractmethod
    def copy(self) -> MutableSequence[T]:
        """Return the content as a plain sequence, which shares nothing with the replica."""

    def __len__(self) -> int:
        with reading(self):
            return len(self._items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.copy())

    def __reversed__(self) -> Iterator[T]:
        return reversed(self.copy())

    def __contains__(self, value: object) -> bool:
        value = sought(self, value)
        with reading(self):
            return value in self._items

    def index(self, value: Any, start: int = 0, stop: int = 2**63 - 1) -> int:
        """Return the index of the first element in `start:stop` that equals `value`.

        Raises:
            ValueError: there is none.
        """
        value = sought(self, value)
        with reading(self):
            return int(self._items.index(value, start, stop))

    def count(self, value: Any) -> int:
        """Return how many elements equal `value`."""
        value = sought(self, value)
        with reading(self):
            return int(self._items.count(value))

    def __repr__(self) -> str:
        with reading(self):
            return f"{type(self).__name__}({self._items!r})"


def as_place(index: SupportsIndex) -> int:
    if not hasattr(index, "__index__"):
        raise TypeError(
            f"list indices must be integers or slices, not {type(index).__name__}"
        )
    return as_index(index)
