"""Callers that share out tasks: every task that was put for certain is done, dead, or still there.

Some die at work, some work longer than their lease, some say that they failed. What is looked at is
what callers of a `ReplTaskQueue` rely on: no lease is given twice, none is done twice, and nothing
is lost or comes from nowhere.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from ..errors import Cancelled, NotApplied
from ..structs.leases import Task
from ..structs.tasks import ReplTaskQueue
from .violation import Violation

if TYPE_CHECKING:
    from ..futures import Future
    from .workload import Client, Load

ATTEMPTS: Final = 3


def make() -> ReplTaskQueue[int]:
    """Return the queue of a run, as every node makes it."""
    return ReplTaskQueue(lease=1.0, max_attempts=ATTEMPTS, retry_delay=0.2, retry_delay_max=1.0)


class Toil:
    """What the callers of a run know of its tasks; each has a number of its own as payload."""

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
        if task.token in self._tokens:
            raise Violation(f"{who} was given {task} under token {task.token}, which was given")
        self._tokens.add(task.token)
        if not 1 <= task.attempt <= ATTEMPTS:
            raise Violation(f"{who} was given {task}, and there are {ATTEMPTS} attempts")
        if task.payload not in self._put:
            raise Violation(f"{who} was given {task}, which nobody has put")
        if self._done[task.payload] and task.token > self._done[task.payload]:
            raise Violation(f"{who} was given {task} under {task.token}, and it was done before")

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
        queue: ReplTaskQueue[int] | None = load.simulation.lives()[0].consumers.get("tasks")
        if queue is None:
            return
        left = Counter(entry.payload for entry in queue._entries.values())
        left.update(task.payload for task in queue.dead_letters())
        for payload, count in left.items():
            if count > 1 or payload in self._refused or self._done[payload]:
                raise Violation(
                    f"task {payload} is {count} times in the queue; refused: "
                    f"{payload in self._refused}, done under token {self._done[payload]}"
                )
        live = load.simulation.lives()[0].table.sessions.live()
        for id_, entry in queue._entries.items():
            if entry.token and entry.session not in live:
                raise Violation(f"task {id_} is leased to session {entry.session}, which is over")
            if entry.token and entry.token not in self._tokens:
                raise Violation(f"task {id_} is leased under token {entry.token} to nobody")
        for payload, is_put in self._put.items():
            if is_put and not left[payload] and payload not in self._maybe_done:
                raise Violation(f"task {payload} was put, and is neither done nor there")


async def toil(client: Client, name: str) -> None:
    """Put a task, or take one and work on it, as well as this caller does."""
    random, toils, tasks = client.random, client.load.toil, client._objects[name]
    if random.random() < 0.4:
        await _put(client, tasks)
        return
    waits = random.choice(((), (False,), (True, random.random())))
    lease = {"lease": None} if random.random() < 0.3 else {}
    taking = tasks.get.submit(*waits, **lease)
    if not await client._await(taking) or _error_of(taking) is not None:
        if not taking.done():
            taking.cancel()
        return
    task = taking.result()
    toils.take(task, client.name)
    for _ in range(random.choice((0, 0, 1, 3))):
        await asyncio.sleep(random.expovariate(1.0) * 0.5)
        await client._await(tasks.heartbeat.submit(task))
    how = random.random()
    if how < 0.2:
        return  # it died at work
    if how < 0.4:
        await client._await(tasks.nack.submit(task))
        return
    toils.finish(task)
    ending = tasks.ack.submit(task)
    if await client._await(ending) and _error_of(ending) is None:
        toils.finished(task, client.name)


async def _put(client: Client, tasks: ReplTaskQueue[int]) -> None:
    random, toils, payload = client.random, client.load.toil, client.load.number()
    toils.begin(payload)
    try:
        putting = tasks.put.submit(
            payload,
            priority=random.choice((0, 0, 0, 1, 2)),
            delay=random.choice((0.0, 0.0, random.random())),
        )
    except NotApplied:
        toils.put(payload, applied=False)
        return
    if await client._await(putting):
        error = _error_of(putting)
        if error is None or isinstance(error, NotApplied):
            toils.put(payload, applied=error is None)


def _error_of(future: Future[Any]) -> BaseException | None:
    return Cancelled() if future.cancelled() else future.exception()
