"""What the replicated types shall do, as if one caller at a time used one copy: their models."""

from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import chain, count
from math import inf
from queue import Empty, Full
from typing import Any, ClassVar

from msgspec.structs import replace

from . import twins
from .excerpts import (
    GETS,
    Item,
    by_item,
    distinct_items,
    missed,
    out_of_nowhere,
    overtaken,
    passed_over,
)
from .history import UNKNOWN, Op, Raised
from .sequential import BLOCKED, ILLEGAL, Frozen, Model, Transition, TwinModel, frozen, thawed


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
    ALL_OR_NOTHING = frozenset({"set", "add", "sub", "inc", "dec", "compare_and_set"})

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

    ALL_OR_NOTHING = _BY_KEY

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

    ALL_OR_NOTHING = frozenset({"append", "insert", "pop", "remove"})

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

    ALL_OR_NOTHING = _BY_ELEMENT | {"pop"}

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
    ALL_OR_NOTHING = frozenset({"put", "get", "put_nowait", "get_nowait", "task_done"})
    TWIN: ClassVar[type[twins.Queue]] = twins.Queue
    IS_FIFO: ClassVar[bool] = True

    def __init__(self, maxsize: int = 0) -> None:
        self._maxsize = maxsize

    def initial(self) -> Hashable:
        """Return the state of an empty queue."""
        return (), 0, False, False, ()

    def thaw(self, state: Any) -> twins.Queue:
        """Return a queue in that state."""
        twin = self.TWIN(self._maxsize)
        items, twin.unfinished_tasks, twin.is_shutdown, twin.drained, twin.hands = state
        twin.items = list(map(thawed, items))
        return twin

    def freeze(self, twin: Any) -> Hashable:
        """Return the queue's items, in order, and whatever else it knows."""
        items = tuple(map(frozen, twin.items))
        return items, twin.unfinished_tasks, twin.is_shutdown, twin.drained, twin.hands

    def describe(self, state: Any) -> str:
        """Return the items as a list is written, the next one first."""
        return repr(list(state[0]))

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return super().is_read(op) or self._ran_out(op)

    def may_wait(self, op: Op) -> bool:
        """Return whether `op` may wait in the log, and take effect when it is served."""
        if op.method == "put":
            return bool(op.argument(1, "block", True))
        return op.method == "join" or (op.method == "get" and bool(op.argument(0, "block", True)))

    def may_be_undone(self, op: Op) -> bool:
        """Return whether `op` may have taken an item that was put back later."""
        return op.method == "get" and (op.outcome is UNKNOWN or self._ran_out(op))

    def _ran_out(self, op: Op) -> bool:
        """Return whether it is a `get` whose time ran out.

        A node that is cut off may take so long to withdraw it that it is served meanwhile, and
        what it was served put back after the caller has been told that there was nothing.
        """
        return op.method == "get" and op.outcome == _EMPTY and self.may_wait(op)

    def call(self, twin: Any, op: Op) -> object:
        """Make the call on a twin; return its outcome, or `BLOCKED` where it has to wait."""
        if self._ran_out(op):
            return op.outcome
        outcome = super().call(twin, op)
        known = op.outcome is not UNKNOWN
        if known and outcome in (_EMPTY, _FULL) and outcome != op.outcome and self.may_wait(op):
            return BLOCKED
        return outcome

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return the operations, and what put back the items of calls that were given up."""
        numbers = count(max((op.id for op in ops), default=0) + 1)
        more: list[Op] = []
        for op in ops:
            if not self.may_be_undone(op):
                continue
            taken = op
            if op.outcome is not UNKNOWN:
                taken = replace(op, id=next(numbers), outcome=UNKNOWN, end=inf)
                more.append(taken)
            more.append(replace(
                taken, id=next(numbers), method="_put_back", args=(taken.id,), kwargs={}, end=inf,
            ))  # fmt: skip
        return self, ops + more

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method == "_put_back":
            return lambda state: self._put_back(state, op.args[0])
        step = super().transition(op)
        if not self.may_be_undone(op) or op.outcome is not UNKNOWN:
            return step

        def take(state: Any) -> Hashable:
            after: Any = step(state)
            if after is ILLEGAL or len(after[0]) == len(state[0]):
                return after  # type: ignore[no-any-return]
            # It is in the hands of a caller who has given up.
            hands: Hashable = *after[:4], (*state[4], (op.id, state[0][0]))
            return hands

        return take

    def _put_back(self, state: Any, number: int) -> Hashable:
        for hand in state[4]:
            if hand[0] == number:
                twin = self.thaw(state)
                twin._put_back(thawed(hand[1]))
                rest = tuple(other for other in state[4] if other is not hand)
                after: Any = self.freeze(twin)
                restored: Hashable = *after[:4], rest
                return restored
        return ILLEGAL

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for operations that do the same in every state."""
        same = super().identity(op)
        return (same, op.id) if self.may_be_undone(op) else same

    def hidden_order(self, ops: Sequence[Op]) -> Mapping[int, tuple[float, float]]:
        """Order the puts as their items came out, where these differ and none was put back."""
        if not self.IS_FIFO or not self._is_certain(ops):
            return {}
        # What was taken after the queue was found empty was put after that.
        spans = {op.id: (-inf, op.end) for op in ops if self._found_empty(op)}
        for item in distinct_items(by_item(ops)):
            spans[item.put.id] = item.left_after, item.left_by
        return spans

    def excerpts(self, ops: Sequence[Op]) -> Iterator[list[Op]]:
        """Yield what was done with items that came out wrongly, as far as that is easy to see."""
        groups = by_item(ops)
        yield from out_of_nowhere(groups)
        if not self._is_certain(ops):
            return
        items = distinct_items(groups)
        yield from missed(items, [op for op in ops if self._found_empty(op)])
        yield from self._disordered(items)

    def _disordered(self, items: Sequence[Item]) -> Iterator[list[Op]]:
        return overtaken(items)

    def _is_certain(self, ops: Sequence[Op]) -> bool:
        """Return whether what left the queue is known, and left it for good."""
        return not any(
            op.method in ("shutdown", "_put_back")
            or self.may_be_undone(op)
            or (op.method in GETS and op.outcome is UNKNOWN)
            for op in ops
        )

    def _found_empty(self, op: Op) -> bool:
        return op.method in GETS and op.outcome == _EMPTY


class PriorityQueueModel(QueueModel):
    """`ReplPriorityQueue`, for items that can all be compared with each other."""

    TWIN = twins.PriorityQueue
    IS_FIFO = False

    def _disordered(self, items: Sequence[Item]) -> Iterator[list[Op]]:
        try:
            yield from passed_over(items)
        except TypeError:
            # Items that have no order: the search has to see to them.
            return


_EMPTY, _FULL = Raised.of(Empty()), Raised.of(Full())


def _hashable_only(values: Iterable[Any]) -> Collection[Hashable]:
    """Return the values; none if one cannot be hashed, as its call only raises."""
    keys = list(values)
    try:
        return set(keys)
    except TypeError:
        return ()
