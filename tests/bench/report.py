"""From the figures of all rounds to medians, ratios, verdicts and a table. Pure functions."""

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from rows import BEST_OF, OURS, Goal, Row

Rounds = Mapping[str, Sequence[float | None]]
"""Of each system its value in each round; None where it could not be measured."""


def summarize(row: Row, rounds: Rounds) -> dict[str, Any]:
    """Return the row with medians, spreads, ratios and verdicts, ready for JSON."""
    systems = {
        name: spread([value for value in values if value is not None]) | {"values": list(values)}
        for name, values in rounds.items()
        if any(value is not None for value in values)
    }
    compared = [goal.against for goal in row.goals if goal.against is not None]
    compared += [*row.also, *(name for name in systems if name.startswith(f"{OURS} "))]
    found: dict[str, Any] = {
        "name": row.name,
        "title": row.title,
        "unit": row.unit,
        "better": row.better,
        "takes": row.takes,
        "systems": systems,
        "ratios": {},
    }
    for name in dict.fromkeys(compared):
        peer = resolve(name, systems, row.better, row.takes)
        if OURS in systems and peer is not None:
            found["ratios"][name] = {
                "system": peer, **ratio(systems[OURS], systems[peer], row.takes),
            }  # fmt: skip
    found["verdicts"] = [judge(goal, found) for goal in row.goals]
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def resolve(name: str, systems: Mapping[str, Any], better: str, takes: str) -> str | None:
    """Return the measured system that the name stands for, or None if there is none."""
    measured = [one for one in BEST_OF.get(name, (name,)) if one in systems]
    if not measured:
        return None
    best = max if better == "more" else min
    return best(measured, key=lambda one: systems[one][takes])


def ratio(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], takes: str
) -> dict[str, float | None]:
    """Return our median (or greatest) over theirs, and the least and greatest of a round."""
    rounds = [
        mine / other
        for mine, other in zip(ours["values"], theirs["values"], strict=False)
        if mine is not None and other
    ]
    whole = ours[takes] / theirs[takes] if theirs[takes] else None
    return {
        "ratio": whole,
        "min": min(rounds, default=whole),
        "max": max(rounds, default=whole),
    }


def judge(goal: Goal, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the goal and whether it is met; None if that could not be measured."""
    value = None
    if goal.against is None:
        value = found["systems"].get(OURS, {}).get(found["takes"])
    elif goal.against in found["ratios"]:
        value = found["ratios"][goal.against]["ratio"]
    met = None
    if value is not None:
        met = value >= goal.limit if found["better"] == "more" else value <= goal.limit
    return {"kind": goal.kind, "against": goal.against, "limit": goal.limit, "met": met}


def troubles(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each round in which calls failed or did not end."""
    return [
        f"{row['name']}, round {number}: {figures[what]} calls of {system} {said}"
        for row in rows
        for system, rounds in row["rounds"].items()
        for number, figures in enumerate(rounds, 1)
        for what, said in (("failed", "failed"), ("lost", "did not end in time"))
        if figures and figures.get(what)
    ]


def number(value: float | None) -> str:
    """Return about three digits of it.

    >>> [number(value) for value in (1234567, 123456.7, 12.345, 0.01234, 0.0, None)]
    ['1.23M', '123k', '12.3', '0.0123', '0', '-']
    """
    if value is None:
        return "-"
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{plainly(value / limit)}{letter}"
    return plainly(value)


def plainly(value: float) -> str:
    """Return a number below a thousand."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:.3g}"


HEAD = ("measure", "ours", "", "against", "theirs", "ratio", "", "must", "aim")
LEFT = frozenset({0, 2, 3, 6, 7, 8})


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines of all rows, under each other."""
    cells = [HEAD]
    for row in rows:
        cells += lines_of(row)
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in LEFT else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def lines_of(row: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the cells of a row: a line for each that it is compared with."""
    ours = row["systems"].get(OURS)
    if ours is None:
        return [(row["title"], "", "not measured", "", "", "", "", "", "")]
    takes = row["takes"]
    head = (row["title"], number(ours[takes]), f"{row['unit']} {span(ours)}".strip())
    lines = []
    absolute = (goals_of(row, None, "must"), goals_of(row, None, "aim"))
    if any(absolute) or not row["ratios"]:
        lines.append((*head, "", "", "", "", *absolute))
        head = ("", "", "")
    for name, ratios in row["ratios"].items():
        shown = name if ratios["system"] == name else f"best: {ratios['system']}"
        lines.append((
            *head, shown, number(row["systems"][ratios["system"]][takes]),
            number(ratios["ratio"]), span(ratios),
            goals_of(row, name, "must"), goals_of(row, name, "aim"),
        ))  # fmt: skip
        head = ("", "", "")
    return lines


def span(values: Mapping[str, Any]) -> str:
    """Return the least and the greatest."""
    return f"({number(values['min'])}..{number(values['max'])})"


def goals_of(row: Mapping[str, Any], against: str | None, kind: str) -> str:
    """Return the goals of one kind against somebody, each with its verdict."""
    word = {True: "met", False: "MISSED", None: "not measured"}
    sign = ">=" if row["better"] == "more" else "<="
    return ", ".join(
        f"{sign} {number(verdict['limit'])} {word[verdict['met']]}"
        for verdict in row["verdicts"]
        if verdict["against"] == against and verdict["kind"] == kind
    )
