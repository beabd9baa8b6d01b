"""The disk as the stores see it: a few system calls, and the directory of one node.

`Disk` and `File` are the only ways from here to the world, so that a simulator can take their
place. They raise `OSError`; the stores turn that into `StorageError` with `explained`.
"""

import contextlib
import errno
import os
import sys
import zlib
from collections.abc import Collection, Iterator
from typing import Any, Final, Literal, Protocol

import msgspec

from ..errors import DataDirBusy, DataDirDamaged, DataDirForeign, StorageError

Mode = Literal["read", "write", "create"]
"""How a file is opened: to read; to read and write; the same, and it must not exist yet."""

# A member must not vote twice in a term, nor lack what it has acknowledged. An empty directory
# forgets both, and so does a copy that is older than the member's last run. Neither matters once
# the others have elected a leader without it, in a term in which it never voted, and that leader
# has committed something: all that was ever committed is then on a majority without this member.
REMEDY: Final = (
    "nothing was changed. Restore the directory from a copy that was made after this member ran for"
    " the last time. Or, while a majority of the members runs without this one and acknowledges"
    " writes, start it with join=True and an empty directory, under the same address: it has no"
    " vote until they have filled it. Without that majority, or with an older copy, it may vote"
    " twice in one term and lack what it acknowledged, so that acknowledged writes can be lost"
)

_FORMAT: Final = 3
_LOCK: Final = "lock"
_IDENTITY: Final = "identity.json"
# Its name while a repair is under way, so that no node starts on what is half repaired.
_SET_ASIDE: Final = "identity.json.repairing"

_REASONS: Final = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the file system is read-only",
    errno.EACCES: "permission denied for this user",
    errno.EPERM: "permission denied for this user",
    errno.ENOTDIR: "it is not a directory",
    errno.EEXIST: "it exists and is not what it should be",
    errno.EIO: "the disk reports an input/output error",
}


class File(Protocol):
    """An open file. Offsets are bytes from its begin."""

    def read(self, offset: int, size: int) -> bytes:
        """Return `size` bytes, fewer only at the end."""

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Write all of `data`; what stands there is replaced."""

    def truncate(self, size: int) -> None:
        """Cut off what follows `size` bytes."""

    def size(self) -> int:
        """Return how many bytes it has."""

    def sync(self) -> None:
        """Return when content and size are durable; the entry in the directory may not be."""

    def close(self) -> None:
        """Release the handle, not the durability; idempotent."""


class Lock(Protocol):
    """A lock on a directory."""

    def close(self) -> None:
        """Let it go; idempotent."""


class Disk(Protocol):
    """The system calls that the stores are made of; all raise `OSError`."""

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents, durably; one that exists is taken."""

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""

    def open(self, path: str, mode: Mode) -> File:
        """Open a file."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name; one that has it already is replaced in the same instant."""

    def unlink(self, path: str) -> None:
        """Remove a file."""

    def sync_directory(self, path: str) -> None:
        """Return when the names in a directory are durable."""

    def lock(self, path: str) -> Lock:
        """Lock by a file at `path`, for as long as this process lives at the most.

        Raises:
            DataDirBusy: somebody has it; the message names the process.
        """

    def random_bytes(self, count: int) -> bytes:
        """Return bytes by which one file or directory differs from all others."""


