"""Cron expressions: what they name, minute by minute, and what is none."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from syncstructs.structs.cron import cron

WEEKDAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


def times(expression, begin, count):
    """Return the first times after `begin`, as text."""
    time, found = datetime.fromisoformat(begin).replace(tzinfo=UTC).timestamp(), []
    for _ in range(count):
        time = cron(expression).after(time)
        found.append(f"{datetime.fromtimestamp(time, UTC):%a %Y-%m-%d %H:%M}")
    return found


@pytest.mark.parametrize(
    ("expression", "begin", "expected"),
    [
        ("* * * * *", "2024-02-28 23:58", ["Wed 2024-02-28 23:59", "Thu 2024-02-29 00:00"]),
        ("* * * * *", "2024-02-28 23:58:59.9", ["Wed 2024-02-28 23:59"]),
        ("*/20 3 * * *", "2024-01-01", ["Mon 2024-01-01 03:00", "Mon 2024-01-01 03:20"]),
        ("5-50/20 3,22 * * *", "2024-01-01 03:45", ["Mon 2024-01-01 22:05"]),
        ("50/5 0 * * *", "2024-01-01", ["Mon 2024-01-01 00:50", "Mon 2024-01-01 00:55"]),
        ("0 0 29 2 *", "2024-03-01", ["Tue 2028-02-29 00:00"]),
        ("0 0 29 2 *", "2096-03-01", ["Fri 2104-02-29 00:00"]),
        ("0 0 29 2 */7", "2088-03-01", ["Sun 2128-02-29 00:00"]),
        ("0 0 31 * *", "2024-03-31", ["Fri 2024-05-31 00:00"]),
        ("30 8 * * mon-fri", "2024-03-01 09:00", ["Mon 2024-03-04 08:30"]),
        ("0 0 * * 5-7", "2024-03-01", ["Sat 2024-03-02 00:00", "Sun 2024-03-03 00:00"]),
        ("0 0 13 * FRI", "2024-09-12", ["Fri 2024-09-13 00:00", "Fri 2024-09-20 00:00"]),
        ("0 0 */13 * fri", "2024-09-12", ["Fri 2024-09-27 00:00"]),
        ("0 0 1 jan,Jul *", "2024-03-01", ["Mon 2024-07-01 00:00", "Wed 2025-01-01 00:00"]),
        ("@monthly", "2024-01-31", ["Thu 2024-02-01 00:00"]),
        ("@weekly", "2024-03-01", ["Sun 2024-03-03 00:00"]),
    ],
)
def test_it_names_these_minutes_and_none_before(expression, begin, expected):
    assert times(expression, begin, len(expected)) == expected


FIELDS = st.tuples(
    st.sampled_from(["*/17", "5", "0,59", "10-50/20"]),
    st.sampled_from(["*", "*/5", "0-3", "23"]),
    st.sampled_from(["*", "1-5", "3", "28-31", "*/7", "10/9"]),
    st.sampled_from(["*", "2", "jan-mar", "12"]),
    st.sampled_from(["*", "*/7", "1-5", "3", "2,4,5", "1/2", "0-6/3"]),
)


@settings(max_examples=15, deadline=None)
@given(fields=FIELDS, begin=st.datetimes(datetime(2023, 11, 1), datetime(2024, 3, 1)))
def test_next_minute_is_the_first_that_matches_field_by_field(fields, begin):
    begin = begin.replace(tzinfo=UTC)
    found = datetime.fromtimestamp(cron(" ".join(fields)).after(begin.timestamp()), UTC)
    assert found > begin
    assert matches(fields, found)
    moment = begin.replace(second=0, microsecond=0) + timedelta(minutes=1)
    # Minutes of the first day, and then the same ones of other days.
    for _ in range(400):
        assert moment >= found or not matches(fields, moment)
        moment += timedelta(minutes=1) if moment < begin + timedelta(hours=6) else timedelta(1)


def matches(fields, moment):
    names = [{}, {}, {}, {"jan": 1, "mar": 3}, {}]
    lows = [0, 0, 1, 1, 0]
    highs = [59, 23, 31, 12, 7]
    day = moment.isoweekday()
    seen = [moment.minute, moment.hour, moment.day, moment.month, day]
    fits = [
        any(one(part, value, *row) for part in field.split(","))
        for field, value, *row in zip(fields, seen, lows, highs, names, strict=True)
    ]
    if day == 7:
        fits[4] |= any(one(part, 0, 0, 7, {}) for part in fields[4].split(","))
    if fields[2][0] != "*" and fields[4][0] != "*":
        return all(fits[:2]) and fits[3] and (fits[2] or fits[4])
    return all(fits)


def one(part, value, low, high, names):
    span, _, step = part.partition("/")
    ends = [names.get(end) or int(end) for end in span.replace("*", f"{low}-{high}").split("-")]
    if step and len(ends) == 1:
        ends.append(high)
    return ends[0] <= value <= ends[-1] and (value - ends[0]) % int(step or 1) == 0


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("* * * *", "has 4 fields"),
        ("60 * * * *", "'60' is not within 0-59"),
        ("* * 0 * *", "'0' is not within 1-31"),
        ("* 5-3 * * *", "'5-3' is not within 0-23"),
        ("*/0 * * * *", "is not within"),
        ("* * * * mon-foo", "'foo' is no number"),
        ("* * * feb *,", "'' is no number"),
        ("-1 * * * *", "'' is no number"),
        ("+1 * * * *", r"'\+1' is no number"),
        ("\u0663 * * * *", "is no number"),
        ("*-5 * * * *", "is no number"),
        ("0 0 30 feb *", "names no day that there ever is"),
        ("@reboot", "has 1 fields"),
    ],
)
def test_what_is_no_expression_is_refused(expression, message):
    with pytest.raises(ValueError, match=message):
        cron(expression)
