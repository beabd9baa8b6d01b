"""How long a member with a million entries takes to be back after it was killed.

Three processes on loopback, with default settings, hold a dict of `--entries`; one that does not
lead is killed, another one writes, and it is started again. `ready` is the time from its start
until `wait_ready` returned there; `caught_up` until a barrier did: all that was written by then is
applied. The time of a process that only imports what a member needs, `bare`, is in neither.

`memory`: it comes back empty and is sent a snapshot, or the log; `disk`: it reads its own.

    python tests/bench/restart.py --stores memory disk --runs 5
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from typing import Any

from syncstructs.cli.bench import OBJECTS
from syncstructs.cli.channel import Line
from syncstructs.cli.processes import LocalCluster

ENTRIES = 1_000_000
LOG = {"log": False, "snapshot": True}
"""What is there to be read: whether all members have taken a snapshot of all entries."""


def bare_seconds() -> float:
    """Return how long a process takes that only imports what a member needs."""
    begun = time.monotonic()
    subprocess.run(
        [sys.executable, "-P", "-c", "import syncstructs.cli.member, uvloop"], check=False
    )
    return time.monotonic() - begun


def measure(
    *, disk: bool, snapshot: bool, entries: int, rounds: int, value: Any, config: dict[str, Any]
) -> list[Line]:
    """Fill a cluster, kill and start a member some times; return figures in seconds."""
    found: list[Line] = []
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="syncstructs-"))
        cluster = stack.enter_context(
            LocalCluster(
                3, objects=OBJECTS, config=config, data_dir=Path(folder) if disk else None
            )
        )
        cluster.start()
        leader = cluster.wait_leader()
        fill = {"entries": entries, "value": value}
        leader.request("run", load="compaction:Fill", options=fill, within=120)
        for member in cluster:
            member.request("barrier", timeout=60, within=70)
            if snapshot:
                member.request("run", load="compaction:Compact", options={}, within=90)
        for _ in range(rounds):
            leader = cluster.wait_leader()
            name = next(member.name for member in cluster if member is not leader)
            term = leader.request("status")["term"]
            cluster.members[name].kill()
            for number in range(20):
                leader.call("cells", "set", f"key-{number:07}", "after")
            bare = bare_seconds()
            begun = time.monotonic()
            member = cluster.launch(name)
            member.request("wait_ready", timeout=60, within=70)
            ready = time.monotonic() - begun
            member.request("barrier", timeout=60, within=70)
            caught_up = time.monotonic() - begun
            assert member.call("cells", "get", "key-0000019") == "after"
            assert member.call("cells", "__len__") == entries
            found.append(
                {
                    "stores": "disk" if disk else "memory",
                    "of": "snapshot" if snapshot else "log",
                    "bare": round(bare, 3),
                    "ready": round(ready - bare, 3),
                    "caught_up": round(caught_up - bare, 3),
                    "elections": cluster.wait_leader().request("status")["term"] - term,
                }
            )
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--stores", nargs="+", choices=["memory", "disk"], default=["memory", "disk"])
    add("--of", nargs="+", choices=LOG, default=list(LOG), help="what it is restored from")
    add("--runs", type=int, default=3)
    add("--entries", type=int, default=ENTRIES)
    add("--value", type=json.loads, default='"0123456789"', help="of each entry, as JSON")
    add("--config", type=json.loads, default={}, help="JSON object of the members' Config")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    found: list[Line] = []
    for stores, of in product(options.stores, options.of):
        rows = measure(
            disk=stores == "disk", snapshot=LOG[of], entries=options.entries,
            rounds=options.runs, value=options.value, config=options.config,
        )  # fmt: skip
        found += rows
        if not options.json:
            for row in rows:
                print(row, flush=True)
    if options.json:
        print(json.dumps(found))
        return
    print(f"{'seconds':<18}{'ready':>8}{'caught up':>11}{'worst':>8}")
    for stores, of in product(options.stores, options.of):
        mine = [row for row in found if (row["stores"], row["of"]) == (stores, of)]
        ready = statistics.median(row["ready"] for row in mine)
        caught = [row["caught_up"] for row in mine]
        print(
            f"{stores:<8}{of:<10}{ready:>8.2f}{statistics.median(caught):>11.2f}{max(caught):>8.2f}"
        )


if __name__ == "__main__":
    main()
