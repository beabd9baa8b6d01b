"""Rules of how members come and go (Raft, section 6), and come back with nothing.

Counted and compared anew, not as the engine does it. A membership counts from its entry on; one
majority never takes the place of another without a joint membership between; a leader begins a
change only when it knows all and the last one is committed, and only with voters that keep up and
are heard. Who is no voter leads no more. Who holds nothing neither stands nor votes, until its
leader has an entry committed, and stored by it, that is younger than its life; or all have answered
that life. Snapshots tell the membership of their index.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import NodeRemoved
from ..raft.core import Role
from ..raft.membership import Membership, decode_membership
from ..raft.messages import Dismissal, Entry, EntryId, EntryKind, SnapshotMeta, TimeoutNow
from .watching import WATCHES, replace_methods

if TYPE_CHECKING:
    from ..config import Config
    from .hosts import Life

_PATIENCE: Final = 4
"""So many times it is looked at before a leader that ought to have stepped down is reported."""


def is_quorum(membership: Membership, agreed: Collection[str]) -> bool:
    """Whether those are a majority of the voters, and of the outgoing ones if there are any."""
    there = set(agreed)
    for half in (membership.voters, membership.outgoing):
        if half and 2 * len(there.intersection(half)) <= len({*half}):
            return False
    return bool(membership.voters)


def may_follow(before: Membership, after: Membership) -> bool:
    """Whether any quorum of the one has a member in common with any of the other (section 6)."""
    if before.genesis and before.genesis != after.genesis:
        return False
    if before.outgoing and after.outgoing:
        return False
    if before.outgoing:
        return after.voters == before.voters
    return before.voters == (after.outgoing or after.voters)


class Memberships:
    """The rules, for all lives of a simulation; `fail(life, what)` raises."""

    def __init__(
        self, config: Config, committed: Mapping[int, Entry], fail: Callable[[Life, str], object]
    ) -> None:
        self._patience = config.election_timeout_max
        self._committed = committed
        self._fail = fail
        self._known: dict[int, Membership] = {}
        self._indexes: list[int] = []
        self._asked: set[tuple[int, str]] = set()
        """Who was asked to take over, and in which term."""
        # By blank life: where the logs of those that led ended when it began.
        self._ends: dict[Life, dict[tuple[str, int], int]] = {}
        self._overdue: dict[Life, int] = {}
        self._silent: dict[Life, int] = {}
        """Election timeouts of a life since it knew a leader."""
        self.on_joint: Callable[[Life, Membership], object] | None = None
        """Called with every leader that has just made the membership joint."""
        self.on_left: Callable[[Life], object] | None = None
        """Called with every leader that has just made the membership a simple one again."""
        self.on_hand_over: Callable[[Life, str], object] | None = None
        """Called with every leader that has just asked another one to take over."""

    # What was committed

    def committed(self, life: Life, entry: Entry) -> None:
        """Note the membership that a committed entry brings."""
        membership = decode_membership(entry.payload)
        before = self._at(entry.index - 1)
        if before is not None and not may_follow(before, membership):
            self._fail(life, f"commits {membership} after {before} (section 6)")
        if entry.index not in self._known:
            insort(self._indexes, entry.index)
        self._known[entry.index] = membership

    def first_committed(self, life: Life, entry: Entry) -> None:
        """Look at the first entry of all: it begins the life of the cluster."""
        if entry.kind is not EntryKind.MEMBERSHIP or not decode_membership(entry.payload).genesis:
            self._fail(life, f"commits {entry}, and nobody has told who the members are")

    def _at(self, index: int) -> Membership | None:
        at = bisect_right(self._indexes, index)
        return self._known[self._indexes[at - 1]] if at else None

    def have_been(self, voters: tuple[str, ...]) -> bool:
        """Whether exactly these had a vote at some time, with nobody on the way in or out."""
        return any(
            m.voters == voters and not m.outgoing and not m.learners for m in self._known.values()
        )

    # What a node does

    def watch(self, life: Life, leaders: Mapping[tuple[str, int], int]) -> None:
        """Watch the node of a life; `leaders`: where the logs of those end that lead now."""
        core: Any = life.core
        if core.is_recovering:
            self._ends[life] = dict(leaders)
        recovered, recover, asked, tick, timeout, become = (
            core._on_recovered, core._recover, core._on_recovery_request, core.tick,
            core._on_election_timeout, core._become_follower,
        )  # fmt: skip
        heard: set[tuple[str, int]] = set()

        def watched_recovered(nonce: int) -> None:
            recovery = core._recovery
            recovered(nonce)
            if recovery is not None and core._recovery is None:
                if nonce != recovery.nonce:
                    self._fail(life, f"takes the end of recovery {nonce} for that of its own")
                self._recovered(life, core)

        def watched_recover() -> None:
            recovery = core._recovery
            recover()
            if core._recovery is None:
                self._begins(life, core, recovery)
            elif core._floor is not None:
                self._may_vote(life, core, recovery)

        def watched_asked(sender: str, message: Any) -> None:
            asked(sender, message)
            if (sender, message.nonce) not in heard:
                heard.add((sender, message.nonce))
                if core._ballot is not None and core.membership.is_voter(sender):
                    self._fail(life, f"goes on counting votes, though {sender} has lost all")

        def watched_tick(now: float) -> None:
            tick(now)
            leading = core._leading
            if leading is not None and leading.successor is not None:
                self._waits(life, leading.successor, now - leading.successor_until)

        def watched_timeout() -> None:
            silent = 0 if core.leader is not None else self._silent.get(life, 0)
            self._silent[life] = silent + 1
            timeout()
            able = not core.is_recovering and not core.is_dismissed and self.may_lead(life, core)
            if able and core.role is Role.FOLLOWER:
                memberships = core.log.memberships_from(core.commit_index)
                self._fail(
                    life, f"hears nobody and does not stand, with a vote in {memberships} (4.2.2)"
                )

        def watched_become(term: int, leader: str | None) -> None:
            become(term, leader)
            if leader is not None:
                # Also one that is gone again before the next timeout.
                self._silent[life] = 0

        engine: Any = life.node._engine
        stop = engine._stop

        def watched_stop(error: Exception) -> None:
            if isinstance(error, NodeRemoved):
                self._ends_removed(life)
            stop(error)

        replace_methods(engine, _stop=watched_stop)
        replace_methods(core, _on_recovered=watched_recovered, _recover=watched_recover)
        replace_methods(core, _on_recovery_request=watched_asked, tick=watched_tick)
        replace_methods(core, _on_election_timeout=watched_timeout, _become_follower=watched_become)

    def _ends_removed(self, life: Life) -> None:
        """A node ends only if it is no member any more, or was none, as of what is committed."""
        address = life.host.address
        named = [i for i in self._indexes if address in self._known[i].members]
        first = named[0] if named else 0
        if all(address in self._known[i].members for i in self._indexes if i > first):
            self._fail(life, "ends as if it were removed, and that is not committed")

    def _waits(self, life: Life, successor: str, overdue: float) -> None:
        """Look how long a leader has waited for the one that is to take over."""
        if overdue >= 0.0:
            self._fail(
                life, f"waits for {successor}, which was to take over {overdue:.3f} s ago (3.10)"
            )

    def appends(self, life: Life, core: Any, entry: Entry) -> None:
        """Look at what a leader is about to append."""
        leading = core._leading
        if entry.kind is EntryKind.BATCH and leading.successor is not None:
            self._fail(life, f"proposes {entry.id} while {leading.successor} is to take over")
        if entry.kind is not EntryKind.MEMBERSHIP:
            return
        before, after = core.log.membership, decode_membership(entry.payload)
        if not may_follow(before, after):
            self._fail(life, f"appends {after} after {before} (section 6)")
        if entry.index == leading.noop_index:
            return
        if min(core.commit_index, life.table.applied_index) < leading.noop_index:
            self._fail(life, f"appends {after}, and does not know yet all that is committed")
        if core.log.membership_index > core.commit_index:
            self._fail(life, f"appends {after}, and {before} is not committed")
        if after.outgoing:
            self._made_joint(life, core, after)
        elif before.outgoing and self.on_left is not None:
            self.on_left(life)

    def _made_joint(self, life: Life, core: Any, after: Membership) -> None:
        leading, address, now = core._leading, life.host.address, core._now
        able = [address]
        for peer, progress in leading.peers.items():
            if progress.recovering or not progress.acknowledged_round:
                continue
            if now - progress.heard < self._patience:
                able.append(peer)
        if not is_quorum(after, able):
            self._fail(life, f"appends {after}, and is answered by {able} only")
        for peer in {*after.voters}.difference(after.outgoing, [address]):
            progress = leading.peers.get(peer)
            if (
                progress is None
                or progress.recovering
                or progress.match_index < leading.noop_index - 1
            ):
                self._fail(life, f"gives a vote to {peer}, which has not caught up")
        for peer in {*after.voters}.difference([address]) if core.log.membership.learners else ():
            if not core._lasting and leading.peers[peer].match_index < core.log.membership_index:
                self._fail(life, f"appends {after}, of which {peer} does not know those to come")
        if self.on_joint is not None:
            self.on_joint(life, after)

    def sends(self, life: Life, core: Any, to: str, message: Any) -> None:
        """Look at what is said about members."""
        if type(message) is TimeoutNow:
            self._asked.add((message.term, to))
            progress = core._leading.peers.get(to)
            if progress is None or progress.match_index < core.log.last_index:
                self._fail(life, f"asks {to} to take over, which has not the whole log")
            if self.on_hand_over is not None:
                self.on_hand_over(life, to)
        elif type(message) is Dismissal:
            log = core.log
            if message.index > core.commit_index:
                self._fail(life, f"tells {to} by {message}, which is not committed, that it is out")
            if message.index >= log.base.index and to in log.membership_at(message.index).members:
                self._fail(life, f"tells {to}, which is a member, that it is none")

    def stands(self, life: Life, term: int, *, transfer: bool) -> None:
        """Look at a candidate that asks for votes."""
        if life.core.is_recovering:
            self._fail(life, f"stands in term {term}, though it has lost all")
        if transfer and WATCHES and (term - 1, life.host.address) not in self._asked:
            self._fail(life, f"stands in term {term} as if its leader had asked it to")

    def takes_role(self, life: Life, core: Any) -> None:
        """Look whether a member may be what it is: more than a follower only with a vote.

        Or if it is to lose that, as long as it is not committed (4.2.2 of the dissertation); and
        after a second silence if it is to get one.
        """
        goes_by, due = core._membership, core.log.membership
        if goes_by is not due and goes_by != due:
            self._fail(life, f"goes by {goes_by}; its log has {due}")
        if core.role is Role.FOLLOWER or core.role is Role.LEADER:
            return
        if core.is_recovering or not self.may_lead(life, core):
            memberships = core.log.memberships_from(core.commit_index)
            self._fail(life, f"stands for election, and has no vote in {memberships}")
        if core._ballot._membership != due:
            self._fail(life, f"counts votes under {core._ballot._membership}, not {due}")

    def may_lead(self, life: Life, core: Any) -> bool:
        """Whether it has a vote by its log, or by what is not known to be over.

        Or is a learner by it, and nobody led from one election timeout to the next; which is not
        known of who is not watched.
        """
        known: set[str] = set()
        for membership in core.log.memberships_from(core.commit_index):
            known.update(membership.voters, membership.outgoing)
            if self._silent.get(life, 0) > 1 or not WATCHES:
                known.update(membership.learners)
        return life.host.address in known

    def promises(self, life: Life, core: Any, last: Any) -> None:
        """Look at a vote, or the promise of one, to a log that ends with `last`."""
        recovery = core._recovery
        if recovery is None:
            return
        if core._floor is None:
            self._fail(life, "votes, though it has lost all")
        floor = max((reply.last for reply in recovery._replies.values()), default=last)
        if last < floor:
            self._fail(life, f"votes for a log that ends with {last}; it was told of {floor}")

    # Recovery

    def _recovered(self, life: Life, core: Any) -> None:
        """Who is recovered holds an entry of its leader that is younger than its life."""
        leader = (core.leader, core.term)
        begun = self._ends.get(life, {}).get(leader, 0)
        persisted = core.log.persisted_index
        held = core.log.term_at(persisted) or 0
        if persisted <= begun or held < core.term:
            self._fail(
                life,
                f"is recovered by {leader} with {persisted} of term {held} persisted; as it began,"
                f" its leader had {begun}",
            )
        committed = min(persisted, max(self._committed, default=0))
        entry = self._committed.get(committed)
        if committed <= begun or (entry is not None and entry.term < core.term):
            self._fail(life, f"is recovered by {leader}; only {committed} is committed")
        if core.voted_for is None:
            self._fail(life, f"may vote in term {core.term}, in which it may have voted before")

    def _begins(self, life: Life, core: Any, recovery: Any) -> None:
        """Who begins by itself has the answers of all, and what they told of."""
        replies = recovery._replies
        if any(reply.nonce != recovery.nonce for reply in replies.values()):
            self._fail(life, "counts answers to a former life")
        term = max((reply.term for reply in replies.values()), default=0)
        if term and core.term <= term and core.voted_for is None:
            self._fail(life, f"may vote in term {core.term}, in which it may have voted before")
        told = {sender: reply for sender, reply in replies.items() if reply.last.index}
        if not told:
            return
        if recovery.lasting and not core._patient:
            return  # it is taken for a new one
        floor = max(reply.last for reply in told.values())
        if core._persisted_id < floor:
            self._fail(life, f"counts with {core._persisted_id}; it was told of {floor}")
        self._have_answered(life, core, told, replies)

    def _may_vote(self, life: Life, core: Any, recovery: Any) -> None:
        """Who may vote, and does not count yet, has the answers of all.

        It is asked about a log that has less than they told of, as such a one seldom stands.
        """
        replies = recovery._replies
        told = {sender: reply for sender, reply in replies.items() if reply.last.index}
        if told and not (recovery.lasting and not core._patient):
            self._have_answered(life, core, told, replies)
            floor = max(reply.last for reply in told.values())
            core._up_to_date(EntryId(floor.term, floor.index - 1))  # see `promises`

    def _have_answered(
        self, life: Life, core: Any, told: Mapping[str, Any], replies: Mapping[str, Any]
    ) -> None:
        """Look whether all have answered that anybody names, and whether they need this one."""
        newest = max(told.values(), key=lambda reply: reply.membership_index)
        if newest.membership_index > core.log.membership_index and is_quorum(
            newest.membership, [sender for sender, reply in replies.items() if not reply.blank]
        ):
            self._fail(life, "begins to vote, though others can elect a leader")
        for reply in told.values():
            missing = {*reply.membership.voters, *reply.membership.outgoing}
            missing.difference_update(replies, [life.host.address])
            if missing:
                self._fail(life, f"begins to vote, and {sorted(missing)} have not answered")

    # Now and then

    def keeps(self, life: Life, snapshot: SnapshotMeta | None) -> None:
        """Look at the membership of the snapshot that a node goes by from now on."""
        if snapshot is not None:
            self._compare(life, snapshot.index, snapshot.membership, "keeps a snapshot with")

    def check(self, life: Life, core: Any) -> None:
        """Look which membership a node has, what a snapshot would tell, and who leads."""
        log = core.log
        index = max(core.commit_index, log.base.index)
        membership = log.membership_at(index)
        self._compare(life, index, membership, "has")
        # Two lives of a cluster would come of a majority that forgets, so no run has them: a node
        # is asked what it would make of the other one.
        if membership.genesis and core._same_cluster(membership.genesis ^ 1 or 2):
            self._fail(life, f"has committed {membership}, and would follow another life of it")
        if life.table.applied_index >= log.base.index:
            point = life.replica.snapshot_point
            self._compare(life, point.index, point.membership, "would take a snapshot with")
        if core._leading is not None:
            self._is_heard(life, core, core._leading)
        works = core.role is Role.LEADER and life.node._engine.failure is None
        if works and self._ought_to_leave(life, core):
            overdue = self._overdue[life] = self._overdue.get(life, 0) + 1
            if overdue >= _PATIENCE:
                self._fail(life, f"leads on, under {log.membership} (6.2 of the dissertation)")
        else:
            self._overdue.pop(life, None)

    def _is_heard(self, life: Life, core: Any, leading: Any) -> None:
        """Look who has been heard since the time at which a leader takes it that a quorum was."""
        since = leading.quorum_heard_at
        heard = [peer for peer, progress in leading.peers.items() if progress.heard >= since]
        if not is_quorum(core.membership, [life.host.address, *heard]):
            self._fail(
                life, f"takes itself for heard at {since} by a quorum of {core.membership}, and was"
                f" by {heard} (6.2 of the dissertation)"
            )

    def _compare(self, life: Life, index: int, found: Membership, how: str) -> None:
        known = self._at(index)
        if known is not None and known != found:
            self._fail(life, f"{how} {found} at {index}; what was committed is {known}")

    def _ought_to_leave(self, life: Life, core: Any) -> bool:
        """Whether a leader has been out, or heard by no quorum, for longer than it may be."""
        log, leading, now = core.log, core._leading, life.now()
        membership, address = log.membership, life.host.address
        if (
            address not in (*membership.voters, *membership.outgoing)
            and core.commit_index >= log.membership_index
            and (leading.successor is None or now > leading.successor_until + self._patience)
        ):
            return True
        heard = [
            peer
            for peer, progress in leading.peers.items()
            if now - progress.heard < 1.5 * self._patience
        ]
        return not is_quorum(membership, [address, *heard])
