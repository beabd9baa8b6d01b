"""Members with a damaged disk: they refuse to start, leave all as it was, and others go on."""

from syncstructs import ReplCounter
from syncstructs.errors import DataDirDamaged
from syncstructs.testing.simulator import Simulation

SETTINGS = {"snapshot_log_entries": 4, "log_keep_bytes": 1, "segment_bytes": 400}


def add(cluster, address, count):
    for _ in range(count):
        added = cluster.objects(address)["hits"].add.submit(1)
        cluster.run_until(added.done)
        assert added.exception() is None


def damaged_member(seed, prefix):
    """Return a settled cluster of which one member is down, its disk damaged, and that member."""
    cluster = Simulation(seed, {"hits": ReplCounter}, disks=True, **SETTINGS)
    cluster.start()
    add(cluster, "n1:1", 30)
    cluster.settle()
    host = cluster.hosts["n2:1"]
    host.crash(silently=True)
    cluster.atlas.damaged(host.address)
    assert host.disk.rot((prefix,)) is not None, seed
    return cluster, host


def log_of(disk):
    """Return the files of the log; of snapshots, one that is too old may be removed at any time."""
    found = {}
    for name in disk.list("/data"):
        if name.startswith("log-"):
            file = disk.open(f"/data/{name}", "read")
            found[name] = file.read(0, file.size())
    return found


def test_a_refused_start_leaves_the_log_as_it_was_and_says_so_again():
    for prefix in ("snapshot-", "log-"):
        refused = 0
        for seed in range(20):
            cluster, host = damaged_member(seed, prefix)
            before = log_of(host.disk)
            for _ in range(2):
                cluster.start(host.address)
                error = cluster.refused.get(host.address)
                if error is None:
                    break  # not the newest snapshot, or a segment that a snapshot covers
                assert isinstance(error, DataDirDamaged), (seed, error)
                assert log_of(host.disk) == before, (seed, prefix)
                refused += 1
        assert refused >= 10, (prefix, refused)


def test_a_majority_goes_on_beside_a_damaged_member():
    for seed in range(5):
        cluster, host = damaged_member(seed, "log-")
        cluster.start(host.address)
        add(cluster, "n3:1", 5)
        cluster.settle()
        assert cluster.objects("n3:1")["hits"].value == 35
