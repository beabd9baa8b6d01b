"""`LocalCluster` for tests with real threads that really wait, in real time."""

import heapq
import threading
import time
from collections.abc import Callable
from typing import Any

import local_cluster
from local_cluster import LocalCluster, LocalPort

from syncstructs.futures import Future, block_thread
from syncstructs.objects.port import Steps


class ThreadedPort(LocalPort):
    """A member that many threads use at once: one lock for the whole cluster orders them."""

    def __init__(self, cluster: "ThreadedCluster", number: int) -> None:
        super().__init__(cluster, number)
        self._reading = cluster.lock

    def send(self, command: bytes) -> Future[Any]:
        with self._reading:
            return super().send(command)

    def start(self, steps: Steps[Any]) -> Future[Any]:
        run = _Run(self.cluster, steps)
        with self._reading:
            run.advance(None, None)
        return run.future


class ThreadedCluster(LocalCluster):
    """N members in one process; blocking calls block their thread, time is the monotonic clock."""

    def __init__(self, n: int = 3) -> None:
        self.lock = threading.RLock()
        self._wake = threading.Condition(self.lock)
        self._closed = False
        super().__init__(n)
        self.members = [ThreadedPort(self, i) for i in range(n)]
        self._clock = threading.Thread(target=self._run_clock, daemon=True)
        self._clock.start()

    @property
    def now(self) -> float:  # type: ignore[override]
        return time.monotonic()

    @now.setter
    def now(self, value: float) -> None:
        """Ignore it: real time cannot be set."""

    def after(self, seconds: float, function: Callable[[], None]) -> None:
        with self.lock:
            super().after(seconds, function)
            self._wake.notify()

    def block(self, future: Future[Any], timeout: float | None) -> None:
        block_thread(future, timeout)

    def close(self) -> None:
        with self.lock:
            self._closed = True
            self._wake.notify()
        self._clock.join()

    def _run_clock(self) -> None:
        with self.lock:
            while not self._closed:
                if not self._timers:
                    self._wake.wait()
                elif (left := self._timers[0][0] - time.monotonic()) > 0:
                    self._wake.wait(min(left, threading.TIMEOUT_MAX))
                else:
                    heapq.heappop(self._timers)[2]()


class _Run(local_cluster._Run):
    def advance(self, value: object, error: BaseException | None) -> None:
        with self._cluster.lock:  # type: ignore[attr-defined]
            super().advance(value, error)

    def _cancel(self) -> bool:
        with self._cluster.lock:  # type: ignore[attr-defined]
            return super()._cancel()
