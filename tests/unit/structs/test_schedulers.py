"""`ReplScheduler`: when jobs are due, by two clocks, and that each due time is one worker's."""

from datetime import UTC, datetime, timedelta
from queue import Empty

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from local_cluster import EPOCH, LocalCluster

from syncstructs import Replicated, ReplScheduler, replicated
from syncstructs.errors import LockLost
from syncstructs.structs.cron import cron
from syncstructs.structs.queues import ShutDown

MIDNIGHT = datetime.fromtimestamp(EPOCH, UTC)


@pytest.fixture
def cluster():
    return LocalCluster(2, check=True)


def schedulers(cluster, *args, **kwargs):
    return cluster.attach("rota", lambda: ReplScheduler(*args, **kwargs))


def taken(scheduler):
    """Take what is ready, and say that it is done; return names of jobs and for when they were."""
    found = []
    while True:
        try:
            task = scheduler.get(block=False)
        except Empty:
            return found
        scheduler.ack(task)
        found.append((task.key, task.scheduled and (task.scheduled - MIDNIGHT).total_seconds()))


def test_an_interval_begins_when_it_is_added_and_keeps_its_rhythm(cluster):
    a, b = schedulers(cluster)
    assert a.add("tick", [7], every=10.0)
    cluster.advance(9.9)
    assert taken(b) == []
    cluster.advance(0.2)
    task = a.get()
    assert (task.key, task.payload, task.attempt) == ("tick", [7], 1)
    assert task.scheduled == MIDNIGHT + timedelta(seconds=11)
    a.ack(task)
    cluster.advance(14.9)
    assert taken(b) == [("tick", 21.0)]
    cluster.advance(5.1)
    assert taken(a) == [("tick", 31.0)]
    cluster.now += 24.0  # nobody leads
    cluster.advance(0.0)
    assert taken(a) == [("tick", 41.0)]
    cluster.advance(6.0)
    assert taken(a) == [("tick", 61.0)]


def test_each_due_time_is_for_the_worker_that_waits_longest(cluster):
    a, b = schedulers(cluster)
    waiting = [scheduler.get.submit() for scheduler in (b, a)]
    a.add("x", every=10.0)
    a.add("y", every=10.0)
    cluster.advance(10.0)
    first, second = (future.result() for future in waiting)
    assert (first.key, second.key) == ("x", "y")
    assert first.scheduled == second.scheduled == MIDNIGHT + timedelta(seconds=11)
    assert first.token < second.token
    assert first.id != second.id


def test_cron_is_in_utc_by_the_clocks_of_who_asks(cluster):
    a, b = schedulers(cluster)
    b.add("report", cron="30 8 * * *")
    assert a.jobs()[0].next == MIDNIGHT.replace(hour=8, minute=30)
    cluster.advance(8.5 * 3600 - 1.5)
    assert taken(a) == []
    cluster.advance(0.5)
    assert taken(b) == [("report", 8.5 * 3600)]
    assert a.jobs()[0].next == MIDNIGHT.replace(hour=8, minute=30) + timedelta(days=1)
    cluster.wall += 60.0
    taken(a)
    cluster.advance(24 * 3600 - 60.1)
    assert taken(b) == []
    cluster.advance(0.1)
    assert len(taken(b)) == 1


def test_what_was_missed_is_done_once_for_the_first_time_that_it_was_due(cluster):
    a, b = schedulers(cluster)
    a.add("tick", every=10.0)
    a.add("hourly", cron="@hourly")
    # As after a night in which all members were down, or nobody worked.
    cluster.wall += 5.25 * 3600
    cluster.advance(35.0)
    taken_first = taken(b)
    assert taken_first[0][0] == "tick"
    assert taken_first[1:] == []
    cluster.advance(0.0)
    assert taken(b) == [("hourly", 3600.0)]
    assert [job.next for job in a.jobs()][1] == MIDNIGHT.replace(hour=6)
    cluster.advance(6.0)
    assert [name for name, _ in taken(a)] == ["tick"]


