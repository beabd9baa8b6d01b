"""What the log says of what waits: its commands once more, in order, done by plain lists.

A queue's callers see an item only from its `put` to its `get`, with time-outs, withdrawals and
deaths in between that leave much open. The log leaves nothing open: of each command it is certain
what it had to answer, and when a wait that it had begun had to end, and how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import (
    Cancelled,
    NodeFailed,
    ObjectNotFound,
    OutcomeUnknown,
    ResultLost,
    SessionExpired,
)
from .violation import Violation

if TYPE_CHECKING:
    from .simulator import Simulation

Number = tuple[int, int]
"""Which call: its session, and its number there."""

# What a caller may see in place of the answer, whatever that was.
_LOST: Final = (Cancelled, NodeFailed, OutcomeUnknown, ResultLost)
_COMMANDS: Final = frozenset({
    "_put", "put_nowait", "_take", "get_nowait", "_put_back", "task_done", "_join", "shutdown",
    "_stop_getting", "_stop_putting", "_stop_joining",
})  # fmt: skip


class LogTwin:
    """An object as its commands describe it; `answers` says what each of them was answered."""

    def __init__(self) -> None:
        self.answers: dict[Number, tuple[str, Any]] = {}
        """("value", the value) or ("error", the name of its class)."""
        self.began: dict[Number, str] = {}
        """Every command, by the name of its method."""
        self.waits: list[tuple[Number, int]] = []
        """Who waits, and the ticket of each, where there is one line."""
        self.now = 0
        """The cluster time, in microseconds."""

    def command(self, number: Number, method: str, args: list[Any]) -> None:
        """Carry out a command of that session."""
        self.began[number] = method
        getattr(self, method.lstrip("_"))(number, *args)

    def expire(self, session: int) -> None:
        """End all waits of a session."""
        for wait in [w for w in self.waits if w[0][0] == session]:
            self.waits.remove(wait)
            self._error(wait[0], SessionExpired)

    def wake(self, due: float) -> None:
        """Do what is due, if that is the due time still."""

    def state(self) -> object:
        """Return what the object itself has to say of its state in the end."""
        raise NotImplementedError

    def _is_waiting(self, number: Number, ticket: int) -> bool:
        return any(w[0][0] == number[0] and w[1] == ticket for w in self.waits)

    def _stop(self, number: Number, ticket: int) -> None:
        """End the wait that the caller's session has begun with that ticket, if it still waits."""
        for wait in [w for w in self.waits if w[0][0] == number[0] and w[1] == ticket]:
            self.waits.remove(wait)
            self._value(wait[0], None)

    def _value(self, number: Number, value: Any) -> None:
        self.answers[number] = ("value", value)

    def _error(self, number: Number, kind: type[Exception] | str) -> None:
        self.answers[number] = ("error", kind if isinstance(kind, str) else kind.__name__)


class QueueTwin(LogTwin):
    """A queue as its commands describe it."""

    def __init__(self, maxsize: int, *, ordered: bool) -> None:
        super().__init__()
        self.items: list[Any] = []
        self.unfinished = 0
        self.is_shutdown = False
        self.is_drained = False
        self._maxsize = maxsize
        self._ordered = ordered
        self._getters: list[tuple[Number, int]] = []
        self._putters: list[tuple[Number, int, Any]] = []
        self._joiners: list[tuple[Number, int]] = []

    def expire(self, session: int) -> None:
        """End all waits of a session."""
        for line in (self._getters, self._putters, self._joiners):
            for wait in [w for w in line if w[0][0] == session]:
                line.remove(wait)  # type: ignore[arg-type]
                self._error(wait[0], SessionExpired)

    def put(self, number: Number, item: Any, ticket: int | None) -> None:
        if self.is_shutdown:
            self._error(number, "ShutDown")
        elif self._take_in(item):
            self._value(number, True)
        elif ticket is None:
            self._value(number, None)
        else:
            self._putters.append((number, ticket, item))

    def put_nowait(self, number: Number, item: Any) -> None:
        if self.is_shutdown:
            self._error(number, "ShutDown")
        elif self._take_in(item):
            self._value(number, None)
        else:
            self._error(number, "Full")

    def take(self, number: Number, ticket: int | None) -> None:
        if self.items:
            self._value(number, [self._hand_out()])
        elif self.is_shutdown:
            self._error(number, "ShutDown")
        elif ticket is None:
            self._value(number, None)
        else:
            self._getters.append((number, ticket))

    def get_nowait(self, number: Number) -> None:
        if self.items:
            self._value(number, self._hand_out())
        else:
            self._error(number, "ShutDown" if self.is_shutdown else "Empty")

    def put_back(self, number: Number, item: Any) -> None:
        self._value(number, None)
        if self._getters:
            self._value(self._getters.pop(0)[0], [item])
        elif self.is_drained:
            self._done(min(1, self.unfinished))
        else:
            before = len([i for i in self.items if i < item]) if self._ordered else 0
            self.items.insert(before, item)

    def task_done(self, number: Number) -> None:
        if not self.unfinished:
            self._error(number, "ValueError")
            return
        self._value(number, None)
        self._done(1)

    def shutdown(self, number: Number, immediate: bool = False) -> None:
        self._value(number, None)
        self.is_shutdown = True
        if immediate:
            self.is_drained = True
            count, self.items = len(self.items), []
            self._done(min(count, self.unfinished))
        for waiting in [w[0] for w in self._getters] + [w[0] for w in self._putters]:
            self._error(waiting, "ShutDown")
        self._getters, self._putters = [], []

    def _done(self, count: int) -> None:
        self.unfinished -= count
        if not self.unfinished:
            for waiting, _ in self._joiners:
                self._value(waiting, True)
            self._joiners.clear()

    def join(self, number: Number, ticket: int) -> None:
        if self.unfinished:
            self._joiners.append((number, ticket))
        else:
            self._value(number, True)

    def stop_getting(self, number: Number, ticket: int) -> None:
        self._stop_in(self._getters, number, ticket)

    def stop_putting(self, number: Number, ticket: int) -> None:
        self._stop_in(self._putters, number, ticket)

    def stop_joining(self, number: Number, ticket: int) -> None:
        self._stop_in(self._joiners, number, ticket)

    def _stop_in(self, line: list[Any], number: Number, ticket: int) -> None:
        self._value(number, None)
        for wait in [w for w in line if w[0][0] == number[0] and w[1] == ticket]:
            line.remove(wait)
            self._value(wait[0], None)

    def _take_in(self, item: Any) -> bool:
        if 0 < self._maxsize <= len(self.items):
            return False
        self.unfinished += 1
        if self._getters:
            self._value(self._getters.pop(0)[0], [item])
        else:
            self._store(item)
        return True

    def _hand_out(self) -> Any:
        item = self.items.pop(0)
        while self._putters and not 0 < self._maxsize <= len(self.items):
            number, _, waiting = self._putters.pop(0)
            self._store(waiting)
            self.unfinished += 1
            self._value(number, True)
        return item

    def _store(self, item: Any) -> None:
        self.items.append(item)
        if self._ordered:
            self.items.sort()  # of equal ones the oldest stays first


