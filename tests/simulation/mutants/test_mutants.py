"""The torture notices what is wrong: every bug that is planted in the engine is caught.

`python tests/simulation/mutants/hunt.py` prints the table: seed, events, and which check it was.
The bugs of `quick.txt`, which were caught within 20,000 events, are hunted with every run of the
tests; all of them, which takes long, with SYNCSTRUCTS_MUTANTS=all.
"""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from hunt import ALL, clean_runs, harmful, hunt_all

from syncstructs.raft.core import RaftCore
from syncstructs.testing.planted import BUILT_IN, Hunt, StaleBug, bug

# All hunts are done by the first test that asks for one of them.
pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.pure("functions are changed"),
]

JOBS = 2
HARMFUL = [one.name for one in harmful(ALL.values()) if not one.elusive]
QUICK = Path(__file__).with_name("quick.txt").read_text().split()
HUNTED = HARMFUL if os.environ.get("SYNCSTRUCTS_MUTANTS") == "all" else QUICK


@pytest.fixture(scope="module")
def hunts() -> dict[str, Hunt]:
    """Return how the hunt for each bug went."""
    return {found.bug.name: found for found in hunt_all(HUNTED, jobs=JOBS)}


@pytest.mark.parametrize("name", HUNTED)
def test_planted_bug_is_caught(name: str, hunts: dict[str, Hunt]) -> None:
    found = hunts[name]
    assert found.is_caught, f"{found.message or 'nobody saw it'}: {found.bug.wrong}"


def test_engine_without_bugs_passes_what_caught_them(hunts: dict[str, Hunt]) -> None:
    alarms = clean_runs([found for found in hunts.values() if found.is_caught], jobs=JOBS)
    assert not alarms, "\n".join(alarms)


def test_there_are_enough_bugs_in_every_room() -> None:
    edits = [edit for one in ALL.values() for edit in one.edits]
    rooms = {edit.where.partition(":")[0].partition(".")[0] for edit in edits}
    assert rooms >= {"raft", "objects", "replica", "structs", "node", "storage"}
    assert len(HARMFUL) >= 45
    assert len(set(QUICK)) >= 45
    assert set(QUICK) <= set(ALL)
    assert len(BUILT_IN) == 10


def test_planted_bug_is_gone_after_its_block() -> None:
    function = RaftCore._up_to_date
    before = function.__code__
    one = next(b for b in BUILT_IN if b.name == "vote_for_log_behind")
    with one.planted():
        assert function.__code__ is not before
    assert function.__code__ is before


def test_patch_that_does_not_fit_is_refused_and_changes_nothing() -> None:
    before = RaftCore._up_to_date.__code__
    stale = bug(
        "stale", "Nothing.",
        ("raft.core:RaftCore._up_to_date", "last >= max(", "last >= min("),
        ("raft.core:RaftCore._campaign", "text that is not there", ""),
    )  # fmt: skip
    with pytest.raises(StaleBug, match="occurs 0 times"), stale.planted():
        pass
    assert RaftCore._up_to_date.__code__ is before


def test_every_patch_fits() -> None:
    for one in ALL.values():
        with one.planted():
            pass