def test_what_is_due_too_late_is_left_out_where_there_is_a_grace(cluster):
    a, _ = schedulers(cluster)
    a.add("strict", cron="@hourly", grace=60.0)
    a.add("once", at=MIDNIGHT + timedelta(hours=1), grace=7200.0)
    a.add("never", at=MIDNIGHT + timedelta(hours=1), grace=7100.0)
    cluster.wall += 2.99 * 3600
    taken(a)
    cluster.advance(0.0)
    assert taken(a) == [("once", 3600.0)]
    assert [(job.name, job.next.hour) for job in a.jobs()] == [("strict", 3)]
    cluster.advance(60.0)
    assert taken(a) == [("strict", 3 * 3600.0)]


def test_of_what_was_missed_the_first_that_is_not_too_late_counts(cluster):
    a, _ = schedulers(cluster)
    a.add("hourly", cron="@hourly", grace=60.0)
    a.add("tick", every=10.0, grace=15.0)
    cluster.wall += 3.0 * 3600
    cluster.now += 37.0  # nobody leads
    assert taken(a) == []
    cluster.advance(0.0)
    assert sorted(taken(a)) == [("hourly", 3 * 3600.0), ("tick", 3 * 3600.0 + 31.0)]


def test_a_job_never_overlaps_itself(cluster):
    a, b = schedulers(cluster, lease=None)
    a.add("tick", every=10.0)
    cluster.advance(10.0)
    task = a.get()
    cluster.advance(25.0)
    assert b.progress()[:3] == (0, 0, 1)
    assert not b.trigger("tick")
    a.ack(task)
    assert taken(b) == []
    cluster.advance(5.0)
    assert taken(b) == [("tick", 41.0)]


def test_another_worker_gets_it_if_the_first_one_dies(cluster):
    a, b = schedulers(cluster, lease=None, retry_delay=0.0)
    a.add("tick", every=10.0)
    cluster.advance(10.0)
    first = a.get()
    cluster.expire(0)
    second = b.get(block=False)
    assert (second.id, second.attempt, second.scheduled) == (first.id, 2, first.scheduled)
    assert second.token > first.token
    with pytest.raises(LockLost):
        a.ack(first)
    b.ack(second)


def test_attempts_that_are_used_up_do_not_stop_the_job(cluster):
    a, b = schedulers(cluster, max_attempts=1)
    a.add("tick", every=10.0)
    cluster.advance(10.0)
    a.nack(a.get(), error="no luck")
    assert [(dead.key, dead.error) for dead in b.dead_letters()] == [("tick", "no luck")]
    cluster.advance(10.0)
    assert b.dead_letters() == []
    assert taken(b) == [("tick", 21.0)]


def test_all_members_may_add_the_same_at_their_start(cluster):
    a, b = schedulers(cluster)
    assert a.add("tick", 1, every=10.0)
    cluster.advance(7.0)
    assert not b.add("tick", 1, every=10.0)
    assert b.add("tick", 2, every=10.0), "another payload"
    cluster.advance(3.0)
    assert a.get().payload == 2, "the schedule is the same, so the next time was, too"
    assert a.add("tick", 2, every=20.0)
    assert a.jobs()[0].next == MIDNIGHT + timedelta(seconds=31)
    assert a.add("tick", 2, cron="@daily")
    assert a.jobs()[0].next == MIDNIGHT + timedelta(days=1)


def test_what_is_due_once_is_not_due_again_when_it_is_added_again(cluster):
    a, b = schedulers(cluster)
    at = MIDNIGHT + timedelta(seconds=10)
    assert a.add("once", "payload", at=at)
    assert not b.add("once", "payload", at=at)
    cluster.advance(9.0)
    assert not b.add("once", "payload", at=at)
    assert taken(b) == [("once", 10.0)]
    assert a.jobs() == []
    cluster.wall -= 5.0
    assert not b.add("once", "payload", at=at), "the clock of this one is behind"
    cluster.advance(60.0)
    assert taken(a) == []


def test_a_clock_that_is_set_back_makes_nothing_due_twice(cluster):
    a, b = schedulers(cluster)
    a.add("minutely", cron="* * * * *")
    cluster.advance(60.0)
    assert taken(b) == [("minutely", 60.0)]
    cluster.wall -= 30.0
    assert taken(a) == []
    cluster.advance(31.0)
    assert taken(b) == []
    cluster.advance(60.0)
    assert taken(b) == [("minutely", 120.0)]


