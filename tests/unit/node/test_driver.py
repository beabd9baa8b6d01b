"""The driver's one loop: when it says that nothing is left to do, nothing is."""

import pytest
from virtual_cluster import VirtualCluster

from syncstructs.node.workers import InlineWorker
from syncstructs.objects.replicated import Replicated, replicated


class Box(Replicated):
    def __init__(self):
        self.seen = []

    @replicated
    def put(self, thing):
        self.seen.append(thing)
        return len(self.seen)


@pytest.fixture
def alone():
    """A cluster of one member whose stores persist at once, ready for calls."""
    cluster = VirtualCluster(1, {"box": Box}, size=1, append_window_bytes=400)
    [node] = cluster.up
    node.driver._log_worker = node.driver._snapshot_worker = InlineWorker()
    cluster.run_until(lambda: all(call.done() for call in node.attached))
    return cluster, node


def test_a_call_on_a_lone_memory_member_ends_without_waiting_for_any_timer(alone):
    cluster, node = alone
    call = node.call("box", "put", 1)
    cluster.run(0)
    assert call.done()


def test_calls_beyond_the_window_follow_without_waiting_for_any_timer(alone):
    cluster, node = alone
    calls = [node.call("box", "put", "x" * 100) for _ in range(50)]
    cluster.run(0)
    assert all(call.done() for call in calls)


def test_a_pump_that_is_not_done_asks_to_be_called_again_at_once(alone):
    cluster, node = alone
    calls = [node.call("box", "put", "x" * 100) for _ in range(200)]
    assert node.driver.pump() == cluster.world.now()
    assert not all(call.done() for call in calls)


def test_an_idle_member_asks_for_nothing_but_its_timers(alone):
    cluster, node = alone
    cluster.run(0)
    assert node.driver.pump() > cluster.world.now()
