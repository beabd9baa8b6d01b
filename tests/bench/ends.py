"""The ends of the scale: a lookup, doing nothing, and values so large that bytes count."""

import socket
import threading
import time
from collections.abc import Collection
from dataclasses import replace

from calls import ANSWER_TIMEOUT, shape
from rows import (
    BEFORE,
    COMPILED,
    FLOOR,
    LOOPBACK,
    OURS,
    PYSYNCOBJ,
    Found,
    Group,
    Options,
    Row,
    versus,
)
from systems import system_of

from syncstructs.cli.bench import LOAD, choose_caller, total_usage

DICT = "dict"
READS = (Row("read", 'd["k"]', "ns", "less", versus(DICT, 3)),)
IDLE = (
    Row("idle", "CPU of three members that do nothing", "% of a core", "less", versus(None, 1),
        (PYSYNCOBJ,)),
)  # fmt: skip
VALUES = (
    Row("values-64k", "values of 64 KiB, 16 outstanding", "MB/s", "more",
        also=(LOOPBACK, FLOOR)),
    Row("values-1m", "values of 1 MiB, 4 outstanding", "MB/s", "more", also=(LOOPBACK, FLOOR)),
    Row("values-elections", "elections under values of 64 KiB and 1 MiB", "", "less",
        versus(None, 0), takes="max"),
)  # fmt: skip
SIZES = {"values-64k": (65_536, 16), "values-1m": (1_048_576, 4)}
VALUE_COUNT = 16
"""Keys that large values are written under: memory that is new all the time would tell most."""
IDLE_SECONDS = 4.0
"""In less time, what comes once a second would be seen or not."""
SETTLING = 1.0
"""Seconds after the start that do not count as doing nothing."""


def measure_reads(system: str, rows: Collection[str], options: Options) -> Found:
    """Time lookups in a member of a cluster of three; both kinds in the same process."""
    with system_of(OURS if system == DICT else system).cluster() as cluster:
        cluster.start()
        leader = cluster.wait_leader()
        found = leader.request("run", load="our_loads:Reads", options={}, within=60.0)
    return {"read": {"value": found["dict" if system == DICT else "ours"]}}


def measure_idle(system: str, rows: Collection[str], options: Options) -> Found:
    """Let a cluster be."""
    seconds = max(IDLE_SECONDS, 2 * options.seconds)
    with system_of(system).cluster() as cluster:
        cluster.start()
        time.sleep(SETTLING)
        before, begun = total_usage(cluster), time.perf_counter()
        time.sleep(seconds)
        used, lasted = total_usage(cluster) - before, time.perf_counter() - begun
    return {"idle": {"value": 100.0 * used / lasted}}


def measure_values(system: str, rows: Collection[str], options: Options) -> Found:
    """Write large values at the leader."""
    if system == LOOPBACK:
        return {
            row: {"value": loopback_rate(size, options) / 1e6} for row, (size, _) in SIZES.items()
        }
    found: Found = {}
    with system_of(system).cluster() as cluster:
        cluster.start()
        before = cluster.wait_leader().request("status")["term"]
        for row, (size, window) in SIZES.items():
            what = replace(shape(window, "leader", options), value_bytes=size)
            figures = choose_caller(cluster, "leader").request(
                "run", load=LOAD, options={**what.load_options(), "key_count": VALUE_COUNT},
                within=options.seconds + ANSWER_TIMEOUT,
            )  # fmt: skip
            found[row] = {"value": figures["ops_per_second"] * size / 1e6, **figures}
        elections = cluster.wait_leader().request("status")["term"] - before
    if system.startswith(OURS):
        found["values-elections"] = {"value": elections}
    return found


def loopback_rate(size: int, options: Options) -> float:
    """Return the bytes per second that one socket on loopback carries, written by `size`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sender = socket.create_connection(listener.getsockname())
        receiver, _ = listener.accept()
    with sender, receiver:
        ending = threading.Event()

        def send() -> None:
            payload = bytes(size)
            while not ending.is_set():
                sender.sendall(payload)
            sender.shutdown(socket.SHUT_WR)

        thread = threading.Thread(target=send)
        thread.start()
        buffer = bytearray(256 * 1024)
        count, begun = 0, time.perf_counter()
        while (received := receiver.recv_into(buffer)) > 0:
            count += received
            if time.perf_counter() - begun > options.seconds:
                ending.set()
        lasted = time.perf_counter() - begun
        thread.join()
    return count / lasted


GROUPS = (
    Group(READS, (OURS, COMPILED, BEFORE, DICT), measure_reads),
    Group(IDLE, (OURS, COMPILED, BEFORE, PYSYNCOBJ), measure_idle),
    Group(VALUES, (OURS, COMPILED, BEFORE, FLOOR, LOOPBACK), measure_values),
)
