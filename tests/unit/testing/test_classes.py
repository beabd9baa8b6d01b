"""`replicated_test`: each of its tests catches what it is there for, and leaves the right alone."""

import os
import signal
import subprocess
import sys
import time
import unittest
import warnings

import broken_stocks as stocks
import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from syncstructs import Replicated, operation, replicated
from syncstructs.testing import (
    ClassFailure,
    ContractBroken,
    ContractWarning,
    Failure,
    budgets,
    call,
    classes,
    guards,
    plans,
    replicated_test,
    run_plan,
)

ARTICLE = st.sampled_from(["nut", "bolt"])
STOCK = [
    call("add", article=ARTICLE, count=st.integers(1, 3)),
    call("take", article=ARTICLE),
    call("left", article=ARTICLE),
]
WORD = st.text(max_size=3)
JOURNAL = [
    call("write", words=st.lists(WORD, max_size=2), marks=st.dictionaries(st.just("m"), WORD)),
    call("twice", word=WORD),
    call("copy"),
    call("write_through", word=WORD),
]
SEAT, WHO = st.integers(1, 2), st.sampled_from(["ann", "bob"])
BOOKING = [
    call("book", seat=SEAT, who=WHO),
    call("free", seat=SEAT),
    call("book_politely", seat=SEAT, who=WHO),
]

