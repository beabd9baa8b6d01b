"""Random clusters whose members come, go and forget, under random faults.

What is checked is in `conftest.World` and `ChangingWorld`; a failure prints the seed that replays
it.
"""

from random import Random

import pytest

from syncstructs.raft.core import Role

_SEEDS_PER_PART = 12


def _chaos(world, random: Random, steps: int) -> None:
    """Do random things, most of them harmful."""
    for step in range(steps):
        world.run(random.random() * 0.15)
        address = random.choice(world.addresses)
        chance = random.random()
        if chance < 0.35:
            _propose(world, random, step)
        elif chance < 0.45:
            world.read(address)
        elif chance < 0.53:
            world.compact(random.choice(world.addresses))
        elif chance < 0.68:
            _want(world, random)
        elif chance < 0.78:
            _forget(world, random)
        elif chance < 0.83:
            if world.members[address].core is None:
                world.start(address)
            else:
                world.crash(address)
        elif chance < 0.90:
            _start_all(world)
        elif chance < 0.96:
            group = set(random.sample(world.addresses, random.randint(0, len(world.addresses))))
            if world.leader is not None and random.random() < 0.5:
                group = {world.leader.address, address}
            world.partition(group)
        else:
            world.heal()


def _want(world, random: Random) -> None:
    """Ask for one more, one less, others, or all but the leader."""
    wanted = set(world.wanted)
    kind = random.randrange(5)
    if kind == 0:
        wanted.add(random.choice(world.addresses))
    elif kind == 1:
        wanted.discard(random.choice(world.addresses))
    elif kind == 2 and world.leader is not None:
        wanted.discard(world.leader.address)
    else:
        wanted = set(random.sample(world.addresses, random.randint(1, len(world.addresses))))
    world.wanted = tuple(sorted(wanted)) or world.wanted


def _forget(world, random: Random) -> None:
    address = random.choice(world.addresses)
    if world.leader is not None and random.random() < 0.3:
        address = world.leader.address
    if world.forget(address) and random.random() < 0.8:
        world.start(address)


def _start_all(world) -> None:
    for address in world.addresses:
        if world.members[address].core is None:
            world.start(address)


def _propose(world, random: Random, step: int) -> None:
    for address in world.addresses:
        for number in range(random.randint(1, 3)):
            world.propose(address, b"%d.%d" % (step, number) * random.randint(1, 20))


def _settle(world) -> None:
    """Heal everything; then exactly the wanted ones must vote, agree, and be undisturbed."""
    world.loss = world.doubling = 0.0
    world.delay = world.disk_delay = 0.004
    world.heal()
    _start_all(world)
    for _ in range(200):
        if world.leader is not None:
            # What is wanted becomes known to it by an entry.
            world.later(0.0, "pump", world.leader.address)
        world.run(0.1)
        if _has_settled(world):
            break
    assert _has_settled(world), "exactly the wanted ones vote, and agree"
    term = world.leader.term
    assert world.propose(world.leader.address, b"after all") is not None
    reads = [world.read(address) for address in world.wanted]
    world.run(3.0)
    assert _has_settled(world)
    assert world.leader.term == term, "nobody disturbs"
    assert world.confirmed_reads.issuperset(reads), "all reads are confirmed"
    leaders = [m for m in world.members.values() if m.core.role is Role.LEADER]
    assert len(leaders) == 1, "one leader after healing"
    for member in world.members.values():
        member.core._check()


def _has_settled(world) -> bool:
    leader = world.leader
    if leader is None or not leader.leader_ready or leader.address not in world.wanted:
        return False
    membership = leader.membership
    if (membership.voters, membership.members) != (world.wanted, world.wanted):
        return False
    return all(
        member.core.leader == leader.address
        and not member.core.is_recovering
        and member.applied_index == leader.log.last_index
        for member in map(world.members.get, world.wanted)
    )


def _run(world_type, seed: int):
    random = Random(-1 - seed)
    size, spares = random.choice(((1, 2), (2, 1), (3, 0), (3, 1), (3, 2), (3, 3), (4, 2), (5, 2)))
    world = world_type(seed, size, spares, wire=seed % 7 == 0)
    try:
        world.elect()
        world.loss = random.choice((0.0, 0.0, 0.05, 0.2))
        world.doubling = random.choice((0.0, 0.05, 0.2))
        world.delay = random.choice((0.002, 0.02, 0.06))
        world.disk_delay = random.choice((0.001, 0.02, 0.1))
        _chaos(world, random, 60)
        _settle(world)
    except BaseException:
        print(f"seed {seed}, {size}+{spares}, time {world.now:.3f}, event {world.event_count}")
        raise
    return world


@pytest.mark.parametrize("part", range(4))
def test_promises_hold_while_members_come_go_and_forget(make_changing_world, part: int) -> None:
    first = part * _SEEDS_PER_PART
    worlds = [_run(make_changing_world, first + i) for i in range(_SEEDS_PER_PART)]
    assert sum(world.changed_count for world in worlds) > 20
    assert sum(world.forgotten_count for world in worlds) > 5


# Two of five forget, and meet one that was cut off while the other three became five


def _cut_off_while_others_come(world, *, knows_of_them: bool) -> tuple[str, list[str]]:
    """Let all be wanted; return a founder that was cut off before they were, and the others."""
    world.elect()
    world.run(1.0)
    gone = next(voter for voter in world.voters if voter != world.leader.address)
    world.partition({gone})
    world.wanted = tuple(world.addresses)
    world.run(5.0)
    if knows_of_them:
        world.heal()
        for _ in range(5000):
            if world.leader.membership.is_joint:
                break
            world.run(0.001)
        world.partition({gone})
        world.run(5.0)
        assert world.leader.membership.voters == world.wanted
    return gone, [voter for voter in world.voters if voter != gone]


@pytest.mark.parametrize("knows_of_them", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_who_was_cut_off_while_others_came_is_not_elected_by_those_that_forget(
    make_changing_world, seed: int, knows_of_them: bool
) -> None:
    world = make_changing_world(seed, 3, 2)
    gone, founders = _cut_off_while_others_come(world, knows_of_them=knows_of_them)
    assert world.propose(world.leader.address, b"acknowledged") is not None
    world.run(1.0)
    forgot = [founder for founder in founders if world.forget(founder)]
    assert len(forgot) == (2 if knows_of_them else 1), "only a minority of the members may"
    world.heal()
    world.partition({gone, *founders})
    for founder in forgot:
        world.start(founder)
    world.run(5.0)
    _settle(world)
