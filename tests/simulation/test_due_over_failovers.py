"""Objects are woken at their time, once, whoever leads then and whatever the leader knows."""

from functools import partial

import pytest

from syncstructs.objects.context import current_context
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.objects.versions import WITH_RUNS
from syncstructs.structs.ttl import ReplTTLDict
from syncstructs.testing import History, TTLDictModel, Verdict, check
from syncstructs.testing.simulator import Simulation


class Bell(Replicated):
    _embeddable = False

    def __init__(self):
        self.rung = []
        self.every = None
        self.due = None

    @replicated
    def ring_in(self, seconds, every=None):
        self.every = every
        self._ring_at(current_context().time + seconds)
        return self.due

    @replicated
    def ring_at(self, time):
        self._ring_at(time)

    def _ring_at(self, time):
        self.due = time
        self.set_due(time)

    def on_due(self):
        time = current_context().time
        assert self.due <= time
        self.rung.append((self.due, time))
        self.due = None
        if self.every is not None:
            self._ring_at(time + self.every)


@pytest.fixture
def start():
    started = []

    def begin(seed, consumers=None, **settings):
        consumers = {"bell": Bell} if consumers is None else consumers
        cluster = Simulation(seed, consumers, **settings)
        started.append(cluster)
        cluster.start()
        ready(cluster)
        cluster.settle()
        return cluster

    yield begin
    for cluster in started:
        cluster.end()


def ready(cluster):
    cluster.run_until(lambda: all(life.node._ready.done() for life in cluster.lives()))


def bells(cluster):
    return [life.table.objects["bell"] for life in cluster.lives()]


def call(cluster, future):
    cluster.await_all([future])
    return future.result()


def last_index(cluster):
    return max(life.replica.core.log.last_index for life in cluster.lives())


def test_a_cluster_at_rest_writes_one_entry_for_it_and_sends_no_more_than_before(start):
    cluster = start("rest")
    rest = sent_in(cluster, 4.0)
    due = call(cluster, bells(cluster)[1].ring_in.submit(20.0))
    cluster.settle()
    before = last_index(cluster)
    assert sent_in(cluster, 4.0) <= 1.1 * rest
    assert last_index(cluster) == before
    cluster.run(14.0)
    assert bells(cluster)[0].rung == []
    cluster.run(3.0)
    assert last_index(cluster) == before + 1
    for bell in bells(cluster):
        ((set_, rung),) = bell.rung
        assert set_ == due
        assert 0 <= rung - due < 0.01
    assert sent_in(cluster, 4.0) <= 1.1 * rest


def sent_in(cluster, seconds):
    """Return how many messages are sent in that time."""
    before = cluster.network.message_count
    cluster.run(seconds)
    return cluster.network.message_count - before


@pytest.mark.parametrize("disks", [False, True])
def test_the_next_leader_wakes_what_the_one_before_did_not(start, disks):
    cluster = start(f"next/{disks}", disks=disks)
    due = call(cluster, bells(cluster)[0].ring_in.submit(5.0))
    for _ in range(4):
        # Nobody leads for longer than the whole wait takes, and nothing else is written.
        cluster.run(2.0)
        leader = cluster.leader()
        cluster.crash(leader)
        cluster.run(1.0)
        cluster.start(leader)
    ready(cluster)
    cluster.settle()
    for bell in bells(cluster):
        ((set_, rung),) = bell.rung
        assert set_ == due <= rung < due + 2.0, "each leader puts it off"


def test_a_cluster_that_starts_again_from_its_disks_goes_on(start):
    cluster = start("disks", disks=True, snapshot_log_entries=8, log_keep_bytes=1)
    call(cluster, bells(cluster)[0].ring_in.submit(3.0, every=1.5))
    cluster.run(7.0)
    counted = len(bells(cluster)[0].rung)
    assert counted >= 2
    for address in cluster.addresses:
        cluster.crash(address)
    cluster.run(2.0)
    cluster.start()
    ready(cluster)
    cluster.run(4.0)
    cluster.settle()
    assert len(bells(cluster)[0].rung) >= counted + 2
    assert all(bell.rung == bells(cluster)[0].rung for bell in bells(cluster))


