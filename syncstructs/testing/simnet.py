"""The simulated network: connections between lives of nodes, and everything that befalls them.

Two nodes are connected while one of them has the other among its peers; if only one has, it is a
guest of the other, as with the real transport. Dials and knocks are not played: whatever they are,
a link follows some time later.

A connection is made, carries messages both ways in order, and breaks, as one of TCP does. What a
network may do to it is drawn or told: delay, a narrow bandwidth, a direction that is cut (what is
sent waits, and arrives late or is lost with the connection), a reset, a peer that vanished without
a word. `framing` runs every byte through the real `net.link.Link`, greeting included, in pieces
of any size, so that a break comes in mid-frame, and sealed where the nodes have a password; without
it whole payloads are handed over, which is cheaper. `datagrams` goes beyond TCP: messages of a
connection are lost, doubled and overtaken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass
from hashlib import sha256
from math import log
from random import Random
from typing import TYPE_CHECKING
from zlib import crc32

from ..config import Config
from ..net.events import Broken, FrameReceived, Greeted, Refused
from ..net.hello import Identity, dials
from ..net.link import Link, State
from ..net.transport import frame_limit_bytes

if TYPE_CHECKING:
    from ..net.cipher import Keys
    from .hosts import Life
    from .schedule import Schedule


@dataclass(slots=True)
class NetworkFaults:
    """How bad the network is now. Times in seconds, rates are probabilities per message."""

    delay: float = 0.001
    """Mean of the random part of a message's delay (exponential)."""
    delay_min: float = 0.0002
    """The part that every message takes."""
    bytes_per_second: float = 0.0
    """Bandwidth of each direction of a connection; 0: without limit."""
    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    """These three only with `datagrams`: a reordered message takes up to ten times as long."""
    connect_delay: float = 0.01
    """Mean time until a lost connection is made anew."""


