"""The log on disk: segments of records, appended with one write and one sync per batch.

A record holds all appends of one call of `append`, so it is durable as a whole or, torn by a crash,
was never acknowledged. A segment begins with a header that says what came before it (the hard state
and the last entry), so that segments covered by a snapshot can be removed. A new segment is begun
only after the last record of the one before is durable, so only the last segment can have a torn
tail; damage anywhere else is refused, never guessed over.
"""

import zlib
from collections.abc import Sequence

import msgspec

from ..errors import DataDirDamaged, StorageError
from ..raft.effects import Append
from ..raft.messages import Entry, EntryId, HardState, Restored, SnapshotMeta
from .disk import DataDir, File, storage_error
from .records import frame, scan

FORMAT = 1
_PREFIX = "log-"


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """The first record of a segment."""

    format: int
    number: int
    hard_state: HardState
    last: EntryId
    """The last entry before the segment."""


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    """One append, as it is stored."""

    hard_state: HardState | None
    reset: EntryId | None
    entries: list[Entry]


_encode = msgspec.msgpack.Encoder().encode
_decode_header = msgspec.msgpack.Decoder(_Header).decode
_decode_record = msgspec.msgpack.Decoder(list[_Stored]).decode


class _Segment:
    """A file of the log, and the highest entry it holds."""

    __slots__ = ("file", "name", "number", "top_index")

    def __init__(self, number: int, file: File) -> None:
        self.number = number
        self.name = f"{_PREFIX}{number:012}"
        self.file = file
        self.top_index = 0


