"""The calling side of a wait when the cluster is silent: nothing hangs, nothing is lost."""

import pytest
from local_cluster import LocalCluster

from syncstructs import ReplQueue
from syncstructs.errors import (
    Cancelled,
    NodeClosed,
    OutcomeUnknown,
    ResultLost,
    SessionExpired,
    Withdrawn,
)
from syncstructs.futures import Future
from syncstructs.structs.queues import ShutDown
from syncstructs.structs.waiting import WITHDRAW_GRACE, Wait


class Script:
    """A cluster that answers when the test says so."""

    def __init__(self, **options):
        self.cluster = LocalCluster(1)
        self.port = self.cluster.members[0]
        self.entered, self.withdrawn, self.undone = [], [], []
        self.sent = True
        self.wait = Wait(
            self.cluster.attach("jobs", ReplQueue)[0],
            "get",
            lambda ticket: self.submit(self.entered),
            lambda ticket: self.submit(self.withdrawn),
            **options,
        )

    def submit(self, calls):
        """Submit a command that can be taken back while `sent` is False."""
        future = Future(self.cluster, lambda: not self.sent)
        calls.append(future)
        return future

    def undo(self, served):
        self.undone.append(served)
        future = Future(self.cluster)
        future.finish(None, None)
        return future


def undoing():
    script = Script()
    script.wait.undo = script.undo
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


@pytest.mark.parametrize("frees", [False, True])
def test_silent_cluster_ends_a_wait_soon_after_its_time_and_undoes_what_it_serves_then(frees):
    script = undoing()
    script.wait.frees = frees
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5 + WITHDRAW_GRACE)
    assert isinstance(future.exception(0), OutcomeUnknown), "nothing is certain"
    assert str(future.exception(0)).startswith("jobs.get(): ")
    script.entered[0].finish("late", None)
    assert not script.undone
    script.withdrawn[0].finish(None, None)
    assert script.undone == ["late"]


def test_silent_cluster_leaves_open_what_cannot_be_undone():
    script = Script()
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5 + WITHDRAW_GRACE)
    assert isinstance(future.exception(0), OutcomeUnknown)


def test_wait_that_never_left_this_node_ends_in_time_and_leaves_nothing():
    script = undoing()
    script.sent = False
    future = script.port.start(script.wait.served(WITHDRAW_GRACE))
    script.cluster.advance(WITHDRAW_GRACE)
    assert future.result(0) is None
    assert script.entered[0].cancelled()
    assert not script.withdrawn


def test_short_wait_gets_its_chance_to_be_sent():
    script = undoing()
    script.sent = False
    future = script.port.start(script.wait.served(0))
    script.cluster.advance(WITHDRAW_GRACE / 2)
    script.sent = True
    script.entered[0].finish("served", None)
    script.withdrawn[0].finish(None, None)
    assert future.result(0) == "served"


def test_short_wait_that_is_never_sent_leaves_nothing():
    script = undoing()
    script.sent = False
    future = script.port.start(script.wait.served(0))
    script.cluster.advance(WITHDRAW_GRACE)
    assert future.result(0) is None
    assert script.entered[0].cancelled()
    assert script.withdrawn[0].cancelled()


def test_silent_cluster_ends_a_call_that_does_not_wait_and_undoes_it():
    script = undoing()
    script.port.call_timeout = 7.0
    future = script.port.start(script.wait.at_once())
    script.cluster.advance(6.9)
    assert not future.done()
    script.cluster.advance(0.1)
    assert isinstance(future.exception(0), OutcomeUnknown)
    script.entered[0].finish("late", None)
    script.withdrawn[0].finish(None, None)
    assert script.undone == ["late"]


def test_call_that_does_not_wait_and_was_never_sent_is_taken_back():
    script = undoing()
    script.port.call_timeout = 7.0
    script.sent = False
    future = script.port.start(script.wait.at_once())
    script.cluster.advance(7.0)
    with pytest.raises(Withdrawn, match=r"jobs\.get\(\): not sent within 7.0 s"):
        future.result(0)
    assert script.entered[0].cancelled()
    assert not script.withdrawn


def test_node_that_ends_meanwhile_leaves_the_last_word_to_the_wait_itself():
    script = undoing()
    script.wait.withdraw = refusing(NodeClosed("closed"))
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5)
    assert not future.done(), "it may have been served before the end"
    script.entered[0].finish("served", None)
    assert future.result(0) == "served"


@pytest.mark.parametrize("frees", [False, True])
def test_a_withdrawal_of_which_nobody_knows_may_free_what_was_served(frees):
    script = Script(frees=frees)
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5)
    script.entered[0].finish("served", None)
    script.withdrawn[0].finish(None, OutcomeUnknown("the node has ended"))
    if frees:
        assert isinstance(future.exception(0), OutcomeUnknown)
    else:
        assert future.result(0) == "served"


def test_a_withdrawal_of_which_nobody_knows_leaves_certain_what_cannot_be_freed():
    for value, error in ((None, ShutDown()), (None, None)):
        script = Script(frees=True)
        future = script.port.start(script.wait.served(5))
        script.cluster.advance(5)
        script.entered[0].finish(value, error)
        script.withdrawn[0].finish(None, OutcomeUnknown("the node has ended"))
        assert future.exception(0) is error
        assert error or future.result(0) is None


def test_a_withdrawal_that_was_never_sent_frees_nothing():
    script = Script(frees=True)
    future = script.port.start(script.wait.served(5))
    script.cluster.advance(5)
    script.entered[0].finish("served", None)
    script.withdrawn[0].finish(None, NodeClosed("closed"))
    assert future.result(0) == "served"


def refusing(error):
    def refuse(ticket):
        raise error

    return refuse


def test_cleaning_up_is_bounded_by_the_time_of_the_wait():
    script = undoing()
    cleaning = script.submit([])
    future = script.port.start(script.wait.seen_through(cleaning, script.port.now() + 5))
    script.cluster.advance(5 + WITHDRAW_GRACE)
    assert isinstance(future.exception(0), OutcomeUnknown)
    assert not cleaning.done()


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


def test_cancelling_what_was_never_sent_leaves_nothing():
    script = undoing()
    script.sent = False
    assert script.port.start(script.wait.served(5)).cancel()
    assert script.entered[0].cancelled()
    assert not script.withdrawn


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
