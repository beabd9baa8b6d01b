"""Types that only some simulated runs use: how to make each, what callers call, and its model.

A run has those whose names stand in its plan's `mixes`, with their weights. Each is a row of one
table; the calls are drawn by one function per type.
"""

from collections.abc import Callable, Coroutine, Mapping
from random import Random
from typing import Any, Final, NamedTuple, TypeAlias

from ..structs.barriers import ReplBarrier
from ..structs.countermaps import ReplCounterMap
from ..structs.deques import ReplDeque
from ..structs.elections import ReplElection
from ..structs.events import ReplEvent, ReplLatch
from ..structs.groups import ReplGroup
from ..structs.idgenerators import ReplIdGenerator
from ..structs.multidicts import ReplMultiDict
from ..structs.once import ReplOnce
from ..structs.registers import ReplRegister
from ..structs.sorteddicts import ReplSortedDict
from ..structs.sortedsets import ReplSortedSet
from ..structs.topics import ReplTopic
from ..structs.ttl import ReplTTLDict
from . import toil
from .barriers import BarrierModel, BarrierTwin, barrier_call
from .gates import EventModel, EventTwin, LatchModel, LatchTwin, event_call, latch_call
from .groupmodel import GroupModel
from .history import Op
from .idmodel import IdGeneratorModel
from .limitmodels import Limiter, LimiterTwin, RateLimiterModel
from .logtwins import LogTwin
from .onces import OnceModel, run_once
from .sequential import Model
from .topicmodels import TopicModel
from .ttlmodels import TTLDictModel, TTLDictTwin
from .valuemodels import (
    CounterMapModel,
    DequeModel,
    MultiDictModel,
    SortedDictModel,
    SortedSetModel,
    VersionedRegisterModel,
)

Call = tuple[str, tuple[Any, ...]]


class Assorted(NamedTuple):
    """A type, as runs use it."""

    make: Callable[[], Any]
    model: Model | None
    """None: what its callers see is judged as they see it."""
    draw: Callable[[Any, Random, Callable[[], int]], Call]
    """Return some call, given the object here, chance, and what gives numbers never seen before."""
    reads: tuple[Call, ...]
    lines: Mapping[str, str] = {}
    """Of a method that waits, the attribute with its `Waiters`."""
    twin: Callable[[], LogTwin] | None = None
    """What its commands are compared with, in the order of the log."""
    state: Callable[[Any], object] | None = None
    """Return of the object what its twin's `state` returns."""
    act: Callable[[Any, str], Coroutine[Any, Any, None]] | None = None
    """What a caller does in place of single calls; given the `Client` and the object's name."""
    gives_ids: bool = False
    """Whether no two callers may have the same result."""


def _limiter_call(_: object, random: Random, __: object) -> Call:
    key = random.choice((None, "a", "b", "c"))
    return random.choice(("grab", "ask")), (random.choice((1, 1, 2, 4)), key)


def _pacer_call(_: object, random: Random, __: object) -> Call:
    n, key = random.choice((1, 1, 2, 4)), random.choice((None, "a"))
    if random.random() < 0.25:
        return random.choice(("grab", "ask")), (n, key)
    return "draw", (n, random.choice((None, random.random() * 2, 0.0)), key)


def _register_call(register: ReplRegister[Any], random: Random, number: Callable[[], int]) -> Call:
    value, version = register.get_versioned()
    method = random.choice(("set", "compare_and_set", "compare_and_set", "set_if_version"))
    if method == "set":
        return method, (random.choice((number(), [number()], None)),)
    return method, (value if method == "compare_and_set" else version, number())


_LATCHED: Final = 30
"""How far the latch of a run is counted down."""


def _topic_call(topic: ReplTopic[Any], random: Random, number: Callable[[], int]) -> Call:
    method = random.choice(("publish", "publish", "publish", "publish", "commit", "trim"))
    if method == "publish":
        return method, (random.choice((number(), [number()])),)
    offset = topic.next_offset - random.randrange(6)
    if method == "trim":
        return method, (offset - 3,)
    name = random.choice("ab")
    return random.choice((("forget", (name,)), *[("commit", (name, offset))] * 4))


_LIMITS: Final = 7, 2.0, 4


Numbers: TypeAlias = Callable[[], int]
"""What gives a number that it never gave before."""


_UNORDERED: Final = ("a", None, (1,), frozenset({1}), frozenset({2}), frozenset({1, 2}))


def _sort_key(random: Random) -> Any:
    """Return a key; sometimes one that has no place among most others."""
    return random.choice(_UNORDERED) if random.random() < 0.15 else random.randrange(9)


