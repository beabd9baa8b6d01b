"""A member that lags gets a snapshot while others go on writing, and so do newer ones appear."""

import pytest

from syncstructs import ReplDict
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
