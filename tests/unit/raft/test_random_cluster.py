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
        world.run(random.random() * 0.1)
        address = random.choice(world.addresses)
        chance = random.random()
        if chance < 0.50:
            _propose(world, random, step)
        elif chance < 0.65:
            world.read(address)
        elif chance < 0.77:
            for _ in range(random.randint(1, 3)):
                world.compact(random.choice(world.addresses))
        elif chance < 0.82:
            if world.members[address].core is None:
                world.start(address)
            else:
                world.crash(address)
        elif chance < 0.86:
            for other in world.addresses:
                if world.members[other].core is None:
                    world.start(other)
        elif chance < 0.94:
            group = set(random.sample(world.addresses, random.randint(0, len(world.addresses))))
            if world.leader is not None and random.random() < 0.7:
                # The leader alone, or with too few: what it takes in meanwhile must go again.
                group = {world.leader.address, address}
            world.partition(group)
        else:
            world.heal()


def _propose(world, random: Random, step: int) -> None:
    for address in world.addresses:
        # All that lead: one that is cut off takes proposals as well.
        for number in range(random.randint(1, 4)):
            world.propose(address, b"%d.%d" % (step, number) * random.randint(1, 20))


def _settle(world) -> None:
    """Heal everything; then all must agree again, commit, and read."""
    world.loss = world.doubling = 0.0
    world.delay = world.disk_delay = 0.004
    world.heal()
    for address in world.addresses:
        if world.members[address].core is None:
            world.start(address)
    world.elect()
    for _ in range(60):
        world.run(0.1)
        if all(_has_settled(world, member) for member in world.members.values()):
            break
    leader = world.leader
    assert world.propose(leader.address, b"after all") is not None
    reads = [world.read(address) for address in world.addresses]
    world.run(0.3)
    for member in world.members.values():
        member.core._check()
        assert _has_settled(world, member), "all agree"
        assert member.digest == world.digests[-1]
    leaders = [m for m in world.members.values() if m.core.role is Role.LEADER]
    assert len(leaders) == 1, "one leader after healing"
    assert world.confirmed_reads.issuperset(reads), "all reads are confirmed"


def _has_settled(world, member) -> bool:
    leader = world.leader
    return (
        leader is not None
        and leader.leader_ready
        and member.core.leader == leader.address
        and member.applied_index == leader.log.last_index
    )


def _run(world_type, seed: int) -> None:
    random = Random(-1 - seed)
    size = random.choice((1, 2, 3, 3, 3, 4, 5, 5))
    world = world_type(seed, size, wire=seed % 7 == 0)
    try:
        world.loss = random.choice((0.0, 0.0, 0.05, 0.2))
        world.doubling = random.choice((0.0, 0.05, 0.2))
        world.delay = random.choice((0.002, 0.02, 0.06))
        world.disk_delay = random.choice((0.001, 0.02, 0.1))
        _chaos(world, random, 50)
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
