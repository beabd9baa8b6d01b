"""Digests are those of the moment, wherever they are taken; a child that fails costs only them."""

import os
import queue
import signal
import time

import pytest
from own_children import own_children

from syncstructs.node import children as children_module
from syncstructs.node import digester
from syncstructs.node.children import Children
from syncstructs.node.digester import ForkDigester, InlineDigester, make_digester

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")


@pytest.fixture
def posted():
    """What comes back to the driver's thread."""
    return queue.SimpleQueue()


@pytest.fixture
def forking(posted):
    return ForkDigester(Children(posted.put))


def large(limit):
    return True


def small(limit):
    return False


def take(digester_, digests, outweigh, posted=None):
    """Take digests, and have them put where the driver would look."""
    done = []

    def then(result):
        done.append(result)

    digester_.take(digests, outweigh, then)
    if not done and posted is not None:
        posted.get(timeout=60)()
    return done


OTHERS = set()
"""Children of other tests: they may have left a server of `multiprocessing` behind."""


@pytest.fixture(autouse=True)
def _know_others():
    OTHERS.clear()
    OTHERS.update(own_children())


def children():
    """Return whether a child of these tests is left."""
    return bool(own_children() - OTHERS)


@pytest.mark.parametrize("outweigh", [small, large])
def test_what_is_small_is_done_here_and_what_is_large_in_a_child(forking, posted, outweigh):
    here = []

    def digests():
        here.append(os.getpid())
        return {1: (os.getpid().to_bytes(16, "big"), 5)}

    [result] = take(forking, digests, outweigh, posted)
    child = int.from_bytes(result[1][0], "big")
    assert (child == os.getpid()) == (outweigh is small)
    assert here == ([child] if outweigh is small else [])
    assert not children()


def test_what_takes_long_is_done_in_a_child_from_then_on_and_here_again_when_it_does_not(
    forking, posted
):
    """A class may make much of little, or little of what looks like much."""
    busy = [0.03, 0.03, 0.0, 0.0, 0.0]

    def digests():
        end = time.thread_time() + busy[0]
        while time.thread_time() < end:
            pass
        return {1: (os.getpid().to_bytes(16, "big"), 5)}

    here = []
    for _ in range(5):
        [result] = take(forking, digests, small, posted)
        here.append(int.from_bytes(result[1][0], "big") == os.getpid())
        busy.pop(0)
    assert here == [True, False, False, True, True]


def test_a_child_has_the_state_of_the_moment(forking, posted):
    state = {"ann": (b"1" * 16, 3)}
    done = []
    forking.take(lambda: {1: state["ann"]}, large, done.append)
    state["ann"] = (b"2" * 16, 3)
    posted.get(timeout=60)()
    assert done == [{1: (b"1" * 16, 3)}]


def test_a_report_may_be_larger_than_a_pipe_holds(forking, posted):
    digests = {id_: (id_.to_bytes(16, "big"), id_) for id_ in range(1, 50_000)}
    assert take(forking, lambda: digests, large, posted) == [digests]


def boom():
    raise ZeroDivisionError("snapshot_state is wrong")


def test_a_child_that_fails_is_reported_and_leaves_nothing_behind(forking, posted):
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    [result] = take(forking, boom, large, posted)
    assert isinstance(result, OSError)
    assert "ZeroDivisionError: snapshot_state is wrong" in str(result)
    assert not children()
    if files:
        assert len(os.listdir("/proc/self/fd")) == files


def test_a_child_that_is_killed_is_reported(forking, posted):
    [result] = take(forking, lambda: os.kill(os.getpid(), signal.SIGKILL), large, posted)
    assert isinstance(result, OSError)
    assert "ended" in str(result)
    assert not children()


def test_what_fails_here_is_raised(forking):
    for taking in (forking, InlineDigester()):
        with pytest.raises(ZeroDivisionError):
            taking.take(boom, small, [].append)


def test_a_child_that_hangs_is_killed(forking, posted, monkeypatch):
    monkeypatch.setattr(digester, "_CHILD_SECONDS", 0.05)
    [result] = take(forking, lambda: time.sleep(3600), large, posted)
    assert isinstance(result, TimeoutError)
    assert not children()


def test_where_no_process_can_be_made_nothing_is_left_open(forking, monkeypatch):
    def refuse(work, keep):
        raise BlockingIOError("no room for another process")

    monkeypatch.setattr(children_module, "fork_child", refuse)
    pipes = []
    pipe = os.pipe
    monkeypatch.setattr(os, "pipe", lambda: pipes.append(pipe()) or pipes[-1])
    with pytest.raises(BlockingIOError):
        forking.take(dict, large, [].append)
    for end in pipes[0]:
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(end)


def test_without_fork_everything_is_done_here(monkeypatch):
    assert isinstance(make_digester(Children(lambda function: None)), ForkDigester)
    monkeypatch.delattr(os, "fork")
    assert isinstance(make_digester(Children(lambda function: None)), InlineDigester)
