"""A picture that is redrawn in place in a terminal, which is left as it was found.

Elsewhere each picture is printed below the one before, without anything that steers a terminal.
With NO_COLOR in the environment there are no colours.
"""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

Drawn = tuple[str, str]
"""A line, and what it is: a key of `STYLES`, or nothing in particular."""

BEGIN: Final = "\x1b[?1049h\x1b[?25l"
END: Final = "\x1b[?25h\x1b[?1049l"
STYLES: Final = {
    "head": "\x1b[2m", "leader": "\x1b[1;32m", "silent": "\x1b[31m", "candidate": "\x1b[33m",
    "pre-candidate": "\x1b[33m", "present": "\x1b[1;36m", "later": "\x1b[2m",
}  # fmt: skip
_PLAIN: Final = "\x1b[0m"


def is_live() -> bool:
    """Return whether stdout is a terminal that can be steered."""
    return sys.stdout.isatty() and os.environ.get("TERM") != "dumb"


@contextmanager
def screen(live: bool) -> Iterator[None]:
    """Have a screen of its own, and give back the one of before."""
    if not live:
        yield
        return
    sys.stdout.write(BEGIN)
    try:
        yield
    finally:
        sys.stdout.write(END)
        sys.stdout.flush()


def draw(lines: Sequence[Drawn], *, live: bool) -> None:
    """Show the lines: over those before if `live`, else below them."""
    if not live:
        print("\n".join(line for line, _ in lines), end="\n\n", flush=True)
        return
    width, height = shutil.get_terminal_size()
    if os.environ.get("NO_COLOR"):
        lines = [(line, "") for line, _ in lines]
    sys.stdout.write("\x1b[H" + framed(lines, width, height) + "\x1b[J")
    sys.stdout.flush()


def framed(lines: Sequence[Drawn], width: int, height: int) -> str:
    """Return the lines as a terminal of that size takes them: none too long, none too many.

    >>> framed([("abcdef", ""), ("g", "leader"), ("h", "")], 4, 2)
    'abcd\\x1b[K\\n... 2 more\\x1b[K'
    """
    shown = lines
    if len(lines) > height:
        left = len(lines) - height + 1
        shown = [*lines[: height - 1], (f"... {left} more", "")]
    parts = []
    for line, kind in shown:
        style = STYLES.get(kind, "")
        text = line if line.startswith("...") else line[:width]
        parts.append(f"{style}{text}{_PLAIN if style else ''}\x1b[K")
    return "\n".join(parts)
