"""`ReplCounterMap` counts as `collections.Counter` does, the same on all members."""

from collections import Counter
from operator import add, and_, ge, gt, le, lt, or_, sub

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import ReplCounterMap, ReplDict
from syncstructs.codec import decode, encode

keys = st.sampled_from(["a", "b", "c", 1, None])
numbers = st.integers(-2, 3)
counts = st.one_of(st.dictionaries(keys, numbers, max_size=3), st.lists(keys, max_size=4))
mappings = st.dictionaries(keys, numbers, max_size=3)


def op(name, *args):
    return st.tuples(st.just(name), st.tuples(*args))


CALLS = st.one_of(
    op("update", counts), op("subtract", counts), op("__setitem__", keys, numbers),
    op("__getitem__", keys), op("__delitem__", keys), op("get", keys), op("pop", keys),
    op("pop", keys, numbers), op("popitem"), op("setdefault", keys, numbers), op("clear"),
    op("__iadd__", mappings.map(Counter)), op("__isub__", mappings.map(Counter)),
    op("__iand__", mappings.map(Counter)), op("__ior__", mappings.map(Counter)),
    op("__add__", mappings.map(Counter)), op("__sub__", mappings.map(Counter)),
    op("__and__", mappings.map(Counter)), op("__or__", mappings.map(Counter)),
    op("most_common"), op("most_common", st.integers(0, 3)), op("total"), op("elements"),
    op("__contains__", keys), op("copy"),
)  # fmt: skip


def outcome(target, step):
    name, args = step
    try:
        result = getattr(target, name)(*args)
    except Exception as error:
        return type(error)
    if result is target:
        return None
    return list(result) if name == "elements" else result


@settings(max_examples=100, deadline=None)
@given(counts, st.lists(st.tuples(st.integers(0, 2), CALLS, st.booleans()), max_size=20))
def test_counter_map_counts_as_a_counter_does(content, steps):
    members = LocalCluster(3).attach("c", lambda: ReplCounterMap(content))
    twin = Counter(content)
    for number, step, restored in steps:
        assert outcome(members[number], step) == outcome(twin, step), step
        if restored:
            state = decode(encode(members[number].snapshot_state()))
            members[number].restore_state(state)
        for member in members:
            member._check()
            assert list(member.items()) == list(twin.items()), step
            assert member == twin
            assert member.copy() == twin


def test_additions_of_all_members_add_up_and_each_is_one_entry():
    cluster = LocalCluster(3)
    members = cluster.attach("c", ReplCounterMap)
    before = cluster.index
    assert [member.inc("a") for member in members] == [1, 2, 3]
    assert members[0].inc("a", -5) == -2
    members[1].update("aab", b=2)
    members[2].subtract({"b": 1})
    members[2] += {"a": 1}
    assert cluster.index == before + 7
    assert type(members[2]) is ReplCounterMap
    assert all(dict(member) == {"a": 1, "b": 2} for member in members)


@pytest.mark.parametrize("other", [{}, {"a": 1}, {"a": 3, "b": -1}, {"a": 2, "c": 4}])
def test_operators_on_either_side_are_those_of_a_counter(other):
    mine, twin, other = ReplCounterMap(a=2, b=-1), Counter(a=2, b=-1), Counter(other)
    for operate in [add, sub, and_, or_, le, lt, ge, gt]:
        assert operate(mine, other) == operate(twin, other)
        assert operate(other, mine) == operate(other, twin)
        assert type(operate(other, mine)) is type(operate(other, twin))
    assert +mine == +twin
    assert -mine == -twin
    with pytest.raises(TypeError):
        assert mine <= 3


def test_missing_key_reads_zero_and_is_no_error():
    mine, other = LocalCluster(2).attach("c", ReplCounterMap)
    del mine["a"]
    assert mine["a"] == 0
    assert "a" not in mine
    assert mine.get("a") is None
    assert not mine.compare_and_set("a", 1, 5)
    assert mine.compare_and_set("a", 0, 5)
    assert mine.setdefault("b") == 0
    assert other.copy() == {"a": 5, "b": 0}
    assert other == Counter(a=5) == other == ReplCounterMap(a=5, c=0)
    assert other != {"a": 5}
    assert repr(other) == "ReplCounterMap({'a': 5, 'b': 0})"


def test_what_is_no_whole_number_is_refused_and_has_changed_nothing():
    cluster = LocalCluster(2)
    mine, other = cluster.attach("c", lambda: ReplCounterMap(a=1))
    for change in (
        lambda: mine.inc("a", 1.5),
        lambda: mine.set("a", "1"),
        lambda: mine.setdefault("b", None),
        lambda: mine.compare_and_set("a", 1, 2.0),
        lambda: mine.update({"b": 1, "a": 0.5}),
        lambda: mine.subtract(a=0.5),
        lambda: mine.reset({"a": None}),
        lambda: mine.__iadd__({"a": 0.5}),
        lambda: ReplCounterMap(a=0.5),
    ):
        with pytest.raises(TypeError):
            change()
        assert dict(mine) == dict(other) == {"a": 1}
    assert mine.inc("a", True) == 2


def test_sets_are_counted_in_an_order_that_is_the_same_everywhere():
    mine, other = LocalCluster(2).attach("c", lambda: ReplCounterMap({"c", "a", "b"}))
    mine.update({"z", "x", "y"})
    assert list(other) == ["a", "b", "c", "x", "y", "z"]
    mine.reset(ReplDict(b=2))
    assert other == Counter(b=2)
