"""The search for an order that explains operations: Wing and Gong's, with Lowe's memory.

A node of the search is a set of operations that have taken effect, and the state after them. The
next can be each that was called before the first end of one that has not taken effect yet. Three
shortcuts keep it small; none of them can miss an order:

- A read that fits takes effect at once: it is in nobody's way.
- Of equal operations that could be next, the one that ends first goes first.
- An operation that may never have happened is tried when nothing else is left to try. What failed
  without it fails with it too, where it leads to the same state. At first only few of them are
  tried in a row, as most orders need no more; the search is over when none was left out.
"""

from collections.abc import Hashable, Mapping, Sequence
from math import inf
from typing import Any

import msgspec

from .history import Op
from .sequential import ILLEGAL, Model

_MEMORY = 1_000_000
"""How many nodes a search remembers. Beyond that it may visit some again; its budget ends it."""
_RUNS = (1, 3)
"""How many operations that may never have happened are tried in a row, in the first turns."""
_TURN = 2_000
"""Steps of such a turn. Without them, all subsets are tried at the first order that is wrong."""
_PATH = 6
"""How many operations before the culprit are told, as the end of one possible order."""



class _Node(msgspec.Struct):
    """A node on the way to where the search is, and what is left to try in it."""

    state: Any
    base: int
    """All bound operations before this one have taken effect."""
    mask: int
    """Which of the others have, from the base on."""
    loose: int
    """Which of the loose ones have."""
    candidates: list[int]
    """What could be next and was not tried yet, the best last."""
    run: int = 0
    """How many loose ones took effect last, without a bound one between them."""
    taken: int = -1
    """Which of them takes effect here now."""


