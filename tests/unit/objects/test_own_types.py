"""What the README's page on own types promises: a class has what ours have, by public names."""

import re
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from local_cluster import LocalCluster

import syncstructs
from syncstructs import ReplDict, Replicated, bound, reading, replicated
from syncstructs.errors import ConfigError, NotAttached
from syncstructs.objects.pickling import allow_pickles, enclosed, revealed
from syncstructs.pickled import Pickled

README = Path(__file__).parents[3] / "README.md"


def class_of_readme(name):
    """Return a class that the README shows."""
    text = README.read_text(encoding="utf-8")
    body = re.search(rf"class {name}\(Replicated\):\n(?:    .*\n|\n)+", text)
    names = dict(vars(syncstructs))
    exec(body[0], names)
    return names[name]


class Named(ReplDict):
    """Has a command of its base under another name as well."""

    put = ReplDict.set


class Doubled(ReplDict):
    """Has the command of its base under another name, as its own name is something else."""

    put = ReplDict.set

    def set(self, key, value):
        self.put(key, 2 * value)


class Logged(ReplDict):
    """Has the command of its base under another name, as its own name is another command."""

    put = ReplDict.set

    @replicated
    def set(self, key, value):
        super().set(key, value)
        super().set("log", key)


@pytest.fixture
def cluster():
    return LocalCluster(2)


@pytest.fixture
def rooms(cluster):
    made = class_of_readme("Rooms")
    return cluster.attach("rooms", lambda: made(["a", "b"]))


def test_rooms_of_a_session_that_expires_are_let_to_who_waits(cluster, rooms):
    mine, yours = rooms
    assert [mine.take(), mine.take()] == ["a", "b"]
    waiting = yours.take.submit()
    cluster.expire(0)
    assert waiting.result() == "a"
    assert [repr(room) for room in rooms] == ["<1 let, 1 free>"] * 2


def test_who_waits_waits_anew_in_another_session(cluster, rooms):
    mine, yours = rooms
    room = mine.take()
    mine.take()
    waiting = yours.take.submit()
    cluster.expire(1)
    mine.leave(room)
    assert waiting.result() == room


def test_a_room_that_nobody_is_there_to_take_is_free_again(rooms):
    mine, yours = rooms
    mine.take()
    room = mine.take()
    waiting = yours.take.submit()
    assert waiting.cancel()
    mine.leave(room)
    assert mine.take() == room


def test_a_room_that_came_as_its_await_was_cancelled_is_free_again(rooms):
    mine, yours = rooms
    waiting = mine.take.submit()
    assert waiting.result() == "a"
    waiting.unclaimed("a")
    assert repr(yours) == "<0 let, 2 free>"


def test_what_is_attached_anew_is_let_to_nobody(cluster, rooms):
    mine, _ = rooms
    mine.take()
    cluster.drop(0, "rooms")
    cluster.attach_on(1, "again", mine)
    assert repr(mine) == "<0 let, 2 free>"


def test_whoever_comes_too_late_to_leave_a_room_leaves_that_of_nobody_else(cluster, rooms):
    mine, yours = rooms
    room = mine.take()
    cluster.expire(0)
    assert [yours.take(), yours.take()] == ["b", room]
    mine.leave(room)
    assert repr(yours) == "<2 let, 0 free>"


def test_nothing_is_applied_while_an_object_is_read(cluster, rooms):
    for member, room in zip(cluster.members, rooms, strict=True):
        assert reading(room) is bound(room).port.reading is member.reading


def test_what_is_attached_nowhere_can_be_read_and_has_no_node():
    alone = class_of_readme("Rooms")(["a"])
    assert repr(alone) == "<0 let, 1 free>"
    with pytest.raises(NotAttached):
        bound(alone)


class Shelf(Replicated):
    """Holds one value of any class."""

    VALUES_IN: ClassVar = {"put": {0: enclosed, "value": enclosed}, "swap": {0: enclosed}}
    VALUES_OUT = frozenset({"swap"})

    def __init__(self):
        self.value = None
        allow_pickles(self)

    @replicated
    def put(self, value):
        self.value = value

    @replicated
    def swap(self, value):
        former, self.value = self.value, value
        return former

    def look(self):
        with reading(self):
            return revealed(self, self.value)


def test_values_of_any_class_go_in_and_out_of_own_types(cluster):
    mine, yours = cluster.attach("shelf", Shelf)
    mine.put(Counter("aab"))
    assert yours.look() == Counter("aab")
    assert type(yours.value) is Pickled, "the state itself is as it is on all members"
    assert yours.swap.submit(value := {1: Counter("b")}).result() == Counter("aab")
    assert mine.look() == value


