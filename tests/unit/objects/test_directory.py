"""Objects by name: attaching, creating and dropping, with and without an instance here."""

import logging
from typing import Any, ClassVar

import pytest
from local_cluster import DETACHED_BYTES, LocalCluster

from syncstructs.errors import (
    NodeFailed,
    NotAttached,
    NotReplicated,
    ObjectExists,
    ObjectMismatch,
    ObjectNotFound,
    ResultLost,
)
from syncstructs.objects.context import current_context
from syncstructs.objects.port import Binding
from syncstructs.objects.replicated import Replicated, attach_arguments, replicated
from syncstructs.objects.waiters import Waiters


class Shelf(Replicated):
    """Plain enough to be made by any member that knows the class."""

    def __init__(self, size: int = 0) -> None:
        self.size = size
        self.items: list[Any] = []
        self.waiting = Waiters()

    def options(self) -> dict[str, object]:
        return {"size": self.size}

    @replicated
    def put(self, item: Any) -> int:
        self.items.append(item)
        return len(self.items)

    @replicated
    def draw(self) -> None:
        c = current_context()
        self.items.append((c.index, c.time, c.serial, c.session, c.sequence, c.random.random()))

    @replicated
    def fail(self, item: Any) -> None:
        self.items.append(item)
        raise LookupError(item)

    @replicated
    def wait(self, ticket: int) -> Any:
        return self.waiting.park(ticket)

    @replicated
    def serve(self) -> None:
        self.waiting.serve(len(self.items))

    def on_session_expired(self, session: int) -> None:
        super().on_session_expired(session)
        self.items.append(("expired", session, current_context().random.random()))


class Private(Shelf):
    """Only its own program can make an instance, as of a SyncObj."""

    _embeddable: ClassVar[bool] = False


class Shy(Shelf):
    """Its constructor needs more than the cluster knows."""

    def __init__(self, callback: object, size: int = 0) -> None:
        super().__init__(size)


class Stubborn(Shelf):
    """Refuses all state."""

    def restore_state(self, state: Any) -> None:
        raise ValueError("no")


@pytest.fixture
def cluster() -> LocalCluster:
    return LocalCluster(3, check=True)


def instance(cluster: LocalCluster, member: int, name: str = "shelf") -> Any:
    return cluster.members[member].table.objects[name]


# Attaching


def test_what_one_member_attaches_is_seen_on_all(cluster: LocalCluster) -> None:
    cluster.attach_on(0, "shelf", Shelf(7)).put("x")
    assert instance(cluster, 1).items == ["x"]
    assert instance(cluster, 1).size == 7
    assert instance(cluster, 2).put("y") == 2


def test_attaching_brings_the_state_that_the_first_instance_had(cluster: LocalCluster) -> None:
    first = Shelf()
    first.items.append("before")
    cluster.attach_on(0, "shelf", first)
    second = Shelf()
    second.items.append("ignored")
    cluster.attach_on(1, "shelf", second)
    assert [instance(cluster, i).items for i in range(3)] == [["before"]] * 3
    assert instance(cluster, 1) is second


def test_an_instance_attached_later_takes_over_and_the_one_before_is_unbound(
    cluster: LocalCluster,
) -> None:
    cluster.attach_on(0, "shelf", Shelf()).put("x")
    made = instance(cluster, 1)
    mine = cluster.attach_on(1, "shelf", Shelf())
    assert instance(cluster, 1) is mine
    mine.put("y")
    assert mine.items == instance(cluster, 0).items == ["x", "y"]
    with pytest.raises(NotAttached):
        made.put("z")


def test_attaching_the_same_again_changes_nothing(cluster: LocalCluster) -> None:
    handles = cluster.attach("shelf", Shelf)
    handles[0].put("x")
    for member in cluster.members:
        member.system("attach", *attach_arguments("shelf", Shelf()))
    assert [instance(cluster, i) for i in range(3)] == handles
    assert handles[2].items == ["x"]


def test_another_type_or_other_options_are_refused_and_both_are_named(
    cluster: LocalCluster,
) -> None:
    cluster.attach_on(0, "shelf", Shelf(3))
    with pytest.raises(ObjectMismatch, match=r"Shelf\(size=3\).*Shelf\(size=4\)"):
        cluster.attach_on(1, "shelf", Shelf(4))
    other = Private(3)
    with pytest.raises(ObjectMismatch, match=r"Shelf\(size=3\).*Private\(size=3\)"):
        cluster.attach_on(1, "shelf", other)
    assert other._binding is None
    assert instance(cluster, 1).size == 3


