"""What a model of a type is, and what most models are made of.

A model gives the state before any call, and for each operation a function from the state before it
to the state after it, or to `ILLEGAL` if it cannot take effect there with the outcome that was
seen. States are hashable and never change, so that a search can remember which it has been in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, ClassVar, Final, NamedTuple, TypeAlias

from ..codec import encode
from ..errors import Unserializable
from . import twins
from .history import UNKNOWN, Op, Raised, plain


class _Illegal(Enum):
    ILLEGAL = "the operation cannot take effect in this state with this outcome"


ILLEGAL: Final = _Illegal.ILLEGAL

Transition: TypeAlias = Callable[[Any], Hashable]
"""From a state of the model to the next one, or to `ILLEGAL`. Changes nothing."""


class Impossible(NamedTuple):
    """An operation that nothing can explain, as is seen without a search."""

    culprit: Op
    ops: tuple[Op, ...]
    """Those that contradict each other, the culprit among them."""
    why: str


class Frozen:
    """A value as part of a state: hashable, and equal to what has the same type and encoding.

    Without it `1`, `1.0` and `True` would be one state.
    """

    __slots__ = ("_hash", "_key", "value")

    def __init__(self, value: object) -> None:
        self.value = value
        self._key = _encoding(value)
        self._hash = hash(self._key)

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Frozen) and self._key == other._key

    def __repr__(self) -> str:
        return repr(self.value)


def _encoding(value: object) -> tuple[object, ...]:
    if isinstance(value, Raised):
        return value.kind, _encoding(value.args)
    try:
        return (encode(value),)
    except Unserializable:
        return type(value), repr(value)


_PLAIN = frozenset({int, str, bytes, type(None)})
_TRUE, _FALSE = Frozen(True), Frozen(False)


def frozen(value: object) -> Hashable:
    """Return the value as part of a state: itself if it is an int, str, bytes or None."""
    if type(value) in _PLAIN:
        return value
    if type(value) is bool:
        return _TRUE if value else _FALSE
    return Frozen(value)


def thawed(part: Any) -> Any:
    """Return what `frozen` was given."""
    return part.value if type(part) is Frozen else part


class Model(ABC):
    """The sequential model of a type. One instance may serve any number of checks."""

    READS: ClassVar[frozenset[str]] = frozenset()
    """Methods that never change the state."""

    def prepare(self, ops: list[Op]) -> "tuple[Model, list[Op]]":
        """Return the model for this very history, and the operations to explain.

        These may include some that happened behind the callers' backs.
        """
        return self, ops

    @abstractmethod
    def initial(self) -> Hashable:
        """Return the state before all operations."""

    @abstractmethod
    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is; any result counts if its outcome is `UNKNOWN`.

        Raises:
            ValueError: the model does not know such a method.
        """

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the parts of the state that `op` can read or change; None: all of it.

        Operations without common parts are checked apart from each other, which is much faster.
        """
        return None

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return op.method in self.READS

    def may_wait(self, op: Op) -> bool:
        """Return whether `op` may take effect at a later place of the log than its own."""
        return False

    def may_be_undone(self, op: Op) -> bool:
        """Return whether `op` may have taken effect for a while, at places nobody knows."""
        return False

    def identity(self, op: Op) -> Hashable:
        """Return what is equal only for operations that do the same in every state."""
        return op.id

    def urgency(self, ops: Sequence[Op]) -> dict[int, float]:
        """Return by id what to try first, the smallest first; others are tried by their end.

        A guess, which may be wrong: a good one makes the search fast.
        """
        return {}

    def hidden_order(self, ops: Sequence[Op]) -> Mapping[int, tuple[float, float]]:
        """Return by id spans on a line of its own that the outcomes tell of.

        If one span ends before another begins, then the first operation certainly took effect
        before the second. The search stays right without them, and finds its way faster with them.
        """
        return {}

    def likely(self, ops: Sequence[Op]) -> "tuple[Model, Sequence[Op]] | None":
        """Return a stricter model, and the operations for it; None: there is none.

        Any order that explains these must explain all of `ops`. What rules out much that is
        possible, but seldom happens, is found fast: it is tried first whether that is enough.
        """
        return None

    def excerpts(self, ops: Sequence[Op]) -> Iterable[Sequence[Op]]:
        """Return small parts of the history that can be explained by themselves if the whole can.

        They are searched first: those in which a fault is suspected.
        """
        return ()

    def impossible(self, ops: Sequence[Op]) -> Impossible | None:
        """Return an operation that the others cannot explain for certain, if that is easy to see.

        Beside what `brings`, `shows` and `takes` tell: that is looked at anyway.
        """
        return None

    def holds(self) -> Collection[Hashable]:
        """Return the parts of the state before all operations: see `brings`."""
        return ()

    def brings(self, op: Op) -> Collection[Hashable] | None:
        """Return the parts that `op` may bring into the state, each as often; None: any part.

        A part is whatever can be seen in a state and comes from the arguments of calls: a value,
        or a value under a key. It must not miss any; a model that changes what its parent's
        methods do has to change this too.
        """
        return None

    def shows(self, op: Op) -> Collection[Hashable]:
        """Return parts that certainly were in the state, or that `op` brought itself."""
        return ()

    def takes(self, op: Op) -> Collection[Hashable]:
        """Return parts that certainly were in the state, and that `op` took out of it.

        Each of them can be taken only as often as it has been brought.
        """
        return ()

    def writes(self, op: Op) -> Collection[Hashable]:
        """Return the parts that `op` brings in whatever the state is, if it does nothing else."""
        return ()

    def is_telling(self, op: Op) -> bool:
        """Return whether `op` shows what was written before it, or does not depend on it.

        If it holds for all operations with a part of the state in common, then a write that
        nobody has seen makes no difference to any of them.
        """
        return False

    def replay(self, ops: Collection[Op]) -> "Replay":
        """Return what takes the operations of a history one after another, in a known order."""
        return Replay(self)

    def expected(self, state: Hashable, op: Op) -> str | None:
        """Say which outcome `op` would have in this state; None if that is not certain."""
        return None

    def describe(self, state: Hashable) -> str:
        """Return the state as text for a person."""
        return repr(state)


class Replay:
    """A model that is given operations one after another, in a known order."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._state = model.initial()
        self.problem = ""
        """Why the last operation was not taken, to follow its place."""

    def take(self, op: Op) -> bool:
        """Let `op` take effect; return whether it can, with its outcome.

        If not, and the operation may wait, then nothing has changed.
        """
        after = self._model.transition(op)(self._state)
        if after is not ILLEGAL:
            self._state = after
            return True
        expected = self._model.expected(self._state, op)
        state = self._model.describe(self._state)
        why = "it cannot be" if expected is None else f"the model says {expected}"
        self.problem = f"{why}; the state is {state}"
        return False

    def _saw(self, outcome: object, op: Op) -> bool:
        """Return whether the caller of `op` saw that outcome; say what is wrong if it did not."""
        if outcome is BLOCKED:
            self.problem = "it would wait"
            return False
        if op.outcome is UNKNOWN or same(outcome, op.outcome):
            return True
        raised = "raises " if isinstance(outcome, Raised) else ""
        self.problem = f"the model says {raised}{outcome!r}"
        return False


