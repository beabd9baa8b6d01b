"""Guesses at the order in which concurrent operations took effect, from what came of them later.

They only decide what a search tries first. A wrong guess costs steps, never the verdict.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Hashable, Sequence
from math import inf, nextafter

from msgspec.structs import replace

from .history import UNKNOWN, Op, Raised
from .sequential import Model, frozen

_PASSES = 20
"""How often what has to be under others is moved before them, which may have been moved too."""


def stacking(ops: Sequence[Op]) -> dict[int, float]:
    """Return by id what to try first where a list's elements are taken from its end.

    What can be popped is popped at once. Of two elements, the lower one was added first at the
    end, and last at the front; which is the lower one is known once one of them was popped.
    """
    tops: dict[Hashable, list[Op]] = {}
    urgency: dict[int, float] = {}
    for op in ops:
        if op.method == "pop":
            urgency[op.id] = -inf
        if _shows_top(op):
            tops.setdefault(frozen(op.outcome), []).append(op)
    appended = [op for op in ops if op.method == "append"]
    urgency |= _hurried(
        appended, [tops.get(frozen(op.argument(0, "value")), []) for op in appended]
    )
    inserted = [op for op in ops if op.method == "insert" and op.argument(0, "index") == 0]
    return urgency | _hurried(
        inserted, [tops.get(frozen(op.argument(1, "value")), []) for op in inserted], at_front=True
    )


def _shows_top(op: Op) -> bool:
    """Return whether `op` saw the last element of a list: popped it, or looked at it."""
    if op.outcome is UNKNOWN or isinstance(op.outcome, Raised):
        return False
    looked = op.method in ("get", "__getitem__") and op.argument(0, "index") == -1
    return looked or op.method == "pop"


def all_taken(ops: Sequence[Op], model: Model) -> set[Hashable]:
    """Return the parts that are known to have been taken out as often as they were brought in."""
    left = Counter(model.holds())
    taken: set[Hashable] = set()
    for op in ops:
        brought = model.brings(op)
        if brought is None:
            return set()
        left.update(brought)
        left.subtract(model.takes(op))
        taken.update(model.takes(op))
    return {part for part in taken if left[part] <= 0}


def narrowed(ops: Sequence[Op], model: Model) -> list[Op]:
    """Return the operations with what has no equal brought in, then seen, and then taken out.

    So none of these begins before the ones before it, and none ends after those after it.
    """
    brought: dict[Hashable, list[Op]] = {}
    seen: dict[Hashable, list[Op]] = {}
    taken: dict[Hashable, list[Op]] = {}
    for op in ops:
        for groups, parts in (
            (brought, model.brings(op) or ()), (seen, model.shows(op)), (taken, model.takes(op)),
        ):  # fmt: skip
            for part in parts:
                groups.setdefault(part, []).append(op)
    calls = {op.id: op.call for op in ops}
    ends = {op.id: op.end for op in ops}
    for part, bringers in brought.items():
        if len(bringers) > 1:
            continue
        call, end = bringers[0].call, inf
        stages = [bringers, seen.get(part, []), taken.get(part, [])]
        for stage in stages:
            for op in stage:
                calls[op.id] = max(calls[op.id], call)
            call = max((calls[op.id] for op in stage), default=call)
        for stage in reversed(stages):
            for op in stage:
                ends[op.id] = min(ends[op.id], end)
            end = min((ends[op.id] for op in stage), default=end)
    return [
        op if (op.call, op.end) == (calls[op.id], ends[op.id])
        else replace(op, call=calls[op.id], end=ends[op.id])
        for op in ops
    ]  # fmt: skip


def _hurried(
    adds: Sequence[Op], tops: Sequence[Sequence[Op]], *, at_front: bool = False
) -> dict[int, float]:
    """Return by when to add each element: by its end, or before those that it has to be under."""
    order = sorted(range(len(adds)), key=lambda i: adds[i].end)
    ends = [adds[i].end for i in order]
    pairs: list[tuple[int, int]] = []
    for place, i in enumerate(order):
        for j in order[bisect_left(ends, adds[i].call) : place]:
            one = _surety(adds[i], tops[i], tops[j], at_front=at_front)
            other = _surety(adds[j], tops[j], tops[i], at_front=at_front)
            if one and one >= other:
                pairs.append((i, j))
            elif other:
                pairs.append((j, i))
    due = [op.end for op in adds]
    for _ in range(_PASSES):
        late = [(i, j) for i, j in pairs if due[i] >= due[j]]
        for i, j in late:
            due[i] = min(due[i], nextafter(due[j], -inf))
        if not late:
            break
    return {op.id: due[i] for i, op in enumerate(adds)}


def _surety(op: Op, tops: Sequence[Op], others: Sequence[Op], *, at_front: bool) -> int:
    """Return how sure it is that `op` was added before what the `others` saw at the end: 0 to 2."""
    if at_front:
        seen = min((top.end for top in tops), default=inf)
        return 1 if seen < min((top.end for top in others), default=inf) else 0
    gone = [top for top in tops if top.method == "pop"]
    # What ended after the other was seen need not have been under it.
    over = [other for other in others if op.end < other.call]
    if any(all(pop.call > other.end for pop in gone) for other in over):
        return 2
    return 1 if any(all(pop.end > other.end for pop in gone) for other in over) else 0
