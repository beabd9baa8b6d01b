"""`ComingAndGoing`: an object on a simulated cluster whose nodes come and go, against a model.

For stateful tests of what belongs to the session of a node. A node that is away for long has lost
its session when it is back; one that has died or was restarted has forgotten its wishes as well.
"""

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from syncstructs.testing.runs import quietly
from syncstructs.testing.simulator import Simulation

ADDRESSES = ["n1:1", "n2:1", "n3:1"]
NODES = st.sampled_from(ADDRESSES)
SPANS = st.floats(0.001, 1.0)
VALUES = st.integers(0, 3)
SESSION_TTL = 3.0


class ComingAndGoing(RuleBasedStateMachine):
    """An object on three members; what it is to say, a subclass knows."""

    make = None

    @initialize(seed=st.integers(0, 2**16), every=st.sampled_from([4, 100_000]))
    def start(self, seed, every):
        self._quiet = quietly()
        self._quiet.__enter__()
        self.cluster = Simulation(
            seed, {"it": type(self).make}, snapshot_log_entries=every, log_keep_bytes=1,
            session_ttl=SESSION_TTL,
        )  # fmt: skip
        self.cluster.start()
        self.cluster.run(2.0)
        self.present = list(ADDRESSES)
        self.faults_end = 0.0
        self.begin()

    def begin(self):
        """Set up what is expected of the object."""

    def at(self, node):
        return self.cluster.objects(node)["it"]

    def call(self, node, method, *args, **kwargs):
        """Call and return the result, or the class of what it raised."""
        return self.end_of(getattr(self.at(node), method).submit(*args, **kwargs))

    def end_of(self, future):
        self.cluster.run_until(future.done)
        error = future.exception()
        return future.result() if error is None else type(error)

    def time_passes(self, seconds):
        self.cluster.run(seconds)

    @rule(node=NODES, dies=st.booleans(), value=VALUES)
    def is_away_for_long(self, node, dies, value):
        self.calm_down()
        self.happens_before(node, value)
        if dies:
            self.cluster.crash(node)
        else:
            self.cluster.network.cut_off(node)
        self.time_passes(3 * SESSION_TTL)
        self.has_gone(node)
        self.present.remove(node)
        self.happens_meanwhile(self.present[value % 2], value)
        self.all_agree()
        self.present = list(ADDRESSES)
        self.cluster.settle()
        if not dies:
            self.is_back(node)
        self.all_agree()

    @rule(node=NODES)
    def starts_anew(self, node):
        """Restart it before its session expires, which ends by that: it has no wishes any more."""
        self.cluster.settle()
        self.cluster.crash(node)
        self.cluster.start(node)
        self.has_gone(node)
        self.cluster.settle()
        self.all_agree()

    def happens_before(self, node, value):
        """Let it make the last calls before it goes."""

    def has_gone(self, node):
        """Expect that its session has expired."""

    def happens_meanwhile(self, node, value):
        """Let another node make calls that it hears of later, maybe in a snapshot."""

    def is_back(self, node):
        """Expect that a node whose session had expired wants what it wanted before."""

    @rule(node=NODES, span=SPANS, how=st.sampled_from(["pause", "cut_off", "another_leads"]))
    def is_disturbed(self, node, span, how):
        """Let it pause or be cut off, so that what follows meets that; or let another one lead."""
        self.calm_down()
        cluster = self.cluster
        self.faults_end = cluster.now + span
        if how == "pause":
            cluster.hosts[node].pause(self.faults_end)
            return
        cluster.network.cut_off(node if how == "cut_off" else cluster.leader())
        if how == "another_leads":
            cluster.run(1.0)
            cluster.network.heal_all()
            self.all_agree()
        else:
            cluster.schedule.at(self.faults_end, cluster.network.heal_all)

    def calm_down(self):
        """Wait until no fault goes on: several one after the other would cost a session."""
        self.cluster.run(max(0.0, self.faults_end - self.cluster.now))
        ports = [self.at(node)._port for node in self.present]
        self.cluster.run_until(lambda: self.cluster.leader() is not None and all(
            port.sure_until() - port.now() > 0.85 * SESSION_TTL for port in ports
        ))  # fmt: skip

    def all_agree(self):
        """See that all members that are present come to say what is expected, for good."""
        self.cluster.run_until(lambda: all(self.is_right(self.at(node)) for node in self.present))
        self.cluster.run(0.5)
        for node in self.present:
            assert self.is_right(self.at(node)), (node, self.at(node))
            self.at(node)._check()

    def is_right(self, target):
        raise NotImplementedError

    def teardown(self):
        if hasattr(self, "cluster"):
            try:
                self.cluster.settle()
                self.all_agree()
            finally:
                self._quiet.__exit__(None, None, None)


def few(max_examples, stateful_step_count):
    """Return settings for a test that is to be quick."""
    # Without the phase that explains, which traces every line of the engine.
    phases = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
    return settings(
        max_examples=max_examples, stateful_step_count=stateful_step_count, deadline=None,
        phases=phases,
    )  # fmt: skip
