"""A dict with a million entries: compacted under load, sent as a snapshot, and loaded by a restart.

PySyncObj is restarted with a journal and a dump. Compacting such a dict in memory makes it lose its
leader, and with it calls that never end, so it is not asked to.
"""

import statistics
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import Any

from calls import ANSWER_TIMEOUT, shape
from rows import BEFORE, COMPILED, OURS, PYSYNCOBJ, Found, Group, Options, Row, versus
from servers import room_for
from systems import system_of

from syncstructs.cli.bench import LOAD
from syncstructs.cli.processes import LocalCluster, MemberProcess

QUIET = f"{OURS} undisturbed"
COMPACTION = (
    Row("compaction", "pause, 1,000,000 entries compacted", "ms", "less",
        versus(None, 20, 5)),
)  # fmt: skip
SNAPSHOT = (
    Row("snapshot-pause", "pause, a snapshot being sent", "ms", "less"),
    Row("snapshot-p50", "p50, a snapshot being sent", "ms", "less"),
    Row("snapshot-elections", "elections while a snapshot is sent", "", "less",
        versus(None, 0), takes="max"),
)  # fmt: skip
RESTART = (
    Row("restart", "restart with 1,000,000 entries", "s", "less", versus(None, 1, 0.7),
        (PYSYNCOBJ,)),
)  # fmt: skip
RESTARTS = 3
"""Restarts of a round; the median counts."""


def entry_count(options: Options) -> int:
    """Return how large the state is to be."""
    return 100_000 if options.quick else 1_000_000


def fill(cluster: LocalCluster, options: Options) -> MemberProcess:
    """Start the cluster with a large state; return the leader."""
    cluster.start()
    leader = cluster.wait_leader()
    what = {"entry_count": entry_count(options)}
    leader.request("run", load="our_loads:Fill", options=what, within=2 * ANSWER_TIMEOUT)
    return leader


def under_load(
    leader: MemberProcess, options: Options, disturb: Callable[[], Any]
) -> tuple[dict[str, Any], Any]:
    """Keep 1,024 calls under way, and do something meanwhile; return the figures of both."""
    what = shape(1024, "leader", options).load_options()
    running: Future[Any] = leader.ask("run", load=LOAD, options=what)
    # A moment within the time that is measured.
    threading.Event().wait(options.warmup + options.seconds / 4)
    found = disturb()
    return running.result(options.seconds + ANSWER_TIMEOUT), found


def measure_compaction(system: str, rows: Collection[str], options: Options) -> Found:
    """Have all members compact at once, while the leader is called."""
    with system_of(system).cluster() as cluster:
        leader = fill(cluster, options)

        def compact() -> list[float]:
            if system == QUIET:
                return []
            asked = [m.ask("run", load="our_loads:Snapshot", options={}) for m in cluster]
            return [float(each.result(ANSWER_TIMEOUT)) for each in asked]

        figures, lasted = under_load(leader, options, compact)
    value = figures["longest_pause_ms"]
    return {"compaction": {"value": value, "snapshots_lasted": lasted, **figures}}


def measure_snapshot(system: str, rows: Collection[str], options: Options) -> Found:
    """Kill a follower that keeps all in memory, and start it again: it is sent everything."""
    with system_of(system).cluster() as cluster:
        leader = fill(cluster, options)
        before = leader.request("status")["term"]
        follower = next(member for member in cluster if member is not leader)

        def come_back() -> float:
            if system == QUIET:
                return 0.0
            follower.kill()
            return time_of_start(cluster, follower.name)

        figures, lasted = under_load(leader, options, come_back)
        elections = leader.request("status")["term"] - before
    return {
        "snapshot-pause": {"value": figures["longest_pause_ms"], "lasted": lasted, **figures},
        "snapshot-p50": {"value": figures["p50_ms"]},
        "snapshot-elections": {"value": elections},
    }


def time_of_start(cluster: LocalCluster, name: str) -> float:
    """Start a member; return the seconds until it is ready."""
    begun = time.perf_counter()
    cluster.launch(name).request("wait_ready", timeout=ANSWER_TIMEOUT, within=2 * ANSWER_TIMEOUT)
    return time.perf_counter() - begun


def measure_restart(system: str, rows: Collection[str], options: Options) -> Found:
    """Kill a follower that has its state on disk, and start it again."""
    with (
        room_for(options.data_dir) as room,
        system_of(system).cluster(data_dir=room) as cluster,
    ):
        leader = fill(cluster, options)
        follower = next(member for member in cluster if member is not leader)
        times = []
        for _ in range(RESTARTS):
            cluster.members[follower.name].kill()
            times.append(time_of_start(cluster, follower.name))
    return {"restart": {"value": statistics.median(times), "times": times}}


GROUPS = (
    Group(COMPACTION, (OURS, COMPILED, BEFORE, QUIET), measure_compaction),
    Group(SNAPSHOT, (OURS, COMPILED, BEFORE, QUIET), measure_snapshot),
    Group(
        RESTART, (OURS, COMPILED, BEFORE, PYSYNCOBJ), measure_restart,
        lambda _, options: min(3, options.rounds),
    ),
)