class SimNetwork:
    """All links of a cluster. `cut` and `heal` work on directions: (sender, receiver)."""

    def __init__(
        self, schedule: Schedule, random: Random, *, framing: bool = False, datagrams: bool = False
    ) -> None:
        self.schedule = schedule
        self.random = random
        self._chance = random.random
        self.framing = framing
        self.datagrams = datagrams
        self.faults = NetworkFaults()
        self.message_count = 0
        self.trace = 0
        """A checksum of all messages in the order in which they were sent, and of when."""
        self.connection_count = 0
        self._links: dict[str, SimLinks] = {}
        self._cut: dict[tuple[str, str], bool] = {}
        self._slow: dict[tuple[str, str], tuple[float, float]] = {}
        self._connecting: set[tuple[str, str]] = set()

    # What a nemesis does

    def cut(self, sender: str, receiver: str, *, keep: bool = False) -> None:
        """Let nothing through from `sender` to `receiver`.

        `keep`: what is sent meanwhile is delivered when the cut heals, as TCP does after a short
        interruption. Otherwise it is lost, and their connection with it when the cut heals.
        """
        self._cut[sender, receiver] = keep

    def cut_off(self, address: str, *, keep: bool = False) -> None:
        """Cut both directions between a node and all others."""
        for other in self._links:
            if other != address:
                self.cut(address, other, keep=keep)
                self.cut(other, address, keep=keep)

    def heal(self, sender: str, receiver: str) -> None:
        """End a cut of one direction."""
        keep = self._cut.pop((sender, receiver), None)
        connection = self._between(sender, receiver)
        if keep is None or connection is None:
            return
        if keep or self.datagrams:
            connection.release(sender)
        else:
            connection.break_()

    def heal_all(self) -> None:
        """End all cuts, delays and losses."""
        for sender, receiver in list(self._cut):
            self.heal(sender, receiver)
        self._slow.clear()
        self.faults = NetworkFaults()

    def reset(self, a: str, b: str) -> None:
        """Break the connection between two nodes, with what is on the way; a new one follows."""
        connection = self._between(a, b)
        if connection is not None:
            connection.break_()

    def slow_down(self, sender: str, receiver: str, delay: float, until: float) -> None:
        """Let every message of one direction take `delay` seconds more, until the true time."""
        self._slow[sender, receiver] = (delay, until)

    def is_cut(self, sender: str, receiver: str) -> bool:
        """Return whether nothing gets through from `sender` to `receiver`."""
        return (sender, receiver) in self._cut

    def keys(self, config: Config) -> Keys | None:
        """Return what links of a node with `config` are sealed with; what they hide is no secret.

        As if passwords were long and by chance: nothing makes them dear to guess.
        """
        if not self.framing or config.password is None:
            return None
        # The package that it needs is there if there is a password.
        from ..net.cipher import Keys

        psks = [
            sha256(f"{config.cluster}/{password}".encode()).digest()
            for password in (config.password, *config.accepted_passwords)
        ]
        return Keys(psks[0], psks[1:], self.random.randbytes)

    @property
    def has_cuts(self) -> bool:
        """Whether any direction is cut."""
        return bool(self._cut)

    # For links

    def _between(self, a: str, b: str) -> Connection | None:
        links = self._links.get(a)
        return links.connections.get(b) if links is not None else None

    def arrive(self, links: SimLinks) -> None:
        """Let a node that listens now be reached."""
        former = self._links.get(links.address)
        if former is not None and not former.over:
            former.die(silently=False)
        self._links[links.address] = links
        for peer in links.peers:
            self.connect_soon(links.address, peer)
        for other in self._links.values():
            if links.address in other.peers and other.address not in links.peers:
                self.connect_soon(links.address, other.address)
            elif other is not links and not _is_wanted(links, other):
                self._forget_former_life(links, other)

    def _forget_former_life(self, links: SimLinks, other: SimLinks) -> None:
        """Let a guest hear at last that a life ended without a word; nothing else would tell."""
        stale = other.connections.get(links.address)
        if stale is not None:
            stale.break_(again=False)

    def set_peers(self, links: SimLinks, former: Collection[str]) -> None:
        """Let a node that has other peers than before reach the new ones."""
        if self._links.get(links.address) is not links or links.over:
            return
        for peer in links.peers:
            if peer not in former:
                self.connect_soon(links.address, peer)
        for peer, connection in list(links.connections.items()):
            if peer not in links.up and not _is_wanted(links, connection.other(links)):
                # The greeting is broken off, as dialling ends.
                connection.break_(again=False)

    def connect_soon(self, a: str, b: str) -> None:
        """Have the two try to connect some time from now, again and again."""
        pair = (a, b) if a < b else (b, a)
        if pair not in self._connecting:
            self._connecting.add(pair)
            pause = self.random.expovariate(1.0) * self.faults.connect_delay
            self.schedule.at(self.schedule.now + pause, self._connect, pair)

    def _connect(self, pair: tuple[str, str]) -> None:
        self._connecting.discard(pair)
        one, other = self._links.get(pair[0]), self._links.get(pair[1])
        if one is None or other is None or one.over or other.over:
            return  # whoever comes back calls
        if not _is_wanted(one, other):
            return  # nobody restores the link of a guest
        if self._cut and (pair in self._cut or pair[::-1] in self._cut):
            self.connect_soon(*pair)
            return
        stale = one.connections.get(pair[1]) or other.connections.get(pair[0])
        if stale is not None:
            if stale.is_whole:
                return
            # One side died without a word, and is back.
            stale.break_(again=False)
        self.connection_count += 1
        Connection(self, one, other).begin()

    def arrival(self, pair: tuple[str, str], size: int) -> float:
        """Return when a message arrives that is sent now; `pair`: its sender and receiver."""
        faults = self.faults
        random = self._chance
        # The logarithm of 0, which is as good as never drawn, is taken for -36.
        number = random()
        pause = faults.delay_min - faults.delay * (log(number) if number else -36.0)
        if faults.bytes_per_second:
            pause += size / faults.bytes_per_second
        if self.datagrams and faults.reordering and random() < faults.reordering:
            pause *= 1 + 9 * random()
        now = self.schedule.now
        if self._slow:
            slow = self._slow.get(pair)
            if slow is not None:
                if now < slow[1]:
                    pause += slow[0]
                else:
                    del self._slow[pair]
        return now + pause


