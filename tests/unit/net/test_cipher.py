"""The handshake and the records against vectors of others, and what no peer can do to them."""

import struct

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st

from syncstructs.errors import ProtocolError
from syncstructs.net import cipher
from syncstructs.net.cipher import NOISE_NAME, CipherState, Handshake, Keys, Session
from syncstructs.net.frames import FrameDecoder

# From the vectors of the Haskell implementation `cacophony`, as the Rust implementation `snow` has
# them in tests/vectors/cacophony.txt: this pattern, messages from the initiator first, in turns.
CACOPHONY = {
    "protocol_name": "Noise_NNpsk0_25519_AESGCM_SHA256",
    "prologue": "4a6f686e2047616c74",
    "psk": "54686973206973206d7920417573747269616e20706572737065637469766521",
    "init_ephemeral": "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
    "resp_ephemeral": "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
    "handshake_hash": "9f3b1f9afd7767767b5b9d1069844a6154fdbdcc36dfb3e31c0fffc5c973d530",
    "messages": [
        (
            "4c756477696720766f6e204d69736573",
            "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
            "7c37a89fc17813788d30df2d59501d6066f5f8aecc3406bbd9829f2d24a531b1",
        ),
        (
            "4d757272617920526f746862617264",
            "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
            "2f29d79368ef9de4e1ae7a362fb05bf0ad668e026bf5714554497b3a720461",
        ),
        (
            "462e20412e20486179656b",
            "7c01e898a6201f36aecee532e29cd0b7f8ffa29d3366ad0dce39a6",
        ),
        (
            "4361726c204d656e676572",
            "a9ff535aace3db6a1da1a7fb00fe2de2622bb373abad9fb42c00e0",
        ),
        (
            "4a65616e2d426170746973746520536179",
            "6cfc49a3e65472edc2d0152abe5ce950170a8a47c959f30bd48b5f0aacf29adbfd",
        ),
        (
            "457567656e2042f6686d20766f6e2042617765726b",
            "9bc86e6d974ed21ba04604a94aa68de21677eb409ead070c0cd569b069ee19ba142aa4c1a9",
        ),
    ],
}
PSK, OTHER_PSK = bytes(range(32)), bytes(range(1, 33))
PROLOGUE = b"prologue"


def numbered(first=1):
    """Return a source of private keys that are no secret."""
    count = iter(range(first, 100_000))
    return lambda size: next(count).to_bytes(size, "big")


def keys(own=PSK, accepted=(), first=1):
    return Keys(own, accepted, numbered(first))


def sessions(own=PSK, accepted=(PSK,)):
    first, handshake = keys(own).dial(PROLOGUE)
    answer, acceptors = keys(accepted[0], accepted[1:], first=1000).accept(PROLOGUE, first)
    handshake.read_second(answer)
    return handshake.session(dialled=True), acceptors


def records(session, stream):
    return list(FrameDecoder(cipher.RECORD_LIMIT_BYTES).receive(session.seal(stream)))


def test_the_vectors_of_other_implementations_come_out_byte_for_byte():
    vector = CACOPHONY
    assert NOISE_NAME.decode() == vector["protocol_name"]
    psk, prologue = bytes.fromhex(vector["psk"]), bytes.fromhex(vector["prologue"])
    dialer, acceptor = Handshake(psk, prologue), Handshake(psk, prologue)
    pairs = [(bytes.fromhex(p), bytes.fromhex(c)) for p, c in vector["messages"]]
    (first, first_sealed), (second, second_sealed), *rest = pairs
    assert dialer.write_first(bytes.fromhex(vector["init_ephemeral"]), first) == first_sealed
    assert acceptor.read_first(first_sealed) == first
    assert acceptor.write_second(bytes.fromhex(vector["resp_ephemeral"]), second) == second_sealed
    assert dialer.read_second(second_sealed) == second
    assert dialer._hash == acceptor._hash == bytes.fromhex(vector["handshake_hash"])
    one, other = dialer.session(dialled=True), acceptor.session(dialled=False)
    for payload, sealed in rest:
        assert one._sender.encrypt(payload) == sealed
        assert other.open(sealed) == payload
        one, other = other, one


