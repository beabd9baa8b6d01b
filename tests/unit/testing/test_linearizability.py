"""The checkers accept what an atomic object did, and refuse everything else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from math import inf
from random import Random
from typing import Any

import pytest
from atomic_object import Draw, brute_force, ops_of, record, without_index
from msgspec.structs import replace

from syncstructs import Replicated, replicated
from syncstructs.testing import twins
from syncstructs.testing.classmodel import ClassModel
from syncstructs.testing.history import NOT_APPLIED, UNKNOWN, Op, Raised
from syncstructs.testing.linearizability import Result, Verdict, check, check_witness, partitions
from syncstructs.testing.models import (
    CounterModel,
    DictModel,
    ListModel,
    RegisterModel,
    SetModel,
)
from syncstructs.testing.queuemodels import PriorityQueueModel, QueueModel
from syncstructs.testing.sequential import FunctionModel, Model

_numbers = count(1)


def draw_register(random: Random) -> tuple[str, tuple[Any, ...]]:
    value = random.randrange(3)
    return random.choice(
        (("get", ()), ("set", (value,)), ("compare_and_set", (value, random.randrange(3))))
    )


def draw_counter(random: Random) -> tuple[str, tuple[Any, ...]]:
    return random.choice((("inc", ()), ("add", (2,)), ("get", ())))


def draw_dict(random: Random) -> tuple[str, tuple[Any, ...]]:
    key, value = random.randrange(20), next(_numbers)
    return random.choice(
        (("get", (key,)), ("set", (key, value)), ("pop", (key, None)), ("__getitem__", (key,)))
    )


def draw_list(random: Random) -> tuple[str, tuple[Any, ...]]:
    return random.choice(
        (("append", (next(_numbers),)), ("pop", (0,)), ("pop", ()), ("copy", ()), ("__len__", ()))
    )


def draw_set(random: Random) -> tuple[str, tuple[Any, ...]]:
    method = random.choice(("add", "discard", "remove", "__contains__"))
    return method, (random.randrange(8),)


def draw_whole_set(random: Random) -> tuple[str, tuple[Any, ...]]:
    return ("__len__", ()) if random.random() < 0.3 else draw_set(random)


def draw_queue(random: Random) -> tuple[str, tuple[Any, ...]]:
    return random.choice((("put", (next(_numbers),)), ("get_nowait", ()), ("qsize", ())))


def draw_ranked(random: Random) -> tuple[str, tuple[Any, ...]]:
    item = random.randrange(4) * 10**9 + next(_numbers)
    return random.choice((("put", (item,)), ("get_nowait", ())))


TYPES: dict[str, tuple[Model, Callable[[], Any], Draw]] = {
    "register": (RegisterModel(), twins.Register, draw_register),
    "counter": (CounterModel(), twins.Counter, draw_counter),
    "dict": (DictModel(), twins.Dict, draw_dict),
    "list": (ListModel(), twins.List, draw_list),
    "set": (SetModel(), twins.Set, draw_set),
    "whole set": (SetModel(), twins.Set, draw_whole_set),
    "queue": (QueueModel(), twins.Queue, draw_queue),
    "priority queue": (PriorityQueueModel(), twins.PriorityQueue, draw_ranked),
}
each_type = pytest.mark.parametrize("name", TYPES)


def verdict(ops: Sequence[Op], model: Model) -> Verdict:
    return check(ops, model).verdict


GOOD, BAD = Verdict.LINEARIZABLE, Verdict.NOT_LINEARIZABLE


# What an atomic object did


@each_type
def test_what_an_atomic_object_did_is_accepted_by_both_checkers(name: str) -> None:
    model, make, draw = TYPES[name]
    for seed in range(10):
        ops = record(make(), draw, 200, seed=seed, clients=8)
        assert check(ops, model).ok, f"seed {seed}: {check(ops, model)}"
        assert check_witness(ops, model).ok, f"seed {seed}: {check_witness(ops, model)}"


@each_type
def test_calls_whose_end_nobody_learnt_may_have_happened_or_not(name: str) -> None:
    model, make, draw = TYPES[name]
    for seed in range(10):
        ops = record(make(), draw, 60, seed=seed, clients=4, lost=0.2)
        assert any(op.outcome is UNKNOWN for op in ops)
        for given in (ops, without_index(ops)):
            assert check(given, model).ok, f"seed {seed}: {check(given, model)}"
        assert check_witness(ops, model).ok, f"seed {seed}: {check_witness(ops, model)}"


@each_type
def test_the_search_agrees_with_all_permutations_of_small_histories(name: str) -> None:
    model, make, draw = TYPES[name]
    seen = {GOOD: 0, BAD: 0}
    for seed in range(150):
        random = Random(seed)
        ops = record(make(), draw, 6, seed=seed, clients=3, lost=0.1)
        # Other outcomes, from elsewhere in the same history, make many of them bad.
        for _ in range(random.randrange(3)):
            one, other = random.randrange(len(ops)), random.choice(ops)
            if ops[one].outcome is not UNKNOWN and other.outcome is not UNKNOWN:
                ops[one] = replace(ops[one], outcome=other.outcome)
        given = random.choice((ops, without_index(ops)))
        result = check(given, model)
        assert result.ok == brute_force(given, model), f"seed {seed}: {result}\n{given}"
        seen[result.verdict] += 1
    assert min(seen.values()) > 10, seen


# What broken objects did


def mutated(ops: Sequence[Op], name: str, random: Random) -> list[Op] | None:
    """Return the history as a broken object would have left it, where that certainly shows."""
    changed = list(ops)
    known = [i for i, op in enumerate(ops) if op.outcome is not UNKNOWN]
    values = [i for i in known if ops[i].method in ("get", "get_nowait", "copy", "pop", "inc")]
    values = [i for i in values if ops[i].outcome not in (None, []) and not _raised(ops[i])]
    if not values:
        return None
    i = random.choice(values)
    outcome: Any = ops[i].outcome
    # A value that nobody wrote, or one that was given out twice.
    phantom = [*outcome, -1] if isinstance(outcome, list) else -1
    changed[i] = replace(ops[i], outcome=phantom)
    return changed


def _raised(op: Op) -> bool:
    return isinstance(op.outcome, Raised)


@pytest.mark.parametrize("name", [n for n in TYPES if "set" not in n])
def test_a_value_that_nobody_wrote_is_refused_by_both_checkers(name: str) -> None:
    model, make, draw = TYPES[name]
    tried = 0
    for seed in range(10):
        bad = mutated(record(make(), draw, 40, seed=seed, clients=3), name, Random(seed))
        if bad is None:
            continue
        tried += 1
        assert verdict(bad, model) is BAD, f"seed {seed}"
        assert verdict(without_index(bad), model) is BAD, f"seed {seed}"
        assert check_witness(bad, model).verdict is BAD, f"seed {seed}"
    assert tried >= 8


def test_a_stale_read_is_refused() -> None:
    ops = ops_of(
        ("ann", "set", ("x", 1), 1, 2, None),
        ("ann", "set", ("x", 2), 3, 4, None),
        ("bob", "get", ("x",), 5, 6, 1),
    )
    assert verdict(ops, DictModel()) is BAD
    # While the write runs, a reader may still see what was there.
    assert verdict([ops[0], replace(ops[1], end=5), ops[2]], DictModel()) is GOOD


def test_a_read_that_goes_back_in_time_is_refused() -> None:
    ops = ops_of(
        ("ann", "set", (1,), 1, 10, None),
        ("bob", "get", (), 2, 3, 1),
        ("bob", "get", (), 4, 5, None),
    )
    assert verdict(ops, RegisterModel()) is BAD


def test_a_lost_update_is_refused() -> None:
    ops = ops_of(
        ("ann", "inc", (), 1, 4, 1), ("bob", "inc", (), 2, 5, 2), ("ann", "get", (), 6, 7, 1)
    )
    assert verdict(ops, CounterModel()) is BAD
    assert verdict([*ops[:2], replace(ops[2], outcome=2)], CounterModel()) is GOOD


def test_an_update_that_was_applied_twice_is_refused() -> None:
    ops = ops_of(("ann", "inc", (), 1, 2, 1), ("bob", "inc", (), 3, 4, 3))
    assert verdict(ops, CounterModel()) is BAD


def test_an_item_that_two_callers_got_is_refused() -> None:
    ops = ops_of(
        ("ann", "put", ("a",), 1, 2, None),
        ("bob", "get", (), 3, 5, "a"),
        ("cid", "get", (), 4, 6, "a"),
    )
    assert verdict(ops, QueueModel()) is BAD


def test_items_that_overtook_each_other_are_refused_by_a_queue_alone() -> None:
    ops = ops_of(
        ("ann", "put", (2,), 1, 2, None),
        ("ann", "put", (1,), 3, 4, None),
        ("bob", "get", (), 5, 6, 1),
        ("bob", "get", (), 7, 8, 2),
    )
    assert verdict(ops, QueueModel()) is BAD
    assert verdict(ops, PriorityQueueModel()) is GOOD


def test_an_empty_queue_behind_a_put_is_refused() -> None:
    empty = Raised("_queue.Empty")
    ops = ops_of(("ann", "put", (1,), 1, 2, None), ("bob", "get_nowait", (), 3, 4, empty))
    assert verdict(ops, QueueModel()) is BAD


def test_what_only_touches_is_concurrent() -> None:
    ops = ops_of(("ann", "set", (1,), 1, 2, None), ("bob", "get", (), 2, 3, None))
    assert verdict(ops, RegisterModel()) is GOOD
    assert verdict([ops[0], replace(ops[1], call=2.5)], RegisterModel()) is BAD


def test_a_value_of_another_type_is_another_value() -> None:
    ops = ops_of(("ann", "set", (1,), 1, 2, None), ("bob", "get", (), 3, 4, True))
    assert verdict(ops, RegisterModel()) is BAD


# Outcomes that nobody knows


def test_an_unknown_write_may_take_effect_at_any_later_time() -> None:
    write = ops_of(("ann", "set", (1,), 1, inf, UNKNOWN))
    reads = ops_of(("bob", "get", (), 2, 3, None), ("bob", "get", (), 100, 101, 1))
    reads = [replace(op, id=op.id + 10) for op in reads]
    assert verdict([*write, *reads], RegisterModel()) is GOOD
    back = [replace(reads[0], outcome=1), replace(reads[1], outcome=None)]
    assert verdict([*write, *back], RegisterModel()) is BAD


def test_an_unknown_write_takes_effect_once_at_most() -> None:
    ops = ops_of(
        ("ann", "inc", (), 1, inf, UNKNOWN),
        ("bob", "get", (), 2, 3, 1),
        ("bob", "get", (), 4, 5, 2),
    )
    assert verdict(ops, CounterModel()) is BAD


def test_an_unknown_write_that_the_log_has_took_effect_by_then() -> None:
    ops = ops_of(("ann", "inc", (), 1, 2, UNKNOWN), ("bob", "get", (), 3, 4, 0))
    assert verdict(ops, CounterModel()) is BAD
    assert verdict([replace(ops[0], end=inf), ops[1]], CounterModel()) is GOOD


def test_what_was_not_applied_has_no_effect() -> None:
    ops = ops_of(("ann", "inc", (), 1, 2, NOT_APPLIED), ("bob", "get", (), 3, 4, 0))
    assert verdict(ops, CounterModel()) is GOOD
    assert check_witness([ops[0], replace(ops[1], index=1)], CounterModel()).ok
    assert verdict([ops[0], replace(ops[1], outcome=1)], CounterModel()) is BAD


def test_two_unknown_writes_are_not_mistaken_for_each_other() -> None:
    """After either of them the state is the same; what is left to happen is not."""
    ops = ops_of(
        ("ann", "set", (1,), 1, inf, UNKNOWN),
        ("bob", "compare_and_set", (0, 1), 1, inf, UNKNOWN),
        ("cid", "get", (), 2, 3, 1),
        ("cid", "set", (2,), 4, 5, None),
        ("cid", "get", (), 6, 7, 1),
    )
    assert verdict(ops, RegisterModel(0)) is GOOD
    assert verdict(ops[1:], RegisterModel(0)) is BAD


# Keys


def test_operations_on_different_keys_are_checked_apart() -> None:
    ops = ops_of(
        ("a", "set", ("x", 1), 1, 2, None),
        ("a", "set", ("y", 1), 1, 2, None),
        ("a", "update", ({"z": 1, "y": 2},), 3, 4, None),
        ("a", "set", ([], 1), 5, 6, Raised("TypeError", ("unhashable type: 'list'",))),
    )
    assert [len(part) for part in partitions(ops, DictModel())] == [1, 2, 1]
    whole = [*ops, *ops_of(("a", "__len__", (), 7, 8, 3))]
    assert [len(part) for part in partitions(whole, DictModel())] == [5]


def test_a_bad_key_is_found_among_keys_that_nobody_can_decide() -> None:
    hopeless = [
        op
        for key in range(3)
        for op in ops_of(*[
            (f"p{i}", "set", (f"k{key}", i), 1, 100, None) for i in range(14)
        ], ("q", "get", (f"k{key}",), 101, 102, 1), ("q", "get", (f"k{key}",), 103, 104, 2))
    ]  # fmt: skip
    ops = [replace(op, id=number) for number, op in enumerate(hopeless)]
    assert check(ops[:16], DictModel(), budget=5_000).verdict is Verdict.UNDECIDED
    bad = ops_of(("a", "get", ("bad",), 1, 2, 7))
    result = check([*ops, replace(bad[0], id=999)], DictModel(), budget=30_000)
    assert result.verdict is BAD
    assert result.window is not None
    assert result.window.culprit.args == ("bad",)


# Budgets


def test_a_budget_that_is_used_up_is_no_success() -> None:
    ops = record(twins.Counter(), draw_counter, 100, seed=1, clients=4)
    result = check(ops, CounterModel(), budget=10)
    assert result.verdict is Verdict.UNDECIDED
    assert not result.ok
    assert result.steps <= 10
    assert "budget of 10 steps" in str(result)
    with pytest.raises(AssertionError, match="undecided"):
        result.require()
    with pytest.raises(ValueError, match="positive"):
        check(ops, CounterModel(), budget=0)


def test_a_method_that_the_model_does_not_know_is_an_error() -> None:
    ops = ops_of(("a", "frobnicate", (), 1, 2, None))
    for model in (CounterModel(), FunctionModel(0), ClassModel(Stock)):
        with pytest.raises(ValueError, match="frobnicate"):
            check(ops, model)


# The window


def test_the_window_is_what_overlaps_and_matters() -> None:
    ops = ops_of(
        ("ann", "set", (1,), 1, 2, None),
        ("ann", "set", (2,), 3, 6, None),
        ("bob", "get", (), 4, 5, 1),
        ("bob", "get", (), 7, 8, 2),
        ("cid", "get", (), 9, 12, 1),
        ("ann", "set", (9,), 10, 11, None),
        ("ann", "get", (), 13, 14, 5),
    )
    window = check(ops, RegisterModel()).window
    assert window is not None
    assert (window.culprit, window.ops) == (ops[4], (ops[4],))
    assert window.states == ("2",)
    assert (window.start, window.end, window.hidden_count) == (9, 12, 1)


def test_the_window_holds_all_that_contradict_each_other() -> None:
    ops = ops_of(
        ("ann", "inc", (), 1, 4, 1), ("bob", "inc", (), 2, 5, 1), ("cid", "get", (), 2, 5, 0)
    )
    window = check(ops, CounterModel()).window
    assert window is not None
    assert window.ops == (ops[0], ops[1])


@each_type
def test_a_window_is_minimal(name: str) -> None:
    """Whatever is left out of it, the rest can be explained; and it cannot as it stands."""
    model, make, draw = TYPES[name]
    found = 0
    for seed in range(60):
        random = Random(seed)
        ops = record(make(), draw, 12, seed=seed, clients=3)
        one = random.randrange(len(ops))
        ops[one] = replace(ops[one], outcome=random.choice(ops).outcome)
        result = check(ops, model)
        if result.verdict is not BAD:
            continue
        found += 1
        window = result.window
        assert window is not None
        # Nothing before its end is wrong.
        before = [
            replace(op, end=inf) if op.end >= window.end else op
            for op in ops
            if op.call <= window.end
        ]
        assert brute_force(before, model), f"seed {seed}: {result}"
        upto = [
            replace(op, end=inf) if op.end > window.end else op
            for op in ops
            if op.call <= window.end
        ]
        assert not brute_force(upto, model), f"seed {seed}: {result}"
        core = {op.id for op in window.ops}
        for without in core - {window.culprit.id}:
            rest = [
                op if op.end < window.start or (op.id in core and op.id != without)
                else replace(op, outcome=UNKNOWN, end=inf)
                for op in upto
            ]  # fmt: skip
            assert brute_force(rest, model), f"seed {seed}: op {without} is too much\n{result}"
    assert found > 5


def test_the_story_names_who_did_what_when() -> None:
    ops = ops_of(
        ("ann", "set", ("x", 1), 1, 2, None),
        ("ann", "set", ("x", 2), 3, 4, None),
        ("bob", "get", ("x",), 5, 8, 1),
    )
    text = str(check(ops, DictModel()))
    assert text.splitlines() == [
        "not linearizable: 3 operations, 3 steps",
        "nothing explains get('x') -> 1 by bob",
        "the last before it, in one possible order:",
        "  ann  set('x', 1) -> None  (1 to 2)",
        "  ann  set('x', 2) -> None  (3 to 4)",
        "at 5 the state can only be:",
        "  {'x': 2}",
        "from 5 to 8, what nothing explains:",
        "  bob |------------------------------|  get('x') -> 1  (5 to 8)"
        "  <-- ends, and fits nowhere",
    ]


# Speed


def test_ten_thousand_operations_of_sixteen_clients_take_few_steps() -> None:
    ops = record(twins.Dict(), draw_dict, 10_000, seed=1, clients=16)
    for given in (ops, without_index(ops)):
        result = check(given, DictModel())
        assert result.ok
        assert result.steps < 30_000


def test_a_long_queue_takes_few_steps_without_the_log() -> None:
    ops = record(twins.Queue(), draw_queue, 3_000, seed=1, clients=16)
    result = check(without_index([op for op in ops if op.method != "qsize"]), QueueModel())
    assert result.ok
    assert result.steps < 30_000


# The order of the log


def test_the_witness_refuses_an_order_that_real_time_forbids() -> None:
    ops = ops_of(("ann", "set", (1,), 1, 2, None), ("bob", "get", (), 3, 4, None))
    wrong = [replace(ops[0], index=2), replace(ops[1], index=1)]
    result = check_witness(wrong, RegisterModel())
    assert result.verdict is BAD
    assert "takes effect before it in the log" in result.reason
    # Reads at one place have no order.
    reads = ops_of(("ann", "get", (), 1, 2, None), ("bob", "get", (), 3, 4, None))
    for pair in (reads, reads[::-1]):
        assert check_witness([replace(op, index=5) for op in pair], RegisterModel()).ok


def test_the_witness_believes_the_log_where_another_order_would_do() -> None:
    ops = ops_of(("ann", "set", (1,), 1, 9, None), ("bob", "get", (), 2, 8, 1))
    assert check(ops, RegisterModel()).ok
    wrong = [replace(ops[0], index=2), replace(ops[1], index=1)]
    assert check_witness(wrong, RegisterModel()).verdict is BAD


def test_a_read_sees_the_write_at_its_place() -> None:
    ops = ops_of(("bob", "get", (), 1, 9, 1), ("ann", "set", (1,), 2, 8, None))
    assert check_witness([replace(op, index=3) for op in ops], RegisterModel()).ok


def test_a_call_that_ended_without_a_place_leaves_the_witness_undecided() -> None:
    ops = ops_of(("ann", "set", (1,), 1, 9, None))
    assert check_witness(ops, RegisterModel()).verdict is Verdict.UNDECIDED
    # But one that was refused before the log has none.
    unhashable = Raised("TypeError", ("unhashable type: 'list'",))
    refused = ops_of(("ann", "set", ([], 1), 1, 9, unhashable))
    assert check_witness(refused, DictModel()).ok


def test_a_get_that_waits_is_served_by_a_later_put() -> None:
    rows = ops_of(
        ("bob", "get", (), 1, 9, "x"), ("cid", "get", (), 2, 9, "y"),
        ("ann", "put", ("x",), 3, 4, None), ("ann", "put", ("y",), 5, 6, None),
    )  # fmt: skip
    ops = [replace(op, index=op.id) for op in rows]
    assert check_witness(ops, QueueModel()).ok
    never = check_witness(ops[:3], QueueModel())
    assert never.verdict is BAD
    # If somebody has given up, nobody knows where the item is.
    given_up = replace(ops[1], outcome=UNKNOWN, end=inf, id=9, index=0)
    assert check_witness([given_up, *ops[:3]], QueueModel()).verdict is Verdict.UNDECIDED


# Other models


class Stock(Replicated):
    def __init__(self) -> None:
        self.pieces: dict[str, int] = {}

    @replicated
    def add(self, name: str, count: int) -> int:
        self.pieces[name] = self.pieces.get(name, 0) + count
        return self.pieces[name]

    @replicated
    def take(self, name: str) -> None:
        if not self.pieces.get(name):
            raise LookupError(name)
        self.pieces[name] -= 1

    def left(self, name: str) -> int:
        return self.pieces.get(name, 0)


def test_a_class_is_its_own_model() -> None:
    model = ClassModel(Stock, reads=("left",), partition=lambda op: (op.args[0],))
    good = ops_of(
        ("ann", "add", ("nut", 1), 1, 4, 1),
        ("bob", "take", ("nut",), 2, 5, None),
        ("cid", "take", ("nut",), 6, 7, Raised("LookupError", ("nut",))),
        ("cid", "left", ("nut",), 8, 9, 0),
    )
    assert verdict(good, model) is GOOD
    assert verdict([*good[:3], replace(good[3], outcome=1)], model) is BAD
    assert verdict([*good[:2], replace(good[2], outcome=None)], model) is BAD
    placed = [replace(op, index=op.id) for op in good]
    assert check_witness(placed, model).ok
    assert check_witness([*placed[:3], replace(placed[3], outcome=1)], model).verdict is BAD


def test_a_model_may_be_made_of_functions() -> None:
    def push(state: list[int], item: int) -> tuple[list[int], None]:
        return [*state, item], None

    def pull(state: list[int]) -> tuple[list[int], int]:
        return state[:-1], state[-1]

    model = FunctionModel([], push=push, pull=pull)
    ops = ops_of(
        ("a", "push", (1,), 1, 2, None), ("a", "push", (2,), 3, 4, None),
        ("b", "pull", (), 5, 6, 2), ("b", "pull", (), 7, 8, 1),
        ("b", "pull", (), 9, 10, Raised("IndexError", ("list index out of range",))),
    )  # fmt: skip
    assert verdict(ops, model) is GOOD
    assert verdict([*ops[:2], replace(ops[2], outcome=1)], model) is BAD
    placed: Result = check_witness([replace(op, index=op.id) for op in ops], model)
    assert placed.ok


def test_a_put_that_took_effect_may_have_found_the_queue_full() -> None:
    history = ops_of(
        ("a", "put_nowait", (1,), 1, 2, None),
        ("b", "put_nowait", (2,), 3, 4, UNKNOWN),
        ("c", "get_nowait", (), 5, 6, 1),
        ("a", "put_nowait", (3,), 7, 8, None),
        ("c", "get_nowait", (), 9, 10, 3),
    )
    assert check(history, QueueModel(1)).ok
    assert not check(history, QueueModel(2)).ok


def test_equal_keys_of_different_types_are_different_states() -> None:
    """Which of them is in the dictionary depends on which was set first."""
    for first, second, seen in ((1, True, True), (True, 1, True), (1, True, 1), (1, 1.0, 1.0)):
        ops = ops_of(
            ("ann", "set", (first, "x"), 1, 4, None),
            ("bob", "set", (second, "x"), 1, 5, None),
            ("cid", "keys", (), 6, 7, [seen]),
        )
        assert check(ops, DictModel()).ok, f"{first!r}, {second!r}: {seen!r}"
