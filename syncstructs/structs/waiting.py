"""The calling side of a wait in the log: time-outs, cancelling, and sessions that expire meanwhile.

A command parks the call (`Waiters`) under a ticket, and another command serves it. Whatever happens
on this side, the wait is ended by a command as well, so that no ghost keeps waiting, and nothing
that was handed out is lost because its receiver had just given up.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import Cancelled, OutcomeUnknown, ResultLost, SessionExpired, SyncError
from ..objects.port import Port, Steps

if TYPE_CHECKING:
    from ..futures import Future

R = TypeVar("R")

WITHDRAW_GRACE = 5.0
"""Seconds that a wait whose time is over may take to learn how it ended; above an election."""
ANSWER_GRACE = 30.0
"""Seconds after which a call that does not wait in the log gives up on a cluster in silence."""


@dataclass(frozen=True, slots=True)
class Wait(Generic[R]):
    """A kind of waiting: how to begin it, end it, and undo what came too late."""

    port: Port
    enter: Callable[[int], "Future[Any]"]
    """Submit the command that waits under this ticket; gives an R, or None if withdrawn."""
    withdraw: Callable[[int], "Future[Any]"]
    """Submit the command that ends the wait of this ticket, if it still waits."""
    undo: Callable[[R], "Future[Any]"] | None = None
    """Submit the command that takes back what the wait was served; None: that can't be done."""
    frees: bool = False
    """Whether `withdraw` also frees what the ticket was served, whatever its result says."""

    def served(self, timeout: float | None) -> Steps[R | None]:
        """Wait at most `timeout` seconds (None: without end), and return what was served.

        Return None if time ran out: then nothing was served, and nothing waits any longer. If this
        node's session expires meanwhile, the wait begins anew, at the end of the queue.

        Raises:
            OutcomeUnknown: time ran out, and the cluster does not answer how the wait has ended.
            Cancelled: the operation was cancelled; the wait is withdrawn, what was served undone.
        """
        deadline = None if timeout is None else self.port.now() + timeout
        remaining = timeout
        while True:
            ticket = self.port.ticket()
            future = self.enter(ticket)
            try:
                in_time = yield future, remaining
                if not in_time and not (yield from self._withdrawn(ticket, future)):
                    return None
                served: R | None = yield future
                return served
            except SessionExpired:
                pass
            except ResultLost:
                if not self.frees:
                    raise
                with suppress(SessionExpired):
                    yield self.withdraw(ticket)
            except Cancelled:
                yield from self._settle(self.withdraw(ticket), future)
                raise
            if deadline is not None:
                remaining = deadline - self.port.now()
                if remaining <= 0:
                    return None

    def at_once(self) -> Steps[R | None]:
        """Do a command that does not wait in the log, and return its result.

        Raises:
            OutcomeUnknown: the cluster did not answer; what it serves later will be undone.
            Cancelled: the operation was cancelled; what was served is undone.
        """
        ticket = self.port.ticket()
        future = self.enter(ticket)
        try:
            if (yield future, ANSWER_GRACE):
                served: R | None = yield future
                return served
        except Cancelled:
            yield from self._settle(self.withdraw(ticket), future)
            raise
        self.port.start(self._settle(self.withdraw(ticket), future))
        raise OutcomeUnknown(f"no answer from the cluster within {ANSWER_GRACE} s")

    def _withdrawn(self, ticket: int, future: "Future[Any]") -> Steps[bool]:
        """End the wait; return whether what it was served (see its future) counts."""
        withdrawal = self.withdraw(ticket)
        if (yield withdrawal, WITHDRAW_GRACE):
            # An expired session has ended the wait as well, or it was served before: see future.
            with suppress(SessionExpired):
                yield withdrawal
            # Without this, a lock granted at the last moment would be freed and yet used.
            return not self.frees
        self.port.start(self._settle(withdrawal, future))
        if self.undo is None:
            raise OutcomeUnknown("time ran out, and the cluster does not answer how the wait ended")
        return False

    def _settle(self, withdrawal: "Future[Any]", future: "Future[Any]") -> Steps[None]:
        """See a withdrawal through, and undo what was served in spite of it."""
        with suppress(SyncError):
            yield withdrawal
        try:
            served = yield future
        except Exception:
            return
        if served is not None and self.undo is not None:
            with suppress(SyncError):
                yield self.undo(served)