class Wal:
    """A `LogStore` in a data directory. `load` comes first; calls must not overlap."""

    blocking = True

    def __init__(self, directory: DataDir, *, segment_bytes: int) -> None:
        self._directory = directory
        self._disk = directory.disk
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._hard_state = HardState()
        self._last = EntryId(0, 0)
        self._base = EntryId(0, 0)
        """While loading: the entry that those found so far follow."""
        self._broken: StorageError | None = None

    # The store

    def load(self, snapshot: SnapshotMeta | None) -> Restored:
        """Return what was persisted and `snapshot` does not cover; cut off a torn tail.

        Raises:
            DataDirDamaged: a record before the tail is damaged, or part of the log is missing.
            StorageError: the directory cannot be read or written.
        """
        try:
            return self._load(snapshot)
        except OSError as error:
            if isinstance(error, StorageError):
                raise
            raise storage_error(f"the log in {self._disk.path!r} cannot be read", error) from error

    def append(self, appends: Sequence[Append]) -> None:
        """Persist all of `appends` with one write and one sync.

        Raises:
            StorageError: the disk failed. What is in the file is uncertain from then on, so every
                further append fails too.
        """
        if self._broken is not None:
            raise self._broken
        stored = [
            _Stored(a.hard_state, None if a.reset is None else a.reset.id, a.entries)
            for a in appends
        ]
        try:
            self._write(stored)
        except OSError as error:
            self._broken = storage_error(
                f"the log in {self._disk.path!r} cannot be written", error
            )
            raise self._broken from error

    def compact(self, index: int) -> None:
        """Remove the oldest segments as long as all their entries are at or below `index`.

        Raises:
            StorageError: a file cannot be removed; the log itself is whole.
        """
        removed = False
        try:
            while len(self._segments) > 1 and self._segments[0].top_index <= index:
                oldest = self._segments[0]
                self._disk.remove(oldest.name)
                oldest.file.close()
                del self._segments[0]
                removed = True
            if removed:
                self._disk.sync_names()
        except OSError as error:
            raise storage_error(f"old log files in {self._disk.path!r} stay", error) from error

    def close(self) -> None:
        """Close the files; idempotent. What was appended is durable already."""
        for segment in self._segments:
            segment.file.close()
        self._broken = self._broken or StorageError("the log was closed")

    # Writing

    def _write(self, stored: list[_Stored]) -> None:
        segment = self._segments[-1]
        if segment.file.size() >= self._segment_bytes:
            segment = self._begin_segment(segment.number + 1)
        segment.file.write(frame(_encode(stored), self._salt(segment.number)))
        segment.file.sync()
        for append in stored:
            self._note(append, segment)

    def _note(self, append: _Stored, segment: _Segment) -> None:
        if append.reset is not None:
            self._last = append.reset
        if append.hard_state is not None:
            self._hard_state = append.hard_state
        if append.entries:
            self._last = append.entries[-1].id
            segment.top_index = max(segment.top_index, self._last.index)
        segment.top_index = max(segment.top_index, self._last.index if append.reset else 0)

    def _begin_segment(self, number: int) -> _Segment:
        header = _Header(FORMAT, number, self._hard_state, self._last)
        name = f"{_PREFIX}{number:012}"
        file = self._disk.open(name, create=True)
        file.write(frame(_encode(header), self._salt(number)))
        file.sync()
        # Without this, a power cut could take the whole file with all that is synced in it.
        self._disk.sync_names()
        segment = _Segment(number, file)
        self._segments.append(segment)
        return segment

    def _salt(self, number: int) -> int:
        return zlib.crc32(f"{self._directory.id}/{number}".encode())

    # Reading

    def _load(self, snapshot: SnapshotMeta | None) -> Restored:
        names = [name for name in self._disk.names() if name.startswith(_PREFIX)]
        if self._directory.fresh:
            for name in names:
                self._disk.remove(name)
            self._begin_segment(1)
            self._directory.begin()
            names = []
        elif not names:
            raise DataDirDamaged(
                f"the log files in {self._disk.path!r} are gone; restore them, or let this member"
                " start anew with an empty directory and another address"
            )
        entries: list[Entry] = []
        for name in names:
            self._read_segment(name, entries, last_one=name == names[-1])
        if not self._segments:
            raise DataDirDamaged(
                f"{self._disk.path}/{names[0]} has no header; restore the directory from a copy"
            )
        return self._join(snapshot, self._base, entries)

    def _read_segment(self, name: str, entries: list[Entry], *, last_one: bool) -> None:
        """Add what a segment holds to `entries`."""
        number = int(name.removeprefix(_PREFIX))
        file = self._disk.open(name)
        salt = self._salt(number)
        data = file.read(0, file.size())
        found = scan(data, 0, salt)
        broken = found.end < len(data)
        if broken and (found.beyond is not None or not last_one):
            file.close()
            raise self._damaged(name, found.end)
        if not found.payloads:
            file.close()
            if not last_one:
                raise self._damaged(name, 0)
            # The crash came while the segment was begun: nothing was ever appended to it.
            self._disk.remove(name)
            self._disk.sync_names()
            return
        segment = _Segment(number, file)
        self._check_header(segment, found.payloads[0])
        self._segments.append(segment)
        for payload in found.payloads[1:]:
            try:
                stored = _decode_record(payload)
            except msgspec.DecodeError as error:
                raise self._damaged(name, 0) from error
            for append in stored:
                self._replay(append, segment, entries)
        if broken:
            file.truncate(found.end)
            file.sync()

    def _check_header(self, segment: _Segment, payload: bytes) -> None:
        try:
            header = _decode_header(payload)
        except msgspec.DecodeError as error:
            raise self._damaged(segment.name, 0) from error
        before = self._segments[-1] if self._segments else None
        if header.number != segment.number or header.format != FORMAT:
            raise DataDirDamaged(
                f"{self._disk.path}/{segment.name} is segment {header.number} of format"
                f" {header.format}; this version reads format {FORMAT}"
            )
        if before is None:
            self._hard_state, self._last = header.hard_state, header.last
            self._base = header.last
        elif (
            header.number != before.number + 1
            or (header.hard_state, header.last) != (self._hard_state, self._last)
        ):
            raise DataDirDamaged(
                f"{self._disk.path}/{segment.name} does not follow {before.name}: a log file is"
                " missing or from another time; restore the directory from a copy"
            )

    def _replay(self, append: _Stored, segment: _Segment, entries: list[Entry]) -> None:
        if append.reset is not None:
            entries.clear()
            self._base = self._last = append.reset
        if append.entries:
            first = append.entries[0].index
            if first > self._last.index + 1:
                raise DataDirDamaged(
                    f"{self._disk.path}/{segment.name}: entry {first} follows"
                    f" {self._last.index}; restore the directory from a copy"
                )
            while entries and entries[-1].index >= first:
                entries.pop()
            entries.extend(append.entries)
        self._note(append, segment)

    def _join(
        self, snapshot: SnapshotMeta | None, base: EntryId, entries: list[Entry]
    ) -> Restored:
        """Fit the entries to the snapshot: it covers a prefix of them, or replaces them all."""
        covered = EntryId(0, 0) if snapshot is None else snapshot.id
        if base.index > covered.index:
            raise DataDirDamaged(
                f"the log in {self._disk.path!r} begins after entry {base.index}, but the newest"
                f" snapshot reaches to {covered.index}: a snapshot is missing; restore it"
            )
        if base.index == covered.index:
            return Restored(self._hard_state, snapshot, tuple(entries))
        position = covered.index - base.index - 1
        if position < len(entries) and entries[position].term == covered.term:
            return Restored(self._hard_state, snapshot, tuple(entries[position + 1 :]))
        # A received snapshot was installed, and the crash came before the log was reset to it:
        # what the log holds is older than the snapshot, or conflicts with it (section 7).
        assert snapshot is not None
        self._write([_Stored(None, covered, [])])
        return Restored(self._hard_state, snapshot, ())

    def _damaged(self, name: str, offset: int) -> DataDirDamaged:
        return DataDirDamaged(
            f"{self._disk.path}/{name} is damaged at byte {offset}, before its tail; nothing was"
            " changed: restore the directory from a copy, or let this member start anew with an"
            " empty one and another address"
        )
