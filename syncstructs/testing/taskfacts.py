"""What the history of a queue of tasks tells as a whole, for the models of `taskmodels`.

Which calls may have had a task that nobody saw them have; when each call took effect, as ids and
tokens are numbers of one line; and what that line forbids without any search.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Iterator, Sequence
from datetime import datetime
from math import inf
from typing import Any, Final, NamedTuple, Self

from msgspec.structs import replace

from ..structs.leases import Task
from ..structs.tasks import DeadTask, Progress
from .history import UNKNOWN, Op, Raised
from .sequential import Impossible, frozen

ENDS: Final = ("ack", "nack", "heartbeat")
JOBS: Final = ("add", "trigger", "remove")
_ROUNDING: Final = 1e-5
"""Seconds; cluster time is in microseconds."""

Bounds = tuple[float, float]
"""What cluster time it was at the least, and at the most."""


class Lease(NamedTuple):
    """What a `get` took, as a row that can be written down."""

    id: int
    token: int
    attempt: int
    key: str | None = None
    payload: Any = None
    scheduled: datetime | None = None

    @classmethod
    def of(cls, taken: Any) -> Self:
        """Return it for a `Task`, or for its row.

        Raises:
            ValueError: it is neither.
        """
        if isinstance(taken, Task):
            return cls(*(getattr(taken, field) for field in cls._fields))
        if not isinstance(taken, tuple | list) or not 3 <= len(taken) <= len(cls._fields):
            raise ValueError(f"{taken!r} is no Task, and no row of one: see `taskmodels`")
        return cls(*taken)


class Facts:
    """What the history as a whole tells of its calls."""

    def __init__(
        self, ops: Sequence[Op], time_at: Callable[[float], Bounds], expiry: bool = False
    ) -> None:
        self._ops, self._time_at, self._expiry = ops, time_at, expiry
        self._losses: dict[Hashable, list[Op]] = {}
        for op in sorted(ops, key=lambda op: op.call):
            if op.method == "lost":
                self._losses.setdefault(owner_of(op), []).append(op)
        self._burnt: list[float] = []
        """Since when one attempt more may have been used up by a call that saw no task."""
        self._hands: dict[int, tuple[float, float]] = {}
        """Which calls may have had a task that they did not return, and from when to when."""
        for op in ops:
            if op.method == "get":
                self._note_unseen(op)
        self._burnt.sort()
        self._hands_begin = sorted(begin for begin, _ in self._hands.values())
        self._hands_end = sorted(end for _, end in self._hands.values())
        self._has_jobs = any(op.method in JOBS for op in ops)
        self.parts: dict[int, Hashable] = {}
        """By the id of a task, its key, or itself."""
        self._adopted: dict[int, Hashable] = {}
        self._undelayed: set[int] = set()
        self._find_parts()
        self._find_puts()
        self._bounds: dict[int, Bounds] = {}
        self.numbers = sorted(self._numbered(), key=lambda pair: (pair[0], pair[1].end))
        self._tighten()

    def _note_unseen(self, op: Op) -> None:
        lost = sum(
            one.call <= op.end and one.end >= op.call
            for one in self._losses.get(owner_of(op), ())
        )
        is_unknown = op.outcome is UNKNOWN
        self._burnt += [op.call] * (lost + is_unknown)
        if lost or is_unknown or (isinstance(op.outcome, Raised) and _waits(op)):
            # Whose time ran out has given it back by then.
            self._hands[op.id] = op.call, inf if lost or is_unknown else op.end

    def _find_parts(self) -> None:
        for op in self._ops:
            if op.method == "put" and type(op.outcome) is int:
                self.parts.setdefault(op.outcome, part_for(op.outcome, op.argument(3, "key")))
        for lease, _ in sightings(self._ops):
            self.parts.setdefault(lease.id, part_for(lease.id, lease.key))

    def _find_puts(self) -> None:
        """Find the puts of unknown outcome behind tasks that no other call has put."""
        put = {op.outcome for op in self._ops if op.method == "put"}
        orphans: dict[Hashable, dict[int, None]] = {}
        for lease, _ in sightings(self._ops):
            if lease.key is None and lease.id not in put:
                orphans.setdefault(frozen(lease.payload), {})[lease.id] = None
        puts: dict[Hashable, list[Op]] = {}
        for op in sorted(self._ops, key=lambda op: op.call):
            if op.method == "put" and op.outcome is UNKNOWN and op.argument(3, "key") is None:
                puts.setdefault(frozen(op.argument(0, "payload")), []).append(op)
        for payload, ids in orphans.items():
            candidates = puts.get(payload, [])
            self._adopted |= {op.id: id_ for op, id_ in zip(candidates, ids, strict=False)}
            if len(candidates) > 1:
                # Which one put which, nobody knows.
                self._undelayed |= {op.id for op in candidates}

    def _numbered(self) -> Iterator[tuple[int, Op]]:
        """Yield each number that was given, and the call that certainly gave it."""
        puts: dict[int, list[Op]] = {}
        unknown = {op.argument(3, "key") for op in self._ops if _is_unknown_put(op)} - {None}
        for op in self._ops:
            if isinstance(op.outcome, Lease):
                yield op.outcome.token, op
            elif op.method == "_fire" and op.outcome is None:
                yield op.args[0], op
            elif op.method == "put" and type(op.outcome) is int:
                puts.setdefault(op.outcome, []).append(op)
        for id_, same in puts.items():
            is_certain = len(same) == 1 and same[0].argument(3, "key") not in unknown
            # Of a job's task, the put of the same key returns the id as well.
            if is_certain and not (self._has_jobs and same[0].argument(3, "key") is not None):
                yield id_, same[0]
            elif all(op.argument(3, "key") is None for op in same):
                yield from ((id_, op) for op in same)

    def _tighten(self) -> None:
        """What has a greater number took effect later."""
        for op in self._ops:
            self._bounds[op.id] = self._bounds_of(op)
        first = -inf
        for _, op in self.numbers:
            first = max(first, self._bounds[op.id][0])
            self._bounds[op.id] = first, self._bounds[op.id][1]
        last = inf
        for _, op in reversed(self.numbers):
            last = min(last, self._bounds[op.id][1])
            self._bounds[op.id] = self._bounds[op.id][0], last

    def _bounds_of(self, op: Op) -> Bounds:
        last = inf if op.end == inf else self._time_at(op.end)[1]
        return self._time_at(op.call)[0] - _ROUNDING, last + _ROUNDING

    # Of one call

    def bounds(self, op: Op) -> Bounds:
        """Return what cluster time it was at the least, and at the most, when it took effect."""
        return self._bounds.get(op.id) or self._bounds_of(op)

    def alike(self, op: Op, part: Op) -> Op:
        """Return the part of a call, which took effect when the call did."""
        self._bounds[part.id] = self.bounds(op)
        return part

    def part_of(self, op: Op) -> Hashable | None:
        """Return the part of the state that it is about; None: it is about none."""
        method = op.method
        if method in ("_dead", "_revive", "_discard"):
            part: Hashable = op.args[0]
            return part
        if method in JOBS:
            return part_for(0, op.argument(0, "name"))
        if method == "_fire":
            return self.parts.get(op.args[0])
        if method in ENDS:
            return self.parts.get(Lease.of(op.argument(0, "task")).id)
        if method == "put":
            key = op.argument(3, "key")
            return self._adopted.get(op.id, op.outcome if type(op.outcome) is int else None) \
                if key is None else part_for(0, key)
        return self.parts.get(op.outcome.id) if isinstance(op.outcome, Lease) else None

    def delay_of(self, put: Op) -> float:
        """Return the delay of a task, at the least."""
        return 0.0 if put.id in self._undelayed else float(put.argument(2, "delay", 0.0))

    def burnt_by(self, time: float) -> float:
        """Return how many attempts may have been used up by then that nobody saw."""
        return inf if self._expiry else bisect_right(self._burnt, time)

    def is_shut_by(self, time: float) -> bool:
        """Return whether it may be shut down by then, so that nothing is put any more."""
        return any(op.method == "shutdown" and op.call <= time for op in self._ops)

    def hands_during(self, op: Op) -> float:
        """Return how many tasks others may have had meanwhile that they did not return."""
        if self._expiry:
            return inf
        begun = bisect_right(self._hands_begin, op.end)
        return begun - bisect_left(self._hands_end, op.call) - (op.id in self._hands)

    def loss_after(self, owner: Hashable, time: float) -> float:
        """Return the cluster time at which an owner may next have lost what it had then."""
        for loss in self._losses.get(owner, ()):
            if loss.end >= time:
                return self._time_at(loss.call)[0]
        return inf

    # Of all together

    def disorder(self) -> Impossible | None:
        """Return who was given a number that was given before, or that is too small."""
        latest: Op | None = None
        before = 0
        for number, op in self.numbers:
            if latest is not None and (op.end < latest.call or number == before):
                culprit = max(op, latest, key=lambda one: one.end)
                why = f"{number} was given twice" if number == before else "its number is too small"
                return Impossible(culprit, (latest, op), why)
            before = number
            if latest is None or op.call > latest.call:
                latest = op
        return None

    def mistaken(self) -> Impossible | None:
        """Return who was told of a task under a key that is not its own, or twice at once."""
        told = [(op.outcome, op.argument(3, "key"), op) for op in self._ops
                if op.method == "put" and type(op.outcome) is int]  # fmt: skip
        told += [(lease.id, lease.key, op) for lease, op in sightings(self._ops)]
        first: dict[int, Op] = {}
        for id_, key, op in told:
            other = first.setdefault(id_, op)
            if self.parts[id_] != part_for(id_, key):
                culprit = max(op, other, key=lambda one: one.end)
                ops = (other,) if other is op else (other, op)
                return Impossible(culprit, ops, f"task {id_} has one key for ever")
        for op in self._ops:
            rows = op.outcome if op.method == "dead_letters" else None
            if isinstance(rows, list) and len({row.id for row in rows}) < len(rows):
                return Impossible(op, (op,), "it has a task twice")
        return None

    def missing_attempts(self) -> Impossible | None:
        """Return what counts attempts that too few calls can have used up."""
        if self._expiry or any(op.method == "revive" for op in self._ops):
            return None
        counted: dict[int, int] = {}
        missing: list[tuple[float, int, Op]] = []
        for _, op in self.numbers:
            if isinstance(op.outcome, Lease):
                id_, _, attempt, *_ = op.outcome
                missing.append((op.end, attempt - counted.get(id_, 0) - 1, op))
                counted[id_] = attempt
        total = 0
        for end, count_, op in sorted(missing, key=lambda row: (row[0], row[2].id)):
            total += max(0, count_)
            if total > self.burnt_by(end):
                why = f"{total} attempts are missing, and too few calls can have taken a task"
                return Impossible(op, (op,), why)
        return None

    def passed_over(self) -> Iterator[Impossible]:
        """Yield who took a task, or found none, while another one was certainly before it."""
        first: dict[int, Op] = {}
        for _, op in self.numbers:
            if isinstance(op.outcome, Lease):
                first.setdefault(op.outcome.id, op)
        puts = {number: op for number, op in self.numbers if op.method == "put"}
        # What was taken before by somebody unseen may have had to wait until it could be retried.
        ready = {
            id_: put for id_, put in puts.items()
            if not self.delay_of(put) and (id_ not in first or _attempt_of(first[id_]) == 1)
        }  # fmt: skip
        if not self._expiry:
            yield from self._overtaken(puts, ready)
            yield from self._missed([(put, first.get(id_)) for id_, put in ready.items()])

    def _overtaken(self, puts: dict[int, Op], ready: dict[int, Op]) -> Iterator[Impossible]:
        line: list[tuple[int, int]] = []
        for number, op in self.numbers:
            if number in ready:
                insort(line, _rank(number, op))
            elif isinstance(op.outcome, Lease) and op.outcome.id in puts:
                id_ = op.outcome.id
                rank = _rank(id_, puts[id_])
                at = bisect_left(line, rank)
                if line[at : at + 1] == [rank]:
                    del line[at]
                if at > self.hands_during(op):
                    before = [ready[other] for _, other in line[:at]]
                    yield Impossible(op, (*before, op), "what was ready was to be taken before it")

    def _missed(self, ready: list[tuple[Op, Op | None]]) -> Iterator[Impossible]:
        coming = sorted(ready, key=lambda pair: pair[0].end, reverse=True)
        there: list[tuple[Op, Op | None]] = []
        for op in sorted(self._ops, key=lambda op: op.call):
            if op.method != "get" or not _found_none(op):
                continue
            while coming and coming[-1][0].end < op.call:
                there.append(coming.pop())
            there = [pair for pair in there if pair[1] is None or pair[1].call > op.call]
            before = [put for put, taken in there if taken is None or taken.call > op.end]
            if len(before) > self.hands_during(op):
                yield Impossible(op, (*before, op), "there certainly was a task that was ready")

    def miscount(self) -> Impossible | None:
        """Return who saw that more or fewer tasks were put, or done, than can have been."""
        drops = self._has_jobs or any(op.method == "discard" for op in self._ops)
        for op in self._ops:
            if op.method != "progress" or not isinstance(op.outcome, Progress):
                continue
            *unfinished, dead, put, done, _ = op.outcome
            acks = [one for one in self._ops if one.method == "ack" and not is_loss(one)]
            least = sum(one.end < op.call and one.outcome is None for one in acks)
            most = sum(one.call <= op.end for one in acks)
            puts = [one for one in self._ops if one.method == "put"]
            seen = {one.outcome for one in puts if one.end < op.call and type(one.outcome) is int}
            begun = inf if self._has_jobs else sum(one.call <= op.end for one in puts)
            fits = least <= done <= most and len(seen) <= put <= begun
            if not fits or (put != sum(unfinished) + dead + done and not drops):
                why = f"{least} to {most} are done, {len(seen)} to {begun} were put"
                return Impossible(op, (op,), why)
        return None


def seen_as(op: Op) -> Op:
    """Return a call with rows for the tasks, the dead and the numbers that it has seen.

    Raises:
        ValueError: its outcome is none that its method has.
    """
    seen: Any = op.outcome
    if seen is UNKNOWN or isinstance(seen, Raised):
        return op
    if op.method == "get":
        return replace(op, outcome=Lease.of(seen))
    try:
        if op.method == "dead_letters":
            return replace(op, outcome=[DeadTask(*row) for row in seen])
        return replace(op, outcome=Progress(*seen)) if op.method == "progress" else op
    except TypeError:
        raise ValueError(f"{op} by {op.process}: these are no rows, see `taskmodels`") from None


def only_raises(op: Op) -> bool:
    """Return whether a call has failed, or may have, by arguments with which it does nothing."""
    if op.outcome is not UNKNOWN and not isinstance(op.outcome, Raised):
        return False
    try:
        if op.method in ENDS:
            Lease.of(op.argument(0, "task"))
        elif op.method in ("revive", "discard"):
            ids = op.argument(0, "ids")
            set(() if ids is None else ids)
        elif op.method == "put":
            hash(op.argument(3, "key"))
            float(op.argument(2, "delay", 0.0))
        elif op.method in JOBS:
            hash(op.argument(0, "name"))
    except (TypeError, ValueError):
        return True
    return False


def sightings(ops: Sequence[Op]) -> list[tuple[Lease, Op]]:
    """Return all that was seen of tasks, by the end of the calls; of dead ones, without tokens."""
    seen = [(op.outcome, op) for op in ops if isinstance(op.outcome, Lease)]
    for op in ops:
        if op.method == "dead_letters" and isinstance(op.outcome, list):
            seen += [(Lease(id_, 0, n, key, p), op) for id_, key, p, _, n, *_ in op.outcome]
    return sorted(seen, key=lambda pair: (pair[1].end, pair[1].id))


def part_for(id_: int, key: str | None) -> Hashable:
    """Return in which part of the state a task is: in that of its key, if it has one."""
    return id_ if key is None else ("key", key)


def owner_of(op: Op) -> Hashable:
    """Return who loses what was taken by it if a session expires."""
    return ("session", op.session) if op.session else ("process", op.process)


def is_loss(op: Op) -> bool:
    """Return whether it was told that its lease had ended."""
    return isinstance(op.outcome, Raised) and op.outcome.kind.endswith("LockLost")


def _is_unknown_put(op: Op) -> bool:
    return op.method == "put" and op.outcome is UNKNOWN


def _waits(op: Op) -> bool:
    return bool(op.argument(0, "block", True))


def _rank(id_: int, put: Op) -> tuple[int, int]:
    return -put.argument(1, "priority", 0), id_


def _attempt_of(get: Op) -> int:
    return get.outcome.attempt if isinstance(get.outcome, Lease) else 0


def _found_none(get: Op) -> bool:
    """Return whether no task was ready: what waits may have run out of time before it asked."""
    is_raised = isinstance(get.outcome, Raised) and get.outcome.kind.endswith("Empty")
    return is_raised and not _waits(get)
