"""What becomes of nodes in a forked child: copies without thread or link, which refuse all calls.

A node lives in the process that made it. Its copy in a child of a fork has no thread that would
answer, locks that other threads held for ever, and file descriptors that it shares with the
parent. So the child's copies are cut off at once, without a cost for calls anywhere.
"""

import asyncio
import gc
import os
import signal
import time
import warnings
import weakref
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NoReturn, Protocol

from ..errors import NodeClosed
from ..futures import Future
from .gate import ReadGate, RefusingLock, again
from .runners import HasCancel, Loop, Runner, Timer

# How much a child gives way to all else that runs, see nice(2): it has a tenth of the weight.
_CHILD_NICE = 10
# With a tenth of a second between them: a child is late by a second at most.
_AUTOGROUP_TRIES = 10


class Forkable(Protocol):
    """What is cut off in a child."""

    def after_fork(self) -> None:
        """Refuse all from now on, and touch nothing that the parent has too."""


class _Watch:
    """Stands for a node: its class, if it is compiled, has no weak references."""

    def __init__(self, node: Forkable) -> None:
        self.node = node


_alive: "weakref.WeakSet[_Watch]" = weakref.WeakSet()
_spared: ContextVar[bool] = ContextVar("syncstructs.spared", default=False)


def watch(node: Forkable) -> object:
    """Cut `node` off in every child that is forked while what this returns is kept."""
    kept = _Watch(node)
    _alive.add(kept)
    return kept


@contextmanager
def sparing_nodes() -> Iterator[None]:
    """Leave the nodes as they are in what this block forks, which only looks at their state."""
    token = _spared.set(True)
    try:
        yield
    finally:
        _spared.reset(token)


def fork_child(work: Callable[[], object], keep: Collection[int] = ()) -> int:
    """Fork a child that does `work` on the memory as it is now, and ends; return its process id.

    Its exit status is 0 if `work` returned. Of files above 2 it has only those of `keep` open.

    Raises:
        OSError: there is no room for another process.
    """
    with warnings.catch_warnings(), sparing_nodes():
        # CPython 3.12 warns of forks beside threads; the child needs none of them.
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        _be_the_child(work, keep)
    return child


def _be_the_child(work: Callable[[], object], keep: Collection[int]) -> NoReturn:
    status = 2
    try:
        _leave_signals_to_the_parent()
        # It would write to each object it looks at, and so have the whole memory copied.
        gc.disable()
        # Sockets and the directory's lock must not outlive the parent in its child.
        first = 3
        for kept in sorted(keep):
            os.closerange(first, kept)
            first = max(first, kept + 1)
        os.closerange(first, os.sysconf("SC_OPEN_MAX"))
        _give_way()
        work()
        status = 0
    finally:
        os._exit(status)


def _give_way() -> None:
    """Leave the processor to this node, and to all others here; what a child does has time."""
    with suppress(OSError):
        os.nice(_CHILD_NICE)
    # Linux may weigh sessions against each other first, and only then what runs in each of them
    # (autogroups, sched(7)). In its parent's one, a child would have the parent's whole weight
    # against another node whenever the parent waits, for that node even.
    with suppress(OSError), open("/proc/self/autogroup", "wb", buffering=0) as autogroup:
        os.setsid()
        for _ in range(_AUTOGROUP_TRIES):
            if autogroup.write(b"%d" % _CHILD_NICE) is not None:
                break
            # The kernel takes one such wish in a tenth of a second, of whomever.
            time.sleep(0.1)


def _leave_signals_to_the_parent() -> None:
    """Ignore the signals for which the program has a handler: what that does is done once."""
    # The file is closed here, and its number that of another one soon: an asyncio loop would have
    # a byte written to it with each signal.
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _cut_off() -> None:
    if not _spared.get():
        for one in list(_alive):
            one.node.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_cut_off)


def forked_refusal(address: str) -> NodeClosed:
    """Return what calls in a child raise."""
    return NodeClosed(
        f"node {address} lives in the process that this one was forked from; make a node here, or"
        " start the process without its parent's memory (multiprocessing: 'spawn')"
    )


class CutOffGate(ReadGate):
    """Refuses to read: the driver's thread may have been in the middle of applying."""

    def __init__(self, refusal: NodeClosed) -> None:
        super().__init__(lambda: None)
        self.lock = RefusingLock(refusal)  # type: ignore[assignment]


class CutOffRunner(Loop):
    """Runs nothing: stands for the runner that works in the parent."""

    told = False

    def __init__(self, former: Loop, refusal: NodeClosed) -> None:
        self._refusal = refusal
        if isinstance(former, Runner) and former.owns_loop:
            _leave_open(former.loop)

    def refuse(self) -> NoReturn:
        """Raise what tells that this process is a child."""
        raise again(self._refusal)

    def start(self, main: Coroutine[Any, Any, None]) -> None:
        main.close()
        self.refuse()

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        coroutine.close()

    def in_thread(self, function: Callable[[], None]) -> Coroutine[Any, Any, None]:
        self.refuse()

    def in_driver(self) -> bool:
        return False

    def post(self, function: Callable[[], object]) -> bool:
        return False

    def run(self, function: Callable[[], object]) -> None:
        self.refuse()

    def call_later(self, seconds: float, function: Callable[[], object]) -> HasCancel:
        return Timer()

    def after(self, seconds: float, function: Callable[[], object]) -> Timer:
        return Timer()

    def block(self, future: Future[Any], timeout: float | None) -> None:
        if not future.done():
            self.refuse()

    def stopped(self) -> None:
        """Do nothing."""

    def join(self, timeout: float) -> None:
        """Do nothing: there is no thread here."""

    def abort(self) -> None:
        """Do nothing: what was made is the parent's."""


def _leave_open(loop: asyncio.AbstractEventLoop) -> None:
    # An asyncio loop that is thrown away open and not running closes itself, and what it then
    # takes out of its epoll, which is shared, the parent misses.
    if isinstance(loop, asyncio.BaseEventLoop):
        loop._closed = True  # type: ignore[attr-defined]
