"""What queues shall do, as if one caller at a time used one copy: their models."""

from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from copy import copy
from itertools import count
from math import inf
from queue import Empty, Full
from typing import Any, ClassVar

from msgspec.structs import replace

from . import twins
from .excerpts import (
    GETS,
    PUTS,
    Item,
    by_item,
    distinct_items,
    due_puts,
    left_unseen,
    matched_items,
    missed,
    out_of_nowhere,
    overtaken,
    passed_over,
)
from .guesses import all_taken
from .history import UNKNOWN, Op, Raised
from .models import has_result
from .pairing import spans_of
from .sequential import (
    BLOCKED,
    ILLEGAL,
    Impossible,
    Model,
    Transition,
    TwinModel,
    frozen,
    thawed,
)


class QueueModel(TwinModel):
    """`ReplQueue`: a `get` that waits without end takes effect only where there is an item."""

    READS = frozenset({
        "qsize", "empty", "full", "maxsize", "unfinished_tasks", "is_shutdown", "join",
    })  # fmt: skip
    ALL_OR_NOTHING = frozenset({"put", "get", "put_nowait", "get_nowait", "task_done"})
    _PUTS_NOTHING = frozenset({*GETS, "task_done", "shutdown", "_put_back"})
    TWIN: ClassVar[type[twins.Queue]] = twins.Queue
    IS_FIFO: ClassVar[bool] = True

    def __init__(self, maxsize: int = 0) -> None:
        self._maxsize = maxsize
        self._is_guess = False
        """Whether it only allows what is likely: see `likely`."""
        self._wanted: Collection[Hashable] = ()
        """Items that are left to those who are known to have got them."""

    def initial(self) -> Hashable:
        """Return the state of an empty queue."""
        return (), 0, False, False, ()

    def thaw(self, state: Any) -> twins.Queue:
        """Return a queue in that state."""
        twin = self.TWIN(self._maxsize)
        items, twin.unfinished_tasks, twin.is_shutdown, twin.drained, twin.hands = state
        twin.items = list(map(thawed, items))
        return twin

    def freeze(self, twin: Any) -> Hashable:
        """Return the queue's items, in order, and whatever else it knows."""
        items = tuple(map(frozen, twin.items))
        return items, twin.unfinished_tasks, twin.is_shutdown, twin.drained, twin.hands

    def describe(self, state: Any) -> str:
        """Return the items as a list is written, the next one first."""
        return repr(list(state[0]))

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return super().is_read(op) or self._ran_out(op)

    def may_wait(self, op: Op) -> bool:
        """Return whether `op` may wait in the log, and take effect when it is served."""
        if op.method == "put":
            return bool(op.argument(1, "block", True))
        return op.method == "join" or (op.method == "get" and bool(op.argument(0, "block", True)))

    def may_be_undone(self, op: Op) -> bool:
        """Return whether `op` may have taken an item that was put back later."""
        if self._is_guess:
            return False
        return op.method == "get" and (op.outcome is UNKNOWN or self._ran_out(op))

    def _ran_out(self, op: Op) -> bool:
        """Return whether it is a `get` whose time ran out.

        A node that is cut off may take so long to withdraw it that it is served meanwhile, and
        what it was served put back after the caller has been told that there was nothing.
        """
        return op.method == "get" and op.outcome == _EMPTY and self.may_wait(op)

    def call(self, twin: Any, op: Op) -> object:
        """Make the call on a twin; return its outcome, or `BLOCKED` where it has to wait."""
        if self._ran_out(op):
            return op.outcome
        outcome = super().call(twin, op)
        known = op.outcome is not UNKNOWN
        if known and outcome in (_EMPTY, _FULL) and outcome != op.outcome and self.may_wait(op):
            return BLOCKED
        return outcome

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return the operations, and what put back the items of calls that were given up."""
        numbers = count(max((op.id for op in ops), default=0) + 1)
        more: list[Op] = []
        for op in ops:
            if not self.may_be_undone(op):
                continue
            taken = op
            if op.outcome is not UNKNOWN:
                taken = replace(op, id=next(numbers), outcome=UNKNOWN, end=inf)
                more.append(taken)
            more.append(replace(
                taken, id=next(numbers), method="_put_back", args=(taken.id,), kwargs={}, end=inf,
            ))  # fmt: skip
        return self, ops + more

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method == "_put_back":
            return lambda state: self._put_back(state, op.args[0])
        step = super().transition(op)
        if self._wanted and op.method in GETS and op.outcome is UNKNOWN:
            return lambda s: ILLEGAL if s[0] and s[0][0] in self._wanted else step(s)
        if not self.may_be_undone(op) or op.outcome is not UNKNOWN:
            return step

        def take(state: Any) -> Hashable:
            after: Any = step(state)
            if after is ILLEGAL or len(after[0]) == len(state[0]):
                return after  # type: ignore[no-any-return]
            # It is in the hands of a caller who has given up.
            hands: Hashable = *after[:4], (*state[4], (op.id, state[0][0]))
            return hands

        return take

    def _put_back(self, state: Any, number: int) -> Hashable:
        for hand in state[4]:
            if hand[0] == number:
                twin = self.thaw(state)
                twin._put_back(thawed(hand[1]))
                rest = tuple(other for other in state[4] if other is not hand)
                after: Any = self.freeze(twin)
                restored: Hashable = *after[:4], rest
                return restored
        return ILLEGAL

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for operations that do the same in every state."""
        same = super().identity(op)
        return (same, op.id) if self.may_be_undone(op) else same

    def brings(self, op: Op) -> Collection[Hashable] | None:
        """Return the item that `op` may put."""
        if op.method in PUTS:
            return () if self.is_read(op) else (frozen(op.argument(0, "item")),)
        return () if op.method in self._PUTS_NOTHING or op.method in self.READS else None

    def takes(self, op: Op) -> Collection[Hashable]:
        """Return the item that `op` got."""
        return (frozen(op.outcome),) if op.method in GETS and has_result(op) else ()

    def urgency(self, ops: Sequence[Op]) -> dict[int, float]:
        """Try what took an unknown item before what put one that nobody is known to have got.

        The later such an item comes, the more calls there are that may have taken it.
        """
        got = {frozen(op.outcome) for op in ops if op.method in GETS}
        return {op.id: -inf for op in ops if op.method in GETS and op.outcome is UNKNOWN} | {
            op.id: inf
            for op in ops
            if op.method in PUTS and frozen(op.argument(0, "item")) not in got
        }

    def likely(self, ops: Sequence[Op]) -> tuple[Model, Sequence[Op]]:
        """Return a model in which nothing is put back, and equal items keep their order."""
        guess = copy(self)
        guess._is_guess = True
        guess._wanted = all_taken(ops, self)
        return guess, [op for op in ops if op.method != "_put_back"]

    def hidden_order(self, ops: Sequence[Op]) -> Mapping[int, tuple[float, float]]:
        """Order the puts as their items came out, where these differ and none was put back."""
        if not self.IS_FIFO or not self._is_final(ops):
            return {}
        if self._is_guess and self._has_equals(ops):
            puts = [op for op in ops if op.method in PUTS and not self.is_read(op)]
            gets = [op for op in ops if self.takes(op)]
            likely = spans_of(puts, gets, [op for op in ops if self._found_empty(op)])
            if likely is not None:
                return likely
        # What was taken after the queue was found empty was put after that.
        spans = {op.id: (-inf, op.end) for op in ops if self._found_empty(op)}
        for item in self._followed(ops, by_item(ops)):
            spans[item.put.id] = item.left_after, item.left_by
        return spans

    def excerpts(self, ops: Sequence[Op]) -> Iterator[list[Op]]:
        """Yield what was done with items that came out wrongly, as far as that is easy to see."""
        groups = by_item(ops)
        yield from out_of_nowhere(groups)
        if not self._is_final(ops):
            return
        items = self._followed(ops, groups)
        yield from missed(items, [op for op in ops if self._found_empty(op)])
        yield from self._disordered(items)

    def impossible(self, ops: Sequence[Op]) -> Impossible | None:
        """Return who saw that more items had left than anybody can have taken."""
        if any(op.method == "shutdown" for op in ops):
            return None
        takers = [op for op in ops if op.method in GETS and op.outcome is UNKNOWN]
        empties = [op for op in ops if self._found_empty(op) and not self.may_be_undone(op)]
        items = distinct_items(by_item(ops)) if self.IS_FIFO else []
        # What somebody got in the end can only have been held by who may have put it back.
        hands = [op for op in takers if self.may_be_undone(op)]
        got = [item for item in items if item.get is not None]
        found = left_unseen(got, empties, hands) or left_unseen(items, empties, takers)
        if found is None:
            return None
        involved = {op.id: op for op in found[1]}
        why = "too few calls can have taken what had certainly left by then"
        return Impossible(found[0], tuple(involved.values()), why)

    def _followed(self, ops: Sequence[Op], groups: dict[Hashable, list[Op]]) -> list[Item]:
        """Return the items of which it is known when they left, or that they did not."""
        items = (matched_items if self._is_guess else distinct_items)(groups)
        if any(op.method in GETS and op.outcome is UNKNOWN for op in ops):
            # What nobody is known to have got may be what these got.
            items = [item for item in items if item.get is not None]
        return items

    def _disordered(self, items: Sequence[Item]) -> Iterator[list[Op]]:
        return overtaken(items)

    def _is_final(self, ops: Sequence[Op]) -> bool:
        """Return whether what left the queue was got, by whomever, and left it for good."""
        return not any(
            op.method in ("shutdown", "_put_back") or self.may_be_undone(op) for op in ops
        )

    def _has_equals(self, ops: Sequence[Op]) -> bool:
        items = [frozen(op.argument(0, "item")) for op in ops if op.method in PUTS]
        return len(set(items)) < len(items)

    def _found_empty(self, op: Op) -> bool:
        return op.method in GETS and op.outcome == _EMPTY


class PriorityQueueModel(QueueModel):
    """`ReplPriorityQueue`, for items that can all be compared with each other."""

    TWIN = twins.PriorityQueue
    IS_FIFO = False

    def urgency(self, ops: Sequence[Op]) -> dict[int, float]:
        """Try what took an item at once, and what put one when somebody has to get it."""
        urgency = {op.id: -inf for op in ops if op.method in GETS}
        try:
            return urgency | due_puts(matched_items(by_item(ops)))
        except TypeError:
            # Items that have no order.
            return urgency

    def _disordered(self, items: Sequence[Item]) -> Iterator[list[Op]]:
        try:
            yield from passed_over(items)
        except TypeError:
            # Items that have no order: the search has to see to them.
            return


_EMPTY, _FULL = Raised.of(Empty()), Raised.of(Full())
