"""An object that is atomic by construction, its recorded callers, and a checker without tricks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import inf
from random import Random
from typing import Any

from msgspec.structs import replace

from syncstructs.testing import twins
from syncstructs.testing.history import NOT_APPLIED, UNKNOWN, Op, Raised, plain
from syncstructs.testing.sequential import ILLEGAL, Model

Draw = Callable[[Random], tuple[str, tuple[Any, ...]]]


def ops_of(*rows: tuple[Any, str, tuple[Any, ...], float, float, object]) -> list[Op]:
    """Return operations from (process, method, args, call, end, outcome)."""
    return [
        Op(id=i, process=process, method=method, args=args, call=call, end=end, outcome=outcome)
        for i, (process, method, args, call, end, outcome) in enumerate(rows, 1)
    ]


def without_index(ops: Sequence[Op]) -> list[Op]:
    """Return the operations as somebody sees them who has no log."""
    return [replace(op, index=None) for op in ops]


def record(
    target: Any, draw: Draw, count: int, *, seed: int, clients: int = 4, lost: float = 0.0
) -> list[Op]:
    """Let clients call `target`, each call taking effect at one random moment while it runs.

    Of the part `lost` of the calls nobody learns how they ended; some of them have no effect.
    """
    random = Random(seed)
    moments = iter(range(1, 100 * count * clients))
    running: dict[int, Op | None] = dict.fromkeys(range(clients))
    ops: list[Op] = []
    begun = places = 0
    while begun < count or any(running.values()):
        client = random.randrange(clients)
        op = running[client]
        if op is None:
            if begun < count:
                begun += 1
                method, args = draw(random)
                running[client] = Op(
                    id=begun, process=client, method=method, args=args, call=next(moments)
                )
        elif op.index is None:
            if random.random() < lost / 2:
                ops.append(op)
                running[client] = None
                continue
            try:
                outcome = plain(getattr(target, op.method)(*op.args))
            except twins.Blocked:
                continue
            except Exception as error:
                outcome = Raised.of(error)
            places += 1
            running[client] = replace(op, outcome=outcome, index=places)
        elif random.random() < 0.5:
            known = random.random() >= lost / 2
            done = replace(op, end=next(moments)) if known else replace(op, outcome=UNKNOWN)
            ops.append(done)
            running[client] = None
        if begun == count and all(op is None or op.index is None for op in running.values()):
            ops += [op for op in running.values() if op is not None]
            break
    return ops


def brute_force(ops: Sequence[Op], model: Model) -> bool:
    """Return whether some order explains the operations, by trying all orders."""
    kept = [op for op in ops if op.outcome is not NOT_APPLIED]

    def explained(state: Any, left: tuple[Op, ...]) -> bool:
        if all(op.end == inf for op in left):
            return True
        for op in left:
            if any(other.end < op.call for other in left):
                continue
            after = model.transition(op)(state)
            if after is not ILLEGAL and explained(after, tuple(o for o in left if o is not op)):
                return True
        return False

    return explained(model.initial(), tuple(kept))
