"""`ReplGroup`: which nodes are there, as all members agree on it.

A membership belongs to the session of the node that joined. It ends by `leave`, or when that node
is closed, dead, or cut off for longer than `Config.session_ttl`: then the cluster expires the
session, and the log takes the node out, at the same place for everybody. No clock takes part.

A node that was only cut off joins again by itself, with its last metadata. What it wants is kept
here, beside the replicated state: with the command that asks for it, and under the lock that
nothing is applied under, so that of a `leave` and of such a join the one that was sent last counts.
"""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from ..errors import Cancelled, NotApplied, NotOwner, SyncError
from ..objects.changes import notify
from ..objects.context import current_context
from ..objects.port import Steps, cleaning
from ..objects.replicated import Replicated, bound, operation, reading, replicated
from .values import isolated

if TYPE_CHECKING:
    from ..futures import Future

M = TypeVar("M")
R = TypeVar("R")

_log = logging.getLogger("syncstructs.groups")


class _Wish:
    """What this node wants to be, by the last call that it has sent."""

    __slots__ = ("before", "is_void", "joined", "metadata", "told_again")

    def __init__(self, joined: bool, metadata: Any = None) -> None:
        self.joined = joined
        self.metadata = metadata
        self.is_void = False
        """Whether its command was not applied, and never will be."""
        self.before: _Wish | None = None
        """What counts if this is void; None once this is known to count."""
        self.told_again = False
        """Whether the cluster was told of it by more than its own command."""


