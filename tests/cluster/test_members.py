"""Members that are added, removed and replaced under load, in one process."""

import threading
import time

import pytest

from syncstructs import (
    MembershipRefused,
    Node,
    NodeClosed,
    NodeRemoved,
    ReplCounter,
    ReplList,
    Timeout,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.node.engine import Engine

QUICK = {"election_timeout_min": 0.15, "election_timeout_max": 0.3, "heartbeat_interval": 0.03}


class Members:
    """Nodes of this process, each with a counter and a list."""

    def __init__(self):
        self.nodes = {}

    def start(self, address, peers, **more):
        objects = {"hits": ReplCounter(), "seen": ReplList()}
        self.nodes[address] = node = Node(address, peers, consumers=objects, **QUICK, **more)
        return node

    def found(self, count, **more):
        addresses = free_addresses(count)
        for address in addresses:
            self.start(address, addresses, **more)
        for address in addresses:
            self.nodes[address].wait_ready(20)
        return addresses

    def close(self):
        for node in self.nodes.values():
            node.close()


@pytest.fixture
def members():
    made = Members()
    yield made
    made.close()


class Writer:
    """A thread that appends numbers at one node after another, and keeps what was acknowledged."""

    def __init__(self, node):
        self.node = node
        self.acknowledged = []
        self.errors = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        number = 0
        while not self._stop.is_set():
            number += 1
            try:
                self.node.objects["seen"].append(number)
                self.acknowledged.append(number)
            except Exception as error:
                self.errors.append(error)
                return

    def more(self, count):
        wanted, deadline = len(self.acknowledged) + count, time.monotonic() + 30
        while len(self.acknowledged) < wanted:
            assert not self.errors, self.errors
            assert time.monotonic() < deadline, "no call is acknowledged any more"
            self._stop.wait(0.005)

    def stop(self):
        self._stop.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        assert not self.errors, self.errors


def test_all_members_are_replaced_one_after_the_other_under_load_and_no_call_fails(members):
    addresses = members.found(3)
    writer = Writer(members.nodes[addresses[0]])
    current = list(addresses)
    for old in addresses:
        writer.more(30)
        (new,) = free_addresses(1)
        newcomer = members.start(new, current, join=True)
        wanted = [new, *(a for a in current if a != old)]
        # A node that stays asks, and carries the calls from before the old one ends.
        writer.node = members.nodes[wanted[-1]]
        writer.node.set_members(wanted, timeout=20)
        assert set(writer.node.members) == set(wanted)
        newcomer.wait_ready(20)
        current = wanted
    writer.more(30)
    writer.stop()
    for address in current:
        members.nodes[address].barrier(20)
        assert list(members.nodes[address].objects["seen"]) == writer.acknowledged
    for address in addresses:
        gone = members.nodes[address]
        gone._engine.closed.result(20)
        assert "was removed" in gone.status()["failure"]
        with pytest.raises(NodeRemoved):
            gone.create("more", ReplCounter)


def test_the_leader_removes_itself_and_the_others_go_on(members):
    addresses = members.found(3)
    leader = next(node for node in members.nodes.values() if node.is_leader)
    others = [a for a in addresses if a != leader.address]
    leader.remove_member(leader.address, timeout=20)
    for address in others:
        assert members.nodes[address].objects["hits"].inc() > 0
        assert set(members.nodes[address].members) == set(others)


def test_a_member_on_disk_knows_the_others_from_its_log(members, tmp_path):
    first, second, third = free_addresses(3)
    for address in (first, second):
        members.start(address, [first, second], data_dir=tmp_path / address)
    for address in (first, second):
        members.nodes[address].wait_ready(20)
    members.start(third, [first], data_dir=tmp_path / third, join=True)
    members.nodes[first].add_member(third, timeout=20)
    members.nodes[third].objects["hits"].inc()
    for address in (first, second, third):
        members.nodes[address].close()
    # Whatever list they are given: the log tells.
    for address in (first, third):
        members.start(address, [], data_dir=tmp_path / address)
    members.nodes[third].wait_ready(20)
    assert members.nodes[third].objects["hits"].value == 1
    assert set(members.nodes[third].members) == {first, second, third}


def test_newcomers_found_no_cluster_of_their_own(members):
    new = free_addresses(3)
    for address in new:
        members.start(address, new, join=True)
    with pytest.raises(Timeout):
        members.nodes[new[0]].wait_ready(1.0)
    assert [members.nodes[address].leader for address in new] == [None] * 3


def test_a_directory_that_was_made_to_join_has_no_vote_before_it_is_filled(members, tmp_path):
    addresses = free_addresses(3)
    members.start(addresses[0], addresses, data_dir=tmp_path, join=True).close()
    # It may stand for a disk that was lost, however it is started from now on.
    node = members.start(addresses[0], addresses, data_dir=tmp_path)
    with pytest.raises(Timeout, match="started empty"):
        node.wait_ready(1.0)
    assert node._engine.replica.core.is_recovering


def test_nodes_that_were_started_with_other_members_say_so(members):
    one, two, three = free_addresses(3)
    node = members.start(one, [one, two])
    members.start(two, [one, two, three])
    with pytest.raises(Timeout, match=f"{two} was started with the members .*{three}"):
        node.wait_ready(1.0)


def test_a_wait_for_ready_ends_with_the_node(members, monkeypatch):
    (address,) = members.found(1)
    monkeypatch.setattr(Engine, "is_sure", False)
    waiting = members.nodes[address].wait_ready.submit()
    members.nodes[address].barrier(20)
    members.nodes[address].close()
    with pytest.raises(NodeClosed):
        waiting.result(20)


def test_the_last_member_stays(members):
    (address,) = members.found(1)
    with pytest.raises(MembershipRefused, match="0 members"):
        members.nodes[address].remove_member(address, timeout=20)


def test_a_change_that_cannot_be_done_yet_goes_on_and_may_be_taken_back(members):
    (address,) = members.found(1)
    (absent,) = free_addresses(1)
    node = members.nodes[address]
    with pytest.raises(Timeout, match=absent):
        node.add_member(absent, timeout=0.3)
    assert node.objects["hits"].inc() == 1, "a newcomer that is not there has no vote"
    node.remove_member(absent, timeout=20)
    assert node.members == (address,)
