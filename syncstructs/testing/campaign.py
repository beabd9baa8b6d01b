"""Many runs on all cores: seed after seed, until a number, a time or an interrupt ends it."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from multiprocessing import get_context
from types import FrameType
from typing import Final

from .plans import PROFILES, Plan, draw_plan
from .runs import Failure, Report, run_plan

ALARM: Final = 300.0
"""Seconds of real time after which a run is broken off as a failure."""


@dataclass(frozen=True)
class Result:
    """How one run ended, as it is sent between processes."""

    seed: int
    profile: str
    report: Report | None
    cpu_seconds: float
    failure: str = ""
    """What went wrong; empty if nothing."""
    token: str = ""
    """What replays the failure."""


@dataclass
class Totals:
    """What a campaign has done so far."""

    runs: int = 0
    cpu_seconds: float = 0.0
    events: int = 0
    seconds: float = 0.0
    """Virtual seconds."""
    faults: int = 0
    elections: int = 0
    messages: int = 0
    checked: int = 0
    """Calls in histories that were checked."""
    failures: list[Result] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count a run."""
        self.runs += 1
        self.cpu_seconds += result.cpu_seconds
        if result.failure:
            self.failures.append(result)
        report = result.report
        if report is not None:
            self.events += report.events
            self.seconds += report.seconds
            self.faults += report.faults
            self.elections += report.elections
            self.messages += report.messages
            self.checked += report.checked

    def figures(self) -> dict[str, float]:
        """Return everything as numbers, per CPU-minute too."""
        minutes = self.cpu_seconds / 60 or 1.0
        hours = self.seconds / 3600
        return {
            "runs": self.runs,
            "failures": len(self.failures),
            "cpu_seconds": round(self.cpu_seconds, 1),
            "cluster_hours": round(hours, 3),
            "events": self.events,
            "messages": self.messages,
            "faults": self.faults,
            "elections": self.elections,
            "checked_calls": self.checked,
            "cluster_hours_per_cpu_minute": round(hours / minutes, 3),
            "events_per_cpu_minute": round(self.events / minutes),
            "checked_calls_per_cpu_minute": round(self.checked / minutes),
            "faults_per_cpu_minute": round(self.faults / minutes),
        }


def campaign(
    profiles: Sequence[str] = PROFILES,
    *,
    first_seed: int = 0,
    runs: int | None = None,
    seconds: float | None = None,
    jobs: int | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Result]:
    """Yield the results of runs as they end: seed by seed, each seed under all profiles.

    It ends after `runs` runs or after `seconds` of real time, whichever comes first; without
    either it goes on. `jobs`: how many processes (None: as many as there are cores).
    """
    deadline = None if seconds is None else clock() + seconds
    todo = _todo(profiles, first_seed, runs)
    count = jobs or os.cpu_count() or 1
    with ProcessPoolExecutor(
        count, mp_context=get_context("spawn"), initializer=_begin_process
    ) as pool:
        pending: set[Future[Result]] = set()
        try:
            while True:
                late = deadline is not None and clock() >= deadline
                while not late and len(pending) < 2 * count:
                    task = next(todo, None)
                    if task is None:
                        break
                    pending.add(pool.submit(run_seed, *task))
                if not pending:
                    return
                ended, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                for future in ended:
                    yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _todo(
    profiles: Sequence[str], first_seed: int, runs: int | None
) -> Iterator[tuple[int, str]]:
    count = 0
    seed = first_seed
    while True:
        for profile in profiles:
            if runs is not None and count >= runs:
                return
            count += 1
            yield seed, profile
        seed += 1


def run_seed(seed: int, profile: str) -> Result:
    """Carry out the plan of a seed."""
    return _run(draw_plan(seed, profile), seed, profile)


def _run(plan: Plan, seed: int, profile: str) -> Result:
    began = time.process_time()
    with _Alarm(ALARM):
        outcome = run_plan(plan)
    if not gc.isenabled():
        gc.collect()
    spent = time.process_time() - began
    if isinstance(outcome, Failure):
        what = f"{outcome.kind}: {outcome.message}"
        return Result(seed, profile, None, spent, what, plan.token())
    return Result(seed, profile, outcome, spent)


def _begin_process() -> None:
    """Have garbage collected between runs only, once, and never look at what stays for good."""
    gc.disable()
    gc.collect()
    gc.freeze()


class Overdue(AssertionError):
    """A run took too long in real time."""


class _Alarm:
    """Breaks off what takes too long, where the platform can: in a main thread, on POSIX."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._armed = False

    def __enter__(self) -> None:
        try:
            signal.signal(signal.SIGALRM, self._ring)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
        except (AttributeError, ValueError):
            return
        self._armed = True

    def __exit__(self, *exc: object) -> None:
        if self._armed:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _ring(self, number: int, frame: FrameType | None) -> None:
        raise Overdue(f"the run took more than {self._seconds:.0f} s of real time")
