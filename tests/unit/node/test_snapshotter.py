"""Snapshots are those of the moment, wherever they are written; what fails costs only them."""

import errno
import os
import queue
import selectors
import signal
import threading
import time
from functools import partial
from io import BytesIO

import pytest
from own_children import own_children

from syncstructs.applying import SnapshotPoint
from syncstructs.errors import NodeClosed, StorageError, Unserializable
from syncstructs.node import snapshotter as snapshotter_module
from syncstructs.node import stores as stores_module
from syncstructs.node.children import Children, while_parent_lives
from syncstructs.node.snapshotter import ForkSnapshotter, InlineSnapshotter, make_snapshotter
from syncstructs.node.stores import _image_file
from syncstructs.node.workers import InlineWorker
from syncstructs.raft.membership import Membership
from syncstructs.storage.disk import open_data_dir
from syncstructs.storage.memory import MemorySnapshots
from syncstructs.storage.snapshots import DiskSnapshots

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

FORK_BYTES = 6400
ALL = Membership(("a:1",), genesis=7)


def point(index):
    return SnapshotPoint(index, 1, index * 10, ALL)


class Bench:
    """A store, who writes to it, and what comes back to the driver's thread."""

    def __init__(self, store):
        self.store = store
        self.posted = queue.SimpleQueue()
        self.children = Children(self.posted.put)
        self.snapshotter = ForkSnapshotter(store, InlineWorker(), self.children, FORK_BYTES)
        self.asked = []

    def take(self, index, image, *, large):
        """Take a snapshot, and return what is reported of it."""
        done = []

        def outweigh(limit):
            self.asked.append(limit)
            return large

        self.snapshotter.take(point(index), image, outweigh, done.append)
        if not done:
            self.posted.get(timeout=60)()
        [result] = done
        return result

    def latest(self):
        return b"".join(self.store.load(self.store.latest()))


@pytest.fixture(params=["memory", "disk"])
def bench(request, tmp_path):
    if request.param == "memory":
        made = Bench(MemorySnapshots(partial(_image_file, FORK_BYTES)))
        yield made
    else:
        directory = open_data_dir(tmp_path, cluster="c", address="a:1")
        made = Bench(DiskSnapshots(directory))
        yield made
        directory.close()
    made.children.close()
    made.store.close()


def pid():
    return str(os.getpid()).encode()


@pytest.mark.parametrize("large", [False, True])
def test_what_is_small_is_written_here_and_what_is_large_by_a_child(bench, large):
    result = bench.take(5, lambda: iter([b"by ", pid()]), large=large)
    assert bench.asked == [FORK_BYTES // 64]
    assert result == bench.store.latest()
    assert (result.index, result.term, result.time, result.membership) == (5, 1, 50, ALL)
    assert (bench.latest() == b"by " + pid()) == (not large)
    assert bench.store.read(result, 0, 3) == b"by "


def test_a_child_writes_the_state_of_the_moment(bench):
    state = [b"before"]
    done = []
    bench.snapshotter.take(point(5), lambda: list(state), lambda limit: True, done.append)
    state[0] = b"after"
    bench.posted.get(timeout=60)()
    assert bench.latest() == b"before"


def test_what_a_child_writes_takes_no_memory_here(bench):
    result = bench.take(5, lambda: (b"x" * 100_000 for _ in range(300)), large=True)
    assert result.size_bytes == 30_000_000
    assert sum(map(len, bench.store.load(result))) == 30_000_000
    if isinstance(bench.store, MemorySnapshots):
        assert os.fstat(bench.store._find(result).fileno()).st_size == 30_000_000


def spoilt():
    yield b"x" * 1_000_000
    raise Unserializable("object 'users', attribute '_items': an object cannot be encoded")


@pytest.mark.parametrize("large", [False, True])
def test_an_image_that_fails_leaves_what_was_there(bench, tmp_path, large):
    before = bench.take(5, lambda: [b"first"], large=large)
    files = sorted(os.listdir(tmp_path)), len(os.listdir("/proc/self/fd"))
    if large:
        result = bench.take(6, spoilt, large=True)
        assert isinstance(result, OSError)
        assert "in a child: Unserializable: object 'users', attribute '_items'" in str(result)
    else:
        with pytest.raises(Unserializable):
            bench.take(6, spoilt, large=False)
    assert bench.store.latest() == before
    assert bench.latest() == b"first"
    assert (sorted(os.listdir(tmp_path)), len(os.listdir("/proc/self/fd"))) == files
    assert bench.take(7, lambda: [b"next"], large=large).index == 7


def test_a_child_that_is_killed_is_reported_and_leaves_nothing(bench, tmp_path):
    def image():
        yield b"x" * 1_000_000
        os.kill(os.getpid(), signal.SIGKILL)

    files = sorted(os.listdir(tmp_path))
    result = bench.take(6, image, large=True)
    assert isinstance(result, OSError)
    assert "ended before its work was done" in str(result)
    assert bench.store.latest() is None
    assert sorted(os.listdir(tmp_path)) == files


def test_signals_that_the_program_handles_are_not_handled_in_a_child(bench):
    """They come to all processes of a service: a node that is closed twice, a byte in a file."""
    ends = os.pipe()
    handled = []

    def image():
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            os.kill(os.getpid(), number)
        yield f"{handled} {signal.set_wakeup_fd(-1)}".encode()

    before = signal.signal(signal.SIGTERM, lambda *_: handled.append("closed"))
    signal.signal(signal.SIGUSR1, lambda *_: handled.append("told"))
    os.set_blocking(ends[1], False)
    signal.set_wakeup_fd(ends[1])
    try:
        bench.take(5, image, large=True)
    finally:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)
        for end in ends:
            os.close(end)
    assert bench.latest() == b"[] -1"


