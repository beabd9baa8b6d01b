"""Where a real node's blocking work is done: in place for memory, in a thread for a disk."""

import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class InlineWorker:
    """Do jobs here and now; for stores that do not block."""

    def run(self, job: Callable[[], T], then: Callable[[T | BaseException], Any]) -> None:
        """Do `job` and call `then`."""
        try:
            result: T | BaseException = job()
        except Exception as error:
            result = error
        then(result)

    def close(self, timeout: float) -> None:
        """Have nothing to do."""


class ThreadWorker:
    """Do jobs in order in one daemon thread, and report in the driver's thread by `post`."""

    def __init__(self, name: str, post: Callable[[Callable[[], object]], object]) -> None:
        self._post = post
        self._jobs: queue.SimpleQueue[tuple[Callable[[], Any], Callable[[Any], Any]] | None]
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def run(self, job: Callable[[], T], then: Callable[[T | BaseException], Any]) -> None:
        """Queue `job`; its result or error reaches `then` through `post`."""
        self._jobs.put((job, then))

    def close(self, timeout: float) -> None:
        """Finish what is queued and end the thread, in `timeout` seconds at the most."""
        self._jobs.put(None)
        self._thread.join(timeout)

    def _work(self) -> None:
        while (item := self._jobs.get()) is not None:
            job, then = item
            try:
                result = job()
            except Exception as error:
                result = error
            # Bound now: the loop variables change before the driver comes to it.
            self._post(lambda then=then, result=result: then(result))  # type: ignore[misc]
