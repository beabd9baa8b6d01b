"""The table applies commands: whose outcomes it reports, and what a bad one may do: nothing."""

from functools import wraps
from random import Random
from typing import Any

import pytest
from images import as_value, image_of
from local_cluster import LocalCluster, LocalPort

from syncstructs import ReplDict, ReplSortedDict
from syncstructs.codec import STATE_DEPTH, encode
from syncstructs.errors import (
    DecodeError,
    MembershipRefused,
    NodeFailed,
    NotReplicated,
    ObjectNotFound,
    ResultLost,
    SessionExpired,
)
from syncstructs.objects.batches import encode_command, encode_group
from syncstructs.objects.context import PARKED, CallId, Outcome, current_context
from syncstructs.objects.replicated import Replicated, at_once, attach_arguments, replicated
from syncstructs.objects.table import Applied, Result
from syncstructs.objects.waiters import Waiters
from syncstructs.raft.membership import Membership, encode_membership
from syncstructs.raft.messages import Entry, EntryKind


class Box(Replicated):
    """Whatever a command may do."""

    def __init__(self) -> None:
        self.items: list[Any] = []
        self.seen: list[tuple[Any, ...]] = []
        self.waiting = Waiters()

    @replicated
    def put(self, item: Any) -> list[Any]:
        self.items.append(item)
        return self.items

    @replicated
    def put_then_raise(self, item: Any) -> None:
        self.items.append(item)
        raise LookupError(item)

    @replicated
    def note_context(self) -> tuple[Any, ...]:
        c = current_context()
        seen = (c.index, c.time, c.serial, c.session, c.sequence, c.random.random())
        self.seen.append(seen)
        return seen

    @replicated
    def put_twice(self, item: Any) -> int:
        self.put(item)
        self.put(item)
        return len(self.items)

    @replicated
    def wait(self, ticket: int | None = None) -> Any:
        return self.waiting.park(current_context().serial if ticket is None else ticket)

    @replicated
    def serve_items(self) -> None:
        self.waiting.serve(self.items)

    @replicated
    def say_parked(self) -> Any:
        return PARKED

    @replicated
    def own_itself(self) -> Any:
        self.items.append(1)
        return self

    @replicated
    def run_out_of_memory(self) -> None:
        raise MemoryError

    def plain(self) -> None:
        self.items.append("plain")


def payload(port: LocalPort, first: int, *commands: bytes, session: int | None = None) -> bytes:
    own = port.session if session is None else session
    return encode_group(own, first, len(commands), b"".join(commands))


def applied(cluster: LocalCluster, data: bytes, kind: EntryKind = EntryKind.BATCH) -> list[Applied]:
    """Apply an entry to all tables directly, so that the test sees what they report."""
    cluster.index += 1
    entry = Entry(1, cluster.index, round(cluster.now * 1_000_000), kind, data)
    return [member.table.apply(entry, member.session) for member in cluster.members]


@pytest.fixture
def cluster() -> LocalCluster:
    """Two members with sessions; a Box is attached as "box"."""
    cluster = LocalCluster(2, check=True)
    cluster.attach("box", Box)
    return cluster


def told(report: Applied) -> list[tuple[int, Result]]:
    """Return how each own call of the member ended, by its number."""
    return [
        (number, result)
        for first, results in report.results
        for number, result in enumerate(results, first)
    ]


def box(cluster: LocalCluster, member: int = 0) -> Box:
    found = cluster.members[member].table.objects["box"]
    assert isinstance(found, Box)
    return found


def put(item: Any) -> bytes:
    return encode_command("box", "put", (item,), {})


def test_only_the_callers_table_reports_the_result(cluster: LocalCluster) -> None:
    reports = applied(cluster, payload(cluster.members[0], 2, put(1), put(2)))
    assert told(reports[0]) == [(2, Outcome([1])), (3, Outcome([1, 2]))]
    assert told(reports[1]) == []
    assert box(cluster, 1).items == [1, 2]


def test_a_table_without_a_session_reports_nothing(cluster: LocalCluster) -> None:
    cluster.members[0].session, session = 0, cluster.members[0].session
    reports = applied(cluster, payload(cluster.members[0], 2, put(1), session=session))
    assert [told(r) for r in reports] == [[], []]