BLOCKED: Final = Raised("it waits")
"""Outcome of what cannot take effect in a state, not even by raising."""


class SequentialModel(Model):
    """A model whose every operation has exactly one outcome in a state: that of `apply`."""

    @abstractmethod
    def apply(self, state: Any, op: Op) -> tuple[Hashable, object]:
        """Return the state after `op`, and its outcome: a value, a `Raised`, or `BLOCKED`."""

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        apply, known, seen = self.apply, op.outcome is not UNKNOWN, frozen(op.outcome)

        def step(state: Any) -> Hashable:
            after, outcome = apply(state, op)
            if outcome is BLOCKED or (known and frozen(outcome) != seen):
                return ILLEGAL
            return after

        return step

    def expected(self, state: Hashable, op: Op) -> str | None:
        """Say which outcome `op` would have in this state."""
        _, outcome = self.apply(state, op)
        if outcome is BLOCKED:
            return "to wait"
        return f"{'raises ' if isinstance(outcome, Raised) else ''}{outcome!r}"


def same_call(op: Op) -> Hashable:
    """Return what is equal for the same call with the same outcome, whoever made it and when."""
    return op.method, frozen(op.args), frozen(op.kwargs), frozen(op.outcome)


class TwinModel(SequentialModel):
    """A model whose states are those of a plain Python object, made anew for each step."""

    ALL_OR_NOTHING: ClassVar[frozenset[str]] = frozenset()
    """Methods that change nothing if they raise."""

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        if op.method in self.READS:
            return True
        if isinstance(op.outcome, Raised):
            return op.method in self.ALL_OR_NOTHING
        return op.outcome is False and op.method == "compare_and_set"

    def identity(self, op: Op) -> Hashable:
        """Return the call with its outcome; a twin knows nothing else of it."""
        return same_call(op)

    @abstractmethod
    def thaw(self, state: Any) -> Any:
        """Return a twin in that state."""

    @abstractmethod
    def freeze(self, twin: Any) -> Hashable:
        """Return the state of a twin."""

    def call(self, twin: Any, op: Op) -> object:
        """Make the call on a twin, which it may change; return its outcome."""
        return outcome_on(twin, op)

    def apply(self, state: Any, op: Op) -> tuple[Hashable, object]:
        """Return the state after `op`, and its outcome."""
        twin = self.thaw(state)
        outcome = self.call(twin, op)
        unchanged = outcome is BLOCKED or op.method in self.READS
        return state if unchanged else self.freeze(twin), outcome

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        self._check_method(op)
        return super().transition(op)

    def replay(self, ops: Collection[Op]) -> Replay:
        """Return what takes operations one after another."""
        return TwinReplay(self)

    def _check_method(self, op: Op) -> None:
        if not hasattr(self.thaw(self.initial()), op.method):
            raise ValueError(f"{type(self).__name__} has no method {op.method!r}")


