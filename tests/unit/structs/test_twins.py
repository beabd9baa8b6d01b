"""Each collection against its Python twin: same results, same errors, and equal replicas.

Random operations run on a random member; after each of them all members must equal the twin, and
from time to time a member is replaced by what a snapshot of it holds.
"""

import queue
from typing import Any

from any_things import Money
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs.codec import decode, encode
from syncstructs.structs.counters import ReplCounter
from syncstructs.structs.dicts import ReplDict
from syncstructs.structs.lists import ReplList
from syncstructs.structs.queues import ReplPriorityQueue, ReplQueue
from syncstructs.structs.sets import ReplSet

MEMBERS = 3
FEW = settings(max_examples=150, deadline=None)

members = st.integers(0, MEMBERS - 1)
keys = st.one_of(st.integers(0, 4), st.sampled_from(["a", "b", ("t", 1), b"x", None]))
values = st.one_of(st.integers(), st.text(max_size=3), st.lists(st.integers(), max_size=2))
money = st.builds(Money, st.integers(0, 3))
anything = st.one_of(values, money, st.lists(money, max_size=2), st.tuples(st.integers(), money))
indexes = st.integers(-5, 5)
bounds = st.none() | indexes
slices = st.builds(slice, bounds, bounds, st.sampled_from([None, 1, 2, -1, -2]))
few_keys = st.lists(keys, max_size=4)


def op(name: str, *args: Any) -> Any:
    return st.tuples(st.just(name), st.tuples(*args))


def run(target: Any, step: tuple[str, tuple[Any, ...]]) -> tuple[Any, type | None]:
    """Return what the operation gives: its result, or the class of what it raises."""
    name, args = step
    try:
        result = getattr(target, name)(*args)
    except Exception as error:
        return None, type(error)
    return None if result is target else result, None


def snapshot(target: Any) -> None:
    target.restore_state(decode(encode(target.snapshot_state())))


def check_like_twin(objects: list[Any], twin: Any, steps: Any, same: Any) -> None:
    for member, step, restored in steps:
        expected = run(twin, step)
        assert run(objects[member], step) == expected, step
        if restored is not None:
            snapshot(objects[restored])
        for target in objects:
            target._check()
            assert same(target, twin), (step, target, twin)
            assert encode(target.snapshot_state()) == encode(objects[0].snapshot_state())


def steps_of(*ops: Any) -> Any:
    return st.lists(st.tuples(members, st.one_of(*ops), st.none() | members), max_size=25)


def dict_ops(values: Any) -> Any:
    pairs = st.lists(st.tuples(keys, values), max_size=3)
    return steps_of(
        op("__setitem__", keys, values),
        op("__delitem__", keys),
        op("__getitem__", keys),
        op("get", keys),
        op("get", keys, values),
        op("setdefault", keys, values),
        op("pop", keys),
        op("pop", keys, values),
        op("popitem"),
        op("update", pairs),
        op("update", st.dictionaries(keys, values, max_size=3)),
        op("__ior__", pairs),
        op("clear"),
        op("__contains__", keys),
        op("__or__", st.dictionaries(keys, values, max_size=2)),
        op("update", st.integers()),
    )


@FEW
@given(st.dictionaries(keys, values, max_size=4), dict_ops(values))
def test_dict_does_what_a_dict_does(content, steps):
    objects = LocalCluster(MEMBERS).attach("d", lambda: ReplDict(content))
    check_like_twin(
        objects,
        dict(content),
        steps,
        lambda mine, twin: mine == twin
        and list(mine.items()) == list(twin.items())
        and list(reversed(mine)) == list(reversed(twin))
        and repr(mine) == f"ReplDict({twin})"
        and len(mine) == len(twin),
    )


@FEW
@given(st.dictionaries(keys, anything, max_size=4), dict_ops(anything))
def test_dict_that_pickles_does_what_a_dict_does(content, steps):
    objects = LocalCluster(MEMBERS).attach("d", lambda: ReplDict(content, pickle=True))
    check_like_twin(
        objects,
        dict(content),
        steps,
        lambda mine, twin: mine == twin
        and list(mine.items()) == list(twin.items())
        and len(mine) == len(twin),
    )


def list_ops(values: Any) -> Any:
    return steps_of(
        op("append", values),
        op("insert", indexes, values),
        op("extend", st.lists(values, max_size=3)),
        op("pop"),
        op("pop", indexes),
        op("remove", values),
        op("__getitem__", indexes),
        op("__getitem__", slices),
        op("__setitem__", indexes, values),
        op("__setitem__", slices, st.lists(values, max_size=3)),
        op("__delitem__", indexes),
        op("__delitem__", slices),
        op("__iadd__", st.lists(values, max_size=2)),
        op("__imul__", st.integers(-1, 2)),
        op("reverse"),
        op("index", values),
        op("count", values),
        op("clear"),
        op("__setitem__", slices, st.integers()),
    )


@FEW
@given(st.lists(values, max_size=4), list_ops(values))
def test_list_does_what_a_list_does(content, steps):
    objects = LocalCluster(MEMBERS).attach("l", lambda: ReplList(content))
    check_like_twin(
        objects,
        list(content),
        steps,
        lambda mine, twin: mine == twin
        and list(mine) == twin
        and list(reversed(mine)) == twin[::-1]
        and repr(mine) == f"ReplList({twin})"
        and len(mine) == len(twin),
    )


