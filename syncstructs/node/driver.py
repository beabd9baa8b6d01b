"""The driver carries out a replica's effects through the ports, and brings events back.

Deterministic: given the same events at the same times it does the same, so a simulator runs this
very code with clock, links, disk and snapshotter replaced. The order that keeps acknowledged
writes safe is here: an append is given to the store before anything that hangs on it is sent, and
`persisted` is reported only after the store has returned.
"""

import logging
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from msgspec.structs import replace as struct_replace

from ..applying import Progress
from ..config import Config
from ..errors import ConfigError, NodeClosed, NodeFailed, SyncError
from ..objects.comparison import Asked
from ..objects.outbox import HasCommand
from ..raft.effects import Append, ChunkRead, ChunkWrite, Effects
from ..raft.messages import Answer, AppendReply, Inquiry, SnapshotMeta
from ..raft.wire import decode, encode
from ..replica import Replica
from ..storage.base import LogStore, SnapshotStore
from .garbage import long_lived
from .ports import Calls, Clock, Digester, Gate, Links, Snapshotter, Worker

C = TypeVar("C", bound=HasCommand)
_log = logging.getLogger("syncstructs.node")

# Payload applied in one go before messages and heartbeats get their turn again.
_SLICE_BYTES = 64 * 1024
# Rounds of effects and applying in one go, and about how long they may take in seconds; then
# messages and timers get their turn.
_ROUND_COUNT = 8
_PUMP_SECONDS = 0.01
_NOTHING = Effects()
# A snapshot that failed (a full disk, a value without encoding) is tried again after this time.
_SNAPSHOT_RETRY = 30.0


