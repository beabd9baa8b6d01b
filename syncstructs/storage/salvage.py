"""A data directory looked at without its node, and what can be done about one that is damaged.

Looking changes nothing. What is wrong is told, and how far log and snapshots are whole. Then:

**Repair** makes a directory usable whose log is damaged before its end. What stands from the damage
on is moved aside, acknowledged entries and votes included. So the member must not vote or count as
if it had them: it is marked as one that has forgotten, and as one that joins, and keeps what is
left only to be filled faster. Others have to recover it (`raft.recovery`), which loses nothing as
long as a majority of them has what it lacks.

**Founding anew** is for the loss of a majority. A membership of this member alone, under another
genesis, is appended to its log, in a later term. So all that this member had is kept, committed or
not; what only the others had is gone; and what is left of the others takes no part any more.
"""

from typing import Final, NamedTuple

from msgspec.structs import replace

from ..errors import DataDirDamaged, StorageError
from ..raft.effects import Append
from ..raft.membership import Membership, decode_membership, encode_membership
from ..raft.messages import Entry, EntryId, EntryKind, HardState, SnapshotMeta
from .disk import DataDir, Identity, explained, half_repaired
from .replay import Replay
from .snapshots import DiskSnapshots, SnapshotView
from .wal import LogView, Wal

_SEGMENT_BYTES: Final = 64 * 1024 * 1024
_PIECE_BYTES: Final = 8 * 1024 * 1024


class Survey(NamedTuple):
    """What a data directory holds."""

    identity: Identity
    log: LogView
    snapshots: tuple[SnapshotView, ...]
    """Oldest first."""
    problems: tuple[str, ...]
    """Why a node refuses the directory; empty if it does not."""
    half_repaired: bool
    """Whether a repair was begun that came to no end: part of the log may be gone already."""

    @property
    def snapshot(self) -> SnapshotMeta | None:
        """The newest snapshot that is whole."""
        whole = [view.snapshot for view in self.snapshots if view.problem is None]
        return whole[-1] if whole else None

    @property
    def membership(self) -> Membership:
        """Who the members are, as far as the directory tells: of the log, a snapshot, or at first.
        """
        for entry in reversed(self.log.replay.entries):
            if entry.kind is EntryKind.MEMBERSHIP:
                return decode_membership(entry.payload)
        if self.snapshot is not None and self.snapshot.membership.voters:
            return self.snapshot.membership
        return Membership(self.identity.members)

    @property
    def last(self) -> EntryId:
        """The last entry, in the log or in a snapshot."""
        last = self.log.replay.last
        return last if self.snapshot is None else max(last, self.snapshot.id)


def survey(directory: DataDir) -> Survey:
    """Look at all there is in a directory, and change nothing.

    Raises:
        StorageError: it cannot be read, or a later release wrote it.
    """
    # The store alone knows its names and formats; none of its other work is wanted.
    snapshots = DiskSnapshots(directory, only_look=True).survey()
    log = Wal(directory, segment_bytes=_SEGMENT_BYTES).survey()
    problems = [half_repaired(directory.path)] if directory.half_repaired else []
    if log.problem is not None:
        problems.append(log.problem)
    if snapshots and snapshots[-1].problem is not None:
        problems.append(snapshots[-1].problem)
    found = Survey(
        directory.identity, log, snapshots, tuple(problems), directory.half_repaired
    )
    if not problems:
        gap = _gap(log.replay, found.snapshot)
        if gap is not None:
            return found._replace(problems=(f"{directory.path!r}: {gap}",))
    return found


def _gap(replay: Replay, snapshot: SnapshotMeta | None) -> str | None:
    """Return what is missing between a snapshot and the log, None if nothing is."""
    try:
        replay.after(snapshot)
    except ValueError as error:
        return str(error)
    return None


# Repair


class Cut(NamedTuple):
    """Bytes to be moved aside: of a file, from `offset` on."""

    name: str
    offset: int
    size_bytes: int


class Plan(NamedTuple):
    """How a directory is repaired."""

    cuts: tuple[Cut, ...]
    last: EntryId
    """Where the member's log ends afterwards."""
    forgets: bool
    """Whether the member has to be recovered by the others; else it lacks nothing."""


def plan_repair(found: Survey) -> Plan:
    """Return what a repair would do.

    Raises:
        StorageError: there is nothing to repair.
        DataDirDamaged: what is left would be of no use; the message says what can be done instead.
    """
    if not found.problems:
        raise StorageError(
            "there is nothing to repair: a node starts on this directory as it is"
            + (", and cuts off the torn end by itself" if found.log.torn_bytes else "")
        )
    log = found.log
    cuts = [Cut(view.name, 0, view.size_bytes) for view in found.snapshots if view.problem]
    if log.damaged_at is not None:
        first, *others = log.segments[log.damaged_at :]
        cuts.append(Cut(first.name, first.whole_bytes, first.size_bytes - first.whole_bytes))
        cuts += [Cut(view.name, 0, view.size_bytes) for view in others]
    gap = _gap(log.replay, found.snapshot)
    if gap is not None:
        raise DataDirDamaged(f"it cannot be repaired: {gap}; {found.problems[0]}")
    # A snapshot that came from others may hold more than the log ever did.
    beyond = any(v.problem and v.reaches_to > log.replay.last.index for v in found.snapshots)
    forgets = found.half_repaired or log.problem is not None or beyond
    return Plan(tuple(cuts), found.last, forgets=forgets)