def test_commands_sent_again_are_applied_once_and_reported_once(cluster: LocalCluster) -> None:
    port = cluster.members[0]
    applied(cluster, payload(port, 2, put(1), put(2)))
    again = applied(cluster, payload(port, 2, put(1), put(2), put(3)))
    assert told(again[0]) == [(4, Outcome([1, 2, 3]))]
    assert box(cluster, 1).items == [1, 2, 3]


def test_commands_after_a_gap_are_dropped(cluster: LocalCluster) -> None:
    reports = applied(cluster, payload(cluster.members[0], 3, put(1)))
    assert told(reports[0]) == []
    assert box(cluster).items == []


def test_groups_of_several_sessions_in_one_entry_are_applied_in_their_order(
    cluster: LocalCluster,
) -> None:
    a, b = cluster.members
    data = payload(a, 2, put("a")) + payload(b, 2, put("b")) + payload(a, 3, put("c"))
    reports = applied(cluster, data)
    assert [number for number, _ in told(reports[0])] == [2, 3]
    assert told(reports[1]) == [(2, Outcome(["a", "b"]))]
    assert box(cluster, 1).items == ["a", "b", "c"]


def test_a_method_that_raises_ends_its_own_call_and_no_other(cluster: LocalCluster) -> None:
    bad = encode_command("box", "put_then_raise", ("x",), {})
    reports = applied(cluster, payload(cluster.members[0], 2, put(1), bad, put(2)))
    (_, first), (_, second), (_, third) = told(reports[0])
    assert isinstance(second, Outcome)
    assert isinstance(second.error, LookupError)
    assert (first, third) == (Outcome([1]), Outcome([1, "x", 2]))
    assert box(cluster).items == box(cluster, 1).items == [1, "x", 2]


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (encode_command("box", "plain", (), {}), NotReplicated),
        (encode_command("box", "__init__", (), {}), NotReplicated),
        (encode_command("absent", "put", (1,), {}), ObjectNotFound),
        (encode_command(12345, "put", (1,), {}), ObjectNotFound),
        (encode_command("box", "put", (), {}), TypeError),
        (encode_command("box", "put", (1,), {"extra": 2}), TypeError),
        (encode_command(0, "image", (), {}), NotReplicated),
        (encode_command(0, "drop", (1,), {}), DecodeError),
        (encode_command(0, "drop", ("a", "b"), {}), DecodeError),
        (encode_command(0, "open_session", ("c:1", 1, 1, -1.0), {}), DecodeError),
        (encode_command(0, "batch", (5,), {}), DecodeError),
        (encode(5), DecodeError),
        (encode([1]), DecodeError),
        (encode([[], "put", [1]]), DecodeError),
        (encode(["box", [], [1]]), DecodeError),
        (encode(["box", "put", "x"]), DecodeError),
        (encode(["box", "put", [1], [2]]), DecodeError),
        (encode(["box", "put", [1], {2: 3}]), DecodeError),
        (encode(["box", "put", [1], {}, 5]), DecodeError),
    ],
)
def test_a_command_that_makes_no_sense_raises_in_its_caller_and_changes_nothing(
    cluster: LocalCluster, command: bytes, error: type[Exception]
) -> None:
    reports = applied(cluster, payload(cluster.members[0], 2, command, put(1)))
    (_, bad), (_, good) = told(reports[0])
    assert isinstance(bad, Outcome)
    assert isinstance(bad.error, error), bad
    assert good == Outcome([1])
    assert cluster.digest_equal()


def test_commands_that_cannot_be_decoded_end_with_an_error_and_the_session_goes_on(
    cluster: LocalCluster,
) -> None:
    port = cluster.members[0]
    broken = encode_group(port.session, 2, 2, put(1) + put(1)[:-1])
    reports = applied(cluster, broken + payload(port, 4, put(2)))
    assert [number for number, _ in told(reports[0])] == [2, 3, 4]
    assert isinstance(told(reports[0])[1][1].error, DecodeError)  # type: ignore[union-attr]
    assert box(cluster, 1).items == [2]


