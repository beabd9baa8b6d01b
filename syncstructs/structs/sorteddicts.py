"""`ReplSortedDict`: a dictionary in the order of its keys that all members share."""

from typing import Any, SupportsIndex, TypeVar, overload

from ..objects.pickling import revealed
from ..objects.replicated import reading, replicated
from .dicts import ReplDict, _Items, _Keys, _Pairs, _Values
from .sequences import as_place
from .sorteditems import SortedItems, SortedReads
from .values import isolated, isolated_list

K = TypeVar("K")
V = TypeVar("V")


class ReplSortedDict(SortedReads[K], ReplDict[K, V]):
    """A replicated `sortedcontainers.SortedDict`: a `ReplDict` in the order of its keys.

    Each two keys must compare by `<`, with one answer everywhere: numbers, strings, dates, tuples
    of these. What cannot be compared with all keys, equals none and is less than none (nan, sets
    of which neither is a part of the other), raises TypeError in its caller and changes nothing
    on any member; not even a part of an `update`. There are no key functions: no member could tell
    that another one has the same.

    Views are indexed by place: `d.keys()[0]`, `d.items()[-1]` take O(log n), slices of them O(n).
    Besides, `d[first:last]` gives what has keys from `first` to before `last`, as a plain dict of
    one moment, and `del d[first:last]` removes it. Single reads take O(1), changes of one key and
    questions about the order O(log n); each change is one log entry. When the leader is lost, it is
    as a `ReplDict` is.

    >>> prices = ReplSortedDict({30: "c", 10: "a", 20: "b"})
    >>> list(prices), prices.peekitem(0), prices[10:30], list(prices.irange(15))
    ([10, 20, 30], (10, 'a'), {10: 'a', 20: 'b'}, [20, 30])
    """

    def __init__(
        self, other: _Pairs[K, V] = (), /, *, pickle: bool = False, **named: V
    ) -> None:
        """`pickle`: take values of any class that can be pickled; see `ReplDict`.

        Raises:
            TypeError: some keys cannot be compared.
        """
        super().__init__(other, pickle=pickle, **named)
        self._items: SortedItems = SortedItems(self._items)

    # Commands

    @replicated
    def popitem(self, index: int = -1) -> tuple[K, V]:
        """Remove and return the pair at a place; that of the greatest key, if none is said.

        Raises:
            KeyError: the dictionary is empty.
            IndexError: there is no such place when the command is applied.
        """
        return self._items.popitem(index)  # type: ignore[no-any-return]

    @replicated
    def delete_range(self, first: K | None, last: K | None) -> None:
        """Do as `del d[first:last]`: remove all keys from `first` to before `last`.

        None: from the first one, or to the end. O(k log n) for k keys that are there.

        Raises:
            TypeError: an end cannot be compared with the keys.
        """
        for key in self._items.between(first, last):
            del self._items[key]

    @replicated
    def _reset(self, items: dict[K, V]) -> None:
        self._items = SortedItems(items)

    def __delitem__(self, key: K | slice) -> None:
        if isinstance(key, slice):
            self.delete_range(*_ends(key))
        else:
            self.delete(key)

    # Reads

    @overload
    def __getitem__(self, key: slice) -> dict[K, V]: ...
    @overload
    def __getitem__(self, key: K) -> V: ...
    def __getitem__(self, key: Any) -> Any:
        if type(key) is not slice:
            return super().__getitem__(key)
        first, last = _ends(key)
        with reading(self):
            items = self._items
            keys = items.between(first, last)
            found = dict(zip(keys, isolated_list(items[k] for k in keys), strict=True))
        return revealed(self, found) if self._pickles else found

    def keys(self) -> "_KeysByPlace[K]":
        """Return a live view of the keys, which can be indexed by place."""
        return _KeysByPlace(self)

    def values(self) -> "_ValuesByPlace[V]":
        """Return a live view of the values, which can be indexed by place."""
        return _ValuesByPlace(self)

    def items(self) -> "_ItemsByPlace[K, V]":
        """Return a live view of the pairs, which can be indexed by place."""
        return _ItemsByPlace(self)

    def peekitem(self, index: int = -1) -> tuple[K, V]:
        """Return the pair at a place; that of the greatest key, if none is said; O(log n).

        Raises:
            IndexError: there is no such place.
        """
        with reading(self):
            key, value = self._items.peekitem(index)
            value = isolated(value)
        return key, revealed(self, value) if self._pickles else value

    def __repr__(self) -> str:
        with reading(self):
            return f"{type(self).__name__}({dict(self._items.items())!r})"


class _KeysByPlace(_Keys[K]):
    _mapping: ReplSortedDict[K, Any]

    @overload
    def __getitem__(self, place: SupportsIndex) -> K: ...
    @overload
    def __getitem__(self, place: slice) -> list[K]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> K | list[K]:
        with reading(self._mapping):
            found: Any = self._mapping._items.keys()[place]
        return found  # type: ignore[no-any-return]


class _ValuesByPlace(_Values[V]):
    _mapping: ReplSortedDict[Any, V]

    @overload
    def __getitem__(self, place: SupportsIndex) -> V: ...
    @overload
    def __getitem__(self, place: slice) -> list[V]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> V | list[V]:
        if isinstance(place, slice):
            return list(self)[place]
        return self._mapping.peekitem(as_place(place))[1]


class _ItemsByPlace(_Items[K, V]):
    _mapping: ReplSortedDict[K, V]

    @overload
    def __getitem__(self, place: SupportsIndex) -> tuple[K, V]: ...
    @overload
    def __getitem__(self, place: slice) -> list[tuple[K, V]]: ...
    def __getitem__(self, place: SupportsIndex | slice) -> tuple[K, V] | list[tuple[K, V]]:
        if isinstance(place, slice):
            return list(self)[place]
        return self._mapping.peekitem(as_place(place))


def _ends(keys: slice) -> tuple[Any, Any]:
    if keys.step is not None:
        raise TypeError("a slice of keys has no step")
    return keys.start, keys.stop
