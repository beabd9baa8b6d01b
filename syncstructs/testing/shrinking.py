"""Making a failing run short: fewer faults, fewer callers, less time, and the same failure.

Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002)
over the faults of a plan, then over what else it has. The seed stays: a plan with fewer faults is
another run, but one that often fails in the same way.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from msgspec.structs import replace

from .plans import Fault, Plan
from .runs import Failure, Report, run_plan

_NUMBERS: Final = re.compile(r"\d[\d.:]*")


class Shrinker:
    """One search for the shortest plan that fails as `failure` did."""

    def __init__(
        self,
        failure: Failure,
        *,
        run: Callable[[Plan], Report | Failure] = run_plan,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Search for `seconds` of real time at the most; `run` carries out a plan."""
        self.best = failure
        self.run_count = 0
        self._run = run
        self._clock = clock
        self._deadline = clock() + seconds
        self._sort = sort_of(failure)

    def shrink(self) -> Failure:
        """Return the shortest failure that was found."""
        before = None
        while before is not self.best and self._time_is_left():
            before = self.best
            self._drop_faults()
            for simpler in self._simpler():
                self._accept(simpler)
        return self.best

    def _drop_faults(self) -> None:
        size = max(1, len(self.best.plan.faults) // 2)
        while self.best.plan.faults and self._time_is_left():
            at = 0
            dropped = False
            while at < len(self.best.plan.faults) and self._time_is_left():
                faults = self.best.plan.faults
                fewer = (*faults[:at], *faults[at + size :])
                if self._accept(replace(self.best.plan, faults=fewer)):
                    dropped = True
                else:
                    at += size
            if size == 1 and not dropped:
                return
            size = max(1, size // 2)

    def _simpler(self) -> Iterator[Plan]:
        """Yield plans that are simpler than the best one in one respect each."""
        yield from self._with(chaos=self._end_of_chaos())
        for settings in self._fewer(self.best.plan.settings):
            yield from self._with(settings=settings)
        for mixes in self._fewer(self.best.plan.mixes):
            if mixes:
                yield from self._with(mixes=mixes)
        for plainer in (
            {"framing": False}, {"datagrams": False}, {"drift": 0.0}, {"give_up": 0.0},
            {"clients": 1}, {"keys": 1}, {"size": 3}, {"disks": False},
        ):  # fmt: skip
            yield from self._with(**plainer)
        for i in range(len(self.best.plan.faults)):
            faults = self.best.plan.faults
            if i < len(faults):
                rounder = (*faults[:i], _round(faults[i]), *faults[i + 1 :])
                yield from self._with(faults=rounder)

    def _with(self, **changes: Any) -> Iterator[Plan]:
        changed = replace(self.best.plan, **changes)
        if changed != self.best.plan:
            yield changed

    @staticmethod
    def _fewer(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for name in list(whole):
            yield {other: value for other, value in whole.items() if other != name}

    def _end_of_chaos(self) -> float:
        faults = self.best.plan.faults
        last = max((fault.at + fault.span for fault in faults), default=0.0)
        return min(self.best.plan.chaos, round(last + 1.0, 1))

    def _accept(self, plan: Plan) -> bool:
        if not self._time_is_left():
            return False
        self.run_count += 1
        try:
            outcome = self._run(plan)
        except ValueError:
            return False  # settings that do not go together
        if isinstance(outcome, Failure) and sort_of(outcome) == self._sort:
            self.best = outcome
            return True
        return False

    def _time_is_left(self) -> bool:
        return self._clock() < self._deadline


def sort_of(failure: Failure) -> tuple[str, str]:
    """Return what two failures have in common if they are of one cause, as far as one can tell."""
    return failure.kind, _NUMBERS.sub("#", failure.message)[:60]


def _round(fault: Fault) -> Fault:
    return Fault(round(fault.at, 1), fault.kind, round(fault.span, 1), fault.pick, fault.size)
