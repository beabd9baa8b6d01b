"""`replicated_test`: an ordinary test class that puts a user's replicated class to the test.

Three tests, from cheap to dear: the contract (`contract`), a quiet cluster against a plain copy,
and a cluster under faults (`class_runs`). Hypothesis draws what is called and what goes wrong, and
makes failures short; the simulator makes each of them repeatable.
"""

from __future__ import annotations

import itertools
import sys
import time
import unittest
from collections.abc import Callable, Hashable, Sequence
from random import Random
from typing import TYPE_CHECKING, Any, ClassVar, Final

from ..codec import encode
from ..errors import Unserializable
from ..objects.replicated import Replicated
from .budgets import Watch, budget, checked_seconds, watch_time
from .class_runs import ClassPlan, ClassRun, PlannedCall
from .contract import OtherCopies, check_contract
from .guards import guarded
from .plans import Fault, Plan, draw_plan
from .quiet import QuietCluster
from .strategies import fault_kinds, fault_lists, hypothesis
from .subjects import CallSpec, Made, Subject

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

# Parts of the budget. The other process of the contract takes what it takes to import the class.
_CONTRACT, _SEQUENTIAL, _CLUSTER = 0.15, 0.3, 0.55
_EXAMPLES_PER_SECOND: Final = 100
_WITHIN: Final = 2.0
_WAITS: Final = (0.0, 0.0, 0.01, 0.1, 0.5)
_CALLS_PER_CALLER: Final = 8
_LEAST_RUNS: Final = 12
"""Runs with enough calls that `test_cluster` makes at the least, however long they take."""
_LEAST_TRIES: Final = 5
"""Of calls one after the other: sequences that are not empty."""
_LEAST_LISTS: Final = 30
"""Lists of calls, not empty, that the contract is tried with at the least: most are short."""
_LEAST_EXAMPLES: Final = 60
"""So many are drawn at the least, should the others not be reached."""
_ENOUGH_CALLS: Final = 5
_POOR_RUNS: Final = 5
"""Of the runs with fewer calls, or without a fault, only so many are made: what failed last time is
among the first. The others say little, and Hypothesis draws many of them before it draws more."""


