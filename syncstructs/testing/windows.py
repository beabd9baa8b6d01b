"""The smallest part of a bad history that cannot be explained, and its picture."""

from collections.abc import Hashable, Iterable, Sequence
from math import inf
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from .history import UNKNOWN, Op
from .search import Search, possible_states
from .sequential import Model

_Start: TypeAlias = tuple[Hashable, frozenset[int]]
_BAR = 32
_SHOWN_STATES = 6
_SHOWN_OPS = 40
_MAX_STARTS = 1_000


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Operations that nothing explains, from the state that the model was in before them.

    It is minimal, unless that was too dear to find out: let any one of them have ended in whatever
    way, or not at all, and the rest can be explained.
    """

    culprit: Op
    """The operation whose end is the first moment at which nothing explains the history."""
    ops: tuple[Op, ...]
    """The operations, the culprit among them, in the order of their calls."""
    start: float
    """When the culprit was called."""
    end: float
    """When it ended."""
    states: tuple[str, ...] = ()
    """All that the state could be at the start, as text, leaving out what was running then. Empty
    if that was too dear to find out: then `ops` are all that ran in the window. Empty too where
    `ops` contradict each other whatever the state was."""
    before: tuple[Op, ...] = ()
    """The last that took effect before nothing did any more, in one possible order."""
    hidden_count: int = 0
    """How many more operations ran in the window, which explain nothing however they ended."""

    def __str__(self) -> str:
        return timeline(self)


def window_of(search: Search, model: Model, budget: int) -> Window:
    """Return the window of a search that has found that there is no order."""
    culprit, path = _culprit(search, model, budget)
    starts = possible_states(search.ops, model, culprit.call, budget)
    ops = [op for op in search.ops if op.end >= culprit.call and op.call <= culprit.end]
    if starts is None or len(starts) > _MAX_STARTS:
        core = ops
    else:
        core = _core(ops, starts, model, culprit, budget)
    states = sorted({model.describe(state) for state, _ in starts or ()})
    return Window(
        culprit=culprit,
        ops=tuple(sorted(core, key=lambda op: (op.call, op.id))),
        start=culprit.call,
        end=culprit.end,
        states=tuple(states),
        before=tuple(op for op in path if op not in core),
        hidden_count=len(ops) - len(core),
    )


def _culprit(search: Search, model: Model, budget: int) -> tuple[Op, list[Op]]:
    """Return whose end is the first moment at which nothing explains what was seen by then."""
    assert search.stuck is not None, "only a search that failed has a culprit"
    if not model.hidden_order(search.ops):
        return search.stuck, search.path
    # A search that looks ahead has failed earlier. So look for the shortest beginning that fails.
    ends = sorted((op for op in search.ops if op.end < inf), key=lambda op: (op.end, op.id))
    low, high = 0, len(ends) - 1
    path = search.path
    while low < high:
        middle = (low + high) // 2
        begun = Search(_until(search.ops, ends[middle].end), model)
        if begun.run(budget) is False:
            high, path = middle, begun.path
        else:
            low = middle + 1
    return ends[high], path


def _until(ops: Sequence[Op], time: float) -> list[Op]:
    """Return the beginning of a history: what had not ended by then may have happened."""
    return [replace(op, end=inf) if op.end > time else op for op in ops if op.call <= time]


def _core(
    ops: Sequence[Op], starts: set[_Start], model: Model, culprit: Op, budget: int
) -> list[Op]:
    """Return the operations without which the others could be explained."""
    current = list(ops)
    core = [culprit]
    for op in ops:
        if op is culprit:
            continue
        freed = [_freed(op) if other is op else other for other in current]
        explained, cost = _explain(freed, starts, model, culprit.end, budget)
        budget -= cost
        if explained is False:
            current = freed
        else:
            core.append(op)
    return core


def _freed(op: Op) -> Op:
    return replace(op, outcome=UNKNOWN, end=inf)


def _explain(
    ops: Sequence[Op], starts: Iterable[_Start], model: Model, until: float, budget: int
) -> tuple[bool | None, int]:
    """Return whether what ended by `until` can be explained from any start; and at what cost."""
    cost = 0
    explained: bool | None = False
    for state, done in starts:
        rest = [op for op in ops if op.id not in done]
        search = Search(rest, model, initial=state, until=until)
        found = search.run(max(budget - cost, 1))
        cost += search.steps
        if found:
            return True, cost
        if found is None:
            explained = None
    return explained, cost


def timeline(window: Window) -> str:
    """Return the window as text: what was before it, and a line per operation, by process."""
    lines = []
    if window.before:
        lines.append("the last before it, in one possible order:")
        lines += [f"  {op.process}  {op}  ({_span(op)})" for op in window.before]
    if window.states:
        shown = window.states[:_SHOWN_STATES]
        more = len(window.states) - len(shown)
        lines.append(f"at {window.start:g} the state can only be one of:" if len(window.states) > 1
                     else f"at {window.start:g} the state can only be:")  # fmt: skip
        lines += [f"  {state}" for state in shown] + ([f"  and {more} more"] if more else [])
    lines.append(f"from {window.start:g} to {window.end:g}, what nothing explains:")
    lines += _bars(window)
    if window.hidden_count:
        lines.append(f"  ({window.hidden_count} more ran then, and explain nothing)")
    return "\n".join(lines)


def _bars(window: Window) -> list[str]:
    ops = sorted(window.ops[-_SHOWN_OPS:], key=lambda op: (str(op.process), op.call))
    # Ranks, not times: a picture of what came before what.
    moments = sorted({t for op in ops for t in (op.call, op.end) if t < inf})
    column = {t: i * (_BAR - 1) // max(len(moments) - 1, 1) for i, t in enumerate(moments)}
    width = max(len(str(op.process)) for op in ops)
    lines = []
    hidden = len(window.ops) - len(ops)
    if hidden:
        lines.append(f"  ({hidden} before these)")
    for op in ops:
        left = column[op.call]
        right = column.get(op.end, _BAR - 1)
        ending = ">" if op.end == inf else "|"
        bar = " " * left + "|" + "-" * max(right - left - 1, 0) + (ending if right > left else "")
        mark = "  <-- ends, and fits nowhere" if op is window.culprit else ""
        lines.append(f"  {op.process!s:{width}} {bar:{_BAR}}  {op}  ({_span(op)}){mark}")
    return lines


def _span(op: Op) -> str:
    return f"{op.call:g} to {'?' if op.end == inf else f'{op.end:g}'}"
