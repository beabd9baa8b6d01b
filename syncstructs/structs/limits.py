"""`ReplRateLimiter`: token buckets that all members take from, in cluster time.

A bucket is kept as one number: when it will be full again. All arithmetic is of whole numbers, in
units in which a token is a whole number too, so that nothing is rounded, and nothing drifts.

Who waits for tokens stands in a line, one for each bucket. When the first one's tokens are there,
the log says so (`Replicated.set_due`); nothing is set aside before.
"""

from collections import OrderedDict
from collections.abc import Hashable
from operator import index as as_index
from typing import Any, ClassVar, Generic, TypeVar

from ..codec import decode, encode, shown
from ..objects.context import current_context
from ..objects.port import Steps
from ..objects.replicated import Replicated, operation, reading, replicated
from ..objects.waiters import Waiters
from .waiting import Wait

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

    Each call is one log entry, whether it gets tokens or not, and takes O(1), and O(callers that
    wait for that bucket) if some do. A call that is under way as the leader is lost is sent again
    and counts once. After `OutcomeUnknown` its tokens may be gone: callers get less then, never
    more.

    `acquire` waits. Its callers are served in the order in which they came, of each bucket, and
    nobody else gets tokens of it meanwhile. Who is served later takes an entry more, which he may
    share with others; who isn't, one to leave the line. Who leaves, by a time-out, a cancel, or as
    the session of his node expires, holds up nobody. O(buckets that are waited for).

    >>> ReplRateLimiter(100, per=60.0, burst=10)
    <ReplRateLimiter 100 per 60.0 s, burst=10, 0 keys>
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_lines"})

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
        # Each with its key, and how many tokens it waits for.
        self._waiters = Waiters()
        # In microseconds, when the first in line is to be looked after, by key.
        self._due: dict[K | None, int] = {}
        # Derived from `_waiters`: (session, ticket) and n by key, the longest waiting first.
        self._lines: dict[K | None, OrderedDict[tuple[int, int], int]] = {}

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
        with reading(self):
            return len(self._recent) + len(self._older)

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {
            "rate": self._rate,
            "per": self._per,
            "burst": self._burst,
            "max_keys": self._max_keys,
        }

    def snapshot_state(self) -> object:
        """Return the state; that of who waits only if somebody does, as it came later."""
        state = super().snapshot_state()
        assert isinstance(state, dict)
        absent = () if self._waiters else ("_waiters", "_due")
        return {name: value for name, value in state.items() if name not in absent}

    def initial_state(self) -> Any:
        """Return the state of a new object, in which nobody waits, and all buckets are full.

        When they are is a time of the cluster: in another one, they might never be.
        """
        state = super().initial_state() | {"_recent": {}, "_older": {}, "_turned": 0}
        return {name: value for name, value in state.items() if name not in ("_waiters", "_due")}

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        super().restore_state({"_waiters": [], "_due": {}} | state)
        self._lines = {}
        rows: list[Any] = self._waiters.state()
        for session, ticket, _, (key, n) in rows:
            self._lines.setdefault(key, OrderedDict())[session, ticket] = n

    @operation
    def acquire(
        self, n: int = 1, timeout: float | None = None, *, key: K | None = None
    ) -> Steps[bool]:
        """Take `n` tokens of the key's bucket; wait for them `timeout` seconds at most.

        None: without end. Return whether they were taken; if not, none were, and none will be.
        Without a quorum it takes a second more at the most to say so. If this node's session
        expires meanwhile, it goes to the end of the line.

        Raises:
            OutcomeUnknown: time ran out without an answer; its tokens may be gone.
            ResultLost: it was served, but this node had to take a snapshot in place of that.
            ValueError: `n` is below 1, or above `burst`, which no bucket ever has; or `timeout` is
                below 0; or `key` is or has a nan.
        """
        if timeout is not None and timeout < 0:
            raise ValueError(f"timeout={timeout!r} must not be below 0; leave it out to wait on")
        wait: Wait[bool] = Wait(
            self,
            "acquire",
            lambda ticket: self._acquire.submit(ticket, n, key),
            lambda ticket: self._leave.submit(ticket, key),
        )
        return (yield from wait.served(timeout)) is not None

    @replicated
    def try_acquire(self, n: int = 1, *, key: K | None = None) -> bool:
        """Take `n` tokens if the key's bucket has as many; return whether they were taken.

        None are if others wait for that bucket.

        Raises:
            ValueError: `n` is below 1, or above `burst`, which no bucket ever has.
        """
        return self._ask(n, key) == 0

    @replicated
    def throttle(self, n: int = 1, *, key: K | None = None) -> float:
        """Do as `try_acquire`; return 0.0, or after how many seconds it would get the tokens.

        Of cluster time, if nobody but who waits already takes any of that bucket meanwhile; nothing
        is set aside. It is what a web server answers as Retry-After.

        Raises:
            ValueError: `n` is below 1, or above `burst`, which no bucket ever has.
        """
        # In whole microseconds, rounded up: who comes back at that very time is let through.
        return -(-self._ask(n, key) // self._rate) / 1_000_000

    # The commands behind acquire

    @replicated
    def _acquire(self, ticket: int, n: int, key: K | None) -> bool:
        if decode(encode(key)) != key:
            # As nan: members that took a snapshot over would not find its line.
            raise ValueError(f"nobody can wait for {shown(key)}, which is not equal to itself")
        if self._ask(n, key) == 0:
            return True
        parked: bool = self._waiters.park(ticket, [key, n])
        self._lines.setdefault(key, OrderedDict())[current_context().session, ticket] = n
        self._serve(key)
        self._set_next_due()
        return parked

    @replicated
    def _leave(self, ticket: int, key: K | None) -> None:
        if self._waiters.cancel(ticket):
            del self._lines[key][current_context().session, ticket]
            # Who stood behind may want fewer.
            self._serve(key)
            self._set_next_due()

    def on_session_expired(self, session: int) -> None:
        """Let those of the session leave their lines."""
        rows: list[Any] = self._waiters.state()
        self._waiters.expire(session)
        left = [(key, ticket) for owner, ticket, _, (key, _) in rows if owner == session]
        for key, ticket in left:
            del self._lines[key][session, ticket]
        for key in dict.fromkeys(key for key, _ in left):
            self._serve(key)
        self._set_next_due()

    def on_due(self) -> None:
        """Serve those whose tokens are there. Part of a command."""
        now = self._now()
        for key in [key for key, due in self._due.items() if due <= now]:
            self._serve(key)
        self._set_next_due()

    def _serve(self, key: K | None) -> None:
        """Serve a line up to the first who must wait on; note when his tokens are there."""
        line = self._lines.pop(key)
        self._due.pop(key, None)
        while line:
            (session, ticket), n = next(iter(line.items()))
            wait = self._take(n, key)
            if wait:
                # Rounded up, as in `throttle`.
                self._due[key] = self._now() - -wait // self._rate
                self._lines[key] = line
                break
            del line[session, ticket]
            self._waiters.serve_ticket(session, ticket, True)

    def _set_next_due(self) -> None:
        # Once for all lines that a command serves: this looks through all that there are.
        self.set_due(min(self._due.values()) / 1_000_000 if self._due else None)

    # What there is in the buckets

    def _now(self) -> int:
        # Microseconds are whole; as float seconds, they come back exactly for 70 years.
        return round(current_context().time * 1_000_000)

    def _ask(self, n: int, key: K | None) -> int:
        """Do as `_take`, behind all who wait for that bucket."""
        if not 1 <= as_index(n) <= self._burst:
            raise ValueError(f"{n} tokens of a bucket that holds {self._burst}")
        if key in self._lines:
            # The tokens of the first one may be there, and the log not have said so yet.
            self._serve(key)
            self._set_next_due()
        line = self._lines.get(key)
        return self._take(n, key) if line is None else self._wait(n + sum(line.values()), key)

    def _take(self, n: int, key: K | None) -> int:
        """Take the tokens and return 0; or take none, and return how long to wait, in units."""
        wait = self._wait(n, key)
        if wait > 0:
            return wait
        now = self._now() * self._rate
        full_at = self._older.pop(key, 0) or self._recent.get(key, 0)
        self._recent[key] = max(full_at, now) + n * self._token
        return 0

    def _wait(self, n: int, key: K | None) -> int:
        """Return how long until there are so many tokens, in units; 0 or less: they are there."""
        now = self._now() * self._rate
        self._turn(now)
        full_at = self._recent.get(key) or self._older.get(key)
        if full_at is None and len(self._recent) + len(self._older) >= self._max_keys:
            # Until `_older` is dropped; it may take another turn before there is something in it.
            return self._turned + self._span * (1 if self._older else 2) - now
        return max(full_at or 0, now) + n * self._token - now - self._span

    def _turn(self, now: int) -> None:
        """Drop buckets that are certainly full: what was taken from a span ago or earlier."""
        if self._turned <= now < self._turned + self._span:
            return
        # A turn that is yet to come was in another cluster, from which this object was brought.
        if self._turned <= now < self._turned + 2 * self._span:
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
        waiting = [waiter for line in self._lines.values() for waiter in line]
        assert sorted(waiting) == sorted(self._waiters), (self._lines, self._waiters)
        assert self._due.keys() == self._lines.keys(), (self._due, self._lines)
        # Each was taken from before its part was closed, and had a span at the most to go.
        for part, end in ((self._older, self._turned), (self._recent, self._turned + self._span)):
            assert all(full_at < end + self._span for full_at in part.values()), (part, end)
