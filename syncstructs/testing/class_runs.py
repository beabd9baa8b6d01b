"""One run of a user's class on a simulated cluster under faults, and the proof that all went well.

Checked are the engine's invariants, the state and the class's invariant after each command on each
member, and that all that callers saw could have been seen on one copy that stood alone.
"""

from __future__ import annotations

import itertools
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from contextlib import contextmanager
from math import inf
from typing import Any, Final

import msgspec

from ..codec import decode
from ..errors import Unserializable
from ..objects.context import PARKED, current_context
from ..objects.image import encode_state
from ..objects.replicated import Replicated
from ..objects.versions import split_body
from .callers import OBJECT, Attempt, Caller
from .guards import ends_process, is_own
from .history import NOT_APPLIED, UNKNOWN, History, Op, Raised
from .linearizability import Verdict, check
from .nemesis import Nemesis
from .plans import Plan
from .runs import quietly
from .sequential import SequentialModel
from .simulator import Simulation
from .subjects import WAITS, Copy, Made, Moment, Subject, encoding, shown
from .violation import Violation

_FORMAT: Final = 1
_EVENTS_MAX: Final = 1_000_000
_RECOVERY: Final = 60.0
_STEPS: Final = 20_000
"""Steps of a search for an order; a run whose search needs more is left without a verdict."""


class PlannedCall(msgspec.Struct, frozen=True, array_like=True):
    """One call of a caller."""

    wait: float
    """Seconds after the end of the one before."""
    pick: float
    """On which of the members that are up: from 0 to below 1."""
    method: str
    arguments: bytes
    """By name, encoded."""

    @property
    def made(self) -> Made:
        """The call."""
        return Made(self.method, decode(self.arguments))


class ClassPlan(msgspec.Struct, frozen=True, array_like=True):
    """A run: the cluster and what befalls it, and the calls of each caller."""

    plan: Plan
    callers: tuple[tuple[PlannedCall, ...], ...]

    def token(self) -> str:
        """Return text that `from_token` turns into the same plan again."""
        packed = zlib.compress(msgspec.msgpack.encode((_FORMAT, self)), 9)
        return urlsafe_b64encode(packed).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str) -> ClassPlan:
        """Return the plan of a token.

        Raises:
            ValueError: it is none, or one of another version.
        """
        try:
            packed = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            plain = zlib.decompressobj().decompress(packed, 10_000_000)
            form, plan = msgspec.msgpack.decode(plain, type=tuple[int, cls])  # type: ignore[valid-type]
        except (TypeError, ValueError, zlib.error, msgspec.MsgspecError) as error:
            begin = repr(token)[:40]
            raise ValueError(f"{begin} is no replay token of a class: {error}") from error
        if form != _FORMAT:
            raise ValueError(f"the token is of format {form}; this version reads {_FORMAT}")
        plan_: ClassPlan = plan
        return plan_


class _Applied(msgspec.Struct, frozen=True):
    """A command as the first member applied it."""

    method: str
    moment: Moment
    outcome: bytes | str
    state: bytes
    address: str
    clock: float


