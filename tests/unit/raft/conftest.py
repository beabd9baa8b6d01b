"""A whole cluster of `RaftCore`s in memory, driven by one seed, that checks Raft's promises.

The world does to its members what networks, disks and power do to real ones: messages are lost,
doubled and overtaken, links break and come back, appends become durable late, a crash loses what is
not durable (or keeps it unacknowledged). After every event the member touched is compared with all
that the world remembers.
"""

import heapq
from collections import deque
from random import Random
from zlib import crc32

import pytest
from msgspec.structs import replace

from syncstructs.config import Config
from syncstructs.raft.core import RaftCore, Role
from syncstructs.raft.effects import Append, ChunkRead, ChunkWrite
from syncstructs.raft.membership import Membership, decode_membership
from syncstructs.raft.messages import (
    AppendReply,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Message,
    PreVoteReply,
    PreVoteRequest,
    Restored,
    SnapshotMeta,
    VoteReply,
)
from syncstructs.raft.wire import decode, encode

SMALL = Config(
    append_bytes=300,
    append_window_bytes=900,
    chunk_bytes=100,
    log_keep_bytes=250,
)


class Disk:
    """What survives a crash."""

    def __init__(self) -> None:
        self.hard_state = HardState()
        self.base = EntryId(0, 0)
        self.entries: list[Entry] = []
        self.snapshot: SnapshotMeta | None = None
        self.images: dict[SnapshotMeta, bytes] = {}

    def do(self, append: Append) -> None:
        if append.reset is not None:
            self.base, self.entries = append.reset.id, []
        if append.hard_state is not None:
            self.hard_state = append.hard_state
        for entry in append.entries:
            position = entry.index - self.base.index - 1
            if position < 0:
                self.entries.clear()
                self.base = EntryId(0, entry.index - 1)
                position = 0
            assert position <= len(self.entries), "a gap was appended"
            del self.entries[position:]
            self.entries.append(entry)

    def keep(self, snapshot: SnapshotMeta, image: bytes) -> None:
        self.images[snapshot] = image
        if self.snapshot is None or snapshot.index > self.snapshot.index:
            self.snapshot = snapshot
        for old in sorted(self.images, key=lambda meta: meta.index)[:-2]:
            del self.images[old]

    def restored(self) -> Restored:
        entries, snapshot = self.entries, self.snapshot
        if snapshot is not None and snapshot.index > self.base.index:
            count = snapshot.index - self.base.index
            fits = len(entries) >= count and entries[count - 1].id == snapshot.id
            entries = entries[count:] if fits else []
            self.base, self.entries = snapshot.id, list(entries)
        return Restored(self.hard_state, snapshot, tuple(entries))

    @property
    def is_blank(self) -> bool:
        return self.hard_state.recovering or self.hard_state == HardState()

    def holds(self, id: EntryId) -> bool:
        if id.index <= max(self.base.index, self.snapshot.index if self.snapshot else 0):
            return True
        position = id.index - self.base.index - 1
        return position < len(self.entries) and self.entries[position].id == id


