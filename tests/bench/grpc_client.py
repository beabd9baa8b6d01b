"""Just enough of gRPC over HTTP/2 to put keys into etcd, at little cost to the client.

The clients that can be installed for Python cost some hundred microseconds per call, many times
what they would measure; and etcd's JSON gateway doubles the work of the server. This one builds the
frames of a call once but for key and value, sends calls of a burst together, has the server index
all headers, and grants all the flow control there is. A call went well if an answer came with it:
etcd sends none with an error. Only for etcd on loopback, without TLS.
"""

import socket
import struct
from collections.abc import Callable

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_WINDOW_MAX = 2**31 - 1
_WINDOW_BEGIN = 65_535
_RENEW_BYTES = 2**24
_READ_BYTES = 256 * 1024
_DATA, _HEADERS, _RESET, _SETTINGS, _PING, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 4, 6, 7, 8
_HEAD_BYTES = 9
_END_STREAM, _ACK, _END_HEADERS = 1, 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """Return an HTTP/2 frame."""
    return struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload


def text(value: bytes) -> bytes:
    """Return a string of HPACK, not compressed."""
    assert len(value) < 127
    return bytes([len(value)]) + value


def field(number: int, value: bytes) -> bytes:
    """Return a field of protobuf that holds bytes."""
    size, encoded = len(value), b""
    while size > 127:
        encoded += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + encoded + bytes([size]) + value


class Connection:
    """A connection to one etcd; calls are made and ended by `pump`, in one thread."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._out = [
            _PREFACE,
            frame(_SETTINGS, 0, 0, struct.pack(">HI", 4, _WINDOW_MAX)),
            frame(_WINDOW_UPDATE, 0, 0, struct.pack(">I", _WINDOW_MAX - _WINDOW_BEGIN)),
        ]
        # POST, http, and four fields that go into the table of the other side, newest first.
        self._headers = (
            b"\x83\x86\x44" + text(b"/etcdserverpb.KV/Put") + b"\x41"
            + text(f"127.0.0.1:{port}".encode()) + b"\x5f" + text(b"application/grpc")
            + b"\x40" + text(b"te") + text(b"trailers")
        )  # fmt: skip
        self._stream = 1
        self._window = _WINDOW_BEGIN
        self._held: list[bytes] = []
        """Calls whose bytes the server has not granted yet."""
        self._read = bytearray()
        self._received_bytes = 0
        self._ended: dict[int, Callable[[object], None]] = {}
        self._answered: set[int] = set()

    def put(self, key: str, value: bytes, ended: Callable[[object], None]) -> None:
        """Begin a call; it is sent by the next `flush`."""
        message = field(1, key.encode()) + field(2, value)
        stream, self._stream = self._stream, self._stream + 2
        self._ended[stream] = ended
        self._out.append(frame(_HEADERS, _END_HEADERS, stream, self._headers))
        self._headers = b"\x83\x86\xc1\xc0\xbf\xbe"
        payload = b"\x00" + struct.pack(">I", len(message)) + message
        self._give(frame(_DATA, _END_STREAM, stream, payload))

    def flush(self) -> None:
        """Send what calls have begun."""
        if self._out:
            self.socket.sendall(b"".join(self._out))
            self._out.clear()

    def pump(self) -> None:
        """Wait for bytes, and end the calls that they answer."""
        received = self.socket.recv(_READ_BYTES)
        if not received:
            raise ConnectionError("etcd has closed the connection")
        self._received_bytes += len(received)
        if self._received_bytes > _RENEW_BYTES:
            grant = struct.pack(">I", self._received_bytes)
            self._out.append(frame(_WINDOW_UPDATE, 0, 0, grant))
            self._received_bytes = 0
        read, at = self._read, 0
        read += received
        while len(read) - at >= _HEAD_BYTES:
            size = read[at] << 16 | read[at + 1] << 8 | read[at + 2]
            if len(read) - at - _HEAD_BYTES < size:
                break
            kind, flags = read[at + 3], read[at + 4]
            stream = int.from_bytes(read[at + 5 : at + 9], "big")
            self._take(kind, flags, stream, read, at + _HEAD_BYTES, size)
            at += _HEAD_BYTES + size
        del read[:at]

    def _take(
        self, kind: int, flags: int, stream: int, read: bytearray, at: int, size: int
    ) -> None:
        if kind == _DATA:
            self._answered.add(stream)
        elif kind == _HEADERS:
            if flags & _END_STREAM:
                self._end(stream)
        elif kind == _PING and not flags & _ACK:
            self._out.append(frame(_PING, _ACK, 0, bytes(read[at : at + size])))
        elif kind == _SETTINGS and not flags & _ACK:
            self._out.append(frame(_SETTINGS, _ACK, 0, b""))
        elif kind == _WINDOW_UPDATE and stream == 0:
            self._window += int.from_bytes(read[at : at + 4], "big")
            held, self._held = self._held, []
            for each in held:
                self._give(each)
        elif kind == _RESET:
            self._end(stream)
        elif kind == _GOAWAY:
            raise ConnectionError(f"etcd goes away: {bytes(read[at + 8 : at + size])!r}")

    def _end(self, stream: int) -> None:
        went_well = stream in self._answered
        self._answered.discard(stream)
        ended = self._ended.pop(stream, None)
        if ended is not None:
            ended(None if went_well else "etcd refused the call")

    def _give(self, frame_of_data: bytes) -> None:
        # The head of a frame does not count.
        size = len(frame_of_data) - _HEAD_BYTES
        if self._held or self._window < size:
            self._held.append(frame_of_data)
        else:
            self._window -= size
            self._out.append(frame_of_data)
