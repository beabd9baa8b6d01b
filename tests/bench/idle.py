"""What three members cost that have nothing to do: processor, and how often they wake up.

Three processes on loopback, in memory, with default settings and some objects. `cpu` is the time of
the processor that all three took, in per cent of one core; `wakes` how often a second their threads
went to sleep and came back, all three together.

    python tests/bench/idle.py --seconds 20
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from syncstructs.cli.processes import LocalCluster

OBJECTS: dict[str, tuple[str, list[Any]]] = {
    "cells": ("syncstructs:ReplDict", []),
    "hits": ("syncstructs:ReplCounter", []),
    "jobs": ("syncstructs:ReplQueue", []),
    "locks": ("syncstructs:ReplLockManager", []),
}


def switches(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep by themselves."""
    count = 0
    for status in Path(f"/proc/{pid}/task").glob("*/status"):
        for line in status.read_text().splitlines():
            if line.startswith("voluntary_ctxt_switches"):
                count += int(line.split()[1])
    return count


def cpu_ns(pid: int) -> int:
    """Return the nanoseconds of the processor that the threads of a process have had."""
    return sum(
        int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")
    )


def measure(seconds: float, config: dict[str, Any]) -> dict[str, Any]:
    """Let a cluster be idle for so long; return its figures."""
    with LocalCluster(3, objects=OBJECTS, config=config) as cluster:
        cluster.start()
        leader = cluster.wait_leader()
        time.sleep(2.0)
        before = {m.name: (cpu_ns(m.pid), switches(m.pid)) for m in cluster}
        begun = time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - begun
        rows = {}
        for member in cluster:
            cpu, slept = before[member.name]
            rows["leader" if member is leader else member.name] = {
                "cpu_percent": (cpu_ns(member.pid) - cpu) / took / 1e7,
                "wakes_per_second": (switches(member.pid) - slept) / took,
            }
    total = {
        name: sum(row[name] for row in rows.values())
        for name in ("cpu_percent", "wakes_per_second")
    }
    return {"members": rows, **total}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=20.0)
    add("--runs", type=int, default=1)
    add("--config", type=json.loads, default={}, help="JSON object of the members' Config")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    found = [measure(options.seconds, options.config) for _ in range(options.runs)]
    if options.json:
        print(json.dumps(found))
        return
    for each in found:
        for name, row in each["members"].items():
            print(f"{name:<8}{row['cpu_percent']:>7.2f} %{row['wakes_per_second']:>8.0f} wakes/s")
    cpu = statistics.median(each["cpu_percent"] for each in found)
    wakes = statistics.median(each["wakes_per_second"] for each in found)
    print(f"all     {cpu:>7.2f} %{wakes:>8.0f} wakes/s")


if __name__ == "__main__":
    main()
