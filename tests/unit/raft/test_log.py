"""RaftLog: indexes, sizes, and what counts as persisted."""

from random import Random

import pytest

from syncstructs.errors import ProtocolError
from syncstructs.raft.log import ENTRY_OVERHEAD_BYTES, RaftLog, check_run
from syncstructs.raft.messages import Entry, EntryId, EntryKind, SnapshotMeta


def entry(index: int, term: int = 1, size: int = 0) -> Entry:
    return Entry(term, index, index, EntryKind.BATCH, bytes(size))


def log_of(*terms: int) -> RaftLog:
    return RaftLog(None, [entry(index, term) for index, term in enumerate(terms, 1)])


def meta(index: int, term: int) -> SnapshotMeta:
    return SnapshotMeta(index, term, index, 0, 0)


def test_an_empty_log_ends_at_zero() -> None:
    log = RaftLog(None, ())
    assert (log.last_id, log.last_time, log.persisted_index) == (EntryId(0, 0), 0, 0)
    assert log.has(EntryId(0, 0))
    assert log.term_at(1) is None


def test_terms_are_known_from_the_base_on() -> None:
    log = log_of(1, 1, 2, 3)
    log.compact(2)
    assert [log.term_at(index) for index in range(6)] == [None, None, 1, 2, 3, None]
    assert (log.base, log.last_id, log.time_at(2)) == (EntryId(1, 2), EntryId(3, 4), 2)
    log._check()


def test_a_run_holds_at_least_one_entry_and_keeps_the_bound() -> None:
    log = RaftLog(None, [entry(index, size=100) for index in range(1, 8)])
    each = 100 + ENTRY_OVERHEAD_BYTES
    assert [e.index for e in log.run(3, 1, 7)[0]] == [3]
    run, size = log.run(3, 2 * each, 7)
    assert ([e.index for e in run], size) == ([3, 4], 2 * each)
    assert len(log.run(1, 10**9, 7)[0]) == 7
    run, size = log.run(2, 10**9, 4)
    assert ([e.index for e in run], size) == ([2, 3, 4], 3 * each)


def test_last_not_above_steps_over_whole_terms() -> None:
    log = log_of(1, 1, 3, 3, 5)
    assert log.last_not_above(5, 5) == EntryId(5, 5)
    assert log.last_not_above(4, 9) == EntryId(3, 4)
    assert log.last_not_above(5, 4) == EntryId(3, 4)
    assert log.last_not_above(99, 2) == EntryId(1, 2)
    assert log.last_not_above(5, 0) == EntryId(0, 0)
    assert log.last_not_above(0, 5) == EntryId(0, 0)


def test_unknown_begins_at_the_first_conflict() -> None:
    log = log_of(1, 1, 2, 2)
    assert list(log.unknown_of([entry(2), entry(3, 2)])) == []
    assert [e.index for e in log.unknown_of([entry(3, 2), entry(4, 3), entry(5, 3)])] == [4, 5]
    assert [e.index for e in log.unknown_of([entry(4, 2), entry(5, 2)])] == [5]


def test_compaction_keeps_about_the_bytes_asked_for() -> None:
    log = RaftLog(None, [entry(index, size=68) for index in range(1, 11)])
    assert log.keep_from(8, 300) == 5
    assert log.keep_from(8, 0) == 8
    assert log.keep_from(8, 10**6) == 0


def test_the_late_report_of_a_truncated_append_acknowledges_nothing() -> None:
    log = log_of(1)
    log.append([entry(2), entry(3)])
    log.pend(1, 2, 3)
    log.truncate(2)
    log.append([entry(2, 2), entry(3, 2)])
    log.pend(2, 2, 3)
    log.persisted(1)
    assert log.persisted_index == 1
    log.persisted(2)
    assert log.persisted_index == 3


def test_appends_from_before_a_reset_acknowledge_nothing() -> None:
    log = log_of(1)
    log.append([entry(index) for index in range(2, 9)])
    log.pend(1, 2, 8)
    log.reset(meta(5, 2), 2)
    log.append([entry(index, 2) for index in range(6, 9)])
    log.pend(3, 6, 8)
    log.persisted(1)
    log._check()
    assert log.persisted_index == 5
    log.persisted(2)
    assert log.persisted_index == 5
    log.persisted(3)
    assert log.persisted_index == 8


def test_a_reset_with_nothing_after_it_voids_older_appends() -> None:
    log = log_of(1)
    log.append([entry(index) for index in range(2, 9)])
    log.pend(1, 2, 8)
    log.reset(meta(5, 2), 2)
    log.persisted(1)
    log._check()
    assert log.persisted_index == 5


@pytest.mark.parametrize("part", range(4))
def test_what_counts_as_persisted_is_what_the_disk_holds(part: int) -> None:
    """Random appends, overwrites, compactions, resets and late reports, against a plain disk."""
    for seed in range(part * 150, (part + 1) * 150):
        random = Random(seed)
        log, disk, pending = RaftLog(None, ()), {}, []
        term = ticket = 1
        for _ in range(40):
            chance, last = random.random(), log.last_index
            if chance < 0.5:
                if random.random() < 0.4 and last > log.base.index:
                    term += 1
                    log.truncate(random.randint(log.base.index + 1, last))
                first = log.last_index + 1
                new = [entry(first + i, term) for i in range(random.randint(1, 4))]
                log.append(new)
                log.pend(ticket, first, new[-1].index)
                pending.append((ticket, new, None))
                ticket += 1
            elif chance < 0.9 and pending:
                done, new, reset = pending.pop(0)
                if reset:
                    disk = dict.fromkeys(range(reset.index + 1), reset.term)
                for each in new:
                    disk = {i: t for i, t in disk.items() if i < each.index}
                    disk[each.index] = each.term
                log.persisted(done)
            elif chance < 0.95:
                log.compact(random.randint(log.base.index, log.persisted_index))
            else:
                term += 1
                snapshot = meta(last + random.randint(1, 3), term)
                log.reset(snapshot, ticket)
                pending.append((ticket, [], snapshot))
                ticket += 1
            log._check()
            for index in range(log.base.index + 1, log.persisted_index + 1):
                assert disk.get(index) == log.term_at(index), (seed, index)
        for done, _, _ in pending:
            log.persisted(done)
        assert log.persisted_index == log.last_index, seed


@pytest.mark.parametrize(
    "entries",
    [
        [entry(5)],
        [entry(4), entry(6)],
        [entry(4, term=1)],
        [entry(4, term=3), entry(5, term=2)],
        [entry(4, term=10)],
        [Entry(3, 4, 9, EntryKind.BATCH, b""), Entry(3, 5, 8, EntryKind.BATCH, b"")],
    ],
    ids=["gap", "gap inside", "below previous", "terms fall", "above leader", "time falls"],
)
def test_a_run_that_no_leader_has_is_refused(entries) -> None:
    with pytest.raises(ProtocolError):
        check_run(EntryId(2, 3), entries, 9)