class ReplGroup(Replicated, Generic[M]):
    """The nodes that have joined and are alive, each with metadata: any value with an encoding.

    `on_join(address, metadata)` and `on_leave(address, metadata)` are called on this member for
    each node that comes or goes, itself too, in the order of the log and exactly once; in the
    node's thread, so they must be quick and must not wait for the cluster. When a whole state is
    taken over (from a snapshot, or as the group is attached), they are told the difference, so who
    counts along always comes to `members`. `subscribe` tells changes of metadata, too.

    A session that expires takes its node out on all members alike. A node that was cut off for
    longer, and comes back, joins again by itself, as long as it has not left; it is then the last
    one. A process that starts anew has to join anew. If the leader is lost, who was there stays,
    and calls under way take effect once.

    Each call, and each such return, is one log entry, and takes O(1); a session that expires, and
    `members`, take O(members).

    >>> from syncstructs import Node
    >>> group = ReplGroup[str]()
    >>> with Node("127.0.0.1:4331", consumers={"workers": group}) as node:
    ...     node.wait_ready(timeout=10)
    ...     group.join("idle")
    ...     group.update("busy")
    ...     group.members
    ...     group.leave()
    ...     group.members
    True
    {'127.0.0.1:4331': 'busy'}
    True
    {}
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_stands_for", "_wish", "on_join", "on_leave"})

    def __init__(
        self,
        on_join: Callable[[str, M | None], object] | None = None,
        on_leave: Callable[[str, M | None], object] | None = None,
    ) -> None:
        self.on_join = on_join
        self.on_leave = on_leave
        # Session and metadata by address, in order of joining.
        self._members: dict[str, tuple[int, M | None]] = {}
        self._wish = _Wish(False)
        # The node, and the id that the cluster has given; None: not attached yet.
        self._stands_for: tuple[object, object] | None = None

    # Commands

    @replicated
    def _sign_in(self, address: str, metadata: M | None) -> bool:
        """Make the calling node a member, or change its metadata; return whether it was none."""
        is_new = address not in self._members
        # Of an older session nothing is left: it ends before another one of its node begins.
        self._members[address] = current_context().session, metadata
        if is_new:
            self._tell(self.on_join, address, metadata)
        return is_new

    @replicated
    def _sign_out(self, address: str) -> bool:
        """Take the calling node out; return whether it was a member."""
        if address not in self._members:
            return False
        self._take_out(address)
        return True

    def on_session_expired(self, session: int) -> None:
        """Take out the node whose session it was. O(number of members)."""
        for address in [a for a, member in self._members.items() if member[0] == session]:
            self._take_out(address)

    def initial_state(self) -> Any:
        """Return the state of a new object, which nobody has joined."""
        return super().initial_state() | {"_members": {}}

    def _take_out(self, address: str) -> None:
        _, metadata = self._members.pop(address)
        self._tell(self.on_leave, address, metadata)

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned, and tell who came and went."""
        before = self._members
        if self._binding is not None:
            stands_for = self._binding.port, self._binding.target
            if self._stands_for not in (None, stands_for):
                # What was joined was dropped. Without this, the node would join this one some day.
                self._wish = _Wish(False)
            self._stands_for = stands_for
        super().restore_state(state)
        self._tell_missing(self.on_leave, before, self._members)
        self._tell_missing(self.on_join, self._members, before)

    def _tell_missing(
        self,
        callback: Callable[[str, M | None], object] | None,
        members: dict[str, tuple[int, M | None]],
        others: dict[str, tuple[int, M | None]],
    ) -> None:
        """Tell of the members that are not among the others, or only in another session."""
        for address, (session, metadata) in members.items():
            if address not in others or others[address][0] != session:
                self._tell(callback, address, metadata)

    def _tell(
        self,
        callback: Callable[[str, M | None], object] | None,
        address: str,
        metadata: M | None,
    ) -> None:
        if callback is not None:
            notify(self, callback, address, isolated(metadata))

    # The calling side

    @operation
    def join(self, metadata: M | None = None) -> Steps[bool]:
        """Make this node a member; return whether it was none. One log entry.

        One that is a member already gets the new metadata, and keeps its place. If the session ends
        meanwhile, this node joins in the next one.

        Raises:
            OutcomeUnknown: time ran out without an answer. This node may be a member until it
                leaves, or become one.
            Cancelled: it was cancelled; as `OutcomeUnknown`, unless it had not been sent yet.
        """
        wish = _Wish(True, isolated(metadata))
        return (yield from self._asking(wish, self._sign_in.submit, metadata))

    @operation
    def update(self, metadata: M) -> Steps[None]:
        """Change the metadata of this node; it keeps its place. One log entry.

        Raises:
            NotOwner: it has not joined, or has left.
            OutcomeUnknown: time ran out without an answer.
        """
        wish = _Wish(True, isolated(metadata))
        yield from self._asking(wish, self._sign_in.submit, metadata, must_be_joined=True)

    @operation
    def leave(self) -> Steps[bool]:
        """Be no member any more; return whether this node was one. One log entry.

        Raises:
            OutcomeUnknown: time ran out without an answer. It will leave, or its session ends; it
                does not join again by itself.
        """
        return (yield from self._asking(_Wish(False), self._sign_out.submit))

    def _asking(
        self,
        wish: _Wish,
        submit: "Callable[..., Future[R]]",
        *args: object,
        must_be_joined: bool = False,
    ) -> Steps[R]:
        """Send a command of this node; it wants what that asks for, unless that is not applied."""
        with reading(self):
            if must_be_joined and not self._wish.joined:
                raise NotOwner(f"this node is no member of {self!r}, so it has no metadata there")
            future = submit(bound(self).port.address, *args)
            wish.before, self._wish = self._wish, wish
        try:
            answer: R = yield future
        except NotApplied:
            self._take_back(wish)
            raise
        except Cancelled:
            if future.cancel():
                self._take_back(wish)
            raise
        wish.before = None
        return answer

    def _take_back(self, wish: _Wish) -> None:
        """Want what was wanted before, unless another call was sent since."""
        wish.is_void = True
        with reading(self):
            while self._wish.is_void and self._wish.before is not None:
                self._wish = self._wish.before
            if wish.told_again:
                self._tell_again()

    def on_session_lost(self) -> None:
        """Join again, if this node has not left. If the session lives after all, that is no news.

        Called by the node when it has not heard of its session for so long that it may have ended,
        and again when it is known to have.
        """
        with reading(self):
            if self._wish.joined:
                self._tell_again()

    def _tell_again(self) -> None:
        """Have the cluster do what this node wants now."""
        wish = self._wish
        wish.told_again = True
        try:
            address = bound(self).port.address
            if wish.joined:
                cleaning(self._sign_in.submit, address, wish.metadata)
            else:
                cleaning(self._sign_out.submit, address)
        except SyncError:
            _log.debug("%r: the cluster is not told again", self, exc_info=True)

    # Reads

    @property
    def members(self) -> dict[str, M | None]:
        """The metadata of who is there, by address, in order of joining; as far as is known here.

        Of an observer the address is its `Node.address`, too: a name that no other node has.
        O(number of members).
        """
        with reading(self):
            return {address: isolated(metadata) for address, (_, metadata) in self._members.items()}

    def __contains__(self, address: object) -> bool:
        return address in self._members

    def __len__(self) -> int:
        return len(self._members)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.members!r})"

    def _check(self) -> None:
        sessions = [session for session, _ in self._members.values()]
        assert all(sessions), self._members
        assert len(set(sessions)) == len(sessions), self._members
