"""Snapshots on disk: written aside, synced, renamed. A file that bears its final name is whole.

A file is a header (magic, checksum, length, and who it is) and the image. The newest two are kept:
one may be on its way to a peer while the next is made. A newest snapshot that is damaged is refused
and not passed over, as the log may have been compacted up to it.

A child process made by fork may call `save` on its copy; the parent then calls `rescan`.
"""

import contextlib
import os
import re
import struct
import zlib
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace as struct_replace

from ..errors import DataDirDamaged, StorageError
from ..raft.membership import Membership
from ..raft.messages import SnapshotMeta
from .base import Parts
from .disk import REMEDY, DataDir, File, explained

_NAME: Final = re.compile(r"snapshot-(\d{20})-(\d{20})\.image")
_ASIDE: Final = ".aside"
_INCOMING: Final = ".incoming"
_KEPT: Final = 2
_FORMAT: Final = 1
_MAGIC: Final = b"syncsnap"
_PREFIX: Final = struct.Struct(">8sII")
_PIECE_BYTES: Final = 1024 * 1024
# A header has the names of all members; a length that was damaged must not make it a gigabyte.
_HEADER_BYTES_MAX: Final = 1024 * 1024


class _Header(msgspec.Struct, frozen=True, array_like=True):
    format: int
    data_dir: str
    snapshot: SnapshotMeta
    padding: bytes = b""
    """Makes room for what is known only when the image is written."""


class _Incoming:
    """A snapshot that arrives piece by piece."""

    def __init__(self, snapshot: SnapshotMeta, name: str, file: File, begin: int) -> None:
        self.snapshot = snapshot
        self.name = name
        self.file = file
        self.begin = begin
        """Where the image begins in the file."""
        self.arrived = 0
        self.checksum = 0


class SnapshotView(NamedTuple):
    """What was found in one file of a snapshot."""

    name: str
    reaches_to: int
    """The entry at which its state was taken, by its name."""
    size_bytes: int
    """Of the file."""
    snapshot: SnapshotMeta | None
    """What it says it is; None if it does not say it any more."""
    problem: str | None
    """Why it cannot be used, None if header and image are whole."""


