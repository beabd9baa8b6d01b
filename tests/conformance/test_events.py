"""`ReplEvent` under CPython's own tests of events, with real threads."""

import pytest
from conformance import OnBench, attached, excluding

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


del lock_tests
