"""Machines of a simulation, and the lives of the nodes that run on them.

A `Host` is what survives a crash: disk, clock, chance. A `Life` is one run of a process on it,
from start to crash or close, and is the `node.world.World` for the node that is made in it: node,
engine, driver, replica and stores are the real ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from random import Random
from typing import TYPE_CHECKING, Any

from ..config import Config, Drive
from ..node.digester import InlineDigester
from ..node.ports import Digester, Snapshotter
from ..node.snapshotter import InlineSnapshotter
from ..node.stores import Stores
from ..storage.disk import open_data_dir
from ..storage.memory import MemoryLog, MemorySnapshots
from ..storage.snapshots import DiskSnapshots
from ..storage.wal import Wal
from .schedule import Schedule, VirtualLoop
from .simnet import SimLinks, SimNetwork

if TYPE_CHECKING:
    from ..node.calls import Call
    from ..node.node import Node
    from ..objects.table import Table
    from ..raft.core import RaftCore
    from ..replica import Replica
    from ..storage.base import LogStore, SnapshotStore
    from .simdisk import SimDisk

EPOCH = 28_000_000 * 60.0 - 1008.0
"""The time of day, in seconds since 1970, at time 0: a minute begins 8 seconds into a run."""


class Crashed(BaseException):
    """The process is gone: unwinds what it was doing."""


class Watcher:
    """What a simulation hears of its hosts; the default hears nothing."""

    __slots__ = ()

    def opened(self, life: Life, log: LogStore) -> LogStore:
        """Note that the log of a life is open; may return another that watches over it."""
        return log

    def sends(self, life: Life, peer: str, payload: bytes) -> None:
        """Note that a node sends (or would send, had it a link)."""

    def touched(self, life: Life) -> None:
        """Note that something ran in a life."""

    def ended(self, life: Life) -> None:
        """Note that a life is over."""

    def erased(self, host: Host) -> None:
        """Note that a host has lost its disk."""


class DiskTimes:
    """How long a disk takes, in seconds."""

    __slots__ = ("mean", "stall_until")

    def __init__(self, mean: float = 0.0005) -> None:
        self.mean = mean
        """Mean time of a job (exponential)."""
        self.stall_until = 0.0
        """True time before which no job ends."""


class Host:
    """One machine: it may be up or down, and remembers what a machine does."""

    def __init__(
        self,
        address: str,
        *,
        number: int,
        schedule: Schedule,
        network: SimNetwork,
        random: Random,
        watcher: Watcher,
        disk: SimDisk | None,
        clock_rate: float = 1.0,
    ) -> None:
        self.address = address
        self.number = number
        """Its place among the hosts, from 1 on."""
        self.schedule = schedule
        self.network = network
        self.random = random
        self.watcher = watcher
        self.disk = disk
        """None: a disk without fault, which keeps exactly what a job has written to its end."""
        self.disk_times = DiskTimes()
        self.clock_rate = clock_rate
        """Seconds that the own clock makes in a true one."""
        self.clock_start = random.uniform(0.0, 1e6)
        """What the own clock shows at the true time 0; another number after each boot."""
        self.paused_until = 0.0
        self.life: Life | None = None
        self.life_count = 0
        self.lives: list[Life] = []
        """All of them: what a dead one refers to must not be collected while the run goes on."""
        self.log = MemoryLog(lasting=True)
        self.snapshots = MemorySnapshots(lasting=True)
        self.is_made = False
        """Whether a node was here since the disk held nothing; and as what it was started:"""
        self.members: tuple[str, ...] = ()
        self.joined = False
        self.crash_after = -1
        """A crash after so many more effects (messages sent, disk jobs, syncs); -1: none."""

        self.may_forget: Callable[[Host], bool] | None = None
        """Whether it may lose all now, as it does with every end of its process; None: it keeps
        what it has."""
        self.was_erased = False
        """Whether it ever lost what it had."""
        self.cut_power: bool | None = None
        """Whether the next crash is a power cut; None: chance tells."""
        self.garbles = 0.0
        """How often a piece of a snapshot that is read for another node has a bit flipped; see
        `Nemesis.garble`."""

    @property
    def is_up(self) -> bool:
        """Whether a process runs here (it may be paused)."""
        return self.life is not None

    @property
    def is_paused(self) -> bool:
        """Whether the process stands still."""
        return self.schedule.now < self.paused_until

    def boot(self) -> Life:
        """Begin a life; the caller makes a node in it (`with inside(life): ...`)."""
        assert self.life is None, self.address
        self.life_count += 1
        self.paused_until = 0.0
        self.life = Life(self, self.life_count)
        self.lives.append(self.life)
        return self.life

    def pause(self, until: float) -> None:
        """Let the process stand still until the true time `until`, as SIGSTOP does."""
        self.paused_until = max(self.paused_until, until)

    def go_on(self) -> None:
        """End a pause."""
        self.paused_until = 0.0
        if self.life is not None:
            self.life.catch_up()

    def crash(self, *, silently: bool = False, forced: bool = False) -> None:
        """End the process at once; `silently`: no peer hears of it, as in a power cut.

        The disk keeps what was synced, and of the rest what chance leaves of it. A machine that
        forgets does not crash while it may not, unless `forced`.
        """
        life = self.life
        if life is None:
            return
        forgets = self.may_forget is not None
        if self.may_forget is not None and not forced and not self.may_forget(self):
            self.crash_after = -1
            return
        self.life = None
        self.crash_after = -1
        life.end()
        for links in life.links:
            links.die(silently=silently)
        if self.disk is not None:
            # Only a power cut loses what was written and not synced.
            cut, self.cut_power = self.cut_power, None
            if silently or (self.random.random() < 0.6 if cut is None else cut):
                self.disk.crash()
            else:
                self.disk.kill()
        self.watcher.ended(life)
        if forgets:
            self.erase()

    def erase(self) -> None:
        """Lose everything on the disk; only while it is down."""
        assert self.life is None, self.address
        self.log = MemoryLog(lasting=self.may_forget is None)
        self.snapshots = MemorySnapshots(lasting=True)
        self.is_made, self.members, self.joined = False, (), False
        self.was_erased = True
        self.watcher.erased(self)
        if self.disk is not None:
            self.disk.erase()

    def effect_at(self, point: str) -> None:
        """Come by a point of the disk at which a crash may be due; see `effect`."""
        if self.crash_after >= 0:
            self.effect()

    def effect(self) -> None:
        """Come by a point at which a crash may be due.

        Raises:
            Crashed: it was.
        """
        if self.crash_after >= 0:
            if self.crash_after == 0:
                self.crash()
                if self.life is None:
                    raise Crashed
                return
            self.crash_after -= 1


class Life:
    """One run of a process on a host: a `World` for the nodes made in it."""

    def __init__(self, host: Host, number: int) -> None:
        self.host = host
        self.number = number
        self.id = host.number * 1_000_000 + number
        """Differs from that of all other lives of the cluster."""
        self.alive = True
        self.links: list[SimLinks] = []
        self.node: Any = None
        """The node that was made in it; see `made`."""
        self.replica: Replica[Call]
        self.core: RaftCore
        self.table: Table
        self.view: Any = None
        """What its watcher keeps of it, as long as it watches it."""
        self.consumers: dict[str, Any] = {}
        """The objects that the node was started with, or is to attach later."""
        self.late: tuple[str, ...] = ()
        """Which of them it is to attach later."""
        self._backlog: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._snapshots: SnapshotStore | None = None
        self._schedule = host.schedule
        self._clock_start = host.clock_start
        self._clock_rate = host.clock_rate
        self._touched = host.watcher.touched
        # CLOCK_MONOTONIC begins anew with each boot, and says nothing about earlier ones.
        self._clock_start += host.random.uniform(-1000.0, 1000.0)
        self.event_loop = VirtualLoop(
            host.schedule, execute=self.execute, now=self.now, rate=self._clock_rate
        )

    def made(self, node: Node) -> None:
        """Note the node that was made in this life."""
        self.node = node
        # Attributes, for they are asked for several times in every event; and a cached property
        # would have Python look up all of this object's attributes the long way.
        self.replica = node._engine.replica
        self.core = self.replica.core
        self.table = self.replica.table

    def snapshot_index(self) -> int:
        """Return the index of the newest snapshot that is durable here; 0: there is none."""
        latest = None if self._snapshots is None else self._snapshots.latest()
        return 0 if latest is None else latest.index

    def execute(self, function: Callable[..., object], *args: Any) -> None:
        """Run something in this life now, or once its process goes on; never if that is over."""
        if not self.alive:
            return
        host = self.host
        if self._backlog or self._schedule.now < host.paused_until:
            if not self._backlog:
                self._schedule.at(host.paused_until, self.catch_up)
            self._backlog.append((function, args))
            return
        # As `_execute`, which would be one more call for every event.
        try:
            function(*args)
        except Crashed:
            assert not self.alive, function
        if self.alive:
            self._touched(self)

    def catch_up(self) -> None:
        """Run what came during a pause, in order, if that is over."""
        backlog = self._backlog
        while backlog and self.alive:
            if self._schedule.now < self.host.paused_until:
                self._schedule.at(self.host.paused_until, self.catch_up)
                return
            self._execute(*backlog.popleft())

    def _execute(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        try:
            function(*args)
        except Crashed:
            assert not self.alive, function
        if self.alive:
            self._touched(self)

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Run something in this life at the present time, after what is going on."""
        self._schedule.soon(self.execute, function, *args)

    def end(self) -> None:
        """Be over: nothing runs in it any more."""
        self.alive = False
        self.event_loop.end()

    def jump(self, seconds: float) -> None:
        """Let the own clock leap forward."""
        self._clock_start += seconds

    # As nodes see it (`node.world.World`)

    def now(self) -> float:
        """Return this machine's monotonic clock in seconds."""
        return self._clock_start + self._schedule.now * self._clock_rate

    def wall_time(self) -> float:
        """Return this machine's time of day, which is off by what its clock has drifted."""
        return EPOCH + self._schedule.now * self._clock_rate

    def random_bits(self, count: int) -> int:
        """Return bits that follow from the seed."""
        return self.host.random.getrandbits(count)

    def name(self) -> str:
        """Return that of the host, which has one life only if it has no address."""
        return self.host.address

    def loop(self, drive: Drive, name: str) -> VirtualLoop:
        """Return the virtual loop, however the node was to be driven."""
        return self.event_loop

    def stores(
        self,
        address: str,
        members: tuple[str, ...],
        config: Config,
        post: Callable[[Callable[[], object]], object],
    ) -> Stores:
        """Open the real stores on the simulated disk, or those that stand for a perfect one."""
        host = self.host
        if host.disk is None:
            log_worker, snapshot_worker = DiskWorker(self, post), DiskWorker(self, post)
            self._snapshots = host.snapshots
            log = host.watcher.opened(self, host.log)
            if not host.is_made:
                host.is_made, host.members, host.joined = True, members, config.join
            return Stores(
                host.members or members, host.joined or config.join, log, host.snapshots,
                log_worker, snapshot_worker, lambda: None,
            )  # fmt: skip
        directory = open_data_dir(
            config.data_dir or "/data", cluster=config.cluster, address=address, members=members,
            joined=config.join, disk=host.disk,
        )  # fmt: skip
        try:
            wal = Wal(directory, segment_bytes=config.segment_bytes)
            snapshots = DiskSnapshots(directory)
        except BaseException:
            directory.close()
            raise
        self._snapshots = snapshots
        return Stores(
            directory.identity.members or members,
            directory.identity.joined or config.join,
            host.watcher.opened(self, wal),
            snapshots,
            DiskWorker(self, post),
            DiskWorker(self, post),
            directory.close,
        )

    def snapshotter(self, stores: Stores, config: Config) -> Snapshotter:
        """Return one that never forks."""
        return InlineSnapshotter(stores.snapshots, stores.snapshot_worker)

    def digester(self, stores: Stores) -> Digester:
        """Return one that never forks."""
        return InlineDigester()

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
    ) -> SimLinks:
        """Return links in the simulated network."""
        links = SimLinks(
            self.host.network, self, address=address, peers=peers, config=config,
            incarnation=incarnation, on_frames=on_frames, on_link_up=on_link_up,
            on_link_down=on_link_down,
        )  # fmt: skip
        self.links.append(links)
        return links


