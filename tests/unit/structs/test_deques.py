"""`ReplDeque` does what `collections.deque` does, the same on all members."""

from collections import deque

import pytest
from any_things import Money
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import ReplDeque, ReplList
from syncstructs.codec import decode, encode

values = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 1), max_size=1))
places = st.integers(-3, 3)
some = st.lists(values, max_size=3)


def op(name, *args):
    return st.tuples(st.just(name), st.tuples(*args))


CALLS = st.one_of(
    op("append", values), op("appendleft", values), op("pop"), op("popleft"), op("extend", some),
    op("extendleft", some), op("rotate"), op("rotate", places), op("insert", places, values),
    op("remove", values), op("reverse"), op("clear"), op("__setitem__", places, values),
    op("__delitem__", places), op("__getitem__", places), op("__iadd__", some),
    op("__imul__", st.integers(-1, 3)), op("__mul__", st.integers(-1, 2)),
    op("__add__", some.map(deque)), op("__lt__", some.map(deque)), op("__ge__", some.map(deque)),
    op("index", values), op("count", values), op("__contains__", values), op("copy"),
    op("__getitem__", st.just(slice(1))), op("__setitem__", st.just(slice(1)), some),
)  # fmt: skip


def outcome(target, step):
    name, args = step
    try:
        result = getattr(target, name)(*args)
    except Exception as error:
        return type(error)
    if result is target:
        return None
    return (result, result.maxlen) if isinstance(result, deque) else result


@settings(max_examples=100, deadline=None)
@given(
    some, st.sampled_from([None, 0, 3]),
    st.lists(st.tuples(st.integers(0, 2), CALLS, st.booleans()), max_size=20),
)  # fmt: skip
def test_deque_does_what_a_deque_does(content, maxlen, steps):
    members = LocalCluster(3).attach("d", lambda: ReplDeque(content, maxlen))
    twin = deque(content, maxlen)
    for number, step, restored in steps:
        assert outcome(members[number], step) == outcome(twin, step), step
        if restored:
            state = decode(encode(members[number].snapshot_state()))
            members[number].restore_state(state)
        for member in members:
            member._check()
            assert member == twin
            assert (list(member), len(member), member.maxlen) == (list(twin), len(twin), maxlen)
            assert list(reversed(member)) == list(reversed(twin))


@pytest.mark.parametrize("maxlen", [0, 1, 3, 4, None])
@pytest.mark.parametrize("items", [[], [1], [1, 2, 3]])
def test_a_repetition_that_changes_nothing_is_not_made(items, maxlen):
    mine = LocalCluster(2).attach("d", lambda: ReplDeque(items, maxlen))[0]
    twin = deque(items, maxlen)
    for count in [0, 1, 3] if items and maxlen is None else [0, 1, 3, 2**40]:
        for each in (mine, twin):
            each.clear()
            each.extend(items)
        mine *= count
        twin *= count
        assert mine == twin


@pytest.mark.parametrize("make", [ReplList, lambda: ReplDeque(maxlen=2**40)])
def test_no_member_is_filled_by_one_short_command(make):
    mine, other = LocalCluster(2).attach("d", make)
    mine.extend([1, 2])
    with pytest.raises(OverflowError, match="2 elements 8388609 times are more than 16,777,216"):
        mine *= 2**23 + 1
    assert list(mine) == list(other) == [1, 2]


def test_each_change_is_one_entry_and_elements_are_copied():
    cluster = LocalCluster(2)
    mine, other = cluster.attach("d", lambda: ReplDeque(maxlen=4))
    before = cluster.index
    mine.extendleft([[1], [2]])
    mine.rotate()
    mine *= 2
    assert cluster.index == before + 3
    assert mine == deque([[1], [2], [1], [2]])
    mine[3].append("x")
    mine.copy()[1].append("x")
    other[0] = [0]
    assert list(mine) == list(other) == [[0], [2], [1], [2]]
    with pytest.raises(IndexError):
        mine.insert(0, 5)
    assert len(other) == 4
    assert repr(other) == "ReplDeque(deque([[0], [2], [1], [2]], maxlen=4))"
    assert other != [[0], [2], [1], [2]]
    assert ReplDeque([1]) < ReplDeque([2])
    assert type(ReplDeque([1]) + deque([2])) is deque


def test_bound_is_an_option_that_members_must_share():
    assert ReplDeque("abc", 2).options() == {"maxlen": 2}
    with pytest.raises(ValueError, match="maxlen"):
        ReplDeque(maxlen=-1)


def test_elements_may_be_pickles():
    mine, other = LocalCluster(2).attach(
        "d", lambda: ReplDeque([Money(0)], maxlen=3, pickle=True)
    )
    mine.appendleft(Money(1))
    other.extendleft([Money(2), (Money(3),)])
    assert list(mine) == [(Money(3),), Money(2), Money(1)]
    assert mine.maxlen == mine.copy().maxlen == 3
    assert Money(2) in mine
    assert mine.index(Money(1)) == 2
    mine.remove(Money(2))
    assert (mine.popleft(), mine.pop()) == ((Money(3),), Money(1))
