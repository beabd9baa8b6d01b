"""What untrusted bytes reach first, as functions of bytes: what the fuzzer runs, and the corpus.

A target takes an input and returns in a few words how it was taken; whatever else it raises than
what is documented there is a bug, and so is an invariant that does not hold afterwards. An input is
MessagePack wherever there is structure above the bytes that a stranger may send, such as a session
of several messages, or files with right checksums and wrong content: what stands behind a checksum
would be reached by luck only.
"""

import json
import logging
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from hashlib import sha256
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import pinned_formats as pinned
from certificates import Authority
from local_cluster import LocalCluster
from watched_disk import WatchedDisk

from syncstructs import (
    Pickled,
    ReplCounter,
    ReplDict,
    ReplList,
    ReplLock,
    ReplQueue,
    ReplSet,
)
from syncstructs.codec import STATE_DEPTH, copy, decode, decode_many, encode
from syncstructs.config import Config
from syncstructs.errors import (
    DataDirForeign,
    DecodeError,
    NodeFailed,
    ProtocolError,
    StorageError,
    SyncError,
    Unserializable,
)
from syncstructs.futures import Future
from syncstructs.monitor import server
from syncstructs.monitor.guard import Guard, Verdict, password_in
from syncstructs.net.cipher import Keys
from syncstructs.net.events import FrameReceived, Greeted
from syncstructs.net.frames import HEADER_BYTES, FrameDecoder, frame_header
from syncstructs.net.hello import HELLO_LIMIT_BYTES, Hello, Identity, encode_hello
from syncstructs.net.link import Link, State
from syncstructs.net.peer import Peer
from syncstructs.net.tls import Contexts
from syncstructs.node.digester import InlineDigester
from syncstructs.node.driver import Driver
from syncstructs.node.gate import ReadGate
from syncstructs.node.inquiries import PAYLOAD_BYTES, Inquiries
from syncstructs.node.snapshotter import InlineSnapshotter
from syncstructs.node.verbs import _parsed
from syncstructs.node.workers import InlineWorker
from syncstructs.objects.batches import encode_command, encode_group
from syncstructs.objects.pieces import pieces_of, state_of
from syncstructs.raft import messages as m
from syncstructs.raft.membership import Membership, encode_membership
from syncstructs.raft.wire import decode as decode_message
from syncstructs.raft.wire import encode as encode_message
from syncstructs.replica import Replica
from syncstructs.storage.disk import Identity as DirectoryIdentity
from syncstructs.storage.disk import open_data_dir, open_existing
from syncstructs.storage.memory import MemoryLog, MemorySnapshots
from syncstructs.storage.records import encode_write, scan
from syncstructs.storage.salvage import found_anew, plan_repair, repair, survey
from syncstructs.storage.snapshots import DiskSnapshots
from syncstructs.storage.wal import Wal

CORPUS = Path(__file__).parents[1] / "fuzz" / "corpus"

PAGE_PASSWORD = "a password of the page"

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_LENGTH = struct.Struct(">Q")
_HOSTILE = Pickled(b"cos\nsystem\n(S'true'\ntR.")
_PREFIX = struct.Struct(">8sII")


class Target(NamedTuple):
    """Something that takes untrusted bytes."""

    run: Callable[[bytes], str]
    seeds: Callable[[], list[bytes]]
    """Inputs from the formats that are pinned, and from sessions as correct members have them."""


