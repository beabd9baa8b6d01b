"""`syncstructs demo`: three servers under load lose their leader, and the books are checked.

What is shown is what happened: the members are processes, the leader dies by SIGKILL in the middle
of its calls, and the verdict compares what members were told with what the cluster holds.
"""

import argparse
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

from .channel import Line
from .evidence import OBJECTS, Evidence, FinalState, Finding, judge_digests
from .processes import LocalCluster, MemberError, MemberGone, MemberProcess
from .views import Row, View, open_view

LOAD = "syncstructs.cli.demo_load:DemoLoad"
CONTENTS = "syncstructs.cli.demo_load:FinalContents"
REPLICATED: dict[str, tuple[str, list[Any]]] = {
    "users": ("syncstructs:ReplDict", []),
    "hits": ("syncstructs:ReplCounter", []),
    "jobs": ("syncstructs:ReplQueue", []),
    "lock": ("syncstructs:ReplLock", []),
    "ledger": ("syncstructs.cli.demo_load:Ledger", []),
}
CONFIG = {"session_ttl": 2.0}
"""Short, so that the lock of a killed holder is free again while one watches."""

REFRESH_INTERVAL = 0.2
READY_TIMEOUT = 30.0
STEP_TIMEOUT = 30.0
"""Seconds that any one step (election, restart, end of the load, proof) may take."""


class DemoFailed(Exception):
    """A step did not come about; the message says which."""


