"""Framing of records in a file, and telling a torn tail from damage. Pure.

A record is what one sync makes durable: length, checksum, payload. The next record is written only
after that sync has returned, so a record that is not whole was never acknowledged if, and only if,
no whole record stands behind it. The checksum is salted per file: bytes that a user stored as a
value cannot pass for a record.
"""

import struct
import zlib
from dataclasses import dataclass

_HEADER = struct.Struct("<4sII")
_MAGIC = b"\xa7SyR"

HEADER_BYTES = _HEADER.size


def frame(payload: bytes, salt: int) -> bytes:
    """Return `payload` as a record."""
    length = len(payload)
    checksum = zlib.crc32(payload, zlib.crc32(length.to_bytes(4, "little"), salt))
    return _HEADER.pack(_MAGIC, length, checksum) + payload


@dataclass(frozen=True, slots=True)
class Scan:
    """What a file holds: whole records, and where they end."""

    payloads: list[bytes]
    end: int
    """Offset behind the last whole record of the unbroken run from the start."""
    beyond: int | None
    """Offset of a whole record behind broken bytes: then it is damage. None: a torn tail."""


def scan(data: bytes, start: int, salt: int) -> Scan:
    """Read records from `start` until the bytes end or no longer make a record.

    O(n): looking for a record behind broken bytes tries only places that begin like one.
    """
    payloads: list[bytes] = []
    offset = start
    while (payload := _record_at(data, offset, salt)) is not None:
        payloads.append(payload)
        offset += HEADER_BYTES + len(payload)
    return Scan(payloads, offset, _next_record(data, offset, salt))


def _record_at(data: bytes, offset: int, salt: int) -> bytes | None:
    if offset + HEADER_BYTES > len(data):
        return None
    magic, length, checksum = _HEADER.unpack_from(data, offset)
    begin = offset + HEADER_BYTES
    if magic != _MAGIC or begin + length > len(data):
        return None
    payload = data[begin : begin + length]
    if zlib.crc32(payload, zlib.crc32(length.to_bytes(4, "little"), salt)) != checksum:
        return None
    return payload


def _next_record(data: bytes, offset: int, salt: int) -> int | None:
    found = data.find(_MAGIC, offset + 1)
    while found >= 0:
        if _record_at(data, found, salt) is not None:
            return found
        found = data.find(_MAGIC, found + 1)
    return None
