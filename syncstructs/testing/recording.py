"""What callers of a simulated run saw, as it is written down; and what refuses who comes late."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any

from ..errors import (
    Cancelled,
    LockLost,
    NodeFailed,
    NotApplied,
    NotOwner,
    OutcomeUnknown,
    SyncError,
    Timeout,
    VersionRefused,
)
from .history import NOT_APPLIED, UNKNOWN, Raised, plain
from .violation import Violation

if TYPE_CHECKING:
    from ..futures import Future


class Record:
    """One call, as it is being recorded."""

    __slots__ = (
        "args", "began", "call", "end", "kwargs", "method", "outcome", "part", "place", "process",
        "session", "token",
    )  # fmt: skip

    def __init__(self, process: str, method: str, args: tuple[Any, ...], began: int) -> None:
        self.process = process
        self.method = method
        self.args = args
        self.kwargs: dict[str, Any] = {}
        self.began = began
        self.end: float = inf
        self.outcome: object = UNKNOWN
        self.call: Any = None
        """The future that the log knows; that of the whole batch for a part of one."""
        self.part = 0
        self.session = 0
        """Who owns what a lock's method is about: the life of a node."""
        self.place: int | None = None
        """For a read: the greatest place whose effect it may see."""
        self.token: int | None = None
        """For the release of a lock: under which token its node had it then."""


class Recorder:
    """All calls of a run, by object, with one clock for all of them that counts."""

    def __init__(self, names: Iterable[str]) -> None:
        """`names`: of the objects that are there from the beginning to the end."""
        self.clock = itertools.count(1).__next__
        self.records: dict[str, list[Record]] = {name: [] for name in names}
        self.made: list[tuple[str, Record]] = []
        """The calls of queues that were made for a while, by the names of these."""

    def begin(self, process: str, name: str, method: str, *args: Any) -> Record:
        """Record that a call is about to be made."""
        record = Record(process, method, args, self.clock())
        self.records[name].append(record)
        return record

    def begin_made(self, process: str, name: str, method: str, *args: Any) -> Record:
        """Record that a call of a queue is about to be made that is there for a while only."""
        record = Record(process, method, args, self.clock())
        self.made.append((name, record))
        return record

    def follow(self, record: Record, future: Future[Any]) -> None:
        """Record how the call ends, once it does."""
        record.call = future
        future.add_done_callback(lambda ended: self._ended(record, ended))

    def _ended(self, record: Record, future: Future[Any]) -> None:
        error = error_of(future)
        if error is None:
            record.outcome = kept(plain(future.result()))
            record.end = self.clock()
            spoil(future.result())
        else:
            self.fail(record, error)

    def fail(self, record: Record, error: BaseException) -> None:
        """Record that the call has raised `error`."""
        if isinstance(error, NotApplied) and not isinstance(error, VersionRefused):
            record.outcome = NOT_APPLIED
        elif isinstance(error, OutcomeUnknown | Timeout | Cancelled | NodeFailed):
            return
        else:
            record.outcome = Raised.of(error)
        record.end = self.clock()

    def __len__(self) -> int:
        return sum(map(len, self.records.values())) + len(self.made)


class Fence:
    """What a lock protects: it refuses fencing tokens smaller than the greatest it has seen."""

    def __init__(self) -> None:
        self.greatest = 0
        self.refused = 0

    def write(self, token: int, *, sure: bool, who: str) -> None:
        """Take or refuse a write.

        Raises:
            Violation: it is refused although its writer could be sure of the lock.
        """
        if token < self.greatest:
            self.refused += 1
            if sure:
                raise Violation(f"{who} is sure of token {token}; {self.greatest} was used already")
        self.greatest = max(self.greatest, token)


class Handles:
    """What the callers of one node were told of its locks: what they had, and what was lost.

    Who had a lock that was lost is told so by its release, once; who had none, that it had none.
    """

    def __init__(self, puzzled: list[BaseException]) -> None:
        self._puzzled = puzzled
        self._held: dict[tuple[str, object], str] = {}
        self._lost: dict[tuple[str, object], list[str]] = {}

    def acquire(self, name: str, key: object, who: str) -> None:
        """Note that a caller was given a lock."""
        self._held[name, key] = who

    def lose(self, name: str, key: object) -> None:
        """Note that the node has told its user of a loss."""
        who = self._held.pop((name, key), "")
        losers = self._lost.setdefault((name, key), [])
        losers[:] = [*(loser for loser in losers if loser != who), who]

    def sees(self, name: str, key: object, token: int | None, who: str) -> None:
        """Judge what the node says to a caller: who has lost a lock does not have another's."""
        holder = self._held.get((name, key))
        if token is not None and who != holder and who in self._lost.get((name, key), ()):
            what = f"{who}, who has lost {key or name!r}, was told token {token} of {holder}"
            self._puzzled.append(Violation(what))

    def refused(self, name: str, key: object, error: BaseException | None, who: str) -> None:
        """Judge how a release has ended that found nothing to release."""
        losers = self._lost.get((name, key))
        if losers:
            losers.remove(who if who in losers else losers[-1])
            wanted: type[SyncError] = LockLost
        else:
            wanted = NotOwner
        if type(error) is not wanted:
            what = f"{who} was told {error!r} of {key or name!r}; it had to be {wanted.__name__}"
            self._puzzled.append(Violation(what))


def kept(value: object) -> object:
    """Return a value that nobody else can change."""
    if type(value) is dict:
        return {key: kept(item) for key, item in value.items()}
    if type(value) is list:
        return [kept(item) for item in value]
    if type(value) is tuple:
        return tuple(kept(item) for item in value)
    return value


def spoil(*values: object) -> None:
    """Change what was given to a call, or came from one: that must be nobody else's business."""
    for value in values:
        if type(value) is list:
            value.append("spoilt")


def error_of(future: Future[Any]) -> BaseException | None:
    """Return what a future that has ended has raised, if it has."""
    return Cancelled() if future.cancelled() else future.exception()
