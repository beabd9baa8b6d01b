"""What callers of queues and locks must have seen: order, bounds, ends, and nothing lost.

The places that the log gave to single commands are not asked: these checks see an item only from
its `put` to its `get`, as its users do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .assorted import ASSORTED
from .history import NOT_APPLIED, UNKNOWN, Raised
from .violation import Violation

if TYPE_CHECKING:
    from .recording import Record
    from .workload import Load

_QUEUES: Final = ("jobs", "ranks")
_PATIENCE: Final = 12.0
"""Seconds within which whatever waits with a time-out has ended: the longest one and its grace."""
_MAXSIZE: Final = 3
"""That of the queue "jobs"."""


class Stay:
    """An item in a queue: when it was put there, and when it was taken, by the history's clock."""

    __slots__ = ("got", "item", "put", "taken")

    def __init__(self, item: int, put: Record, got: Record | None, *, left: bool) -> None:
        self.item = item
        self.put = put
        self.got = got
        self.taken = got is not None or left
        """Whether it is known what became of it."""

    @property
    def leaves(self) -> float:
        """The earliest time at which it can have been taken; infinite if it is there."""
        return float("inf") if self.got is None else self.got.began


def check_order_of_items(load: Load) -> None:
    """The first item that was put is the first to be taken; of ranks, the smallest.

    Only if nobody gave up waiting meanwhile: what comes back then goes to the front again.
    """
    for name in _QUEUES:
        stays = stays_of(load, name)
        quits = [r for r in load.recorder.records[name] if _gave_up(r)]
        for one in stays:
            if not one.taken:
                continue
            for other in stays:
                if other.got is None or other.got.end >= one.leaves:
                    continue
                behind = (
                    one.put.end < other.put.began
                    if name == "jobs"
                    else one.put.end < other.got.began and one.item < other.item
                )
                if behind and not any(_overlap(q, one.put.began, other.got.end) for q in quits):
                    raise Violation(
                        f"{other.got.process} took {other.item} of {name!r} while {one.item}, put"
                        f" by {one.put.process}, was before it"
                    )


def check_capacity(load: Load) -> None:
    """A queue holds no more than it may, if nobody gave up waiting."""
    records = load.recorder.records["jobs"]
    if any(map(_gave_up, records)):
        return
    moments: list[tuple[float, int]] = []
    for stay in stays_of(load, "jobs"):
        if stay.taken:
            moments += [(stay.put.end, 1), (stay.leaves, -1)]
    count = 0
    for moment, change in sorted(moments):
        count += change
        if count > _MAXSIZE:
            raise Violation(f"at {moment} there were {count} items in a queue for {_MAXSIZE}")


def check_settled(load: Load) -> None:
    """Once all is well, what waits with a time-out ends, and what was served too late is back.

    Of a node that lives, that is: who died with an item took it along.
    """
    simulation = load.simulation
    if any(_is_pending(record, load) for record in _all_waits(load)):
        simulation.run(_PATIENCE)
        simulation.settle()
    for record in _all_waits(load):
        if _is_pending(record, load):
            raise Violation(f"{record.process}: {record.method}{record.args!r} does not end")
    for name in _QUEUES:
        gone = [stay.item for stay in stays_of(load, name) if not stay.taken]
        excuses = sum(
            record.method.startswith("get")
            and record.outcome is UNKNOWN
            and not _lives(record, load)
            for record in load.recorder.records[name]
        )
        if len(gone) > excuses:
            raise Violation(
                f"{gone[:5]} were put into {name!r} and are gone, but only {excuses} can have been"
                " taken by nodes that have died since, or have skipped the answer"
            )


def stays_of(load: Load, name: str) -> list[Stay]:
    """Return what is known to have been put into a queue."""
    records = load.recorder.records[name]
    got = {
        record.outcome: record
        for record in records
        if record.method.startswith("get") and isinstance(record.outcome, int)
    }
    life = load.simulation.lives()[0]
    left = set(life.consumers[name]._items)
    return [
        Stay(record.args[0], record, got.get(record.args[0]), left=record.args[0] in left)
        for record in records
        if record.method.startswith("put") and record.outcome is None
    ]


def _gave_up(record: Record) -> bool:
    """Return whether a `get` may have been served an item without taking it."""
    return record.method.startswith("get") and (
        record.outcome in (UNKNOWN, NOT_APPLIED)
        or (isinstance(record.outcome, Raised) and record.args[:1] == (True,))
    )


def _overlap(record: Record, begin: float, end: float) -> bool:
    return record.began < end and record.end > begin


def _all_waits(load: Load) -> list[Record]:
    records = load.recorder.records
    names = (*_QUEUES, "lock", "locks", *(name for name in ASSORTED if name in records))
    return [r for name in names for r in records[name]]


def _is_pending(record: Record, load: Load) -> bool:
    """Return whether a call that may not wait without end still waits, on a node that lives."""
    call = record.call
    bounded = record.method.endswith("_nowait") or any(
        type(a) in (bool, float) for a in record.args
    )
    return call is not None and bounded and not call.done() and _lives(record, load)


def _lives(record: Record, load: Load) -> bool:
    """Return whether the caller's node has lived since, and has applied every command itself."""
    skipped = load.simulation.checks.skipped
    return any(
        record.process.startswith(f"{life.host.address}.{life.number}/") and life not in skipped
        for life in load.simulation.lives()
    )
