"""What a member of the demo does under load: rounds of calls, reported before and after.

One thread sends rounds of dict writes, increments and queue calls, all of a round at once; another
takes the lock again and again and writes its fencing token down in the `Ledger`.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty
from typing import Any

from ..errors import NotApplied, SyncError
from ..futures import Future
from ..node.node import Node
from ..objects.replicated import Replicated, reading, replicated
from .channel import Line
from .evidence import value_of

KEYS, INCREMENTS, JOBS, TAKES = 16, 16, 4, 3
"""Calls of one round: dict writes, counter increments, queue puts and queue takes."""

CALL_TIMEOUT = 20.0
"""Seconds after which a call without an answer is reported as unknown."""

LOCK_PAUSE = 0.02
"""Seconds between two turns at the lock, so that the log belongs mostly to the other calls."""


class Ledger(Replicated):
    """What a lock protects: it takes entries with a fencing token above the last one only."""

    KEPT = 100_000

    def __init__(self) -> None:
        self._entries: list[tuple[int, str]] = []

    @replicated
    def write(self, token: int, who: str) -> None:
        """Add an entry.

        Raises:
            ValueError: the token is not above the last one: its holder lost the lock meanwhile.
        """
        if self._entries and token <= self._entries[-1][0]:
            raise ValueError(f"token {token} came after {self._entries[-1][0]}")
        self._entries.append((token, who))
        del self._entries[: -self.KEPT]

    def entries(self) -> list[tuple[int, str]]:
        """Return the entries, oldest first; at most the last `KEPT`."""
        with reading(self):
            return list(self._entries)


class DemoLoad:
    """Both threads of one member; `who` names this life of it, and is in every key."""

    def __init__(
        self, node: Node, objects: dict[str, Any], emit: Callable[[Line], None], *, who: str
    ) -> None:
        self._users = objects["users"]
        self._hits = objects["hits"]
        self._jobs = objects["jobs"]
        self._lock = objects["lock"]
        self._ledger = objects["ledger"]
        self._emit = emit
        self._who = who
        self._stopping = threading.Event()

    def run(self) -> None:
        """Do rounds until told to stop; a round under way is finished."""
        holder = threading.Thread(target=self._hold_lock, name="lock", daemon=True)
        holder.start()
        number = 0
        while not self._stopping.is_set():
            self._do_round(number)
            number += 1
        holder.join(CALL_TIMEOUT)

    def stop(self) -> None:
        """Make `run` return after the present round."""
        self._stopping.set()

    def _do_round(self, number: int) -> None:
        stem = f"{self._who}.{number}"
        keys = [f"{stem}.{n}" for n in range(KEYS)]
        jobs = [f"{stem}.{n}" for n in range(JOBS)]
        self._emit(
            {
                "event": "begin",
                "who": self._who,
                "round": number,
                "keys": keys,
                "increments": INCREMENTS,
                "jobs": jobs,
                "takes": TAKES,
            }
        )
        calls: list[tuple[str, Any, Future[Any] | SyncError]] = []
        for key in keys:
            calls.append(("keys", key, submit(self._users.set, key, value_of(key))))
        for _ in range(INCREMENTS):
            calls.append(("increments", None, submit(self._hits.add, 1)))
        for job in jobs:
            calls.append(("jobs", job, submit(self._jobs.put_nowait, job)))
        for _ in range(TAKES):
            calls.append(("takes", None, submit(self._jobs.get_nowait)))
        report, unsent = collect(calls)
        self._emit({"event": "end", "who": self._who, "round": number, **report})
        if unsent:
            # Nothing can be sent just now (no leader known for long): do not spin.
            self._stopping.wait(0.02)

    def _hold_lock(self) -> None:
        while not self._stopping.is_set():
            try:
                self._take_turn()
            except (SyncError, ValueError):
                # The lock was lost, or the turn's outcome is unknown. The ledger is what decides.
                self._stopping.wait(LOCK_PAUSE)
            self._stopping.wait(LOCK_PAUSE)

    def _take_turn(self) -> None:
        if not self._lock.acquire(timeout=1.0):
            return
        try:
            token = self._lock.token
            self._emit(
                {"event": "grant", "who": self._who, "token": token, "at": time.monotonic()}
            )
            self._ledger.write(token, self._who)
        finally:
            self._lock.release()


class FinalContents:
    """Read what the objects hold, for the verdict; empties the queue, so it comes last."""

    DRAIN_COUNT = 256

    def __init__(
        self, node: Node, objects: dict[str, Any], emit: Callable[[Line], None]
    ) -> None:
        self._objects = objects

    def run(self) -> Line:
        """Return the contents by object name."""
        return {
            "users": dict(self._objects["users"].items()),
            "hits": self._objects["hits"].value,
            "jobs": self._drain(),
            "ledger": self._objects["ledger"].entries(),
        }

    def stop(self) -> None:
        """Do nothing: reading ends by itself."""

    def _drain(self) -> list[str]:
        jobs: list[str] = []
        while True:
            takes = [self._objects["jobs"].get_nowait.submit() for _ in range(self.DRAIN_COUNT)]
            for take in takes:
                with suppress(Empty):
                    jobs.append(take.result(CALL_TIMEOUT))
            if isinstance(takes[-1].exception(CALL_TIMEOUT), Empty):
                return jobs


def submit(method: Any, *args: Any) -> Future[Any] | SyncError:
    """Submit a call; return its future, or the error that says it was not sent."""
    try:
        future: Future[Any] = method.submit(*args)
    except NotApplied as error:
        return error
    return future


def collect(calls: list[tuple[str, Any, Future[Any] | SyncError]]) -> tuple[Line, bool]:
    """Wait for the calls of a round; return the report, and whether some were never sent."""
    done: dict[str, list[Any]] = {"keys": [], "increments": [], "jobs": [], "takes": []}
    open_calls: dict[str, list[Any]] = {"keys": [], "increments": [], "jobs": [], "takes": []}
    refused = 0
    unsent = False
    at = 0.0
    for kind, what, future in calls:
        try:
            if isinstance(future, SyncError):
                raise future
            result = future.result(CALL_TIMEOUT)
        except Empty:
            continue
        except NotApplied:
            refused += 1
            unsent = True
        except SyncError:
            open_calls[kind].append(what)
        else:
            done[kind].append(what if kind in ("keys", "jobs") else result)
            at = time.monotonic()
    return {
        "at": at,
        "keys": done["keys"],
        "increments": done["increments"],
        "jobs": done["jobs"],
        "taken": done["takes"],
        "refused": refused,
        "unknown": {
            "keys": open_calls["keys"],
            "increments": len(open_calls["increments"]),
            "jobs": open_calls["jobs"],
            "takes": len(open_calls["takes"]),
        },
    }, unsent
