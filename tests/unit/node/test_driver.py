"""The driver's one loop: when it says that nothing is left to do, nothing is."""

import pytest

from syncstructs import BlockingCall, NodeFailed, ReplList, ReplLock
from syncstructs.futures import Future
from syncstructs.node.workers import InlineWorker
from syncstructs.objects.batches import encode_command
from syncstructs.raft.core import Role
from syncstructs.raft.messages import AppendReply, AppendRequest, SnapshotMeta
from syncstructs.raft.wire import decode
from syncstructs.testing.simulator import Simulation


@pytest.fixture
def alone():
    """A cluster of one member whose stores persist at once, ready for calls; and its life."""
    # Unchecked: the checks count on what is committed being applied in a later event.
    cluster = Simulation(1, {"box": ReplList}, size=1, check=False, append_window_bytes=400)
    cluster.start()
    [life] = cluster.lives()
    driver = life.node._engine._driver
    driver._log_worker = driver._snapshot_worker = InlineWorker()
    cluster.run_until(life.node._ready.done)
    yield cluster, life
    cluster.end()


def put(life, count, thing):
    return [life.consumers["box"].append.submit(thing) for _ in range(count)]


def test_a_call_on_a_lone_memory_member_ends_without_waiting_for_any_timer(alone):
    cluster, life = alone
    [call] = put(life, 1, 1)
    cluster.run(0)
    assert call.done()


def test_calls_beyond_the_window_follow_without_waiting_for_any_timer(alone):
    cluster, life = alone
    calls = put(life, 50, "x" * 100)
    cluster.run(0)
    assert all(call.done() for call in calls)


def test_a_pump_that_is_not_done_asks_to_be_called_again_at_once(alone):
    _, life = alone
    calls = put(life, 200, "x" * 100)
    assert life.node._engine._driver.pump() == life.now()
    assert not all(call.done() for call in calls)


def test_an_idle_member_asks_for_nothing_but_its_timers(alone):
    cluster, life = alone
    cluster.run(0)
    assert life.node._engine._driver.pump() > life.now()


def test_entries_fit_into_a_frame_whatever_the_limits_are():
    """Those of a batch and of a message do not have to be set together with these."""
    cluster = Simulation(
        1, {"box": ReplList}, max_command_bytes=10_000, append_bytes=64 * 1024,
        chunk_bytes=32 * 1024, batch_bytes=1024 * 1024,
    )  # fmt: skip
    cluster.start()
    cluster.run_until(lambda: all(life.node._ready.done() for life in cluster.lives()))
    for life in cluster.lives():
        calls = put(life, 120, bytes(9_000))
        cluster.run_until(lambda calls=calls: all(call.done() for call in calls))
    largest = max(
        len(entry.payload)
        for life in cluster.lives()
        for entry in life.core.log.between(life.core.log.base.index + 1, life.core.log.last_index)
    )
    assert 64 * 1024 < largest <= 10_000 + 64 * 1024
    cluster.end()


def test_a_leader_ends_its_own_calls_before_it_tells_the_others_and_by_what_follows():
    cluster = Simulation(1, {"box": ReplList}, check=False)
    cluster.start()
    cluster.run_until(lambda: all(life.node._ready.done() for life in cluster.lives()))
    [life] = [life for life in cluster.lives() if life.core.leader == life.node.address]
    links = life.node._engine._driver._links
    sent, ended = [], []
    send = links.send

    def watched_send(peer, data):
        message = decode(data)
        if type(message) is AppendRequest:
            sent.append((len(message.entries), len(ended)))
        return send(peer, data)

    def next_call(future):
        ended.append(future.result())
        if len(ended) < 20:
            life.consumers["box"].append.submit(0).add_done_callback(next_call)

    links.send = watched_send
    life.consumers["box"].append.submit(0).add_done_callback(next_call)
    cluster.run_until(lambda: len(ended) == 20)
    cluster.run(0.0)
    pushes = [count for entries, count in sent if not entries]
    assert len(pushes) <= 4, "heartbeats aside, entries tell of the commits"
    cluster.run(0.02)
    assert len({life.core.commit_index for life in cluster.lives()}) == 1
    cluster.end()


@pytest.mark.pure("a method is changed")
def test_others_are_told_of_a_commit_that_this_member_cannot_apply_yet():
    cluster = Simulation(1, {"box": ReplList}, check=False)
    cluster.start()
    cluster.run_until(lambda: all(life.node._ready.done() for life in cluster.lives()))
    [life] = [life for life in cluster.lives() if life.core.leader == life.node.address]
    gate, driver = life.node._engine.gate, life.node._engine._driver
    enter, gate.enter = gate.enter, lambda: False
    pump = driver.pump

    def watched_pump():
        again_at = pump()
        assert not life.core.holds_commit or again_at <= life.now()
        return again_at

    driver.pump = watched_pump
    call = life.consumers["box"].append.submit(0)
    cluster.run(0.02)
    others = [other for other in cluster.lives() if other is not life]
    assert [other.consumers["box"].copy() for other in others] == [[0], [0]]
    assert not call.done()
    gate.enter = enter
    cluster.run(1.0)
    assert call.done()
    assert life.node._engine.failure is None
    cluster.end()


