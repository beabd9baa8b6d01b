import threading

import pytest

from syncstructs.errors import NodeFailed
from syncstructs.node.gate import ReadGate


def test_a_hold_stops_applying_without_blocking_and_wakes_the_driver_at_its_end():
    woken = []
    gate = ReadGate(lambda: woken.append(1))
    with gate.hold():
        assert gate.held_here()
        assert not gate.enter()
        assert woken == []
    assert woken == [1]
    assert gate.enter()
    gate.leave()


def test_the_driver_is_woken_only_by_the_last_holder():
    woken = []
    gate = ReadGate(lambda: woken.append(1))
    inside, leave = threading.Event(), threading.Event()

    def other():
        with gate.hold():
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(5)
    with gate.hold():
        assert not gate.enter()
    assert woken == []
    assert not gate.held_here()
    leave.set()
    thread.join()
    assert woken == [1]


def test_a_hold_nobody_missed_wakes_nobody():
    woken = []
    gate = ReadGate(lambda: woken.append(1))
    with gate.hold(), gate.hold():
        pass
    assert woken == []


def test_nobody_holds_what_is_refused():
    gate = ReadGate(lambda: None)
    assert gate.enter()
    gate.refuse(NodeFailed("no state"))
    gate.leave()
    with pytest.raises(NodeFailed, match="no state"), gate.hold():
        pass
    assert not gate.held_here()
    assert gate.enter()
    gate.leave()