@pytest.mark.parametrize("spread", [0, 1])
def test_of_many_that_are_due_at_once_each_entry_wakes_some(start, spread):
    names = [f"bell{number}" for number in range(600)]
    cluster = start(f"many/{spread}", dict.fromkeys(names, Bell), size=1 + 2 * spread)
    mine = cluster.objects(cluster.leader())
    time = cluster.lives()[0].table.time / 1_000_000 + 20.0
    cluster.await_all([mine[name].ring_at.submit(time) for name in names])
    cluster.settle()
    before = last_index(cluster)
    cluster.run(21.0)
    assert last_index(cluster) - before == 3
    for life in cluster.lives():
        assert all(len(life.table.objects[name].rung) == 1 for name in names)


def test_work_in_parts_goes_on_with_the_next_entry(start):
    class Worker(Bell):
        def on_due(self):
            time = self.due
            super().on_due()
            if len(self.rung) < 4:
                self._ring_at(time)

    cluster = start("parts", {"bell": Worker})
    call(cluster, bells(cluster)[1].ring_in.submit(1.0))
    cluster.run(3.0)
    assert len({due for due, _ in bells(cluster)[2].rung}) == 1
    assert len(bells(cluster)[2].rung) == 4


def test_a_leader_forgets_with_its_term_what_it_has_put_into_the_log(start):
    cluster = start("forgets")
    due = call(cluster, bells(cluster)[0].ring_in.submit(2.0))
    cluster.run(1.9)
    leader = cluster.hosts[cluster.leader()].life
    cluster.network.cut_off(leader.host.address)
    cluster.run_until(lambda: leader.replica._waking)
    assert {time for time, _ in leader.replica._waking} == {due}
    cluster.run_until(lambda: not leader.replica._leading)
    assert not leader.replica._waking
    cluster.heal()
    cluster.settle()
    assert all(len(bell.rung) == 1 for bell in bells(cluster))


def test_members_say_that_they_write_what_releases_before_do_not_know(start):
    cluster = start("said", {})
    bell = attach_on(cluster, cluster.addresses[0])
    call(cluster, bell.ring_in.submit(1.0))
    cluster.settle()
    for life in cluster.lives():
        told = life.table.versions._told
        assert {said.release for said in told.values()} == {WITH_RUNS}
        assert {*cluster.addresses} <= {*told}


# Where the leader does not know


def attach_on(cluster, address):
    call(cluster, cluster.node(address).attach.submit("bell", bell := Bell()))
    return bell


def apart(cluster):
    """Attach a bell everywhere but on the leader, which cannot make one."""
    leader = cluster.leader()
    others = [address for address in cluster.addresses if address != leader]
    return leader, [attach_on(cluster, address) for address in others]


def test_a_leader_that_has_not_attached_it_is_told_by_another_member(start):
    cluster = start("apart", {})
    leader, (first, second) = apart(cluster)
    call(cluster, first.ring_in.submit(4.0))
    cluster.settle()
    before = last_index(cluster)
    cluster.run(3.5)
    assert first.rung == []
    cluster.run(5.0)
    assert cluster.leader() == leader
    assert len(first.rung) == 1
    assert first.rung == second.rung
    assert last_index(cluster) == before + 1, "one of them is enough"
    late = attach_on(cluster, leader)
    assert late.rung == first.rung


def test_what_is_due_before_it_is_attached_where_the_leader_is_is_woken_then(start):
    cluster = start("late", {})
    leader, (first, second) = apart(cluster)
    call(cluster, first.ring_in.submit(1.0))
    late = attach_on(cluster, leader)
    cluster.run(2.0)
    assert len(late.rung) == 1
    assert late.rung == first.rung == second.rung


def test_without_any_member_that_has_it_an_observer_tells(start):
    cluster = start("observed", {}, observers=1)
    (observer,) = set(cluster.hosts) - set(cluster.addresses)
    bell = attach_on(cluster, observer)
    call(cluster, bell.ring_in.submit(1.0))
    cluster.run(8.0)
    assert len(bell.rung) == 1


