"""Loads and faults under which planted bugs show: what plans bring about rarely, often."""

from collections.abc import Sequence
from random import Random
from typing import Any

from syncstructs.testing.plans import Fault
from syncstructs.testing.planted import SHORT_SESSIONS


def faults(
    kinds: Sequence[str], *, every: float, span: float, count: int, least: float = 0.0
) -> tuple[Fault, ...]:
    """Return faults of these kinds by turns; `least`: how bad each is at the least."""
    chance = Random(0)
    return tuple(
        Fault(
            every * (number + 1), kinds[number % len(kinds)], span, chance.random(),
            least + chance.random() * (1.0 - least),
        )
        for number in range(count)
    )  # fmt: skip


_TIMES: dict[str, Any] = {
    "election_timeout_min": 0.2, "election_timeout_max": 0.4, "heartbeat_interval": 0.08,
    "session_ttl": 1.0,
}  # fmt: skip

# Elections that often have no winner at first, so that terms differ.
SPLIT_VOTES: dict[str, Any] = {
    "size": 5,
    "settings": {
        "election_timeout_min": 0.15, "election_timeout_max": 0.16, "heartbeat_interval": 0.05,
        "session_ttl": 1.0,
    },
}  # fmt: skip

# Snapshots at every turn, in small pieces.
SMALL_SNAPSHOTS: dict[str, Any] = {
    "size": 3,
    "settings": _TIMES | {
        "snapshot_log_entries": 4, "snapshot_log_bytes": 1, "log_keep_bytes": 1, "chunk_bytes": 300,
    },
}

# The same, slowly: newer ones are taken before one has arrived.
OUTPACED: dict[str, Any] = SMALL_SNAPSHOTS | {
    "settings": SMALL_SNAPSHOTS["settings"] | {"snapshot_rate": 3000.0},
}

# The same for two members at a time, and slowly.
THROTTLED: dict[str, Any] = {
    "size": 5, "think": 0.1, "clients": 2,
    "settings": SMALL_SNAPSHOTS["settings"] | {
        "snapshot_log_bytes": 1_000_000, "snapshot_rate": 5000.0,
    },
    "faults": faults(("crash", "isolate"), every=0.3, span=0.8, count=40),
}  # fmt: skip
# Leaders that are elected again at once, and send much at a time.
THROTTLED_TERMS: dict[str, Any] = {
    "size": 3, "think": 0.1, "clients": 2,
    "settings": SPLIT_VOTES["settings"] | {
        "snapshot_log_entries": 4, "log_keep_bytes": 1, "chunk_bytes": 2000,
        "snapshot_rate": 1000.0,
    },
    "faults": faults(("crash", "isolate_leader", "crash"), every=0.4, span=0.2, count=40),
}  # fmt: skip

# Snapshots that take long to send, while much is written.
THROTTLED_LOAD: dict[str, Any] = {
    "size": 3, "observers": 2, "think": 0.05, "clients": 3, "chaos": 6.0,
    "settings": SMALL_SNAPSHOTS["settings"] | {
        "snapshot_log_bytes": 2000, "snapshot_rate": 2000.0,
    },
    "faults": faults(("crash", "isolate"), every=1.0, span=1.0, count=5),
}  # fmt: skip

# Snapshots in small pieces, on disks that fail to write some of them.
FAILED_CHUNKS: dict[str, Any] = SMALL_SNAPSHOTS | {
    "disks": True,
    "faults": faults(("isolate", "failing_disk"), every=0.25, span=0.4, count=30, least=0.5),
}  # fmt: skip

# Comparisons of the states at every turn.
COMPARING: dict[str, Any] = {"settings": _TIMES | {"digest_interval": 0.2}}

# Leaders that lead on long after others have been elected, and then reach them.
STUBBORN: dict[str, Any] = {
    "size": 3, "clients": 2, "think": 0.1,
    "settings": {
        "election_timeout_min": 0.1, "election_timeout_max": 1.2, "heartbeat_interval": 0.04,
        "session_ttl": 4.0,
    },
    "faults": faults(("isolate_leader",), every=0.9, span=0.5, count=9),
}  # fmt: skip

# The same with much that only they have, while the others leave it behind: the logs of these begin
# where their own goes on otherwise.
PARTED: dict[str, Any] = STUBBORN | {
    "clients": 3, "think": 0.05, "mixes": {"pipeline": 1.0},
    "settings": STUBBORN["settings"] | {
        "batch_bytes": 1, "snapshot_log_entries": 4, "snapshot_log_bytes": 1, "log_keep_bytes": 1,
        "chunk_bytes": 2000,
    },
    "faults": tuple(
        fault for number in range(5)
        for fault in faults(("isolate_leader",), every=0.7, span=0.25 + 0.07 * number, count=12,
            least=0.2)[number::5]
    ),
}  # fmt: skip

# Disks so slow that elections and heartbeats overtake them.
SLOW_DISKS: dict[str, Any] = {
    "settings": _TIMES,
    "faults": faults(
        ("slow_disk", "crash_leader", "slow_disk", "isolate_leader"), every=0.25, span=0.5,
        count=30, least=0.6,
    ),
}  # fmt: skip

# Minorities that follow a leader when the others have another one, and then go over to that.
TORN: dict[str, Any] = STUBBORN | {
    "size": 5, "faults": faults(("split",), every=1.0, span=0.6, count=10, least=0.2)
}

