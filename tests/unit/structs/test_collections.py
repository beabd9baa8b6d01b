"""What the collections promise beyond their twins: copies, fixed orders, clear refusals."""

import copy
import pickle
import subprocess
import sys
from collections.abc import MutableMapping, MutableSequence, MutableSet
from operator import attrgetter, itemgetter
from pathlib import Path

import pytest
from local_cluster import LocalCluster

from syncstructs.errors import NotAttached, Unserializable
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.structs.countermaps import ReplCounterMap
from syncstructs.structs.counters import ReplCounter
from syncstructs.structs.deques import ReplDeque
from syncstructs.structs.dicts import ReplDict
from syncstructs.structs.idgenerators import ReplIdGenerator
from syncstructs.structs.lists import ReplList
from syncstructs.structs.locks import ReplLock, ReplLockManager
from syncstructs.structs.multidicts import ReplMultiDict
from syncstructs.structs.queues import ReplPriorityQueue, ReplQueue
from syncstructs.structs.registers import ReplRegister
from syncstructs.structs.sets import ReplSet
from syncstructs.structs.sorteddicts import ReplSortedDict
from syncstructs.structs.sortedsets import ReplSortedSet
from syncstructs.structs.topics import ReplTopic
from syncstructs.structs.values import in_order

ALL = (
    ReplCounter, ReplDict, ReplList, ReplSet, ReplQueue, ReplPriorityQueue, ReplLock,
    ReplCounterMap, ReplDeque, ReplIdGenerator, ReplLockManager, ReplMultiDict, ReplRegister,
    ReplSortedDict, ReplSortedSet, ReplTopic,
)  # fmt: skip


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def entries_of(cluster, call):
    before = cluster.index
    call()
    return cluster.index - before


def test_every_change_is_one_entry(cluster):
    d = cluster.attach("d", ReplDict)[1]
    items = cluster.attach("l", ReplList)[1]
    s = cluster.attach("s", ReplSet)[1]
    c = cluster.attach("c", ReplCounter)[1]
    d["warm up"] = 1
    changes = [
        lambda: d.update({"a": 1}, b=2),
        lambda: d.__ior__({"c": 3}),
        lambda: d.setdefault("d", 4),
        lambda: d.popitem(),
        lambda: d.__delitem__("a"),
        lambda: items.__setitem__(slice(None), [3, 1, 2]),
        lambda: items.sort(),
        lambda: items.__imul__(3),
        lambda: items.__delitem__(slice(None, None, 2)),
        lambda: s.update("ab", "cd"),
        lambda: s.__isub__({"a", "b"}),
        lambda: s.pop(),
        lambda: c.__iadd__(5),
    ]
    assert [entries_of(cluster, change) for change in changes] == [1] * len(changes)


def test_what_was_read_or_passed_shares_nothing_with_a_replica(cluster):
    d = cluster.attach("d", ReplDict)[0]
    items = cluster.attach("l", ReplList)[0]
    value = [1]
    d["k"] = value
    items.append(value)
    reads = [
        value, d["k"], d.get("k"), d.setdefault("k", 0), d.copy()["k"], next(iter(d.values())),
        next(iter(d.items()))[1], (d | {})["k"], ({} | d)["k"], items[0], items[:1][0],
        items.copy()[0], next(iter(items)), next(reversed(items)), items.__add__([1])[0],
        (items * 2)[1],
    ]  # fmt: skip
    for read in reads:
        read.append("mine")
    assert d == {"k": [1]}
    assert items == [[1]]


def test_repeating_a_list_repeats_copies(cluster):
    class Owner(Replicated):
        LOCAL = frozenset({"items"})

        def __init__(self, items):
            self.items = items

        @replicated
        def repeat(self):
            self.items *= 2
            self.items._items[0].append(2)

    lists = cluster.attach("l", lambda: ReplList([[1]]))
    made = iter(lists)
    cluster.attach("o", lambda: Owner(next(made)))[0].repeat()
    assert lists[1] == [[1, 2], [1]]


