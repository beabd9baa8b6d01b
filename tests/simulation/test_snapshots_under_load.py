"""A member that lags gets a snapshot while others go on writing, and so do newer ones appear."""

import pytest

from syncstructs import ReplDict
from syncstructs.errors import NodeFailed
from syncstructs.testing import Simulation

# A snapshot is due ten times while one is on its way.
SETTINGS = {
    "snapshot_log_entries": 4, "log_keep_bytes": 1, "chunk_bytes": 200,
    "append_window_bytes": 300,
}  # fmt: skip


class Writer:
    """Writes to one member again and again, whatever the others do."""

    def __init__(self, cluster, address):
        self.cluster, self.users = cluster, cluster.objects(address)["users"]
        self.life = cluster.hosts[address].life
        self.count = 0
        self.life.soon(self.write)

    def write(self):
        self.count += 1
        self.users.set.submit(self.count % 100, "x" * 100)
        self.cluster.schedule.at(self.cluster.now + 0.02, self.life.execute, self.write)


@pytest.mark.parametrize("seed", range(5))
def test_a_snapshot_arrives_although_newer_ones_are_due_all_the_time(seed):
    cluster = Simulation(seed, {"users": ReplDict}, **SETTINGS)
    cluster.start()
    cluster.run_until(lambda: cluster.leader() is not None)
    leader = cluster.leader()
    lagging = next(address for address in cluster.up if address != leader)
    cluster.crash(lagging)
    writer = Writer(cluster, leader)
    cluster.run_until(lambda: writer.count > 200)
    cluster.start(lagging)
    core = cluster.hosts[lagging].life.core
    ahead = cluster.hosts[leader].life.core
    try:
        cluster.run_until(lambda: core.commit_index >= ahead.commit_index - 2, limit=60.0)
    except AssertionError as error:
        raise AssertionError(f"seed {seed}: {core.commit_index} of {ahead.commit_index}") from error


class Reluctant(ReplDict):
    """Takes no state over while `refuses` is set."""

    refuses = False

    def restore_state(self, state):
        if Reluctant.refuses:
            raise ValueError("not this one")
        super().restore_state(state)


def test_what_a_snapshot_has_filled_in_part_is_not_read(monkeypatch):
    """The state of nobody would be seen; what is whole may be read on a node that has failed."""
    cluster = Simulation(1, {"users": ReplDict, "others": Reluctant}, **SETTINGS)
    cluster.start()
    cluster.run_until(lambda: cluster.leader() is not None)
    leader = cluster.leader()
    lagging = next(address for address in cluster.up if address != leader)
    writer = Writer(cluster, leader)
    cluster.run_until(lambda: writer.count > 5)
    cluster.network.cut_off(lagging)
    cluster.run_until(lambda: writer.count > 100)
    objects, node = cluster.objects(lagging), cluster.node(lagging)
    assert objects["users"]
    monkeypatch.setattr(Reluctant, "refuses", True)
    cluster.network.heal_all()
    cluster.run_until(lambda: node._engine.failure is not None)
    with pytest.raises(NodeFailed, match=r"'others'.* refused the state of a snapshot"):
        objects["users"].get(1)
    with pytest.raises(NodeFailed, match="refused the state"), node.reading():
        len(objects["others"])
    assert cluster.objects(leader)["users"].get(1)
    # So that the node ends.
    cluster.run(1.0)