class TwinReplay(Replay):
    """A replay on one twin that lives on: it costs what the twin's methods cost."""

    def __init__(self, model: TwinModel) -> None:
        super().__init__(model)
        self._call = model.call
        self._freeze = model.freeze
        self._check_method = model._check_method
        self._twin = model.thaw(model.initial())
        self._known: set[str] = set()

    def take(self, op: Op) -> bool:
        """Let `op` take effect; return whether it can, with its outcome."""
        if op.method not in self._known:
            self._check_method(op)
            self._known.add(op.method)
        outcome, seen = self._call(self._twin, op), op.outcome
        return outcome is seen or self._saw(outcome, op)


def outcome_on(twin: Any, op: Op) -> object:
    """Make a call on a plain object, which it may change; return its outcome."""
    try:
        attribute = getattr(twin, op.method)
        result = attribute(*op.args, **op.kwargs) if callable(attribute) else attribute
        # Inside the try: what a view or an iterator gives is part of the result.
        return result if type(result) in _PLAIN else plain(result)
    except twins.Blocked:
        return BLOCKED
    except Exception as error:
        return Raised.of(error)


def same(one: object, other: object) -> bool:
    """Return whether the values are equal and of the same type, all the way down."""
    kind = type(one)
    if kind is not type(other):
        return False
    return bool(one == other) if kind in _PLAIN else frozen(one) == frozen(other)


class FunctionModel(SequentialModel):
    """A model made of functions: `FunctionModel(0, add=lambda n, k: (n + k, n + k))`.

    Each takes the state and the operation's arguments, and returns the state after it and the
    result; it must not change the state it was given. What it raises is the operation's outcome,
    and leaves the state as it was. States may be any values.
    """

    def __init__(
        self,
        initial: object,
        /,
        *,
        reads: Collection[str] = (),
        partition: Callable[[Op], Collection[Hashable] | None] | None = None,
        **methods: Callable[..., tuple[object, object]],
    ) -> None:
        """Take what each method does; `reads` change nothing. `partition` is `Model.keys`."""
        self._initial = frozen(initial)
        self._reads = frozenset(reads)
        self._partition = partition
        self._methods = methods

    def initial(self) -> Hashable:
        """Return the state before all operations."""
        return self._initial

    def apply(self, state: Any, op: Op) -> tuple[Hashable, object]:
        """Return the state after `op`, and its outcome."""
        try:
            after, outcome = self._methods[op.method](thawed(state), *op.args, **op.kwargs)
        except Exception as error:
            return state, Raised.of(error)
        return frozen(after), plain(outcome)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method not in self._methods:
            raise ValueError(f"the model has no method {op.method!r}")
        return super().transition(op)

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return what `partition` says."""
        return None if self._partition is None else self._partition(op)

    def identity(self, op: Op) -> Hashable:
        """Return the call with its outcome; a function knows nothing else of it."""
        return same_call(op)

    def is_read(self, op: Op) -> bool:
        """Return whether it is one of `reads`."""
        return op.method in self._reads