def test_a_raising_method_changes_nothing_anywhere(cluster):
    d, other, _ = cluster.attach("d", lambda: ReplDict(a=1))
    items = cluster.attach("l", lambda: ReplList([1, 3, 2, "x"]))[0]
    s = cluster.attach("s", lambda: ReplSet("a"))[0]
    for call, error in (
        (lambda: d.pop("x"), KeyError),
        (lambda: d.__delitem__("x"), KeyError),
        (lambda: d.update([("b", 1), ("c",)]), ValueError),
        (lambda: d.__setitem__([], 1), TypeError),
        (lambda: items.remove(9), ValueError),
        (lambda: items.pop(9), IndexError),
        (lambda: items.sort(), TypeError),
        (lambda: items.__setitem__(slice(0, 4, 2), [1]), ValueError),
        (lambda: s.remove("x"), KeyError),
        (lambda: s.add([]), TypeError),
        (lambda: s.update(["b", []]), TypeError),
        (lambda: d.__setitem__("x", object()), Unserializable),
    ):
        with pytest.raises(error):
            call()
    assert other == {"a": 1}
    assert items == [1, 3, 2, "x"]
    assert s == {"a"}
    assert [s.pop()] == ["a"]
    with pytest.raises(KeyError, match="empty set"):
        s.pop()


def test_sort_keys_by_name_only(cluster):
    words, _, _ = cluster.attach("l", lambda: ReplList(["b", "A", "ccc"]))
    words.sort(key=str.lower)
    assert words == ["A", "b", "ccc"]
    words.sort(key=len, reverse=True)
    assert words == ["ccc", "A", "b"]
    pairs, _, _ = cluster.attach("p", lambda: ReplList([(1, "b"), (2, "a")]))
    pairs.sort(key=itemgetter(1))
    assert pairs == [(2, "a"), (1, "b")]
    pairs.sort(key=itemgetter(0, 1))
    assert pairs == [(1, "b"), (2, "a")]
    numbers, _, _ = cluster.attach("n", lambda: ReplList([3, 1j.imag, -2]))
    numbers.sort(key=attrgetter("real"))
    assert numbers == [-2, 1.0, 3]
    for key in (lambda x: x, str, hash, "len", 5, []):
        with pytest.raises(TypeError, match="cannot be replicated"):
            words.sort(key=key)


def test_objects_say_what_they_hold():
    assert repr(ReplDict({"a": 1}, b=2)) == "ReplDict({'a': 1, 'b': 2})"
    assert repr(ReplList([1, "x"])) == "ReplList([1, 'x'])"
    assert repr(ReplSet("ba")) == "ReplSet({'b', 'a'})"
    assert repr(ReplSet()) == "ReplSet()"
    assert repr(ReplCounter(3)) == "ReplCounter(3)"
    assert f"{ReplCounter(3)!s:>3}|{ReplCounter(3):03d}" == "  3|003"
    assert repr(ReplDict(a=1).keys()) == "dict_keys(['a'])"
    assert repr(ReplDict(a=1).values()) == "dict_values([1])"
    assert repr(ReplDict(a=1).items()) == "dict_items([('a', 1)])"


def test_views_are_live_and_iterate_over_a_copy(cluster):
    d, other, _ = cluster.attach("d", lambda: ReplDict(a=1))
    keys, values, items = d.keys(), d.values(), d.items()
    iterators = [iter(d), iter(keys), iter(values), iter(items)]
    other.reset(b=2)
    assert [list(i) for i in iterators] == [["a"], ["a"], [1], [("a", 1)]]
    assert (list(keys), list(values), list(items)) == (["b"], [2], [("b", 2)])
    assert (len(keys), "b" in keys, 2 in values, ("b", 2) in items) == (1, True, True, True)
    assert keys & {"b", "c"} == {"b"}
    assert keys | {"c"} == {"b", "c"}
    assert items == {("b", 2)}
    assert [list(reversed(view)) for view in (keys, values, items)] == [["b"], [2], [("b", 2)]]


def test_objects_are_what_their_twins_are():
    assert isinstance(ReplDict[str, int](), MutableMapping)
    assert isinstance(ReplList[int](), MutableSequence)
    assert isinstance(ReplSet[int](), MutableSet)
    assert isinstance(ReplQueue[int](), ReplQueue)
    for cls in (ReplDict, ReplList, ReplSet, ReplCounter):
        with pytest.raises(TypeError, match="unhashable"):
            hash(cls())
    for cls in (ReplQueue, ReplLock, ReplLockManager):
        hash(cls())


@pytest.mark.parametrize("cls", ALL)
def test_options_construct_and_pickling_is_refused(cls):
    target = cls(**cls().options())
    for copying in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="handle"):
            copying(target)


def test_unattached_objects_can_be_read_only():
    d = ReplDict(a=1)
    assert d["a"] == 1
    with pytest.raises(NotAttached):
        d["a"] = 2
    with pytest.raises(NotAttached):
        ReplLock().acquire()


