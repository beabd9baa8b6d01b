"""The types that callers only wait at: their twins, their models, and what their logs say of them.

As in `twins`, a twin is plain Python that never waits: it raises `Blocked` instead.
"""

from __future__ import annotations

from collections.abc import Hashable
from random import Random
from typing import Any, ClassVar

from .history import Op
from .logtwins import LogTwin, Number
from .sequential import TwinModel
from .twins import Blocked


class Event:
    """`ReplEvent`."""

    def __init__(self, flag: bool = False) -> None:
        self.flag = flag

    def is_set(self) -> bool:
        return self.flag

    def set(self) -> None:
        self.flag = True

    def clear(self) -> None:
        self.flag = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self.flag:
            raise Blocked
        return True


class Latch:
    """`ReplLatch`."""

    def __init__(self, count: int) -> None:
        self.count = count

    def count_down(self, n: int = 1) -> int:
        if n < 0:
            raise ValueError(f"a ReplLatch counts down from 0 or more, by 0 or more, not {n}")
        self.count -= min(n, self.count)
        return self.count

    def wait(self, timeout: float | None = None) -> bool:
        if self.count:
            raise Blocked
        return True


class GateModel(TwinModel):
    """What some open, and others pass; a `wait` whose time ran out says nothing of it."""

    def may_wait(self, op: Op) -> bool:
        """Return whether `op` may wait in the log, and take effect when it is served."""
        return op.method == "wait"

    def call(self, twin: Any, op: Op) -> object:
        """Make the call on a twin; return its outcome, or `BLOCKED` where it has to wait."""
        if op.method == "wait" and op.outcome is False:
            return False
        return super().call(twin, op)


class EventModel(GateModel):
    """`ReplEvent`."""

    READS: ClassVar[frozenset[str]] = frozenset({"is_set", "wait"})

    def initial(self) -> Hashable:
        """Return the state of an event that is not set."""
        return False

    def thaw(self, state: Any) -> Event:
        """Return an event in that state."""
        return Event(state)

    def freeze(self, twin: Any) -> Hashable:
        """Return whether the event is set."""
        return bool(twin.flag)


class LatchModel(GateModel):
    """`ReplLatch`."""

    READS: ClassVar[frozenset[str]] = frozenset({"count", "wait"})
    ALL_OR_NOTHING: ClassVar[frozenset[str]] = frozenset({"count_down"})

    def __init__(self, count: int) -> None:
        self._initial = count

    def initial(self) -> Hashable:
        """Return the first count."""
        return self._initial

    def thaw(self, state: Any) -> Latch:
        """Return a latch with that count."""
        return Latch(state)

    def freeze(self, twin: Any) -> Hashable:
        """Return the count."""
        return int(twin.count)


class GateTwin(LogTwin):
    """What the commands of a gate had to be answered: who waits is told when it opens."""

    def __init__(self) -> None:
        super().__init__()
        self.is_open = False

    def wait(self, number: Number, ticket: int) -> None:
        if self.is_open:
            self._value(number, True)
        else:
            self.waits.append((number, ticket))

    def leave(self, number: Number, ticket: int) -> None:
        self._value(number, None)
        self._stop(number, ticket)

    def _open(self) -> None:
        self.is_open = True
        for number, _ in self.waits:
            self._value(number, True)
        self.waits.clear()


class EventTwin(GateTwin):
    """A `ReplEvent` as its commands describe it."""

    def set(self, number: Number) -> None:
        self._value(number, None)
        self._open()

    def clear(self, number: Number) -> None:
        self._value(number, None)
        self.is_open = False

    def state(self) -> object:
        return self.is_open


class LatchTwin(GateTwin):
    """A `ReplLatch` as its commands describe it."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def count_down(self, number: Number, n: int = 1) -> None:
        self.left -= min(n, self.left)
        self._value(number, self.left)
        if self.left == 0:
            self._open()

    def state(self) -> object:
        return self.left


def event_call(event: Any, random: Random, number: Any) -> tuple[str, tuple[Any, ...]]:
    """Return some call of an event. If it is set here, a wait would not ask the cluster."""
    if event.is_set():
        return random.choice((("clear", ()), ("clear", ()), ("set", ())))
    return random.choice((("set", ()), ("clear", ()), ("wait", ()), ("wait", (random.random(),))))


def latch_call(latch: Any, random: Random, number: Any) -> tuple[str, tuple[Any, ...]]:
    """Return some call of a latch."""
    counts = ("count_down", ()), ("count_down", (random.randrange(4),))
    return random.choice((*counts, ("wait", ()), ("wait", (random.random() * 2,))))
