"""Stores of a member without a disk: nothing blocks, and nothing survives its process.

The log is in memory; where images are, whoever makes the store says: in memory, or in files without
a name.
"""

import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from io import BytesIO, UnsupportedOperation
from typing import IO, Final, NamedTuple

from ..errors import DataDirDamaged, StorageError
from ..raft.effects import Append
from ..raft.membership import Membership
from ..raft.messages import EntryId, HardState, Restored, SnapshotMeta
from .base import Parts
from .replay import Piece, Replay

_PIECE_BYTES: Final = 1024 * 1024
_KEPT: Final = 2


class MemoryLog:
    """A `LogStore` in memory.

    `lasting`: it outlives the node, as in a simulation, and counts as a disk.
    """

    blocking = False

    def __init__(self, *, lasting: bool = False) -> None:
        self._lasting = lasting
        self._log = Replay(EntryId(0, 0), HardState())

    def load(self, snapshot: SnapshotMeta | None) -> Restored:
        """Return what was appended and `snapshot` does not cover.

        Raises:
            DataDirDamaged: entries are missing between `snapshot` and the first one kept.
        """
        try:
            entries = self._log.after(snapshot)
        except ValueError as error:
            raise DataDirDamaged(str(error)) from error
        if snapshot is not None and entries is None:
            # The log is older than the snapshot: it begins anew behind it.
            self._log.apply(Piece(reset=snapshot))
        return Restored(
            self._log.hard_state, snapshot, tuple(entries or ()),
            blank=self._log.is_blank, lasting=self._lasting,
        )  # fmt: skip

    def append(self, appends: Sequence[Append]) -> None:
        """Take over all of `appends` in order."""
        for append in appends:
            try:
                self._log.apply(Piece(append.reset, append.hard_state, append.entries))
            except ValueError as error:
                raise AssertionError(f"ticket {append.ticket}: {error}") from error

    def compact(self, index: int) -> None:
        """Forget entries up to `index`."""
        self._log.compact(index)

    def close(self) -> None:
        """Have nothing to release."""

    def _check(self) -> None:
        self._log._check()


class _Kept(NamedTuple):
    snapshot: SnapshotMeta
    file: IO[bytes]


def in_memory(size_bytes: int) -> IO[bytes]:
    """Return a file that is nowhere but in the memory of this process."""
    return BytesIO()


