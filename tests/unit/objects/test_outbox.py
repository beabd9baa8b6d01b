import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncstructs.errors import NodeFailed
from syncstructs.objects.outbox import Outbox


class Call:
    def __init__(self, command=b"c"):
        self.command = command
        self.parked = False


def test_nothing_is_sent_before_a_session_is_open():
    outbox = Outbox()
    outbox.add([Call()])
    assert outbox.take(100) is None
    outbox.open(5)
    assert outbox.take(100) == (1, 1, b"c")


def test_a_run_has_at_least_one_call_and_keeps_to_the_limit():
    outbox = Outbox()
    outbox.open(1)
    outbox.add([Call(b"long" * 9), Call(b"a"), Call(b"b"), Call(b"c")])
    assert outbox.take(2) == (1, 1, b"long" * 9)
    assert outbox.take(2) == (2, 2, b"ab")
    assert outbox.take(2) == (4, 1, b"c")
    assert outbox.take(2) is None


def test_after_a_rewind_calls_keep_their_numbers():
    outbox = Outbox()
    outbox.open(1)
    outbox.add([Call(b"a"), Call(b"b")])
    outbox.take(1)
    outbox.take(1)
    outbox.rewind()
    assert outbox.take(10) == (1, 2, b"ab")


def test_a_rewind_to_a_number_leaves_what_stands_before_it():
    outbox = Outbox()
    outbox.open(1)
    outbox.add([Call(b"a"), Call(b"b"), Call(b"c"), Call(b"d")])
    outbox.take(10)
    outbox.applied(1, 1)
    outbox.rewind(3)
    assert outbox.take(10) == (3, 2, b"cd")
    outbox._check()


def test_a_call_applied_before_it_was_sent_again_ends():
    outbox = Outbox()
    outbox.open(1)
    call = Call()
    outbox.add([call])
    outbox.take(10)
    outbox.rewind()
    assert outbox.applied(1, 1) == [call]
    assert outbox.take(10) is None


def test_a_run_ends_that_was_sent_again_in_part():
    outbox = Outbox()
    outbox.open(1)
    calls = [Call(b"a"), Call(b"b"), Call(b"c"), Call(b"d")]
    outbox.add(calls)
    outbox.take(10)
    outbox.rewind()
    outbox.take(2)
    assert outbox.applied(1, 3) == calls[:3]
    assert outbox.take(10) == (4, 1, b"d")
    outbox._check()


def test_a_parked_call_ends_when_it_is_resumed():
    outbox = Outbox()
    outbox.open(1)
    call = Call()
    outbox.add([call])
    outbox.take(10)
    assert outbox.applied(1, 1) == [call]
    outbox.park(1, call)
    assert call.parked
    assert outbox.resumed(1) is call
    assert outbox.resumed(1) is None


def test_what_was_handed_out_is_told_apart_after_a_rewind():
    outbox = Outbox()
    outbox.open(1)
    outbox.add([Call(b"a"), Call(b"b"), Call(b"c")])
    outbox.take(2)
    outbox.rewind()
    assert [sent for _, sent in outbox.drain()] == [True, True, False]


def test_a_new_session_numbers_anew_what_is_pending():
    outbox = Outbox()
    outbox.open(1)
    outbox.add([Call(b"a"), Call(b"b")])
    outbox.take(10)
    outbox.applied(1, 1)
    outbox.lose_session()
    assert outbox.take(10) is None
    outbox.open(2)
    assert outbox.take(10) == (1, 1, b"b")


@given(st.lists(st.sampled_from(["add", "take", "rewind", "apply", "skip"]), max_size=60))
def test_numbers_and_order_survive_any_history(steps):
    outbox = Outbox()
    outbox.open(1)
    calls = []
    ended = 0
    for step in steps:
        if step == "add":
            calls.append(Call(b"%d," % (len(calls) + 1)))
            outbox.add(calls[-1:])
        elif step == "take":
            run = outbox.take(6)
            if run is not None:
                numbers = [int(n) for n in run[2].split(b",")[:-1]]
                assert numbers == list(range(run[0], run[0] + run[1]))
        elif step == "rewind":
            outbox.rewind()
        elif step == "apply" and outbox.handed > ended:
            assert outbox.applied(ended + 1, 2) == calls[ended : min(ended + 2, outbox.handed)]
            ended = min(ended + 2, outbox.handed)
        elif step == "skip" and outbox.handed > ended:
            assert outbox.skip_to(outbox.handed) == calls[ended : outbox.handed]
            ended = outbox.handed
        outbox._check()
        assert len(outbox) == len(calls) - ended


def test_a_call_that_the_node_has_not_made_is_told_and_not_taken():
    outbox = Outbox()
    outbox.open(5)
    outbox.add([Call(b"a"), Call(b"b")])
    outbox.take(1)
    for forged in (outbox.refuse_forged, outbox.skip_to):
        with pytest.raises(NodeFailed, match="call 2 of this node's session 5, but the node has"):
            forged(2)
    outbox._check()
    assert [call.command for call in outbox.applied(1, 2)] == [b"a"]
    assert outbox.applied(2, 1) == []
    outbox._check()
