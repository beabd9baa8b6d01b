"""Members on machines of their own (network namespaces), and a network that drops packets.

Skipped without root. `SYNCSTRUCTS_CLUSTER_ROUNDS=20` injects twenty times as many faults.
"""

import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from campaign import CONFIG, ROUNDS, Campaign, wait_until
from member_history import OBJECTS
from net_namespaces import NetNamespaces
from rights import Unavailable, kill_maker

from syncstructs.cli.processes import MEMBER_COMMAND, LocalCluster

pytestmark = pytest.mark.timeout(120 + 60 * ROUNDS)

SEND = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for _ in range(20):
        sock.sendto(b"x", (sys.argv[1], 9))
"""
RECEIVE = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.bind(("", 9))
    print("bound", flush=True)
    sock.settimeout(float(sys.argv[1]))
    try:
        print(len(sock.recv(10)))
    except TimeoutError:
        print(0)
"""


@contextmanager
def namespaces(count):
    try:
        made = NetNamespaces(count)
    except Unavailable as missing:
        pytest.skip(f"no network namespaces here: {missing}")
    with made:
        yield made


class NamespacedCluster(LocalCluster):
    """A local cluster whose members live in namespaces of their own."""

    def __init__(self, made, **options):
        super().__init__(len(made.addresses), **options)
        self._namespaces = made
        self.setups = [
            replace(setup, address=address, peers=[a for a in made.addresses if a != address])
            for setup, address in zip(self.setups, made.addresses, strict=True)
        ]

    def launch(self, name):
        address = next(setup.address for setup in self.setups if setup.name == name)
        self._command = self._namespaces.command(address, MEMBER_COMMAND)
        return super().launch(name)


@contextmanager
def separate_machines(tmp_path, count):
    """Yield a campaign on members in namespaces, and the namespaces."""
    with (
        namespaces(count) as made,
        NamespacedCluster(made, objects=OBJECTS, config=CONFIG) as cluster,
    ):
        campaign = Campaign(cluster, tmp_path / "history", threads=2 if count > 3 else 4)
        campaign.start()
        yield campaign, made
        made.heal()
        campaign.finish()


def flows(sources, targets):
    return [(one.address, other.address) for one in sources for other in targets if one != other]


def arrives(made, source, target, patience):
    """Return whether a datagram from `source` reaches `target`."""
    receiver = subprocess.Popen(
        made.command(target, [sys.executable, "-c", RECEIVE, str(patience)]),
        stdout=subprocess.PIPE,
        text=True,
    )
    with receiver:
        assert receiver.stdout.readline() == "bound\n"
        host = target.partition(":")[0]
        subprocess.run(made.command(source, [sys.executable, "-c", SEND, host]), check=True)
        return receiver.stdout.readline() == "1\n"


def test_a_cut_drops_packets_in_one_direction_only():
    with namespaces(2) as made:
        one, other = made.addresses
        assert arrives(made, one, other, 10)
        made.cut([(one, other)])
        assert not arrives(made, one, other, 0.3)
        assert arrives(made, other, one, 10)
        made.heal()
        assert arrives(made, one, other, 10)


def test_namespaces_go_with_the_process_that_made_them():
    with namespaces(1):
        pass
    pid = kill_maker("net_namespaces", "NetNamespaces(2)")

    def left():
        names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
        return f"syncstructs-{pid}-" in names

    wait_until(lambda: not left(), "the namespaces are gone")


def test_histories_hold_when_packets_are_dropped_in_one_direction(tmp_path):
    with separate_machines(tmp_path, 3) as (campaign, made):
        for _ in range(ROUNDS):
            for way in ("out", "in", "both"):
                campaign.progress(60)
                leader = campaign.cluster.wait_leader()
                others = [member for member in campaign.cluster if member is not leader]
                if way != "in":
                    made.cut(flows([leader], others))
                if way != "out":
                    made.cut(flows(others, [leader]))
                campaign.wait_other_leader(leader)
                campaign.progress(20, on=others)
                made.heal()
                campaign.progress(5, on=[leader])


def test_histories_hold_when_no_two_members_see_the_same_majority(tmp_path):
    with separate_machines(tmp_path, 5) as (campaign, made):
        for _ in range(ROUNDS):
            ring = campaign.random.sample(list(campaign.cluster), 5)
            # Each sees its two neighbours only: a majority, but another one for each.
            for at, member in enumerate(ring):
                far = [ring[(at + 2) % 5], ring[(at + 3) % 5]]
                made.cut(flows([member], far))
            campaign.progress(60)
            made.heal()
            campaign.progress(20)
            # A bridge: two halves, and one member that sees both.
            left, right = ring[:2], ring[2:4]
            made.cut([*flows(left, right), *flows(right, left)])
            campaign.progress(60)
            made.heal()
            # A minority with the leader in it.
            leader = campaign.cluster.wait_leader()
            rest = [member for member in ring if member is not leader]
            minority, majority = [leader, rest[0]], rest[1:]
            made.cut([*flows(minority, majority), *flows(majority, minority)])
            campaign.wait_other_leader(leader)
            campaign.progress(10, on=majority)
            made.heal()
