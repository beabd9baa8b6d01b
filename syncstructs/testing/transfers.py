"""Snapshots, where they are taken, sent and taken over: each says truly what it is.

Index, term and time are those of the entry that was committed there; a receiver claims only what
it has stored, and asks for what its store lacks; and what is taken over is what was sent. Of the
calls that a snapshot covers nobody knows a result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from zlib import crc32

if TYPE_CHECKING:
    from ..raft.effects import ChunkWrite
    from ..raft.messages import Entry, EntryId, SnapshotMeta, SnapshotReply
    from .hosts import Life


class Transfers:
    """The rules, for all lives of a simulation; `fail(life, what)` raises."""

    def __init__(
        self, committed: Mapping[int, Entry], fail: Callable[[Life, str], object]
    ) -> None:
        self._committed = committed
        self._fail = fail
        # By life: how many bytes of each snapshot its store has said to have.
        self._stored: dict[Life, dict[EntryId, int]] = {}

    def watch(self, life: Life) -> None:
        """Watch the node of a life from now on."""
        stored = self._stored[life] = {}
        replica: Any = life.replica
        core = life.core
        install, written = replica.install, replica.chunk_written

        def watched_install(snapshot: SnapshotMeta, image: bytes) -> Any:
            if len(image) != snapshot.size_bytes or crc32(image) != snapshot.checksum:
                self._fail(life, f"takes over {len(image)} bytes that are not those of {snapshot}")
            progress = install(snapshot, image)
            for _, outcome in progress.ended:
                if outcome.error is None:
                    self._fail(life, f"gives a call a result out of {snapshot}: {outcome.value!r}")
            return progress

        def watched_written(chunk: ChunkWrite, next_offset: int, ok: bool, now: float) -> None:
            id = chunk.snapshot.id
            stored[id] = max(stored.get(id, 0), next_offset)
            written(chunk, next_offset, ok, now)
            incoming = core._incoming
            if (
                (not ok or next_offset != chunk.offset + len(chunk.data))
                and incoming is not None
                and incoming.snapshot == chunk.snapshot
                and incoming.expected != next_offset
            ):
                self._fail(
                    life,
                    f"expects byte {incoming.expected} of {chunk.snapshot}, but lacks what comes"
                    f" from {next_offset} on",
                )

        replica.install, replica.chunk_written = watched_install, watched_written

    def answers(self, life: Life, message: SnapshotReply) -> None:
        """Look at what a receiver claims to have."""
        if not message.done:
            stored = self._stored[life].get(message.snapshot, 0)
            if message.next_offset > stored:
                self._fail(
                    life,
                    f"claims {message.next_offset} bytes of the snapshot {message.snapshot}, but"
                    f" has stored {stored}",
                )

    def keeps(self, life: Life, snapshot: SnapshotMeta | None) -> None:
        """Look at the snapshot that a node goes by from now on, and where its log begins."""
        if snapshot is not None:
            entry = self._committed.get(snapshot.index)
            if entry is not None and (entry.term, entry.time) != (snapshot.term, snapshot.time):
                self._fail(life, f"has {snapshot}; what was committed there is {entry}")
        self.check(life)

    def check(self, life: Life) -> None:
        """Look where the log of a node begins, and what a snapshot taken now would say."""
        base = life.core.log.base
        entry = self._committed.get(base.index)
        if entry is not None and entry.id != base:
            self._fail(life, f"has a log behind {base}; what was committed there is {entry.id}")
        if life.table.applied_index < base.index:
            return  # a received one is not taken over yet
        point = life.replica.snapshot_point
        index, term, time = point.index, point.term, point.time
        applied = life.table.applied_index
        entry = self._committed.get(applied)
        if index != applied or (entry is not None and (entry.term, entry.time) != (term, time)):
            self._fail(
                life,
                f"would take a snapshot that says {index}, term {term}, time {time}; its state is"
                f" that of {applied}, where {entry} was committed",
            )