def repair(directory: DataDir, found: Survey) -> str:
    """Carry `plan_repair` out; return how the files begin to which the damaged part was moved.

    Raises:
        StorageError, DataDirDamaged: see `plan_repair`; or the disk failed, and it can be begun
            again.
    """
    plan = plan_repair(found)
    with explained("repair", directory.path):
        prefix = _copy_aside(directory, plan.cuts)
        if not plan.forgets:
            _cut(directory, plan.cuts)
            return prefix
        # From here until the end, every node refuses the directory.
        directory.set_aside()
        _cut(directory, plan.cuts)
        gone = {cut.name for cut in plan.cuts if cut.offset == 0}
        left = [view for view in found.log.segments if view.name not in gone]
        directory.identity = replace(
            directory.identity, joined=True, begun=bool(left), durable_write=0
        )
        _mark_as_forgetful(directory, found.log.replay.hard_state)
        directory.restate(directory.identity)
    return prefix


def _copy_aside(directory: DataDir, cuts: tuple[Cut, ...]) -> str:
    disk, names = directory.disk, directory.disk.list(directory.path)
    taken = {name.split("-")[1] for name in names if name.startswith("cut-")}
    number = next(number for number in range(1, len(names) + 2) if str(number) not in taken)
    prefix = f"cut-{number}-"
    for cut in cuts:
        source = disk.open(directory.at(cut.name), "read")
        copy = disk.open(directory.at(f"{prefix}{cut.name}.from-{cut.offset}"), "create")
        try:
            for at in range(0, cut.size_bytes, _PIECE_BYTES):
                size = min(_PIECE_BYTES, cut.size_bytes - at)
                copy.write(at, source.read(cut.offset + at, size))
            copy.sync()
        finally:
            source.close()
            copy.close()
    directory.sync()
    return prefix


def _cut(directory: DataDir, cuts: tuple[Cut, ...]) -> None:
    # From the end, one by one: whatever a power cut leaves is damaged where it was, and no file is
    # without those before it, which would be taken for a log that begins there.
    for cut in reversed(cuts):
        if cut.offset == 0:
            directory.disk.unlink(directory.at(cut.name))
            directory.sync()
            continue
        file = directory.disk.open(directory.at(cut.name), "write")
        try:
            file.truncate(cut.offset)
            file.sync()
        finally:
            file.close()


def _mark_as_forgetful(directory: DataDir, hard_state: HardState) -> None:
    """Have the member neither vote nor count before the others have recovered it."""
    snapshot = DiskSnapshots(directory).latest()
    log = Wal(directory, segment_bytes=_SEGMENT_BYTES)
    log.load(snapshot)
    forgetful = HardState(hard_state.term, hard_state.vote, recovering=True)
    log.append([Append(0, hard_state=forgetful)])
    log.close()


# Founding anew


def found_anew(
    directory: DataDir, found: Survey, address: str, *, genesis: int, command: bytes
) -> EntryId:
    """Make what this directory holds the state of a new cluster whose only member is `address`.

    `genesis`: a random number above 0; `command`: the payload of an entry that says the same to
    the replicated state. Returns the last entry.

    Raises:
        DataDirDamaged: it is damaged; repair it first.
        StorageError: it holds nothing; or the disk failed, and it can be begun again.
    """
    if found.problems:
        raise DataDirDamaged(f"it is damaged, so repair it first: {found.problems[0]}")
    if found.last == EntryId(0, 0):
        raise StorageError(f"{directory.path!r} holds no entry yet; a new member needs no rescue")
    with explained("found a cluster anew in", directory.path):
        snapshot = DiskSnapshots(directory).latest()
        log = Wal(directory, segment_bytes=_SEGMENT_BYTES)
        restored = log.load(snapshot)
        newest = restored.entries[-1] if restored.entries else snapshot
        assert newest is not None, found.last
        last, time = newest.id, newest.time
        term = max(restored.hard_state.term, last.term) + 1
        membership = Membership((address,), genesis=genesis)
        added = [
            Entry(term, last.index + 1, time, EntryKind.MEMBERSHIP, encode_membership(membership)),
            Entry(term, last.index + 2, time, EntryKind.BATCH, command),
        ]
        log.append([Append(0, hard_state=HardState(term), entries=added)])
        log.close()
        # Last: until then a node that is started here under its old address just waits.
        directory.restate(
            replace(directory.identity, address=address, members=(address,), joined=False)
        )
    return added[-1].id