class Judge:
    """What the commands of a class do on all members of one simulation."""

    def __init__(
        self, subject: Subject, simulation: Simulation, clock: Callable[[], float]
    ) -> None:
        self.subject = subject
        self.applied: dict[int, _Applied] = {}
        """By serial."""
        self.by_call: dict[tuple[int, int], _Applied] = {}
        self.initial: bytes | None = None
        """The state before the first command."""
        self.parked = False
        """Whether some command waited for another one."""
        self._simulation = simulation
        self._clock = clock
        self._names: dict[int, str] = {}
        self._inside = False

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Hear of every command of the class during the block."""
        cls = self.subject.cls
        commands, later = cls._commands, cls._later_bodies
        cls._commands = {name: self._watched(name, body) for name, body in commands.items()}
        cls._later_bodies = {
            name: self._watched(split_body(name)[0], body) for name, body in later.items()
        }
        try:
            yield
        finally:
            cls._commands, cls._later_bodies = commands, later

    def _watched(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def command(target: Replicated, /, *args: Any, **kwargs: Any) -> Any:
            if self._inside or isinstance(current_context().owner, Copy):
                # A part of another command, or none of a member.
                return function(target, *args, **kwargs)
            if self.initial is None:
                self.initial = encode_state(OBJECT, target)
            outcome: object = None
            self._inside = True
            try:
                outcome = function(target, *args, **kwargs)
                return outcome
            except Exception as error:
                outcome = Raised.of(error)
                raise
            except (SystemExit, KeyboardInterrupt) as error:
                if not is_own(error):
                    raise
                violation = self._fail(ends_process(self.subject, name, error))
                # As an outcome: the engine lets the other one end the member, and all else.
                raise violation from error
            finally:
                self._inside = False
                self._note(target, name, outcome)

        return command

    def _note(self, target: Replicated, method: str, outcome: object) -> None:
        context = current_context()
        if outcome is PARKED:
            self.parked = True
            outcome = WAITS
        try:
            state = encode_state(OBJECT, target)
        except Unserializable as error:
            self._fail(f"after {method}() the state has no encoding: {error}")
            return
        moment = Moment(
            context.serial, context.index, context.time, context.session, context.sequence
        )
        address = self._address(target)
        known = self.applied.get(moment.serial)
        if known is None:
            clock = self._clock()
            known = _Applied(method, moment, encoding(outcome), state, address, clock)
            self.applied[moment.serial] = known
            self.by_call.setdefault((moment.session, moment.sequence), known)
        elif (known.state, known.outcome) != (state, encoding(outcome)):
            self._differ(known, state, encoding(outcome), address)
        broken = self.subject.broken(target)
        if broken is not None:
            self._fail(f"{broken} on {address} after {method}(): state {decode(state)!r}")

    def _differ(self, known: _Applied, state: bytes, outcome: bytes | str, address: str) -> None:
        lines = [f"{known.method}() had not the same effect on all members (serial"
                 f" {known.moment.serial})"]  # fmt: skip
        sides = ((known.address, known.outcome, known.state), (address, outcome, state))
        for who, its_outcome, its_state in sides:
            lines.append(f"  {who}: {shown(its_outcome)}, state {decode(its_state)!r}")
        self._fail("\n".join(lines))

    def _address(self, target: Replicated) -> str:
        for life in self._simulation.lives():
            if life.consumers.get(OBJECT) is target:
                return life.host.address
        return "a member"

    def _fail(self, what: str) -> Violation:
        """Have the run fail at the next event; what a command raises would be its outcome."""
        checks = self._simulation.checks
        checks.violation = checks.violation or Violation(what)
        return checks.violation


class ClassModel(SequentialModel):
    """A class as its own model: states are snapshots of copies that stand alone."""

    def __init__(
        self,
        subject: Subject,
        initial: bytes,
        made: dict[int, Made],
        moments: dict[int, list[Moment]],
    ) -> None:
        """Take the calls, and what their commands saw of the log, by the id of the operation."""
        self._subject = subject
        self._initial = initial
        self._made = made
        self._moments = moments

    def initial(self) -> Hashable:
        """Return the state before the first command."""
        return self._initial

    def apply(self, state: Any, op: Op) -> tuple[Hashable, object]:
        """Return the state after `op`, and its outcome."""
        copy = Copy(self._subject, state)
        copy.moments.extend(self._moments.get(op.id, ()))
        outcome = copy.invoke(op.method, op.args, op.kwargs)
        return copy.state(), outcome

    def is_read(self, op: Op) -> bool:
        """Return False: a plain method may call commands."""
        return False

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the part that the user's function names."""
        partition = self._subject.partition
        if partition is None:
            return None
        made = self._made[op.id]
        try:
            part = partition(made)
            hash(part)
        except Exception as error:
            raise Violation(
                f"partition= raised {error!r} for the call {made}; it must return something"
                " hashable for every call in calls="
            ) from error
        return (part,)

    def describe(self, state: Any) -> str:
        """Return the attributes."""
        return repr(decode(state))


