"""Events and latches: who is woken, what that costs, and what is left by who gives up."""

import pytest
from local_cluster import LocalCluster

from syncstructs.errors import Cancelled, ObjectMismatch, OutcomeUnknown, ResultLost
from syncstructs.structs.events import ReplEvent, ReplLatch


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def entries(cluster, call):
    """Return how many log entries a call costs."""
    before = cluster.index
    call()
    return cluster.index - before


def ended(futures):
    return [future.result(0) if future.done() else "waits" for future in futures]


def test_set_wakes_all_who_wait_anywhere(cluster):
    a, b, c = cluster.attach("event", ReplEvent)
    waiting = [a.wait.submit(), b.wait.submit(), c.wait.submit(timeout=9), b.wait.submit()]
    assert ended(waiting) == ["waits"] * 4
    assert entries(cluster, c.set) == 1
    assert ended(waiting) == [True] * 4
    assert not a._waiters


def test_who_waited_is_woken_though_the_event_is_cleared_at_once(cluster):
    a, b, _ = cluster.attach("event", ReplEvent)
    waiting = b.wait.submit()
    cluster.batch(0, [(a, "set", ()), (a, "clear", ())])
    assert waiting.result(0) is True
    assert not b.is_set()
    assert not b.wait(timeout=1)


def test_wait_for_an_event_that_is_known_to_be_set_costs_nothing(cluster):
    a, b, _ = cluster.attach("event", ReplEvent)
    assert entries(cluster, lambda: b.wait(1)) == 2
    a.set()
    assert entries(cluster, lambda: b.wait()) == 0
    assert b.wait.submit().result(0) is True
    b.clear()
    assert entries(cluster, lambda: a.wait.submit()) == 1


@pytest.mark.parametrize("timeout", [2, 0, -1])
def test_timeout_ends_the_wait_in_the_log(cluster, timeout):
    a, b, _ = cluster.attach("event", ReplEvent)
    started = cluster.now
    assert a.wait(timeout) is False
    assert cluster.now == pytest.approx(started + max(0, timeout))
    assert not b._waiters


def test_event_that_is_set_as_time_runs_out_counts(cluster):
    a, b, _ = cluster.attach("event", ReplEvent)
    steps = ReplEvent.wait.function(a, timeout=1)
    parked, _ = next(steps)
    b.set()
    assert parked.done()
    withdrawal, _ = steps.send(False)
    assert withdrawal.done()
    assert steps.send(steps.send(True).result(0)) is parked
    with pytest.raises(StopIteration, match="True"):
        steps.send(parked.result(0))


def test_cancelled_wait_leaves_the_line(cluster):
    a, b, _ = cluster.attach("event", ReplEvent)
    waiting = a.wait.submit()
    assert waiting.cancel()
    assert not b._waiters
    with pytest.raises(Cancelled):
        waiting.result(0)


def test_wait_goes_on_when_its_session_expires(cluster):
    a, b, _ = cluster.attach("event", ReplEvent)
    waiting = a.wait.submit(timeout=5)
    cluster.expire(0)
    assert not waiting.done()
    assert len(b._waiters) == 1, "it should wait again, under the new session"
    b.set()
    assert waiting.result(0) is True


@pytest.mark.parametrize("error", [OutcomeUnknown, ResultLost])
def test_wait_of_which_nobody_knows_how_it_ended_begins_anew_in_time(cluster, error):
    a, _, _ = cluster.attach("event", ReplEvent)
    steps = ReplEvent.wait.function(a, timeout=5)
    next(steps)
    steps.send(True)
    cluster.now += 3
    _, remaining = steps.throw(error("by the test"))
    assert remaining == pytest.approx(2)
    steps.send(True)
    cluster.now += 2
    with pytest.raises(StopIteration, match="False"):
        steps.throw(error("by the test"))


def test_waits_are_kept_in_snapshots(cluster):
    a, b, c = cluster.attach("event", ReplEvent)
    waiting = [a.wait.submit(), b.wait.submit()]
    cluster.reload(1)
    cluster.reload(2)
    c.set()
    assert ended(waiting) == [True, True]


def test_setting_it_again_changes_nothing(cluster):
    a, b, _ = cluster.attach("event", ReplEvent)
    a.set()
    b.set()
    assert a.is_set()
    b.clear()
    assert not a.is_set()


def test_repr_tells_name_and_state(cluster):
    a, _, _ = cluster.attach("ready", ReplEvent)
    assert "ReplEvent 'ready' at" in repr(a)
    assert repr(a).endswith(": unset>")
    a.set()
    assert repr(a).endswith(": set>")
    assert repr(ReplEvent()).startswith("<ReplEvent at 0x")


def test_latch_opens_for_all_when_it_is_counted_down(cluster):
    a, b, c = cluster.attach("latch", lambda: ReplLatch(3))
    waiting = [a.wait.submit(), b.wait.submit(timeout=9)]
    assert c.count_down() == 2
    assert ended(waiting) == ["waits"] * 2
    assert a.count_down(n=2) == 0
    assert ended(waiting) == [True] * 2
    assert entries(cluster, lambda: c.wait(1)) == 0
    assert b.count == 0


def test_latch_does_not_count_below_zero_and_never_closes(cluster):
    a, b, _ = cluster.attach("latch", lambda: ReplLatch(1))
    assert a.count_down(5) == 0
    assert b.count_down() == 0
    assert b.wait() is True


def test_wait_for_a_latch_runs_out(cluster):
    a, b, _ = cluster.attach("latch", lambda: ReplLatch(1))
    assert a.wait(timeout=2) is False
    assert not b._waiters
    cancelled = b.wait.submit()
    assert cancelled.cancel()
    assert not b._waiters


def test_latch_refuses_what_cannot_be_counted(cluster):
    a, _, _ = cluster.attach("latch", lambda: ReplLatch(3))
    with pytest.raises(ValueError, match="not -1"):
        a.count_down(-1)
    with pytest.raises(TypeError, match="not str"):
        a.count_down("1")
    assert a.count_down(0) == 3
    with pytest.raises(ValueError, match="not -1"):
        ReplLatch(-1)
    assert ReplLatch(0).count == 0


def test_members_agree_on_what_a_latch_counts_down(cluster):
    cluster.attach_on(0, "latch", ReplLatch(3)).count_down()
    with pytest.raises(ObjectMismatch):
        cluster.attach_on(1, "latch", ReplLatch(2))
    assert cluster.attach_on(2, "latch", ReplLatch(3)).count == 2
    made = cluster.create(0, "other", ReplLatch, 4)
    made.count_down()
    cluster.renew(1)
    assert cluster.members[1].table.objects["other"].count == 3
    assert repr(made).endswith(": count=3>")
