"""What a password and certificates cost: the same writes in clear and sealed, in one run.

First one link in this process: the best time for a message of some sizes, written and read, all
three ways. That hardly depends on what else the machine does. Then clusters: three processes each
on loopback, in memory, writing into a replicated dict at the leader. Each round gives every kind a
fresh cluster, one after the other and never at the same time, in an order that turns from round to
round. CPU time of all members per call is shown too: on a machine that is busy with other things it
tells more than the calls per second.

    pip install -e '.[bench]'
    python tests/bench/encryption.py --at-least 0.7
    python tests/bench/encryption.py --shape 1024 10 --peer-at-least 10

The second one also measures PySyncObj with its password, with and without `appendEntriesUseBatch`,
of which the better median counts. Exit status 1 if the ratio of the medians of a sealed kind to
those in clear, or to the peer's, is below what is asked in any shape.
"""

import argparse
import json
import platform
import secrets
import ssl
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from certificates import Authority

from syncstructs import Tls
from syncstructs.cli.bench import OBJECTS, Shape, measure
from syncstructs.cli.processes import (
    MEMBER_COMMAND,
    LocalCluster,
    MemberError,
    MemberGone,
)
from syncstructs.net.cipher import Keys
from syncstructs.net.hello import Identity
from syncstructs.net.link import Link, State
from syncstructs.net.tls import Contexts

CLEAR = "in clear"
PASSWORD = {"password": "the password of a benchmark"}
PEER_COMMAND = (sys.executable, str(Path(__file__).with_name("pysyncobj_member.py")))
PEERS: dict[str, tuple[Sequence[str], dict[str, Any]]] = {
    "pysyncobj": (PEER_COMMAND, PASSWORD),
    "pysyncobj unbatched": (PEER_COMMAND, {**PASSWORD, "appendEntriesUseBatch": False}),
}
SHAPES = ((1024, 10), (1, 10), (64, 1024), (16, 65_536), (4, 1_048_576))
"""Calls under way, and bytes of a value."""

SIZES = ((100, 1), (100, 100), (65_536, 1), (1_048_576, 1))
"""Bytes of a message, and how many of them are written at once."""
_READ_BYTES = 256 * 1024


def open_link(proof: dict[str, Any]) -> tuple[Link, Link]:
    """Return both sides of a link that is up."""
    addresses = "127.0.0.1:1", "127.0.0.1:2"
    identities = [
        Identity(cluster="c", address=address, incarnation=1, limit_bytes=2**24)
        for address in addresses
    ]
    dialer = Link("dialer", identity=identities[0], dialled=addresses[1], **proof)
    acceptor = Link("acceptor", identity=identities[1], **proof)
    dialer.greet(1)
    while dialer.state is not State.OPEN:
        acceptor.receive(dialer.data_to_send())
        if acceptor.state is State.HEARD:
            acceptor.greet(1)
        dialer.receive(acceptor.data_to_send())
    return dialer, acceptor


def link_times(proof: dict[str, Any], size: int, batch: int) -> tuple[float, float]:
    """Return the best seconds for a message, written and read."""
    dialer, acceptor = open_link(proof)
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