class Log(logging.Handler):
    """Notes what is logged; a line of it is a line, whatever was in the input."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        # Of more than that, a stranger could fill a disk.
        assert len(line) < 8192, f"a line of {len(line)} characters: {line[:200]}"
        assert line.isprintable() or not line.splitlines()[1:], f"a forged line: {line!r:.500}"
        self.lines.append(line)


@contextmanager
def logged() -> Iterator[Log]:
    """Take what is logged, and let nothing of it out."""
    logger = logging.getLogger("syncstructs")
    before = logger.level, logger.propagate, logger.handlers[:]
    handler = Log()
    logger.setLevel(logging.INFO)
    logger.propagate, logger.handlers = False, [handler]
    try:
        yield handler
    finally:
        logger.level, logger.propagate, logger.handlers = before
        logger.setLevel(before[0])


def _is_short(error: Exception) -> None:
    assert len(str(error)) < 4096, f"a sentence of {len(str(error))} characters"


def _is_of_a_user(error: Exception) -> None:
    assert "(syncstructs." not in str(error), error


def _is_known(error: Exception, known: tuple[str, ...] | None = None) -> None:
    assert any(part in str(error) for part in known or _STOPS), error


def parts(data: bytes) -> list[Any]:
    """Return an input as the list it is; an empty one if it is none."""
    try:
        value = _unpack(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError):
        return []
    return value if isinstance(value, list) else [value]


def number(value: Any, limit: int) -> int:
    """Return a value of an input as a number below `limit`."""
    return value % limit if type(value) is int else 0


def pinned_samples(kind: str) -> list[bytes]:
    """Return the samples of a kind from all fixtures."""
    found: dict[bytes, None] = {}
    for name in pinned.names():
        pins = json.loads((pinned.ROOT / name / "pins.json").read_text(encoding="utf-8"))
        found.update(dict.fromkeys(bytes.fromhex(data) for _, data in pins[kind]))
    return list(found)


def pinned_images() -> list[bytes]:
    """Return all images in the fixtures."""
    return [path.read_bytes() for path in sorted(pinned.ROOT.glob("*/*.image"))]


# Frames and links: [side, [cuts], *pieces]; a piece of bytes is framed, one in a list goes as it is

_LIMIT_BYTES = 4096


def _stream(pieces: list[Any]) -> bytes:
    stream = b""
    for piece in pieces:
        if isinstance(piece, bytes):
            stream += frame_header(piece) + piece
        elif isinstance(piece, list):
            stream += b"".join(part for part in piece if isinstance(part, bytes))
    return stream


def _cut(stream: bytes, sizes: Any) -> Iterator[bytes]:
    at, steps = 0, [number(s, 300) + 1 for s in sizes] if isinstance(sizes, list) and sizes else []
    while at < len(stream):
        size = steps[at % len(steps)] if steps else len(stream)
        yield stream[at : at + size]
        at += size


def _framed(pieces: Iterator[bytes], large_bytes: int) -> tuple[list[bytes], str | None]:
    decoder = FrameDecoder(_LIMIT_BYTES, large_bytes=large_bytes)
    frames: list[bytes] = []
    try:
        for piece in pieces:
            left = piece
            while left and (room := decoder.room()) is not None:
                count = min(len(room), len(left))
                room[:count], left = left[:count], left[count:]
                frame = decoder.filled(count)
                frames += [] if frame is None else [frame]
            frames += decoder.receive(bytearray(left))
            decoder._check()
            assert decoder.held_bytes() <= _LIMIT_BYTES + HEADER_BYTES, decoder.held_bytes()
    except ProtocolError as error:
        with suppress(ProtocolError):
            assert not list(decoder.receive(b"\x00")), "a stream that failed goes on"
            raise AssertionError("a failed stream fails no more") from None
        return frames, str(error)
    return frames, None


def run_frames(data: bytes) -> str:
    """However a stream is cut, the same frames come out of it, and no more is held than came."""
    _, cuts, *pieces = [*parts(data), 0, 0][: max(2, len(parts(data)))]
    stream = _stream(pieces)
    frames, failure = _framed(_cut(stream, cuts), 2)
    assert (frames, failure) == _framed(iter([stream]), 2**32), "it matters how the stream is cut"
    expected, at = [], 0
    while len(stream) - at >= HEADER_BYTES:
        size = int.from_bytes(stream[at : at + HEADER_BYTES], "big")
        if size > _LIMIT_BYTES or len(stream) - at - HEADER_BYTES < size:
            break
        at += HEADER_BYTES + size
        expected.append(stream[at - size : at])
    assert frames == expected, "the frames are not what came"
    claims = len(stream) - at >= HEADER_BYTES and size > _LIMIT_BYTES
    assert claims == (failure is not None), (size, failure)
    return f"{min(len(frames), 5)} {failure}"


def run_link(data: bytes) -> str:
    """Whatever comes over a connection is an event or ends it; little is sent back."""
    side, cuts, *pieces = [*parts(data), 0, 0][: max(2, len(parts(data)))]
    identity = Identity(cluster="pinned", address="b:1", incarnation=7, limit_bytes=_LIMIT_BYTES)
    acts = number(side, 4)
    if acts == 0:
        link = Link("dialer", identity=identity, dialled="a:1")
        link.greet(1)
    else:
        link = Link("acceptor", identity=identity)
    seen: list[str] = []
    sent = len(link.data_to_send())
    for piece in _cut(_stream(pieces), cuts):
        for event in link.receive(piece):
            seen.append(type(event).__name__)
            if isinstance(event, Greeted):
                assert seen.count("Greeted") == 1, "greeted twice"
                assert event.address.isprintable(), event
            if isinstance(event, FrameReceived):
                assert link.peer is not None, "a frame of nobody"
                # What follows in the same piece may have closed it.
                assert link.state in (State.OPEN, State.CLOSED), link.state
                assert len(event.payload) <= _LIMIT_BYTES
            reason = getattr(event, "reason", None)
            assert reason is None or len(reason) < HELLO_LIMIT_BYTES
        link._check()
        if link.state is State.HEARD:
            if acts == 1:
                link.refuse("no room")
            elif acts == 2:
                link.greet(1)
        sent += len(link.data_to_send())
    assert sent <= 2 * (HELLO_LIMIT_BYTES + HEADER_BYTES), sent
    if link.state is State.CLOSED:
        assert link.receive(b"more") == [], "a closed link goes on"
    return f"{acts} {seen[:4]} {link.state}"


def _link_seeds() -> list[bytes]:
    greetings = [frame[HEADER_BYTES:] for frame in pinned_samples("first frames")]
    good = Hello(
        cluster="pinned", address="a:1", dialled="b:1", incarnation=5, number=3, limit_bytes=2**24
    )
    others = [
        msgspec.structs.replace(good, **change)
        for change in (
            {}, {"cluster": "other"}, {"address": "b:1"}, {"dialled": "c:1"},
            {"address": "observer-5d41402abc4b2a76"}, {"limit_bytes": 10}, {"address": "a\n:1"},
        )
    ]  # fmt: skip
    greetings += map(encode_hello, others)
    greetings.append(greetings[-1].replace(b"pinned", b"pin\xffed"))
    seeds = [
        _pack([side, [], greeting, b"m1", b"m2"]) for greeting in greetings for side in range(4)
    ]
    seeds += [_pack([side, [3, 7], greetings[0], greetings[1]]) for side in range(3)]
    return [*seeds, _pack([0, [], [b"GET / HTTP/1.1\r\n\r\n"]]), _pack([1, [0], [bytes(9)], b""])]


# Links with a password, and somebody in between: [way, *steps], a step is [direction, what, at,
# bytes]. In ways 1 to 3 the two do not share a password

_DELIVER, _FLIP, _INSERT, _DROP, _REPLAY, _REFLECT, _CUT, _SAY = range(8)


def _keys(word: bytes, seed: int) -> Keys:
    return Keys(sha256(word).digest(), (), Random(seed).randbytes)


def _changed(piece: bytes, what: int, at: int, more: bytes) -> bytes:
    at = at % (len(piece) + 1)
    if what == _FLIP and at < len(piece):
        return piece[:at] + bytes((piece[at] ^ 1 << len(more) % 8,)) + piece[at + 1 :]
    if what == _INSERT:
        return piece[:at] + more + piece[at:]
    return b"" if what == _DROP else piece[:at] if what == _CUT else piece


def run_sealed(data: bytes) -> str:
    """What comes out of a link is what the other side has put in, in order; or the link ends."""
    way, *steps = parts(data) or [0]
    way = number(way, 4)
    keys = [
        None if way == 2 else _keys(b"right", 1),
        None if way == 3 else _keys(b"wrong" if way == 1 else b"right", 2),
    ]
    return _talk(way, "a:1", "b:1", [{"keys": one} for one in keys], steps, _CUT + 1)


def run_tls(data: bytes) -> str:
    """The same with certificates; and a peer that has a good one may say anything."""
    way, *steps = parts(data) or [0]
    way = number(way, 4)
    right, wrong = _certificates()
    proofs = [
        None if way == 2 else right,
        None if way == 3 else wrong if way == 1 else right,
    ]
    certificates = [{"certificates": one} for one in proofs]
    return _talk(way, "localhost:1", "localhost:2", certificates, steps, _SAY + 1)


@cache
def _certificates() -> tuple[Contexts, Contexts]:
    """Return those of two authorities, for localhost."""
    made = []
    with TemporaryDirectory() as folder:
        for name in ("right", "wrong"):
            files = Authority(Path(folder) / name).issue("all", "localhost")
            made.append(Contexts(files, "localhost:1"))
    return made[0], made[1]


def _talk(
    way: int, dialer: str, acceptor: str, proofs: list[Any], steps: list[Any], kinds: int
) -> str:
    sides = [
        Identity(cluster="pinned", address=address, incarnation=7, limit_bytes=_LIMIT_BYTES)
        for address in (dialer, acceptor)
    ]
    links = [
        Link("dialer", identity=sides[0], dialled=acceptor, **proofs[0]),
        Link("acceptor", identity=sides[1], **proofs[1]),
    ]
    said_anything = False
    links[0].greet(1)
    sent: list[list[bytes]] = [[], []]
    came: list[list[bytes]] = [[], []]
    before = [b"", b""]
    for step in steps[:60]:
        said = [*step, 0, 0, 0, 0] if isinstance(step, list) else [step] * 4
        direction, what, at, more = said[:4]
        which, what = number(direction, 2), number(what, kinds)
        piece = links[which].data_to_send()
        channel = links[which]._channel
        secure = channel is not None and channel.is_secure and links[which].is_whole
        if what == _SAY and secure and isinstance(more, bytes):
            said_anything = True
            piece += channel.seal(more)
        elif links[which].state is State.OPEN:
            sent[which].append(b"%d from %d" % (len(sent[which]), which))
            piece += links[which].frames(sent[which][-1:])
        piece = before[which] if what == _REPLAY else piece
        piece = _changed(piece, what, number(at, 2**16), more if isinstance(more, bytes) else b"x")
        before[which] = piece
        to = which if what == _REFLECT else 1 - which
        for event in links[to].receive(piece):
            if isinstance(event, Greeted):
                assert not way, "greeted without the password, or certificate"
                if not said_anything:
                    assert (event.address, event.number) == (sides[1 - to].address, 1)
                # What follows in the same piece may have closed it.
                if to == 1 and links[1].is_whole:
                    links[1].greet(1)
            elif isinstance(event, FrameReceived):
                came[to].append(event.payload)
                assert said_anything or came[to] == sent[1 - to][: len(came[to])], (came, sent)
        for link in links:
            link._check()
    return f"{way} {links[0].state} {links[1].state} {len(came[0]) > 1} {len(came[1]) > 1}"


def _tls_seeds() -> list[bytes]:
    greetings = [frame_header(piece) + piece for piece in pinned_samples("first frames")]
    greetings.append(bytes.fromhex("15030300020100"))
    seeds = [*_sealed_seeds()]
    for n in range(7):
        for words in greetings:
            steps = [*[[0, 0, 0, b""], [1, 0, 0, b""]] * 5]
            steps.insert(n, [n % 2, _SAY, 0, words])
            steps.insert(n, [n % 2, _INSERT, 0, words])
            seeds.append(_pack([0, *steps]))
    return seeds


def _sealed_seeds() -> list[bytes]:
    shake = [[0, 0, 0, b""], [1, 0, 0, b""]] * 5
    seeds = [[way, *shake] for way in range(4)]
    for n in range(7):
        seeds += [[0, *shake[:n], [n % 2, what, 40, b"evil"], *shake] for what in range(7)]
    return list(map(_pack, seeds))


# The codec

# Of a class of a user, and hashed by what came off the wire.
_DEEP = "nested"


def run_codec(data: bytes) -> str:
    """A value or a DecodeError; and a value is written as it would be anywhere."""
    try:
        value = decode(data)
    except DecodeError as error:
        _is_short(error)
        return f"{type(error).__name__} {error}"
    try:
        encoded = encode(value, max_depth=STATE_DEPTH)
    except Unserializable as error:
        # Lists may be deeper than they may be written; nothing else that comes in cannot go out.
        _is_known(error, (_DEEP,))
        return f"deep {type(value).__name__}"
    # Fields that a class has by now take their defaults.
    assert len(encoded) <= 8 * len(data) + 64, (len(encoded), len(data))
    again = decode(encoded)
    assert encode(again, max_depth=STATE_DEPTH) == encoded, "not canonical"
    assert type(again) is type(value)
    assert encode(copy(value), max_depth=STATE_DEPTH) == encoded, "a copy differs"
    with suppress(Unserializable):
        # As deep as a command may be.
        encode(value)
        assert decode_many(2, encoded + encoded)[0] is not None or value is None
    with suppress(DecodeError):
        decode_many(3, data)
    with suppress(DecodeError):
        # As a state in pieces, whatever the value is.
        state = state_of([encoded, encoded, encoded, encode(None)])
        list(pieces_of(state))
    return f"{type(value).__name__} {encoded == data}"


def _codec_seeds() -> list[bytes]:
    seeds = pinned_samples("values") + pinned_samples("commands")
    return [*seeds, encode([[0, ["a"]], {"a": [1]}, None]), encode([[], {"a": 1}])]


# Messages


def run_message(data: bytes) -> str:
    """A message or a ProtocolError; and a message is written as it was read."""
    try:
        message = decode_message(data)
    except ProtocolError as error:
        _is_short(error)
        return f"refused {error}"
    encoded = encode_message(message)
    assert encode_message(decode_message(encoded)) == encoded
    return type(message).__name__


def _message_seeds() -> list[bytes]:
    return pinned_samples("messages")


# A member among liars: [way, *steps]; a number lets time pass, bytes are a message of b, a list
# names the sender before the message, a boolean cuts the link to b and makes it again

_PEERS = ("b:1", "c:1", "z:1", "observer-5d41402abc4b2a76")
_CONFIG = Config(
    snapshot_log_entries=30, log_keep_bytes=200, append_window_bytes=4096, batch_bytes=1024,
    append_bytes=1024, chunk_bytes=512, detached_bytes=20_000, digest_interval=5.0,
)  # fmt: skip
# Nobody can tell whether what a member brings is what the cluster agreed on, so these end a node.
_STOPS = (
    "a received snapshot cannot be applied", "cannot be applied here", "later release",
    "bytes of commands wait for", "another life of the cluster", "out of memory",
    "a received snapshot cannot be read back", "has forged it", "cannot be kept",
)  # fmt: skip


class _Member:
    """One driver between links that the input speaks for; the clock is the input's as well."""

    waiting = ()

    def __init__(self, way: int) -> None:
        self.time = 1.0
        port = LocalCluster(1).members[0]
        snapshots = MemorySnapshots(lasting=True)
        log = MemoryLog(lasting=True)
        blank = way == 2
        members = ("a:1",) if way == 1 else () if way == 3 else ("a:1", "b:1", "c:1")
        restored = m.Restored(blank=blank, lasting=not blank)
        self.replica: Replica[Any] = Replica(
            address="a:1", members=members, contacts=("b:1",), config=_CONFIG, random=Random(5),
            incarnation=5, port=port, restored=restored, now=self.time,
        )  # fmt: skip
        for name, target in (
            ("box", ReplList(pickle=True)), ("dict", ReplDict(pickle=True)), ("lock", ReplLock()),
        ):  # fmt: skip
            self.replica.table.offer(name, target)
        worker = InlineWorker()
        self.driver: Driver[Any] = Driver(
            self.replica, config=_CONFIG, clock=self, links=self, log=log, snapshots=snapshots,
            log_worker=worker, snapshot_worker=worker,
            snapshotter=InlineSnapshotter(snapshots, worker), digester=InlineDigester(),
            gate=ReadGate(lambda: None), calls=self, on_progress=lambda progress: None,
            on_inquiry=lambda peer, message: None,
        )  # fmt: skip
        for peer in _PEERS:
            self.driver.link_up(peer)

    # As clock, links and calls

    def now(self) -> float:
        return self.time

    def send(self, peer: str, payload: bytes) -> bool:
        assert len(payload) < 64 * 1024, len(payload)
        decode_message(payload)
        return True

    def set_peers(self, peers: Any) -> None:
        for peer in peers:
            Peer(peer)


