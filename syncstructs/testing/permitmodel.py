"""What is true of permits (`structs.permits`): their model, and their twin in the log.

`PermitModel` believes nothing but what callers saw. An owner may lose a permit at any time, if its
session expires; but a release that succeeded was its owner's, from its grant to its release. So the
state is who certainly held permits at that moment, and none may be held that do not go together.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from typing import Any

from ..structs.rwlocks import READ, WRITE
from .history import Op
from .locktwins import LockTwin, Owner
from .logtwins import Number
from .sequential import ILLEGAL, Model, Transition

Admits = Callable[[Collection[Any], Any], bool]
"""Whether, besides permits of these kinds, one of that kind may be held."""


def fewer_than(limit: int) -> Admits:
    """Return what admits so many, of whatever kinds."""
    return lambda held, kind: len(held) < limit


def reads_or_is_alone(held: Collection[Any], kind: Any) -> bool:
    """Admit any number of readers, or one writer."""
    return not held or (kind == READ and WRITE not in held)


class PermitModel(Model):
    """Operations `acquire(kind)`, with the token as outcome, and `release(kind, token)`.

    A token is granted once, and greater than all that were granted before. The arguments of
    `acquire` besides, and who called, are nobody's business.
    """

    def __init__(self, admits: Admits) -> None:
        self._admits = admits
        self._released: frozenset[int] = frozenset()
        """Tokens of permits that were certainly held until their releases."""

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return a model that knows what was released."""
        model = PermitModel(self._admits)
        model._released = frozenset(
            op.argument(1, "token") for op in ops if op.method == "release" and op.outcome is None
        )
        return model, ops

    def initial(self) -> Hashable:
        """Return that nothing is held: tokens and kinds, and the greatest token so far."""
        return (), 0

    def is_read(self, op: Op) -> bool:
        """Return whether it was granted nothing for certain, and freed nothing."""
        return type(op.outcome) is not int and (op.method == "acquire" or op.outcome is not None)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method not in ("acquire", "release"):
            raise ValueError(f"a model of permits has no method {op.method!r}")
        is_release = op.method == "release"
        # Without this, who records what acquire() returns would have nothing judged.
        if op.outcome is True or len(op.args) + len(op.kwargs) < 1 + is_release:
            raise ValueError(
                f"{op} by {op.process}: acquire(kind) is to be recorded with the token as its"
                " outcome, and release(kind, token) with both"
            )
        kind = op.argument(0, "kind")
        token: Any = op.argument(1, "token") if is_release else op.outcome

        def acquire(state: Any) -> Hashable:
            held, greatest = state
            if token <= greatest:
                return ILLEGAL
            if token in self._released:
                if not self._admits([other for _, other in held], kind):
                    return ILLEGAL
                held = (*held, (token, kind))
            return held, token

        def release(state: Any) -> Hashable:
            held, greatest = state
            left = tuple(permit for permit in held if permit[0] != token)
            return ILLEGAL if left == held else (left, greatest)

        if self.is_read(op):
            return lambda state: state
        return acquire if op.method == "acquire" else release


class SemaphoreModel(PermitModel):
    """`ReplSemaphore`, recorded as `PermitModel` says; the kind is None.

    With a value of 1 also `ReplRLock`, of whose calls only the outermost count, and the lock of a
    `ReplCondition`: to wait is to release it, and to have waited to acquire it.
    """

    def __init__(self, value: int = 1) -> None:
        super().__init__(fewer_than(value))


class RWLockModel(PermitModel):
    """`ReplRWLock`, recorded as `PermitModel` says; the kinds are "read" and "write"."""

    def __init__(self) -> None:
        super().__init__(reads_or_is_alone)


class PermitTwin(LockTwin):
    """Permits as their commands describe them: one line for all kinds, in order of arrival."""

    def __init__(self, owners: dict[tuple[Any, int], Owner], admits: Admits) -> None:
        super().__init__(owners)
        self._admits = admits
        self._line: list[tuple[Owner, Number, Any]] = []

    def holders_of(self, target: Any) -> dict[Any, Owner]:
        """Return who holds what in the object, as `holders` has it."""
        return {permit[:2]: permit[2] for permit in target._holders.values()}

    def acquire(self, number: Number, key: Any, ticket: int, wait: bool) -> None:
        """Grant it, have it wait, or refuse it."""
        owner = number[0], ticket
        if wait or (not self._line and self._admits(self.holders.values(), key)):
            self._line.append((owner, number, key))
            self._serve()
        else:
            self.answers[number] = None

    def withdraw(self, number: Number, key: Any, ticket: int) -> None:
        """End the wait, or free what it was granted."""
        owner = number[0], ticket
        self.answers[number] = None
        for waiting in [w for w in self._line if w[0] == owner]:
            self._line.remove(waiting)
            self.answers[waiting[1]] = None
        self.holders.pop(owner, None)
        self._serve()

    def expire(self, session: int) -> None:
        """End the waits of a session, and free what it holds."""
        self.answers |= {w[1]: self.expired for w in self._line if w[0][0] == session}
        self._line = [w for w in self._line if w[0][0] != session]
        for owner in [owner for owner in self.holders if owner[0] == session]:
            del self.holders[owner]
        self._serve()

    def _holds(self, owner: Owner, key: Any) -> bool:
        return owner in self.holders

    def _free(self, owner: Owner, key: Any) -> None:
        del self.holders[owner]
        self._serve()

    def _serve(self) -> None:
        while self._line and self._admits(self.holders.values(), self._line[0][2]):
            owner, number, key = self._line.pop(0)
            self.holders[owner] = key
            self.answers[number] = owner
