"""Draw the figures of a comparison as an SVG, from its JSON.

    python tests/bench/chart.py bench.json docs/bench.svg

Bars are medians, the lines on them reach from the least to the greatest round. The scales are
logarithmic: on others, a bar that is fifty times as short is not there. The picture brings its own
background, for pages in light and in dark.
"""

import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from report import number, resolve
from rows import (
    COMPILED,
    ETCD_BEST,
    FLOOR,
    OURS,
    PYSYNCOBJ_BEST,
    REDIS,
    ZOOKEEPER_BEST,
)

NAMES = {
    OURS: "syncstructs",
    COMPILED: "syncstructs, compiled",
    PYSYNCOBJ_BEST: "PySyncObj, its best setting",
    ETCD_BEST: "etcd",
    ZOOKEEPER_BEST: "ZooKeeper, kazoo",
    REDIS: "Redis, one server, redis-py",
    FLOOR: "a bare loop that replicates",
}
"""Who is drawn, in this order, and what the legend says."""
CLASSES = {
    OURS: "ours", COMPILED: "compiled", PYSYNCOBJ_BEST: "pysyncobj", ETCD_BEST: "etcd",
    ZOOKEEPER_BEST: "zookeeper", REDIS: "redis", FLOOR: "floor",
}  # fmt: skip
STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif;
         font-size: 12px; fill: #1f2328 }
  .card { fill: #ffffff; stroke: #d0d7de }
  .grid { stroke: #d8dee4; stroke-width: 1 }
  .small { font-size: 11px; fill: #59636e }
  .head { font-size: 14px; font-weight: 600 }
  .strong { font-weight: 600 }
  .spread { stroke: #1f2328; stroke-opacity: 0.55; stroke-width: 1.2 }
  .ours { fill: #1f6feb } .compiled { fill: #79b8ff }
  .pysyncobj { fill: #a0a8b2 } .etcd { fill: #d9822b }
  .zookeeper { fill: #8e6bbf } .redis { fill: #cf4a43 }
  .floor { fill: #ffffff; stroke: #59636e; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .card { fill: #0d1117; stroke: #3d444d }
    .grid { stroke: #2a313a }
    .small { fill: #9198a1 }
    .spread { stroke: #e6edf3 }
    .ours { fill: #4493f8 } .compiled { fill: #a5d0ff }
    .pysyncobj { fill: #6e7681 } .etcd { fill: #e39a4e }
    .zookeeper { fill: #a583d6 } .redis { fill: #e5645c }
    .floor { fill: #0d1117; stroke: #9198a1 }
  }
"""

WIDTH = 880
LEFT, RIGHT = 236, 690
"""Where bars begin, and where the scale ends; values are written behind the bars."""
BAR, BAR_STEP, ROW_GAP, SECTION_GAP = 13, 16, 12, 34
MARGIN = 24


@dataclass(frozen=True)
class Section:
    """Rows that share a scale."""

    title: str
    unit: str
    rows: dict[str, str]
    """Name of each row, and what is written beside its bars."""


SECTIONS = (
    Section("Writes per second; longer is better", "", {
        "leader-64": "64 calls under way at the leader",
        "leader-1024": "1,024 at the leader",
        "leader-16384": "16,384 at the leader",
        "follower-1024": "1,024 at a follower",
        "durable-1024": "1,024, synced to disk",
        "redis-writes": "1,024; pipelines of 1,000",
    }),
    Section("One write that is waited for, median time; shorter is better", " ms", {
        "blocking-leader": "at the leader",
        "blocking-follower": "at a follower",
        "durable-blocking": "synced to disk",
    }),
    Section("A lock acquired and released, times per second; longer is better", "",
            {"locks": "one client"}),
    Section("Time without a write after the leader is killed; shorter is better", " s",
            {"gap-kill": "seen by the others"}),
)  # fmt: skip


@dataclass(frozen=True)
class Bar:
    """What is drawn for one system in one row."""

    kind: str
    value: float
    least: float
    greatest: float
    ratio: float | None
    """Ours to this one."""


def bars_of(row: Mapping[str, Any]) -> list[Bar]:
    """Return the bars of a row, ours first."""
    found: list[Bar] = []
    for kind in NAMES:
        system = resolve(kind, row["systems"], row["better"], "median")
        figures = {} if system is None else row["systems"][system]
        if figures.get("median", 0) > 0:
            value = figures["median"]
            ours = found[0].value if found and found[0].kind == OURS else None
            ratio = None if ours is None else ours / value
            found.append(Bar(kind, value, figures["min"], figures["max"], ratio))
    return found


def scale_of(bars: Sequence[Bar]) -> tuple[int, float]:
    """Return the powers of ten that the scale begins and ends with."""
    least = min(min(bar.value, bar.least or bar.value) for bar in bars)
    # A bar at the very beginning of the scale would not be seen.
    first = math.floor(math.log10(least * 0.7))
    return first, max(first + 1.0, math.log10(max(bar.greatest for bar in bars)))


class Drawing:
    """The elements so far, from the top."""

    def __init__(self) -> None:
        self.elements: list[str] = []
        self.y = MARGIN

    def text(self, x: float, y: float, words: str, style: str = "", anchor: str = "start") -> None:
        """Write words."""
        self.elements.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
            f"{escape(words)}</text>"
        )

    def box(self, x: float, y: float, width: float, height: float, style: str) -> None:
        """Draw a bar."""
        self.elements.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" rx="2"'
            f' class="{style}"/>'
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, style: str) -> None:
        """Draw a line."""
        self.elements.append(
            f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{style}"/>'
        )


def draw(report: Mapping[str, Any]) -> str:
    """Return the SVG of a report as `compare.py` writes it.

    Raises:
        ValueError: it holds none of the rows that are drawn.
    """
    rows = {row["name"]: bars for row in report["rows"] if (bars := bars_of(row))}
    sections = [section for section in SECTIONS if any(name in rows for name in section.rows)]
    if not sections:
        raise ValueError("the report holds none of the rows that are drawn")
    drawing = Drawing()
    draw_legend(drawing, {bar.kind for bars in rows.values() for bar in bars})
    for section in sections:
        draw_section(drawing, section, [
            (label, rows[name]) for name, label in section.rows.items() if name in rows
        ])  # fmt: skip
    drawn = {name for section in SECTIONS for name in section.rows if name in rows}
    for line in footnotes(report, drawn):
        drawing.text(MARGIN, drawing.y, line, "small")
        drawing.y += 16
    height = drawing.y + 2
    return "\n".join((
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"'
        f' viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title">',
        '<title id="title">syncstructs beside its peers: median and spread of each measure</title>',
        f"<style>{STYLE}</style>",
        f'<rect x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8" class="card"/>',
        *drawing.elements,
        "</svg>\n",
    ))  # fmt: skip


def draw_legend(drawing: Drawing, kinds: set[str]) -> None:
    """Say which colour is whose."""
    x = float(MARGIN)
    for kind, name in NAMES.items():
        if kind not in kinds:
            continue
        width = 30 + 6.4 * len(name)
        if x + width > WIDTH - MARGIN:
            x, drawing.y = float(MARGIN), drawing.y + 20
        drawing.box(x, drawing.y - 1, 12, 12, CLASSES[kind])
        drawing.text(x + 18, drawing.y + 9, name)
        x += width
    drawing.y += 46


def draw_section(
    drawing: Drawing, section: Section, rows: Sequence[tuple[str, Sequence[Bar]]]
) -> None:
    """Draw rows over a common scale."""
    first, last = scale_of([bar for _, bars in rows for bar in bars])
    drawing.text(MARGIN, drawing.y, section.title, "head")
    top = drawing.y + 14
    height = sum(len(bars) * BAR_STEP + ROW_GAP for _, bars in rows)
    for power in range(first, math.floor(last) + 1):
        x = at(power, first, last)
        drawing.line(x, top, x, top + height, "grid")
        shown = f"{number(10.0**power)}{section.unit}"
        drawing.text(x, top + height + 13, shown, "small", "middle")
    y = top + ROW_GAP / 2
    for label, bars in rows:
        middle = y + len(bars) * BAR_STEP / 2 + 3
        drawing.text(LEFT - 12, middle, label, "", "end")
        for bar in bars:
            draw_bar(drawing, bar, y, first, last)
            y += BAR_STEP
        y += ROW_GAP
    drawing.y = int(top + height + SECTION_GAP + 14)


def draw_bar(drawing: Drawing, bar: Bar, y: float, first: int, last: float) -> None:
    """Draw a bar, its spread and its value."""
    end = at(math.log10(bar.value), first, last)
    drawing.box(LEFT, y, max(1.0, end - LEFT), BAR, CLASSES[bar.kind])
    greatest = end
    if 0 < bar.least < bar.greatest:
        least = at(math.log10(bar.least), first, last)
        greatest = at(math.log10(bar.greatest), first, last)
        drawing.line(least, y + BAR / 2, greatest, y + BAR / 2, "spread")
    style = "strong" if bar.kind == OURS else "small"
    value = number(bar.value)
    if bar.kind not in (FLOOR, OURS, COMPILED) and bar.ratio is not None:
        value += f"  (ours {number(bar.ratio)} times)"
    drawing.text(max(end, greatest) + 6, y + 10.5, value, style)


def at(power: float, first: int, last: float) -> float:
    """Return where a power of ten is on the scale."""
    share = (power - first) / (last - first)
    return LEFT + (RIGHT - LEFT) * min(1.0, max(0.0, share))


def footnotes(report: Mapping[str, Any], drawn: set[str]) -> tuple[str, str]:
    """Say what the figures are of, and what they are not."""
    machine = report["machine"]
    # Rows that were kept from an earlier run may be of more rounds, or of less.
    counts = {
        len(figures["values"])
        for row in report["rows"]
        if row["name"] in drawn
        for figures in row["systems"].values()
    }
    more = " or more" if len(counts) > 1 else ""
    quick = ", quick run" if report.get("quick") else ""
    return (
        f"Medians of {min(counts)}{more} measurements in turn{quick}, log scales; lines: least to"
        f" greatest. 3 processes on loopback, 10-byte values; CPython {machine['python']},"
        f" {machine['cores']} cores.",
        "The bare loop takes calls at its leader only. etcd, ZooKeeper and Redis are servers that"
        " do much besides.",
    )


def main(arguments: Sequence[str]) -> int:
    """Run the command."""
    if len(arguments) != 2 or arguments[0].startswith("-"):
        print(__doc__)
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    source, target = map(Path, arguments)
    target.write_text(draw(json.loads(source.read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
