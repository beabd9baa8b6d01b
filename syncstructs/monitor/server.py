"""A small HTTP server beside a node, to look at and nothing else.

It has a thread and an asyncio loop of its own, so that whoever looks never waits in the node's
driver, and under every way of driving. Each connection carries one request: a request line out of a
fixed table of paths, whatever headers follow. It takes GET and HEAD, opens no file, and reads no
body, so there is nothing to change and nowhere to climb to. It answers only to names that it was
given, so that no page from elsewhere, whose name is made to point here (DNS rebinding), can look.

What strangers can cost is bounded: so many connections, a few KiB for each, a few seconds for each,
and a look at the node no more often than twice a second however many ask. Of connections that have
not asked anything yet, the oldest gives way to a new one; so idle ones keep nobody out.
"""

import asyncio
import contextlib
import ipaddress
import json
import logging
import socket
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from importlib import resources
from types import TracebackType
from typing import Any, Final, NamedTuple, Self, cast

from ..config import parse_address
from ..errors import ConfigError, SyncError
from ..net.sockets import let_go, listen, stop_accepting
from ..node.forks import watch
from ..node.node import Node
from ..node.verbs import look_around, shortened
from . import metrics

_log = logging.getLogger("syncstructs.monitor")

CONNECTION_COUNT: Final = 64
"""Connections at a time; one more takes the place of the oldest that has asked nothing yet."""
REQUEST_BYTES: Final = 8 * 1024
"""The largest request, its headers included."""
REQUEST_SECONDS: Final = 10.0
"""From the beginning of a connection to its end, or it is cut."""
FRESH_SECONDS: Final = 0.5
"""For so long, all who ask get the same picture."""
_BACKLOG: Final = 512
_LINGER_SECONDS: Final = 2.0
_LOOK_SECONDS: Final = 1.0

_HEADERS: Final = (
    "Cache-Control: no-store\r\n"
    "X-Content-Type-Options: nosniff\r\n"
    "Referrer-Policy: no-referrer\r\n"
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline';"
    " script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'\r\n"
    "Connection: close\r\n"
)
_REASONS: Final = {
    200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed",
    421: "Misdirected Request", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 505: "HTTP Version Not Supported",
}  # fmt: skip


class Response(NamedTuple):
    """What is answered to a request."""

    status: int
    content_type: str
    body: bytes

    def head(self) -> bytes:
        """Return all that comes before the body."""
        allow = "Allow: GET, HEAD\r\n" if self.status == 405 else ""
        return (
            f"HTTP/1.1 {self.status} {_REASONS[self.status]}\r\n"
            f"Content-Type: {self.content_type}\r\n"
            f"Content-Length: {len(self.body)}\r\n{allow}{_HEADERS}\r\n"
        ).encode("ascii")


class Request(NamedTuple):
    """What is asked."""

    path: str
    wants_body: bool
    host: str = ""
    """To whom, in lower case and without a port; empty if it does not say, but browsers always do.
    """


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
        return _sentence(400, "this is no HTTP request")
    method, target, version = (part.decode("ascii") for part in parts)
    if not version.startswith("HTTP/1."):
        return _sentence(505, "this server speaks HTTP/1.1")
    if method not in ("GET", "HEAD"):
        return _sentence(405, "this server only shows: use GET or HEAD")
    hosts = _hosts(head)
    if len(hosts) > 1:
        return _sentence(400, "a request has one Host at the most")
    return Request(target.partition("?")[0], method == "GET", *hosts)


def _hosts(head: bytes) -> list[str]:
    fields = [field.partition(b":") for field in head.split(b"\n")[1:]]
    return [
        _without_port(value.strip().decode("ascii", "backslashreplace"))
        for name, _, value in fields
        if name.strip().lower() == b"host"
    ]


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    if not colon or not (port.isdecimal() or not port) or (":" in name and name[-1:] != "]"):
        name = host
    return name.strip("[]").rstrip(".").lower()


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _sentence(status: int, text: str) -> Response:
    return Response(status, "text/plain; charset=utf-8", f"{text}\n".encode())