def check_queue_log(
    simulation: Simulation,
    queues: Mapping[str, Callable[[], QueueTwin]],
    other: Callable[[], QueueTwin],
) -> int:
    """Compare every answer of the queues' commands with their twins'; return how many.

    `other` is the twin of each queue that was made meanwhile, and may be gone again.

    Nothing is compared if no node has seen some part of the log, as all took a snapshot instead.

    Raises:
        Violation: a command was answered otherwise, or a queue holds something else in the end.
    """
    life = simulation.lives()[0]
    records = life.table._directory.records
    names = {key: name for name in queues for key in (name, records[name].id)}
    others = {key for name in life.consumers for key in (name, records[name].id)}
    twins = {name: make() for name, make in queues.items()}
    made: dict[int | str, QueueTwin] = {}
    commands = simulation.checks.commands()
    if commands is None:
        return 0
    for command in commands:
        if command.ends is not None:
            for twin in (*twins.values(), *made.values()):
                twin.expire(command.ends)
        elif command.target in names:
            twin = twins[names[command.target]]
            twin.command((command.session, command.sequence), command.method, command.args)
        elif command.method in _COMMANDS and command.target not in others:
            twin = made.setdefault(command.target, other())
            twin.command((command.session, command.sequence), command.method, command.args)
    for name, twin in twins.items():
        holds = list(life.consumers[name]._items)
        if (holds[::-1] if name == "ranks" else holds) != twin.items:
            raise Violation(f"{name!r} holds {holds}; by its log it has to hold {twin.items}")
        if life.consumers[name].unfinished_tasks != twin.unfinished:
            raise Violation(
                f"{name!r} counts {life.consumers[name].unfinished_tasks} tasks as unfinished; by"
                f" its log they are {twin.unfinished}"
            )
    twins.update((f"queue {target}", twin) for target, twin in made.items())
    return sum(_compare(simulation, name, twin) for name, twin in twins.items())


def check_logs(
    simulation: Simulation, twins: Mapping[str, LogTwin], states: Mapping[str, object]
) -> int:
    """Compare every answer of these objects' commands with their twins'; return how many.

    `states`: what the objects say of their states in the end, to be compared as well. Nothing is
    compared if no node has seen some part of the log.

    Raises:
        Violation: a command was answered otherwise, or an object is in another state.
    """
    records = simulation.lives()[0].table._directory.records
    names = {key: name for name in twins for key in (name, records[name].id)}
    commands = simulation.checks.commands() if twins else None
    if commands is None:
        return 0
    for command in commands:
        for twin in twins.values():
            twin.now = command.time
        if command.ends is not None:
            for twin in twins.values():
                twin.expire(command.ends)
        elif command.target == 0:
            for due, id_ in command.args[0]:
                if id_ in names:
                    twins[names[id_]].wake(due)
        elif command.target in names:
            number = command.session, command.sequence
            twins[names[command.target]].command(number, command.method, command.args)
    for name, twin in twins.items():
        if states[name] != twin.state():
            raise Violation(f"{name!r} is {states[name]}; by its log it has to be {twin.state()}")
    return sum(_compare(simulation, name, twin) for name, twin in twins.items())


def _compare(simulation: Simulation, name: str, twin: LogTwin) -> int:
    """Compare what callers of an object were told with what they had to be; return how often."""
    count = 0
    for number, call in simulation.checks.calls():
        answer = twin.answers.get(number)
        if number in twin.began and call.done() and not call.cancelled():
            error = call.exception()
            if isinstance(error, (*_LOST, ObjectNotFound)):
                continue
            count += 1
            told = ("value", call.result()) if error is None else ("error", type(error).__name__)
            if told != answer:
                raise Violation(
                    f"call {number[1]} of session {number[0]}, {twin.began[number]} of {name!r},"
                    f" was told {told}; by the log it is {answer or 'still waiting'}"
                )
    return count
