"""`Nemesis`: lets the faults of a plan befall a simulated cluster, each in its time.

Whom a fault hits is told by a number in it and by how things stand then (who leads, who is up), so
that it means much the same in a plan from which others were taken away.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from msgspec.structs import replace

from ..errors import SyncError
from ..structs.holding import Holding
from .plans import Fault, Plan
from .upgrading import ask_for_version
from .violation import Violation

if TYPE_CHECKING:
    from ..futures import Future
    from ..raft.membership import Membership
    from .hosts import Host, Life
    from .simulator import Simulation

T = TypeVar("T")

_CROWD: Final = 100
"""Reads at once; a leader opens 64 rounds for them."""


class Nemesis:
    """The faults of one run. Each method named in a `Fault` is one kind of them."""

    def __init__(self, simulation: Simulation, plan: Plan) -> None:
        self.simulation = simulation
        self.fault_count = 0
        self.log: list[tuple[float, str]] = []
        """What was done, and when."""
        self.active = True
        """Whether faults still come, and what they stopped is started again."""
        self._network = simulation.network
        self._schedule = simulation.schedule
        self._changes: list[tuple[Life, Future[None]]] = []
        self._after_election: list[Callable[[Life], None]] = []
        self._after_commit: list[Callable[[Life], None]] = []
        self._when_joint: list[Callable[[Life, Membership], None]] = []
        simulation.checks.on_elected = self._elected
        simulation.checks.on_committed = self._committed
        self._on_hand_over: list[Callable[[Life, str], None]] = []
        self._on_opening: list[Callable[[Life, str], None]] = []
        simulation.checks.on_opening = self._opens_session
        self._when_left: list[Callable[[Life], None]] = []
        simulation.checks.memberships.on_joint = self._joint
        simulation.checks.memberships.on_left = self._left_joint
        simulation.checks.memberships.on_hand_over = self._hands_over
        now = self._schedule.now
        for fault in plan.faults:
            self._schedule.at(now + fault.at, self._strike, fault)

    def stop(self) -> None:
        """Let nothing more befall the cluster; what has, stays until it is healed."""
        self.active = False
        self._after_election.clear()
        self._after_commit.clear()
        self._when_joint.clear()
        self._when_left.clear()
        self._on_hand_over.clear()
        self._on_opening.clear()

    @property
    def changes_are_done(self) -> bool:
        """Whether all changes of members have ended, or who asked for them is gone."""
        return all(future.done() or not life.alive for life, future in self._changes)

    def _strike(self, fault: Fault) -> None:
        if self.active:
            self.fault_count += 1
            getattr(self, fault.kind)(fault)

    def _note(self, what: str) -> None:
        self.log.append((self._schedule.now, what))

    def _until(self, seconds: float, undo: Callable[..., object], *args: object) -> None:
        self._schedule.at(self._schedule.now + seconds, self._undo, undo, args)

    def _undo(self, undo: Callable[..., object], args: tuple[object, ...]) -> None:
        if self.active:
            undo(*args)

    # Who

    def _host(self, fault: Fault) -> Host:
        machines = self.simulation.machines
        observers = [h for h in self.simulation.hosts.values() if h.is_up and h not in machines]
        return _one([*machines, *observers], fault.pick)

    def _running(self, fault: Fault) -> Host | None:
        up = [host for host in self.simulation.hosts.values() if host.is_up]
        return _one(up, fault.pick) if up else None

    def _leader(self, fault: Fault) -> Host | None:
        leader = self.simulation.leader()
        return self._running(fault) if leader is None else self.simulation.hosts[leader]

    def _other(self, host: Host, fault: Fault) -> str | None:
        others = [a for a in self.simulation.addresses if a != host.address]
        # Digits of the number that have not chosen the host.
        return _one(others, fault.pick * 7919 % 1) if others else None

    def _elected(self, life: Life) -> None:
        waiting, self._after_election = self._after_election, []
        for strike in waiting:
            strike(life)

    def _committed(self, life: Life) -> None:
        if self._after_commit:
            waiting, self._after_commit = self._after_commit, []
            for strike in waiting:
                strike(life)

    def _joint(self, life: Life, membership: Membership) -> None:
        waiting, self._when_joint = self._when_joint, []
        for strike in waiting:
            strike(life, membership)

    def _left_joint(self, life: Life) -> None:
        waiting, self._when_left = self._when_left, []
        for strike in waiting:
            strike(life)

    def _hands_over(self, life: Life, successor: str) -> None:
        waiting, self._on_hand_over = self._on_hand_over, []
        for strike in waiting:
            strike(life, successor)

    def _opens_session(self, life: Life, leader: str) -> None:
        if self._on_opening:
            waiting, self._on_opening = self._on_opening, []
            for strike in waiting:
                strike(life, leader)

    # Nodes

    def crash(self, fault: Fault, host: Host | None = None) -> None:
        """Kill a process; it is started again after the span."""
        host = host or self._running(fault)
        if host is not None and host.is_up:
            self._note(f"{host.address} crashes")
            host.crash(silently=fault.size < 0.3)
            self._until(fault.span, self.start, host)

    def crash_leader(self, fault: Fault) -> None:
        """Kill the leader."""
        self.crash(fault, self._leader(fault))

    def crash_all(self, fault: Fault) -> None:
        """Kill all of them at once."""
        for host in self.simulation.hosts.values():
            self.crash(fault, host)

    def crash_soon(self, fault: Fault) -> None:
        """Kill a process a few effects later: before or after a message, a write or a sync."""
        host = self._leader(fault) if fault.size < 0.5 else self._running(fault)
        if host is not None:
            self._arm(host, int(fault.size * 2 % 1 * 30), fault.span)

    def crash_elected(self, fault: Fault) -> None:
        """Kill the next elected leader a few effects after its election."""
        self._after_election.append(
            lambda life: self._arm(life.host, int(fault.size * 12), fault.span)
        )

    def crash_twice(self, fault: Fault) -> None:
        """Kill a process a few effects later, and cut its power as it is being started again.

        What the first life had written and not synced, the second one finds, and then it is lost.
        """
        host = self._running(fault)
        if host is not None:
            self._note(f"{host.address} is to crash soon, and again as it starts")
            host.crash_after, host.cut_power = int(fault.size * 30), False
            self._until(fault.span + 0.1, self._start_armed, host, int(fault.size * 7919 % 1 * 18))
            self._until(fault.span + 0.3, self.start, host)

    def _start_armed(self, host: Host, effects: int) -> None:
        if not host.is_up:
            host.crash_after, host.cut_power = effects, True
            self.start(host)

    def _arm(self, host: Host, effects: int, span: float) -> None:
        self._note(f"{host.address} is to crash after {effects} effects")
        host.crash_after = effects
        self._until(span + 0.2, self.start, host)

    def start(self, host: Host) -> None:
        """Start a node that is down; one that has failed is killed first."""
        life = host.life
        if life is not None and life.node is not None and life.node._engine.failure is not None:
            host.crash()
        if not host.is_up and host.address not in self.simulation.damaged:
            self._note(f"{host.address} starts")
            self.simulation.start(host.address)
            if host.address in self.simulation.refused:
                self._until(0.5, self.start, host)

    def pause(self, fault: Fault, host: Host | None = None) -> None:
        """Stop a process, as SIGSTOP does; it goes on after up to four times the span."""
        host = host or self._running(fault)
        if host is not None:
            span = fault.span * (1 + 3 * fault.size)
            self._note(f"{host.address} stands still for {span:.3f} s")
            host.pause(self._schedule.now + span)

    def pause_leader(self, fault: Fault) -> None:
        """Stop the leader."""
        self.pause(fault, self._leader(fault))

    def pause_holder(self, fault: Fault) -> None:
        """Stop a process that holds a lock, for longer than its session may be silent."""
        self.pause(self._for_a_session(fault), self._holder(fault))

    def isolate_holder(self, fault: Fault) -> None:
        """Cut off a node that holds a lock, for longer than its session may be silent."""
        self.isolate(self._for_a_session(fault), self._holder(fault))

    def _holder(self, fault: Fault) -> Host | None:
        """Return a host whose process holds a lock, as it believes itself; else any."""
        holders = [
            life.host
            for life in self.simulation.lives()
            if any(isinstance(o, Holding) and o._grants for o in life.consumers.values())
        ]
        return _one(holders, fault.pick) if holders else self._running(fault)

    def _for_a_session(self, fault: Fault) -> Fault:
        # Long sessions would stop the work of a node for most of the chaos.
        silence = min(self.simulation.config.session_ttl, 2.0)
        return replace(fault, span=silence * (0.5 + fault.size) + fault.span / 2)

    def close(self, fault: Fault, host: Host | None = None) -> None:
        """Close a node in an orderly way, and start it again."""
        host = host or self._running(fault)
        if host is None or host.life is None or host.life.node is None:
            return
        if self.simulation.forgetful and not self.simulation.may_forget(host):
            return
        life = host.life
        self._note(f"{host.address} closes")
        life.soon(lambda: self._close(life))
        self._until(fault.span + 2.0, self._restart, life)

    def _close(self, life: Life) -> None:
        # What stood still until now may be needed by others that have lost all meanwhile.
        if self.active and (not self.simulation.forgetful or self.simulation.may_forget(life.host)):
            life.node.close.submit()

    def _restart(self, life: Life) -> None:
        if life.alive:
            life.host.crash()
            self.start(life.host)

    def strand_opening(self, fault: Fault) -> None:
        """Kill a node; when a node next asks for a session, let it hear nothing until that is over.

        So its session is opened and ends, and all that it may ever see of it is in a snapshot.
        """
        config = self.simulation.config
        longer = replace(
            fault,
            span=fault.span + 2 * config.session_ttl + config.election_timeout_max,
            size=max(fault.size, 0.2),
        )

        def strand(life: Life, _: str) -> None:
            self._note(f"{life.host.address} hears nobody, as it asks for a session")
            for other in self.simulation.addresses:
                if other != life.host.address:
                    self._cut(other, life.host.address, longer)

        self._on_opening.append(strand)
        self.crash(replace(fault, span=fault.span / 4))

    def jump(self, fault: Fault) -> None:
        """Let a node's clock leap forward, by more than an election takes."""
        host = self._running(fault)
        if host is not None and host.life is not None:
            leap = self.simulation.config.election_timeout_max + fault.size * 20
            self._note(f"the clock of {host.address} leaps by {leap:.1f} s")
            host.life.jump(leap)

    # Members

    def change_members(self, fault: Fault) -> None:
        """Ask for any other members, from one to five."""
        addresses = self.simulation.addresses
        count = 1 + int(fault.size * min(5, len(addresses)))
        first = int(fault.pick * len(addresses))
        step = 1 + int(fault.pick * 7919 % 1 * 2)
        chosen = [addresses[(first + i * step) % len(addresses)] for i in range(count)]
        self._ask_for(fault, sorted(set(chosen)))

    def add_member(self, fault: Fault) -> None:
        """Ask for one member more."""
        wanted = self._wanted()
        others = [a for a in self.simulation.addresses if a not in wanted]
        if others:
            self._ask_for(fault, sorted([*wanted, _one(others, fault.pick)]))

    def remove_member(self, fault: Fault) -> None:
        """Ask for one member less."""
        wanted = self._wanted()
        gone = _one(wanted, fault.pick)
        self._ask_for(fault, [address for address in wanted if address != gone])

    def remove_leader(self, fault: Fault) -> None:
        """Ask for all members but the leader."""
        leader = self.simulation.leader()
        self._ask_for(fault, [address for address in self._wanted() if address != leader])

    def _wanted(self) -> tuple[str, ...]:
        return self.simulation.checks.wanted or self.simulation.seeds

    def _ask_for(self, fault: Fault, members: list[str]) -> None:
        asked = self._running(fault)
        if not members or asked is None or asked.life is None or asked.life.node is None:
            return
        life = asked.life
        self._note(f"{asked.address} is asked for the members {', '.join(members)}")
        for address in members:
            self.start(self.simulation.hosts[address])

        def ask() -> None:
            with contextlib.suppress(SyncError):
                change = life.node.set_members.submit(members)
                self._changes.append((life, change))
                # What it brought about is seen when this event is over.
                change.add_done_callback(lambda _: self._schedule.soon(compare, change))

        def compare(change: Future[None]) -> None:
            done = not change.cancelled() and change.exception() is None
            memberships = self.simulation.checks.memberships
            if done and life.alive and not memberships.have_been(tuple(members)):
                raise Violation(f"{life.host.address} was told that {members} are the members")

        life.soon(ask)

    def hand_over(self, fault: Fault) -> None:
        """Ask some node to have another one lead: any, or a certain one, which may be unable to."""
        asked = self._running(fault)
        if asked is None or asked.life is None or asked.life.node is None:
            return
        life = asked.life
        to = None if fault.size < 0.5 else _one(self.simulation.addresses, fault.size * 2 - 1)
        self._note(f"{asked.address} is asked to have {to or 'another one'} lead")

        def ask() -> None:
            with contextlib.suppress(SyncError):
                life.node.transfer_leadership.submit(to, timeout=fault.span + 1.0)

        life.soon(ask)

    def sever_joint(self, fault: Fault) -> None:
        """When the membership next becomes joint, leave its leader with one half of it only."""
        longer = replace(
            fault, span=fault.span + 5 * self.simulation.config.election_timeout_max
        )

        def sever(life: Life, membership: Membership) -> None:
            half = membership.voters if fault.pick < 0.5 else membership.outgoing
            side = sorted({life.host.address, *half})
            self._note(f"{', '.join(side)} are parted from the others, as it is joint")
            for one in side:
                for other in self.simulation.addresses:
                    if other not in side:
                        self._cut(one, other, longer)
                        self._cut(other, one, longer)

        self._when_joint.append(sever)

    def silence_removal(self, fault: Fault) -> None:
        """When a leader next leaves a joint membership, let nobody hear anybody for long."""
        longer = replace(
            fault, span=fault.span + 2.5 * self.simulation.config.election_timeout_max
        )

        def silence(life: Life) -> None:
            self._note(f"nobody hears anybody, as {life.host.address} leaves a joint membership")
            for one in self.simulation.addresses:
                for other in self.simulation.addresses:
                    if one != other:
                        self._cut(one, other, longer)

        self._when_left.append(silence)

    def strand_successor(self, fault: Fault) -> None:
        """When a leader next asks another one to take over, let that hear of it late, or never."""
        # Longer than it is waited for, and shorter than who is removed runs on.
        span = (1.2 + 0.7 * fault.pick) * self.simulation.config.election_timeout_max

        def strand(life: Life, successor: str) -> None:
            self._note(f"{life.host.address} does not reach {successor}, which is to take over")
            self._network.cut(life.host.address, successor, keep=fault.size < 0.6)
            self._until(span, self._network.heal, life.host.address, successor)

        self._on_hand_over.append(strand)

    def forget(self, fault: Fault, host: Host | None = None) -> None:
        """Kill a node, which loses all that it had, if enough others hold it."""
        host = host or self._running(fault)
        if host is not None and self.simulation.may_forget(host):
            self.crash(fault, host)
            if not host.is_up:
                self._note(f"{host.address} has lost all")
                host.erase()

    def forget_leader(self, fault: Fault) -> None:
        """Kill the leader, which loses all that it had."""
        self.forget(fault, self._leader(fault))

    # Releases

    def upgrade(self, fault: Fault) -> None:
        """Start a node again with a later release: the next one, or the last."""
        releases = self.simulation.releases
        if releases is not None:
            newest = releases.newest
            older = [h for h in self.simulation.machines if releases.running(h) < newest]
            if older:
                host = _one(older, fault.pick)
                number = newest if fault.size > 0.7 else releases.running(host) + 1
                self._go_over(fault, host, number)

    def downgrade(self, fault: Fault) -> None:
        """Start a node again with an earlier release, which may lack what is in force.

        Not where a node that has to stop for that loses what it had: that is one more than may.
        """
        releases = self.simulation.releases
        if releases is not None and not self.simulation.forgetful:
            later = [h for h in self.simulation.machines if releases.running(h) > 1]
            if later:
                host = _one(later, fault.pick)
                self._go_over(fault, host, 1 + int(fault.size * (releases.running(host) - 1)))

    def _go_over(self, fault: Fault, host: Host, number: int) -> None:
        assert self.simulation.releases is not None
        self._note(f"{host.address} is to run release {number}")
        self.simulation.releases.assign(host, number)
        if fault.size * 7919 % 1 < 0.3:
            self.close(fault, host)
        else:
            self.crash(fault, host)

    def set_version(self, fault: Fault) -> None:
        """Ask a node to put a version in force: at a good time or not, a later one or not."""
        asked, releases = self._running(fault), self.simulation.releases
        if asked is not None and asked.life is not None and releases is not None:
            version = 1 + int(fault.size * releases.newest)
            self._note(f"{asked.address} is asked for version {version}")
            asked.life.soon(ask_for_version, self.simulation, asked.life, version)

    def set_versions(self, fault: Fault) -> None:
        """Ask two nodes at once, for the same version or for two."""
        self.set_version(fault)
        self.set_version(
            replace(fault, pick=fault.pick * 7919 % 1, size=(fault.size * 1.5) % 1)
        )

    # The network

    def isolate(self, fault: Fault, host: Host | None = None) -> None:
        """Cut one node off from all others."""
        host = host or self._host(fault)
        self._note(f"{host.address} is cut off for {fault.span:.3f} s")
        for other in self.simulation.addresses:
            if other != host.address:
                self._cut(host.address, other, fault)
                self._cut(other, host.address, fault)

    def isolate_leader(self, fault: Fault) -> None:
        """Cut the leader off."""
        self.isolate(fault, self._leader(fault))

    def isolate_elected(self, fault: Fault) -> None:
        """Cut the next elected leader off as it is elected."""
        self._after_election.append(lambda life: self.isolate(fault, life.host))

    def isolate_committed(self, fault: Fault) -> None:
        """Cut the leader off when it has next committed something, before it tells anybody."""
        self._after_commit.append(lambda life: self.isolate(fault, life.host))

    def succession(self, fault: Fault) -> None:
        """Cut the leader off for an election and longer; as it is back, cut off who leads then.

        So that logs part, and those that have parted meet in the next election.
        """
        patience = self.simulation.config.election_timeout_max
        longer = replace(fault, span=fault.span + 2 * patience)
        self.isolate_leader(longer)
        self._until(longer.span, self.isolate_leader, longer)

    def seizure(self, fault: Fault) -> None:
        """Cut the leader off, for an election and longer, while its disk finishes nothing.

        When it is back, what it had begun to write meets what others have put in its place; and
        that takes its disk as long as heartbeats do.
        """
        host = self._leader(fault)
        if host is not None:
            patience = self.simulation.config.election_timeout_max
            longer = replace(fault, span=fault.span + 2 * patience)
            self.isolate(longer, host)
            self.stall_disk(replace(longer, span=longer.span + fault.pick * patience / 2), host)
            host.disk_times.mean = self.simulation.config.heartbeat_interval
            self._until(longer.span + patience, setattr, host.disk_times, "mean", 0.0005)

    def eclipse(self, fault: Fault) -> None:
        """Let the leader reach nobody, and hear late what is said to it.

        So it goes on for a while by answers to what it said before.
        """
        host = self._leader(fault)
        if host is None:
            return
        patience = self.simulation.config.election_timeout_max
        longer = replace(fault, span=fault.span + 2 * patience)
        delay = patience * (0.5 + fault.size)
        self._note(f"{host.address} reaches nobody, and hears all {delay:.3f} s late")
        for other in self.simulation.addresses:
            if other != host.address:
                self._cut(host.address, other, longer)
                until = self._schedule.now + longer.span
                self._network.slow_down(other, host.address, delay, until)

    def deafen_leader(self, fault: Fault) -> None:
        """Let the leader speak, but hear nobody."""
        host = self._leader(fault)
        if host is not None:
            self._note(f"{host.address} hears nobody for {fault.span:.3f} s")
            for other in self.simulation.addresses:
                if other != host.address:
                    self._cut(other, host.address, fault)

    def falter(self, fault: Fault) -> None:
        """Let a node that has much to write take its leader for lost, and then follow it again.

        Meanwhile its disk finishes nothing: what it hears then, it has, but not for good.
        """
        host, leader = self._host(fault), self.simulation.leader()
        if leader == host.address:
            host = self.simulation.hosts[self._other(host, fault) or leader]
        if leader in (None, host.address):
            return
        assert leader is not None
        patience = self.simulation.config.election_timeout_max
        # Until it has taken in what is left by the slow disk and by the cut.
        self.stall_disk(replace(fault, span=4 * patience), host)
        host.disk_times.mean = self.simulation.config.heartbeat_interval
        self._until(6 * patience, setattr, host.disk_times, "mean", 0.0005)
        longer = replace(fault, span=(1.0 + fault.pick) * patience)
        self._until(fault.size * patience / 2, self._cut, leader, host.address, longer)

    def outrun(self, fault: Fault) -> None:
        """Let a node's disk finish nothing, and break its connection to the leader meanwhile.

        So it may be sent a snapshot of what it has, but not yet for good.
        """
        host, leader = self._host(fault), self.simulation.leader()
        if leader is not None and leader != host.address:
            self.stall_disk(replace(fault, span=0.6 + fault.span), host)
            self._until(0.2 + 0.4 * fault.size, self._network.reset, host.address, leader)

    def crowd(self, fault: Fault) -> None:
        """Ask the leader for more reads than it opens rounds for, while messages are slow."""
        host = self._leader(fault)
        if host is None or host.life is None or host.life.node is None:
            return
        life = host.life
        self._note(f"{host.address} is asked to read {_CROWD} times, and all messages are slow")
        self._network.faults.delay = 0.04 + fault.size * 0.06
        self._until(fault.span + 0.1, self._mend, "delay")

        def ask() -> None:
            with contextlib.suppress(SyncError):
                life.node.barrier.submit()

        for number in range(_CROWD):
            self._schedule.at(self._schedule.now + 0.0005 * number, life.execute, ask)

    def cut(self, fault: Fault) -> None:
        """Cut one direction between two nodes."""
        host = self._host(fault)
        other = self._other(host, fault)
        if other is not None:
            self._note(f"{host.address} does not reach {other} for {fault.span:.3f} s")
            self._cut(host.address, other, fault)

    def hold(self, fault: Fault) -> None:
        """Hold up one direction between two nodes, and deliver it all later."""
        host = self._host(fault)
        other = self._other(host, fault)
        if other is not None:
            self._note(f"from {host.address} to {other} all is held up for {fault.span:.3f} s")
            self._network.cut(host.address, other, keep=True)
            self._until(fault.span, self._network.heal, host.address, other)

    def split(self, fault: Fault) -> None:
        """Cut the cluster in two."""
        addresses = self.simulation.addresses
        mask = int(fault.pick * 2 ** len(addresses))
        sides = [a for i, a in enumerate(addresses) if mask >> i & 1]
        self._note(f"{', '.join(sides) or 'nobody'} and the others are parted")
        for one in sides:
            for other in addresses:
                if other not in sides:
                    self._cut(one, other, fault)
                    self._cut(other, one, fault)

    def _cut(self, sender: str, receiver: str, fault: Fault) -> None:
        self._network.cut(sender, receiver, keep=fault.size < 0.2)
        self._until(fault.span, self._network.heal, sender, receiver)

    def reset(self, fault: Fault) -> None:
        """Break the connection of two nodes."""
        host = self._host(fault)
        other = self._other(host, fault)
        if other is not None:
            self._note(f"the connection of {host.address} and {other} breaks")
            self._network.reset(host.address, other)

    def slow(self, fault: Fault) -> None:
        """Let one direction between two nodes take long."""
        host = self._host(fault)
        other = self._other(host, fault)
        if other is not None:
            delay = fault.size * max(0.6, self.simulation.config.election_timeout_max)
            self._note(f"from {host.address} to {other} it takes {delay:.3f} s")
            until = self._schedule.now + fault.span
            self._network.slow_down(host.address, other, delay, until)

    def lag(self, fault: Fault) -> None:
        """Let all messages take longer."""
        self._note(f"messages take {fault.size * 0.1:.3f} s")
        self._network.faults.delay = fault.size * 0.1
        self._until(fault.span, self._mend, "delay")

    def narrow(self, fault: Fault) -> None:
        """Leave little bandwidth."""
        self._network.faults.bytes_per_second = 2000 + fault.size * 50_000
        self._note(f"{self._network.faults.bytes_per_second:.0f} bytes per second get through")
        self._until(fault.span, self._mend, "bytes_per_second")

    def lossy(self, fault: Fault) -> None:
        """Lose messages."""
        self._note(f"{fault.size * 0.3:.0%} of all messages are lost")
        self._network.faults.loss = fault.size * 0.3
        self._until(fault.span, self._mend, "loss")

    def doubling(self, fault: Fault) -> None:
        """Deliver messages twice."""
        self._note(f"{fault.size * 0.5:.0%} of all messages come twice")
        self._network.faults.duplication = fault.size * 0.5
        self._until(fault.span, self._mend, "duplication")

    def shuffling(self, fault: Fault) -> None:
        """Let messages overtake each other."""
        self._note(f"{fault.size * 0.5:.0%} of all messages take longer")
        self._network.faults.reordering = fault.size * 0.5
        self._until(fault.span, self._mend, "reordering")

    def _mend(self, field: str) -> None:
        setattr(self._network.faults, field, getattr(type(self._network.faults)(), field))

    # Disks

    def slow_disk(self, fault: Fault) -> None:
        """Let a disk take long for everything."""
        host = self._host(fault)
        # Now and then so slow that elections overtake it.
        mean = 0.0002 + fault.size**2 * self.simulation.config.election_timeout_min / 2
        self._note(f"the disk of {host.address} takes {mean:.4f} s")
        host.disk_times.mean = mean
        self._until(fault.span, setattr, host.disk_times, "mean", 0.0005)

    def full_disk(self, fault: Fault) -> None:
        """Leave little room on a disk: its node may stop, and is started again."""
        host = self._failing(fault)
        if host is not None and host.disk is not None:
            room = int(fault.size * 2000)
            self._note(f"the disk of {host.address} has room for {room} bytes")
            host.disk.fill(room)

    def failing_disk(self, fault: Fault) -> None:
        """Let reads and writes of a disk fail now and then."""
        host = self._failing(fault)
        if host is not None and host.disk is not None:
            self._note(f"the disk of {host.address} fails to read and write")
            host.disk.failure_rates = {"read": fault.size * 0.2, "write": fault.size * 0.2}

    def failing_sync(self, fault: Fault) -> None:
        """Let syncs of a disk fail now and then."""
        host = self._failing(fault)
        if host is not None and host.disk is not None:
            self._note(f"the disk of {host.address} fails to sync")
            rate = 0.05 + fault.size * 0.5
            host.disk.failure_rates = {"sync": rate, "sync_directory": rate}

    def _failing(self, fault: Fault) -> Host | None:
        """Choose a host with a disk that may fail from now on; it is healed after the span."""
        host = self._host(fault)
        if host.disk is not None:
            self.simulation.checks.may_fail.add(host)
            self._until(fault.span, host.disk.heal)
            self._until(fault.span + 0.1, self.start, host)
        return host

    def rot(self, fault: Fault) -> None:
        """Kill a node and flip a bit on its disk; never on more than a minority of all."""
        simulation = self.simulation
        host = self._host(fault)
        if host.disk is None or not simulation.atlas.may_damage(host.address):
            return
        self.crash(fault, host)
        path = None if host.is_up else host.disk.rot()
        if path is not None:
            simulation.atlas.damaged(host.address)
            self._note(f"a bit of {path} of {host.address} flips")

    def rot_closed(self, fault: Fault) -> None:
        """Close a node in an orderly way, and flip a bit in the last that it has written.

        It must not take that for what a crash has torn. Never on more than a minority of all.
        """
        host = self._running(fault)
        if host is None or host.life is None or host.life.node is None or host.disk is None:
            return
        if not self.simulation.spares and self.simulation.atlas.may_damage(host.address):
            life = host.life
            self._note(f"{host.address} closes, and its disk is to rot")
            life.soon(lambda: self._close(life))
            self._until(fault.span + 2.0, self._rot_closed, life)

    def _rot_closed(self, life: Life) -> None:
        simulation, host = self.simulation, life.host
        if not life.alive:
            return
        host.crash()
        write = simulation.checks.closed_write(host)
        assert host.disk is not None
        if (
            not host.is_up
            and write is not None
            and simulation.atlas.may_damage(host.address)
            and host.disk.rot_between(*write)
        ):
            self._note(f"a bit of {write[0]} of {host.address} flips")
            simulation.atlas.damaged(host.address)
            host.disk.heal()
            self.start(host)
            if host.is_up:
                raise Violation(
                    f"{host.address} starts with a log that was damaged after it was closed:"
                    f" {write}"
                )
        self.start(host)

    def garble(self, fault: Fault) -> None:
        """Let the leader read pieces of its snapshot that are not what it wrote; one node needs it.

        Only of those that it sends to others: whoever starts with such a snapshot must refuse to.
        """
        host = self._leader(fault)
        if host is None or host.life is None or host.life._snapshots is None:
            return
        other, longer = self._other(host, fault), replace(fault, span=fault.span + 0.3)
        if other is not None:
            # So that it will need one.
            self.isolate(longer, self.simulation.hosts[other])
        self._note(f"{host.address} reads snapshots with bits that were flipped")
        host.garbles = 0.2 + 0.8 * fault.size
        self._until(longer.span + 0.5, setattr, host, "garbles", 0.0)
        store: Any = host.life._snapshots
        # A store in memory outlives its node.
        read = partial(type(store).read, store)

        def garbled(snapshot: object, offset: int, size: int) -> bytes | None:
            piece: bytes | None = read(snapshot, offset, size)
            if not piece or host.random.random() >= host.garbles:
                return piece
            at = host.random.randrange(len(piece))
            return piece[:at] + bytes([piece[at] ^ 1 << host.random.randrange(8)]) + piece[at + 1 :]

        store.read = garbled

    def stall_disk(self, fault: Fault, host: Host | None = None) -> None:
        """Let a disk finish nothing for a while."""
        host = host or self._host(fault)
        self._note(f"the disk of {host.address} does nothing for {fault.span:.3f} s")
        host.disk_times.stall_until = self._schedule.now + fault.span

    def stall_leader(self, fault: Fault) -> None:
        """Let the leader's disk finish nothing for a while."""
        self.stall_disk(fault, self._leader(fault))


def _one(of: Sequence[T], pick: float) -> T:
    return of[int(pick * len(of))]
