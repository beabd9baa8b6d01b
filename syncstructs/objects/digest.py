"""Digests of state: replicas that have applied the same commands must agree on them.

A digest is BLAKE2b (RFC 7693) with 16 bytes, as hexadecimal text. It does not depend on memory
addresses, `hash()` or the order of sets, because the codec's bytes do not.
"""

from collections.abc import Iterable
from hashlib import blake2b

_DIGEST_BYTES = 16


def digest_bytes(parts: Iterable[bytes]) -> str:
    """Return the digest of some byte strings; where one ends and the next begins counts."""
    digest = blake2b(digest_size=_DIGEST_BYTES)
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return digest.hexdigest()
