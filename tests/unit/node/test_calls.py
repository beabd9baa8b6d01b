import sys
import threading

import pytest

from syncstructs.config import Config
from syncstructs.errors import Busy, Cancelled, NodeClosed, TooLarge
from syncstructs.node.calls import Call, CallBlocker, CallQueue


def make(**settings):
    queue = CallQueue(Config(**settings))
    return queue, CallBlocker(queue, lambda future, timeout: None)


def test_calls_leave_in_order_up_to_the_limit():
    queue, blocker = make()
    calls = [Call(blocker, b"12345") for _ in range(4)]
    for call in calls:
        queue.put(call)
    assert queue.take(6) == calls[:2]
    assert queue.take(100) == calls[2:]


def test_a_queued_call_can_be_taken_back_and_a_taken_one_cannot():
    queue, blocker = make()
    first, second = Call(blocker, b"a"), Call(blocker, b"b")
    queue.put(first)
    queue.put(second)
    assert queue.take(1) == [first]
    assert not first.cancel()
    assert second.cancel()
    assert not second.cancel()
    with pytest.raises(Cancelled):
        second.result()
    assert queue.take(10) == []
    assert len(queue) == 1


def test_more_calls_than_the_bound_are_refused_until_some_end():
    queue, blocker = make(max_pending_calls=2)
    queue.put(Call(blocker, b"a"))
    queue.put(Call(blocker, b"b"))
    with pytest.raises(Busy, match="max_pending_calls"):
        queue.put(Call(blocker, b"c"))
    queue.take(100)
    queue.ended(1, 1)
    queue.put(Call(blocker, b"c"))


def test_more_bytes_than_the_bound_are_refused():
    queue, blocker = make(max_pending_bytes=5)
    queue.put(Call(blocker, b"abc"))
    with pytest.raises(Busy):
        queue.put(Call(blocker, b"def"))


def test_a_call_over_the_size_limit_is_refused_at_once():
    queue, blocker = make(max_command_bytes=3)
    with pytest.raises(TooLarge, match="4 bytes"):
        queue.put(Call(blocker, b"abcd"))


def test_a_closed_queue_hands_back_and_refuses():
    queue, blocker = make()
    call = Call(blocker, b"a")
    queue.put(call)
    assert queue.close(NodeClosed("closed")) == [call]
    with pytest.raises(NodeClosed):
        queue.put(Call(blocker, b"b"))


def test_an_interrupt_as_the_lock_is_taken_does_not_leave_it_taken():
    queue, blocker = make()

    def interrupt(frame, event, called):
        if event == "c_return" and called.__name__ in ("acquire", "__enter__"):
            raise KeyboardInterrupt

    before = sys.getprofile()
    sys.setprofile(interrupt)
    try:
        queue.put(Call(blocker, b"a"))
    except KeyboardInterrupt:
        pass
    finally:
        sys.setprofile(before)
    taker = threading.Thread(target=queue.take, args=(1,), daemon=True)
    taker.start()
    taker.join(10)
    assert not taker.is_alive()


def test_withdrawing_races_safely_with_taking():
    for _ in range(200):
        queue, blocker = make()
        call = Call(blocker, b"a")
        queue.put(call)
        taken = []
        taker = threading.Thread(target=lambda q=queue, t=taken: t.extend(q.take(10)))
        taker.start()
        withdrawn = queue.withdraw(call)
        taker.join()
        assert withdrawn != bool(taken)
