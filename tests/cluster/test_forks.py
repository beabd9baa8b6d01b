"""A node in a forked child is a copy that refuses all, and its end is nothing to the parent."""

import os
import subprocess
import sys
import threading
import time

import pytest

from syncstructs import Node, ReplDict
from syncstructs.cli.processes import free_addresses

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")

COMMON = """
import asyncio, gc, multiprocessing, os, sys, threading
from syncstructs import *

drive, address, data_dir = sys.argv[1:]
users, jobs, door = ReplDict(), ReplQueue(), ReplLock()


def make():
    return Node(
        address, consumers={"users": users, "jobs": jobs, "door": door}, drive=drive,
        data_dir=data_dir or None, session_ttl=3.0,
    )


def refused(call):
    try:
        call()
    except NodeClosed as error:
        assert "forked" in str(error), error
    else:
        raise AssertionError("not refused")


def watched():
    # What the loop of the node waits for, as the system knows it; nothing on other systems.
    selector = getattr(node._engine.runner.loop, "_selector", None)
    if not hasattr(selector, "fileno") or not os.path.isdir("/proc"):
        return []
    with open(f"/proc/self/fdinfo/{selector.fileno()}") as told:
        return sorted(line.split()[1] for line in told if line.startswith("tfd"))


def in_a_batch(node):
    with node.batch():
        users.set("ann", 0)


def in_the_child(node, early):
    for call in (
        lambda: users.set("ann", 0), lambda: users.set.submit("ann", 0), lambda: users["ann"],
        lambda: len(users), lambda: "ann" in users, lambda: users.get("ann"),
        lambda: jobs.get(timeout=5), jobs.get_nowait, lambda: door.acquire(timeout=5),
        lambda: early.result(5), node.wait_ready, node.barrier, node.status, lambda: node.objects,
        lambda: node.reading().__enter__(), lambda: node.attach("more", ReplDict()),
        lambda: node.create("more", ReplDict), lambda: node.drop("users"),
        lambda: in_a_batch(node),
    ):
        refused(call)
    if drive == "manual":
        refused(node.tick)
    assert not door.held
    assert node.leader is None
    node.close()
    assert node.close.submit().result(0) is None
    # A node of the child's own works.
    from syncstructs.cli.processes import free_addresses
    with Node(free_addresses(1)[0], consumers={"own": ReplCounter()}) as own:
        assert own.objects["own"].inc() == 1


def exited(child):
    _, status = os.waitpid(child, 0)
    assert status == 0, status
"""

BLOCKING = """
node = make()
node.wait_ready(20)
door.acquire()
early = jobs.get.submit()
before = watched()
child = os.fork()
if child == 0:
    in_the_child(node, early)
    node = users = jobs = door = early = None
    gc.collect()
    sys.exit()          # with all that an interpreter does at its end
exited(child)
assert watched() == before, (watched(), before)
process = multiprocessing.get_context("fork").Process(target=in_the_child, args=(node, early))
process.start()
process.join()
assert process.exitcode == 0, process.exitcode
for number in range(100):
    users["ann"] = number
jobs.put.submit("job")
assert early.result(10) == "job"
door.ensure_held()
door.release()
node.close()
"""

ASYNCIO = """
async def main():
    async with make() as node:
        await door.acquire.submit()
        early = jobs.get.submit()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                in_the_child(node, early)
                status = 0
            finally:
                os._exit(status)
        await asyncio.to_thread(exited, child)
        for number in range(100):
            await users.set.submit("ann", number)
        await jobs.put.submit("job")
        assert await early == "job"
        door.ensure_held()
        await door.release.submit()

asyncio.run(main())
"""


@pytest.mark.parametrize("store", ["memory", "disk"])
@pytest.mark.parametrize("drive", ["thread", "manual", "asyncio"])
def test_a_copy_in_a_child_refuses_all_and_its_end_is_nothing_to_the_parent(
    drive, store, tmp_path
):
    program = COMMON + (ASYNCIO if drive == "asyncio" else BLOCKING)
    data_dir = str(tmp_path / "data") if store == "disk" else ""
    done = subprocess.run(
        [sys.executable, "-c", program, drive, free_addresses(1)[0], data_dir],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


OUTLIVED = """
import os, signal, sys
from syncstructs import *
from syncstructs.monitor import serve

address, shown, data_dir = sys.argv[1:]
node = Node(address, [address], consumers={"hits": ReplCounter()}, data_dir=data_dir or None)
node.wait_ready(20)
observer = Node(None, [address])
observer.wait_ready(20)
monitor = serve(node, shown)
reading, writing = os.pipe()
child = os.fork()
if child == 0:
    os.close(writing)
    monitor.close()
    os.read(reading, 1)     # until the grandparent is gone
    os._exit(0)
assert node._engine._network.guests() == (observer.address,)
assert node.objects["hits"].inc() == 1
observer.close()
node.close()
with Node(address, [address], consumers={"hits": ReplCounter()}, data_dir=data_dir or None) as node:
    with serve(node, shown):
        assert node.objects["hits"].inc() == (2 if data_dir else 1)
os.kill(child, signal.SIGKILL)
"""


@pytest.mark.parametrize("store", ["memory", "disk"])
@pytest.mark.parametrize("loop", ["of asyncio", "as installed"])
def test_a_child_that_outlives_the_node_keeps_neither_its_address_nor_its_directory(
    store, loop, tmp_path
):
    program = OUTLIVED
    if loop == "of asyncio":
        program = "import sys; sys.modules['uvloop'] = None\n" + program
    data_dir = str(tmp_path / "data") if store == "disk" else ""
    done = subprocess.run(
        [sys.executable, "-c", program, *free_addresses(2), data_dir],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr, done.stderr


class Peeking(ReplDict):
    """Reads itself as users do while its snapshot is taken."""

    def snapshot_state(self):
        return {"_items": dict(self.items())}


def test_the_child_that_writes_a_snapshot_may_read_the_objects(tmp_path, caplog):
    users = Peeking()
    with Node(
        free_addresses(1)[0],
        consumers={"users": users},
        data_dir=tmp_path,
        snapshot_log_entries=5,
        snapshot_fork_bytes=1,
    ) as node:
        for number in range(40):
            users["ann"] = number
        deadline = time.monotonic() + 20
        while node.status()["snapshot_index"] < 20:
            assert time.monotonic() < deadline, caplog.text
            users["ann"] = 0
            threading.Event().wait(0.01)
    assert "snapshot" not in caplog.text
