"""What observers cost the leader: its CPU time without and with them, idle and under writes.

Three members as processes on loopback, and so many observers in one more process. First nothing
happens, then the leader itself writes, 64 calls under way. Figures are CPU time of the leader per
second while idle, and per write, each also as a ratio to those without observers in the same run.

    python tests/bench/observer_load.py --observers 0 10 100 300

The observers need CPU time as well; `writes/s` on a machine with few cores tells of both.
"""

import argparse
import asyncio
import json
import platform
import subprocess
import sys
import time
from typing import Any

from syncstructs import Node, ReplDict
from syncstructs.cli.processes import LocalCluster, MemberProcess, import_path

OBJECTS: dict[str, tuple[str, list[Any]]] = {"cells": ("syncstructs:ReplDict", [])}
LOAD = "syncstructs.cli.bench_load:WriteLoad"


async def observe(servers: list[str], count: int) -> None:
    """Be so many observers until stdin ends."""
    nodes = [
        Node(None, servers, consumers={"cells": ReplDict()}, drive="asyncio") for _ in range(count)
    ]
    for node in nodes:
        await node.wait_ready.submit()
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for node in nodes:
        await node.close.submit()


def idle(leader: MemberProcess, seconds: float) -> float:
    """Return the leader's CPU time per second while nobody calls."""
    before = leader.request("usage")
    time.sleep(seconds)
    return float(leader.request("usage") - before) / seconds


def writes(leader: MemberProcess, seconds: float) -> tuple[float, float]:
    """Return the writes per second, and the leader's CPU time in microseconds for each."""
    before = leader.request("usage")
    options = {
        "window": 64, "seconds": seconds, "warmup": 0.5, "value_bytes": 10, "blocking": False,
    }  # fmt: skip
    found = leader.request("run", load=LOAD, options=options, within=seconds + 60)
    used = leader.request("usage") - before
    return found["count"] / seconds, 1e6 * used / found["total"]


def measure(count: int, seconds: float) -> dict[str, float]:
    """Return the figures with so many observers."""
    with LocalCluster(3, objects=OBJECTS) as cluster:
        cluster.start()
        servers = [setup.address for setup in cluster.setups]
        observers = subprocess.Popen(
            [sys.executable, __file__, "--be", str(count), *servers],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": import_path()},
        )  # fmt: skip
        try:
            assert observers.stdout is not None
            if observers.stdout.readline() != b"ready\n":
                raise SystemExit("the observers did not start")
            leader = cluster.wait_leader()
            # The new ones are spoken to more often.
            time.sleep(2.0)
            used = idle(leader, seconds)
            per_second, per_write = writes(leader, seconds)
        finally:
            observers.kill()
            observers.wait()
    return {
        "observers": count, "idle_cpu_ms_per_s": 1000 * used, "writes_per_s": per_second,
        "cpu_us_per_write": per_write,
    }  # fmt: skip


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--observers", type=int, nargs="+", default=[0, 10, 100, 300])
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each is measured")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--be", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be:
        asyncio.run(observe(options.be[1:], int(options.be[0])))
        return
    rows = [measure(count, options.seconds) for count in options.observers]
    if options.json:
        print(json.dumps({"python": platform.python_version(), "rows": rows}))
        return
    first = rows[0]
    print("observers  idle CPU ms/s  CPU us/write  ratio  writes/s")
    for row in rows:
        ratio = row["cpu_us_per_write"] / first["cpu_us_per_write"]
        print(
            f"{row['observers']:>9} {row['idle_cpu_ms_per_s']:>14.1f}"
            f" {row['cpu_us_per_write']:>13.2f} {ratio:>6.2f} {row['writes_per_s']:>9.0f}"
        )


if __name__ == "__main__":
    main()
