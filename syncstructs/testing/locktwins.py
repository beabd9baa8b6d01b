"""What the log says of the locks: their commands once more, in order, done by plain dictionaries.

The log leaves nothing open: of each command it is certain what it had to answer, and of each grant
when it ended, and by what. So of each release that a caller made it is certain how it had to end:
well, if that very release has freed the lock, and with `LockLost` if something else had before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from ..errors import (
    Cancelled,
    NodeFailed,
    ObjectNotFound,
    OutcomeUnknown,
    SessionExpired,
)
from .history import Raised
from .offices import ELECTION, as_lock_command
from .violation import Violation

if TYPE_CHECKING:
    from .logtwins import Number
    from .workload import Load

_LOST: Final = (Cancelled, NodeFailed, ObjectNotFound, OutcomeUnknown)
_LOCKS: Final[tuple[str, ...]] = ("lock", "locks", ELECTION)
_GRANTING: Final = ("_acquire", "_sleep")
"""Commands whose answer is a grant, at once or later."""

Owner = tuple[int, int]
"""Who holds a lock, or waits for it: a session, and the ticket it asked with."""
Grant = tuple[Any, int]
"""A key, and the token under which it was granted: what ends a session frees several at once."""


class LockTwin:
    """Locks as their commands describe them; `answers` says what each of these was answered."""

    expired = SessionExpired
    """What a wait is answered whose session has ended."""

    def __init__(self, owners: dict[Grant, Owner]) -> None:
        self.holders: dict[Any, Owner] = {}
        self.answers: dict[Number, Any] = {}
        """Of an acquire, whose grant it was told of (None: of none); of others, the value."""
        self.began: dict[Number, str] = {}
        self.released: set[Owner] = set()
        """Whose grants a release has ended."""
        self._owners = owners
        """Who was granted what, as the callers were told."""
        self._lines: dict[Any, list[tuple[Owner, Number]]] = {}

    def holders_of(self, target: Any) -> dict[Any, Owner]:
        """Return who holds what in the object, as `holders` has it."""
        return {key: holder[:2] for key, holder in target._holders.items()}

    def command(self, number: Number, method: str, args: list[Any]) -> None:
        """Carry out a command of that session."""
        self.began[number] = method
        getattr(self, method.lstrip("_"))(number, *args)

    def acquire(self, number: Number, key: Any, ticket: int, wait: bool) -> None:
        owner = number[0], ticket
        if key not in self.holders:
            self.holders[key] = self.answers[number] = owner
        elif wait:
            self._lines.setdefault(key, []).append((owner, number))
        else:
            self.answers[number] = None

    def withdraw(self, number: Number, key: Any, ticket: int) -> None:
        owner = number[0], ticket
        self.answers[number] = None
        for waiting in [w for w in self._lines.get(key, ()) if w[0] == owner]:
            self._lines[key].remove(waiting)
            self.answers[waiting[1]] = None
            return
        if self._holds(owner, key):
            self._free(owner, key)

    def release(self, number: Number, key: Any, token: int) -> None:
        owner = self._owners.get((key, token))
        held = owner is not None and self._holds(owner, key)
        self.answers[number] = held
        if held and owner is not None:
            self.released.add(owner)
            self._free(owner, key)

    def expire(self, session: int) -> None:
        """End the waits of a session, and free what it holds."""
        for line in self._lines.values():
            for waiting in [w for w in line if w[0][0] == session]:
                line.remove(waiting)
                self.answers[waiting[1]] = self.expired
        for key in [key for key, holder in self.holders.items() if holder[0] == session]:
            self._free(self.holders[key], key)

    def _holds(self, owner: Owner, key: Any) -> bool:
        return self.holders.get(key) == owner

    def _free(self, owner: Owner, key: Any) -> None:
        del self.holders[key]
        if self._lines.get(key):
            owner, number = self._lines[key].pop(0)
            self.holders[key] = self.answers[number] = owner


def check_lock_log(load: Load, kinds: Mapping[str, Callable[..., LockTwin]]) -> int:
    """Compare every answer of the locks' commands with their twins', and how each release ended.

    `kinds`: the twins of further objects with such commands, by name.

    Return how many that were. Nothing is compared if no node has seen some part of the log.

    Raises:
        Violation: a command was answered otherwise, a lock has another holder in the end, or who
            released one was told that it had been lost when it was not, or the other way round.
    """
    checks = load.simulation.checks
    life = load.simulation.lives()[0]
    records = life.table._directory.records
    kinds = {name: LockTwin for name in _LOCKS if name in records} | dict(kinds)
    names: dict[int | str, str] = {
        key: name for name in kinds for key in (name, records[name].id)
    }
    found = checks.commands()
    if found is None:
        return 0
    commands = [
        as_lock_command(c)
        for c in found
        if c.ends is not None or (c.target in names and c.method != "_proclaim")
    ]
    calls = dict(checks.calls())
    owners: dict[str, dict[Grant, Owner]] = {name: {} for name in kinds}
    for command in commands:
        call = calls.get((command.session, command.sequence))
        if command.ends is None and command.method in _GRANTING and call is not None:
            granted = call.result() if _told(call) and call.exception() is None else None
            if granted is not None:
                key, ticket, *_ = command.args
                owners[names[command.target]][key, granted[1]] = command.session, ticket
    twins = {name: make(owners[name]) for name, make in kinds.items()}
    keys: dict[Number, Any] = {}
    for command in commands:
        if command.ends is not None:
            for twin in twins.values():
                twin.expire(command.ends)
        else:
            number = command.session, command.sequence
            keys[number] = command.args[0]
            twins[names[command.target]].command(number, command.method, command.args)
    count = 0
    for name, twin in twins.items():
        holders = twin.holders_of(life.consumers[name])
        if holders != twin.holders:
            raise Violation(f"{name!r} is held by {holders}; by its log by {twin.holders}")
        count += _compare(name, twin, calls, keys) + _judge_releases(load, name, twin, owners[name])
    return count


def _told(call: Any) -> bool:
    return bool(call.done() and not call.cancelled() and not isinstance(call.exception(), _LOST))


def _compare(
    name: str, twin: LockTwin, calls: dict[Number, Any], keys: dict[Number, Any]
) -> int:
    """Compare what commands were answered with what they had to be; return how many."""
    count = 0
    for number, method in twin.began.items():
        call = calls.get(number)
        if call is None or not _told(call):
            continue
        count += 1
        error = call.exception()
        told = type(error) if error is not None else call.result()
        if error is None and method in _GRANTING and told is not None:
            if told[0] != number[0]:
                raise Violation(f"session {number[0]} was told of a grant to {told[0]} in {name!r}")
            told = twin._owners[keys[number], told[1]]
        answer = twin.answers.get(number, "that it still waits")
        if told != answer:
            raise Violation(
                f"call {number[1]} of session {number[0]}, {method} of {name!r}, was told {told};"
                f" by the log it is {answer}"
            )
    return count


def _judge_releases(load: Load, name: str, twin: LockTwin, owners: dict[Grant, Owner]) -> int:
    """Whoever released a lock was told whether it had it until then; return how many that were."""
    count = 0
    for record in load.recorder.records[name]:
        outcome = record.outcome
        if record.method != "release" or record.token is None:
            continue
        owner = owners.get((record.args[0] if record.args else None, record.token))
        if owner is None:
            continue
        was_freed = owner in twin.released
        lost = isinstance(outcome, Raised) and outcome.kind.endswith("LockLost")
        if (outcome is None and not was_freed) or (lost and was_freed):
            raise Violation(
                f"{record.process} released {name!r}{record.args!r} with token {record.token} and"
                f" was told {outcome!r}; by the log it had {'it' if was_freed else 'lost it'}"
            )
        count += outcome is None or lost
    return count
