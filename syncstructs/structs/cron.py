"""Cron expressions of five fields: which minutes they name, in UTC. Arithmetic only.

It is done while commands are applied, so all members must come to the same minutes. A library
would have to be of one version on all of them, and a database of time zones too.
"""

from bisect import bisect_left
from datetime import date
from functools import lru_cache
from typing import Final, NamedTuple

_ALIASES: Final = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip
_MONTHS: Final = "jan feb mar apr may jun jul aug sep oct nov dec"
_WEEKDAYS: Final = "sun mon tue wed thu fri sat"
_FIRST_DAY: Final = date(1970, 1, 1).toordinal()
# There are 40 years between two 29ths of February of one weekday, where 2100 is between them.
_DAYS_MAX: Final = 41 * 366
_DAY_MINUTES: Final = 24 * 60


class Cron(NamedTuple):
    """Which minutes an expression names.

    >>> at = cron("30 8-9 * * mon-fri").after(0.0)  # 1970 began on a Thursday
    >>> at / 3600
    8.5
    """

    times: tuple[int, ...]
    """Minutes of the day, ascending."""
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """Sunday is 0."""
    either: bool
    """Whether it is enough that one of the two, the day or the weekday, is named."""

    def after(self, time: float) -> float | None:
        """Return the first minute that begins after `time`; None: never. Seconds since 1970.

        O(days until then), 41 years of them at the most.
        """
        first, minute = divmod(int(time // 60) + 1, _DAY_MINUTES)
        for day in range(first, first + _DAYS_MAX):
            if self._names(date.fromordinal(_FIRST_DAY + day)):
                place = bisect_left(self.times, minute)
                if place < len(self.times):
                    return (day * _DAY_MINUTES + self.times[place]) * 60.0
            minute = 0
        return None

    def _names(self, day: date) -> bool:
        if day.month not in self.months:
            return False
        named = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return any(named) if self.either else all(named)


@lru_cache(256)
def cron(expression: str) -> Cron:
    """Return what an expression names: minute, hour, day of the month, month, day of the week.

    As in Vixie's cron: `*`, numbers, ranges `a-b`, steps `*/n` and `a-b/n` (`a/n`: from a on),
    lists of these with commas, names of months and weekdays of three letters, 7 for Sunday,
    `@daily` and the like. If neither the day of the month nor that of the week begins with `*`,
    then a day counts that is one of either.

    Raises:
        ValueError: it is none, or there is no such day, as the 30th of February.
    """
    fields = _ALIASES.get(expression, expression).split()
    if len(fields) != 5:
        raise ValueError(f"cron={expression!r} has {len(fields)} fields, not 5")
    try:
        minutes, hours = _numbers(fields[0], 0, 59), _numbers(fields[1], 0, 23)
        days = _numbers(fields[2], 1, 31)
        months = _numbers(fields[3], 1, 12, _MONTHS)
        weekdays = frozenset(n % 7 for n in _numbers(fields[4], 0, 7, _WEEKDAYS))
    except ValueError as error:
        raise ValueError(f"cron={expression!r}: {error}") from None
    times = tuple(60 * hour + minute for hour in sorted(hours) for minute in sorted(minutes))
    either = not (fields[2].startswith("*") or fields[4].startswith("*"))
    found = Cron(times, days, months, weekdays, either)
    if found.after(0.0) is None:
        raise ValueError(f"cron={expression!r} names no day that there ever is")
    return found


def _numbers(field: str, low: int, high: int, names: str = "") -> frozenset[int]:
    """Return the numbers that a field names."""
    known = {name: number for number, name in enumerate(names.split(), low)}
    found: set[int] = set()
    for part in field.lower().split(","):
        span, slash, step = part.partition("/")
        if span == "*":
            begin, end = low, high
        else:
            first, dash, last = span.partition("-")
            begin = _number(first, known)
            end = _number(last, known) if dash else high if slash else begin
        every = _number(step, {}) if slash else 1
        if not (low <= begin <= end <= high and every):
            raise ValueError(f"{part!r} is not within {low}-{high}")
        found.update(range(begin, end + 1, every))
    return frozenset(found)


def _number(text: str, known: dict[str, int]) -> int:
    if text in known:
        return known[text]
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r} is no number")
    return int(text)
