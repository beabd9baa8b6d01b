"""Models of the types that hold values and maps beside the first ones, each behind its twin.

As in `twins`, a twin is plain Python: what the type is like, in one process, on other ground.
"""

from abc import abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator
from itertools import pairwise
from typing import Any

from ..structs.sorteditems import NO_ORDER
from . import twins
from .history import Op, Raised
from .sequential import TwinModel, frozen, thawed


class ContentModel(TwinModel):
    """A model whose twin is made of its `content()`, and never changes by a call that raises."""

    def __init__(self, *args: Any) -> None:
        """Begin with the twin that `args` make."""
        self._initial = self.freeze(self.twin(*args))

    @abstractmethod
    def twin(self, *args: Any) -> Any:
        """Return a twin; made of its content, of one argument."""

    def initial(self) -> Hashable:
        """Return the first content."""
        return self._initial

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return super().is_read(op) or isinstance(op.outcome, Raised)

    def thaw(self, state: Any) -> Any:
        """Return a twin with that content."""
        return self.twin(thawed(state))

    def freeze(self, twin: Any) -> Hashable:
        """Return the content of a twin."""
        return frozen(twin.content())


class Register(twins.Register):
    """`ReplRegister`."""

    def __init__(self, value: Any = None, version: int = 0) -> None:
        super().__init__(value)
        self.version = version

    def set(self, value: Any) -> int:  # type: ignore[override]
        super().set(value)
        self.version += 1
        return self.version

    def compare_and_set(self, expected: Any, value: Any) -> bool:
        swapped = super().compare_and_set(expected, value)
        self.version += swapped
        return swapped

    def set_if_version(self, version: int, value: Any) -> bool:
        is_same = self.version == version
        if is_same:
            self.set(value)
        return is_same

    def get_versioned(self) -> tuple[Any, int]:
        return self.value, self.version

    content = get_versioned


class VersionedRegisterModel(ContentModel):
    """`ReplRegister`; `RegisterModel` is that of one that does not count its writes."""

    READS = frozenset({"get", "get_versioned", "version"})

    def __init__(self, value: Any = None) -> None:
        super().__init__((value, 0))

    def twin(self, content: tuple[Any, int]) -> Register:
        """Return a register of a value and a version."""
        return Register(*content)

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return super().is_read(op) or (op.outcome is False and op.method == "set_if_version")


class _InOrder:
    """What sorted collections are asked: here of a sorted list that is made for each question."""

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError

    def between(self, first: Any, last: Any, ends: tuple[bool, bool] = (True, False)) -> list[Any]:
        try:
            return [
                key
                for key in self
                if (first is None or first < key or (ends[0] and key == first))
                and (last is None or key < last or (ends[1] and key == last))
            ]
        except TypeError:
            raise TypeError(NO_ORDER) from None

    def irange(
        self, minimum: Any = None, maximum: Any = None, inclusive: Any = (True, True),
        reverse: bool = False,
    ) -> Iterator[Any]:  # fmt: skip
        found = self.between(minimum, maximum, inclusive)
        return iter(found[::-1] if reverse else found)

    def islice(self, start: Any = None, stop: Any = None) -> Iterator[Any]:
        return iter(list(self)[start:stop])

    def bisect_left(self, key: Any) -> int:
        return sum(other < key for other in self)

    def bisect_right(self, key: Any) -> int:
        return sum(not key < other for other in self)

    def index(self, key: Any) -> int:
        return list(self).index(key)


class SortedDict(_InOrder, twins.Dict):
    """`ReplSortedDict`: a dictionary whose pairs are put in order after each change."""

    def __init__(self, pairs: Any = ()) -> None:
        super().__init__()
        self.update(pairs)

    def __iter__(self) -> Iterator[Any]:
        return dict.__iter__(self)

    def update(self, other: Any = (), /, **named: Any) -> None:
        content = dict(self) | dict(other, **named)
        keys = in_order(content)
        self.clear()
        super().update({key: content[key] for key in keys})

    def set(self, key: Any, value: Any) -> None:
        self.update({key: value})

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self.set(key, default)
        return self[key]

    def reset(self, other: Any = (), /, **named: Any) -> None:
        content = SortedDict(dict(other, **named))
        self.clear()
        super().update(content)

    def popitem(self, index: int = -1) -> tuple[Any, Any]:
        if not self:
            raise KeyError("popitem(): dictionary is empty")
        key, value = self.peekitem(index)
        del self[key]
        return key, value

    def peekitem(self, index: int = -1) -> tuple[Any, Any]:
        return list(self.items())[index]

    def delete_range(self, first: Any, last: Any) -> None:
        for key in self.between(first, last):
            del self[key]

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, slice):
            return {k: self[k] for k in self.between(key.start, key.stop)}
        return super().__getitem__(key)

    def content(self) -> list[tuple[Any, Any]]:
        return list(self.items())


