"""`ReplIdGenerator` never gives an id twice, and asks the log once per block."""

import pytest
from local_cluster import LocalCluster

from syncstructs import Replicated, ReplIdGenerator, replicated
from syncstructs.errors import NotAttached, ObjectNotFound, ResultLost
from syncstructs.futures import Future


def test_block_is_one_entry_and_its_ids_are_none():
    cluster = LocalCluster(2)
    mine, other = cluster.attach("ids", lambda: ReplIdGenerator(3))
    before = cluster.index
    assert [mine.next_id() for _ in range(3)] == [1, 2, 3]
    assert cluster.index == before + 1
    assert next(other) == 4
    assert [mine.next_id.submit().result(), next(mine)] == [7, 8]
    assert mine.reserve(5) == 10
    assert (next(mine), next(mine), next(other)) == (9, 15, 5)
    assert cluster.index == before + 5
    for ids in (mine, other):
        ids._check()
        assert repr(ids) == "<ReplIdGenerator block=3 next_block=18>"


def waiting(ids):
    """Return a call of next_id() that waits for a block."""
    steps = ReplIdGenerator.next_id.function(ids)
    return steps, steps.send(None)


def ended(steps, value):
    with pytest.raises(StopIteration) as stop:
        steps.send(value)
    return stop.value.value


@pytest.fixture
def asked(monkeypatch):
    """Return a generator whose blocks never come by themselves, and what it has asked for."""
    ids = LocalCluster(1).attach("ids", lambda: ReplIdGenerator(2))[0]
    made = []

    class Slow:
        def submit(self, count):
            made.append(Future(None, lambda: True))
            return made[-1]

    monkeypatch.setattr(ReplIdGenerator, "reserve", Slow())
    return ids, made


def test_callers_that_wait_at_once_share_a_block(asked):
    ids, made = asked
    calls = [waiting(ids) for _ in range(3)]
    assert [future for _, future in calls] == made * 3
    made[0].finish(1, None)
    assert [ended(steps, 1) for steps, _ in calls[:2]] == [1, 2]
    # The third one finds it used up, and asks for the next.
    assert calls[2][0].send(1) is made[1]
    assert len(made) == 2


def test_block_whose_answer_is_lost_is_a_gap(asked):
    ids, made = asked
    steps, _ = waiting(ids)
    made[0].finish(None, ResultLost("skipped"))
    assert steps.throw(ResultLost("skipped")) is made[1]
    made[1].finish(3, None)
    assert ended(steps, 3) == 3


def test_block_is_given_up_as_another_state_is_taken_over(asked):
    ids, made = asked
    steps, _ = waiting(ids)
    ids.restore_state(ReplIdGenerator(2).snapshot_state())
    made[0].finish(1, None)
    assert steps.send(1) is made[1]
    ids._free, ids._end = 5, 7
    ids.restore_state({"_block": 2, "_next": 9})
    assert ids._taken() is None


def test_dropped_generator_gives_no_more_of_its_block():
    cluster = LocalCluster(2)
    mine, _ = cluster.attach("ids", lambda: ReplIdGenerator(10))
    assert next(mine) == 1
    cluster.members[0].system("drop", "ids")
    with pytest.raises((ObjectNotFound, NotAttached)):
        next(mine)
    with pytest.raises(NotAttached):
        ReplIdGenerator().next_id()


class Orders(Replicated):
    def __init__(self):
        self.orders = []
        self.ids = None

    LOCAL = frozenset({"ids"})

    @replicated
    def add(self, wanted):
        self.orders.append(self.ids.reserve() if wanted == "reserve" else next(self.ids))


def test_inside_a_command_ids_are_reserved():
    cluster = LocalCluster(2)
    members = cluster.attach("ids", ReplIdGenerator)
    orders = cluster.attach("orders", Orders)
    for order, ids in zip(orders, members, strict=True):
        order.ids = ids
    next(members[0])
    orders[1].add("reserve")
    assert orders[0].orders == orders[1].orders == [1001]
    with pytest.raises(RuntimeError, match="a command cannot wait"):
        orders[0].add("next")


@pytest.mark.parametrize("count", [0, -1])
def test_blocks_hold_something(count):
    with pytest.raises(ValueError, match="at least 1"):
        ReplIdGenerator(count)
    with pytest.raises(ValueError, match="at least 1"):
        LocalCluster(1).attach("ids", ReplIdGenerator)[0].reserve(count)


@pytest.mark.parametrize("count", [1.5, float("nan"), "2", None])
def test_ids_are_whole_numbers(count):
    mine, other = LocalCluster(2).attach("ids", ReplIdGenerator)
    with pytest.raises(TypeError):
        mine.reserve(count)
    assert other.reserve() == 1
    with pytest.raises(TypeError):
        ReplIdGenerator(count)
    with pytest.raises(TypeError):
        ReplIdGenerator(start=count)
