"""Sorted dictionaries and sets: what those of `sortedcontainers` do, and the same on all members.

Above all where keys have no order: then nothing has changed, whatever a member went through before.
"""

from collections.abc import MutableMapping, MutableSet
from decimal import Decimal
from math import nan

import pytest
from any_things import Money
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster
from sortedcontainers import SortedDict, SortedSet

from syncstructs import ReplSortedDict, ReplSortedSet
from syncstructs.codec import decode, encode
from syncstructs.errors import DecodeError
from syncstructs.structs.sorteditems import NO_ORDER

keys = st.integers(0, 9)
odd_keys = st.sampled_from([*range(4), 1.5, True, "a", "b", (1,), None, frozenset({1}), nan])
places = st.integers(-3, 3)
values = st.one_of(st.integers(0, 3), st.lists(st.integers(0, 3), max_size=2))
FEW = settings(max_examples=60, deadline=None)


def op(name, *args):
    return st.tuples(st.just(name), st.tuples(*args))


def steps_of(*ops):
    return st.lists(st.tuples(st.integers(0, 2), st.one_of(*ops), st.booleans()), max_size=20)


def outcome(target, step):
    name, args = step
    try:
        result = getattr(target, name)(*args)
    except Exception as error:
        return type(error)
    return list(result) if name in ("irange", "islice", "__reversed__") else result


def restore(target):
    target.restore_state(decode(encode(target.snapshot_state())))


def check_like_twin(members, twin, steps):
    for number, step, restored in steps:
        assert outcome(members[number], step) == outcome(twin, step), step
        if restored:
            restore(members[number])
        for member in members:
            member._check()
            assert list(member) == list(twin), step
            assert member == twin
            assert encode(member.snapshot_state()) == encode(members[0].snapshot_state())


QUESTIONS = (
    op("irange", keys, keys),
    op("irange", keys, keys, st.tuples(st.booleans(), st.booleans()), st.booleans()),
    op("irange", st.just("a")),
    op("islice", places, places),
    op("bisect_left", keys),
    op("bisect_right", keys),
    op("bisect", keys),
    op("index", keys),
    op("__contains__", keys),
)


@FEW
@given(
    st.dictionaries(keys, values),
    steps_of(
        op("__setitem__", keys, values),
        op("__delitem__", keys),
        op("setdefault", keys, values),
        op("pop", keys),
        op("pop", keys, values),
        op("popitem"),
        op("popitem", places),
        op("peekitem"),
        op("peekitem", places),
        op("update", st.dictionaries(keys, values, max_size=3)),
        op("clear"),
        *QUESTIONS,
    ),
)
def test_sorted_dict_does_what_a_sorted_dict_does(content, steps):
    members = LocalCluster(3).attach("d", lambda: ReplSortedDict(content))
    check_like_twin(members, SortedDict(content), steps)


@pytest.mark.parametrize("view", ["keys", "values", "items"])
def test_views_of_a_sorted_dict_are_indexed_by_place(view):
    pairs = {3: ["c"], 1: ["a"], 2: ["b"]}
    ours, twin = getattr(ReplSortedDict(pairs), view)(), getattr(SortedDict(pairs), view)()
    assert (ours[0], ours[-1], ours[1:]) == (twin[0], twin[-1], twin[1:])
    with pytest.raises(IndexError):
        ours[3]


def test_views_of_a_sorted_dict_give_copies():
    prices = ReplSortedDict({1: ["a"]})
    prices.values()[0].append("mine")
    prices.items()[0][1].append("mine")
    assert prices.values()[:] == [["a"]]


@FEW
@given(
    st.lists(keys),
    steps_of(
        op("add", keys),
        op("discard", keys),
        op("remove", keys),
        op("pop", places),
        op("__getitem__", places),
        op("__getitem__", st.builds(slice, places, places)),
        op("__delitem__", places),
        op("__delitem__", st.builds(slice, places, places, st.sampled_from([None, 2, -1, 0]))),
        op("count", keys),
        op("__reversed__"),
        op("clear"),
        *QUESTIONS,
    ),
)
def test_sorted_set_does_what_a_sorted_set_does(content, steps):
    members = LocalCluster(3).attach("s", lambda: ReplSortedSet(content))
    check_like_twin(members, SortedSet(content), steps)


