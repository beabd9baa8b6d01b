"""Queues that wait in the log: fairness, time-outs, cancelling, expiry, shutdown."""

import queue

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs.errors import Cancelled, Timeout
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.structs.queues import ReplPriorityQueue, ReplQueue, ShutDown


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def results(futures):
    return [future.result(0) if future.done() else "waits" for future in futures]


def test_put_serves_who_waits_longest(cluster):
    a, b, c = cluster.attach("q", ReplQueue)
    waiting = [b.get.submit(), a.get.submit(), c.get.submit()]
    c.put("first")
    assert results(waiting) == ["first", "waits", "waits"]
    a.put("second")
    assert results(waiting) == ["first", "second", "waits"]
    assert a.qsize() == 0


def test_get_lets_in_who_waits_longest_to_put(cluster):
    a, b, c = cluster.attach("q", lambda: ReplQueue(maxsize=1))
    a.put(1)
    waiting = [b.put.submit(2), c.put.submit(3)]
    assert a.full()
    assert a.unfinished_tasks == 1
    assert c.get() == 1
    assert results(waiting) == [None, "waits"]
    assert [a.get(), b.get()] == [2, 3]
    assert results(waiting) == [None, None]
    assert a.unfinished_tasks == 3


def test_timeout_ends_the_wait_in_the_log(cluster):
    a, b, _ = cluster.attach("q", ReplQueue)
    started = cluster.now
    with pytest.raises(queue.Empty):
        a.get(timeout=2)
    assert cluster.now == pytest.approx(started + 2)
    b.put("x")
    assert b.qsize() == 1, "the item went to a get that had given up"
    with pytest.raises(ValueError, match="non-negative"):
        a.get(timeout=-1)


def test_put_that_timed_out_puts_nothing(cluster):
    a, b, _ = cluster.attach("q", lambda: ReplQueue(1))
    a.put(1)
    with pytest.raises(queue.Full):
        a.put(2, timeout=1)
    with pytest.raises(queue.Full):
        b.put(2, block=False)
    with pytest.raises(queue.Full):
        b.put_nowait(2)
    assert b.get() == 1
    assert b.empty()
    assert b.unfinished_tasks == 1


def test_timeout_zero_takes_what_is_there(cluster):
    a, b, _ = cluster.attach("q", ReplQueue)
    a.put("x")
    assert b.get(timeout=0) == "x"
    with pytest.raises(queue.Empty):
        b.get(timeout=0)


def test_cancelled_get_leaves_no_ghost(cluster):
    a, b, _ = cluster.attach("q", ReplQueue)
    future = a.get.submit()
    assert future.cancel()
    with pytest.raises(Cancelled):
        future.result(0)
    b.put("x")
    assert b.get_nowait() == "x"


@pytest.mark.parametrize("cls", [ReplQueue, ReplPriorityQueue])
def test_get_that_was_served_while_it_was_cancelled_gives_the_item_back(cluster, cls):
    a, b, _ = cluster.attach("q", cls)
    steps = cls.get.function(a)
    parked, _ = next(steps)
    b.put(1)
    b.put(2)
    assert parked.done()
    with pytest.raises(Cancelled):
        steps.throw(Cancelled("by the test"))
    assert [a.get(), b.get()] == [1, 2]
    assert a.unfinished_tasks == 2


def test_item_that_served_a_dead_member_never_comes_again_and_later_ones_do_not_follow_it(cluster):
    """At most once: whether it was consumed is unknown, so nobody else may have it."""
    dead, b, c = cluster.attach("q", ReplQueue)
    dead.get.submit()
    second = dead._take.submit(dead._port.ticket())
    b.put("taken along")
    cluster.expire(0)
    assert second.done(), "the session is over, and with it the wait that was not served"
    assert b.empty()
    b.put("later")
    assert c.get_nowait() == "later"
    with pytest.raises(queue.Empty):
        c.get_nowait()
    assert c.unfinished_tasks == 2


