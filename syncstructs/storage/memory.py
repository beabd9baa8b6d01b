"""Stores that keep everything in this process: nothing blocks, and nothing survives it."""

import zlib
from collections.abc import Sequence

from ..errors import DataDirDamaged, StorageError
from ..raft.effects import Append
from ..raft.membership import Membership
from ..raft.messages import EntryId, HardState, Restored, SnapshotMeta
from .replay import Piece, Replay


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


class MemorySnapshots:
    """A `SnapshotStore` in memory; keeps the newest two."""

    blocking = False

    def __init__(self) -> None:
        self._kept: list[tuple[SnapshotMeta, bytes]] = []
        self._incoming: tuple[SnapshotMeta, bytearray] | None = None

    def latest(self) -> SnapshotMeta | None:
        """Return the newest snapshot, or None."""
        return self._kept[-1][0] if self._kept else None

    def save(
        self, index: int, term: int, time: int, membership: Membership, image: bytes
    ) -> SnapshotMeta:
        """Keep `image`, and forget all but the newest two."""
        checksum = zlib.crc32(image)
        snapshot = SnapshotMeta(index, term, time, len(image), checksum, membership)
        self._keep(snapshot, image)
        return snapshot

    def load(self, snapshot: SnapshotMeta) -> bytes:
        """Return the image.

        Raises:
            StorageError: it is not kept any more.
        """
        image = self._find(snapshot)
        if image is None:
            raise StorageError(f"the snapshot at entry {snapshot.index} is not kept any more")
        return image

    def read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        """Return a piece of the image, or None if the snapshot has been pruned meanwhile."""
        image = self._find(snapshot)
        return None if image is None else image[offset : offset + size]

    def write(self, snapshot: SnapshotMeta, offset: int, data: bytes) -> int:
        """Keep a received piece; return the offset wanted next (unchanged if `offset` is off)."""
        if self._incoming is None or self._incoming[0] != snapshot:
            self._incoming = (snapshot, bytearray())
        arrived = self._incoming[1]
        if offset == len(arrived) and offset + len(data) <= snapshot.size_bytes:
            arrived += data
        return len(arrived)

    def finish(self, snapshot: SnapshotMeta) -> bool:
        """Keep the received image if it is whole; False (and nothing kept) if it is corrupt."""
        if self._incoming is None or self._incoming[0] != snapshot:
            return False
        image = bytes(self._incoming[1])
        self._incoming = None
        if len(image) != snapshot.size_bytes or zlib.crc32(image) != snapshot.checksum:
            return False
        self._keep(snapshot, image)
        return True

    def close(self) -> None:
        """Drop what arrived in part; idempotent."""
        self._incoming = None

    def _find(self, snapshot: SnapshotMeta) -> bytes | None:
        return next((image for known, image in self._kept if known == snapshot), None)

    def _keep(self, snapshot: SnapshotMeta, image: bytes) -> None:
        kept = [pair for pair in self._kept if pair[0].id != snapshot.id]
        self._kept = sorted([*kept, (snapshot, image)], key=lambda pair: pair[0].id)[-2:]

    def _check(self) -> None:
        assert len(self._kept) <= 2
        for snapshot, image in self._kept:
            assert (len(image), zlib.crc32(image)) == (snapshot.size_bytes, snapshot.checksum)
