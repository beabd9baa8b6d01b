"""What a test that needs root asks for first, and the commands it runs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

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


def process_runs(pid: int) -> bool:
    """Return whether there is a process of that number."""
    return os.path.exists(f"/proc/{pid}")
