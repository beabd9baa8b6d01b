"""What strangers cost a node: its CPU time for each connection of theirs, and what they slow down.

One member as a process on loopback, and another process that connects as fast as it can and says
so much, or so little. First nobody calls: the member's CPU time is that of the connections, and is
told for each, in microseconds and in calls. Then the member writes into a replicated dict, 64 calls
under way, in rounds without and with strangers: `left` is the part of the calls that is left.

    python tests/bench/strangers.py --seconds 2

The strangers need CPU time as well: with few cores `left` tells of that too, so compare it with
that of `elsewhere`, where the same strangers connect to a socket that nobody reads.
"""

import argparse
import json
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from typing import Any

from syncstructs.cli.processes import LocalCluster, MemberProcess, import_path
from syncstructs.config import Config
from syncstructs.net.frames import frame_header
from syncstructs.net.hello import Identity
from syncstructs.net.link import Link
from syncstructs.net.passwords import derive_keys

OBJECTS: dict[str, tuple[str, list[Any]]] = {"cells": ("syncstructs:ReplDict", [])}
LOAD = "syncstructs.cli.bench_load:WriteLoad"
PASSWORD, OTHER = "the password of a benchmark", "a password that is guessed"
_RESET = struct.pack("ii", 1, 0)


def _first_words(target: str, password: str | None, cluster: str = "syncstructs") -> bytes:
    """Return what a dialer says first."""
    keys = derive_keys(Config(password=password, cluster=cluster))
    identity = Identity(cluster=cluster, address="z:1", incarnation=1, limit_bytes=2**24)
    link = Link("dialer", identity=identity, dialled=target, keys=keys)
    link.greet(1)
    return link.data_to_send()


def words(kind: str, target: str) -> bytes | None:
    """Return what a stranger of that kind says; None: it waits for nothing."""
    return {
        "silent": lambda: b"",
        "elsewhere": lambda: b"",
        "idle": lambda: b"",
        "noise": lambda: b"GET / HTTP/1.1\r\n\r\n",
        "half a frame": lambda: frame_header(bytes(4000)) + bytes(3000),
        "another cluster": lambda: _first_words(target, None, "another"),
        "another password": lambda: _first_words(target, OTHER),
        "recorded handshake": lambda: _first_words(target, PASSWORD),
    }[kind]()


ANSWERED = ("noise", "another cluster", "another password", "recorded handshake")
"""Those whose strangers wait until the node has said something or closed."""


def be_strangers(kind: str, target: str) -> None:
    """Connect again and again until stdin ends; print how often."""
    host, _, port = target.rpartition(":")
    said = words(kind, target)
    over = threading.Event()
    kept: list[socket.socket] = []
    count = 0
    print("ready", flush=True)
    sys.stdin.readline()
    threading.Thread(target=lambda: (sys.stdin.read(), over.set()), daemon=True).start()
    while not over.is_set():
        if kind == "idle" and len(kept) >= 2000:
            over.wait()
            break
        try:
            sock = socket.create_connection((host, int(port)), 5)
            count += 1
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            if said:
                sock.sendall(said)
            if kind in ANSWERED:
                sock.recv(4096)
        except OSError:
            continue
        kept.append(sock)
        if kind != "idle" and len(kept) > 400:
            kept.pop(0).close()
        elif kind in ANSWERED:
            kept.pop().close()
    print(count, flush=True)


def load(member: MemberProcess, seconds: float) -> tuple[float, float]:
    """Return calls, and CPU seconds."""
    before = member.request("usage")
    options = {
        "window": 64, "seconds": seconds, "warmup": 0.1, "value_bytes": 10, "blocking": False,
    }  # fmt: skip
    found = member.request("run", load=LOAD, options=options, within=seconds + 60)
    return found["total"], member.request("usage") - before


def quiet(member: MemberProcess, seconds: float) -> float:
    """Return the CPU seconds while nobody calls."""
    before = member.request("usage")
    time.sleep(seconds)
    return float(member.request("usage") - before)


class Strangers:
    """A process of strangers, from its first connection until the block is left."""

    def __init__(self, kind: str, target: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__, "--be", kind, target],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": import_path()},
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "ready\n":
            raise SystemExit("the strangers did not start")
        self.count = 0

    def __enter__(self) -> "Strangers":
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self.count = int(self._process.stdout.readline())
        self._process.wait()


def measure(kinds: list[str], password: str | None, accepted: int, options: Any) -> None:
    config: dict[str, Any] = {}
    if password is not None:
        config = {
            "password": password,
            "accepted_passwords": [f"one more password {n}" for n in range(accepted)],
        }
    seconds = options.seconds
    with LocalCluster(1, objects=OBJECTS, config=config) as cluster:
        cluster.start(60)
        [member] = cluster.alive
        load(member, 0.5)
        for kind in kinds:
            with socket.create_server(("127.0.0.1", 0), backlog=4096) as nobody:
                target = member.address
                if kind == "elsewhere":
                    target = f"127.0.0.1:{nobody.getsockname()[1]}"
                with Strangers(kind, target) as strangers:
                    used = quiet(member, seconds)
                calls: list[float] = []
                under: list[float] = []
                cpu: list[float] = []
                for _ in range(options.rounds):
                    made, spent = load(member, seconds)
                    calls.append(made)
                    cpu.append(1e6 * spent / made)
                    with Strangers(kind, target):
                        under.append(load(member, seconds)[0])
            each = 1e6 * used / max(strangers.count, 1)
            figures = {
                "kind": kind,
                "connections": strangers.count,
                "CPU us each": round(each),
                "in calls": round(each / min(cpu), 1),
                "calls per second": round(statistics.median(calls) / seconds),
                "left": round(statistics.median(under) / statistics.median(calls), 2),
            }
            print(json.dumps(figures), flush=True)
        print(json.dumps({"log lines": member.log_tail().count("\n")}))


PLAIN = ["elsewhere", "silent", "idle", "noise", "half a frame", "another cluster"]
SEALED = ["elsewhere", "silent", "idle", "another password", "recorded handshake"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--be", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--accepted", type=int, default=1, help="further passwords that are taken")
    options = parser.parse_args()
    if options.be:
        be_strangers(*options.be)
        return
    print("without a password", flush=True)
    measure(PLAIN, None, 0, options)
    print(f"with a password, and {options.accepted} more accepted", flush=True)
    measure(SEALED, PASSWORD, options.accepted, options)


if __name__ == "__main__":
    main()
