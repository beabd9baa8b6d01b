"""The command line: its arguments, the verdict of the demo, the figures of the benchmark."""

import io
import os
import subprocess
import sys
import threading
from array import array
from pathlib import Path

import pytest

from syncstructs.cli import processes
from syncstructs.cli.bench import CALLS, LOADS, MEASURES, shape_of, summarize
from syncstructs.cli.bench_load import Chains, Load, percentile, report, write_blocking
from syncstructs.cli.channel import Channel, Setup
from syncstructs.cli.evidence import Evidence, FinalState, judge_digests, value_of
from syncstructs.cli.main import build_parser, main
from syncstructs.cli.member import resolve
from syncstructs.cli.processes import (
    PORTS,
    LocalCluster,
    MemberGone,
    MemberProcess,
    free_addresses,
    ports_to_try,
)

BENCH_DIR = Path(__file__).parents[1] / "bench"


def begin(who="m1/1", number=0, *, keys=("k1", "k2"), increments=2, jobs=("j1",), takes=1):
    return {
        "event": "begin",
        "who": who,
        "round": number,
        "keys": list(keys),
        "increments": increments,
        "jobs": list(jobs),
        "takes": takes,
    }


def end(who="m1/1", number=0, *, keys=("k1", "k2"), increments=(1, 2), jobs=("j1",), taken=()):
    return {
        "event": "end",
        "who": who,
        "round": number,
        "at": 1.0,
        "keys": list(keys),
        "increments": list(increments),
        "jobs": list(jobs),
        "taken": list(taken),
        "refused": 0,
        "unknown": {"keys": [], "increments": 0, "jobs": [], "takes": 0},
    }


def final(users=("k1", "k2"), hits=2, jobs=("j1",), ledger=()):
    return FinalState(
        users={key: value_of(key) for key in users}, hits=hits, jobs=jobs, ledger=ledger
    )


def verdict(lines, state):
    """Return which of the four claims hold: dict, counter, queue, lock."""
    evidence = Evidence()
    for line in lines:
        evidence.record(line)
    return [finding.holds for finding in evidence.judge(state)]


def test_the_verdict_holds_when_everything_acknowledged_is_there():
    assert verdict([begin(), end()], final()) == [True] * 4


def test_an_acknowledged_write_that_is_missing_or_altered_breaks_the_proof():
    assert not verdict([begin(), end()], final(users=["k1"]))[0]
    altered = FinalState(users={"k1": value_of("k1"), "k2": "x"}, hits=2, jobs=["j1"], ledger=[])
    assert not verdict([begin(), end()], altered)[0]


def test_a_key_that_nobody_wrote_breaks_the_proof():
    assert not verdict([begin(), end()], final(users=["k1", "k2", "k9"]))[0]


@pytest.mark.parametrize("hits", [1, 3])
def test_an_increment_lost_or_counted_twice_breaks_the_proof(hits):
    assert not verdict([begin(), end()], final(hits=hits))[1]


def test_two_increments_with_the_same_result_break_the_proof():
    assert not verdict([begin(), end(increments=[2, 2])], final())[1]


@pytest.mark.parametrize(("hits", "holds"), [(1, False), (2, True), (4, True), (5, False)])
def test_calls_of_a_killed_member_may_or_may_not_have_been_applied(hits, holds):
    # The second round was announced and never reported: at most its two increments may count.
    lines = [begin(), end(), begin(number=1, keys=["k3"], jobs=["j2"])]
    assert verdict(lines, final(hits=hits))[1] is holds
    assert verdict(lines, final(users=["k1", "k2", "k3"], jobs=["j1", "j2"]))[0::2] == [True, True]


def test_an_acknowledged_job_must_be_left_or_taken_and_only_once():
    assert verdict([begin(), end(taken=["j1"])], final(jobs=[]))[2]
    assert not verdict([begin(), end()], final(jobs=[]))[2]
    assert not verdict([begin(), end(taken=["j1"])], final(jobs=["j1"]))[2]


def test_a_job_may_be_missing_only_if_a_take_is_unknown():
    lines = [begin(), end(), begin(number=1, keys=[], increments=0, jobs=[], takes=1)]
    assert verdict(lines, final(jobs=[]))[2]


