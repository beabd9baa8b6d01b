"""What is made in one go is old from its birth, and no collection looks at it meanwhile."""

import gc
import os
import queue

import pytest

from syncstructs.errors import NodeClosed
from syncstructs.node.children import Children
from syncstructs.node.garbage import Freezer, freezer, long_lived


@pytest.fixture(autouse=True)
def collector():
    enabled = gc.isenabled()
    gc.enable()
    yield
    gc.unfreeze()
    if not enabled:
        gc.disable()


def generation_of(value):
    return [number for number in range(3) if any(o is value for o in gc.get_objects(number))]


def test_nothing_is_collected_meanwhile():
    before = [generation["collections"] for generation in gc.get_stats()]
    with long_lived():
        made = [[n] for n in range(100_000)]
        assert [generation["collections"] for generation in gc.get_stats()] == before
    assert gc.isenabled()
    assert len(made) == 100_000


def test_what_was_made_is_old():
    with long_lived():
        made = [[n] for n in range(100)]
    assert generation_of(made) == generation_of(made[50]) == [2]
    young = [1]
    assert generation_of(young) == [0]


def test_it_is_garbage_one_day_like_everything():
    with long_lived():
        ring = []
        ring.append(ring)
    known = id(ring)
    del ring
    gc.collect()
    assert not any(id(o) == known and type(o) is list for o in gc.get_objects())


def test_what_the_program_has_frozen_stays_so():
    frozen = [1]
    gc.freeze()
    with long_lived():
        pass
    assert generation_of(frozen) == []
    assert gc.get_freeze_count()


def test_where_nothing_is_collected_nothing_changes():
    gc.disable()
    with long_lived():
        pass
    assert not gc.isenabled()


def test_an_error_leaves_it_as_it_was():
    with pytest.raises(ValueError, match="no state"), long_lived():
        raise ValueError("no state")
    assert gc.isenabled()


# Beside a child


def test_collections_pass_over_what_is_held_until_nobody_holds_it():
    freezer, ring = Freezer(), []
    ring.append(ring)
    known = id(ring)
    freezer.hold()
    freezer.hold()
    del ring
    gc.collect()
    freezer.release()
    assert gc.get_freeze_count()
    freezer.release()
    assert not gc.get_freeze_count()
    assert any(id(o) == known for o in gc.get_objects(2)), "it was not looked at"
    gc.collect()
    assert not any(id(o) == known and type(o) is list for o in gc.get_objects(2))


def test_a_program_that_freezes_for_itself_is_left_alone():
    gc.freeze()
    own = Freezer()
    own.hold()
    own.release()
    assert gc.get_freeze_count()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_nothing_is_looked_at_while_a_child_is_at_work():
    posted = queue.Queue()
    children = Children(posted.put)
    reading, writing = os.pipe()
    children.do(
        lambda at_work: len(os.read(reading, 1)), int, lambda told: None, name="test", seconds=60,
        files=(reading,),
    )  # fmt: skip
    assert gc.get_freeze_count()
    assert freezer._holders == 1
    os.write(writing, b"x")
    posted.get(timeout=60)
    assert not gc.get_freeze_count()
    assert freezer._holders == 0
    children.close()
    os.close(reading)
    os.close(writing)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_child_holds_nothing():
    freezer.hold()
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if not gc.get_freeze_count() and freezer._holders == 0 else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        freezer.release()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("closed", [False, True])
def test_nothing_stays_held_where_no_child_can_be_made(monkeypatch, closed):
    def refuse():
        raise BlockingIOError("no room for another process")

    monkeypatch.setattr(os, "fork", refuse)
    children = Children(lambda function: None)
    if closed:
        children.close()
    for _ in range(2):
        with pytest.raises(NodeClosed if closed else BlockingIOError):
            children.do(lambda at_work: 1, int, lambda told: None, name="test", seconds=60)
    assert freezer._holders == 0
    assert not gc.get_freeze_count()
