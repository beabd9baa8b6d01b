"""Feeds hostile bytes to what takes them first: `python tests/fuzz/fuzz.py [TARGET...]`.

Inputs are changed at random, and those kept that reach places in the library, or are told of in
words, that none before them did. What is found is written to `tests/fuzz/found` with the command
that runs it again. `--grow` adds to the corpus what is new; the tests run all of that.

Not atheris: its wheels are for Linux on x86-64 only, it sees no more of msgspec's C than this does,
its unit is a process that ends with the first finding, and it changes bytes where nearly all of our
inputs are trees with lengths and checksums around them. A place that was reached costs nothing any
more here (`sys.monitoring`), so inputs run as fast as they would without.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import signal
import sys
import time
import traceback
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "support"))

import fuzz_targets  # noqa: E402
from fuzz_coverage import Tracing  # noqa: E402
from fuzz_mutation import mutate, parts_of, values_in  # noqa: E402

FOUND = HERE / "found"
# Of an input, in seconds of CPU; far above what 64 KiB cost anywhere, but for what is quadratic.
SECONDS_MAX = 3.0
# What an input may have in memory at a time: of its own size, and at least. A small table, its
# image and what that is read back to is what costs most.
PEAK_FACTOR = 400
PEAK_BYTES = 2_000_000
_WORDS_MAX = 3000
_FINDINGS_MAX = 10
_PARTS_MAX = 3000


class Slow(BaseException):
    """An input takes too long; no handler of the library's may take it for its own."""


class Finding(NamedTuple):
    """An input that a target did not take as it should, and how that showed."""

    what: str
    data: bytes
    trace: str


class Report(NamedTuple):
    """What one run over one target brought."""

    target: str
    runs: int
    seconds: float
    places: int
    words: int
    new: list[bytes]
    findings: list[Finding]


class Explorer:
    """One target, the inputs that are worth changing, and what they reach."""

    def __init__(self, name: str, seed: int) -> None:
        self.name = name
        self.random = Random(f"{seed} {name}")
        self.run_target = fuzz_targets.TARGETS[name].run
        self.tracing = Tracing()
        self.words: set[str] = set()
        self.inputs: list[bytes] = []
        self.pool: list[Any] = []
        self.findings: dict[str, Finding] = {}
        self.runs = 0

    def begin(self) -> None:
        """Run seeds and corpus, smallest first, and keep all that is not the same as before."""
        seeds = fuzz_targets.TARGETS[self.name].seeds()
        known = dict.fromkeys([*seeds, *fuzz_targets.corpus(self.name)])
        for data in sorted(known, key=len):
            self.try_input(data)
            if data not in self.inputs:
                self.inputs.append(data)
                self._take_apart(data)

    def try_input(self, data: bytes) -> bool:
        """Run an input; whether it brought something new, which is kept then."""
        self.runs += 1
        try:
            with limited(SECONDS_MAX):
                word = self.run_target(data)
        except Slow:
            self._find(f"takes over {SECONDS_MAX} s", data, "")
            return False
        except Exception as error:
            self._find(place_of(error), data, traceback.format_exc(limit=-8))
            # What is behind a finding is worth looking at, too, but not for ever.
            return self.tracing.take() > 0 and len(self.findings) < _FINDINGS_MAX
        new = self.tracing.take()
        word = re.sub(r"'[^']*'|\"[^\"]*\"|[0-9a-f]*\d[0-9a-f]*|0x\w+", "#", word)[:90]
        if len(self.words) < _WORDS_MAX and word not in self.words:
            self.words.add(word)
            new += 1
        if new:
            self.inputs.append(data)
            self._take_apart(data)
            self._weigh(data)
        return new > 0

    def explore(self) -> bytes | None:
        """Run an input nobody has tried; return it if it is one to keep."""
        random = self.random
        # The newest have been changed least.
        at = max(random.randrange(len(self.inputs)), random.randrange(len(self.inputs)))
        data = mutate(self.inputs[at], random, self.pool)
        return data if self.try_input(data) else None

    def _take_apart(self, data: bytes) -> None:
        found = values_in(data)
        if found is not None and len(self.pool) < _PARTS_MAX:
            parts_of(found[1], self.pool)

    def _weigh(self, data: bytes) -> None:
        peak = peak_of(self.run_target, data)
        bound = PEAK_BYTES + PEAK_FACTOR * len(data)
        if peak > bound:
            self._find(f"takes {peak} bytes, over {bound}", data, "", group="takes memory")

    def _find(self, what: str, data: bytes, trace: str, group: str | None = None) -> None:
        known = self.findings.get(group or what)
        if known is None or len(data) < len(known.data):
            self.findings[group or what] = Finding(what, data, trace)