CHANGES = steps_of(
    op("set", odd_keys, values),
    op("setdefault", odd_keys, values),
    op("update", st.dictionaries(odd_keys, values, max_size=4)),
    op("reset", st.dictionaries(odd_keys, values, max_size=2)),
    op("delete_range", odd_keys, odd_keys),
    op("popitem", st.sampled_from([0, -1])),
)
SET_CHANGES = steps_of(
    op("add", odd_keys),
    op("update", st.lists(odd_keys, max_size=3), st.lists(odd_keys, max_size=2)),
    op("symmetric_difference_update", st.lists(odd_keys, max_size=3)),
    op("reset", st.lists(odd_keys, max_size=2)),
    op("pop", st.sampled_from([0, -1])),
)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from([(ReplSortedDict, CHANGES), (ReplSortedSet, SET_CHANGES)]), st.data())
def test_change_that_raises_has_changed_nothing_on_any_member(case, data):
    make, changes = case
    members = LocalCluster(3).attach("it", make)
    for number, step, restored in data.draw(changes):
        before = encode(members[0].snapshot_state())
        result = outcome(members[number], step)
        if restored:
            restore(members[number])
        for member in members:
            member._check()
            after = encode(member.snapshot_state())
            assert after == encode(members[0].snapshot_state())
            assert after == before or not isinstance(result, type), (step, result)


def test_long_collections_do_not_depend_on_their_past():
    """Past a thousand keys, what a key is compared with depends on how they came."""
    members = LocalCluster(2).attach("d", ReplSortedDict)
    mine, other = members
    for start in range(0, 6000, 500):
        mine.update({(key,): key for key in range(start, start + 500)})
    restore(other)
    assert list(map(len, other._items._list._lists)) != list(map(len, mine._items._list._lists))
    for key in ((nan,), ("x",), (None,), (7.5,), (7, "x")):
        assert refused(mine, key) == refused(other, key)
    for member in members:
        member.set((7, "x"), 0)
        assert refused(member, (7, 7)) == (NO_ORDER,)
    del mine[7, "x"]
    assert list(mine) == list(other) == [(key,) for key in range(6000)]
    mine.delete_range((10,), (5990,))
    assert mine[(5,):(5993,)] == {(key,): key for key in (*range(5, 10), 5990, 5991, 5992)}
    for member in members:
        member._check()


def refused(target, key):
    try:
        target.set(key, 0)
    except TypeError as error:
        return error.args
    target.delete(key)
    return None


@pytest.mark.parametrize("key", [nan, None, 1j, Decimal("nan")])
def test_key_that_would_keep_out_all_others_is_no_first_one(key):
    mine, other = LocalCluster(2).attach("d", ReplSortedDict)
    for change in (
        lambda: mine.set(key, 1),
        lambda: mine.setdefault(key, 1),
        lambda: mine.update({key: 1, 2: 2}),
        lambda: mine.reset({key: 1}),
        lambda: ReplSortedDict({key: 1}),
        lambda: ReplSortedSet([key]),
    ):
        with pytest.raises(TypeError, match=NO_ORDER):
            change()
        assert len(mine) == len(other) == len(list(other)) == 0


def test_nan_of_decimal_is_refused_beside_others_as_each_nan_is():
    mine, other = LocalCluster(2).attach("d", lambda: ReplSortedDict({1: 1, 2: 2, 3: 3}))
    odd = Decimal("nan")
    for change in (
        lambda: mine.set(odd, 1),
        lambda: mine.setdefault(odd, 1),
        lambda: mine.update({0: 1, odd: 2}),
        lambda: mine.delete_range(odd, None),
        lambda: mine.irange(odd),
        lambda: ReplSortedSet([1, odd, 2]),
    ):
        with pytest.raises(TypeError, match=NO_ORDER):
            change()
    assert mine == other == {1: 1, 2: 2, 3: 3}


def test_what_equals_a_key_but_has_no_place_among_them_removes_nothing():
    cluster = LocalCluster(2)
    pairs, other_pairs = cluster.attach("d", lambda: ReplSortedDict({1: 1, 2: 2}))
    elements, other_elements = cluster.attach("s", lambda: ReplSortedSet([1, 2]))
    for change in (pairs.delete, pairs.pop, elements.remove, elements.discard):
        with pytest.raises(TypeError, match=NO_ORDER):
            change(1 + 0j)
        assert encode(pairs.snapshot_state()) == encode(other_pairs.snapshot_state())
        assert encode(elements.snapshot_state()) == encode(other_elements.snapshot_state())
    assert (dict(pairs), list(other_elements)) == ({1: 1, 2: 2}, [1, 2])
    assert (pairs.pop(1.0), pairs.pop(3j, None)) == (1, None)


