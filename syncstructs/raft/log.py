"""The log of one member: entries in memory after a base, and how far they are persisted.

The base is the entry up to which the log is compacted (index 0 at first); a snapshot covers it.
Indexes have no gap, terms and cluster times never decrease (Raft, section 5.3). Appends are
persisted asynchronously but in order, so an index counts as persisted only if no append that is
still pending would write it again: without that, the late report of a truncated append would
acknowledge entries that were never written.
"""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence
from operator import attrgetter

from ..errors import ProtocolError
from .membership import Membership, decode_membership
from .messages import Entry, EntryId, EntryKind, SnapshotMeta

# What an entry costs besides its payload, in memory and on the wire, as an estimate in bytes.
ENTRY_OVERHEAD_BYTES = 32

_term_of = attrgetter("term")
_index_of, _time_of, _payload_of = attrgetter("index"), attrgetter("time"), attrgetter("payload")


def entry_bytes(entry: Entry) -> int:
    """Return the size that all bounds in bytes count for `entry`."""
    return len(entry.payload) + ENTRY_OVERHEAD_BYTES


def _size_bytes(entries: Sequence[Entry]) -> int:
    """Return the sum of `entry_bytes`."""
    payloads = sum(map(len, map(_payload_of, entries)))
    return payloads + ENTRY_OVERHEAD_BYTES * len(entries)


def check_run(previous: EntryId, entries: Sequence[Entry], term: int) -> None:
    """Check that `entries` may follow `previous` in the log of a leader of `term`.

    Raises:
        ProtocolError: indexes with a gap, terms or times that decrease, or no membership where one
            is due.
    """
    index, entry_term, time = previous.index, previous.term, 0
    for entry in entries:
        index += 1
        if entry.index != index:
            raise ProtocolError(f"entry {entry.index} stands where entry {index} is due")
        if entry.term < entry_term or entry.term < 1:
            raise ProtocolError(f"entry {index} is of term {entry.term} after term {entry_term}")
        if entry.time < time:
            raise ProtocolError(f"entry {index} goes back in time, {time} to {entry.time}")
        if entry.kind is EntryKind.MEMBERSHIP:
            decode_membership(entry.payload)
        entry_term, time = entry.term, entry.time
    if entry_term > term:
        raise ProtocolError(f"entry {index} is of term {entry_term}, its leader of {term}")


