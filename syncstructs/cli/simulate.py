"""`syncstructs simulate`: clusters in virtual time under faults, on all cores, seed after seed."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from typing import TYPE_CHECKING, Any, Protocol

from ..compiled import IS_COMPILED

if TYPE_CHECKING:
    from ..testing.campaign import Result, Totals

DEFAULT_SECONDS = 60.0


def add_parser(commands: Any) -> None:
    """Add the subcommand."""
    parser = commands.add_parser(
        "simulate",
        help="torture simulated clusters, and check every step",
        description="Run clusters in virtual time under faults of network, disks, processes and"
        " clocks. Each run follows from a seed; a failing one is made short, and printed with a"
        " token that replays it. Exit status 1 if any failed, 130 if Ctrl-C ended it.",
    )
    parser.add_argument(
        "--seeds", type=count, metavar="N", help="how many runs (default: no limit)"
    )
    parser.add_argument(
        "--time", type=some_seconds, metavar="T", help="for how long, as 90, 90s, 10m or 2h"
        f" (default: {DEFAULT_SECONDS:.0f}s, or no limit with --seeds)",
    )  # fmt: skip
    parser.add_argument(
        "--profile", default="all",
        help="all, network, disk, membership, locks, upgrades or calm; several with commas",
    )
    parser.add_argument("--first-seed", type=int, default=0, metavar="N", help="where to begin")
    parser.add_argument("--jobs", type=count, metavar="N", help="processes (default: all cores)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument(
        "--shrink", type=seconds, default=30.0, metavar="T",
        help="how long to make the first failure shorter (default: 30s)",
    )  # fmt: skip
    parser.add_argument("--replay", metavar="TOKEN", help="run that one again, and tell its story")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the subcommand; return the exit status."""
    if options.replay:
        return _replay(options.replay)
    from ..testing.campaign import Totals, campaign
    from ..testing.plans import PROFILES

    profiles = [name.strip() for name in options.profile.split(",")]
    unknown = [name for name in profiles if name not in PROFILES]
    if unknown:
        print(f"profile {unknown[0]!r} is none of {', '.join(PROFILES)}; separate several by"
              " single commas", file=sys.stderr)  # fmt: skip
        return 2
    limit = options.time
    if limit is None and options.seeds is None:
        limit = DEFAULT_SECONDS
    totals, interrupted = Totals(), False
    progress = _progress(options.seeds, limit, quiet=options.json)
    try:
        for result in campaign(
            profiles, first_seed=options.first_seed, runs=options.seeds, seconds=limit,
            jobs=options.jobs,
        ):  # fmt: skip
            totals.add(result)
            if result.failure:
                progress.say(f"seed {result.seed} {result.profile}: {result.failure}")
            progress.show(totals)
    except KeyboardInterrupt:
        interrupted = True
        progress.say("interrupted; what was done till now:")
    finally:
        progress.close()
    if IS_COMPILED:
        print(
            "the core is compiled, and cannot be watched from within, so that less is checked: set"
            " SYNCSTRUCTS_PURE=1 to check all, of the pure code",
            file=sys.stderr,
        )
    _summarise(totals, as_json=options.json)
    if interrupted:
        # As shells have it for a program that Ctrl-C ends.
        return 130
    if totals.failures:
        _explain(totals.failures[0], options.shrink)
        return 1
    return 0


def count(text: str) -> int:
    """Return the number that `text` stands for.

    Raises:
        argparse.ArgumentTypeError: it is none, or below 1.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def seconds(text: str) -> float:
    """Return the seconds that `90`, `90s`, `1.5m` or `2h` stand for.

    Raises:
        argparse.ArgumentTypeError: it is none of these.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text.strip())
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write it as 90s, 10m or 2h")
    return float(match[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[match[2]]


def some_seconds(text: str) -> float:
    """Return the seconds that `text` stands for, as `seconds` does.

    Raises:
        argparse.ArgumentTypeError: it is no time, or none at all.
    """
    value = seconds(text)
    if not value:
        raise argparse.ArgumentTypeError(f"{text!r} leaves no time for a run")
    return value


def _replay(token: str) -> int:
    from ..testing.plans import Plan
    from ..testing.runs import Failure, run_plan
    from ..testing.story import tell

    try:
        plan = Plan.from_token(token)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print(tell(plan))
    return 1 if isinstance(run_plan(plan), Failure) else 0


def _summarise(totals: Totals, *, as_json: bool) -> None:
    figures = totals.figures()
    if as_json:
        failed = [
            {"seed": r.seed, "profile": r.profile, "failure": r.failure, "token": r.token}
            for r in totals.failures
        ]
        print(json.dumps(figures | {"failed": failed}))
        return
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):32} {value:>14,}")
    for result in totals.failures:
        print(f"seed {result.seed} {result.profile}: {result.failure}\n  token {result.token}")


def _explain(result: Result, limit: float) -> None:
    """Make a failure short, and print its story; on stderr, as the figures are on stdout."""
    from ..testing.plans import Plan
    from ..testing.runs import Failure, run_plan
    from ..testing.shrinking import Shrinker
    from ..testing.story import explain

    failure = run_plan(Plan.from_token(result.token))
    if not isinstance(failure, Failure):
        print(f"seed {result.seed} does not fail again: that is a defect of the simulator,"
              " please report it", file=sys.stderr)  # fmt: skip
        return
    print(f"making seed {result.seed} short...", file=sys.stderr)
    print(explain(Shrinker(failure, seconds=limit).shrink()), file=sys.stderr)


class Progress(Protocol):
    """Where the progress is shown."""

    def say(self, text: str) -> None:
        """Print a line that stays."""

    def show(self, totals: Totals) -> None:
        """Show how far it is."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


class _Lines:
    """A line every few seconds, on stderr."""

    def __init__(self) -> None:
        self._shown = time.monotonic()

    def say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def show(self, totals: Totals) -> None:
        if time.monotonic() - self._shown >= 10.0:
            self._shown = time.monotonic()
            self.say(_line(totals))

    def close(self) -> None:
        pass


class _Bar:
    """A bar in a terminal."""

    def __init__(self, runs: int | None, limit: float | None) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._began = time.monotonic()
        self._limit = limit
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(),
            console=Console(stderr=True),
        )  # fmt: skip
        total = runs if limit is None else limit
        self._task = self._progress.add_task("simulating", total=total)
        self._progress.start()

    def say(self, text: str) -> None:
        self._progress.console.print(text, style="bold red", highlight=False, markup=False)

    def show(self, totals: Totals) -> None:
        done = totals.runs if self._limit is None else time.monotonic() - self._began
        self._progress.update(self._task, completed=done, description=_line(totals))

    def close(self) -> None:
        self._progress.stop()


def _progress(runs: int | None, limit: float | None, *, quiet: bool) -> Progress:
    if not quiet and sys.stderr.isatty():
        try:
            return _Bar(runs, limit)
        except ImportError:
            pass
    return _Lines()


def _line(totals: Totals) -> str:
    return (
        f"{totals.runs} runs, {totals.seconds / 3600:.2f} cluster-hours, {totals.faults} faults,"
        f" {totals.elections} elections, {totals.checked} calls checked,"
        f" {len(totals.failures)} failures"
    )
