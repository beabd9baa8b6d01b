"""Images and digests: complete, the same everywhere, and clear about what they cannot hold."""

from typing import Any

import pytest
from local_cluster import LocalCluster

from syncstructs.codec import decode, encode
from syncstructs.errors import NodeFailed, Unserializable
from syncstructs.objects.digest import digest_bytes
from syncstructs.objects.replicated import Replicated, replicated


class Note(Replicated):
    """Keeps what it is given, and something of this process alone."""

    LOCAL = frozenset({"callback"})

    def __init__(self) -> None:
        self.early = "set before anything else"
        self.value: Any = None
        self.callback: Any = object()

    @replicated
    def set(self, value: Any) -> None:
        self.value = value

    @replicated
    def spoil(self) -> None:
        self.value = [object()]


def test_an_image_gives_back_everything() -> None:
    cluster = LocalCluster(2)
    notes = cluster.attach("note", Note)
    notes[0].set({"a": [1, (2,), {3}], 5: b"x"})
    cluster.now = 99.0
    notes[1].set({"a": [1, (2,), {4}], 5: b"x"})
    source = cluster.members[0].table
    target = cluster.members[0].new_table()
    image = source.image()
    target.restore(image)
    target._check()
    assert target.digest() == source.digest()
    assert target.image() == image
    assert (target.serial, target.time, target.applied_index) == (
        source.serial,
        source.time,
        source.applied_index,
    )
    assert target.sessions.state() == source.sessions.state()
    assert vars(target.objects["note"])["early"] == "set before anything else"


def test_what_is_local_stays_out_of_images_and_of_restored_instances() -> None:
    cluster = LocalCluster(2)
    note = cluster.attach("note", Note)[0]
    mine = note.callback
    cluster.reload(0)
    assert note.callback is mine
    assert cluster.digest_equal()


def test_a_state_without_encoding_is_named_by_object_and_attribute() -> None:
    cluster = LocalCluster(1)
    note = cluster.attach("note", Note)[0]
    note.spoil()
    for attempt in (cluster.members[0].table.image, cluster.members[0].table.digests):
        with pytest.raises(Unserializable, match=r"'note'.*Note.*'value'.*object"):
            attempt()
    note.set(1)
    cluster.members[0].table.image()


def test_an_image_of_another_format_is_refused_with_both_numbers() -> None:
    table = LocalCluster(1).members[0].table
    fields = decode(table.image())
    fields["version"] = 9
    with pytest.raises(NodeFailed, match=r"format 9.*formats up to 2"):
        table.restore(encode(fields))


@pytest.mark.parametrize("image", [b"", b"junk", encode(5), encode({}), encode({"version": 1})])
def test_bytes_that_are_no_image_are_refused_and_change_nothing(image: bytes) -> None:
    cluster = LocalCluster(1)
    cluster.attach("note", Note)[0].set(1)
    digest = cluster.members[0].table.digest()
    with pytest.raises(NodeFailed, match="cannot be read"):
        cluster.members[0].table.restore(image)
    assert cluster.members[0].table.digest() == digest


def test_a_digest_finds_the_object_that_differs() -> None:
    cluster = LocalCluster(2)
    cluster.attach("same", Note)
    cluster.attach("other", Note)[1].value = "changed behind the log's back"
    first, second = (member.table.digests() for member in cluster.members)
    assert first["same"] == second["same"]
    assert first["other"] != second["other"]
    with pytest.raises(AssertionError, match=r"\['other'\]"):
        cluster.digest_equal()


def test_a_digest_does_not_depend_on_the_order_of_a_set_or_on_the_object() -> None:
    cluster = LocalCluster(2)
    left, right = cluster.attach("note", Note)
    left.value = {8, 16, 24, "a"}
    right.value = {"a", 24, 16, 8}
    assert cluster.digest_equal()
    assert len(cluster.members[0].table.digest()) == 32


def test_a_digest_tells_where_one_part_ends() -> None:
    assert digest_bytes([b"ab", b"c"]) != digest_bytes([b"a", b"bc"]) != digest_bytes([b"abc"])


def test_an_image_tells_which_objects_differ_and_need_not() -> None:
    cluster = LocalCluster(2)
    cluster.attach("note", Note)
    source = cluster.members[0].table
    before = decode(source.image())
    (id_,) = (record.id for record in source._directory.records.values())
    cluster.members[0].system("note_divergence", [[id_, [3, ["a:1", "b:1"]]]])
    target = cluster.members[0].new_table()
    target.restore(source.image())
    target._check()
    assert target.diverged == source.diverged
    assert [(name, d.index, d.members) for name, _, d in target.divergences] == [
        ("note", 3, ("a:1", "b:1"))
    ]
    assert target.digest() == source.digest()
    target.diverged = {}
    assert target.digest() != source.digest()
    # Releases that compared nothing did not say it.
    assert before["version"] == 1
    target.restore(encode(before))
    assert target.diverged == {}
    with pytest.raises(NodeFailed, match="differ"):
        target.restore(encode(decode(source.image()) | {"diverged": [5]}))
