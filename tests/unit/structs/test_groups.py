"""Presence: who is there, in which order, and what each member is told of it."""

import logging

import pytest
from local_cluster import LocalCluster

from syncstructs import Replicated, notify, replicated
from syncstructs.errors import Cancelled, NotOwner, SessionExpired, Withdrawn
from syncstructs.futures import Future
from syncstructs.objects.context import current_context
from syncstructs.structs.groups import ReplGroup


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def addresses(group):
    return [int(address[len("member")]) for address in group.members]


def refuse(port, error):
    """Let every call of a member from now on end with an error, unsent."""
    calls = []

    def submit(*args):
        future = Future(port.cluster, lambda: True)
        calls.append(future)
        if error is not None:
            future.finish(None, error)
        return future

    port.submit = submit
    return calls


def test_members_stand_in_the_order_of_joining_and_keep_their_place(cluster):
    a, b, c = cluster.attach("group", ReplGroup)
    assert c.join("third")
    assert a.join()
    assert b.join({"port": 80})
    assert not c.join("again")
    a.update([1])
    expected = {"member2:1": "again", "member0:1": [1], "member1:1": {"port": 80}}
    for group in (a, b, c):
        assert list(group.members.items()) == list(expected.items())
        assert len(group) == 3
        assert "member1:1" in group
        assert "member3:1" not in group
    assert c.leave()
    assert not c.leave()
    assert c.join()
    assert addresses(a) == [0, 1, 2]
    assert "member2:1" in repr(a)


def test_metadata_is_nobody_elses(cluster):
    a, b, _ = cluster.attach("group", ReplGroup)
    tags = ["x"]
    a.join(tags)
    tags.append("y")
    b.members["member0:1"].append("z")
    assert a.members == b.members == {"member0:1": ["x"]}
    cluster.expire(0)
    assert b.members == {"member0:1": ["x"]}, "what it joins again with was changed from outside"


def test_who_has_not_joined_has_no_metadata_to_change(cluster):
    a, b, _ = cluster.attach("group", ReplGroup)
    b.join()
    with pytest.raises(NotOwner, match="no member"):
        a.update(1)
    a.join()
    a.leave()
    with pytest.raises(NotOwner):
        a.update(1)
    assert addresses(a) == [1]


def test_a_session_that_ends_takes_out_its_node_and_a_new_one_joins_with_the_last_metadata(cluster):
    seen = []
    a, b, _ = cluster.attach("group", ReplGroup)
    a.join("old")
    b.join()
    a.update("new")
    b.on_leave = lambda *args: seen.append(("left", *args))
    b.on_join = lambda *args: seen.append(("joined", *args))
    cluster.expire(0)
    assert list(b.members) == ["member1:1", "member0:1"]
    assert b.members["member0:1"] == "new"
    assert seen == [("left", "member0:1", "new"), ("joined", "member0:1", "new")]


def test_who_has_left_does_not_come_back(cluster):
    a, b, _ = cluster.attach("group", ReplGroup)
    a.join()
    a.leave()
    cluster.expire(0)
    assert b.members == {}
    a.join()
    b.join()
    cluster.expire(0)
    assert addresses(b) == [1, 0]


def test_who_has_joined_joins_again_where_its_handle_was_given_a_new_place(cluster):
    a, b, _ = cluster.attach("group", ReplGroup)
    a.join("kept")
    for number in range(3):
        cluster.reload(number)
    cluster.expire(0)
    assert b.members == {"member0:1": "kept"}


def test_a_session_that_may_have_ended_and_lives_is_no_news(cluster):
    seen = []
    a, b, _ = cluster.attach("group", ReplGroup)
    a.join(1)
    b.join(2)
    b.on_leave = b.on_join = lambda *args: seen.append(args)
    a.on_session_lost()
    assert list(b.members.items()) == [("member0:1", 1), ("member1:1", 2)]
    assert seen == []


def test_what_was_not_applied_is_not_wanted(cluster):
    a, b, _ = cluster.attach("group", ReplGroup)
    port = cluster.members[0]
    joined = a.join.submit("kept")
    assert joined.result(0)
    # Both are under way at once, and neither is applied: what was before them counts again.
    calls = refuse(port, None)
    tries = [a.update.submit("lost"), a.leave.submit()]
    calls[1].finish(None, Withdrawn("no leader"))
    calls[0].finish(None, Withdrawn("no leader"))
    for future in tries:
        assert isinstance(future.exception(0), Withdrawn)
    del port.submit
    cluster.expire(0)
    assert b.members == {"member0:1": "kept"}
    a.leave()
    refuse(port, Withdrawn("no leader"))
    with pytest.raises(Withdrawn):
        a.join("never")
    del port.submit
    a.on_session_lost()
    assert b.members == {}


