"""What the replicated types shall do, as if one caller at a time used one copy: their models.

A model gives the state before any call, and for each operation a function from the state before it
to the state after it, or to `ILLEGAL` if it cannot take effect there with the outcome that was
seen. States are hashable and never change, so that a search can remember which it has been in.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Hashable, Iterable, Mapping
from enum import Enum
from itertools import chain
from typing import Any, ClassVar, Final, TypeAlias

from ..codec import encode
from ..errors import Unserializable
from . import twins
from .history import UNKNOWN, Op, Raised, plain


class _Illegal(Enum):
    ILLEGAL = "the operation cannot take effect in this state with this outcome"


ILLEGAL: Final = _Illegal.ILLEGAL

Transition: TypeAlias = Callable[[Any], Hashable]
"""From a state of the model to the next one, or to `ILLEGAL`. Changes nothing."""


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

    def of_history(self, ops: Collection[Op]) -> "Model":
        """Return the model for this very history; itself, if it needs to know nothing of it."""
        return self

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
        """Return whether `op` certainly changes nothing, whatever its outcome."""
        return op.method in self.READS

    def expected(self, state: Hashable, op: Op) -> str | None:
        """Say which outcome `op` would have in this state; None if that is not certain."""
        return None

    def describe(self, state: Hashable) -> str:
        """Return the state as text for a person."""
        return repr(state)


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


class TwinModel(SequentialModel):
    """A model whose states are those of a plain Python object, made anew for each step."""

    TWIN: ClassVar[type]

    @abstractmethod
    def thaw(self, state: Any) -> Any:
        """Return a twin in that state."""

    @abstractmethod
    def freeze(self, twin: Any) -> Hashable:
        """Return the state of a twin."""

    def apply(self, state: Any, op: Op) -> tuple[Hashable, object]:
        """Return the state after `op`, and its outcome."""
        twin = self.thaw(state)
        outcome: object
        try:
            attribute = getattr(twin, op.method)
            result = attribute(*op.args, **op.kwargs) if callable(attribute) else attribute
            # Inside the try: what a view or an iterator gives is part of the result.
            outcome = plain(result)
        except twins.Blocked:
            return state, BLOCKED
        except Exception as error:
            outcome = Raised.of(error)
        return state if op.method in self.READS else self.freeze(twin), outcome

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if not hasattr(self.thaw(self.initial()), op.method):
            raise ValueError(f"{type(self).__name__} has no method {op.method!r}")
        return super().transition(op)


class RegisterModel(TwinModel):
    """One value: `get` or `read`, `set` or `write`, `compare_and_set`."""

    READS = frozenset({"get", "read"})

    def __init__(self, value: object = None) -> None:
        self._initial = frozen(value)

    def initial(self) -> Hashable:
        """Return the first value."""
        return self._initial

    def thaw(self, state: Any) -> twins.Register:
        """Return a register with that value."""
        return twins.Register(thawed(state))

    def freeze(self, twin: Any) -> Hashable:
        """Return the register's value."""
        return frozen(twin.value)


class CounterModel(TwinModel):
    """`ReplCounter`, and the reads of an `int`."""

    READS = frozenset({"get", "value", "__int__", "__index__", "__bool__", "__float__"})

    def __init__(self, value: int = 0) -> None:
        self._initial = value

    def initial(self) -> Hashable:
        """Return the first value."""
        return self._initial

    def thaw(self, state: Any) -> twins.Counter:
        """Return a counter with that value."""
        return twins.Counter(state)

    def freeze(self, twin: Any) -> Hashable:
        """Return the counter's value."""
        return int(twin.value)


