"""Callers that wait for each other on a simulated cluster: who passes, and when, over failovers.

Hypothesis draws who waits where, who gives up, and what befalls the cluster in between.
"""

from threading import BrokenBarrierError

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from syncstructs import ReplBarrier, ReplCondition, ReplEvent, ReplLatch, ReplOnce
from syncstructs.testing.runs import quietly
from syncstructs.testing.simulator import Simulation

NODES = st.sampled_from(["n1:1", "n2:1", "n3:1"])
SPANS = st.floats(0.001, 1.5)


class OnACluster(RuleBasedStateMachine):
    """An object on three members, and those who wait at it, in the order in which they came."""

    make = None

    @initialize(seed=st.integers(0, 2**16), every=st.sampled_from([4, 100_000]))
    def start(self, seed, every):
        self._quiet = quietly()
        self._quiet.__enter__()
        self.cluster = Simulation(
            seed, {"it": type(self).make}, snapshot_log_entries=every, session_ttl=1000.0
        )
        self.cluster.start()
        self.cluster.run(2.0)
        self.waiting = []

    def call(self, node, method, *args):
        """Call and return the result, or the class of what it raised."""
        future = getattr(self.cluster.objects(node)["it"], method).submit(*args)
        return self.end_of(future)

    def end_of(self, future):
        self.cluster.run_until(future.done)
        error = future.exception()
        return future.result() if error is None else type(error)

    def all_pass(self):
        """Return how those ended who have waited, in the order in which they came."""
        passed, self.waiting = self.waiting, []
        return [self.end_of(future) for future in passed]

    def come(self, node):
        """Begin to wait, until all members know of it."""
        future = self.cluster.objects(node)["it"].wait.submit()
        self.waiting.append(future)
        self.all_know()

    def all_know(self):
        lives = self.cluster.lives
        self.cluster.run_until(lambda: all(
            len(life.consumers["it"]._waiters) == len(self.waiting) for life in lives()
        ))  # fmt: skip
        assert not any(future.done() for future in self.waiting)

    @precondition(lambda self: self.waiting)
    @rule(which=st.integers(0, 10))
    def give_up(self, which):
        future = self.waiting.pop(which % len(self.waiting))
        assert future.cancel()
        self.gave_up()
        self.all_know()

    def gave_up(self):
        """See to what it means for the others that one has given up."""

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

    def teardown(self):
        if hasattr(self, "cluster"):
            try:
                self.cluster.settle()
                self.all_know()
            finally:
                self._quiet.__exit__(None, None, None)


class Events(OnACluster):
    make = ReplEvent

    @initialize()
    def begin(self):
        self.flag = False

    @rule(node=NODES)
    def wait(self, node):
        if self.flag:
            assert self.call(node, "wait") is True
        else:
            self.come(node)

    @rule(node=NODES, clear_at_once=st.booleans())
    def set(self, node, clear_at_once):
        assert self.call(node, "set") is None
        self.flag = True
        if clear_at_once:
            self.clear(node)
        assert set(self.all_pass()) <= {True}

    @rule(node=NODES)
    def clear(self, node):
        self.call(node, "clear")
        self.flag = False
        # Or a member that does not know yet would let pass who waits there.
        self.cluster.settle()


class Latches(OnACluster):
    make = staticmethod(lambda: ReplLatch(5))
    count = 5

    @rule(node=NODES)
    def wait(self, node):
        if self.count:
            self.come(node)
        else:
            assert self.call(node, "wait") is True

    @rule(node=NODES, n=st.integers(0, 2))
    def count_down(self, node, n):
        self.count = max(0, self.count - n)
        assert self.call(node, "count_down", n) == self.count
        if not self.count:
            assert set(self.all_pass()) <= {True}


class Barriers(OnACluster):
    make = staticmethod(lambda: ReplBarrier(3))
    broken = False

    @rule(node=NODES)
    def wait(self, node):
        if self.broken:
            assert self.call(node, "wait") is BrokenBarrierError
        elif len(self.waiting) < 2:
            self.come(node)
        else:
            assert self.call(node, "wait") == 2
            assert self.all_pass() == [0, 1]

    @rule(node=NODES, method=st.sampled_from(["abort", "reset"]))
    def break_or_mend(self, node, method):
        self.call(node, method)
        self.broken = method == "abort"
        assert set(self.all_pass()) <= {BrokenBarrierError}

    def gave_up(self):
        self.broken = True
        assert set(self.all_pass()) <= {BrokenBarrierError}


