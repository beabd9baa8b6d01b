"""Snapshots in the core: compaction, sending one by chunks, receiving and installing one."""

import pytest

from syncstructs.config import Config
from syncstructs.errors import ProtocolError
from syncstructs.raft.effects import ChunkWrite
from syncstructs.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    Restored,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotReply,
)

NOTHING = EntryId(0, 0)
META = SnapshotMeta(20, 2, 20, 250, 7)


def chunk(offset: int, size: int, *, meta=META, term: int = 3, round: int = 1) -> SnapshotChunk:
    return SnapshotChunk(term, meta, offset, bytes(size), round, 0.0)


def run_of(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    return tuple(
        Entry(term, index, index, EntryKind.BATCH, bytes(68))
        for index, term in enumerate(terms, first)
    )


def written(bench, write: ChunkWrite, *, next_offset: int | None = None, ok: bool = True):
    if next_offset is None:
        next_offset = write.offset + len(write.data)
    bench.core.chunk_written(write, next_offset, ok, bench.now)
    return bench.flush()


def receive_all(bench, meta=META, term: int = 3):
    """Let `b` send the whole snapshot; return what the member answers to the last piece."""
    sends = []
    for offset in range(0, meta.size_bytes, 100):
        size = min(100, meta.size_bytes - offset)
        bench.step("b", chunk(offset, size, meta=meta, term=term))
        sends = written(bench, bench.chunk_writes[-1])
    return sends


def leader_with_snapshot(make_bench, count: int = 10):
    """A leader that has compacted its log, and has heard nothing of `c`."""
    bench = make_bench()
    bench.elect()
    for _ in range(count):
        bench.core.propose(bytes(68), bench.now)
    for _ in range(count):
        bench.flush()
        bench.accept("b", min(bench.core.log.last_index, bench.core._leading.peers["b"].next_index))
    index = bench.core.commit_index
    meta = SnapshotMeta(index, 1, bench.core.log.time_at(index), 250, 7)
    bench.core.compacted(meta, bench.now)
    bench.flush()
    return bench, meta


# Compaction


def test_compaction_keeps_some_log_behind_the_snapshot(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    # 250 bytes are two entries of 100.
    assert bench.core.log.base.index == meta.index - 2
    assert bench.core.log.last_index == meta.index


def test_only_what_is_applied_is_compacted(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    bench.core.propose(b"x", bench.now)
    bench.flush()
    with pytest.raises(AssertionError):
        bench.core.compacted(SnapshotMeta(2, 1, 0, 0, 0), bench.now)


def test_an_older_snapshot_changes_nothing(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    base = bench.core.log.base
    bench.core.compacted(SnapshotMeta(meta.index - 1, 1, 0, 1, 1), bench.now)
    assert (bench.core.log.base, bench.core._snapshot) == (base, meta)


def behind(bench, peer: str, index: int):
    """Let a peer that lags answer as of now."""
    bench.step(peer, AppendReply(1, bench.core._leading.rounds.current, True, index, 0, bench.now))


def compact(bench, size_bytes: int = 250) -> SnapshotMeta:
    core = bench.core
    index = core.commit_index
    meta = SnapshotMeta(index, 1, core.log.time_at(index), size_bytes, index)
    core.compacted(meta, bench.now)
    bench.flush()
    return meta


def grow(bench, count: int) -> None:
    """Commit entries of 100 bytes; `c` does not have them."""
    for _ in range(count):
        bench.core.propose(bytes(68), bench.now)
        bench.flush()
        bench.accept("b", bench.core._leading.peers["b"].next_index - 1)


# With so little allowed before a snapshot, twice as much is 600 bytes.
LITTLE = Config(
    append_bytes=300, append_window_bytes=900, chunk_bytes=100, log_keep_bytes=250,
    snapshot_log_bytes=300,
)  # fmt: skip


def test_the_log_is_kept_for_who_answers_and_is_behind(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    grow(bench, 10)
    behind(bench, "c", 4)
    compact(bench)
    assert bench.core.log.base.index == 4
    behind(bench, "c", 7)
    assert bench.chunk_reads == []
    grow(bench, 1)
    compact(bench)
    assert bench.core.log.base.index == 7, "and no longer than it needs it"
    assert bench.core.log.covered_bytes == 100 * (bench.core.commit_index - 7)


def test_it_is_not_kept_for_who_does_not_answer(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    grow(bench, 10)
    behind(bench, "c", 4)
    end = bench.now + bench.config.election_timeout_max
    while bench.now < end:
        bench.time_out()
        bench.accept("b")
    meta = compact(bench)
    assert bench.core.log.base.index == meta.index - 2, "250 bytes are two entries of 100"


def test_it_is_kept_only_up_to_twice_what_comes_before_a_snapshot(make_bench) -> None:
    for index, base in ((5, 5), (4, 9)):
        bench = make_bench(config=LITTLE)
        bench.lead()
        grow(bench, 10)
        behind(bench, "c", index)
        assert compact(bench).index == 11
        assert bench.core.log.base.index == base
    bench = make_bench(config=LITTLE)
    bench.lead()
    grow(bench, 10)
    behind(bench, "c", 4)
    compact(bench, size_bytes=350)
    assert bench.core.log.base.index == 4, "or twice the size of the snapshot"


def test_one_that_is_further_behind_costs_the_others_nothing(make_bench) -> None:
    bench = make_bench(members=("a", "b", "c", "d", "e"), config=LITTLE)
    bench.lead()
    for _ in range(10):
        bench.core.propose(bytes(68), bench.now)
        bench.flush()
        for peer in "be":
            bench.accept(peer, bench.core._leading.peers[peer].next_index - 1)
    behind(bench, "c", 2)
    behind(bench, "d", 6)
    compact(bench)
    assert bench.core.log.base.index == 6


def test_who_was_sent_a_snapshot_needs_no_other_one(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    for index in range(3):
        grow(bench, 5)
        bench.step("c", SnapshotReply(1, meta.id, 100 if index else 0, False, 1, 2.0 + index))
        newer = compact(bench)
        assert bench.core.log.base == meta.id, "what follows the one that is sent"
    bench.chunk_reads.clear()
    sends = bench.step("c", SnapshotReply(1, meta.id, 250, True, 1, 9.0))
    appends = [m for to, m in sends if to == "c"]
    assert (appends[0].previous, appends[0].entries[0].index) == (meta.id, meta.index + 1)
    assert bench.chunk_reads == []
    # And until it has caught up.
    behind(bench, "c", meta.index + 3)
    grow(bench, 1)
    assert compact(bench).index == newer.index + 1
    assert bench.core.log.base.index == meta.index + 3
    assert bench.chunk_reads == []


def test_what_would_need_another_one_behind_it_is_sent_no_further(make_bench) -> None:
    bench = make_bench(config=LITTLE)
    bench.elect()
    grow(bench, 10)
    meta = compact(bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    bench.step("c", SnapshotReply(1, meta.id, 100, False, 1, 2.0))
    bench.chunk_reads.clear()
    grow(bench, 6)
    compact(bench)
    assert bench.core.log.base == meta.id
    assert bench.chunk_reads == []
    grow(bench, 1)
    newest = compact(bench)
    assert bench.core.log.base.index == newest.index - 2
    assert [(read.to, read.chunk.snapshot, read.chunk.offset) for read in bench.chunk_reads] == [
        ("c", newest, 0)
    ]


# Sending


def test_a_peer_behind_the_log_is_sent_the_snapshot(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    (read,) = bench.chunk_reads
    assert (read.to, read.chunk.snapshot, read.chunk.offset, read.size) == ("c", meta, 0, 100)
    bench.step("c", SnapshotReply(1, meta.id, 100, False, 1, 2.0))
    assert [(r.chunk.offset, r.size) for r in bench.chunk_reads[1:]] == [(100, 100), (200, 50)]
    bench.core.propose(b"after", bench.now)
    sends = bench.step("c", SnapshotReply(1, meta.id, 250, True, 1, 3.0))
    (append,) = [m for to, m in sends if to == "c"]
    assert (append.previous, len(append.entries)) == (meta.id, 1)


def test_a_peer_within_the_log_needs_no_snapshot(make_bench) -> None:
    restored = Restored(HardState(5), SnapshotMeta(5, 4, 5, 10, 0), run_of(5, 5, first=6))
    bench = make_bench(restored=restored)
    bench.elect()
    sends = bench.step("c", AppendReply(6, 1, False, 6, 5, 1.0))
    assert bench.chunk_reads == []
    assert [(m.previous, len(m.entries)) for to, m in sends if to == "c"] == [(EntryId(5, 6), 2)]


def test_a_transfer_ends_when_the_peer_turns_out_to_have_the_log(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    sends = bench.step("c", AppendReply(1, 1, True, meta.index - 1, 0, 1.0))
    assert [len(m.entries) for to, m in sends if to == "c"] == [1]


def test_a_peer_that_differs_at_the_base_is_sent_the_snapshot(make_bench) -> None:
    restored = Restored(HardState(5), SnapshotMeta(5, 4, 5, 10, 0), run_of(5, 5, first=6))
    bench = make_bench(restored=restored)
    bench.elect()
    sends = bench.step("c", AppendReply(6, 1, False, 5, 4, 1.0))
    assert [m.previous for to, m in sends if to == "c"] == [EntryId(4, 5)]
    assert bench.chunk_reads == []
    bench.step("c", AppendReply(6, 1, False, 5, 3, 1.0))
    assert [read.to for read in bench.chunk_reads] == ["c"]


def test_a_peer_that_receives_a_snapshot_still_gets_heartbeats(make_bench) -> None:
    bench, _ = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    sends = bench.wait(bench.config.heartbeat_interval)
    (beat,) = [m for to, m in sends if to == "c"]
    assert isinstance(beat, AppendRequest)
    assert beat.entries == []
    bench.step("c", AppendReply(1, beat.round, False, 0, 0, 2.0))
    assert len(bench.chunk_reads) == 1, "its refusal is expected"
    assert bench.core.heard("c") == bench.now


def test_a_transfer_resumes_after_a_new_link(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    bench.step("c", SnapshotReply(1, meta.id, 100, False, 1, 2.0))
    bench.chunk_reads.clear()
    bench.core.peer_lost("c", bench.now)
    bench.core.peer_connected("c", bench.now)
    bench.flush()
    assert [read.chunk.offset for read in bench.chunk_reads] == [100]


def test_a_lost_chunk_is_sent_again_in_time(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    bench.chunk_reads.clear()
    end = bench.now + bench.config.election_timeout_min
    while bench.now < end:
        bench.time_out()
        bench.accept("b")
    assert [(r.chunk.snapshot, r.chunk.offset) for r in bench.chunk_reads] == [(meta, 0)]


def test_a_pruned_snapshot_is_replaced_by_the_newest(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    bench.core.propose(b"x", bench.now)
    bench.flush()
    bench.accept("b")
    newer = SnapshotMeta(meta.index + 1, 1, bench.core.log.last_time, 300, 9)
    bench.core.compacted(newer, bench.now)
    bench.chunk_reads.clear()
    bench.core.chunk_missing("c", meta)
    bench.flush()
    assert [(r.chunk.snapshot, r.chunk.offset) for r in bench.chunk_reads] == [(newer, 0)]


def test_a_snapshot_that_cannot_be_read_is_not_tried_in_a_loop(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    bench.chunk_reads.clear()
    for _ in range(5):
        bench.core.chunk_missing("c", meta)
        bench.flush()
    assert bench.chunk_reads == []


# Receiving


def test_a_snapshot_is_received_installed_and_acknowledged(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(2), None, run_of(1, 1)))
    bench.step("b", chunk(0, 100))
    assert not bench.chunk_writes[0].last
    sends = written(bench, bench.chunk_writes[0])
    assert [(m.next_offset, m.done) for _, m in sends] == [(100, False)]
    bench.step("b", chunk(100, 100), chunk(200, 50))
    assert bench.chunk_writes[-1].last
    written(bench, bench.chunk_writes[1])
    bench.core.chunk_written(bench.chunk_writes[2], 250, True, bench.now)
    assert bench.take() == [], "done waits for the log's reset"
    (append,) = bench.pending
    assert append.reset == META
    assert [(to, m.done) for to, m in append.then_send] == [("b", True)]
    assert bench.installed == [META]
    assert (bench.core.commit_index, bench.core.log.last_id) == (20, META.id)
    bench.flush()
    bench.step("b", AppendRequest(3, META.id, 21, list(run_of(3, first=21)), 2, 0.0))
    assert [entry.index for entry in bench.committed] == [21]


def test_what_follows_the_snapshots_entry_is_kept(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(2), None, run_of(*[2] * 22)))
    sends = receive_all(bench)
    assert [m.done for _, m in sends] == [True]
    assert bench.core.log.last_index == 22
    assert bench.core.log.base == META.id
    assert (bench.core.commit_index, bench.installed) == (20, [META])
    assert bench.core.log.persisted_index == 22


def test_a_log_without_the_snapshots_entry_is_reset(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(2), None, run_of(*[1] * 22)))
    receive_all(bench)
    assert bench.core.log.last_id == META.id


def test_a_snapshot_of_what_is_committed_is_done_at_once(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(2), None, run_of(*[2] * 20)))
    bench.step("b", AppendRequest(3, EntryId(2, 20), 20, [], 1, 0.0))
    ((_, reply),) = bench.step("b", chunk(0, 100))
    assert reply.done
    assert bench.installed == []


def test_done_is_said_only_of_what_is_durable(make_bench) -> None:
    bench = make_bench()
    bench.step("b", AppendRequest(3, NOTHING, 0, [], 1, 0.0))
    entries = list(run_of(*[2] * 20))
    bench.core.step("b", AppendRequest(3, NOTHING, 20, entries, 1, 0.0), bench.now)
    bench.take()
    assert bench.core.commit_index == 20
    bench.core.step("b", chunk(0, 100), bench.now)
    assert bench.take() == []
    bench.persist()
    ((_, reply),) = bench.take()
    assert (type(reply), reply.done) == (SnapshotReply, True)


def test_doubled_and_overtaken_chunks_are_answered_with_what_is_wanted(make_bench) -> None:
    bench = make_bench()
    bench.step("b", chunk(0, 100))
    written(bench, bench.chunk_writes[0])
    for offset in (0, 200):
        ((_, reply),) = bench.step("b", chunk(offset, 50))
        assert (reply.next_offset, reply.done) == (100, False)
    assert len(bench.chunk_writes) == 1


def test_no_other_snapshot_is_begun_while_the_end_of_one_is_being_stored(make_bench) -> None:
    bench = make_bench()
    newer = SnapshotMeta(30, 2, 30, 100, 8)
    for offset in (0, 100):
        bench.step("b", chunk(offset, 100))
        written(bench, bench.chunk_writes[-1])
    bench.step("b", chunk(200, 50))
    bench.chunk_writes, (end,) = [], bench.chunk_writes[-1:]
    assert bench.step("b", chunk(0, 100, meta=newer)) == []
    assert bench.chunk_writes == [], "stores keep few: it could go before it is taken over"
    written(bench, end)
    assert bench.installed == [META]
    bench.step("b", chunk(0, 100, meta=newer))
    assert [write.snapshot for write in bench.chunk_writes] == [newer]


def test_a_corrupt_snapshot_is_fetched_again(make_bench) -> None:
    bench = make_bench()
    for offset, size in ((0, 100), (100, 100)):
        bench.step("b", chunk(offset, size))
        written(bench, bench.chunk_writes[-1])
    bench.step("b", chunk(200, 50))
    ((_, reply),) = written(bench, bench.chunk_writes[-1], next_offset=0, ok=False)
    assert (reply.next_offset, reply.done) == (0, False)
    assert bench.installed == []
    assert receive_all(bench)[-1][1].done


def test_a_transfer_survives_a_change_of_leader(make_bench) -> None:
    bench = make_bench()
    bench.step("b", chunk(0, 100))
    written(bench, bench.chunk_writes[0])
    ((to, reply),) = bench.step("c", chunk(0, 100, term=4))
    assert (to, reply.next_offset) == ("c", 100), "the same snapshot, so it goes on"
    other = SnapshotMeta(25, 2, 25, 100, 8)
    bench.step("c", chunk(0, 100, meta=other, term=4))
    assert bench.chunk_writes[-1].snapshot == other


@pytest.mark.parametrize(
    "meta",
    [
        SnapshotMeta(20, 4, 20, 250, 7),
        SnapshotMeta(20, 0, 20, 250, 7),
        SnapshotMeta(0, 2, 20, 250, 7),
        SnapshotMeta(20, 2, 20, 50, 7),
        SnapshotMeta(2, 2, 20, 250, 7),
        SnapshotMeta(20, 1, 20, 250, 7),
        SnapshotMeta(20, 2, 1, 250, 7),
    ],
    ids=["term above", "no term", "no index", "too small", "other term", "old term", "old time"],
)
def test_a_snapshot_that_cannot_be_is_refused(make_bench, meta) -> None:
    bench = make_bench(restored=Restored(HardState(2), None, run_of(1, 1, 2)))
    bench.step("b", AppendRequest(3, EntryId(2, 3), 3, [], 1, 0.0))
    with pytest.raises(ProtocolError):
        bench.core.step("b", chunk(0, 100, meta=meta), bench.now)
    bench.core._check()
    assert bench.chunk_writes == []


def test_an_acknowledgement_of_what_was_never_sent_is_refused(make_bench) -> None:
    bench, meta = leader_with_snapshot(make_bench)
    for lie in (
        AppendReply(1, 1, True, 10**6, 0, 1.0),
        AppendReply(1, 10**6, True, 1, 0, 1.0),
        SnapshotReply(1, EntryId(1, 10**6), 0, True, 1, 1.0),
    ):
        with pytest.raises(ProtocolError):
            bench.core.step("c", lie, bench.now)
        bench.core._check()
    bench.step("c", AppendReply(1, 1, False, 0, 0, 1.0))
    with pytest.raises(ProtocolError):
        bench.core.step("c", SnapshotReply(1, meta.id, 10**6, False, 1, 1.0), bench.now)
