"""Sessions end by the leader's word, whatever ttl each has, and only their owner may use them."""

from virtual_cluster import VirtualCluster

from syncstructs.objects.batches import encode_command
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.objects.waiters import Waiters
from syncstructs.raft.messages import Forward, ForwardReply, ReadRequest
from syncstructs.raft.wire import decode, encode


class Box(Replicated):
    def __init__(self):
        self.seen = []
        self.expired = []

    @replicated
    def put(self, thing):
        self.seen.append(thing)

    def on_session_expired(self, session):
        self.expired.append(session)


def ready(cluster):
    cluster.run_until(lambda: all(c.done() for n in cluster.up for c in n.attached))
    return cluster.leader()


def test_a_silent_nodes_session_expires_after_its_own_ttl_even_if_others_have_longer_ones():
    cluster = VirtualCluster(1, {"box": Box}, session_ttl=60.0)
    leader = ready(cluster)
    gone = next(n for n in cluster.up if n is not leader)
    gone.config = gone.config.__class__(session_ttl=2.0)
    gone.crash()
    gone.start()
    cluster.run_until(lambda: all(c.done() for c in gone.attached))
    session = gone.replica.outbox.session
    gone.crash()
    cluster.run(1.8)
    assert session not in leader.objects["box"].expired
    cluster.run(1.0)
    assert session in leader.objects["box"].expired


def test_a_new_leader_gives_every_session_its_whole_ttl_again():
    cluster = VirtualCluster(2, {"box": Box}, size=5, session_ttl=2.0)
    leader = ready(cluster)
    gone = next(n for n in cluster.up if n is not leader)
    session = gone.replica.outbox.session
    gone.crash()
    cluster.run(1.5)
    leader.crash()
    other = next(n for n in cluster.up)
    cluster.run_until(lambda: cluster.leader() is not None)
    cluster.run(1.5)
    assert session not in other.objects["box"].expired
    cluster.run(1.5)
    assert session in other.objects["box"].expired


def test_a_member_cannot_call_in_the_session_of_another():
    cluster = VirtualCluster(3, {"box": Box})
    leader = ready(cluster)
    liar, victim = (n for n in cluster.up if n is not leader)
    outbox = victim.replica.outbox
    forged = encode_command("box", "put", ("forged",), {})
    frame = encode(Forward(outbox.session, outbox.first, 1, forged))
    leader.driver.frame_received(liar.address, frame)
    leader.wake()
    cluster.run(1.0)
    call = victim.call("box", "put", "true")
    cluster.run_until(call.done)
    assert leader.objects["box"].seen == ["true"]


def test_refusals_of_one_gap_make_its_runs_go_out_again_once():
    """Every run behind a gap is refused; if each refusal sent all runs again, they would flood."""
    cluster = VirtualCluster(4, {"box": Box}, batch_bytes=10)
    leader = ready(cluster)
    origin = next(n for n in cluster.up if n is not leader)
    outbox = origin.replica.outbox
    cluster.cut.add((origin.address, leader.address))
    calls = [origin.call("box", "put", i) for i in range(30)]
    cluster.run(0.01)
    sent = []
    send = origin.driver._links.send

    def record(peer, frame):
        sent.append(decode(frame))
        return send(peer, frame)

    origin.driver._links = Recorder(record)
    refusal = encode(ForwardReply(outbox.session, outbox.first))
    for _ in range(30):
        origin.driver.frame_received(leader.address, refusal)
        origin.driver.pump()
    assert sum(isinstance(message, Forward) for message in sent) == 30
    cluster.heal()
    cluster.run_until(lambda: all(call.done() for call in calls))
    assert leader.objects["box"].seen == list(range(30))


class Recorder:
    def __init__(self, send):
        self.send = send


def test_a_node_that_lags_is_not_sure_of_a_session_that_has_expired_meanwhile():
    """It is heard again before it hears that its session is gone: that revives nothing."""
    cluster = VirtualCluster(
        5, {"box": Box}, session_ttl=2.0, append_bytes=500, append_window_bytes=1000
    )
    leader = ready(cluster)
    lagging = next(n for n in cluster.up if n is not leader)
    cluster.isolate(lagging)
    for i in range(100):
        leader.call("box", "put", f"{i}" * 200)
        cluster.run(0.002)
    cluster.run(3.0)
    cluster.delay = 0.01
    cluster.heal()
    old = lagging.replica.outbox.session
    while lagging.replica.outbox.session in (old, 0):
        cluster.run(0.001)
        cluster.check_session(lagging)
    cluster.run_until(lambda: lagging.replica.sure_until() > cluster.world.now())


