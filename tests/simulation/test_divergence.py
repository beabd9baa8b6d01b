"""A replica whose state is another one is found in the background and named on every member; and
no replica is suspected that is not."""

import dataclasses
import logging

import pytest
from msgspec.structs import replace

from syncstructs import ReplCounter, ReplDict, Replicated, replicated
from syncstructs.objects.batches import encode_command
from syncstructs.raft.messages import DigestReport
from syncstructs.raft.wire import decode, encode
from syncstructs.testing.invariants import Invariants
from syncstructs.testing.plans import PROFILES, draw_plan
from syncstructs.testing.runs import Run, quietly
from syncstructs.testing.simulator import Simulation

INTERVAL = 5.0
OBJECTS = {"users": ReplDict, "hits": ReplCounter}


class Leaky(Replicated):
    """Its command depends on what no other member has."""

    def __init__(self):
        self.seen = []

    @replicated
    def see(self, thing):
        self.seen.append((thing, self._port.address))


@pytest.fixture
def start():
    """Start clusters in which all nodes are ready. They check nothing: states are to differ."""
    started = []

    def begin(seed, consumers=OBJECTS, **settings):
        settings = {"digest_interval": INTERVAL, **settings}
        cluster = Simulation(seed, consumers, check=False, **settings)
        started.append(cluster)
        cluster.start()
        ready(cluster)
        return cluster

    yield begin
    for cluster in started:
        cluster.end()


def ready(cluster):
    cluster.run_until(lambda: all(cluster.node(a)._ready.done() for a in cluster.addresses))
    cluster.settle()


def write(cluster, address, key="ann", value=1):
    cluster.await_all([cluster.objects(address)["users"].set.submit(key, value)])


def corrupt(cluster, address, key="flipped"):
    """Change the state of one replica, as a bit flip in its memory or a stray reference does."""
    cluster.objects(address)["users"]._items[key] = 1


def noted(cluster, address):
    """Return what the status of a node says, by object."""
    objects = cluster.node(address).status()["objects"]
    return {name: it["diverged"] for name, it in objects.items() if "diverged" in it}


def who_differs(cluster):
    """Return by object who differs, if all nodes that run say the same."""
    for life in cluster.lives():
        assert life.node._engine.failure is None
        life.table._check()
    says = [noted(cluster, address) for address in cluster.up]
    assert all(other == says[0] for other in says), says
    return {name: it["members"] for name, it in says[0].items()}


def comparisons(cluster):
    """Return how many comparisons the logs of the nodes hold."""
    found = set()
    for life in cluster.lives():
        log = life.core.log
        for entry in log.between(log.base.index + 1, log.last_index):
            if b"compare_digests" in entry.payload:
                found.add(entry.index)
    return len(found)


@pytest.mark.parametrize("seed", range(8))
def test_a_changed_replica_is_named_on_every_member_by_the_next_comparison(start, seed):
    cluster = start(seed)
    write(cluster, "n1:1")
    culprit = cluster.addresses[seed % 3]
    corrupt(cluster, culprit)
    before = comparisons(cluster)
    cluster.run_until(lambda: comparisons(cluster) > before, 2 * INTERVAL)
    cluster.run(1.0)
    assert comparisons(cluster) == before + 1, f"seed {seed}"
    assert who_differs(cluster) == {"users": [culprit]}, f"seed {seed}"
    index = noted(cluster, culprit)["users"]["index"]
    assert 0 < index <= cluster.hosts[culprit].life.table.applied_index


def test_sizes_are_known_from_the_last_comparison(start):
    cluster = start(1)

    def sizes():
        told = [cluster.node(address).status()["objects"] for address in cluster.up]
        return [objects["users"].get("size_bytes") for objects in told]

    assert sizes() == [None, None, None]
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    node = cluster.node("n1:1")
    known = node.status(sizes=True)["objects"]["users"]["size_bytes"]
    assert sizes() == [known] * 3
    # Sizes as of now need not be those.
    cluster.objects("n1:1")["users"].set.submit("more", "x" * 1000)
    cluster.run(0.5)
    assert node.status(sizes=True)["objects"]["users"]["size_bytes"] > known + 1000
    cluster.run(2 * INTERVAL)
    assert sizes()[0] > known + 1000