def test_an_entry_that_cannot_be_decoded_is_skipped(cluster: LocalCluster) -> None:
    digest = cluster.members[0].table.digests()
    reports = applied(cluster, payload(cluster.members[0], 2, put(1)) + b"rest")
    assert told(reports[0]) == []
    assert cluster.members[0].table.digests() == digest
    assert cluster.members[0].table.applied_index == cluster.index


def test_a_noop_moves_only_index_and_time(cluster: LocalCluster) -> None:
    serial = cluster.members[0].table.serial
    cluster.now = 77.0
    applied(cluster, b"", EntryKind.NOOP)
    table = cluster.members[0].table
    assert (table.applied_index, table.time, table.serial) == (cluster.index, 77_000_000, serial)


def test_cluster_time_never_goes_backwards(cluster: LocalCluster) -> None:
    cluster.now = 50.0
    box(cluster).note_context()
    cluster.now = 40.0
    assert box(cluster).note_context()[1] == 50.0


def test_the_context_is_the_same_on_every_member_and_its_serial_never_repeats(
    cluster: LocalCluster,
) -> None:
    for i in range(6):
        box(cluster, i % 2).note_context()
        if i == 3:
            cluster.reload(1)
    seen = box(cluster, 0).seen
    assert seen == box(cluster, 1).seen
    serials = [call[2] for call in seen]
    assert sorted(set(serials)) == serials
    assert len({call[5] for call in seen}) == len(seen), "each command draws other numbers"
    assert seen[0][5] == Random(seen[0][2]).random()


def test_current_context_is_gone_after_the_entry(cluster: LocalCluster) -> None:
    box(cluster).note_context()
    with pytest.raises(RuntimeError, match="only inside"):
        current_context()


def test_a_nested_call_is_part_of_the_outer_one(cluster: LocalCluster) -> None:
    index = cluster.index
    assert box(cluster).put_twice("x") == 2
    assert cluster.index == index + 1
    assert box(cluster, 1).items == ["x", "x"]


def test_a_result_shares_nothing_with_the_state(cluster: LocalCluster) -> None:
    result = box(cluster).put({"deep": [1]})
    result[0]["deep"].append(2)
    result.append(3)
    assert box(cluster).items == [{"deep": [1]}]


def test_an_argument_shares_nothing_with_the_state(cluster: LocalCluster) -> None:
    mine = [1]
    box(cluster).put(mine)
    mine.append(2)
    assert box(cluster).items == box(cluster, 1).items == [[1]]


def test_a_result_without_encoding_says_that_the_call_was_applied(cluster: LocalCluster) -> None:
    with pytest.raises(ResultLost, match="was applied"):
        box(cluster).own_itself()
    assert box(cluster, 1).items == [1]


def test_a_parked_call_ends_when_another_command_serves_it(cluster: LocalCluster) -> None:
    future = box(cluster, 0).wait.submit()
    assert not future.done()
    assert cluster.members[1].table.is_parked(CallId(cluster.members[0].session, 2))
    box(cluster, 1).put(5)
    box(cluster, 1).serve_items()
    assert future.result(0) == [5]
    future.result(0).append(6)
    assert box(cluster).items == [5]
    assert not cluster.members[1].table.is_parked(CallId(cluster.members[0].session, 2))


def test_a_ticket_that_waits_is_refused_to_another_call(cluster: LocalCluster) -> None:
    first = box(cluster).wait.submit(7)
    with pytest.raises(ValueError, match="ticket 7 of"):
        box(cluster).wait(7)
    box(cluster).serve_items()
    assert first.result(0) == []


def test_what_a_parked_call_is_given_is_the_value_of_that_moment(cluster: LocalCluster) -> None:
    port = cluster.members[0]
    commands = [encode_command("box", m, a, {}) for m, a in (("wait", ()), ("serve_items", ()))]
    reports = applied(cluster, payload(port, 2, *commands, put("later")))
    assert told(reports[0])[0] == (2, PARKED)
    assert reports[0].resumed == [(2, Outcome([]))]
    assert reports[1].resumed == []


def test_a_method_that_only_says_parked_raises_instead_of_waiting_for_ever(
    cluster: LocalCluster,
) -> None:
    with pytest.raises(RuntimeError, match="was not parked"):
        box(cluster).say_parked()


