"""Our checker and that of `detangle`, written by others on other ground, come to one verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Any

import pytest
from atomic_object import Draw, record, without_index
from msgspec.structs import replace

from syncstructs.testing import twins
from syncstructs.testing.history import UNKNOWN, Op
from syncstructs.testing.linearizability import check
from syncstructs.testing.models import DictModel, RegisterModel
from syncstructs.testing.sequential import Model

lin = pytest.importorskip("detangle.lin")


def draw_register(random: Random) -> tuple[str, tuple[Any, ...]]:
    value = random.randrange(3)
    return random.choice(
        (("get", ()), ("set", (value,)), ("compare_and_set", (value, random.randrange(3))))
    )


def draw_dict(random: Random) -> tuple[str, tuple[Any, ...]]:
    method, args = draw_register(random)
    return method, (f"k{random.randrange(3)}", *args)


TYPES: dict[str, tuple[Model, Callable[[], Any], Any, Draw]] = {
    "register": (RegisterModel(), twins.Register, lin.Register(), draw_register),
    "dict": (DictModel(), twins.Dict, lin.KV(), draw_dict),
}


def by_the_other(ops: Sequence[Op], model: Any) -> bool:
    """Return the verdict of the other checker."""
    names = {"get": "get", "set": "put", "compare_and_set": "cas"}
    history = lin.History()
    moments: list[tuple[float, bool, Op]] = [(op.call, False, op) for op in ops]
    moments += [(op.end, True, op) for op in ops if op.end < inf]
    made: dict[int, Any] = {}
    for _, ends, op in sorted(moments, key=lambda moment: moment[:2]):
        if ends:
            history.ok(made[op.id], op.outcome)
        else:
            argument = op.args[0] if len(op.args) == 1 else op.args or None
            made[op.id] = history.invoke(op.process, names[op.method], argument)
    for op in ops:
        if op.end == inf:
            history.info(made[op.id])
    verdict: bool = history.check(model).ok
    return verdict


def corrupted(ops: list[Op], random: Random) -> list[Op]:
    """Return the operations with other outcomes of some that tell something of the state."""
    telling = [at for at, op in enumerate(ops) if op.outcome is not UNKNOWN and op.method != "set"]
    for at in random.sample(telling, min(len(telling), random.randrange(4))):
        swap = ops[at].method == "compare_and_set"
        outcome = not ops[at].outcome if swap else random.choice((None, 0, 1, 2))
        ops[at] = replace(ops[at], outcome=outcome)
    return ops


@pytest.mark.parametrize("name", TYPES)
def test_both_checkers_judge_small_histories_alike(name: str) -> None:
    model, make, other_model, draw = TYPES[name]
    verdicts: Counter[bool] = Counter()
    unknown = 0
    for seed in range(400):
        random = Random(seed)
        lost = random.choice((0.0, 0.2, 0.4))
        ops = record(make(), draw, random.randrange(4, 25), seed=seed, clients=4, lost=lost)
        ops = corrupted(without_index(ops), random)
        result = check(ops, model)
        assert result.ok == by_the_other(ops, other_model), f"seed {seed}: {result}\n{ops}"
        verdicts[result.ok] += 1
        unknown += sum(op.outcome is UNKNOWN for op in ops)
    assert min(verdicts[True], verdicts[False]) > 50, verdicts
    assert unknown > 200
