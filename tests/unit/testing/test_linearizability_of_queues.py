"""Faults of long queues are found at once, in a few operations, without the log's help."""

from __future__ import annotations

from itertools import count
from random import Random
from typing import Any

import pytest
from atomic_object import brute_force, ops_of, record, without_index
from msgspec.structs import replace

from syncstructs.testing import twins
from syncstructs.testing.history import UNKNOWN, Op, Raised
from syncstructs.testing.linearizability import Verdict, check
from syncstructs.testing.queuemodels import PriorityQueueModel, QueueModel

_items = count(1)
_EMPTY = Raised("_queue.Empty")


def draw(random: Random) -> tuple[str, tuple[Any, ...]]:
    item = random.randrange(4) * 10**9 + next(_items)
    return random.choice((("put", (item,)), ("put", (item,)), ("get_nowait", ())))


class Lifo(twins.Queue):
    """A stack in the guise of a queue."""

    def insert(self, item: Any) -> None:
        self.items.insert(0, item)


class Repeating(twins.Queue):
    """Gives every hundredth item twice."""

    taken = 0

    def get_nowait(self) -> Any:
        self.taken += 1
        return self.items[0] if self.taken % 100 == 0 and self.items else super().get_nowait()


class Forgetful(twins.Queue):
    """Claims now and then to be empty."""

    taken = 0

    def get_nowait(self) -> Any:
        self.taken += 1
        if self.taken % 100 == 0:
            raise twins.Empty
        return super().get_nowait()


@pytest.mark.parametrize("broken", [Lifo, Repeating, Forgetful])
@pytest.mark.parametrize("model", [QueueModel(), PriorityQueueModel()])
def test_a_broken_queue_is_found_in_few_steps(broken: type[twins.Queue], model: QueueModel) -> None:
    ops = record(broken(), draw, 2_000, seed=1, clients=8)
    for given in (ops, without_index(ops)):
        result = check(given, model)
        assert result.verdict is Verdict.NOT_LINEARIZABLE, result
        assert result.steps < 50_000
        assert result.window is not None
        assert len(result.window.ops) <= 12


@pytest.mark.parametrize("model", [QueueModel(), PriorityQueueModel()])
def test_no_excerpt_of_a_good_history_is_bad(model: QueueModel) -> None:
    for seed in range(200):
        twin = twins.Queue() if model.IS_FIFO else twins.PriorityQueue()
        ops = record(twin, draw, 40, seed=seed, clients=5, lost=(seed % 2) * 0.1)
        for excerpt in model.excerpts(ops):
            assert brute_force(excerpt, model), f"seed {seed}: {excerpt}"


@pytest.mark.parametrize("model", [QueueModel(), PriorityQueueModel()])
def test_what_the_outcomes_tell_of_the_order_is_true(model: QueueModel) -> None:
    for seed in range(100):
        twin = twins.Queue() if model.IS_FIFO else twins.PriorityQueue()
        ops = record(twin, draw, 40, seed=seed, clients=5)
        spans = model.hidden_order(ops)
        place = {op.id: op.index or 10**9 for op in ops}
        for one, (_, end) in spans.items():
            for other, (begin, _) in spans.items():
                assert end >= begin or place[one] < place[other], f"seed {seed}: {one}, {other}"


def test_an_item_that_was_put_back_may_come_out_behind_others() -> None:
    ops = ops_of(
        ("ann", "put", (1,), 1, 2, None),
        ("ann", "put", (2,), 3, 4, None),
        ("bob", "get", (True, 5.0), 5, float("inf"), UNKNOWN),
        ("cid", "get", (), 6, 7, 2),
        ("cid", "get", (), 8, 9, 1),
    )
    assert check(ops, QueueModel()).ok
    assert not check([*ops[:2], *ops[3:]], QueueModel()).ok
    # A call whose time ran out may have had the item for a while, too.
    ran_out = replace(ops[2], outcome=_EMPTY, end=7.5)
    assert check([*ops[:2], ran_out, *ops[3:]], QueueModel()).ok
    at_once = replace(ran_out, method="get_nowait", args=())
    assert not check([*ops[:2], at_once, *ops[3:]], QueueModel()).ok


def test_two_items_out_of_order_are_shown_alone() -> None:
    ops = record(twins.Queue(), draw, 2_000, seed=3, clients=8)
    items = [op.args[0] for op in ops if op.method == "put"]
    first, second = items[100], items[200]

    def swapped(op: Op) -> Op:
        other = {first: second, second: first}.get(op.outcome)  # type: ignore[call-overload]
        return replace(op, outcome=other) if other and op.method == "get_nowait" else op

    result = check(without_index([swapped(op) for op in ops]), QueueModel())
    assert result.verdict is Verdict.NOT_LINEARIZABLE
    assert result.window is not None
    involved = {str(op) for op in (*result.window.ops, *result.window.before)}
    assert any(str(first) in text or str(second) in text for text in involved), str(result)