class ReplicatedTest(unittest.TestCase):
    """What `replicated_test` returns a subclass of."""

    subject: ClassVar[Subject]
    kinds: ClassVar[tuple[str, ...]]
    nodes: ClassVar[int]
    clients: ClassVar[int]
    seconds: ClassVar[float | None]

    def test_contract(self) -> None:
        """Equal calls have equal effects in every copy, restored or in another process."""
        with guarded(self.subject):
            self._test_contract()

    def _test_contract(self) -> None:
        given = hypothesis().given
        other = OtherCopies(self.subject)
        made: list[list[Made]] = []

        def check(calls: list[Made]) -> None:
            made.append(calls)
            check_contract(self.subject, calls)

        try:
            self._search(given(calls=_call_lists(self.subject, 12))(check), _CONTRACT)
            made.sort(key=len)
            other.check(made[-400:])
        finally:
            other.close()

    def test_sequential(self) -> None:
        """One call after another, on any member of a quiet cluster, is as on a plain copy."""
        with guarded(self.subject):
            self._test_sequential()

    def _test_sequential(self) -> None:
        package = hypothesis()
        machine = _machine(self.subject, self.nodes)
        with watch_time(self._budget(_SEQUENTIAL), _LEAST_TRIES) as watch:
            machine.watch = watch
            package.stateful.run_state_machine_as_test(
                machine,
                settings=self._settings(_SEQUENTIAL, stateful_step_count=15),
            )

    def test_cluster(self) -> None:
        """Many callers under faults see what they could have seen on one copy."""
        with guarded(self.subject):
            self._test_cluster()

    def _test_cluster(self) -> None:
        search = _ClusterSearch(self._run, self._is_rich)
        test = hypothesis().given(plan=self._plans())(search.check)
        with watch_time(self._budget(_CLUSTER), _LEAST_RUNS) as search.watch:
            self._settings(_CLUSTER)(test)()
        pool = self._pool() if search.watch.tried < _LEAST_RUNS else []
        for seed in itertools.count():
            if search.watch.tried >= _LEAST_RUNS:
                return
            plan = self._plan_of(seed, pool)
            if self._is_rich(plan):
                self._run(plan)
                search.watch.tried += 1

    @classmethod
    def _is_rich(cls, plan: ClassPlan) -> bool:
        """Return whether a run has enough calls, of several callers, and faults if it may."""
        calling = [calls for calls in plan.callers if calls]
        enough = sum(map(len, calling)) >= _ENOUGH_CALLS and len(calling) >= min(2, cls.clients)
        return enough and (not cls.kinds or bool(plan.plan.faults))

    @classmethod
    def soak(cls, seconds: float = 60.0, *, first_seed: int = 0) -> int:
        """Carry out plan after plan for so many seconds of real time; return how many it were.

        The plans follow from seeds, and are not made short; the calls are drawn once.

        Raises:
            ClassFailure: a plan has failed; the message has the token for `replay`.
        """
        pool = cls._pool()
        deadline = time.monotonic() + seconds
        seed = first_seed
        with guarded(cls.subject):
            while time.monotonic() < deadline:
                cls._run(cls._plan_of(seed, pool))
                seed += 1
        return seed - first_seed

    @classmethod
    def replay(cls, token: str) -> None:
        """Carry out the plan of a token again, and raise what it raised.

        Raises:
            ClassFailure: the plan has failed again.
            ValueError: this is no token of a plan, or one of another class or version of it.
        """
        plan = ClassPlan.from_token(token)
        for planned in itertools.chain(*plan.callers):
            if not cls.subject.accepts(planned.made):
                raise ValueError(
                    f"the token is of another class than {cls.subject.name}, or of another version"
                    f" of its tests: they do not call {planned.made}"
                )
        with guarded(cls.subject):
            cls._run(plan)

    @classmethod
    def _run(cls, plan: ClassPlan) -> None:
        ClassRun(cls.subject, plan).go()

    # Plans

    @classmethod
    def _plans(cls) -> SearchStrategy[ClassPlan]:
        st = hypothesis().strategies
        hundredths = st.integers(0, 99).map(lambda n: n / 100)
        planned = st.builds(
            _planned, st.sampled_from(_WAITS), hundredths, _calls(cls.subject)
        )
        calls = st.lists(planned, max_size=_CALLS_PER_CALLER).map(tuple)
        drawn: SearchStrategy[ClassPlan] = st.builds(
            cls._plan,
            st.integers(0, 2**16),
            fault_lists(cls.kinds, within=_WITHIN),
            st.tuples(*[calls] * cls.clients),
        )
        return drawn

    @classmethod
    def _plan(
        cls, seed: int, faults: tuple[Fault, ...], callers: tuple[tuple[PlannedCall, ...], ...]
    ) -> ClassPlan:
        drawn = draw_plan(seed, "all" if cls.kinds else "calm")
        plan = Plan(
            seed=str(seed),
            size=cls.nodes,
            datagrams=drawn.datagrams,
            settings=drawn.settings,
            chaos=_WITHIN + 1.0,
            faults=faults,
        )
        return ClassPlan(plan, callers)

    @classmethod
    def _plan_of(cls, seed: int, pool: Sequence[Made]) -> ClassPlan:
        random = Random(f"{seed}/class")
        count = random.choice((0, 2, 5, 10)) if cls.kinds else 0
        faults = [
            Fault(
                round(random.random() * _WITHIN, 3), random.choice(cls.kinds),
                *(round(random.random() * 0.99, 3) for _ in range(3)),
            )
            for _ in range(count)
        ]  # fmt: skip
        callers = tuple(
            tuple(
                _planned(random.choice(_WAITS), random.random() * 0.99, random.choice(pool))
                for _ in range(random.randrange(_CALLS_PER_CALLER + 1))
            )
            for _ in range(cls.clients)
        )
        return cls._plan(seed, tuple(sorted(faults, key=lambda fault: fault.at)), callers)

    @classmethod
    def _pool(cls) -> list[Made]:
        """Return calls as the strategies draw them."""
        package = hypothesis()
        pool: list[Made] = []

        def draw(calls: list[Made]) -> None:
            pool.extend(calls)

        package.settings(
            max_examples=50, deadline=None, database=None, derandomize=True,
            phases=[package.Phase.generate],
            suppress_health_check=list(package.HealthCheck),
        )(package.given(calls=_call_lists(cls.subject, 20))(draw))()  # fmt: skip
        if not pool:
            raise ValueError(f"the strategies for {cls.subject.name} have drawn no call")
        return pool

    # Budgets

    @classmethod
    def _budget(cls, part: float) -> float:
        return budget(cls.seconds) * part

    @classmethod
    def _settings(cls, part: float, **more: Any) -> Any:
        package = hypothesis()
        return package.settings(
            max_examples=max(_LEAST_EXAMPLES, int(cls._budget(part) * _EXAMPLES_PER_SECOND)),
            deadline=None,
            suppress_health_check=list(package.HealthCheck),
            report_multiple_bugs=False,
            # Not `explain`: it takes long, and the story of the run says more.
            phases=[phase for phase in package.Phase if phase is not package.Phase.explain],
            **more,
        )

    def _search(self, test: Callable[[], None], part: float) -> None:
        """Let Hypothesis look for a failure until the budget is spent."""
        inner = test.hypothesis.inner_test  # type: ignore[attr-defined]
        with watch_time(self._budget(part), _LEAST_LISTS) as watch:
            test.hypothesis.inner_test = watch.over(inner)  # type: ignore[attr-defined]
            self._settings(part)(test)()


