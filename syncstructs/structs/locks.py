"""`ReplLock` and `ReplLockManager`: locks that all members share, with fencing tokens.

A lock belongs to the session of the node that acquired it. It is freed by `release`, or when that
node is dead or cut off for longer than `Config.session_ttl`: then the cluster expires the session,
and who waits longest is granted the lock. A process that was stopped for so long may go on working
in the belief that it holds it. So pass `lock.token` along to what the lock protects, and let that
refuse tokens smaller than the greatest it has seen: each grant has a greater one.

Limits: `held` is as good as the local clock runs evenly (its rate, not what it shows); only the
token protects against a process that stops between asking `held` and acting on it.
"""

from collections.abc import Callable, Hashable
from typing import Any, ClassVar, Generic, TypeVar

from ..objects.port import Binding, Port, Steps, cleaning
from ..objects.replicated import operation, reading
from .grants import Grants, Holder
from .holding import Holding, named, wait_seconds
from .sections import OwnSection, Section

K = TypeVar("K", bound=Hashable)


class ReplLock(OwnSection, Grants[None]):
    """A replicated `threading.Lock`: `acquire`, `release`, `locked`, `with`, and `async with`.

    Not reentrant, and not shared by the threads of a process: a second `acquire` waits, wherever it
    comes from. Any thread of the node that holds it may release it, except one that has acquired it
    before, has lost it, and was not told so by a release yet: to that one, `held` is False, `token`
    None, and `release` raises `LockLost`, although others of the node may hold the lock by now. (In
    asyncio, a task takes the place of the thread.)

    Waiters are served in the order in which their requests reached the log, without polling.
    `lock.acquire.submit()` gives a future; cancelling it withdraws the request.

    `on_lost()` is called in this process when the lock is held here and the node can no longer be
    sure of it; in the node's thread, so it must be quick and must not wait for the cluster.

    Each method is one log entry. A request that is not served in time takes a second one, and
    leaves no lock behind, even if it was granted at that very moment. All take O(1), and O(those
    who wait) when a session expires.

    If the leader is lost, the lock is held and waited for under the next one. When the session of a
    node expires (`Config.session_ttl`), its lock goes to who waits longest. If the node comes back,
    its requests begin anew, at the end of the line.
    """

    @operation
    def acquire(self, blocking: bool = True, timeout: float = -1) -> Steps[bool]:
        """Acquire the lock; wait for it `timeout` seconds at most (-1: without end).

        Return whether it was acquired; if not, this request certainly holds nothing and never will.
        Without a quorum it takes a second more at the most to say so; `blocking=False` asks the
        cluster too, and takes up to `Config.call_timeout` then.

        Raises:
            Withdrawn: it was not to wait, and no leader was known in time. Nothing was acquired.
            OutcomeUnknown: time ran out without an answer. The lock is not held here, and is given
                back if it is granted later.
            ValueError, OverflowError: the time-out is none, by the rules of `threading.Lock`.
        """
        seconds = wait_seconds(blocking, timeout)
        return (yield from self._acquiring(None, blocking, seconds)) is not None

    acquire.undone_by(OwnSection._unacquire)

    @operation
    def release(self) -> Steps[None]:
        """Release the lock, which is then granted to who waits longest.

        Raises:
            NotOwner: it is not held through this handle.
            LockLost: it was lost while it was held here: what it protected was not protected.
        """
        yield from self._releasing(None, None)

    def locked(self) -> bool:
        """Return whether anybody holds the lock, as far as this member knows."""
        return self._locked(None)

    def __repr__(self) -> str:
        state = "locked" if self.locked() else "unlocked"
        return f"<{state} {type(self).__name__} object {named(self)}at {id(self):#x}>"


