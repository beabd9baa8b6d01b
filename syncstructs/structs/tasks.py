"""`ReplTaskQueue`: work that is done at least once, whoever dies meanwhile.

A task that is taken is leased, not removed: to the node that took it, for so many seconds of
cluster time. It is gone when that node says `ack`. If it says `nack`, or the lease ends first
(also because the session of the node expired), the task is taken by somebody else, until its
attempts are used up; then it lies among the dead ones. Every lease has a token that grows for
ever, as that of a lock: hand it on with what the task writes, and let that refuse smaller ones.

All of it is decided by the log. No member's clock takes part: a lease ends by a command that the
leader puts into the log once cluster time has come so far (`Replicated.set_due`).
"""

from collections.abc import Iterable
from heapq import heapify, heappop, heappush
from operator import index as as_index
from queue import Full
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

import msgspec

from ..errors import LockLost
from ..objects.context import current_context
from ..objects.port import Steps
from ..objects.replicated import operation, reading, replicated
from ..objects.waiters import Waiters
from .leases import Leasing, checked_seconds
from .queues import ShutDown
from .values import isolated
from .waiting import Wait

T = TypeVar("T")

_STALE_MAX: Final = 64
"""Former times that are kept at the most, besides as many as there are tasks."""


class DeadTask(NamedTuple):
    """A task whose attempts are used up."""

    id: int
    key: str | None
    payload: Any
    priority: int
    attempts: int
    error: str | None
    """What the last `nack` said; None: its last lease ended."""


class Progress(NamedTuple):
    """How far a task queue is: how many tasks wait, and how many were dealt with in its life."""

    ready: int
    """Could be taken now."""
    delayed: int
    """Will be ready later."""
    leased: int
    """Are being worked on, or were, by somebody whose lease has not ended."""
    dead: int
    """Have used up their attempts, and lie there."""
    put: int
    """Were ever put."""
    done: int
    """Were acknowledged."""
    retried: int
    """How often one was given back, or its lease ended, and it is to be tried again."""

    @property
    def unfinished(self) -> int:
        """Tasks that are neither done nor dead."""
        return self.ready + self.delayed + self.leased


class _Entry(msgspec.Struct, array_like=True):
    """A task that is not done. What is leased has a token; else what has a time is delayed."""

    payload: Any
    priority: int
    key: str | None
    attempts: int = 0
    time: float | None = None
    """In cluster time: when it is ready, or when its lease ends (None: with the session)."""
    token: int = 0
    session: int = 0
    ticket: int = 0
    """By which it was taken, in the session."""


