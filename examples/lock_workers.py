"""Workers that share a lock, and a fencing token that protects what the lock protects.

    python examples/lock_workers.py [address address address]

Three workers on three members take turns. The first one dies while it holds the lock; the cluster
notices that its session is silent, and grants the lock to the next. The report they write to takes
lines with a token that is not smaller than the last one, so a worker that was held up for so long
that it lost the lock cannot spoil it.
"""

import multiprocessing
import os
import signal
import sys

from syncstructs import Node, Replicated, ReplLock, replicated

ADDRESSES = sys.argv[1:] or ["127.0.0.1:4321", "127.0.0.1:4322", "127.0.0.1:4323"]
TURNS = 3


class Report(Replicated):
    """What the lock protects. It could as well be a file server or a database with this check."""

    def __init__(self):
        self.last_token = 0
        self.lines = []

    @replicated
    def add(self, token, line):
        if token < self.last_token:
            raise ValueError(f"token {token} is older than {self.last_token}")
        self.last_token = token
        self.lines.append(line)


def work(number, results, all_done, held):
    lock, report = ReplLock(), Report()
    node = Node(
        ADDRESSES[number],
        ADDRESSES,
        consumers={"lock": lock, "report": report},
        session_ttl=2.0,  # how long the lock of a dead worker stays taken
    )
    with node:
        if number > 0:
            held.wait()  # by worker 0, so that there is somebody to inherit from
        for turn in range(TURNS):
            with lock:
                held.set()
                report.add(lock.token, f"worker {number}, turn {turn}")
                if number == 0:
                    os.kill(os.getpid(), signal.SIGKILL)  # dies with the lock in its hands
        all_done.wait()
        node.barrier()
        results.put((report.lines, report.last_token))
        all_done.wait()


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    results, all_done = context.Queue(), context.Barrier(len(ADDRESSES) - 1)
    held = context.Event()
    workers = [
        context.Process(target=work, args=(number, results, all_done, held), daemon=True)
        for number in range(len(ADDRESSES))
    ]
    for worker in workers:
        worker.start()
    copies = [results.get(timeout=60) for _ in workers[1:]]
    for worker in workers:
        worker.join(60)
    lines, token = copies[0]
    print("\n".join(lines))
    print(f"last token {token}; worker 0 ended with {workers[0].exitcode}")
    complete = len(lines) == TURNS * (len(workers) - 1) + 1
    sys.exit(not complete or copies[0] != copies[1])
