"""Transport: this node's links to other nodes, over TCP on asyncio.

It keeps links to its *peers*, the other members as far as this node knows. Any other node of the
same cluster may come as a *guest*: one that is no member yet, or any more, or of which only the
other side knows that it is. Its link is like any other, but nobody here restores it.

One connection per pair, and no race for it: **the member with the greater address dials**, and
only its connections become links. The other one *knocks*: while it has no link it dials too, says
hello, hears hello, and closes; the knock tells the greater one to dial now instead of after its
pause. So whichever of the two starts last, they are linked within two round trips. A nameless node,
such as an observer, listens nowhere and always dials. A guest that
knocks is called back once per knock, and forgotten if that fails: whatever strangers say, they make
this node dial no more often than they do.

Half-open connections and restarts are settled by what a hello carries. Its incarnation tells a
restart. Its number grows with every hello, and a node knocks, or dials, only while it has no link:
so a hello with a greater number than that of the link at hand proves that the peer has lost that
link, however alive it looks from here; and one with a smaller number is merely late.

With a password a link begins with a handshake (`link`, `cipher`), and so it does with certificates
(`tls`); all of the above holds for hellos that came sealed: others do not exist.

A peer's bad bytes cost its link and one line in the log. What waits for a peer is bounded by
`link_buffer_bytes`; beyond that, and without a link, `send` says False and Raft sends again.
"""

import asyncio
import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ..config import Config, is_nameless
from ..errors import ConfigError, ProtocolError
from .connection import Connection
from .dialling import Dialler
from .events import Broken, Event, Greeted, Refused
from .hello import Identity, dials, quoted
from .link import Link, Side
from .notices import Notices
from .passwords import load_keys
from .peers import Peers
from .sockets import BACKLOG, let_go, listen, stop_accepting

if TYPE_CHECKING:
    from .cipher import Keys
    from .tls import Contexts

_log = logging.getLogger("syncstructs.net")

# Accepted connections that have not greeted; one more, and some of them are closed.
STRANGER_COUNT = 256
# How many of them are closed at a time, so that who is to go is worked out once for all of these.
_MADE_ROOM = 16
# The loop takes no more connections at once, so that a flood of them does not make links wait.
_ACCEPTED_AT_ONCE = 16
# How many of those that wait to be accepted are closed, unheard, as room is made.
_SHED_AT_ONCE = 128
# A message is a little more than the entries, the call or the chunk that it carries.
_FRAME_SPARE_BYTES = 64 * 1024
# The source of what is said of this node itself.
_OWN = "host of this node"
# The source of all that is said of guests.
_GUESTS = "guests"
# How long `close` lets the kernel take what is still queued, in seconds.
_CLOSE_TIMEOUT = 0.5