class SortedSet(_InOrder, twins.Set):
    """`ReplSortedSet`: a set whose elements are put in order after each change."""

    def __init__(self, elements: Iterable[Any] = ()) -> None:
        super().__init__(in_order(elements))

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items)

    def add(self, element: Any) -> None:
        self.update([element])

    def update(self, *others: Iterable[Any]) -> None:
        self.items = dict.fromkeys(in_order([*self.items, *(e for o in others for e in o)]))

    def symmetric_difference_update(self, other: Iterable[Any]) -> None:
        known = [element for element in other if element in self.items]
        self.update(other)
        self.difference_update(known)

    def reset(self, elements: Iterable[Any] = ()) -> None:
        self.items = SortedSet(elements).items

    def pop(self, index: int = -1) -> Any:
        element = self[index]
        del self.items[element]
        return element

    def __getitem__(self, index: Any) -> Any:
        return list(self)[index]

    def content(self) -> list[Any]:
        return list(self)


def in_order(keys: Iterable[Any]) -> list[Any]:
    """Return the keys, each once, in their order.

    Raises:
        TypeError: they have none.
    """
    try:
        ordered = sorted(dict.fromkeys(keys))
        pairs = list(pairwise(ordered)) or [(key, key) for key in ordered]
        if all(one < other or (one is other and one == other) for one, other in pairs):
            return ordered
    except TypeError:
        pass
    raise TypeError(NO_ORDER)


class Deque(deque[Any]):
    """`ReplDeque`."""

    def set(self, index: int, value: Any) -> None:
        self[index] = value

    def delete(self, index: int) -> None:
        del self[index]

    def _repeat(self, count: int) -> None:
        self *= count

    def copy(self) -> deque[Any]:  # type: ignore[override]
        return deque(self, self.maxlen)

    content = copy


class DequeModel(ContentModel):
    """`ReplDeque`."""

    READS = frozenset({
        "copy", "index", "count", "__getitem__", "__contains__", "__len__", "__iter__",
    })  # fmt: skip

    def twin(self, content: Iterable[Any] = (), maxlen: int | None = None) -> Deque:
        """Return a deque; its content brings its own bound with it."""
        return Deque(content, getattr(content, "maxlen", maxlen))


class CounterMap(Counter[Any]):
    """`ReplCounterMap`: a `Counter` of whole numbers."""

    def set(self, key: Any, value: Any) -> None:
        self[key] = _whole(value)

    def inc(self, key: Any, amount: Any = 1) -> int:
        self[key] += _whole(amount)
        return self[key]

    def get(self, key: Any, default: Any = None) -> Any:
        return super().get(key, default)

    def setdefault(self, key: Any, default: Any = 0) -> Any:
        return super().setdefault(key, _whole(default))

    def compare_and_set(self, key: Any, expected: Any, value: Any) -> bool:
        value, swapped = _whole(value), bool(self[key] == expected)
        if swapped:
            self[key] = value
        return swapped

    def delete(self, key: Any) -> None:
        del self[key]

    def reset(self, other: Any = (), /, **named: int) -> None:
        content = Counter(other, **named)
        self.clear()
        self.update(content)

    def _combine(self, name: str, counts: Any) -> None:
        {"+": self.__iadd__, "-": self.__isub__, "&": self.__iand__, "|": self.__ior__}[name](
            Counter(counts)
        )

    def copy(self) -> Counter[Any]:  # type: ignore[override]
        return Counter(self)

    def content(self) -> dict[Any, int]:
        return dict(self)


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise TypeError(f"a ReplCounterMap counts whole numbers, not {type(value).__name__}")
    return int(value)


