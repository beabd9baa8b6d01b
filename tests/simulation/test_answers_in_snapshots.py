"""A call whose answer a snapshot covers: its caller is told the truth, and nothing is lost."""

import pytest

from syncstructs import ReplCounter, ReplLock, ReplLockManager
from syncstructs.testing.simulator import Simulation
from syncstructs.testing.workload import Ledger


@pytest.fixture
def cluster():
    consumers = {
        "hits": ReplCounter, "lock": ReplLock, "locks": ReplLockManager, "ledger": Ledger,
    }  # fmt: skip
    cluster = Simulation(
        3, consumers, snapshot_log_entries=8, snapshot_log_bytes=1, log_keep_bytes=1,
        session_ttl=30.0, call_timeout=10.0,
    )  # fmt: skip
    cluster.is_late = lambda life, name: name == "ledger"
    cluster.start()
    cluster.settle()
    # Who is not sure of its session yet gives back what it acquires.
    cluster.run_until(lambda: all(life.node._engine.is_sure for life in cluster.lives()))
    yield cluster
    cluster.end()


def _with_its_answer_in_a_snapshot(cluster, leader, deaf, call):
    """Make a call on a member that hears nothing until its answer has left the log."""
    for sender in cluster.addresses:
        if sender != deaf:
            cluster.network.cut(sender, deaf)
    future = call()
    # The log is kept behind a snapshot on its way, until it outgrows that.
    for _ in range(200):
        cluster.await_all([cluster.objects(leader)["hits"].inc.submit()])
    base = cluster.hosts[leader].life.core.log.base.index
    assert base > cluster.hosts[deaf].life.table.applied_index, base
    cluster.heal()
    cluster.await_all([future])
    assert cluster.hosts[deaf].life in cluster.checks.skipped
    return future


def _leader_and_other(cluster):
    leader = cluster.leader()
    return leader, next(address for address in cluster.addresses if address != leader)


def test_an_attach_succeeds(cluster):
    leader, other = _leader_and_other(cluster)
    ledgers = [cluster.objects(address)["ledger"] for address in (leader, other)]
    cluster.await_all([cluster.node(leader).attach.submit("ledger", ledgers[0])])
    cluster.await_all([ledgers[0].append.submit(7)])

    attached = _with_its_answer_in_a_snapshot(
        cluster, leader, other, lambda: cluster.node(other).attach.submit("ledger", ledgers[1])
    )

    assert attached.result() is ledgers[1]
    assert ledgers[1].copy() == [7]
    cluster.settle()


@pytest.mark.parametrize("arguments", [(False,), (True, 5.0), ()], ids=["now", "5 s", "forever"])
@pytest.mark.parametrize("key", [None, "k"], ids=["lock", "manager"])
def test_a_lock_is_held_or_free_again(cluster, key, arguments):
    leader, other = _leader_and_other(cluster)
    one, two = (
        objects["lock"] if key is None else objects["locks"][key]
        for objects in (cluster.objects(other), cluster.objects(leader))
    )

    acquired = _with_its_answer_in_a_snapshot(
        cluster, leader, other, lambda: one.acquire.submit(*arguments)
    )

    assert acquired.result() is True
    assert one.held
    cluster.await_all([one.release.submit()])
    again = two.acquire.submit(True, 1.0)
    cluster.await_all([again])
    assert again.result() is True
    cluster.settle()
