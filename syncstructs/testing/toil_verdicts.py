"""What callers of tasks and jobs must have seen, by the models of these types.

What callers cannot know is told from the log: what the cluster time was, whose sessions ended when,
and whose answers a snapshot has skipped. Of single calls it is not asked.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import count
from math import inf
from queue import Empty
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from . import toil
from .history import NOT_APPLIED, UNKNOWN, Op, Raised
from .jobmodels import SchedulerModel
from .linearizability import Result, check
from .taskfacts import Bounds
from .taskmodels import TaskQueueModel

if TYPE_CHECKING:
    from .workload import Load

_NONE: Final = Raised.of(Empty())
_MODELS: Final = {toil.Toil.NAME: TaskQueueModel, toil.Rota.NAME: SchedulerModel}


def check_toil(load: Load, name: str, ops: Sequence[Op], budget: int) -> Result:
    """Return whether what callers of that object saw can be explained."""
    times = _Times(load)
    # Where nobody has seen all of the log, sessions may have ended unseen.
    expiry = load.simulation.checks.commands() is None
    model = _MODELS[name](**toil.TERMS, expiry=expiry, time_at=times.at)
    return check([*ops, *times.losses(), *_begun_anew(load, ops)], model, budget=budget)


class _Times:
    """When entries were committed, by the history's clock, and what cluster time it was."""

    def __init__(self, load: Load) -> None:
        self._load = load
        rows = list(load.simulation.checks.commit_times())
        self._indexes = [index for index, _, _ in rows]
        self._clocks: list[float] = []
        for _, clock, _ in rows:
            self._clocks.append(max(clock, self._clocks[-1]) if self._clocks else clock)
        self._times = [time / 1_000_000 for _, _, time in rows]

    def at(self, clock: float) -> Bounds:
        """Return between what bounds the cluster time was at a time of the history."""
        before, after = bisect_right(self._clocks, clock), bisect_left(self._clocks, clock)
        first = self._times[before - 1] if before else -inf
        return first, self._times[after] if after < len(self._times) else inf

    def losses(self) -> Iterator[Op]:
        """Yield that a session ended, once for each life that may have been its owner."""
        simulation = self._load.simulation
        numbers = count(-1, -1)
        for address, index in simulation.checks.endings():
            at = bisect_left(self._indexes, index)
            begin = self._clocks[at - 1] if at else 0.0
            end = self._clocks[at + 1] if at + 1 < len(self._clocks) else inf
            for host in simulation.hosts.values():
                # Observers have sessions of other names.
                if host.address == address or address not in simulation.hosts:
                    for life in host.lives:
                        yield Op(
                            id=next(numbers), process=host.address, method="lost", call=begin,
                            end=end, outcome=UNKNOWN if end == inf else None, session=life.id,
                        )  # fmt: skip


def _begun_anew(load: Load, ops: Sequence[Op]) -> Iterator[Op]:
    """Yield what took a task, perhaps, and gave it back, as a snapshot had skipped the answer."""
    skipped = {life.id for life in load.simulation.checks.skipped}
    numbers = count(max((op.id for op in ops), default=0) + 1)
    for op in ops:
        # What was refused at once has asked nobody.
        is_lost = op.session in skipped or (op.outcome is NOT_APPLIED and op.end > op.call + 1)
        if op.method == "get" and is_lost:
            yield replace(op, id=next(numbers), args=(), outcome=_NONE)
