"""Each type on a simulated cluster does what its Python twin does, whatever befalls the cluster.

Hypothesis draws calls, the member that makes them, and faults in between; it shrinks what fails.
"""

from collections import deque
from functools import wraps
from math import inf
from typing import ClassVar

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from syncstructs import (
    ReplCounter,
    ReplCounterMap,
    ReplDeque,
    ReplDict,
    ReplList,
    ReplMultiDict,
    ReplPriorityQueue,
    ReplQueue,
    ReplRateLimiter,
    ReplRegister,
    ReplSet,
    ReplSortedDict,
    ReplSortedSet,
    ReplTopic,
    ReplTTLDict,
    current_context,
    replicated,
)
from syncstructs.errors import NotApplied
from syncstructs.testing import limitmodels, topicmodels, ttlmodels, twins, valuemodels
from syncstructs.testing.history import Raised, plain
from syncstructs.testing.runs import quietly
from syncstructs.testing.simulator import Simulation

NODES = st.sampled_from(["n1:1", "n2:1", "n3:1"])
SPANS = st.floats(0.001, 1.5)
KEYS = st.sampled_from([0, 1, "a", (1, 2), None])
VALUES = st.one_of(st.integers(-3, 3), st.text(max_size=2), st.lists(st.integers(0, 2), max_size=2))
NUMBERS = st.integers(-5, 5)
NAMES = st.sampled_from("ab")
PLACES = st.integers(-3, 3)


def befalls(**drawn):
    """Make a rule of what befalls the cluster, with calls behind it.

    Hypothesis leaves some rules out for a whole run: without this, most runs have no call at all.
    """

    def with_calls(befall):
        @wraps(befall)
        def then_call(self, data, nodes, **drawn):
            befall(self, **drawn)
            for node in nodes:
                self._call(data, node)

        return rule(data=st.data(), nodes=st.lists(NODES, max_size=2), **drawn)(then_call)

    return with_calls


class OnACluster(RuleBasedStateMachine):
    """An object on three members, its twin in this process, and everything that may go wrong."""

    make = None
    twin = None
    calls: ClassVar = {}

    @initialize(seed=st.integers(0, 2**16), every=st.sampled_from([3, 12, 100_000]))
    def start(self, seed, every):
        self._quiet = quietly()
        self._quiet.__enter__()
        self.model = type(self).twin()
        self.cluster = Simulation(
            seed, {"it": type(self).make}, snapshot_log_entries=every, log_keep_bytes=1,
            chunk_bytes=64, session_ttl=1000.0,
        )  # fmt: skip
        self.cluster.start()

    @rule(data=st.data(), node=NODES)
    def call(self, data, node):
        self._call(data, node)

    def _call(self, data, node):
        method = data.draw(st.sampled_from(sorted(type(self).calls)))
        args = data.draw(st.tuples(*type(self).calls[method]))
        expected = _outcome(getattr(self.model, method), args)
        seen = self._seen(node, method, args)
        # A node that a snapshot took beyond its own call knows that it was applied, no more.
        if not (isinstance(seen, Raised) and seen.kind.endswith("ResultLost")):
            assert seen == expected

    def _seen(self, node, method, args):
        """Call until it is applied; what was not is safe to call again."""
        cluster = self.cluster
        for _ in range(20):
            cluster.start(node)
            future = getattr(cluster.objects(node)["it"], method).submit(*args)
            for _ in range(40):
                if future.done():
                    break
                cluster.run(0.1)
            else:
                # A quorum may be missing for as long as the rules like; the call waits.
                cluster.heal()
                cluster.start_again()
                cluster.run_until(future.done)
            error = future.exception()
            if error is None:
                return plain(future.result())
            if not isinstance(error, NotApplied):
                return Raised.of(error)
        raise AssertionError(f"{method} is never applied: {error!r}")

    @befalls(node=NODES, silently=st.booleans())
    def crash(self, node, silently):
        # In memory, a majority has to live: what two of three forget may have been acknowledged.
        if self.cluster.up == list(self.cluster.addresses) and self._all_equal():
            self.cluster.crash(node, silently=silently)

    def _all_equal(self):
        lives = self.cluster.lives()
        last = max(life.core.log.last_index for life in lives)
        return all(life.core.log.persisted_index == last for life in lives)

    @befalls()
    def restart(self):
        self.cluster.start()

    @befalls(node=NODES, span=SPANS)
    def pause(self, node, span):
        self.cluster.hosts[node].pause(self.cluster.now + span)

    @befalls(node=NODES, keep=st.booleans())
    def cut_off(self, node, keep):
        self.cluster.network.cut_off(node, keep=keep)

    @befalls(sender=NODES, receiver=NODES)
    def cut(self, sender, receiver):
        if sender != receiver:
            self.cluster.network.cut(sender, receiver)

    @befalls()
    def heal(self):
        self.cluster.heal()

    @rule(span=SPANS)
    def time_passes(self, span):
        self.cluster.run(span)

    @precondition(lambda self: self.cluster.leader() is not None)
    @befalls()
    def another_leads(self):
        leader = self.cluster.leader()
        self.cluster.network.cut_off(leader)
        self.cluster.run(1.5)
        self.cluster.network.heal_all()

    @rule()
    def all_are_equal(self):
        self.cluster.settle()
        contents = [self.content(self.cluster.objects(a)["it"]) for a in self.cluster.addresses]
        assert contents == [self.content(self.model)] * 3

    @staticmethod
    def content(target):
        return list(target)

    def teardown(self):
        if hasattr(self, "cluster"):
            try:
                self.all_are_equal()
            finally:
                self._quiet.__exit__(None, None, None)


