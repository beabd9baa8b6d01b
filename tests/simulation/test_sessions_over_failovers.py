"""Sessions end by the leader's word, whatever ttl each has, and only their owner may use them."""

import itertools
from dataclasses import replace

import pytest

from syncstructs.objects.batches import encode_command
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.objects.waiters import Waiters
from syncstructs.raft.messages import Forward, ForwardReply, ReadRequest
from syncstructs.raft.wire import decode, encode
from syncstructs.testing.simulator import Simulation


class Box(Replicated):
    def __init__(self):
        self.seen = []
        self.expired = []

    @replicated
    def put(self, thing):
        self.seen.append(thing)

    def on_session_expired(self, session):
        self.expired.append(session)


class Gatekeeper(Replicated):
    def __init__(self):
        self.waiters = Waiters()
        self.passed = []

    @replicated
    def wait(self, ticket):
        return self.waiters.park(ticket)

    @replicated
    def pass_by(self, who):
        self.passed.append(who)

    @replicated
    def open(self, value):
        self.waiters.serve(value)


@pytest.fixture
def start():
    """Start clusters in which all nodes are ready; gives each with its leader and the others."""
    started = []

    def begin(seed, consumer=Box, **settings):
        cluster = Simulation(seed, {"box": consumer}, **settings)
        started.append(cluster)
        cluster.start()
        ready(cluster, *cluster.addresses)
        cluster.settle()
        leader = cluster.leader()
        return cluster, leader, [a for a in cluster.addresses if a != leader]

    yield begin
    for cluster in started:
        cluster.end()


def ready(cluster, *addresses):
    cluster.run_until(lambda: all(cluster.node(a)._ready.done() for a in addresses))


def life_of(cluster, address):
    return cluster.hosts[address].life


def session_of(cluster, address):
    return life_of(cluster, address).replica.outbox.session


def box(cluster, address):
    return cluster.objects(address)["box"]


def deliver(cluster, sender, receiver, message):
    """Let a node hear a message that the code of no correct member has sent."""
    life = life_of(cluster, receiver)
    life.execute(life.node._engine._on_frames, sender, [encode(message)])


def leave(cluster, address):
    """Have the session of a node ended, but let that run on."""
    life = life_of(cluster, address)
    assert life.replica.leave()
    life.node._engine.wake()


def test_a_silent_nodes_session_expires_after_its_own_ttl_even_if_others_have_longer_ones(start):
    cluster, leader, (gone, _) = start(1, session_ttl=60.0)
    # The leader has looked at all sessions, and is to look again in a minute.
    cluster.run(1.0)
    cluster.config = replace(cluster.config, session_ttl=2.0)
    cluster.crash(gone)
    cluster.start(gone)
    ready(cluster, gone)
    session = session_of(cluster, gone)
    cluster.crash(gone)
    cluster.run(1.8)
    assert session not in box(cluster, leader).expired
    cluster.run(1.0)
    assert session in box(cluster, leader).expired


def test_a_new_leader_gives_every_session_its_whole_ttl_again(start):
    cluster, leader, (gone, other, *_) = start(2, size=5, session_ttl=2.0)
    session = session_of(cluster, gone)
    cluster.crash(gone)
    cluster.run(1.5)
    cluster.crash(leader)
    cluster.run_until(lambda: cluster.leader() is not None)
    cluster.run(1.5)
    assert session not in box(cluster, other).expired
    cluster.run(1.5)
    assert session in box(cluster, other).expired


def test_a_member_cannot_call_in_the_session_of_another(start):
    cluster, leader, (liar, victim) = start(3)
    outbox = life_of(cluster, victim).replica.outbox
    forged = encode_command("box", "put", ("forged",), {})
    deliver(cluster, liar, leader, Forward(outbox.session, outbox.first, 1, forged))
    cluster.run(1.0)
    cluster.await_all([box(cluster, victim).put.submit("true")])
    assert box(cluster, leader).seen == ["true"]


def test_refusals_of_one_gap_make_its_runs_go_out_again_once(start, monkeypatch):
    """Every run behind a gap is refused; if each refusal sent all runs again, they would flood."""
    cluster, leader, (origin, _) = start(4, batch_bytes=10)
    outbox = life_of(cluster, origin).replica.outbox
    cluster.network.cut(origin, leader)
    calls = [box(cluster, origin).put.submit(i) for i in range(30)]
    cluster.run(0.01)
    assert len(outbox.sent) == 30
    sent = []
    watch = type(cluster.checks).sends

    def record(checks, life, peer, payload):
        sent.append((life.host.address, decode(payload)))
        watch(checks, life, peer, payload)

    monkeypatch.setattr(type(cluster.checks), "sends", record)
    for _ in range(30):
        deliver(cluster, leader, origin, ForwardReply(outbox.session, outbox.first))
        cluster.run(0)
    runs = [message for sender, message in sent if isinstance(message, Forward)]
    assert len(runs) == 30
    assert {sender for sender, message in sent if isinstance(message, Forward)} == {origin}
    cluster.heal()
    cluster.await_all(calls)
    assert box(cluster, leader).seen == list(range(30))


