"""Locks: who holds them, who gets them next, and what a holder hears of their loss."""

import asyncio
import gc
import logging
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs.errors import Cancelled, LockLost, NotOwner, ResultLost
from syncstructs.structs.locks import ReplLock, ReplLockManager


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def test_lock_is_held_by_one_handle(cluster):
    a, b, c = cluster.attach("lock", ReplLock)
    assert a.acquire()
    assert [lock.held for lock in (a, b, c)] == [True, False, False]
    assert a.locked()
    assert b.locked()
    assert a.token is not None
    assert b.token is None
    assert not b.acquire(blocking=False)
    assert not c.acquire(timeout=1)
    for other in (b, c):
        with pytest.raises(NotOwner):
            other.release()
    a.release()
    assert not c.locked()
    with pytest.raises(RuntimeError):
        a.release()


def test_lock_is_not_reentrant_and_not_shared_within_a_process(cluster):
    a, _, _ = cluster.attach("lock", ReplLock)
    assert a.acquire()
    assert not a.acquire(blocking=False)
    second = a.acquire.submit()
    assert not second.done()
    a.release()
    assert second.result(0)
    assert a.held


def test_waiters_are_served_in_order(cluster):
    a, b, c = cluster.attach("lock", ReplLock)
    a.acquire()
    waiting = [c.acquire.submit(), b.acquire.submit(), a.acquire.submit()]
    for lock, granted in ((a, 1), (c, 2), (b, 3)):
        lock.release()
        assert [f.done() for f in waiting] == [i < granted for i in range(3)]
    assert a.held


