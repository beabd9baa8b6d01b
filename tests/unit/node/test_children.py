"""A child of a fork: it does its work in the background, and tells what came of it."""

import os
import queue

import pytest

from syncstructs.node.children import Children

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


def test_a_child_gives_way_to_the_node():
    posted = queue.Queue()
    children, told = Children(posted.put), []
    children.do(
        lambda at_work: os.getpriority(os.PRIO_PROCESS, 0), int, told.append, name="test",
        seconds=60,
    )  # fmt: skip
    posted.get(timeout=60)()
    children.close()
    assert told == [min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)]
