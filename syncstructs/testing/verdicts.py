"""What the histories of a run must show, beyond what was checked at every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from ..structs.queues import ReplQueue
from . import twins
from .history import NOT_APPLIED, UNKNOWN, Op, Raised, plain
from .invariants import Violation
from .queue_verdicts import check_capacity, check_order_of_items

if TYPE_CHECKING:
    from .workload import Load


def check_histories(load: Load) -> int:
    """Check everything that callers saw; return how many calls that were.

    Raises:
        Violation: it cannot have been so.
    """
    histories = load.histories()
    check_queues(load)
    check_order_of_items(load)
    check_capacity(load)
    check_order(op for ops in histories.values() for op in ops)
    for name, twin in (
        ("hits", twins.Counter()),
        ("users", twins.Dict()),
        ("items", twins.List()),
        ("tags", twins.Set()),
    ):
        check_replay(name, histories[name], twin)
    return sum(map(len, histories.values()))


def check_order(ops: Iterable[Op]) -> None:
    """What began after another call had ended comes behind it in the log, whatever the objects.

    A stale read does not: its place is the end of what had been applied where it was made.
    """
    placed: list[tuple[int, Op]] = [(op.index, op) for op in ops if op.index is not None]
    placed.sort(key=lambda pair: pair[0])
    latest: Op | None = None
    same: list[Op] = []
    at = -1
    for place, op in placed:
        if place != at:
            # Reads at one place are in no order.
            latest = max([*same, *([latest] if latest else [])], key=_began, default=None)
            at, same = place, []
        same.append(op)
        if latest is not None and op.end < latest.call:
            raise Violation(
                f"{latest.process} called {latest} at {latest.call} and missed what {op.process}"
                f" had done by {op.end}: {op}"
            )


def check_replay(name: str, ops: Collection[Op], twin: Any) -> None:
    """Each call saw what a plain Python object gives to the same calls in the order of the log."""
    placed: list[tuple[int, int, Op]] = [
        (op.index, op.id, op) for op in ops if op.index is not None
    ]
    for place, _, op in sorted(placed, key=lambda triple: triple[:2]):
        outcome: object
        try:
            outcome = plain(getattr(twin, op.method)(*op.args, **op.kwargs))
        except Exception as error:
            outcome = Raised.of(error)
        if op.outcome is not UNKNOWN and op.outcome != outcome:
            raise Violation(
                f"{op.process} called {name}.{op}; in the order of the log (place {place}) a plain"
                f" object gives {outcome!r}"
            )


def _began(op: Op) -> float:
    return op.call if op.call < inf else 0.0


def check_queues(load: Load) -> None:
    """Nothing that was put for certain is missing, and nothing is there that was refused."""
    life = load.simulation.lives()[0]
    left: Counter[int] = Counter()
    for name in _QUEUES:
        queue: ReplQueue[int] = life.consumers[name]
        left.update(list(queue._items))
    for item, count in left.items():
        if count > 1 or item in load.taken or item not in load.put:
            who = load.taken.get(item)
            raise Violation(f"{item} is {count} times in the queue; taken by {who}")
    for item, record in load.put.items():
        if record.outcome is NOT_APPLIED and (item in left or item in load.taken):
            raise Violation(f"the put of {item} was said to be not applied, but it was there")
    for name in _QUEUES:
        records = load.recorder.records[name]
        gone = [
            record.args[0]
            for record in records
            if record.method.startswith("put")
            and record.outcome is None
            and record.args[0] not in load.taken
            and record.args[0] not in left
        ]
        excuses = sum(r.method.startswith("get") and r.outcome is UNKNOWN for r in records)
        if len(gone) > excuses:
            raise Violation(
                f"{gone[:5]} were put into {name!r}, and nobody took them; of {excuses} calls of"
                " get nobody knows how they ended"
            )


_QUEUES: Final = ("jobs", "ranks")

