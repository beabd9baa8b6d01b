"""A child of a fork: it does its work in the background, and tells what came of it."""

import os
import queue
import socket
from pathlib import Path

import pytest

from syncstructs.node import forks
from syncstructs.node.children import Children

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

AUTOGROUP = Path("/proc/self/autogroup")


def in_child(work, kind):
    posted = queue.Queue()
    children, told = Children(posted.put), []
    children.do(lambda at_work: work(), kind, told.append, name="test", seconds=60)
    posted.get(timeout=60)()
    children.close()
    return told[0]


def test_a_child_gives_way_to_the_node():
    nice = in_child(lambda: os.getpriority(os.PRIO_PROCESS, 0), int)
    assert nice == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)


def test_a_child_holds_nothing_of_the_node_while_it_waits_to_give_way(monkeypatch):
    one, other = socket.socketpair()
    found = []

    def look():
        try:
            os.fstat(one.fileno())
        except OSError:
            found.append("closed")

    monkeypatch.setattr(forks, "_give_way", look)
    with one, other:
        assert in_child(lambda: found, list) == ["closed"]


@pytest.mark.skipif(not os.access(AUTOGROUP, os.W_OK), reason="there are no autogroups here")
def test_a_child_gives_way_to_nodes_in_other_sessions():
    before = AUTOGROUP.read_text()
    of_child, weight = in_child(AUTOGROUP.read_text, str).split(" ", 1)
    assert weight == "nice 10\n"
    # A process that has never been in a session of its own is in none, and that reads as nothing.
    assert of_child not in before.split()
    assert AUTOGROUP.read_text() == before