def test_it_is_told_once_by_every_member_and_once_more_when_it_is_over(start, caplog):
    caplog.set_level(logging.INFO, "syncstructs.replica")
    cluster = start(1)
    culprit = next(a for a in cluster.addresses if a != cluster.leader())
    corrupt(cluster, culprit)
    for _ in range(4):
        write(cluster, "n1:1")
        cluster.run(INTERVAL)
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert sorted(message.split(": ")[0] for message in told) == list(cluster.addresses)
    assert all("object 'users'" in message and culprit in message[6:] for message in told)
    del cluster.objects(culprit)["users"]._items["flipped"]
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {}
    over = [r.getMessage() for r in caplog.records if "same on all members again" in r.getMessage()]
    assert len(over) == 3
    assert len([r for r in caplog.records if r.levelno >= logging.ERROR]) == 3


def test_an_object_is_not_told_of_again_with_the_next_one(start, caplog):
    cluster = start(20)
    corrupt(cluster, "n2:1")
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    cluster.objects("n3:1")["hits"]._value += 1
    cluster.run(2 * INTERVAL)
    corrupt(cluster, "n3:1", "too")
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"hits": ["n3:1"], "users": list(cluster.addresses)}
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert len([message for message in told if "'hits'" in message]) == 3
    # Once of one member, and once of all.
    assert len([message for message in told if "'users'" in message]) == 6


def test_a_member_that_restarts_tells_not_of_what_is_long_over(start, caplog):
    cluster = start(21)
    corrupt(cluster, "n2:1")
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    del cluster.objects("n2:1")["users"]._items["flipped"]
    for _ in range(20):
        write(cluster, "n1:1")
        cluster.run(INTERVAL)
    told = [r for r in caplog.records if r.name == "syncstructs.replica"]
    assert len(told) == 3
    for address in cluster.addresses:
        cluster.crash(address)
        cluster.start(address)
        ready(cluster)
    assert [r for r in caplog.records if r.name == "syncstructs.replica"] == told
    assert who_differs(cluster) == {}


@pytest.mark.parametrize("seed", range(4))
def test_a_member_that_comes_back_empty_is_cleared(start, seed):
    cluster = start(seed, forgetful=True)
    culprit = next(a for a in cluster.addresses if a != cluster.leader())
    corrupt(cluster, culprit)
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"users": [culprit]}, f"seed {seed}"
    cluster.crash(culprit)
    cluster.run(3 * INTERVAL)
    assert who_differs(cluster) == {"users": [culprit]}, "it says nothing of what it has now"
    cluster.start(culprit)
    ready(cluster)
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {}, f"seed {seed}"


def test_a_member_that_is_removed_differs_from_nobody(start):
    cluster = start(3, size=4)
    culprit = next(a for a in cluster.addresses if a != cluster.leader())
    corrupt(cluster, culprit)
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"users": [culprit]}
    cluster.crash(culprit)
    cluster.await_all([cluster.node(cluster.leader()).remove_member.submit(culprit)])
    # Until its session has expired.
    cluster.run(cluster.config.session_ttl + 3 * INTERVAL)
    assert who_differs(cluster) == {}


def test_a_leader_may_be_the_one_that_differs(start):
    cluster = start(4)
    culprit = cluster.leader()
    corrupt(cluster, culprit)
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    assert cluster.leader() == culprit
    assert who_differs(cluster) == {"users": [culprit]}


def test_without_a_majority_all_who_were_compared_are_named(start):
    cluster = start(5)
    cluster.crash(next(a for a in cluster.addresses if a != cluster.leader()))
    corrupt(cluster, cluster.up[0])
    write(cluster, cluster.up[0])
    cluster.run(3 * INTERVAL)
    assert who_differs(cluster) == {"users": cluster.up}


def test_what_depends_on_the_member_is_found_and_other_objects_are_not_suspected(start):
    cluster = start(6, OBJECTS | {"leaky": Leaky})
    cluster.await_all([cluster.objects("n1:1")["leaky"].see.submit(1)])
    write(cluster, "n2:1")
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"leaky": list(cluster.addresses)}


def test_a_dropped_object_differs_no_longer(start):
    cluster = start(7)
    corrupt(cluster, "n1:1")
    write(cluster, "n2:1")
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"users": ["n1:1"]}
    cluster.await_all([cluster.node("n2:1").drop.submit("users")])
    cluster.run(1.0)
    assert who_differs(cluster) == {}
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {}