class Search:
    """A search that can be interrupted. States come from the model; it begins in `initial`."""

    def __init__(
        self,
        ops: Sequence[Op],
        model: Model,
        *,
        initial: Hashable | None = None,
        until: float = inf,
        hidden: bool = True,
        hurry: bool = True,
        whole: Sequence[Op] | None = None,
    ) -> None:
        """Explain what ended by `until`; what did not is optional.

        Without `hidden`, do not look ahead (see `Model.hidden_order`). Without `hurry`, there are
        no first turns, with few operations in a row that may never have happened. The operations
        may be what is left to explain of a `whole`.
        """
        self.ops = ops
        self.whole = ops if whole is None else whole
        self.steps = 0
        self.stuck: Op | None = None
        """Of the operations whose end no order could pass, the one that ended last."""
        self.path: list[Op] = []
        """The last operations before that, in one possible order."""
        bound = sorted(
            (op for op in ops if op.end < inf and op.end <= until),
            key=lambda op: (op.call, op.end, op.id),
        )
        loose = sorted(
            (op for op in ops if not (op.end < inf and op.end <= until)),
            key=lambda op: (op.call, op.id),
        )
        self._all = bound + loose
        self._bound_count = len(bound)
        self._transitions = [model.transition(op) for op in self._all]
        self._reads = [model.is_read(op) for op in self._all]
        self._rank(bound, loose)
        self._pair_equals(model)
        self._rank_candidates(model)
        self._link_hidden(model.hidden_order(self._all) if hidden else {})
        self._placed = [False] * len(self._all)
        self._memory: dict[Hashable, list[int]] = {}
        self._nodes: list[_Node] = []
        self._deepest = -1
        self._answer: bool | None = None
        self._start = model.initial() if initial is None else initial
        self._turn = -1 if hurry else len(_RUNS)
        self._begin_turn()

    def _begin_turn(self) -> None:
        """Start from the beginning, with another bound on loose operations in a row."""
        for node in reversed(self._nodes[:-1]):
            self._take_back(node.taken)
        self._turn += 1
        has_loose = self._bound_count < len(self._all)
        if has_loose and self._turn < len(_RUNS):
            self._most = _RUNS[self._turn]
            self._turn_end: float = self.steps + max(_TURN, 4 * len(self._all))
        else:
            self._most, self._turn_end = len(self._all), inf
        self._was_cut = False
        self._memory = {}
        self._nodes = [_Node(self._start, 0, 0, 0, self._candidates(0))]

    def _rank(self, bound: Sequence[Op], loose: Sequence[Op]) -> None:
        """Order calls and ends, and link what is left to do; 0 is the head of both lists."""
        count = len(bound)
        # At one time, calls come before ends: what only touches is concurrent.
        events = [(op.call, 0, i) for i, op in enumerate(self._all)]
        events += [(op.end, 1, i) for i, op in enumerate(bound)]
        events.sort()
        self._call_rank = [0] * len(self._all)
        self._end_rank = [0] * len(self._all)
        by_end = []
        for rank, (_, is_end, i) in enumerate(events):
            if is_end:
                self._end_rank[i] = rank
                by_end.append(i)
            else:
                self._call_rank[i] = rank
        self._no_rank = len(events)
        for i in range(count, count + len(loose)):
            self._end_rank[i] = self._no_rank
        # Bound operation i is node i + 1.
        self._next_call = [*range(1, count + 1), 0]
        self._prev_call = [count, *range(count)]
        self._next_end, self._prev_end = [0] * (count + 1), [0] * (count + 1)
        last = 0
        for i in by_end:
            self._next_end[last], self._prev_end[i + 1] = i + 1, last
            last = i + 1
        self._next_end[last], self._prev_end[0] = 0, last

    def _pair_equals(self, model: Model) -> None:
        """Find for each operation the equal one that ends next before it; -1: there is none."""
        self._twin = [-1] * len(self._all)
        latest: dict[Hashable, int] = {}
        order = sorted(range(len(self._all)), key=lambda i: (self._end_rank[i], i))
        for i in order:
            identity = model.identity(self._all[i])
            self._twin[i] = latest.get(identity, -1)
            latest[identity] = i

    def _rank_candidates(self, model: Model) -> None:
        """Decide what is tried first: reads, then by the log's order, the model's guess, or end."""
        ops = self._all
        if all(op.index is not None for op in ops[: self._bound_count]):
            urgency: Mapping[int, float] = {op.id: op.index or 0 for op in ops}
        else:
            urgency = model.urgency(ops)
        order = sorted(
            range(len(ops)),
            key=lambda i: (
                i >= self._bound_count,
                not self._reads[i],
                urgency.get(ops[i].id, ops[i].end),
                i,
            ),
        )
        self._priority = [0] * len(ops)
        for priority, i in enumerate(order):
            self._priority[i] = -priority

    def _link_hidden(self, spans: Mapping[int, tuple[float, float]]) -> None:
        """Link what the model says of the order, as if it were a second real time."""
        self._hidden = [spans.get(op.id, (-inf, inf)) for op in self._all]
        blockers = [i for i in range(self._bound_count) if self._hidden[i][1] < inf]
        blockers.sort(key=lambda i: self._hidden[i][1])
        self._next_hidden = [0] * (self._bound_count + 1)
        self._prev_hidden = [0] * (self._bound_count + 1)
        last = 0
        for i in blockers:
            self._next_hidden[last], self._prev_hidden[i + 1] = i + 1, last
            last = i + 1
        self._next_hidden[last], self._prev_hidden[0] = 0, last
        self._links = [(self._next_call, self._prev_call), (self._next_end, self._prev_end)]
        self._all_links = [*self._links, (self._next_hidden, self._prev_hidden)]
        self._is_blocker = [self._hidden[i][1] < inf for i in range(len(self._all))]

    @property
    def furthest(self) -> Op:
        """The operation whose end the search has not passed in any order so far."""
        blocker = self._next_end[0] - 1
        if self.stuck is None or self._end_rank[blocker] > self._deepest:
            return self._all[blocker]
        return self.stuck

    def run(self, budget: int) -> bool | None:
        """Go on for `budget` steps; return whether there is an order, None if that is not known."""
        if self._answer is None:
            self._answer = self._run(self.steps + budget)
            if self._answer is not None:
                self._memory, self._nodes = {}, []
        return self._answer

    def _run(self, limit: int) -> bool | None:
        while True:
            found = self._search(min(limit, self._turn_end))
            if found or (found is False and not self._was_cut):
                return found
            if found is None and self.steps >= limit:
                return None
            self._begin_turn()

    def _search(self, limit: float) -> bool | None:
        nodes, transitions = self._nodes, self._transitions
        while self._next_end[0]:
            node = nodes[-1]
            state, candidates = node.state, node.candidates
            while candidates:
                if self.steps >= limit:
                    return None
                self.steps += 1
                i = candidates.pop()
                after = transitions[i](state)
                if after is not ILLEGAL and self._advance(node, i, after):
                    break
            else:
                if not self._retreat():
                    return False
        return True

    def _candidates(self, run: int) -> list[int]:
        """Return what could take effect next, the best last; `run` loose ones did before it."""
        first = self._next_end[0]
        if not first:
            return []
        first_end, placed, rank = self._end_rank[first - 1], self._placed, self._call_rank
        twin, next_call = self._twin, self._next_call
        found = []
        node = next_call[0]
        while node and rank[node - 1] < first_end:
            found.append(node - 1)
            node = next_call[node]
        for i in range(self._bound_count, len(self._all)):
            if rank[i] > first_end:
                break
            if run >= self._most:
                self._was_cut = True
                break
            if not placed[i]:
                found.append(i)
        # Of equal ones, the one that ends first goes first.
        found = [
            i for i in found
            if twin[i] < 0 or placed[twin[i]] or rank[twin[i]] > first_end
        ]  # fmt: skip
        blocker = self._next_hidden[0]
        if blocker:
            hidden, hidden_end = self._hidden, self._hidden[blocker - 1][1]
            found = [i for i in found if hidden[i][0] <= hidden_end]
        found.sort(key=self._priority.__getitem__)
        return found

    def _advance(self, node: _Node, i: int, after: Hashable) -> bool:
        """Let operation `i` take effect, unless that node has been visited."""
        base, mask, loose = node.base, node.mask, node.loose
        if i >= self._bound_count:
            loose |= 1 << (i - self._bound_count)
        else:
            mask |= 1 << (i - base)
            while mask & 1:
                mask >>= 1
                base += 1
        if self._reads[i] and i < self._bound_count:
            # It fits, and is in nobody's way: there is no point in trying anything else here.
            node.candidates.clear()
        elif not self._remember((base, mask, after), loose):
            return False
        node.taken = i
        self._placed[i] = True
        if i < self._bound_count:
            self._unlink(i + 1)
        run = node.run + 1 if i >= self._bound_count else 0
        self._nodes.append(_Node(after, base, mask, loose, self._candidates(run), run))
        return True

    def _remember(self, key: Hashable, loose: int) -> bool:
        """Return whether this node is worth a visit."""
        seen = self._memory.get(key)
        if seen is None:
            if len(self._memory) < _MEMORY:
                self._memory[key] = [loose]
            return True
        for other in seen:
            if other & loose == other:
                return False
        seen[:] = [other for other in seen if other & loose != loose]
        seen.append(loose)
        return True

    def _retreat(self) -> bool:
        """Go back from a node where nothing is left to try; return whether there was a way back."""
        blocker = self._next_end[0] - 1
        nodes = self._nodes
        if self._end_rank[blocker] > self._deepest:
            self._deepest = self._end_rank[blocker]
            self.stuck = self._all[blocker]
            self.path = [self._all[node.taken] for node in nodes[-_PATH - 1 : -1]]
        nodes.pop()
        if not nodes:
            return False
        self._take_back(nodes[-1].taken)
        return True

    def _take_back(self, i: int) -> None:
        self._placed[i] = False
        if i < self._bound_count:
            self._relink(i + 1)

    def _unlink(self, node: int) -> None:
        for after, before in self._lists_of(node):
            after[before[node]] = after[node]
            before[after[node]] = before[node]

    def _relink(self, node: int) -> None:
        # In the reverse order of unlinking, each still knows its neighbours (Knuth's links).
        for after, before in self._lists_of(node):
            after[before[node]] = node
            before[after[node]] = node

    def _lists_of(self, node: int) -> list[tuple[list[int], list[int]]]:
        return self._all_links if self._is_blocker[node - 1] else self._links


