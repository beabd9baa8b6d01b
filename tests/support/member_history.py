"""Loads that run inside a member process: clients that write down what they call, and readers.

What they write is a journal (`journals`), and `judging` judges it.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from fenced_store import StoreClient
from journals import Journal, monotonic_ns

from syncstructs.errors import LockLost, NotOwner, SyncError

KEYS = ["a", "b", "c", "d"]
ELEMENTS = [1, 2, 3, 4, 5, 6]
LOCK_TIMEOUT = 0.4
GET_TIMEOUT = 0.1
BARRIER_TIMEOUT = 2.0
BURST = 8
"""Calls that a client has under way at once, now and then."""
BURST_TIMEOUT = 5.0
TOLD_TIMEOUT = 20.0
"""Seconds within which a holder is told that its lock is lost; tests see to it that it was."""
OBJECTS: dict[str, tuple[str, list[Any]]] = {
    "hits": ("syncstructs:ReplCounter", []),
    "users": ("syncstructs:ReplDict", []),
    "seen": ("syncstructs:ReplList", []),
    "flags": ("syncstructs:ReplSet", []),
    "jobs": ("syncstructs:ReplQueue", []),
    "waits": ("syncstructs:ReplQueue", []),
    "ranked": ("syncstructs:ReplPriorityQueue", []),
    "door": ("syncstructs:ReplLock", []),
}
"""`waits` is a queue that is waited on; `jobs` is not, so its order is strict."""


class HistoryLoad:
    """`threads` clients of this member, each with a journal `<who>.<n>.jsonl` in `directory`.

    Every value that is written is unique to its call. `pause` is how long a client waits between
    two calls, in seconds.
    """

    def __init__(
        self,
        node: Any,
        objects: dict[str, Any],
        emit: Callable[[dict[str, Any]], None],
        *,
        directory: str,
        who: str,
        seed: int,
        threads: int = 4,
        pause: float = 0.002,
    ) -> None:
        self._stopping = threading.Event()
        self._clients = [
            # One client a process uses the lock: it belongs to the process, not to a thread.
            Client(
                node, objects, Path(directory), f"{who}.{n}", seed * 100 + n,
                locks=n == 0, bursts=n == 1,
            )
            for n in range(threads)
        ]  # fmt: skip
        self._pause = pause

    def run(self) -> None:
        """Call until told to stop; every client ends its last call first."""
        threads = [
            threading.Thread(target=self._run, args=(client,), daemon=True)
            for client in self._clients
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def stop(self) -> None:
        """Make `run` return after the present calls."""
        self._stopping.set()

    def _run(self, client: Client) -> None:
        try:
            while not self._stopping.wait(self._pause):
                client.call_something()
            client.let_go()
        finally:
            client.journal.close()


class Client:
    """One thread's calls: which one comes next, written down as it is made."""

    def __init__(
        self,
        node: Any,
        objects: dict[str, Any],
        directory: Path,
        who: str,
        seed: int,
        *,
        locks: bool = False,
        bursts: bool = False,
    ) -> None:
        self._node = node
        self._objects = objects
        self._who = who
        self._kinds = ["hits", "users", "seen", "flags", "jobs", "jobs", "waits", "ranked"]
        self._kinds += ["door"] * (3 * locks) + ["burst"] * (4 * bursts)
        self._random = random.Random(seed)
        self._count = 0
        self._token: int | None = None
        self.journal = Journal(directory / f"{who}.jsonl")

    def call_something(self) -> None:
        """Make one call of a random object."""
        if self._token is not None:
            self.let_go()
            return
        getattr(self, f"_{self._random.choice(self._kinds)}")()

    def let_go(self) -> None:
        """Release the lock, if this client has it."""
        if self._token is not None:
            self._token = None
            self._call("door", "release")

    def read_all(self) -> None:
        """Read every object to its end; queues are emptied."""
        self._read("hits", "get")
        for key in KEYS:
            self._read("users", "get", key)
        self._read("seen", "copy")
        for element in ELEMENTS:
            self._read("flags", "__contains__", element)
        for name in ("jobs", "waits", "ranked"):
            while self._call(name, "get_nowait") is not None:
                pass

    def _hits(self) -> None:
        if self._random.random() < 0.7:
            self._call("hits", "add", 1)
        else:
            self._read("hits", "get")

    def _users(self) -> None:
        key, way = self._random.choice(KEYS), self._random.randrange(6)
        if way <= 1:
            self._call("users", "set", key, self._mark())
        elif way == 2:
            self._call("users", "pop", key, None)
        elif way == 3:
            self._call("users", "setdefault", key, self._mark())
        else:
            self._read("users", "get", key)

    def _seen(self) -> None:
        if self._random.random() < 0.8:
            self._call("seen", "append", self._mark())
        else:
            self._read("seen", "__len__")

    def _burst(self) -> None:
        """Have several appends under way, and learn only then how each ends."""
        under_way = []
        for _ in range(BURST):
            mark = self._mark()
            entry = self.journal.begin("seen", "append", [mark])
            under_way.append((entry, self._submit(mark)))
        for entry, ended in under_way:
            entry.see(ended)

    def _submit(self, mark: str) -> Callable[[], Any]:
        """Start an append; return what waits for its end."""
        try:
            future = self._objects["seen"].append.submit(mark)
        except Exception as error:
            return partial(_throw, error)
        return partial(future.result, BURST_TIMEOUT)

    def _flags(self) -> None:
        element, way = self._random.choice(ELEMENTS), self._random.randrange(4)
        if way < 2:
            self._call("flags", ("add", "discard")[way], element)
        else:
            self._read("flags", "__contains__", element)

    def _jobs(self) -> None:
        if self._random.random() < 0.5:
            self._call("jobs", "put_nowait", self._mark())
        else:
            self._call("jobs", "get_nowait")

    def _waits(self) -> None:
        if self._random.random() < 0.5:
            self._call("waits", "put", self._mark())
        else:
            self._call("waits", "get", True, GET_TIMEOUT)

    def _ranked(self) -> None:
        if self._random.random() < 0.5:
            self._call("ranked", "put_nowait", (self._random.randrange(3), self._mark()))
        else:
            self._call("ranked", "get_nowait")

    def _door(self) -> None:
        door, args = self._objects["door"], (True, LOCK_TIMEOUT)
        # Nobody else in this process has the lock now, so the token is that of this grant; it is
        # None if the grant has been lost meanwhile.
        acquired = self.journal.begin("door", "acquire", args).see(
            lambda: door.acquire(*args) and (door.token or True)
        )
        self._token = acquired or None

    def _mark(self) -> str:
        self._count += 1
        return f"{self._who}/{self._count:06}"

    def _read(self, target: str, method: str, *args: Any) -> Any:
        """Read after a barrier, so that the read is linearizable on any member."""

        def confirmed() -> Any:
            self._node.barrier(timeout=BARRIER_TIMEOUT)
            return self._invoke(target, method, args)

        return self.journal.begin(target, method, args).see(confirmed)

    def _call(self, target: str, method: str, *args: Any) -> Any:
        return self.journal.begin(target, method, args).see(
            lambda: self._invoke(target, method, args)
        )

    def _invoke(self, target: str, method: str, args: tuple[Any, ...]) -> Any:
        return getattr(self._objects[target], method)(*args)


