"""A cluster without faults beside one plain copy of the class: each call is made on both."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from math import inf
from typing import Any

from ..codec import decode
from ..objects.image import encode_state
from .callers import OBJECT, Caller
from .class_runs import Judge
from .history import NOT_APPLIED, UNKNOWN, History
from .runs import quietly
from .simulator import Simulation
from .subjects import Copy, Made, Subject, encoding, listed
from .violation import Violation


class QuietCluster:
    """Members that are called one after the other; every call must do what it does on the copy."""

    def __init__(self, subject: Subject, nodes: int) -> None:
        self.subject = subject
        self.history = History()
        self.made: list[Made] = []
        self.simulation = Simulation(
            0, {OBJECT: subject.make}, size=nodes, version=subject.version
        )
        self.judge = Judge(subject, self.simulation, lambda: 0.0)
        self._watching = ExitStack()
        # From the start: a member looks up the commands of an object when that is attached.
        self._watching.enter_context(self.judge.watching())
        try:
            self._run(self.simulation.start)
            self._run(self.simulation.settle)
        except BaseException:
            self._watching.close()
            raise
        # The members have agreed on the state of one of them; so does the copy.
        self.copy = Copy(subject, self._state(self.simulation.addresses[0]))

    def make(self, member: int, made: Made) -> None:
        """Make a call on a member and on the copy, and compare.

        Raises:
            Violation: result or state differ, or the invariant does not hold.
        """
        self.made.append(made)
        try:
            self._make(member, made)
        except Violation as violation:
            violation.add_note(f"the calls:\n{listed(self.made)}")
            raise

    def _make(self, member: int, made: Made) -> None:
        simulation = self.simulation
        address = simulation.addresses[member]
        before = len(self.judge.applied)
        planned = [(0.0, (member + 0.5) / len(simulation.addresses), made)]
        caller = Caller("test", simulation, self.subject, self.history, planned)
        try:
            self._run(lambda: simulation.run_until(lambda: caller.is_done))
        except BaseException:
            for attempt in caller.attempts:
                if attempt.thread is not None:
                    attempt.thread.abandon()
            raise
        op = list(self.history)[-1]
        parked = op.outcome is UNKNOWN and self.judge.parked
        if (op.outcome in (UNKNOWN, NOT_APPLIED) or op.end == inf) and not parked:
            raise Violation(f"{op} did not end well on a quiet cluster")
        serials = list(self.judge.applied)[before:]
        self.copy.moments.extend(self.judge.applied[serial].moment for serial in serials)
        expected = self.copy.make(made)
        self.copy.moments.clear()
        if not parked and encoding(expected) != encoding(op.outcome):
            raise Violation(f"{address}: {op}, but a plain copy gives {expected!r}")
        self._compare(address, made)

    def close(self, *, compare: bool = True) -> None:
        """Compare all members with each other and with the copy, and end."""
        try:
            if not compare:
                return
            self._run(self.simulation.settle)
            for address in self.simulation.addresses:
                self._compare(address, None)
        finally:
            self._watching.close()
            for address in self.simulation.addresses:
                self.simulation.crash(address)

    def _compare(self, address: str, made: Made | None) -> None:
        mine, its = self.copy.state(), self._state(address)
        if mine != its:
            after = f" after {made}" if made is not None else ""
            raise Violation(
                f"the state{after} is another one on {address} than on a plain copy\n"
                f"  {address}: {decode(its)!r}\n  a copy: {decode(mine)!r}"
            )
        broken = self.subject.broken(self._object(address))
        if broken is not None:
            raise Violation(f"{broken} on {address}: state {decode(its)!r}")

    def _object(self, address: str) -> Any:
        return self.simulation.objects(address)[OBJECT]

    def _state(self, address: str) -> bytes:
        return encode_state(self.subject.name, self._object(address))

    def _run(self, function: Callable[[], object]) -> None:
        """Let time pass; raise the first violation, whatever else came of it."""
        checks = self.simulation.checks
        try:
            with quietly():
                function()
        except Exception:
            if checks.violation is None:
                raise
        if checks.violation is not None:
            raise checks.violation


