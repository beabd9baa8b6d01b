"""The model of a topic, behind its twin: as in `twins`, plain Python in one process.

The twin forgets no message, and computes which ones a topic keeps.
"""

from collections.abc import Hashable
from itertools import starmap
from typing import Any

from ..codec import encode
from ..errors import OffsetOutOfRange
from ..structs.topics import Message
from .sequential import TwinModel, frozen, thawed


class Topic:
    """`ReplTopic`."""

    def __init__(self, maxlen: int | None = 10_000, max_bytes: int | None = None) -> None:
        self.maxlen = maxlen
        self.max_bytes = max_bytes
        self.published: list[Any] = []
        self.first_offset = 0
        self.commits: dict[str, int] = {}

    @property
    def next_offset(self) -> int:
        return len(self.published)

    def publish(self, message: Any) -> int:
        size, room = len(encode(message)), self.max_bytes
        if room is not None and size > room:
            raise ValueError(f"a message of {size} bytes; max_bytes={room}")
        self.published.append(message)
        if self.maxlen is not None:
            self.trim(self.next_offset - self.maxlen)
        if room is not None:
            kept = self.published[self.first_offset :]
            while sum(len(encode(each)) for each in kept) > room:
                del kept[0]
            self.trim(self.next_offset - len(kept))
        return self.next_offset - 1

    def commit(self, subscriber: str, offset: int) -> int:
        if offset not in range(self.next_offset + 1):
            raise ValueError(f"{subscriber!r} commits offset {offset} of {self.next_offset}")
        if offset >= self.committed(subscriber):
            self.commits[subscriber] = offset
        return self.commits[subscriber]

    def forget(self, subscriber: str) -> None:
        if subscriber in self.commits:
            del self.commits[subscriber]

    def trim(self, offset: int) -> int:
        dropped = range(self.first_offset, min(offset, self.next_offset))
        self.first_offset += len(dropped)
        return len(dropped)

    def committed(self, subscriber: str) -> int:
        return self.commits.get(subscriber, 0)

    def subscribers(self) -> dict[str, int]:
        return self.commits

    def read(self, from_offset: int | None = None, limit: int | None = None) -> list[Message[Any]]:
        first = self.first_offset if from_offset is None else from_offset
        if first < self.first_offset:
            raise self._out_of_range(first)
        return list(starmap(Message, enumerate(self.published)))[first:][:limit]

    def __getitem__(self, offset: int) -> Any:
        if offset not in range(self.first_offset, self.next_offset):
            raise self._out_of_range(offset)
        return self.published[offset]

    def __len__(self) -> int:
        return self.next_offset - self.first_offset

    def _out_of_range(self, offset: int) -> OffsetOutOfRange:
        kept = f"{self.first_offset}:{self.next_offset}"
        return OffsetOutOfRange(f"offset {offset} is not in {kept}, which are kept here")


class TopicModel(TwinModel):
    """`ReplTopic`."""

    READS = frozenset({
        "read", "first_offset", "next_offset", "committed", "subscribers", "__getitem__", "__len__",
    })  # fmt: skip
    ALL_OR_NOTHING = frozenset({"publish", "commit"})

    def __init__(self, maxlen: int | None = 10_000, *, max_bytes: int | None = None) -> None:
        self._bounds = maxlen, max_bytes

    def initial(self) -> Hashable:
        """Return the state of a topic without messages."""
        return 0, (), ()

    def thaw(self, state: Any) -> Topic:
        """Return a topic in that state; what is dropped makes no difference any more."""
        twin = Topic(*self._bounds)
        twin.first_offset, kept, commits = state
        twin.published = [None] * twin.first_offset + list(map(thawed, kept))
        twin.commits = dict(commits)
        return twin

    def freeze(self, twin: Any) -> Hashable:
        """Return which messages are kept, and who has committed what."""
        kept = tuple(map(frozen, twin.published[twin.first_offset :]))
        return twin.first_offset, kept, tuple(twin.commits.items())
