"""One replica of the cluster's state: Raft, the objects, and this node's own pending calls.

Pure: events come in by the five verbs (`step`, `propose`, `persisted`, `tick`, `take_effects`) and
a few reports, with the time given; what the world has to do goes out as `Effects`, what callers
are to be told comes back from `apply`. The reply to a call is the log itself: a call ends when the
replica of its own node applies it.
"""

import logging
from collections import deque
from collections.abc import Collection, Iterable, Iterator
from math import inf
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from msgspec.structs import replace

from .applying import Progress, SnapshotPoint
from .codec import decode
from .config import Config
from .errors import DecodeError, NodeFailed, OutcomeUnknown, ResultLost
from .objects.applied import Applied, Result
from .objects.batches import encode_command
from .objects.comparison import Asked, Comparisons, Range
from .objects.context import CallId, Outcome
from .objects.due import Due, is_due
from .objects.intake import Intake
from .objects.outbox import HasCommand, Outbox
from .objects.port import Port
from .objects.table import Table
from .raft.core import RaftCore, Role
from .raft.effects import ChunkRead, ChunkWrite, Effects
from .raft.messages import (
    Answer,
    AppendRequest,
    DigestReport,
    Entry,
    EntryKind,
    Forward,
    ForwardReply,
    Inquiry,
    Message,
    Restored,
    SnapshotChunk,
    SnapshotMeta,
)

if TYPE_CHECKING:
    from random import Random

C = TypeVar("C", bound=HasCommand)
_log = logging.getLogger("syncstructs.replica")

# Calls of all nodes that wait to become entries, in append windows.
_INTAKE_WINDOWS = 5
# What is committed and waits to be applied here, in append windows; beyond it no more is taken.
_BACKLOG_WINDOWS = 16
# Part of a session's life that its node does not rely on: clocks of two machines differ in rate.
_DRIFT = 0.05
# Members take their first snapshots one after the other, within this part of the log that one of
# them waits for: while a child writes one, its node has less of the processor and of the memory.
_TURNS = 0.5
# So many objects are woken by one command, which holds up those behind it.
_WOKEN_MAX = 256
# So many seconds of cluster time behind the end of the log, nobody waits for digests any more.
_HISTORY_SECONDS = 60.0
_NOTHING = Effects()


