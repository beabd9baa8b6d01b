"""`ReplRLock`: a lock that its owner may acquire again; see `locks`."""

from collections.abc import Callable, Hashable
from typing import ClassVar

from ..errors import LockLost, NotApplied
from ..objects.port import Steps
from ..objects.replicated import bound
from .holding import Grant, named
from .locks import ReplLock


class ReplRLock(ReplLock):
    """A replicated `threading.RLock`: whoever holds it may acquire it again.

    It is held by one thread (in asyncio, by one task) of one node, as a `threading.RLock` is: other
    threads of that node wait as those of other nodes do, and may not release it; to them, `held` is
    False and `token` None. It is released when it was released as often as acquired. Only the first
    acquire and the last release are log entries; those in between ask nobody, and take O(1). What
    `ReplLock` says of waiting, tokens, leaders, sessions and `on_lost` goes for this one.

    Who has lost it is told so, with `LockLost`, by each acquire and each release until it was
    released as often as it had been acquired: an inner acquire must not make a new lock of what an
    outer one has lost. Blocks of `with` do that by themselves.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_depths"})

    def __init__(self, on_lost: Callable[[], object] | None = None) -> None:
        super().__init__(on_lost)
        # How often each thread or task has acquired it, and has not released it since.
        self._depths: dict[Hashable, int] = {}

    def _acquiring(
        self, key: None, blocking: bool, seconds: float | None, *said: object
    ) -> Steps[Grant | None]:
        caller = bound(self).port.caller()
        depth = self._depths.get(caller, 0)
        if depth == 0:
            grant = yield from super()._acquiring(key, blocking, seconds, *said)
        else:
            grant = self._found(key)
            if grant is None or not self._is_sure(grant):
                raise LockLost(f"{self._describe(key)} is not certainly held any more")
        if grant is not None:
            self._depths[caller] = depth + 1
        return grant

    def _releasing(self, key: None, token: int | None) -> Steps[None]:
        caller = bound(self).port.caller()
        if not self._leaves(caller):
            if self._found(key) is None:
                raise LockLost(f"{self._describe(key)} was lost while it was held here")
            return
        try:
            yield from super()._releasing(key, token)
        except NotApplied:
            self._depths[caller] = 1
            raise

    def _leaves(self, caller: Hashable) -> bool:
        """Count a release; return whether nothing is left to be released but the lock itself."""
        depth = self._depths.pop(caller, 0)
        if depth > 1:
            self._depths[caller] = depth - 1
        return depth <= 1

    def _meant(self, grants: list[Grant], token: int | None) -> Grant | None:
        """Return the caller's own, of all these; nobody else may release it."""
        caller = bound(self).port.caller()
        return super()._meant([grant for grant in grants if grant.caller == caller], token)

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        counts = list(self._depths.values())
        return (
            f"<{state} {type(self).__name__} object {named(self)}"
            f"count={max(counts, default=0)} at {id(self):#x}>"
        )