class SimLinks:
    """The links of one life of a node: what `net.transport.Transport` is in the real world."""

    def __init__(
        self,
        network: SimNetwork,
        life: Life,
        *,
        address: str,
        peers: Collection[str],
        config: Config,
        incarnation: int,
        on_frames: Callable[[str, list[bytes]], object],
        on_link_up: Callable[[str], object],
        on_link_down: Callable[[str], object],
    ) -> None:
        self.address = address
        self.peers = _others(peers, address)
        self.life = life
        self.over = False
        self.connections: dict[str, Connection] = {}
        self.up: dict[str, Connection] = {}
        self.on_frames = on_frames
        self.on_link_up = on_link_up
        self.on_link_down = on_link_down
        self.buffer_bytes = config.link_buffer_bytes
        self.identity = Identity(
            cluster=config.cluster,
            address=address,
            incarnation=incarnation,
            limit_bytes=frame_limit_bytes(config),
        )
        self.keys = network.keys(config)
        self._network = network

    async def start(self) -> None:
        """Listen."""
        self._network.arrive(self)

    def send(self, peer: str, payload: bytes) -> bool:
        """Send a frame; False if there is no link, or too much waits for the peer."""
        life = self.life
        host = life.host
        if host.crash_after >= 0:
            # A crash may be due before it is sent.
            host.effect()
        host.watcher.sends(life, peer, payload)
        connection = self.up.get(peer)
        if connection is None:
            return False
        return connection.send(self.address, payload)

    def links(self) -> tuple[str, ...]:
        """Return the peers to which there is a link, in the order of `peers`."""
        return tuple(peer for peer in self.peers if peer in self.up)

    def guests(self) -> tuple[str, ...]:
        """Return the other nodes to which there is a link, in the order in which they came."""
        return tuple(other for other in self.up if other not in self.peers)

    def set_peers(self, peers: Collection[str]) -> None:
        """Keep links to exactly these from now on; see `Transport.set_peers`."""
        former, self.peers = self.peers, _others(peers, self.address)
        self._network.set_peers(self, former)

    async def close(self) -> None:
        """Break all links; the peers are told."""
        self.die(silently=False)

    def abandon(self) -> None:
        """End; nothing is left here that a loop would have to close."""
        self.die(silently=False)

    def let_go(self) -> None:
        """Do nothing: there is nothing here that a forked child would share."""

    def die(self, *, silently: bool) -> None:
        """End; `silently`: as in a power cut, so that no peer hears of it."""
        if self.over:
            return
        self.over = True
        for connection in list(self.connections.values()):
            connection.left(self, silently=silently)
        self.connections.clear()
        self.up.clear()


class _Lane:
    """One direction of a connection, and what is on the way there."""

    __slots__ = ("end", "flight", "held_bytes", "last", "owed", "pair", "sender")

    def __init__(self, sender: SimLinks, end: SimLinks) -> None:
        self.sender = sender.address
        self.end = end
        """Where it leads."""
        self.pair = (sender.address, end.address)
        self.last = 0.0
        """When the last message arrives: nothing overtakes anything."""
        self.flight: deque[bytes] = deque()
        """In order; and how much of it has come as far as a cut."""
        self.owed = 0
        self.held_bytes = 0


