"""Whose a data directory is, and that it serves one node at a time."""

import errno
import os
import subprocess
import sys

import pytest
from watched_disk import PowerCut, WatchedDisk

from syncstructs.errors import DataDirBusy, DataDirDamaged, DataDirForeign, StorageError
from syncstructs.storage.disk import OsDisk, open_data_dir, open_existing


def open_on(disk, **changes):
    named = {"cluster": "c", "address": "a:1", "disk": disk, **changes}
    return open_data_dir("/data", **named)


def test_a_directory_is_made_with_its_parents_and_keeps_its_identity(tmp_path):
    path = tmp_path / "some" / "where"
    first = open_data_dir(path, cluster="c", address="a:1")
    first.close()
    first.close()
    second = open_data_dir(str(path), cluster="c", address="a:1")
    assert second.identity.id == first.identity.id
    assert len(second.identity.id) == 16
    second.close()


def test_two_nodes_of_one_process_cannot_share_a_directory(tmp_path):
    first = open_data_dir(tmp_path, cluster="c", address="a:1")
    with pytest.raises(DataDirBusy, match="in use by this process; a data directory serves one"):
        open_data_dir(tmp_path, cluster="c", address="a:1")
    first.close()
    open_data_dir(tmp_path, cluster="c", address="a:1").close()


def test_another_process_is_named_and_its_death_frees_the_directory(tmp_path):
    code = (
        "import sys; from syncstructs.storage.disk import open_data_dir\n"
        f"held = open_data_dir({str(tmp_path)!r}, cluster='c', address='a:1')\n"
        "print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataDirBusy, match=f"in use by process {holder.pid};"):
            open_data_dir(tmp_path, cluster="c", address="a:1")
    finally:
        holder.kill()
        holder.communicate()
    open_data_dir(tmp_path, cluster="c", address="a:1").close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_that_closes_its_files_leaves_the_lock_to_its_parent(tmp_path):
    held = open_data_dir(tmp_path, cluster="c", address="a:1")
    child = os.fork()
    if child == 0:
        held.close()
        os._exit(0)
    os.waitpid(child, 0)
    with pytest.raises(DataDirBusy):
        open_data_dir(tmp_path, cluster="c", address="a:1")
    held.close()


def test_a_directory_remembers_the_members_it_was_made_with(tmp_path):
    trio = ["a:1", "b:1", "c:1"]
    open_data_dir(tmp_path, cluster="c", address="a:1", members=reversed(trio)).close()
    held = open_data_dir(tmp_path, cluster="c", address="a:1", members=["a:1"])
    assert held.identity.members == tuple(trio)
    held.note_durable(1)
    held.close()
    held = open_data_dir(tmp_path, cluster="c", address="a:1", members=["a:1", "b:1"])
    assert held.identity.members == tuple(trio)
    held.close()


def test_a_directory_remembers_that_it_was_made_to_join(tmp_path):
    open_data_dir(tmp_path, cluster="c", address="a:1", joined=True).close()
    held = open_data_dir(tmp_path, cluster="c", address="a:1", members=["a:1"])
    assert held.identity.joined
    held.close()


@pytest.mark.parametrize("changes", [{"cluster": "d"}, {"address": "a:2"}])
def test_the_directory_of_another_node_or_cluster_is_refused(changes):
    disk = WatchedDisk()
    open_on(disk).close()
    with pytest.raises(DataDirForeign, match="belongs to node 'a:1' of cluster 'c', not to"):
        open_on(disk, **changes)
    open_on(disk).close()  # the refusal let go of the lock


def test_a_later_format_is_refused_as_such():
    disk = WatchedDisk()
    open_on(disk).close()
    content = disk.names["identity.json"]
    content[:] = content.replace(b'"format": 3', b'"format": 7, "news": {}')
    with pytest.raises(StorageError, match="has format 7, but this release knows up to 3") as found:
        open_on(disk)
    assert not isinstance(found.value, DataDirDamaged)


def test_every_flipped_bit_and_every_cut_of_the_identity_is_noticed():
    disk = WatchedDisk()
    open_on(disk).close()
    whole = bytes(disk.names["identity.json"])
    changed = [whole[:size] for size in range(len(whole) - 2)]
    for at in range(len(whole)):
        for bit in (0x01, 0x20):
            changed.append(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
    for data in changed:
        disk.names["identity.json"][:] = data
        try:
            directory = open_on(disk)
        except StorageError:
            continue
        # White space has no meaning, nor has a field that is unknown beside one with a default.
        assert directory.identity.cluster == "c"
        assert directory.identity.begun is False
        directory.close()


def test_a_log_without_identity_is_damage():
    disk = WatchedDisk()
    open_on(disk).close()
    disk.put("log-000000000001-00000000.wal", disk.names["identity.json"])
    disk.remove("identity.json")
    with pytest.raises(DataDirDamaged, match=r"but no 'identity.json'.* Restore"):
        open_on(disk)


def test_a_power_cut_at_any_call_leaves_a_directory_that_can_be_opened():
    for seed in range(5):
        for points in range(60):
            disk = WatchedDisk()
            disk.cut_power_in(points)
            finished = True
            try:
                open_on(disk).note_durable(7)
            except PowerCut:
                finished = False
            disk.crash(seed)
            directory = open_on(disk)
            if finished:
                assert directory.identity.begun
                assert directory.identity.durable_write == 7
                break
        else:
            raise AssertionError("it never got through")


def test_the_identity_is_durable_before_anything_else_can_be_written():
    disk = WatchedDisk()
    open_on(disk)
    assert [call for call, _ in disk.calls] == [
        "make_directory", "unlink", "create", "write", "sync", "rename", "sync_directory",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "cannot use the data directory '/data': the disk is full"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "the file system is read-only"),
        (errno.EIO, "input/output error"),
        (errno.ELOOP, os.strerror(errno.ELOOP)),
    ],
)
@pytest.mark.parametrize("call", ["make_directory", "write", "sync", "rename"])
def test_each_failure_is_one_sentence(call, number, message):
    disk = WatchedDisk()
    disk.fail(call, number)
    with pytest.raises(StorageError, match=message):
        open_on(disk)
    assert not disk.is_locked


