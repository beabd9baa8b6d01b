"""A file store that several processes share, and that lets a smaller fencing token in no more.

It stands for whatever a lock protects outside the cluster. It knows nothing of locks: a request is
a token and a value, and it is refused if a greater token was seen before. What was accepted is in
a file, one JSON line each; what was refused is kept in memory.
"""

from __future__ import annotations

import json
import socket
import socketserver
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from journals import monotonic_ns

Write = tuple[int, str]


class FencedStore:
    """The store's server, on a Unix socket beside its file; a context manager."""

    def __init__(self, directory: Path) -> None:
        # The path of a Unix socket may have about a hundred characters only.
        self.address = str(directory / "s")
        self.path = directory / "fenced.jsonl"
        self.refused: list[Write] = []
        self.changed = threading.Condition()
        self.seen: dict[int, int] = {}
        """When each token was accepted first, by the clock of `monotonic_ns`."""
        self._greatest = 0
        self._file = open(self.path, "w", buffering=1)  # noqa: SIM115  (closed by `close`)
        store = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                # A client that was killed ends in the middle of a line, or without one.
                with suppress(ConnectionError, ValueError):
                    for line in self.rfile:
                        token, value = json.loads(line)
                        self.wfile.write(b"1\n" if store.write(token, value) else b"0\n")

        class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
            daemon_threads = True

        self._server = Server(self.address, Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> FencedStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._file.close()

    def write(self, token: int, value: str) -> bool:
        """Append a value unless a greater token was seen; return whether it was."""
        with self.changed:
            accepted = token >= self._greatest
            if accepted:
                self._greatest = token
                self.seen.setdefault(token, monotonic_ns())
                self._file.write(json.dumps([token, value]) + "\n")
            else:
                self.refused.append((token, value))
            self.changed.notify_all()
            return accepted

    @property
    def greatest(self) -> int:
        """The greatest token seen."""
        with self.changed:
            return self._greatest

    def accepted(self) -> list[Write]:
        """Return what is in the file, in its order."""
        lines = self.path.read_text().splitlines()
        return [(token, value) for token, value in map(json.loads, lines)]


class StoreClient:
    """One process's connection to the store; for one thread."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(address)
        self._answers: Any = self._socket.makefile("rb")

    def write(self, token: int, value: str) -> bool:
        """Send a write; return whether it was accepted."""
        self._socket.sendall(json.dumps([token, value]).encode() + b"\n")
        return self._answers.readline() == b"1\n"