def test_a_clock_that_was_far_ahead_stops_no_job_for_ever(cluster):
    a, b = schedulers(cluster)
    a.add("minutely", cron="* * * * *")
    cluster.wall += 1e9
    taken(a)
    cluster.advance(0.0)
    assert len(taken(b)) == 1
    cluster.wall -= 1e9
    assert taken(b) + taken(a) == []
    assert a.jobs()[0].next == MIDNIGHT + timedelta(seconds=60)
    cluster.advance(60.0)
    assert taken(a) == [("minutely", 60.0)]


def ahead_by(cluster, member, seconds):
    cluster.members[member].wall_time = lambda: cluster.wall + cluster.now + seconds


@pytest.mark.parametrize("seconds", [7200.0, -7200.0, 3e9, -1.7e9])
def test_two_clocks_that_differ_make_nothing_due_twice(cluster, seconds):
    a, b = schedulers(cluster)
    ahead_by(cluster, 1, seconds)
    taken(b)
    a.add("daily", cron="30 1 * * *")
    found = []
    for _ in range(10):
        for scheduler in (b, a):
            found += taken(scheduler)
            cluster.advance(0.5)
    assert len(found) <= 1


@pytest.mark.parametrize("seconds", [7200.0, -7200.0, 3e9, -1.7e9])
def test_one_clock_of_three_that_is_wrong_does_not_matter(seconds):
    cluster = LocalCluster(3, check=True)
    a, b, c = schedulers(cluster)
    ahead_by(cluster, 2, seconds)
    for scheduler in (a, b, c):
        scheduler.add("daily", cron="30 1 * * *")
        assert taken(scheduler) == []
    cluster.advance(5300.0)
    assert taken(c) + taken(a) + taken(c) == []
    cluster.advance(100.0)
    assert taken(c) == [("daily", 5400.0)]
    assert a.jobs()[0].next == MIDNIGHT + timedelta(days=1, seconds=5400)


def test_clocks_of_who_takes_no_tasks_do_not_count_for_long():
    cluster = LocalCluster(3, check=True)
    a, b, c = schedulers(cluster)
    # As nodes that are started before their clocks are set.
    cluster.wall -= 1e6
    for scheduler in (a, b, c):
        scheduler.add("daily", cron="30 1 * * *")
    cluster.wall += 1e6
    cluster.advance(3500.0)
    assert taken(c) == []
    assert a.jobs()[0].next < MIDNIGHT
    cluster.advance(200.0)
    assert taken(c) == []
    cluster.advance(0.0)
    assert len(taken(c)) == 1
    assert a.jobs()[0].next == MIDNIGHT + timedelta(seconds=5400)
    # Who takes tasks may wait for them for long.
    cluster.wall += 1e6
    taken(a)
    cluster.wall -= 1e6
    taken(b)
    assert a.jobs()[0].next == MIDNIGHT + timedelta(seconds=5400)


def test_the_clock_of_a_session_that_has_expired_does_not_count(cluster):
    a, b = schedulers(cluster)
    ahead_by(cluster, 1, 7200.0)
    a.add("x", cron="@hourly")
    taken(b)
    assert a.jobs()[0].next == MIDNIGHT + timedelta(hours=1)
    cluster.expire(1)
    assert a.jobs()[0].next == MIDNIGHT + timedelta(hours=1)
    cluster.advance(3500.0)
    assert taken(a) == []
    cluster.expire(0)
    cluster.advance(100.0)
    assert a.progress().ready == 1


def test_a_job_that_is_removed_is_not_due_any_more(cluster):
    a, b = schedulers(cluster)
    a.add("x", every=10.0)
    a.add("y", every=10.0)
    cluster.advance(10.0)
    task = a.get()
    assert (b.remove("x"), b.remove("y"), b.remove("z")) == (True, True, False)
    assert taken(b) == [], "it was not taken yet"
    a.ack(task)
    cluster.advance(100.0)
    assert b.progress().put == 2


def test_the_task_of_a_job_that_was_due_once_can_still_be_called_off(cluster):
    a, b = schedulers(cluster)
    a.add("x", at=MIDNIGHT + timedelta(seconds=5))
    cluster.advance(5.0)
    assert a.jobs() == []
    assert not b.remove("x"), "the job is over"
    assert taken(b) == []


def test_removing_the_last_task_ends_a_join(cluster):
    a, b = schedulers(cluster)
    a.add("x", every=10.0)
    cluster.advance(10.0)
    joining = b.join.submit()
    assert not joining.done()
    a.remove("x")
    assert joining.done()


