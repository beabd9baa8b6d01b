"""How long writes stand still when the leader is killed, or falls silent: many runs, one by one.

Three processes on loopback, in memory, with default settings. Those that do not lead write without
a break; then the leader gets SIGKILL (`killed`), or SIGSTOP (`silent`: its links stay up, and
nothing comes from it, as from a machine that lost its power). The time without service is the
longest time in which a survivor saw no write succeed: `first` of the survivor that went on first,
`all` of the other one.

`blocking`: one blocking call after the other on each survivor; `chains`: so many under way on each.

    python tests/bench/standstill.py --runs 20
    python tests/bench/standstill.py --ends silent --load chains

A call that fails is counted, and writing goes on.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable
from typing import Any

from syncstructs.cli.bench import OBJECTS
from syncstructs.cli.channel import Line
from syncstructs.cli.processes import LocalCluster, MemberProcess

ENDS: dict[str, tuple[Callable[[MemberProcess], None], float]] = {
    "killed": (MemberProcess.kill, 1.2),
    "silent": (MemberProcess.pause, 1.8),
}
"""What befalls the leader, and for how many seconds writing goes on after that."""
BEFORE = 0.8
"""Seconds of writing before it."""
LOADS = {"blocking": 1, "chains": 64}
VALUE = b"0123456789"


class Gaps:
    """The longest time between two successes, from the second one on."""

    def __init__(self) -> None:
        self._last = time.perf_counter()
        self.longest, self.at, self.count, self.failed = 0.0, 0.0, 0, 0

    def note(self, error: object, *, over: bool = False) -> None:
        """Note that a call has ended, or that all is over."""
        now = time.perf_counter()
        if error is not None:
            self.failed += 1
            return
        if self.count and now - self._last > self.longest:
            self.longest, self.at = now - self._last, time.time()
        self._last = now
        self.count += not over

    def line(self) -> Line:
        """Return the figures; seconds."""
        self.note(None, over=True)
        return {
            "longest": self.longest, "at": self.at, "count": self.count, "failed": self.failed,
        }  # fmt: skip


class GapLoad:
    """The load in a member: writes with so many calls under way."""

    def __init__(
        self,
        node: Any,
        objects: dict[str, Any],
        emit: Callable[[Line], None],
        *,
        seconds: float,
        window: int,
        keys: int = 100,
    ) -> None:
        self._cells = objects["cells"]
        self._seconds, self._window, self._keys = seconds, window, keys

    def run(self) -> Line:
        """Write, and return the figures."""
        gaps = Gaps()
        until = time.perf_counter() + self._seconds
        number = 0
        if self._window == 1:
            while time.perf_counter() < until:
                number += 1
                try:
                    self._cells[f"key-{number % self._keys}"] = VALUE
                except Exception as error:
                    gaps.note(error)
                else:
                    gaps.note(None)
            return gaps.line()
        left, over = self._window, threading.Event()

        def ended(future: Any) -> None:
            nonlocal left
            gaps.note(future.exception())
            if time.perf_counter() < until:
                begin()
            else:
                left -= 1
                if not left:
                    over.set()

        def begin() -> None:
            nonlocal number
            number += 1
            call = self._cells.set.submit(f"key-{number % self._keys}", VALUE)
            call.add_done_callback(ended)

        for _ in range(self._window):
            begin()
        over.wait(self._seconds + 30)
        return gaps.line()

    def stop(self) -> None:
        """It ends by itself."""


def one_end(end: str, load: str, config: dict[str, Any]) -> dict[str, float]:
    """Start a cluster, end its leader under load; return milliseconds without service."""
    befall, after = ENDS[end]
    with LocalCluster(3, objects=OBJECTS, config=config) as cluster:
        cluster.start()
        leader = cluster.wait_leader()
        options = {"seconds": BEFORE + after, "window": LOADS[load]}
        runs = [
            member.ask("run", load="standstill:GapLoad", options=options)
            for member in cluster
            if member is not leader
        ]
        time.sleep(BEFORE)
        befall(leader)
        found = [run.result(BEFORE + after + 40) for run in runs]
        leader.kill()
    gaps = sorted(each["longest"] for each in found)
    return {
        "first": 1000 * gaps[0],
        "all": 1000 * gaps[-1],
        "failed": sum(each["failed"] for each in found),
        "calls": sum(each["count"] for each in found),
    }


def measure(
    end: str, load: str, runs: int, config: dict[str, Any], tell: Callable[[Line], object]
) -> Line:
    """Return the figures of `runs` ends of leaders, in milliseconds."""
    found = []
    for _ in range(runs):
        found.append(one_end(end, load, config))
        tell({"end": end, "load": load, **found[-1]})
    figures: Line = {"end": end, "load": load, "runs": found}
    for name in ("first", "all"):
        values = [each[name] for each in found]
        figures[name] = {"median_ms": statistics.median(values), "max_ms": max(values)}
    return figures


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--runs", type=int, default=20)
    add("--ends", nargs="+", choices=ENDS, default=list(ENDS))
    add("--load", nargs="+", choices=LOADS, default=["blocking"])
    add("--config", type=json.loads, default={}, help="JSON object of the members' Config")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    tell: Callable[[Line], object] = (lambda line: None) if options.json else print
    found = [
        measure(end, load, options.runs, options.config, tell)
        for end in options.ends
        for load in options.load
    ]
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'milliseconds without service':<30}{'median':>9}{'worst':>9}")
    for figures in found:
        for name in ("first", "all"):
            median, worst = figures[name].values()
            print(f"{figures['end']:<8} {figures['load']:<9}{name:<12}{median:>9.1f}{worst:>9.1f}")


if __name__ == "__main__":
    main()
