"""Comparing the objects of all members in the background: when, which of them, and who differs.

A leader asks for it by a command in the log, `compare_digests`: whoever applies that takes the
digests of its objects as they are behind that entry, so that nothing has to stand still for it,
and sends them to the leader. What the leader makes of them it puts into the log as well, by
`note_divergence`, so that every member knows it. Nothing else comes of it: a replica that differs
goes on, and it is for people to judge what is right.

What is replicated of this is in the table (`Divergence`); the rest, here, is each member's own.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Final

import msgspec

from ..codec import shown
from ..errors import DecodeError
from ..raft.membership import sorted_members
from ..raft.messages import DigestReport

# Objects that are noted at the most, and who differs in each: there may be thousands of observers,
# and the entry has to go through a frame.
_NOTED_COUNT_MAX: Final = 100
_NAMED_COUNT_MAX: Final = 100
# Comparing takes one part in so many of a member's time at the most.
_IDLE_PARTS: Final = 50


class Divergence(msgspec.Struct, frozen=True, array_like=True):
    """An object whose state is not the same on all members."""

    index: int
    """Where in the log that was found."""
    members: tuple[str, ...]
    """Who had another state than most of those with a vote; all who were compared, if none was
    that of most. Sorted; of more than a hundred, those with a vote first."""


@dataclass(frozen=True, slots=True)
class Range:
    """Which objects a comparison is about: those with ids above `after`, up to `last`."""

    after: int
    last: int
    is_end: bool
    """Whether there are none behind these."""

    def covers(self, id_: int) -> bool:
        """Return whether it is about the object with that id."""
        return self.after < id_ <= self.last


EVERYTHING: Final = Range(-1, 2**63, True)
"""All objects."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A comparison for which this member is to take digests, at once."""

    index: int
    range: Range


class Comparisons:
    """When a leader has objects compared, what it was told, and what follows from it."""

    __slots__ = (
        "_after", "_asked_at", "_interval", "_noted", "_range", "_reports", "_serial", "due_at",
        "index", "is_taking",
    )  # fmt: skip

    def __init__(self, interval: float | None, now: float) -> None:
        """Take the time between two comparisons in seconds; None: this member asks for none."""
        self.index = 0
        """The newest one that the present leader has asked for and is applied here; 0: none."""
        self.due_at = inf if interval is None else now + interval
        """When a leader is to ask for the next one."""
        self.is_taking = False
        """Whether this member's own digests of `index` are being taken."""
        self._interval = interval
        self._after = 0
        self._serial = -1
        self._range = Range(0, 0, is_end=True)
        self._asked_at = now
        self._reports: dict[str, DigestReport] = {}
        self._noted: list[Any] | None = None

    # On every member

    def applied(self, range_: Range, serial: int, now: float) -> None:
        """Note that a comparison was asked for, up to command `serial`, whoever leads by now."""
        self._after = 0 if range_.is_end else range_.last
        self._serial = serial
        if self._interval is not None:
            self.due_at = now + self._interval

    def missed(self) -> None:
        """Note that nobody is known to make anything of the last one, so there is need of another.

        Whether anything is applied meanwhile or not.
        """
        self._serial = -1

    def noted(self, serial: int) -> None:
        """Note that command `serial` told who differs, which by itself is no reason to compare."""
        if serial == self._serial + 1:
            self._serial = serial
        self._noted = None

    def begin(self, index: int, range_: Range, now: float) -> None:
        """Note that the leader who asked for the comparison at `index` leads still.

        From then on this member takes its digests, until `took`.
        """
        self.index, self._range, self._asked_at = index, range_, now
        # Observers come and go: of those that are gone nothing must stay.
        self._reports = {a: r for a, r in self._reports.items() if r.index >= index}
        self.is_taking = True

    def took(self, now: float) -> None:
        """Note that this member's own digests are there, or that there will be none."""
        self.is_taking = False
        if self._interval is not None:
            self.due_at = max(self.due_at, now + _IDLE_PARTS * (now - self._asked_at))

    # On the leader

    def clear(self) -> None:
        """Forget what was told: leadership was lost, or begins."""
        self.index, self.is_taking = 0, False
        # What the former leader has made of it, nobody knows.
        self.missed()
        self._reports.clear()
        self._noted = None

    def next(self, serial: int, *, differs: bool) -> int | None:
        """Return behind which object the next comparison begins; None if there is no need of any.

        There is while not all objects had their turn, or commands were applied since, `serial`
        being the last; and while some differ, for that may be over.
        """
        if self._after or differs or serial != self._serial:
            return self._after
        return None

    def postpone(self, now: float, seconds: float | None = None) -> None:
        """Let so much time pass before anything is asked for; None: the usual."""
        wait = self._interval if seconds is None else seconds
        assert wait is not None, "who asks for none is never due"
        self.due_at = now + wait

    def report(self, address: str, report: DigestReport) -> None:
        """Keep what a node says of its objects, instead of what it said before.

        It may say so before the leader itself has come to that entry.
        """
        former = self._reports.get(address)
        if former is None or former.index <= report.index:
            self._reports[address] = report

    def is_complete(self, members: Collection[str]) -> bool:
        """Return whether all these have reported on the present comparison."""
        reports, index = self._reports, self.index
        return index != 0 and all(
            address in reports and reports[address].index == index for address in members
        )

    def news(
        self,
        before: Mapping[int, Divergence],
        voters: Collection[str],
        is_present: Callable[[str], bool],
    ) -> list[Any] | None:
        """Return what is to be noted instead of `before`, as rows; None if that is nothing new.

        A node that was found to differ does so until it has reported another state, or is gone.
        """
        if not self.index:
            return None
        reports = {
            address: report.digests
            for address, report in self._reports.items()
            if report.index == self.index
        }
        found = differing(reports, voters)
        rows: list[Any] = []
        # Those that are noted already come first, so that none is taken for equal for want of room.
        known = [*before, *(id_ for id_ in found if id_ not in before)]
        for id_ in sorted(known[:_NOTED_COUNT_MAX]):
            former = before.get(id_, Divergence(0, ()))
            silent = [
                address
                for address in former.members
                if is_present(address)
                and (address not in reports or not self._range.covers(id_))
            ]
            members = _named([*found.get(id_, ()), *silent], voters)
            if members:
                index = former.index if members == former.members else self.index
                rows.append([id_, [index, list(members)]])
        if rows == rows_of(before) or rows == self._noted:
            return None
        self._noted = rows
        return rows

    def _check(self) -> None:
        assert self.index == 0 or self._range.last > 0, (self.index, self._range)
        assert self._serial >= -1, self._serial


