"""Looking at a data directory changes nothing; a repair keeps what is whole, and the copy."""

import zlib

import pytest
from msgspec.json import encode
from msgspec.structs import replace
from watched_disk import PowerCut, WatchedDisk

from syncstructs.errors import DataDirBusy, DataDirDamaged, StorageError
from syncstructs.raft.effects import Append
from syncstructs.raft.membership import Membership, decode_membership, encode_membership
from syncstructs.raft.messages import Entry, EntryId, EntryKind, HardState
from syncstructs.storage.disk import open_data_dir, open_existing
from syncstructs.storage.replay import Piece
from syncstructs.storage.salvage import found_anew, plan_repair, repair, survey
from syncstructs.storage.snapshots import DiskSnapshots
from syncstructs.storage.wal import Wal

MEMBERS = ("a:1", "b:1", "c:1")
GENESIS = 77


def entry(index, term=1):
    return Entry(term, index, index * 10, EntryKind.BATCH, b"payload-%d" % index)


def first_entry():
    return Entry(1, 1, 10, EntryKind.MEMBERSHIP,
                 encode_membership(Membership(MEMBERS, genesis=GENESIS)))  # fmt: skip


def opened(disk, *, segment_bytes=300, **identity):
    directory = open_data_dir(
        "/data", disk=disk, **{"cluster": "c", "address": "a:1", "members": MEMBERS} | identity
    )
    snapshots = DiskSnapshots(directory)
    log = Wal(directory, segment_bytes=segment_bytes)
    try:
        return directory, snapshots, log, log.load(snapshots.latest())
    except BaseException:
        directory.close()
        raise


def made(*, count=30, snapshots=(), compact=0, segment_bytes=300):
    """Return a disk with a log of `count` entries in several segments, closed in order."""
    disk = WatchedDisk()
    directory, store, log, _ = opened(disk, segment_bytes=segment_bytes)
    log.append([Append(0, HardState(3, "b:1"), entries=[first_entry()])])
    for index in range(2, count + 1):
        log.append([Append(0, entries=[entry(index)])])
    for index in snapshots:
        store.save(index, 1, index * 10, Membership(MEMBERS, genesis=GENESIS), [b"image" * index])
    if compact:
        log.compact(compact)
    log.close()
    directory.close()
    disk.calls.clear()
    return disk


def look(disk):
    directory = open_existing("/data", disk=disk)
    try:
        return survey(directory)
    finally:
        directory.close()


def segments(disk):
    return sorted(name for name in disk.names if name.startswith("log-"))


def flip(disk, name, at):
    disk.names[name][at] ^= 0x10


def mend(disk):
    directory = open_existing("/data", disk=disk)
    try:
        return repair(directory, survey(directory))
    finally:
        directory.close()


# Looking


def test_a_whole_directory_is_told_as_it_is_and_left_as_it_is():
    disk = made(snapshots=(10, 20))
    before = {name: bytes(content) for name, content in disk.names.items() if name != "lock"}
    found = look(disk)
    assert found.problems == ()
    assert (found.identity.cluster, found.identity.address) == ("c", "a:1")
    assert found.log.replay.hard_state == HardState(3, "b:1")
    assert [e.index for e in found.log.replay.entries] == list(range(1, 31))
    assert [view.name for view in found.log.segments] == segments(disk)
    assert sum(view.entry_count for view in found.log.segments) == 30
    assert [view.reaches_to for view in found.snapshots] == [10, 20]
    assert found.snapshot.checksum == zlib.crc32(b"image" * 20)
    assert found.membership == Membership(MEMBERS, genesis=GENESIS)
    assert found.last == EntryId(1, 30)
    assert {n: bytes(c) for n, c in disk.names.items() if n != "lock"} == before
    assert {call for call, _ in disk.calls} <= {"lock"}


