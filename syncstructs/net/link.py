"""Link: one connection to a peer, from its first byte on. Pure: bytes in, events and bytes out.

Theory of operation. The side that dialled speaks first. Each side sends a hello and then frames;
a side that does not want the link sends a refusal in place of its hello, and closes. ::

    dialer     NEW --greet()--> GREETING --hello--> OPEN
    acceptor   NEW --hello--> HEARD --greet()--> OPEN

    every state --refusal, either way, or bytes that are no frame--> CLOSED

A peer's hello that passes is reported as `Greeted`. The acceptor then calls `greet` to take the
link, or `refuse`, or drops the connection. Nothing but a hello may arrive before the link is OPEN,
so the acceptor's frames may follow its hello at once, while the dialer waits for that hello.

Payloads become frames in `frame`, and frames become payloads in `_take_frame`, and nowhere else:
what encrypts them has its place there.
"""

from enum import Enum
from typing import Literal

import msgspec

from ..errors import ProtocolError
from .frames import HEADER_BYTES, Bytes, FrameDecoder, frame_header
from .hello import (
    HELLO_LIMIT_BYTES,
    Hello,
    Identity,
    Refusal,
    decode_first_frame,
    encode_hello,
    encode_refusal,
    is_refusal,
    reason_to_refuse,
)

Side = Literal["dialer", "acceptor"]


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
    as it said, None before that; nothing has proved it.
    """

    reason: str
    by_peer: bool
    address: str | None


class Broken(msgspec.Struct, frozen=True):
    """The peer sent what no correct member sends; close."""

    reason: str


Event = Greeted | FrameReceived | Refused | Broken


class State(Enum):
    """Where a link is between its first byte and its last; see the module's table."""

    NEW = "new"
    GREETING = "greeting"
    HEARD = "heard"
    OPEN = "open"
    CLOSED = "closed"


class Link:
    """One side of one connection.

    `dialled` is the address of the peer that a dialer means to reach.
    """

    def __init__(
        self,
        side: Side,
        *,
        identity: Identity,
        dialled: str | None = None,
    ) -> None:
        assert (side == "dialer") == (dialled is not None), (side, dialled)
        self.side = side
        self.state = State.NEW
        self.peer: Hello | None = None
        self.dialled = dialled
        self.limit_bytes = 0
        """Size of the largest payload that both sides take; 0 until OPEN."""
        self._identity = identity
        self._decoder = FrameDecoder(HELLO_LIMIT_BYTES)
        self._to_send = bytearray()
        # The acceptor hears of a refusal by the dialer only when its own hello is on the way.
        self._may_be_refused = True

    def greet(self, number: int) -> None:
        """Send this side's hello; for the acceptor that takes the link."""
        if self.side == "dialer":
            assert self.state is State.NEW, self.state
            assert self.dialled is not None
            self.state = State.GREETING
            receiver = self.dialled
        else:
            assert self.state is State.HEARD, self.state
            assert self.peer is not None
            self._open()
            receiver = self.peer.address
        identity = self._identity
        hello = Hello(
            cluster=identity.cluster,
            address=identity.address,
            dialled=receiver,
            incarnation=identity.incarnation,
            number=number,
            limit_bytes=identity.limit_bytes,
        )
        self._queue(encode_hello(hello))

    def refuse(self, reason: str) -> None:
        """Send a refusal in place of a hello; for the acceptor that has no room for the peer."""
        assert self.side == "acceptor", self.side
        assert self.state is State.HEARD, self.state
        self._refuse(reason)

    def receive(self, piece: Bytes) -> list[Event]:
        """Take in bytes of the peer and return what they mean; a CLOSED link ignores them.

        `Refused` and `Broken` are the last event of a link. There may be `data_to_send` after.
        """
        events: list[Event] = []
        if self.state is State.CLOSED:
            return events
        try:
            for frame in self._decoder.receive(piece):
                events.append(self._take_frame(frame))
                if isinstance(events[-1], Refused):
                    break
        except ProtocolError as error:
            self.state = State.CLOSED
            events.append(Broken(str(error)))
        return events

    def frame(self, payload: bytes) -> tuple[bytes, bytes]:
        """Return the two pieces to write, in this order, so that the peer gets `payload`."""
        assert self.state is State.OPEN, self.state
        assert len(payload) <= self.limit_bytes, (len(payload), self.limit_bytes)
        return frame_header(payload), payload

    def data_to_send(self) -> bytes:
        """Return the bytes of greetings and refusals that must be written now, and forget them."""
        waiting = bytes(self._to_send)
        self._to_send.clear()
        return waiting

    def _take_frame(self, frame: bytes) -> Event:
        if self.state is State.OPEN:
            if self._may_be_refused and self.side == "acceptor":
                self._may_be_refused = False
                if is_refusal(frame):
                    return self._first_frame(frame)
            return FrameReceived(frame)
        if self.state is State.HEARD:
            raise ProtocolError("a frame came before the dialer's hello was answered")
        return self._first_frame(frame)

    def _first_frame(self, frame: bytes) -> Event:
        said = decode_first_frame(frame)
        if isinstance(said, Refusal):
            self.state = State.CLOSED
            address = self.dialled if self.peer is None else self.peer.address
            return Refused(reason=said.reason, by_peer=True, address=address)
        reason = reason_to_refuse(said, identity=self._identity, dialled=self.dialled)
        if reason is not None:
            self._refuse(reason)
            address = said.address if isinstance(said, Hello) else self.dialled
            return Refused(reason=reason, by_peer=False, address=address)
        assert isinstance(said, Hello)
        self.peer = said
        if self.side == "dialer":
            self._open()
        else:
            self.state = State.HEARD
        return Greeted(
            address=said.address, incarnation=said.incarnation, number=said.number
        )

    def _refuse(self, reason: str) -> None:
        self.state = State.CLOSED
        self._queue(encode_refusal(reason))

    def _open(self) -> None:
        assert self.peer is not None, self.state
        self.state = State.OPEN
        self.limit_bytes = min(self.peer.limit_bytes, self._identity.limit_bytes)
        self._decoder.limit_bytes = self._identity.limit_bytes

    def _queue(self, payload: bytes) -> None:
        self._to_send += frame_header(payload) + payload

    def _check(self) -> None:
        self._decoder._check()
        state = (self.side, self.state, self.peer)
        if self.state in (State.HEARD, State.OPEN):
            assert self.peer is not None, state
        if self.state in (State.NEW, State.GREETING):
            assert self.peer is None, state
        assert len(self._to_send) <= 2 * (HELLO_LIMIT_BYTES + HEADER_BYTES), len(self._to_send)
