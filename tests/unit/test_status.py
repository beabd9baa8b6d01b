"""The picture of a node: what a leader sees of the others, and that all of it is plain data."""

import json
import typing

import pytest

from syncstructs import Node, ReplDict, ReplList, __version__
from syncstructs.cli.processes import free_addresses
from syncstructs.net.hello import PROTOCOL_VERSION
from syncstructs.node.timing import TimedLog
from syncstructs.objects.image import state_pieces
from syncstructs.raft.effects import Append
from syncstructs.raft.messages import Restored
from syncstructs.status import MembershipStatus, PeerStatus, Status
from syncstructs.storage.memory import MemoryLog
from syncstructs.testing import Simulation


@pytest.fixture
def cluster():
    made = Simulation(3, {"users": ReplDict}, chunk_bytes=1000, log_keep_bytes=1,
                      snapshot_log_entries=20, append_window_bytes=2000)  # fmt: skip
    made.start()
    made.settle()
    yield made
    made.end()


def write(cluster, address, count, size=10):
    users = cluster.objects(address)["users"]
    calls = [users.set.submit(n % 10, "x" * size) for n in range(count)]
    cluster.await_all(calls)


def others(cluster):
    return [address for address in cluster.up if address != cluster.leader()]


def test_every_key_is_there_and_goes_through_json_unchanged(cluster):
    write(cluster, cluster.leader(), 5)
    for address in cluster.up:
        status = cluster.node(address).status(digests=True, sizes=True)
        assert status.keys() == typing.get_type_hints(Status).keys()
        assert status["membership"].keys() == typing.get_type_hints(MembershipStatus).keys()
        for peer in status["peers"].values():
            assert peer.keys() == typing.get_type_hints(PeerStatus).keys()
        assert json.loads(json.dumps(status)) == status
        assert (status["release"], status["protocol"]) == (__version__, PROTOCOL_VERSION)


def test_a_leader_tells_how_far_the_others_are_and_others_tell_nothing_of_that(cluster):
    leader = cluster.leader()
    write(cluster, leader, 5)
    cluster.run(1.0)
    status = cluster.node(leader).status()
    assert status["role"] == "leader"
    assert sorted(status["peers"]) == others(cluster)
    for peer in status["peers"].values():
        assert peer["mode"] == "replicate"
        assert peer["match_index"] == status["log_last_index"] == status["commit_index"]
        assert peer["lag_entries"] == peer["in_flight_bytes"] == peer["snapshot_bytes"] == 0
        assert peer["counts"]
    assert all(cluster.node(address).status()["peers"] == {} for address in others(cluster))


def test_a_peer_that_is_cut_off_lags_and_is_silent(cluster):
    leader, lost = cluster.leader(), others(cluster)[0]
    cluster.settle()
    match = cluster.node(leader).status()["peers"][lost]["match_index"]
    cluster.crash(lost)
    began = cluster.now
    write(cluster, leader, 15)
    cluster.run(2.0)
    status = cluster.node(leader).status()
    peer = status["peers"][lost]
    assert peer["match_index"] == match
    assert peer["lag_entries"] == status["log_last_index"] - match > 0
    assert cluster.now - began - 0.1 <= peer["silent"] <= cluster.now - began + 0.1
    assert lost not in status["connected"]


def test_the_progress_of_a_snapshot_is_seen_on_both_sides(cluster):
    leader, lagging = cluster.leader(), others(cluster)[0]
    cluster.crash(lagging)
    for _ in range(4):
        write(cluster, leader, 30, size=2000)
        cluster.run(0.5)
    cluster.start(lagging)
    node = cluster.node(leader)
    seen = []

    def look():
        peer = node.status()["peers"][lagging]
        if peer["snapshot_bytes"]:
            assert peer["mode"] == "snapshot"
            receiving = cluster.node(lagging).status()["receiving"]
            seen.append((peer["snapshot_offset"], peer["snapshot_bytes"], receiving))
        return cluster.node(lagging).status()["applied_index"] == node.status()["applied_index"]

    cluster.run_until(look)
    offsets = [offset for offset, _, _ in seen]
    assert len(set(offsets)) > 5
    size = cluster.node(lagging).status()["snapshot_bytes"]
    assert {size_bytes for _, size_bytes, _ in seen} == {size}
    stored = [receiving for _, _, receiving in seen if receiving is not None]
    assert any(0 < receiving["offset"] < receiving["size_bytes"] == size for receiving in stored)
    assert all(offset <= receiving["offset"] for offset, _, receiving in seen if receiving)
    assert cluster.node(lagging).status()["receiving"] is None