class ClassFailure(AssertionError):
    """A run of a class that went wrong; its text is the whole story."""


class ClassRun:
    """One run of a plan; `go` it once."""

    def __init__(self, subject: Subject, plan: ClassPlan) -> None:
        self.subject = subject
        self.plan = plan
        clock = itertools.count(1).__next__
        self.history = History(clock)
        self.simulation = Simulation(
            plan.plan.seed,
            {OBJECT: subject.make},
            version=subject.version,
            size=plan.plan.size,
            disks=plan.plan.disks,
            framing=plan.plan.framing,
            datagrams=plan.plan.datagrams,
            **plan.plan.settings,
        )
        self.simulation.checks.clock = clock
        self.simulation.schedule.event_limit = _EVENTS_MAX
        self.judge = Judge(subject, self.simulation, clock)
        self.nemesis: Nemesis | None = None
        self.callers: list[Caller] = []

    def go(self) -> None:
        """Do it all.

        Raises:
            ClassFailure: something went wrong.
        """
        try:
            with quietly(), self.judge.watching():
                self._run()
            self._check_history()
        except Exception as error:
            first = self.simulation.checks.violation or error
            raise ClassFailure(self._story(first)) from error
        finally:
            self._end()

    def _run(self) -> None:
        simulation, plan = self.simulation, self.plan.plan
        simulation.start()
        self.nemesis = Nemesis(simulation, plan)
        for number, calls in enumerate(self.plan.callers):
            planned = [(c.wait, c.pick, c.made) for c in calls]
            name = f"client {number + 1}"
            self.callers.append(Caller(name, simulation, self.subject, self.history, planned))
        deadline = simulation.now + plan.chaos
        simulation.run_until(lambda: self._is_idle() or simulation.now >= deadline, plan.chaos + 1)
        self.nemesis.stop()
        simulation.heal()
        simulation.start_again()
        simulation.run_until(self._is_idle, _RECOVERY)
        simulation.settle(_RECOVERY)
        for address in simulation.addresses:
            simulation.crash(address, silently=True)
        simulation.start()
        simulation.settle(_RECOVERY)
        if simulation.checks.violation is not None:
            raise simulation.checks.violation

    def _is_idle(self) -> bool:
        return all(caller.is_done for caller in self.callers)

    def _end(self) -> None:
        for attempt in self._attempts():
            if attempt.thread is not None:
                attempt.thread.abandon()
        for host in self.simulation.hosts.values():
            host.crash()

    # The history

    def _attempts(self) -> list[Attempt]:
        return [attempt for caller in self.callers for attempt in caller.attempts]

    def _ops(self) -> list[Op]:
        """Return what callers saw, and what the log tells of each call."""
        places: dict[int, _Applied] = {}
        checks = self.simulation.checks
        for attempt in self._attempts():
            if not self.subject.is_command(attempt.made.method) or not attempt.calls:
                continue
            numbered = checks.number_of(attempt.calls[0])
            applied = None if numbered is None else self.judge.by_call.get(numbered)
            if applied is not None:
                places[attempt.number] = applied
        ops = []
        for op in self.history:
            place = places.get(op.id)
            if place is not None:
                # What parked, and was given up with its session, is said to be not applied too.
                if op.outcome is NOT_APPLIED and place.outcome != encoding(WAITS):
                    raise Violation(f"{op} was said to be not applied, but it was")
                end = place.clock if op.outcome is UNKNOWN else op.end
                op = msgspec.structs.replace(
                    op, index=place.moment.serial, end=end, time=place.moment.time,
                    session=place.moment.session,
                )  # fmt: skip
            elif self.subject.is_command(op.method):
                if not isinstance(op.outcome, type(UNKNOWN)):
                    raise Violation(f"{op.process} saw {op}, but no member has applied it")
                op = msgspec.structs.replace(op, outcome=NOT_APPLIED)
            ops.append(op)
        return ops

    def _check_history(self) -> None:
        ops = [op for op in self._ops() if op.outcome is not NOT_APPLIED]
        if self.judge.parked:
            return  # what waits ends with another command, which no copy by itself can tell
        composite = {a.number for a in self._attempts() if a.is_composite}
        if not any(op.id in composite for op in ops):
            self._check_order(ops)
            return
        self._search_order(ops)

    def _initial(self) -> bytes:
        if self.judge.initial is not None:
            return self.judge.initial
        life = self.simulation.lives()[0]
        return encode_state(OBJECT, life.consumers[OBJECT])

    def _check_order(self, ops: Sequence[Op]) -> None:
        """Replay what callers did in the order of the log: the proof that it is linearizable."""
        placed = [op for op in ops if op.index is not None]
        # A read sees all commands up to its place, so it comes behind them.
        placed.sort(key=lambda op: (op.index, not self.subject.is_command(op.method), op.call))
        begun = 0.0
        for op in placed:
            if op.end < begun:
                raise Violation(f"{op.process}: {op} had ended before what it comes after began")
            begun = max(begun, op.call)
        copy = Copy(self.subject, self._initial())
        for op in placed:
            if self.subject.is_command(op.method):
                copy.moments.append(self.judge.applied[op.index or 0].moment)
            outcome = copy.invoke(op.method, op.args, op.kwargs)
            if op.outcome is not UNKNOWN and encoding(outcome) != encoding(op.outcome):
                raise Violation(
                    f"{op.process} saw {op}, but after the calls before it in the log a copy of"
                    f" {self.subject.name} by itself gives {outcome!r}"
                )

    def _search_order(self, ops: Sequence[Op]) -> None:
        """Search an order that callers could have seen; their methods are no single commands."""
        made = {attempt.number: attempt.made for attempt in self._attempts()}
        moments = {attempt.number: self._moments_of(attempt) for attempt in self._attempts()}
        model = ClassModel(self.subject, self._initial(), made, moments)
        result = check(ops, model, budget=_STEPS)
        if result.verdict is Verdict.NOT_LINEARIZABLE:
            raise Violation(str(result))

    def _moments_of(self, attempt: Attempt) -> list[Moment]:
        """Return what the commands of a call saw, as far as they were applied."""
        moments = []
        for call in attempt.calls:
            numbered = self.simulation.checks.number_of(call)
            applied = None if numbered is None else self.judge.by_call.get(numbered)
            if applied is not None:
                moments.append(applied.moment)
        return moments

    # The story

    def _story(self, error: BaseException) -> str:
        plan = self.plan.plan
        what = error if isinstance(error, AssertionError) else repr(error)
        lines = [f"{self.subject.name} under faults: {what}", ""]
        lines.append(f"{plan.size} members, {len(plan.faults)} faults, seed {plan.seed}")
        begin = self.simulation.schedule.begin
        if self.nemesis is not None:
            lines += [f"  {at - begin:7.3f} s  {what}" for at, what in self.nemesis.log]
        lines += ["", "what the callers saw, in the order of their calls:"]
        lines += [f"  {line}" for line in self._timeline()]
        lines += ["", f"replay with Test{self.subject.name}.replay({self.plan.token()!r})"]
        return "\n".join(lines)

    def _timeline(self) -> Iterator[str]:
        members = {a.number: a.life.host.address for a in self._attempts()}
        for op in self.history:
            end = "   ..." if op.end == inf else f"{op.end:6.0f}"
            yield f"{op.call:6.0f} -{end}  {op.process} at {members.get(op.id, '?')}: {op}"