class RaftLog:
    """Entries `base.index + 1` to `last_index`, without a gap."""

    __slots__ = (
        "_base_time",
        "_entries",
        "_memberships",
        "_pending",
        "base",
        "covered_bytes",
        "last_index",
        "persisted_index",
        "size_bytes",
    )

    def __init__(
        self,
        snapshot: SnapshotMeta | None,
        entries: Sequence[Entry],
        membership: Membership = Membership(),  # noqa: B008 (a frozen value)
    ) -> None:
        """Begin with what a store held: all of it is persisted.

        `membership`: what counts where neither snapshot nor entries tell one.
        """
        self.base = snapshot.id if snapshot else EntryId(0, 0)
        self._base_time = snapshot.time if snapshot else 0
        self._entries: list[Entry] = list(entries)
        self.last_index = self.base.index + len(self._entries)
        self.size_bytes = _size_bytes(self._entries)
        self.covered_bytes = 0
        """How much of it a snapshot covers, as far as it was told; see `cover`."""
        # Index and membership, oldest first; the first one is that of the base, or older.
        self._memberships = [(0, membership)]
        if snapshot is not None and snapshot.membership.voters:
            self._memberships = [(snapshot.index, snapshot.membership)]
        self._note_memberships(self._entries)
        self._pending: deque[tuple[int, int, int]] = deque()
        self.persisted_index = self.last_index

    # What is in it

    @property
    def last_id(self) -> EntryId:
        return self._entries[-1].id if self._entries else self.base

    @property
    def last_time(self) -> int:
        """Cluster time in microseconds of the last entry."""
        return self._entries[-1].time if self._entries else self._base_time

    def term_at(self, index: int) -> int | None:
        """Return the term of the entry at `index`, None if it is compacted or not there yet."""
        base = self.base
        if base.index < index <= self.last_index:
            return self._entries[index - base.index - 1].term
        return base.term if index == base.index else None

    def time_at(self, index: int) -> int:
        """Return the cluster time of the entry at `index`, which is the base or after it."""
        position = index - self.base.index - 1
        assert -1 <= position < len(self._entries), (index, self.base, self.last_index)
        return self._base_time if position == -1 else self._entries[position].time

    def has(self, id: EntryId) -> bool:
        """Whether the log is equal, up to `id`, to any log that holds `id` (Log Matching)."""
        return self.term_at(id.index) == id.term

    def between(self, first: int, last: int) -> list[Entry]:
        """Return the entries from `first` to `last`, both included; none may be compacted."""
        assert first > self.base.index, (first, self.base)
        start = self.base.index + 1
        return self._entries[first - start : last - start + 1]

    def run(self, first: int, limit_bytes: int, last: int) -> tuple[list[Entry], int]:
        """Return entries from `first` to `last` at the most, and their size.

        At least one, and no more than `limit_bytes` of them if they are several.
        """
        assert self.base.index < first <= last <= self.last_index, (first, last, self.base)
        entries = self._entries
        start = end = first - self.base.index - 1
        stop = last - self.base.index
        size_bytes = 0
        while end < stop:
            more = entry_bytes(entries[end])
            if end > start and size_bytes + more > limit_bytes:
                break
            size_bytes += more
            end += 1
        return entries[start:end], size_bytes

    def last_not_above(self, index: int, term: int) -> EntryId:
        """Return the last entry up to `index` whose term is at most `term`, or the base.

        Both sides of a refused append use it to step over whole terms (section 5.3).
        """
        above = min(max(index - self.base.index, 0), len(self._entries))
        position = bisect_right(self._entries, term, hi=above, key=_term_of)
        return self._entries[position - 1].id if position else self.base

    def unknown_of(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return `entries` from the first that is not here: it is beyond the end, or conflicts.

        What the base covers is known, since it is committed.
        """
        for count, entry in enumerate(entries):
            if entry.index > self.base.index and self.term_at(entry.index) != entry.term:
                return entries[count:]
        return ()

    def bytes_between(self, first: int, last: int) -> int:
        """Return the size of the entries from `first` to `last`, both included."""
        return _size_bytes(self.between(first, last))

    def keep_from(self, index: int, keep_bytes: int) -> int:
        """Return up to where to compact so that about `keep_bytes` up to `index` stay."""
        while index > self.base.index:
            keep_bytes -= entry_bytes(self._entries[index - self.base.index - 1])
            if keep_bytes < 0:
                break
            index -= 1
        return index

    # Who is in the cluster, as far as the log tells: from an entry on, committed or not (section 6)

    @property
    def membership(self) -> Membership:
        """The membership that counts now."""
        return self._memberships[-1][1]

    @property
    def membership_index(self) -> int:
        """Index of the entry that brought it; 0: it is what the node was started with."""
        return self._memberships[-1][0]

    def membership_at(self, index: int) -> Membership:
        """Return the membership at the entry `index`, which is the base or after it."""
        newest = self._memberships[-1]
        return newest[1] if newest[0] <= index else self.membership_entry(index)[1]

    def membership_entry(self, index: int) -> tuple[int, Membership]:
        """Return the membership at the entry `index`, and the index of the entry that brought it.

        0: it is what the node was started with.
        """
        assert index >= self.base.index, (index, self.base)
        return next(entry for entry in reversed(self._memberships) if entry[0] <= index)

    def memberships_from(self, index: int) -> list[Membership]:
        """Return the membership at the entry `index`, and all that come after it."""
        later = [membership for at, membership in self._memberships if at > index]
        return [self.membership_at(index), *later]

    def _note_memberships(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            if entry.kind is EntryKind.MEMBERSHIP:
                self._memberships.append((entry.index, decode_membership(entry.payload)))

    # Changing it

    def append(self, entries: Sequence[Entry]) -> None:
        """Add entries that follow the last one."""
        last = self.last_id
        index, term = last.index, last.term
        for entry in entries:
            index += 1
            assert entry.index == index, (entry.index, last)
            assert entry.term >= term, (entry.id, last)
            term = entry.term
        self.last_index = index
        self.size_bytes += _size_bytes(entries)
        self._entries.extend(entries)
        self._note_memberships(entries)

    def truncate(self, first: int) -> None:
        """Drop the entries from `first` on; they conflict with those of the leader."""
        assert self.base.index < first <= self.last_index, (first, self.base, self.last_index)
        position = first - self.base.index - 1
        self.size_bytes -= _size_bytes(self._entries[position:])
        del self._entries[position:]
        self.last_index = first - 1
        while self._memberships[-1][0] >= first:
            self._memberships.pop()
        self.persisted_index = min(self.persisted_index, first - 1)

    def cover(self, index: int) -> None:
        """Note that a persisted snapshot covers the entries up to `index`; they may stay."""
        self.covered_bytes = self.bytes_between(self.base.index + 1, index)

    def compact(self, index: int) -> None:
        """Drop the entries up to `index`, which a persisted snapshot covers."""
        if index <= self.base.index:
            return
        assert index <= self.last_index, (index, self.last_index)
        count = index - self.base.index
        last = self._entries[count - 1]
        dropped_bytes = _size_bytes(self._entries[:count])
        self.size_bytes -= dropped_bytes
        self.covered_bytes = max(self.covered_bytes - dropped_bytes, 0)
        del self._entries[:count]
        self.base, self._base_time = last.id, last.time
        while len(self._memberships) > 1 and self._memberships[1][0] <= index:
            del self._memberships[0]
        self.persisted_index = max(self.persisted_index, index)

    def reset(self, snapshot: SnapshotMeta, ticket: int) -> None:
        """Replace everything by a persisted snapshot; append `ticket` does so in the store."""
        self.base, self._base_time = snapshot.id, snapshot.time
        self._entries.clear()
        self.last_index = snapshot.index
        self.size_bytes = self.covered_bytes = 0
        if snapshot.membership.voters:
            self._memberships = [(snapshot.index, snapshot.membership)]
        else:
            del self._memberships[1:]
        self.persisted_index = snapshot.index
        # It writes nothing, but entries written before it are void.
        self._pending.append((ticket, snapshot.index + 1, snapshot.index))

    # How far it is persisted

    def pend(self, ticket: int, first: int, last: int) -> None:
        """Note that append `ticket` will write the entries from `first` to `last`."""
        self._pending.append((ticket, first, last))

    def persisted(self, ticket: int) -> None:
        """Note that all appends up to `ticket` are durable."""
        pending = self._pending
        index = None
        while pending and pending[0][0] <= ticket:
            index = pending.popleft()[2]
        if index is not None:
            for _, first, _ in pending:
                index = min(index, first - 1)
            # What was truncated meanwhile may not be overwritten yet.
            self.persisted_index = max(min(index, self.last_index), self.base.index)

    def _check(self) -> None:
        assert self.last_index == self.base.index + len(self._entries), self.last_index
        assert self.base.index <= self.persisted_index <= self.last_index, (
            self.base, self.persisted_index, self.last_index,
        )  # fmt: skip
        entries = self._entries
        assert self.size_bytes == _size_bytes(entries), self.size_bytes
        assert 0 <= self.covered_bytes <= self.size_bytes, (self.covered_bytes, self.size_bytes)
        first = self.base.index + 1
        indexes = list(map(_index_of, entries))
        assert indexes == list(range(first, first + len(entries))), (self.base, indexes)
        terms = [self.base.term, *map(_term_of, entries)]
        assert terms == sorted(terms), terms
        times = [self._base_time, *map(_time_of, entries)]
        assert times == sorted(times), times
        told = [
            (entry.index, decode_membership(entry.payload))
            for entry in entries
            if entry.kind is EntryKind.MEMBERSHIP
        ]
        assert self._memberships[1:] == told, (self._memberships, told)
        assert self._memberships[0][0] <= self.base.index, (self._memberships, self.base)
        tickets = [ticket for ticket, _, _ in self._pending]
        assert tickets == sorted(tickets), tickets
