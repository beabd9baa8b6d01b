"""The model of a dictionary whose keys end: which histories it takes, and which it refuses."""

from math import inf
from random import Random

import pytest
from atomic_object import ops_of
from local_cluster import LocalCluster
from msgspec.structs import replace

from syncstructs import ReplTTLDict
from syncstructs.testing.assorted import ASSORTED
from syncstructs.testing.history import UNKNOWN, Op, Raised, plain
from syncstructs.testing.linearizability import check, check_witness
from syncstructs.testing.ttlmodels import TTLDictModel

MISSING = Raised.of(KeyError("k"))
# Keys live for 10 seconds.
SET = ("a", "set", ("k", 1), 100, 102, None)


def ok(*rows, model=None):
    return check(ops_of(*rows), TTLDictModel(10.0) if model is None else model).ok


def get(call, end, outcome=None, key="k"):
    return "b", "get", (key,), call, end, outcome


def test_a_key_is_gone_from_its_end_on_and_not_before():
    assert ok(SET, get(109, 110))
    assert not ok(SET, get(109, 109.9))
    assert ok(SET, get(500, 501, 1))
    assert not ok(SET, get(111, 112), get(113, 114, 1))


def test_what_is_gone_is_gone_for_everybody():
    assert ok(SET, get(109, 120), get(109, 111, 1))
    assert ok(SET, get(109, 111), get(109, 120, 1))
    # Who has seen it gone did so at 110 or later, and before it was set for ever.
    assert ok(SET, get(103, 120), ("c", "set", ("k", 2, None), 104, 110, None))
    assert not ok(SET, get(103, 120), ("c", "set", ("k", 2, None), 104, 109, None))
    assert not ok(SET, get(103, 120), ("c", "copy", (), 104, 109, {}))


def test_a_key_is_there_until_the_clock_of_a_fast_leader_says_otherwise():
    assert ok(SET, get(109, 109.9), model=TTLDictModel(10.0, drift=0.02))
    assert not ok(SET, get(109, 109.8), model=TTLDictModel(10.0, drift=0.02))


def test_a_key_is_not_there_for_longer_than_it_may_be():
    assert ok(SET, get(113, 114, 1), model=TTLDictModel(10.0, late=1.0))
    assert not ok(SET, get(113.1, 114, 1), model=TTLDictModel(10.0, late=1.0))
    # By a slow clock, 10 seconds take 10 / 0.98.
    assert ok(SET, get(112.203, 114, 1), model=TTLDictModel(10.0, late=0.0, drift=0.02))
    assert not ok(SET, get(112.205, 114, 1), model=TTLDictModel(10.0, late=0.0, drift=0.02))


def test_the_time_of_a_call_is_no_earlier_than_what_was_before_it():
    before = ("c", "set", ("k", 0), 101, 104, None), get(103, 104, 0)
    late = "a", "set", ("k", 1), 90, 110, None
    assert ok(*before, late, get(111, 112, 1), get(113, 114))
    assert not ok(*before, late, get(111, 112, 1), get(112, 112.9))


@pytest.mark.parametrize(("method", "args", "outcome"), [
    ("set", ("k", 1), None), ("touch", ("k",), True), ("update", ({"k": 1},), None),
    ("reset", ({"k": 1},), None), ("compare_and_set", ("k", 1, 1), True),
    ("__setitem__", ("k", 1), None),
])  # fmt: skip
def test_whatever_sets_a_key_gives_it_a_new_life(method, args, outcome):
    again = "a", method, args, 105, 106, outcome
    assert ok(SET, again, get(114, 115))
    assert not ok(SET, again, get(113, 114))


@pytest.mark.parametrize(("method", "args", "outcome"), [
    ("setdefault", ("k", 2), 1), ("touch", ("x",), False), ("compare_and_set", ("k", 2, 1), False),
    ("get", ("k",), 1),
])  # fmt: skip
def test_what_does_not_set_it_gives_it_none(method, args, outcome):
    assert ok(SET, ("a", method, args, 105, 106, outcome), get(109, 110))


