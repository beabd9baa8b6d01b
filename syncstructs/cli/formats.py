"""Figures and texts as people read them in a terminal."""

from collections.abc import Sequence


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
