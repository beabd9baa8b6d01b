"""The model of `ReplIdGenerator`: ids that grow, with gaps, from which nodes take blocks."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import pairwise
from operator import attrgetter
from typing import NamedTuple

from .history import UNKNOWN, Op
from .sequential import ILLEGAL, Impossible, Model, Transition

_NEXT = ("next_id", "__next__")


class IdState(NamedTuple):
    """The least id that the next command may take, and the last that each node was given."""

    next: int
    last: frozenset[tuple[Hashable, int]] = frozenset()


class IdGeneratorModel(Model):
    """`ReplIdGenerator`: `next_id()`, or `__next__()`, and `reserve(count)`.

    No id is given twice; those of a node grow; `reserve` adds to one number, and is told what it
    was: more than whatever was given before. Between what was reserved there are whole blocks, and
    each of these is one node's.
    """

    def __init__(
        self,
        block: int = 1000,
        *,
        start: int = 1,
        node: Callable[[Op], Hashable] = attrgetter("process"),
    ) -> None:
        """`block` and `start`: those of the generator. `node`: tells which node made a call.

        Raises:
            ValueError: `block` is below 1.
        """
        if block < 1:
            raise ValueError(f"block={block!r} must be at least 1")
        self._block = block
        self._start = start
        self._node = node

    def initial(self) -> Hashable:
        """Return the state before all ids."""
        return IdState(self._start)

    def is_read(self, op: Op) -> bool:
        """Return whether no id is known to have been taken: a gap is nobody's business."""
        return type(op.outcome) is not int and op.method in _NEXT

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method not in (*_NEXT, "reserve"):
            raise ValueError(f"{type(self).__name__} has no method {op.method!r}")
        if type(op.outcome) is not int:
            return lambda state: state
        return self._reserve(op) if op.method == "reserve" else self._give(op)

    def impossible(self, ops: Sequence[Op]) -> Impossible | None:
        """Return who was given an id that is another's, or of another node's block."""
        given = sorted((op for op in ops if type(op.outcome) is int), key=_first)
        for one, other in pairwise(given):
            if _first(one) + _count(one) > _first(other):
                return _later(one, other, "an id was given twice")
        if any(op.method == "reserve" and op.outcome is UNKNOWN for op in ops):
            # Nobody knows where the next block begins.
            return None
        return self._out_of_block(given)

    def _out_of_block(self, given: Iterable[Op]) -> Impossible | None:
        end, reserved = self._start, None
        owners: dict[int, Op] = {}
        for op in given:
            block, offset = divmod(_first(op) - end, self._block)
            if op.method != "reserve":
                owner = owners.setdefault(end + block * self._block, op)
                if block < 0 or self._node(owner) != self._node(op):
                    return _later(owner, op, "it is of a block of another node, or of none")
                continue
            if offset:
                return _later(reserved or op, op, "what lies before it are no whole blocks")
            end, reserved = _first(op) + _count(op), op
        return None

    def _give(self, op: Op) -> Transition:
        node, number = self._node(op), _first(op)

        def give(state: IdState) -> Hashable:
            last = dict(state.last)
            if number <= last.get(node, number - 1):
                return ILLEGAL
            last[node] = number
            return IdState(max(state.next, number + 1), frozenset(last.items()))

        return give

    def _reserve(self, op: Op) -> Transition:
        first, end = _first(op), _first(op) + _count(op)
        return lambda state: state._replace(next=end) if first >= state.next else ILLEGAL


def _first(op: Op) -> int:
    return op.outcome  # type: ignore[return-value]


def _count(op: Op) -> int:
    return int(op.argument(0, "count", 1)) if op.method == "reserve" else 1


def _later(one: Op, other: Op, why: str) -> Impossible:
    """Return whichever ended last as what cannot be."""
    ops = {op.id: op for op in (one, other)}
    return Impossible(max(ops.values(), key=lambda op: op.end), tuple(ops.values()), why)
