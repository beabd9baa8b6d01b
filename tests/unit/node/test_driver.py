"""The driver's one loop: when it says that nothing is left to do, nothing is."""

import pytest

from syncstructs import ReplList
from syncstructs.node.workers import InlineWorker
from syncstructs.testing.simulator import Simulation


@pytest.fixture
def alone():
    """A cluster of one member whose stores persist at once, ready for calls; and its life."""
    # Unchecked: the checks count on what is committed being applied in a later event.
    cluster = Simulation(1, {"box": ReplList}, size=1, check=False, append_window_bytes=400)
    cluster.start()
    [life] = cluster.lives()
    driver = life.node._engine._driver
    driver._log_worker = driver._snapshot_worker = InlineWorker()
    cluster.run_until(life.node._ready.done)
    yield cluster, life
    cluster.end()


def put(life, count, thing):
    return [life.consumers["box"].append.submit(thing) for _ in range(count)]


def test_a_call_on_a_lone_memory_member_ends_without_waiting_for_any_timer(alone):
    cluster, life = alone
    [call] = put(life, 1, 1)
    cluster.run(0)
    assert call.done()


def test_calls_beyond_the_window_follow_without_waiting_for_any_timer(alone):
    cluster, life = alone
    calls = put(life, 50, "x" * 100)
    cluster.run(0)
    assert all(call.done() for call in calls)


def test_a_pump_that_is_not_done_asks_to_be_called_again_at_once(alone):
    _, life = alone
    calls = put(life, 200, "x" * 100)
    assert life.node._engine._driver.pump() == life.now()
    assert not all(call.done() for call in calls)


def test_an_idle_member_asks_for_nothing_but_its_timers(alone):
    cluster, life = alone
    cluster.run(0)
    assert life.node._engine._driver.pump() > life.now()
