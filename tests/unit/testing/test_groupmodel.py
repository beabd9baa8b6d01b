"""The model of groups: which histories it takes, and which it refuses."""

from math import inf

import pytest
from atomic_object import ops_of, without_index
from msgspec.structs import replace

from syncstructs.errors import NotOwner
from syncstructs.testing.groupmodel import GroupModel
from syncstructs.testing.history import UNKNOWN, Raised
from syncstructs.testing.linearizability import Verdict, check, check_witness

EXACT, EXPIRY = GroupModel(), GroupModel(expiry=True)
BOTH = pytest.mark.parametrize("model", [EXACT, EXPIRY])
REFUSED = Raised.of(NotOwner("by the test"))


def ok(model, *rows):
    return check(ops_of(*rows), model).ok


def join(node, call, end, outcome=True, metadata=None):
    return node, "join", (metadata,), call, end, outcome


def members(call, end, **seen):
    return "r", "members", (), call, end, seen


@BOTH
def test_who_joins_and_was_no_member_is_told_so(model):
    assert ok(model, join("a", 1, 2), ("a", "leave", (), 3, 4, True), join("a", 5, 6))
    assert not ok(model, join("a", 1, 2, False))
    assert not ok(model, ("a", "leave", (), 1, 2, True))


def test_who_is_a_member_is_told_so_as_well():
    assert ok(EXACT, join("a", 1, 2), join("a", 3, 4, False))
    assert not ok(EXACT, join("a", 1, 2), join("a", 3, 4))
    assert not ok(EXACT, join("a", 1, 2), ("a", "leave", (), 3, 4, False))


@BOTH
def test_who_never_joined_or_has_left_is_not_there(model):
    left = "a", "leave", (), 3, 4, True
    for row in (members(5, 6, a=None), ("r", "__contains__", ("a",), 5, 6, True),
                ("r", "__len__", (), 5, 6, 1)):  # fmt: skip
        assert not ok(model, row)
        assert not ok(model, join("a", 1, 2), left, row)
        assert ok(model, join("a", 1, 2), row)


def test_who_has_joined_is_there():
    for row in (members(5, 6), ("r", "__contains__", ("a",), 5, 6, False),
                ("r", "__len__", (), 5, 6, 0)):  # fmt: skip
        assert not ok(EXACT, join("a", 1, 2), row)
        assert ok(EXPIRY, join("a", 1, 2), row)


@BOTH
def test_who_is_there_has_the_metadata_of_its_last_call(model):
    joined, updated = join("a", 1, 2, True, [1]), ("a", "update", ([2],), 3, 4, None)
    assert ok(model, joined, members(3, 4, a=[1]), updated, members(5, 6, a=[2]))
    assert not ok(model, joined, updated, members(5, 6, a=[1]))
    assert not ok(model, joined, updated, members(5, 6, a=[2.0]))


def test_members_stand_in_the_order_in_which_they_joined():
    joined = join("a", 1, 2), join("b", 3, 4), join("a", 5, 6, False, 1)
    assert ok(EXACT, *joined, members(7, 8, a=1, b=None))
    assert not ok(EXACT, *joined, members(7, 8, b=None, a=1))


def test_who_was_lost_may_be_back_and_is_the_last_one_then():
    joined = join("a", 1, 2), join("b", 3, 4)
    lost = "a", "lost", (), 5, 6, None
    assert ok(EXACT, *joined, lost, members(7, 8, b=None), members(9, 10, b=None, a=None))
    assert not ok(EXACT, *joined, lost, members(7, 8, a=None, b=None))
    assert ok(EXACT, *joined, lost, join("a", 7, 8), members(9, 10, b=None, a=None))
    assert not ok(EXACT, *joined, lost, ("a", "leave", (), 7, 8, False),
                  members(9, 10, b=None, a=None))  # fmt: skip


def test_who_may_have_been_lost_is_there_or_not():
    lost = "a", "lost", (), 5, inf, UNKNOWN
    assert ok(EXACT, join("a", 1, 2), lost, members(7, 8, a=None), members(9, 10))
    assert not ok(EXACT, join("a", 1, 2), lost, members(3, 4))


@BOTH
def test_a_call_of_unknown_outcome_may_have_had_its_effect_or_not(model):
    unknown = join("a", 1, inf, UNKNOWN)
    assert ok(model, unknown, members(3, 4), members(5, 6, a=None), join("a", 7, 8, False))
    assert ok(model, unknown, members(3, 4), join("a", 7, 8))


@BOTH
def test_who_is_told_that_it_has_no_metadata_may_have_joined(model):
    assert ok(model, join("a", 1, 2), ("a", "update", (1,), 3, 4, REFUSED), members(5, 6, a=None))


def test_in_the_order_of_the_log_a_loss_was_at_any_time():
    rows = ops_of(join("a", 1, 2), ("a", "lost", (), 3, inf, UNKNOWN), members(5, 6))
    ops = [replace(op, index=None if op.method == "lost" else op.id) for op in rows]
    assert check_witness(ops, EXACT).ok
    assert check_witness(without_index(ops), EXACT).verdict is Verdict.UNDECIDED
    assert not check_witness([ops[0], ops[2]], EXACT).ok


def test_which_node_has_called_a_function_may_tell():
    model = GroupModel(node=lambda op: op.process[0])
    assert ok(model, join("a/1", 1, 2), join("a/2", 3, 4, False), members(5, 6, a=None))


def test_a_method_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no method 'fly'"):
        ok(EXACT, ("a", "fly", (), 1, 2, 1))
