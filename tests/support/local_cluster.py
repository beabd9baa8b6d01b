"""A cluster without Raft, network, threads and clocks: N tables fed with the same entries.

For tests of objects. Every call is encoded, put into an entry of its own and applied on all
members at once, so results are those of a real cluster that never fails. Time is virtual: it
passes only in `advance`, or when somebody blocks on what time alone can bring.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from random import Random
from typing import Any

from syncstructs.errors import Cancelled
from syncstructs.futures import Future
from syncstructs.node.changes import Changes
from syncstructs.node.operations import caller
from syncstructs.objects.batches import encode_command, encode_group
from syncstructs.objects.changes import News, tell
from syncstructs.objects.context import PARKED, Outcome
from syncstructs.objects.port import Binding, Steps, Turns
from syncstructs.objects.replicated import Replicated, attach_arguments, create_arguments
from syncstructs.objects.table import Applied, Table
from syncstructs.raft.messages import Entry, EntryKind

DETACHED_BYTES = 1 << 20
SESSION_TTL = 10.0
EPOCH = datetime(2024, 2, 28, tzinfo=UTC).timestamp()


class LocalPort:
    """A member: its table, its session and its calls. Implements `Port`."""

    call_timeout: float | None = 30.0
    in_batch: bool = False
    authenticates: bool = True

    def __init__(self, cluster: LocalCluster, number: int) -> None:
        self.cluster = cluster
        self.address = f"member{number}:1"
        self.table = self.new_table()
        self.session = 0
        self.attempt = 0
        self.sequence = 0
        self.pending: dict[int, Future[Any]] = {}
        self.certain = True
        self.news: News = []
        self._reading = threading.RLock()
        self.turns = Turns()
        self.turns.begin()
        self._tickets = itertools.count(1)

    def new_table(self) -> Table:
        return Table(owner=self, random_type=Random, detached_bytes=DETACHED_BYTES)

    @property
    def reading(self) -> AbstractContextManager[object]:
        return self._reading

    def rewatch(self, binding: Binding) -> None:
        self.table.rewatch(binding.name)

    def changes(self, target: Replicated, limit: int) -> Changes:
        return Changes(target, limit, self.cluster)

    def submit(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Future[Any]:
        return self.send(encode_command(binding.target, method, args, kwargs))

    def call(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Any:
        return self.submit(binding, method, args, kwargs).result()

    def start(self, steps: Steps[Any]) -> Future[Any]:
        run = _Run(self.cluster, steps)
        run.advance(None, None)
        return run.future

    def run(self, steps: Steps[Any], undo: Any = None, name: str = "operation") -> Any:
        return self.start(steps).result()

    def ticket(self) -> int:
        return next(self._tickets)

    def caller(self) -> Hashable:
        return caller()

    def now(self) -> float:
        return self.cluster.now

    def wall_time(self) -> float:
        return self.cluster.wall + self.cluster.now

    def sure_until(self) -> float:
        return self.cluster.now + SESSION_TTL if self.certain else 0.0

    # Beyond Port

    def tell(self) -> None:
        """Tell subscribers what was applied, as a node does behind each entry."""
        tell(self.news)

    def system(self, method: str, *args: object) -> Any:
        """Call the table itself, as a node does for attach, create and drop."""
        return self.send(encode_command(0, method, args, {})).result()

    def send(self, command: bytes) -> Future[Any]:
        """Put a command of this member's session into the log; its future is done or parked."""
        if not self.session:
            self.open_session()
        self.sequence += 1
        future = self.pending[self.sequence] = Future(self.cluster)
        self.cluster.append(encode_group(self.session, self.sequence, 1, command))
        return future

    def open_session(self) -> None:
        self.attempt += 1
        opening = (self.address, 1, self.attempt, SESSION_TTL)
        self.cluster.append(encode_group(0, 0, 1, encode_command(0, "open_session", opening, {})))

    def take_in(self, applied: Applied) -> None:
        for first, results in applied.results:
            for sequence, result in enumerate(results, first):
                if result is not PARKED:
                    self._finish(sequence, result)
        for sequence, outcome in applied.resumed:
            self._finish(sequence, outcome)
        if self.session in applied.expired:
            self.session = self.sequence = 0
            for target in self.table.objects.values():
                target.on_session_lost()
        for address, _, attempt, session in applied.opened:
            if (address, attempt) == (self.address, self.attempt):
                self.session, self.sequence = session, 0

    def _finish(self, sequence: int, outcome: Outcome) -> None:
        future = self.pending.pop(sequence, None)
        assert future is not None, f"call {sequence} of {self.address} ended twice"
        # Not at once: what its callbacks do belongs behind the entry, on all members.
        self.cluster.ended.append((future, outcome))