class ReplLockManager(Grants[K], Generic[K]):
    """Any number of locks in one object, each under a key: any hashable value with an encoding.

    `with locks["printer"]:` holds one. What `ReplLock` says goes for each of them; a key that
    nobody holds or waits for takes no space. A session that expires takes O(all keys that are held,
    and all who wait). `on_lost(key)` is called for each lock that was lost.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"on_lost"})

    def __init__(self, on_lost: Callable[[K], object] | None = None) -> None:
        super().__init__()
        self.on_lost = on_lost

    @operation
    def acquire(self, key: K, blocking: bool = True, timeout: float = -1) -> Steps[bool]:
        """Acquire the lock of that key, as `ReplLock.acquire` does."""
        seconds = wait_seconds(blocking, timeout)
        return (yield from self._acquiring(key, blocking, seconds)) is not None

    @operation
    def try_acquire(self, key: K) -> Steps[bool]:
        """Acquire the lock of that key if nobody holds it; return whether it was acquired."""
        return (yield from self._acquiring(key, False, None)) is not None

    @acquire.undone_by
    @try_acquire.undone_by
    def _unacquire(self, acquired: bool, key: K, *_: object, **__: object) -> None:
        if acquired:
            cleaning(self.release.submit, key)

    @operation
    def release(self, key: K) -> Steps[None]:
        """Release the lock of that key.

        Raises:
            NotOwner: it is not held through this handle.
            LockLost: it was lost while it was held here.
        """
        yield from self._releasing(key, None)

    def locked(self, key: K) -> bool:
        """Return whether anybody holds the lock of that key, as far as this member knows."""
        return self._locked(key)

    def token(self, key: K) -> int | None:
        """Return the fencing token of that key; None if it is not held here."""
        return self._token(key)

    def held(self, key: K) -> bool:
        """Return whether that key is certainly held through this handle."""
        return self._held(key)

    def ensure_held(self, key: K) -> None:
        """Do nothing if that key is certainly held here.

        Raises:
            LockLost: it is not.
        """
        self._ensure_held(key)

    def keys(self) -> list[K]:
        """Return the keys that anybody holds, as far as this member knows."""
        with reading(self):
            return list(self._holders)

    def holders(self) -> dict[K, Holder]:
        """Return who holds what, as far as this member knows."""
        with reading(self):
            return {key: Holder(*holder) for key, holder in self._holders.items()}

    def __getitem__(self, key: K) -> "KeyLock[K]":
        return KeyLock(self, key)

    # A class with __getitem__ alone would be iterated over 0, 1, 2...
    __iter__ = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {named(self)}with {len(self.keys())} locks held>"

    def _tell_lost(self, key: K) -> None:
        if self.on_lost is not None:
            self.on_lost(key)

    def _describe(self, key: K) -> str:
        return f"{type(self).__name__} {named(self)}[{key!r}]"


class KeyLock(Section, Generic[K]):
    """One key of a `ReplLockManager`, or one side of a `ReplRWLock`, as a `ReplLock`."""

    __slots__ = ("_key", "_locks")

    def __init__(self, locks: Holding[K], key: K) -> None:
        self._locks = locks
        self._key = key

    @property
    def _binding(self) -> Binding | None:
        return self._locks._binding

    @operation
    def acquire(self, blocking: bool = True, timeout: float = -1) -> Steps[bool]:
        """Acquire this lock, as `ReplLock.acquire` does."""
        seconds = wait_seconds(blocking, timeout)
        return (yield from self._locks._acquiring(self._key, blocking, seconds)) is not None

    @acquire.undone_by
    def _unacquire(self, acquired: bool, *_: object, **__: object) -> None:
        if acquired:
            cleaning(self.release.submit)

    @operation
    def release(self) -> Steps[None]:
        """Release this lock, as `ReplLock.release` does."""
        yield from self._locks._releasing(self._key, None)

    def locked(self) -> bool:
        """Return whether anybody holds this lock, as far as this member knows."""
        return self._locks._locked(self._key)

    @property
    def token(self) -> int | None:
        """The fencing token; None if not held here."""
        return self._locks._token(self._key)

    @property
    def held(self) -> bool:
        """Whether this lock is certainly held here."""
        return self._locks._held(self._key)

    def ensure_held(self) -> None:
        """Do nothing if this lock is certainly held here, else raise `LockLost`."""
        self._locks._ensure_held(self._key)

    def __repr__(self) -> str:
        return f"<{'locked' if self.locked() else 'unlocked'} {self._locks._describe(self._key)}>"

    @property
    def _port(self) -> Port:
        return self._locks._port

    def _where(self) -> tuple[Holding[Any], Any]:
        return self._locks, self._key
