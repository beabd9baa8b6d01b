"""Nodes in this process, on loopback: the public face under each way of driving."""

import asyncio
import contextvars
import copy
import errno
import gc
import pickle
import queue
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from syncstructs import (
    BindError,
    BlockingCall,
    Config,
    ConfigError,
    DataDirBusy,
    DataDirDamaged,
    DataDirForeign,
    LockLost,
    Node,
    NodeClosed,
    NodeFailed,
    NotApplied,
    NotAttached,
    NotReplicated,
    ObjectExists,
    ObjectMismatch,
    ObjectNotFound,
    OutcomeUnknown,
    ReplCounter,
    ReplDict,
    Replicated,
    ReplIdGenerator,
    ReplList,
    ReplLock,
    ReplLockManager,
    ReplPriorityQueue,
    ReplQueue,
    ReplSet,
    StorageError,
    SyncObj,
    Timeout,
    TooLarge,
    Unserializable,
    Withdrawn,
    replicated,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.node import engine
from syncstructs.objects.versions import RELEASE


class MyCounter(SyncObj):
    def __init__(self, address, partners, **config):
        self.before = 5
        super().__init__(address, partners, **config)
        self.__counter = 0

    @replicated
    def incCounter(self):  # noqa: N802  (spelled as users of PySyncObj do)
        self.__counter += 1
        return self.__counter

    def getCounter(self):  # noqa: N802
        return self.__counter


def consumers():
    return {
        "users": ReplDict(),
        "hits": ReplCounter(),
        "line": ReplList(),
        "words": ReplSet(),
        "jobs": ReplQueue(),
        "urgent": ReplPriorityQueue(),
        "door": ReplLock(),
    }


@pytest.fixture
def address():
    return free_addresses(1)[0]


@pytest.fixture(scope="module")
def trio():
    addresses = free_addresses(3)
    nodes = [Node(a, addresses, consumers=consumers()) for a in addresses]
    for node in nodes:
        node.wait_ready(20)
    yield nodes
    for node in nodes:
        node.close()


def eventually(condition, within=10.0):
    """Wait for something that another thread does by itself."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "it never became true"
        threading.Event().wait(0.002)


# Three members, thread-driven


def test_a_write_on_any_member_is_read_on_every_other(trio):
    for i, node in enumerate(trio):
        node.objects["users"][f"key{i}"] = i
        for other in trio:
            other.barrier(10)
            assert other.objects["users"][f"key{i}"] == i


def test_whoever_saw_a_write_return_reads_it_locally(trio):
    for i in range(50):
        for node in trio:
            node.objects["users"]["own"] = (i, node.address)
            assert node.objects["users"]["own"] == (i, node.address)


def test_what_a_caller_mutates_later_changes_no_replica(trio):
    mine = [1]
    trio[0].objects["users"]["list"] = mine
    mine.append(2)
    trio[0].objects["users"]["list"].append(3)
    for node in trio:
        node.barrier(10)
        assert node.objects["users"]["list"] == [1]


def test_a_batch_is_one_entry_and_atomic(trio):
    first, second, _ = trio
    before = first.status()["commit_index"]
    with first.batch():
        future = first.objects["hits"].add.submit(5)
        first.objects["users"]["batched"] = 1
        first.objects["line"].append("x")
        assert not future.done()
    assert future.result(0) >= 5
    assert first.status()["commit_index"] == before + 1
    second.barrier(10)
    assert second.objects["users"]["batched"] == 1


def test_a_batch_of_equal_calls_keeps_what_was_passed_and_each_calls_own_end(trio):
    node, other, _ = trio
    users, words = node.objects["users"], node.objects["words"]
    given = [1]
    with pytest.raises(KeyError, match="first absent"), node.batch():  # noqa: PT012
        for number in range(3):
            users[f"equal-{number}"] = number
        users[2**70] = "\ud800"
        users["given"] = given
        given.append(2)
        ends = [words.add.submit(word) for word in ("new", "more")]
        ends += [words.remove.submit(word) for word in ("first absent", "new", "absent too")]
    assert users["given"] == [1]
    assert [users[f"equal-{number}"] for number in range(3)] == [0, 1, 2]
    assert users[2**70] == "\ud800"
    told = [repr(end.exception(0)) for end in ends]
    assert told == ["None", "None", "KeyError('first absent')", "None", "KeyError('absent too')"]
    other.barrier(10)
    assert other.objects["users"].copy() == users.copy()
    assert "more" in other.objects["words"]


@pytest.mark.pure("what it tells of itself is built in")
def test_batches_have_no_runs_as_long_as_one_node_has_an_older_release(monkeypatch):
    first, second = free_addresses(2)
    # Neither is ready without the other.
    with closing(Node(first, [second], consumers={"users": ReplDict()})) as node:
        for release in (RELEASE - 1, RELEASE):
            with monkeypatch.context() as older:
                older.setattr(engine, "RELEASE", release)
                member = Node(second, [first], consumers={"users": ReplDict()})
            with member:
                node.wait_ready(10)
                node.barrier(10)
                with node.batch():
                    node.objects["users"][release] = 1
                    node.objects["users"]["last"] = release
                member.barrier(10)
                for one in (node, member):
                    assert one._engine.all_read_runs is (release == RELEASE)
                    assert one.objects["users"][release] == 1
                    assert one.objects["users"]["last"] == release


def test_a_batch_that_ends_in_another_context_raises_and_gathers_nothing_more(trio):
    node = trio[0]
    users, entered = node.objects["users"], contextvars.copy_context()
    block = node.batch()

    def enter():
        block.__enter__()
        return users.set.submit("gathered", 1)

    def after():
        users["after"] = 2
        with node.batch():
            users["later"] = 3

    gathered = entered.run(enter)
    with pytest.raises(NotApplied, match="left in another context"):
        block.__exit__(None, None, None)
    with pytest.raises(NotApplied, match="left in another context"):
        gathered.result(0)
    entered.run(after)
    assert (users["after"], users["later"]) == (2, 3)
    assert "gathered" not in users


def test_a_batch_raises_the_first_error_after_all_calls_ran(trio):
    node = trio[0]
    with pytest.raises(KeyError, match="absent"):  # noqa: PT012, SIM117
        with node.batch():
            node.objects["users"]["one"] = 1
            node.objects["words"].remove("absent")
            node.objects["users"]["two"] = 2
    assert (node.objects["users"]["one"], node.objects["users"]["two"]) == (1, 2)


def test_a_batch_whose_block_raises_sends_nothing(trio):
    node = trio[0]
    with pytest.raises(ZeroDivisionError):  # noqa: PT012, SIM117
        with node.batch():
            node.objects["users"]["never"] = 1
            _ = 1 / 0
    node.barrier(10)
    assert "never" not in node.objects["users"]


def test_a_callback_that_raises_changes_nothing(trio, caplog):
    node = trio[0]
    before = node.objects["hits"].get()
    node.objects["hits"].add.submit(1).add_done_callback(lambda _: 1 / 0)
    assert node.objects["hits"].add(1) == before + 2
    assert "a callback of a future raised" in caplog.text


def test_objects_are_created_and_dropped_on_any_member_and_seen_on_all(trio):
    first, second, third = trio
    made = second.create("extra", ReplDict, {"a": 1})
    assert second.create("extra", ReplDict, {"a": 1}) is made
    with pytest.raises(ObjectExists):
        third.create("extra", ReplSet)
    third.barrier(10)
    third.objects["extra"]["b"] = 2
    first.barrier(10)
    assert first.objects["extra"] == {"a": 1, "b": 2}
    first.drop("extra")
    with pytest.raises(ObjectNotFound):
        made["c"] = 3
    third.barrier(10)
    assert "extra" not in third.objects


def test_whatever_is_called_on_a_dropped_object_is_not_found(trio):
    first, second, third = trio
    jobs, door, doors = ReplQueue(), ReplLock(), ReplLockManager()
    for name, target in (("jobs2", jobs), ("door2", door), ("doors2", doors)):
        first.attach(name, target)
    second.barrier(10)
    parked = [jobs.get.submit(), second.objects["jobs2"].get.submit(timeout=30.0)]
    door.acquire()
    with doors["a"]:
        parked.append(door.acquire.submit())
        parked.append(second.objects["door2"].acquire.submit(timeout=30.0))
        eventually(lambda: not any(future.done() for future in parked))
        theirs = dict(second.objects)
        for name in ("jobs2", "door2"):
            third.drop(name)
    first.drop("doors2")
    second.barrier(10)
    first.barrier(10)
    for future in parked:
        with pytest.raises(ObjectNotFound, match="was dropped"):
            future.result(10)
    for call in (
        jobs.get, jobs.get_nowait, door.acquire, door.release, theirs["door2"].acquire,
        lambda: jobs.get(timeout=1.0), lambda: theirs["jobs2"].put(1), lambda: doors.acquire("a"),
        lambda: doors["a"].acquire(), lambda: theirs["doors2"]["b"].acquire(blocking=False),
    ):  # fmt: skip
        with pytest.raises(ObjectNotFound, match="was dropped"):
            call()


def test_an_object_attached_later_takes_over_the_state(trio):
    first, second, _ = trio
    mine = first.attach("late", ReplDict({"a": 1}))
    mine["b"] = 2
    second.barrier(10)
    yours = second.attach("late", ReplDict())
    assert yours == {"a": 1, "b": 2}
    yours["c"] = 3
    first.barrier(10)
    assert mine == {"a": 1, "b": 2, "c": 3}
    with pytest.raises(ObjectMismatch):
        trio[2].attach("late", ReplList())


def test_reading_holds_the_state_while_others_write(trio):
    node, other, _ = trio
    with node.reading():
        before = dict(node.objects["users"])
        other.objects["users"]["while reading"] = time.monotonic()
        assert dict(node.objects["users"]) == before
        with pytest.raises(BlockingCall):
            node.objects["users"]["mine"] = 1
    node.barrier(10)
    assert "while reading" in node.objects["users"]


def test_many_threads_may_call_at_once(trio):
    start = trio[0].objects["hits"].get()

    def work(node):
        for _ in range(50):
            node.objects["hits"].add(1)

    threads = [threading.Thread(target=work, args=(node,)) for node in trio for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    trio[0].barrier(10)
    assert trio[0].objects["hits"].get() == start + 600


def test_two_threads_of_one_process_do_not_share_a_lock(trio):
    door = trio[0].objects["door"]
    with door:
        results = []
        thread = threading.Thread(target=lambda: results.append(door.acquire(timeout=0.1)))
        thread.start()
        thread.join(10)
        assert results == [False]
    assert door.acquire(blocking=False)
    door.release()


def test_queues_wait_and_time_out(trio):
    first, second, _ = trio
    with pytest.raises(queue.Empty):
        first.objects["jobs"].get(timeout=0.05)
    waiting = first.objects["jobs"].get.submit()
    second.objects["jobs"].put("job")
    assert waiting.result(10) == "job"
    first.barrier(10)
    assert first.objects["jobs"].empty()


def test_a_cancelled_get_loses_no_item(trio):
    node, other, _ = trio
    waiting = node.objects["jobs"].get.submit()
    assert waiting.cancel()
    other.objects["jobs"].put("kept")
    assert other.objects["jobs"].get(timeout=10) == "kept"


def test_a_blocking_call_in_a_callback_is_refused(trio):
    node = trio[0]
    seen = queue.Queue()

    def callback(_):
        try:
            node.objects["hits"].add(1)
        except BlockingCall as error:
            seen.put(error)

    with node.reading():
        # Nothing is applied in here, so the callback is there before the result.
        node.objects["hits"].add.submit(1).add_done_callback(callback)
    assert isinstance(seen.get(timeout=10), BlockingCall)


def test_an_argument_that_has_no_encoding_is_refused_before_anything_is_sent(trio):
    with pytest.raises(Unserializable, match="function"):
        trio[0].objects["users"]["f"] = lambda: 1
    users = trio[0].objects["users"]
    with pytest.raises(NotReplicated):
        users._port.call(users._binding, "keys", (), {})


# One member


def test_the_counter_of_the_readme(address):
    addresses = free_addresses(3)
    counters = [MyCounter(a, [b for b in addresses if b != a]) for a in addresses]
    try:
        for counter in counters:
            counter.wait_ready(20)
        for counter in counters:
            counter.incCounter()
        for counter in counters:
            counter.barrier(10)
            assert counter.getCounter() == 3
            assert counter.snapshot_state() == {"before": 5, "_MyCounter__counter": 3}
    finally:
        for counter in counters:
            counter.close()


def test_everything_works_under_asyncio():
    async def main():
        addresses = free_addresses(3)
        nodes = [Node(a, addresses, consumers=consumers(), drive="asyncio") for a in addresses]
        for node in nodes:
            await node.wait_ready.submit(20)
        one, two, three = (node.objects for node in nodes)
        await one["users"].set.submit("ann", 7)
        assert one["users"]["ann"] == 7
        await nodes[1].barrier.submit(10)
        assert two["users"]["ann"] == 7
        with pytest.raises(BlockingCall):
            one["users"]["ann"] = 8
        assert await two["hits"].add.submit(2) == 2
        await three["line"].append.submit("x")
        await one["words"].add.submit("w")
        await one["urgent"].put.submit(3)
        assert await two["urgent"].get.submit() == 3
        got = asyncio.ensure_future(_get(two["jobs"]))
        await three["jobs"].put.submit("job")
        assert await asyncio.wait_for(got, 10) == "job"
        async with one["door"]:
            assert not await two["door"].acquire.submit(blocking=False)
        assert await two["door"].acquire.submit(timeout=5)
        await two["door"].release.submit()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(_get(one["jobs"]), 0.05)
        await two["jobs"].put.submit("kept")
        assert await two["jobs"].get.submit(timeout=10) == "kept"
        async with nodes[0].batch():
            one["hits"].set(10)
            one["users"]["in"] = 1
        assert one["hits"].get() == 10
        for node in nodes:
            await node.close.submit()

    asyncio.run(main(), debug=False)


async def _get(jobs):
    return await jobs.get.submit()


def test_everything_works_under_manual_tick():
    addresses = free_addresses(3)
    nodes = [Node(a, addresses, consumers=consumers(), drive="manual") for a in addresses]

    def until(future):
        deadline = time.monotonic() + 20
        while not future.done():
            assert time.monotonic() < deadline
            for node in nodes:
                node.tick(0.001)
        return future.result()

    for node in nodes:
        until(node.wait_ready.submit())
    one, two, three = (node.objects for node in nodes)
    until(one["users"].set.submit("ann", 7))
    until(nodes[2].barrier.submit())
    assert three["users"]["ann"] == 7
    assert until(two["hits"].add.submit(2)) == 2
    waiting = two["jobs"].get.submit()
    until(three["jobs"].put.submit("job"))
    assert until(waiting) == "job"
    assert until(one["door"].acquire.submit()) is True
    assert until(two["door"].acquire.submit(blocking=False)) is False
    until(one["door"].release.submit())
    for node in nodes:
        node.close()


def test_a_manual_node_is_driven_by_its_own_blocking_calls(address):
    with Node(address, drive="manual", consumers={"users": ReplDict()}) as node:
        node.objects["users"]["a"] = 1
        assert node.objects["users"] == {"a": 1}
        node.barrier(5)


def test_ids_are_unique_over_many_threads(address):
    with Node(address, consumers={"ids": ReplIdGenerator(20)}) as node:
        node.wait_ready(10)
        ids = node.objects["ids"]
        with ThreadPoolExecutor(4) as pool:
            given = list(pool.map(lambda number: next(ids), range(400)))
        futures = [ids.next_id.submit() for _ in range(100)]
        given += [future.result(10) for future in futures]
        assert len(set(given)) == 500
        assert given[400:] == sorted(given[400:])


def test_a_list_of_consumers_is_named_by_class_and_ordinal(address):
    with Node(address, consumers=[ReplDict(), ReplSet(), ReplDict()]) as node:
        assert sorted(node.objects) == ["ReplDict1", "ReplDict2", "ReplSet1"]


def test_state_on_disk_is_there_after_a_restart_whatever_the_order_of_objects(address, tmp_path):
    made = {"users": ReplDict(), "hits": ReplCounter()}
    with Node(address, consumers=made, data_dir=str(tmp_path)) as node:
        made["users"]["a"] = (1, 2)
        made["hits"].add(3)
    again = {"words": ReplSet(), "hits": ReplCounter(), "users": ReplDict()}
    with Node(address, consumers=again, data_dir=str(tmp_path)) as node:
        assert again["users"] == {"a": (1, 2)}
        assert again["hits"].get() == 3
        assert node.status()["term"] >= 2


def test_state_of_an_object_that_is_not_attached_is_kept_for_later(address, tmp_path):
    made = {"custom": MyBox(), "hits": ReplCounter()}
    settings = {"data_dir": str(tmp_path), "snapshot_log_entries": 20}
    with Node(address, consumers=made, **settings) as node:
        for i in range(50):
            made["custom"].put(i)
        eventually(lambda: node.status()["snapshot_index"] > 0)
    with Node(address, consumers={"hits": ReplCounter()}, **settings) as node:
        for _ in range(50):
            node.objects["hits"].add(1)
    with Node(address, consumers={"custom": MyBox()}, **settings) as node:
        assert node.objects["custom"].content == list(range(50))


class MyBox(Replicated):
    def __init__(self):
        self.content = []

    @replicated
    def put(self, thing):
        self.content.append(thing)


# Bad input


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({"address": "localhost"}, "no port"),
        ({"address": "localhost:http"}, "number from 1 to 65535"),
        ({"address": "localhost:0"}, "number from 1 to 65535"),
        ({"address": "::1:4000"}, "brackets"),
        ({"peers": ["nowhere"]}, "peer 'nowhere' has no port"),
        ({"peers": "host:1"}, "list of addresses"),
        ({"heartbeat": 1}, "'heartbeat' is no setting"),
        ({"heartbeat_interval": -1}, "heartbeat_interval -1"),
        ({"digest_interval": 0}, "digest_interval 0 must be above 0"),
        ({"snapshot_rate": 0}, "snapshot_rate 0 must be above 0"),
        ({"snapshot_rate": "1MB"}, "snapshot_rate '1MB' must be a number"),
        ({"digest_interval": "1"}, "digest_interval '1' must be a number"),
        ({"drive": "magic"}, "drive 'magic'"),
        ({"join": "no"}, "join 'no' must be True or False"),
        ({"consumers": {"": ReplDict}}, "object name ''"),
        ({"consumers": {"x": {}}}, "not a Replicated"),
    ],
)
def test_a_wrong_setting_is_refused_in_one_sentence(address, bad, says):
    with pytest.raises(ConfigError, match=says) as caught:
        Node(**{"address": address, **bad})
    assert "\n" not in str(caught.value)


def test_asyncio_needs_a_running_loop(address):
    with pytest.raises(ConfigError, match="running loop"):
        Node(address, drive="asyncio")


def test_own_address_among_the_peers_is_accepted(address):
    with Node(address, [address]) as node:
        assert node.members == (address,)
        assert node.is_leader


def test_a_port_in_use_is_refused(address):
    with Node(address), pytest.raises(BindError, match=address.split(":")[1]):
        Node(address)


def test_a_port_in_use_ends_wait_ready_under_asyncio(address):
    async def main():
        node = Node(address, drive="asyncio", consumers={"users": ReplDict()})
        with pytest.raises(BindError):
            await node.wait_ready.submit(5)
        await node.close.submit()

    with Node(address):
        asyncio.run(main())


def test_an_object_may_be_attached_once_only(address):
    users = ReplDict()
    with Node(address, consumers={"users": users}) as node:
        with pytest.raises(ObjectExists):
            node.attach("other", users)
        with pytest.raises(ObjectExists):
            Node(free_addresses(1)[0], consumers={"users": users})


def test_a_call_on_an_unattached_object_says_what_to_do():
    with pytest.raises(NotAttached, match=r"node\.attach"):
        ReplCounter().add(1)


def test_a_call_on_a_closed_node_is_refused(address):
    users = ReplDict()
    with Node(address, consumers={"users": users}) as node:
        users["a"] = 1
    with pytest.raises(NodeClosed):
        users["b"] = 2
    assert users["a"] == 1
    node.close()


def test_an_argument_over_the_limit_is_refused(address):
    with Node(address, consumers={"users": ReplDict()}, max_command_bytes=1000) as node:
        with pytest.raises(TooLarge, match="max_command_bytes"):
            node.objects["users"]["big"] = "x" * 2000
        node.objects["users"]["small"] = 1


def test_ready_means_ready_now():
    addresses = free_addresses(3)
    nodes = [Node(a, addresses, consumers={"users": ReplDict()}) for a in addresses]
    try:
        for node in nodes:
            node.wait_ready(20)
        last, *others = nodes
        for node in others:
            node.close()
        # At once, although this node has hardly noticed yet that it is alone.
        with pytest.raises(Timeout):
            last.wait_ready(0.3)
        eventually(lambda: not last.status()["connected"])
        with pytest.raises(Timeout) as caught:
            last.wait_ready(0.01)
        assert f"no link to {', '.join(sorted(addresses[1:]))}" in str(caught.value)
        waiting = last.wait_ready.submit()
        # Two of three have lost their memory: only all together can tell that nothing is lost.
        nodes.append(Node(addresses[1], addresses, consumers={"users": ReplDict()}))
        with pytest.raises(Timeout, match="started empty"):
            nodes[-1].wait_ready(0.3)
        nodes.append(Node(addresses[2], addresses, consumers={"users": ReplDict()}))
        nodes[-1].wait_ready(20)
        waiting.result(20)
        last.wait_ready(20)
        assert waiting.done()
    finally:
        for node in nodes:
            node.close()


def test_an_object_that_the_cluster_refused_makes_every_wait_for_ready_fail(address, tmp_path):
    Node(address, consumers={"users": ReplDict()}, data_dir=tmp_path).__enter__().close()
    node = Node(address, consumers={"users": ReplList()}, data_dir=tmp_path)
    for _ in range(2):
        with pytest.raises(ObjectMismatch):
            node.wait_ready(10)
    node.close()


def test_a_call_without_a_quorum_ends_as_not_applied():
    addresses = free_addresses(3)
    node = Node(addresses[0], addresses, consumers={"users": ReplDict()}, call_timeout=0.2)
    try:
        users = ReplDict()
        node.attach.submit("more", users)
        with pytest.raises(Withdrawn) as caught:
            users["a"] = 1
        assert isinstance(caught.value, TimeoutError)
        with pytest.raises(Timeout, match="no leader"):
            node.wait_ready(0.1)
        with pytest.raises(Timeout):
            node.barrier(0.1)
        lock = ReplLock()
        node.attach.submit("lock", lock)
        with pytest.raises(Withdrawn):
            lock.acquire()
    finally:
        node.close()


def test_a_damaged_member_comes_back_by_the_advice_that_it_is_refused_with(tmp_path):
    addresses = free_addresses(3)
    hits = [ReplCounter() for _ in addresses]
    paths = [tmp_path / str(n) for n in range(3)]

    def start(n, **more):
        hits[n], objects = ReplCounter(), {}
        objects["hits"] = hits[n]
        return Node(addresses[n], addresses, consumers=objects, data_dir=paths[n], **more)

    nodes = [start(n) for n in range(3)]
    try:
        for node in nodes:
            node.wait_ready(20)
        hits[0].add(5)
        nodes[0].close()
        (log,) = paths[0].glob("log-*")
        damaged = bytearray(log.read_bytes())
        damaged[len(damaged) // 2] ^= 1
        log.write_bytes(damaged)
        with pytest.raises(DataDirDamaged) as caught:
            start(0)
        for word in ("majority", "acknowledges writes", "empty directory", "join=True"):
            assert word in str(caught.value)
        for n in (1, 2):
            nodes[n].wait_ready(20)
            assert hits[n].inc() == 5 + n
        shutil.rmtree(paths[0])
        nodes[0] = start(0, join=True)
        nodes[0].wait_ready(20)
        assert hits[0].value == 7
        # And it carries the cluster now.
        nodes[1 if nodes[1].is_leader else 2].close()
        assert hits[0].inc() == 8
    finally:
        for node in nodes:
            node.close()


@pytest.mark.parametrize("what", ["file", "foreign node", "foreign cluster", "busy"])
def test_a_data_directory_that_is_not_this_nodes_is_refused(address, tmp_path, what):
    path = tmp_path / "data"
    if what == "file":
        path.write_text("hello")
        with pytest.raises(StorageError, match="data"):
            Node(address, data_dir=str(path))
        return
    other = free_addresses(1)[0]
    with Node(address, data_dir=str(path), cluster="ours"):
        if what == "busy":
            with pytest.raises(DataDirBusy):
                Node(other, data_dir=str(path), cluster="ours")
    if what == "foreign node":
        with pytest.raises(DataDirForeign, match=address):
            Node(other, data_dir=str(path), cluster="ours")
    if what == "foreign cluster":
        with pytest.raises(DataDirForeign, match="ours"):
            Node(address, data_dir=str(path), cluster="theirs")
    with Node(address, data_dir=str(path), cluster="ours"):
        pass


# What is left behind


def test_closing_leaves_no_thread_and_no_socket(address, tmp_path):
    before = set(threading.enumerate())
    for drive in ("thread", "manual"):
        node = Node(address, drive=drive, data_dir=str(tmp_path))
        node.wait_ready(10)
        node.close()
        node.close()
    assert set(threading.enumerate()) == before
    gc.collect()


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_node_and_its_objects_are_neither_pickled_nor_copied(address, duplicate):
    users, doors = ReplDict(), ReplLockManager()
    other = free_addresses(1)[0]
    with (
        Node(address, consumers={"users": users, "doors": doors}) as node,
        MyCounter(other, []) as counter,
    ):
        for member in (node, counter):
            with pytest.raises(TypeError, match=rf"{member.address} cannot be pickled or copied"):
                duplicate(member)
        for target in (users, doors):
            with pytest.raises(TypeError, match="it is a handle on replicated state; pass"):
                duplicate(target)
        users["ann"] = 1


def test_config_is_taken_whole_or_by_field(address):
    with Node(address, config=Config(cluster="x"), session_ttl=5) as node:
        assert node._engine.config.cluster == "x"
        assert node._engine.config.session_ttl == 5


def test_a_lock_is_lost_when_the_node_closes(address):
    lost = []
    door = ReplLock(on_lost=lambda: lost.append(1))
    node = Node(address, consumers={"door": door})
    node.wait_ready(10)
    door.acquire()
    assert door.held
    node.close()
    assert not door.held
    with pytest.raises(LockLost):
        door.ensure_held()


def test_an_await_that_is_cancelled_as_its_result_comes_keeps_nothing(address):
    """The future is done, the task not yet resumed: what it was given is given back."""

    async def cancel_as_it_comes(node, submit):
        with node.reading():
            # Nothing is applied in here, so the task waits before the result can come.
            future = submit()
            task = asyncio.ensure_future(_await(future))
            await asyncio.sleep(0)
        # Runs before the task does, which the result has made ready in this very moment.
        future.add_done_callback(lambda _: task.cancel())
        with pytest.raises(asyncio.CancelledError):
            await task
        assert future.done()

    async def main():
        made = {"jobs": ReplQueue(), "door": ReplLock(), "doors": ReplLockManager()}
        async with Node(address, drive="asyncio", consumers=made) as node:
            jobs, door, doors = made.values()
            await jobs.put.submit("kept")
            await cancel_as_it_comes(node, jobs.get.submit)
            assert await jobs.get.submit(timeout=5) == "kept"
            await cancel_as_it_comes(node, door.acquire.submit)
            assert await door.acquire.submit(timeout=5)
            await cancel_as_it_comes(node, lambda: doors.acquire.submit("a"))
            assert await doors.acquire.submit("a", timeout=5)

    asyncio.run(main())


async def _await(future):
    return await future


def test_a_node_whose_disk_is_full_stops_with_a_word_and_loses_nothing(
    address, tmp_path, monkeypatch
):
    made = {"users": ReplDict()}
    node = Node(address, consumers=made, data_dir=str(tmp_path))
    node.wait_ready(10)
    made["users"]["kept"] = 1

    def full(self, offset, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("syncstructs.storage.disk._OsFile.write", full)
        with pytest.raises(OutcomeUnknown, match="disk is full"):
            made["users"]["lost"] = 2
    with pytest.raises(NodeFailed, match="disk is full"):
        made["users"]["after"] = 3
    with pytest.raises(NodeFailed, match="disk is full"):
        node.barrier(1)
    assert "disk is full" in node.status()["failure"]
    node.close()
    again = {"users": ReplDict()}
    with Node(address, consumers=again, data_dir=str(tmp_path)):
        assert again["users"] == {"kept": 1}


def test_a_member_that_failed_leaves_the_cluster_to_the_others(tmp_path, monkeypatch):
    addresses = free_addresses(3)
    nodes = [
        Node(a, addresses, consumers={"users": ReplDict()}, data_dir=str(tmp_path / f"{i}"))
        for i, a in enumerate(addresses)
    ]
    for node in nodes:
        node.wait_ready(20)
    leader = next(node for node in nodes if node.is_leader)
    broken = leader._engine._stores.log
    monkeypatch.setattr(broken, "append", _input_output_error)
    call = leader.objects["users"].set.submit("x", 1)
    # The two others may have committed it before the leader's disk was heard of.
    assert call.exception(10) is None or isinstance(call.exception(), OutcomeUnknown)
    eventually(lambda: leader.status()["failure"] is not None)
    others = [node for node in nodes if node is not leader]
    others[0].objects["users"]["y"] = 2
    others[1].barrier(10)
    assert others[1].objects["users"]["y"] == 2
    if call.exception() is None:
        assert others[1].objects["users"]["x"] == 1
    for node in nodes:
        node.close()


def _input_output_error(appends):
    raise StorageError("the disk reports an input/output error")


def test_calls_that_were_applied_before_a_failure_get_their_results(address):
    node = Node(address, consumers={"box": Fatal()}, batch_bytes=10)
    node.wait_ready(10)
    box = node.objects["box"]
    with node.reading():
        # Nothing is applied in here, so that all of it is applied in one go.
        applied = [box.put.submit("x" * 20) for _ in range(5)]
        fatal = box.fail.submit()
        eventually(lambda: node.status()["commit_index"] > node.status()["applied_index"] + 5)
    assert [future.result(10) for future in applied] == [1, 2, 3, 4, 5]
    assert isinstance(fatal.exception(10), OutcomeUnknown)
    node.close()


class Fatal(Replicated):
    def __init__(self):
        self.count = 0

    @replicated
    def put(self, thing):
        self.count += 1
        return self.count

    @replicated
    def fail(self):
        raise MemoryError("out of it")


@pytest.mark.parametrize("drive", ["thread", "manual"])
def test_waits_on_a_closed_node_end_at_once(address, drive):
    node = Node(address, drive=drive)
    node.wait_ready(10)
    node.close()
    with pytest.raises(NodeClosed):
        node.barrier.submit().result(0)
    with pytest.raises(NodeClosed):
        node.wait_ready.submit(5).result(0)


def test_a_release_that_could_not_be_sent_may_be_repeated():
    addresses = free_addresses(3)

    def make(address):
        return Node(
            address, addresses, consumers={"door": ReplLock()}, call_timeout=0.5, session_ttl=30
        )

    nodes = [make(address) for address in addresses]
    for node in nodes:
        node.wait_ready(20)
    holder = next(node for node in nodes if not node.is_leader)
    others = [node for node in nodes if node is not holder]
    door = holder.objects["door"]
    door.acquire()
    for node in others:
        node.close()
    eventually(lambda: holder.leader is None)
    with pytest.raises(Withdrawn):
        door.release()
    assert door.token is not None
    back, other = make(others[0].address), make(others[1].address)
    back.wait_ready(20)
    door.release()
    assert back.objects["door"].acquire(timeout=10)
    holder.close()
    back.close()
    other.close()


def test_every_future_of_a_batch_ends_however_the_batch_does(address):
    users = ReplDict()
    with Node(address, consumers={"users": users}, max_command_bytes=2000) as node:
        gathered = []
        with pytest.raises(TooLarge):  # noqa: SIM117
            with node.batch():
                gathered.extend(users.set.submit(i, "x" * 100) for i in range(30))
        assert isinstance(gathered[0].exception(0), TooLarge)
    addresses = free_addresses(3)
    alone = Node(addresses[0], addresses, consumers={"users": ReplDict()}, call_timeout=0.2)
    more = ReplDict()
    alone.attach.submit("more", more)
    with pytest.raises(Withdrawn), alone.batch():
        future = more.set.submit(1, 2)
    assert isinstance(future.exception(0), Withdrawn)
    alone.close()


def test_what_a_batch_raises_in_another_context_is_not_replaced(trio):
    users = trio[0].objects["users"]

    def block():
        with trio[0].batch():
            gathered.append(users.set.submit("gathered", 1))
            yield

    gathered, entered = [], block()
    contextvars.copy_context().run(next, entered)
    with pytest.raises(ZeroDivisionError):
        entered.throw(ZeroDivisionError)
    assert isinstance(gathered[0].exception(0), NotApplied)


def _interrupted(*_):
    raise KeyboardInterrupt


def _interrupted_once(method):
    def first():
        interrupts.pop()
        raise KeyboardInterrupt

    interrupts = [first]
    return lambda *args: interrupts[0]() if interrupts else method(*args)


def test_a_call_that_is_interrupted_before_it_was_sent_has_ended(monkeypatch):
    addresses, users = free_addresses(3), ReplDict()
    alone = Node(addresses[0], addresses, consumers={"users": users})
    with closing(alone):
        with monkeypatch.context() as patch:
            patch.setattr(alone._engine.runner, "block", _interrupted)
            with pytest.raises(KeyboardInterrupt), alone.batch():
                gathered = users.set.submit("taken back", 1)
        with pytest.raises(NotApplied, match="interrupted before it was sent"):
            gathered.result(0)
        waiting = alone._engine.calls.waiting
        assert not any(b"taken back" in call.command for call in waiting)


@pytest.mark.pure("a method is changed")
@pytest.mark.parametrize("place", ["close", "send"])
def test_a_batch_that_is_interrupted_as_it_ends_ends_its_futures(trio, monkeypatch, place):
    node, block = trio[0], trio[0].batch()
    batch = block.__enter__()
    gathered = node.objects["users"].set.submit("gathered", 1)
    owner = batch if place == "close" else node._engine
    monkeypatch.setattr(owner, place, _interrupted_once(getattr(owner, place)))
    with pytest.raises(KeyboardInterrupt):
        block.__exit__(None)
    assert isinstance(gathered.exception(0), OutcomeUnknown)
    assert not batch.open


@pytest.mark.pure("a method is changed")
def test_a_block_that_may_not_wait_at_its_end_sends_nothing(trio, monkeypatch):
    node, users, sent = trio[0], trio[0].objects["users"], []
    batch, transaction = node.batch(), node.transaction()
    batch.__enter__()
    gathered = users.set.submit("held", 1)
    monkeypatch.setattr(node._engine, "send", sent.append)
    with node.reading(), pytest.raises(BlockingCall):
        batch.__exit__(None)
    assert isinstance(gathered.exception(0), BlockingCall)
    monkeypatch.undo()
    transaction.__enter__()[users]["held"] = 1
    monkeypatch.setattr(node._engine, "send", sent.append)
    with node.reading(), pytest.raises(BlockingCall):
        transaction.__exit__(None)
    assert sent == []


def test_threads_that_share_a_batch_have_their_own_results_and_order(address):
    thread_count, call_count = 4, 1000
    with Node(address, consumers={"cells": (cells := ReplDict[str, int]())}) as node:
        node.wait_ready()

        def call(thread):
            futures = []
            for number in range(call_count):
                key = f"{thread} {number}"
                cells[key] = number
                futures.append(cells.setdefault.submit(key, -1))
                cells[key] = number + 1
                cells.pop(key + " of nobody", None)
            return futures

        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-6)
        try:
            with node.batch(), ThreadPoolExecutor(thread_count) as pool:
                called = [
                    pool.submit(contextvars.copy_context().run, call, thread)
                    for thread in range(thread_count)
                ]
        finally:
            sys.setswitchinterval(interval)
        for thread, futures in enumerate(called):
            for number, future in enumerate(futures.result()):
                assert future.result(20.0) == number
                assert cells[f"{thread} {number}"] == number + 1


def test_a_task_that_outlives_the_batch_it_was_begun_in_calls_by_itself(address):
    async def main():
        users = ReplDict()

        async def later(ended):
            await ended.wait()
            await asyncio.wait_for(_await(users.set.submit("late", 1)), 5)

        async with Node(address, consumers={"users": users}, drive="asyncio") as node:
            ended = asyncio.Event()
            async with node.batch():
                users.set("early", 1)
                task = asyncio.create_task(later(ended))
            ended.set()
            await task
            assert users == {"early": 1, "late": 1}

    asyncio.run(main())


def test_a_batch_that_is_cancelled_ends_its_futures_and_stays_a_cancellation():
    async def main():
        addresses = free_addresses(3)
        users = ReplDict()
        alone = Node(addresses[0], addresses, consumers={"users": users}, drive="asyncio")
        futures = []
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), alone.batch():
                futures.append(users.set.submit(1, 2))
        assert futures[0].cancelled()
        await alone.close.submit()

    asyncio.run(main())


def test_an_object_whose_node_could_not_start_may_be_attached_again(address):
    users = ReplDict()
    with Node(address), pytest.raises(BindError):
        Node(address, consumers={"users": users})
    with Node(address, consumers={"users": users}):
        users["a"] = 1


def test_sys_exit_in_a_callback_ends_nothing(address, caplog):
    users = ReplDict()
    with Node(address, consumers={"users": users}) as node:
        with node.reading():
            users.set.submit("a", 1).add_done_callback(lambda _: sys.exit(3))
        users["b"] = 2
    assert "a callback of a future raised" in caplog.text


def test_a_tick_inside_a_callback_is_refused(address):
    users = ReplDict()
    node = Node(address, consumers={"users": users}, drive="manual")
    node.wait_ready(10)
    seen = []

    def callback(_):
        try:
            node.tick()
        except BlockingCall as error:
            seen.append(error)

    with node.reading():
        future = users.set.submit("a", 1)
        future.add_done_callback(callback)
    while not future.done():
        node.tick(0.01)
    assert seen
    node.close()


def test_on_lost_is_called_when_the_node_ends(address):
    lost = []
    door = ReplLock(on_lost=lambda: lost.append(1))
    node = Node(address, consumers={"door": door})
    node.wait_ready(10)
    door.acquire()
    node.close()
    assert lost == [1]


def test_a_name_that_is_taken_on_this_node_is_refused_and_the_object_stays(address):
    first = ReplDict()
    with Node(address, consumers={"users": first}) as node:
        with pytest.raises(ObjectExists, match="'users'"):
            node.attach("users", ReplDict())
        first["a"] = 1
        assert node.objects["users"] is first


@pytest.mark.parametrize("winding_up", ["as asyncio.run does", "closed without a word"])
@pytest.mark.parametrize("store", ["memory", "disk", "disk at work"])
def test_a_node_ends_with_the_loop_in_which_it_lived(address, tmp_path, winding_up, store):
    users, jobs, door = ReplDict(), ReplQueue(), ReplLock()
    data_dir = None if store == "memory" else tmp_path / "data"

    async def main():
        node = Node(
            address,
            consumers={"users": users, "jobs": jobs, "door": door},
            drive="asyncio",
            data_dir=data_dir,
        )
        await node.wait_ready.submit(10)
        await users.set.submit("ann", 7)
        return node, jobs.get.submit()

    loop = asyncio.new_event_loop()
    node, parked = loop.run_until_complete(main())
    if winding_up == "as asyncio.run does":
        tasks = asyncio.all_tasks(loop)
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        assert parked.done()
    loop.close()
    if store == "disk at work":
        # What the store's thread has done is what finds out.
        node._engine._stores.log_worker.run(lambda: None, lambda _: None)
        eventually(lambda: node._engine.closed.done())

    def refused(call, *args):
        with pytest.raises(NodeClosed, match=r"loop in which .* lived has ended"):
            call(*args)

    def use():
        refused(users.set, "ann", 8)
        refused(lambda: users.set.submit("ann", 8).result(10))
        refused(lambda: jobs.get(timeout=10))
        refused(door.acquire)
        refused(node.barrier)
        refused(node.wait_ready)
        refused(node.attach, "more", ReplDict())
        with pytest.raises((NodeClosed, OutcomeUnknown), match="loop in which"):
            parked.result(10)
        assert users["ann"] == 7

    with ThreadPoolExecutor(1) as threads:
        threads.submit(use).result(30)
    use()
    node.close()
    if data_dir is not None:
        with pytest.raises(DataDirForeign):     # and not busy any more
            Node(free_addresses(1)[0], data_dir=data_dir)
