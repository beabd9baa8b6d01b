"""Commands that call commands of other objects."""

from local_cluster import LocalCluster

from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.structs.dicts import ReplDict


class Owner(Replicated):
    """Passes its own mutable value to another object."""

    def __init__(self, shelf=None):
        self.mine = []

    LOCAL = frozenset({"shelf"})

    @replicated
    def share(self):
        self.mine.append("shared")
        self.shelf.set("box", self.mine)

    @replicated
    def change(self):
        self.mine.append("changed")


def test_objects_share_no_value_so_a_restored_replica_stays_equal():
    cluster = LocalCluster(2)
    shelves = cluster.attach("shelf", ReplDict)
    owners = cluster.attach("owner", Owner)
    for owner, shelf in zip(owners, shelves, strict=True):
        owner.shelf = shelf
    owners[0].share()
    cluster.reload(1)
    owners[0].change()
    assert shelves[0] == shelves[1] == {"box": ["shared"]}
    assert cluster.digest_equal()


def test_what_a_call_may_hold_fits_into_a_snapshot():
    value = []
    for _ in range(60):
        value = [value]
    cluster = LocalCluster(2)
    shelves = cluster.attach("shelf", ReplDict)
    shelves[0]["deep"] = value
    cluster.reload(1)
    assert shelves[1]["deep"] == value
    assert cluster.digest_equal()
