"""Calls under way, and one after the other: at the leader and at a follower, in memory.

In each round a system gets a fresh cluster of three, and all shapes are run on it, the heaviest
last. The floor takes calls at its leader only; what it takes there stands beside a follower's.
"""

from collections.abc import Collection

from measuring import Found, Group, Options
from rows import BEFORE, CALLS, FLOOR, OURS, PYSYNCOBJ, UNBATCHED
from systems import SYSTEMS

from syncstructs.cli.bench import Shape, measure

SHAPES = {
    "blocking-leader": (1, "leader"),
    "blocking-follower": (1, "follower"),
    "leader-64": (64, "leader"),
    "leader-1024": (1024, "leader"),
    "leader-16384": (16_384, "leader"),
    "follower-64": (64, "follower"),
    "follower-1024": (1024, "follower"),
    "follower-16384": (16_384, "follower"),
}
CPU_SHAPE = "leader-1024"


def shape_of(row: str, options: Options) -> Shape:
    """Return what to run for the row."""
    window, at = SHAPES[row]
    return Shape(
        members=3, at=at, window=window, blocking=row.startswith("blocking"), value_bytes=10,
        disk=False, seconds=options.seconds, warmup=options.warmup,
    )  # fmt: skip


def measure_calls(system: str, rows: Collection[str], options: Options) -> Found:
    """Run the shapes on a cluster of the system."""
    wanted = [row for row in SHAPES if row in rows or (row == CPU_SHAPE and "cpu" in rows)]
    if system == FLOOR:
        if "blocking-follower" in rows and "blocking-leader" not in rows:
            wanted.append("blocking-leader")
        wanted = [row for row in wanted if SHAPES[row][1] == "leader"]
    found: Found = {}
    with SYSTEMS[system].cluster() as cluster:
        cluster.start()
        for row in wanted:
            figures = measure(cluster, shape_of(row, options))
            value = figures["p50_ms" if row.startswith("blocking") else "ops_per_second"]
            found[row] = {"value": value, **figures}
            if figures["lost"]:
                # What is still under way would be in the way of the next shape.
                break
    if CPU_SHAPE in found:
        found["cpu"] = {"value": found[CPU_SHAPE]["cpu_seconds_per_million"]}
    if system == FLOOR and "blocking-leader" in found:
        found["blocking-follower"] = found["blocking-leader"]
    return {row: each for row, each in found.items() if row in rows}


GROUP = Group(CALLS, (OURS, BEFORE, PYSYNCOBJ, UNBATCHED, FLOOR), measure_calls)
