"""What sorted dictionaries and sets keep their items in, and what they have in common.

Members must agree on which keys are refused and on where each one stands. `sortedcontainers` keeps
keys in a list of short lists, whose bounds come from all changes so far: they are others on a
member that was filled from a snapshot, and so are the keys that a new one is compared with. Hence
a key is taken only if it stands strictly between its neighbours. If `<` is transitive, then it
depends on nothing but the keys whether there is such a place, and which.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final, Generic, TypeVar

from sortedcontainers import SortedDict

from ..objects.replicated import Replicated, reading

K = TypeVar("K")

NO_ORDER: Final = "keys of sorted collections must have an order: each two must compare by <"
"""What an error says, the same on all members, whichever keys were compared."""

_INCOMPARABLE: Final = (TypeError, ArithmeticError)
"""What a comparison raises; the second one, if one of the two is a nan of `Decimal`."""


class SortedItems(SortedDict):  # type: ignore[misc]  # The library has no types.
    """A `SortedDict` that is as it was before if a change raises.

    `SortedDict` itself keeps a key that cannot be compared, outside of its order, if `setdefault`
    or `update` brings it.
    """

    def __init__(self, pairs: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = ()) -> None:
        """Sort the pairs: O(n log n), and O(n) if they are in order.

        Raises:
            TypeError: some keys have no order.
        """
        try:
            super().__init__(pairs)
        except _INCOMPARABLE as error:
            raise _no_order() from error
        _refuse_unordered(self)
        _refuse_disorder(list(self))

    def __setitem__(self, key: Any, value: Any) -> None:
        if key not in self:
            _refuse_unordered([key])
            try:
                place = self.bisect_right(key)
            except _INCOMPARABLE as error:
                raise _no_order() from error
            before, behind = self.islice(place - 1, place), self.islice(place, place + 1)
            _refuse_disorder([*before, key, *behind])
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self._refuse_unfound(key)
        super().__delitem__(key)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove `key` and return its value, or `default` if it is absent."""
        self._refuse_unfound(key)
        return super().pop(key, *default)

    def _refuse_unfound(self, key: Any) -> None:
        """Refuse what equals a key and has no place among them: it could not go."""
        if key in self:
            _refuse_unordered([key])
            try:
                self.bisect_left(key)
            except _INCOMPARABLE as error:
                raise _no_order() from error

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return the value of `key`, after setting it to `default` if it was absent."""
        if key not in self:
            self[key] = default
        return self[key]

    def update(self, pairs: Mapping[Any, Any]) -> None:
        """Take over all pairs, or none; O(m log n) for m of them."""
        added = []
        try:
            for key in pairs:
                if key not in self:
                    self[key] = pairs[key]
                    added.append(key)
        except BaseException:
            for key in added:
                del self[key]
            raise
        dict.update(self, pairs)

    def between(
        self, first: Any, last: Any, inclusive: tuple[bool, bool] = (True, False)
    ) -> list[Any]:
        """Return the keys from `first` to `last`, each None for no end."""
        _refuse_unordered((first, last))
        try:
            return list(self.irange(first, last, inclusive))
        except _INCOMPARABLE as error:
            raise _no_order() from error


def _refuse_unordered(keys: Iterable[Any]) -> None:
    """Refuse complex numbers, in tuples too: equal to some that have an order, they have none.

    So `(1, 1 + 0j)` has a place beside `(1, 1)`, if nobody happens to compare it with `(1, 2)`.
    """
    for key in keys:
        if isinstance(key, complex):
            raise _no_order()
        if isinstance(key, tuple):
            _refuse_unordered(key)


def _refuse_disorder(keys: list[Any]) -> None:
    """Refuse keys if one is not less than the next."""
    try:
        # A single one is compared with itself: None and nan would keep all others out.
        ordered = not keys or (keys[0] == keys[0] and not keys[0] < keys[0])
        ordered = ordered and all(lower < higher for lower, higher in pairwise(keys))
    except _INCOMPARABLE as error:
        raise _no_order() from error
    if not ordered:
        raise _no_order()


def _no_order() -> TypeError:
    return TypeError(NO_ORDER)


class SortedReads(Replicated, Generic[K]):
    """What is asked of the order of keys, and the state of what is kept in `SortedItems`."""

    _items: SortedItems

    def irange(
        self,
        minimum: K | None = None,
        maximum: K | None = None,
        inclusive: tuple[bool, bool] = (True, True),
        reverse: bool = False,
    ) -> Iterator[K]:
        """Iterate over the keys from `minimum` to `maximum`, as they are now; O(log n + k).

        None: from the first one, or to the last one. `inclusive`: whether the ends belong to it.

        Raises:
            TypeError: an end cannot be compared with the keys.
        """
        with reading(self):
            keys = self._items.between(minimum, maximum, inclusive)
        return reversed(keys) if reverse else iter(keys)

    def islice(
        self, start: int | None = None, stop: int | None = None, reverse: bool = False
    ) -> Iterator[K]:
        """Iterate over the keys from place `start` to before `stop`, as they are now."""
        with reading(self):
            return iter(list(self._items.islice(start, stop, reverse)))

    def bisect_left(self, key: K) -> int:
        """Return how many keys are less than `key`; O(log n)."""
        with reading(self):
            return int(self._items.bisect_left(key))

    def bisect_right(self, key: K) -> int:
        """Return how many keys are not greater than `key`; O(log n)."""
        with reading(self):
            return int(self._items.bisect_right(key))

    bisect = bisect_right

    def index(self, key: K) -> int:
        """Return the place of `key`; O(log n).

        Raises:
            ValueError: it is not there.
        """
        with reading(self):
            return int(self._items.index(key))

    def snapshot_state(self) -> object:
        """Return the state; the items as a plain dict, in order."""
        state = super().snapshot_state()
        assert isinstance(state, dict)
        return state | {"_items": {key: self._items[key] for key in self._items}}

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        super().restore_state(state | {"_items": SortedItems(state["_items"])})

    def _check(self) -> None:
        assert type(self._items) is SortedItems, self._items
        self._items._check()
        _refuse_disorder(list(self._items))
