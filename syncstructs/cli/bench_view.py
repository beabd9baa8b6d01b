"""How the benchmark is shown: live in a terminal, line by line anywhere else, and its summary.

A view is given what happens, from any thread. `Board` holds what is known and draws it; it has no
clock and no terminal.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Final, Protocol

from .channel import Line
from .formats import table, time_of
from .pictures import spark
from .processes import LocalCluster, MemberProcess
from .screen import Drawn, draw, is_live, screen

RATE_COUNT: Final = 48
"""Looks at the rate that are kept: a dozen seconds."""
USAGE_INTERVAL: Final = 0.5
"""Seconds between two looks at the CPU; each costs the members a request."""
BAR_WIDTH: Final = 24
HEAD: Final = ("", "measure", "median", "", "least", "greatest", "p50", "p99", "CPU per call", "")
RIGHT: Final = (2, 4, 5, 6, 7, 8, 9)


@dataclass(frozen=True)
class Measure:
    """One thing that is measured."""

    name: str
    title: str
    unit: str = "ops/s"
    figure: str = "ops_per_second"
    """What counts of a run's figures; names that end in `_ms` are of milliseconds."""
    disk: bool = False

    def show(self, value: float) -> tuple[str, str]:
        """Return a value of the figure, and its unit."""
        if self.figure.endswith("_ms"):
            number, _, unit = time_of(value / 1000.0).partition(" ")
            return number, unit
        return f"{value:,.0f}", self.unit


class View(Protocol):
    """Where the benchmark shows itself."""

    def starting(self, measure: Measure) -> None:
        """Show what is measured from now on."""

    def event(self, member: MemberProcess, line: Line) -> None:
        """Take what a member tells while it is under load; from another thread."""

    @property
    def watch(self) -> Callable[[LocalCluster], None] | None:
        """What is to be called again and again during a run; None: members need not tell."""

    def done(self, measure: Measure, figures: Line) -> None:
        """Show the figures of a run."""


@dataclass
class Board:
    """What is known so far."""

    head: str
    measures: Sequence[Measure]
    rounds: int
    began: float
    found: dict[str, list[Line]] = field(default_factory=dict)
    present: Measure | None = None
    lately: Line = field(default_factory=dict)
    """Of the calls of the last moments."""
    rates: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_COUNT))
    cpu: float | None = None
    """CPU that all members use, as a share of one core."""

    def start(self, measure: Measure) -> None:
        """Note what is measured from now on."""
        self.present = measure
        self.lately = {}
        self.rates.clear()
        self.cpu = None

    def tell(self, line: Line) -> None:
        """Note how it went in the last moments."""
        self.lately = line
        self.rates.append(line["ops_per_second"])

    def end(self, measure: Measure, figures: Line) -> None:
        """Note the figures of a run."""
        self.found.setdefault(measure.name, []).append(figures)

    def picture(self, now: float, encoding: str | None = "utf-8") -> list[Drawn]:
        """Return the lines to be drawn."""
        lines = figures_table(self.measures, self.found, self.present, self.rounds)
        return [
            (f"syncstructs bench: {self.head}", ""),
            (self._progress(now - self.began), "head"),
            ("", ""),
            (lines[0], "head"),
            *(
                (line, self._kind(measure))
                for line, measure in zip(lines[1:], self.measures, strict=True)
            ),
            ("", ""),
            *((line, "") for line in self._now(encoding)),
        ]

    def _kind(self, measure: Measure) -> str:
        if measure is self.present:
            return "present"
        return "" if self.found.get(measure.name) else "later"

    def _progress(self, gone: float) -> str:
        done = sum(len(rounds) for rounds in self.found.values())
        total = self.rounds * len(self.measures)
        filled = BAR_WIDTH * done // total
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        left = f", about {clock(gone / done * (total - done))} left" if done else ""
        return f"[{bar}] {done} of {total} runs, {clock(gone)} gone{left}"

    def _now(self, encoding: str | None) -> list[str]:
        if self.present is None:
            return []
        lately = self.lately
        rate = f"{lately['ops_per_second']:,.0f}" if lately else "-"
        cpu = "-" if self.cpu is None else f"{100 * self.cpu:.0f} % of a core, all members"
        return [
            f"calls/s  {rate:>12}  {spark(self.rates, encoding)}",
            f"p50      {milliseconds(lately.get('p50_ms')):>12}",
            f"p99      {milliseconds(lately.get('p99_ms')):>12}",
            f"CPU      {cpu:>12}",
        ]


class SilentView:
    """Shows nothing."""

    watch = None

    def starting(self, measure: Measure) -> None:
        """Do nothing."""

    def event(self, member: MemberProcess, line: Line) -> None:
        """Do nothing."""

    def done(self, measure: Measure, figures: Line) -> None:
        """Do nothing."""


