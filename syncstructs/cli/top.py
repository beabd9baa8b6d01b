"""`syncstructs top`: all members of a running cluster, live.

In a terminal the picture is redrawn in place, and the terminal is left as it was found. Elsewhere
each picture is printed below the one before, without anything that steers a terminal. With NO_COLOR
in the environment there are no colours.
"""

import argparse
import sys
import time
from typing import Final

from .cluster import add_where, reach
from .console import AnyOf, ConsoleError, ConsoleRefused
from .formats import count, number_from, plain
from .pictures import Rates, Seen, headline, largest_objects, rows, spark, statuses
from .screen import draw, is_live, screen

_TIMEOUT: Final = 5.0
_OBJECT_COUNT: Final = 10


def add_parser(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "top",
        help="show all members of a running cluster, live",
        description="Show all members of a running cluster, again and again. Ctrl-C ends it.",
    )
    add_where(parser)
    add = parser.add_argument
    add("--interval", type=number_from(0.1, 3600), default=1.0, metavar="SECONDS",
        help="between two pictures (default: %(default)g)")  # fmt: skip
    add("--count", type=count, default=0, metavar="N", help="end after N pictures (default: never)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show until interrupted; return 0, or 1 if the last look found nobody.

    Whoever does not answer is waited for; but it ends at once if it is refused to begin with, as it
    is without the password.
    """
    try:
        asked = reach(options)
    except ConsoleError as error:
        print(f"syncstructs top: {plain(str(error))}", file=sys.stderr)
        return 1
    live = is_live()
    rates, number, found = Rates(), 0, True
    try:
        _knock(asked)
        with screen(live):
            while True:
                lines, found = _look(asked, rates)
                draw(lines, live=live)
                number += 1
                if number == options.count:
                    break
                time.sleep(options.interval)
    except ConsoleRefused as error:
        print(f"syncstructs top: {plain(str(error))}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        # The ordinary way to end it.
        pass
    finally:
        asked.close()
    return 0 if found else 1


def _knock(asked: AnyOf) -> None:
    """Raise `ConsoleRefused` if that is what the first look would find."""
    try:
        asked.reach()
    except ConsoleRefused:
        raise
    except ConsoleError:
        # It may come.
        return


def _look(asked: AnyOf, rates: Rates) -> tuple[list[tuple[str, str]], bool]:
    """Return the lines of a picture with their kinds, and whether anybody was found."""
    try:
        seen = asked.look("cluster", {}, _TIMEOUT)
    except ConsoleError as error:
        return [(f"nobody answers: {plain(str(error))}", "silent")], False
    return picture(seen, rates, time.monotonic(), time.strftime("%H:%M:%S")), True


def picture(seen: Seen, rates: Rates, now: float, clock: str) -> list[tuple[str, str]]:
    """Return the lines of a picture, each with what it is (see `pictures.rows`)."""
    present = rates.take_in(seen, now)
    total = max(present.values(), default=0.0)
    objects = max((status["object_count"] for status in statuses(seen).values()), default=0)
    return [
        (f"{headline(seen)}  {clock}", ""),
        (f"commands/s {total:>12,.0f}  {spark(rates.history, sys.stdout.encoding)}", ""),
        (f"objects    {objects:>12,}", ""),
        ("", ""),
        *rows(seen, present),
        *(("", ""), *_objects(seen)),
    ]


def _objects(seen: Seen) -> list[tuple[str, str]]:
    lines = largest_objects(seen, _OBJECT_COUNT)
    return [(line, "" if number else "head") for number, line in enumerate(lines)]
