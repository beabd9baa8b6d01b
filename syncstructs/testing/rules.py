"""Rules of Raft that a single step can break, long before any state shows it.

Who hears of a higher term takes it up (5.1). A vote goes to a log that is not behind (5.4.1), none
is given or promised by who hears a leader (dissertation, 4.2.3 and 9.6), and who leads has the
votes of a majority in that very term (5.2). Who does not lead stands for election within an
election timeout, unless it hears of somebody (5.2). Whoever follows answers every round that it
hears, and acknowledges nothing without waiting for what it has not on its disk; a leader does not
send again what a refusal tells to be in vain (5.3). A barrier passes
when all is applied that was committed anywhere before it began, and a leader answers a read by a
round that began after it had come, knowing all by then that was committed before (dissertation,
6.4). Calls are sent again only for a reason, and reasons are few.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from ..raft.core import Role
from ..raft.messages import (
    AppendReply,
    AppendRequest,
    Dismissal,
    EntryId,
    Forward,
    PreVoteReply,
    SnapshotChunk,
    SnapshotReply,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)
from ..raft.progress import Mode
from .memberships import Memberships, is_quorum
from .sureness import Sureness
from .watching import replace_methods

if TYPE_CHECKING:
    from ..config import Config
    from ..raft.core import RaftCore
    from ..raft.reads import Read
    from .hosts import Life

# Votes and pre-votes of a higher term are ignored while a leader is heard (dissertation, 4.2.3).
_BINDING: Final = frozenset({AppendRequest, AppendReply, SnapshotChunk, SnapshotReply})


_VOTES: Final = frozenset({PreVoteReply, VoteReply})
_OF_MEMBERS: Final = frozenset({Dismissal, TimeoutNow})

# In a term, to one leader, and without anything new: under the worst faults it takes a sixth of it.
_REPETITIONS_MAX: Final = 250
_NEVER: Final = (0, 0)


class Rules:
    """The rules, for all lives of a simulation; `fail(life, what)` raises."""

    def __init__(
        self,
        config: Config,
        memberships: Memberships,
        fail: Callable[[Life, str], object],
    ) -> None:
        self._memberships = memberships
        self.greatest_commit = 0
        """The greatest index that was seen committed anywhere."""
        self._patience = config.election_timeout_max
        self._patience_min = config.election_timeout_min
        self._heartbeat = config.heartbeat_interval
        self._fail = fail
        self._logs: dict[tuple[int, str], EntryId] = {}
        self._transfers: set[tuple[int, str]] = set()
        self._leaders: dict[int, str] = {}
        self._voters: dict[tuple[int, str], set[str]] = {}
        # By term and leader, then by who has answered: the newest round that it has answered.
        self._rounds: dict[tuple[int, str], dict[tuple[str, int], int]] = {}
        # By life: the leader, its term, and how often calls from a number on were sent to it.
        self._sent: dict[Life, tuple[str, int, dict[tuple[int, int], int]]] = {}
        # By life: term and round of its newest answer; and those of the first request since then
        # that it has not answered, and when it came.
        self._answered: dict[Life, tuple[int, int]] = {}
        self._unanswered: dict[Life, tuple[int, int, float]] = {}
        self.sureness = Sureness(config, fail)

    def watch(self, life: Life) -> None:
        """Watch the node of a life from now on."""
        replica: Any = life.replica
        core: Any = life.core
        step, barrier, apply = replica.step, replica.barrier, replica.apply
        count_vote = core._count_vote
        answer: Any = None
        needs: dict[int, int] = {}
        hears = self.sureness.hears

        def watched_step(sender: str, message: Any, now: float) -> None:
            nonlocal answer
            kind = type(message)
            answer = message if kind in _VOTES else None
            step(sender, message, now)
            answer = None
            if kind in _BINDING:
                if message.term > core.term:
                    self._fail(
                        life, f"has {message} of {sender}, and stays in term {core.term} (5.1)"
                    )
                if kind is AppendRequest:
                    if life not in self._unanswered and message.term == core.term:
                        heard = (message.term, message.round)
                        if heard > self._answered.get(life, _NEVER):
                            self._unanswered[life] = (*heard, now)
                elif core._leading is not None and kind is not SnapshotChunk:
                    hears(life, sender, message, now)
                    if kind is AppendReply and not message.accepted:
                        self._refused(life, sender, message)

        def watched_count_vote(voter: str, granted: bool) -> None:
            if answer is not None:
                self._counts(life, voter, answer)
            count_vote(voter, granted)

        def watched_barrier(request: int, now: float) -> None:
            needs[request] = self.greatest_commit
            barrier(request, now)

        def watched_apply(limit_bytes: int, now: float) -> Any:
            indexes = replica._barriers.copy() if replica._barriers else {}
            progress = apply(limit_bytes, now)
            for request in progress.barriers:
                need, applied = needs.pop(request), life.table.applied_index
                if applied < indexes[request]:
                    self._fail(
                        life, f"passes a barrier at {applied}, whose index is {indexes[request]}"
                    )
                if applied < need:
                    self._fail(
                        life,
                        f"passes a barrier at {applied}; as it began, {need} was committed",
                    )
            return progress

        replace_methods(replica, step=watched_step, barrier=watched_barrier, apply=watched_apply)
        replace_methods(core, _count_vote=watched_count_vote)
        self._watch_reads(life)
        self._watch_votes(life)
        self._watch_acknowledgements(life)
        self.sureness.watch(life)

    def _watch_votes(self, life: Life) -> None:
        core: Any = life.core
        up_to_date, send = core._up_to_date, core._send

        def watched_up_to_date(last: EntryId) -> bool:
            found: bool = up_to_date(last)
            if found:
                self._memberships.promises(life, core, last)
            if found and last < core.log.last_id:
                self._fail(
                    life,
                    f"takes a log that ends with {last} for up to date; its own ends with"
                    f" {core.log.last_id} (5.4.1)",
                )
            return found

        def watched_send(to: str, message: Any) -> None:
            if type(message) in _OF_MEMBERS:
                self._memberships.sends(life, core, to, message)
            if type(message) in _VOTES and message.granted:
                following = None if self._asks_for_transfer(core.term, to) else core._following
                if following is not None and following.alive(core._now, self._patience_min):
                    self._fail(
                        life,
                        f"answers {to} by {message}, though it has just heard {core.leader}, which"
                        " leads (4.2.3, 9.6)",
                    )
            send(to, message)

        replace_methods(core, _up_to_date=watched_up_to_date, _send=watched_send)

    def _watch_acknowledgements(self, life: Life) -> None:
        core: Any = life.core
        acknowledge = core._acknowledge

        def watched_acknowledge(following: Any, index: int, ticket: int = 0) -> None:
            log = core.log
            if index > log.persisted_index:
                # What it waits for besides, a new term, mostly comes later than that: by chance.
                late = [p for p in log._pending if p[0] > ticket and p[1] <= index]
                if late or not ticket:
                    self._fail(
                        life,
                        f"acknowledges {index} as soon as append {ticket} is durable; by now it has"
                        f" {log.persisted_index}, and (append, first, last) to come are {late}",
                    )
            acknowledge(following, index, ticket)

        replace_methods(core, _acknowledge=watched_acknowledge)

    def _watch_reads(self, life: Life) -> None:
        core: Any = life.core
        lead, answer = core._lead_read, core._answer_read
        needs: dict[Read, tuple[int, int, int]] = {}

        def watched_lead(read: Read) -> None:
            rounds = core._leading.rounds
            # One that is asked again may be answered as it would have been the first time.
            round = rounds.current + (not rounds.fresh)
            needs.setdefault(read, (core.term, round, self.greatest_commit))
            lead(read)
            held = core._leading.reads._held
            if held and held[-1][2] is read and held[-1][0] < round:
                self._fail(
                    life, f"holds {read} until round {held[-1][0]}; it came before round {round}"
                )

        def watched_answer(read: Read, index: int) -> None:
            needed = needs.pop(read, None)
            if index and needed is not None and index < needed[2]:
                self._fail(
                    life, f"answers {read} by index {index}; as it came, {needed[2]} was committed"
                )
            if index and needed is not None and not core.is_alone:
                term, need, _ = needed
                confirmed = core._leading.rounds.confirmed
                if core.term == term and confirmed < need:
                    self._fail(
                        life, f"answers {read} by round {confirmed}; it came before round {need}"
                    )
                if core.term == term:
                    self._confirmed(life, term, need)
            answer(read, index)

        replace_methods(core, _lead_read=watched_lead, _answer_read=watched_answer)

    def asks_for_vote(self, candidate: str, message: VoteRequest) -> None:
        """Note a request of a candidate, which has voted for itself."""
        self._logs[message.term, candidate] = message.last
        if message.transfer:
            self._transfers.add((message.term, candidate))
        self.gives_vote(message.term, candidate, candidate)

    def _asks_for_transfer(self, term: int, candidate: str) -> bool:
        """Whether that candidate stands because the leader wants it to."""
        return (term, candidate) in self._transfers

    def gives_vote(self, term: int, voter: str, candidate: str) -> None:
        """Note a vote on its way."""
        self._voters.setdefault((term, candidate), set()).add(voter)

    def answers_round(self, life: Life, leader: str, reply: AppendReply | SnapshotReply) -> None:
        """Note an answer to a round of a leader on its way, by who answers and its recovery."""
        term, round = reply.term, reply.round
        voices = self._rounds.get((term, leader))
        if voices is None:
            voices = self._rounds[term, leader] = {}
        voice = (life.host.address, reply.recovering)
        if round > voices.get(voice, -1):
            voices[voice] = round
        answered = (term, round)
        if answered > self._answered.get(life, _NEVER):
            self._answered[life] = answered
        unanswered = self._unanswered.get(life)
        if unanswered is not None and answered >= unanswered[:2]:
            del self._unanswered[life]

    def _confirmed(self, life: Life, term: int, round: int) -> None:
        answered = self._rounds.get((term, life.host.address), {})
        leading: Any = life.core._leading
        # Who recovers does not count before its leader has recovered it, which it hears later.
        voices = [
            peer
            for (peer, recovering), its in answered.items()
            if its >= round
            and (not recovering or recovering == getattr(leading.peers.get(peer), "recovered", 0))
        ]
        if not is_quorum(life.core.log.membership, [*voices, life.host.address]):
            self._fail(
                life, f"takes round {round} for confirmed, which only {voices} have answered (6.4)"
            )

    def voted(self, life: Life, core: RaftCore) -> None:
        """Look at a vote that was given by the last step."""
        candidate = core.voted_for
        if candidate in (None, life.host.address, self._leaders.get(core.term)):
            # A vote for who leads already is none that is given: it is spent (see `Recovery`).
            return
        assert candidate is not None
        its = self._logs.get((core.term, candidate))
        if its is None:
            self._fail(life, f"votes for {candidate}, which does not stand in term {core.term}")
        elif its < core.log.last_id:
            self._fail(
                life,
                f"votes in term {core.term} for {candidate}, whose log ends with {its}; its own"
                f" ends with {core.log.last_id} (5.4.1)",
            )

    def forwards(self, life: Life, leader: str, message: Forward) -> None:
        """Note calls on their way to the leader."""
        term = life.core.term
        sent = self._sent.get(life)
        if sent is None or sent[:2] != (leader, term):
            sent = self._sent[life] = (leader, term, {})
        run = (message.session, message.first_sequence)
        count = sent[2][run] = sent[2].get(run, 0) + 1
        if count > _REPETITIONS_MAX and message.session:
            self._fail(
                life,
                f"sends call {run[1]} of session {run[0]} to {leader} for the {count}th time in"
                f" term {term}",
            )

    def stands(self, life: Life, core: RaftCore) -> None:
        """Look whether a member will stand for election if it hears nothing more."""
        if core.role is Role.LEADER or core.observes:
            return
        seconds = core.deadline() - life.now()
        if seconds > self._patience + 1e-6:
            self._fail(life, f"does not lead, and stands for election in {seconds} s only (5.2)")

    def _counts(self, life: Life, voter: str, answer: PreVoteReply | VoteReply) -> None:
        """Look at an answer that a candidate is about to count: it is one to this campaign."""
        core = life.core
        if type(answer) is VoteReply:
            fits = core.role is Role.CANDIDATE and answer.term == core.term
        else:
            due = core.term + 1 if answer.granted else core.term
            fits = core.role is Role.PRE_CANDIDATE and answer.term <= due
            fits = fits and (answer.term == due or not answer.granted)
        if not fits:
            self._fail(
                life, f"counts {answer} of {voter} as {core.role.value} of term {core.term} (5.2)"
            )

    def _refused(self, life: Life, sender: str, message: AppendReply) -> None:
        """Look from where a leader that was refused goes on: there the logs can be equal."""
        leading = life.core._leading
        if leading is None or message.term != leading.term or not message.round:
            return
        if sender not in leading.peers or leading.is_outlived(sender, message):
            return
        progress, log = leading.peers[sender], life.core.log
        # Logs seldom part before the base and reach beyond it, so the leader is asked about one.
        base = log.base
        if base.index:
            parted = replace(message, index=base.index, hint_term=base.term - 1)
            if leading._equal_up_to(parted) >= base.index:
                self._fail(life, f"would go on behind its base, {base}, after {parted} (5.3)")
        previous = progress.next_index - 1
        term = log.term_at(previous) or 0
        if progress.mode is Mode.PROBE and (
            previous > message.index or term > message.hint_term
        ):
            self._fail(
                life,
                f"goes on behind entry {previous} of term {term} with {sender}, which has told by"
                f" {message} that its log is another one there (5.3)",
            )

    def answers_in_time(self, life: Life, core: RaftCore) -> None:
        """Look whether a follower owes its leader an answer for which it waits for nothing."""
        unanswered = self._unanswered.get(life)
        if unanswered is None:
            return
        term, round, since = unanswered
        appends = core._appends
        if (
            term != core.term
            or core._following is None
            or appends.durable_ticket < appends.last_ticket
            or core.has_effects
        ):
            # What it waits for may end at this very moment.
            del self._unanswered[life]
        elif life.now() - since > self._heartbeat:
            self._fail(life, f"has heard round {round} of {core.leader}, and does not answer")

    def elected(self, life: Life, term: int) -> None:
        """Count the votes of who leads now."""
        self._leaders[term] = life.host.address
        self.sureness.elected(life, term)
        address, membership = life.host.address, life.core.log.membership
        voters = self._voters.get((term, address), set())
        if not self._memberships.may_lead(life, life.core):
            self._fail(life, f"leads in term {term}, and has no vote in {membership}")
        if not is_quorum(membership, [address]) and not is_quorum(membership, voters):
            self._fail(life, f"leads in term {term} by the votes of {sorted(voters)} only (5.2)")
