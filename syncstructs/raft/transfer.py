"""Snapshot chunks on their way (Raft, section 7): the sender's cursor, the receiver's offset.

The receiver says which byte it wants next, so a transfer resumes where it was after a lost chunk,
a broken link, or a new leader with the same snapshot. The last chunk counts only by `done`.
"""

from ..errors import ProtocolError
from .messages import SnapshotChunk, SnapshotMeta


def check_chunk(chunk: SnapshotChunk) -> None:
    """Check a chunk by itself.

    Raises:
        ProtocolError: its snapshot cannot be, or it does not lie inside of it.
    """
    snapshot, size, whole = chunk.snapshot, len(chunk.data), chunk.snapshot.size_bytes
    if not 1 <= snapshot.term <= chunk.term or snapshot.index < 1:
        raise ProtocolError(f"{snapshot} cannot exist in term {chunk.term}")
    if not 0 <= chunk.offset <= chunk.offset + size <= whole or (size == 0 and whole > 0):
        raise ProtocolError(f"a chunk of {size} bytes at {chunk.offset} of {whole}")


class Outgoing:
    """The sender's side of one transfer: several chunks on the way, bounded in bytes."""

    __slots__ = (
        "_acknowledged",
        "_chunk_bytes",
        "_cursor",
        "_resync",
        "_retry_after",
        "_window_bytes",
        "retry_at",
        "snapshot",
    )

    def __init__(
        self,
        snapshot: SnapshotMeta,
        *,
        chunk_bytes: int,
        window_bytes: int,
        retry_after: float,
        now: float,
    ) -> None:
        self.snapshot = snapshot
        self._chunk_bytes = chunk_bytes
        self._window_bytes = window_bytes
        self._retry_after = retry_after
        self._acknowledged = 0
        self._cursor: int | None = 0
        self._resync = True
        self.retry_at = now + retry_after
        """When to `rewind` if nothing was acknowledged until then."""

    @property
    def acknowledged(self) -> int:
        """How many bytes the receiver has, as far as it said."""
        return self._acknowledged

    @property
    def may_send(self) -> bool:
        """Whether `next_chunk` would give one: not all is sent, and the window has room.

        The window is a single chunk until the receiver answers: it may be down for long.
        """
        offset = self._cursor
        if offset is None or offset <= self._acknowledged:
            return offset is not None
        window_end = self._acknowledged + self._window_bytes
        return not self._resync and offset + self._chunk_bytes <= window_end

    def next_chunk(self) -> tuple[int, int] | None:
        """Return offset and size of a chunk to send now, None if there is none."""
        offset = self._cursor
        if offset is None or not self.may_send:
            return None
        size = min(self._chunk_bytes, self.snapshot.size_bytes - offset)
        end = offset + size
        self._cursor = end if end < self.snapshot.size_bytes else None
        return offset, size

    def acknowledge(self, next_offset: int, now: float) -> None:
        """Take in what the receiver wants next.

        A lower offset than before is stale as a rule; after a `rewind` it is believed, since the
        receiver may have been restarted.

        Raises:
            ProtocolError: the offset is outside of the snapshot.
        """
        if not 0 <= next_offset <= self.snapshot.size_bytes:
            raise ProtocolError(f"offset {next_offset} of {self.snapshot.size_bytes} bytes")
        if next_offset == self._acknowledged:
            self._resync = False
            return
        if next_offset < self._acknowledged and not self._resync:
            return
        if next_offset < self._acknowledged or (
            self._cursor is not None and self._cursor < next_offset
        ):
            self._cursor = next_offset if next_offset < self.snapshot.size_bytes else None
        self._acknowledged = next_offset
        self._resync = False
        self.retry_at = now + self._retry_after

    def rewind(self, now: float) -> None:
        """Send again from where the receiver was: what was on the way may be lost."""
        # Everything may have arrived while `done` was lost: the last byte then asks for it again.
        last = max(self.snapshot.size_bytes - 1, 0)
        self._cursor = min(self._acknowledged, last)
        self._resync = True
        self.retry_at = now + self._retry_after

    def pause(self, now: float) -> None:
        """Send nothing until `retry_at`."""
        self._cursor = None
        self.retry_at = now + self._retry_after

    def _check(self) -> None:
        assert 0 <= self._acknowledged <= self.snapshot.size_bytes, self._acknowledged
        if self._cursor is not None:
            assert 0 <= self._cursor <= max(self.snapshot.size_bytes - 1, 0), self._cursor


class Incoming:
    """The receiver's side of one transfer: chunks are written in order."""

    __slots__ = ("_window_bytes", "expected", "is_ending", "snapshot", "written")

    def __init__(self, snapshot: SnapshotMeta, *, window_bytes: int) -> None:
        self.snapshot = snapshot
        self._window_bytes = window_bytes
        self.expected = 0
        """Where the next chunk must begin; those before it are written or being written."""
        self.is_ending = False
        """Whether the last chunk is being written, which makes the snapshot one of the store's."""
        self.written = 0

    def accept(self, offset: int, size: int) -> bool:
        """Take a chunk for writing if it is the next one and not too much is being written."""
        if offset != self.expected:
            return False
        if offset > self.written and offset + size - self.written > self._window_bytes:
            return False
        self.expected = offset + size
        self.is_ending = self.expected == self.snapshot.size_bytes
        return True

    def stored(self, offset: int, size: int, next_offset: int, ok: bool) -> None:
        """Note what became of a written chunk: the store wants `next_offset` next."""
        self.written = next_offset
        if not ok or next_offset != offset + size:
            self.expected = next_offset
            self.is_ending = False
        self.expected = max(self.expected, self.written)

    def _check(self) -> None:
        assert 0 <= self.written <= self.expected <= self.snapshot.size_bytes, (
            self.written, self.expected, self.snapshot,
        )  # fmt: skip
