"""Objects are woken once cluster time has reached the time they have set, on every member."""

from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from images import image_of, with_fields
from local_cluster import LocalCluster

from syncstructs.errors import DecodeError, NodeFailed, NotAttached
from syncstructs.objects import table as table_module
from syncstructs.objects.context import CallId, current_context
from syncstructs.objects.due import DueTimes
from syncstructs.objects.replicated import Replicated, bound, replicated
from syncstructs.objects.versions import WITH_RUNS


class Bell(Replicated):
    """Notes when it was woken, and what a command may know then."""

    def __init__(self) -> None:
        self.rung: list[Any] = []
        self.every: float | None = None

    @replicated
    def ring_at(self, *times: float | None) -> None:
        for time in times:
            self.set_due(time)

    @replicated
    def repeat(self, every: float | None) -> None:
        self.every = every
        self.set_due(None if every is None else current_context().time + every)

    @replicated
    def note(self) -> int:
        self.rung.append(("noted", current_context().time))
        return len(self.rung)

    def on_due(self) -> None:
        context = current_context()
        assert (context.session, context.sequence) == (0, 0)
        self.rung.append((context.time, context.random.random()))
        if self.every is not None:
            self.set_due(context.time + self.every)

    @property
    def times(self) -> list[float]:
        return [time for time, _ in self.rung]


class Loud(Bell):
    """Raises when it is woken."""

    def on_due(self) -> None:
        super().on_due()
        raise LookupError("nobody heard")


class Own(Bell):
    """Its state is written otherwise."""

    _embeddable = False

    def snapshot_state(self) -> object:
        return [self.rung, self.every]

    def restore_state(self, state: Any) -> None:
        self.rung, self.every = state


@pytest.fixture
def cluster() -> LocalCluster:
    return LocalCluster(3, check=True)


def wake(cluster: LocalCluster, *rows: list[Any]) -> Any:
    return cluster.members[0].system("wake", list(rows))


def test_an_object_is_woken_once_and_not_before_its_time(cluster: LocalCluster) -> None:
    bells = cluster.attach("bell", Bell)
    bells[0].ring_at(5.5)
    cluster.advance(4.4)
    assert bells[0].times == []
    cluster.advance(5.0)
    for bell in bells:
        assert bell.times == [5.5]
    cluster.advance(100.0)
    assert bells[2].times == [5.5]


def test_the_last_due_time_that_was_set_counts_and_none_takes_it_back(
    cluster: LocalCluster,
) -> None:
    bells = cluster.attach("bell", Bell)
    bells[0].ring_at(5, 9, 7)
    cluster.advance(20)
    bells[1].ring_at(30, None)
    cluster.advance(20)
    bells[1].ring_at(None, 2)
    cluster.advance(0)
    assert bells[0].times == [7.0, 41.0], "a time that has passed is due at once"


def test_an_object_that_sets_the_next_time_is_woken_again(cluster: LocalCluster) -> None:
    bells = cluster.attach("bell", Bell)
    bells[0].repeat(2.0)
    cluster.advance(7.0)
    assert bells[1].times == [3.0, 5.0, 7.0]
    bells[0].repeat(None)
    cluster.advance(7.0)
    assert len(bells[1].times) == 3


def test_objects_are_woken_in_the_order_of_time_and_id_each_with_its_own_chance(
    cluster: LocalCluster,
) -> None:
    order: list[str] = []

    class Noted(Bell):
        def on_due(self) -> None:
            super().on_due()
            if bound(self).port is cluster.members[0]:
                order.append(bound(self).name)

    for name, time in (("a", 7), ("b", 5), ("c", 5), ("d", 6)):
        cluster.attach(name, Noted)[0].ring_at(time)
    cluster.now = 50.0
    cluster.wake()
    assert order == ["b", "c", "d", "a"]


@pytest.mark.parametrize("row", [[9.5, 1], [4.0, 1], [5.0, 10**9]])
def test_a_command_that_is_stale_or_early_wakes_nobody(
    cluster: LocalCluster, row: list[Any]
) -> None:
    bell = cluster.attach("bell", Bell)[0]
    id_ = bound(bell).target
    bell.ring_at(5.0)
    if row[1] == 1:
        row = [row[0], id_]
    wake(cluster, row, [5.0, id_])
    assert bell.times == [], "it is not time yet"
    cluster.now = 6.0
    wake(cluster, row, [5.0, id_], [5.0, id_])
    wake(cluster, [5.0, id_])
    assert bell.times == [6.0]


