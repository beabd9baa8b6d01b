"""syncstructs and PySyncObj side by side: the same writes, in one run, in rounds that alternate.

Three processes each on loopback, in memory, writing small values into a replicated dict at the
leader (or a follower), with so many calls under way. In each round every system gets a fresh
cluster, one after the other and never at the same time, in an order that turns from round to round.
PySyncObj is measured with and without `appendEntriesUseBatch`, and the better median is taken.

    pip install -e '.[bench]'
    python tests/bench/compare_pysyncobj.py --at-least 3

Exit status 1 if the ratio of the medians at any window is below `--at-least`.
"""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from syncstructs.cli.bench import OBJECTS, Shape, measure
from syncstructs.cli.processes import MEMBER_COMMAND, LocalCluster, MemberError, MemberGone

PEER_COMMAND = (sys.executable, str(Path(__file__).with_name("pysyncobj_member.py")))
OURS = "syncstructs"
SYSTEMS: dict[str, tuple[Sequence[str], dict[str, Any]]] = {
    OURS: (MEMBER_COMMAND, {}),
    "pysyncobj": (PEER_COMMAND, {}),
    "pysyncobj unbatched": (PEER_COMMAND, {"appendEntriesUseBatch": False}),
}
ATTEMPTS = 3
"""How often a run that could not be carried out (no leader, a member gone) is begun anew."""


def run_system(name: str, shape: Shape) -> dict[str, Any]:
    command, config = SYSTEMS[name]
    for attempt in range(1, ATTEMPTS + 1):
        try:
            with LocalCluster(
                shape.members, objects=OBJECTS, config=config, command=command
            ) as cluster:
                cluster.start()
                return measure(cluster, shape)
        except (MemberError, MemberGone, TimeoutError) as error:
            print(f"    {name}, attempt {attempt}: {error}", file=sys.stderr)
    raise SystemExit(f"{name} could not be measured in {ATTEMPTS} attempts")


def compare(shape: Shape, rounds: int, say: Any) -> dict[str, Any]:
    """Run all systems `rounds` times in turn; return their figures and the ratio."""
    names = list(SYSTEMS)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            figures = run_system(name, shape)
            found[name].append(figures)
            say(
                f"  round {number + 1}  {name:<20} {figures['ops_per_second']:11,.0f} ops/s"
                f"  p50 {figures['p50_ms'] or 0:9.3f} ms  p99 {figures['p99_ms'] or 0:9.3f} ms"
                + (f"  failed {figures['failed']}" if figures["failed"] else "")
                + (f"  lost {figures['lost']}" if figures["lost"] else "")
            )
    speeds = {name: [f["ops_per_second"] for f in figures] for name, figures in found.items()}
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    best = max((name for name in names if name != OURS), key=medians.__getitem__)
    each_round = [ours / theirs for ours, theirs in zip(speeds[OURS], speeds[best], strict=True)]
    return {
        "window": shape.window,
        "at": shape.at,
        "medians": medians,
        "spread": {name: [min(values), max(values)] for name, values in speeds.items()},
        "compared_with": best,
        "ratio": medians[OURS] / medians[best],
        "ratio_spread": [min(each_round), max(each_round)],
        "rounds": found,
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--window", type=int, nargs="+", default=[1024], help="calls under way (default: 1024)")
    add("--at", choices=("leader", "follower"), default="leader")
    add("--value-bytes", type=int, default=10)
    add("--members", type=int, default=3)
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=2.0)
    add("--warmup", type=float, default=0.7)
    add("--at-least", type=float, default=0.0, metavar="RATIO", help="fail below this ratio")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    version = metadata.version("pysyncobj")

    def say(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    say(f"pysyncobj {version}, CPython {platform.python_version()}, {platform.platform()}")
    results = []
    for window in options.window:
        shape = Shape(
            members=options.members,
            at=options.at,
            window=window,
            blocking=False,
            value_bytes=options.value_bytes,
            disk=False,
            seconds=options.seconds,
            warmup=options.warmup,
        )
        size = f"{options.value_bytes}-byte values"
        say(f"{window} calls under way, made at the {options.at}, {size}")
        result = compare(shape, options.rounds, say)
        results.append(result)
        for name, median in result["medians"].items():
            low, high = result["spread"][name]
            say(f"  median   {name:<20} {median:11,.0f} ops/s  ({low:,.0f} to {high:,.0f})")
        low, high = result["ratio_spread"]
        say(
            f"  ratio to {result['compared_with']}: {result['ratio']:.1f}"
            f"  (round by round {low:.1f} to {high:.1f})"
        )
    if options.json:
        print(json.dumps({"pysyncobj": version, "results": results}))
    return 0 if all(r["ratio"] >= options.at_least for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
