"""One run of a plan: a cluster under load, faults, and then the proof that all came out well.

The phases: chaos; a majority that is left alone while the others stay as they are, and has to go
on; now and then a leader that hears nobody any more; everything healed, so that every call ends,
nothing is held by nobody, and all nodes become equal; another leader, and reads that have to see
what was acknowledged before; at last all nodes killed and started from what they have on disk. The
invariants are checked throughout, the histories in the end.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Any, Final

from ..config import is_nameless
from ..errors import NotApplied
from .hosts import Host
from .leaks import check_leaks
from .nemesis import Nemesis
from .plans import Plan
from .queue_verdicts import check_settled
from .releases import Releases, apart
from .simulator import Simulation
from .upgrading import Upgrading
from .verdicts import check_histories
from .workload import Load, consumers_of

_EVENTS_MAX: Final = 3_000_000
"""A run that takes more than so many events is a storm of messages, and has failed."""
_RECOVERY: Final = 60.0
"""Virtual seconds within which a healed cluster must have a leader and serve."""
_DEAF: Final = 0.3
"""In how many runs a leader goes deaf for good."""
_MOST_FORGET: Final = 0.5
"""In how many runs of forgetful nodes all but the leader forget."""
_PATIENCE: Final = 2.0
"""Sessions that live for longer, in seconds, are not waited for."""


@dataclass
class Report:
    """What a run did, in figures."""

    events: int = 0
    seconds: float = 0.0
    """Virtual seconds."""
    faults: int = 0
    elections: int = 0
    messages: int = 0
    calls: int = 0
    checked: int = 0
    """Calls whose place in a linearizable history was checked."""
    trace: int = 0
    """A checksum of every message of the run: the same for the same plan, always."""


@dataclass
class Failure:
    """A run that went wrong."""

    plan: Plan
    kind: str
    """The class of the error."""
    message: str
    events: int
    error: BaseException

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}\nreplay with the token {self.plan.token()}"


class Run:
    """One run, in the making or done."""

    def __init__(self, plan: Plan, *, check: bool = True) -> None:
        self.plan = plan
        self.simulation = Simulation(
            plan.seed,
            consumers_of(plan),
            size=plan.size,
            disks=plan.disks,
            framing=plan.framing,
            datagrams=plan.datagrams,
            spares=plan.spares,
            forgetful=plan.forgetful,
            observers=plan.observers,
            releases=Releases(plan.seed, plan.releases) if plan.releases > 1 else None,
            check=check,
            **plan.settings,
        )
        self.load = Load(self.simulation, plan)
        self.simulation.checks.clock = self.load.recorder.clock
        self.simulation.on_start = self.load.join
        self.simulation.is_late = self.load.is_late
        self.simulation.schedule.event_limit = _EVENTS_MAX
        self.nemesis: Nemesis | None = None
        self._upgrading = Upgrading(self.simulation, self.load, self._serves)
        self.checked = 0
        clocks = Random(f"{plan.seed}/clocks")
        for host in self.simulation.hosts.values():
            host.clock_rate = 1.0 + plan.drift * clocks.uniform(-1.0, 1.0)

    def go(self) -> None:
        """Do it all.

        Raises:
            AssertionError: something went wrong; `Violation` or `Stuck`, or another one.
        """
        with apart(self.simulation.releases):
            self._go()

    def _go(self) -> None:
        simulation, load = self.simulation, self.load
        simulation.start()
        if self.plan.forgetful:
            # Until then a majority may have forgotten what nobody else can know of.
            simulation.run_until(self._all_hold_something, _RECOVERY)
        self.nemesis = Nemesis(simulation, self.plan)
        simulation.run(self.plan.chaos)
        self.nemesis.stop()
        self._upgrading.is_over()
        load.check()
        self._core_goes_on()
        self._deaf_leader_falls()
        self._most_forget()
        self._all_recovers()
        self._upgrading.upgrade_all()
        self._others_lead()
        self._restart_all()
        self._check_histories()

    def _all_hold_something(self) -> bool:
        return all(life.core.log.membership_index for life in self.simulation.lives())

    def _all_recovered(self) -> bool:
        """Whether nobody needs a quorum of others because it has lost what it had."""
        return all(map(self._may_decide, self.simulation.machines))

    def _core_goes_on(self) -> None:
        """Leave a majority alone with itself: it must serve, whatever the others do."""
        simulation = self.simulation
        for host in simulation.hosts.values():
            if host.disk is not None:
                host.disk.heal()
        simulation.start_again()  # who refuses a rotten disk cannot be of the core
        core = self._choose_core()
        if not core:
            return
        simulation.heal_among(core)
        for address in core:
            for other in simulation.addresses:
                if other not in core:
                    simulation.network.cut(other, address)
                    simulation.network.cut(address, other)
        begun = simulation.now
        patience = simulation.config.election_timeout_max / (1 - self.plan.drift)

        def is_too_small() -> bool:
            # A change of members that was asked for before counts on who was heard a moment ago.
            return simulation.now <= begun + patience and not simulation.are_quorum(core)

        self._serves(core, unless=is_too_small if self.plan.spares else None)
        if simulation.are_quorum(core):
            self._gives_up_the_silent(core)

    def _choose_core(self) -> list[str]:
        """Return a quorum of those who can decide, by chance; empty if they are too few."""
        simulation = self.simulation
        random = Random(f"{self.plan.seed}/{self.plan.core}/core")
        able = [a for a in simulation.cast() if a not in simulation.damaged]
        able = [address for address in able if self._may_decide(simulation.hosts[address])]
        core: list[str] = []
        for address in random.sample(able, len(able)):
            core.append(address)
            if simulation.are_quorum(core):
                return core
        return []

    def _may_decide(self, host: Host) -> bool:
        """Whether it needs no quorum of others first, because it has lost all that it had."""
        life = host.life
        if life is None or life.node is None or life.node._engine.failure is not None:
            return not (self.plan.forgetful or self.plan.spares or host.was_erased)
        return not life.core.is_recovering or not (
            self.plan.forgetful or host.was_erased or life.node._engine.config.join
        )

    def _gives_up_the_silent(self, core: list[str]) -> None:
        """Await that the sessions of those that the majority does not hear have ended."""
        simulation = self.simulation
        if simulation.config.session_ttl > _PATIENCE:
            return
        silent = [a for a in simulation.cast() if a not in core]

        def forgotten() -> bool:
            # Asked after every event. Some of them may have ceased to be members.
            cast = simulation.cast()
            for member in core:
                life = simulation.hosts[member].life
                if member not in cast or life is None or life.node is None:
                    continue
                sessions = life.table.sessions
                for address in silent:
                    if sessions.of_address(address) is not None:
                        return False
            return True

        simulation.run_until(forgotten, _RECOVERY)

    def _deaf_leader_falls(self) -> None:
        """Let the leader speak, but hear nobody, for good: the others must find another one."""
        simulation = self.simulation
        if Random(f"{self.plan.seed}/{self.plan.core}/deaf").random() > _DEAF or self.plan.spares:
            return
        simulation.heal()
        simulation.start_again()
        simulation.run_until(self._all_recovered, _RECOVERY)
        able = [a for a in simulation.addresses if a not in simulation.damaged]
        if len(able) - 1 < len(simulation.addresses) // 2 + 1:
            return
        simulation.run_until(lambda: simulation.leader() is not None, _RECOVERY)
        deaf = simulation.leader()
        assert deaf is not None
        for other in simulation.addresses:
            if other != deaf:
                simulation.network.cut(other, deaf)
        self._serves([a for a in able if a != deaf])

    def _most_forget(self) -> None:
        """Let all but the leader lose what they had: they have its answer, and each other's."""
        simulation, plan = self.simulation, self.plan
        chance = Random(f"{plan.seed}/{plan.core}/most").random()
        if not plan.forgetful or plan.spares or chance > _MOST_FORGET:
            return
        simulation.heal()
        simulation.start_again()
        simulation.run_until(self._leader_holds_all, _RECOVERY)
        leader = simulation.leader()
        for host in simulation.machines:
            if host.address != leader:
                host.crash(silently=chance < _MOST_FORGET / 2, forced=True)
        simulation.start_again()
        self._serves(simulation.addresses)

    def _leader_holds_all(self) -> bool:
        """Whether the leader has persisted all that was ever committed, in the greatest term."""
        simulation = self.simulation
        leader = simulation.leader()
        life = None if leader is None else simulation.hosts[leader].life
        if life is None or not life.core.leader_ready or not self._all_recovered():
            return False
        log = life.core.log
        return log.persisted_index == log.last_index and all(
            other.core.term <= life.core.term for other in simulation.lives()
        )

    def _all_recovers(self) -> None:
        """Heal everything: all calls end, and all nodes become equal."""
        simulation, load = self.simulation, self.load
        simulation.heal()
        simulation.start_again()
        if self.plan.spares:
            simulation.run_until(self._members_are_settled, _RECOVERY)
            simulation.run_until(self._retired_are_forgotten, _RECOVERY)
        load.is_open = False
        simulation.run_until(self._members_are_idle, _RECOVERY)
        simulation.settle(_RECOVERY)
        load.check()
        check_settled(load)
        check_leaks(load)

    def _start_members(self) -> None:
        """Start whoever is to be a member: also one that was removed, stopped, and is wanted again.

        A change may have been on its way for long.
        """
        simulation = self.simulation
        for address in simulation.cast():
            host = simulation.hosts[address]
            life = host.life
            if life is None or life.node is None or life.node._engine.failure is not None:
                simulation.start_again([address])
        if simulation.observers:
            simulation.start_observers()

    def _members_are_settled(self) -> bool:
        """Start whoever is to be a member, and look whether all is done that was asked for."""
        simulation = self.simulation
        self._start_members()
        if not simulation.has_members():
            return False
        if not simulation.removed_know():
            return False
        # What they have asked for may still come to be done.
        simulation.retire()
        assert self.nemesis is not None
        return self.nemesis.changes_are_done

    def _members_are_idle(self) -> bool:
        """Whether no caller is at work; who is removed only now is stopped, with its callers."""
        if self.plan.spares:
            self._start_members()
            self.simulation.retire()
        return self.load.is_idle

    def _retired_are_forgotten(self) -> bool:
        """Whether the sessions of those that are no members have ended everywhere.

        Who is removed only now is stopped, as what it knew is never going to change.
        """
        self._start_members()
        self.simulation.retire()
        cast = self.simulation.cast()
        for life in self.simulation.lives():
            for session in life.table.sessions._live.values():
                if session.address not in cast and not is_nameless(session.address):
                    return False
        return True

    def _others_lead(self) -> None:
        """Have another leader, and only read: nothing acknowledged may be missing."""
        simulation, load = self.simulation, self.load
        leader = simulation.leader()
        assert leader is not None
        load.is_open = load.read_only = True
        simulation.crash(leader)
        if simulation.are_quorum(simulation.up):
            simulation.run_until(lambda: simulation.leader() is not None, _RECOVERY)
        simulation.start_again()
        self._serves(simulation.cast(), write=False)
        simulation.run(1.0)
        load.is_open = False
        simulation.run_until(lambda: load.is_idle, _RECOVERY)

    def _restart_all(self) -> None:
        """Kill all nodes and start them: they must come to the same state again."""
        simulation, load = self.simulation, self.load
        simulation.settle(_RECOVERY)
        if self.plan.forgetful:
            return
        for address in simulation.addresses:
            simulation.crash(address, silently=True)
        load.read_only = load.is_open = True
        simulation.start_again()
        self._serves(simulation.cast())
        simulation.run(0.5)
        load.is_open = False
        simulation.run_until(lambda: load.is_idle, _RECOVERY)
        simulation.settle(_RECOVERY)
        load.check()

    def _serves(
        self,
        addresses: Any,
        *,
        write: bool = True,
        unless: Callable[[], bool] | None = None,
    ) -> None:
        """Await an answer of each of these nodes, `unless` nobody need give one."""
        simulation = self.simulation
        answered: set[str] = set()

        def ask(address: str) -> None:
            life = simulation.hosts[address].life
            if life is None or life.node is None:
                return
            try:
                node, hits = life.node, life.consumers["hits"]
                future = hits.add.submit(0) if write else node.barrier.submit()
            except NotApplied:
                life.event_loop.call_later(0.05, ask, address)
                return

            def answer(_: object) -> None:
                if future.cancelled() or not isinstance(future.exception(), NotApplied):
                    answered.add(address)
                elif life.alive:
                    life.event_loop.call_later(0.05, ask, address)

            future.add_done_callback(answer)

        asked_for = [a for a in addresses if a not in simulation.damaged]
        asked: dict[str, object] = dict.fromkeys(asked_for)
        hosts = simulation.hosts

        def all_answered() -> bool:
            if unless is not None and unless():
                return True
            # Asked after every event. Who is asked may turn out to be no member any more.
            cast, all_have = simulation.cast(), True
            for address in asked_for:
                if address not in cast:
                    continue
                if address not in answered:
                    all_have = False
                life = hosts[address].life
                if life is None or life.node is None:
                    continue
                if life.node._engine.failure is not None:
                    # A sync that failed before all was healed may be heard of only now.
                    simulation.start_again([address])
                elif asked[address] is not life:
                    asked[address] = life
                    life.soon(ask, address)
            return all_have

        simulation.run_until(all_answered, _RECOVERY)

    def _check_histories(self) -> None:
        self.checked = check_histories(self.load)

    def report(self) -> Report:
        """Return what was done so far."""
        simulation = self.simulation
        return Report(
            events=simulation.schedule.event_count,
            seconds=simulation.now - simulation.schedule.begin,
            faults=self.nemesis.fault_count if self.nemesis is not None else 0,
            elections=simulation.checks.election_count,
            messages=simulation.network.message_count,
            calls=len(self.load.recorder),
            checked=self.checked,
            trace=simulation.network.trace,
        )


def run_plan(plan: Plan, *, event_limit: int = _EVENTS_MAX) -> Report | Failure:
    """Carry out a plan; return what it did, or how it failed.

    `event_limit`: more events than these are a storm of messages, and a failure.
    """
    run = Run(plan)
    run.simulation.schedule.event_limit = event_limit
    with quietly():
        try:
            run.go()
        except Exception as error:
            # What the engine made of a violation is less telling than the violation.
            first = run.simulation.checks.violation or error
            return Failure(
                plan=plan,
                kind=type(first).__name__,
                message=str(first),
                events=run.simulation.schedule.event_count,
                error=first,
            )
        finally:
            run.simulation.end()
    return run.report()


@contextmanager
def quietly() -> Iterator[None]:
    """Collect no garbage meanwhile, and log nothing.

    A collection takes long, and ends coroutines at times of its own. What nodes log is about faults
    that were ordered.
    """
    collects = gc.isenabled()
    level = logging.root.manager.disable
    gc.disable()
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(level)
        if collects:
            gc.enable()


