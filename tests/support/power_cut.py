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
import time
from collections.abc import Sequence
from pathlib import Path

from rights import Heir, attempt, require, run

SIZE_BYTES = 48 << 20
_SHUTDOWN = 0x8004587D
"""EXT4_IOC_SHUTDOWN, on 64-bit Linux."""
_NO_LOG_FLUSH = struct.pack("I", 2)
_UMOUNT_TIMEOUT = 10.0


class LoopDisk:
    """One file system; `path` is where it is mounted. Who makes it sees to it that it ends."""

    def __init__(self, directory: Path, name: str) -> None:
        self.path = directory / name
        self._image = directory / f"{name}.0"
        self._lives = 0

    def mount(self) -> None:
        """Make the file system and mount it.

        Raises:
            Unavailable: there are no rights or no loop devices here.
        """
        self.path.mkdir(parents=True)
        with open(self._image, "wb") as image:
            image.truncate(SIZE_BYTES)
        attempt("mkfs.ext4", "-q", "-F", str(self._image))
        attempt("mount", "-o", "loop", str(self._image), str(self.path))

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

    def _umount(self) -> None:
        # A child of a killed member, which writes a snapshot, may live a moment longer.
        deadline = time.monotonic() + _UMOUNT_TIMEOUT
        while True:
            try:
                run("umount", str(self.path))
                return
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


class LoopDisks:
    """A disk for each name; a context manager. The disks end with it, or with this process.

    Raises:
        Unavailable: there are no rights, no tools or no loop devices here.
    """

    def __init__(self, directory: Path, names: Sequence[str]) -> None:
        require("mkfs.ext4", "mount", "umount", "unshare")
        self._disks = {name: LoopDisk(directory, name) for name in names}
        # Whoever uses a disk may go on doing so; the last one takes the loop device with it.
        self._heir = Heir(("umount", "--lazy", str(d.path)) for d in self._disks.values())
        try:
            for disk in self._disks.values():
                disk.mount()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> LoopDisks:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __getitem__(self, name: str) -> LoopDisk:
        return self._disks[name]

    def close(self) -> None:
        """Unmount all of them."""
        self._heir.close()
