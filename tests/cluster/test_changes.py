"""What subscribers are told of the changes of an object, on a node of its own."""

import asyncio
import gc
import threading

import pytest

from syncstructs import (
    ConfigError,
    Node,
    NotAttached,
    ObjectMismatch,
    ObjectNotFound,
    ReplCounter,
    ReplDict,
    Replicated,
    ReplLock,
    Unserializable,
    replicated,
)
from syncstructs.cli.processes import free_addresses
from syncstructs.testing import Simulation


class Pair(Replicated):
    """Calls another object, and itself, inside of commands."""

    def __init__(self):
        self.done = 0
        self.hits = None

    LOCAL = frozenset({"hits"})

    @replicated
    def both(self, count):
        self.step(count)
        self.hits.add(count)

    @replicated
    def step(self, count):
        self.done += count

    @replicated
    def fail(self):
        self.done += 1
        raise ValueError("half done")


@pytest.fixture
def node():
    hits, users, pair, lock = ReplCounter(), ReplDict(), Pair(), ReplLock()
    pair.hits = hits
    consumers = {"hits": hits, "users": users, "pair": pair, "lock": lock}
    with Node(free_addresses(1)[0], consumers=consumers) as made:
        yield made


def told(change):
    return change.method, change.args


def test_every_change_is_told_once_and_in_order(node):
    users, seen = node.objects["users"], []
    users["before"] = 0
    subscription = users.subscribe(seen.append)
    users["a"] = [1]
    users.update(b=2)
    del users["a"]
    with node.batch():
        users["c"] = 3
        users["d"] = 4
    node.objects["hits"].inc()
    node.barrier()
    subscription.close()
    users["after"] = 5
    node.barrier()
    assert [told(change)[1][0] for change in seen[:1]] == ["a"]
    assert len(seen) == 5
    assert [change.index for change in seen] == sorted(change.index for change in seen)
    assert seen[3].index == seen[4].index
    assert not any(change.resynchronised for change in seen)
    assert users._watch is None, "what nobody watches costs nothing"


def test_what_is_told_shares_nothing_with_the_state(node):
    users, seen = node.objects["users"], []
    users.subscribe(seen.append)
    users["a"] = [1]
    node.barrier()
    seen[0].args[1].append(2)
    assert users["a"] == [1]


def test_a_command_is_told_of_whole_and_what_it_calls_of_others_by_them(node):
    pair, hits = node.objects["pair"], node.objects["hits"]
    of_pair, of_hits = [], []
    pair.subscribe(of_pair.append)
    hits.subscribe(of_hits.append)
    pair.both(3)
    node.barrier()
    assert [told(change) for change in of_pair] == [("both", (3,))]
    assert [told(change) for change in of_hits] == [("add", (3,))]


def test_what_raised_is_told_with_its_error(node):
    pair, seen = node.objects["pair"], []
    pair.subscribe(seen.append)
    with pytest.raises(ValueError, match="half done"):
        pair.fail()
    node.barrier()
    assert isinstance(seen[0].error, ValueError)


def test_a_subscriber_that_raises_changes_nothing(node, caplog):
    hits, seen = node.objects["hits"], []
    hits.subscribe(lambda change: 1 / 0)
    hits.subscribe(seen.append)
    assert hits.inc() == 1
    node.barrier()
    assert len(seen) == 1
    assert "ZeroDivisionError" in caplog.text


def test_state_and_changes_fit_together_under_reading(node):
    hits, seen = node.objects["hits"], []
    stop = threading.Event()

    def write():
        while not stop.is_set():
            hits.inc()

    writer = threading.Thread(target=write, daemon=True)
    writer.start()
    try:
        for _ in range(20):
            seen = []
            with node.reading():
                value = hits.value
                subscription = hits.subscribe(seen.append)
            with node.reading():
                pass
            node.barrier()
            with node.reading():
                now = hits.value
                count = len(seen)
            # What is applied may be told a moment later.
            assert now - value in (count, count + 1)
            subscription.close()
    finally:
        stop.set()
        writer.join(20)


def test_an_iterator_gives_the_changes_until_the_object_is_dropped(node):
    hits = node.objects["hits"]
    with hits.changes() as changes:
        hits.inc()
        hits.add(2)
        node.drop("hits")
        assert [change.method for change in changes] == ["inc", "add"]
    with pytest.raises(ObjectNotFound):
        hits.changes()


def test_an_iterator_ends_with_its_node(node):
    changes = node.objects["hits"].changes()
    ended = threading.Thread(target=lambda: list(changes), daemon=True)
    ended.start()
    node.close()
    ended.join(20)
    assert not ended.is_alive()


def test_too_many_changes_become_a_resynchronisation(node):
    hits = node.objects["hits"]
    with hits.changes(limit=3) as changes:
        for _ in range(8):
            hits.inc()
        node.barrier()
        first = next(changes)
        assert first.resynchronised
        assert hits.value == 8
    with pytest.raises(ConfigError, match="limit=0"):
        hits.changes(limit=0)


def test_a_release_of_a_lock_is_told(node):
    lock, seen = node.objects["lock"], []
    with lock:
        lock.subscribe(seen.append)
    node.barrier()
    assert len(seen) == 1


