"""Planned work on a cluster of processes, under a load that never fails: callers are observers."""

import itertools
import threading
import time

import pytest

from syncstructs import Node, ReplCounter, ReplDict
from syncstructs.cli.channel import Setup
from syncstructs.cli.processes import LocalCluster, MemberError, free_addresses

OBJECTS = {"hits": ("syncstructs:ReplCounter", []), "users": ("syncstructs:ReplDict", [])}
# An election by silence would take seconds, and be noticed.
SLOW = {"election_timeout_min": 3.0, "election_timeout_max": 4.0, "heartbeat_interval": 0.05}


class Worker:
    """An observer that calls without a break; every call has to return."""

    def __init__(self, number, addresses, **settings):
        self.hits, self.users = ReplCounter(), ReplDict()
        self.node = Node(
            None, addresses, consumers={"hits": self.hits, "users": self.users}, **settings
        )
        self.calls = 0
        self.longest = 0.0
        """Seconds that the slowest call took."""
        self.error = None
        self._number = number
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self):
        self.node.wait_ready(60)
        self._thread.start()

    def _work(self):
        try:
            for turn in itertools.count(1):
                if self._stopping.is_set():
                    return
                begun = time.monotonic()
                self.hits.inc()
                self.users[self._number] = turn
                assert self.users[self._number] == turn
                self.calls = turn
                self.longest = max(self.longest, time.monotonic() - begun)
        except Exception as error:
            self.error = error

    def goes_on(self, count=20):
        """Wait until so many more calls have returned."""
        goal, deadline = self.calls + count, time.monotonic() + 60
        while self.calls < goal:
            assert self.error is None, self.error
            assert time.monotonic() < deadline, f"{self.calls} of {goal} calls have returned"
            time.sleep(0.005)

    def stop(self):
        self._stopping.set()
        self._thread.join(60)
        assert self.error is None, self.error

    def close(self):
        self._stopping.set()
        self.node.close()


@pytest.fixture
def work():
    """Make workers of a cluster, which are closed in the end."""
    workers = []

    def make(count, addresses, **settings):
        workers.extend(Worker(number, addresses, **settings) for number in range(count))
        for worker in workers:
            worker.start()
        return workers

    yield make
    for worker in workers:
        worker.close()


def check(cluster, workers):
    """Every call has returned, and has been applied once, on every member."""
    for worker in workers:
        worker.stop()
    total = sum(worker.calls for worker in workers)
    for member in cluster.alive:
        member.request("barrier", timeout=30, within=40)
        assert member.call("hits", "get") == total
        for number, worker in enumerate(workers):
            assert member.call("users", "get", number) == worker.calls


@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_five_members_are_restarted_in_turn_and_no_call_fails(tmp_path, work, kept):
    data_dir = tmp_path if kept == "disk" else None
    with LocalCluster(5, objects=OBJECTS, config=SLOW, data_dir=data_dir) as cluster:
        cluster.start()
        workers = work(3, [setup.address for setup in cluster.setups], **SLOW)
        for setup in cluster.setups:
            # The leader among them, whichever that is by then.
            cluster.members[setup.name].close()
            for worker in workers:
                worker.goes_on()
            cluster.launch(setup.name).request("wait_ready", timeout=60, within=70)
            for worker in workers:
                worker.goes_on()
        check(cluster, workers)
        assert max(worker.longest for worker in workers) < SLOW["election_timeout_min"]


@pytest.mark.parametrize("kept", ["memory", "disk"])
def test_all_members_are_replaced_one_after_the_other_by_new_ones(tmp_path, work, kept):
    data_dir = tmp_path if kept == "disk" else None
    with LocalCluster(3, objects=OBJECTS, config=SLOW, data_dir=data_dir) as cluster:
        cluster.start()
        current = [setup.address for setup in cluster.setups]
        workers = work(2, current, **SLOW)
        for old in list(cluster):
            (address,) = free_addresses(1)
            config = SLOW | {"join": True}
            if kept == "disk":
                config["data_dir"] = str(tmp_path / f"for {old.name}")
            cluster.setups.append(
                Setup(
                    address=address, peers=current, name=f"for {old.name}", objects=OBJECTS,
                    config=config,
                )
            )  # fmt: skip
            newcomer = cluster.launch(f"for {old.name}")
            current = [address, *(member for member in current if member != old.address)]
            # Asked of an observer, in one step: one comes and one goes, the leader as any other.
            workers[0].node.set_members(current, timeout=60)
            newcomer.request("wait_ready", timeout=60, within=70)
            for worker in workers:
                worker.goes_on()
            assert set(workers[1].node.members) == set(current)
            # It has ended by itself, and says so.
            with pytest.raises(MemberError, match="was removed"):
                old.request("barrier", timeout=30, within=40)
            old.kill()
        assert len(cluster.alive) == 3
        check(cluster, workers)
        assert max(worker.longest for worker in workers) < SLOW["election_timeout_min"]


def test_a_minority_is_lost_for_good_and_replaced(work):
    with LocalCluster(5, objects=OBJECTS) as cluster:
        cluster.start()
        workers = work(2, [setup.address for setup in cluster.setups])
        leader = cluster.wait_leader()
        other = next(member for member in cluster if member is not leader)
        leader.kill()
        other.kill()
        for worker in workers:
            worker.goes_on()
        left = [member.address for member in cluster.alive]
        node = workers[0].node
        assert len(left) == 3
        (address,) = free_addresses(1)
        newcomer = Node(
            address, left, join=True, consumers={"hits": ReplCounter(), "users": ReplDict()}
        )
        try:
            # Asked of an observer, in one step: two go and one comes.
            node.set_members([*left, address], timeout=60)
            assert set(node.members) == {*left, address}
            newcomer.wait_ready(60)
            for worker in workers:
                worker.goes_on()
            # Of four members, any one more may be lost.
            cluster.wait_leader().kill()
            for worker in workers:
                worker.goes_on()
            check(cluster, workers)
            newcomer.barrier(30)
            assert newcomer.objects["hits"].value == sum(worker.calls for worker in workers)
        finally:
            newcomer.close()
