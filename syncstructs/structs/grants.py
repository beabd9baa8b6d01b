"""Who holds which lock, and who waits for it: the one logic behind `ReplLock` and the manager.

The replicated part is small: per key a holder (session, ticket, token) and a line of waiters. A key
is granted by `_acquire` if it is free, else by the release or the expiry that frees it, to whoever
waits longest. The token is the serial number of the command that granted it, so it grows for ever,
over all keys and all locks of the cluster. No clock takes part: the leader decides when a session
has been silent for too long, and its expiry is an entry of the log like any other.

What this process knows of its own grants is in `holding`.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ..objects.context import current_context
from ..objects.replicated import reading, replicated
from ..objects.waiters import Waiters
from .holding import Grant, Holding

K = TypeVar("K", bound=Hashable)


class Holder(NamedTuple):
    """Who holds a lock: a node's session, the ticket it asked with, and the fencing token."""

    session: int
    ticket: int
    token: int


class Grants(Holding[K], Generic[K]):
    """Non-reentrant locks by key, granted first come, first served; no key means no cost."""

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_lines"})

    def __init__(self) -> None:
        super().__init__()
        self._holders: dict[K, tuple[int, int, int]] = {}
        self._waiters = Waiters()
        # Derived from `_waiters`: (session, ticket) by key, the longest waiting first.
        self._lines: dict[K, OrderedDict[tuple[int, int], None]] = {}

    # Commands

    @replicated
    def _acquire(self, key: K, ticket: int, wait: bool) -> tuple[int, int] | None:
        """Grant the key if it is free, else wait or return None; return session and token."""
        context = current_context()
        if key not in self._holders:
            self._holders[key] = (context.session, ticket, context.serial)
            return context.session, context.serial
        if not wait:
            return None
        parked: tuple[int, int] = self._waiters.park(ticket, key)
        self._lines.setdefault(key, OrderedDict())[context.session, ticket] = None
        return parked

    @replicated
    def _withdraw(self, key: K, ticket: int) -> None:
        """End the wait of a ticket, or free what it was granted meanwhile."""
        session = current_context().session
        if self._waiters.cancel(ticket):
            self._leave_line(key, (session, ticket))
        elif self._holders.get(key, (0, 0, 0))[:2] == (session, ticket):
            self._free(key)

    @replicated
    def _release(self, key: K, token: int) -> bool:
        """Free the key if it is still held under that token; return whether it was."""
        holder = self._holders.get(key)
        if holder is None or holder[2] != token:
            return False
        self._free(key)
        return True

    def on_session_expired(self, session: int) -> None:
        """Forget the waits of the session, and give its locks to who waits for them."""
        self._waiters.expire(session)
        for key, line in list(self._lines.items()):
            for waiter in [w for w in line if w[0] == session]:
                self._leave_line(key, waiter)
        for key in [k for k, holder in self._holders.items() if holder[0] == session]:
            self._free(key)

    def _free(self, key: K) -> None:
        """Take the key from its holder, and grant it to who waits longest."""
        if key in self._lines:
            self._grant_first(key)
        else:
            del self._holders[key]

    def _grant_first(self, key: K) -> None:
        """Grant the key to who waits longest."""
        session, ticket = next(iter(self._lines[key]))
        self._leave_line(key, (session, ticket))
        token = current_context().serial
        self._holders[key] = (session, ticket, token)
        self._waiters.serve_ticket(session, ticket, (session, token))

    def _leave_line(self, key: K, waiter: tuple[int, int]) -> None:
        line = self._lines[key]
        del line[waiter]
        if not line:
            del self._lines[key]

    def initial_state(self) -> Any:
        """Return the state of a new object, of which nobody holds a key."""
        return super().initial_state() | {"_holders": {}}

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        super().restore_state(state)
        self._lines = {}
        for session, ticket, _, key in state["_waiters"]:
            self._lines.setdefault(key, OrderedDict())[session, ticket] = None

    # What is held here

    def _slot(self, key: K, token: int) -> K:
        return key

    def _held_here(self, key: K) -> list[Grant]:
        grant = self._grants.get(key)
        return [] if grant is None else [grant]

    def _locked(self, key: K) -> bool:
        with reading(self):
            return key in self._holders

    def _check(self) -> None:
        assert len(self._waiters) == sum(map(len, self._lines.values())), self._lines
        assert set(self._lines) <= set(self._holders), (self._lines, self._holders)
        assert all(self._lines.values()), self._lines
        waiting = set(self._waiters)
        for line in self._lines.values():
            assert waiting.issuperset(line), (line, waiting)