def test_a_wait_that_a_snapshot_skipped_goes_on_and_is_served():
    cluster = VirtualCluster(6, {"gate": Gatekeeper}, snapshot_log_entries=10, log_keep_bytes=1)
    leader = ready(cluster)
    deaf = next(n for n in cluster.up if n is not leader)
    cluster.cut.add((leader.address, deaf.address))
    waiting = deaf.call("gate", "wait", 1)
    for i in range(40):
        leader.call("gate", "pass_by", i)
        cluster.run(0.005)
    cluster.heal()
    cluster.run(1.0)
    assert not waiting.done()
    leader.call("gate", "open", "in")
    cluster.run_until(waiting.done)
    assert waiting.result() == "in"


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


def test_a_barrier_whose_request_was_lost_is_asked_again_while_calls_go_on():
    cluster = VirtualCluster(7, {"box": Box})
    leader = ready(cluster)
    reader = next(n for n in cluster.up if n is not leader)
    send = reader.driver._links.send

    def lose_reads(peer, frame):
        return True if isinstance(decode(frame), ReadRequest) else send(peer, frame)

    reader.driver._links = Recorder(lose_reads)
    reader.barrier(1)
    cluster.run(0.1)
    reader.driver._links = Recorder(send)
    for i in range(400):
        reader.call("box", "put", i)
        cluster.run(0.01)
    assert reader.barriers[1]


def test_a_late_end_of_a_session_harms_no_newer_one_of_the_same_address():
    for leads in (False, True):
        cluster = VirtualCluster(8, {"box": Box})
        leader = ready(cluster)
        leaving = leader if leads else next(n for n in cluster.up if n is not leader)
        old = leaving.replica.outbox.session
        assert leaving.replica.leave()
        leaving.wake()
        cluster.run_until(lambda node=leaving: not node.replica.outbox.session)
        cluster.run(0.2)
        assert not leaving.replica.outbox.session, "a node that left has opened a session again"
        leaving.crash()
        leaving.start()
        cluster.run_until(lambda node=leaving: all(c.done() for c in node.attached))
        session = leaving.replica.outbox.session
        assert session not in (0, old)
        end = Forward(0, 0, 1, encode_command(0, "expire_session", (old,), {}))
        for node in cluster.up:
            if node is not leaving:
                node.driver.frame_received(leaving.address, encode(end))
                node.wake()
        cluster.run(1.0)
        expired = [set(node.objects["box"].expired) for node in cluster.up if node is not leaving]
        assert expired == [{old}, {old}]
        assert leaving.replica.outbox.session == session
        call = leaving.call("box", "put", "lives")
        cluster.run_until(call.done)


def test_a_member_cannot_end_the_session_of_another():
    cluster = VirtualCluster(9, {"box": Box})
    leader = ready(cluster)
    liar, victim = (n for n in cluster.up if n is not leader)
    session = victim.replica.outbox.session
    for arguments in ((session,), (session, session), ([session],), (True,), ()):
        order = Forward(0, 0, 1, encode_command(0, "expire_session", arguments, {}))
        leader.driver.frame_received(liar.address, encode(order))
        leader.wake()
        cluster.run(0.5)
    assert victim.replica.outbox.session == session
    assert leader.objects["box"].expired == []


def test_the_end_of_a_session_is_asked_for_again_when_its_leader_is_lost():
    cluster = VirtualCluster(10, {"box": Box}, size=5)
    leader = ready(cluster)
    leaving = next(n for n in cluster.up if n is not leader)
    cluster.cut.add((leaving.address, leader.address))
    assert leaving.replica.leave()
    leaving.wake()
    cluster.run(0.1)
    leader.crash()
    cluster.run_until(lambda: not leaving.replica.outbox.session, limit=5)
