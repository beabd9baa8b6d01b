"""A cluster of processes under load and faults: start, wait for progress, restart, and judge."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from journals import ENDED, collect
from judging import judge

from syncstructs.cli.processes import LocalCluster, MemberProcess

ROUNDS = max(1, int(os.environ.get("SYNCSTRUCTS_CLUSTER_ROUNDS", "1")))
"""How many times as many faults each test of members as processes injects; 1 by default."""

CONFIG = {"session_ttl": 1.5, "call_timeout": 1.0}
PATIENCE = 40.0
"""Seconds in which anything that must happen does, on the slowest machine."""
_POLL = 0.01


def wait_until(condition: Any, what: str, patience: float = PATIENCE) -> Any:
    """Return the first true value of `condition()`.

    Raises:
        AssertionError: there is none within `patience` seconds.
    """
    deadline = time.monotonic() + patience
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        time.sleep(_POLL)
    return value


class Campaign:
    """The load on a cluster, life by life of its members, and what came of it."""

    def __init__(
        self, cluster: LocalCluster, directory: Path, *, seed: int | None = None, threads: int = 4
    ) -> None:
        self.cluster = cluster
        self.seed = random.randrange(10**6) if seed is None else seed
        self.random = random.Random(self.seed)
        print(f"seed {self.seed}")
        self._directory = directory
        self._threads = threads
        self._lives: dict[str, int] = {}
        self._read: dict[Path, tuple[int, int]] = {}
        directory.mkdir(parents=True, exist_ok=True)

    def start(self) -> None:
        """Start the members that do not run, and the load of those; return when they are ready."""
        down = [s.name for s in self.cluster.setups if not self._runs(s.name)]
        self.cluster.start(PATIENCE)
        for name in down:
            self.start_load(name)

    def start_load(self, name: str) -> None:
        """Start the load of one member, which has just been started."""
        self._lives[name] = self._lives.get(name, 0) + 1
        options = {
            "directory": str(self._directory),
            "who": f"{name}.{self._lives[name]}",
            "seed": self.random.randrange(10**6),
            "threads": self._threads,
        }
        self.cluster.members[name].request(
            "start", load="member_history:HistoryLoad", options=options
        )

    def progress(self, count: int, on: Iterable[MemberProcess] | None = None) -> None:
        """Return once `count` more calls are acknowledged, or so many on each member of `on`."""
        if on is None:
            wanted = self.acknowledged() + count
            wait_until(lambda: self.acknowledged() >= wanted, "more acknowledged calls")
            return
        goals = {member.name: self.acknowledged(member.name) + count for member in on}
        for name, goal in goals.items():
            wait_until(
                lambda name=name, goal=goal: self.acknowledged(name) >= goal,
                f"more acknowledged calls on {name}",
            )

    def acknowledged(self, name: str | None = None) -> int:
        """Return how many calls were acknowledged so far, on all members or on one."""
        total = 0
        for path in self._directory.glob("*.jsonl" if name is None else f"{name}.*.jsonl"):
            offset, count = self._read.get(path, (0, 0))
            with open(path, "rb") as file:
                file.seek(offset)
                piece = file.read()
            end = piece.rfind(b"\n") + 1
            count += piece.count(ENDED, 0, end)
            self._read[path] = offset + end, count
            total += count
        return total

    def wait_other_leader(self, old: MemberProcess) -> MemberProcess:
        """Return the leader once it is another member than `old`."""

        def found() -> MemberProcess | None:
            leader = self.cluster.leader()
            return leader if leader is not old else None

        leader: MemberProcess = wait_until(found, f"a leader other than {old.name}")
        return leader

    def kill(self, victims: Iterable[MemberProcess]) -> None:
        """Kill members, as much in one moment as can be."""
        chosen = list(victims)
        for member in chosen:
            member._process.kill()
        for member in chosen:
            member.kill()

    def freeze(self, victims: Iterable[MemberProcess]) -> None:
        """Stop members for good; return when no thread of theirs can act on anything any more."""
        chosen = list(victims)
        for member in chosen:
            member.pause()
        for member in chosen:
            wait_until(lambda member=member: _is_still(member.pid), f"{member.name} stands still")

    def finish(self) -> None:
        """After the last fault: see everything go on, end the load, and judge.

        Raises:
            AssertionError: a member makes no progress, a call never ends, members differ, or the
                history is not one of a cluster without faults.
        """
        self.start()
        self.progress(10, on=self.cluster)
        stopping = [member.ask("stop", timeout=PATIENCE) for member in self.cluster]
        assert all(stopped.result(PATIENCE + 5) for stopped in stopping), "a call never ended"
        self._see_equal()
        reader = self.random.choice(list(self.cluster))
        self._run(reader, "LastReadings", directory=str(self._directory))
        self._see_equal()
        print(judge(collect(self._directory)))

    def _see_equal(self) -> None:
        """See that the members' objects are equal, at one place of the log that all reach."""
        for member in self.cluster:
            member.request("barrier", timeout=PATIENCE, within=PATIENCE + 5)

        def at_one_index() -> dict[str, Any] | None:
            found = {member.name: self._run(member, "States") for member in self.cluster}
            return found if len({each["index"] for each in found.values()}) == 1 else None

        states = [each["states"] for each in wait_until(at_one_index, "one index").values()]
        for name, state in states[0].items():
            assert all(each[name] == state for each in states), (
                f"members differ in {name!r}: {[each[name] for each in states]}"
            )

    def _run(self, member: MemberProcess, load: str, **options: Any) -> Any:
        return member.request(
            "run", load=f"member_history:{load}", options=options, within=PATIENCE
        )

    def _runs(self, name: str) -> bool:
        return name in self.cluster.members and self.cluster.members[name].alive


def _is_still(pid: int) -> bool:
    """Return whether each thread has stopped, or will when the system call it is in has ended."""
    stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return all(stat.rpartition(")")[2].split()[0] in "TtD" for stat in stats)