def test_values_of_any_class_need_a_cluster_with_a_secret(cluster):
    for port in cluster.members:
        port.authenticates = False
    with pytest.raises(ConfigError, match="pickle=True"):
        cluster.attach("shelf", Shelf)


def test_another_name_in_a_subclass_leaves_the_command_what_it_is(cluster):
    named, plain = cluster.attach("named", Named)[0], cluster.attach("plain", ReplDict)[0]
    named.put("a", 1)
    named.set("b", 2)
    named["c"] = 3
    plain.set("d", 4)
    plain["e"] = 5
    assert named == {"a": 1, "b": 2, "c": 3}
    assert plain == {"d": 4, "e": 5}
    assert cluster.digest_equal()


def test_a_command_under_another_name_is_itself_whatever_has_its_first_name(cluster):
    doubled, logged = cluster.attach("doubled", Doubled)[0], cluster.attach("logged", Logged)[0]
    doubled.put("a", 1)
    doubled.set("b", 1)
    doubled["c"] = 1
    assert doubled == {"a": 1, "b": 2, "c": 2}
    logged.put("a", 1)
    assert logged == {"a": 1}
    logged.set("b", 1)
    assert logged == {"a": 1, "b": 1, "log": "b"}


def test_a_command_may_be_in_several_classes_under_names_of_theirs(cluster):
    @replicated
    def add(self, number):
        self.number += number
        return self.number

    class One(Replicated):
        number = 0
        plus = add

    class Other(Replicated):
        number = 10
        more = add
        still_more = add

    one, other = cluster.attach("one", One)[0], cluster.attach("other", Other)[0]
    assert (one.plus(1), other.more(1), other.still_more(1)) == (1, 11, 12)


def test_a_body_is_added_to_no_command_of_a_class_that_is_complete():
    with pytest.raises(TypeError, match=r"ReplDict\.set\(\) is complete, and .* @replicated\(ver"):

        class Later(ReplDict):
            @ReplDict.set.version(2)
            def set_2(self, key, value): ...


def test_a_command_under_another_name_takes_and_returns_the_same_values():
    class Named(ReplDict):
        put, take = ReplDict.set, ReplDict.pop

    class Renamed(Named):
        place = Named.put

    class Said(Named):
        VALUES_IN: ClassVar = {**ReplDict.VALUES_IN, "put": {0: enclosed}}

        @replicated
        def take(self, key): ...

    class Base(Replicated):
        @replicated
        def swap(self, one, other): ...

    class First(Base):
        VALUES_IN: ClassVar = {"swap": {1: enclosed}}
        put = Base.swap

    class Own(ReplDict):
        VALUES_IN: ClassVar = {**ReplDict.VALUES_IN, "set": {0: enclosed}}
        put = ReplDict.set

        @replicated
        def set(self, value, key): ...

    for kind, place in ((Named, 1), (Renamed, 1), (Said, 0), (First, 1), (Own, 1)):
        assert place in kind.put.places_in(kind)
        assert kind.put.places_in(kind).keys() ^ {place} <= {"value"}
    assert Renamed.place.places_in(Renamed) == ReplDict.VALUES_IN["set"]
    assert Renamed.take.returns_values_in(Renamed)
    assert not Said.take.returns_values_in(Said)


def test_a_command_under_another_name_hides_nothing_of_other_bases(cluster):
    class Named(ReplDict):
        take = ReplDict.pop

    class Peeking(ReplDict):
        VALUES_OUT = ReplDict.VALUES_OUT | {"first"}

        @replicated
        def first(self):
            return next(iter(self._items.values()))

    class Both(Named, Peeking): ...

    both = cluster.attach("both", lambda: Both(pickle=True))[0]
    both["a"] = Counter("a")
    assert (both.first(), both.take("a")) == (Counter("a"), Counter("a"))


def test_two_names_of_a_command_in_one_class_are_two_commands(cluster):
    class Base(Replicated):
        number = 0

        @replicated
        def add(self, number):
            self.number += number
            return self.number

        plus = add

    class Derived(Base):
        @replicated
        def plus(self, number):
            return -number

    derived = cluster.attach("derived", Derived)[0]
    assert (derived.add(1), derived.plus(1), derived.number) == (1, -1, 1)


def test_a_command_of_a_plain_class_has_an_owner_where_that_is_replicated():
    class Plain:
        @replicated
        def add(self, number): ...

        plus = add

    class Whole(Plain, Replicated):
        more = Plain.add

    assert (Plain.add.owner, Plain.plus.owner, Whole.more.owner) == (None, None, Whole)
