"""The commands with real clusters: the proof, the figures, and that nothing is left behind."""

import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from msgspec.structs import replace

from syncstructs.cli.bench import MEASURES
from syncstructs.cli.screen import BEGIN, END
from syncstructs.testing.plans import draw_plan

COMMAND = [sys.executable, "-m", "syncstructs"]
HIDE_CURSOR, SHOW_CURSOR = b"\x1b[?25l", b"\x1b[?25h"
DEMO = [*COMMAND, "demo", "--plain", "--seconds", "0.6"]


def run(arguments):
    return subprocess.run(arguments, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("durable", [False, True], ids=["memory", "disk"])
def test_demo_kills_the_leader_and_proves_that_nothing_is_lost(durable, tmp_path):
    where = ["--data-dir", str(tmp_path / "room")] if durable else []
    done = run([*DEMO, *where])
    assert done.returncode == 0, done.stdout + done.stderr
    for text in ("SIGKILL", "is the new leader", "is back", "time without service", "proof holds"):
        assert text in done.stdout
    assert "0 lost" in done.stdout
    if durable:
        assert sorted(entry.name for entry in (tmp_path / "room").iterdir()) == ["m1", "m2", "m3"]


def test_bench_gives_its_figures_as_one_json_object():
    shape = ["--window", "1024", "--rounds", "1", "--seconds", "0.5"]
    done = run([*COMMAND, "bench", "--json", *shape])
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["shape"]["window"] == 1024
    median = figures["median"]
    assert median["ops_per_second"] > 0
    assert 0 < median["p50_ms"] <= median["p99_ms"] <= median["max_ms"]
    assert median["cpu_seconds_per_million"] > 0
    assert median["failed"] == median["lost"] == 0


@pytest.mark.parametrize("options", ["--blocking", "--at follower --members 5", "--disk"])
def test_bench_runs_in_every_shape(options):
    done = run([*COMMAND, *f"bench {options} --rounds 1 --seconds 0.3 --warmup 0.1".split()])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ops/s" in done.stdout


def test_bench_measures_all_and_sums_it_up():
    done = run([*COMMAND, *["bench", "--rounds", "1", "--seconds", "0.2", "--warmup", "0.1"]])
    assert done.returncode == 0, done.stdout + done.stderr
    head, *runs = done.stdout.splitlines()
    at = runs.index(f"medians of 1: {head}")
    summary = runs[at + 2 :]
    assert len(runs[:at]) == len(summary) == len(MEASURES)
    for measure, line, row in zip(MEASURES, runs, summary, strict=False):
        assert line.startswith(f"  run 1  {measure.title}")
        assert row.startswith(f"  {measure.title}")
        assert any(digit in row.removeprefix(f"  {measure.title}") for digit in "123456789")


def test_bench_gives_what_was_chosen_as_json():
    options = ["--only", "update", "lock", "gap", "--rounds", "2", "--seconds", "0.2"]
    done = run([*COMMAND, "bench", "--json", *options])
    assert done.returncode == 0, done.stdout + done.stderr
    measures = {each["name"]: each for each in json.loads(done.stdout)["measures"]}
    assert list(measures) == ["update", "lock", "gap"]
    for each in measures.values():
        assert [line["round"] for line in each["rounds"]] == [1, 2]
        assert each["median"][each["figure"]] > 0
        assert each["median"]["failed"] == 0
    assert measures["gap"]["median"]["gap_ms"] < 1500


def test_bench_refuses_a_choice_among_one():
    done = run([*COMMAND, "bench", "--window", "64", "--only", "gap"])
    assert done.returncode == 2
    assert "one or the other" in done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_bench_is_live_on_a_terminal_and_leaves_its_summary_there():
    ours, theirs = os.openpty()
    started = subprocess.Popen(
        [*COMMAND, *["bench", "--only", "leader-64", "gap", "--rounds", "1", "--seconds", "1"]],
        stdout=theirs, stderr=subprocess.DEVNULL, env=os.environ | {"TERM": "xterm"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    try:
        while True:
            try:
                shown += os.read(ours, 65536)
            except OSError:  # EIO: nobody holds the other end any more
                break
        assert started.wait(30) == 0
    finally:
        started.kill()
        os.close(ours)
    live, _, left = shown.partition(END.encode())
    assert live.startswith(BEGIN.encode())
    assert b"1 of 2 runs" in live
    assert b"% of a core, all members" in live
    assert re.search(rb"calls/s +[\d,]+  ", live)
    assert b"medians of 1" in left
    assert b"\x1b" not in left


def test_simulate_runs_seeds_and_gives_its_figures():
    done = run([*COMMAND, "simulate", "--seeds", "4", "--profile", "network,disk", "--json"])
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["runs"] == 4
    assert figures["failures"] == 0
    for name in ("cluster_hours", "events", "faults", "elections", "checked_calls"):
        assert figures[name] > 0, name


def test_simulate_replays_a_token_as_a_story():
    plan = replace(draw_plan(3, "network"), chaos=2.0)
    done = run([*COMMAND, "simulate", "--replay", plan.token()])
    assert done.returncode == 0, done.stdout + done.stderr
    assert "leads" in done.stdout
    assert "and all was well" in done.stdout


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ("--profile everything", "none of all"), ("--time soon", "no time"),
        ("--replay abc", "no replay token"), ("--jobs -1", "from 1 on"),
        ("--seeds 0", "from 1 on"), ("--time 0", "no time for a run"),
        ("--profile disk,", "separate several"),
    ],
)  # fmt: skip
def test_simulate_refuses_what_it_does_not_know(options, why):
    done = run([*COMMAND, "simulate", *options.split()])
    assert done.returncode == 2
    assert why in done.stderr


def test_ctrl_c_ends_a_campaign_with_its_figures_and_status_130():
    options = ["--time", "300s", "--jobs", "1", "--profile", "calm", "--json"]
    campaign = subprocess.Popen(
        [*COMMAND, "simulate", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=hear_signals,
    )  # fmt: skip
    try:
        # The first progress is said after ten seconds.
        assert "runs" in campaign.stderr.readline()
        campaign.send_signal(signal.SIGINT)
        figures, errors = campaign.communicate(timeout=30)
    finally:
        campaign.kill()
    assert campaign.returncode == 130, errors
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert json.loads(figures)["runs"] > 0


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize(
    ("ending", "status"),
    [
        (signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129),
        (signal.SIGKILL, -signal.SIGKILL),
    ],
)  # fmt: skip
def test_an_interrupted_or_killed_demo_leaves_no_process_behind(ending, status):
    demo = subprocess.Popen(
        DEMO,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=hear_signals,
    )
    try:
        for line in demo.stdout:
            if "leads" in line:
                break
        members = children(demo.pid)
        assert len(members) == 3
        demo.send_signal(ending)
        _, errors = demo.communicate(timeout=30)
    finally:
        demo.kill()
    assert demo.returncode == status, errors
    assert "Traceback" not in errors
    deadline = time.monotonic() + 20
    while any(map(is_member, members)):
        assert time.monotonic() < deadline, f"left behind: {members}"
        time.sleep(0.05)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_demo_that_is_ended_shows_the_cursor_again(ending):
    """And its members are gone by then: it ended them, and did not leave that to the pipes."""
    ours, theirs = os.openpty()
    demo = subprocess.Popen(
        [*COMMAND, "demo", "--seconds", "0.6"],
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TERM": "xterm"},
        preexec_fn=hear_signals,
    )
    os.close(theirs)
    shown = b""
    members = []
    try:
        while True:
            try:
                more = os.read(ours, 65536)
            except OSError:         # EIO: nobody holds the other end any more
                break
            shown += more
            if not members and b"leads" in shown:
                members = children(demo.pid)
                demo.send_signal(ending)
        status = demo.wait(30)
    finally:
        demo.kill()
        os.close(ours)
    assert status == 128 + ending
    assert shown.count(HIDE_CURSOR) == 1, shown
    assert shown.rindex(SHOW_CURSOR) > shown.rindex(HIDE_CURSOR), shown
    assert len(members) == 3
    assert not any(map(is_member, members))


def hear_signals():
    """A shell's background jobs ignore Ctrl-C, and so would what the tests start from one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def children(parent):
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                with open(f"/proc/{entry}/stat") as stat:
                    fields = stat.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry))
    return found


def is_member(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as line:
            return "syncstructs.cli.member" in line.read()
    except OSError:
        return False
