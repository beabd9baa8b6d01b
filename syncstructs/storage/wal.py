"""The log on disk: segments of records, one write and one sync per call.

A segment is a file of records (`records`); its name holds its number and its salt, its first record
the position of the log where it begins. So older segments can be removed once a snapshot covers
them. Nothing in a segment is ever overwritten: an entry that replaces another is written behind it.

What was not synced when the process or the machine stopped was never acknowledged, and is cut off
when the log is loaded. All else that is wrong is refused with `DataDirDamaged`. The end of the log
alone does not tell a torn write from one that somebody cut off or wrote over; so the directory
notes how far the log is durable, now and then: at each start and end, segment and snapshot.

A failed write or sync ends the log's life: after a failed fsync the system may drop what it could
not write and report success the next time, so only a new process, reading what is there, may go on.
"""

import contextlib
import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

import msgspec

from ..errors import DataDirDamaged, ProtocolError, StorageError
from ..raft.effects import Append
from ..raft.membership import decode_membership
from ..raft.messages import EntryId, EntryKind, HardState, Restored, SnapshotMeta
from .disk import REMEDY, DataDir, File, explained
from .records import HEADER_BYTES, SALT_BYTES, Record, Scan, encode_write, scan
from .replay import Piece, Position, Replay, check_order, pieces_of

_NAME: Final = re.compile(r"log-(\d{12,})-([0-9a-f]{8})\.wal")
_FORMAT: Final = 1
_SEGMENT, _PIECE = 1, 2

# A record's length has 32 bits; no single entry comes near this.
_RUN_BYTES: Final = 256 * 1024 * 1024


class _Header(msgspec.Struct, frozen=True, array_like=True):
    """The first record of a segment: where the log stood when it was begun."""

    format: int
    data_dir: str
    number: int
    last: EntryId
    hard_state: HardState


class _Segment:
    """A file of the log."""

    __slots__ = ("highest_index", "name", "number", "salt", "size")

    def __init__(self, number: int, salt: bytes) -> None:
        self.number = number
        self.salt = salt
        self.name = f"log-{number:012d}-{salt.hex()}.wal"
        self.size = 0
        self.highest_index = 0
        """Of all entries in it, replaced ones too, and of resets."""


class _Damage(DataDirDamaged):
    """Damage at a byte of a segment."""

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


class _Tail(NamedTuple):
    """The last whole write of the log."""

    offset: int
    data: bytes


class SegmentView(NamedTuple):
    """What was found in one file of the log."""

    name: str
    size_bytes: int
    write_count: int
    """Whole writes in it."""
    entry_count: int
    """Entries in those, replaced ones too."""
    first_index: int
    """The lowest and the highest index of those entries; 0 if there are none."""
    last_index: int
    whole_bytes: int
    """Where the last whole write that has a meaning ends."""
    problem: str | None
    """Why it cannot be used as it is."""


class LogView(NamedTuple):
    """What was found in the files of a log, up to the first damage."""

    segments: tuple[SegmentView, ...]
    """All files, those after the damage too."""
    replay: Replay
    """The log as far as it is whole; `entries` holds what was not replaced."""
    torn_bytes: int
    """At the end, never acknowledged; a node cuts that off when it starts."""
    damaged_at: int | None
    """Which of `segments` has the damage, None if there is none in them."""
    problem: str | None
    """Why a node refuses the log, None if it is whole."""


def _check_piece(piece: Piece) -> None:
    """Check what no release ever wrote, though its checksum is right.

    Raises:
        ValueError, ProtocolError: it is that.
    """
    if piece.reset is not None:
        _check_id(piece.reset.id)
    for entry in piece.entries:
        if entry.index < 1 or entry.time < 0:
            raise ValueError(f"there is no entry {entry.index} of time {entry.time}")
        _check_id(entry.id)
        if entry.kind is EntryKind.MEMBERSHIP:
            decode_membership(entry.payload)
    for before, entry in pairwise(piece.entries):
        check_order(before, entry)