def _outcome(function, args):
    try:
        return plain(function(*args))
    except Exception as error:
        return Raised.of(error)


class Counters(OnACluster):
    make, twin = ReplCounter, twins.Counter
    calls: ClassVar = {
        "inc": (), "dec": (), "add": (NUMBERS,), "sub": (NUMBERS,), "set": (NUMBERS,),
        "compare_and_set": (NUMBERS, NUMBERS),
    }  # fmt: skip

    @staticmethod
    def content(target):
        return target.value


class Dicts(OnACluster):
    make, twin = ReplDict, twins.Dict
    calls: ClassVar = {
        "set": (KEYS, VALUES), "delete": (KEYS,), "pop": (KEYS,), "popitem": (), "clear": (),
        "setdefault": (KEYS, VALUES), "compare_and_set": (KEYS, VALUES, VALUES),
        "update": (st.dictionaries(KEYS, VALUES, max_size=3),),
    }  # fmt: skip

    @staticmethod
    def content(target):
        return list(target.items())


class Lists(OnACluster):
    make, twin = ReplList, twins.List
    calls: ClassVar = {
        "append": (VALUES,), "insert": (PLACES, VALUES), "pop": (PLACES,), "remove": (VALUES,),
        "set": (PLACES, VALUES), "delete": (PLACES,), "clear": (), "reverse": (),
        "extend": (st.lists(VALUES, max_size=3),),
    }  # fmt: skip


class Sets(OnACluster):
    make, twin = ReplSet, twins.Set
    calls: ClassVar = {
        "add": (KEYS,), "remove": (KEYS,), "discard": (KEYS,), "pop": (), "clear": (),
        "update": (st.lists(KEYS, max_size=3),),
        "symmetric_difference_update": (st.lists(KEYS, max_size=3),),
    }  # fmt: skip


class Registers(OnACluster):
    make, twin = ReplRegister, valuemodels.Register
    calls: ClassVar = {
        "set": (VALUES,), "compare_and_set": (VALUES, VALUES),
        "set_if_version": (st.integers(0, 4), VALUES),
    }  # fmt: skip

    @staticmethod
    def content(target):
        return target.get_versioned()


class Topics(OnACluster):
    make, twin = staticmethod(lambda: ReplTopic(3)), staticmethod(lambda: topicmodels.Topic(3))
    calls: ClassVar = {
        "publish": (VALUES,), "commit": (NAMES, st.integers(0, 6)), "forget": (NAMES,),
        "trim": (st.integers(0, 6),),
    }  # fmt: skip

    @staticmethod
    def content(target):
        return target.read(), target.next_offset, target.subscribers()


class Limiter(ReplRateLimiter):
    """Keeps what it was asked, when, and what it has answered."""

    def __init__(self):
        super().__init__(5, 1.0, 3)
        self.answers = []

    @replicated
    def ask(self, n, key):
        asked = current_context().time, n, key
        self.answers.append((*asked, self.throttle(n, key=key)))


class Asked:
    def __init__(self):
        self.asked = []

    def ask(self, *args):
        self.asked.append(args)


class Limiters(OnACluster):
    make, twin = Limiter, Asked
    calls: ClassVar = {"ask": (st.integers(1, 3), NAMES)}

    @staticmethod
    def content(target):
        """Return what it was asked; it must have answered as buckets do that never forget."""
        if isinstance(target, Asked):
            return target.asked
        buckets = limitmodels.Buckets(5, 1.0, 3)
        for time, n, key, answer in target.answers:
            buckets.now = round(time * 1_000_000)
            assert buckets.throttle(n, key=key) == answer
        return [(n, key) for _, n, key, _ in target.answers]


