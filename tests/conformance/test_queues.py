"""`ReplQueue` and `ReplPriorityQueue` under CPython's own tests of queues, with real threads."""

import queue
import types
import unittest

import pytest
from conformance import OnBench, attached, excluding

from syncstructs.structs.queues import ReplPriorityQueue, ReplQueue, ShutDown

queue_tests = pytest.importorskip("test.test_queue")

FAILING = {"test_shrinking_queue": "sets maxsize, which is fixed, as all members agree on it"}
NAMES = types.SimpleNamespace(Empty=queue.Empty, Full=queue.Full, ShutDown=ShutDown)


# The suite looks up what to expect by the name of the class.
class Queue(ReplQueue):
    pass


class PriorityQueue(ReplPriorityQueue):
    pass


class _Threaded(OnBench):
    threads = True
    queue = NAMES


@excluding(FAILING)
class TestReplQueue(_Threaded, queue_tests.BaseQueueTestMixin, unittest.TestCase):
    type2test = attached(Queue)


@excluding(FAILING)
class TestReplPriorityQueue(_Threaded, queue_tests.BaseQueueTestMixin, unittest.TestCase):
    type2test = attached(PriorityQueue)


del queue_tests
