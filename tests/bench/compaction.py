"""The longest pause while a dict of a million entries is compacted under load.

Three processes on loopback, in memory or with their logs on disk, with default settings, hold a
dict of `--entries`. One member then writes all over it, with so many calls under way, until each of
them has taken a snapshot as its log has grown. The pause is the longest time between two calls that
ended, at the member that writes. Beside it stands what the machine itself does: the longest time in
which a bare loop on each of its processors did not run, before there was any member.

    python tests/bench/compaction.py --at leader follower --stores memory disk --runs 5
"""

import argparse
import json
import os
import statistics
import tempfile
import threading
import time
from array import array
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from heapq import nlargest
from itertools import pairwise, product
from pathlib import Path
from typing import Any

from syncstructs.cli.bench import OBJECTS
from syncstructs.cli.channel import Line
from syncstructs.cli.processes import LocalCluster

ENTRIES = 1_000_000
BLOCK = 10_000
"""Entries filled in by one call."""
VALUE = b"0123456789"
VALUE_BYTES = {1: 8000, 64: 500}
"""Of what is written, by how many calls are under way: so much that the log grows in time."""


class Late:
    """How much later than asked for a timer of a node's loop runs, in seconds."""

    def __init__(self, node: Any, every: float = 0.001) -> None:
        self._loop = node._engine.runner.loop
        self._every = every
        self._due = 0.0
        self._over = False
        self.longest = 0.0
        self._loop.call_soon_threadsafe(self._arm)

    def _arm(self) -> None:
        self._due = time.perf_counter() + self._every
        self._loop.call_later(self._every, self._ran)

    def _ran(self) -> None:
        self.longest = max(self.longest, time.perf_counter() - self._due)
        if not self._over:
            self._arm()

    def stop(self) -> None:
        """Look no more."""
        self._over = True


class Watch:
    """The load of a member that does nothing but tell when it has taken snapshots."""

    def __init__(
        self, node: Any, objects: dict[str, Any], emit: Callable[[Line], None], *, seconds: float
    ) -> None:
        self._node, self._seconds = node, seconds

    def run(self) -> Line:
        """Look for so long; return how late timers were at the most."""
        late = Late(self._node)
        time.sleep(self._seconds)
        late.stop()
        return {"late": late.longest}

    def stop(self) -> None:
        """It ends by itself."""


class Compact:
    """The load of a member that takes a snapshot."""

    def __init__(self, node: Any, objects: dict[str, Any], emit: Callable[[Line], None]) -> None:
        self._node = node

    def run(self) -> int:
        """Take it; return the index that it reaches to."""
        index: int = self._node.snapshot()
        return index

    def stop(self) -> None:
        """It ends by itself."""


class Fill:
    """Fill the dict."""

    def __init__(
        self,
        node: Any,
        objects: dict[str, Any],
        emit: Callable[[Line], None],
        *,
        entries: int,
        value: Any = VALUE,
    ) -> None:
        self._cells, self._entries, self._value = objects["cells"], entries, value

    def run(self) -> float:
        """Fill it, and return in how many seconds."""
        begun = time.perf_counter()
        calls = []
        for first in range(0, self._entries, BLOCK):
            last = min(first + BLOCK, self._entries)
            calls.append(
                self._cells.update.submit({f"key-{n:07}": self._value for n in range(first, last)})
            )
        for call in calls:
            call.result(60)
        return time.perf_counter() - begun

    def stop(self) -> None:
        """It ends by itself."""


class Write:
    """Write to entries in turn, all over the dict."""

    def __init__(
        self,
        node: Any,
        objects: dict[str, Any],
        emit: Callable[[Line], None],
        *,
        seconds: float,
        window: int,
        entries: int,
        value_bytes: int,
    ) -> None:
        self._node, self._cells = node, objects["cells"]
        self._seconds, self._window, self._entries = seconds, window, entries
        self._value = b"x" * value_bytes
        self._times = array("d")
        self._number = self._failed = 0
        self._until = 0.0
        self._over = threading.Event()

    def run(self) -> Line:
        """Write for so long; return the pauses, in seconds."""
        late = Late(self._node)
        begun = time.perf_counter()
        self._until = begun + self._seconds
        for _ in range(self._window):
            self._begin()
        self._over.wait(self._seconds + 60)
        late.stop()
        # Not sorted: that would hold the interpreter for longer than a leader may be silent.
        pauses = nlargest(5, ((b - a, a - begun) for a, b in pairwise(self._times)))
        return {
            "calls": self._number, "failed": self._failed, "late": late.longest,
            "pauses": pauses,
        }  # fmt: skip

    def stop(self) -> None:
        """It ends by itself."""

    def _begin(self) -> None:
        self._number += 1
        key = f"key-{self._number * 7919 % self._entries:07}"
        self._cells.set.submit(key, self._value).add_done_callback(self._ended)

    def _ended(self, future: Any) -> None:
        now = time.perf_counter()
        self._times.append(now)
        self._failed += future.exception() is not None
        if now < self._until:
            self._begin()
        else:
            self._window -= 1
            if not self._window:
                self._over.set()