def _throw(error: Exception) -> None:
    raise error


class LastReadings:
    """A client that reads everything once, when all others are through."""

    def __init__(
        self,
        node: Any,
        objects: dict[str, Any],
        emit: Callable[[dict[str, Any]], None],
        *,
        directory: str,
    ) -> None:
        self._client = Client(node, objects, Path(directory), "last", 0)

    def run(self) -> None:
        """Read, and write it down."""
        self._client.read_all()
        self._client.journal.close()

    def stop(self) -> None:
        """Do nothing: reading ends by itself."""


class States:
    """What the objects of this member are at one place of the log."""

    def __init__(
        self, node: Any, objects: dict[str, Any], emit: Callable[[dict[str, Any]], None]
    ) -> None:
        self._node = node
        self._objects = objects

    def run(self) -> dict[str, Any]:
        """Return the applied index, and the state of each object there as text."""
        with self._node.reading():
            index = self._node.status()["applied_index"]
            states = {name: repr(it.snapshot_state()) for name, it in self._objects.items()}
        return {"index": index, "states": states}

    def stop(self) -> None:
        """Do nothing: reading ends by itself."""


class HolderLoad:
    """A process that trusts its lock: acquire, write `writes` times with the token, release.

    It writes whether or not it still holds the lock: the store has to find out. A turn ends with
    the first write that is refused; what the lock said before that write is told. The release
    then comes after `on_lost`: if it came first, it would be the one to say what is lost.
    """

    def __init__(
        self,
        node: Any,
        objects: dict[str, Any],
        emit: Callable[[dict[str, Any]], None],
        *,
        who: str,
        store: str,
        writes: int,
    ) -> None:
        self._door = objects["door"]
        self._told = threading.Event()
        self._door.on_lost = self._lost
        self._store = StoreClient(store)
        self._emit = emit
        self._who = who
        self._writes = writes
        self._count = 0
        self._stopping = threading.Event()

    def run(self) -> None:
        """Take turns until told to stop."""
        while not self._stopping.is_set():
            self._told.clear()
            try:
                if self._door.acquire(timeout=0.5):
                    self._hold()
            except SyncError as error:
                self._tell("error", error=type(error).__name__)
                self._stopping.wait(0.01)

    def stop(self) -> None:
        """Make `run` return after the present turn, which ends with the present write."""
        self._stopping.set()

    def _hold(self) -> None:
        token = self._door.token
        if token is None:
            # Stopped between the grant and here, and lost meanwhile.
            return
        self._tell("grant", token=token)
        for _ in range(self._writes):
            self._count += 1
            asked = monotonic_ns()
            held = self._door.held
            if not self._store.write(token, f"{self._who}/{self._count:06}"):
                self._tell("refused", token=token, asked=asked, held=held)
                self._told.wait(TOLD_TIMEOUT)
                break
            if self._stopping.wait(0.002):
                break
        try:
            self._door.release()
        except (LockLost, NotOwner) as error:
            self._tell("late release", token=token, error=type(error).__name__)
        else:
            self._tell("released", token=token)

    def _lost(self) -> None:
        self._tell("lost")
        self._told.set()

    def _tell(self, event: str, **more: Any) -> None:
        self._emit({"event": event, "who": self._who, "at": monotonic_ns(), **more})
