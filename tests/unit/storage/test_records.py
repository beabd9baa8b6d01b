"""What a bad record means: a torn tail if no later write follows, else damage."""

import time
import zlib
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncstructs.storage import records as module
from syncstructs.storage.records import _HEADER, HEADER_BYTES, encode_write, scan

SALT = b"salt"
records = st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=20)), min_size=1, max_size=3)
histories = st.lists(records, min_size=1, max_size=4)


def written(history, first=1):
    return [encode_write(SALT, number, pairs) for number, pairs in enumerate(history, first)]


def content(found):
    return [[(record.kind, bytes(record.payload)) for record in write] for write in found.writes]


@given(histories, st.integers(1, 2**40))
def test_what_was_written_is_found(history, first):
    data = b"".join(written(history, first))
    for expected in (first, None):
        found = scan(data, SALT, expected)
        assert content(found) == history
        assert (found.end, found.fault, found.damaged) == (len(data), None, False)
        assert [write[0].write for write in found.writes] == list(
            range(first, first + len(history))
        )


@given(histories)
def test_a_last_write_that_is_cut_off_or_full_of_zeros_is_torn(history):
    *before, last = written(history)
    whole = b"".join(before)
    for size in range(len(last)):
        for tail in (last[:size], last[:size] + bytes(len(last) - size), last[:size] + bytes(99)):
            found = scan(whole + tail, SALT, 1)
            if not last[size:].strip(b"\0") and len(tail) >= len(last):
                continue  # the zeros are those that were lost
            assert content(found) == history[:-1]
            assert found.end == len(whole)
            assert not found.damaged


@given(histories, st.lists(st.booleans(), min_size=60, max_size=60), st.sampled_from([1, 4, 16]))
def test_a_last_write_without_some_of_its_blocks_is_torn(history, lost, block):
    *before, last = written(history)
    holed = bytearray(last)
    for number, at in enumerate(range(0, len(last), block)):
        if lost[number % len(lost)]:
            holed[at : at + block] = bytes(len(holed[at : at + block]))
    found = scan(b"".join(before) + holed, SALT, 1)
    assert not found.damaged
    assert content(found)[: len(before)] == history[:-1]
    assert content(found) == (history if bytes(holed) == last else history[:-1])


@given(st.lists(records, min_size=2, max_size=3), st.data())
@settings(max_examples=200)
def test_a_flipped_bit_before_the_last_write_is_damage(history, data):
    *before, last = written(history)
    whole = bytearray(b"".join(before))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    found = scan(bytes(whole + last), SALT, 1)
    assert found.damaged
    assert found.fault <= at
    assert len(found.writes) < len(before)


@given(histories)
def test_writes_that_are_missing_in_between_are_damage(history):
    first, *rest = written([*history, [(1, b"")], [(1, b"")]])
    found = scan(first + b"".join(rest[1:]), SALT, 1)
    assert found.damaged
    assert len(found.writes) == 1


@given(histories)
def test_records_of_another_file_are_never_taken_for_ones_of_this(history):
    data = b"".join(written(history))
    found = scan(data, b"SALT", 1)
    assert (found.writes, found.damaged) == ([], False)
    # The same records as values in the payload of a write that was torn.
    torn = encode_write(b"SALT", 1, [(1, data)])[:-1]
    assert not scan(torn, b"SALT", 1).damaged


def test_a_write_without_its_last_record_is_no_write():
    data = encode_write(SALT, 1, [(1, b"a"), (2, b"b")])
    assert scan(data[: HEADER_BYTES + 1], SALT, 1).writes == []


def test_a_long_bad_tail_is_searched_in_one_pass():
    begin = time.process_time()
    for tail in (bytes(8_000_000), SALT * 100_000, b"\xff" * 8_000_000):
        assert not scan(tail, SALT, 1).damaged
    assert time.process_time() - begin < 2


@pytest.mark.parametrize("count", [500, 2000])
def test_headers_that_claim_all_that_follows_are_damage_in_linear_time(monkeypatch, count):
    salt, summed = b"salt", 0

    def crc32(data, value=0):
        nonlocal summed
        summed += len(data)
        return zlib.crc32(data, value)

    monkeypatch.setattr(module, "zlib", SimpleNamespace(crc32=crc32))
    size = HEADER_BYTES
    data = b"".join(
        _HEADER.pack(salt, 1, (count - number - 1) * size, 9, 1, True)
        for number in range(count)
    )
    found = scan(data, salt, 1)
    assert found.damaged
    assert not found.writes
    assert summed <= 12 * len(data)