class OsDisk:
    """The disk of the operating system."""

    def make_directory(self, path: str) -> None:
        """Create a directory and its parents, durably; one that exists is taken."""
        missing = []
        at = os.path.abspath(path)
        while not os.path.isdir(at) and at != os.path.dirname(at):
            missing.append(at)
            at = os.path.dirname(at)
        for made in reversed(missing):
            with contextlib.suppress(FileExistsError):
                os.mkdir(made)
            self.sync_directory(os.path.dirname(made))
        if not os.path.isdir(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)

    def list(self, path: str) -> list[str]:
        """Return the names in a directory, in no order."""
        return os.listdir(path)

    def open(self, path: str, mode: Mode) -> File:
        """Open a file."""
        return _OsFile(path, mode)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, in place of one that has it."""
        os.replace(old, new)

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)

    def sync_directory(self, path: str) -> None:
        """Return when the names in a directory are durable."""
        if sys.platform == "win32":
            return  # a directory cannot be opened there; its file system keeps names by itself
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def lock(self, path: str) -> Lock:
        """Lock by a file that holds the number of the process."""
        close_on_exec = getattr(os, "O_CLOEXEC", 0)
        read_only = False
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | close_on_exec, 0o644)
        except OSError as error:
            # After an error of the disk, a file system is often read-only, and it can be looked at.
            if error.errno != errno.EROFS:
                raise
            read_only = True
            try:
                handle = os.open(path, os.O_RDONLY | close_on_exec)
            except FileNotFoundError:
                # No node runs here, nor can one be started.
                return _OsLock(None)
        try:
            _lock(handle)
        except BlockingIOError:
            holder = os.read(handle, 20).decode("ascii", "replace").strip() or "of unknown number"
            os.close(handle)
            who = "this process" if holder == str(os.getpid()) else f"process {holder}"
            raise DataDirBusy(
                f"{os.path.dirname(path)!r} is in use by {who}; a data directory serves one node"
            ) from None
        except BaseException:
            os.close(handle)
            raise
        if not read_only:
            os.ftruncate(handle, 0)
            os.write(handle, f"{os.getpid()}\n".encode())
        return _OsLock(handle)

    def random_bytes(self, count: int) -> bytes:
        """Return bytes by which one file or directory differs from all others."""
        return os.urandom(count)


class _OsFile:
    """A file without buffers of its own."""

    def __init__(self, path: str, mode: Mode) -> None:
        flags = {"read": "rb", "write": "r+b", "create": "x+b"}[mode]
        self._raw = open(path, flags, buffering=0)  # noqa: SIM115 - closed by who opened it

    def read(self, offset: int, size: int) -> bytes:
        self._raw.seek(offset)
        parts: list[bytes] = []
        while size > 0 and (part := self._raw.read(size)):
            parts.append(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        self._raw.seek(offset)
        left = memoryview(data)
        while left:
            left = left[self._raw.write(left) :]

    def truncate(self, size: int) -> None:
        self._raw.truncate(size)

    def size(self) -> int:
        return os.fstat(self._raw.fileno()).st_size

    def sync(self) -> None:
        _sync(self._raw.fileno())

    def close(self) -> None:
        self._raw.close()


class _OsLock:
    def __init__(self, handle: int | None) -> None:
        self._handle = handle

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            # Closing lets go of it, unless a child of a fork has the file open as well; an
            # explicit unlock would take it from a parent if such a child closed it.
            os.close(handle)


if sys.platform == "win32":

    def _lock(handle: int) -> None:
        import msvcrt

        try:
            # The lock keeps others from reading what it covers, so it stands behind the number.
            os.lseek(handle, 1024, os.SEEK_SET)
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            raise BlockingIOError(*error.args) from error
        finally:
            os.lseek(handle, 0, os.SEEK_SET)

else:

    def _lock(handle: int) -> None:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _find_sync() -> Any:
    if sys.platform == "darwin":
        import fcntl

        # fsync() leaves the data in the drive's cache there.
        return lambda handle: fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
    return getattr(os, "fdatasync", os.fsync)


_sync: Final = _find_sync()


@contextlib.contextmanager
def explained(doing: str, path: str) -> Iterator[None]:
    """Turn an `OSError` into a `StorageError` that says what could not be done, and why."""
    try:
        yield
    except StorageError:
        raise
    except OSError as error:
        reason = _REASONS.get(error.errno or 0) or error.strerror or str(error)
        raise StorageError(f"cannot {doing} {path!r}: {reason}") from error


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose directory it is, as its file says."""

    format: int
    cluster: str
    address: str
    id: str
    """Drawn at random when the directory is made; its files carry it."""
    members: tuple[str, ...] = ()
    """Whom the node was given as voters when it was made: they count until its log tells others.
    Empty if that was not said."""
    joined: bool = False
    """It was made for a node that was to join, so it may take the place of one that was lost."""
    begun: bool = False
    """The log was begun: from then on its absence is damage."""
    durable_write: int = 0
    """The number of a write of the log, durable when this was written: a log that ends before it
    was cut, whatever its end looks like. 0 if none was noted."""
    checksum: int = 0

    def sum(self) -> int:
        """Return the CRC-32 of the other fields."""
        fields = (
            str(self.format), self.cluster, self.address, self.id, str(self.begun), *self.members
        )  # fmt: skip
        if self.joined:
            fields += ("joined",)
        if self.durable_write:
            fields += (str(self.durable_write),)
        return zlib.crc32("\0".join(fields).encode("utf-8", "surrogatepass"))


