"""Copies of a class in other processes, where hashes, clocks and chance are others.

`OtherProcess` starts one and asks it to make calls; `main` is what runs there. The class is found
by importing its module anew, after the clocks were moved.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, BinaryIO, Final

from ..codec import STATE_DEPTH, decode, encode
from ..errors import Unserializable
from .subjects import Copy, Made, Subject, encoding

_SIZE: Final = struct.Struct(">I")
_READY: Final = True
_NEEDED: Final = frozenset({"PATH", "PATHEXT", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ"})
"""Environment variables that are left as they are: without them much does not work."""
_PATIENCE: Final = 60.0
"""Seconds of real time for an answer; then the process is killed."""

Step = tuple[bytes, bytes]
"""After a call: its outcome and the state, so encoded that equal ones are equal."""


class Unreachable(Exception):
    """The class cannot be had in another process; says why."""


class OtherProcess:
    """A process with its own `PYTHONHASHSEED`, time zone and clock, in which the class is made."""

    def __init__(self, subject: Subject, number: int) -> None:
        """Start it; it imports while the caller goes on.

        Raises:
            Unreachable: the class is none that could be imported.
        """
        cls = subject.cls
        module = sys.modules.get(cls.__module__)
        file = getattr(module, "__file__", None)
        if "<locals>" in cls.__qualname__ or file is None:
            raise Unreachable(
                f"{cls.__qualname__} is not at the top of a module in a file, so no other process"
                " can import it"
            )
        environment = {
            **os.environ,
            "PYTHONHASHSEED": str(number),
            "TZ": ("UTC-14", "UTC+11")[number % 2],
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        }
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as this object)
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from syncstructs.testing.copies import main; main()"],
            env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
        )  # fmt: skip
        self._is_ready = False
        self._send([
            number, cls.__module__, os.path.abspath(file), cls.__qualname__, subject.args,
            subject.methods,
        ])  # fmt: skip

    def run(self, initial: bytes, sequences: Sequence[Sequence[Made]]) -> list[list[Step]]:
        """Make each sequence of calls on a new object; return what each call came to.

        Each begins with the encoded state `initial`.

        Raises:
            Unreachable: the process could not import the class.
            RuntimeError: it has ended, or gave no answer in time.
        """
        if not self._is_ready:
            said = self._answer()
            if said is not _READY:
                raise Unreachable(f"another process could not import it:\n{said}")
            self._is_ready = True
        self._send([initial, [[[c.method, dict(c.args)] for c in calls] for calls in sequences]])
        answer = self._answer()
        if isinstance(answer, str):
            raise RuntimeError(f"a copy in another process has failed:\n{answer}")
        return [[(step[0], step[1]) for step in steps] for steps in answer]

    def _answer(self) -> Any:
        """Return the next answer; what the process said if it has ended instead."""
        guard = threading.Timer(_PATIENCE, self._process.kill)
        guard.daemon = True
        guard.start()
        try:
            assert self._process.stdout is not None
            answer = _receive(self._process.stdout)
        finally:
            guard.cancel()
        if answer is not None:
            return answer
        self._process.wait()
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-2000:] or "it said nothing"

    def close(self) -> None:
        """End the process."""
        self._process.kill()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        self._process.wait()
        self._errors.close()

    def _send(self, value: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            _write(self._process.stdin, value)


def steps_of(subject: Subject, initial: bytes, calls: Sequence[Made]) -> list[Step]:
    """Make calls on a new object of this process; return what each of them came to."""
    copy = Copy(subject, initial)
    steps: list[Step] = []
    for made in calls:
        outcome = encoding(copy.make(made))
        try:
            state = copy.state()
        except Unserializable as error:
            state = str(error).encode()
        steps.append((outcome if isinstance(outcome, bytes) else outcome.encode(), state))
    return steps


def main() -> None:
    """Serve an `OtherProcess` until its end of the pipe is closed."""
    requests = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb")
    # What the user's module prints must not get among the answers.
    os.dup2(2, 1)
    first = _receive(requests)
    assert first is not None
    number, module, file, name, args, methods = first
    _move_clocks(number)
    random.seed(number)
    found: Any = _import(module, file)
    for part in name.split("."):
        found = getattr(found, part)
    subject = Subject(found, [], args=args, methods=methods)
    _move_surroundings()
    _write(answers, _READY)
    while (request := _receive(requests)) is not None:
        initial, sequences = request
        made = [[Made(method, args) for method, args in calls] for calls in sequences]
        _write(answers, [steps_of(subject, initial, calls) for calls in made])


def _move_clocks(number: int) -> None:
    """Move what can be moved, before the user's module takes it; the zone moves local times."""
    seconds = number * 7_654_321.987
    for name in ("time", "monotonic", "perf_counter"):
        real = getattr(time, name)
        real_ns = getattr(time, f"{name}_ns")
        setattr(time, name, lambda real=real: real() + seconds)
        setattr(time, f"{name}_ns", lambda real=real_ns: real() + int(seconds * 1e9))


def _move_surroundings() -> None:
    """Have another working directory and environment; after the import, which may need them."""
    root = os.path.abspath(os.sep)
    directory = tempfile.gettempdir() if os.getcwd() == root else root
    os.chdir(directory)
    for name in os.environ:
        if name not in _NEEDED:
            os.environ[name] += "-elsewhere"
    os.environ.update(HOME=directory, USER="somebody", HOSTNAME="elsewhere", PWD=directory)


def _import(name: str, file: str) -> Any:
    if name != "__main__":
        with suppress(ImportError):
            return importlib.import_module(name)
    # As multiprocessing has it: what stands under `if __name__ == "__main__"` does not run.
    name = "__mp_main__" if name == "__main__" else name
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None, file
    assert spec.loader is not None, file
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _write(stream: BinaryIO | Any, value: object) -> None:
    packed = encode(value, max_depth=STATE_DEPTH)
    stream.write(_SIZE.pack(len(packed)) + packed)
    stream.flush()


def _receive(stream: BinaryIO | Any) -> Any:
    head = stream.read(_SIZE.size)
    if len(head) < _SIZE.size:
        return None
    return decode(stream.read(_SIZE.unpack(head)[0]))