def test_only_the_call_that_parked_itself_waits(cluster: LocalCluster) -> None:
    commands = [encode_command("box", m, (), {}) for m in ("wait", "say_parked")]
    (_, first), (_, second) = told(applied(cluster, payload(cluster.members[0], 2, *commands))[0])
    assert first is PARKED
    assert isinstance(second, Outcome)
    assert "was not parked" in str(second.error)


def test_parked_calls_survive_an_image(cluster: LocalCluster) -> None:
    future = box(cluster, 0).wait.submit()
    cluster.reload(0)
    cluster.renew(1)
    box(cluster, 1).serve_items()
    assert future.result(0) == []


def test_expiry_ends_the_waits_of_that_session_only(cluster: LocalCluster) -> None:
    lost, kept = box(cluster, 0).wait.submit(), box(cluster, 1).wait.submit()
    cluster.expire(0)
    with pytest.raises(SessionExpired):
        lost.result(0)
    box(cluster, 1).serve_items()
    assert kept.result(0) == []


def test_a_call_of_an_expired_session_is_not_applied(cluster: LocalCluster) -> None:
    port = cluster.members[0]
    session = port.session
    cluster.expire(0)
    reports = applied(cluster, payload(port, 2, put(1), session=session))
    assert told(reports[0]) == []
    assert box(cluster).items == []


def test_opening_a_newer_session_expires_the_older_one(cluster: LocalCluster) -> None:
    port = cluster.members[0]
    old, future = port.session, box(cluster, 0).wait.submit()
    opening = encode_command(0, "open_session", (port.address, 1, 2, 10.0), {})
    reports = applied(cluster, encode_group(0, 0, 1, opening))
    assert [r.expired for r in reports] == [[old], [old]]
    assert reports[1].opened == [(port.address, 1, 2, port.table.serial)]
    assert [number for number, _ in reports[0].resumed] == [2]
    assert not future.done()
    again = applied(cluster, encode_group(0, 0, 1, opening))
    assert again[0].opened == again[0].expired == []


def test_all_calls_of_a_batch_run_in_order_whatever_some_of_them_raise(
    cluster: LocalCluster,
) -> None:
    index, handle = cluster.index, box(cluster)
    outcomes = cluster.batch(
        0,
        [
            (handle, "put", (1,)),
            (handle, "put_then_raise", (2,)),
            (handle, "wait", ()),
            (handle, "absent", ()),
            (handle, "put", (3,)),
        ],
    )
    assert cluster.index == index + 1
    assert [o.value for o in outcomes] == [[1], None, None, None, [1, 2, 3]]
    kinds = [type(o.error) for o in outcomes]
    assert kinds == [type(None), LookupError, RuntimeError, NotReplicated, type(None)]
    assert box(cluster, 1).items == [1, 2, 3]


def test_what_a_batch_gives_to_a_parked_call_is_the_value_of_that_moment(
    cluster: LocalCluster,
) -> None:
    future, handle = box(cluster, 1).wait.submit(), box(cluster)
    cluster.batch(1, [(handle, "serve_items", ()), (handle, "put", ("later",))])
    assert future.result(0) == []


def test_each_call_of_a_batch_has_a_serial_of_its_own_and_no_sequence(
    cluster: LocalCluster,
) -> None:
    first, second = cluster.batch(0, [(box(cluster), "note_context", ())] * 2)
    assert second.value[2] == first.value[2] + 1
    assert first.value[4] == second.value[4] == 0


def test_a_batch_cannot_hold_commands_of_the_cluster_itself(cluster: LocalCluster) -> None:
    outcomes = cluster.members[0].system("batch", [[0, "drop", ["box"]], [0, "batch", [[]]]])
    assert [type(o.error) for o in outcomes] == [DecodeError, DecodeError]
    assert box(cluster).items == []


def test_a_replica_out_of_memory_stops_instead_of_diverging(cluster: LocalCluster) -> None:
    cluster.check = False
    with pytest.raises(NodeFailed, match="out of memory"):
        box(cluster).run_out_of_memory()


