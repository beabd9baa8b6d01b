"""`ReplElection`: which node leads the application, decided by the logic of the locks.

Mind the word: `election.leader` is who does some work of the application for all, such as sending
the mails. Who leads the log is another matter (`Node.leader`): that may be another node, it changes
at other times, and no program need care.

To campaign is to acquire a lock, and to say with it who asks and what he announces. All that is
said of `ReplLock` therefore goes for the leadership: it belongs to a session, candidates are served
in the order in which they came, and each leader has a greater fencing token than all before.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, Self, TypeVar

from ..errors import LockLost
from ..objects.context import current_context
from ..objects.port import Changes, Steps, cleaning
from ..objects.replicated import bound, operation, reading, replicated
from .grants import Grants
from .holding import named, wait_seconds
from .sections import Section
from .values import isolated

if TYPE_CHECKING:
    from ..futures import Future

V = TypeVar("V")


class Elected(NamedTuple, Generic[V]):
    """Who leads an election: the address of the node, what it has announced, its fencing token."""

    address: str
    value: V | None
    token: int


class ReplElection(Grants[None], Section, Generic[V]):
    """An election among the nodes that campaign: one leads, the others wait in the order they came.

    The leader leads until it resigns, or its session ends: then who waits longest is elected.
    `with election:` campaigns, and resigns at the end. As with a lock, a second campaign of a node
    waits behind the first, wherever in the process it comes from.

    `on_lost()` is called in this process when this node leads and can no longer be sure of it; in
    the node's thread, so it must be quick and must not wait for the cluster. It does not campaign
    again by itself: only the program knows whether it is in a state to lead.

    Each method is one log entry. A campaign that does not succeed in time takes a second one, and
    leaves nothing behind. All take O(1), and O(candidates) when a session expires. If the leader of
    the log is lost, nobody is elected for that: who leads, leads on, and campaigns go on. Those of
    a node whose session has expired begin anew if it comes back, at the end of the line.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"on_lost"})
    _VERB: ClassVar[str] = "campaign"

    def __init__(self, on_lost: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.on_lost = on_lost
        # Address and value by session and ticket: of who leads, and of all who wait.
        self._candidates: dict[tuple[int, int], tuple[str, V | None]] = {}

    # Commands

    @replicated
    def _campaign(
        self, address: str, ticket: int, wait: bool, value: V | None = None
    ) -> tuple[int, int] | None:
        """Acquire the leadership as a lock, and note who asks for it."""
        answer = self._acquire(None, ticket, wait)
        if answer is not None:
            self._candidates[current_context().session, ticket] = address, value
        return answer

    @replicated
    def _withdraw(self, key: None, ticket: int) -> None:
        """End the candidacy of a ticket, or the leadership that came of it meanwhile."""
        super()._withdraw(key, ticket)
        self._candidates.pop((current_context().session, ticket), None)

    @replicated
    def _proclaim(self, token: int, value: V | None) -> bool:
        """Change what the leader with that token has announced; return whether it still leads."""
        session, ticket, leads = self._holders.get(None, (0, 0, 0))
        if leads != token:
            return False
        address, _ = self._candidates[session, ticket]
        self._candidates[session, ticket] = address, value
        return True

    def on_session_expired(self, session: int) -> None:
        """Forget the candidacies of the session, and elect another leader if it was its node."""
        super().on_session_expired(session)
        for candidate in [c for c in self._candidates if c[0] == session]:
            del self._candidates[candidate]

    def initial_state(self) -> Any:
        """Return the state of a new object, in which nobody is a candidate."""
        return super().initial_state() | {"_candidates": {}}

    def _free(self, key: None) -> None:
        self._candidates.pop(self._holders[key][:2], None)
        super()._free(key)

    # The calling side

    @operation
    def campaign(
        self, blocking: bool = True, timeout: float = -1, *, value: V | None = None
    ) -> Steps[bool]:
        """Wait to be elected, `timeout` seconds at most (-1: without end), and announce `value`.

        Return whether this node leads; if not, this campaign certainly has not won, and never will.
        The details are those of `ReplLock.acquire`. If the session ends while it waits, it goes on
        as the last candidate.

        Raises:
            Withdrawn: it was not to wait, and no leader of the log was known in time.
            OutcomeUnknown: time ran out without an answer. This node does not lead by it; if it is
                elected later, it resigns.
            ValueError, OverflowError: the time-out is none, by the rules of `threading.Lock`.
        """
        # A copy: it may be sent again later, in another session.
        said = isolated(value)
        seconds = wait_seconds(blocking, timeout)
        return (yield from self._acquiring(None, blocking, seconds, said)) is not None

    @campaign.undone_by
    def _uncampaign(self, elected: bool, *_: object, **__: object) -> None:
        if elected:
            cleaning(self.resign.submit)

    def _ask(self, key: None, ticket: int, wait: bool, *said: Any) -> "Future[Any]":
        return self._campaign.submit(bound(self).port.address, ticket, wait, *said)

    @operation
    def resign(self) -> Steps[None]:
        """Lead no more; who waits longest is elected.

        Raises:
            NotOwner: this node does not lead through this handle.
            LockLost: it had lost the leadership before.
        """
        yield from self._releasing(None, None)

    @operation
    def proclaim(self, value: V | None) -> Steps[None]:
        """Announce another value as the leader.

        Raises:
            LockLost: this node does not certainly lead, or no longer did. Nothing was announced.
        """
        self._ensure_held(None)
        token = self._token(None)
        if token is None or not (yield self._proclaim.submit(token, value)):
            raise LockLost(f"{self._describe(None)} was lost before the value was announced")

    @property
    def is_leader(self) -> bool:
        """Whether this node certainly leads: nobody else can now. See `ReplLock.held`."""
        return self._held(None)

    @property
    def token(self) -> int | None:
        """The fencing token of this node's leadership, greater than all before; None: it has none.

        What the leader changes should refuse a token smaller than one that it has seen.
        """
        return self._token(None)

    @property
    def leader(self) -> Elected[V] | None:
        """Who leads as far as this member knows; None: nobody. O(1), without asking anybody.

        Not for the leader itself: whether it may act as one, `is_leader` says.
        """
        with reading(self):
            holder = self._holders.get(None)
            if holder is None:
                return None
            address, value = self._candidates[holder[:2]]
            return Elected(address, isolated(value), holder[2])

    @property
    def candidates(self) -> list[str]:
        """The addresses of those who wait to be elected, the next one first. O(their number)."""
        with reading(self):
            return [self._candidates[waiting][0] for waiting in self._lines.get(None, ())]

    def observe(self) -> "Leaders[V]":
        """Return an iterator of leaders, for `for` and `async for`: the present one, then each new.

        None stands for nobody. A value that is proclaimed counts as news, too. Who is slow is told
        of the last leader only, not of those in between. It ends when the election is dropped or
        the node ends; close it, or use it in a `with` block.

        Raises:
            NotAttached: it is attached to no node.
            ObjectNotFound: it was dropped from the cluster.
        """
        return Leaders(self)

    def __repr__(self) -> str:
        leader = self.leader
        state = "nobody leads" if leader is None else f"{leader.address} leads"
        return f"<{type(self).__name__} {named(self)}in which {state}>"

    def _where(self) -> tuple[Grants[Any], Any]:
        return self, None

    def _tell_lost(self, key: None) -> None:
        if self.on_lost is not None:
            self.on_lost()

    def _describe(self, key: None) -> str:
        return f"the leadership of {type(self).__name__} {named(self)}".rstrip()

    def _check(self) -> None:
        super()._check()
        known = {*self._waiters, *(holder[:2] for holder in self._holders.values())}
        assert set(self._candidates) == known, (self._candidates, known)


class Leaders(Generic[V]):
    """See `ReplElection.observe`; for one consumer."""

    def __init__(self, election: ReplElection[V]) -> None:
        self._election = election
        # All that a change says is that there is one.
        self._changes: Changes = election.changes(limit=1)
        self._told: list[Elected[V] | None] = []

    def _is_news(self) -> bool:
        leader = self._election.leader
        is_news = self._told != [leader]
        self._told = [leader]
        return is_news

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Elected[V] | None:
        while not self._is_news():
            next(self._changes)
        return self._told[0]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Elected[V] | None:
        while not self._is_news():
            await anext(self._changes)
        return self._told[0]

    def close(self) -> None:
        """Take no more; whoever waits is told that there are no more."""
        self._changes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
