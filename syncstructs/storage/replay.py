"""What a log on disk amounts to: its records applied one after another. Pure.

Records only ever add. An entry whose index is taken replaces that one and all after it, a reset
drops everything; so the log is what is left at the end. Old segments may be gone: then the log
begins at the base that the first one left names, and a snapshot covers what was before.
"""

from itertools import pairwise

import msgspec

from ..raft.effects import Append
from ..raft.messages import Entry, EntryId, HardState, SnapshotMeta


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """What one record of the log says, in this order; an empty one only marks a whole write."""

    reset: SnapshotMeta | None = None
    hard_state: HardState | None = None
    entries: list[Entry] = []


def pieces_of(append: Append, limit_bytes: int) -> list[Piece]:
    """Return `append` as pieces whose entries reach `limit_bytes` at the most, or are one."""
    runs: list[list[Entry]] = [[]]
    size = 0
    for entry in append.entries:
        if size and size + len(entry.payload) > limit_bytes:
            runs.append([])
            size = 0
        runs[-1].append(entry)
        size += len(entry.payload)
    first = Piece(append.reset, append.hard_state, runs[0])
    return [first, *(Piece(entries=run) for run in runs[1:])]


def check_order(before: Entry | SnapshotMeta, entry: Entry) -> None:
    """Check that an entry may follow another one, or a snapshot.

    Raises:
        ValueError: terms and times never decrease (Raft, section 5.3).
    """
    if entry.term < before.term or entry.time < before.time:
        raise ValueError(
            f"entry {entry.index} of term {entry.term} and time {entry.time} cannot follow term"
            f" {before.term} and time {before.time}"
        )


class Position:
    """Where a log stands: enough to know what may be appended, and to begin a segment."""

    __slots__ = ("hard_state", "last")

    def __init__(self, last: EntryId, hard_state: HardState) -> None:
        self.last = last
        self.hard_state = hard_state

    def apply(self, piece: Piece) -> None:
        """Take over what a piece says.

        Raises:
            ValueError: it leaves a gap.
        """
        if piece.reset is not None:
            self.last = piece.reset.id
        if piece.hard_state is not None:
            self.hard_state = piece.hard_state
        for entry in piece.entries[:1]:
            if entry.index > self.last.index + 1:
                raise ValueError(f"entry {entry.index} after {self.last.index} leaves a gap")
        for before, entry in pairwise(piece.entries):
            if entry.index != before.index + 1:
                raise ValueError(f"entry {entry.index} after {before.index} in one run")
        if piece.entries:
            self.last = piece.entries[-1].id


class Replay(Position):
    """The log while its records are read."""

    __slots__ = ("base", "entries")

    def __init__(self, base: EntryId, hard_state: HardState) -> None:
        super().__init__(base, hard_state)
        self.base = base
        """What comes before `entries`; its term is 0 while it is not known."""
        self.entries: list[Entry] = []

    def copy(self) -> "Replay":
        """Return another one that stands where this one does."""
        other = Replay(self.base, self.hard_state)
        other.last = self.last
        other.entries = list(self.entries)
        return other

    def apply(self, piece: Piece) -> None:
        """Take over what a piece says.

        Raises:
            ValueError: it leaves a gap, or goes back in time.
        """
        super().apply(piece)
        if piece.reset is not None:
            self.base = piece.reset.id
            self.entries.clear()
        if not piece.entries:
            return
        first = piece.entries[0].index
        if first > self.base.index:
            del self.entries[first - self.base.index - 1 :]
            if self.entries:
                check_order(self.entries[-1], piece.entries[0])
            self.entries += piece.entries
            return
        # Its predecessors were in segments that are gone, overwritten before a snapshot covered
        # them. Only what lies behind the base is of interest.
        at = self.base.index - first
        self.base = piece.entries[at].id if at < len(piece.entries) else self._unknown()
        self.entries = piece.entries[at + 1 :]

    @property
    def is_blank(self) -> bool:
        """Whether it is of a node that never said anything, or has begun to recover since.

        A term is written before all else; only a received snapshot may have come before that.
        """
        return self.hard_state.recovering or self.hard_state == HardState()

    def compact(self, index: int) -> None:
        """Forget entries up to `index`."""
        count = min(index - self.base.index, len(self.entries))
        if count > 0:
            self.base = self.entries[count - 1].id
            del self.entries[:count]

    def after(self, snapshot: SnapshotMeta | None) -> list[Entry] | None:
        """Return the entries that follow `snapshot`, or None if the log does not contain it.

        Raises:
            ValueError: entries between the snapshot and the log are missing, or the first of them
                goes back in time.
        """
        reached = EntryId(0, 0) if snapshot is None else snapshot.id
        if reached.index < self.base.index:
            raise ValueError(
                f"the log begins after entry {self.base.index}, but the newest snapshot reaches to"
                f" entry {reached.index} only"
            )
        if reached.index > self.last.index:
            return None
        at = reached.index - self.base.index
        here = self.entries[at - 1].id if at else self.base
        if here != reached:
            return None
        following = self.entries[at:]
        if snapshot is not None and following:
            check_order(snapshot, following[0])
        return following

    def _unknown(self) -> EntryId:
        return EntryId(0, self.base.index)

    def _check(self) -> None:
        for number, entry in enumerate(self.entries, 1):
            assert entry.index == self.base.index + number, (self.base, entry.id)
        assert self.last == (self.entries[-1].id if self.entries else self.last)
        assert not self.entries or self.last.index >= self.base.index, (self.last, self.base)
