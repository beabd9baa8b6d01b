"""Conditions of transactions: the same on every member, whatever each of them has attached."""

import pytest
from images import fields_of, image_of
from local_cluster import LocalCluster

from syncstructs import ReplCounter, ReplDict
from syncstructs.errors import Conflict, DecodeError, NodeFailed
from syncstructs.objects import table as table_module
from syncstructs.objects.context import current_context
from syncstructs.objects.image import decode_image
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.objects.transactions import Marks
from syncstructs.objects.versions import WITH_TRANSACTIONS


class Box(Replicated):
    def __init__(self):
        self.items = []

    @replicated
    def put(self, item):
        self.items.append(item)
        return len(self.items)

    @replicated
    def put_and_raise(self, item):
        self.items.append(item)
        raise ValueError(item)


class Pair(Replicated):
    """Its command changes another object."""

    LOCAL = frozenset({"other"})

    @replicated
    def put(self, item):
        self.other.put(item)

    def on_session_expired(self, session):
        self.expired = current_context().serial


@pytest.fixture
def cluster():
    made = LocalCluster(3, check=True)
    made.boxes = made.attach("box", Box)
    made.members[0].system("mark")
    return made


def transact(cluster, since, *calls, name="box", reads=None):
    port = cluster.members[0]
    id_ = port.table.objects[name]._binding.target
    return port.system("transact", [[id_, since, reads]], [[id_, *call] for call in calls])


def test_it_is_applied_as_a_whole_if_nothing_has_changed(cluster):
    since = cluster.members[0].table.serial
    outcomes = transact(cluster, since, ("put", [1]), ("put", [2]))
    assert [outcome.value for outcome in outcomes] == [1, 2]
    assert [box.items for box in cluster.boxes] == [[1, 2]] * 3


@pytest.mark.parametrize(
    "change",
    [
        lambda cluster: cluster.boxes[1].put(0),
        lambda cluster: cluster.batch(1, [(cluster.boxes[1], "put", (0,))]),
        lambda cluster: cluster.boxes[1].put_and_raise.submit(0),
        lambda cluster: cluster.members[1].system("transact", [], [["box", "put", [0]]]),
    ],
)
def test_nothing_of_it_is_applied_if_a_command_ran_meanwhile(cluster, change):
    since = cluster.members[0].table.serial
    change(cluster)
    with pytest.raises(Conflict, match="'box', which the transaction read, was changed"):
        transact(cluster, since, ("put", [1]))
    assert [box.items for box in cluster.boxes] == [[0]] * 3


def test_commands_of_other_objects_are_no_conflict(cluster):
    other = cluster.attach("other", Box)
    since = cluster.members[0].table.serial
    other[1].put(0)
    assert transact(cluster, since, ("put", [1]))


def test_a_command_that_another_one_runs_inline_counts(cluster):
    pairs = cluster.attach("pair", Pair)
    for pair, box in zip(pairs, cluster.boxes, strict=True):
        pair.other = box
    since = cluster.members[0].table.serial
    pairs[2].put(0)
    with pytest.raises(Conflict):
        transact(cluster, since, ("put", [1]))


def test_what_an_expired_session_may_have_changed_counts(cluster):
    cluster.members[2].open_session()
    since = cluster.members[0].table.serial
    cluster.members[2].open_session()
    with pytest.raises(Conflict):
        transact(cluster, since, ("put", [1]))


def test_an_object_that_was_dropped_is_a_conflict_even_if_its_name_is_back(cluster):
    port = cluster.members[0]
    id_, since = cluster.boxes[0]._binding.target, port.table.serial
    cluster.drop(1, "box")
    cluster.attach("box", Box)
    with pytest.raises(Conflict, match=f"object {id_}, which the transaction read, was dropped"):
        port.system("transact", [[id_, since, None]], [])
    # What was before the object is not what it is now.
    with pytest.raises(Conflict, match="changed meanwhile"):
        transact(cluster, since)


