"""The world an engine lives in: its clock, chance, loop, stores and links. Really one machine.

A simulator puts another in its place with `inside`: every node that is made within the block,
by whatever program, then lives there, and not a line of it is different.
"""

import secrets
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from ..config import Config, Drive
from ..net.transport import Transport
from .digester import make_digester
from .ports import Digester, Links, Snapshotter
from .runners import Loop, make_runner
from .snapshotter import make_snapshotter
from .stores import Stores, open_stores


class Network(Links, Protocol):
    """The links of one node, and their beginning and end."""

    async def start(self) -> None:
        """Listen, and begin to reach the peers.

        Raises:
            BindError: the address cannot be had.
        """

    def links(self) -> tuple[str, ...]:
        """Return the peers to which there is a link."""

    def guests(self) -> tuple[str, ...]:
        """Return the other nodes of the cluster to which there is a link."""

    def set_peers(self, peers: Collection[str]) -> None:
        """Keep links to exactly these from now on; links to others are as those of guests.

        That a peer becomes a guest, or a guest a peer, costs no link and calls nothing back.
        """

    async def close(self) -> None:
        """Cut all links; nothing is called back after that."""

    def abandon(self) -> None:
        """Let go of the port and the links where the loop was closed; in any thread."""

    def let_go(self) -> None:
        """In a forked child: keep neither the port nor the links, which are the parent's."""


class World(Protocol):
    """What an engine asks for when it is made; see `Machine` for what each of them is."""

    def now(self) -> float:
        """Return a clock that never goes back, in seconds; only differences mean anything."""

    def wall_time(self) -> float:
        """Return the time of day, in seconds since 1970; somebody may set it at any time."""

    def random_bits(self, count: int) -> int:
        """Return a number of so many bits that nobody can foresee."""

    def name(self) -> str:
        """Return what a node without an address is to call itself; no other one ever does."""

    def loop(self, drive: Drive, name: str) -> Loop:
        """Return what will run the node's callbacks."""

    def stores(
        self,
        address: str,
        members: tuple[str, ...],
        config: Config,
        post: Callable[[Callable[[], object]], object],
    ) -> Stores:
        """Open what `config` asks for; see `open_stores`."""

    def snapshotter(self, stores: Stores, config: Config) -> Snapshotter:
        """Return what writes snapshots of the node's state."""

    def digester(self, stores: Stores) -> Digester:
        """Return what takes digests of the node's objects."""

    def network(
        self,
        *,
        address: str,
        peers: Collection[str],
        config: Config,
        incarnation: int,
        on_frames: Callable[[str, list[bytes]], object],
        on_link_up: Callable[[str], object],
        on_link_down: Callable[[str], object],
    ) -> Network:
        """Return the node's links, not started yet; see `Transport`."""


class Machine:
    """The machine that runs this program."""

    # The function itself: it is asked some ten times for each call of the user's.
    now = staticmethod(time.monotonic)
    """Return the monotonic clock in seconds."""
    wall_time = staticmethod(time.time)
    """Return the clock of the operating system, in seconds since 1970."""

    def random_bits(self, count: int) -> int:
        """Return bits of the operating system."""
        return secrets.randbits(count)

    def name(self) -> str:
        """Return a name by chance, of 64 bits."""
        return f"observer-{secrets.token_hex(8)}"

    def loop(self, drive: Drive, name: str) -> Loop:
        """Return a thread, the running asyncio loop, or one for `tick`."""
        return make_runner(drive, name)

    def stores(
        self,
        address: str,
        members: tuple[str, ...],
        config: Config,
        post: Callable[[Callable[[], object]], object],
    ) -> Stores:
        """Open the data directory, or memory."""
        return open_stores(address, members, config, post)

    def snapshotter(self, stores: Stores, config: Config) -> Snapshotter:
        """Return one that forks for large states where that is possible."""
        return make_snapshotter(
            stores.snapshots, stores.snapshot_worker, stores.children, config.snapshot_fork_bytes
        )

    def digester(self, stores: Stores) -> Digester:
        """Return one that forks for large states where that is possible."""
        return make_digester(stores.children)

    def network(self, **settings: Any) -> Network:
        """Return links over TCP."""
        return Transport(**settings)


_MACHINE = Machine()
_current: ContextVar[World] = ContextVar("syncstructs.world", default=_MACHINE)


def current_world() -> World:
    """Return the world in which a node would be made here and now."""
    return _current.get()


@contextmanager
def inside(world: World) -> Iterator[None]:
    """Make the nodes of a `with` block live in `world`."""
    token = _current.set(world)
    try:
        yield
    finally:
        _current.reset(token)
