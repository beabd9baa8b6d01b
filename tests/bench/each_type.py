"""What a call of each type costs, beside a call of `ReplCounter`, which does next to nothing.

One node, alone, in memory, with so many calls under way: what differs is what the type itself does,
as it prepares the call, applies it and returns its result. In rounds that alternate, so that only
ratios count; below 1, it takes less than a counter.

    python tests/bench/each_type.py --rounds 5
"""

import argparse
import itertools
import json
import statistics
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from syncstructs import (
    Future,
    Node,
    ReplBarrier,
    ReplCondition,
    ReplCounter,
    ReplCounterMap,
    ReplDeque,
    ReplDict,
    ReplElection,
    ReplEvent,
    ReplGroup,
    Replicated,
    ReplIdGenerator,
    ReplLatch,
    ReplList,
    ReplLock,
    ReplLockManager,
    ReplMultiDict,
    ReplOnce,
    ReplPriorityQueue,
    ReplQueue,
    ReplRateLimiter,
    ReplRegister,
    ReplRLock,
    ReplRWLock,
    ReplScheduler,
    ReplSemaphore,
    ReplSet,
    ReplSortedDict,
    ReplSortedSet,
    ReplTaskQueue,
    ReplTopic,
    ReplTTLDict,
)
from syncstructs.cli.processes import free_addresses

WINDOW = 256
"""Calls under way at once."""

Step = Callable[[Any, int], "Future[Any]"]


def _in_turn(*steps: Step) -> Step:
    """Return what makes one call after the other of these."""
    return lambda target, number: steps[number % len(steps)](target, number // len(steps))


def _begin_and_fail(once: Any, _: int) -> "Future[Any]":
    """Do all of a run of `ReplOnce` but the function, which fails, so that the next one runs."""
    begun: Future[Any] = once._begin.submit(None)
    begun.add_done_callback(lambda ended: once._fail.submit(ended.result()[2]))
    return begun


# Of those that wait, what is done without waiting.
LOADS: dict[str, tuple[Callable[[], Replicated], Step]] = {
    "ReplCounter.inc": (ReplCounter, lambda t, n: t.inc.submit()),
    "ReplDict.set": (ReplDict, lambda t, n: t.set.submit(n % 1000, n)),
    "ReplList.append, pop": (
        ReplList, _in_turn(lambda t, n: t.append.submit(n), lambda t, n: t.pop.submit()),
    ),
    "ReplSet.add": (ReplSet, lambda t, n: t.add.submit(n % 1000)),
    "ReplRegister.set": (ReplRegister, lambda t, n: t.set.submit(n)),
    "ReplDeque.append": (lambda: ReplDeque(maxlen=100), lambda t, n: t.append.submit(n)),
    "ReplSortedDict.set": (ReplSortedDict, lambda t, n: t.set.submit(n * 7919 % 1000, n)),
    "ReplSortedSet.add": (ReplSortedSet, lambda t, n: t.add.submit(n * 7919 % 1000)),
    "ReplTTLDict.set": (lambda: ReplTTLDict(60.0), lambda t, n: t.set.submit(n % 1000, n)),
    "ReplCounterMap.inc": (ReplCounterMap, lambda t, n: t.inc.submit(n % 1000)),
    "ReplMultiDict.add, popall": (
        ReplMultiDict,
        _in_turn(lambda t, n: t.add.submit(n % 9, n), lambda t, n: t.popall.submit(n % 9, None)),
    ),
    "ReplIdGenerator.reserve": (ReplIdGenerator, lambda t, n: t.reserve.submit(10)),
    "ReplQueue.put_nowait, get_nowait": (
        ReplQueue,
        _in_turn(lambda t, n: t.put_nowait.submit(n), lambda t, n: t.get_nowait.submit()),
    ),
    "ReplPriorityQueue.put_nowait, get_nowait": (
        ReplPriorityQueue,
        _in_turn(lambda t, n: t.put_nowait.submit(n), lambda t, n: t.get_nowait.submit()),
    ),
    "ReplTaskQueue.put": (ReplTaskQueue, lambda t, n: t.put.submit(n)),
    "ReplScheduler.add": (
        ReplScheduler, lambda t, n: t.add.submit(str(n % 100), n, every=3600.0),
    ),
    "ReplTopic.publish": (lambda: ReplTopic(maxlen=100), lambda t, n: t.publish.submit(n)),
    "ReplLock.acquire(False)": (ReplLock, lambda t, n: t.acquire.submit(False)),
    "ReplLockManager.acquire(key, False)": (
        ReplLockManager, lambda t, n: t.acquire.submit(n, blocking=False),
    ),
    "ReplSemaphore.acquire(False)": (ReplSemaphore, lambda t, n: t.acquire.submit(False)),
    "ReplRLock.acquire, again": (ReplRLock, lambda t, n: t.acquire.submit(False)),
    "ReplRWLock.writer.acquire(False)": (ReplRWLock, lambda t, n: t.writer.acquire.submit(False)),
    "ReplCondition.notify": (
        ReplCondition,
        lambda t, n: t.notify.submit() if t.held else t.acquire.submit(False),
    ),
    "ReplEvent.set": (ReplEvent, lambda t, n: t.set.submit()),
    "ReplOnce.run, failing": (ReplOnce, _begin_and_fail),
    "ReplBarrier.reset": (lambda: ReplBarrier(2), lambda t, n: t.reset.submit()),
    "ReplLatch.count_down": (lambda: ReplLatch(10**9), lambda t, n: t.count_down.submit()),
    "ReplElection.campaign(False)": (ReplElection, lambda t, n: t.campaign.submit(False)),
    "ReplGroup.update": (ReplGroup, lambda t, n: t.join.submit(n)),
    "ReplRateLimiter.try_acquire": (
        lambda: ReplRateLimiter(10**6), lambda t, n: t.try_acquire.submit(key=n % 100),
    ),
    "ReplRateLimiter.acquire": (
        lambda: ReplRateLimiter(10**6), lambda t, n: t.acquire.submit(key=n % 100),
    ),
}  # fmt: skip


def calls_per_second(target: Replicated, step: Step, seconds: float) -> float:
    """Return how many calls end per second, with a window of them under way."""
    under_way: deque[Future[Any]] = deque()
    began = time.perf_counter()
    until = began + seconds
    for number in itertools.count():
        under_way.append(step(target, number))
        if len(under_way) >= WINDOW:
            under_way.popleft().result(30.0)
            if time.perf_counter() > until:
                break
    for future in under_way:
        future.result(30.0)
    return (number + 1) / (time.perf_counter() - began)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--json", action="store_true", help="print one JSON object, nothing else")
    options = parser.parse_args()
    (address,) = free_addresses(1)
    made = {name: make() for name, (make, _) in LOADS.items()}
    costs: dict[str, list[float]] = {name: [] for name in LOADS}
    with Node(address, consumers=made) as node:
        node.wait_ready(30.0)
        for _ in range(options.rounds):
            found = {n: calls_per_second(made[n], LOADS[n][1], options.seconds) for n in LOADS}
            for name, rate in found.items():
                costs[name].append(found["ReplCounter.inc"] / rate)
    rows = {n: (statistics.median(c), min(c), max(c)) for n, c in costs.items()}
    if options.json:
        print(json.dumps(rows))
        return
    print(f"{'time of a call, ReplCounter.inc = 1':42} median   least    most")
    for name, row in rows.items():
        print(f"{name:42}" + "".join(f"{figure:8.2f}" for figure in row))


if __name__ == "__main__":
    main()
