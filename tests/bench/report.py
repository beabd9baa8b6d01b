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
        "systems": systems,
        "ratios": {},
    }
    for name in dict.fromkeys(compared):
        if OURS in systems and (peer := resolve(name, systems, row.better)) is not None:
            found["ratios"][name] = ratio(systems[OURS], systems[peer]) | {"system": peer}
    found["verdicts"] = [judge(goal, found) for goal in row.goals]
    return found


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return median, least and greatest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def resolve(name: str, systems: Mapping[str, Any], better: str) -> str | None:
    """Return the measured system that the name stands for, or None if there is none."""
    measured = [one for one in BEST_OF.get(name, (name,)) if one in systems]
    if not measured:
        return None
    best = max if better == "more" else min
    return best(measured, key=lambda one: systems[one]["median"])


def ratio(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> dict[str, float]:
    """Return our median over theirs, and the least and greatest ratio of a round."""
    rounds = [
        mine / other
        for mine, other in zip(ours["values"], theirs["values"], strict=True)
        if mine is not None and other
    ]
    whole = ours["median"] / theirs["median"] if theirs["median"] else float("inf")
    return {
        "ratio": whole,
        "min": min(rounds, default=whole),
        "max": max(rounds, default=whole),
    }


def judge(goal: Goal, found: Mapping[str, Any]) -> dict[str, Any]:
    """Return the goal and whether it is met; None if that could not be measured."""
    value = None
    if goal.against is None:
        value = found["systems"].get(OURS, {}).get("median")
    elif goal.against in found["ratios"]:
        value = found["ratios"][goal.against]["ratio"]
    met = None
    if value is not None:
        met = value >= goal.limit if found["better"] == "more" else value <= goal.limit
    return {"kind": goal.kind, "against": goal.against, "limit": goal.limit, "met": met}


def number(value: float) -> str:
    """Return about three digits of it.

    >>> [number(value) for value in (123456.7, 12.345, 0.01234, 0.0)]
    ['123,457', '12.3', '0.0123', '0']
    """
    if value and abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}"


HEAD = ("measure", "", "ours", "(least - most)", "against", "theirs", "ratio", "(least - most)",
        "must", "aim")  # fmt: skip


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the lines of all rows, under each other."""
    cells = [HEAD]
    for row in rows:
        cells += lines_of(row)
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEAD))]
    left = {0, 1, 4, 8, 9}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    )


def lines_of(row: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the cells of a row: a line for each that it is compared with."""
    ours = row["systems"].get(OURS)
    head = [row["title"], row["unit"]]
    if ours is None:
        return [(*head, "not measured", "", "", "", "", "", "", "")]
    head += [number(ours["median"]), f"({number(ours['min'])} - {number(ours['max'])})"]
    lines = []
    absolute = [goals_of(row, None, kind) for kind in ("must", "aim")]
    if any(absolute) or not row["ratios"]:
        lines.append((*head, "", "", "", "", *absolute))
        head = [""] * 4
    for name, ratios in row["ratios"].items():
        shown = name if ratios["system"] == name else f"{name} ({ratios['system']})"
        lines.append((
            *head, shown, number(row["systems"][ratios["system"]]["median"]),
            number(ratios["ratio"]), f"({number(ratios['min'])} - {number(ratios['max'])})",
            goals_of(row, name, "must"), goals_of(row, name, "aim"),
        ))  # fmt: skip
        head = [""] * 4
    return lines


def goals_of(row: Mapping[str, Any], against: str | None, kind: str) -> str:
    """Return the goals of one kind against somebody, each with its verdict."""
    word = {True: "met", False: "MISSED", None: "not measured"}
    sign = "≥" if row["better"] == "more" else "≤"
    return ", ".join(
        f"{sign} {number(verdict['limit'])} {word[verdict['met']]}"
        for verdict in row["verdicts"]
        if verdict["against"] == against and verdict["kind"] == kind
    )
