"""Callers that share out tasks: every task that was put for certain is done, dead, or still there.

And every job of a `ReplScheduler` that is due puts one, which they share out in the same way.

Some die at work, some work longer than their lease, some say that they failed. What is looked at is
what callers of a `ReplTaskQueue` rely on: no lease is given twice, none is done twice, and nothing
is lost or comes from nowhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from ..errors import NotApplied
from ..structs.leases import Task
from ..structs.schedulers import ReplScheduler
from ..structs.tasks import ReplTaskQueue
from .recording import error_of
from .violation import Violation

if TYPE_CHECKING:
    from ..futures import Future
    from .workload import Client, Load

ATTEMPTS: Final = 3
TERMS: Final[dict[str, Any]] = {
    "lease": 1.0, "max_attempts": ATTEMPTS, "retry_delay": 0.2, "retry_delay_max": 1.0
}  # fmt: skip
"""On which tasks are taken."""


def make() -> ReplTaskQueue[int]:
    """Return the queue of a run, as every node makes it."""
    return ReplTaskQueue(**TERMS)


def make_scheduler() -> ReplScheduler[Any]:
    """Return the scheduler of a run, as every node makes it."""
    return ReplScheduler(**TERMS)


class Toil:
    """What the callers of a run know of its tasks; each has a number of its own as payload."""

    NAME = "tasks"
    """That of the object."""

    def __init__(self) -> None:
        self._put: dict[int, bool] = {}
        """Whether it was put for certain; None of it is known of those that lack."""
        self._refused: set[int] = set()
        self._tokens: set[int] = set()
        self._done: Counter[int] = Counter()
        self._maybe_done: set[int] = set()

    def begin(self, payload: int) -> None:
        """Note that a task is about to be put."""
        self._put[payload] = False

    def put(self, payload: int, *, applied: bool) -> None:
        """Note that a task was put, or certainly not."""
        if applied:
            self._put[payload] = True
        else:
            self._refused.add(payload)

    def take(self, task: Task[int], who: str) -> None:
        """Note that a caller was given a task.

        Raises:
            Violation: it cannot have been.
        """
        self._lease(task, who)
        if task.payload not in self._put:
            raise Violation(f"{who} was given {task}, which nobody has put")
        if self._done[task.payload] and task.token > self._done[task.payload]:
            raise Violation(f"{who} was given {task} under {task.token}, and it was done before")

    def _lease(self, task: Task[Any], who: str) -> None:
        if task.token in self._tokens:
            raise Violation(f"{who} was given {task} under token {task.token}, which was given")
        self._tokens.add(task.token)
        if not 1 <= task.attempt <= ATTEMPTS:
            raise Violation(f"{who} was given {task}, and there are {ATTEMPTS} attempts")

    def finish(self, task: Task[int]) -> None:
        """Note that a caller is about to say that a task is done."""
        self._maybe_done.add(task.payload)

    def finished(self, task: Task[int], who: str) -> None:
        """Note that it was told that this counts.

        Raises:
            Violation: somebody else was told so, too.
        """
        if self._done[task.payload]:
            raise Violation(f"{who} was told that {task} is done; so was another caller")
        self._done[task.payload] = task.token

    def check(self, load: Load) -> None:
        """Look at what is left, once all is well and nobody calls.

        Raises:
            Violation: a task is lost, or is there although it is done, or was never put.
        """
        queue: Any = load.simulation.lives()[0].consumers.get(self.NAME)
        if queue is None:
            return
        left = Counter(self._left(queue))
        for payload, count in left.items():
            if count > 1 or payload in self._refused or self._done[payload]:
                raise Violation(
                    f"task {payload} is {count} times in the queue; refused: "
                    f"{payload in self._refused}, done under token {self._done[payload]}"
                )
        live = load.simulation.lives()[0].table.sessions.live()
        # A task may be due after its worker's node has died, or, of what repeats itself, just now.
        known = {life.replica.outbox.session for life in load.simulation.lives()}
        for id_, entry in queue._entries.items():
            if entry.token and entry.session not in live:
                raise Violation(f"task {id_} is leased to session {entry.session}, which is over")
            is_told = entry.token in self._tokens or entry.payload not in self._put
            if entry.token and entry.session in known and not is_told:
                raise Violation(f"task {id_} is leased under token {entry.token} to nobody")
        for payload, is_put in self._put.items():
            if is_put and not left[payload] and payload not in self._maybe_done:
                raise Violation(f"task {payload} was put, and is neither done nor there")

    def _left(self, queue: Any) -> Iterator[Any]:
        """Yield the payloads of what is in the queue."""
        yield from (entry.payload for entry in queue._entries.values())
        yield from (task.payload for task in queue.dead_letters())

    async def feed(self, client: Client) -> None:
        """Put a task."""
        random, payload = client.random, client.load.number()
        priority = random.choice((0, 0, 0, 1, 2))
        delay = random.choice((0.0, 0.0, random.random()))
        await self._feed(client, payload, "put", payload, priority=priority, delay=delay)

    async def _feed(
        self, client: Client, payload: int, method: str, *args: Any, **how: Any
    ) -> None:
        """Bring a task in by that method; it is not there if the result is False."""
        self.begin(payload)
        try:
            putting = submit(client, self.NAME, method, *args, **how)
        except NotApplied:
            self.put(payload, applied=False)
            return
        if await client._await(putting):
            error = error_of(putting)
            if error is None:
                self.put(payload, applied=putting.result() is not False)
            elif isinstance(error, NotApplied):
                self.put(payload, applied=False)


class Rota(Toil):
    """What the callers of a run know of its jobs.

    What is due once is a task as any other, with a payload of its own. Of jobs that repeat
    themselves, the payload is their name.
    """

    NAME = "rota"
    JOBS: Final[dict[str, dict[str, Any]]] = {
        "tick": {"every": 2.0}, "tock": {"every": 5.0}, "minutely": {"cron": "* * * * *"}
    }  # fmt: skip
    """They go on when callers have ended; seldom, as slow snapshots must arrive meanwhile."""

    def __init__(self) -> None:
        super().__init__()
        self._ats: dict[int, datetime] = {}
        """For when each one-time job is, by its payload."""
        self._ids: dict[tuple[str, datetime], int] = {}
        """Which task was put for which minute."""
        self._begun: dict[int, str] = {}
        """Tasks that a caller was given and has not begun to end, and of which jobs they are."""
        self._overtaken: set[int] = set()
        """Tasks of which the job had another one before anybody said that they were done."""

    def take(self, task: Task[Any], who: str) -> None:
        """Note that a caller was given a task.

        Raises:
            Violation: it cannot have been.
        """
        job, time = task.payload, task.scheduled
        if job not in self.JOBS:
            super().take(task, who)
            if time != self._ats[job]:
                raise Violation(f"{who} was given {task} for {time}, and not for {self._ats[job]}")
            return
        self._lease(task, who)
        if job == "minutely" and time is not None:
            if time.second or time.microsecond:
                raise Violation(f"{who} was given {task} for {time}, which is no minute")
            if self._ids.setdefault((job, time), task.id) != task.id:
                raise Violation(f"{who} was given {task} for {time}, as was another one")
        self._overtaken |= {i for i, j in self._begun.items() if j == job and i < task.id}
        self._begun[task.id] = job

    def finish(self, task: Task[Any]) -> None:
        """Note that a caller is about to say that a task is done."""
        if self._begun.pop(task.id, None) is None:
            super().finish(task)

    def finished(self, task: Task[Any], who: str) -> None:
        """Note that it was told that this counts.

        Raises:
            Violation: somebody else was told so, too; or its job had another task meanwhile.
        """
        if task.payload not in self.JOBS:
            super().finished(task, who)
        elif task.id in self._overtaken:
            raise Violation(f"{who} has done {task}, and there was another task of that job")

    def _left(self, queue: Any) -> Iterator[Any]:
        yield from super()._left(queue)
        yield from (job.payload for job in queue._jobs.values() if job.at is not None)

    async def feed(self, client: Client) -> None:
        """Add a job, trigger it, or remove it."""
        random = client.random
        if random.random() < 0.5:
            added = [payload for payload, is_added in self._put.items() if is_added]
            if added and random.random() < 0.3:
                # As by a member that starts later.
                payload = random.choice(added[-5:])
                name, at = f"once {payload}", self._ats[payload]
                await client._await(submit(client, self.NAME, "add", name, payload, at=at))
                return
            payload = client.load.number()
            wall = client.life.wall_time() + random.random() * 2.0
            self._ats[payload] = at = datetime.fromtimestamp(wall, UTC)
            await self._feed(client, payload, "add", f"once {payload}", payload, at=at)
            return
        name = random.choice(list(self.JOBS))
        how = random.random()
        if how < 0.7:
            await client._await(submit(client, self.NAME, "add", name, name, **self.JOBS[name]))
        else:
            method = "trigger" if how < 0.85 else "remove"
            await client._await(submit(client, self.NAME, method, name))


async def toil(client: Client, name: str) -> None:
    """Put a task, or take one and work on it, as well as this caller does."""
    random, toils = client.random, client.load.toils[name]
    if random.random() < 0.4:
        await toils.feed(client)
        return
    waits = random.choice(((), (False,), (True, random.random())))
    lease = {"lease": None} if random.random() < 0.3 else {}
    taking = submit(client, name, "get", *waits, **lease)
    if not await client._await(taking) or error_of(taking) is not None:
        if not taking.done():
            taking.cancel()
        return
    task = taking.result()
    toils.take(task, client.name)
    for _ in range(random.choice((0, 0, 1, 3))):
        await asyncio.sleep(random.expovariate(1.0) * 0.5)
        await client._await(submit(client, name, "heartbeat", task))
    how = random.random()
    if how < 0.2:
        return  # it died at work
    if how < 0.4:
        await client._await(submit(client, name, "nack", task))
        return
    toils.finish(task)
    ending = submit(client, name, "ack", task)
    if await client._await(ending) and error_of(ending) is None:
        toils.finished(task, client.name)


def submit(client: Client, name: str, method: str, *args: Any, **how: Any) -> Future[Any]:
    """Make a call that is recorded."""
    recorder = client.load.recorder
    record = recorder.begin(client.name, name, method, *args)
    record.kwargs, record.session = how, client.life.id
    try:
        future: Future[Any] = getattr(client._objects[name], method).submit(*args, **how)
    except Exception as error:
        recorder.fail(record, error)
        raise
    recorder.follow(record, future)
    return future
