"""Raft: roles, terms, elections, and who may say what when. The only place that decides these.

The core is pure: events come in by `step`, `propose`, `persisted`, `tick` and a few reports, with
the time given; what the world has to do comes out of `take_effects`, one batch for a burst of
events. Sections are those of the extended Raft paper; pre-vote, check-quorum and ReadIndex are from
Ongaro's dissertation (9.6, 6.2, 6.4).

What hangs on the disk, and how it waits (see `Appends`):

========================  ==============================================================
vote given or asked for   the term and the vote
any reply of a new term   the term
an append accepted        its entries, and all that was appended before them
a snapshot accepted       the log's reset to it (the snapshot itself is durable by then)
a leader's own entries    count towards a quorum as far as `RaftLog.persisted_index`
========================  ==============================================================

Committed entries are delivered as soon as they are known to be committed. They may not be persisted
on this member yet: a quorum has them, so after a crash they are fetched again and delivered again,
the same ones. `commit_index` itself is not persisted; it begins anew at the snapshot.
"""

from collections.abc import Collection, Sequence
from enum import Enum
from typing import TYPE_CHECKING

from msgspec import structs

from ..config import Config, is_nameless
from ..errors import ProtocolError
from .appends import Appends
from .ballot import Ballot
from .effects import ChunkWrite, Effects, ReadReady
from .following import Following
from .leading import Leading
from .log import RaftLog, check_run, entry_bytes
from .membership import Membership, encode_membership, sorted_members
from .messages import (
    AppendReply,
    AppendRequest,
    Dismissal,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Introduction,
    Message,
    Observe,
    PreVoteReply,
    PreVoteRequest,
    RaftMessage,
    ReadReply,
    ReadRequest,
    RecoveryReply,
    RecoveryRequest,
    Restored,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from .progress import PeerView
from .reads import AskedReads, Read
from .recovery import Recovery
from .silences import SPREAD, Silences
from .transfer import Incoming, Throttle, check_chunk

if TYPE_CHECKING:
    from random import Random

# After losing the link to its leader a follower stands within this part of the election timeout
# (20 ms of the default 0.3 s): soon, but spread, so that two rarely stand at once. So long it also
# waits for what others may have to say: who was promised a vote, or a leader while it stood still.
_LINK_LOST_SPREAD = 1 / 15
# Each term is one campaign, so no correct member is that far ahead. Who claims to be would use up
# all terms there are by a single message, and nobody could be elected ever again.
_TERM_LEAP = 2**32


# An observer is spoken to about once in the longest election timeout: it waits for so many more.
_OBSERVER_PATIENCE = 3


class Role(Enum):
    """What a member is in its term."""

    FOLLOWER = "follower"
    PRE_CANDIDATE = "pre-candidate"
    CANDIDATE = "candidate"
    LEADER = "leader"


class RaftCore:
    """One member of a cluster; the log tells who the others are (section 6)."""

    # With more attributes than Python shares the keys of, a plain instance looks up each method
    # twice. The dictionary is for checks, which wrap methods of an instance.
    __slots__ = (
        "__dict__",
        "__weakref__",
        "_appended_at",
        "_appends",
        "_ask_again_at",
        "_asked",
        "_ballot",
        "_config",
        "_contacts",
        "_delivered_index",
        "_dismissed_at",
        "_effects",
        "_election_at",
        "_election_share",
        "_election_timeout",
        "_floor",
        "_following",
        "_incoming",
        "_introduced_index",
        "_lasting",
        "_leaderless",
        "_leading",
        "_membership",
        "_now",
        "_observers",
        "_patient",
        "_patient_until",
        "_peers",
        "_random",
        "_recovery",
        "_silences",
        "_snapshot",
        "_stands_for_leader",
        "_voided",
        "_vote_ticket",
        "address",
        "commit_index",
        "is_alone",
        "is_stranded",
        "leader",
        "log",
        "observes",
        "role",
        "term",
        "voted_for",
    )  # fmt: skip

    def __init__(
        self,
        *,
        address: str,
        members: Collection[str],
        contacts: Collection[str] = (),
        config: Config,
        random: "Random",
        restored: Restored,
        now: float,
    ) -> None:
        """Continue with what the stores held. A lone member is its own leader at once.

        `members`: the voters to begin with, where the stores do not tell any; none: it waits until
        it is made a member. `contacts`: whom it asks meanwhile. Without an address it is an
        observer: it follows whoever leads, and never votes or counts.
        """
        self.address = address
        self.observes = is_nameless(address)
        self.role = Role.FOLLOWER
        self.term = restored.hard_state.term
        self.voted_for = restored.hard_state.vote
        self.leader: str | None = None
        self._config = config
        self._random = random
        self._now = now
        self._appended_at = now
        """When the last entry came into the log, as far as this life knows."""
        self._appends = Appends()
        self._silences = Silences(config, now)
        self._asked = AskedReads(random.getrandbits(48))
        self._effects = Effects()
        self._leading: Leading | None = None
        self._following: Following | None = None
        self._ballot: Ballot | None = None
        self._vote_ticket = 0
        self._leaderless = 0
        """Election timeouts since there was a leader."""
        self._stands_for_leader = False
        self._incoming: Incoming | None = None
        # Of all its terms as leader, or each would begin with a chunk of its own.
        self._throttle = Throttle(config.snapshot_rate)
        self._floor: EntryId | None = EntryId(0, 0)
        self._voided: dict[str, int] = {}
        self._dismissed_at = -1
        self._patient = True
        self._patient_until = now + config.election_timeout_max
        self._ask_again_at = now
        self._contacts = tuple(contact for contact in contacts if contact != address)
        self._peers: tuple[str, ...] = ()
        self._observers: dict[str, None] = {}
        self._introduced_index = 0
        self.is_alone = False
        """Whether this member is a quorum by itself."""
        self.is_stranded = False
        """Whether this is an observer of a cluster whose members have begun another life."""
        self._lasting = restored.lasting
        self._recovery: Recovery | None = None
        if restored.blank and not self.observes:
            nonce = random.getrandbits(62) + 1
            self._recovery = Recovery(nonce, lasting=restored.lasting and bool(members))
            self._floor = None
        self._restore(restored, Membership(sorted_members(members)))
        self._membership = Membership()
        self._election_share = self._election_timeout = 0.0
        self._election_at = now
        self._reset_election_timer()
        self._note_membership()
        lone = self._membership.is_quorum((address,))
        if lone and (self._recovery is None or not self.log.membership_index):
            # What only begins to recover has a log that ends early: it may have been alone then.
            self._end_recovery()
            self._campaign()

    def _restore(self, restored: Restored, membership: Membership) -> None:
        self._snapshot = restored.snapshot
        entries: Sequence[Entry] = restored.entries
        base = restored.snapshot.id if restored.snapshot else EntryId(0, 0)
        if entries:
            assert entries[0].index == base.index + 1, (base, entries[0].id)
        fits = not entries or entries[0].term >= base.term
        self.log = RaftLog(restored.snapshot, entries if fits else (), membership)
        self.commit_index = self._delivered_index = base.index
        if not fits:
            # A snapshot was persisted, but the crash came before the log was reset to it.
            self._reset_log(restored.snapshot)
        if self.log.last_id.term > self.term:
            # A snapshot becomes durable beside the log, maybe before the term it came in.
            self.term, self.voted_for = self.log.last_id.term, None
            self._persist_hard_state()

    # What others may know

    @property
    def membership(self) -> Membership:
        """Who the members are, as the log has it: from its last membership entry on."""
        return self._membership

    @property
    def members(self) -> tuple[str, ...]:
        """The addresses of all members, learners too, sorted."""
        return self._membership.members

    @property
    def is_recovering(self) -> bool:
        """Whether this member neither votes nor counts, as it may have lost its memory."""
        return self._recovery is not None

    def peer_views(self) -> dict[str, PeerView]:
        """Return how each peer stands as its leader sees it; nothing on others. From any thread."""
        leading = self._leading
        return {} if leading is None else leading.views()

    @property
    def receiving(self) -> tuple[SnapshotMeta, int] | None:
        """The snapshot that is coming in, and how many bytes of it are stored; from any thread."""
        incoming = self._incoming
        return None if incoming is None else (incoming.snapshot, incoming.written)

    @property
    def sends_snapshot(self) -> bool:
        """Whether a snapshot is on its way from here to somebody who answers."""
        return self._leading is not None and self._leading.sends_snapshot(self._now)

    @property
    def hands_over(self) -> bool:
        """Whether this member leads, and waits for another one to take over."""
        return self._leading is not None and self._leading.successor is not None

    @property
    def unlike_members(self) -> dict[str, tuple[str, ...]]:
        """Which of the others were started with another list of members, while none has begun."""
        return {} if self._recovery is None else self._recovery.unlike(self._membership)

    @property
    def is_dismissed(self) -> bool:
        """Whether a member has said that this node is none, and nothing newer is known here."""
        return self._dismissed_at >= max(self.log.membership_index, 1)

    @property
    def leader_ready(self) -> bool:
        """Whether this member leads and has committed its no-op: it knows all that is committed."""
        leading = self._leading
        return leading is not None and self.commit_index >= leading.noop_index

    @property
    def can_propose(self) -> bool:
        """Whether this member leads and not too much of its log is uncommitted."""
        leading = self._leading
        return (
            leading is not None
            and leading.successor is None
            and leading.uncommitted_bytes < 2 * self._config.append_window_bytes
        )

    @property
    def leader_echo(self) -> float:
        """This member's own time of an answer which the current leader has certainly had.

        The leader was still followed by a quorum when the answer came; 0.0 if nothing is known.
        """
        return self._following.echo if self._following else 0.0

    @property
    def quorum_contact(self) -> float:
        """Newest time at or after which this leader said something that a quorum answered."""
        if self._leading is None:
            return 0.0
        return self._now if self._leading.is_alone else self._leading.rounds.contact

    def heard(self, peer: str) -> float:
        """Return when `peer` last answered in this term, on its leader; 0.0 if nothing is known."""
        if self._leading is None:
            return 0.0
        progress = self._leading.peers.get(peer)
        return progress.heard if progress else self._leading.departed.get(peer, 0.0)

    def forget_departed(self, known: Collection[str], before: float) -> None:
        """Forget when those were heard that are spoken to no more, as the observers of a year.

        Not of those that are `known`, and of those that were heard `before` only.
        """
        if self._leading is not None:
            departed = self._leading.departed.items()
            self._leading.departed = {
                peer: heard for peer, heard in departed if peer in known or heard >= before
            }

    def cluster_time(self, now: float) -> int:
        """Return the cluster time in microseconds; only a leader's advances by itself."""
        return self._leading.cluster_time(now) if self._leading else self.log.last_time

    # Events: time, proposals, reads, the disk

    def deadline(self) -> float:
        """Return when `tick` must be called at the latest; infinite if never."""
        if self._leading is None:
            return self._election_at
        return self._leading.deadline(self.commit_index, self._now)

    def tick(self, now: float) -> None:
        """Do what time demands."""
        self._now = now
        leading = self._leading
        if leading is None:
            if now >= self._election_at and not self._stood_still():
                self._on_election_timeout()
        elif leading.quorum_heard_at + self._config.election_timeout_max <= now:
            # Check-quorum: a majority may have another leader by now.
            self._become_follower(self.term, None)
        else:
            if leading.successor is not None and now >= leading.successor_until:
                leading.successor = None
                if not self._membership.is_voter(self.address):
                    self._become_follower(self.term, None)
                    return
            if now >= leading.heartbeat_at and leading.peers:
                leading.begin_round(now)
                leading.observers.beat(now)
                leading.dismiss(self.commit_index, now)
            leading.retry_transfers(now)

    def propose(self, payload: bytes, now: float) -> EntryId | None:
        """Append one entry, stamped with cluster time; None if this member does not lead."""
        self._now = now
        if self._leading is None:
            return None
        return self._append_own(EntryKind.BATCH, payload)

    def change_towards(self, wanted: tuple[str, ...], now: float) -> bool:
        """Take the next step towards the voters `wanted` (sorted); return whether one was taken.

        One step at a time: not before this leader has committed an entry of its term, and the
        membership before (section 6, and Ongaro's bug report of 2015 on single-server changes).
        """
        self._now = now
        leading = self._leading
        if leading is None or not self.leader_ready or not wanted:
            return False
        if leading.successor is not None:
            return False
        if self.log.membership_index > self.commit_index:
            return False
        following = self._membership.next_towards(wanted, leading.keeps_up)
        if following is None:
            return False
        if following.is_joint and not self._may_become(following, leading):
            return False
        assert self._membership.allows(following), (self._membership, following)
        self._append_own(EntryKind.MEMBERSHIP, encode_membership(following))
        return True

    def _may_become(self, joint: Membership, leading: Leading) -> bool:
        """Whether the members may become these, on the way to others."""
        if not joint.is_quorum(leading.able(self._now)):
            # It could never be left, nor anything else be committed.
            return False
        if self._lasting or not self._membership.learners:
            return True
        # In memory, who is cut off and stays must know whom to ask besides the voters of before:
        # else those of them that forget could elect it (see `recovery`).
        return leading.all_know_members(joint.voters)

    def transfer_leadership(self, to: str | None, now: float) -> bool:
        """Let a voter that keeps up lead instead of this leader; return whether it may come to it.

        Nothing is proposed meanwhile. It is given up after an election timeout. `to` None: of the
        voters that are heard, the one that has the most of the log.
        """
        self._now = now
        leading = self._leading
        if leading is None or leading.successor is not None:
            return leading is not None
        able = [
            peer
            for peer in leading.able(now)
            if peer in self._membership.voters and peer != self.address and to in (None, peer)
        ]
        if not able:
            return False
        known = leading.peers
        leading.successor = max(able, key=lambda peer: (known[peer].match_index, known[peer].heard))
        leading.successor_until = now + self._config.election_timeout_max
        self._hand_over(leading)
        return True

    def _hand_over(self, leading: Leading) -> None:
        """Have the successor stand for election as soon as it has the whole log."""
        if leading.successor is None or leading.successor not in leading.peers:
            return
        if leading.peers[leading.successor].match_index == self.log.last_index:
            self._send(leading.successor, TimeoutNow(self.term))

    def read_index(self, request: int, now: float) -> None:
        """Begin a read; it ends as a `ReadReady` with the same number.

        With index 0 nobody could confirm it: ask again. Nothing may come if messages are lost.
        """
        self._now = now
        if self._leading is not None:
            self._lead_read(Read(None, request))
        elif self.leader is None:
            self._effects.reads.append(ReadReady(request, 0))
        else:
            self._asked.ask(request)

    def persisted(self, ticket: int, now: float) -> None:
        """Note that all of append `ticket` is durable.

        The caller has sent what hung on it (`Append.then_send`); tickets come in order.
        """
        self._now = now
        self._effects.sends.extend(self._appends.persisted(ticket))
        self.log.persisted(ticket)
        leading = self._leading
        if leading is not None:
            self._advance_commit()
            if leading is self._leading:
                self._answer_confirmed_reads(leading)
        elif self.role is Role.CANDIDATE and ticket >= self._vote_ticket:
            self._count_vote(self.address, True)
        elif self._following is not None:
            self._following.persisted(ticket)
            self._acknowledge_late()
        if self._recovery is not None:
            self._recover()

    # Events: links

    def peer_connected(self, peer: str, now: float) -> None:
        """Note that the link to `peer` is up: what was on the way over an older one may be lost."""
        self._now = now
        if self._recovery is not None and not is_nameless(peer):
            # It may have a new life, in which it holds less. No observer is asked: it may tell of
            # members that are long gone, and be ahead of all who could be elected.
            self._recovery.forget(peer)
            self._floor = None
            self._send(peer, RecoveryRequest(self._recovery.nonce))
        if self.observes:
            self._send(peer, Observe())
        if self._leading is not None:
            if peer in self._leading.peers:
                self._leading.relinked(peer, now)
        elif self.role is Role.PRE_CANDIDATE:
            self._send(peer, self._pre_vote_request())
        elif self.role is Role.CANDIDATE:
            self._send_after(self._vote_ticket, peer, self._vote_request())
        elif peer == self.leader and self._following is not None:
            self._following.link_lost = False
            self._following.forget_told()
            self._asked.ask_again()

    def peer_lost(self, peer: str, now: float) -> None:
        """Note that the link to `peer` is down: if it leads, it may have died."""
        self._now = now
        if peer in self._observers:
            del self._observers[peer]
            if self._leading is not None:
                self._leading.observe_no_more(peer)
        elif self._leading is not None:
            if peer in self._leading.peers:
                self._leading.unlinked(peer, now)
        elif peer == self.leader and self._following is not None:
            self._following.link_lost = True
            spread = self._config.election_timeout_min * _LINK_LOST_SPREAD
            self._election_at = min(self._election_at, now + self._random.random() * spread)

    # Events: snapshots

    def compacted(self, snapshot: SnapshotMeta, now: float) -> list[str]:
        """Note that a snapshot of this member's own state is persisted.

        Return who is sent it from its beginning, as the log has outgrown the one on its way there.
        """
        self._now = now
        if self._snapshot is not None and snapshot.index <= self._snapshot.index:
            return []
        assert snapshot.index <= self._delivered_index, (snapshot, self._delivered_index)
        assert self.log.has(snapshot.id), (snapshot, self.log.base, self.log.last_id)
        self._snapshot = snapshot
        self.log.compact(self._keep_from(snapshot))
        self.log.cover(snapshot.index)
        return [] if self._leading is None else self._leading.replace_outdated(snapshot, now)

    def _keep_from(self, snapshot: SnapshotMeta) -> int:
        """Return up to where the log may go that a snapshot covers."""
        log, config = self.log, self._config
        index = log.keep_from(snapshot.index, config.log_keep_bytes)
        leading = self._leading
        if leading is None or leading.needed_index(log.base.index, self._now) >= index:
            return index
        # It may come to this while one is sent twice: stores keep two snapshots, and with the third
        # the first has to be sent anew anyway.
        most = 2 * max(config.snapshot_log_bytes, snapshot.size_bytes)
        floor = log.keep_from(snapshot.index, most)
        return min(index, leading.needed_index(floor, self._now))

    def chunk_missing(self, peer: str, snapshot: SnapshotMeta) -> None:
        """Note that a `ChunkRead` could not be done: send `peer` the newest snapshot instead."""
        if self._leading is not None:
            self._leading.chunk_missing(peer, snapshot, self._snapshot, self._now)

    def chunk_written(self, chunk: ChunkWrite, next_offset: int, ok: bool, now: float) -> None:
        """Note what became of a `ChunkWrite`; the last one has persisted the whole snapshot."""
        self._now = now
        incoming = self._incoming
        if chunk.last and ok:
            self._install(chunk.snapshot)
        elif incoming is not None and incoming.snapshot == chunk.snapshot:
            incoming.stored(chunk.offset, len(chunk.data), next_offset, ok)
            if self._following is not None:
                self._reply_snapshot(chunk.snapshot, done=False)

    # Events: messages

    def step(self, sender: str, message: RaftMessage, now: float) -> None:
        """Take in a message of another node of the cluster.

        It need not be a member as far as this one knows: a member that does not know the newest
        membership yet must vote and follow under it all the same, or a new majority that has lost
        the rest could elect nobody (section 6).

        Raises:
            ProtocolError: no correct member says this. Nothing has changed, except maybe the term.
        """
        self._now = now
        if sender == self.address:
            return
        match message:
            case AppendRequest():
                self._on_append_request(sender, message)
            case AppendReply() | SnapshotReply():
                self._on_reply(sender, message)
            case SnapshotChunk():
                self._on_snapshot_chunk(sender, message)
            case ReadRequest():
                self._on_read_request(sender, message)
            case ReadReply():
                self._on_read_reply(sender, message)
            case PreVoteRequest():
                self._on_pre_vote_request(sender, message)
            case PreVoteReply():
                self._on_pre_vote_reply(sender, message)
            case VoteRequest():
                self._on_vote_request(sender, message)
            case VoteReply():
                self._on_vote_reply(sender, message)
            case RecoveryRequest():
                self._on_recovery_request(sender, message)
            case RecoveryReply():
                self._on_recovery_reply(sender, message)
            case Dismissal():
                self._on_dismissal(message)
            case TimeoutNow():
                self._on_timeout_now(sender, message)
            case Observe():
                self._on_observe(sender)
            case Introduction():
                self._on_introduction(message)

    # Effects

    @property
    def installs(self) -> bool:
        """Whether the next effects have the state replaced by a snapshot."""
        return self._effects.install is not None

    @property
    def has_effects(self) -> bool:
        """Whether `take_effects` would return anything; see also `holds_commit`."""
        effects = self._effects
        return bool(
            self.commit_index > self._delivered_index
            or self._appends.ready
            or self._asked.unsent
            or effects.sends
            or effects.chunk_reads
            or effects.chunk_writes
            or effects.install
            or effects.reads
            or effects.peers is not None
            or effects.dismissed
            or (
                self._leading is not None
                and self._leading.has_messages(self.commit_index, self._now)
            )
        )

    @property
    def holds_commit(self) -> bool:
        """Whether followers are to be told of the commit index yet; the next effects do."""
        return self._leading is not None and self._leading.holds_commit

    def take_effects(self, *, hold_commit: bool = False) -> Effects:
        """Return what is to be done since the last time.

        `hold_commit`: what is committed now may bring entries as soon as it is applied, which take
        the commit index along to the followers; see `holds_commit`.
        """
        effects, self._effects = self._effects, Effects()
        if self._leading is not None:
            self._leading.compose(
                self.commit_index, self._snapshot, effects.sends, effects.chunk_reads, self._now,
                hold_commit=hold_commit and self.commit_index > self._delivered_index,
            )  # fmt: skip
        elif self._asked.unsent and self.leader is not None:
            effects.sends.append((self.leader, ReadRequest(self._asked.take_message())))
        if self._appends.ready:
            effects.appends = self._appends.take()
        if self.commit_index > self._delivered_index:
            effects.committed = self.log.between(self._delivered_index + 1, self.commit_index)
            self._delivered_index = self.commit_index
        return effects

    def _send(self, to: str, message: Message) -> None:
        """Send as soon as the term (and vote) it was said in is durable."""
        self._send_after(self._appends.hard_state_ticket, to, message)

    def _send_after(self, ticket: int, to: str, message: Message) -> int:
        """Return the append that the message waits for, 0 if it is sent now."""
        if self._appends.send_after(ticket, to, message):
            return ticket
        self._effects.sends.append((to, message))
        return 0

    def _persist_hard_state(self) -> int:
        recovering = self._recovery is not None
        return self._appends.add_hard_state(HardState(self.term, self.voted_for, recovering))

    # Members (section 6)

    def _note_membership(self) -> None:
        """Let the log's membership count from now on, if it is another one."""
        membership = self.log.membership
        if membership is self._membership:
            return
        self._membership = membership
        self.is_alone = membership.is_quorum((self.address,))
        self._introduced_index = 0
        self._peers = tuple(m for m in membership.members if m != self.address)
        if self.observes:
            self._peers = self._servers(membership)
        elif not membership.voters:
            self._peers = self._contacts
        if self._leading is not None:
            self._leading.change(membership, self._now)
        elif self._ballot is not None:
            # Votes are counted under one membership.
            self._become_follower(self.term, None)
        self._effects.peers = self._peers

    def _leave_lead(self, leading: Leading) -> None:
        """Lead no more, if a membership without this member is committed."""
        if self._membership.is_voter(self.address):
            return
        if self.commit_index < self.log.membership_index or leading.successor is not None:
            return
        if not self.transfer_leadership(None, self._now):
            self._become_follower(self.term, None)

    def _dismiss(self, stranger: str) -> None:
        """Tell a node that it is no member, if that is certain as of some entry."""
        index = self.log.membership_index
        if 0 < index <= self.commit_index:
            self._send(stranger, Dismissal(index, self._membership.genesis))

    def _on_dismissal(self, message: Dismissal) -> None:
        """Stand for election no more, unless a newer membership is known here."""
        log = self.log
        if log.term_at(1) == log.last_id.term:
            # A genesis that nothing but its own term has followed may be that of a first leader
            # whom nobody followed, so that the cluster has another one.
            if not self._same_cluster(message.genesis):
                return
        elif 0 != self._membership.genesis != message.genesis:
            # It speaks of another life of the cluster.
            return
        if self._leading is None and self.leader is None:
            self._dismissed_at = max(self._dismissed_at, message.index)
            self._effects.dismissed = self.is_dismissed
            if self.is_dismissed and self._ballot is not None:
                self._become_follower(self.term, None)

    def _on_timeout_now(self, sender: str, message: TimeoutNow) -> None:
        if message.term == self.term and sender == self.leader and self._may_stand:
            self._campaign(transfer=True)

    # Observers

    def expect(self, peer: str, ahead: int) -> None:
        """Note that a call of `peer` is about to be appended: an observer is told of it at once.

        `ahead`: how many entries are to be appended before, at about.
        """
        if self._leading is not None:
            self._leading.observers.expect(peer, self.log.last_index + 1 + ahead)

    def _on_observe(self, sender: str) -> None:
        """Speak to an observer from now on, whenever this member leads, until its link is down."""
        if not is_nameless(sender):
            raise ProtocolError(f"{sender} has an address, so it is to become a member instead")
        self._observers[sender] = None
        if self._leading is not None:
            self._leading.observe(sender, self.commit_index, self._now)
        else:
            # What is not committed may never be.
            index, membership = self.log.membership_entry(self.commit_index)
            self._send(sender, Introduction(index, membership))

    def _on_introduction(self, message: Introduction) -> None:
        """Ask the members as they are now, if this observer was cut off while they changed."""
        known, told = self._membership, message.membership
        news = message.index > max(self.log.membership_index, self._introduced_index)
        if self.observes and news and told.voters and known.genesis in (0, told.genesis):
            self._introduced_index = message.index
            self._peers = self._effects.peers = self._servers(told)

    def _servers(self, membership: Membership) -> tuple[str, ...]:
        """Return whom an observer asks: the members, and those it was given, for ever.

        What its log tells may be long outdated.
        """
        return tuple(dict.fromkeys((*membership.members, *self._contacts)))

    # Recovery (see `recovery.Recovery`)

    def _on_recovery_request(self, sender: str, message: RecoveryRequest) -> None:
        """Tell a blank member what is held here; votes of its earlier lives are void from now on.

        Once per life of it: while it recovers it gives no vote.
        """
        if self._membership.is_voter(sender) and self._voided.get(sender) != message.nonce:
            self._voided[sender] = message.nonce
            if self._ballot is not None:
                self._become_follower(self.term, None)
        if self._leading is not None and sender in self._leading.followers:
            self._leading.begin_recovery(sender, message.nonce)
            self._set_barrier(self._leading)
        known = self.log.membership_index, self._membership
        if self._recovery is not None:
            known = self._recovery.newest(*known)
        reply = RecoveryReply(
            message.nonce, self.term, self.log.last_id, self._recovery is not None, *known
        )
        self._send(sender, reply)

    def _on_recovery_reply(self, sender: str, message: RecoveryReply) -> None:
        if self._recovery is not None:
            self._recovery.heard(sender, message)
            self._recover()

    def _ask_for_recovery(self) -> None:
        """Ask everybody what there is, again and again while this member recovers."""
        if self._recovery is not None and self._now >= self._ask_again_at:
            self._ask_again_at = self._now + self._config.election_timeout_min
            for peer in self._peers:
                self._send(peer, RecoveryRequest(self._recovery.nonce))

    def _recover(self) -> None:
        """Begin to vote if the answers allow it, and count if all that is told of is held here."""
        recovery = self._recovery
        assert recovery is not None
        if recovery.lasting and self._now >= self._patient_until:
            # Also while it is led: its leader may have nobody else any more.
            self._patient = False
        start = recovery.start(
            self.address, self._membership, self.log.membership_index, patient=self._patient
        )
        self._floor = None
        if start is None:
            return
        self._floor = start.floor
        if start.term > self.term:
            self._become_follower(start.term, None)
        if self.term == start.term:
            self._spend_vote()
        if self._persisted_id < start.floor:
            return
        self._end_recovery()
        if not start.floor.index and self.leader is None:
            # All begin now: who stands first, soon, will be the first leader.
            spread = self._config.election_timeout_min * _LINK_LOST_SPREAD
            self._election_at = min(self._election_at, self._now + self._random.random() * spread)

    def _on_recovered(self, nonce: int) -> None:
        """Count and vote from now on: the leader says that this member holds what is committed."""
        if nonce == self._recovery_nonce:
            self._spend_vote()
            self._end_recovery()

    def _end_recovery(self) -> None:
        """Count from now on; a crash before that is durable begins the recovery anew."""
        self._recovery, self._floor = None, EntryId(0, 0)
        if self.term:
            self._persist_hard_state()

    @property
    def _persisted_id(self) -> EntryId:
        index = self.log.persisted_index
        return EntryId(self.log.term_at(index) or 0, index)

    def _spend_vote(self) -> None:
        """Give no vote in the present term: an earlier life may have given it."""
        if self.term and self.voted_for is None:
            self.voted_for = self.leader or self.address
            self._persist_hard_state()

    def _set_barrier(self, leading: Leading) -> None:
        """Append an entry that those have to reach who recover since the last one."""
        if self.leader_ready and leading.wants_barrier():
            leading.set_barrier(self._append_own(EntryKind.NOOP, b"").index)

    # Roles and elections (5.2)

    def _reset_election_timer(self) -> None:
        self._election_share = self._random.random()
        self._set_election_timeout()
        self._election_at = self._now + self._election_timeout

    def _set_election_timeout(self) -> None:
        """Let the election timeout follow the patience; after an attempt in vain it is longer."""
        longest, patience = self._config.election_timeout_max, self._silences.patience
        most = longest if self._leaderless else min(SPREAD * patience, longest)
        # Not at once: others heard the leader last a little later, and would refuse.
        least = patience + (most - patience) / 5
        self._election_timeout = least + self._election_share * (most - least)
        if self.observes:
            self._election_timeout += _OBSERVER_PATIENCE * longest

    def _stood_still(self) -> bool:
        """Whether time ran out here while this process stood still, for the first time.

        The leader may have spoken, and nobody has looked yet at what it said.
        """
        following, grace = self._following, self._config.election_timeout_min * _LINK_LOST_SPREAD
        if following is None or following.link_lost or self._now <= self._election_at + grace:
            return False
        if following.excused_at == following.heard_at:
            return False
        following.excused_at = following.heard_at
        self._election_at = self._now + grace
        return True

    def _become_follower(self, term: int, leader: str | None) -> None:
        """Step down, or follow a new term or leader.

        Raises:
            ProtocolError: so many campaigns there cannot have been.
        """
        assert term >= self.term, (term, self.term)
        if term > self.term + _TERM_LEAP:
            raise ProtocolError(f"term {term} is beyond what may follow term {self.term}")
        if self._leading is not None:
            self._reset_election_timer()
        following = self._following
        if following is not None and self.leader is not None and not following.link_lost:
            self._silences.give_up(self.leader, self.term, following.heard_at)
        self._end_reads()
        if term > self.term:
            self.term, self.voted_for = term, None
            self._persist_hard_state()
        self.role = Role.FOLLOWER
        self.leader = leader
        if leader is not None:
            self._leaderless = 0
            self._set_election_timeout()
        self._leading = self._ballot = None
        self._following = None if leader is None else Following(self.commit_index, self._now)

    def _leader_alive(self) -> bool:
        """Whether votes are refused because a leader is known to be there (dissertation, 4.2.3)."""
        if self._following is None:
            return self._leading is not None
        return self._following.alive(self._now, self._silences.patience)

    @property
    def _may_stand(self) -> bool:
        """Whether this member may become the leader, as far as it can tell by itself.

        One that is to lose its vote stands until that is committed, without counting its own: its
        log may be the only one that nobody with a vote can refuse (dissertation, 4.2.2). So does a
        learner, which others may know as a voter already, but only if nobody with a vote was
        elected within another election timeout.
        """
        return (
            self._recovery is None
            and not self.observes
            and not self.is_dismissed
            and any(
                self._stands_in(membership)
                for membership in self.log.memberships_from(self.commit_index)
            )
        )

    def _stands_in(self, membership: Membership) -> bool:
        if membership.is_voter(self.address):
            return True
        return self._leaderless > 1 and self.address in membership.learners

    def _on_election_timeout(self) -> None:
        self._leaderless += 1
        if self._recovery is not None:
            self._patient = False
            self._recover()
        if self._may_stand:
            self._pre_campaign()
            return
        self._reset_election_timer()
        self._become_follower(self.term, None)
        self._ask_again_at = self._now
        self._ask_for_recovery()
        if self.observes:
            for peer in self._peers:
                self._send(peer, Observe())
        elif self._recovery is None:
            # Who cannot stand asks whether it is still a member.
            for peer in self._peers:
                self._send(peer, self._pre_vote_request())

    def _pre_vote_request(self) -> PreVoteRequest:
        return PreVoteRequest(self.term + 1, self.log.last_id, self._membership.genesis)

    def _vote_request(self) -> VoteRequest:
        return VoteRequest(
            self.term, self.log.last_id, self._membership.genesis, self._stands_for_leader
        )

    def _pre_campaign(self) -> None:
        """Ask whether an election could be won, before disturbing anybody by a new term."""
        self._reset_election_timer()
        if self.role is Role.CANDIDATE and self._vote_ticket > self._appends.durable_ticket:
            # A slow disk: another term would only have to wait for it as well.
            return
        if self._membership.is_quorum((self.address,)):
            self._campaign()
            return
        self._become_follower(self.term, None)
        self.role = Role.PRE_CANDIDATE
        self._ballot = Ballot(self._membership)
        self._ballot.record(self.address, True)
        for peer in self._peers:
            self._send(peer, self._pre_vote_request())

    def _campaign(self, *, transfer: bool = False) -> None:
        """Stand for election; the own vote counts when it is persisted."""
        self._become_follower(self.term, None)
        self._stands_for_leader = transfer
        self.term += 1
        self.voted_for = self.address
        self.role = Role.CANDIDATE
        self._ballot = Ballot(self._membership)
        self._vote_ticket = self._persist_hard_state()
        self._reset_election_timer()
        for peer in self._peers:
            self._send(peer, self._vote_request())

    def _count_vote(self, voter: str, granted: bool) -> None:
        ballot = self._ballot
        assert ballot is not None, self.role
        ballot.record(voter, granted)
        if ballot.lost:
            self._become_follower(self.term, None)
        elif ballot.won and self.role is Role.PRE_CANDIDATE:
            self._campaign()
        elif ballot.won:
            self._become_leader()

    def _become_leader(self) -> None:
        self.role = Role.LEADER
        self.leader = self.address
        self._ballot = self._following = None
        self._leading = Leading(
            address=self.address,
            term=self.term,
            log=self.log,
            commit_index=self.commit_index,
            config=self._config,
            throttle=self._throttle,
            # It goes on while nobody leads, and behind a former leader that wrote nothing for long:
            # or what is to come would be put off by each of them.
            time=self.log.last_time + int((self._now - self._appended_at) * 1_000_000),
            now=self._now,
        )
        self._leading.begin_round(self._now)
        for observer in self._observers:
            self._leading.observe(observer, self.commit_index, self._now)
        # Entries of older terms are committed by committing one of the own (5.4.2).
        if self._membership.genesis:
            self._append_own(EntryKind.NOOP, b"")
        else:
            self._append_genesis()

    def _append_genesis(self) -> None:
        """Begin the life of a cluster: from now on the log itself tells who its members are."""
        genesis = self._random.getrandbits(62) + 1
        begun = structs.replace(self._membership, genesis=genesis)
        self._append_own(EntryKind.MEMBERSHIP, encode_membership(begun))

    def _up_to_date(self, last: EntryId) -> bool:
        """Whether a log that ends with `last` holds all that is committed here (5.4.1)."""
        return self._floor is not None and last >= max(self.log.last_id, self._floor)

    def _same_cluster(self, genesis: int) -> bool:
        """Whether a log with this genesis may be of the life of the cluster that is known here.

        What is not committed may have to give way to another one.
        """
        known = self.log.membership_at(self.commit_index).genesis
        return not known or not genesis or genesis == known

    def _on_pre_vote_request(self, sender: str, message: PreVoteRequest) -> None:
        granted = (
            message.term > self.term
            and not self._leader_alive()
            and self._up_to_date(message.last)
            and self._same_cluster(message.genesis)
        )
        if granted:
            self._give_way(sender, message.last)
        else:
            self._stand_instead(sender, message.last)
        self._send(sender, PreVoteReply(message.term if granted else self.term, granted))
        if sender not in self._membership.members:
            self._dismiss(sender)

    def _give_way(self, candidate: str, last: EntryId) -> None:
        """Do not stand against who was promised a vote, before it has had its try.

        Two that ask at once would promise each other theirs, stand, and vote for themselves.
        """
        if not self._membership.is_voter(candidate):
            return
        if self.role is Role.PRE_CANDIDATE and (last, candidate) > (self.log.last_id, self.address):
            self._become_follower(self.term, None)
        grace = self._config.election_timeout_min * _LINK_LOST_SPREAD
        self._election_at = max(self._election_at, self._now + grace)

    def _stand_instead(self, candidate: str, last: EntryId) -> None:
        """Stand soon if another one cannot be elected, since this log holds more than its own."""
        if self.role not in (Role.FOLLOWER, Role.PRE_CANDIDATE) or self._leader_alive():
            return
        if last < self.log.last_id and self._membership.is_voter(candidate) and self._may_stand:
            spread = self._config.election_timeout_min * _LINK_LOST_SPREAD
            self._election_at = min(self._election_at, self._now + self._random.random() * spread)

    def _on_pre_vote_reply(self, sender: str, message: PreVoteReply) -> None:
        if not message.granted and message.term > self.term:
            self._become_follower(message.term, None)
        elif self.role is Role.PRE_CANDIDATE and (
            not message.granted or message.term == self.term + 1
        ):
            self._count_vote(sender, message.granted)

    def _on_vote_request(self, sender: str, message: VoteRequest) -> None:
        if message.term < self.term or (self._leader_alive() and not message.transfer):
            # Its term is not adopted either: a member that cannot win must not unseat a leader.
            self._send(sender, VoteReply(self.term, False))
            return
        if message.term > self.term:
            self._become_follower(message.term, None)
        granted = (
            self.voted_for in (None, sender)
            and self.leader is None
            and self._up_to_date(message.last)
            and self._same_cluster(message.genesis)
        )
        if granted and self.voted_for is None:
            self._become_follower(self.term, None)
            self.voted_for = sender
            self._persist_hard_state()
            self._reset_election_timer()
        self._send(sender, VoteReply(self.term, granted))

    def _on_vote_reply(self, sender: str, message: VoteReply) -> None:
        if message.term > self.term:
            self._become_follower(message.term, None)
        elif message.term == self.term and self.role is Role.CANDIDATE:
            self._count_vote(sender, message.granted)

    # Leading (5.3, 5.4)

    def _append_own(self, kind: EntryKind, payload: bytes) -> EntryId:
        leading = self._leading
        assert leading is not None, self.role
        index = self.log.last_index + 1
        entry = Entry(self.term, index, leading.cluster_time(self._now), kind, payload)
        self._append([entry])
        leading.uncommitted_bytes += entry_bytes(entry)
        self._note_membership()
        return entry.id

    def _append(self, entries: Sequence[Entry]) -> int:
        """Add entries to the log, here and in the store; return the ticket."""
        self._appended_at = self._now
        self.log.append(entries)
        ticket = self._appends.add_entries(entries)
        self.log.pend(ticket, entries[0].index, entries[-1].index)
        return ticket

    def _on_reply(self, sender: str, message: AppendReply | SnapshotReply) -> None:
        if message.term > self.term:
            self._become_follower(message.term, None)
        leading = self._leading
        if leading is None or message.term < self.term or message.round == 0:
            return
        if sender not in leading.peers or leading.is_outlived(sender, message):
            return
        if message.recovering and sender in leading.followers:
            leading.begin_recovery(sender, message.recovering)
            self._set_barrier(leading)
        else:
            leading.told_recovered(sender)
        if isinstance(message, AppendReply):
            leading.append_replied(sender, message)
        else:
            leading.snapshot_replied(sender, message, self._now)
        leading.heard(sender, message, self._now)
        leading.end_recoveries(self.commit_index)
        if sender == leading.successor:
            self._hand_over(leading)
        self._advance_commit()
        self._answer_confirmed_reads(leading)

    def _advance_commit(self) -> None:
        """Commit by counting, but only entries of the own term (5.4.2; figure 8 is why)."""
        leading = self._leading
        assert leading is not None, self.role
        if self.commit_index == self.log.last_index:
            # Most answers are to heartbeats.
            return
        index = leading.quorum_index()
        if index <= self.commit_index or self.log.term_at(index) != self.term:
            return
        leading.uncommitted_bytes -= self.log.bytes_between(self.commit_index + 1, index)
        self.commit_index = index
        leading.end_recoveries(index)
        if self.leader_ready:
            for read in leading.reads.take_waiting():
                self._lead_read(read)
            self._set_barrier(leading)
        self._leave_lead(leading)

    # Reading (dissertation, 6.4)

    def _lead_read(self, read: Read) -> None:
        leading = self._leading
        assert leading is not None, self.role
        if leading.reads.full:
            self._answer_read(read, 0)
        elif not self.leader_ready:
            leading.reads.wait(read)
        elif leading.is_alone:
            self._answer_read(read, self.commit_index)
        else:
            leading.hold_read(read, self.commit_index, self._now)

    def _answer_confirmed_reads(self, leading: Leading) -> None:
        for read, index in leading.reads.confirmed(leading.rounds.confirmed):
            self._answer_read(read, index)

    def _answer_read(self, read: Read, index: int) -> None:
        if read.origin is None:
            self._effects.reads.append(ReadReady(read.request, index))
        else:
            self._effects.sends.append((read.origin, ReadReply(read.request, index)))

    def _end_reads(self) -> None:
        """End what is pending without an answer: who was to confirm it leads no more."""
        if self._leading is not None:
            for read in self._leading.reads.take_all():
                self._answer_read(read, 0)
        for request in self._asked.take_all():
            self._effects.reads.append(ReadReady(request, 0))

    def _on_read_request(self, sender: str, message: ReadRequest) -> None:
        read = Read(sender, message.request)
        if self._leading is None:
            self._answer_read(read, 0)
        else:
            self._lead_read(read)

    def _on_read_reply(self, sender: str, message: ReadReply) -> None:
        if sender == self.leader:
            for request in self._asked.answered(message.request):
                self._effects.reads.append(ReadReady(request, message.index))

    # Following (5.3)

    @property
    def _recovery_nonce(self) -> int:
        return self._recovery.nonce if self._recovery is not None else 0

    def _follow(self, sender: str, message: AppendRequest | SnapshotChunk) -> Following | None:
        """Take `sender` for the leader of the message's term; None if that term is over.

        Raises:
            ProtocolError: the term has another leader.
        """
        if message.term < self.term:
            if self._silences.spoke(sender, message.term, self._now):
                self._set_election_timeout()
            return None
        if isinstance(message, AppendRequest) and not self._same_cluster(message.genesis):
            self.is_stranded = self.observes
            raise ProtocolError(
                f"{sender} leads another life of the cluster: what is held here is of a cluster"
                " that a majority of its members has forgotten; start this node without it"
            )
        if message.term == self.term and self.leader not in (None, sender):
            raise ProtocolError(f"{sender} claims term {message.term}, led by {self.leader}")
        if message.term > self.term or self.leader is None:
            self._silences.spoke(sender, message.term, self._now)
            self._become_follower(message.term, sender)
        following = self._following
        assert following is not None, self.role
        if self._silences.ended(self._now - following.heard_at, self._now):
            self._set_election_timeout()
        following.heard(message.round, message.echo, self._now)
        self._dismissed_at = -1
        if isinstance(message, AppendRequest) and message.recovered:
            self._on_recovered(message.recovered)
        if self._recovery is not None:
            self._ask_for_recovery()
        self._election_at = self._now + self._election_timeout
        return following

    def _on_append_request(self, sender: str, message: AppendRequest) -> None:
        check_run(message.previous, message.entries, message.term)
        following = self._follow(sender, message)
        if following is None:
            self._refuse_old_leader(sender)
            return
        if message.genesis != self._membership.genesis:
            self._drop_other_genesis(message.genesis)
        previous = message.previous
        if previous.index >= self.log.base.index and not self.log.has(previous):
            if previous.index <= self.commit_index:
                raise ProtocolError(f"{sender} has {previous} where another entry is committed")
            hint = self.log.last_not_above(previous.index, previous.term)
            self._refuse_append(sender, following.round, hint)
            return
        entries: Sequence[Entry] = message.entries
        last = previous.index + len(entries)
        if last > following.verified_index:
            following.verified_index = last
        if entries:
            entries = self._new_entries(sender, entries)
        if entries:
            ticket = self._append(entries)
            self._note_membership()
            self._acknowledge(following, last, ticket)
        else:
            known = min(following.verified_index, self.log.persisted_index)
            # What tells of a commit only, within a round, needs no answer: half of all messages.
            if message.entries or not following.has_told(known):
                self._acknowledge(following, known)
        self.commit_index = max(self.commit_index, min(message.commit_index, last))

    def _drop_other_genesis(self, genesis: int) -> None:
        """Drop entries of another life of the cluster, none of which is committed here.

        Two first leaders may have led in the same term, if a member lost its memory in between:
        then equal terms at one index do not tell that the logs are equal.
        """
        own = self._membership.genesis
        if own and genesis and own != genesis:
            self.log.truncate(self.commit_index + 1)
            self._note_membership()

    def _new_entries(self, sender: str, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Return what is to be appended; only a real conflict truncates the log.

        Raises:
            ProtocolError: they contradict what is committed.
        """
        log = self.log
        new = log.unknown_of(entries)
        if not new:
            return new
        first = new[0]
        if first.index <= self.commit_index:
            raise ProtocolError(f"{sender} would overwrite entry {first.index}, a committed one")
        if first.term < (log.term_at(first.index - 1) or 0):
            raise ProtocolError(f"{sender} has entry {first.id} after one of a later term")
        if first.time < log.time_at(first.index - 1):
            raise ProtocolError(f"{sender} has entry {first.index} before the one it follows")
        if first.index <= log.last_index:
            log.truncate(first.index)
            self._note_membership()
        return new

    def _refuse_append(self, to: str, round: int, hint: EntryId) -> None:
        if self._following is not None:
            self._following.forget_told()
        reply = AppendReply(
            self.term, round, False, hint.index, hint.term, self._now, self._recovery_nonce
        )
        self._send(to, reply)

    def _refuse_old_leader(self, to: str) -> None:
        """Let a leader know that its term is over.

        Round 0 says that the answer tells nothing of the log: its reader may lead this very term
        by the time it arrives.
        """
        self._refuse_append(to, 0, EntryId(0, 0))

    def _acknowledge(self, following: Following, index: int, ticket: int = 0) -> None:
        """Tell the leader that the log is equal up to `index`, once append `ticket` is durable."""
        assert self.leader is not None, self.role
        following.acknowledged_index = max(following.acknowledged_index, index)
        reply = AppendReply(
            self.term, following.round, True, index, 0, self._now, self._recovery_nonce
        )
        waits = self._send_after(max(ticket, self._appends.hard_state_ticket), self.leader, reply)
        following.acknowledges(index, waits)

    def _acknowledge_late(self) -> None:
        """Acknowledge what a former leader sent, once it is persisted and verified equal."""
        following = self._following
        assert following is not None, self.role
        index = min(following.verified_index, self.log.persisted_index)
        if index > following.acknowledged_index:
            self._acknowledge(following, index)

    # Following from a snapshot (section 7)

    def _on_snapshot_chunk(self, sender: str, message: SnapshotChunk) -> None:
        snapshot = message.snapshot
        self._check_snapshot(sender, message)
        following = self._follow(sender, message)
        if following is None:
            self._refuse_old_leader(sender)
        elif snapshot.index <= self.commit_index:
            self._reply_snapshot(snapshot, done=True)
        else:
            self._receive(message)

    def _receive(self, message: SnapshotChunk) -> None:
        snapshot = message.snapshot
        incoming = self._incoming
        if incoming is None or incoming.snapshot != snapshot:
            if incoming is not None and incoming.is_ending:
                # It will be taken over; with more of them the store would have dropped it by then.
                return
            incoming = Incoming(snapshot, window_bytes=2 * self._config.append_window_bytes)
            self._incoming = incoming
        size = len(message.data)
        if incoming.accept(message.offset, size):
            last = message.offset + size == snapshot.size_bytes
            assert self.leader is not None
            self._effects.chunk_writes.append(
                ChunkWrite(self.leader, snapshot, message.offset, message.data, last)
            )
        else:
            self._reply_snapshot(snapshot, done=False)

    def _check_snapshot(self, sender: str, message: SnapshotChunk) -> None:
        """Check a chunk by itself, and against what is committed here.

        Raises:
            ProtocolError: there can be no such snapshot.
        """
        check_chunk(message)
        snapshot, log, committed = message.snapshot, self.log, self.commit_index
        if snapshot.index <= committed:
            fits = log.term_at(snapshot.index) in (None, snapshot.term)
        else:
            fits = (
                snapshot.term >= (log.term_at(committed) or 0)
                and snapshot.time >= log.time_at(committed)
                and self._same_cluster(snapshot.membership.genesis)
            )
        if not fits:
            raise ProtocolError(f"{sender} sent {snapshot}, which contradicts what is committed")

    def _reply_snapshot(self, snapshot: SnapshotMeta, *, done: bool, ticket: int = 0) -> None:
        following = self._following
        if following is None or self.leader is None:
            return
        if done and self.log.persisted_index < snapshot.index:
            # Its entries came by the log and are not durable yet.
            ticket = max(ticket, self._appends.last_ticket)
        incoming = self._incoming
        if done:
            next_offset = snapshot.size_bytes
        else:
            next_offset = incoming.written if incoming is not None else 0
        reply = SnapshotReply(
            self.term, snapshot.id, next_offset, done, following.round, self._now,
            self._recovery_nonce,
        )  # fmt: skip
        self._send_after(max(ticket, self._appends.hard_state_ticket), self.leader, reply)

    def _install(self, snapshot: SnapshotMeta) -> None:
        """Take over a received snapshot that is persisted."""
        if self._incoming is not None and self._incoming.snapshot.index <= snapshot.index:
            self._incoming = None
        if snapshot.index <= self.commit_index:
            self._reply_snapshot(snapshot, done=True)
            return
        if self._leading is not None:
            # It holds all that is committed and will find out by itself (5.4).
            return
        if not self._same_cluster(snapshot.membership.genesis):
            # Another life of the cluster has committed something here while this one came.
            return
        ticket = 0
        self._drop_other_genesis(snapshot.membership.genesis)
        if self.log.has(snapshot.id):
            # What follows stays, in the store as well; nothing has to be written.
            self.log.compact(snapshot.index)
        else:
            ticket = self._reset_log(snapshot)
        self._snapshot = snapshot
        self._note_membership()
        self._effects.install = snapshot
        self.commit_index = self._delivered_index = snapshot.index
        following = self._following
        if following is not None:
            following.verified_index = max(following.verified_index, snapshot.index)
            following.acknowledged_index = max(following.acknowledged_index, snapshot.index)
        self._reply_snapshot(snapshot, done=True, ticket=ticket)

    def _reset_log(self, snapshot: SnapshotMeta | None) -> int:
        assert snapshot is not None
        self._appended_at = self._now
        ticket = self._appends.add_reset(snapshot)
        self.log.reset(snapshot, ticket)
        return ticket

    # Invariants

    def _check(self) -> None:
        """Assert what must hold between any two events."""
        self.log._check()
        self._appends._check()
        self._asked._check()
        log = self.log
        assert log.base.index <= self._delivered_index <= self.commit_index <= log.last_index, (
            log.base, self._delivered_index, self.commit_index, log.last_index,
        )  # fmt: skip
        assert log.last_id.term <= self.term, (log.last_id, self.term)
        assert (self._snapshot.index if self._snapshot else 0) >= log.base.index
        assert (self._leading is not None) == (self.role is Role.LEADER), self.role
        assert (self._ballot is not None) == (
            self.role in (Role.CANDIDATE, Role.PRE_CANDIDATE)
        ), self.role
        assert (self.leader == self.address) == (self.role is Role.LEADER), self.leader
        following = self.role is Role.FOLLOWER and self.leader is not None
        assert (self._following is not None) == following, (self.role, self.leader)
        if self.role in (Role.CANDIDATE, Role.LEADER):
            assert self.voted_for == self.address, self.voted_for
        for part in (self._leading, self._following, self._ballot, self._incoming):
            if part is not None:
                part._check()
        if self._leading is not None:
            uncommitted = log.bytes_between(self.commit_index + 1, log.last_index)
            assert self._leading.uncommitted_bytes == uncommitted, uncommitted
