"""Random clusters under random faults: the promises of Raft's figure 3, checked at every event.

What is checked is in `conftest.World`; a failure prints the seed that replays it.
"""

from random import Random

import pytest

from syncstructs.raft.core import Role

_SEEDS_PER_PART = 30


def _chaos(world, random: Random, steps: int) -> None:
    """Do random things, most of them harmful."""
    for step in range(steps):
        world.run(random.random() * 0.08)
        address = random.choice(world.addresses)
        chance = random.random()
        if chance < 0.55:
            for _ in range(random.randint(1, 4)):
                leader = world.leader
                target = leader.address if leader and random.random() < 0.8 else address
                payload = b"%d" % step * random.randint(1, 30)
                if world.propose(target, payload):
                    world.later(0.0, "pump", target)
        elif chance < 0.70:
            world.read(address)
            world.later(0.0, "pump", address)
        elif chance < 0.78:
            world.compact(address)
        elif chance < 0.84:
            if world.members[address].core is None:
                world.start(address)
            else:
                world.crash(address)
        elif chance < 0.88:
            for other in world.addresses:
                if world.members[other].core is None:
                    world.start(other)
        elif chance < 0.93:
            size = random.randint(1, len(world.addresses))
            world.partition(set(random.sample(world.addresses, size)))
        else:
            world.heal()


def _settle(world) -> None:
    """Heal everything; then all must agree again, commit, and read."""
    world.loss = world.doubling = 0.0
    world.delay = world.disk_delay = 0.004
    world.heal()
    for address in world.addresses:
        if world.members[address].core is None:
            world.start(address)
    world.run(5.0)
    leaders = [m for m in world.members.values() if m.core.role is Role.LEADER]
    assert len(leaders) == 1, "one leader after healing"
    leader = leaders[0]
    assert world.propose(leader.address, b"after all") is not None
    world.later(0.0, "pump", leader.address)
    ready = world.reads_ready
    for address in world.addresses:
        world.read(address)
        world.later(0.0, "pump", address)
    world.run(1.0)
    for member in world.members.values():
        assert member.core.commit_index == leader.core.log.last_index, "all have caught up"
        assert member.applied_index == leader.applied_index
        assert member.digest == leader.digest
        assert member.core.leader == leader.address
    assert world.reads_ready == ready + len(world.addresses), "all reads were confirmed"


def _run(world_type, seed: int) -> None:
    random = Random(-1 - seed)
    size = random.choice((1, 2, 3, 3, 3, 4, 5, 5))
    world = world_type(seed, size, wire=seed % 7 == 0)
    try:
        world.loss = random.choice((0.0, 0.0, 0.05, 0.2))
        world.doubling = random.choice((0.0, 0.05, 0.2))
        world.delay = random.choice((0.002, 0.02, 0.06))
        world.disk_delay = random.choice((0.001, 0.02, 0.1))
        _chaos(world, random, 60)
        _settle(world)
    except BaseException:
        print(f"seed {seed}, {size} members, time {world.now:.3f}, event {world.event_count}")
        raise


@pytest.mark.parametrize("part", range(10))
def test_promises_hold_under_random_faults(make_world, part: int) -> None:
    for seed in range(part * _SEEDS_PER_PART, (part + 1) * _SEEDS_PER_PART):
        _run(make_world, seed)


def test_same_seed_gives_the_same_run(make_world) -> None:
    runs = []
    for _ in range(2):
        random = Random(3)
        world = make_world(3, 3)
        world.loss = 0.1
        _chaos(world, random, 40)
        runs.append((world.event_count, world.digests, world.leaders, world.now))
    assert runs[0] == runs[1]
