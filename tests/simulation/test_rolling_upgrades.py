"""Members go over to another release one after the other, under load, and then switch versions.

Each call notes itself in the state and says which body it ran. So the state of any member tells the
order in which all calls were applied, and with what.
"""

from itertools import count

import pytest

from syncstructs.errors import (
    ConfigError,
    NodeFailed,
    OutcomeUnknown,
    SyncError,
    Timeout,
    VersionRefused,
)
from syncstructs.objects import replicated as module
from syncstructs.objects.context import current_context
from syncstructs.objects.replicated import Replicated, replicated, type_name
from syncstructs.testing.plans import _UPGRADES, draw_plan
from syncstructs.testing.releases import Releases
from syncstructs.testing.simulator import Simulation
from syncstructs.testing.streams import Stream, Told
from syncstructs.testing.upgrades import Switch, Upgrades
from syncstructs.testing.violation import Violation


def release(number):
    """Return the class as that release of a user's program has it."""

    class Stock(Replicated):
        def __init__(self):
            self.taken = []

        @replicated
        def take(self, call):
            self.taken.append((call, 1, current_context().version))
            return 1

        @replicated
        def take_inline(self, call):
            return self.take(call)

        if number >= 2:

            @replicated(version=2)
            def take(self, call):
                # What the first body never leaves behind: a member that ran the other one parts.
                self.newest = call
                self.taken.append((call, 2, current_context().version))
                return 2

    Stock.__qualname__ = "Stock"
    return Stock


class Upgrade(Simulation):
    """A cluster whose nodes are started with the release that stands in `release_of`."""

    def __init__(self, seed, *, size=3, **settings):
        super().__init__(seed, {}, size=size, **settings)
        self.classes = {number: release(number) for number in (1, 2)}
        self.release_of = dict.fromkeys(self.addresses, 1)
        self.calls = []
        """Number, life and future of every call."""
        self._numbers = count()

    def _make_node(self, life):
        self.consumers = {"stock": self.classes[self.release_of[life.host.address]]}
        super()._make_node(life)

    def load(self, seconds):
        """Make calls on all nodes that run, for so long."""
        until = self.now + seconds
        while self.now < until:
            for life in self.lives():
                if life.node._engine.failure is None:
                    number = next(self._numbers)
                    stock = life.consumers["stock"]
                    method = stock.take_inline if number % 5 == 0 else stock.take
                    self.calls.append((number, life, method.submit(number)))
            self.run(self.random.uniform(0.001, 0.03))

    def upgrade(self, address):
        """Restart a node with the second release: orderly or not."""
        host = self.hosts[address]
        if self.random.random() < 0.5:
            self.node(address).close.submit()
            self.load(0.3)
        host.crash(silently=self.random.random() < 0.5)
        self.release_of[address] = 2
        self.load(self.random.uniform(0.0, 0.5))
        self.start(address)
        self.load(0.6)

    def is_ready(self, address):
        life = self.hosts[address].life
        return life is not None and life.node._ready.done() and life.node._engine.is_sure

    def await_ready(self):
        self.run_until(lambda: all(map(self.is_ready, self.cast())))

    def check_calls(self):
        """Check that each call was applied once, in order, with the body that its result tells."""
        states = [life.table.objects["stock"].taken for life in self.lives()]
        assert all(state == states[0] for state in states)
        taken = states[0]
        order = {call: place for place, (call, *_) in enumerate(taken)}
        assert len(order) == len(taken), "a call was applied twice"
        versions = [version for _, version, _ in taken]
        assert versions == sorted(versions), "an old body ran after a new one"
        assert all(version == in_force for _, version, in_force in taken)
        last = {}
        for number, life, future in self.calls:
            if not life.alive or not future.done():
                continue
            if future.exception() is None:
                assert future.result() == versions[order[number]]
            elif isinstance(future.exception(), SyncError):
                continue
            if number in order:
                assert order[number] > last.get(life, -1), "calls of a node changed places"
                last[life] = order[number]
        return versions


@pytest.fixture
def begin(monkeypatch):
    """Start clusters whose nodes do not count what is imported: both releases are, here."""
    monkeypatch.setattr(module, "_classes", {})
    started = []

    def start(seed, **settings):
        cluster = Upgrade(seed, **settings)
        monkeypatch.setattr(module, "_classes", {})
        assert len({type_name(cls) for cls in cluster.classes.values()}) == 1
        started.append(cluster)
        cluster.start()
        cluster.await_ready()
        return cluster

    yield start
    for cluster in started:
        cluster.end()


