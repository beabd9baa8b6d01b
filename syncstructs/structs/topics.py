"""`ReplTopic`: numbered messages that all members publish, and that any number of readers follow.

A topic is what Kafka calls a partition, and Redis a stream: messages keep the order of the log,
each has an offset, and reading takes none away. Old ones are dropped as new ones come. A reader
whose next message was dropped is told how many it has missed, before it gets any other.
"""

from collections.abc import Mapping
from operator import index as as_index
from typing import ClassVar, Generic, NamedTuple, Self, SupportsIndex, TypeVar

from ..codec import encode
from ..errors import NotAttached, OffsetOutOfRange
from ..objects.pickling import Places, allow_pickles, enclosed, revealed
from ..objects.port import Changes
from ..objects.replicated import Replicated, reading, replicated
from .prepared import Prepared, prepared
from .values import isolated

T = TypeVar("T")

_MESSAGE: Places = {0: enclosed, "message": enclosed}


class Message(NamedTuple, Generic[T]):
    """A message of a topic, and its place there."""

    offset: int
    value: T


class ReplTopic(Replicated, Generic[T]):
    """A replicated topic: `publish` numbers messages from 0 on, by one and for ever.

    The newest `maxlen` messages are kept (None: all), of no more than `max_bytes` as they are
    encoded (None: of any size; a bound costs each member another encoding of each message).

    `messages()` follows a topic, from a place that its reader keeps. `subscriber(name)` follows it
    from a place that the cluster keeps, so another process on any member can go on there. All
    readers get all messages in the order of the log, those that were published in one batch side by
    side. `subscribe` and `changes` tell of a `publish` as of any other command, without its offset.

    What changes a topic is one log entry, O(1) but for what it drops; all reads are local. A
    `publish` that is under way as the leader is lost is sent again and gets one offset. After
    `OutcomeUnknown` the message may be there, or may come yet. No session is concerned: readers
    hold nothing in the cluster but their committed offsets.

    With `pickle=True`, messages may be of any class that can be pickled, as values of a `ReplDict`.

    >>> ReplTopic(maxlen=100).next_offset
    0
    """

    VALUES_IN: ClassVar[Mapping[str, Places]] = {"publish": _MESSAGE}

    def __init__(
        self,
        maxlen: int | None = 10_000,
        *,
        max_bytes: int | None = None,
        pickle: bool = False,
    ) -> None:
        """`pickle`: take messages of any class that can be pickled; see `ReplDict`."""
        for name, bound in (("maxlen", maxlen), ("max_bytes", max_bytes)):
            if bound is not None and bound < 1:
                raise ValueError(f"{name}={bound!r} leaves no room for a message; None: no bound")
        if pickle:
            allow_pickles(self)
        self._maxlen = maxlen
        self._max_bytes = max_bytes
        # By their offsets, which have no gap. A deque would take O(n) to look into its midst.
        self._messages: dict[int, T] = {}
        self._next = 0
        self._sizes: dict[int, int] = {}
        self._bytes = 0
        self._committed: dict[str, int] = {}

    @property
    def maxlen(self) -> int | None:
        """How many messages it keeps at most; None: any number."""
        return self._maxlen

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {"maxlen": self._maxlen, "max_bytes": self._max_bytes}

    # Commands

    @replicated
    def publish(self, message: T) -> int:
        """Add a message, and return its offset. Drops the oldest ones where there is no room.

        Raises:
            ValueError: it takes more than `max_bytes` by itself. Nothing has changed.
        """
        if self._max_bytes is not None:
            size = len(encode(message))
            if size > self._max_bytes:
                raise ValueError(f"a message of {size} bytes; max_bytes={self._max_bytes}")
            self._sizes[self._next] = size
            self._bytes += size
        offset = self._next
        self._messages[offset] = message
        self._next += 1
        while self._is_over():
            self._drop_first()
        return offset

    @replicated
    def commit(self, subscriber: str, offset: int) -> int:
        """Note that a subscriber has dealt with all before `offset`; it goes on there.

        Never backwards: what somebody has committed stays. Return the offset that counts now.

        Raises:
            ValueError: there is no such offset yet. Nothing has changed.
        """
        committed = max(as_index(offset), self._committed.get(subscriber, 0))
        if offset < 0 or committed > self._next:
            raise ValueError(f"{subscriber!r} commits offset {offset} of {self._next}")
        self._committed[subscriber] = committed
        return committed

    @replicated
    def forget(self, subscriber: str) -> None:
        """Forget what that subscriber has committed: it would begin anew, at offset 0."""
        self._committed.pop(subscriber, None)

    @replicated
    def trim(self, offset: int) -> int:
        """Drop all messages before `offset`, as far as they are there; return how many."""
        first = self._first
        while self._first < min(offset, self._next):
            self._drop_first()
        return self._first - first

    @property
    def _first(self) -> int:
        return self._next - len(self._messages)

    def _is_over(self) -> bool:
        if self._maxlen is not None and len(self._messages) > self._maxlen:
            return True
        return self._max_bytes is not None and self._bytes > self._max_bytes

    def _drop_first(self) -> None:
        first = self._first
        del self._messages[first]
        self._bytes -= self._sizes.pop(first, 0)

    # Reads

    @property
    def first_offset(self) -> int:
        """Offset of the oldest message that this member keeps; `next_offset` if there is none."""
        with reading(self):
            return self._first

    @property
    def next_offset(self) -> int:
        """Offset of the message that is published next, as far as this member knows."""
        with reading(self):
            return self._next

    def __len__(self) -> int:
        with reading(self):
            return len(self._messages)

    def __getitem__(self, offset: SupportsIndex) -> T:
        """Return the message at `offset`, which does not count from the end if it is below 0.

        Raises:
            OffsetOutOfRange: it was dropped, or is not on this member yet.
        """
        at = as_index(offset)
        with reading(self):
            if at not in self._messages:
                raise self._out_of_range(at)
            message = isolated(self._messages[at])
        return revealed(self, message) if self._pickles else message

    # A class with __getitem__ alone would be iterated over 0, 1, 2..., and end at what was dropped.
    __iter__ = None

    def read(self, from_offset: int | None = None, limit: int | None = None) -> list[Message[T]]:
        """Return the messages from an offset on (None: all that are kept), `limit` at the most.

        An empty list if there are none there yet. O(what is returned).

        Raises:
            OffsetOutOfRange: the message at `from_offset` was dropped.
        """
        with reading(self):
            first = self._first if from_offset is None else from_offset
            if first < self._first:
                raise self._out_of_range(first)
            end = self._next if limit is None else min(self._next, first + limit)
            found = [(at, isolated(self._messages[at])) for at in range(first, end)]
        if self._pickles:
            return [Message(at, revealed(self, message)) for at, message in found]
        return [Message(at, message) for at, message in found]

    def committed(self, subscriber: str) -> int:
        """Return the offset that a subscriber has committed, as known here; 0 if it never did."""
        with reading(self):
            return self._committed.get(subscriber, 0)

    def subscribers(self) -> dict[str, int]:
        """Return who has committed, and which offset, as known here."""
        with reading(self):
            return dict(self._committed)

    # Readers

    def messages(self, from_offset: int | None = None) -> "Messages[T]":
        """Return an iterator of the messages from an offset on, for `for` and for `async for`.

        None: of those that this member does not have yet. What is not published yet is waited for.
        """
        return Messages(self, self.next_offset if from_offset is None else from_offset)

    def subscriber(self, name: str) -> "Subscriber[T]":
        """Return what follows the topic from where that name has committed; no log entry."""
        return Subscriber(self, name)

    def __repr__(self) -> str:
        with reading(self):
            offsets = f"offsets={self._first}:{self._next}"
        return f"<{type(self).__name__} maxlen={self._maxlen} {offsets}>"

    def _out_of_range(self, offset: int) -> OffsetOutOfRange:
        error = OffsetOutOfRange(
            f"offset {offset} is not in {self._first}:{self._next}, which are kept here"
        )
        error.missed = max(0, self._first - max(0, offset))
        return error

    def _check(self) -> None:
        assert list(self._messages) == list(range(self._first, self._next)), self._messages.keys()
        assert not self._is_over(), (len(self._messages), self._bytes)
        assert self._max_bytes is None or self._sizes.keys() == self._messages.keys(), self._sizes
        assert self._bytes == sum(self._sizes.values()), (self._bytes, self._sizes)
        assert all(0 <= at <= self._next for at in self._committed.values()), self._committed


