"""How long writes stand still when the leader is killed: p50 and p99 of many kills, one by one.

Three processes on loopback, each with its log on disk. In each round the leader gets SIGKILL, and
each of the others makes a call at once. `first` is the time from the signal until one of these is
acknowledged, `all` until each is. The dead member is back before the next round begins.

    python tests/bench/recovery_time.py --rounds 50

A call that fails ends the run: it may take long, but has to succeed.
"""

import argparse
import json
import math
import platform
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from syncstructs.cli.processes import LocalCluster

OBJECTS: dict[str, tuple[str, list[Any]]] = {"hits": ("syncstructs:ReplCounter", [])}
WITHIN = 30.0
"""Seconds in which a call is acknowledged, or the run ends with an error."""


def one_round(cluster: LocalCluster) -> dict[str, float]:
    """Kill the leader, see the others write, start it again; return milliseconds."""
    cluster.start()
    for member in cluster:
        member.call("hits", "add", 1, within=WITHIN)
    leader = cluster.wait_leader()
    ended: SimpleQueue[tuple[float, Future[Any]]] = SimpleQueue()
    begun = time.monotonic()
    leader.kill()
    others = [member for member in cluster if member is not leader]
    for member in others:
        call = member.ask("call", name="hits", method="add", args=[1])
        call.add_done_callback(lambda call: ended.put((time.monotonic(), call)))
    times = []
    for _ in others:
        moment, call = ended.get(timeout=WITHIN)
        call.result()
        times.append(1000 * (moment - begun))
    return {"first": times[0], "all": times[-1]}


def summary(values: Sequence[float]) -> dict[str, float]:
    """Return the figures of one column; p99 of less than a hundred values is the greatest."""
    ordered = sorted(values)
    return {
        "p50_ms": statistics.median(ordered),
        "p99_ms": ordered[math.ceil(0.99 * len(ordered)) - 1],
        "max_ms": ordered[-1],
    }


def run(members: int, rounds: int, config: dict[str, Any]) -> dict[str, Any]:
    """Kill `rounds` leaders; return the figures, and those of each round."""
    found = []
    with (
        tempfile.TemporaryDirectory(prefix="syncstructs-") as folder,
        LocalCluster(members, objects=OBJECTS, config=config, data_dir=Path(folder)) as cluster,
    ):
        for _ in range(rounds):
            found.append(one_round(cluster))
        cluster.start()
        value = cluster.wait_leader().call("hits", "add", 0)
    # Each member called once before the kill, and each that lived once after it.
    expected = rounds * (2 * members - 1)
    if value != expected:
        raise SystemExit(f"{expected} calls were acknowledged, and {value} were counted")
    columns = {name: summary([each[name] for each in found]) for name in ("first", "all")}
    return {"members": members, "kills": rounds, "rounds": found, **columns}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--members", type=int, default=3)
    add("--rounds", type=int, default=50, help="how many leaders are killed (default: 50)")
    add("--config", type=json.loads, default={}, help="JSON object of the members' Config")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args(arguments)
    figures = run(options.members, options.rounds, options.config)
    if options.json:
        print(json.dumps(figures))
        return 0
    print(f"CPython {platform.python_version()}, {platform.platform()}")
    print(f"{options.members} members, {options.rounds} leaders killed; milliseconds to a write")
    print(f"{'':<8}{'p50':>10}{'p99':>10}{'max':>10}")
    for name in ("first", "all"):
        p50, p99, largest = figures[name].values()
        print(f"{name:<8}{p50:>10.0f}{p99:>10.0f}{largest:>10.0f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
