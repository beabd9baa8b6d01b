"""A disk in memory that records its calls, fails on demand, and loses what was not synced."""

import errno
import os
from random import Random

from syncstructs.errors import DataDirBusy

BLOCK = 16


class PowerCut(BaseException):
    """The machine went down inside a call; like `SystemExit`, nothing may handle it."""


class Inode:
    def __init__(self):
        self.content = bytearray()
        self.durable = bytearray()
        self.pending = []

    def do(self, change):
        change(self.content)
        self.pending.append(change)

    def sync(self):
        for change in self.pending:
            change(self.durable)
        self.pending.clear()

    def crash(self, random):
        """Keep any part of what was not synced."""
        before, after = bytes(self.durable), bytearray(self.durable)
        for change in self.pending:
            change(after)
        if self.pending:
            sizes = [len(before), len(after), random.randint(0, len(after)), len(after) + 40]
            size = max(random.choice(sizes), min(len(before), len(after)))
            after += bytes(max(0, size - len(after)))
            lose = random.choice([0.0, 0.2, 0.8])
            for at in range(0, len(after), BLOCK):
                if random.random() < lose:
                    end = min(at + BLOCK, len(after))
                    after[at:end] = before[at:end].ljust(end - at, b"\0")
            del after[size:]
        self.content, self.durable, self.pending = bytearray(after), bytearray(after), []


def write_change(offset, data):
    def change(content):
        content += bytes(max(0, offset - len(content)))
        content[offset : offset + len(data)] = data

    return change


class MemoryFile:
    def __init__(self, disk, name, inode):
        self._disk, self._name, self._inode = disk, name, inode

    def read(self, offset, size):
        self._disk.note("read", self._name)
        return bytes(self._inode.content[offset : offset + size])

    def write(self, offset, data):
        data = bytes(data)
        try:
            self._disk.note("write", self._name)
        except PowerCut:
            self._inode.do(write_change(offset, data))
            raise
        except OSError:
            self._inode.do(write_change(offset, data[: len(data) // 2]))
            raise
        self._inode.do(write_change(offset, data))

    def truncate(self, size):
        self._disk.note("truncate", self._name)
        self._inode.do(lambda content: content.__delitem__(slice(size, None)))

    def size(self):
        return len(self._inode.content)

    def sync(self):
        try:
            self._disk.note("sync", self._name)
        except OSError:
            # What Linux does: the pages count as clean from now on, written or not.
            self._inode.pending.clear()
            raise
        self._inode.sync()

    def close(self):
        pass


class FaultyDisk:
    """One flat directory. `calls` holds what changed something, as (call, name)."""

    def __init__(self):
        self.names = {}
        self.durable_names = {}
        self.calls = []
        self.locked = False
        self._name_changes = []
        self._fail = {}
        self._cut_in = None

    # Faults

    def fail(self, call, number, *, name=""):
        """Let each `call` on a file whose name begins with `name` fail with errno `number`."""
        self._fail[call] = (number, name)

    def heal(self):
        self._fail.clear()

    def cut_power_in(self, calls):
        """Let the machine go down inside the n-th call from here; None never."""
        self._cut_in = calls

    def crash(self, seed):
        """Come back after a power cut: what was synced, and any part of the rest."""
        random = Random(seed)
        names = dict(self.durable_names)
        lose = random.choice([0.0, 0.5, 1.0])
        for change in self._name_changes:
            if random.random() >= lose:
                change(names)
        for inode in sorted({id(i): i for i in names.values()}.values(), key=lambda i: i.content):
            inode.crash(random)
        self.names, self.durable_names, self._name_changes = names, dict(names), []
        self.locked = False
        self._cut_in = None

    def kill(self):
        """Come back after the process was killed: everything written is still there."""
        self.locked = False
        self._cut_in = None

    def copy(self):
        other = FaultyDisk()
        for name, inode in self.names.items():
            other.names[name] = other.durable_names[name] = Inode()
            other.names[name].content = bytearray(inode.content)
            other.names[name].durable = bytearray(inode.content)
        return other

    def note(self, call, name):
        if call not in ("read", "list"):
            self.calls.append((call, name))
        if self._cut_in is not None:
            self._cut_in -= 1
            if self._cut_in < 0:
                raise PowerCut
        number, begin = self._fail.get(call, (None, ""))
        if number is not None and name.startswith(begin):
            raise OSError(number, os.strerror(number))

    # Disk

    def make_directory(self, path):
        self.note("make_directory", path)

    def list(self, path):
        self.note("list", path)
        return sorted(self.names, reverse=True)

    def open(self, path, mode):
        name = os.path.basename(path)
        if mode == "create":
            self.note("create", name)
            if name in self.names:
                raise FileExistsError(errno.EEXIST, "exists")
            inode = Inode()
            self._rename(lambda names: names.__setitem__(name, inode))
        elif name not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        return MemoryFile(self, name, self.names[name])

    def rename(self, old, new):
        old, new = os.path.basename(old), os.path.basename(new)
        self.note("rename", new)
        inode = self.names[old]

        def change(names):
            names.pop(old, None)
            names[new] = inode

        self._rename(change)

    def unlink(self, path):
        name = os.path.basename(path)
        self.note("unlink", name)
        if name not in self.names:
            raise FileNotFoundError(errno.ENOENT, "no such file")
        self._rename(lambda names: names.pop(name, None))

    def sync_directory(self, path):
        self.note("sync_directory", os.path.basename(path))
        self.durable_names = dict(self.names)
        self._name_changes.clear()

    def lock(self, path):
        self.note("lock", os.path.basename(path))
        if self.locked:
            raise DataDirBusy("in use")
        self.locked = True
        return self

    def close(self):
        self.locked = False

    def _rename(self, change):
        change(self.names)
        self._name_changes.append(change)