def _named(differ: Collection[str], voters: Collection[str]) -> tuple[str, ...]:
    """Return who is noted of those that differ: those with a vote first."""
    ranked = sorted(set(differ), key=lambda address: (address not in voters, address))
    return sorted_members(ranked[:_NAMED_COUNT_MAX])


def differing(
    reports: Mapping[str, Mapping[int, bytes]], voters: Collection[str]
) -> dict[int, tuple[str, ...]]:
    """Return by object who has another state than most of the voters that told of it.

    If no state is that of more than half of them, all who told of it are returned. An object that
    all have alike is not among the keys; who does not tell of it has it not attached.

    >>> differing({"a": {7: b"x"}, "b": {7: b"x"}, "c": {7: b"y"}}, ["a", "b", "c"])
    {7: ('c',)}
    >>> differing({"a": {7: b"x"}, "b": {7: b"y"}, "c": {8: b"z"}}, ["a", "b", "c"])
    {7: ('a', 'b')}
    """
    digests = list(reports.values())
    if all(other == digests[0] for other in digests[1:]):
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for id_ in sorted(set().union(*digests)):
        states = {address: report[id_] for address, report in reports.items() if id_ in report}
        if len(set(states.values())) == 1:
            continue
        votes = Counter(state for address, state in states.items() if address in voters)
        right = next((s for s, count in votes.items() if 2 * count > votes.total()), None)
        found[id_] = sorted_members(a for a, state in states.items() if state != right)
    return found


def divergences_of(rows: list[Any]) -> dict[int, Divergence]:
    """Return what `rows_of` was given.

    Raises:
        DecodeError: no correct member says this.
    """
    try:
        return dict(msgspec.convert(rows, list[tuple[int, Divergence]], strict=True))
    except msgspec.ValidationError as error:
        raise DecodeError(f"objects that differ are not told like this: {shown(rows)}") from error


def rows_of(divergences: Mapping[int, Divergence]) -> list[Any]:
    """Return what differs as plain values, in the order of ids."""
    return [[id_, [d.index, list(d.members)]] for id_, d in sorted(divergences.items())]