@pytest.mark.pure("a method is changed")
def test_an_answer_that_changes_nothing_does_not_make_the_driver_run():
    cluster = Simulation(1, {"box": ReplList}, check=False)
    cluster.start()
    cluster.run_until(lambda: all(life.node._ready.done() for life in cluster.lives()))
    [life] = [life for life in cluster.lives() if life.core.leader == life.node.address]
    cluster.run(0.5)
    driver = life.node._engine._driver
    taken, frame_received = [], driver.frame_received

    def watched_frame(peer, data):
        committed = life.core.commit_index
        runs = frame_received(peer, data)
        if type(decode(data)) is AppendReply:
            taken.append((life.core.commit_index > committed, runs))
        return runs

    driver.frame_received = watched_frame
    for number in range(5):
        call = life.consumers["box"].append.submit(number)
        cluster.run_until(call.done)
        cluster.run(0.02)
    assert (True, False) not in taken
    assert taken.count((True, True)) == 5
    assert taken.count((False, False)) >= 5, "the second answer to each, at least"
    cluster.end()


class _Watching:
    """Takes digests here, and notes of which entry's state, and whether readers are kept out."""

    def __init__(self, life):
        self.life = life
        self.seen = []

    def take(self, digests, outweigh, then):
        gate = self.life.node._engine.gate
        self.seen.append((self.life.table.applied_index, gate.lock._is_owned()))
        then(digests())


def test_digests_are_taken_right_behind_the_entry_that_asks_for_them_and_while_nobody_reads(alone):
    cluster, life = alone
    driver = life.node._engine._driver
    driver._digester = watching = _Watching(life)
    asking = encode_command(0, "compare_digests", (0,), {})
    life.replica._intake.offer_system(asking)
    put(life, 20, "x" * 100)
    life.node._engine.wake()
    cluster.run(1.0)
    log = life.core.log
    entries = log.between(log.base.index + 1, log.last_index)
    [index] = [entry.index for entry in entries if b"compare_digests" in entry.payload]
    assert log.last_index > index
    assert watching.seen == [(index, True)]
    assert life.replica._comparisons.is_complete(life.core.members)


class _Failing:
    def take(self, digests, outweigh, then):
        raise ZeroDivisionError("what a user wrote")


def test_digests_that_cannot_be_taken_cost_no_more_than_the_comparison(alone, caplog):
    cluster, life = alone
    life.node._engine._driver._digester = _Failing()
    for _ in range(2):
        life.replica._intake.offer_system(encode_command(0, "compare_digests", (0,), {}))
        life.node._engine.wake()
        cluster.run(1.0)
    [call] = put(life, 1, 1)
    cluster.run(0)
    assert call.done()
    assert not life.replica._comparisons.is_taking
    assert caplog.text.count("ZeroDivisionError") == 2


class _Slow:
    """Takes digests, and reports them when it is told to."""

    def __init__(self):
        self.taken = []

    def take(self, digests, outweigh, then):
        self.taken.append((then, digests()))


def test_a_leader_waits_for_its_own_digests_before_it_asks_for_more():
    cluster = Simulation(2, {"box": ReplList}, size=1, check=False, digest_interval=1.0)
    cluster.start()
    [life] = cluster.lives()
    life.node._engine._driver._digester = slow = _Slow()
    for _ in range(10):
        cluster.await_all(put(life, 1, 1))
        cluster.run(1.0)
    [(then, digests)] = slow.taken
    life.execute(then, digests)
    cluster.run(50 * 9.0 - 5.0)
    assert len(slow.taken) == 1, "for what takes 9 seconds there is a pause of 450"
    cluster.run(10.0)
    assert len(slow.taken) == 2
    cluster.end()


