"""TCP proxies between members: what a bad network does to connections, without any rights.

Every member advertises the address of a proxy and listens elsewhere (`Config.bind`), so all that
passes between members passes here. A dialler says in its hello who it is; with that, each
direction of each connection belongs to a *flow*, a pair (from, to) of advertised addresses, and
faults are set per flow. The proxies run in a thread of their own; every method may be called from
any other thread, and has taken effect when it returns.

Faults of a flow: `delay`; `stall` (bytes wait, as behind a partition that heals); `swallow` (bytes
vanish, as towards a machine that was switched off: the other direction lives on); `reset` (RST to
both ends, at once); `truncate` (the next bytes are cut in the middle, then the end); `hold` (new
connections wait, and are let through in reverse order by `release`).

Members with a password or with certificates do not say who they are: their connections come from
`UNKNOWN`. A `meddler` sees every frame of every connection, or record of TLS, and says what is to
arrive in its place. With `recording`, all that passes is kept.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

from syncstructs.cli.processes import LocalCluster, free_addresses
from syncstructs.config import parse_address
from syncstructs.errors import ProtocolError
from syncstructs.net.frames import HEADER_BYTES
from syncstructs.net.hello import HELLO_LIMIT_BYTES, Handshake, Hello, decode_first_frame

CHUNK_BYTES = 65_536
CHUNKS_KEPT = 64
"""Chunks on their way in one direction of a connection; then TCP's own back pressure sets in."""

UNKNOWN = "?"
"""Who dials a connection whose hello cannot be read here."""

# Of records (RFC 8446, section 5.1); a frame that begins so would have 335 MB.
_TLS_TYPES = range(0x14, 0x18)
_TLS_HEADER_BYTES = 5

Flow = tuple[str, str]
_RST = struct.pack("ii", 1, 0)


@dataclass
class Condition:
    """How one flow fares at present."""

    delay: float = 0.0
    jitter: float = 0.0
    stalled: bool = False
    swallows: bool = False
    truncates: bool = False
    holds: bool = False
    carried_bytes: int = 0
    reset_at: int | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def settle(self) -> None:
        """Let writers go on if nothing holds them back any more."""
        if self.stalled:
            self.open.clear()
        else:
            self.open.set()


class Meddler(Protocol):
    """What sits between; all in the thread of the proxies."""

    def meddle(self, connection: Connection, sender: str, frame: bytes) -> list[bytes]:
        """Return what arrives in place of a frame of the "dialer" or the "acceptor".

        A frame, or record of TLS, is its header and its payload; what is returned may be any bytes.
        """


class Connection:
    """One connection through a proxy: two sockets, and a pump in each direction."""

    def __init__(self, target: str, client: asyncio.StreamWriter) -> None:
        self.source = ""
        self.target = target
        self.writers = [client]
        self.kept: dict[str, list[bytes]] = {"dialer": [], "acceptor": []}
        """What came from each side, in pieces, if there is a recording."""
        self.lossy = False
        """Whether bytes of it are missing, so that it must not live on after a fault."""
        self.task = asyncio.current_task()

    def flows(self) -> tuple[Flow, Flow]:
        """Return both directions: that of the dialler's bytes first."""
        return (self.source, self.target), (self.target, self.source)

    def reset(self) -> None:
        """Close both sockets at once, with RST."""
        for writer in self.writers:
            sock = writer.get_extra_info("socket")
            if sock is not None:
                with suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            writer.transport.abort()
        if self.task is not None:
            self.task.cancel()


