"""A data directory in which anything may have happened: its node says so and changes nothing.

The others serve on meanwhile.
"""

import errno
import json
import os
import shutil
import time
import zlib
from random import Random

import pytest

from syncstructs import Node, ReplDict, StorageError
from syncstructs.cli.processes import free_addresses
from syncstructs.storage import disk

PATIENCE = 20.0
NOISE = Random(1).randbytes(2000)
SETTINGS = {"snapshot_log_entries": 60, "log_keep_bytes": 1, "segment_bytes": 1500}


def start(address, addresses, path, **more):
    settings = {**SETTINGS, **more}
    return Node(address, addresses, consumers={"d": ReplDict()}, data_dir=str(path), **settings)


def write(node, count, key=""):
    node.wait_ready(PATIENCE)
    for number in range(count):
        node.objects["d"].set.submit(f"{key}{number % 50}", "x" * 100).result(PATIENCE)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Three members with logs of several files and snapshots; the first has been closed."""
    room = tmp_path_factory.mktemp("data")
    addresses = free_addresses(3)
    nodes = [start(a, addresses, room / str(n)) for n, a in enumerate(addresses)]
    for node in nodes:
        node.wait_ready(PATIENCE)
    write(nodes[1], 200)
    # Another one would not be due before the log has more files than these: each takes some away.
    nodes[0].snapshot(PATIENCE)
    nodes[0].close()
    while len(list((room / "0").glob("log-*"))) != 3:
        nodes[0] = start(addresses[0], addresses, room / "0")
        write(nodes[1], 3)
        nodes[0].wait_ready(PATIENCE)
        nodes[0].barrier(PATIENCE)
        nodes[0].close()
    # So that what the others have on disk is not what the first one might have, too.
    write(nodes[1], 3)
    nodes[1].snapshot(PATIENCE)
    yield addresses, nodes, room
    for node in nodes:
        node.close()


def content(path):
    return {f.name: f.read_bytes() for f in sorted(path.iterdir()) if f.name != "lock"}


def newest(path, kind):
    return sorted(path.glob(kind))[-1]


def flip(file):
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    file.write_bytes(damaged)


def cut(file, count):
    os.truncate(file, file.stat().st_size - count)


def exchange_blocks(file):
    whole = file.read_bytes()
    third = len(whole) // 3
    file.write_bytes(whole[:100] + whole[third : 2 * third] + whole[100:third] + whole[2 * third :])


def exchange_files(path, kind):
    one, other = sorted(path.glob(kind))[:2]
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)


def restate(path, **changes):
    file = path / "identity.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def foreign(path, kind):
    theirs = newest(path.parent / "1", kind)
    newest(path, kind).unlink()
    (path / theirs.name).write_bytes(theirs.read_bytes())


def of_the_future(path):
    file = newest(path, "snapshot-*")
    whole = file.read_bytes()
    magic, length = whole[:8], int.from_bytes(whole[12:16], "big")
    header = bytearray(whole[16 : 16 + length])
    # The first part of the header is its format.
    header[1] = 99
    sealed = magic + zlib.crc32(header).to_bytes(4, "big") + whole[12:16] + header
    file.write_bytes(sealed + whole[16 + length :])


DAMAGES = {
    "a log cut off": lambda path: os.truncate(sorted(path.glob("log-*"))[0], 300),
    "a bit of the log": lambda path: flip(sorted(path.glob("log-*"))[0]),
    "blocks of the log exchanged": lambda path: exchange_blocks(sorted(path.glob("log-*"))[0]),
    "files of the log exchanged": lambda path: exchange_files(path, "log-*"),
    "a log of another node": lambda path: foreign(path, "log-*"),
    "the end of the log cut off": lambda path: cut(newest(path, "log-*"), 60),
    "the last file of the log cut off": lambda path: os.truncate(newest(path, "log-*"), 0),
    "noise for the last file of the log": lambda path: newest(path, "log-*").write_bytes(NOISE),
    "no last file of the log": lambda path: newest(path, "log-*").unlink(),
    "no log": lambda path: [file.unlink() for file in path.glob("log-*")],
    "zeros": lambda path: newest(path, "snapshot-*").write_bytes(bytes(5000)),
    "a snapshot cut off": lambda path: os.truncate(newest(path, "snapshot-*"), 200),
    "a bit of the snapshot": lambda path: flip(newest(path, "snapshot-*")),
    "a snapshot of another node": lambda path: foreign(path, "snapshot-*"),
    "snapshots exchanged": lambda path: exchange_files(path, "snapshot-*"),
    "a snapshot of a later release": of_the_future,
    "no identity": lambda path: (path / "identity.json").unlink(),
    "noise for an identity": lambda path: (path / "identity.json").write_bytes(b"[" * 9000),
    "an identity of a later release": lambda path: restate(path, format=99),
    "an identity that was changed": lambda path: restate(path, members=["a:1"]),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_directory_is_refused_and_left_and_the_others_serve_on(cluster, kind, caplog):
    addresses, nodes, room = cluster
    path = room / f"damaged {kind}"
    path.mkdir()
    for name, data in content(room / "0").items():
        (path / name).write_bytes(data)
    DAMAGES[kind](path)
    before = content(path)
    with pytest.raises(StorageError) as refused:
        start(addresses[0], addresses, path)
    said = str(refused.value)
    assert str(path) in said, said
    assert len(said.splitlines()) == 1
    assert len(said) < 2000
    assert content(path) == before
    write(nodes[1], 3, kind)
    write(nodes[2], 3, kind)
    assert not [r for r in caplog.records if r.exc_info]


def test_a_whole_copy_is_taken(cluster):
    addresses, nodes, room = cluster
    path = room / "whole"
    path.mkdir()
    for name, data in content(room / "0").items():
        (path / name).write_bytes(data)
    with start(addresses[0], addresses, path) as node:
        node.wait_ready(PATIENCE)
        node.barrier(PATIENCE)
        assert node.objects["d"] == nodes[1].objects["d"]


def test_a_read_only_file_system_is_refused_and_the_others_serve_on(cluster, monkeypatch):
    addresses, nodes, room = cluster
    path = room / "0"
    open_file = disk._OsFile.__init__

    def read_only(self, name, mode):
        if mode != "read" and str(path) in name:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
        open_file(self, name, mode)

    before = content(path)
    with monkeypatch.context() as patch:
        patch.setattr(disk._OsFile, "__init__", read_only)
        with pytest.raises(StorageError, match="the file system is read-only"):
            start(addresses[0], addresses, path)
    assert content(path) == before
    write(nodes[1], 3, "read-only")


def test_a_disk_that_is_full_in_the_midst_of_a_snapshot_is_told_once_and_costs_nothing_else(
    tmp_path, monkeypatch, caplog
):
    addresses = free_addresses(2)
    write_file = disk._OsFile.write
    failed = []

    def full(self, offset, data):
        if "snapshot-" in str(self._raw.name) and offset:
            write_file(self, offset, bytes(data)[: len(data) // 2])
            failed.append(self._raw.name)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write_file(self, offset, data)

    monkeypatch.setattr(disk._OsFile, "write", full)
    nodes = [start(a, addresses, tmp_path / str(n)) for n, a in enumerate(addresses)]
    try:
        write(nodes[0], 200)
        write(nodes[1], 10)
        assert failed
        for n, node in enumerate(nodes):
            node.barrier(PATIENCE)
            assert node.status()["failure"] is None
            assert not list((tmp_path / str(n)).glob("snapshot-*")), "what is half written is gone"
        lines = [r for r in caplog.records if "no snapshot could be taken" in r.getMessage()]
        assert len(lines) == 2, [r.getMessage() for r in lines]
        assert all("the disk is full" in r.getMessage() for r in lines)
    finally:
        for node in nodes:
            node.close()
    monkeypatch.undo()
    nodes = [start(a, addresses, tmp_path / str(n)) for n, a in enumerate(addresses)]
    try:
        write(nodes[0], 1)
        assert len(nodes[0].objects["d"]) == 50
    finally:
        for node in nodes:
            node.close()


@pytest.mark.parametrize("what", ["the directory", "the log", "the identity"])
def test_files_that_vanish_under_a_member_stop_it_with_a_sentence_or_do_no_harm(
    tmp_path, caplog, what
):
    addresses = free_addresses(3)
    nodes = [start(a, addresses, tmp_path / str(n)) for n, a in enumerate(addresses)]
    try:
        write(nodes[0], 10)
        path = tmp_path / "2"
        if what == "the directory":
            # In one step, or the member may put a file into what is being emptied.
            shutil.rmtree(path.rename(tmp_path / "gone"))
        else:
            for file in path.glob("log-*" if what == "the log" else "identity.json"):
                file.unlink()
        # Beyond the next file of the log, and the next snapshot.
        write(nodes[0], 200)
        failure = nodes[2].status()["failure"]
        if what == "the directory":
            deadline = time.monotonic() + PATIENCE
            while not (failure := nodes[2].status()["failure"]):
                assert time.monotonic() < deadline
                time.sleep(0.02)
            assert str(path) in failure
            assert len(failure.splitlines()) == 1
            [line] = [r for r in caplog.records if r.levelname == "CRITICAL"]
            assert failure in line.getMessage()
        write(nodes[1], 10)
    finally:
        for node in nodes:
            node.close()
    assert not [r for r in caplog.records if r.exc_info]
    if what == "the identity":
        # It is written anew with the next file of the log.
        assert failure is None
        assert path.joinpath("identity.json").exists()
    # At the next start it has all of it, or says that it has not.
    again = [start(a, addresses, tmp_path / str(n)) for n, a in enumerate(addresses[:2])]
    try:
        if what == "the directory":
            assert not path.exists()
        else:
            again.append(start(addresses[2], addresses, path))
        write(again[0], 10)
        for node in again:
            node.wait_ready(PATIENCE)
            node.barrier(PATIENCE)
            assert node.objects["d"] == again[0].objects["d"]
    finally:
        for node in again:
            node.close()
