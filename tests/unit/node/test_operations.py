import pytest

from syncstructs.errors import Cancelled
from syncstructs.futures import Future
from syncstructs.node.operations import Operation


class Loop:
    """Virtual: posted functions and timers run when the test says so."""

    def __init__(self):
        self.posted = []
        self.timers = []
        self.cancelled_timers = 0
        self.driving = False

    def post(self, function):
        self.posted.append(function)

    def after(self, seconds, function):
        self.timers.append((seconds, function))
        return self

    def cancel(self):
        self.cancelled_timers += 1

    def in_driver(self):
        return self.driving

    def run(self):
        self.driving = True
        while self.posted:
            self.posted.pop(0)()
        self.driving = False


def begin(steps):
    loop = Loop()
    operation = Operation(loop, None, steps)
    operation.advance()
    return loop, operation.future


def future():
    return Future(None)


def test_a_generator_goes_on_with_the_result_of_what_it_yields():
    waited = future()

    def steps():
        value = yield waited
        return value + 1

    loop, result = begin(steps())
    waited.finish(1, None)
    loop.run()
    assert result.result() == 2


def test_futures_that_are_done_need_no_turn_of_the_loop():
    def steps():
        done = future()
        done.finish(5, None)
        return (yield done)

    _, result = begin(steps())
    assert result.result() == 5


def test_an_error_is_raised_at_the_yield():
    waited = future()

    def steps():
        try:
            yield waited
        except KeyError:
            return "caught"

    loop, result = begin(steps())
    waited.finish(None, KeyError())
    loop.run()
    assert result.result() == "caught"


def test_a_timed_wait_ends_once_by_time_or_by_the_future():
    waited = future()

    def steps():
        in_time = yield waited, 3.0
        again = yield waited, None
        return in_time, again

    loop, result = begin(steps())
    [(seconds, time_out)] = loop.timers
    assert seconds == 3.0
    time_out()
    time_out()
    assert not result.done()
    waited.finish(1, None)
    loop.run()
    assert result.result() == (False, True)


def test_a_timer_that_comes_late_changes_nothing():
    waited, never = future(), future()

    def steps():
        first = yield waited, 3.0
        yield never
        return first

    loop, result = begin(steps())
    waited.finish(1, None)
    loop.run()
    loop.timers[0][1]()
    assert not result.done()
    never.finish(None, None)
    loop.run()
    assert result.result() is True


def test_cancelling_lets_the_generator_clean_up():
    waited, cleaning, cleaned = future(), future(), []

    def steps():
        try:
            yield waited
        except Cancelled:
            yield cleaning
            cleaned.append(1)
            raise

    loop, result = begin(steps())
    assert result.cancel()
    assert result.cancelled()
    loop.run()
    waited.finish(1, None)
    loop.run()
    assert cleaned == []
    cleaning.finish(None, None)
    loop.run()
    assert cleaned == [1]


def test_what_the_generator_raises_ends_the_future():
    def steps():
        raise ValueError("x")
        yield

    _, result = begin(steps())
    with pytest.raises(ValueError, match="x"):
        result.result()


def test_a_wait_that_ends_lets_go_of_its_timer():
    waited = future()

    def steps():
        return (yield waited, 3600.0)

    loop, result = begin(steps())
    waited.finish(1, None)
    loop.run()
    assert result.result() is True
    assert loop.cancelled_timers == 1


def test_a_future_that_an_operation_polls_gathers_no_callbacks():
    waited = future()

    def steps():
        for _ in range(20):
            yield waited, 1.0

    loop, result = begin(steps())
    while not result.done():
        _, time_out = loop.timers.pop()
        time_out()
    assert not waited._callbacks


def test_a_cancelled_operation_leaves_nothing_on_what_it_waited_for():
    waited = future()

    def steps():
        yield waited

    loop, result = begin(steps())
    assert result.cancel()
    loop.run()
    assert not waited._callbacks
