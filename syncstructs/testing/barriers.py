"""`ReplBarrier`: its model, and what its log says of it."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import count
from math import inf
from random import Random
from typing import Any, ClassVar, NamedTuple

from msgspec.structs import replace

from .history import UNKNOWN, Op, Raised
from .logtwins import LogTwin, Number
from .sequential import ILLEGAL, Impossible, Model, Transition, same_call


class BarrierState(NamedTuple):
    """A barrier between two calls that take effect."""

    broken: bool = False
    next: int = 0
    """Which of those that pass together comes next."""
    fresh: bool = False
    """Whether it was just reset, so that who waited then is told that it is broken."""


class BarrierModel(Model):
    """`ReplBarrier`: all of a round pass at one moment, in the order in which they came.

    Whoever was told that it is broken may have broken it by leaving, and so may those of whom
    nobody knows how they ended: for each of them there is one more operation that may break it.
    """

    READS: ClassVar[frozenset[str]] = frozenset({"broken"})

    def __init__(self, parties: int) -> None:
        self._parties = parties

    def initial(self) -> Hashable:
        """Return a barrier that nobody has come to."""
        return BarrierState()

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return the operations, and those that may have broken it behind the callers' backs."""
        numbers = count(max((op.id for op in ops), default=0) + 1)
        return self, ops + [
            replace(op, id=next(numbers), method="_break", args=(), outcome=UNKNOWN, end=inf)
            for op in ops
            if op.method == "wait" and type(op.outcome) is not int
        ]

    def impossible(self, ops: Sequence[Op]) -> Impossible | None:
        """Return who passed while too few others can have waited to pass with it."""
        came = [op for op in ops if op.method == "wait" and not isinstance(op.outcome, Raised)]
        for op in came:
            with_it = [o for o in came if o.call <= op.end and o.end >= op.call]
            if op.outcome is not UNKNOWN and len(with_it) < self._parties:
                return Impossible(op, tuple(with_it), "too few others waited at the same time")
        return None

    def may_wait(self, op: Op) -> bool:
        """Return whether `op` may take effect when others come."""
        return op.method == "wait"

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for operations that do the same in every state."""
        return same_call(op)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method == "wait":
            return self._refused if isinstance(op.outcome, Raised) else self._pass_with(op.outcome)
        if op.method in ("abort", "_break"):
            return lambda state: ILLEGAL if state.next else BarrierState(broken=True)
        if op.method == "reset":
            return lambda state: ILLEGAL if state.next else BarrierState(fresh=True)
        if op.method == "broken":
            return lambda state: state if op.outcome in (state.broken, UNKNOWN) else ILLEGAL
        raise ValueError(f"{type(self).__name__} has no method {op.method!r}")

    def _pass_with(self, index: object) -> Transition:
        def go(state: BarrierState) -> Hashable:
            if state.broken or index not in (state.next, UNKNOWN):
                return ILLEGAL
            return BarrierState(next=(state.next + 1) % self._parties)

        return go

    @staticmethod
    def _refused(state: BarrierState) -> Hashable:
        return state if state.broken or state.fresh else ILLEGAL


class BarrierTwin(LogTwin):
    """A `ReplBarrier` as its commands describe it."""

    def __init__(self, parties: int) -> None:
        super().__init__()
        self.broken = False
        self._parties = parties

    def arrive(self, number: Number, ticket: int) -> None:
        if self.broken:
            self._error(number, "BrokenBarrierError")
            return
        self.waits.append((number, ticket))
        if len(self.waits) == self._parties:
            for index, (waiting, _) in enumerate(self.waits):
                self._value(waiting, index)
            self.waits.clear()

    def leave(self, number: Number, ticket: int) -> None:
        self._value(number, None)
        if self._is_waiting(number, ticket):
            self._break()

    def abort(self, number: Number) -> None:
        self._value(number, None)
        self._break()

    def reset(self, number: Number) -> None:
        self._value(number, None)
        self._break()
        self.broken = False

    def expire(self, session: int) -> None:
        """Break it if that session waits."""
        if any(waiting[0] == session for waiting, _ in self.waits):
            self._break()

    def _break(self) -> None:
        self.broken = True
        for number, _ in self.waits:
            self._error(number, "BrokenBarrierError")
        self.waits.clear()

    def state(self) -> object:
        return self.broken, len(self.waits)


def barrier_call(barrier: Any, random: Random, number: Any) -> tuple[str, tuple[Any, ...]]:
    """Return some call of a barrier."""
    if barrier.broken and random.random() < 0.5:
        return "reset", ()
    waits = ("wait", ()), ("wait", (0.5 + random.random() * 3,)), ("wait", (random.random() * 3,))
    return random.choice((*waits, *waits, *waits, ("abort", ()), ("reset", ())))
