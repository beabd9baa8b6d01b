"""The model of permits: what callers may have seen, and what they cannot have."""

import pytest
from msgspec.structs import replace

from syncstructs.errors import LockLost
from syncstructs.testing.history import UNKNOWN, Op, Raised
from syncstructs.testing.linearizability import Verdict, check
from syncstructs.testing.permitmodel import PermitModel, RWLockModel, SemaphoreModel

GATE, BOOK = SemaphoreModel(2), RWLockModel()
LOST = Raised.of(LockLost("by the test"))


def verdict(model: PermitModel, *rows: tuple[str, object, int, float, float, object]) -> Verdict:
    """Check operations: method, kind, token, call, end, and outcome."""
    ops = [
        Op(
            id=number, process=f"p{number}", method=method, call=call, end=end, outcome=outcome,
            args=(kind, token) if method == "release" else (kind,),
        )
        for number, (method, kind, token, call, end, outcome) in enumerate(rows, 1)
    ]  # fmt: skip
    return check(ops, model).verdict


def held(kind: object, token: int, begin: float, end: float, outcome: object = None) -> tuple:
    """Return the operations of a permit that was held from `begin` to `end`."""
    return (
        ("acquire", kind, token, begin, begin + 1, token),
        ("release", kind, token, end, end + 1, outcome),
    )


def test_two_may_hold_a_semaphore_of_two() -> None:
    rows = (*held(None, 1, 0, 10), *held(None, 2, 1, 11), *held(None, 3, 9, 20))
    assert verdict(GATE, *rows) is Verdict.LINEARIZABLE


def test_three_may_not() -> None:
    rows = (*held(None, 1, 0, 10), *held(None, 2, 1, 11), *held(None, 3, 3, 20))
    assert verdict(GATE, *rows) is Verdict.NOT_LINEARIZABLE


@pytest.mark.parametrize("outcome", [LOST, UNKNOWN])
def test_what_may_have_been_lost_was_perhaps_not_held(outcome: object) -> None:
    rows = (*held(None, 1, 0, 10, outcome), *held(None, 2, 1, 11), *held(None, 3, 3, 20))
    assert verdict(GATE, *rows) is Verdict.LINEARIZABLE


def test_tokens_grow_and_are_given_once() -> None:
    assert verdict(GATE, *held(None, 5, 0, 3), *held(None, 4, 5, 8)) is Verdict.NOT_LINEARIZABLE
    assert verdict(GATE, *held(None, 5, 0, 3), *held(None, 5, 5, 8)) is Verdict.NOT_LINEARIZABLE
    assert verdict(GATE, *held(None, 5, 0, 3), *held(None, 6, 5, 8)) is Verdict.LINEARIZABLE


def test_what_was_not_granted_says_nothing() -> None:
    rows = (("acquire", None, 0, 0, 1, False), *held(None, 1, 2, 4))
    assert verdict(GATE, *rows) is Verdict.LINEARIZABLE


def test_readers_read_together_and_writers_write_alone() -> None:
    readers = (*held("read", 1, 0, 10), *held("read", 2, 2, 12))
    assert verdict(BOOK, *readers) is Verdict.LINEARIZABLE
    assert verdict(BOOK, *readers, *held("write", 3, 13, 15)) is Verdict.LINEARIZABLE
    assert verdict(BOOK, *readers, *held("write", 3, 5, 15)) is Verdict.NOT_LINEARIZABLE
    assert verdict(BOOK, *held("write", 1, 0, 9), *readers[2:]) is Verdict.NOT_LINEARIZABLE


@pytest.mark.parametrize(("method", "args", "outcome"), [
    ("acquire", (), True), ("acquire", (None,), True), ("release", (), None),
    ("release", (None,), None), ("value", (), 3),
])  # fmt: skip
def test_what_is_recorded_otherwise_is_refused(method: str, args: tuple, outcome: object) -> None:
    op = Op(id=1, process="a", method=method, args=args, call=0, end=1, outcome=outcome)
    with pytest.raises(ValueError, match=r"no method 'value'|is to be recorded with the token"):
        check([op], GATE)


def test_a_release_may_name_its_token() -> None:
    acquire, release = (
        Op(id=1, process="a", method="acquire", args=(None,), call=0, end=1, outcome=1),
        Op(id=2, process="a", method="release", args=(None,), kwargs={"token": 1}, call=2, end=3,
           outcome=None),
    )  # fmt: skip
    assert check([acquire, release], GATE).ok
    assert not check([acquire, release, replace(release, id=3, call=4, end=5)], GATE).ok
