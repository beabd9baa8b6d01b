"""This node's calls that have not ended: numbered, sent to the leader in order, sent again.

A call is numbered when it is first given to a leader and keeps its number until it has been
applied, so the session table can apply each exactly once and in program order, over any number of
leaders. Owned by the replica; `Call` is whatever the node uses as a call's handle.
"""

from collections import deque
from collections.abc import Iterable
from typing import Generic, Protocol, TypeVar

from ..errors import NodeFailed
from .context import PARKED


class HasCommand(Protocol):
    """A call as the outbox sees it."""

    @property
    def command(self) -> bytes: ...

    parked: bool
    """Set once the call was applied, and waits in an object for its turn."""


C = TypeVar("C", bound=HasCommand)


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

        The run reaches `limit_bytes` at the most, but has at least one call; None if none waits.
        """
        unsent = self.unsent
        if not unsent or not self.session:
            return None
        first = self.first + len(self.sent)
        commands: list[bytes] = []
        size = 0
        while unsent:
            command = unsent[0].command
            if commands and size + len(command) > limit_bytes:
                break
            size += len(command)
            commands.append(command)
            self.sent.append(unsent.popleft())
        self.sent_bytes += size
        self.handed = max(self.handed, first + len(commands) - 1)
        return first, len(commands), b"".join(commands)

    def rewind(self, start: int = 0) -> None:
        """Send again what is numbered from `start` on and not yet applied: the leader lacks it."""
        keep = max(0, start - self.first)
        while len(self.sent) > keep:
            call = self.sent.pop()
            self.sent_bytes -= len(call.command)
            self.unsent.appendleft(call)

    def applied(self, sequence: int, outcome: object) -> C | None:
        """Take the call `sequence` out, as it was applied here; None if it is only parked now.

        Raises:
            NodeFailed: this node has not made it; somebody else has put it into the log.
        """
        self._refuse_forged(sequence)
        assert sequence == self.first, (sequence, self.first)
        self.first += 1
        if self.sent:
            call = self.sent.popleft()
            self.sent_bytes -= len(call.command)
        else:
            # Applied although this leader was not given it again: a former leader's log had it.
            call = self.unsent.popleft()
        if outcome is PARKED:
            call.parked = True
            self.parked[sequence] = call
            return None
        return call

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
        self._refuse_forged(applied)
        self.rewind()
        skipped = [self.unsent.popleft() for _ in range(applied + 1 - self.first)]
        self.first = max(self.first, applied + 1)
        return skipped

    def _refuse_forged(self, sequence: int) -> None:
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