def _sorted_dict_call(prices: ReplSortedDict[Any, int], random: Random, number: Numbers) -> Call:
    key = _sort_key(random)
    some = {_sort_key(random): number() for _ in range(random.randrange(4))}
    calls: tuple[Call, ...] = (
        ("set", (key, number())),
        ("setdefault", (key, number())),
        ("update", (some,)),
        ("compare_and_set", (key, prices.get(key), number())),
        ("pop", (key, None)),
        ("popitem", (random.choice((-1, 0, 1)),)),
        ("delete", (key,)),
        ("delete_range", (random.choice((None, key)), random.choice((None, _sort_key(random))))),
        ("reset", (some,)),
    )
    return random.choices(calls, (3, 2, 3, 1, 1, 1, 1, 0.5, 0.5))[0]


def _sorted_set_call(due: ReplSortedSet[Any], random: Random, number: Numbers) -> Call:
    key, some = _sort_key(random), [_sort_key(random) for _ in range(random.randrange(4))]
    calls: tuple[Call, ...] = (
        ("add", (key,)),
        ("update", (some, [key])),
        ("symmetric_difference_update", (some,)),
        ("discard", (key,)),
        ("remove", (key,)),
        ("pop", (random.choice((-1, 0, 1)),)),
        ("intersection_update", (some, range(9))),
        ("difference_update", (some,)),
        ("reset", (some,)),
    )
    return random.choices(calls, (4, 2, 2, 1, 1, 1, 0.3, 1, 0.5))[0]


def _counter_map_call(tally: ReplCounterMap[str], random: Random, number: Numbers) -> Call:
    key, amount = random.choice("abcd"), random.choice((1, 1, 2, -1, 0, 0.5))
    some = {random.choice("abcd"): random.randrange(-2, 4) for _ in range(random.randrange(4))}
    calls: tuple[Call, ...] = (
        ("inc", (key, amount)),
        ("update", (random.choice((some, [*some, key])),)),
        ("subtract", (some,)),
        ("set", (key, amount)),
        ("setdefault", (key, amount)),
        ("compare_and_set", (key, tally[key], amount)),
        ("pop", (key, None)),
        ("delete", (key,)),
        ("popitem", ()),
        ("_combine", (random.choice("+-&|"), some)),
        ("reset", (some,)),
    )
    return random.choices(calls, (5, 3, 2, 1, 1, 2, 1, 1, 0.5, 1, 0.3))[0]


_PARTIES: Final = 3
"""How many have to come to the barrier of a run."""


def _no_call(target: Any, random: Random, number: Callable[[], int]) -> Call:
    raise NotImplementedError


def _deque_call(recent: ReplDeque[int], random: Random, number: Numbers) -> Call:
    place, some = random.randrange(-3, 4), [number() for _ in range(random.randrange(4))]
    known = random.choice([*recent, 0])
    calls: tuple[Call, ...] = (
        ("append", (number(),)),
        ("appendleft", (number(),)),
        ("extend", (some,)),
        ("extendleft", (some,)),
        ("pop", ()),
        ("popleft", ()),
        ("rotate", (place,)),
        ("insert", (place, number())),
        ("remove", (known,)),
        ("set", (place, number())),
        ("delete", (place,)),
        ("reverse", ()),
        ("_repeat", (random.choice((0, 2)),)),
        ("clear", ()),
    )
    return random.choices(calls, (3, 3, 2, 2, 2, 2, 2, 2, 1, 1, 1, 0.5, 0.5, 0.2))[0]


def _multi_dict_call(labels: ReplMultiDict[str, int], random: Random, number: Numbers) -> Call:
    key, known = random.choice("abc"), random.choice([*labels.values(), 0])
    some = [(random.choice("abc"), number()) for _ in range(random.randrange(4))]
    calls: tuple[Call, ...] = (
        ("add", (key, number())),
        ("extend", (some,)),
        ("update", (some,)),
        ("set", (key, number())),
        ("setdefault", (key, number())),
        ("remove", (key, known)),
        ("popone", (key,)),
        ("popall", (key, None)),
        ("pop", (key, None)),
        ("popitem", ()),
        ("delete", (key,)),
    )
    return random.choices(calls, (5, 2, 1, 1, 1, 2, 2, 1, 1, 1, 0.5))[0]


def _id_call(serials: ReplIdGenerator, random: Random, number: Numbers) -> Call:
    return ("next_id", ()) if random.random() < 0.9 else ("reserve", (random.randrange(1, 4),))


def _group_call(group: ReplGroup[Any], random: Random, number: Callable[[], int]) -> Call:
    method = random.choice(("join", "join", "update", "leave"))
    return method, () if method == "leave" else (random.choice((number(), [number()])),)


_TTL: Final = 1.0