def test_a_token_given_twice_or_a_ledger_out_of_order_breaks_the_proof():
    grant = {"event": "grant", "who": "m1/1", "token": 7, "at": 1.0}
    other = {**grant, "who": "m2/1"}
    assert verdict([begin(), end(), grant], final(ledger=[(7, "m1/1"), (9, "m2/1")]))[3]
    assert not verdict([begin(), end(), grant, other], final(ledger=[(7, "m1/1")]))[3]
    assert not verdict([begin(), end()], final(ledger=[(9, "m2/1"), (7, "m1/1")]))[3]


def test_members_with_different_digests_break_the_proof():
    equal = {"m1": {"users": 1, "hits": 2}, "m2": {"users": 1, "hits": 2}}
    assert judge_digests(equal).holds
    finding = judge_digests({**equal, "m3": {"users": 1, "hits": 3}})
    assert not finding.holds
    assert "hits" in finding.figures
    assert not judge_digests({}).holds


def test_percentiles_are_those_of_the_sorted_values():
    ordered = [n / 1000 for n in range(1, 101)]
    assert percentile(ordered, 0.50) == 50.0
    assert percentile(ordered, 0.99) == 99.0
    assert percentile(ordered, 1.0) == 100.0
    assert percentile([], 0.5) is None


def test_the_summary_takes_medians_and_adds_up_failures():
    rounds = [
        {**report(count, 1.0, array("d", [0.001]), total=count), "cpu_seconds_per_million": 1.0}
        for count in (10, 30, 20)
    ]
    rounds[0]["failed"] = rounds[1]["failed"] = 1
    assert summarize(rounds)["ops_per_second"] == 20.0
    assert summarize(rounds)["failed"] == 2


def test_chains_keep_exactly_the_window_under_way():
    under_way: list = []
    most = 0

    def submit(key, value, ended):
        nonlocal most
        under_way.append(ended)
        most = max(most, len(under_way))

    chains = Chains(submit, window=8, value_bytes=10)
    finished = threading.Event()

    def answer():
        while not finished.is_set():
            if under_way:
                under_way.pop(0)(None)

    thread = threading.Thread(target=answer)
    thread.start()
    figures = chains.run(seconds=0.05, warmup=0.01)
    finished.set()
    thread.join()
    assert most == 8
    assert figures["lost"] == 0
    assert 0 < figures["count"] <= figures["total"]


def test_chains_report_calls_that_failed_and_calls_that_were_refused():
    def refuse(key, value, ended):
        raise RuntimeError("refused")

    figures = Chains(refuse, window=3, value_bytes=1).run(seconds=0.01, warmup=0.0)
    assert figures["failed"] == figures["total"] == 3
    assert "refused" in figures["note"]
    assert figures["lost"] == 0


def test_calls_that_failed_are_not_counted_as_done():
    def fail(key, value, ended):
        threading.Timer(0.001, ended, (RuntimeError("failed"),)).start()

    figures = Chains(fail, window=2, value_bytes=1).run(seconds=0.05, warmup=0.0)
    assert figures["count"] == 0
    assert figures["p50_ms"] is None
    assert figures["failed"] == figures["total"] > 0


def test_the_blocking_load_writes_values_of_the_given_size():
    written = []
    figures = write_blocking(
        lambda key, value: written.append(value), seconds=0.01, warmup=0.0, value_bytes=7
    )
    assert set(written) == {b"x" * 7}
    assert figures["total"] == len(written)


def test_a_channel_carries_lines_and_drops_a_torn_last_one():
    stream = io.BytesIO()
    Channel(io.BytesIO(), stream).send({"id": 1, "value": {"x": (1, b"\x00"), "s": {2, 1}}})
    channel = Channel(io.BytesIO(stream.getvalue() + b'{"id": 2'), io.BytesIO())
    assert channel.receive() == {"id": 1, "value": {"x": [1, "00"], "s": [1, 2]}}
    assert channel.receive() is None


