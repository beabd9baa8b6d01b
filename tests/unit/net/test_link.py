"""Links and their greeting: who is let in, who is told what, and no bytes break the machine."""

import contextlib
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncstructs.errors import ProtocolError
from syncstructs.net.events import Broken, FrameReceived, Greeted, Refused
from syncstructs.net.frames import frame_header
from syncstructs.net.hello import (
    HELLO_LIMIT_BYTES,
    Hello,
    Identity,
    OtherVersion,
    Refusal,
    decode_first_frame,
    encode_hello,
    encode_refusal,
    is_refusal,
    quoted,
    reason_to_refuse,
)
from syncstructs.net.link import Link, State

LIMIT = 5000
A, B = "a.example:1", "b.example:1"


def identity(address, *, cluster="c", incarnation=None, limit_bytes=LIMIT):
    incarnation = len(address) * 1000 + ord(address[0]) if incarnation is None else incarnation
    return Identity(
        cluster=cluster, address=address, incarnation=incarnation, limit_bytes=limit_bytes
    )


@dataclass
class Pair:
    """A dialer and an acceptor whose bytes are carried by hand."""

    dialer: Link
    acceptor: Link

    def carry(self, source, target):
        events = target.receive(source.data_to_send())
        source._check()
        target._check()
        return events


def pair(*, dialled=B, left=None, right=None):
    return Pair(
        Link("dialer", identity=left or identity(A), dialled=dialled),
        Link("acceptor", identity=right or identity(B)),
    )


def opened(**changes):
    both = pair(**changes)
    both.dialer.greet(7)
    heard = both.carry(both.dialer, both.acceptor)
    both.acceptor.greet(9)
    answered = both.carry(both.acceptor, both.dialer)
    return both, heard, answered


def test_both_sides_learn_address_incarnation_and_number_of_the_other():
    both, heard, answered = opened()
    assert heard == [Greeted(address=A, incarnation=identity(A).incarnation, number=7)]
    assert answered == [Greeted(address=B, incarnation=identity(B).incarnation, number=9)]
    assert both.dialer.state is both.acceptor.state is State.OPEN


def test_the_smaller_limit_of_the_two_holds_for_both():
    both, _, _ = opened(left=identity(A, limit_bytes=100), right=identity(B, limit_bytes=200))
    assert both.dialer.limit_bytes == both.acceptor.limit_bytes == 100


@given(
    st.lists(st.binary(max_size=LIMIT), max_size=5), st.booleans(), st.lists(st.integers(1, 400))
)
def test_an_open_link_delivers_what_was_framed_however_it_is_cut(payloads, from_dialer, sizes):
    both, _, _ = opened()
    source, target = both.dialer, both.acceptor
    if not from_dialer:
        source, target = target, source
    stream = source.frames(payloads)
    events = []
    for size in sizes:
        events += target.receive(stream[:size])
        stream = stream[size:]
    events += target.receive(stream)
    assert events == [FrameReceived(payload) for payload in payloads]


@given(st.lists(st.sampled_from([0, 1, 5000, 262_143, 262_144, 300_000]), min_size=1, max_size=6))
def test_pieces_are_the_bytes_of_the_frames_and_large_payloads_are_not_copied(sizes):
    both, _, _ = opened(left=identity(A, limit_bytes=2**20), right=identity(B, limit_bytes=2**20))
    payloads = [bytes(size) for size in sizes]
    pieces = both.dialer.pieces(payloads)
    assert b"".join(pieces) == both.dialer.frames(payloads)
    large = [payload for payload in payloads if len(payload) >= 262_144]
    assert {*map(id, large)} <= {*map(id, pieces)}
    assert len(pieces) <= 2 * len(large) + 1


def test_the_rest_of_a_large_message_is_read_into_its_place():
    both, _, _ = opened(left=identity(A, limit_bytes=2**20), right=identity(B, limit_bytes=2**20))
    assert both.acceptor.room() is None
    payload = bytes(range(256)) * 4000
    assert both.acceptor.receive(both.dialer.frames([b"first"])) == [FrameReceived(b"first")]
    stream = both.dialer.frames([payload])
    assert both.acceptor.receive(stream[:300_000]) == []
    at = 300_000
    events = []
    while (room := both.acceptor.room()) is not None:
        room[:] = stream[at : at + len(room)]
        at += len(room)
        events += both.acceptor.filled(len(room))
    assert at == len(stream)
    assert events == [FrameReceived(payload)]