class Driver(Generic[C]):
    """Runs one replica. Its thread (or loop, or simulator) calls the events, then `pump`."""

    def __init__(
        self,
        replica: Replica[C],
        *,
        config: Config,
        clock: Clock,
        links: Links,
        log: LogStore,
        snapshots: SnapshotStore,
        log_worker: Worker,
        snapshot_worker: Worker,
        snapshotter: Snapshotter,
        digester: Digester,
        gate: Gate,
        calls: Calls[C],
        on_progress: Callable[[Progress[C]], Any],
        on_inquiry: Callable[[str, Inquiry | Answer], Any],
    ) -> None:
        self.replica = replica
        self.failure: NodeFailed | None = None
        self._config = config
        self._clock = clock
        self._links = links
        self._log = log
        self._snapshots = snapshots
        self._log_worker = log_worker
        self._snapshot_worker = snapshot_worker
        self._snapshotter = snapshotter
        self._digester = digester
        self._gate = gate
        self._calls = calls
        self._on_progress = on_progress
        self._on_inquiry = on_inquiry
        self._appends: list[Append] = []
        self._appending = False
        self._snapshotting = False
        self._snapshot_after = 0.0
        self._digesting = False
        self._snapshot_asks: list[Callable[[int | BaseException], Any]] = []
        self._installing: tuple[SnapshotMeta, Iterable[bytes]] | None = None
        self._sure = False
        self.yields = False
        """Whether the last `pump` left the rest to the next one: those it has told may call."""
        self._tick_at = -math.inf

    # Events; each is followed by `pump`, at once or after a burst of them

    def frame_received(self, peer: str, payload: bytes) -> bool:
        """Take in a frame; return whether `pump` may have to do something about it.

        Raises:
            ProtocolError: no correct member sends this; close the link.
        """
        message = decode(payload)
        if type(message) is Inquiry or type(message) is Answer:
            self._on_inquiry(peer, message)
            return True
        self.replica.step(peer, message, self._clock.now())
        # Of the followers' answers to a message, mostly the first ones alone have consequences.
        return type(message) is not AppendReply or self.replica.has_work or bool(self._appends)

    def link_up(self, peer: str) -> None:
        """Note that frames can be sent to `peer`."""
        self.replica.peer_connected(peer, self._clock.now())

    def link_down(self, peer: str) -> None:
        """Note that the link to `peer` is gone."""
        self.replica.peer_lost(peer, self._clock.now())

    # The one loop

    def pump(self) -> float:
        """Do everything that can be done now; return when to call again at the latest.

        Raises:
            NodeFailed: this node must stop; `failure` holds it from then on.
        """
        self._raise_failure()
        replica = self.replica
        if replica.core.is_stranded:
            stranded = NodeFailed(
                "the members have begun another life of the cluster, without what is held here:"
                " make this observer anew"
            )
            self.fail(stranded)
            raise stranded
        now = self._clock.now()
        # An event may have brought the deadline forward since; then the next pump sees it.
        if now >= self._tick_at:
            replica.tick(now)
        idle = self.yields = False
        for _ in range(_ROUND_COUNT):
            calls: Sequence[C] = ()
            if self._calls.waiting and replica.accepts_calls:
                calls = self._calls.take(self._config.append_window_bytes)
            if calls:
                replica.propose(calls, now)
            effects = replica.take_effects(now)
            has_work = False
            if effects != _NOTHING or self._appends:
                has_work = self._carry_out(effects)
            if self._installing is not None:
                self._restore(*self._installing)
            applied = replica.can_apply and self._apply(now)
            if applied and self._may_hear_of_more():
                self.yields = True
                break
            # What a memory store persists at once has effects of its own, and what was applied
            # makes room for calls.
            idle = not (
                (calls and self._calls.waiting)
                or applied
                or (has_work and replica.has_effects)
                or replica.core.holds_commit
            )
            if idle or self._clock.now() > now + _PUMP_SECONDS:
                break
        if replica.snapshot_due or self._snapshot_asks:
            self._maybe_snapshot(now)
        self._raise_failure()
        sure_until = replica.sure_until()
        sure = sure_until > now
        if self._sure and not sure:
            # Once, when this node stops being sure of its session.
            self._on_progress(Progress(session_lost=True))
        self._sure = sure
        deadline = self._tick_at = replica.deadline()
        if not idle:
            return now
        return sure_until if sure and sure_until < deadline else deadline

    def _raise_failure(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _may_hear_of_more(self) -> bool:
        """Whether the last call made here has ended: who is told may make the next one.

        In another thread or task, which is given a turn for that.
        """
        replica = self.replica
        return replica.core.holds_commit and not replica.outbox and not self._calls.waiting

    def _apply(self, now: float) -> bool:
        if not self._gate.enter():
            return False
        try:
            progress = self.replica.apply(_SLICE_BYTES, now)
            if progress.asked is not None and progress.failure is None:
                # Before the gate opens: a child is to find no lock that a reader holds for ever.
                self._take_digests(progress.asked)
        except MemoryError as error:
            self.fail(NodeFailed(f"out of memory while applying: {error}"))
            return False
        finally:
            self._gate.leave()
        # Callers and their callbacks run outside the gate, after the state is whole again.
        self._on_progress(progress)
        if progress.failure is not None:
            self.fail(progress.failure)
        return progress.failure is None

    # Effects

    def _carry_out(self, effects: Effects) -> bool:
        """Return whether stores have to do something."""
        if effects.appends:
            self._appends.extend(effects.appends)
        encoded, data = None, b""
        for peer, message in effects.sends:
            if message is not encoded:
                # Observers that are equally far are sent the very same one.
                encoded, data = message, encode(message)
            self._links.send(peer, data)
        if effects.peers is not None:
            self._set_peers(effects.peers)
        if effects.dismissed:
            self._on_progress(Progress(removed=True))
        for read in effects.chunk_reads:
            self._read_chunk(read)
        for write in effects.chunk_writes:
            self._write_chunk(write)
        if effects.install is not None:
            self._install(effects.install)
        if self._appends and not self._appending:
            self._append()
        return bool(
            effects.appends or effects.chunk_reads or effects.chunk_writes or effects.install
        )

    def _set_peers(self, peers: tuple[str, ...]) -> None:
        try:
            self._links.set_peers(peers)
        except ConfigError as error:
            _log.error("a member cannot be reached: %s", error)

    def _append(self) -> None:
        appends, self._appends = self._appends, []
        self._appending = True

        def done(result: BaseException | None) -> None:
            self._appending = False
            if result is not None:
                self.fail(NodeFailed(f"the log cannot be written, so this node stops: {result}"))
                return
            now = self._clock.now()
            for append in appends:
                for peer, message in append.then_send:
                    self._links.send(peer, encode(message))
                self.replica.persisted(append.ticket, now)
            if self._appends:
                self._append()

        self._log_worker.run(lambda: self._log.append(appends), done)

    def _read_chunk(self, read: ChunkRead) -> None:
        chunk = read.chunk

        def done(data: bytes | BaseException | None) -> None:
            if isinstance(data, bytes):
                self._links.send(read.to, encode(struct_replace(chunk, data=data)))
                return
            if data is not None:
                _log.warning("a snapshot cannot be read for %s: %s", read.to, data)
            self.replica.core.chunk_missing(read.to, chunk.snapshot)

        self._snapshot_worker.run(
            lambda: self._snapshots.read(chunk.snapshot, chunk.offset, read.size), done
        )

    def _write_chunk(self, write: ChunkWrite) -> None:
        def store() -> tuple[int, bool]:
            wanted = self._snapshots.write(write.snapshot, write.offset, write.data)
            arrived = wanted == write.offset + len(write.data)
            if not (write.last and arrived):
                return wanted, arrived
            whole = self._snapshots.finish(write.snapshot)
            return (wanted, True) if whole else (0, False)

        def done(result: tuple[int, bool] | BaseException) -> None:
            if isinstance(result, BaseException):
                _log.error("a received snapshot cannot be stored: %s", result)
                result = (0, False)
            self.replica.chunk_written(write, *result, self._clock.now())

        self._snapshot_worker.run(store, done)

    def _install(self, snapshot: SnapshotMeta) -> None:
        def done(image: Iterable[bytes] | BaseException) -> None:
            if self.replica.installing != snapshot:
                return
            if isinstance(image, BaseException):
                self.fail(NodeFailed(f"a received snapshot cannot be read back: {image}"))
            else:
                self._installing = (snapshot, image)

        self._snapshot_worker.run(lambda: self._snapshots.load(snapshot), done)

    def _restore(self, snapshot: SnapshotMeta, image: Iterable[bytes]) -> None:
        if snapshot != self.replica.installing:
            self._installing = None
            return
        if not self._gate.enter():
            return
        self._installing = None
        try:
            with long_lived():
                progress = self.replica.install(snapshot, image)
        except Exception as error:
            failure = NodeFailed(f"a received snapshot cannot be applied: {error}")
            self._gate.refuse(failure)
            self.fail(failure)
            if not isinstance(error, SyncError | MemoryError):
                raise
            return
        finally:
            self._gate.leave()
        self._on_progress(progress)
        self._compact_log(snapshot)

    # Snapshots of this replica's own state

    def ask_snapshot(self, then: Callable[[int | BaseException], Any]) -> None:
        """Have a snapshot of at least what is applied now, due or not; `pump` takes it.

        `then` gets the index that it reaches to once it is persisted, or why there is none.
        """
        self._snapshot_asks.append(then)

    def _maybe_snapshot(self, now: float) -> None:
        # One that is being made may be of a moment before it was asked for.
        if self._snapshotting or self.replica.installing is not None:
            return
        if now < self._snapshot_after and not self._snapshot_asks:
            return
        asks, self._snapshot_asks = self._snapshot_asks, []
        if self.replica.snapshot_point.index <= self.replica.snapshot_index:
            for then in asks:
                then(self.replica.snapshot_index)
            return
        # A child is to find no lock that a reader holds for ever.
        if not self._gate.enter():
            self._snapshot_asks = asks
            return
        self._snapshotting = True

        def done(result: SnapshotMeta | BaseException) -> None:
            self._snapshotting = False
            if isinstance(result, BaseException):
                self._snapshot_after = self._clock.now() + _SNAPSHOT_RETRY
                if not isinstance(result, NodeClosed):
                    text = _line(result)
                    _log.error("no snapshot could be taken, the log keeps growing: %s", text)
            else:
                self.replica.compacted(result, self._clock.now())
                self._compact_log(result)
            for then in asks:
                then(result if isinstance(result, BaseException) else result.index)

        try:
            self._snapshotter.take(
                self.replica.snapshot_point, self.replica.image, self.replica.table.outweighs, done
            )
        except Exception as error:
            # Not only what has no encoding: an object's own `snapshot_state` may raise anything.
            done(error)
        finally:
            self._gate.leave()

    def _take_digests(self, asked: Asked) -> None:
        """Have digests taken of the state as it is now."""
        if self._digesting:
            # Another leader asks, and a child is at it still for the one before.
            self.replica.digested(asked, None, self._clock.now())
            return
        self._digesting = True
        table, range_ = self.replica.table, asked.range

        def done(result: dict[int, tuple[bytes, int]] | BaseException | None) -> None:
            self._digesting = False
            if isinstance(result, BaseException):
                if not isinstance(result, NodeClosed):
                    _log.warning("the objects of this member are not compared: %r", result)
                result = None
            self.replica.digested(asked, result, self._clock.now())

        try:
            self._digester.take(
                lambda: table.digests_in(range_), lambda limit: table.outweighs(limit, range_), done
            )
        except Exception as error:
            # Most likely what an object's own `snapshot_state` raised, which costs no more than
            # this comparison.
            done(error)

    def _compact_log(self, snapshot: SnapshotMeta) -> None:
        def done(result: BaseException | None) -> None:
            if result is not None:
                _log.warning("old log files cannot be removed: %s", result)

        self._log_worker.run(lambda: self._log.compact(snapshot.index), done)

    def fail(self, error: NodeFailed) -> None:
        """Do nothing more; the next `pump` raises `error`."""
        if self.failure is None:
            self.failure = error
            _log.critical("this node stops: %s", _line(error))


def _line(error: object) -> str:
    """Return an error for the log: classes of the user's put keys into theirs, as they are."""
    return "".join(one if one.isprintable() else ascii(one)[1:-1] for one in str(error))
