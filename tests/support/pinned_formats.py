"""What the fixtures under `tests/fixtures/formats` are made of, and how they are read again.

Every format that leaves a process is pinned there: values, commands, messages, first frames, images
of the state, files of the stores, and whole directories that real nodes have written. What is made
here from fixed parts comes out the same in every process, byte for byte, so that a changed format
is noticed. What is not (the directories of nodes) is only read. Content is kept as readable text.

Samples are added at the end of their lists; those that are there are never changed.
"""

import enum
import json
import math
import shutil
from collections import deque, namedtuple
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
from images import image_of
from local_cluster import LocalCluster

from syncstructs import (
    Node,
    Pickled,
    ReplBarrier,
    ReplCondition,
    ReplCounter,
    ReplCounterMap,
    ReplDeque,
    ReplDict,
    ReplElection,
    ReplEvent,
    ReplGroup,
    ReplIdGenerator,
    ReplLatch,
    ReplList,
    ReplLock,
    ReplLockManager,
    ReplMultiDict,
    ReplOnce,
    ReplPriorityQueue,
    ReplQueue,
    ReplRateLimiter,
    ReplRegister,
    ReplRLock,
    ReplRWLock,
    ReplScheduler,
    ReplSemaphore,
    ReplSet,
    ReplSortedDict,
    ReplSortedSet,
    ReplTaskQueue,
    ReplTopic,
    ReplTTLDict,
    register,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.codec import encode
from syncstructs.net.frames import frame_header
from syncstructs.net.hello import PROTOCOL_VERSION, Hello, encode_hello, encode_refusal
from syncstructs.objects.batches import (
    Run,
    encode_batch,
    encode_command,
    encode_group,
    encode_transaction,
)
from syncstructs.objects.comparison import rows_of
from syncstructs.objects.pieces import state_of
from syncstructs.objects.replicated import (
    Replicated,
    _classes,
    attach_arguments,
    create_arguments,
    replicated,
    type_name,
)
from syncstructs.objects.table import Table
from syncstructs.objects.transactions import Condition
from syncstructs.raft import messages as m
from syncstructs.raft.effects import Append
from syncstructs.raft.membership import Membership, encode_membership
from syncstructs.raft.wire import encode as encode_message
from syncstructs.storage.disk import OsDisk, open_data_dir, open_existing
from syncstructs.storage.snapshots import DiskSnapshots
from syncstructs.storage.wal import Wal

ROOT = Path(__file__).parents[1] / "fixtures" / "formats"

# Classes of users


@register(name="pinned.Point")
@dataclass(frozen=True)
class Point:
    x: int
    y: int = 0


@register(name="pinned.Colour")
class Colour(enum.Enum):
    RED = "red"
    GREEN = "green"


@register(name="pinned.Rights")
class Rights(enum.Flag):
    READ = 1
    WRITE = 2


Pair = register(namedtuple("Pair", ["left", "right"], defaults=[None]), name="pinned.Pair")


class Stock(Replicated):
    """A class of a user, whose methods have several versions."""

    def __init__(self, left: int = 0) -> None:
        self.first = left
        self.left = left
        self.runs: list[tuple[str, int]] = []

    def options(self) -> dict[str, object]:
        return {"left": self.first}

    @replicated
    def take(self, count: int) -> int:
        self.left -= count
        self.runs.append(("take", 1))
        return self.left

    @replicated
    def take_twice(self, count: int) -> int:
        self.take(count)
        return self.take(count)

    @take.version(2)
    def take_2(self, count: int) -> int:
        self.left -= min(count, self.left)
        self.runs.append(("take", 2))
        return self.left

    @replicated(version=2)
    def give(self, count: int) -> int:
        self.left += count
        self.runs.append(("give", 2))
        return self.left


class Bell(Replicated):
    """A class of a user, whose objects are woken."""

    def __init__(self) -> None:
        self.rung = 0

    @replicated
    def ring_at(self, time: float) -> None:
        self.set_due(time)

    def on_due(self) -> None:
        self.rung += 1


# Or every node of every test in this process would tell its cluster of these bodies.
del _classes[type_name(Stock)]

TYPES: Mapping[str, Callable[[], Replicated]] = {
    "counter": lambda: ReplCounter(5),
    "dict": ReplDict,
    "list": ReplList,
    "set": ReplSet,
    "queue": lambda: ReplQueue(maxsize=3),
    "ranks": ReplPriorityQueue,
    "lock": ReplLock,
    "locks": ReplLockManager,
    "stock": lambda: Stock(10),
    "register": lambda: ReplRegister("first"),
    "sorted dict": ReplSortedDict,
    "sorted set": ReplSortedSet,
    "counters": ReplCounterMap,
    "deque": lambda: ReplDeque(maxlen=3),
    "ids": lambda: ReplIdGenerator(10),
    "multidict": ReplMultiDict,
    "ttl": lambda: ReplTTLDict(ttl=5.0),
    "topic": lambda: ReplTopic(maxlen=2),
    "limiter": lambda: ReplRateLimiter(5, 1.0, 7),
    "event": ReplEvent,
    "latch": lambda: ReplLatch(2),
    "barrier": lambda: ReplBarrier(2),
    "once": ReplOnce,
    "semaphore": lambda: ReplSemaphore(2),
    "rlock": ReplRLock,
    "rwlock": ReplRWLock,
    "group": ReplGroup,
    "election": ReplElection,
    "tasks": lambda: ReplTaskQueue(lease=4.0),
    "condition": ReplCondition,
    "scheduler": lambda: ReplScheduler(lease=4.0),
}

# Samples

VALUES: list[Any] = [
    None, False, True, 0, 1, -1, 127, 128, -33, 2**31, -(2**31) - 1, 2**63 - 1, -(2**63), 2**64 - 1,
    2**64, -(2**63) - 1, 10**50, -(10**50), 0.0, -0.0, 1.5, math.inf, -math.inf, 1e-308,
    1 + 2j, complex(0.0, -math.inf), "", "text", "\u00e4\u4e2d\U0001f600", "\ud800", "x" * 300,
    b"", b"\x00\xff", b"y" * 300, bytearray(b"changing"), [], [1, [2, [3]]], (), (1,),
    (1, ("a", b"")),
    {}, {"a": 1, "b": [2]}, {1: "one", (2, 3): {4}}, {"z": 0, "a": 1}, set(), {1, 2, 3},
    {"b", "a", "c"}, frozenset(), frozenset({(1, 2), "x"}), deque(), deque([1, 2], maxlen=2),
    range(5), range(10, 0, -3), slice(None), slice(1, [2], "x"), date(2024, 2, 29),
    datetime(2024, 2, 29, 23, 59, 59, 999999), datetime(2024, 10, 27, 2, 30, fold=1),
    datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    time(1, 2, 3, 4), time(1, 2, tzinfo=timezone(timedelta(hours=-3))), timedelta(-1, 2, 3),
    timezone(timedelta(hours=5, minutes=30)), timezone(timedelta(hours=1), "named"), UTC,
    ZoneInfo("Europe/Berlin"), Decimal("1.10"), Decimal("-0"), Decimal("Infinity"), Fraction(-1, 3),
    UUID(int=2**127 + 5), Point(1), Point(2, 3), Colour.GREEN, Rights.READ | Rights.WRITE,
    Pair(1), Pair([1], {"k": Point(4)}), [[[[[[(1, {2: frozenset({3})})]]]]]],
    Pickled(b"\x80\x05K\x01."), [Pickled(b"cos\nsystem\n(S'true'\ntR."), {"k": Pickled(b"")}],
]  # fmt: skip

_ENTRY = m.Entry(3, 8, 1_700_000, m.EntryKind.BATCH, b"payload")
_SNAPSHOT = m.SnapshotMeta(7, 2, 1_600_000, 1000, 0xDEADBEEF, Membership(("a:1", "b:1"), genesis=9))

MESSAGES: list[Any] = [
    m.PreVoteRequest(4, m.EntryId(3, 8), 9),
    m.PreVoteReply(4, True),
    m.VoteRequest(4, m.EntryId(3, 8), 9, transfer=True),
    m.VoteReply(5, False),
    m.AppendRequest(4, m.EntryId(2, 7), 6, [_ENTRY], 17, 1234.5, 9, 77),
    m.AppendRequest(4, m.EntryId(0, 0), 0, [m.Entry(1, 1, 0, m.EntryKind.NOOP, b"")], 1, 0.0),
    m.AppendReply(4, 17, True, 8, 0, 1234.75),
    m.AppendReply(4, 17, False, 6, 2, 0.5, 77),
    m.SnapshotChunk(4, _SNAPSHOT, 512, b"chunk", 18, 1235.0),
    m.SnapshotReply(4, m.EntryId(2, 7), 517, False, 18, 1235.25, 77),
    m.ReadRequest(5),
    m.ReadReply(5, 8),
    m.Forward(21, 3, 2, b"commands"),
    m.ForwardReply(21, 3),
    m.RecoveryRequest(77),
    m.RecoveryReply(77, 4, m.EntryId(3, 8), False, 2, Membership(("a:1",), ("b:1",), ("c:1",), 9)),
    m.Dismissal(8, 9),
    m.TimeoutNow(4),
    m.Observe(),
    m.Introduction(8, Membership(("a:1",), ("b:1",), ("c:1",), 9)),
    m.DigestReport(8, {1: b"0123456789abcdef", 7: bytes(16)}),
    m.Inquiry(3, "status", b'{"timeout": 1.0}'),
    m.Answer(3, True, b'{"term": 4}'),
]

FIRST_FRAMES: list[bytes] = [
    encode_hello(
        Hello(
            cluster="pinned", address="a:1", dialled="b:1", incarnation=2**63 + 1, number=3,
            limit_bytes=2**24,
        )
    ),
    encode_refusal("'a:1' is of cluster 'pinned', 'b:1' is of another one"),
]  # fmt: skip

RUN = Run(7, "set", 2)
RUN.values += ["a", 1, "b", 2]
COMMANDS: list[bytes] = [
    encode_command(0, "open_session", ("a:1", 5, 1, 10.0), {}),
    encode_command(0, "expire_session", (21,), {}),
    encode_command(0, "change_members", (["d:1"], ["a:1"], None), {}),
    encode_command(0, "change_members", ([], [], ["a:1", "b:1"]), {}),
    encode_command(0, "transfer_leadership", ("b:1",), {}),
    encode_command(0, "know", (2, 1, {"pinned_formats.Stock": ["give:2", "take:2"]}), {}),
    encode_command(0, "set_version", (2,), {}),
    encode_command(0, "compare_digests", (7,), {}),
    encode_command(0, "note_divergence", ([[1, [3, ["a:1"]]]],), {}),
    encode_command(0, "attach", attach_arguments("stock", Stock(10)), {}),
    encode_command(0, "create", create_arguments("dict", ReplDict({"a": 1}), ({"a": 1},)), {}),
    encode_command(0, "drop", ("dict",), {}),
    encode_command(0, "batch", ([[5, "set", ["a", 1]], ["list", "append", [2]]],), {}),
    encode_command(5, "set", ("key", Point(1, 2)), {}),
    encode_command("dict", "update", ({"a": 1},), {"b": 2}),
    encode_command(0, "know", (1, 2, {}), {}),
    encode_command("dict", "set", ("key", Pickled(b"\x80\x05K\x01.")), {}),
    encode_command(0, "wake", ([[12.5, 5], [13.0, 7]],), {}),
    encode_command(0, "know", (1, 3, {}), {}),
    encode_command(0, "mark", (), {}),
    encode_batch([RUN, encode_command(7, "clear", (), {})]),
    encode_batch([RUN], in_runs=True),
    encode_transaction([Condition(7, 21), Condition(8, 22, [["a", [1]], ["b", []]])],
                       [encode_command(7, "set", ("a", 1), {})]),
]

PAYLOADS: list[bytes] = [
    encode_group(21, 3, 2, COMMANDS[11] + COMMANDS[12]) + encode_group(0, 0, 1, COMMANDS[1]),
    encode_membership(Membership(("a:1", "b:1"), ("c:1",), ("d:1",), 9)),
]

# Content as text


def shown(value: Any) -> str:
    """Return a value as text: the same for equal values of the same types only, anywhere."""
    kind = type(value)
    name = kind.__name__
    if kind in (set, frozenset):
        return f"{name}({{{', '.join(sorted(map(shown, value)))}}})"
    if kind is dict:
        return "{" + ", ".join(f"{shown(k)}: {shown(v)}" for k, v in value.items()) + "}"
    if kind in (list, tuple, deque) or hasattr(value, "_fields"):
        limit = f" of {value.maxlen}" if kind is deque else ""
        return f"{name}{limit}({', '.join(map(shown, value))})"
    if kind is Pickled:
        return f"Pickled({value.encoded!r})"
    if kind is slice:
        return f"slice({', '.join(map(shown, (value.start, value.stop, value.step)))})"
    if is_dataclass(value):
        parts = (f"{f.name}={shown(getattr(value, f.name))}" for f in fields(value))
        return f"{name}({', '.join(parts)})"
    if isinstance(value, enum.Enum):
        return f"{name}({value.value!r})"
    return f"{name} {value!a}"


def told(value: Any) -> Any:
    """Return a value of this library as JSON has it: structs by their fields, all else as text."""
    if isinstance(value, msgspec.Struct):
        parts = {name: told(getattr(value, name)) for name in value.__struct_fields__}
        return {"struct": type(value).__name__, **parts}
    return list(map(told, value)) if type(value) in (list, tuple) else shown(value)


def agrees(pinned: Any, now: Any) -> bool:
    """Whether `told` says now what was pinned; fields may have been added since."""
    if isinstance(pinned, dict):
        return isinstance(now, dict) and all(
            name in now and agrees(part, now[name]) for name, part in pinned.items()
        )
    if isinstance(pinned, list) and isinstance(now, list):
        return len(pinned) == len(now) and all(map(agrees, pinned, now))
    return bool(pinned == now)


PINS: Mapping[str, list[tuple[Any, bytes]]] = {
    "values": [(shown(value), encode(value)) for value in VALUES],
    "messages": [(told(message), encode_message(message)) for message in MESSAGES],
    "first frames": [(None, frame_header(frame) + frame) for frame in FIRST_FRAMES],
    "commands": [(None, command) for command in COMMANDS],
    "payloads": [(None, payload) for payload in PAYLOADS],
}
"""By kind: what was encoded as JSON has it, None where the bytes alone count, and the bytes."""


def described(table: Table) -> str:
    """Return all that a table holds, as text."""
    lines = [
        f"serial {table.serial}, time {table.time}, index {table.applied_index}",
        f"wanted {shown(list(table.wanted))}",
        f"sessions {shown(table.sessions.state())}",
        f"versions {shown(table.versions.state())}",
        f"differ {shown(rows_of(table.diverged))}",
    ]
    for record in table._directory.records.values():
        about = (record.id, record.type_name, record.options, record.args, record.methods)
        lines.append(f"{record.name}: {shown(list(about))}")
        later = {method: body for method, body in record.bodies.items() if body != method}
        lines.append(f"    runs {shown(later)}")
        if record.live is not None:
            lines.append(f"    holds {shown(record.live.snapshot_state())}")
        else:
            # However many pieces it is kept in.
            state = encode(state_of(record.state))
            lines.append(f"    kept {shown([state, *record.backlog])}")
    if due := table._directory.due_image():
        lines.append(f"due {shown(due)}")
    return "\n".join(lines) + "\n"


def contents(objects: Mapping[str, Replicated]) -> str:
    """Return the states of objects as text."""
    parts = ((name, shown(objects[name].snapshot_state())) for name in sorted(objects))
    return "".join(f"{name}: {text}\n" for name, text in parts)


# What comes out the same every time


def make_images() -> dict[str, tuple[bytes, str]]:
    """Return images with their content: before versions were used, after it, of members of which
    some objects differ, and with states that stand there in blocks."""
    cluster = LocalCluster(2)
    made = {name: cluster.attach(name, make) for name, make in TYPES.items() if name != "stock"}
    made["counter"][0].add(2)
    made["dict"][1].update({"v": VALUES[:40], (1, "k"): Point(1)})
    made["list"][0].extend([1, (2,), {3}])
    made["set"][1].update(["b", "a", (1, 2)])
    for item in "abc":
        made["queue"][0].put(item)
    made["queue"][1].put.submit("waits for room")
    for rank in (3, 1, 2):
        made["ranks"][0].put((rank, "r"))
    assert made["lock"][0].acquire()
    made["lock"][1].acquire.submit()
    assert made["locks"][1].acquire(("k", 1))
    made["locks"][0].acquire.submit(("k", 1))
    _use(made)
    other = type("Other", (Replicated,), {"put": replicated(_put)})
    other.__module__, other.__qualname__ = "not.imported", "Other"
    other._embeddable = False
    detached = cluster.attach_on(0, "detached", other())
    detached.put(1, by="ann")
    cluster.advance(2.5)
    cluster.create(1, "scores", ReplDict, {"ann": 12})
    cluster.members[0].system("change_members", [], [], ["member0:1", "member1:1"])
    before = cluster.members[1].table
    images = {"plain": (image_of(before), described(before))}
    bodies = {"pinned_formats.Stock": ["give:2", "take:2"]}
    for member in cluster.members:
        member.system("know", 2, 1, bodies)
    stocks = cluster.attach("stock", TYPES["stock"])
    stocks[0].take_twice(3)
    cluster.members[0].system("set_version", 2)
    stocks[1].take_twice(3)
    stocks[1].give(7)
    detached.put(2)
    images["versions"] = (image_of(before), described(before))
    ids = [record.id for record in before._directory.records.values()]
    rows = [[ids[0], [3, ["member0:1"]]], [ids[2], [before.applied_index, ["member0:1", "x:1"]]]]
    cluster.members[0].system("note_divergence", rows)
    images["diverged"] = (image_of(before), described(before))
    made["list"][0].extend(range(200))
    made["dict"][0].update({f"key-{number}": "x" * number for number in range(100)})
    images["large"] = (image_of(before), described(before))
    images["due"] = _due_image()
    cluster.members[0].system("mark")
    made["counter"][0].add(3)
    images["marks"] = (image_of(before), described(before))
    return images


def _use(made: Mapping[str, list[Any]]) -> None:
    """Bring the objects that came later into some state, each another one than at its beginning."""
    made["register"][0].set([1, "value"])
    made["sorted dict"][0].update({3: "c", 1: "a"})
    made["sorted set"][1].update([(2, "b"), (1, "a")])
    made["counters"][0].update({"a": 3, ("b", 1): 2})
    made["deque"][1].extend([1, 2, 3, 4])
    next(made["ids"][0])
    made["multidict"][0].add("k", 1)
    made["multidict"][1].add("k", [2])
    made["ttl"][0].set("soon", 1, ttl=1.0)
    made["ttl"][1]["later"] = 2
    for message in ("a", {"b": 1}, (3,)):
        made["topic"][0].publish(message)
    made["topic"][1].commit("reader", 2)
    assert made["limiter"][0].try_acquire(3, key="ann")
    made["event"][0].set()
    made["latch"][0].count_down()
    made["latch"][1].wait.submit()
    made["barrier"][0].wait.submit()
    assert made["once"][0].run(lambda: [5]) == [5]
    assert made["semaphore"][0].acquire()
    assert made["semaphore"][1].acquire()
    made["semaphore"][0].acquire.submit()
    assert made["rlock"][0].acquire()
    assert made["rwlock"][0].reader.acquire()
    made["rwlock"][1].writer.acquire.submit()
    made["group"][0].join({"port": 80})
    assert made["election"][0].campaign(value="first")
    made["election"][1].campaign.submit(value="second")
    tasks = made["tasks"][0]
    for number in range(4):
        tasks.put([number], priority=number % 2, key=f"key {number}")
    tasks.put("later", delay=9.0)
    tasks.get()
    tasks.ack(tasks.get())
    tasks.nack(tasks.get(), error="no luck")
    asleep, awake = made["condition"]
    assert asleep.acquire()
    asleep.wait.submit()
    assert asleep.acquire()
    asleep.wait.submit()
    assert awake.acquire()
    awake.notify()
    assert made["limiter"][1].try_acquire(2, key="ann")
    made["limiter"][1].acquire.submit(5, key="ann")
    jobs = made["scheduler"][0]
    jobs.add("often", [1], every=0.5, priority=2)
    jobs.add("nightly", cron="15 3 * * 1-5", grace=60.0)
    jobs.add("once", "payload", at=datetime(2030, 1, 2, tzinfo=UTC))


def _due_image() -> tuple[bytes, str]:
    """Return an image with due times: of an object that is attached, and of one that is not, which
    was to be woken since."""
    cluster = LocalCluster(2)
    bells = cluster.attach("bell", Bell)
    detached = cluster.attach_on(0, "detached", type("Other", (Bell,), {"_embeddable": False})())
    detached.ring_at(2.5)
    cluster.reload(1)
    cluster.members[1].table.restore([image_of(cluster.members[0].table)])
    bells[0].ring_at(7.25)
    cluster.advance(3.0)
    table = cluster.members[1].table
    return image_of(table), described(table)


def _put(self: Any, item: object, by: str = "") -> None:
    self.item = item


class _CountingDisk(OsDisk):
    """A disk whose chance is none."""

    def __init__(self) -> None:
        self._drawn = 0

    def random_bytes(self, count: int) -> bytes:
        self._drawn += 1
        return blake2b(self._drawn.to_bytes(4, "big"), digest_size=count).digest()


def write_stores(path: Path) -> None:
    """Let the stores write a directory, the same every time."""
    directory = open_data_dir(
        path, cluster="pinned", address="a:1", members=("a:1", "b:1", "c:1"), disk=_CountingDisk()
    )
    wal = Wal(directory, segment_bytes=600)
    snapshots = DiskSnapshots(directory)
    wal.load(None)
    membership = Membership(("a:1", "b:1", "c:1"), genesis=9)
    entries = [
        m.Entry(1, 1, 0, m.EntryKind.MEMBERSHIP, encode_membership(membership)),
        *(m.Entry(1, i, i * 1000, m.EntryKind.BATCH, PAYLOADS[0]) for i in range(2, 9)),
        m.Entry(1, 9, 9000, m.EntryKind.NOOP, b""),
    ]
    wal.append([Append(1, hard_state=m.HardState(1, "a:1", recovering=True))])
    wal.append([Append(2, entries=entries[:4]), Append(3, hard_state=m.HardState(1, "a:1"))])
    for entry in entries[4:]:
        wal.append([Append(4, entries=[entry])])
    snapshots.save(3, 1, 3000, membership, [make_images()["plain"][0]])
    snapshots.save(4, 1, 4000, membership, [make_images()["versions"][0]])
    wal.compact(4)
    # Replaces two entries.
    wal.append([Append(5, m.HardState(2), entries=[m.Entry(2, 8, 9500, m.EntryKind.NOOP, b"")])])
    wal.close()
    snapshots.close()
    directory.close()
    (path / "lock").unlink()


def read_stores(path: Path) -> dict[str, Any]:
    """Return what the stores find in a directory that `write_stores` has written, as JSON."""
    # As it was written: whoever opens a directory to use it writes its own format into it.
    with closing(open_existing(path)) as unchanged:
        identity = unchanged.identity
    directory = open_data_dir(path, cluster="pinned", address="a:1")
    snapshots = DiskSnapshots(directory)
    wal = Wal(directory, segment_bytes=600)
    latest = snapshots.latest()
    assert latest is not None
    image = b"".join(snapshots.load(latest))
    restored = wal.load(latest)
    wal.close()
    snapshots.close()
    directory.close()
    found = [identity, restored, list(restored.entries)]
    return {"found": told(found), "image": blake2b(image, digest_size=16).hexdigest()}


# What real nodes write


def record_nodes(room: Path) -> str:
    """Let three nodes work on disk under `room`, one directory each; return what they hold."""
    addresses = free_addresses(3)
    settings = {"snapshot_log_entries": 60, "log_keep_bytes": 1, "segment_bytes": 4000}
    nodes = [
        Node(
            address,
            addresses,
            consumers={name: make() for name, make in TYPES.items()},
            data_dir=str(room / address.replace(":", "-")),
            **settings,
        )
        for address in addresses
    ]
    for node in nodes:
        node.wait_ready(timeout=60)
    ours: list[Mapping[str, Any]] = [node.objects for node in nodes]
    ours[0]["counter"].add(2)
    for number, value in enumerate(VALUES):
        ours[number % 3]["dict"].set(number, value)
    with nodes[1].batch():
        ours[1]["list"].extend(["a", ("b",)])
        ours[1]["set"].update(["y", "x"])
    for item in range(3):
        ours[item]["queue"].put(("item", item))
        ours[item]["ranks"].put((3 - item, "rank"))
    assert ours[2]["queue"].get() == ("item", 0)
    with ours[0]["lock"], ours[1]["locks"]["printer"]:
        ours[2]["stock"].take_twice(4)
    scores = nodes[2].create("scores", ReplDict, {"ann": 1})
    scores["bob"] = Point(5, 6)
    nodes[0].create("dropped", ReplList)
    nodes[0].drop("dropped")
    nodes[1].set_version(2, timeout=60)
    ours[0]["stock"].take_twice(4)
    ours[1]["stock"].give(9)
    for number in range(50):
        scores[number] = [number] * 3
    for node in nodes:
        node.barrier(timeout=60)
    text = contents(nodes[0].objects)
    assert all(contents(node.objects) == text for node in nodes)
    for node in nodes:
        node.close()
    return text


# The fixtures


def names() -> list[str]:
    """Return the names of all fixtures, oldest first."""
    return sorted((path.name for path in ROOT.iterdir() if path.name.isdigit()), key=int)


def make(name: str) -> None:
    """Write the fixture of that name.

    Raises:
        SystemExit: it is there, or the name is not the next number.
    """
    expected = str(1 + max(map(int, names()), default=0))
    if name != expected:
        raise SystemExit(f"{name!r} is not the next number: what is pinned stays; give {expected}")
    target = ROOT / name
    target.mkdir()
    (target / "nodes.txt").write_text(record_nodes(target / "nodes"), encoding="utf-8")
    for path in target.glob("nodes/*/lock"):
        path.unlink()
    write_pinned(target)
    with TemporaryDirectory() as room:
        copy = shutil.copytree(target / "stores", Path(room, "stores"))
        text = json.dumps(read_stores(copy), indent=1)
    (target / "stores.json").write_text(text + "\n", encoding="utf-8")


def write_pinned(target: Path) -> None:
    """Write what comes out the same every time."""
    pins: dict[str, Any] = {"protocol": PROTOCOL_VERSION}
    for kind, samples in PINS.items():
        pins[kind] = [[text, data.hex()] for text, data in samples]
    (target / "pins.json").write_text(json.dumps(pins, indent=1) + "\n", encoding="utf-8")
    for name, (image, text) in make_images().items():
        (target / f"{name}.image").write_bytes(image)
        (target / f"{name}.txt").write_text(text, encoding="utf-8")
    write_stores(target / "stores")


def pinned_files(target: Path) -> list[str]:
    """Return the names of the files that `write_pinned` makes."""
    found = (path.relative_to(target).as_posix() for path in target.rglob("*") if path.is_file())
    apart = ("nodes/", "nodes.txt", "stores.json")
    return sorted(name for name in found if not name.startswith(apart))


def fresh_table() -> Table:
    """Return a table to which an image can be given."""
    return LocalCluster(1).members[0].table


