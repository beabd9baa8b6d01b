"""What the benchmark shows: a board in any state, and figures with their units."""

import pytest

from syncstructs.cli.bench_load import Lately, array
from syncstructs.cli.bench_view import Board, Measure, clock, in_a_line, summary

CALLS = Measure("calls", "some calls")
WAITS = Measure("waits", "a call that is waited for", figure="p50_ms")
GAP = Measure("gap", "nothing at all", figure="gap_ms")


def calls(rate, **more):
    return {
        "ops_per_second": rate, "p50_ms": 0.25, "p99_ms": 2.0, "cpu_seconds_per_million": 12.0,
        "failed": 0, "lost": 0, **more,
    }  # fmt: skip


@pytest.fixture
def board():
    return Board("three members", [CALLS, WAITS, GAP], 2, began=100.0)


def texts(board, now=130.0, **options):
    return [line for line, _ in board.picture(now, **options)]


def test_a_board_can_be_drawn_before_anything_is_known(board):
    assert "0 of 6 runs, 0:30 gone" in texts(board)[1]
    assert "left" not in texts(board)[1]
    board.start(CALLS)
    lines = texts(board)
    assert [line for line in lines if line.startswith("> ")] == [lines[4]]
    assert "some calls" in lines[4]
    assert lines[-1].split() == ["CPU", "-"]


def test_the_board_shows_medians_and_what_is_left_to_do(board):
    for rate in (1000.0, 3000.0):
        board.end(CALLS, calls(rate))
    board.start(WAITS)
    lines = texts(board)
    assert "2 of 6 runs, 0:30 gone, about 1:00 left" in lines[1]
    assert lines[1].startswith("[########................]")
    assert lines[4].split()[2:] == [
        "2,000", "ops/s", "1,000", "3,000", "250", "us", "2.0", "ms", "12", "us", "2/2",
    ]  # fmt: skip
    assert [kind for _, kind in board.picture(130.0)][4:7] == ["", "present", "later"]


def test_the_board_tells_of_the_last_moments_of_what_is_under_way(board):
    board.start(CALLS)
    for rate in (100.0, 800.0):
        board.tell({"ops_per_second": rate, "p50_ms": None, "p99_ms": 5.0})
    board.cpu = 1.5
    shown = texts(board)[-4:]
    assert shown[0].split() == ["calls/s", "800", "▁█"]
    assert [line.split()[1] for line in shown[1:3]] == ["-", "5.0"]
    assert "150 % of a core" in shown[3]
    assert "▁" not in texts(board, encoding="ascii")[-4]
    board.start(WAITS)
    assert texts(board)[-4].split() == ["calls/s", "-"]


def test_the_summary_holds_every_measure_and_tells_of_calls_that_failed():
    found = {
        "calls": [calls(1000.0, failed=3), calls(3000.0, lost=2)],
        "waits": [calls(9.0), calls(9.0)],
        "gap": [{"gap_ms": 12.0, "failed": 0, "lost": 0}],
    }
    lines = summary("three members", [CALLS, WAITS, GAP], found)
    assert lines[0] == "medians of 2: three members"
    assert lines[3].split()[6:8] == ["250", "us"]
    assert lines[4].split() == ["nothing", "at", "all", "12.0", "ms", "12.0", "ms", "12.0", "ms"]
    assert lines[5:] == ["some calls: 3 calls failed", "some calls: 2 calls lost"]


def test_a_run_in_a_line():
    assert in_a_line(CALLS, calls(1234.0)).split("   ")[-3:] == [
        "p50 250 us", "p99 2.0 ms", "CPU 12 us per call",
    ]  # fmt: skip
    assert "p50" not in in_a_line(WAITS, calls(1.0))
    assert "FAILED 1, LOST 0" in in_a_line(CALLS, calls(1.0, failed=1))
    assert in_a_line(GAP, {"gap_ms": None, "failed": 0, "lost": 0}).strip() == "-"


@pytest.mark.parametrize(("seconds", "shown"), [(0.9, "0:00"), (61, "1:01"), (3600, "60:00")])
def test_times_on_the_clock(seconds, shown):
    assert clock(seconds) == shown


def test_lately_tells_of_fresh_calls_alone():
    told, samples = [], array("d")
    lately = Lately(told.append, samples)
    samples.extend([0.001, 0.002, 0.003])
    lately.look(3)
    samples.append(0.009)
    lately.look(3)
    lately.look(3)
    assert [line["p50_ms"] for line in told] == [2.0, 9.0, None]
    assert told[0]["ops_per_second"] > 0
    assert told[1]["ops_per_second"] == told[2]["ops_per_second"] == 0
