"""Cipher: how both sides of a link prove that they know a password, and seal what they say. Pure.

The pattern is NNpsk0 of the Noise Protocol Framework (revision 34), and nothing besides it, as
Noise_NNpsk0_25519_AESGCM_SHA256. The dialer is the initiator. Neither side has a static key; what
they share is `psk`, derived from the password (`passwords`)::

    -> psk, e        32 bytes of a fresh key, 16 of a tag that only who knows the psk can make
    <- e, ee         the same of the other side: from here on both have keys of this link alone
    -> records       the dialer's hello first
    <- records

Both payloads of the handshake are empty: the first message can be replayed, so nothing may follow
from it. Who opens the first record of the other side knows that it has the psk and the private half
of the key that it sent on this very connection. Keys of a link are forgotten with it: whoever
learns the password later cannot read what was recorded (forward secrecy), but who has it, and sits
between the two, can pose as either. A recorded first message lets guesses of the password be
checked elsewhere, each at the cost of the derivation.

A record holds up to 65,519 bytes of the stream of frames and a tag of 16 bytes; it may hold several
frames, or a part of one. Its nonce is the count of records of its direction, so one that is
changed, lost, repeated, moved or sent back does not open, and the link ends there. After every
2**20 records a direction takes a new key (`Rekey`, section 4.2), long before AES-GCM
has seen as much under one key as is prudent. The prologue is the head of the first frame: a version
that was changed on the way is a wrong tag.

AES-GCM and not ChaCha20-Poly1305: with the instructions that nearly every processor for servers has
it is five times as fast on large records, and twice on small ones.
"""

from collections.abc import Callable, Iterable
from struct import Struct

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256, Hash
from cryptography.hazmat.primitives.hmac import HMAC

from ..errors import ProtocolError
from .frames import Bytes, frame_header

NOISE_NAME = b"Noise_NNpsk0_25519_AESGCM_SHA256"
KEY_BYTES = 32
TAG_BYTES = 16
RECORD_LIMIT_BYTES = 65_535
"""The largest message of Noise, which a sealed record is."""

_PLAIN_LIMIT_BYTES = RECORD_LIMIT_BYTES - TAG_BYTES
# Of 64 KB: 2**32 blocks of AES under one key; TLS 1.3 changes keys before 2**34.5.
_REKEY_RECORDS = 2**20
_NONCE = Struct("!4xQ")
# The last one is for `Rekey`, and never seals anything.
_NONCE_LIMIT = 2**64 - 1