def place_of(error: BaseException) -> str:
    """Return what tells one bug from another: the kind of an error, and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "syncstructs" in frame.filename] or list(frames)
    last = ours[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno} {last.name}"


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `Slow` in what takes longer than that of the CPU."""

    def stop(number: int, frame: object) -> None:
        raise Slow

    if not hasattr(signal, "setitimer"):
        yield
        return
    before = signal.signal(signal.SIGVTALRM, stop)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def peak_of(run: Any, data: bytes) -> int:
    """Return how many bytes of memory a target has at a time for an input."""
    tracemalloc.start()
    try:
        run(data)
        return tracemalloc.get_traced_memory()[1]
    except Exception:
        return 0
    finally:
        tracemalloc.stop()


def explore(name: str, seed: int, seconds: float, runs: int | None) -> Report:
    """Explore one target for so many seconds of the CPU, or so many runs."""
    explorer = Explorer(name, seed)
    new: list[bytes] = []
    with explorer.tracing:
        begun = time.process_time()
        explorer.begin()
        until = begun + seconds
        first = explorer.runs
        while explorer.runs - first < runs if runs is not None else time.process_time() < until:
            data = explorer.explore()
            if data is not None:
                new.append(data)
    spent = time.process_time() - begun
    return Report(
        name, explorer.runs, spent, len(explorer.tracing.reached), len(explorer.words), new,
        list(explorer.findings.values()),
    )  # fmt: skip


def _explore(given: tuple[str, int, float, int | None]) -> Report:
    return explore(*given)


def minimised(name: str, inputs: list[bytes], bytes_max: int) -> list[bytes]:
    """Return as few of `inputs` as reach the same places and words, small ones first."""
    explorer = Explorer(name, 0)
    kept: list[bytes] = []
    left = bytes_max
    with explorer.tracing:
        for data in fuzz_targets.TARGETS[name].seeds():
            explorer.try_input(data)
        for data in sorted(dict.fromkeys(inputs), key=lambda data: (len(data), data)):
            if len(data) <= left and explorer.try_input(data):
                kept.append(data)
                left -= len(data)
    return kept


def grow(report: Report, bytes_max: int) -> int:
    """Add what is new to the corpus; return how many inputs it has then."""
    inputs = [*fuzz_targets.corpus(report.target), *report.new]
    kept = minimised(report.target, inputs, bytes_max)
    path = fuzz_targets.CORPUS / f"{report.target}.txt"
    path.write_text("".join(f"{data.hex()}\n" for data in kept), encoding="ascii")
    return len(kept)


def keep(report: Report) -> None:
    """Write what was found to files, and say how to run it again."""
    for finding in report.findings:
        FOUND.mkdir(exist_ok=True)
        digest = hashlib.sha256(finding.data).hexdigest()[:12]
        path = FOUND / f"{report.target}-{digest}"
        path.write_bytes(finding.data)
        print(f"\n{report.target}: {finding.what}\n{finding.trace}")
        print(f"    python tests/fuzz/fuzz.py {report.target} --replay {path}", flush=True)


def replay(name: str, path: Path) -> None:
    """Run one input, and let what it raises out."""
    data = path.read_bytes()
    begun = time.process_time()
    print(fuzz_targets.TARGETS[name].run(data))
    peak = peak_of(fuzz_targets.TARGETS[name].run, data)
    print(f"{len(data)} bytes, {time.process_time() - begun:.3f} s, {peak} bytes of memory")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("targets", nargs="*", help=", ".join(fuzz_targets.TARGETS))
    parser.add_argument("--seconds", type=float, default=60.0, help="of CPU, all targets together")
    parser.add_argument("--runs", type=int, help="of each target, instead of seconds")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--seed", type=int, help="drawn and printed if not given")
    parser.add_argument("--replay", type=Path, help="a file to be run once, by one target")
    parser.add_argument("--grow", action="store_true", help="add what is new to the corpus")
    parser.add_argument("--grow-bytes", type=int, default=12_000, help="of a target's corpus")
    given = parser.parse_args()
    names = given.targets or list(fuzz_targets.TARGETS)
    if unknown := sorted(set(names) - fuzz_targets.TARGETS.keys()):
        parser.error(f"no target {unknown[0]!r}; there are {', '.join(fuzz_targets.TARGETS)}")
    if given.replay is not None:
        replay(names[0], given.replay)
        return
    seed = Random().randrange(10**6) if given.seed is None else given.seed
    print(f"seed {seed}, Python {sys.version.split()[0]}, {len(names)} targets")
    share = given.seconds / len(names)
    failed = False
    # A process for each: what one has used of memory is no matter of the next.
    with get_context("spawn").Pool(given.jobs, maxtasksperchild=1) as pool:
        work = [(name, seed, share, given.runs) for name in names]
        for report in pool.imap(_explore, work):
            print(
                f"{report.target:10} {report.runs:8} runs {report.seconds:7.1f} s"
                f" {report.runs / max(report.seconds, 0.001):7.0f}/s"
                f" {report.places:6} places {report.words:5} words"
                f" {len(report.new):4} new {len(report.findings)} found",
                flush=True,
            )
            keep(report)
            failed |= bool(report.findings)
            if given.grow:
                print(f"           {grow(report, given.grow_bytes)} inputs kept")
    sys.exit(failed)


if __name__ == "__main__":
    main()
