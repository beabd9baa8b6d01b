"""What members wrote down of their calls: read it, and judge it against the final contents.

The checks here need no search: each follows from unique values, real time and the final state.
A call that is `open` (its process was killed) or `info` may have been applied or not; one that is
`fail` must not have been.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """One call: who, what, when, and how it ended. Times are nanoseconds."""

    process: str
    target: str
    method: str
    args: tuple[Any, ...]
    begun: float
    ended: float
    """Infinity if it is not known to have ended."""
    kind: str
    """ok, fail, info, or open."""
    out: Any = None
    raised: str | None = None

    @property
    def unknown(self) -> bool:
        """Whether it may or may not have been applied."""
        return self.kind in ("info", "open")

    @property
    def returned(self) -> bool:
        """Whether it ended with a result, and not an exception."""
        return self.kind == "ok" and self.raised is None


@dataclass(frozen=True)
class History:
    """All calls of a run, in the order in which they began."""

    records: tuple[Record, ...]

    def of(self, target: str, *methods: str) -> list[Record]:
        """Return the calls of an object, or of some of its methods."""
        return [
            record
            for record in self.records
            if record.target == target and (not methods or record.method in methods)
        ]

    def figures(self) -> str:
        """Return how many calls there are, by how they ended."""
        kinds = Counter(record.kind for record in self.records)
        return f"{len(self.records)} calls: " + ", ".join(
            f"{count} {kind}" for kind, count in sorted(kinds.items())
        )


def collect(directory: Path) -> History:
    """Read the files of all clients, of lives past and present."""
    records: list[Record] = []
    for path in sorted(directory.glob("*.jsonl")):
        records += read_client(path)
    return History(tuple(sorted(records, key=lambda record: record.begun)))


def read_client(path: Path) -> list[Record]:
    """Return one client's calls.

    After a call whose outcome is unknown the client counts as another process: that call may
    still be applied at any time, while the calls of one process follow one another.
    """
    begun: dict[int, dict[str, Any]] = {}
    records: list[Record] = []
    life = 0
    # A last line without its end: the process was killed while it wrote it.
    for text in path.read_text().splitlines(keepends=True):
        if not text.endswith("\n"):
            break
        line = json.loads(text)
        if line["type"] == "invoke":
            begun[line["id"]] = line
            continue
        records.append(_record(f"{path.stem}+{life}", begun.pop(line["id"]), line))
        life += line["type"] == "info"
    for line in begun.values():
        records.append(_record(f"{path.stem}+{life}", line, {"type": "open"}))
    return records


def _record(process: str, call: dict[str, Any], end: dict[str, Any]) -> Record:
    return Record(
        process=process,
        target=call["object"],
        method=call["f"],
        args=frozen(call["args"]),
        begun=call["at"],
        ended=end["at"] if end["type"] in ("ok", "fail") else inf,
        kind=end["type"],
        out=frozen(end.get("out")),
        raised=end.get("raised"),
    )


def frozen(value: Any) -> Any:
    """Return what JSON made of a value with its tuples back."""
    return tuple(map(frozen, value)) if isinstance(value, list) else value


def judge(history: History, contents: dict[str, Any]) -> None:
    """Raise an AssertionError that names the calls, unless every check holds."""
    judge_counter(history.of("hits"), contents["hits"])
    judge_dict(history.of("users"), contents["users"])
    judge_list(history.of("seen"), frozen(contents["seen"]))
    judge_set(history.of("flags"), contents["flags"])
    for name in ("jobs", "waits", "ranked"):
        judge_queue(history.of(name), frozen(contents[name]))
    judge_fifo(history.of("jobs"), frozen(contents["jobs"]))
    judge_lock(history.of("door"))


def judge_counter(records: Sequence[Record], value: int) -> None:
    """Acknowledged increments are counted once each, and in an order that real time allows."""
    adds = [record for record in records if record.method == "add"]
    known = [record for record in adds if record.kind == "ok"]
    unknown_count = sum(record.unknown for record in adds)
    results = Counter(record.out for record in known)
    assert max(results.values(), default=1) == 1, f"results twice: {results.most_common(3)}"
    assert len(known) <= value <= len(known) + unknown_count, (
        f"the counter is {value}: {len(known)} acknowledged, {unknown_count} unknown"
    )
    in_order(sorted(known, key=lambda record: record.out))
    for record in records:
        if record.method == "get" and record.kind == "ok":
            before = sum(add.ended < record.begun for add in known)
            started = sum(add.begun < record.ended and add.kind != "fail" for add in adds)
            assert before <= record.out <= started, f"read out of bounds: {record}"


def judge_dict(records: Sequence[Record], contents: dict[str, Any]) -> None:
    """Nothing is read or left that nobody wrote, and nothing that was refused."""
    written = {record.args for record in records if record.method in ("set", "setdefault")}
    refused = {record.args for record in records if record.kind == "fail"}
    seen = set(contents.items())
    for record in records:
        if record.returned and record.out is not None:
            seen.add((record.args[0], record.out))
    assert seen <= written, f"invented: {seen - written}"
    assert not seen & refused, f"refused, but applied: {seen & refused}"


def judge_list(records: Sequence[Record], contents: tuple[Any, ...]) -> None:
    """Each acknowledged append is there once, no refused one, in an order that time allows."""
    appends = {record.args[0]: record for record in records if record.method == "append"}
    each_once(contents, appends.values())
    in_order([appends[mark] for mark in contents])


def judge_set(records: Sequence[Record], contents: Sequence[Any]) -> None:
    """Nothing is in the set that was not added; what is read is either."""
    added = {
        record.args[0] for record in records if record.method == "add" and record.kind != "fail"
    }
    assert set(contents) <= added, f"invented: {set(contents) - added}"


def judge_queue(records: Sequence[Record], contents: tuple[Any, ...]) -> None:
    """What was put was got or is left, once; what is missing is covered by unknown gets."""
    puts = {record.args[0]: record for record in records if record.method.startswith("put")}
    gets = [record for record in records if record.method.startswith("get")]
    got = [record.out for record in gets if record.returned]
    unknown_count = sum(record.unknown for record in gets)
    each_once([*got, *contents], puts.values(), lost=unknown_count)
    for record in gets:
        if record.returned:
            assert puts[record.out].begun < record.ended, f"got before it was put: {record}"


def judge_fifo(records: Sequence[Record], contents: tuple[Any, ...]) -> None:
    """Of two items, the one that was certainly put first is not got certainly last."""
    puts = {r.args[0]: r for r in records if r.method == "put_nowait"}
    gets = {r.out: r for r in records if r.method == "get_nowait" and r.returned}
    # (put ended, get began) of everything whose whereabouts are known
    known = [(puts[item].ended, float(get.begun)) for item, get in gets.items()]
    known += [(puts[item].ended, inf) for item in contents]
    known.sort()
    ended = [end for end, _ in known]
    latest = list(accumulate((begin for _, begin in known), max))
    for item, get in gets.items():
        earlier = bisect_left(ended, puts[item].begun)
        assert not earlier or latest[earlier - 1] <= get.ended, f"overtook another: {get}"


def judge_lock(records: Sequence[Record]) -> None:
    """Tokens grow from grant to grant; two holds that were both released in order never overlap."""
    grants = [r for r in records if r.method == "acquire" and r.returned and r.out is not None]
    tokens = Counter(record.out for record in grants)
    assert max(tokens.values(), default=1) == 1, f"tokens twice: {tokens.most_common(3)}"
    in_order(sorted(grants, key=lambda record: record.out))
    released = {record.args[0]: record for record in records if record.method == "release"}
    held_until = -inf
    for grant in sorted(grants, key=lambda record: record.out):
        assert grant.ended >= held_until, f"granted while another certainly held it: {grant}"
        release = released.get(grant.out)
        if release is not None and release.returned:
            held_until = max(held_until, release.begun)


def each_once(found: Iterable[Any], writes: Iterable[Record], *, lost: int = 0) -> None:
    """Each acknowledged write is found once (all but `lost` of them), and no refused one."""
    counts = Counter(found)
    by_kind: dict[str, set[Any]] = {"ok": set(), "fail": set(), "info": set(), "open": set()}
    for record in writes:
        by_kind[record.kind].add(record.args[0])
    twice = [mark for mark, count in counts.items() if count > 1]
    assert not twice, f"applied twice: {twice[:5]}"
    refused = by_kind["fail"] & counts.keys()
    assert not refused, f"refused, but applied: {sorted(refused)[:5]}"
    missing = by_kind["ok"] - counts.keys()
    assert len(missing) <= lost, (
        f"{len(missing)} acknowledged writes are lost (at most {lost} may be): "
        f"{sorted(missing)[:5]}"
    )
    invented = counts.keys() - set().union(*by_kind.values())
    assert not invented, f"invented: {sorted(invented)[:5]}"


def in_order(records: Iterable[Record]) -> None:
    """The order of effects is one that real time allows: none ended before an earlier one began."""
    last_begun: Record | None = None
    for record in records:
        if last_begun is not None and record.ended < last_begun.begun:
            raise AssertionError(f"{record}\nwas over before its forerunner began:\n{last_begun}")
        if last_begun is None or record.begun > last_begun.begun:
            last_begun = record