def test_free_addresses_are_different(monkeypatch):
    assert len(set(free_addresses(20))) == 20
    # Nobody listens on the first ones yet as the next are drawn.
    ports = ports_to_try()[:50]
    monkeypatch.setattr(processes, "ports_to_try", lambda: ports)
    assert len({*free_addresses(6), *free_addresses(6)}) == 12


def test_processes_whose_ids_follow_one_another_choose_among_other_ports(monkeypatch):
    tried = []
    for one in range(12):
        monkeypatch.setattr("os.getpid", lambda one=one: 7_777 + one)
        tried += ports_to_try()
    assert sorted(tried) == list(PORTS)


def test_a_member_that_cannot_start_is_gone_with_what_it_logged():
    command = [sys.executable, "-c", "import sys; sys.exit('no such thing')"]
    setup = Setup(address="127.0.0.1:1", peers=[], name="m1", objects={})
    member = MemberProcess(setup, command=command)
    with pytest.raises(MemberGone, match="no such thing"):
        member.request("status")
    member.close()
    assert not member.alive


def test_closing_a_cluster_ends_a_member_that_does_not_answer():
    # It reads nothing and ignores SIGTERM: only SIGKILL ends it.
    body = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
    cluster = LocalCluster(1, objects={}, command=[sys.executable, "-c", body])
    member = cluster.launch("m1")
    member.close(timeout=0.05)
    assert not member.alive
    with pytest.raises(ProcessLookupError):
        os.kill(member.pid, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_what_ends_the_block_of_a_cluster_tells_how_the_members_were():
    body = """
import os
import threading
from syncstructs.cli import member
def never_ending(self, **options):
    threading.Event().wait()
# The first of them.
if os.environ["PYTHONHASHSEED"] == "1":
    member.Member._do_status = never_ending
member.main()
"""
    objects = {"n": ("syncstructs:ReplCounter", [])}
    cluster = LocalCluster(3, objects=objects, command=[sys.executable, "-c", body])

    def go_wrong():
        with cluster:
            cluster.start(60)
            cluster.members["m2"].kill()
            raise KeyError("what went wrong")

    with pytest.raises(KeyError) as caught:
        go_wrong()
    (note,) = caught.value.__notes__
    first, second, third = (note.index(f"{name} at 127.0.0.1:") for name in ("m1", "m2", "m3"))
    assert "no status" in note[first:second]
    assert "in never_ending" in note[first:second]
    assert "it has ended" in note[second:third]
    assert "'term': " in note[third:]


def test_version_and_help_of_both_ways_to_start():
    for arguments in (["-m", "syncstructs", "--version"], ["-m", "syncstructs", "demo", "--help"]):
        done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "syncstructs" in done.stdout


@pytest.mark.parametrize(
    "arguments", [[], ["bench", "--window", "0"], ["bench", "--at", "nowhere"], ["demo", "extra"]]
)
def test_wrong_usage_exits_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "usage:" in capsys.readouterr().err


def test_demo_refuses_a_directory_that_is_not_empty(tmp_path, capsys):
    (tmp_path / "precious").write_text("x")
    assert main(["demo", "--data-dir", str(tmp_path)]) == 2
    assert "not empty" in capsys.readouterr().err
    assert [entry.name for entry in tmp_path.iterdir()] == ["precious"]


def test_ctrl_c_gives_status_130(monkeypatch, capsys):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr("syncstructs.cli.demo.run", interrupted)
    assert main(["demo"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_bench_defaults_are_those_of_the_comparison():
    shape = shape_of(CALLS, build_parser().parse_args(["bench"]))
    assert (shape.members, shape.window, shape.at, shape.value_bytes) == (3, 1024, "leader", 10)
    assert not shape.blocking
    assert not shape.disk


def test_every_measure_of_the_bench_can_be_run():
    options = build_parser().parse_args(["bench"])
    for each in MEASURES:
        if each.name in LOADS:
            assert issubclass(resolve(LOADS[each.name]), Load)
        elif each.name != "gap":
            assert shape_of(each.name, options).disk == each.disk


def test_the_bench_scripts_print_their_help():
    script = str(BENCH_DIR / "compare.py")
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--strict" in done.stdout
