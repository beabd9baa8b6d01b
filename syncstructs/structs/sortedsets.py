"""`ReplSortedSet`: a set in the order of its elements that all members share."""

from collections.abc import Iterable, Iterator
from typing import Any, SupportsIndex, TypeVar, overload

from ..objects.replicated import reading, replicated
from .lists import _bounds
from .sequences import as_place
from .sets import ReplSet
from .sorteditems import SortedItems, SortedReads

T = TypeVar("T")


class ReplSortedSet(SortedReads[T], ReplSet[T]):
    """A replicated `sortedcontainers.SortedSet`: a `ReplSet` in the order of its elements.

    Elements must compare with each other, and are refused, as keys of a `ReplSortedDict`.
    `s[i]` is the element at a place, `s[i:j]` a list, and `del` removes what is there. `copy()` and
    the operators give a plain `set`. Changes of one element and questions about the order take
    O(log n); each change is one log entry, and changes nothing on any member if it raises. When the
    leader is lost, it is as a `ReplSet` is.

    >>> due = ReplSortedSet([30, 10, 20])
    >>> list(due), due[0], due[1:], due.bisect_left(20)
    ([10, 20, 30], 10, [20, 30], 1)
    """

    def __init__(self, elements: Iterable[T] = ()) -> None:
        """Raise TypeError if some elements cannot be compared."""
        super().__init__(elements)
        self._items: SortedItems = SortedItems(self._items)

    # Commands

    @replicated
    def pop(self, index: int = -1) -> T:
        """Remove and return the element at a place; the greatest one, if none is said.

        Raises:
            IndexError: there is no such place when the command is applied.
        """
        element: T = self._items.keys()[index]
        del self._items[element]
        return element

    @replicated
    def _delete_slice(self, bounds: list[int | None]) -> None:
        for element in self._items.keys()[slice(*bounds)]:
            del self._items[element]

    @replicated
    def _keep(self, elements: list[object]) -> None:
        wanted = set(elements)  # Only looked up, never iterated.
        self._items = SortedItems((element, None) for element in self._items if element in wanted)

    @replicated
    def _toggle(self, elements: list[T]) -> None:
        known = [element for element in elements if element in self._items]
        self._items.update(dict.fromkeys(elements))
        for element in known:
            del self._items[element]

    @replicated
    def _reset(self, elements: list[T]) -> None:
        self._items = SortedItems(dict.fromkeys(elements))

    def __delitem__(self, index: SupportsIndex | slice) -> None:
        if isinstance(index, slice):
            self._delete_slice(_bounds(index))
        else:
            self.pop(as_place(index))

    # Reads

    def count(self, element: object) -> int:
        """Return how often the element is there: 1 or 0; O(1)."""
        return int(element in self)

    def __reversed__(self) -> Iterator[T]:
        return self.irange(reverse=True)

    @overload
    def __getitem__(self, index: SupportsIndex) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> T | list[T]:
        with reading(self):
            found: Any = self._items.keys()[index]
        return found  # type: ignore[no-any-return]
