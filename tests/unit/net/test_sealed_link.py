"""Links with a password: a hello counts from who has proved it, and no bytes between break more."""

import random
from dataclasses import dataclass
from hashlib import sha256

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncstructs.net import link as link_module
from syncstructs.net.cipher import RECORD_LIMIT_BYTES, TAG_BYTES, Keys
from syncstructs.net.events import Broken, FrameReceived, Greeted, Refused
from syncstructs.net.frames import FrameDecoder, frame_header
from syncstructs.net.hello import (
    HELLO_LIMIT_BYTES,
    WRONG_PASSWORD,
    Handshake,
    Hello,
    Identity,
    Refusal,
    decode_first_frame,
    encode_handshake,
    encode_hello,
    encode_refusal,
)
from syncstructs.net.link import Link, State

A, B, CLUSTER = "a.example:1", "b.example:1", "the cluster"
LIMIT = 200_000
PLAIN_DIALS = "the node that was dialled has a password, the node that dialled has none"
PLAIN_IS_DIALLED = "the node that dialled has a password, the node that was dialled has none"


def keys(*passwords, seed="keys"):
    """Return keys whose links are the same in every run."""
    psks = [sha256(password.encode()).digest() for password in passwords or ("right",)]
    return Keys(psks[0], psks[1:], random.Random(seed).randbytes)


def identity(address, limit_bytes=LIMIT):
    return Identity(cluster=CLUSTER, address=address, incarnation=7, limit_bytes=limit_bytes)


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

    def there(self):
        return self.carry(self.dialer, self.acceptor)

    def back(self):
        return self.carry(self.acceptor, self.dialer)


def pair(dialers=None, acceptors=None, *, dialled=B, **changes):
    own = changes.get("dialer", identity(A))
    return Pair(
        Link("dialer", identity=own, dialled=dialled, keys=dialers),
        Link("acceptor", identity=changes.get("acceptor", identity(B)), keys=acceptors),
    )


def sealed(**changes):
    return pair(keys(seed="dialer"), keys(seed="acceptor"), **changes)


def shaken(**changes):
    """Return a pair after the handshake, with the dialer's hello on the way."""
    both = sealed(**changes)
    both.dialer.greet(5)
    assert both.there() == []
    assert both.back() == []
    return both


def opened(**changes):
    both = shaken(**changes)
    heard = both.there()
    both.acceptor.greet(9)
    return both, heard, both.back()


def frames(stream):
    return list(FrameDecoder(2**32 - 1).receive(stream))


def test_both_sides_learn_of_each_other_after_the_handshake():
    both, heard, answered = opened()
    assert heard == [Greeted(address=A, incarnation=7, number=5)]
    assert answered == [Greeted(address=B, incarnation=7, number=9)]
    assert both.dialer.state is both.acceptor.state is State.OPEN
    assert both.dialer.limit_bytes == both.acceptor.limit_bytes == LIMIT


def test_nothing_of_what_is_said_can_be_read_on_the_wire():
    both = sealed()
    wire = b""
    both.dialer.greet(5)
    for _ in range(2):
        for source, target in ((both.dialer, both.acceptor), (both.acceptor, both.dialer)):
            words = source.data_to_send()
            wire += words
            for event in target.receive(words):
                if isinstance(event, Greeted) and target is both.acceptor:
                    both.acceptor.greet(9)
    assert both.dialer.state is State.OPEN
    wire += both.dialer.frames([b"a secret " * 10, b"another"])
    for word in (b"example", CLUSTER.encode(), b"secret", b"another"):
        assert word not in wire
    # The same in clear, so that this test can fail.
    plain = pair()
    plain.dialer.greet(5)
    assert A.encode() in plain.dialer.data_to_send()