def lossy(lost: float, seed: int, draw: Any = draw, clients: int = 16) -> list[Op]:
    """Return what an atomic queue did, without the log, and some calls without an end."""
    return without_index(record(twins.Queue(), draw, 2_000, seed=seed, clients=clients, lost=lost))


def waiting(random: Random) -> tuple[str, tuple[Any, ...]]:
    method, args = draw(random)
    return ("get", (True, 0)) if method != "put" and random.random() < 0.5 else (method, args)


@pytest.mark.parametrize("draw", [draw, waiting])
@pytest.mark.parametrize("lost", [0.01, 0.03])
def test_a_long_queue_with_unknown_outcomes_takes_few_steps(draw: Any, lost: float) -> None:
    for seed in range(4):
        result = check(lossy(lost, seed, draw), QueueModel(), budget=4_000)
        assert result.ok, f"seed {seed}: {result}"


def at_once(random: Random) -> tuple[str, tuple[Any, ...]]:
    return random.choice((("put", (next(_items),)), ("get_nowait", ())))


def with_fault(ops: list[Op], fault: str) -> list[Op]:
    """Return the history with a fault of the queue far behind its middle."""
    ops = sorted(ops, key=lambda op: op.end)
    gets = [i for i, op in enumerate(ops) if op.method == "get_nowait" and type(op.outcome) is int]
    here, there = gets[len(gets) * 3 // 4], gets[len(gets) * 3 // 4 + 40]
    one, other = ops[here], ops[there]
    if fault == "early":
        put = next(op for op in ops if op.method == "put" and op.args[0] == one.outcome)
        ops[here] = replace(one, call=put.call - 2, end=put.call - 1)
        return ops
    ops[there] = replace(other, outcome=one.outcome)
    if fault == "inverted":
        ops[here] = replace(one, outcome=other.outcome)
    return ops


@pytest.mark.parametrize("fault", ["twice", "early", "inverted"])
@pytest.mark.parametrize("lost", [0.01, 0.03])
def test_a_fault_shows_among_unknown_outcomes(fault: str, lost: float) -> None:
    for seed in range(4):
        ops = with_fault(lossy(lost, seed, at_once), fault)
        result = check(ops, QueueModel(), budget=4_000)
        assert result.verdict is Verdict.NOT_LINEARIZABLE, f"seed {seed}: {result}"
        assert result.steps == 0
        assert result.window is not None
        assert len(result.window.ops) <= 6


@pytest.mark.parametrize("hands", [0, 1, 2, 3])
def test_no_more_items_had_left_than_hands_can_have_taken(hands: int) -> None:
    """Three items are gone when the queue is found empty, which some unknown gets may explain."""
    ops = ops_of(*[("ann", "put", (i,), 2 * i, 2 * i + 1, None) for i in range(3)])
    ops += [
        Op(id=100 + i, process=f"p{i}", method="get", args=(), call=10 + i) for i in range(hands)
    ]
    empty = Op(id=200, process="bob", method="get_nowait", call=20, end=21, outcome=_EMPTY)
    late = Op(id=300, process="dan", method="get", call=22)
    result = check([*ops, empty, late], QueueModel())
    assert result.ok is (hands == 3)


def ranked(random: Random) -> tuple[str, tuple[Any, ...]]:
    return random.choice((("put", (random.randrange(1_000),)), ("get_nowait", ())))


def test_a_long_priority_queue_with_unknown_outcomes_takes_few_steps() -> None:
    for seed in range(4):
        twin = twins.PriorityQueue()
        ops = without_index(record(twin, ranked, 2_000, seed=seed, clients=8, lost=0.01))
        result = check(ops, PriorityQueueModel(), budget=10_000)
        assert result.ok, f"seed {seed}: {result}"


def few(random: Random) -> tuple[str, tuple[Any, ...]]:
    return random.choice((("put", (random.randrange(3),)), ("get_nowait", ())))


@pytest.mark.parametrize("clients", [8, 16])
def test_a_queue_of_equal_items_takes_few_steps(clients: int) -> None:
    for seed in range(4):
        ops = lossy(0, seed, few, clients)
        result = check(ops, QueueModel(), budget=4_000)
        assert result.ok, f"seed {seed}: {result}"
