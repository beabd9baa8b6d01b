"""The model of `ReplTaskQueue`: who may have a task when. (`ReplScheduler`: see `jobmodels`.)

Calls are recorded with what a program sees: a `get` with the `Task` as its outcome, and `ack`,
`nack` and `heartbeat` with that as their argument. Where it has to be written down, a tuple of its
`id`, `token`, `attempt`, `key`, `payload` and `scheduled` stands for it; so do tuples for what
`dead_letters` and `progress` return. The times of the history must be seconds
(`History(time.monotonic)`), as leases and delays are. When a lease has really ended, nobody but the
log knows. So that is decided lazily: it may have ended once its seconds are over, and it has when
somebody saw what follows from that.

Tasks are looked at one by one, those of one key together: they are the parts of the state. What is
judged of each:

- It is put before it is taken, with that payload and key, and not taken before its delay is over.
- While it is leased, nobody else gets it: not until a `nack`, the end of the lease, or that of the
  session (see below); and then not before the retry delay is over.
- Attempts are counted one by one, up to `max_attempts`; then it is dead, until it is revived.
- An `ack`, `nack` or `heartbeat` that returns means that the lease counted; after an `ack` the task
  is gone. One that raises `LockLost` means that it counted no more.
- A `put` with a key returns the id of the task that is unfinished or dead, and another id if none
  is. `dead_letters` has those that are dead for certain, and only such as may be.

And of all together, in the order of ids and tokens, which are numbers of one line:

- They are given once, each id under one key, and grow from call to call.
- Of the tasks that were certainly ready, the one of the highest priority is taken first, of these
  the oldest; and a `get` that does not wait finds one if some are there. Those that others may have
  had meanwhile, unseen, are not counted.
- No more attempts are missing than there were calls of `get` of which nobody knows what they took.
- `progress` counts no fewer and no more tasks as put and done than there can have been.

Reads must be made behind a barrier, as a member may be late. Not judged are `maxsize`, `join`,
`qsize` and `shutdown`, who is served first of those that wait, that what is due is done at last,
what else `progress` counts, how many `revive` and `discard` have found, and what `nack` says of the
error; nor a queue that was dropped and attached again, in which no lease or delay goes on.

The cluster takes all from a session that expires. A history has to say so by an operation `lost` of
the owner (`Op.session` where the history tells it, else the process), as for `LockModel`: ended, it
took place in that time; else it may at any time from its call on. Or `expiry=True` says that any
session may expire at any time, which leaves few rules: tokens, payloads, and what was acknowledged.
A `get` whose answer was lost, as its node took over a snapshot, gives back what it had and begins
anew; record another one besides it that waited, and raised `Empty`.
"""

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from copy import copy
from datetime import datetime
from itertools import count
from math import inf
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from .history import UNKNOWN, Op, Raised
from .sequential import ILLEGAL, Impossible, Model, Replay, Transition, frozen
from .taskfacts import (
    ENDS,
    Bounds,
    Facts,
    Lease,
    is_loss,
    only_raises,
    owner_of,
    part_for,
    seen_as,
)

_OTHERS: Final = "others"
"""The part of calls that are about no task that is known."""
_SPLIT: Final = ("revive", "discard", "dead_letters")
"""Calls that are about several tasks."""


class KnownTask(NamedTuple):
    """A task that is not done, as far as it is known."""

    id: int
    """0: nobody has seen it yet."""
    payloads: frozenset[Hashable]
    """One of these is its payload."""
    time: float
    """When its lease may end at the earliest, or when it may be taken."""
    attempts: int = 0
    token: int = 0
    """That of its lease; 0: it is not leased."""
    owner: Hashable = None
    """Whose session has the lease, whoever works on the task."""
    dead: bool = False
    fired: bool | None = None
    """Whether a job put it that was due, or that was triggered; None: neither."""
    doubtful: bool = False
    """Whether it may be gone: its job was removed when perhaps it was not leased."""


class KnownJob(NamedTuple):
    """A job of a scheduler."""

    payload: Hashable
    every: float | None
    cron: str | None
    at: datetime | None
    rest: Hashable
    due: float
    """When it can be due next at the earliest, in cluster time."""

    def same(self, other: "KnownJob") -> bool:
        """Return whether nothing changes if it is added in place of another one."""
        return self._replace(due=0.0) == other._replace(due=0.0)

    def over(self) -> "KnownJob | None":
        """Return what is left of it once it was due."""
        return None if self.at else self._replace(due=self.due + (self.every or 0.0))


