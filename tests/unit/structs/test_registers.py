"""What `ReplRegister` promises: writes that count, and writes that only one of several wins."""

import pytest
from any_things import Money
from hypothesis import given, settings
from hypothesis import strategies as st
from local_cluster import LocalCluster

from syncstructs import Pickled, ReplRegister
from syncstructs.codec import decode, encode
from syncstructs.errors import Unserializable
from syncstructs.testing.valuemodels import Register

values = st.one_of(st.integers(0, 2), st.none(), st.lists(st.integers(0, 1), max_size=1))
CALLS = st.one_of(
    st.tuples(st.just("set"), st.tuples(values)),
    st.tuples(st.just("compare_and_set"), st.tuples(values, values)),
    st.tuples(st.just("set_if_version"), st.tuples(st.integers(0, 4), values)),
    st.tuples(st.just("get_versioned"), st.just(())),
)


@settings(max_examples=60, deadline=None)
@given(values, st.lists(st.tuples(st.integers(0, 2), CALLS, st.booleans()), max_size=15))
def test_register_does_what_its_twin_does(value, steps):
    members = LocalCluster(3).attach("r", lambda: ReplRegister(value))
    twin = Register(value)
    for number, (method, args), restored in steps:
        assert getattr(members[number], method)(*args) == getattr(twin, method)(*args)
        if restored:
            members[number].restore_state(decode(encode(members[number].snapshot_state())))
        for member in members:
            member._check()
            assert member.get_versioned() == (twin.value, twin.version)
            assert (member.get(), member.version) == (twin.value, twin.version)


def test_version_tells_of_a_value_that_came_back():
    mine, other = LocalCluster(2).attach("r", lambda: ReplRegister("a"))
    value, version = mine.get_versioned()
    other.set("b")
    assert other.set("a") == 2
    assert not mine.set_if_version(version, "c")
    assert mine.compare_and_set(value, "c")
    assert mine.get_versioned() == other.get_versioned() == ("c", 3)


def test_each_write_is_one_entry_and_reads_are_none():
    cluster = LocalCluster(2)
    register = cluster.attach("r", ReplRegister)[0]
    for write in (
        lambda: register.set(1),
        lambda: register.compare_and_set(1, 2),
        lambda: register.set_if_version(2, 3),
    ):
        before = cluster.index
        write()
        assert cluster.index == before + 1
    assert (register.get(), register.version) == (3, 3)
    assert cluster.index == before + 1


def test_value_is_copied_on_its_way_in_and_out():
    mine, other = LocalCluster(2).attach("r", ReplRegister)
    value = [1]
    mine.set(value)
    value.append(2)
    other.get().append(3)
    assert mine.get() == other.get() == [1]
    assert repr(mine) == "ReplRegister([1])"


def test_register_holds_pickles_where_it_was_made_so():
    cluster = LocalCluster(2)
    mine, other = cluster.attach("r", lambda: ReplRegister(Money(1), pickle=True))
    assert mine.get() == Money(1)
    assert mine.compare_and_set(Money(1), [Money(2)])
    assert other.set_if_version(1, Money(3))
    assert other.set(value=Money(4)) == 3
    assert mine.get_versioned() == (Money(4), 3)
    assert type(ReplRegister(Money(1), pickle=True).get()) is Pickled
    plain = LocalCluster(2).attach("r", ReplRegister)[0]
    with pytest.raises(Unserializable):
        plain.set(Money(1))