def test_counters_grow_with_what_is_applied_on_every_member_alike(cluster):
    before = {address: cluster.node(address).status() for address in cluster.up}
    write(cluster, cluster.leader(), 40, size=100)
    cluster.settle()
    for address, status in before.items():
        after = cluster.node(address).status()
        assert after["applied_commands"] == status["applied_commands"] + 40
        assert after["applied_index"] > status["applied_index"]
        assert 4000 < after["applied_bytes"] - status["applied_bytes"] < 8000


def size_of(target):
    return sum(map(len, state_pieces("", target)))


def test_sizes_and_digests_are_told_only_when_asked_for(cluster):
    node = cluster.node(cluster.leader())
    write(cluster, cluster.leader(), 1, size=500)
    assert node.status()["objects"] == {"users": {"type": "syncstructs.structs.dicts.ReplDict"}}
    users = node.status(sizes=1, digests=[])["objects"]["users"]
    assert users["size_bytes"] == size_of(node.objects["users"]) > 500
    assert "digest" not in users


def test_a_change_of_members_is_seen_while_it_is_under_way():
    cluster = Simulation(5, {"line": ReplList}, spares=1)
    cluster.start()
    cluster.run_until(lambda: cluster.leader() is not None)
    node = cluster.node(cluster.leader())
    added = node.add_member.submit("n4:1")
    pictures = []

    def look():
        membership = node.status()["membership"]
        if membership not in pictures:
            pictures.append(membership)
        return membership["learners"] == ["n4:1"]

    cluster.run_until(look)
    # It is not started: it stays a learner, and has no vote.
    assert pictures[-1]["voters"] == ["n1:1", "n2:1", "n3:1"]
    assert not pictures[-1]["is_joint"]
    assert node.status()["members"] == ["n1:1", "n2:1", "n3:1", "n4:1"]
    cluster.start("n4:1")
    cluster.run_until(lambda: look() is None or added.done())
    joint = [picture for picture in pictures if picture["is_joint"]]
    assert joint == [
        {
            "voters": ["n1:1", "n2:1", "n3:1", "n4:1"],
            "outgoing": ["n1:1", "n2:1", "n3:1"],
            "learners": [],
            "is_joint": True,
        }
    ]
    assert pictures[-1]["outgoing"] == []
    cluster.end()


def test_the_disk_is_measured_where_there_is_one(tmp_path):
    [address] = free_addresses(1)
    with Node(address, consumers={"users": ReplDict()}, data_dir=str(tmp_path)) as node:
        before = node.status()["disk"]
        for n in range(20):
            node.objects["users"][n] = n
        disk = node.status()["disk"]
    assert disk["append_count"] >= before["append_count"] + 20
    assert 0 < disk["append_time_last"] <= disk["append_time_max"] < 30
    assert 0 < disk["append_time_recent"] <= disk["append_time_max"]
    assert disk["append_time_max"] <= disk["append_time"]
    assert disk["append_time"] <= disk["append_count"] * disk["append_time_max"]


def test_nothing_is_measured_in_memory(cluster):
    assert cluster.node(cluster.leader()).status()["disk"] is None


def test_the_average_of_recent_writes_follows_the_newest_ones(monkeypatch):
    durations = [0.010] * 100 + [0.020] * 16
    clock = iter([moment for seconds in durations for moment in (0.0, seconds)])
    monkeypatch.setattr("syncstructs.node.timing.time.perf_counter", lambda: next(clock))
    log = TimedLog(MemoryLog())
    assert log.load(None) == Restored(blank=True)
    for _ in range(100):
        log.append([Append(1)])
    assert log.status()["append_time_recent"] == pytest.approx(0.010)
    for _ in range(16):
        log.append([Append(1)])
    status = log.status()
    assert 0.016 < status["append_time_recent"] < 0.017
    assert status["append_time_last"] == status["append_time_max"] == 0.020
    assert status["append_time"] == pytest.approx(sum(durations))
    assert status["append_count"] == 116


def test_a_closed_node_still_tells_why():
    [address] = free_addresses(1)
    node = Node(address)
    node.close()
    assert "closed" in node.status()["failure"]
