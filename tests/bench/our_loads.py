"""What members of ours are given to do, besides the loads of `syncstructs.cli.bench_load`."""

import asyncio
import itertools
import threading
import time
import timeit
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from syncstructs.cli.bench_load import (
    BULK_WINDOW,
    Chains,
    Load,
    bulk_entries,
    in_bulk,
    of_future,
    report,
    write_blocking,
)
from syncstructs.cli.channel import Line

FILL_COUNT = 10_000
"""Entries of one command when a state is filled."""
READ_COUNT = 200_000
"""Lookups timed at once; the best of some such times counts."""


def state(entry_count: int) -> Iterator[dict[str, bytes]]:
    """Return the entries of a large state, piece by piece, under the keys that loads write."""
    value = b"x" * 10
    for first in range(0, entry_count, FILL_COUNT):
        last = min(first + FILL_COUNT, entry_count)
        yield {f"key-{number:05}": value for number in range(first, last)}


class BatchLoad(Load):
    """Write a thousand entries by each `node.batch()`, in some tasks of one loop."""

    def work(self, *, seconds: float, warmup: float) -> Line:
        return in_bulk(asyncio.run(self._write(seconds, warmup)))

    async def _write(self, seconds: float, warmup: float) -> Line:
        cells, entries = self.objects["cells"], bulk_entries()
        samples = array("d")
        total = 0
        from_time = time.perf_counter() + warmup
        until_time = from_time + seconds

        async def write_batches() -> None:
            nonlocal total
            while (began := time.perf_counter()) < until_time:
                async with self.node.batch():
                    for key, value in next(entries).items():
                        cells[key] = value
                ended = time.perf_counter()
                total += 1
                if from_time <= ended <= until_time:
                    samples.append(ended - began)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(BULK_WINDOW):
                tasks.create_task(write_batches())
        return report(len(samples), seconds, samples, total=total)


class Fill(Load):
    """Fill the dict."""

    def work(self, *, entry_count: int) -> None:
        under_way: list[Any] = []
        for piece in state(entry_count):
            under_way.append(self.objects["cells"].update.submit(piece))
            if len(under_way) > 4:
                under_way.pop(0).result(60.0)
        for call in under_way:
            call.result(60.0)


class Snapshot(Load):
    """Take a snapshot and compact the log; return the seconds that took."""

    def work(self) -> float:
        begun = time.perf_counter()
        self.node.snapshot(60.0)
        return time.perf_counter() - begun


class Spread(Load):
    """Keep calls under way that write to all objects in turn."""

    def work(self, *, window: int, seconds: float, warmup: float) -> Line:
        submits = itertools.cycle([cells.set.submit for cells in self.objects.values()])
        chains = Chains(
            lambda key, value, done: next(submits)(key, value).add_done_callback(done),
            window=window, value_bytes=10, key_count=10, adapt=of_future,
        )  # fmt: skip
        return chains.run(seconds=seconds, warmup=warmup)


class Threads(Load):
    """Write from so many threads at once, each one blocking call after the other."""

    def work(self, *, thread_count: int, seconds: float, warmup: float) -> Line:
        found: list[Line] = []
        threads = [
            threading.Thread(target=lambda: found.append(self._write(seconds, warmup)))
            for _ in range(thread_count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"ops_per_second": sum(figures["ops_per_second"] for figures in found)}

    def _write(self, seconds: float, warmup: float) -> Line:
        return write_blocking(
            self.objects["cells"].__setitem__, seconds=seconds, warmup=warmup, value_bytes=10
        )


class Reads(Load):
    """Time `d["k"]`: of the replicated dict and of a dict, in nanoseconds."""

    def work(self) -> Line:
        cells = self.objects["cells"]
        cells["k"] = b"x" * 10
        return {"ours": best_read_ns(cells), "dict": best_read_ns({"k": b"x" * 10})}


def best_read_ns(cells: Any) -> float:
    """Return how long a lookup takes at best, as `timeit` tells."""
    times = timeit.repeat('cells["k"]', globals={"cells": cells}, number=READ_COUNT, repeat=9)
    return min(times) / READ_COUNT * 1e9


def generator_ns() -> float:
    """Return what the load generator itself takes of each call, in nanoseconds of CPU time."""

    def time_of(body: Callable[[], object], count: int) -> float:
        begun = time.thread_time()
        for _ in range(count):
            body()
        return (time.thread_time() - begun) / count * 1e9

    waiting: deque[Callable[[object], None]] = deque()
    chains = Chains(
        lambda key, value, ended: waiting.append(ended), window=1024, value_bytes=10
    )  # fmt: skip
    chains.begin()
    with_it = min(time_of(lambda: waiting.popleft()(None), 100_000) for _ in range(3))

    def ended(error: object) -> None:
        waiting.append(ended)

    waiting.clear()
    waiting.extend([ended] * 1024)
    without = min(time_of(lambda: waiting.popleft()(None), 100_000) for _ in range(3))
    return with_it - without
