"""syncstructs and PySyncObj side by side: how long writes stand still when the leader is killed.

Three processes each on loopback, in memory, with default settings (or tuned ones). The two that do
not lead write without a break, one blocking call after the other; then the leader gets SIGKILL. The
time without service is the longest time in which a survivor saw no write succeed: `first` of the
survivor that went on first, `all` of the other one. Systems take turns, so that what the machine
does besides befalls both.

Of ours also a planned end is measured, in which the leader is closed and hands over; and, to
compare that with, the longest time between two writes if nothing happens at all.

    pip install -e '.[bench]'
    python tests/bench/failover.py --rounds 20 --at-most 0.34

Exit status 1 if the ratio of the medians (`first`) is above `--at-most`.
"""

import argparse
import json
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from syncstructs.cli.bench import OBJECTS
from syncstructs.cli.channel import Line
from syncstructs.cli.processes import (
    MEMBER_COMMAND,
    LocalCluster,
    MemberError,
    MemberGone,
    MemberProcess,
)

PEER_COMMAND = (sys.executable, str(Path(__file__).with_name("pysyncobj_member.py")))
OURS, PEER, TUNED = "syncstructs", "pysyncobj", "syncstructs tuned"
CLOSED, QUIET = "syncstructs closed", "syncstructs quiet"
SYSTEMS: dict[str, tuple[Sequence[str], dict[str, Any]]] = {
    OURS: (MEMBER_COMMAND, {}),
    PEER: (PEER_COMMAND, {}),
    TUNED: (MEMBER_COMMAND, {
        "election_timeout_min": 0.06, "election_timeout_max": 0.12, "heartbeat_interval": 0.02,
    }),
    CLOSED: (MEMBER_COMMAND, {}),
    QUIET: (MEMBER_COMMAND, {}),
}  # fmt: skip
END: dict[str, Callable[[MemberProcess], object]] = {
    CLOSED: MemberProcess.close,
    QUIET: lambda leader: None,
}
"""What befalls the leader; of others, it is killed."""
BEFORE, AFTER = 1.0, 4.0
"""Seconds of writing before the kill and after it."""
ATTEMPTS = 3


def longest_gap(write: Callable[[str, bytes], object], seconds: float) -> Line:
    """Write without a break for so long; return the longest time without a success, in seconds."""
    begun = last = time.perf_counter()
    longest, count, failed = 0.0, 0, 0
    while (now := time.perf_counter()) < begun + seconds:
        try:
            write(f"key-{count % 100}", b"0123456789")
        except Exception:
            failed += 1
            continue
        now = time.perf_counter()
        if count:
            longest = max(longest, now - last)
        last, count = now, count + 1
    if count:
        longest = max(longest, now - last)
    return {"longest": longest, "count": count, "failed": failed}


class GapLoad:
    """The load in a member of ours."""

    def __init__(
        self, node: Any, objects: dict[str, Any], emit: Callable[[Line], None], *, seconds: float
    ) -> None:
        self._cells = objects["cells"]
        self._seconds = seconds

    def run(self) -> Line:
        """Write, and return the figures."""
        return longest_gap(self._cells.__setitem__, self._seconds)

    def stop(self) -> None:
        """It ends by itself."""


def one_end(name: str) -> dict[str, float]:
    """Start a cluster, end its leader under load; return seconds without service."""
    command, config = SYSTEMS[name]
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with LocalCluster(3, objects=OBJECTS, config=config, command=command) as cluster:
                cluster.start()
                leader = cluster.wait_leader()
                options = {"seconds": BEFORE + AFTER}
                runs = [
                    member.ask("run", load="failover:GapLoad", options=options)
                    for member in cluster
                    if member is not leader
                ]
                time.sleep(BEFORE)
                END.get(name, MemberProcess.kill)(leader)
                found = [run.result(BEFORE + AFTER + 30) for run in runs]
        except (MemberError, MemberGone, TimeoutError) as error:
            print(f"    {name}, attempt {attempt}: {error}", file=sys.stderr)
            continue
        gaps = sorted(each["longest"] for each in found)
        failed = sum(each["failed"] for each in found)
        return {"first": gaps[0], "all": gaps[-1], "failed": failed}
    raise SystemExit(f"{name} could not be measured in {ATTEMPTS} attempts")


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help="ends of each system")
    parser.add_argument("--at-most", type=float, help="fail if the ratio of medians is above")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    names = list(SYSTEMS)
    found: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    for number in range(options.rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(one_end(name))
            if not options.json:
                print(f"{number + 1:>3} {name:<18} {found[name][-1]['first']:.3f} s", flush=True)
    figures = {
        name: {
            "ends": len(ends),
            "median_s": statistics.median(each["first"] for each in ends),
            "worst_s": max(each["first"] for each in ends),
            "all_median_s": statistics.median(each["all"] for each in ends),
            "all_worst_s": max(each["all"] for each in ends),
            "failed_calls": sum(each["failed"] for each in ends),
        }
        for name, ends in found.items()
    }
    ratio = figures[OURS]["median_s"] / figures[PEER]["median_s"]
    if options.json:
        versions = {"python": platform.python_version(), "pysyncobj": metadata.version("pysyncobj")}
        print(json.dumps({**versions, "systems": figures, "ratio": ratio, "ends": found}))
    else:
        print("                    median   worst  median of both  worst of both  failed calls")
        for name, row in figures.items():
            print(
                f"{name:<18} {row['median_s']:>6.3f} s {row['worst_s']:>5.3f} s"
                f" {row['all_median_s']:>12.3f} s {row['all_worst_s']:>12.3f} s"
                f" {row['failed_calls']:>13}"
            )
        print(f"{OURS} / {PEER}: {ratio:.3f}")
    return int(options.at_most is not None and ratio > options.at_most)


if __name__ == "__main__":
    sys.exit(main())
