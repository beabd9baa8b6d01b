"""`change_members` as steps: what it asks for, how long it waits, and what it tells at the end."""

from types import SimpleNamespace

import pytest

from syncstructs.errors import (
    Cancelled,
    ConfigError,
    MembershipRefused,
    NodeRemoved,
    OutcomeUnknown,
    Timeout,
    Withdrawn,
)
from syncstructs.node.members import change_members


class FakeCall:
    def __init__(self, is_sent=True):
        self.is_sent = is_sent

    def __eq__(self, other):
        return other == "the call"

    def cancel(self):
        return not self.is_sent


class FakeEngine:
    """What `change_members` sees of a node; `wanted` is what its table says."""

    def __init__(self) -> None:
        self.address = "a:1"
        self.failure = None
        self.clock = 100.0
        self.asked = []
        self.call = FakeCall()
        self.table = SimpleNamespace(wanted=("a:1", "b:1"))
        self.replica = SimpleNamespace(is_settled=True, table=self.table)

    def now(self) -> float:
        return self.clock

    def system(self, method, *args):
        self.asked.append((method, *args))
        return self.call

    def membership_change(self):
        return "a change"


def begin(engine, *, result, settled=False, **arguments):
    """Go on until the command is applied with `result`; return the steps and what they yield."""
    arguments.setdefault("timeout", 5.0)
    steps = change_members(engine, **arguments)
    assert next(steps) == ("the call", arguments["timeout"])
    assert steps.send(True) == "the call"
    engine.table.wanted = tuple(result)
    engine.replica.is_settled = settled
    try:
        return steps, steps.send(list(result))
    except StopIteration:
        return steps, None


def end(steps, value) -> None:
    with pytest.raises(StopIteration):
        steps.send(value)


def test_it_asks_once_with_sorted_addresses_and_without_repetition() -> None:
    engine = FakeEngine()
    begin(engine, result=("a:1",), settled=True, added=["c:1", "b:1", "c:1"], removed=["d:1"])
    begin(engine, result=("a:1",), settled=True, only=["b:1", "a:1"])
    assert engine.asked == [
        ("change_members", ["b:1", "c:1"], ["d:1"], None),
        ("change_members", [], [], ["a:1", "b:1"]),
    ]


@pytest.mark.parametrize(
    "address", ["nonsense", "a b:1", "a\n:1", "[a\n[CRITICAL] forged]:1", "a\0:1", "\u2028:1"]
)
def test_what_is_no_address_is_refused_before_anything_is_asked(address: str) -> None:
    """Else it would begin lines of the logs of all members."""
    engine = FakeEngine()
    with pytest.raises(ConfigError) as caught:
        next(change_members(engine, added=[address], timeout=None))
    assert engine.asked == []
    assert str(caught.value).isprintable()


def test_it_ends_at_once_if_those_vote_already() -> None:
    _, waits = begin(FakeEngine(), result=("a:1", "b:1"), settled=True, added=["b:1"])
    assert waits is None


def test_it_waits_until_exactly_those_vote() -> None:
    engine = FakeEngine()
    steps, waits = begin(engine, result=("a:1", "b:1", "c:1"), added=["c:1"])
    assert waits == ("a change", 5.0)
    engine.clock += 2.0
    assert steps.send(True) == ("a change", 3.0)
    engine.replica.is_settled = True
    end(steps, True)


def test_without_a_timeout_it_waits_without_an_end() -> None:
    engine = FakeEngine()
    steps, waits = begin(engine, result=("a:1",), removed=["b:1"], timeout=None)
    assert waits == ("a change", None)
    engine.clock += 1e6
    assert steps.send(True) == ("a change", None)


def test_a_command_that_is_not_answered_in_time_may_yet_be_carried_out() -> None:
    steps = change_members(FakeEngine(), added=["c:1"], timeout=5.0)
    next(steps)
    with pytest.raises(Timeout, match=r"no answer within 5.0 s .* change the members; it may yet"):
        steps.send(False)


def test_a_command_that_was_not_sent_in_time_is_taken_back() -> None:
    engine = FakeEngine()
    engine.call = FakeCall(is_sent=False)
    steps = change_members(engine, added=["c:1"], timeout=5.0)
    next(steps)
    with pytest.raises(Withdrawn, match=r"change the members within 5.0 s, .* nothing changes"):
        steps.send(False)


def test_a_wait_that_is_cancelled_takes_the_command_back() -> None:
    engine, cancelled = FakeEngine(), []
    engine.call.cancel = lambda: cancelled.append(True)
    steps = change_members(engine, added=["c:1"], timeout=5.0)
    next(steps)
    with pytest.raises(Cancelled):
        steps.throw(Cancelled("enough"))
    assert cancelled == [True]


def test_a_change_that_takes_longer_goes_on() -> None:
    engine = FakeEngine()
    steps, _ = begin(engine, result=("a:1", "b:1", "c:1"), added=["c:1"])
    with pytest.raises(Timeout, match=r"a:1, b:1, c:1 are not yet .* the change goes on"):
        steps.send(False)


def test_it_is_done_if_it_was_done_in_the_last_moment() -> None:
    engine = FakeEngine()
    steps, _ = begin(engine, result=("a:1",), removed=["b:1"])
    engine.clock += 9.0
    assert steps.send(True) == ("a change", 0.0)
    engine.replica.is_settled = True
    end(steps, True)


def test_a_refusal_of_the_command_is_the_callers() -> None:
    steps = change_members(FakeEngine(), removed=["a:1"], timeout=None)
    next(steps)
    steps.send(True)
    with pytest.raises(MembershipRefused, match="nobody"):
        steps.throw(MembershipRefused("nobody is left"))


@pytest.mark.parametrize(
    ("asked", "later"),
    [
        ({"added": ["c:1"]}, ("a:1", "b:1")),
        ({"removed": ["b:1"]}, ("a:1", "b:1", "c:1")),
        ({"only": ["a:1", "c:1"]}, ("a:1", "b:1", "c:1")),
    ],
)
def test_a_change_that_takes_it_back_is_told(asked, later) -> None:
    engine = FakeEngine()
    steps, _ = begin(engine, result=("a:1", "c:1"), **asked)
    engine.table.wanted = later
    with pytest.raises(MembershipRefused, match="another change has taken its place"):
        steps.send(True)


def test_a_later_change_that_keeps_what_was_asked_for_is_waited_for() -> None:
    engine = FakeEngine()
    steps, _ = begin(engine, result=("a:1", "c:1"), added=["c:1"], removed=["b:1"])
    engine.table.wanted = ("c:1", "d:1")
    assert steps.send(True) == ("a change", 5.0)
    engine.replica.is_settled = True
    end(steps, True)


def test_a_node_that_stops_waits_no_longer() -> None:
    engine = FakeEngine()
    steps, _ = begin(engine, result=("a:1",), removed=["b:1"])
    engine.failure = RuntimeError()
    with pytest.raises(OutcomeUnknown, match="the change goes on"):
        steps.send(True)


def test_a_node_that_is_removed_as_it_asked_has_done_what_it_was_to() -> None:
    engine = FakeEngine()
    steps, _ = begin(engine, result=("b:1",), removed=["a:1"])
    engine.failure = NodeRemoved()
    end(steps, True)


def test_a_node_that_is_removed_cannot_tell_whether_others_were_replaced_as_it_asked() -> None:
    engine = FakeEngine()
    steps, _ = begin(engine, result=("b:1",), only=["b:1"])
    engine.failure = NodeRemoved()
    with pytest.raises(OutcomeUnknown, match="the change goes on"):
        steps.send(True)
