"""Hunt planted bugs, and print who caught each: `python tests/simulation/mutants/hunt.py`.

Without names all bugs are hunted, on `--jobs` cores. The exit status is 1 if one gets away.
"""

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import condition_bugs
import disk_bugs
import event_bugs
import group_bugs
import job_bugs
import limit_bugs
import membership_bugs
import object_bugs
import observer_bugs
import other_bugs
import permit_bugs
import raft_bugs
import task_bugs
import topic_bugs
import value_bugs
import version_bugs

from syncstructs.testing.plans import Plan
from syncstructs.testing.planted import (
    BUILT_IN,
    TABLE_HEAD,
    Hunt,
    PlantedBug,
    StaleBug,
    by_name,
    hunt,
    table_line,
)
from syncstructs.testing.runs import Failure, run_plan

ALL = by_name(
    bug
    for bugs in (
        BUILT_IN,
        condition_bugs.BUGS,
        disk_bugs.BUGS,
        event_bugs.BUGS,
        group_bugs.BUGS,
        job_bugs.BUGS,
        limit_bugs.BUGS,
        membership_bugs.BUGS,
        object_bugs.BUGS,
        observer_bugs.BUGS,
        other_bugs.BUGS,
        permit_bugs.BUGS,
        raft_bugs.BUGS,
        task_bugs.BUGS,
        topic_bugs.BUGS,
        value_bugs.BUGS,
        version_bugs.BUGS,
    )
    for bug in bugs
)
"""Every bug there is, by name; those that can do no harm as well."""


def harmful(bugs: Iterable[PlantedBug]) -> list[PlantedBug]:
    """Return the bugs that have to be caught."""
    return [bug for bug in bugs if not bug.equivalent]


def hunt_all(
    names: Iterable[str], *, jobs: int, event_limit: int | None = None
) -> Iterator[Hunt]:
    """Hunt bugs on several cores; yield how it went, in the order of the names.

    `event_limit`: give each up after so many events; None: after what it may take.
    """
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        yield from pool.map(partial(_hunt, event_limit), names)


def _hunt(event_limit: int | None, name: str) -> Hunt:
    try:
        return hunt(ALL[name], event_limit=event_limit)
    except StaleBug as error:
        # One patch that does not fit any more must not hide how the others fare.
        return Hunt(ALL[name], None, 0, 0, 0.0, f"the patch does not fit: {error}")


def clean_runs(hunts: Iterable[Hunt], *, jobs: int) -> list[str]:
    """Run what caught the bugs without any; return what failed all the same."""
    tokens = dict.fromkeys(found.token for found in hunts)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return [alarm for alarm in pool.map(_run_clean, tokens) if alarm]


def _run_clean(token: str) -> str:
    plan = Plan.from_token(token)
    outcome = run_plan(plan)
    if not isinstance(outcome, Failure):
        return ""
    return f"seed {plan.seed}: {outcome.kind}: {outcome.message}"


def main() -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(description="hunt bugs that are planted in the engine")
    parser.add_argument("names", nargs="*", metavar="NAME", help="bugs; all without one")
    parser.add_argument("--jobs", type=int, default=2, help="how many cores to use")
    parser.add_argument("--events", type=int, help="give each up after so many events")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in ALL]
    if unknown:
        parser.error(f"no bug is called {', '.join(unknown)}; there are: {', '.join(ALL)}")
    chosen = [ALL[name] for name in options.names] or harmful(ALL.values())
    begun = time.perf_counter()
    print(TABLE_HEAD)
    hunts = []
    for found in hunt_all(
        [bug.name for bug in chosen], jobs=options.jobs, event_limit=options.events
    ):
        hunts.append(found)
        print(table_line(found), flush=True)
    _print_summary(hunts, time.perf_counter() - begun)
    alarms = clean_runs([found for found in hunts if found.is_caught], jobs=options.jobs)
    for alarm in alarms:
        print(f"false alarm, without any bug: {alarm}")
    demanded = all(found.is_caught or found.bug.elusive for found in hunts)
    return 0 if demanded and not alarms else 1


def _print_summary(hunts: list[Hunt], seconds: float) -> None:
    caught = [found for found in hunts if found.is_caught]
    cpu = sum(found.seconds for found in hunts)
    steps = sorted(found.events for found in caught)
    print(f"\n{len(caught)} of {len(hunts)} bugs caught in {cpu:.0f} CPU s ({seconds:.0f} s)")
    if steps:
        print(f"events to catch one: median {steps[len(steps) // 2]:,}, most {steps[-1]:,}")
    for found in hunts:
        if not found.is_caught:
            print(f"got away after {found.events:,} events: {found.bug.name}: {found.bug.wrong}")
            if found.bug.elusive:
                print(f"    known: {found.bug.elusive}")
    for bug in ALL.values():
        if bug.equivalent and not any(found.bug is bug for found in hunts):
            print(f"not hunted: {bug.name}: {bug.equivalent}")


if __name__ == "__main__":
    sys.exit(main())
