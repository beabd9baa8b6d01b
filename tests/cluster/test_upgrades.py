"""A rolling upgrade of real processes, each with the module of its own release of the classes."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from syncstructs.cli.processes import free_addresses

MEMBER = Path(__file__).parents[1] / "support" / "upgraded_member.py"

FIRST = '''
from syncstructs import Replicated, replicated

class Stock(Replicated):
    def __init__(self):
        self.left = 10
        self.runs = []

    @replicated
    def take(self, count):
        self.left -= count
        self.runs.append(1)
        return self.left
'''

SECOND = FIRST + '''
    @replicated(version=2)
    def take(self, count):
        self.left -= min(count, self.left)
        self.runs.append(2)
        return self.left

    @replicated(version=2)
    def give(self, count):
        self.left += count
        return self.left
'''


class Member:
    """A process with a node, of a release of the classes."""

    def __init__(self, release, address, members, data_dir):
        self.process = subprocess.Popen(
            [sys.executable, MEMBER, release, address, ",".join(members), data_dir],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def hear(self):
        return json.loads(self.process.stdout.readline())

    def ask(self, *what):
        self.process.stdin.write(json.dumps(what) + "\n")
        self.process.stdin.flush()
        return self.hear()

    def end(self, *, kill):
        if kill:
            self.process.kill()
        else:
            self.process.stdin.close()
        self.process.wait(60)


@pytest.fixture
def cluster(tmp_path):
    """Give what starts a member of a release; all end with the test."""
    addresses = free_addresses(3)
    for name, source in (("first", FIRST), ("second", SECOND)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "shop.py").write_text(source, encoding="utf-8")
    started = []

    def start(number, release):
        member = Member(
            tmp_path / release, addresses[number], addresses, tmp_path / f"node{number}"
        )
        started.append(member)
        return member

    guard = threading.Timer(110, lambda: [member.process.kill() for member in started])
    guard.start()
    yield start
    guard.cancel()
    for member in started:
        member.process.kill()
        member.process.wait()


def test_processes_go_over_to_a_release_in_turn_and_switch_together(cluster):
    members = [cluster(number, "first") for number in range(3)]
    assert [member.hear() for member in members] == [["ready", 1]] * 3
    assert members[0].ask("create") == ["done", 10]
    assert members[1].ask("take", 1) == ["done", 9]
    for number in range(3):
        what, says = members[number - 1].ask("set_version", 2)
        assert what == "VersionRefused", says
        members[number].end(kill=number % 2 == 0)
        assert members[number - 1].ask("take", 1)[0] == "done"
        members[number] = cluster(number, "second")
        assert members[number].hear() == ["ready", 1]
        assert members[number].ask("take", 1)[0] == "done"
    # Nobody has attached anything: that they know the class is enough.
    assert members[0].ask("give", 1)[0] == "VersionRefused"
    assert members[0].ask("set_version", 2) == ["done", None]
    assert members[1].ask("take", 100) == ["done", 0]
    assert members[2].ask("give", 5) == ["done", 5]
    assert [member.ask("look") for member in members] == [["done", [2, [1] * 7 + [2]]]] * 3

    # Long after, from disk: with the older release it stops, with the newer one it goes on.
    for _ in range(50):
        members[0].ask("give", 1)
    members[2].end(kill=True)
    what, says = cluster(2, "first").hear()
    assert what == "NodeFailed", says
    assert "version 2 of take()" in says
    members[2] = cluster(2, "second")
    assert members[2].hear() == ["ready", 2]
    assert members[2].ask("take", 1000) == ["done", 0]
    assert len({str(member.ask("look")) for member in members}) == 1
