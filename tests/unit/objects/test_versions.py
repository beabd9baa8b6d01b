"""Versions of methods: which body runs is decided by the log, the same on every member."""

from typing import Any

import pytest
from images import as_value, image_of, join, with_fields
from local_cluster import LocalCluster

from syncstructs import ReplCounter
from syncstructs.codec import encode
from syncstructs.errors import (
    DecodeError,
    NodeFailed,
    NotReplicated,
    ObjectMismatch,
    VersionRefused,
)
from syncstructs.futures import Future
from syncstructs.objects import replicated as module
from syncstructs.objects import table as table_module
from syncstructs.objects.batches import encode_command, encode_group
from syncstructs.objects.context import current_context
from syncstructs.objects.port import Binding
from syncstructs.objects.replicated import Replicated, known_bodies, replicated
from syncstructs.objects.versions import RELEASE, body_name, split_bodies, split_body


def release(number: int) -> type[Any]:
    """Return the class as that release of the users' program has it."""

    class Stock(Replicated):
        # Made by users only: what a member makes by itself would have the newest class.
        _embeddable = False

        def __init__(self) -> None:
            self.left = 100
            self.runs: list[Any] = []

        @replicated
        def take(self, count: int) -> int:
            self.left -= count
            self.runs.append(("take", 1))
            return self.left

        @replicated
        def take_twice(self, count: int) -> int:
            self.take(count)
            return self.take(count)

        @replicated
        def note(self) -> None:
            self.runs.append(current_context().version)

        if number >= 2:

            @replicated(version=2)  # type: ignore[no-redef]
            def take(self, count: int) -> int:
                self.left -= min(count, self.left)
                self.runs.append(("take", 2))
                return self.left

            @replicated(version=2)
            def give(self, count: int) -> int:
                self.left += count
                self.runs.append(("give", 2))
                return self.left

        if number >= 3:

            @take.version(3)
            def take_3(self, count: int) -> int:
                self.left -= count + 1000
                self.runs.append(("take", 3))
                return self.left

        def on_session_expired(self, session: int) -> None:
            super().on_session_expired(session)
            self.take(1)

    Stock.__qualname__ = "Stock"
    return Stock


