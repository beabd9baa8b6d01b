"""Calls end exactly once, in program order, whatever happens to leaders, links and disks.

Beside the checks that every simulation makes, all is judged by what callers were told and by what
the object has seen; neither the log nor the places of calls in it are asked.
"""

from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import pytest
from msgspec.structs import replace

from syncstructs.errors import NodeFailed, NotApplied, OutcomeUnknown
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.testing.hosts import Life
from syncstructs.testing.nemesis import Nemesis
from syncstructs.testing.plans import Fault, draw_plan
from syncstructs.testing.simulator import Simulation


class Ledger(Replicated):
    """Remembers every call it has applied, in order."""

    def __init__(self):
        self.seen = []

    @replicated
    def note(self, mark):
        self.seen.append(mark)
        return len(self.seen)


LATE_TO_NOTICE = {
    "election_timeout_min": 0.1, "election_timeout_max": 0.5, "heartbeat_interval": 0.04,
}  # fmt: skip
"""With these, a leader that was cut off may lead for a while after others have elected another."""


def make_plan(seed, profile, cuts, **settings):
    """Return a plan in which members are cut off until their sessions have ended, by `cuts`."""
    plan = draw_plan(seed, profile)
    random = Random(f"{plan.seed}/cuts")
    settings = plan.settings | settings
    settings["session_ttl"] = ttl = 2 * settings["election_timeout_max"]
    # Not so many faults that no call ever gets through.
    faults = list(plan.faults[:: 1 + len(plan.faults) // int(5 * plan.chaos)])
    chaos = max(plan.chaos, 9.0)
    for number, kind in enumerate(cuts):
        at = chaos * number / len(cuts)
        faults.append(Fault(at, kind, 1.5 * ttl, random.random(), 0.5))
    return replace(plan, settings=settings, faults=tuple(faults), chaos=chaos)


class Tormented:
    """A cluster with a ledger, and the faults that befall it."""

    def __init__(self, plan):
        self.plan = plan
        self.random = Random(f"{plan.seed}/calls")
        self.cluster = Simulation(
            plan.seed, {"ledger": Ledger}, size=plan.size, disks=plan.disks, framing=plan.framing,
            datagrams=plan.datagrams, **plan.settings,
        )  # fmt: skip
        self.cluster.start()
        self.nemesis = Nemesis(self.cluster, plan)
        self.made: list[Made] = []

    def rounds(self, seconds):
        """Yield again and again, `seconds` apart on average, until no more faults come."""
        end = self.cluster.now + self.plan.chaos
        number = 0
        while self.cluster.now < end:
            yield number
            number += 1
            self.cluster.run(self.random.random() * 2 * seconds)
        self.nemesis.stop()

    def note(self, life, mark):
        """Make a call on a node, if that takes calls."""
        try:
            self.made.append(Made(life, mark, life.consumers["ledger"].note.submit(mark)))
        except (NotApplied, NodeFailed):
            self.made.append(Made(life, mark, None))


@dataclass
class Made:
    life: Life
    mark: str
    future: Any
    """None: it was refused at once."""

    @property
    def has_ended(self):
        return self.future is None or self.future.done()

    @property
    def is_refused(self):
        return self.future is None or isinstance(self.future.exception(), NotApplied)


@pytest.fixture
def torment():
    begun = []

    def begin(plan):
        begun.append(Tormented(plan))
        return begun[-1]

    yield begin
    for tormented in begun:
        tormented.cluster.end()


@pytest.mark.parametrize("profile", ["network", "disk"])
@pytest.mark.parametrize("seed", range(15))
def test_every_call_is_applied_exactly_once_and_in_program_order(torment, seed, profile):
    run = torment(make_plan(seed, profile, ["isolate_leader", "isolate", "isolate_leader"]))
    cluster = run.cluster
    for number in run.rounds(0.15):
        for life in cluster.lives():
            for i in range(run.random.randrange(4)):
                run.note(life, f"{life.id}/{number:03}.{i}")
    cluster.settle()
    cluster.run_until(lambda: all(made.has_ended for made in run.made if made.life.alive))
    assert len({life.table.digest() for life in cluster.lives()}) == 1, run.plan.seed

    seen = cluster.lives()[0].consumers["ledger"].seen
    assert len(seen) == len(set(seen)), f"a call was applied twice ({run.plan.seed})"
    position = {mark: i for i, mark in enumerate(seen)}
    outcomes = {"applied": 0, "refused": 0, "unknown": 0}
    for made in run.made:
        where = f"{made.mark} ({run.plan.seed})"
        if not made.has_ended:
            assert not made.life.alive, f"{where} never ended"
            outcomes["unknown"] += 1
        elif made.is_refused:
            assert made.mark not in position, where
            outcomes["refused"] += 1
        elif made.future.exception() is None:
            assert position.get(made.mark) == made.future.result() - 1, where
            outcomes["applied"] += 1
        else:
            assert isinstance(made.future.exception(), OutcomeUnknown), where
            outcomes["unknown"] += 1
    assert outcomes["applied"] > 20, (run.plan.seed, outcomes)
    for life in {made.life.id for made in run.made}:
        mine = [mark for mark in seen if mark.startswith(f"{life}/")]
        assert mine == sorted(mine), f"program order was lost in {life} ({run.plan.seed})"


@pytest.mark.parametrize("seed", range(8))
def test_a_barrier_on_any_member_sees_what_was_acknowledged_before(torment, seed):
    run = torment(make_plan(1000 + seed, "network", ["isolate_leader"] * 4, **LATE_TO_NOTICE))
    cluster = run.cluster
    acknowledged = 0
    seen = []

    def acknowledge(future):
        nonlocal acknowledged
        if future.exception() is None:
            acknowledged = max(acknowledged, future.result())

    def passed(life, floor, future):
        if future.exception() is None:
            ledger = life.table.objects.get("ledger")
            seen.append((life.host.address, floor, len(ledger.seen) if ledger else 0))

    barriers = []
    for number in run.rounds(0.05):
        lives = cluster.lives()
        if not lives:
            continue
        run.note(run.random.choice(lives), f"{number}")
        if run.made[-1].future is not None:
            run.made[-1].future.add_done_callback(acknowledge)
        for life in lives:
            barrier = life.node.barrier.submit()
            barriers.append((life, barrier))
            barrier.add_done_callback(partial(passed, life, acknowledged))
    cluster.heal()
    cluster.start_again()
    cluster.run_until(lambda: all(b.done() for life, b in barriers if life.alive))
    missed = [(address, floor, count) for address, floor, count in seen if count < floor]
    assert not missed, f"(member, acknowledged, seen) with {run.plan.seed}: {missed}"
    assert sum(floor > 0 for _, floor, _ in seen) > 50, run.plan.seed
