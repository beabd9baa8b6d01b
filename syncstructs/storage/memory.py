"""Stores that keep everything in this process: nothing blocks, and nothing survives it."""

import zlib
from collections.abc import Sequence

from ..raft.effects import Append
from ..raft.messages import Entry, HardState, Restored, SnapshotMeta


class MemoryLog:
    """A `LogStore` in memory."""

    blocking = False

    def __init__(self) -> None:
        self._hard_state = HardState()
        self._entries: list[Entry] = []

    def load(self, snapshot: SnapshotMeta | None) -> Restored:
        """Return what was appended and `snapshot` does not cover."""
        covered = 0 if snapshot is None else snapshot.index
        kept = tuple(entry for entry in self._entries if entry.index > covered)
        return Restored(self._hard_state, snapshot, kept)

    def append(self, appends: Sequence[Append]) -> None:
        """Take over all of `appends` in order."""
        for append in appends:
            if append.reset is not None:
                self._entries.clear()
            if append.hard_state is not None:
                self._hard_state = append.hard_state
            if append.entries:
                first = append.entries[0].index
                while self._entries and self._entries[-1].index >= first:
                    self._entries.pop()
                self._entries.extend(append.entries)

    def compact(self, index: int) -> None:
        """Forget entries up to `index`."""
        self._entries = [entry for entry in self._entries if entry.index > index]

    def close(self) -> None:
        """Have nothing to release."""


class MemorySnapshots:
    """A `SnapshotStore` in memory; keeps the newest two."""

    blocking = False

    def __init__(self) -> None:
        self._kept: list[tuple[SnapshotMeta, bytes]] = []
        self._incoming: tuple[SnapshotMeta, bytearray] | None = None

    def latest(self) -> SnapshotMeta | None:
        """Return the newest snapshot, or None."""
        return self._kept[-1][0] if self._kept else None

    def save(self, index: int, term: int, time: int, image: bytes) -> SnapshotMeta:
        """Keep `image`, and forget all but the newest two."""
        meta = SnapshotMeta(index, term, time, len(image), zlib.crc32(image))
        self._keep(meta, image)
        return meta

    def load(self, snapshot: SnapshotMeta) -> bytes:
        """Return the image."""
        return next(image for meta, image in self._kept if meta == snapshot)

    def read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        """Return a piece of the image, or None if the snapshot is gone."""
        found = next((image for meta, image in self._kept if meta == snapshot), None)
        return None if found is None else found[offset : offset + size]

    def write(self, snapshot: SnapshotMeta, offset: int, data: bytes) -> int:
        """Keep a received piece; return the offset wanted next."""
        if self._incoming is None or self._incoming[0] != snapshot:
            self._incoming = (snapshot, bytearray())
        arrived = self._incoming[1]
        if offset == len(arrived):
            arrived += data
        return len(arrived)

    def finish(self, snapshot: SnapshotMeta) -> bool:
        """Keep the received image if it is whole; False (and nothing kept) if it is corrupt."""
        incoming, self._incoming = self._incoming, None
        if incoming is None or incoming[0] != snapshot:
            return False
        image = bytes(incoming[1])
        if len(image) != snapshot.size_bytes or zlib.crc32(image) != snapshot.checksum:
            return False
        self._keep(snapshot, image)
        return True

    def close(self) -> None:
        """Have nothing to release."""

    def _keep(self, meta: SnapshotMeta, image: bytes) -> None:
        kept = [(m, i) for m, i in self._kept if m.id != meta.id]
        self._kept = sorted([*kept, (meta, image)], key=lambda pair: pair[0].index)[-2:]