class DataDir:
    """The directory of one node, locked; the stores put their files into it."""

    def __init__(
        self, path: str, disk: Disk, identity: Identity, lock: Lock, *, half_repaired: bool = False
    ) -> None:
        self.half_repaired = half_repaired
        """Whether a repair was begun and came to no end: no node takes it then."""
        self.path = path
        self.disk = disk
        self.identity = identity
        self._lock = lock
        self._is_aside = False

    def note_durable(self, write: int) -> None:
        """Note that the log was begun here, and is durable up to the write of that number.

        Durably, unless the directory is set aside: then it is for `restate` to say.
        """
        if self.identity.begun and write == self.identity.durable_write:
            return
        self.identity = msgspec.structs.replace(self.identity, begun=True, durable_write=write)
        if not self._is_aside:
            _write_identity(self.disk, self.path, self.identity)

    def set_aside(self) -> None:
        """Have every node refuse this directory, durably, until `restate` was called."""
        self._is_aside = True
        with contextlib.suppress(FileNotFoundError):
            self.disk.rename(self.at(_IDENTITY), self.at(_SET_ASIDE))
        self.sync()

    def restate(self, identity: Identity) -> None:
        """Say durably whose directory it is from now on."""
        self.identity = identity
        _write_identity(self.disk, self.path, identity)
        with contextlib.suppress(FileNotFoundError):
            self.disk.unlink(self.at(_SET_ASIDE))
        self.sync()
        self._is_aside = False

    def at(self, name: str) -> str:
        """Return the path of a file in it."""
        return os.path.join(self.path, name)

    def sync(self) -> None:
        """Make the names in it durable."""
        self.disk.sync_directory(self.path)

    def read(self, name: str) -> bytes:
        """Return the content of a whole file in it."""
        return read_file(self.disk, self.at(name))

    def close(self) -> None:
        """Give it free for others; idempotent."""
        self._lock.close()


def read_file(disk: Disk, path: str) -> bytes:
    """Return the content of a whole file."""
    file = disk.open(path, "read")
    try:
        return file.read(0, file.size())
    finally:
        file.close()


def open_data_dir(
    path: str | os.PathLike[str],
    *,
    cluster: str,
    address: str,
    members: Collection[str] = (),
    joined: bool = False,
    disk: Disk | None = None,
) -> DataDir:
    """Lock the directory of the node `address` in `cluster`, made if it does not exist.

    The vote and the acknowledgements in it count among the members that its log tells of; until it
    tells any, among those in `DataDir.identity`, which are `members` if it is made now.
    `joined`: it is made for a node that is to join.

    Raises:
        DataDirBusy: another process, or another node of this one, holds it.
        DataDirForeign: it belongs to another cluster or another address.
        DataDirDamaged: it says no more to whom it belongs.
        StorageError: it cannot be made, read or written, or a later release wrote it.
    """
    disk = OsDisk() if disk is None else disk
    path = os.fspath(path)
    with explained("use the data directory", path):
        disk.make_directory(path)
        lock = disk.lock(os.path.join(path, _LOCK))
        try:
            identity = _identify(
                disk, path, cluster, address, tuple(sorted(members)), joined=joined
            )
        except BaseException:
            lock.close()
            raise
    return DataDir(path, disk, identity, lock)


