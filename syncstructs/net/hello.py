"""The first frame of each side of a link: who speaks, and whether this node wants to listen. Pure.

Layout: magic (12 bytes), kind (1), protocol version (2, big endian), body. A hello's body is a
msgpack array, a refusal's is a sentence in UTF-8, that of a handshake a message of `cipher`. Magic,
kind and version stay where they are in every version of the protocol, and so does the whole of a
refusal: nodes of different versions can tell each other why they part.

A reason for refusal names both sides, so that the same sentence is right in both logs. With a
password, the sides have no names before both have proved that they know it.
"""

from struct import Struct
from typing import Literal

import msgspec

from ..config import is_nameless, parse_address
from ..errors import ConfigError, ProtocolError

PROTOCOL_VERSION = 2
HELLO_LIMIT_BYTES = 4096
"""The first frame is no larger: a stranger's bytes are not kept beyond this."""

Proof = Literal["nothing", "password", "tls"]
"""What a node proves itself by, and expects of others."""
TLS_FIRST_BYTES = frozenset({0x15, 0x16})
"""What TLS begins with, a handshake or an alert; a first frame is too short to begin so."""

_MAGIC = b"syncstructs\x00"
_HEAD = Struct("!12sBH")
_HELLO, _REFUSAL, _HANDSHAKE = 1, 2, 3
_REASON_LIMIT_BYTES = 1024
_QUOTED_CHARACTERS = 80
_HEXADECIMAL = frozenset("0123456789abcdef")


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """What a node says of itself on every link.

    `incarnation` (0 to 2**64 - 1) tells one life of the node from its earlier ones;
    `limit_bytes` is the largest frame that the node takes.
    """

    cluster: str
    address: str
    incarnation: int
    limit_bytes: int


class Hello(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One side's greeting.

    `dialled` is the address that the sender believes to be that of the receiver. `number` grows
    with every hello of an incarnation, so a late one can be told from a new one.
    """

    cluster: str
    address: str
    dialled: str
    incarnation: int
    number: int
    limit_bytes: int


class Refusal(msgspec.Struct, frozen=True):
    """The other side does not want this link; the sentence is the peer's, so quote it."""

    reason: str


class Handshake(msgspec.Struct, frozen=True):
    """One side's message of the handshake that a password asks for, in place of a hello."""

    message: bytes


class TlsHello(msgspec.Struct, frozen=True):
    """The other side speaks TLS from its first byte on."""


class Turned(ProtocolError):
    """One side of a handshake does not take the other: a reason to part, and not damage."""

    def __init__(self, sentence: str, detail: str, *, by_peer: bool = False) -> None:
        super().__init__(f"{sentence}: {detail}")
        self.detail = detail
        self.by_peer = by_peer
        """Whether this side was turned away, as the other one says."""


class OtherVersion(msgspec.Struct, frozen=True):
    """A hello or a handshake in a version of the protocol that is not spoken here."""

    version: int


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Hello)


def quoted(text: str, limit: int = _QUOTED_CHARACTERS) -> str:
    """Return `text` for a log or a reason: in quotes, escaped, cut after `limit` characters.

    >>> quoted("x" * 1000, 3)
    "'xxx'..."
    """
    if len(text) > limit:
        return ascii(text[:limit]) + "..."
    return ascii(text)


def encode_hello(hello: Hello) -> bytes:
    """Return the payload of the frame that carries `hello`."""
    return _HEAD.pack(_MAGIC, _HELLO, PROTOCOL_VERSION) + _encoder.encode(hello)


def encode_refusal(reason: str) -> bytes:
    """Return the payload of the frame that tells the other side `reason`."""
    text = reason.encode("utf-8", "replace")[:_REASON_LIMIT_BYTES]
    return _HEAD.pack(_MAGIC, _REFUSAL, PROTOCOL_VERSION) + text


def handshake_head() -> bytes:
    """Return what the payload of a handshake's frame begins with."""
    return _HEAD.pack(_MAGIC, _HANDSHAKE, PROTOCOL_VERSION)


def encode_handshake(message: bytes) -> bytes:
    """Return the payload of the frame that carries a message of the handshake."""
    return handshake_head() + message