class DiskWorker:
    """A thread that works on a disk: its jobs take virtual time, one after the other.

    A job is done either as its time begins or as it ends; what a crash finds is then the one or
    the other. A crash in the midst of a job comes from the disk itself.
    """

    __slots__ = ("_free_at", "_life", "_post", "_queue")

    def __init__(self, life: Life, post: Callable[[Callable[[], object]], object]) -> None:
        self._life = life
        self._post = post
        self._free_at = 0.0
        self._queue: deque[_Job] = deque()

    def run(self, job: Callable[[], Any], then: Callable[[Any], Any]) -> None:
        """Queue a job."""
        life = self._life
        host = life.host
        if host.crash_after >= 0:
            host.effect()
        schedule = host.schedule
        times = host.disk_times
        begin = schedule.now
        if begin < self._free_at:
            begin = self._free_at
        random = host.random
        end = begin + random.expovariate(1.0) * times.mean
        if end < times.stall_until:
            end = times.stall_until
        self._free_at = end
        queued = _Job(job, then)
        self._queue.append(queued)
        if random.random() < 0.25:
            schedule.at(begin, life.execute, queued.do)
        schedule.at(end, life.execute, self._report, queued)

    def close(self, timeout: float) -> None:
        """Do at once what is queued."""
        for job in self._queue:
            job.do()

    def _report(self, job: _Job) -> None:
        self._queue.remove(job)
        job.do()
        if self._life.host.crash_after >= 0:
            self._life.host.effect()
        self._post(lambda: job.then(job.result))


class _Job:
    __slots__ = ("done", "job", "result", "then")

    def __init__(self, job: Callable[[], Any], then: Callable[[Any], Any]) -> None:
        self.job = job
        self.then = then
        self.done = False
        self.result: Any = None

    def do(self) -> None:
        if not self.done:
            self.done = True
            try:
                self.result = self.job()
            except Exception as error:
                self.result = error
