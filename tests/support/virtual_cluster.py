"""A cluster in one thread with virtual time: real replicas and drivers, everything else replaced.

Links lose, delay and reorder; disks take time and lose what was not synced when a node crashes;
nodes crash, pause and restart. All of it is drawn from one seed.
"""

import heapq
import itertools
from collections.abc import Callable
from contextlib import nullcontext
from random import Random

from syncstructs.config import Config
from syncstructs.node.calls import Call, CallBlocker, CallQueue
from syncstructs.node.driver import Driver
from syncstructs.node.snapshotter import InlineSnapshotter
from syncstructs.objects.batches import encode_command
from syncstructs.objects.replicated import attach_arguments
from syncstructs.replica import Replica
from syncstructs.storage.memory import MemoryLog, MemorySnapshots


class VirtualTime:
    """A heap of events; `seq` keeps events of one moment in the order they were made."""

    def __init__(self):
        self.time = 1000.0
        self._events = []
        self._seq = itertools.count()

    def now(self):
        return self.time

    def at(self, when, function):
        heapq.heappush(self._events, (max(when, self.time), next(self._seq), function))

    def run(self, until):
        while self._events and self._events[0][0] <= until:
            self.time, _, function = heapq.heappop(self._events)
            function()
        self.time = max(self.time, until)


class VirtualPort:
    """What objects and table see of a virtual node."""

    reading = nullcontext()

    def __init__(self, node):
        self._node = node

    @property
    def session(self):
        return self._node.replica.outbox.session

    def now(self):
        return self._node.world.now()

    def sure_until(self):
        return self._node.replica.sure_until()


class SlowDisk:
    """A worker whose jobs take virtual time, and vanish when the node crashes before they end."""

    def __init__(self, node, slowest):
        self._node = node
        self._slowest = slowest
        self._free_at = 0.0

    def run(self, job, then):
        node, life = self._node, self._node.life
        start = max(self._free_at, node.world.now())
        self._free_at = start + node.random.random() * self._slowest

        def finish():
            if node.life == life:
                try:
                    result = job()
                except Exception as error:
                    result = error
                then(result)
                node.wake()

        node.world.at(self._free_at, finish)


class OpenGate:
    def enter(self):
        return True

    def leave(self):
        pass


def _never_blocks(future, timeout):
    raise AssertionError("nothing blocks in virtual time")


class VirtualNode:
    def __init__(self, cluster, address, config):
        self.cluster = cluster
        self.world = cluster.world
        self.address = address
        self.config = config
        self.random = Random(f"{cluster.seed}/{address}")
        self.life = 0
        self.up = False
        self.paused_until = 0.0
        self.log = MemoryLog()
        self.snapshots = MemorySnapshots()
        self.objects = {}
        self.failures = []

    def start(self):
        self.life += 1
        self.up = True
        self.calls = CallQueue(self.config)
        self.blocker = CallBlocker(self.calls, _never_blocks)
        snapshot = self.snapshots.latest()
        self.replica = Replica(
            address=self.address,
            members=self.cluster.addresses,
            config=self.config,
            random=Random(self.random.random()),
            incarnation=self.random.getrandbits(63),
            port=VirtualPort(self),
            restored=self.log.load(snapshot),
            image=None if snapshot is None else self.snapshots.load(snapshot),
            now=self.world.now(),
        )
        disk = SlowDisk(self, self.cluster.slowest_disk)
        self.driver = Driver(
            self.replica,
            config=self.config,
            clock=self.world,
            links=self,
            log=self.log,
            snapshots=self.snapshots,
            log_worker=disk,
            snapshot_worker=disk,
            snapshotter=InlineSnapshotter(self.snapshots, disk),
            gate=OpenGate(),
            calls=self.calls,
            on_progress=self._on_progress,
        )
        self.barriers = {}
        self.losses = 0
        self._woken = False
        self.objects = {name: cls() for name, cls in self.cluster.consumers.items()}
        self.attached = []
        for name, target in self.objects.items():
            self.replica.table.offer(name, target)
            self.attached.append(
                self.system("attach", *attach_arguments(name, target))
            )
        for peer in self.cluster.nodes.values():
            if peer.up and peer is not self:
                self.driver.link_up(peer.address)
                peer.driver.link_up(self.address)
                peer.wake()
        self.wake()

    def crash(self):
        """Lose everything but what the stores have persisted."""
        self.up = False
        self.life += 1
        for peer in self.cluster.nodes.values():
            if peer.up:
                peer.driver.link_down(self.address)
                peer.wake()

    def system(self, method, *args):
        return self._put(encode_command(0, method, args, {}))

    def call(self, name, method, *args):
        return self._put(encode_command(name, method, args, {}))

    def barrier(self, request):
        self.barriers[request] = False
        self.replica.barrier(request, self.world.now())
        self.wake()

    def _put(self, command):
        call = Call(self.blocker, command)
        self.calls.put(call)
        self.wake()
        return call

    def wake(self):
        if self.up and not self._woken:
            self._woken = True
            life = self.life
            self.world.at(max(self.world.now(), self.paused_until), lambda: self._pump(life))

    def _pump(self, life):
        if self.life != life or not self.up:
            return
        self._woken = False
        deadline = self.driver.pump()
        self.cluster.check(self)
        if deadline <= self.world.now():
            self.wake()
        else:
            self.world.at(deadline, lambda: self.life == life and self.wake())

    def _on_progress(self, progress):
        for call, outcome in progress.ended:
            call.finish(outcome.value, outcome.error)
        if progress.ended:
            self.calls.ended(len(progress.ended), sum(len(c.command) for c, _ in progress.ended))
        for request in progress.barriers:
            self.barriers[request] = True
        self.losses += progress.session_lost

    def set_peers(self, peers):
        pass

    def send(self, peer, payload):
        cluster, target = self.cluster, self.cluster.nodes[peer]
        if not target.up or (self.address, peer) in cluster.cut:
            return False
        if self.random.random() < cluster.loss:
            return True
        mine, its = self.life, target.life
        delay = 0.0002 + self.random.expovariate(1 / cluster.delay)

        def deliver():
            if target.life == its and self.life == mine and (self.address, peer) not in cluster.cut:
                target.driver.frame_received(self.address, payload)
                target.wake()

        self.world.at(self.world.now() + delay, deliver)
        if self.random.random() < cluster.duplicates:
            self.world.at(self.world.now() + delay * 3, deliver)
        return True