class _ClusterSearch:
    """The runs that `test_cluster` makes of the plans it is given."""

    watch: Watch

    def __init__(
        self, run: Callable[[ClassPlan], None], is_rich: Callable[[ClassPlan], bool]
    ) -> None:
        self._run = run
        self._is_rich = is_rich
        self._poor_runs = 0
        self._failures: dict[str, Exception] = {}

    def check(self, plan: ClassPlan) -> None:
        """Carry the plan out, if it is worth it."""
        self.watch.look()
        token = plan.token()
        if token in self._failures:
            raise self._failures[token]
        if not self._is_worth_it(plan):
            return
        try:
            self._run(plan)
        except Exception as failure:
            self._failures[token] = failure
            self.watch.failed(failure)
            raise

    def _is_worth_it(self, plan: ClassPlan) -> bool:
        if self.watch.found is not None:
            return True  # it is being made short
        if self._is_rich(plan):
            self.watch.tried += 1
            return True
        self._poor_runs += any(plan.callers)
        return any(plan.callers) and self._poor_runs <= _POOR_RUNS


def _planned(wait: float, pick: float, made: Made) -> PlannedCall:
    try:
        arguments = encode(dict(made.args))
    except Unserializable as error:
        # For the codec they are a dict, which nobody has passed.
        raise AssertionError(f"the arguments of {made} cannot be sent: {error}") from error
    return PlannedCall(wait, round(pick, 2), made.method, arguments)


def _calls(subject: Subject) -> SearchStrategy[Made]:
    st = hypothesis().strategies
    drawn: SearchStrategy[Made] = st.one_of(
        *(
            st.builds(Made, st.just(spec.method), st.fixed_dictionaries(spec.arguments))
            for spec in subject.calls
        )
    )
    return drawn


def _call_lists(subject: Subject, size: int) -> SearchStrategy[list[Made]]:
    drawn: SearchStrategy[list[Made]] = hypothesis().strategies.lists(
        _calls(subject), max_size=size
    )
    return drawn


