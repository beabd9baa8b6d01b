"""Who holds permits of one thing, several at once, and who waits: semaphores, read/write locks.

The replicated part is small: the permits that are held, and one line of those who wait. A permit
is of some kind, and `_admits` says whether one more of it may be held besides those that are.
Arrival alone decides who is next: nobody is granted a permit while somebody waits who came before,
and whoever is first in line is granted his as soon as it is admitted. So nobody starves.

The token is the serial number of the command that asked for the permit. As permits are granted in
the order in which they were asked for, it grows from each grant to the next, for ever, also over
objects that are dropped and made anew; and those that one command grants have different ones.
"""

from collections.abc import Callable, Hashable
from typing import Any, Generic, TypeVar

from ..objects.context import current_context
from ..objects.replicated import reading, replicated
from ..objects.waiters import Waiters
from .holding import Grant, Holding

K = TypeVar("K", bound=Hashable)

Permit = tuple[int, int, K]
"""The session that holds it, the ticket it asked with, and the kind."""


class Permits(Holding[K], Generic[K]):
    """Permits of several kinds, in strict order of arrival; which go together, a subclass says."""

    def __init__(self) -> None:
        super().__init__()
        # By token, in the order in which they were granted.
        self._holders: dict[int, Permit[K]] = {}
        # Each with the token that it will have, and the kind.
        self._waiters = Waiters()

    def _admits(self, kind: K) -> bool:
        """Return whether one more permit of that kind may be held besides those that are."""
        raise NotImplementedError

    # Commands

    @replicated
    def _acquire(self, kind: K, ticket: int, wait: bool) -> tuple[int, int] | None:
        """Grant a permit if nobody waits, else wait or return None; return session and token."""
        context = current_context()
        if not self._waiters and self._admits(kind):
            self._holders[context.serial] = (context.session, ticket, kind)
            return context.session, context.serial
        if not wait:
            return None
        parked: tuple[int, int] = self._waiters.park(ticket, (context.serial, kind))
        return parked

    @replicated
    def _withdraw(self, kind: K, ticket: int) -> None:
        """End the wait of a ticket, or free what it was granted meanwhile. O(permits held)."""
        session = current_context().session
        if not self._waiters.cancel(ticket):
            self._free_where(lambda permit: permit[:2] == (session, ticket))
        # Without this, who waited behind it for nothing but that would wait for ever.
        self._serve()

    @replicated
    def _release(self, kind: K, token: int) -> bool:
        """Free the permit of that token if it is still held; return whether it was."""
        if self._holders.pop(token, None) is None:
            return False
        self._serve()
        return True

    def on_session_expired(self, session: int) -> None:
        """Forget the waits of the session, and give its permits to who waits for them."""
        self._waiters.expire(session)
        self._free_where(lambda permit: permit[0] == session)
        self._serve()

    def initial_state(self) -> Any:
        """Return the state of a new object, of which nobody holds a permit."""
        return super().initial_state() | {"_holders": {}}

    def _free_where(self, ended: Callable[[Permit[K]], bool]) -> None:
        for token in [t for t, permit in self._holders.items() if ended(permit)]:
            del self._holders[token]

    def _serve(self) -> None:
        """Grant permits in order of arrival, up to the first who must go on waiting."""
        while self._waiters:
            token, kind = self._waiters.first()
            if not self._admits(kind):
                return
            session, ticket = next(iter(self._waiters))
            self._holders[token] = (session, ticket, kind)
            self._waiters.serve((session, token))

    # What is held here

    def _slot(self, key: K, token: int) -> int:
        return token

    def _held_here(self, key: K) -> list[Grant]:
        held = [grant for grant in list(self._grants.values()) if grant.key == key]
        # What a release could not give back is held again, after what was granted later.
        return sorted(held, key=lambda grant: grant.token)

    def _locked(self, key: K) -> bool:
        with reading(self):
            return any(permit[2] == key for permit in self._holders.values())

    def _check(self) -> None:
        rows: list[Any] = self._waiters.state()
        waiting = [payload[0] for _, _, _, payload in rows]
        tokens = [*self._holders, *waiting]
        assert tokens == sorted(set(tokens)), (self._holders, waiting)
        assert not waiting or not self._admits(self._waiters.first()[1]), (self._holders, waiting)
