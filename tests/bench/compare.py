"""syncstructs beside its peers and beside the floor: every measure in one run, in rounds.

    pip install -e '.[bench]'
    python tests/bench/compare.py --json bench.json --chart docs/bench.svg
    python tests/bench/compare.py --only leader-1024 cpu --rounds 3
    python tests/bench/compare.py --only leader-64 --before ../another-checkout

The rows:

- calls under way and calls one by one, at the leader and at a follower, beside PySyncObj (with and
  without `appendEntriesUseBatch`; the better median counts) and beside the floor (`floor_member`):
  a bare loop that batches and replicates, which nothing that does more can beat by much;
- the same synced to disk, beside etcd with its fsync, put to at its leader and spread over members;
- seven members, a password, many threads, many objects, a large state, each beside its absence;
- the time without a write after the leader is killed, stopped or closed; pauses and the restart
  with a million entries; large values beside what loopback carries;
- a lock beside ZooKeeper's (kazoo) and Redis's (redis-py), writes beside a pipeline of Redis's.

etcd, ZooKeeper and Redis are servers of their own, for many clients and in many languages, that do
much besides: a ratio to them says what it is worth to be embedded, not who is better made. What is
not installed is left out. The same load generator makes the calls of all libraries, and each gets
the setting that suits it best; ours has one, the default. What the generator takes is told.

In each round every system gets a fresh cluster, one after the other and never at the same time, in
an order that turns from round to round; members are processes on loopback. What counts are ratios
of medians within one run: how fast the machine is just then befalls all alike.

`--before` measures another tree of this library too, in the same rounds, and `--compiled` one with
a compiled core: a directory to which `SYNCSTRUCTS_COMPILE=1 pip install --target DIR .` has
installed it. All rows take more than half an hour; with `--keep`, they can be measured some at a
time.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Collection, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import calls
import chart
import ends
import failures
import large_states
import our_loads
import report
import services
import systems
from rows import BEFORE, COMPILED, OURS, Found, Group, Options

from syncstructs.cli.processes import MemberError, MemberGone

GROUPS: tuple[Group, ...] = (
    *calls.GROUPS, *failures.GROUPS, *large_states.GROUPS, *services.GROUPS, *ends.GROUPS,
)  # fmt: skip
ROWS = {row.name: row for group in GROUPS for row in group.rows}
PACKAGES = ("pysyncobj", "redis", "kazoo", "msgspec", "uvloop")
ATTEMPTS = 3
"""How often a run that could not be carried out (no leader, a member gone) is begun anew."""


def say(text: str) -> None:
    """Tell of the progress, beside the report."""
    print(text, file=sys.stderr, flush=True)


def attempt(
    group: Group, system: str, rows: Collection[str], options: Options, failures: list[str]
) -> Found:
    """Measure one round of one system; nothing is found if it does not work after all."""
    for number in range(1, ATTEMPTS + 1):
        try:
            return group.measure(system, rows, options)
        except (MemberError, MemberGone, OSError) as error:
            failures.append(f"{system}, {', '.join(rows)}, attempt {number}: {error}")
            say(f"    {failures[-1]}")
    return {}


def run_group(
    group: Group,
    rows: Collection[str],
    here: Sequence[str],
    options: Options,
    failures: list[str],
) -> list[dict[str, Any]]:
    """Measure all rounds of a group; return its rows, summarized, and add what went wrong."""
    names = [name for name in group.systems if name in here]
    found: dict[str, list[Found]] = {name: [] for name in names}
    runs = {name: group.runs(name, options) for name in names}
    for number in range(max(runs.values())):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            if number >= runs[name]:
                continue
            figures = attempt(group, name, rows, options, failures)
            figures = {row: each for row, each in figures.items() if row in rows}
            found[name].append(figures)
            for row, each in figures.items():
                say(
                    f"  round {number + 1}  {name:<20} {row:<18}"
                    f" {report.number(each['value']):>8} {ROWS[row].unit}"
                )
    summaries = []
    for row in group.rows:
        if row.name in rows:
            rounds = {
                name: [each.get(row.name, {}).get("value") for each in found[name]]
                for name in names
            }
            details = {name: [each.get(row.name) for each in found[name]] for name in names}
            summaries.append(report.summarize(row, rounds) | {"rounds": details})
    return summaries


def present(names: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """Return those systems that can be measured here, and why the others cannot."""
    reasons = {name: systems.missing(name) for name in names}
    left_out = {name: reason for name, reason in reasons.items() if reason is not None}
    return [name for name in names if name not in left_out], left_out


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure what is asked for; return the report."""
    settings = Options(
        rounds=options.rounds or (1 if options.quick else 5),
        seconds=options.seconds or (0.7 if options.quick else 2.0),
        quick=options.quick,
        data_dir=options.data_dir,
    )
    wanted = options.only or list(ROWS)
    groups = [group for group in GROUPS if any(row.name in wanted for row in group.rows)]
    named = dict.fromkeys(name for group in groups for name in group.systems)
    for name, tree in ((BEFORE, options.before), (COMPILED, options.compiled)):
        if tree is not None:
            systems.SYSTEMS[name] = systems.of_tree(name, tree)
        else:
            named.pop(name, None)
    if options.systems:
        named = {
            name: None for name in named if name in options.systems or name.startswith(OURS)
        }
    here, left_out = present(named)
    for name, reason in left_out.items():
        say(f"{name} is left out: {reason}")
    rows: list[dict[str, Any]] = []
    failures: list[str] = []
    for group in groups:
        names = [row.name for row in group.rows if row.name in wanted]
        rows += run_group(group, names, here, settings, failures)
    return {
        "machine": {
            "python": platform.python_version(),
            "platform": platform.platform(),
            "cores": os.cpu_count(),
            "versions": {name: version_of(name) for name in PACKAGES},
            "generator_ns": our_loads.generator_ns(),
        },
        "rounds": settings.rounds,
        "seconds": settings.seconds,
        "quick": settings.quick,
        "left_out": left_out,
        "failures": failures,
        "rows": rows,
    }