class PlainView:
    """A line for each run."""

    watch = None

    def __init__(self, board: Board) -> None:
        self._board = board
        print(board.head, flush=True)

    def starting(self, measure: Measure) -> None:
        """Do nothing: it is told when it is over."""

    def event(self, member: MemberProcess, line: Line) -> None:
        """Do nothing: nobody looks."""

    def done(self, measure: Measure, figures: Line) -> None:
        """Print the figures."""
        self._board.end(measure, figures)
        number = len(self._board.found[measure.name])
        print(f"  run {number}  {measure.title:<42} {in_a_line(measure, figures)}", flush=True)


class LiveView:
    """A picture that is drawn again and again."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._lock = threading.Lock()
        self._usage: tuple[float, float] | None = None

    def starting(self, measure: Measure) -> None:
        """Draw it as the present one."""
        with self._lock:
            self._board.start(measure)
        self._usage = None
        self._draw()

    def event(self, member: MemberProcess, line: Line) -> None:
        """Note what is told of the last moments."""
        if line.get("event") == "progress":
            with self._lock:
                self._board.tell(line)

    def watch(self, cluster: LocalCluster) -> None:
        """Look at the CPU, and draw."""
        now = time.monotonic()
        if self._usage is None or now - self._usage[0] >= USAGE_INTERVAL:
            used = sum(member.request("usage") for member in cluster.alive)
            if self._usage is not None:
                with self._lock:
                    self._board.cpu = (used - self._usage[1]) / (now - self._usage[0])
            self._usage = now, used
        self._draw()

    def done(self, measure: Measure, figures: Line) -> None:
        """Draw the figures."""
        with self._lock:
            self._board.end(measure, figures)
        self._draw()

    def _draw(self) -> None:
        with self._lock:
            lines = self._board.picture(time.monotonic(), sys.stdout.encoding)
        draw(lines, live=True)


@contextmanager
def open_view(
    head: str, measures: Sequence[Measure], rounds: int, *, plain: bool, silent: bool
) -> Iterator[View]:
    """Have a view for the block; a live one if stdout is a terminal that can be steered."""
    board = Board(head, measures, rounds, time.monotonic())
    if silent:
        yield SilentView()
    elif plain or not is_live():
        yield PlainView(board)
    else:
        with screen(True):
            yield LiveView(board)


def figures_table(
    measures: Sequence[Measure],
    found: Mapping[str, Sequence[Line]],
    present: Measure | None,
    rounds: int,
) -> list[str]:
    """Return the lines of a table of medians, the head first, and one for each measure.

    With `rounds` it tells how many of them are done.
    """
    rows: list[Sequence[str]] = [HEAD]
    for each in measures:
        runs = found.get(each.name, ())
        mark = ">" if each is present else ""
        count = f"{len(runs)}/{rounds}" if rounds else ""
        rows.append((mark, each.title, *cells(each, runs), count))
    return table(rows, right=RIGHT)


def cells(measure: Measure, runs: Sequence[Line]) -> tuple[str, ...]:
    """Return what a table shows of the runs of a measure, as far as there are any."""
    values = [run[measure.figure] for run in runs if run.get(measure.figure) is not None]
    if not values:
        return ("",) * 7
    number, unit = measure.show(median(values))

    def middle(figure: str) -> float | None:
        known = [run[figure] for run in runs if run.get(figure) is not None]
        return median(known) if known else None

    cpu = middle("cpu_seconds_per_million")
    return (
        number, unit,
        *(" ".join(measure.show(end)).removesuffix(f" {measure.unit}")
          for end in (min(values), max(values))),
        milliseconds(middle("p50_ms"), ""), milliseconds(middle("p99_ms"), ""),
        "" if cpu is None else time_of(cpu / 1e6),
    )  # fmt: skip


def summary(
    head: str, measures: Sequence[Measure], found: Mapping[str, Sequence[Line]]
) -> list[str]:
    """Return the lines that are left when all is done."""
    rounds = max(len(runs) for runs in found.values())
    lines = figures_table(measures, found, None, 0)
    troubles = [
        f"{each.title}: {count} calls {what}"
        for each in measures
        for what in ("failed", "lost")
        if (count := sum(run[what] for run in found[each.name]))
    ]
    return [f"medians of {rounds}: {head}", *lines, *troubles]


def in_a_line(measure: Measure, figures: Line) -> str:
    """Return the figures of a run in one line."""
    value = figures.get(measure.figure)
    parts = ["-" if value is None else " ".join(measure.show(value))]
    for name, figure in (("p50", "p50_ms"), ("p99", "p99_ms")):
        if figures.get(figure) is not None and figure != measure.figure:
            parts.append(f"{name} {milliseconds(figures[figure])}")
    if figures.get("cpu_seconds_per_million") is not None:
        parts.append(f"CPU {time_of(figures['cpu_seconds_per_million'] / 1e6)} per call")
    if figures["failed"] or figures["lost"]:
        parts.append(f"FAILED {figures['failed']}, LOST {figures['lost']}")
    return f"{parts[0]:>18}" + "".join(f"   {part}" for part in parts[1:])


def milliseconds(value: float | None, none: str = "-") -> str:
    """Return a duration with its unit."""
    return none if value is None else time_of(value / 1000.0)


def clock(seconds: float) -> str:
    """Return minutes and seconds.

    >>> clock(125.2)
    '2:05'
    """
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
