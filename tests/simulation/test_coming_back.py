"""A member that was removed, and is one again, reads of its removal in a log that may be long."""

import pytest

from syncstructs import ReplDict
from syncstructs.testing import Simulation

# The log is read entry by entry, each after an answer, and there is no snapshot to spare that.
SETTINGS = {
    "append_window_bytes": 300, "append_bytes": 1, "election_timeout_min": 0.15,
    "election_timeout_max": 0.2, "heartbeat_interval": 0.05, "snapshot_log_entries": 1_000_000,
}  # fmt: skip


def change(cluster, members):
    """Have the members changed, asked of the leader, and wait until that is done."""
    asked = cluster.node(cluster.leader()).set_members.submit(members)
    cluster.run_until(asked.done, limit=60.0)
    assert asked.exception() is None


@pytest.mark.parametrize("seed", range(3))
def test_who_comes_back_empty_is_not_ended_by_a_removal_of_long_ago(seed):
    cluster = Simulation(seed, {"users": ReplDict}, spares=1, forgetful=True, **SETTINGS)
    cluster.start()
    cluster.run_until(lambda: cluster.leader() is not None)
    first = list(cluster.seeds)
    leader = cluster.leader()
    gone = next(address for address in first if address != leader)
    rest = [address for address in first if address != gone]
    cluster.start("n4:1")
    change(cluster, [*rest, "n4:1"])
    cluster.run(1.0)
    cluster.crash(gone)
    users = cluster.objects(leader)["users"]
    for number in range(600):
        last = users.set.submit(number, "x" * 300)
        if number % 20 == 0:
            cluster.run_until(last.done)
    cluster.run_until(last.done)
    cluster.start(gone)
    change(cluster, [*rest, "n4:1", gone])
    # And once more, now that the removal stands in the midst of what it is filled with.
    cluster.crash(gone)
    cluster.run(0.5)
    cluster.start(gone)
    life = cluster.hosts[gone].life
    cluster.run_until(
        lambda: life.node._engine.failure is not None
        or life.table.applied_index >= cluster.hosts[leader].life.table.applied_index,
        limit=60.0,
    )
    assert life.node._engine.failure is None, f"seed {seed}"
    assert len(life.consumers["users"]) == 600
    cluster.run(2.0)
    assert life.node._engine.failure is None, f"seed {seed}"