class Member:
    """One member: its core if it is up, its disk, and what it has applied."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.disk = Disk()
        self.core: RaftCore | None = None
        self.life = 0
        self.appends: deque[Append] = deque()
        self.partial: tuple[SnapshotMeta | None, bytes] = (None, b"")
        self.applied_index = 0
        self.digest = 0
        self.tick_at = float("inf")
        self.commit_index = 0
        self.led_term = 0


class World:
    """The members, the network between them, and all that must never be contradicted."""

    def __init__(self, seed: int, size: int, config: Config = SMALL, wire: bool = False) -> None:
        self.random = Random(seed)
        self.config = config
        self.wire = wire
        self.now = 100.0
        self.loss = self.doubling = 0.0
        self.delay = 0.004
        self.disk_delay = 0.004
        self.addresses = [f"m{number}:1" for number in range(size)]
        self.members = {address: Member(address) for address in self.addresses}
        self.cut: set[tuple[str, str]] = set()
        self.events: list[tuple[float, int, tuple]] = []
        self.serial = 0
        self.event_count = 0
        # What must hold for ever
        self.leaders: dict[int, str] = {}
        self.committed: list[tuple[Entry, int]] = []
        self.digests = [0]
        self.previous: dict[EntryId, tuple[EntryId, Entry]] = {}
        self.reads: dict[int, int] = {}
        self.confirmed_reads: set[int] = set()
        self.votes: dict[tuple[int, str], str] = {}
        for address in self.addresses:
            self.start(address)

    # Life and death

    def start(self, address: str) -> None:
        member = self.members[address]
        assert member.core is None
        restored = member.disk.restored()
        member.core = self.make_core(address, restored)
        member.life += 1
        member.applied_index = restored.snapshot.index if restored.snapshot else 0
        member.digest = self.digests[member.applied_index]
        member.commit_index = member.applied_index
        member.tick_at = float("inf")
        member.led_term = 0
        self.links_changed(address, up=True)
        self.pump(member)

    def make_core(self, address: str, restored: Restored) -> RaftCore:
        return RaftCore(
            address=address,
            members=self.addresses,
            config=self.config,
            random=Random(self.random.getrandbits(32)),
            restored=restored,
            now=self.now,
        )

    def crash(self, address: str) -> None:
        member = self.members[address]
        # What was being written may be durable, but nobody was told.
        for _ in range(self.random.randint(0, len(member.appends))):
            member.disk.do(member.appends.popleft())
        member.appends.clear()
        member.partial = (None, b"")
        member.core = None
        self.links_changed(address, up=False)

    def links_changed(self, address: str, up: bool) -> None:
        for other in self.addresses:
            if other != address and self.linked(address, other):
                self.later(0.001, "link", other, address, up)
                if up:
                    self.later(0.001, "link", address, other, up)

    def linked(self, one: str, other: str) -> bool:
        return not {(one, other), (other, one)} & self.cut

    def partition(self, group: set[str]) -> None:
        for one in self.addresses:
            for other in self.addresses:
                if (one in group) != (other in group):
                    if self.random.random() < 0.7 and (one, other) not in self.cut:
                        self.later(0.002, "link", one, other, False)
                    self.cut.add((one, other))

    def heal(self) -> None:
        for one, other in sorted(self.cut):
            self.later(0.002, "link", one, other, True)
        self.cut.clear()

    # Time

    def later(self, delay: float, *what: object) -> None:
        self.serial += 1
        heapq.heappush(self.events, (self.now + delay, self.serial, what))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.events and self.events[0][0] <= end:
            self.now, _, what = heapq.heappop(self.events)
            self.event_count += 1
            self.happen(*what)
        self.now = end

    def happen(self, kind: str, *what: object) -> None:
        member = self.members[what[0]]
        core = member.core
        if core is None:
            return
        if kind == "message":
            sender, message = what[1:]
            if self.linked(sender, member.address):
                core.step(sender, message, self.now)
        elif kind == "tick":
            if what[1] != member.life or self.now < member.tick_at:
                return
            member.tick_at = float("inf")
            core.tick(self.now)
        elif kind == "disk":
            if what[1] == member.life:
                self.write(member)
        elif kind == "link":
            other, up = what[1:]
            if up and self.members[other].core and self.linked(member.address, other):
                core.peer_connected(other, self.now)
            elif not up:
                core.peer_lost(other, self.now)
        elif kind == "chunk" and what[1] == member.life:
            core.chunk_written(*what[2:], self.now)
        self.check(member)
        if kind != "pump" and self.random.random() < 0.2:
            self.later(0.0005, "pump", member.address)
        else:
            self.pump(member)

    # Effects

    def pump(self, member: Member) -> None:
        core = member.core
        assert core is not None
        had = core.has_effects
        effects = core.take_effects()
        assert had == (
            bool(effects.sends or effects.appends or effects.chunk_reads or effects.chunk_writes)
            or bool(effects.install or effects.committed or effects.reads)
            or effects.peers is not None
            or effects.dismissed
        ), (had, effects)
        assert not core.has_effects
        for append in effects.appends:
            member.appends.append(append)
            delay = self.disk_delay * (20 if self.random.random() < 0.05 else 1)
            self.later(self.random.random() * delay, "disk", member.address, member.life)
        for to, message in effects.sends:
            self.send(member, to, message)
        for read in effects.chunk_reads:
            self.read_chunk(member, read)
        for write in effects.chunk_writes:
            self.write_chunk(member, write)
        if effects.install is not None:
            assert effects.install.index > member.applied_index
            member.applied_index = effects.install.index
            member.digest = int.from_bytes(member.disk.images[effects.install][:4], "big")
            assert member.digest == self.digests[effects.install.index], "state machine safety"
        for entry in effects.committed:
            assert entry.index == member.applied_index + 1, (entry.id, member.applied_index)
            member.applied_index = entry.index
            member.digest = crc32(entry.payload, member.digest + entry.index)
            self.apply(member, entry)
        for ready in effects.reads:
            self.read_done(member, ready.request, ready.index)
        self.check(member)
        self.arm(member)

    def arm(self, member: Member) -> None:
        deadline = member.core.deadline()
        if deadline < member.tick_at:
            member.tick_at = deadline
            self.later(max(deadline - self.now, 0.0), "tick", member.address, member.life)

    def write(self, member: Member) -> None:
        if not member.appends:
            return
        append = member.appends.popleft()
        member.disk.do(append)
        for to, message in append.then_send:
            self.send(member, to, message)
        member.core.persisted(append.ticket, self.now)

    def send(self, member: Member, to: str, message: Message) -> None:
        self.check_sent(member, to, message)
        if self.wire:
            message = decode(encode(message))
        if not self.linked(member.address, to):
            return
        random = self.random
        for _ in range(2 if random.random() < self.doubling else 1):
            if random.random() >= self.loss:
                delay = self.delay * random.random() * (10 if random.random() < 0.05 else 1)
                self.later(delay, "message", to, member.address, message)

    def read_chunk(self, member: Member, read: ChunkRead) -> None:
        chunk = read.chunk
        image = member.disk.images.get(chunk.snapshot)
        if image is None:
            member.core.chunk_missing(read.to, chunk.snapshot)
            self.later(0.0005, "pump", member.address)
            return
        piece = image[chunk.offset : chunk.offset + read.size]
        assert len(piece) == read.size, (chunk, read.size)
        self.send(
            member, read.to,
            type(chunk)(chunk.term, chunk.snapshot, chunk.offset, piece, chunk.round, chunk.echo),
        )  # fmt: skip

    def write_chunk(self, member: Member, write: ChunkWrite) -> None:
        meta, partial = member.partial
        if meta != write.snapshot:
            partial = b""
        ok = write.offset == len(partial)
        if ok:
            partial += write.data
        next_offset = len(partial)
        member.partial = (write.snapshot, partial)
        if ok and write.last:
            member.partial = (None, b"")
            ok = len(partial) == write.snapshot.size_bytes and self.random.random() < 0.9
            ok = ok and crc32(partial) == write.snapshot.checksum
            if ok:
                member.disk.keep(write.snapshot, partial)
            else:
                next_offset = 0
        delay = self.random.random() * self.disk_delay
        self.later(delay, "chunk", member.address, member.life, write, next_offset, ok)

    # What the world asks of members

    def propose(self, address: str, payload: bytes) -> EntryId | None:
        core = self.members[address].core
        if core is None or not core.can_propose:
            return None
        self.later(0.0, "pump", address)
        return core.propose(payload, self.now)

    def read(self, address: str) -> int:
        """Begin a read; return its number, 0 if the member is down."""
        member = self.members[address]
        if member.core is None:
            return 0
        request = len(self.reads) + 1
        self.reads[request] = len(self.committed)
        member.core.read_index(request, self.now)
        self.later(0.0, "pump", address)
        return request

    def compact(self, address: str) -> None:
        member = self.members[address]
        index = member.applied_index
        if member.core is None or index == 0:
            return
        if member.disk.snapshot is not None and index <= member.disk.snapshot.index:
            return
        assert member.digest == self.digests[index]
        entry, _ = self.committed[index - 1]
        image = member.digest.to_bytes(4, "big") * (1 + index * 7 % 120)
        snapshot = SnapshotMeta(
            index, entry.term, entry.time, len(image), crc32(image),
            member.core.log.membership_at(index),
        )  # fmt: skip
        member.disk.keep(snapshot, image)
        member.core.compacted(snapshot, self.now)
        self.later(0.0, "pump", address)
        if member.disk.base.index < index - 5:
            # As whole segments go: a few entries behind the snapshot stay.
            position = index - 5 - member.disk.base.index
            if position <= len(member.disk.entries):
                last = member.disk.entries[position - 1].id
                member.disk.entries = member.disk.entries[position:]
                member.disk.base = last
        self.check(member)

    # What must never be contradicted

    def apply(self, member: Member, entry: Entry) -> None:
        if entry.index == len(self.digests):
            self.digests.append(member.digest)
        assert self.digests[entry.index] == member.digest, "state machine safety"

    def read_done(self, member: Member, request: int, index: int) -> None:
        floor = self.reads.get(request)
        assert floor is not None, "a read ended that nobody made"
        if index:
            self.confirmed_reads.add(request)
            assert index >= floor, ("linearizable reads", member.address, index, floor)

    def check_sent(self, member: Member, to: str, message: Message) -> None:
        """What a message relies on is durable when it leaves (figure 2: before responding)."""
        durable = member.disk.hard_state
        term = getattr(message, "term", 0)
        if isinstance(message, PreVoteRequest) or (
            isinstance(message, PreVoteReply) and message.granted
        ):
            term = 0
        assert durable.term >= term, ("a term was told before it was durable", message, durable)
        if isinstance(message, VoteReply) and message.granted:
            if durable.term == message.term:
                assert durable.vote == to, ("a vote was given before it was durable", durable)
            first = self.votes.setdefault(self.vote_key(member, message.term), to)
            assert first == to, ("two votes in one term", message.term, member.address)
        if (
            isinstance(message, AppendReply)
            and message.accepted
            and durable.term == message.term
            and self.leaders.get(message.term) == to
            and (leader := self.members[to].core) is not None
            and leader.term == message.term
            # Not a later life of it, which has forgotten what it sent.
            and leader.role is Role.LEADER
        ):
            term_at = leader.log.term_at(message.index)
            if term_at is not None and message.index:
                assert member.disk.holds(EntryId(term_at, message.index)), (
                    "an entry was acknowledged before it was durable", member.address, message,
                )  # fmt: skip

    def vote_key(self, member: Member, term: int) -> tuple[int, str]:
        return term, member.address

    def check(self, member: Member) -> None:
        core = member.core
        assert core is not None
        if self.random.random() < 0.15:
            core._check()
        assert core.commit_index >= member.commit_index, "the commit index went back"
        self.check_log(core)
        if core.role is Role.LEADER and core.term != member.led_term:
            member.led_term = core.term
            assert self.leaders.setdefault(core.term, member.address) == member.address, (
                "election safety", core.term,
            )  # fmt: skip
            durable = member.disk.hard_state
            assert durable == HardState(core.term, member.address), "led on a vote not durable"
            for entry, term in self.committed:
                if term < core.term and entry.index > core.log.base.index:
                    assert core.log.has(entry.id), ("leader completeness", entry.id, core.term)
        while member.commit_index < core.commit_index:
            member.commit_index += 1
            self.check_committed(core, member.commit_index)

    def check_log(self, core: RaftCore) -> None:
        log = core.log
        first = max(log.base.index + 1, log.last_index - 4)
        if self.random.random() < 0.03:
            first = log.base.index + 1
        if first > log.last_index:
            return
        term = log.term_at(first - 1)
        before = EntryId(term, first - 1)
        for entry in log.between(first, log.last_index):
            known = self.previous.setdefault(entry.id, (before, entry))
            assert known == (before, entry), ("log matching", entry.id, before, known)
            before = entry.id

    def check_committed(self, core: RaftCore, index: int) -> None:
        if index > len(self.committed):
            assert index == len(self.committed) + 1
            assert core.role is Role.LEADER, "a follower knew first"
            entry = core.log.between(index, index)[0]
            self.committed.append((entry, core.term))
            self.check_holders(core, entry)
        elif index > core.log.base.index:
            entry = self.committed[index - 1][0]
            assert core.log.between(index, index) == [entry], ("committed entries change", index)

    def check_holders(self, core: RaftCore, entry: Entry) -> None:
        holders = [m for m in self.members.values() if m.disk.holds(entry.id)]
        assert len(holders) > len(self.members) // 2, ("committed before durable", entry.id)

    # Helpers for tests

    @property
    def leader(self) -> RaftCore | None:
        """The leader of the newest term that is up."""
        leaders = [
            member.core
            for member in self.members.values()
            if member.core and member.core.role is Role.LEADER
        ]
        return max(leaders, key=lambda core: core.term, default=None)

    def elect(self) -> RaftCore:
        """Run until one leads and is ready."""
        for _ in range(200):
            self.run(0.05)
            if self.leader is not None and self.leader.leader_ready:
                return self.leader
        raise AssertionError("no leader within 10 seconds")


class ChangingWorld(World):
    """A world whose members come and go, and forget.

    All hosts run and are linked; who is a member is for the log to say. `wanted` stands for what a
    command in the log asks for. A host that forgets comes back with an empty disk, but only if
    those that are up and remember are a quorum without it, of every membership that may count.
    """

    def __init__(self, seed: int, size: int, spares: int, wire: bool = False) -> None:
        self.voters = tuple(f"m{number}:1" for number in range(size))
        self.wanted = self.voters
        self.forgot: dict[str, int] = {}
        self.forgotten: dict[str, list[Disk]] = {}
        self.forgotten_count = self.changed_count = 0
        super().__init__(seed, size + spares, wire=wire)

    def start(self, address: str) -> None:
        if address in self.voters and address not in self.forgot:
            self.founders, self.contacts = self.voters, ()
        else:
            self.founders, self.contacts = (), self.voters
        super().start(address)

    def make_core(self, address: str, restored: Restored) -> RaftCore:
        return RaftCore(
            address=address,
            members=self.founders,
            contacts=self.contacts,
            config=self.config,
            random=Random(self.random.getrandbits(32)),
            restored=replace(restored, blank=self.members[address].disk.is_blank),
            now=self.now,
        )

    def may_forget(self, address: str) -> bool:
        """Whether the others that are up and remember can decide all that may be decided."""
        remembering = {
            other
            for other, member in self.members.items()
            if member.core and not member.core.is_recovering and other != address
        }
        return len(self.committed) > 0 and all(
            membership.is_quorum(remembering) for membership in self.counting()
        )

    def counting(self) -> list[Membership]:
        """The newest committed membership, and all after it."""
        last = max(
            (e.index for e, _ in self.committed if e.kind is EntryKind.MEMBERSHIP), default=0
        )
        found = []
        for member in self.members.values():
            for entry in [*member.disk.entries, *(e for a in member.appends for e in a.entries)]:
                if entry.kind is EntryKind.MEMBERSHIP and entry.index >= last:
                    found.append(decode_membership(entry.payload))
            if member.core:
                found += [m for at, m in member.core.log._memberships if at >= last]
        return found or [Membership(self.voters)]

    def forget(self, address: str) -> bool:
        """Let a host lose all that it holds, if that may be; it is down then."""
        if not self.may_forget(address):
            return False
        if self.members[address].core is not None:
            self.crash(address)
        self.forgotten.setdefault(address, []).append(self.members[address].disk)
        self.members[address].disk = Disk()
        self.forgot[address] = self.forgot.get(address, 0) + 1
        self.forgotten_count += 1
        return True

    def pump(self, member: Member) -> None:
        if member.core.role is Role.LEADER and member.core.change_towards(self.wanted, self.now):
            self.changed_count += 1
        super().pump(member)

    def vote_key(self, member: Member, term: int) -> tuple[int, str]:
        # What a forgotten vote may elect, the promises tell: a blank member's new vote in a term
        # that its leader had not reached matters to nobody (see `recovery`).
        return term, f"{member.address} {self.forgot.get(member.address, 0)}"

    def check_holders(self, core: RaftCore, entry: Entry) -> None:
        # An acknowledgement may be on its way while its disk is lost; a leader that knows of the
        # loss must not count it.
        peers = core._leading.peers
        holders = [
            address
            for address, member in self.members.items()
            if member.disk.holds(entry.id)
            or any(disk.holds(entry.id) for disk in self.forgotten.get(address, ()))
        ]
        holders = [a for a in holders if a not in peers or not peers[a].recovering]
        assert core.membership.is_quorum(holders), (
            "committed before durable", entry.id, core.membership, holders,
        )  # fmt: skip


class Bench:
    """One core alone: a test plays its peers, its disk and its clock, event by event."""

    def __init__(
        self,
        members: tuple[str, ...] = ("a", "b", "c"),
        restored: Restored | None = None,
        config: Config = SMALL,
    ) -> None:
        self.now = 100.0
        self.config = config
        self.core = RaftCore(
            address="a",
            members=members,
            config=config,
            random=Random(0),
            restored=restored or Restored(),
            now=self.now,
        )
        self.peers = [member for member in members if member != "a"]
        self.pending: deque[Append] = deque()
        self.committed: list[Entry] = []
        self.reads: dict[int, int] = {}
        self.chunk_reads: list[ChunkRead] = []
        self.chunk_writes: list[ChunkWrite] = []
        self.installed: list[SnapshotMeta] = []

    def take(self) -> list[tuple[str, Message]]:
        """Take the effects; return what is sent at once. Appends stay pending."""
        effects = self.core.take_effects()
        self.core._check()
        self.pending.extend(effects.appends)
        self.committed += effects.committed
        self.chunk_reads += effects.chunk_reads
        self.chunk_writes += effects.chunk_writes
        self.reads.update({ready.request: ready.index for ready in effects.reads})
        if effects.install is not None:
            self.installed.append(effects.install)
        return effects.sends

    def persist(self) -> list[tuple[str, Message]]:
        """Make the oldest pending append durable; return what that lets go."""
        append = self.pending.popleft()
        self.core.persisted(append.ticket, self.now)
        return append.then_send

    def flush(self) -> list[tuple[str, Message]]:
        """Take effects and persist until there is nothing left; return all that is sent."""
        sends = self.take()
        rounds = 0
        while self.pending or self.core.has_effects:
            rounds += 1
            assert rounds < 10_000, "the effects never end"
            if self.pending:
                sends += self.persist()
            sends += self.take()
        return sends

    def step(self, sender: str, *messages: Message) -> list[tuple[str, Message]]:
        """Give it messages of a peer, then flush."""
        for message in messages:
            self.core.step(sender, message, self.now)
        return self.flush()

    def wait(self, seconds: float) -> list[tuple[str, Message]]:
        """Let time pass in one step, tick, then flush."""
        self.now += seconds
        self.core.tick(self.now)
        return self.flush()

    def time_out(self) -> list[tuple[str, Message]]:
        """Let time pass until the core wants a tick, tick, then flush."""
        sends = self.wait(max(self.core.deadline() - self.now, 0.0))
        assert self.core.deadline() > self.now, "a deadline that stays behind makes a node spin"
        return sends

    def elect(self) -> list[tuple[str, Message]]:
        """Make it the leader by the votes of all; return what it then sends."""
        self.time_out()
        for peer in self.peers:
            self.step(peer, PreVoteReply(self.core.term + 1, True))
            if self.core.role is not Role.PRE_CANDIDATE:
                break
        term = self.core.term
        sends = []
        for peer in self.peers:
            sends += self.step(peer, VoteReply(term, True))
            if self.core.role is Role.LEADER:
                break
        assert self.core.role is Role.LEADER
        return sends

    def accept(self, peer: str, index: int | None = None) -> list[tuple[str, Message]]:
        """Let a peer acknowledge the log up to `index`, by default all of it."""
        core = self.core
        index = core.log.last_index if index is None else index
        leading = core._leading
        assert leading is not None
        reply = AppendReply(core.term, leading.rounds.current, True, index, 0, self.now)
        return self.step(peer, reply)

    def lead(self) -> None:
        """Make it a leader that is ready, with all peers caught up."""
        self.elect()
        for peer in self.peers:
            self.accept(peer)
        assert self.core.leader_ready


@pytest.fixture
def make_bench() -> type[Bench]:
    """The class `Bench`."""
    return Bench


@pytest.fixture
def make_world() -> type[World]:
    """The class `World`: test modules cannot import one another."""
    return World


@pytest.fixture
def make_changing_world() -> type[ChangingWorld]:
    """The class `ChangingWorld`."""
    return ChangingWorld
