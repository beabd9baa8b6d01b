"""`ReplScheduler`: jobs that are due by schedule, each time for one worker of the cluster.

A job that is due puts a task, and all that is said of tasks holds for it: see `tasks`. When it is
due, the log decides. There are two clocks for that. Intervals are of cluster time, which goes on
evenly whoever leads. Cron expressions and dates are of the time of day, which no replica can read
while it applies: who asks for a task, or adds a job, says with it what his clock shows. How far
that is ahead of cluster time is kept with the jobs, and the clock in the middle counts: if each one
counted in its turn, two that differ by hours would make the same job due again and again.
"""

from datetime import UTC, datetime
from heapq import heapify, heappop, heappush
from math import inf
from operator import index as as_index
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, TypeVar

import msgspec

from ..codec import shown
from ..objects.context import _current, current_context
from ..objects.replicated import bound, reading, replicated
from .cron import cron as parsed
from .leases import checked_seconds
from .prepared import Prepared, prepared
from .queues import ShutDown
from .tasks import ReplTaskQueue
from .values import isolated

if TYPE_CHECKING:
    from ..futures import Future

T = TypeVar("T")

_NONE: Any = None
_CORRECTED: Final = 3600.0
"""A clock that is set back by more seconds than that was wrong; by less, nothing is due twice."""

_GRACE_MIN: Final = 0.1
"""Seconds. All that is due is late by some milliseconds: without any grace, it would never be."""
_ADDER_SECONDS: Final = 3600.0
"""For so long the clock of a node counts that adds a job and takes none: it tells no other one, and
may have told a wrong one, as many nodes do until they are set right after their start."""
_DUE_MAX: Final = 500
"""Of the jobs that are due, so many are looked after in one command, which takes some 15 ms."""
_STALE_MAX: Final = 64
"""Former times that are kept at the most, besides as many as there are jobs."""
_TIME_MAX: Final = 6e10
"""Seconds since 1970: up to the year 3871, so that all that follows from it is a date as well."""


class Job(NamedTuple):
    """A job of a `ReplScheduler`."""

    name: str
    payload: Any
    every: float | None
    cron: str | None
    at: datetime | None
    grace: float | None
    priority: int
    next: datetime | None
    """When it is due next; None: no clock is known yet."""


class _Job(msgspec.Struct, array_like=True):
    """A job; all times are in seconds, those of `every` of cluster time, others since 1970."""

    payload: Any
    every: float | None
    cron: str | None
    at: float | None
    grace: float | None
    priority: int
    next: float | None = None

    @property
    def schedule(self) -> tuple[object, ...]:
        return self.every, self.cron, self.at

    def after(self, now: float) -> float | None:
        """Return when it is due for the first time after `now`; None: never."""
        if self.cron is not None:
            return parsed(self.cron).after(now)
        if self.every is None:
            return None
        # From one due time to the next, so that a late one does not make all others late.
        return now + self.every - (0.0 if self.next is None else (now - self.next) % self.every)


