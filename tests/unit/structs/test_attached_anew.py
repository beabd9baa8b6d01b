"""A dropped object that is attached again: nobody holds anything of it any more, or waits in it."""

from functools import partial

import pytest
from local_cluster import LocalCluster

import syncstructs
from syncstructs import (
    ReplBarrier,
    ReplElection,
    ReplGroup,
    Replicated,
    ReplLock,
    ReplLockManager,
    ReplOnce,
    ReplQueue,
    ReplRateLimiter,
    ReplRLock,
    ReplRWLock,
    ReplScheduler,
    ReplSemaphore,
    ReplTaskQueue,
    ReplTTLDict,
    replicated,
)
from syncstructs.errors import LockLost, NotOwner
from syncstructs.objects.waiters import Waiters

TAKERS = {
    "lock": (ReplLock, lambda lock: lock.acquire.submit),
    "reentrant": (ReplRLock, lambda lock: lock.acquire.submit),
    "key": (ReplLockManager, lambda locks: locks["key"].acquire.submit),
    "semaphore": (ReplSemaphore, lambda permits: permits.acquire.submit),
    "reader": (ReplRWLock, lambda lock: lock.reader.acquire.submit),
    "writer": (ReplRWLock, lambda lock: lock.writer.acquire.submit),
    "election": (ReplElection, lambda election: election.campaign.submit),
    "once": (ReplOnce, lambda once: partial(once._begin.submit, None)),
}
"""Types of which something is held, and how it is taken."""


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def taken(cluster, taker):
    """Return handles, of which the first holds what there is, and the second waits for more."""
    cls, take = TAKERS[taker]
    handles = cluster.attach("object", cls)
    assert take(handles[0])().done()
    take(handles[1])()
    return handles, take


@pytest.mark.parametrize("taker", TAKERS)
def test_what_an_expired_session_held_is_free(cluster, taker):
    handles, take = taken(cluster, taker)
    cluster.drop(2, "object")
    cluster.expire(0)
    cluster.expire(1)
    for member, handle in enumerate(handles):
        cluster.attach_on(member, "object", handle)
        handle._check()
    assert take(handles[2])().done()


@pytest.mark.parametrize("taker", TAKERS)
def test_of_another_cluster_nothing_is_held(cluster, taker):
    # Its sessions have the same numbers, so their expiry would be that of others.
    handles, take = taken(cluster, taker)
    cluster.drop(2, "object")
    other = LocalCluster(3, check=True)
    for member, handle in enumerate(handles):
        other.attach_on(member, "object", handle)
        handle._check()
    assert take(handles[2])().done()


def test_who_held_it_before_is_not_sure_of_what_others_can_have_now(cluster):
    a, b, _ = cluster.attach("lock", ReplLock)
    assert a.acquire()
    assert a.held
    cluster.drop(0, "lock")
    cluster.attach_on(0, "lock", a)
    cluster.attach_on(1, "lock", b)
    assert not a.held
    assert b.acquire(timeout=0)
    with pytest.raises(LockLost):
        a.release()
    assert b.held


def test_who_held_it_in_another_cluster_is_not_sure_of_it_in_this_one(cluster):
    # Its sessions and tokens have the same numbers.
    a, b, _ = cluster.attach("lock", ReplLock)
    for _ in range(3):
        with a:
            pass
    a.acquire()
    cluster.drop(0, "lock")
    other = LocalCluster(2)
    other.attach_on(0, "lock", a)
    other.attach_on(1, "lock", b)
    assert not a.held
    assert b.acquire(blocking=False)


def test_who_joined_a_group_has_to_join_the_new_one(cluster):
    a, b, c = cluster.attach("group", ReplGroup)
    a.join("a")
    b.join("b")
    cluster.drop(0, "group")
    cluster.expire(0)
    cluster.attach_on(2, "group", c)
    assert not c.members
    assert c.join("c")
    assert list(c.members.values()) == ["c"]
    cluster.attach_on(0, "group", a)
    with pytest.raises(NotOwner):
        a.update("a")
    cluster.expire(0)
    assert list(a.members.values()) == ["c"]
    cluster.reload(2)
    cluster.expire(2)
    assert list(c.members.values()) == ["c"], "it has joined this one, and does so again"


def test_nobody_waits_for_tokens_of_a_new_limiter(cluster):
    limiter, other, _ = cluster.attach("limiter", lambda: ReplRateLimiter(1, burst=2))
    limiter.acquire(2)
    other.acquire.submit(2)
    cluster.drop(0, "limiter")
    cluster.expire(1)
    cluster.attach_on(0, "limiter", limiter)
    limiter._check()
    assert limiter.try_acquire(2), "all buckets are full at first"
    assert not limiter.try_acquire()
    assert limiter.acquire(1)
    assert limiter.throttle() == 1.0