class NotedTTLDict(ReplTTLDict):
    """Keeps what was done to it, when, and what it has answered."""

    def __init__(self):
        super().__init__(1.0)
        self.rows = []

    @replicated
    def ask(self, steps):
        for method, args in steps:
            try:
                answer = getattr(self, method)(*args)
            except KeyError:
                answer = "KeyError"
            self.rows.append((current_context().time, (method, args), answer))

    def on_due(self):
        super().on_due()
        self.rows.append((current_context().time, None, list(self)))


class TTLDicts(OnACluster):
    make, twin = NotedTTLDict, Asked
    asked: ClassVar = {
        "set": (KEYS, NUMBERS, st.sampled_from([0.3, 0.5, None, -1])), "delete": (KEYS,),
        "touch": (KEYS, st.sampled_from([0.1, 0.6, None, -1])), "pop": (KEYS,), "popitem": (),
        "setdefault": (KEYS, NUMBERS), "compare_and_set": (KEYS, NUMBERS, NUMBERS), "clear": (),
        "update": (st.dictionaries(KEYS, NUMBERS, max_size=3),),
    }  # fmt: skip
    step = st.one_of(*(st.tuples(st.just(m), st.tuples(*args)) for m, args in asked.items()))
    calls: ClassVar = {"ask": (st.lists(step, min_size=1, max_size=4),)}

    @rule()
    def all_are_equal(self):
        # Without a fault, all that has an end comes to it meanwhile.
        self.cluster.settle()
        self.cluster.run(3.0)
        super().all_are_equal()

    @staticmethod
    def content(target):
        """Return what was asked of it; each key must have ended once it was time, not before."""
        if isinstance(target, Asked):
            return [step for (steps,) in target.asked for step in steps]
        target._check()
        keys, ends = ttlmodels.TTLDict(1.0), {}
        for time, step, answer in target.rows:
            if step is None:
                for key in [key for key, end in ends.items() if end <= time]:
                    del keys[key]
                assert answer == list(keys)
            else:
                method, args = step
                seen = _outcome(getattr(keys, method), args)
                assert answer == ("KeyError" if isinstance(seen, Raised) else seen)
            ends |= {key: time + life for key, life in keys.lives.items()}
            ends = {key: end for key, end in ends.items() if key in keys}
            keys.lives.clear()
        assert list(target.items()) == list(keys.items())
        assert all(end == inf for end in ends.values())
        return [step for _, step, _ in target.rows if step]


class CounterMaps(OnACluster):
    make, twin = ReplCounterMap, valuemodels.CounterMap
    calls: ClassVar = {
        "inc": (KEYS, NUMBERS), "update": (st.lists(KEYS, max_size=3),), "popitem": (),
        "subtract": (st.dictionaries(KEYS, NUMBERS, max_size=3),), "delete": (KEYS,),
        "compare_and_set": (KEYS, st.sampled_from([0, 1]), NUMBERS),
    }  # fmt: skip
    content = staticmethod(Dicts.content)


class Deques(OnACluster):
    make = staticmethod(lambda: ReplDeque(maxlen=3))
    twin = staticmethod(lambda: valuemodels.Deque((), 3))
    calls: ClassVar = {
        "append": (VALUES,), "appendleft": (VALUES,), "pop": (), "popleft": (),
        "extend": (st.lists(VALUES, max_size=3),), "extendleft": (st.lists(VALUES, max_size=3),),
        "rotate": (PLACES,), "insert": (PLACES, VALUES), "delete": (PLACES,), "reverse": (),
    }  # fmt: skip


class MultiDicts(OnACluster):
    make, twin = ReplMultiDict, valuemodels.MultiDict
    calls: ClassVar = {
        "add": (KEYS, VALUES), "set": (KEYS, VALUES), "popone": (KEYS,), "popall": (KEYS,),
        "extend": (st.dictionaries(KEYS, VALUES, max_size=3),), "popitem": (),
        "remove": (KEYS, VALUES),
    }  # fmt: skip

    @staticmethod
    def content(target):
        return target.items()


class SortedDicts(OnACluster):
    make, twin = ReplSortedDict, valuemodels.SortedDict
    calls: ClassVar = {
        "set": (KEYS, VALUES), "setdefault": (KEYS, VALUES), "pop": (KEYS,), "clear": (),
        "popitem": (PLACES,), "delete_range": (PLACES, PLACES),
        "update": (st.dictionaries(KEYS, VALUES, max_size=3),),
    }  # fmt: skip
    content = staticmethod(Dicts.content)