SETTINGS = {
    "memory": {},
    "disks": {"disks": True, "snapshot_log_entries": 40, "log_keep_bytes": 1},
    "snapshots": {"snapshot_log_entries": 20, "log_keep_bytes": 1},
    "forgetful": {"forgetful": True, "snapshot_log_entries": 60, "log_keep_bytes": 1},
    "five": {"size": 5},
}


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("kind", SETTINGS)
def test_members_upgraded_in_turn_under_load_switch_together(begin, kind, seed):
    cluster = begin(f"{kind}/{seed}", **SETTINGS[kind])
    cluster.load(0.5)
    refusals = 0
    for address in cluster.random.sample(cluster.addresses, len(cluster.addresses)):
        early = cluster.node(address).set_version.submit(2)
        cluster.upgrade(address)
        # Its own node may have ended before it was told.
        refusals += early.done() and isinstance(early.exception(), VersionRefused)
        others = [life for life in cluster.lives() if life.host.address != address]
        if 1 in cluster.release_of.values():
            asked = others[0].node.set_version.submit(2)
            cluster.load(0.2)
            cluster.await_all([asked])
            assert isinstance(asked.exception(), VersionRefused)
            refusals += 1
    assert refusals >= len(cluster.addresses) - 1
    assert {life.node.version for life in cluster.lives()} == {1}
    cluster.await_ready()

    asked = [life.node.set_version.submit(2) for life in cluster.lives()[:2]]
    for _ in range(3):
        cluster.load(cluster.random.uniform(0.0, 0.05))
        victim = cluster.leader() if cluster.random.random() < 0.6 else None
        victim = victim or cluster.random.choice(cluster.addresses)
        cluster.crash(victim, silently=cluster.random.random() < 0.5)
        cluster.load(cluster.random.uniform(0.0, 0.3))
        cluster.start_again([victim])
    cluster.settle()
    cluster.await_ready()
    if {life.node.version for life in cluster.lives()} == {1}:
        # All who asked had crashed before anybody knew.
        cluster.await_all([cluster.node(cluster.addresses[0]).set_version.submit(2)])
    assert all(future.exception() is None for future in asked if future.done())
    cluster.load(0.3)
    cluster.settle()
    assert {life.node.version for life in cluster.lives()} == {2}
    versions = cluster.check_calls()
    assert set(versions) == {1, 2}


@pytest.mark.parametrize("kind", ["memory", "disks", "snapshots"])
def test_an_older_node_that_comes_after_the_switch_stops_and_harms_nobody(begin, kind):
    cluster = begin(kind, **SETTINGS[kind])
    for address in cluster.addresses:
        cluster.upgrade(address)
    cluster.await_ready()
    cluster.await_all([cluster.node("n2:1").set_version.submit(2)])
    cluster.load(0.5)
    cluster.crash("n3:1")
    cluster.release_of["n3:1"] = 1
    cluster.load(0.5)
    cluster.start("n3:1")
    cluster.load(0.5)
    failed = cluster.node("n3:1")
    assert isinstance(failed._engine.failure, NodeFailed)
    assert "runs version 2 of take()" in str(failed._engine.failure)
    assert failed.wait_ready.submit().exception() is failed._engine.failure
    cluster.crash("n3:1")
    cluster.release_of["n3:1"] = 2
    cluster.start("n3:1")
    cluster.await_ready()
    cluster.settle()
    assert set(cluster.check_calls()) == {1, 2}


def test_a_member_that_is_down_has_to_come_back_or_be_removed_before_a_switch(begin):
    cluster = begin("down", size=4)
    for address in cluster.addresses[:3]:
        cluster.upgrade(address)
    cluster.crash("n4:1")
    asked = cluster.node("n1:1").set_version.submit(2)
    cluster.await_all([asked])
    with pytest.raises(VersionRefused, match=r"not known to n4:1 \(up to 1\)"):
        asked.result()
    removed = cluster.node("n1:1").remove_member.submit("n4:1")
    cluster.await_all([removed])
    asked = cluster.node("n1:1").set_version.submit(2)
    cluster.await_all([asked])
    assert asked.exception() is None
    assert cluster.node("n1:1").version == 2


