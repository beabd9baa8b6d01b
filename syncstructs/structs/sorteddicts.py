"""`ReplSortedDict`: a dictionary in the order of its keys that all members share."""

from typing import Any, TypeVar, overload

from ..objects.pickling import revealed
from ..objects.replicated import replicated
from .dicts import ReplDict, _Pairs
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

    Besides, `d[first:last]` gives what has keys from `first` to before `last`, as a plain dict of
    one moment, and `del d[first:last]` removes it. Single reads take O(1), changes of one key and
    questions about the order O(log n); each change is one log entry.

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
        with self._reading:
            items = self._items
            keys = items.between(first, last)
            found = dict(zip(keys, isolated_list(items[k] for k in keys), strict=True))
        return revealed(self, found) if self._pickles else found

    def peekitem(self, index: int = -1) -> tuple[K, V]:
        """Return the pair at a place; that of the greatest key, if none is said; O(log n).

        Raises:
            IndexError: there is no such place.
        """
        with self._reading:
            key, value = self._items.peekitem(index)
            value = isolated(value)
        return key, revealed(self, value) if self._pickles else value

    def __repr__(self) -> str:
        with self._reading:
            return f"{type(self).__name__}({dict(self._items.items())!r})"


def _ends(keys: slice) -> tuple[Any, Any]:
    if keys.step is not None:
        raise TypeError("a slice of keys has no step")
    return keys.start, keys.stop
