"""`node.transaction()`: a block that reads and changes objects as if nobody else did meanwhile.

Optimistic. The block works on copies of the objects, on which its commands are tried at once;
leaving it sends them all as one command, with what was read as conditions. They are checked where
that is applied, at the same place of the log on every member, so a transaction is applied as a
whole, or not at all.
"""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager, nullcontext
from contextvars import Token
from math import inf
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from ..codec import copy
from ..errors import Cancelled, Conflict, NotAttached
from ..futures import Future
from ..objects.batches import NO_RUN, encode_command, encode_transaction
from ..objects.context import Context, _current
from ..objects.due import DueTimes
from ..objects.port import Binding, Changes, Port, Steps, Turns, current_batch
from ..objects.replicated import Replicated, bind, bound, find_body
from ..objects.transactions import Condition
from .batch import leave

if TYPE_CHECKING:
    from random import Random

    from ..objects.changes import News
    from ..objects.port import Gathers
    from .calls import Call
    from .engine import Engine

T = TypeVar("T", bound=Replicated)
R = TypeVar("R")

_NAME = "Node.transaction()"


class Transaction:
    """What a block works with: `tx[obj]` is the copy of an object to read and to change in it.

    Calls of a copy are tried on it at once, and return (or raise) what they will when the
    transaction is applied; but for numbers that the log gives, such as the id of a task, and for
    what hangs on cluster time, which goes on until then: a rate limiter that has refused a token
    may give it. They cannot wait, and draw no random numbers.
    """

    def __init__(self, engine: "Engine") -> None:
        self.owner: object = engine
        self.engine = engine
        self.run = NO_RUN
        self.open = True
        """Whether the block has not ended; a task that was begun in it may outlive it."""
        self._copies: dict[int, tuple[Replicated, int, Callable[[], object]]] = {}
        self._commands: list[bytes] = []
        # Those that raised, by their places: they are sent as well, for what they changed before.
        self._raised: set[int] = set()
        self._untried: RuntimeError | None = None

    def __getitem__(self, target: T) -> T:
        """Return the copy of an object of this node: the same one throughout the block.

        The first time it takes O(size of the state), unless the type says otherwise.

        Raises:
            ValueError: it is attached to another node.
            NotAttached: it is attached to no node, or the cluster has not heard of it yet.
            ObjectNotFound: it was dropped.
            RuntimeError: the block has ended.
        """
        self._refuse_ended()
        binding = bound(target)
        if binding.port is not self.engine:
            raise ValueError(f"{binding.name!r} belongs to another node than the transaction")
        with self.engine.reading:
            id_ = binding.target
            if not isinstance(id_, int):
                raise NotAttached(f"{binding.name!r} is not attached in the cluster yet")
            if id_ not in self._copies:
                made, reads = target.transaction_copy()
                inside = Binding(_CopyPort(self, made), binding.name)
                inside.target, inside.bodies, inside.due = id_, binding.bodies, DueTimes()
                bind(made, inside)
                made._pickles = target._pickles
                self._copies[id_] = made, self.engine.replica.table.serial, reads
        return cast(T, self._copies[id_][0])

    def __setitem__(self, target: T, value: T) -> None:
        """End an assignment as in `tx[hits] += 1`, which has changed the copy already.

        Raises:
            TypeError: `value` is anything but that copy.
        """
        if value is not self[target]:
            name = bound(target).name
            raise TypeError(f"{name!r} cannot be replaced in a transaction: change what tx[...] is")

    def __len__(self) -> int:
        return len(self._commands)

    def command(self) -> bytes | None:
        """Return the whole transaction as one command; None if nothing was read or called.

        Raises:
            Unserializable: values are nested too deeply to stand in a transaction.
            RuntimeError: a command could not be tried to its end, whatever the block made of it.
        """
        if self._untried is not None:
            raise self._untried
        conditions = []
        for id_, (_, since, reads) in self._copies.items():
            seen = reads()
            if seen is None or seen:
                conditions.append(Condition(id_, since, seen))
        if not conditions and not self._commands:
            return None
        return encode_transaction(conditions, self._commands)

    def first_error(self, outcomes: Any) -> BaseException | None:
        """Return what the first call raised that the block has not seen raise."""
        for place, outcome in enumerate(outcomes):
            if outcome.error is not None and place not in self._raised:
                return cast(BaseException, outcome.error)
        return None

    # What a batch does with the calls of a block is refused here

    def add(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> NoReturn:
        """Refuse a call of an object itself, where its copy is meant."""
        raise RuntimeError(
            "this call is made inside a transaction, but not of it: open the object, as in"
            " tx[users]['ann'] = 7, or call it before the block or after it"
        )

    submit = add

    def try_call(
        self, made: Replicated, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Any:
        """Run a command on a copy, and gather it."""
        self._refuse_ended()
        binding = bound(made)
        command = encode_command(binding.target, method, args, kwargs)
        if method not in binding.bodies:
            raise self.engine.replica.table.refusal(binding.name, method)
        body = find_body(type(made), binding.bodies[method])
        assert body is not None, (binding.name, method)
        self._commands.append(command)
        context = self.engine.replica.table.context(_CopyContext)
        context.session, context.copy, context.refusal = self.engine.session, binding, None
        context.serial += len(self._commands)
        token = _current.set(context)
        try:
            return copy(body(made, *map(copy, args), **{n: copy(v) for n, v in kwargs.items()}))
        except Exception:
            self._raised.add(len(self._commands) - 1)
            raise
        finally:
            _current.reset(token)
            self._untried = self._untried or context.refusal

    def _refuse_ended(self) -> None:
        if not self.open:
            raise RuntimeError("the block of this transaction has ended")


class _CopyContext(Context):
    """The context of a command that is tried on a copy: it will run at another place of the log."""

    __slots__ = ("copy", "refusal")

    copy: Binding
    refusal: RuntimeError | None
    """What keeps the command from being tried, though it may be applied."""

    def _refuse(self, reason: str) -> NoReturn:
        self.refusal = RuntimeError(reason)
        raise self.refusal

    @property
    def random(self) -> "Random":
        self._refuse(
            "in a transaction, a command cannot draw random numbers: they would be others where it"
            " is applied"
        )

    def check_inline(self, binding: Binding, method: str) -> None:
        if binding is not self.copy:
            self._refuse(
                f"{method}() of {binding.name!r} is called by a command of {self.copy.name!r}; in a"
                " transaction, call it from the block instead, of what the transaction opened"
            )


class _CopyPort(Port):
    """The port of a copy: a call is tried at once, and there is nothing to wait for."""

    def __init__(self, transaction: Transaction, made: Replicated) -> None:
        self._transaction = transaction
        self._copy = made

    def call(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Any:
        return self._transaction.try_call(self._copy, method, args, kwargs)

    def submit(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Future[Any]:
        future = Future[Any](self._transaction.engine.blocker)
        try:
            future.finish(self.call(binding, method, args, kwargs), None)
        except Exception as error:
            future.finish(None, error)
        return future

    @property
    def reading(self) -> AbstractContextManager[object]:
        return nullcontext()

    @property
    def turns(self) -> Turns:
        return Turns()

    @property
    def in_batch(self) -> bool:
        return True

    @property
    def authenticates(self) -> bool:
        return self._transaction.engine.authenticates

    @property
    def session(self) -> int:
        return self._transaction.engine.session

    @property
    def address(self) -> str:
        return self._transaction.engine.address

    @property
    def call_timeout(self) -> float | None:
        return self._transaction.engine.call_timeout

    @property
    def news(self) -> "News":  # type: ignore[override]
        self._refuse()

    def changes(self, target: Replicated, limit: int) -> Changes:
        self._refuse()

    def rewatch(self, binding: Binding) -> None:
        self._refuse()

    def start(self, steps: Steps[R]) -> Future[R]:
        self._refuse()

    def run(
        self, steps: Steps[R], undo: Callable[[R], object] | None = None, name: str = "operation"
    ) -> R:
        self._refuse()

    def ticket(self) -> int:
        self._refuse()

    def caller(self) -> Hashable:
        return self._transaction.engine.caller()

    def now(self) -> float:
        return self._transaction.engine.now()

    def wall_time(self) -> float:
        return self._transaction.engine.wall_time()

    def sure_until(self) -> float:
        return self._transaction.engine.sure_until()

    def _refuse(self) -> NoReturn:
        raise RuntimeError(
            "a copy that a transaction has opened takes commands and reads only; call this on the"
            " object itself, before the block or after it"
        )


class TransactionBlock:
    """The block of `node.transaction()`."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._transaction = Transaction(engine)
        self._token: Token[Gathers | None] | None = None
        self.refused = False
        """Whether it was sent, and nothing of it was applied as others came between."""

    def __enter__(self) -> Transaction:
        self._engine.refuse_blocking()
        marking = self._engine.begin_marking()
        if marking is not None:
            marking.result(self._engine.call_timeout)
        return self.open()

    def __exit__(self, kind: object, *exc: object) -> None:
        call = self.end(raised=kind is not None, waits=True)
        if call is None:
            return
        try:
            outcomes = self._engine.await_call(call, _NAME)
        except Conflict:
            self.refused = True
            raise
        self._raise_first(outcomes)

    async def __aenter__(self) -> Transaction:
        marking = self._engine.begin_marking()
        if marking is not None:
            await marking
        return self.open()

    async def __aexit__(self, kind: object, *exc: object) -> None:
        call = self.end(raised=kind is not None)
        if call is not None:
            self._raise_first(await call)

    def open(self) -> Transaction:
        """Begin the block, in a cluster that keeps marks."""
        if self._token is not None:
            raise RuntimeError("this block was entered before; ask for another transaction()")
        opened = current_batch.get()
        if opened is not None and opened.open:
            raise RuntimeError("a batch or a transaction is open already; they cannot be nested")
        self._token = current_batch.set(self._transaction)
        return self._transaction

    def end(self, *, raised: bool, waits: bool = False) -> "Call | None":
        """End the block, and send what it has gathered unless it raised; None: nothing was sent.

        `waits`: whether the caller is about to block; then nothing is sent where it must not.
        """
        assert self._token is not None
        self._transaction.open = False
        leave(self._token, raised=raised)
        command = None if raised else self._transaction.command()
        if command is None:
            return None
        if waits:
            self._engine.refuse_blocking()
        return cast("Call", self._engine.send(command))

    def _raise_first(self, outcomes: Any) -> None:
        error = self._transaction.first_error(outcomes)
        if error is not None:
            raise error


class TransactMethod:
    """`node.transact`: call it to run a function as a transaction, or `submit` it."""

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def __call__(self, function: Callable[[Transaction], R]) -> R:
        """Run `function(tx)` in a transaction, anew for as long as others come between.

        Return what it returned in the run that was applied. A run that is not means that another
        command was applied meanwhile, so of all that compete one always gets on. What the function
        does besides, outside of `tx`, it may do several times.

        Raises:
            Conflict: others came between for `Config.call_timeout` seconds; nothing was applied.
        """
        deadline = self._deadline()
        while True:
            block = TransactionBlock(self._engine)
            try:
                with block as transaction:
                    result = function(transaction)
                return result
            except Conflict:
                # Not one that a command has raised as it was applied: it would be applied again.
                if not block.refused or self._engine.now() >= deadline:
                    raise

    def submit(self, function: Callable[[Transaction], R]) -> Future[R]:
        """Do as a call does, and return a future at once.

        The function must not block: other runs than the first are made in the driver's thread.
        """
        return self._engine.start(self._steps(function))

    def _steps(self, function: Callable[[Transaction], R]) -> Steps[R]:
        engine, deadline = self._engine, self._deadline()
        marking = engine.begin_marking()
        if marking is not None:
            yield marking
        while True:
            block = TransactionBlock(engine)
            transaction = block.open()
            raised = True
            try:
                result = function(transaction)
                raised = False
            finally:
                call = block.end(raised=raised)
            if call is None:
                return result
            try:
                error = transaction.first_error((yield call))
            except Cancelled:
                # Unsent, it would be applied whenever there is a leader again.
                call.cancel()
                raise
            except Conflict:
                if engine.now() >= deadline:
                    raise
                continue
            if error is not None:
                raise error
            return result

    def _deadline(self) -> float:
        timeout = self._engine.call_timeout
        return inf if timeout is None else self._engine.now() + timeout