def test_a_job_may_be_triggered(cluster):
    a, b = schedulers(cluster)
    a.add("x", "payload", every=10.0)
    assert b.trigger("x")
    task = b.get()
    assert (task.payload, task.scheduled) == ("payload", None)
    b.ack(task)
    cluster.advance(10.0)
    assert taken(a) == [("x", 11.0)]
    with pytest.raises(KeyError):
        a.trigger("y")


def test_after_the_shutdown_nothing_is_due(cluster):
    a, b = schedulers(cluster)
    a.add("x", every=10.0)
    cluster.advance(10.0)
    a.shutdown()
    cluster.advance(10.0)
    assert [task.key for task in b if b.ack(task) is None] == ["x"]
    with pytest.raises(ShutDown):
        b.add("y", every=1.0)


def test_single_tasks_can_be_put_as_well(cluster):
    a, b = schedulers(cluster)
    for name in "xyz":
        a.add(name, every=10.0)
    cluster.advance(10.0)
    ids = {a.put("single") for _ in range(3)}
    assert len(ids | {b.get().id for _ in range(6)}) == 6
    assert b.progress().leased == 6


class Planner(Replicated):
    def __init__(self, rota):
        self.plan = rota

    LOCAL = frozenset({"plan"})

    @replicated
    def run(self):
        self.plan.add("cron", cron="@hourly")
        self.plan.add("once", at=MIDNIGHT + timedelta(hours=1))


def test_jobs_that_are_replaced_again_and_again_take_no_more_space(cluster):
    a, b = schedulers(cluster)
    a.add("x", every=1000.0)
    for seconds in range(200):
        b.add("y", at=MIDNIGHT + timedelta(days=1, seconds=seconds))
    assert sum(map(len, a._calendar)) < 100
    cluster.advance(86_400.0)
    cluster.advance(197.0)
    assert a.progress().put == 1
    cluster.advance(1.0)
    assert a.progress().put == 2


def test_tasks_of_jobs_that_are_removed_take_no_space(cluster):
    a, b = schedulers(cluster)
    for _ in range(200):
        a.add("x", every=1000.0)
        assert a.trigger("x")
        assert a.remove("x")
    assert len(b._ready) < 100
    assert taken(b) == []


def test_many_jobs_that_are_due_at_once_are_done_in_parts(monkeypatch):
    monkeypatch.setattr("syncstructs.structs.schedulers._DUE_MAX", 10)
    cluster = LocalCluster(2)
    a, _ = schedulers(cluster)
    for number in range(25):
        a.add(f"{number}", cron="@hourly")
    before = len(cluster.entries)
    cluster.advance(3600.0)
    assert (a.progress().put, len(cluster.entries) - before) == (25, 3)
    assert len(taken(a)) == 25


def test_inside_a_command_the_time_of_day_is_what_a_worker_said(cluster):
    a, b = schedulers(cluster)
    members = iter((a, b))
    planner, _ = cluster.attach("planner", lambda: Planner(next(members)))
    cluster.wall += 3000.0
    planner.run()
    assert [job.next for job in b.jobs()] == [None, MIDNIGHT + timedelta(hours=1)]
    cluster.advance(7200.0)
    assert b.progress().put == 0
    assert taken(a) == []
    assert a.jobs()[0].next == MIDNIGHT + timedelta(hours=3)
    cluster.advance(0.0)
    assert taken(a) == [("once", 3600.0)]


def test_a_late_member_has_all_of_it(cluster):
    a, b = schedulers(cluster)
    a.add("x", {"k": [1]}, every=10_000.0, grace=5.0)
    a.add("y", cron="@daily", priority=3)
    a.add("z", at=MIDNIGHT + timedelta(hours=1))
    cluster.advance(10_000.0)
    a.get()
    cluster.reload(1)
    assert b.snapshot_state() == a.snapshot_state()
    assert b.jobs() == a.jobs()
    cluster.advance(86_400.0)
    assert {name for name, _ in taken(b)} == {"x", "y", "z"}


