"""`ReplSet`: a set that all members share.

Every change is one command, whose result is decided by the order of the log. The elements are kept
in the order in which they were added, and that order, never that of `hash()`, decides what `pop`
takes and how the set is iterated; so all members agree. Reads are local.
"""

from collections.abc import Callable, Iterable, Iterator, MutableSet
from collections.abc import Set as AbstractSet
from typing import Any, Self, TypeVar, cast

from ..objects.replicated import Replicated, reading, replicated
from .glimpse import Glimpse, still_reads
from .prepared import Prepared, prepared
from .values import in_order

T = TypeVar("T")


class ReplSet(Replicated, MutableSet[T]):
    """A replicated `set`: the same methods, operators and errors, and a fixed order.

    Elements may be any hashable value that can be encoded. `copy()` and the operators give a plain
    `set`. As with `set`, operators take sets only, while named methods take any iterable. A
    built-in set that is passed is taken in the order of its elements' encoding. Iteration goes over
    a copy taken when it begins, so that changes by others don't disturb it.

    Changes and tests of one element take O(1), what concerns the whole set O(n); each change is one
    log entry. One that is under way as the leader is lost takes effect once; after `OutcomeUnknown`
    it may have done so.

    >>> tags = ReplSet(["b", "a"])
    >>> list(tags), "a" in tags, tags | {"c"} == {"a", "b", "c"}
    (['b', 'a'], True, True)
    """

    def __init__(self, elements: Iterable[T] = ()) -> None:
        self._items: dict[T, None] = dict.fromkeys(in_order(elements))

    # Commands

    @replicated
    def add(self, element: T) -> None:
        """Add an element, if it is not there. One log entry."""
        self._items[element] = None

    @prepared
    def remove(self, element: T) -> Prepared[None]:
        """Remove an element. One log entry.

        Raises:
            KeyError: it is absent (when the command is applied).
        """
        return Prepared(self._remove, _hashable(element))

    @prepared
    def discard(self, element: T) -> Prepared[None]:
        """Remove an element if it is there. One log entry."""
        return Prepared(self._remove_all, [_hashable(element)])

    @replicated
    def pop(self) -> T:
        """Remove and return the element that was added last, the same on every member.

        One log entry: members that pop at once get different elements.

        Raises:
            KeyError: the set is empty.
        """
        if not self._items:
            raise KeyError("pop from an empty set")
        return self._items.popitem()[0]

    @replicated
    def clear(self) -> None:
        """Remove everything. One log entry."""
        self._items.clear()

    @prepared
    def update(self, *others: Iterable[T]) -> Prepared[None]:
        """Add the elements of all the iterables. One log entry."""
        return Prepared(self._add_all, _merged(others))

    @prepared
    def difference_update(self, *others: Iterable[object]) -> Prepared[None]:
        """Remove the elements of all the iterables. One log entry."""
        return Prepared(self._remove_all, _merged(others))

    @prepared
    def intersection_update(self, *others: Iterable[object]) -> Prepared[None]:
        """Keep only what is in each of the iterables. One log entry."""
        if not others:
            return Prepared(self._remove_all, [])
        common = set(others[0]).intersection(*others[1:])
        return Prepared(self._keep, in_order(common))

    @prepared
    def symmetric_difference_update(self, other: Iterable[T]) -> Prepared[None]:
        """Remove what is in `other`, and add what is only in `other`. One log entry."""
        return Prepared(self._toggle, _merged((other,)))

    @prepared
    def reset(self, elements: Iterable[T] = ()) -> Prepared[None]:
        """Replace the whole content. One log entry."""
        return Prepared(self._reset, _merged((elements,)))

    @replicated
    def _remove(self, element: T) -> None:
        del self._items[element]

    @replicated
    def _add_all(self, elements: list[T]) -> None:
        self._items.update(dict.fromkeys(elements))

    @replicated
    def _remove_all(self, elements: list[object]) -> None:
        for element in elements:
            self._items.pop(cast(T, element), None)

    @replicated
    def _keep(self, elements: list[object]) -> None:
        wanted = set(elements)  # Only looked up, never iterated.
        self._items = {element: None for element in self._items if element in wanted}

    @replicated
    def _toggle(self, elements: list[T]) -> None:
        for element in elements:
            if element in self._items:
                del self._items[element]
            else:
                self._items[element] = None

    @replicated
    def _reset(self, elements: list[T]) -> None:
        self._items = dict.fromkeys(elements)

    def __ior__(self, other: AbstractSet[Any]) -> Self:
        if not isinstance(other, AbstractSet):
            return NotImplemented
        self.update(other)
        return self

    def __iand__(self, other: AbstractSet[Any]) -> Self:
        if not isinstance(other, AbstractSet):
            return NotImplemented
        self.intersection_update(other)
        return self

    def __isub__(self, other: AbstractSet[Any]) -> Self:
        if not isinstance(other, AbstractSet):
            return NotImplemented
        self.difference_update(other)
        return self

    def __ixor__(self, other: AbstractSet[Any]) -> Self:
        if not isinstance(other, AbstractSet):
            return NotImplemented
        self.symmetric_difference_update(other)
        return self

    # Transactions

    def transaction_copy(self) -> tuple[Self, Callable[[], object]]:
        """Return a copy of which only what is looked at is read: O(1). See `Replicated`."""
        # Another class may not be known to all members, which then could not compare elements.
        if type(self) is not ReplSet:
            return super().transaction_copy()
        made = type(self)()
        glimpse: Glimpse[T, None] = Glimpse(lambda: self._items, reading(self))
        made._items = glimpse  # type: ignore[assignment]
        return made, glimpse.reads

    def still_reads(self, reads: Any) -> bool:
        """Return whether the elements that were looked at are still there, or still absent."""
        return still_reads(self._items, reads)

    # Reads

    def __contains__(self, element: object) -> bool:
        with reading(self):
            return _hashable(element) in self._items

    def __iter__(self) -> Iterator[T]:
        with reading(self):
            return iter(list(self._items))

    def __len__(self) -> int:
        with reading(self):
            return len(self._items)

    def copy(self) -> set[T]:
        """Return the content as a plain `set`."""
        with reading(self):
            return set(self._items)

    def union(self, *others: Iterable[Any]) -> set[T | Any]:
        """Return this set and all elements of the iterables as a plain `set`."""
        return self.copy().union(*others)

    def intersection(self, *others: Iterable[object]) -> set[T]:
        """Return what is in this set and in each of the iterables as a plain `set`."""
        return self.copy().intersection(*others)

    def difference(self, *others: Iterable[object]) -> set[T]:
        """Return what is in this set and in none of the iterables as a plain `set`."""
        return self.copy().difference(*others)

    def symmetric_difference(self, other: Iterable[Any]) -> set[T | Any]:
        """Return what is in exactly one of the two as a plain `set`."""
        return self.copy().symmetric_difference(other)

    def isdisjoint(self, other: Iterable[Any]) -> bool:
        """Return whether no element is in both."""
        return self.copy().isdisjoint(other)

    def issubset(self, other: Iterable[Any]) -> bool:
        """Return whether each element is in `other`."""
        return self.copy().issubset(other)

    def issuperset(self, other: Iterable[Any]) -> bool:
        """Return whether each element of `other` is here."""
        return self.copy().issuperset(other)

    def __or__(self, other: AbstractSet[Any]) -> set[Any]:
        return self.copy() | set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __and__(self, other: AbstractSet[Any]) -> set[T]:
        return self.copy() & set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __sub__(self, other: AbstractSet[Any]) -> set[T]:
        return self.copy() - set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __xor__(self, other: AbstractSet[Any]) -> set[Any]:
        return self.copy() ^ set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __rsub__(self, other: AbstractSet[Any]) -> set[Any]:
        return set(other) - self.copy() if isinstance(other, AbstractSet) else NotImplemented

    __ror__ = __or__
    __rand__ = __and__
    __rxor__ = __xor__

    def __eq__(self, other: object) -> bool:
        return self.copy() == set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __le__(self, other: AbstractSet[Any]) -> bool:
        return self.copy() <= set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __lt__(self, other: AbstractSet[Any]) -> bool:
        return self.copy() < set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __ge__(self, other: AbstractSet[Any]) -> bool:
        return self.copy() >= set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __gt__(self, other: AbstractSet[Any]) -> bool:
        return self.copy() > set(other) if isinstance(other, AbstractSet) else NotImplemented

    def __repr__(self) -> str:
        elements = ", ".join(map(repr, self))
        return f"{type(self).__name__}({{{elements}}})" if elements else f"{type(self).__name__}()"

    def _check(self) -> None:
        assert type(self._items) is dict, self._items
        assert all(value is None for value in self._items.values()), self._items


def _hashable(element: Any) -> Any:
    """Return what `set` looks up for `element`: for a set, its frozen twin."""
    return frozenset(element) if isinstance(element, set | ReplSet) else element


def _merged(others: Iterable[Iterable[Any]]) -> list[Any]:
    """Return the elements of all the iterables, each once, in an order the same everywhere."""
    merged: dict[Any, None] = {}
    for other in others:
        merged.update(dict.fromkeys(in_order(other)))
    return list(merged)
