"""`ReplRLock`: who owns it, what reaches the log, and what an owner that has lost it is told."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import ReplRLock
from syncstructs.errors import LockLost, NotOwner


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def test_only_the_first_acquire_and_the_last_release_are_entries(cluster):
    a, b, _ = cluster.attach("lock", ReplRLock)
    a.acquire()
    token, entries = a.token, len(cluster.entries)
    with a:
        assert a.acquire(blocking=False)
        assert a.acquire(timeout=1)
        a.release()
        a.release()
    assert (a.token, len(cluster.entries)) == (token, entries)
    assert b.locked()
    waiting = b.acquire.submit()
    a.release()
    assert waiting.result(0)
    with pytest.raises(NotOwner):
        a.release()


def test_other_threads_of_the_node_wait_and_may_not_release(cluster):
    a, _, _ = cluster.attach("lock", ReplRLock)
    with ThreadPoolExecutor(1) as other:
        a.acquire()
        assert not other.submit(a.acquire, blocking=False).result()
        assert other.submit(lambda: (a.held, a.token)).result() == (False, None)
        with pytest.raises(NotOwner):
            other.submit(a.release).result()
        waiting = other.submit(a.acquire.submit).result()
        a.release()
        assert waiting.result(0)
        assert not a.held
        assert other.submit(lambda: a.held).result()
        other.submit(a.release).result()
    assert not a.locked()


def test_tasks_are_owners_apart(cluster):
    a, _, _ = cluster.attach("lock", ReplRLock)
    steps = []

    async def use(name):
        async with a, a:
            steps.append(name)
            await asyncio.sleep(0)
            assert a.held
            steps.append(name)

    async def main():
        async with a:
            # A task made inside the block is not its owner.
            inner = asyncio.create_task(use("inner"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert steps == []
        await asyncio.gather(inner, use("other"))

    asyncio.run(main())
    assert steps == ["inner", "inner", "other", "other"]
    assert not a.locked()
    assert a._depths == {}


def test_who_has_lost_it_is_told_at_every_level(cluster):
    lost = []
    a, b, _ = cluster.attach("lock", lambda: ReplRLock(on_lost=lambda: lost.append(1)))
    a.acquire()
    a.acquire()
    cluster.expire(0)
    assert lost == [1]
    assert b.acquire()
    b.release()
    with pytest.raises(LockLost):
        a.acquire()
    for error in (LockLost, LockLost, NotOwner):
        with pytest.raises(error):
            a.release()
    assert a.acquire()
    a.release()


def test_blocks_that_lose_it_end_with_lock_lost_and_can_begin_again(cluster):
    a, b, _ = cluster.attach("lock", ReplRLock)
    with pytest.raises(LockLost), a, a:
        cluster.expire(0)
    with a:
        assert b.locked()


def test_inner_acquire_is_refused_while_the_node_is_not_sure(cluster):
    a, b, _ = cluster.attach("lock", ReplRLock)
    a.acquire()
    cluster.members[0].certain = False
    with pytest.raises(LockLost):
        a.acquire()
    cluster.members[0].certain = True
    a.release()
    assert not b.locked()


def test_loser_does_not_touch_what_another_thread_was_granted_since(cluster):
    a, _, _ = cluster.attach("lock", ReplRLock)
    a.acquire()
    cluster.expire(0)
    with ThreadPoolExecutor(1) as other:
        other.submit(a.acquire).result()
        with pytest.raises(LockLost):
            a.release()
        assert other.submit(lambda: a.held).result()


@pytest.mark.parametrize("depth", [1, 2])
def test_acquire_that_is_undone_elsewhere_leaves_what_was_held_before(cluster, depth):
    a, _, _ = cluster.attach("lock", ReplRLock)
    with ThreadPoolExecutor(1) as other:
        for _ in range(depth):
            future = other.submit(a.acquire.submit).result()
        future.abandon()  # as an await that is cancelled in another task
        assert a.locked() == (depth == 2)
        assert other.submit(lambda: a.held).result() == (depth == 2)


STEPS = st.lists(
    st.tuples(st.sampled_from([0, 0, 1, 2]), st.integers(0, 1),
              st.sampled_from(["try", "try", "release", "release", "expire"])),
    max_size=30,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_one_owner_that_releases_as_often_as_it_acquires(steps):
    cluster = LocalCluster(3)
    locks = cluster.attach("lock", ReplRLock)
    owner, depths, lost = None, {}, set()
    with ThreadPoolExecutor(1) as first, ThreadPoolExecutor(1) as second:
        for member, number, action in steps:
            thread, me = (first, second)[number], (member, number)
            if action == "expire":
                if cluster.members[member].session:
                    cluster.expire(member)
                    if owner is not None and owner[0] == member:
                        lost.add(owner)
                        owner = None
                continue
            if action == "try":
                future = thread.submit(locks[member].acquire, False)
                if me in lost:
                    assert isinstance(future.exception(), LockLost)
                    continue
                assert future.result() == (owner in (None, me))
                if future.result():
                    owner = me
                    depths[me] = depths.get(me, 0) + 1
            else:
                error = thread.submit(locks[member].release).exception()
                wanted = LockLost if me in lost else NotOwner if owner != me else type(None)
                assert type(error) is wanted
                if wanted is NotOwner:
                    continue
                depths[me] -= 1
                if not depths[me]:
                    lost.discard(me)
                    owner = None if owner == me else owner
            assert locks[0].locked() == (owner is not None)
            for other in locks:
                other._check()
    cluster.digest_equal()