def test_a_torn_tail_is_no_damage():
    disk = made()
    disk.names[segments(disk)[-1]].extend(b"torn")
    found = look(disk)
    assert found.problems == ()
    assert found.log.torn_bytes == 4
    directory = open_existing("/data", disk=disk)
    with pytest.raises(StorageError, match=r"nothing to repair.* cuts off the torn end"):
        repair(directory, found)


def test_what_is_behind_a_snapshot_needs_it():
    disk = made(snapshots=(20,), compact=20)
    assert look(disk).problems == ()
    assert look(disk).log.replay.base.index > 0
    [name] = [name for name in disk.names if name.startswith("snapshot-")]
    disk.remove(name)
    assert "the log begins after entry" in look(disk).problems[0]


def test_only_what_is_a_data_directory_is_looked_at_and_nothing_is_made():
    disk = WatchedDisk()
    with pytest.raises(StorageError):
        open_existing("/data", disk=disk)
    disk.put("notes.txt", b"")
    with pytest.raises(StorageError, match="no data directory of a node"):
        open_existing("/data", disk=disk)
    disk.put("log-000000000001-01010101.wal", b"")
    with pytest.raises(DataDirDamaged, match="does not say whose"):
        open_existing("/data", disk=disk)
    assert sorted(disk.names) == ["log-000000000001-01010101.wal", "notes.txt"]


def test_a_directory_in_use_is_refused():
    disk = made()
    directory, *_ = opened(disk)
    with pytest.raises(DataDirBusy):
        open_existing("/data", disk=disk)
    directory.close()
    look(disk)


