"""The log on disk: what was acknowledged is there again, and damage is told from a torn tail."""

import errno
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from watched_disk import PowerCut, WatchedDisk

from syncstructs.errors import DataDirDamaged, StorageError
from syncstructs.raft.effects import Append
from syncstructs.raft.messages import Entry, EntryKind, HardState, Restored, SnapshotMeta
from syncstructs.storage.disk import OsDisk, open_data_dir
from syncstructs.storage.memory import MemoryLog
from syncstructs.storage.replay import Piece
from syncstructs.storage.wal import Wal

SMALL = 250
NOTED = [
    ("unlink", "identity.json.new"), ("create", "identity.json.new"),
    ("write", "identity.json.new"), ("sync", "identity.json.new"), ("rename", "identity.json"),
    ("sync_directory", "data"),
]  # fmt: skip


def entry(index, term=1, payload=b"payload"):
    return Entry(term, index, index * 10, EntryKind.BATCH, payload)


def snapshot_at(index, term=1):
    return SnapshotMeta(index, term, index * 10, 5, 0)


def entries(*indexes, term=1):
    return Append(0, entries=[entry(index, term) for index in indexes])


def open_log(disk, snapshot=None, *, segment_bytes=SMALL):
    directory = open_data_dir("/data", cluster="c", address="a:1", disk=disk)
    log = Wal(directory, segment_bytes=segment_bytes)
    try:
        return log, log.load(snapshot)
    except BaseException:
        directory.close()
        raise


def reopened(disk, snapshot=None):
    disk.kill()
    return open_log(disk, snapshot)[1]


def segments(disk):
    return sorted(name for name in disk.names if name.startswith("log-"))


# One write, one sync


def test_a_call_is_one_write_and_one_sync_however_much_it_holds():
    disk = WatchedDisk()
    log, restored = open_log(disk, segment_bytes=10_000)
    assert restored == Restored(blank=True, lasting=True)
    disk.calls.clear()
    log.append([Append(1, HardState(3, "b:1")), entries(1, 2), entries(3), entries(2, 3, term=2)])
    name = segments(disk)[0]
    assert disk.calls == [("write", name), ("sync", name)]
    disk.calls.clear()
    log.append([])
    assert disk.calls == []
    assert reopened(disk) == Restored(
        HardState(3, "b:1"), None, (entry(1), entry(2, 2), entry(3, 2)), lasting=True
    )


def test_a_new_segment_is_durable_by_name_before_the_call_returns():
    disk = WatchedDisk()
    log, _ = open_log(disk)
    for index in range(1, 30):
        disk.calls.clear()
        before = segments(disk)
        log.append([entries(index)])
        log._check()
        new = segments(disk)[-1]
        if new != before[-1]:
            assert disk.calls == [
                ("create", new), ("write", new), ("sync", new), ("sync_directory", "data"),
                *NOTED,
            ]  # fmt: skip
    assert len(segments(disk)) > 5
    assert [e.index for e in reopened(disk).entries] == list(range(1, 30))


def test_what_is_loaded_is_durable_before_it_is_relied_on():
    read_back = set()
    for seed in range(30):
        disk = WatchedDisk(seed)
        log, _ = open_log(disk)
        log.append([entries(1)])
        disk.fail("sync", name="log-")
        with pytest.raises(StorageError, match="input/output error"):
            log.append([entries(2)])
        # The pages count as clean now, so a sync alone would say that all is well.
        disk.heal()
        found = reopened(disk).entries
        read_back.add(len(found))
        disk.crash()
        assert open_log(disk)[1].entries == found
    assert read_back == {1, 2}


def unsynced(seed):
    """Return a disk whose process was killed between the last write and its sync."""
    disk = WatchedDisk(seed)
    log, _ = open_log(disk, segment_bytes=9999)
    log.append([entries(1)])
    disk.cut_power_in(3)
    with pytest.raises(PowerCut):
        log.append([Append(1, entries=[entry(2, payload=bytes(range(256)) * 8)])])
    assert disk.calls[-1][0] == "sync"
    disk.kill()
    return disk


def test_a_power_cut_while_a_start_makes_durable_what_it_found_is_no_damage():
    for seed in range(60):
        for points in range(30):
            disk = unsynced(seed)
            disk.cut_power_in(points)
            try:
                found = [[e.index for e in open_log(disk)[1].entries]]
            except PowerCut:
                found = [[1], [1, 2]]
            disk.crash()
            assert [e.index for e in open_log(disk)[1].entries] in found
            if len(found) == 1:
                break
        else:
            raise AssertionError("it never got through")