class CounterMapModel(ContentModel):
    """`ReplCounterMap`: by key, as long as nothing asks for the whole."""

    READS = frozenset({
        "get", "keys", "values", "items", "copy", "most_common", "total", "elements",
        "__getitem__", "__contains__", "__len__",
    })  # fmt: skip
    twin = CounterMap
    _BY_KEY = frozenset({
        "get", "set", "inc", "setdefault", "compare_and_set", "delete", "pop", "__getitem__",
        "__contains__",
    })  # fmt: skip

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the keys that `op` names."""
        if op.method in self._BY_KEY:
            return (op.argument(0, "key"),)
        if op.method in ("update", "subtract"):
            return set(op.argument(0, "other", ()))
        return None


class MultiDict:
    """`ReplMultiDict`: a list of pairs, in which those of one key stand together."""

    def __init__(self, pairs: Iterable[tuple[Any, Any]] = ()) -> None:
        self.pairs: list[tuple[Any, Any]] = []
        self.extend(pairs)

    def getall(self, key: Any, *default: Any) -> Any:
        found = [value for other, value in self.pairs if other == key]
        if not found:
            return twins.Dict().pop(key, *default)
        return found

    def __getitem__(self, key: Any) -> Any:
        return self.getall(key)[0]

    def __contains__(self, key: Any) -> bool:
        return bool(self.getall(key, ()))

    def __len__(self) -> int:
        return len(self.pairs)

    def add(self, key: Any, value: Any) -> None:
        places = [place for place, (other, _) in enumerate(self.pairs) if other == key]
        # A key looks like the first of all that are equal to it.
        pair = (self.pairs[places[0]][0], value) if places else (key, value)
        self.pairs.insert(places[-1] + 1 if places else len(self.pairs), pair)

    def set(self, key: Any, value: Any) -> None:
        kept = self.getall(key, ())
        self.add(key, value)
        for _ in kept:
            self.popone(key)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self.add(key, default)
        return self[key]

    def delete(self, key: Any) -> None:
        self.popall(key)

    def remove(self, key: Any, value: Any) -> None:
        self.getall(key).remove(value)
        del self.pairs[self._place(lambda pair: pair[0] == key and pair[1] == value)]

    def popone(self, key: Any, *default: Any) -> Any:
        if key not in self:
            return self.getall(key, *default)
        return self.pairs.pop(self._place(lambda pair: pair[0] == key))[1]

    pop = popone

    def popall(self, key: Any, *default: Any) -> Any:
        found = self.getall(key, *default)
        self.pairs = [pair for pair in self.pairs if pair[0] != key]
        return found

    def popitem(self) -> tuple[Any, Any]:
        if not self.pairs:
            raise KeyError("empty multidict")
        return self.pairs.pop()

    def clear(self) -> None:
        self.pairs.clear()

    def extend(self, other: Any = ()) -> None:
        for key, value in other.items() if isinstance(other, dict) else other:
            self.add(key, value)

    def update(self, other: Any = ()) -> None:
        for key, values in MultiDict(other).copy().items():
            self.set(key, values[0])
            for value in values[1:]:
                self.add(key, value)

    def items(self) -> list[tuple[Any, Any]]:
        return list(self.pairs)

    def copy(self) -> dict[Any, list[Any]]:
        return {key: self.getall(key) for key, _ in self.pairs}

    def _place(self, fits: Callable[[tuple[Any, Any]], bool]) -> int:
        return next(place for place, pair in enumerate(self.pairs) if fits(pair))

    content = items


class MultiDictModel(ContentModel):
    """`ReplMultiDict`: by key, as long as nothing asks for the whole."""

    READS = frozenset({"getall", "items", "copy", "__getitem__", "__contains__", "__len__"})
    twin = MultiDict
    _WHOLE = frozenset({"items", "copy", "__len__", "popitem", "clear"})

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the keys that `op` names."""
        if op.method in self._WHOLE:
            return None
        if op.method in ("extend", "update"):
            return set(dict(op.argument(0, "other", ())))
        return (op.argument(0, "key"),)


class SortedDictModel(ContentModel):
    """`ReplSortedDict`."""

    READS = frozenset({
        "get", "keys", "values", "items", "copy", "irange", "islice", "bisect_left",
        "bisect_right", "index", "peekitem", "__getitem__", "__contains__", "__len__",
    })  # fmt: skip
    twin = SortedDict


class SortedSetModel(ContentModel):
    """`ReplSortedSet`."""

    READS = frozenset({
        "copy", "irange", "islice", "bisect_left", "bisect_right", "index", "__getitem__",
        "__contains__", "__len__", "issubset",
    })  # fmt: skip
    twin = SortedSet
