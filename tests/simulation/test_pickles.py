"""Values of any class through crashes, replays of the log and snapshots: the same on all members.

Some members unpickle what they read, one does not; in none of them anything is unpickled before
somebody reads.
"""

import pickle
from random import Random

import pytest
from any_things import Money

from syncstructs import Pickled, ReplDict, ReplList, ReplQueue
from syncstructs.testing import Simulation

SETTINGS = {
    "password": "known to all who read this", "snapshot_log_entries": 25, "log_keep_bytes": 1,
    "digest_interval": 1.0,
}  # fmt: skip


CLUSTERS = {
    "disks": {"disks": True}, "frames": {"framing": True},
    "observers": {"observers": 1, "disks": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", CLUSTERS)
@pytest.mark.parametrize("seed", range(3))
def test_values_of_any_class_are_what_a_dict_would_have(kind, seed, monkeypatch):
    unpickled = []
    loads = pickle.loads
    monkeypatch.setattr(pickle, "loads", lambda data: (unpickled.append(data), loads(data))[1])
    print(f"seed {seed}, {kind}")
    random = Random(f"{seed}/{kind}/pickles")
    made = 0

    def pickles():
        # By lives, so that each node has both kinds sooner or later.
        nonlocal made
        made += 1
        return made % 3 != 0

    consumers = {
        "d": lambda: ReplDict(pickle=pickles()),
        "l": lambda: ReplList(pickle=pickles()),
        "q": lambda: ReplQueue(pickle=pickles()),
    }
    cluster = Simulation(seed, consumers, **SETTINGS, **CLUSTERS[kind])
    try:
        cluster.start()
        cluster.run_until(lambda: cluster.leader() is not None)
        model, line, jobs = {}, [], []
        for number in range(150):
            address = random.choice(cluster.up)
            objects = cluster.objects(address)
            key, value = random.randrange(20), [Money(number), {"n": number}]
            item, job = Money(number), (number, Money(number))
            calls = [
                objects["d"].set.submit(key, as_seen(objects["d"], value)),
                objects["l"].append.submit(as_seen(objects["l"], item)),
                objects["q"].put_nowait.submit(as_seen(objects["q"], job)),
            ]
            model[key] = value
            line.append(item)
            jobs.append(job)
            if number % 4 == 0:
                calls.append(objects["q"].get_nowait.submit())
            cluster.await_all(calls)
            assert all(call.exception() is None for call in calls)
            assert not unpickled
            if number % 4 == 0:
                assert calls[3].result() == as_seen(objects["q"], jobs.pop(0))
                unpickled.clear()
            if number % 10 == 5:
                cluster.crash(random.choice(cluster.up))
                cluster.run(random.choice([0.0, 1.0]))
                cluster.start(*(a for a in cluster.addresses if a not in cluster.up))
        cluster.settle()
        cluster.run(3.0)
        assert not unpickled
        assert len({life.table.digest() for life in cluster.lives()}) == 1
        assert not any(life.table.diverged for life in cluster.lives())
        for life in cluster.lives():
            d, items, queue = (life.node.objects[name] for name in "dlq")
            assert d == as_seen(d, model)
            assert items == as_seen(items, line)
            assert queue.qsize() == len(jobs)
    finally:
        cluster.end()


def as_seen(target, value):
    """Return a value as the object shows it here."""
    return value if target._pickles else opaque(value)


def opaque(value):
    """Return a value as it is where nothing is unpickled."""
    if isinstance(value, Money):
        return Pickled(pickle.dumps(value, 5))
    if isinstance(value, dict):
        return {key: opaque(part) for key, part in value.items()}
    return type(value)(map(opaque, value)) if isinstance(value, list | tuple) else value
