"""What a replicated method may know of the world while it is applied: this, and nothing else.

Every replica applies the same command with the same context, so whatever a method derives from it
is the same on every member. Wall clocks, `random`, `uuid4` and `hash()` of strings are not.
"""

from contextvars import ContextVar
from enum import Enum
from typing import TYPE_CHECKING, Final

import msgspec

from ..errors import ObjectNotFound

if TYPE_CHECKING:
    from random import Random

    from .port import Binding
    from .transactions import Marks


class CallId(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Identify a call for ever: the session of the calling node, and its number in it."""

    session: int
    sequence: int


class _Parked(Enum):
    PARKED = "the call waits until another command resumes it"


PARKED: Final = _Parked.PARKED


class Outcome(msgspec.Struct, frozen=True, array_like=True):
    """How a call ended: with `error` if that is not None, else with `value`."""

    value: object = None
    error: BaseException | None = None


class Context:
    """The command that is being applied: where in the log, when in cluster time, for whom."""

    __slots__ = (
        "_random",
        "_random_type",
        "index",
        "marks",
        "owner",
        "parked",
        "resumed",
        "sequence",
        "serial",
        "session",
        "time",
        "version",
    )  # fmt: skip

    def __init__(self, *, index: int, time: float, owner: object, random_type: type["Random"]):
        self.index = index
        """Index of the log entry; several commands may share it."""
        self.time = time
        """Cluster time in seconds: the leader's stamp, never going backwards, no wall clock."""
        self.owner = owner
        self.marks: Marks | None = None
        """Which command has run last on each object, if the cluster keeps that."""
        self.serial = 0
        """Number of this command in the life of the cluster: unique, and growing for ever."""
        self.version = 1
        """The version in force here; see `Node.set_version`."""
        self.session = 0
        self.sequence = 0
        self.parked: list[CallId] = []
        self.resumed: list[tuple[CallId, Outcome]] = []
        self._random_type = random_type
        self._random: tuple[int, Random] | None = None

    @property
    def call(self) -> CallId:
        """The call that is being applied; its session is the calling node's."""
        return CallId(self.session, self.sequence)

    @property
    def random(self) -> "Random":
        """A generator seeded by `serial`, the same on every replica."""
        if self._random is None or self._random[0] != self.serial:
            self._random = (self.serial, self._random_type(self.serial))
        return self._random[1]

    def park(self) -> object:
        """Let the calling side wait: return this value from the replicated method.

        The call ends when another command (or an expiry) calls `resume` or `refuse` with its
        `call`. Whoever parks must keep the `CallId` in its state and drop it in
        `Replicated.on_session_expired`; `Waiters` does both.

        Raises:
            RuntimeError: the call is part of a batch, which cannot wait.
        """
        if self.sequence == 0:
            raise RuntimeError("a call inside a batch cannot wait; make it outside the batch")
        self.parked.append(self.call)
        return PARKED

    def resume(self, call: CallId, value: object = None) -> None:
        """End a parked call with `value` as its result."""
        self.resumed.append((call, Outcome(value)))

    def refuse(self, call: CallId, error: Exception) -> None:
        """End a parked call by raising `error` in its caller."""
        self.resumed.append((call, Outcome(None, error)))

    def check_inline(self, binding: "Binding", method: str) -> None:
        """Refuse an inline call of an object that is not a part of the state being changed.

        Raises:
            RuntimeError: it belongs to another node.
            ObjectNotFound: it waits for its attach, so the other members do not have it yet.
        """
        if binding.port is not self.owner:
            raise RuntimeError(f"{method}() belongs to an object of another node")
        if isinstance(binding.target, str):
            raise ObjectNotFound(f"{method}(): {binding.name!r} is not attached in the cluster yet")
        if self.marks is not None:
            self.marks.set(binding.name, self.serial)


_current: ContextVar[Context | None] = ContextVar("syncstructs_context", default=None)


def current_context() -> Context:
    """Return the context of the command that is being applied.

    Raises:
        RuntimeError: called outside a replicated method.
    """
    context = _current.get()
    if context is None:
        raise RuntimeError("current_context() has a meaning only inside a replicated method")
    return context
