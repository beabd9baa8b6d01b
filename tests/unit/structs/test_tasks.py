"""`ReplTaskQueue`: leased, retried, dead; and what a plain model of it does."""

from queue import Empty, Full

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from local_cluster import LocalCluster

from syncstructs import replicated
from syncstructs.errors import LockLost, NodeClosed
from syncstructs.structs.queues import ShutDown
from syncstructs.structs.tasks import Progress, ReplTaskQueue


@pytest.fixture
def cluster():
    return LocalCluster(2, check=True)


def queues(cluster, *args, **kwargs):
    return cluster.attach("tasks", lambda: ReplTaskQueue(*args, **kwargs))


def counts(queue):
    return queue.progress()[:4]


def test_a_task_is_taken_by_one_and_gone_when_it_is_done(cluster):
    a, b = queues(cluster)
    assert a.put("mail") == a.put("other") - 1
    task = b.get()
    assert (task.payload, task.attempt, counts(a)) == ("mail", 1, (1, 0, 1, 0))
    assert a.get(block=False).payload == "other"
    with pytest.raises(Empty):
        b.get(block=False)
    b.ack(task)
    assert counts(a) == (0, 0, 1, 0)
    with pytest.raises(LockLost, match=f"task {task.id} under token {task.token}"):
        b.ack(task)


def test_it_says_what_a_queue_says_of_itself(cluster):
    a, b = cluster.attach("tasks", lambda: ReplTaskQueue(maxsize=2))
    assert (b.empty(), b.full()) == (True, False)
    a.put("one")
    a.put("another")
    assert (b.empty(), b.full()) == (False, True)
    taken = [b.get_nowait(), b.get_nowait()]
    with pytest.raises(Empty):
        b.get_nowait()
    assert (a.empty(), a.full()) == (False, True), "they are unfinished"
    for task in taken:
        b.ack(task)
    assert (a.empty(), a.full()) == (True, False)
    a.put("late")
    waiting = b.get_nowait.submit()
    waiting.unclaimed(waiting.result())
    assert a.progress().ready == 1, "its await was cancelled as it came"


def test_the_highest_priority_is_first_and_of_these_the_oldest(cluster):
    a, b = queues(cluster)
    for payload, priority in (("low", -1), ("a", 5), ("b", 5), ("mid", 0)):
        a.put(payload, priority=priority)
    assert [b.get().payload for _ in range(4)] == ["a", "b", "mid", "low"]


@pytest.mark.parametrize("priority", ["high", None, [1], float("nan"), 0.5])
def test_a_priority_that_has_no_place_is_refused_before_anything_changes(cluster, priority):
    a, b = queues(cluster)
    with pytest.raises(TypeError):
        b.put("mail", priority=priority, key="k")
    assert (a.progress().put, a.put("other", key="k")) == (0, cluster.members[0].table.serial)
    cluster.reload(1)
    assert b.get().payload == "other"


def test_heartbeats_leave_nothing_behind(cluster):
    a, _ = queues(cluster)
    a.put("soon", delay=5.0)
    a.put("now")
    task = a.get()
    for _ in range(100):
        a.heartbeat(task)
    a._check()
    assert len(a._later) < 80


def test_tasks_that_one_command_puts_have_ids_of_their_own(cluster):
    class Pairs(ReplTaskQueue):
        @replicated
        def put_two(self, one, other):
            return self.put(one), self.put(other)

    a, b = cluster.attach("tasks", Pairs)
    waiting = b.get.submit()
    first, second = a.put_two(1, 2)
    third = a.put(3)
    assert first < second < third
    assert [task.payload for task in (waiting.result(), b.get(), b.get())] == [1, 2, 3]


def test_a_lease_that_ends_gives_the_task_to_another(cluster):
    a, b = queues(cluster, lease=10.0, retry_delay=0.0)
    a.put("mail")
    first = a.get()
    waiting = b.get.submit()
    cluster.advance(9.9)
    assert not waiting.done()
    cluster.advance(0.1)
    second = waiting.result()
    assert (second.id, second.attempt) == (first.id, 2)
    assert second.token > first.token
    for late in (a.ack, a.nack, a.heartbeat):
        with pytest.raises(LockLost):
            late(first)
    b.ack(second)
    assert counts(a) == (0, 0, 0, 0)


def test_a_heartbeat_keeps_the_lease(cluster):
    a, b = queues(cluster, lease=10.0, retry_delay=0.0)
    a.put("mail")
    task = a.get()
    for _ in range(3):
        cluster.advance(9.0)
        a.heartbeat(task)
    a.heartbeat(task, lease=30.0)
    cluster.advance(29.0)
    assert counts(b) == (0, 0, 1, 0)
    cluster.advance(1.0)
    assert counts(b) == (1, 0, 0, 0)


