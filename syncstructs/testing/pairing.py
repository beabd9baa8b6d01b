"""Which of equal items came out when: a guess at the one order in which a queue's items go through.

The puts and the gets, each in the order in which they took effect, name the same items. So both are
put in order together, item by item, as real time allows in either row. That shows at once which of
concurrent puts comes first, where a search of the queue would learn it when the item comes out.
"""

from collections.abc import Hashable, Mapping, Sequence
from math import inf, nextafter
from typing import NamedTuple

from .history import Op
from .sequential import frozen

_STEPS = 5
"""How many steps per item the search takes at most."""


class _Row:
    """Operations of one kind, of which some have taken effect."""

    def __init__(self, ops: Sequence[Op], items: Sequence[Hashable]) -> None:
        # What may never have happened comes last: it is never all that is left before something.
        order = sorted(range(len(ops)), key=lambda i: (ops[i].optional, ops[i].call))
        self.ops = [ops[i] for i in order]
        self.items = [items[i] for i in order]
        self.done = [False] * len(ops)
        self.bound_count = sum(not op.optional for op in ops)
        self.low = 0
        """All before this one have taken effect."""

    def next(self) -> tuple[float, dict[Hashable, list[int]]]:
        """Return the first end of what is left, and of each item what can be next."""
        first_end = self._first_end()
        found: dict[Hashable, list[int]] = {}
        for part in (range(self.low, self.bound_count), range(self.bound_count, len(self.ops))):
            for i in part:
                if self.ops[i].call > first_end:
                    break
                if not self.done[i]:
                    found.setdefault(self.items[i], []).append(i)
        return first_end, found

    def beyond(self) -> list[int]:
        """Return what has taken effect before others that were called earlier."""
        first_end = self._first_end()
        found = list(range(self.bound_count, len(self.ops)))
        for i in range(self.low, self.bound_count):
            if self.ops[i].call > first_end:
                break
            found.append(i)
        return [i for i in found if self.done[i]]

    def _first_end(self) -> float:
        first_end = inf
        for i in range(self.low, self.bound_count):
            if self.ops[i].call > first_end:
                break
            if not self.done[i]:
                first_end = min(first_end, self.ops[i].end)
        return first_end

    def place(self, i: int) -> int:
        """Let one take effect; return what `take_back` needs."""
        low = self.low
        self.done[i] = True
        while self.low < self.bound_count and self.done[self.low]:
            self.low += 1
        return low

    def take_back(self, i: int, low: int) -> None:
        """Undo `place`."""
        self.done[i], self.low = False, low


class _Choice(NamedTuple):
    left: list[tuple[int, int]]
    put: int
    get: int
    put_low: int
    get_low: int
    time: float
    """When the item left at the earliest."""


def spans_of(
    puts: Sequence[Op], gets: Sequence[Op], empties: Sequence[Op]
) -> dict[int, tuple[float, float]] | None:
    """Return by id of each put when its item left, as it seems: see `Model.hidden_order`.

    None if no order was found.
    """
    pairs = paired(puts, gets, empties)
    if not pairs:
        return None
    spans = {put.id: (inf, inf) for put in puts}
    spans |= {op.id: (-inf, op.end) for op in empties}
    left = -inf
    for put, get in pairs:
        left = max(nextafter(left, inf), put.call, get.call)
        spans[put.id] = left, left
    return spans


def paired(
    puts: Sequence[Op], gets: Sequence[Op], empties: Sequence[Op] = ()
) -> list[tuple[Op, Op]]:
    """Return puts with their gets, in the order of the items; none if no order was found."""
    front = _Row(puts, [frozen(op.argument(0, "item")) for op in puts])
    back = _Row(gets, [frozen(op.outcome) for op in gets])
    due = _due(puts, empties)
    chosen: list[_Choice] = []
    failed: set[tuple[Hashable, ...]] = set()
    steps = _STEPS * len(gets)
    time = -inf
    left = _choices(front, back, due, time)
    while len(chosen) < len(gets) and steps:
        steps -= 1
        if left:
            put, get = left.pop()
            time = max(time, front.ops[put].call, back.ops[get].call)
            chosen.append(_Choice(left, put, get, front.place(put), back.place(get), time))
            key = front.low, back.low, *front.beyond(), None, *back.beyond()
            left = [] if key in failed else _choices(front, back, due, time)
            failed.add(key)
        elif chosen:
            left = _take_back(chosen.pop(), front, back)
            time = chosen[-1].time if chosen else -inf
        else:
            break
    if len(chosen) < len(gets):
        return []
    return [(front.ops[choice.put], back.ops[choice.get]) for choice in chosen]


def _take_back(choice: _Choice, front: _Row, back: _Row) -> list[tuple[int, int]]:
    front.take_back(choice.put, choice.put_low)
    back.take_back(choice.get, choice.get_low)
    return choice.left


def _choices(
    front: _Row, back: _Row, due: Mapping[int, float], time: float
) -> list[tuple[int, int]]:
    """Return the puts and gets of one item that could both be next, the most urgent last."""
    first_put, puts = front.next()
    first_get, gets = back.next()
    # What was put before the queue was found empty has to go before that.
    last = min((due[front.ops[i].id] for row in puts.values() for i in row), default=inf)
    found = []
    for item in puts:
        # Of equal ones, the one that ends first goes first.
        in_time = [i for i in gets.get(item, ()) if back.ops[i].call <= last]
        if not in_time:
            continue
        get = min(in_time, key=lambda i: back.ops[i].end)
        call, end = max(back.ops[get].call, time), back.ops[get].end
        fitting = [i for i in puts[item] if max(call, front.ops[i].call) <= min(end, last)]
        if fitting:
            put = min(fitting, key=lambda i: front.ops[i].end)
            wait = min(front.ops[put].end - first_put, end - first_get)
            found.append((-wait, put, get))
    return [(put, get) for _, put, get in sorted(found)]


def _due(puts: Sequence[Op], empties: Sequence[Op]) -> dict[int, float]:
    """Return by when each item had left: by the first time that the queue was found empty."""
    coming = sorted(empties, key=lambda op: op.call)
    due, first = {}, inf
    for put in sorted(puts, key=lambda op: op.end, reverse=True):
        while coming and coming[-1].call > put.end:
            first = min(first, coming.pop().end)
        due[put.id] = first
    return due