class Proxies:
    """The proxies of a cluster: `routes` maps advertised addresses to where members listen."""

    def __init__(
        self,
        routes: Mapping[str, str],
        *,
        seed: int = 0,
        meddler: Meddler | None = None,
        recording: bool = False,
    ) -> None:
        self.routes = dict(routes)
        self.recorded: list[Connection] | None = [] if recording else None
        """All connections there ever were."""
        self._meddler = meddler
        self.counts: Counter[str] = Counter()
        """What happened: connections, resets, truncated, swallowed_bytes, reordered."""
        self._random = random.Random(seed)
        self._conditions: dict[Flow, Condition] = {}
        self._connections: set[Connection] = set()
        self._held: dict[Flow, list[asyncio.Event]] = {}
        self._servers: list[asyncio.Server] = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxies", daemon=True)

    def __enter__(self) -> Proxies:
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result(10)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close every socket and end the thread."""
        if self._thread.is_alive():
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result(10)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(10)
        if not self._loop.is_running():
            self._loop.close()

    # Faults

    def flows(self, sources: Iterable[str], targets: Iterable[str]) -> list[Flow]:
        """Return the flows from any of `sources` to any of `targets`."""
        wanted = list(targets)
        return [(one, other) for one in sources for other in wanted if one != other]

    def delay(self, flows: Iterable[Flow], seconds: float, jitter: float = 0.0) -> None:
        """Let bytes take `seconds`, and up to `jitter` more; their order stays."""
        self._set(flows, delay=seconds, jitter=jitter)

    def stall(self, flows: Iterable[Flow]) -> None:
        """Let no byte through until `heal`; nothing is lost. New connections are accepted."""
        self._set(flows, stalled=True)

    def swallow(self, flows: Iterable[Flow]) -> None:
        """Take all bytes and lose them; a connection that lost some is reset by `heal`."""
        self._set(flows, swallows=True)

    def truncate(self, flows: Iterable[Flow]) -> None:
        """Cut what comes next in the middle, and end that connection; once per flow."""
        self._set(flows, truncates=True)

    def hold(self, flows: Iterable[Flow]) -> None:
        """Let new connections of these diallers wait, their hello unread by the other side."""
        self._set(flows, holds=True)

    def held(self) -> int:
        """Return how many connections wait for `release`, or did until their dialler gave up."""
        return self._do(lambda: sum(map(len, self._held.values())))

    def release(self) -> int:
        """Let the held connections through, the youngest first; return how many there were."""
        return self._do(self._release)

    def reset(self, flows: Iterable[Flow]) -> int:
        """Cut every connection that carries one of `flows` with RST; return how many."""
        wanted = set(flows)
        return self._do(lambda: self._reset(lambda c: not wanted.isdisjoint(c.flows())))

    def reset_at(self, flow: Flow, carried_bytes: int) -> None:
        """Cut the connection that carries a flow once so many bytes have passed; once."""
        self._set([flow], reset_at=carried_bytes)

    def heal(self) -> None:
        """End all faults; connections that lost bytes are reset."""
        self._do(self._heal)

    def connections(self, flow: Flow) -> int:
        """Return how many connections carry `flow` now."""
        return self._do(lambda: sum(flow in c.flows() for c in self._connections))

    def carried_bytes(self, flow: Flow) -> int:
        """Return how many bytes have passed in this direction, over all connections."""
        return self._do(lambda: self._condition(flow).carried_bytes)

    # In the loop's thread

    def _do(self, action: Callable[[], Any]) -> Any:
        async def run() -> Any:
            return action()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(10)

    def _set(self, flows: Iterable[Flow], **changes: Any) -> None:
        def change() -> None:
            for flow in flows:
                condition = self._condition(flow)
                for name, value in changes.items():
                    setattr(condition, name, value)
                condition.settle()

        self._do(change)

    def _condition(self, flow: Flow) -> Condition:
        if flow not in self._conditions:
            self._conditions[flow] = Condition()
            self._conditions[flow].settle()
        return self._conditions[flow]

    def _heal(self) -> None:
        for condition in self._conditions.values():
            condition.delay = condition.jitter = 0.0
            condition.stalled = condition.swallows = False
            condition.truncates = condition.holds = False
            condition.settle()
        self._reset(lambda connection: connection.lossy)
        self._release()

    def _release(self) -> int:
        held, self._held = self._held, {}
        for waiting in held.values():
            self.counts["reordered"] += len(waiting) > 1
            for number, gate in enumerate(reversed(waiting)):
                # Not all in one turn of the loop: each is to be dialled before the next older.
                self._loop.call_later(0.005 * number, gate.set)
        return sum(len(waiting) for waiting in held.values())

    def _reset(self, wanted: Callable[[Connection], bool]) -> int:
        chosen = [connection for connection in self._connections if wanted(connection)]
        for connection in chosen:
            connection.reset()
        self.counts["resets"] += len(chosen)
        return len(chosen)

    async def _start(self) -> None:
        for advertised in self.routes:
            host, port = parse_address(advertised)
            server = await asyncio.start_server(
                lambda reader, writer, target=advertised: self._accept(target, reader, writer),
                host,
                port,
            )
            self._servers.append(server)

    async def _stop(self) -> None:
        for server in self._servers:
            server.close()
        self._reset(lambda _: True)
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(
        self, target: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        connection = Connection(target, writer)
        self._connections.add(connection)
        if self.recorded is not None:
            self.recorded.append(connection)
        self.counts["connections"] += 1
        try:
            await self._carry(connection, reader)
        except (OSError, ProtocolError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._connections.discard(connection)
            for one in connection.writers:
                # What was written still goes out; `reset` has aborted already.
                one.close()

    async def _carry(self, connection: Connection, reader: asyncio.StreamReader) -> None:
        connection.source, greeting = await read_greeting(reader)
        flow = connection.flows()[0]
        if self._condition(flow).holds:
            gate = asyncio.Event()
            self._held.setdefault(flow, []).append(gate)
            await gate.wait()
        host, port = parse_address(self.routes[connection.target])
        far_reader, far_writer = await asyncio.open_connection(host, port)
        connection.writers.append(far_writer)
        client = connection.writers[0]
        there, back = connection.flows()
        pumps = [
            self._pump(connection, "dialer", there, reader, far_writer, greeting),
            self._pump(connection, "acceptor", back, far_reader, client, b""),
        ]
        # When one direction ends the other has nobody to answer: members never half-close.
        tasks = [asyncio.ensure_future(pump) for pump in pumps]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _pump(
        self,
        connection: Connection,
        sender: str,
        flow: Flow,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        first: bytes,
    ) -> None:
        """Carry bytes until their end; what waits has a bound, and keeps its order."""
        condition = self._condition(flow)
        chunks: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(CHUNKS_KEPT)

        async def read() -> None:
            piece = first or await self._next_piece(reader)
            while piece:
                if self.recorded is not None:
                    connection.kept[sender].append(piece)
                pieces = [piece]
                if self._meddler is not None:
                    pieces = self._meddler.meddle(connection, sender, piece)
                for one in pieces:
                    if one:
                        wait = condition.delay + self._random.uniform(0, condition.jitter)
                        await chunks.put((self._loop.time() + wait, one))
                piece = await self._next_piece(reader)
            await chunks.put((self._loop.time() + condition.delay, b""))

        reading = asyncio.ensure_future(read())
        try:
            while True:
                due, piece = await chunks.get()
                if (wait := due - self._loop.time()) > 0:
                    await asyncio.sleep(wait)
                await condition.open.wait()
                if not await self._write(connection, condition, writer, piece):
                    return
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _next_piece(self, reader: asyncio.StreamReader) -> bytes:
        """Return a frame for the meddler, or else what there is; empty at the end."""
        if self._meddler is None:
            return await reader.read(CHUNK_BYTES)
        try:
            return await read_piece(reader)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def _write(
        self,
        connection: Connection,
        condition: Condition,
        writer: asyncio.StreamWriter,
        piece: bytes,
    ) -> bool:
        """Write a piece as the flow's condition has it; False: that was the last."""
        if condition.swallows:
            connection.lossy = True
            self.counts["swallowed_bytes"] += len(piece)
            if not piece:
                # The end is not heard of either, until `heal` resets the connection.
                await asyncio.Event().wait()
            return True
        if not piece:
            return False
        if condition.truncates:
            # An orderly end follows, so that the half arrives; RST might overtake it.
            condition.truncates = False
            self.counts["truncated"] += 1
            writer.write(piece[: self._random.randrange(len(piece))])
            return False
        writer.write(piece)
        condition.carried_bytes += len(piece)
        if condition.reset_at is not None and condition.carried_bytes >= condition.reset_at:
            condition.reset_at = None
            self.counts["resets"] += 1
            connection.reset()
            return False
        await writer.drain()
        return True


