"""The calling side of a wait when the cluster is silent: nothing hangs, nothing is lost."""

import pytest
from local_cluster import LocalCluster

from syncstructs.errors import Cancelled, NodeClosed, OutcomeUnknown, ResultLost, SessionExpired
from syncstructs.futures import Future
from syncstructs.structs.waiting import ANSWER_GRACE, WITHDRAW_GRACE, Wait


class Script:
    """A cluster that answers when the test says so."""

    def __init__(self, **options):
        self.cluster = LocalCluster(1)
        self.port = self.cluster.members[0]
        self.entered, self.withdrawn, self.undone = [], [], []
        self.wait = Wait(
            self.port,
            lambda ticket: self.submit(self.entered),
            lambda ticket: self.submit(self.withdrawn),
            **options,
        )

    def submit(self, calls):
        calls.append(Future(self.cluster))
        return calls[-1]

    def undo(self, served):
        self.undone.append(served)
        future = Future(self.cluster)
        future.finish(None, None)
        return future


def undoing():
    script = Script()
    script.wait = Wait(script.port, script.wait.enter, script.wait.withdraw, script.undo)
    return script


def test_what_is_served_in_time_is_returned():
    script = undoing()
    future = script.port.start(script.wait.served(5))
    script.entered[0].finish("served", None)
    assert future.result(0) == "served"
    assert not script.withdrawn


def test_what_was_served_before_the_withdrawal_counts():
    script = undoing()
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5)
    script.entered[0].finish("served", None)
    script.withdrawn[0].finish(None, None)
    assert future.result(0) == "served"


def test_what_withdrawing_frees_does_not_count():
    script = Script(frees=True)
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5)
    script.entered[0].finish("served", None)
    script.withdrawn[0].finish(None, None)
    assert future.result(0) is None


def test_silent_cluster_ends_a_wait_soon_after_its_time_and_undoes_what_it_serves_then():
    script = undoing()
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5 + WITHDRAW_GRACE)
    assert future.result(0) is None
    script.entered[0].finish("late", None)
    assert not script.undone
    script.withdrawn[0].finish(None, None)
    assert script.undone == ["late"]


def test_silent_cluster_leaves_open_what_cannot_be_undone():
    script = Script()
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5 + WITHDRAW_GRACE)
    assert isinstance(future.exception(0), OutcomeUnknown)


def test_silent_cluster_ends_a_call_that_does_not_wait_and_undoes_it():
    script = undoing()
    future = script.port.start(script.wait.at_once())
    script.cluster.advance(ANSWER_GRACE)
    assert isinstance(future.exception(0), OutcomeUnknown)
    script.entered[0].finish("late", None)
    script.withdrawn[0].finish(None, None)
    assert script.undone == ["late"]


def test_wait_without_time_limit_has_none():
    script = undoing()
    future = script.port.start(script.wait.served(None))
    script.cluster.advance(1e9)
    assert not future.done()


def test_expired_session_begins_the_wait_anew_with_the_time_that_is_left():
    script = undoing()
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(3)
    script.entered[0].finish(None, SessionExpired("by the test"))
    assert len(script.entered) == 2
    script.cluster.advance(2)
    script.entered[1].finish(None, None)
    script.withdrawn[0].finish(None, None)
    assert future.result(0) is None


def test_session_that_expires_at_the_end_leaves_what_was_served():
    script = undoing()
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5)
    script.entered[0].finish("served", None)
    script.withdrawn[0].finish(None, SessionExpired("by the test"))
    assert future.result(0) == "served"


def test_lost_result_is_an_error_unless_withdrawing_frees_it():
    script = undoing()
    future = script.port.start(script.wait.served(5))
    script.entered[0].finish(None, ResultLost("by the test"))
    assert isinstance(future.exception(0), ResultLost)

    script = Script(frees=True)
    future = script.port.start(script.wait.served(5))
    script.entered[0].finish(None, ResultLost("by the test"))
    script.withdrawn[0].finish(None, None)
    script.entered[1].finish("served", None)
    assert future.result(0) == "served"


@pytest.mark.parametrize("when", ["waiting", "withdrawing"])
def test_cancelling_withdraws_and_undoes(when):
    script = undoing()
    future = script.port.start(script.wait.served(5))
    if when == "withdrawing":
        script.cluster.advance(5)
    assert future.cancel()
    script.entered[0].finish("served", None)
    for withdrawal in script.withdrawn:
        withdrawal.finish(None, None)
    assert script.undone == ["served"]
    with pytest.raises(Cancelled):
        future.result(0)


def test_cancelling_at_the_closing_of_the_node_ends_with_the_cancel():
    script = undoing()
    future = script.port.start(script.wait.served(5))
    future.cancel()
    script.withdrawn[0].finish(None, NodeClosed("by the test"))
    script.entered[0].finish(None, NodeClosed("by the test"))
    assert future.cancelled()
    assert not script.undone
