"""Snapshots on disk: whole or not there, received piece by piece, and never passed over."""

import copy
import errno
import os
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from watched_disk import PowerCut, WatchedDisk

from syncstructs.errors import DataDirDamaged, StorageError
from syncstructs.raft.membership import Membership
from syncstructs.raft.messages import SnapshotMeta
from syncstructs.storage.disk import OsDisk, open_data_dir
from syncstructs.storage.memory import MemorySnapshots
from syncstructs.storage.snapshots import _MAGIC, _PREFIX, DiskSnapshots

IMAGE = bytes(range(256)) * 2
ALL = Membership(("a:1", "b:1", "c:1"), genesis=7)


def open_on(disk):
    disk.kill()
    return DiskSnapshots(open_data_dir("/data", cluster="c", address="a:1", disk=disk))


def meta(index, image=IMAGE, term=1):
    return SnapshotMeta(index, term, index * 10, len(image), zlib.crc32(image), ALL)


def receive(store, snapshot):
    store.write(snapshot, 0, IMAGE)
    store.finish(snapshot)


def load_latest(disk):
    store = open_on(disk)
    return b"".join(store.load(store.latest()))


def files(disk):
    return sorted(name for name in disk.names if name.startswith("snapshot-"))


@pytest.fixture(params=["disk", "memory"])
def store(request):
    return MemorySnapshots() if request.param == "memory" else open_on(WatchedDisk())


# Both stores


def test_the_newest_two_are_kept(store):
    assert store.latest() is None
    saved = [store.save(index, 1, index * 10, ALL, [IMAGE + bytes([index])]) for index in (3, 7, 9)]
    store._check()
    assert saved[2] == meta(9, IMAGE + b"\x09")
    assert store.latest() == saved[2]
    assert b"".join(store.load(saved[1])) == IMAGE + b"\x07"
    assert b"".join(store.load(saved[2])) == IMAGE + b"\x09"
    assert store.read(saved[0], 0, 10) is None
    with pytest.raises(StorageError, match="entry 3 is not kept"):
        store.load(saved[0])


@given(st.integers(0, 600), st.integers(0, 600))
def test_a_piece_is_a_slice_of_the_image(offset, size):
    for store in (MemorySnapshots(), open_on(WatchedDisk())):
        saved = store.save(1, 1, 10, ALL, [IMAGE])
        assert store.read(saved, offset, size) == IMAGE[offset : offset + size]


def test_an_older_snapshot_that_comes_late_does_not_become_the_latest(store):
    newest = store.save(9, 2, 90, ALL, [IMAGE])
    store.save(5, 1, 50, ALL, [b"old"])
    assert store.latest() == newest


def test_another_image_at_the_same_entry_takes_its_place(store):
    first = store.save(5, 1, 50, ALL, [b"one"])
    second = store.save(5, 1, 50, ALL, [b"two"])
    assert store.latest() == second
    assert b"".join(store.load(second)) == b"two"
    assert store.read(first, 0, 3) is None


def test_pieces_are_taken_in_order_and_the_offset_wanted_is_told(store):
    wanted = meta(5)
    assert store.write(wanted, 0, IMAGE[:200]) == 200
    assert store.write(wanted, 0, IMAGE[:200]) == 200
    assert store.write(wanted, 300, IMAGE[300:]) == 200
    assert store.write(wanted, 200, IMAGE[200:] + b"too much") == 200
    assert store.latest() is None
    assert store.write(wanted, 200, IMAGE[200:]) == 512
    assert store.finish(wanted)
    store._check()
    assert store.latest() == wanted
    assert b"".join(store.load(wanted)) == IMAGE
    assert not store.finish(wanted)


def test_a_piece_of_another_snapshot_replaces_what_had_arrived(store):
    store.write(meta(5), 0, IMAGE[:100])
    assert store.write(meta(6), 100, IMAGE[100:]) == 0
    assert store.write(meta(6), 0, IMAGE) == 512
    assert not store.finish(meta(5))
    assert store.finish(meta(6))
    assert store.write(meta(5), 0, b"") == 0


@pytest.mark.parametrize("wrong", [IMAGE[:-1] + b"x", IMAGE[:-1]])
def test_a_received_image_that_is_corrupt_leaves_nothing(store, wrong):
    store.write(meta(5), 0, wrong)
    assert not store.finish(meta(5))
    assert store.latest() is None
    assert store.write(meta(5), 0, IMAGE) == 512
    assert store.finish(meta(5))


def test_an_empty_image_is_an_image(store):
    empty = store.save(1, 1, 10, ALL, [b""])
    assert (b"".join(store.load(empty)), store.read(empty, 0, 9)) == (b"", b"")
    store.write(meta(2, b""), 0, b"")
    assert store.finish(meta(2, b""))


def test_closing_drops_what_arrived_in_part(store):
    store.write(meta(5), 0, IMAGE[:100])
    store.close()
    store.close()
    assert not store.finish(meta(5))


