"""What a test that needs root asks for first, the commands it runs, and who tidies up after it."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence

COMMAND_TIMEOUT = 20.0


class Unavailable(Exception):
    """This machine, or this user, cannot do it; the message says what is missing."""


def require(*tools: str) -> None:
    """Raise `Unavailable` unless this is root on Linux and the tools are there."""
    if not sys.platform.startswith("linux"):
        raise Unavailable(f"needs Linux, not {sys.platform}")
    if os.geteuid() != 0:
        raise Unavailable("needs root")
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"needs {', '.join(missing)}")


def run(*command: str) -> str:
    """Run a command and return what it printed.

    Raises:
        OSError: it failed; the message is its own.
    """
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, check=False
    )
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def attempt(*command: str) -> None:
    """Run a command as the first try of its kind; if it fails, the machine cannot do it."""
    try:
        run(*command)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unavailable(str(error)) from None


class Heir:
    """A process that runs shell commands once this one has closed it, or is gone, however it ended.

    So nothing is left of tests that are interrupted, killed, or out of time.
    """

    def __init__(self, commands: Iterable[Sequence[str]]) -> None:
        script = "\n".join(["trap '' INT TERM HUP", "read line", *map(shlex.join, commands)])
        # A session of its own: what is sent to a test and all its children is not sent to it.
        self._process = subprocess.Popen(
            ["sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def close(self) -> None:
        """Have the commands run now; those with nothing to do fail, and that is all right."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(COMMAND_TIMEOUT)


def kill_maker(module: str, expression: str) -> int:
    """Have another process make something of a module here, and kill it; return its number."""
    script = f"""
from pathlib import Path
from {module} import *
made = {expression}
print("made", flush=True)
input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as maker:
        assert maker.stdout is not None
        said = maker.stdout.readline()
        maker.kill()
    assert said == b"made\n", said
    return maker.pid
