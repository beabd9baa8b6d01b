"""A member that lags gets a snapshot while others go on writing, and so do newer ones appear."""

from itertools import pairwise

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


def lag(seed, keys=200, **settings):
    """Begin a cluster with a member that needs a snapshot; return all, that one and the leader."""
    cluster = Simulation(seed, {"users": ReplDict}, **settings)
    cluster.start()
    cluster.run_until(lambda: cluster.leader() is not None)
    leader = cluster.leader()
    lagging = next(address for address in cluster.up if address != leader)
    cluster.crash(lagging)
    writer = Writer(cluster, leader)
    cluster.run_until(lambda: writer.count > keys)
    cluster.start(lagging)
    return cluster, cluster.hosts[lagging].life, cluster.hosts[leader].life


@pytest.mark.parametrize("seed", range(5))
def test_a_snapshot_arrives_although_newer_ones_are_due_all_the_time(seed):
    cluster, late, leader = lag(seed, **SETTINGS)
    core, ahead = late.core, leader.core
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


@pytest.mark.pure("a method is changed")
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    "due",
    [
        # Ever so often; and, as with large states, whenever the log has grown by the size of one.
        {"snapshot_log_entries": 4, "snapshot_rate": 3000.0},
        {"snapshot_log_bytes": 1, "snapshot_log_entries": 10**6, "snapshot_rate": 8000.0},
    ],
    ids=["entries", "bytes"],
)
def test_one_snapshot_does_however_slowly_it_is_sent(seed, due):
    settings = SETTINGS | {"append_window_bytes": 10_000} | due
    cluster, late, leader = lag(seed, **settings)
    sent, taken, installed = [], set(), []
    take, install = leader.core.take_effects, late.replica.install

    def watched_take(**options):
        effects = take(**options)
        sent.extend(read for read in effects.chunk_reads if read.to == late.host.address)
        taken.add(leader.core._snapshot.index)
        return effects

    def watched_install(snapshot, image):
        installed.append(snapshot)
        return install(snapshot, image)

    leader.core.take_effects, late.replica.install = watched_take, watched_install
    begun = cluster.now
    cluster.run_until(lambda: bool(installed), limit=60.0)
    behind = leader.core.commit_index - installed[0].index
    assert behind > 50, "much was written meanwhile"
    size = installed[0].size_bytes
    assert cluster.now - begun >= 0.9 * size / settings["snapshot_rate"]
    cluster.run_until(
        lambda: late.core.commit_index >= leader.core.commit_index - 2, limit=10.0
    )
    cluster.run(5.0)
    assert installed == [sent[0].chunk.snapshot], f"seed {seed}"
    assert sum(read.size for read in sent) <= size + 2 * settings["chunk_bytes"], f"seed {seed}"
    if "snapshot_log_bytes" in due:
        # What is kept for who lags is not what has come since the last one.
        gaps = [later - earlier for earlier, later in pairwise(sorted(taken))]
        assert min(gaps) >= 40, f"seed {seed}: {taken}"
