"""Instances that are offered where a snapshot has their objects already."""

from syncstructs import ReplCounter, ReplList


def restarted(port):
    table = port.new_table()
    table.restore(port.table.image())
    return table


def test_an_offered_instance_has_the_state_of_a_snapshot_without_an_attach(local_cluster):
    cluster = local_cluster(1)
    [hits] = cluster.attach("hits", ReplCounter)
    hits.add(5)
    table = restarted(cluster.members[0])
    again = ReplCounter()
    table.offer("hits", again)
    table.adopt_offers()
    assert again.value == 5
    assert table.objects["hits"] is again


def test_an_offered_instance_of_another_type_goes_on_waiting(local_cluster):
    cluster = local_cluster(1)
    [hits] = cluster.attach("hits", ReplCounter)
    hits.add(5)
    table = restarted(cluster.members[0])
    other = ReplList()
    table.offer("hits", other)
    table.adopt_offers()
    assert list(other) == []
    assert table.objects["hits"] is not other