@pytest.mark.parametrize(
    "rows", [[[5, 1]], [[5.0, "bell"]], [[5.0]], [(5.0, 1)], [5.0], [[5.0, True]]]
)
def test_what_is_no_due_time_and_id_is_refused(cluster: LocalCluster, rows: list[Any]) -> None:
    with pytest.raises(DecodeError, match="due time and an id"):
        wake(cluster, *rows)


def test_one_that_raises_harms_nobody(
    cluster: LocalCluster, caplog: pytest.LogCaptureFixture
) -> None:
    loud, calm = cluster.attach("loud", Loud), cluster.attach("calm", Bell)
    loud[0].ring_at(3)
    calm[0].ring_at(3)
    cluster.advance(9)
    assert loud[1].times == calm[1].times == [3.0]
    assert caplog.text.count("Loud.on_due raised, on every member") == 3


def test_a_call_that_waits_can_be_ended_by_time(cluster: LocalCluster) -> None:
    class Gate(Replicated):
        def __init__(self) -> None:
            self.calls: list[Any] = []

        @replicated
        def wait(self) -> object:
            context = current_context()
            self.calls.append(context.call)
            self.set_due(context.time + 2)
            return context.park()

        def snapshot_state(self) -> object:
            return [[call.session, call.sequence] for call in self.calls]

        def restore_state(self, state: Any) -> None:
            self.calls = [CallId(*call) for call in state]

        def on_due(self) -> None:
            for call in self.calls:
                current_context().resume(call, "in vain")
            self.calls.clear()

    gates = cluster.attach("gate", Gate)
    waiting = gates[1].wait.submit()
    assert waiting.result(5) == "in vain"
    assert cluster.now == 3.0


# Where it has no meaning


def test_outside_a_command_there_is_nothing_to_set(cluster: LocalCluster) -> None:
    bell = cluster.attach("bell", Bell)[0]
    with pytest.raises(RuntimeError, match="only inside a replicated method"):
        bell.set_due(5)


class Holder(Replicated):
    LOCAL = frozenset({"part"})

    def __init__(self, part: Replicated) -> None:
        self.part = part

    @replicated
    def pass_on(self, time: float) -> None:
        self.part.set_due(time)


def test_an_object_that_is_attached_nowhere_is_told_so(cluster: LocalCluster) -> None:
    holder = cluster.attach("holder", lambda: Holder(Bell()))[0]
    with pytest.raises(NotAttached, match="Bell is attached to no node"):
        holder.pass_on(5)


def test_an_attached_object_can_be_set_by_another_one(cluster: LocalCluster) -> None:
    bells = cluster.attach("bell", Bell)
    parts = iter(bells)
    cluster.attach("holder", lambda: Holder(next(parts)))[0].pass_on(5)
    cluster.advance(9)
    assert bells[1].times == [5.0]


def test_a_class_without_on_due_is_told_so(cluster: LocalCluster) -> None:
    holder = cluster.attach("holder", lambda: Holder(Bell()))[0]
    cluster.attach("other", lambda: Holder(holder))
    for other in (member.table.objects["other"] for member in cluster.members):
        other.part = other
    with pytest.raises(TypeError, match=r"Holder has no on_due\(\)"):
        cluster.members[0].table.objects["other"].pass_on(3)


@pytest.mark.parametrize(("time", "error"), [
    ("5", TypeError), (True, TypeError), (float("nan"), ValueError), (float("inf"), ValueError),
    (10**400, ValueError),
])  # fmt: skip
def test_what_is_no_time_is_refused(
    cluster: LocalCluster, time: Any, error: type[Exception]
) -> None:
    bell = cluster.attach("bell", Bell)[0]
    with pytest.raises(error):
        bell.ring_at(time)
    assert cluster.digest_equal()


def test_a_state_that_is_taken_over_has_its_due_time_with_it(cluster: LocalCluster) -> None:
    class Eager(Own):
        def restore_state(self, state: Any) -> None:
            super().restore_state(state)
            self.set_due(5)

    with pytest.raises(RuntimeError, match="set_due"):
        cluster.attach_on(0, "bell", Eager())


def test_on_due_is_no_command() -> None:
    with pytest.raises(TypeError, match="leave @replicated away"):
        type("Wrong", (Replicated,), {"on_due": replicated(lambda self: None)})


