"""Frames: how a stream of bytes is cut into messages. Pure; no input or output is done here.

A frame is four bytes of length (unsigned, big endian) and that many bytes of payload. The decoder
takes the stream in pieces of any size, in time linear in the bytes. A length is only a claim, so
memory is reserved for no more than as much again as has arrived of a frame, and a claim over the
limit is an error before a byte of its payload is kept.

Of a large frame, what is left need not come in pieces: `room` says where it belongs, so that it is
read there and not copied.
"""

from collections.abc import Iterator
from struct import Struct

from ..errors import ProtocolError

Bytes = bytes | bytearray | memoryview

_LENGTH = Struct("!I")
HEADER_BYTES = _LENGTH.size


def frame_header(payload: bytes) -> bytes:
    """Return the bytes that go before `payload` on the wire.

    >>> frame_header(b"abc")
    b'\\x00\\x00\\x00\\x03'
    """
    return _LENGTH.pack(len(payload))


# If so much of a frame has arrived, and is still to come, the rest is read into its place. Of less,
# a read that takes what follows along is worth more than a copy.
_LARGE_BYTES = 128 * 1024
# The place where frames are gathered is kept for the next ones up to this size: memory that is new
# each time takes longer than to copy what is in it.
_KEPT_BYTES = 2 * 1024 * 1024


class FrameDecoder:
    """Cuts one direction of a stream into payloads.

    `limit_bytes` may be changed at any time and holds from the next frame's header on. There is
    `room` for frames of which `large_bytes` have arrived, and as many are still to come.
    """

    __slots__ = ("_arrived", "_body", "_failure", "_head", "_large_bytes", "_size", "limit_bytes")

    def __init__(self, limit_bytes: int, *, large_bytes: int = _LARGE_BYTES) -> None:
        self.limit_bytes = limit_bytes
        self._large_bytes = large_bytes
        self._head = bytearray()
        # What has arrived of the current frame's payload is at the beginning.
        self._body = bytearray()
        self._arrived = 0
        # The size of the current frame's payload; None between two frames.
        self._size: int | None = None
        self._failure: str | None = None

    def receive(self, piece: Bytes) -> Iterator[bytes]:
        """Yield the payloads that `piece` completes; must be exhausted before the next call.

        Nothing of `piece` is referred to afterwards: its buffer may be used again.

        Raises:
            ProtocolError: a header claims more than `limit_bytes`. The frames before it have been
                yielded; the stream cannot be decoded any further.
        """
        if self._failure is not None:
            raise ProtocolError(self._failure)
        view = memoryview(piece)
        at, end = 0, len(view)
        while at < end:
            if self._size is None:
                size, at = self._read_length(view, at)
                if size is None:
                    return
                if end - at >= size:
                    yield bytes(view[at : at + size])
                    at += size
                    continue
                self._size = size
            taken = min(self._size - self._arrived, end - at)
            arrived = self._arrived + taken
            if arrived > len(self._body):
                self._grow(2 * arrived)
            self._body[self._arrived : arrived] = view[at : at + taken]
            self._arrived = arrived
            at += taken
            if arrived == self._size:
                yield self._take()

    def room(self) -> memoryview | None:
        """Return where the bytes that come next are to be put; None: they are for `receive`.

        There is no more room than the current frame lacks. Whoever has put bytes there calls
        `filled`, and gives up the view.
        """
        arrived, size = self._arrived, self._size
        if size is None or not self._large_bytes <= arrived <= size - self._large_bytes:
            return None
        if arrived == len(self._body):
            self._grow(2 * arrived)
        return memoryview(self._body)[arrived:size]

    def filled(self, count: int) -> bytes | None:
        """Note that `count` bytes were put into `room`; return the payload if that completes it."""
        self._arrived += count
        return self._take() if self._arrived == self._size else None

    def _grow(self, place_bytes: int) -> None:
        """Have a place of that size for the current frame, or one in which it fits exactly."""
        assert self._size is not None
        former = self._body
        self._body = bytearray(min(self._size, place_bytes))
        self._body[: self._arrived] = memoryview(former)[: self._arrived]

    def _take(self) -> bytes:
        frame = bytes(memoryview(self._body)[: self._size])
        if len(self._body) > _KEPT_BYTES:
            self._body = bytearray()
        self._arrived, self._size = 0, None
        return frame

    def _read_length(self, view: memoryview, at: int) -> tuple[int | None, int]:
        """Return the length at `at` (None: it has not wholly arrived), and where it ends."""
        if not self._head and len(view) - at >= HEADER_BYTES:
            (size,) = _LENGTH.unpack_from(view, at)
            at += HEADER_BYTES
        else:
            taken = min(HEADER_BYTES - len(self._head), len(view) - at)
            self._head += view[at : at + taken]
            at += taken
            if len(self._head) < HEADER_BYTES:
                return None, at
            (size,) = _LENGTH.unpack(self._head)
            self._head.clear()
        if size > self.limit_bytes:
            self._failure = f"a frame of {size} bytes is over the limit of {self.limit_bytes} bytes"
            raise ProtocolError(self._failure)
        return size, at

    def held_bytes(self) -> int:
        """Return how many bytes of an unfinished frame are held."""
        return len(self._head) + self._arrived

    def _check(self) -> None:
        state = (bytes(self._head), len(self._body), self._arrived, self._size)
        assert len(self._head) < HEADER_BYTES, state
        assert len(self._body) <= max(_KEPT_BYTES, 2 * self._arrived), state
        if self._size is None:
            assert self._arrived == 0, state
        else:
            assert self._arrived < self._size, state
            assert self._arrived <= len(self._body), state
            assert not self._head, state
