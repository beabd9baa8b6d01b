"""`ReplList`: a list that all members share.

Every change is one command, whose result is decided by the order of the log. An index means the
list as it is when the command is applied: if members insert and delete at once, prefer `append`,
`remove` and `pop()` over indexes. Reads are local, and what is read is a copy.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import index as as_index
from typing import Any, ClassVar, SupportsIndex, TypeVar, overload

from ..objects.pickling import Places, allow_pickles, enclosed, revealed
from ..objects.replicated import reading, replicated
from .prepared import Prepared, prepared
from .sequences import SharedSequence, as_place
from .sortkeys import decode_sort_key, encode_sort_key
from .values import in_order, isolated, isolated_list

T = TypeVar("T")


class ReplList(SharedSequence[T]):
    """A replicated `list`: the same methods, slices, operators and errors.

    `copy()`, slices, `+` and `*` give a plain `list`. It compares with lists and other `ReplList`s.
    Iteration goes over a copy taken when it begins, so that changes by others don't disturb it.
    Changing an element that was read changes no replica; write it back with `items[i] = element`.

    `append`, `pop()` and access by index take O(1), everything else O(n), sorting O(n log n); each
    change is one log entry. One that is under way as the leader is lost takes effect once; after
    `OutcomeUnknown` it may have done so.

    With `pickle=True`, elements may be of any class that can be pickled, as values of a `ReplDict`.
    `remove`, `index`, `count` and `in` compare what was pickled by its pickle, `==` and `<` what is
    read; sorting does not unpickle.

    >>> names = ReplList(["bob", "ann"])
    >>> names[0], names[::-1], names + ["eve"]
    ('bob', ['ann', 'bob'], ['bob', 'ann', 'eve'])
    """

    VALUES_IN: ClassVar[Mapping[str, Places]] = {
        **SharedSequence.VALUES_IN,
        "_reset": {0: enclosed},
        "_set_slice": {1: enclosed},
    }
    VALUES_OUT = frozenset({"pop"})
    _items: list[T]

    def __init__(self, elements: Iterable[T] = (), *, pickle: bool = False) -> None:
        """`pickle`: take elements of any class that can be pickled; see `ReplDict`."""
        self._items = in_order(elements)
        if pickle:
            allow_pickles(self)
            self._items = enclosed(self._items)

    # Commands

    @replicated
    def pop(self, index: int = -1) -> T:
        """Remove and return an element. One log entry; no two members get the same element.

        Raises:
            IndexError: there is no such element when the command is applied.
        """
        return self._items.pop(index)

    @prepared
    def reset(self, values: Iterable[T] = ()) -> Prepared[None]:
        """Replace the whole content. One log entry."""
        return Prepared(self._reset, in_order(values))

    @prepared
    def sort(
        self, *, key: Callable[[Any], Any] | None = None, reverse: bool = False
    ) -> Prepared[None]:
        """Sort the elements, stably. One log entry.

        `key` must have the same meaning in every process: len, abs, int, float, bool, min, max,
        sum, str.lower, str.upper, str.casefold, str.strip, bytes.lower, `operator.itemgetter(...)`
        or `operator.attrgetter(...)`. A lambda can't be replicated. If the elements can't be
        compared, nothing changes (a `list` would be left in some order).

        Raises:
            TypeError: `key` can't be replicated, or elements can't be compared.
        """
        return Prepared(self._sort, encode_sort_key(key), bool(reverse))

    @replicated
    def _reset(self, values: list[T]) -> None:
        self._items = list(values)

    @replicated
    def _sort(self, key: list[Any] | None, reverse: bool) -> None:
        # In one assignment: a sort that raises midway leaves an order that depends on the version
        # of Python, and members of one cluster may run different ones.
        self._items = sorted(self._items, key=decode_sort_key(key), reverse=reverse)  # type: ignore[type-var,arg-type]

    @replicated
    def _set_slice(self, bounds: list[int | None], values: list[T]) -> None:
        self._items[slice(*bounds)] = values

    @replicated
    def _delete_slice(self, bounds: list[int | None]) -> None:
        del self._items[slice(*bounds)]

    @overload
    def __setitem__(self, index: SupportsIndex, value: T) -> None: ...
    @overload
    def __setitem__(self, index: slice, value: Iterable[T]) -> None: ...
    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if isinstance(index, slice):
            self._set_slice(_bounds(index), in_order(value))
        else:
            self.set(as_place(index), value)

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        if isinstance(index, slice):
            self._delete_slice(_bounds(index))
        else:
            self.delete(as_place(index))

    # Reads

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T | list[T]:
        found: T | list[T]
        with reading(self):
            if isinstance(index, slice):
                found = isolated_list(self._items[index])
            else:
                found = isolated(self._items[as_place(index)])
        return revealed(self, found) if self._pickles else found

    def get(self, index: int) -> T:
        """Return `items[index]`."""
        return self[index]

    def copy(self) -> list[T]:
        """Return the content as a plain `list`, which shares nothing with the replica."""
        with reading(self):
            copied = isolated_list(self._items)
        return revealed(self, copied) if self._pickles else copied

    def __add__(self, other: "list[T] | ReplList[T]") -> list[T]:
        return self.copy() + list(other) if isinstance(other, _LISTS) else NotImplemented

    def __radd__(self, other: list[T]) -> list[T]:
        return other + self.copy() if isinstance(other, list) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> list[T]:
        return self.copy() * count if hasattr(count, "__index__") else NotImplemented

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return self.copy() == list(other) if isinstance(other, _LISTS) else NotImplemented

    def __lt__(self, other: "list[T] | ReplList[T]") -> bool:
        return self.copy() < list(other) if isinstance(other, _LISTS) else NotImplemented

    def __le__(self, other: "list[T] | ReplList[T]") -> bool:
        return self.copy() <= list(other) if isinstance(other, _LISTS) else NotImplemented

    def __gt__(self, other: "list[T] | ReplList[T]") -> bool:
        return self.copy() > list(other) if isinstance(other, _LISTS) else NotImplemented

    def __ge__(self, other: "list[T] | ReplList[T]") -> bool:
        return self.copy() >= list(other) if isinstance(other, _LISTS) else NotImplemented

    def _check(self) -> None:
        assert type(self._items) is list, self._items


def _bounds(index: slice) -> list[int | None]:
    """Return the parts of a slice as values that can be replicated."""
    parts = (index.start, index.stop, index.step)
    return [None if part is None else _slice_part(part) for part in parts]


def _slice_part(part: Any) -> int:
    if not hasattr(part, "__index__"):
        raise TypeError("slice indices must be integers or None or have an __index__ method")
    return as_index(part)


_LISTS = (list, ReplList)
