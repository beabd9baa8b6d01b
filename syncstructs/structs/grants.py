"""Who holds which lock, and who waits for it: the one logic behind `ReplLock` and the manager.

The replicated part is small: per key a holder (session, ticket, token) and a line of waiters. A key
is granted by `_acquire` if it is free, else by the release or the expiry that frees it, to whoever
waits longest. The token is the serial number of the command that granted it, so it grows for ever,
over all keys and all locks of the cluster. No clock takes part: the leader decides when a session
has been silent for too long, and its expiry is an entry of the log like any other.

The local part knows which grants this process may rely on. It never believes in one that the log
might have taken away: `held` is false, and `on_lost` called, before the cluster can give the lock
to somebody else.
"""

import logging
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

from ..errors import LockLost, NotApplied, NotOwner, SessionExpired, SyncError
from ..objects.context import current_context
from ..objects.port import Steps, cleaning
from ..objects.replicated import Replicated, call_name, operation, replicated
from ..objects.waiters import Waiters
from .waiting import Wait

K = TypeVar("K", bound=Hashable)

TIMEOUT_MAX = 2**63 // 10**9
"""Longest time in seconds that `acquire` may be told to wait, as `threading.TIMEOUT_MAX`."""

_log = logging.getLogger("syncstructs.locks")


class Grant(NamedTuple):
    """A lock given to a session of this node, under the fencing token."""

    session: int
    token: int


class Holder(NamedTuple):
    """Who holds a lock: a node's session, the ticket it asked with, and the fencing token."""

    session: int
    ticket: int
    token: int


