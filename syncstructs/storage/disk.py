"""The few calls on a file system that the stores make, and who owns a data directory."""

import errno
import fcntl
import json
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from ..errors import DataDirBusy, DataDirDamaged, DataDirForeign, StorageError

FORMAT = 1
_IDENTITY = "IDENTITY"
_LOCK = "LOCK"


class File(Protocol):
    """An open file. Writing appends."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`."""

    def write(self, data: bytes) -> None:
        """Append all of `data`."""

    def sync(self) -> None:
        """Return when all that was written is durable."""

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes; appending goes on there."""

    def size(self) -> int:
        """Return the size in bytes."""

    def close(self) -> None:
        """Close; idempotent."""


class Disk(Protocol):
    """One directory of files, flat. Every method raises `OSError` as the system does."""

    @property
    def path(self) -> str:
        """How the directory is called in messages."""

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""

    def open(self, name: str, *, create: bool = False) -> File:
        """Open a file; `create` makes it, and fails if it is there."""

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what bears it."""

    def remove(self, name: str) -> None:
        """Remove a file; it may be gone already."""

    def sync_names(self) -> None:
        """Return when creations, renames and removals are durable."""


class OsFile:
    """A file of the operating system."""

    def __init__(self, path: str, flags: int) -> None:
        self._fd = os.open(path, flags | os.O_CLOEXEC, 0o600)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`."""
        pieces = []
        while size > 0 and (piece := os.pread(self._fd, min(size, 1 << 30), offset)):
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return b"".join(pieces)

    def write(self, data: bytes) -> None:
        """Append all of `data`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]

    def sync(self) -> None:
        """Return when data and size are durable."""
        getattr(os, "fdatasync", os.fsync)(self._fd)

    def truncate(self, size: int) -> None:
        """Cut the file to `size` bytes."""
        os.ftruncate(self._fd, size)

    def size(self) -> int:
        """Return the size in bytes."""
        return os.fstat(self._fd).st_size

    def close(self) -> None:
        """Close; idempotent."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class OsDisk:
    """A directory of the operating system; opens by path, so a forked child can use it too."""

    def __init__(self, path: str) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Return the names of all files, sorted."""
        return sorted(os.listdir(self.path))

    def open(self, name: str, *, create: bool = False) -> OsFile:
        """Open a file to read and append."""
        flags = os.O_RDWR | os.O_APPEND | (os.O_CREAT | os.O_EXCL if create else 0)
        return OsFile(os.path.join(self.path, name), flags)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, replacing what bears it."""
        os.replace(os.path.join(self.path, old), os.path.join(self.path, new))

    def remove(self, name: str) -> None:
        """Remove a file; it may be gone already."""
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, name))

    def sync_names(self) -> None:
        """Return when creations, renames and removals are durable."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class DataDir:
    """A data directory that this node owns until `close`."""

    def __init__(self, disk: Disk, identity: dict[str, object], release: Callable[[], None]):
        self.disk = disk
        self._identity = identity
        self._release = release

    @property
    def id(self) -> str:
        """A name of this directory that no other has."""
        return str(self._identity["id"])

    @property
    def fresh(self) -> bool:
        """Whether no log was ever begun here."""
        return not self._identity["begun"]

    def begin(self) -> None:
        """Note durably that the log has begun: from here on its absence is damage."""
        self._identity["begun"] = True
        _write_identity(self.disk, self._identity)

    def close(self) -> None:
        """Let others have the directory; idempotent."""
        self._release()


def open_data_dir(
    path: str,
    *,
    cluster: str,
    address: str,
    disk: Callable[[str], Disk] = OsDisk,
) -> DataDir:
    """Take possession of the directory at `path`; it is made if it is not there.

    Raises:
        DataDirBusy: another process holds it.
        DataDirForeign: it belongs to another cluster or node, or holds other things.
        DataDirDamaged: its identity cannot be read, or is of a later version.
        StorageError: it cannot be made, read or written.
    """
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
        release = _lock(path)
    except OSError as error:
        if isinstance(error, StorageError):
            raise
        raise storage_error(f"data_dir {path!r} cannot be used", error) from error
    try:
        found = disk(path)
        return DataDir(found, _identify(found, cluster, address), release)
    except OSError as error:
        release()
        if isinstance(error, StorageError):
            raise
        raise storage_error(f"data_dir {path!r} cannot be used", error) from error
    except BaseException:
        release()
        raise


def storage_error(what: str, error: OSError) -> StorageError:
    """Return `error` as one sentence, with the remedy where there is a plain one."""
    remedy = {
        errno.ENOSPC: "the disk is full; free some space and start the node again",
        errno.EDQUOT: "the quota is used up; free some space and start the node again",
        errno.EACCES: "permission denied; let this user read and write it",
        errno.EPERM: "permission denied; let this user read and write it",
        errno.EROFS: "the file system is read-only",
        errno.ENOTDIR: "it is not a directory",
        errno.EEXIST: "it is not a directory",
        errno.EIO: "the disk reports an input/output error; do not trust it any more",
    }.get(error.errno or 0, error.strerror or str(error))
    return StorageError(f"{what}: {remedy}")


def _lock(path: str) -> Callable[[], None]:
    fd = os.open(os.path.join(path, _LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise DataDirBusy(
            f"data_dir {path!r} is in use by process {holder}; give each node its own directory"
        ) from None
    os.ftruncate(fd, 0)
    os.pwrite(fd, str(os.getpid()).encode(), 0)
    held = [fd]

    def release() -> None:
        # Closing gives the lock back. The file stays: removing it would let two in at once.
        if held:
            os.close(held.pop())

    return release


def _identify(disk: Disk, cluster: str, address: str) -> dict[str, object]:
    names = disk.names()
    if _IDENTITY not in names:
        strange = [name for name in names if name not in (_LOCK, f"{_IDENTITY}.new")]
        if strange:
            raise DataDirForeign(
                f"data_dir {disk.path!r} holds {strange[0]!r} but no {_IDENTITY}: it is no data"
                " directory; name an empty one"
            )
        identity: dict[str, object] = {
            "format": FORMAT, "cluster": cluster, "address": address,
            "id": secrets.token_hex(16), "begun": False,
        }  # fmt: skip
        _write_identity(disk, identity)
        return identity
    identity = _read_identity(disk)
    for field, mine in (("cluster", cluster), ("address", address)):
        if identity[field] != mine:
            raise DataDirForeign(
                f"data_dir {disk.path!r} belongs to {field} {identity[field]!r}, this node's is"
                f" {mine!r}; name its own directory"
            )
    return identity


def _read_identity(disk: Disk) -> dict[str, object]:
    file = disk.open(_IDENTITY)
    try:
        identity = json.loads(file.read(0, 65536))
        version = identity["format"]
        whole = all(isinstance(identity[key], str) for key in ("cluster", "address", "id"))
        whole = whole and isinstance(identity["begun"], bool)
    except (ValueError, KeyError, TypeError):
        version, whole = FORMAT, False
    finally:
        file.close()
    if version != FORMAT:
        raise DataDirDamaged(
            f"data_dir {disk.path!r} is of format {version!r}, this version reads {FORMAT};"
            " start it with the version that wrote it"
        )
    if not whole:
        raise DataDirDamaged(
            f"{_IDENTITY} in data_dir {disk.path!r} is damaged; restore the directory, or start"
            " this member with an empty one"
        )
    return dict(identity)


def _write_identity(disk: Disk, identity: dict[str, object]) -> None:
    temporary = f"{_IDENTITY}.new"
    disk.remove(temporary)
    file = disk.open(temporary, create=True)
    try:
        file.write(json.dumps(identity, indent=1).encode() + b"\n")
        file.sync()
    finally:
        file.close()
    disk.rename(temporary, _IDENTITY)
    disk.sync_names()
