"""Search for an order in which one copy, by itself, could have answered as callers saw it.

For the short histories of one run, whose calls may be made of several commands; after Wing and Gong
("Testing and verifying concurrent objects", 1993), with Lowe's memory of where it has been.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Final

from .history import Op
from .sequential import ILLEGAL, Model

_STEPS: Final = 20_000
"""How many calls are tried at the most; a search that needs more is given up without a verdict."""


def find_order(ops: Sequence[Op], model: Model) -> str | None:
    """Return None if there is an order, else which call has no place in it, in words."""
    groups: dict[Hashable, list[Op]] = {}
    for op in sorted(ops, key=lambda op: op.call):
        keys = model.keys(op)
        groups.setdefault(tuple(keys) if keys is not None else None, []).append(op)
    if None in groups:
        groups = {None: sorted(ops, key=lambda op: op.call)}
    for group in groups.values():
        trouble = _Search(group, model).run()
        if trouble is not None:
            return trouble
    return None


class _Search:
    def __init__(self, ops: list[Op], model: Model) -> None:
        self._ops = ops
        self._model = model
        self._steps = [model.transition(op) for op in ops]
        self._needed = sum(1 << i for i, op in enumerate(ops) if not op.optional)
        self._best: tuple[int, Hashable, list[int]] = (-1, None, [])

    def run(self) -> str | None:
        """Go depth first: each state is left by all calls that nothing else must come before."""
        state = self._model.initial()
        stack: list[tuple[int, Hashable, list[int]]] = [(0, state, [])]
        been = {(0, state)}
        tried = 0
        while stack:
            mask, state, order = stack.pop()
            if mask & self._needed == self._needed:
                return None
            if len(order) > self._best[0]:
                self._best = (len(order), state, order)
            # Pushed last is tried first: whoever saw its result first was most likely first.
            for i in sorted(self._candidates(mask), key=lambda i: -self._ops[i].end):
                tried += 1
                if tried > _STEPS:
                    return None
                after = self._steps[i](state)
                at = mask | 1 << i
                if after is not ILLEGAL and (at, after) not in been:
                    been.add((at, after))
                    stack.append((at, after, [*order, i]))
        return self._told()

    def _candidates(self, mask: int) -> list[int]:
        left = [i for i in range(len(self._ops)) if not mask >> i & 1]
        first_end = min(self._ops[i].end for i in left)
        return [i for i in left if self._ops[i].call <= first_end]

    def _told(self) -> str:
        _, state, order = self._best
        mask = sum(1 << i for i in order)
        lines = ["no order of the calls gives what the callers saw. The best begins with"]
        lines += [f"  {self._ops[i].process}: {self._ops[i]}" for i in order] or ["  nothing"]
        lines.append(f"and comes to the state {self._model.describe(state)}, in which")
        for i in self._candidates(mask):
            op = self._ops[i]
            if not op.optional:
                expected = self._model.expected(state, op)
                lines.append(f"  {op.process}: {op} has no place, it would give {expected}")
        return "\n".join(lines)