class ReplTaskQueue(Leasing[T]):
    """A queue of tasks that are leased to workers until they are acknowledged: at least once.

    Of the tasks that are ready, the one of the highest `priority` is taken first, of these the
    oldest. Workers that wait are served in the order in which they came, on whichever member.
    `for task in tasks:` and `async for task in tasks:` take one after the other until the queue is
    shut down and all is done.

    >>> mails = ReplTaskQueue(lease=30.0, max_attempts=3)
    >>> mails.progress().unfinished
    0

    Each call is one log entry; a wait that is not served in time takes a second one, and each
    moment at which leases end or delays are over another. `put` and `get` take O(log n), all else
    O(1), but what says otherwise. If the leader is lost, calls go on with the next one; leases end
    so much later. When the session of a node expires (`Config.session_ttl`), what it has taken is
    for others, whatever is left of the leases, and those attempts have failed.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_ready", "_later", "_keys", "_tickets"})

    def __init__(
        self,
        lease: float | None = 60.0,
        *,
        max_attempts: int | None = 5,
        retry_delay: float = 1.0,
        retry_delay_max: float = 300.0,
        maxsize: int = 0,
    ) -> None:
        """Members must agree on all of it.

        `lease`: seconds of cluster time for which a task is taken, unless `get` says otherwise;
        None: for as long as the session of the node lives that took it.
        `max_attempts`: how often a task is taken at the most; None: without end.
        `retry_delay`: seconds until a task that failed is ready again, twice as many after each
        further attempt, `retry_delay_max` at the most.
        `maxsize`: how many tasks may be unfinished; 0: any number.
        """
        self._lease = None if lease is None else checked_seconds("lease", lease, least=0.001)
        if max_attempts is not None and max_attempts < 1:
            raise ValueError(f"max_attempts={max_attempts!r} must be 1 or more, or None")
        self._max_attempts = max_attempts
        self._retry_delay = checked_seconds("retry_delay", retry_delay)
        self._retry_delay_max = checked_seconds("retry_delay_max", retry_delay_max)
        self._maxsize = maxsize
        self._entries: dict[int, _Entry] = {}
        self._dead: dict[int, DeadTask] = {}
        self._counts = {"put": 0, "done": 0, "retried": 0}
        self._last_token = 0
        self._closed = False
        self._getters = Waiters()
        self._joiners = Waiters()
        self._derive()

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {
            "lease": self._lease, "max_attempts": self._max_attempts,
            "retry_delay": self._retry_delay, "retry_delay_max": self._retry_delay_max,
            "maxsize": self._maxsize,
        }  # fmt: skip

    def snapshot_state(self) -> object:
        """Return the state; tasks as lists. O(n)."""
        state = super().snapshot_state()
        assert isinstance(state, dict)
        entries = {id_: list(msgspec.structs.astuple(e)) for id_, e in self._entries.items()}
        return state | {"_entries": entries, "_dead": {i: list(d) for i, d in self._dead.items()}}

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        entries = {id_: _Entry(*row) for id_, row in state["_entries"].items()}
        dead = {id_: DeadTask(*row) for id_, row in state["_dead"].items()}
        super().restore_state(state | {"_entries": entries, "_dead": dead})
        self._derive()

    def initial_state(self) -> Any:
        """Return the state of a new object: what was delayed or leased is ready at once. O(n)."""
        entries = {
            id_: list(msgspec.structs.astuple(_Entry(e.payload, e.priority, e.key, e.attempts)))
            for id_, e in self._entries.items()
        }
        return super().initial_state() | {"_entries": entries}

    # Putting

    @replicated
    def put(
        self, payload: T, priority: int = 0, delay: float = 0.0, key: str | None = None
    ) -> int:
        """Put a task, to be taken in `delay` seconds of cluster time; return its id.

        With a `key`, nothing is put if a task of that key is unfinished or dead; the id is that
        one's then.

        Raises:
            queue.Full: `maxsize` tasks are unfinished. Nothing was put.
            ShutDown: the queue was shut down. Nothing was put.
            ValueError: `delay` is below 0, or no number.
            TypeError: `priority` is no whole number. Nothing was put.
        """
        delay, priority = checked_seconds("delay", delay), as_index(priority)
        if key is not None and key in self._keys:
            return self._keys[key]
        if self._closed:
            raise ShutDown
        if 0 < self._maxsize <= len(self._entries):
            raise Full
        id_ = self._next_number()
        self._enter(id_, payload, priority, key, delay)
        return id_

    @operation
    def join(self) -> Steps[None]:
        """Wait until no task is unfinished: all are done or dead."""
        wait: Wait[bool] = Wait(self, "join", self._join.submit, self._stop_joining.submit)
        yield from wait.served(None)

    @replicated
    def shutdown(self) -> None:
        """Refuse further puts. Who takes goes on until all is done or dead, and is told then."""
        self._closed = True
        self._end_if_finished()
        self._set_next_due()

    # The dead

    def dead_letters(self) -> list[DeadTask]:
        """Return the tasks whose attempts are used up, as this member knows them. O(their number).

        They keep their key, so that none of that key can be put.
        """
        with reading(self):
            return [task._replace(payload=isolated(task.payload)) for task in self._dead.values()]

    @replicated
    def revive(self, ids: Iterable[int] | None = None) -> int:
        """Make dead tasks ready, with all their attempts before them; return how many. O(n).

        `ids`: which; None: all.
        """
        revived = self._bury(ids)
        for task in revived:
            self._entries[task.id] = _Entry(task.payload, task.priority, task.key)
            if task.key is not None:
                self._keys[task.key] = task.id
            self._make_ready(task.id, 0.0)
        return len(revived)

    @replicated
    def discard(self, ids: Iterable[int] | None = None) -> int:
        """Forget dead tasks; return how many. `ids`: which; None: all. O(n)."""
        return len(self._bury(ids))

    # Reads

    def progress(self) -> Progress:
        """Return how far the queue is, as this member knows it. O(n)."""
        with reading(self):
            leased = sum(e.token > 0 for e in self._entries.values())
            delayed = sum(e.token == 0 and e.time is not None for e in self._entries.values())
            ready = len(self._entries) - leased - delayed
            return Progress(ready, delayed, leased, len(self._dead), **self._counts)

    def qsize(self) -> int:
        """Return how many tasks are unfinished on this member, now."""
        with reading(self):
            return len(self._entries)

    def empty(self) -> bool:
        """Return whether no task is unfinished on this member, now."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Return whether `maxsize` tasks are unfinished on this member, now."""
        return 0 < self._maxsize <= self.qsize()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.progress()}>"

    # The commands behind them

    @replicated
    def _take(self, ticket: int, lease: float | None, wait: bool) -> list[Any] | None:
        session = current_context().session
        id_ = self._next_ready()
        if id_ is not None:
            return self._grant(id_, session, ticket, lease)
        if self._closed and not self._entries:
            raise ShutDown
        parked: list[Any] | None = self._getters.park(ticket, lease) if wait else None
        return parked

    @replicated
    def _withdraw(self, ticket: int) -> None:
        """End the wait of a ticket, or give back what it was served meanwhile."""
        if not self._getters.cancel(ticket):
            id_ = self._tickets.get((current_context().session, ticket))
            if id_ is not None:
                self._return(id_)

    @replicated
    def _give_back(self, id_: int, token: int) -> None:
        """Undo a `_take` whose caller had just given up."""
        if self._is_leased(id_, token):
            self._return(id_)

    @replicated
    def _ack(self, id_: int, token: int) -> None:
        entry = self._leased(id_, token)
        self._release(id_, entry)
        self._remove(id_)
        self._counts["done"] += 1
        self._end_if_finished()

    @replicated
    def _nack(self, id_: int, token: int, delay: float | None, error: str | None) -> None:
        self._leased(id_, token)
        self._fail(id_, delay, error)

    @replicated
    def _extend(self, id_: int, token: int, lease: float | None) -> None:
        self._leased(id_, token)
        self._set_time(id_, None if lease is None else current_context().time + lease)

    @replicated
    def _join(self, ticket: int) -> bool:
        waits: bool = True if not self._entries else self._joiners.park(ticket)
        return waits

    @replicated
    def _stop_joining(self, ticket: int) -> None:
        self._joiners.cancel(ticket)

    def on_due(self) -> None:
        """Make ready what is due, and what was leased until now. Part of a command."""
        now = current_context().time
        while (first := self._first_later()) is not None and first[0] <= now:
            heappop(self._later)
            id_ = first[1]
            if self._entries[id_].token:
                self._fail(id_, None, None)
            else:
                self._make_ready(id_, 0.0)
        self._set_next_due()

    def on_session_expired(self, session: int) -> None:
        """Give up what the session waits for, and what it has taken."""
        super().on_session_expired(session)
        taken = [id_ for (owner, _), id_ in self._tickets.items() if owner == session]
        # In the order of the leases: that of `_tickets` is another one where it was derived from a
        # snapshot, and whoever waits would be given another task on that member.
        for id_ in sorted(taken, key=lambda id_: self._entries[id_].token):
            self._fail(id_, None, None)

    # What they are made of

    def _enter(
        self, id_: int, payload: T, priority: int, key: str | None, delay: float
    ) -> None:
        self._entries[id_] = _Entry(payload, priority, key)
        self._counts["put"] += 1
        if key is not None:
            self._keys[key] = id_
        self._make_ready(id_, delay)

    def _grant(self, id_: int, session: int, ticket: int, lease: float | None) -> list[Any]:
        """Lease a ready task; return what `Task` is made of."""
        entry = self._entries[id_]
        entry.attempts += 1
        entry.token, entry.session, entry.ticket = self._next_number(), session, ticket
        self._tickets[session, ticket] = id_
        self._set_time(id_, None if lease is None else current_context().time + lease)
        return [id_, entry.token, entry.attempts, entry.key, entry.payload]

    def _next_number(self) -> int:
        """Return an id, or a token: greater than all before, and one command may take several."""
        self._last_token = max(self._last_token + 1, current_context().serial)
        return self._last_token

    def _return(self, id_: int) -> None:
        """Undo a lease, as if the task had not been taken."""
        self._entries[id_].attempts -= 1
        self._make_ready(id_, 0.0)

    def _fail(self, id_: int, delay: float | None, error: str | None) -> None:
        """End an attempt: the task is ready again in `delay` seconds, or dead."""
        entry = self._entries[id_]
        if self._max_attempts is not None and entry.attempts >= self._max_attempts:
            self._release(id_, entry)
            self._remove(id_, keeps_key=True)
            self._dead[id_] = DeadTask(
                id_, entry.key, entry.payload, entry.priority, entry.attempts, error
            )
            self._end_if_finished()
            return
        self._counts["retried"] += 1
        self._make_ready(id_, self._retry_seconds(entry.attempts) if delay is None else delay)

    def _retry_seconds(self, attempts: int) -> float:
        # A larger power would overflow, and is over the limit anyway.
        return min(self._retry_delay * 2.0 ** min(attempts - 1, 64), self._retry_delay_max)

    def _make_ready(self, id_: int, delay: float) -> None:
        """Let a task be taken in `delay` seconds: by who waits longest, if somebody does."""
        entry = self._entries[id_]
        self._release(id_, entry)
        if delay > 0:
            self._set_time(id_, current_context().time + delay)
            return
        self._set_time(id_, None)
        heappush(self._ready, (-entry.priority, id_))
        self._serve()

    def _serve(self) -> None:
        while self._getters and (id_ := self._next_ready()) is not None:
            session, ticket = next(iter(self._getters))
            lease = self._getters.first()
            self._getters.serve(self._grant(id_, session, ticket, lease))

    def _release(self, id_: int, entry: _Entry) -> None:
        if entry.token:
            self._tickets.pop((entry.session, entry.ticket), None)
            entry.token = entry.session = entry.ticket = 0

    def _remove(self, id_: int, *, keeps_key: bool = False) -> None:
        entry = self._entries.pop(id_)
        if entry.key is not None and not keeps_key:
            del self._keys[entry.key]
        self._set_next_due()

    def _bury(self, ids: Iterable[int] | None) -> list[DeadTask]:
        """Take those of the dead out, with their keys."""
        chosen = list(self._dead) if ids is None else [i for i in ids if i in self._dead]
        buried = [self._dead.pop(id_) for id_ in dict.fromkeys(chosen)]
        for task in buried:
            if task.key is not None:
                del self._keys[task.key]
        return buried

    def _end_if_finished(self) -> None:
        if self._entries:
            return
        while self._joiners:
            self._joiners.serve(True)
        if self._closed:
            self._getters.refuse_all(ShutDown())

    def _leased(self, id_: int, token: int) -> _Entry:
        if not self._is_leased(id_, token):
            raise LockLost(f"the lease of task {id_} under token {token} has ended")
        return self._entries[id_]

    def _is_leased(self, id_: int, token: int) -> bool:
        entry = self._entries.get(id_)
        return entry is not None and token > 0 and entry.token == token

    def _check(self) -> None:
        entries = self._entries
        assert not (self._getters and any(self._is_ready(e) for e in entries.values())), entries
        taken = {(e.session, e.ticket): i for i, e in entries.items() if e.token}
        assert taken == self._tickets, (taken, self._tickets)
        keyed = {e.key: i for i, e in entries.items() if e.key is not None}
        keyed |= {task.key: i for i, task in self._dead.items() if task.key is not None}
        assert keyed == self._keys, (keyed, self._keys)
        ready = {(-e.priority, i) for i, e in entries.items() if self._is_ready(e)}
        assert ready <= {*self._ready}, (ready, self._ready)
        timed = {(e.time, i) for i, e in entries.items() if e.time is not None}
        assert timed <= {*self._later}, (timed, self._later)
        stale_max = 2 * len(entries) + _STALE_MAX
        assert max(len(self._later), len(self._ready)) <= stale_max, (self._later, self._ready)
        assert not (entries.keys() & self._dead.keys()), (entries, self._dead)
        binding = self._binding
        if binding is not None and binding.due is not None and type(binding.target) is int:
            due, first = binding.due.of(binding.target), self._first_due()
            assert due == first, (due, first)

    # Derived from the tasks: what is ready, and what has a time

    def _derive(self) -> None:
        self._keys = {e.key: i for i, e in self._entries.items() if e.key is not None}
        self._keys |= {task.key: i for i, task in self._dead.items() if task.key is not None}
        self._tickets = {(e.session, e.ticket): i for i, e in self._entries.items() if e.token}
        self._derive_later()
        self._derive_ready()

    def _derive_ready(self) -> None:
        self._ready = [(-e.priority, i) for i, e in self._entries.items() if self._is_ready(e)]
        heapify(self._ready)

    def _derive_later(self) -> None:
        self._later = [(e.time, i) for i, e in self._entries.items() if e.time is not None]
        heapify(self._later)

    @staticmethod
    def _is_ready(entry: _Entry) -> bool:
        return not entry.token and entry.time is None

    def _next_ready(self) -> int | None:
        """Take out and return the task that is to be taken first, or None."""
        while self._ready:
            _, id_ = heappop(self._ready)
            entry = self._entries.get(id_)
            if entry is not None and self._is_ready(entry):
                return id_
        return None

    def _first_later(self) -> tuple[float, int] | None:
        """Return the earliest time that a task has, and which; None: none has."""
        while self._later:
            time, id_ = self._later[0]
            entry = self._entries.get(id_)
            if entry is not None and entry.time == time:
                return time, id_
            heappop(self._later)
        return None

    def _set_time(self, id_: int, time: float | None) -> None:
        self._entries[id_].time = time
        if time is not None:
            heappush(self._later, (time, id_))
        self._set_next_due()

    def _set_next_due(self) -> None:
        if len(self._later) > 2 * len(self._entries) + _STALE_MAX:
            # Heartbeats leave former ends, which pile up behind whatever is due before them.
            self._derive_later()
        if len(self._ready) > 2 * len(self._entries) + _STALE_MAX:
            # So do tasks of jobs that are removed while nobody takes any.
            self._derive_ready()
        self.set_due(self._first_due())

    def _first_due(self) -> float | None:
        """Return when there is something to do, in cluster time; None: never."""
        first = self._first_later()
        return None if first is None else first[0]