async def read_piece(reader: asyncio.StreamReader) -> bytes:
    """Return the next frame, or record of TLS, with its header.

    Raises:
        asyncio.IncompleteReadError: there is none.
    """
    header = await reader.readexactly(HEADER_BYTES)
    if header[0] not in _TLS_TYPES:
        return header + await reader.readexactly(int.from_bytes(header, "big"))
    header += await reader.readexactly(_TLS_HEADER_BYTES - HEADER_BYTES)
    return header + await reader.readexactly(int.from_bytes(header[3:], "big"))


async def read_greeting(reader: asyncio.StreamReader) -> tuple[str, bytes]:
    """Return who dials, or `UNKNOWN`, and the first bytes.

    Raises:
        ProtocolError: it is no hello; nobody but members ought to dial here.
    """
    piece = await read_piece(reader)
    if len(piece) > HEADER_BYTES + HELLO_LIMIT_BYTES:
        raise ProtocolError(f"a hello of {len(piece)} bytes")
    if piece[0] in _TLS_TYPES:
        return UNKNOWN, piece
    hello = decode_first_frame(piece[HEADER_BYTES:])
    if isinstance(hello, Handshake):
        return UNKNOWN, piece
    if not isinstance(hello, Hello):
        raise ProtocolError(f"not a hello but {hello}")
    return hello.address, piece


def route_through(cluster: LocalCluster, *, seed: int = 0, **options: Any) -> Proxies:
    """Return proxies for a cluster that was not started yet; its members then listen elsewhere."""
    taken = [setup.address for setup in cluster.setups]
    spare = [address for address in free_addresses(2 * len(taken)) if address not in taken]
    routes = dict(zip(taken, spare, strict=False))
    for setup in cluster.setups:
        setup.config["bind"] = routes[setup.address]
    return Proxies(routes, seed=seed, **options)