def test_equality_with_each_other_and_with_plain_containers():
    assert ReplDict(a=1) == ReplDict(a=1) == {"a": 1}
    assert ReplDict(a=1) != [("a", 1)]
    assert ReplList([1]) == ReplList([1]) == [1]
    assert ReplList([1]) != (1,)
    assert ReplList([1]) < ReplList([2]) > [1, 5]
    assert ReplSet([1]) == ReplSet([1]) == {1} == frozenset([1])
    assert ReplSet([1]) != [1]
    assert {1} < ReplSet([1, 2])
    assert {1, 3} - ReplSet([1]) == {3}
    assert ReplSet([1]) == {1: 0}.keys()
    assert ReplCounter(2) == ReplCounter(2) == 2 == ReplCounter(2)
    assert ReplCounter(2) != "2"
    assert 1 < ReplCounter(2) <= 2.5
    assert (5 + ReplCounter(2), 5 - ReplCounter(2), ReplCounter(7) - ReplCounter(2)) == (7, 3, 5)
    assert [10, 20, 30][ReplCounter(1)] == 20
    assert not ReplCounter()
    assert float(ReplCounter(2)) == 2.0


def test_counter_counts_whole_numbers_only(cluster):
    c, other, _ = cluster.attach("c", ReplCounter)
    for call in (lambda: c.add(0.5), lambda: c.set("1"), lambda: ReplCounter(1.5)):
        with pytest.raises(TypeError, match="whole numbers"):
            call()
    c += True
    c -= 3
    assert (type(other.value), other.get()) == (int, -2)
    assert other.compare_and_set(-2, 4)
    assert not other.compare_and_set(-2, 5)
    assert c.value == 4


def test_dict_compares_and_sets(cluster):
    d, _, _ = cluster.attach("d", lambda: ReplDict(a=1))
    assert d.compare_and_set("a", 1, 2)
    assert not d.compare_and_set("a", 1, 3)
    assert not d.compare_and_set("b", None, 3)
    assert d == {"a": 2}


def test_fromkeys_keeps_the_order_and_makes_an_object_of_its_own():
    made = ReplDict.fromkeys("ba", 0)
    assert (type(made), made) == (ReplDict, {"b": 0, "a": 0})
    assert list(made) == ["b", "a"]


def test_submit_takes_what_the_call_takes(cluster):
    d = cluster.attach("d", ReplDict)[0]
    items = cluster.attach("l", ReplList)[0]
    s = cluster.attach("s", ReplSet)[0]
    assert d.update.submit(((k, 1) for k in "ab"), c=2).result(0) is None
    assert d.pop.submit("a", None).result(0) == 1
    assert items.extend.submit(x for x in "yx").result(0) is None
    assert items.sort.submit(reverse=False).result(0) is None
    assert s.update.submit(items, "z").result(0) is None
    assert (list(d), list(items), list(s)) == (["b", "c"], ["x", "y"], ["x", "y", "z"])


def test_sets_are_taken_in_the_order_of_their_encoding():
    words = {"pear", "apple", "fig", ""}
    assert in_order(words) == in_order(frozenset(words)) == ["", "fig", "pear", "apple"]
    assert in_order("ba") == ["b", "a"]
    with pytest.raises(Unserializable):
        in_order({object()})


SCRIPT = """
import sys
sys.path[:0] = [{support!r}]
from local_cluster import LocalCluster
from syncstructs.structs.dicts import ReplDict
from syncstructs.structs.lists import ReplList
from syncstructs.structs.sets import ReplSet
words = {{"alpha", "beta", "gamma", "delta", "eps", ("t", 1), None}}
cluster = LocalCluster(2)
s, t = cluster.attach("s", lambda: ReplSet(words))
d, _ = cluster.attach("d", lambda: ReplDict.fromkeys(words))
l, _ = cluster.attach("l", lambda: ReplList(words))
e, _ = cluster.attach("e", ReplList)
e.append(words)
popped = [s.pop(), t.pop()]
s |= words | {{"zeta", "eta"}}
s ^= words - {{"eps"}}
s.intersection_update(words | {{"zeta", "x"}})
l.extend(words)
l[1:2] = words
d.update({{(word, 1) for word in words}})
d.popitem()
cluster.reload(1)
print(popped, list(s), list(d), list(l), cluster.members[0].table.digest())
import hashlib
print(hashlib.md5(b"".join(entry.payload for entry in cluster.entries)).hexdigest())
"""


def test_nothing_depends_on_the_seed_of_hashes():
    support = str(Path(__file__).parents[2] / "support")
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT.format(support=support)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(outputs) == 1, outputs