def test_a_table_left_in_the_midst_of_an_entry_is_never_used_again(cluster: LocalCluster) -> None:
    class Interrupted(Replicated):
        @replicated
        def interrupt(self) -> None:
            raise KeyboardInterrupt

    image = image_of(cluster.members[0].table)
    handle = cluster.attach("interrupted", Interrupted)[0]
    cluster.check = False
    with pytest.raises(KeyboardInterrupt):
        handle.interrupt()
    table = cluster.members[0].table
    with pytest.raises(NodeFailed, match="not applied to its end"):
        table.apply(Entry(1, cluster.index + 1, 0, EntryKind.NOOP, b""), 0)
    with pytest.raises(NodeFailed, match="not applied to its end"):
        table.image()
    table.restore([image])
    assert image_of(table) == image


def test_an_error_does_not_keep_the_commands_around_it(cluster: LocalCluster) -> None:
    with pytest.raises(LookupError) as caught:
        box(cluster).put_then_raise(1)
    frames = [entry.name for entry in caught.traceback]
    assert frames[-1] == "put_then_raise"
    assert "_apply_commands" not in frames


def test_entries_must_come_in_order(cluster: LocalCluster) -> None:
    with pytest.raises(AssertionError):
        cluster.members[0].table.apply(
            Entry(1, cluster.index + 2, 0, EntryKind.NOOP, b""), 0
        )


def test_an_object_of_another_node_is_no_part_of_a_command(cluster: LocalCluster) -> None:
    foreign = LocalCluster(1).attach("box", Box)[0]

    class Reaching(Replicated):
        @replicated
        def reach(self, item: int) -> None:
            foreign.put(item)

    with pytest.raises(RuntimeError, match="another node"):
        cluster.attach("reaching", Reaching)[0].reach(1)
    assert foreign.items == []


def test_an_object_that_is_not_attached_yet_is_no_part_of_a_command(cluster: LocalCluster) -> None:
    waiting = [Box(), Box()]

    class Owner(Replicated):
        LOCAL = frozenset({"part"})

        @replicated
        def reach(self, item: int) -> None:
            self.part.put(item)

    owners = cluster.attach("owner", Owner)
    for member, owner, part in zip(cluster.members, owners, waiting, strict=True):
        owner.part = part
        member.table.offer("part", part)
    with pytest.raises(ObjectNotFound, match="not attached in the cluster yet"):
        owners[0].reach(1)
    cluster.members[0].system("attach", *attach_arguments("part", Box()))
    owners[0].reach(2)
    assert waiting[0].items == waiting[1].items == [2]


# Who is to have a vote


def begin_with(cluster: LocalCluster, *voters: str) -> None:
    """Apply the entry with which a cluster's life begins."""
    applied(cluster, encode_membership(Membership(voters, genesis=5)), EntryKind.MEMBERSHIP)


def wanted(cluster: LocalCluster) -> tuple[str, ...]:
    (only,) = {member.table.wanted for member in cluster.members}
    return only


def change(cluster: LocalCluster, added: Any = (), removed: Any = (), only: Any = None) -> Any:
    return cluster.members[0].system("change_members", list(added), list(removed), only)


def test_at_first_those_are_to_vote_whom_the_first_membership_names(cluster: LocalCluster) -> None:
    begin_with(cluster, "a:1", "b:1")
    assert wanted(cluster) == ("a:1", "b:1")
    begin_with(cluster, "a:1", "b:1", "c:1")
    assert wanted(cluster) == ("a:1", "b:1"), "a step towards it changes nothing of what is wanted"


def test_members_are_added_and_removed(cluster: LocalCluster) -> None:
    begin_with(cluster, "a:1", "b:1")
    assert change(cluster, added=["d:1", "c:1", "a:1"]) == ["a:1", "b:1", "c:1", "d:1"]
    assert change(cluster, removed=["a:1", "z:1"]) == ["b:1", "c:1", "d:1"]
    assert change(cluster, ["e:1"], ["b:1", "c:1"]) == ["d:1", "e:1"]
    assert wanted(cluster) == ("d:1", "e:1")


def test_members_are_replaced_by_others_at_once(cluster: LocalCluster) -> None:
    begin_with(cluster, "a:1", "b:1")
    assert change(cluster, only=["y:1", "x:1", "y:1"]) == ["x:1", "y:1"]
    assert wanted(cluster) == ("x:1", "y:1")


