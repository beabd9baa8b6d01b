"""Records of TLS 1.3 made by hand, for what no library says: RFC 8446, sections 5.2 and 7.1."""

import hmac
from hashlib import sha256, sha384
from struct import pack

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HANDSHAKE, APPLICATION = 22, 23


class Records:
    """What one side says from its `count`-th record on, by the secret in a log of keys."""

    def __init__(self, secret, count=0):
        self._hash = sha384 if len(secret) == 48 else sha256
        self._begin(secret)
        self.count = count

    def _begin(self, secret):
        self._secret = secret
        self._aead = AESGCM(self._expand(b"key", 32 if self._hash is sha384 else 16))
        self._iv = int.from_bytes(self._expand(b"iv", 12), "big")
        self.count = 0

    def _expand(self, label, size):
        label = b"tls13 " + label
        words = pack("!HB", size, len(label)) + label + b"\0\1"
        return hmac.digest(self._secret, words, self._hash)[:size]

    def record(self, words, kind=APPLICATION):
        """Return the next record, of `words`."""
        head = b"\x17\x03\x03" + pack("!H", len(words) + 17)
        nonce = (self._iv ^ self.count).to_bytes(12, "big")
        self.count += 1
        return head + self._aead.encrypt(nonce, words + bytes([kind]), head)

    def update(self):
        """Take the next keys, as after a KeyUpdate."""
        self._begin(self._expand(b"traffic upd", self._hash().digest_size))


def secret_in(log, side):
    """Return the last secret of the records of that side, 'CLIENT' or 'SERVER', in a log."""
    lines = [line.split() for line in log.read_text().splitlines()]
    found = [parts[2] for parts in lines if parts[0] == f"{side}_TRAFFIC_SECRET_0"]
    return bytes.fromhex(found[-1])
