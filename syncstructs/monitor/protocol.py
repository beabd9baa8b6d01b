"""HTTP/1.1, as much of it as a monitor speaks: what is asked, and the words of an answer. Pure."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

from .guard import GUESS_SECONDS

_HEADERS: Final = (
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Cross-Origin-Resource-Policy: same-origin\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
    "Connection: close\r\n"
)
_REASONS: Final = {
    200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found",
    405: "Method Not Allowed", 421: "Misdirected Request", 429: "Too Many Requests",
    431: "Request Header Fields Too Large", 500: "Internal Server Error",
    505: "HTTP Version Not Supported",
}  # fmt: skip
_MORE_HEADERS: Final = {
    401: 'WWW-Authenticate: Basic realm="syncstructs", charset="UTF-8"\r\n',
    405: "Allow: GET, HEAD\r\n",
    429: f"Retry-After: {GUESS_SECONDS:.0f}\r\n",
}


class Response(NamedTuple):
    """What is answered to a request."""

    status: int
    content_type: str
    body: bytes

    def head(self) -> bytes:
        """Return all that comes before the body."""
        more = _MORE_HEADERS.get(self.status, "")
        return (
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n{more}{_HEADERS}\r\n"
        ).encode("ascii")


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked."""

    path: str
    wants_body: bool
    host: str = ""
    """To whom, in lower case and without a port; empty if it does not say, but browsers always do.
    """
    authorization: bytes | None = field(default=None, repr=False)
    """The field of that name as it came: it holds a password."""


def parse(head: bytes) -> Request | Response:
    """Return what a request asks, or the answer to one that cannot be served.

    >>> parse(b"GET /metrics?x=1 HTTP/1.1\\r\\nHost: x:80\\r\\n\\r\\n")
    Request(path='/metrics', wants_body=True, host='x')
    >>> parse(b"POST / HTTP/1.1\\r\\n\\r\\n").status
    405
    """
    line = head.partition(b"\n")[0].rstrip(b"\r")
    parts = line.split(b" ")
    if len(parts) != 3 or not line.isascii() or not parts[2].startswith(b"HTTP/"):
        return sentence(400, "this is no HTTP request")
    method, target, version = (part.decode("ascii") for part in parts)
    if not version.startswith("HTTP/1."):
        return sentence(505, "this server speaks HTTP/1.1")
    if method not in ("GET", "HEAD"):
        return sentence(405, "this server only shows: use GET or HEAD")
    host, authorization = _values(head, b"host"), _values(head, b"authorization")
    if len(host) > 1 or len(authorization) > 1:
        return sentence(400, "a request has one Host and one Authorization at the most")
    return Request(
        target.partition("?")[0],
        method == "GET",
        without_port(host[0].decode("ascii", "backslashreplace")) if host else "",
        authorization[0] if authorization else None,
    )


def _values(head: bytes, wanted: bytes) -> list[bytes]:
    parts = [line.partition(b":") for line in head.split(b"\n")[1:]]
    return [value.strip() for name, _, value in parts if name.strip().lower() == wanted]


def without_port(host: str) -> str:
    """Return a host as it is compared: in lower case, without port, brackets and last dot.

    >>> without_port("[::1]:8080"), without_port("Node1.Example.org.:80")
    ('::1', 'node1.example.org')
    """
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isdecimal() or not port) or (":" in name and name[-1:] != "]"):
        name = host
    return name.strip("[]").rstrip(".").lower()


def sentence(status: int, text: str) -> Response:
    """Return an answer that is one sentence for people."""
    return Response(status, "text/plain; charset=utf-8", f"{text}\n".encode())


def misdirected(host: str) -> str:
    """Return what to tell who asks for a name that was not given to `serve`."""
    known = ascii(host[:200])
    return f"this server does not answer to the name {known}; give it to serve() in hosts=[{known}]"
