"""Links with certificates: who is let in, under which name, and what their files must be."""

import random
import shutil
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256
from types import SimpleNamespace

import pytest
from certificates import BOTH, Authority
from hypothesis import given, settings
from hypothesis import strategies as st
from tls_records import HANDSHAKE, Records, secret_in

from syncstructs import Config, ConfigError, Tls
from syncstructs.config import parse_address
from syncstructs.net import tls as tls_module
from syncstructs.net.cipher import Keys
from syncstructs.net.events import Broken, FrameReceived, Greeted, Refused
from syncstructs.net.frames import frame_header
from syncstructs.net.hello import (
    HELLO_LIMIT_BYTES,
    Identity,
    Refusal,
    Turned,
    decode_first_frame,
    encode_handshake,
)
from syncstructs.net.link import Link, State
from syncstructs.net.tls import Channel, Contexts, reason_to_distrust

A, B, CLUSTER = "a.example:1", "b.example:1", "the cluster"
OBSERVER = "observer-5d41402abc4b2a76"
LIMIT = 2_000_000


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("other"))


@pytest.fixture(scope="module")
def both_sides(authority):
    a, b = authority.issue("a", "a.example"), authority.issue("b", "b.example")
    return Contexts(a, A), Contexts(b, B)


def identity(address, cluster=CLUSTER):
    return Identity(cluster=cluster, address=address, incarnation=7, limit_bytes=LIMIT)


def keys():
    return Keys(sha256(b"one").digest(), (), random.Random("keys").randbytes)


@dataclass
class Pair:
    """A dialer and an acceptor whose bytes are carried by hand, until none are left."""

    dialer: Link
    acceptor: Link

    def __post_init__(self):
        self.wire = b""
        self.heard = {"dialer": [], "acceptor": []}

    def begin(self):
        self.dialer.greet(5)
        return self.carry()

    def carry(self, change=lambda side, words: words):
        """Carry all there is; the acceptor greets who has greeted. Return the last events."""
        links = self.dialer, self.acceptor
        while any(link.has_to_say for link in links):
            for source, target in (links, links[::-1]):
                words = source.data_to_send()
                self.wire += words
                self.say(target, change(source.side, words))
        return self.heard["dialer"][-1:], self.heard["acceptor"][-1:]

    def say(self, target, words):
        events = target.receive(words)
        self.heard[target.side] += events
        target._check()
        if target is self.acceptor and any(isinstance(event, Greeted) for event in events):
            target.greet(9)


def pair(dialers, acceptors, *, dialler=A, dialled=B, cluster=CLUSTER):
    """Return links with what proves them, each `Contexts`, `Keys` or None."""

    def proof(one):
        if isinstance(one, Contexts):
            return {"certificates": one}
        return {"keys": one}

    return Pair(
        Link("dialer", identity=identity(dialler, cluster), dialled=dialled, **proof(dialers)),
        Link("acceptor", identity=identity(B), **proof(acceptors)),
    )


def refused(reason, *, by_peer=False, address=None, in_clear=False):
    return [Refused(reason=reason, by_peer=by_peer, address=address, in_clear=in_clear)]


def test_both_sides_learn_of_each_other_and_nothing_can_be_read_on_the_wire(both_sides):
    both = pair(*both_sides)
    assert both.begin() == (
        [Greeted(address=B, incarnation=7, number=9)],
        [Greeted(address=A, incarnation=7, number=5)],
    )
    assert both.dialer.state is both.acceptor.state is State.OPEN
    assert both.dialer.limit_bytes == both.acceptor.limit_bytes == LIMIT
    secrets = [b"a secret " * 10_000, b"another", b""]
    stream = both.dialer.frames(secrets)
    assert both.acceptor.receive(stream) == [FrameReceived(one) for one in secrets]
    wire = both.wire + stream
    # Whom the dialer means to reach is said in clear; see the README.
    for word in (b"a.example", b"example:1", CLUSTER.encode(), b"secret", b"another"):
        assert word not in wire
    assert b"b.example" in wire


