"""`ReplMultiDict` has several values per key, and tells all of them, on all members the same."""

import pytest
from any_things import Money
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import ReplDict, ReplMultiDict
from syncstructs.codec import decode, encode
from syncstructs.testing.valuemodels import MultiDict

keys = st.sampled_from(["a", "b", 1])
values = st.integers(0, 2)
pairs = st.lists(st.tuples(keys, values), max_size=4)


def op(name, *args):
    return st.tuples(st.just(name), st.tuples(*args))


CALLS = st.one_of(
    op("add", keys, values), op("set", keys, values), op("setdefault", keys, values),
    op("delete", keys), op("remove", keys, values), op("popone", keys), op("popall", keys),
    op("pop", keys, values), op("popitem"), op("extend", pairs), op("update", pairs), op("clear"),
    op("getall", keys), op("getall", keys, st.none()), op("__getitem__", keys), op("copy"),
)  # fmt: skip


def outcome(target, step):
    name, args = step
    try:
        return getattr(target, name)(*args)
    except Exception as error:
        return type(error)


@settings(max_examples=80, deadline=None)
@given(pairs, st.lists(st.tuples(st.integers(0, 2), CALLS, st.booleans()), max_size=20))
def test_multi_dict_does_what_its_twin_does(content, steps):
    members = LocalCluster(3).attach("m", lambda: ReplMultiDict(content))
    twin = MultiDict(content)
    for number, step, restored in steps:
        assert outcome(members[number], step) == outcome(twin, step), step
        if restored:
            state = decode(encode(members[number].snapshot_state()))
            members[number].restore_state(state)
        for member in members:
            member._check()
            assert member.items() == twin.items()
            assert len(member) == len(twin)


def test_pairs_are_told_key_by_key_and_each_change_is_one_entry():
    cluster = LocalCluster(2)
    mine, other = cluster.attach("m", lambda: ReplMultiDict({"a": [1]}))
    before = cluster.index
    mine.extend([("b", 2), ("a", 3)])
    other.update([("b", 4), ("c", 5), ("b", 6)])
    mine["c"] = 7
    assert cluster.index == before + 3
    assert other.items() == [("a", [1]), ("a", 3), ("b", 4), ("b", 6), ("c", 7)]
    assert list(other) == other.keys() == ["a", "a", "b", "b", "c"]
    assert other.values() == [[1], 3, 4, 6, 7]
    assert dict(other)["b"] == other.get("b") == other.getone("b") == 4
    other["a"].append("x")
    other.getall("a")[0].append("x")
    other.copy()["a"][0].append("x")
    assert other.getall("a") == mine.getall("a") == [[1], 3]
    assert repr(other) == "<ReplMultiDict {'a': [[1], 3], 'b': [4, 6], 'c': [7]}>"
    assert ReplMultiDict(ReplDict(a=1)) == {"a": 1} == ReplMultiDict({("a", 1)})


def test_values_may_be_pickles():
    mine, other = LocalCluster(2).attach("m", lambda: ReplMultiDict({"a": Money(1)}, pickle=True))
    mine.add("a", Money(2))
    other.extend([("b", Money(3)), ("b", [Money(4)])])
    other.update({"c": Money(5)})
    assert other.setdefault("d", Money(6)) == Money(6)
    assert mine.getall("a") == [Money(1), Money(2)]
    assert mine["b"] == Money(3)
    mine.remove("a", Money(1))
    assert mine.popall("b") == [Money(3), [Money(4)]]
    assert mine.pop("c") == mine.popone("x", Money(5)) == Money(5)
    assert mine.copy() == {"a": [Money(2)], "d": [Money(6)]}
    with pytest.raises(KeyError):
        mine.popone("x")