# Under faults


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["memory", "disks", "apart"])
def test_each_time_comes_once_under_faults(start, kind, seed):
    settings = {"snapshot_log_entries": 12, "log_keep_bytes": 1, "disks": kind == "disks"}
    cluster = start(f"{kind}/{seed}", {} if kind == "apart" else None, **settings)
    if kind == "apart":
        leader, (bell, _) = apart(cluster)
    else:
        bell = bells(cluster)[0]
    call(cluster, bell.ring_in.submit(0.3, every=0.4))
    random = cluster.random
    for _ in range(6):
        victim = random.choice([cluster.leader(), *cluster.addresses]) or cluster.addresses[0]
        if kind != "apart" and random.random() < 0.5:
            cluster.crash(victim, silently=random.random() < 0.5)
            cluster.run(random.uniform(0.0, 2.0))
            cluster.start(victim)
        else:
            cluster.network.cut_off(victim)
            cluster.run(random.uniform(0.0, 2.5))
            cluster.heal()
        cluster.run(random.uniform(0.0, 1.5))
    ready(cluster)
    cluster.run(6.0)
    if kind == "apart":
        attach_on(cluster, leader)
    cluster.settle()
    rung = [b.rung for b in bells(cluster)]
    assert all(times == rung[0] for times in rung)
    assert len(rung[0]) >= 5
    for (_, before), (due, time) in zip(rung[0], rung[0][1:], strict=False):
        assert due == before + 0.4
        assert due <= time


@pytest.mark.parametrize("seed", range(3))
def test_keys_expire_everywhere_at_once_under_faults(start, seed):
    settings = {"snapshot_log_entries": 12, "log_keep_bytes": 1, "disks": True}
    cluster = start(f"ttl/{seed}", {"keys": lambda: ReplTTLDict(ttl=1.0)}, **settings)
    random = cluster.random
    for number in range(40):
        life = random.choice(cluster.lives())
        keys = life.table.objects.get("keys")
        if keys is not None and life.replica.accepts_calls:
            keys.set.submit(number, number)
        cluster.run(random.uniform(0.0, 0.3))
        if random.random() < 0.1:
            victim = random.choice(cluster.addresses)
            cluster.crash(victim)
            cluster.run(random.uniform(0.0, 0.5))
            cluster.start(victim)
    ready(cluster)
    keys = cluster.objects(cluster.addresses[0])["keys"]
    call(cluster, keys.set.submit("late", 1))
    cluster.run(0.5)
    cluster.settle()
    assert "late" in keys
    cluster.run(10.0)
    for life in cluster.lives():
        assert life.table.objects["keys"].copy() == {}
        life.table.objects["keys"]._check()


@pytest.mark.parametrize("seed", range(2))
def test_keys_end_in_true_time_and_not_before(start, seed):
    cluster = start(f"true/{seed}", {"keys": lambda: ReplTTLDict(ttl=1.0)})
    random, history = cluster.random, History(lambda: cluster.now)

    def ended(number, future):
        if future.exception() is None:
            history.end(number, future.result())
        else:
            history.fail(number, future.exception())

    for value in range(150):
        life = random.choice(cluster.lives())
        keys = life.table.objects.get("keys")
        if keys is not None and life.replica.accepts_calls:
            key, method = random.choice("abc"), random.choice(("set", "touch", "setdefault", "pop"))
            args = (key,) if method == "touch" else (key, value)
            number = history.begin(life.host.address, method, args)
            future = getattr(keys, method).submit(*args)
            future.add_done_callback(partial(ended, number))
        cluster.run(random.uniform(0.0, 0.3))
        if random.random() < 0.05 and len(cluster.lives()) == 3:
            victim = random.choice(cluster.addresses)
            cluster.crash(victim)
            cluster.run(random.uniform(0.0, 0.5))
            cluster.start(victim)
    ready(cluster)
    cluster.settle()
    check(history, TTLDictModel(1.0)).require()
    assert check(history, TTLDictModel(1.2)).verdict is Verdict.NOT_LINEARIZABLE
