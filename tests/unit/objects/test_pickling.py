"""Values of any class: what is pickled, who unpickles it, and where nobody does."""

import dataclasses
import pickle
import sys
from collections import OrderedDict, deque
from copy import copy as shallow
from copy import deepcopy
from datetime import datetime, timedelta, tzinfo
from queue import Empty
from typing import Any

import pytest
from any_things import Lid, Money, Trap
from local_cluster import LocalCluster

from syncstructs import (
    ConfigError,
    Pickled,
    ReplDict,
    Replicated,
    ReplList,
    ReplPriorityQueue,
    ReplQueue,
    ReplSet,
    ResultLost,
    UnknownType,
    Unserializable,
    register,
    replicated,
)
from syncstructs.codec import _UNPACKERS, _Code, copy, decode, encode
from syncstructs.compat import pysyncobj
from syncstructs.errors import NodeFailed
from syncstructs.objects import pickling
from syncstructs.objects import table as table_module
from syncstructs.objects.digest import outweighs


@register(name="test.Priced")
@dataclasses.dataclass(frozen=True)
class Priced:
    name: str
    price: Any


class Zone(tzinfo):
    def utcoffset(self, when):
        return timedelta(hours=1)

    def __eq__(self, other):
        return isinstance(other, Zone)

    __hash__ = None


class Reader(Replicated):
    """Reads another object in its commands."""

    LOCAL = frozenset({"target"})

    def __init__(self):
        self.seen = []
        self.target = None

    @replicated
    def look(self, key):
        users = self.target
        self.seen = [users[key], users.get(key), list(users.values()), key in users]
        return users.pop(key)


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


@pytest.fixture
def loads(monkeypatch):
    """What is unpickled."""
    done = []
    read = pickle.loads
    monkeypatch.setattr(pickle, "loads", lambda data: (done.append(data), read(data))[1])
    return done


def attach_both(cluster, name, cls):
    """Attach an object with pickle=True on two members, and without it on the third."""
    made = iter([cls(pickle=True), cls(pickle=True), cls()])
    return cluster.attach(name, lambda: next(made))


def pickled(value):
    return Pickled(pickle.dumps(value, 5))


# The value of the codec


def test_a_pickled_value_is_one_of_the_codec_and_stays_bytes():
    value = pickled(Money(5))
    assert decode(encode([value, (value,)])) == [value, (value,)]
    assert encode(decode(encode(value))) == encode(value)
    assert copy(value) is value
    assert {value: 1}[pickled(Money(5))] == 1
    assert value != pickled(Money(6))
    assert repr(value) == f"<Pickled, {len(value.encoded)} bytes>"
    with pytest.raises(AttributeError):
        value.encoded = b""


def test_pickles_weigh_what_they_have():
    assert outweighs([Pickled(b"x" * 64_000)], 900)
    assert not outweighs([Pickled(b"x" * 64_000)], 1100)


# In and out


@pytest.mark.parametrize("cls", [ReplDict, ReplList, ReplQueue, ReplPriorityQueue])
def test_what_the_codec_knows_is_held_as_without_pickle(cluster, cls):
    values = [1, "a", 10**30, b"x", [1, (2, {3})], {"k": deque([1])}, datetime(2024, 1, 1)]
    with_it = cluster.attach("with", lambda: cls(pickle=True))[0]
    without = cluster.attach("without", cls)[0]
    for number, value in enumerate(values):
        for target in (with_it, without):
            if cls is ReplDict:
                target[number] = value
            elif cls is ReplList:
                target.append(value)
            else:
                target.put((number, value))
    assert encode(with_it.snapshot_state()) == encode(without.snapshot_state())


def test_values_are_unpickled_for_who_asked_for_it_and_for_nobody_else(cluster, loads):
    first, second, other = attach_both(cluster, "d", ReplDict)
    first["price"] = Money(5)
    cluster.reload(1)
    cluster.digest_equal()
    assert (len(first), list(first), "price" in first, "x" in first) == (1, ["price"], True, False)
    assert repr(second).startswith("ReplDict({'price': <Pickled, ")
    assert not loads
    opaque = other["price"]
    assert opaque == other.get("price") == other.copy()["price"] == pickled(Money(5))
    assert other.setdefault("price", 0) == opaque
    other["again"] = opaque
    assert not loads
    assert first["price"] == second["again"] == second.get("price") == Money(5)
    assert second.copy() == first.copy() == {"price": Money(5), "again": Money(5)}
    assert list(first.values()) == [Money(5)] * 2
    assert ("price", Money(5)) in first.items()
    assert first == {"price": Money(5), "again": Money(5)}
    assert first != {"price": Money(6), "again": Money(5)}
    assert first == second
    assert other != first
    assert other.popitem() == ("again", opaque)
    assert second.pop("price") == Money(5)


