"""A small HTTP server beside a node, to look at and nothing else.

It has a thread and an asyncio loop of its own, so that whoever looks never waits in the node's
driver, and under every way of driving. Each connection carries one request: a request line out of a
fixed table of paths, whatever headers follow. It takes GET and HEAD, opens no file, and reads no
body, so there is nothing to change and nowhere to climb to. It answers only to names that it was
given, so that no page from elsewhere, whose name is made to point here (DNS rebinding), can look.

With a password (`guard`) whoever has not shown it is told nothing, not even which paths there are.
The name comes before that, so that no browser asks its user for the password in another's name.
Without TLS the password passes in clear, so that of the node is taken on this machine only. For a
node with certificates it is HTTPS with them, and whoever looks needs one as well, or the page's own
password.

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
import ssl
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from importlib import resources
from types import TracebackType
from typing import Any, Final, Self, cast

from ..config import Config, Tls, _check_password, is_nameless, parse_address
from ..errors import ConfigError, SyncError
from ..net import tls
from ..net.sockets import let_go, listen, stop_accepting
from ..node.forks import watch
from ..node.node import Node
from ..node.verbs import look_around, shortened
from . import metrics
from .guard import Guard, Verdict, is_loopback, source_of
from .protocol import Request, Response, misdirected, parse, sentence, without_port

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
_GUESSED_SECONDS: Final = 60.0
"""That somebody guesses is logged no more often."""


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
            return sentence(404, f"there is nothing here; look at {known}")
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
            return sentence(500, "the node's status cannot be shown; its log says why")

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

    def __init__(
        self,
        node: Node,
        address: str,
        hosts: Iterable[str] = (),
        *,
        guard: Guard | None = None,
        is_password_of_node: bool = False,
        context: ssl.SSLContext | None = None,
        renew: Callable[[], ssl.SSLContext | None] | None = None,
    ) -> None:
        """`guard` asks for a password, None for none; `is_password_of_node` if it must not pass in
        clear. `context` is for TLS; `renew` returns another one if it is time, and may raise
        `ConfigError`."""
        self._node = node
        self._guard = guard
        self._is_password_of_node = is_password_of_node
        self._context = context
        self._renew = renew
        self._told_of_guesses_at = -_GUESSED_SECONDS
        self._address = address
        self._hosts = {"", "localhost", *map(without_port, (address, *hosts))}
        self._shown = Shown(node)
        # Whatever the program has made the default: on uvloop, handshakes of TLS on connections
        # that were admitted before came to no end, and speed is of no use here.
        self._loop = asyncio.SelectorEventLoop()
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
        return f"{'http' if self._context is None else 'https'}://{self._address}/"

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
        self._watch = watch(self)

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
        try:
            self._check_exposure(sockets)
        except ConfigError:
            for sock in sockets:
                sock.close()
            raise
        for sock in sockets:
            make = cast(Callable[[], asyncio.BaseProtocol], lambda: _Connection(self))
            server = await self._loop.create_server(make, sock=sock, backlog=_BACKLOG)
            self._servers.append(server)
            self._listening.append(sock)
        self._started.set()
        if self._renew is not None:
            self._spawn(self._go_on_renewing(self._renew))
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
        # Connections that are being accepted among them: they are turned away once they are made.
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.gather(*others, return_exceptions=True)
        # So that every socket is closed when the thread is gone.
        await asyncio.sleep(0)

    async def _go_on_renewing(self, renew: Callable[[], ssl.SSLContext | None]) -> None:
        told = ""
        while True:
            await asyncio.sleep(tls.RELOAD_SECONDS)
            try:
                self._context = renew() or self._context
                told = ""
            except ConfigError as error:
                # The node looks at the same files, and warns of them.
                if str(error) != told:
                    told = str(error)
                    _log.info("the monitor of %s goes on with the former certificates: %s",
                              self._node.address, error)  # fmt: skip

    def _check_exposure(self, sockets: list[socket.socket]) -> None:
        """Refuse, or warn of, what others than this machine would see.

        Looks at what is bound: a name may stand for anything.
        """
        open_to = [host for sock in sockets if not is_loopback(host := sock.getsockname()[0])]
        if not open_to or self._context is not None:
            return
        if self._guard is None:
            _log.warning(
                "the monitor of %s listens on %s and asks for no password, so that whoever reaches"
                " it may look; serve(password=...) has it ask",
                self._node.address, self._address,
            )  # fmt: skip
        elif self._is_password_of_node:
            raise ConfigError(
                f"the monitor on {self._address!r} ({open_to[0]}) would have the node's password"
                " pass in clear; give the page one of its own, serve(password=...), or let it"
                " listen on 127.0.0.1"
            )

    # What connections need of it

    def _answers_to(self, host: str) -> bool:
        # A number is no name that somebody else could make point here.
        return host in self._hosts or host.endswith(".localhost") or _is_number(host)

    def _judge(self, request: Request, source: str) -> Response | None:
        """Return the answer to who may not look, None to who may."""
        # A page whose name was made to point here must not have its reader asked for the password.
        if not self._answers_to(request.host):
            return sentence(421, misdirected(request.host))
        if self._guard is None:
            return None
        now = self._loop.time()
        verdict = self._guard.check(request.authorization, source, now)
        if verdict is Verdict.ASK:
            return sentence(401, "this needs the password of the page, under any user name")
        if verdict is Verdict.WAIT:
            if now >= self._told_of_guesses_at + _GUESSED_SECONDS:
                self._told_of_guesses_at = now
                _log.warning("the monitor of %s is given one wrong password after the other from"
                             " %s", self._node.address, source)  # fmt: skip
            return sentence(429, "too many wrong passwords came from there; wait, and try again")
        return None

    def _admit(self, connection: "_Connection") -> bool:
        """Take a connection in, at the cost of one that is idle; False if all are busy, or at the
        end."""
        if self._closing.is_set():
            return False
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
        self._is_answered = False
        self._is_half_closed = False
        self._monitor = monitor
        self._raw: asyncio.Transport | None = None
        # What answers are written to: None before the handshake of TLS.
        self._stream: asyncio.Transport | None = None
        self._request: Request | Response | None = None
        self._source = ""
        self._buffer = bytearray(REQUEST_BYTES)
        self._filled = 0
        self._deadline: asyncio.TimerHandle | None = None

    def cut(self) -> None:
        """End it now."""
        self._monitor._gone(self)
        if self._deadline is not None:
            self._deadline.cancel()
        for stream in (self._stream, self._raw):
            if stream is not None:
                stream.abort()

    @property
    def awaits_answer(self) -> bool:
        """Whether it has asked, and has no answer yet."""
        return self._request is not None and not self._is_answered

    # Called by asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        if not self._monitor._admit(self):
            self._raw.abort()
            return
        self._deadline = self._monitor._loop.call_later(REQUEST_SECONDS, self.cut)
        peer = transport.get_extra_info("peername")
        self._source = source_of(peer[0]) if peer else ""
        if self._monitor._context is None:
            self._stream = self._raw
        else:
            # Nothing is read in clear. It is admitted first, so that handshakes count as well.
            self._raw.pause_reading()
            self._monitor._spawn(self._secure(self._raw, self._monitor._context))

    def get_buffer(self, sizehint: int) -> memoryview:
        # After the request, what comes is read and thrown away.
        begin = 0 if self._request is not None else self._filled
        return memoryview(self._buffer)[begin:]

    def buffer_updated(self, nbytes: int) -> None:
        if self._request is not None:
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
            self._ask(sentence(431, f"a request has {REQUEST_BYTES} bytes at the most"))

    def eof_received(self) -> bool:
        # Who has asked may close this side, and waits for the answer on the other one.
        self._is_half_closed = True
        # TLS knows no half.
        return self.awaits_answer and self._monitor._context is None

    def connection_lost(self, error: Exception | None) -> None:
        self._monitor._gone(self)
        if self._deadline is not None:
            self._deadline.cancel()

    # The answer

    async def _secure(self, raw: asyncio.Transport, context: ssl.SSLContext) -> None:
        try:
            self._stream = await self._monitor._loop.start_tls(
                raw, self, context, server_side=True, ssl_handshake_timeout=REQUEST_SECONDS
            )
        except (OSError, UnicodeDecodeError) as error:
            # The latter is of asyncio, for a certificate with a name that is no text.
            _log.debug("a handshake with the monitor from %s failed: %s", self._source, error)
            self.cut()
            return
        if self._request is not None:
            # It came with the end of the handshake.
            self._ask(self._request)

    def _ask(self, request: Request | Response) -> None:
        self._request = request
        if self._stream is None:
            return
        if isinstance(request, Response):
            self._answer(request, with_body=True)
        elif (refusal := self._monitor._judge(request, self._source)) is not None:
            self._answer(refusal, with_body=request.wants_body)
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
        if self._is_half_closed or not stream.can_write_eof():
            # TLS reads on by itself until the other side has seen the end.
            stream.close()
            return
        # Closing at once would have the system throw the answer away if the client still sends.
        try:
            stream.write_eof()
        except OSError:
            # The client has reset the connection since: asyncio lets that out here alone.
            self.cut()
            return
        if self._deadline is not None and not stream.get_write_buffer_size():
            self._deadline.cancel()
            self._deadline = self._monitor._loop.call_later(_LINGER_SECONDS, self.cut)


def _is_number(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def serve(
    node: Node,
    address: str = "127.0.0.1:8080",
    *,
    hosts: Iterable[str] = (),
    password: str | None = None,
) -> Monitor:
    """Show `node`, and with it the cluster as far as it knows, over HTTP on `address`.

    `/` is a page for people, `/metrics` is for Prometheus, `/status` is the node's status as JSON,
    and `/cluster` that of all members, each as it says itself. Nobody can change anything. It ends
    with the node.

    Whoever looks gives the password of the node, or one of its `accepted_passwords`, by HTTP Basic
    authentication under any user name. With `password` the page has one of its own, of 12
    characters at least, and takes that alone. HTTP is not encrypted: that of the node is taken on
    loopback addresses only, and one of the page's own can be read by who sees what passes. If
    neither has one, whoever reaches the address may look, names of objects included.

    For a node with `Config.tls` it is HTTPS, with the certificate of the node. Whoever looks needs
    a certificate of its authority, or else the page's own `password`, if there is one.

    A browser that was sent here under another name than `localhost`, that in `address`, one of
    `hosts`, or an IP address, is shown nothing: else any page on the web could have its own name
    point here, and look.

    Raises:
        ConfigError: `address` is none, `node` is no node, `hosts` are no names, `password` is none;
            or the node's own password would pass in clear, as `address` is not on loopback; or the
            files of its `tls` are of no use by now.
        BindError: the address cannot be had.
        NodeClosed, NodeFailed: the node has ended.
    """
    if not isinstance(node, Node):
        raise ConfigError(f"node {node!r} is no Node; give the one that is to be shown")
    where = str(parse_address(address, field="address of the monitor"))
    if password is not None:
        _check_password(password, "password of the monitor")
    if node._engine.closed.done() and node._engine.failure is not None:
        raise node._engine.failure
    # Kept, as it may be an iterator.
    hosts = hosts if isinstance(hosts, str) else [*hosts]
    if isinstance(hosts, str) or not all(isinstance(host, str) for host in hosts):
        raise ConfigError(f"hosts {hosts!r} must be a list of names, such as ['node1.example.org']")
    config = node._engine.config
    secure: dict[str, Any] = {}
    if config.tls is not None:
        secure = _certificates(config.tls, node.address, certified=password is None)
        if not is_nameless(node.address):
            hosts = [*hosts, node.address]
    known = _passwords(config)
    taken = known if password is None else [password]
    monitor = Monitor(
        node,
        where,
        hosts,
        guard=Guard(taken) if taken else None,
        is_password_of_node=any(one in known for one in taken),
        **secure,
    )
    monitor._begin()
    return monitor


def _certificates(files: Tls, address: str, *, certified: bool) -> dict[str, Any]:
    made = tls.Contexts(files, address)

    def renew() -> ssl.SSLContext | None:
        return made.serving(certified=certified) if made.reload() else None

    return {"context": made.serving(certified=certified), "renew": renew}


def _passwords(config: Config) -> list[str]:
    return [] if config.password is None else [config.password, *config.accepted_passwords]
