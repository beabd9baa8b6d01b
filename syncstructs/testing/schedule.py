"""Virtual time: a heap of events, and an event loop on it that asyncio's own tasks can run on.

Nothing here or above it in a simulation waits, sleeps or reads a clock: the time is that of the
event being run, and the next event is the one with the smallest time; of two at one time, the one
that was made first. So a run is a function of its seed.
"""

import asyncio
import sys
from asyncio.events import _set_running_loop
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from heapq import heappop, heappush
from inspect import CORO_CREATED, getcoroutinestate
from typing import Any, TypeVar, cast

from ..errors import BlockingCall
from ..futures import Future
from ..node.runners import Timer

T = TypeVar("T")

_TICK = 1e-7
"""Seconds that a timer takes at least."""
_COROUTINES = 32
"""So many coroutines more are kept before those that have begun are dropped."""


class Storm(AssertionError):
    """There is no end of events: something multiplies."""


class Schedule:
    """What is going to happen, in order."""

    __slots__ = ("_due", "_heap", "_made", "begin", "event_count", "event_limit", "now")

    def __init__(self, start: float = 1000.0) -> None:
        self.now = start
        """Seconds; the true time, which no node sees (each has a clock of its own)."""
        self.begin = start
        self.event_count = 0
        self.event_limit = sys.maxsize
        """How many events there may be: more are a storm."""
        self._heap: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        # What is to happen at the present time, after all in the heap of that time: it was made
        # later. Half of all events are such, and need no heap.
        self._due: deque[tuple[Callable[..., object], tuple[Any, ...]]] = deque()
        self._made = 0

    def at(self, when: float, function: Callable[..., object], *args: Any) -> None:
        """Call `function(*args)` at `when`, or now if that is past. O(log n)."""
        if when <= self.now:
            self._due.append((function, args))
        else:
            self._made += 1
            heappush(self._heap, (when, self._made, function, args))

    def soon(self, function: Callable[..., object], *args: Any) -> None:
        """Call `function(*args)` at the present time, after what is due already. O(1)."""
        self._due.append((function, args))

    def run(self, until: float) -> None:
        """Run all events up to the time `until`, which it is afterwards."""
        self.run_until(None, until)
        self.now = max(self.now, until)

    def run_until(self, condition: Callable[[], bool] | None, until: float) -> bool:
        """Run events until `condition()`, which is asked after each; return whether it was met.

        It was not (None: it never is) if there are no more events up to the time `until`.
        """
        # Never in the context of whoever waits: an open batch there is none of an event's.
        return Context().run(self._run_until, condition, until)

    def _run_until(self, condition: Callable[[], bool] | None, until: float) -> bool:
        # All of it in one loop: what is here is paid for every event.
        heap, due = self._heap, self._due
        next_due = due.popleft
        last = self.event_limit
        while condition is None or not condition():
            if due and not (heap and heap[0][0] <= self.now):
                function, args = next_due()
            elif heap and heap[0][0] <= until:
                self.now, _, function, args = heappop(heap)
            else:
                return False
            if self.event_count >= last:
                raise Storm(f"more than {last} events, at {self.now:.3f} s")
            self.event_count += 1
            function(*args)
        return True

    def __len__(self) -> int:
        return len(self._heap) + len(self._due)


class Handle:
    """Something to be called; until then it can be cancelled."""

    __slots__ = ("args", "function")

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.function: Callable[..., object] | None = function
        """None: it was cancelled."""
        self.args = args

    def cancel(self) -> None:
        """Never be called."""
        self.function = None
        self.args = ()

    def cancelled(self) -> bool:
        """Return whether `cancel` was called."""
        return self.function is None


def _handle(
    context: Context | None, callback: Callable[..., object], args: tuple[Any, ...]
) -> Handle:
    return Handle(callback, args) if context is None else Handle(context.run, (callback, *args))


