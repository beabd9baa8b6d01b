"""`ReplEvent` and `ReplLatch`: what all members share, and any number of callers wait for.

Who waits is parked in the log, and woken by the very command that sets the event, or that counts
the latch down to zero: without polling, and by one entry however many they are.
"""

from ..errors import OutcomeUnknown
from ..objects.port import Steps
from ..objects.replicated import Replicated, bound, operation, reading, replicated
from ..objects.waiters import Waiters
from .waiting import Wait


class Gate(Replicated):
    """What is open or not, and lets all pass who wait for it when it opens."""

    def __init__(self) -> None:
        self._waiters = Waiters()

    def _is_open(self) -> bool:
        raise NotImplementedError

    def _let_pass(self) -> None:
        """Wake all that wait; O(number of them)."""
        while self._waiters:
            self._waiters.serve(True)

    @replicated
    def _wait(self, ticket: int) -> bool:
        return True if self._is_open() else self._waiters.park(ticket)

    @replicated
    def _leave(self, ticket: int) -> None:
        self._waiters.cancel(ticket)

    def _passing(self, timeout: float | None) -> Steps[bool]:
        """Wait until it is open; return False if time ran out before that."""
        with reading(self):
            if self._is_open():
                return True
        port = bound(self).port
        wait: Wait[bool] = Wait(self, "wait", self._wait.submit, self._leave.submit)
        remaining = timeout
        deadline = None if timeout is None else port.now() + timeout
        while True:
            try:
                return (yield from wait.served(remaining)) is not None
            except OutcomeUnknown:
                # Nobody knows how it ended; as waiting changes nothing, it may begin anew. To take
                # a lost result for success would be wrong: its session may have expired as well.
                remaining = None if deadline is None else deadline - port.now()
                if remaining is not None and remaining <= 0:
                    return False

    def _check(self) -> None:
        assert not (self._waiters and self._is_open()), len(self._waiters)


class ReplEvent(Gate):
    """A replicated `threading.Event`: `set`, `clear`, `is_set`, `wait`.

    `set` wakes all who wait anywhere in the cluster, even if `clear` follows at once. `await
    event.wait.submit(timeout=5)` is for asyncio; cancelling such a future withdraws the wait.

    If the leader is lost, waits go on under the next one. A node that was cut off until its session
    expired (`Config.session_ttl`), or until it had to be sent a snapshot, begins its waits anew as
    it comes back; an event that was set and cleared in between is missed then. Who must not miss
    anything needs a `ReplQueue`.

    `set` and `clear` are one log entry each, and so is a `wait` for an event that is not set; its
    time-out takes a second one. `set` takes O(number of waits), all else O(1).

    >>> event = ReplEvent()
    >>> event.is_set()
    False
    """

    def __init__(self) -> None:
        super().__init__()
        self._flag = False

    def is_set(self) -> bool:
        """Return whether the event is set, as far as this member knows."""
        with reading(self):
            return self._flag

    @replicated
    def set(self) -> None:
        """Set the event, and wake all that wait for it."""
        self._flag = True
        self._let_pass()

    @replicated
    def clear(self) -> None:
        """Clear the event, so that `wait` waits again."""
        self._flag = False

    @operation
    def wait(self, timeout: float | None = None) -> Steps[bool]:
        """Wait until the event is set, `timeout` seconds at most; return False if time ran out.

        It returns True at once, without asking the cluster, if the event is set as far as this
        member knows; behind `node.barrier()`, that is what all others know. Without a quorum it
        takes a second more at the most to say that time ran out.
        """
        return (yield from self._passing(timeout))

    def _is_open(self) -> bool:
        return self._flag

    def __repr__(self) -> str:
        name = "" if self._binding is None else f"{self._binding.name!r} "
        state = "set" if self.is_set() else "unset"
        return f"<{type(self).__name__} {name}at {id(self):#x}: {state}>"


class ReplLatch(Gate):
    """A count that goes down to zero, once, and those who wait for that; as C++'s `std::latch`.

    Such as Java's `CountDownLatch`: `count_down`, `wait`, `count`. It never opens twice, so for
    whoever has seen it open `wait` returns at once. `await latch.wait.submit(timeout=5)` is for
    asyncio; cancelling such a future withdraws the wait.

    Nobody knows who has counted: who dies before is missing for ever, and who retries a
    `count_down` whose outcome is unknown may count twice. If the leader is lost, waits go on under
    the next one; those of a node that was cut off for long begin anew, and miss nothing.

    `count_down` is one log entry, and so is a `wait` for a latch that is not known to be open; its
    time-out takes a second one. The last `count_down` takes O(number of waits), all else O(1).

    >>> ReplLatch(3).count
    3
    """

    def __init__(self, count: int) -> None:
        """`count`: how often it has to be counted down, the same on every member.

        Raises:
            ValueError: it is negative.
        """
        super().__init__()
        self._initial = self._count = _not_negative(count)

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {"count": self._initial}

    @property
    def count(self) -> int:
        """How much is left to be counted down, as far as this member knows; 0: it is open."""
        with reading(self):
            return self._count

    @replicated
    def count_down(self, n: int = 1) -> int:
        """Count down by `n`, but not below zero, and wake all that wait if that is reached.

        Return how much is left.

        Raises:
            ValueError: `n` is negative. Nothing was counted.
        """
        self._count = max(0, self._count - _not_negative(n))
        if not self._count:
            self._let_pass()
        return self._count

    @operation
    def wait(self, timeout: float | None = None) -> Steps[bool]:
        """Wait until the count is zero, `timeout` seconds at most; return False if time ran out.

        It returns True at once, without asking the cluster, if this member knows the latch as open.
        Without a quorum it takes a second more at the most to say that time ran out.
        """
        return (yield from self._passing(timeout))

    def _is_open(self) -> bool:
        return self._count == 0

    def __repr__(self) -> str:
        name = "" if self._binding is None else f"{self._binding.name!r} "
        return f"<{type(self).__name__} {name}at {id(self):#x}: count={self.count}>"

    def _check(self) -> None:
        super()._check()
        assert 0 <= self._count <= self._initial, (self._count, self._initial)


def _not_negative(count: int) -> int:
    if not isinstance(count, int):
        raise TypeError(f"a ReplLatch counts whole numbers, not {type(count).__name__}")
    if count < 0:
        raise ValueError(f"a ReplLatch counts down from 0 or more, by 0 or more, not {count}")
    return int(count)
