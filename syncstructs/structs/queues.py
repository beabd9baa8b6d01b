"""`ReplQueue` and `ReplPriorityQueue`: queues that all members share, and wait on fairly.

Waiting happens in the log: a `get` on an empty queue parks there, and the `put` that serves it is
the very command that wakes it. So whoever waits longest on any member is served first, without
polling. An item is handed out at most once. It belongs to who took it: if that process dies with
it, the item is gone. So is one that serves the `get` of a process that is dead already, but whose
session has not expired: the log cannot tell it from one that will go on in a moment, and to hand
the item to another as well would be to hand it out twice.
"""

import sys
from collections import deque
from collections.abc import Iterable, Mapping
from queue import Empty, Full
from typing import Any, ClassVar, Generic, TypeVar

from ..errors import Withdrawn
from ..objects.pickling import Places, allow_pickles, enclosed
from ..objects.port import Steps, cleaning
from ..objects.replicated import Replicated, operation, reading, replicated
from ..objects.waiters import Waiters
from .waiting import Wait

if sys.version_info >= (3, 13):
    from queue import ShutDown as ShutDown
else:

    class ShutDown(Exception):  # As `queue` has it since Python 3.13.
        """The queue was shut down, so nothing can be put, or nothing is left to get."""


T = TypeVar("T")

_ITEM: Places = {0: enclosed, "item": enclosed}


