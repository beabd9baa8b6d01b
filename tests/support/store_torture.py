"""A member's stores under anything a disk may do, beside a model of what they have to keep.

`Torture` does what a node does: it opens the directory, saves and receives snapshots, appends to
the log, replaces entries, votes, compacts, closes. Its disk fails, fills up and loses power at any
point. After each start, what is found must be what was acknowledged, or that and what was being
written.
"""

import errno
import zlib
from collections import Counter
from random import Random

from watched_disk import PowerCut, WatchedDisk

from syncstructs.errors import DataDirDamaged, StorageError
from syncstructs.raft.effects import Append
from syncstructs.raft.membership import Membership
from syncstructs.raft.messages import Entry, EntryId, EntryKind, HardState, SnapshotMeta
from syncstructs.storage.disk import open_data_dir
from syncstructs.storage.snapshots import DiskSnapshots
from syncstructs.storage.wal import Wal

NOTHING = EntryId(0, 0)


class LogModel:
    """What a log holds, in the plainest way: all of it, whatever was compacted."""

    def __init__(self):
        self.hard_state = HardState()
        self.entries = {}
        self.base = NOTHING

    @property
    def last(self):
        return self.base if not self.entries else next(reversed(self.entries.values())).id

    def copy(self):
        other = LogModel()
        other.__dict__.update(self.__dict__, entries=dict(self.entries))
        return other

    def append(self, append):
        if append.reset is not None:
            self.begin_behind(append.reset)
        if append.hard_state is not None:
            self.hard_state = append.hard_state
        for entry in append.entries:
            while self.last.index >= entry.index:
                self.entries.popitem()
            self.entries[entry.index] = entry

    def begin_behind(self, snapshot):
        self.entries.clear()
        self.base = snapshot.id

    def follow(self, snapshot):
        """Return what is behind a snapshot; begin anew if the log does not contain it."""
        if snapshot is None:
            return tuple(self.entries.values())
        entry = self.entries.get(snapshot.index)
        if self.base != snapshot.id and (entry is None or entry.id != snapshot.id):
            self.begin_behind(snapshot)
        return tuple(entry for index, entry in self.entries.items() if index > snapshot.index)


