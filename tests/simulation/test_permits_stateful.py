"""Who holds permits and who waits for them, on a simulated cluster, as nodes come and go.

Hypothesis draws which thread of which node asks, gives back and gives up, and what befalls the
cluster in between. The model is one line of those who wait, and a list of those who hold.
"""

from dataclasses import dataclass
from typing import Any

import hypothesis.strategies as st
from coming_and_going import NODES, ComingAndGoing, few
from hypothesis.stateful import precondition, rule

from syncstructs import ReplLock, ReplLockManager, ReplRLock, ReplRWLock, ReplSemaphore
from syncstructs.errors import LockLost, NotOwner
from syncstructs.objects.port import in_place_of

CALLERS = ["a", "b"]
KINDS = [None]


@dataclass(eq=False)
class Ask:
    """Who asks for a permit, waits for it, and holds it; `depth`: how often it has acquired it."""

    node: str
    caller: str
    kind: str | None
    future: Any
    depth: int = 1
    token: int = 0
    is_anew: bool = False
    """Whether its node came back, and had it wait anew."""

    def is_of(self, node, kind, caller=None):
        return (self.node, self.kind) == (node, kind) and caller in (None, self.caller)


class Permits(ComingAndGoing):
    """Permits of some kinds; which go together, a subclass says."""

    kinds = KINDS

    def begin(self):
        # In order of arrival; in the order in which they were granted; and what no release told.
        self.line, self.held, self.lost = [], [], []
        self.greatest = {}

    def admits(self, kind):
        raise NotImplementedError

    def handle(self, node, kind):
        return self.at(node)

    def by(self, node, caller, function, *args, **kwargs):
        """Call as that thread of the node."""
        results = []
        in_place_of((node, caller), lambda: results.append(function(*args, **kwargs)))
        return results[0]

    def serve(self):
        while self.line and self.admits(self.line[0].kind):
            self.held.append(self.line.pop(0))

    @rule(
        node=NODES, callers=st.lists(st.sampled_from(CALLERS), min_size=1, max_size=4),
        kind=st.data(), how=st.sampled_from([{}, {}, {}, {"blocking": False}, {"timeout": 0.2}]),
    )  # fmt: skip
    def acquire(self, node, callers, kind, how):
        for caller in callers:
            self.ask(node, caller, kind.draw(st.sampled_from(self.kinds)), how)
            self.all_agree()

    def ask(self, node, caller, kind, how):
        if "timeout" in how:
            self.calm_down()
        future = self.by(node, caller, self.handle(node, kind).acquire.submit, **how)
        asked = Ask(node, caller, kind, future)
        self.line.append(asked)
        self.serve()
        if how and asked in self.line:
            self.line.remove(asked)
            assert self.end_of(future) is False
            self.serve()

    @rule(node=NODES, caller=st.sampled_from(CALLERS), kind=st.data())
    def release(self, node, caller, kind):
        self.give_back(node, caller, kind.draw(st.sampled_from(self.kinds)))
        self.all_agree()

    def give_back(self, node, caller, kind):
        expected = self.freed(node, caller, kind)
        future = self.by(node, caller, self.handle(node, kind).release.submit)
        assert self.end_of(future) is expected
        self.serve()

    def freed(self, node, caller, kind):
        """Take out what a release gives back; return how that ends."""
        found = self.found(node, caller, kind)
        if found is not None:
            self.held.remove(found)
            return None
        lost = self.newest(self.lost, node, caller, kind)
        if lost is not None:
            self.lost.remove(lost)
            return LockLost
        return NotOwner

    def found(self, node, caller, kind):
        """Return what a release gives back; who was not told of a loss has nothing of others."""
        found = self.newest(self.held, node, caller, kind)
        is_own = found is None or found.caller == caller
        if not is_own and any(lost.is_of(node, kind, caller) for lost in self.lost):
            return None
        return found

    def newest(self, asks, node, caller, kind):
        """Return the newest of the caller's, or else of the node's."""
        of_node = [ask for ask in asks if ask.is_of(node, kind)]
        own = [ask for ask in of_node if ask.caller == caller]
        return next(reversed(own or of_node), None)

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 10))
    def give_up(self, which):
        assert self.line.pop(which % len(self.line)).future.cancel()
        self.serve()
        self.all_agree()

    def has_gone(self, node):
        self.gone = [[ask for ask in asks if ask.node == node] for asks in self.all_asks()]
        for asks in self.all_asks():
            asks[:] = [ask for ask in asks if ask.node != node]
        self.serve()

    def all_asks(self):
        return self.line, self.held, self.lost

    def happens_meanwhile(self, node, value):
        self.give_back(node, CALLERS[value % 2], self.kinds[-1])
        self.ask(node, CALLERS[value // 2], self.kinds[0], {})

    def is_back(self, node):
        line, held, lost = self.gone
        anew = {(ask.caller, ask.kind) for ask in held}
        self.lost += [ask for ask in lost if (ask.caller, ask.kind) not in anew] + held
        self.line += line
        for ask in line:
            ask.is_anew = True
        self.serve()

    def all_agree(self):
        super().all_agree()
        for ask, token in zip(self.held, self.tokens(self.at(self.present[0])), strict=True):
            if not ask.token:
                scope = self.scope(ask.kind)
                assert token > self.greatest.get(scope, 0)
                ask.token = self.greatest[scope] = token
            assert ask.token == token
        for node in self.present:
            for caller in CALLERS:
                for kind in self.kinds:
                    self.knows_what_it_holds(node, caller, kind)

    def knows_what_it_holds(self, node, caller, kind):
        found, handle = self.found(node, caller, kind), self.handle(node, kind)
        expected = (None, False) if found is None else (found.token, True)
        assert self.by(node, caller, lambda: (handle.token, handle.held)) == expected

    def scope(self, kind):
        """Return among what each token is greater than those before."""
        return None

    def tokens(self, target):
        return list(target._holders)

    def take_turns(self):
        """Let those that a node began to wait for anew be served in any order.

        What it was granted before it was sure of its session is given back, to be asked for behind
        the others: see `_granted` in `structs/holding.py`.
        """
        for at, ask in enumerate(self.held):
            for place, other in enumerate(self.line):
                if (
                    ask.is_anew and other.is_anew
                    and (ask.node, ask.kind) == (other.node, other.kind)
                    and not ask.future.done() and other.future.done()
                ):  # fmt: skip
                    self.held[at], self.line[place] = other, ask
                    break

    def is_right(self, target):
        self.take_turns()
        return (
            self.holders(target) == self.rows(self.held)
            and [(row[0], self.kind_of(row[3])) for row in target._waiters.state()]
            == self.rows(self.line)
            and all(ask.future.done() and ask.future.result() is True for ask in self.held)
            and not any(ask.future.done() for ask in self.line)
        )

    def holders(self, target):
        return [(session, kind) for session, _, kind in target._holders.values()]

    def kind_of(self, payload):
        return payload[1]

    def rows(self, asks):
        return [(self.at(ask.node)._port.session, ask.kind) for ask in asks]


class Semaphores(Permits):
    @staticmethod
    def make():
        return ReplSemaphore(3)

    def admits(self, kind):
        return len(self.held) < 3

    @rule(node=NODES, caller=st.sampled_from(CALLERS), n=st.integers(2, 4))
    def release_many(self, node, caller, n):
        """Give back all of them, or none; but of a loss it is told."""
        before = list(self.held)
        end = None
        for _ in range(n):
            end = end or self.freed(node, caller, None)
        if end:
            self.held[:] = before
        assert self.end_of(self.by(node, caller, self.at(node).release.submit, n)) is end
        self.serve()
        self.all_agree()

    def is_right(self, target):
        waited_for = bool(self.line) or len(self.held) == 3
        assert 0 <= target.available <= target.value == 3
        return super().is_right(target) and (target.available, target.locked()) == (
            3 - len(self.held), waited_for,
        )  # fmt: skip


class ReadersAndWriters(Permits):
    make = ReplRWLock
    kinds = ("read", "write")

    def handle(self, node, kind):
        return self.at(node).reader if kind == "read" else self.at(node).writer

    def admits(self, kind):
        return not self.held or {kind, *(ask.kind for ask in self.held)} == {"read"}

    def ask(self, node, caller, kind, how):
        other = "read" if kind == "write" else "write"
        if any(ask.is_of(node, other, caller) for ask in self.held):
            future = self.by(node, caller, self.handle(node, kind).acquire.submit, **how)
            assert self.end_of(future) is RuntimeError
        else:
            super().ask(node, caller, kind, how)

    def is_right(self, target):
        kinds = [ask.kind for ask in self.held]
        locked = [target.reader.locked(), target.writer.locked()]
        return (
            super().is_right(target)
            and target.readers == kinds.count("read")
            and locked == [kind in kinds for kind in self.kinds]
        )


class Locks(Permits):
    """A lock for each kind."""

    make = ReplLock

    def admits(self, kind):
        return kind not in [ask.kind for ask in self.held]

    def is_back(self, node):
        # If a snapshot hides that a wait was served, it begins anew, behind the node's others.
        self.cluster.run(1.0)
        line = self.gone[0]
        for kind in self.kinds:
            while any(ask.future.done() for ask in line if ask.kind == kind):
                first = next(ask for ask in line if ask.kind == kind)
                if first.future.done():
                    break
                line.remove(first)
                line.append(first)
        super().is_back(node)

    def holders(self, target):
        return [(session, key) for key, (session, _, _) in target._holders.items()]

    def tokens(self, target):
        return [token for _, _, token in target._holders.values()]

    def kind_of(self, payload):
        return payload

    def is_right(self, target):
        return super().is_right(target) and self.is_locked(target) is bool(self.held)

    def is_locked(self, target):
        return target.locked()


class RLocks(Locks):
    """A lock that its owner, and nobody else, acquires and releases as often as it likes."""

    make = ReplRLock

    def ask(self, node, caller, kind, how):
        if any(ask.is_of(node, kind, caller) for ask in self.line):
            return  # A thread waits for one thing at a time.
        found = self.found(node, caller, kind)
        lost = self.newest(self.lost, node, caller, kind)
        if found is None and lost is None:
            super().ask(node, caller, kind, how)
            return
        future = self.by(node, caller, self.at(node).acquire.submit, **how)
        assert future.done(), "it asks nobody"
        assert self.end_of(future) is (LockLost if found is None else True)
        if found is not None:
            found.depth += 1

    def freed(self, node, caller, kind):
        found = self.found(node, caller, kind) or self.newest(self.lost, node, caller, kind)
        if found is None:
            return NotOwner
        found.depth -= 1
        end = None if found in self.held else LockLost
        if not found.depth:
            (self.lost if end else self.held).remove(found)
        return end

    def newest(self, asks, node, caller, kind):
        return next((ask for ask in asks if ask.is_of(node, kind, caller)), None)


class LockManagers(Locks):
    """Locks by key, each with a line of its own; those that are held stand in the order of keys."""

    make = ReplLockManager
    kinds = ("printer", "scanner")

    def handle(self, node, kind):
        return self.at(node)[kind]

    def serve(self):
        for ask in list(self.line):
            if self.admits(ask.kind):
                self.line.remove(ask)
                self.held.append(ask)
        self.held.sort(key=lambda ask: ask.kind)

    def scope(self, kind):
        return kind

    def holders(self, target):
        return sorted(super().holders(target), key=lambda row: row[1])

    def tokens(self, target):
        return [holder.token for _, holder in sorted(target.holders().items())]

    def is_locked(self, target):
        return target.keys() != []


for _machine in (LockManagers, Locks, ReadersAndWriters, RLocks, Semaphores):
    _machine.TestCase.settings = few(5, 20)

TestLockManagers = LockManagers.TestCase
TestLocks = Locks.TestCase
TestReadersAndWriters = ReadersAndWriters.TestCase
TestRLocks = RLocks.TestCase
TestSemaphores = Semaphores.TestCase