def test_a_lease_may_last_as_long_as_the_session(cluster):
    a, b = queues(cluster, lease=None)
    a.put("mail")
    task = a.get()
    cluster.advance(1e6)
    assert counts(b) == (0, 0, 1, 0)
    a.heartbeat(task)
    cluster.members[0].open_session()
    cluster.advance(1.0)
    assert counts(b) == (1, 0, 0, 0)


def test_what_fails_is_tried_again_ever_later_and_is_dead_then(cluster):
    a, b = queues(cluster, max_attempts=4, retry_delay=2.0, retry_delay_max=5.0)
    id_ = a.put("mail", key="k", priority=3)
    for seconds in (2.0, 4.0, 5.0):
        a.nack(a.get(), error="no luck")
        assert counts(b) == (0, 1, 0, 0)
        cluster.advance(seconds - 0.001)
        assert counts(b) == (0, 1, 0, 0)
        cluster.advance(0.001)
        assert counts(b) == (1, 0, 0, 0)
    a.nack(a.get(), delay=0.5, error="no luck at all" * 100)
    (dead,) = b.dead_letters()
    assert dead[:5] == (id_, "k", "mail", 3, 4)
    assert dead.error == ("no luck at all" * 100)[:500]
    assert b.put("again", key="k") == id_, "the dead keep their keys"
    assert (b.revive([id_, id_, 7]), counts(b)) == (1, (1, 0, 0, 0))
    assert b.get().attempt == 1


def test_a_nack_may_say_how_long_to_wait(cluster):
    a, _ = queues(cluster)
    a.put("mail")
    a.nack(a.get(), delay=0.0)
    assert a.get().attempt == 2


def test_the_dead_can_be_forgotten(cluster):
    a, _ = queues(cluster, max_attempts=1)
    ids = [a.put(number, key=str(number)) for number in range(3)]
    for _ in ids:
        a.nack(a.get())
    assert a.discard([ids[1]]) == 1
    assert [dead.payload for dead in a.dead_letters()] == [0, 2]
    assert a.discard() == 2
    assert a.put("new", key="1") > ids[2]


def test_a_delayed_task_is_ready_later(cluster):
    a, b = queues(cluster)
    a.put("later", delay=5.0)
    a.put("soon", delay=1.0)
    waiting = b.get.submit()
    cluster.advance(1.0)
    assert waiting.result().payload == "soon"
    assert counts(b) == (0, 1, 1, 0)
    cluster.advance(4.0)
    assert b.get(block=False).payload == "later"


def test_of_a_key_there_is_one_unfinished_task(cluster):
    a, b = queues(cluster)
    first = a.put("mail", key="ann")
    assert b.put("other mail", key="ann") == first
    a.ack(a.get())
    assert b.put("next mail", key="ann") > first


def test_workers_are_served_in_the_order_in_which_they_came(cluster):
    a, b = queues(cluster)
    waiting = [queue.get.submit() for queue in (a, b, a)]
    for number in range(3):
        a.put(number)
    assert [future.result().payload for future in waiting] == [0, 1, 2]


def test_no_two_leases_have_one_token(cluster):
    a, b = queues(cluster)
    waiting = [queue.get.submit() for queue in (a, b, a)]
    for number in range(3):
        a.put(number, delay=1.0)
    cluster.advance(1.0)
    tokens = [future.result().token for future in waiting]
    assert tokens == sorted({*tokens})
    a.put(3)
    assert a.get().token > tokens[-1]


def test_who_gives_up_waiting_leaves_the_task_to_others(cluster):
    a, b = queues(cluster)
    waiting = a.get.submit()
    assert waiting.cancel()
    with pytest.raises(Empty):
        b.get(timeout=2.0)
    a.put("mail")
    task = b.get()
    assert (task.payload, task.attempt) == ("mail", 1)


def test_a_withdrawal_that_came_too_late_gives_the_task_back_unharmed(cluster):
    a, b = queues(cluster)
    a.put("mail")
    assert a._take(5, 10.0, True)
    b._withdraw(5)
    assert counts(b) == (0, 0, 1, 0), "another session's ticket"
    a._withdraw(5)
    assert b.get().attempt == 1


def test_a_result_that_came_too_late_gives_the_task_back_unharmed(cluster):
    a, b = queues(cluster)
    waiting = a.get.submit()
    a.put("mail")
    waiting.abandon()
    assert b.get().attempt == 1


