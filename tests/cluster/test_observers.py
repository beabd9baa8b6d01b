"""Observers: real nodes without an address, beside a real cluster."""

import threading
import time

import pytest

from syncstructs import (
    ConfigError,
    MembershipRefused,
    Node,
    NodeFailed,
    ReplCounter,
    ReplDict,
    ReplLock,
    ReplQueue,
    SyncObj,
    replicated,
)
from syncstructs.cli.processes import free_addresses


def objects():
    return {"hits": ReplCounter(), "users": ReplDict(), "lock": ReplLock(), "jobs": ReplQueue()}


@pytest.fixture
def addresses():
    return free_addresses(3)


@pytest.fixture
def members(addresses):
    nodes = [Node(address, addresses, consumers=objects()) for address in addresses]
    for node in nodes:
        node.wait_ready(30)
    yield nodes
    for node in nodes:
        node.close()


@pytest.fixture
def observe(addresses):
    """Make observers, which are closed in the end."""
    made = []

    def make(servers=addresses, **settings):
        made.append(Node(None, servers, consumers=objects(), **settings))
        return made[-1]

    yield make
    for node in made:
        node.close()


def test_an_observer_has_all_and_calls_like_a_member(members, observe):
    members[0].objects["users"]["ann"] = 1
    observer = observe()
    observer.wait_ready(30)
    users = observer.objects["users"]
    assert users == {"ann": 1}
    users["bob"] = 2
    assert users["bob"] == 2
    assert observer.objects["hits"].inc() == 1
    members[1].barrier(30)
    assert members[1].objects["users"] == {"ann": 1, "bob": 2}
    members[2].objects["hits"].add(5)
    observer.barrier(30)
    assert observer.objects["hits"].value == 6


def test_it_is_no_member_and_says_what_it_is(members, observe):
    observer = observe()
    observer.wait_ready(30)
    assert observer.members == members[0].members
    assert observer.address not in observer.members
    assert observer.address.startswith("observer-")
    assert not observer.is_leader
    assert observer.leader in observer.members
    assert observer.status()["role"] == "observer"
    other = observe()
    other.wait_ready(30)
    assert other.address != observer.address


def test_locks_and_waits_work_between_observers_and_members(members, observe):
    one, other = observe(), observe()
    one.wait_ready(30)
    other.wait_ready(30)
    got = []
    with one.objects["lock"]:
        assert not members[0].objects["lock"].acquire(blocking=False)
        waiter = threading.Thread(target=lambda: got.append(other.objects["jobs"].get(timeout=30)))
        waiter.start()
        members[1].objects["jobs"].put("work")
        waiter.join(30)
    assert got == ["work"]
    assert other.objects["lock"].acquire(timeout=30)
    other.close()
    # The session of the closed one is over at once, not after its ttl.
    assert members[2].objects["lock"].acquire(timeout=5)


def test_a_majority_of_members_decides_and_no_observer_helps(members, observe):
    observers = [observe(call_timeout=1.0) for _ in range(3)]
    for observer in observers:
        observer.wait_ready(30)
    members[0].close()
    members[1].close()
    future = observers[0].objects["hits"].inc.submit()
    with pytest.raises(TimeoutError):
        future.result(timeout=2 * observers[0]._engine.config.election_timeout_max + 1)
    assert not future.done()


def test_it_goes_on_with_the_next_leader(members, observe):
    observer = observe()
    observer.wait_ready(30)
    for _ in range(2):
        former = observer.leader
        leader = next(node for node in members if node.address == former)
        future = observer.objects["hits"].inc.submit()
        leader.transfer_leadership(timeout=30)
        future.result(timeout=30)
        assert observer.objects["hits"].inc() > 1
        observer.barrier(30)
        assert observer.leader in {node.address for node in members} - {former}


def test_it_finds_all_members_when_it_knows_one_that_does_not_lead(members, observe):
    (follower, *_) = [node.address for node in members if not node.is_leader]
    observer = observe([follower])
    observer.wait_ready(30)
    assert sorted(observer._engine.links()) == sorted(observer.members)
    assert observer.objects["hits"].inc() == 1


