"""A simulated disk under the real stores: it loses what was not synced, fails, fills up and rots.

What a crash leaves follows what file systems may do: of the writes to a file since its last sync
any part, each torn anywhere, holes and the end filled with zeros; of the names made, changed and
removed since their directory was synced the first few, or any. A sync that fails loses pages and
forgets that they were dirty, as Linux does (Rebello et al., "Can applications recover from fsync
failures?", 2020): what is read back is fine, until the next crash or until the system has dropped
the pages. Everything is drawn from one generator.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Final, TypeAlias
from zlib import crc32

from ..errors import DataDirBusy
from ..storage.disk import Lock, Mode
from .violation import Violation

SECTOR: Final = 512
"""Bytes that a device writes as one, if it does."""


class SimDisk:
    """A `storage.disk.Disk` in memory, for one host; a file is a path, a directory its prefix."""

    def __init__(self, random: Random) -> None:
        self.crashpoint: Callable[[str], object] | None = None
        """Called with a name before and after each call that changes something, and in the midst
        of a write; may raise."""
        self.capacity: int | None = None
        """Bytes for which there is room; None: any number."""
        self.failure_rates: dict[str, float] = {}
        """How often a `read`, `write`, `sync` or `sync_directory` ends with EIO: 0 to 1. Making
        a file and listing names count as the first two."""
        self.counts: Counter[str] = Counter()
        """What was called, and what went wrong, by name."""
        self.in_order: str | None = None
        """Files whose name begins so are written to only where all before is durable; a write that
        comes too early raises `Violation`. None: nothing is demanded."""
        self._random = random
        self._directories: set[str] = set()
        # Names as processes see them, as a crash would leave them at the most, and what was
        # changed in between, in order.
        self._names: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._changes: _Changes = []
        self._locked: set[str] = set()
        self._failures: dict[str, _Failure] = {}
        self._life = 0

    # As stores see it (`storage.disk.Disk`)

    def make_directory(self, path: str) -> None:
        """Create a directory, durably."""
        self._pass("make_directory", path)
        self._fail("make_directory", path)
        self._directories.add(path)

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, in any order."""
        self._fail("read", path)
        found = [os.path.basename(name) for name in self._names if os.path.dirname(name) == path]
        self._random.shuffle(found)
        return found

    def open(self, path: str, mode: Mode) -> SimFile:
        """Open a file."""
        if mode == "create":
            self._pass("create", path)
            if path in self._names:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
            self._fail("create", path, rate_of="write")
            self._refuse_full(1, path)
            self._change(_Rename(None, path, _Inode()))
            self._pass("create done", path)
        elif path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        return SimFile(self, path, self._names[path])

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of one that has it."""
        self._pass("rename", new)
        inode = self._names.get(old)
        if inode is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), old)
        self._fail("rename", new)
        self._change(_Rename(old, new, inode))
        inode.publish()
        self._pass("rename done", new)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        self._pass("unlink", path)
        if path not in self._names:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
        self._fail("unlink", path)
        self._change(_Rename(path, None, self._names[path]))
        self._pass("unlink done", path)

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable."""
        self._pass("sync_directory", path)
        # Names are kept in a journal: one that cannot be written is not forgotten, as pages are.
        self._fail("sync_directory", path)
        self._changes = self._settle(self._changes, path)
        self.counts["sync_directory"] += 1
        self._pass("sync_directory done", path)

    def lock(self, path: str) -> Lock:
        """Lock by a path, until it is closed or the host crashes."""
        if path in self._locked:
            raise DataDirBusy(f"{os.path.dirname(path)!r} is in use by this process")
        self._locked.add(path)
        return _SimLock(self._locked, path)

    def random_bytes(self, count: int) -> bytes:
        """Return bytes by which one file or directory differs from all others."""
        return self._random.randbytes(count)

    # As a nemesis sees it

    def crash(self) -> None:
        """Lose what was not synced, or not all of it; all handles are dead."""
        self._life += 1
        self._locked = set()
        self.counts["crash"] += 1
        self._settle(self._some(self._changes), None)
        self._changes = []
        self._names = dict(self._durable)
        for inode in self._names.values():
            inode.crash(self._random)

    def kill(self) -> None:
        """Lose the process, but nothing of what it wrote; all handles are dead.

        What a failed sync has lost may still be read afterwards, or not.
        """
        self._life += 1
        self._locked = set()
        for inode in self._names.values():
            if inode.is_lossy and self._random.random() < 0.5:
                inode.evict()

    def fail(self, call: str, number: int = errno.EIO, *, name: str = "", times: int = 0) -> None:
        """Let the next `times` calls of this kind fail with an errno; 0: all, until healed.

        `call`: `read`, `write`, `create`, `truncate`, `sync`, `rename`, `unlink`, `make_directory`
        or `sync_directory`. `name`: only for files whose name begins so.
        """
        self._failures[call] = _Failure(number, name, times)

    def heal(self) -> None:
        """End all faults; what was damaged stays so."""
        self.capacity = None
        self.failure_rates = {}
        self._failures = {}

    def erase(self) -> None:
        """Lose everything; only while nobody has it open."""
        self._names, self._durable, self._changes = {}, {}, []

    def fill(self, room: int) -> None:
        """Leave room for so many bytes only."""
        self.capacity = self.used_bytes() + room

    def used_bytes(self) -> int:
        """Return how many bytes the files have."""
        return sum(len(inode.content) for inode in self._names.values())

    def rot(self, prefixes: Iterable[str] = ("log-", "snapshot-")) -> str | None:
        """Flip a bit in some file whose name begins so; return its path, or None: there is none.

        Never in what the last sync of a file wrote under its present name: there, damage cannot be
        told from a write that a crash has torn.
        """
        found = [
            (path, inode)
            for path, inode in self._names.items()
            if os.path.basename(path).startswith(tuple(prefixes)) and inode.settled > 0
        ]
        if not found:
            return None
        path, inode = self._random.choice(found)
        self._flip(inode, self._random.randrange(inode.settled))
        return path

    def rot_between(self, name: str, begin: int, end: int) -> bool:
        """Flip a bit in that part of a file; return whether it is there."""
        for path, inode in self._names.items():
            if os.path.basename(path) == name and end <= len(inode.durable):
                self._flip(inode, self._random.randrange(begin, end))
                return True
        return False

    def _flip(self, inode: _Inode, at: int) -> None:
        bit = 1 << self._random.randrange(8)
        inode.content[at] ^= bit
        inode.durable[at] ^= bit
        self.counts["rot"] += 1

    def peek(self, name: str) -> bytes | None:
        """Return what processes see in the file of that name, without any fault; None: no file."""
        for path, inode in self._names.items():
            if os.path.basename(path) == name:
                return bytes(inode.content)
        return None

    def durable_names(self) -> tuple[str, ...]:
        """Return the names of the files that no crash can take any more, nor any of their bytes."""
        return tuple(
            os.path.basename(path)
            for path, inode in self._durable.items()
            if self._names.get(path) is inode and inode.is_durable_to(len(inode.content))
        )

    def has_for_good(self, name: str) -> bool:
        """Return whether no crash can take the file of that name; its content is not looked at."""
        return any(
            os.path.basename(path) == name and self._names.get(path) is inode
            for path, inode in self._durable.items()
        )

    def digest(self) -> int:
        """Return a checksum of what is durable."""
        sum_ = 0
        for path in sorted(self._durable):
            sum_ = crc32(self._durable[path].durable, crc32(path.encode(), sum_))
        return sum_

    # Inside

    def _pass(self, point: str, path: str) -> None:
        if self.crashpoint is not None:
            self.crashpoint(point)

    def _fail(self, call: str, path: str, *, rate_of: str = "") -> None:
        number = 0
        if self._failures and (failure := self._failures.get(call)) is not None:
            number = failure.befalls(path)
        if self.failure_rates and not number:
            rate = self.failure_rates.get(rate_of or call, 0.0)
            if rate and self._random.random() < rate:
                number = errno.EIO
        if number:
            self.counts[f"{call} failed"] += 1
            raise OSError(number, os.strerror(number), path)

    def _room(self) -> int:
        """Return how many bytes may still be added to files; -1: any number."""
        return -1 if self.capacity is None else max(0, self.capacity - self.used_bytes())

    def _refuse_full(self, more: int, path: str) -> None:
        if 0 <= self._room() < more:
            self.counts["full"] += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    def _change(self, change: _Rename) -> None:
        change.apply(self._names)
        self._changes.append(change)

    def _some(self, changes: _Changes) -> Iterator[_Rename]:
        """Yield what a crash keeps of changes of names: the first few, or any."""
        if self._random.random() < 0.5:
            yield from changes[: self._random.randint(0, len(changes))]
            return
        keep = self._random.random()
        for change in changes:
            if self._random.random() < keep:
                yield change

    def _settle(self, changes: Iterable[_Rename], directory: str | None) -> _Changes:
        """Make these durable as far as they are in the directory; return all others."""
        others = []
        for change in changes:
            if directory is None or change.is_in(directory):
                change.apply(self._durable)
            else:
                others.append(change)
        return others

    def _check_alive(self, life: int, path: str) -> None:
        assert life == self._life, f"{path} was opened before the crash"


