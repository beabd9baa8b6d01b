"""What the replicated types shall do, as if one caller at a time used one copy: their models."""

from collections.abc import Collection, Hashable, Iterable, Mapping
from itertools import chain
from typing import Any, ClassVar

from . import twins
from .history import Op
from .sequential import Frozen, TwinModel, frozen, thawed


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
