"""Where values come from: what must have happened because somebody saw its result, or cannot have.

A model says which parts an operation may bring into the state, which parts it saw there, and which
it took out for good. That decides much before any search, however many outcomes are unknown:

- What was seen, and nobody who had called by then can have brought, refutes the history at once.
- A call of unknown outcome that alone can have brought what was seen took effect by then.
- A call of unknown outcome that brings only what nobody saw is left out, where all others would
  have seen it or have overwritten it without a look.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import accumulate
from math import inf
from typing import NamedTuple

from msgspec.structs import replace

from .history import Op
from .sequential import Impossible, Model


class _Need(NamedTuple):
    """Somebody saw a part, so by the end of that call it had been brought in so many times."""

    end: float
    times: int
    op: Op


class Origins:
    """The parts that operations have brought in, seen and taken out."""

    def __init__(self, ops: Sequence[Op], model: Model, first: Counter[Hashable]) -> None:
        """Take operations, their model, and how often it `holds` each part before them."""
        self._ops = ops
        self._model = model
        self._brought: dict[Hashable, list[Op]] = {}
        self._needs: dict[Hashable, list[_Need]] = {}
        self._first = first
        self._known = self._find_brought()
        if self._known:
            self._find_needs()

    def _find_brought(self) -> bool:
        """Note who may have brought what; return False if somebody may have brought anything."""
        brings = self._model.brings
        for op in self._ops:
            parts = brings(op)
            if parts is None:
                return False
            for part in parts:
                self._brought.setdefault(part, []).append(op)
        for bringers in self._brought.values():
            bringers.sort(key=_call)
        return True

    def _find_needs(self) -> None:
        shows, takes = self._model.shows, self._model.takes
        taken: dict[Hashable, list[Op]] = {}
        for op in self._ops:
            for part in shows(op):
                self._needs.setdefault(part, []).append(_Need(op.end, 1, op))
            for part in takes(op):
                taken.setdefault(part, []).append(op)
        for part, takers in taken.items():
            takers.sort(key=lambda op: op.end)
            needs = self._needs.setdefault(part, [])
            needs += [_Need(op.end, count, op) for count, op in enumerate(takers, 1)]

    def _begun(self, part: Hashable, time: float) -> list[Op]:
        """Return who may have brought it by then."""
        bringers = self._brought.get(part, [])
        return bringers[: bisect_right(bringers, time, key=_call)]

    def fault(self) -> Impossible | None:
        """Return the first to end of those who saw what nobody can have brought in by then."""
        worst: tuple[Hashable, _Need] | None = None
        for part, needs in self._needs.items():
            first, brought = self._first[part], self._brought.get(part, [])
            for need in needs:
                # Mostly the first of those who brought it does, and there is no need to count.
                if need.times == 1 and (first or (brought and brought[0].call <= need.end)):
                    continue
                # What has not ended may not have happened, whatever it is said to have seen.
                if need.end >= (inf if worst is None else worst[1].end):
                    continue
                if first + len(self._begun(part, need.end)) < need.times:
                    worst = part, need
        return None if worst is None else self._impossible(*worst)

    def _impossible(self, part: Hashable, need: _Need) -> Impossible:
        if need.times == 1:
            return Impossible(need.op, (need.op,), "nothing that had begun by then brings that in")
        takers = [n.op for n in self._needs[part] if n.times > 1 or n.end <= need.end]
        involved = {op.id: op for op in (*self._begun(part, need.end), *takers)}
        involved = {i: op for i, op in involved.items() if op.call <= need.end}
        why = "all that had been brought in by then had been taken"
        return Impossible(need.op, tuple(involved.values()), why)

    def settled(self) -> Sequence[Op]:
        """Return the operations: without what cannot matter, and with ends where these are known.

        An end is known where a result was seen that nobody else can have brought about.
        """
        ops = self._ops
        if not self._known or not any(op.end == inf for op in ops):
            return ops
        ends = self._ends()
        telling = all(map(self._model.is_telling, ops))
        kept = []
        for op in ops:
            if op.id in ends:
                kept.append(replace(op, end=ends[op.id]))
            elif not (telling and op.end == inf and self._is_unseen(op)):
                kept.append(op)
        return kept

    def _ends(self) -> dict[int, float]:
        """Return by when calls without an end certainly took effect."""
        ends: dict[int, float] = {}
        for part, bringers in self._brought.items():
            if all(op.end < inf for op in bringers):
                continue
            first = self._first[part]
            for need in self._needs.get(part, ()):
                begun = self._begun(part, need.end)
                if need.end < inf and first + len(begun) == need.times:
                    for op in begun:
                        if op.end == inf:
                            ends[op.id] = min(ends.get(op.id, inf), need.end)
        return ends

    def _is_unseen(self, op: Op) -> bool:
        """Return whether `op` only brings in, for certain, what nobody saw since it was called."""
        parts = self._model.writes(op)
        return bool(parts) and not any(
            need.end >= op.call for part in parts for need in self._needs.get(part, ())
        )


def _call(op: Op) -> float:
    return op.call


def out_of_range(
    ops: Sequence[Op], changes: Sequence[tuple[Op, int]], first: int
) -> Impossible | None:
    """Return who saw a number that is beyond all sums of `first` and changes that fit in time.

    A read shows the sum before it, and a change the sum after it.
    """
    own = {op.id: change for op, change in changes}
    begun = sorted((op.call, change) for op, change in changes)
    ended = sorted((op.end, change) for op, change in changes)
    starts, ends = [call for call, _ in begun], [end for end, _ in ended]
    most_begun, least_begun = _sums(begun)
    most_ended, least_ended = _sums(ended)
    worst: Impossible | None = None
    for op in ops:
        if type(op.outcome) is not int or op.end >= (inf if worst is None else worst.culprit.end):
            continue
        may, must = bisect_right(starts, op.end), bisect_left(ends, op.call)
        # The change of the call itself has certainly happened when it is seen.
        mine = own.get(op.id, 0)
        low = first + least_begun[may] + most_ended[must] + max(mine, 0)
        high = first + most_begun[may] + least_ended[must] + min(mine, 0)
        if not low <= op.outcome <= high:
            why = f"it can only have been from {low} to {high}"
            worst = Impossible(op, (op,), why)
    return worst


def _sums(changes: Sequence[tuple[float, int]]) -> tuple[list[int], list[int]]:
    """Return the sums of the first increases, and of the first decreases."""
    return (
        list(accumulate((max(change, 0) for _, change in changes), initial=0)),
        list(accumulate((min(change, 0) for _, change in changes), initial=0)),
    )
