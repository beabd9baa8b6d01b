"""There is room for one state, and not for two: snapshots are taken, sent and taken over."""

import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from syncstructs import BindError, Node, ReplDict
from syncstructs.cli.processes import LocalCluster, free_addresses
from syncstructs.node.engine import Engine
from syncstructs.node.runners import Runner

STATE_BYTES = 160_000_000
# What a member needs besides is some 60 MB.
LIMIT_BYTES = STATE_BYTES + 130_000_000
SUPPORT = Path(__file__).parents[1] / "support"
COMMAND = (sys.executable, str(SUPPORT / "limited_member.py"), str(LIMIT_BYTES))
CONFIG = {"snapshot_log_entries": 20, "log_keep_bytes": 1}

def snapshots_of(cluster):
    return [status["snapshot_index"] for status in cluster.statuses().values()]


def until(condition, member):
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, member.log_tail()
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform != "linux", reason="the limit is one of Linux")
@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_a_member_that_has_room_for_one_state_takes_a_snapshot_and_is_filled(tmp_path, kept):
    objects = {"heap": ("limited_member:Heap", [])}
    data_dir = tmp_path if kept == "disk" else None
    with LocalCluster(
        3, objects=objects, config=CONFIG, data_dir=data_dir, command=COMMAND
    ) as cluster:
        cluster.start()
        first, second = list(cluster)[:2]
        first.call("heap", "fill", STATE_BYTES // 100_000, 100_000, within=60)
        for _ in range(30):
            first.call("heap", "touch")
        until(lambda: min(snapshots_of(cluster)) > 10, first)
        second.kill()
        cluster.launch(second.name).request("wait_ready", timeout=60, within=70)
        second = cluster.members[second.name]
        second.request("barrier", timeout=60, within=70)
        assert second.call("heap", "weight", within=60) == STATE_BYTES
        # It can do its own now, as the others can do the next.
        before = max(snapshots_of(cluster))
        for _ in range(30):
            second.call("heap", "touch")
        until(lambda: min(snapshots_of(cluster)) > before, second)
        assert len(cluster.alive) == 3


def test_objects_have_their_state_as_the_node_is_made_and_give_it_back_if_it_is_not(tmp_path):
    """No copy is made for them when they are attached, which comes later."""
    address, other = free_addresses(2)
    with Node(address, consumers={"users": ReplDict()}, data_dir=tmp_path) as node:
        node.objects["users"].update(dict.fromkeys(range(100), "x"))
        node.snapshot()
    users = ReplDict({"own": 1})
    with Node(other, drive="manual"), pytest.raises(BindError):
        Node(address, consumers={"users": users}, data_dir=tmp_path, bind=other)
    assert users == {"own": 1}
    with Node(address, consumers={"users": users}, data_dir=tmp_path, drive="manual") as node:
        assert len(users) == 100
        while not node.is_leader:
            node.tick(0.01)
        assert node.objects["users"] is users


class Picky(ReplDict):
    """Takes no state where there is one."""

    def restore_state(self, state):
        if self._items:
            raise LookupError("there is a state")
        super().restore_state(state)


def test_a_node_that_cannot_begin_says_why_and_lets_go_whatever_its_objects_raise(tmp_path):
    address, other = free_addresses(2)
    with Node(address, consumers={"users": Picky()}, data_dir=tmp_path) as node:
        node.objects["users"]["ann"] = 1
        node.snapshot()
    users = Picky()
    with Node(other, drive="manual"):
        with pytest.raises(BindError) as raised:
            Node(address, consumers={"users": users}, data_dir=tmp_path, bind=other)
        # Held by the error until here, the node had its directory if it was not aborted.
        with Node(address, consumers={"users": Picky()}, data_dir=tmp_path) as node:
            assert node.objects["users"]["ann"] == 1
    assert "port is in use" in str(raised.value)


def test_an_object_that_the_log_drops_behind_the_snapshot_is_attached_anew(tmp_path):
    """What it had in the snapshot is gone, and the instance is the one that the node was given."""
    address = free_addresses(1)[0]
    with Node(address, consumers={"users": ReplDict()}, data_dir=tmp_path) as node:
        node.objects["users"]["ann"] = 1
        node.snapshot()
        node.drop("users")
    users = ReplDict({"own": 1})
    with Node(address, consumers={"users": users}, data_dir=tmp_path) as node:
        assert node.objects["users"] is users
        assert users == {"own": 1}
        users["ben"] = 2
        assert users == {"own": 1, "ben": 2}


class Moody(ReplDict):
    """Gives no state while it is in a mood."""

    mood = None

    def snapshot_state(self):
        if Moody.mood is not None:
            raise Moody.mood
        return super().snapshot_state()


@pytest.mark.pure("it knows a function by its name")
def test_members_that_are_asked_at_once_take_their_snapshots_in_turn(monkeypatch):
    """In a quorum that forks at the same moment, calls would wait for these forks."""
    after, waits = Runner.after, {}

    def note(runner, seconds, function):
        if Engine.take_snapshot.__qualname__ in repr(function):
            waits[runner] = seconds
        return after(runner, seconds, function)

    monkeypatch.setattr(Runner, "after", note)
    addresses = sorted(free_addresses(3))
    with ExitStack() as stack:
        nodes = [Node(address, addresses, consumers={"users": ReplDict()}) for address in addresses]
        for node in nodes:
            # Which waits until it is ready.
            stack.enter_context(node)
        for future in [node.snapshot.submit() for node in nodes]:
            assert future.result(60) > 0
        own = [waits[node._engine.runner] for node in nodes]
    assert own == pytest.approx([0.0, 0.05, 0.1])


@pytest.mark.parametrize("fork_bytes", [1, 2**50])
def test_an_object_that_fails_to_give_its_state_costs_the_snapshot_and_nothing_else(
    monkeypatch, caplog, fork_bytes
):
    users = Moody()
    with Node(
        free_addresses(1)[0],
        consumers={"users": users},
        snapshot_fork_bytes=fork_bytes,
        digest_interval=None,
    ) as node:
        users["ann"] = 1
        monkeypatch.setattr(Moody, "mood", ZeroDivisionError("in a mood"))
        with pytest.raises((ZeroDivisionError, OSError), match="in a mood"):
            node.snapshot()
        users["ann"] += 1
        monkeypatch.setattr(Moody, "mood", None)
        assert node.snapshot() == node.status()["snapshot_index"] > 0
    assert "no snapshot could be taken, the log keeps growing" in caplog.text
    assert "in a mood" in caplog.text
