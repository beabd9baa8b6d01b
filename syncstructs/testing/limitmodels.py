"""The model of a rate limiter, behind its twin: token buckets as textbooks have them.

The twin counts tokens, in fractions, and keeps each bucket for ever. What time it is at a call, the
log tells; and of callers that wait, when they are served.
"""

from collections.abc import Callable, Hashable
from fractions import Fraction
from math import ceil
from typing import Any

from ..errors import SessionExpired
from ..objects.port import Steps
from ..objects.replicated import operation, replicated
from ..structs.limits import ReplRateLimiter
from .history import Op
from .logtwins import LogTwin, Number
from .sequential import ILLEGAL, Transition, TwinModel


class Limiter(ReplRateLimiter[str]):
    """A limiter whose commands take a key by its place, as callers of simulated runs do."""

    @replicated
    def grab(self, n: int, key: str | None) -> bool:
        """Do as `try_acquire`."""
        return self.try_acquire(n, key=key)

    @replicated
    def ask(self, n: int, key: str | None) -> float:
        """Do as `throttle`."""
        return self.throttle(n, key=key)

    @operation
    def draw(self, n: int, timeout: float | None, key: str | None) -> Steps[bool]:
        """Do as `acquire`."""
        acquire: Any = ReplRateLimiter.acquire.function
        return bool((yield from acquire(self, n, timeout, key=key)))


class Buckets:
    """`Limiter`. Somebody else sets `now`, in microseconds."""

    def __init__(self, rate: int, per: float = 1.0, burst: int | None = None) -> None:
        self.microsecond = Fraction(rate, round(per * 1_000_000))
        """How many tokens come in one."""
        self.burst = burst or rate
        self.now = 0
        self.tokens: dict[str | None, tuple[Fraction, int]] = {}
        """How many tokens there were in each bucket, and when."""

    def throttle(self, n: int = 1, *, key: str | None = None) -> float:
        if n not in range(1, self.burst + 1):
            raise ValueError(f"{n} tokens of a bucket that holds {self.burst}")
        wait = self.wait(n, key)
        if wait == 0.0:
            before, at = self.tokens.get(key, (Fraction(self.burst), self.now))
            tokens = before + (self.now - at) * self.microsecond
            self.tokens[key] = min(tokens, Fraction(self.burst)) - n, self.now
        return wait

    def wait(self, n: int, key: str | None) -> float:
        """Return how many seconds it takes until there are so many tokens."""
        before, at = self.tokens.get(key, (Fraction(self.burst), self.now))
        tokens = min(before + (self.now - at) * self.microsecond, Fraction(self.burst))
        return max(0, ceil((n - tokens) / self.microsecond)) / 1_000_000

    def try_acquire(self, n: int = 1, *, key: str | None = None) -> bool:
        return not self.throttle(n, key=key)

    def ask(self, n: int, key: str | None) -> float:
        return self.throttle(n, key=key)

    def grab(self, n: int, key: str | None) -> bool:
        return self.try_acquire(n, key=key)


class RateLimiterModel(TwinModel):
    """`ReplRateLimiter`, but for `acquire`; each call has to be recorded with its `Op.time`."""

    READS = frozenset({"burst"})

    def __init__(self, rate: int, per: float = 1.0, burst: int | None = None) -> None:
        """Take the arguments of the limiter."""
        self._limits = rate, per, burst

    def initial(self) -> Hashable:
        """Return the state in which all buckets are full."""
        return 0, frozenset()

    def thaw(self, state: Any) -> Buckets:
        """Return buckets in that state."""
        twin = Buckets(*self._limits)
        twin.now, tokens = state
        twin.tokens = dict(tokens)
        return twin

    def freeze(self, twin: Any) -> Hashable:
        """Return when it is, and what is in the buckets."""
        return twin.now, frozenset(twin.tokens.items())

    def call(self, twin: Any, op: Op) -> object:
        """Make the call at its time."""
        if op.time is not None:
            twin.now = _microseconds(op.time)
        return super().call(twin, op)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is; it is not before what has a later time in the log."""
        step = super().transition(op)
        if op.time is None or self.is_read(op):
            return step
        time = _microseconds(op.time)
        return lambda state: step(state) if time >= state[0] else ILLEGAL

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for calls of one time only."""
        return super().identity(op), op.time


def _microseconds(seconds: float) -> int:
    return round(seconds * 1_000_000)


class LimiterTwin(LogTwin):
    """A `Limiter` as its commands describe it: a list of those who wait for each bucket."""

    def __init__(self, *limits: Any) -> None:
        super().__init__()
        self._buckets = Buckets(*limits)
        self._lines: dict[str | None, list[tuple[Number, int, int]]] = {}
        self._due: dict[str | None, float] = {}
        """When the first of each line can be served."""

    def acquire(self, number: Number, ticket: int, n: int, key: str | None) -> None:
        self._serve(key)
        self._lines.setdefault(key, []).append((number, ticket, n))
        self._serve(key)

    def leave(self, number: Number, ticket: int, key: str | None) -> None:
        self._value(number, None)
        self._drop(key, lambda owner, other: (owner, other) == (number[0], ticket), None)

    def grab(self, number: Number, n: int, key: str | None) -> None:
        self._value(number, not self._asked(n, key))

    def ask(self, number: Number, n: int, key: str | None) -> None:
        self._value(number, self._asked(n, key))

    def wake(self, due: float) -> None:
        """Serve those whose tokens are there, unless this was for somebody who has gone."""
        if due == min(self._due.values(), default=None):
            for key in self._lines:
                self._serve(key)

    def expire(self, session: int) -> None:
        """End all waits of a session."""
        for key in self._lines:
            self._drop(key, lambda owner, _: owner == session, SessionExpired)

    def state(self) -> object:
        return sum(map(len, self._lines.values()))

    def _asked(self, n: int, key: str | None) -> float:
        self._buckets.now = self.now
        self._serve(key)
        before = [waiting for _, _, waiting in self._lines.get(key, ())]
        if before:
            return self._buckets.wait(n + sum(before), key)
        return self._buckets.throttle(n, key=key)

    def _serve(self, key: str | None) -> None:
        self._buckets.now = self.now
        line = self._lines.get(key, [])
        while line and self._buckets.try_acquire(line[0][2], key=key):
            self._value(line.pop(0)[0], True)
        self._due.pop(key, None)
        if line:
            wait = self._buckets.wait(line[0][2], key)
            self._due[key] = (self.now + round(wait * 1_000_000)) / 1_000_000

    def _drop(
        self, key: str | None, leaves: Callable[[int, int], bool], error: type[Exception] | None
    ) -> None:
        gone = [w for w in self._lines.get(key, ()) if leaves(w[0][0], w[1])]
        for waiter in gone:
            self._lines[key].remove(waiter)
            if error is None:
                self._value(waiter[0], None)
            else:
                self._error(waiter[0], error)
        if gone:
            self._serve(key)