TURNSTILE = [call("enter"), call("turn")]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Keep Hypothesis from finding failures of an earlier run."""
    monkeypatch.setenv("HYPOTHESIS_STORAGE_DIRECTORY", str(tmp_path))
    monkeypatch.chdir(tmp_path)


def sound(stock):
    return all(count >= 0 for count in stock.pieces.values())


@pytest.fixture
def derandomized():
    """How short a failure becomes depends on what was found first: the same in every run here."""
    before = hypothesis.settings.default
    hypothesis.settings.register_profile("derandomized", before, derandomize=True, database=None)
    hypothesis.settings.load_profile("derandomized")
    yield
    hypothesis.settings.register_profile("before", before)
    hypothesis.settings.load_profile("before")


def failure_of(tests, name):
    with pytest.raises(AssertionError) as caught:
        tests(name).debug()
    return str(caught.value)


TestRightStock = replicated_test(stocks.Stock, [*STOCK, call("kinds")], invariant=sound, seconds=2)
TestRightJournal = replicated_test(stocks.Journal, JOURNAL, args=(3,), seconds=2)
TestRightTurnstile = replicated_test(stocks.Turnstile, TURNSTILE, seconds=2)
TestRightBooking = replicated_test(stocks.Booking, BOOKING, seconds=2, nodes=5)


@pytest.mark.parametrize(
    ("cls", "calls", "args"),
    [
        (stocks.Stock, STOCK, ()),
        (stocks.Journal, JOURNAL, (3,)),
        (stocks.Booking, BOOKING, ()),
        (stocks.Turnstile, TURNSTILE, ()),
    ],
    ids=["stock", "journal", "booking", "turnstile"],
)
def test_no_alarm_for_what_is_right(cls, calls, args):
    invariant = sound if cls is stocks.Stock else None
    tests = replicated_test(cls, calls, args=args, invariant=invariant)
    pool = tests._pool()
    for seed in range(60):
        tests._run(tests._plan_of(seed, pool))


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (stocks.Clock, "add() calls time.time()"),
        (stocks.Calendar, "add() calls datetime.now()"),
        (stocks.Dice, "add() calls random.randint()"),
        (stocks.Ids, "add() calls uuid.uuid4()"),
        (stocks.Hashes, "add() calls hash()"),
        (stocks.Addresses, "add() calls id()"),
        (stocks.SetOrder, "the order of a set of strings"),
        (stocks.RaisesItself, "nothing in <object object at"),
        (stocks.Global, "state outside the object"),
        (stocks.ClassAttribute, "state outside the object"),
        (stocks.Unkept, "attribute 'pieces'"),
        (stocks.Unsent, "the result of Unsent.add() cannot be sent"),
        (stocks.Forgetful, "depend on what LOCAL names ('added')"),
        (stocks.Twins, "two parts of the state are one object"),
        (stocks.Leaky, "returns a part of the state itself"),
        (stocks.SecretChange, "is not marked @replicated"),
        (stocks.Negative, "the invariant does not hold"),
        (stocks.Restored, "is another one after it was restored"),
        (stocks.Environment, "add() reads os.environ"),
        (stocks.Directory, "add() calls posix.getcwd()" if os.name == "posix" else "getcwd()"),
        (stocks.Lazy, "Lazy.add() is a command that returns a generator"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_contract_catches(cls, says):
    invariant = sound if cls is stocks.Negative else None
    tests = replicated_test(cls, STOCK, invariant=invariant, seconds=20)
    assert says in failure_of(tests, "test_contract")


def test_contract_is_shown_by_the_fewest_calls():
    told = failure_of(replicated_test(stocks.SetOrder, STOCK), "test_contract")
    assert told.count("\n  1. ") == 1
    assert "\n  2. " not in told


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (stocks.Dice, "had not the same effect on all members"),
        (stocks.Global, "had not the same effect on all members"),
        (stocks.SecretChange, "state"),
        (stocks.Negative, "the invariant does not hold"),
        (stocks.Stale, "but a plain copy gives"),
        (stocks.Unkept, "has no encoding"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_sequential_catches(cls, says):
    invariant = sound if cls is stocks.Negative else None
    tests = replicated_test(cls, STOCK, invariant=invariant, seconds=60)
    assert says in failure_of(tests, "test_sequential")


@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (stocks.Race, "add("),
        (stocks.Stale, "left("),
        (stocks.Dice, "had not the same effect on all members"),
        (stocks.Forgetful, "Forgetful under faults"),
        (stocks.Negative, "the invariant does not hold"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_cluster_catches(cls, says, derandomized):
    invariant = sound if cls is stocks.Negative else None
    tests = replicated_test(cls, STOCK, invariant=invariant, seconds=120)
    told = failure_of(tests, "test_cluster")
    assert says in told
    token = told.partition(".replay('")[2].partition("')")[0]
    with pytest.raises(ClassFailure) as again:
        tests.replay(token)
    if cls is stocks.Race:
        assert str(again.value) in told
        assert told.count(" at n") <= 8, "the failure is not short"


def test_soak_finds_a_race_and_replay_shows_it_again():
    tests = replicated_test(stocks.Race, STOCK)
    with pytest.raises(ClassFailure) as caught:
        tests.soak(60.0)
    token = str(caught.value).partition(".replay('")[2].partition("')")[0]
    with pytest.raises(ClassFailure) as again:
        tests.replay(token)
    assert str(again.value) == str(caught.value)


def test_soak_says_how_many_plans_it_has_tried():
    assert replicated_test(stocks.Stock, STOCK, faults=None).soak(0.2) > 0


def test_a_plan_ends_in_the_same_way_every_time():
    tests = replicated_test(stocks.Stock, STOCK)
    from syncstructs.testing.class_runs import ClassRun

    pool = tests._pool()
    traces = []
    for _ in range(2):
        run = ClassRun(tests.subject, tests._plan_of(4, pool))
        run.go()
        traces.append((run.simulation.network.trace, list(map(str, run.history))))
    assert traces[0] == traces[1]


def test_a_token_of_something_else_is_refused():
    tests = replicated_test(stocks.Stock, STOCK)
    for token in ("", "nonsense", "eJwDAAAAAAE", 123, None):
        with pytest.raises(ValueError, match="no replay token"):
            tests.replay(token)


def test_a_token_of_another_class_is_refused():
    token = replicated_test(stocks.Journal, JOURNAL)._plan(0, (), ((), ())).token()
    replicated_test(stocks.Stock, STOCK).replay(token)  # it has no calls
    tests = replicated_test(stocks.Booking, BOOKING)
    token = tests._plan_of(3, tests._pool()).token()
    with pytest.raises(ValueError, match=r"of another class than Stock.* do not call (book|free)"):
        replicated_test(stocks.Stock, STOCK).replay(token)


def test_a_partition_that_raises_does_not_hide_the_run():
    def partition(made):
        return made.args["place"]

    tests = replicated_test(stocks.Race, STOCK, partition=partition)
    with pytest.raises(ClassFailure, match="partition= raised KeyError") as caught:
        tests.soak(20.0)
    assert ".replay('" in str(caught.value)


@pytest.mark.parametrize("name", ["test_contract", "test_sequential", "test_cluster"])
@pytest.mark.parametrize(
    ("cls", "says"),
    [
        (stocks.Exits, r"Exits.add\(\) raised SystemExit\(3\), which ends the process"),
        (stocks.Interrupts, r"Interrupts.left\(\) raised KeyboardInterrupt\(\), which ends"),
    ],
)
def test_what_ends_the_process_is_named(cls, says, name):
    with pytest.raises(AssertionError, match=says):
        replicated_test(cls, STOCK)(name).debug()


@pytest.fixture
def hear_ctrl_c():
    """Do as if this were run in a terminal: a shell has what it runs behind ignore Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_ends_the_tests(hear_ctrl_c):
    tests = replicated_test(stocks.Stock, STOCK, invariant=lambda stock: signal.raise_signal(2))
    for name in ("test_contract", "test_sequential", "test_cluster"):
        with pytest.raises(KeyboardInterrupt):
            tests(name).debug()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def free_alarm():
    """Take the alarm from pytest-timeout."""
    if not hasattr(signal, "SIGALRM"):
        pytest.skip("there is no alarm")
    rest, _ = signal.setitimer(signal.ITIMER_REAL, 0)
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGALRM, before)
    signal.setitimer(signal.ITIMER_REAL, rest)