# The disk


def test_a_snapshot_is_durable_under_its_name_only_as_a_whole():
    disk = WatchedDisk()
    store = open_on(disk)
    disk.calls.clear()
    store.save(5, 1, 50, ALL, [IMAGE])
    calls = [call for call, _ in disk.calls]
    # The header comes again when it is known what stands behind it.
    writes = ["write"] * 3
    assert calls == ["unlink", "create", *writes, "sync", "rename", "sync_directory"]
    disk.calls.clear()
    store.write(meta(6), 0, IMAGE)
    store.finish(meta(6))
    calls = [call for call, _ in disk.calls]
    assert calls == ["unlink", "create", "write", "write", "sync", "rename", "sync_directory"]


@pytest.mark.parametrize("way", ["save", "receive"])
def test_a_power_cut_at_any_call_leaves_the_old_one_or_the_new_one(way):
    def act(store):
        if way == "save":
            store.save(9, 1, 90, ALL, [IMAGE])
        else:
            store.write(meta(9), 0, IMAGE[:300])
            store.write(meta(9), 300, IMAGE[300:])
            assert store.finish(meta(9))

    for seed in range(20):
        for cut in range(90):
            disk = WatchedDisk()
            store = open_on(disk)
            store.save(3, 1, 30, ALL, [b"three"])
            store.save(5, 1, 50, ALL, [b"five"])
            disk.cut_power_in(cut)
            finished = True
            try:
                act(store)
            except PowerCut:
                finished = False
            disk.crash(seed)
            store = open_on(disk)
            assert store.latest() in ([meta(9)] if finished else [meta(5, b"five"), meta(9)])
            assert b"".join(store.load(store.latest())) in (b"five", IMAGE)
            assert len(files(disk)) <= 2
            if finished:
                break
        else:
            raise AssertionError("it never got through")


def test_what_an_earlier_life_left_half_done_is_removed():
    disk = WatchedDisk()
    store = open_on(disk)
    store.save(5, 1, 50, ALL, [IMAGE])
    store.write(meta(6), 0, IMAGE[:100])
    disk.cut_power_in(5)
    with pytest.raises(PowerCut):
        store.save(7, 1, 70, ALL, [IMAGE])
    assert len(files(disk)) == 3
    assert open_on(disk).latest() == meta(5)
    assert len(files(disk)) == 1


@pytest.mark.parametrize("call", ["create", "write", "sync", "rename"])
def test_a_full_disk_is_said_and_leaves_nothing(call):
    disk = WatchedDisk()
    store = open_on(disk)
    store.save(5, 1, 50, ALL, [IMAGE])
    kept = files(disk)
    disk.fail(call, errno.ENOSPC, name="snapshot-")
    with pytest.raises(StorageError, match="cannot write a snapshot to '/data': the disk is full"):
        store.save(6, 1, 60, ALL, [IMAGE])
    with pytest.raises(StorageError, match=r"write a received snapshot .*: the disk is full"):
        receive(store, meta(7))
    disk.heal()
    assert files(disk) == kept
    assert store.latest() == meta(5)
    assert store.write(meta(7), 0, IMAGE) == 512
    assert store.finish(meta(7))


def test_a_name_that_cannot_be_made_durable_is_taken_back():
    disk = WatchedDisk()
    store = open_on(disk)
    store.save(5, 1, 50, ALL, [IMAGE])
    kept = files(disk)
    disk.fail("sync_directory")
    for index in (6, 7, 8):
        with pytest.raises(StorageError, match="input/output error"):
            store.save(index, 1, index * 10, ALL, [IMAGE])
        with pytest.raises(StorageError, match="input/output error"):
            receive(store, meta(index))
        assert files(disk) == kept
    assert store.latest() == meta(5)


def save_without_name(disk, store, index):
    """Save a snapshot in a process that dies before the name is durable."""
    points = disk.crashpoint

    def die(point):
        if point == "sync_directory":
            raise PowerCut

    disk.crashpoint = die
    with pytest.raises(PowerCut):
        store.save(index, 1, index * 10, ALL, [IMAGE])
    disk.crashpoint = points


@pytest.mark.parametrize("way", ["start", "rescan"])
def test_a_snapshot_that_is_found_stays_and_older_ones_go_only_then(way):
    for seed in range(30):
        disk = WatchedDisk()
        store = open_on(disk)
        store.save(3, 1, 30, ALL, [b"three"])
        store.save(5, 1, 50, ALL, [b"five"])
        for index in (6, 7, 8):
            save_without_name(disk, store, index)
        if seed % 2:
            disk.fail("sync_directory", times=1)
            with pytest.raises(StorageError, match="input/output error"):
                store.rescan() if way == "rescan" else open_on(disk)
            found = [meta(5, b"five"), meta(6), meta(7), meta(8)]
        else:
            found = [store.rescan() if way == "rescan" else open_on(disk).latest()]
            assert found == [meta(8)]
        disk.crash(seed)
        assert open_on(disk).latest() in found