def test_an_instance_cannot_be_offered_twice_nor_two_under_one_name(cluster: LocalCluster) -> None:
    table = cluster.members[0].table
    waiting = Shelf()
    table.offer("a", waiting)
    with pytest.raises(ObjectExists, match="'a'"):
        table.offer("b", waiting)
    with pytest.raises(ObjectExists, match="another object waits"):
        table.offer("a", Shelf())
    table.withdraw("a")
    table.offer("b", waiting)
    cluster.members[0].system("attach", *attach_arguments("b", waiting))
    table.withdraw("b")
    assert waiting._binding is not None, "an attached instance cannot be withdrawn"


def test_calls_may_name_the_object_until_its_id_is_known(cluster: LocalCluster) -> None:
    waiting = Shelf()
    cluster.members[0].table.offer("shelf", waiting)
    with pytest.raises(ObjectNotFound, match="'shelf'"):
        waiting.put("too early")
    cluster.attach_on(1, "shelf", Shelf())
    assert waiting.put("x") == 1
    assert instance(cluster, 0) is waiting
    assert isinstance(waiting._binding.target, int)


def test_an_instance_that_refuses_the_state_stays_out_and_its_member_is_told(
    cluster: LocalCluster,
) -> None:
    cluster.attach_on(0, "shelf", Shelf()).put("x")
    stubborn = Stubborn()
    with pytest.raises(ValueError, match="no"):
        cluster.attach_on(1, "other", stubborn)
    assert stubborn._binding is None
    assert [list(m.table.objects) for m in cluster.members] == [["shelf"]] * 3
    cluster.drop(2, "other")


