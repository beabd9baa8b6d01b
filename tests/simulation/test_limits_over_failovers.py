"""What the time of a rate limiter is worth: with one leader, and with another after a silence."""

import pytest

from syncstructs import ReplRateLimiter
from syncstructs.testing.runs import quietly
from syncstructs.testing.simulator import Simulation

SILENCE = 12.0


@pytest.fixture
def cluster():
    with quietly():
        cluster = Simulation(7, {"it": lambda: ReplRateLimiter(1, per=10.0)}, session_ttl=1000.0)
        cluster.start()
        cluster.run_until(lambda: cluster.leader() is not None)
        # The first call opens the session; all that follows is as late as the simulator's network.
        assert ask(cluster) == 0.0
        yield cluster
        cluster.end()


def ask(cluster):
    leader = cluster.leader()
    future = cluster.objects(leader)["it"].throttle.submit()
    cluster.run_until(future.done)
    return future.result()


def test_time_passes_without_any_calls(cluster):
    assert ask(cluster) > 9.0
    cluster.run(SILENCE)
    assert ask(cluster) == 0.0


def test_time_passes_while_nobody_leads(cluster):
    cluster.run(SILENCE)
    former = cluster.leader()
    cluster.network.cut_off(former)
    cluster.run_until(lambda: cluster.leader() not in (None, former))
    assert ask(cluster) == 0.0
    assert ask(cluster) > 9.0


def test_who_waits_is_served_by_whoever_leads_then(cluster):
    former = cluster.leader()
    waiter = next(address for address in cluster.addresses if address != former)
    waiting = cluster.objects(waiter)["it"].acquire.submit()
    cluster.run(1.0)
    cluster.network.cut_off(former)
    cluster.run(8.0)
    assert not waiting.done()
    cluster.run(3.0)
    assert waiting.result()
