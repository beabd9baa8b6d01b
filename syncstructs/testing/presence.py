"""What a `ReplGroup` has to say in a simulated run: by its log, by its callers, and to its users.

The log leaves nothing open: of each command it is certain what it had to answer, and who was there
behind it. What callers asked for last tells who has to be there once all is well. And who counts
the joins and leaves that are told comes to those who are there.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from .history import NOT_APPLIED, UNKNOWN, Raised
from .violation import Violation

if TYPE_CHECKING:
    from ..structs.groups import ReplGroup
    from .hosts import Life
    from .recording import Record
    from .workload import Load

GROUP: Final = "group"
"""The name of the object."""

_OUT: Final = "no member"
Members = dict[str, tuple[int, Any]]
"""Session and metadata by address, in order of joining."""


class View:
    """Who is there for somebody who only counts the joins and leaves that one life is told."""

    def __init__(self, life: Life, puzzled: list[BaseException]) -> None:
        self._life = life
        self._puzzled = puzzled
        self._group: ReplGroup[Any] = life.consumers[GROUP]
        # What a store held is there before anybody listens.
        self._there = set(self._group.members)
        self._group.on_join = self._join
        self._group.on_leave = self._leave

    def _join(self, address: str, metadata: object) -> None:
        if address in self._there:
            self._wrong(f"twice that {address} has joined")
        self._there.add(address)

    def _leave(self, address: str, metadata: object) -> None:
        if address not in self._there:
            self._wrong(f"that {address} has left, and not before that it had joined")
        self._there.discard(address)

    def _wrong(self, told: str) -> None:
        self._puzzled.append(Violation(f"{self._life.host.address} was told {told}"))

    def errors(self) -> Iterator[str]:
        """Yield what is wrong; to be asked while nothing is being applied."""
        members = self._group.members
        if self._there != members.keys():
            who, there = self._life.host.address, sorted(self._there)
            yield f"for who listens on {who}, {there} are in the group; for who asks, {members}"


class Twin:
    """A group as its commands describe it."""

    def __init__(self) -> None:
        self.members: Members = {}
        self.answers: dict[tuple[int, int], bool] = {}
        """Of each command, by its session and its number there."""

    def command(self, session: int, sequence: int, method: str, address: str, *args: Any) -> None:
        """Carry out a command."""
        is_there = address in self.members
        if method == "_sign_in":
            self.members[address] = session, *args
        elif is_there:
            del self.members[address]
        self.answers[session, sequence] = is_there == (method == "_sign_out")

    def expire(self, session: int) -> None:
        """Take out the node whose session has ended."""
        self.members = {a: member for a, member in self.members.items() if member[0] != session}


def check_group_log(load: Load) -> int:
    """Compare all that a group's callers were told with what its log says; return how much it was.

    Joins get the places of their commands in the log, for the check of the order of all calls.

    Raises:
        Violation: a command was answered otherwise, a read shows what never was at its place, or
            the group is another one in the end.
    """
    checks = load.simulation.checks
    life = load.simulation.lives()[0]
    commands = checks.commands()
    if GROUP not in load.recorder.records or commands is None:
        return 0
    targets = (GROUP, life.table._directory.records[GROUP].id)
    twin = Twin()
    # Who was there behind the command at each place, and behind each session that ended then.
    places: list[int] = [-1]
    states: list[list[Members]] = [[{}]]
    joins: dict[str, tuple[int, bool]] = {}
    for command in commands:
        if command.ends is not None:
            twin.expire(command.ends)
        elif command.target in targets:
            number = command.session, command.sequence
            twin.command(*number, command.method, *command.args)
            place = checks.place_at(*number)
            assert place is not None, command
            places.append(place)
            states.append([])
            # Later ones with the same metadata join again what has joined.
            joins.setdefault(repr(command.args[1:]), (place, twin.answers[number]))
        states[-1].append(dict(twin.members))
    mine: Members = life.consumers[GROUP]._members
    if list(mine.items()) != list(twin.members.items()):
        raise Violation(f"in the group are {mine}; by its log {twin.members}")
    count = _compare(load, twin)
    for record in load.recorder.records[GROUP]:
        if record.method == "members":
            count += _judge_read(record, places, states)
        elif record.method != "leave" and repr([*record.args]) in joins:
            count += 1
            _judge_join(record, *joins[repr([*record.args])])
    return count


def _compare(load: Load, twin: Twin) -> int:
    """Compare what commands were answered with what they had to be."""
    count = 0
    for number, call in load.simulation.checks.calls():
        if number not in twin.answers or not call.done() or call.cancelled() or call.exception():
            continue
        count += 1
        if call.result() is not twin.answers[number]:
            raise Violation(
                f"call {number[1]} of session {number[0]} of the group was told {call.result()};"
                f" by the log it is {twin.answers[number]}"
            )
    return count


def _judge_join(record: Record, place: int, answer: bool) -> None:
    if record.outcome is NOT_APPLIED:
        raise Violation(f"{record.process}: {record.args} was not applied, but the log has it")
    record.place = place
    if record.method == "join" and record.outcome not in (UNKNOWN, answer):
        raise Violation(
            f"{record.process} joined with {record.args} and was told {record.outcome}; by the log"
            f" it is {answer}"
        )


def _judge_read(record: Record, places: list[int], states: list[list[Members]]) -> int:
    """Who read saw what was there at that place, if the sessions had ended that had to by then."""
    if record.place is None or not isinstance(record.outcome, dict):
        return 0
    possible = states[bisect_right(places, record.place) - 1]
    seen = list(record.outcome.items())
    if seen not in [[(a, member[1]) for a, member in state.items()] for state in possible]:
        raise Violation(f"{record.process} saw {seen} in the group; by the log it was {possible}")
    return 1


def absences(load: Load) -> Iterator[str]:
    """Yield who is missing, or there and should not be, once all is well and nobody calls."""
    for life in load.simulation.lives():
        group = life.table.objects.get(GROUP)
        if group is None or life.id not in load.views:
            continue
        yield from load.views[life.id].errors()
        members: Members = group._members  # type: ignore[attr-defined]
        for address, (session, _) in members.items():
            if life.table.sessions.owner(session) != address:
                yield f"{address} is in the group by session {session}, which is not its any more"
        session, mine = members.get(life.host.address, (0, None))
        found = repr([mine]) if session and session == life.replica.outbox.session else _OUT
        wanted = _wanted(load, life)
        if found not in wanted:
            yield f"{life.host.address} is {found} in the group; it wants to be one of {wanted}"


def _wanted(load: Load, life: Life) -> set[str]:
    """Return what the callers of a life may want it to be: with which metadata, or out."""
    callers = f"{life.host.address}.{life.number}/"
    wanted: set[str] = set()
    for record in reversed(load.recorder.records[GROUP]):
        outcome = record.outcome
        is_void = outcome is NOT_APPLIED or isinstance(outcome, Raised)
        if record.method == "members" or is_void or not record.process.startswith(callers):
            continue
        wanted.add(_OUT if record.method == "leave" else repr([*record.args]))
        if outcome is not UNKNOWN:
            return wanted
    return wanted | {_OUT}