def test_starts_that_fail_to_make_durable_what_they_found_leave_it_to_the_next():
    for seed in range(60):
        disk = unsynced(seed)
        disk.fail("sync", name="log-", times=1 + seed % 3)
        for _ in range(seed % 3 + 1):
            with pytest.raises(StorageError, match="input/output error"):
                open_log(disk)
            disk.kill()
        found = open_log(disk)[1].entries
        disk.crash()
        assert open_log(disk)[1].entries == found


# A disk that fails


@pytest.mark.parametrize(
    ("call", "number", "message"),
    [
        ("write", errno.ENOSPC, "the disk is full"),
        ("sync", errno.ENOSPC, "the disk is full"),
        ("write", errno.EIO, "input/output error"),
        ("sync", errno.EIO, "input/output error"),
        ("create", errno.ENOSPC, "the disk is full"),
        ("sync_directory", errno.EIO, "input/output error"),
    ],
)
def test_after_a_failure_nothing_can_be_appended_any_more(call, number, message):
    disk = WatchedDisk()
    log, _ = open_log(disk, segment_bytes=1)  # each call begins a segment
    log.append([entries(1)])
    disk.fail(call, number)
    with pytest.raises(StorageError, match=message):
        log.append([entries(2)])
    disk.heal()
    for _ in range(2):
        with pytest.raises(StorageError, match=f"cannot be used any more.*{message}"):
            log.append([entries(2)])
    with pytest.raises(StorageError):
        log.compact(1)
    log.close()
    assert [e.index for e in reopened(disk).entries] in ([1], [1, 2])


def test_a_log_that_was_closed_refuses_and_closes_again():
    disk = WatchedDisk()
    log, _ = open_log(disk)
    log.append([entries(1)])
    log.close()
    log.close()
    with pytest.raises(StorageError, match="it was closed"):
        log.append([entries(2)])


def test_a_gap_is_a_bug_of_the_caller():
    log, _ = open_log(WatchedDisk())
    log.append([entries(1)])
    with pytest.raises(AssertionError, match="leaves a gap"):
        log.append([entries(3)])


# Torn tails and damage


def history(disk):
    """Write three segments; return how the log looks before and after the last call."""
    log, _ = open_log(disk)
    log.append([Append(1, HardState(1, "a:1"))])
    for index in range(1, 11):
        log.append([entries(index)])
    return log


def test_a_last_write_cut_or_zeroed_anywhere_is_torn_and_nothing_else_is_lost():
    disk = WatchedDisk()
    history(disk)
    name = segments(disk)[-1]
    assert len(segments(disk)) >= 3
    disk.kill()
    log, _ = open_log(disk, segment_bytes=10_000)
    synced = bytes(disk.names[name])
    log.append([entries(11, 12), entries(12, 13, term=2)])
    assert segments(disk)[-1] == name
    whole = bytes(disk.names[name])
    before, after = list(range(1, 11)), list(range(1, 14))
    torn = []
    for size in range(len(synced), len(whole)):
        torn += [whole[:size], whole[:size] + bytes(len(whole) - size), whole[:size] + bytes(99)]
    for block in (1, 8, 64):
        for at in range(len(synced), len(whole), block):
            lost = whole[:at] + bytes(block) + whole[at + block :]
            torn.append(lost[: len(whole)])
    for content in torn:
        copy = disk.copy()
        copy.names[name][:] = content
        log, restored = open_log(copy)
        found = [e.index for e in restored.entries]
        assert found == (after if content[: len(whole)] == whole else before)
        log._check()
        log.append([entries(len(found) + 1, term=3)])
        assert [e.index for e in reopened(copy).entries] == [*found, len(found) + 1]


def test_a_segment_whose_first_write_was_torn_never_was():
    disk = WatchedDisk()
    log, _ = open_log(disk, segment_bytes=1)
    log.append([Append(1, HardState(4, "b:1"), entries=[entry(1)])])
    kept = segments(disk)
    identity = bytes(disk.names["identity.json"])
    log.append([entries(2)])
    name = segments(disk)[-1]
    whole = bytes(disk.names[name])
    for content in [*(whole[:size] for size in range(len(whole))), bytes(len(whole))]:
        copy = disk.copy()
        copy.names[name][:] = content
        with pytest.raises(DataDirDamaged, match="more was acknowledged"):
            open_log(copy.copy(), segment_bytes=1)
        # The crash came before it was noted that the write is durable.
        copy.names["identity.json"][:] = identity
        log, restored = open_log(copy, segment_bytes=1)
        assert (restored.hard_state, restored.entries) == (HardState(4, "b:1"), (entry(1),))
        assert segments(copy) == kept
        log.append([entries(2)])
        assert [e.index for e in reopened(copy).entries] == [1, 2]


