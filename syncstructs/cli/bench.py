"""`syncstructs bench`: calls per second, latency and CPU of a cluster on this machine.

Without options for the calls it measures many things, one after the other, and sums them up; with
some of them, calls of that kind alone. Members are processes on loopback and the caller lives in
one of them, as an application does; so the CPU figure is of the whole cluster and includes the
caller's own work.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .bench_view import Measure, View, open_view, summary
from .channel import Line
from .processes import LocalCluster, MemberError, MemberGone, MemberProcess, OnEvent

LOAD = "syncstructs.cli.bench_load:WriteLoad"
OBJECTS: dict[str, tuple[str, list[Any]]] = {"cells": ("syncstructs:ReplDict", [])}
ANSWER_TIMEOUT = 60.0
"""Seconds beyond the planned length of a run after which it counts as failed."""
WATCH_INTERVAL = 0.25
"""Seconds between two looks at a run that is under way."""
GAP_BEFORE, GAP_AFTER = 0.5, 1.5
"""Seconds of writing before the end of a leader and after it."""

Watch = Callable[[LocalCluster], None]
"""Is called again and again while a run is under way."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What one run of calls does."""

    members: int
    at: str
    """Where the calls are made: 'leader' or 'follower'."""
    window: int
    """Calls under way at once."""
    blocking: bool
    """One thread makes one blocking call after the other; `window` is 1 then."""
    value_bytes: int
    disk: bool
    seconds: float
    warmup: float

    def load_options(self) -> Line:
        """Return the options that the load in the member takes."""
        return {
            "seconds": self.seconds,
            "warmup": self.warmup,
            "window": self.window,
            "value_bytes": self.value_bytes,
            "blocking": self.blocking,
        }


MEASURES = (
    Measure("leader-64", "64 calls under way at the leader"),
    Measure("leader-1024", "1,024 calls under way at the leader"),
    Measure("leader-16384", "16,384 calls under way at the leader"),
    Measure("follower-1024", "1,024 calls under way at a follower"),
    Measure("blocking-leader", "one blocking call at a time, at the leader", figure="p50_ms"),
    Measure("blocking-follower", "one blocking call at a time, at a follower", figure="p50_ms"),
    Measure("update", "updates of 1,000 entries", "entries/s", "entries_per_second"),
    Measure("lock", "a lock acquired and released", "pairs/s"),
    # The last on these members, as it is the end of one.
    Measure("gap", "no write after the leader is killed", figure="gap_ms"),
    Measure("disk-1024", "1,024 calls under way, synced to disk", disk=True),
    Measure("disk-blocking", "one blocking call at a time, synced to disk", figure="p50_ms",
            disk=True),
)  # fmt: skip
SHAPES = {
    "leader-64": (64, "leader"),
    "leader-1024": (1024, "leader"),
    "leader-16384": (16_384, "leader"),
    "follower-1024": (1024, "follower"),
    "blocking-leader": (1, "leader"),
    "blocking-follower": (1, "follower"),
    "disk-1024": (1024, "leader"),
    "disk-blocking": (1, "leader"),
}
"""Calls under way, and where; one is of blocking calls."""
CALLS = "calls"
"""The name of the measure of calls as the options have them."""
LOADS = {
    "update": "syncstructs.cli.bench_load:UpdateLoad",
    "lock": "syncstructs.cli.bench_load:PairLoad",
}


def measure(
    cluster: LocalCluster, shape: Shape, load: str = LOAD, watch: Watch | None = None
) -> Line:
    """Run the shape once on a cluster that is ready, and return its figures."""
    return run_load(cluster, load, shape.load_options(), at=shape.at, watch=watch)


def run_load(
    cluster: LocalCluster,
    load: str,
    options: Line,
    *,
    at: str = "leader",
    watch: Watch | None = None,
) -> Line:
    """Run a load of `seconds` after `warmup`; return its figures, and the CPU time for a call."""
    caller = choose_caller(cluster, at)
    if watch is not None:
        options = {**options, "live": True}
    cpu_before = total_usage(cluster)
    answer = caller.ask("run", load=load, options=options)
    deadline = time.monotonic() + options["seconds"] + options["warmup"] + ANSWER_TIMEOUT
    figures = wait_for(answer, deadline, None if watch is None else lambda: watch(cluster))
    used = total_usage(cluster) - cpu_before
    # The CPU was used by the warm-up and the last calls too, so it is spread over all calls.
    total = figures["total"]
    figures["cpu_seconds_per_million"] = used / total * 1e6 if total else None
    return figures