class State(NamedTuple):
    """What is known of the task, or of the tasks of one key."""

    now: float = -inf
    """The earliest cluster time that it can be."""
    greatest: int = 0
    """Of the ids and tokens seen so far."""
    task: KnownTask | None = None
    job: KnownJob | None = None
    reached: datetime | None = None
    """The last time of day for which a task was put."""


Step = Callable[[State, float], State | None]
"""From a state, and the latest time at which it can be, to the next; None: that cannot be."""


class TaskQueueModel(Model):
    """`ReplTaskQueue`; see `taskmodels` for what is judged, and how calls are recorded.

    >>> from syncstructs.testing import History, check
    >>> history = History(iter([0.0, 0.1, 1.0, 1.1]).__next__)
    >>> history.end(history.begin("ann", "put", ("mail",)), 7)
    >>> history.end(history.begin("bob", "get"), (7, 8, 1, None, "mail"))
    >>> check(history, TaskQueueModel(lease=30.0)).ok
    True
    """

    READS = frozenset({"dead_letters", "progress", "qsize", "join", "shutdown"})
    _METHODS = frozenset({"put", "get", *ENDS, "revive", "discard", "lost"})

    def __init__(
        self,
        lease: float | None = 60.0,
        *,
        max_attempts: int | None = 5,
        retry_delay: float = 1.0,
        retry_delay_max: float = 300.0,
        expiry: bool = False,
        time_at: Callable[[float], Bounds] | None = None,
    ) -> None:
        """Take what the queue was made with.

        `time_at`: between what bounds the cluster time is at a time of the history. By default, it
        passes as the history's times do, which is right where nobody's clock is much faster.
        """
        self._lease = lease
        self._max_attempts = inf if max_attempts is None else max_attempts
        self._retry_delay, self._retry_delay_max = retry_delay, retry_delay_max
        self._expiry = expiry
        self._time_at = time_at or (lambda time: (time, time))
        self._facts = Facts((), self._time_at)

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return a model that knows who may have had tasks unseen, and each call with one part."""
        model, ops = copy(self), [_plain(op) for op in ops if not only_raises(op)]
        ops += self._unseen(ops)
        model._facts = Facts(ops, self._time_at, self._expiry)
        numbers = count(max((op.id for op in ops), default=0) + 1)
        seen = [op for op in ops if op.method != "lost" and not _is_unknown_get(op)]
        return model, [one for op in seen for one in model._split(op, numbers)]

    def _unseen(self, ops: list[Op]) -> list[Op]:
        """Return what happened behind the callers' backs, and can be told from what they saw."""
        return []

    def _split(self, op: Op, numbers: Iterator[int]) -> Iterator[Op]:
        facts = self._facts
        is_told = op.outcome is not UNKNOWN and not isinstance(op.outcome, Raised)
        if op.method not in _SPLIT or (op.method in self.READS and not is_told):
            yield op
        elif op.method == "dead_letters":
            rows: Any = op.outcome
            dead = {row[0]: row for row in rows}
            for id_, part in facts.parts.items():
                yield facts.alike(op, replace(
                    op, id=next(numbers), method="_dead", args=(part, id_), outcome=dead.get(id_)
                ))  # fmt: skip
        elif not isinstance(op.outcome, Raised):
            # Of which task it is true, their number does not say.
            ids = op.argument(0, "ids")
            chosen = facts.parts if ids is None else [i for i in ids if i in facts.parts]
            for part in dict.fromkeys(facts.parts[id_] for id_ in chosen):
                yield facts.alike(op, replace(
                    op, id=next(numbers), method=f"_{op.method}", args=(part,), kwargs={},
                    outcome=UNKNOWN, end=inf,
                ))  # fmt: skip

    def initial(self) -> Hashable:
        """Return that there is no task."""
        return State()

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the key of the task that `op` is about, or its id if it has none."""
        part = self._facts.part_of(op)
        return (_OTHERS,) if part is None else (part,)

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        if op.method in self.READS or (op.method == "_dead" and op.outcome is None):
            return True
        return isinstance(op.outcome, Raised) and op.method not in ENDS

    def hidden_order(self, ops: Sequence[Op]) -> Mapping[int, tuple[float, float]]:
        """Return which id or token each call gave, if that is certain."""
        return {op.id: (number, number) for number, op in self._facts.numbers}

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        known = op.method.startswith("_") or op.method in self._METHODS or op.method in self.READS
        if not known:
            raise ValueError(f"{type(self).__name__} has no method {op.method!r}")
        step = self._step(op)
        if step is None or self._facts.part_of(op) is None:
            return lambda state: state
        first, last = self._facts.bounds(op)
        is_read = self.is_read(op)

        def take(state: State) -> Hashable:
            now = max(state.now, first)
            after = step(state._replace(now=now), last) if now <= last else None
            if after is None or after.now > last:
                return ILLEGAL
            # Not even later, or a read would be in the way of what was earlier.
            return state if is_read else after

        return take

    def replay(self, ops: Collection[Op]) -> Replay:
        """Refuse: where in the log a task was taken, its `get` does not tell."""
        raise ValueError("the log does not tell at which place a get took its task; use check()")

    def describe(self, state: Any) -> str:
        """Return what is known of the task, as text."""
        job = "" if state.job is None else f"a job, due {state.job.due:g} at the earliest; "
        task = state.task
        if task is None:
            return f"{job}no task"
        name = f"{job}task {task.id or 'that nobody has seen'}, attempt {task.attempts}"
        if task.dead:
            return f"{name}, dead"
        if task.token:
            return f"{name}, leased under {task.token} up to {task.time:g} at the least"
        return f"{name}, ready from {task.time:g} on"

    def impossible(self, ops: Sequence[Op]) -> Impossible | None:
        """Return what the order of numbers forbids, or counts."""
        facts = self._facts
        found = [facts.disorder(), facts.mistaken(), facts.missing_attempts(),
                 *facts.passed_over(), facts.miscount()]  # fmt: skip
        return min(filter(None, found), key=lambda one: one.culprit.end, default=None)

    # What calls do to a task

    def _step(self, op: Op) -> Step | None:
        """Return what `op` does to its part; None: nothing."""
        if op.method == "put":
            return None if isinstance(op.outcome, Raised) else self._put(op)
        if op.method == "get":
            return self._get(op) if isinstance(op.outcome, Lease) else None
        if op.method in ENDS:
            return self._end(op)
        if op.method in ("_revive", "_discard"):
            return self._bury(op)
        is_look = op.method == "_dead" and op.outcome is not UNKNOWN
        return self._see_dead(op) if is_look else None

    def _put(self, op: Op) -> Step:
        id_ = op.outcome if type(op.outcome) is int else 0
        payload = frozenset([frozen(op.argument(0, "payload"))])
        delay, key = self._facts.delay_of(op), op.argument(3, "key")

        def put(state: State, last: float) -> State | None:
            task = state.task
            is_gone = task is None or self._may_be_gone(state, op, last)
            new = KnownTask(id_, payload, state.now + (delay if state.job is None else 0.0))
            bound = _bind(state, id_) if id_ and key is not None else None
            if bound is not None:
                if task is not None and task.id == 0 and is_gone:
                    # It may be that one, or another that was put in its place.
                    either = new._replace(payloads=task.payloads | payload, time=task.time)
                    return bound._replace(task=either)
                return bound
            if not is_gone or 0 < id_ <= state.greatest:
                return None
            return state._replace(greatest=max(state.greatest, id_), task=new)

        return put

    def _get(self, op: Op) -> Step:
        lease: Any = op.outcome
        is_its_key = self._facts.part_of(op) == part_for(lease.id, lease.key)
        payload, most = frozen(lease.payload), self._facts.burnt_by(op.end)
        seconds, owner = op.kwargs.get("lease", self._lease), owner_of(op)

        def get(state: State, last: float) -> State | None:
            known = _bind(state, lease.id)
            if known is None or known.task is None or lease.token <= known.greatest:
                return None
            task = known.task
            if not is_its_key or payload not in task.payloads or not self._fits(task, lease):
                return None
            if task.token:
                if task.time > last:
                    return None
                task = self._failed(task, task.time)
            missing = lease.attempt - task.attempts - 1
            if task.dead or task.time > last or not 0 <= missing <= most:
                return None
            if lease.attempt > self._max_attempts:
                return None
            now = max(state.now, task.time)
            taken = task._replace(
                attempts=lease.attempt, token=lease.token, owner=owner, doubtful=False,
                time=self._may_end(op, owner, now, seconds),
            )  # fmt: skip
            return known._replace(now=now, greatest=lease.token, task=taken)

        return get

    def _fits(self, task: KnownTask, lease: Lease) -> bool:
        """Return whether a task is for the time that the lease says."""
        return lease.scheduled is None

    def _end(self, op: Op) -> Step | None:
        lease, method = Lease.of(op.argument(0, "task")), op.method
        is_lost = isinstance(op.outcome, Raised)
        if is_lost and not is_loss(op):
            return None
        delay = op.argument(1, "delay")
        seconds = op.argument(1, "lease") if len(op.args) > 1 else self._lease
        seconds = op.kwargs.get("lease", seconds)

        def end(state: State, last: float) -> State | None:
            task = state.task
            if task is None or (task.id, task.token) != (lease.id, lease.token):
                return state if is_lost and lease.token <= state.greatest else None
            if is_lost:
                if task.time > last:
                    return None
                now = max(state.now, task.time)
                return state._replace(now=now, task=self._failed(task, task.time))
            if method == "ack":
                return state._replace(task=None)
            if method == "nack":
                return state._replace(task=self._failed(task, state.now, delay))
            until = self._may_end(op, task.owner, state.now, seconds)
            return state._replace(task=task._replace(time=until, doubtful=False))

        return end

    def _bury(self, op: Op) -> Step:
        def bury(state: State, last: float) -> State | None:
            task = state.task
            if task is None or not self._may_be_dead(task, op, last):
                return None
            # For when it was due is forgotten.
            live = KnownTask(task.id, task.payloads, state.now)
            return state._replace(task=live if op.method == "_revive" else None)

        return bury

    def _see_dead(self, op: Op) -> Step:
        id_: int = op.args[1]
        row: Any = op.outcome

        def look(state: State, last: float) -> State | None:
            if row is None:
                task = state.task
                is_there = task is not None and task.id == id_ and task.dead
                return None if is_there and not self._may_be_gone(state, op, last) else state
            known = _bind(state, id_)
            task = None if known is None else known.task
            if known is None or task is None or not self._may_be_dead(task, op, last):
                return None
            _, _, payload, _, attempts, *_ = row
            if frozen(payload) not in task.payloads or attempts != self._max_attempts:
                return None
            return known._replace(task=task._replace(attempts=attempts, token=0, dead=True))

        return look

    def _may_be_dead(self, task: KnownTask, op: Op, last: float) -> bool:
        """Return whether its attempts may be used up by then, some of them by who saw no task."""
        if task.dead:
            return True
        if task.token and task.time > last:
            return False
        return task.attempts + self._facts.burnt_by(op.end) >= self._max_attempts

    def _may_be_gone(self, state: State, op: Op, last: float) -> bool:
        """Return whether the task of a job may be gone by then, though nobody has seen it go."""
        return False

    def _failed(self, task: KnownTask, now: float, delay: float | None = None) -> KnownTask:
        """Return it after a lease that ended at that time."""
        if task.attempts >= self._max_attempts:
            return task._replace(token=0, time=now, dead=True)
        if delay is None:
            retry = self._retry_delay * 2.0 ** min(task.attempts - 1, 64)
            delay = min(retry, self._retry_delay_max)
        return task._replace(token=0, time=now + delay)

    def _may_end(
        self, op: Op, owner: Hashable, now: float, seconds: float | None
    ) -> float:
        """Return when a lease may end that `op` has begun, or made longer, at that time."""
        if self._expiry:
            return now
        until = inf if seconds is None else now + seconds
        return min(until, max(now, self._facts.loss_after(owner, op.call)))


def _bind(state: State, id_: int) -> State | None:
    """Return the state in which the task there has that id; None: it cannot have."""
    task = state.task
    if task is not None and task.id == 0 and id_ > state.greatest:
        return state._replace(greatest=id_, task=task._replace(id=id_))
    return state if task is not None and task.id == id_ else None


def _plain(op: Op) -> Op:
    """Return a call with rows for tasks; if it may have done nothing, it may do so for ever."""
    if op.outcome is UNKNOWN and op.method not in ("get", "lost"):
        return replace(op, end=inf)
    return seen_as(op)


def _is_unknown_get(op: Op) -> bool:
    return op.method == "get" and op.outcome is UNKNOWN