class VirtualCluster:
    """`size` nodes named n1, n2, ...; every random choice follows from `seed`."""

    def __init__(self, seed, consumers, size=3, **settings):
        self.seed = seed
        self.random = Random(f"{seed}/cluster")
        self.world = VirtualTime()
        self.consumers = consumers
        self.cut = set()
        self.loss = 0.0
        self.duplicates = 0.0
        self.delay = 0.001
        self.slowest_disk = 0.002
        self.addresses = [f"n{i}:1" for i in range(1, size + 1)]
        self.nodes: dict[str, VirtualNode] = {}
        self.digests: dict[int, str] = {}
        config = Config(**settings)
        for address in self.addresses:
            self.nodes[address] = VirtualNode(self, address, config)
        for node in self.nodes.values():
            node.start()

    @property
    def up(self):
        return [node for node in self.nodes.values() if node.up]

    def leader(self):
        leading = [n for n in self.up if n.replica.core.role.name == "LEADER"]
        return max(leading, key=lambda n: n.replica.core.term, default=None)

    def check(self, node):
        """Replicas keep their invariants, and are equal where they applied the same index."""
        if self.random.random() < 0.1:
            node.replica._check()
            table = node.replica.table
            if node.replica.installing is None and table.applied_index:
                expected = self.digests.setdefault(table.applied_index, table.digest())
                assert table.digest() == expected, (self.seed, node.address, table.applied_index)

        self.check_session(node)

    def check_session(self, node):
        """No node is sure of a session that has expired anywhere."""
        session = node.replica.outbox.session
        if not session or node.replica.sure_until() <= self.world.now():
            return
        for other in self.up:
            table = other.replica.table
            expired = table.serial >= session and table.sessions.owner(session) is None
            assert not expired, (self.seed, node.address, session, other.address)

    def run(self, seconds):
        self.world.run(self.world.now() + seconds)

    def run_until(self, condition: Callable[[], bool], limit=60.0):
        """Run until `condition()`; fail after `limit` virtual seconds."""
        deadline = self.world.now() + limit
        while not condition():
            assert self.world.now() < deadline, f"seed {self.seed}: not within {limit} s"
            self.run(0.01)

    def isolate(self, node):
        for other in self.addresses:
            if other != node.address:
                self.cut |= {(node.address, other), (other, node.address)}

    def heal(self):
        """Mend all links, as new connections."""
        self.cut.clear()
        self.loss = self.duplicates = 0.0
        for node in self.up:
            node.paused_until = 0.0
            for peer in self.up:
                if peer is not node:
                    node.driver.link_up(peer.address)
            node.wake()