class DiskSnapshots:
    """A `SnapshotStore` in a data directory."""

    blocking = True

    def __init__(self, directory: DataDir, *, only_look: bool = False) -> None:
        """Look for snapshots, and remove what an earlier life left half done.

        `only_look`: do neither; the store is good for `survey` alone.

        Raises:
            DataDirDamaged: the newest snapshot is not whole.
            StorageError: the directory cannot be read or written.
        """
        self._directory = directory
        self._incoming: _Incoming | None = None
        self._kept: tuple[SnapshotMeta, ...] = ()
        """Oldest first; replaced as a whole, so that other threads may ask for the latest."""
        if only_look:
            return
        with explained("read the snapshots in", directory.path):
            self._remove_leftovers(_ASIDE, _INCOMING)
            self._kept = self._find()

    def survey(self) -> tuple[SnapshotView, ...]:
        """Look at all snapshots, oldest first, their images too; change nothing.

        Raises:
            StorageError: the directory cannot be read, or a later release wrote one of them.
        """
        with explained("read the snapshots in", self._directory.path):
            names = self._directory.disk.list(self._directory.path)
            return tuple(self._view(name) for name in sorted(filter(_NAME.fullmatch, names)))

    def _view(self, name: str) -> SnapshotView:
        file = self._directory.disk.open(self._directory.at(name), "read")
        try:
            size_bytes = file.size()
        finally:
            file.close()
        snapshot, match = None, _NAME.fullmatch(name)
        assert match is not None, name
        index = int(match[1])
        try:
            snapshot = self._inspect(name)
            self._kept = (snapshot,)
            self._verify(snapshot)
        except DataDirDamaged as error:
            return SnapshotView(name, index, size_bytes, snapshot, str(error))
        finally:
            self._kept = ()
        return SnapshotView(name, index, size_bytes, snapshot, None)

    def latest(self) -> SnapshotMeta | None:
        """Return the newest whole snapshot, or None; callable from any thread."""
        kept = self._kept
        return kept[-1] if kept else None

    def rescan(self) -> SnapshotMeta | None:
        """Return the newest whole snapshot after a child has written one, or failed to."""
        with explained("read the snapshots in", self._directory.path):
            self._remove_leftovers(_ASIDE)
            self._kept = self._find()
        return self.latest()

    def save(
        self, index: int, term: int, time: int, membership: Membership, image: Iterable[bytes]
    ) -> SnapshotMeta:
        """Persist an image as the snapshot that reaches to `index`, and prune older ones.

        Raises:
            StorageError: the disk failed or is full; nothing of it is left. Nor is it if the image
                raises.
        """
        # What it will be is known at the end; these are the largest numbers.
        draft = SnapshotMeta(index, term, time, 2**64 - 1, 2**32 - 1, membership)
        # Parent and child may both be at it.
        aside = f"{_name(draft)}.{os.getpid()}{_ASIDE}"
        with explained("write a snapshot to", self._directory.path):
            try:
                file = self._begin(aside, draft)
                try:
                    begin = at = file.size()
                    checksum = 0
                    for part in image:
                        file.write(at, part)
                        checksum = zlib.crc32(part, checksum)
                        at += len(part)
                    snapshot = struct_replace(draft, size_bytes=at - begin, checksum=checksum)
                    file.write(0, self._header(snapshot, begin))
                    file.sync()
                finally:
                    file.close()
                self._adopt(aside, snapshot)
            except Exception:
                self._remove(aside)
                raise
        return snapshot

    def draft(self) -> "_Draft":
        """Return what a child of a fork writes; it opens the files that it needs by itself."""
        return _Draft(self)

    def load(self, snapshot: SnapshotMeta) -> Iterable[bytes]:
        """Verify the checksum of the image, then return it in parts, read as they are taken.

        Raises:
            DataDirDamaged: it is not what was written.
            StorageError: it cannot be read, or is not kept any more. Also while the parts are
                taken.
        """
        self._verify(snapshot)
        return Parts(partial(self._parts, snapshot))

    def _verify(self, snapshot: SnapshotMeta) -> None:
        checksum = 0
        for part in self._parts(snapshot):
            checksum = zlib.crc32(part, checksum)
        if checksum != snapshot.checksum:
            raise self._damaged(_name(snapshot), "its checksum is wrong")

    def _parts(self, snapshot: SnapshotMeta) -> Iterator[bytes]:
        for offset in range(0, snapshot.size_bytes, _PIECE_BYTES):
            size = min(_PIECE_BYTES, snapshot.size_bytes - offset)
            part = self._read(snapshot, offset, size)
            if part is None:
                raise StorageError(f"the snapshot at entry {snapshot.index} is not kept any more")
            if len(part) != size:
                raise self._damaged(_name(snapshot), "it is cut off")
            yield part

    def read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        """Return a piece of the image, or None if the snapshot has been pruned meanwhile."""
        left = max(0, snapshot.size_bytes - offset)
        return self._read(snapshot, offset, min(size, left))

    # Receiving

    def write(self, snapshot: SnapshotMeta, offset: int, data: bytes) -> int:
        """Keep a received piece; return the offset wanted next (unchanged if `offset` is off).

        A piece of another snapshot takes the place of what arrived before. The offset survives as
        long as the process does.

        Raises:
            StorageError: the disk failed or is full; what had arrived is gone.
        """
        with explained("write a received snapshot to", self._directory.path):
            try:
                incoming = self._incoming
                if incoming is None or incoming.snapshot != snapshot:
                    self._drop_incoming()
                    name = f"{_name(snapshot)}{_INCOMING}"
                    file = self._begin(name, snapshot)
                    incoming = _Incoming(snapshot, name, file, file.size())
                    self._incoming = incoming
                fits = offset + len(data) <= snapshot.size_bytes
                if offset == incoming.arrived and fits:
                    incoming.file.write(incoming.begin + offset, data)
                    incoming.checksum = zlib.crc32(data, incoming.checksum)
                    incoming.arrived += len(data)
                return incoming.arrived
            except OSError:
                self._drop_incoming()
                raise

    def finish(self, snapshot: SnapshotMeta) -> bool:
        """Verify the received image and persist it; False (and nothing kept) if it is corrupt.

        Raises:
            StorageError: the disk failed or is full; nothing of it is left.
        """
        incoming = self._incoming
        if incoming is None or incoming.snapshot != snapshot:
            return False
        arrived = incoming.arrived, incoming.checksum
        with explained("write a received snapshot to", self._directory.path):
            try:
                if arrived != (snapshot.size_bytes, snapshot.checksum):
                    return False
                incoming.file.sync()
                incoming.file.close()
                self._incoming = None
                self._adopt(incoming.name, snapshot)
                return True
            except OSError:
                self._remove(incoming.name)
                raise
            finally:
                self._drop_incoming()

    def close(self) -> None:
        """Drop what arrived in part; idempotent."""
        self._drop_incoming()

    # Files

    def _begin(self, name: str, snapshot: SnapshotMeta) -> File:
        """Return a new file with the header of `snapshot`; the image goes behind it."""
        self._remove(name)
        file = self._directory.disk.open(self._directory.at(name), "create")
        try:
            file.write(0, self._header(snapshot))
        except OSError:
            file.close()
            self._remove(name)
            raise
        return file

    def _header(self, snapshot: SnapshotMeta, size_bytes: int = 0) -> bytes:
        """Return what stands before an image, made as long as `size_bytes` if it is shorter."""
        header = _Header(_FORMAT, self._directory.identity.id, snapshot)
        payload = msgspec.msgpack.encode(header)
        if missing := max(0, size_bytes - _PREFIX.size - len(payload)):
            payload = msgspec.msgpack.encode(struct_replace(header, padding=bytes(missing)))
        return _PREFIX.pack(_MAGIC, zlib.crc32(payload), len(payload)) + payload

    def _adopt(self, name: str, snapshot: SnapshotMeta) -> None:
        """Give a synced file its final name, and forget all but the newest snapshots."""
        disk, at = self._directory.disk, self._directory.at
        disk.rename(at(name), at(_name(snapshot)))
        try:
            self._directory.sync()
        except OSError:
            if all(known.id != snapshot.id for known in self._kept):
                self._remove(_name(snapshot))
            raise
        kept = [*(known for known in self._kept if known.id != snapshot.id), snapshot]
        kept.sort(key=lambda known: known.id)
        # The list first: who reads in between is told that the file is gone.
        self._kept = tuple(kept[-_KEPT:])
        for known in kept[:-_KEPT]:
            self._remove(_name(known))

    def _find(self) -> tuple[SnapshotMeta, ...]:
        """Return the newest snapshots; files of older ones, left by a crash, are removed.

        A process that died may not have synced the names it gave. They are made durable first, or
        a power cut could take the new snapshots after the older ones were removed.
        """
        self._directory.sync()
        names = sorted(filter(_NAME.fullmatch, self._directory.disk.list(self._directory.path)))
        # The newest first: if that is refused, nothing is to have changed.
        kept = [self._inspect(name) for name in names[-1:]]
        for name in names[-_KEPT:-1]:
            try:
                kept.insert(0, self._inspect(name))
            except DataDirDamaged:
                # The newest one and the log make it dispensable.
                self._remove(name)
        for name in names[:-_KEPT]:
            self._remove(name)
        return tuple(kept)

    def _inspect(self, name: str) -> SnapshotMeta:
        """Return what a file says it is; only its image is not looked at."""
        file = self._directory.disk.open(self._directory.at(name), "read")
        try:
            snapshot, begin = self._parse(name, file)
            if file.size() != begin + snapshot.size_bytes or _name(snapshot) != name:
                raise self._damaged(name, f"it should hold {snapshot.size_bytes} bytes of image")
        finally:
            file.close()
        return snapshot

    def _parse(self, name: str, file: File) -> tuple[SnapshotMeta, int]:
        prefix = file.read(0, _PREFIX.size)
        if len(prefix) < _PREFIX.size:
            raise self._damaged(name, "its header is cut off")
        magic, checksum, length = _PREFIX.unpack(prefix)
        payload = file.read(_PREFIX.size, min(length, _HEADER_BYTES_MAX))
        if magic != _MAGIC or checksum != zlib.crc32(payload):
            raise self._damaged(name, "its header is bad")
        try:
            format_ = msgspec.msgpack.decode(payload)[0]
            if isinstance(format_, int) and format_ > _FORMAT:
                raise StorageError(
                    f"{self._directory.at(name)!r} has format {format_}, but this release knows up"
                    f" to {_FORMAT} only; run the release that wrote it"
                )
            header = msgspec.msgpack.decode(payload, type=_Header)
        except (msgspec.MsgspecError, LookupError, TypeError, ValueError, RecursionError) as error:
            raise self._damaged(name, f"its header has no meaning: {error}") from error
        if header.data_dir != self._directory.identity.id:
            raise self._damaged(name, "it is the file of another directory")
        return header.snapshot, _PREFIX.size + length

    def _read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        if snapshot not in self._kept:
            return None
        name = _name(snapshot)
        with explained("read the snapshot", self._directory.at(name)):
            try:
                file = self._directory.disk.open(self._directory.at(name), "read")
            except FileNotFoundError:
                return None  # a child pruned it
            try:
                found, begin = self._parse(name, file)
                return file.read(begin + offset, size) if found == snapshot else None
            finally:
                file.close()

    def _remove(self, name: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._directory.disk.unlink(self._directory.at(name))

    def _remove_leftovers(self, *endings: str) -> None:
        for name in self._directory.disk.list(self._directory.path):
            if name.startswith("snapshot-") and name.endswith(endings):
                self._remove(name)

    def _drop_incoming(self) -> None:
        incoming, self._incoming = self._incoming, None
        if incoming is not None:
            with contextlib.suppress(OSError):
                incoming.file.close()
                self._remove(incoming.name)

    def _damaged(self, name: str, what: str) -> DataDirDamaged:
        return DataDirDamaged(
            f"the snapshot {self._directory.at(name)!r} is damaged: {what}; the log before it may"
            f" have been removed, so it is not passed over; {REMEDY}"
        )

    def _check(self) -> None:
        """Assert what holds between two calls."""
        assert list(self._kept) == sorted(self._kept, key=lambda known: known.id)
        assert len(self._kept) <= _KEPT, self._kept
        incoming = self._incoming
        assert incoming is None or incoming.arrived <= incoming.snapshot.size_bytes


class _Draft:
    """A snapshot that is saved by a copy of the store in a child."""

    files: tuple[int, ...] = ()

    def __init__(self, store: DiskSnapshots) -> None:
        self._store = store

    def write(
        self, index: int, term: int, time: int, membership: Membership, image: Iterable[bytes]
    ) -> SnapshotMeta:
        """Persist an image; see `DiskSnapshots.save`."""
        return self._store.save(index, term, time, membership, image)

    def adopt(self, snapshot: SnapshotMeta) -> SnapshotMeta:
        """Look at the directory again, where a child has written this one.

        A newer one may have arrived, which this member has not taken over yet, or never will.

        Raises:
            StorageError: it is not there.
        """
        found = self._store.rescan()
        if found is None or found.index < snapshot.index:
            raise StorageError(f"the snapshot at entry {snapshot.index} has vanished")
        kept = {known.id: known for known in self._store._kept}
        return kept.get(snapshot.id, snapshot)

    def drop(self) -> None:
        """Remove what a child has left half done."""
        self._store.rescan()


def _name(snapshot: SnapshotMeta) -> str:
    return f"snapshot-{snapshot.index:020d}-{snapshot.term:020d}.image"
