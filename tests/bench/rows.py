"""The rows of the comparison: what each measures, against whom, and what must and should hold.

Values only; how they are measured is in `calls`, and the others whose names a `Group` gives.
"""

from dataclasses import dataclass
from typing import Literal

OURS = "syncstructs"
BEFORE = "syncstructs before"
"""Another tree of ours, for who changes something; measured only if asked for."""
FLOOR = "floor"
PYSYNCOBJ, UNBATCHED = "pysyncobj", "pysyncobj unbatched"
PYSYNCOBJ_BEST = "pysyncobj best"

BEST_OF: dict[str, tuple[str, ...]] = {PYSYNCOBJ_BEST: (PYSYNCOBJ, UNBATCHED)}
"""Names that stand for whichever of some systems has the best median."""


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


def goals(against: str | None, must: float | None = None, aim: float | None = None) -> list[Goal]:
    """Return what must hold and what is aimed at, against the same one."""
    found = []
    if must is not None:
        found.append(Goal("must", must, against))
    if aim is not None:
        found.append(Goal("aim", aim, against))
    return found


CALLS = (
    Row("leader-1024", "1,024 outstanding at the leader", "ops/s", "more",
        (*goals(PYSYNCOBJ_BEST, 15, 30), *goals(FLOOR, None, 0.3))),
    Row("leader-64", "64 outstanding at the leader", "ops/s", "more",
        (*goals(PYSYNCOBJ_BEST, 15, 25), *goals(PYSYNCOBJ, 150)), (FLOOR,)),
    Row("leader-16384", "16,384 outstanding at the leader", "ops/s", "more",
        (*goals(PYSYNCOBJ_BEST, 6, 12),), (FLOOR,)),
    Row("follower-1024", "1,024 outstanding at a follower", "ops/s", "more",
        (*goals(PYSYNCOBJ_BEST, 15, 30),)),
    Row("follower-64", "64 outstanding at a follower", "ops/s", "more",
        (*goals(PYSYNCOBJ_BEST, 15, 25), *goals(PYSYNCOBJ, 150))),
    Row("follower-16384", "16,384 outstanding at a follower", "ops/s", "more",
        (*goals(PYSYNCOBJ_BEST, 6, 12),)),
    # 0.17 and 0.10 ms (0.35 and 0.20 at a follower) where the floor takes 0.085 at its leader.
    Row("blocking-leader", "blocking call at the leader, p50", "ms", "less",
        (*goals(FLOOR, 2.0, 1.18),), (PYSYNCOBJ_BEST, PYSYNCOBJ)),
    Row("blocking-follower", "blocking call at a follower, p50", "ms", "less",
        (*goals(FLOOR, 4.12, 2.35),), (PYSYNCOBJ_BEST, PYSYNCOBJ)),
    # 8 and 4 us where the floor takes 1.3.
    Row("cpu", "CPU per op of all members, 1,024 outstanding", "us", "less",
        (*goals(FLOOR, 6.15, 3.08),), (PYSYNCOBJ_BEST,)),
)  # fmt: skip