def possible_states(
    ops: Sequence[Op], model: Model, time: float, budget: int
) -> set[tuple[Hashable, frozenset[int]]] | None:
    """Return each state the model could be in at `time`, with what of the running had happened.

    Only what has to have happened has: of operations that run at that time, those that let an
    earlier end be explained. The ids in the set are of running operations. None: it would take
    more than `budget` steps.
    """
    events = [(op.call, 0, op) for op in ops if op.call < time]
    events += [(op.end, 1, op) for op in ops if op.end < time]
    events.sort(key=lambda event: (event[0], event[1], event[2].id))
    states: set[tuple[Hashable, frozenset[int]]] = {(model.initial(), frozenset())}
    running: dict[int, Op] = {}
    transitions = {op.id: model.transition(op) for _, is_end, op in events if not is_end}
    for _, is_end, op in events:
        if not is_end:
            running[op.id] = op
            continue
        passed: set[tuple[Hashable, frozenset[int]]] = set()
        seen = set(states)
        todo = list(states)
        while todo:
            state, done = todo.pop()
            if op.id in done:
                passed.add((state, done - {op.id}))
                continue
            for number in running:
                if number in done:
                    continue
                budget -= 1
                if budget < 0:
                    return None
                after = transitions[number](state)
                node = (after, done | {number})
                if after is not ILLEGAL and node not in seen:
                    seen.add(node)
                    todo.append(node)
        del running[op.id]
        states = _least(passed, {number for number, o in running.items() if o.optional})
    return states


def _least(
    states: set[tuple[Hashable, frozenset[int]]], optional: set[int]
) -> set[tuple[Hashable, frozenset[int]]]:
    """Leave out what another state can do as well, having used fewer optional operations."""
    if not optional:
        return states
    groups: dict[tuple[Hashable, frozenset[int]], list[frozenset[int]]] = {}
    for state, done in sorted(states, key=lambda pair: len(pair[1])):
        group = groups.setdefault((state, done - optional), [])
        if not any(other <= done for other in group):
            group.append(done)
    return {(state, done) for (state, _), group in groups.items() for done in group}
