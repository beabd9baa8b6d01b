"""Bugs to plant in `storage/`: what reaches the disk, when, and what is made of it afterwards."""

from functools import partial
from random import Random

from loads import faults

from syncstructs.testing.plans import Fault
from syncstructs.testing.planted import bug

WAL = "storage.wal:Wal."
SNAPSHOTS = "storage.snapshots:DiskSnapshots."

disk_bug = partial(bug, disks=True, profiles=("disk",))

# Many segments and snapshots.
SMALL = {"segment_bytes": 500, "batch_bytes": 60, "snapshot_log_entries": 15, "log_keep_bytes": 1}

# Crashes at a start that follows a crash, at many points of it.
_chance = Random(0)
CRASHES_AT_STARTS = tuple(
    Fault(0.4 * number, "crash_twice", 0.05, _chance.random(), _chance.random())
    for number in range(20)
)

BUGS = (
    disk_bug(
        "log_not_synced",
        "What is written to the log is not synced.",
        (WAL + "_write", "self._file.sync()", "pass"),
    ),
    disk_bug(
        "segment_name_not_synced",
        "The name of a new segment of the log is not synced.",
        (WAL + "_begin_segment", "self._directory.sync()", "pass"),
        # That is synced as well, into the same directory.
        (WAL + "append", "self._note_durable()", "pass"),
    ),
    disk_bug(
        "snapshot_not_synced",
        "A snapshot gets its name before its content is synced.",
        (SNAPSHOTS + "save", "file.sync()", "pass"),
    ),
    disk_bug(
        "received_snapshot_not_synced",
        "A received snapshot gets its name before its content is synced.",
        (SNAPSHOTS + "finish", "incoming.file.sync()", "pass"),
    ),
    disk_bug(
        "snapshot_name_not_synced",
        "The name of a snapshot is not synced before the log it covers is removed.",
        (SNAPSHOTS + "_adopt", "self._directory.sync()", "pass"),
    ),
    disk_bug(
        "failed_sync_forgiven",
        "A write or sync that failed counts as done.",
        (
            WAL + "_fatal",
            "self._failure = str(error) or type(error).__name__\n",
            "if isinstance(error, Exception):\n                return\n",
        ),
    ),
    disk_bug(
        "damage_taken_for_a_torn_tail",
        "Damage in the log is cut off, with all that follows, as if it had never been synced.",
        (WAL + "_judge", "if found.damaged:", "if False:"),
    ),
    disk_bug(
        "torn_tail_stays",
        "What a crash has left behind the last whole write is not cut off.",
        (
            WAL + "_settle",
            "if self._file.size() != segment.size:",
            "if False:",
        ),
        fields={
            "disks": True, "settings": SMALL,
            "faults": faults(("crash_soon", "crash_twice"), every=0.2, span=0.1, count=35),
        },
    ),
    disk_bug(
        "segment_removed_too_early",
        "A segment is removed although the snapshot does not cover all of it.",
        (
            WAL + "compact",
            "self._segments[0].highest_index <= index:",
            "self._segments[0].highest_index <= index + 4:",
        ),
        fields={"settings": SMALL},
    ),
    disk_bug(
        "segment_begins_without_vote",
        "A new segment of the log does not take over term and vote.",
        (
            WAL + "_begin_segment",
            "header = _Header(_FORMAT, self._directory.identity.id, number, last, hard_state)",
            "header = _Header(_FORMAT, self._directory.identity.id, number, last, HardState())",
        ),
    ),
    disk_bug(
        "snapshot_not_verified",
        "A snapshot is loaded whatever its checksum says.",
        (SNAPSHOTS + "_verify", "if checksum != snapshot.checksum:", "if False:"),
        fields={"settings": SMALL},
    ),
    disk_bug(
        "found_and_marked_at_once",
        "What a start finds is written again and marked as whole with one sync.",
        (WAL + "_settle", "        self._file.sync()\n", ""),
        fields={"size": 3, "chaos": 8.0, "faults": CRASHES_AT_STARTS},
    ),
)