def test_an_expired_session_gives_up_waits_and_leases(cluster):
    a, b = queues(cluster, lease=None, retry_delay=0.0)
    a.put("mail")
    task = a.get()
    parked = a.get.submit()
    cluster.members[0].open_session()
    again = parked.result()
    assert (again.id, again.attempt) == (task.id, 2), "its wait began anew"
    with pytest.raises(LockLost):
        a.ack(task)
    with pytest.raises(Empty):
        b.get(block=False)


def test_leases_of_an_expired_session_end_in_the_same_order_after_a_snapshot(cluster):
    a, b = queues(cluster, lease=None, retry_delay=0.0)
    a.put("low")
    a.put("high", priority=1)
    assert [a.get().payload for _ in range(2)] == ["high", "low"]
    waiting = b.get.submit()
    cluster.reload(1)
    cluster.expire(0)
    assert waiting.result().payload == "high"
    cluster.digest_equal()


def test_it_holds_so_many_unfinished_tasks(cluster):
    a, b = queues(cluster, maxsize=2)
    a.put(1)
    a.put(2, delay=5.0)
    with pytest.raises(Full):
        b.put(3)
    b.ack(b.get())
    b.put(3)


def test_join_waits_for_all_of_them(cluster):
    a, b = queues(cluster, max_attempts=1)
    b.join()
    a.put(1)
    a.put(2, delay=3.0)
    joining = b.join.submit()
    a.ack(a.get())
    assert not joining.done()
    cluster.advance(3.0)
    a.nack(a.get())
    assert joining.done()
    joining.result()


def test_after_the_shutdown_workers_go_on_to_the_end(cluster):
    a, b = queues(cluster, retry_delay=1.0)
    a.put(1)
    a.shutdown()
    with pytest.raises(ShutDown):
        a.put(2)
    done = []
    for task in b:
        done.append((task.payload, task.attempt))
        if task.attempt == 1:
            b.nack(task)
        else:
            b.ack(task)
    assert done == [(1, 1), (1, 2)]
    with pytest.raises(ShutDown):
        a.get(block=False)


def test_who_waits_is_told_that_all_is_done(cluster):
    a, b = queues(cluster)
    a.put(1)
    task = a.get()
    waiting = b.get.submit()
    a.shutdown()
    assert not waiting.done(), "the task may fail yet"
    a.ack(task)
    with pytest.raises(ShutDown):
        waiting.result()


def test_a_task_is_a_context_manager(cluster):
    a, _ = queues(cluster, max_attempts=1)
    a.put(1)
    with a.get() as task:
        assert task.payload == 1
    assert a.progress().done == 1
    a.put(2)
    with pytest.raises(ZeroDivisionError), a.get() as task:
        task.payload // 0
    assert "ZeroDivisionError" in a.dead_letters()[0].error


def test_what_the_block_raised_is_raised_though_the_lease_has_ended(cluster):
    a, _ = queues(cluster, lease=1.0)
    a.put(1)

    def work_too_long():
        with a.get() as task:
            cluster.advance(1.0)
            task.payload // 0

    with pytest.raises(ZeroDivisionError):
        work_too_long()
    a.put(2)
    with pytest.raises(LockLost), a.get():
        cluster.advance(1.0)


def test_what_the_block_raised_is_raised_though_the_cluster_cannot_be_told(cluster, monkeypatch):
    a, _ = queues(cluster)
    a.put(1)

    def refuse(*call):
        raise NodeClosed("the node is closed")

    def work_while_it_closes():
        with a.get() as task:
            monkeypatch.setattr(cluster.members[0], "submit", refuse)
            task.payload // 0

    with pytest.raises(ZeroDivisionError):
        work_while_it_closes()


def test_what_the_block_raised_is_raised_though_it_has_no_text(cluster):
    class Mute(Exception):
        def __repr__(self):
            raise ZeroDivisionError

    a, _ = queues(cluster, max_attempts=1)
    a.put(1)
    with pytest.raises(Mute), a.get():
        raise Mute
    assert "Mute" in a.dead_letters()[0].error


def test_payloads_are_copies(cluster):
    a, b = queues(cluster)
    given = [1]
    a.put(given)
    given.append(2)
    task = b.get()
    task.payload.append(3)
    b.nack(task, delay=0.0)
    assert a.get().payload == [1]


def test_a_late_member_has_all_of_it(cluster):
    a, b = queues(cluster, lease=10.0, retry_delay=0.0)
    for number in range(3):
        a.put(number, delay=number, priority=number, key=str(number))
    a.get()
    late = ReplTaskQueue(lease=10.0, retry_delay=0.0)
    late.restore_state(a.snapshot_state())
    assert late.snapshot_state() == b.snapshot_state()
    assert (late._keys, late._tickets, sorted(late._later), sorted(late._ready)) == (
        b._keys, b._tickets, sorted(b._later), sorted(b._ready),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lease": 0}, "lease=0 must be at least 0.001"),
        ({"lease": float("nan")}, "lease=nan"),
        ({"max_attempts": 0}, "max_attempts=0"),
        ({"retry_delay": -1}, "retry_delay=-1"),
        ({"retry_delay_max": 1e12}, "retry_delay_max=1000000000000.0 must be"),
    ],
)
def test_arguments_without_meaning_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ReplTaskQueue(**arguments)