class ReplQueue(Replicated, Generic[T]):
    """A replicated `queue.Queue`: first in, first out, at most `maxsize` items if that is above 0.

    `put` and `get` wait as the arguments say, raise `queue.Full` and `queue.Empty`, and have a
    `.submit` for asyncio: `item = await jobs.get.submit(timeout=5)`. Cancelling such a future
    withdraws the wait; an item that was served meanwhile goes back to the front of the queue (which
    may then hold one more than `maxsize` for a while).

    Inside another object's command, and in a batch, nothing can wait: use `put_nowait` and
    `get_nowait` there. All methods take O(1); each is one log entry, and a wait that is not served
    in time takes a second one to end it.

    If the leader is lost, waits go on under the next one. When the session of a node expires
    (`Config.session_ttl`), its waits end; if it comes back, they begin anew, at the end of the
    line. What a node was served that died before it knew is lost: see `get`.

    With `pickle=True`, items may be of any class that can be pickled, as values of a `ReplDict`. An
    item that was taken and cannot be unpickled here is in the `ResultLost` that says so, from where
    it can be put again.
    """

    VALUES_IN: ClassVar[Mapping[str, Places]] = {"put_nowait": _ITEM, "_put": _ITEM}
    VALUES_OUT = frozenset({"get", "get_nowait"})

    def __init__(self, maxsize: int = 0, *, pickle: bool = False) -> None:
        """`pickle`: take items of any class that can be pickled; see `ReplDict`."""
        if pickle:
            allow_pickles(self)
        self._maxsize = maxsize
        self._items: Any = self._store(())
        self._unfinished = 0
        self._closed = False
        self._drained = False
        self._getters = Waiters()
        self._putters = Waiters()
        self._joiners = Waiters()

    @property
    def maxsize(self) -> int:
        """How many items it holds at most; 0 or less: any number."""
        return self._maxsize

    @property
    def unfinished_tasks(self) -> int:
        """How many items were put without a `task_done()` for them."""
        with reading(self):
            return self._unfinished

    @property
    def is_shutdown(self) -> bool:
        """Whether `shutdown()` was called."""
        with reading(self):
            return self._closed

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments."""
        return {"maxsize": self._maxsize}

    def snapshot_state(self) -> object:
        """Return the state; the items as a list."""
        state = super().snapshot_state()
        assert isinstance(state, dict)
        return state | {"_items": list(self._items)}

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        super().restore_state(state | {"_items": self._store(state["_items"])})

    # Reads

    def qsize(self) -> int:
        """Return how many items there are on this member, now."""
        with reading(self):
            return len(self._items)

    def empty(self) -> bool:
        """Return whether there are no items on this member, now."""
        return self.qsize() == 0

    def full(self) -> bool:
        """Return whether there is no room on this member, now."""
        with reading(self):
            return self._is_full()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} maxsize={self._maxsize} qsize={self.qsize()}>"

    # Putting and getting

    @operation
    def put(self, item: T, block: bool = True, timeout: float | None = None) -> Steps[None]:
        """Put an item; wait for room if there is none, `timeout` seconds at most.

        Without a quorum it takes a second more at the most; `block=False` takes up to
        `Config.call_timeout` then.

        Raises:
            queue.Full: there was no room (in time), or no leader in all that time. Nothing was put.
            Withdrawn: no leader was known in time, and there is no `maxsize` to wait for, or it was
                not to wait. Nothing was put.
            OutcomeUnknown: time ran out without an answer; it may have been put, or may yet be.
            ShutDown: the queue was shut down. Nothing was put.
            ValueError: `timeout` is below 0.
            TypeError: a priority queue cannot order the item. Nothing was put.
        """
        bounded = self._maxsize > 0
        self._refuse_timeout(block and bounded, timeout)
        wait: Wait[bool] = Wait(
            self,
            "put",
            lambda ticket: self._put.submit(item, ticket if block else None),
            lambda ticket: self._stop_putting.submit(ticket),
        )
        if timeout is not None:
            timeout = max(0.0, timeout)
        if (yield from wait.served(timeout) if block else wait.at_once()) is None:
            if bounded:
                raise Full
            raise Withdrawn(f"{wait.name}: not sent within {timeout} s; it was taken back")

    @operation
    def get(self, block: bool = True, timeout: float | None = None) -> Steps[T]:
        """Take an item; wait for one if there is none, `timeout` seconds at most.

        Each item is delivered at most once, as by `queue.Queue`. If this process dies while it
        waits, an item that is put before its session expires (`Config.session_ttl`) is lost with
        it, and still counts as unfinished; `Node.close` ends the session at once. What must not be
        lost belongs in a `ReplDict` too, until it is done.

        Without a quorum it takes a second more at the most; `block=False` takes up to
        `Config.call_timeout` then.

        Raises:
            queue.Empty: there was none (in time), or no leader in all that time. None was taken.
            Withdrawn: it was not to wait, and no leader was known in time. None was taken.
            OutcomeUnknown: time ran out without an answer. An item that is served later goes back
                to the front, unless this node dies first.
            ShutDown: the queue was shut down and is empty.
            ValueError: `timeout` is below 0.
        """
        self._refuse_timeout(block, timeout)
        wait: Wait[list[T]] = Wait(
            self,
            "get",
            lambda ticket: self._take.submit(ticket if block else None),
            lambda ticket: self._stop_getting.submit(ticket),
            lambda served: self._put_back.submit(served[0]),
        )
        served = yield from wait.served(timeout) if block else wait.at_once()
        if served is None:
            raise Empty
        return served[0]

    @get.undone_by
    def _unget(self, item: T, *_: object, **__: object) -> None:
        cleaning(self._put_back.submit, item)

    @replicated
    def put_nowait(self, item: T) -> None:
        """Put an item if there is room; the answer may take up to `Config.call_timeout`.

        Raises:
            queue.Full: there is none. Nothing was put.
            ShutDown: the queue was shut down. Nothing was put.
        """
        if not self._add(item):
            raise Full

    @replicated
    def get_nowait(self) -> T:
        """Take an item if there is one; the answer may take up to `Config.call_timeout`.

        Raises:
            queue.Empty: there is none.
            ShutDown: the queue was shut down and is empty.
        """
        if not self._items:
            raise ShutDown if self._closed else Empty
        return self._remove()

    # Tasks, and the end

    @replicated
    def task_done(self) -> None:
        """Say that an item that was taken has been dealt with.

        Raises:
            ValueError: said more often than items were put.
        """
        if self._unfinished <= 0:
            raise ValueError("task_done() called too many times")
        self._finish(1)

    @operation
    def join(self) -> Steps[None]:
        """Wait until `task_done()` was called for all items that were put."""
        wait: Wait[bool] = Wait(
            self,
            "join",
            lambda ticket: self._join.submit(ticket),
            lambda ticket: self._stop_joining.submit(ticket),
        )
        yield from wait.served(None)

    @replicated
    def shutdown(self, immediate: bool = False) -> None:
        """Refuse all further puts, and gets once the queue is empty; wake all that wait.

        With `immediate`, what is in the queue is thrown away and counts as done.
        """
        self._closed = True
        if immediate:
            self._drained = True
            dropped = len(self._items)
            self._items.clear()
            self._finish(min(dropped, self._unfinished))
        self._getters.refuse_all(ShutDown())
        self._putters.refuse_all(ShutDown())

    # The commands behind them

    @replicated
    def _put(self, item: T, ticket: int | None) -> bool | None:
        if self._add(item):
            return True
        return None if ticket is None else self._putters.park(ticket, item)

    @replicated
    def _take(self, ticket: int | None) -> list[T] | None:
        if self._items:
            return [self._remove()]
        if self._closed:
            raise ShutDown
        return None if ticket is None else self._getters.park(ticket)

    @replicated
    def _put_back(self, item: T) -> None:
        """Undo a `_take` whose caller had just given up."""
        if self._getters:
            self._getters.serve([item])
        elif self._drained:
            # Shut down meanwhile, and at once: the item goes where the others went.
            self._finish(min(1, self._unfinished))
        else:
            self._insert_front(item)

    @replicated
    def _join(self, ticket: int) -> bool:
        return True if self._unfinished == 0 else self._joiners.park(ticket)

    @replicated
    def _stop_putting(self, ticket: int) -> None:
        self._putters.cancel(ticket)

    @replicated
    def _stop_getting(self, ticket: int) -> None:
        self._getters.cancel(ticket)

    @replicated
    def _stop_joining(self, ticket: int) -> None:
        self._joiners.cancel(ticket)

    def _is_full(self) -> bool:
        return 0 < self._maxsize <= len(self._items)

    def _add(self, item: T) -> bool:
        """Hand the item to who waits longest, or store it; return False if there is no room."""
        if self._closed:
            raise ShutDown
        if self._is_full():
            return False
        if self._getters:
            self._getters.serve([item])
        else:
            self._insert(item)
        self._unfinished += 1
        return True

    def _remove(self) -> T:
        """Take the next item, and let the longest waiting `put` have the room."""
        item = self._pop_first()
        while self._putters and not self._is_full():
            try:
                self._insert(self._putters.first())
            except Exception as error:
                self._putters.refuse(error)
            else:
                self._unfinished += 1
                self._putters.serve(True)
        return item

    def _finish(self, count: int) -> None:
        self._unfinished -= count
        if self._unfinished == 0:
            while self._joiners:
                self._joiners.serve(True)

    @staticmethod
    def _refuse_timeout(block: bool, timeout: float | None) -> None:
        if block and timeout is not None and timeout < 0:
            raise ValueError("'timeout' must be a non-negative number")

    # How items are stored: a priority queue does it otherwise

    def _store(self, items: Iterable[T]) -> Any:
        return deque(items)

    def _insert(self, item: T) -> None:
        self._items.append(item)

    def _insert_front(self, item: T) -> None:
        self._items.appendleft(item)

    def _pop_first(self) -> T:
        return self._items.popleft()  # type: ignore[no-any-return]

    def _check(self) -> None:
        assert not (self._items and self._getters), (self._items, len(self._getters))
        assert not self._putters or self._is_full(), (self._items, len(self._putters))
        assert self._unfinished >= 0, self._unfinished
        assert self._unfinished or not self._joiners, len(self._joiners)
        assert not self._closed or not (self._getters or self._putters)
        assert not self._drained or (self._closed and not self._items), self._items


class ReplPriorityQueue(ReplQueue[T]):
    """A replicated `queue.PriorityQueue`: the smallest item first, of equal ones the oldest.

    Items are usually pairs of a priority and a value. An item that can't be compared with those in
    the queue raises TypeError in its own `put`, which then changes nothing; `get` compares nothing.
    So does one whose priority was pickled, as nothing is unpickled to be compared. One that comes
    back from a wait that was given up goes before those that it can't be compared with.

    `get` takes O(1); `put` does O(log n) comparisons and moves up to n references. What `ReplQueue`
    says of log entries, leaders and sessions goes for this one.
    """

    # In descending order, the oldest of equal items last: the next one is at the end.

    def _store(self, items: Iterable[T]) -> Any:
        return list(items)

    def _insert(self, item: T) -> None:
        low, high = 0, len(self._items)
        while low < high:
            middle = (low + high) // 2
            if item < self._items[middle]:
                low = middle + 1
            else:
                high = middle
        self._items.insert(low, item)

    def _insert_front(self, item: T) -> None:
        low, high = 0, len(self._items)
        while low < high:
            middle = (low + high) // 2
            if self._is_before(self._items[middle], item):
                high = middle
            else:
                low = middle + 1
        self._items.insert(low, item)

    @staticmethod
    def _is_before(item: Any, other: Any) -> bool:
        """Compare an item with one that comes back, and must not be lost because that fails.

        What came meanwhile was not compared with it: such as one of the same priority whose value
        has no order.
        """
        try:
            return bool(item < other)
        except MemoryError:
            raise
        except Exception:
            return False

    def _pop_first(self) -> T:
        return self._items.pop()  # type: ignore[no-any-return]