@pytest.mark.parametrize("closed", [False, True])
def test_a_flipped_bit_in_what_was_acknowledged_is_damage(closed):
    disk = WatchedDisk()
    log = history(disk)
    *_, last = segments(disk)
    kept = len(disk.names[last])
    log.append([entries(11)])
    assert segments(disk)[-1] == last
    if closed:
        # The mark of a clean end guards the last write as well.
        kept = len(disk.names[last])
        log.close()
    for name in segments(disk):
        size = kept if name == last else len(disk.names[name])
        for at in range(size):
            copy = disk.copy()
            copy.names[name][at] ^= 1 << at % 8
            before = {n: bytes(content) for n, content in copy.names.items()}
            with pytest.raises(DataDirDamaged, match=f"{name}' is damaged at byte \\d+: .*Restore"):
                open_log(copy)
            assert before == {n: bytes(content) for n, content in copy.names.items()}


def test_what_a_start_found_is_guarded_from_then_on():
    disk = WatchedDisk()
    log, _ = open_log(disk)
    log.append([entries(1)])
    reopened(disk)
    name = segments(disk)[0]
    at = bytes(disk.names[name]).index(b"payload")
    disk.names[name][at] ^= 1
    with pytest.raises(DataDirDamaged):
        reopened(disk)


@pytest.mark.parametrize("noter", ["start", "close", "compact"])
def test_an_end_of_the_log_that_was_noted_as_durable_cannot_be_cut_off_or_written_over(noter):
    disk = WatchedDisk()
    log = history(disk)
    noise = Random(1).randbytes(5000)
    if noter == "start":
        disk.kill()
        log, _ = open_log(disk)
    elif noter == "close":
        log.close()
    else:
        log.compact(1)
    name = segments(disk)[-1]
    whole = bytes(disk.names[name])
    contents = [whole[:size] for size in range(len(whole))]
    contents += [noise[: len(whole)], noise, bytes(len(whole)), whole[: len(whole) // 2] + noise]
    contents += [bytes(disk.names[segments(disk)[0]]), None]
    for content in contents:
        copy = disk.copy()
        if content is None:
            copy.remove(name)
        else:
            copy.names[name][:] = content
        before = {n: bytes(held) for n, held in copy.names.items()}
        with pytest.raises(DataDirDamaged, match=r"more was acknowledged, and is .*Restore"):
            open_log(copy)
        assert before == {n: bytes(held) for n, held in copy.names.items()}
    # What was written since may be torn, and nobody can tell.
    if noter != "close":
        log.append([entries(11)])
        del disk.names[name][len(whole) :]
        assert [e.index for e in reopened(disk).entries] == list(range(1, 11))


def test_a_segment_cut_off_before_the_last_one_is_damage():
    disk = WatchedDisk()
    history(disk)
    first, *_ = segments(disk)
    for size in range(0, len(disk.names[first]), 7):
        copy = disk.copy()
        del copy.names[first][size:]
        with pytest.raises(DataDirDamaged, match=r"it ends badly|whole records follow"):
            open_log(copy)


def test_missing_segments_are_damage():
    disk = WatchedDisk()
    history(disk)
    first, second, *_ = segments(disk)
    for gone, message in [
        ([first], "begins after entry .* the newest snapshot reaches to entry 0 only"),
        ([second], "it does not follow 'log-"),
        (segments(disk), "the files of the log in '/data' are gone"),
    ]:
        copy = disk.copy()
        for name in gone:
            copy.remove(name)
        with pytest.raises(DataDirDamaged, match=message):
            open_log(copy)


def test_a_segment_of_another_directory_is_damage():
    disk, other = WatchedDisk(1), WatchedDisk(2)
    open_log(disk)
    open_log(other)
    [mine], [theirs] = segments(disk), segments(other)
    disk.remove(mine)
    disk.put(theirs, other.names[theirs])
    with pytest.raises(DataDirDamaged, match="it is the file of another directory"):
        reopened(disk)


# The snapshot beside it


def filled(term_of=lambda index: 1, last=10):
    disk = WatchedDisk()
    log, _ = open_log(disk)
    for index in range(1, last + 1):
        log.append([entries(index, term=term_of(index))])
    return disk, log


def test_entries_that_a_snapshot_covers_are_left_out():
    disk, _ = filled()
    assert [e.index for e in reopened(disk, snapshot_at(4)).entries] == [5, 6, 7, 8, 9, 10]
    assert reopened(disk, snapshot_at(10)).entries == ()


@pytest.mark.parametrize("snapshot", [snapshot_at(15), snapshot_at(8, term=2), snapshot_at(10, 2)])
def test_a_log_that_does_not_contain_the_snapshot_begins_anew_behind_it(snapshot):
    disk, _ = filled()
    disk.kill()
    log, restored = open_log(disk, snapshot)
    assert (restored.snapshot, restored.entries) == (snapshot, ())
    following = entry(snapshot.index + 1, 2)
    log.append([Append(1, entries=[following])])
    assert reopened(disk, snapshot).entries == (following,)


def test_a_snapshot_may_come_before_any_log():
    disk = WatchedDisk()
    log, restored = open_log(disk, snapshot_at(7))
    # Whoever has written no hard state has said nothing, and may have forgotten all.
    assert restored == Restored(HardState(), snapshot_at(7), (), blank=True, lasting=True)
    log.append([entries(8)])
    assert reopened(disk, snapshot_at(7)).entries == (entry(8),)


def test_entries_missing_between_snapshot_and_log_are_damage():
    disk, log = filled()
    log.append([Append(1, reset=snapshot_at(20), entries=[entry(21)])])
    for snapshot in (None, snapshot_at(10), snapshot_at(19)):
        with pytest.raises(DataDirDamaged, match="begins after entry 20, but the newest snapshot"):
            reopened(disk, snapshot)
    assert reopened(disk, snapshot_at(20)).entries == (entry(21),)


def test_a_reset_drops_all_that_is_not_appended_again():
    disk, log = filled()
    log.append([Append(1, reset=snapshot_at(5), entries=[entry(6, 3), entry(7, 3)])])
    assert reopened(disk, snapshot_at(5)).entries == (entry(6, 3), entry(7, 3))


def test_compaction_removes_covered_segments_and_keeps_the_hard_state():
    disk = WatchedDisk()
    log, _ = open_log(disk)
    log.append([Append(1, HardState(9, "b:1"))])
    for index in range(1, 30):
        log.append([entries(index, term=9)])
    before = segments(disk)
    disk.calls.clear()
    log.compact(20)
    log._check()
    gone = [name for name in before if name not in segments(disk)]
    assert len(gone) >= 3
    # Oldest first, each durable before the next: no power cut leaves a hole.
    removed = [("unlink", name) for name in gone]
    assert disk.calls == [
        *(call for one in removed for call in (one, ("sync_directory", "data"))), *NOTED
    ]
    restored = reopened(disk, snapshot_at(20, 9))
    assert restored.hard_state == HardState(9, "b:1")
    assert [e.index for e in restored.entries] == list(range(21, 30))


def test_what_replaced_entries_of_a_removed_segment_still_counts():
    disk = WatchedDisk()
    log, _ = open_log(disk, segment_bytes=1)
    log.append([entries(1, 2, 3, 4, 5)])
    log.append([entries(3, 4, term=2)])  # replaces 3 to 5, a segment further on
    log.append([entries(5, 6, term=2)])
    log.compact(5)
    assert len(segments(disk)) == 1  # nothing but the last call is left
    assert reopened(disk, snapshot_at(5, 2)).entries == (entry(6, 2),)


def test_replaced_entries_below_the_base_of_the_first_segment_left_are_skipped():
    disk = WatchedDisk()
    log, _ = open_log(disk, segment_bytes=1)
    log.append([entries(1, 2, 3, 4, 5)])
    log.append([entries(3, 4, 5, 6, 7, term=2)])  # begins behind entry 5, and goes back to 3
    log.compact(6)
    assert len(segments(disk)) == 1
    assert reopened(disk, snapshot_at(6, 2)).entries == (entry(7, 2),)
    assert [e.index for e in reopened(disk, snapshot_at(5, 2)).entries] == [6, 7]
    with pytest.raises(DataDirDamaged, match="begins after entry 5"):
        reopened(disk, snapshot_at(4))


def test_an_old_segment_that_cannot_be_removed_does_not_end_the_log():
    disk, log = filled()
    disk.fail("unlink", errno.EACCES)
    with pytest.raises(StorageError, match="remove old log files in '/data': permission denied"):
        log.compact(8)
    disk.heal()
    log.append([entries(11)])
    assert [e.index for e in reopened(disk, snapshot_at(8)).entries] == [9, 10, 11]


def test_a_large_append_is_one_write_and_is_read_back(monkeypatch):
    monkeypatch.setattr("syncstructs.storage.wal._RUN_BYTES", 1000)
    disk = WatchedDisk()
    log, _ = open_log(disk)
    many = [entry(index, payload=bytes(300)) for index in range(1, 20)]
    log.append([Append(1, entries=many)])
    assert reopened(disk).entries == tuple(many)


def test_it_works_on_the_disk_of_the_system(tmp_path):
    def start(snapshot=None):
        directory = open_data_dir(tmp_path, cluster="c", address="a:1", disk=OsDisk())
        log = Wal(directory, segment_bytes=500)
        return directory, log, log.load(snapshot)

    directory, log, _ = start()
    for index in range(1, 40):
        log.append([entries(index)])
    log.compact(20)
    log._check()
    log.close()
    directory.close()
    directory, log, restored = start(snapshot_at(20))
    assert [e.index for e in restored.entries] == list(range(21, 40))
    log.close()
    directory.close()


# Against a model, with crashes


class Model:
    """What a log should hold, in the plainest way."""

    def __init__(self):
        self.hard_state = HardState()
        self.entries = {}
        self.last = 0

    def clone(self):
        other = Model()
        other.__dict__.update(self.__dict__, entries=dict(self.entries))
        return other

    def append(self, append):
        if append.reset is not None:
            self.entries.clear()
            self.last = append.reset.index
        if append.hard_state is not None:
            self.hard_state = append.hard_state
        for e in append.entries:
            for index in [index for index in self.entries if index >= e.index]:
                del self.entries[index]
            self.entries[e.index] = e
            self.last = e.index

    def restored(self, snapshot):
        covered = 0 if snapshot is None else snapshot.index
        kept = tuple(e for index, e in sorted(self.entries.items()) if index > covered)
        blank = self.hard_state == HardState()
        return Restored(self.hard_state, snapshot, kept, blank, lasting=True)


class LogMachine(RuleBasedStateMachine):
    """Any calls, kills and power cuts: what is found again is what was acknowledged."""

    @initialize(size=st.sampled_from([1, 120, 300, 5000]))
    def begin(self, size):
        self.disk = WatchedDisk()
        self.size = size
        self.snapshot = None
        self.model = Model()
        self.term = 1
        self.memory = MemoryLog(lasting=True)
        self.start([self.model])

    def start(self, allowed):
        """Open the log and take over which of the `allowed` states it is in."""
        self.directory = open_data_dir("/data", cluster="c", address="a:1", disk=self.disk)
        self.log = Wal(self.directory, segment_bytes=self.size)
        restored = self.log.load(self.snapshot)
        matching = [model for model in allowed if model.restored(self.snapshot) == restored]
        assert matching, (restored, [model.restored(self.snapshot) for model in allowed])
        self.model = matching[0]

    def guarded(self, action, after, cut, seed):
        """Run `action`; if the power is cut inside, the log is as before or as `after`."""
        self.disk.cut_power_in(cut)
        try:
            action()
        except PowerCut:
            self.recover([after, self.model], seed)
        else:
            self.disk.cut_power_in(None)
            self.model = after

    def recover(self, allowed, seed):
        """Start again, with one more power cut while loading."""
        self.disk.crash(seed)
        self.disk.cut_power_in(seed % 70)
        try:
            self.start(allowed)
        except PowerCut:
            self.disk.crash(seed + 1)
            self.start(allowed)
        self.disk.cut_power_in(None)
        self.memory = MemoryLog(lasting=True)
        first = Append(0, self.model.hard_state, self.snapshot)
        first.entries = list(self.model.restored(self.snapshot).entries)
        self.memory.append([first])

    def run(self, appends, cut, seed):
        after = self.model.clone()
        for append in appends:
            after.append(append)
        before = self.memory
        self.guarded(lambda: self.log.append(appends), after, cut, seed)
        if self.memory is before:
            self.memory.append(appends)

    cuts = st.none() | st.integers(0, 15)
    seeds = st.integers(0, 2**32)

    def some_entries(self, data, model, floor):
        """Draw entries that follow or replace the end of the log, above what is covered."""
        first = data.draw(st.integers(floor + 1, model.last + 1))
        if first <= model.last:
            self.term += 1  # only another leader replaces entries
        count = data.draw(st.integers(0, 4))
        payloads = data.draw(st.lists(st.binary(max_size=40), min_size=count, max_size=count))
        return [entry(first + n, self.term, payload) for n, payload in enumerate(payloads)]

    @rule(data=st.data(), calls=st.integers(1, 3), cut=cuts, seed=seeds)
    def append(self, data, calls, cut, seed):
        model, appends = self.model.clone(), []
        floor = 0 if self.snapshot is None else self.snapshot.index
        for _ in range(calls):
            append = Append(0)
            if data.draw(st.booleans()):
                vote = data.draw(st.sampled_from([None, "a:1", "b:1"]))
                append.hard_state = HardState(self.term, vote)
            append.entries = self.some_entries(data, model, floor)
            model.append(append)
            appends.append(append)
        self.run(appends, cut, seed)

    @rule(ahead=st.integers(0, 5), again=st.integers(0, 2), cut=cuts, seed=seeds)
    def receive_snapshot(self, ahead, again, cut, seed):
        floor = 0 if self.snapshot is None else self.snapshot.index
        index = max(floor + 1, self.model.last - 2 + ahead)
        self.term += 1
        self.snapshot = snapshot_at(index, self.term)
        # A crash from here to the reset leaves a log that does not contain this entry.
        self.model.entries.clear()
        self.model.last = index
        follow = [entry(index + 1 + n, self.term) for n in range(again)]
        self.run([Append(0, reset=self.snapshot, entries=follow)], cut, seed)

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), cut=cuts, seed=seeds)
    def take_snapshot_and_compact(self, data, cut, seed):
        index = data.draw(st.sampled_from(sorted(self.model.entries)))
        floor = 0 if self.snapshot is None else self.snapshot.index
        if index <= floor:
            return
        self.snapshot = snapshot_at(index, self.model.entries[index].term)
        self.guarded(lambda: self.log.compact(index), self.model, cut, seed)
        self.memory.compact(index)

    @rule()
    def kill(self):
        self.disk.kill()
        self.start([self.model])

    @rule(seed=seeds)
    def power_cut(self, seed):
        self.recover([self.model], seed)

    @rule(cut=cuts, seed=seeds)
    def close(self, cut, seed):
        def close():
            self.log.close()
            self.directory.close()

        self.guarded(close, self.model, cut, seed)
        self.disk.kill()
        self.start([self.model])

    @invariant()
    def is_consistent(self):
        if hasattr(self, "log"):
            self.log._check()
            self.memory._check()
            assert self.memory.load(self.snapshot) == self.model.restored(self.snapshot)


LogMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
test_any_calls_and_crashes_keep_what_was_acknowledged = LogMachine.TestCase


@given(st.binary(max_size=200))
def test_a_file_of_any_bytes_in_place_of_the_last_segment_gives_a_log_or_a_storage_error(noise):
    disk = WatchedDisk()
    log, _ = open_log(disk)
    log.append([entries(1)])
    name = f"log-000000000002-{'11' * 4}.wal"
    disk.put(name, noise)
    assert reopened(disk).entries == (entry(1),)


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(0, 1, 0, EntryKind.NOOP, b"")],
        [Entry(1, 1, -1, EntryKind.NOOP, b"")],
        [Entry(1, 1, 5, EntryKind.NOOP, b""), Entry(1, 2, 4, EntryKind.NOOP, b"")],
        [Entry(2, 1, 5, EntryKind.NOOP, b""), Entry(1, 2, 5, EntryKind.NOOP, b"")],
        [Entry(1, 1, 5, EntryKind.MEMBERSHIP, b"none")],
    ],
)
def test_a_record_that_no_release_writes_is_damage_though_its_checksum_is_right(entries):
    disk = WatchedDisk()
    log, _ = open_log(disk)
    log._write(log._segments[-1].size, [log._record(Piece(entries=entries))])
    with pytest.raises(DataDirDamaged, match="a whole record has no meaning"):
        reopened(disk)
