"""Whole runs: they replay bit for bit, come out well, and fail in a way that helps."""

import os
import subprocess
import sys

import pytest
from msgspec.structs import replace

from syncstructs import ReplCounter, ReplLock, ReplQueue
from syncstructs.errors import Busy
from syncstructs.raft.messages import HardState
from syncstructs.testing.campaign import Totals, campaign, run_seed
from syncstructs.testing.plans import PROFILES, Fault, Plan, draw_plan
from syncstructs.testing.runs import Failure, Report, Run, run_plan
from syncstructs.testing.shrinking import Shrinker, sort_of
from syncstructs.testing.simulator import Simulation
from syncstructs.testing.story import explain, tell
from syncstructs.testing.violation import Violation

_TRACES = """
from syncstructs.testing.plans import draw_plan
from syncstructs.testing.runs import run_plan
for profile in ("all", "disk", "locks"):
    for seed in range(3):
        report = run_plan(draw_plan(seed, profile))
        print(seed, profile, report.trace, report.events, report.elections)
"""


def test_a_run_is_the_same_whatever_the_hash_seed():
    outputs = set()
    for hash_seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", _TRACES],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, timeout=120, check=True,
        )  # fmt: skip
        outputs.add(done.stdout)
    assert len(outputs) == 1, outputs
    traces = {line.split()[2] for line in outputs.pop().splitlines()}
    assert len(traces) == 9, "different plans made the same run"


@pytest.mark.parametrize("profile", PROFILES)
def test_clean_seeds_raise_no_alarm(profile):
    for seed in range(4 if profile == "calm" else 12):
        outcome = run_plan(replace(draw_plan(seed, profile), chaos=4.0))
        assert isinstance(outcome, Report), f"{outcome}"
        assert outcome.checked > 0
        assert outcome.events > 100


def test_a_token_is_the_whole_plan():
    for seed in range(20):
        plan = draw_plan(seed)
        assert Plan.from_token(plan.token()) == plan
    for text in ("", "abc", "!!!", plan.token()[:-8], plan.token()[8:]):
        with pytest.raises(ValueError, match="replay token"):
            Plan.from_token(text)


def test_an_unknown_profile_is_refused():
    with pytest.raises(ValueError, match="none of all, network"):
        draw_plan(1, "everything")


class _Forgetful:
    """Fails a run whenever the leader was isolated and somebody was paused."""

    def __init__(self):
        self.runs = 0

    def __call__(self, plan):
        self.runs += 1
        kinds = {fault.kind for fault in plan.faults}
        if {"isolate_leader", "pause"} <= kinds:
            where = f"n1:1: entry {len(plan.faults)} is lost"
            return Failure(plan, "Violation", where, 100, Violation(where))
        return Report()


def test_a_failure_is_shrunk_to_the_faults_that_it_needs():
    others = [Fault(i / 10, "crash", 0.1, 0.5, 0.5) for i in range(40)]
    needed = [Fault(1.0, "isolate_leader", 1.0, 0.5, 0.5), Fault(2.0, "pause", 1.0, 0.5, 0.5)]
    plan = replace(draw_plan(1), faults=(*others[:20], needed[0], *others[20:], needed[1]))
    run = _Forgetful()
    failure = run(plan)
    ticks = iter(range(10_000_000))
    shrunk = Shrinker(failure, run=run, seconds=100_000, clock=lambda: next(ticks)).shrink()
    assert sorted(f.kind for f in shrunk.plan.faults) == ["isolate_leader", "pause"]
    assert shrunk.plan.seed == plan.seed
    assert sort_of(shrunk) == sort_of(failure)
    assert run.runs < 400


def test_shrinking_ends_when_its_time_is_over():
    run = _Forgetful()
    kinds = ("isolate_leader", "pause", "crash", "reset")
    plan = replace(draw_plan(1), faults=tuple(Fault(1.0, k, 1.0, 0.5, 0.5) for k in kinds * 9))
    ticks = iter(range(1_000))
    shrunk = Shrinker(run(plan), run=run, seconds=10, clock=lambda: next(ticks)).shrink()
    assert run.runs <= 12
    assert isinstance(run(shrunk.plan), Failure)


def test_a_story_of_a_member_that_loses_its_disk_ends_as_the_run_does():
    faults = (Fault(1.0, "forget", 0.5, 0.3, 0.5),)
    plan = Plan(seed="forgets", disks=True, faults=faults, chaos=3.0, mixes={"count": 1.0})
    story = tell(plan)
    assert "has lost all" in story
    assert story.endswith("and all was well")


def test_a_story_tells_who_led_when_and_what_befell():
    faults = (Fault(2.0, "crash_leader", 0.5, 0.0, 0.5),)
    plan = Plan(seed="story", faults=faults, chaos=3.0, mixes={"count": 1.0})
    story = tell(plan)
    lines = story.splitlines()
    assert lines[1].split() == ["n1:1", "n2:1", "n3:1"]
    assert any("leads 1" in line for line in lines)
    crash = next(i for i, line in enumerate(lines) if "crashes" in line)
    after = [line for line in lines[crash:] if "leads" in line]
    assert after
    assert not any("leads 1," in line for line in after)
    assert lines[-1] == "and all was well"
    failure = Failure(plan, "Violation", "broken", 1, Violation("broken"))
    assert plan.token() in explain(failure)