def _step(member: _Member, step: Any) -> None:
    driver = member.driver
    if isinstance(step, bool):
        driver.link_down("b:1")
        driver.link_up("b:1")
    elif isinstance(step, int):
        member.time += step % 100 / 10
    else:
        who, payload = step if isinstance(step, list) and len(step) == 2 else (0, step)
        peer = _PEERS[number(who, len(_PEERS))]
        if isinstance(payload, bytes):
            try:
                driver.frame_received(peer, payload)
            except ProtocolError:
                driver.link_down(peer)
                driver.link_up(peer)


def run_member(data: bytes) -> str:
    """Whatever peers say, a member answers, cuts the link, or stops with a reason."""
    way, *steps = parts(data) or [0]
    member = _Member(number(way, 4))
    driver, replica = member.driver, member.replica
    with logged():
        try:
            driver.pump()
            for step in steps[:200]:
                _step(member, step)
                driver.pump()
                replica._check()
                replica.table._check()
        except NodeFailed as error:
            _is_known(error)
            return f"stops {error}"
    core = replica.core
    return f"{core.role} {core.leader} {min(core.commit_index, 9)} {len(replica.table.objects)}"


def _member_seeds() -> list[bytes]:
    send = encode_message
    member = Membership(("a:1", "b:1", "c:1"), genesis=9)
    system = [encode_group(0, 0, 1, command) for command in pinned_samples("commands")[:12]]
    attach = encode_command(0, "attach", pinned.attach_arguments("box", ReplList()), {})
    opened = encode_command(0, "open_session", ("b:1", 5, 1, 10.0), {})
    put = encode_command("box", "append", (7,), {})
    entries = [
        m.Entry(2, 1, 10, m.EntryKind.MEMBERSHIP, encode_membership(member)),
        m.Entry(2, 2, 20, m.EntryKind.NOOP, b""),
        m.Entry(2, 3, 30, m.EntryKind.BATCH, encode_group(0, 0, 1, opened)),
        m.Entry(2, 4, 40, m.EntryKind.BATCH, encode_group(1, 1, 2, attach + put)),
        *(m.Entry(2, 5 + i, 50, m.EntryKind.BATCH, one) for i, one in enumerate(system)),
    ]
    append = send(m.AppendRequest(2, m.EntryId(0, 0), 0, entries[:4], 1, 0.0, 9))
    more = send(m.AppendRequest(2, m.EntryId(2, 4), 4, entries[4:], 2, 1.5, 9))
    commit = send(m.AppendRequest(2, entries[-1].id, len(entries), [], 3, 1.6, 9))
    conflict = send(
        m.AppendRequest(
            3, m.EntryId(2, 3), 2, [m.Entry(3, 4, 45, m.EntryKind.NOOP, b"")], 1, 0.0, 9
        )
    )
    image = pinned_images()[0]
    meta = m.SnapshotMeta(9, 2, 5000, len(image), zlib.crc32(image), member)
    chunks = [
        send(m.SnapshotChunk(2, meta, at, image[at : at + 2000], 4, 0.0))
        for at in range(0, len(image), 2000)
    ]
    votes = [[0, send(m.PreVoteReply(1, True))], [0, send(m.VoteReply(1, True))]]
    acks = [
        [who, send(m.AppendReply(1, round_, True, index, 0, 0.5))]
        for round_, index in ((1, 1), (2, 2), (3, 3), (4, 4))
        for who in (0, 1)
    ]
    forward = [0, send(m.Forward(0, 0, 1, opened))]
    calls = [[0, send(m.Forward(s, 1, 2, attach + put))] for s in (1, 2, 3)]
    seeds = [_pack([way, *pinned_samples("messages")]) for way in range(4)]
    seeds += [_pack([0, append, more, commit]), _pack([0, append, commit, conflict, more])]
    seeds += [_pack([way, *chunks, append, more]) for way in (0, 2)]
    seeds += [
        _pack([0, 40, *votes, *acks, forward, *acks, *calls, *acks, *calls, 3, *acks]),
        _pack([1, 30, 30, forward, 1, *calls, *calls, 3, [3, send(m.Observe())], 1, 50, 90]),
        _pack([2, append, send(m.RecoveryReply(7, 2, m.EntryId(2, 4), False, 1, member)), 30]),
        _pack([3, append, send(m.Introduction(8, member)), 10, commit]),
    ]
    lies = _lies(member, opened, attach + put)
    seeds += [_pack([way, append, commit, *map(send, lies)]) for way in range(4)]
    seeds += [_pack([0, append, commit, send(lie)]) for lie in lies]
    leads = [40, *votes, *acks, forward, *acks]
    return [*seeds, *(_pack([0, *leads, [0, send(lie)], 3, *acks, 99, 99]) for lie in lies)]


