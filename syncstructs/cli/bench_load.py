"""The load of the benchmark: keep so many calls under way for so long, and time some of them.

`Chains` is the shape that a library with callbacks likes best: each call that ends starts the next
one of its chain, in the thread that ended it, so no thread has to be woken per call. Whatever it
does per call is charged to the library measured, so it does little (a fifth of a microsecond): one
chain in `TIMED_EVERY` is timed, and the calls of the measured time are counted by looking at the
total twice.
"""

import itertools
import threading
import time
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from ..futures import Future
from .channel import Line

if TYPE_CHECKING:
    from ..node.node import Node

KEY_COUNT = 10_000
"""Different keys written, in turn."""

TIMED_EVERY = 16
"""One chain in so many is timed, and at least one: for all, the clock would cost too much."""

SAMPLES_MAX = 4_000_000
"""Latencies kept (8 bytes each); a run with more calls is described by its first ones."""

DRAIN_TIMEOUT = 30.0
"""Seconds that calls still under way at the end may take; later ones are reported as lost."""

Ended = Callable[[object], None]
"""To be called as a call ends, with its error or None."""

Tell = Callable[[Line], None]
"""Is given `ops_per_second`, `p50_ms` and `p99_ms` of the last moments, while calls are made."""

TELL_INTERVAL = 0.25
"""Seconds between two of these."""

BULK_COUNT = 1000
"""Entries of one command in bulk."""

BULK_WINDOW = 8
"""Commands in bulk under way at once."""

Submit = Callable[[str, bytes, Any], object]
"""Start a call that writes the value under the key, and ends in a call of the third argument."""


class Chain(NamedTuple):
    """One call after the other."""

    begin: Callable[[], None]
    """Starts the first call; a call that is refused ends the chain."""
    ended_count: Callable[[], int]
    """Tells how many calls have ended."""


