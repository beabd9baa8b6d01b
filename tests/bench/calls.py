"""Calls under way, and one after the other: at the leader and at a follower.

In each round a system gets a fresh cluster, and all shapes are run on it, the heaviest last. The
floor takes calls at its leader only; what it takes there stands beside a follower's.
"""

from collections.abc import Collection
from typing import Any

from rows import (
    BEFORE,
    COMPILED,
    ETCD,
    ETCD_BEST,
    ETCD_SPREAD,
    FLOOR,
    OURS,
    PYSYNCOBJ,
    PYSYNCOBJ_BEST,
    UNBATCHED,
    Found,
    Group,
    Options,
    Row,
    versus,
)  # fmt: skip
from servers import etcd, etcd_blocking, etcd_calls, room_for
from systems import system_of

from syncstructs.cli.bench import LOAD, Shape, choose_caller, measure
from syncstructs.cli.processes import LocalCluster

CALLS = (
    Row("leader-1024", "1,024 outstanding at the leader", "ops/s", "more",
        versus(PYSYNCOBJ_BEST, 15, 30) + versus(FLOOR, aim=0.3)),
    Row("leader-64", "64 outstanding at the leader", "ops/s", "more",
        versus(PYSYNCOBJ_BEST, 15, 25) + versus(PYSYNCOBJ, 150), (FLOOR,)),
    Row("leader-16384", "16,384 outstanding at the leader", "ops/s", "more",
        versus(PYSYNCOBJ_BEST, 6, 12), (FLOOR,)),
    Row("follower-1024", "1,024 outstanding at a follower", "ops/s", "more",
        versus(PYSYNCOBJ_BEST, 15, 30)),
    Row("follower-64", "64 outstanding at a follower", "ops/s", "more",
        versus(PYSYNCOBJ_BEST, 15, 25) + versus(PYSYNCOBJ, 150)),
    Row("follower-16384", "16,384 outstanding at a follower", "ops/s", "more",
        versus(PYSYNCOBJ_BEST, 6, 12)),
    # 0.17 and 0.10 ms (0.35 and 0.20 at a follower) where the floor takes 0.085 at its leader.
    Row("blocking-leader", "blocking call at the leader, p50", "ms", "less",
        versus(FLOOR, 2.0, 1.18), (PYSYNCOBJ_BEST, PYSYNCOBJ)),
    Row("blocking-follower", "blocking call at a follower, p50", "ms", "less",
        versus(FLOOR, 4.12, 2.35), (PYSYNCOBJ_BEST, PYSYNCOBJ)),
    # 8 and 4 us where the floor takes 1.3.
    Row("cpu", "CPU per op, all members, 1,024 outstanding", "us", "less",
        versus(FLOOR, 6.15, 3.08), (PYSYNCOBJ_BEST,)),
)  # fmt: skip
DURABLE = (
    Row("durable-1024", "1,024 outstanding, synced", "ops/s", "more",
        versus(ETCD_BEST, 5, 12), (FLOOR,)),
    Row("durable-blocking", "blocking call, synced, p50", "ms", "less",
        versus(ETCD_BEST, 1 / 2, 1 / 3), (FLOOR,)),
)  # fmt: skip
BULK = (
    Row("bulk-update", "bulk, update of 1,000", "entries/s", "more",
        versus(PYSYNCOBJ, 10) + versus(None, aim=1_000_000), (PYSYNCOBJ_BEST, FLOOR)),
    Row("bulk-batch", "bulk, node.batch() of 1,000", "entries/s", "more",
        versus(PYSYNCOBJ, 10) + versus(None, aim=1_000_000), (PYSYNCOBJ_BEST, FLOOR)),
)  # fmt: skip
THREE, PLAIN, ONE_THREAD, ONE_OBJECT, TINY = (
    f"{OURS} {variant}"
    for variant in ("3 members", "in clear", "one thread", "1 object", "10 entries")
)
VARIANTS = (
    Row("members-7", "7 members, 1,024 outstanding", "ops/s", "more", versus(THREE, 0.4)),
    Row("encrypted", "with a password, 1,024 outstanding", "ops/s", "more",
        versus(PLAIN, 0.85, 0.95)),
    Row("threads-16", "16 threads, blocking calls", "ops/s", "more", versus(ONE_THREAD, 0.8)),
    Row("objects-100", "100 objects on each node", "ops/s", "more", versus(ONE_OBJECT, 0.8)),
    Row("objects-10000", "10,000 objects on each node", "ops/s", "more", versus(ONE_OBJECT, 0.8)),
    Row("state-10000", "10,000 entries of state", "ops/s", "more", versus(TINY, 0.8)),
    Row("state-1000000", "1,000,000 entries of state", "ops/s", "more", versus(TINY, 0.8)),
)  # fmt: skip

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
BURST_MAX = 4096
"""Calls under way up to which a run of ordinary length holds enough of them."""
UPDATES, BATCHES = "syncstructs.cli.bench_load:UpdateLoad", "our_loads:BatchLoad"
PASSWORD = "the password of a benchmark"
ANSWER_TIMEOUT = 60.0


