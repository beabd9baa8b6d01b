"""Semaphores: who holds permits, who gets them next, and what their holders hear of their loss."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import ReplRWLock, ReplSemaphore
from syncstructs.errors import LockLost, NotOwner, ObjectMismatch


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def two():
    return ReplSemaphore(2)


def test_no_more_permits_are_held_than_there_are(cluster):
    a, b, c = cluster.attach("gate", two)
    assert a.acquire()
    assert b.acquire(timeout=1)
    assert not c.acquire(blocking=False)
    assert not a.acquire(timeout=1)
    assert (a.held, b.held, c.held) == (True, True, False)
    assert c.locked()
    assert (c.value, c.available) == (2, 0)
    a.release()
    assert not c.locked()
    with pytest.raises(NotOwner):
        c.release()
    with pytest.raises(ValueError, match="not held"):
        a.release()
    assert c.acquire(timeout=-3), "there is one, and no need to wait"


def test_nobody_overtakes_who_waits(cluster):
    a, b, c = cluster.attach("gate", two)
    a.acquire()
    a.acquire()
    waiting = [b.acquire.submit(), c.acquire.submit(), a.acquire.submit()]
    a.release(2)
    assert [future.done() for future in waiting] == [True, True, False]
    b.release()
    assert waiting[2].done()
    assert not b.acquire(False)


def test_each_permit_has_a_token_and_tokens_grow(cluster):
    a, b, _ = cluster.attach("gate", lambda: ReplSemaphore(3))
    a.acquire()
    tokens = [a.token]
    for _ in range(2):
        a.acquire()
        tokens.append(a.token)
    waiting = [b.acquire.submit() for _ in range(3)]
    a.release(3)
    assert all(future.done() for future in waiting)
    tokens += [grant.token for grant in b._grants.values()]
    assert tokens == sorted(set(tokens))
    assert a.token is None


def test_release_of_several_is_all_or_nothing(cluster):
    a, _, c = cluster.attach("gate", lambda: ReplSemaphore(3))
    a.acquire()
    a.acquire()
    newest = a.token
    with pytest.raises(NotOwner):
        a.release(3)
    assert a.token == newest, "the newest is still the next to be given back"
    assert c.available == 1
    with pytest.raises(ValueError, match="one or more"):
        a.release(0)
    a.release(2)
    assert c.available == 3


def test_permits_pass_on_when_their_session_expires(cluster):
    lost = []
    a, b, c = cluster.attach("gate", lambda: ReplSemaphore(2, on_lost=lambda: lost.append(1)))
    a.acquire()
    a.acquire()
    waiting = [b.acquire.submit(), c.acquire.submit()]
    cluster.expire(0)
    assert [future.done() for future in waiting] == [True, True]
    assert lost == [1, 1]
    assert (a.held, a.token) == (False, None)
    for error in (LockLost, LockLost, NotOwner):
        with pytest.raises(error):
            a.release()


def test_expiry_alone_frees_what_a_killed_process_held_and_waited_for(cluster):
    a, b, c = cluster.attach("gate", two)
    a.acquire()
    b.acquire()
    first = a.acquire.submit()
    second = c.acquire.submit()
    a._grants.clear()  # A killed process hears of no loss, and releases nothing.
    cluster.expire(0)
    assert second.result(0)
    assert not first.done(), "it should wait again, at the end of the line"
    first.cancel()


def test_request_that_is_given_up_leaves_no_ghost(cluster):
    a, b, c = cluster.attach("gate", two)
    a.acquire()
    a.acquire()
    assert not b.acquire(timeout=2)
    waiting = b.acquire.submit()
    assert waiting.cancel()
    a.release(2)
    assert c.available == 2


def test_each_thread_releases_its_own_permit(cluster):
    a, _, _ = cluster.attach("gate", two)
    with ThreadPoolExecutor(1) as other:
        a.acquire()
        mine = a.token
        other.submit(a.acquire).result()
        assert a.token == mine
        assert other.submit(lambda: a.token).result() > mine
        a.release()
        assert other.submit(lambda: a.held).result()
        a.release()
    assert not a.held, "who has none gives back those of others, as with threading"


@pytest.mark.parametrize("side", ["permit", "reader"])
def test_acquire_that_is_undone_elsewhere_takes_nobody_elses(cluster, side):
    gate = cluster.attach("gate", two if side == "permit" else ReplRWLock)[0]
    handle = gate if side == "permit" else gate.reader
    with ThreadPoolExecutor(1) as other:
        future = other.submit(handle.acquire.submit).result()
        assert handle.acquire()
        mine = handle.token
        future.abandon()  # as an await that is cancelled in another task
        assert (handle.held, handle.token, list(gate._holders)) == (True, mine, [mine])
        assert not gate._lost


def test_wait_for_that_is_cancelled_as_it_is_served_takes_nobody_elses(cluster):
    a, b, _ = cluster.attach("gate", two)
    b.acquire()
    b.acquire()

    futures = []

    async def acquire():
        futures.append(a.acquire.submit())
        await asyncio.wait_for(futures[0], 10)

    async def main():
        waiting = asyncio.create_task(acquire())
        while not futures or not futures[0]._callbacks:
            await asyncio.sleep(0)
        waiting.cancel()
        b.release()
        b.release()
        # CPython 3.11 awaits in a task of its own, which hears of the cancel only now.
        assert await a.acquire.submit()
        mine = a.token
        await asyncio.gather(waiting, return_exceptions=True)
        assert (a.held, a.token, list(b._holders)) == (True, mine, [mine])

    asyncio.run(main())


def test_who_has_lost_a_permit_does_not_give_back_another_threads(cluster):
    a, _, _ = cluster.attach("gate", two)
    a.acquire()
    cluster.expire(0)
    with ThreadPoolExecutor(1) as other:
        other.submit(a.acquire).result()
        assert not a.held
        with pytest.raises(LockLost):
            a.release()
        assert other.submit(lambda: a.held).result()


def test_blocks_nest_and_end_with_their_own_permits(cluster):
    a, b, _ = cluster.attach("gate", two)
    with a:
        outer = a.token
        with a:
            assert a.token > outer
            assert b.locked()
        assert a.token == outer
    assert a.available == 2
    with pytest.raises(LockLost), a:
        cluster.expire(0)

    async def use():
        async with a, a:
            return a.available

    assert asyncio.run(use()) == 0
    assert b.available == 2


def test_members_that_disagree_are_told(cluster):
    cluster.attach("gate", two)
    cluster.drop(0, "gate")
    cluster.attach_on(0, "gate", ReplSemaphore(2))
    with pytest.raises(ObjectMismatch, match="value"):
        cluster.attach_on(1, "gate", ReplSemaphore(3))


def test_arguments_follow_threading(cluster):
    a, _, _ = cluster.attach("gate", ReplSemaphore)
    with pytest.raises(ValueError, match="non-blocking"):
        a.acquire(False, 1)
    with pytest.raises(ValueError, match="never"):
        ReplSemaphore(0)
    assert "value=1/1" in repr(a)


ACTIONS = ["acquire", "try", "briefly", "release", "cancel", "expire", "time", "load"]
STEPS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(ACTIONS), st.integers(0, 9)), max_size=40
)


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_never_too_many_holders_and_never_a_forgotten_permit(steps):
    cluster = LocalCluster(3)
    gates = cluster.attach("gate", two)
    waiting, newest = [], 0
    for member, action, number in steps:
        gate = gates[member]
        if action in ("acquire", "briefly"):
            waiting.append(gate.acquire.submit(timeout=2 if action == "briefly" else None))
        elif action == "try":
            waiting.append(gate.acquire.submit(False))
        elif action == "release" and gate.token:
            gate.release()
        elif action == "cancel" and (pending := [f for f in waiting if not f.done()]):
            pending[number % len(pending)].cancel()
        elif action == "expire" and cluster.members[member].session:
            cluster.expire(member)
        elif action == "time":
            cluster.advance(1)
        elif action == "load":
            cluster.reload(member)
        for target in gates:
            target._check()
        # Nobody uses a permit in the dark: who holds it in the log also holds a handle on it.
        held = sorted(token for target in gates for token in target._grants)
        assert held == list(gates[0]._holders)
        assert len(held) <= 2
        assert not held or held[-1] >= newest or gates[0].available
        newest = max([newest, *held])
    cluster.digest_equal()
    for future in waiting:
        future.cancel()
    for target in gates:
        while target.token:
            target.release()
    assert gates[0].snapshot_state() == {"_holders": {}, "_waiters": [], "_value": 2}