def test_calls_without_meaning_are_refused(cluster):
    a, _ = queues(cluster)
    for call in (
        lambda: a.put(1, delay=-1), lambda: a.get(lease=-5.0), lambda: a.get(timeout=-1),
        lambda: a.put(1, delay=float("inf")),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="must"):
            call()
    assert counts(a) == (0, 0, 0, 0)


LEASE, ATTEMPTS, RETRY = 4.0, 3, 2.0


class TaskMachine(RuleBasedStateMachine):
    """The queue against a list of tasks that is looked through at every step."""

    def __init__(self):
        super().__init__()
        self.cluster = LocalCluster(2, check=True)
        self.queues = queues(
            self.cluster, LEASE, max_attempts=ATTEMPTS, retry_delay=RETRY, retry_delay_max=3.0
        )
        self.tasks = {}
        self.dead = []
        self.done = 0
        self.held = []

    def ready(self):
        found = [t for t in self.tasks.values() if t["state"] == "ready"]
        return min(found, key=lambda t: (-t["priority"], t["id"]), default=None)

    def fail(self, task, delay=None):
        if task["attempts"] == ATTEMPTS:
            self.dead.append(self.tasks.pop(task["id"])["id"])
        else:
            delay = min(RETRY * 2 ** (task["attempts"] - 1), 3.0) if delay is None else delay
            task.update(state="delayed" if delay else "ready", time=self.cluster.now + delay)

    @rule(who=st.integers(0, 1), priority=st.integers(0, 2), delay=st.sampled_from([0, 0, 1, 5]))
    def put(self, who, priority, delay):
        id_ = self.queues[who].put("x", priority=priority, delay=delay)
        self.tasks[id_] = {
            "id": id_, "priority": priority, "attempts": 0, "time": self.cluster.now + delay,
            "state": "delayed" if delay else "ready",
        }  # fmt: skip

    @rule(who=st.integers(0, 1))
    def get(self, who):
        expected = self.ready()
        if expected is None:
            with pytest.raises(Empty):
                self.queues[who].get(block=False)
            return
        task = self.queues[who].get(block=False)
        expected["attempts"] += 1
        assert (task.id, task.attempt) == (expected["id"], expected["attempts"])
        expected.update(state="leased", time=self.cluster.now + LEASE, token=task.token)
        self.held.append(task)

    @precondition(lambda self: self.held)
    @rule(data=st.data(), how=st.sampled_from(["ack", "nack", "heartbeat", "nack_later"]))
    def end(self, data, how):
        task = data.draw(st.sampled_from(self.held))
        mine = self.tasks.get(task.id)
        valid = mine and mine["state"] == "leased" and mine["token"] == task.token
        delay = (1.0,) if how == "nack_later" else ()
        call = getattr(self.queues[0], how.removesuffix("_later"))
        if not valid:
            with pytest.raises(LockLost):
                call(task, *delay)
            return
        call(task, *delay)
        if how == "ack":
            del self.tasks[task.id]
            self.done += 1
        elif how == "heartbeat":
            mine["time"] = self.cluster.now + LEASE
        else:
            self.fail(mine, *delay)

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def advance(self, seconds):
        until = self.cluster.now + seconds
        while True:
            timed = [t for t in self.tasks.values() if t["state"] != "ready" and t["time"] <= until]
            if not timed:
                break
            first = min(timed, key=lambda t: (t["time"], t["id"]))
            self.cluster.advance(max(0.0, first["time"] - self.cluster.now))
            if first["state"] == "leased":
                self.fail(first)
            else:
                first["state"] = "ready"
        self.cluster.advance(until - self.cluster.now)

    @invariant()
    def they_agree(self):
        states = [task["state"] for task in self.tasks.values()]
        expected = Progress(
            states.count("ready"), states.count("delayed"), states.count("leased"), len(self.dead),
            put=len(states) + len(self.dead) + self.done, done=self.done,
            retried=self.queues[0].progress().retried,
        )  # fmt: skip
        assert [queue.progress() for queue in self.queues] == [expected] * 2
        assert [dead.id for dead in self.queues[0].dead_letters()] == self.dead


TestTaskMachine = TaskMachine.TestCase
TestTaskMachine.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
