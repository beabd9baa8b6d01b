"""Waits in the log over crashes, cuts, expired sessions and snapshots: nothing is lost or doubled.

Nodes of a virtual cluster put, get, and hold a lock, with time-outs and cancels, while the cluster
is tormented. What was acknowledged must be true afterwards, and every operation must end.
"""

import itertools
from queue import Empty, Full

import pytest
import virtual_cluster
from virtual_cluster import VirtualCluster, VirtualNode, VirtualPort

from syncstructs.errors import Cancelled, NotApplied, SyncError
from syncstructs.node.operations import Operation
from syncstructs.objects.batches import encode_command
from syncstructs.structs.locks import ReplLock
from syncstructs.structs.queues import ReplQueue


class OperatingPort(VirtualPort):
    """A port whose objects can run operations, in virtual time."""

    call_timeout = 30.0
    in_batch = False

    def __init__(self, node):
        super().__init__(node)
        self._life = node.life
        self._tickets = itertools.count(1)

    def submit(self, binding, method, args, kwargs):
        return self._node._put(encode_command(binding.target, method, args, kwargs))

    def start(self, steps):
        run = Operation(self, self._node.blocker, steps)
        run.advance()
        return run.future

    def ticket(self):
        return next(self._tickets)

    def post(self, function):
        self.after(0, function)

    def after(self, seconds, function):
        world = self._node.world
        world.at(world.now() + seconds, lambda: self._node.life == self._life and function())

    def in_driver(self):
        return True


class OperatingNode(VirtualNode):
    """A node that tells its objects of a lost session, as a real one does."""

    def start(self):
        self.installs = 0
        super().start()
        self.replica.install = self._install

    def _install(self, *args):
        self.installs += 1
        return type(self.replica).install(self.replica, *args)

    def _on_progress(self, progress):
        super()._on_progress(progress)
        if progress.session_lost:
            for target in list(self.replica.table.objects.values()):
                target.on_session_lost()
        self.cluster.check_locks()


class OperatingCluster(VirtualCluster):
    def check_locks(self):
        """No two members may both be certain that they hold the lock."""
        holders = [
            (node.address, node.objects["door"].token)
            for node in self.up
            if node.objects["door"]._binding is not None and node.objects["door"].held
        ]
        assert len(holders) <= 1, (self.seed, self.world.now(), holders)


@pytest.fixture(autouse=True)
def _nodes_run_operations(monkeypatch):
    monkeypatch.setattr(virtual_cluster, "VirtualPort", OperatingPort)
    monkeypatch.setattr(virtual_cluster, "VirtualNode", OperatingNode)


class Attempt:
    """An operation, where and when it was begun, and what is known of it."""

    def __init__(self, node, kind, item, future):
        self.node, self.kind, self.item, self.future = node, kind, item, future
        self.life, self.installs = node.life, node.installs

    @property
    def stays(self):
        """Whether its node has lived on since."""
        return self.node.up and self.node.life == self.life

    @property
    def settled(self):
        """Whether nothing of it can have been cut off by a crash, or skipped by a snapshot."""
        return self.stays and self.node.installs == self.installs

    @property
    def error(self):
        return self.future._error


class Workload:
    def __init__(self, cluster):
        self.cluster = cluster
        self.random = cluster.random
        self.attempts = []
        self.tokens = []
        self._items = itertools.count()

    def begin_some(self):
        for node in self.cluster.up:
            for _ in range(self.random.randrange(3)):
                self._begin(node)
            self._release_held(node)

    def _begin(self, node):
        random, kind = self.random, self.random.choice(["put", "get", "get", "acquire"])
        timeout = random.choice([None, 0.05, 0.5, 3.0])
        queue = node.objects[random.choice(["jobs", "narrow"])]
        item = None
        try:
            if kind == "put":
                item = f"{node.address}/{node.life}/{next(self._items)}"
                future = queue.put.submit(item, timeout=timeout)
            elif kind == "get":
                block = random.random() < 0.9
                future = queue.get.submit(block, timeout)
            else:
                future = node.objects["door"].acquire.submit(timeout=timeout or -1)
                future.add_done_callback(lambda granted: self._granted(node, granted))
        except SyncError as error:
            pytest.fail(f"{kind} raised at once: {error!r}")
        self.attempts.append(Attempt(node, kind, item, future))
        if random.random() < 0.25:
            world, life = self.cluster.world, node.life
            world.at(
                world.now() + random.random() * 0.5, lambda: node.life == life and future.cancel()
            )

    def _granted(self, node, future):
        if future._error is None and future._value:
            door = node.objects["door"]
            if door.held:
                assert not self.tokens or door.token > self.tokens[-1], (door.token, self.tokens)
                self.tokens.append(door.token)

    def _release_held(self, node):
        door = node.objects["door"]
        if door.token is not None and self.random.random() < 0.5:
            future = door.release.submit()
            self.attempts.append(Attempt(node, "release", None, future))

    def cancel_all(self):
        for attempt in self.attempts:
            if attempt.stays:
                attempt.future.cancel()

    def all_ended(self):
        return all(attempt.future.done() for attempt in self.attempts if attempt.stays)

    def check(self):
        """Compare what callers were told with what is left in the queues."""
        left = self._left()
        got = [
            attempt.future._value
            for attempt in self.attempts
            if attempt.kind == "get" and attempt.future.done() and not attempt.error
        ]
        assert len(got) == len(set(got)), f"handed out twice: {got}"
        assert len(left) == len(set(left)), f"stored twice: {left}"
        both = set(got) & set(left)
        assert not both, f"handed out and still there: {both}"
        self._check_puts(set(got) | set(left))
        raised = {type(attempt.error) for attempt in self.attempts if attempt.error}
        assert all(issubclass(kind, SyncError | Full | Empty) for kind in raised), raised

    def _check_puts(self, somewhere):
        """What was put is somewhere, but for what a get may have taken along into its grave."""
        missing = []
        for put in self.attempts:
            if put.kind != "put" or not put.future.done():
                continue
            if put.error is None and put.item not in somewhere:
                missing.append(put.item)
            if isinstance(put.error, Full | NotApplied):
                assert put.item not in somewhere, (put.item, put.error)
        excuses = sum(self._may_have_lost_one(a) for a in self.attempts if a.kind == "get")
        assert len(missing) <= excuses, (missing, excuses)

    def _left(self):
        objects = self.cluster.up[0].objects
        return [item for name in ("jobs", "narrow") for item in objects[name]._items]

    @staticmethod
    def _may_have_lost_one(get):
        if get.future.done() and get.error is None:
            return False
        return not (get.settled and isinstance(get.error, Empty | Cancelled | NotApplied))


