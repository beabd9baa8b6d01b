"""Snapshot chunks on their way (Raft, section 7): the sender's cursor, the receiver's offset.

The receiver says which byte it wants next, so a transfer resumes where it was after a lost chunk,
a broken link, or a new leader with the same snapshot. The last chunk counts only by `done`.

How fast chunks go to all receivers together, one `Throttle` says.
"""

from typing import Final

from ..errors import ProtocolError
from .messages import SnapshotChunk, SnapshotMeta

SAVED: Final = 0.1
"""Seconds for which a throttle that is not used is saved up: what wakes up late, or waits for an
answer, is made up for, and no more than that."""


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


# The longest wait for an answer, as a multiple of the shortest.
_PATIENCE_MAX: Final = 16


class Throttle:
    """How fast snapshots are sent, to whomever: `rate` bytes per second, None = no matter.

    In any span of time at most `rate` bytes go per second of it and of a tenth of a second more,
    and one chunk besides: a chunk goes if all before it is paid for, whatever its size.
    """

    __slots__ = ("_rate", "free_at")

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self.free_at = float("-inf")
        """When the next chunk may be sent: what was sent is paid for by then."""

    def spend(self, size_bytes: int, now: float) -> None:
        """Note that a chunk is sent."""
        if self._rate is not None:
            # From when the last one was paid for, not from now: timers that are late cost nothing.
            self.free_at = max(self.free_at, now - SAVED) + size_bytes / self._rate


class Outgoing:
    """The sender's side of one transfer: several chunks on the way, bounded in bytes."""

    __slots__ = (
        "_acknowledged",
        "_chunk_bytes",
        "_cursor",
        "_patience",
        "_resync",
        "_retry_after",
        "_retry_at",
        "_window_bytes",
        "snapshot",
        "turn",
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
        self._retry_after = self._patience = retry_after
        self._acknowledged = 0
        self._cursor: int | None = 0
        self._resync = True
        self._retry_at = now + retry_after
        self.turn = 0
        """For the sender: the lower, the longer ago a chunk of this transfer was sent."""

    @property
    def acknowledged(self) -> int:
        """How many bytes the receiver has, as far as it said."""
        return self._acknowledged

    @property
    def _awaits_answer(self) -> bool:
        return self._cursor is None or self._cursor > self._acknowledged

    @property
    def retry_at(self) -> float:
        """When to `retry` if nothing is acknowledged until then; infinite: nothing is sent."""
        return self._retry_at if self._awaits_answer else float("inf")

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

    def next_chunk(self, now: float) -> tuple[int, int] | None:
        """Return offset and size of a chunk to send now, None if there is none."""
        offset = self._cursor
        if offset is None or not self.may_send:
            return None
        if not self._awaits_answer:
            # It may have waited for long for its turn.
            self._retry_at = now + self._patience
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
        self._retry_at = now + self._patience

    def retry(self) -> None:
        """Send again from where the receiver was, as no answer came in time; then wait longer.

        Without that, all would be sent twice over a link on which a chunk takes longer.
        """
        patience = min(2 * self._patience, _PATIENCE_MAX * self._retry_after)
        self.rewind()
        self._patience = patience

    def rewind(self) -> None:
        """Send again from where the receiver was: what was on the way may be lost."""
        self._patience = self._retry_after
        # Everything may have arrived while `done` was lost: the last byte then asks for it again.
        last = max(self.snapshot.size_bytes - 1, 0)
        self._cursor = min(self._acknowledged, last)
        self._resync = True

    def pause(self, until: float) -> None:
        """Send nothing before `until`, or a `rewind`."""
        self._cursor = None
        self._retry_at = until

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
