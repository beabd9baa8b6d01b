"""Elections as locks: what callers, models and checks of locks need to deal with them.

To campaign is to acquire, to resign is to release. What is more, whoever certainly leads must be
the one of whom its node tells, with what it has announced.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from ..errors import LockLost

if TYPE_CHECKING:
    from ..futures import Future
    from ..structs.elections import ReplElection
    from .invariants import Command

ELECTION: Final = "election"
"""The name of the object."""


class Office:
    """An election with the words of a `ReplLock`, for somebody who announces that value."""

    def __init__(self, election: ReplElection[Any], address: str, value: object) -> None:
        self._election = election
        self._address = address
        self._values = [value]
        """What it may announce now: more than one until it is known which was the last."""
        self.acquire = SimpleNamespace(submit=partial(election.campaign.submit, value=value))
        self.release = election.resign

    @property
    def held(self) -> bool:
        """Whether the node certainly leads."""
        return self._election.is_leader

    @property
    def token(self) -> int | None:
        """The token of the node's leadership."""
        return self._election.token

    def proclaim(self, value: object) -> None:
        """Announce another value, without waiting for that."""
        self._values.append(value)
        self._election.proclaim.submit(value).add_done_callback(partial(self._proclaimed, value))

    def _proclaimed(self, value: object, future: Future[None]) -> None:
        if not future.cancelled() and future.exception() is None:
            # Those that were sent before it are done with.
            self._values = self._values[self._values.index(value) :]

    def ensure_held(self) -> None:
        """Raise `LockLost` unless the node certainly leads."""
        if not self.held:
            raise LockLost("no leader")

    def locked(self) -> bool:
        """Return whether the election says that this node leads, with such a value."""
        leader = self._election.leader
        return leader in [(self._address, value, self.token) for value in self._values]

    def __repr__(self) -> str:
        return f"{self._election!r} for {self._values!r}: {self._election.leader}"


def as_lock_command(command: Command) -> Command:
    """Return what a command of an election is to a lock."""
    if command.method != "_campaign":
        return command
    _, ticket, wait, *_ = command.args
    return command._replace(method="_acquire", args=[None, ticket, wait])