def _cache_call(cache: ReplTTLDict[str, int], random: Random, number: Numbers) -> Call:
    key, ttl = random.choice("abc"), random.choice((None, -1.0, 0.3, 2.0))
    some = {random.choice("abc"): number() for _ in range(random.randrange(3))}
    calls: tuple[Call, ...] = (
        ("set", (key, number())),
        ("set", (key, number(), ttl)),
        ("touch", (key,)),
        ("touch", (key, ttl)),
        ("setdefault", (key, number())),
        ("compare_and_set", (key, cache.get(key), number())),
        ("update", (some,)),
        ("delete", (key,)),
        ("pop", (key, None)),
        ("popitem", ()),
        ("reset", (some,)),
        ("clear", ()),
    )
    return random.choices(calls, (2, 3, 2, 2, 2, 1, 1, 1, 1, 0.7, 0.2, 0.2))[0]


_BLOCK: Final = 4


def _node_of(op: Op) -> str:
    """Return the address of the node at which a caller of a run has made a call."""
    return str(op.process).rpartition(".")[0]


ASSORTED: Final[dict[str, Assorted]] = {
    "barrier": Assorted(
        lambda: ReplBarrier(_PARTIES), BarrierModel(_PARTIES), barrier_call, (("broken", ()),),
        {"wait": "_waiters"}, lambda: BarrierTwin(_PARTIES),
        lambda barrier: (barrier.broken, barrier.n_waiting),
    ),
    "cache": Assorted(
        lambda: ReplTTLDict(_TTL), TTLDictModel(_TTL), _cache_call,
        (("get", ("a",)), ("get", ("b",)), ("__contains__", ("c",)), ("copy", ()), ("__len__", ())),
        twin=lambda: TTLDictTwin(_TTL), state=lambda cache: list(cache.items()),
    ),
    "due": Assorted(
        ReplSortedSet, SortedSetModel(), _sorted_set_call,
        (("irange", (2, 6)), ("islice", (1, 3)), ("copy", ()), ("__len__", ())),
    ),
    "election": Assorted(ReplElection, None, lambda *_: ("campaign", ()), ()),
    "event": Assorted(
        ReplEvent, EventModel(), event_call, (("is_set", ()),), {"wait": "_waiters"}, EventTwin,
        ReplEvent.is_set,
    ),
    "group": Assorted(
        ReplGroup, GroupModel(expiry=True, node=_node_of), _group_call, (("members", ()),)
    ),
    "labels": Assorted(
        ReplMultiDict, MultiDictModel(), _multi_dict_call,
        (("getall", ("a", None)), ("getall", ("b", None)), ("items", ()), ("__len__", ())),
    ),
    "latch": Assorted(
        lambda: ReplLatch(_LATCHED), LatchModel(_LATCHED), latch_call, (("count", ()),),
        {"wait": "_waiters"}, lambda: LatchTwin(_LATCHED), lambda latch: latch.count,
    ),
    "limiter": Assorted(
        lambda: Limiter(*_LIMITS), RateLimiterModel(*_LIMITS), _limiter_call, (("burst", ()),),
    ),
    "once": Assorted(
        ReplOnce, OnceModel(), _no_call, (("done", ()),), {"run": "_waiters"}, act=run_once
    ),
    "pacer": Assorted(
        lambda: Limiter(*_LIMITS), None, _pacer_call, (), {"draw": "_waiters"},
        lambda: LimiterTwin(*_LIMITS), lambda pacer: len(pacer._waiters),
    ),
    "prices": Assorted(
        ReplSortedDict, SortedDictModel(), _sorted_dict_call,
        (("items", ()), ("irange", (2, 6)), ("islice", (1, 3)), ("copy", ())),
    ),
    "recent": Assorted(
        lambda: ReplDeque(maxlen=5), DequeModel((), 5), _deque_call,
        (("copy", ()), ("copy", ()), ("__getitem__", (0,)), ("__len__", ())),
    ),
    "register": Assorted(
        ReplRegister, VersionedRegisterModel(), _register_call, (("get", ()), ("get_versioned", ()))
    ),
    "rota": Assorted(toil.make_scheduler, None, _no_call, (), act=toil.toil),
    "serials": Assorted(
        lambda: ReplIdGenerator(_BLOCK), IdGeneratorModel(_BLOCK, node=_node_of), _id_call, (),
        gives_ids=True,
    ),
    "tally": Assorted(
        ReplCounterMap, CounterMapModel(), _counter_map_call,
        (("__getitem__", ("a",)), ("total", ()), ("most_common", (2,)), ("copy", ())),
    ),
    "tasks": Assorted(toil.make, None, _no_call, (), act=toil.toil),
    "topic": Assorted(
        lambda: ReplTopic(maxlen=8), TopicModel(8), _topic_call,
        (("read", ()), ("next_offset", ()), ("subscribers", ())),
    ),
}  # fmt: skip
"""By the name of the object, which is that of the kind of load too."""
