"""Barriers: who passes, with which number, and what breaks them."""

from threading import BrokenBarrierError

import pytest
from local_cluster import LocalCluster

from syncstructs.errors import Cancelled, ObjectMismatch, ResultLost, Withdrawn
from syncstructs.futures import Future
from syncstructs.structs.barriers import ReplBarrier


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


@pytest.fixture
def barriers(cluster):
    return cluster.attach("barrier", lambda: ReplBarrier(3))


def is_broken(future):
    return future.done() and isinstance(future.exception(0), BrokenBarrierError)


def test_all_pass_when_the_last_one_comes(cluster, barriers):
    a, b, c = barriers
    first, second = b.wait.submit(), c.wait.submit(timeout=9)
    assert a.n_waiting == 2
    before = cluster.index
    assert a.wait() == 2
    assert cluster.index == before + 1
    assert (first.result(0), second.result(0)) == (0, 1)
    assert a.n_waiting == 0
    assert not a.broken
    again = [a.wait.submit(), a.wait.submit(), b.wait.submit()]
    assert [future.result(0) for future in again] == [0, 1, 2]


def test_async_with_waits_as_an_asyncio_barrier_does(cluster, barriers):
    a, b, c = barriers
    first, second = a.wait.submit(), b.wait.submit()

    async def pass_it():
        async with c as index:
            return index

    with pytest.raises(StopIteration) as ended:
        pass_it().send(None)
    assert (first.result(0), second.result(0), ended.value.value) == (0, 1, 2)


def test_barrier_for_one_never_waits(cluster):
    a, _, _ = cluster.attach("barrier", lambda: ReplBarrier(1))
    assert [a.wait(), a.wait()] == [0, 0]


@pytest.mark.parametrize("timeout", [2, 0])
def test_timeout_breaks_the_barrier_for_all(cluster, barriers, timeout):
    a, b, _ = barriers
    waiting = b.wait.submit()
    with pytest.raises(BrokenBarrierError):
        a.wait(timeout)
    assert is_broken(waiting)
    assert b.broken
    with pytest.raises(BrokenBarrierError):
        b.wait()


def test_timeout_of_the_barrier_is_that_of_waits_without_one(cluster):
    a, b, _ = cluster.attach("barrier", lambda: ReplBarrier(2, timeout=3))
    started = cluster.now
    with pytest.raises(BrokenBarrierError):
        a.wait()
    assert cluster.now == pytest.approx(started + 3)
    assert "_timeout" not in b.snapshot_state()


def test_who_is_let_pass_as_time_runs_out_passes(cluster):
    a, b, _ = cluster.attach("barrier", lambda: ReplBarrier(2))
    steps = ReplBarrier.wait.function(a, timeout=1)
    parked, _ = next(steps)
    assert b.wait() == 1
    steps.send(False)
    assert steps.send(steps.send(True).result(0)) is parked
    with pytest.raises(StopIteration, match="0"):
        steps.send(parked.result(0))
    assert not a.broken


def test_cancel_breaks_the_barrier(cluster, barriers):
    a, b, _ = barriers
    first, second = a.wait.submit(), b.wait.submit()
    assert first.cancel()
    assert is_broken(second)
    with pytest.raises(Cancelled):
        first.result(0)


def test_expired_session_that_waits_breaks_the_barrier(cluster, barriers):
    a, b, c = barriers
    first, second = a.wait.submit(), b.wait.submit()
    cluster.expire(0)
    assert is_broken(first), "it must not wait anew"
    assert is_broken(second)
    assert c.broken


def test_expired_session_that_does_not_wait_breaks_nothing(cluster, barriers):
    a, b, _ = barriers
    a.reset()
    waiting = b.wait.submit()
    cluster.expire(0)
    assert not waiting.done()
    assert not b.broken


def test_abort_and_reset(cluster, barriers):
    a, b, c = barriers
    waiting = b.wait.submit()
    a.abort()
    assert is_broken(waiting)
    assert c.broken
    c.reset()
    assert not a.broken
    waiting = [a.wait.submit(), b.wait.submit()]
    c.reset()
    assert all(map(is_broken, waiting))
    assert not a.broken
    assert [future.result(0) for future in [a.wait.submit() for _ in range(3)]] == [0, 1, 2]


def test_wait_that_never_reached_the_cluster_says_so(cluster, barriers, monkeypatch):
    a, _, _ = barriers
    monkeypatch.setattr(Future, "cancel", lambda self: True)
    steps = ReplBarrier.wait.function(a, timeout=2)
    next(steps)
    with pytest.raises(Withdrawn, match=r"barrier\.wait\(\): not sent within 2 s"):
        steps.send(False)


def test_index_that_a_snapshot_has_skipped_is_lost(cluster, barriers):
    a, _, _ = barriers
    steps = ReplBarrier.wait.function(a)
    next(steps)
    steps.send(True)
    with pytest.raises(ResultLost):
        steps.throw(ResultLost("by the test"))


def test_waits_are_kept_in_snapshots(cluster, barriers):
    a, b, c = barriers
    waiting = [a.wait.submit(), b.wait.submit()]
    cluster.reload(1)
    cluster.reload(2)
    assert c.wait() == 2
    assert [future.result(0) for future in waiting] == [0, 1]


def test_members_agree_on_the_parties(cluster):
    cluster.attach_on(0, "barrier", ReplBarrier(2, timeout=1))
    with pytest.raises(ObjectMismatch):
        cluster.attach_on(1, "barrier", ReplBarrier(3))
    other = cluster.attach_on(2, "barrier", ReplBarrier(2))
    assert other.parties == 2
    for parties in (0, -1):
        with pytest.raises(ValueError, match="1 or more"):
            ReplBarrier(parties)


def test_repr_tells_name_and_state(cluster, barriers):
    a, b, _ = barriers
    b.wait.submit()
    assert "ReplBarrier 'barrier' at" in repr(a)
    assert repr(a).endswith(": waiters=1/3>")
    a.abort()
    assert repr(a).endswith(": broken>")
