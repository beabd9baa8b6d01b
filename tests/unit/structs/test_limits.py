"""What `ReplRateLimiter` promises: never more than the burst and what has come since, exactly."""

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from local_cluster import LocalCluster

from syncstructs import ReplRateLimiter
from syncstructs.codec import decode, encode
from syncstructs.testing.limitmodels import Buckets, LimiterTwin

LIMITS = st.sampled_from([(1, 1.001, 1), (3, 1.0, 2), (7, 0.3, 5), (2, 0.000003, 3), (99, 3600, 9)])
KEYS = st.sampled_from([None, "a", "b", "c", 7])
# So many microseconds of the time in which a token comes, or a bucket fills up, and a bit.
PAUSES = st.tuples(st.sampled_from([0, 1, 2, 9, 40]), st.integers(-1, 1))
CALLS = st.tuples(st.integers(0, 2), st.sampled_from(["try_acquire", "throttle"]), KEYS)


def limiter_of(*args, **kwargs):
    cluster = LocalCluster(2, check=True)
    return cluster, *cluster.attach("limiter", lambda: ReplRateLimiter(*args, **kwargs))


@settings(max_examples=60, deadline=None)
@given(LIMITS, st.lists(st.tuples(PAUSES, CALLS, st.integers(1, 2), st.booleans()), max_size=25))
def test_limiter_does_what_its_twin_does_and_never_lets_more_through(limits, steps):
    rate, per, burst = limits
    cluster = LocalCluster(3)
    members = cluster.attach("limiter", lambda: ReplRateLimiter(*limits))
    twin, given_out = Buckets(*limits), []
    for (tokens, more), (number, method, key), n, restored in steps:
        n = min(n, burst)
        cluster.now += max(0, round(tokens * per * 1_000_000 / rate) + more) / 1_000_000
        twin.now = round(cluster.now * 1_000_000)
        seen = getattr(members[number], method)(n, key=key)
        assert seen == getattr(twin, method)(n, key=key)
        if seen is True or (method == "throttle" and seen == 0.0):
            given_out.append((twin.now, key, n))
        if restored:
            members[number].restore_state(decode(encode(members[number].snapshot_state())))
        for member in members:
            member._check()
        assert len({member.key_count for member in members}) == 1
    for first, (begin, key, _) in enumerate(given_out):
        total = 0
        for end, other, n in given_out[first:]:
            total += n * (other == key)
            span = Fraction(end - begin, round(per * 1_000_000))
            assert total <= burst + rate * span


@settings(max_examples=60, deadline=None)
@given(LIMITS, st.integers(1, 4), st.integers(0, 50_000_000))
def test_who_comes_back_when_told_to_gets_it_and_not_a_microsecond_before(limits, n, begin):
    n = min(n, limits[2])
    cluster, limiter, _ = limiter_of(*limits)
    start = 1_000_000 + begin
    cluster.now = start / 1_000_000
    while limiter.try_acquire():
        pass
    wait = limiter.throttle(n)
    assert wait == limiter.throttle(n) > 0
    then = start + round(wait * 1_000_000)
    cluster.now = (then - 1) / 1_000_000
    assert limiter.throttle(n) == 0.000001
    cluster.now = then / 1_000_000
    assert limiter.throttle(n) == 0.0


def test_a_burst_and_then_the_rate():
    cluster, mine, other = limiter_of(10, per=1.0, burst=3)
    assert [mine.try_acquire(), other.try_acquire(), mine.try_acquire()] == [True] * 3
    assert not other.try_acquire()
    assert other.throttle(2) == 0.2
    cluster.advance(0.1)
    assert [other.try_acquire(2), mine.try_acquire(), other.try_acquire()] == [False, True, False]
    cluster.advance(1000)
    assert mine.throttle(3) == 0.0
    assert not mine.try_acquire()


def test_a_bucket_does_not_overflow():
    cluster, limiter, _ = limiter_of(1, per=1.0, burst=5)
    cluster.now = 100.0
    limiter.try_acquire()
    cluster.advance(3.0)
    assert limiter.try_acquire(5)
    assert limiter.throttle() == 1.0


def test_keys_have_buckets_of_their_own():
    _, mine, other = limiter_of(1, per=60.0)
    assert mine.try_acquire(key="a")
    assert not other.try_acquire(key="a")
    assert other.try_acquire(key=("b", 1))
    assert mine.try_acquire()
    assert mine.key_count == other.key_count == 3


def test_full_buckets_are_dropped():
    cluster, limiter, _ = limiter_of(1, per=1.0, burst=5)
    cluster.now = 100.0
    for number in range(50):
        limiter.try_acquire(5, key=number)
        cluster.advance(0.2)
        assert limiter.key_count <= 50
    assert limiter.key_count == 50
    kept = []
    for number in range(50, 100):
        limiter.try_acquire(5, key=number)
        cluster.advance(0.2)
        kept.append(limiter.key_count)
    # Those of a span of five seconds that are not full, and of one more.
    assert max(kept[25:]) <= 50
    cluster.advance(10.0)
    limiter.try_acquire(key="last")
    assert limiter.key_count == 1


