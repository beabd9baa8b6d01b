"""What goes wrong in PySyncObj, shown not to go wrong here, on three real processes.

Every member has another PYTHONHASHSEED, and clocks that are hours apart.
"""

import sys
import time
from pathlib import Path

import pytest

from syncstructs.cli.processes import LocalCluster, MemberError

MEMBER = (sys.executable, str(Path(__file__).parent.parent / "support" / "odd_member.py"))
OBJECTS = {
    "words": ("syncstructs:ReplSet", []),
    "users": ("syncstructs:ReplDict", []),
    "line": ("syncstructs:ReplList", []),
    "hits": ("syncstructs:ReplCounter", []),
    "urgent": ("syncstructs:ReplPriorityQueue", []),
    "jobs": ("syncstructs:ReplQueue", []),
    "door": ("syncstructs:ReplLock", []),
    "doors": ("syncstructs:ReplLockManager", []),
    "nested": ("odd_objects:Nested", []),
    "half": ("odd_objects:HalfDone", []),
    "shelf": ("odd_objects:Shelf", []),
}


@pytest.fixture(scope="module")
def cluster():
    with LocalCluster(3, objects=OBJECTS, command=MEMBER, config={"session_ttl": 3.0}) as members:
        members.start()
        yield members


@pytest.fixture(autouse=True)
def _replicas_are_equal_afterwards(cluster):
    yield
    for member in cluster:
        member.request("barrier", timeout=10)
    indexes = {}
    for _ in range(200):
        found = cluster.statuses(digests=True)
        indexes = {status["applied_index"] for status in found.values()}
        if len(indexes) == 1:
            assert len({str(status["objects"]) for status in found.values()}) == 1
            return
    pytest.fail(f"members never stood at the same index: {indexes}")


@pytest.mark.parametrize(
    ("name", "method", "args", "error"),
    [
        ("words", "remove", ["absent"], "KeyError"),
        ("line", "pop", [], "IndexError"),
        ("users", "pop", ["absent"], "KeyError"),
        ("half", "fail_after", ["one"], "ValueError"),
    ],
)
def test_a_method_that_raises_raises_in_its_caller_and_the_cluster_goes_on(
    cluster, name, method, args, error
):
    for member in cluster:
        with pytest.raises(MemberError) as caught:
            member.call(name, method, *args)
        assert caught.value.type == error
        assert member.call("hits", "add", 1) > 0


def test_an_unorderable_item_raises_in_put_and_changes_nothing(cluster):
    first, second, _ = cluster
    first.call("urgent", "put", 5)
    with pytest.raises(MemberError) as caught:
        second.call("urgent", "put", "text")
    assert caught.value.type == "TypeError"
    assert second.call("urgent", "get") == 5


def test_set_pop_picks_the_same_element_everywhere(cluster):
    words = [f"word-{i}" for i in range(40)]
    first, second, third = cluster
    first.call("words", "update", words)
    popped = [member.call("words", "pop") for member in (first, second, third) for _ in range(8)]
    left = [member.request("state", name="words") for member in cluster if barrier(member)]
    assert left[0] == left[1] == left[2]
    assert len(popped) == len(set(popped))


def barrier(member):
    member.request("barrier", timeout=10)
    return True


def test_a_nested_replicated_call_happens_once(cluster):
    for i, member in enumerate(cluster, 1):
        assert member.call("nested", "add_twice", 5) == 10 * i
    for member in cluster:
        barrier(member)
        assert member.request("state", name="nested") == {"total": 30, "calls": [5] * 6}


def test_a_command_that_fails_midway_leaves_the_same_state_everywhere(cluster):
    first, *_ = cluster
    before = len(first.request("state", name="half")["steps"])
    with pytest.raises(MemberError):
        first.call("half", "fail_after", "midway")
    for member in cluster:
        barrier(member)
        assert member.request("state", name="half")["steps"][before:] == ["midway"]


def test_a_lock_belongs_to_one_member_and_its_token_grows(cluster):
    tokens = []
    for member in [*cluster, *cluster]:
        assert member.call("door", "acquire") is True
        for other in cluster:
            if other is not member:
                assert other.call("door", "acquire", False) is False
        with pytest.raises(MemberError):
            next(o for o in cluster if o is not member).call("door", "release")
        tokens.append(member.call("door", "__getattribute__", "token"))
        member.call("door", "release")
    assert tokens == sorted(set(tokens))


def test_a_request_that_timed_out_leaves_no_lock_behind(cluster):
    first, second, third = cluster
    assert first.call("door", "acquire") is True
    assert second.call("door", "acquire", True, 0.2) is False
    first.call("door", "release")
    assert third.call("door", "acquire", False) is True
    third.call("door", "release")


def test_a_waiter_is_served_in_order_by_the_release(cluster):
    first, second, third = cluster
    assert first.call("door", "acquire") is True
    waiting = []
    for member in (second, third):
        waiting.append(member.ask("call", name="door", method="acquire", args=[]))
        deadline = time.monotonic() + 30
        while len(first.request("state", name="door")["_waiters"]) != len(waiting):
            assert time.monotonic() < deadline, "the waiter never queued"
    first.call("door", "release")
    assert waiting[0].result(10) is True
    assert not waiting[1].done()
    second.call("door", "release")
    assert waiting[1].result(10) is True
    third.call("door", "release")


def test_a_clock_an_hour_wrong_steals_no_lock(cluster):
    *_, last = cluster
    assert last.call("doors", "acquire", "vault") is True
    for member in cluster:
        assert member.call("doors", "acquire", "vault", False) is False
    last.call("doors", "release", "vault")


def test_a_blocking_get_is_served_by_a_put_of_another_member(cluster):
    first, second, _ = cluster
    waiting = first.ask("call", name="jobs", method="get", args=[])
    second.call("jobs", "put", {"job": 1})
    assert waiting.result(10) == {"job": 1}
