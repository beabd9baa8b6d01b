"""Connection: a link on an asyncio transport, with a bounded queue for a peer that reads slowly.

A lone message is written at once. What follows it in the same iteration of the loop is gathered,
and leaves in one piece when the owner calls `release`. What the kernel does not take waits in a
queue of this class, so that its size is known and bounded; asyncio's own buffer holds little.
"""

import asyncio
import contextlib
import socket
from collections import deque
from collections.abc import Sequence
from typing import Protocol, cast

from .events import Event, FrameReceived, Greeted
from .link import Link, State
from .sockets import tune

# asyncio pauses the writer above this; a kernel buffer's worth, so that the kernel never waits.
_STREAM_BYTES = 256 * 1024
# Queued frames are joined into writes of about this size.
_WRITE_BYTES = 256 * 1024
# What a queued frame costs besides its payload; else tiny frames could queue without end.
_FRAME_COST_BYTES = 96
_READ_BYTES = 256 * 1024
# A guest has little to say, and there may be many of them.
_GUEST_READ_BYTES = 16 * 1024
_GREETING_READ_BYTES = 8 * 1024


class Owner(Protocol):
    """Whom a connection tells what happens; always in the loop's thread."""

    def made(self, connection: "Connection") -> None:
        """The TCP connection is there; a dialer's link must be greeted now."""

    def happened(self, connection: "Connection", event: Event) -> None:
        """The link has an event other than a frame."""

    def framed(self, connection: "Connection", payloads: list[bytes]) -> None:
        """Frames have arrived, all that one read has brought."""

    def ended(self, connection: "Connection", reason: str) -> None:
        """The connection is of no more use; told once, and before `gone`."""

    def gone(self, connection: "Connection") -> None:
        """The socket is closed."""