class Grants(Replicated, Generic[K]):
    """Non-reentrant locks by key, granted first come, first served; no key means no cost."""

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_grants", "_lines", "_lost"})

    def __init__(self) -> None:
        self._holders: dict[K, tuple[int, int, int]] = {}
        self._waiters = Waiters()
        # Derived from `_waiters`: (session, ticket) by key, the longest waiting first.
        self._lines: dict[K, OrderedDict[tuple[int, int], None]] = {}
        self._grants: dict[K, Grant] = {}
        # The token of the last grant that was lost and not yet reported by a release.
        self._lost: dict[K, int] = {}

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
        line = self._lines.get(key)
        if line is None:
            del self._holders[key]
            return
        session, ticket = next(iter(line))
        self._leave_line(key, (session, ticket))
        token = current_context().serial
        self._holders[key] = (session, ticket, token)
        self._waiters.serve_ticket(session, ticket, (session, token))

    def _leave_line(self, key: K, waiter: tuple[int, int]) -> None:
        line = self._lines[key]
        del line[waiter]
        if not line:
            del self._lines[key]

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        super().restore_state(state)
        self._lines = {}
        for session, ticket, _, key in state["_waiters"]:
            self._lines.setdefault(key, OrderedDict())[session, ticket] = None

    # The calling side

    def _acquiring(self, key: K, blocking: bool, timeout: float) -> Steps[Grant | None]:
        """Acquire as `threading.Lock.acquire` does; return the grant, or None."""
        seconds = _wait_seconds(blocking, timeout)
        port = self._port
        wait: Wait[tuple[int, int]] = Wait(
            call_name(self, "acquire"),
            port,
            lambda ticket: self._acquire.submit(key, ticket, blocking),
            lambda ticket: self._withdraw.submit(key, ticket),
            lambda served: self._release.submit(key, served[1]),
            frees=True,
        )
        deadline = None if seconds is None else port.now() + seconds
        while True:
            served = yield from wait.served(seconds) if blocking else wait.at_once()
            if served is None:
                return None
            grant = Grant(*served)
            self._grants[key] = grant
            if self._is_sure(grant):
                return grant
            # Granted to a node that was cut off meanwhile: it must not believe in it.
            self._grants.pop(key, None)
            yield from wait.seen_through(
                cleaning(self._release.submit, key, grant.token), deadline
            )
            seconds = None if deadline is None else deadline - port.now()
            if not blocking or (seconds is not None and seconds <= 0):
                return None

    def _releasing(self, key: K, token: int | None) -> Steps[None]:
        """Release the key; with `token`, only if that is the grant held here."""
        grant = self._grants.get(key)
        if grant is None or token not in (None, grant.token) or not self._forget(key, grant):
            raise self._not_held(key, token)
        try:
            freed = yield cleaning(self._release.submit, key, grant.token)
        except SessionExpired:
            freed = False
        except NotApplied:
            self._grants.setdefault(key, grant)
            raise
        if not freed:
            raise LockLost(f"{self._describe(key)} was lost before its release")

    def _forget(self, key: K, grant: Grant) -> bool:
        """Give up the local grant; of several threads that do, only one is told True."""
        forgotten = self._grants.pop(key, None)
        if forgotten is not None and forgotten != grant:
            self._grants[key] = forgotten
        return forgotten == grant

    def _not_held(self, key: K, token: int | None) -> SyncError:
        lost = self._lost.get(key)
        if lost is not None and token in (None, lost):
            self._lost.pop(key, None)
            return LockLost(f"{self._describe(key)} was lost while it was held here")
        return NotOwner(f"{self._describe(key)} is not held through this handle")

    @operation
    def _enter(self, key: K) -> Steps[int]:
        """Acquire for a `with` block; return the token by which to leave."""
        grant = yield from self._acquiring(key, True, -1)
        assert grant is not None
        return grant.token

    @_enter.undone_by
    def _unenter(self, token: int, key: K) -> None:
        cleaning(self._leave.submit, key, token)

    @operation
    def _leave(self, key: K, token: int | None) -> Steps[None]:
        """Release at the end of a `with` block what its beginning acquired; None: what is held."""
        yield from self._releasing(key, token)

    def _is_sure(self, grant: Grant) -> bool:
        port = self._port
        return grant.session == port.session and port.now() < port.sure_until()

    def _held(self, key: K) -> bool:
        grant = self._grants.get(key)
        return grant is not None and self._is_sure(grant)

    def _token(self, key: K) -> int | None:
        grant = self._grants.get(key)
        return None if grant is None else grant.token

    def _ensure_held(self, key: K) -> None:
        if not self._held(key):
            raise LockLost(f"{self._describe(key)} is not certainly held here")

    def _locked(self, key: K) -> bool:
        with self._reading:
            return key in self._holders

    def on_session_lost(self) -> None:
        """Forget what is held here, tell the user, and release it if the session lives after all.

        Called by the node when it has not heard of its session for so long that the cluster may
        give its locks to others.
        """
        for key, grant in list(self._grants.items()):
            if not self._forget(key, grant):
                continue
            self._lost[key] = grant.token
            try:
                cleaning(self._release.submit, key, grant.token)
            except SyncError:
                _log.debug("%s: no background release", self._describe(key), exc_info=True)
            try:
                self._tell_lost(key)
            except KeyboardInterrupt:
                raise
            except BaseException:
                # sys.exit() or a cancelled asyncio future would end the thread others rely on.
                _log.exception("on_lost of %s raised; that changes nothing", self._describe(key))

    def _tell_lost(self, key: K) -> None:
        """Call the user's callback."""

    def _describe(self, key: K) -> str:
        raise NotImplementedError

    def _check(self) -> None:
        assert len(self._waiters) == sum(map(len, self._lines.values())), self._lines
        assert set(self._lines) <= set(self._holders), (self._lines, self._holders)
        assert all(self._lines.values()), self._lines
        waiting = set(self._waiters)
        for line in self._lines.values():
            assert waiting.issuperset(line), (line, waiting)


def _wait_seconds(blocking: bool, timeout: float) -> float | None:
    """Return how long to wait at most (None: without end), by the rules of `threading.Lock`."""
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return None if timeout == -1 else timeout
