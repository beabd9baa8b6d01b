"""`replicated_test`: each of its tests catches what it is there for, and leaves the right alone."""

import subprocess
import sys
import time
import unittest
import warnings

import broken_stocks as stocks
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
        (stocks.Forgetful, "a snapshot keeps neither"),
        (stocks.Twins, "two parts of the state are one object"),
        (stocks.Leaky, "returns a part of the state itself"),
        (stocks.SecretChange, "is not marked @replicated"),
        (stocks.Negative, "the invariant does not hold"),
        (stocks.Restored, "is another one after it was restored"),
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
def test_cluster_catches(cls, says):
    invariant = sound if cls is stocks.Negative else None
    tests = replicated_test(cls, STOCK, invariant=invariant, seconds=30)
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
    for token in ("", "nonsense", "eJwDAAAAAAE"):
        with pytest.raises(ValueError, match="no replay token"):
            tests.replay(token)


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
