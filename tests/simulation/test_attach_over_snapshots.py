"""An object that is attached while a snapshot comes: it is attached, and its caller is told so."""

from syncstructs import ReplCounter
from syncstructs.testing.simulator import Simulation
from syncstructs.testing.workload import Ledger


def test_an_attach_whose_answer_a_snapshot_covers_succeeds():
    cluster = Simulation(
        3, {"hits": ReplCounter, "ledger": Ledger}, snapshot_log_entries=8, log_keep_bytes=1,
        session_ttl=30.0,
    )  # fmt: skip
    cluster.is_late = lambda life, name: name == "ledger"
    cluster.start()
    cluster.settle()
    leader = cluster.leader()
    one, other = [address for address in cluster.addresses if address != leader]
    leaders = cluster.objects(leader)
    cluster.await_all([cluster.node(leader).attach.submit("ledger", leaders["ledger"])])
    cluster.await_all([leaders["ledger"].append.submit(7)])

    # What `one` says is heard, and it hears nothing.
    for sender in (leader, other):
        cluster.network.cut(sender, one)
    attached = cluster.node(one).attach.submit("ledger", cluster.objects(one)["ledger"])
    for _ in range(40):
        cluster.await_all([leaders["hits"].inc.submit()])
    base = cluster.hosts[leader].life.core.log.base.index
    assert base > cluster.hosts[one].life.table.applied_index, base
    cluster.heal()
    cluster.await_all([attached])

    assert cluster.hosts[one].life in cluster.checks.skipped
    assert attached.result() is cluster.objects(one)["ledger"]
    assert attached.result().copy() == [7]
    cluster.settle()
    cluster.end()
