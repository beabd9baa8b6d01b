"""The models do what the real types do: the same results, errors and contents, call by call."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from atomic_object import ops_of
from msgspec.structs import replace

import syncstructs
from syncstructs import testing
from syncstructs.objects.replicated import Replicated
from syncstructs.structs.countermaps import ReplCounterMap
from syncstructs.structs.counters import ReplCounter
from syncstructs.structs.deques import ReplDeque
from syncstructs.structs.dicts import ReplDict
from syncstructs.structs.events import ReplEvent, ReplLatch
from syncstructs.structs.lists import ReplList
from syncstructs.structs.multidicts import ReplMultiDict
from syncstructs.structs.queues import ReplPriorityQueue, ReplQueue
from syncstructs.structs.registers import ReplRegister
from syncstructs.structs.sets import ReplSet
from syncstructs.structs.sorteddicts import ReplSortedDict
from syncstructs.structs.sortedsets import ReplSortedSet
from syncstructs.structs.topics import ReplTopic
from syncstructs.testing.gates import EventModel, LatchModel
from syncstructs.testing.history import UNKNOWN, Op
from syncstructs.testing.models import (
    CounterModel,
    DictModel,
    ListModel,
    SetModel,
)
from syncstructs.testing.queuemodels import PriorityQueueModel, QueueModel
from syncstructs.testing.sequential import BLOCKED, ILLEGAL, SequentialModel, frozen, same
from syncstructs.testing.subjects import Copy, Subject
from syncstructs.testing.topicmodels import TopicModel
from syncstructs.testing.valuemodels import (
    CounterMapModel,
    DequeModel,
    MultiDictModel,
    SortedDictModel,
    SortedSetModel,
    VersionedRegisterModel,
)

Calls = dict[str, Callable[[Random], tuple[Any, ...]]]


def number(random: Random) -> Any:
    return random.choice((0, 1, 2, -1, True, 10**30))


def value(random: Random) -> Any:
    return random.choice((0, 1, 1.0, True, "a", None, (1, 2), [1], {"a": 1}, b"x"))


def key(random: Random) -> Any:
    return random.choice((0, 1, True, "a", (1,), None))


def position(random: Random) -> int:
    return random.randrange(-4, 5)


def no(random: Random) -> tuple[Any, ...]:
    return ()


def with_(*draws: Callable[[Random], Any]) -> Callable[[Random], tuple[Any, ...]]:
    return lambda random: tuple(draw(random) for draw in draws)


def some(draw: Callable[[Random], Any]) -> Callable[[Random], Any]:
    return lambda random: [draw(random) for _ in range(random.randrange(4))]


def pairs(random: Random) -> Any:
    return {key(random): value(random) for _ in range(random.randrange(3))}


def name(random: Random) -> Any:
    return random.choice("ab")


def offset(random: Random) -> Any:
    return random.randrange(-1, 20)


def odd(random: Random) -> Any:
    return random.choice((1, 0, "a", 2.5, None))


COUNTER: Calls = {
    "inc": no, "dec": no, "add": with_(number), "sub": with_(odd), "set": with_(odd),
    "compare_and_set": with_(number, odd),
}  # fmt: skip
DICT: Calls = {
    "set": with_(key, value), "delete": with_(key), "pop": with_(key), "popitem": no,
    "setdefault": with_(key, value), "compare_and_set": with_(key, value, value),
    "update": with_(pairs), "clear": no, "get": with_(key, value), "__getitem__": with_(key),
    "__contains__": with_(key), "__len__": no, "keys": no, "items": no, "copy": no,
    "reset": with_(pairs),
}  # fmt: skip
LIST: Calls = {
    "append": with_(value), "insert": with_(position, value), "pop": with_(position),
    "remove": with_(value), "set": with_(position, value), "delete": with_(position),
    "extend": with_(some(value)), "clear": no, "reverse": no, "sort": no, "get": with_(position),
    "index": with_(value), "count": with_(value), "__len__": no, "copy": no,
    "reset": with_(some(number)),
}  # fmt: skip
SET: Calls = {
    "add": with_(key), "remove": with_(key), "discard": with_(key), "pop": no, "clear": no,
    "update": with_(some(key)), "difference_update": with_(some(key)),
    "intersection_update": with_(some(key)), "symmetric_difference_update": with_(some(key)),
    "__contains__": with_(key), "__len__": no, "issubset": with_(some(key)),
}  # fmt: skip
COUNTER_MAP: Calls = {
    "inc": with_(key, odd), "set": with_(key, odd), "setdefault": with_(key, odd),
    "compare_and_set": with_(key, number, odd), "delete": with_(key), "pop": with_(key),
    "popitem": no, "update": with_(some(key)), "subtract": with_(some(key)), "clear": no,
    "reset": with_(some(key)), "_combine": with_(lambda r: r.choice("+-&|"), lambda r: {1: 2}),
    "get": with_(key), "__getitem__": with_(key), "__contains__": with_(key), "total": no,
    "most_common": no, "elements": no, "copy": no,
}  # fmt: skip
DEQUE: Calls = {
    "append": with_(value), "appendleft": with_(value), "extend": with_(some(value)),
    "extendleft": with_(some(value)), "pop": no, "popleft": no, "insert": with_(position, value),
    "remove": with_(value), "rotate": with_(position), "set": with_(position, value),
    "delete": with_(position), "reverse": no, "clear": no, "copy": no, "count": with_(value),
    "index": with_(value), "__len__": no,
}  # fmt: skip
MULTI_DICT: Calls = {
    "add": with_(key, value), "set": with_(key, value), "setdefault": with_(key, value),
    "delete": with_(key), "remove": with_(key, value), "popone": with_(key), "popall": with_(key),
    "popitem": no, "clear": no, "extend": with_(pairs), "update": with_(pairs),
    "getall": with_(key), "__getitem__": with_(key), "__contains__": with_(key), "items": no,
    "copy": no, "__len__": no,
}  # fmt: skip
REGISTER: Calls = {
    "set": with_(value), "compare_and_set": with_(value, value),
    "set_if_version": with_(position, value), "get": no, "get_versioned": no,
}  # fmt: skip
TOPIC: Calls = {
    "publish": with_(value), "commit": with_(name, offset), "forget": with_(name),
    "trim": with_(offset), "read": with_(offset, number), "__getitem__": with_(offset),
    "__len__": no, "committed": with_(name), "subscribers": no, "first_offset": no,
    "next_offset": no,
}  # fmt: skip
SORTED: Calls = {"irange": with_(key, key), "islice": with_(position), "copy": no}
SORTED_DICT: Calls = DICT | SORTED | {
    "popitem": with_(position), "peekitem": with_(position), "delete_range": with_(key, key),
}  # fmt: skip
SORTED_SET: Calls = SET | SORTED | {"pop": with_(position), "__getitem__": with_(position)}
QUEUE: Calls = {
    "put_nowait": with_(number), "get_nowait": no, "task_done": no, "qsize": no, "empty": no,
    "full": no,
}  # fmt: skip
EVENT: Calls = {"set": no, "clear": no, "is_set": no}
LATCH: Calls = {"count_down": lambda random: (random.randrange(-1, 3),), "count": no}
TYPES: dict[str, tuple[type[Replicated], tuple[Any, ...], SequentialModel, Calls]] = {
    "counter": (ReplCounter, (), CounterModel(), COUNTER),
    "dict": (ReplDict, (), DictModel(), DICT),
    "list": (ReplList, (), ListModel(), LIST),
    "set": (ReplSet, (), SetModel(), SET),
    "counter map": (ReplCounterMap, (), CounterMapModel(), COUNTER_MAP),
    "deque": (ReplDeque, ((), 4), DequeModel((), 4), DEQUE),
    "multi dict": (ReplMultiDict, (), MultiDictModel(), MULTI_DICT),
    "register": (ReplRegister, (), VersionedRegisterModel(), REGISTER),
    "event": (ReplEvent, (), EventModel(), EVENT),
    "latch": (ReplLatch, (9,), LatchModel(9), LATCH),
    "topic": (ReplTopic, (5,), TopicModel(5), TOPIC),
    "sorted dict": (ReplSortedDict, (), SortedDictModel(), SORTED_DICT),
    "sorted set": (ReplSortedSet, (), SortedSetModel(), SORTED_SET),
    "queue": (ReplQueue, (2,), QueueModel(2), QUEUE),
    "priority queue": (ReplPriorityQueue, (), PriorityQueueModel(), QUEUE),
}


WHOLE = (
    "counter", "event", "latch", "list", "priority queue", "queue", "register", "sorted dict",
    "sorted set", "topic",
    "counter", "deque", "list", "register", "sorted dict", "sorted set", "queue", "priority queue",
)  # fmt: skip
"""Types whose state has no parts that calls could be apart by."""


@pytest.mark.parametrize("name", TYPES)
def test_a_model_does_what_the_type_does(name: str) -> None:
    cls, args, model, calls = TYPES[name]
    for seed in range(30):
        random = Random(seed)
        real = Copy(Subject(cls, (), args=args, methods=list(cls._commands)))
        state, replay = model.initial(), model.replay(())
        for step in range(60):
            method = random.choice(list(calls))
            passed = calls[method](random)
            seen = real.invoke(method, passed, {})
            op = Op(id=step, process="p", method=method, args=passed, call=step, outcome=seen)
            after, outcome = model.apply(state, op)
            told = f"seed {seed}, step {step}: {op}, the model {outcome!r} in {state}"
            assert same(outcome, seen), told
            assert replay.take(op), f"{told}; {replay.problem}"
            assert model.transition(op)(state) == after, told
            if model.is_read(op):
                assert after == state, told
            state = after


@pytest.mark.parametrize("name", TYPES)
def test_operations_without_common_keys_do_not_see_each_other(name: str) -> None:
    """What an operation sees and does is the same with and without one on other keys before it."""
    _, _, model, calls = TYPES[name]
    apart = 0
    for seed in range(300):
        random = Random(seed)
        one, other = (
            Op(id=i, process="p", method=method, args=calls[method](random), call=i)
            for i, method in enumerate(random.choices(list(calls), k=2))
        )
        keys = model.keys(one), model.keys(other)
        if keys[0] is None or keys[1] is None or set(keys[0]) & set(keys[1]):
            continue
        apart += 1
        between, _ = model.apply(model.initial(), one)
        assert same(model.apply(between, other)[1], model.apply(model.initial(), other)[1])
    assert apart > 10 or name in WHOLE


def test_a_limiter_lets_through_what_has_come_by_the_time_of_each_call() -> None:
    def verdict(*times_and_outcomes: tuple[float, bool]) -> bool:
        rows = [("a", "try_acquire", (1,), 1, 2, outcome) for _, outcome in times_and_outcomes]
        timed = zip(ops_of(*rows), times_and_outcomes, strict=True)
        ops = [replace(op, time=time) for op, (time, _) in timed]
        return testing.check(ops, testing.RateLimiterModel(2)).ok

    assert verdict((1.0, True), (1.0, True), (1.4, False), (1.5, True))
    assert not verdict((1.0, True), (1.0, True), (1.4, True))
    assert not verdict((1.0, True), (1.0, True), (1.5, False))
    # What has an earlier time came first, and found all tokens there.
    assert not verdict((1.0, False), (2.0, True), (2.0, True))


SHARED = {
    "ReplCondition": "SemaphoreModel", "ReplElection": "LockModel", "ReplRLock": "SemaphoreModel",
    "ReplRegister": "VersionedRegisterModel",
}  # fmt: skip


def test_each_type_has_a_model_of_its_name() -> None:
    types = {name for name in syncstructs.__all__ if name.startswith("Repl")} - {"Replicated"}
    for name in types:
        model = SHARED.get(name, f"{name.removeprefix('Repl')}Model")
        assert issubclass(getattr(testing, model), testing.Model)
        assert f"`{name}`" in str(getattr(testing, model).__doc__), name


def test_states_tell_values_of_different_types_apart() -> None:
    parts = [1, 1.0, True, "1", b"1", (1,), [1], None, frozenset({1}), {1}]
    assert len({frozen(part) for part in parts}) == len(parts)
    assert frozen(1.0) != frozen(True)
    assert frozen([1]) != frozen([True])


def test_a_get_that_waits_takes_effect_only_where_there_is_an_item() -> None:
    model = QueueModel()
    get, put = ops_of(("a", "get", (), 1, 2, UNKNOWN), ("b", "put", (1,), 1, 2, None))
    assert model.transition(get)(model.initial()) is ILLEGAL
    assert model.apply(model.initial(), get)[1] is BLOCKED
    filled = model.transition(put)(model.initial())
    taken = model.transition(replace(get, outcome=1))(filled)
    assert model.describe(filled) == "[1]"
    assert model.describe(taken) == "[]"