def compare_links(files: Tls, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Measure one link in this process, in clear and sealed in both ways."""
    proofs: dict[str, dict[str, Any]] = {
        CLEAR: {},
        "password": {"keys": Keys(secrets.token_bytes(32), (), secrets.token_bytes)},
        "tls": {"certificates": Contexts(files, "127.0.0.1:1")},
    }
    rows = []
    for size, batch in SIZES:
        times = {kind: link_times(proof, size, batch) for kind, proof in proofs.items()}
        rows.append({"size": size, "batch": batch, **times})
        shown = "; ".join(
            f"{kind} {1e6 * written:.2f} us written, {1e6 * read:.2f} us read"
            for kind, (written, read) in times.items()
        )
        say(f"  {size:,} bytes, {batch} at once, a message: {shown}")
    return rows


def run_kind(command: Sequence[str], config: dict[str, Any], shape: Shape) -> dict[str, Any]:
    with LocalCluster(shape.members, objects=OBJECTS, config=config, command=command) as cluster:
        cluster.start()
        return measure(cluster, shape)


def compare(
    kinds: dict[str, tuple[Sequence[str], dict[str, Any]]],
    shape: Shape,
    rounds: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """Run all kinds `rounds` times in turn; return their figures and the ratios."""
    names = list(kinds)
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            figures = run_kind(*kinds[name], shape)
            found[name].append(figures)
            say(
                f"  round {number + 1}  {name:<19} {figures['ops_per_second']:11,.0f} calls/s"
                f"  p50 {figures['p50_ms'] or 0:9.3f} ms"
                f"  CPU {figures['cpu_seconds_per_million'] or 0:10.2f} us/call"
                + (f"  failed {figures['failed']}" if figures["failed"] else "")
                + (f"  lost {figures['lost']}" if figures["lost"] else "")
            )
    medians = {
        name: {
            key: statistics.median(figures[key] or 0 for figures in found[name])
            for key in ("ops_per_second", "p50_ms", "cpu_seconds_per_million")
        }
        for name in names
    }
    speeds = {name: median["ops_per_second"] for name, median in medians.items()}
    peers = [name for name in names if name in PEERS]
    best = max((speeds[name] for name in peers), default=None)
    sealed = [name for name in names if name != CLEAR and name not in PEERS]
    return {
        "window": shape.window,
        "value_bytes": shape.value_bytes,
        "medians": medians,
        "ratios": {name: speeds[name] / speeds[CLEAR] for name in sealed},
        "peer_ratios": {name: speeds[name] / best for name in sealed} if best else {},
        "rounds": found,
    }


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
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
    add("--peer-at-least", type=float, metavar="RATIO",
        help="measure PySyncObj with a password too, and fail below this ratio to it")  # fmt: skip
    add("--json", action="store_true", help="print one JSON object and nothing else")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, files: Tls, say: Callable[[str], None]) -> dict[str, Any]:
    kinds = {
        CLEAR: (MEMBER_COMMAND, {}),
        "password": (MEMBER_COMMAND, PASSWORD),
        "tls": (MEMBER_COMMAND, {"tls": asdict(files)}),
        **({} if options.peer_at_least is None else PEERS),
    }
    links = compare_links(files, say)
    results = []
    for window, value_bytes in options.shape or SHAPES:
        shape = Shape(
            members=3, at="leader", window=window, blocking=False, value_bytes=value_bytes,
            disk=False, seconds=options.seconds, warmup=options.warmup,
        )  # fmt: skip
        say(f"{window} calls under way, {value_bytes:,} bytes each")
        result = compare(kinds, shape, options.rounds, say)
        results.append(result)
        for name, ratio in result["ratios"].items():
            peer = result["peer_ratios"].get(name)
            say(
                f"  {name} to in clear: {ratio:.2f} of the calls per second"
                + (f"; to PySyncObj with its password: {peer:.1f}" if peer else "")
            )
    return {"python": platform.python_version(), "links": links, "results": results}


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)

    def say(text: str) -> None:
        if not options.json:
            print(text, flush=True)

    say(
        f"cryptography {metadata.version('cryptography')}, {ssl.OPENSSL_VERSION},"
        f" CPython {platform.python_version()}, {platform.platform()}"
    )
    with TemporaryDirectory() as folder:
        files = Authority(folder).issue("all", "127.0.0.1")
        try:
            report = run(options, files, say)
        except (MemberError, MemberGone, TimeoutError) as error:
            print(f"encryption.py: {error}", file=sys.stderr)
            return 1
    if options.json:
        print(json.dumps(report))
    good = all(
        ratio >= least
        for result in report["results"]
        for ratios, least in (
            (result["ratios"], options.at_least),
            (result["peer_ratios"], options.peer_at_least or 0.0),
        )
        for ratio in ratios.values()
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
