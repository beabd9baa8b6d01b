"""Frames: any fragmentation gives the same payloads, and nothing over the limit is ever held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncstructs.errors import ProtocolError
from syncstructs.net.frames import FrameDecoder, frame_header

LIMIT = 300


def stream_of(payloads):
    return b"".join(frame_header(payload) + payload for payload in payloads)


def cut(stream, places):
    places = sorted({place % (len(stream) + 1) for place in places})
    ends = [*places, len(stream)]
    return [stream[a:b] for a, b in zip([0, *places], ends, strict=True)]


def feed(decoder, pieces):
    """Return the payloads, and the error that ended the stream or None."""
    payloads = []
    for piece in pieces:
        try:
            for payload in decoder.receive(piece):
                payloads.append(payload)
        except ProtocolError as error:
            return payloads, str(error)
        decoder._check()
        assert decoder.held_bytes() <= decoder.limit_bytes
    return payloads, None


def read(decoder, pieces):
    """Return the payloads if what there is room for is put there, as a socket does it."""
    payloads = []
    for piece in pieces:
        left = piece
        while left and (room := decoder.room()) is not None:
            count = min(len(room), len(left))
            room[:count], left = left[:count], left[count:]
            payload = decoder.filled(count)
            payloads += [] if payload is None else [payload]
            decoder._check()
        payloads += decoder.receive(left)
        decoder._check()
    return payloads


payload_lists = st.lists(st.binary(max_size=LIMIT), max_size=20)
places = st.lists(st.integers(0, 10_000), max_size=40)


@given(payload_lists, places)
def test_any_fragmentation_gives_the_same_frames(payloads, cuts):
    pieces = cut(stream_of(payloads), cuts)
    assert feed(FrameDecoder(LIMIT), pieces) == (payloads, None)


@given(payload_lists)
def test_byte_by_byte_gives_the_same_frames(payloads):
    pieces = [bytes([byte]) for byte in stream_of(payloads)]
    assert feed(FrameDecoder(LIMIT), pieces) == (payloads, None)


@given(st.binary(max_size=2000), places)
def test_random_bytes_give_frames_or_an_error_whatever_the_fragmentation(stream, cuts):
    whole = feed(FrameDecoder(LIMIT), [stream])
    assert feed(FrameDecoder(LIMIT), cut(stream, cuts)) == whole


@given(payload_lists, st.integers(LIMIT + 1, 2**32 - 1), places)
def test_a_frame_over_the_limit_is_refused_by_its_header_after_the_frames_before(
    payloads, size, cuts
):
    decoder = FrameDecoder(LIMIT)
    stream = stream_of(payloads) + size.to_bytes(4, "big")
    got, error = feed(decoder, cut(stream, cuts))
    assert got == payloads
    assert str(size) in error
    assert decoder.held_bytes() == 0
    with pytest.raises(ProtocolError):
        list(decoder.receive(b"more"))


def test_a_claimed_length_reserves_no_memory():
    decoder = FrameDecoder(2**30)
    assert list(decoder.receive(frame_header(b"") + (2**30).to_bytes(4, "big") + b"x")) == [b""]
    assert decoder.held_bytes() == 1
    assert decoder._body.__sizeof__() < 1000


@given(payload_lists, places, st.integers(1, 20))
def test_frames_of_which_parts_are_read_into_their_places_are_the_same(payloads, cuts, large_bytes):
    pieces = cut(stream_of(payloads), cuts)
    assert read(FrameDecoder(LIMIT, large_bytes=large_bytes), pieces) == payloads


def test_there_is_room_for_no_more_than_the_frame_lacks_and_has():
    decoder = FrameDecoder(2**30, large_bytes=100)
    assert decoder.room() is None
    list(decoder.receive((10_000).to_bytes(4, "big") + bytes(99)))
    assert decoder.room() is None
    list(decoder.receive(bytes(1)))
    arrived = 100
    while (room := decoder.room()) is not None:
        assert 0 < len(room) <= min(arrived, 10_000 - arrived)
        arrived += len(room)
        payload = decoder.filled(len(room))
    assert (arrived, payload) == (10_000, bytes(10_000))


def test_the_end_of_a_frame_is_read_along_with_what_follows():
    decoder = FrameDecoder(2**30, large_bytes=100)
    list(decoder.receive((250).to_bytes(4, "big") + bytes(100)))
    assert len(decoder.room()) == 100
    assert decoder.filled(51) is None
    assert decoder.room() is None
    assert list(decoder.receive(bytes(99) + frame_header(b"next") + b"next")) == [
        bytes(250),
        b"next",
    ]


def test_memory_of_a_very_large_frame_is_not_kept():
    decoder = FrameDecoder(2**30)
    assert len(read(decoder, cut(stream_of([bytes(5_000_000)]), [200_000]))) == 1
    assert decoder._body.__sizeof__() < 1000


def test_the_memory_of_a_large_frame_serves_the_next_one():
    decoder = FrameDecoder(2**30)
    payloads = [bytes([n]) * 1_000_000 for n in range(3)]
    got, places = [], set()
    for payload in payloads:
        got += read(decoder, cut(stream_of([payload]), [200_000]))
        places.add(id(decoder._body))
    assert got == payloads
    assert len(places) == 1


def test_the_piece_may_be_a_buffer_that_is_used_again():
    decoder = FrameDecoder(LIMIT)
    buffer = bytearray(stream_of([b"whole", b"part"])[:-2])
    payloads = list(decoder.receive(memoryview(buffer)))
    buffer[:] = bytes(len(buffer))
    assert payloads == [b"whole"]
    assert list(decoder.receive(b"rt")) == [b"part"]


def test_a_limit_that_changes_holds_from_the_next_frame_on():
    decoder = FrameDecoder(4)
    frames = decoder.receive(stream_of([b"four", b"longer"]))
    assert next(frames) == b"four"
    decoder.limit_bytes = 6
    assert list(frames) == [b"longer"]


@pytest.mark.parametrize("piece_bytes", [64, 4096])
def test_a_large_frame_in_small_pieces_is_copied_a_bounded_number_of_times(piece_bytes):
    # Quadratic copying would move 8 MiB x 8 MiB / (2 x 64 bytes): it would not end in time.
    payload = bytes(8 * 1024 * 1024)
    decoder = FrameDecoder(len(payload))
    stream = memoryview(stream_of([payload]))
    got = []
    for at in range(0, len(stream), piece_bytes):
        got += decoder.receive(stream[at : at + piece_bytes])
    assert got == [payload]
