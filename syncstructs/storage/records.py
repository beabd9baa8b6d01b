"""Records on disk: how they are framed, and what a bad one means. Pure.

A *write* is what is handed to the disk at once and synced before the next write begins. It is made
of one or more records that carry its number; the last of them is marked. A record is::

    salt 4 | CRC-32 4 | length 4 | write 8 | kind 1 | last 1 | payload

The checksum covers everything behind it and begins with the file's salt, which is drawn at random
for each file: bytes of another file, or values that look like a record, are never taken for one.

After a crash, a write that was not synced may be there in part: cut off, with blocks of it lost in
any combination, full of zeros, or longer than it was. All writes before it were synced, and none
came after it. So a bad record is a *torn tail* if no whole record of a later write follows. If one
does, the bad record had been synced and acknowledged: that is *damage*, and not to be repaired by
guessing.
"""

import struct
import zlib
from collections.abc import Iterable
from typing import Final, NamedTuple

_HEADER: Final = struct.Struct(">4sIIQBB")
_CHECKED: Final = struct.Struct(">IQBB")
_CHECKED_AT: Final = 8

# How often the bytes of a file are looked at, at the most, to tell a torn tail from damage.
_SEARCH_FACTOR: Final = 8

MAX_PAYLOAD_BYTES: Final = 2**32 - 1
SALT_BYTES: Final = 4
HEADER_BYTES: Final = _HEADER.size


class Record(NamedTuple):
    """A whole record found in a file."""

    offset: int
    write: int
    kind: int
    last: bool
    payload: memoryview

    @property
    def end(self) -> int:
        return self.offset + HEADER_BYTES + len(self.payload)


class Scan(NamedTuple):
    """What a file holds."""

    writes: list[list[Record]]
    """The whole writes, in order."""
    end: int
    """Where the last whole write ends; what follows is torn or damaged."""
    fault: int | None
    """Where the first bad record stands, None if the file ends with a whole write."""
    damaged: bool
    """A later write follows the bad record."""


def encode_write(salt: bytes, write: int, records: Iterable[tuple[int, bytes]]) -> bytes:
    """Return the write numbered `write`, made of `records` as kinds and payloads."""
    parts: list[bytes] = []
    pairs = list(records)
    for number, (kind, payload) in enumerate(pairs, 1):
        assert len(payload) <= MAX_PAYLOAD_BYTES, len(payload)
        checked = _CHECKED.pack(len(payload), write, kind, number == len(pairs))
        parts += (salt, _checksum(salt, checked, payload).to_bytes(4, "big"), checked, payload)
    return b"".join(parts)


def scan(data: bytes, salt: bytes, first_write: int | None) -> Scan:
    """Return what `data`, the content of a whole file, holds.

    The first write must be numbered `first_write`; None takes what stands there. Takes time in
    proportion to the size.
    """
    writes: list[list[Record]] = []
    current: list[Record] = []
    expected = first_write
    at = end = 0
    while (record := _record_at(data, salt, at)) is not None:
        if expected is None:
            expected = record.write
        if record.write != expected:
            break
        current.append(record)
        at = record.end
        if record.last:
            writes.append(current)
            current, end, expected = [], at, expected + 1
    if end == len(data):
        return Scan(writes, end, None, False)
    return Scan(writes, end, at, _has_later(data, salt, at, expected or 0))


def _record_at(data: bytes, salt: bytes, at: int) -> Record | None:
    if len(data) - at < HEADER_BYTES:
        return None
    found, checksum, length, write, kind, last = _HEADER.unpack_from(data, at)
    begin = at + HEADER_BYTES
    if found != salt or length > len(data) - begin:
        return None
    payload = memoryview(data)[begin : begin + length]
    checked = memoryview(data)[at + _CHECKED_AT : begin]
    if checksum != _checksum(salt, checked, payload):
        return None
    return Record(at, write, kind, bool(last), payload)


def _claimed_bytes(data: bytes, at: int) -> int:
    """Return over how many bytes a checksum was taken of what begins at `at`."""
    if len(data) - at < HEADER_BYTES:
        return 0
    length: int = _HEADER.unpack_from(data, at)[2]
    return length if length <= len(data) - at - HEADER_BYTES else 0


def _checksum(salt: bytes, checked: bytes | memoryview, payload: bytes | memoryview) -> int:
    return zlib.crc32(payload, zlib.crc32(checked, int.from_bytes(salt, "big")))


def _has_later(data: bytes, salt: bytes, at: int, write: int) -> bool:
    """Return whether a whole record of a write after `write` stands anywhere from `at` on.

    Also if that cannot be said in reasonable time: what a crash leaves has no headers whose records
    overlap, so somebody has put them there.
    """
    left = _SEARCH_FACTOR * len(data)
    while (at := data.find(salt, at)) >= 0:
        record = _record_at(data, salt, at)
        if record is not None and record.write > write:
            return True
        left -= _claimed_bytes(data, at)
        if left < 0:
            return True
        # Past a whole record there can be no other one inside its payload.
        at = at + 1 if record is None else record.end
    return False
