"""Medians, ratios and verdicts of the comparison."""

import pytest
from report import number, summarize, table, troubles
from rows import FLOOR, OURS, PYSYNCOBJ, PYSYNCOBJ_BEST, UNBATCHED, Row, versus

WRITES = Row(
    "writes", "writes", "ops/s", "more", versus(PYSYNCOBJ_BEST, 15, 30) + versus(FLOOR, aim=0.3)
)
GAP = Row("gap", "gap", "s", "less", versus(None, 0.1), (PYSYNCOBJ,), takes="max")
ROUNDS = {
    OURS: [90.0, 100.0, 140.0],
    PYSYNCOBJ: [5.0, 6.0, 7.0],
    UNBATCHED: [4.0, 6.5, 7.0],
    FLOOR: [400.0, 500.0, 600.0],
}


def verdicts_of(found):
    return {(v["kind"], v["against"]): v["met"] for v in found["verdicts"]}


def test_ratios_are_those_of_medians_and_the_best_setting_of_a_peer_counts():
    found = summarize(WRITES, ROUNDS)
    best = found["ratios"][PYSYNCOBJ_BEST]
    assert best["system"] == UNBATCHED
    assert best["ratio"] == pytest.approx(100 / 6.5)
    assert (best["min"], best["max"]) == (pytest.approx(100 / 6.5), pytest.approx(90 / 4))
    assert verdicts_of(found) == {
        ("must", PYSYNCOBJ_BEST): True,
        ("aim", PYSYNCOBJ_BEST): False,
        ("aim", FLOOR): False,
    }


def test_of_times_the_least_is_best_and_less_than_the_limit_is_good():
    row = Row("time", "time", "ms", "less", versus(PYSYNCOBJ_BEST, 20))
    found = summarize(row, ROUNDS)
    assert found["ratios"][PYSYNCOBJ_BEST]["system"] == PYSYNCOBJ
    assert verdicts_of(found) == {("must", PYSYNCOBJ_BEST): True}


def test_what_is_not_there_is_neither_met_nor_missed():
    found = summarize(WRITES, {OURS: ROUNDS[OURS], PYSYNCOBJ: [None, None, None]})
    assert found["ratios"] == {}
    assert set(verdicts_of(found).values()) == {None}
    assert "not measured" in table([summarize(WRITES, {FLOOR: [1.0]})])


def test_rounds_that_could_not_be_measured_count_for_nothing():
    found = summarize(WRITES, {OURS: [None, 80.0, 100.0], PYSYNCOBJ: [1.0, None, 5.0]})
    assert found["systems"][OURS]["median"] == 90.0
    assert found["ratios"][PYSYNCOBJ_BEST]["min"] == found["ratios"][PYSYNCOBJ_BEST]["max"] == 20.0


def test_a_row_of_the_worst_takes_the_worst():
    found = summarize(GAP, {OURS: [0.01, 0.2, 0.01], PYSYNCOBJ: [1.0, 0.5, 0.4]})
    assert verdicts_of(found) == {("must", None): False}
    assert found["ratios"][PYSYNCOBJ]["ratio"] == pytest.approx(0.2)


def test_nothing_at_all_on_the_other_side_is_no_ratio():
    row = Row("count", "count", "", "less", versus(None, 0), (PYSYNCOBJ,))
    found = summarize(row, {OURS: [0.0], PYSYNCOBJ: [0.0]})
    assert found["ratios"][PYSYNCOBJ]["ratio"] is None
    assert verdicts_of(found) == {("must", None): True}


def test_the_table_tells_of_each_comparison_and_each_verdict():
    lines = table([summarize(WRITES, ROUNDS)]).splitlines()
    assert lines[0].split() == ["measure", "ours", "against", "theirs", "ratio", "must", "aim"]
    assert lines[1].split()[:4] == ["writes", "100", "ops/s", "(90..140)"]
    assert lines[1].endswith(">= 15 met  >= 30 MISSED")
    assert lines[2].split()[-3:] == [">=", "0.3", "MISSED"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [(999.6, "1000"), (1000.0, "1k"), (99.96, "100"), (0.00123456, "0.00123"), (-5.0, "-5")],
)
def test_numbers_have_three_digits(value, shown):
    assert number(value) == shown


def test_calls_that_failed_or_did_not_end_are_told_of():
    rounds = {OURS: [{"value": 1.0, "failed": 0, "lost": 2}, None], FLOOR: [{"failed": 3}]}
    assert troubles([{"name": "row", "rounds": rounds}]) == [
        "row, round 1: 2 calls of syncstructs did not end in time",
        "row, round 1: 3 calls of floor failed",
    ]