@pytest.mark.parametrize("refused", [{"removed": ["a:1", "b:1"]}, {"only": []}])
def test_the_last_member_stays(cluster: LocalCluster, refused: dict[str, Any]) -> None:
    begin_with(cluster, "a:1", "b:1")
    with pytest.raises(MembershipRefused, match="0 members"):
        change(cluster, **refused)
    assert wanted(cluster) == ("a:1", "b:1")


def test_more_members_than_make_sense_are_refused(cluster: LocalCluster) -> None:
    begin_with(cluster, "a:1")
    with pytest.raises(MembershipRefused, match="1001 members"):
        change(cluster, only=[f"m:{number}" for number in range(1001)])
    assert wanted(cluster) == ("a:1",)


@pytest.mark.parametrize("wrong", [{"added": [1]}, {"removed": [None]}, {"only": [b"a:1"]}])
def test_addresses_that_are_no_text_are_refused(
    cluster: LocalCluster, wrong: dict[str, Any]
) -> None:
    begin_with(cluster, "a:1")
    with pytest.raises(DecodeError, match="text"):
        change(cluster, **wrong)
    assert wanted(cluster) == ("a:1",)


def test_an_image_keeps_who_is_to_vote(cluster: LocalCluster) -> None:
    begin_with(cluster, "a:1", "b:1")
    change(cluster, added=["c:1"])
    table = cluster.members[0].table
    other = cluster.members[1].new_table()
    digest = table.digest()
    other.restore(table.image())
    assert other.wanted == ("a:1", "b:1", "c:1")
    assert other.digest() == digest
    other.wanted = ("a:1", "b:1")
    assert other.digest() != digest


def test_an_image_of_a_release_that_could_not_change_members_is_read(
    cluster: LocalCluster,
) -> None:
    table = cluster.members[0].table
    fields = as_value(image_of(table), 1)
    del fields["wanted"]
    other = cluster.members[1].new_table()
    other.restore([encode(fields, max_depth=STATE_DEPTH)])
    assert other.wanted == ()
    assert other.applied_index == table.applied_index


# What no correct member says


def hostile(cluster, command):
    """Put a command of the first member's session into the log; return its outcome's error."""
    with pytest.raises(Exception) as found:  # noqa: PT011 - it is what the test looks at
        cluster.members[0].send(command).result()
    for member in cluster.members:
        member.table._check()
    return found.value


@pytest.mark.parametrize(
    "name", ["_binding", "_watch", "_dropped", "_all_waiters", "_local", "_commands"]
)
def test_a_state_cannot_take_the_place_of_what_a_node_keeps_with_an_object(name: str) -> None:
    cluster = LocalCluster(2)
    waiting = cluster.attach_on(0, "other", Box())
    for part in (5, []):
        state = {"_items": [], name: part}
        arguments = ("box", "syncstructs.structs.lists.ReplList", {}, state, [])
        cluster.members[0].system("attach", *arguments)
        member = cluster.members[1]
        assert "box" not in member.table.objects, "it stays detached"
        member.system("drop", "box")
    assert waiting.put(1) == [1]


class Unmade(Box):
    """No member makes one by itself: where none is attached, its commands are kept."""

    _embeddable = False


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize(
    "shape",
    [lambda *call: tuple(call), lambda target, *call: [float(target), *call]],
    ids=["tuple", "float"],
)
def test_what_only_equals_a_call_is_refused_whether_the_object_is_attached_or_not(
    shape: Any, in_batch: bool
) -> None:
    cluster = LocalCluster(2)
    attached = cluster.attach_on(0, "box", Unmade())
    command = shape(attached._binding.target, "put", [1])
    if in_batch:
        outcomes = cluster.members[0].system("batch", [command])
        assert isinstance(outcomes[0].error, DecodeError)
    else:
        assert isinstance(hostile(cluster, encode(command)), DecodeError)
    late = cluster.attach_on(1, "box", Unmade())
    assert attached.items == late.items == []
    cluster.digest_equal()


