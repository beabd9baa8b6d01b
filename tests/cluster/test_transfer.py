"""Leadership that is handed over: asked for, and by nodes that are closed."""

import threading

import pytest

from syncstructs import ConfigError, MembershipRefused, Node, NodeClosed, ReplCounter, Timeout
from syncstructs.cli.processes import free_addresses

# Long enough that an election by silence would be noticed.
SLOW = {"election_timeout_min": 3.0, "election_timeout_max": 4.0, "heartbeat_interval": 0.05}


def start(address, addresses, hits=None):
    consumers = {"hits": ReplCounter() if hits is None else hits}
    return Node(address, addresses, consumers=consumers, **SLOW)


@pytest.fixture
def nodes():
    addresses = free_addresses(3)
    made = {address: start(address, addresses) for address in addresses}
    for node in made.values():
        node.wait_ready(20)
    yield made
    for node in made.values():
        node.close()


def leader_of(nodes):
    return next(iter(nodes.values())).leader


def test_any_member_can_have_another_one_lead(nodes):
    former = leader_of(nodes)
    one, other = [address for address in nodes if address != former]
    nodes[one].transfer_leadership(other, timeout=20)
    assert nodes[one].leader == other
    nodes[other].transfer_leadership(one, timeout=20)
    assert nodes[other].leader == one
    nodes[one].transfer_leadership(timeout=20)
    assert nodes[one].leader in (former, other)
    nodes[one].transfer_leadership(nodes[one].leader, timeout=0)


def test_a_leader_that_is_closed_hands_over(nodes):
    former = leader_of(nodes)
    others = [node for address, node in nodes.items() if address != former]
    nodes[former].close()
    assert any(node.is_leader for node in others), "before the link to it is lost"
    for node in others:
        node.wait_ready(2)
        assert node.leader in {other.address for other in others}


def test_who_has_no_vote_cannot_lead(nodes):
    (stranger,) = free_addresses(1)
    node = next(iter(nodes.values()))
    with pytest.raises(MembershipRefused, match=f"{stranger} has no vote"):
        node.transfer_leadership(stranger, timeout=20)
    with pytest.raises(ConfigError, match="to"):
        node.transfer_leadership("nowhere")


def test_nobody_else_can_lead_a_cluster_of_one():
    (address,) = free_addresses(1)
    with start(address, []) as node, pytest.raises(MembershipRefused, match="nobody but"):
        node.transfer_leadership(timeout=20)


def test_it_takes_no_longer_than_it_may(nodes):
    former = leader_of(nodes)
    one, other = [address for address in nodes if address != former]
    nodes[other].close()
    with pytest.raises(Timeout, match=other):
        nodes[one].transfer_leadership(other, timeout=0.3)
    assert nodes[one].objects["hits"].inc() > 0


def test_all_members_are_restarted_in_turn_without_a_failed_call(nodes):
    addresses = list(nodes)
    stop, failed, done = threading.Event(), [], {}
    hits = {address: nodes[address].objects["hits"] for address in addresses}

    def write(address):
        while not stop.is_set():
            try:
                hits[address].inc()
                done[address] = done.get(address, 0) + 1
            except NodeClosed:
                stop.wait(0.01)  # it is being restarted
            except Exception as error:
                failed.append(error)

    threads = [threading.Thread(target=write, args=(a,), daemon=True) for a in addresses]
    for thread in threads:
        thread.start()
    for address in addresses:
        nodes[address].close()
        counter = ReplCounter()
        nodes[address] = start(address, addresses, counter)
        hits[address] = counter
        nodes[address].wait_ready(2.5)
    stop.set()
    for thread in threads:
        thread.join(20)
    assert not failed, failed
    assert all(done.get(address) for address in addresses)
    for node in nodes.values():
        node.barrier(20)
    assert len({node.objects["hits"].value for node in nodes.values()}) == 1
