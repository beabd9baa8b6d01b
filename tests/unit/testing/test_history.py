"""A history keeps what callers did and saw, and tells how certain that is."""

from __future__ import annotations

import io
from datetime import date
from math import inf

import pytest

from syncstructs.errors import Cancelled, NotReady, OutcomeUnknown, ResultLost, Timeout
from syncstructs.testing.history import NOT_APPLIED, UNKNOWN, History, Op, Raised


def only(history: History) -> Op:
    (op,) = history
    return op


def test_a_call_that_has_not_ended_is_unknown() -> None:
    history = History()
    history.begin("ann", "set", ("x", 1))
    op = only(history)
    assert (op.outcome, op.end, op.optional) == (UNKNOWN, inf, True)


def test_a_result_is_kept_as_it_was_when_it_came() -> None:
    history = History()
    number = history.begin("ann", "keys")
    content = {"x": 1}
    history.end(number, content.keys())
    content["y"] = 2
    assert only(history).outcome == ["x"]
    assert only(history).call < only(history).end


@pytest.mark.parametrize("error", [OutcomeUnknown("?"), Timeout("?"), Cancelled("?")])
def test_an_error_that_tells_nothing_leaves_the_call_open(error: Exception) -> None:
    history = History()
    history.fail(history.begin("ann", "inc"), error)
    assert only(history).outcome is UNKNOWN
    assert only(history).end == inf


def test_what_was_not_applied_is_no_outcome_of_the_method() -> None:
    history = History()
    history.fail(history.begin("ann", "inc"), NotReady("no"))
    assert only(history).outcome is NOT_APPLIED
    assert history.refused == [only(history)]


def test_a_lost_result_was_applied_before_it_was_told() -> None:
    history = History()
    history.fail(history.begin("ann", "inc"), ResultLost("gone"))
    assert only(history).outcome is UNKNOWN
    assert only(history).end < inf


def test_what_a_method_raises_is_its_outcome() -> None:
    history = History()
    history.fail(history.begin("ann", "pop", ("x",)), KeyError("x"))
    assert only(history).outcome == Raised("KeyError", ("x",))
    assert str(only(history)) == "pop('x') raises KeyError('x')"


def test_what_the_log_has_took_effect_by_then() -> None:
    history = History()
    number = history.begin("ann", "inc")
    history.applied(number, 7, time=1.5)
    history.applied(number, 8)
    op = only(history)
    assert (op.outcome, op.index, op.time) == (UNKNOWN, 7, 1.5)
    assert op.end < inf
    history.dismiss(number)
    assert only(history).outcome is UNKNOWN


def test_what_the_log_never_had_was_not_applied() -> None:
    history = History()
    number = history.begin("ann", "inc")
    history.dismiss(number)
    assert only(history).outcome is NOT_APPLIED


def test_a_full_history_says_so() -> None:
    history = History(max_ops=1)
    history.begin("ann", "inc")
    with pytest.raises(OverflowError, match="1 operations"):
        history.begin("ann", "inc")


def test_two_operations_with_one_id_are_refused() -> None:
    op = Op(id=1, process="a", method="inc", call=1)
    with pytest.raises(ValueError, match="id 1"):
        History.of([op, op])


def test_new_calls_follow_those_that_were_recorded_elsewhere() -> None:
    history = History.of([Op(id=41, process="a", method="inc", call=0)])
    assert history.begin("b", "inc") == 42


def test_a_written_history_comes_back_equal() -> None:
    history = History()
    odd = {"k": {1}}, date(2026, 1, 2)
    for args in ((1, "x", None), ((1, 2), b"x"), odd, (1.5, float("inf"))):
        history.end(history.begin("ann", "call", args, {"named": [args]}, session=3), args)
    history.fail(history.begin(7, "pop", ("x",)), KeyError(("x", 1)))
    history.fail(history.begin(7, "pop", ("x",)), NotReady("no"))
    history.applied(history.begin(7, "inc"), 12, time=2.5)
    text = io.StringIO()
    history.dump(text)
    assert list(History.load(io.StringIO(text.getvalue()))) == list(history)


def test_what_the_codec_does_not_know_comes_back_as_text() -> None:
    history = History()
    history.end(history.begin("ann", "call"), object)
    text = io.StringIO()
    history.dump(text)
    assert only(History.load(io.StringIO(text.getvalue()))).outcome == repr(object)


@pytest.mark.parametrize("line", ["{", "[]", "{}", '{"id": 1}', "7"])
def test_a_line_that_is_no_operation_is_refused_by_its_number(line: str) -> None:
    with pytest.raises(ValueError, match="line 2"):
        History.load(["\n", line])
