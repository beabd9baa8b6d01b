"""What subscribers are told of an object's changes: the commands of the log, each once, in order.

Some lives of nodes subscribe to the objects that have versions. At the end of a run each stream is
compared with the log: from one change that says `resynchronised` to the next it is the commands
that ran there, without a gap, and up to the last one on those that run still.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from random import Random
from typing import TYPE_CHECKING, Any, Final

from ..errors import NodeFailed
from .releases import NAMES
from .violation import Violation

if TYPE_CHECKING:
    from ..objects.changes import Change
    from .hosts import Life
    from .upgrades import Upgrades

_FOLLOWED: Final = 0.5
"""How many lives subscribe; the others run the commands of objects that nobody watches."""
_index = attrgetter("index")


@dataclass(frozen=True, slots=True)
class Told:
    """One change, as a subscriber was told of it; or a command of which it has to be told."""

    index: int
    method: str | None
    args: list[Any]


class Stream:
    """What one subscriber was told of one object."""

    def __init__(self, life: Life, name: str, begin: int | None) -> None:
        """`begin`: the index behind which it is told of all; None: it waits for a first state."""
        self.life = life
        self.name = name
        self.begin = begin
        self.told: list[Told] = []

    def add(self, change: Change) -> None:
        """Take note of a change."""
        self.told.append(Told(change.index, change.method, list(change.args)))

    def check(self, due: Sequence[Told]) -> None:
        """Compare with all commands of the object, in the order of the log.

        Raises:
            Violation: one is missing, came twice, or in another order.
        """
        # Which command may be told next; none before there is a state.
        places = [] if self.begin is None else [bisect_right(due, self.begin, key=_index)]
        latest = 0
        for number, told in enumerate(self.told):
            if places and told.index < latest:
                raise Violation(f"{self} was told {self._around(number)}, which goes back")
            latest = told.index
            if told.method is None:
                # Of the entry in which an object is attached, what stands behind that is told.
                first = bisect_left(due, told.index, key=_index)
                places = [*range(first, bisect_right(due, told.index, key=_index) + 1)]
            else:
                next_ones = [due[place] for place in places if place < len(due)]
                places = [p + 1 for p in places if p < len(due) and due[p] == told]
                if not places:
                    raise Violation(
                        f"{self} was told {self._around(number)}; by the log it is one of"
                        f" {next_ones}"
                    )
        end = bisect_right(due, self.life.table.applied_index, key=_index)
        if places and self.life.alive and end not in places:
            raise Violation(f"{self} was not told of {due[places[0]]}")

    def _around(self, number: int) -> str:
        before = self.told[max(number - 2, 0) : number]
        return f"{self.told[number]} after {before}"

    def __str__(self) -> str:
        return f"{self.life.host.address} ({self.life.number}), which follows {self.name!r},"


class Streams:
    """The subscribers of one run."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._streams: list[Stream] = []

    def join(self, life: Life) -> None:
        """Subscribe to what is attached in a life, or waits for that; not in all lives."""
        if Random(f"{self._seed}/{life.id}/follows").random() >= _FOLLOWED:
            return
        followed = {stream.name for stream in self._streams if stream.life is life}
        for name in NAMES:
            target = life.consumers[name]
            if target._binding is None or name in followed:
                continue
            is_there = life.table.objects.get(name) is target
            stream = Stream(life, name, life.table.applied_index if is_there else None)
            try:
                target.subscribe(stream.add)
            except NodeFailed:
                # It lacks a body, and stops as soon as it runs.
                return
            self._streams.append(stream)

    def check(self, upgrades: Upgrades) -> int:
        """Compare all streams with what ran; return how many changes that were.

        Raises:
            Violation: a subscriber was not told what it had to be told.
        """
        due = {name: sorted(ran.items()) for name, ran in upgrades.commands.items()}
        commands = {
            name: [Told(index, method, [argument]) for _, (index, method, argument) in ran]
            for name, ran in due.items()
        }
        for stream in self._streams:
            stream.check(commands[stream.name])
        return sum(len(stream.told) for stream in self._streams)
