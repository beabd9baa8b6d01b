"""How the demo is shown: a live table in a terminal, plain lines anywhere else.

A view owns nothing but what it draws; `say` is a line of the story, `show` the present picture.
"""

import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import RenderableType

STORY_LINES = 14
STYLES = {"leader": "bold green", "follower": "cyan", "dead": "bold red"}
PLAIN_INTERVAL = 1.0
"""Seconds between two lines of figures in the plain view."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What is known of one member at one moment."""

    name: str
    address: str
    state: str
    """'leader', 'follower', another role, 'starting' or 'dead'."""
    term: int
    commit_index: int
    applied_index: int
    acknowledged: int
    """Calls acknowledged to this member since the beginning."""
    rate: float
    """Acknowledged calls per second of late."""


class View(Protocol):
    """Where the demo shows itself."""

    def say(self, text: str, *, good: bool | None = None) -> None:
        """Add a line to the story; `good` colours it."""

    def show(self, rows: Sequence[Row]) -> None:
        """Show the present picture."""

    def close(self) -> None:
        """Leave the terminal as it was found."""


class PlainView:
    """Lines on stdout: the story as it happens, and the figures once a second."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._shown_at = self._began

    def say(self, text: str, *, good: bool | None = None) -> None:
        """Print the line with the seconds since the beginning."""
        mark = {None: "  ", True: "ok", False: "!!"}[good]
        print(f"{time.monotonic() - self._began:6.2f} s {mark} {text}", flush=True)

    def show(self, rows: Sequence[Row]) -> None:
        """Print one line of figures, if the last is a second old."""
        now = time.monotonic()
        if now - self._shown_at < PLAIN_INTERVAL:
            return
        self._shown_at = now
        members = ", ".join(f"{r.name} {r.state} {r.applied_index}" for r in rows)
        rate = sum(row.rate for row in rows)
        done = sum(row.acknowledged for row in rows)
        self.say(f"{done} calls acknowledged, {rate:.0f} per second; applied: {members}")

    def close(self) -> None:
        """Do nothing: there is nothing to restore."""


class LiveView:
    """A table that is redrawn in place, and the story below it; needs `rich` and a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._began = time.monotonic()
        self._rows: Sequence[Row] = ()
        self._story: deque[tuple[str, str]] = deque(maxlen=STORY_LINES)
        self._console = Console()
        self._live = Live(self._draw(), console=self._console, auto_refresh=False)
        self._live.start()

    def say(self, text: str, *, good: bool | None = None) -> None:
        """Add the line under the table."""
        style = {None: "", True: "green", False: "bold red"}[good]
        self._story.append((f"{time.monotonic() - self._began:6.2f} s  {text}", style))
        self._live.update(self._draw(), refresh=True)

    def show(self, rows: Sequence[Row]) -> None:
        """Redraw the table."""
        self._rows = rows
        self._live.update(self._draw(), refresh=True)

    def close(self) -> None:
        """Leave the last picture standing."""
        self._live.stop()

    def _draw(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(title="syncstructs demo", expand=False)
        table.add_column("member")
        table.add_column("address")
        table.add_column("state")
        for title in ("term", "committed", "applied", "acknowledged", "calls/s"):
            table.add_column(title, justify="right")
        for row in self._rows:
            table.add_row(
                row.name,
                row.address,
                Text(row.state, style=STYLES.get(row.state, "yellow")),
                str(row.term),
                f"{row.commit_index:,}",
                f"{row.applied_index:,}",
                f"{row.acknowledged:,}",
                f"{row.rate:,.0f}",
            )
        return Group(table, *(Text(line, style=style) for line, style in self._story))


def open_view(*, plain: bool) -> View:
    """Return the live view if stdout is a terminal and `rich` is installed, else the plain one."""
    if plain or not sys.stdout.isatty():
        return PlainView()
    try:
        return LiveView()
    except ImportError:
        return PlainView()
