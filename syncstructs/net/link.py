"""Link: one connection to a peer, from its first byte on. Pure: bytes in, events and bytes out.

Theory of operation. The side that dialled speaks first. Each side sends a hello and then frames;
a side that does not want the link sends a refusal in place of its hello, and closes. ::

    dialer     NEW --greet()--> GREETING --hello--> OPEN
    acceptor   NEW --hello--> HEARD --greet()--> OPEN

    every state --refusal, either way, or bytes that are no frame--> CLOSED

A peer's hello that passes is reported as `Greeted`. The acceptor then calls `greet` to take the
link, or `refuse`, or drops the connection. Nothing but a hello may arrive before the link is OPEN,
so the acceptor's frames may follow its hello at once, while the dialer waits for that hello.

With a password (`keys`) a handshake comes first, one frame each way, and from then on each frame
on the wire is a sealed record, and the stream of frames is inside the records (`cipher`)::

    dialer     NEW --greet()--> SECURING --answer--> GREETING
    acceptor   NEW --first message, which it answers--> SECURING --hello--> HEARD

So a hello comes in a record: nothing is done because of it, and nothing is told of this node,
before the peer has proved that it knows the password. What both say in clear before that, and in
refusals, is without names, and nobody relies on it: it ends the connection, as cutting it would.
There is no way from a link with keys to one without.

With certificates (`tls`) it is the same, but the handshake and the records are those of TLS, with
no frames around them. The first byte of the peer tells which of the three it speaks.

The stream is written in `frames` and `_queue`, and read in `receive`, and nowhere else: records
have numbers, so they must go out in the order in which they were made.
"""

from collections.abc import Iterable, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Literal

from ..config import parse_address
from ..errors import ProtocolError
from .events import Broken, Event, FrameReceived, Greeted, Refused
from .frames import HEADER_BYTES, Bytes, FrameDecoder, frame_header
from .hello import (
    HELLO_LIMIT_BYTES,
    TLS_FIRST_BYTES,
    WRONG_PASSWORD,
    Handshake,
    Hello,
    Identity,
    OtherVersion,
    Proof,
    Refusal,
    TlsHello,
    Turned,
    decode_first_frame,
    encode_handshake,
    encode_hello,
    encode_refusal,
    handshake_head,
    is_refusal,
    reason_to_part,
    reason_to_refuse,
)

if TYPE_CHECKING:
    # What it imports is there only for who has a password.
    from . import cipher, tls

Side = Literal["dialer", "acceptor"]

# Those of `cipher`, which pins them; a hello in its frame, as a record.
_RECORD_LIMIT_BYTES = 65_535
_HELLO_RECORD_BYTES = HEADER_BYTES + HELLO_LIMIT_BYTES + 16
# From here on it takes longer to copy a payload than to write it by itself.
_LARGE_BYTES = 256 * 1024


class State(Enum):
    """Where a link is between its first byte and its last; see the module's table."""

    NEW = "new"
    SECURING = "securing"
    GREETING = "greeting"
    HEARD = "heard"
    OPEN = "open"
    CLOSED = "closed"