class Keys:
    """What the nodes of a cluster share: the psk to dial with, and all that may be dialled with.

    `random_bytes` gives the private keys of the links, so it must be one that nobody foresees.
    """

    __slots__ = ("_accepted", "_own", "_random_bytes")

    def __init__(
        self, own: bytes, accepted: Iterable[bytes], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._own = own
        self._accepted = tuple(dict.fromkeys((own, *accepted)))
        self._random_bytes = random_bytes
        assert all(len(psk) == KEY_BYTES for psk in self._accepted), len(self._accepted)

    def dial(self, prologue: bytes) -> tuple[bytes, "Handshake"]:
        """Return the first message of a link, and what takes the answer."""
        handshake = Handshake(self._own, prologue)
        return handshake.write_first(self._random_bytes(KEY_BYTES)), handshake

    def accept(self, prologue: bytes, message: bytes) -> tuple[bytes, "Session"] | None:
        """Return the answer to a first message, and the session; None: made with another psk.

        Raises:
            ProtocolError: the message was made with the psk, but is none of a sane node.
        """
        for psk in self._accepted:
            handshake = Handshake(psk, prologue)
            try:
                handshake.read_first(message)
            except ProtocolError:
                continue
            answer = handshake.write_second(self._random_bytes(KEY_BYTES))
            return answer, handshake.session(dialled=False)
        return None


class Session:
    """The records of a link, both ways; sealed and opened in the order of the stream."""

    __slots__ = ("_receiver", "_sender")

    def __init__(self, sender: "CipherState", receiver: "CipherState") -> None:
        self._sender = sender
        self._receiver = receiver

    def seal(self, stream: bytes) -> bytes:
        """Return the records that carry `stream`, each as a frame, to be written next."""
        view = memoryview(stream)
        pieces: list[bytes] = []
        for at in range(0, len(view), _PLAIN_LIMIT_BYTES):
            record = self._sender.encrypt(view[at : at + _PLAIN_LIMIT_BYTES])
            pieces.append(frame_header(record))
            pieces.append(record)
        return b"".join(pieces)

    def open(self, record: bytes) -> bytes:
        """Return the piece of the stream that the next record of the peer carries.

        Raises:
            ProtocolError: it is not what the peer has sealed as its next one.
        """
        try:
            return self._receiver.decrypt(record)
        except InvalidTag:
            raise ProtocolError("a record was not sealed by the peer as its next one") from None


class CipherState:
    """A key and the count of what was done with it (sections 4.2 and 5.1)."""

    __slots__ = ("_aead", "_key", "nonce")

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._aead = AESGCM(key)
        self.nonce = 0

    def encrypt(self, plain: Bytes, associated: bytes | None = None) -> bytes:
        """Return `plain` sealed with the next nonce."""
        # At a record a nanosecond it takes 584 years to get there.
        assert self.nonce < _NONCE_LIMIT, self.nonce
        sealed: bytes = self._aead.encrypt(_NONCE.pack(self.nonce), plain, associated)
        self._step()
        return sealed

    def decrypt(self, sealed: Bytes, associated: bytes | None = None) -> bytes:
        """Return what was sealed with the next nonce.

        Raises:
            InvalidTag: it was not, or was changed; the nonce stays.
        """
        if self.nonce >= _NONCE_LIMIT:
            raise InvalidTag
        plain: bytes = self._aead.decrypt(_NONCE.pack(self.nonce), sealed, associated)
        self._step()
        return plain

    def _step(self) -> None:
        self.nonce += 1
        if self.nonce % _REKEY_RECORDS == 0:
            self.rekey()

    def rekey(self) -> None:
        """Take the next key; the nonce goes on, as Noise has it."""
        sealed = self._aead.encrypt(_NONCE.pack(_NONCE_LIMIT), bytes(KEY_BYTES), None)
        self._key = sealed[:KEY_BYTES]
        self._aead = AESGCM(self._key)


class Handshake:
    """The handshake of one link, from either side: section 5 for the one pattern above.

    `payload` is empty on our links; it is there for the test vectors. After an error it is of no
    more use.
    """

    __slots__ = ("_chain", "_cipher", "_ephemeral", "_hash", "_psk", "_remote")

    def __init__(self, psk: bytes, prologue: bytes) -> None:
        # A name of the length of a hash stands for itself.
        self._hash = self._chain = NOISE_NAME
        self._psk = psk
        self._cipher = CipherState(bytes(KEY_BYTES))
        self._ephemeral: X25519PrivateKey | None = None
        self._remote: bytes = b""
        self._mix_hash(prologue)

    def write_first(self, private: bytes, payload: bytes = b"") -> bytes:
        """Return the initiator's message: psk, e."""
        self._mix_key_and_hash(self._psk)
        return self._write_ephemeral(private) + self._encrypt_and_hash(payload)

    def read_first(self, message: bytes) -> bytes:
        """Take the initiator's message; return its payload.

        Raises:
            ProtocolError: it was not made with this psk and prologue, or was changed.
        """
        self._mix_key_and_hash(self._psk)
        rest = self._read_ephemeral(message)
        return self._decrypt_and_hash(rest)

    def write_second(self, private: bytes, payload: bytes = b"") -> bytes:
        """Return the responder's message: e, ee.

        Raises:
            ProtocolError: the initiator's key is none.
        """
        public = self._write_ephemeral(private)
        self._mix_key(self._shared())
        return public + self._encrypt_and_hash(payload)

    def read_second(self, message: bytes) -> bytes:
        """Take the responder's message; return its payload.

        Raises:
            ProtocolError: it is not the answer to the first one, or was changed.
        """
        rest = self._read_ephemeral(message)
        self._mix_key(self._shared())
        return self._decrypt_and_hash(rest)

    def session(self, *, dialled: bool) -> Session:
        """Return what seals the records of the initiator (`dialled`) or the responder: Split()."""
        first, second = map(CipherState, self._expand(b"", 2))
        return Session(first, second) if dialled else Session(second, first)

    # The symmetric state (section 5.2)

    def _mix_hash(self, part: bytes) -> None:
        digest = Hash(SHA256())
        digest.update(self._hash + part)
        self._hash = digest.finalize()

    def _mix_key(self, part: bytes) -> None:
        self._chain, key = self._expand(part, 2)
        self._cipher = CipherState(key)

    def _mix_key_and_hash(self, part: bytes) -> None:
        self._chain, extra, key = self._expand(part, 3)
        self._mix_hash(extra)
        self._cipher = CipherState(key)

    def _expand(self, part: bytes, count: int) -> list[bytes]:
        """Return `count` new keys: HKDF (section 4.3)."""
        secret = _hmac(self._chain, part)
        keys = [b""]
        for number in range(1, count + 1):
            keys.append(_hmac(secret, keys[-1] + bytes([number])))
        return keys[1:]

    def _encrypt_and_hash(self, plain: bytes) -> bytes:
        sealed = self._cipher.encrypt(plain, self._hash)
        self._mix_hash(sealed)
        return sealed

    def _decrypt_and_hash(self, sealed: bytes) -> bytes:
        try:
            plain = self._cipher.decrypt(sealed, self._hash)
        except InvalidTag:
            raise ProtocolError(
                "the answer was not made with a password that this node has, or changed on the way"
            ) from None
        self._mix_hash(sealed)
        return plain

    # The tokens e and ee (section 5.3)

    def _write_ephemeral(self, private: bytes) -> bytes:
        self._ephemeral = X25519PrivateKey.from_private_bytes(private)
        public: bytes = self._ephemeral.public_key().public_bytes_raw()
        self._mix_ephemeral(public)
        return public

    def _read_ephemeral(self, message: bytes) -> bytes:
        self._remote = message[:KEY_BYTES]
        self._mix_ephemeral(self._remote)
        return message[KEY_BYTES:]

    def _mix_ephemeral(self, public: bytes) -> None:
        self._mix_hash(public)
        # Both, where there is a psk (section 9.2): else the first message had no key of its own,
        # and two of them would share one with the same nonce.
        self._mix_key(public)

    def _shared(self) -> bytes:
        assert self._ephemeral is not None, self._remote
        try:
            remote = X25519PublicKey.from_public_bytes(self._remote)
            secret: bytes = self._ephemeral.exchange(remote)
        except ValueError:
            # Too short, or one of the few points that make the same secret with every key.
            raise ProtocolError("the other side sent a key that is none") from None
        return secret


def _hmac(key: bytes, text: bytes) -> bytes:
    mac = HMAC(key, SHA256())
    mac.update(text)
    digest: bytes = mac.finalize()
    return digest
