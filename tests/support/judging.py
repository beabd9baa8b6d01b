"""Judge the histories of members as processes: with the checkers of `syncstructs.testing`.

Only which model an object has is known here, and a count of unique values: what was acknowledged
is there once, what was refused is not. Each history ends with readings of all that there is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from msgspec.structs import replace

from syncstructs.testing.history import NOT_APPLIED, UNKNOWN, History, Op, Raised
from syncstructs.testing.linearizability import Verdict, check
from syncstructs.testing.lockmodel import LockModel
from syncstructs.testing.models import (
    CounterModel,
    DictModel,
    ListModel,
    SetModel,
)
from syncstructs.testing.queuemodels import PriorityQueueModel, QueueModel
from syncstructs.testing.sequential import Model


class GrowingList(ListModel):
    """A list of unique elements, which its longest copy has in the order of their appends."""

    def hidden_order(self, ops: Sequence[Op]) -> Mapping[int, tuple[float, float]]:
        """Return each append's place in that copy; what is not in it came later, if ever."""
        copies = [op.outcome for op in ops if isinstance(op.outcome, list)]
        places = {mark: place for place, mark in enumerate(max(copies, key=len, default=[]))}
        appends = [op for op in ops if op.method == "append"]
        return {op.id: (places.get(op.args[0], inf),) * 2 for op in appends}


class DrainedQueue(QueueModel):
    """A queue that was emptied at the end, so that it is known of most items who got them."""

    def hidden_order(self, ops: Sequence[Op]) -> Mapping[int, tuple[float, float]]:
        """Order the puts of the items that somebody certainly got."""
        return super().hidden_order(followed(ops))

    def excerpts(self, ops: Sequence[Op]) -> Iterator[list[Op]]:
        """Yield what is wrong with items that somebody certainly got."""
        return super().excerpts(followed(ops))


def followed(ops: Sequence[Op]) -> list[Op]:
    """Return the calls of a queue, without items of which nobody knows who got them.

    If the whole can be explained, then so can this.
    """
    got = {op.outcome for op in ops if op.method.startswith("get")}
    return [
        op
        for op in ops
        if not op.method.startswith("put") or op.args[0] in got
        if not op.method.startswith("get") or op.outcome is not UNKNOWN
    ]


MODELS: dict[str, Model] = {
    "hits": CounterModel(),
    "users": DictModel(),
    "seen": GrowingList(),
    "flags": SetModel(),
    "jobs": DrainedQueue(),
    "waits": DrainedQueue(),
    "ranked": PriorityQueueModel(),
    "door": LockModel(expiry=True),
}
WRITES = ("append", "put", "put_nowait")
"""Methods whose argument is unique to the call."""
QUEUES = ("jobs", "waits", "ranked")
BUDGET = 100_000
"""Steps of the search for each object."""


@dataclass(frozen=True)
class Judged:
    """What judging has found, where it found nothing wrong."""

    outcomes: Counter[str]
    """How many calls ended how."""
    undecided: tuple[str, ...]
    """Queues where calls of unknown outcome left too many orders to search them all."""

    def __str__(self) -> str:
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(self.outcomes.items()))
        return f"{told}; undecided: {', '.join(self.undecided) or 'none'}"


def judge(histories: dict[str, History]) -> Judged:
    """Judge what all clients saw, the last readings included.

    Raises:
        AssertionError: it cannot have been so; the message shows the smallest part that cannot.
    """
    each_once("seen", appended(histories["seen"]))
    in_program_order(histories["seen"])
    for name in QUEUES:
        each_once(name, put_and_got(histories[name]))
    undecided = []
    for name, history in histories.items():
        ops = with_ends(history)
        result = check(ops, MODELS[name], budget=BUDGET)
        if result.verdict is Verdict.UNDECIDED and name in QUEUES:
            undecided.append(name)
            if name == "waits":
                # A wait that was given up may have taken any item, and have put it back.
                continue
            result = check(followed(ops), MODELS[name], budget=BUDGET)
        assert result.ok, f"{name!r} is {result}"
    kinds = Counter(_kind(op) for history in histories.values() for op in history)
    return Judged(kinds, tuple(undecided))


