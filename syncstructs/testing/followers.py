"""Readers of the topic, where a run has one: each message in order, or it is said to be missed.

In each life of a node one reads all from offset 0 on, or goes on as the subscriber "billing" from
what was committed. At the end of a run, what each was given is compared with what the publishers
were told: no message is skipped in silence, and none twice in one life.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING, Any, Final

from ..errors import NodeFailed, NotApplied, OffsetOutOfRange
from .history import NOT_APPLIED
from .violation import Violation

if TYPE_CHECKING:
    from ..structs.topics import Subscriber
    from .hosts import Life
    from .workload import Load

TOPIC: Final = "topic"
BILLING: Final = "billing"
_NAMED: Final = 0.6
"""How many lives go on as the subscriber, of which the others read all."""
_COMMITS: Final = 0.4
"""After how many messages a subscriber commits."""


@dataclass(slots=True)
class _Read:
    """What a reader was given: a message, or that messages from there on were missed."""

    offset: int
    at: int
    """When, on the clock of the histories."""
    value: Any = None
    missed: int = 0


@dataclass(slots=True)
class _Follower:
    life: Life
    is_named: bool
    reads: list[_Read] = field(default_factory=list)

    def __str__(self) -> str:
        who = BILLING if self.is_named else "a reader"
        return f"{who} on {self.life.host.address} ({self.life.number})"


class Followers:
    """All readers of a run."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._followers: list[_Follower] = []

    def join(self, life: Life) -> None:
        """Begin to read in a new life, if there is a topic."""
        if TOPIC not in life.consumers:
            return
        random = Random(f"{self._load.plan.seed}/{life.id}/reads")
        follower = _Follower(life, random.random() < _NAMED)
        self._followers.append(follower)
        life.event_loop.create_task(self._follow(follower, random))

    async def _follow(self, follower: _Follower, random: Random) -> None:
        topic, clock = follower.life.consumers[TOPIC], self._load.recorder.clock
        messages = topic.subscriber(BILLING) if follower.is_named else topic.messages(0)
        while True:
            try:
                async for message in messages:
                    follower.reads.append(_Read(message.offset, clock(), message.value))
                    if follower.is_named and random.random() < _COMMITS:
                        await self._commit(follower, messages)
                return
            except OffsetOutOfRange as told:
                first = messages.position - told.missed
                follower.reads.append(_Read(first, clock(), missed=told.missed))
            except NodeFailed:
                return

    async def _commit(self, follower: _Follower, subscriber: Subscriber[Any]) -> None:
        recorder = self._load.recorder
        record = recorder.begin(str(follower), TOPIC, "commit", BILLING, subscriber.position)
        try:
            future = subscriber.commit.submit()
        except NotApplied:
            record.outcome = NOT_APPLIED
            return
        recorder.follow(record, future)

    def check(self) -> None:
        """Compare what all readers were given.

        Raises:
            Violation: one was not given what it had to be given.
        """
        if not self._followers:
            return
        published = {
            record.outcome: record.args[0]
            for record in self._load.recorder.records[TOPIC]
            if record.method == "publish" and isinstance(record.outcome, int)
        }
        for follower in self._followers:
            self._check_order(follower)
            for read in follower.reads:
                if not read.missed and published.setdefault(read.offset, read.value) != read.value:
                    raise Violation(
                        f"{follower} was given {read.value!r} at offset {read.offset}, where"
                        f" {published[read.offset]!r} is"
                    )
        self._check_committed()

    def _check_order(self, follower: _Follower) -> None:
        expected = 0
        for read in follower.reads:
            skips = read.offset > expected and self._was_committed(follower, read)
            if read.offset != expected and not skips:
                raise Violation(f"{follower} expected offset {expected}, and was given {read}")
            expected = read.offset + (read.missed or 1)
        life = follower.life
        if not life.alive or life not in self._load.simulation.lives():
            return
        topic = life.consumers[TOPIC]
        if expected < topic.next_offset > topic.committed(BILLING) * follower.is_named:
            raise Violation(f"{follower} was given all before {expected} of {topic!r}, and waits")

    def _was_committed(self, follower: _Follower, read: _Read) -> bool:
        """Whether a subscriber may have left out all before that, as others had dealt with it."""
        return follower.is_named and any(
            record.args == (BILLING, committed) and record.began < read.at
            for record in self._load.recorder.records[TOPIC]
            if record.method == "commit" and (committed := record.args[1]) >= read.offset
        )

    def _check_committed(self) -> None:
        """What was committed was given to some subscriber before, or it was told to be missed."""
        given = {
            offset
            for follower in self._followers if follower.is_named
            for read in follower.reads
            for offset in range(read.offset, read.offset + (read.missed or 1))
        }  # fmt: skip
        for life in self._load.simulation.lives():
            committed = life.consumers[TOPIC].committed(BILLING)
            if not given.issuperset(range(committed)):
                lost = sorted(set(range(committed)) - given)
                raise Violation(f"{BILLING} has committed {committed}, and was not given {lost}")
