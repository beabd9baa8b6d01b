"""Locks and semaphores under CPython's own tests of them, with real threads."""

import pytest
from conformance import OnBench, attached, excluding

from syncstructs.structs.conditions import ReplCondition
from syncstructs.structs.locks import ReplLock, ReplLockManager
from syncstructs.structs.rlocks import ReplRLock
from syncstructs.structs.semaphores import ReplSemaphore

lock_tests = pytest.importorskip("test.lock_tests")

FAILING = {
    "test_at_fork_reinit": "a fork does not become a member of its own",
    "test_weakref_deleted": "a node holds the objects attached to it",
}


class _Threaded(OnBench):
    threads = True


@excluding(FAILING)
class TestReplLock(_Threaded, lock_tests.LockTests):
    locktype = attached(ReplLock)


MANAGER = attached(ReplLockManager)


@excluding(
    {
        "test_at_fork_reinit": FAILING["test_at_fork_reinit"],
        "test_repr": "the repr of a key names manager and key",
        "test_locked_repr": "the repr of a key names manager and key",
    }
)
class TestKeyOfReplLockManager(_Threaded, lock_tests.LockTests):
    @staticmethod
    def locktype():
        return MANAGER()["key", 1]


PRIVATE = "what threading.Condition asks of a lock: a condition of one process is of no use here"


@excluding(
    FAILING
    | {
        "test__is_owned": PRIVATE,
        "test_recursion_count": PRIVATE,
        "test_release_save_unacquired": PRIVATE,
    }
)
class TestReplRLock(_Threaded, lock_tests.RLockTests):
    locktype = attached(ReplRLock)


@excluding(
    {},
    {
        "test_acquire": "it is not reentrant, so this would never end",
        "test_timeout": "real time, of which test_waitfor_timeout takes less",
    },
)
class TestReplCondition(_Threaded, lock_tests.ConditionTests):
    condtype = attached(ReplCondition)


@excluding({"test_repr": "the repr names the replicated class"})
class TestReplSemaphore(_Threaded, lock_tests.BoundedSemaphoreTests):
    semtype = attached(ReplSemaphore)


del lock_tests
