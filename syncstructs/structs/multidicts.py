"""`ReplMultiDict`: a dictionary whose keys have several values each, which all members share.

Every change is one command, whose result is decided by the order of the log. Reads are local, and
what is read is a copy.
"""

from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any, ClassVar, TypeAlias, TypeVar, overload

from ..objects.pickling import Places, allow_pickles, enclosed, enclosed_values, revealed
from ..objects.replicated import Replicated, reading, replicated
from .dicts import ReplDict
from .prepared import Prepared, prepared
from .values import in_order, isolated, isolated_list

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")

_NONE: Any = None
_Pairs: TypeAlias = Mapping[K, V] | Iterable[tuple[K, V]]
_Lists: TypeAlias = dict[K, list[V]]

_VALUE_1: Places = {1: enclosed, "value": enclosed}
_LISTS: Places = {0: enclosed_values}


class ReplMultiDict(Replicated, MutableMapping[K, V]):
    """A replicated `multidict.MultiDict`, whose keys may be any that a `ReplDict` takes.

    `d[key]` is the first value, `d[key] = value` replaces all, `add` adds one, `getall` gives all.
    As a mapping it consists of pairs: `len()`, `items()`, `keys()` and iteration tell each as often
    as it is there, key by key in the order in which the keys came. `copy()` gives a plain dict of
    lists.

    What concerns one key takes O(1) and O(k) for its k values, the whole O(n); each change is one
    log entry. A change that is under way as the leader is lost takes effect once. With
    `pickle=True`, values may be of any class that can be pickled, as those of a `ReplDict`.

    >>> tags = ReplMultiDict([("ann", "a"), ("bob", "b"), ("ann", "c")])
    >>> tags["ann"], tags.getall("ann"), len(tags), tags.getall("eve", [])
    ('a', ['a', 'c'], 3, [])
    """

    VALUES_IN: ClassVar[Mapping[str, Places]] = {
        "add": _VALUE_1,
        "set": _VALUE_1,
        "remove": _VALUE_1,
        "setdefault": {1: enclosed, "default": enclosed},
        "popone": {1: enclosed},
        "popall": {1: enclosed},
        "_extend": _LISTS,
        "_replace": _LISTS,
    }
    VALUES_OUT = frozenset({"setdefault", "popone", "popall", "popitem"})

    def __init__(self, other: _Pairs[K, V] = (), /, *, pickle: bool = False) -> None:
        """`pickle`: take values of any class that can be pickled; see `ReplDict`."""
        self._items: _Lists[K, V] = _grouped(other)
        if pickle:
            allow_pickles(self)
            self._items = enclosed_values(self._items)

    # Commands

    @replicated
    def add(self, key: K, value: V) -> None:
        """Add a value to those of `key`, behind them."""
        self._items.setdefault(key, []).append(value)

    @replicated
    def set(self, key: K, value: V) -> None:
        """Do as `d[key] = value`: replace all values of `key` by this one."""
        self._items[key] = [value]

    @replicated
    def setdefault(self, key: K, default: V = _NONE) -> V:
        """Return the first value of `key`, after adding `default` if it has none."""
        return self._items.setdefault(key, [default])[0]

    @replicated
    def delete(self, key: K) -> None:
        """Do as `del d[key]`: remove all values of `key`.

        Raises:
            KeyError: it has none (when the command is applied).
        """
        del self._items[key]

    @replicated
    def remove(self, key: K, value: V) -> None:
        """Remove the first value of `key` that equals `value`.

        Raises:
            KeyError: the key has no values.
            ValueError: none of them is equal.
        """
        self._items[key].remove(value)
        self._tidy(key)

    @replicated
    def popone(self, key: K, *default: Any) -> Any:
        """Remove and return the first value of `key`, or return `default` if it has none.

        Raises:
            KeyError: it has none, and no default is given.
        """
        if key not in self._items and default:
            return default[0]
        value = self._items[key].pop(0)
        self._tidy(key)
        return value

    @replicated
    def popall(self, key: K, *default: Any) -> Any:
        """Remove and return all values of `key` as a list, or return `default` if it has none.

        Raises:
            KeyError: it has none, and no default is given.
        """
        return self._items.pop(key, *default)

    @replicated
    def popitem(self) -> tuple[K, V]:
        """Remove and return the last value of the key that came last, with that key.

        Raises:
            KeyError: there are no values.
        """
        if not self._items:
            raise KeyError("empty multidict")
        key = next(reversed(self._items))
        value = self._items[key].pop()
        self._tidy(key)
        return key, value

    @replicated
    def clear(self) -> None:
        """Remove everything."""
        self._items.clear()

    @prepared
    def extend(self, other: _Pairs[K, V] = (), /) -> Prepared[None]:
        """Add all pairs of a mapping, or of an iterable of pairs, to what is there."""
        return Prepared(self._extend, _grouped(other))

    @prepared
    def update(self, other: _Pairs[K, V] = (), /) -> Prepared[None]:  # type: ignore[override]
        """Replace the values of all keys that come in a mapping, or an iterable of pairs."""
        return Prepared(self._replace, _grouped(other))

    @replicated
    def _extend(self, lists: _Lists[K, V]) -> None:
        for key, values in lists.items():
            self._items.setdefault(key, []).extend(values)

    @replicated
    def _replace(self, lists: _Lists[K, V]) -> None:
        self._items.update(lists)

    def _tidy(self, key: K) -> None:
        if not self._items[key]:
            del self._items[key]

    @prepared
    def pop(self, key: K, *default: Any) -> Prepared[Any]:
        """Do as `popone`."""
        return Prepared(self.popone, key, *default)

    __setitem__ = set.operator
    __delitem__ = delete.operator

    # Reads

    @overload
    def getall(self, key: K, /) -> list[V]: ...
    @overload
    def getall(self, key: K, default: D, /) -> list[V] | D: ...
    def getall(self, key: K, /, *default: Any) -> Any:
        """Return all values of `key` as a list, or `default` if it has none.

        Raises:
            KeyError: it has none, and no default is given.
        """
        with reading(self):
            if key not in self._items and default:
                return default[0]
            values = isolated_list(self._items[key])
        return revealed(self, values) if self._pickles else values

    def __getitem__(self, key: K) -> V:
        with reading(self):
            value = isolated(self._items[key][0])
        return revealed(self, value) if self._pickles else value

    getone = __getitem__

    def __contains__(self, key: object) -> bool:
        with reading(self):
            return key in self._items

    def __len__(self) -> int:
        with reading(self):
            return sum(map(len, self._items.values()))

    def __iter__(self) -> Iterator[K]:
        with reading(self):
            return iter([key for key, values in self._items.items() for _ in values])

    def keys(self) -> list[K]:  # type: ignore[override]
        """Return the keys as they are now, each as often as it has values."""
        return list(self)

    def items(self) -> list[tuple[K, V]]:  # type: ignore[override]
        """Return the pairs as they are now, as a list."""
        return [(key, value) for key, values in self.copy().items() for value in values]

    def values(self) -> list[V]:  # type: ignore[override]
        """Return the values as they are now, as a list."""
        return [value for values in self.copy().values() for value in values]

    def copy(self) -> dict[K, list[V]]:
        """Return the content as a plain dict of lists, which shares nothing with the replica."""
        with reading(self):
            copied = {key: isolated_list(values) for key, values in self._items.items()}
        return revealed(self, copied) if self._pickles else copied

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReplMultiDict):
            return self.copy() == other.copy()
        return self.copy() == _grouped(other) if isinstance(other, Mapping) else NotImplemented

    def __repr__(self) -> str:
        with reading(self):
            return f"<{type(self).__name__} {self._items!r}>"

    def _check(self) -> None:
        assert all(type(values) is list and values for values in self._items.values()), self._items


def _grouped(other: Any) -> dict[Any, list[Any]]:
    """Return the values of pairs by their keys, in an order that is the same everywhere."""
    if isinstance(other, ReplDict):
        other = other.copy()
    pairs = other.items() if isinstance(other, Mapping) else in_order(other)
    lists: dict[Any, list[Any]] = {}
    for key, value in pairs:
        lists.setdefault(key, []).append(value)
    return lists