def test_tokens_grow_for_ever(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    tokens = []
    for lock in (a, b, a, b):
        with lock:
            tokens.append(lock.token)
    assert tokens == sorted(set(tokens))
    assert a.token is None


def test_lock_is_granted_to_the_next_when_its_holder_expires(cluster):
    a, b, c = cluster.attach("lock", ReplLock)
    a.acquire()
    old = a.token
    waiting = b.acquire.submit()
    cluster.expire(0)
    assert waiting.result(0)
    assert b.token > old
    assert not a.held
    assert a.token is None
    with pytest.raises(LockLost):
        a.release()
    with pytest.raises(NotOwner):
        a.release()
    assert b.held
    assert not c.acquire(False)


def test_expiry_alone_frees_what_a_killed_process_held(cluster):
    a, b, c = cluster.attach("lock", ReplLock)
    a.acquire()
    a._grants.clear()  # A killed process hears of no loss, and releases nothing.
    waiting = b.acquire.submit()
    cluster.expire(0)
    assert waiting.result(0)
    b._grants.clear()
    cluster.expire(1)
    assert not c.locked()


def test_waiter_that_expires_is_not_granted_anything(cluster):
    a, b, c = cluster.attach("lock", ReplLock)
    a.acquire()
    first, second = b.acquire.submit(), c.acquire.submit()
    cluster.expire(1)
    assert not first.done(), "it should wait again, at the end of the line"
    a.release()
    assert second.done()
    c.release()
    assert first.done()
    assert b.held


def test_request_that_timed_out_leaves_no_lock_behind(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    a.acquire()
    assert not b.acquire(timeout=2)
    a.release()
    assert not a.locked()


def drive(steps, step):
    while True:
        step = steps.send(step.result(0))


@pytest.mark.parametrize("cancelled", [True, False])
def test_request_granted_while_it_gives_up_is_released_again(cluster, cancelled):
    a, b, _ = cluster.attach("lock", ReplLock)
    a.acquire()
    steps = ReplLock.acquire.function(b, timeout=1)
    parked, _ = next(steps)
    a.release()
    assert parked.done()
    if cancelled:
        with pytest.raises(Cancelled):
            steps.throw(Cancelled("by the test"))
    else:
        withdrawal, _ = steps.send(False)
        assert withdrawal.done()
        # It was granted and is free again: what the future says must not be believed.
        assert steps.send(True).done()
        with pytest.raises(StopIteration, match="False"):
            steps.send(None)
    assert not a.locked()
    assert b.token is None


def test_grant_whose_result_was_lost_is_freed_and_asked_for_again(cluster):
    _, b, _ = cluster.attach("lock", ReplLock)
    steps = ReplLock.acquire.function(b)
    next(steps)
    assert b.locked()
    withdrawal, _ = steps.throw(ResultLost("by the test"))
    assert withdrawal.done()
    assert not b.locked()
    parked, _ = steps.send(True)
    assert parked.done()
    steps.send(True)
    with pytest.raises(StopIteration, match="True"):
        drive(steps, parked)
    assert b.held


def test_cancelled_request_leaves_no_ghost(cluster):
    a, b, c = cluster.attach("lock", ReplLock)
    a.acquire()
    waiting = b.acquire.submit()
    assert waiting.cancel()
    last = c.acquire.submit()
    a.release()
    assert last.result(0)


def test_loss_is_told_once_per_grant(cluster, caplog):
    lost = []
    a, b, _ = cluster.attach("lock", lambda: ReplLock(on_lost=lambda: lost.append("lost")))
    a.acquire()
    a.on_session_lost()
    a.on_session_lost()
    assert lost == ["lost"]
    assert not a.held
    with pytest.raises(LockLost):
        a.ensure_held()
    assert not b.locked(), "the session lives after all, so the lock is released behind the scenes"
    a.on_lost = lambda: 1 / 0
    a.acquire()
    with caplog.at_level(logging.ERROR):
        a.on_session_lost()
    assert "on_lost" in caplog.text


def test_held_is_false_as_soon_as_the_node_is_not_sure(cluster):
    a, _, _ = cluster.attach("lock", ReplLock)
    a.acquire()
    a.ensure_held()
    cluster.members[0].certain = False
    assert not a.held
    with pytest.raises(LockLost):
        a.ensure_held()


def test_lock_granted_to_a_node_that_is_not_sure_is_given_back(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    cluster.members[0].certain = False
    assert not a.acquire(blocking=False)
    assert not b.locked()
    assert a.token is None


def test_with_raises_lock_lost_only_if_nothing_else_is_raised(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    with pytest.raises(LockLost), a:
        cluster.expire(0)
    with pytest.raises(ZeroDivisionError), a:
        _ = cluster.expire(0) or 1 / 0
    with pytest.raises(ZeroDivisionError), a:
        _ = 1 / 0
    assert not b.locked()


def test_end_of_a_with_block_does_not_release_a_later_grant(cluster):
    a, _, _ = cluster.attach("lock", ReplLock)
    with pytest.raises(LockLost), a:
        assert [cluster.expire(0), a.acquire()] == [None, True]
    assert a.held


def elsewhere(function, *args):
    """Call in another thread."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(function, *args).result()


def test_who_has_lost_the_lock_does_not_touch_what_another_thread_was_granted_since(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    a.acquire()
    cluster.expire(0)
    elsewhere(a.acquire)
    assert (a.held, a.token) == (False, None)
    with pytest.raises(LockLost):
        a.ensure_held()
    with pytest.raises(LockLost):
        a.release()
    assert elsewhere(lambda: a.held)
    assert b.locked()
    a.release()
    assert not b.locked(), "whoever has lost nothing may release it, as with threading.Lock"


def test_each_thread_is_told_of_its_own_loss(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    with ThreadPoolExecutor(1) as threads:
        a.acquire()
        cluster.expire(0)
        threads.submit(a.acquire).result()
        cluster.expire(0)
        b.acquire()
        b.release()
        elsewhere(a.acquire)
        for release in (a.release, lambda: threads.submit(a.release).result()):
            with pytest.raises(LockLost):
                release()
    assert a.held


def test_loss_of_what_a_thread_held_that_has_ended_is_told_to_who_asks(cluster):
    lost = []
    a, _, _ = cluster.attach("lock", lambda: ReplLock(on_lost=lambda: lost.append(1)))
    thread = Thread(target=a.acquire)
    thread.start()
    thread.join()
    del thread
    gc.collect()
    assert a.held
    cluster.expire(0)
    assert lost == [1]
    with pytest.raises(LockLost):
        a.release()


def test_losses_that_nobody_reports_do_not_pile_up(cluster):
    a, _, _ = cluster.attach("lock", ReplLock)
    for _ in range(3):
        a.acquire()
        cluster.expire(0)
    assert len(a._lost[None]) == 1
    with pytest.raises(LockLost):
        a.release()
    a.acquire()
    cluster.expire(0)
    assert len(a._lost) == 1


def test_with_block_that_was_released_inside_says_so(cluster):
    a, _, _ = cluster.attach("lock", ReplLock)
    with pytest.raises(NotOwner), a:
        a.release()


def test_async_with(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    entered = []

    async def use(lock, name):
        async with lock:
            entered.append(name)
            assert lock.held
            await asyncio.sleep(0)
            entered.append(name)

    async def both():
        await asyncio.gather(use(a, "a"), use(b, "b"))
        with pytest.raises(LockLost):
            async with a:
                cluster.expire(0)

    asyncio.run(both())
    assert entered == ["a", "a", "b", "b"]
    assert not a.locked()


def test_async_wait_that_is_cancelled_leaves_no_ghost(cluster):
    a, b, c = cluster.attach("lock", ReplLock)
    a.acquire()

    async def give_up():
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(b.acquire.submit(), 0.001)

    asyncio.run(give_up())
    a.release()
    assert c.acquire(False)


def test_arguments_follow_threading(cluster):
    a, _, _ = cluster.attach("lock", ReplLock)
    with pytest.raises(ValueError, match="non-blocking"):
        a.acquire(False, 1)
    with pytest.raises(ValueError, match="non-negative"):
        a.acquire(timeout=-2)
    with pytest.raises(OverflowError):
        a.acquire(timeout=1e100)
    assert ReplLock(**a.options()).locked() is False


def test_manager_keeps_keys_apart(cluster):
    a, b, _ = cluster.attach("locks", ReplLockManager)
    assert a.acquire("x")
    assert b.acquire(("y", 1))
    assert not b.try_acquire("x")
    assert (a.keys(), list(a.holders())) == (["x", ("y", 1)],) * 2
    assert b.holders()["x"].token == a.token("x")
    assert a.held("x")
    assert not a.held(("y", 1))
    assert a.locked(("y", 1))
    with pytest.raises(NotOwner, match="y"):
        a.release(("y", 1))
    with pytest.raises(TypeError):
        a.acquire([])
    with pytest.raises(TypeError):
        iter(a)
    a.release("x")
    b.release(("y", 1))
    assert a.snapshot_state() == {"_holders": {}, "_waiters": []}
    assert a._lines == {}


def test_key_of_a_manager_is_a_lock(cluster):
    a, b, _ = cluster.attach("locks", lambda: ReplLockManager(on_lost=None))
    with a["x"] as lock:
        assert lock.held
        assert lock.locked()
        lock.ensure_held()
        assert lock.token == a.token("x")
        assert not b["x"].acquire(timeout=1)
        assert b["y"].acquire()
        waiting = b["x"].acquire.submit()
    assert waiting.result(0)
    b["x"].release()
    assert not lock.locked()


def test_manager_tells_which_lock_was_lost(cluster):
    lost = []
    a, b, _ = cluster.attach("locks", lambda: ReplLockManager(lost.append))
    for key in ("x", "y"):
        a.acquire(key)
    b.acquire("z")
    cluster.expire(0)
    assert lost == ["x", "y"]
    assert b.held("z")
    with pytest.raises(LockLost, match="x"):
        a.release("x")


ACTIONS = ["acquire", "try", "briefly", "release", "cancel", "expire", "time", "load"]
STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(ACTIONS),
        st.sampled_from("xy"),
        st.integers(0, 9),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_never_two_holders_and_never_a_forgotten_lock(steps):
    cluster = LocalCluster(3)
    managers = cluster.attach("locks", ReplLockManager)
    waiting, last = [], {"x": 0, "y": 0}
    for member, action, key, number in steps:
        locks = managers[member]
        if action in ("acquire", "briefly"):
            waiting.append(locks.acquire.submit(key, timeout=2 if action == "briefly" else -1))
        elif action == "try":
            waiting.append(locks.try_acquire.submit(key))
        elif action == "release" and locks.token(key):
            locks.release(key)
        elif action == "cancel" and (pending := [f for f in waiting if not f.done()]):
            pending[number % len(pending)].cancel()
        elif action == "expire" and cluster.members[member].session:
            cluster.expire(member)
        elif action == "time":
            cluster.advance(1)
        elif action == "load":
            cluster.reload(member)
        for target in managers:
            target._check()
        for name in "xy":
            held = [target.token(name) for target in managers if target.held(name)]
            assert len(held) <= 1
            # Nobody uses a lock in the dark: who holds it in the log also holds a handle on it.
            assert managers[0].locked(name) == bool(held)
            if held:
                assert held[0] >= last[name]
                last[name] = held[0]
    cluster.digest_equal()
    for future in waiting:
        future.cancel()
    for target in managers:
        for name in "xy":
            if target.token(name):
                target.release(name)
    assert managers[0].snapshot_state() == {"_holders": {}, "_waiters": []}
