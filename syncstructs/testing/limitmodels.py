"""The model of a rate limiter, behind its twin: token buckets as textbooks have them.

The twin counts tokens, in fractions, and keeps each bucket for ever. What time it is at a call, the
log tells.
"""

from collections.abc import Callable, Hashable
from fractions import Fraction
from math import ceil
from typing import Any

from ..objects.replicated import replicated
from ..structs.limits import ReplRateLimiter
from .history import Op
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
        before, at = self.tokens.get(key, (Fraction(self.burst), self.now))
        tokens = min(before + (self.now - at) * self.microsecond, Fraction(self.burst))
        if n > tokens:
            return ceil((n - tokens) / self.microsecond) / 1_000_000
        self.tokens[key] = tokens - n, self.now
        return 0.0

    def try_acquire(self, n: int = 1, *, key: str | None = None) -> bool:
        return not self.throttle(n, key=key)

    def ask(self, n: int, key: str | None) -> float:
        return self.throttle(n, key=key)

    def grab(self, n: int, key: str | None) -> bool:
        return self.try_acquire(n, key=key)


class LimiterModel(TwinModel):
    """`Limiter`, in one run."""

    READS = frozenset({"burst"})

    def __init__(self, *limits: Any, time_at: Callable[[int], int]) -> None:
        """`limits`: arguments of `Buckets`; `time_at`: the cluster time at a place of the log."""
        self._limits = limits
        self._time_at = time_at

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
        if op.index is not None and not self.is_read(op):
            twin.now = self._time_at(op.index)
        return super().call(twin, op)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is; it is not before what has a later time in the log."""
        step = super().transition(op)
        if op.index is None or self.is_read(op):
            return step
        time = self._time_at(op.index)
        return lambda state: step(state) if time >= state[0] else ILLEGAL

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for calls of one time only."""
        return super().identity(op), None if op.index is None else self._time_at(op.index)