def torment(cluster, random):
    kind = random.randrange(12)
    node = random.choice(list(cluster.nodes.values()))
    leader = cluster.leader() or node
    if kind == 0 and leader.up:
        leader.crash()
    elif kind == 1 and node.up:
        node.crash()
    elif kind == 2 and leader.up:
        cluster.isolate(leader)
    elif kind == 3:
        cluster.isolate(node)
    elif kind == 4 and node.up:
        node.paused_until = cluster.world.now() + random.random() * 3
    elif kind in (5, 6) and node is not leader:
        # It is heard, but hears nothing: what it asks for is applied without it.
        cluster.cut.add((leader.address, node.address))
    elif kind == 7:
        cluster.loss, cluster.duplicates = random.random() * 0.2, random.random() * 0.2
    else:
        cluster.heal()
    for stopped in cluster.nodes.values():
        if not stopped.up and random.random() < 0.6:
            stopped.start()


def make_cluster(seed):
    return OperatingCluster(
        seed,
        {"jobs": ReplQueue, "narrow": lambda: ReplQueue(2), "door": ReplLock},
        size=(3, 3, 5)[seed % 3],
        snapshot_log_entries=(8, 60, 100_000)[seed % 3],
        log_keep_bytes=(1, 400, 8_000_000)[(seed // 3) % 3],
        chunk_bytes=64,
        batch_bytes=(20, 200, 100_000)[(seed // 2) % 3],
        session_ttl=(1.3, 30.0, 2.0, 1.3)[seed % 4],
        # A small window and slow links, so that it takes a while to catch up.
        append_bytes=(100, 256 * 1024)[seed % 2],
        append_window_bytes=(300, 4 * 1024 * 1024)[seed % 2],
    )


def run_to_the_end(cluster, work):
    """Heal everything, and run until no operation and nothing behind one is under way."""
    for node in cluster.nodes.values():
        if not node.up:
            node.start()
    cluster.heal()
    work.cancel_all()
    cluster.run_until(work.all_ended, limit=60)
    # What cancelled operations clean up behind them, and background releases.
    cluster.run(8)
    cluster.run_until(lambda: all(c.done() for n in cluster.up for c in n.attached))
    cluster.run_until(lambda: len({n.replica.table.applied_index for n in cluster.up}) == 1)


def check_no_ghosts(cluster):
    """Nothing waits any more, and a lock that is held is held by somebody who knows of it."""
    assert len({n.replica.table.digest() for n in cluster.up}) == 1
    objects = cluster.up[0].objects
    for name in ("jobs", "narrow", "door"):
        objects[name]._check()
    for name in ("jobs", "narrow"):
        waiting = len(objects[name]._getters), len(objects[name]._putters)
        assert waiting == (0, 0), (cluster.seed, name, waiting)
    assert not objects["door"]._waiters, (cluster.seed, "a ghost waits for the lock")
    for holder in objects["door"]._holders.values():
        owners = [n for n in cluster.up if n.objects["door"].token == holder[2]]
        assert owners, (cluster.seed, "the lock is held by nobody", holder)


@pytest.mark.parametrize("seed", range(25))
def test_waits_end_and_nothing_is_lost_or_doubled(seed):
    cluster = make_cluster(seed)
    cluster.delay = (0.01, 0.001)[seed % 2]
    random = cluster.random
    work = Workload(cluster)
    for _ in range(30):
        work.begin_some()
        if random.random() < 0.3:
            torment(cluster, random)
        cluster.run(random.random() * 0.4)
    run_to_the_end(cluster, work)
    check_no_ghosts(cluster)
    work.check()