def test_a_switch_whose_answer_a_snapshot_covers_is_done(begin):
    cluster = begin("covered", snapshot_log_entries=8, log_keep_bytes=1, session_ttl=60.0)
    for address in cluster.addresses:
        cluster.upgrade(address)
    cluster.await_ready()
    cluster.settle()
    leader = cluster.leader()
    deaf, other = [address for address in cluster.addresses if address != leader]
    for sender in (leader, other):
        cluster.network.cut(sender, deaf)
    asked = cluster.node(deaf).set_version.submit(2)
    # For who was heard just now, the log would be kept.
    cluster.run(1.0)
    for number in range(40):
        cluster.await_all([cluster.objects(leader)["stock"].take.submit(-number)])
    assert cluster.node(leader).version == 2
    cluster.heal()
    cluster.await_all([asked])
    assert cluster.hosts[deaf].life in cluster.checks.skipped
    assert asked.exception() is None
    assert cluster.node(deaf).version == 2


def test_a_switch_without_a_majority_runs_out_of_time_and_is_done_later(begin):
    cluster = begin("alone")
    for address in cluster.addresses:
        cluster.upgrade(address)
    cluster.await_ready()
    cluster.network.cut_off("n1:1")
    asked = cluster.node("n1:1").set_version.submit(2, 1.5)
    cluster.run(1.4)
    assert not asked.done()
    cluster.run(0.2)
    with pytest.raises(Timeout, match=r"no answer within 1.5 s .* put version 2 in force"):
        asked.result()
    assert {life.node.version for life in cluster.lives()} == {1}
    cluster.heal()
    cluster.run_until(lambda: {life.node.version for life in cluster.lives()} == {2})


@pytest.mark.parametrize("version", [0, -1, True, "2", 2.0, None, 10**7])
def test_what_is_no_version_is_refused_at_once(begin, version):
    cluster = begin("refused")
    asked = cluster.node("n1:1").set_version.submit(version)
    with pytest.raises(ConfigError, match=r"must be a whole number from 1"):
        asked.result()


def test_an_object_that_is_attached_late_can_be_called_before_the_cluster_has_it(begin):
    cluster = begin("late")
    targets = {address: cluster.classes[2]() for address in cluster.addresses}
    for address, target in targets.items():
        attached = cluster.node(address).attach.submit("late", target)
        called = target.take.submit(address)
        cluster.await_all([attached, called])
        assert called.result() == 1
    cluster.settle()
    assert [call for call, *_ in targets["n1:1"].taken] == list(cluster.addresses)


@pytest.mark.parametrize("creates", [False, True])
def test_a_version_that_a_class_attached_late_has_counts_from_then_on(begin, creates):
    cluster = begin("counts")
    for number, address in enumerate(cluster.addresses):
        asked = cluster.node("n1:1").set_version.submit(2)
        cluster.await_all([asked])
        with pytest.raises(VersionRefused, match=f"not known to {address}"):
            asked.result()
        # Of a class that the ones before do not have.
        other = type(f"Other{number}", (Replicated,), {})
        late = type(f"Late{number}", (other,), {"act": replicated(version=2)(lambda self: None)})
        if creates:
            brought = cluster.node(address).create.submit(f"late{number}", late)
        else:
            brought = cluster.node(address).attach.submit(f"late{number}", late())
        cluster.await_all([brought])
        assert brought.exception() is None
    asked = cluster.node("n1:1").set_version.submit(2)
    cluster.await_all([asked])
    assert asked.exception() is None


def test_a_late_body_of_an_imported_class_is_told_of_and_counts_for_nothing(begin, caplog):
    cluster = begin("imported")
    for address in cluster.addresses:
        cluster.upgrade(address)
    cluster.await_ready()
    cluster.await_all([cluster.node("n1:1").set_version.submit(2)])
    late = type("Stock", (cluster.classes[2],), {"more": replicated(version=2)(lambda self: None)})
    late.__qualname__ = late.__mro__[1].__qualname__
    late.__module__ = late.__mro__[1].__module__
    cluster.hosts["n2:1"].life.node._engine.tell_bodies(late)
    cluster.load(0.3)
    assert "n2:1 does not count as one that knows its versions" in caplog.text
    assert "more() has a body of version 2" in caplog.text
    cluster.settle()
    cluster.check_calls()


@pytest.mark.parametrize("seed", range(3))
def test_members_on_their_way_out_keep_their_vote_and_their_say_until_they_are_out(begin, seed):
    cluster = begin(f"replaced/{seed}", spares=3)
    former, newcomers = cluster.addresses[:3], cluster.addresses[3:]
    for address in newcomers:
        cluster.release_of[address] = 2
    cluster.start(*newcomers)
    leader = cluster.node(cluster.leader())
    leader.set_members.submit(newcomers)
    asked = []
    while {cluster.node(address).version for address in newcomers} == {1}:
        asked.append(leader.set_version.submit(2))
        cluster.run(cluster.random.uniform(0.0, 0.02))
        if leader._engine.failure is not None:
            leader = cluster.node(newcomers[0])
    for address in newcomers:
        if cluster.node(address).version == 2:
            assert cluster.node(address)._engine.replica._applied_membership.voters == newcomers
    assert any(early.done() and "n1:1 (up to 1)" in str(early.exception()) for early in asked)
    for address in former:
        cluster.crash(address)
    cluster.await_all([cluster.node(newcomers[0]).set_version.submit(2)])
    cluster.load(0.2)
    cluster.settle()
    assert {cluster.node(address).version for address in newcomers} == {2}


