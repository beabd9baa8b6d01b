"""A member process of the floor: what replication costs in Python if it is nothing but replication.

The first address leads, for ever: no terms, no elections, no sessions, no results but "done". Each
command is encoded on its own by msgspec; what waits is sent to every follower in one frame of at
most 64 KiB, with some frames under way. A follower acknowledges what it has received (with
`data_dir`: written, and synced by fdatasync), decodes and does `d[k] = v`; the leader counts, and
when a majority has a frame it decodes and applies it too and makes a callback per command. No
library that does more can be faster by much, so a ratio to it tells how near one has come.
"""

import os
import select
import socket
import struct
import threading
import time
from collections import deque
from typing import Any

import msgspec
from peering import Peer, main

from syncstructs.cli.bench_load import (
    BULK_WINDOW,
    KEY_COUNT,
    Chains,
    Ended,
    bulk_entries,
    in_bulk,
    write_blocking,
)
from syncstructs.cli.channel import Setup

FRAME_BYTES = 64 * 1024
FRAMES_UNDER_WAY = 8
"""Frames not yet acknowledged; more bring nothing, as sender and receiver are both busy by then."""
LEAST_SHARE = 256
"""Commands from which on it pays to cut what waits into frames that travel one behind the other."""
_LENGTH = struct.Struct("<I")
_ARRAY = struct.Struct(">BI")
"""The head of a msgpack array with a count of 32 bits."""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[tuple[str, bytes]]).decode


class Log:
    """The file that frames are appended to; a frame counts once it is synced."""

    def __init__(self, directory: str) -> None:
        os.makedirs(directory)
        path = os.path.join(directory, "log")
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def append(self, frames: list[bytes]) -> None:
        """Write the frames and sync them, all in one."""
        os.writev(self._file, frames)
        os.fdatasync(self._file)


class Follower:
    """Receives, acknowledges and applies, in a thread of its own."""

    def __init__(self, leader: str, log: Log | None) -> None:
        self._log = log
        self._cells: dict[str, bytes] = {}
        self._leader = leader
        self.ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        connection = dial(self._leader)
        self.ready.set()
        held = bytearray()
        while received := connection.recv(4 * FRAME_BYTES):
            held += received
            if frames := cut(held):
                if self._log is not None:
                    self._log.append(frames)
                connection.sendall(_LENGTH.pack(len(frames)))
                for frame in frames:
                    apply(self._cells, frame)


