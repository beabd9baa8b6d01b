"""What all measurements share: how long, how often, and how a group of rows is measured."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from rows import Row

Found = dict[str, dict[str, Any]]
"""For each row its `value`, and whatever else was seen."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long and how often."""

    rounds: int
    seconds: float
    warmup: float = 0.5
    quick: bool = False


@dataclass(frozen=True)
class Group:
    """Rows that are measured together, on the same clusters."""

    rows: tuple[Row, ...]
    systems: tuple[str, ...]
    measure: Callable[[str, Collection[str], Options], Found]
    """Measure one round of a system: those of the rows that are asked for and that it has."""
