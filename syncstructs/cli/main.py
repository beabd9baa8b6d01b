"""The command `syncstructs`: reads the arguments, hands over to the subcommand, gives its status.

Exit status: 0 done (for `demo`: the proof holds), 1 it failed, 2 wrong usage, 130 interrupted.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib import metadata

from . import bench, demo


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except KeyboardInterrupt:
        print("\ninterrupted; every process that was started is gone", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader of our output left (`| head`). Without this, Python would complain at exit.
        sys.stderr.close()
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line; `options.run` is the subcommand."""
    parser = argparse.ArgumentParser(
        prog="syncstructs",
        description="Replicated Python data structures over one embedded Raft log.",
    )
    parser.add_argument("--version", action="version", version=f"syncstructs {_version()}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    demo.add_parser(commands)
    bench.add_parser(commands)
    return parser


def _version() -> str:
    try:
        return metadata.version("syncstructs")
    except metadata.PackageNotFoundError:
        return "(not installed)"