def test_it_is_known_after_a_restart_from_a_snapshot(start):
    cluster = start(8, snapshot_log_entries=4, log_keep_bytes=1)
    culprit = next(a for a in cluster.addresses if a != cluster.leader())
    corrupt(cluster, culprit)
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    for key in range(20):
        write(cluster, "n1:1", key)
    leader = cluster.leader()
    assert cluster.hosts[leader].life.snapshot_index() > noted(cluster, leader)["users"]["index"]
    other = next(a for a in cluster.addresses if a not in (leader, culprit))
    cluster.crash(other)
    cluster.start(other)
    ready(cluster)
    assert who_differs(cluster) == {"users": [culprit]}


def test_a_new_leader_goes_on_comparing(start):
    cluster = start(9)
    cluster.run(INTERVAL)
    former = cluster.leader()
    cluster.crash(former)
    cluster.run_until(lambda: cluster.leader() not in (None, former))
    cluster.start(former)
    ready(cluster)
    culprit = next(a for a in cluster.addresses if a != cluster.leader())
    corrupt(cluster, culprit)
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"users": [culprit]}


def test_while_nothing_changes_nothing_is_compared(start):
    cluster = start(10)
    cluster.run(3 * INTERVAL)
    last = cluster.hosts["n1:1"].life.core.log.last_index
    assert comparisons(cluster) == 1
    cluster.run(20 * INTERVAL)
    assert cluster.hosts["n1:1"].life.core.log.last_index == last
    write(cluster, "n1:1")
    cluster.run(3 * INTERVAL)
    assert comparisons(cluster) == 2
    assert cluster.hosts["n1:1"].life.core.log.last_index == last + 2


def test_while_some_differ_they_are_compared_but_nothing_more_is_noted(start):
    cluster = start(11)
    corrupt(cluster, "n1:1")
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    last, count = cluster.hosts["n1:1"].life.core.log.last_index, comparisons(cluster)
    cluster.run(10 * INTERVAL)
    more = comparisons(cluster) - count
    assert 9 <= more <= 11
    assert cluster.hosts["n1:1"].life.core.log.last_index == last + more


def test_it_can_be_switched_off(start):
    cluster = start(12, digest_interval=None)
    corrupt(cluster, "n1:1")
    write(cluster, "n1:1")
    cluster.run(300.0)
    assert comparisons(cluster) == 0
    assert who_differs(cluster) == {}


def test_members_that_ask_for_no_comparison_take_part_in_those_of_others(start):
    cluster = start(19)
    others = [address for address in cluster.addresses if address != cluster.leader()]
    cluster.config = dataclasses.replace(cluster.config, digest_interval=None)
    for address in others:
        cluster.crash(address)
        cluster.start(address)
        ready(cluster)
    corrupt(cluster, others[0])
    write(cluster, others[1])
    cluster.run(2 * INTERVAL)
    assert cluster.leader() not in others
    assert who_differs(cluster) == {"users": [others[0]]}


def test_of_many_objects_all_have_their_turn(start, monkeypatch):
    monkeypatch.setattr("syncstructs.objects.table.REPORT_COUNT_MAX", 2)
    names = [f"d{i}" for i in range(7)]
    cluster = start(13, dict.fromkeys(names, ReplDict))
    for name in (names[0], names[4], names[6]):
        cluster.objects("n2:1")[name]._items["flipped"] = 1
    cluster.await_all([cluster.objects("n1:1")[names[1]].set.submit("ann", 1)])
    cluster.run(5.5 * INTERVAL)
    assert who_differs(cluster) == {name: ["n2:1"] for name in (names[0], names[4], names[6])}
    for name in (names[0], names[4], names[6]):
        del cluster.objects("n2:1")[name]._items["flipped"]
    cluster.run(5.5 * INTERVAL)
    assert who_differs(cluster) == {}


@pytest.fixture
def reports(monkeypatch):
    """Who has sent digests, and of which index."""
    sent = []
    watch = Invariants.sends

    def record(checks, life, peer, payload):
        message = decode(payload)
        if isinstance(message, DigestReport):
            sent.append((life.host.address, message.index))
        watch(checks, life, peer, payload)

    monkeypatch.setattr(Invariants, "sends", record)
    return sent


