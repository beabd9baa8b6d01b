"""More calls than a node may have under way: refused, or made to wait, as its owner chose."""

import asyncio
import threading
import time
from contextlib import contextmanager

import pytest

from syncstructs import (
    Busy,
    ConfigError,
    Node,
    NodeClosed,
    ReplCounter,
    ReplDict,
    Replicated,
    ReplLock,
    Timeout,
    TooLarge,
    replicated,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.objects.replicated import _classes, type_name


@pytest.fixture
def node_of():
    nodes = []

    def make(**settings):
        (address,) = free_addresses(1)
        node = Node(address, consumers={"hits": ReplCounter()}, max_pending_calls=8, **settings)
        nodes.append(node)
        node.wait_ready(30)
        return node

    yield make
    for node in nodes:
        node.close()


@contextmanager
def nothing_applied(node):
    """Hold all applying, in another thread, so that no call ends; yield what lets it go on."""
    held, over = threading.Event(), threading.Event()

    def hold():
        with node.reading():
            held.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(30)

    def go_on():
        over.set()
        holder.join(30)

    try:
        yield go_on
    finally:
        go_on()


def test_by_default_a_call_too_many_is_refused(node_of):
    node = node_of()
    hits = node.objects["hits"]
    with node.reading():
        # Nothing is applied meanwhile, so that no call ends.
        futures = [hits.inc.submit() for _ in range(8)]
        with pytest.raises(Busy, match="max_pending_calls"):
            hits.inc.submit()
    for future in futures:
        future.result(30)
    assert hits.inc() == 9


def test_a_call_too_many_waits_until_there_is_room(node_of):
    node = node_of(when_busy="wait")
    hits = node.objects["hits"]
    futures = []
    started = threading.Event()

    def submit_many():
        for _ in range(500):
            futures.append(hits.inc.submit())
            started.set()

    threads = [threading.Thread(target=submit_many) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert started.wait(30)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert sorted(future.result(30) for future in futures) == list(range(1, 2001))
    assert len(node._engine.calls) == 0


def test_it_waits_no_longer_than_a_call_may_take(node_of):
    node = node_of(when_busy="wait", call_timeout=0.2)
    hits = node.objects["hits"]
    with nothing_applied(node):
        futures = [hits.inc.submit() for _ in range(8)]
        begun = time.monotonic()
        with pytest.raises(Busy):
            hits.inc.submit()
        assert time.monotonic() - begun >= 0.2
        assert not node._engine.calls._room, "nobody waits any more"
    for future in futures:
        future.result(30)


def test_who_waits_hears_that_the_node_is_closed(node_of):
    node = node_of(when_busy="wait")
    hits = node.objects["hits"]
    errors = []

    def call():
        try:
            hits.inc.submit()
        except Exception as error:
            errors.append(error)

    caller = threading.Thread(target=call)
    with nothing_applied(node):
        for _ in range(8):
            hits.inc.submit()
        caller.start()
        while not node._engine.calls._room:
            assert caller.is_alive()
        closing = node.close.submit()
        caller.join(30)
    closing.result(30)
    assert [type(error) for error in errors] == [NodeClosed]


@pytest.mark.pure("a method is changed")
def test_room_that_comes_just_before_the_wait_is_not_missed(node_of, monkeypatch):
    node = node_of(when_busy="wait", call_timeout=None)
    hits, queue = node.objects["hits"], node._engine.calls
    wait_for_room = queue.wait_for_room

    def late(future, size_bytes):
        # The calls that were in the way end, and one goes on that never does.
        go_on()
        for other in futures:
            other.result(30)
        queue.ended(-1, -1)
        wait_for_room(future, size_bytes)

    monkeypatch.setattr(queue, "wait_for_room", late)
    done = []
    with nothing_applied(node) as go_on:
        futures = [hits.inc.submit() for _ in range(8)]
        caller = threading.Thread(target=lambda: done.append(hits.inc.submit().result(30)))
        caller.start()
        caller.join(30)
    queue.ended(1, 1)
    assert done == [9]


def test_a_call_that_never_has_room_is_too_large(node_of):
    node = node_of(when_busy="wait", max_pending_bytes=2000)
    with pytest.raises(TooLarge, match="max_pending_bytes allows 2000"):
        node.create("notes", ReplDict, {"long": b"x" * 3000})


def test_who_has_a_result_has_room_for_the_next_call(node_of):
    node = node_of()
    hits = node.objects["hits"]
    more = []

    def another(future):
        try:
            more.append(hits.inc.submit())
        except Busy as error:
            more.append(error)

    with nothing_applied(node):
        futures = [hits.inc.submit() for _ in range(8)]
        for future in futures:
            future.add_done_callback(another)
    for future in futures:
        future.result(30)
    assert [future.result(30) for future in more] == list(range(9, 17))


def test_an_event_loop_of_the_callers_does_not_stand_still(node_of):
    node = node_of(when_busy="wait")
    hits = node.objects["hits"]

    async def main():
        with node.reading():
            futures = [hits.inc.submit() for _ in range(8)]
            with pytest.raises(Busy):
                hits.inc.submit()
        for future in futures:
            await future
        with nothing_applied(node):
            futures = [hits.inc.submit() for _ in range(8)]
            with pytest.raises(Busy):
                hits.inc.submit()
        for future in futures:
            await future

    asyncio.run(main())


def test_an_operation_waits_no_longer_than_it_is_told_to(node_of):
    node = node_of(when_busy="wait")
    hits, lock = node.objects["hits"], node.attach("lock", ReplLock())
    with nothing_applied(node):
        futures = [hits.inc.submit() for _ in range(8)]
        with pytest.raises(Busy):
            lock.acquire(timeout=0.1)
    for future in futures:
        future.result(30)


def test_where_nobody_may_wait_a_call_too_many_is_refused(node_of):
    node = node_of(when_busy="wait")
    hits = node.objects["hits"]
    refused = []

    async def main():
        async with Node(
            free_addresses(1)[0], consumers={"hits": ReplCounter()}, drive="asyncio",
            when_busy="wait", max_pending_calls=8,
        ) as here:  # fmt: skip
            mine = here.objects["hits"]
            futures = [mine.inc.submit() for _ in range(8)]
            with pytest.raises(Busy):
                mine.inc.submit()
            for future in futures:
                await future

    asyncio.run(main())

    def in_callback(_):
        try:
            while True:
                hits.inc.submit()
        except Busy as error:
            refused.append(error)

    with node.reading():
        # Else it may be done already, and the callback would be called here.
        hits.inc.submit().add_done_callback(in_callback)
    hits.inc()
    node.barrier(30)
    assert len(refused) == 1


def test_batches_and_barriers_get_through_a_busy_node(node_of):
    node = node_of(when_busy="wait")
    hits = node.objects["hits"]
    for _ in range(50):
        hits.inc.submit()
        with node.batch():
            hits.inc()
            hits.inc()
    node.barrier(30)
    assert hits.inc() == 151


def test_another_word_is_refused():
    with pytest.raises(ConfigError, match="when_busy 'block' must be 'raise' or 'wait'"):
        Node("127.0.0.1:1", when_busy="block")


class Late(Replicated):
    @replicated
    def take(self):
        return 1

    @take.version(2)
    def take_2(self):
        return 2


del _classes[type_name(Late)]


def test_what_a_busy_node_could_not_tell_of_its_versions_it_tells_the_next_time(node_of):
    node = node_of()
    hits = node.objects["hits"]
    with nothing_applied(node):
        futures = [hits.inc.submit() for _ in range(8)]
        with pytest.raises(Busy):
            node.attach("late", Late())
    for future in futures:
        future.result(30)
    late = node.attach("late", Late())
    assert late.take() == 1
    node.set_version(2, timeout=30)
    assert late.take() == 2


@pytest.mark.parametrize("leads", [False, True])
def test_a_member_that_is_kept_from_applying_takes_in_no_more_than_a_bound(leads):
    window = 64 * 1024
    addresses = free_addresses(3)
    nodes = [
        Node(
            address, addresses, consumers={"notes": ReplDict()}, append_window_bytes=window,
            batch_bytes=16 * 1024, append_bytes=32 * 1024, snapshot_log_bytes=window,
            log_keep_bytes=1, call_timeout=60.0,
        )
        for address in addresses
    ]  # fmt: skip
    try:
        for node in nodes:
            node.wait_ready(60)
        held = next(node for node in nodes if node.is_leader == leads)
        other = next(node for node in nodes if node is not held)
        notes = other.objects["notes"]
        bound = 24 * window
        with nothing_applied(held):
            futures = [notes.set.submit(n % 7, bytes(10_000)) for n in range(600)]
            if leads:
                # It has nothing more decided, so the calls of others wait.
                futures[40].result(60)
                with pytest.raises(Timeout):
                    futures[-1].result(1.0)
            else:
                for future in futures:
                    future.result(60)
            assert held.is_leader == leads
            assert held.status()["log_bytes"] < bound
        for future in futures:
            future.result(60)
        for node in nodes:
            node.barrier(60)
            assert len(node.objects["notes"]) == 7
    finally:
        for node in nodes:
            node.close.submit()
        for node in nodes:
            node.close()