class Shown:
    """What can be looked at, by path; each picture is made once and shown to all for a moment."""

    def __init__(self, node: Node) -> None:
        self._engine = node._engine
        page = resources.files(__package__).joinpath("page.html").read_bytes()
        self._page = Response(200, "text/html; charset=utf-8", page)
        self._makers: dict[str, Callable[[], Awaitable[Response]]] = {
            "/metrics": self._metrics, "/status": self._status, "/cluster": self._cluster,
        }  # fmt: skip
        self._made: dict[str, tuple[float, asyncio.Future[Response]]] = {}

    async def get(self, path: str) -> Response:
        """Return what there is under `path`."""
        if path in ("/", "/index.html"):
            return self._page
        maker = self._makers.get(path)
        if maker is None:
            known = ", ".join(("/", *self._makers))
            return _sentence(404, f"there is nothing here; look at {known}")
        now = asyncio.get_running_loop().time()
        made_at, making = self._made.get(path, (0.0, None))
        if making is None or (making.done() and now >= made_at + FRESH_SECONDS):
            making = asyncio.ensure_future(self._make(maker))
            self._made[path] = now, making
        # Whoever leaves must not take it from those who wait for the same.
        return await asyncio.shield(making)

    def under_way(self) -> list["asyncio.Future[Response]"]:
        """Return the pictures that are being made."""
        return [making for _, making in self._made.values() if not making.done()]

    async def _make(self, maker: Callable[[], Awaitable[Response]]) -> Response:
        try:
            return await maker()
        except Exception:
            _log.exception("the status of %s cannot be shown", self._engine.address)
            return _sentence(500, "the node's status cannot be shown; its log says why")

    async def _metrics(self) -> Response:
        text = metrics.render(self._engine.status())
        return Response(200, metrics.CONTENT_TYPE, text.encode("utf-8", "replace"))

    async def _status(self) -> Response:
        return _json(shortened(self._engine.status()))

    async def _cluster(self) -> Response:
        engine = self._engine
        try:
            looking = engine.start(look_around(engine, _LOOK_SECONDS))
            found = await asyncio.wait_for(_result(looking), 1.5 * _LOOK_SECONDS)
        except (TimeoutError, SyncError):
            # The node is closed, or driven by ticks that do not come: it cannot ask anybody.
            members: dict[str, Any] = dict.fromkeys(engine.members)
            members[engine.address] = shortened(engine.status())
            found = {"asked": engine.address, "members": members}
        return _json(found)


async def _result(future: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    return await future


def _json(value: object) -> Response:
    return Response(200, "application/json", json.dumps(value).encode())


class Monitor:
    """A running server, made by `serve`. Ends with its node, or when it is closed; also a context
    manager."""

    def __init__(self, node: Node, address: str, hosts: Iterable[str] = ()) -> None:
        self._node = node
        self._address = address
        self._hosts = {"", "localhost", *map(_without_port, (address, *hosts))}
        self._shown = Shown(node)
        self._loop = asyncio.new_event_loop()
        self._connections: dict[_Connection, None] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._servers: list[asyncio.Server] = []
        self._listening: list[socket.socket] = []
        self._is_copy = False
        self._closing = asyncio.Event()
        self._started = threading.Event()
        self._failure: BaseException | None = None
        # One object, so that it can be taken back.
        self._when_closed = self._end
        self._thread = threading.Thread(
            target=self._run, name=f"syncstructs-monitor-{node.address}", daemon=True
        )

    @property
    def address(self) -> str:
        """Where it listens, as 'host:port'."""
        return self._address

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{self._address}/"

    def close(self, timeout: float = 5.0) -> None:
        """Stop listening, cut all connections, and wait up to `timeout` seconds; idempotent."""
        if self._is_copy:
            return
        self._node._engine.closed.remove_done_callback(self._when_closed)
        self._end()
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout)

    def after_fork(self) -> None:
        """Be a copy in a forked child, which has neither the thread nor the port."""
        self._is_copy = True
        let_go(sock.fileno() for sock in self._listening)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Life of the thread

    def _begin(self) -> None:
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        self._node._engine.closed.add_done_callback(self._when_closed)
        watch(self)

    def _end(self, _: object = None) -> None:
        # The loop may have ended in this very moment.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._closing.set)

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as error:
            self._failure = error
            if self._started.is_set():
                _log.exception("the monitor of %s ended", self._node.address)
        finally:
            self._loop.close()
            self._started.set()

    async def _serve(self) -> None:
        sockets = await listen(self._address)
        for sock in sockets:
            make = cast(Callable[[], asyncio.BaseProtocol], lambda: _Connection(self))
            server = await self._loop.create_server(make, sock=sock, backlog=_BACKLOG)
            self._servers.append(server)
            self._listening.append(sock)
        self._started.set()
        await self._closing.wait()
        for server in self._servers:
            stop_accepting(server)
        await asyncio.sleep(0)
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.cut()
        going_on: list[asyncio.Future[Any]] = [*self._tasks, *self._shown.under_way()]
        for future in going_on:
            future.cancel()
        await asyncio.gather(*going_on, return_exceptions=True)
        # So that every socket is closed when the thread is gone.
        await asyncio.sleep(0)

    # What connections need of it

    def _answers_to(self, host: str) -> bool:
        # A number is no name that somebody else could make point here.
        return host in self._hosts or host.endswith(".localhost") or _is_number(host)

    def _admit(self, connection: "_Connection") -> bool:
        """Take a connection in, at the cost of one that is idle; False if all are busy."""
        if len(self._connections) >= CONNECTION_COUNT:
            idle = next((known for known in self._connections if not known.awaits_answer), None)
            if idle is None:
                return False
            idle.cut()
        self._connections[connection] = None
        return True

    def _gone(self, connection: "_Connection") -> None:
        self._connections.pop(connection, None)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Connection(asyncio.BufferedProtocol):
    """One connection, which carries one request."""

    def __init__(self, monitor: Monitor) -> None:
        self._has_asked = False
        self._is_answered = False
        self._is_half_closed = False
        self._monitor = monitor
        self._stream: asyncio.Transport | None = None
        self._buffer = bytearray(REQUEST_BYTES)
        self._filled = 0
        self._deadline: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        """End it now."""
        self._monitor._gone(self)
        if self._deadline is not None:
            self._deadline.cancel()
        if self._stream is not None:
            self._stream.abort()

    @property
    def awaits_answer(self) -> bool:
        """Whether it has asked, and has no answer yet."""
        return self._has_asked and not self._is_answered

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._stream = cast(asyncio.Transport, transport)
        if not self._monitor._admit(self):
            self._stream.abort()
            return
        self._deadline = self._monitor._loop.call_later(REQUEST_SECONDS, self.cut)

    def get_buffer(self, sizehint: int) -> memoryview:
        # After the request, what comes is read and thrown away.
        begin = 0 if self._has_asked else self._filled
        return memoryview(self._buffer)[begin:]

    def buffer_updated(self, nbytes: int) -> None:
        if self._has_asked:
            return
        # The end may have come in two pieces.
        begin, self._filled = max(0, self._filled - 3), self._filled + nbytes
        ends = [
            at + len(mark)
            for mark in (b"\r\n\r\n", b"\n\n")
            if (at := self._buffer.find(mark, begin, self._filled)) >= 0
        ]
        if ends:
            self._ask(parse(bytes(self._buffer[: min(ends)])))
        elif self._filled == len(self._buffer):
            self._ask(_sentence(431, f"a request has {REQUEST_BYTES} bytes at the most"))

    def eof_received(self) -> bool:
        # Who has asked may close this side, and waits for the answer on the other one.
        self._is_half_closed = True
        return self.awaits_answer

    def connection_lost(self, error: Exception | None) -> None:
        self._monitor._gone(self)
        if self._deadline is not None:
            self._deadline.cancel()

    # The answer

    def _ask(self, request: Request | Response) -> None:
        self._has_asked = True
        if isinstance(request, Response):
            self._answer(request, with_body=True)
        elif not self._monitor._answers_to(request.host):
            self._answer(_sentence(421, _misdirected(request.host)), with_body=request.wants_body)
        else:
            self._monitor._spawn(self._serve(request))

    async def _serve(self, request: Request) -> None:
        response = await self._monitor._shown.get(request.path)
        self._answer(response, with_body=request.wants_body)

    def _answer(self, response: Response, *, with_body: bool) -> None:
        stream = self._stream
        if stream is None or stream.is_closing():
            return
        self._is_answered = True
        stream.write(response.head() + (response.body if with_body else b""))
        if self._is_half_closed:
            stream.close()
            return
        # Closing at once would have the system throw the answer away if the client still sends.
        stream.write_eof()
        if self._deadline is not None and not stream.get_write_buffer_size():
            self._deadline.cancel()
            self._deadline = self._monitor._loop.call_later(_LINGER_SECONDS, self.cut)