def merged(
    before: Sequence[dict[str, Any]], now: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """Return all rows in their order, those of now in place of those of before."""
    found = {row["name"]: row for row in (*before, *now)}
    return [found[name] for name in ROWS if name in found]


def version_of(package: str) -> str | None:
    """Return the version that is installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", nargs="+", choices=ROWS, metavar="ROW", help=f"of {', '.join(ROWS)}")
    add("--systems", nargs="+", metavar="NAME", help="compare with these only")
    add("--before", metavar="DIR", help="measure the library in another checkout, too")
    add("--compiled", metavar="DIR", help="measure one with a compiled core, too")
    add("--rounds", type=int, help="default: 5, or 1 if quick")
    add("--seconds", type=float, help="of each run (default: 2, or 0.7 if quick)")
    add("--quick", action="store_true",
        help="all rows in some minutes: one round, of smaller states")  # fmt: skip
    add("--data-dir", type=Path, metavar="DIR", help="where logs on disk are kept, meanwhile")
    add("--json", type=Path, metavar="FILE", help="write all figures to a file")
    add("--keep", action="store_true",
        help="keep the rows of the file that are not measured now; draw and show all")  # fmt: skip
    add("--chart", type=Path, metavar="FILE", help="draw some of them as an SVG")
    add("--strict", action="store_true", help="exit status 1 if what must hold does not")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command."""
    options = parse(arguments)
    if options.keep and options.json is None:
        raise SystemExit("compare.py: --keep needs the file that --json names")
    found = run(options)
    if options.keep and options.json.exists():
        found["rows"] = merged(json.loads(options.json.read_text())["rows"], found["rows"])
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    if options.chart is not None:
        options.chart.write_text(chart.draw(found))
    print(report.table(found["rows"]))
    if options.quick:
        print("a quick run: states that are said to be of 1,000,000 entries were of 100,000")
    for trouble in (*report.troubles(found["rows"]), *found["failures"]):
        print(trouble)
    say(f"the load generator takes {found['machine']['generator_ns']:.0f} ns of each call")
    missed = any(
        verdict["kind"] == "must" and verdict["met"] is False
        for row in found["rows"]
        for verdict in row["verdicts"]
    )
    return int(options.strict and missed)


if __name__ == "__main__":
    sys.exit(main())