def test_the_bytes_of_a_whole_link_are_pinned():
    """Private keys by a seed; what is on the wire must never change within a protocol version."""
    both = sealed()
    wire = []

    def carry(source, target):
        words = source.data_to_send()
        wire.append(words.hex())
        return target.receive(words)

    both.dialer.greet(5)
    carry(both.dialer, both.acceptor)
    carry(both.acceptor, both.dialer)
    carry(both.dialer, both.acceptor)
    both.acceptor.greet(9)
    carry(both.acceptor, both.dialer)
    wire.append(both.dialer.frames([b"first", b"second"]).hex())
    wire.append(both.acceptor.frames([b"", b"third"]).hex())
    assert wire == PINNED


@settings(deadline=None)
@given(
    st.lists(st.binary(max_size=300) | st.integers(60_000, LIMIT).map(bytes), max_size=5),
    st.booleans(),
    st.lists(st.integers(1, 70_000), max_size=8),
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
    target._check()
    assert events == [FrameReceived(payload) for payload in payloads]


def test_many_small_messages_are_one_record_and_large_ones_as_few_as_can_be():
    both, _, _ = opened()
    assert len(frames(both.dialer.frames([b"x" * 10] * 1000))) == 1
    assert len(frames(both.dialer.frames([bytes(LIMIT)]))) == -(-(LIMIT + 4) // 65_519)


def test_frames_may_follow_the_acceptors_hello_in_one_piece():
    both = shaken()
    both.there()
    both.acceptor.greet(9)
    stream = both.acceptor.data_to_send() + both.acceptor.frames([b"early", b"bird"])
    assert both.dialer.receive(stream)[1:] == [FrameReceived(b"early"), FrameReceived(b"bird")]


# Who is let in


def test_a_hello_is_not_acted_upon_before_its_sender_has_proved_that_it_has_the_keys():
    """What was recorded of a good link, and sent again, does nothing at all."""
    both = sealed()
    both.dialer.greet(2**60)
    handshake = both.dialer.data_to_send()
    both.acceptor.receive(handshake)
    both.dialer.receive(both.acceptor.data_to_send())
    hello = both.dialer.data_to_send()
    assert both.acceptor.receive(hello) == [Greeted(address=A, incarnation=7, number=2**60)]
    for piece in (handshake + hello, handshake + handshake, hello):
        victim = Link("acceptor", identity=identity(B), keys=keys(seed="a new life"))
        events = victim.receive(piece)
        assert [type(event) for event in events] == [Broken]
        assert victim.peer is None
        victim._check()
    victim = Link("acceptor", identity=identity(B), keys=keys(seed="a new life"))
    assert victim.receive(handshake) == []
    assert (victim.state, victim.peer) == (State.SECURING, None)


@pytest.mark.parametrize("passwords", [("right", "old"), ("old", "right")])
def test_of_several_accepted_passwords_the_dialer_may_use_any(passwords):
    for own in ("right", "old"):
        both = pair(keys(own, seed="d"), keys(*passwords, seed="a"))
        both.dialer.greet(1)
        both.there()
        both.back()
        assert [type(event) for event in both.there()] == [Greeted]


def check_parting(both, reason, first):
    """Both sides close, say the same, and have learned nothing else."""
    both.dialer.greet(1)
    words = both.dialer.data_to_send()
    assert decode_first_frame(frames(words)[0]).__class__ is first
    (refused,) = both.acceptor.receive(words)
    answer = both.acceptor.data_to_send()
    assert refused == Refused(reason=reason, by_peer=False, address=None)
    (told,) = both.dialer.receive(answer)
    assert (told.reason, told.by_peer, told.address) == (reason, True, B)
    assert decode_first_frame(frames(answer)[0]) == Refusal(reason)
    for name in (A, B, CLUSTER):
        assert name.encode() not in answer
    assert both.dialer.state is both.acceptor.state is State.CLOSED
    assert both.dialer.peer is both.acceptor.peer is None
    assert both.dialer.data_to_send() == both.acceptor.data_to_send() == b""
    return told


def test_a_wrong_password_and_so_another_cluster_parts_the_two():
    told = check_parting(pair(keys("wrong"), keys("right", "old")), WRONG_PASSWORD, Handshake)
    assert told.in_clear


def test_a_dialer_without_a_password_is_refused_by_a_node_with_one():
    told = check_parting(pair(None, keys()), PLAIN_DIALS, Hello)
    assert not told.in_clear


def test_a_dialer_with_a_password_is_refused_by_a_node_without_one():
    told = check_parting(pair(keys(), None), PLAIN_IS_DIALLED, Handshake)
    assert told.in_clear


def test_another_version_is_refused_without_a_name():
    both = sealed()
    both.dialer.greet(1)
    words = bytearray(both.dialer.data_to_send())
    words[4 + 14] = 3
    (refused,) = both.acceptor.receive(words)
    reason = "the node that was dialled speaks protocol version 2, the node that dialled 3"
    assert refused == Refused(reason=reason, by_peer=False, address=None)
    (told,) = both.back()
    assert (told.reason, told.in_clear) == (reason, True)


def test_no_answer_in_clear_leads_a_dialer_with_a_password_to_say_more():
    """A downgrade: whatever a man in the middle answers, no hello leaves."""
    hello = encode_hello(
        Hello(cluster=CLUSTER, address=B, dialled=A, incarnation=1, number=1, limit_bytes=10)
    )
    for answer in (hello, encode_refusal("be plain"), encode_handshake(bytes(48)), b"", b"noise"):
        both = sealed()
        both.dialer.greet(1)
        both.dialer.data_to_send()
        (event,) = both.dialer.receive(frame_header(answer) + answer)
        assert isinstance(event, Refused | Broken)
        assert both.dialer.state is State.CLOSED
        said = both.dialer.data_to_send()
        assert A.encode() not in said
        assert both.dialer.peer is None


def test_a_plain_frame_after_the_handshake_breaks_the_link():
    hello = encode_hello(
        Hello(cluster=CLUSTER, address=A, dialled=B, incarnation=1, number=2**60, limit_bytes=10)
    )
    both = shaken()
    (event,) = both.acceptor.receive(frame_header(hello) + hello)
    assert isinstance(event, Broken)
    assert both.acceptor.peer is None


def test_refusals_after_the_handshake_are_sealed_and_name_both_sides():
    both = shaken(dialled="x:1")
    words = both.dialer.data_to_send()
    (refused,) = both.acceptor.receive(words)
    answer = both.acceptor.data_to_send()
    assert b"example" not in words + answer
    assert refused.reason == "'a.example:1' dialled 'x:1', but reached 'b.example:1'"
    (told,) = both.dialer.receive(answer)
    assert told == Refused(reason=refused.reason, by_peer=True, address="x:1")


def test_an_acceptor_without_room_says_so_in_a_record():
    both = shaken()
    both.there()
    both.acceptor.refuse("no room")
    (told,) = both.back()
    assert told == Refused(reason="no room", by_peer=True, address=B)


def test_a_dialer_may_refuse_the_acceptors_hello_and_the_acceptor_hears_why():
    both = shaken()
    both.there()
    both.acceptor._identity = identity("c.example:1")
    both.acceptor.greet(1)
    (refused,) = both.back()
    assert refused.reason == "'a.example:1' dialled 'b.example:1', but reached 'c.example:1'"
    (told,) = both.there()
    assert told == Refused(reason=refused.reason, by_peer=True, address=A)


def test_one_that_dials_itself_through_a_mirror_of_messages_is_told_by_the_hello():
    """Relayed to oneself, the handshake is a good one: the names in the hellos end it."""
    own = keys(seed="one node")
    both = pair(own, own, acceptor=identity(A))
    both.dialer.greet(1)
    both.there()
    both.back()
    (refused,) = both.there()
    assert refused.reason == "'a.example:1' reached itself when it dialled 'b.example:1'"


def test_a_link_relayed_to_another_node_is_told_by_the_hello():
    both = shaken(acceptor=identity("c.example:1"))
    (refused,) = both.there()
    assert refused.reason == "'a.example:1' dialled 'b.example:1', but reached 'c.example:1'"


# Bounds


def test_a_stranger_is_held_to_the_size_of_a_hello_until_it_has_proved_who_it_is():
    both = shaken()
    (event,) = both.acceptor.receive(frame_header(bytes(HELLO_LIMIT_BYTES + 21)))
    assert "over the limit" in event.reason
    both, _, _ = opened()
    (event,) = both.acceptor.receive(frame_header(bytes(RECORD_LIMIT_BYTES + 1)))
    assert "over the limit of 65535" in event.reason


def test_the_largest_hello_fits_into_its_record():
    assert link_module._RECORD_LIMIT_BYTES == RECORD_LIMIT_BYTES
    assert link_module._HELLO_RECORD_BYTES == HELLO_LIMIT_BYTES + 4 + TAG_BYTES


def test_an_honest_peers_frame_over_the_limit_is_refused_inside_the_records():
    both, _, _ = opened(acceptor=identity(B, limit_bytes=100))
    both.dialer.limit_bytes = LIMIT
    (event,) = both.acceptor.receive(both.dialer.frames([bytes(101)]))
    assert event == Broken("a frame of 101 bytes is over the limit of 100 bytes")


# A man in the middle


def play(tamper, payloads=(b"one", b"two", b"three")):
    """Run a link whose wire frames pass through `tamper`; return what each side was told.

    `tamper` gets the number of the frame, whose it is, and its bytes; it returns those that arrive
    instead.
    """
    both = sealed()
    told = {"dialer": [], "acceptor": []}
    said = {"dialer": [], "acceptor": []}
    number = 0
    both.dialer.greet(5)
    for _ in range(12):
        for source, target in ((both.dialer, both.acceptor), (both.acceptor, both.dialer)):
            words = source.data_to_send()
            if source.state is State.OPEN and not said[source.side]:
                said[source.side] = list(payloads)
                for payload in payloads:
                    words += source.frames([payload])
            for frame in frames(words):
                for arriving in tamper(number, source.side, frame):
                    events = target.receive(frame_header(arriving) + arriving)
                    told[target.side] += events
                    if target is both.acceptor and target.state is State.HEARD:
                        target.greet(9)
                number += 1
            both.dialer._check()
            both.acceptor._check()
    return both, told


def check_harmless(told, payloads=(b"one", b"two", b"three")):
    """Each side was told a prefix of the truth, and then at most that the link is over."""
    names = {"dialer": (B, 9), "acceptor": (A, 5)}
    for side, events in told.items():
        address, number = names[side]
        truth = [
            Greeted(address=address, incarnation=7, number=number),
            *(FrameReceived(payload) for payload in payloads),
        ]
        if events and isinstance(events[-1], Broken | Refused):
            events = events[:-1]
        assert events == truth[: len(events)], side


def test_a_link_that_nobody_disturbs_comes_to_its_end():
    both, told = play(lambda number, side, frame: [frame])
    assert both.dialer.state is both.acceptor.state is State.OPEN
    assert [len(events) for events in told.values()] == [4, 4]
    check_harmless(told)


KINDS = ["flip", "drop", "double", "cut", "grow", "swap", "reflect", "old", "noise"]


@settings(deadline=None, max_examples=400)
@given(st.data())
def test_whatever_is_done_to_one_frame_the_link_ends_and_nothing_false_is_told(data):
    victim = data.draw(st.integers(0, 9), label="which frame")
    kind = data.draw(st.sampled_from(KINDS))
    seen, kept = [], []

    def tamper(number, side, frame):
        seen.append((side, frame))
        if kept:
            return [frame, kept.pop()]
        if number != victim:
            return [frame]
        if kind == "flip":
            place = data.draw(st.integers(0, len(frame) - 1))
            changed = bytearray(frame)
            changed[place] ^= data.draw(st.integers(1, 255))
            return [bytes(changed)]
        if kind == "cut":
            return [frame[: data.draw(st.integers(0, len(frame) - 1))]]
        if kind == "swap":
            kept.append(frame)
            return []
        others = [f for s, f in seen if s != side]
        mine = [f for s, f in seen if s == side]
        return {
            "drop": [],
            "double": [frame, frame],
            "grow": [frame + data.draw(st.binary(min_size=1, max_size=9))],
            "reflect": others[-1:] or [b""],
            "old": [data.draw(st.sampled_from(mine)), frame],
            "noise": [data.draw(st.binary(max_size=200))],
        }[kind]

    _, told = play(tamper)
    check_harmless(told)
    if kind not in ("drop", "swap", "double"):
        last = [events[-1] for events in told.values() if events]
        assert any(isinstance(event, Broken | Refused) for event in last), (kind, told)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 2**32))
