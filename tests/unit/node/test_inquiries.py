"""What is asked of a node from outside: by other members, and by whoever else has a link."""

import json

import pytest

from syncstructs import ReplDict, ReplList
from syncstructs.errors import NodeClosed, ProtocolError, Unserializable
from syncstructs.futures import Future
from syncstructs.node.inquiries import (
    PAYLOAD_BYTES,
    RUNNING_COUNT,
    RUNNING_COUNT_OF_ONE,
    Inquiries,
    InquiryFailed,
)
from syncstructs.node.verbs import OBJECT_COUNT, _parsed, look_around, shortened
from syncstructs.raft.messages import Answer, Inquiry
from syncstructs.raft.wire import decode, encode
from syncstructs.testing import Simulation


class Owner:
    """A node of which only the sending is looked at; what it runs ends when the test says so."""

    address = "n1:1"
    failure = None
    blocker = None

    def __init__(self):
        self.sent = []
        self.linked = {"n2:1", "n3:1"}
        self.running = []

    def send_to(self, peer, message):
        if peer not in self.linked:
            return False
        self.sent.append((peer, message))
        return True

    def start(self, steps):
        waits_for = next(steps)
        future = Future(self.blocker, canceller=lambda: True)
        self.running.append((waits_for, future))
        return future

    def post(self, function):
        function()
        return True


@pytest.fixture
def owner():
    return Owner()


@pytest.fixture
def inquiries(owner):
    made = Inquiries(owner)

    def verb(arguments):
        yield arguments

    made.verbs = {"wait": verb, "look": verb}
    yield made
    made._check()


def said(owner, number=-1):
    peer, answer = owner.sent[number]
    assert type(answer) is Answer
    return peer, answer.id, answer.ok, json.loads(answer.payload)


def test_an_answer_is_what_the_operation_gives(owner, inquiries):
    inquiries.received("n2:1", Inquiry(7, "wait", b'{"addresses": ["n4:1"], "timeout": 2}'))
    [(arguments, future)] = owner.running
    assert (arguments.addresses, arguments.timeout) == (("n4:1",), 2.0)
    assert owner.sent == []
    future.finish({"term": 3}, None)
    assert said(owner) == ("n2:1", 7, True, {"term": 3})


def test_what_an_operation_raises_is_told_by_class_and_message(owner, inquiries):
    inquiries.received("n2:1", Inquiry(7, "wait", b"{}"))
    owner.running[0][1].finish(None, Unserializable("a value of type socket"))
    assert said(owner) == (
        "n2:1", 7, False, {"error": "Unserializable", "message": "a value of type socket"}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "arguments", "why"),
    [
        ("destroy", b"{}", "'destroy' is unknown to this node; it knows look, wait"),
        ("wait", b"[]", "Expected `object`, got `array`"),
        ("wait", b"\xff\xfe", ""),
        ("wait", b'{"to": "\xff"}', "can't decode byte 0xff"),
        ("wait", b'{"addresses": [1]}', "Expected `str`, got `int`"),
        ("wait", b'{"adresses": []}', "unknown field `adresses`"),
        ("wait", b'{"timeout": -1}', "timeout -1.0 must be from 0 to 300 seconds"),
        ("wait", b'{"timeout": 1e9}', "timeout 1000000000.0 must be from 0 to 300 seconds"),
    ],
)
def test_what_cannot_be_asked_is_answered_with_a_sentence(owner, inquiries, verb, arguments, why):
    inquiries.received("n2:1", Inquiry(1, verb, arguments))
    peer, id_, ok, answer = said(owner)
    assert (peer, id_, ok) == ("n2:1", 1, False)
    assert why in answer["message"]
    assert owner.running == []


def test_only_so_many_are_answered_at_a_time(owner, inquiries):
    for number in range(RUNNING_COUNT_OF_ONE + 1):
        inquiries.received("n2:1", Inquiry(number, "wait", b"{}"))
    assert len(owner.running) == RUNNING_COUNT_OF_ONE
    assert said(owner)[3]["error"] == "Busy"
    inquiries._check()
    for number in range(RUNNING_COUNT):
        inquiries.received(f"guest-{number}", Inquiry(1, "wait", b"{}"))
    assert len(owner.running) == RUNNING_COUNT
    owner.running[0][1].finish(None, None)
    inquiries.received("n2:1", Inquiry(1, "wait", b"{}"))
    assert len(owner.running) == RUNNING_COUNT + 1


def test_whoever_is_gone_is_waited_for_no_longer(owner, inquiries):
    inquiries.received("n2:1", Inquiry(7, "wait", b"{}"))
    inquiries.received("n3:1", Inquiry(7, "wait", b"{}"))
    asked = inquiries.ask("n2:1", "look", {})
    other = inquiries.ask("n3:1", "look", {})
    inquiries.lost("n2:1")
    assert [future.cancelled() for _, future in owner.running] == [True, False]
    with pytest.raises(InquiryFailed, match="the link to n2:1 is gone"):
        asked.result()
    assert not other.done()
    assert not inquiries._running.get("n2:1")