def _lies(member: Membership, opened: bytes, calls: bytes) -> list[Any]:
    """Return messages that are well formed, and that no correct member sends."""
    entry, noop, far = m.Entry, m.EntryKind.NOOP, 2**62
    after = m.EntryId(2, 4)
    entries = [
        [entry(2, 5, 60, noop, b""), entry(2, 7, 60, noop, b"")],
        [entry(2, 5, 60, noop, b""), entry(1, 6, 60, noop, b"")],
        [entry(2, 5, 60, noop, b""), entry(2, 6, 50, noop, b"")],
        [entry(2, 5, 60, m.EntryKind.MEMBERSHIP, b"none")],
        [entry(far, 5, 60, noop, b"")],
        # Calls in the name of the receiver, which it has not made.
        [
            entry(2, 5, 60, m.EntryKind.BATCH, encode_group(0, 0, 1, _opening("a:1"))),
            entry(2, 6, 60, m.EntryKind.BATCH, encode_group(4, 1, 2, calls)),
        ],
    ]
    endless = encode_command(0, "open_session", ("b:1", 6, 1, 10**400), {})
    return [
        *(m.AppendRequest(2, after, 6, run, 4, 0.0, 9) for run in entries),
        m.AppendRequest(far, after, far, [], 1, 0.0, 9), m.VoteReply(2**63 - 1, False),
        m.AppendReply(1, 2**40, True, far, 0, 0.5), m.TimeoutNow(far), m.Dismissal(far, 9),
        m.SnapshotChunk(2, m.SnapshotMeta(9, 2, 5, 4, 0, member), 2, b"abcd", 1, 0.0),
        m.Forward(0, 0, 2**40, opened), *(m.Forward(s, 1, 2**40, calls) for s in (1, 2, 3)),
        m.Forward(0, 0, 1, endless), m.Forward(1, 1, 9, b"x"),
        m.ForwardReply(1, far), m.DigestReport(far, {far: bytes(16)}),
    ]  # fmt: skip