def test_a_child_that_hangs_is_ended_but_not_one_that_goes_on(bench, monkeypatch):
    def image():
        yield b"x" * 1000
        time.sleep(3600)

    monkeypatch.setattr(snapshotter_module, "_CHILD_SECONDS", 0.05)
    result = bench.take(5, image, large=True)
    assert isinstance(result, TimeoutError)
    assert "did not go on" in str(result)
    assert bench.store.latest() is None

    # However long all of it takes: each part begins the wait anew.
    waits = []

    class Selector(selectors.DefaultSelector):
        def select(self, timeout=None):
            waits.append(timeout)
            return super().select(60)

    monkeypatch.setattr(snapshotter_module, "_CHILD_SECONDS", 7.0)
    monkeypatch.setattr(selectors, "DefaultSelector", Selector)
    bench.take(6, lambda: iter([b"a", b"b", b"c"]), large=True)
    assert bench.latest() == b"abc"
    assert len(waits) >= 2
    assert set(waits) == {7.0}


def test_parts_are_told_as_they_are_done():
    told = []
    parts = while_parent_lives([b"1", b"2"], os.getppid(), lambda: told.append(5))
    assert next(parts) == b"1"
    assert told == []
    assert next(parts) == b"2"
    assert told == [5]


def test_closing_ends_a_child_at_once(bench, tmp_path):
    begun, told = os.pipe()

    def image():
        os.write(told, pid())
        yield b"x"
        time.sleep(3600)

    done = []
    fork = bench.children.do
    # The child may tell that it has begun.
    bench.children.do = lambda *args, files, **named: fork(*args, files=(*files, told), **named)
    bench.snapshotter.take(point(5), image, lambda limit: True, done.append)
    child = int(os.read(begun, 20))
    bench.children.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child, 0)
    assert not [t for t in threading.enumerate() if t.name == "syncstructs-snapshot-child"]
    bench.posted.get(timeout=60)()
    # Who closes knows that it is over, and need not be told that something failed.
    assert isinstance(done[0], NodeClosed)
    assert bench.store.latest() is None
    bench.children.close()
    for end in (begun, told):
        os.close(end)