def with_ends(history: History) -> list[Op]:
    """Return the calls; writes of unknown outcome whose values were seen had happened by then."""
    seen: dict[Any, float] = {}
    for op in history:
        if _kind(op) == "returned":
            for value in op.outcome if isinstance(op.outcome, list) else [op.outcome]:
                seen[value] = min(op.end, seen.get(value, inf))
    return [
        replace(op, end=seen[op.args[0]])
        if op.outcome is UNKNOWN and op.method in WRITES and op.args[0] in seen
        else op
        for op in history
    ]


def _kind(op: Op) -> str:
    if isinstance(op.outcome, Raised):
        return "raised"
    if op.outcome is NOT_APPLIED:
        return "not applied"
    return "unknown" if op.outcome is UNKNOWN else "returned"


@dataclass
class Ledger:
    """Unique values that were written, by how that ended, and those that were found."""

    written: set[Any]
    refused: set[Any]
    unknown: set[Any]
    found: Counter[Any]
    lost: int = 0
    """How many of `written` may be missing: of those who took them, nobody knows what they saw."""


def appended(history: History) -> Ledger:
    """Return what was appended to a list, and what its last copy has."""
    copies = [op.outcome for op in history if isinstance(op.outcome, list)]
    assert copies, "the last reading is missing"
    return _ledger(history, "append", Counter(copies[-1]))


def in_program_order(history: History) -> None:
    """See that each client's appends took effect in the order in which it made them.

    Raises:
        AssertionError: they did not.
    """
    copies = [op.outcome for op in history if isinstance(op.outcome, list)]
    place = {mark: number for number, mark in enumerate(copies[-1])}
    latest: dict[Any, int] = {}
    for op in history:
        if op.method == "append" and op.args[0] in place:
            now = place[op.args[0]]
            before = latest.get(op.process, -1)
            assert before < now, f"{copies[-1][before]} was called before {op.args[0]}"
            latest[op.process] = now


def put_and_got(history: History) -> Ledger:
    """Return what was put into a queue, and what came out until it was found empty."""
    gets = [op for op in history if op.method.startswith("get")]
    assert _kind(gets[-1]) == "raised", f"the queue was not emptied at the end: {gets[-1]}"
    ledger = _ledger(history, "put", Counter(o.outcome for o in gets if _kind(o) == "returned"))
    ledger.lost = sum(op.outcome is UNKNOWN for op in gets)
    return ledger


def _ledger(history: History, method: str, found: Counter[Any]) -> Ledger:
    values: dict[str, set[Any]] = {"returned": set(), "not applied": set(), "unknown": set()}
    for op in history:
        if op.method.startswith(method):
            assert not isinstance(op.outcome, Raised), f"a write has no reason to raise: {op}"
            values[_kind(op)].add(op.args[0])
    return Ledger(values["returned"], values["not applied"], values["unknown"], found)


def each_once(name: str, ledger: Ledger) -> None:
    """See that each acknowledged write is found once (all but `lost`), and no refused one.

    Raises:
        AssertionError: it is not so.
    """
    twice = [value for value, count in ledger.found.items() if count > 1]
    assert not twice, f"{name!r} has applied twice: {twice[:5]}"
    found = ledger.found.keys()
    refused = sorted(ledger.refused & found)
    assert not refused, f"{name!r} has refused, and yet applied: {refused[:5]}"
    missing = sorted(ledger.written - found)
    assert len(missing) <= ledger.lost, (
        f"{name!r} has lost {len(missing)} acknowledged writes ({ledger.lost} may be): "
        f"{missing[:5]}"
    )
    invented = sorted(found - ledger.written - ledger.refused - ledger.unknown)
    assert not invented, f"{name!r} has what nobody wrote: {invented[:5]}"