def test_who_uses_the_alarm_keeps_it(free_alarm):
    def ring(number, frame):
        pass

    signal.signal(signal.SIGALRM, ring)
    replicated_test(stocks.Stock, STOCK, seconds=0.01)("test_sequential").debug()
    assert signal.getsignal(signal.SIGALRM) is ring


@pytest.mark.parametrize("name", ["test_contract", "test_sequential", "test_cluster"])
@pytest.mark.parametrize(
    ("calls", "says"), [(STOCK[:1], r"Endless.add\(\)"), (STOCK[2:], r"Endless.left\(\)")]
)
@pytest.mark.usefixtures("free_alarm")
def test_what_never_returns_is_named(calls, says, name, monkeypatch):
    monkeypatch.setattr(guards, "_LOOKS", 0.3)
    tests = replicated_test(stocks.Endless, calls)
    with pytest.raises(AssertionError, match=f"^{says} has not returned for 0.3 seconds"):
        tests(name).debug()
    used = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - used < 0.1, "a thread goes on"
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_an_argument_that_cannot_be_sent_is_named_with_its_call():
    calls = [call("add", article=st.builds(object))]
    told = failure_of(replicated_test(stocks.Stock, calls), "test_cluster")
    assert "the arguments of add(article=<object" in told


def test_the_budget_is_kept(monkeypatch):
    """The bound is wide: a run that has begun is ended."""
    monkeypatch.setattr(classes, "_EXAMPLES_PER_SECOND", 100_000)
    tests = replicated_test(stocks.Stock, STOCK, seconds=100)
    monkeypatch.setenv("SYNCSTRUCTS_TEST_SECONDS", "0.5")
    began = time.process_time()
    for name in ("test_contract", "test_sequential", "test_cluster"):
        tests(name).debug()
    assert time.process_time() - began < 5


