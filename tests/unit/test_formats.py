"""What was ever written is read for ever; and what is written today has not changed unnoticed."""

import json
import shutil
from typing import get_args

import msgspec
import pinned_formats as pinned
import pytest

import syncstructs
from syncstructs.codec import _UNPACKERS, _Code, decode, encode
from syncstructs.errors import DecodeError, ProtocolError
from syncstructs.net.frames import FrameDecoder
from syncstructs.net.hello import (
    PROTOCOL_VERSION,
    Hello,
    OtherVersion,
    Refusal,
    decode_first_frame,
)
from syncstructs.objects import replicated as module
from syncstructs.objects.batches import command_parts, decode_groups
from syncstructs.objects.table import _SYSTEM
from syncstructs.raft import messages as m
from syncstructs.raft.membership import Membership, decode_membership, encode_membership
from syncstructs.raft.wire import decode as decode_message
from syncstructs.testing.simulator import Simulation

NAMES = pinned.names()
NEWEST = NAMES[-1]
CHANGED = (
    "{what} is written otherwise than it was pinned as tests/fixtures/formats/{name}: data"
    " directories and members of releases before have it that way. If this is on purpose, raise the"
    " number of that format (image._FORMATS, hello.PROTOCOL_VERSION, _FORMAT of the WAL, of the"
    " snapshots or of the directory, versions.RELEASE for commands), go on reading what is pinned,"
    " and run `python tests/fixtures/make_formats.py {next}`, which pins the new one beside it. For"
    " a new command of a type of this library do this alone: members without it stop at its call"
)
MISSING = (
    "{what} {missing} pinned nowhere: add samples at the ends of the lists in"
    " tests/support/pinned_formats.py, and run `python tests/fixtures/make_formats.py {next}`"
)
NEXT = int(NEWEST) + 1
# Their payload is no value.
RAW_CODES = {
    _Code.INT, _Code.STR, _Code.BYTEARRAY, _Code.DECIMAL, _Code.UUID, _Code.PICKLED,
}  # fmt: skip


@pytest.fixture(autouse=True)
def imported(monkeypatch):
    """Let nodes make objects of the class of a user, as if it was imported."""
    monkeypatch.setitem(module._classes, module.type_name(pinned.Stock), pinned.Stock)


def pins(name):
    return json.loads((pinned.ROOT / name / "pins.json").read_text(encoding="utf-8"))


def samples(name, kind):
    return [(text, bytes.fromhex(data)) for text, data in pins(name)[kind]]


# What was written is read


@pytest.mark.parametrize("name", NAMES)
def test_values_are_read(name):
    for text, data in samples(name, "values"):
        value = decode(data)
        assert pinned.shown(value) == text
        assert encode(value) == data, text


@pytest.mark.parametrize("name", NAMES)
def test_messages_of_this_protocol_are_read(name):
    if pins(name)["protocol"] != PROTOCOL_VERSION:
        pytest.skip("nodes of that protocol are refused in their first frame")
    for text, data in samples(name, "messages"):
        assert pinned.agrees(text, pinned.told(decode_message(data))), text


@pytest.mark.parametrize("name", NAMES)
def test_nodes_of_any_protocol_can_tell_each_other_why_they_part(name):
    (_, hello), (_, refusal) = samples(name, "first frames")[:2]
    frames = list(FrameDecoder(4096).receive(hello + refusal))
    greeting, refused = map(decode_first_frame, frames)
    if pins(name)["protocol"] == PROTOCOL_VERSION:
        assert isinstance(greeting, Hello)
        assert (greeting.cluster, greeting.address, greeting.dialled) == ("pinned", "a:1", "b:1")
        assert (greeting.incarnation, greeting.number) == (2**63 + 1, 3)
    else:
        assert greeting == OtherVersion(pins(name)["protocol"])
    assert refused == Refusal("'a:1' is of cluster 'pinned', 'b:1' is of another one")


