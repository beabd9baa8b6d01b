"""What can be done about a damaged directory, and about a lost majority, with real nodes."""

import io
import json
import shutil
import threading
import time
from pathlib import Path

import pytest

from syncstructs import DataDirDamaged, DataDirForeign, Node, ReplDict, Timeout
from syncstructs.cli.main import main
from syncstructs.cli.processes import free_addresses


class Room:
    """Three members on disk, each with the dict `users`."""

    def __init__(self, path):
        self.addresses = free_addresses(3)
        self.paths = {a: str(path / str(n)) for n, a in enumerate(self.addresses)}
        self.nodes = {}

    def start(self, *addresses):
        for address in addresses or self.addresses:
            self.nodes[address] = Node(
                address, self.addresses, consumers={"users": ReplDict()},
                data_dir=self.paths[address], segment_bytes=2000,
            )  # fmt: skip
        for address in addresses or self.addresses:
            self.nodes[address].wait_ready(30)

    def stop(self):
        for node in self.nodes.values():
            node.close()
        self.nodes.clear()

    def damage(self, address):
        """Flip a bit in the second file of the log, so that many entries are lost with it."""
        second = sorted(Path(self.paths[address]).glob("log-*.wal"))[1]
        content = bytearray(second.read_bytes())
        content[len(content) // 2] ^= 1
        second.write_bytes(content)


@pytest.fixture
def room(tmp_path):
    made = Room(tmp_path)
    made.start()
    users = made.nodes[made.addresses[0]].objects["users"]
    for n in range(60):
        users[n] = "x" * 100
    made.stop()
    yield made
    made.stop()


def eventually(condition, within=20.0):
    """Wait for something that another thread does by itself."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        threading.Event().wait(0.002)


def inspect(*arguments):
    return main(["inspect", *map(str, arguments)])


def test_a_whole_directory_is_shown_and_gives_status_0(room, capsys):
    address = room.addresses[0]
    assert inspect(room.paths[address]) == 0
    shown = capsys.readouterr().out
    assert f"node {address} of cluster 'syncstructs'" in shown
    assert ", ".join(sorted(room.addresses)) in shown
    assert "whole: a node would start on it" in shown
    assert inspect(room.paths[address], "--json", "--entries", 3) == 0
    picture = json.loads(capsys.readouterr().out)
    assert picture["whole"]
    assert picture["membership"]["voters"] == sorted(room.addresses)
    assert picture["last"]["index"] >= 60
    assert [e["index"] for e in picture["last_entries"]][-1] == picture["last"]["index"]
    assert len(picture["last_entries"]) == 3
    assert picture["hard_state"]["term"] >= picture["last"]["term"] > 0
    assert len(picture["log"]["segments"]) > 2


def test_a_repaired_member_is_filled_by_the_others_before_it_counts(room, capsys):
    hurt, *others = room.addresses
    room.damage(hurt)
    assert inspect(room.paths[hurt]) == 1
    assert "DAMAGED: the log" in capsys.readouterr().out
    with pytest.raises(DataDirDamaged):
        room.start(hurt)
    assert inspect(room.paths[hurt], "--repair", "--yes") == 0
    said = capsys.readouterr().err
    assert "will neither vote nor count before the others have filled it" in said
    assert "repaired; what was cut is in" in said
    assert list(Path(room.paths[hurt]).glob("cut-1-log-*"))
    assert inspect(room.paths[hurt]) == 0
    assert "to be recovered by the others" in capsys.readouterr().out
    # With one other it would be a majority; but what it forgot, only the third one may have.
    for address in (hurt, others[0]):
        room.nodes[address] = Node(
            address, room.addresses, consumers={"users": ReplDict()},
            data_dir=room.paths[address], segment_bytes=2000,
        )  # fmt: skip
    with pytest.raises(Timeout, match="no leader"):
        room.nodes[others[0]].wait_ready(2.0)
    assert room.nodes[hurt].status()["recovering"]
    room.start(others[1])
    room.nodes[hurt].wait_ready(30)
    room.nodes[hurt].barrier(30)
    # The leader tells it after that.
    eventually(lambda: not room.nodes[hurt].status()["recovering"])
    assert room.nodes[hurt].objects["users"] == dict.fromkeys(range(60), "x" * 100)
    # It counts again: with one of the others it is a majority.
    room.nodes.pop(others[0]).close()
    room.nodes[hurt].objects["users"]["after"] = 1


def test_nothing_is_done_without_a_yes(room, capsys, monkeypatch):
    hurt = room.addresses[0]
    room.damage(hurt)
    before = {p.name: p.read_bytes() for p in Path(room.paths[hurt]).iterdir() if p.name != "lock"}
    for answer in ("", "y\n", "no\n"):
        for doing in (["--repair"], ["--found-anew-as", "127.0.0.1:4321"]):
            monkeypatch.setattr("sys.stdin", io.StringIO(answer))
            assert inspect(room.paths[hurt], *doing) == 1
            assert "nothing was changed" in capsys.readouterr().err
    after = {p.name: p.read_bytes() for p in Path(room.paths[hurt]).iterdir() if p.name != "lock"}
    assert after == before
    monkeypatch.setattr("sys.stdin", io.StringIO("yes\n"))
    assert inspect(room.paths[hurt], "--repair") == 0


def test_a_cluster_whose_majority_is_lost_is_founded_anew_on_what_one_member_has(room, capsys):
    left, *lost = room.addresses
    shutil.copytree(room.paths[lost[0]], room.paths[lost[0]] + ".old")
    for address in lost:
        shutil.rmtree(room.paths[address])
    address, joining = free_addresses(2)
    assert inspect(room.paths[left], "--found-anew-as", address, "--yes") == 0
    said = capsys.readouterr().err
    assert "WRITES THAT ONLY THE LOST MAJORITY HAD ARE GONE" in said
    assert "TWO CLUSTERS" in said
    with pytest.raises(DataDirForeign):
        room.start(left)
    users = ReplDict()
    with Node(address, consumers={"users": users}, data_dir=room.paths[left]) as node:
        assert users == dict.fromkeys(range(60), "x" * 100)
        users["after"] = 1
        node.barrier(30)
        assert node.members == (address,)
        # One of those that were lost turns up after all, with all it had.
        old = Node(lost[0], [*room.addresses, address], data_dir=room.paths[lost[0]] + ".old")
        room.nodes[lost[0]] = old
        newcomer = Node(joining, [address], join=True, data_dir=room.paths[lost[1]])
        room.nodes[joining] = newcomer
        node.add_member(joining, timeout=30)
        newcomer.barrier(30)
        assert newcomer.objects["users"]["after"] == 1
        assert node.members == tuple(sorted((address, joining)))
        assert old.leader is None
        assert "after" not in old.objects.get("users", ())


def test_a_directory_in_use_is_left_alone(room, capsys):
    address = room.addresses[0]
    node = Node(address, room.addresses, data_dir=room.paths[address])
    for doing in ([], ["--repair", "--yes"], ["--found-anew-as", address, "--yes"]):
        assert inspect(room.paths[address], *doing) == 1
        assert "is in use by this process" in capsys.readouterr().err
    node.close()


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--found-anew-as", "nowhere"], "has no port"),
        (["--repair", "--found-anew-as", "a:1"], "not allowed with"),
    ],
)
def test_wrong_usage_gives_status_2(arguments, why, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        inspect(tmp_path, *arguments)
    assert ended.value.code == 2
    assert why in capsys.readouterr().err


def test_what_is_no_data_directory_gives_a_sentence_and_status_1(tmp_path, capsys):
    assert inspect(tmp_path / "nowhere") == 1
    assert inspect(tmp_path) == 1
    said = capsys.readouterr().err
    assert "no data directory of a node" in said
    assert list(tmp_path.iterdir()) == []
