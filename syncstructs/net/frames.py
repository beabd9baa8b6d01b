"""Frames: how a stream of bytes is cut into messages. Pure; no input or output is done here.

A frame is four bytes of length (unsigned, big endian) and that many bytes of payload. The decoder
takes the stream in pieces of any size, in time linear in the bytes, and holds no more than the
part of one frame that has arrived: a length is only a claim, so nothing is reserved for it, and a
claim over the limit is an error before a byte of its payload is kept.
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


class FrameDecoder:
    """Cuts one direction of a stream into payloads.

    `limit_bytes` may be changed at any time and holds from the next frame's header on.
    """

    __slots__ = ("_body", "_failure", "_head", "_missing", "limit_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._head = bytearray()
        self._body = bytearray()
        # Bytes of the current frame's payload that have not arrived; None between two frames.
        self._missing: int | None = None
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
            if self._missing is None:
                size, at = self._read_length(view, at)
                if size is None:
                    return
                if end - at >= size:
                    yield bytes(view[at : at + size])
                    at += size
                    continue
                self._missing = size
            taken = min(self._missing, end - at)
            self._body += view[at : at + taken]
            self._missing -= taken
            at += taken
            if self._missing == 0:
                frame = bytes(self._body)
                self._body = bytearray()
                self._missing = None
                yield frame

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
        return len(self._head) + len(self._body)

    def _check(self) -> None:
        state = (bytes(self._head), len(self._body), self._missing)
        assert len(self._head) < HEADER_BYTES, state
        if self._missing is None:
            assert not self._body, state
        else:
            assert self._missing > 0, state
            assert not self._head, state
