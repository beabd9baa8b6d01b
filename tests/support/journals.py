"""Journals: what clients called and saw, in files that outlive their processes.

A line is written before each call and another one after it, to a file per client. Of a member that
was killed, the calls under way are there without an end: nobody knows how they ended. Times are
nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share.
"""

from __future__ import annotations

import io
import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from syncstructs.testing.history import History, Op

ENDED = b'"outcome": {'
"""In the line of each call that returned or raised, and in no other."""


class Journal:
    """The file of one client: every line is written at once, and survives the process."""

    def __init__(self, path: Path) -> None:
        self._who = path.stem
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._numbers = itertools.count()

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def begin(self, target: str, method: str, args: Sequence[Any]) -> Entry:
        """Write down that a call is about to be made."""
        return Entry(self._file, target, next(self._numbers), self._who, method, args)


class Entry:
    """One call in a journal, which `see` ends."""

    def __init__(
        self, file: int, target: str, number: int, who: str, method: str, args: Sequence[Any]
    ) -> None:
        self._file = file
        self._target = target
        self._number = number
        self._record = History(monotonic_ns)
        self._record.begin(who, method, args)
        self._write()

    def see(self, call: Callable[[], Any]) -> Any:
        """Make the call, or wait for its end, and write it down.

        Return what it returned, None if it raised.
        """
        try:
            result = call()
        except Exception as error:
            self._record.fail(0, error)
            result = None
        else:
            self._record.end(0, result)
        self._write()
        return result

    def _write(self) -> None:
        line = io.StringIO()
        History.of(replace(op, id=self._number) for op in self._record).dump(line)
        os.write(self._file, f"{self._target} {line.getvalue()}".encode())


def monotonic_ns() -> int:
    """Return the machine's CLOCK_MONOTONIC, whatever was done to `time.monotonic`."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def collect(directory: Path) -> dict[str, History]:
    """Read the journals of all clients, of lives past and present; return a history per object."""
    ops: dict[str, list[Op]] = {}
    numbers = itertools.count()
    for path in sorted(directory.glob("*.jsonl")):
        for target, recorded in _read(path).items():
            ops.setdefault(target, []).extend(replace(op, id=next(numbers)) for op in recorded)
    return {target: History.of(found) for target, found in ops.items()}


def _read(path: Path) -> dict[str, History]:
    latest: dict[tuple[str, str], str] = {}
    for text in path.read_text().splitlines(keepends=True):
        # A last line without its end: the process was killed while it wrote it.
        if text.endswith("\n"):
            target, _, line = text.partition(" ")
            # The second line of a call replaces the first; the id comes first in both.
            latest[target, line.partition(",")[0]] = line
    lines: dict[str, list[str]] = {}
    for (target, _), line in latest.items():
        lines.setdefault(target, []).append(line)
    return {target: History.load(found) for target, found in lines.items()}