def _misdirected(host: str) -> str:
    known = ascii(host[:200])
    return f"this server does not answer to the name {known}; give it to serve() in hosts=[{known}]"


def serve(
    node: Node, address: str = "127.0.0.1:8080", *, hosts: Iterable[str] = ()
) -> Monitor:
    """Show `node`, and with it the cluster as far as it knows, over HTTP on `address`.

    `/` is a page for people, `/metrics` is for Prometheus, `/status` is the node's status as JSON,
    and `/cluster` that of all members, each as it says itself. Whoever reaches the address may
    look, names of objects included, and nobody can change anything; so choose one that others
    reach only where they may. It ends with the node.

    A browser that was sent here under another name than `localhost`, that in `address`, one of
    `hosts`, or an IP address, is shown nothing: else any page on the web could have its own name
    point here, and look.

    Raises:
        ConfigError: `address` is none, `node` is no node, or `hosts` are no names.
        BindError: the address cannot be had.
        NodeClosed, NodeFailed: the node has ended.
    """
    if not isinstance(node, Node):
        raise ConfigError(f"node {node!r} is no Node; give the one that is to be shown")
    where = str(parse_address(address, field="address of the monitor"))
    if node._engine.closed.done() and node._engine.failure is not None:
        raise node._engine.failure
    # Kept, as it may be an iterator.
    hosts = hosts if isinstance(hosts, str) else [*hosts]
    if isinstance(hosts, str) or not all(isinstance(host, str) for host in hosts):
        raise ConfigError(f"hosts {hosts!r} must be a list of names, such as ['node1.example.org']")
    monitor = Monitor(node, where, hosts)
    monitor._begin()
    return monitor
