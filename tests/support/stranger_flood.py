"""Strangers without number: `python stranger_flood.py HELD HEX HOST:PORT...` until stdin ends.

They connect as fast as they can, to each address in turn, say what HEX stands for, and stay until
the other side closes: up to HELD at a time, while others are on their way. A line is printed when
2000 connections have come about, and at the end their number.
"""

import contextlib
import itertools
import os
import resource
import selectors
import socket
import sys
import time

# How many may be on their way to being connected.
_DIALLED = 500
_ENOUGH = 2000
# The system tries again after a second: a stranger is not so patient, and comes as another.
_PATIENCE = 0.5


class Flood:
    def __init__(self, held_max, words, targets):
        self._held_max = held_max
        self._words = words
        self._turn = itertools.cycle(targets)
        self._selector = selectors.DefaultSelector()
        self._dialling = {}
        self._held = set()
        self.count = 0

    def go_on(self):
        while len(self._dialling) < _DIALLED and len(self._held) < self._held_max:
            sock = socket.socket()
            sock.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                sock.connect(next(self._turn))
            self._selector.register(sock, selectors.EVENT_WRITE)
            self._dialling[sock] = time.monotonic()
        for key, _ in self._selector.select(0.02):
            if key.fileobj in self._dialling:
                self._connected(key.fileobj)
            else:
                self._heard(key.fileobj)
        late = time.monotonic() - _PATIENCE
        for sock in [sock for sock, begun in self._dialling.items() if begun < late]:
            del self._dialling[sock]
            self._drop(sock)

    def _connected(self, sock):
        del self._dialling[sock]
        try:
            sock.send(self._words)
        except OSError:
            self._drop(sock)
            return
        self.count += 1
        if self.count == _ENOUGH:
            print(self.count, "connections", flush=True)
        self._held.add(sock)
        self._selector.modify(sock, selectors.EVENT_READ)

    def _heard(self, sock):
        with contextlib.suppress(BlockingIOError, ConnectionError):
            if sock.recv(4096):
                return
        self._held.discard(sock)
        self._drop(sock)

    def _drop(self, sock):
        self._selector.unregister(sock)
        sock.close()


def main(held_max, words, targets):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(held_max + _DIALLED + 50, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    flood = Flood(wanted - _DIALLED - 50, words, targets)
    os.set_blocking(0, False)
    while True:
        flood.go_on()
        with contextlib.suppress(BlockingIOError):
            if not os.read(0, 1):
                print(flood.count, flush=True)
                return


if __name__ == "__main__":
    addresses = [text.rpartition(":") for text in sys.argv[3:]]
    main(
        int(sys.argv[1]),
        bytes.fromhex(sys.argv[2]),
        [(host, int(port)) for host, _, port in addresses],
    )
