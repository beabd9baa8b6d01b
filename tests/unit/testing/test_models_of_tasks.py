"""The models of tasks and jobs: what callers may have seen, and what they cannot have."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from math import inf
from queue import Empty
from random import Random
from typing import Any

import pytest
from local_cluster import LocalCluster

from syncstructs import ReplScheduler, ReplTaskQueue
from syncstructs.errors import LockLost
from syncstructs.structs.leases import Task
from syncstructs.structs.tasks import DeadTask, Progress
from syncstructs.testing.history import UNKNOWN, History, Op, Raised
from syncstructs.testing.jobmodels import SchedulerModel
from syncstructs.testing.linearizability import Verdict, check, check_witness
from syncstructs.testing.taskfacts import Lease
from syncstructs.testing.taskmodels import TaskQueueModel

TASKS = TaskQueueModel(10.0, max_attempts=2, retry_delay=1.0)
JOBS = SchedulerModel(10.0, max_attempts=2, retry_delay=1.0)
LOST = Raised.of(LockLost("by the test"))
NONE = Raised.of(Empty())
GOOD, BAD = Verdict.LINEARIZABLE, Verdict.NOT_LINEARIZABLE
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)


def ops_of(*rows: tuple) -> list[Op]:
    """Return operations of (method, args, call, outcome), and an end if it is not a bit later.

    What is not given by position stands in a dictionary at the end of the arguments; the first
    word of a method may be who calls.
    """
    ops = []
    for number, (name, args, call, outcome, *end) in enumerate(rows, 1):
        who, _, method = name.rpartition(" ")
        *args, how = args if args and type(args[-1]) is dict else (*args, {})
        ops.append(Op(
            id=number, process=who or f"p{number}", method=method, args=tuple(args), kwargs=how,
            call=call, end=end[0] if end else call + 0.1, outcome=outcome,
        ))  # fmt: skip
    return ops


def verdict(*rows: tuple, model: TaskQueueModel = TASKS) -> Verdict:
    return check(ops_of(*rows), model).verdict


def jobs(*rows: tuple) -> Verdict:
    return verdict(*rows, model=JOBS)


def put(id_: int, call: float, **how: Any) -> tuple:
    return "put", (f"task {id_}", how), call, id_


def lease(id_: int, token: int, attempt: int = 1, key: str | None = None) -> Lease:
    return Lease(id_, token, attempt, key, f"task {id_}")


def get(id_: int, token: int, call: float, attempt: int = 1, **how: Any) -> tuple:
    return "get", (how,), call, lease(id_, token, attempt, how.pop("key", None))


def ends(method: str, id_: int, token: int, call: float, outcome: object = None) -> tuple:
    return method, (lease(id_, token),), call, outcome


def expect(good: Any, bad: Any, judge: Any = verdict) -> None:
    """See that the first rows are accepted, and the others refused."""
    assert (judge(*good), judge(*bad)) == (GOOD, BAD)


# One task


def test_a_task_is_put_before_it_is_taken() -> None:
    expect([put(1, 0), get(1, 2, 1)], [get(1, 2, 0), put(1, 1)])
    assert verdict(get(1, 2, 0)) is BAD


def test_a_task_has_the_payload_and_the_key_that_was_put() -> None:
    other = "get", (), 1, Lease(1, 2, 1, None, "task 9")
    expect([put(1, 0), get(1, 2, 1)], [put(1, 0), other])
    expect([put(1, 0, key="k"), get(1, 2, 1, key="k")], [put(1, 0, key="k"), get(1, 2, 1)])


def test_a_task_is_not_taken_before_its_delay_is_over() -> None:
    expect([put(1, 0, delay=5.0), get(1, 2, 5)], [put(1, 0, delay=5.0), get(1, 2, 4)])


def test_a_leased_task_is_nobody_elses_before_its_lease_has_ended() -> None:
    held = put(1, 0), get(1, 2, 1)
    expect([*held, get(1, 3, 12, 2)], [*held, get(1, 3, 11, 2)])
    short = put(1, 0), get(1, 2, 1, lease=3.0)
    expect([*short, get(1, 3, 5, 2)], [*short, get(1, 3, 4, 2)])
    assert verdict(put(1, 0), get(1, 2, 1, lease=None), get(1, 3, 1000, 2)) is BAD


def test_a_heartbeat_makes_a_lease_longer() -> None:
    held = put(1, 0), get(1, 2, 1), ends("heartbeat", 1, 2, 6)
    expect([*held, get(1, 3, 17, 2)], [*held, get(1, 3, 16, 2)])
    forever = put(1, 0), get(1, 2, 1), ("heartbeat", (lease(1, 2), None), 6, None)
    assert verdict(*forever, get(1, 3, 100, 2)) is BAD


def test_what_was_given_back_is_taken_again_after_its_delay() -> None:
    held = put(1, 0), get(1, 2, 1), ends("nack", 1, 2, 2)
    expect([*held, get(1, 3, 3, 2)], [*held, get(1, 3, 2.5, 2)])
    at_once = put(1, 0), get(1, 2, 1), ("nack", (lease(1, 2), 0.0), 2, None)
    assert verdict(*at_once, get(1, 3, 2.5, 2)) is GOOD


def test_attempts_are_counted_one_by_one() -> None:
    held = put(1, 0), get(1, 2, 1), ends("nack", 1, 2, 2)
    expect([*held, get(1, 3, 4, 2)], [*held, get(1, 3, 4, 1)])
    three = TaskQueueModel(10.0, max_attempts=3)
    assert verdict(*held, get(1, 3, 4, 3), model=three) is BAD
    unseen = "get", (), 3, UNKNOWN, inf
    assert verdict(*held, unseen, get(1, 3, 40, 3), model=three) is GOOD


def test_only_so_many_attempts_are_missing_as_calls_may_have_used_up() -> None:
    unseen = "get", (), 0, UNKNOWN, inf
    expect(
        [put(1, 0), put(2, 0), unseen, get(1, 3, 40, 2)],
        [put(1, 0), put(2, 0), unseen, get(1, 3, 40, 2), get(2, 4, 40, 2)],
    )


def test_nothing_is_tried_more_often_than_it_may_be() -> None:
    tried = put(1, 0), get(1, 2, 1), ends("nack", 1, 2, 2), get(1, 3, 4, 2), ends("nack", 1, 3, 5)
    assert verdict(*tried) is GOOD
    assert verdict(*tried, get(1, 4, 9, 3)) is BAD
    assert verdict(*tried, ("revive", (), 8, 1), get(1, 4, 9)) is GOOD
    assert verdict(*tried, ("revive", ([7],), 8, 0), get(1, 4, 9)) is BAD


def test_who_acknowledges_has_the_lease() -> None:
    held = put(1, 0), get(1, 2, 1)
    expect([*held, ends("ack", 1, 2, 2)], [*held, ends("ack", 1, 3, 2)])
    again = *held, ends("nack", 1, 2, 2), get(1, 3, 4, 2)
    for method in ("ack", "nack", "heartbeat"):
        expect([*again, ends(method, 1, 3, 5)], [*again, ends(method, 1, 2, 5)])
        assert verdict(*again, ends(method, 1, 2, 5, LOST)) is GOOD


def test_who_acknowledges_late_had_the_lease_all_the_time() -> None:
    # The next one is granted as if the first had ended, and the first counts after all.
    held = put(1, 0), get(1, 2, 1)
    expect(
        [*held, ends("ack", 1, 2, 30)], [*held, get(1, 3, 12, 2), ends("ack", 1, 2, 30)]
    )


def test_nobody_gets_a_task_that_was_acknowledged() -> None:
    done = put(1, 0), get(1, 2, 1), ends("ack", 1, 2, 2)
    assert verdict(*done, get(1, 3, 40, 2)) is BAD
    assert verdict(*done[:2], ("ack", (lease(1, 2),), 2, UNKNOWN, inf), get(1, 3, 40, 2)) is GOOD


def test_a_lease_is_lost_only_once_it_may_have_ended() -> None:
    held = put(1, 0), get(1, 2, 1)
    for method in ("ack", "nack", "heartbeat"):
        expect([*held, ends(method, 1, 2, 11, LOST)], [*held, ends(method, 1, 2, 9, LOST)])
    again = put(1, 0), get(1, 2, 1), ends("ack", 1, 2, 11, LOST)
    assert verdict(*again, ends("ack", 1, 2, 12)) is BAD


def test_a_lease_ends_with_the_session_of_its_owner() -> None:
    held = put(1, 0), ("ann get", ({"lease": None},), 1, lease(1, 2))
    for loss in (("ann lost", (), 3, None), ("ann lost", (), 3, UNKNOWN, inf)):
        expect([*held, loss, get(1, 3, 4.2, 2)], [*held, loss, get(1, 3, 3.5, 2)])
    for beat in ((), [("bob heartbeat", (lease(1, 2), None), 2, None)]):
        assert verdict(*held, *beat, ("ann lost", (), 3, None), get(1, 3, 5, 2)) is GOOD
        assert verdict(*held, *beat, ("bob lost", (), 3, None), get(1, 3, 5, 2)) is BAD
    assert verdict(*held, ("ann lost", (), 0.5, None), get(1, 3, 5, 2)) is BAD
    any_time = TaskQueueModel(10.0, max_attempts=2, expiry=True)
    assert verdict(*held, get(1, 3, 4, 2), model=any_time) is GOOD


def test_dead_tasks_are_those_whose_attempts_are_used_up() -> None:
    dead = DeadTask(1, None, "task 1", 0, 2, None)
    once = put(1, 0), get(1, 2, 1), ends("nack", 1, 2, 2)
    twice = *once, get(1, 3, 4, 2), ends("nack", 1, 3, 5)
    expect([*twice, ("dead_letters", (), 6, [dead])], [*once, ("dead_letters", (), 6, [dead])])
    expect([*once, ("dead_letters", (), 6, [])], [*twice, ("dead_letters", (), 6, [])])
    discarded = *twice, ("discard", (), 6, 1)
    assert verdict(*discarded, ("dead_letters", (), 7, [])) is GOOD
    wrong = dead._replace(payload="another")
    assert verdict(*twice, ("dead_letters", (), 6, [wrong])) is BAD


def test_a_key_has_one_task_at_a_time() -> None:
    first = put(1, 0, key="k")
    again = "put", ("other", {"key": "k"})
    expect([first, (*again, 1, 1)], [first, (*again, 1, 2)])
    done = first, get(1, 3, 1, key="k"), ends("ack", 1, 3, 2)
    expect([*done, (*again, 3, 4)], [*done, (*again, 3, 1)])
    without = "put", ("other",)
    expect([first, (*without, 1, 2)], [put(1, 0), (*without, 1, 1)])


def test_who_came_first_with_a_key_has_put_the_task() -> None:
    both = ("put", ("a", {"key": "k"}), 0, 1, 5), ("put", ("b", {"key": "k"}), 0, 1, 5)
    for payload in "ab":
        assert verdict(*both, ("get", (), 6, Lease(1, 2, 1, "k", payload))) is GOOD
    assert verdict(*both, ("get", (), 6, Lease(1, 2, 1, "k", "c"))) is BAD


def test_a_put_of_unknown_outcome_explains_one_task() -> None:
    for how in ({}, {"key": "k"}):
        key = how.get("key")
        unknown = "put", ("task 1", how), 0, UNKNOWN, inf
        assert verdict(unknown, get(1, 2, 1, key=key)) is GOOD
        assert verdict(get(1, 2, 1, key=key), ("put", ("task 1", how), 3, UNKNOWN, inf)) is BAD
        other = "get", (), 2, Lease(3, 4, 1, key, "task 1")
        assert verdict(unknown, get(1, 2, 1, key=key), other) is BAD


# All together


def test_ids_and_tokens_are_given_once_and_grow() -> None:
    expect([put(1, 0), put(2, 1)], [put(2, 0), put(1, 1)])
    both = put(1, 0), put(2, 0)
    expect([*both, get(1, 3, 1), get(2, 4, 2)], [*both, get(1, 4, 1), get(2, 3, 2)])
    assert verdict(*both, get(1, 3, 1), get(2, 3, 1)) is BAD
    assert verdict(put(3, 0), get(3, 2, 0)) is BAD


def test_the_highest_priority_is_taken_first_and_then_the_oldest() -> None:
    both = put(1, 0), put(2, 1)
    expect([*both, get(1, 3, 2)], [*both, get(2, 3, 2)])
    ranked = put(1, 0), put(2, 1, priority=1)
    expect([*ranked, get(2, 3, 2)], [*ranked, get(1, 3, 2)])
    # By their numbers, although the calls were concurrent.
    wide = ("put", ("task 1",), 0, 1, 9), ("put", ("task 2",), 0, 2, 9)
    assert verdict(*wide, ("get", (), 0, lease(2, 3), 9)) is BAD


def test_who_may_have_a_task_unseen_lets_others_pass() -> None:
    both = put(1, 0), put(2, 1)
    assert verdict(*both, ("get", (), 1, UNKNOWN, inf), get(2, 3, 2)) is GOOD
    assert verdict(*both, ("get", (True, 1.0), 1.5, NONE, 2.05), get(2, 3, 2)) is GOOD
    assert verdict(*both, ("get", (True, 1.0), 1.2, NONE, 1.9), get(2, 3, 2)) is BAD
    assert verdict(put(1, 0, delay=1.0), put(2, 1), get(2, 3, 2)) is GOOD


def test_who_does_not_wait_finds_what_is_ready() -> None:
    none = "get", (False,), 1, NONE
    expect([none], [put(1, 0), none])
    expect([put(1, 0), get(1, 2, 0.5), none], [put(1, 0), none, get(1, 2, 2)])
    assert verdict(put(1, 0), ("get", (True, 0.1), 1, NONE)) is GOOD
    assert verdict(put(1, 0), ("get", (), 0, UNKNOWN, inf), none) is GOOD


def test_progress_counts_what_was_put_and_done() -> None:
    done = put(1, 0), put(2, 0), get(1, 3, 1), ends("ack", 1, 3, 2)
    right = Progress(1, 0, 0, 0, put=2, done=1, retried=0)
    assert verdict(*done, ("progress", (), 3, right)) is GOOD
    for wrong in (
        right._replace(put=3), right._replace(put=1), right._replace(done=0, ready=2),
        right._replace(done=2, ready=0), right._replace(ready=0),
    ):  # fmt: skip
        assert verdict(*done, ("progress", (), 3, wrong)) is BAD


# How it is recorded


def test_cluster_time_is_what_the_history_says_of_it() -> None:
    def time_at(time: float) -> tuple[float, float]:
        return 10 * time, 10 * time + 1

    model = TaskQueueModel(10.0, time_at=time_at)
    held = put(1, 0), get(1, 2, 1)
    assert verdict(*held, get(1, 3, 2, 2), model=model) is GOOD
    assert verdict(*held, get(1, 3, 1.8, 2), model=model) is BAD


def test_tasks_are_taken_as_they_are_and_as_they_are_written_down() -> None:
    task = Task(None, 1, 2, 1, None, "task 1")  # type: ignore[arg-type]
    rows = put(1, 0), ("get", (), 1, task), ("ack", (task,), 2, None)
    assert verdict(*rows) is GOOD
    row, stream = tuple(lease(1, 2)), io.StringIO()
    History.of(ops_of(put(1, 0), ("get", (), 1, row), ("ack", (row,), 2, None))).dump(stream)
    stream.seek(0)
    read = list(History.load(stream))
    assert check(read, TASKS).verdict is GOOD
    # Refused for what was read of the lease, and not as if nobody had got anything.
    assert check(read[1:], TASKS).verdict is BAD


def test_what_no_queue_of_tasks_has_is_refused() -> None:
    with pytest.raises(ValueError, match="no method 'pop'"):
        verdict(("pop", (), 0, None))
    with pytest.raises(ValueError, match="use check"):
        check_witness(ops_of(put(1, 0)), TASKS)


# Jobs


def add(call: float, outcome: object = True, payload: str = "x", **how: Any) -> tuple:
    return "add", ("job", payload, how), call, outcome


def due(
    id_: int, token: int, call: float, at: datetime | None = NOON, payload: str = "x"
) -> tuple:
    return "get", (), call, Lease(id_, token, 1, "job", payload, at)


def done(id_: int, token: int, call: float) -> tuple:
    return "ack", (Lease(id_, token, 1, "job", "x"),), call, None


def test_an_interval_has_to_be_over() -> None:
    expect([add(0, every=5.0), due(1, 2, 5)], [add(0, every=5.0), due(1, 2, 4.8)], jobs)
    again = add(0, every=5.0), due(1, 2, 8), done(1, 2, 9)
    expect([*again, due(3, 4, 10)], [*again, due(3, 4, 9.8)], jobs)
    assert jobs(due(1, 2, 5)) is BAD


def test_a_task_has_the_payload_of_its_job_and_says_when_it_was_due() -> None:
    job = add(0, every=5.0)
    expect([job, due(1, 2, 5)], [job, due(1, 2, 5, payload="y")], jobs)
    assert jobs(job, due(1, 2, 5, None)) is BAD


def test_a_job_does_not_overlap_itself() -> None:
    job = add(0, every=5.0), due(1, 2, 5)
    expect([*job, done(1, 2, 6), due(3, 4, 10)], [*job, due(3, 4, 10), done(1, 2, 11)], jobs)
    assert jobs(*job, due(3, 4, 10)) is BAD


def test_a_job_by_the_time_of_day_is_due_once_for_each_of_its_times() -> None:
    minutely = add(0, cron="* * * * *")
    expect([minutely, due(1, 2, 5)], [minutely, due(1, 2, 5, NOON + timedelta(seconds=1))], jobs)
    again = minutely, due(1, 2, 5), done(1, 2, 6)
    expect([*again, due(3, 4, 7, NOON + timedelta(minutes=1))], [*again, due(3, 4, 7)], jobs)
    once = add(0, at=NOON)
    expect([once, due(1, 2, 5)], [once, due(1, 2, 5, NOON + timedelta(minutes=1))], jobs)
    assert jobs(once, due(1, 2, 5), done(1, 2, 6), due(3, 4, 7)) is BAD
    assert jobs(once, due(1, 2, 5), done(1, 2, 6), add(7, False, at=NOON)) is GOOD
    assert jobs(once, due(1, 2, 5), done(1, 2, 6), add(7, at=NOON)) is BAD


def test_adding_says_whether_it_changed_anything() -> None:
    expect([add(0, every=5.0), add(1, False, every=5.0)], [add(0, False, every=5.0)], jobs)
    assert jobs(add(0, every=5.0), add(1, every=5.0)) is BAD
    assert jobs(add(0, every=5.0), add(1, payload="y", every=5.0)) is GOOD
    assert jobs(add(0, every=5.0), add(1, False, payload="y", every=5.0)) is BAD
    # What has the same schedule is due when it was.
    changed = add(0, every=5.0), add(4, payload="y", every=5.0)
    assert jobs(*changed, due(1, 2, 5, payload="y")) is GOOD
    assert jobs(add(0, every=6.0), add(4, every=5.0), due(1, 2, 6)) is BAD


def test_a_job_that_is_triggered_has_a_task() -> None:
    job, trigger = add(0, every=50.0), ("trigger", ("job",))
    expect([job, (*trigger, 1, True), due(1, 2, 2, None)], [job, due(1, 2, 2, None)], jobs)
    expect([job, (*trigger, 1, True), (*trigger, 2, False)], [job, (*trigger, 2, False)], jobs)
    assert jobs(job, (*trigger, 1, True), (*trigger, 2, True)) is BAD
    assert jobs(job, (*trigger, 1, True), due(1, 2, 2)) is BAD
    absent = *trigger, 1, Raised("KeyError", ("job",))
    expect([absent], [job, absent], jobs)
    assert jobs(add(0, at=NOON), absent) is GOOD


def test_a_job_that_is_removed_puts_no_more_tasks() -> None:
    job, remove = add(0, every=5.0), ("remove", ("job",))
    expect([job, (*remove, 1, True)], [(*remove, 1, True)], jobs)
    expect([(*remove, 1, False)], [job, (*remove, 1, False)], jobs)
    assert jobs(job, (*remove, 6, True), due(1, 2, 7)) is BAD
    triggered = job, ("trigger", ("job",), 1, True)
    expect(
        [*triggered, due(1, 2, 2, None), (*remove, 3, True), done(1, 2, 4)],
        [*triggered, (*remove, 2, True), due(1, 2, 3, None)],
        jobs,
    )
    # Also if there is no job, or no more.
    single = "put", ("x", {"key": "job"}), 0, 1
    assert jobs(single, due(1, 2, 2, None)) is GOOD
    assert jobs(single, (*remove, 1, False), due(1, 2, 2, None)) is BAD
    # Whether it was leased still, nobody knows.
    held = *triggered, due(1, 2, 2, None), (*remove, 13, True), add(14, every=5.0)
    assert jobs(*held, due(3, 4, 19)) is GOOD
    assert jobs(*held, done(1, 2, 15)) is GOOD


def test_what_was_put_in_a_scheduler_is_a_task_as_any_other() -> None:
    expect([put(1, 0), get(1, 2, 1)], [put(1, 0), get(1, 2, 1), get(1, 3, 2, 2)], jobs)
    # What was put with the key of a job that was removed may be the task that it has left.
    left = add(0, every=50.0), ("trigger", ("job",), 1, True), ("get", (), 1, UNKNOWN, inf)
    same = *left, ("remove", ("job",), 2, True), ("put", ("y", {"key": "job"}), 3, 4)
    for payload in "xy":
        assert jobs(*same, due(4, 5, 4, None, payload)) is GOOD
    assert jobs(*same, due(4, 5, 4, None, "z")) is BAD
    # With the key of a job, it is what keeps it from overlapping itself.
    single = add(0, every=5.0), ("put", ("x", {"key": "job"}), 1, 1)
    assert jobs(*single, due(1, 2, 2, None)) is GOOD
    assert jobs(*single, due(3, 4, 6)) is BAD


def test_a_task_has_one_key_and_is_among_the_dead_once() -> None:
    expect([put(1, 0, key="a"), put(2, 1, key="b")], [put(1, 0, key="a"), put(1, 1, key="b")])
    expect([put(1, 0, key="a"), put(2, 1)], [put(1, 0, key="a"), put(1, 1)])
    tried = put(1, 0, key="a"), get(1, 2, 1, key="a"), ends("nack", 1, 2, 2)
    died = *tried, get(1, 3, 4, 2, key="a"), ends("nack", 1, 3, 5)
    row = DeadTask(1, "a", "task 1", 0, 2, None)
    for wrong in [row._replace(key="b")], [row._replace(key=None)], [row, row]:
        expect([*died, ("dead_letters", (), 6, [row])], [*died, ("dead_letters", (), 6, wrong)])


# Odd calls


@pytest.mark.parametrize("outcome", [UNKNOWN, Raised("TypeError")])
@pytest.mark.parametrize(("method", "args"), [
    ("put", ("x", 0, 0.0, ["k"])), ("put", ("x", 0, "soon")), ("put", ("x", 0, None)),
    ("revive", ([[1]],)), ("revive", (0,)), ("discard", (1,)), ("ack", (5,)), ("nack", (None,)),
    ("add", (["k"], 1)), ("trigger", (["k"],)), ("remove", (["k"],)),
])  # fmt: skip
def test_a_call_that_can_only_raise_does_nothing(method: str, args: Any, outcome: Any) -> None:
    odd = method, args, 1, outcome, inf
    assert jobs(put(1, 0), odd, get(1, 2, 2)) is GOOD
    assert jobs(put(1, 0), odd, get(3, 4, 2)) is BAD


def test_reads_that_raised_say_nothing() -> None:
    ended = Raised("RuntimeError", ("the node has ended",))
    tried = ("get", (), 0, UNKNOWN, 0.1), put(1, 0), get(1, 2, 1, 2), ends("nack", 1, 2, 2)
    expect([*tried, ("dead_letters", (), 3, ended)], [*tried, ("dead_letters", (), 3, [])])
    assert verdict(*tried, ("progress", (), 3, ended)) is GOOD


@pytest.mark.parametrize(("method", "outcome"), [
    ("get", None), ("get", "<Task 1>"), ("get", (1, 2)), ("dead_letters", None),
    ("dead_letters", "[DeadTask(id=1)]"), ("progress", "Progress(ready=1)"), ("progress", (1,)),
])  # fmt: skip
def test_what_no_call_returns_is_refused(method: str, outcome: object) -> None:
    with pytest.raises(ValueError, match="taskmodels"):
        verdict(put(1, 0), (method, (), 1, outcome))


def test_rows_stand_for_what_was_written_down() -> None:
    wrong = [0, 0, 0, 0, 5, 5, 0]
    assert verdict(put(1, 0), ("progress", (), 1, wrong)) is BAD
    assert verdict(put(1, 0), ("dead_letters", (), 1, [[1, None, "task 1", 0, 2, None]])) is BAD


# What these types really do


class Workers:
    """Callers of two members who make calls of all kinds at random, and what they saw."""

    pauses = (0.2, 1.0, 4.0)

    def __init__(self, make: Any, seed: int) -> None:
        self.cluster = LocalCluster(2)
        self.objects = self.cluster.attach("tasks", make)
        self.random = Random(seed)
        self.history = History(lambda: self.cluster.now)
        self.taken: list[Any] = []

    def call(self, method: str, *args: Any, **how: Any) -> None:
        member = self.random.randrange(2)
        self.cluster.advance(0.001)
        number = self.history.begin(f"m{member}", method, args, how)
        future = getattr(self.objects[member], method).submit(*args, **how)
        future.add_done_callback(lambda ended: self.ended(number, ended))

    def ended(self, number: int, future: Any) -> None:
        self.cluster.now += 0.001
        if future.cancelled():
            return
        if future.exception() is not None:
            self.history.fail(number, future.exception())
            return
        self.history.end(number, future.result())
        if isinstance(future.result(), Task):
            self.taken.append(future.result())

    def read(self, method: str) -> None:
        number = self.history.begin("m0", method)
        self.history.end(number, getattr(self.objects[0], method)())

    def expire(self) -> None:
        member = self.random.randrange(2)
        if self.cluster.members[member].session:
            number = self.history.begin(f"m{member}", "lost")
            self.cluster.expire(member)
            self.history.end(number)

    def step(self) -> None:
        random = self.random
        seconds = random.choice((0.0, 0.5, 3.0))
        task = random.choice(self.taken[-4:]) if self.taken else None
        kinds = {"put": 2, "get": 3, "end": 3, "look": 1, "pass": 1}
        (kind,) = random.choices(list(kinds), kinds.values())
        if kind == "put":
            self.put(random.choice((0, 0, 1)), random.choice((0.0, seconds)))
        elif kind == "get":
            lease = random.choice(({}, {"lease": seconds + 0.5}, {"lease": None}))
            self.call("get", *random.choice(((), (False,), (False,), (True, seconds))), **lease)
        elif kind == "end" and task is not None:
            calls = ("ack",), ("nack",), ("nack", seconds), ("heartbeat",), ("heartbeat", None)
            method, *args = random.choice(calls)
            self.call(method, task, *args)
        elif kind == "look":
            self.look(random.randrange(8))
        else:
            self.cluster.advance(random.choice(self.pauses))

    def put(self, priority: int, delay: float) -> None:
        key = self.random.choice((None, None, "a", "b"))
        self.call("put", self.random.randrange(100), priority, delay, key)

    def look(self, what: int) -> None:
        if what < 5:
            self.read(("dead_letters", "progress")[what % 2])
        elif what == 5:
            self.expire()
        else:
            dead = [task.id for task in self.objects[0].dead_letters()]
            self.call(("revive", "discard")[what % 2], self.random.choice((None, dead[:1])))


class Rota(Workers):
    """The same of a scheduler, with jobs."""

    # So that cron jobs are due as well.
    pauses = (0.2, 1.0, 4.0, 40.0)

    def put(self, priority: int, delay: float) -> None:
        random, name = self.random, self.random.choice("abc")
        hour = datetime.fromtimestamp(self.cluster.members[0].wall_time() + delay, UTC)
        schedules = {"every": random.choice((1.0, 2.0))}, {"cron": "* * * * *"}, {"at": hour}
        kind = random.random()
        if kind < 0.5:
            self.call("add", name, random.randrange(2), **random.choice(schedules))
        elif kind < 0.9:
            self.call(random.choice(("trigger", "remove")), name)
        else:
            super().put(priority, delay)


@pytest.mark.parametrize("seed", range(15))
@pytest.mark.parametrize(("workers", "kind"), [(Workers, ReplTaskQueue), (Rota, ReplScheduler)])
def test_what_they_do_is_accepted(workers: Any, kind: Any, seed: int) -> None:
    terms: dict[str, Any] = {"lease": 2.0, "max_attempts": 2, "retry_delay": 0.5}
    calls = workers(lambda: kind(**terms), seed)
    for _ in range(100):
        calls.step()
    model = TaskQueueModel if kind is ReplTaskQueue else SchedulerModel
    check(calls.history, model(**terms)).require()