def test_each_read_gives_a_fresh_object(cluster):
    first, second, _ = attach_both(cluster, "d", ReplDict)
    mine = Money(5)
    first["price"] = mine
    mine.cents = 6
    assert first["price"] == Money(5)
    first["price"].cents = 7
    assert first["price"] == second["price"] == Money(5)
    assert first["price"] is not first["price"]
    future = second.pop.submit("price")
    future.result().cents = 7
    assert future.result() == Money(5)
    assert future.exception() is None


def test_results_are_unpickled_where_they_are_taken(cluster, loads):
    first, second, other = attach_both(cluster, "d", ReplDict)
    first.update({"a": Money(1), "b": [Money(2)], "c": 3})
    futures = [
        first.setdefault.submit("a", Money(9)), second.pop.submit("b"),
        second.pop.submit("x", Money(4)), first.setdefault.submit(key="e", default=(Money(6),)),
        other.pop.submit("a"),
    ]  # fmt: skip
    assert all(future.done() for future in futures)
    assert not loads
    results = [future.result() for future in futures]
    assert results == [Money(1), [Money(2)], Money(4), (Money(6),), pickled(Money(1))]
    assert first == {"c": 3, "e": (Money(6),)}


def test_a_list_holds_any_elements(cluster):
    first, second, other = attach_both(cluster, "l", ReplList)
    first.extend([1, Money(2)])
    first[0:0] = [Money(0)]
    first.insert(1, value=Money(1))
    first.set(2, Money(3))
    assert second == first == [Money(0), Money(1), Money(3), Money(2)]
    assert second[1:3] == [Money(1), Money(3)]
    assert (second[-1], second.get(0)) == (Money(2), Money(0))
    assert list(reversed(second)) == [Money(2), Money(3), Money(1), Money(0)]
    second *= 2
    assert (first.pop(), len(first), first.count(Money(2))) == (Money(2), 7, 1)
    assert other[0] == pickled(Money(0))
    first.reset((Money(1),))
    assert [*first, 1] == [Money(1), 1]


def test_queues_hold_any_items_and_hand_each_out_once(cluster, loads):
    first, second, other = attach_both(cluster, "q", ReplQueue)
    first.put(Money(1))
    first.put_nowait(item=Money(2))
    second.put(Money(3), timeout=1.0)
    taking = second.get.submit()
    assert taking.done()
    assert not loads
    assert taking.result() == taking.result() == Money(1)
    assert second.get() == Money(2)
    assert other.get() == pickled(Money(3))
    waiting = second.get.submit()
    other.put(pickled(Money(4)))
    assert waiting.result() == Money(4)
    assert len(loads) == 4
    with pytest.raises(Empty):
        first.get_nowait()


def test_a_wait_that_was_given_up_puts_back_what_it_was_served(cluster, loads):
    first, second, _ = attach_both(cluster, "q", ReplQueue)
    first.put(Money(1))
    taken = second.get.submit()
    taken.abandon()
    assert not loads
    assert first.qsize() == 1
    assert first.get() == Money(1)


def test_a_priority_is_no_pickle(cluster):
    first, second, _ = attach_both(cluster, "q", ReplPriorityQueue)
    first.put((2, Money(2)))
    second.put((1, Money(1)))
    assert [first.get(), second.get_nowait()] == [(1, Money(1)), (2, Money(2))]
    first.put(Money(1))
    with pytest.raises(TypeError, match="not supported between instances of 'Pickled'"):
        first.put(Money(2))
    assert first.qsize() == 1


# What is pickled of a value


