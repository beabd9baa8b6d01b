"""Dialling: the tasks that reach members again and again, and call guests back once.

Of what is reached, its connection reports to the transport; here it only matters whether the peer
has a link now, and how long to pause if it has not.
"""

import asyncio
import logging
import random
from collections.abc import Coroutine
from typing import Any, Protocol, TypeVar

from ..config import Config
from .connection import Connection
from .peer import Peer, pause_after
from .peers import Peers
from .sockets import Target, explain, resolve

T = TypeVar("T")
_log = logging.getLogger("syncstructs.net")

# So many knocks without a link, and it is said in the log.
_VAIN_KNOCKS = 8
# Names of guests that are looked up at a time: each occupies a thread of the loop's executor, which
# has five at least, and those of members need one.
_GUEST_LOOKUPS = 2


class Owner(Protocol):
    """Whose peers are dialled."""

    address: str

    def dialled(self, name: str, timeout: float) -> Connection:
        """Return a new connection for a dial to `name` that may take so many seconds."""

    def notice(self, source: str, sentence: str, *, level: int = logging.WARNING) -> None:
        """Log a sentence about a node, unless it is known already."""


class Dialler:
    """Dials `peers` for their owner, in tasks of the running loop."""

    def __init__(self, owner: Owner, peers: Peers, config: Config) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()
        self._owner = owner
        self._own = owner.address
        self._peers = peers
        self._config = config
        # Where a pause is somewhere in between does not matter to anybody: no seed.
        self._random = random.Random()
        self._guest_lookups = asyncio.Semaphore(_GUEST_LOOKUPS)

    def dial(self, peer: Peer) -> None:
        """Begin to keep a member linked, or call a guest back."""
        guest = self._peers.is_guest(peer)
        peer.dialling = self._spawn(self._call_back(peer) if guest else self._keep_linked(peer))
        peer.dialling.add_done_callback(_log_failure)

    def wake(self, peer: Peer) -> None:
        """Dial a peer without a link now, whatever pause or vain attempt is on."""
        if peer.connection is not None:
            return
        if peer.attempt is not None and peer.attempt.is_greeting:
            # The peer may have taken this one already; it said that it has none before that.
            return
        peer.stop_dialling("the peer has called")
        peer.broke_early = False
        self.dial(peer)

    def stop(self) -> None:
        """Cancel everything, lookups of guests that are forgotten included."""
        for task in list(self.tasks):
            task.cancel()

    async def _call_back(self, guest: Peer) -> None:
        """Dial a guest that has knocked, once; it knocks again if that fails."""
        await self._attempt(guest)
        guest.dialling = None
        if self._peers.is_guest(guest):
            self._peers.forget(guest)
        else:
            # It has become a member meanwhile.
            self.dial(guest)

    async def _keep_linked(self, peer: Peer) -> None:
        while True:
            await peer.unlinked.wait()
            if peer.broke_early:
                await asyncio.sleep(self._pause(peer.early_break()))
            if peer.connection is None:
                refused = await self._attempt(peer)
                # A knock succeeds without a link, which comes when the peer has dialled.
                if peer.connection is None:
                    await asyncio.sleep(self._pause(peer.failure(), longest=refused))

    def _pause(self, failure_count: int, *, longest: bool = False) -> float:
        """Return how long to wait after so many failures in a row, in seconds."""
        config = self._config
        pause = config.reconnect_interval_max
        if not longest:
            pause = pause_after(failure_count, config.reconnect_interval_min, pause)
        return pause * self._random.uniform(0.5, 1.0)

    async def _attempt(self, peer: Peer) -> bool:
        """Dial all that the name stands for, in turn; return whether a refusal was the end of it.

        Takes `connect_timeout` at most, and as long again for the lookup.
        """
        try:
            targets = await self._resolve(peer)
        except OSError as error:
            self._owner.notice(
                peer.name,
                f"the host name of {peer.name} does not resolve ({explain(error)}); trying again",
            )
            return False
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._config.connect_timeout
        refused = False
        for tried_count, target in enumerate(targets):
            # A target that swallows packets must leave some time for the next one.
            budget = (deadline - clock()) / (len(targets) - tried_count)
            connection = await self._reach(peer, target, budget)
            if peer.connection is not None:
                break
            if connection is not None:
                refused = refused or connection.was_refused
                if connection.was_greeted:
                    self._knocked(peer)
                    break
        return refused

    def _knocked(self, peer: Peer) -> None:
        if peer.failure_count == _VAIN_KNOCKS:
            self._owner.notice(
                peer.name,
                f"{peer.name} hears this node but cannot reach it: is {self._own!r} its address"
                " as seen from there?",
            )

    async def _resolve(self, peer: Peer) -> list[Target]:
        # A lookup cannot be stopped, and occupies a thread of the loop's executor: one that hangs
        # must not be joined by another with every attempt.
        if peer.lookup is None:
            guest = self._peers.is_guest(peer)
            if guest:
                async with asyncio.timeout(self._config.connect_timeout):
                    await self._guest_lookups.acquire()
            assert peer.address is not None, peer.name
            peer.lookup = self._spawn(resolve(peer.address))
            if guest:
                # Not before: it may go on when nobody waits any more.
                peer.lookup.add_done_callback(lambda _: self._guest_lookups.release())
            # Or asyncio complains of a failure that came when nobody waited any more.
            peer.lookup.add_done_callback(lambda task: task.cancelled() or task.exception())
        lookup = peer.lookup
        done, _ = await asyncio.wait([lookup], timeout=self._config.connect_timeout)
        if not done:
            raise TimeoutError("the lookup takes too long")
        peer.lookup = None
        return lookup.result()

    async def _reach(self, peer: Peer, target: Target, budget: float) -> Connection | None:
        """Connect to one target, and wait until the greeting has succeeded or failed."""
        connection = peer.attempt = self._owner.dialled(peer.name, budget)
        host, port = target.sockaddr[:2]
        try:
            async with asyncio.timeout(budget):
                # By its number, not by a socket of ours: uvloop and a Python socket would both
                # own the descriptor for a moment, and close it twice.
                await asyncio.get_running_loop().create_connection(
                    lambda: connection, host, port, family=target.family, proto=target.protocol
                )
        except BaseException as error:
            connection.discard()
            if not isinstance(error, OSError):
                raise
            self._unreachable(peer, explain(error))
            return None
        try:
            await connection.settled
        finally:
            if connection.peer is None:
                connection.end("it is not wanted any more")
        if not (connection.was_greeted or connection.was_refused or peer.connection):
            self._unreachable(peer, connection.end_reason)
        return connection

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def _unreachable(self, peer: Peer, reason: str) -> None:
        again = "" if self._peers.is_guest(peer) else "; trying again"
        sentence = f"cannot reach {peer.name}: {reason}{again}"
        self._owner.notice(peer.name, sentence, level=logging.INFO)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()):
        _log.critical("a peer is dialled no more, which is a bug", exc_info=error)
