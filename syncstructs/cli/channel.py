"""One JSON object per line over two streams: how a tool talks to a member process it started.

A request carries an `id` and what to `do`; the answer repeats the `id` and carries `value` or
`error`. Lines without an `id` are events. Owned by the process on either end; nothing of the
cluster's own protocol passes here.
"""

import json
import logging
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from typing import IO, Any

from ..errors import NotApplied, OutcomeUnknown

Line = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setup:
    """What a member process is to be; travels as its first line."""

    address: str
    peers: list[str]
    name: str
    objects: dict[str, tuple[str, list[Any]]]
    """Name of each object: its class as 'module:class', and the arguments of its constructor."""
    config: dict[str, Any] = field(default_factory=dict, repr=False)
    """Fields of `Config`; not shown, as there may be a password among them."""


class Channel:
    """Write lines from any thread, read them from one."""

    def __init__(self, reader: IO[bytes], writer: IO[bytes]) -> None:
        self._reader = reader
        self._writer = writer
        self._writing = threading.Lock()

    def send(self, line: Line) -> None:
        """Write one line, and flush it: it survives this process from here on.

        Raises:
            OSError: the other end is gone.
            ValueError: the channel was closed here.
        """
        encoded = json.dumps(line, separators=(",", ":"), default=_spell).encode() + b"\n"
        with self._writing:
            self._writer.write(encoded)
            self._writer.flush()

    def receive(self) -> Line | None:
        """Return the next line, or None when the other end is gone.

        A last line without its newline is dropped: its writer was killed while writing it.
        """
        try:
            encoded = self._reader.readline()
        except (OSError, ValueError):
            return None
        if not encoded.endswith(b"\n"):
            return None
        line: Line = json.loads(encoded)
        return line


def open_channel() -> Channel:
    """Return the channel over stdin and stdout; what is printed from here on goes to stderr.

    Without the latter, one `print` of a library would break the protocol.
    """
    writer = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return Channel(sys.stdin.buffer, writer)


def describe(error: Exception) -> Line:
    """Return the error as a line: its class, its text, and what it says about the call."""
    if isinstance(error, NotApplied):
        known = "not applied"
    elif isinstance(error, OutcomeUnknown):
        known = "unknown"
    else:
        known = "raised"
    return {"type": type(error).__name__, "message": str(error), "known": known}


def stacks_signal() -> int:
    """Return the signal that has a member write its stacks: ignored by one without a handler.

    Not on Windows, which has none.
    """
    assert sys.platform != "win32"
    return signal.SIGURG


def leave(status: int) -> None:
    """End the process without waiting for threads that may be stuck in a call."""
    logging.shutdown()
    os._exit(status)


def _spell(value: object) -> object:
    """Give JSON a form of what it lacks: lists for sets and tuples, hex for bytes, else a repr."""
    if isinstance(value, bytes | bytearray):
        return bytes(value).hex()
    if isinstance(value, set | frozenset):
        return sorted(value, key=repr)
    return repr(value)