def test_jobs_that_are_read_are_copies(cluster):
    a, _ = schedulers(cluster)
    a.add("x", [1], every=10.0)
    a.jobs()[0].payload.append(2)
    assert a.jobs()[0].payload == [1]
    assert repr(a).startswith("<ReplScheduler 1 jobs, Progress(")


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ({}, "takes one of every, cron and at"),
        ({"every": 1.0, "cron": "@daily"}, "takes one of"),
        ({"every": 0.0}, "every=0.0 must be at least 0.001"),
        ({"every": 1.0, "grace": -1.0}, "grace=-1.0 must"),
        ({"every": 1.0, "grace": 0.0}, "grace=0.0 must be at least 0.1"),
        ({"cron": "61 * * * *"}, "not within 0-59"),
        ({"at": datetime(2024, 1, 1)}, "has no time zone"),
        ({"at": datetime.max.replace(tzinfo=UTC)}, "too far away"),
    ],
)
def test_schedules_without_meaning_are_refused(cluster, schedule, message):
    a, b = schedulers(cluster)
    with pytest.raises(ValueError, match=message):
        a.add("x", **schedule)
    assert b.jobs() == []


@pytest.mark.parametrize("name", [5, None, ("x",), ["x"]])
def test_names_that_are_no_strings_are_refused(cluster, name):
    a, _ = schedulers(cluster)
    with pytest.raises(TypeError, match="name of a job is a string"):
        a.add(name, every=10.0)
    assert a.jobs() == []


@pytest.mark.parametrize(
    "args",
    [
        (5, 0, 10.0, None, None, None, 0),
        ("y", 0, None, None, None, None, 0),
        ("y", 0, -5.0, None, None, None, 0),
        ("y", 0, 1e-17, None, None, None, 0),
        ("y", 0, float("nan"), None, None, None, 0),
        ("y", 0, "10", None, None, None, 0),
        ("y", 0, None, "* * *", None, None, 0),
        ("y", 0, None, None, float("inf"), None, 0),
        ("y", 0, None, None, float("nan"), None, 0),
        ("y", 0, 10.0, None, None, "late", 0),
        ("y", 0, 10.0, None, None, None, "high"),
    ],
)
@pytest.mark.parametrize("wall", [EPOCH, None])
def test_a_member_that_sends_what_means_nothing_stops_nobody(cluster, args, wall):
    a, b = schedulers(cluster)
    a.add("x", every=10.0)
    with pytest.raises((TypeError, ValueError)):
        b._add(wall, *args)
    cluster.advance(10.0)
    assert taken(a) == [("x", 11.0)]
    cluster.reload(1)
    assert [job.name for job in b.jobs()] == ["x"]


@pytest.mark.parametrize("wall", [float("nan"), float("inf"), 1e300, -1e300, 1e12])
def test_a_clock_that_shows_no_time_changes_nothing(cluster, wall):
    a, b = schedulers(cluster)
    a.add("x", cron="* * * * *")
    state = a.snapshot_state()
    cluster.members[1].wall_time = lambda: wall
    for call in (lambda: b.get(block=False), lambda: b.add("y", cron="@daily")):
        with pytest.raises(ValueError, match="node's clock says"):
            call()
    assert a.snapshot_state() == state
    cluster.advance(60.0)
    assert taken(a) == [("x", 60.0)]


LEASE = 40.0
SCHEDULES = ({"every": 15.0}, {"every": 100.0}, {"cron": "* * * * *"}, {"cron": "*/2 * * * *"})