def spin(seconds: float) -> float:
    """Do nothing but look at the clock for so long; return the longest time between two looks."""
    begun = last = time.perf_counter()
    longest = 0.0
    while last < begun + seconds:
        now = time.perf_counter()
        longest = max(longest, now - last)
        last = now
    return longest


def machine_ms(seconds: float = 1.5) -> list[float]:
    """Return for each processor the longest time in which a bare loop on it did not run."""
    with ProcessPoolExecutor() as pool:
        return _ms(list(pool.map(spin, [seconds] * (os.cpu_count() or 1))))


def measure(
    at: str, *, disk: bool, entries: int, seconds: float, window: int, config: dict[str, Any]
) -> Line:
    """Fill a cluster, write at the leader or at another member; return figures in milliseconds."""
    machine = machine_ms()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="syncstructs-"))
        cluster = stack.enter_context(
            LocalCluster(
                3, objects=OBJECTS, config=config, data_dir=Path(folder) if disk else None
            )
        )
        cluster.start()
        leader = cluster.wait_leader()
        leader.request("run", load="compaction:Fill", options={"entries": entries}, within=120)
        for member in cluster:
            member.request("barrier", timeout=60, within=70)
        others = [member for member in cluster if member is not leader]
        writer = leader if at == "leader" else others[0]
        term, before = _term(cluster), _snapshots(cluster)
        # The log has to grow by what all wait for, however few calls are under way.
        options = {
            "seconds": seconds, "window": window, "entries": entries,
            "value_bytes": VALUE_BYTES.get(window, 200),
        }  # fmt: skip
        run = writer.ask("run", load="compaction:Write", options=options)
        looks = [
            member.ask("run", load="compaction:Watch", options={"seconds": seconds})
            for member in cluster
            if member is not writer
        ]
        figures: Line = run.result(seconds + 90)
        late = [figures["late"], *(look.result(60)["late"] for look in looks)]
        after = _snapshots(cluster)
        return {
            "at": at,
            "stores": "disk" if disk else "memory",
            "window": window,
            "pauses_ms": _ms([pause for pause, _ in figures["pauses"]]),
            "pauses_at_s": [round(moment, 1) for _, moment in figures["pauses"]],
            "machine_ms": machine,
            "late_ms": _ms(late),
            "compacted": sum(after[name] > before[name] for name in after),
            "elections": _term(cluster) - term,
            "calls": figures["calls"],
            "failed": figures["failed"],
        }


def _ms(seconds: list[float]) -> list[float]:
    return [round(1000 * each, 1) for each in seconds]


def _snapshots(cluster: LocalCluster) -> dict[str, int]:
    return {name: status["snapshot_index"] for name, status in cluster.statuses().items()}


def _term(cluster: LocalCluster) -> int:
    return max(status["term"] for status in cluster.statuses().values())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--at", nargs="+", choices=["leader", "follower"], default=["leader", "follower"])
    add("--stores", nargs="+", choices=["memory", "disk"], default=["memory"])
    add("--runs", type=int, default=1)
    add("--entries", type=int, default=ENTRIES)
    add("--seconds", type=float, default=14.0)
    add("--windows", nargs="+", type=int, default=[1, 64], help="calls under way at once")
    add("--config", type=json.loads, default={}, help="JSON object of the members' Config")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    found = []
    cases = list(product(options.stores, options.at, options.windows))
    for _ in range(options.runs):
        for stores, at, window in cases:
            figures = measure(
                at, disk=stores == "disk", entries=options.entries, seconds=options.seconds,
                window=window, config=options.config,
            )  # fmt: skip
            found.append(figures)
            if not options.json:
                print(found[-1], flush=True)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'longest pause, ms':<29}{'median':>8}{'worst':>8}{'machine':>9}{'compacted':>11}")
    for case in cases:
        mine = [f for f in found if (f["stores"], f["at"], f["window"]) == case]
        longest = [f["pauses_ms"][0] for f in mine]
        machine = statistics.median(max(f["machine_ms"]) for f in mine)
        stores, at, window = case
        print(
            f"{stores:<8}{at:<10}{window:>5} calls{statistics.median(longest):>8.1f}"
            f"{max(longest):>8.1f}{machine:>9.1f}{min(f['compacted'] for f in mine):>11}"
        )


if __name__ == "__main__":
    main()