class Connection:
    """One connection; `ends[0]` dialled. It is over for good once it has broken."""

    __slots__ = ("_ends", "_lanes", "_links", "_network", "broken")

    def __init__(self, network: SimNetwork, one: SimLinks, other: SimLinks) -> None:
        one_dials = dials(one.address, other.address)
        dialer, acceptor = (one, other) if one_dials else (other, one)
        self._network = network
        self._ends = (dialer, acceptor)
        self._links: dict[str, Link] = {}
        # By sender.
        self._lanes = {
            dialer.address: _Lane(dialer, acceptor), acceptor.address: _Lane(acceptor, dialer)
        }  # fmt: skip
        self.broken = False
        dialer.connections[acceptor.address] = self
        acceptor.connections[dialer.address] = self

    def begin(self) -> None:
        """Greet, or be up at once if there is no framing."""
        dialer, acceptor = self._ends
        if not self._network.framing:
            for lane in (self._lanes[acceptor.address], self._lanes[dialer.address]):
                end = lane.end
                when = lane.last = self._network.arrival(lane.pair, 0)
                self._network.schedule.at(when, end.life.execute, self._up, end, lane.sender)
            return
        links = self._links
        links[dialer.address] = Link(
            "dialer", identity=dialer.identity, dialled=acceptor.address, keys=dialer.keys
        )
        links[acceptor.address] = Link(
            "acceptor", identity=acceptor.identity, keys=acceptor.keys
        )
        links[dialer.address].greet(self._network.connection_count)
        self._flush(dialer)

    @property
    def is_whole(self) -> bool:
        """Whether both sides know of it and live."""
        return not self.broken and not any(end.over for end in self._ends)

    def other(self, end: SimLinks) -> SimLinks:
        """Return the other side."""
        return self._lanes[end.address].end

    def send(self, sender: str, payload: bytes) -> bool:
        """Carry a frame from `sender`; False if too much waits."""
        network, lane = self._network, self._lanes[sender]
        limit = min(end.identity.limit_bytes for end in self._ends)
        assert len(payload) <= limit, f"{len(payload)} bytes to {lane.end.address}, over {limit}"
        network.message_count += 1
        network.trace = crc32(payload, network.trace ^ int(network.schedule.now * 1e6) & 0xFFFFFFFF)
        if lane.held_bytes > lane.end.buffer_bytes:
            return False
        if network.framing:
            payload = self._links[sender].frames((payload,))
        self._transmit(lane, payload)
        return True

    def release(self, sender: str) -> None:
        """Let go what a cut has held up."""
        lane = self._lanes[sender]
        owed, lane.owed = lane.owed, 0
        lane.held_bytes = 0
        schedule = self._network.schedule
        for _ in range(owed):
            schedule.soon(self._arrive, lane)

    def break_(self, *, again: bool = True) -> None:
        """End the connection: what is on the way is lost, and both sides hear of it."""
        if self.broken:
            return
        self.broken = True
        for end in self._ends:
            if not end.over:
                end.life.soon(self._down, end, self.other(end).address)
        if again:
            self._network.connect_soon(self._ends[0].address, self._ends[1].address)

    def left(self, end: SimLinks, *, silently: bool) -> None:
        """Note that one side is gone; the other one hears of it now, or when that is back."""
        if self.broken:
            return
        if not silently:
            self.broken = True
            lane = self._lanes[end.address]
            other = lane.end
            if not other.over:
                when = self._network.arrival(lane.pair, 0)
                self._network.schedule.at(when, other.life.execute, self._down, other, end.address)

    # On the way

    def _transmit(self, lane: _Lane, piece: bytes) -> None:
        network = self._network
        schedule = network.schedule
        when = network.arrival(lane.pair, len(piece))
        if network.datagrams and not network.framing:
            self._throw(lane, piece, when)
            return
        if network._cut and lane.pair in network._cut:
            lane.held_bytes += len(piece)
        # Nothing overtakes anything.
        if when <= lane.last:
            when = lane.last
        lane.last = when
        if network.framing and len(piece) > 1 and network._chance() < 0.3:
            split = network.random.randrange(1, len(piece))
            lane.flight.append(piece[:split])
            schedule.at(when, self._arrive, lane)
            piece = piece[split:]
        lane.flight.append(piece)
        schedule.at(when, self._arrive, lane)

    def _throw(self, lane: _Lane, datagram: bytes, when: float) -> None:
        """Send a message that nothing binds to those before it."""
        network = self._network
        if network._cut and lane.pair in network._cut:
            return
        faults, random = network.faults, network._chance
        if faults.loss and random() < faults.loss:
            return
        schedule = network.schedule
        schedule.at(when, self._land, lane, datagram)
        if faults.duplication and random() < faults.duplication:
            later = when + faults.delay * 5 * random()
            schedule.at(later, self._land, lane, datagram)

    def _land(self, lane: _Lane, datagram: bytes) -> None:
        cut = self._network._cut
        if not self.broken and not (cut and lane.pair in cut):
            lane.end.life.execute(self._take_in, lane, datagram)

    def _arrive(self, lane: _Lane) -> None:
        """Let the next piece in order arrive."""
        if self.broken:
            return
        network = self._network
        if network._cut:
            keep = network._cut.get(lane.pair)
            if keep is not None:
                # A stream has no gaps: it waits, and dies if the cut loses things.
                if keep or network.framing:
                    lane.owed += 1
                else:
                    lane.flight.popleft()
                return
        receive = self._receive if network.framing else self._take_in
        lane.end.life.execute(receive, lane, lane.flight.popleft())

    def _take_in(self, lane: _Lane, payload: bytes) -> None:
        end, sender = lane.end, lane.sender
        if end.up.get(sender) is self:
            end.on_frames(sender, [payload])

    def _receive(self, lane: _Lane, piece: bytes) -> None:
        end, sender = lane.end, lane.sender
        if self.broken or end.over:
            return
        link = self._links[end.address]
        greets = link.state is not State.OPEN
        for event in link.receive(piece):
            if isinstance(event, FrameReceived):
                end.on_frames(sender, [event.payload])
            elif isinstance(event, Greeted):
                if link.side == "acceptor":
                    link.greet(self._network.connection_count)
                self._up(end, sender)
            else:
                assert isinstance(event, Refused | Broken)
                raise AssertionError(f"{end.address} and {sender}: {event.reason}")
        if greets:
            self._flush(end)

    def _flush(self, end: SimLinks) -> None:
        words = self._links[end.address].data_to_send()
        if words:
            self._transmit(self._lanes[end.address], words)

    def _up(self, end: SimLinks, peer: str) -> None:
        if not self.broken and not end.over:
            end.up[peer] = self
            end.on_link_up(peer)

    def _down(self, end: SimLinks, peer: str) -> None:
        if end.connections.get(peer) is self:
            del end.connections[peer]
        if end.up.get(peer) is self:
            del end.up[peer]
            end.on_link_down(peer)
        if not end.over:
            self._network.connect_soon(end.address, peer)


def _others(peers: Collection[str], own: str) -> tuple[str, ...]:
    return tuple(peer for peer in dict.fromkeys(peers) if peer != own)


def _is_wanted(one: SimLinks, other: SimLinks) -> bool:
    """Return whether one of two nodes keeps a link to the other; the other has a guest then."""
    return other.address in one.peers or one.address in other.peers