# What becomes of it


def test_a_dropped_object_is_woken_no_more_and_a_new_one_has_no_time(
    cluster: LocalCluster,
) -> None:
    bells = cluster.attach("bell", Bell)
    bells[0].ring_at(5)
    cluster.drop(0, "bell")
    assert all(member.table.first_due is None for member in cluster.members)
    others = cluster.attach("bell", Bell)
    cluster.advance(9)
    assert bells[0].times == others[0].times == []


@pytest.mark.parametrize("make", [Bell, Own])
def test_images_have_the_due_times(cluster: LocalCluster, make: type[Bell]) -> None:
    bells = cluster.attach("bell", make)
    bells[0].ring_at(5)
    cluster.reload(1)
    cluster.renew(2)
    cluster.advance(9)
    assert bells[1].times == [5.0]
    if make is Bell:
        assert cluster.members[2].table.objects["bell"].times == [5.0]
    # With an older one, it has the former time again.
    bells[0].ring_at(15)
    image = image_of(cluster.members[1].table)
    bells[0].ring_at(12)
    cluster.members[1].table.restore([image])
    assert cluster.members[1].table.first_due == (15.0, bound(bells[1]).target)


def test_with_an_image_that_does_not_have_the_object_nothing_is_due(
    cluster: LocalCluster,
) -> None:
    table = cluster.members[0].table
    image = image_of(table)
    cluster.attach("bell", Bell)[0].ring_at(5)
    table.restore([image])
    assert table.first_due is None
    table._check()


@pytest.mark.parametrize("due", [[5.0], {"5": 5.0}, {5: 5}, {5: float("nan")}])
def test_an_image_with_due_times_that_are_none_is_refused(
    cluster: LocalCluster, due: Any
) -> None:
    cluster.attach("bell", Bell)[0].ring_at(5)
    table = cluster.members[0].table
    with pytest.raises(NodeFailed, match="snapshot cannot be read"):
        table.restore([with_fields(image_of(table), due=due)])


def test_an_image_without_due_times_is_of_the_format_before(cluster: LocalCluster) -> None:
    bell = cluster.attach("bell", Bell)[0]
    table = cluster.members[0].table
    before = image_of(table)
    bell.ring_at(5)
    assert b"\xa3due" in image_of(table)
    bell.ring_at(None)
    assert b"\xa3due" not in image_of(table)
    assert b"version\x03" in before
    assert b"version\x03" in image_of(table)


def late_bell(cluster: LocalCluster) -> list[Own]:
    """Attach a bell on the first two members only; the others cannot make one."""
    first = Own()
    cluster.attach_on(0, "bell", first)
    second = Own()
    cluster.attach_on(1, "bell", second)
    return [first, second]


@pytest.mark.parametrize("passes", ["reload", "renew", None])
def test_a_member_where_it_is_attached_late_comes_to_the_same(
    cluster: LocalCluster, passes: str | None
) -> None:
    bells = late_bell(cluster)
    bells[0].ring_at(5)
    cluster.advance(6)
    if passes:
        getattr(cluster, passes)(2)
    bells[0].ring_at(20, 12)
    # For whoever has it attached already, this is stale.
    wake(cluster, [5.0, bound(bells[0]).target])
    cluster.advance(1)
    assert cluster.members[2].table.first_due is None, "it cannot know"
    late = cluster.attach_on(2, "bell", Own())
    assert late.rung == bells[0].rung
    assert cluster.members[2].table.first_due == (12.0, bound(late).target)
    cluster.digest_equal()
    cluster.advance(10)
    assert late.times == [5.0, 12.0]


@pytest.mark.parametrize("again", [1, 2])
def test_a_detached_member_passes_the_time_on_that_belongs_to_the_state_it_has(
    cluster: LocalCluster, again: int
) -> None:
    bells = late_bell(cluster)
    bells[0].ring_at(9)
    image = image_of(cluster.members[0].table)
    cluster.members[2].table.restore([image])
    assert cluster.members[2].table.first_due is None
    bells[0].ring_at(5)
    cluster.advance(6)
    bells[0].note()
    for _ in range(again):
        cluster.reload(2)
    late = cluster.attach_on(2, "bell", Own())
    assert late.rung == bells[0].rung
    cluster.digest_equal()


