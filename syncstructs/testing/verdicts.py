"""What the histories of a run must show, beyond what was checked at every step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final

from ..structs.queues import ReplQueue
from .assorted import ASSORTED
from .history import NOT_APPLIED, UNKNOWN, Op, Raised
from .linearizability import Result, Verdict, check, check_witness
from .lockmodel import LockManagerModel, LockModel
from .locktwins import check_lock_log
from .logtwins import QueueTwin, check_logs, check_queue_log
from .models import (
    CounterModel,
    DictModel,
    ListModel,
    SetModel,
)
from .offices import ELECTION
from .permits import PERMITS
from .presence import check_group_log
from .queue_verdicts import check_capacity, check_order_of_items
from .queuemodels import PriorityQueueModel, QueueModel
from .releases import MODELS as RELEASE_MODELS
from .sequential import Model
from .toil_verdicts import check_toil
from .violation import Violation

if TYPE_CHECKING:
    from .workload import Load


def check_histories(load: Load) -> int:
    """Check everything that callers saw; return how many calls that were.

    Raises:
        Violation: it cannot have been so.
    """
    check_group_log(load)
    for toils in load.toils.values():
        toils.check(load)
    histories = load.histories()
    check_queues(load)
    check_queue_log(load.simulation, QUEUE_TWINS, MADE_TWIN)
    check_assorted_logs(load)
    permits = {name: kind for name, kind in PERMITS.items() if name in histories}
    check_lock_log(load, {name: kind.twin for name, kind in permits.items()})
    check_order_of_items(load)
    check_capacity(load)
    check_order(op for ops in histories.values() for op in ops)
    for name, model in (MODELS | _assorted_models(load)).items():
        # Of what waits the places do not tell everything: a wait that is lost may have done much.
        if name in MODELS or not ASSORTED[name].lines:
            judge(name, check_witness(histories[name], model))
        judge(name, check(histories[name], model, budget=SEARCH_STEPS))
    for name, lock_model in (
        *LOCK_MODELS.items(), *((name, kind.model()) for name, kind in permits.items()),
    ):  # fmt: skip
        if name not in histories:
            continue
        judge(name, check(histories[name], lock_model, budget=SEARCH_STEPS))
    for name, queue_model in QUEUE_MODELS.items():
        ops = [op for op in histories[name] if op.method.startswith(("get", "put"))]
        if not any(map(was_given_up, ops)):
            ended = (op for op in ops if not ran_out(op))
            judge(name, check(ended, queue_model, budget=SEARCH_STEPS))
    for name in load.toils:
        if name in histories:
            judge(name, check_toil(load, name, histories[name], SEARCH_STEPS))
    check_releases(load, histories)
    load.followers.check()
    return sum(map(len, histories.values())) + len(load.recorder.made)


def check_assorted_logs(load: Load) -> None:
    """The commands of objects that wait were answered as their logs call for."""
    consumers = load.simulation.lives()[0].consumers
    twins, states = {}, {}
    for name, kind in ASSORTED.items():
        if name in consumers and kind.twin is not None and kind.state is not None:
            twins[name] = kind.twin()
            states[name] = kind.state(consumers[name])
    check_logs(load.simulation, twins, states)


def _assorted_models(load: Load) -> dict[str, Model]:
    """Return the models of those objects that this run has and others lack."""
    return {
        name: kind.model
        for name, kind in ASSORTED.items()
        if name in load.recorder.records and kind.model is not None
    }


def check_releases(load: Load, histories: Mapping[str, list[Op]]) -> None:
    """Each call of what has versions had the result that its place in the log calls for.

    And who subscribed to it was told of each, once and in order.
    """
    checks = load.simulation.checks
    upgrades = checks.upgrades
    if upgrades is None:
        return
    load.streams.check(upgrades)
    switches = []
    for number, switch in enumerate(upgrades.switches, 1):
        place = checks.place_at(switch.session, switch.sequence)
        if place is None:
            # Nobody who was looked at had it in its log: a snapshot skipped it everywhere.
            return
        switches.append(Op(
            id=-number, process="versions", method="set_version", args=(switch.version,), call=0.0,
            index=place,
        ))  # fmt: skip
    for name, model in RELEASE_MODELS.items():
        judge(name, check_witness([*switches, *histories[name]], model))


def check_order(ops: Iterable[Op]) -> None:
    """What began after another call had ended comes behind it in the log, whatever the objects.

    A stale read does not: its place is the end of what had been applied where it was made.
    """
    placed: list[tuple[int, Op]] = [(op.index, op) for op in ops if op.index is not None]
    placed.sort(key=lambda pair: pair[0])
    latest: Op | None = None
    same: list[Op] = []
    at = -1
    for place, op in placed:
        if place != at:
            # Reads at one place are in no order.
            latest = max([*same, *([latest] if latest else [])], key=_began, default=None)
            at, same = place, []
        same.append(op)
        if latest is not None and op.end < latest.call:
            raise Violation(
                f"{latest.process} called {latest} at {latest.call} and missed what {op.process}"
                f" had done by {op.end}: {op}"
            )


def judge(name: str, result: Result) -> None:
    """Raise what a check has found, if that is certain."""
    if result.verdict is Verdict.NOT_LINEARIZABLE:
        raise Violation(f"{name!r} is {result}")


def was_given_up(op: Op) -> bool:
    """Return whether a wait may have been taken back after it was served, unseen by its caller."""
    return op.outcome is UNKNOWN and op.method in ("get", "put")


def ran_out(op: Op) -> bool:
    """Return whether the time of a wait was over: it says nothing of the queue then."""
    return (
        op.method in ("get", "put")
        and isinstance(op.outcome, Raised)
        and op.outcome.kind.endswith(("Empty", "Full"))
        and op.argument(2 if op.method == "put" else 1, "timeout") is not None
    )


def _began(op: Op) -> float:
    return op.call if op.call < inf else 0.0


def check_queues(load: Load) -> None:
    """Nothing that was put for certain is missing, and nothing is there that was refused."""
    life = load.simulation.lives()[0]
    left: Counter[int] = Counter()
    for name in _QUEUES:
        queue: ReplQueue[int] = life.consumers[name]
        left.update(list(queue._items))
    for item, count in left.items():
        if count > 1 or item in load.taken or item not in load.put:
            who = load.taken.get(item)
            raise Violation(f"{item} is {count} times in the queue; taken by {who}")
    for item, record in load.put.items():
        if record.outcome is NOT_APPLIED and (item in left or item in load.taken):
            raise Violation(f"the put of {item} was said to be not applied, but it was there")
    for name in _QUEUES:
        records = load.recorder.records[name]
        gone = [
            record.args[0]
            for record in records
            if record.method.startswith("put")
            and record.outcome is None
            and record.args[0] not in load.taken
            and record.args[0] not in left
        ]
        excuses = sum(r.method.startswith("get") and r.outcome is UNKNOWN for r in records)
        if len(gone) > excuses:
            raise Violation(
                f"{gone[:5]} were put into {name!r}, and nobody took them; of {excuses} calls of"
                " get nobody knows how they ended"
            )


_QUEUES: Final = ("jobs", "ranks")

MODELS: Final[dict[str, Model]] = {
    "hits": CounterModel(),
    "users": DictModel(),
    "items": ListModel(),
    "tags": SetModel(),
    "ledger": ListModel(),
}
QUEUE_MODELS: Final[dict[str, Model]] = {"jobs": QueueModel(3), "ranks": PriorityQueueModel()}
QUEUE_TWINS: Final = {
    "jobs": partial(QueueTwin, 3, ordered=False),
    "ranks": partial(QueueTwin, 0, ordered=True),
}
MADE_TWIN: Final = partial(QueueTwin, 2, ordered=False)
"""Of every queue that callers make for a while; in those for which it is too small, nobody puts."""
LOCK_MODELS: Final[dict[str, Model]] = {
    ELECTION: LockModel(expiry=True),
    "lock": LockModel(expiry=True),
    "locks": LockManagerModel(expiry=True),
}
SEARCH_STEPS: Final = 20_000
"""Steps of the search for an order that believes nothing but what callers saw."""