def test_it_cannot_be_made_a_member(members, observe):
    observer = observe()
    observer.wait_ready(30)
    with pytest.raises(ConfigError, match="member"):
        members[0].add_member(observer.address)
    with pytest.raises(MembershipRefused, match="has no vote"):
        members[0].transfer_leadership("127.0.0.1:1", timeout=30)


def test_hundreds_come_and_go(members):
    """Each is served, and of those that have gone no session is left."""
    addresses = [node.address for node in members]
    for turn in range(2):
        users = [ReplDict() for _ in range(60)]
        nodes = [
            Node(None, addresses, consumers={"users": mine}, call_timeout=60) for mine in users
        ]
        for node in nodes:
            node.wait_ready(60)
        futures = [mine.set.submit(turn, number) for number, mine in enumerate(users)]
        for future in futures:
            future.result(60)
        for node in nodes:
            node.barrier(60)
        assert len({mine[turn] for mine in users}) == 1
        closing = [node.close.submit() for node in nodes]
        for future in closing:
            future.result(60)
    members[0].barrier(30)
    sessions = members[0]._engine.replica.table.sessions
    assert {address for address, _ in sessions.live().values()} == set(addresses)


def test_one_that_stands_still_does_not_hold_up_the_others(members, observe):
    observer = observe(drive="manual")
    deadline = time.monotonic() + 30
    ready = observer.wait_ready.submit()
    while not ready.done():
        assert time.monotonic() < deadline
        observer.tick(0.05)
    # From here on it reads nothing.
    for _ in range(20):
        members[0].objects["users"].update(dict.fromkeys(range(100), b"x" * 1000))
    assert members[0].objects["hits"].inc() == 1
    leader = next(node for node in members if node.is_leader)
    progress = leader._engine.replica.core._leading.peers[observer.address]
    config = leader._engine.config
    assert progress.in_flight_bytes <= 3 * config.append_bytes + 200_000
    barrier = observer.barrier.submit()
    while not barrier.done():
        assert time.monotonic() < deadline
        observer.tick(0.05)
    assert len(observer.objects["users"]) == 100


def test_a_syncobj_may_observe(members, addresses):
    class Tally(SyncObj):
        def __init__(self, address, partners):
            super().__init__(address, partners, cluster="tallies")
            self.total = 0

        @replicated
        def add(self, amount):
            self.total += amount
            return self.total

    servers = free_addresses(1)
    with Tally(servers[0], []) as server, Tally(None, servers) as observer:
        assert observer.add(3) == 3
        assert server.add(4) == 7


def test_it_ends_when_its_cluster_has_forgotten_what_it_holds(observe):
    (address,) = free_addresses(1)
    with Node(address, consumers=objects()) as first:
        first.objects["hits"].add(5)
        observer = observe([address])
        observer.wait_ready(30)
        assert observer.objects["hits"].value == 5

    def go_on():
        while True:
            observer.barrier(30)

    with Node(address, consumers=objects()) as again:
        with pytest.raises(NodeFailed, match="another life of the cluster"):
            go_on()
        with Node(None, [address], consumers=objects()) as other:
            assert other.objects["hits"].inc() == 1
            # Another node's read of its own copy may be a moment older than an answered call.
            again.barrier(30)
            assert again.objects["hits"].value == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"data_dir": "/tmp/x"}, "data_dir '/tmp/x' is for members"),
        ({"bind": "127.0.0.1:1"}, "bind '127.0.0.1:1' is for members"),
        ({"join": True}, "join True is for members"),
    ],
)
def test_what_is_for_members_only_is_refused(addresses, settings, sentence):
    with pytest.raises(ConfigError, match=sentence):
        Node(None, addresses, **settings)


def test_it_needs_to_know_a_member():
    with pytest.raises(ConfigError, match="peers is empty"):
        Node(None)
