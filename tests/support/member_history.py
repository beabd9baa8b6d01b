"""Loads that run inside a member process and write down what they called and how it ended.

A line is written before each call and after it, to a file that outlives the process: of a member
that is killed, the calls under way are known. Times are nanoseconds of CLOCK_MONOTONIC, which all
processes of a machine share. `histories` reads the files and judges them.

Kinds of lines: `invoke`; `ok` with what the call returned or raised; `fail`: it was not applied
and never will be; `info`: it may have been, or may yet be.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from queue import Empty
from typing import Any

from fenced_store import StoreClient

from syncstructs.errors import LockLost, NotApplied, NotOwner, SyncError

KEYS = ["a", "b", "c", "d"]
ELEMENTS = [1, 2, 3, 4, 5, 6]
LOCK_TIMEOUT = 0.4
GET_TIMEOUT = 0.1
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


def monotonic_ns() -> int:
    """Return the machine's CLOCK_MONOTONIC, whatever was done to `time.monotonic`."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


class Recorder:
    """The file of one client: every line is written at once, and survives the process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o644)
        self._numbers = itertools.count()

    def begin(self, target: str, method: str, args: list[Any]) -> int:
        """Note that a call begins now; return its number in this file."""
        number = next(self._numbers)
        self._write(
            id=number, type="invoke", object=target, f=method, args=args, at=monotonic_ns()
        )
        return number

    def end(self, number: int, kind: str, **more: Any) -> None:
        """Note how the call ended, now."""
        self._write(id=number, type=kind, at=monotonic_ns(), **more)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    def _write(self, **line: Any) -> None:
        os.write(self._file, json.dumps(line, separators=(",", ":")).encode() + b"\n")


class HistoryLoad:
    """`threads` clients of this member, each with a file `<who>.<n>.jsonl` in `directory`.

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
        self._node = node
        self._objects = objects
        self._stopping = threading.Event()
        self._clients = [
            # One client a process uses the lock: it belongs to the process, not to a thread.
            Client(self, Path(directory), f"{who}.{n}", seed * 100 + n, locks=n == 0)
            for n in range(threads)
        ]
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
            client.recorder.close()