def test_keys_that_have_an_order_with_some_others_only_are_refused():
    cluster = LocalCluster(2)
    keys = [(-1, i) for i in range(1000)] + [(0, i) for i in range(999)]
    keys += [(1, 1), (1, 1, 4), (1, 1, 6), (1, 2)] + [(2, i) for i in range(3000)]
    grown = cluster.attach_on(0, "d", ReplSortedDict())
    for key in keys:
        grown.set(key, 0)
    # Filled from a snapshot, its list is cut elsewhere.
    filled = cluster.attach_on(1, "d", ReplSortedDict())
    for change in (
        lambda: grown.delete((1, 1 + 0j)),
        lambda: grown.pop((1, 1 + 0j)),
        lambda: grown.set((1, 1 + 0j, 5), 0),
        lambda: grown.delete_range((1, 1 + 0j), (2, 1)),
        lambda: grown.reset({(1, (1 + 0j,)): 0}),
    ):
        with pytest.raises(TypeError, match=NO_ORDER):
            change()
        assert len(grown) == len(filled) == len(keys)
    cluster.digest_equal()


def test_sets_are_keys_as_long_as_each_is_a_part_of_the_next():
    mine, other = LocalCluster(2).attach("s", ReplSortedSet)
    mine.update([frozenset({1, 2, 3}), frozenset({1})])
    mine.add(frozenset({1, 3}))
    with pytest.raises(TypeError, match=NO_ORDER):
        mine.add(frozenset({1, 2}))
    assert list(other) == [{1}, {1, 3}, {1, 2, 3}]


def test_slices_of_keys_are_of_one_moment_and_one_entry():
    cluster = LocalCluster(2)
    mine, other = cluster.attach("d", lambda: ReplSortedDict({1: [1], 2: [2], 3: [3], 4: [4]}))
    found = other[2:4]
    assert found == {2: [2], 3: [3]}
    found[2].append("x")
    other.peekitem()[1].append("x")
    assert other[:] == mine[:] == {1: [1], 2: [2], 3: [3], 4: [4]}
    before = cluster.index
    del mine[2:4]
    del mine[4:]
    assert cluster.index == before + 2
    assert other == {1: [1]}
    assert repr(other) == "ReplSortedDict({1: [1]})"
    with pytest.raises(TypeError, match="no step"):
        other[1:2:3]
    with pytest.raises(TypeError, match=NO_ORDER):
        del mine["a":]


def test_operators_of_the_plain_types_hold():
    prices, due = ReplSortedDict({3: "c"}, pickle=False), ReplSortedSet([3, 1])
    assert isinstance(prices, MutableMapping)
    assert isinstance(due, MutableSet)
    assert prices | {1: "a"} == {1: "a", 3: "c"}
    assert due | {2} == {1, 2, 3}
    assert due >= {1}
    assert list(reversed(ReplSortedDict.fromkeys("cab"))) == ["c", "b", "a"]
    mine, other = LocalCluster(2).attach("s", lambda: ReplSortedSet("dab"))
    mine &= {"a", "b", "c"}
    mine ^= {"b", "aa"}
    assert list(other) == ["a", "aa"]
    assert repr(other) == "ReplSortedSet({'a', 'aa'})"


def test_values_may_be_pickles():
    mine, other = LocalCluster(2).attach(
        "d", lambda: ReplSortedDict({2: Money(2)}, pickle=True)
    )
    mine.update({1: Money(1), 3: [Money(3)]})
    assert other.peekitem(0) == (1, Money(1))
    assert other[2:] == {2: Money(2), 3: [Money(3)]}
    assert mine.popitem(0) == (1, Money(1))
    assert mine.popitem() == (3, [Money(3)])


def test_state_whose_keys_have_no_order_is_refused():
    with pytest.raises((TypeError, DecodeError)):
        ReplSortedDict().restore_state({"_items": {1: 1, "a": 2}})
