"""Images and digests: complete, the same everywhere, and clear about what they cannot hold."""

import tracemalloc
from typing import Any

import pytest
from images import as_value, image_of, join, split, with_fields
from local_cluster import LocalCluster

from syncstructs.codec import decode, encode
from syncstructs.errors import DecodeError, NodeFailed, Unserializable
from syncstructs.objects import directory
from syncstructs.objects.digest import digest_bytes
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.objects.table import Table
from syncstructs.storage.base import Parts


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
    image = image_of(source)
    target.restore([image])
    target._check()
    assert target.digest() == source.digest()
    assert image_of(target) == image
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
    table = cluster.members[0].table
    for attempt in (image_of, Table.digests):
        with pytest.raises(Unserializable, match=r"'note'.*Note.*'value'.*object"):
            attempt(table)
    note.set(1)
    image_of(table)


def test_an_image_of_another_format_is_refused_with_both_numbers() -> None:
    table = LocalCluster(1).members[0].table
    image = with_fields(image_of(table), version=9)
    for later in ([image], [encode({"version": 9, "what": "ever"})]):
        with pytest.raises(NodeFailed, match=r"format 9.*formats up to 4"):
            table.restore(later)


@pytest.mark.parametrize(
    "image",
    [
        b"", b"junk", encode(5), encode({}), encode({"version": 1}), join([]), join([b""]),
        join([encode(5)]), join([encode({"version": 3})]), bytes(7), b"\0" * 7 + b"\x09",
    ],
)  # fmt: skip
def test_bytes_that_are_no_image_are_refused_and_change_nothing(image: bytes) -> None:
    cluster = LocalCluster(1)
    cluster.attach("note", Note)[0].set(1)
    digest = cluster.members[0].table.digest()
    with pytest.raises(NodeFailed, match="cannot be read"):
        cluster.members[0].table.restore([image])
    assert cluster.members[0].table.digest() == digest


def filled(count: int) -> LocalCluster:
    cluster = LocalCluster(2)
    cluster.attach("note", Note)[0].set(dict.fromkeys(range(count), "x" * 100))
    cluster.attach("other", Note)[1].set(5)
    return cluster


@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
def test_an_image_is_read_from_parts_of_any_size(size: int) -> None:
    source, target = (member.table for member in filled(200).members)
    image = image_of(source)
    target.restore(image[at : at + size] for at in range(0, len(image), size))
    target._check()
    assert target.digest() == source.digest()
    assert image_of(target) == image


@pytest.mark.parametrize(
    ("at", "value"),
    [(1, []), (5, 5), (6, 5), (6, [[]])],
)
def test_a_row_that_has_no_meaning_is_refused(at: int, value: Any) -> None:
    """The bytes are whole, so it is no damage: some member writes what makes no sense."""
    cluster = filled(3)
    head, row, *rest = split(image_of(cluster.members[0].table))
    told = decode(row)
    told[at] = value
    table = cluster.members[0].new_table()
    with pytest.raises(NodeFailed, match="cannot be read: it has no meaning"):
        table.restore([join([head, encode(told), *rest])])
    assert not table.is_readable


@pytest.mark.parametrize("sessions", [5, [5], [[1, 2, 3]], {"next": None}])
def test_sessions_that_have_no_meaning_are_refused(sessions: Any) -> None:
    cluster = filled(3)
    table = cluster.members[0].new_table()
    with pytest.raises(NodeFailed, match="cannot be read: it has no meaning"):
        table.restore([with_fields(image_of(cluster.members[0].table), sessions=sessions)])


def test_an_image_that_is_cut_off_is_refused_wherever_that_is() -> None:
    cluster = filled(3)
    image = image_of(cluster.members[0].table)
    for length in range(len(image)):
        with pytest.raises(NodeFailed, match=r"cannot be read|refused the state"):
            cluster.members[0].new_table().restore([image[:length]])
        target = cluster.members[1].table
        with pytest.raises(NodeFailed, match=r"cannot be read|refused the state"):
            target.restore([image[:length]])
        # A part of it may have been taken over.
        if not target.is_readable:
            with pytest.raises(NodeFailed, match="not taken over to its end"):
                target.image()
            target.restore([image])
    assert cluster.digest_equal()


def test_formats_of_before_are_read() -> None:
    cluster = filled(200)
    source, target = (member.table for member in cluster.members)
    for version in (1, 2):
        image = encode(as_value(image_of(source), version))
        for size in (1, 1000):
            target.restore(image[at : at + size] for at in range(0, len(image), size))
            assert image_of(target) == image_of(source)


