"""Figures and texts as people read and write them in a terminal."""

import argparse
from collections.abc import Callable, Sequence


def number_from(least: float, most: float, *, above: bool = False) -> Callable[[str], float]:
    """Return what reads an argument: a number in those bounds, `above`: and not the least itself.

    >>> number_from(0.1, 3600)("1.5")
    1.5
    >>> number_from(0, 300, above=True)("x")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: 'x' is no number above 0, and 300 at the most
    """

    def read(text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            number = float("nan")
        if not least <= number <= most or (above and number == least):
            begin = f"above {least:g}" if above else f"from {least:g} on"
            raise argparse.ArgumentTypeError(
                f"{text!r} is no number {begin}, and {most:g} at the most"
            )
        return number

    return read


def count(text: str) -> int:
    """Read an argument that counts something.

    >>> count("-1")
    Traceback (most recent call last):
    argparse.ArgumentTypeError: '-1' is no whole number from 0 on
    """
    try:
        number = int(text)
    except ValueError:
        number = -1
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return number


def plain(text: str) -> str:
    """Return text without what would steer a terminal; it may have come from anywhere.

    >>> plain("a\\x1b[2Jb\\nc")
    'a?[2Jb\\nc'
    """
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text)


def size_of(size_bytes: float) -> str:
    """Return a number of bytes with a unit.

    >>> size_of(17), size_of(1536), size_of(5 * 2**30)
    ('17 B', '1.5 KiB', '5.0 GiB')
    """
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def time_of(seconds: float) -> str:
    """Return a duration with a unit.

    >>> time_of(0.00042), time_of(0.0125), time_of(3.21)
    ('420 us', '12.5 ms', '3.2 s')
    """
    if seconds < 0.001:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def count_of(number: int, one: str, many: str = "") -> str:
    """Return a number and what it counts.

    >>> count_of(1, "file"), count_of(1200, "entry", "entries")
    ('1 file', '1,200 entries')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def table(rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> list[str]:
    """Return the lines of a table; the columns `right` are flush right. The first row is the head.

    >>> table([["member", "term"], ["a:1", "12"]], right=[1])
    ['member  term', 'a:1       12']
    """
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    return [
        "  ".join(
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