def test_an_answer_that_is_too_large_is_replaced_by_a_sentence(owner, inquiries):
    inquiries.received("n2:1", Inquiry(7, "look", b"{}"))
    owner.running[0][1].finish("x" * PAYLOAD_BYTES, None)
    assert "too many" in said(owner)[3]["message"]


def test_an_answer_counts_only_from_whom_was_asked_and_once(owner, inquiries):
    future = inquiries.ask("n2:1", "look", {"sizes": True})
    peer, inquiry = owner.sent[-1]
    assert (peer, inquiry.verb, json.loads(inquiry.arguments)) == ("n2:1", "look", {"sizes": True})
    inquiries.received("n3:1", Answer(inquiry.id, True, b"1"))
    inquiries.received("n2:1", Answer(inquiry.id + 1, True, b"1"))
    assert not future.done()
    inquiries.received("n2:1", Answer(inquiry.id, True, b"2"))
    inquiries.received("n2:1", Answer(inquiry.id, True, b"3"))
    assert future.result() == b"2"
    assert inquiries._asked == {}


def test_a_refusal_and_a_missing_link_end_the_wait(owner, inquiries):
    future = inquiries.ask("n2:1", "look", {})
    inquiries.received("n2:1", Answer(owner.sent[-1][1].id, False, b"\x1b[2J"))
    with pytest.raises(InquiryFailed, match=r"n2:1 answered '\\x1b\[2J'"):
        future.result()
    with pytest.raises(InquiryFailed, match="no link to n9:1"):
        inquiries.ask("n9:1", "look", {}).result()


def test_what_is_not_waited_for_any_more_is_forgotten(owner, inquiries):
    future = inquiries.ask("n2:1", "look", {})
    inquiries.forget(future)
    assert inquiries._asked == {}
    inquiries.received("n2:1", Answer(owner.sent[-1][1].id, True, b"1"))
    assert not future.done()


def test_the_end_of_the_node_ends_the_wait(owner, inquiries):
    future = inquiries.ask("n2:1", "look", {})
    inquiries.close(NodeClosed("node n1:1 is closed"))
    with pytest.raises(NodeClosed):
        future.result()


@pytest.mark.parametrize(
    "bad",
    [
        Inquiry(-1, "status", b"{}"), Inquiry(2**63, "status", b"{}"), Inquiry(1, "v" * 65, b"{}"),
        Inquiry(1, "status", b" " * (64 * 1024 + 1)), Answer(-1, True, b""),
    ],
)  # fmt: skip
def test_what_no_correct_node_asks_or_answers_costs_the_link(bad):
    with pytest.raises(ProtocolError):
        decode(encode(bad))


def test_a_status_names_the_first_objects_only_and_counts_all():
    names = [f"o{number:05}" for number in range(OBJECT_COUNT + 50)]
    status = shortened({"objects": {name: {"type": "x"} for name in reversed(names)}})
    assert list(status["objects"]) == names[:OBJECT_COUNT]
    differing = {"type": "x", "diverged": {"index": 1, "members": []}}
    objects = {name: {"type": "x"} for name in names} | {names[-1]: differing}
    assert list(shortened({"objects": objects})["objects"]) == [
        names[-1], *names[: OBJECT_COUNT - 1],
    ]  # fmt: skip
    objects[names[-2]] = {"type": "x", "size_bytes": 5}
    assert list(shortened({"objects": objects})["objects"])[:3] == [names[-1], names[-2], names[0]]


# With whole nodes


@pytest.fixture
def cluster():
    made = Simulation(3, {"users": ReplDict, "line": ReplList}, log_keep_bytes=1)
    made.start()
    made.settle()
    yield made
    made.end()


def look(cluster, address):
    engine = cluster.node(address)._engine
    [life] = [life for life in cluster.lives() if life.host.address == address]
    future = []
    life.execute(lambda: future.append(engine.start(look_around(engine, 1.0))))
    cluster.run_until(future[0].done, limit=1.5)
    return future[0].result()


@pytest.mark.parametrize("by_leader", [True, False])
def test_every_member_can_show_the_whole_cluster(cluster, by_leader):
    asked = next(a for a in cluster.up if (a == cluster.leader()) is by_leader)
    seen = look(cluster, asked)
    assert seen["asked"] == asked
    assert sorted(seen["members"]) == sorted(cluster.up)
    for address, status in seen["members"].items():
        assert status["address"] == address
        assert status["leader"] == cluster.leader()
        assert sorted(status["objects"]) == ["line", "users"]
    assert sorted(seen["members"][cluster.leader()]["peers"]) == sorted(
        {*cluster.up} - {cluster.leader()}
    )