class JobMachine(RuleBasedStateMachine):
    """Jobs against a list that is looked through second by second."""

    def __init__(self):
        super().__init__()
        self.cluster = LocalCluster(2, check=True)
        self.rotas = schedulers(self.cluster, LEASE, max_attempts=None, retry_delay=0.0)
        self.jobs = {}
        self.tasks = {}
        self.held = []
        self.clocks = {}
        self.ahead = None
        self.reached = 0.0

    def tell(self, who, seconds=3600.0):
        now = self.cluster.now
        _, until = self.clocks.get(who, (0.0, 0.0))
        self.clocks[who] = self.cluster.wall, max(until, now + seconds)
        self.ahead = max(wall for wall, until in self.clocks.values() if until >= now)
        wall = self.cluster.now + self.ahead
        self.reached = max(self.reached, wall)

    def fire(self, name, scheduled):
        self.tasks.setdefault(name, [scheduled, None, None])

    def look(self):
        """Let happen what is due now."""
        now = self.cluster.now
        for name, job in list(self.jobs.items()):
            if "every" in job:
                if job["next"] <= now:
                    self.fire(name, job["next"] + self.ahead)
                    while job["next"] <= now:
                        job["next"] += job["every"]
                continue
            self.reached = max(self.reached, now + self.ahead)
            if job["next"] <= now + self.ahead:
                self.fire(name, job["next"])
                if "at" in job:
                    del self.jobs[name]
                else:
                    job["next"] = cron(job["cron"]).after(self.reached)
        for task in self.tasks.values():
            if task[2] is not None and task[2] <= now:
                task[1:] = None, None

    @rule(who=st.integers(0, 1), name=st.sampled_from("ab"), schedule=st.sampled_from(SCHEDULES))
    def add(self, who, name, schedule):
        old = self.jobs.get(name)
        self.tell(who)
        same = old is not None and {**old, "next": 0} == {**schedule, "next": 0}
        if not same:
            wall = self.reached
            self.jobs[name] = dict(schedule)
            self.jobs[name]["next"] = (
                self.cluster.now + schedule["every"] if "every" in schedule
                else cron(schedule["cron"]).after(wall)
            )  # fmt: skip
        assert self.rotas[who].add(name, **schedule) == (not same)
        self.advance(0)

    @rule(who=st.integers(0, 1), seconds=st.integers(-20, 90))
    def add_once(self, who, seconds):
        if "c" in self.jobs:
            return
        at = int(self.cluster.wall + self.cluster.now) + seconds
        self.tell(who)
        added = at > self.reached
        if added:
            self.jobs["c"] = {"at": at, "next": at}
        assert self.rotas[who].add("c", at=datetime.fromtimestamp(at, UTC)) == added
        self.advance(0)

    @rule(name=st.sampled_from("abc"))
    def remove(self, name):
        assert self.rotas[0].remove(name) == (name in self.jobs)
        self.jobs.pop(name, None)
        if self.tasks.get(name, (0, 1))[1] is None:
            del self.tasks[name]

    @precondition(lambda self: self.jobs)
    @rule(data=st.data())
    def trigger(self, data):
        name = data.draw(st.sampled_from(sorted(self.jobs)))
        assert self.rotas[1].trigger(name) == (name not in self.tasks)
        self.fire(name, None)

    @rule(who=st.integers(0, 1))
    def get(self, who):
        self.tell(who, float("inf"))
        free = {name: task for name, task in self.tasks.items() if task[1] is None}
        try:
            taken = self.rotas[who].get(block=False)
        except Empty:
            assert not free
        else:
            scheduled = taken.scheduled and taken.scheduled.timestamp()
            assert scheduled == pytest.approx(free[taken.key][0], abs=0.01)
            free[taken.key][1:] = taken.token, self.cluster.now + LEASE
            self.held.append(taken)
        self.advance(0)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def ack(self, data):
        task = data.draw(st.sampled_from(self.held))
        if task.key in self.tasks and self.tasks[task.key][1] == task.token:
            self.rotas[0].ack(task)
            del self.tasks[task.key]
        else:
            with pytest.raises(LockLost):
                self.rotas[0].ack(task)

    @rule(seconds=st.sampled_from([0.5, -0.5, 20.0, -20.0, 600.0, -600.0]))
    def set_clock(self, seconds):
        self.cluster.wall += seconds

    @rule(seconds=st.sampled_from([1, 5, 30, 70]))
    def advance(self, seconds):
        for _ in range(seconds * 2):
            self.cluster.advance(0.5)
            self.look()
        if not seconds:
            self.cluster.advance(0)
            self.look()

    @rule(seconds=st.sampled_from([1, 40, 200]))
    def nobody_leads(self, seconds):
        self.cluster.now += seconds
        self.advance(0)

    @rule(who=st.integers(0, 1))
    def reload(self, who):
        self.cluster.reload(who)

    @invariant()
    def they_agree(self):
        for rota in self.rotas:
            assert {job.name for job in rota.jobs()} == self.jobs.keys()
            for job in rota.jobs():
                ahead = self.ahead if job.every else 0.0
                assert job.next.timestamp() == pytest.approx(self.jobs[job.name]["next"] + ahead)
            assert rota.qsize() == len(self.tasks)


TestJobMachine = JobMachine.TestCase
TestJobMachine.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
