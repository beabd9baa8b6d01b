"""A simulated disk for tests of the stores: it notes its calls, and goes down at any of them."""

import os
from random import Random

from syncstructs.testing.simdisk import SimDisk, _Inode


class PowerCut(BaseException):
    """The machine went down inside a call; like `SystemExit`, nothing may handle it."""


class WatchedDisk(SimDisk):
    """A `SimDisk` with one directory, whose files can be looked at and changed by name."""

    def __init__(self, seed=0):
        super().__init__(Random(seed))
        self.calls = []
        """What was begun, as (call, name); calls that only read are left out."""
        self._points_left = None
        self.crashpoint = self._come_by

    @property
    def names(self):
        """The content of files by name, as processes see it; change it in place."""
        return {os.path.basename(path): inode.content for path, inode in self._names.items()}

    @property
    def is_locked(self):
        """Whether somebody holds a lock."""
        return bool(self._locked)

    def put(self, name, content):
        """Have a file with this content, durably."""
        inode = _Inode()
        inode.content[:] = inode.durable[:] = content
        self._names[f"/data/{name}"] = self._durable[f"/data/{name}"] = inode

    def remove(self, name):
        """Lose a file."""
        del self._names[f"/data/{name}"]
        self._durable.pop(f"/data/{name}", None)

    def copy(self, seed=0):
        """Return a disk that holds the same, all of it durable."""
        other = WatchedDisk(seed)
        for name, content in self.names.items():
            other.put(name, content)
        return other

    def cut_power_in(self, points):
        """Go down at the n-th point from here: before, within or after a call; None: never."""
        self._points_left = points

    def crash(self, seed=None):
        """Come back after a power cut; `seed` says what is left."""
        if seed is not None:
            self._random.seed(seed)
        super().crash()
        self._points_left = None

    def kill(self):
        """Come back after the process was killed."""
        super().kill()
        self._points_left = None

    def _pass(self, point, path):
        if " " not in point:
            self.calls.append((point, os.path.basename(path)))
        super()._pass(point, path)

    def _come_by(self, point):
        if self._points_left is not None:
            self._points_left -= 1
            if self._points_left < 0:
                raise PowerCut