def test_item_given_back_goes_to_who_waits(cluster):
    a, b, c = cluster.attach("q", ReplQueue)
    first, second = a._take.submit(a._port.ticket()), c.get.submit()
    b.put("x")
    assert first.result(0) == ["x"]
    a._put_back("x")
    assert second.result(0) == "x"


def test_item_given_back_is_not_lost_where_it_cannot_be_compared(cluster):
    """The other one came in while the queue was empty, so nothing had compared them before."""
    a, b, _ = cluster.attach("q", ReplPriorityQueue)
    a.put((1, {"job": 1}))
    taken = b.get.submit()
    a.put((1, {"job": 2}))
    a.put((2, {"job": 3}))
    a.put((0, {"job": 4}))
    taken.abandon()
    assert [a.get()[1]["job"] for _ in range(4)] == [4, 1, 2, 3]
    assert a.unfinished_tasks == 4


def test_item_given_back_after_an_immediate_shutdown_counts_as_done(cluster):
    a, b, _ = cluster.attach("q", ReplQueue)
    a.put("x")
    assert b.get() == "x"
    a.shutdown(immediate=True)
    b._put_back("x")
    assert a.qsize() == 0
    a.join()


def test_item_given_back_after_a_patient_shutdown_can_be_taken(cluster):
    a, b, _ = cluster.attach("q", ReplQueue)
    a.put("x")
    assert b.get() == "x"
    a.shutdown()
    b._put_back("x")
    assert a.get() == "x"
    with pytest.raises(ShutDown):
        a.get()


def test_expired_session_gives_up_its_place_and_waits_anew(cluster):
    a, b, c = cluster.attach("q", ReplQueue)
    mine, other = a.get.submit(), b.get.submit()
    cluster.expire(0)
    c.put(1)
    assert results([mine, other]) == ["waits", 1]
    c.put(2)
    assert mine.result(0) == 2


def test_wait_begun_anew_keeps_its_deadline(cluster):
    a, _, _ = cluster.attach("q", ReplQueue)
    future = a.get.submit(timeout=10)
    cluster.advance(6)
    cluster.expire(0)
    cluster.advance(3.9)
    assert not future.done()
    cluster.advance(0.2)
    assert isinstance(future.exception(0), queue.Empty)


def test_join_waits_for_all_tasks(cluster):
    a, b, _ = cluster.attach("q", ReplQueue)
    a.join()
    a.put(1)
    a.put(2)
    joined = b.join.submit()
    a.get()
    a.task_done()
    assert not joined.done()
    a.get()
    a.task_done()
    assert joined.done()
    with pytest.raises(ValueError, match="too many"):
        a.task_done()


def test_shutdown_wakes_all_that_wait(cluster):
    a, b, c = cluster.attach("q", lambda: ReplQueue(1))
    got = b.get.submit()
    a.shutdown()
    with pytest.raises(ShutDown):
        got.result(0)
    a, b, c = cluster.attach("p", lambda: ReplQueue(1))
    a.put(1)
    put, joined = b.put.submit(2), c.join.submit()
    a.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        put.result(0)
    assert joined.done()
    assert a.is_shutdown
    for call in (lambda: a.put(3), a.get, lambda: b.put_nowait(3), b.get_nowait):
        with pytest.raises(ShutDown):
            call()


def test_unorderable_item_raises_in_its_own_put_and_changes_nothing(cluster):
    a, b, _ = cluster.attach("q", ReplPriorityQueue)
    a.put(1)
    with pytest.raises(TypeError):
        b.put("one")
    assert (a.qsize(), a.unfinished_tasks, a.get()) == (1, 1, 1)


def test_unorderable_item_that_had_to_wait_raises_in_its_own_put(cluster):
    a, b, c = cluster.attach("q", lambda: ReplPriorityQueue(2))
    a.put(1)
    a.put(2)
    wrong, right = b.put.submit("one"), c.put.submit(0)
    assert a.get() == 1
    with pytest.raises(TypeError):
        wrong.result(0)
    assert right.result(0) is None
    assert [a.get(), a.get()] == [0, 2]


