"""`ReplCounterMap`: many whole numbers by key that all members count on together.

Every change is one command, so concurrent additions from all members add up exactly. Reads are
local.
"""

import operator
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, Self, TypeAlias, TypeVar

from ..objects.replicated import reading, replicated
from .counters import _whole
from .dicts import ReplDict
from .prepared import Prepared, prepared
from .values import in_order

K = TypeVar("K")

Counts: TypeAlias = Mapping[K, int] | Iterable[K]
"""Numbers by key, or the keys themselves, each as often as it counts."""

_OPERATORS: Final[Mapping[str, Callable[[Counter[Any], Counter[Any]], Counter[Any]]]] = {
    "+": operator.add,
    "-": operator.sub,
    "&": operator.and_,
    "|": operator.or_,
}


class ReplCounterMap(ReplDict[K, int]):
    """A replicated `collections.Counter` of whole numbers: a `ReplDict` whose missing keys read 0.

    `update` and `subtract` add to what is there and take from it; a key that comes to 0 stays until
    it is removed, and to delete one that is missing is no error. `copy()` and the operators
    `+ - & |` give a plain `Counter`, and in place (`c += other`) they are commands that keep
    positive numbers only; `<=` and the like compare number by number, all as with `Counter`.

    `inc` and all of one key take O(1), `most_common` O(n log n), other questions about the whole
    O(n). Each change is one log entry, and is counted once even if the leader is lost under way.

    >>> votes = ReplCounterMap("abracadabra", a=-1)
    >>> votes["a"], votes["x"], votes.most_common(2), votes.total()
    (4, 0, [('a', 4), ('b', 2)], 10)
    """

    def __init__(self, other: Counts[K] = (), /, **named: int) -> None:
        self._items: dict[K, int] = _counted(other, named)

    # Commands

    @replicated
    def inc(self, key: K, amount: int = 1) -> int:
        """Add `amount`, which may be below 0, to the number of `key`; return the new one.

        Raises:
            TypeError: it is no whole number; nothing has changed. So for all methods.
        """
        count = self._items.get(key, 0) + _whole(amount, "ReplCounterMap")
        self._items[key] = count
        return count

    @replicated
    def set(self, key: K, value: int) -> None:
        """Do as `c[key] = value`."""
        self._items[key] = _whole(value, "ReplCounterMap")

    @replicated
    def setdefault(self, key: K, default: int = 0) -> int:
        """Return the number of `key`, after setting it to `default` if it was absent."""
        return self._items.setdefault(key, _whole(default, "ReplCounterMap"))

    @replicated
    def compare_and_set(self, key: K, expected: int, value: int) -> bool:
        """Set `key` to `value` if it reads `expected`, 0 if it is absent; return whether it did."""
        value = _whole(value, "ReplCounterMap")
        if self._items.get(key, 0) != expected:
            return False
        self._items[key] = value
        return True

    @replicated
    def delete(self, key: K) -> None:
        """Do as `del c[key]`; no error if it is absent."""
        self._items.pop(key, None)

    @prepared
    def update(self, other: Counts[K] = (), /, **named: int) -> Prepared[None]:  # type: ignore[override]
        """Add the numbers of a mapping, or 1 for each key of an iterable, and of the keywords."""
        return Prepared(self._update, _counted(other, named))

    @prepared
    def subtract(self, other: Counts[K] = (), /, **named: int) -> Prepared[None]:
        """Subtract as `update` adds; numbers may come below 0."""
        less = {key: -count for key, count in _counted(other, named).items()}
        return Prepared(self._update, less)

    @prepared
    def reset(self, other: Counts[K] = (), /, **named: int) -> Prepared[None]:  # type: ignore[override]
        """Replace the whole content by that of `Counter(other, **named)`."""
        return Prepared(self._reset, _counted(other, named))

    @replicated
    def _update(self, items: dict[K, int]) -> None:
        for key, count in items.items():
            self._items[key] = self._items.get(key, 0) + count

    @replicated
    def _combine(self, name: str, counts: dict[K, int]) -> None:
        self._items = dict(_OPERATORS[name](Counter(self._items), Counter(counts)))

    def __iadd__(self, other: Mapping[K, int]) -> Self:  # type: ignore[misc]
        self._combine("+", _counted(other, {}))
        return self

    def __isub__(self, other: Mapping[K, int]) -> Self:  # type: ignore[misc]
        self._combine("-", _counted(other, {}))
        return self

    def __iand__(self, other: Mapping[K, int]) -> Self:  # type: ignore[misc]
        self._combine("&", _counted(other, {}))
        return self

    def __ior__(self, other: Mapping[K, int]) -> Self:  # type: ignore[override,misc]
        self._combine("|", _counted(other, {}))
        return self

    # Reads

    def __getitem__(self, key: K) -> int:
        return self.get(key, 0)

    def most_common(self, n: int | None = None) -> list[tuple[K, int]]:
        """Return the `n` keys with the greatest numbers, and these; of all keys, if None is said.

        Keys with equal numbers come in the order in which they were inserted.
        """
        return self.copy().most_common(n)

    def total(self) -> int:
        """Return the sum of all numbers."""
        with reading(self):
            return sum(self._items.values())

    def elements(self) -> Iterator[K]:
        """Iterate over the keys as they are now, each as often as its number says."""
        return self.copy().elements()

    def copy(self) -> Counter[K]:
        """Return the content as a plain `Counter`."""
        with reading(self):
            return Counter(self._items)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ReplDict):
            other = other.copy()
        return self.copy() == other if isinstance(other, Mapping) else NotImplemented

    def __add__(self, other: Mapping[Any, int]) -> Counter[Any]:
        return self.copy() + Counter(other)

    def __sub__(self, other: Mapping[Any, int]) -> Counter[K]:
        return self.copy() - Counter(other)

    def __and__(self, other: Mapping[Any, int]) -> Counter[K]:
        return self.copy() & Counter(other)

    def __or__(self, other: Mapping[Any, int]) -> Counter[Any]:
        return _OPERATORS["|"](self.copy(), Counter(other))

    def __ror__(self, other: Mapping[Any, int]) -> Counter[Any]:
        return _OPERATORS["|"](Counter(other), self.copy())

    def __radd__(self, other: Mapping[Any, int]) -> Counter[Any]:
        return Counter(other) + self.copy()

    def __rsub__(self, other: Mapping[Any, int]) -> Counter[Any]:
        return Counter(other) - self.copy()

    def __rand__(self, other: Mapping[Any, int]) -> Counter[Any]:
        return Counter(other) & self.copy()

    def __pos__(self) -> Counter[K]:
        return +self.copy()

    def __neg__(self) -> Counter[K]:
        return -self.copy()

    def __le__(self, other: Mapping[Any, int]) -> bool:
        return self.copy() <= Counter(other) if isinstance(other, Mapping) else NotImplemented

    def __lt__(self, other: Mapping[Any, int]) -> bool:
        return self.copy() < Counter(other) if isinstance(other, Mapping) else NotImplemented

    def __ge__(self, other: Mapping[Any, int]) -> bool:
        return self.copy() >= Counter(other) if isinstance(other, Mapping) else NotImplemented

    def __gt__(self, other: Mapping[Any, int]) -> bool:
        return self.copy() > Counter(other) if isinstance(other, Mapping) else NotImplemented

    def _check(self) -> None:
        super()._check()
        assert all(type(count) is int for count in self._items.values()), self._items


def _counted(other: Any, named: Mapping[str, int]) -> dict[Any, int]:
    """Return what `Counter(other, **named)` holds, in an order that is the same everywhere."""
    if isinstance(other, ReplDict):
        other = other.copy()
    counts = Counter(other if isinstance(other, Mapping) else in_order(other))
    counts.update(named)
    return {key: _whole(count, "ReplCounterMap") for key, count in counts.items()}
