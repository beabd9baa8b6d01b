"""What is known before a search: values out of nowhere, and a good order to try first."""

from collections import Counter
from math import inf
from queue import Empty
from random import Random
from typing import Any

import pytest

from syncstructs.testing import twins
from syncstructs.testing.history import UNKNOWN, Op, Raised
from syncstructs.testing.linearizability import Verdict, check
from syncstructs.testing.models import (
    CounterModel,
    DictModel,
    ListModel,
    RegisterModel,
    SetModel,
)
from syncstructs.testing.origins import Origins
from syncstructs.testing.queuemodels import QueueModel
from syncstructs.testing.sequential import Model

BAD = Verdict.NOT_LINEARIZABLE
GOOD = Verdict.LINEARIZABLE


def op(id: int, method: str, *args: Any, at: float, end: float = inf, out: Any = UNKNOWN) -> Op:
    return Op(id=id, process=f"p{id}", method=method, args=args, call=at, end=end, outcome=out)


def unknown(count: int, method: str, draw: Any) -> list[Op]:
    return [op(i, method, *draw(i), at=i) for i in range(count)]


@pytest.mark.parametrize(("model", "method", "draw", "seen"), [
    (RegisterModel(), "set", lambda i: (i,), op(999, "get", at=500, end=501, out=-1)),
    (DictModel(), "set", lambda i: ("k", i), op(999, "get", "k", at=500, end=501, out=-1)),
    (DictModel(), "set", lambda i: (i, i), op(999, "keys", at=500, end=501, out=[1, 777])),
    (DictModel(), "set", lambda i: (i, i), op(999, "items", at=500, end=501, out=[(1, 2)])),
    (ListModel(), "append", lambda i: (i,), op(999, "pop", at=500, end=501, out=-1)),
    (ListModel(), "append", lambda i: (i,), op(999, "copy", at=500, end=501, out=[3, -1])),
    (SetModel(), "add", lambda i: (i,), op(999, "pop", at=500, end=501, out=-1)),
    (SetModel(), "add", lambda i: (i,), op(999, "copy", at=500, end=501, out={3, -1})),
    (QueueModel(), "put", lambda i: (i,), op(999, "get", at=500, end=501, out=-1)),
    (CounterModel(), "add", lambda i: (2**i,), op(999, "get", at=500, end=501, out=-1)),
    (CounterModel(), "add", lambda i: (1,), op(999, "inc", at=500, end=501, out=202)),
])  # fmt: skip
def test_a_value_out_of_nowhere_is_refused_without_a_search(
    model: Model, method: str, draw: Any, seen: Op
) -> None:
    ops = [*unknown(200, method, draw), seen]
    result = check(ops, model, budget=1_000)
    assert (result.verdict, result.steps) == (BAD, 0)
    assert result.window is not None
    assert result.window.ops == (seen,)
    assert "nothing explains" in str(result)
    assert check(ops[:-1], model).verdict is GOOD


def test_what_was_brought_once_is_taken_once() -> None:
    ops = unknown(200, "append", lambda i: (i,))
    ops += [op(900 + i, "pop", at=500 + 2 * i, end=501 + 2 * i, out=7) for i in range(2)]
    result = check(ops, ListModel(), budget=1_000)
    assert (result.verdict, result.steps) == (BAD, 0)
    assert result.window is not None
    assert [o.id for o in result.window.ops] == [7, 900, 901]
    assert check(ops[:-1], ListModel()).verdict is GOOD


def test_what_has_not_ended_has_seen_nothing_for_certain() -> None:
    seen = op(1, "get", at=1, out=5)
    assert check([seen], RegisterModel()).verdict is GOOD
    assert check([op(1, "inc", at=1, out=5)], CounterModel()).verdict is GOOD


def test_unknown_writes_that_nobody_saw_cost_nothing() -> None:
    """A stale read among them is a plain case."""
    ops = unknown(200, "set", lambda i: (i,))
    ops += [
        op(900, "set", -1, at=300, end=301, out=None),
        op(901, "set", -2, at=302, end=303, out=None),
        op(902, "get", at=304, end=305, out=-1),
    ]
    result = check(ops, RegisterModel(), budget=1_000)
    assert (result.verdict, result.steps) == (BAD, 3)


def test_a_write_that_depends_on_what_was_there_keeps_the_others() -> None:
    ops = [
        op(0, "set", "k", 1, at=0),
        op(1, "set", "k", 2, at=1, end=2, out=None),
        op(2, "get", "k", 1, at=3, end=4, out=1),
    ]
    assert check(ops, DictModel()).verdict is GOOD, "what looks like the default was a value"
    failed = op(2, "compare_and_set", "k", 2, 3, at=3, end=4, out=False)
    assert check([*ops[:2], failed], DictModel()).verdict is GOOD


