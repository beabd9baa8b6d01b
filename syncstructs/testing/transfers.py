"""Snapshots, where they are taken, sent and taken over: each says truly what it is.

Index, term and time are those of the entry that was committed there; a receiver claims only what
it has stored, and asks for what its store lacks; and what is kept and taken over is what was sent.
A log that is equal up to there keeps what follows (section 7): it may have been acknowledged. Of
the calls that a snapshot covers nobody knows a result. Leaders keep to `Config.snapshot_rate`, and
serve in turn those that wait for it; the log that follows what they send is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from zlib import crc32

from ..raft.transfer import SAVED
from ..storage.memory import MemorySnapshots
from ..storage.snapshots import _name
from .watching import WATCHES, replace_methods

if TYPE_CHECKING:
    from ..config import Config
    from ..raft.core import RaftCore
    from ..raft.effects import ChunkWrite, Effects
    from ..raft.messages import Entry, EntryId, SnapshotMeta, SnapshotReply
    from ..storage.base import SnapshotStore
    from .hosts import Life


class Transfers:
    """The rules, for all lives of a simulation; `fail(life, what)` raises."""

    def __init__(
        self,
        config: Config,
        committed: Mapping[int, Entry],
        fail: Callable[[Life, str], object],
        installed: Callable[[Life], object],
    ) -> None:
        """`installed`: called with every life that has taken over a snapshot."""
        self._committed = committed
        self._fail = fail
        self._installed = installed
        # By life: how many bytes of each snapshot its store has said to have.
        self._stored: dict[Life, dict[EntryId, int]] = {}
        self._config = config

    def watch(self, life: Life) -> None:
        """Watch the node of a life from now on."""
        stored = self._stored[life] = {}
        replica: Any = life.replica
        core = life.core
        install, written = replica.install, replica.chunk_written

        def watched_install(snapshot: SnapshotMeta, parts: Iterable[bytes]) -> Any:
            image = b"".join(parts)
            if len(image) != snapshot.size_bytes or crc32(image) != snapshot.checksum:
                self._fail(life, f"takes over {len(image)} bytes that are not those of {snapshot}")
            progress = install(snapshot, [image])
            for outcome in progress.outcomes:
                if outcome.error is None:
                    self._fail(life, f"gives a call a result out of {snapshot}: {outcome.value!r}")
            self._installed(life)
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

        replace_methods(replica, install=watched_install, chunk_written=watched_written)
        self._watch_log(life)
        self._watch_store(life)
        if self._config.snapshot_rate is not None:
            self._watch_rate(life, self._config.snapshot_rate)

    def _watch_rate(self, life: Life, rate: float) -> None:
        core: Any = life.core
        take = core.take_effects
        most = rate * SAVED + self._config.chunk_bytes
        level, level_at = 0.0, life.now()
        # By who waits: how often each of the others was served meanwhile.
        overtaken: dict[str, Counter[str]] = {}

        def wakes_for_the_next() -> None:
            due, deadline = level_at + max(level / rate - SAVED, 0.0), core.deadline()
            if deadline > due + 0.001:
                self._fail(
                    life,
                    f"sleeps until {deadline:.3f}, although a chunk may be sent at {due:.3f}",
                )

        def watched_take(**options: bool) -> Effects:
            nonlocal level, level_at
            before = _able(core)
            effects: Effects = take(**options)
            able = _able(core)
            if not effects.chunk_reads:
                if able:
                    wakes_for_the_next()
                return effects
            # What goes out in one go is charged to when the core was last told the time.
            now = core._now
            level, level_at = max(level - rate * (now - level_at), 0.0), now
            level += sum(read.size for read in effects.chunk_reads)
            if level > most + 1.0:
                self._fail(
                    life,
                    f"sends snapshots faster than {rate:.0f} bytes per second:"
                    f" {level - most:.0f} bytes too much by now",
                )
            served = Counter(read.to for read in effects.chunk_reads)
            if core._leading is not None and core._leading._outgrown:
                # One after the other, lest the log outgrows them all.
                overtaken.clear()
                return effects
            for peer in list(overtaken):
                if peer not in before:
                    del overtaken[peer]
            for peer in before & able - served.keys():
                counts = overtaken.setdefault(peer, Counter())
                counts.update(served)
                other, count = counts.most_common(1)[0]
                if count > 2:
                    self._fail(life, f"sends {other} {count} chunks while {peer} waits for one")
            for peer in served:
                overtaken.pop(peer, None)
            if able:
                wakes_for_the_next()
            return effects

        replace_methods(core, take_effects=watched_take)

    def _watch_store(self, life: Life) -> None:
        store: Any = life._snapshots
        # A store in memory outlives its node.
        finish = partial(type(store).finish, store)

        def watched_finish(snapshot: SnapshotMeta) -> bool:
            whole: bool = finish(snapshot)
            if whole:
                kept = _image(life, store, snapshot)
                if kept is None or crc32(kept) != snapshot.checksum:
                    self._fail(life, f"keeps bytes as {snapshot} that are not what was sent")
            return whole

        store.finish = watched_finish

    def _watch_log(self, life: Life) -> None:
        core: Any = life.core
        reset = core._reset_log

        def watched_reset(snapshot: SnapshotMeta) -> int:
            log = core.log
            if log.has(snapshot.id):
                self._fail(
                    life,
                    f"drops its log up to {log.last_id}, which is equal to that of {snapshot}"
                    " as far as that reaches (section 7)",
                )
            ticket: int = reset(snapshot)
            return ticket

        replace_methods(core, _reset_log=watched_reset)
        compacted = core.compacted

        def watched_compacted(snapshot: SnapshotMeta, now: float) -> list[str]:
            log, before = core.log, core.log.base.index
            limit = max(self._config.snapshot_log_bytes, snapshot.size_bytes)
            needed = [
                index
                for index in _sent(core, now)
                if before <= index < snapshot.index
                and log.bytes_between(index + 1, snapshot.index) <= limit
            ]
            anew: list[str] = compacted(snapshot, now)
            if needed and log.base.index > min(needed):
                self._fail(
                    life,
                    f"drops its log up to {log.base}, and sends a snapshot of {min(needed)} that"
                    " needs what follows it",
                )
            return anew

        replace_methods(core, compacted=watched_compacted)

    def answers(self, life: Life, message: SnapshotReply) -> None:
        """Look at what a receiver claims to have."""
        if WATCHES and not message.done:
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


def _able(core: RaftCore) -> set[str]:
    """Return who is being sent a snapshot, is heard, and has room for a chunk."""
    leading = core._leading
    if leading is None or not leading._transfers:
        return set()
    transfers = leading._heard_transfers(core._now)
    return {peer for peer, transfer in transfers.items() if transfer.may_send}


def _sent(core: RaftCore, now: float) -> list[int]:
    """Return the indexes of the snapshots that are being sent to those that have answered."""
    leading = core._leading
    if leading is None:
        return []
    heard = leading._heard_transfers(now)
    return [t.snapshot.index for p, t in heard.items() if leading.peers[p].acknowledged_round]


def _image(life: Life, store: SnapshotStore, snapshot: SnapshotMeta) -> bytes | None:
    """Return what a store keeps as the image of a snapshot, whatever its disk makes of reads."""
    if isinstance(store, MemorySnapshots):
        return store._read(snapshot, 0, snapshot.size_bytes)
    disk = life.host.disk
    assert disk is not None, life.host.address
    content = disk.peek(_name(snapshot))
    return None if content is None else content[max(0, len(content) - snapshot.size_bytes) :]
