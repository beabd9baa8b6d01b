"""`ReplRateLimiter`: token buckets that all members take from, in cluster time.

A bucket is kept as one number: when it will be full again. All arithmetic is of whole numbers, in
units in which a token is a whole number too, so that nothing is rounded, and nothing drifts.
"""

from collections.abc import Hashable
from operator import index as as_index
from typing import Generic, TypeVar

from ..objects.context import current_context
from ..objects.replicated import Replicated, replicated

K = TypeVar("K", bound=Hashable)


class ReplRateLimiter(Replicated, Generic[K]):
    """A replicated token bucket for each key: `rate` tokens per `per` seconds, `burst` at once.

    In any span of t seconds, callers on all members together get no more than
    `burst + rate * t / per` tokens of a bucket. Seconds are those of cluster time, which the leader
    stamps on the log by its own monotonic clock, so it is never ahead of real time, and the bound
    holds in real time as well, to the rate of that clock. It goes on whether there are calls or
    not, and while nobody leads; it stands still while all members are down.

    All keys have buckets of the same kind, and a call without a key takes from that of None. They
    are full at first. A full bucket takes no space: what was not taken from for as long as an empty
    one takes to fill up is dropped, in bulk, within as long again. If the buckets that are kept
    are `max_keys`, a key without one gets nothing until some are dropped: to let it have a full one
    would let whoever invents keys have as many tokens as he likes.

    Each call is one log entry, whether it gets tokens or not, and takes O(1). A call that is under
    way as the leader is lost is sent again and counts once. After `OutcomeUnknown` its tokens may
    be gone: callers get less then, never more. Sessions have no part in it.

    >>> ReplRateLimiter(100, per=60.0, burst=10)
    <ReplRateLimiter 100 per 60.0 s, burst=10, 0 keys>
    """

    def __init__(
        self, rate: int, per: float = 1.0, burst: int | None = None, *, max_keys: int = 100_000
    ) -> None:
        """`rate` and `burst` are whole numbers: one token in two seconds is `rate=1, per=2.0`.

        `per` is exact to microseconds, and `burst` is `rate` if it is None.

        Raises:
            ValueError: one of them is below the least there can be: 1, and 0.000001 for `per`.
        """
        self._rate = as_index(rate)
        self._per = float(per)
        self._burst = self._rate if burst is None else as_index(burst)
        self._max_keys = max_keys
        # A unit is a microsecond / rate. So many of them pass until there is another token:
        self._token = round(per * 1_000_000)
        if min(self._rate, self._burst, self._max_keys, self._token) < 1:
            raise ValueError(
                f"nobody would ever get a token: {rate=}, {per=}, {burst=}, {max_keys=}"
            )
        self._span = self._burst * self._token
        # When buckets are full, of those taken from since `_turned`, and of those within a span
        # before that. Who is in neither is full.
        self._recent: dict[K | None, int] = {}
        self._older: dict[K | None, int] = {}
        self._turned = 0

    @property
    def rate(self) -> int:
        """How many tokens come in `per` seconds."""
        return self._rate

    @property
    def per(self) -> float:
        """In how many seconds `rate` tokens come."""
        return self._per

    @property
    def burst(self) -> int:
        """How many tokens a bucket holds."""
        return self._burst

    @property
    def key_count(self) -> int:
        """How many buckets are kept on this member, now; at most `max_keys`."""
        with self._reading:
            return len(self._recent) + len(self._older)

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {
            "rate": self._rate,
            "per": self._per,
            "burst": self._burst,
            "max_keys": self._max_keys,
        }

    @replicated
    def try_acquire(self, n: int = 1, *, key: K | None = None) -> bool:
        """Take `n` tokens if the key's bucket has as many; return whether they were taken.

        Raises:
            ValueError: `n` is below 1, or above `burst`, which no bucket ever has.
        """
        return self._wait(n, key) == 0

    @replicated
    def throttle(self, n: int = 1, *, key: K | None = None) -> float:
        """Do as `try_acquire`; return 0.0, or after how many seconds it would get the tokens.

        Of cluster time, if nobody takes any of that bucket meanwhile; nothing is set aside. It is
        what a web server answers as Retry-After.

        Raises:
            ValueError: `n` is below 1, or above `burst`, which no bucket ever has.
        """
        # In whole microseconds, rounded up: who comes back at that very time is let through.
        return -(-self._wait(n, key) // self._rate) / 1_000_000

    def _wait(self, n: int, key: K | None) -> int:
        """Take the tokens and return 0; or take none, and return how long to wait, in units."""
        if not 1 <= as_index(n) <= self._burst:
            raise ValueError(f"{n} tokens of a bucket that holds {self._burst}")
        # Microseconds are whole; as float seconds, they come back exactly for 70 years.
        now = round(current_context().time * 1_000_000) * self._rate
        self._turn(now)
        full_at = self._recent.get(key) or self._older.get(key)
        if full_at is None and len(self._recent) + len(self._older) >= self._max_keys:
            # Until `_older` is dropped; it may take another turn before there is something in it.
            return self._turned + self._span * (1 if self._older else 2) - now
        full_at = max(full_at or 0, now) + n * self._token
        if full_at > now + self._span:
            return full_at - now - self._span
        self._older.pop(key, None)
        self._recent[key] = full_at
        return 0

    def _turn(self, now: int) -> None:
        """Drop buckets that are certainly full: what was taken from a span ago or earlier."""
        if now < self._turned + self._span:
            return
        if now < self._turned + 2 * self._span:
            self._older = self._recent
            self._turned += self._span
        else:
            self._older = {}
            self._turned = now
        self._recent = {}

    def __repr__(self) -> str:
        per, keys = f"{self._per} s, burst={self._burst}", self.key_count
        return f"<{type(self).__name__} {self._rate} per {per}, {keys} keys>"

    def _check(self) -> None:
        assert not self._recent.keys() & self._older.keys(), (self._recent, self._older)
        assert self.key_count <= self._max_keys, self.key_count
        # Each was taken from before its part was closed, and had a span at the most to go.
        for part, end in ((self._older, self._turned), (self._recent, self._turned + self._span)):
            assert all(full_at < end + self._span for full_at in part.values()), (part, end)
