"""What must be true at every step of a simulation, whatever befalls the cluster.

Of Raft (figure 3 of the extended paper): election safety, log matching, leader completeness and
state machine safety. Of the implementation: nothing is said that a crash could take back (a vote,
a term, an acknowledgement), nothing persisted is missing after a restart, terms and indexes only
grow, equal applied indexes mean equal state, each call is applied exactly once, in program order
and with its own arguments, and of two nodes never both hold a lock.

A check costs what has changed since the last one, so that it can be made after every event.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from math import inf
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from ..codec import decode, decode_many, encode
from ..config import is_nameless
from ..errors import NodeClosed
from ..node.calls import Call
from ..objects.batches import Group, decode_groups
from ..objects.context import CallId
from ..objects.digest import digest_bytes
from ..objects.image import encode_state
from ..objects.intake import Intake
from ..objects.outbox import Outbox
from ..raft.core import Role
from ..raft.membership import Membership, decode_membership
from ..raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryKind,
    Forward,
    SnapshotReply,
    VoteReply,
    VoteRequest,
)
from ..raft.wire import decode as decode_message
from ..storage.snapshots import _name
from ..structs.grants import Grants
from ..structs.holding import Holding
from ..structs.locks import ReplLock
from ..structs.permits import Permits
from ..structs.queues import ReplPriorityQueue
from .durable import Durable, WatchedLog
from .fairness import Waits
from .hosts import Host, Life, Watcher
from .memberships import Memberships, is_quorum
from .rules import Rules
from .serials import expected_serial
from .transfers import Transfers
from .upgrades import Upgrades
from .violation import Violation
from .watching import replace_methods

if TYPE_CHECKING:
    from ..objects.table import Table
    from ..raft.core import RaftCore
    from ..raft.log import RaftLog
    from ..replica import Replica
    from ..storage.base import LogStore
    from .simulator import Simulation

_encode_plain = msgspec.msgpack.Encoder().encode

# Room for so many places per entry, per group and per call (a batch has one for each part).
_PLACES = 1 << 50
_PLACES_PER_GROUP = 1 << 30
_PLACES_PER_CALL = 1 << 10

_LOOKED_AT = {
    kind.__struct_config__.tag: kind
    for kind in (VoteRequest, VoteReply, AppendReply, AppendRequest, SnapshotReply, Forward)
}
# The second byte of an encoded message is its tag.
_BY_TAG = tuple(_LOOKED_AT.get(tag) for tag in range(256))


class Command(NamedTuple):
    """A command of the log, where it counts: the first time, and of a session that lives.

    Of those of the cluster itself, only what ends sessions and what wakes objects.
    """

    session: int
    sequence: int
    target: int | str
    method: str
    args: list[Any]
    ends: int | None = None
    """The session that it ends; of the other fields only `method` means something then."""
    time: int = 0
    """The cluster time, in microseconds."""


def _digest(table: Table) -> str:
    """Return what is equal for equal states only, as `Table.digest` does.

    What holds no value of a user needs no codec, which would take as long for it as for all states.
    """
    records = table._directory.records.values()
    plain = [
        [table.serial, table.time, table.applied_index, *table.wanted],
        table.sessions.state(),
        table.versions.state(),
        [
            [r.id, r.name, r.type_name, r.args is None, r.methods, r.live is not None]
            for r in records
        ],
        [list(due) for due in sorted(table._directory.due.items())],
        None if table.marks is None else table.marks.state(),
    ]
    given = [[r.id, r.options, r.args] for r in records if r.options or r.args]
    states = [encode_state(r.name, r.live) for r in records if r.live is not None]
    return digest_bytes([_encode_plain(plain), encode(given), *states])


class _NotingOutbox(Outbox[Call]):
    """An outbox that notes under which number of which session a call was last sent."""

    __slots__ = ("_numbered", "_sent_before")

    def __init__(
        self,
        numbered: dict[Call, tuple[int, int]],
        sent_before: Callable[[tuple[int, int]], object],
    ) -> None:
        super().__init__()
        self._numbered = numbered
        self._sent_before = sent_before

    def take(self, limit_bytes: int) -> tuple[int, int, bytes] | None:
        before = len(self.sent)
        run = super().take(limit_bytes)
        if run is not None:
            numbered, session = self._numbered, self.session
            for sequence, call in enumerate(islice(self.sent, before, None), run[0]):
                former = numbered.get(call)
                if former is not None and former[0] != session:
                    self._sent_before(former)
                numbered[call] = (session, sequence)
        return run


class _WatchedIntake(Intake):
    """An intake that fails if it takes a run of calls for taken, and keeps nothing of it."""

    __slots__ = ("_fail",)

    def __init__(self, limit_bytes: int, fail: Callable[[str], object]) -> None:
        super().__init__(limit_bytes)
        self._fail = fail

    def offer(self, session: int, first: int, count: int, commands: bytes, last: int) -> int | None:
        accepted, size = self._accepted.get(session, last), self.size_bytes
        expected = super().offer(session, first, count, commands, last)
        if expected is None and first + count - 1 > accepted and self.size_bytes == size:
            self._fail(
                f"takes calls {first} to {first + count - 1} of session {session} for taken, and"
                " does not keep them"
            )
        return expected


class _View:
    """What was last seen of a life."""

    __slots__ = (
        "applied", "commit", "core", "led", "persisted", "replica", "sequence", "session",
        "snapshot", "state", "table", "term", "touches", "vote",
    )  # fmt: skip

    def __init__(self, replica: Replica[Call]) -> None:
        self.replica = replica
        self.core = core = replica.core
        self.table = replica.table
        self.term = core.term
        self.vote = core.voted_for
        self.commit = self.applied = core.commit_index
        self.persisted = core.log.persisted_index
        self.snapshot = core._snapshot
        self.led = 0
        self.state: tuple[object, ...] = ()
        """All that an event may change, as it was after the last one; the others say what of it."""
        self.session = 0
        self.sequence = 0
        self.touches = 0


class Invariants(Watcher):
    """The checks of one simulation; each raises `Violation` with what was wrong."""

    # With more attributes than Python shares the keys of, a plain instance looks up each method
    # twice.
    __slots__ = (
        "_applied_upto",
        "_commit_terms", "_commit_times", "_commit_upto", "_conflicts", "_digests", "_durable",
        "_ended",
        "_first", "_forgotten", "_groups", "_has_gaps", "_next", "_numbered", "_owners",
        "_referee_at", "_rules", "_tokens", "_transfers", "_votes", "_wanted_at", "active",
        "call_type", "check_count", "clock", "committed", "digest_every", "election_count",
        "leaders", "may_fail", "membership", "membership_index", "memberships", "on_committed",
        "on_elected", "on_opening", "simulation", "skipped", "upgrades", "violation", "wanted",
    )  # fmt: skip

    def __init__(self, simulation: Simulation, *, active: bool = True) -> None:
        self.active = active
        self.simulation = simulation
        self.digest_every = 64
        """State is compared at applied indexes that are multiples of this; digests are dear."""
        self.membership: Membership | None = None
        """The newest one that was seen committed, and in `wanted` who was to have a vote."""
        self.wanted: tuple[str, ...] = ()
        self.membership_index = self._wanted_at = self._applied_upto = 0
        self._conflicts: set[CallId] = set()
        self._forgotten: dict[str, list[Durable]] = {}
        self.committed: dict[int, Entry] = {}
        """The first entry that was seen committed at each index."""
        self.leaders: dict[int, str] = {}
        self.election_count = 0
        self.check_count = 0
        self.on_elected: Callable[[Life], object] | None = None
        """Called with every life that has just been elected."""
        self.on_committed: Callable[[Life], object] | None = None
        """Called with every leader that has just committed, before it can tell anybody."""
        self.violation: Violation | None = None
        """The first one; whatever the engine makes of its being raised, it is raised again."""
        self.clock: Callable[[], int] | None = None
        """The clock of a history: with one, the places of calls in the log are noted."""
        self.call_type = Call
        self.skipped: set[Life] = set()
        """Lives that took over a snapshot, and so may lack the answers to some of their calls."""
        self.may_fail: set[Host] = set()
        """Hosts whose disk was made to fail, so that their node may stop."""
        self._durable: dict[str, Durable] = {}
        self._votes: dict[tuple[int, str], str] = {}
        self._commit_terms: list[int] = []
        self._commit_upto: list[int] = []
        # By index, and by what is attached: of the rest a node has no state.
        self._digests: dict[tuple[int, tuple[str, ...]], tuple[str, str]] = {}
        self._groups: dict[int, list[Group]] = {}
        self._next: dict[int, int] = {}
        self._first: dict[int, list[tuple[int, int, int]]] = {}
        self._referee_at = 0
        self._has_gaps = False
        self._tokens: dict[str, tuple[int, Life]] = {}
        self._owners: dict[int, str] = {}
        self._ended: dict[int, int] = {}
        self._numbered: dict[Call, tuple[int, int]] = {}
        self._commit_times: dict[int, int] = {}
        self.on_opening: Callable[[Life, str], object] | None = None
        """Called with every life that asks a leader to open its session, and with that leader."""
        self.memberships = Memberships(simulation.config, self.committed, self._fail)
        self._rules = Rules(simulation.config, self.memberships, self._fail)
        self._transfers = Transfers(simulation.config, self.committed, self._fail, self._settles)
        self.upgrades: Upgrades | None = None
        """The rules of versions, where nodes run several releases."""
        if active and simulation.releases is not None:
            self.upgrades = Upgrades(simulation.releases, self._fail)

    # What hosts report

    def opened(self, life: Life, log: LogStore) -> LogStore:
        if not self.active:
            return log
        durable = self._durable.setdefault(life.host.address, Durable())
        self._begins_with(life)
        return WatchedLog(log, durable, life, self._fail)

    def _begins_with(self, life: Life) -> None:
        """Look whether the snapshot that a start found is there for good: older ones may go."""
        store, disk = life._snapshots, life.host.disk
        latest = None if store is None else store.latest()
        if latest is not None and disk is not None and not disk.has_for_good(_name(latest)):
            self._fail(life, f"goes by {latest}, whose file has its name only until a power cut")

    def started(self, life: Life) -> None:
        """Watch what the node of a life applies from now on."""
        if not self.active:
            return
        view = life.view = _View(life.replica)
        if self.clock is not None:
            assert not life.replica.outbox
            life.replica.outbox = _NotingOutbox(
                self._numbered, lambda former: self._sent_again(life, former)
            )
        table: Any = life.table
        apply, restore = table.apply, table.restore

        def watched_apply(entry: Entry, session: int) -> Any:
            # What follows from an entry is looked at once; that it does everywhere, by digests.
            is_first = entry.index > self._applied_upto
            waits, wanted = Waits(table) if is_first else None, table.wanted
            serial = expected_serial(table, entry) if is_first else None
            applied = apply(entry, session)
            self._conflicts.update(applied.conflicts)
            if serial is not None and serial != table.serial:
                self._fail(life, f"numbers {entry.id} up to {table.serial}, and not {serial}")
            if wanted and entry.kind is not EntryKind.BATCH and table.wanted != wanted:
                self._fail(life, f"wants {table.wanted} after {entry.id}, which asks for nothing")
            if table.wanted is not self.wanted and entry.index > self._wanted_at:
                self.wanted, self._wanted_at = table.wanted, entry.index
            if applied.diverged:
                self._fail(life, f"takes equal states for different ones: {applied.diverged}")
            self._applied(life, view, entry, session, applied)
            if waits is not None:
                self._applied_upto = entry.index
                wrong = waits.wrong_after(entry)
                if wrong is not None:
                    self._fail(life, wrong)
            return applied

        def watched_restore(image: Iterable[bytes]) -> None:
            restore(image)
            self.skipped.add(life)
            self._compare_state(life)
            self._compare_lines(life, table.objects)

        table.apply, table.restore = watched_apply, watched_restore
        if self.upgrades is not None:
            self.upgrades.watch(life)
        self._rules.watch(life)
        self._transfers.watch(life)
        self.memberships.watch(
            life,
            {
                (other.host.address, other.core.term): other.core.log.last_index
                for other in self.simulation.lives()
                if other.core.role is Role.LEADER
            },
        )
        self._watch_calls(life)
        core: Any = life.core
        append = core._append

        def watched_append(entries: Sequence[Entry]) -> int:
            if core._leading is not None:
                self.memberships.appends(life, core, entries[0])
            ticket: int = append(entries)
            # What was durable may just have been replaced by what is not.
            self._persisted(life, view, core)
            return ticket

        replace_methods(core, _append=watched_append)

    def _watch_calls(self, life: Life) -> None:
        replica: Any = life.replica
        abandon, fail = replica.abandon, self._fail
        intake = replica._intake
        replica._intake = _WatchedIntake(intake._limit_bytes, lambda what: fail(life, what))

        def watched_abandon() -> list[tuple[Call, bool]]:
            session = replica.outbox.session
            calls: list[tuple[Call, bool]] = abandon()
            for call, sent in calls:
                former = self._numbered.get(call)
                if not sent and former is not None and former[0] == session:
                    fail(life, f"says that {former} (session, call) was never sent, and it was")
            return calls

        replace_methods(replica, abandon=watched_abandon)

    def _sent_again(self, life: Life, former: tuple[int, int]) -> None:
        """A call goes to another session only if it is certain that the former one had it not."""
        session, sequence = former
        ended = self._ended.get(session)
        if ended is None:
            return
        self._referee(ended)
        if self._next.get(session, 0) >= sequence:
            self._fail(
                life,
                f"sends call {sequence} of session {session} again in the next one, but it"
                " was applied",
            )

    def ended(self, life: Life) -> None:
        life.view = None

    def closed_write(self, host: Host) -> tuple[str, int, int] | None:
        """Return the last write to the log of a host, if that was closed in an orderly way.

        File, begin and end; damage in it cannot be taken for what a crash has torn.
        """
        durable = self._durable.get(host.address)
        return durable.last_write if durable is not None and durable.is_closed else None

    def erased(self, host: Host) -> None:
        """Note that a host has lost its disk."""
        durable = self._durable.pop(host.address, None)
        if durable is not None:
            self._forgotten.setdefault(host.address, []).append(durable)

    def touched(self, life: Life) -> None:
        if self.violation is not None:
            raise self.violation
        view = life.view
        if view is None:
            return
        core = view.core
        applied = view.table.applied_index
        state = (
            core.term, core.voted_for, core.role, core.commit_index, core.log.persisted_index,
            applied, core._snapshot,
        )  # fmt: skip
        # Most events change none of it.
        if state != view.state:
            view.state = state
            self._changed(life, view, core, applied)
        session = view.replica.outbox.session
        if session in self._ended:
            if view.replica.sure_until() > life.now():
                self._fail(life, f"is sure of session {session}, which is over")
            self._relies_on_nothing(life, session)
        view.touches += 1
        if not view.touches & 127:
            self._now_and_then(life)

    def _changed(self, life: Life, view: _View, core: RaftCore, applied: int) -> None:
        if core.term != view.term:
            self._term_changed(life, view, core.term)
        if core.voted_for != view.vote:
            view.vote = core.voted_for
            self._rules.voted(life, core)
            self._rules.stands(life, core)
        self.memberships.takes_role(life, core)
        if core.role is Role.LEADER and view.led != core.term:
            self._elected(life, view, core)
        if core.commit_index != view.commit:
            self._committed(life, view, core)
        if applied != view.applied:
            if applied < view.applied:
                self._fail(life, f"applied index {view.applied} has become {applied}")
            if applied > core.commit_index:
                self._fail(life, f"applied {applied}, but committed only {core.commit_index}")
            view.applied = applied
        if core.log.persisted_index != view.persisted:
            self._persisted(life, view, core)
        if core._snapshot is not view.snapshot:
            view.snapshot = core._snapshot
            self._transfers.keeps(life, core._snapshot)
            self.memberships.keeps(life, core._snapshot)

    def sends(self, life: Life, peer: str, payload: bytes) -> None:
        if not self.active:
            return
        kind = _BY_TAG[payload[1]]
        if kind is None or (
            kind is AppendRequest
            and not life.replica._expiring
            and not (self.simulation.observers and is_nameless(peer))
        ):
            return
        message: Any = decode_message(payload)
        if kind is AppendRequest:
            self._rules.sureness.requests(life, peer, message)
            return
        if kind is Forward:
            self._rules.forwards(life, peer, message)
            if not message.session and self.on_opening is not None:
                self.on_opening(life, peer)
            return
        address = life.host.address
        durable = self._durable[address]
        if message.term > durable.hard_state.term:
            self._fail(life, f"{message} is sent before its term is durable: {durable.hard_state}")
        if kind is AppendReply or kind is SnapshotReply:
            self._answers(life, peer, message, durable)
            return
        if kind is VoteReply:
            if not message.granted:
                return
            candidate = peer
            self._rules.gives_vote(message.term, address, peer)
        else:
            candidate = address
            self._rules.asks_for_vote(address, message)
            self.memberships.stands(life, message.term, transfer=message.transfer)
        if durable.hard_state.term == message.term and durable.hard_state.vote != candidate:
            self._fail(life, f"votes for {candidate}, but has persisted {durable.hard_state}")
        before = self._votes.setdefault((message.term, address), candidate)
        if before != candidate:
            self._fail(life, f"votes for {before} and {candidate} in term {message.term}")

    def _answers(
        self, life: Life, peer: str, message: AppendReply | SnapshotReply, durable: Durable
    ) -> None:
        rules = self._rules
        leader = self.simulation.hosts[peer].life
        its = None if leader is None or leader.view is None else leader.core
        if its is None or its._leading is None or its.term != message.term:
            leader = its = None
        elif message.round > its._leading.rounds.current:
            current = its._leading.rounds.current
            self._fail(life, f"answers {peer} round {message.round}, which is at round {current}")
        rules.answers_round(life, peer, message)
        rules.sureness.answers(life, leader, message)
        if isinstance(message, SnapshotReply):
            self._transfers.answers(life, message)
            self._acknowledges_snapshot(life, peer, message, durable)
            return
        if message.accepted:
            self._acknowledges(life, peer, message, durable, None if its is None else its.log)

    def _acknowledges(
        self,
        life: Life,
        peer: str,
        message: AppendReply,
        durable: Durable,
        its: RaftLog | None,
    ) -> None:
        """Look whether that is durable, and equal to what the leader of the term has in its log."""
        index, core = message.index, life.core
        # What hung on a write that a later term took back, in the same sync, may still be said.
        past = message.term < durable.hard_state.term
        last = durable.reached(message.term) if past else durable.last
        # What a snapshot covers is durable: that is asked last, as it hardly ever is the reason.
        if index > last and index > life.snapshot_index():
            self._fail(life, f"acknowledges {index} to {peer}, but only {last} is durable")
        if message.term != core.term:
            return
        mine = core.log.term_at(index)
        if mine and not durable.has(index, mine) and index > life.snapshot_index():
            self._fail(
                life,
                f"acknowledges {index} to {peer}, but what is durable there is not of term {mine}",
            )
        if its is None:
            return
        there = its.term_at(index)
        if index > its.last_index or (mine and there and mine != there):
            self._fail(
                life, f"acknowledges {index} of term {mine} to {peer}, which has term {there} there"
            )

    def _acknowledges_snapshot(
        self, life: Life, peer: str, message: SnapshotReply, durable: Durable
    ) -> None:
        index, term = message.snapshot.index, message.snapshot.term
        if message.done and index > life.snapshot_index() and not durable.has(index, term):
            self._fail(
                life, f"tells {peer} that it has all up to {message.snapshot}, which is not durable"
            )

    # Raft

    def _term_changed(self, life: Life, view: _View, term: int) -> None:
        if term < view.term:
            self._fail(life, f"term {view.term} has become {term}")
        view.term = term
        view.vote = None
        self._holds_nothing(life, view.core)

    def _holds_nothing(self, life: Life, core: RaftCore) -> None:
        """Who does not lead, or does not know all yet, has taken no calls to propose."""
        replica = life.replica
        if not replica._leading and (replica._intake.size_bytes or replica._intake._accepted):
            self._fail(life, f"has calls of another term to propose: {replica._intake._accepted}")
        if not replica._leading and replica._expiring:
            # As a leader it would never end those: it would believe that to be under way.
            self._fail(life, f"has sessions to end in another term: {replica._expiring}")

    def _persisted(self, life: Life, view: _View, core: Any) -> None:
        index = view.persisted = core.log.persisted_index
        term = core.log.term_at(index) if index <= core.log.last_index else -1
        durable = self._durable[life.host.address]
        if not durable.has(index, term) and index > life.snapshot_index():
            self._fail(
                life, f"counts up to entry {index} of term {term} as persisted, which is not there"
            )

    def _elected(self, life: Life, view: _View, core: Any) -> None:
        address, term = life.host.address, core.term
        view.led = term
        self._rules.elected(life, term)
        self._holds_nothing(life, core)
        other = self.leaders.setdefault(term, address)
        if other != address:
            self._fail(life, f"both {other} and {address} lead in term {term} (election safety)")
        self.election_count += 1
        if self.on_elected is not None:
            self.on_elected(life)
        # Compared with the term in which an entry was committed: a delayed vote may well elect a
        # leader of a lower term after that, without the entry.
        at = bisect_left(self._commit_terms, term)
        need = max(self._commit_upto[:at], default=0)
        if need > core.log.base.index:
            found = core.log.term_at(need)
            if found != self.committed[need].term:
                self._fail(
                    life,
                    f"leads in term {term} without entry {self.committed[need].id}, which was"
                    f" committed before; its own is of term {found} (leader completeness)",
                )

    def _committed(self, life: Life, view: _View, core: Any) -> None:
        if core.commit_index < view.commit:
            self._fail(life, f"commit index {view.commit} has become {core.commit_index}")
        log = core.log
        first = max(view.commit + 1, log.base.index + 1)
        view.commit = core.commit_index
        if self.on_committed is not None and core.role is Role.LEADER:
            self.on_committed(life)
        for entry in log.between(first, core.commit_index):
            known = self.committed.get(entry.index)
            if known is None:
                self._first_committed(life, core.term, entry)
            elif known is not entry and known != entry:
                self._fail(life, f"commits {entry.id} where {known.id} was (state machine safety)")

    def _membership_committed(self, life: Life, entry: Entry) -> None:
        self.memberships.committed(life, entry)
        membership = decode_membership(entry.payload)
        if entry.index < self.membership_index:
            return
        self.membership, self.membership_index = membership, entry.index

    def _first_committed(self, life: Life, term: int, entry: Entry) -> None:
        hosts = self.simulation.hosts
        holders = [
            address
            for address, durable in self._durable.items()
            if (
                durable.has(entry.index, entry.term)
                or entry.index <= hosts[address].lives[-1].snapshot_index()
            )
            and self._counts_for(life, hosts[address].life)
        ]
        # An acknowledgement may arrive when whoever gave it has lost all.
        holders += [
            address
            for address, lost in self._forgotten.items()
            if any(durable.has(entry.index, entry.term) for durable in lost)
        ]
        if entry.index == 1:
            self.memberships.first_committed(life, entry)
        if entry.kind is EntryKind.MEMBERSHIP:
            self._membership_committed(life, entry)
        log = life.core.log
        sees = life.core.role is Role.LEADER or not self.simulation.spares
        # The next membership may be in the log since it was committed.
        if (
            sees
            and not is_quorum(log.membership, holders)
            and not is_quorum(log.membership_at(max(entry.index, log.base.index)), holders)
        ):
            self._fail(
                life, f"commits {entry.id} in term {term}, which is durable on {holders} only"
            )
        if life.core.role is Role.LEADER and entry.index == life.core.commit_index:
            last = entry.term
            if last != term:
                self._fail(life, f"commits up to {entry.id} by counting, in term {term} (5.4.2)")
        self.committed[entry.index] = entry
        if entry.index > self._rules.greatest_commit:
            self._rules.greatest_commit = entry.index
        if self.clock is not None:
            self._commit_times[entry.index] = self.clock()
        if not self._commit_terms or self._commit_terms[-1] != term:
            at = bisect_left(self._commit_terms, term)
            if at < len(self._commit_terms) and self._commit_terms[at] == term:
                self._commit_upto[at] = max(self._commit_upto[at], entry.index)
                return
            self._commit_terms.insert(at, term)
            self._commit_upto.insert(at, entry.index)
        else:
            self._commit_upto[-1] = entry.index

    def _counts_for(self, leader: Life, holder: Life | None) -> bool:
        """Whether a leader may count what is durable there: not if it recovers still."""
        if holder is None or not holder.node or not holder.core.is_recovering:
            return True
        leading: Any = leader.core._leading
        recovery: Any = holder.core._recovery
        if leading is None:
            return True
        progress = leading.peers.get(holder.host.address)
        return progress is not None and progress.recovered == recovery.nonce

    # State and sessions

    def _applied(self, life: Life, view: _View, entry: Entry, session: int, applied: Any) -> None:
        known = self.committed.get(entry.index)
        if known is not None and known is not entry and known != entry:
            self._fail(life, f"applies {entry.id} where {known.id} was committed")
        if entry.index % self.digest_every == 0:
            self._compare_state(life)
        for address, _, _, opened in applied.opened:
            self._owners.setdefault(opened, address)
        for expired in applied.expired:
            if expired not in self._ended:
                self._ended[expired] = entry.index
                self._expired(expired)
        if not applied.results:
            return
        if view.session != session:
            view.session, view.sequence = session, 0
        self._referee(entry.index)
        outbox = life.replica.outbox
        sent, unsent, first = outbox.sent, outbox.unsent, outbox.first
        for begin, results in applied.results:
            for sequence in range(begin, begin + len(results)):
                if sequence <= view.sequence:
                    again = f"call {sequence} of session {session} is applied a second time"
                    self._fail(life, again)
                view.sequence = sequence
                at = sequence - first
                call = sent[at] if at < len(sent) else unsent[at - len(sent)]
                self._compare_call(life, session, sequence, entry.index, call.command)

    def _expired(self, session: int) -> None:
        """No node may be sure of a session that has ended anywhere."""
        for life in self.simulation.lives():
            replica = life.replica
            if replica.outbox.session == session and replica.sure_until() > life.now():
                seconds = replica.sure_until() - life.now()
                self._fail(life, f"is sure for {seconds:.3f} s of session {session}, which is over")
            self._relies_on_nothing(life, session)

    def _relies_on_nothing(self, life: Life, session: int) -> None:
        """What a session held that has ended may be somebody else's: no node may rely on it.

        That of a process that stands still counts as well: it asks as soon as it goes on.
        """
        for name, locks in life.consumers.items():
            if isinstance(locks, Holding) and locks._grants:
                for grant in locks._grants.values():
                    if grant.session == session and locks._is_sure(grant):
                        self._fail(
                            life,
                            f"relies on {grant.key or name!r} with token {grant.token} although its"
                            f" session {session} is over",
                        )

    def _referee(self, upto: int) -> None:
        """Note where each call of each session came first, in order: there it must be applied."""
        while self._referee_at < upto:
            entry = self.committed.get(self._referee_at + 1)
            if entry is None:
                if self._referee_at + 1 == upto:
                    return
                # Nobody that was looked at had it in its log: a snapshot skipped it everywhere.
                self._has_gaps = True
                self._referee_at += 1
                continue
            self._referee_at += 1
            groups = decode_groups(entry.payload) if entry.kind is EntryKind.BATCH else []
            self._groups[entry.index] = groups
            for number, group in enumerate(groups):
                if not group.session or self._is_over(group.session, entry.index, number, groups):
                    continue
                last = self._next.get(group.session, 0)
                end = group.first_sequence + group.count - 1
                if group.first_sequence <= last + 1 <= end:
                    runs = self._first.setdefault(group.session, [])
                    runs.append((last + 1, entry.index, number))
                    self._next[group.session] = end

    def _is_over(self, session: int, index: int, number: int, groups: list[Group]) -> bool:
        """Return whether a session has ended before that group of that entry."""
        ended = self._ended.get(session)
        if ended is None or index < ended:
            return False
        if index > ended:
            return True
        for group in groups[:number]:
            if not group.session:
                for _, method, args, *_ in decode_many(group.count, group.commands):
                    if self._ends(method, args, session):
                        return True
        return False

    def _ends(self, method: str, args: list[Any], session: int) -> bool:
        """Return whether a command of the cluster may have ended that session."""
        return (method == "expire_session" and args[0] == session) or (
            method == "open_session" and args[0] == self._owners.get(session)
        )

    def _compare_call(
        self, life: Life, session: int, sequence: int, index: int, command: bytes
    ) -> None:
        self.check_count += 1
        runs = self._first.get(session, ())
        at = bisect_left(runs, (sequence + 1,)) - 1
        if at < 0:
            self._fail(life, f"call {sequence} of session {session} is in no entry, but applied")
        _, expected, number = runs[at]
        if expected != index:
            self._fail(
                life,
                f"call {sequence} of session {session} is applied at {index}, but the log has it"
                f" first at {expected}",
            )
        if self.check_count % 8 == 0:
            group = self._groups[index][number]
            values = decode_many(group.count, group.commands)
            if values[sequence - group.first_sequence] != decode(command):
                self._fail(
                    life,
                    f"call {sequence} of session {session} was {decode(command)!r}, but the log has"
                    f" {values[sequence - group.first_sequence]!r} under its number",
                )

    def _compare_state(self, life: Life) -> None:
        table = life.table
        index = table.applied_index
        digest = _digest(table)
        key = index, tuple(table.objects)
        address, known = self._digests.setdefault(key, (life.host.address, digest))
        if known != digest:
            names = self._different_objects(life)
            self._fail(
                life,
                f"the state at index {index} is another one than that of {address}"
                f" (different now: {names or 'sessions or numbers'})",
            )

    def _different_objects(self, life: Life) -> list[str]:
        mine = life.table.digests()
        for other in self.simulation.lives():
            if other is not life and other.table.applied_index == life.table.applied_index:
                its = other.table.digests()
                return [name for name in mine if its.get(name) != mine[name]]
        return []

    # For histories

    def number_of(self, call: Call) -> tuple[int, int] | None:
        """Return under which number of which session a call was sent; None if it was not."""
        return self._numbered.get(call)

    def place_of(self, call: Call) -> int | None:
        """Return the place of a call in the order of all commands; None if the log has it not.

        To be asked when all is committed that ever will be.
        """
        numbered = self._numbered.get(call)
        return None if numbered is None else self.place_at(*numbered)

    def is_conflict(self, call: Call) -> bool:
        """Return whether a call was a transaction of which nothing was applied."""
        numbered = self._numbered.get(call)
        return numbered is not None and CallId(*numbered) in self._conflicts

    def place_at(self, session: int, sequence: int) -> int | None:
        """Return the place of the call with that number; see `place_of`."""
        self._referee(max(self.committed, default=0))
        runs = self._first.get(session, ())
        at = bisect_left(runs, (sequence + 1,)) - 1
        if at < 0:
            return None
        first, index, number = runs[at]
        group = self._groups[index][number]
        offset = sequence - first
        if sequence >= group.first_sequence + group.count:
            return None
        return index * _PLACES + number * _PLACES_PER_GROUP + offset * _PLACES_PER_CALL

    def calls(self) -> Iterator[tuple[tuple[int, int], Call]]:
        """Yield every call that was sent, with its session and its number there."""
        for call, number in self._numbered.items():
            yield number, call

    def commands(self) -> Iterator[Command] | None:
        """Return all commands in the order of the log; None if nobody has seen all of it."""
        self._referee(max(self.committed, default=0))
        return None if self._has_gaps else self._all_commands()

    def _all_commands(self) -> Iterator[Command]:
        begins = {
            (index, number): (session, first)
            for session, runs in self._first.items()
            for first, index, number in runs
        }
        for index, groups in self._groups.items():
            time = self.committed[index].time
            due = {session for session, ended in self._ended.items() if ended == index}
            for number, group in enumerate(groups):
                session, first = begins.get((index, number), (0, 0))
                if group.session and not session:
                    continue
                sequence = group.first_sequence
                for target, method, args, *_ in decode_many(group.count, group.commands):
                    if target == 0:
                        for ended in sorted(s for s in due if self._ends(method, args, s)):
                            due.discard(ended)
                            yield Command(0, 0, 0, method, args, ended, time)
                        if method == "wake":
                            yield Command(0, 0, 0, method, args, None, time)
                    elif sequence >= first:
                        yield Command(group.session, sequence, target, method, args, None, time)
                    sequence += 1

    def place_after(self, applied_index: int) -> int:
        """Return the greatest place in the entries up to that one."""
        return (applied_index + 1) * _PLACES - 1

    def time_at(self, place: int) -> float | None:
        """Return the cluster time at that place, in seconds; None if nobody has seen its entry."""
        entry = self.committed.get(place // _PLACES)
        return None if entry is None else entry.time / 1_000_000

    def committed_at(self, place: int) -> float:
        """Return the time, on the history's clock, at which what has this place was committed."""
        return self._commit_times.get(place // _PLACES, inf)

    def commit_times(self) -> Iterator[tuple[int, float, int]]:
        """Yield each index, the time at which it was committed, and its cluster time.

        The former is by the history's clock; the latter, in microseconds.
        """
        for index, clock in sorted(self._commit_times.items()):
            yield index, clock, self.committed[index].time

    def endings(self) -> Iterator[tuple[str | None, int]]:
        """Yield whose sessions have ended, if that is known, and in the entry of which index."""
        for session, index in self._ended.items():
            yield self._owners.get(session), index

    # Now and then, and at the end

    def _now_and_then(self, life: Life) -> None:
        failure = life.node._engine.failure
        upgrades = self.upgrades
        if failure is not None and upgrades is not None and upgrades.explains(life, failure):
            # It has stopped in the midst of an entry.
            return
        life.replica._check()
        self._rules.stands(life, life.core)
        self._rules.answers_in_time(life, life.core)
        self._rules.sureness.check(life)
        self._transfers.check(life)
        self._settles(life)
        self.memberships.check(life, life.core)
        self._compare_logs(life)
        self._compare_locks(life)
        objects = life.table.objects
        self._compare_grants(life, objects)
        self._compare_sessions(life, objects)
        excused = isinstance(failure, NodeClosed) or life.host in self.may_fail
        if failure is not None and not excused:
            self._fail(life, f"the node has stopped: {failure}")

    def _settles(self, life: Life) -> None:
        """Look whether a node can get a session, and whether its calls that are parked can end."""
        replica, table = life.replica, life.table
        session, parked = replica.outbox.session, replica.outbox.parked
        if not session:
            known = table.sessions.last_attempt(life.host.address, replica._incarnation)
            if known >= replica._attempt:
                self._fail(
                    life,
                    f"asks for a session by attempt {replica._attempt}, but {known} was made before"
                    " it: it will never get one",
                )
        for sequence in parked:
            if not table.is_parked(CallId(session, sequence)):
                self._fail(
                    life, f"takes call {sequence} of session {session} for one that waits; none is"
                )

    def _compare_logs(self, life: Life) -> None:
        """Log matching: if two logs agree on an index and its term, all before it is equal."""
        lives = self.simulation.lives()
        other = lives[self.simulation.random.randrange(len(lives))] if lives else life
        if other is life:
            return
        mine, its = life.core.log, other.core.log
        first = max(mine.base.index, its.base.index) + 1
        last = min(mine.last_index, its.last_index)
        if last < first:
            return
        ours, theirs = mine.between(first, last), its.between(first, last)
        agreed = len(ours)
        while agreed and ours[agreed - 1].id != theirs[agreed - 1].id:
            agreed -= 1
        if ours[:agreed] != theirs[:agreed]:
            pairs = zip(ours[:agreed], theirs, strict=False)
            one, two = next(pair for pair in pairs if pair[0] != pair[1])
            self._fail(life, f"has {one.id} where {other.host.address} has {two.id} (log matching)")

    def _compare_locks(self, life: Life) -> None:
        for name, lock in life.consumers.items():
            if isinstance(lock, ReplLock) and lock._binding is not None and lock.held:
                self.holds(life, name, lock.token)

    def _compare_grants(self, life: Life, objects: Mapping[str, Any]) -> None:
        """A node that is sure of a lock has it by the log as well."""
        for name, locks in objects.items():
            if not isinstance(locks, Grants | Permits) or not locks._grants:
                continue
            for key, grant in locks._grants.items():
                holder = locks._holders.get(key)
                token = holder[2] if holder and isinstance(locks, Grants) else key
                if locks._is_sure(grant) and (holder is None or token != grant.token):
                    self._fail(
                        life,
                        f"is sure of {key or name!r} with token {grant.token}; by the log its"
                        f" holder (session, ticket, token) is {holder}",
                    )

    def relies(self, life: Life, name: str, key: object, token: int) -> None:
        """Note that somebody relies now on a lock: whoever is further in the log has it so."""
        applied = life.table.applied_index
        for other in self.simulation.lives():
            locks: Any = other.table.objects.get(name)
            if locks is None:
                # What it was started with is not attached yet.
                continue
            holder = locks._holders.get(key)
            is_known = holder is not None and holder[2] == token
            if not is_known and (
                other.table.applied_index >= applied or (holder is not None and holder[2] > token)
            ):
                self._fail(
                    life,
                    f"relies on {key or name!r} with token {token}; for {other.host.address}, which"
                    f" is further, its holder (session, ticket, token) is {holder}",
                )

    def holds(self, life: Life, name: str, token: int | None) -> None:
        """Note that a node is sure now to hold a lock, under this token."""
        if token is None:
            raise Violation(f"{life.host.address} holds {name!r} without a token")
        for other in self.simulation.lives():
            if other is not life and other.consumers[name].held:
                self._fail(
                    life,
                    f"and {other.host.address} both hold {name!r}, with tokens {token} and"
                    f" {other.consumers[name].token}",
                )
        known = self._tokens.get(name)
        if known is not None and (token < known[0] or (token == known[0] and life != known[1])):
            self._fail(life, f"holds {name!r} with token {token} after one with {known[0]}")
        self._tokens[name] = (token, life)

    def _compare_sessions(self, life: Life, objects: Mapping[str, Any]) -> None:
        """Whoever holds a lock or waits for anything has a session that lives."""
        live = life.table.sessions.live()
        for name, target in objects.items():
            target_check = getattr(target, "_check", None)
            if target_check is not None:
                target_check()
            # Mostly there is nobody, and nothing to be compared.
            sessions = [
                waiter[0] for waiters in target._all_waiters() for waiter in waiters._waiting
            ]
            if isinstance(target, Grants | Permits):
                sessions += [holder[0] for holder in target._holders.values()]
            for session in sessions:
                if session not in live:
                    self._fail(
                        life, f"in {name!r} session {session} holds or waits, but it is over"
                    )
        self._compare_lines(life, objects)

    def _compare_lines(self, life: Life, objects: Mapping[str, Any]) -> None:
        """The lines for locks are those of all who wait; priorities are in order."""
        for name, target in objects.items():
            if isinstance(target, Grants):
                if not target._lines and not target._waiters._waiting:
                    continue
                lines: dict[Any, list[tuple[int, int]]] = {}
                for waiter in target._waiters:
                    lines.setdefault(target._waiters._waiting[waiter][1], []).append(waiter)
                found = {key: list(line) for key, line in target._lines.items()}
                if lines != found:
                    self._fail(life, f"has lines for {name!r} that are {found}, not {lines}")
            elif isinstance(target, ReplPriorityQueue):
                items = target._items
                if any(items[at] < items[at + 1] for at in range(len(items) - 1)):
                    self._fail(life, f"has {name!r} in disorder: {items}")

    def compare_all(self) -> None:
        """Compare the states of all nodes that have applied the same index."""
        if self.active:
            for life in self.simulation.lives():
                life.replica._check()
                self._compare_sessions(life, life.table.objects)
                self._compare_state(life)

    def _fail(self, life: Life, what: str) -> Any:
        simulation = self.simulation
        self.violation = self.violation or Violation(
            f"{life.host.address}: {what} (seed {simulation.seed!r}, at"
            f" {simulation.now:.4f} s, event {simulation.schedule.event_count})"
        )
        raise self.violation