# Methods that change much of an object at once.
SWEEPS: dict[str, Any] = {
    "mixes": {"sweep": 3.0, "change_list": 1.0, "read": 1.0}, "think": 0.1, "clients": 2,
}  # fmt: skip

# Callers of one node that give up waiting for what others of it hold.
RIVALS: dict[str, Any] = {
    "mixes": {"hold": 1.0, "hold_key": 1.0}, "give_up": 0.6, "think": 0.05, "clients": 3, "keys": 1,
}  # fmt: skip

# Nodes that stand still, or are cut off, for longer than the session by which they hold a lock.
HELD: dict[str, Any] = SHORT_SESSIONS | {
    "mixes": {"hold": 1.0, "hold_key": 1.0}, "think": 0.05, "clients": 2, "keys": 2,
    "faults": faults(("isolate_holder", "pause_holder"), every=0.7, span=0.3, count=10),
}  # fmt: skip

# Followers that take snapshots while their callers wait for locks.
SKIPPED_LOCKS: dict[str, Any] = SMALL_SNAPSHOTS | {
    "mixes": {"hold": 1.0, "hold_key": 1.0}, "think": 0.05, "clients": 3, "keys": 2,
    "faults": faults(("isolate", "crash"), every=0.3, span=0.3, count=25),
}  # fmt: skip

# Callers of queues that give up while what they wait for is on its way.
IMPATIENT: dict[str, Any] = {
    "mixes": {"put": 1.0, "get": 1.0}, "give_up": 0.6, "think": 0.05, "clients": 3,
}  # fmt: skip
LATE_ITEMS: dict[str, Any] = IMPATIENT | {
    "faults": faults(("lag",), every=0.5, span=0.4, count=20, least=0.5)
}

# Nodes that lose their session and hear of it by a snapshot, in the midst of their calls.
CUT_OFF: dict[str, Any] = SHORT_SESSIONS | {
    "mixes": {"pipeline": 1.0, "count": 1.0}, "think": 0.05, "clients": 3,
    "faults": faults(("isolate",), every=1.2, span=0.9, count=8, least=0.2),
}  # fmt: skip

# More calls than a leader may have uncommitted, or has room for: it takes more nodes than it keeps
# windows for.
CROWDED: dict[str, Any] = {
    "size": 5, "mixes": {"pipeline": 1.0}, "clients": 5, "think": 0.05,
    "settings": _TIMES | {"append_window_bytes": 100, "append_bytes": 100, "batch_bytes": 2000},
    "faults": SLOW_DISKS["faults"],
}  # fmt: skip

# Members that give several votes while a segment of their log is full.
SPLIT_SEGMENTS: dict[str, Any] = SPLIT_VOTES | {
    "settings": SPLIT_VOTES["settings"] | {"segment_bytes": 500},
    "faults": faults(
        ("crash_leader", "isolate_leader"), every=0.4, span=0.2, count=20, least=0.4
    ),
}  # fmt: skip

# Members that stand for election while all others hear the leader.
HASTY: dict[str, Any] = {"faults": faults(("jump", "cut"), every=0.3, span=0.3, count=25)}

# Followers that have what a snapshot covers, but not yet on their disk, when it is sent to them.
SLOW_SNAPSHOTS: dict[str, Any] = SMALL_SNAPSHOTS | {
    "think": 0.03, "clients": 3,
    "settings": SMALL_SNAPSHOTS["settings"] | {"batch_bytes": 1},
    "faults": faults(("stall_disk", "reset", "reset", "reset"), every=0.3, span=2.5, count=30),
}  # fmt: skip

# Snapshots of which pieces come with bits flipped, to nodes that were cut off.
GARBLED: dict[str, Any] = SMALL_SNAPSHOTS | {
    "faults": faults(("isolate", "garble"), every=0.25, span=0.5, count=30),
}  # fmt: skip

# Nodes that were closed in an orderly way, and whose disks then rot.
CLOSED: dict[str, Any] = {
    "size": 3, "faults": faults(("rot_closed",), every=1.0, span=0.1, count=4)
}  # fmt: skip

# Nodes whose session was opened and has ended, before they hear of either, in a snapshot.
STRANDED: dict[str, Any] = {
    "size": 3, "think": 0.05, "clients": 3,
    "settings": SHORT_SESSIONS["settings"] | {
        "snapshot_log_entries": 4, "snapshot_log_bytes": 1, "chunk_bytes": 2000,
    },
    "faults": faults(("strand_opening",), every=1.5, span=0.2, count=5),
}  # fmt: skip

# Leaders that are asked for very many reads at once, while all messages are slow.
CROWDS: dict[str, Any] = {
    "size": 3, "faults": faults(("crowd", "isolate"), every=0.5, span=0.2, count=10)
}

# Followers that have much to write and take their leader for lost meanwhile.
FALTERING: dict[str, Any] = {
    "size": 3, "think": 0.05, "clients": 3, "mixes": {"pipeline": 1.0},
    "settings": _TIMES | {"append_bytes": 1, "append_window_bytes": 300, "batch_bytes": 60},
    "faults": faults(("falter",), every=1.5, span=0.2, count=6),
}  # fmt: skip

# Processes that are killed as they write snapshots, and find what they wrote when they start.
KILLED_WITH_SNAPSHOTS: dict[str, Any] = SMALL_SNAPSHOTS | {
    "faults": faults(("crash_twice", "crash_soon"), every=0.3, span=0.05, count=30),
}  # fmt: skip
