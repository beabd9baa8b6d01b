"""`ReplSemaphore`: so many permits that all members share, each with a fencing token."""

from collections.abc import Callable

from ..objects.port import Steps
from ..objects.replicated import bound, operation, reading
from .holding import named
from .permits import Permits
from .sections import OwnSection


class ReplSemaphore(OwnSection, Permits[None]):
    """A replicated `threading.BoundedSemaphore`: `acquire`, `release`, `with`, and `async with`.

    At most `value` permits are held at once, in all processes together. Each belongs to the session
    of the node that acquired it, as a `ReplLock` does: it is given back by `release`, or when that
    node is dead or cut off for longer than `Config.session_ttl`. So there is no release without an
    acquire, as `threading.Semaphore` has it. Waiters are served strictly in the order in which
    their requests reached the log, without polling.

    A release gives back the newest permit of the thread (in asyncio, of the task) that calls it;
    who has none, the newest of this node. `on_lost()` is called in this process for each permit
    that is held here when the node can no longer be sure of it; in the node's thread, so it must be
    quick and must not wait for the cluster.

    Each permit has a fencing token of its own, greater than those of all that were granted before.
    What the semaphore protects may refuse a token if it has seen `value` greater ones.

    Each permit that is acquired or released is one command; a request that is not served in time
    takes a second one, and leaves no permit behind. O(1), and O(permits) when a session expires. If
    the leader is lost, permits are held and waited for under the next one.
    """

    def __init__(self, value: int = 1, on_lost: Callable[[], object] | None = None) -> None:
        """Members must agree on `value`.

        Raises:
            ValueError: it is below 1, so that nobody could ever acquire a permit.
        """
        if value < 1:
            raise ValueError(f"a semaphore with {value} permits can never be acquired")
        super().__init__(on_lost)
        self._value = value

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {"value": self._value}

    def _admits(self, kind: None) -> bool:
        return len(self._holders) < self._value

    @operation
    def acquire(self, blocking: bool = True, timeout: float | None = None) -> Steps[bool]:
        """Acquire a permit; wait for it `timeout` seconds at most (None: without end).

        Return whether it was acquired; if not, this request certainly holds nothing and never will.
        Without a quorum it takes a second more at the most to say so; `blocking=False` asks the
        cluster too, and takes up to `Config.call_timeout` then.

        Raises:
            Withdrawn: it was not to wait, and no leader was known in time. Nothing was acquired.
            OutcomeUnknown: time ran out without an answer. No permit is held here by this request;
                it is given back if it is granted later.
            ValueError: there is a time-out although it is not to wait.
        """
        if not blocking and timeout is not None:
            raise ValueError("can't specify timeout for non-blocking acquire")
        seconds = None if timeout is None else max(0.0, timeout)
        return (yield from self._acquiring(None, blocking, seconds)) is not None

    acquire.undone_by(OwnSection._unacquire)

    @operation
    def release(self, n: int = 1) -> Steps[None]:
        """Give `n` permits back, to who waits longest for them; all, or none if it holds fewer.

        Raises:
            NotOwner: fewer are held through this handle. It is a `ValueError`, as
                `threading.BoundedSemaphore` has it.
            LockLost: one was lost while it was held here: what it protected was not protected.
            ValueError: `n` is below 1.
        """
        if n < 1:
            raise ValueError("n must be one or more")
        taken = []
        try:
            for _ in range(n):
                taken.append(self._taken(None, None))
        except BaseException:
            for grant in taken:
                self._keep(grant)
            raise
        *others, last = taken
        started = [bound(self).port.start(self._giving_back(grant)) for grant in others]
        yield from self._giving_back(last)
        for release in started:  # noqa: UP028 - a list takes no results
            yield release

    def locked(self) -> bool:
        """Return whether a permit would have to be waited for, as far as this member knows."""
        with reading(self):
            return bool(self._waiters) or not self._admits(None)

    @property
    def value(self) -> int:
        """How many permits there are, held or not."""
        return self._value

    @property
    def available(self) -> int:
        """How many permits nobody holds, as far as this member knows."""
        with reading(self):
            return self._value - len(self._holders)

    def __repr__(self) -> str:
        at = f"{named(self)}at {id(self):#x}"
        return f"<{type(self).__name__} {at}: value={self.available}/{self._value}>"

    def _check(self) -> None:
        super()._check()
        assert len(self._holders) <= self._value, self._holders
