"""Digests of state: replicas that have applied the same commands must agree on them.

A digest is BLAKE2b (RFC 7693) with 16 bytes. It does not depend on memory addresses, `hash()` or
the order of sets, because the codec's bytes do not.
"""

from collections import deque
from collections.abc import Collection, Iterable, Iterator
from hashlib import blake2b
from typing import Final

from ..pickled import Pickled
from ..raft.messages import DIGEST_BYTES

_SMALL: Final = frozenset({type(None), bool, int, float})
# What a value of a type that is not looked into counts.
_OPAQUE_WEIGHT: Final = 8


def digest_bytes(parts: Iterable[bytes]) -> str:
    """Return the digest of some byte strings as hexadecimal text; see `digest_of`."""
    return digest_of(parts).hex()


def digest_of(parts: Iterable[bytes]) -> bytes:
    """Return the digest of some byte strings; where one ends and the next begins counts."""
    digest = blake2b(digest_size=DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.digest()


def measured(parts: Iterable[bytes]) -> tuple[bytes, int]:
    """Return the digest of some byte strings (see `digest_of`), and how long they are together."""
    size_bytes = 0

    def counted() -> Iterator[bytes]:
        nonlocal size_bytes
        for part in parts:
            size_bytes += len(part)
            yield part

    digest = digest_of(counted())
    return digest, size_bytes


def outweighs(values: Collection[object], limit: int) -> bool:
    """Return whether these hold more than `limit` values, with what is in them at any depth.

    64 bytes or characters count as one value. O(limit), however much there is, and also if a value
    holds itself. Other threads may change what is looked at.
    """
    weight = len(values)
    found: list[Iterable[object]] = [values]
    while found and weight <= limit:
        for value in found.pop():
            kind = type(value)
            if kind in _SMALL:
                continue
            if isinstance(value, Pickled):
                value = value.encoded
            if isinstance(value, str | bytes):
                weight += len(value) >> 6
                continue
            if hasattr(kind, "__dataclass_fields__") and hasattr(value, "__dict__"):
                value = vars(value)
            if isinstance(value, dict):
                weight += 2 * len(value)
                parts: tuple[Collection[object], ...] = (value, value.values())
            elif isinstance(value, list | tuple | set | frozenset | deque):
                weight += len(value)
                parts = (value,)
            else:
                weight += _OPAQUE_WEIGHT
                continue
            # Before it is copied, for there may be much in it.
            if weight > limit:
                return True
            found += map(list, parts)
    return weight > limit
