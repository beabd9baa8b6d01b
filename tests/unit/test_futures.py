import asyncio
import threading

import pytest

from syncstructs.errors import Cancelled, Timeout
from syncstructs.futures import Future, block_thread


class Threads:
    block = staticmethod(block_thread)


@pytest.fixture
def future():
    return Future(Threads())


def test_result_waits_for_another_thread(future):
    threading.Timer(0.01, future.finish, (7, None)).start()
    assert future.result(5) == 7


def test_running_out_of_time_leaves_the_call_as_it_is(future):
    with pytest.raises(Timeout, match="the call itself goes on"):
        future.result(0.001)
    future.finish(1, None)
    assert future.result(0) == 1


def test_an_error_is_raised_as_it_is(future):
    error = KeyError("x")
    future.finish(None, error)
    with pytest.raises(KeyError) as caught:
        future.result()
    assert caught.value is error
    assert future.exception() is error


def test_only_the_first_resolution_counts(future):
    future.finish(1, None)
    future.finish(2, ValueError())
    assert future.result() == 1


def test_callbacks_run_once_each_whenever_they_are_added(future):
    ran = []
    future.add_done_callback(lambda f: ran.append(("before", f.result())))
    future.finish(3, None)
    future.add_done_callback(lambda f: ran.append(("after", f.result())))
    assert ran == [("before", 3), ("after", 3)]


def test_a_raising_callback_is_logged_and_stops_nobody(future, caplog):
    ran = []
    future.add_done_callback(lambda f: 1 / 0)
    future.add_done_callback(ran.append)
    future.finish(3, None)
    assert ran == [future]
    assert "a callback of a future raised" in caplog.text


def test_waiting_for_it_many_times_leaves_nothing_behind(future):
    async def poll():
        for _ in range(20):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0)

    for _ in range(20):
        with pytest.raises(Timeout):
            future.result(0)
        with pytest.raises(Timeout):
            future.exception(0)
    asyncio.run(poll())
    assert not future._callbacks


def test_ctrl_c_in_a_late_callback_reaches_who_adds_it_in_the_main_thread_alone(future, caplog):
    def interrupted(_):
        raise KeyboardInterrupt("mine")

    future.finish(1, None)
    other = threading.Thread(target=future.add_done_callback, args=(interrupted,))
    other.start()
    other.join()
    assert "KeyboardInterrupt: mine" in caplog.text
    with pytest.raises(KeyboardInterrupt, match="mine"):
        future.add_done_callback(interrupted)


def test_a_callback_that_was_taken_back_does_not_run_and_others_do(future):
    ran = []
    first, second = lambda _: ran.append(1), lambda _: ran.append(2)
    for callback in (first, second, first):
        future.add_done_callback(callback)
    future.remove_done_callback(first)
    future.finish(3, None)
    future.remove_done_callback(second)
    assert ran == [2]


def test_no_callback_is_lost_when_adding_races_with_resolving():
    for _ in range(300):
        future = Future(Threads())
        ran = []
        adders = [
            threading.Thread(target=future.add_done_callback, args=(ran.append,)) for _ in range(3)
        ]
        resolver = threading.Thread(target=future.finish, args=(1, None))
        for thread in [adders[0], resolver, *adders[1:]]:
            thread.start()
        for thread in [resolver, *adders]:
            thread.join()
        assert len(ran) == 3


def note_result(future, results):
    results.append(future.result(10))


def test_all_threads_that_wait_are_woken_whenever_they_begin():
    for _ in range(300):
        future = Future(Threads())
        results = []
        sleepers = [
            threading.Thread(target=note_result, args=(future, results)) for _ in range(3)
        ]
        resolver = threading.Thread(target=future.finish, args=(1, None))
        for thread in [*sleepers[:2], resolver, sleepers[2]]:
            thread.start()
        for thread in [resolver, *sleepers]:
            thread.join()
        assert results == [1, 1, 1]


def test_who_ends_a_wait_says_so_before_the_thread_is_woken(future):
    said = []
    ready = threading.Event()

    def wait():
        ready.set()
        block_thread(future, 10, lambda: said.append(future.done()))
        said.append("woken")

    sleeper = threading.Thread(target=wait)
    sleeper.start()
    ready.wait()
    while not future._callbacks:
        ready.wait(0.001)
    future.finish(1, None)
    sleeper.join()
    assert said == [True, "woken"]


def test_await_from_another_loop_and_from_the_resolving_one(future):
    async def main():
        threading.Timer(0.01, future.finish, (5, None)).start()
        assert await future == 5
        here = Future(Threads())
        asyncio.get_running_loop().call_soon(here.finish, 6, None)
        assert await here == 6

    asyncio.run(main())


def test_cancelling_an_await_cancels_what_can_be_taken_back():
    taken = []
    future = Future(Threads(), lambda: taken.append(1) or True)

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)

    asyncio.run(main())
    assert taken == [1]
    assert future.cancelled()
    with pytest.raises(Cancelled):
        future.result()


def test_a_call_that_cannot_be_taken_back_is_not_cancelled(future):
    assert not future.cancel()
    assert not future.done()


def test_of_two_that_await_a_shield_of_it_one_may_be_cancelled():
    """As the docstring says; a plain await takes the operation back for both."""
    taken_back = []
    future = Future(Threads(), lambda: taken_back.append(1) or True)

    async def await_shield():
        return await asyncio.shield(future)

    async def main():
        first, second = asyncio.create_task(await_shield()), asyncio.create_task(await_shield())
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        future.finish("lock", None)
        assert await second == "lock"
        assert first.cancelled()

    asyncio.run(main())
    assert taken_back == []


def test_a_result_that_comes_after_its_await_was_cancelled_is_taken_back():
    """The operation was in its last step, in another thread: too late to cancel it."""
    taken_back = []
    future = Future(Threads(), lambda: False)
    future.unclaimed = taken_back.append

    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(future, 0.001)

    asyncio.run(main())
    future.finish("lock", None)
    assert taken_back == ["lock"]
    assert future.cancelled()
