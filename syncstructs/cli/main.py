"""The command `syncstructs`: reads the arguments, hands over to the subcommand, gives its status.

Exit status: 0 done (for `demo`: the proof holds; `status`: there is a leader; `inspect`: a node
would start on it), 1 it failed, 2 wrong usage, 130 interrupted (but `top` ends so with 0), 128 and
its number after another signal. However it ends, the terminal is left as it was found, and
no process is left behind.
"""

import argparse
import errno
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import metadata
from types import FrameType
from typing import NoReturn

from ..compiled import IS_COMPILED
from . import bench, cluster, demo, inspection, simulate, top

_OUTPUT_FAILURES = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO})


class _Ended(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    try:
        with _printing_what_can_be(), _unwinding_on_signals():
            options = build_parser().parse_args(arguments)
            return int(options.run(options))
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except _Ended as ended:
        _say(signal.Signals(ended.number).name)
        return 128 + ended.number
    except BrokenPipeError:
        # The reader of our output left (`| head`). Without this, Python would complain at exit.
        sys.stderr.close()
        return 1
    except OSError as error:
        # One that names a file is not about the output.
        if error.errno not in _OUTPUT_FAILURES or error.filename is not None:
            raise
        print(f"syncstructs: the output cannot be written: {error.strerror}", file=sys.stderr)
        # Without this, Python would try again at exit.
        with suppress(OSError, ValueError), open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stdout.fileno())
        return 1


@contextmanager
def _printing_what_can_be() -> Iterator[None]:
    """Print '?' for what the output has no character for; a name may hold anything."""
    out = sys.stdout
    if not isinstance(out, io.TextIOWrapper):
        yield
        return
    before = out.errors
    out.reconfigure(errors="replace")
    try:
        yield
    finally:
        # What is read from a closed one, or set there, raises.
        with suppress(ValueError):
            out.reconfigure(errors=before)


@contextmanager
def _unwinding_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP run what cleans up, as Ctrl-C does; by default they would not."""
    handled: list[int] = []

    def end(number: int, frame: FrameType | None) -> NoReturn:
        # A second one must not disturb the cleaning up; SIGKILL is left to the impatient.
        for other in handled:
            signal.signal(other, signal.SIG_IGN)
        raise _Ended(number)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # One that is ignored stays so: nohup asked for that.
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            # Only the main thread may; elsewhere the program around us has its own rules.
            with suppress(ValueError):
                signal.signal(number, end)
                handled.append(number)
    try:
        yield
    finally:
        for number in handled:
            signal.signal(number, signal.SIG_DFL)


def _say(why: str) -> None:
    # The terminal may be what has gone.
    with suppress(OSError):
        print(f"\n{why}; every process that was started is gone", file=sys.stderr, flush=True)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `options.run` is the subcommand."""
    parser = argparse.ArgumentParser(
        prog="syncstructs",
        description="Replicated Python data structures over one embedded Raft log.",
    )
    parser.add_argument("--version", action="version", version=_version())
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo.add_parser(commands)
    bench.add_parser(commands)
    simulate.add_parser(commands)
    cluster.add_parsers(commands)
    top.add_parser(commands)
    inspection.add_parser(commands)
    return parser


def _version() -> str:
    core = "a compiled core" if IS_COMPILED else "pure Python"
    try:
        return f"syncstructs {metadata.version('syncstructs')}, {core}"
    except metadata.PackageNotFoundError:
        return f"syncstructs (not installed), {core}"
