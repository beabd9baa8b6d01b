"""What tests of transports run on: every event loop that is at hand."""

import asyncio
import gc
import warnings

import pytest
from transports import PATIENCE, Member

try:
    import uvloop

    LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]
except ImportError:
    LOOPS = [asyncio.new_event_loop]


@pytest.fixture(scope="package", autouse=True)
def nothing_of_other_tests():
    """Collect what tests elsewhere have left open: here it would be taken for a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


@pytest.fixture(params=LOOPS, ids=lambda factory: factory.__module__.split(".")[0])
def run(request):
    """Run a coroutine function; afterwards no task, no socket and no complaint may be left."""

    def run_in_loop(main):
        complaints = []

        async def guarded():
            loop = asyncio.get_running_loop()
            loop.set_exception_handler(lambda _, context: complaints.append(context))
            async with asyncio.timeout(3 * PATIENCE):
                await main()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(guarded())
        gc.collect()
        assert complaints == []

    return run_in_loop


@pytest.fixture(params=[None, "a password of no account"], ids=["plain", "sealed"])
def wire(request, monkeypatch):
    """Let all members of a test have no password, and then the same one."""
    monkeypatch.setattr(Member, "password", request.param)