def _machine(subject: Subject, nodes: int) -> Any:
    """Return a state machine of Hypothesis whose rules are the calls."""
    package = hypothesis()
    st, stateful = package.strategies, package.stateful
    base: Any = stateful.RuleBasedStateMachine

    class Machine(base):  # type: ignore[misc]
        watch: ClassVar[Watch]

        def __init__(self) -> None:
            super().__init__()
            self.cluster = QuietCluster(subject, nodes)
            self.has_failed = False

        def make(self, member: int, made: Made) -> None:
            try:
                self.cluster.make(member, made)
            except BaseException as error:
                self._failed(error)
                raise

        def teardown(self) -> None:
            try:
                self.cluster.close(compare=not self.has_failed)
            except BaseException as error:
                self._failed(error)
                raise
            self.watch.tried += bool(self.cluster.made)
            # Not earlier: an end before all is drawn would look like a whim of this machine.
            self.watch.look()

        def _failed(self, error: BaseException) -> None:
            self.has_failed = True
            self.watch.failed(error)

    def rule_of(spec: CallSpec) -> Any:
        def step(self: Machine, member: int, arguments: dict[str, Any]) -> None:
            self.make(member, Made(spec.method, arguments))

        step.__name__ = spec.method
        return stateful.rule(
            member=st.integers(0, nodes - 1), arguments=st.fixed_dictionaries(spec.arguments)
        )(step)

    for number, spec in enumerate(subject.calls):
        name = f"{spec.method}_{number}" if hasattr(Machine, spec.method) else spec.method
        setattr(Machine, name, rule_of(spec))
    Machine.__name__ = Machine.__qualname__ = f"{subject.name}Machine"
    return Machine


def replicated_test(
    cls: type[Replicated],
    calls: Sequence[CallSpec],
    *,
    args: Sequence[Any] = (),
    invariant: Callable[[Any], object] | None = None,
    partition: Callable[[Made], Hashable] | None = None,
    faults: str | Sequence[str] | None = "default",
    nodes: int = 3,
    clients: int = 4,
    seconds: float | None = None,
) -> type[ReplicatedTest]:
    """Return a test class for pytest and unittest that tests `cls`; assign it to a name.

    `calls`: what to call, made by `call`. `args`: the constructor's arguments. `invariant`: given
    an object, returns or asserts that it is sound; asked after every command on every member.
    `partition`: given a call (`method`, `args` by name), returns which part of the state it
    concerns, if no call concerns two; makes the search for an order faster. `faults`: "default",
    "network", "none", or a list of kinds of faults (methods of `nemesis.Nemesis`). `seconds`: of
    CPU time for all tests of the class (None: 4, or what the environment variable
    SYNCSTRUCTS_TEST_SECONDS says, which has the last word). Of methods with several versions the
    newest bodies are tested.

    Raises:
        TypeError: the class is not `Replicated`, or a call does not fit it; says how.
        ValueError: a setting makes no sense.
        ImportError: Hypothesis is not installed: `pip install 'syncstructs[test]'`.
    """
    for name, number in (("nodes", nodes), ("clients", clients)):
        if type(number) is not int or number < 1:
            raise ValueError(f"{name}={number!r} must be a whole number, at least 1")
    if seconds is not None:
        checked_seconds(seconds)
    subject = Subject(cls, calls, args=args, invariant=invariant, partition=partition)
    subject.check_constructor()
    caller = sys._getframe(1).f_globals.get("__name__", __name__)
    return type(
        f"Test{cls.__name__}",
        (ReplicatedTest,),
        {
            "__module__": caller,
            "__doc__": f"Tests of {cls.__qualname__}.",
            "subject": subject,
            "kinds": fault_kinds(faults),
            "nodes": nodes,
            "clients": clients,
            "seconds": seconds,
        },
    )