@FEW
@given(st.lists(anything, max_size=4), list_ops(anything))
def test_list_that_pickles_does_what_a_list_does(content, steps):
    objects = LocalCluster(MEMBERS).attach("l", lambda: ReplList(content, pickle=True))
    check_like_twin(
        objects,
        list(content),
        steps,
        lambda mine, twin: mine == twin and list(mine) == twin and len(mine) == len(twin),
    )


@FEW
@given(st.lists(st.integers(0, 5)), st.booleans(), st.sampled_from([None, abs, int]))
def test_list_sorts_as_a_list_does(content, reverse, key):
    objects = LocalCluster(MEMBERS).attach("l", lambda: ReplList(content))
    objects[1].sort(key=key, reverse=reverse)
    assert all(mine == sorted(content, key=key, reverse=reverse) for mine in objects)


frozen_keys = st.frozensets(keys, max_size=3)
SET_OPS = steps_of(
    op("add", keys),
    op("add", st.just([])),
    op("discard", keys),
    op("remove", keys),
    op("clear"),
    op("update", few_keys, frozen_keys),
    op("difference_update", few_keys),
    op("intersection_update", few_keys, frozen_keys),
    op("intersection_update"),
    op("symmetric_difference_update", few_keys),
    op("__ior__", frozen_keys),
    op("__iand__", frozen_keys),
    op("__isub__", frozen_keys),
    op("__ixor__", frozen_keys),
    op("__or__", frozen_keys),
    op("__and__", frozen_keys),
    op("__sub__", frozen_keys),
    op("__xor__", frozen_keys),
    op("__or__", few_keys),
    op("__le__", frozen_keys),
    op("__gt__", frozen_keys),
    op("issubset", few_keys),
    op("isdisjoint", few_keys),
    op("union", few_keys, few_keys),
    op("__contains__", keys),
    op("update", st.integers()),
)


@FEW
@given(few_keys, SET_OPS)
def test_set_does_what_a_set_does(content, steps):
    objects = LocalCluster(MEMBERS).attach("s", lambda: ReplSet(content))
    check_like_twin(
        objects,
        set(content),
        steps,
        lambda mine, twin: mine == twin
        and len(mine) == len(twin)
        and list(mine) == list(objects[0]),
    )


@FEW
@given(few_keys, st.lists(members))
def test_set_pops_what_is_in_it_and_the_same_everywhere(content, poppers):
    objects = LocalCluster(MEMBERS).attach("s", lambda: ReplSet(content))
    twin = set(content)
    for member in poppers:
        if not twin:
            assert run(objects[member], ("pop", ())) == (None, KeyError)
            continue
        twin.remove(objects[member].pop())
        assert all(mine == twin for mine in objects)


COUNTER_OPS = steps_of(
    op("add", st.integers()),
    op("sub", st.integers()),
    op("set", st.integers()),
    op("inc"),
    op("dec"),
    op("compare_and_set", st.integers(-2, 2), st.integers(-2, 2)),
)


class PlainCounter:
    """The dumb twin of a counter."""

    def __init__(self, value):
        self.value = value

    def set(self, value):
        self.value = value
        return value

    def add(self, amount):
        return self.set(self.value + amount)

    def sub(self, amount):
        return self.set(self.value - amount)

    def inc(self):
        return self.add(1)

    def dec(self):
        return self.sub(1)

    def compare_and_set(self, expected, value):
        return self.value == expected and (self.set(value), True)[1]


@FEW
@given(st.integers(), COUNTER_OPS)
def test_counter_counts(start, steps):
    objects = LocalCluster(MEMBERS).attach("c", lambda: ReplCounter(start))
    check_like_twin(
        objects, PlainCounter(start), steps, lambda mine, twin: mine == twin.value == int(mine)
    )


def queue_ops(items: Any) -> Any:
    return steps_of(
        op("put_nowait", items),
        op("put", items, st.just(False)),
        op("get", st.just(False)),
        op("get_nowait"),
        op("task_done"),
        op("qsize"),
        op("empty"),
        op("full"),
    )


def check_like_queue(make: Any, twin: Any, steps: Any) -> None:
    objects = LocalCluster(MEMBERS).attach("q", make)
    check_like_twin(
        objects,
        twin,
        steps,
        lambda mine, twin: mine.qsize() == twin.qsize()
        and mine.unfinished_tasks == twin.unfinished_tasks,
    )
    left = [twin.get_nowait() for _ in range(twin.qsize())]
    assert [objects[0].get_nowait() for _ in left] == left


@FEW
@given(st.integers(-1, 3), queue_ops(st.integers(0, 3)))
def test_queue_does_what_a_queue_does(maxsize, steps):
    check_like_queue(lambda: ReplQueue(maxsize), queue.Queue(maxsize), steps)


@FEW
@given(st.integers(-1, 3), queue_ops(st.integers(0, 3)))
def test_priority_queue_does_what_a_priority_queue_does(maxsize, steps):
    check_like_queue(lambda: ReplPriorityQueue(maxsize), queue.PriorityQueue(maxsize), steps)


priced = st.builds(lambda rank: (rank, Money(rank)), st.integers(0, 3))


@FEW
@given(st.integers(-1, 3), queue_ops(priced))
def test_queue_that_pickles_does_what_a_queue_does(maxsize, steps):
    check_like_queue(lambda: ReplQueue(maxsize, pickle=True), queue.Queue(maxsize), steps)


@FEW
@given(st.integers(-1, 3), queue_ops(priced))
def test_priority_queue_that_pickles_does_what_a_priority_queue_does(maxsize, steps):
    twin = queue.PriorityQueue(maxsize)
    check_like_queue(lambda: ReplPriorityQueue(maxsize, pickle=True), twin, steps)
