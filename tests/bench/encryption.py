"""What a password costs: the same writes in clear and sealed, in one run, in rounds that alternate.

First one link in this process: the best time for a message of some sizes, written and read, both
ways. That hardly depends on what else the machine does. Then clusters: three processes each on
loopback, in memory, writing into a replicated dict at the leader. Each round gives both kinds a
fresh cluster, one after the other and never at the same time, in an order that turns from round to
round. CPU time of all members per call is shown too: on a machine that is busy with other things it
tells more than the calls per second.

    pip install -e '.[bench]'
    python tests/bench/encryption.py --at-least 0.7

Exit status 1 if the ratio of the medians in any shape is below `--at-least`.
"""

import argparse
import json
import platform
import secrets
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from syncstructs.cli.bench import OBJECTS, Shape, measure
from syncstructs.cli.processes import LocalCluster, MemberError, MemberGone
from syncstructs.net.cipher import Keys
from syncstructs.net.hello import Identity
from syncstructs.net.link import Link, State

KINDS: dict[str, dict[str, Any]] = {
    "in clear": {},
    "sealed": {"password": "the password of a benchmark"},
}
SHAPES = ((1024, 10), (1, 10), (64, 1024), (16, 65_536), (4, 1_048_576))
"""Calls under way, and bytes of a value."""

SIZES = ((100, 1), (100, 100), (65_536, 1), (1_048_576, 1))
"""Bytes of a message, and how many of them are written at once."""
_READ_BYTES = 256 * 1024


def open_link(keys: Keys | None) -> tuple[Link, Link]:
    """Return both sides of a link that is up."""
    identities = [
        Identity(cluster="c", address=address, incarnation=1, limit_bytes=2**24)
        for address in ("a:1", "b:1")
    ]
    dialer = Link("dialer", identity=identities[0], dialled="b:1", keys=keys)
    acceptor = Link("acceptor", identity=identities[1], keys=keys)
    dialer.greet(1)
    while dialer.state is not State.OPEN:
        acceptor.receive(dialer.data_to_send())
        if acceptor.state is State.HEARD:
            acceptor.greet(1)
        dialer.receive(acceptor.data_to_send())
    return dialer, acceptor


def link_times(keys: Keys | None, size: int, batch: int) -> tuple[float, float]:
    """Return the best seconds for a message, written and read."""
    dialer, acceptor = open_link(keys)
    payloads = [bytes(size)] * batch
    written = read = float("inf")
    for _ in range(max(200, 3000 // batch)):
        begun = time.perf_counter()
        stream = memoryview(dialer.frames(payloads))
        done = time.perf_counter()
        for at in range(0, len(stream), _READ_BYTES):
            acceptor.receive(stream[at : at + _READ_BYTES])
        written = min(written, done - begun)
        read = min(read, time.perf_counter() - done)
    return written / batch, read / batch


def compare_links(say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure one link in this process, in clear and sealed."""
    keys = Keys(secrets.token_bytes(32), (), secrets.token_bytes)
    rows = []
    for size, batch in SIZES:
        times = {"in clear": link_times(None, size, batch), "sealed": link_times(keys, size, batch)}
        rows.append({"size": size, "batch": batch, **times})
        shown = "; ".join(
            f"{kind} {1e6 * written:.2f} us written, {1e6 * read:.2f} us read"
            for kind, (written, read) in times.items()
        )
        say(f"  {size:,} bytes, {batch} at once, a message: {shown}")
    return rows


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
    links = compare_links(say)
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
        print(json.dumps(
            {"python": platform.python_version(), "links": links, "results": results}
        ))
    return 0 if all(result["ratio"] >= options.at_least for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