@pytest.mark.parametrize("cls", [Box, Unmade])
def test_a_run_is_applied_as_its_calls_are_one_by_one(cls: type[Box]) -> None:
    """With an object that is attached on one member only, too, and with what raises."""
    calls = [
        ("put", [1]), ("put", [2]), ("put_then_raise", [3]), ("put_then_raise", [4]), ("wait", [5]),
        ("unknown", [6]), ("unknown", [7]), ("put", [8]),
    ]  # fmt: skip
    runs = [("put", [1, 2]), ("put_then_raise", [3, 4]), ("wait", [5]), ("unknown", [6, 7])]
    found = []
    for given in ([*calls], [(*run, 1) for run in [*runs, ("put", [8])]]):
        cluster = LocalCluster(2)
        box = cluster.attach_on(0, "box", cls())
        outcomes = cluster.members[0].system("batch", [["box", *call] for call in given])
        late = cluster.attach_on(1, "box", cls())
        assert box.items == late.items == [1, 2, 3, 4, 8]
        cluster.digest_equal()
        ends = [(outcome.value, repr(outcome.error)) for outcome in outcomes]
        found.append((ends, cluster.members[0].table.serial, cluster.members[1].table.serial))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(calls)


@pytest.mark.parametrize("kind", [ReplDict, ReplSortedDict])
@pytest.mark.parametrize(
    "keys",
    [list("abca"), ["a", [], "b", "a", {}], ["a", 1, "b", 2.5, None], [], [float("nan"), 1.0, 1]],
)
def test_what_is_done_at_once_is_what_its_calls_do(kind: type[ReplDict], keys: list[Any]) -> None:
    pairs = [(key, place) for place, key in enumerate(keys)]
    values = [part for pair in pairs for part in pair]
    found = []
    for given in ([("set", [*pair]) for pair in pairs], [("set", values, 2)] if keys else []):
        cluster = LocalCluster(2)
        cells = cluster.attach_on(0, "cells", kind({"b": 9}))
        outcomes = cluster.members[0].system("batch", [["cells", *call] for call in given])
        cluster.attach_on(1, "cells", kind())
        cluster.digest_equal()
        ends = [(outcome.value, repr(outcome.error)) for outcome in outcomes]
        found.append((ends, repr(cells), cluster.members[1].table.serial))
    assert found[0] == found[1]
    assert len(found[0][0]) == len(keys)


class Tally(Replicated):
    """Whose calls may be done at once, all of them, if no item is "one by one"."""

    def __init__(self) -> None:
        self.items: set[str] = set()
        self.ways: list[str] = []

    @replicated
    def put(self, item: str) -> None:
        self.items.add(item)
        self.ways.append("one")

    @at_once(put)
    def _put_all(self, items: list[str]) -> object:
        self.items.update(items)
        if "raising" in items:
            raise LookupError
        if "one by one" in items:
            return NotImplemented
        return self.ways.append("all")


class Other(Tally):
    @replicated
    def put(self, item: str) -> None:
        self.items.add(item)
        self.ways.append("other")


class Renamed(Tally):
    add = Tally.put


class Wrapped(Tally):
    @replicated
    @wraps(Tally.put.function)
    def put(self, item: str) -> None:
        self.items.add(item)
        self.ways.append("wrapped")


@pytest.mark.parametrize(
    ("kind", "method", "item", "ways"),
    [
        (Tally, "put", "x", ["all"]),
        (Renamed, "add", "x", ["all"]),
        (Tally, "put", "raising", ["one"] * 2),
        (Tally, "put", "one by one", ["one"] * 2),
        (Other, "put", "x", ["other"] * 2),
        (Wrapped, "put", "x", ["wrapped"] * 2),
    ],
)
def test_calls_are_done_at_once_if_their_body_says_how(
    kind: type[Tally], method: str, item: str, ways: list[str]
) -> None:
    cluster = LocalCluster(2)
    tally = cluster.attach("tally", kind)[0]
    serial = cluster.members[1].table.serial
    outcomes = cluster.members[0].system("batch", [["tally", method, [item, "y"], 1]])
    assert (tally.items, tally.ways) == ({item, "y"}, ways)
    assert outcomes == [Outcome(), Outcome()]
    # The batch, and its calls.
    assert cluster.members[1].table.serial == serial + 3


def test_whoever_subscribes_to_changes_hears_of_each_call_that_could_be_done_at_once() -> None:
    cluster = LocalCluster(2)
    tally = cluster.attach("tally", Tally)[0]
    with tally.changes() as changes:
        cluster.members[0].system("batch", [["tally", "put", ["x", "y"], 1]])
        assert [next(changes).args for _ in range(2)] == [("x",), ("y",)]
    assert tally.ways == ["one", "one"]


