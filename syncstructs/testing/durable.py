"""What the log of each host holds for good, as its store has told, and what a start finds of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from ..raft.effects import Append
from ..raft.messages import Entry, HardState, Restored, SnapshotMeta
from ..storage.wal import Wal
from .violation import Violation

if TYPE_CHECKING:
    from ..storage.base import LogStore
    from .hosts import Life
    from .simdisk import SimDisk


class Durable:
    """What the log of a host is known to hold for good, as its store has reported."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.base = 0
        """Index of the snapshot at which the log was reset."""
        self.terms: list[int] = []
        """Terms of the entries behind `base`."""
        self._reached: dict[int, int] = {0: 0}
        """By term, the highest index that was there in it; later ones may have taken it back."""
        self.writing: Sequence[Append] = ()
        """Handed to the store, which has not returned: any part of it may be there."""
        self.last_write: tuple[str, int, int] | None = None
        """The newest write with anything in it, on a disk: the file, where it begins and ends."""
        self.is_closed = False
        """Whether the log was closed since then, and nothing went wrong."""

    @property
    def last(self) -> int:
        """The highest index that is there."""
        return self.base + len(self.terms)

    def has(self, index: int, term: int) -> bool:
        """Return whether the entry is there, or behind the base."""
        if index <= self.base:
            return True
        at = index - self.base - 1
        return at < len(self.terms) and self.terms[at] == term

    def take(self, appends: Sequence[Append]) -> None:
        """Note that these are there now."""
        for append in appends:
            if append.reset is not None:
                self.base = append.reset.index
                self.terms.clear()
            if append.hard_state is not None:
                self.hard_state = append.hard_state
            if append.reset is not None or append.hard_state is not None:
                self._note_reached()
            if append.entries:
                self._take_entries(append.entries)
                self._note_reached()

    def _take_entries(self, entries: Sequence[Entry]) -> None:
        terms, first = self.terms, self.base + 1
        for entry in entries:
            at = entry.index - first
            if at < len(terms):
                del terms[at:]
            assert at == len(terms), (entry.id, self.last)
            terms.append(entry.term)

    def _note_reached(self) -> None:
        term, last = self.hard_state.term, self.base + len(self.terms)
        if last > self._reached.get(term, -1):
            self._reached[term] = last

    def reached(self, term: int) -> int:
        """Return the highest index that was there at any time since that term."""
        first = max(known for known in self._reached if known <= term)
        return max(last for known, last in self._reached.items() if known >= first)

    def compare(self, restored: Restored) -> str | None:
        """Return what is missing in what a store gives back after a crash, or None."""
        mine, its = self.hard_state, restored.hard_state
        writing = any(append.hard_state for append in self.writing)
        if its.term < mine.term:
            return f"term {mine.term} is forgotten, it says {its.term}"
        if its != mine and not writing:
            return f"{mine} has become {its}"
        safe = self.last
        for append in self.writing:
            if append.reset is not None:
                safe = 0
            if append.entries:
                safe = min(safe, append.entries[0].index - 1)
        base = restored.snapshot.index if restored.snapshot is not None else 0
        if restored.snapshot is not None and not self.has(base, restored.snapshot.term):
            # A received snapshot contradicts the log, so that goes as a whole (section 7).
            return None
        terms = [entry.term for entry in restored.entries]
        for index in range(max(base, self.base) + 1, safe + 1):
            at = index - base - 1
            found = terms[at] if at < len(terms) else None
            if found != self.terms[index - self.base - 1]:
                return (
                    f"entry {index} of term {self.terms[index - self.base - 1]} was persisted; now"
                    f" it is of term {found}"
                )
        if base < self.base and safe:
            return f"the log was reset to a snapshot at {self.base}; it begins at {base} again"
        return None

    def begin(self, restored: Restored) -> None:
        """Take over what a store gives back."""
        self.hard_state = restored.hard_state
        self.base = restored.snapshot.index if restored.snapshot is not None else 0
        self.terms = [entry.term for entry in restored.entries]
        self.writing = ()
        self._note_reached()


class WatchedLog:
    """A log store that reports to the checks what it has persisted."""

    def __init__(
        self,
        inner: LogStore,
        durable: Durable,
        life: Life,
        fail: Callable[[Life, str], object],
    ) -> None:
        self.blocking = inner.blocking
        self._fail = fail
        self._inner = inner
        self._durable = durable
        self._life = life
        self._highest: dict[str, int] = {}
        """By segment, on a disk: the highest index that was written to it in this life."""

    def load(self, snapshot: SnapshotMeta | None) -> Restored:
        """Load, and compare with what was reported before the crash."""
        restored = self._inner.load(snapshot)
        missing = self._durable.compare(restored)
        if missing is not None:
            raise Violation(f"{self._life.host.address} has lost what was persisted: {missing}")
        if restored.hard_state.recovering and not restored.blank:
            raise Violation(
                f"{self._life.host.address} takes itself for whole, though it was recovering"
            )
        self._durable.begin(restored)
        self._durable.last_write, self._durable.is_closed = None, False
        return restored

    def append(self, appends: Sequence[Append]) -> None:
        """Append, and note that it is durable."""
        durable, inner = self._durable, self._inner
        durable.writing = [*durable.writing, *appends]
        before = inner._segments[-1] if isinstance(inner, Wal) else None
        begin = 0 if before is None else before.size
        inner.append(appends)
        durable.writing = ()
        durable.take(appends)
        if isinstance(inner, Wal):
            segment = inner._segments[-1]
            if segment is not before:
                begin = 0
            if segment.size > begin:
                durable.last_write = (segment.name, begin, segment.size)
            indexes = [append.entries[-1].index for append in appends if append.entries]
            position = inner._position
            if position is not None and position.hard_state != durable.hard_state:
                self._fail(
                    self._life,
                    f"would begin its next segment with {position.hard_state}; what is durable is"
                    f" {durable.hard_state}",
                )
            name = inner._segments[-1].name
            self._highest[name] = max([self._highest.get(name, 0), *indexes])

    def compact(self, index: int) -> None:
        """Compact, once a snapshot is there for good that covers it; and lose no more than that."""
        if not isinstance(self._inner, Wal):
            self._inner.compact(index)
            return
        disk = self._life.host.disk
        assert disk is not None, self._life.host.address
        snapshots = [name for name in disk.durable_names() if name.endswith(".image")]
        if not any(int(name.split("-")[1]) >= index for name in snapshots):
            self._fail(
                self._life,
                f"removes its log up to {index}, and no snapshot is durable that reaches there:"
                f" {snapshots}",
            )
        self._inner.compact(index)
        kept = {segment.name for segment in self._inner._segments}
        for name in [name for name in self._highest if name not in kept]:
            if (highest := self._highest.pop(name)) > index:
                self._fail(
                    self._life,
                    f"removes entries up to {highest} from its log; its snapshot reaches to {index}"
                    " only",
                )

    def close(self) -> None:
        """Close, and note whether all is whole, so that a start can tell later damage."""
        inner, disk = self._inner, self._life.host.disk
        if not isinstance(inner, Wal) or disk is None or inner._file is None:
            inner.close()
            return
        could = inner._failure is None
        failures = _failures(disk)
        inner.close()
        self._durable.is_closed = could and _failures(disk) == failures


def _failures(disk: SimDisk) -> int:
    return disk.counts["write failed"] + disk.counts["sync failed"] + disk.counts["full"]