class Leader:
    """Gathers commands into frames, sends them, and ends them when a majority has them."""

    def __init__(self, address: str, follower_count: int, log: Log | None) -> None:
        self._log = log
        self._cells: dict[str, bytes] = {}
        self._followers: list[socket.socket] = []
        self._follower_count = follower_count
        self._listener = socket.create_server(split(address))
        self._waker, self._bell = socket.socketpair()
        self._commands: list[bytes] = []
        self._callbacks: list[Ended] = []
        self._bulk: deque[tuple[bytes, Ended]] = deque()
        self._awake = False
        self._under_way: deque[tuple[bytes, list[Ended]]] = deque()
        self._ended_count = 0
        self.frame_count_max = FRAME_BYTES
        """Commands per frame at most."""
        self.ready = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def call(self, key: str, value: bytes, ended: Ended) -> None:
        """Have `d[key] = value` replicated; `ended(None)` is called when it is."""
        # The callback first: there are at least as many of them as commands, whoever looks.
        self._callbacks.append(ended)
        self._commands.append(_encode((key, value)))
        if not self._awake:
            self._wake()

    def call_bulk(self, entries: list[tuple[str, bytes]], ended: Ended) -> None:
        """Have many entries replicated as one command."""
        self._bulk.append((_encode(entries), ended))
        if not self._awake:
            self._wake()

    def _wake(self) -> None:
        self._awake = True
        self._bell.send(b"!")

    def _run(self) -> None:
        while len(self._followers) < self._follower_count:
            connection, _ = self._listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._followers.append(connection)
        self.ready.set()
        acknowledged = dict.fromkeys((f.fileno() for f in self._followers), 0)
        held = {f.fileno(): bytearray() for f in self._followers}
        connections = {f.fileno(): f for f in (*self._followers, self._waker)}
        poll = select.poll()
        for number in connections:
            poll.register(number, select.POLLIN)
        while True:
            self._send()
            self._awake = False
            if self._can_send():
                self._awake = True
                continue
            for number, _ in poll.poll():
                self._awake = True
                received = connections[number].recv(FRAME_BYTES)
                if number not in held:
                    continue
                if not received:
                    return
                acks = held[number]
                acks += received
                while len(acks) >= 4:
                    acknowledged[number] += _LENGTH.unpack_from(acks)[0]
                    del acks[:4]
            # The leader has what it sent; so many followers make a majority with it.
            best = sorted(acknowledged.values(), reverse=True)
            self._end(best[(self._follower_count + 1) // 2 - 1])

    def _can_send(self) -> bool:
        waiting = bool(self._commands or self._bulk)
        return waiting and len(self._under_way) < FRAMES_UNDER_WAY

    def _send(self) -> None:
        frames = []
        while self._can_send():
            if self._bulk:
                frame, ended = self._bulk.popleft()
                callbacks = [ended]
            else:
                commands = self._commands
                fitting = max(1, FRAME_BYTES // len(commands[0]))
                count = min(len(commands), self.frame_count_max, fitting)
                frame = _ARRAY.pack(0xDD, count) + b"".join(commands[:count])
                callbacks = self._callbacks[:count]
                del commands[:count], self._callbacks[:count]
            for follower in self._followers:
                follower.sendall(_LENGTH.pack(len(frame)) + frame)
            self._under_way.append((frame, callbacks))
            frames.append(frame)
        if frames and self._log is not None:
            self._log.append(frames)

    def _end(self, count: int) -> None:
        while self._ended_count < count:
            frame, callbacks = self._under_way.popleft()
            self._ended_count += 1
            apply(self._cells, frame)
            for ended in callbacks:
                ended(None)


def cut(held: bytearray) -> list[bytes]:
    """Take the complete frames from what was received."""
    frames = []
    at = 0
    while len(held) - at >= 4 and len(held) - at - 4 >= (size := _LENGTH.unpack_from(held, at)[0]):
        frames.append(bytes(held[at + 4 : at + 4 + size]))
        at += 4 + size
    del held[:at]
    return frames


def apply(cells: dict[str, bytes], frame: bytes) -> None:
    """Do what the commands of the frame say."""
    for key, value in _decode(frame):
        cells[key] = value


def split(address: str) -> tuple[str, int]:
    """Return host and port."""
    host, _, port = address.rpartition(":")
    return host, int(port)


def dial(address: str) -> socket.socket:
    """Return a connection, once somebody listens there."""
    deadline = time.monotonic() + 15.0
    while True:
        try:
            connection = socket.create_connection(split(address))
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)
        else:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection


class Floor(Peer):
    """The member, and the requests that the benchmark makes."""

    def __init__(self, setup: Setup) -> None:
        self._address = setup.address
        self._first = min(setup.address, *setup.peers)
        directory = setup.config.get("data_dir")
        log = None if directory is None else Log(directory)
        self._node: Leader | Follower
        if self._address == self._first:
            self._node = Leader(self._address, len(setup.peers), log)
        else:
            self._node = Follower(self._first, log)

    def status(self) -> dict[str, Any]:
        return {"address": self._address, "leader": self._first, "term": 1}

    def wait_ready(self, timeout: float) -> None:
        if not self._node.ready.wait(timeout):
            raise TimeoutError("not ready")

    def run_WriteLoad(  # noqa: N802
        self,
        *,
        seconds: float,
        warmup: float,
        window: int,
        value_bytes: int,
        blocking: bool,
        key_count: int = KEY_COUNT,
    ) -> Any:
        node = self._leader()
        node.frame_count_max = max(LEAST_SHARE, window // FRAMES_UNDER_WAY)
        if not blocking:
            chains = Chains(
                node.call, window=window, value_bytes=value_bytes, key_count=key_count
            )
            return chains.run(seconds=seconds, warmup=warmup)
        lock = threading.Lock()
        lock.acquire()

        def write(key: str, value: bytes) -> None:
            node.call(key, value, lambda _: lock.release())
            lock.acquire()

        return write_blocking(write, seconds=seconds, warmup=warmup, value_bytes=value_bytes)

    def run_UpdateLoad(self, *, seconds: float, warmup: float) -> Any:  # noqa: N802
        node, entries = self._leader(), bulk_entries()
        chains = Chains(
            lambda key, value, ended: node.call_bulk(list(next(entries).items()), ended),
            window=BULK_WINDOW, value_bytes=10,
        )  # fmt: skip
        return in_bulk(chains.run(seconds=seconds, warmup=warmup))

    def _leader(self) -> Leader:
        if not isinstance(self._node, Leader):
            raise ValueError("the floor takes commands at its leader only")
        return self._node


if __name__ == "__main__":
    main(Floor, __doc__)
