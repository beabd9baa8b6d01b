"""The stores of a member through crashes, full and failing disks: nothing acknowledged goes."""

import pytest
from store_torture import Torture

BLOCKS = 8
RUNS = 40
STEPS = 40


@pytest.mark.parametrize("block", range(BLOCKS))
def test_what_was_acknowledged_is_found_whatever_the_disk_does(block):
    for seed in range(block * RUNS, (block + 1) * RUNS):
        torture = Torture(seed)
        try:
            torture.go(STEPS)
        except Exception as error:
            raise AssertionError(f"Torture({seed}).go({STEPS}): {error}") from error


def test_a_bit_that_flips_is_noticed_or_does_no_harm():
    outcomes = {}
    for seed in range(100):
        torture = Torture(seed)
        torture.go(STEPS // 2)
        outcome = torture.rot()
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    # Harmless: a snapshot that is not the newest, or white space in the identity.
    assert outcomes["damaged"] > 50, outcomes
    assert outcomes["harmless"] > 3, outcomes


def test_the_torture_does_what_it_says():
    counts = Torture(0).counts
    for seed in range(20):
        torture = Torture(seed)
        torture.go(STEPS)
        counts += torture.counts
        counts += torture.disk.counts
    for kind in ("start", "refused", "power cut", "crash", "full", "sync failed", "read failed"):
        assert counts[kind] >= 10, (kind, counts)
