"""What a leader knows in its term, and what it therefore sends: replication, rounds, reads, time.

`RaftCore` makes one `Leading` when it wins and drops it when it steps down. It decides nothing
about terms or roles; it computes what the core asks for and composes messages to the peers.
"""

from collections.abc import Callable
from operator import attrgetter
from typing import Final

from ..config import Config
from ..errors import ProtocolError
from .effects import ChunkRead
from .log import RaftLog
from .membership import Membership
from .messages import (
    AppendReply,
    AppendRequest,
    EntryId,
    Message,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotReply,
)
from .observing import Observers
from .progress import Mode, PeerView, Progress
from .quorum import reached_by_majority
from .reads import HeldReads, Read, Rounds
from .transfer import Outgoing, Throttle

# Who recovers is heard, and no more.
_HEARD: Final = attrgetter("heard")


def _acknowledged_round(peer: Progress) -> int:
    return 0 if peer.recovering else peer.acknowledged_round


def _match_index(peer: Progress) -> int:
    return 0 if peer.recovering else peer.match_index


class Leading:
    """One leader in one term."""

    __slots__ = (
        "_address",
        "_config",
        "_elected_at",
        "_halves",
        "_heard_at_least",
        "_log",
        "_membership",
        "_outgrown",
        "_quorum_heard_at",
        "_recovering",
        "_round_last_index",
        "_throttle",
        "_time_base",
        "_transfers",
        "_turn",
        "departed",
        "followers",
        "heartbeat_at",
        "holds_commit",
        "is_alone",
        "noop_index",
        "observers",
        "peers",
        "reads",
        "rounds",
        "settled_index",
        "successor",
        "successor_until",
        "term",
        "uncommitted_bytes",
    )

    def __init__(
        self,
        *,
        address: str,
        term: int,
        log: RaftLog,
        commit_index: int,
        config: Config,
        throttle: Throttle,
        time: int,
        now: float,
    ) -> None:
        self.term = term
        self.noop_index = log.last_index + 1
        """The no-op of this term; once it is committed, so is all that was before (5.4.2)."""
        self.peers: dict[str, Progress] = {}
        """All who are spoken to: the followers, and the observers."""
        self.followers: dict[str, Progress] = {}
        """The other members, and for a while those that were."""
        self.observers = Observers(config, now)
        self.departed: dict[str, float] = {}
        """When those were heard last that are spoken to no more: their sessions live on."""
        self.rounds = Rounds(now)
        self.reads = HeldReads()
        self.heartbeat_at = now
        self.holds_commit = False
        """Whether followers are yet to be told of the commit index."""
        self.uncommitted_bytes = log.bytes_between(commit_index + 1, log.last_index)
        self.successor: str | None = None
        """Whom leadership is being transferred to, until `successor_until`."""
        self.successor_until = 0.0
        self.settled_index = 0
        """Up to here all was there when the last but one round began: who has it keeps up."""
        self._round_last_index = 0
        self._recovering = False
        self._address = address
        self._log = log
        self._config = config
        self._time_base = time
        self._elected_at = now
        self._transfers: dict[str, Outgoing] = {}
        self._throttle = throttle
        self._turn = 0
        # Whether the log has outgrown a snapshot that is on its way; until none is.
        self._outgrown = False
        self._membership = Membership()
        self.is_alone = False
        """Whether this leader is a quorum by itself."""
        self._quorum_heard_at: float | None = None
        # What it was at some time since the members changed: it only grows.
        self._heard_at_least = 0.0
        self.change(log.membership, now)

    # Members

    def change(self, membership: Membership, now: float) -> None:
        """Let a membership count. Who is no member any more is spoken to for a while."""
        self._membership = membership
        self.is_alone = membership.is_quorum((self._address,))
        self._quorum_heard_at = None
        self._heard_at_least = 0.0
        for peer in membership.members:
            progress = self.followers.get(peer)
            if progress is not None:
                progress.leaves_at = None
            elif peer != self._address:
                progress = Progress(self._log.last_index + 1, now)
                self.peers[peer] = self.followers[peer] = progress
                # Under a round of its own would be too much: it is asked with the next one.
                progress.must_speak = True
        for peer, progress in self.followers.items():
            if progress.leaves_at is None and peer not in membership.members:
                progress.leaves_at = now + 2 * self._config.election_timeout_max
        self._halves = tuple(
            tuple(self.followers.get(voter) for voter in half)
            for half in (membership.voters, membership.outgoing)
            if half
        )

    def dismiss(self, commit_index: int, now: float) -> None:
        """Speak no more to those that left and know that it is committed, or were long silent."""
        for peer, progress in list(self.followers.items()):
            if progress.leaves_at is None or commit_index < self._log.membership_index:
                continue
            knows = min(progress.match_index, progress.commit_sent) >= self._log.membership_index
            if knows or now >= progress.leaves_at:
                del self.followers[peer]
                self._drop(peer)

    def _drop(self, peer: str) -> None:
        self.departed[peer] = self.peers.pop(peer).heard
        self._transfers.pop(peer, None)
        self.reads.forget(peer)

    @property
    def departing(self) -> tuple[str, ...]:
        """Those that are spoken to although they are no members any more."""
        return tuple(p for p, progress in self.followers.items() if progress.leaves_at is not None)

    def able(self, now: float) -> list[str]:
        """Return who can decide now: this leader, and peers that are heard, count, and know it."""
        patience = self._config.election_timeout_max
        return [self._address] + [
            peer
            for peer, progress in self.followers.items()
            if not progress.recovering
            and not progress.tell_recovered
            and progress.acknowledged_round
            and now - progress.heard < patience
        ]

    def keeps_up(self, peer: str) -> bool:
        """Whether a learner may become a voter: it has what there was a round ago, and counts.

        It has to know that it does: if this leader were lost, it would not vote for another one.
        """
        progress = self.peers.get(peer)
        return (
            progress is not None
            and not progress.recovering
            and not progress.tell_recovered
            and 0 < self.settled_index <= progress.match_index
        )

    def all_know_members(self, voters: tuple[str, ...]) -> bool:
        """Whether all these members have persisted the newest membership."""
        index = self._log.membership_index
        return all(
            voter == self._address or self.followers[voter].match_index >= index
            for voter in voters
        )

    # Observers

    def observe(self, peer: str, commit_index: int, now: float) -> None:
        """Have an observer sent what is committed from now on."""
        progress = self.peers.get(peer)
        if progress is None:
            progress = self.peers[peer] = Progress(commit_index + 1, now, observes=True)
            self.observers.add(peer, progress, now)
        elif progress.observes:
            # It asks again as it has not been told of this leader, or the message was lost.
            progress.must_speak = True
            self.observers.look_at(peer)

    def observe_no_more(self, peer: str) -> None:
        """Send no more to an observer whose link is down: it asks again when it is back."""
        self.observers.drop(peer)
        self._drop(peer)

    def _reached(self, own: float, value: Callable[[Progress], float]) -> float:
        """Return the highest value that a quorum has reached; this leader has reached `own`."""
        lowest = float("inf")
        for half in self._halves:
            reached = reached_by_majority([own if peer is None else value(peer) for peer in half])
            if reached < lowest:
                lowest = reached
        return lowest

    # Time

    def cluster_time(self, now: float) -> int:
        """Return the time to stamp an entry with, in microseconds; it never goes backwards."""
        elapsed = int((now - self._elected_at) * 1_000_000)
        return max(self._time_base + elapsed, self._log.last_time)

    def deadline(self, commit_index: int, now: float) -> float:
        """Return when a heartbeat, a chunk, a retry, or the end of the leader's patience is due."""
        if not self.peers:
            return float("inf")
        deadline, patience = self.heartbeat_at, self._config.election_timeout_max
        # What was heard since only puts it off.
        if self._heard_at_least + patience < deadline:
            deadline = min(deadline, self.quorum_heard_at + patience)
        if self.successor is not None:
            deadline = min(deadline, self.successor_until)
        if self._transfers:
            deadline = min(deadline, self._chunk_deadline(now))
        if self.observers.progress:
            deadline = min(deadline, self.observers.deadline(commit_index))
        return deadline

    @property
    def quorum_heard_at(self) -> float:
        """When the leader last had been heard by a quorum, itself included (check-quorum)."""
        heard_at = self._quorum_heard_at
        if heard_at is None:
            # Another one only after an answer or a change of members.
            heard_at = self._quorum_heard_at = self._reached(float("inf"), _HEARD)
            self._heard_at_least = heard_at
        return heard_at

    # Rounds and reads

    def begin_round(self, now: float) -> None:
        """Let every peer be spoken to at once, under a new round."""
        self.rounds.begin(now)
        if self.is_alone:
            # Nobody else has to answer, and observers want to hear that it leads.
            self.rounds.confirm(self.rounds.current)
        self.settled_index, self._round_last_index = self._round_last_index, self._log.last_index
        self.heartbeat_at = now + self._config.heartbeat_interval
        for progress in self.followers.values():
            progress.must_speak = True

    def hold_read(self, read: Read, commit_index: int, now: float) -> None:
        """Keep a read until a round that begins from now on is confirmed."""
        if not self.rounds.fresh:
            if self.rounds.crowded:
                self.reads.hold(read, commit_index, self.rounds.current + 1)
                return
            self.begin_round(now)
        self.reads.hold(read, commit_index, self.rounds.current)

    def _confirm_rounds(self, now: float) -> None:
        quorum_round = int(self._reached(self.rounds.current, _acknowledged_round))
        if self.rounds.confirm(quorum_round):
            for progress in self.followers.values():
                progress.confirm(self.rounds.contact)
            if self.reads.awaits_round > self.rounds.current:
                self.begin_round(now)

    # Recovery of peers (see `recovery.Recovery`)

    def begin_recovery(self, peer: str, nonce: int) -> None:
        """Note that a peer recovers under this nonce."""
        self.peers[peer].begin_recovery(nonce, self.rounds.current)
        self._note_recovering()

    def is_outlived(self, peer: str, reply: AppendReply | SnapshotReply) -> bool:
        """Whether a peer that has forgotten all since then has said this."""
        return self.peers[peer].is_outlived(reply.recovering, reply.round)

    def told_recovered(self, peer: str) -> None:
        """Note that a peer does not recover, or no longer."""
        progress = self.peers[peer]
        if progress.recovering or progress.tell_recovered:
            progress.told_recovered()
            self._note_recovering()

    def _note_recovering(self) -> None:
        self._recovering = any(p.recovering for p in self.followers.values())

    def wants_barrier(self) -> bool:
        """Whether an entry must be appended that those who recover have to reach."""
        return self._recovering and any(p.awaits_barrier for p in self.followers.values())

    def set_barrier(self, index: int) -> None:
        """Let all recoveries that wait for it be over with entry `index`."""
        for progress in self.followers.values():
            if progress.awaits_barrier:
                progress.set_barrier(index)

    def end_recoveries(self, commit_index: int) -> None:
        """End the recoveries whose entry is committed and persisted by the peer."""
        if self._recovering:
            for progress in self.followers.values():
                progress.end_recovery(commit_index)
            self._note_recovering()

    # Answers of peers

    def heard(self, peer: str, reply: AppendReply | SnapshotReply, now: float) -> None:
        """Take in what every answer of this term tells.

        Raises:
            ProtocolError: it answers a round that has not begun.
        """
        if reply.round > self.rounds.current:
            raise ProtocolError(f"an answer to round {reply.round} of {self.rounds.current}")
        progress = self.peers[peer]
        news = reply.round > progress.acknowledged_round
        progress.heard_at(reply.round, reply.sent, now)
        if progress.observes:
            self.observers.answered(peer, progress)
            return
        self._quorum_heard_at = None
        if news:
            self._confirm_rounds(now)

    def append_replied(self, peer: str, reply: AppendReply) -> None:
        """Take in how far a peer's log is equal, or where it is not.

        Raises:
            ProtocolError: the peer claims entries that were never sent to it.
        """
        progress = self.peers[peer]
        if not reply.accepted:
            if progress.mode is not Mode.SNAPSHOT:
                progress.refused(self._equal_up_to(reply))
            return
        if reply.index > self._log.last_index:
            raise ProtocolError(f"entry {reply.index} of {self._log.last_index} was acknowledged")
        progress.accepted(reply.index)
        if progress.mode is Mode.SNAPSHOT and progress.match_index >= self._log.base.index:
            self._end_transfer(peer)

    def _equal_up_to(self, refusal: AppendReply) -> int:
        """Return up to where the logs can be equal at the most, after a refusal (5.3)."""
        base = self._log.base
        if refusal.index < base.index:
            return refusal.index
        found = self._log.last_not_above(refusal.index, refusal.hint_term)
        # Nothing above the base fits: if the base does not either, a snapshot is needed.
        return found.index if found.term <= refusal.hint_term else max(base.index - 1, 0)

    def snapshot_replied(self, peer: str, reply: SnapshotReply, now: float) -> None:
        """Take in how far a snapshot has arrived.

        Raises:
            ProtocolError: the peer claims what was never sent to it.
        """
        id = reply.snapshot
        if id.index > self._log.last_index or self._log.term_at(id.index) not in (None, id.term):
            raise ProtocolError(f"{id} is no snapshot of this leader")
        transfer = self._transfers.get(peer)
        if reply.done:
            progress = self.peers[peer]
            progress.accepted(id.index)
            if transfer is not None and (
                id == transfer.snapshot.id or progress.match_index >= self._log.base.index
            ):
                self._end_transfer(peer)
        elif transfer is not None and transfer.snapshot.id == id:
            transfer.acknowledge(reply.next_offset, now)

    def _end_transfer(self, peer: str) -> None:
        del self._transfers[peer]
        self._outgrown &= bool(self._transfers)
        self.peers[peer].caught_up()

    def sends_snapshot(self, now: float) -> bool:
        """Whether a snapshot is on its way to a peer that is heard."""
        return bool(self._heard_transfers(now))

    def needed_index(self, floor: int, now: float) -> int:
        """Return up to where the log may go without costing anybody a snapshot, or another one.

        Without regard to those that are not heard, or need more than what follows `floor`.
        """
        needed = self._log.last_index
        for peer, progress in self.peers.items():
            transfer = self._transfers.get(peer)
            index = progress.match_index if transfer is None else transfer.snapshot.index
            if not floor <= index < needed:
                continue
            # Of who has not answered yet, nothing is known.
            if progress.acknowledged_round and self._is_heard(progress, now):
                needed = index
        return needed

    def replace_outdated(self, newest: SnapshotMeta, now: float) -> list[str]:
        """Send the newest snapshot instead of those that the log does not reach back to any more.

        Whoever took over one of them would need another one. Return those of them that are heard.
        """
        heard = self._heard_transfers(now)
        for peer, transfer in self._transfers.items():
            if transfer.snapshot.index < self._log.base.index:
                self._begin_transfer(peer, newest, now)
        anew = [peer for peer in heard if self._transfers[peer] is not heard[peer]]
        self._outgrown |= bool(anew)
        return anew

    def chunk_missing(
        self, peer: str, missing: SnapshotMeta, newest: SnapshotMeta | None, now: float
    ) -> None:
        """Begin a transfer anew whose snapshot is no longer there."""
        transfer = self._transfers.get(peer)
        if transfer is None or transfer.snapshot != missing:
            return
        if newest is not None and newest != missing:
            self._begin_transfer(peer, newest, now)
        else:
            # The newest one cannot be read: trying again at once would only spin.
            transfer.pause(now + self._config.election_timeout_min)

    def relinked(self, peer: str, now: float) -> None:
        """Resume after a new link: what was on the way over an older one may be lost."""
        progress = self.peers[peer]
        progress.relinked(now)
        if progress.observes:
            self.observers.look_at(peer)
        self.reads.forget(peer)
        if peer in self._transfers:
            self._transfers[peer].rewind()

    def unlinked(self, peer: str, now: float) -> None:
        """Stop filling a link that is down."""
        if self.peers[peer].mode is Mode.REPLICATE:
            self.peers[peer].probe()
            # The next round, or a new link, makes the next attempt.
            self.peers[peer].probe_sent = True
        elif peer in self._transfers:
            # By then it is silent, or can be heard without this link.
            self._transfers[peer].pause(now + self._config.election_timeout_max)

    def retry_transfers(self, now: float) -> None:
        """Send chunks again that were not acknowledged in time."""
        for transfer in self._heard_transfers(now).values():
            if now >= transfer.retry_at:
                transfer.retry()

    def quorum_index(self) -> int:
        """Return the highest index that a majority has persisted (5.3; see also 5.4.2)."""
        return int(self._reached(self._log.persisted_index, _match_index))

    # Messages to peers

    def has_messages(self, commit_index: int, now: float) -> bool:
        """Whether `compose` would give anything, besides a commit index that is held."""
        if self.observers.progress and self.observers.has_messages(commit_index, now):
            return True
        log = self._log
        for progress in self.followers.values():
            if progress.must_speak:
                return True
            if progress.mode is Mode.SNAPSHOT:
                continue
            if progress.next_index <= log.base.index:
                if self._is_heard(progress, now):
                    return True
            elif progress.mode is Mode.PROBE:
                if not progress.probe_sent:
                    return True
            elif self._must_tell(progress, commit_index) or (
                progress.next_index <= log.last_index and self._has_room(progress)
            ):
                return True
        return self._next_receiver(now) is not None

    def compose(
        self,
        commit_index: int,
        snapshot: SnapshotMeta | None,
        sends: list[tuple[str, Message]],
        chunk_reads: list[ChunkRead],
        now: float,
        *,
        hold_commit: bool,
    ) -> None:
        """Add what is to be sent to each peer now: as few messages as the bounds allow.

        `hold_commit`: no message only tells of the commit index, which the next one with entries
        may take along; but not twice in a row.
        """
        self.holds_commit = hold_commit and not self.holds_commit
        log = self._log
        first_index, last_index = log.base.index + 1, log.last_index
        for peer, progress in self.followers.items():
            if progress.mode is Mode.SNAPSHOT:
                pass
            elif progress.next_index < first_index:
                if self._is_heard(progress, now):
                    assert snapshot is not None, log.base
                    self._begin_transfer(peer, snapshot, now)
            elif progress.mode is Mode.REPLICATE:
                # Mostly the peer has all there is, and knows how much of it is committed.
                if progress.next_index <= last_index or progress.commit_sent < commit_index:
                    self._replicate(peer, progress, commit_index, sends)
            elif not progress.probe_sent:
                self._append(peer, progress, commit_index, sends)
            if progress.must_speak:
                sends.append((peer, self._heartbeat(progress, commit_index)))
                progress.must_speak = False
        if self.observers.progress and self.observers.has_messages(commit_index, now):
            self._serve_observers(commit_index, snapshot, sends, now)
        if self._transfers:
            self._read_chunks(chunk_reads, now)
        self.rounds.fresh = False

    def _serve_observers(
        self,
        commit_index: int,
        snapshot: SnapshotMeta | None,
        sends: list[tuple[str, Message]],
        now: float,
    ) -> None:
        single, turn = self.observers.take_due(commit_index, now)
        for peer in single:
            self._serve_observer(peer, commit_index, snapshot, sends, now)
        equal: dict[int, list[str]] = {}
        for peer in turn:
            progress = self.peers[peer]
            next_index = progress.next_index
            if progress.mode is not Mode.REPLICATE or next_index > commit_index:
                continue
            if next_index <= self._log.base.index:
                self.observers.look_at(peer)
            elif not progress.in_flight_bytes:
                # One that has not answered yet is served by itself when it does.
                equal.setdefault(next_index, []).append(peer)
        for peers in equal.values():
            # Without an echo, which would be of one of them.
            message, size_bytes = self._next_append(self.peers[peers[0]], commit_index, echo=0.0)
            for peer in peers:
                self._note_append(self.peers[peer], message, size_bytes)
                sends.append((peer, message))

    def _serve_observer(
        self,
        peer: str,
        commit_index: int,
        snapshot: SnapshotMeta | None,
        sends: list[tuple[str, Message]],
        now: float,
    ) -> None:
        progress, base_index = self.peers[peer], self._log.base.index
        progress.confirm(self.rounds.contact)
        if progress.mode is not Mode.SNAPSHOT and progress.next_index <= base_index:
            assert snapshot is not None, self._log.base
            if not self.observers.postpone(peer, self._observer_transfers(now)):
                self._begin_transfer(peer, snapshot, now)
        if progress.mode is not Mode.SNAPSHOT and progress.next_index > base_index:
            if progress.mode is Mode.REPLICATE:
                self._replicate(peer, progress, commit_index, sends)
            elif not progress.probe_sent:
                self._append(peer, progress, commit_index, sends)
        if progress.must_speak:
            sends.append((peer, self._heartbeat(progress, commit_index)))
            progress.must_speak = False

    def _observer_transfers(self, now: float) -> int:
        """Return how many observers are being sent a snapshot, and answer."""
        patience = self._config.election_timeout_max
        transfers = [self.peers[peer] for peer in self._transfers]
        return sum(p.observes and now - p.heard < 2 * patience for p in transfers)

    def _has_room(self, progress: Progress) -> bool:
        config = self._config
        window = 2 * config.append_bytes if progress.observes else config.append_window_bytes
        return progress.in_flight_bytes < window and progress.has_room

    def _replicate(
        self,
        peer: str,
        progress: Progress,
        commit_index: int,
        sends: list[tuple[str, Message]],
    ) -> None:
        last_index = commit_index if progress.observes else self._log.last_index
        while progress.next_index <= last_index and self._has_room(progress):
            self._append(peer, progress, commit_index, sends)
        if self._must_tell(progress, commit_index):
            # The followers' reads wait for this: they apply what they know to be committed.
            progress.must_speak = True

    def _must_tell(self, progress: Progress, commit_index: int) -> bool:
        """Whether a peer is to be told that entries which it has been sent are committed."""
        if self.holds_commit:
            return False
        return progress.commit_sent < min(commit_index, progress.next_index - 1)

    def _append(
        self,
        peer: str,
        progress: Progress,
        commit_index: int,
        sends: list[tuple[str, Message]],
    ) -> None:
        """Send entries from `next_index` on, one message full; none if there are none."""
        message, size_bytes = self._next_append(progress, commit_index, progress.echo)
        sends.append((peer, message))
        self._note_append(progress, message, size_bytes)

    def _next_append(
        self, progress: Progress, commit_index: int, echo: float
    ) -> tuple[AppendRequest, int]:
        """Return what is to be sent from `next_index` on, and the size of its entries."""
        first = progress.next_index
        last = commit_index if progress.observes else self._log.last_index
        entries, size_bytes = (
            self._log.run(first, self._config.append_bytes, last) if first <= last else ([], 0)
        )
        message = AppendRequest(
            term=self.term,
            previous=self._id_at(first - 1),
            commit_index=commit_index,
            entries=entries,
            round=self.rounds.current,
            echo=echo,
            genesis=self._membership.genesis,
            recovered=progress.recovered if progress.tell_recovered else 0,
        )
        return message, size_bytes

    @staticmethod
    def _note_append(progress: Progress, message: AppendRequest, size_bytes: int) -> None:
        last = message.previous.index + len(message.entries)
        progress.sent(last, size_bytes)
        progress.commit_sent = min(message.commit_index, last)
        progress.must_speak = False

    def _heartbeat(self, progress: Progress, commit_index: int) -> AppendRequest:
        """Return an append without entries.

        Its previous entry is the last one sent, so that it is refused if something was lost.
        """
        if progress.mode is Mode.SNAPSHOT or progress.next_index <= self._log.base.index:
            previous = self._log.base
        else:
            previous = self._id_at(progress.next_index - 1)
            progress.commit_sent = min(commit_index, previous.index)
        return AppendRequest(
            term=self.term,
            previous=previous,
            commit_index=commit_index,
            entries=[],
            round=self.rounds.current,
            echo=progress.echo,
            genesis=self._membership.genesis,
            recovered=progress.recovered if progress.tell_recovered else 0,
        )

    def _id_at(self, index: int) -> EntryId:
        term = self._log.term_at(index)
        assert term is not None, (index, self._log.base, self._log.last_index)
        return EntryId(term, index)

    # Snapshots

    def _begin_transfer(self, peer: str, snapshot: SnapshotMeta, now: float) -> None:
        progress = self.peers[peer]
        progress.send_snapshot()
        former = self._transfers.get(peer)
        transfer = self._transfers[peer] = Outgoing(
            snapshot,
            chunk_bytes=self._config.chunk_bytes,
            # Hundreds of observers may come at once.
            window_bytes=2 * self._config.chunk_bytes
            if progress.observes
            else self._config.append_window_bytes,
            retry_after=self._config.election_timeout_min,
            now=now,
        )
        # Behind all who wait; who begins anew keeps its place.
        transfer.turn = self._next_turn() if former is None else former.turn

    def _read_chunks(self, chunk_reads: list[ChunkRead], now: float) -> None:
        """Send as many chunks as windows and throttle allow, one to each receiver in turn.

        If the log outgrows what is sent in this way, all to one of them after the other: it might
        outgrow every one for ever, if they were equally far.
        """
        while (peer := self._next_receiver(now)) is not None:
            transfer = self._transfers[peer]
            piece = transfer.next_chunk(now)
            assert piece is not None, peer
            offset, size = piece
            self._throttle.spend(size, now)
            if not self._outgrown:
                transfer.turn = self._next_turn()
            chunk = SnapshotChunk(
                term=self.term,
                snapshot=transfer.snapshot,
                offset=offset,
                data=b"",
                round=self.rounds.current,
                echo=self.peers[peer].echo,
            )
            chunk_reads.append(ChunkRead(peer, chunk, size))

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn

    def _next_receiver(self, now: float) -> str | None:
        """Return whom to send the next chunk now: who has waited for longest; None: nobody."""
        if not self._transfers or now < self._throttle.free_at:
            return None
        able = {peer: t.turn for peer, t in self._heard_transfers(now).items() if t.may_send}
        return min(able, key=able.__getitem__, default=None)

    def _chunk_deadline(self, now: float) -> float:
        """Return when the next chunk may be sent, or has to be sent again."""
        transfers = self._heard_transfers(now).values()
        deadline = min((transfer.retry_at for transfer in transfers), default=float("inf"))
        if any(transfer.may_send for transfer in transfers):
            deadline = min(deadline, self._throttle.free_at)
        return deadline

    def _heard_transfers(self, now: float) -> dict[str, Outgoing]:
        """Return the transfers to those that are heard: for others, chunks would be wasted."""
        return {
            peer: transfer
            for peer, transfer in self._transfers.items()
            if self._is_heard(self.peers[peer], now)
        }

    def _is_heard(self, progress: Progress, now: float) -> bool:
        return now - progress.heard < self._config.election_timeout_max

    # Being looked at

    def views(self) -> dict[str, PeerView]:
        """Return how each peer stands. Any thread may ask, while the leader's goes on."""
        views = {}
        # Copied in one step, as the other thread may change it.
        for peer, progress in list(self.peers.items()):
            transfer = self._transfers.get(peer)
            views[peer] = PeerView(
                mode=progress.mode,
                match_index=progress.match_index,
                in_flight_bytes=progress.in_flight_bytes,
                heard=progress.heard,
                counts=not (progress.recovering or progress.observes),
                snapshot_offset=transfer.acknowledged if transfer else 0,
                snapshot_bytes=transfer.snapshot.size_bytes if transfer else 0,
            )
        return views

    def _check(self) -> None:
        self.rounds._check()
        self.reads._check()
        self.observers._check()
        assert self.peers == {**self.followers, **self.observers.progress}, self.peers
        for peer, progress in self.peers.items():
            progress._check()
            assert progress.match_index <= self._log.last_index, (peer, progress.match_index)
            assert progress.next_index <= self._log.last_index + 1, (peer, progress.next_index)
            assert (progress.mode is Mode.SNAPSHOT) == (peer in self._transfers), peer
        for transfer in self._transfers.values():
            transfer._check()