def wait_for(answer: "Future[Line]", deadline: float, watch: Callable[[], None] | None) -> Line:
    """Return the answer, and call `watch` until it comes.

    Raises:
        TimeoutError: it has not come by then.
    """
    while watch is not None and not answer.done() and time.monotonic() < deadline:
        try:
            return answer.result(WATCH_INTERVAL)
        except TimeoutError:
            watch()
    return answer.result(max(0.0, deadline - time.monotonic()))


def choose_caller(cluster: LocalCluster, at: str) -> MemberProcess:
    """Return the leader, or a member that is not; waits until there is a leader."""
    leader = cluster.wait_leader()
    if at == "leader":
        return leader
    others = [member for member in cluster.alive if member is not leader]
    return others[0] if others else leader


def total_usage(cluster: LocalCluster) -> float:
    """Return the CPU seconds that all members have used so far."""
    answers = [member.ask("usage") for member in cluster.alive]
    return sum(float(answer.result(15.0)) for answer in answers)


def service_gap(
    cluster: LocalCluster,
    end: Callable[[MemberProcess], object] = MemberProcess.kill,
    *,
    after: float = GAP_AFTER,
) -> Line:
    """End the leader while all others write; return for how long none of their writes succeeded.

    `gap_ms` is of the one that went on first, `gap_of_all_ms` of the last one.
    """
    leader = cluster.wait_leader()
    options = {"seconds": GAP_BEFORE + after}
    load = "syncstructs.cli.bench_load:GapLoad"
    runs = [
        member.ask("run", load=load, options=options) for member in cluster if member is not leader
    ]
    time.sleep(GAP_BEFORE)
    end(leader)
    found = [run.result(GAP_BEFORE + after + ANSWER_TIMEOUT) for run in runs]
    gaps = [1000.0 * each["longest"] for each in found]
    failed = sum(each["failed"] for each in found)
    return {"gap_ms": min(gaps), "gap_of_all_ms": max(gaps), "failed": failed, "lost": 0}


def run_measure(
    cluster: LocalCluster, name: str, options: argparse.Namespace, watch: Watch | None
) -> Line:
    """Measure one thing on a cluster that is ready, and return the figures."""
    if name == "gap":
        return service_gap(cluster)
    if name in LOADS:
        times = {"seconds": options.seconds, "warmup": options.warmup}
        return run_load(cluster, LOADS[name], times, watch=watch)
    return measure(cluster, shape_of(name, options), watch=watch)


def shape_of(name: str, options: argparse.Namespace) -> Shape:
    """Return the shape of a measure; of `CALLS`, that of the options."""
    if name == CALLS:
        window, at = options.window or 1024, options.at or "leader"
        blocking, disk = options.blocking, options.disk
    else:
        window, at = SHAPES[name]
        blocking, disk = window == 1, name.startswith("disk")
    return Shape(
        members=options.members,
        at=at,
        window=1 if blocking else window,
        blocking=blocking,
        value_bytes=options.value_bytes,
        disk=disk,
        seconds=options.seconds,
        warmup=options.warmup,
    )