def test_the_smallest_part_is_pickled_that_the_codec_does_not_know(cluster):
    first, _, other = attach_both(cluster, "d", ReplDict)
    value = {
        "list": [1, Money(1)],
        "tuple": ({"x": Money(2)}, 3),
        "deque": deque([Money(4)], 2),
        "known": Priced("tea", [Money(5)]),
    }
    first["it"] = value
    assert first["it"] == value
    assert first["it"]["deque"].maxlen == 2
    seen = other["it"]
    assert seen["list"] == [1, pickled(Money(1))]
    assert seen["tuple"] == ({"x": pickled(Money(2))}, 3)
    assert seen["deque"][0] == pickled(Money(4))
    assert seen["known"] == Priced("tea", [pickled(Money(5))])


def test_what_has_no_smaller_part_is_pickled_as_a_whole(cluster):
    first, _, other = attach_both(cluster, "d", ReplDict)
    when = datetime(2024, 1, 1, tzinfo=Zone())
    sets = [{Money(1)}, {Money(2): 1}, frozenset({(Money(3),)})]
    for number, value in enumerate([*sets, OrderedDict(a=1), when, Money, len]):
        first[number] = [value]
        assert first[number] == [value]
        assert type(first[number][0]) is type(value)
        assert type(other[number][0]) is Pickled


def test_what_an_object_begins_with_is_pickled_too(cluster):
    content = {"a": Money(1), "b": 2}
    alone = ReplDict(content, pickle=True, c=Money(3))
    assert alone == {"a": pickled(Money(1)), "b": 2, "c": pickled(Money(3))}
    cluster.attach_on(0, "d", alone)
    late = cluster.attach_on(1, "d", ReplDict(pickle=True))
    assert late == alone == {"a": Money(1), "b": 2, "c": Money(3)}
    assert ReplDict({"pickle": 1}) == {"pickle": 1}
    line = ReplList(alone.values(), pickle=True)
    assert line == [pickled(Money(1)), 2, pickled(Money(3))]
    assert cluster.attach_on(0, "l", line) == [Money(1), 2, Money(3)]
    with pytest.raises(Unserializable, match="not for keys"):
        ReplDict({Money(1): 1}, pickle=True)


# Refusals


@pytest.mark.parametrize("value", [0, 1, "rick", None, [1]])
def test_a_key_named_pickle_makes_nothing_unpickle(value):
    with pytest.raises(TypeError, match=r"must be True or False.*in a mapping"):
        ReplDict(apple=2, pickle=value)
    fruits = ReplDict({"pickle": value}, apple=2)
    assert (fruits._pickles, fruits.copy()) == (False, {"pickle": value, "apple": 2})


def test_without_pickle_a_class_is_refused_and_both_remedies_are_named(cluster):
    d = cluster.attach("d", ReplDict)[0]
    for value, remedy in (
        (Money(1), "a Money cannot be encoded: .*dataclasses.* registered them"),
        (OrderedDict(), "an OrderedDict cannot be encoded: it would come back as a plain dict"),
        (dataclasses.make_dataclass("Loose", ["x"])(1), "a Loose .* register the dataclass"),
    ):
        with pytest.raises(Unserializable, match=rf"^argument 1: {remedy}.*; made with pickle="):
            d["x"] = value
    with pytest.raises(TypeError, match="pickle"):
        ReplSet(pickle=True)


@pytest.mark.parametrize(
    "call",
    [
        lambda d: d.set(Money(1), 1),
        lambda d: d.set((1, Money(1)), Money(1)),
        lambda d: d.update({Money(1): 1}),
        lambda d: d.reset([(Money(1), 1)]),
        lambda d: d.setdefault(Money(1), 1),
        lambda d: d.pop(Money(1), None),
        lambda d: d.delete(key=Money(1)),
        lambda d: d.compare_and_set(Money(1), 1, 2),
    ],
)
def test_keys_are_never_pickled(cluster, call):
    d = cluster.attach("d", lambda: ReplDict(pickle=True))[0]
    before = cluster.index
    with pytest.raises(Unserializable, match=r"a Money cannot be .*; pickle=True is for the val"):
        call(d)
    assert cluster.index == before
    assert Money(1) not in d
    assert len(d) == 0


def test_what_cannot_be_pickled_either_is_refused_before_anything_is_sent(cluster):
    d = cluster.attach("d", lambda: ReplDict(pickle=True))[0]
    before = cluster.index
    with pytest.raises(Unserializable, match=r"argument 1: a Lid can be neither .*stuck"):
        d["x"] = [Lid()]
    with pytest.raises(Unserializable, match=r"argument 'value': a function can be neither"):
        d.set("x", value=lambda: 0)
    with pytest.raises(Unserializable, match=r"a ReplDict can be neither .* handle on replicated"):
        d["x"] = d
    endless: list[Any] = [Money(1)]
    endless.append(endless)
    with pytest.raises(Unserializable, match="nested too deeply, or contains itself"):
        d["x"] = endless
    assert cluster.index == before


