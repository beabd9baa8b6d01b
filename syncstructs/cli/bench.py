"""`syncstructs bench`: operations per second, latency and CPU of a cluster on this machine.

Members are processes on loopback and the caller lives in one of them, as an application does; so
the CPU figure is of the whole cluster and includes the caller's own work.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from .channel import Line
from .processes import LocalCluster, MemberError, MemberGone, MemberProcess

LOAD = "syncstructs.cli.bench_load:WriteLoad"
OBJECTS: dict[str, tuple[str, list[Any]]] = {"cells": ("syncstructs:ReplDict", [])}
ANSWER_TIMEOUT = 60.0
"""Seconds beyond the planned length of a run after which it counts as failed."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What one run does."""

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


def measure(cluster: LocalCluster, shape: Shape, load: str = LOAD) -> Line:
    """Run the shape once on a cluster that is ready, and return its figures."""
    caller = choose_caller(cluster, shape.at)
    cpu_before = total_usage(cluster)
    figures: Line = caller.request(
        "run",
        load=load,
        options=shape.load_options(),
        within=shape.warmup + shape.seconds + ANSWER_TIMEOUT,
    )
    used = total_usage(cluster) - cpu_before
    # The CPU was used by the warm-up and the last calls too, so it is spread over all calls.
    total = figures["total"]
    figures["cpu_seconds_per_million"] = used / total * 1e6 if total else None
    return figures


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


def run_once(shape: Shape, *, data_dir: Path | None) -> Line:
    """Run the shape on a cluster of its own, which is gone afterwards, and return the figures."""
    with ExitStack() as stack:
        room: Path | None = None
        if shape.disk:
            directory = tempfile.TemporaryDirectory(prefix="syncstructs-bench-", dir=data_dir)
            room = Path(stack.enter_context(directory))
        cluster = LocalCluster(shape.members, objects=OBJECTS, data_dir=room)
        stack.enter_context(cluster)
        cluster.start()
        return measure(cluster, shape)


def summarize(rounds: Sequence[Line]) -> Line:
    """Return the median of each figure over the rounds, and the sum of failed and lost calls."""
    medians: Line = {}
    for key in ("ops_per_second", "p50_ms", "p99_ms", "max_ms", "cpu_seconds_per_million"):
        values = [line[key] for line in rounds if line[key] is not None]
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


def format_figures(figures: Line) -> str:
    """Return the figures of a run in one line."""

    def show(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    line = (
        f"{show(figures['ops_per_second'], '11,.0f')} ops/s"
        f"   p50 {show(figures['p50_ms'], '9.3f')} ms"
        f"   p99 {show(figures['p99_ms'], '9.3f')} ms"
        f"   CPU {show(figures['cpu_seconds_per_million'], '7.2f')} s per million"
    )
    if figures["failed"] or figures["lost"]:
        line += f"   FAILED {figures['failed']}, LOST {figures['lost']}"
    return line


def add_parser(commands: Any) -> None:
    """Add `bench` to the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "bench",
        help="measure operations per second, latency and CPU of a cluster on this machine",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--members", type=positive, default=3, help="members (default: %(default)s)")
    add("--window", type=positive, default=1024, help="calls under way (default: %(default)s)")
    add("--blocking", action="store_true", help="one blocking call at a time instead")
    add("--at", choices=("leader", "follower"), default="leader", help="where calls are made")
    add("--value-bytes", type=positive, default=10, help="size of a value (default: 10)")
    add("--seconds", type=seconds, default=3.0, help="length of a run (default: %(default)s)")
    add("--warmup", type=seconds, default=0.5, help="run before it (default: %(default)s)")
    add("--rounds", type=positive, default=3, help="runs, each afresh (default: %(default)s)")
    add("--disk", action="store_true", help="log and snapshots on disk, every entry synced")
    add("--data-dir", type=Path, metavar="DIR", help="where, with --disk (default: temporary)")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the benchmark; return 0, or 1 if calls failed, were lost, or it could not run."""
    shape = Shape(
        members=options.members,
        at=options.at,
        window=1 if options.blocking else options.window,
        blocking=options.blocking,
        value_bytes=options.value_bytes,
        disk=options.disk or options.data_dir is not None,
        seconds=options.seconds,
        warmup=options.warmup,
    )
    if not options.json:
        print(describe(shape))
    if options.data_dir is not None:
        options.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        rounds = []
        for number in range(options.rounds):
            figures = run_once(shape, data_dir=options.data_dir)
            rounds.append({"round": number + 1, **figures})
            if not options.json:
                print(f"  run {number + 1}  {format_figures(figures)}", flush=True)
    except (MemberError, MemberGone, TimeoutError, OSError) as error:
        print(f"syncstructs bench: {error}", file=sys.stderr)
        return 1
    median = summarize(rounds)
    if options.json:
        print(json.dumps({"shape": asdict(shape), "rounds": rounds, "median": median}))
    else:
        print(f"  median {format_figures(median)}")
    return 1 if median["failed"] or median["lost"] else 0


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