@pytest.mark.parametrize("because", ["of the time", "of the term"])
def test_a_member_that_reads_old_comparisons_on_its_disk_takes_no_digests_for_them(
    start, reports, because
):
    cluster = start(14)
    leader = cluster.leader()
    gone = next(a for a in cluster.addresses if (a == leader) == (because == "of the term"))
    for _ in range(6):
        write(cluster, leader)
        cluster.run(INTERVAL)
    cluster.crash(gone)
    if because == "of the time":
        # Longer than anybody waits, in which nothing is compared.
        cluster.run(20 * INTERVAL)
    else:
        cluster.run_until(lambda: cluster.leader() not in (None, gone))
    write(cluster, cluster.leader())
    before = comparisons(cluster)
    assert before >= 5
    reports.clear()
    cluster.start(gone)
    ready(cluster)
    applied = cluster.hosts[gone].life.table.applied_index
    assert comparisons(cluster) == before
    assert reports == []
    cluster.run(2 * INTERVAL)
    assert [address for address, index in reports if index > applied].count(gone) >= 1
    assert min(index for _, index in reports) > applied


class Sized(Replicated):
    """No member can make one by itself, as it does not know the size."""

    def __init__(self, size):
        self.content = [0] * size

    @replicated
    def put(self, place, thing):
        self.content[place] = thing


@pytest.mark.parametrize("attached", [2, 3])
def test_an_object_is_compared_among_those_who_have_it_and_told_of_by_all(start, attached):
    cluster = start(16)
    haves = cluster.addresses[:attached]
    objects = {address: Sized(3) for address in haves}
    cluster.await_all([cluster.node(a).attach.submit("sized", objects[a]) for a in haves])
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {}
    objects["n2:1"].content[0] = 7
    cluster.await_all([objects["n1:1"].put.submit(1, 1)])
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"sized": ["n1:1", "n2:1"] if attached == 2 else ["n2:1"]}
    assert noted(cluster, "n3:1") == noted(cluster, "n1:1")


class Opaque(Replicated):
    """Its state has no encoding after a while, on whichever member."""

    def __init__(self):
        self.thing = None

    @replicated
    def spoil(self):
        self.thing = self.spoil


def test_a_state_without_encoding_is_no_difference_and_hides_no_other_one(start):
    cluster = start(17, OBJECTS | {"opaque": Opaque})
    cluster.await_all([cluster.objects("n1:1")["opaque"].spoil.submit()])
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {}
    corrupt(cluster, "n3:1")
    cluster.objects("n2:1")["opaque"].thing = None
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"opaque": ["n2:1"], "users": ["n3:1"]}


def test_reports_that_nobody_asked_for_are_kept_of_nobody_but_members_and_change_nothing(start):
    cluster = start(18)
    cluster.run(2 * INTERVAL)
    leader = cluster.hosts[cluster.leader()].life
    liar = next(a for a in cluster.addresses if a != leader.host.address)
    reports = leader.replica._comparisons._reports
    now, ids = reports[liar].index, list(reports[liar].digests)
    lie = dict.fromkeys((*ids, 10 ** 9), b"l" * 16)
    for index in (1, now - 1, now + 1, 2**62):
        for sender in (liar, "stranger:1"):
            report = encode(DigestReport(index, lie))
            leader.execute(leader.node._engine._on_frames, sender, [report])
    other = cluster.hosts[liar].life
    other.execute(other.node._engine._on_frames, "n1:1", [encode(DigestReport(now, lie))])
    cluster.run(3 * INTERVAL)
    assert sorted(reports) == list(cluster.addresses)
    assert other.replica._comparisons._reports == {}
    assert who_differs(cluster) == {}
    # It has silenced itself, and nobody else.
    culprit = next(a for a in cluster.addresses if a not in (liar, leader.host.address))
    corrupt(cluster, culprit)
    write(cluster, liar)
    cluster.run(3 * INTERVAL)
    assert culprit in who_differs(cluster)["users"]


def test_forged_commands_of_the_comparison_change_nothing(start):
    cluster = start(15)
    write(cluster, "n1:1")
    last = cluster.hosts["n1:1"].life.table.serial
    for method, arguments in (
        ("compare_digests", ("x",)),
        ("note_divergence", (5,)),
        ("note_divergence", ([5],)),
        ("note_divergence", ([[1, [1, [2]]]],)),
        ("note_divergence", ([[10**6, [1, ["n1:1"]]]],)),
    ):
        engine = cluster.node("n2:1")._engine
        cluster.await_all([engine.send(encode_command(0, method, arguments, {}))])
    assert cluster.hosts["n1:1"].life.table.serial == last + 5
    assert who_differs(cluster) == {}
    cluster.settle()