def test_buckets_of_a_cluster_that_is_older_are_full_in_a_new_one(cluster):
    limiter, *_ = cluster.attach("limiter", lambda: ReplRateLimiter(1, burst=2))
    cluster.advance(1e6)
    assert limiter.acquire(2)
    cluster.drop(0, "limiter")
    LocalCluster(1, check=True).attach_on(0, "limiter", limiter)
    assert limiter.acquire(2, timeout=0.0)
    assert limiter.throttle() == 1.0


def test_jobs_are_due_by_the_clocks_of_the_new_cluster(cluster):
    rota, *_ = cluster.attach("rota", ReplScheduler)
    cluster.now = 5000.0
    rota.add("tick", every=10.0)
    rota.add("hourly", cron="@hourly")
    rota.add("once", at=rota.jobs()[1].next)
    cluster.advance(7.0)
    cluster.drop(0, "rota")
    other = LocalCluster(1, check=True)
    other.attach_on(0, "rota", rota)
    assert {job.name: job.next is None for job in rota.jobs()} == {
        "tick": True, "hourly": True, "once": False
    }  # fmt: skip
    task = rota.get(timeout=20.0)
    assert (task.key, other.now) == ("tick", 11.0)
    rota.ack(task)
    rota.remove("tick")
    taken = []
    for _ in range(3):
        with rota.get() as task:
            taken.append(task.key)
    assert taken == ["hourly", "hourly", "once"]


def test_tasks_that_were_leased_or_delayed_are_ready(cluster):
    tasks, *_ = cluster.attach("tasks", ReplTaskQueue)
    tasks.put("leased", priority=1)
    tasks.put("delayed", delay=100.0)
    attempts = [tasks.get(lease=None).attempt]
    cluster.drop(0, "tasks")
    cluster.expire(0)
    cluster.attach_on(0, "tasks", tasks)
    tasks._check()
    assert tasks.progress()[:3] == (2, 0, 0)
    again = [tasks.get(timeout=0) for _ in range(2)]
    assert [task.payload for task in again] == ["leased", "delayed"]
    assert [task.attempt for task in again] == [attempts[0] + 1, 1]


@pytest.mark.parametrize("elsewhere", [False, True])
def test_keys_with_a_time_to_live_are_gone_as_nobody_would_end_them(cluster, elsewhere):
    ttls, *_ = cluster.attach("ttls", partial(ReplTTLDict, ttl=5))
    ttls["short"] = 1
    ttls.set("lasting", 2, ttl=None)
    cluster.drop(0, "ttls")
    begun = LocalCluster(1, check=True) if elsewhere else cluster
    begun.attach_on(0, "ttls", ttls)
    assert dict(ttls) == {"lasting": 2}
    ttls["short"] = 3
    begun.advance(6)
    assert dict(ttls) == {"lasting": 2}


def test_buckets_are_full_as_another_cluster_has_another_time(cluster):
    limiter, *_ = cluster.attach("limiter", partial(ReplRateLimiter, 1))
    cluster.advance(1000)
    assert limiter.try_acquire()
    cluster.drop(0, "limiter")
    LocalCluster(1, check=True).attach_on(0, "limiter", limiter)
    assert limiter.try_acquire()
    assert limiter.throttle() <= 1


def test_no_wait_is_left_where_an_image_told_of_the_drop(cluster):
    queue = ReplQueue()
    cluster.attach_on(1, "queue", queue)
    cluster.attach_on(0, "queue", ReplQueue()).get.submit()
    behind = cluster.members.pop(1)
    cluster.drop(0, "queue")
    behind.table.restore(list(cluster.members[0].table.image()))
    cluster.members.insert(1, behind)
    assert queue._dropped
    assert len(queue._getters) == 1
    cluster.attach_on(1, "queue", queue)
    queue.put("item")
    assert queue.get(timeout=0) == "item"


def test_a_class_of_a_users_own_says_what_belongs_to_sessions(cluster):
    class Desk(Replicated):
        def __init__(self):
            self.clerk, self.queue, self.served = None, Waiters(), 0

        @replicated
        def come(self, who, ticket):
            if self.clerk is not None:
                return self.queue.park(ticket)
            self.clerk, self.served = who, self.served + 1
            return None

        def initial_state(self):
            return super().initial_state() | {"clerk": None}

    desk, *_ = cluster.attach("desk", Desk)
    desk.come("ann", 1)
    desk.come.submit("bob", 2)
    cluster.drop(0, "desk")
    cluster.attach_on(0, "desk", desk)
    assert (desk.clerk, len(desk.queue), desk.served) == (None, 0, 1)


def test_every_type_that_gives_up_what_a_session_has_begins_without_it():
    classes = {getattr(syncstructs, name) for name in syncstructs.__all__}
    hold = {
        cls
        for cls in classes
        if isinstance(cls, type)
        and issubclass(cls, Replicated)
        and cls.on_session_expired is not Replicated.on_session_expired
    }
    assert {cls for cls in hold if cls.initial_state is Replicated.initial_state} == {
        # In which sessions do nothing but wait.
        ReplBarrier
    }
