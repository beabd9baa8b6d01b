"""Member processes on this machine: start them, ask them, kill them, and leave none behind.

Used by `demo`, `bench` and the tests with real processes. A member ends when the pipe to it closes,
so nothing outlives this process even if it is killed; `close()` makes sure while it lives.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .channel import Channel, Line, Setup, stacks_signal

PORTS = range(20_000, 32_000)
"""Below the range from which systems take the ports of outgoing connections: a port chosen here
is still free when its member is started again after a crash."""
# Process ids of programs that are started together differ by less, in nearly all cases.
_SHARES = 12

STDERR_LINES = 200
MEMBER_COMMAND = (sys.executable, "-P", "-m", "syncstructs.cli.member")

OnEvent = Callable[["MemberProcess", Line], None]


class MemberGone(Exception):
    """The process ended before it answered; the message holds the end of what it logged."""


class MemberError(Exception):
    """The member answered with an error; `type` is its class, `known` tells of the call."""

    def __init__(self, answer: Line) -> None:
        super().__init__(f"{answer['type']}: {answer['message']}")
        self.type: str = answer["type"]
        self.known: str = answer["known"]


class MemberProcess:
    """One process with one node: a handle to start, ask, stop and kill it."""

    def __init__(
        self,
        setup: Setup,
        *,
        on_event: OnEvent | None = None,
        hash_seed: int | None = None,
        command: Sequence[str] = MEMBER_COMMAND,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.setup = setup
        self._on_event = on_event
        self._pending: dict[int, Future[Any]] = {}
        self._pending_lock = threading.Lock()
        self._next_id = 0
        self._gone = False
        # A file rather than a pipe: nobody has to read it for the member to go on.
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed by `close`)
        environment = {**os.environ, "PYTHONPATH": import_path(), **(env or {})}
        if hash_seed is not None:
            environment["PYTHONHASHSEED"] = str(hash_seed)
        # A session of its own: Ctrl-C in the terminal goes to us, and we end the members.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            start_new_session=True,
            env=environment,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._channel = Channel(self._process.stdout, self._process.stdin)
        self._reader = threading.Thread(target=self._read, name=f"read {setup.name}", daemon=True)
        self._reader.start()
        with suppress(OSError):
            self._channel.send(asdict(setup))

    @property
    def name(self) -> str:
        """The member's name, as its setup has it."""
        return self.setup.name

    @property
    def address(self) -> str:
        """The address its node listens on."""
        return self.setup.address

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs (a stopped one does)."""
        return self._process.poll() is None

    def ask(self, do: str, **options: Any) -> "Future[Any]":
        """Send a request and return a future of its answer.

        The future raises `MemberError` for an error of the member's, and `MemberGone` if the
        process ended first.
        """
        future: Future[Any] = Future()
        with self._pending_lock:
            self._next_id += 1
            number = self._next_id
            self._pending[number] = future
            gone = self._gone
        if gone:
            self._fail_pending()
        else:
            # If the process is gone, the reader sees that too and fails the future.
            with suppress(OSError, ValueError):
                self._channel.send({"id": number, "do": do, **options})
        return future

    def request(self, do: str, *, within: float = 15.0, **options: Any) -> Any:
        """Send a request and return its answer, waiting at most `within` seconds.

        Raises:
            MemberError: the member answered with an error.
            MemberGone: the process ended first.
            TimeoutError: no answer in time.
        """
        return self.ask(do, **options).result(within)

    def call(self, name: str, method: str, *args: Any, within: float = 15.0) -> Any:
        """Call a method of an object on this member; arguments and result pass through JSON."""
        return self.request("call", within=within, name=name, method=method, args=args)

    def kill(self) -> None:
        """Send SIGKILL, and return when the process is gone."""
        self._process.kill()
        self._process.wait()
        self._reader.join(5)

    def pause(self) -> None:
        """Stop the process where it is (SIGSTOP); `resume` lets it go on."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused process go on (SIGCONT)."""
        self._process.send_signal(signal.SIGCONT)

    def dump_stacks(self) -> None:
        """Have the process write to its log where each of its threads is, even if it hangs."""
        if sys.platform != "win32":
            self._process.send_signal(stacks_signal())

    def close(self, timeout: float = 8.0) -> None:
        """Ask the member to close its node and end; kill it after `timeout` seconds."""
        if self.alive:
            with suppress(OSError, ValueError):
                self._channel.send({"do": "close"})
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout)
        self.kill()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        streams = [self._process.stdin, self._stderr]
        # A child of the member may hold stdout open for a moment; closing it under the reader
        # would wait for that child. The reader thread is a daemon and ends with it.
        if not self._reader.is_alive():
            streams.append(self._process.stdout)
        for stream in streams:
            with suppress(OSError):
                stream.close()

    def log_tail(self) -> str:
        """Return the last lines that the member wrote to stderr."""
        try:
            size = os.fstat(self._stderr.fileno()).st_size
            text = os.pread(self._stderr.fileno(), 32_768, max(0, size - 32_768))
        except (OSError, ValueError):
            return ""
        return "\n".join(deque(text.decode(errors="replace").splitlines(), STDERR_LINES))

    def _read(self) -> None:
        while (line := self._channel.receive()) is not None:
            if "id" not in line:
                if self._on_event is not None:
                    self._on_event(self, line)
                continue
            with self._pending_lock:
                future = self._pending.pop(line["id"], None)
            if future is None:
                continue
            if "error" in line:
                future.set_exception(MemberError(line["error"]))
            else:
                future.set_result(line["value"])
        with self._pending_lock:
            self._gone = True
        self._fail_pending()

    def _fail_pending(self) -> None:
        with self._pending_lock:
            pending, self._pending = self._pending, {}
        for future in pending.values():
            future.set_exception(MemberGone(f"member {self.name} is gone\n{self.log_tail()}"))