class Link:
    """One side of one connection.

    `dialled` is the address of the peer that a dialer means to reach. With `keys` the peer must
    have them too, with `certificates` ones that these accept, without either it must have none.
    """

    def __init__(
        self,
        side: Side,
        *,
        identity: Identity,
        dialled: str | None = None,
        keys: "cipher.Keys | None" = None,
        certificates: "tls.Contexts | None" = None,
    ) -> None:
        assert (side == "dialer") == (dialled is not None), (side, dialled)
        assert keys is None or certificates is None, side
        self.side = side
        self.state = State.NEW
        self.peer: Hello | None = None
        self.dialled = dialled
        self.limit_bytes = 0
        """Size of the largest payload that both sides take; 0 until OPEN."""
        self._identity = identity
        self._keys = keys
        self._certificates = certificates
        self._heard = False
        self._handshake: cipher.Handshake | None = None
        self._channel: tls.Channel | None = None
        self._session: cipher.Session | None = None
        self._number = 0
        # What is on the wire, and what is in the records.
        self._decoder = FrameDecoder(HELLO_LIMIT_BYTES)
        self._inner = FrameDecoder(HELLO_LIMIT_BYTES)
        self._to_send = bytearray()
        # The acceptor hears of a refusal by the dialer only when its own hello is on the way.
        self._may_be_refused = True
        # Whether nothing but messages is left to come, in frames that are not sealed.
        self._is_plain = False

    @property
    def is_whole(self) -> bool:
        """Return whether neither side has ended it."""
        return self.state is not State.CLOSED

    @property
    def is_proved(self) -> bool:
        """Return whether the peer has proved itself.

        It knows the password, or has recorded what one said who does; or it has a certificate.
        """
        return self._session is not None or (self._channel is not None and self._channel.is_secure)

    def greet(self, number: int) -> None:
        """Send this side's hello, once the peer is secure; for the acceptor that takes the link."""
        self._number = number
        if self.side == "acceptor":
            assert self.state is State.HEARD, self.state
            assert self.peer is not None
            self._open()
            self._say_hello(self.peer.address)
            return
        assert self.state is State.NEW, self.state
        assert self.dialled is not None
        if self._certificates is not None:
            self.state = State.SECURING
            self._channel = self._certificates.dial(parse_address(self.dialled).host)
            self._channel.shake()
            self._to_send += self._channel.data_to_send()
        elif self._keys is None:
            self.state = State.GREETING
            self._say_hello(self.dialled)
        else:
            self.state = State.SECURING
            message, self._handshake = self._keys.dial(handshake_head())
            self._queue(encode_handshake(message))

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
        if self.state is State.CLOSED or not piece:
            return events
        try:
            if self._is_plain:
                for frame in self._decoder.receive(piece):
                    events.append(FrameReceived(frame))
                return events
            if not self._heard:
                self._hear(piece[0], events)
            self._take_piece(piece, events)
        except Turned as error:
            self.state = State.CLOSED
            in_clear = error.by_peer and not (self._channel and self._channel.is_secure)
            address = self._address()
            events.append(
                Refused(
                    reason=str(error), by_peer=error.by_peer, address=address, in_clear=in_clear
                )
            )
        except ProtocolError as error:
            self.state = State.CLOSED
            events.append(Broken(str(error)))
        return events

    def _take_piece(self, piece: Bytes, events: list[Event]) -> None:
        # Apart from what comes before, which may have closed it: see `setup.py` on annotations.
        if not self.is_whole:
            return
        if self._channel is not None:
            self._take_tls(self._channel, piece, events)
            return
        for frame in self._decoder.receive(piece):
            if self._proof == "nothing":
                events.append(self._take_frame(frame))
            elif self._session is None:
                self._secure(frame, events)
            else:
                self._take_record(frame, events)
            if self.state is State.CLOSED:
                break

    def room(self) -> memoryview | None:
        """Return where the bytes that the peer sends next are to be put; None: to `receive`.

        There is such a place for what is left of a large message that is not sealed. Whoever has
        put bytes there calls `filled`, and gives up the view.
        """
        return self._decoder.room() if self._is_plain and self.is_whole else None

    def filled(self, count: int) -> list[Event]:
        """Take in `count` bytes that were put into `room`, and return what they mean."""
        frame = self._decoder.filled(count)
        return [] if frame is None else [FrameReceived(frame)]

    def frames(self, payloads: Iterable[bytes]) -> bytes:
        """Return what to write so that the peer gets `payloads`, each a message, in this order.

        What it returns must be written in the order of the calls, and nothing left out.
        """
        return self._sealed(b"".join(self._framed(payloads)))

    def pieces(self, payloads: Sequence[bytes]) -> Sequence[bytes]:
        """Return the same as `frames`, in pieces: what is large is not copied if it is not sealed.

        They must be written one after the other, all of them.
        """
        is_sealed = self._session is not None or self._channel is not None
        if is_sealed or max(map(len, payloads)) < _LARGE_BYTES:
            return (self.frames(payloads),)
        pieces: list[bytes] = []
        small: list[bytes] = []
        for piece in self._framed(payloads):
            if len(piece) < _LARGE_BYTES:
                small.append(piece)
            else:
                # Never alone: its header goes before it.
                pieces += (b"".join(small), piece)
                small = []
        if small:
            pieces.append(b"".join(small))
        return pieces

    def _framed(self, payloads: Iterable[bytes]) -> list[bytes]:
        assert self.state is State.OPEN, self.state
        pieces: list[bytes] = []
        for payload in payloads:
            assert len(payload) <= self.limit_bytes, (len(payload), self.limit_bytes)
            pieces.append(frame_header(payload))
            pieces.append(payload)
        return pieces

    @property
    def has_to_say(self) -> bool:
        """Return whether there is `data_to_send`; of an open link, only with TLS."""
        return bool(self._to_send)

    def data_to_send(self) -> bytes:
        """Return what the link has to say by itself and must be written now, and forget it."""
        waiting = bytes(self._to_send)
        self._to_send.clear()
        return waiting

    # The handshake

    @property
    def _proof(self) -> Proof:
        if self._certificates is not None:
            return "tls"
        return "nothing" if self._keys is None else "password"

    def _hear(self, first: int, events: list[Event]) -> None:
        """Take the first byte of the peer: does it speak TLS, as this node does or does not?"""
        self._heard = True
        if first not in TLS_FIRST_BYTES:
            # What it says in clear can be read, and answered, all the same.
            self._channel = None
        elif self._certificates is None:
            events.append(self._part(TlsHello()))
        elif self.side == "acceptor":
            self.state = State.SECURING
            self._channel = self._certificates.accept()

    def _take_tls(self, channel: "tls.Channel", piece: Bytes, events: list[Event]) -> None:
        try:
            channel.feed(piece)
            if not channel.is_secure and channel.shake() and self.side == "dialer":
                self.state = State.GREETING
                assert self.dialled is not None
                self._say_hello(self.dialled)
            if channel.is_secure:
                for stream in channel.read():
                    self._take_stream(stream, events)
                    if not self.is_whole:
                        return
        finally:
            self._to_send += channel.data_to_send()

    def _secure(self, frame: bytes, events: list[Event]) -> None:
        """Take the first frame of a peer that ought to have the password, or certificates."""
        said = decode_first_frame(frame)
        if not isinstance(said, Handshake) or self._keys is None:
            events.append(self._part(said))
        elif self.side == "dialer":
            assert self._handshake is not None, self.state
            self._handshake.read_second(said.message)
            self._begin_records(self._handshake.session(dialled=True))
            self.state = State.GREETING
            assert self.dialled is not None
            self._say_hello(self.dialled)
        else:
            accepted = self._keys.accept(handshake_head(), said.message)
            if accepted is None:
                self._refuse(WRONG_PASSWORD)
                events.append(Refused(reason=WRONG_PASSWORD, by_peer=False, address=None))
                return
            answer, session = accepted
            self._queue(encode_handshake(answer))
            self._begin_records(session)
            self.state = State.SECURING

    def _begin_records(self, session: "cipher.Session") -> None:
        self._session = session
        self._handshake = None
        # Who only replays a first message has no more of this node's memory than any stranger.
        self._decoder.limit_bytes = _HELLO_RECORD_BYTES

    def _take_record(self, record: bytes, events: list[Event]) -> None:
        assert self._session is not None, self.state
        self._take_stream(self._session.open(record), events)

    def _take_stream(self, stream: bytes, events: list[Event]) -> None:
        for frame in self._inner.receive(stream):
            events.append(self._take_frame(frame))
            if not self.is_whole:
                return

    def _part(self, said: Hello | Refusal | Handshake | TlsHello | OtherVersion) -> Refused:
        """Close: the sides prove themselves by different things, or have other versions."""
        if isinstance(said, Refusal):
            self.state = State.CLOSED
            in_clear = self._proof != "nothing"
            return Refused(
                reason=said.reason, by_peer=True, address=self.dialled, in_clear=in_clear
            )
        reason = reason_to_part(said, has=self._proof, dialled=self.side == "dialer")
        assert reason is not None, said
        self._refuse(reason)
        return Refused(reason=reason, by_peer=False, address=self.dialled)

    # The greeting

    def _take_frame(self, frame: bytes) -> Event:
        if self.state is State.OPEN:
            if self._may_be_refused and self.side == "acceptor":
                self._may_be_refused = False
                if is_refusal(frame):
                    return self._first_frame(frame)
            self._is_plain = self._proof == "nothing"
            return FrameReceived(frame)
        if self.state is State.HEARD:
            raise ProtocolError("a frame came before the dialer's hello was answered")
        return self._first_frame(frame)

    def _first_frame(self, frame: bytes) -> Event:
        said = decode_first_frame(frame)
        if isinstance(said, Refusal):
            self.state = State.CLOSED
            return Refused(reason=said.reason, by_peer=True, address=self._address())
        if isinstance(said, Handshake):
            if self._proof != "nothing":
                raise ProtocolError("the peer begins a handshake inside of one")
            return self._part(said)
        reason = reason_to_refuse(said, identity=self._identity, dialled=self.dialled)
        address = said.address if isinstance(said, Hello) else self.dialled
        if self._channel is not None and isinstance(said, Hello):
            doubt = self._channel.reason_to_distrust(said.address)
            if doubt is not None:
                # So whatever else is wrong with it, it is not told of under that name.
                reason, address = reason or doubt, self.dialled
        if reason is not None:
            self._refuse(reason)
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

    def _address(self) -> str | None:
        return self.dialled if self.peer is None else self.peer.address

    def _refuse(self, reason: str) -> None:
        self.state = State.CLOSED
        self._queue(encode_refusal(reason))

    def _open(self) -> None:
        assert self.peer is not None, self.state
        self.state = State.OPEN
        self.limit_bytes = min(self.peer.limit_bytes, self._identity.limit_bytes)
        if self._proof == "nothing":
            self._decoder.limit_bytes = self._identity.limit_bytes
        else:
            self._decoder.limit_bytes = _RECORD_LIMIT_BYTES
            self._inner.limit_bytes = self._identity.limit_bytes

    def _say_hello(self, receiver: str) -> None:
        identity = self._identity
        hello = Hello(
            cluster=identity.cluster,
            address=identity.address,
            dialled=receiver,
            incarnation=identity.incarnation,
            number=self._number,
            limit_bytes=identity.limit_bytes,
        )
        self._queue(encode_hello(hello))

    def _queue(self, payload: bytes) -> None:
        stream = frame_header(payload) + payload
        self._to_send += self._sealed(stream)

    def _sealed(self, stream: bytes) -> bytes:
        if self._session is not None:
            return self._session.seal(stream)
        return stream if self._channel is None else self._channel.seal(stream)

    def _check(self) -> None:
        self._decoder._check()
        self._inner._check()
        state = (self.side, self.state, self.peer)
        if self.state in (State.HEARD, State.OPEN):
            assert self.peer is not None, state
        if self.state in (State.NEW, State.SECURING, State.GREETING):
            assert self.peer is None, state
        if self.state in (State.GREETING, State.HEARD, State.OPEN):
            assert (self._session is None) == (self._keys is None), state
            assert (self._channel is None) == (self._certificates is None), state
        # Two frames, or a flight of TLS with a chain of certificates.
        limit = HEADER_BYTES + (_HELLO_RECORD_BYTES if self._channel is None else 2**16)
        assert len(self._to_send) <= 2 * limit, len(self._to_send)