# Equal in order, but to be told apart by their types.
ALIKE = st.sampled_from([0, 0.0, False, 1, 1.0, True, 2, 2.0])


@settings(max_examples=100, deadline=None)
@given(st.lists(ALIKE))
def test_equal_priorities_are_first_in_first_out(items):
    a, b = LocalCluster(2).attach("q", ReplPriorityQueue)
    for item in items:
        a.put(item)
    got = [b.get() for _ in items]
    assert [(x, type(x)) for x in got] == [(x, type(x)) for x in sorted(items)]


def test_items_are_copies(cluster):
    a, b, _ = cluster.attach("q", ReplQueue)
    item = [1]
    a.put(item)
    item.append(2)
    taken = b.get()
    taken.append(3)
    assert taken == [1, 3]


class Desk(Replicated):
    """An object whose commands use a queue of the same node."""

    LOCAL = frozenset({"jobs"})

    def __init__(self, jobs):
        self.jobs = jobs

    @replicated
    def hand_in(self, job):
        self.jobs.put_nowait(job)
        return self.jobs.qsize()

    @replicated
    def wait_for(self):
        return self.jobs.get()


def test_inside_a_command_only_what_does_not_wait_can_be_used(cluster):
    jobs = cluster.attach("jobs", ReplQueue)
    made = iter(jobs)
    desks = cluster.attach("desk", lambda: Desk(next(made)))
    assert desks[1].hand_in("x") == 1
    assert jobs[2].get() == "x"
    with pytest.raises(RuntimeError, match="cannot wait"):
        desks[0].wait_for()


def test_state_with_waiters_survives_a_snapshot(cluster):
    a, b, c = cluster.attach("q", lambda: ReplQueue(1))
    b.put(1)
    waiting = [b.put.submit(2), a.put.submit(3)]
    for member in range(3):
        cluster.reload(member)
    assert [c.get(), c.get(), c.get()] == [1, 2, 3]
    assert results(waiting) == [None, None]


def test_options_make_an_equal_queue():
    for cls in (ReplQueue, ReplPriorityQueue):
        assert cls(**cls(5).options()).maxsize == 5
    assert repr(ReplQueue(2)) == "<ReplQueue maxsize=2 qsize=0>"


def ended_well(future):
    return not future.cancelled() and future.exception(0) is None


ACTIONS = ["put", "put_now", "get", "get_briefly", "cancel", "expire", "time", "load"]
STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(ACTIONS), st.integers(0, 9)))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from([ReplQueue, ReplPriorityQueue]), st.integers(0, 2), STEPS)
def test_every_item_that_was_put_is_got_exactly_once_or_is_left(cls, maxsize, steps):
    cluster = LocalCluster(3)
    queues = cluster.attach("q", lambda: cls(maxsize))
    puts, gets = [], []
    for member, action, number in steps:
        q = queues[member]
        waiting = [f for f in puts + gets if not f.done()]
        if action in ("put", "put_now"):
            puts.append(q.put.submit(len(puts), block=action == "put"))
        elif action in ("get", "get_briefly"):
            gets.append(q.get.submit(timeout=None if action == "get" else 3))
        elif action == "cancel" and waiting:
            waiting[number % len(waiting)].cancel()
        elif action == "expire" and cluster.members[member].session:
            cluster.expire(member)
        elif action == "time":
            cluster.advance(1)
        elif action == "load":
            cluster.reload(member)
        for target in queues:
            target._check()
    cluster.digest_equal()
    for future in puts + gets:
        future.cancel()
    done = [item for item, f in enumerate(puts) if ended_well(f)]
    got = [f.result(0) for f in gets if ended_well(f)]
    left = [queues[0].get_nowait() for _ in range(queues[0].qsize())]
    assert sorted(got + left) == done
    assert all(target.empty() and not target._getters and not target._putters for target in queues)


def test_waiting_beyond_the_blocker_is_a_deadlock_and_not_a_result(cluster):
    a, _, _ = cluster.attach("q", ReplQueue)
    with pytest.raises(Timeout):
        a.get.submit().result(1)
