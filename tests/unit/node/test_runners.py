import asyncio
import threading
from contextvars import ContextVar

import pytest

from syncstructs.errors import BlockingCall, ConfigError
from syncstructs.futures import Future
from syncstructs.node import runners
from syncstructs.node.runners import AsyncioRunner, ManualRunner, ThreadRunner, make_runner

mark = ContextVar("mark", default="clean")


async def nothing():
    pass


@pytest.fixture
def runner():
    runner = ThreadRunner("test")
    runner.start(nothing())
    yield runner
    runner.post(runner.stopped)
    runner.join(10)


def seen_by(post):
    seen, done = [], threading.Event()

    def look():
        seen.append(mark.get())
        done.set()

    post(look)
    assert done.wait(10)
    return seen[0]


def test_callbacks_do_not_run_in_the_context_of_whoever_posted_them(runner):
    """An open batch of that context would gather calls that are made in the callback."""
    token = mark.set("inside a batch")
    try:
        assert seen_by(runner.post) == "clean"
        assert seen_by(lambda look: runner.after(0.001, look)) == "clean"
        assert seen_by(lambda look: runner.post(lambda: runner.post(look))) == "clean"
    finally:
        mark.reset(token)


def test_under_asyncio_callbacks_do_not_run_in_the_context_of_the_posting_task():
    async def main():
        runner = AsyncioRunner()
        mark.set("inside a batch")
        seen = asyncio.get_running_loop().create_future()
        runner.post(lambda: seen.set_result(mark.get()))
        assert await seen == "clean"

    asyncio.run(main())


def test_waiting_in_the_drivers_thread_is_refused(runner):
    seen, done = [], threading.Event()

    def wait():
        try:
            Future(runner).result(1)
        except BlockingCall as error:
            seen.append(error)
        done.set()

    runner.post(wait)
    assert done.wait(10)
    assert "submit" in str(seen[0])


def test_what_the_start_raises_is_raised_by_start():
    async def fail():
        raise ConfigError("no")

    for drive in ("thread", "manual"):
        with pytest.raises(ConfigError, match="no"):
            make_runner(drive, "test").start(fail())


def test_after_the_end_posts_are_dropped(runner):
    runner.post(runner.stopped)
    runner.join(10)
    runner.post(lambda: 1 / 0)


def test_asyncio_needs_a_running_loop():
    with pytest.raises(ConfigError, match="running loop"):
        make_runner("asyncio", "test")


def test_a_manual_node_leaves_nothing_on_a_future_that_is_polled():
    runner = make_runner("manual", "test")
    try:
        waited = Future(runner)
        for _ in range(20):
            runner.block(waited, 0.0)
        assert not waited._callbacks
    finally:
        runner.abort()


async def when_read(runner, function):
    """Have `function` run by what a read brings, as the driver is by frames."""

    class Reader(asyncio.Protocol):
        def data_received(self, data):
            runner.run(function)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Reader, "127.0.0.1", 0)
    stream, _ = await loop.create_connection(
        asyncio.Protocol, *server.sockets[0].getsockname()[:2]
    )
    stream.write(b"!")
    async with asyncio.timeout(10):
        # What ends this is raised by the loop.
        await loop.create_future()


@pytest.mark.parametrize("make_loop", [asyncio.new_event_loop, runners.new_loop])
def test_what_is_raised_behind_a_read_is_raised_by_the_loop(monkeypatch, make_loop):
    """Ctrl-C is lost in the protocols of some loops."""
    monkeypatch.setattr(runners, "new_loop", make_loop)
    runner = ManualRunner()

    def interrupt():
        raise KeyboardInterrupt("while it ran")

    with pytest.raises(KeyboardInterrupt, match="while it ran"):
        runner._run(when_read(runner, interrupt))
    runner.abort()


def test_what_is_raised_behind_a_read_after_the_end_is_raised_in_place():
    runner = ManualRunner()
    runner.stopped()
    with pytest.raises(ZeroDivisionError):
        runner.run(lambda: 1 / 0)
    runner.abort()


def test_what_runs_behind_a_read_does_not_run_in_the_context_of_the_link():
    async def main():
        mark.set("inside a batch")
        runner = AsyncioRunner()
        seen = []

        def look():
            seen.append(mark.get())
            waiting.cancel()

        waiting = asyncio.ensure_future(when_read(runner, look))
        await asyncio.wait([waiting])
        assert seen == ["clean"]

    asyncio.run(main())