def test_the_answer_of_the_one_opens_with_the_keys_of_the_other():
    one, other = sessions()
    for number in range(5):
        for source, target in ((one, other), (other, one)):
            (record,) = records(source, b"%d" % number)
            assert target.open(record) == b"%d" % number


@pytest.mark.parametrize("size", [0, 1, 65_518, 65_519, 65_520, 65_519 * 3, 300_000])
def test_a_stream_is_cut_into_records_that_noise_allows(size):
    one, other = sessions()
    stream = bytes(range(256)) * (size // 256 + 1)
    pieces = records(one, stream[:size])
    assert all(len(piece) <= 65_535 for piece in pieces)
    assert len(pieces) == -(-size // 65_519)
    assert b"".join(map(other.open, pieces)) == stream[:size]


def test_a_first_message_of_any_accepted_password_is_answered_and_of_no_other():
    sessions(own=OTHER_PSK, accepted=(PSK, OTHER_PSK))
    first, _ = keys(OTHER_PSK).dial(PROLOGUE)
    assert keys(PSK).accept(PROLOGUE, first) is None
    assert keys(OTHER_PSK).accept(b"another version", first) is None


@given(st.integers(0, 47), st.integers(1, 255))
def test_a_changed_first_message_is_not_answered(place, change):
    first, _ = keys().dial(PROLOGUE)
    changed = bytearray(first)
    changed[place] ^= change
    assert keys().accept(PROLOGUE, bytes(changed)) is None


@given(st.integers(0, 47), st.integers(1, 255))
def test_a_changed_answer_is_not_taken(place, change):
    first, handshake = keys().dial(PROLOGUE)
    answer, _ = keys(first=1000).accept(PROLOGUE, first)
    changed = bytearray(answer)
    changed[place] ^= change
    with pytest.raises(ProtocolError):
        handshake.read_second(bytes(changed))


@given(st.binary(max_size=100))
def test_messages_of_any_length_are_refused_and_never_raise_anything_else(noise):
    assert keys().accept(PROLOGUE, noise) is None
    first, handshake = keys().dial(PROLOGUE)
    assert keys().accept(PROLOGUE, first[: len(noise) % 48]) is None
    with pytest.raises(ProtocolError):
        handshake.read_second(noise)


def test_a_dialer_does_not_take_its_own_first_message_for_the_answer():
    first, handshake = keys().dial(PROLOGUE)
    with pytest.raises(ProtocolError):
        handshake.read_second(first)


def test_the_answer_to_another_first_message_is_not_taken():
    source = keys()
    old, _ = source.dial(PROLOGUE)
    _, handshake = source.dial(PROLOGUE)
    answer, _ = keys(first=1000).accept(PROLOGUE, old)
    with pytest.raises(ProtocolError):
        handshake.read_second(answer)


@pytest.mark.parametrize("point", [bytes(32), b"\1" + bytes(31), b"\xec" + b"\xff" * 30 + b"\x7f"])
def test_a_key_that_makes_the_same_secret_with_all_is_refused(point):
    handshake = Handshake(PSK, PROLOGUE)
    handshake._mix_key_and_hash(PSK)
    handshake._mix_ephemeral(point)
    message = point + handshake._encrypt_and_hash(b"")
    with pytest.raises(ProtocolError, match="a key that is none"):
        keys().accept(PROLOGUE, message)


def test_each_link_has_keys_of_its_own_though_the_password_is_the_same():
    source, target = keys(), keys(first=1000)
    seen = set()
    for _ in range(3):
        first, handshake = source.dial(PROLOGUE)
        answer, session = target.accept(PROLOGUE, first)
        handshake.read_second(answer)
        seen |= {first, answer}
        seen.add(handshake.session(dialled=True).seal(b"the same"))
        seen.add(session.seal(b"the same"))
    assert len(seen) == 12


def test_forward_secrecy_the_psk_and_all_bytes_of_a_handshake_do_not_give_the_keys():
    """Who knows the psk and has recorded both messages lacks one of the two private keys."""
    first, handshake = keys().dial(PROLOGUE)
    answer, _ = keys(first=1000).accept(PROLOGUE, first)
    handshake.read_second(answer)
    (record,) = records(handshake.session(dialled=True), b"secret")
    spy = Handshake(PSK, PROLOGUE)
    spy.read_first(first)
    spy._ephemeral = cipher.X25519PrivateKey.from_private_bytes(bytes(range(32)))
    with pytest.raises(ProtocolError):
        spy.read_second(answer)
    for dialled in (True, False):
        with pytest.raises(ProtocolError):
            spy.session(dialled=dialled).open(record)


@given(st.data())
def test_a_record_that_is_changed_cut_or_grown_does_not_open(data):
    one, other = sessions()
    (record,) = records(one, b"some words")
    place = data.draw(st.integers(0, len(record) - 1))
    flipped = bytearray(record)
    flipped[place] ^= data.draw(st.integers(1, 255))
    for changed in (
        bytes(flipped),
        record[:place],
        record + data.draw(st.binary(min_size=1, max_size=20)),
    ):
        with pytest.raises(ProtocolError, match="not sealed by the peer"):
            other.open(changed)
    assert other.open(record) == b"some words"


def test_records_open_once_in_their_order_and_in_their_direction():
    one, other = sessions()
    first, second, third = (records(one, words)[0] for words in (b"1", b"2", b"3"))
    with pytest.raises(ProtocolError):
        other.open(second)
    assert other.open(first) == b"1"
    for wrong in (first, third):
        with pytest.raises(ProtocolError):
            other.open(wrong)
    with pytest.raises(ProtocolError):
        one.open(second)
    assert other.open(second) == b"2"


def test_nonces_count_and_no_two_records_have_the_same():
    one, _ = sessions()
    assert len({records(one, b"same")[0] for _ in range(100)}) == 100
    state = CipherState(PSK)
    for number in range(3):
        nonce = struct.pack(">IQ", 0, number)
        assert state.encrypt(b"x") == AESGCM(PSK).encrypt(nonce, b"x", None)


def test_a_direction_takes_a_new_key_after_so_many_records_and_goes_on(monkeypatch):
    monkeypatch.setattr(cipher, "_REKEY_RECORDS", 3)
    one, other = sessions()
    used = set()
    for number in range(10):
        used.add(one._sender._key)
        (record,) = records(one, b"%d" % number)
        assert other.open(record) == b"%d" % number
    assert len(used) == 4
    assert one._sender.nonce == 10
    assert one._receiver.nonce == 0


def test_the_new_key_is_that_of_noise():
    state = CipherState(PSK)
    state.rekey()
    sealed = AESGCM(PSK).encrypt(b"\0\0\0\0" + b"\xff" * 8, bytes(32), None)
    assert state._key == sealed[:32]
    assert state.nonce == 0


def test_the_last_nonce_seals_and_opens_nothing():
    state = CipherState(PSK)
    state.nonce = 2**64 - 1
    with pytest.raises(AssertionError):
        state.encrypt(b"x")
    with pytest.raises(InvalidTag):
        state.decrypt(AESGCM(PSK).encrypt(b"\0\0\0\0" + b"\xff" * 8, b"x", None))
    with pytest.raises(ProtocolError):
        Session(state, state).open(AESGCM(PSK).encrypt(b"\0\0\0\0" + b"\xff" * 8, b"x", None))


def test_keys_do_not_show_what_they_are():
    assert PSK.hex() not in repr(keys())
    assert repr(PSK) not in repr(keys())
