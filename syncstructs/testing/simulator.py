"""`Simulation`: a whole cluster in one thread with virtual time, from one seed.

The nodes are real: `Node`, engine, driver, replica, Raft, objects, and (with a simulated disk) log
and snapshot store. Replaced are the network, the disk, the clock and chance. Everything that
happens follows from the seed, and the checks of `invariants` run with every step.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import replace
from random import Random
from typing import Any

from ..config import Config, is_nameless
from ..errors import DataDirDamaged, StorageError
from ..node.node import Node
from ..node.world import inside
from ..objects.replicated import Replicated
from ..raft.membership import Membership
from .faultatlas import FaultAtlas
from .hosts import DiskTimes, Host, Life
from .invariants import Invariants
from .releases import Releases
from .schedule import Schedule
from .simdisk import SimDisk
from .simnet import NetworkFaults, SimNetwork
from .violation import Violation

Consumers = Mapping[str, Callable[[], Replicated]]


class Stuck(AssertionError):
    """What had to happen did not, within the virtual time it was given."""


class Simulation:
    """A cluster of `size` nodes named n1:1, n2:1, ...

    `consumers` makes the objects, anew for every life of every node. `disks`: run the real stores
    on simulated disks; otherwise in memory that keeps exactly what was persisted, or, if
    `forgetful`, nothing; then a node can be stopped only while so many members hold all that a
    majority is left. `spares`: so many nodes more that may become members. `observers`: so many
    besides that have no address; each of them lives once, and then another one comes. `framing` and
    `datagrams`: see `SimNetwork`. `version`: that of replicated methods with which it begins, as if
    `set_version` was the first entry of its log. `releases`: which nodes have which classes, in
    objects that come besides. Further arguments are fields of `Config`.

    >>> from syncstructs import ReplCounter
    >>> cluster = Simulation(7, {"hits": ReplCounter})
    >>> cluster.start()
    >>> added = cluster.objects("n1:1")["hits"].add.submit(5)
    >>> cluster.run_until(added.done)
    >>> cluster.crash(cluster.leader())
    >>> added = cluster.objects(cluster.up[0])["hits"].add.submit(2)
    >>> cluster.run_until(added.done)
    >>> added.result()
    7
    """

    def __init__(
        self,
        seed: int | str,
        consumers: Consumers,
        *,
        size: int = 3,
        disks: bool = False,
        framing: bool = False,
        datagrams: bool = False,
        spares: int = 0,
        forgetful: bool = False,
        observers: int = 0,
        version: int = 1,
        releases: Releases | None = None,
        check: bool = True,
        **settings: Any,
    ) -> None:
        self.seed = seed
        self.consumers = consumers
        self.schedule = Schedule()
        self.random = Random(f"{seed}/simulation")
        self.network = SimNetwork(
            self.schedule, Random(f"{seed}/network"), framing=framing, datagrams=datagrams
        )
        self.addresses = tuple(f"n{i}:1" for i in range(1, size + spares + 1))
        self.seeds = self.addresses[:size]
        """The members to begin with."""
        self._first = Membership(self.seeds)
        self.spares = spares
        self.observers = observers
        self.forgetful = forgetful
        self.version = version
        self.releases = releases
        self.config = Config(**{"data_dir": "/data" if disks else None, **settings})
        self.checks = Invariants(self, active=check)
        self.hosts = {
            address: Host(
                address,
                number=number,
                schedule=self.schedule,
                network=self.network,
                random=Random(f"{seed}/{address}"),
                watcher=self.checks,
                disk=SimDisk(Random(f"{seed}/{address}/disk")) if disks else None,
            )
            for number, address in enumerate(self.addresses, 1)
        }
        for host in self.hosts.values():
            if forgetful:
                host.may_forget = self.may_forget
            if host.disk is not None:
                host.disk.crashpoint = host.effect_at
                host.disk.in_order = "log-" if check else None
        self._succeeded: set[str] = set()
        self.refused: dict[str, StorageError] = {}
        """Why a node could not be started, by address: its disk was full, or damaged."""
        self.atlas = FaultAtlas(self.addresses)
        """On whose disk a bit was flipped."""
        self.damaged: set[str] = set()
        """Those of them that have found it, and refuse to start."""
        self.is_late: Callable[[Life, str], bool] | None = None
        """Whether a life starts without an object; who starts clients has to attach it then."""
        self.on_start: Callable[[Life], object] | None = None
        """Called with every new life, after its node was made; starts clients, for example."""

    # Hosts and nodes

    def start(self, *addresses: str) -> None:
        """Start nodes that are down; the first members without arguments."""
        for address in addresses or self.seeds:
            if not self.hosts[address].is_up:
                self._start(self.hosts[address])
        if not addresses:
            self.start_observers()

    @property
    def machines(self) -> list[Host]:
        """The hosts that have an address, in order: all but observers."""
        return [self.hosts[address] for address in self.addresses]

    def start_observers(self) -> None:
        """Have as many observers as there are to be."""
        running, cast = 0, self.cast()
        for host in list(self.hosts.values()):
            if is_nameless(host.address) and host.is_up:
                life = host.life
                assert life is not None
                failed = life.node is not None and life.node._engine.failure is not None
                if failed or not set(cast).intersection(life.links[-1].peers):
                    # Or it knows nobody any more who could tell it anything.
                    host.crash()
                else:
                    running += 1
        for _ in range(self.observers - running):
            self._start(self._next_observer())

    def _next_observer(self) -> Host:
        number = len(self.hosts) + 1
        name = f"observer-{number:04x}"
        host = self.hosts[name] = Host(
            name,
            number=number,
            schedule=self.schedule,
            network=self.network,
            random=Random(f"{self.seed}/{name}"),
            watcher=self.checks,
            disk=None,
        )
        return host

    def _start(self, host: Host) -> None:
        if host.life_count and is_nameless(host.address):
            if host.address in self._succeeded:
                return
            self._succeeded.add(host.address)
            host = self._next_observer()
        life = host.boot()
        self.refused.pop(host.address, None)
        life.execute(self._make_node, life)

    def _make_node(self, life: Life) -> None:
        host = life.host
        consumers = {name: make() for name, make in self.consumers.items()}
        if self.releases is not None:
            consumers |= self._released(self.releases, life)
        if self.is_late is not None:
            life.late = tuple(name for name in consumers if self.is_late(life, name))
        early = {name: target for name, target in consumers.items() if name not in life.late}
        try:
            with inside(life):
                address = None if is_nameless(host.address) else host.address
                config = self._config_of(life)
                life.made(Node(address, self.cast(), consumers=early, config=config))
        except StorageError as error:
            if isinstance(error, DataDirDamaged):
                if host.address not in self.atlas:
                    raise Violation(f"{host.address} refuses a disk that is sound") from error
                self.damaged.add(host.address)
            self.refused[host.address] = error
            host.crash()
            return
        if self.releases is not None and self.releases.says_early(life):
            life.node._engine.tell_bodies(*map(type, consumers.values()))
        life.consumers = consumers
        if not life.table.applied_index:
            life.table.versions.in_force = self.version
        self.checks.started(life)
        if self.on_start is not None:
            self.on_start(life)

    def _released(self, releases: Releases, life: Life) -> dict[str, Replicated]:
        objects = releases.begins(life)
        if self.checks.upgrades is not None:
            self.checks.upgrades.watch_objects(life, objects)
        return objects

    # Members

    def _config_of(self, life: Life) -> Config:
        """Return the settings of a node: who comes later, or empty, is not to found a cluster."""
        host = life.host
        if is_nameless(host.address):
            return replace(self.config, data_dir=None)
        is_begun = self.checks.membership is not None
        # Who has lost a disk may have voted, even if nothing is committed yet.
        founds = self.forgetful or not host.was_erased
        if self.spares:
            founds &= host.address in self.seeds and (life.number == 1 or not is_begun)
        return self.config if founds else replace(self.config, join=True)

    def cast(self) -> tuple[str, ...]:
        """Return who is a member, or is about to become one or to cease, as far as anybody knows.

        In the order of addresses.
        """
        if not self.spares:
            return self.addresses
        known = set(self.checks.wanted or self.seeds)
        for membership in self.memberships():
            known.update(membership.members)
        return tuple(address for address in self.addresses if address in known)

    def memberships(self) -> list[Membership]:
        """Return the memberships that may count: the newest committed, and later ones in logs."""
        newest = self.checks.membership_index
        found = [self.checks.membership or self._first]
        # Asked after every event for as long as a change of members is awaited.
        for host in self.hosts.values():
            life = host.life
            if life is None or life.node is None:
                continue
            if life.core.log.membership_index > newest:
                found.append(life.core.membership)
        return found

    def are_quorum(self, addresses: Collection[str]) -> bool:
        """Whether these can decide, whichever membership counts or comes next."""
        memberships = self.memberships()
        if self.spares and self.checks.wanted:
            memberships.append(Membership(self.checks.wanted))
        return all(membership.is_quorum(addresses) for membership in memberships)

    def may_forget(self, host: Host) -> bool:
        """Whether a node may lose all that it holds: a quorum is left that never did, or has
        recovered."""
        life = host.life
        if (
            self.forgetful
            and life is not None
            and life.node is not None
            and life.node._engine.failure is not None
        ):
            return True
        holders = [
            life.host.address
            for life in self.lives()
            if life.host is not host
            and not life.core.is_recovering
            and life.node._engine.failure is None
        ]
        return self.are_quorum(holders)

    def has_members(self) -> bool:
        """Whether a leader knows of exactly those members that are wanted, and they have all."""
        leader = self.leader()
        if leader is None:
            return False
        life = self.hosts[leader].life
        assert life is not None
        return (
            life.replica.is_settled
            and life.table.wanted == (self.checks.wanted or self.seeds)
            and life.core.commit_index == life.core.log.last_index
        )

    def removed_know(self) -> bool:
        """Whether all know that they are no members who run, held something, and can ask."""
        cast = self.cast()
        return not any(
            life.host.address in life.core.members
            and not life.core.is_recovering
            and not life.core.is_dismissed
            and life.node._engine.failure is None
            and {*cast}.intersection(life.core.members)
            for life in self.lives()
            if life.host.address not in cast
        )

    def retire(self) -> None:
        """Stop all nodes that are no members."""
        cast = self.cast()
        for host in self.hosts.values():
            if host.address not in cast and not is_nameless(host.address):
                host.crash(forced=True)

    def end(self) -> None:
        """Let nothing more happen in any life; what they know can be looked at still."""
        for host in self.hosts.values():
            for life in host.lives:
                life.event_loop.end()

    def crash(self, address: str, *, silently: bool = False) -> None:
        """Kill a node; see `Host.crash`."""
        self.hosts[address].crash(silently=silently)

    def node(self, address: str) -> Node:
        """Return the running node of that address."""
        life = self.hosts[address].life
        assert life is not None, f"{address} is down"
        node: Node = life.node
        return node

    def objects(self, address: str) -> Mapping[str, Any]:
        """Return the objects that this node was started with, by name."""
        life = self.hosts[address].life
        assert life is not None, f"{address} is down"
        return life.consumers

    def lives(self) -> list[Life]:
        """Return the present lives that have a node, in the order of addresses."""
        return [h.life for h in self.hosts.values() if h.life is not None and h.life.node]

    @property
    def up(self) -> list[str]:
        """The addresses of the nodes that run (maybe paused), in order."""
        return [life.host.address for life in self.lives()]

    def leader(self) -> str | None:
        """Return the leader of the greatest term among the nodes that run, or None."""
        leading = [life for life in self.lives() if life.core.role.name == "LEADER"]
        best = max(leading, key=lambda life: life.core.term, default=None)
        return None if best is None else best.host.address

    # Time

    @property
    def now(self) -> float:
        """The true time in seconds."""
        return self.schedule.now

    def run(self, seconds: float) -> None:
        """Let so much time pass."""
        self.schedule.run(self.schedule.now + seconds)

    def run_until(self, condition: Callable[[], bool], limit: float = 60.0) -> None:
        """Let time pass until `condition()`, which is asked after every event.

        Raises:
            Stuck: it was not met within `limit` virtual seconds.
        """
        deadline = self.schedule.now + limit
        if not self.schedule.run_until(condition, deadline):
            raise Stuck(f"not within {limit} s of virtual time (seed {self.seed!r})")

    def settle(self, limit: float = 60.0) -> None:
        """Heal everything, start every node that can be, and wait until all replicas are equal.

        Raises:
            Stuck: they were not within `limit` virtual seconds.
        """
        self.heal()
        self.start_again()
        self.run_until(self.is_settled, limit)
        self.checks.compare_all()

    def start_again(self, addresses: Collection[str] = ()) -> None:
        """Start nodes that are down, were closed or have failed, as far as their disks allow it.

        All of them without arguments.
        """
        for address in addresses or self.cast():
            host = self.hosts[address]
            life = host.life
            if life is not None and life.node is not None and life.node._engine.failure is not None:
                host.crash()
            if not host.is_up and address not in self.damaged:
                self._start(host)
        if not addresses:
            self.start_observers()

    def heal(self) -> None:
        """End all faults of network, disks and processes."""
        self.network.heal_all()
        for host in self.hosts.values():
            self._heal(host)

    def heal_among(self, addresses: Collection[str]) -> None:
        """End all faults of these nodes, and of the links among them; start what is down."""
        for one in addresses:
            self._heal(self.hosts[one])
            for other in addresses:
                if one != other:
                    self.network.heal(one, other)
        self.network.faults = NetworkFaults()
        self.start_again(addresses)

    @staticmethod
    def _heal(host: Host) -> None:
        host.go_on()
        host.crash_after = -1
        host.garbles = 0.0
        host.disk_times = DiskTimes()
        if host.disk is not None:
            host.disk.heal()

    def is_settled(self) -> bool:
        """Whether all nodes follow one leader and have applied all of its log, and nothing is due.

        What waits for an item or a lock may go on waiting.
        """
        cast = self.cast()
        lives = [
            life
            for life in self.lives()
            if life.host.address in cast or is_nameless(life.host.address)
        ]
        leader = self.leader()
        if any(life.node._engine.failure is not None for life in lives):
            # A sync that failed before all was healed may be heard of only now.
            self.start_again()
            return False
        if leader is None or len(lives) + len(self.damaged) < len(cast) + self.observers:
            return False
        last = self.hosts[leader].life.core.log.last_id  # type: ignore[union-attr]
        return all(
            life.core.leader == leader
            and life.core.log.last_id == last
            and life.table.applied_index == last.index
            and len(life.node._engine.calls) == len(life.replica.outbox.parked)
            for life in lives
        )

    def await_all(self, futures: Iterable[Any], limit: float = 60.0) -> None:
        """Let time pass until all these futures are done."""
        waiting = list(futures)
        self.run_until(lambda: all(future.done() for future in waiting), limit)