def test_who_finds_it_gone_and_sets_it_does_so_after_its_end():
    again = "a", "setdefault", ("k", 2), 103, 112, 2
    assert ok(SET, again, get(119, 120))
    assert not ok(SET, again, get(119, 119.9))


@pytest.mark.parametrize(("ttl", "end"), [(3.0, 103), (-1.0, 110), (20, 120)])
def test_a_call_may_say_how_long_a_key_is_to_live(ttl, end):
    told = "a", "set", ("k", 1, ttl), 100, 102, None
    assert ok(told, get(end - 1, end))
    assert not ok(told, get(end - 0.5, end - 0.1))


def test_a_key_that_is_to_live_for_ever_does_not_end():
    told = "a", "set", ("k", 1, None), 100, 102, None
    assert not ok(told, get(10_000, 10_001))
    assert not ok(told, ("a", "touch", ("k", None), 103, inf, UNKNOWN), get(10_000, 10_001))


@pytest.mark.parametrize("row", [
    ("a", "delete", ("k",), 103, 104, MISSING), ("a", "pop", ("k", None), 103, 104, None),
    ("a", "touch", ("k",), 103, 104, False), ("a", "setdefault", ("k", 2), 103, 104, 2),
    ("a", "compare_and_set", ("k", 1, 2), 103, 104, False), ("a", "copy", (), 103, 104, {}),
    ("a", "items", (), 103, 104, []), ("a", "keys", (), 103, 104, []),
    ("a", "__len__", (), 103, 104, 0), ("a", "popitem", (), 103, 104, MISSING),
    ("a", "__contains__", ("k",), 103, 104, False), ("a", "__getitem__", ("k",), 103, 104, MISSING),
])  # fmt: skip
def test_every_call_tells_whether_a_key_is_there(row):
    assert not ok(SET, row)
    method, args, outcome = row[1], row[2], row[5]
    assert ok(SET, ("a", method, args, 109, 111, outcome))


@pytest.mark.parametrize("row", [
    ("a", "get", ("k",), 103, 104, 2), ("a", "copy", (), 103, 104, {"k": 2}),
    ("a", "copy", (), 103, 104, {"k": 1, "x": 1}), ("a", "keys", (), 103, 104, ["k", "x"]),
    ("a", "values", (), 103, 104, [1, 1]), ("a", "popitem", (), 103, 104, ("k", 2)),
    ("a", "popitem", (), 103, 104, ("x", 1)), ("a", "set", ("k", 1, -2.0), 103, 104, None),
])  # fmt: skip
def test_what_nobody_has_set_is_never_seen(row):
    assert not ok(SET, row)


def test_what_was_taken_is_not_there_any_more():
    for method, args, outcome in (
        ("delete", ("k",), None), ("pop", ("k",), 1), ("popitem", (), ("k", 1)),
        ("clear", (), None),
    ):  # fmt: skip
        gone = "a", method, args, 103, 104, outcome
        assert ok(SET, gone, get(105, 106))
        assert not ok(SET, gone, get(105, 106, 1))


def test_of_a_call_of_unknown_outcome_all_may_be_true():
    taken = "a", "popitem", (), 103, inf, UNKNOWN
    assert ok(SET, taken, ("a", "setdefault", ("k", 2), 104, 105, 2))
    assert ok(SET, taken, get(104, 105))
    assert ok(SET, taken, get(104, 105, 1))
    renewed = "a", "touch", ("k",), 105, inf, UNKNOWN
    assert not ok(SET, renewed, get(106, 109))
    assert ok(SET, renewed, get(110, 111))
    assert ok(SET, renewed, get(110, 111, 1))