def _opening(address: str) -> bytes:
    return encode_command(0, "open_session", (address, 5, 1, 10.0), {})


# Entries that a table applies: [*entries]; an entry is bytes, or groups [session, first, count,
# commands], whose lengths and counts are right then (count None: one by one)

_CALLS = 4


def _payload(entry: Any) -> bytes:
    if isinstance(entry, bytes):
        return entry
    payload = b""
    for group in entry if isinstance(entry, list) else ():
        if isinstance(group, list) and len(group) == _CALLS and isinstance(group[3], list):
            session, first, count, commands = group
            encoded = [part if isinstance(part, bytes) else _pack(part) for part in commands]
            total = len(encoded) if count is None else number(count, 2**32)
            payload += encode_group(
                number(session, 2**64), number(first, 2**64), total, b"".join(encoded)
            )
    return payload


def _fresh_table() -> Any:
    table = pinned.fresh_table()
    # Those that are made to unpickle do not do so here, where nobody reads.
    for name, target in (
        ("box", ReplList(pickle=True)), ("dict", ReplDict(pickle=True)), ("lock", ReplLock()),
    ):  # fmt: skip
        table.offer(name, target)
    return table


def run_table(data: bytes) -> str:
    """Whatever stands in the log, each table does the same with it, and can be written down."""
    with logged() as log:
        table, other = _fresh_table(), pinned.fresh_table()
        try:
            for index, entry in enumerate(parts(data)[:50], 1):
                payload = _payload(entry)
                table.apply(m.Entry(1, index, index * 10, m.EntryKind.BATCH, payload), 1)
                table._check()
        except NodeFailed as error:
            _is_known(error)
            return f"stops {error}"
        try:
            image = b"".join(table.image())
        except Unserializable as error:
            # What methods of a user's class made of a state; there is nothing else that cannot be
            # written: a member that can take no snapshot has a log without end.
            _is_known(error, ("object '",))
            _is_of_a_user(error)
            return f"no image {error}"
        other.restore([image])
        other._check()
        # Attributes that a class does not have may stand in another order then.
        assert sum(map(len, other.image())) == len(image), "an image lost something"
        table.digest()
        told = log.lines[-1] if log.lines else ""
    return f"{len(table.objects)} {table.serial > 3} {told[:60]}"