def test_nobody_is_taken_for_a_member_before_its_certificate_was_seen(both_sides):
    both = pair(*both_sides)
    assert not both.acceptor.is_proved
    both.dialer.greet(5)
    both.say(both.acceptor, both.dialer.data_to_send())
    assert both.acceptor.state is State.SECURING
    assert not both.acceptor.is_proved
    both.say(both.dialer, both.acceptor.data_to_send())
    both.say(both.acceptor, both.dialer.data_to_send())
    assert both.acceptor.is_proved


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.integers(0, 70_000), max_size=6), seed=st.integers(0, 2**32))
def test_messages_of_any_size_arrive_cut_in_any_way(both_sides, sizes, seed):
    draw = random.Random(seed)
    both = pair(*both_sides)
    both.begin()
    for source, target in ((both.dialer, both.acceptor), (both.acceptor, both.dialer)):
        payloads = [draw.randbytes(size) for size in sizes]
        stream = b"".join(source.frames(payloads[at : at + 2]) for at in range(0, len(sizes), 2))
        events, at = [], 0
        while at < len(stream):
            step = draw.choice((1, 7, 1000, 40_000))
            events += target.receive(stream[at : at + step])
            at += step
        assert events == [FrameReceived(payload) for payload in payloads]


PLAIN = "the node that {} speaks TLS, the node that {} does not"
KEYS = "the node that {} speaks TLS, the node that {} has a password"
DIALS, DIALLED = "dialled", "was dialled"


@pytest.mark.parametrize(
    ("sentence", "proof"), [(PLAIN, lambda: None), (KEYS, keys)], ids=["nothing", "password"]
)
def test_who_has_certificates_never_talks_to_who_has_none_and_both_say_why(
    both_sides, sentence, proof
):
    own, its = both_sides
    both = pair(own, proof())
    reason = sentence.format(DIALS, DIALLED)
    assert both.begin() == (
        refused(reason, by_peer=True, address=B, in_clear=True), refused(reason),
    )  # fmt: skip
    both = pair(proof(), its)
    reason = sentence.format(DIALLED, DIALS)
    # Who has a password knows that what is in clear may be anybody's.
    assert both.begin() == (
        refused(reason, by_peer=True, address=B, in_clear=proof is keys), refused(reason),
    )  # fmt: skip
    assert not any(
        isinstance(event, Greeted) for side in both.heard.values() for event in side
    )


def untrusted(events):
    """Return what OpenSSL says of a certificate whose authority is not known, or came with it."""
    ways = "unable to get local issuer certificate", "self-signed certificate in certificate chain"
    return next(way for way in ways if events[0].reason.endswith(way))


def test_a_certificate_of_another_authority_is_taken_by_neither_side(both_sides, other):
    foreign = Contexts(other.issue("foreign", "a.example", "b.example"), A)
    own, its = both_sides
    for dialers, acceptors in ((foreign, its), (own, foreign)):
        both = pair(dialers, acceptors)
        there, back = both.begin()
        # The dialer looks first, and neither takes the other's.
        begin = "the node that dialled does not take the certificate of the node that was dialled"
        assert there == refused(f"{begin}: {untrusted(there)}", address=B)
        assert back == refused(f"{begin}: unknown ca", by_peer=True, in_clear=True)


