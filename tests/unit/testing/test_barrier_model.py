"""The model of barriers: which histories it takes, and which it refuses."""

from math import inf
from threading import BrokenBarrierError

import pytest
from atomic_object import ops_of

from syncstructs.testing.barriers import BarrierModel
from syncstructs.testing.history import UNKNOWN, Raised
from syncstructs.testing.linearizability import check

BROKEN = Raised.of(BrokenBarrierError())


def verdict(*rows):
    return check(ops_of(*rows), BarrierModel(2)).ok


def test_all_of_a_round_pass_together():
    assert verdict(("a", "wait", (), 1, 6, 0), ("b", "wait", (), 5, 7, 1))
    assert not verdict(("a", "wait", (), 1, 2, 0), ("b", "wait", (), 5, 7, 1))
    assert not verdict(("a", "wait", (), 1, 6, 0), ("b", "wait", (), 5, 7, 0))


def test_whose_end_is_unknown_may_have_come_or_have_left():
    unknown = ("c", "wait", (), 1, inf, UNKNOWN)
    assert verdict(("a", "wait", (), 1, 6, 0), unknown)
    assert verdict(("a", "wait", (), 1, 6, BROKEN), unknown)


@pytest.mark.parametrize("method", ["abort", "reset"])
def test_who_waits_is_told_of_abort_and_reset(method):
    assert verdict(("a", "wait", (), 1, 6, BROKEN), ("b", method, (), 5, 7, None))


def test_broken_barrier_lets_nobody_pass_until_it_is_reset():
    abort = ("c", "abort", (), 1, 2, None)
    round_ = ("a", "wait", (), 5, 9, 0), ("b", "wait", (), 5, 9, 1)
    assert not verdict(abort, *round_)
    assert verdict(abort, ("c", "reset", (), 3, 4, None), *round_)
    assert not verdict(abort, ("b", "broken", (), 3, 4, False))