def test_an_offered_instance_that_refuses_a_state_goes_on_waiting(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    table, stubborn = cluster.members[1].table, Stubborn()
    table.offer("shelf", stubborn)
    with caplog.at_level(logging.CRITICAL):
        cluster.members[0].system("attach", *attach_arguments("shelf", stubborn))
        cluster.reload(1)
    assert dict(table.objects) == {}
    assert stubborn._binding.target == "shelf", "it was given no id"
    table._check()


# Creating and dropping


def test_what_one_member_creates_is_made_on_all(cluster: LocalCluster) -> None:
    created = cluster.create(1, "shelf", Shelf, 5)
    created.put("x")
    assert [instance(cluster, i).items for i in range(3)] == [["x"]] * 3
    assert instance(cluster, 0).size == 5


def test_creating_the_same_again_gives_what_is_there(cluster: LocalCluster) -> None:
    cluster.create(0, "shelf", Shelf, 5).put("x")
    assert cluster.create(1, "shelf", Shelf, 5).items == ["x"]
    with pytest.raises(ObjectExists, match="already"):
        cluster.create(1, "shelf", Shelf, 6)
    with pytest.raises(ObjectExists, match="already"):
        cluster.create(1, "shelf", Private, 5)


def test_a_dropped_object_is_gone_on_all_members(cluster: LocalCluster) -> None:
    handles = cluster.attach("shelf", Shelf)
    binding = handles[1]._binding
    cluster.drop(2, "shelf")
    assert [dict(m.table.objects) for m in cluster.members] == [{}, {}, {}]
    for handle in handles:
        with pytest.raises(ObjectNotFound, match="'shelf' was dropped"):
            handle.put("x")
        with pytest.raises(ObjectNotFound, match="'shelf' was dropped"):
            handle.put.submit("x")
    with pytest.raises(ObjectNotFound):
        cluster.members[1].call(binding, "put", ("x",), {})
    with pytest.raises(ObjectNotFound):
        cluster.drop(0, "shelf")


def test_what_was_dropped_may_be_attached_anew_and_its_state_knows_nothing_of_it(
    cluster: LocalCluster,
) -> None:
    (handle, *_) = cluster.attach("shelf", Shelf)
    before = handle.snapshot_state()
    cluster.drop(2, "shelf")
    assert handle.snapshot_state() == before
    cluster.members[0].table.offer("other", handle)
    cluster.members[0].system("attach", *attach_arguments("other", handle))
    assert handle.put("x") == 1
    assert cluster.digest_equal()


def test_what_is_dropped_before_its_own_attach_comes_is_attached_by_that(
    cluster: LocalCluster,
) -> None:
    """A log that is applied again after a start, or what others did meanwhile, comes before it."""
    cluster.attach_on(0, "shelf", Shelf()).put("of a former life")
    table = cluster.members[1].table
    mine = Shelf()
    table.offer("shelf", mine)
    table.restore(list(cluster.members[0].table.image()))
    assert table.objects == {"shelf": mine}
    assert mine.items == ["of a former life"]
    cluster.drop(0, "shelf")
    table._check()
    assert table.objects == {}
    cluster.members[1].system("attach", *attach_arguments("shelf", Shelf()))
    assert table.objects == {"shelf": mine}
    assert mine.items == []
    mine.put("x")
    assert instance(cluster, 0).items == ["x"]
    cluster.drop(0, "shelf")
    with pytest.raises(ObjectNotFound, match="was dropped"):
        mine.put("y")


def test_an_image_with_another_object_of_that_name_fills_what_waits_for_its_attach(
    cluster: LocalCluster,
) -> None:
    cluster.attach_on(0, "shelf", Shelf()).put("old")
    cluster.attach_on(0, "box", Shelf())
    table = cluster.members[1].table
    mine, box = Shelf(), Shelf()
    table.offer("shelf", mine)
    table.offer("box", box)
    behind = cluster.members.pop(1)
    table.restore(list(cluster.members[0].table.image()))
    assert table.objects == {"shelf": mine, "box": box}
    cluster.drop(0, "shelf")
    cluster.drop(0, "box")
    cluster.create(0, "shelf", Shelf).put("new")
    table.restore(list(cluster.members[0].table.image()))
    cluster.members.append(behind)
    assert table.objects == {"shelf": mine}
    assert mine.items == ["new"]
    table.withdraw("shelf")
    table.withdraw("box")
    mine.put("x")
    with pytest.raises(NotAttached):
        box.put("x")
    assert cluster.digest_equal()


def test_what_a_class_gives_out_as_its_state_is_sent_as_it_was(cluster: LocalCluster) -> None:
    class Live(Shelf):
        LOCAL = frozenset({"items", "size", "waiting"})

        def snapshot_state(self) -> object:
            return self.items

        def restore_state(self, state: Any) -> None:
            self.items[:] = state

    mine = Live()
    mine.items.append("first")
    arguments = attach_arguments("shelf", mine)
    mine.restore_state(["of a former life"])
    cluster.members[0].system("attach", *arguments)
    assert instance(cluster, 1).items == ["first"]


def test_dropping_ends_the_calls_that_wait_in_the_object(cluster: LocalCluster) -> None:
    handles = cluster.attach("shelf", Shelf)
    futures = [handle.wait.submit(1) for handle in handles]
    cluster.drop(0, "shelf")
    for future in futures:
        with pytest.raises(ObjectNotFound, match="was dropped"):
            future.result(0)


def test_a_name_used_again_is_another_object(cluster: LocalCluster) -> None:
    first = cluster.create(0, "shelf", Shelf)
    old_id = first._binding.target
    first.put("x")
    cluster.drop(0, "shelf")
    second = cluster.create(1, "shelf", Shelf)
    assert second.items == []
    assert second._binding.target > old_id


# Detached


@pytest.mark.parametrize("kind", [Private, lambda: Shy(None)])
def test_an_object_that_is_detached_here_catches_up_when_it_is_attached(
    cluster: LocalCluster, kind: Any
) -> None:
    handle = cluster.attach_on(0, "shelf", kind())
    cluster.attach_on(0, "other", Shelf()).draw()
    handle.put("x")
    handle.draw()
    with pytest.raises(LookupError):
        handle.fail("y")
    waits = [handle.wait.submit(i) for i in range(2)]
    handle.serve()
    cluster.expire(0)
    handle.put("z")
    handle.draw()
    assert [w.exception(0) is None for w in waits] == [True, False]
    assert "shelf" not in cluster.members[1].table.objects
    late = [cluster.attach_on(i, "shelf", kind()) for i in (1, 2)]
    assert late[0].items == late[1].items == handle.items
    assert len(cluster.members[1].table.digests()) == 2
    late[1].put("from here on together")
    cluster.members[0].table._check()


def test_an_object_detached_here_answers_that_the_result_is_lost(cluster: LocalCluster) -> None:
    handle = cluster.attach_on(0, "shelf", Private())
    with pytest.raises(ResultLost, match="not attached on this node"):
        cluster.members[1].call(handle._binding, "put", ("x",), {})
    assert handle.items == ["x"]


def test_what_an_image_brings_to_an_offer_is_not_offered_again_for_what_it_replaces(
    cluster: LocalCluster,
) -> None:
    """This member had made an instance, and its user's own one waits for its attach."""
    cluster.attach_on(1, "shelf", Shelf()).put("x")
    table = cluster.members[0].table
    made = table.objects["shelf"]
    mine = Shelf()
    table.offer("shelf", mine)
    cluster.reload(0)
    assert table.objects["shelf"] is mine
    with pytest.raises(NotAttached):
        made.put("to nobody")
    table._check()
    cluster.members[0].system("attach", *attach_arguments("shelf", mine))
    assert table.objects["shelf"] is mine
    mine.put("y")
    assert mine.items == ["x", "y"]
    assert cluster.digest_equal()


def test_a_detached_object_is_handed_on_by_images(cluster: LocalCluster) -> None:
    handle = cluster.attach_on(0, "shelf", Private())
    handle.put("x")
    cluster.reload(1)
    handle.put("y")
    cluster.renew(1)
    cluster.members[2].table.restore(cluster.members[1].table.image())
    assert cluster.attach_on(2, "shelf", Private()).items == ["x", "y"]
    assert cluster.attach_on(1, "shelf", Private()).items == ["x", "y"]


def test_commands_of_detached_objects_are_kept_up_to_a_bound(cluster: LocalCluster) -> None:
    handle = cluster.attach_on(0, "shelf", Private())
    cluster.check = False
    handle.put("x" * (DETACHED_BYTES // 2))
    with pytest.raises(NodeFailed, match="attach it or drop it"):
        handle.put("x" * (DETACHED_BYTES // 2))


def test_dropping_a_detached_object_makes_room(cluster: LocalCluster) -> None:
    for _ in range(3):
        handle = cluster.attach_on(0, "shelf", Private())
        handle.put("x" * (DETACHED_BYTES // 2))
        cluster.drop(0, "shelf")


class Caller(Private):
    """Calls another object inside its command."""

    LOCAL = frozenset({"other"})
    other: Shelf

    @replicated
    def pass_on(self, item: Any) -> None:
        self.put(item)
        self.other.put(item)


def test_commands_that_reach_other_objects_cannot_be_applied_late(cluster: LocalCluster) -> None:
    cluster.attach("other", Shelf)
    handles = [Caller() for _ in cluster.members]
    for i, handle in enumerate(handles):
        handle.other = instance(cluster, i, "other")
    cluster.check = False
    cluster.attach_on(0, "shelf", handles[0])
    handles[0].put("alone")
    assert cluster.attach_on(1, "shelf", handles[1]).items == ["alone"]
    handles[0].pass_on("x")
    with pytest.raises(NodeFailed, match="attach both"):
        cluster.attach_on(2, "shelf", handles[2])


# Images


def test_an_image_finds_its_instances_by_name_whatever_their_order(cluster: LocalCluster) -> None:
    a, b = cluster.attach_on(0, "a", Private()), cluster.attach_on(0, "b", Private())
    a.put("of a")
    b.put("of b")
    table = cluster.members[1].table
    new_b, new_a, new_c = Private(), Private(), Private()
    table.offer("c", new_c)
    table.offer("b", new_b)
    table.offer("a", new_a)
    table.restore(cluster.members[0].table.image())
    assert (new_a.items, new_b.items) == (["of a"], ["of b"])
    assert table.objects == {"a": new_a, "b": new_b}
    assert new_c._binding is not None, "it still waits for its attach"
    assert cluster.digest_equal()


def test_an_image_keeps_the_instances_and_unbinds_those_of_other_objects(
    cluster: LocalCluster,
) -> None:
    behind = cluster.members.pop()
    both = [cluster.attach("kept", Shelf)[0], cluster.attach("gone", Shelf)[0]]
    both.append(cluster.create(0, "again", Shelf))
    for entry in cluster.entries:
        behind.table.apply(entry, 0)
    kept, gone, again = behind.table.objects.values()
    both[0].put("x")
    cluster.drop(0, "gone")
    cluster.drop(0, "again")
    cluster.create(0, "again", Shelf).put("new")
    behind.table.restore(cluster.members[0].table.image())
    cluster.members.append(behind)
    assert behind.table.objects["kept"] is kept
    assert kept.items == ["x"]
    for dropped in (gone, again):
        with pytest.raises(ObjectNotFound, match="was dropped"):
            dropped.put("x")
    assert behind.table.objects["again"].items == ["new"]
    assert cluster.digest_equal()


def test_an_offered_instance_of_other_options_does_not_take_the_state(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.attach_on(0, "shelf", Shelf(3)).put("x")
    table = cluster.members[1].table
    wrong = Shelf(4)
    table.offer("shelf", wrong)
    with caplog.at_level(logging.ERROR):
        table.restore(cluster.members[0].table.image())
    assert wrong.items == []
    assert table.objects["shelf"].items == ["x"]


def test_an_attached_instance_that_refuses_an_image_stops_the_node(cluster: LocalCluster) -> None:
    class Fickle(Shelf):
        refuses = False

        def restore_state(self, state: Any) -> None:
            if Fickle.refuses:
                raise ValueError("no")
            super().restore_state(state)

    cluster.attach_on(0, "shelf", Fickle())
    Fickle.refuses = True
    with pytest.raises(NodeFailed, match="'shelf'"):
        cluster.reload(0)


# Releases of a class


def release(number: int) -> type[Replicated]:
    """Return a class as a program has it: one with a method more in every release."""

    class Ledger(Replicated):
        def __init__(self) -> None:
            self.lines: list[int] = []

        @replicated
        def add(self, amount: int) -> None:
            self.lines.append(amount)

        if number > 1:

            @replicated
            def cancel(self) -> int:
                return self.lines.pop()

    return Ledger


@pytest.fixture
def mixed(cluster: LocalCluster) -> list[Any]:
    """Instances of members that run releases 1, 2 and 2, in a cluster that began with 1."""
    ledgers = [release(number)() for number in (1, 2, 2)]
    for member, ledger in enumerate(ledgers):
        cluster.attach_on(member, "ledger", ledger)
    ledgers[1].add(5)
    return ledgers


def test_a_member_whose_class_lacks_a_method_that_others_apply_stops(
    cluster: LocalCluster, mixed: list[Any]
) -> None:
    entries = len(cluster.entries)
    with pytest.raises(NodeFailed, match=r"cancel\(\) .* no such method"):
        mixed[1].cancel()
    for member in cluster.members[1:]:
        if member.table.applied_index == entries:
            member.table.apply(cluster.entries[-1], member.session)
    assert [ledger.lines for ledger in mixed] == [[5], [], []]
    with pytest.raises(NodeFailed):
        cluster.members[0].table.image()


def test_a_method_that_no_member_recorded_is_refused_by_all_of_them(
    cluster: LocalCluster, mixed: list[Any]
) -> None:
    binding = mixed[2]._binding
    with pytest.raises(NotReplicated):
        cluster.members[2].call(binding, "forged", (), {})
    assert len({member.table.digest() for member in cluster.members}) == 1


def test_a_method_is_refused_alike_until_a_member_that_has_it_attaches(
    cluster: LocalCluster,
) -> None:
    old, new = release(1)(), release(2)()
    cluster.attach_on(0, "ledger", old)
    old.add(5)
    with pytest.raises(NotReplicated):
        # A member with the later release that has not attached it yet.
        cluster.members[1].call(Binding(cluster.members[1], "ledger"), "cancel", (), {})
    cluster.attach_on(1, "ledger", new)
    cluster.reload(2)
    assert [m.table._directory.records["ledger"].methods for m in cluster.members] == [
        ["add", "cancel"]
    ] * 3


def test_a_kept_command_that_the_class_attached_later_lacks_stops_that_member(
    cluster: LocalCluster,
) -> None:
    class Kept(Replicated):
        _embeddable = False

        @replicated
        def one(self) -> None: ...

        @replicated
        def two(self) -> None: ...

    ledger = cluster.attach_on(0, "kept", Kept())
    ledger.two()
    older = type("Kept", (Replicated,), {"one": replicated(lambda self: None)})
    older.__module__, older.__qualname__ = Kept.__module__, Kept.__qualname__
    with pytest.raises(NodeFailed, match=r"two\(\)"):
        cluster.attach_on(1, "kept", older())