class ReplScheduler(ReplTaskQueue[T]):
    """Jobs by schedule; each time a job is due, one worker of the cluster gets it, at least once.

    >>> rota = ReplScheduler(lease=30.0)
    >>> rota.jobs()
    []

    It is a `ReplTaskQueue` that puts tasks by itself: workers on any member take them by `get`,
    `for task in rota:` or `async for`, with `task.key` as the name of the job. A task is leased to
    one worker at a time, under a fencing token; it is gone when that one says `ack`, and another
    one gets it if the lease or the session ends before. Single tasks may be put as well.

    A job that is due while its last task is not done puts no second one: so it never overlaps
    itself, and what came due while nobody worked, or all members were down, is done once. A task
    whose attempts are used up is among `dead_letters()` until its job is due again.

    `every` is in cluster time, and late by a round trip, as a rule. `cron` and `at` are by the
    clocks of the nodes that have called `get` in this session, or `add` in the last hour, each as
    it did so last: by the one in the middle, of two by the one that is ahead. That is wrong by as
    much as that clock, late by as long as the call took to reach the log, and off by what the
    clocks of leaders have drifted since. So the clocks of nodes should be kept right, as by NTP;
    while most are, no other one matters. Nothing is due twice because they are set back, unless by
    more than an hour: then they had been wrong, and cron jobs are scheduled anew. If all members
    stood still, so did cluster time, and it is late by that until enough nodes call again.

    To add and to remove takes O(log n), with n jobs, and each call one log entry, as does each
    moment at which something is due, for every 500 jobs. If the leader is lost, that is as soon as
    there is another. Jobs belong to the cluster, not to a session; nothing ends with the node that
    added them.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_calendar"})

    def __init__(
        self,
        lease: float | None = 60.0,
        *,
        max_attempts: int | None = 5,
        retry_delay: float = 1.0,
        retry_delay_max: float = 300.0,
    ) -> None:
        """Members must agree on all of it; it is as in a `ReplTaskQueue`."""
        self._jobs: dict[str, _Job] = {}
        # Of tasks that are not done, for when they were due, by id; in seconds since 1970.
        self._scheduled: dict[int, float] = {}
        # How far the clocks of nodes are ahead of cluster time, and until when that counts, by
        # session.
        self._clocks: dict[int, tuple[float, float]] = {}
        # How far the one in the middle is, and up to when jobs were looked after by it.
        self._ahead: float | None = None
        self._reached: float | None = None
        super().__init__(
            lease, max_attempts=max_attempts, retry_delay=retry_delay,
            retry_delay_max=retry_delay_max,
        )  # fmt: skip

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        options = super().options()
        del options["maxsize"]
        return options

    def snapshot_state(self) -> object:
        """Return the state; jobs and tasks as lists. O(n)."""
        state = super().snapshot_state()
        assert isinstance(state, dict)
        rows = {name: list(msgspec.structs.astuple(job)) for name, job in self._jobs.items()}
        return state | {"_jobs": rows}

    def initial_state(self) -> Any:
        """Return the state of a new object: intervals begin when somebody tells a clock. O(n)."""
        rows = {
            name: list(msgspec.structs.astuple(msgspec.structs.replace(job, next=job.at)))
            for name, job in self._jobs.items()
        }
        clocks: dict[str, Any] = {"_clocks": {}, "_ahead": None, "_reached": None}
        return super().initial_state() | clocks | {"_jobs": rows, "_scheduled": {}}

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        jobs = {name: _Job(*row) for name, row in state["_jobs"].items()}
        super().restore_state(state | {"_jobs": jobs})

    # Jobs

    @prepared
    def add(
        self,
        name: str,
        payload: T = _NONE,
        *,
        every: float | None = None,
        cron: str | None = None,
        at: datetime | None = None,
        grace: float | None = None,
        priority: int = 0,
    ) -> Prepared[bool]:
        """Have a task with this payload put by a schedule; return whether that changed anything.

        All members may add the same at their start: nothing changes then, and nothing is put twice.
        What has the same name and differs is replaced, but for a task that is put already; if the
        schedule is the same, so is the next time. `every`: so many seconds apart, first in as many,
        also if another interval is replaced. `cron`: five fields, in UTC, as `"30 3 * * mon-fri"`;
        see `structs.cron`. `at`: once; a time that has passed is not added, and replaces nothing.

        `grace`: what is due is left out if it would be more seconds late than that, as it may be
        by an election; None: however late. At least 0.1. Of several times that were missed, the
        first one counts that is not left out.
        Workers take what has a higher `priority` first. Inside a command, no clock is asked: if
        none is known yet, cron jobs wait for the first `get`.

        Raises:
            ShutDown: the scheduler was shut down.
            ValueError: it has no schedule or several, one without meaning, or `at` has no zone.
            TypeError: `name` is no string, or `priority` no whole number.
        """
        if at is not None and at.utcoffset() is None:
            raise ValueError(f"at={at!r} has no time zone, so it is not one point in time")
        when = None if at is None else at.timestamp()
        job = _checked_job(name, payload, every, cron, when, grace, priority)
        wall = None if _current.get() is not None else bound(self).port.wall_time()
        return Prepared(self._add, wall, name, *msgspec.structs.astuple(job)[:-1])

    @replicated
    def remove(self, name: str) -> bool:
        """Have the job put no more tasks; return whether there was one.

        A task of it, or of that key, that nobody has taken is gone as well, also if the job itself
        was over; one that is worked on is not.
        """
        removed = self._jobs.pop(name, None) is not None
        id_ = self._keys.get(name, 0)
        if id_ in self._entries and not self._entries[id_].token:
            self._remove(id_)
            self._end_if_finished()
        self._set_next_due()
        return removed

    @replicated
    def trigger(self, name: str) -> bool:
        """Put a task of the job now; return whether: not if its last one is not done.

        When it is due next is as before.

        Raises:
            KeyError: there is no such job.
        """
        return self._fire(name, self._jobs[name], None)

    def jobs(self) -> list[Job]:
        """Return the jobs, as this member knows them. O(n).

        A job that is due `at` some time is none any more when it was.
        """
        with reading(self):
            return [
                Job(
                    name, isolated(job.payload), job.every, job.cron, _date(job.at), job.grace,
                    job.priority, _date(self._wall_time(job, job.next)),
                )
                for name, job in self._jobs.items()
            ]  # fmt: skip

    def __repr__(self) -> str:
        with reading(self):
            return f"<{type(self).__name__} {len(self._jobs)} jobs, {self.progress()}>"

    # The commands behind them

    def _ask(self, ticket: int, lease: float | None, wait: bool) -> "Future[Any]":
        return self._take_at.submit(bound(self).port.wall_time(), ticket, lease, wait)

    @replicated
    def _take_at(
        self, wall: float, ticket: int, lease: float | None, wait: bool
    ) -> list[Any] | None:
        self._tell(wall, inf)
        return self._take(ticket, lease, wait)

    @replicated
    def _add(self, wall: float | None, name: str, *args: Any) -> bool:
        """Add a job, of the arguments of `_Job`."""
        if self._closed:
            raise ShutDown
        # Again, whoever has sent it: what no member can schedule would stop all of them for ever.
        job, old = _checked_job(name, *args), self._jobs.get(name)
        if wall is not None:
            self._tell(wall, _ADDER_SECONDS)
        if old is not None and old.schedule == job.schedule:
            job.next = old.next
            self._jobs[name] = job
            return job != old
        if job.at is not None and self._ahead is not None and job.at <= self._now(job):
            return False
        job.next = self._first_time(job)
        self._jobs[name] = job
        self._note(name, job)
        self._set_next_due()
        return True

    def on_due(self) -> None:
        """Put the tasks of jobs that are due, and do as a queue of tasks. Part of a command."""
        now = current_context().time
        for _ in range(_DUE_MAX):
            first = self._first_job()
            if first is None or first[0] > now:
                break
            self._put_due(first[1], now - first[0])
        super().on_due()

    def on_session_expired(self, session: int) -> None:
        """Give up what the session waits for, and what it has taken; its clock counts no more."""
        super().on_session_expired(session)
        if self._clocks.pop(session, None) is not None:
            self._agree()

    def _put_due(self, name: str, late: float) -> None:
        """Put the task of a job that is due so many seconds late, and note when it is due next."""
        job = self._jobs[name]
        assert job.next is not None
        due, now = self._in_time(job, job.next, late), self._now(job)
        # A number of seconds since 1970 is so large that the sum may fall short of it.
        job.next = job.after(max(now, job.next))
        if job.next is None:
            del self._jobs[name]
        else:
            self._note(name, job)
        if due is not None:
            self._fire(name, job, self._wall_time(job, due))

    @staticmethod
    def _in_time(job: _Job, due: float, late: float) -> float | None:
        """Return the first of the times that were missed for which there is grace; None: none."""
        if job.grace is None or late <= job.grace:
            return due
        now = due + late
        later = job.after(now - job.grace)
        return None if later is None or later > now else later

    # What they are made of

    def _tell(self, wall: float, seconds: float) -> None:
        """Take over what time of day it is by the calling node's clock; it counts for so long."""
        context = current_context()
        ahead = _checked_time("a node's clock", wall) - context.time
        _, until = self._clocks.get(context.session, (0.0, 0.0))
        self._clocks[context.session] = ahead, max(until, context.time + seconds)
        self._agree()

    def _agree(self) -> None:
        """Go by the clock in the middle. O(nodes that told theirs), and more if that was wrong."""
        now = current_context().time
        self._clocks = {s: row for s, row in self._clocks.items() if row[1] >= now}
        clocks = sorted(ahead for ahead, _ in self._clocks.values())
        if not clocks:
            return
        # Of two, the one that is ahead. A clock that was told before all members were down is
        # behind, as cluster time stood still meanwhile; so is one that was never set.
        self._ahead = clocks[len(clocks) // 2]
        wall = now + self._ahead
        if self._reached is None or wall < self._reached - _CORRECTED:
            self._reached = wall
            for name, job in self._jobs.items():
                if job.cron is not None or job.next is None:
                    job.next = self._first_time(job)
                    self._note(name, job)
        self._set_next_due()

    def _now(self, job: _Job) -> float:
        """Return what time it is by the clock of that job; the time of day never goes back."""
        time = current_context().time
        if job.every is None and self._ahead is not None:
            time = self._reached = max(self._reached or 0.0, time + self._ahead)
        return time

    def _first_time(self, job: _Job) -> float | None:
        """Return when a new job is due; None: no clock is known yet."""
        if job.cron is not None and self._ahead is None:
            return None
        return job.after(self._now(job)) if job.at is None else job.at

    def _wall_time(self, job: _Job, due: float | None) -> float | None:
        """Return when a job is due, in seconds since 1970; None: it is not known."""
        if job.every is None or due is None:
            return due
        return None if self._ahead is None else due + self._ahead

    def _fire(self, name: str, job: _Job, scheduled: float | None) -> bool:
        """Put a task of the job, if none is unfinished; return whether."""
        id_ = self._keys.get(name)
        if self._closed or id_ in self._entries:
            return False
        if id_ is not None:
            self._bury([id_])
        new = self._next_number()
        # Before it is put, which may be to give it to a worker that waits.
        if scheduled is not None:
            self._scheduled[new] = scheduled
        self._enter(new, job.payload, job.priority, name, 0.0)
        return True

    def _grant(self, id_: int, session: int, ticket: int, lease: float | None) -> list[Any]:
        granted = super()._grant(id_, session, ticket, lease)
        return [*granted, self._scheduled.get(id_)]

    def _remove(self, id_: int, *, keeps_key: bool = False) -> None:
        self._scheduled.pop(id_, None)
        super()._remove(id_, keeps_key=keeps_key)

    def _check(self) -> None:
        super()._check()
        jobs = {(job.next, n, job.every is None) for n, job in self._jobs.items() if job.next}
        entered = {(time, n, by_day) for by_day in (0, 1) for time, n in self._calendar[by_day]}
        assert jobs <= entered, (jobs, self._calendar)
        entries = sum(map(len, self._calendar))
        assert entries <= 2 * len(self._jobs) + _STALE_MAX, entries
        assert self._scheduled.keys() <= self._entries.keys(), (self._scheduled, self._entries)
        assert (self._ahead is None) == (self._reached is None), (self._ahead, self._reached)
        clocks = [ahead for ahead, _ in self._clocks.values()]
        assert not clocks or self._ahead in clocks, (self._ahead, clocks)

    # Derived from the jobs: which is due first, by cluster time and by the time of day

    def _derive(self) -> None:
        super()._derive()
        self._derive_calendar()

    def _derive_calendar(self) -> None:
        self._calendar: tuple[list[tuple[float, str]], ...] = [], []
        for name, job in self._jobs.items():
            if job.next is not None:
                self._calendar[job.every is None].append((job.next, name))
        for heap in self._calendar:
            heapify(heap)

    def _note(self, name: str, job: _Job) -> None:
        if job.next is not None:
            heappush(self._calendar[job.every is None], (job.next, name))

    def _set_next_due(self) -> None:
        if sum(map(len, self._calendar)) > 2 * len(self._jobs) + _STALE_MAX:
            # Jobs that are replaced leave former times, which pile up behind what is due before.
            self._derive_calendar()
        super()._set_next_due()

    def _first_job(self) -> tuple[float, str] | None:
        """Return which job is due first, and when, in cluster time."""
        firsts = []
        for by_day, ahead in enumerate((0.0, self._ahead)):
            heap = self._calendar[by_day]
            while heap and not self._is_next(*heap[0], bool(by_day)):
                heappop(heap)
            if heap and ahead is not None and not self._closed:
                firsts.append((heap[0][0] - ahead, heap[0][1]))
        return min(firsts, default=None)

    def _is_next(self, time: float, name: str, by_day: bool) -> bool:
        job = self._jobs.get(name)
        return job is not None and job.next == time and (job.every is None) == by_day

    def _first_due(self) -> float | None:
        first, task = self._first_job(), super()._first_due()
        if first is None or (task is not None and task < first[0]):
            return task
        return first[0]


def _checked_job(
    name: str, payload: Any, every: float | None, cron: str | None, at: float | None,
    grace: float | None, priority: int,
) -> _Job:  # fmt: skip
    """Return a job of these arguments, in seconds; see `ReplScheduler.add` for what it raises."""
    if not isinstance(name, str):
        raise TypeError(f"the name of a job is a string, not {shown(name)}")
    if [every, cron, at].count(None) != 2:
        raise ValueError(f"job {name!r} takes one of every, cron and at")
    if every is not None:
        every = checked_seconds("every", every, least=0.001)
    if cron is not None:
        parsed(cron)
    if at is not None:
        at = _checked_time("at", at)
    if grace is not None:
        grace = checked_seconds("grace", grace, least=_GRACE_MIN)
    return _Job(payload, every, cron, at, grace, as_index(priority))


def _checked_time(name: str, time: float) -> float:
    if not abs(time) <= _TIME_MAX:
        raise ValueError(f"{name} says {time!r} seconds since 1970, which is too far away")
    return float(time)


def _date(time: float | None) -> datetime | None:
    return None if time is None else datetime.fromtimestamp(time, UTC)
