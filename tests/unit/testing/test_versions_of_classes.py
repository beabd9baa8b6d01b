"""`replicated_test` of classes whose methods have versions: it is the newest bodies that count."""

import hypothesis.strategies as st
import pytest
import versioned_stocks as stocks

from syncstructs.testing import call, replicated_test
from syncstructs.testing.classmodel import ClassModel
from syncstructs.testing.history import Op
from syncstructs.testing.simulator import Simulation
from syncstructs.testing.subjects import Subject

COUNT = st.integers(0, 2)
CALLS = [
    call("take", count=COUNT), call("give", count=COUNT), call("both", count=COUNT), call("least"),
]  # fmt: skip


def newest_only(stock):
    return set(stock.seen) <= {3}


@pytest.mark.parametrize("cls", [stocks.Stock, stocks.Derived])
@pytest.mark.parametrize("name", ["test_contract", "test_sequential", "test_cluster"])
def test_the_newest_bodies_are_tested_and_the_others_never_run(cls, name):
    tests = replicated_test(cls, CALLS, invariant=newest_only, seconds=2)
    tests(name).debug()


@pytest.mark.parametrize(
    ("cls", "name", "says"),
    [
        (stocks.Counted, "test_contract", "state outside the object"),
        (stocks.Counted, "test_cluster", "had not the same effect on all members"),
        (stocks.Unkept, "test_cluster", "the state has no encoding"),
    ],
)
def test_what_is_wrong_with_the_newest_body_is_found(cls, name, says):
    tests = replicated_test(cls, CALLS, seconds=2)
    with pytest.raises(AssertionError) as caught:
        tests(name).debug()
    assert says in str(caught.value)


def test_a_subject_knows_all_commands_at_its_newest_version():
    subject = Subject(stocks.Derived, CALLS)
    assert subject.version == 3
    assert sorted(subject.commands) == ["both", "give", "take"]
    assert subject.is_command("give")
    assert subject.commands["take"] is stocks.Derived.take.function


def test_a_simulation_begins_with_a_version_and_keeps_what_comes_after_it_over_crashes():
    cluster = Simulation(
        1, {"stock": stocks.Stock}, version=2, snapshot_log_entries=10, log_keep_bytes=1
    )
    cluster.start()
    for number in range(30):
        cluster.await_all([cluster.objects(cluster.up[0])["stock"].take.submit(0)])
        if number == 14:
            cluster.settle()
            cluster.await_all([cluster.node(cluster.up[0]).set_version.submit(3)])
        if number % 10 == 5:
            cluster.crash(cluster.up[0])
            cluster.start_again()
    cluster.settle()
    for address in cluster.addresses:
        cluster.crash(address)
    cluster.start()
    cluster.settle()
    assert {life.node.version for life in cluster.lives()} == {3}
    assert cluster.objects("n1:1")["stock"].seen == [2] * 15 + [3] * 15
    cluster.end()


def test_a_class_as_a_model_does_what_its_newest_bodies_do():
    model = ClassModel(stocks.Stock)
    for method, outcome in (("both", [3, 5]), ("give", 7)):
        op = Op(id=1, process="a", method=method, args=(2,), call=1.0)
        assert model.apply(model.initial(), op)[1] == outcome