def open_existing(path: str | os.PathLike[str], *, disk: Disk | None = None) -> DataDir:
    """Lock a directory that is there, whoever it belongs to, and change nothing else in it.

    Raises:
        DataDirBusy: another process, or a node of this one, holds it.
        DataDirDamaged: it says no more to whom it belongs.
        StorageError: it is none, it cannot be read, or a later release wrote it.
    """
    disk = OsDisk() if disk is None else disk
    path = os.fspath(path)
    with explained("read the data directory", path):
        names = disk.list(path)
        found = next((name for name in (_IDENTITY, _SET_ASIDE) if name in names), None)
        if found is None:
            if any(name.startswith(("log-", "snapshot-")) for name in names):
                raise _nameless(path, names)
            raise StorageError(f"{path!r} is no data directory of a node: no {_IDENTITY!r} in it")
        lock = disk.lock(os.path.join(path, _LOCK))
        try:
            identity = _parse(read_file(disk, os.path.join(path, found)), path)
        except BaseException:
            lock.close()
            raise
    return DataDir(path, disk, identity, lock, half_repaired=found == _SET_ASIDE)


def half_repaired(path: str) -> str:
    """Return what is to be said of a directory whose repair came to no end."""
    return (
        f"the repair of {path!r} came to no end; begin it again with"
        f" `syncstructs inspect {path} --repair`"
    )


def _nameless(path: str, names: Collection[str]) -> DataDirDamaged:
    found = min(name for name in names if name.startswith(("log-", "snapshot-")))
    return DataDirDamaged(
        f"{path!r} has {found!r} but no {_IDENTITY!r}, so it does not say whose it is; {REMEDY}"
    )


def _identify(
    disk: Disk, path: str, cluster: str, address: str, members: tuple[str, ...], *, joined: bool
) -> Identity:
    names = disk.list(path)
    if _IDENTITY not in names:
        if _SET_ASIDE in names:
            raise DataDirDamaged(half_repaired(path))
        if any(name.startswith(("log-", "snapshot-")) for name in names):
            raise _nameless(path, names)
        identity = Identity(
            format=_FORMAT,
            cluster=cluster,
            address=address,
            id=disk.random_bytes(8).hex(),
            members=members,
            joined=joined,
        )
        # Nothing else may be in the directory before this is durable.
        _write_identity(disk, path, identity)
        return identity
    identity = _parse(read_file(disk, os.path.join(path, _IDENTITY)), path)
    if (identity.cluster, identity.address) != (cluster, address):
        raise DataDirForeign(
            f"{path!r} belongs to node {identity.address!r} of cluster {identity.cluster!r}, not to"
            f" {address!r} of {cluster!r}; give each node a directory of its own"
        )
    if identity.format < _FORMAT:
        # From now on it may hold what a release that knows only the older format cannot read.
        identity = msgspec.structs.replace(identity, format=_FORMAT)
        _write_identity(disk, path, identity)
    return identity


def _parse(data: bytes, path: str) -> Identity:
    where = os.path.join(path, _IDENTITY)
    try:
        format_ = msgspec.json.decode(data, type=dict[str, Any])["format"]
        if isinstance(format_, int) and format_ > _FORMAT:
            raise StorageError(
                f"{path!r} has format {format_}, but this release knows up to {_FORMAT} only; run"
                " the release that wrote it"
            )
        identity = msgspec.json.decode(data, type=Identity)
    except (msgspec.MsgspecError, KeyError, UnicodeDecodeError, RecursionError) as error:
        raise DataDirDamaged(f"{where!r} is damaged ({error}); {REMEDY}") from error
    if identity.checksum != identity.sum():
        raise DataDirDamaged(f"{where!r} is damaged (its checksum is wrong); {REMEDY}")
    return identity


def _write_identity(disk: Disk, path: str, identity: Identity) -> None:
    # Also of a directory that was only opened to be repaired: what is written is of this format.
    identity = msgspec.structs.replace(identity, format=_FORMAT)
    identity = msgspec.structs.replace(identity, checksum=identity.sum())
    final = os.path.join(path, _IDENTITY)
    aside = f"{final}.new"
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(aside)
    file = disk.open(aside, "create")
    try:
        file.write(0, msgspec.json.format(msgspec.json.encode(identity)) + b"\n")
        file.sync()
    finally:
        file.close()
    disk.rename(aside, final)
    disk.sync_directory(path)