def test_a_child_stops_when_its_parent_is_gone():
    """Another process may have the directory by then."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        if os.fork() == 0:
            told = b"went on"
            former = os.getppid()
            try:
                os.kill(former, signal.SIGKILL)
                while os.getppid() == former:
                    pass
                for _ in while_parent_lives([b"1", b"2"], former, list):
                    pass
            except ProcessLookupError as error:
                told = str(error).encode()
            os.write(writing, told)
            os._exit(0)
        time.sleep(3600)
    os.close(writing)
    os.waitpid(parent, 0)
    assert b"parent of this process is gone" in os.read(reading, 100)
    os.close(reading)


def test_a_temporary_file_that_is_full_says_what_to_do():
    class Full(BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    store = MemorySnapshots(lambda size_bytes: Full())
    with pytest.raises(StorageError, match="No space left on device; set TMPDIR"):
        store.save(5, 1, 50, ALL, [b"x"])
    assert store.latest() is None


def test_without_a_place_for_files_it_is_done_here(monkeypatch, caplog):
    def refuse(**named):
        raise FileNotFoundError("No usable temporary directory found")

    monkeypatch.setattr(stores_module.tempfile, "TemporaryFile", refuse)
    bench = Bench(MemorySnapshots(partial(_image_file, FORK_BYTES)))
    bench.take(5, lambda: [pid()], large=True)
    assert bench.latest() == pid()
    assert "TMPDIR" in caplog.text


def test_where_no_process_can_be_made_nothing_is_left_open(bench, monkeypatch):
    def refuse():
        raise BlockingIOError("no room for another process")

    files = len(os.listdir("/proc/self/fd"))
    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(BlockingIOError):
        bench.take(5, lambda: [b"x"], large=True)
    assert len(os.listdir("/proc/self/fd")) == files


def test_where_no_thread_can_be_made_nothing_is_left_behind(bench, monkeypatch):
    before = own_children()

    def refuse(self):
        raise RuntimeError("can't start new thread")

    files = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            bench.take(5, lambda: [b"x"], large=True)
    assert len(os.listdir("/proc/self/fd")) == files
    assert own_children() == before
    assert bench.take(6, lambda: [b"x"], large=True).index == 6
    bench.children.close()


def test_a_child_that_somebody_else_has_reaped_keeps_nobody_from_closing(bench, monkeypatch):
    """As where SIGCHLD is ignored: the number is free as soon as the child has ended."""
    kill = os.kill

    def reaped(process, number):
        kill(process, number)
        os.waitpid(process, 0)
        kill(process, number)

    monkeypatch.setattr(os, "kill", reaped)
    done = []
    bench.snapshotter.take(
        point(5), lambda: time.sleep(3600) or [b"x"], lambda limit: True, done.append
    )
    bench.children.close()
    bench.posted.get(timeout=60)()
    assert isinstance(done[0], NodeClosed)


def test_no_child_is_begun_behind_the_end(bench):
    before = own_children()
    bench.children.close()
    with pytest.raises(NodeClosed):
        bench.take(5, lambda: time.sleep(3600), large=True)
    assert own_children() == before


def test_what_is_dropped_is_dropped_in_its_turn(monkeypatch):
    """Beside a snapshot that arrives, it could make the store forget that one."""

    class Worker(InlineWorker):
        turn = False

        def run(self, job, then):
            self.turn = True
            super().run(job, then)
            self.turn = False

    def refuse():
        raise BlockingIOError("no room for another process")

    bench, dropped = Bench(MemorySnapshots(partial(_image_file, FORK_BYTES))), []
    worker = bench.snapshotter._worker = Worker()
    draft = bench.store.draft()
    draft.drop = lambda: dropped.append(worker.turn)
    bench.store.draft = lambda: draft
    monkeypatch.setattr(os, "fork", refuse)
    with pytest.raises(BlockingIOError):
        bench.take(5, lambda: [b"x"], large=True)
    assert dropped == [True]


def test_without_fork_everything_is_done_here(bench, monkeypatch):
    arguments = bench.store, InlineWorker(), bench.children, FORK_BYTES
    assert isinstance(make_snapshotter(*arguments), ForkSnapshotter)
    monkeypatch.delattr(os, "fork")
    assert isinstance(make_snapshotter(*arguments), InlineSnapshotter)
