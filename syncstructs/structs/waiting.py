"""The calling side of a wait in the log: time-outs, cancelling, and sessions that expire meanwhile.

A command parks the call (`Waiters`) under a ticket, and another command serves it. Whatever happens
on this side, the wait is ended by a command as well, so that no ghost keeps waiting, and nothing
that was handed out is lost because its receiver had just given up. Only a command that has never
left this node is simply taken back.

Commands that clean up are carried out apart from their caller, who may leave, run out of time, or
have the command that it waits for itself taken back (`Port.run`): they outlive him.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from ..errors import (
    Cancelled,
    NotApplied,
    OutcomeUnknown,
    ResultLost,
    SessionExpired,
    SyncError,
    Withdrawn,
)
from ..objects.port import Port, Steps, cleaning
from ..objects.replicated import HasPort, call_name

if TYPE_CHECKING:
    from ..futures import Future

R = TypeVar("R")

WITHDRAW_GRACE = 1.0
"""Seconds that a wait whose time is over may take to learn how it ended; most elections fit in."""


class Wait(Generic[R]):
    """How an operation of an object waits in the log: begin it, end it, undo what came too late.

    `enter(ticket)` submits the command that waits under this ticket, by `Waiters.park`; it gives an
    R, or None if the wait was withdrawn. `withdraw(ticket)` submits the command that ends it, by
    `Waiters.cancel`, if it waits still. `undo(served)` submits what takes back what a wait was
    served whose caller had gone; None: that can't be done. `frees`: `withdraw` also frees what the
    ticket was served already, so that what the wait then returns is not to be believed::

        class Gate(Replicated):
            @operation
            def wait(self, timeout: float | None = None) -> Steps[bool]:
                wait: Wait[bool] = Wait(self, "wait", self._park.submit, self._leave.submit)
                return (yield from wait.served(timeout)) is not None
    """

    __slots__ = ("enter", "frees", "name", "port", "undo", "withdraw")

    def __init__(
        self,
        target: HasPort,
        method: str,
        enter: "Callable[[int], Future[Any]]",
        withdraw: "Callable[[int], Future[Any]]",
        undo: "Callable[[R], Future[Any]] | None" = None,
        *,
        frees: bool = False,
    ) -> None:
        """`method`: the name of the operation, for messages."""
        self.name = call_name(target, method)
        self.port: Port = target._port
        self.enter = enter
        self.withdraw = withdraw
        self.undo = undo
        self.frees = frees

    def served(self, timeout: float | None) -> Steps[R | None]:
        """Wait at most `timeout` seconds (None: without end), and return what was served.

        Return None if time ran out and it is certain that nothing was served, that nothing waits
        any longer, and that nothing will. It takes `WITHDRAW_GRACE` seconds more at the most to
        find that out, and no longer if the wait has not left this node for as long as that.
        If this node's session expires meanwhile, or a snapshot hides what it was served, which is
        given back then, the wait begins anew, at the end of the queue.

        Raises:
            OutcomeUnknown: time ran out, and the cluster does not answer how the wait has ended.
                What it serves later is undone.
            Cancelled: the operation was cancelled; the wait is withdrawn, what was served undone.
        """
        deadline = None if timeout is None else self.port.now() + timeout
        remaining = timeout
        while True:
            ticket = self.port.ticket()
            future = self.enter(ticket)
            try:
                in_time = yield future, remaining
                if not in_time and not (yield from self._withdrawn(ticket, future, remaining)):
                    return None
                served: R | None = yield future
                return served
            except SessionExpired:
                pass
            except ResultLost:
                if not self.frees:
                    raise
                yield from self.seen_through(cleaning(self.withdraw, ticket), deadline)
            except Cancelled:
                self._abandon(ticket, future)
                raise
            if deadline is not None:
                remaining = deadline - self.port.now()
                if remaining <= 0:
                    return None

    def at_once(self) -> Steps[R | None]:
        """Do a command that does not wait in the log, and return its result.

        If a snapshot covers the result, what it was served is freed, and it is done again.

        Raises:
            Withdrawn: it could not be sent for `Config.call_timeout` seconds, and was taken back.
            OutcomeUnknown: it was sent, and the cluster did not answer within that time; what it
                serves later will be undone.
            Cancelled: the operation was cancelled; what was served is undone.
        """
        limit = self.port.call_timeout
        while True:
            ticket = self.port.ticket()
            future = self.enter(ticket)
            try:
                if not (yield future, limit):
                    break
                served: R | None = yield future
                return served
            except ResultLost:
                if not self.frees:
                    raise
                yield from self.seen_through(cleaning(self.withdraw, ticket), None)
            except Cancelled:
                self._abandon(ticket, future)
                raise
        if future.cancel():
            raise Withdrawn(
                f"{self.name}: not sent within {limit} s, as no leader was known; it was taken back"
            )
        self._abandon(ticket, future)
        raise self._unanswered()

    def seen_through(self, cleaning: "Future[Any]", deadline: float | None) -> Steps[None]:
        """Wait for a command that cleans up, until shortly after `deadline` (see `Port.now`).

        Without a deadline until `Config.call_timeout` seconds are over.

        Raises:
            OutcomeUnknown: that was not long enough. It goes on.
        """
        if deadline is None:
            seconds = self.port.call_timeout
        else:
            seconds = max(0.0, deadline - self.port.now()) + WITHDRAW_GRACE
        if not (yield self.port.start(_apart(cleaning)), seconds):
            raise self._unanswered()

    def _withdrawn(
        self, ticket: int, future: "Future[Any]", waited: float | None
    ) -> Steps[bool]:
        """End the wait; return whether what it was served (see its future) counts."""
        # What has just been begun is not sent yet anyway; it deserves its chance.
        if waited is not None and waited >= WITHDRAW_GRACE and future.cancel():
            return False
        try:
            withdrawal = cleaning(self.withdraw, ticket)
        except SyncError:
            # The node has ended, and the wait with it: its future says how.
            return True
        ended = self.port.start(_apart(withdrawal))
        if not (yield ended, WITHDRAW_GRACE):
            if future.cancel():
                withdrawal.cancel()
                return False
            self.port.start(self._settle(ended, future))
            raise self._unanswered()
        try:
            yield withdrawal
        except (SessionExpired, ResultLost):
            # An expired session has ended the wait as well, or it was served before: see future.
            pass
        except NotApplied:
            return True
        except SyncError as error:
            # The node has ended. What was sent before may free all the same what was served.
            if self.frees and _may_be_served(future):
                raise self._unanswered() from error
            return True
        # Without this, a lock granted at the last moment would be freed and yet used.
        return not self.frees

    def _unanswered(self) -> OutcomeUnknown:
        if self.undo is None:
            known = "it may have been done, or may yet be"
        else:
            known = "what it gets later is given back"
        return OutcomeUnknown(f"{self.name}: time ran out, and no answer from the cluster; {known}")

    def _abandon(self, ticket: int, future: "Future[Any]") -> None:
        """End a wait that nobody waits for any more, and undo what it is served all the same."""
        if not future.cancel():
            self.port.start(self._settle(cleaning(self.withdraw, ticket), future))

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
                yield cleaning(self.undo, served)


def _may_be_served(future: "Future[Any]") -> bool:
    """Return whether a wait has ended with something that can be freed, or may end so."""
    return not future.done() or (future.exception() is None and future.result() is not None)


def _apart(cleaning: "Future[Any]") -> Steps[None]:
    """Wait for a command that cleans up, in an operation of its own; however it ends."""
    with suppress(SyncError):
        yield cleaning
