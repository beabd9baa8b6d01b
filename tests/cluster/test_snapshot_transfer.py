"""Two members at once are sent a large snapshot over TCP, and a link breaks on the way."""

import threading
import time

import pytest
from campaign import wait_until
from tcp_proxy import Proxies

from syncstructs import Config, Node, ReplCounter, ReplDict
from syncstructs.cli.processes import free_addresses

VALUE_BYTES = 1024 * 1024
VALUE_COUNT = 24
CONFIG = {
    "log_keep_bytes": 1,
    # An election within the test would be one that the transfer has brought about.
    "election_timeout_min": 1.5, "election_timeout_max": 3.0, "heartbeat_interval": 0.1,
}  # fmt: skip
# Frames, heartbeats and the calls that go on meanwhile.
ASIDE_BYTES = 2 * 1024 * 1024


class Caller:
    """Counts on one node, call after call, in a thread of its own."""

    def __init__(self, counter):
        self.counter = counter
        self.times: list[float] = []
        self.error = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while not self._over.is_set():
                begun = time.monotonic()
                self.counter.inc()
                self.times.append(time.monotonic() - begun)
        except Exception as error:
            self.error = error

    def end(self):
        self._over.set()
        self._thread.join(20)
        assert self.error is None, self.error


class Cluster:
    """Five members behind proxies, of which two come late."""

    def __init__(self, rate):
        taken = free_addresses(10)
        self.addresses = taken[:5]
        self.routes = dict(zip(self.addresses, taken[5:], strict=True))
        self.proxies = Proxies(self.routes)
        self.config = CONFIG | {"snapshot_rate": rate}
        self.nodes = {}

    def __enter__(self):
        self.proxies.__enter__()
        return self

    def __exit__(self, *_):
        for node in self.nodes.values():
            node.close()
        self.proxies.close()

    def start(self, *addresses):
        for address in addresses:
            self.nodes[address] = Node(
                address, [other for other in self.addresses if other != address],
                consumers={"files": ReplDict(), "hits": ReplCounter()},
                bind=self.routes[address], **self.config,
            )  # fmt: skip


def watch(leader, late, samples):
    """Note how far the transfers are; return whether both are over."""
    peers = leader.status()["peers"]
    receiving = [a for a in late if peers.get(a, {}).get("mode") == "snapshot"]
    for address in receiving:
        samples[address].append(peers[address]["snapshot_offset"])
    if receiving == late:
        samples["both"].append(tuple(samples[address][-1] for address in late))
    return all(peers.get(a, {}).get("mode") == "replicate" for a in late)


@pytest.mark.parametrize("rate", [None, 20_000_000.0], ids=["as fast as it goes", "throttled"])
def test_two_members_get_a_snapshot_at_once_and_a_cut_costs_little(rate):
    with Cluster(rate) as cluster:
        early, late = cluster.addresses[:3], cluster.addresses[3:]
        cluster.start(*early)
        for address in early:
            cluster.nodes[address].wait_ready(20)
        leader = cluster.nodes[cluster.nodes[early[0]].leader]
        files = leader.objects["files"]
        for number in range(VALUE_COUNT):
            files[f"{number}"] = number.to_bytes(1, "big") * VALUE_BYTES
        leader.snapshot(timeout=30)
        size, term = leader.status()["snapshot_bytes"], leader.status()["term"]
        assert size > VALUE_COUNT * VALUE_BYTES
        caller = Caller(leader.objects["hits"])
        samples = {late[0]: [], late[1]: [], "both": []}

        cluster.proxies.reset_at((leader.address, late[0]), size // 2)
        begun = time.monotonic()
        cluster.start(*late)
        wait_until(lambda: watch(leader, late, samples), "both transfers", 30)
        elapsed = time.monotonic() - begun

        assert cluster.proxies.counts["resets"] == 1
        for address in late:
            carried = cluster.proxies.carried_bytes((leader.address, address))
            # What was on its way when the link broke.
            lost = Config().append_window_bytes if address == late[0] else 0
            assert size <= carried <= size + lost + ASIDE_BYTES, (carried, size)
            assert samples[address] == sorted(samples[address]), "it goes on where it was"
        if rate is not None:
            assert elapsed >= (2 * size - Config().chunk_bytes) / rate - 0.1
            assert len({one for one, _ in samples["both"]}) > 10, samples
            assert len({other for _, other in samples["both"]}) > 10, samples

        caller.end()
        assert len(caller.times) > (5 if rate is None else 50)
        assert max(caller.times) < 1.5, "calls wait for no snapshot"
        for address in late:
            node = cluster.nodes[address]
            node.wait_ready(20)
            node.barrier(20)
            assert node.objects["files"]["7"] == b"\x07" * VALUE_BYTES
            assert node.objects["hits"].value == len(caller.times)
        assert leader.is_leader
        assert leader.status()["term"] == term, "nobody stood for election"