def test_before_the_marks_nothing_is_certain():
    cluster = LocalCluster(2, check=True)
    box = cluster.attach("box", Box)[0]
    cluster.boxes = [box]
    with pytest.raises(Conflict):
        transact(cluster, cluster.members[0].table.serial, ("put", [1]))
    before = cluster.members[0].table.serial
    cluster.members[0].system("mark")
    with pytest.raises(Conflict):
        transact(cluster, before, ("put", [1]))
    since = cluster.members[0].table.serial
    cluster.members[1].system("mark")
    assert transact(cluster, since, ("put", [1])), "a second one does not begin anew"


def test_marks_are_kept_of_what_is_attached_nowhere_here():
    cluster = LocalCluster(2)
    box = cluster.attach_on(0, "box", Box())
    cluster.members[0].system("mark")
    since = cluster.members[0].table.serial
    cluster.boxes = [box]
    assert transact(cluster, since, ("put", [1]))
    with pytest.raises(Conflict):
        transact(cluster, since, ("put", [2]))
    late = cluster.attach_on(1, "box", Box())
    assert late.items == box.items == [1]


def test_keys_that_were_read_are_compared_where_more_has_changed(cluster):
    d = cluster.attach("d", ReplDict)[0]
    d.update({"a": 1, "b": 1})
    since = cluster.members[0].table.serial
    d["b"] = 2
    assert transact(cluster, since, ("set", ["c", 3]), name="d", reads=[["a", [1]], ["x", []]])
    for reads in ([["b", [1]]], [["c", []]], [["a", []]]):
        with pytest.raises(Conflict):
            transact(cluster, since, ("set", ["c", 4]), name="d", reads=reads)
    assert d["c"] == 3


def test_who_cannot_compare_keys_stops():
    class Unknown(ReplDict):
        _embeddable = False

    cluster = LocalCluster(2)
    d = cluster.attach_on(0, "d", Unknown())
    cluster.members[0].system("mark")
    d["a"] = 1
    with pytest.raises(NodeFailed, match="attach it, and start this node again"):
        transact(cluster, 0, name="d", reads=[["a", [1]]])


@pytest.mark.parametrize("row", [[], [1, 2], ["box", 1, None], [1, 1.5, None], 7, [1, 2, 3, 4]])
def test_a_condition_without_meaning_is_refused(cluster, row):
    with pytest.raises(DecodeError, match="a condition that has no meaning"):
        cluster.members[0].system("transact", [row], [])


def test_marks_are_part_of_the_image_and_no_earlier_release_reads_it():
    cluster = LocalCluster(2)
    hits = cluster.attach("hits", ReplCounter)[0]
    hits.inc()
    table = cluster.members[0].table
    assert fields_of(image_of(table))["version"] == 3
    cluster.members[0].system("mark")
    hits.inc()
    image = image_of(table)
    assert fields_of(image)["version"] == 4
    marks = decode_image([image]).marks
    assert marks is not None
    assert marks.state() == table.marks.state()
    assert marks.last("hits") == table.serial > marks.since


@pytest.mark.parametrize("state", [None, [], [1], ["a", {}], [1, {"a": "b"}], [1, 2], [1, {2: 3}]])
def test_marks_without_meaning_are_refused(state):
    with pytest.raises(DecodeError, match="marks"):
        Marks.restored(state)


@pytest.mark.parametrize("command", [("mark",), ("transact", [], [])])
def test_a_release_that_does_not_know_transactions_stops_at_the_first_one(monkeypatch, command):
    cluster = LocalCluster(2, check=True)
    monkeypatch.delitem(table_module._SYSTEM, command[0])
    monkeypatch.setattr(table_module, "RELEASE", WITH_TRANSACTIONS - 1)
    cluster.members[0].system("know", 1, WITH_TRANSACTIONS, {})
    with pytest.raises(NodeFailed, match="start this node again with the release that they run"):
        cluster.members[0].system(*command)
