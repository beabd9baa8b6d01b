"""How sessions end: a node that closes passes on at once what it held and waited for."""

import asyncio
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest

from syncstructs import Node, NodeClosed, OutcomeUnknown, ReplCounter, ReplLock, ReplQueue
from syncstructs.cli.processes import free_addresses

TTL = 60.0
# A wait that ends by itself ends when the session has expired: much later than this.
SOON = 10.0


def start(address, addresses, **settings):
    objects = {"door": ReplLock(), "jobs": ReplQueue(), "hits": ReplCounter()}
    return Node(address, addresses, consumers=objects, **{"session_ttl": TTL} | settings)


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