class Onces(OnACluster):
    make = ReplOnce
    token = None
    result = None

    @rule(node=NODES)
    def begin(self, node):
        if self.result is not None:
            assert self.call(node, "_begin", None) == (True, self.result, 0)
        elif self.token is None:
            _, _, self.token = self.call(node, "_begin", None)
        else:
            self.waiting.append(self.cluster.objects(node)["it"]._begin.submit(None))
            self.all_know()

    @precondition(lambda self: self.token is not None)
    @rule(node=NODES)
    def fail(self, node):
        before, self.token = self.token, None
        self.call(node, "_fail", before)
        if self.waiting:
            done, _, self.token = self.end_of(self.waiting.pop(0))
            assert not done
            assert self.token > before
        assert self.call(node, "_finish", before, 0) is False, "it is too late"

    @precondition(lambda self: self.token is not None)
    @rule(node=NODES, result=st.integers())
    def finish(self, node, result):
        assert self.call(node, "_finish", self.token, result) is True
        self.token, self.result = None, result
        assert set(self.all_pass()) <= {(True, result, 0)}


class Conditions(OnACluster):
    make = ReplCondition

    @initialize()
    def begin(self):
        self.holder = None
        self.asleep, self.line, self.notified = [], [], []

    def all_know(self):
        self.cluster.run_until(lambda: all(
            (len(it._sleepers), len(it._waiters)) == (len(self.asleep), len(self.line))
            for it in (life.consumers["it"] for life in self.cluster.lives())
        ))  # fmt: skip
        assert not any(future.done() for _, future in self.asleep + self.line)

    def passes(self):
        """The lock goes to the first in the line, if there is one."""
        self.holder = None
        if self.line:
            self.holder, future = self.line.pop(0)
            assert self.end_of(future) is True
        self.all_know()

    def wake(self, n):
        woken, self.asleep = self.asleep[:n], self.asleep[n:]
        self.line += woken
        self.notified += [future for _, future in woken]

    @rule(node=NODES)
    def acquire(self, node):
        future = self.cluster.objects(node)["it"].acquire.submit()
        if self.holder is None:
            self.holder = node
            assert self.end_of(future) is True
        else:
            self.line.append((node, future))
        self.all_know()

    @precondition(lambda self: self.holder)
    @rule()
    def release(self):
        assert self.call(self.holder, "release") is None
        self.passes()

    @precondition(lambda self: self.holder)
    @rule()
    def sleep(self):
        self.asleep.append((self.holder, self.cluster.objects(self.holder)["it"].wait.submit()))
        self.passes()

    @precondition(lambda self: self.holder)
    @rule(n=st.integers(0, 3), everybody=st.booleans())
    def notify(self, n, everybody):
        if everybody:
            self.call(self.holder, "notify_all")
        else:
            self.call(self.holder, "notify", n)
        self.wake(len(self.asleep) if everybody else n)
        self.all_know()

    @precondition(lambda self: self.asleep + self.line)
    @rule(which=st.integers(0, 10))
    def give_up(self, which):
        everybody = self.asleep + self.line
        gone = everybody[which % len(everybody)]
        assert gone[1].cancel()
        for line in (self.asleep, self.line):
            line[:] = [one for one in line if one is not gone]
        if gone[1] in self.notified:
            self.wake(1)
        self.all_know()


# Without the phase that explains, which traces every line of the engine.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
_FEW = settings(max_examples=10, stateful_step_count=20, deadline=None, phases=_PHASES)

for _machine in (Barriers, Conditions, Events, Latches, Onces):
    _machine.TestCase.settings = _FEW

TestBarriers = Barriers.TestCase
TestConditions = Conditions.TestCase
TestEvents = Events.TestCase
TestLatches = Latches.TestCase
TestOnces = Onces.TestCase