class Shelf(ReplDict):
    """A subclass with a command of its own, and one that it overrides."""

    @replicated
    def put_both(self, key, value):
        self._items[key] = self._items[key, 2] = value

    @replicated
    def set(self, key, value):
        assert not isinstance(value, Money)
        self._items[key] = value


def test_commands_of_a_subclass_take_what_the_codec_knows(cluster):
    first, second, _ = cluster.attach("d", lambda: Shelf(pickle=True))
    first["a"] = Money(1)
    assert second["a"] == Money(1)
    with pytest.raises(Unserializable, match="argument 1: a Money cannot"):
        first.put_both("a", Money(1))
    first.put_both("b", 2)
    assert second == {"a": Money(1), "b": 2, ("b", 2): 2}


# Equality


class Unequal:
    """Equal to all of its kind, with another pickle each time."""

    def __init__(self, number):
        self.number = number

    def __eq__(self, other):
        return isinstance(other, Unequal)

    __hash__ = None


def test_commands_and_searches_compare_pickles_and_whole_objects_compare_what_is_read(cluster):
    line = cluster.attach("l", lambda: ReplList(pickle=True))[0]
    line.extend([1, Money(1), Unequal(1)])
    assert (line.index(Money(1)), line.count(Money(1)), Money(1) in line) == (1, 1, True)
    assert (Unequal(2) in line, Unequal(1) in line) == (False, True)
    assert line == [1, Money(1), Unequal(2)]
    assert Lid() not in line
    with pytest.raises(ValueError, match="not in list"):
        line.remove(Unequal(2))
    line.remove(Money(1))
    line.remove(Unequal(1))
    assert line == [1]
    d = cluster.attach("d", lambda: ReplDict(pickle=True))[0]
    d["a"] = Unequal(1)
    assert not d.compare_and_set("a", Unequal(2), 3)
    assert d.compare_and_set("a", expected=Unequal(1), value=Money(2))
    assert d == {"a": Money(2)}


# What cannot be unpickled here


def test_a_value_that_cannot_be_unpickled_here_leaves_the_rest_usable(cluster, monkeypatch):
    first, second, _ = attach_both(cluster, "d", ReplDict)
    gone = type("Gone", (), {"__module__": __name__})
    monkeypatch.setattr(sys.modules[__name__], "Gone", gone, raising=False)
    first.update({"good": Money(1), "bad": gone(), "worse": [gone()]})
    monkeypatch.delattr(sys.modules[__name__], "Gone")
    for read in (lambda: second["bad"], lambda: second.get("worse"), second.copy):
        with pytest.raises(UnknownType, match=r"a pickle of \d+ bytes cannot be read on this node"):
            read()
    assert (second["good"], len(second), list(second)) == (Money(1), 3, ["good", "bad", "worse"])
    with pytest.raises(ResultLost, match=r"was applied, but its result .*Gone") as lost:
        second.pop("worse")
    assert [type(part) for part in lost.value.value] == [Pickled]
    assert "worse" not in second
    second["worse"] = lost.value.value
    with pytest.raises(ResultLost):
        second.pop.submit("worse").result()
    del second["bad"]
    assert second == first == {"good": Money(1)}


def test_an_item_that_cannot_be_unpickled_can_be_put_again(cluster, monkeypatch):
    first, second, other = attach_both(cluster, "q", ReplQueue)
    gone = type("Gone", (), {"__module__": __name__})
    monkeypatch.setattr(sys.modules[__name__], "Gone", gone, raising=False)
    first.put(gone())
    with monkeypatch.context() as patch:
        patch.delattr(sys.modules[__name__], "Gone")
        for get in (second.get, second.get_nowait, lambda: second.get.submit().result()):
            with pytest.raises(ResultLost) as lost:
                get()
            second.put(lost.value.value)
    assert type(first.get()) is gone
    assert other.empty()