@pytest.mark.parametrize("profile", PROFILES)
def test_equal_replicas_are_never_taken_for_different_ones(profile):
    """Under all faults: the checks of a run fail if anybody is told to differ."""
    compared = reported = 0
    for seed in range(2 if profile == "calm" else 8):
        plan = draw_plan(f"digests{seed}", profile)
        settings = plan.settings | {"digest_interval": 20.0 if profile == "calm" else 0.3}
        run = Run(replace(plan, chaos=min(plan.chaos, 200.0 if profile == "calm" else 6.0),
                          settings=settings))  # fmt: skip
        with quietly():
            try:
                run.go()
            except AssertionError as error:
                error.add_note(f"seed {seed} of {profile}")
                raise
            finally:
                run.simulation.end()
        for life in run.simulation.lives():
            assert life.table.diverged == {}
            comparing = life.replica._comparisons
            compared += comparing.index > 0
            reported += comparing.is_complete(life.core.members)
    assert compared > 0
    assert reported > 0, "no leader ever had the digests of all members"


@pytest.mark.parametrize("seed", range(4))
def test_what_was_compared_for_a_leader_that_lost_its_place_is_compared_again(start, seed):
    cluster = start(seed, session_ttl=60.0)
    write(cluster, "n1:1")
    cluster.run(3 * INTERVAL)
    leader = cluster.leader()
    culprit = next(a for a in cluster.addresses if a != leader)
    cluster.objects(culprit)["hits"]._value += 1
    write(cluster, "n1:1", "bob")
    table = cluster.hosts[leader].life.table
    before = table.serial
    # The entry is on its way, or is there, and those who know of it cannot tell the leader.
    cluster.run_until(lambda: table.serial > before, 2 * INTERVAL)
    cluster.network.cut_off(leader)
    cluster.run_until(lambda: cluster.leader() not in (leader, None))
    cluster.heal()
    cluster.settle()
    cluster.run(2.5 * INTERVAL)
    assert who_differs(cluster) == {"hits": [culprit]}, f"seed {seed}"
    quiet = comparisons(cluster)
    cluster.objects(culprit)["hits"]._value -= 1
    cluster.run(2.5 * INTERVAL)
    assert who_differs(cluster) == {}
    assert comparisons(cluster) > quiet
    quiet = comparisons(cluster)
    cluster.run(4 * INTERVAL)
    assert comparisons(cluster) == quiet, "nothing was applied since"


def test_nobody_is_told_to_start_all_those_empty_that_could_be_right(start, caplog):
    cluster = start(30, size=4)
    for address in cluster.addresses[:2]:
        corrupt(cluster, address)
    cluster.objects("n4:1")["hits"]._value += 1
    write(cluster, "n1:1")
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"hits": ["n4:1"], "users": list(cluster.addresses)}
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR]
    assert all("start that member again empty" in one for one in told if "'hits'" in one)
    of_users = [one for one in told if "'users'" in one]
    assert of_users
    assert all("none is that of most; see which is right before" in one for one in of_users)


class Shy(Replicated):
    """Does not always tell its state."""

    def __init__(self):
        self.calls = 0

    def snapshot_state(self):
        if self.calls == 0:
            raise ZeroDivisionError("there is none to be had")
        return super().snapshot_state()

    @replicated
    def call(self):
        self.calls += 1


def test_one_object_that_does_not_tell_its_state_keeps_no_other_from_being_compared(start, caplog):
    cluster = start(31, {**OBJECTS})
    for address in cluster.addresses:
        node = cluster.node(address)
        shy = Shy()
        shy.calls = 1
        cluster.await_all([node.attach.submit("shy", shy)])
        shy.calls = 0
    cluster.objects("n2:1")["hits"]._value += 1
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"hits": ["n2:1"]}
    assert "the state of 'shy' is not compared" in caplog.text
    shy = [cluster.node(address).objects["shy"] for address in cluster.addresses]
    shy[2].calls = 5
    cluster.await_all([shy[0].call.submit()])
    cluster.run(2 * INTERVAL)
    assert who_differs(cluster) == {"hits": ["n2:1"], "shy": ["n3:1"]}