def test_a_run_stands_in_a_batch_only() -> None:
    cluster = LocalCluster(2)
    box = cluster.attach("box", Box)[0]
    assert isinstance(hostile(cluster, encode(["box", "put", [1, 2], 1])), DecodeError)
    assert box.items == []


NUMBER = 10**9000


@pytest.mark.parametrize(
    "command",
    [
        encode(NUMBER), encode([NUMBER, "put", [1]]), encode(["box", NUMBER, [1]]),
        encode([0, "open_session", [NUMBER, 1, 1, 1.0]]), encode([0, "know", [NUMBER, 1, {}]]),
        encode([0, "set_version", [NUMBER]]), encode([0, "change_members", [[NUMBER], [], None]]),
        encode([0, "note_divergence", [[NUMBER]]]), encode([0, "drop", [[NUMBER]]]),
        encode([0, "attach", ["x", "y", {}, 1, [NUMBER]]]),
        encode([0, "batch", [[[NUMBER]]]]),
    ],
)  # fmt: skip
def test_an_integer_that_has_no_text_ends_its_own_command_only(command: bytes) -> None:
    cluster = LocalCluster(2)
    box = cluster.attach("box", Box)[0]
    if b"batch" in command:
        outcomes = cluster.members[0].send(command).result()
        assert isinstance(outcomes[0].error, DecodeError)
    else:
        assert hostile(cluster, command)
    assert box.put(1) == [1]


def test_what_is_nested_too_deeply_for_a_snapshot_is_not_attached() -> None:
    cluster = LocalCluster(2)
    box = cluster.attach("box", Box)[0]
    deep = b"\x91" * 300 + b"\x90"
    for at in (2, 3):
        parts = [encode("deep"), encode("not.imported.Class"), b"\x80", encode(1), b"\x90"]
        parts[at] = b"\x81" + encode("k") + deep
        command = b"\x93\x00" + encode("attach") + b"\x95" + b"".join(parts)
        assert "nested too deeply" in str(hostile(cluster, command))
        assert image_of(cluster.members[1].table)
    assert box.put(1) == [1]


@pytest.mark.parametrize("ttl", [10**400, float("inf"), float("nan"), 0])
def test_a_session_lives_for_a_time(ttl: float) -> None:
    cluster = LocalCluster(1)
    arguments = ("x:1", 1, 1, ttl)
    command = encode_command(0, "open_session", arguments, {})
    assert "cannot have a ttl" in str(hostile(cluster, command))


@pytest.mark.parametrize("row", [[1, 2, [], None], [1, 2, 3], 5, ["a", 1, 1, None]])
def test_calls_that_wait_are_numbers(row: Any) -> None:
    waiters = Waiters()
    with pytest.raises((DecodeError, TypeError)):
        waiters.restore([row])
    assert waiters.state() == []


def test_who_sends_nothing_but_rubbish_does_not_fill_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = LocalCluster(1)
    for number in range(3000):
        cluster.append(encode_group(0, 0, 1, b"\xc1") if number % 2 else b"rubbish")
    told = [r for r in caplog.records if "skipped" in r.getMessage()]
    assert "skipped" in told[0].getMessage()
    assert "time number 2048" in told[-1].getMessage()
    assert len(told) < 30


@pytest.mark.parametrize("depth", [100, 200, 500, 990, 1400, 5000])
def test_a_value_that_is_nested_too_deeply_is_in_no_state_so_that_it_can_be_written(depth):
    """How deep an interpreter follows depends on its version, and on how deep the call stands."""
    cluster = LocalCluster(2)
    boxes = cluster.attach("box", Box)
    target = encode(boxes[0]._binding.target)
    lie = b"\x93" + target + encode("put") + b"\x91" + b"\x91" * depth + b"\x90"
    with pytest.raises(DecodeError, match=r"nested too deeply|recursion"):
        cluster.members[0].send(lie).result()
    assert boxes[0].put(1) == [1]
    assert boxes[1].items == [1]
    cluster.reload(1)
    cluster.digest_equal()