def test_an_acceptor_takes_no_certificate_of_another_authority(authority, other, tmp_path):
    """With a dialer that trusts both, so that the acceptor is the one to object."""
    foreign = other.issue("roamer", "a.example")
    trusting = tmp_path / "both.pem"
    trusting.write_bytes(authority.ca.read_bytes() + other.ca.read_bytes())
    dialers = Contexts(Tls(cert=foreign.cert, key=foreign.key, ca=str(trusting)), A)
    both = pair(dialers, Contexts(authority.issue("strict", "b.example"), B))
    there, back = both.begin()
    begin = "the node that was dialled does not take the certificate of the node that dialled"
    assert back == refused(f"{begin}: {untrusted(back)}")
    # It was through with the handshake, so this is sealed.
    assert there == refused(f"{begin}: unknown ca", by_peer=True, address=B)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_who_has_no_certificate_or_an_older_tls_is_not_let_in(both_sides, version):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = version
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    stranger = context.wrap_bio(incoming, outgoing)
    link = Link("acceptor", identity=identity(B), certificates=both_sides[1])
    events = []
    for _ in range(4):
        with suppress(ssl.SSLError):
            stranger.do_handshake()
        events += link.receive(outgoing.read())
        incoming.write(link.data_to_send())
    reasons = {
        ssl.TLSVersion.TLSv1_3: "the node that dialled has no certificate: it has none",
        ssl.TLSVersion.TLSv1_2: "the node that was dialled speaks TLS 1.3, the node that dialled"
        " does not: unsupported protocol",
    }
    assert events == refused(reasons[version])
    assert not link.is_whole


def test_an_alert_in_clear_ends_a_link_and_anybody_may_have_said_it(both_sides):
    both = pair(*both_sides)
    both.dialer.greet(5)
    both.say(both.dialer, b"\x15\x03\x03\x00\x02\x02\x28")
    reason = "the node that was dialled ended the TLS handshake: handshake failure"
    assert both.heard["dialer"] == refused(reason, by_peer=True, address=B, in_clear=True)


@pytest.mark.pure("a method is changed")
@pytest.mark.parametrize("proof", ["certificates", "a password"])
@pytest.mark.parametrize(
    ("payload", "sent", "reason"),
    [
        (encode_handshake(bytes(48)), 100, "the peer begins a handshake inside of one"),
        (bytes(HELLO_LIMIT_BYTES + 1), 9, "a frame of 4097 bytes is over the limit of 4096 bytes"),
    ],
)
def test_who_is_proved_and_does_not_say_hello_is_ended(both_sides, proof, payload, sent, reason):
    both = pair(*(both_sides if proof == "certificates" else (keys(), keys())))
    stream = (frame_header(payload) + payload)[:sent]

    def say_this(receiver):
        both.dialer._to_send += both.dialer._sealed(stream)

    both.dialer._say_hello = say_this
    assert both.begin()[1] == [Broken(reason)]


def test_a_dialer_ends_what_is_another_host_than_the_one_it_dialled(authority, both_sides):
    impostor = Contexts(authority.issue("impostor", "c.example"), "c.example:1")
    both = pair(both_sides[0], impostor)
    there, back = both.begin()
    begin = "the node that dialled does not take the certificate of the node that was dialled"
    why = "Hostname mismatch, certificate is not valid for 'b.example'"
    assert there == refused(f"{begin}: {why}", address=B)
    assert back == refused(f"{begin}: bad certificate", by_peer=True, in_clear=True)


def test_the_subject_of_a_certificate_is_no_name_of_its_host(authority, both_sides):
    named = Contexts(authority.issue("subject", common_name="b.example"), OBSERVER)
    there, _ = pair(both_sides[0], named).begin()
    assert "is not valid for 'b.example'" in there[0].reason