def test_no_bucket_is_dropped_that_is_not_full():
    cluster, limiter, _ = limiter_of(1, per=1.0, burst=5)
    cluster.now = 103.999
    limiter.try_acquire(key="turns")
    cluster.now = 108.998
    assert limiter.try_acquire(5, key="late")
    for now in (109.0, 112.0, 113.9):
        cluster.now = now
        limiter.try_acquire(key="turns")
        assert not limiter.try_acquire(5, key="late"), now
    cluster.now = 113.998
    assert limiter.try_acquire(5, key="late")


def test_who_invents_keys_gets_no_more():
    cluster, limiter, _ = limiter_of(1, per=1.0, burst=2, max_keys=3)
    cluster.now = 100.0
    assert [limiter.try_acquire(2, key=key) for key in "abcde"] == [True, True, True, False, False]
    cluster.advance(1.0)
    assert limiter.try_acquire(key="a")
    wait = limiter.throttle(key="d")
    assert limiter.key_count == 3
    cluster.advance(wait - 0.000001)
    assert not limiter.try_acquire(key="d")
    cluster.advance(0.000002)
    assert limiter.try_acquire(key="d")


def test_a_key_waits_for_one_turn_where_there_is_something_to_drop():
    cluster, limiter, _ = limiter_of(1, per=1.0, burst=2, max_keys=2)
    cluster.now = 100.0
    limiter.try_acquire(key="a")
    cluster.now = 102.5
    limiter.try_acquire(key="b")
    assert limiter.throttle(key="c") == 1.5
    cluster.now = 104.0
    assert limiter.try_acquire(key="c")


def test_each_call_is_one_entry_whatever_comes_of_it():
    cluster, limiter, _ = limiter_of(1, burst=1)
    limiter.try_acquire(key="warm up")
    for _ in range(2):
        for call in (limiter.try_acquire, limiter.throttle):
            before = cluster.index
            call()
            assert cluster.index == before + 1


def test_limits_that_make_no_sense_are_refused():
    for args in ((0,), (1, 0.0), (1, 0.0000001), (1, 1.0, 0), (-1,)):
        with pytest.raises(ValueError, match="nobody would ever"):
            ReplRateLimiter(*args)
    with pytest.raises(TypeError):
        ReplRateLimiter(1.5)
    _, limiter, _ = limiter_of(5, 2, 3)
    for n in (0, 4, -1):
        with pytest.raises(ValueError, match=f"{n} tokens of a bucket that holds 3"):
            limiter.try_acquire(n)
    with pytest.raises(TypeError):
        limiter.try_acquire(1.0)
    assert (limiter.rate, limiter.per, limiter.burst, limiter.key_count) == (5, 2.0, 3, 0)
    assert limiter.options() == {"rate": 5, "per": 2.0, "burst": 3, "max_keys": 100_000}
    assert repr(limiter) == "<ReplRateLimiter 5 per 2.0 s, burst=3, 0 keys>"


# Waiting


def test_who_waits_is_served_when_the_tokens_are_there():
    cluster, mine, other = limiter_of(2, per=1.0, burst=2)
    assert mine.acquire(2)
    waiting = other.acquire.submit()
    cluster.advance(0.499)
    assert not waiting.done()
    cluster.advance(0.001)
    assert waiting.result()
    begin = cluster.now
    assert mine.acquire(2, key=None)
    assert cluster.now - begin == pytest.approx(1.0)


def test_first_come_first_served_however_many_tokens():
    cluster, mine, other = limiter_of(1, per=1.0, burst=4)
    mine.acquire(4)
    large, small = mine.acquire.submit(4), other.acquire.submit(1)
    cluster.advance(1.0)
    assert not mine.try_acquire()
    assert other.throttle() == 5.0
    assert other.acquire(key="another bucket")
    assert not small.done()
    cluster.advance(3.0)
    assert large.done()
    assert not small.done()
    cluster.advance(1.0)
    assert small.done()


def test_who_gives_up_waiting_holds_up_nobody():
    cluster, mine, other = limiter_of(1, per=1.0, burst=4)
    mine.acquire(4)
    first, second, third = mine.acquire.submit(4), other.acquire.submit(2), other.acquire.submit(2)
    assert not mine.acquire(3, timeout=2.5)
    assert not second.done()
    assert first.cancel()
    assert second.done(), "its tokens were there"
    cluster.advance(1.499)
    assert not third.done()
    cluster.advance(0.001)
    assert third.result()
    assert mine.throttle() == 1.0


def test_a_session_that_expires_leaves_the_line():
    cluster, mine, other = limiter_of(1, per=1.0, burst=2)
    mine.acquire(2)
    gone = [mine.acquire.submit(2), mine.acquire.submit(2)]
    waiting = other.acquire.submit()
    cluster.advance(1.0)
    cluster.expire(0)
    assert waiting.done()
    assert not any(future.done() for future in gone), "they have begun anew, behind it"
    cluster.advance(2.0)
    assert [future.done() for future in gone] == [True, False]


