"""Real nodes: large states are compared in a child, and whoever differs is told on every member."""

import logging
import os
import threading

import pytest

from syncstructs import Node, ReplDict, Replicated, replicated
from syncstructs.cli.processes import free_addresses
from syncstructs.node import children

LARGE = 30_000


class Told(logging.Handler):
    """Notes who tells of a difference."""

    def __init__(self, count):
        super().__init__(logging.ERROR)
        self.by = set()
        self.all = threading.Event()
        self.count = count

    def emit(self, record):
        self.by.add(record.getMessage().split(": ")[0])
        if len(self.by) == self.count:
            self.all.set()


@pytest.fixture
def told():
    handler = Told(3)
    logger = logging.getLogger("syncstructs.replica")
    logger.addHandler(handler)
    yield handler
    logger.removeHandler(handler)


@pytest.fixture
def start():
    nodes = []

    def begin(make, **settings):
        addresses = free_addresses(3)
        for address in addresses:
            settings.setdefault("digest_interval", 0.3)
            nodes.append(Node(address, addresses, consumers={"users": make()}, **settings))
        for node in nodes:
            node.wait_ready(timeout=60)
        return nodes

    yield begin
    for node in nodes:
        node.close.submit()
    for node in nodes:
        node.close(timeout=60)


@pytest.fixture
def forks(monkeypatch):
    """How many children have taken digests."""
    made = []
    fork = children.fork_child

    def count(work, keep):
        made.append(work)
        return fork(work, keep)

    monkeypatch.setattr(children, "fork_child", count)
    return made


@pytest.mark.parametrize("size", [10, LARGE])
def test_a_changed_replica_is_named_on_every_member(start, told, forks, size):
    nodes = start(ReplDict)
    nodes[0].objects["users"].update(dict.fromkeys(range(size), "x"))
    for node in nodes:
        node.barrier(timeout=60)
    assert "diverged" not in nodes[0].status()["objects"]["users"]
    with nodes[1].reading():
        nodes[1].objects["users"]._items[0] = "y"
    nodes[2].objects["users"]["ann"] = 1
    assert told.all.wait(60)
    for node in nodes:
        assert node.status()["objects"]["users"]["diverged"]["members"] == [nodes[1].address]
    assert bool(forks) == (size == LARGE and hasattr(os, "fork"))


class Broken(Replicated):
    def __init__(self):
        self.count = 0

    @replicated
    def add(self):
        self.count += 1
        return self.count

    def snapshot_state(self):
        if self.count > 3:
            raise ZeroDivisionError("there is no state to be had")
        return {"count": self.count}


def test_an_object_that_does_not_tell_its_state_costs_no_more_than_the_comparison(start, caplog):
    nodes = start(Broken)
    warned = threading.Event()

    class Warned(logging.Handler):
        def emit(self, record):
            if "not compared" in record.getMessage():
                warned.set()

    handler = Warned(logging.WARNING)
    logging.getLogger("syncstructs.replica").addHandler(handler)
    try:
        for _ in range(5):
            nodes[0].objects["users"].add()
        assert warned.wait(60)
        assert nodes[1].objects["users"].add() == 6
    finally:
        logging.getLogger("syncstructs.replica").removeHandler(handler)
    assert "the state of 'users' is not compared, as snapshot_state() raised" in caplog.text