def decode_first_frame(payload: bytes) -> Hello | Refusal | Handshake | OtherVersion:
    """Return what the first frame of a link says.

    Raises:
        ProtocolError: it is not the first frame of any version of this protocol, or damaged.
    """
    if len(payload) < _HEAD.size or not payload.startswith(_MAGIC):
        raise ProtocolError("the first frame is not a greeting: not a syncstructs node")
    _, kind, version = _HEAD.unpack_from(payload)
    body = payload[_HEAD.size :]
    if kind == _REFUSAL:
        return Refusal(body[:_REASON_LIMIT_BYTES].decode("utf-8", "replace"))
    if kind not in (_HELLO, _HANDSHAKE):
        raise ProtocolError(f"the first frame is of kind {kind}, not a greeting")
    if version != PROTOCOL_VERSION:
        return OtherVersion(version)
    if kind == _HANDSHAKE:
        return Handshake(body)
    try:
        return _decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise ProtocolError("the greeting is damaged") from None


def is_refusal(payload: bytes) -> bool:
    """Return whether a frame is a refusal; no message of a member begins like one."""
    return payload.startswith(_MAGIC) and payload[len(_MAGIC) : len(_MAGIC) + 1] == b"\x02"


def reason_to_refuse(
    hello: Hello | OtherVersion,
    *,
    identity: Identity,
    dialled: str | None = None,
) -> str | None:
    """Return the sentence that says why the node `identity` does not take `hello`; None: it does.

    `dialled` is the address that this node dialled to get here, None where it was dialled. Whether
    the other side is a member is no reason: one that has not heard of a new member yet must talk
    to it, too.
    """
    own = quoted(identity.address)
    if isinstance(hello, OtherVersion):
        return (
            f"{own} speaks protocol version {PROTOCOL_VERSION}, the other side {hello.version}"
        )
    peer = quoted(hello.address)
    if hello.cluster != identity.cluster:
        return (
            f"{own} is of cluster {quoted(identity.cluster)},"
            f" {peer} is of cluster {quoted(hello.cluster)}"
        )
    if hello.address == identity.address:
        if hello.incarnation == identity.incarnation:
            return f"{own} reached itself when it dialled {quoted(dialled or hello.dialled)}"
        return f"{own} is the address of two nodes"
    if dialled is not None and hello.address != dialled:
        return f"{own} dialled {quoted(dialled)}, but reached {peer}"
    if hello.dialled != identity.address:
        return f"{peer} dialled {quoted(hello.dialled)}, but reached {own}"
    if is_nameless(hello.address) and is_nameless(identity.address):
        return f"{own} and {peer} have no address, either of them"
    if not is_name(hello.address) and not _is_address(hello.address):
        return f"{own} cannot call back {peer}, which is no address"
    return None


WRONG_PASSWORD = (
    "the node that dialled uses a password that the node that was dialled does not accept, or is of"
    " another cluster"
)
"""Said without a name, as everything before the handshake is done."""


def reason_to_part(
    said: Hello | Handshake | TlsHello | OtherVersion, *, has: Proof, dialled: bool
) -> str | None:
    """Return why a node cannot go on with what came unsealed; None: it can, as far as this goes.

    `has` is what this node proves itself by, `dialled` whether it did. The sentence has no names
    in it, as anybody may read it.
    """
    own, other = "that dialled", "that was dialled"
    if not dialled:
        own, other = other, own
    if isinstance(said, OtherVersion):
        if has == "nothing":
            return None
        return (
            f"the node {own} speaks protocol version {PROTOCOL_VERSION}, the node {other}"
            f" {said.version}"
        )
    theirs = _PROOFS[type(said)]
    if theirs == has:
        return None
    if (has, theirs) not in _DIFFERENT:
        own, other, has, theirs = other, own, theirs, has
    mine, yours = _DIFFERENT[has, theirs]
    return f"the node {own} {mine}, the node {other} {yours}"


_PROOFS: dict[type, Proof] = {Hello: "nothing", Handshake: "password", TlsHello: "tls"}
_DIFFERENT: dict[tuple[Proof, Proof], tuple[str, str]] = {
    ("password", "nothing"): ("has a password", "has none"),
    ("tls", "nothing"): ("speaks TLS", "does not"),
    ("tls", "password"): ("speaks TLS", "has a password"),
}


def _is_address(text: str) -> bool:
    """Return whether `text` can be dialled, and stand in a log as it is."""
    try:
        parse_address(text)
    except ConfigError:
        return False
    return True


def is_name(text: str) -> bool:
    """Whether a node without an address may call itself so: its kind, and a number.

    >>> is_name("observer-5d41402abc4b2a76"), is_name("db1:4321"), is_name("observer-x y")
    (True, False, False)
    """
    number = text.partition("-")[2]
    return is_nameless(text) and 0 < len(number) <= 32 and set(number) <= _HEXADECIMAL


def dials(own: str, other: str) -> bool:
    """Whether the node `own` makes the connections of the two: the greater address does.

    Who has none does in any case. Two of those cannot meet.
    """
    if is_nameless(own) or is_nameless(other):
        return is_nameless(own)
    return own > other
