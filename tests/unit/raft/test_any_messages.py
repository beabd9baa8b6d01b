"""Whatever members say that decodes: a core answers, refuses with `ProtocolError`, or ignores it.

Messages are drawn near what the core would believe: terms, entries and nonces that are nearly
right. After each event all invariants are checked.
"""

from contextlib import suppress
from random import Random

import pytest

from syncstructs.errors import ProtocolError
from syncstructs.raft.membership import Membership, encode_membership, sorted_members
from syncstructs.raft.messages import (
    AppendReply,
    AppendRequest,
    Dismissal,
    Entry,
    EntryId,
    EntryKind,
    Message,
    PreVoteReply,
    PreVoteRequest,
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
from syncstructs.raft.wire import decode, encode

_SEEDS_PER_PART = 25


class Liar:
    """Draws messages for one core."""

    def __init__(self, random: Random, core) -> None:
        self.random = random
        self.core = core

    def number(self) -> int:
        return self.random.choice((0, 0, 1, 1, 2, 3, 4, 5, 8))

    def term(self) -> int:
        return max(1, self.core.term + self.random.choice((-1, 0, 0, 0, 0, 1, 2)))

    def id(self) -> EntryId:
        log, committed = self.core.log, self.core.commit_index
        term = self.number()
        some = EntryId(term, self.number() if term else 0)
        return self.random.choice(
            (some, log.last_id, log.base, EntryId(log.term_at(committed) or 0, committed))
        )

    def genesis(self) -> int:
        return self.random.choice((0, 5, 6, self.core.membership.genesis))

    def nonce(self) -> int:
        return self.random.choice((0, 0, 7, 8, self.core._recovery_nonce))

    def membership(self) -> Membership:
        def some(least: int) -> tuple[str, ...]:
            return sorted_members(self.random.sample("abcd", self.random.randint(least, 3)))

        return Membership(
            some(1),
            self.random.choice(((), (), some(1))),
            self.random.choice(((), some(0))),
            self.genesis(),
        )

    def entries(self, previous: EntryId, term: int) -> list[Entry]:
        entries, time = [], self.number()
        for index in range(previous.index + 1, previous.index + 1 + self.random.randint(0, 3)):
            kind = self.random.choice(tuple(EntryKind))
            payload = encode_membership(self.membership())
            own = min(term, max(previous.term, 1) + self.random.randint(0, 1))
            entries.append(
                Entry(own, index, time, kind, payload if kind is EntryKind.MEMBERSHIP else b"x")
            )
        return entries

    def snapshot(self) -> SnapshotMeta:
        number, size = self.number, self.random.choice((0, 1, 10, 300))
        membership = self.random.choice((Membership(), self.membership()))
        return SnapshotMeta(number() + 1, number() + 1, number(), size, 0, membership)

    def round(self) -> int:
        leading = self.core._leading
        return leading.rounds.current if leading else self.number()

    def message(self) -> Message:
        random, number, term = self.random, self.number, self.term()
        kind = random.randrange(16)
        yes = random.random() < 0.7
        if kind < 4:
            previous = self.id()
            entries, known = self.entries(previous, term), random.choice((number(), 9))
            return AppendRequest(
                term, previous, known, entries, number(), 0.0, self.genesis(), self.nonce()
            )
        if kind == 4:
            index = random.choice((number(), self.core.log.last_index))
            return AppendReply(term, self.round(), yes, index, 0, 1.0, self.nonce())
        if kind == 5:
            snapshot, offset = self.snapshot(), random.choice((0, 0, 1))
            part = b"y" * max(0, snapshot.size_bytes - offset)
            return SnapshotChunk(term, snapshot, offset, part, number(), 0.0)
        return (
            PreVoteRequest(term + 1, self.id(), self.genesis()),
            PreVoteReply(term + 1, yes),
            VoteRequest(term + 1, self.id(), self.genesis(), yes),
            VoteReply(term, yes),
            SnapshotReply(term, self.id(), number(), yes, self.round(), 1.0, self.nonce()),
            RecoveryRequest(random.choice((7, 8, 9))),
            RecoveryReply(
                self.core._recovery_nonce or 7, number(), self.id(), yes, number(),
                random.choice((Membership(), self.membership())),
            ),
            Dismissal(number() + 1),
            TimeoutNow(term),
            random.choice((ReadRequest(number()), ReadReply(number(), number()))),
        )[kind - 6]  # fmt: skip


def _event(bench, random: Random, liar: Liar, number: int) -> None:
    core, chance = bench.core, random.random()
    if chance < 0.75:
        with suppress(ProtocolError):
            core.step(random.choice("bcd"), decode(encode(liar.message())), bench.now)
    elif chance < 0.85:
        bench.now += random.choice((0.05, 0.3, 1.0))
        core.tick(bench.now)
    elif chance < 0.88:
        core.peer_connected(random.choice("bcdz"), bench.now)
    elif chance < 0.90:
        core.peer_lost(random.choice("bcd"), bench.now)
    elif chance < 0.93:
        core.change_towards(sorted_members(random.sample("abcd", random.randint(1, 4))), bench.now)
    elif chance < 0.95:
        core.transfer_leadership(random.choice((None, "b", "c")), bench.now)
    elif chance < 0.97 and bench.chunk_writes:
        write = bench.chunk_writes.pop(0)
        core.chunk_written(write, write.offset + len(write.data), True, bench.now)
    elif chance < 0.98:
        core.propose(b"p", bench.now)
    else:
        core.read_index(number, bench.now)


def _run(bench_type, seed: int) -> None:
    random = Random(seed)
    blank, lasting = random.random() < 0.5, random.random() < 0.3
    bench = bench_type(
        members=random.choice((("a",), ("a", "b", "c"), (), ("a", "b"))),
        restored=Restored(blank=blank, lasting=lasting),
    )
    liar = Liar(random, bench.core)
    try:
        for number in range(100):
            _event(bench, random, liar, number)
            if random.random() < 0.6:
                bench.flush()
            else:
                bench.take()
    except BaseException:
        print(f"seed {seed}")
        raise


@pytest.mark.parametrize("part", range(8))
def test_whatever_members_say_a_core_goes_on(make_bench, part: int) -> None:
    for seed in range(part * _SEEDS_PER_PART, (part + 1) * _SEEDS_PER_PART):
        _run(make_bench, seed)