def _table_seeds() -> list[bytes]:
    seeds = [_pack([payload]) for payload in pinned_samples("payloads")]
    commands = pinned_samples("commands")
    seeds += [_pack([[[0, 0, None, [command]]]]) for command in commands]
    opened = encode_command(0, "open_session", ("b:1", 5, 1, 10.0), {})
    makes = {
        "box": ReplList, "dict": ReplDict, "lock": ReplLock, "queue": ReplQueue, "set": ReplSet,
        "counter": ReplCounter,
    }  # fmt: skip
    attaches = [
        encode_command(0, "attach", pinned.attach_arguments(name, make()), {})
        for name, make in makes.items()
    ]
    calls = [
        encode_command("box", "append", (1,), {}), encode_command("box", "extend", ([1, 2],), {}),
        encode_command("dict", "set", ("k", (1, 2)), {}), encode_command("dict", "pop", ("k",), {}),
        encode_command("set", "add", (frozenset({1}),), {}),
        encode_command("counter", "add", (2,), {}),
        encode_command("queue", "put", (1,), {}), encode_command("queue", "get", (), {}),
        encode_command("lock", "acquire", (), {}), encode_command("lock", "release", (), {}),
        encode_command("dict", "set", ("k", [_HOSTILE]), {}),
        encode_command("dict", "set", (_HOSTILE, {_HOSTILE: {_HOSTILE}}), {}),
        encode_command("dict", "compare_and_set", ("k", [_HOSTILE], _HOSTILE), {}),
        encode_command("box", "extend", ([_HOSTILE, (_HOSTILE, 1)],), {}),
        encode_command("box", "remove", (_HOSTILE,), {}),
        encode_command("queue", "put_nowait", (_HOSTILE,), {}),
        encode_command("box", "_sort", (["attrgetter", "encoded"], False), {}),
    ]  # fmt: skip
    seeds.append(_pack([[[0, 0, None, [opened]]], [[1, 1, None, [*attaches, *calls]]]]))
    seeds.append(_pack([[[0, 0, None, [opened, *attaches]], [1, 1, None, calls]]]))
    nested = b"\x93" + encode("dict") + encode("set") + b"\x92" + encode("k") + b"\x91" * 200
    seeds.append(_pack([[[0, 0, None, [opened, *attaches]], [1, 1, None, [nested + b"\x90"]]]]))
    groups = [[0, 0, None, [opened]]], [[1, 1, None, commands]], [[0, 0, None, commands]]
    seeds.append(_pack(groups))
    seeds += [_pack([[[0, 0, None, [opened]]], [[1, 1, None, [lie]]]]) for lie in _false_commands()]
    for name, cls in makes.items():
        methods = [encode_command(name, one, (1,), {}) for one in sorted(cls._commands)]
        seeds.append(_pack([[[0, 0, None, [opened, *attaches]], [1, 1, None, methods]]]))
    return seeds


def _false_commands() -> list[bytes]:
    """Return commands that no correct member makes."""
    big, deep = 10**9000, b"\x91" * 300 + b"\x90"
    shaped = [
        big, [big, "put", [1]], ["box", big, [1]], [0, "know", [big, 1, {}]],
        [0, "open_session", [big, 1, 1, 1.0]], [0, "open_session", ["x:1", 1, 1, 10**400]],
        [0, "note_divergence", [[big]]], [0, "drop", [[big]]], [0, "batch", [[[big]]]],
        [0, "change_members", [["\n", "x" * 400], [], None]], [0, "set_version", [big]],
        *(
            [0, "attach", ["box", "syncstructs.structs.lists.ReplList", {}, {name: 5}, []]]
            for name in ("_binding", "_watch", "_all_waiters", "_items")
        ),
        [0, "attach", ["dict", "syncstructs.structs.dicts.ReplDict", {}, {"_items": {}}, ["\n"]]],
        [0, "attach", ["lock", "syncstructs.structs.locks.ReplLock", {},
                       {"_holders": {}, "_waiters": [[1, 2, [], None]]}, []]],
    ]  # fmt: skip
    start = b"\x93\x00" + encode("attach") + b"\x95" + encode("n") + encode("not.Known")
    return [*map(encode, shaped), start + b"\x81" + encode("k") + deep + encode(1) + b"\x90"]


# Images: bytes as they are, or [*records], whose lengths are right then