def calls_of_the_runs(tests, monkeypatch):
    """Return for each run that `test_cluster` makes how many calls and faults it has."""
    seen = []
    run = tests._run

    def counted(plan):
        seen.append((sum(map(len, plan.callers)), len(plan.plan.faults)))
        run(plan)

    monkeypatch.setattr(tests, "_run", staticmethod(counted))
    tests("test_cluster").debug()
    return seen


def test_most_runs_have_calls_and_faults(monkeypatch):
    runs = calls_of_the_runs(replicated_test(stocks.Stock, STOCK), monkeypatch)
    assert sum(calls >= 5 and faults > 0 for calls, faults in runs) > 0.7 * len(runs)


def test_without_time_there_are_runs_with_calls_all_the_same(monkeypatch):
    tests = replicated_test(stocks.Stock, STOCK, seconds=0.001)
    runs = calls_of_the_runs(tests, monkeypatch)
    assert sum(calls >= 5 and faults > 0 for calls, faults in runs) >= classes._LEAST_RUNS


def test_runs_are_made_even_if_hypothesis_draws_none_that_is_worth_it(monkeypatch):
    tests = replicated_test(stocks.Stock, STOCK, seconds=0.1)
    nearly_empty = st.just(tests._plan(0, (), ((),) * 4))
    monkeypatch.setattr(tests, "_plans", staticmethod(lambda: nearly_empty))
    runs = calls_of_the_runs(tests, monkeypatch)
    assert sum(calls >= 5 for calls, _ in runs) >= classes._LEAST_RUNS


@pytest.mark.parametrize("name", ["test_contract", "test_sequential", "test_cluster"])
def test_what_differs_at_the_first_call_is_found_without_time(name):
    tests = replicated_test(stocks.Dice, STOCK, seconds=0.001)
    assert "Dice" in failure_of(tests, name) or "add()" in failure_of(tests, name)


def test_making_a_failure_short_ends_in_time(monkeypatch):
    monkeypatch.setattr(budgets, "_SHRINKING_MAX", 0.3)
    for name in ("test_sequential", "test_cluster"):
        tests = replicated_test(stocks.Stale, STOCK, seconds=60)
        began = time.process_time()
        assert "left(" in failure_of(tests, name)
        assert time.process_time() - began < 10


def test_what_passes_prints_nothing(capsys):
    for name in ("test_contract", "test_sequential", "test_cluster"):
        replicated_test(stocks.Stock, STOCK, seconds=0.3)(name).debug()
    assert capsys.readouterr().out == ""


def test_it_is_an_ordinary_test_class():
    tests = replicated_test(stocks.Stock, STOCK, seconds=0.5)
    assert tests.__module__ == __name__
    suite = unittest.defaultTestLoader.loadTestsFromTestCase(tests)
    assert suite.countTestCases() == 3
    assert suite.run(unittest.TestResult()).wasSuccessful()


def test_a_class_that_no_other_process_can_import_is_tested_all_the_same():
    class Inner(stocks.Stock):
        pass

    with pytest.warns(ContractWarning, match="is not at the top of a module"):
        replicated_test(Inner, STOCK, seconds=1)("test_contract").debug()


def test_without_a_failure_there_is_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        replicated_test(stocks.Stock, STOCK, seconds=1)("test_contract").debug()


# Wrong use


class Odd(Replicated):
    number = 7

    @replicated
    def add(self, count, *, mark=None):
        pass

    @operation
    def wait(self):
        yield

    @staticmethod
    def help():
        pass