class LocalCluster:
    """Members on loopback, started together and ended together; a context manager."""

    def __init__(
        self,
        size: int,
        *,
        objects: dict[str, tuple[str, list[Any]]],
        config: dict[str, Any] | None = None,
        data_dir: Path | None = None,
        on_event: OnEvent | None = None,
        command: Sequence[str] = MEMBER_COMMAND,
    ) -> None:
        """Choose addresses; `data_dir` gets a directory per member, None keeps all in memory."""
        addresses = free_addresses(size)
        self.setups = [
            Setup(
                address=address,
                peers=[peer for peer in addresses if peer != address],
                name=f"m{number}",
                objects=objects,
                config={
                    **(config or {}),
                    **({"data_dir": str(data_dir / f"m{number}")} if data_dir else {}),
                },
            )
            for number, address in enumerate(addresses, 1)
        ]
        self.members: dict[str, MemberProcess] = {}
        self._on_event = on_event
        self._command = command

    def __enter__(self) -> "LocalCluster":
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        """End every member. What ends the block tells, in a note, how the members were."""
        try:
            if isinstance(error, Exception):
                error.add_note(self.account())
        finally:
            self.close()

    def __iter__(self) -> Iterator[MemberProcess]:
        return iter(list(self.members.values()))

    @property
    def alive(self) -> list[MemberProcess]:
        """The members whose processes run."""
        return [member for member in self if member.alive]

    def start(self, timeout: float = 30.0) -> None:
        """Start all members that do not run, and return when they are ready.

        Raises:
            MemberGone: one ended at once; the message holds what it logged.
            MemberError: one is not ready within `timeout` seconds.
        """
        names = [s.name for s in self.setups if not self._runs(s.name)]
        for name in names:
            self.launch(name)
        answers = [self.members[n].ask("wait_ready", timeout=timeout) for n in names]
        for answer in answers:
            answer.result(timeout + 5)

    def launch(self, name: str) -> MemberProcess:
        """Start one member (again) and return at once; each has another PYTHONHASHSEED."""
        if self._runs(name):
            raise RuntimeError(f"member {name} runs already")
        if name in self.members:
            self.members[name].close()
        number = [setup.name for setup in self.setups].index(name)
        self.members[name] = MemberProcess(
            self.setups[number],
            on_event=self._on_event,
            hash_seed=number + 1,
            command=self._command,
        )
        return self.members[name]

    def statuses(self, *, digests: bool = False, within: float = 5.0) -> dict[str, Line]:
        """Return what `status()` says on each member that runs and answers in time."""
        asked = {member.name: member.ask("status", digests=digests) for member in self.alive}
        deadline = time.monotonic() + within
        found: dict[str, Line] = {}
        for name, answer in asked.items():
            with suppress(TimeoutError, MemberGone, MemberError):
                found[name] = answer.result(max(0.0, deadline - time.monotonic()))
        return found

    def account(self, within: float = 2.0) -> str:
        """Return how each member is, and the end of its log: to find out what went wrong.

        What a member does that does not tell its status within `within` seconds is in its log,
        by threads.
        """
        statuses = self.statuses(within=within)
        asked = [one for one in self.alive if one.name not in statuses]
        for member in asked:
            member.dump_stacks()
        if asked:
            # What takes a signal needs no thread of the interpreter, but a moment.
            time.sleep(0.2)
        parts: list[str] = []
        for member in self:
            known = statuses.get(member.name) or ("no status" if member.alive else "it has ended")
            parts.append(f"{member.name} at {member.address}: {known}\n{member.log_tail()}")
        return "\n".join(parts)

    def leader(self, statuses: Mapping[str, Line] | None = None) -> MemberProcess | None:
        """Return the running member that leads by its own word, in the highest term; or None."""
        known = self.statuses() if statuses is None else statuses
        leading = [
            (status["term"], name)
            for name, status in known.items()
            if status["leader"] == status["address"] and self._runs(name)
        ]
        return self.members[max(leading)[1]] if leading else None

    def wait_leader(self, timeout: float = 15.0) -> MemberProcess:
        """Return the leader, once there is one.

        Raises:
            TimeoutError: none within `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if (leader := self.leader()) is not None:
                return leader
            time.sleep(0.02)
        raise TimeoutError(f"no leader within {timeout} s: {self.statuses()}")

    def close(self) -> None:
        """End every member; those that do not end in time are killed. May be called twice."""
        for member in self.alive:
            # All are told first, so that they close side by side.
            with suppress(OSError, ValueError):
                member._channel.send({"do": "close"})
        for member in self:
            member.close()

    def _runs(self, name: str) -> bool:
        return name in self.members and self.members[name].alive


def import_path() -> str:
    """Return a PYTHONPATH on which a member finds the very packages that this process uses.

    With `-P` before `-m`, a stray `json.py` in the working directory does not get in its way.
    """
    return os.pathsep.join(entry or os.getcwd() for entry in sys.path)


def ports_to_try() -> list[int]:
    """Return some of `PORTS` in random order.

    Another process that looks for some at the same time, when nobody listens yet, is given others,
    but for one in a dozen.
    """
    own = PORTS[os.getpid() % _SHARES :: _SHARES]
    return random.SystemRandom().sample(own, len(own))


# Those of the last calls: nobody may listen there yet.
_given: deque[int] = deque(maxlen=100)


def free_addresses(count: int) -> list[str]:
    """Return `count` loopback addresses on which nobody listens now; others than just before."""
    addresses: list[str] = []
    for port in ports_to_try():
        if len(addresses) == count:
            break
        if port in _given:
            continue
        with socket.socket() as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind(("127.0.0.1", port))
                addresses.append(f"127.0.0.1:{port}")
                _given.append(port)
    if len(addresses) < count:
        raise OSError(f"fewer than {count} free ports in a share of {PORTS}")
    return addresses
