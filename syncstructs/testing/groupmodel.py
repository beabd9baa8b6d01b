"""The model of `ReplGroup`: who is there, and who may have been lost or have come back.

The cluster takes a node out whose session has ended, and once that node is back it joins again by
itself, unless it has left. No call of the group tells when; so, as with locks, a history has to:

- by an operation `lost` of the node, without arguments. Recorded as begun, and not ended, it means
  that the node may be taken out at any time from then on; ended: that it had been by then.
- by `GroupModel(expiry=True)`: each may be taken out, and be back, at any time.

What remains certain: who has left, or never joined, is not there; who is there has the metadata of
its last call; and who joins and was no member is told so.
"""

from collections.abc import Callable, Collection, Hashable
from copy import copy
from itertools import count
from math import inf
from operator import attrgetter
from typing import Any, NamedTuple

from msgspec.structs import replace

from .history import UNKNOWN, Op, Raised
from .sequential import ILLEGAL, Model, Replay, Transition, frozen, same_call


class Row(NamedTuple):
    """A node that has joined, and has not left."""

    address: Hashable
    metadata: Hashable
    is_there: bool = True
    """False: it was lost, and may come back."""


class GroupModel(Model):
    """`ReplGroup`: `join`, `update`, `leave`, `members`, `__contains__`, `__len__`, and `lost`.

    An `update` does not tell whether its node was a member, neither if it raises `NotOwner` nor if
    it returns: that goes by what the node has sent last, which may take effect later, or be taken
    back.
    """

    READS = frozenset({"members", "__contains__", "__len__"})

    def __init__(
        self,
        *,
        expiry: bool = False,
        node: Callable[[Op], Hashable] = attrgetter("process"),
    ) -> None:
        """`node`: tells the address of the node that made a call; by default its process."""
        self._expiry = expiry
        self._node = node

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return the operations, and for each loss that the node may come back."""
        numbers = count(max((op.id for op in ops), default=0) + 1)
        return self, ops + [
            replace(op, id=next(numbers), method="_return", outcome=UNKNOWN, end=inf)
            for op in ops
            if op.method == "lost"
        ]

    def replay(self, ops: Collection[Op]) -> Replay:
        """Return what takes operations one after another; who was lost was so at any time."""
        model = copy(self)
        model._expiry = self._expiry or any(op.method == "lost" for op in ops)
        return Replay(model)

    def initial(self) -> Hashable:
        """Return a group that nobody has joined."""
        return ()

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return op.method in self.READS or isinstance(op.outcome, Raised)

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for operations that do the same in every state."""
        return same_call(op), self._node(op)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        steps: dict[str, Callable[[Op], Transition]] = {
            "join": self._sign_in, "update": self._sign_in, "leave": self._sign_out,
            "lost": self._lose, "_return": self._return, "members": self._see_all,
            "__contains__": self._see_one, "__len__": self._see_count,
        }  # fmt: skip
        if op.method not in steps:
            raise ValueError(f"{type(self).__name__} has no method {op.method!r}")
        if isinstance(op.outcome, Raised) or (op.method in self.READS and op.outcome is UNKNOWN):
            return lambda state: state
        return steps[op.method](op)

    def describe(self, state: Any) -> str:
        """Return who is there, as text."""
        rows = (f"{r.address}: {r.metadata!r}{'' if r.is_there else ', lost'}" for r in state)
        return f"{{{'; '.join(rows)}}}"

    # What calls do

    def _sign_in(self, op: Op) -> Transition:
        row = Row(self._node(op), frozen(op.argument(0, "metadata")))
        told = op.outcome if op.method == "join" else UNKNOWN

        def sign_in(state: tuple[Row, ...]) -> Hashable:
            before = _row_of(state, row.address)
            if told is not UNKNOWN and not self._may_be(before, not told):
                return ILLEGAL
            if before is None or not before.is_there:
                return (*_without(state, row.address), row)
            return tuple(row if other is before else other for other in state)

        return sign_in

    def _sign_out(self, op: Op) -> Transition:
        address, told = self._node(op), op.outcome

        def sign_out(state: tuple[Row, ...]) -> Hashable:
            before = _row_of(state, address)
            if told is not UNKNOWN and not self._may_be(before, bool(told)):
                return ILLEGAL
            return _without(state, address)

        return sign_out

    def _lose(self, op: Op) -> Transition:
        address = self._node(op)
        return lambda state: tuple(
            row._replace(is_there=False) if row.address == address else row for row in state
        )

    def _return(self, op: Op) -> Transition:
        address = self._node(op)

        def come_back(state: tuple[Row, ...]) -> Hashable:
            before = _row_of(state, address)
            if before is None or before.is_there:
                return ILLEGAL
            return (*_without(state, address), before._replace(is_there=True))

        return come_back

    # What calls see

    def _see_all(self, op: Op) -> Transition:
        outcome: Any = op.outcome
        seen = [(address, frozen(metadata)) for address, metadata in outcome.items()]

        def see(state: tuple[Row, ...]) -> Hashable:
            if self._expiry:
                fits = {*seen} <= {row[:2] for row in state}
            else:
                fits = seen == [row[:2] for row in state if row.is_there]
            return state if fits else ILLEGAL

        return see

    def _see_one(self, op: Op) -> Transition:
        address, there = op.argument(0, "address"), bool(op.outcome)
        return lambda state: (
            state if self._may_be(_row_of(state, address), there) else ILLEGAL
        )

    def _see_count(self, op: Op) -> Transition:
        outcome: Any = op.outcome

        def see(state: tuple[Row, ...]) -> Hashable:
            least = 0 if self._expiry else sum(row.is_there for row in state)
            return state if least <= outcome <= (len(state) if self._expiry else least) else ILLEGAL

        return see

    def _may_be(self, row: Row | None, there: bool) -> bool:
        """Return whether a node may be there, or may not."""
        if row is None:
            return not there
        return self._expiry or row.is_there == there


def _row_of(state: tuple[Row, ...], address: Hashable) -> Row | None:
    return next((row for row in state if row.address == address), None)


def _without(state: tuple[Row, ...], address: Hashable) -> tuple[Row, ...]:
    return tuple(row for row in state if row.address != address)