@pytest.mark.parametrize("how", ["cut off", "a bug"])
def test_nothing_is_read_of_a_snapshot_that_was_taken_over_by_half(alone, monkeypatch, how):
    """Not by those who waited for the end of it either: they have the lock that was given out."""
    cluster, life = alone
    put(life, 200, "x" * 100)
    cluster.run(1.0)
    box, engine = life.consumers["box"], life.node._engine
    image = b"".join(life.replica.image())
    if how == "cut off":
        image = image[: len(image) // 2]
    else:
        monkeypatch.setattr(type(box), "restore_state", lambda self, state: 1 / 0)
    point, given_out = life.replica.snapshot_point, engine.reading
    snapshot = SnapshotMeta(point.index, point.term, point.time, len(image), 0, point.membership)
    life.replica._installing = snapshot
    engine._driver._installing = snapshot, [image]
    engine.wake()
    cluster.run(0)
    assert "a received snapshot cannot be applied" in str(engine.failure)
    with given_out, pytest.raises(NodeFailed, match="not taken over to its end"):
        len(box._items)
    with pytest.raises(NodeFailed, match="cannot be applied"):
        len(box)
    with pytest.raises(NodeFailed, match="cannot be applied"), life.node.reading():
        pass


def test_all_objects_hear_of_the_end_if_a_snapshot_was_taken_over_by_half():
    """Those behind the place where it broke off, too: what is held there is held no longer."""
    consumers = {"box": ReplList, "lock": ReplLock}
    cluster = Simulation(1, consumers, size=1, check=False)
    cluster.start()
    [life] = cluster.lives()
    cluster.run_until(life.node._ready.done)
    put(life, 200, "x" * 100)
    box, lock, engine = life.consumers["box"], life.consumers["lock"], life.node._engine
    lost = []
    lock.on_lost = lambda: lost.append("lock")
    taken = lock.acquire.submit()
    cluster.run_until(taken.done)
    assert lock.held
    subscription, changes = box.subscribe(print), lock.changes()
    image = b"".join(life.replica.image())
    image = image[: len(image) // 2]
    point = life.replica.snapshot_point
    snapshot = SnapshotMeta(point.index, point.term, point.time, len(image), 0, point.membership)
    life.replica._installing = snapshot
    engine._driver._installing = snapshot, [image]
    engine.wake()
    cluster.run(0)
    assert engine.failure is not None
    assert lost == ["lock"]
    assert not lock.held
    assert list(changes) == []
    for _ in range(2):
        subscription.close()
        changes.close()
    cluster.end()


def _counting(life):
    """Return a list that gets each message that a member sends."""
    links, sent = life.node._engine._driver._links, []
    send = links.send

    def noting(peer, data):
        sent.append((peer, decode(data)))
        return send(peer, data)

    links.send = noting
    return sent


@pytest.fixture
def three():
    cluster = Simulation(1, {"box": ReplList}, size=3)
    cluster.start()
    cluster.run_until(lambda: all(life.node._ready.done() for life in cluster.lives()))
    cluster.run(1.0)
    [leader] = [life for life in cluster.lives() if life.core.role is Role.LEADER]
    yield cluster, leader
    cluster.end()


def test_who_is_told_that_a_call_ended_may_make_the_next_one_which_tells_of_the_commit(three):
    cluster, leader = three
    sent = _counting(leader)
    left = iter(range(19))
    box = leader.consumers["box"]

    def go_on(_):
        if next(left, None) is not None:
            box.append.submit(1).add_done_callback(go_on)

    go_on(None)
    cluster.run_until(lambda: len(box) == 19)
    news = [message for _, message in sent if isinstance(message, AppendRequest)]
    # Per call one message to each of two, and now and then a heartbeat.
    assert 19 * 2 <= len(news) < 19 * 3


def test_if_nobody_makes_another_call_the_others_are_told_of_the_commit_without_any_timer(three):
    cluster, leader = three
    [call] = put(leader, 1, 1)
    cluster.run_until(call.done)
    ended_at = leader.now()
    cluster.run_until(lambda: all(len(life.consumers["box"]) == 1 for life in cluster.lives()))
    assert leader.now() - ended_at < leader.node._engine.config.heartbeat_interval / 2


def test_a_driver_that_has_told_a_thread_sleeps_until_that_has_come_back(three):
    """Nothing is sent meanwhile; and whoever comes back has the driver tell the others."""
    cluster, leader = three
    # Its answer would wake the driver, too.
    cluster.crash(next(name for name in cluster.up if name != cluster.leader()))
    cluster.run(0.1)
    engine = leader.node._engine
    moment = engine.config.heartbeat_interval / 20
    [call] = put(leader, 1, 1)

    def as_if_it_waited(_):
        engine.runner.told = True

    call.add_done_callback(as_if_it_waited)
    cluster.run_until(call.done)
    sent = _counting(leader)
    cluster.run(moment)
    assert not sent
    leader.execute(_come_back, engine)
    cluster.run(moment)
    assert [message.commit_index for _, message in sent] == [leader.core.commit_index]


def _come_back(engine):
    with pytest.raises(BlockingCall):
        # Whatever becomes of the wait.
        engine.block(Future(engine.blocker), 0.0)
