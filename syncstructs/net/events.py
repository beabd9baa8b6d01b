"""What a link tells its owner; values."""

import msgspec


class Greeted(msgspec.Struct, frozen=True, kw_only=True):
    """The peer's hello has come and is as it should be."""

    address: str
    incarnation: int
    number: int


class FrameReceived(msgspec.Struct, frozen=True, gc=False):
    """The peer has sent a message."""

    payload: bytes


class Refused(msgspec.Struct, frozen=True, kw_only=True):
    """One side does not want the link; write `data_to_send` and close.

    If `by_peer`, the reason is text from the peer, to be quoted. `address` is the peer's as far
    as it said, None before that; nothing has proved it. `in_clear`: this node has a password, and
    what the peer said was not sealed, so anybody between the two may have said it; so with TLS.
    """

    reason: str
    by_peer: bool
    address: str | None
    in_clear: bool = False


class Broken(msgspec.Struct, frozen=True):
    """The peer sent what no correct member sends; close."""

    reason: str


Event = Greeted | FrameReceived | Refused | Broken
