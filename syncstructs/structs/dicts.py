"""`ReplDict`: a dictionary that all members share.

Every change is one command, whose result (what `pop` took, which of two `setdefault` won) is
decided by the order of the log. Reads are local. What is read is a copy: changing it changes no
replica, and `d[key] = value` is the only way to change what `d[key]` holds.
"""

from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    MutableMapping,
    ValuesView,
)
from collections.abc import Set as AbstractSet
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, TypeAlias, TypeVar, overload

from ..codec import ATOMS
from ..objects.pickling import Places, allow_pickles, enclosed, enclosed_values, revealed
from ..objects.replicated import Replicated, at_once, reading, replicated
from .glimpse import Glimpse, still_reads
from .prepared import Prepared, prepared
from .values import in_order, isolated, isolated_list

if TYPE_CHECKING:
    from ..futures import Future

K = TypeVar("K")
V = TypeVar("V")
D = TypeVar("D")
KeyIn = TypeVar("KeyIn", contravariant=True)

_NONE: Any = None
_Pairs: TypeAlias = Mapping[K, V] | Iterable[tuple[K, V]]

_VALUE_1: Places = {1: enclosed, "value": enclosed}
_PAIRS: Places = {0: enclosed_values}


class ReplDict(Replicated, MutableMapping[K, V]):
    """A replicated `dict`: the same methods, operators, insertion order and errors.

    It is built like one: `ReplDict({"a": 1})`, `ReplDict(a=1)`, `ReplDict(pairs)`. Keys may be
    any hashable value that can be encoded, values anything that can be encoded. `copy()` and `|`
    give a plain `dict`. Iteration, also over `keys()`, `values()` and `items()`, goes over a copy
    taken when it begins, so that changes by other members (and one's own) don't disturb it; in
    contrast to a `dict` no RuntimeError is raised then.

    Single reads and changes take O(1), those of the whole O(n); each change is one log entry. One
    that is under way as the leader is lost takes effect once; after `OutcomeUnknown` it may have
    done so. Inside a command of another object, values that are passed are not copied; don't change
    them afterwards.

    With `pickle=True`, on nodes with a password or certificates, values may be of any class that
    can be pickled. What the codec knows stays as it is; of all else the smallest part is pickled as
    it is passed, and unpickled as it is read here, anew each time. Keys are never pickled. In
    `compare_and_set` what was pickled is equal if its pickle is; `==` compares what is read. On
    members that attach the object without it, inside replicated methods, where it is attached to
    nothing, and in `repr`, such a part is a `Pickled`.

    >>> ages = ReplDict({"ann": 7}, bob=9)
    >>> ages["ann"], list(ages), ages == {"ann": 7, "bob": 9}
    (7, ['ann', 'bob'], True)
    """

    VALUES_IN: ClassVar[Mapping[str, Places]] = {
        "set": _VALUE_1,
        "setdefault": {1: enclosed, "default": enclosed},
        "compare_and_set": {**_VALUE_1, "expected": enclosed, 2: enclosed},
        "pop": {1: enclosed},
        "_update": _PAIRS,
        "_reset": _PAIRS,
    }
    VALUES_OUT = frozenset({"setdefault", "pop", "popitem"})

    def __init__(
        self, other: _Pairs[K, V] = (), /, *, pickle: bool = False, **named: V
    ) -> None:
        """`pickle`: take values of any class that can be pickled, and unpickle them for readers.

        Members need not agree on it. A key of that name is given by `other`.

        Raises:
            TypeError: `pickle` is no bool, so hardly meant so.
        """
        if not isinstance(pickle, bool):
            raise TypeError(
                f"pickle={pickle!r} must be True or False, as it says whether values are pickled;"
                " give a key of that name in a mapping"
            )
        self._items: dict[K, V] = _plain(other, named)
        if pickle:
            allow_pickles(self)
            self._items = enclosed_values(self._items)

    @classmethod
    def fromkeys(cls, keys: Iterable[K], value: Any = None) -> Self:
        """Return a new object, attached to no node, that holds `value` under each of the keys."""
        return cls(dict.fromkeys(in_order(keys), value))

    # Commands

    @replicated
    def set(self, key: K, value: V) -> None:
        """Do as `d[key] = value`. One log entry."""
        self._items[key] = value

    @at_once(set)
    def _set_all(self, keys: list[K], values: list[V]) -> object:
        # A subclass keeps them sorted, and takes each in its own way.
        if type(self._items) is not dict:
            return NotImplemented
        return self._items.update(zip(keys, values, strict=True))

    @replicated
    def delete(self, key: K) -> None:
        """Do as `del d[key]`. One log entry.

        Raises:
            KeyError: there is no such key (when the command is applied).
        """
        del self._items[key]

    @replicated
    def setdefault(self, key: K, default: V = _NONE) -> V:
        """Return the value of `key`, after setting it to `default` if it was absent.

        One log entry: of several members that call at once, exactly one sets its default.
        """
        return self._items.setdefault(key, default)

    @replicated
    def compare_and_set(self, key: K, expected: V, value: V) -> bool:
        """Set `key` to `value` if it is present and equals `expected`; return whether it was."""
        if key not in self._items or self._items[key] != expected:
            return False
        self._items[key] = value
        return True

    if TYPE_CHECKING:

        @property
        def pop(self) -> "_PopMethod[K, V]": ...

    else:

        @replicated
        def pop(self, key, *default):
            """Remove `key` and return its value, or `default` if it is absent. One log entry.

            Raises:
                KeyError: it is absent and no default is given.
            """
            return self._items.pop(key, *default)

    @replicated
    def popitem(self) -> tuple[K, V]:
        """Remove and return the pair that was inserted last. One log entry.

        Raises:
            KeyError: the dictionary is empty.
        """
        return self._items.popitem()

    @replicated
    def clear(self) -> None:
        """Remove everything. One log entry."""
        self._items.clear()

    @prepared
    def update(self, other: _Pairs[K, V] = (), /, **named: V) -> Prepared[None]:  # type: ignore[override]
        """Take over all pairs of a mapping, of an iterable of pairs, and of the keywords.

        One log entry; nobody sees a part of it. What `dict.update` refuses raises here, before
        anything is sent.
        """
        return Prepared(self._update, _plain(other, named))

    @prepared
    def reset(self, other: _Pairs[K, V] = (), /, **named: V) -> Prepared[None]:
        """Replace the whole content by that of `dict(other, **named)`. One log entry."""
        return Prepared(self._reset, _plain(other, named))

    @replicated
    def _update(self, items: dict[K, V]) -> None:
        self._items.update(items)

    @replicated
    def _reset(self, items: dict[K, V]) -> None:
        self._items = dict(items)

    __setitem__ = set.operator
    __delitem__ = delete.operator

    def __ior__(self, other: _Pairs[K, V]) -> Self:  # type: ignore[misc]
        self.update(other)
        return self

    # Transactions

    def transaction_copy(self) -> tuple[Self, Callable[[], object]]:
        """Return a copy of which only what is looked at is read: O(1). See `Replicated`."""
        # Another class may not be known to all members, which then could not compare keys.
        if type(self) is not ReplDict:
            return super().transaction_copy()
        made = type(self)()
        glimpse: Glimpse[K, V] = Glimpse(lambda: self._items, reading(self))
        made._items = glimpse  # type: ignore[assignment]
        return made, glimpse.reads

    def still_reads(self, reads: Any) -> bool:
        """Return whether the keys that were looked at have the same values, or are still absent."""
        return still_reads(self._items, reads)

    # Reads. Those of one key look without the lock first: see `Turns`.

    def __getitem__(self, key: K) -> V:
        turns = self._port_turns
        turn = turns.ended
        try:
            value = self._items[key]
        except Exception:
            # It may be of a command that is applied by half.
            pass
        else:
            if turns.begun is turn and type(value) in ATOMS:
                return value
        with reading(self):
            value = isolated(self._items[key])
        return revealed(self, value) if self._pickles else value

    @overload
    def get(self, key: K, default: None = None) -> V | None: ...
    @overload
    def get(self, key: K, default: V) -> V: ...
    @overload
    def get(self, key: K, default: D) -> V | D: ...
    def get(self, key: K, default: Any = None) -> Any:
        """Return the value of `key`, or `default` if it is absent."""
        turns = self._port_turns
        turn = turns.ended
        try:
            value = self._items.get(key, default)
        except Exception:
            pass
        else:
            if turns.begun is turn and (type(value) in ATOMS or value is default):
                return value
        with reading(self):
            items = self._items
            if key not in items:
                return default
            value = isolated(items[key])
        return revealed(self, value) if self._pickles else value

    def __contains__(self, key: object) -> bool:
        turns = self._port_turns
        turn = turns.ended
        try:
            found = key in self._items
        except Exception:
            pass
        else:
            if turns.begun is turn:
                return found
        with reading(self):
            return key in self._items

    def __len__(self) -> int:
        turns = self._port_turns
        turn = turns.ended
        try:
            count = len(self._items)
        except Exception:
            pass
        else:
            if turns.begun is turn:
                return count
        with reading(self):
            return len(self._items)

    def __iter__(self) -> Iterator[K]:
        return iter(self._key_list())

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._key_list())

    def keys(self) -> KeysView[K]:
        """Return a live view of the keys."""
        return _Keys(self)

    def values(self) -> ValuesView[V]:
        """Return a live view of the values."""
        return _Values(self)

    def items(self) -> ItemsView[K, V]:
        """Return a live view of the pairs."""
        return _Items(self)

    def copy(self) -> dict[K, V]:
        """Return the content as a plain `dict`, which shares nothing with the replica."""
        with reading(self):
            items = self._items
            copied = dict(zip(items, isolated_list(items.values()), strict=True))
        return revealed(self, copied) if self._pickles else copied

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReplDict):
            other = other.copy()  # Before our own lock: two nodes' locks are never held at once.
        elif not isinstance(other, Mapping):
            return NotImplemented
        if self._pickles:
            return self.copy() == other
        with reading(self):
            return self._items == other

    def __or__(self, other: Any) -> dict[Any, Any]:
        return self.copy() | other if isinstance(other, _MAPPINGS) else NotImplemented

    def __ror__(self, other: Any) -> dict[Any, Any]:
        return other | self.copy() if isinstance(other, dict) else NotImplemented

    def __repr__(self) -> str:
        with reading(self):
            return f"{type(self).__name__}({self._items!r})"

    def _key_list(self) -> list[K]:
        with reading(self):
            return list(self._items)

    def _check(self) -> None:
        assert type(self._items) is dict, self._items