class Connection(asyncio.BufferedProtocol):
    """One TCP connection and its link.

    Until `opened` is called it has `greeting_timeout` seconds to live, however busy it is.
    `settled` is done as soon as it is known whether the greeting succeeded, `closed` when the
    socket is gone.
    """

    def __init__(
        self,
        owner: Owner,
        link: Link,
        *,
        greeting_timeout: float,
        silence_timeout: float,
        buffer_bytes: int,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.link = link
        self.peer: str | None = None
        self.host = "?"
        self.has_ended = False
        self.end_reason = ""
        self.opened_at: float | None = None
        # The peer's hello was good; or one side turned the other down, which will last.
        self.was_greeted = False
        self.was_refused = False
        self.settled: asyncio.Future[None] = loop.create_future()
        self.closed: asyncio.Future[None] = loop.create_future()
        self._loop = loop
        self._owner = owner
        self._silence_timeout = silence_timeout
        self._buffer_bytes = buffer_bytes
        self._stream: asyncio.Transport | None = None
        self._input = memoryview(bytearray(_GREETING_READ_BYTES))
        # Where asyncio reads to just now, if that is not the input.
        self._room: memoryview | None = None
        self._queue: deque[bytes] = deque()
        self._queue_bytes = 0
        self._paused = False
        self._holding = False
        self._deadline = loop.call_later(greeting_timeout, self._time_out)

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no check: uvloop's transports do not inherit from asyncio's.
        stream = cast(asyncio.Transport, transport)
        self._stream = stream
        name = stream.get_extra_info("peername")
        if name:
            self.host = str(name[0])
            if name == stream.get_extra_info("sockname"):
                # TCP's simultaneous open: a free port dialled often enough connects to itself, and
                # would keep its owner from listening there.
                self.end("nobody listens there")
        tune(stream.get_extra_info("socket"), self._silence_timeout)
        stream.set_write_buffer_limits(high=_STREAM_BYTES)
        self._owner.made(self)
        if not self.has_ended:
            self.flush_greeting()

    def get_buffer(self, sizehint: int) -> memoryview:
        self._room = self.link.room()
        return self._input if self._room is None else self._room

    def buffer_updated(self, count: int) -> None:
        if self.has_ended:
            return
        if self._room is None:
            events = self.link.receive(self._input[:count])
        else:
            self._room = None
            events = self.link.filled(count)
        if self.peer is None and not self.link.is_whole:
            # Who greets and errs in one breath is not greeted back: the link could not say it.
            del events[:-1]
        payloads: list[bytes] = []
        for event in events:
            if type(event) is FrameReceived:
                payloads.append(event.payload)
            else:
                self._tell_frames(payloads)
                payloads = []
                self._tell(event)
        self._tell_frames(payloads)
        if self.opened_at is None or self.link.has_to_say:
            self._answer()

    # Each of these may end it.

    def _tell_frames(self, payloads: list[bytes]) -> None:
        if payloads and not self.has_ended:
            self._owner.framed(self, payloads)

    def _tell(self, event: Event) -> None:
        if not self.has_ended:
            self.was_greeted = self.was_greeted or type(event) is Greeted
            self._owner.happened(self, event)

    def _answer(self) -> None:
        if not self.has_ended:
            self.flush_greeting()

    def eof_received(self) -> None:
        # Without this, asyncio would first wait until the dead peer has read what is queued.
        self.end("the peer closed it")

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._drain()

    def connection_lost(self, error: Exception | None) -> None:
        try:
            self.end(str(error) if error else "it was closed")
        finally:
            self._close()

    # Called by the owner

    def opened(self, peer: str, *, guest: bool) -> None:
        """Note that the link is up: the greeting's deadline is off, and more is read at once."""
        self.peer = peer
        self.opened_at = self._loop.time()
        self._deadline.cancel()
        self.widen(_GUEST_READ_BYTES if guest else _READ_BYTES)
        self._settle()

    def widen(self, read_bytes: int = _READ_BYTES) -> None:
        """Read so much at once from now on."""
        self._input = memoryview(bytearray(read_bytes))

    def flush_greeting(self) -> None:
        """Write what the link has to say by itself."""
        words = self.link.data_to_send()
        if words and self._stream is not None:
            self._stream.write(words)

    @property
    def is_greeting(self) -> bool:
        """Return whether this dialer has begun to say hello and waits for an answer."""
        return self.link.state in (State.SECURING, State.GREETING) and not self.has_ended

    @property
    def at_rest(self) -> bool:
        """Return whether a message may be written at once, with nothing to go before it."""
        return not (self._holding or self._paused or self._queue)

    def write(self, payload: bytes) -> None:
        """Write a message now; what else is sent is gathered until `release`. Must be at rest."""
        assert not self.has_ended, self.end_reason
        self._holding = True
        self._write((payload,))

    def enqueue(self, payload: bytes) -> bool:
        """Queue a message; False if too much is queued already. An empty queue takes any."""
        cost = len(payload) + _FRAME_COST_BYTES
        if self._queue and self.queued_bytes + cost > self._buffer_bytes:
            return False
        self._queue.append(payload)
        self._queue_bytes += cost
        return True

    def release(self) -> None:
        """Write what was gathered since `write`."""
        self._holding = False
        self._drain()

    @property
    def queued_bytes(self) -> int:
        """Return how much waits for the peer to read, here and in asyncio's buffer."""
        if self._stream is None or self.has_ended:
            return 0
        return self._queue_bytes + self._stream.get_write_buffer_size()

    def end(self, reason: str, *, flush: bool = False) -> None:
        """Close, and tell the owner. `flush` lets written bytes go first, until the deadline."""
        if self.has_ended:
            return
        if flush:
            self.flush_greeting()
        self.has_ended = True
        self.end_reason = reason
        self._queue.clear()
        self._queue_bytes = 0
        if not flush or self._stream is None:
            self._deadline.cancel()
        if self._stream is not None:
            if flush:
                self._stream.close()
            else:
                self._stream.abort()
        self._settle()
        self._owner.ended(self, reason)

    def abort(self) -> None:
        """Close at once; what was not sent is lost."""
        self.end("it was closed")
        if self._stream is not None:
            self._stream.abort()

    def fileno(self) -> int:
        """Return the descriptor of its socket, -1 if there is none."""
        # Of one that is being closed, the number may be somebody else's already.
        if self._stream is None or self._stream.is_closing():
            return -1
        return int(self._stream.get_extra_info("socket").fileno())

    def shut(self) -> None:
        """Tell the other side that it is over, without the loop."""
        stream = self._stream
        # Some loops (uvloop) have closed it as they were closed themselves, and refuse.
        with contextlib.suppress(OSError, RuntimeError, AttributeError, TypeError):
            if stream is not None:
                stream.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def discard(self) -> None:
        """Note that the loop did not make it, or unmade it, and will not report its end."""
        self.end("it was not made")
        self._close()

    def _time_out(self) -> None:
        self.end("no greeting in time")
        if self._stream is None:
            self.discard()
        self.abort()

    def _close(self) -> None:
        self._deadline.cancel()
        if not self.closed.done():
            self.closed.set_result(None)
            self._owner.gone(self)

    def _settle(self) -> None:
        if not self.settled.done():
            self.settled.set_result(None)

    def _drain(self) -> None:
        # What ended the link may still be on its way to the owner, behind good frames.
        while self._queue and self.link.is_whole:
            if self._paused or self._holding or self.has_ended:
                return
            payloads: list[bytes] = []
            size = 0
            while self._queue and size < _WRITE_BYTES:
                payload = self._queue.popleft()
                payloads.append(payload)
                size += len(payload) + _FRAME_COST_BYTES
            self._queue_bytes -= size
            self._write(payloads)

    def _write(self, payloads: Sequence[bytes]) -> None:
        assert self._stream is not None, self.peer
        # No `writelines`: in CPython 3.12 and 3.13.0 that forgets to pause the writer when its
        # buffer is full, and what waits for a peer would have no bound.
        for piece in self.link.pieces(payloads):
            self._stream.write(piece)

    def _check(self) -> None:
        self.link._check()
        cost = sum(len(payload) + _FRAME_COST_BYTES for payload in self._queue)
        assert self._queue_bytes == cost, (self._queue_bytes, cost)
        assert not (self._queue and self.at_rest), len(self._queue)
        if len(self._queue) > 1:
            assert cost <= self._buffer_bytes, (cost, self._buffer_bytes)