def shape(window: int, at: str, options: Options) -> Shape:
    """Return what to run; a window of 1 is of blocking calls."""
    # PySyncObj ends calls in bursts of as many as are under way, some in a second at best: a run
    # has to hold several for their number to matter little.
    times = 3 if window > BURST_MAX else 1
    return Shape(
        members=3, at=at, window=window, blocking=window == 1, value_bytes=10, disk=False,
        seconds=times * options.seconds, warmup=options.warmup,
    )  # fmt: skip


def run_load(cluster: LocalCluster, load: str, options: Options, **more: Any) -> dict[str, Any]:
    """Run a load at the leader for the time of the options."""
    return choose_caller(cluster, "leader").request(  # type: ignore[no-any-return]
        "run",
        load=load,
        options={"seconds": options.seconds, "warmup": options.warmup, **more},
        within=options.seconds + options.warmup + ANSWER_TIMEOUT,
    )


def rate(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures with calls per second as the value."""
    return {"value": figures["ops_per_second"], **figures}


def p50(figures: dict[str, Any]) -> dict[str, Any]:
    """Return the figures with the median latency as the value."""
    return {"value": figures["p50_ms"], **figures}


def measure_calls(system: str, rows: Collection[str], options: Options) -> Found:
    """Run the shapes on a cluster of the system."""
    wanted = [row for row in SHAPES if row in rows or (row == CPU_SHAPE and "cpu" in rows)]
    if system == FLOOR:
        if "blocking-follower" in rows and "blocking-leader" not in rows:
            wanted.append("blocking-leader")
        wanted = [row for row in wanted if SHAPES[row][1] == "leader"]
    found: Found = {}
    with system_of(system).cluster() as cluster:
        cluster.start()
        for row in wanted:
            figures = measure(cluster, shape(*SHAPES[row], options))
            found[row] = (p50 if row.startswith("blocking") else rate)(figures)
            if figures["lost"]:
                # What is still under way would be in the way of the next shape.
                break
    if CPU_SHAPE in found:
        found["cpu"] = {"value": found[CPU_SHAPE]["cpu_seconds_per_million"]}
    if system == FLOOR and "blocking-leader" in found:
        found["blocking-follower"] = found["blocking-leader"]
    return found


def measure_durable(system: str, rows: Collection[str], options: Options) -> Found:
    """Run with logs on disk that are synced before they count."""
    found: Found = {}
    times = {"seconds": options.seconds, "warmup": options.warmup}
    if system in (ETCD, ETCD_SPREAD):
        with etcd(options.data_dir) as ports:
            asked = ports[:1] if system == ETCD else ports[::-1]
            if "durable-blocking" in rows:
                found["durable-blocking"] = p50(etcd_blocking(asked[0], **times))
            if "durable-1024" in rows:
                found["durable-1024"] = rate(etcd_calls(asked, window=1024, **times))
        return found
    with (
        room_for(options.data_dir) as room,
        system_of(system).cluster(data_dir=room) as cluster,
    ):
        cluster.start()
        if "durable-blocking" in rows:
            found["durable-blocking"] = p50(measure(cluster, shape(1, "leader", options)))
        if "durable-1024" in rows:
            found["durable-1024"] = rate(measure(cluster, shape(1024, "leader", options)))
    return found


def measure_bulk(system: str, rows: Collection[str], options: Options) -> Found:
    """Write a thousand entries per call; others than ours have no more than updates for that."""
    found: Found = {}
    loads = {"bulk-update": UPDATES, "bulk-batch": BATCHES if system.startswith(OURS) else UPDATES}
    with system_of(system).cluster() as cluster:
        cluster.start()
        for row in rows:
            figures = run_load(cluster, loads[row], options)
            found[row] = {"value": figures["entries_per_second"], **figures}
    return found


def measure_members(system: str, rows: Collection[str], options: Options) -> Found:
    """Run with seven members, or three."""
    with system_of(system).cluster(3 if system == THREE else 7) as cluster:
        cluster.start()
        return {"members-7": rate(measure(cluster, shape(1024, "leader", options)))}


def measure_encrypted(system: str, rows: Collection[str], options: Options) -> Found:
    """Run with a password, or without."""
    config = {} if system == PLAIN else {"password": PASSWORD}
    with system_of(system).cluster(config=config) as cluster:
        cluster.start()
        return {"encrypted": rate(measure(cluster, shape(1024, "leader", options)))}


def measure_threads(system: str, rows: Collection[str], options: Options) -> Found:
    """Call from sixteen threads, or from one."""
    count = 1 if system == ONE_THREAD else 16
    with system_of(system).cluster() as cluster:
        cluster.start()
        found = run_load(cluster, "our_loads:Threads", options, thread_count=count)
        return {"threads-16": rate(found)}


def measure_objects(system: str, rows: Collection[str], options: Options) -> Found:
    """Write to so many objects in turn."""

    def with_objects(count: int) -> dict[str, Any]:
        objects = {f"cells-{number}": ("syncstructs:ReplDict", []) for number in range(count)}
        with system_of(system).cluster(objects=objects) as cluster:
            cluster.start(timeout=ANSWER_TIMEOUT)
            return rate(run_load(cluster, "our_loads:Spread", options, window=1024))

    if system == ONE_OBJECT:
        return dict.fromkeys(rows, with_objects(1))
    return {row: with_objects(int(row.partition("-")[2])) for row in rows}


def measure_state(system: str, rows: Collection[str], options: Options) -> Found:
    """Write over all keys of a dict of that size."""

    def with_state(count: int) -> dict[str, Any]:
        with system_of(system).cluster() as cluster:
            cluster.start()
            leader = cluster.wait_leader()
            fill = {"entry_count": count}
            leader.request("run", load="our_loads:Fill", options=fill, within=ANSWER_TIMEOUT)
            load = {**shape(1024, "leader", options).load_options(), "key_count": count}
            within = options.seconds + ANSWER_TIMEOUT
            return rate(leader.request("run", load=LOAD, options=load, within=within))

    if system == TINY:
        return dict.fromkeys(rows, with_state(10))
    return {row: with_state(int(row.partition("-")[2])) for row in rows}


def of_rows(prefix: str) -> tuple[Row, ...]:
    """Return the variants whose names begin so."""
    return tuple(row for row in VARIANTS if row.name.startswith(prefix))


GROUPS = (
    Group(CALLS, (OURS, COMPILED, BEFORE, PYSYNCOBJ, UNBATCHED, FLOOR), measure_calls),
    Group(BULK, (OURS, COMPILED, BEFORE, PYSYNCOBJ, UNBATCHED, FLOOR), measure_bulk),
    Group(DURABLE, (OURS, COMPILED, BEFORE, ETCD, ETCD_SPREAD, FLOOR), measure_durable),
    Group(of_rows("members"), (OURS, COMPILED, BEFORE, THREE), measure_members),
    Group(of_rows("encrypted"), (OURS, COMPILED, BEFORE, PLAIN), measure_encrypted),
    Group(of_rows("threads"), (OURS, COMPILED, BEFORE, ONE_THREAD), measure_threads),
    Group(of_rows("objects"), (OURS, COMPILED, BEFORE, ONE_OBJECT), measure_objects),
    Group(of_rows("state"), (OURS, COMPILED, BEFORE, TINY), measure_state),
)