def test_what_an_instance_had_is_dropped_before_it_gets_another_state(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """There may be no room for both."""
    cluster = filled(3)
    source, target = (member.table for member in cluster.members)
    note: Any = target.objects["note"]
    before = note.value
    seen = []
    state_of = directory.state_of
    monkeypatch.setattr(directory, "state_of", lambda p: (seen.append(note.value), state_of(p))[1])
    target.restore(source.image())
    with pytest.raises(NodeFailed, match="not taken over to its end"):
        bool(seen[0])
    assert note.value == before
    assert note.value is not before
    # Attributes are where they were: their order is a part of the state as bytes.
    assert image_of(target) == image_of(source)


class Half(Note):
    """Takes over a part of its state before it fails."""

    def restore_state(self, state: Any) -> None:
        self.value = state["value"]
        if self.value is not None:
            raise ValueError("half of it")
        super().restore_state(state)


@pytest.mark.parametrize("cls", [Note, Half])
def test_a_state_that_was_not_taken_over_to_its_end_is_no_value(cls: type[Note]) -> None:
    """Whoever waits for the end of it, to read, takes it for none: a lock would look free."""
    cluster = LocalCluster(2)
    note, other = cluster.attach("note", cls)
    note.value = dict.fromkeys(range(1000), "x" * 100)
    other.value = {0: "of before"}
    image = image_of(cluster.members[0].table)
    with pytest.raises(NodeFailed, match=r"cannot be read|refused the state"):
        cluster.members[1].table.restore([image[: len(image) // 2]] if cls is Note else [image])
    for read in (bool, len, iter, hash, lambda v: v[0], lambda v: v.get(0), lambda v: v == 0):
        with pytest.raises(NodeFailed, match="not taken over to its end, so the node stops"):
            read(other.value)
    assert other.value is not None


def test_no_copy_of_the_whole_is_made() -> None:
    cluster = filled(0)
    tables = [member.table for member in cluster.members]
    for table in tables:
        note: Any = table.objects["note"]
        note.value = dict.fromkeys(range(5000), "x" * 1000)
    fresh = cluster.members[0].new_table()
    tracemalloc.start()
    try:
        size = sum(map(len, tables[0].image()))
        written = tracemalloc.get_traced_memory()[1]
        begun = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        tables[1].restore(tables[0].image())
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        fresh.restore(tables[0].image())
        later, higher = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size > 5_000_000
    # Parts of it, of one object and of the image.
    assert written < size / 2
    assert peak - max(now, begun) < size / 2
    assert later - now > size
    assert higher - later < size / 2


def test_what_is_local_here_is_left_alone_though_a_state_has_it() -> None:
    """It may have been state in an earlier release."""
    note = Note()
    mine = note.callback
    note.restore_state({"early": 1, "value": 2, "callback": "another's"})
    assert (note.early, note.value, note.callback) == (1, 2, mine)
    with pytest.raises(DecodeError, match="'_binding' is no part"):
        note.restore_state({"early": 3, "_binding": 5})
    assert note.early == 1


class Choosy(Note):
    """Refuses what it is told to refuse."""

    refuses: Any = ()

    def restore_state(self, state: Any) -> None:
        if state["value"] == Choosy.refuses:
            raise ValueError("not this")
        super().restore_state(state)


def test_a_state_that_an_instance_refuses_is_kept_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = LocalCluster(1)
    source.attach("before", Note)[0].set(1)
    source.attach("choosy", Choosy)[0].set({number: number for number in range(200)})
    source.attach("behind", Note)[0].set(2)
    table = source.members[0].table
    monkeypatch.setattr(Choosy, "refuses", {number: number for number in range(200)})
    monkeypatch.setattr(Choosy, "_embeddable", False)
    image = image_of(table)
    for parts in ([image], Parts(lambda: iter([image[:100], image[100:]]))):
        other = source.members[0].new_table()
        offered = Choosy()
        other.offer("choosy", offered)
        other.restore(parts)
        assert "choosy" not in other.objects
        assert [target.value for target in other.objects.values()] == [1, 2]
        # As others hand it over.
        assert image_of(other) == image


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
    before = as_value(image_of(source), 1)
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
    target.restore([encode(before)])
    assert target.diverged == {}
    with pytest.raises(NodeFailed, match="differ"):
        target.restore([with_fields(image_of(source), diverged=[5])])