class Interrupt:
    """Is interrupted as it is unpickled."""

    error: BaseException | None = None

    def __reduce__(self):
        return Interrupt._made, ()

    @staticmethod
    def _made():
        if Interrupt.error is not None:
            raise Interrupt.error
        return Interrupt()


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(1), MemoryError()], ids=repr)
@pytest.mark.parametrize("cls", [ReplQueue, ReplPriorityQueue])
def test_an_item_goes_back_if_its_unpickling_is_interrupted(cluster, monkeypatch, cls, error):
    first, second, _ = attach_both(cluster, "q", cls)
    first.put((1, Interrupt()))
    monkeypatch.setattr(Interrupt, "error", error)
    with pytest.raises(type(error)):
        second.get()
    monkeypatch.undo()
    assert first.qsize() == 1
    assert type(second.get()[1]) is Interrupt


# Nowhere else


@pytest.mark.parametrize("caller", range(3))
def test_commands_see_the_same_on_all_members_and_unpickle_nothing(cluster, loads, caller):
    objects = attach_both(cluster, "d", ReplDict)
    reader = attach_readers(cluster, objects)
    objects[0].update({"a": Money(1), "b": 2})
    opaque = pickled(Money(1))
    assert reader[caller].look("a") == opaque
    assert not loads
    assert all(r.seen == [opaque, opaque, [opaque, 2], True] for r in reader)


def attach_readers(cluster, objects):
    """Attach on each member what reads that member's own one of the objects in its commands."""
    made = cluster.attach("reader", Reader)
    for reader, target in zip(made, objects, strict=True):
        reader.target = target
    return made


def test_changes_are_unpickled_by_who_reads_them(cluster, loads):
    first, second, other = attach_both(cluster, "d", ReplDict)
    told = []
    for number, target in ((1, second), (2, other)):
        port = cluster.members[number]
        port.tell = lambda: None
        target.subscribe(lambda change: None)
        told.append(port.news)
    first["a"] = [Money(1)]
    first.set("b", value=Money(2))
    changes, opaque = ([change for _, change in news] for news in told)
    assert "<Pickled" in repr(changes)
    assert not loads
    assert [c.args for c in opaque] == [("a", [pickled(Money(1))]), ("b",)]
    assert opaque[1].kwargs == {"value": pickled(Money(2))}
    assert not loads
    assert [c.args for c in changes] == [("a", [Money(1)]), ("b",)]
    assert changes[1].kwargs == {"value": Money(2)}
    assert changes[0].args[1][0] is not changes[0].args[1][0]
    assert (changes[0].method, changes[0].error, changes[0].resynchronised) == ("set", None, False)
    with pytest.raises(AttributeError):
        changes[0].args = ()
    for made in (shallow, deepcopy, dataclasses.replace, lambda c: pickle.loads(pickle.dumps(c))):
        copied = made(changes[1])
        assert (copied.args, copied.kwargs) == (("b",), {"value": Money(2)}), made
        assert copied.kwargs is copied.kwargs


def test_nothing_is_unpickled_to_apply_restore_replay_compare_or_digest(loads, tmp_path):
    cluster = LocalCluster(3, check=True)
    trap = Trap(tmp_path / "sprung")
    d, late, other = attach_both(cluster, "d", ReplDict)
    line = attach_both(cluster, "l", ReplList)[0]
    jobs = attach_both(cluster, "q", ReplQueue)
    ranks = attach_both(cluster, "p", ReplPriorityQueue)[0]
    d.update({"a": trap, "b": {trap: trap}, "c": [trap, Priced("x", trap)]})
    d.compare_and_set("a", trap, trap)
    d.setdefault.submit("a", 1)
    line.extend([trap, [trap]])
    line.remove(trap)
    assert [trap] in line
    assert line.index([trap]) == 0
    line *= 3
    line.append(1)
    with pytest.raises(TypeError):
        line.sort()
    jobs[0].put(trap)
    waiting = [jobs[1].get.submit(), jobs[1].get.submit()]
    jobs[2].put(pickled(trap))
    ranks.put((1, trap))
    for member in range(3):
        cluster.reload(member)
    cluster.renew(2)
    cluster.drop(0, "l")
    cluster.expire(1)
    assert all(future.done() for future in waiting)
    cluster.digest_equal()
    repr([d, line, cluster.members[0].table.digests(), waiting, other._items])
    assert not loads
    assert not trap.path.exists()
    assert late["a"].name == str(trap.path)
    assert trap.path.exists(), "the trap would have told"


