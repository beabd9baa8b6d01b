"""`ReplDeque`: a double-ended queue that all members share, with a bound if one is wanted.

Every change is one command, whose result is decided by the order of the log. Nobody waits at it;
that is what a `ReplQueue` is for. Reads are local, and what is read is a copy.
"""

from collections import deque
from collections.abc import Iterable, Mapping
from operator import index as as_index
from typing import Any, ClassVar, SupportsIndex, TypeVar

from ..objects.pickling import Places, allow_pickles, enclosed, revealed
from ..objects.replicated import reading, replicated
from .prepared import Prepared, prepared
from .sequences import SharedSequence
from .values import in_order, isolated, isolated_list

T = TypeVar("T")


class ReplDeque(SharedSequence[T]):
    """A replicated `collections.deque`: the same methods, operators, errors and `maxlen`.

    Past `maxlen`, on which all members must agree, what is added at one end drops from the other:
    the last hundred events of a cluster are a `ReplDeque(maxlen=100)`. `copy()`, `+` and `*` give a
    plain `deque`. It compares with deques and other `ReplDeque`s.

    Changes and reads at the ends take O(1), everything else O(n); each change is one log entry. No
    two members pop the same element. If the leader is lost under way, a change takes effect once;
    after `OutcomeUnknown`, what was popped may be lost. With `pickle=True`, elements may be of any
    class that can be pickled, as those of a `ReplList`.

    >>> last = ReplDeque("abcd", maxlen=3)
    >>> list(last), last[-1], last.maxlen
    (['b', 'c', 'd'], 'd', 3)
    """

    VALUES_IN: ClassVar[Mapping[str, Places]] = {
        **SharedSequence.VALUES_IN,
        "appendleft": SharedSequence.VALUES_IN["append"],
        "_extendleft": {0: enclosed},
    }
    VALUES_OUT = frozenset({"pop", "popleft"})
    _items: deque[T]

    def __init__(
        self, iterable: Iterable[T] = (), maxlen: int | None = None, *, pickle: bool = False
    ) -> None:
        """`pickle`: take elements of any class that can be pickled; see `ReplDict`."""
        self._items = deque(in_order(iterable), maxlen)
        if pickle:
            allow_pickles(self)
            self._items = enclosed(self._items)

    @property
    def maxlen(self) -> int | None:
        """How many elements there are at most; None: any number."""
        return self._items.maxlen

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {"maxlen": self.maxlen}

    # Commands

    @replicated
    def appendleft(self, value: T) -> None:
        """Add an element at the front."""
        self._items.appendleft(value)

    @replicated
    def pop(self) -> T:  # type: ignore[override]
        """Remove and return the last element.

        Raises:
            IndexError: there is none when the command is applied.
        """
        return self._items.pop()

    @replicated
    def popleft(self) -> T:
        """Remove and return the first element.

        Raises:
            IndexError: there is none when the command is applied.
        """
        return self._items.popleft()

    @prepared
    def extendleft(self, values: Iterable[T]) -> Prepared[None]:
        """Add all elements at the front, one after the other, so that the last comes to be first.

        One log entry; they stay together.
        """
        return Prepared(self._extendleft, in_order(values))

    @replicated
    def rotate(self, n: int = 1) -> None:
        """Move `n` elements from the end to the front; below 0, from the front to the end."""
        self._items.rotate(n)

    @replicated
    def _extendleft(self, values: list[T]) -> None:
        self._items.extendleft(values)

    def __setitem__(self, index: SupportsIndex, value: T) -> None:  # type: ignore[override]
        self.set(as_index(index), value)

    def __delitem__(self, index: SupportsIndex) -> None:  # type: ignore[override]
        self.delete(as_index(index))

    # Reads

    def __getitem__(self, index: SupportsIndex) -> T:  # type: ignore[override]
        with reading(self):
            found = isolated(self._items[as_index(index)])
        return revealed(self, found) if self._pickles else found

    def copy(self) -> deque[T]:
        """Return the content as a plain `deque`, which shares nothing with the replica."""
        with reading(self):
            copied = deque(isolated_list(self._items), self._items.maxlen)
        return revealed(self, copied) if self._pickles else copied

    def __add__(self, other: "deque[T] | ReplDeque[T]") -> deque[T]:
        return self.copy() + _plain(other) if isinstance(other, _DEQUES) else NotImplemented

    def __radd__(self, other: deque[T]) -> deque[T]:
        return other + self.copy() if isinstance(other, deque) else NotImplemented

    def __mul__(self, count: SupportsIndex) -> deque[T]:
        return self.copy() * as_index(count) if hasattr(count, "__index__") else NotImplemented

    __rmul__ = __mul__

    def __eq__(self, other: object) -> bool:
        return self.copy() == _plain(other) if isinstance(other, _DEQUES) else NotImplemented

    def __lt__(self, other: "deque[T] | ReplDeque[T]") -> bool:
        return self.copy() < _plain(other) if isinstance(other, _DEQUES) else NotImplemented

    def __le__(self, other: "deque[T] | ReplDeque[T]") -> bool:
        return self.copy() <= _plain(other) if isinstance(other, _DEQUES) else NotImplemented

    def __gt__(self, other: "deque[T] | ReplDeque[T]") -> bool:
        return self.copy() > _plain(other) if isinstance(other, _DEQUES) else NotImplemented

    def __ge__(self, other: "deque[T] | ReplDeque[T]") -> bool:
        return self.copy() >= _plain(other) if isinstance(other, _DEQUES) else NotImplemented

    def _check(self) -> None:
        assert type(self._items) is deque, self._items


_DEQUES = (deque, ReplDeque)


def _plain(other: Any) -> deque[Any]:
    return other.copy()  # type: ignore[no-any-return]
