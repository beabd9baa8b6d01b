"""What the histories of a run must show, beyond what was checked at every step."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from ..structs.queues import ReplQueue
from .history import NOT_APPLIED, UNKNOWN
from .invariants import Violation

if TYPE_CHECKING:
    from .workload import Load


def check_histories(load: Load) -> int:
    """Check everything that callers saw; return how many calls that were.

    Raises:
        Violation: it cannot have been so.
    """
    histories = load.histories()
    check_queues(load)
    return sum(map(len, histories.values()))


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

