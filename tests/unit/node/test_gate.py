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


def test_readers_without_the_lock_are_told_of_what_is_applied_meanwhile():
    gate = ReadGate(lambda: None)
    seen = gate.turns.ended
    assert gate.turns.begun is seen
    assert gate.enter()
    assert gate.turns.begun is not gate.turns.ended
    gate.leave()
    assert gate.turns.begun is not seen, "it has missed something"
    assert gate.turns.begun is gate.turns.ended


def test_somebody_who_holds_the_state_keeps_nobody_from_reading_without_the_lock():
    gate = ReadGate(lambda: None)
    with gate.hold():
        assert not gate.enter()
        assert gate.turns.begun is gate.turns.ended


def test_once_shut_nobody_reads_without_the_lock_even_if_the_driver_was_applying():
    gate = ReadGate(lambda: None)
    assert gate.enter()
    gate.shut()
    gate.leave()
    assert gate.turns.begun is not gate.turns.ended
