"""The model of ids that are taken in blocks: which histories it takes, and which it refuses."""

from math import inf

import pytest
from atomic_object import ops_of

from syncstructs.testing.history import UNKNOWN
from syncstructs.testing.idmodel import IdGeneratorModel
from syncstructs.testing.linearizability import check


def ok(*rows, start=1):
    """Check (node, method, args, call, end, outcome); blocks have four ids."""
    return check(ops_of(*rows), IdGeneratorModel(4, start=start)).ok


def an_id(node, call, end, number):
    return node, "next_id", (), call, end, number


def reserve(call, end, first, count=1):
    return "r", "reserve", (count,), call, end, first


def test_nodes_hand_out_their_blocks_beside_each_other():
    assert ok(an_id("a", 1, 2, 1), an_id("b", 3, 4, 5), an_id("a", 5, 6, 2), an_id("b", 7, 8, 9))


def test_no_id_is_given_twice():
    assert not ok(an_id("a", 1, 2, 1), an_id("a", 1, 2, 1))
    assert not ok(reserve(1, 2, 1, 3), reserve(1, 2, 3))
    assert not ok(reserve(1, 2, 1, 3), an_id("a", 1, 9, 2))
    unknown = "r", "reserve", (1,), 1, inf, UNKNOWN
    assert not ok(unknown, an_id("a", 1, 2, 1), an_id("b", 1, 2, 1))


def test_the_ids_of_a_node_grow():
    assert ok(an_id("a", 1, 5, 2), an_id("a", 2, 4, 1))
    assert not ok(an_id("a", 1, 2, 2), an_id("a", 3, 4, 1))


def test_a_block_is_one_nodes():
    assert not ok(an_id("a", 1, 2, 1), an_id("b", 3, 4, 2))
    assert not ok(reserve(1, 2, 1, 2), an_id("a", 3, 4, 3), an_id("b", 3, 4, 6))
    assert ok(reserve(1, 2, 1, 2), an_id("a", 3, 4, 3), an_id("b", 3, 4, 7))
    # Which node that is, a function may tell.
    same = IdGeneratorModel(4, node=lambda op: 0)
    assert check(ops_of(an_id("a", 1, 2, 1), an_id("b", 3, 4, 2)), same).ok


def test_what_is_reserved_is_greater_than_whatever_was_given_before():
    assert ok(an_id("a", 1, 2, 5), reserve(3, 4, 9))
    assert not ok(an_id("a", 1, 2, 5), reserve(3, 4, 1))
    assert ok(an_id("a", 1, 5, 5), reserve(3, 4, 1, 4))
    assert not ok(reserve(1, 2, 5), reserve(3, 4, 1, 4))


def test_an_older_block_goes_on_behind_what_was_reserved():
    assert ok(an_id("a", 1, 2, 1), reserve(3, 4, 5), an_id("a", 5, 6, 2), an_id("a", 7, 8, 6))


def test_there_are_whole_blocks_between_what_is_reserved():
    assert ok(reserve(1, 2, 1, 2), reserve(3, 4, 7))
    assert not ok(reserve(1, 2, 1, 2), reserve(3, 4, 6))
    assert not ok(reserve(1, 2, 3))
    # Unless nobody knows how many somebody else has taken.
    assert ok(reserve(1, 2, 1, 2), ("r", "reserve", (7,), 1, inf, UNKNOWN), reserve(3, 4, 6))


def test_nothing_is_given_before_the_first():
    assert ok(an_id("a", 1, 2, 100), start=100)
    assert not ok(an_id("a", 1, 2, 99), start=100)
    assert not ok(reserve(1, 2, 96, 2), start=100)


def test_a_call_of_unknown_outcome_leaves_a_gap():
    assert ok(("a", "next_id", (), 1, inf, UNKNOWN), an_id("a", 3, 4, 2), reserve(5, 6, 5))


def test_a_method_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no method 'fly'"):
        ok(("a", "fly", (), 1, 2, 1))


def test_there_are_no_empty_blocks():
    with pytest.raises(ValueError, match="block=0 must be at least 1"):
        IdGeneratorModel(0)