class Torture:
    """One member's disk through many lives; `seed` decides everything."""

    def __init__(self, seed):
        self.random = Random(f"{seed}/torture")
        self.disk = WatchedDisk(f"{seed}/disk")
        self.segment_bytes = self.random.choice((1, 150, 400, 5000))
        self.model = LogModel()
        self.maybe = []
        """Logs that may be found instead of `model`."""
        self.images = {}
        """All snapshots that may be found, with their content."""
        self.snapshot = None
        """The newest one that was acknowledged."""
        self.floor = NOTHING
        """What is committed: entries up to here are not replaced."""
        self.term = 1
        self.has_failed = False
        """A call of the log has failed in this life."""
        self.directory = self.log = self.snapshots = None
        self.counts = Counter()

    # Lives

    def start(self):
        """Open everything and compare it with the model; False: the disk did not let us."""
        self.directory = None
        try:
            self.directory = open_data_dir("/data", cluster="c", address="a:1", disk=self.disk)
            self.log = Wal(self.directory, segment_bytes=self.segment_bytes)
            self.snapshots = DiskSnapshots(self.directory)
            latest = self.snapshots.latest()
            image = b"" if latest is None else b"".join(self.snapshots.load(latest))
            restored = self.log.load(latest)
        except DataDirDamaged as error:
            raise AssertionError(f"a sound disk is refused: {error}") from error
        except StorageError:
            if self.directory is not None:
                self.directory.close()
            return False
        self._compare_snapshot(latest, image)
        self._compare_log(latest, restored)
        self.counts["start"] += 1
        return True

    def _compare_snapshot(self, latest, image):
        if latest is None:
            assert self.snapshot is None, f"{self.snapshot} is lost"
            return
        assert self.images.get(latest) == image, "a snapshot is another one"
        assert self.snapshot is None or latest.id >= self.snapshot.id, f"{self.snapshot} is lost"
        self.snapshot = latest
        self.floor = max(self.floor, latest.id, key=lambda found: found.index)

    def _compare_log(self, latest, restored):
        allowed = [self.model, *self.maybe]
        found = [model.copy() for model in allowed]
        for model in found:
            if (model.follow(latest), model.hard_state) == (restored.entries, restored.hard_state):
                # What was found counts as durable from now on.
                self.model, self.maybe, self.has_failed = model, [], False
                return
        wanted = [(model.hard_state, [e.id for e in model.entries.values()]) for model in allowed]
        raise AssertionError(
            f"found {restored.hard_state}, {[e.id for e in restored.entries]} behind {latest};"
            f" allowed {wanted}"
        )

    def end(self):
        """Close in good order, which may fail at any point."""
        if not self.has_failed:
            # The last write may be the mark of an orderly end.
            self.maybe.append(self.model)
        self.log.close()
        self.snapshots.close()
        self.directory.close()

    # What a node does; each returns the log as it is if the call succeeds

    def append(self):
        """Append entries, replace some, vote, or all of it, in up to three calls at once."""
        if self.model.last.index < self.floor.index:
            # A snapshot was to be received and was not: nothing else is sent to such a member.
            self.receive_snapshot()
            return
        after, appends = self.model.copy(), []
        for _ in range(self.random.randint(1, 3)):
            append = Append(0)
            if self.random.random() < 0.4:
                self.term += 1
                append.hard_state = HardState(self.term, self.random.choice((None, "a:1", "b:1")))
            append.entries = self._some_entries(after)
            after.append(append)
            appends.append(append)
        self._log(lambda: self.log.append(appends), after)

    def _some_entries(self, model):
        first = model.last.index + 1
        if self.random.random() < 0.3:
            first = self.random.randint(min(self.floor.index + 1, first), first)
            self.term += 1  # only another leader replaces entries
        count = self.random.choice((0, 1, 1, 2, 5))
        size = self.random.choice((0, 10, 60, 700))
        return [
            Entry(self.term, first + n, 0, EntryKind.BATCH, self.random.randbytes(size))
            for n in range(count)
        ]

    def receive_snapshot(self):
        """Receive a snapshot in pieces, and begin the log behind it."""
        reached = max(self.model.last.index, self.floor.index)
        snapshot, image = self._new_snapshot(reached + self.random.randint(1, 5))
        half = len(image) // 2

        def receive():
            self.snapshots.write(snapshot, 0, image[:half])
            self.snapshots.write(snapshot, half, image[half:])
            assert self.snapshots.finish(snapshot)

        if self._snapshot(receive, snapshot):
            after = self.model.copy()
            after.append(append := Append(0, reset=snapshot))
            self._log(lambda: self.log.append([append]), after)

    def save_snapshot(self):
        """Save a snapshot of what is committed, and remove the log up to it."""
        choice = [index for index in self.model.entries if index > self.floor.index]
        if not choice:
            return
        index = self.random.choice(choice)
        snapshot, image = self._new_snapshot(index, self.model.entries[index].term)
        fields = snapshot.index, snapshot.term, snapshot.time, snapshot.membership
        parts = [image[:700], image[700:]]
        if self._snapshot(lambda: self.snapshots.save(*fields, parts), snapshot):
            self._guard(lambda: self.log.compact(self.snapshot.index))

    def read_snapshot(self):
        """Read a piece of the newest snapshot, as for a peer."""
        if (latest := self.snapshots.latest()) is None:
            return
        image = self.images[latest]
        begin = self.random.randint(0, len(image))

        def read():
            assert self.snapshots.read(latest, begin, 500) == image[begin : begin + 500]

        self._guard(read)

    def _new_snapshot(self, index, term=None):
        if term is None:
            self.term += 1
            term = self.term
        image = self.random.randbytes(self.random.choice((0, 30, 1200)))
        snapshot = SnapshotMeta(index, term, 0, len(image), zlib.crc32(image), self._members())
        self.images[snapshot] = image
        return snapshot, image

    def _members(self):
        return Membership(("a:1",), genesis=self.term)

    def _snapshot(self, call, snapshot):
        self.floor = snapshot.id  # committed, or there would be no snapshot of it
        if not self._guard(call):
            return False
        self.snapshot = snapshot
        return True

    def _log(self, call, after):
        if self.has_failed:
            try:
                call()
            except StorageError:
                return
            raise AssertionError("a log whose sync had failed acknowledges")
        self.maybe = [after]
        if self._guard(call):
            self.model, self.maybe = after, []
        else:
            self.has_failed = True

    def _guard(self, call):
        """Return whether a call succeeds; a power cut passes through."""
        try:
            call()
        except StorageError:
            self.counts["refused"] += 1
            return False
        self.log._check()
        self.snapshots._check()
        return True

    # Faults

    def trouble(self):
        """Let something go wrong in what comes next."""
        random, disk = self.random, self.disk
        kind = random.random()
        if kind < 0.4:
            disk.cut_power_in(random.randrange(30))
        elif kind < 0.55:
            disk.fill(random.randrange(500))
        elif kind < 0.85:
            call = random.choice(
                ("sync", "sync", "sync_directory", "write", "create", "truncate", "rename",
                 "unlink", "read")
            )  # fmt: skip
            disk.fail(call, random.choice((errno.EIO, errno.ENOSPC)), times=random.choice((1, 0)))
        else:
            disk.failure_rates = {"read": 0.05, "write": 0.1, "sync": 0.2, "sync_directory": 0.2}

    def fall(self):
        """Lose the power, or only the process."""
        self.disk.heal()
        if self.random.random() < 0.7:
            self.disk.crash()
        else:
            self.disk.kill()

    def go(self, step_count):
        """Live through so many steps, and start once more from a disk that is well."""
        running = False
        for _ in range(step_count):
            try:
                running = self._step(running)
            except PowerCut:
                self.counts["power cut"] += 1
                self.fall()
                running = False
        self.fall()
        assert self.start(), "it does not start though the disk is well"

    def rot(self):
        """Flip a bit on the disk and start; return `damaged`, `harmless`, or `none` if no bit was.

        Nothing may be missing or changed unless the start refuses, and the refusal changes nothing.
        """
        self.fall()
        if self.disk.rot(("log-", "snapshot-", "identity")) is None:
            return "none"
        before = {name: bytes(content) for name, content in self.disk.names.items()}
        try:
            directory = open_data_dir("/data", cluster="c", address="a:1", disk=self.disk)
            snapshots = DiskSnapshots(directory)
            latest = snapshots.latest()
            image = b"" if latest is None else b"".join(snapshots.load(latest))
            restored = Wal(directory, segment_bytes=self.segment_bytes).load(latest)
        except StorageError:
            after = {name: bytes(content) for name, content in self.disk.names.items()}
            gone = [name for name in before if before[name] != after.get(name)]
            assert not [name for name in gone if not name.startswith("snapshot-")], gone
            return "damaged"
        self._compare_snapshot(latest, image)
        self._compare_log(latest, restored)
        return "harmless"

    def _step(self, running):
        random = self.random
        if random.random() < 0.25:
            self.trouble()
        if not running:
            if random.random() < 0.5:
                self.disk.heal()
            return self.start()
        kind = random.random()
        if kind < 0.50:
            self.append()
        elif kind < 0.60:
            self.read_snapshot()
        elif kind < 0.75:
            self.save_snapshot()
        elif kind < 0.80:
            self.receive_snapshot()
        elif kind < 0.87:
            self.end()
            return False
        elif kind < 0.93:
            self.fall()
            return False
        else:
            self.disk.heal()
        return True