class _PopMethod(Protocol[KeyIn, V]):
    """What `d.pop` is to a type checker: no `ParamSpec` can carry its three signatures."""

    @overload
    def __call__(self, key: KeyIn, /) -> V: ...
    @overload
    def __call__(self, key: KeyIn, default: V, /) -> V: ...
    @overload
    def __call__(self, key: KeyIn, default: D, /) -> V | D: ...

    @overload
    def submit(self, key: KeyIn, /) -> "Future[V]": ...
    @overload
    def submit(self, key: KeyIn, default: V, /) -> "Future[V]": ...
    @overload
    def submit(self, key: KeyIn, default: D, /) -> "Future[V | D]": ...


class _Keys(KeysView[K]):
    """The keys: length and membership are those of now, iteration goes over a copy."""

    _mapping: ReplDict[K, Any]

    def __iter__(self) -> Iterator[K]:
        # The inherited generator would take its copy only when the first key is asked for.
        return iter(self._mapping)

    def __reversed__(self) -> Iterator[K]:
        return reversed(self._mapping)

    def __repr__(self) -> str:
        return f"dict_keys({list(self)!r})"


class _Values(ValuesView[V]):
    """The values: as they were, all at one moment, when the iteration began."""

    _mapping: ReplDict[Any, V]

    def __iter__(self) -> Iterator[V]:
        return iter(self._mapping.copy().values())

    def __reversed__(self) -> Iterator[V]:
        return reversed(self._mapping.copy().values())

    def __contains__(self, value: object) -> bool:
        return value in self._mapping.copy().values()

    def __repr__(self) -> str:
        return f"dict_values({list(self)!r})"


class _Items(ItemsView[K, V]):
    """The pairs: as they were, all at one moment, when the iteration began."""

    _mapping: ReplDict[K, V]

    def __iter__(self) -> Iterator[tuple[K, V]]:
        return iter(self._mapping.copy().items())

    def __reversed__(self) -> Iterator[tuple[K, V]]:
        return reversed(self._mapping.copy().items())

    def __repr__(self) -> str:
        return f"dict_items({list(self)!r})"


def _plain(other: Any, named: dict[str, Any]) -> dict[Any, Any]:
    """Return what `dict(other, **named)` would hold, in an order that is the same everywhere."""
    if isinstance(other, ReplDict):
        other = other.copy()
    elif isinstance(other, AbstractSet):
        other = in_order(other)
    return dict(other, **named)


_MAPPINGS = (dict, ReplDict)
