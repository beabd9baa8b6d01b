"""`ReplEvent` and `ReplBarrier` under CPython's own tests of their twins, with real threads."""

import pytest
from conformance import OnBench, attached, excluding

from syncstructs.structs.barriers import ReplBarrier
from syncstructs.structs.events import ReplEvent

lock_tests = pytest.importorskip("test.lock_tests")


class _Threaded(OnBench):
    threads = True


@excluding(
    {
        "test_at_fork_reinit": "a fork does not become a member of its own",
        "test_repr": "the repr tells the name in the cluster",
    }
)
class TestReplEvent(_Threaded, lock_tests.EventTests):
    eventtype = attached(ReplEvent)


@excluding(
    {
        "test_action": "nobody can be made to run it before the others go on",
        "test_repr": "the repr tells the name in the cluster",
    }
)
class TestReplBarrier(_Threaded, lock_tests.BarrierTests):
    barriertype = attached(ReplBarrier)


del lock_tests