@pytest.mark.parametrize("name", NAMES)
def test_commands_are_understood(name):
    for _, data in samples(name, "commands"):
        target, method, args, _ = command_parts(decode(data))
        if target == 0:
            shape = _SYSTEM[method][1]
            assert len(args) == len(shape), method
            assert all(map(isinstance, args, shape)), method
    (_, groups), (_, membership) = samples(name, "payloads")[:2]
    assert [(g.session, g.first_sequence, g.count) for g in decode_groups(groups)] == [
        (21, 3, 2),
        (0, 0, 1),
    ]
    assert decode_membership(membership).voters == ("a:1", "b:1")


@pytest.mark.parametrize("name", NAMES)
def test_images_are_read(name):
    for path in sorted((pinned.ROOT / name).glob("*.image")):
        table = pinned.fresh_table()
        table.restore([path.read_bytes()])
        assert pinned.described(table) == path.with_suffix(".txt").read_text(encoding="utf-8")
        table._check()


@pytest.mark.parametrize("name", NAMES)
def test_the_files_of_stores_are_read(name, tmp_path):
    shutil.copytree(pinned.ROOT / name / "stores", tmp_path / "stores")
    expected = json.loads((pinned.ROOT / name / "stores.json").read_text(encoding="utf-8"))
    assert pinned.agrees(expected, pinned.read_stores(tmp_path / "stores"))


@pytest.mark.parametrize("name", NAMES)
def test_nodes_go_on_with_the_directories_of_nodes(name):
    directories = sorted((pinned.ROOT / name / "nodes").iterdir())
    recorded = [
        json.loads((path / "identity.json").read_text(encoding="utf-8")) for path in directories
    ]

    class Recorded(Simulation):
        # Those that the nodes had, and not those of a simulation.
        addresses = property(
            lambda self: tuple(identity["address"] for identity in recorded),
            lambda self, made_up: None,
        )

    cluster = Recorded(name, {}, size=len(recorded), disks=True, check=False)
    try:
        for host, directory in zip(cluster.hosts.values(), directories, strict=True):
            _fill(host.disk, directory)
        expected = (pinned.ROOT / name / "nodes.txt").read_text(encoding="utf-8")
        for _ in range(2):
            cluster.start()
            cluster.run_until(lambda: all(life.node._ready.done() for life in cluster.lives()))
            cluster.settle()
            for life in cluster.lives():
                assert life.node._ready.exception() is None
                assert pinned.contents(life.table.objects) == expected
                assert life.node.version == 2
            for address in cluster.addresses:
                cluster.crash(address)
        cluster.start()
        given = cluster.node(cluster.addresses[0]).objects["stock"].give.submit(1)
        cluster.await_all([given])
        assert given.exception() is None
    finally:
        cluster.end()


def _fill(disk, directory):
    disk.make_directory("/data")
    for path in sorted(directory.iterdir()):
        file = disk.open(f"/data/{path.name}", "create")
        file.write(0, path.read_bytes())
        file.sync()
        file.close()
    disk.sync_directory("/data")


# What is written has not changed


def test_what_is_written_today_is_what_was_pinned(tmp_path):
    was = pins(NEWEST)
    assert was["protocol"] == PROTOCOL_VERSION, CHANGED.format(
        what="the first frame", name=NEWEST, next=NEXT
    )
    for kind, made in pinned.PINS.items():
        for (text, data), (_, before) in zip(made, samples(NEWEST, kind), strict=False):
            what = f"{kind[:-1]} {data!r} ({text})"
            assert data == before, CHANGED.format(what=what, name=NEWEST, next=NEXT)
        missing = f"{len(made) - len(was[kind])} samples are"
        assert len(made) == len(was[kind]), MISSING.format(
            what=f"{kind}:", missing=missing, next=NEXT
        )
    pinned.write_pinned(tmp_path)
    expected = pinned.ROOT / NEWEST
    for file in sorted({*pinned.pinned_files(tmp_path), *pinned.pinned_files(expected)}):
        now, then = tmp_path / file, expected / file
        what = CHANGED.format(what=file, name=NEWEST, next=NEXT)
        assert now.exists(), what
        assert then.exists(), what
        assert now.read_bytes() == then.read_bytes(), what