def test_the_first_message_is_looked_at_as_a_whole_as_it_may_be_a_refusal():
    both, _, _ = opened(left=identity(A, limit_bytes=2**20), right=identity(B, limit_bytes=2**20))
    stream = both.dialer.frames([bytes(600_000)])
    assert both.acceptor.receive(stream[:300_000]) == []
    assert both.acceptor.room() is None


def test_frames_may_follow_the_acceptors_hello_in_one_piece():
    both = pair()
    both.dialer.greet(1)
    both.carry(both.dialer, both.acceptor)
    both.acceptor.greet(1)
    large = b"x" * LIMIT
    stream = both.acceptor.data_to_send() + both.acceptor.frames([large])
    assert both.dialer.receive(stream)[1:] == [FrameReceived(large)]


def test_a_dialer_that_does_not_wait_for_the_answer_is_broken():
    both = pair()
    both.dialer.greet(1)
    stream = both.dialer.data_to_send() + frame_header(b"early") + b"early"
    events = both.acceptor.receive(stream)
    assert isinstance(events[0], Greeted)
    assert isinstance(events[1], Broken)


REFUSALS = {
    "other cluster": (
        {"left": identity(A, cluster="red")},
        "'b.example:1' is of cluster 'c', 'a.example:1' is of cluster 'red'",
    ),
    "not the address that was dialled": (
        {"dialled": "x:1"},
        "'a.example:1' dialled 'x:1', but reached 'b.example:1'",
    ),
    "not to be called back": (
        {"left": identity("a.example")},
        "'b.example:1' cannot call back 'a.example', which is no address",
    ),
    "a name that would forge a line of the log": (
        {"left": identity("a\nb:1")},
        "'b.example:1' cannot call back 'a\\nb:1', which is no address",
    ),
    "dialled itself": (
        {"dialled": "alias:1", "left": identity(B)},
        "'b.example:1' reached itself when it dialled 'alias:1'",
    ),
    "the address of another node": (
        {"left": identity(B, incarnation=1)},
        "'b.example:1' is the address of two nodes",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_tells_both_sides_the_same_reason(case):
    changes, sentence = REFUSALS[case]
    both = pair(**changes)
    both.dialer.greet(1)
    (refused,) = both.carry(both.dialer, both.acceptor)
    (told,) = both.carry(both.acceptor, both.dialer)
    assert (refused.reason, refused.by_peer) == (sentence, False)
    assert (told.reason, told.by_peer) == (sentence, True)
    assert told.address == changes.get("dialled", B)
    assert both.dialer.state is both.acceptor.state is State.CLOSED
    assert both.acceptor.receive(b"whatever") == []


def test_an_acceptor_may_refuse_after_a_good_hello_and_the_dialer_is_told_why():
    both = pair()
    both.dialer.greet(1)
    both.carry(both.dialer, both.acceptor)
    both.acceptor.refuse("no room")
    (told,) = both.carry(both.acceptor, both.dialer)
    assert told == Refused(reason="no room", by_peer=True, address=B)
    assert both.dialer.state is both.acceptor.state is State.CLOSED
    assert both.acceptor.receive(b"whatever") == []


def test_another_protocol_version_is_refused_before_its_body_is_read():
    both = pair()
    both.dialer.greet(1)
    stream = bytearray(both.dialer.data_to_send())
    stream[4 + 14] = 3
    stream[-1] ^= 0xFF
    (refused,) = both.acceptor.receive(stream)
    assert refused.reason == "'b.example:1' speaks protocol version 2, the other side 3"
    (told,) = both.carry(both.acceptor, both.dialer)
    assert told == Refused(reason=refused.reason, by_peer=True, address=B)


def test_a_refusal_is_understood_whatever_version_sent_it():
    payload = bytearray(encode_refusal("go away"))
    payload[14] = 77
    assert decode_first_frame(bytes(payload)) == Refusal("go away")


def test_the_dialer_refuses_one_that_is_not_whom_it_dialled():
    both = pair(dialled="x:1")
    both.dialer.greet(1)
    both.dialer.data_to_send()
    hello = Hello(
        cluster="c", address=B, dialled=A, incarnation=1, number=1, limit_bytes=1
    )
    payload = encode_hello(hello)
    (refused,) = both.dialer.receive(frame_header(payload) + payload)
    assert refused.reason == "'a.example:1' dialled 'x:1', but reached 'b.example:1'"
    assert refused.address == B


def test_an_acceptor_hears_of_a_refusal_by_the_dialer_though_it_was_content():
    both = pair()
    both.dialer.greet(1)
    both.carry(both.dialer, both.acceptor)
    both.acceptor.greet(1)
    payload = encode_refusal("second thoughts")
    events = both.acceptor.receive(frame_header(payload) + payload)
    assert events == [Refused(reason="second thoughts", by_peer=True, address=A)]


def test_a_stranger_is_held_to_the_size_of_a_hello_and_a_greeted_peer_to_the_limit():
    for first in (frame_header(bytes(HELLO_LIMIT_BYTES + 1)), b"GET / HTTP/1.1\r\n\r\n"):
        (event,) = pair().acceptor.receive(first)
        assert isinstance(event, Broken)
        assert "over the limit" in event.reason
    both, _, _ = opened()
    (event,) = both.acceptor.receive(frame_header(bytes(LIMIT + 1)))
    assert f"the limit of {LIMIT} bytes" in event.reason


def test_the_good_frames_before_the_bad_one_are_delivered():
    both, _, _ = opened()
    stream = both.dialer.frames([b"good"]) + frame_header(bytes(LIMIT + 1))
    good, bad = both.acceptor.receive(stream)
    assert good == FrameReceived(b"good")
    assert isinstance(bad, Broken)


@given(st.binary(max_size=400), st.booleans())
def test_random_bytes_never_raise(noise, framed):
    for both in (pair(), opened()[0]):
        stream = frame_header(noise) + noise if framed else noise
        for link in (both.acceptor, both.dialer):
            if link.state is State.NEW and link.side == "dialer":
                link.greet(1)
            for event in link.receive(stream):
                assert isinstance(event, FrameReceived | Broken | Refused)
            link._check()


@settings(max_examples=300)
@given(st.integers(0, 300), st.integers(0, 255))
def test_a_hello_with_one_wrong_byte_is_read_or_refused_and_never_raises(place, byte):
    both = pair()
    both.dialer.greet(1)
    stream = bytearray(both.dialer.data_to_send())
    stream[place % len(stream)] = byte
    for event in both.acceptor.receive(stream):
        assert isinstance(event, Greeted | Refused | Broken)
    both.acceptor._check()


def test_a_body_nested_without_end_is_refused_or_skipped_and_harms_nobody():
    """How deep an interpreter goes depends on its version; a field too many is skipped."""
    good = encode_hello(
        Hello(cluster="c", address=A, dialled=B, incarnation=1, number=1, limit_bytes=1)
    )
    nested = b"\x97\xa0\xa0\xa0\1\1\1" + b"\x91" * 4000 + b"\1"
    with contextlib.suppress(ProtocolError):
        assert isinstance(decode_first_frame(good[:15] + nested), Hello)


@pytest.mark.parametrize("body", [b"", b"\x96", b"\x92\xa1\xff\x01"])
def test_a_damaged_body_is_a_protocol_error(body):
    good = encode_hello(
        Hello(cluster="c", address=A, dialled=B, incarnation=1, number=1, limit_bytes=1)
    )
    with pytest.raises(ProtocolError, match="damaged"):
        decode_first_frame(good[:15] + body)


def test_the_largest_hello_fits_into_the_first_frame():
    long = "x" * 255 + ":65535"
    hello = Hello(
        cluster="\U0001f600" * 63,
        address=long,
        dialled=long,
        incarnation=2**64 - 1,
        number=2**63,
        limit_bytes=2**32 - 1,
    )
    assert len(encode_hello(hello)) <= HELLO_LIMIT_BYTES
    assert decode_first_frame(encode_hello(hello)) == hello


@given(st.text(max_size=500))
def test_what_a_peer_says_of_itself_cannot_forge_a_log_line(text):
    hello = Hello(cluster="c", address=text, dialled=B, incarnation=1, number=1, limit_bytes=1)
    reason = reason_to_refuse(hello, identity=identity(B))
    for said in (reason, quoted(text, 500)):
        assert said.isascii()
        assert said.isprintable()
    assert len(reason) < 600


def test_reasons_are_given_in_the_order_of_what_is_worth_knowing():
    hello = Hello(
        cluster="other", address=B, dialled="x:1", incarnation=1, number=1, limit_bytes=1
    )
    reasons = [
        reason_to_refuse(OtherVersion(3), identity=identity(B)),
        reason_to_refuse(hello, identity=identity(B)),
    ]
    assert "version" in reasons[0]
    assert "cluster" in reasons[1]


def test_no_message_is_taken_for_a_refusal_after_the_first_frame():
    both, _, _ = opened()
    refusal = encode_refusal("x")
    assert is_refusal(refusal)
    both.acceptor.receive(both.dialer.frames([b"first"]))
    events = both.acceptor.receive(both.dialer.frames([refusal]))
    assert events == [FrameReceived(refusal)]
