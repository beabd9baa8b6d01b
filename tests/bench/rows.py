"""What a row of the comparison is: its measure, against whom, and what must and should hold."""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

OURS = "syncstructs"
"""Ours; names that begin with it and a space are variants, shown beside it."""
BEFORE = "syncstructs before"
"""Another tree of ours, for who changes something; measured only if asked for."""
COMPILED = "syncstructs compiled"
"""Ours with a compiled core; measured only if asked for."""
FLOOR = "floor"
PYSYNCOBJ, UNBATCHED = "pysyncobj", "pysyncobj unbatched"
ETCD, ETCD_SPREAD = "etcd", "etcd spread"
"""Asked at its leader; spread over its members or, for one call at a time, at a follower."""
ZOOKEEPER, ZOOKEEPER_FOLLOWER = "zookeeper", "zookeeper follower"
REDIS = "redis"
LOOPBACK = "loopback"

PYSYNCOBJ_BEST, ETCD_BEST, ZOOKEEPER_BEST = "pysyncobj best", "etcd best", "zookeeper best"
BEST_OF: dict[str, tuple[str, ...]] = {
    PYSYNCOBJ_BEST: (PYSYNCOBJ, UNBATCHED),
    ETCD_BEST: (ETCD, ETCD_SPREAD),
    ZOOKEEPER_BEST: (ZOOKEEPER, ZOOKEEPER_FOLLOWER),
}
"""Names that stand for whichever of some systems is the best in that row."""

Found = dict[str, dict[str, Any]]
"""For each row its `value`, and whatever else was seen."""


@dataclass(frozen=True)
class Goal:
    """How our median is to compare: with another's, as a ratio, or with `limit` itself."""

    kind: Literal["must", "aim"]
    limit: float
    against: str | None = None


@dataclass(frozen=True)
class Row:
    """One measure."""

    name: str
    """As given to `--only`."""
    title: str
    unit: str
    better: Literal["more", "less"]
    goals: tuple[Goal, ...] = ()
    also: tuple[str, ...] = ()
    """Compared with, but no goal."""
    takes: Literal["median", "max"] = "median"
    """What of all rounds counts."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How long and how often."""

    rounds: int
    seconds: float
    warmup: float = 0.5
    quick: bool = False
    data_dir: Path | None = None
    """Where logs on disk are kept; None: in the directory for temporary files."""


@dataclass(frozen=True)
class Group:
    """Rows that are measured together, on the same clusters."""

    rows: tuple[Row, ...]
    systems: tuple[str, ...]
    measure: Callable[[str, Collection[str], Options], Found]
    """Measure one round of a system: those of the rows that are asked for and that it has."""
    runs: Callable[[str, Options], int] = lambda system, options: options.rounds
    """How often a system is measured."""


def versus(
    against: str | None, must: float | None = None, aim: float | None = None
) -> tuple[Goal, ...]:
    """Return what must hold and what is aimed at, against the same one."""
    goals = (("must", must), ("aim", aim))
    return tuple(Goal(kind, limit, against) for kind, limit in goals if limit is not None)  # type: ignore[arg-type]