def test_what_is_attached_nowhere_tells_nothing():
    with pytest.raises(NotAttached):
        ReplCounter().subscribe(print)


def test_async_for_takes_changes_in_any_loop(node):
    hits = node.objects["hits"]

    async def take():
        found = []
        with hits.changes() as changes:
            for _ in range(3):
                hits.inc.submit()
            async for change in changes:
                found.append(change.method)
                if len(found) == 3:
                    return found

    assert asyncio.run(asyncio.wait_for(take(), 20)) == ["inc"] * 3


@pytest.mark.parametrize("seed", range(5))
def test_a_member_that_takes_over_a_snapshot_tells_of_that(seed):
    settings = {"snapshot_log_entries": 5, "snapshot_log_bytes": 1, "log_keep_bytes": 1}
    cluster = Simulation(seed, {"hits": ReplCounter}, **settings)
    cluster.start()
    cluster.run_until(lambda: cluster.leader() is not None)
    leader = cluster.leader()
    behind = next(address for address in cluster.up if address != leader)
    hits, ahead = cluster.objects(behind)["hits"], cluster.objects(leader)["hits"]
    first = hits.add.submit(5)
    cluster.run_until(first.done)
    seen, value = [], hits.value
    hits.subscribe(seen.append)
    cluster.network.cut_off(behind)
    for _ in range(200):
        added = ahead.add.submit(1)
        cluster.run_until(added.done)
    cluster.heal()
    cluster.run_until(lambda: hits.value == value + 200)
    last = max((i for i, change in enumerate(seen) if change.resynchronised), default=None)
    assert last is not None, f"seed {seed}: {seen}"
    assert [change.index for change in seen] == sorted(change.index for change in seen)
    assert all(change.method == "add" for change in seen if not change.resynchronised)


def takes(changes):
    """Return what an iterator gives, in a thread that ends when it ends."""
    found = []
    taker = threading.Thread(target=lambda: found.extend(changes), daemon=True)
    taker.start()
    return taker, found


def test_who_watches_what_another_instance_takes_over_is_told_on():
    with Node(free_addresses(1)[0]) as node:
        made, seen, both = node.create("hits", ReplCounter), [], []
        subscription = made.subscribe(seen.append)
        taker, found = takes(made.changes())
        made.inc()
        mine = ReplCounter()
        with node.reading():
            attached = node.attach.submit("hits", mine)
            mine.subscribe(both.append)
        attached.result(20)
        mine.add(5)
        node.barrier()
        subscription.close()
        mine.add(6)
        node.barrier()
    taker.join(20)
    assert not taker.is_alive()
    assert [change.method for change in seen] == ["inc", "add"]
    assert [change.args for change in found[:3]] == [(), (5,), (6,)]
    assert [change.method for change in both[:3]] == [None, "add", "add"]
    assert (made._watch, mine._watch) == (None, None)


def test_an_iterator_of_what_is_never_attached_ends_with_its_node():
    own, other = free_addresses(2)
    hits = ReplCounter()
    node = Node(own, [other], consumers={"hits": hits})
    taker, found = takes(hits.changes())
    node.close()
    taker.join(20)
    assert not taker.is_alive()
    assert found == []


def test_an_iterator_of_what_the_cluster_refuses_ends(node):
    node.create("made", ReplDict)
    refused = ReplCounter()
    with node.reading():
        attached = node.attach.submit("made", refused)
        changes = refused.changes()
    taker, found = takes(changes)
    with pytest.raises(ObjectMismatch):
        attached.result(20)
    taker.join(20)
    assert not taker.is_alive()
    assert found == []


def test_of_a_node_that_has_ended_there_are_no_changes(node):
    hits = node.objects["hits"]
    node.close()
    taker, found = takes(hits.changes())
    taker.join(20)
    assert not taker.is_alive()
    assert found == []
    assert hits.subscribe(print).closed


def test_an_iterator_that_was_given_up_gathers_nothing(node):
    hits = node.objects["hits"]
    changes = hits.changes()
    hits.inc()
    assert next(changes).method == "inc"
    del changes
    gc.collect()
    hits.inc()
    node.barrier()
    assert hits._watch is None


def test_a_subscriber_that_raises_what_is_no_exception_stops_nothing(node, caplog):
    hits, seen = node.objects["hits"], []

    def ask(_):
        raise asyncio.CancelledError

    hits.subscribe(ask)
    hits.subscribe(seen.append)
    added = hits.inc.submit()
    added.add_done_callback(ask)
    added.result(20)
    assert hits.inc() == 2
    node.barrier()
    assert len(seen) == 2
    assert "CancelledError" in caplog.text


def test_watching_what_has_no_copy_changes_nothing_that_is_applied(node, monkeypatch):
    users, seen = node.objects["users"], []
    users.subscribe(seen.append)

    def refuse(value):
        raise Unserializable("no copy")

    monkeypatch.setattr("syncstructs.objects.changes.copy", refuse)
    users["a"] = 1
    node.barrier()
    assert users["a"] == 1
    assert [change.resynchronised for change in seen] == [True]