class LocalCluster:
    """N members that always agree. Every entry is checked: all digests must stay equal."""

    def __init__(self, n: int = 2, *, check: bool = False) -> None:
        self.now = 1.0
        self.wall = EPOCH
        """How far the clocks of the members are ahead of `now`."""
        self.index = 0
        self.entries: list[Entry] = []
        self.check = check
        """Whether to compare digests and check invariants after every entry (slow)."""
        self.ended: list[tuple[Future[Any], Outcome]] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._timer_numbers = itertools.count()
        self._settling = False
        self.members = [LocalPort(self, i) for i in range(n)]

    # Objects

    def attach(self, name: str, factory: Callable[[], Any]) -> list[Any]:
        """Attach `factory()` on every member under `name`; return the instances, one a member."""
        targets = [factory() for _ in self.members]
        for member, target in zip(self.members, targets, strict=True):
            member.table.offer(name, target)
        for member, target in enumerate(targets):
            self._attach(member, name, target)
        return targets

    def attach_on(self, member: int, name: str, target: Any) -> Any:
        """Do what `node.attach(name, target)` does on one member; return `target`."""
        self.members[member].table.offer(name, target)
        self._attach(member, name, target)
        return target

    def create(self, member: int, name: str, cls: type[Any], *args: object) -> Any:
        """Do what `node.create` does on one member; return its instance."""
        model = cls(*args)
        port = self.members[member]
        port.system("create", *create_arguments(name, model, args))
        return port.table.objects[name]

    def drop(self, member: int, name: str) -> None:
        """Do what `node.drop` does."""
        self.members[member].system("drop", name)

    def batch(self, member: int, calls: list[tuple[Replicated, str, tuple[Any, ...]]]) -> Any:
        """Apply calls as one command; return their outcomes, in order."""
        commands: list[object] = []
        for target, method, args in calls:
            binding = target._binding
            assert binding is not None
            commands.append([binding.target, method, list(args)])
        return self.members[member].system("batch", commands)

    def _attach(self, member: int, name: str, target: Replicated) -> None:
        try:
            self.members[member].system("attach", *attach_arguments(name, target))
        except BaseException:
            self.members[member].table.withdraw(name)
            raise

    # The log

    def append(self, payload: bytes, kind: EntryKind = EntryKind.BATCH) -> None:
        """Commit an entry: apply it on every member, then end the calls that it ended."""
        self.index += 1
        entry = Entry(1, self.index, round(self.now * 1_000_000), kind, payload)
        self.entries.append(entry)
        applied = [member.table.apply(entry, member.session) for member in self.members]
        for member, report in zip(self.members, applied, strict=True):
            member.take_in(report)
            member.tell()
        if self.check:
            self.digest_equal()
        if self._settling:
            return
        self._settling = True
        try:
            while self.ended:
                future, outcome = self.ended.pop(0)
                future.finish(outcome.value, outcome.error)
        finally:
            self._settling = False

    def expire(self, member: int) -> None:
        """Let the session of a member expire; its next call opens another one."""
        session = self.members[member].session
        assert session, "the member has made no call yet, so it has no session"
        command = encode_command(0, "expire_session", (session,), {})
        self.append(encode_group(0, 0, 1, command))

    def renew(self, member: int) -> None:
        """Replace a member's table by a new one that is given an image; handles are lost."""
        port = self.members[member]
        image = list(port.table.image())
        for target in port.table.objects.values():
            target._binding = None
        port.table = port.new_table()
        port.table.restore(image)

    def reload(self, member: int) -> None:
        """Pass a member's state through an image; its handles stay."""
        table = self.members[member].table
        table.restore(list(table.image()))
        self.members[member].tell()

    def digest_equal(self) -> bool:
        """Check all tables, and that they are equal; True, or an AssertionError naming objects."""
        for member in self.members:
            member.table._check()
        first = self.members[0].table
        for member in self.members[1:]:
            digests = member.table.digests()
            wrong = {name for name, d in first.digests().items() if digests.get(name, d) != d}
            assert not wrong, f"{member.address} differs in {sorted(wrong)}"
            if digests.keys() == first.digests().keys():
                assert member.table.digest() == first.digest(), "same objects, but not all equal"
        return True

    # Virtual time

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        """Call `function` when `seconds` have passed."""
        heapq.heappush(self._timers, (self.now + seconds, next(self._timer_numbers), function))

    def advance(self, seconds: float) -> None:
        """Let time pass, and with it waits run out, and objects be woken."""
        until = self.now + seconds
        while self._next_wait() <= until:
            self._step()
        self.now = until

    def wake(self) -> None:
        """Have woken what is due anywhere, as a leader does."""
        time = round(self.now * 1_000_000) / 1_000_000
        due = {row for m in self.members for row in m.table.due_until(time, 1000)}
        if not due:
            # Entries are stamped in whole microseconds.
            self.now += 1e-6
        else:
            rows = [list(row) for row in sorted(due)]
            self.append(encode_group(0, 0, 1, encode_command(0, "wake", (rows,), {})))

    def _next_wait(self) -> float:
        first = [row[0] for m in self.members if (row := m.table.first_due) is not None]
        return min([*first, *(timer[0] for timer in self._timers[:1])], default=float("inf"))

    def block(self, future: Future[Any], timeout: float | None) -> None:
        """Implement `Blocker`: time passes as far as needed, but at most `timeout`."""
        until = float("inf") if timeout is None else self.now + timeout
        while not future.done() and self._next_wait() <= min(until, 1e300):
            self._step()
        if not future.done():
            assert timeout is not None, "deadlock: nothing will ever end this call"
            self.now = until

    def _step(self) -> None:
        """Let time pass until something happens."""
        self.now = max(self.now, self._next_wait())
        if self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()
        else:
            self.wake()


