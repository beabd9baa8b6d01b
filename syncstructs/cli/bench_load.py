"""The load of the benchmark: keep so many calls under way for so long, and time some of them.

`Chains` is the shape that a library with callbacks likes best: each call that ends starts the next
one of its chain, in the thread that ended it, so no thread has to be woken per call. Whatever it
does per call is charged to the library measured, so it does little: one call in `TIMED_EVERY` is
timed, and the calls of the measured time are counted by looking at the total twice.
"""

import itertools
import threading
import time
from array import array
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

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
        """`adapt` makes of an `Ended` the callback that the library takes; once for each chain."""
        self.submit = submit
        self.value = b"x" * value_bytes
        self.keys = itertools.cycle([f"key-{n:05}" for n in range(key_count)])
        self.samples = array("d")
        self.last_end = 0.0
        self.longest_pause = 0.0
        """Seconds without the end of a timed call."""
        self.total_count = 0
        """Calls that ended at all, those of the warm-up included."""
        self.failed_count = 0
        self.first_failure = ""
        self.measuring = False
        self.going_on = True
        self._running = window
        self._chains = [
            (TimedChain if number % TIMED_EVERY == 0 else Chain)(self, adapt)
            for number in range(window)
        ]
        self._all_ended = threading.Event()
        self._leaving = threading.Lock()

    def run(self, *, seconds: float, warmup: float) -> Line:
        """Run the chains and return the figures of the `seconds` after `warmup`."""
        self.begin()
        return self.measure(seconds=seconds, warmup=warmup)

    def begin(self) -> None:
        """Start the first call of each chain."""
        for chain in self._chains:
            chain.begin()

    def measure(self, *, seconds: float, warmup: float) -> Line:
        """Let the chains that have begun go on, end them, and return the figures."""
        self._all_ended.wait(warmup)
        self.last_end = time.perf_counter()
        self.measuring = True
        begun, before = time.perf_counter(), self._good_count()
        self._all_ended.wait(seconds)
        count, lasted = self._good_count() - before, time.perf_counter() - begun
        self.measuring = self.going_on = False
        self._all_ended.wait(DRAIN_TIMEOUT)
        figures = report(
            count,
            lasted,
            self.samples,
            total=self.total_count,
            failed=self.failed_count,
            lost=self._running,
            note=self.first_failure,
        )
        return {**figures, "longest_pause_ms": round(self.longest_pause * 1000.0, 6)}

    def fail(self, error: object) -> None:
        """Count a call that failed."""
        self.failed_count += 1
        self.first_failure = self.first_failure or repr(error)

    def leave(self) -> None:
        """Count a chain that has come to its end."""
        with self._leaving:
            self._running -= 1
            if self._running == 0:
                self._all_ended.set()

    def _good_count(self) -> int:
        return self.total_count - self.failed_count


class Chain:
    """One call after the other; `ended` is called as each of them ends."""

    __slots__ = ("_callback", "_chains")

    def __init__(self, chains: Chains, adapt: Callable[[Ended], Any]) -> None:
        self._chains = chains
        self._callback = adapt(self.ended)

    def begin(self) -> None:
        """Start a call; a call that is refused ends the chain."""
        chains = self._chains
        try:
            chains.submit(next(chains.keys), chains.value, self._callback)
        except Exception as error:
            chains.total_count += 1
            chains.fail(error)
            chains.leave()

    def ended(self, error: object) -> None:
        """Count the call (`error` is None if it went well) and start the next one."""
        chains = self._chains
        chains.total_count += 1
        if error is not None:
            chains.fail(error)
        if chains.going_on:
            self.begin()
        else:
            chains.leave()


class TimedChain(Chain):
    """A chain that notes how long each of its calls took."""

    __slots__ = ("_began",)

    def begin(self) -> None:
        """Start a call and the clock."""
        self._began = time.perf_counter()
        super().begin()

    def ended(self, error: object) -> None:
        """Note the time, and do as any chain does."""
        chains = self._chains
        if chains.measuring and error is None:
            now = time.perf_counter()
            if now - chains.last_end > chains.longest_pause:
                chains.longest_pause = now - chains.last_end
            chains.last_end = now
            if len(chains.samples) < SAMPLES_MAX:
                chains.samples.append(now - self._began)
        super().ended(error)


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
