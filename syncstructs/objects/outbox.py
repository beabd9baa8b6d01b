"""This node's calls that have not ended: numbered, sent to the leader in order, sent again.

A call is numbered when it is first given to a leader and keeps its number until it has been
applied, so the session table can apply each exactly once and in program order, over any number of
leaders. Owned by the replica; `Call` is whatever the node uses as a call's handle.
"""

from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, Generic, Protocol, TypeVar

from ..errors import NodeFailed


class HasCommand(Protocol):
    """A call as the outbox sees it."""

    @property
    def command(self) -> bytes: ...

    parked: bool
    """Set once the call was applied, and waits in an object for its turn."""


C = TypeVar("C", bound=HasCommand)

# Calls in one run at the most. A run is decoded as a whole: as lists, of which more than some 700
# at once have Python look for garbage, over and over.
_RUN_COUNT: Final = 256


class Outbox(Generic[C]):
    """The pending calls of one session, in order.

    `sent` holds what the present leader was given, `unsent` what comes next; together they are the
    sequence numbers from `first` on without a gap.
    """

    __slots__ = ("first", "handed", "parked", "sent", "sent_bytes", "session", "unsent")

    def __init__(self) -> None:
        self.session = 0
        """The session that numbers the calls; 0 until the log has opened one."""
        self.first = 1
        self.handed = 0
        """The highest number ever given to a leader: up to it, a call may be in some log."""
        self.sent: deque[C] = deque()
        self.unsent: deque[C] = deque()
        self.sent_bytes = 0
        self.parked: dict[int, C] = {}

    def __len__(self) -> int:
        return len(self.sent) + len(self.unsent)

    def add(self, calls: Iterable[C]) -> None:
        """Queue calls behind all others. O(1) each."""
        self.unsent.extend(calls)

    def take(self, limit_bytes: int) -> tuple[int, int, bytes] | None:
        """Move a run of calls to `sent` and return (first number, count, commands).

        The run reaches `limit_bytes` at the most, but has at least one call, and no more than some
        hundreds; None if none waits.
        """
        unsent = self.unsent
        if not unsent or not self.session:
            return None
        first = self.first + len(self.sent)
        commands: list[bytes] = []
        size = 0
        for call in islice(unsent, _RUN_COUNT):
            command = call.command
            size += len(command)
            if size > limit_bytes and commands:
                size -= len(command)
                break
            commands.append(command)
        count = len(commands)
        self.sent.extend(_taken(unsent, count))
        self.sent_bytes += size
        self.handed = max(self.handed, first + count - 1)
        return first, count, b"".join(commands)

    def rewind(self, start: int = 0) -> None:
        """Send again what is numbered from `start` on and not yet applied: the leader lacks it."""
        keep = max(0, start - self.first)
        while len(self.sent) > keep:
            call = self.sent.pop()
            self.sent_bytes -= len(call.command)
            self.unsent.appendleft(call)

    def applied(self, first: int, count: int) -> list[C]:
        """Take out `count` calls, the one numbered `first` and those after it: they were applied.

        Those that this node has not made lack; see `refuse_forged`.
        """
        count = min(count, self.handed + 1 - first)
        assert first == self.first or not count, (first, self.first)
        self.first += count
        calls = _taken(self.sent, min(count, len(self.sent)))
        self.sent_bytes -= sum([len(call.command) for call in calls])
        if len(calls) < count:
            # Applied although this leader was not given it again: a former leader's log had it.
            calls += _taken(self.unsent, count - len(calls))
        return calls

    def park(self, sequence: int, call: C) -> None:
        """Keep a call that was applied, and waits in an object for its turn."""
        call.parked = True
        self.parked[sequence] = call

    def resumed(self, sequence: int) -> C | None:
        """Take out a parked call; None if it is not known here."""
        return self.parked.pop(sequence, None)

    def open(self, session: int) -> None:
        """Begin numbering anew, for `session`, with what is still pending."""
        self.rewind()
        self.session = session
        self.first = 1
        self.handed = 0

    def skip_to(self, applied: int) -> list[C]:
        """Take out the calls up to number `applied`, which a snapshot has applied unseen.

        Raises:
            NodeFailed: this node has not made all of them.
        """
        self.refuse_forged(applied)
        self.rewind()
        skipped = _taken(self.unsent, applied + 1 - self.first)
        self.first = max(self.first, applied + 1)
        return skipped

    def refuse_forged(self, sequence: int) -> None:
        """Refuse to go on if this node has not made the call of that number.

        Raises:
            NodeFailed: somebody else has put it into the log.
        """
        if sequence > self.handed:
            raise NodeFailed(
                f"the log has call {sequence} of this node's session {self.session}, but the node"
                f" has made {self.handed} only: a member has forged it, or another node runs under"
                " this one's name"
            )

    def lose_session(self) -> None:
        """Forget the session; what was pending in it waits to be numbered in the next one."""
        self.rewind()
        self.session = 0
        self.first = 1
        self.handed = 0

    def drain(self) -> list[tuple[C, bool]]:
        """Take out everything in order, with whether a leader may have it."""
        numbered = self.handed + 1 - self.first
        waiting = [*self.sent, *self.unsent]
        calls = [(call, True) for call in self.parked.values()]
        calls += [(call, i < numbered) for i, call in enumerate(waiting)]
        self.parked.clear()
        self.sent.clear()
        self.unsent.clear()
        self.sent_bytes = 0
        return calls

    def _check(self) -> None:
        assert self.first >= 1
        assert self.sent_bytes == sum(len(call.command) for call in self.sent)
        assert not self.sent or self.session
        assert self.handed >= self.first + len(self.sent) - 1


def _taken(calls: deque[C], count: int) -> list[C]:
    """Take the first `count` calls out of a queue that has so many."""
    if count == len(calls):
        taken = list(calls)
        calls.clear()
        return taken
    taken = list(islice(calls, count))
    for _ in taken:
        calls.popleft()
    return taken
