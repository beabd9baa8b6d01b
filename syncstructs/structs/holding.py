"""What this process holds of a lock, and how it asks for it and gives it back: the calling side.

It knows which grants this process may rely on, and never believes in one that the log might have
taken away: `held` is false, and `on_lost` called, before the cluster can give the lock to somebody
else. Who was granted what, and who waits for it, is in the log: see `grants` and `permits`.
"""

import logging
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

from ..errors import LockLost, NotApplied, NotOwner, SessionExpired, SyncError
from ..objects.port import Port, Steps, cleaning
from ..objects.replicated import Replicated, bound, operation
from .waiting import Wait

if TYPE_CHECKING:
    from ..futures import Future

K = TypeVar("K", bound=Hashable)

TIMEOUT_MAX = 2**63 // 10**9
"""Longest time in seconds that `acquire` may be told to wait, as `threading.TIMEOUT_MAX`."""

_log = logging.getLogger("syncstructs.locks")


class Grant(NamedTuple):
    """What a session of this node was granted, under the fencing token."""

    session: int
    token: int
    key: Any
    caller: Hashable
    """Who asked for it (see `Port.caller`)."""
    port: Port
    """The node that was granted it."""


class Holding(Replicated, Generic[K]):
    """The grants that this process holds, each of some `key`; a subclass has the commands."""

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_grants", "_lost"})

    _VERB: ClassVar[str] = "acquire"
    """What messages call the operation that acquires."""
    _acquire: Any
    """The command `(key, ticket, wait)`: returns session and token, or None: not granted now."""
    _withdraw: Any
    """The command `(key, ticket)`: ends the wait of a ticket, or frees what it was granted."""
    _release: Any
    """The command `(key, token)`: returns whether it freed what was held under that token."""

    def __init__(self) -> None:
        # By `_slot`, in the order in which they were granted.
        self._grants: dict[Any, Grant] = {}
        # By token, those of a key that were lost, which no release has reported yet.
        self._lost: dict[K, dict[int, Grant]] = {}

    def _slot(self, key: K, token: int) -> Any:
        """Return what two grants have in common only if the later one takes the earlier's place."""
        raise NotImplementedError

    def _held_here(self, key: K) -> list[Grant]:
        """Return the grants of that key that are held here, the newest last."""
        raise NotImplementedError

    def _locked(self, key: K) -> bool:
        """Return whether anybody holds that key, as far as this member knows."""
        raise NotImplementedError

    def _ask(self, key: K, ticket: int, wait: bool, *said: Any) -> "Future[Any]":
        """Submit the command that acquires; a subclass may have more to say with it."""
        asked: Future[Any] = self._acquire.submit(key, ticket, wait)
        return asked

    def _acquiring(
        self, key: K, blocking: bool, seconds: float | None, *said: object
    ) -> Steps[Grant | None]:
        """Acquire, waiting so long at most (None: without end); return the grant, or None."""
        return self._acquiring_for(bound(self).port.caller(), key, blocking, seconds, *said)

    def _acquiring_for(
        self, caller: Hashable, key: K, blocking: bool, seconds: float | None, *said: object
    ) -> Steps[Grant | None]:
        port = bound(self).port
        wait: Wait[tuple[int, int]] = Wait(
            self,
            self._VERB,
            lambda ticket: self._ask(key, ticket, blocking, *said),
            lambda ticket: self._withdraw.submit(key, ticket),
            lambda served: self._release.submit(key, served[1]),
            frees=True,
        )
        deadline = None if seconds is None else port.now() + seconds
        while True:
            served = yield from wait.served(seconds) if blocking else wait.at_once()
            if served is None:
                return None
            grant = self._granted(served, key, caller)
            if grant is not None:
                return grant
            yield from wait.seen_through(
                cleaning(self._release.submit, key, served[1]), deadline
            )
            seconds = None if deadline is None else deadline - port.now()
            if not blocking or (seconds is not None and seconds <= 0):
                return None

    def _granted(self, served: tuple[int, int], key: K, caller: Hashable) -> Grant | None:
        """Hold what was granted, and return it; None if this node is not sure of it, and has not.

        It was cut off meanwhile then, and must not believe in it.
        """
        grant = Grant(served[0], served[1], key, caller, bound(self).port)
        slot = self._slot(key, grant.token)
        self._grants[slot] = grant
        if self._is_sure(grant):
            return grant
        self._grants.pop(slot, None)
        return None

    def _releasing(self, key: K, token: int | None) -> Steps[None]:
        """Release what `_found` finds."""
        yield from self._giving_back(self._taken(key, token))

    def _taken(self, key: K, token: int | None) -> Grant:
        """Take what `_found` finds from what is held here, to be released."""
        grant = self._found(key, token)
        if grant is None or not self._forget(grant):
            raise self._not_held(key, token)
        return grant

    def _giving_back(self, grant: Grant) -> Steps[None]:
        """Release what was taken; if that was certainly not applied, it is held again."""
        try:
            freed = yield cleaning(self._release.submit, grant.key, grant.token)
        except SessionExpired:
            freed = False
        except NotApplied:
            self._keep(grant)
            raise
        if not freed:
            raise LockLost(f"{self._describe(grant.key)} was lost before its release")

    def _keep(self, grant: Grant) -> None:
        """Hold again what was taken to be released, and was not."""
        self._grants.setdefault(self._slot(grant.key, grant.token), grant)

    def _found(self, key: K, token: int | None = None) -> Grant | None:
        """Return the grant of that token; None: the newest of the caller's, or else of the node's.

        Whoever has lost his own, and was not told so by a release, has none: without this, he would
        take for his own what others of this node were granted since.
        """
        found = self._meant(self._held_here(key), token)
        if token is None and found is not None and self._lost:
            caller = bound(self).port.caller()
            lost = list(self._lost.get(key, {}).values())
            if found.caller != caller and any(grant.caller == caller for grant in lost):
                return None
        return found

    def _meant(self, grants: list[Grant], token: int | None) -> Grant | None:
        """Return the grant of that token; None: the newest of the caller's, or else of all."""
        if token is not None:
            grants = [grant for grant in grants if grant.token == token]
        elif len(grants) > 1:
            caller = bound(self).port.caller()
            grants = [grant for grant in grants if grant.caller == caller] or grants
        return grants[-1] if grants else None

    def _forget(self, grant: Grant) -> bool:
        """Give up the local grant; of several threads that do, only one is told True."""
        slot = self._slot(grant.key, grant.token)
        forgotten = self._grants.pop(slot, None)
        if forgotten is not None and forgotten is not grant:
            self._grants[slot] = forgotten
        return forgotten is grant

    def _not_held(self, key: K, token: int | None) -> SyncError:
        """Return what a release raises that finds nothing; it reports a loss once."""
        lost = self._lost.get(key, {})
        grant = self._meant(list(lost.values()), token)
        if grant is not None:
            lost.pop(grant.token, None)
            return LockLost(f"{self._describe(key)} was lost while it was held here")
        return NotOwner(f"{self._describe(key)} is not held through this handle")

    @operation
    def _enter(self, key: K) -> Steps[int]:
        """Acquire for a `with` block; return the token by which to leave."""
        grant = yield from self._acquiring(key, True, None)
        assert grant is not None
        return grant.token

    @_enter.undone_by
    def _unenter(self, token: int, key: K) -> None:
        cleaning(self._undo.submit, key, token)

    @operation
    def _leave(self, key: K, token: int | None) -> Steps[None]:
        """Release at the end of a `with` block what its beginning acquired; None: what is held."""
        yield from self._releasing(key, token)

    @operation
    def _undo(self, key: K, token: int | None = None) -> Steps[None]:
        """Release what was acquired for somebody who had left as it came."""
        yield from self._releasing(key, token)

    def _is_sure(self, grant: Grant) -> bool:
        port, granted_by = bound(self).port, bound(self).target
        # A token is above the id of its object. One that is not is of an object of before, which
        # was dropped, as is one of another node: this object knows nothing of it.
        if not isinstance(granted_by, int) or grant.token < granted_by or grant.port is not port:
            return False
        return grant.session == port.session and port.now() < port.sure_until()

    def _held(self, key: K) -> bool:
        grant = self._found(key)
        return grant is not None and self._is_sure(grant)

    def _token(self, key: K) -> int | None:
        grant = self._found(key)
        return None if grant is None else grant.token

    def _ensure_held(self, key: K) -> None:
        if not self._held(key):
            raise LockLost(f"{self._describe(key)} is not certainly held here")

    def on_session_lost(self) -> None:
        """Forget what is held here, tell the user, and release it if the session lives after all.

        Called by the node when it has not heard of its session for so long that the cluster may
        give its locks to others.
        """
        grants = list(self._grants.values())
        self._note_losses(grants)
        for grant in grants:
            if not self._forget(grant):
                self._lost[grant.key].pop(grant.token, None)
                continue
            try:
                cleaning(self._give_up, grant)
            except SyncError:
                _log.debug(
                    "%s: no background release", self._describe(grant.key), exc_info=True
                )
            try:
                self._tell_lost(grant.key)
            except KeyboardInterrupt:
                raise
            except BaseException:
                # sys.exit() or a cancelled asyncio future would end the thread others rely on.
                _log.exception(
                    "on_lost of %s raised; that changes nothing", self._describe(grant.key)
                )

    def _give_up(self, grant: Grant) -> "Future[Any]":
        """Submit the command that frees what this node is not sure of any more."""
        freed: Future[Any] = self._release.submit(grant.key, grant.token)
        return freed

    def _note_losses(self, grants: list[Grant]) -> None:
        """Keep what releases have to report; of each caller and key, what was lost last."""
        for key in [key for key, lost in self._lost.items() if not lost]:
            del self._lost[key]
        for key in {grant.key: None for grant in grants}:
            lost = self._lost.setdefault(key, {})
            anew = [grant for grant in grants if grant.key == key]
            callers = {grant.caller for grant in anew}
            for token in [t for t, grant in list(lost.items()) if grant.caller in callers]:
                lost.pop(token, None)
            lost.update({grant.token: grant for grant in anew})

    def _tell_lost(self, key: K) -> None:
        """Call the user's callback."""

    def _describe(self, key: K) -> str:
        raise NotImplementedError


def wait_seconds(blocking: bool, timeout: float) -> float | None:
    """Return how long to wait at most (None: without end), by the rules of `threading.Lock`."""
    if not blocking and timeout != -1:
        raise ValueError("can't specify a timeout for a non-blocking call")
    if timeout < 0 and timeout != -1:
        raise ValueError("timeout value must be a non-negative number")
    if timeout > TIMEOUT_MAX:
        raise OverflowError("timeout value is too large")
    return None if timeout == -1 else timeout


def named(target: Holding[Any]) -> str:
    """Return the name under which the object is attached and a space, or nothing."""
    binding = target._binding
    return "" if binding is None else f"{binding.name!r} "