def test_one_that_raises_is_replayed_as_it_was_applied(cluster: LocalCluster) -> None:
    class Both(Own):
        def on_due(self) -> None:
            super().on_due()
            raise LookupError

    first = cluster.attach_on(0, "bell", Both())
    first.ring_at(3)
    cluster.advance(5)
    late = cluster.attach_on(1, "bell", Both())
    assert late.rung == first.rung


def test_a_state_that_is_refused_leaves_no_time_behind(cluster: LocalCluster) -> None:
    class Picky(Own):
        def restore_state(self, state: Any) -> None:
            if bound(self).port is cluster.members[2]:
                raise LookupError
            super().restore_state(state)

    first = cluster.attach_on(0, "bell", Picky())
    first.ring_at(9)
    cluster.members[2].table.restore([image_of(cluster.members[0].table)])
    with pytest.raises(LookupError):
        cluster.attach_on(2, "bell", Picky())
    assert cluster.members[2].table.first_due is None
    cluster.members[2].table._check()


def test_whoever_watches_is_told(cluster: LocalCluster) -> None:
    bells = cluster.attach("bell", Bell)
    told: list[Any] = []
    bells[0].subscribe(told.append)
    bells[0].ring_at(5)
    cluster.advance(9)
    assert [change.method for change in told] == ["ring_at", "on_due"]


# Older releases


def test_a_release_that_does_not_know_it_stops(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    bell = cluster.attach("bell", Bell)[0]
    bell.ring_at(5)
    cluster.members[0].system("know", 1, WITH_RUNS, {})
    monkeypatch.setattr(table_module, "RELEASE", WITH_RUNS - 1)
    monkeypatch.delitem(table_module._SYSTEM, "wake")
    with pytest.raises(NodeFailed, match="later release"):
        cluster.advance(9)


def test_a_kept_command_is_no_method_for_a_release_that_does_not_know_it(
    cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    bells = late_bell(cluster)
    bells[0].ring_at(5)
    cluster.advance(9)
    monkeypatch.setattr("syncstructs.objects.directory._WOKEN", "another")
    with pytest.raises(NodeFailed, match=r"\.on_due\(\) was called .* no such method"):
        cluster.attach_on(2, "bell", Own())


# All of it, at random


@pytest.mark.parametrize("seed", range(12))
def test_members_come_to_the_same_whatever_happens(seed: int) -> None:
    random = Random(seed)
    cluster = LocalCluster(3, check=True)
    names = [f"bell{number}" for number in range(4)]
    handles: dict[tuple[int, str], Own] = {}
    cluster.attach_on(0, "all", Bell())
    for name in names:
        handles[0, name] = cluster.attach_on(0, name, Own())
    for _ in range(150):
        name, member = random.choice(names), random.randrange(3)
        bell = handles[0, name]
        step = random.randrange(9)
        if step < 3:
            times = [round(cluster.now + random.uniform(-2, 6)) for _ in range(2)]
            bell.ring_at(random.choice([None, *times]))
        elif step == 3:
            bell.repeat(random.choice([None, 1.0, 3.0]))
        elif step < 6:
            cluster.advance(random.uniform(0, 2))
        elif step == 6:
            cluster.reload(member)
        elif step == 7:
            bell.note()
        elif (member, name) not in handles:
            handles[member, name] = cluster.attach_on(member, name, Own())
    for name in names:
        for member in (1, 2):
            if (member, name) not in handles:
                handles[member, name] = cluster.attach_on(member, name, Own())
    cluster.digest_equal()
    cluster.advance(3.0)
    assert len({member.table.digest() for member in cluster.members}) == 1
    assert any(handle.times for handle in handles.values())


# The times themselves


@given(st.lists(st.tuples(st.integers(1, 5), st.none() | st.integers(0, 6)), max_size=300))
def test_due_times_are_those_that_were_set_last(steps: list[tuple[int, int | None]]) -> None:
    due, model = DueTimes(), dict[int, float]()
    for id_, time in steps:
        due.set(id_, None if time is None else float(time))
        model.pop(id_, None)
        if time is not None:
            model[id_] = float(time)
        due._check(dict.fromkeys(range(1, 6)))
        in_order = sorted((time, id_) for id_, time in model.items())
        assert due.first == (in_order[0] if in_order else None)
        for until, limit in ((3.0, 2), (6.0, 9)):
            assert due.until(until, limit) == [row for row in in_order if row[0] <= until][:limit]
            due._check(dict.fromkeys(range(1, 6)))
    assert dict(due.items()) == model


