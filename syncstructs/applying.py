"""What came of applying on one node, and how far it has come; values."""

from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .errors import NodeFailed
from .objects.comparison import Asked
from .objects.context import Outcome
from .objects.outbox import HasCommand
from .raft.membership import Membership

C = TypeVar("C", bound=HasCommand)


@dataclass(frozen=True, slots=True)
class SnapshotPoint:
    """What a snapshot reaches to."""

    index: int
    term: int
    time: int
    """Cluster time in microseconds."""
    membership: Membership


@dataclass(slots=True)
class Progress(Generic[C]):
    """What one round of `apply` brought about on this node."""

    ended: list[C] = field(default_factory=list)
    """Calls of this node that have ended, in order."""
    outcomes: list[Outcome] = field(default_factory=list)
    """How each of them did."""
    barriers: list[int] = field(default_factory=list)
    """Barriers that are passed."""
    session_lost: bool = False
    """This node's session has expired: what it held and waited for was given up."""
    directory_changed: bool = False
    """Objects were attached, created or dropped."""
    membership_changed: bool = False
    """Another membership has taken effect, or another one is wanted."""
    removed: bool = False
    """This node was a member, and is none any more as far as its log goes."""
    asked: Asked | None = None
    """Digests are to be taken of the state as it is now, and given to `digested`."""
    failure: NodeFailed | None = None
    """This replica cannot go on without diverging; it must stop."""

    def end(self, call: C, outcome: Outcome) -> None:
        """Note that a call has ended."""
        self.ended.append(call)
        self.outcomes.append(outcome)