class Messages(Generic[T]):
    """The messages of a topic from an offset on, each once and in order; for one consumer.

    It waits for what is not there yet, without polling, and gives what this member has: all that
    are members see the same, some a moment later. It ends when the topic is dropped from the
    cluster, when the node ends, and after `close`; also as a context manager.

    If messages were dropped before it came to them, it raises `OffsetOutOfRange` once, which says
    in `missed` how many, and goes on with the oldest that is left if it is asked again. A message
    that cannot be unpickled here raises whenever it is asked for.
    """

    def __init__(self, topic: ReplTopic[T], offset: int) -> None:
        self._topic = topic
        self._position = max(0, as_index(offset))
        self._changes: Changes | None = None
        self._closed = False

    @property
    def position(self) -> int:
        """Offset of the message that comes next."""
        return self._position

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Message[T]:
        while not self._closed:
            changes = self._watch()
            if (message := self._take()) is not None:
                return message
            next(changes)
        raise StopIteration

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message[T]:
        while not self._closed:
            changes = self._watch()
            if (message := self._take()) is not None:
                return message
            await changes.__anext__()
        raise StopAsyncIteration

    def _watch(self) -> Changes:
        """Return what tells that there may be more; asked before looking, so nothing slips by."""
        if self._changes is None:
            # That there was a change is enough: it need not be kept what it was.
            self._changes = self._topic.changes(limit=1)
        return self._changes

    def _take(self) -> Message[T] | None:
        """Return the next message if it is here."""
        topic = self._topic
        with reading(topic):
            if topic._binding is None and topic._dropped is None:
                raise NotAttached("another instance was attached in the place of this topic")
            self._position = max(self._position, self._least())
            if self._position >= topic._next:
                return None
            if self._position < topic._first:
                missed = topic._out_of_range(self._position)
                self._position = topic._first
                raise missed
            value = isolated(topic._messages[self._position])
        if topic._pickles:
            value = revealed(topic, value)
        self._position += 1
        return Message(self._position - 1, value)

    def _least(self) -> int:
        """Return the offset before which nothing is wanted."""
        return 0

    def close(self) -> None:
        """Read no more; whoever waits is told that there is no more. From any thread."""
        self._closed = True
        if self._changes is not None:
            self._changes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class Subscriber(Messages[T]):
    """The messages of a topic from where a name has committed, wherever that was: at least once.

    `commit` is one log entry, and says that all before an offset is done. A process on any member
    that goes on under the name begins there. So each message is handed out until somebody has
    committed it: again, if a process died in between, never in another order, and never skipped in
    silence, as `OffsetOutOfRange` tells of what was dropped. A name that has never committed stands
    at offset 0; who wants only what is new commits `topic.next_offset` first. A name is kept until
    `topic.forget(name)`.

    To deal with each exactly once, where that is to change objects of this cluster, do that and the
    commit in one batch, and hold a lock: two that iterate under one name both get what neither has
    committed. What somebody has committed meanwhile is not handed out here any more::

        with door, topic.subscriber("billing") as billing:
            for message in billing:
                with node.batch():
                    totals.add(message.value)
                    billing.commit()
    """

    def __init__(self, topic: ReplTopic[T], name: str) -> None:
        super().__init__(topic, 0)
        self._name = name

    @property
    def name(self) -> str:
        """The name under which it commits."""
        return self._name

    @property
    def committed(self) -> int:
        """The committed offset, as known on this member: that of the first message not done."""
        return self._topic.committed(self._name)

    @property
    def lag(self) -> int:
        """How many messages were published since the committed offset, kept or not."""
        with reading(self._topic):
            return self._topic.next_offset - self.committed

    @prepared
    def commit(self, offset: int | None = None) -> Prepared[int]:
        """Note that all before `offset` is done (None: all that was handed out here).

        As `ReplTopic.commit`, which it is. A commit that raises `OutcomeUnknown` may be made again.
        """
        at = self._position if offset is None else offset
        return Prepared(self._topic.commit, self._name, at)

    def _least(self) -> int:
        return self.committed
