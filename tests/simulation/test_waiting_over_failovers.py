"""Waits in the log over crashes, cuts, expired sessions and snapshots: nothing is lost or doubled.

Callers put, get, and hold a lock, with time-outs and cancels, while the cluster is tormented. What
was acknowledged must be true afterwards, every operation must end, and nothing waits or is held of
which nobody knows. That no two nodes are sure of the lock is checked at every step.
"""

from random import Random

import pytest

from syncstructs.testing.history import Raised
from syncstructs.testing.leaks import check_leaks
from syncstructs.testing.nemesis import Nemesis
from syncstructs.testing.plans import Fault, Plan, draw_plan
from syncstructs.testing.queue_verdicts import check_settled
from syncstructs.testing.runs import Run, quietly
from syncstructs.testing.verdicts import check_queues

WAITS = {"put": 2.0, "get": 3.0, "hold": 2.0}
CHAOS = 8.0


def make_plan(seed):
    random = Random(f"{seed}/cuts")
    faults = [fault for fault in draw_plan(seed, "locks").faults if fault.at < CHAOS]
    # Not so many, nor for so long, that no call ever gets through.
    faults = [fault for fault in faults if not fault.kind.endswith("_holder")]
    faults = faults[:: 1 + len(faults) // int(5 * CHAOS)]
    # Who is heard, but hears nothing, has what it asks for applied without it.
    faults += [Fault(at * 1.5, "cut", 1.0, random.random(), 0.5) for at in range(5)]
    return Plan(
        seed=f"{seed}/waiting",
        size=(3, 3, 5)[seed % 3],
        datagrams=seed % 4 == 0,
        settings={
            "snapshot_log_entries": (8, 60, 100_000)[seed % 3],
            "log_keep_bytes": (1, 400, 8_000_000)[(seed // 3) % 3],
            "chunk_bytes": 64,
            "batch_bytes": (20, 200, 100_000)[(seed // 2) % 3],
            "session_ttl": (1.3, 30.0, 2.0, 1.3)[seed % 4],
            # A small window, so that it takes a while to catch up.
            "append_bytes": (100, 256 * 1024)[seed % 2],
            "append_window_bytes": (300, 4 * 1024 * 1024)[seed % 2],
        },
        mixes=WAITS,
        clients=2,
        think=0.1,
        give_up=0.5,
        chaos=CHAOS,
        faults=tuple(faults),
    )


def run_to_the_end(run):
    """Let callers and faults loose; then heal everything, until all has ended that can."""
    simulation, load = run.simulation, run.load
    simulation.start()
    nemesis = Nemesis(simulation, run.plan)
    simulation.run(CHAOS)
    nemesis.stop()
    simulation.heal()
    simulation.start_again()
    load.is_open = False
    simulation.run_until(lambda: load.is_idle)
    simulation.settle()
    load.check()
    check_settled(load)
    check_leaks(load)


def cancel_all(run):
    """Cancel what still waits, for as long as it takes: it ends, and leaves no trace."""
    simulation = run.simulation
    alive = {f"{life.host.address}.{life.number}" for life in simulation.lives()}
    calls = [
        record.call
        for record in records(run)
        if record.call is not None and record.process.rpartition("/")[0] in alive
    ]
    for call in calls:
        call.cancel()
    simulation.await_all(calls)
    # What they clean up behind them.
    simulation.run(5.0)
    simulation.settle()
    for life in simulation.lives():
        jobs, lock = life.consumers["jobs"], life.consumers["lock"]
        waiting = len(jobs._getters), len(jobs._putters), len(lock._waiters)
        assert waiting == (0, 0, 0), f"{life.host.address} knows of ghosts: {waiting}"
    check_leaks(run.load)


def records(run):
    return [record for kind in ("jobs", "lock") for record in run.load.recorder.records[kind]]


@pytest.mark.parametrize("seed", range(25))
def test_waits_end_and_nothing_is_lost_or_doubled(seed):
    plan = make_plan(seed)
    run = Run(plan)
    try:
        with quietly():
            run_to_the_end(run)
            cancel_all(run)
        check_queues(run.load)
    except AssertionError as error:
        error.add_note(f"seed {seed}; its plan is {plan.token()}")
        raise
    finally:
        run.simulation.end()
    raised = {record.outcome.kind for record in records(run) if isinstance(record.outcome, Raised)}
    names = {kind.rpartition(".")[2] for kind in raised}
    assert names <= {"Empty", "Full", "LockLost", "NotOwner"}, (seed, names)
    assert sum(record.method.startswith("get") for record in records(run)) > 10, seed