@pytest.mark.parametrize("joined", [True, False])
def test_what_was_not_applied_does_not_count_though_the_node_has_joined_again(cluster, joined):
    a, b, _ = cluster.attach("group", ReplGroup)
    if joined:
        a.join("kept")
    port = cluster.members[0]
    calls = refuse(port, None)
    future = a.update.submit("lost") if joined else a.join.submit("lost")
    del port.submit
    # The session may have expired, so it joins again; then it is known that the call was too late.
    a.on_session_lost()
    assert b.members == {"member0:1": "lost"}
    calls[0].finish(None, SessionExpired("too late"))
    assert isinstance(future.exception(0), SessionExpired)
    assert b.members == ({"member0:1": "kept"} if joined else {})


def test_what_was_not_applied_says_so_though_the_group_was_dropped(cluster):
    a, _, _ = cluster.attach("group", ReplGroup)
    a.join("kept")
    port = cluster.members[0]
    calls = refuse(port, None)
    future = a.update.submit("lost")
    del port.submit
    a.on_session_lost()
    cluster.drop(1, "group")
    calls[0].finish(None, SessionExpired("too late"))
    assert isinstance(future.exception(0), SessionExpired)


def test_cancelled_before_it_was_sent_it_is_not_wanted(cluster):
    a, b, _ = cluster.attach("group", ReplGroup)
    port = cluster.members[0]
    refuse(port, None)
    future = a.join.submit()
    future.cancel()
    with pytest.raises(Cancelled):
        future.result(0)
    del port.submit
    a.on_session_lost()
    assert b.members == {}


def test_a_leave_that_waits_for_the_cluster_is_the_last_word(cluster):
    a, b, _ = cluster.attach("group", ReplGroup)
    a.join()
    port = cluster.members[0]
    calls = refuse(port, None)
    a.leave.submit()
    del port.submit
    cluster.expire(0)
    assert len(calls) == 1
    assert b.members == {}


def test_joins_and_leaves_are_told_outside_of_commands_and_what_they_raise_changes_nothing(
    cluster, caplog
):
    seen = []

    def told(*args):
        with pytest.raises(RuntimeError):
            current_context()
        seen.append(args)
        raise ValueError("a user's error")

    a, b, _ = cluster.attach("group", lambda: ReplGroup(on_join=told, on_leave=told))
    with caplog.at_level(logging.ERROR):
        a.join({"k": 1})
        a.update({"k": 2})
        a.leave()
    assert seen == [("member0:1", {"k": 1})] * 3 + [("member0:1", {"k": 2})] * 3
    assert "notify" in caplog.text
    seen[0][1]["k"] = seen[1][1]["k"] = 5
    assert b.members == {}


def test_of_a_state_that_is_taken_over_the_difference_is_told(cluster):
    a, b, c = cluster.attach("group", ReplGroup)
    for number, group in enumerate((a, b, c)):
        group.join(number)
    before = a.snapshot_state()
    seen = []
    group = ReplGroup()
    cluster.attach_on(0, "copy", group)
    group.on_join = lambda address, metadata: seen.append(("+", address, metadata))
    group.on_leave = lambda address, metadata: seen.append(("-", address, metadata))
    group.restore_state(before)
    cluster.members[0].tell()
    assert seen == [("+", f"member{n}:1", n) for n in range(3)]
    seen.clear()
    members = before["_members"]
    after = {"member2:1": members["member2:1"], "member0:1": (77, "new life")}
    group.restore_state({"_members": after})
    cluster.members[0].tell()
    assert seen == [("-", "member0:1", 0), ("-", "member1:1", 1), ("+", "member0:1", "new life")]
    group.restore_state({"_members": {}})


def test_a_group_that_is_attached_late_tells_who_is_there(cluster):
    a = cluster.attach_on(0, "group", ReplGroup())
    a.join("first")
    seen = []
    late = ReplGroup(on_join=lambda *args: seen.append(args))
    cluster.attach_on(1, "group", late)
    assert seen == [("member0:1", "first")]
    late.join()
    assert seen[1:] == [("member1:1", None)]


def test_a_class_of_ones_own_notifies_as_well(cluster):
    class Threshold(Replicated):
        LOCAL = frozenset({"seen"})

        def __init__(self):
            self.value = 0
            self.seen = []

        @replicated
        def add(self, number):
            self.value += number
            if self.value > 2:
                notify(self, self.seen.append, self.value)
            assert not self.seen

    alone = Threshold()
    notify(alone, alone.seen.append, 1)
    a, b, _ = cluster.attach("threshold", Threshold)
    a.add(2)
    a.add(1)
    assert (a.seen, b.seen, alone.seen) == ([3], [3], [])