class _Run:
    """One run of an operation's generator (see `Steps`)."""

    def __init__(self, cluster: LocalCluster, steps: Steps[Any]) -> None:
        self._cluster = cluster
        self._steps = steps
        self._wait = 0
        self.future: Future[Any] = Future(cluster, self._cancel)

    def advance(self, value: object, error: BaseException | None) -> None:
        while True:
            try:
                step = self._steps.throw(error) if error else self._steps.send(value)
            except StopIteration as stop:
                return self.future.finish(stop.value, None)
            except Exception as raised:
                return self.future.finish(None, raised)
            future, seconds = step if isinstance(step, tuple) else (step, None)
            timed = isinstance(step, tuple)
            if not future.done() and not (timed and seconds is not None and seconds <= 0):
                return self._await(future, timed, seconds)
            value, error = _seen(future, timed)

    def _await(self, future: Future[Any], timed: bool, seconds: float | None) -> None:
        self._wait += 1
        wait = self._wait

        def go_on(_: object = None) -> None:
            if self._wait == wait:
                self._wait += 1
                self.advance(*_seen(future, timed))

        future.add_done_callback(go_on)
        if seconds is not None:
            self._cluster.after(seconds, go_on)

    def _cancel(self) -> bool:
        self._wait += 1
        self.advance(None, Cancelled("the operation was cancelled"))
        return True


def _seen(future: Future[Any], timed: bool) -> tuple[object, BaseException | None]:
    if timed:
        return future.done(), None
    try:
        return future.result(), None
    except BaseException as error:
        return None, error
