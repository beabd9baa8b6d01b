"""A disk of its own for a member, whose power can be cut: ext4 in a loop file.

The shutdown ioctl of ext4, without a flush of its journal, stops the file system where it is: what
was synced is there after the next mount, what was not is gone, and every call in between fails.
So a member's promises about its disk are put to the test by the kernel. Needs root, `mkfs.ext4`,
`mount` and loop devices.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rights import attempt, process_runs, require, run

SIZE_BYTES = 48 << 20
_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, on 64-bit Linux."""
_NO_LOG_FLUSH = struct.pack("I", 2)
_UMOUNT_TIMEOUT = 10.0
_MARK = "syncstructs-disk-"


class LoopDisk:
    """One mounted file system; `path` is where.

    Raises:
        Unavailable: there are no rights, no tools or no loop devices here.
    """

    def __init__(self, directory: Path, name: str) -> None:
        require("mkfs.ext4", "mount", "umount", "unshare")
        directory.mkdir(parents=True, exist_ok=True)
        self._image = directory / f"{name}.0"
        self._lives = 0
        # The process's number is in the path, so that what a killed run leaves can be found.
        self.path = directory / f"{_MARK}{os.getpid()}-{name}"
        self.path.mkdir()
        with open(self._image, "wb") as image:
            image.truncate(SIZE_BYTES)
        attempt("mkfs.ext4", "-q", "-F", str(self._image))
        attempt("mount", "-o", "loop", str(self._image), str(self.path))
        self._mounted = True

    def cut(self) -> None:
        """Cut the power: lose what was not synced; every call fails until `restore`.

        A sync that is under way may say that all is well, and lose everything: seen with Linux 6.18
        in one of ten cuts. So whoever writes there has to be stopped before.
        """
        handle = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(handle, _SHUTDOWN, _NO_LOG_FLUSH)
        finally:
            os.close(handle)

    def restore(self) -> None:
        """Give the power back; no process may use the disk any more.

        Raises:
            OSError: some process does, for longer than it takes to end.
        """
        self._umount()
        # A copy: a process in another mount namespace may have taken the mount there with it, and
        # then the same file would give the same file system again, which is shut down.
        former, self._lives = self._image, self._lives + 1
        self._image = former.with_suffix(f".{self._lives}")
        run("cp", "--sparse=always", str(former), str(self._image))
        former.unlink()
        run("mount", "-o", "loop", str(self._image), str(self.path))
        self._mounted = True

    def close(self) -> None:
        """Unmount, whoever uses it; the loop device goes with it."""
        if self._mounted:
            try:
                self._umount()
            except OSError:
                run("umount", "--lazy", str(self.path))
                self._mounted = False

    def _umount(self) -> None:
        # A child of a killed member, which writes a snapshot, may live a moment longer.
        deadline = time.monotonic() + _UMOUNT_TIMEOUT
        while self._mounted:
            try:
                run("umount", str(self.path))
                self._mounted = False
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


class LoopDisks:
    """A disk for each name; a context manager that unmounts whatever happens."""

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        unmount_left_behind()
        self.disks: dict[str, LoopDisk] = {}
        try:
            for name in names:
                self.disks[name] = LoopDisk(directory, name)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LoopDisks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> LoopDisk:
        return self.disks[name]

    def cut(self, names: Sequence[str]) -> None:
        """Cut the power of several disks, as much in one moment as can be."""
        together = threading.Barrier(len(names))

        def cut(disk: LoopDisk) -> None:
            together.wait(10)
            disk.cut()

        threads = [threading.Thread(target=cut, args=(self.disks[name],)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def close(self) -> None:
        """Unmount all of them."""
        for disk in self.disks.values():
            with suppress(OSError):
                disk.close()


def unmount_left_behind() -> None:
    """Unmount the disks of test runs that were killed."""
    for line in Path("/proc/mounts").read_text().splitlines():
        path = line.split()[1]
        name = os.path.basename(path)
        pid = name.removeprefix(_MARK).partition("-")[0]
        if name.startswith(_MARK) and pid.isdigit() and not process_runs(int(pid)):
            with suppress(OSError):
                run("umount", "--lazy", path)