class SortedSets(OnACluster):
    make, twin = ReplSortedSet, valuemodels.SortedSet
    calls: ClassVar = {
        "add": (KEYS,), "discard": (KEYS,), "pop": (PLACES,), "clear": (),
        "update": (st.lists(KEYS, max_size=3),),
        "symmetric_difference_update": (st.lists(KEYS, max_size=3),),
    }  # fmt: skip


class Queues(OnACluster):
    make, twin = staticmethod(lambda: ReplQueue(2)), staticmethod(lambda: twins.Queue(2))
    calls: ClassVar = {"put_nowait": (NUMBERS,), "get_nowait": (), "task_done": ()}

    @staticmethod
    def content(target):
        items = target.items if isinstance(target, twins.Queue) else target._items
        return list(items), target.unfinished_tasks


class PriorityQueues(Queues):
    make, twin = ReplPriorityQueue, twins.PriorityQueue

    @staticmethod
    def content(target):
        if isinstance(target, twins.Queue):
            return list(target.items), target.unfinished_tasks
        return list(reversed(target._items)), target.unfinished_tasks


class WaitingQueues(RuleBasedStateMachine):
    """Gets that wait, on a cluster: each item goes to who waits longest, through any failover."""

    @initialize(seed=st.integers(0, 2**16))
    def start(self, seed):
        self.cluster = Simulation(seed, {"it": ReplQueue}, session_ttl=1000.0)
        self.cluster.start()
        self.cluster.run(2.0)
        self.waiting = deque()
        self.items = deque()
        self.next = 0

    @rule(node=NODES)
    def get(self, node):
        future = self.cluster.objects(node)["it"].get.submit()
        self._deliver()
        if self.items:
            self.cluster.run_until(future.done)
            assert future.result() == self.items.popleft()
        else:
            self.cluster.run_until(lambda: self._is_parked(node, future))
            self.waiting.append(future)

    def _is_parked(self, node, future):
        """Whether every member knows that it waits."""
        lives = self.cluster.lives()
        return all(
            len(life.consumers["it"]._getters) == len(self.waiting) + 1 for life in lives
        )

    @rule(node=NODES)
    def put(self, node):
        self.next += 1
        put = self.cluster.objects(node)["it"].put.submit(self.next)
        self.cluster.run_until(put.done)
        put.result()
        self.items.append(self.next)
        self._deliver()

    def _deliver(self):
        while self.items and self.waiting:
            served = self.waiting.popleft()
            self.cluster.run_until(served.done)
            assert served.result() == self.items.popleft()

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 10))
    def give_up(self, which):
        place = which % len(self.waiting)
        future = self.waiting[place]
        del self.waiting[place]
        assert future.cancel()
        self.cluster.run_until(
            lambda: all(
                len(life.consumers["it"]._getters) == len(self.waiting)
                for life in self.cluster.lives()
            )
        )

    @precondition(lambda self: self.cluster.leader() is not None)
    @rule()
    def another_leads(self):
        leader = self.cluster.leader()
        self.cluster.network.cut_off(leader)
        self.cluster.run(1.5)
        self.cluster.network.heal_all()
        self.cluster.run(1.0)

    @rule(node=NODES, span=SPANS)
    def pause(self, node, span):
        self.cluster.hosts[node].pause(self.cluster.now + span)


# Without the phase that explains, which traces every line of the engine.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
_FEW = settings(max_examples=12, stateful_step_count=20, deadline=None, phases=_PHASES)

for _machine in (
    CounterMaps, Counters, Deques, Dicts, Limiters, Lists, MultiDicts, PriorityQueues, Queues,
    Registers, Sets, SortedDicts, SortedSets, Topics, TTLDicts, WaitingQueues,
):  # fmt: skip
    _machine.TestCase.settings = _FEW

TestCounters = Counters.TestCase
TestDicts = Dicts.TestCase
TestLists = Lists.TestCase
TestSets = Sets.TestCase
TestCounterMaps = CounterMaps.TestCase
TestDeques = Deques.TestCase
TestMultiDicts = MultiDicts.TestCase
TestRegisters = Registers.TestCase
TestLimiters = Limiters.TestCase
TestTopics = Topics.TestCase
TestTTLDicts = TTLDicts.TestCase
TestSortedDicts = SortedDicts.TestCase
TestSortedSets = SortedSets.TestCase
TestQueues = Queues.TestCase
TestPriorityQueues = PriorityQueues.TestCase
TestWaitingQueues = WaitingQueues.TestCase