def test_everything_that_leaves_a_process_is_pinned():
    kinds = {text["struct"] for name in NAMES for text, _ in samples(name, "messages")}
    lacking = sorted({kind.__name__ for kind in get_args(m.Message)} - kinds)
    assert not lacking, MISSING.format(what="messages", missing=f"{lacking} are", next=NEXT)
    commands = [decode(data) for name in NAMES for _, data in samples(name, "commands")]
    lacking = sorted(set(_SYSTEM) - {method for target, method, *_ in commands if target == 0})
    assert not lacking, MISSING.format(what="commands", missing=f"{lacking} are", next=NEXT)
    types = {name for name in syncstructs.__all__ if name.startswith("Repl")} - {"Replicated"}
    lacking = sorted(types - {type(make()).__name__ for make in pinned.TYPES.values()})
    assert not lacking, MISSING.format(what="objects", missing=f"{lacking} are", next=NEXT)
    lacking = sorted(set(_UNPACKERS) - set(_codes()))
    assert not lacking, MISSING.format(what="codes", missing=f"{lacking} are", next=NEXT)


def _codes():
    """Return the codes of all extensions in the values."""
    found = []

    def look(code, payload):
        found.append(code)
        if code not in RAW_CODES:
            decoder.decode(payload)

    decoder = msgspec.msgpack.Decoder(ext_hook=look)
    for name in NAMES:
        for _, value in samples(name, "values"):
            decoder.decode(value)
    return found


def test_what_is_pinned_is_never_written_again():
    before = sorted(pinned.ROOT.rglob("*"))
    for name in (NEWEST, "0", "latest", str(NEXT + 1)):
        with pytest.raises(SystemExit, match=f"give {NEXT}"):
            pinned.make(name)
    assert sorted(pinned.ROOT.rglob("*")) == before


# What later releases may add


def test_a_message_may_grow_fields_that_this_release_passes_over():
    for message in pinned.MESSAGES:
        grown = [*msgspec.msgpack.decode(msgspec.msgpack.encode(message)), "later", {"more": 1}]
        assert decode_message(msgspec.msgpack.encode(grown)) == message


def test_a_greeting_may_grow_fields_that_this_release_passes_over():
    (payload,) = FrameDecoder(4096).receive(samples(NEWEST, "first frames")[0][1])
    head, hello = payload[:15], msgspec.msgpack.decode(payload[15:])
    grown = head + msgspec.msgpack.encode([*hello, "later"])
    assert decode_first_frame(grown) == decode_first_frame(payload)


@pytest.mark.parametrize("kind", [0, 99, 127])
def test_a_message_of_a_kind_that_is_not_known_says_so(kind):
    with pytest.raises(ProtocolError, match=f"kind {kind} .* later release"):
        decode_message(msgspec.msgpack.encode([kind, 1, 2]))
    for data in (b"", b"\x91", b"\x93\xc0", b"\x91\x09"):
        with pytest.raises(ProtocolError, match="no message"):
            decode_message(data)


def test_an_entry_of_a_kind_that_is_not_known_says_so():
    append = next(x for x in pinned.MESSAGES if isinstance(x, m.AppendRequest) and x.entries)
    raw = msgspec.msgpack.decode(msgspec.msgpack.encode(append))
    raw[4][0][3] = 9
    with pytest.raises(ProtocolError, match=r"enum value 9.*later release"):
        decode_message(msgspec.msgpack.encode(raw))


def test_a_membership_in_the_log_that_has_grown_is_not_taken_for_what_is_known_of_it():
    payload = encode_membership(Membership(("a:1", "b:1"), genesis=5))
    assert decode_membership(payload).voters == ("a:1", "b:1")
    grown = [*msgspec.msgpack.decode(payload), ["witness:1"]]
    with pytest.raises(ProtocolError, match=r"5 parts.*later release"):
        decode_membership(msgspec.msgpack.encode(grown))


def test_a_value_of_a_later_codec_is_no_value_here():
    with pytest.raises(DecodeError, match="later release"):
        decode(msgspec.msgpack.encode(msgspec.msgpack.Ext(99, b"")))