def test_a_node_that_lags_is_not_sure_of_a_session_that_has_expired_meanwhile(start):
    """It is heard again before it hears that its session is gone: that revives nothing."""
    cluster, leader, (lagging, _) = start(
        5, session_ttl=2.0, append_bytes=500, append_window_bytes=1000
    )
    cluster.network.cut_off(lagging)
    for i in range(100):
        box(cluster, leader).put.submit(f"{i}" * 200)
        cluster.run(0.002)
    cluster.run(3.0)
    life = life_of(cluster, lagging)
    old = session_of(cluster, lagging)
    assert old in box(cluster, leader).expired
    cluster.heal()
    cluster.network.faults.delay = 0.01

    def has_another_session():
        is_sure = life.replica.sure_until() > life.now()
        session = session_of(cluster, lagging)
        assert session != old or not is_sure, "is sure of a session that is over"
        return session not in (old, 0)

    cluster.run_until(has_another_session)
    cluster.run_until(lambda: life.replica.sure_until() > life.now())


def test_a_wait_that_a_snapshot_skipped_goes_on_and_is_served(start):
    settings = {"snapshot_log_entries": 10, "snapshot_log_bytes": 1, "log_keep_bytes": 1}
    cluster, leader, (deaf, _) = start(6, Gatekeeper, **settings)
    cluster.network.cut(leader, deaf)
    waiting = box(cluster, deaf).wait.submit(1)
    # The log is kept behind a snapshot on its way, until it outgrows that.
    for i in range(200):
        box(cluster, leader).pass_by.submit(i)
        cluster.run(0.005)
    cluster.heal()
    cluster.run(1.0)
    assert life_of(cluster, deaf) in cluster.checks.skipped
    assert not waiting.done()
    box(cluster, leader).open.submit("in")
    cluster.await_all([waiting])
    assert waiting.result() == "in"


def test_a_barrier_whose_request_was_lost_is_asked_again_while_calls_go_on(start):
    cluster, _, (reader, _) = start(7)
    [links] = life_of(cluster, reader).links
    send = links.send
    lost = []

    def lose_reads(peer, frame):
        if not isinstance(decode(frame), ReadRequest):
            return send(peer, frame)
        lost.append(frame)
        return True

    links.send = lose_reads
    barrier = cluster.node(reader).barrier.submit()
    cluster.run(0.1)
    assert lost
    links.send = send
    for i in itertools.count():
        if barrier.done():
            break
        assert i < 400, "not within four seconds"
        box(cluster, reader).put.submit(i)
        cluster.run(0.01)
    assert barrier.exception() is None


@pytest.mark.parametrize("leads", [False, True], ids=["follower", "leader"])
def test_a_late_end_of_a_session_harms_no_newer_one_of_the_same_address(start, leads):
    cluster, leader, others = start(8)
    leaving = leader if leads else others[0]
    old = session_of(cluster, leaving)
    leave(cluster, leaving)
    cluster.run_until(lambda: not session_of(cluster, leaving))
    cluster.run(0.2)
    assert not session_of(cluster, leaving), "a node that left has opened a session again"
    cluster.crash(leaving)
    cluster.start(leaving)
    ready(cluster, leaving)
    session = session_of(cluster, leaving)
    assert session not in (0, old)
    end = Forward(0, 0, 1, encode_command(0, "expire_session", (old,), {}))
    staying = [address for address in cluster.addresses if address != leaving]
    for address in staying:
        deliver(cluster, leaving, address, end)
    cluster.run(1.0)
    assert [set(box(cluster, address).expired) for address in staying] == [{old}, {old}]
    assert session_of(cluster, leaving) == session
    cluster.await_all([box(cluster, leaving).put.submit("lives")])


def test_a_member_cannot_end_the_session_of_another(start):
    cluster, leader, (liar, victim) = start(9)
    session = session_of(cluster, victim)
    for arguments in ((session,), (session, session), ([session],), (True,), ()):
        order = encode_command(0, "expire_session", arguments, {})
        deliver(cluster, liar, leader, Forward(0, 0, 1, order))
        cluster.run(0.5)
    assert session_of(cluster, victim) == session
    assert box(cluster, leader).expired == []


def test_the_end_of_a_session_is_asked_for_again_when_its_leader_is_lost(start):
    cluster, leader, (leaving, *_) = start(10, size=5)
    cluster.network.cut(leaving, leader)
    leave(cluster, leaving)
    cluster.run(0.1)
    assert session_of(cluster, leaving)
    cluster.crash(leader)
    cluster.run_until(lambda: not session_of(cluster, leaving), limit=5)


class Seconds(float):
    """Such as a library of arrays gives."""


def test_of_what_kind_the_number_is_that_was_configured_as_ttl_makes_no_difference():
    traces = set()
    for ttl in (5.0, 5, Seconds(5.0)):
        cluster = Simulation(1, {"box": Box}, session_ttl=ttl)
        cluster.start()
        cluster.settle()
        cluster.await_all([cluster.objects(cluster.leader())["box"].put.submit(1)])
        traces.add(cluster.network.trace)
        cluster.end()
    assert len(traces) == 1, "it is in the bytes of the call that opens a session"