def test_who_does_not_answer_is_shown_as_nothing_and_costs_a_second_at_most(cluster):
    leader = cluster.leader()
    down, stuck = [address for address in cluster.up if address != leader]
    cluster.crash(down)
    cluster.run(0.2)
    cluster.hosts[stuck].pause(cluster.now + 30)
    began = cluster.now
    seen = look(cluster, leader)
    assert cluster.now - began < 1.3
    assert seen["members"][down] is None
    assert seen["members"][stuck] is None
    assert seen["members"][leader]["address"] == leader
    assert cluster.node(leader)._engine.inquiries._asked == {}


def test_the_loss_of_the_link_and_the_end_of_the_node_end_a_wait(cluster):
    leader = cluster.leader()
    engine = cluster.node(leader)._engine
    [life] = [life for life in cluster.lives() if life.host.address == leader]
    lost, stuck = [address for address in cluster.up if address != leader]
    cluster.hosts[lost].pause(cluster.now + 30)
    cluster.hosts[stuck].pause(cluster.now + 30)
    waits = []
    for peer in (lost, stuck):
        life.execute(lambda peer=peer: waits.append(engine.inquiries.ask(peer, "status", {})))
    cluster.run(0.1)
    assert not any(wait.done() for wait in waits)
    cluster.crash(lost)
    cluster.run_until(waits[0].done, limit=1.0)
    assert f"the link to {lost} is gone" in str(waits[0].exception())
    assert not waits[1].done()
    closed = cluster.node(leader).close.submit()
    cluster.run_until(closed.done)
    with pytest.raises(NodeClosed):
        waits[1].result()


def test_a_member_does_by_inquiry_what_its_operations_do(cluster):
    engine = cluster.node(cluster.leader())._engine
    other = next(address for address in cluster.up if address != cluster.leader())
    [life] = [life for life in cluster.lives() if life.host.address == engine.address]
    answers = []

    def ask(verb, **arguments):
        life.execute(lambda: answers.append(engine.inquiries.ask(other, verb, arguments)))
        cluster.run_until(answers[-1].done)
        return answers[-1]

    assert json.loads(ask("transfer", to=other).result()) is None
    assert cluster.leader() == other
    index = json.loads(ask("snapshot").result())
    assert index == cluster.node(other).status()["snapshot_index"] > 0
    assert "addresses are missing" in str(ask("add").exception())
    assert "VersionRefused" in str(ask("set_version", number=2).exception())
    assert "must be a whole number" in str(ask("set_version").exception())
    assert "is unknown to this node" in str(ask("dance").exception())
    assert json.loads(ask("remove", addresses=[engine.address]).result()) is None
    assert engine.address not in cluster.node(other).members


def test_a_snapshot_that_is_asked_for_holds_all_that_is_applied_and_is_taken_once(cluster):
    node = cluster.node(cluster.leader())
    cluster.await_all([node.objects["users"].set.submit("ann", 7)])
    first, second = node.snapshot.submit(), node.snapshot.submit()
    cluster.await_all([first, second])
    status = node.status()
    assert first.result() == status["snapshot_index"] == status["applied_index"]
    assert second.result() == first.result()
    assert status["snapshot_bytes"] > 0
    before = node._engine._stores.snapshots.latest()
    again = node.snapshot.submit()
    cluster.await_all([again])
    assert again.result() == first.result()
    assert node._engine._stores.snapshots.latest() is before


def test_a_snapshot_that_cannot_be_made_says_why_and_the_node_goes_on(cluster, monkeypatch):
    node = cluster.node(cluster.leader())
    users = node.objects["users"]
    cluster.await_all([users.set.submit("ann", 7)])

    def fail():
        raise Unserializable("a value of type socket")

    with monkeypatch.context() as patch:
        patch.setattr(node._engine.replica, "image", fail)
        asked = node.snapshot.submit()
        cluster.await_all([asked])
    with pytest.raises(Unserializable, match="socket"):
        asked.result()
    # It is asked for again, so it need not wait until one is tried again by itself.
    again = node.snapshot.submit()
    cluster.run_until(again.done, limit=1.0)
    assert again.result() == node.status()["applied_index"]


def test_a_snapshot_that_is_asked_for_ends_with_the_node(cluster):
    leader = cluster.leader()
    node = cluster.node(leader)
    cluster.hosts[leader].life.replica._installing = object()
    asked = node.snapshot.submit()
    closed = node.close.submit()
    cluster.run_until(closed.done)
    with pytest.raises(NodeClosed):
        asked.result()


@pytest.mark.parametrize("payload", [b'{"term": "\xff"}', b"[" * 100_000, b"{", b"[]", b""])
def test_a_member_that_answers_nonsense_shows_nothing(payload):
    assert _parsed(payload) is None
