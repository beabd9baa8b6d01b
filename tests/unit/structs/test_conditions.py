"""Conditions: who sleeps, who is woken, and that no wake-up is lost with whom it was for."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import ReplCondition
from syncstructs.errors import LockLost, NotOwner, ResultLost, Withdrawn
from syncstructs.futures import Future


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


@pytest.fixture
def handles(cluster):
    return cluster.attach("condition", ReplCondition)


def asleep(condition, timeout=None):
    """Acquire and go to sleep; return the future of the wait."""
    condition.acquire()
    wait = condition.wait.submit(timeout)
    assert not wait.done()
    return wait


def notify(condition, n=1):
    with condition:
        condition.notify(n)


def test_a_sleeper_has_released_the_lock_and_holds_it_again_when_notified(cluster, handles):
    a, b, _ = handles
    a.acquire()
    first, entries = a.token, len(cluster.entries)
    wait = a.wait.submit()
    assert len(cluster.entries) == entries + 1
    assert (a.held, a.token, a.locked()) == (False, None, False)
    assert b.acquire(blocking=False)
    b.notify()
    assert not wait.done(), "who notifies has the lock yet"
    b.release()
    assert wait.result(0) is True
    assert a.held
    assert a.token > first
    a.release()
    assert not a.locked()
    with pytest.raises(NotOwner):
        a.release()


def test_sleepers_are_woken_in_the_order_in_which_they_came(handles):
    a, b, c = handles
    waits = [asleep(b), asleep(c)]
    notify(a)
    assert [wait.done() for wait in waits] == [True, False]
    b.release()
    assert [wait.done() for wait in waits] == [True, False], "a release wakes nobody"
    waits.append(asleep(b))
    a.acquire()
    a.notify(0)
    a.notify_all()
    a.release()
    assert [wait.done() for wait in waits] == [True, True, False]
    c.release()
    assert waits[2].result(0)


def test_who_is_notified_waits_behind_those_who_wait_for_the_lock(handles):
    a, b, c = handles
    wait = asleep(a)
    b.acquire()
    before = c.acquire.submit()
    b.notify()
    behind = b.acquire.submit()
    b.release()
    assert before.result(0)
    c.release()
    assert wait.result(0)
    assert not behind.done()
    a.release()
    assert behind.result(0)


def test_a_wait_whose_time_is_over_returns_with_the_lock_however_long_that_takes(
    cluster, handles
):
    a, b, _ = handles
    a.acquire()
    assert a.wait(timeout=2) is False
    assert a.held
    wait = a.wait.submit(timeout=2)
    b.acquire()
    cluster.advance(50)
    assert not wait.done()
    b.notify()
    b.release()
    assert wait.result(0) is False, "its time was over before"
    assert a.held
    assert a.wait(0) is False


def test_a_wake_up_is_not_lost_with_who_was_notified_and_left(cluster, handles):
    a, b, c = handles
    gone, next_ = asleep(b), asleep(c)
    a.acquire()
    a.notify()
    assert gone.cancel()
    a.release()
    assert next_.result(0)


def test_a_wake_up_is_not_lost_with_a_session(cluster, handles):
    a, b, c = handles
    gone, next_ = asleep(b), asleep(c)
    a.acquire()
    a.notify()
    cluster.expire(1)
    a.release()
    assert next_.result(0)
    assert not gone.done(), "it waits for the lock anew, in another session"
    c.release()
    assert gone.result(0)
    assert b.held


def test_a_wake_up_is_not_lost_with_a_session_that_has_the_lock_already(cluster, handles):
    # Who was notified may have died long before it was granted the lock.
    a, b, c = handles
    waits = asleep(b), asleep(c)
    notify(a)
    assert waits[0].done()
    cluster.expire(1)
    assert waits[1].result(0)
    assert c.held


def test_a_wake_up_is_not_lost_with_a_holder_that_is_not_sure_of_the_lock(cluster, handles):
    # Its node was cut off, but its session lives: what it was notified of may not be done.
    a, b, c = handles
    waits = asleep(b), asleep(c)
    notify(a)
    assert waits[0].done()
    cluster.members[1].certain = False
    b.on_session_lost()
    assert waits[1].result(0)
    with pytest.raises(LockLost):
        b.release()


def test_a_wake_up_is_not_lost_with_who_never_learns_that_it_has_the_lock(cluster, handles):
    a, b, c = handles
    waits = asleep(b), asleep(c)
    cluster.members[1].certain = False
    notify(a)
    assert not waits[0].done(), "it waits for the lock anew"
    assert waits[1].done()
    cluster.members[1].certain = True
    c.release()
    assert waits[0].result(0)


def test_a_wake_up_is_over_with_the_release_of_who_was_notified(cluster, handles):
    a, b, c = handles
    waits = asleep(b), asleep(c)
    notify(a)
    b.release()
    b.acquire()
    cluster.expire(1)
    assert not waits[1].done()
    assert not a.locked()


def test_who_slept_as_its_session_ended_is_woken_as_it_may_have_missed_something(
    cluster, handles
):
    a, b, _ = handles
    wait = asleep(a)
    cluster.expire(0)
    assert wait.result(0) is True
    assert a.held
    a.release()
    assert b.acquire(blocking=False)


def test_cancelling_ends_the_sleep_without_the_lock(handles):
    a, b, _ = handles
    assert asleep(a).cancel()
    assert not a.held
    with pytest.raises(LockLost):
        a.release()
    with pytest.raises(NotOwner):
        a.release()
    notify(b)
    assert not a.locked()


def test_a_block_that_a_cancelled_sleep_ends_passes_that_on(handles):
    a, b, _ = handles

    async def give_up():
        async with a:
            await asyncio.wait_for(a.wait.submit(), 0.001)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert not b.locked()


def test_only_who_holds_the_lock_waits_or_notifies_or_releases(cluster, handles):
    a, b, _ = handles
    a.acquire()
    entries = len(cluster.entries)
    with ThreadPoolExecutor() as pool:
        for call in (a.wait, a.notify, a.notify_all, a.release):
            with pytest.raises(RuntimeError):
                pool.submit(call).result()
    for call in (b.wait, b.notify, b.notify_all, b.release):
        with pytest.raises(NotOwner):
            call()
    assert len(cluster.entries) == entries
    assert a.held
    (outcome,) = cluster.batch(0, [(a, "_sleep", (None, 99, a.token))])
    assert isinstance(outcome.error, RuntimeError), "a batch cannot wait"
    assert not b.acquire(blocking=False)


@pytest.mark.parametrize("timeout", ["5", float("inf"), 10**400])
def test_a_time_out_that_is_none_is_refused_before_the_lock_is_released(
    cluster, handles, timeout
):
    a, *_ = handles
    a.acquire()
    entries = len(cluster.entries)
    with pytest.raises((TypeError, OverflowError)):
        a.wait(timeout)
    with pytest.raises((TypeError, OverflowError)):
        a.wait_for(lambda: False, timeout)
    assert a.held
    assert len(cluster.entries) == entries


def test_more_may_be_notified_than_sleep(handles):
    a, b, c = handles
    waits = [asleep(b), asleep(c)]
    notify(a, -1)
    assert not waits[0].done()
    notify(a, 2**70)
    b.release()
    assert waits[1].result(0)


def test_who_has_lost_the_lock_is_told_by_each_call_and_by_the_end_of_the_block(cluster, handles):
    lost = []
    a, *_ = handles
    a.on_lost = lambda: lost.append(a)
    told = []
    with pytest.raises(LockLost), a:
        told = lose_inside(cluster, a)
    assert told == [LockLost] * 4
    assert lost == [a]


def lose_inside(cluster, condition):
    """Let the lock be lost, and return what each call raises then."""
    cluster.expire(0)
    told = []
    for call in (condition.wait, condition.notify, condition.notify_all, condition.ensure_held):
        try:
            call()
        except RuntimeError as error:
            told.append(type(error))
    return told


@pytest.mark.parametrize("method", ["wait", "notify"])
def test_the_log_knows_who_has_lost_the_lock_before_its_node_does(handles, method):
    a, b, _ = handles
    a.acquire()
    a._release(None, a.token)
    b.acquire()
    with pytest.raises(LockLost, match="under token"):
        getattr(a, method)()
    assert b.held
    with pytest.raises(LockLost):
        a.release()


def test_wait_for_waits_until_it_is_true_and_gives_what_it_was_given(cluster, handles):
    a, b, _ = handles
    seen = []

    def tell(value):
        seen.append(value)
        notify(b)

    cluster.after(1, lambda: notify(b))
    cluster.after(2, lambda: tell("first"))
    with a:
        assert a.wait_for(lambda: list(seen)) == ["first"]
        assert a.wait_for(lambda: len(seen) > 1, timeout=3) is False
        assert cluster.now >= 6
        assert a.wait_for(lambda: 7, timeout=0) == 7
        assert a.held
    assert not b.locked()


def test_blocks_in_asyncio_hold_it_again_after_a_wait(cluster, handles):
    a, b, _ = handles
    seen = []

    async def consume():
        async with a:
            token = a.token
            assert await a.wait_for_async(lambda: seen, timeout=5) == [1]
            assert a.token > token

    async def produce():
        async with b:
            seen.append(1)
            await b.notify_all.submit()

    async def both():
        await asyncio.gather(consume(), produce())

    asyncio.run(both())
    assert not a.locked()


def test_a_lost_answer_counts_as_a_wake_up_and_wakes_another(cluster, handles):
    a, b, c = handles
    b.acquire()
    steps = ReplCondition.wait.function(b)
    parked = next(steps)[0]
    next_ = asleep(c)
    notify(a)
    assert parked.done()
    # Instead of what it was told: the lock, under a token that it will never know.
    future = steps.send(True)
    assert future is parked
    again = steps.throw(ResultLost("by the test"))
    assert next_.result(0), "the wake-up passes on, as nobody knows of the first"
    c.release()
    assert again[0].done()
    assert steps.send(True) is again[0]
    with pytest.raises(StopIteration) as ended:
        steps.send(again[0].result(0))
    assert ended.value.value is True
    assert b.held


def test_what_was_never_sent_leaves_the_lock_as_it_was(cluster, handles, monkeypatch):
    a, b, _ = handles

    def refuse(*call):
        future = Future(cluster)
        future.finish(None, Withdrawn("by the test"))
        return future

    with a:
        token = a.token
        monkeypatch.setattr(cluster.members[0], "submit", refuse)
        with pytest.raises(Withdrawn):
            a.wait()
        monkeypatch.undo()
        assert (a.token, a.held) == (token, True)
    assert not b.locked()


def test_what_was_not_sent_in_time_ends_with_the_lock_as_it_was(cluster, handles, monkeypatch):
    a, *_ = handles
    a.acquire()
    token, unsent = a.token, []

    def queue(*call):
        unsent.append(Future(cluster, lambda: True))
        return unsent[-1]

    with monkeypatch.context() as patch:
        patch.setattr(cluster.members[0], "submit", queue)
        wait = a.wait.submit(2)
        cluster.advance(2.5)
        assert not wait.done()
        cluster.advance(1)
    assert unsent[0].cancelled()
    assert wait.result(0) is False
    assert (a.token, a.held) == (token, True)
    a.release()
    with pytest.raises(NotOwner):
        a.release()


def test_what_was_taken_back_unsent_is_released(cluster, handles, monkeypatch):
    a, b, _ = handles
    a.acquire()
    unsent = Future(cluster, lambda: True)
    with monkeypatch.context() as patch:
        patch.setattr(cluster.members[0], "submit", lambda *call: unsent)
        wait = a.wait.submit()
    assert wait.cancel()
    assert unsent.cancelled()
    assert not b.locked()


def test_objects_say_what_they_are(handles):
    a, _, _ = handles
    assert "unlocked ReplCondition object 'condition' with 0 asleep" in repr(a)
    asleep(a)
    assert "with 1 asleep" in repr(a)


ACTIONS = [
    "acquire", "release", "wait", "briefly", "notify", "all", "cancel", "expire", "time", "load",
]  # fmt: skip
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=40
)


@settings(max_examples=40, deadline=None)
@given(STEPS)
def test_no_wake_up_is_lost_and_no_lock_forgotten(steps):
    cluster = LocalCluster(3)
    conditions = cluster.attach("condition", ReplCondition)
    pending, woken = [], 0
    for member, action, number in steps:
        condition = conditions[member]
        if action == "acquire":
            pending.append(condition.acquire.submit())
        elif action == "release" and condition.token:
            condition.release()
        elif action in ("wait", "briefly") and condition.token:
            pending.append(condition.wait.submit(2 if action == "briefly" else None))
        elif action in ("notify", "all") and condition.token:
            before = len(condition._sleepers)
            if action == "all":
                condition.notify_all()
            else:
                condition.notify(number)
            assert len(condition._sleepers) == (0 if action == "all" else max(0, before - number))
        elif action == "cancel" and (waiting := [f for f in pending if not f.done()]):
            waiting[number % len(waiting)].cancel()
        elif action == "expire" and cluster.members[member].session:
            cluster.expire(member)
        elif action == "time":
            cluster.advance(1)
        elif action == "load":
            cluster.reload(member)
        for target in conditions:
            target._check()
        # Nobody holds it in the dark, and nobody waits for it while it is free.
        held = [grant.token for target in conditions for grant in target._grants.values()]
        assert held == [holder[2] for holder in conditions[0]._holders.values()]
        woken = max(woken, len(conditions[0]._notified))
    cluster.digest_equal()
    for future in pending:
        future.cancel()
    for target in conditions:
        while target.token:
            target.release()
    assert conditions[0].snapshot_state() == {
        "_holders": {}, "_notified": {}, "_sleepers": [], "_waiters": [],
    }  # fmt: skip
