"""What members do at another time than the others, or not at all: snapshots, and waking up."""

import pytest

from syncstructs import ReplDict
from syncstructs.node.engine import Engine
from syncstructs.testing import Simulation


def taken(simulation, write, entries):
    """Write so many entries; return for each node at which of its indexes it took snapshots."""
    found = {address: [] for address in simulation.up}
    for _ in range(entries):
        done = write()
        simulation.run_until(done.done)
        simulation.run(0.01)
        for address, indexes in found.items():
            index = simulation.hosts[address].life.replica.snapshot_index
            if index and index not in indexes:
                indexes.append(index)
    return found


def close(indexes, others, within):
    """Return which of these have one of the others so near."""
    return [index for index in indexes if any(abs(index - other) < within for other in others)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "settings",
    [
        {"snapshot_log_entries": 60},
        {"snapshot_log_entries": 10**6, "snapshot_log_bytes": 6000},
    ],
    ids=["entries", "bytes"],
)
def test_members_take_their_snapshots_in_turn(seed, settings):
    simulation = Simulation(seed, {"users": ReplDict}, log_keep_bytes=1, **settings)
    simulation.start()
    simulation.run_until(lambda: simulation.leader() is not None)
    users = simulation.objects(simulation.leader())["users"]
    found = taken(simulation, lambda: users.set.submit("key", "x" * 40), 300)
    for address, indexes in found.items():
        assert len(indexes) >= 3, (seed, found)
        for other, its in found.items():
            assert other == address or not close(indexes, its, 4), (seed, found)


def test_who_is_sent_a_snapshot_does_not_take_its_own_with_the_leader():
    simulation = Simulation(1, {"users": ReplDict}, log_keep_bytes=1, snapshot_log_entries=60)
    simulation.start()
    simulation.run_until(lambda: simulation.leader() is not None)
    leader = simulation.leader()
    # The last one of them, so not the first of all, which waits for nothing.
    lagging = max(address for address in simulation.up if address != leader)
    users = simulation.objects(leader)["users"]
    taken(simulation, lambda: users.set.submit("key", "x"), 100)
    replica = simulation.hosts[lagging].life.replica
    before = replica.snapshot_index
    assert before
    simulation.network.cut_off(lagging)
    simulation.run(3.0)
    taken(simulation, lambda: users.set.submit("key", "x"), 150)
    simulation.network.heal_all()
    simulation.run_until(lambda: replica.snapshot_index > before)
    given = replica.snapshot_index
    indexes = taken(simulation, lambda: users.set.submit("key", "x"), 100)[lagging]
    own = next(index for index in indexes if index > given)
    turn = sorted(simulation.up).index(lagging) / 3
    assert own - given >= 60 * (1 + 0.5 * turn) >= 70


def test_a_member_that_comes_back_with_its_own_snapshot_keeps_its_turn():
    simulation = Simulation(
        2, {"users": ReplDict}, disks=True, log_keep_bytes=1, snapshot_log_entries=60
    )
    simulation.start()
    simulation.run_until(lambda: simulation.leader() is not None)
    leader = simulation.leader()
    other = max(address for address in simulation.up if address != leader)
    users = simulation.objects(leader)["users"]
    before = taken(simulation, lambda: users.set.submit("key", "x"), 130)[other]
    simulation.crash(other)
    simulation.start(other)
    simulation.run(1.0)
    after = taken(simulation, lambda: users.set.submit("key", "x"), 100)[other]
    own = next(index for index in after if index > before[-1])
    assert 60 <= own - before[-1] < 66


def test_an_idle_member_is_woken_up_by_messages_only(monkeypatch):
    woken = []
    on_timer = Engine._on_timer

    def counted(engine):
        woken.append(engine.address)
        on_timer(engine)

    monkeypatch.setattr(Engine, "_on_timer", counted)
    simulation = Simulation(3, {"users": ReplDict})
    simulation.start()
    simulation.run_until(lambda: simulation.leader() is not None)
    simulation.run(5.0)
    woken.clear()
    simulation.run(20.0)
    leader = simulation.leader()
    beats = 20.0 / simulation.config.heartbeat_interval
    assert beats * 0.9 <= woken.count(leader) <= beats * 1.3
    assert not [address for address in woken if address != leader]


def test_a_busy_member_does_not_set_a_timer_with_each_message(monkeypatch):
    armed = []
    arm = Engine._arm

    def counted(engine, deadline, now):
        armed.append(engine.address)
        arm(engine, deadline, now)

    monkeypatch.setattr(Engine, "_arm", counted)
    simulation = Simulation(4, {"users": ReplDict})
    simulation.start()
    simulation.run_until(lambda: simulation.leader() is not None)
    leader = simulation.leader()
    users = simulation.objects(leader)["users"]
    armed.clear()
    begun, calls = simulation.now, 0
    while simulation.now < begun + 3.0:
        calls += 1
        simulation.run_until(users.set.submit("key", calls).done)
    assert calls > 300
    for address in simulation.up:
        assert armed.count(address) <= 3.0 / 0.05 + 10