def test_a_wire_at_random_tells_nothing_false(seed):
    """Every frame is flipped, dropped, doubled, held back or sent back now and then; seeded."""
    chance = random.Random(seed)
    held, seen = [], {"dialer": [], "acceptor": []}

    def tamper(number, side, frame):
        seen[side].append(frame)
        other = "acceptor" if side == "dialer" else "dialer"
        out = [frame]
        if chance.random() < 0.1:
            choice = chance.randrange(5)
            if choice == 0:
                changed = bytearray(frame)
                changed[chance.randrange(len(frame))] ^= chance.randrange(1, 256)
                out = [bytes(changed)]
            elif choice == 1:
                out = []
            elif choice == 2:
                out = [frame, chance.choice(seen[side])]
            elif choice == 3:
                out = [chance.choice(seen[other] or [b""])]
            else:
                held.append((side, frame))
                out = []
        elif held and held[0][0] == side and chance.random() < 0.5:
            out = [held.pop(0)[1], frame]
        return out

    _, told = play(tamper)
    check_harmless(told)


@settings(deadline=None)
@given(st.binary(max_size=400), st.booleans(), st.sampled_from(["new", "shaken", "open"]))
def test_random_bytes_never_raise_and_never_pass(noise, framed, stage):
    both = {"new": sealed, "shaken": shaken, "open": lambda: opened()[0]}[stage]()
    stream = frame_header(noise) + noise if framed else noise
    if stage == "new":
        both.dialer.greet(1)
    for link in (both.acceptor, both.dialer):
        for event in link.receive(stream):
            assert isinstance(event, Broken | Refused)
        link._check()


