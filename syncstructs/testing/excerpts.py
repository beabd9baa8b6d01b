"""Small parts of a queue's history that must be explained by themselves, where a fault shows.

What happened to some of the items is explained by itself if the whole is: leave out the others, and
each item still comes after those that were before it. So faults that a search of the whole would
look for among countless orders are found at once: an item that came out twice or from nowhere, two
that overtook each other, an empty queue that certainly held one.
"""

from collections.abc import Hashable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import zip_longest
from math import inf
from typing import Any, NamedTuple

from .history import UNKNOWN, Op, Raised
from .sequential import frozen

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


def all_got(groups: dict[Hashable, list[Op]]) -> set[Hashable]:
    """Return the items of which each was got by somebody who is known."""
    return {
        item
        for item, group in groups.items()
        if 2 * sum(op.method in GETS for op in group) >= len(group)
    }


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