class SimFile:
    """An open file of a `SimDisk`."""

    __slots__ = ("_disk", "_inode", "_life", "_path")

    def __init__(self, disk: SimDisk, path: str, inode: _Inode) -> None:
        self._disk = disk
        self._path = path
        self._inode = inode
        self._life = disk._life

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""
        disk = self._disk
        disk._check_alive(self._life, self._path)
        disk._fail("read", self._path)
        return bytes(self._inode.content[offset : offset + size])

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`; on a full or failing disk, or if a crash comes, a part of it."""
        disk = self._disk
        inode = self._inode
        disk._check_alive(self._life, self._path)
        if (
            disk.in_order is not None
            and not inode.is_durable_to(offset)
            and os.path.basename(self._path).startswith(disk.in_order)
        ):
            raise Violation(f"{self._path} is written to at {offset} before all is durable there")
        disk._pass("write", self._path)
        data = bytes(data)
        at = 0
        grows = offset + len(data) - len(inode.content)
        try:
            disk._fail("write", self._path)
            if grows > 0:
                disk._refuse_full(grows, self._path)
        except OSError:
            room = disk._room()
            most = len(data) if room < 0 else min(len(data), max(0, len(data) - grows + room))
            inode.write(offset, data[: disk._random.randint(0, most)])
            raise
        if disk.crashpoint is not None and len(data) > 1:
            at = int(disk._random.random() * len(data))
            inode.write(offset, data[:at])
            disk._pass("write half", self._path)
        inode.write(offset + at, data[at:])
        disk.counts["write"] += 1
        disk._pass("write done", self._path)

    def truncate(self, size: int) -> None:
        """Cut off what follows `size` bytes."""
        disk = self._disk
        disk._check_alive(self._life, self._path)
        disk._pass("truncate", self._path)
        disk._fail("truncate", self._path)
        self._inode.truncate(size)
        disk._pass("truncate done", self._path)

    def size(self) -> int:
        """Return how many bytes it has."""
        self._disk._check_alive(self._life, self._path)
        return len(self._inode.content)

    def sync(self) -> None:
        """Make the content durable."""
        disk = self._disk
        disk._check_alive(self._life, self._path)
        disk._pass("sync", self._path)
        try:
            disk._fail("sync", self._path)
        except OSError:
            self._inode.lose(disk._random)
            raise
        self._inode.sync()
        disk.counts["sync"] += 1
        disk._pass("sync done", self._path)

    def close(self) -> None:
        """Release the handle."""


class _Inode:
    """A file's content as processes see it, as it is durable, and the writes in between."""

    __slots__ = ("_pending", "content", "durable", "is_lossy", "settled")

    def __init__(self) -> None:
        self.content = bytearray()
        self.durable = bytearray()
        self.settled = 0
        """Bytes at the begin in which damage cannot be taken for a torn write."""
        self.is_lossy = False
        """A failed sync may have left `content` other than `durable`, with nothing pending."""
        self._pending: list[tuple[int, bytes | None]] = []

    def write(self, offset: int, data: bytes) -> None:
        if data:
            _write(self.content, offset, data)
            self._pending.append((offset, data))

    def is_durable_to(self, offset: int) -> bool:
        """Return whether a crash would leave all that is before `offset`."""
        if self._pending and any(at < offset and data is not None for at, data in self._pending):
            return False
        return not self.is_lossy or self.content[:offset] == self.durable[:offset]

    def truncate(self, size: int) -> None:
        del self.content[size:]
        self._pending.append((size, None))

    def sync(self) -> None:
        if not self._pending:
            return
        self.settled = min(min(offset for offset, _ in self._pending), len(self.durable))
        self._apply(self._pending)
        self._pending.clear()
        # The size is the inode's and not lost with pages.
        del self.durable[len(self.content) :]

    def publish(self) -> None:
        """Take another name: what is durable by now was never seen torn under it."""
        if not self._pending and not self.is_lossy:
            self.settled = len(self.durable)

    def lose(self, random: Random) -> None:
        """Fail to sync: some pages are lost, and all of them count as clean."""
        if self._pending:
            self._apply(self._torn(random, 0.5))
            self._pending.clear()
            self.settled = 0
            self.is_lossy = True

    def evict(self) -> None:
        """Drop clean pages, so that what is read comes from the device."""
        if not self._pending:
            self.content = bytearray(self.durable)
            self.is_lossy = False

    def crash(self, random: Random) -> None:
        """Keep any part of what was not synced."""
        if self._pending:
            self.settled = min(self.settled, min(offset for offset, _ in self._pending))
            keep = random.choice((0.0, 0.2, 0.8, 1.0))
            self._apply(self._torn(random, keep))
            if random.random() < 0.3:
                self._grow(random)
            self._pending.clear()
        self.content = bytearray(self.durable)
        self.is_lossy = False

    def _grow(self, random: Random) -> None:
        """Keep the new size, or one of whole sectors, though not all that belongs there."""
        size = len(self.content)
        if random.random() < 0.5:
            size += -size % SECTOR
        self.durable += bytes(max(0, size - len(self.durable)))

    def _torn(self, random: Random, keep: float) -> Iterator[tuple[int, bytes | None]]:
        by_sectors = random.random() < 0.5
        for offset, data in self._pending:
            if data is None:
                if random.random() < keep:
                    yield offset, None
            elif by_sectors:
                for begin, piece in _sectors(offset, data):
                    if random.random() < keep:
                        yield begin, piece
            elif random.random() < keep:
                whole = random.random() < 0.5
                yield offset, data if whole else data[: random.randint(0, len(data))]

    def _apply(self, changes: Iterable[tuple[int, bytes | None]]) -> None:
        for offset, data in changes:
            if data is None:
                del self.durable[offset:]
            else:
                _write(self.durable, offset, data)


class _Rename:
    """A name that was made (`old` is None), removed (`new` is None) or changed."""

    __slots__ = ("_inode", "_new", "_old")

    def __init__(self, old: str | None, new: str | None, inode: _Inode) -> None:
        self._old = old
        self._new = new
        self._inode = inode

    def is_in(self, directory: str) -> bool:
        return os.path.dirname(self._new or self._old or "") == directory

    def apply(self, names: dict[str, _Inode]) -> None:
        if self._old is not None and names.get(self._old) is self._inode:
            del names[self._old]
        if self._new is not None:
            names[self._new] = self._inode


class _Failure:
    """A failure that was ordered."""

    __slots__ = ("_left", "_name", "_number")

    def __init__(self, number: int, name: str, times: int) -> None:
        self._number = number
        self._name = name
        self._left = times or -1

    def befalls(self, path: str) -> int:
        """Return the errno with which a call fails; 0: it does not."""
        if self._left == 0 or not os.path.basename(path).startswith(self._name):
            return 0
        self._left -= 1
        return self._number


class _SimLock:
    def __init__(self, locked: set[str], path: str) -> None:
        self._locked = locked
        self._path = path

    def close(self) -> None:
        self._locked.discard(self._path)


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if offset > len(content):
        content += bytes(offset - len(content))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        end = min(len(data), at + SECTOR - (offset + at) % SECTOR)
        yield offset + at, data[at:end]
        at = end


# A name of its own: inside `SimDisk`, `list` is a method.
_Changes: TypeAlias = list[_Rename]