def test_tokens_that_are_there_are_not_refused_before_the_log_says_so():
    cluster, mine, other = limiter_of(1, per=1.0, burst=2)
    mine.acquire(2)
    waiting = mine.acquire.submit()
    cluster.now += 2.0  # nobody leads
    assert other.try_acquire()
    assert waiting.done()
    assert not mine.try_acquire()


def test_a_late_member_serves_the_same_line():
    cluster, mine, other = limiter_of(1, per=1.0, burst=2)
    mine.acquire(2, key="a")
    waiting = [mine.acquire.submit(key="a"), other.acquire.submit(2, key="a")]
    cluster.reload(1)
    assert mine.snapshot_state() == other.snapshot_state()
    cluster.advance(1.0)
    assert [future.done() for future in waiting] == [True, False]
    cluster.advance(2.0)
    assert waiting[1].done()
    assert "_waiters" not in mine.snapshot_state()


def test_who_waits_for_a_bucket_where_there_is_no_room_for_one():
    cluster, mine, other = limiter_of(1, per=1.0, burst=1, max_keys=1)
    cluster.now = 100.0
    mine.acquire(key="a")
    begin = cluster.now
    assert other.acquire(key="b")
    assert 1.0 <= cluster.now - begin <= 2.0


def test_waits_without_meaning_are_refused():
    _, limiter, _ = limiter_of(1, burst=2)
    for call in (lambda: limiter.acquire(3), lambda: limiter.acquire(0)):
        with pytest.raises(ValueError, match="a bucket that holds 2"):
            call()
    with pytest.raises(ValueError, match="must not be below 0"):
        limiter.acquire(timeout=-1)


class Waits(RuleBasedStateMachine):
    """A limiter, and its twin that is told the same commands."""

    def __init__(self):
        super().__init__()
        self.cluster, *self.members = limiter_of(3, per=1.0, burst=4)
        self.twin = LimiterTwin(3, 1.0, 4)
        self.ticket = 0
        self.lines = {}

    def command(self, method, who, *args):
        self.twin.now = round(self.cluster.now * 1_000_000)
        self.ticket += 1
        number = who, self.ticket
        getattr(self.twin, method)(number, *args)
        return number

    @rule(who=st.integers(0, 1), n=st.integers(1, 4), key=st.sampled_from("ab"))
    def acquire(self, who, n, key):
        number = self.command("acquire", who, self.ticket, n, key)
        self.lines[number] = self.members[who].acquire.submit(n, key=key), number[1] - 1, key

    @rule(who=st.integers(0, 1), n=st.integers(1, 4), key=st.sampled_from("ab"))
    def throttle(self, who, n, key):
        number = self.command("ask", who, n, key)
        assert self.members[who].throttle(n, key=key) == self.twin.answers[number][1]

    @precondition(lambda self: any(not row[0].done() for row in self.lines.values()))
    @rule(data=st.data())
    def cancel(self, data):
        left = [number for number, row in self.lines.items() if not row[0].done()]
        number = data.draw(st.sampled_from(left))
        future, ticket, key = self.lines.pop(number)
        self.command("leave", number[0], ticket, key)
        assert future.cancel()

    @rule(milliseconds=st.sampled_from([1, 300, 700, 5000]), leader=st.booleans())
    def pass_time(self, milliseconds, leader):
        if not leader:
            self.cluster.now += milliseconds / 1000
            milliseconds = 0
        until = self.cluster.now + milliseconds / 1000
        while self.twin._due and (due := min(self.twin._due.values())) <= until:
            self.cluster.advance(max(0.0, due - self.cluster.now))
            self.twin.now = round(self.cluster.now * 1_000_000)
            self.twin.wake(due)
        self.cluster.advance(until - self.cluster.now)

    @rule(who=st.integers(0, 1))
    def reload(self, who):
        self.cluster.reload(who)

    @invariant()
    def the_same_are_served(self):
        for number, (future, *_) in self.lines.items():
            assert future.done() == (number in self.twin.answers)


TestWaits = Waits.TestCase
TestWaits.settings = settings(max_examples=10, stateful_step_count=25, deadline=None)


@pytest.mark.parametrize("key", [math.nan, (1, math.nan)])
def test_nobody_waits_for_a_key_that_is_found_by_no_copy_of_it(key):
    cluster = LocalCluster(2, check=True)
    a, _ = cluster.attach("limiter", lambda: ReplRateLimiter(1, 10.0, max_keys=1))
    assert a.try_acquire(key="x")
    with pytest.raises(ValueError, match="not equal to itself"):
        a.acquire(key=key)
    assert a.acquire(key="x")


def test_lines_that_are_due_at_once_are_looked_through_once(monkeypatch):
    cluster = LocalCluster(1)
    (limiter,) = cluster.attach("limiter", lambda: ReplRateLimiter(1, 10.0))
    asked = []
    monkeypatch.setattr(limiter, "set_due", lambda time: asked.append(time))
    for key in range(3):
        assert limiter.try_acquire(key=key)
        limiter.acquire.submit(key=key)
    asked.clear()
    cluster.expire(0)
    assert asked == [None, 11.0, 11.0, 11.0], "at the expiry, and as each comes back"
