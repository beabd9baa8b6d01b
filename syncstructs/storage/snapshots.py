"""Snapshots on disk: written aside, synced, renamed; read by piece; received by piece."""

import os
import re
import zlib

import msgspec

from ..errors import DataDirDamaged, StorageError
from ..raft.messages import SnapshotMeta
from .disk import DataDir, File, storage_error
from .records import HEADER_BYTES, frame, scan

FORMAT = 1
_NAME = re.compile(r"snapshot-(\d{20})-(\d{20})")
_ASIDE = "aside-"
_KEEP = 2
_PIECE_BYTES = 4 * 1024 * 1024


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """The record at the start of a snapshot's file; the image follows it as it is."""

    format: int
    meta: SnapshotMeta


_decode_header = msgspec.msgpack.Decoder(_Header).decode


class DiskSnapshots:
    """A `SnapshotStore` in a data directory; keeps the newest two.

    `save` may be called in a forked child; the parent then learns of it by `rescan`.
    """

    blocking = True

    def __init__(self, directory: DataDir) -> None:
        self._disk = directory.disk
        self._salt = zlib.crc32(directory.id.encode())
        self._incoming: _Incoming | None = None
        self._known: list[SnapshotMeta] = []
        try:
            for name in self._disk.names():
                if name.startswith(_ASIDE):
                    self._disk.remove(name)
        except OSError as error:
            raise storage_error(f"snapshots in {self._disk.path!r}", error) from error
        self.rescan()

    def latest(self) -> SnapshotMeta | None:
        """Return the newest snapshot, or None."""
        return self._known[-1] if self._known else None

    def rescan(self) -> SnapshotMeta | None:
        """Look at the directory again, prune it, and return the newest snapshot.

        Raises:
            DataDirDamaged: the newest snapshot's header is damaged.
        """
        try:
            names = sorted(name for name in self._disk.names() if _NAME.fullmatch(name))
            for name in names[:-_KEEP]:
                self._disk.remove(name)
            self._known = [self._read_meta(name) for name in names[-_KEEP:]]
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise storage_error(f"snapshots in {self._disk.path!r}", error) from error
        return self.latest()

    def save(self, index: int, term: int, time: int, image: bytes) -> SnapshotMeta:
        """Persist `image` as the snapshot that reaches to `index`, and prune older ones.

        Raises:
            StorageError: the disk is full or failed; older snapshots are untouched.
        """
        meta = SnapshotMeta(index, term, time, len(image), zlib.crc32(image))
        aside = f"{_ASIDE}{os.getpid()}"
        try:
            file = self._begin(aside, meta)
            try:
                for offset in range(0, len(image), _PIECE_BYTES):
                    file.write(image[offset : offset + _PIECE_BYTES])
                file.sync()
            finally:
                file.close()
            self._adopt(aside, meta)
        except OSError as error:
            self._discard(aside)
            raise storage_error(
                f"a snapshot cannot be written to {self._disk.path!r}", error
            ) from error
        self.rescan()
        return meta

    def load(self, snapshot: SnapshotMeta) -> bytes:
        """Return the image, its checksum verified.

        Raises:
            DataDirDamaged: the image is not what was written.
        """
        image = self.read(snapshot, 0, snapshot.size_bytes)
        if image is None or zlib.crc32(image) != snapshot.checksum:
            raise DataDirDamaged(
                f"{self._disk.path}/{_name(snapshot)} is damaged, and the log before it may be"
                " gone; restore the file, or let this member start anew with an empty directory"
                " and another address"
            )
        return image

    def read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        """Return a piece of the image, or None if the snapshot has been pruned.

        Raises:
            StorageError: the file cannot be read.
        """
        try:
            file = self._disk.open(_name(snapshot))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise storage_error(f"{self._disk.path}/{_name(snapshot)}", error) from error
        try:
            return file.read(self._image_at(snapshot) + offset, size)
        except OSError as error:
            raise storage_error(f"{self._disk.path}/{_name(snapshot)}", error) from error
        finally:
            file.close()

    # Receiving

    def write(self, snapshot: SnapshotMeta, offset: int, data: bytes) -> int:
        """Keep a received piece; return the offset wanted next.

        Raises:
            StorageError: the disk is full or failed; the piece is not kept.
        """
        try:
            if self._incoming is None or self._incoming.meta != snapshot:
                self._drop_incoming()
                name = f"{_ASIDE}incoming"
                self._incoming = _Incoming(snapshot, name, self._begin(name, snapshot))
            if offset == self._incoming.size:
                self._incoming.file.write(data)
                self._incoming.size += len(data)
            return self._incoming.size
        except OSError as error:
            self._drop_incoming()
            raise storage_error(
                f"a received snapshot cannot be written to {self._disk.path!r}", error
            ) from error

    def finish(self, snapshot: SnapshotMeta) -> bool:
        """Verify the received image and persist it; False (and nothing kept) if it is corrupt.

        Raises:
            StorageError: the disk is full or failed.
        """
        incoming = self._incoming
        if incoming is None or incoming.meta != snapshot:
            return False
        try:
            image = incoming.file.read(self._image_at(snapshot), snapshot.size_bytes + 1)
            if len(image) != snapshot.size_bytes or zlib.crc32(image) != snapshot.checksum:
                self._drop_incoming()
                return False
            incoming.file.sync()
            incoming.file.close()
            self._incoming = None
            self._adopt(incoming.name, snapshot)
        except OSError as error:
            self._drop_incoming()
            raise storage_error(
                f"a received snapshot cannot be written to {self._disk.path!r}", error
            ) from error
        self.rescan()
        return True

    def close(self) -> None:
        """Close files; idempotent."""
        if self._incoming is not None:
            self._incoming.file.close()
            self._incoming = None

    # Files

    def _begin(self, name: str, meta: SnapshotMeta) -> File:
        self._disk.remove(name)
        file = self._disk.open(name, create=True)
        file.write(self._header(meta))
        return file

    def _header(self, meta: SnapshotMeta) -> bytes:
        return frame(msgspec.msgpack.encode(_Header(FORMAT, meta)), self._salt)

    def _image_at(self, meta: SnapshotMeta) -> int:
        return len(self._header(meta))

    def _adopt(self, aside: str, meta: SnapshotMeta) -> None:
        self._disk.rename(aside, _name(meta))
        self._disk.sync_names()

    def _discard(self, name: str) -> None:
        # Best effort on a disk that just failed: leftovers are removed at the next start.
        try:
            self._disk.remove(name)
        except OSError:
            return

    def _drop_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            incoming.file.close()
            self._discard(incoming.name)

    def _read_meta(self, name: str) -> SnapshotMeta:
        file: File = self._disk.open(name)
        try:
            found = scan(file.read(0, HEADER_BYTES + 256), 0, self._salt)
            header = _decode_header(found.payloads[0]) if found.payloads else None
        except msgspec.DecodeError:
            header = None
        finally:
            file.close()
        if header is None or header.format != FORMAT or _name(header.meta) != name:
            raise DataDirDamaged(
                f"{self._disk.path}/{name} has a damaged header or is not of format {FORMAT};"
                " restore the file from a copy"
            )
        return header.meta


class _Incoming:
    """A snapshot that is being received."""

    __slots__ = ("file", "meta", "name", "size")

    def __init__(self, meta: SnapshotMeta, name: str, file: File) -> None:
        self.meta = meta
        self.name = name
        self.file = file
        self.size = 0


def _name(meta: SnapshotMeta) -> str:
    return f"snapshot-{meta.index:020}-{meta.term:020}"