class DictModel(TwinModel):
    """`ReplDict`: by key, as long as nothing asks for the whole (`len`, `items`, `popitem`)."""

    READS = frozenset({
        "get", "keys", "values", "items", "copy", "__getitem__", "__contains__", "__len__",
        "__iter__", "__reversed__", "__eq__", "__or__", "__ror__", "__repr__",
    })  # fmt: skip
    _BY_KEY = frozenset({
        "get", "set", "delete", "setdefault", "compare_and_set", "pop", "__getitem__",
        "__setitem__", "__delitem__", "__contains__",
    })  # fmt: skip

    def __init__(self, content: Mapping[Any, Any] | Iterable[tuple[Any, Any]] = ()) -> None:
        self._initial = self.freeze(dict(content))

    def initial(self) -> Hashable:
        """Return the first content."""
        return self._initial

    def thaw(self, state: Any) -> twins.Dict:
        """Return a dictionary with that content."""
        twin = twins.Dict()
        for key, value in state:
            twin[key] = value.value if type(value) is Frozen else value
        return twin

    def freeze(self, twin: Any) -> Hashable:
        """Return the dictionary's content, in its order."""
        return tuple([(key, frozen(value)) for key, value in twin.items()])

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the keys that `op` names."""
        if op.method in self._BY_KEY:
            return _hashable_only((op.argument(0, "key"),))
        if op.method in ("update", "__ior__"):
            pairs: Any = op.args[0] if op.args else ()
            try:
                return dict(pairs, **op.kwargs).keys()
            except (TypeError, ValueError):
                return ()
        return None

    def describe(self, state: Any) -> str:
        """Return the content as a dictionary is written."""
        return repr(dict(state))


class ListModel(TwinModel):
    """`ReplList`."""

    READS = frozenset({
        "get", "index", "count", "copy", "__getitem__", "__contains__", "__len__", "__iter__",
        "__reversed__", "__eq__", "__lt__", "__le__", "__gt__", "__ge__", "__add__", "__mul__",
    })  # fmt: skip

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._initial = self.freeze(elements)

    def initial(self) -> Hashable:
        """Return the first elements."""
        return self._initial

    def thaw(self, state: Any) -> twins.List:
        """Return a list of these elements."""
        return twins.List(map(thawed, state))

    def freeze(self, twin: Any) -> Hashable:
        """Return the elements of the list."""
        return tuple(map(frozen, twin))

    def describe(self, state: Any) -> str:
        """Return the elements as a list is written."""
        return repr(list(state))


class SetModel(TwinModel):
    """`ReplSet`: by element, as long as nothing asks for the whole (`len`, `pop`, iteration)."""

    READS = frozenset({
        "copy", "union", "intersection", "difference", "symmetric_difference", "isdisjoint",
        "issubset", "issuperset", "__contains__", "__len__", "__iter__", "__eq__", "__le__",
        "__lt__", "__ge__", "__gt__", "__or__", "__and__", "__sub__", "__xor__",
    })  # fmt: skip
    _BY_ELEMENT = frozenset({"add", "remove", "discard", "__contains__"})

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._initial = self.freeze(twins.Set(elements))

    def initial(self) -> Hashable:
        """Return the first elements."""
        return self._initial

    def thaw(self, state: Any) -> twins.Set:
        """Return a set of these elements."""
        return twins.Set(list(map(thawed, state)))

    def freeze(self, twin: Any) -> Hashable:
        """Return the elements of the set, in its order."""
        return tuple(map(frozen, twin.items))

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the elements that `op` names."""
        if op.method in self._BY_ELEMENT:
            element = op.argument(0, "element")
            return _hashable_only((frozenset(element) if type(element) is set else element,))
        if op.method in ("update", "difference_update"):
            try:
                return _hashable_only(chain.from_iterable(op.args))
            except TypeError:
                return ()
        return None

    def describe(self, state: Any) -> str:
        """Return the elements as a set is written, in its order."""
        return f"{{{', '.join(map(repr, state))}}}"


class QueueModel(TwinModel):
    """`ReplQueue`: a `get` that waits without end takes effect only where there is an item."""

    READS = frozenset({
        "qsize", "empty", "full", "maxsize", "unfinished_tasks", "is_shutdown", "join",
    })  # fmt: skip
    TWIN: ClassVar[type[twins.Queue]] = twins.Queue

    def __init__(self, maxsize: int = 0) -> None:
        self._maxsize = maxsize

    def initial(self) -> Hashable:
        """Return the state of an empty queue."""
        return (), 0, False, False

    def thaw(self, state: Any) -> twins.Queue:
        """Return a queue in that state."""
        twin = self.TWIN(self._maxsize)
        items, twin.unfinished_tasks, twin.is_shutdown, twin.drained = state
        twin.items = list(map(thawed, items))
        return twin

    def freeze(self, twin: Any) -> Hashable:
        """Return the queue's items, in order, and whatever else it knows."""
        items = tuple(map(frozen, twin.items))
        return items, twin.unfinished_tasks, twin.is_shutdown, twin.drained

    def describe(self, state: Any) -> str:
        """Return the items as a list is written, the next one first."""
        return repr(list(state[0]))


class PriorityQueueModel(QueueModel):
    """`ReplPriorityQueue`, for items that can all be compared with each other."""

    TWIN = twins.PriorityQueue


def _hashable_only(values: Iterable[Any]) -> Collection[Hashable]:
    """Return the values; none if one cannot be hashed, as its call only raises."""
    keys = list(values)
    try:
        return set(keys)
    except TypeError:
        return ()