class Demo:
    """One run: the cluster, what its members reported, and the story told on the view."""

    def __init__(self, view: View, *, seconds: float, data_dir: Path | None) -> None:
        self._view = view
        self._seconds = seconds
        self._lock = threading.Lock()
        self._evidence = Evidence()
        self._answered: defaultdict[str, list[float]] = defaultdict(list)
        self._failures: list[str] = []
        self._lives: Counter[str] = Counter()
        self._rates: dict[str, tuple[float, int, float]] = {}
        self._restarted_at = 0.0
        self._durable = data_dir is not None
        self._cluster = LocalCluster(
            3, objects=REPLICATED, config=CONFIG, data_dir=data_dir, on_event=self._on_event
        )

    def run(self) -> bool:
        """Play the demo and return whether the proof holds.

        Raises:
            DemoFailed: a step did not come about in time.
        """
        with self._cluster:
            self._start()
            self._watch(self._seconds)
            killed, killed_at = self._kill_leader()
            self._watch(self._seconds)
            self._restart(killed)
            self._watch(self._seconds)
            self._stop_load()
            findings = self._prove()
            findings.append(self._judge_outage(killed, killed_at))
            for finding in findings:
                self._view.say(f"{finding.claim}: {finding.figures}", good=finding.holds)
        return all(finding.holds for finding in findings)

    def _start(self) -> None:
        where = "on disk" if self._durable else "in memory"
        self._view.say(f"starting three servers on loopback, {where}")
        for setup in self._cluster.setups:
            self._cluster.launch(setup.name)
        self._ready(self._cluster.alive)
        leader = self._cluster.wait_leader(STEP_TIMEOUT)
        self._view.say(f"{leader.name} leads; all three write to dict, counter, queue and lock")
        for member in self._cluster:
            self._start_load(member)

    def _kill_leader(self) -> tuple[MemberProcess, float]:
        leader = self._cluster.wait_leader(STEP_TIMEOUT)
        killed_at = time.monotonic()
        leader.kill()
        self._view.say(f"killed {leader.name}, the leader, with SIGKILL under load", good=False)

        def elected() -> bool:
            found = self._cluster.leader()
            return found is not None and found is not leader

        self._wait(elected, "no new leader")
        successor = self._cluster.wait_leader(STEP_TIMEOUT)
        term = self._cluster.statuses()[successor.name]["term"]
        self._view.say(f"{successor.name} is the new leader, in term {term}", good=True)
        return leader, killed_at

    def _restart(self, killed: MemberProcess) -> None:
        how = "its data directory" if self._durable else "nothing: it held all in memory"
        self._view.say(f"restarting {killed.name} with {how}")
        self._restarted_at = time.monotonic()
        member = self._cluster.launch(killed.name)
        self._ready([member])
        self._view.say(f"{member.name} is back and has caught up", good=True)
        self._start_load(member)

    def _stop_load(self) -> None:
        self._view.say("stopping the load; every call still under way ends first")
        answers = [m.ask("stop", timeout=STEP_TIMEOUT) for m in self._cluster.alive]
        if not all(self._answers(answers, "the load did not end")):
            raise DemoFailed("the load did not end in time")

    def _prove(self) -> list[Finding]:
        members = self._cluster.alive
        if len(members) != 3:
            raise DemoFailed(f"only {len(members)} members are alive at the end")
        barriers = [m.ask("barrier", timeout=STEP_TIMEOUT) for m in members]
        self._answers(barriers, "no barrier")
        finding = self._compare_digests()
        contents = members[0].request(
            "run", load=CONTENTS, options={}, within=STEP_TIMEOUT
        )
        with self._lock:
            failures = [Finding("no load failed", False, text) for text in self._failures]
            verdicts = self._evidence.judge(FinalState(**contents))
        return [*failures, finding, *verdicts]

    def _compare_digests(self) -> Finding:
        deadline = time.monotonic() + STEP_TIMEOUT
        while True:
            statuses = self._cluster.statuses(digests=True)
            finding = judge_digests(
                {
                    name: {o: status["objects"].get(o, {}).get("digest") for o in OBJECTS}
                    for name, status in statuses.items()
                }
            )
            if (finding.holds and len(statuses) == 3) or time.monotonic() > deadline:
                return finding
            # A member that is a few entries behind catches up; a diverged one never does.
            time.sleep(0.1)

    def _judge_outage(self, killed: MemberProcess, killed_at: float) -> Finding:
        """Return the longest time that a survivor's calls went unanswered around the kill."""
        gaps: list[float] = []
        with self._lock:
            for who, times in self._answered.items():
                if who.startswith(f"{killed.name}/"):
                    continue
                gaps.append(
                    max(
                        (b - a for a, b in pairwise(times) if killed_at <= b <= self._restarted_at),
                        default=-1.0,
                    )
                )
        return Finding(
            "service went on after the kill",
            bool(gaps) and min(gaps) >= 0,
            f"time without service {max(gaps, default=0.0):.3f} s"
            " (longest wait of a survivor between two acknowledgements)",
        )

    def _start_load(self, member: MemberProcess) -> None:
        self._lives[member.name] += 1
        who = f"{member.name}/{self._lives[member.name]}"
        self._answers([member.ask("start", load=LOAD, options={"who": who})], "no load")

    def _ready(self, members: Sequence[MemberProcess]) -> None:
        answers = [member.ask("wait_ready", timeout=READY_TIMEOUT) for member in members]
        self._wait(lambda: all(answer.done() for answer in answers), "a member is not ready")
        self._answers(answers, "a member is not ready")

    def _answers(self, answers: Sequence[Any], trouble: str) -> list[Any]:
        deadline = time.monotonic() + STEP_TIMEOUT + 5
        try:
            return [a.result(max(0.0, deadline - time.monotonic())) for a in answers]
        except (MemberError, MemberGone, TimeoutError) as error:
            raise DemoFailed(f"{trouble}: {error}") from error

    def _watch(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._refresh()
            time.sleep(min(REFRESH_INTERVAL, max(0.0, deadline - time.monotonic())))

    def _wait(self, condition: Callable[[], bool], trouble: str) -> None:
        deadline = time.monotonic() + STEP_TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                raise DemoFailed(f"{trouble} within {STEP_TIMEOUT:.0f} s")
            self._refresh()
            time.sleep(0.02)

    def _refresh(self) -> None:
        statuses = self._cluster.statuses(within=1.0)
        self._view.show([self._row(setup.name, statuses) for setup in self._cluster.setups])

    def _row(self, name: str, statuses: dict[str, Line]) -> Row:
        member = self._cluster.members[name]
        status = statuses.get(name, {})
        with self._lock:
            counted = self._evidence.acknowledged
            acknowledged = sum(n for who, n in counted.items() if who.startswith(f"{name}/"))
        return Row(
            name=name,
            address=member.address,
            state="dead" if not member.alive else status.get("role", "starting"),
            term=status.get("term", 0),
            commit_index=status.get("commit_index", 0),
            applied_index=status.get("applied_index", 0),
            acknowledged=acknowledged,
            rate=self._rate(name, acknowledged),
        )

    def _rate(self, name: str, acknowledged: int) -> float:
        now = time.monotonic()
        since, before, rate = self._rates.get(name, (now, acknowledged, 0.0))
        if now - since >= 0.5:
            rate = (acknowledged - before) / (now - since)
            since, before = now, acknowledged
        self._rates[name] = (since, before, rate)
        return rate

    def _on_event(self, member: MemberProcess, line: Line) -> None:
        """Take in a report; called by the members' reading threads."""
        with self._lock:
            self._evidence.record(line)
            if line["event"] == "end" and line["at"]:
                self._answered[line["who"]].append(line["at"])
            elif line["event"] in ("failed", "load failed"):
                self._failures.append(f"{member.name}: {line['type']}: {line['message']}")


def add_parser(commands: Any) -> None:
    """Add `demo` to the command line."""
    parser: argparse.ArgumentParser = commands.add_parser(
        "demo",
        help="three servers under load lose their leader; ends with the proof that nothing is lost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--data-dir",
        type=Path,
        metavar="DIR",
        help="keep the members' logs and snapshots in DIR (empty or absent); default: in memory",
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.0,
        help="load before the kill, after it, and after the restart, each (default: %(default)s)",
    )
    parser.add_argument("--plain", action="store_true", help="plain lines even in a terminal")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the demo and return 0 if the proof holds, else 1."""
    data_dir: Path | None = options.data_dir
    if data_dir is not None:
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            why = error.strerror or error
            sys.stderr.write(f"syncstructs demo: {data_dir} cannot be made a directory: {why}\n")
            return 2
        if any(data_dir.iterdir()):
            sys.stderr.write(f"syncstructs demo: {data_dir} is not empty; give a new directory\n")
            return 2
        data_dir = data_dir.resolve()
    view = open_view(plain=options.plain)
    holds = False
    try:
        holds = Demo(view, seconds=options.seconds, data_dir=data_dir).run()
        text = "the proof holds" if holds else "THE PROOF DOES NOT HOLD"
        view.say(text, good=holds)
    except (DemoFailed, MemberGone, MemberError, TimeoutError) as error:
        view.say(f"the demo could not be played to its end: {error}", good=False)
    finally:
        with suppress(Exception):
            view.close()
    return 0 if holds else 1
