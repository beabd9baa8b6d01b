"""Guesses at the order in which concurrent operations took effect, from what came of them later.

They only decide what a search tries first. A wrong guess costs steps, never the verdict.
"""

from bisect import bisect_left
from collections.abc import Hashable, Sequence
from math import inf, nextafter

from .history import UNKNOWN, Op, Raised
from .sequential import frozen

_PASSES = 20
"""How often what has to be under others is moved before them, which may have been moved too."""


def stacking(ops: Sequence[Op]) -> dict[int, float]:
    """Return by id what to try first where a list's elements are taken from its end.

    What can be popped is popped at once. Of two elements, the lower one was added first at the
    end, and last at the front; which is the lower one is known once one of them was popped.
    """
    pops: dict[Hashable, Op] = {}
    urgency: dict[int, float] = {}
    for op in ops:
        if op.method == "pop":
            urgency[op.id] = -inf
            if op.outcome is not UNKNOWN and not isinstance(op.outcome, Raised):
                pops[frozen(op.outcome)] = op
    appended = [op for op in ops if op.method == "append"]
    urgency |= _hurried(appended, [pops.get(frozen(op.argument(0, "value"))) for op in appended])
    inserted = [op for op in ops if op.method == "insert" and op.argument(0, "index") == 0]
    return urgency | _hurried(
        inserted, [pops.get(frozen(op.argument(1, "value"))) for op in inserted], at_front=True
    )


def _hurried(
    adds: Sequence[Op], pops: Sequence[Op | None], *, at_front: bool = False
) -> dict[int, float]:
    """Return by when to add each element: by its end, or before those that it has to be under."""
    order = sorted(range(len(adds)), key=lambda i: adds[i].end)
    ends = [adds[i].end for i in order]
    pairs: list[tuple[int, int]] = []
    for place, i in enumerate(order):
        for j in order[bisect_left(ends, adds[i].call) : place]:
            if _is_first(adds[i], pops[i], pops[j], at_front=at_front):
                pairs.append((i, j))
            elif _is_first(adds[j], pops[j], pops[i], at_front=at_front):
                pairs.append((j, i))
    due = [op.end for op in adds]
    for _ in range(_PASSES):
        late = [(i, j) for i, j in pairs if due[i] >= due[j]]
        for i, j in late:
            due[i] = min(due[i], nextafter(due[j], -inf))
        if not late:
            break
    return {op.id: due[i] for i, op in enumerate(adds)}


def _is_first(op: Op, pop: Op | None, other: Op | None, *, at_front: bool) -> bool:
    """Return whether `op` seems to have been added before what the `other` popped."""
    if at_front:
        return pop is not None and (other is None or pop.end < other.end)
    # What ended after the other was popped need not have been under it.
    return other is not None and op.end < other.call and (pop is None or pop.end > other.end)