class Chains:
    """So many chains of calls, each with one call under way."""

    def __init__(
        self,
        submit: Submit,
        *,
        window: int,
        value_bytes: int,
        key_count: int = KEY_COUNT,
        adapt: Callable[[Ended], Any] = lambda ended: ended,
    ) -> None:
        """`adapt` makes of an `Ended` the callback that the library takes."""
        self.failed_count = 0
        self.first_failure = ""
        self._submit = submit
        self._adapt = adapt
        self._value = b"x" * value_bytes
        self._keys = itertools.cycle([f"key-{n:05}" for n in range(key_count)])
        self._going_on = True
        self._measuring = False
        self._samples = array("d")
        self._last_end = 0.0
        self._longest_pause = 0.0
        """Seconds without the end of a timed call."""
        self._running = window
        self._all_ended = threading.Event()
        self._leaving = threading.Lock()
        timed_count = -(-window // TIMED_EVERY)
        self._timed = [self._chain(timed=True) for _ in range(timed_count)]
        self._untimed = self._chain(timed=False)
        """Nothing tells those that are not timed apart, so they are one."""

    @property
    def total_count(self) -> int:
        """Calls that ended at all, those of the warm-up included."""
        return sum(chain.ended_count() for chain in (*self._timed, self._untimed))

    def run(self, *, seconds: float, warmup: float, tell: Tell | None = None) -> Line:
        """Run the chains and return the figures of the `seconds` after `warmup`."""
        self.begin()
        return self.measure(seconds=seconds, warmup=warmup, tell=tell)

    def begin(self) -> None:
        """Start the first call of each chain."""
        untimed = [self._untimed] * (self._running - len(self._timed))
        for chain in (*self._timed, *untimed):
            chain.begin()

    def measure(self, *, seconds: float, warmup: float, tell: Tell | None = None) -> Line:
        """Let the chains that have begun go on, end them, and return the figures."""
        lately = None if tell is None else Lately(tell, self._samples)
        self._wait(warmup, lately)
        self._last_end = time.perf_counter()
        self._measuring = True
        begun, before = time.perf_counter(), self._good_count()
        self._wait(seconds, lately)
        count, lasted = self._good_count() - before, time.perf_counter() - begun
        self._measuring = self._going_on = False
        self._all_ended.wait(DRAIN_TIMEOUT)
        figures = report(
            count,
            lasted,
            self._samples,
            total=self.total_count,
            failed=self.failed_count,
            lost=self._running,
            note=self.first_failure,
        )
        return {**figures, "longest_pause_ms": round(self._longest_pause * 1000.0, 6)}

    def _chain(self, *, timed: bool) -> Chain:
        # These are functions with names of their own, as attributes would take twice as long.
        submit, next_key, value = self._submit, self._keys.__next__, self._value
        count = 0
        begun = 0.0

        def begin() -> None:
            nonlocal begun, count
            if timed:
                begun = time.perf_counter()
            try:
                submit(next_key(), value, callback)
            except Exception as error:
                count += 1
                self._fail(error)
                self._leave()

        def ended(error: object) -> None:
            nonlocal count
            count += 1
            if error is not None:
                self._fail(error)
            elif timed and self._measuring:
                self._note(begun)
            if self._going_on:
                begin()
            else:
                self._leave()

        callback = self._adapt(ended)
        return Chain(begin, lambda: count)

    def _wait(self, seconds: float, lately: "Lately | None") -> None:
        if lately is None:
            self._all_ended.wait(seconds)
            return
        until = time.perf_counter() + seconds
        while (left := until - time.perf_counter()) > 0:
            if self._all_ended.wait(min(left, TELL_INTERVAL)):
                break
            lately.look(self._good_count())

    def _note(self, begun: float) -> None:
        now = time.perf_counter()
        self._longest_pause = max(self._longest_pause, now - self._last_end)
        self._last_end = now
        if len(self._samples) < SAMPLES_MAX:
            self._samples.append(now - begun)

    def _fail(self, error: object) -> None:
        self.failed_count += 1
        self.first_failure = self.first_failure or repr(error)

    def _leave(self) -> None:
        with self._leaving:
            self._running -= 1
            if self._running == 0:
                self._all_ended.set()

    def _good_count(self) -> int:
        return self.total_count - self.failed_count


class Lately:
    """Tells how fast calls have been since it was last asked to look."""

    def __init__(self, tell: Tell, samples: "array[float]") -> None:
        self._tell = tell
        self._samples = samples
        self._seen = 0
        self._count = 0
        self._at = time.perf_counter()

    def is_due(self, now: float) -> bool:
        """Return whether it is time to look again."""
        return now - self._at >= TELL_INTERVAL

    def look(self, count: int) -> None:
        """Tell of the calls since the last look; `count` have ended in all."""
        now = time.perf_counter()
        fresh = sorted(self._samples[self._seen :])
        self._tell({
            "ops_per_second": (count - self._count) / max(now - self._at, 1e-9),
            "p50_ms": percentile(fresh, 0.50),
            "p99_ms": percentile(fresh, 0.99),
        })  # fmt: skip
        self._seen += len(fresh)
        self._count, self._at = count, now


class Load:
    """What all loads have in common: objects to call, and an end that comes by itself."""

    def __init__(
        self,
        node: "Node",
        objects: dict[str, Any],
        emit: Callable[[Line], None],
        *,
        live: bool = False,
        **options: Any,
    ) -> None:
        """If `live`, events named 'progress' tell of the last moments; `options` are for `work`."""
        self.node = node
        self.objects = objects
        self.tell: Tell | None = None
        if live:
            self.tell = lambda line: emit({"event": "progress", **line})
        self._options = options

    def run(self) -> Any:
        """Do the work, and return its figures."""
        return self.work(**self._options)

    def work(self, *args: Any, **options: Any) -> Any:
        """Do what the load is for."""
        raise NotImplementedError

    def stop(self) -> None:
        """Do nothing: the load ends by itself."""


class WriteLoad(Load):
    """Write to the `ReplDict` named `cells`: in chains, or one blocking call after the other."""

    def work(
        self,
        *,
        seconds: float,
        warmup: float,
        window: int,
        value_bytes: int,
        blocking: bool,
        key_count: int = KEY_COUNT,
    ) -> Line:
        """Return the figures of the calls."""
        cells = self.objects["cells"]
        if blocking:
            return write_blocking(
                cells.__setitem__, seconds=seconds, warmup=warmup, value_bytes=value_bytes,
                tell=self.tell,
            )  # fmt: skip
        set_later = cells.set.submit
        chains = Chains(
            lambda key, value, done: set_later(key, value).add_done_callback(done),
            window=window, value_bytes=value_bytes, key_count=key_count, adapt=of_future,
        )  # fmt: skip
        return chains.run(seconds=seconds, warmup=warmup, tell=self.tell)


class UpdateLoad(Load):
    """Write a thousand entries by each call of `update`, with some calls under way."""

    def work(self, *, seconds: float, warmup: float) -> Line:
        """Return the figures of the calls; `entries_per_second` are a thousand times as many."""
        update_later, entries = self.objects["cells"].update.submit, bulk_entries()
        chains = Chains(
            lambda key, value, done: update_later(next(entries)).add_done_callback(done),
            window=BULK_WINDOW, value_bytes=10, adapt=of_future,
        )  # fmt: skip
        return in_bulk(chains.run(seconds=seconds, warmup=warmup, tell=self.tell))


class PairLoad(Load):
    """Acquire and release the lock named `door`, one pair after the other."""

    def work(self, *, seconds: float, warmup: float) -> Line:
        """Return the figures of the pairs."""
        door = self.objects["door"]
        return pairs(
            door.acquire, door.release, seconds=seconds, warmup=warmup, tell=self.tell
        )  # fmt: skip


class GapLoad(Load):
    """Write without a break, one blocking call after the other."""

    def work(self, *, seconds: float) -> Line:
        """Return the longest time without a write."""
        return longest_gap(self.objects["cells"].__setitem__, seconds)


def of_future(ended: Ended) -> Callable[[Future[Any]], None]:
    """Return what a future calls when it is done, for `ended`."""
    return lambda future: ended(future.exception())


def bulk_entries() -> "itertools.cycle[dict[str, bytes]]":
    """Return what calls in bulk write, in turn: all keys."""
    value = b"x" * 10
    return itertools.cycle([
        {f"key-{number:05}": value for number in range(first, first + BULK_COUNT)}
        for first in range(0, KEY_COUNT, BULK_COUNT)
    ])  # fmt: skip


def in_bulk(figures: Line) -> Line:
    """Return the figures of calls in bulk with the entries they have written."""
    return {**figures, "entries_per_second": figures["ops_per_second"] * BULK_COUNT}


def pairs(
    acquire: Callable[[], object],
    release: Callable[[], object],
    *,
    seconds: float,
    warmup: float,
    tell: Tell | None = None,
) -> Line:
    """Acquire and release again and again, and return the figures of the pairs."""

    def pair(key: str, value: bytes) -> None:
        acquire()
        release()

    return write_blocking(pair, seconds=seconds, warmup=warmup, value_bytes=0, tell=tell)


def longest_gap(write: Callable[[str, bytes], object], seconds: float) -> Line:
    """Write without a break for so long; return the longest time without a success, in seconds."""
    begun = last = time.perf_counter()
    longest, count, failed = 0.0, 0, 0
    while (now := time.perf_counter()) < begun + seconds:
        try:
            write(f"key-{count % 100:05}", b"0123456789")
        except Exception:
            failed += 1
            continue
        now = time.perf_counter()
        if count:
            longest = max(longest, now - last)
        last, count = now, count + 1
    # Who never went on has stood still until the end.
    if count:
        longest = max(longest, now - last)
    return {"longest": longest, "count": count, "failed": failed}


def write_blocking(
    write: Callable[[str, bytes], object],
    *,
    seconds: float,
    warmup: float,
    value_bytes: int,
    tell: Tell | None = None,
) -> Line:
    """Call `write` again and again, each time waiting for it, and return the figures."""
    keys = itertools.cycle([f"key-{n:05}" for n in range(KEY_COUNT)])
    value = b"x" * value_bytes
    samples = array("d")
    lately = None if tell is None else Lately(tell, samples)
    count = total = 0
    from_time = time.perf_counter() + warmup
    until_time = from_time + seconds
    began = time.perf_counter()
    while began < until_time:
        write(next(keys), value)
        ended = time.perf_counter()
        total += 1
        if from_time <= ended <= until_time:
            count += 1
            samples.append(ended - began)
        if lately is not None and lately.is_due(ended):
            lately.look(total)
        began = ended
    return report(count, seconds, samples, total=total)


def report(
    count: int,
    seconds: float,
    samples: "array[float]",
    *,
    total: int,
    failed: int = 0,
    lost: int = 0,
    note: str = "",
) -> Line:
    """Return the figures of a run; latencies in milliseconds, None if nothing was measured."""
    ordered = sorted(samples)
    return {
        "count": count,
        "total": total,
        "ops_per_second": count / seconds,
        "p50_ms": percentile(ordered, 0.50),
        "p99_ms": percentile(ordered, 0.99),
        "max_ms": percentile(ordered, 1.0),
        "failed": failed,
        "lost": lost,
        "note": note,
    }


def percentile(ordered: list[float], share: float) -> float | None:
    """Return the value (in milliseconds) that `share` of the sorted seconds do not exceed.

    >>> percentile([0.001, 0.002, 0.003, 0.004], 0.5)
    2.0
    """
    if not ordered:
        return None
    rank = max(0, min(len(ordered) - 1, round(share * len(ordered)) - 1))
    return round(ordered[rank] * 1000.0, 6)
