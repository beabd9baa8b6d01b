"""Values of 64 KiB and of 1 MiB beside what loopback carries; and calls while a snapshot is sent.

`values`: three processes on loopback, in memory, with default settings; the leader writes values
of a size with so many calls under way. Each goes to two members, so `mb_per_second` can be half of
what loopback carries at the most: a bare socket, from one process to another, in writes of 64 KiB.

`snapshot`: the three hold a dict of `--entries`; one is killed and comes back empty, and is sent a
snapshot while a member writes without a break, one blocking call after the other. Told are the
longest pauses of these calls, the elections, and how late a timer of the drivers of the other two
ran at the most: heartbeats are as late.

    python tests/bench/large_values.py
"""

import argparse
import json
import multiprocessing
import socket
import time
from typing import Any

from syncstructs.cli.bench import OBJECTS
from syncstructs.cli.channel import Line
from syncstructs.cli.processes import LocalCluster

SIZES = (64 * 1024, 1024 * 1024)
BYTES_UNDER_WAY = 4 * 1024 * 1024
_PIECE = bytes(64 * 1024)


def _swallow(listener: socket.socket) -> None:
    connection, _ = listener.accept()
    buffer = bytearray(256 * 1024)
    while connection.recv_into(buffer):
        pass


def loopback_mb(seconds: float = 2.0) -> float:
    """Return the megabytes per second that a bare socket carries to another process."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        reader = multiprocessing.get_context("fork").Process(target=_swallow, args=(listener,))
        reader.start()
        with socket.create_connection(listener.getsockname()) as connection:
            begun, sent = time.perf_counter(), 0
            while (took := time.perf_counter() - begun) < seconds:
                connection.sendall(_PIECE)
                sent += len(_PIECE)
        reader.join()
    return sent / took / 1e6


def values(size: int, seconds: float, config: dict[str, Any]) -> Line:
    """Write values of so many bytes at the leader; return the figures."""
    with LocalCluster(3, objects=OBJECTS, config=config) as cluster:
        cluster.start()
        leader = cluster.wait_leader()
        term = leader.request("status")["term"]
        options = {
            "seconds": seconds, "warmup": 0.5, "window": max(4, BYTES_UNDER_WAY // size),
            "value_bytes": size, "blocking": False,
        }  # fmt: skip
        found = leader.request(
            "run", load="large_values:Large", options=options, within=seconds + 60
        )
        after = max(status["term"] for status in cluster.statuses().values())
        return {
            "bytes": size,
            "mb_per_second": found["ops_per_second"] * size / 1e6,
            "p50_ms": found["p50_ms"],
            "max_ms": found["max_ms"],
            "failed": found["failed"],
            "elections": after - term,
        }


def Large(node: Any, objects: dict[str, Any], emit: Any, **options: Any) -> Any:  # noqa: N802
    """Return the load of the benchmark, on few keys: each keeps a large value."""
    from syncstructs.cli import bench_load

    bench_load.KEY_COUNT = 50
    return bench_load.WriteLoad(node, objects, emit, **options)


def snapshot(at: str, entries: int, config: dict[str, Any]) -> Line:
    """Send a snapshot to a member under load; return the figures."""
    with LocalCluster(3, objects=OBJECTS, config=config) as cluster:
        cluster.start()
        leader = cluster.wait_leader()
        leader.request("run", load="compaction:Fill", options={"entries": entries}, within=120)
        for member in cluster:
            member.request("barrier", timeout=60, within=70)
        leader.request("run", load="compaction:Compact", options={}, within=60)
        # Behind it so much that the log alone does not serve who comes back empty.
        lagging, other = [member for member in cluster if member is not leader]
        name = lagging.name
        term = leader.request("status")["term"]
        lagging.kill()
        writer = leader if at == "leader" else other
        watcher = other if at == "leader" else leader
        seconds = 5.0
        options = {
            "seconds": seconds, "window": 1, "entries": entries, "value_bytes": 10,
        }  # fmt: skip
        run = writer.ask("run", load="compaction:Write", options=options)
        look = watcher.ask("run", load="compaction:Watch", options={"seconds": seconds})
        time.sleep(1.0)
        begun = time.monotonic()
        lagging = cluster.launch(name)
        lagging.request("wait_ready", timeout=60, within=70)
        took = time.monotonic() - begun
        found = run.result(60)
        late = [found["late"], look.result(60)["late"]]
        after = max(status["term"] for status in cluster.statuses().values())
        return {
            "at": at,
            "ready_s": round(took, 2),
            "snapshot_index": lagging.request("status")["snapshot_index"],
            "pauses_ms": [round(1000 * pause, 1) for pause, _ in found["pauses"]],
            "pauses_at_s": [round(moment, 2) for _, moment in found["pauses"]],
            "late_ms": [round(1000 * each, 1) for each in late],
            "calls": found["calls"],
            "failed": found["failed"],
            "elections": after - term,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--seconds", type=float, default=4.0)
    add("--entries", type=int, default=1_000_000)
    add("--config", type=json.loads, default={}, help="JSON object of the members' Config")
    add("--json", action="store_true", help="print one JSON object and nothing else")
    options = parser.parse_args()
    found: Line = {"loopback_mb_per_second": loopback_mb(), "values": [], "snapshot": []}
    for size in SIZES:
        found["values"].append(values(size, options.seconds, options.config))
    for at in ("leader", "follower"):
        found["snapshot"].append(snapshot(at, options.entries, options.config))
    if options.json:
        print(json.dumps(found))
        return
    print(f"loopback {found['loopback_mb_per_second']:.0f} MB/s")
    for row in (*found["values"], *found["snapshot"]):
        print(row)


if __name__ == "__main__":
    main()
