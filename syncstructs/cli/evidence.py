"""What the demo's members reported, and the verdict on the final state. Pure; no I/O, no clock.

Every round of calls is announced before it is sent and reported after it ended, each in a line of
its own on a pipe that survives the member. So of a member killed in between it is known what it may
have done (announced), and what it was told was done (reported): the first is a bound, the second a
promise that the final state must keep.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from .channel import Line

OBJECTS = ("users", "hits", "jobs", "ledger")
"""A dict, a counter, a queue, and the list of what the holders of the lock wrote down."""


@dataclass(frozen=True, kw_only=True)
class FinalState:
    """The objects' contents at the end, read on one member."""

    users: Mapping[str, str]
    hits: int
    jobs: Sequence[str]
    ledger: Sequence[tuple[int, str]]


@dataclass(frozen=True)
class Finding:
    """One claim, whether it holds, and the figures that show it."""

    claim: str
    holds: bool
    figures: str


@dataclass
class _Round:
    """Calls that were announced and not yet reported."""

    keys: list[str]
    increments: int
    jobs: list[str]
    takes: int


@dataclass
class Evidence:
    """Everything reported so far; `record` takes a line, `judge` gives the verdict."""

    rounds: dict[tuple[str, int], _Round] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    keys_unknown: set[str] = field(default_factory=set)
    increments: list[int] = field(default_factory=list)
    increments_unknown: int = 0
    jobs: set[str] = field(default_factory=set)
    jobs_unknown: set[str] = field(default_factory=set)
    taken: list[str] = field(default_factory=list)
    takes_unknown: int = 0
    tokens: list[int] = field(default_factory=list)
    refused: int = 0
    acknowledged: Counter[str] = field(default_factory=Counter)

    def record(self, line: Line) -> None:
        """Take in one line of a member's load; lines of other kinds are ignored."""
        if line.get("event") == "begin":
            self.rounds[line["who"], line["round"]] = _Round(
                line["keys"], line["increments"], line["jobs"], line["takes"]
            )
        elif line.get("event") == "end":
            del self.rounds[line["who"], line["round"]]
            self._record_end(line)
        elif line.get("event") == "grant":
            self.tokens.append(line["token"])
            self.acknowledged[line["who"]] += 1

    def _record_end(self, line: Line) -> None:
        unknown = line["unknown"]
        self.keys.update(line["keys"])
        self.keys_unknown.update(unknown["keys"])
        self.increments += line["increments"]
        self.increments_unknown += unknown["increments"]
        self.jobs.update(line["jobs"])
        self.jobs_unknown.update(unknown["jobs"])
        self.taken += line["taken"]
        self.takes_unknown += unknown["takes"]
        self.refused += line["refused"]
        self.acknowledged[line["who"]] += (
            len(line["keys"]) + len(line["increments"]) + len(line["jobs"]) + len(line["taken"])
        )

    def judge(self, state: FinalState) -> list[Finding]:
        """Return what the final state shows, claim by claim."""
        return [
            self._judge_dict(state.users),
            self._judge_counter(state.hits),
            self._judge_queue(state.jobs),
            self._judge_lock(state.ledger),
        ]

    def _judge_dict(self, users: Mapping[str, str]) -> Finding:
        open_keys = self.keys_unknown.union(*(set(r.keys) for r in self.rounds.values()))
        lost = {key for key in self.keys if users.get(key) != value_of(key)}
        invented = users.keys() - self.keys - open_keys
        return Finding(
            "dict: every acknowledged write is present, and nothing that nobody wrote",
            not lost and not invented,
            f"{len(self.keys)} acknowledged, {len(lost)} lost, {len(invented)} invented,"
            f" {len(open_keys)} unknown of which {len(open_keys & users.keys())} were applied",
        )

    def _judge_counter(self, hits: int) -> Finding:
        acknowledged = len(self.increments)
        open_count = self.increments_unknown + sum(r.increments for r in self.rounds.values())
        repeated = acknowledged - len(set(self.increments))
        return Finding(
            "counter: every acknowledged increment is counted exactly once",
            acknowledged <= hits <= acknowledged + open_count and not repeated,
            f"{acknowledged} acknowledged, counter at {hits}, {repeated} results seen twice,"
            f" {open_count} unknown of which {hits - acknowledged} were applied",
        )

    def _judge_queue(self, jobs: Sequence[str]) -> Finding:
        open_jobs = self.jobs_unknown.union(*(set(r.jobs) for r in self.rounds.values()))
        open_takes = self.takes_unknown + sum(r.takes for r in self.rounds.values())
        seen = Counter(self.taken) + Counter(jobs)
        twice = [job for job, count in seen.items() if count > 1]
        missing = len(self.jobs - seen.keys())
        invented = len(seen.keys() - self.jobs - open_jobs)
        return Finding(
            "queue: every acknowledged job is there or was taken, by one taker",
            not twice and not invented and missing <= open_takes,
            f"{len(self.jobs)} acknowledged, {len(self.taken)} taken, {len(jobs)} left,"
            f" {len(twice)} seen twice, {invented} invented, {missing} missing with"
            f" {open_takes} takes unknown",
        )

    def _judge_lock(self, ledger: Sequence[tuple[int, str]]) -> Finding:
        written = [token for token, _ in ledger]
        ordered = all(first < second for first, second in pairwise(written))
        shared = len(self.tokens) - len(set(self.tokens))
        return Finding(
            "lock: one holder per fencing token, and the tokens only grow",
            ordered and not shared,
            f"{len(self.tokens)} grants reported, {shared} tokens given twice,"
            f" {len(written)} entries of holders, {'in' if ordered else 'NOT in'} order",
        )


def judge_digests(digests: Mapping[str, Mapping[str, Any]]) -> Finding:
    """Return whether all members hold the same state; `digests` is member -> object -> digest."""
    members = list(digests.values())
    differing = sorted({n for m in members for n in m if any(o.get(n) != m[n] for o in members)})
    names = ", ".join(sorted(members[0])) if members else "nothing"
    return Finding(
        f"all {len(members)} members hold the same state",
        not differing and bool(members and members[0]),
        f"digests differ for {', '.join(differing)}" if differing else f"equal digests of {names}",
    )


def value_of(key: str) -> str:
    """Return the value that the load writes under `key`; the verdict compares with it."""
    return f"value of {key}"
