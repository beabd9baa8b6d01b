"""Watched objects on a cluster without threads: what is told when an instance comes late."""

from typing import Any

from local_cluster import LocalCluster

from syncstructs import ReplCounter, ReplDict
from syncstructs.objects.changes import Change


def watchable(cluster: LocalCluster, member: int) -> list[Any]:
    """Let objects of a member be watched; return what is to be told there."""
    port: Any = cluster.members[member]
    port.tell = lambda: None
    return port.news  # type: ignore[no-any-return]


class Late(ReplCounter):
    """Made by users only, so a member without it keeps the commands."""

    _embeddable = False


def test_what_was_kept_for_an_object_is_told_as_the_state_that_came_of_it() -> None:
    cluster = LocalCluster(2, check=True)
    cluster.attach_on(0, "hits", Late())
    cluster.members[0].table.objects["hits"].inc()  # type: ignore[attr-defined]
    late, told = Late(), watchable(cluster, 1)
    cluster.members[1].table.offer("hits", late)
    late.subscribe(lambda change: None)
    cluster.members[0].table.objects["hits"].add(2)  # type: ignore[attr-defined]
    cluster._attach(1, "hits", late)
    late.inc()
    changes = [change for _, change in told]
    assert all(isinstance(change, Change) for change in changes)
    assert [change.method for change in changes] == [None, "inc"]
    assert late.value == 4


def test_what_is_taken_back_or_dropped_is_watched_no_longer() -> None:
    cluster = LocalCluster(1, check=True)
    told = watchable(cluster, 0)
    table = cluster.members[0].table
    for end in (lambda: table.withdraw("a"), lambda: table.end_watches()):
        offered = ReplDict[str, int]()
        table.offer("a", offered)
        subscription = offered.subscribe(lambda change: None)
        told.clear()
        end()
        assert told == [((subscription,), None)]
        assert offered._watch is None
        table.withdraw("a")