@contextmanager
def ready_cluster(
    members: int, *, disk: bool, data_dir: Path | None, on_event: OnEvent | None = None
) -> Iterator[LocalCluster]:
    """Have a cluster for the block; its directory is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="syncstructs-bench-", dir=data_dir) as directory:
        room = Path(directory) if disk else None
        objects = {**OBJECTS, "door": ("syncstructs:ReplLock", [])}
        with LocalCluster(members, objects=objects, data_dir=room, on_event=on_event) as cluster:
            cluster.start()
            yield cluster


def run_rounds(
    measures: Sequence[Measure], options: argparse.Namespace, view: View
) -> dict[str, list[Line]]:
    """Measure all in each round; those in memory on one cluster, those on disk on another."""
    found: dict[str, list[Line]] = {each.name: [] for each in measures}
    for _ in range(options.rounds):
        for disk in (False, True):
            wanted = [each for each in measures if each.disk == disk]
            if not wanted:
                continue
            view.starting(wanted[0])
            with ready_cluster(
                options.members, disk=disk, data_dir=options.data_dir, on_event=view.event
            ) as cluster:
                for each in wanted:
                    view.starting(each)
                    figures = run_measure(cluster, each.name, options, view.watch)
                    found[each.name].append(figures)
                    view.done(each, figures)
    return found


def summarize(rounds: Sequence[Line]) -> Line:
    """Return the median of each figure over the rounds, and the sum of failed and lost calls."""
    medians: Line = {}
    for key in (
        "ops_per_second", "p50_ms", "p99_ms", "max_ms", "cpu_seconds_per_million",
        "entries_per_second", "gap_ms", "gap_of_all_ms",
    ):  # fmt: skip
        if any(key in line for line in rounds):
            values = [line[key] for line in rounds if line.get(key) is not None]
            medians[key] = statistics.median(values) if values else None
    medians["failed"] = sum(line["failed"] for line in rounds)
    medians["lost"] = sum(line["lost"] for line in rounds)
    return medians


def describe(shape: Shape) -> str:
    """Return the shape in one line."""
    calls = "one blocking call at a time" if shape.blocking else f"{shape.window} calls under way"
    where = "on disk (each entry synced)" if shape.disk else "in memory"
    return (
        f"{shape.members} members on loopback, {where}; {calls}, made at the {shape.at};"
        f" {shape.value_bytes}-byte values; {shape.seconds:g} s after {shape.warmup:g} s of warm-up"
    )


def headline(options: argparse.Namespace) -> str:
    """Return in one line what the measures have in common."""
    return (
        f"{options.members} members on loopback, {options.value_bytes}-byte values,"
        f" {options.seconds:g} s after {options.warmup:g} s of warm-up;"
        f" CPython {platform.python_version()}, {os.cpu_count()} cores"
    )


def add_parser(commands: Any) -> None:
    """Add `bench` to the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure calls per second, latency and CPU of a cluster on this machine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    names = [each.name for each in MEASURES]
    add("--only", nargs="+", choices=names, metavar="NAME", help=f"of {', '.join(names)}")
    add("--members", type=positive, default=3, help="members (default: %(default)s)")
    add("--value-bytes", type=positive, default=10, help="size of a value (default: 10)")
    add("--seconds", type=seconds, default=2.0, help="length of a run (default: %(default)s)")
    add("--warmup", type=seconds, default=0.5, help="run before it (default: %(default)s)")
    add("--rounds", type=positive, default=3, help="runs of each (default: %(default)s)")
    add("--data-dir", type=Path, metavar="DIR", help="where logs on disk are (default: temporary)")
    add("--plain", action="store_true", help="lines of text instead of a live view")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    one = parser.add_argument_group("calls of one kind alone").add_argument
    one("--window", type=positive, help="calls under way (default: 1024)")
    one("--blocking", action="store_true", help="one blocking call at a time instead")
    one("--at", choices=("leader", "follower"), help="where calls are made (default: leader)")
    one("--disk", action="store_true", help="log and snapshots on disk, every entry synced")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark; return 0, or 1 if calls failed, were lost, or it could not run."""
    alone = bool(options.window or options.blocking or options.at or options.disk)
    if alone and options.only:
        print("syncstructs bench: --only chooses among all measures, which options for calls of"
              " one kind leave out; give one or the other", file=sys.stderr)  # fmt: skip
        return 2
    shape = shape_of(CALLS, options)
    measures = [each for each in MEASURES if not options.only or each.name in options.only]
    if alone:
        measures = [Measure(CALLS, "calls of the shape above", disk=shape.disk)]
    head = describe(shape) if alone else headline(options)
    if options.data_dir is not None:
        options.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with open_view(
            head, measures, options.rounds, plain=options.plain, silent=options.json
        ) as view:
            found = run_rounds(measures, options, view)
    except (MemberError, MemberGone, TimeoutError, OSError) as error:
        print(f"syncstructs bench: {error}", file=sys.stderr)
        return 1
    medians = {name: summarize(rounds) for name, rounds in found.items()}
    if not options.json:
        print("\n".join(summary(head, measures, found)))
    elif alone:
        print(json.dumps({
            "shape": asdict(shape), "rounds": numbered(found[CALLS]), "median": medians[CALLS],
        }))  # fmt: skip
    else:
        print(json.dumps({"cluster": headline(options), "measures": [
            {
                "name": each.name, "title": each.title, "unit": each.unit, "figure": each.figure,
                "rounds": numbered(found[each.name]), "median": medians[each.name],
            }
            for each in measures
        ]}))  # fmt: skip
    return 1 if any(median["failed"] or median["lost"] for median in medians.values()) else 0


def numbered(rounds: Sequence[Line]) -> list[Line]:
    """Return the figures of each round with its number."""
    return [{"round": number, **figures} for number, figures in enumerate(rounds, 1)]


def positive(text: str) -> int:
    """Return the number; argparse reports the error."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def seconds(text: str) -> float:
    """Return the seconds; argparse reports the error."""
    number = float(text)
    if not 0 <= number < 86_400:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a day")
    return number