def test_a_newest_snapshot_that_is_damaged_anywhere_is_refused():
    disk = WatchedDisk()
    store = open_on(disk)
    store.save(3, 1, 30, ALL, [IMAGE])
    store.save(5, 1, 50, ALL, [IMAGE])
    name = files(disk)[-1]
    size = len(disk.names[name])
    for at in range(size):
        copy = disk.copy()
        copy.names[name][at] ^= 1 << at % 8
        with pytest.raises(DataDirDamaged, match=f"{name}' is damaged: .* not passed over; .*Rest"):
            load_latest(copy)
    for left in range(0, size, 5):
        copy = disk.copy()
        del copy.names[name][left:]
        with pytest.raises(DataDirDamaged):
            open_on(copy)


def test_an_older_snapshot_that_is_damaged_is_dropped():
    disk = WatchedDisk()
    store = open_on(disk)
    store.save(3, 1, 30, ALL, [IMAGE])
    store.save(5, 1, 50, ALL, [IMAGE])
    disk.names[files(disk)[0]][0] ^= 1
    store = open_on(disk)
    assert store.latest() == meta(5)
    assert len(files(disk)) == 1


def test_where_the_newest_is_refused_the_older_one_is_left_whatever_is_the_matter_with_it():
    disk = WatchedDisk()
    store = open_on(disk)
    store.save(3, 1, 30, ALL, [IMAGE])
    store.save(5, 1, 50, ALL, [IMAGE])
    for name in files(disk):
        disk.names[name][0] ^= 1
    before = {name: bytes(content) for name, content in disk.names.items()}
    with pytest.raises(DataDirDamaged, match="nothing was changed"):
        open_on(disk)
    assert disk.names == before


@pytest.mark.parametrize("header", [b"\xa1\xff", b"\x91" * 100_000, b"\xc0", b"\x80"])
def test_a_header_without_a_meaning_is_damage_though_its_checksum_is_right(header):
    disk = WatchedDisk()
    open_on(disk).save(3, 1, 30, ALL, [IMAGE])
    disk.put(files(disk)[0], _PREFIX.pack(_MAGIC, zlib.crc32(header), len(header)) + header)
    with pytest.raises(DataDirDamaged, match="its header has no meaning"):
        open_on(disk)


def test_a_snapshot_of_another_directory_is_refused():
    disk, other = WatchedDisk(1), WatchedDisk(2)
    open_on(disk)
    open_on(other).save(5, 1, 50, ALL, [IMAGE])
    for name in files(other):
        disk.put(name, other.names[name])
    with pytest.raises(DataDirDamaged, match="the file of another directory"):
        open_on(disk)


# A child that writes


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_writes_and_its_parent_finds_it(tmp_path):
    directory = open_data_dir(tmp_path, cluster="c", address="a:1", disk=OsDisk())
    store = DiskSnapshots(directory)
    store.save(3, 1, 30, ALL, [b"three"])
    store.save(5, 1, 50, ALL, [b"five"])
    store.write(meta(6), 0, IMAGE[:100])
    child = os.fork()
    if child == 0:
        os.closerange(3, 100)  # as the node does: neither lock nor socket may live on in it
        try:
            store.save(9, 1, 90, ALL, [IMAGE])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert store.latest() == meta(5, b"five")
    assert store.rescan() == meta(9)
    store._check()
    assert b"".join(store.load(meta(9))) == IMAGE
    assert store.read(meta(3, b"three"), 0, 5) is None
    assert store.write(meta(6), 100, IMAGE[100:]) == 512  # what arrives here was left alone
    assert store.finish(meta(6))
    assert store.latest() == meta(9)
    directory.close()


@pytest.mark.parametrize("arrived", [7, 9])
def test_what_a_child_wrote_is_not_taken_for_what_arrived_meanwhile(arrived):
    """That one may never be taken over here: a node that leads by then has no use for it."""
    store = open_on(WatchedDisk())
    draft, child = store.draft(), copy.copy(store)
    written = child.draft().write(7, 1, 70, ALL, [b"seven"])
    newer = meta(arrived)
    assert store.write(newer, 0, IMAGE) == len(IMAGE)
    assert store.finish(newer)
    adopted = draft.adopt(written)
    assert adopted.index == 7
    assert b"".join(store.load(adopted)) == (b"seven" if arrived == 9 else IMAGE)
    assert store.latest() == newer


def test_a_child_that_died_leaves_nothing():
    disk = WatchedDisk()
    store = open_on(disk)
    store.save(5, 1, 50, ALL, [IMAGE])
    for cut in range(5):
        disk.cut_power_in(cut)
        with pytest.raises(PowerCut):
            store.save(9, 1, 90, ALL, [IMAGE])
        disk.cut_power_in(None)
        assert store.rescan() in (meta(5), meta(9))
        assert all(name.endswith(".image") for name in files(disk))
