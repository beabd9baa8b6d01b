"""Who is there and who leads, on a simulated cluster: as nodes come and go, for short and for long.

Hypothesis draws who joins, campaigns and gives up, and what befalls the cluster in between. A node
that is away for long has lost its session when it is back, one that has died its wishes, too.
"""

import hypothesis.strategies as st
from coming_and_going import NODES, VALUES, ComingAndGoing, few
from hypothesis.stateful import precondition, rule

from syncstructs import ReplElection, ReplGroup
from syncstructs.errors import LockLost, NotOwner


class Counting(ReplGroup):
    """A group beside what its callbacks have told."""

    LOCAL = frozenset({"told"})

    def __init__(self):
        self.told = []
        super().__init__(
            on_join=lambda address, metadata: self.told.append(address),
            on_leave=lambda address, metadata: self.told.remove(address),
        )


class Groups(ComingAndGoing):
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


class Elections(ComingAndGoing):
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


for _machine in (Elections, Groups):
    _machine.TestCase.settings = few(6, 12)

TestElections = Elections.TestCase
TestGroups = Groups.TestCase