class Replica(Generic[C]):
    """Raft, objects and outbox of one member.

    After every event, or a burst of them, the caller takes the effects and applies what is
    committed, until `take_effects` is empty and `can_apply` is False.
    """

    # With more attributes than Python shares the keys of, a plain instance looks up each method
    # twice. The dictionary is for checks, which wrap methods of an instance.
    __slots__ = (
        "__dict__", "__weakref__", "_applied_membership", "_applied_term", "_ask_at", "_attempt",
        "_backlog_bytes", "_backlog_limit",
        "_barrier_index", "_barriers", "_committed", "_comparisons", "_early", "_early_bytes",
        "_entry_bytes",
        "_expiring", "_expiry_at", "_first_due", "_heard",
        "_incarnation", "_installing", "_intake", "_is_settled", "_leader_since", "_leaving",
        "_led_by", "_led_in", "_opening", "_ran_at", "_refused_from", "_resend_at", "_sends",
        "_snapshot_index", "_snapshot_size", "_snapshot_wait", "_sure_until", "_wake_at", "_waking",
        "_wanted", "address", "applied_bytes", "config", "core", "outbox", "table", "was_member",
    )  # fmt: skip

    def __init__(
        self,
        *,
        address: str,
        members: Collection[str],
        contacts: Collection[str] = (),
        config: Config,
        random: "Random",
        incarnation: int,
        port: Port,
        restored: Restored,
        now: float,
    ) -> None:
        self.address = address
        self.config = config
        self.core = RaftCore(
            address=address, members=members, contacts=contacts, config=config, random=random,
            restored=restored, now=now,
        )  # fmt: skip
        self.table = Table(
            owner=port, random_type=type(random), detached_bytes=config.detached_bytes
        )
        self.outbox: Outbox[C] = Outbox()
        self._incarnation = incarnation
        self._attempt = 1
        self._intake = Intake(_INTAKE_WINDOWS * config.append_window_bytes)
        # For so much a frame has room in any case, see `frame_limit_bytes`.
        self._entry_bytes = min(config.batch_bytes, config.max_command_bytes + config.append_bytes)
        self._committed: deque[Entry] = deque()
        self._backlog_bytes = 0
        self._backlog_limit = _BACKLOG_WINDOWS * config.append_window_bytes
        self._installing: SnapshotMeta | None = None
        self._snapshot_size = 0
        self._snapshot_index = 0
        self._snapshot_wait = 1.0
        self._applied_term = 0
        self.applied_bytes = 0
        """Payload of all entries applied in this life, and a byte for each; only ever grows."""
        self._led_in = 0
        self._led_by: str | None = None
        self._heard = 0.0
        self._leader_since = now
        self._ran_at = now
        self._due_at = now
        self._early: list[tuple[str, Forward]] = []
        self._early_bytes = 0
        self._sends: list[tuple[str, Message]] = []
        self._comparisons = Comparisons(config.digest_interval, now)
        self._barriers: dict[int, int] = {}
        self._barrier_index: float = inf
        """No barrier passes before this is applied."""
        self._opening = False
        self._leaving = False
        self._refused_from = 0
        self._resend_at = now + self._patience
        self._ask_at = now + self._patience
        self._expiring: set[int] = set()
        self._expiry_at = now
        self._sure_until = now
        self._first_due: Due | None = None
        """The earliest due time as it was when `_wake_at` was set."""
        self._wake_at = inf
        self._waking: set[Due] = set()
        """What this leader has put into the log to be woken, until that is applied."""
        self._applied_membership = self.core.log.membership_at(self.core.log.base.index)
        self._note_wanted()
        self._await_turn()
        self.was_member = not config.join and address in self._applied_membership.members
        """Whether this node was a member at some time in its life."""

    def resume(self, snapshot: SnapshotMeta, image: Iterable[bytes]) -> None:
        """Take over the state of an earlier life, before anything else is done.

        Instances that are offered by then get their states at once.

        Raises:
            NodeFailed: the image cannot be read, or an instance refused its state.
        """
        self.table.restore(image)
        self._note_snapshot(snapshot)
        self._note_membership()
        self._snapshot_wait = 1.0
        self._applied_term = snapshot.term

    # The five verbs, and what else may happen to a replica

    def step(self, sender: str, message: Message, now: float) -> None:
        """Take in a message of a peer.

        Raises:
            ProtocolError: no correct member sends this; close the link.
        """
        if type(message) is Forward:
            self._on_forward(sender, message, now)
        elif type(message) is ForwardReply:
            self._on_forward_reply(sender, message)
        elif type(message) is DigestReport:
            self._on_digest_report(sender, message)
        elif type(message) is SnapshotChunk and (self._installing or self.core.installs):
            # The store keeps few snapshots, and the one that is being taken over is needed yet.
            return
        elif type(message) is Inquiry or type(message) is Answer:
            # Between people and nodes: nothing of it is the cluster's.
            return
        elif self._backlog_bytes > self._backlog_limit and self._brings_more(message):
            # As if it was lost: whoever applies more slowly than the others commit, or is held up
            # by a reader, would keep all that comes in memory. Sent again it will be.
            return
        else:
            self.core.step(sender, message, now)
        self._follow(now)

    def propose(self, calls: Iterable[C], now: float) -> None:
        """Take over calls of this node; they end by `apply`, `abandon` or not at all."""
        if not self.outbox:
            # Idle until now: patience begins with the oldest pending call.
            self._resend_at = now + self._patience
        self.outbox.add(calls)

    def persisted(self, ticket: int, now: float) -> None:
        """Note that an append is durable."""
        self.core.persisted(ticket, now)
        self._follow(now)

    def tick(self, now: float) -> None:
        """Do what time demands; call it at `deadline()` at the latest."""
        if now - max(self._ran_at, self._due_at) > self.config.election_timeout_min:
            # This process stood still, or its clock leapt: that was no silence of the others'.
            self._leader_since = now
        self._ran_at = now
        self.core.tick(now)
        self._follow(now)
        if now >= self._resend_at:
            self._resend_at = now + self._patience
            self._resend(now)
        if now >= self._ask_at:
            self._ask_at = now + self._patience
            self._ask_barriers_again(now)
        if now >= self._expiry_at:
            self._expire_sessions(now)
        if now >= self._comparisons.due_at:
            self._compare(now)
        if now >= self._wake_at:
            self._wake(now)

    def deadline(self) -> float:
        """Return when `tick` must be called at the latest."""
        core, outbox = self.core, self.outbox
        deadline = core.deadline()
        if self._resend_at < deadline and (outbox.sent or outbox.unsent or self._opening):
            deadline = self._resend_at
        if self._barriers and self._ask_at < deadline:
            deadline = self._ask_at
        if self._wake_at < deadline:
            deadline = self._wake_at
        if core.role is Role.LEADER:
            if self._expiry_at < deadline:
                deadline = self._expiry_at
            if self._comparisons.due_at < deadline:
                deadline = self._comparisons.due_at
            if core.is_alone and self._leading:
                # Nobody answers a lone leader: time itself has to tell it that it still leads.
                deadline = min(deadline, self._sure_until - self.config.session_ttl / 2)
        self._due_at = deadline
        return deadline

    def take_effects(self, now: float) -> Effects:
        """Return what is to be done since the last time; `committed` and `reads` are kept here."""
        # Reads put off heartbeats, and with them ticks: those alone do not tell that this runs.
        self._ran_at = now
        core, outbox = self.core, self.outbox
        if outbox.unsent or not outbox.session or self._leaving:
            self._send_calls(now)
        leads = core.role is Role.LEADER
        if leads and self._leading:
            if self._early or self._intake.size_bytes:
                self._propose_entries(now)
            self._change_members(now)
        # Whoever waits for a call of this node is served before the followers; and what it calls
        # next tells them what is committed.
        effects = core.take_effects(hold_commit=bool(outbox.sent))
        if core.is_alone:
            # Of others, each event has been followed up.
            self._follow(now)
        if effects == _NOTHING and not self._sends:
            return effects
        if effects.install is not None:
            self._installing = effects.install
            self._committed.clear()
            self._backlog_bytes = 0
        if effects.committed:
            self._committed.extend(effects.committed)
            self._backlog_bytes += sum(len(entry.payload) + 1 for entry in effects.committed)
        for ready in effects.reads:
            if ready.request in self._barriers and ready.index:
                self._barriers[ready.request] = ready.index
                self._barrier_index = min(self._barrier_index, ready.index)
        if leads and core.role is Role.LEADER and (effects.sends or effects.chunk_reads):
            self._vouch_for_live_sessions_only(effects)
        if self._sends:
            effects.sends.extend(self._sends)
            self._sends = []
        return effects

    def peer_connected(self, peer: str, now: float) -> None:
        """Note that a link is up: what was on the way over an older one may be lost."""
        self.core.peer_connected(peer, now)
        if peer == self.core.leader:
            self._resend(now)
        self._follow(now)

    def peer_lost(self, peer: str, now: float) -> None:
        """Note that a link is down, a hint that the peer may have died."""
        self.core.peer_lost(peer, now)
        self._follow(now)

    def chunk_written(self, chunk: ChunkWrite, next_offset: int, ok: bool, now: float) -> None:
        """Note that a received piece of a snapshot is stored (the last one: persisted)."""
        self.core.chunk_written(chunk, next_offset, ok, now)
        self._follow(now)

    # Applying

    @property
    def can_apply(self) -> bool:
        """Whether committed entries or passed barriers wait for `apply`."""
        if not self._committed and not self._barriers:
            return False
        return self._installing is None and (bool(self._committed) or self._barrier_passed())

    @property
    def has_effects(self) -> bool:
        """Whether `take_effects` would give something that an event has brought about."""
        return self.core.has_effects or bool(self._sends)

    @property
    def has_work(self) -> bool:
        """Whether effects or `apply` would do something; False only of a leader that stands still.

        It knows all, its membership is as it is wanted, and what calls there are is on the way.
        """
        core, outbox = self.core, self.outbox
        return not (
            core.role is Role.LEADER
            and self._leading
            and outbox.session
            and not outbox.unsent
            and not self._intake.size_bytes
            and not self._leaving
            and self._applied_membership is core.membership
            and self._is_settled
            and not self.has_effects
            and not self.can_apply
        )

    @property
    def installing(self) -> SnapshotMeta | None:
        """The snapshot whose image must be given to `install` before anything else is applied."""
        return self._installing

    @property
    def snapshot_index(self) -> int:
        """Index that the newest snapshot here reaches to, 0 if there is none."""
        return self._snapshot_index

    @property
    def snapshot_bytes(self) -> int:
        """Size of the newest snapshot here, 0 if there is none."""
        return self._snapshot_size

    @property
    def accepts_calls(self) -> bool:
        """Whether calls would be sent on now: a leader is known and there is room on the way."""
        return (
            self.core.leader is not None
            and self.outbox.session != 0
            and not self.outbox.unsent
            and self.outbox.sent_bytes < self.config.append_window_bytes
        )

    @property
    def is_behind(self) -> bool:
        """Whether so much waits to be applied that no more is to be taken in."""
        return self._backlog_bytes > self._backlog_limit

    def _brings_more(self, message: Message) -> bool:
        """Whether this brings entries, and nothing else that has to be known: such as a term."""
        return (
            type(message) is AppendRequest
            and bool(message.entries)
            and message.term == self.core.term
        )

    def apply(self, limit_bytes: int, now: float) -> Progress[C]:
        """Apply committed entries until `limit_bytes` of payload are passed, at least one.

        It ends behind an entry that asks for digests (`Progress.asked`) of what is applied by then.
        """
        progress: Progress[C] = Progress()
        done_bytes = 0
        while self._committed and done_bytes < limit_bytes and self._installing is None:
            entry = self._committed.popleft()
            done_bytes += len(entry.payload) + 1
            self._backlog_bytes -= len(entry.payload) + 1
            try:
                applied = self.table.apply(entry, self.outbox.session)
                self._take_in(applied, progress)
            except NodeFailed as error:
                # What ended before this entry has to be told to its callers all the same.
                progress.failure = error
                break
            self._applied_term = entry.term
            if applied.successor is not None and self.core.term == entry.term:
                # Asked of another leader, it is done already.
                self.core.transfer_leadership(applied.successor or None, now)
            if entry.kind is EntryKind.MEMBERSHIP:
                self._membership_applied(progress)
            if applied.woken:
                self._waking.difference_update(applied.woken)
                # It may have set the same time again.
                self._first_due = None
            if applied.noted:
                self._divergence_noted(entry, applied)
            if applied.compared is not None:
                progress.asked = self._comparison_asked(entry, applied.compared, now)
                if progress.asked is not None:
                    break
        self.applied_bytes += done_bytes
        if progress.ended:
            self._resend_at = now + self._patience
        if self.table.wanted is not self._wanted:
            self._note_wanted()
            progress.membership_changed = True
        if self._barrier_passed():
            progress.barriers = self._take_passed_barriers()
        if self.table.first_due != self._first_due:
            self._arm_wake(now)
        return progress

    def install(self, snapshot: SnapshotMeta, image: Iterable[bytes]) -> Progress[C]:
        """Replace all state by a received snapshot; what it skipped of this node's calls ends."""
        assert snapshot == self._installing, (snapshot, self._installing)
        progress: Progress[C] = Progress(directory_changed=True)
        self.table.restore(image)
        self._installing = None
        self._applied_term = snapshot.term
        self._note_snapshot(snapshot)
        self._settle_skipped(progress)
        self._membership_applied(progress)
        self._await_turn()
        self._wake_at = 0.0
        return progress

    def image(self) -> Iterator[bytes]:
        """Return the whole state at the applied index as bytes; see `Table.image`.

        Raises:
            Unserializable: the state of an object holds a value without encoding. As the parts are
                taken.
        """
        return self.table.image()

    @property
    def snapshot_point(self) -> SnapshotPoint:
        """What an image taken now reaches to."""
        index = self.table.applied_index
        membership = self.core.log.membership_at(index)
        return SnapshotPoint(index, self._applied_term, self.table.time, membership)

    @property
    def snapshot_due(self) -> bool:
        """Whether the log has grown enough since the last snapshot to take another.

        The first one comes later on some members than on others (see `_await_turn`), and then each
        keeps its distance.
        """
        if self._installing is not None:
            return False
        wait = self._snapshot_wait
        applied = self.table.applied_index
        log = self.core.log
        grown = log.size_bytes - max(log.covered_bytes, self.config.log_keep_bytes)
        if (
            applied - self._snapshot_index >= self.config.snapshot_log_entries * wait
            # Whoever is being sent one could never have it, if newer ones always took its place.
            and not self.core.sends_snapshot
        ):
            return True
        return (
            grown >= self.config.snapshot_log_bytes * wait
            and grown >= self._snapshot_size * wait
            and applied > self._snapshot_index
        )

    def compacted(self, snapshot: SnapshotMeta, now: float) -> None:
        """Note that a snapshot of this replica's state is persisted."""
        if snapshot.index <= self._snapshot_index:
            return
        self._note_snapshot(snapshot)
        self._snapshot_wait = 1.0
        anew = self.core.compacted(snapshot, now)
        if anew:
            _log.warning(
                "%s: the log has outgrown the snapshot on its way to %s, which begins anew: if that"
                " goes on, they never catch up; raise Config.snapshot_rate, if there is one, or"
                " Config.snapshot_log_bytes, or write less", self.address, " and ".join(anew),
            )  # fmt: skip
        self._follow(now)

    def _await_turn(self) -> None:
        """Let the next snapshot come later, the farther behind this is among the members.

        A quorum then goes on undisturbed while one of them takes its own.
        """
        self._snapshot_wait = 1.0 + _TURNS * self.turn(0.0)

    def turn(self, other: float) -> float:
        """Return how far behind this is among the members, from 0 to 1; `other` if it is none."""
        members = self._applied_membership.members
        return members.index(self.address) / len(members) if self.address in members else other

    # Members

    @property
    def is_settled(self) -> bool:
        """Whether, as far as is applied here, exactly those vote who are wanted."""
        return self._is_settled

    @property
    def has_left(self) -> bool:
        """Whether this node was a member and is none as of what is committed, nor later.

        While its removal is not committed, the others may need it for that.
        """
        address = self.address
        return (
            self.was_member
            and address not in self._applied_membership.members
            and address not in self.core.members
        )

    def _membership_applied(self, progress: Progress[C]) -> None:
        self._note_membership()
        progress.membership_changed = True
        # Of a log that tells of former times only the end counts.
        present = set(self._applied_membership.members).intersection(self.core.members)
        self.was_member |= self.address in present
        progress.removed |= self.has_left

    def _note_membership(self) -> None:
        at, membership = self.core.log.membership_entry(self.table.applied_index)
        self._applied_membership = membership
        # What each node was started with is its own affair; the table has what all members have.
        self.table.voters = membership.all_voters if at else ()
        self._note_wanted()

    def _note_wanted(self) -> None:
        membership, self._wanted = self._applied_membership, self.table.wanted
        # Asked for at every turn, and another one only after a change of either.
        self._is_settled = (
            membership.voters == self._wanted
            and not membership.outgoing
            and not membership.learners
        )

    def _change_members(self, now: float) -> None:
        """Take the next step towards the membership that is wanted, on a leader that knows all."""
        if self._applied_membership is not self.core.membership or not self._is_settled:
            self.core.change_towards(self.table.wanted, now)

    # Reading and being sure

    def barrier(self, request: int, now: float) -> None:
        """Begin a barrier: passed once all that was committed anywhere before now is applied."""
        if not self._barriers:
            self._ask_at = now + self._patience
        self._barriers[request] = 0
        self.core.read_index(request, now)

    def forget_barrier(self, request: int) -> None:
        """Drop a barrier nobody waits for any more."""
        self._barriers.pop(request, None)

    def sure_until(self) -> float:
        """Return the local time up to which this node's session certainly lives."""
        return self._sure_until if self.outbox.session and not self._leaving else 0.0

    def leave(self) -> bool:
        """Have this node's session ended, and send no more calls; return whether there is one.

        Once the end is applied here (see `outbox.session`), what is still pending never will be.
        """
        self._leaving = True
        self._opening = False
        return self.outbox.session != 0

    def abandon(self) -> list[tuple[C, bool]]:
        """Take out all pending calls, with whether each may have been sent; for a closing node."""
        return self.outbox.drain()

    # This node's calls, on their way to the leader

    @property
    def _patience(self) -> float:
        return 2 * self.config.election_timeout_max

    def _follow(self, now: float) -> None:
        """React to a change of term or leader, and to news of how long the session is sure."""
        core = self.core
        if core.leader != self._led_by or core.term != self._led_in:
            self._led_by, self._led_in = core.leader, core.term
            self._leader_since = now
            self._intake.clear()
            self._early.clear()
            self._early_bytes = 0
            self._expiring.clear()
            self._expiry_at = now
            self._comparisons.clear()
            self._waking.clear()
            self._arm_wake(now)
            self._resend(now)
        leads = core.role is Role.LEADER
        heard = core.quorum_contact if leads else core.leader_echo
        # Before its no-op is applied, a leader's log may hold that its own session has expired.
        if heard > self._heard and (not leads or self._leading):
            self._heard = heard
            sure = heard + self.config.session_ttl * (1 - _DRIFT)
            self._sure_until = max(self._sure_until, sure)

    def _resend(self, now: float) -> None:
        self._opening = False
        self._refused_from = 0
        self.outbox.rewind()
        self._ask_barriers_again(now)

    def _ask_barriers_again(self, now: float) -> None:
        if self.core.leader is None:
            return
        for request in [r for r, index in self._barriers.items() if not index]:
            self.core.read_index(request, now)

    def _send_calls(self, now: float) -> None:
        leader, outbox = self.core.leader, self.outbox
        has_session = outbox.session != 0 and not self._leaving
        if leader is None or (has_session and not outbox.unsent):
            return
        if leader == self.address and not self._leading:
            return
        if not has_session:
            self._ask_for_session(leader)
            return
        window = self.config.append_window_bytes
        while outbox.unsent and outbox.sent_bytes < window:
            run = outbox.take(self._entry_bytes)
            if run is None:
                return
            if not self._give(leader, outbox.session, *run):
                outbox.rewind()
                return

    def _ask_for_session(self, leader: str) -> None:
        """Ask the leader once to open this node's session, or to end it if the node leaves."""
        if self._opening or (self._leaving and not self.outbox.session):
            return
        self._opening = True
        if self._leaving:
            # By its own id: however late this arrives, it ends no session of a later life.
            command = encode_command(0, "expire_session", (self.outbox.session,), {})
        else:
            # Whatever kind of number was configured.
            ttl = float(self.config.session_ttl)
            arguments = (self.address, self._incarnation, self._attempt, ttl)
            command = encode_command(0, "open_session", arguments, {})
        self._give(leader, 0, 0, 1, command)

    def _give(self, leader: str, session: int, first: int, count: int, commands: bytes) -> bool:
        """Hand a run of commands to the leader; False if that is this node and has no room."""
        if leader != self.address:
            self._sends.append((leader, Forward(session, first, count, commands)))
        elif session == 0:
            self._intake.offer_system(commands)
        else:
            last = self.table.sessions.last(session)
            assert last is not None, session
            return self._intake.offer(session, first, count, commands, last) is None
        return True

    def _on_forward_reply(self, sender: str, message: ForwardReply) -> None:
        """Send again from where the leader wants it, once for all refusals of one gap.

        Every run behind a gap is refused. If each refusal made all runs go out again, refusals and
        runs would multiply without end. If those are lost as well, patience ends some time.
        """
        if sender != self.core.leader or message.session != self.outbox.session:
            return
        if message.expected > self._refused_from:
            self._refused_from = message.expected
            self.outbox.rewind(message.expected)

    # Everybody's calls, on the leader

    @property
    def _leading(self) -> bool:
        """Whether this leader knows all that was ever accepted: its own no-op is applied here."""
        core = self.core
        # A term has one leader, whose first entry is its no-op.
        return self._applied_term == core.term and core.role is Role.LEADER

    def _on_forward(self, sender: str, message: Forward, now: float) -> None:
        if self.core.role is not Role.LEADER:
            return
        if not self._leading:
            if self._early_bytes <= self.config.append_window_bytes:
                self._early.append((sender, message))
                self._early_bytes += len(message.commands)
            return
        self.core.expect(sender, self._intake.entry_count(self._entry_bytes))
        if message.session == 0:
            method, arguments = _system_command(message)
            if method == "wake":
                self._wake_for_others(arguments, now)
            elif self._grants(sender, method, arguments):
                self._intake.offer_system(message.commands)
            return
        session, first = message.session, message.first_sequence
        last = self.table.sessions.last(session)
        if last is None or self.table.sessions.owner(session) != sender:
            # It has expired, as its node will find in the log. Or the sender is mistaken, or lies:
            # nobody may number the calls of another.
            return
        expected = self._intake.offer(session, first, message.count, message.commands, last)
        if expected is not None:
            self._sends.append((sender, ForwardReply(session, expected)))

    def _grants(self, sender: str, method: object, arguments: list[object]) -> bool:
        """Return whether all that a member asks of the cluster is to open or end its own session.

        A session that is to end is noted; it is not ended twice.
        """
        if method == "open_session":
            return arguments[:1] == [sender]
        if method != "expire_session" or len(arguments) != 1:
            return False
        session = arguments[0]
        if type(session) is not int or self.table.sessions.owner(session) != sender:
            return False
        if session in self._expiring:
            return False
        self._expiring.add(session)
        return True

    def _propose_entries(self, now: float) -> None:
        """Append what was taken in, on a leader that knows all."""
        if self._early:
            early, self._early = self._early, []
            self._early_bytes = 0
            for sender, message in early:
                self._on_forward(sender, message, now)
        while self._intake.size_bytes and self.core.can_propose and not self.is_behind:
            payload = self._intake.take(self._entry_bytes)
            if payload is None or self.core.propose(payload, now) is None:
                return

    def _vouch_for_live_sessions_only(self, effects: Effects) -> None:
        """Echo what a peer sent only if its session lives, as far as the log goes.

        The echo makes a node sure of its session. A node that lags may not know that its session
        has expired, or is about to: it is heard again, but that revives nothing.
        """
        for i, (peer, message) in enumerate(effects.sends):
            if isinstance(message, AppendRequest) and message.echo and not self._vouches(peer):
                effects.sends[i] = (peer, replace(message, echo=0.0))
        for i, read in enumerate(effects.chunk_reads):
            if read.chunk.echo and not self._vouches(read.to):
                chunk = replace(read.chunk, echo=0.0)
                effects.chunk_reads[i] = ChunkRead(read.to, chunk, read.size)

    def _vouches(self, peer: str) -> bool:
        session = self.table.sessions.of_address(peer)
        return self._leading and session is not None and session not in self._expiring

    def _expire_sessions(self, now: float) -> None:
        if not self._leading:
            self._expiry_at = now + self.config.heartbeat_interval
            return
        self._expiry_at = now + self.config.session_ttl
        live = self.table.sessions.live()
        # Of one that was heard lately, a session may be about to be opened.
        lately = now - self.config.session_ttl - self._patience
        self.core.forget_departed({address for address, _ in live.values()}, lately)
        for session, (address, ttl) in live.items():
            if address == self.address or session in self._expiring:
                continue
            silent_since = max(self.core.heard(address), self._leader_since)
            if now >= silent_since + ttl:
                self._expiring.add(session)
                self._intake.offer_system(encode_command(0, "expire_session", (session,), {}))
            else:
                self._expiry_at = min(self._expiry_at, silent_since + ttl)

    # Waking the objects whose time has come

    def _arm_wake(self, now: float) -> None:
        """Note when there is something to do about the earliest due time.

        The leader sees to it. But of an object that is not attached there, the leader does not know
        whether it is due. So the others look after the leader, one after the other.
        """
        core = self.core
        first = self._first_due = self.table.first_due
        if first is None or first in self._waking:
            self._wake_at = inf
            return
        # Local time becomes cluster time in whole microseconds, which must not be one too few.
        late = 2e-6 if core.role is Role.LEADER else self._patience * (1 + self.turn(1.0))
        self._wake_at = now + max(0.0, first[0] - core.cluster_time(now) / 1_000_000) + late

    def _wake(self, now: float) -> None:
        """Have woken what is due; of much, what comes first, and the rest once that is applied."""
        core, first = self.core, self.table.first_due
        if first is None or first != self._first_due:
            self._arm_wake(now)
        elif self._leading:
            self._propose_wake(self.table.due_until(core.cluster_time(now) / 1_000_000, _WOKEN_MAX))
            self._arm_wake(now)
        elif core.role is Role.LEADER:
            self._wake_at = now + self.config.heartbeat_interval
        else:
            self._wake_at = now + self._patience
            if core.leader is not None:
                late = self.table.due_until(first[0] + self._patience, _WOKEN_MAX)
                self._sends.append((core.leader, Forward(0, 0, 1, _wake_command(late))))

    def _wake_for_others(self, arguments: list[object], now: float) -> None:
        """Have woken what a member says is due, if it is not attached here and may be due."""
        time = self.core.cluster_time(now) / 1_000_000
        rows = arguments[0] if arguments else None
        if isinstance(rows, list) and all(map(is_due, rows)):
            self._propose_wake(
                (due, id_) for due, id_ in rows if due <= time and self.table.is_detached(id_)
            )

    def _propose_wake(self, due: Iterable[Due]) -> None:
        rows = [row for row in due if row not in self._waking]
        if rows:
            self._waking.update(rows)
            self._intake.offer_system(_wake_command(rows))

    # Comparing the objects of all members

    def _compare(self, now: float) -> None:
        """Have the objects compared, on a leader; what was told of the last time counts as it is.

        Who has not reported by now may be down.
        """
        comparisons = self._comparisons
        if self.core.role is not Role.LEADER:
            comparisons.postpone(now)
        elif not self._leading or comparisons.is_taking:
            comparisons.postpone(now, self.config.heartbeat_interval)
        else:
            self._judge()
            after = comparisons.next(self.table.serial, differs=bool(self.table.diverged))
            if after is not None:
                self._intake.offer_system(encode_command(0, "compare_digests", (after,), {}))
            comparisons.postpone(now)

    def _comparison_asked(self, entry: Entry, range_: Range, now: float) -> Asked | None:
        """Return what digests are to be taken of, if whoever asked for them still waits."""
        comparisons = self._comparisons
        comparisons.applied(range_, self.table.serial, now)
        if entry.term != self.core.term or self._is_history(entry):
            comparisons.missed()
            return None
        comparisons.begin(entry.index, range_, now)
        return Asked(entry.index, range_)

    def digested(
        self, asked: Asked, found: dict[int, tuple[bytes, int]] | None, now: float
    ) -> None:
        """Take in what was asked for, digests and sizes; the leader is told, if it is the same.

        None: they could not be taken, and this member is not compared this time.
        """
        if found is not None:
            self.table.note_sizes({id_: size_bytes for id_, (_, size_bytes) in found.items()})
        leader = self.core.leader
        if asked.index != self._comparisons.index:
            return
        self._comparisons.took(now)
        if found is None or leader is None:
            return
        told = {id_: digest for id_, (digest, _) in found.items() if digest}
        if len(told) < len(found):
            untold = sorted(found.keys() - told.keys())
            names = ", ".join(map(repr, filter(None, map(self.table.name_of, untold))))
            _log.warning(
                "%s: the state of %s is not compared, as snapshot_state() raised", self.address,
                names or "some objects",
            )  # fmt: skip
        report = DigestReport(asked.index, told)
        if leader != self.address:
            self._sends.append((leader, report))
        else:
            self._on_digest_report(self.address, report)

    def _on_digest_report(self, sender: str, report: DigestReport) -> None:
        core, comparisons = self.core, self._comparisons
        if core.role is not Role.LEADER:
            return
        # Only of those that this leader speaks to: so there is a bound to what is kept.
        if sender in core.members or core.heard(sender):
            comparisons.report(sender, report)
            if comparisons.is_complete(core.members):
                self._judge()

    def _judge(self) -> None:
        """Have it noted in the log if anything is other than it was with who differs from whom."""
        core, sessions = self.core, self.table.sessions
        rows = self._comparisons.news(
            self.table.diverged,
            core.membership.voters,
            lambda node: node in core.members or sessions.of_address(node) is not None,
        )
        if rows is not None:
            self._intake.offer_system(encode_command(0, "note_divergence", (rows,), {}))

    def _is_history(self, entry: Entry) -> bool:
        """Whether an entry is far behind the end of the log, as on a member that has just started.

        It comes by all comparisons of the time that its log tells of.
        """
        return self.core.log.last_time - entry.time > _HISTORY_SECONDS * 1_000_000

    def _divergence_noted(self, entry: Entry, applied: Applied) -> None:
        self._comparisons.noted(self.table.serial)
        if self._is_history(entry):
            return
        voters = self.core.membership.voters
        for name, divergence in applied.diverged:
            them = "that member" if len(divergence.members) == 1 else "those members"
            found, advice = "another one than on most", f"start {them} again empty"
            if 2 * len({*divergence.members}.intersection(voters)) >= len(voters):
                # Whoever started all of these empty would lose what the cluster holds.
                found = "not the same, and none is that of most"
                advice = "see which is right before you start any of them again empty"
            _log.error(
                "%s: object %r is not the same on all members: at index %d its state on %s was"
                " %s; %s, and look for a method of it that depends on more than its arguments, its"
                " state and current_context(), or for values that are changed outside of methods",
                self.address, name, divergence.index, " and ".join(divergence.members), found,
                advice,
            )  # fmt: skip
        for name in applied.agreed:
            _log.info("%s: object %r is the same on all members again", self.address, name)

    # What applying means for this node

    def _take_in(self, applied: Applied, progress: Progress[C]) -> None:
        for first, results in applied.results:
            calls = self.outbox.applied(first, len(results))
            if applied.parked:
                self._take_in_parked(first, calls, results, progress)
            else:
                progress.ended += calls
                progress.outcomes += cast(list[Outcome], results[: len(calls)])
            self.outbox.refuse_forged(first + len(results) - 1)
        for sequence, resumed in applied.resumed:
            call = self.outbox.resumed(sequence)
            if call is not None:
                progress.end(call, resumed)
        if applied.changed:
            progress.directory_changed = True
        if self.outbox.session in applied.expired:
            self._lose_session(progress)
        if applied.opened:
            # Its ttl may be shorter than that of all before.
            self._expiry_at = 0.0
        for address, incarnation, attempt, session in applied.opened:
            mine = (address, incarnation, attempt)
            if mine == (self.address, self._incarnation, self._attempt):
                self.outbox.open(session)
                self._opening = False

    def _take_in_parked(
        self, first: int, calls: list[C], results: list[Result], progress: Progress[C]
    ) -> None:
        """Take in a run of calls of which some wait in an object for their turn."""
        for sequence, (call, result) in enumerate(zip(calls, results, strict=False), first):
            if isinstance(result, Outcome):
                progress.end(call, result)
            else:
                self.outbox.park(sequence, call)

    def _lose_session(self, progress: Progress[C]) -> None:
        self.outbox.lose_session()
        self._attempt += 1
        self._opening = False
        progress.session_lost = True

    def _settle_skipped(self, progress: Progress[C]) -> None:
        """End the calls that a snapshot covers: whether they were applied is in its sessions."""
        session = self.outbox.session
        if not session:
            opened = self.table.sessions.find(self.address, self._incarnation, self._attempt)
            if opened is not None:
                self.outbox.open(opened)
                return
            # An attempt that was opened and has expired unseen can never be opened again.
            known = self.table.sessions.last_attempt(self.address, self._incarnation)
            self._attempt = max(self._attempt, known + 1)
            self._opening = False
            return
        lost = ResultLost("applied, but this node skipped it by a snapshot and has no result")
        last = self.table.sessions.last(session)
        if last is None:
            unknown = OutcomeUnknown("the node's session expired while it was cut off")
            for call in self.outbox.skip_to(self.outbox.handed):
                progress.end(call, Outcome(None, unknown))
            self._lose_session(progress)
        else:
            first = self.outbox.first
            for sequence, call in enumerate(self.outbox.skip_to(last), first):
                if self.table.is_parked(CallId(session, sequence)):
                    call.parked = True
                    self.outbox.parked[sequence] = call
                else:
                    progress.end(call, Outcome(None, lost))
        for sequence in list(self.outbox.parked):
            if not self.table.is_parked(CallId(session, sequence)):
                call = self.outbox.parked.pop(sequence)
                progress.end(call, Outcome(None, lost))

    def _note_snapshot(self, snapshot: SnapshotMeta) -> None:
        self._snapshot_size = snapshot.size_bytes
        self._snapshot_index = snapshot.index

    def _barrier_passed(self) -> bool:
        return self._barrier_index <= self.table.applied_index

    def _take_passed_barriers(self) -> list[int]:
        reached = self.table.applied_index
        passed = [request for request, index in self._barriers.items() if 0 < index <= reached]
        for request in passed:
            del self._barriers[request]
        self._barrier_index = min(filter(None, self._barriers.values()), default=inf)
        return passed

    def _check(self) -> None:
        self.core._check()
        self.outbox._check()
        self._intake._check()
        self._comparisons._check()
        applied = self.table.applied_index
        backlog = sum(len(entry.payload) + 1 for entry in self._committed)
        assert backlog == self._backlog_bytes, (backlog, self._backlog_bytes)
        if self._installing is None:
            for entry in self._committed:
                assert entry.index == applied + 1, (entry.index, applied)
                applied = entry.index


def _wake_command(due: Iterable[Due]) -> bytes:
    return encode_command(0, "wake", ([[time, id_] for time, id_ in due],), {})


def _system_command(message: Forward) -> tuple[object, list[object]]:
    """Return method and arguments of a single command of the cluster itself; else None, []."""
    try:
        command = decode(message.commands)
    except DecodeError:
        return None, []
    if not isinstance(command, list) or len(command) != 3 or message.count != 1:
        return None, []
    target, method, arguments = command
    if target != 0 or not isinstance(arguments, list):
        return None, []
    return method, arguments