def test_a_violation_is_not_swallowed_by_the_engine():
    simulation = Simulation(1, {"hits": ReplCounter})
    simulation.start()
    added = simulation.objects("n1:1")["hits"].add.submit(1)
    simulation.run_until(added.done)
    # Raised in the midst of the engine, which takes it for a failure of its own and stops the node.
    for host in simulation.hosts.values():
        simulation.checks._durable[host.address].hard_state = HardState(0, None)
    with pytest.raises(Violation, match="before its term is durable"):
        simulation.run(5.0)


@pytest.mark.parametrize("seed", range(12))
def test_a_leader_whose_clock_leaps_expires_no_session(seed):
    simulation = Simulation(seed, {"lock": ReplLock}, session_ttl=4.0)
    simulation.start()
    simulation.run_until(lambda: simulation.leader() is not None)
    holder = next(a for a in simulation.addresses if a != simulation.leader())
    lock = simulation.objects(holder)["lock"]
    acquired = lock.acquire.submit()
    simulation.run_until(acquired.done)
    assert acquired.result()
    assert lock.held
    leader = simulation.leader()
    simulation.network.cut(holder, leader, keep=True)
    simulation.run(0.1 + seed * 0.005)
    simulation.hosts[leader].life.jump(60.0)
    simulation.run(0.01)
    simulation.network.heal(holder, leader)
    simulation.run(2.0)
    assert lock.held


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "busy"])
def test_a_dead_holder_loses_its_lock_within_about_the_ttl(busy):
    simulation = Simulation(4, {"lock": ReplLock}, session_ttl=2.0)
    simulation.start()
    simulation.run_until(lambda: simulation.leader() is not None)
    first, second = [a for a in simulation.addresses if a != simulation.leader()]
    if busy:
        # Each read begins a round, so that no heartbeat and no tick is ever due.
        life = simulation.hosts[simulation.leader()].life

        def read():
            life.node.barrier.submit()
            life.event_loop.call_later(0.01, read)

        life.soon(read)
    acquired = simulation.objects(first)["lock"].acquire.submit()
    simulation.run_until(acquired.done)
    waiting = simulation.objects(second)["lock"].acquire.submit()
    simulation.run(0.5)
    assert not waiting.done()
    simulation.crash(first, silently=True)
    died = simulation.now
    simulation.run_until(waiting.done, limit=10.0)
    assert 1.5 < simulation.now - died < 3.0


def test_a_campaign_runs_on_several_processes_and_adds_up():
    totals = Totals()
    for result in campaign(["network"], runs=4, jobs=2):
        totals.add(result)
    alone = Totals()
    for seed in range(4):
        alone.add(run_seed(seed, "network"))
    assert totals.failures == alone.failures == []
    assert (totals.runs, totals.events, totals.checked) == (4, alone.events, alone.checked)
    assert totals.figures()["cluster_hours"] > 0


def test_the_places_of_calls_are_their_order_in_the_log():
    run = Run(Plan(seed="places", mixes={"pipeline": 1.0, "batch": 1.0}, chaos=5.0, think=0.1))
    run.go()
    calls = run.load.histories()["hits"]
    adds = sorted((op for op in calls if op.method == "add"), key=lambda op: op.index)
    assert len(adds) > 50
    assert len({op.index for op in adds}) == len(adds)
    value = 0
    for op in adds:
        value += op.args[0]
        assert op.outcome == value


@pytest.mark.parametrize("undo", ["times out", "is cancelled"])
def test_a_full_node_can_still_take_back_a_wait(undo):
    simulation = Simulation(5, {"jobs": ReplQueue, "hits": ReplCounter}, max_pending_calls=6)
    simulation.start()
    one, other, third = simulation.addresses
    simulation.run_until(lambda: all(simulation.node(a)._ready.done() for a in simulation.up))
    waiting = simulation.objects(one)["jobs"].get.submit(timeout=2.0)
    simulation.run(0.5)
    # Calls that the leader cannot commit fill the node up.
    simulation.network.cut_off(one)
    hits = simulation.objects(one)["hits"]
    for _ in range(5):
        hits.inc.submit()
    with pytest.raises(Busy):
        hits.inc.submit()
    if undo == "is cancelled":
        waiting.cancel()
    simulation.run(1.9)
    simulation.network.heal_all()
    simulation.run(3.0)
    assert waiting.done()
    put = simulation.objects(other)["jobs"].put.submit("item")
    got = simulation.objects(third)["jobs"].get.submit(timeout=3.0)
    simulation.run_until(lambda: put.done() and got.done())
    assert got.result() == "item"


@pytest.mark.parametrize("seed", range(10))
def test_a_barrier_of_a_new_life_lets_the_objects_be_attached_first(seed):
    simulation = Simulation(seed, {"hits": ReplCounter}, snapshot_log_entries=4, log_keep_bytes=1)
    simulation.start()
    for _ in range(6):
        added = simulation.objects("n1:1")["hits"].inc.submit()
        simulation.run_until(added.done)
    simulation.crash("n2:1")
    simulation.start("n2:1")
    barrier = simulation.node("n2:1").barrier.submit()
    simulation.run_until(barrier.done)
    assert simulation.objects("n2:1")["hits"].value == 6
