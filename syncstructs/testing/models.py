"""What the replicated types shall do, as if one caller at a time used one copy: their models."""

from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from copy import copy
from itertools import chain
from typing import Any

from . import twins
from .guesses import all_taken, narrowed, stacking
from .history import UNKNOWN, Op, Raised
from .origins import out_of_range
from .sequential import (
    ILLEGAL,
    Frozen,
    Impossible,
    Model,
    Transition,
    TwinModel,
    frozen,
    thawed,
)


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

    def holds(self) -> Collection[Hashable]:
        """Return the first value."""
        return (self._initial,)

    def brings(self, op: Op) -> Collection[Hashable] | None:
        """Return the value that `op` sets."""
        if self.is_read(op):
            return ()
        if op.method == "compare_and_set":
            return (frozen(op.argument(1, "value")),)
        return self.writes(op) or None

    def shows(self, op: Op) -> Collection[Hashable]:
        """Return the value that `op` saw."""
        return (frozen(op.outcome),) if op.method in self.READS and has_result(op) else ()

    def writes(self, op: Op) -> Collection[Hashable]:
        """Return the value that `op` sets."""
        return (frozen(op.argument(0, "value")),) if op.method in ("set", "write") else ()

    def is_telling(self, op: Op) -> bool:
        """Return whether it is no `compare_and_set`, which depends on what it does not show."""
        return op.method != "compare_and_set"


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

    def impossible(self, ops: Sequence[Op]) -> Impossible | None:
        """Return who saw more or less than all additions that may have happened give."""
        changes = [(op, _change(op)) for op in ops if not self.is_read(op)]
        if any(change is None for _, change in changes):
            return None
        return out_of_range(ops, [(op, change or 0) for op, change in changes], self._initial)


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
    _REMOVERS = frozenset({"delete", "__delitem__", "pop", "popitem", "clear"})
    _TELLING = frozenset({
        "get", "__getitem__", "__contains__", "setdefault", "delete", "__delitem__",
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
            twin[thawed(key)] = value.value if type(value) is Frozen else value
        return twin

    def freeze(self, twin: Any) -> Hashable:
        """Return the dictionary's content, in its order."""
        # A key looks like the first that was set of all that are equal to it, such as 1 and True.
        return tuple([(frozen(key), frozen(value)) for key, value in twin.items()])

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the keys that `op` names."""
        if op.method in self._BY_KEY:
            return hashable_only((op.argument(0, "key"),))
        return named_keys(op) if op.method in ("update", "__ior__") else None

    def holds(self) -> Collection[Hashable]:
        """Return the first keys, and the first values under them."""
        return [part for key, value in self.thaw(self._initial).items() for part in _at(key, value)]

    def brings(self, op: Op) -> Collection[Hashable] | None:
        """Return the keys that `op` may set, and the values under them."""
        method = op.method
        if method in self._REMOVERS or self.is_read(op):
            return ()
        if method in ("set", "__setitem__", "setdefault"):
            return _at(op.argument(0, "key"), op.argument(1, _SECOND.get(method, "value")))
        if method == "compare_and_set":
            return _at(op.argument(0, "key"), op.argument(2, "value"))
        if method in ("update", "__ior__", "reset"):
            try:
                pairs = dict(op.args[0] if op.args else (), **op.kwargs).items()
            except (TypeError, ValueError):
                # An update that fails midway has set some.
                return None
            return [part for key, value in pairs for part in _at(key, value)]
        return None

    def shows(self, op: Op) -> Collection[Hashable]:
        """Return the keys that `op` saw, and the values under them."""
        method, seen = op.method, op.outcome
        if not has_result(op):
            return ()
        if method in ("get", "__getitem__", "setdefault"):
            return () if self._is_default(op) else _at(op.argument(0, "key"), seen)
        if method in ("delete", "__delitem__") or (
            method in ("__contains__", "compare_and_set") and seen is True
        ):
            return _at(op.argument(0, "key"))
        return _shown_of_all(method, seen)

    def takes(self, op: Op) -> Collection[Hashable]:
        """Return the value that `op` took away, under its key."""
        if not has_result(op):
            return ()
        if op.method == "pop":
            return () if self._is_default(op) else _at(op.argument(0, "key"), op.outcome)[1:]
        pair: Any = op.outcome
        is_pair = type(pair) is tuple and len(pair) == 2
        return _at(*pair)[1:] if op.method == "popitem" and is_pair else ()

    def writes(self, op: Op) -> Collection[Hashable]:
        """Return what a plain assignment brings in.

        Not if it is None: a `get` that saw None does not tell that from an absent key.
        """
        value = op.argument(1, "value")
        plain = op.method in ("set", "__setitem__") and value is not None
        return _at(op.argument(0, "key"), value) if plain else ()

    def is_telling(self, op: Op) -> bool:
        """Return whether `op` only sets one key, or clears it, or saw what is there."""
        if op.method in ("get", "pop") and len(op.args) + len(op.kwargs) > 1:
            return not self._is_default(op)
        if op.method in ("set", "__setitem__", "update", "__ior__", "pop"):
            return True
        return op.method in self._TELLING and op.outcome is not UNKNOWN

    def _is_default(self, op: Op) -> bool:
        """Return whether `op` may have seen the default it was given, and no value."""
        if op.method == "pop" and len(op.args) < 2:
            return False
        default = op.argument(1, "default")
        return op.method in ("get", "pop") and frozen(op.outcome) == frozen(default)

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
    _REORDERS = frozenset({"pop", "remove", "delete", "__delitem__", "clear", "reverse", "sort"})

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        self._initial = self.freeze(elements)
        self._wanted: Collection[Hashable] = ()
        """Elements that are left to those who are known to have popped them: see `likely`."""

    def initial(self) -> Hashable:
        """Return the first elements."""
        return self._initial

    def thaw(self, state: Any) -> twins.List:
        """Return a list of these elements."""
        return twins.List(map(thawed, state))

    def freeze(self, twin: Any) -> Hashable:
        """Return the elements of the list."""
        return tuple(map(frozen, twin))

    def holds(self) -> Collection[Hashable]:
        """Return the first elements."""
        return self._initial  # type: ignore[return-value]

    def brings(self, op: Op) -> Collection[Hashable] | None:
        """Return the elements that `op` may add."""
        method = op.method
        if method in self._REORDERS or self.is_read(op):
            return ()
        if method == "append":
            return (frozen(op.argument(0, "value")),)
        at = op.argument(0, "index")
        if method == "insert" or (method in ("set", "__setitem__") and type(at) is int):
            return (frozen(op.argument(1, "value")),)
        if method in ("extend", "__iadd__", "reset"):
            values = op.argument(0, "values", ())
            return list(map(frozen, values)) if isinstance(values, Collection) else None
        return None

    def shows(self, op: Op) -> Collection[Hashable]:
        """Return the elements that `op` saw."""
        seen: Any = op.outcome
        if not has_result(op):
            return ()
        if op.method in ("get", "__getitem__") and type(op.argument(0, "index")) is int:
            return (frozen(seen),)
        whole = op.method in ("get", "__getitem__", "copy", "__iter__", "__reversed__")
        return list(map(frozen, seen)) if whole and type(seen) is list else ()

    def takes(self, op: Op) -> Collection[Hashable]:
        """Return the element that `op` took out."""
        return (frozen(op.outcome),) if op.method == "pop" and has_result(op) else ()

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        step = super().transition(op)
        if not self._wanted or op.method != "pop" or op.outcome is not UNKNOWN:
            return step
        at = op.argument(0, "index", -1)

        def spare(state: Any) -> Hashable:
            after: Any = step(state)
            is_taken = after is not ILLEGAL and len(after) < len(state)
            return ILLEGAL if is_taken and state[at] in self._wanted else after

        return spare

    def likely(self, ops: Sequence[Op]) -> tuple[Model, Sequence[Op]]:
        """Return a model in which nobody else pops what somebody is known to have popped."""
        guess = copy(self)
        guess._wanted = all_taken(ops, self)
        return guess, narrowed(ops, self)

    def urgency(self, ops: Sequence[Op]) -> dict[int, float]:
        """Return what is best tried first, if the list is used as a stack or as a queue."""
        return stacking(ops)

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
    _REMOVERS = frozenset({
        "remove", "discard", "pop", "clear", "difference_update", "intersection_update",
    })  # fmt: skip

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
            return hashable_only((frozenset(element) if type(element) is set else element,))
        if op.method in ("update", "difference_update"):
            try:
                return hashable_only(chain.from_iterable(op.args))
            except TypeError:
                return ()
        return None

    def holds(self) -> Collection[Hashable]:
        """Return the first elements."""
        return self.thaw(self._initial).items

    def brings(self, op: Op) -> Collection[Hashable] | None:
        """Return the elements that `op` may add."""
        method = op.method
        if method in self._REMOVERS or self.is_read(op):
            return ()
        if method == "add":
            return hashable_only((op.argument(0, "element"),))
        if method in ("update", "symmetric_difference_update", "reset"):
            try:
                return set(chain.from_iterable([*op.args, *op.kwargs.values()]))
            except TypeError:
                return None
        return None

    def shows(self, op: Op) -> Collection[Hashable]:
        """Return the elements that `op` saw."""
        seen: Any = op.outcome
        if not has_result(op):
            return ()
        if op.method == "remove" or (op.method == "__contains__" and seen is True):
            return self.keys(op) or ()
        whole = op.method in ("copy", "__iter__") and type(seen) in (set, list)
        return hashable_only(seen) if whole else ()

    def takes(self, op: Op) -> Collection[Hashable]:
        """Return the element that a `pop` took out."""
        taken = op.method == "pop" and has_result(op)
        return hashable_only((op.outcome,)) if taken else ()

    def writes(self, op: Op) -> Collection[Hashable]:
        """Return what an `add` adds."""
        return hashable_only((op.argument(0, "element"),)) if op.method == "add" else ()

    def is_telling(self, op: Op) -> bool:
        """Return whether `op` only sets or clears one element, or saw whether it is there."""
        if op.method in ("add", "discard"):
            return True
        return op.method in ("remove", "__contains__") and op.outcome is not UNKNOWN

    def describe(self, state: Any) -> str:
        """Return the elements as a set is written, in its order."""
        return f"{{{', '.join(map(repr, state))}}}"


_SECOND: Mapping[str, str] = {"setdefault": "default"}
"""The name of the second argument, where it is not `value`."""


def has_result(op: Op) -> bool:
    """Return whether what a call returned is known."""
    return op.outcome is not UNKNOWN and not isinstance(op.outcome, Raised)


def _at(key: Any, *value: Any) -> Sequence[Hashable]:
    """Return the key as a part of a dictionary, and the value under it; none if it is no key."""
    try:
        hash(key)
    except TypeError:
        return ()
    return [(key,), *((key, frozen(v)) for v in value)]


def _shown_of_all(method: str, seen: Any) -> Collection[Hashable]:
    """Return what a look at a whole dictionary has shown."""
    if method in ("keys", "__iter__", "__reversed__") and type(seen) is list:
        return [part for key in seen for part in _at(key)]
    if method == "copy" and type(seen) is dict:
        seen = list(seen.items())
    pairs = seen if method in ("copy", "items") and type(seen) is list else ()
    pairs = [pair for pair in pairs if type(pair) is tuple and len(pair) == 2]
    return [part for key, value in pairs for part in _at(key, value)]


def _change(op: Op) -> int | None:
    """Return what `op` adds to a counter, whatever it is; None: that depends on the state."""
    if op.method in ("inc", "dec"):
        return 1 if op.method == "inc" else -1
    amount = op.argument(0, "amount")
    if type(amount) is not int or op.method not in ("add", "sub", "__iadd__", "__isub__"):
        return None
    return amount if op.method in ("add", "__iadd__") else -amount


def named_keys(op: Op) -> Collection[Hashable]:
    """Return the keys of the pairs that `op` was given; none if it only raises for them."""
    pairs: Any = op.args[0] if op.args else ()
    try:
        return dict(pairs, **op.kwargs).keys()
    except (TypeError, ValueError):
        return ()


def hashable_only(values: Iterable[Any]) -> Collection[Hashable]:
    """Return the values; none if one cannot be hashed, as its call only raises."""
    keys = list(values)
    try:
        return set(keys)
    except TypeError:
        return ()