def test_what_a_node_knows_is_told_again_if_nobody_can_say_whether_it_was_heard(begin):
    cluster = begin("unheard", snapshot_log_entries=8, log_keep_bytes=1, session_ttl=2.0)
    for address in cluster.addresses[:2]:
        cluster.upgrade(address)
    cluster.await_ready()
    cluster.run_until(lambda: cluster.leader() is not None)
    if cluster.leader() == "n3:1":
        cluster.await_all([cluster.node("n3:1").transfer_leadership.submit("n1:1")])
    deaf = cluster.node("n3:1")
    cluster.run_until(lambda: deaf.leader is not None)
    cluster.network.cut_off("n3:1")
    told = deaf._engine.tell_bodies(cluster.classes[2])
    cluster.run(3.0)
    for number in range(40):
        cluster.await_all([cluster.objects("n1:1")["stock"].take.submit(-number)])
    assert isinstance(early := switch(cluster), VersionRefused), early
    cluster.heal()
    cluster.await_all([told])
    assert isinstance(told.exception(), OutcomeUnknown)
    cluster.run(1.0)
    assert switch(cluster) is None


def switch(cluster):
    asked = cluster.node("n1:1").set_version.submit(2)
    cluster.await_all([asked])
    return asked.exception()


# The profile of the simulated runs


def test_plans_of_other_profiles_are_rarely_of_several_releases_and_else_what_they_were():
    plans = [draw_plan(seed) for seed in range(600)]
    upgraded = [plan for plan in plans if plan.releases > 1]
    assert 3 <= len(upgraded) <= 30
    for plan in plans:
        kinds = {fault.kind for fault in plan.faults}
        assert plan.releases > 1 or not kinds.intersection(_UPGRADES)
    assert not any(draw_plan(seed, "calm").releases > 1 for seed in range(100))


class _Named:
    address = "n1:1"


@pytest.mark.parametrize("error", [
    NodeFailed("'stock', a x.Stock(), runs version 2 of give(), which the x.Stock of this member"
               " does not have: its state would differ"),
    NodeFailed("a received snapshot cannot be applied: it runs version 3 of a.b.<locals>.Stock.take"
               "(), which the x.Cellar of this member does not have"),
])  # fmt: skip
def test_a_node_is_excused_only_for_a_body_in_force_that_it_lacks(error):
    releases, life, failed = Releases("seed", 3), _Named(), []
    upgrades = Upgrades(releases, lambda life, what: failed.append(what))
    releases.of_life[life] = 1
    assert upgrades.explains(life, error)
    assert failed == [f"lacks a body that was never in force: {error}"]
    failed.clear()
    upgrades.switches.append(Switch(1, 3, 1, 1))
    assert upgrades.explains(life, error)
    assert not failed
    releases.of_life[life] = 3
    assert upgrades.explains(life, error)
    assert failed == [f"stops for lack of what it has: {error}"]
    assert not upgrades.explains(life, NodeFailed("out of memory"))


def test_a_stream_with_a_gap_a_double_or_a_turn_is_found():
    class Alive:
        alive, number, host = True, 1, _Named
        table = type("Table", (), {"applied_index": 9})

    due = [Told(index, "take", [index]) for index in (2, 3, 5, 5, 9)]

    def told(*changes, begin=None):
        stream = Stream(Alive, "stock", begin)
        stream.told = list(changes)
        stream.check(due)

    anew = [Told(index, None, []) for index in range(10)]
    told()
    told(begin=9)
    told(anew[2], *due[1:])
    told(*due[1:], begin=2)
    told(anew[2], *due)
    told(anew[2], due[1], anew[5], due[4])
    told(anew[9])
    for wrong in (
        due, due[1:], [anew[2], *due[2:]], [anew[2], due[1], due[1], *due[2:]],
        [anew[2], *due[1:4]], [anew[2], due[1], due[3], due[4]], [anew[5], anew[3], *due[2:]],
        [anew[3], due[1], due[0]],
    ):  # fmt: skip
        with pytest.raises(Violation, match="follows 'stock'"):
            told(*wrong)
