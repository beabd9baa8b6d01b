"""What a password costs: the same writes in clear and sealed, in one run, in rounds that alternate.

Three processes each on loopback, in memory, writing into a replicated dict at the leader. Each
round gives both kinds a fresh cluster, one after the other and never at the same time, in an order
that turns from round to round. CPU time of all members per call is shown too: on a machine that is
busy with other things it tells more than the calls per second.

    pip install -e '.[bench]'
    python tests/bench/encryption.py --at-least 0.7

Exit status 1 if the ratio of the medians in any shape is below `--at-least`.
"""

import argparse
import json
import platform
import statistics
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from syncstructs.cli.bench import OBJECTS, Shape, measure
from syncstructs.cli.processes import LocalCluster, MemberError, MemberGone

KINDS: dict[str, dict[str, Any]] = {
    "in clear": {},
    "sealed": {"password": "the password of a benchmark"},
}
SHAPES = ((1024, 10), (1, 10), (64, 1024), (16, 65_536), (4, 1_048_576))
"""Calls under way, and bytes of a value."""


def run_kind(kind: str, shape: Shape) -> dict[str, Any]:
    with LocalCluster(shape.members, objects=OBJECTS, config=KINDS[kind]) as cluster:
        cluster.start()
        return measure(cluster, shape)


def compare(shape: Shape, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run both kinds `rounds` times in turn; return their figures and the ratios."""
    names = list(KINDS)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        for name in names if number % 2 == 0 else reversed(names):
            figures = run_kind(name, shape)
            found[name].append(figures)
            say(
                f"  round {number + 1}  {name:<9} {figures['ops_per_second']:11,.0f} calls/s"
                f"  p50 {figures['p50_ms'] or 0:9.3f} ms"
                f"  CPU {figures['cpu_seconds_per_million'] or 0:10.2f} us/call"
                + (f"  failed {figures['failed']}" if figures["failed"] else "")
                + (f"  lost {figures['lost']}" if figures["lost"] else "")
            )
    clear, sealed = (
        {
            key: statistics.median(figures[key] for figures in found[name])
            for key in ("ops_per_second", "p50_ms", "cpu_seconds_per_million")
        }
        for name in names
    )
    return {
        "window": shape.window,
        "value_bytes": shape.value_bytes,
        "medians": {"in clear": clear, "sealed": sealed},
        "ratio": sealed["ops_per_second"] / clear["ops_per_second"],
        "cpu_ratio": sealed["cpu_seconds_per_million"] / clear["cpu_seconds_per_million"],
        "rounds": found,
    }


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--shape", type=int, nargs=2, action="append", metavar=("WINDOW", "BYTES"),
        help="calls under way and bytes of a value; may be repeated (default: some)")  # fmt: skip
    add("--rounds", type=int, default=5)
    add("--seconds", type=float, default=2.0)
    add("--warmup", type=float, default=0.7)
    add("--at-least", type=float, default=0.0, metavar="RATIO", help="fail below this ratio")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args(arguments)

    def say(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    version = metadata.version("cryptography")
    say(f"cryptography {version}, CPython {platform.python_version()}, {platform.platform()}")
    results = []
    for window, value_bytes in options.shape or SHAPES:
        shape = Shape(
            members=3, at="leader", window=window, blocking=False, value_bytes=value_bytes,
            disk=False, seconds=options.seconds, warmup=options.warmup,
        )  # fmt: skip
        say(f"{window} calls under way, {value_bytes:,} bytes each")
        try:
            result = compare(shape, options.rounds, say)
        except (MemberError, MemberGone, TimeoutError) as error:
            print(f"encryption.py: {error}", file=sys.stderr)
            return 1
        results.append(result)
        say(
            f"  sealed to in clear: {result['ratio']:.2f} of the calls per second,"
            f" {result['cpu_ratio']:.2f} of the CPU time per call"
        )
    if options.json:
        print(json.dumps({"python": platform.python_version(), "results": results}))
    return 0 if all(result["ratio"] >= options.at_least for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