class Client:
    """One thread's calls: which one comes next, and how it is written down."""

    def __init__(
        self, load: HistoryLoad, directory: Path, who: str, seed: int, *, locks: bool
    ) -> None:
        self._node = load._node
        self._objects = load._objects
        self._who = who
        self._kinds = ["hits", "users", "seen", "flags", "jobs", "jobs", "waits", "ranked"]
        self._kinds += ["door"] * (3 * locks)
        self._random = random.Random(seed)
        self._count = 0
        self._token: int | None = None
        self.recorder = Recorder(directory / f"{who}.jsonl")

    def call_something(self) -> None:
        """Make one call of a random object."""
        if self._token is not None:
            self.let_go()
            return
        getattr(self, f"_{self._random.choice(self._kinds)}")()

    def let_go(self) -> None:
        """Release the lock, if this client has it."""
        if self._token is not None:
            token, self._token = self._token, None
            self._call("door", "release", [token], self._objects["door"].release)

    def _hits(self) -> None:
        if self._random.random() < 0.7:
            self._call("hits", "add", [1], lambda: self._objects["hits"].add(1))
        else:
            self._read("hits", "get", [], lambda: self._objects["hits"].value)

    def _users(self) -> None:
        users, key, value = self._objects["users"], self._random.choice(KEYS), self._mark()
        way = self._random.randrange(6)
        if way <= 1:
            self._call("users", "set", [key, value], lambda: users.set(key, value))
        elif way == 2:
            self._call("users", "pop", [key, None], lambda: users.pop(key, None))
        elif way == 3:
            self._call("users", "setdefault", [key, value], lambda: users.setdefault(key, value))
        else:
            self._read("users", "get", [key], lambda: users.get(key))

    def _seen(self) -> None:
        seen, mark = self._objects["seen"], self._mark()
        if self._random.random() < 0.8:
            self._call("seen", "append", [mark], lambda: seen.append(mark))
        else:
            self._read("seen", "__len__", [], lambda: len(seen))

    def _flags(self) -> None:
        flags, element = self._objects["flags"], self._random.choice(ELEMENTS)
        way = self._random.randrange(4)
        if way == 0:
            self._call("flags", "add", [element], lambda: flags.add(element))
        elif way == 1:
            self._call("flags", "discard", [element], lambda: flags.discard(element))
        else:
            self._read("flags", "__contains__", [element], lambda: element in flags)

    def _jobs(self) -> None:
        jobs, mark = self._objects["jobs"], self._mark()
        if self._random.random() < 0.5:
            self._call("jobs", "put_nowait", [mark], lambda: jobs.put_nowait(mark))
        else:
            self._call("jobs", "get_nowait", [], jobs.get_nowait)

    def _waits(self) -> None:
        waits, mark = self._objects["waits"], self._mark()
        if self._random.random() < 0.5:
            self._call("waits", "put", [mark], lambda: waits.put(mark))
        else:
            self._call("waits", "get", [], lambda: waits.get(timeout=GET_TIMEOUT))

    def _ranked(self) -> None:
        ranked, item = self._objects["ranked"], (self._random.randrange(3), self._mark())
        if self._random.random() < 0.5:
            self._call("ranked", "put_nowait", [item], lambda: ranked.put_nowait(item))
        else:
            self._call("ranked", "get_nowait", [], ranked.get_nowait)

    def _door(self) -> None:
        door = self._objects["door"]

        def acquire() -> int | None:
            # Nobody else in this process has the lock now, so the token is that of this grant.
            return door.token if door.acquire(timeout=LOCK_TIMEOUT) else None

        self._token = self._call("door", "acquire", [], acquire)

    def _mark(self) -> str:
        self._count += 1
        return f"{self._who}/{self._count:06}"

    def _read(self, target: str, method: str, args: list[Any], read: Callable[[], Any]) -> Any:
        """Read after a barrier, so that the read is linearizable on any member."""

        def confirmed() -> Any:
            self._node.barrier(timeout=2.0)
            return read()

        return self._call(target, method, args, confirmed, harmless=True)

    def _call(
        self,
        target: str,
        method: str,
        args: list[Any],
        call: Callable[[], Any],
        *,
        harmless: bool = False,
    ) -> Any:
        """Make a call and write it down; `harmless`: it changes nothing, whatever happens."""
        number = self.recorder.begin(target, method, args)
        try:
            result = call()
        except (Empty, LockLost, NotOwner) as error:
            self.recorder.end(number, "ok", raised=type(error).__name__)
        except NotApplied as error:
            self.recorder.end(number, "fail", raised=type(error).__name__)
        except SyncError as error:
            kind = "fail" if harmless else "info"
            self.recorder.end(number, kind, raised=type(error).__name__)
        else:
            self.recorder.end(number, "ok", out=result)
            return result
        return None


class Contents:
    """What the objects hold on this member, after a barrier."""

    def __init__(
        self, node: Any, objects: dict[str, Any], emit: Callable[[dict[str, Any]], None]
    ) -> None:
        self._node = node
        self._objects = objects

    def run(self) -> dict[str, Any]:
        """Return the contents by object name."""
        self._node.barrier(timeout=20.0)
        objects = self._objects
        with self._node.reading():
            return {
                "hits": objects["hits"].value,
                "users": dict(objects["users"].items()),
                "seen": list(objects["seen"]),
                "flags": sorted(objects["flags"]),
                **{
                    name: sorted(items) if name == "ranked" else list(items)
                    for name in ("jobs", "waits", "ranked")
                    for items in [objects[name].snapshot_state()["_items"]]
                },
            }

    def stop(self) -> None:
        """Do nothing: reading ends by itself."""


class HolderLoad:
    """A process that trusts its lock: acquire, write `writes` times with the token, release.

    It never asks whether it still holds the lock: the store has to find out. A turn ends with the
    first write that is refused.
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
        self._door.on_lost = lambda: self._tell("lost")
        self._store = StoreClient(store)
        self._emit = emit
        self._who = who
        self._writes = writes
        self._count = 0
        self._stopping = threading.Event()

    def run(self) -> None:
        """Take turns until told to stop."""
        while not self._stopping.is_set():
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
            if not self._store.write(token, f"{self._who}/{self._count:06}"):
                self._tell("refused", token=token, held=self._door.held)
                break
            if self._stopping.wait(0.002):
                break
        try:
            self._door.release()
        except (LockLost, NotOwner) as error:
            self._tell("late release", token=token, error=type(error).__name__)
        else:
            self._tell("released", token=token)

    def _tell(self, event: str, **more: Any) -> None:
        self._emit({"event": event, "who": self._who, "at": monotonic_ns(), **more})
