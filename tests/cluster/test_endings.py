"""How sessions and waits end: at a close, and where no quorum answers."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from queue import Empty, Full

import pytest

from syncstructs import (
    Node,
    NodeClosed,
    OutcomeUnknown,
    ReplCounter,
    ReplLock,
    ReplLockManager,
    ReplQueue,
    Withdrawn,
)
from syncstructs.cli.processes import free_addresses

TTL = 60.0
# A wait that ends by itself ends when the session has expired: much later than this.
SOON = 10.0


def consumers():
    return {
        "door": ReplLock(), "jobs": ReplQueue(), "narrow": ReplQueue(1), "hits": ReplCounter(),
        "doors": ReplLockManager(),
    }  # fmt: skip


def start(address, addresses, **settings):
    return Node(address, addresses, consumers=consumers(), session_ttl=TTL, **settings)


@pytest.fixture
def trio():
    addresses = free_addresses(3)
    nodes = [start(address, addresses) for address in addresses]
    for node in nodes:
        node.wait_ready(20)
    yield nodes
    for node in nodes:
        node.close()


@contextmanager
def stopped(*nodes):
    """Let the drivers of `nodes` stand still for the block; their links stay up."""
    with ExitStack() as stack:
        for node in nodes:
            go_on, stands = threading.Event(), threading.Event()

            def stand(stands=stands, go_on=go_on):
                stands.set()
                go_on.wait()

            node._engine.runner.post(stand)
            stack.callback(go_on.set)
            assert stands.wait(10)
        yield


def is_parked(node, count=1):
    """Wait until so many gets are parked, as `node` sees it."""
    deadline = time.monotonic() + SOON
    while len(node.objects["jobs"]._getters) != count:
        assert time.monotonic() < deadline, "it was never parked"
        threading.Event().wait(0.002)


@pytest.mark.parametrize("leads", [False, True])
def test_a_lock_passes_to_the_next_waiter_as_its_holder_closes(trio, leads):
    holder = next(node for node in trio if node.is_leader == leads)
    other = next(node for node in trio if node is not holder)
    door = holder.objects["door"]
    door.acquire()
    token = door.token
    waiting = other.objects["door"].acquire.submit()
    holder.close()
    assert waiting.result(SOON)
    assert other.objects["door"].token > token


def test_a_closing_node_holds_nothing_before_another_does(trio):
    held = []
    holder, other, _ = trio
    door, its = holder.objects["door"], other.objects["door"]
    door.on_lost = lambda: held.append((door.held, its.held))
    door.acquire()
    waiting = its.acquire.submit()
    holder.close()
    assert waiting.result(SOON)
    assert held == [(False, False)], "on_lost is called once, before the lock passes on"


def test_a_get_that_waits_on_a_closing_node_takes_nothing(trio):
    closing, other, _ = trio
    gone = closing.objects["jobs"].get.submit()
    is_parked(other)
    closing.close()
    with pytest.raises(NodeClosed):
        gone.result(0)
    other.objects["jobs"].put("job")
    assert other.objects["jobs"].get(timeout=SOON) == "job"


def test_what_was_sent_before_a_close_gets_its_result_or_was_not_applied(trio):
    closing, other, _ = trio
    futures = [closing.objects["hits"].inc.submit() for _ in range(3000)]
    closing.close()
    ended = [future.exception(0) for future in futures]
    assert all(error is None or isinstance(error, NodeClosed) for error in ended), set(ended)
    other.barrier(SOON)
    assert other.objects["hits"].value == ended.count(None)


def test_close_is_bounded_though_nobody_answers(trio):
    closing, *others = trio
    with stopped(*others):
        sent = closing.objects["hits"].inc.submit()
        parked = closing.objects["jobs"].get.submit()
        while len(closing._engine.replica.outbox) < 2:
            threading.Event().wait(0.002)
        begun = time.monotonic()
        closing.close()
        # One second for a farewell, half a one for links that do not take their last bytes.
        assert time.monotonic() - begun < 4.0
        for future in (sent, parked):
            with pytest.raises(OutcomeUnknown):
                future.result(0)


def test_the_last_of_a_cluster_does_not_wait_for_those_that_are_gone(trio):
    last, *others = trio
    for node in others:
        node.close()
    while last.status()["connected"]:
        threading.Event().wait(0.002)
    begun = time.monotonic()
    last.close()
    assert time.monotonic() - begun < 0.9


def test_a_node_that_comes_back_keeps_what_it_acquires(trio):
    first, second, third = trio
    for _ in range(3):
        first.objects["door"].acquire()
        first.close()
        first = start(first.address, first.members)
        first.wait_ready(20)
    trio[0] = first
    assert first.objects["door"].acquire(timeout=SOON)
    assert not second.objects["door"].acquire(blocking=False)
    third.barrier(SOON)
    assert first.objects["door"].held


def test_closing_under_asyncio_ends_the_session():
    async def main():
        addresses = free_addresses(3)
        nodes = [start(address, addresses, drive="asyncio") for address in addresses]
        for node in nodes:
            await node.wait_ready.submit(20)
        one, two, _ = nodes
        await one.objects["door"].acquire.submit()
        waiting = two.objects["door"].acquire.submit()
        await one.close.submit()
        assert await asyncio.wait_for(_awaited(waiting), SOON)
        for node in nodes:
            await node.close.submit()

    asyncio.run(main())


async def _awaited(future):
    return await future


def test_closing_a_manual_node_ends_the_session():
    addresses = free_addresses(3)
    nodes = [start(address, addresses) for address in addresses[:2]]
    ticked = start(addresses[2], addresses, drive="manual")
    for node in (*nodes, ticked):
        node.wait_ready(20)
    assert ticked.objects["door"].acquire()
    waiting = nodes[0].objects["door"].acquire.submit()
    ticked.close()
    assert waiting.result(SOON)
    for node in nodes:
        node.close()


# Without a quorum


@pytest.fixture
def alone():
    """A node of three whose others never start, and its objects: nothing can be sent."""
    addresses = free_addresses(3)
    objects = consumers()
    node = Node(addresses[0], addresses, consumers=objects, call_timeout=2.0)
    yield node, objects
    node.close()


def timed(call, *args, **kwargs):
    begun = time.monotonic()
    try:
        result = call(*args, **kwargs)
    except Exception as error:
        result = error
    return result, time.monotonic() - begun


def test_waits_that_were_never_sent_end_in_time_with_certainty(alone):
    node, objects = alone
    jobs, narrow, door = (objects[name] for name in ("jobs", "narrow", "door"))
    before = len(node._engine.calls)
    calls = (jobs.get,), (narrow.put, "x"), (door.acquire,), (door.acquire, True), (jobs.put, "x")
    with ThreadPoolExecutor(5) as threads:
        waits = [threads.submit(timed, call, *args, timeout=1.0) for call, *args in calls]
    results, times = zip(*(wait.result() for wait in waits), strict=True)
    assert isinstance(results[0], Empty)
    assert isinstance(results[1], Full)
    assert results[2:4] == (False, False)
    assert isinstance(results[4], Withdrawn)
    # uvloop counts in whole milliseconds.
    assert all(0.999 <= seconds < 1.8 for seconds in times), times
    assert len(node._engine.calls) == before, "something of them is left behind"


def test_errors_of_calls_that_were_not_sent_name_object_and_method(alone):
    node, objects = alone
    names = ("jobs", "narrow", "door", "hits", "doors")
    jobs, narrow, door, hits, doors = (objects[name] for name in names)
    before = len(node._engine.calls)
    calls = {
        "door.acquire()": lambda: door.acquire(False),
        "jobs.get_nowait()": jobs.get_nowait,
        "jobs.get()": lambda: jobs.get(block=False),
        "narrow.put()": lambda: narrow.put("x", block=False),
        "hits.inc()": hits.inc,
        "doors.acquire()": lambda: doors["front"].acquire(),
        "Node.drop()": lambda: node.drop("jobs"),
        "jobs.join()": jobs.join,
    }
    calls_of_blocks = [door.__enter__, doors["back"].__enter__]
    with ThreadPoolExecutor(10) as threads:
        ends = {name: threads.submit(timed, call) for name, call in calls.items()}
        blocks = [threads.submit(timed, call) for call in calls_of_blocks]
    for name, end in ends.items():
        error, seconds = end.result()
        assert isinstance(error, Withdrawn), (name, error)
        assert str(error).startswith(f"{name}: not sent within 2.0 s"), error
        assert seconds < 4.5, name
    told = [str(end.result()[0]) for end in blocks]
    assert [text.partition(":")[0] for text in told] == ["door.acquire()", "doors.acquire()"]
    assert len(node._engine.calls) == before, "something of them is left behind"


def test_waits_that_were_sent_end_soon_after_their_time_and_leave_no_ghost(trio):
    leader = next(node for node in trio if node.is_leader)
    other, another = (node for node in trio if node is not leader)
    jobs, narrow, door = (leader.objects[name] for name in ("jobs", "narrow", "door"))
    narrow.put("first")
    calls = (jobs.get,), (narrow.put, "second"), (door.acquire,), (door.acquire,)
    with ThreadPoolExecutor(4) as threads, stopped(other, another):
        waits = [threads.submit(timed, call, *args, timeout=0.5) for call, *args in calls]
        results, times = zip(*(wait.result() for wait in waits), strict=True)
    for (call, *_), result in zip(calls, results, strict=True):
        assert isinstance(result, OutcomeUnknown), (call, result)
    assert str(results[0]).startswith("jobs.get(): ")
    assert str(results[2]).startswith("door.acquire(): ")
    assert all(0.5 <= seconds < 2.3 for seconds in times), times
    its = other.objects
    assert its["door"].acquire(timeout=SOON)
    its["jobs"].put("job")
    assert its["jobs"].get(timeout=SOON) == "job"
    leader.barrier(SOON)
    assert not jobs._getters
    assert not narrow._putters
    assert not door._waiters
    assert door.token is None


def test_a_withdrawal_is_not_taken_back_however_short_calls_may_take(trio):
    """The wait is in the log; were its withdrawal forgotten, a ghost would take an item."""
    waiter = next(node for node in trio if not node.is_leader)
    others = [node for node in trio if node is not waiter]
    addresses = waiter.members
    jobs = waiter.objects["jobs"]
    waiter._engine.config = waiter._engine.config.__class__(call_timeout=0.2)
    with ThreadPoolExecutor(1) as threads:
        wait = threads.submit(timed, jobs.get, timeout=2.5)
        is_parked(others[0])
        for node in others:
            node.close()
        while waiter.leader is not None:
            threading.Event().wait(0.002)
        assert not wait.done()
        try:
            result, _ = wait.result(SOON)
        except TimeoutError:
            waiter.close()
            raise
    assert isinstance(result, OutcomeUnknown), result
    back, other = (start(node.address, addresses) for node in others)
    back.wait_ready(20)
    back.objects["jobs"].put("job")
    assert back.objects["jobs"].get(timeout=SOON) == "job"
    back.close()
    other.close()