PINNED = [
    # the dialer's first message
    "0000003f73796e637374727563747300030002bed8829c1f50c56ac276dc2d768320b457585bde0bdf12376a"
    "15b52f5ff4696be313510393bffd17e8111ea2208f6e0a",
    # the acceptor's answer
    "0000003f73796e637374727563747300030002a04780368b0ba77f464a79eb820a5d8e06c4af3c8a6bb7db37"
    "45bc730878c32fbcd149b97be1ffbc670e0d9729c24cec",
    # the dialer's hello
    "0000004ff5a93099b65d56fdf37a4c8018cb102872c1a878edbd80512dc6b59193e95828ae7425b65895ad64"
    "e9ec39c64fae925bf0c524dfcfb0001132b56b9173a16f2882673dc0abecbde76d322bee471123",
    # the acceptor's hello
    "0000004fe5b389f229dd249935ad577b7e5c6ccae9eaaa14beba2e919905afe37e26d5c471985034fa365119"
    "e088f0382c37abbd045a2e347901d8c24a731766411125dd41c7ae424dbe68f8685002372f80d6",
    # two messages of the dialer
    "0000002397cacb41c31a3f7db69dfaf3679155b130570a3803ff81965ec79547ddd92ce782c94e",
    # two of the acceptor
    "0000001de901b115c281c369fede2034e5e077afade19bc290bc77838a335d9c68",
]