def test_an_acceptor_lets_nobody_in_under_the_name_of_another_host(authority, both_sides):
    """Its certificate is good, for another host; as an observer it may come all the same."""
    impostor = Contexts(authority.issue("liar", "c.example"), "c.example:1")
    both = pair(impostor, both_sides[1])
    there, back = both.begin()
    reason = (
        "'a.example:1' is not proved: the certificate is for 'c.example' and not for 'a.example'"
    )
    assert back == refused(reason)
    assert there == refused(reason, by_peer=True, address=B)
    # Nor can whoever has any certificate have something else told of the other host.
    for name, cluster in ((A, "another"), ("a.example", CLUSTER), ("", CLUSTER)):
        both = pair(impostor, both_sides[1], dialler=name, cluster=cluster)
        [told] = both.begin()[1]
        assert isinstance(told, Refused)
        assert told.address is None, told
    assert decode_first_frame(b"syncstructs\0\2\0\2why") == Refusal("why")
    for name in (OBSERVER, "c.example:77"):
        both = pair(impostor, both_sides[1], dialler=name)
        assert both.begin()[1] == [Greeted(address=name, incarnation=7, number=5)]


CERTIFICATE = {
    "subject": ((("commonName", "d.example"),),),
    "subjectAltName": (
        ("DNS", "A.example"), ("DNS", "*.b.example"), ("DNS", "*"), ("DNS", "*.com"),
        ("DNS", "x*.e.example"), ("IP Address", "10.0.0.1"), ("IP Address", "0:0:0:0:0:0:0:1"),
        ("email", "g.example"), ("DNS", "10.0.0.9"), ("DNS", "xn--bcher-kva.example"),
        ("DirName", (("x", "y"),)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "address",
    ["a.example:1", "a.EXAMPLE:1", "a.example.:9", "x.b.example:1", "10.0.0.1:1", "[::1]:1",
     "[0::1]:1", OBSERVER, "bücher.example:1"],
)  # fmt: skip
def test_hosts_that_a_certificate_is_for(address):
    assert reason_to_distrust(CERTIFICATE, address) is None


@pytest.mark.parametrize(
    "address",
    ["b.example:1", "x.y.b.example:1", "d.example:1", "x.com:1", "com:1", "x1.e.example:1",
     "g.example:1", "10.0.0.9:1", "10.0.0.2:1", "[::2]:1", "localhost:1", "xa.example:1",
     ".b.example:1", "example:1"],
)  # fmt: skip
def test_hosts_that_a_certificate_is_not_for(address):
    assert reason_to_distrust(CERTIFICATE, address)
    assert reason_to_distrust({}, address)


@pytest.fixture(scope="module")
def many_names(authority):
    names = ["a.example", "*.b.example", "*.c_d.example", "e_1.example", "10.0.0.1", "::1",
             "xn--bcher-kva.example", "*.com", "*.0.0.2"]  # fmt: skip
    return Contexts(authority.issue("many", *names), OBSERVER)


@pytest.mark.parametrize(
    ("host", "passes"),
    [("a.example", True), ("A.Example.", True), ("a.example..", False), ("x.b.example", True),
     ("x.b.example.", True), ("b.example", False), (".b.example", False), ("x_1.b.example", False),
     ("x.c_d.example", False), ("e_1.example", True), ("x.com", False),
     ("10.0.0.1", True), ("10.0.0.2", False), ("10.0.0.2.", False), ("[0::1]", True),
     ("[::1%lo]", True), ("[::ffff:10.0.0.1]", False), ("bücher.example", True),
     ("bücher.b.example", True)],
)  # fmt: skip
def test_the_dialer_and_the_acceptor_look_at_a_host_alike(both_sides, many_names, host, passes):
    """Else one would start as a member that nobody can dial, or be let in as one."""
    dialer, acceptor = both_sides[0].dial(parse_address(f"{host}:1").host), many_names.accept()
    taken = True
    try:
        while not (dialer.shake() and acceptor.is_secure):
            acceptor.feed(dialer.data_to_send())
            acceptor.shake()
            dialer.feed(acceptor.data_to_send())
    except Turned:
        taken = False
    there, back = pair(many_names, both_sides[1], dialler=f"{host}:1").begin()
    let_in = isinstance(back[0], Greeted)
    assert (taken, let_in) == (passes, passes), (there, back)


def test_a_certificate_with_a_name_that_is_no_text_is_refused(authority, both_sides):
    odd = authority.issue("odd", raw_names=b"\x30\x04\x82\x02\xff\xfe")
    reason = "a name in the certificate is no text"
    with pytest.raises(ConfigError, match=reason):
        Contexts(odd, OBSERVER)
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname = False
    stranger.load_verify_locations(odd.ca)
    stranger.load_cert_chain(odd.cert, odd.key)
    contexts = SimpleNamespace(dial=lambda host: Channel(stranger, host))
    dialer = Link("dialer", identity=identity(A), dialled=B, certificates=contexts)
    both = Pair(dialer, Link("acceptor", identity=identity(B), certificates=both_sides[1]))
    assert both.begin()[1] == [Broken(reason)]


@pytest.mark.parametrize("host", [".b", "b" * 64, "b..c", "b." * 200 + "c"])
def test_a_host_that_is_no_name_is_in_no_certificate(both_sides, host):
    both = pair(*both_sides, dialled=f"{host}:1")
    there, _ = both.begin()
    assert isinstance(there[0], Refused)
    assert "does not take the certificate" in there[0].reason


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_bytes_that_were_changed_on_the_way_break_the_link_and_nothing_else(both_sides, seed):
    draw = random.Random(seed)
    both = pair(*both_sides)
    place = draw.randrange(5000)

    def change(side, words, passed=[0]):  # noqa: B006
        begin, passed[0] = passed[0], passed[0] + len(words)
        if not begin <= place < passed[0]:
            return words
        at = place - begin
        kind = draw.choice(("flip", "cut", "double", "insert"))
        if kind == "flip":
            return words[:at] + bytes([words[at] ^ draw.randrange(1, 256)]) + words[at + 1 :]
        if kind == "cut":
            return words[:at]
        return words[:at] + (words[:at] if kind == "double" else draw.randbytes(9)) + words[at:]

    both.dialer.greet(5)
    both.carry(change)
    seen = both.heard["dialer"] + both.heard["acceptor"]
    greeted = [event for event in seen if isinstance(event, Greeted)]
    assert set(greeted) <= {
        Greeted(address=B, incarnation=7, number=9), Greeted(address=A, incarnation=7, number=5),
    }  # fmt: skip
    assert not any(isinstance(event, FrameReceived) for event in seen)
    for link in (both.dialer, both.acceptor):
        ends = [e for e in both.heard[link.side] if isinstance(e, Broken | Refused)]
        assert link.is_whole == (not ends)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_records_that_were_flipped_dropped_repeated_or_swapped_end_an_open_link(both_sides, seed):
    draw = random.Random(seed)
    both = pair(*both_sides)
    both.begin()
    records = [both.dialer.frames([draw.randbytes(draw.randrange(300))]) for _ in range(6)]
    at = draw.randrange(5)
    kind = draw.choice(("flip", "drop", "double", "swap", "reflect"))
    changed = list(records)
    if kind == "flip":
        where = draw.randrange(5, len(changed[at]))
        flipped = bytearray(changed[at])
        flipped[where] ^= draw.randrange(1, 256)
        changed[at] = bytes(flipped)
    elif kind == "drop":
        del changed[at]
    elif kind == "double":
        changed.insert(at, changed[at])
    elif kind == "swap":
        changed[at], changed[at + 1] = changed[at + 1], changed[at]
    else:
        changed[at] = both.acceptor.frames([b"its own"])
    right = both.acceptor.receive(b"".join(changed))
    assert [event for event in right if isinstance(event, FrameReceived)] == right[:-1]
    assert len(right) <= at + 2
    assert isinstance(right[-1], Broken)
    assert not both.acceptor.is_whole


def test_a_handshake_that_does_not_end_is_bounded(both_sides):
    link = Link("acceptor", identity=identity(B), certificates=both_sides[1])
    # A message of 127 KB, as it claims, which OpenSSL would wait for.
    record = b"\x16\x03\x01\x40\x00"
    events = link.receive(record + b"\x01\x01\xf0\x00" + bytes(0x4000 - 4))
    for _ in range(10):
        events += link.receive(record + bytes(0x4000))
    assert events == [Broken("the TLS handshake is over 65536 bytes")]


@pytest.mark.parametrize("side", ["dialer", "acceptor"])
def test_a_link_ends_before_its_keys_have_sealed_too_much(both_sides, monkeypatch, side):
    monkeypatch.setattr(tls_module, "_LIFE_BYTES", 100_000)
    both = pair(*both_sides)
    both.begin()
    speaker = getattr(both, side)
    other = both.acceptor if side == "dialer" else both.dialer
    for _ in range(6):
        assert other.receive(speaker.frames([bytes(15_000)])) == [FrameReceived(bytes(15_000))]
    # Either side ends it as it hears anything more.
    stream = speaker.frames([bytes(15_000)])
    assert other.receive(stream) == [FrameReceived(bytes(15_000))]
    for one, another in ((other, speaker), (speaker, other)):
        [end] = one.receive(another.frames([b""]))
        assert end == Broken("over 100000 bytes under one key; a new link is made")
        one.state = State.OPEN


def test_a_peer_that_ends_tls_ends_the_link(both_sides):
    both = pair(*both_sides)
    both.begin()
    stream = both.dialer.frames([b"the last"])
    with suppress(ssl.SSLWantReadError):
        both.dialer._channel._ssl.unwrap()
    events = both.acceptor.receive(stream + both.dialer._channel.data_to_send())
    assert events == [FrameReceived(b"the last"), Broken("the peer ended TLS")]


@pytest.mark.parametrize("side", ["dialer", "acceptor"])
def test_a_message_of_tls_that_comes_in_pieces_ends_the_link_and_no_write_waits_for_the_rest(
    both_sides, tmp_path, side
):
    """From its fourth byte on, OpenSSL writes nothing before the rest has come."""
    log = tmp_path / "keys.log"
    update = b"\x18\x00\x00\x01\x01"
    for count in range(6):
        both_sides[0].client.keylog_filename = str(log)
        try:
            both = pair(*both_sides)
            both.begin()
        finally:
            both_sides[0].client.keylog_filename = None
        links = both.dialer, both.acceptor
        victim = links[side == "acceptor"]
        # The hello was the first of each.
        peer = Records(secret_in(log, "SERVER" if side == "dialer" else "CLIENT"), 1)
        both.say(victim, peer.record(update[:count], HANDSHAKE) if count else b"")
        if count == 4:
            reason = "the peer has begun a message of TLS and not ended it"
            assert both.heard[side][-1:] == [Broken(reason)]
            continue
        assert victim.frames([b"a message"])
        if count == 5:
            peer.update()
            both.say(victim, peer.record(frame_header(b"another") + b"another"))
            assert both.heard[side][-1:] == [FrameReceived(b"another")]


def test_no_session_is_resumed(both_sides):
    """A resumed one would be with the certificates of before."""
    own, its = both_sides
    assert its.server.num_tickets == 0
    dialer, acceptor = own.dial("b.example"), its.accept()
    dialer.shake()
    while not acceptor.is_secure:
        acceptor.feed(dialer.data_to_send())
        acceptor.shake()
        dialer.feed(acceptor.data_to_send())
        dialer.shake()
    assert acceptor.data_to_send() == b""
    assert dialer._ssl.version() == "TLSv1.3"
    assert not dialer._ssl.session.has_ticket


# The files


def wrong_files(authority, other, folder):
    """Yield what is wrong, `Tls`, and what the sentence must hold."""
    right = authority.issue("right", "a.example")
    garbage, empty = folder / "garbage.pem", folder / "empty.pem"
    garbage.write_bytes(b"-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n")
    empty.write_bytes(b"")
    another = authority.issue("another", "a.example")
    yield "no cert", Tls(cert=str(folder / "no"), key=right.key, ca=right.ca), "/no' or key"
    yield "no ca", Tls(cert=right.cert, key=right.key, ca=str(folder / "no")), "/no' cannot be read"
    yield "garbage", Tls(cert=str(garbage), key=right.key, ca=right.ca), "garbage.pem' or key"
    yield "no certificate", Tls(cert=str(empty), key=right.key, ca=right.ca), "is not of PEM, or"
    yield "empty ca", Tls(cert=right.cert, key=right.key, ca=str(empty)), "empty.pem' cannot be"
    yield "other key", Tls(cert=right.cert, key=another.key, ca=right.ca), "key values mismatch"
    yield "other ca", Tls(cert=right.cert, key=right.key, ca=str(other.ca)), "unable to get local"
    yield "pass phrase", authority.issue("shy", "a.example", phrase=b"phrase"), "has a pass phrase"
    yield "expired", authority.issue("old", "a.example", lasts=-timedelta(1)), "has expired"
    for usage in BOTH:
        yield f"{usage}", authority.issue("u", "a.example", usages=[usage]), "purpose"
    yield "other host", authority.issue("b", "b.example"), "is for 'b.example' and not for 'a.exam"
    named = authority.issue("named", common_name="a.example")
    yield "common name", named, "is for no host and not for 'a.example'"


def test_files_that_are_of_no_use_are_refused_in_a_sentence(authority, other, tmp_path):
    Contexts(authority.issue("fine", "a.example", usages=()), A)
    for what, tls, sentence in wrong_files(authority, other, tmp_path):
        with pytest.raises(ConfigError) as caught:
            Contexts(tls, A)
        assert sentence in str(caught.value), (what, str(caught.value))
        assert str(caught.value).startswith("tls: "), what
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [None, "", 5, b"x", "a\0b", "\ud800"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ConfigError, match="must be a path of a PEM file"):
        Tls(cert="a", key="b", ca=path)


def test_certificates_and_a_password_are_not_given_both():
    tls = Tls(cert="a", key="b", ca="c")
    with pytest.raises(ConfigError, match="give password or tls, not both"):
        Config(tls=tls, password="long enough to be one")
    with pytest.raises(ConfigError, match="must be a Tls, with cert, key and ca"):
        Config(tls={"cert": "a"})


def test_files_that_have_changed_are_read_again_and_wrong_ones_leave_the_former(authority, other):
    tls = authority.issue("changing", "a.example")
    contexts = Contexts(tls, A)
    former = contexts.server, contexts.client
    assert contexts.reload() is False
    later = authority.issue("later", "a.example")
    # As they are replaced: one after the other, and then they do not belong together.
    shutil.copy(later.cert, tls.cert)
    for _ in range(2):
        with pytest.raises(ConfigError, match="mismatch"):
            contexts.reload()
        assert (contexts.server, contexts.client) == former
    shutil.copy(later.key, tls.key)
    assert contexts.reload() is True
    assert contexts.server is not former[0]
    assert contexts.client is not former[1]
    assert contexts.client.check_hostname
    assert contexts.reload() is False
    strange = other.issue("strange", "a.example")
    shutil.copy(strange.cert, tls.cert)
    shutil.copy(strange.key, tls.key)
    with pytest.raises(ConfigError, match="would not be taken"):
        contexts.reload()
    assert contexts.server is not former[0]


def test_a_certificate_that_ends_soon_is_told_of(authority, monkeypatch):
    assert Contexts(authority.issue("lasts", "a.example"), A).days_left() is None
    ends = Contexts(authority.issue("ends", "a.example", lasts=timedelta(days=3)), A)
    assert 2.9 < ends.days_left() < 3.1
    now = time.time()
    monkeypatch.setattr(tls_module.time, "time", lambda: now + 4 * 86_400)
    assert -1.1 < ends.days_left() < -0.9
