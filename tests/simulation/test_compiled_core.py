"""A compiled core decides as the pure one does: the same seed makes the same run, byte for byte."""

import os
import subprocess
import sys

import pytest

from syncstructs.testing.plans import PROFILES

_RUN = """
import sys
from syncstructs.compiled import IS_COMPILED
from syncstructs.testing.nemesis import Nemesis
from syncstructs.testing.plans import draw_plan
from syncstructs.testing.runs import Run, quietly

print(IS_COMPILED)
for seed in range(int(sys.argv[2]), int(sys.argv[3])):
    # The checks look inside the core; what is left are clusters, their load and their faults.
    run = Run(draw_plan(seed, sys.argv[1]), check=False)
    simulation, ended = run.simulation, None
    with quietly():
        try:
            simulation.start()
            nemesis = Nemesis(simulation, run.plan)
            simulation.run(run.plan.chaos)
            nemesis.stop()
            simulation.heal()
            simulation.start_again()
            simulation.run(5.0)
        except AssertionError as error:
            # Some faults ask the checks what is known of the members.
            ended = str(error)
        lives = [
            (life.host.address, life.core.term, life.core.commit_index, life.table.digest(),
             life.node and f"{life.node._engine.failure}")
            for life in simulation.lives()
        ]
        simulation.end()
    print(seed, simulation.network.trace, simulation.schedule.event_count, lives, ended)
"""


def run(profile, first, last, *, pure):
    done = subprocess.run(
        [sys.executable, "-c", _RUN, profile, f"{first}", f"{last}"],
        env={**os.environ, "SYNCSTRUCTS_PURE": "1" if pure else "0"},
        capture_output=True, text=True, timeout=110, check=True,
    )  # fmt: skip
    return done.stdout.splitlines()


@pytest.mark.compiled
@pytest.mark.parametrize("profile", PROFILES)
def test_a_compiled_core_makes_the_same_run_as_the_pure_one(profile):
    last = 2 if profile == "calm" else 6
    compiled, pure = (run(profile, 0, last, pure=pure) for pure in (False, True))
    assert (compiled[0], pure[0]) == ("True", "False")
    assert compiled[1:] == pure[1:]
    assert len({line.split()[1] for line in pure[1:]}) == last, "different plans made the same run"
