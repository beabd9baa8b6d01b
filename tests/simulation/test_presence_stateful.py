"""Who is there and who leads, on a simulated cluster: as nodes come and go, for short and for long.

Hypothesis draws who joins, campaigns and gives up, and what befalls the cluster in between. A node
that is away for long has lost its session when it is back, one that has died its wishes, too.
"""

import hypothesis.strategies as st
from hypothesis import Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from syncstructs import ReplElection, ReplGroup
from syncstructs.errors import LockLost, NotOwner
from syncstructs.testing.runs import quietly
from syncstructs.testing.simulator import Simulation

ADDRESSES = ["n1:1", "n2:1", "n3:1"]
NODES = st.sampled_from(ADDRESSES)
SPANS = st.floats(0.001, 1.5)
VALUES = st.integers(0, 3)
SESSION_TTL = 3.0


class OnACluster(RuleBasedStateMachine):
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
        self.begin()

    def begin(self):
        """Set up what is expected of the object."""

    def at(self, node):
        return self.cluster.objects(node)["it"]

    def call(self, node, method, *args, **kwargs):
        """Call and return the result, or the class of what it raised."""
        future = getattr(self.at(node), method).submit(*args, **kwargs)
        self.cluster.run_until(future.done)
        error = future.exception()
        return future.result() if error is None else type(error)

    @rule(node=NODES, dies=st.booleans(), value=VALUES)
    def is_away_for_long(self, node, dies, value):
        self.happens_before(node, value)
        if dies:
            self.cluster.crash(node)
        else:
            self.cluster.network.cut_off(node)
        self.cluster.run(3 * SESSION_TTL)
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

    @precondition(lambda self: self.cluster.leader() is not None)
    @rule()
    def another_leads_the_log(self):
        self.cluster.network.cut_off(self.cluster.leader())
        self.cluster.run(1.0)
        self.cluster.network.heal_all()
        self.all_agree()

    @rule(node=NODES, span=SPANS)
    def pause(self, node, span):
        self.cluster.hosts[node].pause(self.cluster.now + span)

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


class Counting(ReplGroup):
    """A group beside what its callbacks have told."""

    LOCAL = frozenset({"told"})

    def __init__(self):
        self.told = []
        super().__init__(
            on_join=lambda address, metadata: self.told.append(address),
            on_leave=lambda address, metadata: self.told.remove(address),
        )


class Groups(OnACluster):
    make = Counting

    def begin(self):
        self.expected = {}

    @rule(node=NODES, metadata=VALUES)
    def join(self, node, metadata):
        assert self.call(node, "join", metadata) is (node not in self.expected)
        self.expected[node] = metadata

    @rule(node=NODES, metadata=VALUES)
    def update(self, node, metadata):
        if node in self.expected:
            assert self.call(node, "update", metadata) is None
            self.expected[node] = metadata
        else:
            assert self.call(node, "update", metadata) is NotOwner

    @rule(node=NODES)
    def leave(self, node):
        assert self.call(node, "leave") is (node in self.expected)
        self.expected.pop(node, None)

    def happens_before(self, node, value):
        self.update(node, value)

    def has_gone(self, node):
        self.before = self.expected.pop(node, None)

    def happens_meanwhile(self, node, value):
        self.update(node, value)
        self.leave(node)
        if value > 1:
            self.join(node, value)

    def is_back(self, node):
        if self.before is not None:
            self.expected[node] = self.before

    def is_right(self, group):
        assert sorted(group.told) == sorted(group.members), "each is told exactly once"
        return list(group.members.items()) == list(self.expected.items())


class Elections(OnACluster):
    make = ReplElection

    def begin(self):
        # Who leads, and then who waits in this order: node, value, and the campaign.
        self.line = []
        self.lost = set()
        self.led_last, self.token = None, 0

    @rule(node=NODES, value=VALUES)
    def campaign(self, node, value):
        self.line.append([node, value, self.at(node).campaign.submit(value=value)])
        self.lost.discard(node)
        self.all_agree()

    @rule(node=NODES)
    def resign(self, node):
        leads = bool(self.line) and self.line[0][0] == node
        if leads:
            del self.line[0]
            assert self.call(node, "resign") is None
        else:
            # Who has lost the leadership is told so, once.
            assert self.call(node, "resign") is (LockLost if node in self.lost else NotOwner)
        self.lost.discard(node)
        self.all_agree()

    @rule(node=NODES, value=VALUES)
    def proclaim(self, node, value):
        if self.line and self.line[0][0] == node:
            self.line[0][1] = value
            assert self.call(node, "proclaim", value) is None
            self.all_agree()
        else:
            assert self.call(node, "proclaim", value) is LockLost

    @precondition(lambda self: len(self.line) > 1)
    @rule(which=st.integers(1, 10))
    def give_up(self, which):
        _, _, campaign = self.line.pop(1 + which % (len(self.line) - 1))
        assert campaign.cancel()
        self.all_agree()

    def has_gone(self, node):
        leads = bool(self.line) and self.line[0][0] == node
        self.waited = [row for row in self.line[leads:] if row[0] == node]
        self.led = leads
        self.line = [row for row in self.line if row[0] != node]
        self.lost.discard(node)

    def happens_meanwhile(self, node, value):
        self.proclaim(node, value)
        self.resign(node)

    def is_back(self, node):
        if self.led:
            self.lost.add(node)
        self.line.extend(self.waited)

    def all_agree(self):
        super().all_agree()
        if self.line:
            token = self.at(self.present[0]).leader.token
            assert token == self.token if self.line[0] is self.led_last else token > self.token
            self.led_last, self.token = self.line[0], token

    def is_right(self, election):
        leading = [node for node in self.cluster.up if self.at(node).is_leader]
        assert len(leading) <= 1, leading
        if not self.line:
            return election.leader is None and not leading
        first, value, campaign = self.line[0]
        return (
            election.leader is not None
            and [election.leader.address, *election.candidates] == [row[0] for row in self.line]
            and election.leader.value == value
            and campaign.done()
            and leading == [first]
        )


# Without the phase that explains, which traces every line of the engine.
_PHASES = (Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
_FEW = settings(max_examples=6, stateful_step_count=12, deadline=None, phases=_PHASES)

for _machine in (Elections, Groups):
    _machine.TestCase.settings = _FEW

TestElections = Elections.TestCase
TestGroups = Groups.TestCase