class VirtualLoop:
    """An event loop in virtual time, for one life of one node and all that runs beside it.

    `execute(function, *args)` is the simulator's way to run something in this life at its present
    time: it refuses when the life is over, and puts off what comes while the process is paused.
    `rate`: seconds that this node's clock makes in a true one. It is a `node.runners.Loop`
    for engines, and enough of an asyncio loop for coroutines that await futures of the node,
    `asyncio.sleep`, tasks and time-outs; for sockets, threads and executors there is nothing.
    """

    told = False
    """No thread waits here."""

    def __init__(
        self,
        schedule: Schedule,
        *,
        execute: Callable[..., object],
        now: Callable[[], float],
        rate: float = 1.0,
    ) -> None:
        self._schedule = schedule
        self._execute = execute
        self._now = now
        self._rate = rate
        self._failures: list[BaseException] = []
        self._spawned: list[Coroutine[Any, Any, None]] = []
        # Of tasks; those that never begin have to be closed, or Python complains of them.
        self._coroutines: list[Coroutine[Any, Any, Any]] = []
        self._coroutine_count = _COROUTINES
        self.waiter: Callable[[Future[Any], float | None], None] | None = None
        """How what runs at present waits for a future; None: it cannot, as it is the driver."""
        self.over = False

    def end(self) -> None:
        """Run nothing any more."""
        self.over = True
        for coroutine in self._spawned:
            coroutine.close()
        self._spawned.clear()
        for coroutine in filter(_is_new, self._coroutines):
            coroutine.close()
        self._coroutines.clear()

    # As asyncio has it; names and arguments are those of `asyncio.AbstractEventLoop`

    def time(self) -> float:
        """Return the clock of this node."""
        return self._now()

    def get_debug(self) -> bool:
        """Return False."""
        return False

    def is_running(self) -> bool:
        """Return whether this life goes on."""
        return not self.over

    def is_closed(self) -> bool:
        """Return whether this life is over."""
        return self.over

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Handle:
        """Call `callback(*args)` at the present time, after what is going on."""
        handle = _handle(context, callback, args)
        if not self.over:
            self._schedule.soon(self._execute, self._fire, handle)
        return handle

    call_soon_threadsafe = call_soon

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Handle:
        """Call `callback(*args)` so many seconds from now, by the clock of this node."""
        if delay <= 0:
            return self.call_soon(callback, *args, context=context)
        handle = _handle(context, callback, args)
        if not self.over:
            schedule = self._schedule
            seconds = delay / self._rate
            if seconds < _TICK:
                # Where one clock is finer than the other, it would fire too early for ever.
                seconds = _TICK
            schedule.at(schedule.now + seconds, self._execute, self._fire, handle)
        return handle

    def _fire(self, handle: Handle) -> None:
        # Only here: what the engine posts needs no running loop, and to set one takes a system
        # call, which may cost more than the rest of an event.
        function = handle.function
        if function is None:
            return
        _set_running_loop(self)  # type: ignore[arg-type]
        try:
            function(*handle.args)
        finally:
            _set_running_loop(None)

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Handle:
        """Call `callback(*args)` when the clock of this node shows `when`."""
        return self.call_later(when - self._now(), callback, *args, context=context)

    def create_future(self) -> "asyncio.Future[Any]":
        """Return a future of this loop."""
        return asyncio.Future(loop=cast(Any, self))

    def create_task(
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, **more: Any
    ) -> "asyncio.Task[T]":
        """Run a coroutine."""
        if len(self._coroutines) >= self._coroutine_count:
            self._coroutines = list(filter(_is_new, self._coroutines))
            self._coroutine_count = 2 * len(self._coroutines) + _COROUTINES
        self._coroutines.append(coro)
        return asyncio.Task(coro, loop=cast(Any, self), name=name, **more)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Keep what nobody caught: a simulation fails on it."""
        if self.over:
            return
        error = context.get("exception")
        self._failures.append(error or AssertionError(context.get("message")))

    def take_failures(self) -> list[BaseException]:
        """Return what was raised by callbacks and tasks that nobody waits for, and forget it."""
        failures, self._failures = self._failures, []
        return failures

    # As engines have it (`node.runners.Loop`)

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        """Run `main`, which never has to wait here, to its end."""
        _run_through(main)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine, which never has to wait here, to its end."""
        if self.over:
            coroutine.close()
            return
        self._spawned.append(coroutine)

        def run() -> None:
            self._spawned.remove(coroutine)
            _run_through(coroutine)

        self.call_soon(run)

    async def in_thread(self, function: Callable[[], None]) -> None:
        """Do the work here and now."""
        function()

    def in_driver(self) -> bool:
        """Return whether the driver runs at present, not a thread of a caller."""
        return self.waiter is None

    def post(self, function: Callable[[], object]) -> bool:
        """Call `function` at the present time, after what is going on; False if life is over."""
        if self.over:
            return False
        self._schedule.soon(self._execute, function)
        return True

    def run(self, function: Callable[[], object]) -> None:
        """Do as `post`: more may come in at the present time, as if one read had brought it."""
        self.post(function)

    def after(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Call `function` `seconds` from now."""
        timer = Timer()
        timer.arm(self, seconds, function)
        return timer

    def block(self, future: Future[Any], timeout: float | None) -> None:
        """Wait as the caller's thread does that runs at present.

        Raises:
            BlockingCall: the driver runs.
        """
        if self.waiter is not None:
            self.waiter(future, timeout)
            return
        raise BlockingCall(
            "nothing can block in virtual time: use method.submit(...), and await it in a coroutine"
        )

    def stopped(self) -> None:
        """Note that the engine has ended."""

    def join(self, timeout: float) -> None:
        """Have nothing to wait for."""

    def abort(self) -> None:
        """Have nothing to release."""


def _is_new(coroutine: Coroutine[Any, Any, Any]) -> bool:
    return getcoroutinestate(coroutine) == CORO_CREATED


def _run_through(coroutine: Coroutine[Any, Any, None]) -> None:
    try:
        coroutine.send(None)
    except StopIteration:
        return
    coroutine.close()
    raise AssertionError(f"{coroutine!r} waits for something that does not exist in virtual time")
