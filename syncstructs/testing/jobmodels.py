"""The model of `ReplScheduler`: what is judged of tasks (see `taskmodels`), and besides of jobs.

A task that is due is put by nobody: it is told from the `get` that took it. What was due, and then
was dropped or used up before anybody saw it, is decided lazily, as the end of a lease is.

- What is added, triggered or removed has the result that the state calls for.
- A task of a job has its payload. None is put while the last one is neither done nor dead.
- Of an interval, a task is put no earlier than it is over, and no more than one for each.
- What is due by the time of day is put for such a time, and once. When that is, by whose clock, is
  not judged; nor what a clock brings about that is set back by an hour or more, `grace`, and what
  `jobs` shows.
- What was removed puts no more tasks; its task is gone, unless somebody may have had it.
"""

from bisect import bisect_left
from collections.abc import Sequence
from datetime import datetime
from itertools import accumulate, count
from math import inf

from ..structs.cron import cron as parsed
from .history import UNKNOWN, Op, Raised
from .sequential import frozen
from .taskfacts import JOBS, Lease, sightings
from .taskmodels import KnownJob, KnownTask, State, Step, TaskQueueModel


class SchedulerModel(TaskQueueModel):
    """`ReplScheduler`: jobs, and the tasks that they put; see `jobmodels` for what is judged."""

    _METHODS = TaskQueueModel._METHODS.union(JOBS)
    READS = TaskQueueModel.READS | {"jobs"}

    def _unseen(self, ops: list[Op]) -> list[Op]:
        """Return what put the tasks that were due, as far as somebody has seen them."""
        first: dict[int, tuple[Lease, Op]] = {}
        times: dict[int, datetime] = {}
        for lease, op in sightings(ops):
            first.setdefault(lease.id, (lease, op))
            if lease.scheduled is not None:
                times[lease.id] = lease.scheduled
        # What has a smaller number took effect before.
        gets = sorted((lease.token, op.call) for lease, op in sightings(ops) if lease.token)
        latest = list(accumulate((call for _, call in gets), max, initial=_begin_of(ops)))
        revives = any(op.method == "revive" for op in ops)
        numbers = count(max((op.id for op in ops), default=0) + 1)
        fired = []
        for id_, (lease, op) in first.items():
            # A dead task has forgotten for when it was due, so that it may have been triggered.
            certain = id_ in times
            if certain or (lease.key is not None and (revives or not lease.token)):
                fired.append(Op(
                    id=next(numbers), process="schedule", method="_fire",
                    args=(id_, lease.key, lease.payload, times.get(id_)),
                    call=latest[bisect_left(gets, (id_,))], end=op.end if certain else inf,
                    outcome=None if certain else UNKNOWN,
                ))  # fmt: skip
        return fired

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return super().is_read(op) and op.method != "trigger"

    def _step(self, op: Op) -> Step | None:
        steps = {"add": self._add, "trigger": self._trigger, "remove": self._remove}
        if op.method in steps:
            return steps[op.method](op)
        return self._fire(op) if op.method == "_fire" else super()._step(op)

    def _fits(self, task: KnownTask, lease: Lease) -> bool:
        # What was due is bound to its id where it is put: see `_fire`.
        return (lease.scheduled is not None) == bool(task.fired)

    def _add(self, op: Op) -> Step | None:
        if isinstance(op.outcome, Raised):
            return None
        new = _job_of(op)

        def add(state: State, last: float) -> State | None:
            old = state.job
            is_same = old is not None and old.same(new)
            if op.outcome is False:
                return state if is_same or new.at is not None else None
            if is_same or (new.at and state.reached and new.at <= state.reached):
                return None
            due = -inf if new.every is None else state.now + new.every
            if old is not None and (old.every, old.cron, old.at) == (new.every, new.cron, new.at):
                due = old.due
            return state._replace(job=new._replace(due=due), task=self._doubted(state, op, last))

        return add

    def _fire(self, op: Op) -> Step:
        id_, _, payload, scheduled = op.args
        seen = frozen(payload)

        def fire(state: State, last: float) -> State | None:
            job = state.job
            if job is None or job.payload != seen or id_ <= state.greatest:
                return None
            if job.due > last or not self._is_over(state.task, op, last):
                return None
            if job.every is None:
                if scheduled and not _is_time_of(job, scheduled, state.reached):
                    return None
                state = state._replace(reached=scheduled or state.reached)
            now = max(state.now, job.due)
            task = KnownTask(id_, frozenset([seen]), now, fired=True)
            return state._replace(now=now, greatest=id_, task=task, job=job.over())

        return fire

    def _trigger(self, op: Op) -> Step | None:
        outcome = op.outcome
        if isinstance(outcome, Raised):
            return self._miss(op) if outcome.kind == "KeyError" else None

        def trigger(state: State, last: float) -> State | None:
            job, task = state.job, state.task
            if job is None:
                return None
            if outcome is not False:
                if not self._is_over(task, op, last):
                    return None
                return state._replace(task=_unseen_task(job, state.now, fired=False))
            if (task is not None and not task.dead) or self._facts.is_shut_by(op.end):
                return state
            if job.at is not None or job.due > last:
                return None
            # It has just been due, and nobody has seen it.
            now = max(state.now, job.due)
            new = _unseen_task(job, now, fired=True)
            return state._replace(now=now, task=new, job=job.over())

        return trigger

    def _remove(self, op: Op) -> Step | None:
        if isinstance(op.outcome, Raised):
            return None
        wanted = op.outcome

        def remove(state: State, last: float) -> State | None:
            # One that is due once may have been.
            is_over = state.job is None or state.job.at is not None
            if (wanted is True and state.job is None) or (wanted is False and not is_over):
                return None
            task = self._doubted(state, op, last)
            if task is not None and not task.dead:
                # Somebody unseen may have it as well, if it was ready, and give it back.
                is_held = task.token or (task.time <= last and self._facts.hands_during(op))
                task = task._replace(doubtful=True) if is_held else None
            return state._replace(task=task, job=None)

        return remove

    def _miss(self, op: Op) -> Step:
        """Return what finds no job: one that is due once may have been."""

        def miss(state: State, last: float) -> State | None:
            fits = state.job is None or state.job.at is not None
            gone = state._replace(job=None, task=self._doubted(state, op, last))
            return gone if fits else None

        return miss

    def _may_be_gone(self, state: State, op: Op, last: float) -> bool:
        task, job = state.task, state.job
        if task is None or task.doubtful:
            return True
        # Another one was put in place of a dead one.
        return job is not None and job.due <= last and self._may_be_dead(task, op, last)

    def _doubted(self, state: State, op: Op, last: float) -> KnownTask | None:
        """Return the task as it is known once its job is another one."""
        task = state.task
        return task and task._replace(doubtful=self._may_be_gone(state, op, last))

    def _is_over(self, task: KnownTask | None, op: Op, last: float) -> bool:
        return task is None or task.doubtful or self._may_be_dead(task, op, last)


def _unseen_task(job: KnownJob, now: float, *, fired: bool) -> KnownTask:
    return KnownTask(0, frozenset([job.payload]), now, fired=fired)


def _job_of(op: Op) -> KnownJob:
    how = op.kwargs
    rest = frozen((how.get("grace"), how.get("priority", 0)))
    payload = frozen(op.argument(1, "payload"))
    return KnownJob(payload, how.get("every"), how.get("cron"), how.get("at"), rest, -inf)


def _is_time_of(job: KnownJob, time: datetime, reached: datetime | None) -> bool:
    """Return whether a job by the time of day can be due then, and was not before."""
    if reached is not None and time <= reached:
        return False
    if job.cron is None:
        return time == job.at
    seconds = time.timestamp()
    return parsed(job.cron).after(seconds - 1.0) == seconds


def _begin_of(ops: Sequence[Op]) -> float:
    return min((op.call for op in ops), default=0.0)
