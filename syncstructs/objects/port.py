"""How a call leaves an object: what an attached object asks of its node, as a protocol."""

from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar

if TYPE_CHECKING:
    from ..futures import Future
    from .batches import Run
    from .changes import Change, News
    from .due import DueTimes
    from .replicated import Replicated

R = TypeVar("R")

_cleaning: ContextVar[bool] = ContextVar("syncstructs_cleaning", default=False)
_stood_for: ContextVar[Hashable] = ContextVar("syncstructs_stood_for", default=None)

Steps: TypeAlias = Generator["Future[Any] | tuple[Future[Any], float | None]", Any, R]
"""The calling side of an operation, as a generator.

`yield future` waits for the future and gives its result (or raises its error at the `yield`).
`yield future, seconds` waits for that long at most (None: without end) and gives True if the
future is done, False if time ran out; it raises nothing of the future's.
If the operation's own future is cancelled, `errors.Cancelled` is raised at the `yield`; further
yields after that are still carried out, so that the generator can clean up.
"""


def cleaning(submit: Callable[..., "Future[Any]"], *args: object) -> "Future[Any]":
    """Submit a command that takes back what another one did: no bound on pending calls refuses it.

    There are few of these for each call that was within the bounds, and without them what that
    call has done would never be undone.
    """
    token = _cleaning.set(True)
    try:
        return submit(*args)
    finally:
        _cleaning.reset(token)


def is_cleaning() -> bool:
    """Return whether the call that is being made is one of `cleaning`."""
    return _cleaning.get()


def in_place_of(caller: Hashable, function: Callable[[], object]) -> None:
    """Call a function that is to find that caller (see `Port.caller`), wherever it runs.

    What is undone may be undone by another thread or task than has called it: without this, that
    one would give back what is its own, or anybody's.
    """
    token = _stood_for.set(caller)
    try:
        function()
    finally:
        _stood_for.reset(token)


def stood_for() -> Hashable:
    """Return whose place is taken by `in_place_of` here; None: nobody's."""
    return _stood_for.get()


class Turns:
    """Tells readers that took no lock whether anything was applied while they looked.

    A reader notes `ended`, looks, and relies on what it saw if `begun` is that very object. Else
    something was being applied, or has been meanwhile, and it looks again under the lock.
    """

    __slots__ = ("begun", "ended")

    def __init__(self) -> None:
        self.begun = 1
        """How often somebody has begun to apply."""
        self.ended = 1
        """As `begun` was when somebody last ended."""

    def begin(self) -> None:
        """Begin to apply; until `end`, nobody relies on what is seen without the lock."""
        self.begun += 1

    def end(self) -> None:
        """End applying."""
        self.ended = self.begun


class Changes(Protocol):
    """The changes of an object, as an iterator of both kinds; a context manager."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> "Change": ...
    def __aiter__(self) -> Self: ...
    async def __anext__(self) -> "Change": ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *exc: object) -> None: ...
    def close(self) -> None:
        """Take no more; whoever waits is told that there are no more."""


class Port(Protocol):
    """A node, as its objects see it. All methods may be called from any thread."""

    news: "News"
    """What subscribers are to be told once nothing is being applied."""

    @property
    def authenticates(self) -> bool:
        """Whether all that comes from other nodes is of such that have proved to be let in."""

    def rewatch(self, binding: "Binding") -> None:
        """Take note that an object is watched now, or no longer; while nothing is applied."""

    def changes(self, target: "Replicated", limit: int) -> Changes:
        """Return an iterator of the changes of an object that is attached here."""

    @property
    def reading(self) -> AbstractContextManager[object]:
        """A re-entrant lock: while it is held, nothing is applied on this replica."""

    @property
    def turns(self) -> Turns:
        """What tells those who read without that lock whether something was applied meanwhile."""

    @property
    def address(self) -> str:
        """The node's own address; of an observer, a name that no other node has."""

    @property
    def session(self) -> int:
        """The node's present session; another one after it was cut off for too long."""

    def submit(
        self, binding: "Binding", method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> "Future[Any]":
        """Encode and queue a call, and return its future; does not wait."""

    def call(
        self, binding: "Binding", method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Any:
        """Do as `submit`, and wait for the result; not for what `current_batch` can gather."""

    def start(self, steps: Steps[R]) -> "Future[R]":
        """Run the generator: its first step here, the others as its futures end."""

    def run(
        self,
        steps: Steps[R],
        undo: Callable[[R], object] | None = None,
        name: str = "operation",
    ) -> R:
        """Do as `start`, and wait for the result without a time limit of its own.

        But a command that the generator waits for is taken back, or given up, if the cluster does
        not take it in for `call_timeout`; so what must be seen through is waited for in a `start`
        of its own. `undo` takes the result back if the wait is interrupted (Ctrl-C) as it comes;
        `name` is what messages call the operation.
        """

    @property
    def in_batch(self) -> bool:
        """Whether calls that are made here and now are gathered into a batch of this node."""

    @property
    def call_timeout(self) -> float | None:
        """How long a call may take, in seconds; None: as long as it takes."""

    def ticket(self) -> int:
        """Return a number that this node never gave before; names a waiting call for its cancel."""

    def caller(self) -> Hashable:
        """Return who is calling: the asyncio task that runs here, or else the thread.

        Equal for that one alone, not for who comes after its end; and it keeps nobody alive.
        """

    def now(self) -> float:
        """Return this node's monotonic clock in seconds; for `sure_until` only."""

    def wall_time(self) -> float:
        """Return what this node's clock says, in seconds since 1970; to be sent in a command."""

    def sure_until(self) -> float:
        """Return the time on `now()`'s clock up to which this node's session certainly lives."""


class Gathers(Protocol):
    """A block of `node.batch()` or `node.transaction()`, to the calls that are made in it."""

    owner: object
    """Whose calls it gathers: a node, as its `Port`."""
    open: bool
    """Whether it still gathers; a task that was begun in the block may outlive it."""
    run: "Run"
    """What the last call stands in; `NO_RUN` if it stands in none."""

    def add(
        self, binding: "Binding", method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> None:
        """Gather a call; nobody waits for its result."""

    def submit(
        self, binding: "Binding", method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> "Future[Any]":
        """Gather a call; its future ends when the block has ended."""


current_batch: ContextVar[Gathers | None] = ContextVar("syncstructs_batch", default=None)


class Binding:
    """Where an object is attached: to which node, and under which name and id."""

    __slots__ = ("bodies", "due", "name", "port", "target")

    def __init__(self, port: Port, name: str) -> None:
        self.port = port
        self.name = name
        self.bodies: Mapping[str, str] = {}
        """Which body of each method is in force, by its name; see `versions`."""
        self.target: int | str = name
        """What its commands carry: the id given by the cluster, the name until that is known."""
        self.due: DueTimes | None = None
        """Where its due time stands; None while it is given its state, or has none yet."""
