"""Events: who is woken, what that costs, and what time-outs, cancels and expiry leave behind."""

import pytest
from local_cluster import LocalCluster

from syncstructs.errors import Cancelled, OutcomeUnknown, ResultLost
from syncstructs.structs.events import ReplEvent


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


@pytest.mark.parametrize("timeout", [None, 5])
def test_wait_whose_end_a_snapshot_has_skipped_was_served(cluster, timeout):
    a, _, _ = cluster.attach("event", ReplEvent)
    steps = ReplEvent.wait.function(a, timeout)
    next(steps)
    steps.send(True)
    with pytest.raises(StopIteration) as stop:
        steps.throw(ResultLost("by the test"))
    assert stop.value.value is True


def test_wait_of_which_nobody_knows_how_it_ended_begins_anew_in_time(cluster):
    a, _, _ = cluster.attach("event", ReplEvent)
    steps = ReplEvent.wait.function(a, timeout=5)
    next(steps)
    steps.send(True)
    cluster.now += 3
    _, remaining = steps.throw(OutcomeUnknown("by the test"))
    assert remaining == pytest.approx(2)
    steps.send(True)
    cluster.now += 2
    for error in (OutcomeUnknown, ResultLost):
        with pytest.raises(StopIteration) as stop:
            steps.throw(error("by the test"))
        assert stop.value.value is False
        steps = ReplEvent.wait.function(a, timeout=0)
        next(steps)
        steps.send(True)


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