def test_what_a_node_makes_by_itself_never_unpickles(cluster, loads):
    class Always(ReplDict):
        def __init__(self, other=()):
            super().__init__(other, pickle=True)

    mine = cluster.attach_on(0, "d", Always())
    made = cluster.members[1].table.objects["d"]
    assert type(made) is Always
    mine["a"] = Money(1)
    assert made["a"] == pickled(Money(1))
    assert not loads
    by_hand = cluster.attach_on(1, "d", Always())
    assert by_hand["a"] == mine["a"] == Money(1)


def test_no_state_makes_an_object_unpickle(cluster):
    d = cluster.attach("d", ReplDict)[0]
    state = {"_items": {"a": pickled(Money(1))}, "_pickles": True}
    with pytest.raises(ValueError, match="no part of the state"):
        d.restore_state(state)
    type_name = "syncstructs.structs.dicts.ReplDict"
    cluster.members[0].system("attach", "a", type_name, {}, state, ["set"])
    cluster.members[0].system("attach", "b", type_name, {"pickle": True}, {"_items": {}}, ["set"])
    cluster.members[0].system("create", "c", type_name, [{}, True], {}, {"_items": {}}, ["set"])
    for member in cluster.members:
        assert not any(live._pickles for live in member.table.objects.values())
        assert "a" not in member.table.objects


def test_on_a_node_without_a_password_nothing_is_unpickled_whatever_was_done(cluster, loads):
    port = cluster.members[0]
    port.authenticates = False
    with pytest.raises(ConfigError, match=r"'d', a ReplDict, was made with pickle=True.*password"):
        port.table.offer("d", ReplDict(pickle=True))
    d = cluster.attach("d", ReplDict)[0]
    d["a"] = pickled(Money(1))
    d._pickles = True
    for read in (lambda: d["a"], d.copy, lambda: d.get("a"), lambda: d.setdefault("a", 1)):
        with pytest.raises(ConfigError, match="lets in whoever"):
            read()
    # Nor by making another object of what there is, or by taking it from the cluster.
    d._pickles = False
    opaque = {"a": pickled(Money(1))}
    assert ReplDict(d, pickle=True) == ReplDict(d.copy(), pickle=True) == opaque
    assert ReplList(d.values(), pickle=True)[0] == opaque["a"]
    cluster.drop(0, "d")
    d._pickles = True
    assert d.copy() == opaque
    assert not loads


# Other releases


def test_a_release_that_does_not_know_pickles_stops_at_the_first_one(monkeypatch):
    cluster = LocalCluster(2, check=True)
    d = cluster.attach("d", lambda: ReplDict(pickle=True))[0]
    d["a"] = 1
    before = cluster.members[1].table.digests()
    monkeypatch.delitem(_UNPACKERS, _Code.PICKLED)
    monkeypatch.setattr(table_module, "RELEASE", 1)
    cluster.members[0].system("know", 1, 2, {})
    with pytest.raises(NodeFailed, match=r"unknown extension 22.*release that they run"):
        d["b"] = Money(1)
    assert cluster.members[0].table.digests() == before
    with pytest.raises(Exception, match="unknown extension 22; written by a later release"):
        decode(encode(pickled(1)))


def test_the_layer_for_pysyncobj_passes_it_on():
    for cls in (pysyncobj.ReplDict, pysyncobj.ReplList, pysyncobj.ReplQueue,
                pysyncobj.ReplPriorityQueue):  # fmt: skip
        assert cls(pickle=True)._consumer()._pickles
        assert not cls()._consumer()._pickles


def test_a_result_that_nobody_is_told_is_not_unpickled_by_that_layer(cluster, loads):
    users, jobs = pysyncobj.ReplDict(pickle=True), pysyncobj.ReplQueue(pickle=True)
    cluster.attach_on(0, "users", users._consumer())
    cluster.attach_on(0, "jobs", jobs._consumer())
    told = []
    for callback in (None, lambda *result: told.append(result)):
        users.set("ann", Money(1))
        jobs.put(Money(2))
        assert not loads
        users.pop("ann", callback=callback)
        jobs.get(callback=callback)
    assert told == [(Money(1), 0), (Money(2), 0)]
    assert len(loads) == 2


def test_the_protocol_is_fixed_and_pickle_is_loaded_when_it_is_needed():
    assert pickling._pickled(Money(1)).encoded[:2] == b"\x80\x05"