def test_cluster_time_decides_where_it_is_known():
    set_, gone, unknown = (
        replace(op, time=time, index=op.id) for op, time in zip(
            ops_of(("a", "set", ("k", 1), 1, 2, None), get(3, 4), get(3, 4)), (50.0, 60.0, None),
            strict=True,
        )
    )  # fmt: skip
    early = replace(gone, time=59.999)
    for judge in (check, check_witness):
        assert judge([set_, gone], TTLDictModel(10.0)).ok
        assert not judge([set_, early], TTLDictModel(10.0)).ok
        # Of a call whose time is not known, nothing is believed.
        assert judge([set_, unknown], TTLDictModel(10.0)).ok
        assert not judge([set_, unknown], TTLDictModel(None)).ok


def test_a_method_that_is_none_is_refused():
    with pytest.raises(ValueError, match="no method 'fly'"):
        ok(("a", "fly", (), 1, 2, None))


@pytest.mark.parametrize("known", [True, False])
def test_the_model_takes_what_the_type_does(known):
    draw, changes = ASSORTED["cache"].draw, []
    for seed in range(20):
        random, numbers = Random(seed), iter(range(1, 1000))
        cluster = LocalCluster(1)
        (cache,) = cluster.attach("cache", lambda: ReplTTLDict(1.0))
        ops = []
        for step in range(80):
            method, args = draw(cache, random, numbers.__next__)
            if random.random() < 0.3:
                method, args = random.choice(ASSORTED["cache"].reads)
            try:
                found = getattr(cache, method)
                outcome = plain(found(*args))
            except Exception as error:
                outcome = Raised.of(error)
            now = cluster.now
            ops.append(Op(
                id=step, process="a", method=method, args=args, call=now, end=now, index=step,
                outcome=outcome, time=now if known else None,
            ))  # fmt: skip
            cluster.advance(random.choice((0.0, 0.1, 0.5)))
        # As they end at once here, no key is there for longer than it is to live.
        model = TTLDictModel(1.0, late=0.0)
        assert check(ops, model).ok
        assert check_witness(ops, model).ok
        changes += [op for op in ops if op.method == "touch" and op.outcome is False]
        short = check(ops, TTLDictModel(1.2))
        longer = check(ops, TTLDictModel(0.8, late=0.0))
        assert not short.ok or not longer.ok
    assert len(changes) > 20, "hardly any key has ended"


@pytest.mark.parametrize(("terms", "why"), [
    ({"ttl": 1.0, "drift": 1.0}, "drift=1.0"), ({"ttl": 1.0, "drift": -0.1}, "drift=-0.1"),
    ({"ttl": 0.0}, "a ttl is a number"),
])  # fmt: skip
def test_terms_that_make_no_sense_are_refused(terms, why):
    with pytest.raises(ValueError, match=why):
        TTLDictModel(**terms)


def test_looks_at_all_keys_among_many_calls_at_once_are_decided_soon():
    random, cluster = Random(1), LocalCluster(1)
    (cache,) = cluster.attach("cache", lambda: ReplTTLDict(1.0))
    free, spans = [1.0] * 8, []
    for number in range(200):
        who = free.index(min(free))
        call, end = free[who], free[who] + random.expovariate(3.0)
        spans.append((random.uniform(call, end), number, call, end))
        free[who] = end + 0.05
    ops = []
    for moment, number, call, end in sorted(spans):
        cluster.advance(max(0.0, moment - cluster.now))
        key = random.choice("abcdefgh")
        looks = ("copy", ()), ("__len__", ()), ("keys", ())
        calls = ("set", (key, number)), ("touch", (key,)), ("get", (key,)), ("pop", (key, None))
        method, args = random.choice(looks if random.random() < 0.05 else calls)
        outcome = plain(getattr(cache, method)(*args))
        ops.append(Op(
            id=number, process="a", method=method, args=args, call=call, end=end, outcome=outcome,
        ))  # fmt: skip
    check(ops, TTLDictModel(1.0), budget=100_000).require()