def test_a_write_that_alone_explains_what_was_seen_has_an_end() -> None:
    ops = [op(0, "append", 1, at=0), op(1, "append", 2, at=0), op(2, "pop", at=3, end=4, out=1)]
    settled = Origins(ops, ListModel(), Counter()).settled()
    assert [o.end for o in settled] == [4, inf, 4]


def test_the_reason_of_giving_up_names_the_part_and_where() -> None:
    ops = [op(i, "set", "k", i, at=1, end=100, out=None) for i in range(14)]
    ops += [op(20 + i, "get", "k", at=101 + 2 * i, end=102 + 2 * i, out=i) for i in range(2)]
    other = op(30, "set", "other", 1, at=1, end=2, out=None)
    result = check([*ops, other], DictModel(), budget=1_000)
    assert result.verdict is Verdict.UNDECIDED
    assert "on 'k'; no order gets past get('k') -> " in result.reason


def test_what_is_settled_is_explained_just_when_the_whole_is() -> None:
    """Histories in which half of the writes have no end, right and wrong ones."""
    for seed in range(3_000):
        random = Random(seed)
        ops = [_drawn(random, number) for number in range(random.randrange(3, 8))]
        plain = DictModel()
        unsettled = check(ops, _Silent()).ok
        assert check(ops, plain).ok == unsettled, f"seed {seed}: {[*map(str, ops)]}"


class _Silent(DictModel):
    """A model that tells nothing of where values come from."""

    def brings(self, op: Op) -> None:
        return None


def _drawn(random: Random, number: int) -> Op:
    method, args, outs = random.choice([
        ("set", ("k", random.choice([1, 2, None])), [None]),
        ("get", ("k",), [1, 2, None]),
        ("get", ("k", 1), [1, 2, None]),
        ("pop", ("k", 1), [1, 2, None]),
        ("setdefault", ("k", 2), [1, 2]),
        ("delete", ("k",), [None]),
        ("__contains__", ("k",), [True, False]),
        *[("compare_and_set", ("k", 1, 2), [True, False])] * (number % 3 == 0),
    ])  # fmt: skip
    call = 10.0 * number - random.choice([0, 5, 15])
    lost = random.random() < 0.4
    end = random.choice([inf, call + 20]) if lost else call + random.choice([1, 5, 15])
    out = UNKNOWN if lost else random.choice(outs)
    return Op(id=number, process=f"p{number}", method=method, args=args, call=call, end=end,
              outcome=out)  # fmt: skip


class _Stack:
    """A list used at both ends, of which some callers never learn the outcome."""

    def __init__(self) -> None:
        self.elements: list[int] = []

    def append(self, value: int) -> None:
        self.elements.append(value)

    def insert(self, index: int, value: int) -> None:
        self.elements.insert(index, value)

    def pop(self) -> int:
        return self.elements.pop()

    def get(self, index: int) -> int:
        return self.elements[index]


def recorded(target: Any, calls: Any, count: int, lost: float, seed: int = 0) -> list[Op]:
    """Let eight callers at a time use `target`; every effect is somewhere within its call."""
    random = Random(seed)
    ops = []
    for number in range(count):
        method, args = random.choice(calls(number))
        try:
            out = getattr(target, method)(*args)
        except (IndexError, Empty) as error:
            out = Raised.of(error)
        call, end = number - random.random() * 8, number + random.random() * 8
        if random.random() < lost:
            out, end = UNKNOWN, inf
        ops.append(op(number, method, *args, at=call, end=end, out=out))
    return ops


@pytest.mark.parametrize("lost", [0, 0.02])
def test_the_elements_of_a_stack_are_added_in_the_order_that_the_pops_tell(lost: float) -> None:
    calls = lambda i: [("append", (i,)), ("pop", ()), ("insert", (0, i))]  # noqa: E731
    ops = recorded(_Stack(), calls, 300, lost, seed=1)
    result = check(ops, ListModel(), budget=5_000)
    assert result.verdict is GOOD, str(result)


@pytest.mark.parametrize(("lost", "seed"), [(0, 1), (0, 3), (0, 4), (0.02, 1)])
def test_looks_at_the_end_of_a_stack_tell_of_its_order(lost: float, seed: int) -> None:
    calls = lambda i: [  # noqa: E731
        ("append", (i,)), ("pop", ()), ("insert", (0, i)), ("get", (-1,)),
    ]  # fmt: skip
    result = check(recorded(_Stack(), calls, 1_000, lost, seed), ListModel(), budget=4_000)
    assert result.verdict is GOOD, str(result)


def test_a_queue_with_unknown_gets_takes_few_steps() -> None:
    calls = lambda i: [("put_nowait", (i,)), ("get_nowait", ())]  # noqa: E731
    ops = recorded(twins.Queue(), calls, 300, 0.01)
    assert any(o.method == "get_nowait" and o.outcome is UNKNOWN for o in ops)
    result = check(ops, QueueModel(), budget=5_000)
    assert result.verdict is GOOD, str(result)