class Transport:
    """The links of one node. Everything but the constructor belongs to the loop's thread.

    `peers` may contain `address` itself, which is left out. `incarnation` (0 to 2**64 - 1) must
    differ from that of the node's earlier lives. The callbacks get the address of a peer as it
    stands in `peers`, or that of a guest as it says; up and down alternate, with at most one link
    per address, and frames come in between. That a peer becomes a guest, or a guest a peer, is
    neither up nor down. `on_frames` is given what one read has brought; it may raise
    `ProtocolError`, which costs the link. After `close` nothing is called.

    Raises:
        ConfigError: one of `peers` is no address, or the files of `Config.tls` are of no use.
    """

    def __init__(
        self,
        *,
        address: str,
        peers: Collection[str],
        config: Config,
        incarnation: int,
        on_frames: Callable[[str, list[bytes]], object],
        on_link_up: Callable[[str], object],
        on_link_down: Callable[[str], object],
    ) -> None:
        assert 0 <= incarnation < 2**64, incarnation
        self.address = address
        self._config = config
        self._identity = Identity(
            cluster=config.cluster,
            address=address,
            incarnation=incarnation,
            limit_bytes=frame_limit_bytes(config),
        )
        self._on_frames = on_frames
        self._on_link_up = on_link_up
        self._on_link_down = on_link_down
        self._peers = Peers(address, peers)
        self._notices = Notices(_log)
        self._hello_number = 0
        self._servers: list[asyncio.Server] = []
        self._listening: list[socket.socket] = []
        # In the order of arrival: all whose socket may be open, and the accepted ones of them that
        # are no link.
        self._connections: dict[Connection, None] = {}
        self._strangers: dict[Connection, None] = {}
        self._written: list[Connection] = []
        self._dials = False
        self._closing = False
        self._closed = asyncio.Event()
        # Derived by `start`, before which there is no connection.
        self._keys: Keys | None = None
        self._certificates = _load_certificates(config, address)
        self._renewing: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dialler = Dialler(self, self._peers, config)

    # For the node

    async def start(self) -> None:
        """Listen on `Config.bind`, or the own address, and begin to dial.

        With a password this takes some 0.3 s of another thread first, once per process.

        Raises:
            BindError: the address is in use, not of this machine, or its name does not resolve.
        """
        loop = self._loop = asyncio.get_running_loop()
        self._keys = await load_keys(self._config)
        if self._closing:
            return
        await self._listen(loop)
        self._begin_to_dial(loop)

    async def _listen(self, loop: asyncio.AbstractEventLoop) -> None:
        sockets = []
        if not is_nameless(self.address):
            sockets = await listen(self._config.bind or self.address)
        try:
            while sockets and not self._closing:
                server = await loop.create_server(
                    self._accept, sock=sockets[0], backlog=_ACCEPTED_AT_ONCE
                )
                # For the loop that was the number to accept at once; it told the system the same.
                sockets[0].listen(BACKLOG)
                self._servers.append(server)
                self._listening.append(sockets.pop(0))
        finally:
            for sock in sockets:
                sock.close()

    def _begin_to_dial(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closing:
            return
        if self._certificates is not None:
            self._renewing = loop.create_task(self._renew(self._certificates))
            self._renewing.add_done_callback(_log_failure)
        self._dials = True
        for peer in self._peers.members.values():
            if peer.dialling is None:
                self._dialler.dial(peer)

    def set_peers(self, peers: Collection[str]) -> None:
        """Keep links to exactly these from now on; `address` itself is left out.

        New ones are dialled, and a guest among them keeps its link. Those that are no peers any
        more are dialled no more at once, but an existing link becomes that of a guest: the last
        message can still go out, and the other side decides when it ends.

        Raises:
            ConfigError: one of them is no address; nothing has changed then.
        """
        joined, left = self._peers.set_members(peers)
        for peer in left:
            peer.stop_dialling("it is no peer any more")
            self._peers.forget(peer)
        if self._closing:
            return
        for peer in joined:
            if peer.connection is not None:
                peer.connection.widen()
            # One that is being called back just now is dialled as that ends.
            if self._dials and peer.dialling is None:
                self._dialler.dial(peer)

    def send(self, peer: str, payload: bytes) -> bool:
        """Send a frame; False if it was dropped: no link, or too much is queued for the peer.

        A guest can be sent to as a peer can. True is no promise that it arrives. Frames
        arrive in order, whole, or not at all.
        """
        known = self._peers.get(peer)
        connection = known.connection if known is not None else None
        if connection is None or not connection.link.is_whole:
            return False
        if len(payload) > connection.link.limit_bytes:
            self.notice(
                peer,
                f"a message of {len(payload)} bytes to {peer} is over the limit of"
                f" {connection.link.limit_bytes} bytes; the size limits of the members differ",
                level=logging.ERROR,
            )
            return False
        if not connection.at_rest:
            return connection.enqueue(payload)
        connection.write(payload)
        if not self._written:
            assert self._loop is not None
            self._loop.call_soon(self._release)
        self._written.append(connection)
        return True

    def connected(self, peer: str) -> bool:
        """Return whether there is a link to `peer`, which may be a guest."""
        known = self._peers.get(peer)
        return known is not None and known.connection is not None

    def links(self) -> tuple[str, ...]:
        """Return the peers to which there is a link, in the order of `peers`."""
        members = self._peers.members.items()
        return tuple(name for name, peer in members if peer.connection is not None)

    def guests(self) -> tuple[str, ...]:
        """Return the other nodes to which there is a link, in the order in which they came."""
        guests = self._peers.guests.items()
        return tuple(name for name, guest in guests if guest.connection is not None)

    def queued_bytes(self, peer: str) -> int:
        """Return how many bytes wait for `peer` to read; 0 without a link."""
        known = self._peers.get(peer)
        return known.connection.queued_bytes if known and known.connection else 0

    async def close(self) -> None:
        """Close every socket and end every task, within about a second; may be called again."""
        if self._closing:
            await self._closed.wait()
            return
        self._closing = True
        try:
            for server in self._servers:
                stop_accepting(server)
            self._dialler.stop()
            if self._renewing is not None:
                self._renewing.cancel()
            await asyncio.sleep(0)
            for server in self._servers:
                server.close()
            for connection in list(self._connections):
                connection.release()
                connection.end("this node is closing", flush=True)
            await self._gone(_CLOSE_TIMEOUT)
        finally:
            for connection in list(self._connections):
                connection.abort()
            self._closed.set()
        await self._gone(_CLOSE_TIMEOUT)
        for server in self._servers:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(server.wait_closed(), _CLOSE_TIMEOUT)

    def abandon(self) -> None:
        """Let go of what a loop that was closed has left open: the port, and the peers' links.

        In any thread; `close` needs a loop that runs. The memory of the links' sockets goes with
        the loop.
        """
        self._closing = True
        for sock in self._listening:
            sock.close()
        for connection in list(self._connections):
            connection.shut()

    def let_go(self) -> None:
        """In a forked child: keep neither the port nor the links, which are the parent's."""
        ours = [sock.fileno() for sock in self._listening]
        let_go([*ours, *(connection.fileno() for connection in list(self._connections))])

    async def _gone(self, timeout: float) -> None:
        """Wait until there is neither a task nor a socket, for `timeout` seconds at most."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        tasks = self._dialler.tasks
        while (tasks or self._connections) and (left := deadline - clock()) > 0:
            closed = [connection.closed for connection in self._connections]
            await asyncio.wait(
                [*tasks, *closed], timeout=left, return_when=asyncio.FIRST_COMPLETED
            )

    # Accepting

    def _accept(self) -> Connection:
        return self._connection("acceptor", self._config.connect_timeout)

    def _connection(self, side: Side, timeout: float, dialled: str | None = None) -> Connection:
        connection = Connection(
            self,
            Link(
                side, identity=self._identity, dialled=dialled, keys=self._keys,
                certificates=self._certificates,
            ),
            greeting_timeout=max(timeout, 0.0),
            silence_timeout=self._config.connect_timeout,
            buffer_bytes=self._config.link_buffer_bytes,
        )
        self._connections[connection] = None
        return connection

    # For the dialler (`dialling.Owner`)

    def dialled(self, name: str, timeout: float) -> Connection:
        return self._connection("dialer", timeout, dialled=name)

    def notice(self, source: str, sentence: str, *, level: int = logging.WARNING) -> None:
        """Log a sentence about a node or a `host ...`, unless it is known already."""
        if self._closing:
            return
        member = source in self._peers.members or source == _OWN
        if not member and not source.startswith("host "):
            # Guests choose their addresses: each a source of its own would be told of.
            source = _GUESTS
        self._notices.once(source, level, sentence, member=member)

    # What connections report (`connection.Owner`)

    def made(self, connection: Connection) -> None:
        dialled = connection.link.dialled
        if self._closing or connection.has_ended:
            connection.abort()
        elif dialled is None:
            self._make_room()
            self._strangers[connection] = None
        elif self.connected(dialled):
            # A knock would be taken for the loss of this link.
            connection.end("there is a link meanwhile")
        else:
            connection.link.greet(self._next_number())

    def _make_room(self) -> None:
        """Close some strangers if there are as many as may be, and the new one is one more.

        Whoever has proved itself is a member on its way, or a recording; who has not may be a
        member that is about to. Neither is closed while its kind has less than half of the room:
        so no flood of the others keeps it out. Of a kind those go whose host has most strangers,
        the oldest first, as a member greets within milliseconds: so of whoever was accepted, a host
        that floods this node keeps out only its own.
        """
        if len(self._strangers) < STRANGER_COUNT:
            return
        crowd = Counter(stranger.host for stranger in self._strangers)
        proved_count = sum(stranger.link.is_proved for stranger in self._strangers)
        kind = proved_count > STRANGER_COUNT // 2
        those = [stranger for stranger in self._strangers if stranger.link.is_proved == kind]
        for stranger in sorted(those, key=lambda one: -crowd[one.host])[:_MADE_ROOM]:
            del self._strangers[stranger]
            stranger.abort()
        self._shed()

    def _shed(self) -> None:
        """Close whatever waits to be accepted, of any host, as there is no room for more.

        Else the queue grows until whoever is in it has given up before it is heard, for as long as
        they go on coming; who is closed tries again within `Config.reconnect_interval_max`.
        """
        for sock in self._listening:
            # BlockingIOError: nobody waits.
            with contextlib.suppress(OSError):
                for _ in range(_SHED_AT_ONCE):
                    sock.accept()[0].close()

    def happened(self, connection: Connection, event: Event) -> None:
        if isinstance(event, Greeted):
            self._greeted(connection, event)
        elif isinstance(event, Refused):
            self._refused(connection, event)
        elif isinstance(event, Broken):
            self._broken(connection, event.reason)

    def framed(self, connection: Connection, payloads: list[bytes]) -> None:
        assert connection.peer is not None, connection.link.state
        try:
            self._on_frames(connection.peer, payloads)
        except ProtocolError as error:
            self._broken(connection, quoted(str(error)))

    def ended(self, connection: Connection, reason: str) -> None:
        peer = None if connection.peer is None else self._peers.get(connection.peer)
        if peer is None or peer.connection is not connection or connection.opened_at is None:
            return
        age = asyncio.get_running_loop().time() - connection.opened_at
        peer.unlink(early=age < self._config.reconnect_interval_max)
        self._peers.forget(peer)
        if not self._closing:
            _log.log(self._level(peer.name), "the link to %s is down: %s", peer.name, reason)
            self._on_link_down(peer.name)

    def gone(self, connection: Connection) -> None:
        self._connections.pop(connection, None)
        self._strangers.pop(connection, None)

    def _greeted(self, connection: Connection, event: Greeted) -> None:
        name = event.address
        own_dials = dials(self.address, name)
        if connection.link.side == "dialer":
            if own_dials:
                self._adopt(connection, name)
            else:
                connection.end("the knock was heard")
            return
        if not self._peers.has_room(name):
            self._turn_away(connection, name)
            return
        known = self._peers.get(name)
        current = None if known is None else known.connection
        news = current is None or _supersedes(event, current)
        if own_dials:
            connection.link.greet(self._next_number())
            connection.end("the knock was heard", flush=True)
            if news:
                if current is not None:
                    current.end("the peer has lost it")
                # The callback of the link that was lost may have done anything, `close` included.
                peer = None if self._closing else self._peers.admit(name)
                if peer is not None:
                    self._dialler.wake(peer)
        elif news:
            connection.link.greet(self._next_number())
            connection.flush_greeting()
            self._adopt(connection, name)
        else:
            connection.end("there is a newer link")

    def _turn_away(self, connection: Connection, name: str) -> None:
        own = quoted(self.address)
        reason = f"{own} has {self._peers.limit(name)} guests, and no room for {quoted(name)}"
        connection.link.refuse(reason)
        connection.was_refused = True
        source = f"host {connection.host}"
        self.notice(source, f"refused a link with {source}: {reason}")
        connection.end("it was refused", flush=True)

    def _adopt(self, connection: Connection, name: str) -> None:
        """Make `connection` the link to the node `name`, a guest if it was not known."""
        former = self._peers.get(name)
        if former is not None and former.connection is not None:
            former.connection.end("the peer has a newer one")
        # The callback of that may have done anything, `close` and `set_peers` included; and a guest
        # is forgotten by now.
        late = self._closing or connection.has_ended
        peer = None if late else self._peers.admit(name)
        if peer is None or peer.connection is not None:
            connection.end("it came too late")
            return
        self._strangers.pop(connection, None)
        peer.link(connection)
        connection.opened(name, guest=self._peers.is_guest(peer))
        if name in self._peers.members:
            self._notices.forget(name)
        _log.log(self._level(name), "the link to %s is up", name)
        self._on_link_up(name)

    def _refused(self, connection: Connection, event: Refused) -> None:
        connection.was_refused = True
        source = who = connection.link.dialled or f"host {connection.host}"
        # Without a proof anybody may claim it, and have the log hear no more of that member.
        claimed = event.address if connection.link.is_proved else None
        if connection.link.dialled is None and claimed in self._peers.members:
            assert claimed is not None
            source, who = claimed, f"{claimed} (from host {connection.host})"
        if event.by_peer:
            doubt = " (in clear, so anybody may have said it)" if event.in_clear else ""
            self.notice(source, f"{who} refused this node{doubt}: {quoted(event.reason, 500)}")
        else:
            self.notice(source, f"refused a link with {who}: {event.reason}")
        connection.end("it was refused", flush=not event.by_peer)

    def _broken(self, connection: Connection, reason: str) -> None:
        connection.was_refused = True
        source = connection.peer or connection.link.dialled or f"host {connection.host}"
        self.notice(source, f"closed a connection with {source}: {reason}")
        connection.end("the peer broke the protocol")

    # Small things

    async def _renew(self, certificates: "Contexts") -> None:
        """Have links that begin from now on use the certificates that are in the files now."""
        loop = asyncio.get_running_loop()
        while True:
            left = certificates.days_left()
            if left is not None:
                ends = f"ends in {left:.0f} days" if left > 0 else "has ended, so no link begins"
                self.notice(_OWN, f"the certificate of this node {ends}")
            await asyncio.sleep(certificates.reload_seconds)
            try:
                if await loop.run_in_executor(None, certificates.reload):
                    self._notices.forget(_OWN)
                    _log.info("the certificates were read again, for links that begin now")
            except ConfigError as error:
                self.notice(_OWN, f"{error}; links that begin go on with the former ones")

    def _release(self) -> None:
        written, self._written = self._written, []
        for connection in written:
            connection.release()

    def _level(self, name: str) -> int:
        # Guests may come and go as often as they like, each time under another name.
        return logging.INFO if name in self._peers.members else logging.DEBUG

    def _next_number(self) -> int:
        self._hello_number += 1
        return self._hello_number

    def _check(self) -> None:
        self._notices._check()
        assert len(self._strangers) <= STRANGER_COUNT, len(self._strangers)
        for connection in self._connections:
            if not connection.has_ended:
                connection._check()
        self._peers._check()
        for name, peer in (*self._peers.members.items(), *self._peers.guests.items()):
            if peer.connection is not None:
                link = peer.connection.link
                assert peer.connection.peer == name, (peer.connection.peer, name)
                assert not peer.connection.has_ended, name
                assert peer.connection in self._connections, name
                assert (link.side == "dialer") == dials(self.address, name), (name, link.side)


def frame_limit_bytes(config: Config) -> int:
    """Return the size of the largest frame that a node with `config` takes."""
    parts = config.max_command_bytes + config.append_bytes + config.chunk_bytes
    # Entries that stand in the log already may be larger than what is allowed now.
    return min(parts + config.batch_bytes + _FRAME_SPARE_BYTES, 2**32 - 1)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("certificates are read again no more, which is a bug", exc_info=error)


def _load_certificates(config: Config, address: str) -> "Contexts | None":
    if config.tls is None:
        return None
    # Not above: some Pythons are built without what it needs.
    from .tls import Contexts

    return Contexts(config.tls, address)


def _supersedes(event: Greeted, link: Connection) -> bool:
    """Return whether the peer said this hello later than the one that made `link`."""
    known = link.link.peer
    assert known is not None, link.peer
    return event.incarnation != known.incarnation or event.number > known.number