def _check_id(id: EntryId) -> None:
    if not 0 <= id.index < 2**63 or not 0 <= id.term < 2**63 or (not id.index) != (not id.term):
        raise ValueError(f"there is no entry {id}")


class Wal:
    """A `LogStore` in a data directory. Call `load` once, then append."""

    blocking = True

    def __init__(self, directory: DataDir, *, segment_bytes: int) -> None:
        self._directory = directory
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._position: Position | None = None
        self._file: File | None = None
        """The last segment, open."""
        self._next_write = 1
        self._unmarked = False
        """Something was written since the last mark."""
        self._failure: str | None = None
        self._encoder = msgspec.msgpack.Encoder()
        self._pieces = msgspec.msgpack.Decoder(Piece)

    # Loading

    def load(self, snapshot: SnapshotMeta | None) -> Restored:
        """Return what was persisted; entries that `snapshot` covers are left out.

        A torn tail is cut off. If the log does not contain the entry that the snapshot reaches to,
        it is older than the snapshot, and begins anew behind it.

        Raises:
            DataDirDamaged: there is damage before the tail, or entries are missing between
                `snapshot` and the first one kept.
            StorageError: the directory cannot be read or written.
        """
        assert self._position is None, "a log is loaded once"
        with explained("read the log in", self._directory.path):
            replay, tail = self._replay()
        try:
            entries = replay.after(snapshot)
        except ValueError as error:
            raise DataDirDamaged(f"{self._directory.path!r}: {error}; {REMEDY}") from error
        self._position = Position(replay.last, replay.hard_state)
        reset = None
        if snapshot is not None and entries is None:
            reset = snapshot
            self._position.last = snapshot.id
        with self._fatal("write the log in"):
            mark = self._record(Piece(reset=reset))
            if tail is not None:
                self._settle(tail, mark)
            else:
                self._begin_segment([mark], replay.last, replay.hard_state)
            self._note_index(self._position.last.index)
            self._note_durable()
        return Restored(
            replay.hard_state, snapshot, tuple(entries or ()),
            blank=replay.is_blank, lasting=True,
        )  # fmt: skip

    def _replay(self) -> tuple[Replay, _Tail | None]:
        replay: Replay | None = None
        tail: _Tail | None = None
        segments = self._find()
        if not segments and self._directory.identity.begun:
            raise DataDirDamaged(self._gone())
        for place, segment in enumerate(segments):
            data = self._directory.read(segment.name)
            # Numbers of writes go on from segment to segment; older segments may be gone.
            first = None if replay is None and segment.number > 1 else self._next_write
            found = scan(data, segment.salt, first)
            self._judge(segment, data, found, last=place == len(segments) - 1)
            if not found.writes:
                # The crash came before the first write was whole: the segment never was.
                self._directory.disk.unlink(self._directory.at(segment.name))
                self._directory.sync()
                break
            replay = self._read(segment, found, replay)
            self._segments.append(segment)
            self._next_write = found.writes[-1][0].write + 1
            segment.size = found.end
            tail = _Tail(offset := found.writes[-1][0].offset, data[offset : found.end])
        return replay or Replay(EntryId(0, 0), HardState()), tail

    def _find(self) -> list[_Segment]:
        """Return the segments in the directory, in order and without a gap."""
        found = self._list()
        for before, segment in pairwise(found):
            self._follow(before, segment)
        return found

    def _list(self) -> list[_Segment]:
        matches = map(_NAME.fullmatch, self._directory.disk.list(self._directory.path))
        found = [_Segment(int(m[1]), bytes.fromhex(m[2])) for m in matches if m is not None]
        return sorted(found, key=lambda segment: segment.number)

    def _follow(self, before: _Segment, segment: _Segment) -> None:
        if segment.number != before.number + 1:
            raise self._damaged(segment, 0, f"it does not follow {before.name!r}")

    def survey(self) -> LogView:
        """Read the log as `load` does, but change nothing and go on behind damage.

        Takes the place of `load`: the log is of no use after it.

        Raises:
            StorageError: the directory cannot be read, or a later release wrote it.
        """
        assert self._position is None, "a log is loaded once"
        with explained("read the log in", self._directory.path):
            return self._survey(self._list())

    def _survey(self, segments: list[_Segment]) -> LogView:
        views: list[SegmentView] = []
        replay: Replay | None = None
        damaged_at: int | None = None
        torn_bytes = 0
        for place, segment in enumerate(segments):
            data = self._directory.read(segment.name)
            is_first = replay is None and segment.number > 1
            first = None if is_first or damaged_at is not None else self._next_write
            found = scan(data, segment.salt, first)
            writes, problem = found.writes, None
            if damaged_at is None:
                last = place == len(segments) - 1
                try:
                    if place:
                        self._follow(segments[place - 1], segment)
                    self._judge(segment, data, found, last=last)
                except DataDirDamaged as error:
                    problem = str(error)
                replay, writes, meaningless = self._read_far(segment, found, replay)
                problem = problem or meaningless
                if problem is not None:
                    damaged_at = place
                elif last:
                    torn_bytes = len(data) - found.end
            if writes:
                self._segments.append(segment)
                self._next_write = writes[-1][0].write + 1
            views.append(self._view(segment, data, writes, problem))
        problem = None if damaged_at is None else views[damaged_at].problem
        if not segments and self._directory.identity.begun:
            problem = self._gone()
        return LogView(
            tuple(views), replay or Replay(EntryId(0, 0), HardState()), torn_bytes, damaged_at,
            problem,
        )  # fmt: skip

    def _gone(self) -> str:
        return f"the files of the log in {self._directory.path!r} are gone; {REMEDY}"

    def _read_far(
        self, segment: _Segment, found: Scan, replay: Replay | None
    ) -> tuple[Replay | None, list[list[Record]], str | None]:
        """Apply the whole writes of a segment that have a meaning; return them, and what is wrong.

        None of a write is applied if one of its records has no meaning.
        """
        if not found.writes:
            return replay, [], None
        tried = None if replay is None else replay.copy()
        try:
            return self._read(segment, found, tried), found.writes, None
        except _Damage as error:
            before = [write for write in found.writes if write[-1].end <= error.offset]
            if before:
                replay = self._read(segment, found._replace(writes=before), replay)
            return replay, before, str(error)

    def _view(
        self, segment: _Segment, data: bytes, writes: list[list[Record]], problem: str | None
    ) -> SegmentView:
        indexes: list[int] = []
        for record in (record for write in writes for record in write):
            if record.kind == _PIECE:
                with contextlib.suppress(DataDirDamaged):
                    indexes += [entry.index for entry in self._piece(segment, record).entries]
        return SegmentView(
            name=segment.name,
            size_bytes=len(data),
            write_count=len(writes),
            entry_count=len(indexes),
            first_index=min(indexes, default=0),
            last_index=max(indexes, default=0),
            whole_bytes=writes[-1][-1].end if writes else 0,
            problem=problem,
        )

    def _judge(self, segment: _Segment, data: bytes, found: Scan, *, last: bool) -> None:
        """Let a torn tail pass; refuse damage."""
        end = found.writes[-1][0].write if found.writes else self._next_write - 1
        if last and not found.damaged and end < self._directory.identity.durable_write:
            # However much like a torn tail it looks: what a crash tears was never noted.
            what = "more was acknowledged, and is cut off, written over or gone with a later file"
            raise self._damaged(segment, found.end, what)
        if found.fault is None and found.writes:
            return
        fault = found.fault or 0
        if found.damaged:
            raise self._damaged(segment, fault, "whole records follow a bad one")
        if not last:
            raise self._damaged(segment, fault, "it ends badly although a later segment was begun")
        begun = segment.number > 1 or self._directory.identity.begun
        if not found.writes and not self._segments and begun:
            # It was acknowledged before its predecessors were removed, or the log was begun.
            raise self._damaged(segment, fault, "its first write is bad but was acknowledged")

    def _read(self, segment: _Segment, found: Scan, replay: Replay | None) -> Replay:
        """Apply the records of a segment."""
        header = self._header(segment, found.writes[0][0])
        if replay is None:
            replay = Replay(header.last, header.hard_state)
        elif (replay.last, replay.hard_state) != (header.last, header.hard_state):
            raise self._damaged(segment, 0, "it was not begun where the one before ends")
        segment.highest_index = header.last.index
        for write in found.writes:
            for record in write:
                if record.offset == 0:
                    continue
                piece = self._piece(segment, record)
                try:
                    replay.apply(piece)
                except ValueError as error:
                    raise self._damaged(segment, record.offset, str(error)) from error
                segment.highest_index = max(segment.highest_index, replay.last.index)
        return replay

    def _header(self, segment: _Segment, record: Record) -> _Header:
        if record.kind != _SEGMENT:
            raise self._damaged(segment, 0, "it does not begin as a segment of the log")
        try:
            format_, *_ = msgspec.msgpack.decode(record.payload, type=list[msgspec.Raw])
            version = msgspec.msgpack.decode(format_, type=int)
            if version > _FORMAT:
                raise StorageError(
                    f"{self._directory.at(segment.name)!r} has format {version}, but this release"
                    f" knows up to {_FORMAT} only; run the release that wrote it"
                )
            header = msgspec.msgpack.decode(record.payload, type=_Header)
            _check_id(header.last)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise self._damaged(segment, 0, f"its header has no meaning: {error}") from error
        if header.number != segment.number or header.data_dir != self._directory.identity.id:
            raise self._damaged(segment, 0, "it is the file of another directory")
        return header

    def _piece(self, segment: _Segment, record: Record) -> Piece:
        try:
            if record.kind != _PIECE:
                raise ValueError(f"kind {record.kind} is unknown to this release")
            piece = self._pieces.decode(record.payload)
            _check_piece(piece)
            return piece
        except (msgspec.MsgspecError, ValueError, RecursionError, ProtocolError) as error:
            what = f"a whole record has no meaning: {error}"
            raise self._damaged(segment, record.offset, what) from error

    def _settle(self, tail: _Tail, mark: tuple[int, bytes]) -> None:
        """Make what was read durable, then mark it, so that damage in it will be seen as such.

        What was read may only be in memory: the process was killed before its sync ended, or the
        sync failed and the system forgot about it. Only the last write can be concerned; writing
        it once more makes the sync below mean it. The mark has to wait for that: if a power cut
        left the mark without the write before it, that would be taken for damage.
        """
        segment = self._segments[-1]
        self._file = self._directory.disk.open(self._directory.at(segment.name), "write")
        if self._file.size() != segment.size:
            # What is cut off was begun after the last write was durable, so one sync does for both.
            self._file.truncate(segment.size)
        self._directory.sync()
        self._file.write(tail.offset, tail.data)
        self._file.sync()
        self._write(segment.size, [mark])

    # Appending

    def append(self, appends: Sequence[Append]) -> None:
        """Persist all of `appends` in order with one write and one sync; all of them, or none.

        Raises:
            StorageError: the disk failed; every later call fails as well.
        """
        position = self._position
        assert position is not None, "load() comes first"
        self._refuse_after_failure()
        records: list[tuple[int, bytes]] = []
        last, hard_state = position.last, position.hard_state
        highest = 0
        for append in appends:
            for piece in pieces_of(append, _RUN_BYTES):
                try:
                    position.apply(piece)
                except ValueError as error:
                    raise AssertionError(f"ticket {append.ticket}: {error}") from error
                records.append(self._record(piece))
                highest = max(highest, position.last.index)
        if not records:
            return
        with self._fatal("write the log in"):
            size = sum(HEADER_BYTES + len(payload) for _, payload in records)
            if self._segments[-1].size + size <= self._segment_bytes:
                self._write(self._segments[-1].size, records)
            else:
                self._begin_segment(records, last, hard_state)
                self._note_durable()
        self._note_index(highest)
        self._unmarked = True

    def _record(self, piece: Piece) -> tuple[int, bytes]:
        return _PIECE, self._encoder.encode(piece)

    def _begin_segment(
        self, records: list[tuple[int, bytes]], last: EntryId, hard_state: HardState
    ) -> None:
        """Begin a segment where the log stands; header and records are its first write."""
        if self._file is not None:
            self._file.close()
            self._file = None
        number = self._segments[-1].number + 1 if self._segments else 1
        segment = _Segment(number, self._new_salt())
        segment.highest_index = last.index
        self._file = self._directory.disk.open(self._directory.at(segment.name), "create")
        self._segments.append(segment)
        header = _Header(_FORMAT, self._directory.identity.id, number, last, hard_state)
        self._write(0, [(_SEGMENT, self._encoder.encode(header)), *records])
        # The content is durable, but a power cut could still take the file with its name.
        self._directory.sync()

    def _note_durable(self) -> None:
        """Have a later start miss what is durable by now, if it is gone."""
        self._directory.note_durable(self._next_write - 1)

    def _new_salt(self) -> bytes:
        # Without zeros in it, so that a tail of zeros is searched as fast as any other.
        return bytes(1 + byte % 255 for byte in self._directory.disk.random_bytes(SALT_BYTES))

    def _note_index(self, index: int) -> None:
        segment = self._segments[-1]
        segment.highest_index = max(segment.highest_index, index)

    def _write(self, offset: int, records: list[tuple[int, bytes]]) -> None:
        """Write and sync; rely on nothing before this returns."""
        assert self._file is not None
        segment = self._segments[-1]
        data = encode_write(segment.salt, self._next_write, records)
        self._file.write(offset, data)
        self._file.sync()
        segment.size = offset + len(data)
        self._next_write += 1

    # Compacting and closing

    def compact(self, index: int) -> None:
        """Remove segments whose entries are all covered by a snapshot that reaches to `index`.

        The segment that is written to stays in any case.

        Raises:
            StorageError: a file cannot be removed; the log can still be used.
        """
        self._refuse_after_failure()
        with explained("remove old log files in", self._directory.path):
            while len(self._segments) > 1 and self._segments[0].highest_index <= index:
                with contextlib.suppress(FileNotFoundError):
                    self._directory.disk.unlink(self._directory.at(self._segments[0].name))
                # One by one: a gap between the segments that remain would be damage.
                self._directory.sync()
                del self._segments[0]
            self._note_durable()

    def close(self) -> None:
        """Mark what was written as whole, and release the file; idempotent."""
        file = self._file
        if file is None:
            return
        if self._unmarked and self._failure is None:
            # Without the mark, damage to the last write would be taken for a torn tail.
            with contextlib.suppress(OSError):
                self._write(self._segments[-1].size, [self._record(Piece())])
                self._note_durable()
        self._file = None
        with contextlib.suppress(OSError):
            file.close()
        self._failure = self._failure or "it was closed"

    @contextlib.contextmanager
    def _fatal(self, doing: str) -> Iterator[None]:
        """Let no call follow one that failed."""
        try:
            with explained(doing, self._directory.path):
                yield
        except BaseException as error:
            self._failure = str(error) or type(error).__name__
            raise

    def _refuse_after_failure(self) -> None:
        if self._failure is not None:
            raise StorageError(f"the log cannot be used any more: {self._failure}")

    def _damaged(self, segment: _Segment, offset: int, what: str) -> DataDirDamaged:
        path = self._directory.at(segment.name)
        return _Damage(
            f"the log {path!r} is damaged at byte {offset}: {what}; {REMEDY}", offset
        )

    def _check(self) -> None:
        """Assert what holds between two calls."""
        numbers = [segment.number for segment in self._segments]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True
        if self._failure is None and self._position is not None:
            assert self._file is not None
            assert self._file.size() == self._segments[-1].size
            highest = max(segment.highest_index for segment in self._segments)
            assert self._position.last.index <= highest, (self._position.last, highest)