class MemorySnapshots:
    """A `SnapshotStore` that keeps the newest two for as long as the process lives.

    `new_file(size_bytes)`: where an image of that size is to be kept. `lasting`: it outlives the
    node, as in a simulation.
    """

    blocking = False

    def __init__(
        self, new_file: Callable[[int], IO[bytes]] = in_memory, *, lasting: bool = False
    ) -> None:
        self._new_file = new_file
        self._lasting = lasting
        self._kept: list[_Kept] = []
        self._incoming: _Kept | None = None

    def latest(self) -> SnapshotMeta | None:
        """Return the newest snapshot, or None."""
        return self._kept[-1].snapshot if self._kept else None

    def save(
        self, index: int, term: int, time: int, membership: Membership, image: Iterable[bytes]
    ) -> SnapshotMeta:
        """Keep an image, and forget all but the newest two."""
        parts = list(image)
        draft = _Draft(self, self._new_file(sum(map(len, parts))))
        return draft.adopt(draft.write(index, term, time, membership, parts))

    def draft(self) -> "_Draft | None":
        """Return what a child can write to; None if that would be memory of its own."""
        file = self._new_file(2**63)
        try:
            return _Draft(self, file, (file.fileno(),))
        except UnsupportedOperation:
            return None

    def load(self, snapshot: SnapshotMeta) -> Iterable[bytes]:
        """Return the image in parts.

        Raises:
            StorageError: it is not kept any more. Also while the parts are taken.
        """
        if self._find(snapshot) is None:
            raise _not_kept(snapshot)
        return Parts(partial(self._parts, snapshot))

    def _parts(self, snapshot: SnapshotMeta) -> Iterator[bytes]:
        for offset in range(0, snapshot.size_bytes, _PIECE_BYTES):
            part = self._read(snapshot, offset, _PIECE_BYTES)
            if part is None:
                raise _not_kept(snapshot)
            yield part

    def read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        """Return a piece of the image, or None if the snapshot has been pruned meanwhile."""
        return self._read(snapshot, offset, size)

    def _read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        file = self._find(snapshot)
        if file is None:
            return None
        file.seek(offset)
        return file.read(size)

    def write(self, snapshot: SnapshotMeta, offset: int, data: bytes) -> int:
        """Keep a received piece; return the offset wanted next (unchanged if `offset` is off)."""
        if self._incoming is None or self._incoming.snapshot != snapshot:
            self._drop_incoming()
            self._incoming = _Kept(snapshot, self._new_file(snapshot.size_bytes))
        file = self._incoming.file
        arrived = file.seek(0, os.SEEK_END)
        if offset == arrived and offset + len(data) <= snapshot.size_bytes:
            with _explained():
                file.write(data)
            arrived += len(data)
        return arrived

    def finish(self, snapshot: SnapshotMeta) -> bool:
        """Keep the received image if it is whole; False (and nothing kept) if it is corrupt."""
        incoming = self._incoming
        if incoming is None or incoming.snapshot != snapshot:
            return False
        if _measured(incoming.file) != (snapshot.size_bytes, snapshot.checksum):
            self._drop_incoming()
            return False
        self._incoming = None
        self._keep(incoming)
        return True

    def close(self) -> None:
        """Drop what arrived in part, and the rest if it is not lasting; idempotent."""
        self._drop_incoming()
        while self._kept and not self._lasting:
            self._kept.pop().file.close()

    def _find(self, snapshot: SnapshotMeta) -> IO[bytes] | None:
        return next((kept.file for kept in self._kept if kept.snapshot == snapshot), None)

    def _keep(self, new: _Kept) -> None:
        same = [kept for kept in self._kept if kept.snapshot.id == new.snapshot.id]
        others = [kept for kept in self._kept if kept.snapshot.id != new.snapshot.id]
        ordered = sorted([*others, new], key=lambda kept: kept.snapshot.id)
        self._kept = ordered[-_KEPT:]
        for kept in (*same, *ordered[:-_KEPT]):
            kept.file.close()

    def _drop_incoming(self) -> None:
        if self._incoming is not None:
            self._incoming.file.close()
            self._incoming = None

    def _check(self) -> None:
        assert len(self._kept) <= _KEPT
        for snapshot, file in self._kept:
            assert _measured(file) == (snapshot.size_bytes, snapshot.checksum)


class _Draft:
    """An image that is being written to a file without a name."""

    def __init__(
        self, store: MemorySnapshots, file: IO[bytes], files: tuple[int, ...] = ()
    ) -> None:
        self.files = files
        self._store = store
        self._file = file

    def write(
        self, index: int, term: int, time: int, membership: Membership, image: Iterable[bytes]
    ) -> SnapshotMeta:
        """Write an image."""
        size_bytes = checksum = 0
        for part in image:
            with _explained():
                self._file.write(part)
            checksum = zlib.crc32(part, checksum)
            size_bytes += len(part)
        with _explained():
            self._file.flush()
        return SnapshotMeta(index, term, time, size_bytes, checksum, membership)

    def adopt(self, snapshot: SnapshotMeta) -> SnapshotMeta:
        """Keep what was written, and forget all but the newest two."""
        self._store._keep(_Kept(snapshot, self._file))
        return snapshot

    def drop(self) -> None:
        """Forget what was written."""
        self._file.close()


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"an image cannot be written to a temporary file: {error}; set TMPDIR to where there is"
            " room for it"
        ) from error


def _measured(file: IO[bytes]) -> tuple[int, int]:
    """Return size and checksum of what is in a file."""
    size_bytes = checksum = file.seek(0)
    while part := file.read(_PIECE_BYTES):
        size_bytes += len(part)
        checksum = zlib.crc32(part, checksum)
    return size_bytes, checksum


def _not_kept(snapshot: SnapshotMeta) -> StorageError:
    return StorageError(f"the snapshot at entry {snapshot.index} is not kept any more")