@pytest.mark.parametrize(
    ("cls", "calls", "error", "says"),
    [
        (dict, [call("get")], TypeError, "inherits from Replicated"),
        (Odd(), [call("add")], TypeError, "inherits from Replicated"),
        (Odd, [], ValueError, "nothing to call"),
        (Odd, ["add"], TypeError, 'takes call\\("method"'),
        (Odd, [call("sub")], TypeError, "Odd.sub does not exist"),
        (Odd, [call("wait")], TypeError, "is an @operation"),
        (Odd, [call("number")], TypeError, "no method or property"),
        (Odd, [call("add")], TypeError, "lacks a strategy for the argument 'count'"),
        (Odd, [call("add", count=7)], TypeError, r"needs a Hypothesis strategy.*st.just\(7\)"),
        (Odd, [call("add", n=ARTICLE)], TypeError, "has no argument 'n'; it takes count, mark"),
    ],
)
def test_wrong_use_is_refused(cls, calls, error, says):
    with pytest.raises(error, match=says):
        replicated_test(cls, calls)


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"partition": "k"}, TypeError, "partition='k' must be a function; write partition="),
        ({"invariant": 3}, TypeError, "invariant=3 must be a function; write invariant="),
        ({"seconds": -1}, ValueError, "seconds=-1 must be a number of seconds above 0"),
        ({"seconds": "2"}, ValueError, "seconds='2' must be a number of seconds above 0"),
        ({"nodes": "3"}, ValueError, "nodes='3' must be a whole number, at least 1"),
        ({"clients": 1.5}, ValueError, "clients=1.5 must be a whole number, at least 1"),
        ({"args": 3}, TypeError, r"args=3 must be a list of arguments; write args=\[3\]"),
        ({"args": [1, 2]}, TypeError, r"cannot be made with args=\[1, 2\].*give the arguments"),
        ({"args": [object()]}, TypeError, "args=.* must be values that can be sent"),
        ({"calls": call("take", article=ARTICLE)}, TypeError, r"write calls=\[call\('take'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_settings_are_refused(wrong, error, says):
    with pytest.raises(error, match=says):
        replicated_test(stocks.Stock, **{"calls": STOCK, **wrong})


def test_a_budget_that_is_no_number_is_refused(monkeypatch):
    tests = replicated_test(stocks.Stock, STOCK)
    for wrong in ("abc", "-1", "nan"):
        monkeypatch.setenv("SYNCSTRUCTS_TEST_SECONDS", wrong)
        with pytest.raises(ValueError, match=f"SYNCSTRUCTS_TEST_SECONDS='{wrong}' is no number"):
            tests("test_cluster").debug()


def test_unknown_faults_are_refused():
    with pytest.raises(ValueError, match="'everything' is none of default"):
        replicated_test(stocks.Stock, STOCK, faults="everything")
    with pytest.raises(ValueError, match="'flood' is no kind of fault"):
        replicated_test(stocks.Stock, STOCK, faults=["crash", "flood"])
    with pytest.raises(ValueError, match="nodes=0"):
        replicated_test(stocks.Stock, STOCK, nodes=0)


def test_without_hypothesis_the_package_is_imported_and_says_what_to_install(tmp_path):
    (tmp_path / "hypothesis.py").write_text("raise ImportError('not here')", encoding="utf-8")
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from syncstructs import ReplCounter\n"
        "from syncstructs.testing import call, replicated_test\n"
        "try: replicated_test(ReplCounter, [call('inc')])\n"
        "except ImportError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert "pip install 'syncstructs[test]'" in done.stdout, done.stderr


# Strategies


@settings(
    max_examples=5, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)
@given(plan=plans("network", size=3, max_faults=4, chaos=1.0))
def test_plans_can_be_run(plan):
    assert plan.size == 3
    assert len(plan.faults) <= 4
    assert not isinstance(run_plan(plan), Failure)


def test_plans_of_no_profile_are_refused():
    with pytest.raises(ValueError, match="'floods' is none of"):
        plans("floods")


def test_broken_contracts_are_assertions():
    assert issubclass(ContractBroken, AssertionError)
    assert issubclass(ClassFailure, AssertionError)


def test_the_bugs_of_the_engine_can_be_planted_by_anybody():
    from syncstructs.testing import planted, selftest

    (hunt,) = selftest(bugs=planted.BUILT_IN[-1:])
    assert hunt.is_caught