@pytest.mark.parametrize("place", [0, 1, -1])
def test_damage_is_found_where_it_is_and_told_as_a_node_would(place):
    disk = made()
    name = segments(disk)[place]
    flip(disk, name, len(disk.names[name]) // 2)
    with pytest.raises(DataDirDamaged) as refused:
        opened(disk.copy())
    found = look(disk)
    assert found.problems == (str(refused.value),)
    assert found.log.segments[found.log.damaged_at].name == name
    last = found.log.replay.last.index
    assert last == (found.log.replay.entries[-1].index if found.log.replay.entries else 0)
    assert last < 30


@pytest.mark.parametrize("records", [[(9, b"junk")], [(2, b"\xc1")]], ids=["kind", "payload"])
def test_a_write_without_a_meaning_is_damage_and_is_cut_as_a_whole(records):
    disk = made(segment_bytes=10_000)
    directory, _, log, _ = opened(disk, segment_bytes=10_000)
    good = [(2, log._encoder.encode(Piece(entries=[entry(31)])))]
    log._write(log._segments[-1].size, good + records)
    log._write(log._segments[-1].size, [(2, log._encoder.encode(Piece(entries=[entry(32)])))])
    log.close()
    directory.close()
    found = look(disk)
    assert "has no meaning" in found.problems[0]
    assert found.last == EntryId(1, 30)
    mend(disk)
    assert look(disk).problems == ()
    assert [e.index for e in opened(disk)[3].entries] == list(range(1, 31))


# Repair


@pytest.mark.parametrize("place", [0, 1, 2, -1])
def test_a_repair_keeps_what_is_whole_and_a_copy_of_the_rest_and_forgets_its_vote(place):
    disk = made()
    name = segments(disk)[place]
    flip(disk, name, len(disk.names[name]) // 2)
    original = {n: bytes(c) for n, c in disk.names.items()}
    found = look(disk)
    kept = list(found.log.replay.entries)
    assert place == 0 or kept
    prefix = mend(disk)
    assert look(disk).problems == ()
    for cut in plan_repair(found).cuts:
        copy = bytes(disk.names[f"{prefix}{cut.name}.from-{cut.offset}"])
        assert copy == original[cut.name][cut.offset :]
    assert prefix == "cut-1-"
    directory, _, _, restored = opened(disk, members=())
    assert list(restored.entries) == kept
    assert restored.blank
    assert directory.identity.joined


@pytest.mark.parametrize("harm", ["cut", "empty", "noise", "gone"])
def test_an_end_that_lacks_what_was_noted_is_damage_and_is_repaired_as_such(harm):
    disk = made()
    name = segments(disk)[-1]
    content = disk.names[name]
    if harm == "gone":
        disk.remove(name)
    else:
        content[:] = {"cut": content[:-40], "empty": b"", "noise": b"noise" * 999}[harm]
    with pytest.raises(DataDirDamaged, match="more was acknowledged") as refused:
        opened(disk.copy())
    found = look(disk)
    assert found.problems == (str(refused.value),)
    kept = list(found.log.replay.entries)
    assert 20 < len(kept) < 31
    prefix = mend(disk)
    assert look(disk).problems == ()
    if harm == "noise":
        assert disk.names[f"{prefix}{name}.from-0"] == b"noise" * 999
    directory, _, _, restored = opened(disk, members=())
    assert list(restored.entries) == kept
    assert restored.blank
    assert directory.identity.joined
    # It is noted anew, so that the next damage is found as well.
    assert directory.identity.durable_write > 0


def test_a_log_that_is_gone_begins_anew_behind_the_snapshot_as_one_that_forgot():
    disk = made(snapshots=(10, 20))
    for name in segments(disk):
        disk.remove(name)
    assert "are gone" in look(disk).problems[0]
    mend(disk)
    directory, _, _, restored = opened(disk)
    assert restored.blank
    assert directory.identity.joined
    assert restored.snapshot.index == 20


def test_a_damaged_snapshot_that_the_log_can_replace_costs_nothing():
    disk = made(snapshots=(10, 20))
    name = max(name for name in disk.names if name.startswith("snapshot-"))
    flip(disk, name, len(disk.names[name]) - 3)
    found = look(disk)
    assert "is damaged" in found.problems[0]
    assert not plan_repair(found).forgets
    mend(disk)
    directory, _, _, restored = opened(disk)
    assert restored.snapshot.index == 10
    assert [e.index for e in restored.entries] == list(range(11, 31))
    assert restored.hard_state == HardState(3, "b:1")
    assert not restored.blank
    assert not directory.identity.joined


def test_a_damaged_snapshot_beyond_the_log_is_forgotten_like_a_log():
    disk = made(count=30, snapshots=(20, 40))
    name = max(name for name in disk.names if name.startswith("snapshot-"))
    flip(disk, name, len(disk.names[name]) - 3)
    assert plan_repair(look(disk)).forgets
    mend(disk)
    assert opened(disk)[3].blank


def test_what_cannot_be_put_together_again_is_refused_and_left_as_it_is():
    disk = made(snapshots=(20,), compact=20)
    [name] = [name for name in disk.names if name.startswith("snapshot-")]
    flip(disk, name, len(disk.names[name]) - 3)
    before = {n: bytes(c) for n, c in disk.names.items() if n != "lock"}
    with pytest.raises(DataDirDamaged, match="cannot be repaired: the log begins after"):
        mend(disk)
    assert {n: bytes(c) for n, c in disk.names.items() if n != "lock"} == before


def test_a_whole_directory_is_not_repaired():
    with pytest.raises(StorageError, match="nothing to repair"):
        mend(made())


@pytest.mark.parametrize("kind", ["log", "snapshot", "begin"])
def test_after_a_power_cut_at_any_step_a_repair_can_be_begun_again_and_no_vote_comes_back(kind):
    # Where the log is cut from its begin, no snapshot stands in for it.
    template = made(snapshots=() if kind == "begin" else (10, 20))
    name = segments(template)[kind == "log"]
    if kind == "snapshot":
        name = max(name for name in template.names if name.startswith("snapshot-"))
    flip(template, name, 5 if kind == "begin" else len(template.names[name]) // 2)
    template = template.copy()
    whole = len(look(template.copy()).log.replay.entries)
    steps = 0
    for points in range(1000):
        disk = template.copy(seed=points)
        disk.cut_power_in(points)
        try:
            mend(disk)
        except PowerCut:
            disk.crash(points)
        else:
            break
        steps += 1
        try:
            restored = opened(disk.copy(), members=())[3]
        except DataDirDamaged:
            mend(disk)
            restored = opened(disk, members=())[3]
        assert len(restored.entries) + (restored.snapshot.index if restored.snapshot else 0) >= min(
            whole, 10
        )
        assert restored.blank == (kind != "snapshot"), points
    assert steps > 10


# Founding anew


def begin_anew(disk, address="n:9"):
    directory = open_existing("/data", disk=disk)
    try:
        return found_anew(directory, survey(directory), address, genesis=99, command=b"command")
    finally:
        directory.close()


@pytest.mark.parametrize("options", [{}, {"snapshots": (20,), "compact": 20}, {"snapshots": (30,)}])
def test_a_cluster_of_one_follows_what_there_was_in_a_later_term(options):
    disk = made(**options)
    assert begin_anew(disk) == EntryId(4, 32)
    directory, _, _, restored = opened(disk, address="n:9")
    assert directory.identity.members == ("n:9",)
    founding, command = restored.entries[-2:]
    assert [e.index for e in restored.entries][-1] == 32
    assert founding.id == EntryId(4, 31)
    assert founding.time == command.time == 300
    assert decode_membership(founding.payload) == Membership(("n:9",), genesis=99)
    assert (command.kind, command.payload) == (EntryKind.BATCH, b"command")
    assert restored.hard_state == HardState(4)
    assert not restored.blank
    assert look_after(disk, directory).membership.voters == ("n:9",)


@pytest.mark.parametrize("harm", [False, True])
def test_what_is_written_into_a_directory_of_an_older_format_says_that_it_is_of_this_one(harm):
    """Else a release that knows only the older one takes it for damaged by somebody."""
    disk = made()
    directory = open_existing("/data", disk=disk)
    older = replace(directory.identity, format=2, durable_write=0)
    directory.close()
    content = encode(replace(older, checksum=older.sum()))
    disk.names["identity.json"][:] = content
    assert look(disk).problems == ()
    assert bytes(disk.names["identity.json"]) == content
    if harm:
        flip(disk, segments(disk)[1], 100)
        mend(disk)
    else:
        begin_anew(disk)
    found = look(disk).identity
    assert (found.format, found.durable_write > 0) == (3, True)


def look_after(disk, directory):
    directory.close()
    return look(disk)


def test_a_snapshot_that_came_from_others_is_followed_where_the_log_does_not_hold_it():
    disk = made(count=3, snapshots=(20,))
    assert begin_anew(disk) == EntryId(4, 22)
    restored = opened(disk, address="n:9")[3]
    assert restored.snapshot.index == 20
    assert [e.index for e in restored.entries] == [21, 22]


def test_a_damaged_or_an_empty_directory_founds_nothing():
    disk = made()
    flip(disk, segments(disk)[0], 100)
    with pytest.raises(DataDirDamaged, match="repair it first"):
        begin_anew(disk)
    empty = WatchedDisk()
    directory, *_ = opened(empty)
    directory.close()
    with pytest.raises(StorageError, match="holds no entry yet"):
        begin_anew(empty)


def test_after_a_power_cut_it_can_be_begun_again():
    template = made().copy()
    steps = 0
    for points in range(1000):
        disk = template.copy(seed=points)
        disk.cut_power_in(points)
        try:
            begin_anew(disk)
        except PowerCut:
            disk.crash(points)
        else:
            break
        steps += 1
        last = begin_anew(disk)
        restored = opened(disk, address="n:9")[3]
        assert restored.entries[-1].id == last
        assert [e.index for e in restored.entries[:30]] == list(range(1, 31))
        found = look_at_end(restored)
        assert found == Membership(("n:9",), genesis=99)
    assert steps > 10


def look_at_end(restored):
    return decode_membership(restored.entries[-2].payload)
