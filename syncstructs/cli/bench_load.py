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

    def run(self, *, seconds: float, warmup: float) -> Line:
        """Run the chains and return the figures of the `seconds` after `warmup`."""
        self.begin()
        return self.measure(seconds=seconds, warmup=warmup)

    def begin(self) -> None:
        """Start the first call of each chain."""
        untimed = [self._untimed] * (self._running - len(self._timed))
        for chain in (*self._timed, *untimed):
            chain.begin()

    def measure(self, *, seconds: float, warmup: float) -> Line:
        """Let the chains that have begun go on, end them, and return the figures."""
        self._all_ended.wait(warmup)
        self._last_end = time.perf_counter()
        self._measuring = True
        begun, before = time.perf_counter(), self._good_count()
        self._all_ended.wait(seconds)
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


class WriteLoad:
    """Write to the `ReplDict` named `cells`: in chains, or one blocking call after the other."""

    def __init__(
        self,
        node: "Node",
        objects: dict[str, Any],
        emit: Callable[[Line], None],
        *,
        seconds: float,
        warmup: float,
        window: int,
        value_bytes: int,
        blocking: bool,
        key_count: int = KEY_COUNT,
    ) -> None:
        self._cells = objects["cells"]
        self._seconds = seconds
        self._warmup = warmup
        self._window = window
        self._value_bytes = value_bytes
        self._blocking = blocking
        self._key_count = key_count

    def run(self) -> Line:
        """Run the load and return its figures."""
        if self._blocking:
            return write_blocking(
                self._cells.__setitem__,
                seconds=self._seconds,
                warmup=self._warmup,
                value_bytes=self._value_bytes,
            )
        chains = Chains(
            self._submit,
            window=self._window,
            value_bytes=self._value_bytes,
            key_count=self._key_count,
            adapt=of_future,
        )
        return chains.run(seconds=self._seconds, warmup=self._warmup)

    def stop(self) -> None:
        """Do nothing: the load ends by itself."""

    def _submit(self, key: str, value: bytes, callback: Callable[[Future[Any]], None]) -> None:
        self._cells.set.submit(key, value).add_done_callback(callback)


def of_future(ended: Ended) -> Callable[[Future[Any]], None]:
    """Return what a future calls when it is done, for `ended`."""
    return lambda future: ended(future.exception())


def write_blocking(
    write: Callable[[str, bytes], object], *, seconds: float, warmup: float, value_bytes: int
) -> Line:
    """Call `write` again and again, each time waiting for it, and return the figures."""
    keys = itertools.cycle([f"key-{n:05}" for n in range(KEY_COUNT)])
    value = b"x" * value_bytes
    samples = array("d")
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
