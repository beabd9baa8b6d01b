"""How long writes stand still when the leader is lost.

Three processes on loopback, in memory, with default settings. The two that do not lead write
without a break, one blocking call after the other; then the leader gets SIGKILL, or SIGSTOP, or is
closed and hands over. The gap is the longest time in which the survivor that went on first saw no
write succeed.
"""

from collections.abc import Callable, Collection

from rows import BEFORE, COMPILED, OURS, PYSYNCOBJ, Found, Group, Options, Row, versus
from systems import system_of

from syncstructs.cli.bench import GAP_AFTER, service_gap
from syncstructs.cli.processes import MemberProcess

GAPS = (
    Row("gap-kill", "service gap, leader killed", "s", "less", versus(None, 0.1, 0.03),
        (PYSYNCOBJ,)),
    Row("gap-kill-worst", "service gap, leader killed, worst", "s", "less",
        versus(None, aim=0.1), (PYSYNCOBJ,), takes="max"),
    Row("gap-stop", "service gap, leader stopped (SIGSTOP)", "s", "less", versus(None, 0.5, 0.3),
        (PYSYNCOBJ,)),
    Row("gap-close", "service gap, leader closed", "s", "less"),
)  # fmt: skip
ENDS: dict[str, Callable[[MemberProcess], object]] = {
    "gap-kill": MemberProcess.kill,
    "gap-stop": MemberProcess.pause,
    "gap-close": MemberProcess.close,
}
RUNS_PER_ROUND = 4
RUNS_PER_ROUND_OF_PYSYNCOBJ = 2
"""It takes longer to recover, and to start."""
AFTER_END = 4.0
"""Seconds of writing after the end of its leader that PySyncObj gets to recover."""


def one_end(system: str, end: Callable[[MemberProcess], object]) -> dict[str, float]:
    """Start a cluster, end its leader under load; return seconds without service."""
    with system_of(system).cluster() as cluster:
        cluster.start()
        leader = cluster.wait_leader()
        figures = service_gap(cluster, end, after=AFTER_END if system == PYSYNCOBJ else GAP_AFTER)
        if leader.alive:
            # It would not hear that it is to end.
            leader.kill()
    return {"value": figures["gap_ms"] / 1000.0, **figures}


def measure_gaps(system: str, rows: Collection[str], options: Options) -> Found:
    """End a leader in each way that is asked for."""
    wanted = {"gap-kill" if row == "gap-kill-worst" else row for row in rows}
    if system == PYSYNCOBJ:
        # It has no way to hand over.
        wanted.discard("gap-close")
    found: Found = {row: one_end(system, ENDS[row]) for row in ENDS if row in wanted}
    if "gap-kill" in found:
        found["gap-kill-worst"] = {"value": found["gap-kill"]["value"]}
    return found


GROUPS = (
    Group(
        GAPS, (OURS, COMPILED, BEFORE, PYSYNCOBJ), measure_gaps,
        lambda system, options: options.rounds * (
            RUNS_PER_ROUND_OF_PYSYNCOBJ if system == PYSYNCOBJ else RUNS_PER_ROUND
        ),
    ),
)  # fmt: skip