@pytest.fixture(autouse=True)
def imported(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Let the classes of a test be known to no other."""
    classes: dict[str, Any] = {}
    monkeypatch.setattr(module, "_classes", classes)
    return classes


@pytest.fixture
def cluster() -> LocalCluster:
    return LocalCluster(3, check=True)


def tell(cluster: LocalCluster, member: int, version: int, release: int = 1, **bodies: Any) -> None:
    cluster.members[member].system("know", version, release, bodies)


def start(cluster: LocalCluster, member: int, number: int) -> Any:
    """Do what a node with that release does as it starts; return its Stock."""
    stock = release(number)()
    version, bodies = known_bodies([type(stock)])
    cluster.members[member].system("know", version, 1, bodies)
    return cluster.attach_on(member, "stock", stock)


@pytest.fixture
def stocks(cluster: LocalCluster) -> list[Any]:
    """One on each member, all of release 2, in a cluster that is at version 1."""
    return [start(cluster, member, 2) for member in range(3)]


def type_of(number: int) -> str:
    return module.type_name(release(number))


def switch(cluster: LocalCluster, version: int, member: int = 0) -> None:
    cluster.members[member].system("set_version", version)


def in_force(cluster: LocalCluster) -> list[int]:
    return [member.table.versions.in_force for member in cluster.members]


# What a class declares


def test_a_class_has_all_bodies_that_stand_under_one_name() -> None:
    cls = release(3)
    assert sorted(cls._commands) == ["note", "take", "take_twice"]
    assert sorted(cls._later_bodies) == ["give:2", "take:2", "take:3"]
    assert cls._body_versions == {"give": (2,), "take": (1, 2, 3)}
    assert cls.take.name == "take"


def test_a_subclass_keeps_what_is_earlier_than_all_of_its_own_bodies() -> None:
    class Later(release(2)):  # type: ignore[misc]
        @replicated(version=3)
        def take(self, count: int) -> int:
            return 3

    class Earlier(release(2)):  # type: ignore[misc]
        @replicated
        def take(self, count: int) -> int:
            return 1

    class Hidden(release(2)):  # type: ignore[misc]
        take = None

    assert Later._body_versions["take"] == (1, 2, 3)
    assert "take" not in Earlier._body_versions
    assert "take:2" not in Earlier._later_bodies
    assert "take" not in Hidden._commands
    assert "take:2" not in Hidden._later_bodies


def test_the_body_of_another_class_under_that_name_is_no_earlier_version() -> None:
    class Other(Replicated):
        take = release(2).take

        @replicated
        def take(self) -> int:  # noqa: F811
            return 1

    assert Other._body_versions == {}
    assert sorted(Other._commands) == ["take"]


def test_what_makes_no_sense_in_a_class_is_refused_with_a_remedy() -> None:
    with pytest.raises(TypeError, match=r"second body of version 2.*give it a higher version"):

        class Twice(Replicated):
            @replicated(version=2)
            def take(self) -> None: ...

            @replicated(version=2)
            def take(self) -> None: ...  # noqa: F811

    with pytest.raises(TypeError, match=r"another name, such as take_2"):

        class Hides(Replicated):
            @replicated
            def take(self) -> None: ...

            @take.version(2)
            def take(self) -> None: ...

    for wrong in (0, -1, True, "2", 1.0, 10**9):
        with pytest.raises(ValueError, match=r"take\(\) has version .* whole numbers"):

            class Wrong(Replicated):
                @replicated(version=wrong)
                def take(self) -> None: ...

    with pytest.raises(TypeError, match="generator"):

        class Generates(Replicated):
            @replicated
            def take(self) -> Any: ...

            @take.version(2)
            def take_2(self) -> Any:
                yield


@pytest.mark.parametrize(
    "name", ["take:1", "take:0", "take:", "take:02", "take:x", "take:٢", "take:9999999", "a:2:3"]
)
def test_a_name_of_a_body_has_one_form(name: str) -> None:
    with pytest.raises(DecodeError):
        split_body(name)


def test_names_of_bodies_come_back() -> None:
    for version in (1, 2, 17, 1_000_000):
        assert split_body(body_name("take", version)) == ("take", version)
    assert split_bodies(["b:2", "a", "b", "a"]) == (["a", "b"], ["b:2"])


# What runs


def test_the_old_body_runs_until_the_switch_and_the_new_one_from_there_on(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    assert stocks[0].take(1) == 99
    switch(cluster, 2, member=1)
    assert in_force(cluster) == [2, 2, 2]
    assert stocks[2].take(500) == 0
    assert [stock.runs for stock in stocks] == [[("take", 1), ("take", 2)]] * 3


def test_calls_in_one_entry_with_the_switch_run_what_their_place_says(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    port = cluster.members[0]
    take = encode_command("stock", "take", (1,), {})
    kept = encode_command("stock", "take", (), {"count": 1})
    note = encode_command("stock", "note", (), {})
    turn = encode_command(0, "set_version", (2,), {})
    commands = [take, kept, note, turn, take, kept, note]
    first = port.sequence + 1
    port.pending = {first + i: Future(cluster) for i in range(len(commands))}
    port.sequence += len(commands)
    cluster.append(encode_group(port.session, first, len(commands), b"".join(commands)))
    one, two = ("take", 1), ("take", 2)
    assert stocks[1].runs == [one, one, 1, two, two, 2]
    assert cluster.digest_equal()


def test_a_batch_and_an_inline_call_run_the_body_in_force(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    def both() -> None:
        cluster.batch(1, [(stocks[1], "take", (1,)), (stocks[1], "take_twice", (1,))])

    both()
    switch(cluster, 2)
    both()
    assert stocks[2].runs == [("take", 1)] * 3 + [("take", 2)] * 3


def test_an_inline_call_of_an_object_that_is_attached_nowhere_runs_the_body_in_force(
    cluster: LocalCluster,
) -> None:
    class Owner(Replicated):
        def __init__(self) -> None:
            self.runs: list[Any] = []

        @replicated
        def take(self) -> None:
            helper = release(2)()
            helper.take(1)
            self.runs += helper.runs

    owners = cluster.attach("owner", Owner)
    for member in range(3):
        tell(cluster, member, 2)
    owners[0].take()
    switch(cluster, 2)
    owners[0].take()
    assert owners[1].runs == [("take", 1), ("take", 2)]


def derived(number: int) -> type[Any]:
    """Return a class that overrides a method and calls that of its base, by release."""

    class Noted(release(number)):  # type: ignore[misc]
        @replicated
        def take(self, count: int) -> int:
            self.runs.append("first")
            return super().take(count)  # type: ignore[no-any-return]

        if number >= 3:

            @take.version(3)
            def take_3(self, count: int) -> int:
                self.runs.append("third")
                return super().take(count)  # type: ignore[no-any-return]

    Noted.__qualname__ = "Noted"
    return Noted


def test_a_command_under_another_name_may_have_later_bodies(cluster: LocalCluster) -> None:
    class Base(Replicated):
        @replicated
        def add(self, number: int) -> int:
            return number

    class Derived(Base):
        plus = Base.add

        @replicated(version=2)  # type: ignore[no-redef]
        def plus(self, number: int) -> int:  # noqa: F811
            return 100 * number

    for member in range(3):
        cluster.members[member].system("know", 2, 1, known_bodies([Derived])[1])
    derived: Any = cluster.attach("derived", Derived)[0]
    assert (derived.plus(1), derived.add(1)) == (1, 1)
    switch(cluster, 2)
    assert (derived.plus(1), derived.add(1)) == (100, 1)
    assert Derived.plus.versions.keys() == {1, 2}
    assert Base.add.versions.keys() == {1}


def test_super_runs_the_body_in_force_in_each_class_that_has_the_command(
    cluster: LocalCluster,
) -> None:
    @replicated
    def add(self: Any, number: int) -> int:
        return number

    @add.version(2)
    def add_2(self: Any, number: int) -> int:
        return 100 * number

    def derived(name: str) -> type[Replicated]:
        class Derived(type(name, (Replicated,), {"add": add})):  # type: ignore[misc]
            @replicated
            def add(self, number: int) -> int:
                return super().add(number)  # type: ignore[no-any-return]

        Derived.__qualname__ = f"Derived{name}"
        return Derived

    made = [derived(name) for name in ("One", "Other")]
    for member in range(3):
        cluster.members[member].system("know", 2, 1, known_bodies(made)[1])
    objects: list[Any] = [cluster.attach(f"{number}", kind)[0] for number, kind in enumerate(made)]
    assert [one.add(1) for one in objects] == [1, 1]
    switch(cluster, 2)
    assert [one.add(1) for one in objects] == [100, 100]


@pytest.mark.parametrize("attached", [True, False])
def test_super_runs_the_body_in_force(cluster: LocalCluster, attached: bool) -> None:
    class Holder(Replicated):
        def __init__(self) -> None:
            self.runs: list[Any] = []

        @replicated
        def take(self, count: int) -> None:
            inner = derived(3)()
            inner.take(count)
            self.runs += inner.runs

    make = derived(3) if attached else Holder
    for member in range(3):
        cluster.members[member].system("know", 3, 1, known_bodies([make])[1])
    holders = cluster.attach("holder", make)
    for version in (1, 2, 3):
        switch(cluster, version)
        holders[0].take(1)
    one, two, three = ("take", 1), ("take", 2), ("take", 3)
    assert holders[1].runs == ["first", one, "first", two, "third", three]
    name = f"{module.type_name(derived(3).__mro__[1])}.take"
    for wrong in (name, f"{name}:2"):
        with pytest.raises(NotReplicated):
            cluster.members[0].call(Binding(cluster.members[0], "holder"), wrong, (1,), {})


def test_a_body_that_super_leads_to_must_not_lack(cluster: LocalCluster) -> None:
    new, old = derived(2), derived(1)
    old._later_bodies = {"give:2": new._later_bodies["give:2"]}
    for member, cls in enumerate((new, new, old)):
        cluster.attach_on(member, "noted", cls())
    for member in range(3):
        tell(cluster, member, 2)
    with pytest.raises(NodeFailed, match=r"version 2 of .*Stock\.take\(\)"):
        switch(cluster, 2)


def test_super_of_a_base_that_is_no_replicated_class_runs_the_first_body(
    cluster: LocalCluster,
) -> None:
    class Mixin:
        @replicated
        def take(self) -> None:
            self.runs.append(1)  # type: ignore[attr-defined]

        @replicated(version=2)
        def take(self) -> None:  # noqa: F811
            self.runs.append(2)  # type: ignore[attr-defined]

    class Mixed(Mixin, Replicated):
        def __init__(self) -> None:
            self.runs: list[Any] = []

        @replicated(version=2)
        def take(self) -> None:
            self.runs.append("own")
            super().take()

    for member in range(3):
        tell(cluster, member, 2)
    mixed = cluster.attach("mixed", Mixed)
    mixed[0].take()
    switch(cluster, 2)
    mixed[0].take()
    assert mixed[1].runs == [1, "own", 1]


def test_what_an_expiry_calls_runs_the_body_in_force(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    cluster.expire(2)
    cluster.members[2].open_session()
    switch(cluster, 2)
    cluster.expire(2)
    assert stocks[0].runs == [("take", 1), ("take", 2)]


def test_whoever_watches_an_object_is_told_of_the_method_and_not_of_its_body(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    told: list[Any] = cluster.members[0].news
    cluster.members[0].tell = lambda: None  # type: ignore[method-assign]
    stocks[0].subscribe(lambda change: None)
    switch(cluster, 2)
    stocks[1].take(3)
    assert [(change.method, change.args) for _, change in told] == [("take", (3,))]
    assert stocks[0].runs == [("take", 2)]


def test_a_new_method_is_refused_until_its_version_is_in_force(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    with pytest.raises(VersionRefused, match=r"give\(\) begins with version 2.*set_version\(2\)"):
        stocks[0].give(5)
    switch(cluster, 2)
    assert stocks[0].give(5) == 105
    with pytest.raises(NotReplicated):
        cluster.members[0].call(Binding(cluster.members[0], "stock"), "give:2", (1,), {})
    assert [stock.left for stock in stocks] == [105] * 3


# Who may switch, and when


def test_a_version_that_a_member_does_not_know_is_refused_and_the_member_is_named(
    cluster: LocalCluster,
) -> None:
    start(cluster, 0, 2)
    start(cluster, 1, 2)
    cluster.members[2].open_session()
    with pytest.raises(VersionRefused, match=r"version 2 is not known to member2:1 \(up to 1\)"):
        switch(cluster, 2)
    assert in_force(cluster) == [1, 1, 1]
    tell(cluster, 2, 2)
    switch(cluster, 2)
    assert in_force(cluster) == [2, 2, 2]


def test_who_counts_are_those_who_are_to_have_a_vote(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    names = [member.address for member in cluster.members]
    cluster.members[0].system("change_members", [], [], [*names, "absent:1"])
    with pytest.raises(VersionRefused, match=r"absent:1 \(up to 1\)"):
        switch(cluster, 2)
    cluster.members[0].system("change_members", [], ["absent:1"], None)
    switch(cluster, 2)


def test_a_node_that_has_begun_another_life_has_to_say_again_what_it_knows(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    opening = ("member1:1", 77, 1, 10.0)
    cluster.append(encode_group(0, 0, 1, encode_command(0, "open_session", opening, {})))
    with pytest.raises(VersionRefused, match=r"member1:1 \(up to 1\)"):
        switch(cluster, 2)


def test_a_node_whose_session_has_expired_is_known_to_know_what_it_said(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    cluster.expire(1)
    stocks[1].take(1)
    switch(cluster, 2)


def test_versions_go_up_only_and_the_same_once_more_is_no_error(
    cluster: LocalCluster,
) -> None:
    for member in range(3):
        start(cluster, member, 3)
    switch(cluster, 3)
    switch(cluster, 3)
    with pytest.raises(VersionRefused, match="cannot be taken back"):
        switch(cluster, 2)
    assert in_force(cluster) == [3, 3, 3]


@pytest.mark.parametrize("version", [0, -1, 10**7, "2", None, 2.0])
def test_a_version_that_is_none_is_refused(cluster: LocalCluster, version: Any) -> None:
    with pytest.raises(DecodeError):
        switch(cluster, version)


@pytest.mark.parametrize(
    "said",
    [
        (0, 1, {}), (1, 0, {}), (10**7, 1, {}), (2, 1, {"Stock": "take:2"}), (2, 1, {5: ["a:2"]}),
        (2, 1, {"Stock": [5]}), (2, 1, {"Stock": ["take:x"]}), ("2", 1, {}), (2, 1), (),
    ],
)  # fmt: skip
def test_what_no_correct_node_says_of_its_bodies_is_refused(
    cluster: LocalCluster, said: tuple[Any, ...]
) -> None:
    with pytest.raises(DecodeError):
        cluster.members[0].system("know", *said)
    assert cluster.members[0].table.versions.state() is None


def test_a_body_that_comes_late_is_refused_instead_of_stopping_those_who_lack_it(
    cluster: LocalCluster,
) -> None:
    stocks = [start(cluster, member, 2) for member in range(2)]
    cluster.drop(0, "stock")
    start(cluster, 0, 2)
    for member in range(3):
        tell(cluster, member, 5)
    switch(cluster, 5)
    late = release(3)()
    with pytest.raises(ObjectMismatch, match=r"take\(\) has a body of version 3.*version 5"):
        cluster.attach_on(2, "stock", late)
    assert late._binding is None
    with pytest.raises(ObjectMismatch):
        cluster.members[2].system("know", 5, 1, known_bodies([type(late)])[1])
    assert stocks[0].runs == []


def test_a_class_that_nobody_had_may_come_with_bodies_of_a_version_in_force(
    cluster: LocalCluster,
) -> None:
    for member in range(3):
        tell(cluster, member, 5)
    switch(cluster, 5)
    stocks = [start(cluster, member, 3) for member in range(3)]
    stocks[0].take(1)
    assert stocks[1].runs == [("take", 3)]


def test_a_class_that_others_have_in_its_first_form_may_not(cluster: LocalCluster) -> None:
    for member in range(2):
        tell(cluster, member, 5, **{type_of(1): []})
    tell(cluster, 2, 5)
    switch(cluster, 5)
    with pytest.raises(ObjectMismatch, match=r"give\(\) has a body of version 2.*version 5"):
        start(cluster, 2, 2)
    assert start(cluster, 2, 1).take(1) == 99


def test_a_member_that_knows_the_version_by_another_class_only_is_named(
    cluster: LocalCluster,
) -> None:
    other = {"app.Other": ["do:2"]}
    newest = {type_of(2): ["give:2", "take:2"]}
    stocks = [start(cluster, 0, 2), start(cluster, 1, 1), start(cluster, 2, 2)]
    tell(cluster, 0, 2, **other)
    tell(cluster, 1, 2, **{type_of(1): []}, **other)
    for member in range(3):
        assert in_force(cluster)[member] == 1
        with pytest.raises(
            VersionRefused, match=r"member1:1 \(its .*Stock lacks version 2 of give\(\)\)"
        ):
            switch(cluster, 2)
    cluster.reload(0)
    with pytest.raises(VersionRefused, match=r"member1:1"):
        switch(cluster, 2)
    # What it has not, such as Late, it need not have.
    tell(cluster, 0, 2, **{"app.Late": ["do:2"]})
    tell(cluster, 1, 2, **newest)
    with pytest.raises(NodeFailed, match="does not have"):
        switch(cluster, 2)
    assert stocks[0].runs == []


def test_what_a_process_has_is_told_with_the_classes_that_have_no_versions(
    imported: dict[str, Any],
) -> None:
    imported.update(first=release(1), counter=ReplCounter)
    assert known_bodies() == (1, {})
    other = release(2)
    other.__qualname__ = "Other"
    version, bodies = known_bodies([other])
    assert version == 2
    assert bodies == {type_of(1): [], module.type_name(other): ["give:2", "take:2"]}


# Members that lack something


def test_a_member_that_lacks_a_body_stops_as_it_is_put_in_force(cluster: LocalCluster) -> None:
    start(cluster, 0, 2)
    start(cluster, 1, 2)
    old = start(cluster, 2, 1)
    tell(cluster, 2, 2)  # It lies, or this class is of another release than the rest.
    with pytest.raises(NodeFailed, match=r"Stock.*runs version 2 of take\(\).*does not have"):
        switch(cluster, 2)
    assert old.runs == []
    with pytest.raises(NodeFailed):
        cluster.members[2].table.image()


def test_an_older_node_that_joins_after_the_switch_stops_before_it_has_the_object(
    cluster: LocalCluster,
) -> None:
    stocks = [start(cluster, member, 2) for member in range(2)]
    tell(cluster, 2, 2)
    switch(cluster, 2)
    old = release(1)()
    newcomer = cluster.members[2].new_table()
    newcomer.offer("stock", old)
    with pytest.raises(NodeFailed, match=r"version 2 of take\(\)"):
        newcomer.restore(cluster.members[0].table.image())
    with pytest.raises(NodeFailed, match=r"version 2 of take\(\)"):
        cluster.attach_on(2, "stock", release(1)())
    assert stocks[0].left == 100


def test_an_older_class_that_a_member_knows_by_import_stops_it_too(
    cluster: LocalCluster, imported: dict[str, Any]
) -> None:
    start(cluster, 0, 2)
    for member in (1, 2):
        tell(cluster, member, 2)
    switch(cluster, 2)
    old = release(1)
    old._embeddable = True
    imported[module.type_name(old)] = old
    with pytest.raises(NodeFailed, match=r"version 2 of take\(\)"):
        cluster.members[2].new_table().restore(cluster.members[0].table.image())


# Detached objects, and images


def test_a_detached_object_catches_up_with_the_bodies_of_the_time(cluster: LocalCluster) -> None:
    stocks = [start(cluster, member, 3) for member in range(2)]
    tell(cluster, 2, 3)
    for version in (1, 2, 3):
        switch(cluster, version)
        stocks[0].take(1)
        stocks[0].take_twice(1)
        stocks[0].note()
        cluster.members[1].open_session()
        cluster.members[2].table.restore(list(cluster.members[2].table.image()))
    late = start(cluster, 2, 3)
    assert late.runs == stocks[0].runs
    assert {run for run in late.runs if isinstance(run, int)} == {1, 2, 3}
    assert late.left == stocks[0].left


def test_a_kept_command_whose_body_the_class_lacks_stops_that_member(
    cluster: LocalCluster,
) -> None:
    stocks = [start(cluster, member, 2) for member in range(2)]
    tell(cluster, 2, 2)
    switch(cluster, 2)
    stocks[0].take_twice(1)
    with pytest.raises(NodeFailed, match=r"version 2 of"):
        cluster.attach_on(2, "stock", release(1)())


def test_a_body_that_was_dropped_too_early_stops_a_member_that_has_to_catch_up_with_it(
    cluster: LocalCluster,
) -> None:
    stocks = [start(cluster, member, 3) for member in range(2)]
    tell(cluster, 2, 3)
    switch(cluster, 2)
    stocks[0].take_twice(1)
    switch(cluster, 3)
    dropped = release(3)
    later = dropped._later_bodies
    dropped._later_bodies = {name: later[name] for name in later if name != "take:2"}
    dropped._body_versions = {"give": (2,), "take": (1, 3)}
    with pytest.raises(NodeFailed, match=r"version 2 of take\(\)"):
        cluster.attach_on(2, "stock", dropped())


def test_a_digest_tells_who_differs_in_versions(cluster: LocalCluster, stocks: list[Any]) -> None:
    table = cluster.members[0].table
    before = table.digest()
    table.versions.know("absent:1", 2, 1, {})
    assert table.digest() != before


def test_an_image_tells_the_version_the_bodies_and_who_knows_what(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    switch(cluster, 2)
    before = cluster.members[0].table
    cluster.reload(0)
    stocks[0].take(1)
    assert stocks[0].runs == stocks[1].runs == [("take", 2)]
    fresh = cluster.members[0].new_table()
    image = image_of(before)
    fresh.restore([image])
    assert fresh.versions.state() == before.versions.state()
    assert image_of(fresh) == image
    fresh._check()


def test_an_image_that_does_not_tell_the_versions_is_not_read(cluster: LocalCluster) -> None:
    start(cluster, 0, 1)
    tell(cluster, 0, 2)
    table = cluster.members[0].table
    fields = as_value(image_of(table), 2)
    del fields["versions"]
    for image in (encode(fields), join([encode(fields | {"version": 3})])):
        with pytest.raises(NodeFailed, match="cannot be read"):
            table.restore([image])


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_part_of_an_image_that_this_release_does_not_know_is_not_overlooked(
    cluster: LocalCluster, version: int
) -> None:
    tell(cluster, 0, 2)
    image = image_of(cluster.members[0].table)
    if version < 3:
        image = encode(as_value(image, version) | {"moreover": 5})
    else:
        image = with_fields(image, moreover=5)
    with pytest.raises(NodeFailed, match=r"'moreover' is no part of format"):
        cluster.members[0].table.restore([image])


# Later releases of this library

NEWER = [
    encode_command(0, "swap", ("a", "b"), {}),
    encode_command(0, "drop", ("stock", True), {}),
    encode_command(0, "set_version", (2, "at once"), {}),
    encode_command(0, "change_members", ([5], [], None), {}),
    encode(["stock", "take", [1], {}, "quietly"]),
    encode({"target": "stock"}),
    b"\xc1",
]


@pytest.mark.parametrize("command", NEWER)
def test_what_a_later_release_may_understand_stops_a_member_that_does_not(
    cluster: LocalCluster, stocks: list[Any], command: bytes
) -> None:
    tell(cluster, 1, 2, release=RELEASE + 1)
    digest = cluster.members[0].table.digests()
    with pytest.raises(NodeFailed, match="later release"):
        cluster.members[0].send(command)
    assert cluster.members[0].table.digests() == digest


@pytest.mark.parametrize("command", NEWER)
def test_what_nobody_understands_is_refused_by_all(
    cluster: LocalCluster, stocks: list[Any], command: bytes
) -> None:
    error = cluster.members[0].send(command).exception()
    assert isinstance(error, DecodeError | NotReplicated), error
    assert stocks[0].take(1) == 99
    assert cluster.digest_equal()


def test_a_payload_that_a_later_release_may_understand_stops_a_member(
    cluster: LocalCluster, stocks: list[Any]
) -> None:
    cluster.append(b"groups of another layout")
    tell(cluster, 1, 2, release=RELEASE + 1)
    with pytest.raises(NodeFailed, match="later release"):
        cluster.append(b"groups of another layout")
    with pytest.raises(NodeFailed, match="was not applied"):
        cluster.members[0].table.image()


def test_a_later_release_may_say_more_of_itself(cluster: LocalCluster) -> None:
    cluster.members[0].system("know", 3, 2, {"Stock": ["take:3"]}, "and more")
    assert cluster.members[1].table.versions.newest_release == 2


def test_a_member_of_the_latest_release_goes_on(
    cluster: LocalCluster, stocks: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table_module, "RELEASE", RELEASE + 1)
    tell(cluster, 1, 2, release=RELEASE + 1)
    with pytest.raises(NotReplicated):
        cluster.members[0].system("swap", "a", "b")


def test_what_observers_knew_is_forgotten_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncstructs.objects.sessions._OBSERVERS_MAX", 1)
    cluster = LocalCluster(1)
    (member,) = cluster.members
    table = member.table

    def ask(method: str, *args: object) -> None:
        cluster.append(encode_group(0, 0, 1, encode_command(0, method, args, {})))

    for number in (1, 2):
        ask("open_session", f"observer-{number}", 1, 1, 5.0)
        session = table.sessions.of_address(f"observer-{number}")
        assert session is not None
        know = encode_command(0, "know", (2, 3 + number, {}), {})
        cluster.append(encode_group(session, 1, 1, know))
        ask("expire_session", session)
    assert list(table.versions._told) == ["observer-2"], "it may come back, and say it no more"


def test_what_all_nodes_read_is_what_the_oldest_of_them_reads(cluster: LocalCluster) -> None:
    first, second = cluster.members[:2]
    del cluster.members[2:]
    seen: list[int] = []

    def look() -> None:
        cluster.renew(1)
        seen.append(*{member.table.read_by_all for member in cluster.members})

    second.open_session()
    tell(cluster, 0, 1, release=3)
    look()
    tell(cluster, 1, 1, release=2)
    look()
    tell(cluster, 1, 1, release=3)
    look()
    # Members count that have told nothing, connected or not; and other nodes with a session.
    first.system("change_members", [first.address, "third:1"], [], None)
    look()
    first.system("change_members", [], ["third:1"], None)
    look()
    opening = ("observer:1", 1, 1, 10.0)
    cluster.append(encode_group(0, 0, 1, encode_command(0, "open_session", opening, {})))
    look()
    observer = first.table.sessions.of_address("observer:1")
    cluster.append(encode_group(0, 0, 1, encode_command(0, "expire_session", (observer,), {})))
    look()
    # Another life of a node that had told.
    second.session, opening = 0, (second.address, 2, 1, 10.0)
    cluster.append(encode_group(0, 0, 1, encode_command(0, "open_session", opening, {})))
    look()
    assert seen == [1, 2, 3, 1, 3, 1, 3, 1]