def run_image(data: bytes) -> str:
    """An image is taken over, or NodeFailed; what was taken over can be written again."""
    records = parts(data)
    if records and all(isinstance(record, bytes | list) for record in records):
        packed = [one if isinstance(one, bytes) else _pack(one) for one in records]
        data = b"".join(_LENGTH.pack(len(one)) + one for one in packed)
    size = max(1, len(data) // 7)
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    with logged():
        table = _fresh_table()
        try:
            table.restore(chunks)
        except NodeFailed as error:
            _is_short(error)
            return f"refused {error}"
        table._check()
        try:
            image = b"".join(table.image())
        except Unserializable as error:
            _is_known(error, (_DEEP,))
            return "no image"
        again = pinned.fresh_table()
        again.restore([image])
        assert sum(map(len, again.image())) == len(image), "an image lost something"
        return f"{len(table.objects)}"


def _image_seeds() -> list[bytes]:
    seeds = pinned_images()
    for image in pinned_images():
        if image[:1] != b"\0":
            continue
        records, at = [], 0
        while at < len(image):
            (length,) = _LENGTH.unpack_from(image, at)
            records.append(image[at + _LENGTH.size : at + _LENGTH.size + length])
            at += _LENGTH.size + length
        seeds.append(_pack(records))
    return seeds


# Data directories: [identity, log, snapshots, extra]; see `_files`


class _Disk(WatchedDisk):
    def random_bytes(self, count: int) -> bytes:
        return b"\x07" * count


_SALT = b"\x07\x08\x09\x0a"


def _segment(index: int, first_write: int, records: Any) -> tuple[str, bytes]:
    """Return a file of the log: bytes as they are, or writes of records, sealed as they should."""
    name = f"log-{index:012d}-{_SALT.hex()}.wal"
    if isinstance(records, bytes):
        return name, records
    content = b""
    for write, said in enumerate(records if isinstance(records, list) else ()):
        pieces = said if isinstance(said, list) else [said]
        kinds = [1 if write == at == 0 else 2 for at in range(len(pieces))]
        sealed = [
            (kind, piece if isinstance(piece, bytes) else _pack(piece))
            for kind, piece in zip(kinds, pieces, strict=True)
        ]
        content += encode_write(_SALT, first_write + write, sealed)
    return name, content


def _snapshot(said: Any) -> tuple[str, bytes]:
    """Return a file of a snapshot: [header, image], sealed, with the name that it says."""
    name = "snapshot-00000000000000000004-00000000000000000001.image"
    if isinstance(said, bytes):
        return name, said
    header, image, *_ = [*said, b"", b""] if isinstance(said, list) else (b"", b"")
    packed = header if isinstance(header, bytes) else _pack(header)
    image = image if isinstance(image, bytes) else _pack(image)
    with suppress(Exception):
        meta = msgspec.convert(_unpack(packed)[2], m.SnapshotMeta)
        name = f"snapshot-{meta.index:020d}-{meta.term:020d}.image"
    sealed = _PREFIX.pack(b"syncsnap", zlib.crc32(packed), len(packed))
    return name[:120], sealed + packed + image


def _files(data: bytes) -> dict[str, bytes]:
    identity, segments, snapshots, *extra = [*parts(data), b"", [], []][:4]
    files: dict[str, bytes] = {}
    if isinstance(identity, dict):
        with suppress(Exception):
            known = msgspec.convert(identity, DirectoryIdentity)
            known = msgspec.structs.replace(known, checksum=known.sum())
            files["identity.json"] = msgspec.json.encode(known)
    elif isinstance(identity, bytes) and identity:
        files["identity.json"] = identity
    first_write = 1
    for index, records in enumerate(segments if isinstance(segments, list) else (), 1):
        name, content = _segment(index, first_write, records)
        files[name] = content
        first_write += len(records) if isinstance(records, list) else 1
    for said in snapshots if isinstance(snapshots, list) else ():
        name, content = _snapshot(said)
        files[name] = content
    for more in extra:
        if isinstance(more, bytes):
            files["snapshot-1.aside"] = more
    return files


def _disk(files: dict[str, bytes]) -> _Disk:
    disk = _Disk()
    disk.crashpoint = None
    for name, content in files.items():
        disk.put(name, content)
    return disk


def _open(disk: _Disk, cluster: str = "c") -> str:
    """Start a node's stores on a directory, as `node.stores` does; return what there is."""
    directory = open_data_dir("/data", cluster=cluster, address="a:1", disk=disk)
    try:
        snapshots = DiskSnapshots(directory)
        latest = snapshots.latest()
        if latest is not None:
            for _ in snapshots.load(latest):
                pass
        log = Wal(directory, segment_bytes=4096)
        restored = log.load(latest)
        snapshots._check()
        log._check()
        log.close()
        replica: Replica[Any] = Replica(
            address="a:1", members=("a:1", "b:1"), config=_CONFIG, random=Random(1), incarnation=1,
            port=LocalCluster(1).members[0], restored=restored, now=1.0,
        )  # fmt: skip
        replica._check()
        return f"{min(len(restored.entries), 5)} {latest is not None}"
    finally:
        directory.close()


def _mend(disk: _Disk) -> str:
    directory = open_existing("/data", disk=disk)
    try:
        found = survey(directory)
        found.membership  # noqa: B018 - it is computed
        if not found.problems:
            command = encode_command(0, "change_members", ([], [], ["a:1"]), {})
            found_anew(directory, found, "a:1", genesis=7, command=encode_group(0, 0, 1, command))
            return "founded"
        plan_repair(found)
        repair(directory, found)
        return "repaired"
    finally:
        directory.close()


def run_directory(data: bytes) -> str:
    """A node starts, or a StorageError says why not, and changes nothing; repair may help then."""
    files = _files(data)
    with logged():
        disk = _disk(files)
        try:
            started = _open(disk)
        except StorageError as error:
            started = str(error)
            _is_short(error)
        disk = _disk(files)
        try:
            mended = _mend(disk)
        except StorageError as error:
            return f"{started} / {error}"
        with suppress(DataDirForeign):
            _open(disk)
        return f"{started} / {mended}"


def _directory_seeds() -> list[bytes]:
    id_ = "07" * 8
    identity = {
        "format": 2, "cluster": "c", "address": "a:1", "id": id_, "members": ["a:1", "b:1"],
        "joined": False, "begun": True, "checksum": 0,
    }  # fmt: skip
    member = Membership(("a:1", "b:1"), genesis=9)
    build = msgspec.to_builtins
    header = [1, id_, 1, [0, 0], build(m.HardState())]
    entries = [
        m.Entry(1, 1, 0, m.EntryKind.MEMBERSHIP, encode_membership(member)),
        *(m.Entry(1, i, i * 10, m.EntryKind.BATCH, b"x" * 20) for i in range(2, 6)),
    ]
    pieces = [
        [None, build(m.HardState(1, "a:1")), [_builtin(one) for one in entries[:3]]],
        [None, None, [_builtin(one) for one in entries[3:]]],
        [],
    ]
    image = pinned_images()[0]
    meta = m.SnapshotMeta(4, 1, 40, len(image), zlib.crc32(image), member)
    kept = [[1, id_, _builtin(meta), b""], image]
    second = [1, id_, 2, [1, 5], build(m.HardState(1, "a:1"))]
    seeds = [
        [identity, [[[header], [pieces[0]], [pieces[1]], [pieces[2]]]], []],
        [identity, [[[header, pieces[0], pieces[1]]]], [kept]],
        [identity, [], [kept]],
        *([identity, [], [[header, image]]] for header in (b"\xa1\xff", b"\x91" * 3000, b"\x80")),
        [b"[" * 3000, [], []],
        [{**identity, "begun": False}, [], []],
        [identity, [[[header], [pieces[0], pieces[1]]], [[second], [pieces[2]]]], [kept]],
        [identity, [[[header], [[_builtin(meta), build(m.HardState(2, "b:1")), []]]]], [kept]],
    ]
    made = [_pack(seed) for seed in seeds]
    for root in sorted(pinned.ROOT.glob("*/stores")):
        files = sorted(root.iterdir())
        logs = [path.read_bytes() for path in files if path.suffix == ".wal"]
        images = [path.read_bytes() for path in files if path.suffix == ".image"]
        made.append(_pack([(root / "identity.json").read_bytes(), logs, images]))
    return made


def _builtin(value: Any) -> Any:
    return _unpack(_pack(value))


def run_records(data: bytes) -> str:
    """Whole writes come out of any bytes; what is told of the rest lies inside of them."""
    for salt in (_SALT, data[:4]):
        found = scan(data, salt, None)
        assert 0 <= found.end <= len(data)
        assert found.fault is None or found.end <= found.fault <= len(data), found
        assert (found.fault is None) == (found.end == len(data)), found
        for record in (record for write in found.writes for record in write):
            sealed = data[record.offset + 8 : record.end]
            seal = zlib.crc32(sealed, int.from_bytes(salt, "big"))
            assert data[record.offset + 4 : record.offset + 8] == seal.to_bytes(4, "big")
        ends = [record.end for write in found.writes for record in write]
        assert ends == sorted(set(ends))
        if found.writes and not found.damaged:
            assert len(scan(data[: found.end], salt, None).writes) == len(found.writes)
    return f"{min(len(found.writes), 3)} {found.fault is None} {found.damaged}"


def _record_seeds() -> list[bytes]:
    write = [encode_write(_SALT, n, [(1, b"a" * n), (2, b"")]) for n in range(1, 5)]
    return [b"".join(write), write[0] + bytes(40) + write[2], write[1][:-1], b"".join(write[::-1])]


# Inquiries: [verb, arguments, *answers]


class _Asked:
    address, failure, blocker = "n1:1", None, None

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def send_to(self, peer: str, message: Any) -> bool:
        self.sent.append(message)
        return True

    def start(self, steps: Any) -> Future[Any]:
        future: Future[Any] = Future(self.blocker)  # type: ignore[arg-type]
        try:
            next(steps)
        except StopIteration as end:
            future.finish(end.value, None)
        except SyncError as error:
            future.finish(None, error)
        return future

    def post(self, function: Callable[[], object]) -> bool:
        function()
        return True


def run_inquiry(data: bytes) -> str:
    """Whatever is asked is answered, once and shortly; whatever is answered is taken or passed."""
    asked = _Asked()
    inquiries = Inquiries(asked)  # type: ignore[arg-type]

    def verb(arguments: Any) -> Any:
        yield from ()
        return repr(arguments)

    inquiries.verbs = {"status": verb, "add": verb}
    seen = []
    verb_, *payloads = parts(data) or [""]
    for payload in payloads[:20]:
        if not isinstance(payload, bytes):
            continue
        name = verb_ if isinstance(verb_, str) else "status"
        with suppress(ProtocolError):
            message = decode_message(encode_message(m.Inquiry(3, name, payload)))
            before = len(asked.sent)
            inquiries.received("p:1", message)
            assert len(asked.sent) == before + 1
            answer = asked.sent[-1]
            assert len(answer.payload) <= PAYLOAD_BYTES
            assert isinstance(json.loads(answer.payload), dict | str)
            seen.append(f"{answer.ok} {answer.payload[:40]!r}")
        future = inquiries.ask("p:1", "status", {})
        inquiries.received("q:1", m.Answer(asked.sent[-1].id, True, payload))
        assert not future.done()
        inquiries.received("p:1", m.Answer(asked.sent[-1].id, number(verb_, 2) == 0, payload))
        assert future.done()
        assert isinstance(_parsed(payload), dict | None)
        inquiries._check()
    return " ".join(seen[:1])


def _inquiry_seeds() -> list[bytes]:
    said = [b"{}", b'{"timeout": 1.0}', b'{"addresses": ["a:1"], "to": null, "number": 3}',
            b'{"timeout": -1}', b'{"x": 1}', b"[]", b'{"to": "\\ud800"}', b"\xff",
            b'{"to": "\xff"}', b"[" * 3000]  # fmt: skip
    return [_pack([verb, *said]) for verb in ("status", "add", "drop", 1)]


# The monitor


def run_http(data: bytes) -> str:
    """A request and what becomes of its password, or an answer with headers of our own only."""
    found = server.parse(data)
    if isinstance(found, server.Request):
        assert len(found.path) + len(found.host) <= 5 * len(data)
        _check_guard(found, data)
        assert found.host.isascii()
        misdirected = server.misdirected(found.host)
        assert misdirected.isprintable()
        assert len(misdirected) < 4096
        return f"{found.wants_body} {bool(found.host)} {found.authorization is None}"
    head = found.head()
    assert head.count(b"\r\n\r\n") == 1
    assert head.endswith(b"\r\n\r\n")
    return f"{found.status} {found.body[:60]!r}"


def _check_guard(found: server.Request, data: bytes) -> None:
    """Only who has the password gets in, at once or after a while; nothing grows or is shown."""
    said = found.authorization
    password = None if said is None else password_in(said)
    guard = Guard([PAGE_PASSWORD])
    assert said is None or (said in data and repr(said) not in repr(found))
    for now in (0.0, 0.0, 100.0):
        verdict = guard.check(said, found.host, now)
        assert (verdict is Verdict.OPEN) == (password == PAGE_PASSWORD.encode())
        assert verdict is not Verdict.WAIT
    counts = password not in (None, PAGE_PASSWORD.encode())
    assert len(guard._debts) == len(guard._wrong) == counts
    guard._check()


def _http_seeds() -> list[bytes]:
    right = b64encode(b"ann:" + PAGE_PASSWORD.encode())
    said = (b"Basic " + right, b"basic  eDp5Og==", b"Basic eDp5O", b"Bearer " + right, b"Basic")
    return [
        *(b"GET / HTTP/1.1\r\nauthorization:%s\r\n\r\n" % one for one in said),
        b"HEAD /x HTTP/1.1\nAuthorization: Basic %s\nAuthorization: Basic x\n\n" % right,
        b"GET /metrics?x=1 HTTP/1.1\r\nHost: x:80\r\n\r\n", b"HEAD / HTTP/1.0\n\n",
        b"POST / HTTP/1.1\r\nHost: [::1]:80\r\nhost: b\r\n\r\n", b"GET / HTTP/2\r\n\r\n", b"x",
        b"GET /\xff HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: \xff\xfe.:0\r\nX: y\r\n\r\n",
    ]  # fmt: skip


TARGETS: dict[str, Target] = {
    "frames": Target(run_frames, _link_seeds),
    "link": Target(run_link, _link_seeds),
    "sealed": Target(run_sealed, _sealed_seeds),
    "tls": Target(run_tls, _tls_seeds),
    "codec": Target(run_codec, _codec_seeds),
    "message": Target(run_message, _message_seeds),
    "member": Target(run_member, _member_seeds),
    "table": Target(run_table, _table_seeds),
    "image": Target(run_image, _image_seeds),
    "records": Target(run_records, _record_seeds),
    "directory": Target(run_directory, _directory_seeds),
    "inquiry": Target(run_inquiry, _inquiry_seeds),
    "http": Target(run_http, _http_seeds),
}


def corpus(name: str) -> list[bytes]:
    """Return the inputs that are kept for a target, smallest first."""
    path = CORPUS / f"{name}.txt"
    if not path.exists():
        return []
    return [bytes.fromhex(line) for line in path.read_text(encoding="ascii").split()]