def test_a_file_in_place_of_the_directory_is_refused(tmp_path):
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StorageError, match="it is not a directory"):
            open_data_dir(path, cluster="c", address="a:1")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_a_directory_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match="permission denied"):
        open_data_dir(tmp_path, cluster="c", address="a:1")


@pytest.mark.parametrize("has_lock", [True, False])
def test_a_read_only_file_system_can_be_looked_at_and_serves_no_node(
    tmp_path, monkeypatch, has_lock
):
    open_data_dir(tmp_path, cluster="c", address="a:1").close()
    if not has_lock:
        (tmp_path / "lock").unlink()
    before, system_open = sorted(os.listdir(tmp_path)), os.open

    def read_only(path, flags, *mode):
        if flags & (os.O_RDWR | os.O_WRONLY | os.O_CREAT):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
        return system_open(path, flags, *mode)

    holder = open_data_dir(tmp_path, cluster="c", address="a:1") if has_lock else None
    monkeypatch.setattr(os, "open", read_only)
    if holder is not None:
        with pytest.raises(DataDirBusy, match="in use by this process"):
            open_existing(tmp_path)
        holder.close()
    found = open_existing(tmp_path)
    assert (found.identity.address, found.half_repaired) == ("a:1", False)
    if has_lock:
        with pytest.raises(DataDirBusy):
            open_existing(tmp_path)
    found.close()
    open_existing(tmp_path).close()
    assert sorted(os.listdir(tmp_path)) == before


def test_files_of_the_system_do_what_the_protocol_says(tmp_path):
    disk, path = OsDisk(), str(tmp_path / "f")
    file = disk.open(path, "create")
    with pytest.raises(FileExistsError):
        disk.open(path, "create")
    file.write(0, b"abcdef")
    file.write(2, memoryview(b"XY"))
    file.sync()
    assert (file.read(0, 100), file.read(1, 2), file.read(9, 1)) == (b"abXYef", b"bX", b"")
    file.truncate(3)
    assert (file.size(), file.read(0, 9)) == (3, b"abX")
    file.close()
    file.close()
    disk.rename(path, str(tmp_path / "g"))
    disk.sync_directory(str(tmp_path))
    assert disk.list(str(tmp_path)) == ["g"]
    disk.unlink(str(tmp_path / "g"))
    with pytest.raises(FileNotFoundError):
        disk.open(path, "read")
