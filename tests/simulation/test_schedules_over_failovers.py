"""When the jobs of a scheduler are due if leaders are lost, or all members are down for a while."""

from datetime import UTC, datetime, timedelta

import pytest

from syncstructs import ReplScheduler
from syncstructs.testing.hosts import EPOCH
from syncstructs.testing.runs import quietly
from syncstructs.testing.simulator import Simulation

MINUTE = datetime.fromtimestamp(EPOCH + 1008.0, UTC)


@pytest.fixture
def cluster():
    with quietly():
        cluster = Simulation(7, {"it": ReplScheduler}, disks=True, session_ttl=1000.0)
        cluster.start()
        cluster.run_until(lambda: cluster.leader() is not None)
        yield cluster
        cluster.end()


def result(cluster, future):
    cluster.run_until(future.done)
    return future.result()


def take(cluster, node):
    rota = cluster.objects(node)["it"]
    task = result(cluster, rota.get.submit())
    result(cluster, rota.ack.submit(task))
    return task


def test_a_job_is_due_once_whoever_leads(cluster):
    former = cluster.leader()
    others = [cluster.objects(node)["it"] for node in cluster.addresses if node != former]
    result(cluster, others[0].add.submit("tick", every=5.0))
    waiting = [rota.get.submit() for rota in others]
    cluster.run(4.0)
    cluster.network.cut_off(former)
    cluster.run(4.0)
    (task,) = [future.result() for future in waiting if future.done()]
    assert task.key == "tick"
    assert others[0].progress().put == 1


def test_what_was_due_while_all_were_down_is_done_once_and_by_the_clock(cluster):
    node = cluster.addresses[0]
    rota = cluster.objects(node)["it"]
    result(cluster, rota.add.submit("minutely", cron="* * * * *"))
    result(cluster, rota.add.submit("once", at=MINUTE + timedelta(seconds=100)))
    for address in cluster.addresses:
        cluster.crash(address)
    cluster.run(200.0)
    cluster.start()
    cluster.run_until(lambda: cluster.leader() is not None)
    taken = [take(cluster, node) for _ in range(3)]
    assert [(task.key, (task.scheduled - MINUTE).total_seconds()) for task in taken] == [
        ("minutely", 0.0), ("once", 100.0), ("minutely", 240.0)
    ]  # fmt: skip
    assert 1248.0 <= cluster.now < 1249.0
