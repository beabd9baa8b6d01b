"""Small parts of a queue's history that must be explained by themselves, where a fault shows.

What happened to some of the items is explained by itself if the whole is: leave out the others, and
each item still comes after those that were before it. So faults that a search of the whole would
look for among countless orders are found at once: an item that came out twice or from nowhere, two
that overtook each other, an empty queue that certainly held one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import zip_longest
from math import inf, nextafter
from typing import Any, NamedTuple

from .history import UNKNOWN, Op, Raised
from .sequential import frozen

_PASSES = 5
"""How often what has to be put before other items is moved before them: these may move too."""

PUTS, GETS = ("put", "put_nowait"), ("get", "get_nowait")


class Item(NamedTuple):
    """An item that differs from all others: its `put`, and its `get` if somebody got it."""

    put: Op
    get: Op | None

    @property
    def value(self) -> Any:
        """The item itself."""
        return self.put.argument(0, "item")

    @property
    def left_after(self) -> float:
        """It was certainly in the queue until then, once it was put."""
        return inf if self.get is None else self.get.call

    @property
    def left_by(self) -> float:
        """It was certainly gone by then."""
        return inf if self.get is None else self.get.end

    def ops(self) -> list[Op]:
        """Return what was done with it."""
        return [self.put] if self.get is None else [self.put, self.get]


def by_item(ops: Sequence[Op]) -> dict[Hashable, list[Op]]:
    """Return what was done with each item, as far as that is known."""
    groups: dict[Hashable, list[Op]] = {}
    for op in ops:
        if isinstance(op.outcome, Raised):
            continue
        if op.method in PUTS:
            groups.setdefault(frozen(op.argument(0, "item")), []).append(op)
        elif op.method in GETS and op.outcome is not UNKNOWN:
            groups.setdefault(frozen(op.outcome), []).append(op)
    return groups


def distinct_items(groups: dict[Hashable, list[Op]]) -> list[Item]:
    """Return the items that were put once for certain, and taken once at most."""
    items = []
    for group in groups.values():
        puts = [op for op in group if op.method in PUTS]
        gets = [op for op in group if op.method in GETS]
        # A put of unknown outcome may have found the queue full, if nobody got its item.
        certain = gets or (puts and puts[0].outcome is not UNKNOWN)
        if len(puts) == 1 and len(gets) <= 1 and certain:
            items.append(Item(puts[0], gets[0] if gets else None))
    return items


def matched_items(groups: dict[Hashable, list[Op]]) -> list[Item]:
    """Return all items, of equal ones as if the first that was put was the first taken: a guess."""
    items = []
    for group in groups.values():
        puts = sorted((op for op in group if op.method in PUTS), key=lambda op: op.end)
        gets = sorted((op for op in group if op.method in GETS), key=lambda op: op.end)
        for put, get in zip_longest(puts, gets[: len(puts)]):
            if get is not None or put.outcome is not UNKNOWN:
                items.append(Item(put, get))
    return items


def out_of_nowhere(groups: dict[Hashable, list[Op]]) -> Iterator[list[Op]]:
    """Yield what was done with an item that came out more often, or earlier, than it was put."""
    for group in groups.values():
        puts = sorted(op.call for op in group if op.method in PUTS)
        gets = sorted(op.end for op in group if op.method in GETS)
        if len(gets) > len(puts) or any(g < p for g, p in zip(gets, puts, strict=False)):
            yield group


def missed(items: Sequence[Item], empties: Sequence[Op]) -> Iterator[list[Op]]:
    """Yield an item, and a call that found the queue empty while it was there."""
    inside = _Longest(items)
    for empty in sorted(empties, key=lambda op: op.call):
        item = inside.before(empty.call)
        if item is not None and item.left_after > empty.end:
            yield [*item.ops(), empty]


def overtaken(items: Sequence[Item]) -> Iterator[list[Op]]:
    """Yield two items of which the second came out first."""
    ahead = _Longest(items)
    for second in sorted(items, key=lambda item: item.put.call):
        first = ahead.before(second.put.call)
        if first is not None and first.left_after > second.left_by:
            yield [*first.ops(), *second.ops()]


def passed_over(items: Sequence[Item]) -> Iterator[list[Op]]:
    """Yield two items of which the greater came out while the smaller was there."""
    waiting = sorted(items, key=lambda item: item.put.end, reverse=True)
    inside: list[tuple[Any, int, Item]] = []
    for taken in sorted((i for i in items if i.get is not None), key=lambda i: i.left_after):
        while waiting and waiting[-1].put.end < taken.left_after:
            item = waiting.pop()
            heappush(inside, (item.value, item.put.id, item))
        aside = []
        while inside and inside[0][0] < taken.value:
            item = inside[0][2]
            if item.left_after > taken.left_by:
                yield [*item.ops(), *taken.ops()]
                break
            # It may have left before. If not now, it has for all that were taken later.
            entry = heappop(inside)
            if item.left_after > taken.left_after:
                aside.append(entry)
        for entry in aside:
            heappush(inside, entry)


def due_puts(items: Sequence[Item]) -> dict[int, float]:
    """Return by id when each item has to be put, so that it can come out before smaller ones.

    A guess for equal items. One that comes out later than a greater one was put after that had
    come out; so what is greater has to come, and go, before the end of the smaller one's put.
    """
    due = {item.put.id: min(item.put.end, item.left_by) for item in items}
    for _ in range(_PASSES):
        waiting = sorted(items, key=lambda item: due[item.put.id])
        ends = [due[item.put.id] for item in waiting]
        late = {}
        for item in items:
            smaller = _first_after(item, waiting, bisect_left(ends, item.put.call), due)
            if smaller is not None:
                late[item.put.id] = nextafter(due[smaller.put.id], -inf)
        due |= late
        if not late:
            break
    return due


def _first_after(
    item: Item, waiting: Sequence[Item], begin: int, due: dict[int, float]
) -> Item | None:
    """Return the first to be put of the smaller items that were taken after this one was."""
    for other in waiting[begin:]:
        if other.put.id == item.put.id or due[other.put.id] > due[item.put.id]:
            return None
        if other.left_after > item.left_by and other.value < item.value:
            return other
    return None


def left_unseen(
    items: Sequence[Item], empties: Sequence[Op], takers: Sequence[Op]
) -> tuple[Op, list[Op]] | None:
    """Return what shows that more items had left than `takers` can have taken, and all involved.

    An item had left if a later one came out before it, or the queue was found empty. In whatever
    hands it was: each taker has taken one at most, though it may have put it back.
    """
    moments: list[tuple[float, Op, Item | None]] = [
        (item.put.call, item.get, item) for item in items if item.get is not None
    ]
    moments += [(empty.call, empty, None) for empty in empties]
    moments.sort(key=lambda moment: moment[0])
    calls = sorted(taker.call for taker in takers)
    gone: list[tuple[Op, list[Op]]] = []
    first: tuple[Op, list[Op]] | None = None
    for item in sorted(items, key=lambda item: item.put.end, reverse=True):
        while moments and moments[-1][0] > item.put.end:
            _, seen, other = moments.pop()
            if first is None or seen.end < first[0].end:
                first = seen, [seen] if other is None else other.ops()
        if first is not None and first[0].end < item.left_after:
            gone.append((first[0], [*item.ops(), *first[1]]))
    gone.sort(key=lambda entry: entry[0].end)
    for count, (seen, _) in enumerate(gone, 1):
        if bisect_right(calls, seen.end) < count:
            involved = [op for _, ops in gone[:count] for op in ops]
            return seen, involved + [op for op in takers if op.call <= seen.end]
    return None


class _Longest:
    """Of the items that had certainly been put, the one that stayed longest."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._coming = sorted(items, key=lambda item: item.put.end, reverse=True)
        self._found: Item | None = None

    def before(self, time: float) -> Item | None:
        """Return it for that time; times must not go back."""
        while self._coming and self._coming[-1].put.end < time:
            item = self._coming.pop()
            if self._found is None or item.left_after > self._found.left_after:
                self._found = item
        return self._found
