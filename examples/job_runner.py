"""A job runner on three servers, of which any one may be killed at any moment once all are up.

    python examples/job_runner.py [address address address]

Each server is a process with a node, and does everything: it takes jobs from a queue that all
share, at a pace that one limiter sets for all of them, and shows a status page. One of them, the
elected planner, puts the jobs. A fourth process watches from outside, kills one server with SIGKILL
in the midst of the work, and looks in the end whether every job was done.

Every job is run at least once: if its server dies at work, the lease ends and another server runs
it. Its result is kept exactly once: of two runs, the first one counts.
"""

import multiprocessing
import os
import random
import signal
import socket
import sys
import time
from threading import Thread
from urllib.request import urlopen

from syncstructs import (
    LockLost,
    Node,
    ReplCounter,
    ReplDict,
    ReplElection,
    ReplGroup,
    ReplRateLimiter,
    ReplTaskQueue,
)
from syncstructs.monitor import serve

ADDRESSES = sys.argv[1:4] or ["127.0.0.1:4321", "127.0.0.1:4322", "127.0.0.1:4323"]
JOBS = 90


class Shop:
    """What all servers share, as one of them (or who watches them: no address) sees it."""

    def __init__(self, address):
        self.tasks = ReplTaskQueue(lease=2.0, max_attempts=None, retry_delay=0.0)
        self.results = ReplDict()
        self.runs = ReplCounter()
        self.planner = ReplElection()
        self.pace = ReplRateLimiter(60, per=1.0, burst=10)  # jobs per second, of all together
        self.servers = ReplGroup()
        objects = dict(vars(self))
        self.node = Node(address, ADDRESSES, consumers=objects, session_ttl=1.5)

    def plan(self):
        """Put what is neither done nor in the queue already; whoever is elected next goes on."""
        self.planner.campaign()  # for good: it leads until its server dies
        self.node.barrier()
        for job in range(JOBS):
            if job not in self.results:
                self.tasks.put(job, key=f"job {job}")
        self.planner.proclaim("all is planned")

    def work(self):
        for task in self.tasks:
            self.pace.acquire()  # waits for its turn
            result = sum(range(task.payload + 1))  # the work itself
            try:
                with self.node.batch():  # all of it or nothing, should this server die here
                    self.results.setdefault(task.payload, result)
                    self.runs.inc()
                    self.tasks.ack(task)
            except LockLost:
                pass  # it took too long, so another server has run it as well


def free_address():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def run_server(address):
    shop = Shop(address)
    with shop.node, serve(shop.node, free_address()) as page:
        shop.node.wait_ready(60)
        shop.servers.join({"page": page.url, "pid": os.getpid()})
        Thread(target=shop.plan, daemon=True).start()
        shop.work()


def watch(chance):
    """Kill one server when some jobs are done; return what the others have made of it."""
    shop = Shop(None)
    with shop.node as node:
        node.wait_ready(60)
        with shop.servers.changes() as changes:
            while len(shop.servers) < len(ADDRESSES):  # one that is not up yet is as good as dead
                next(changes)
        moment = chance.randrange(JOBS * 2 // 3)
        with shop.results.changes() as changes:
            while len(shop.results) <= moment:
                next(changes)
        victim = chance.choice(list(shop.servers.members))
        os.kill(shop.servers.members[victim]["pid"], signal.SIGKILL)
        print(f"{victim} was killed after {len(shop.results)} jobs; {shop.planner.leader} planned")
        with urlopen(next(
            server["page"] for name, server in shop.servers.members.items() if name != victim
        )) as answer:
            print(f"the status page of another one says {answer.status}")
        with shop.results.changes() as changes:
            while len(shop.results) < JOBS:
                next(changes)
        with shop.planner.observe() as leaders:
            for leader in leaders:  # who plans now may put again what was being done
                if leader is not None and leader.value and leader.address != victim:
                    break
        shop.tasks.join()
        node.barrier()
        return dict(shop.results), shop.runs.value, shop.tasks.progress()


if __name__ == "__main__":
    seed = int(os.environ.get("SEED", time.time_ns() % 10_000))
    print(f"SEED={seed} kills the same server at the same moment")
    context = multiprocessing.get_context("spawn")
    servers = [context.Process(target=run_server, args=(a,), daemon=True) for a in ADDRESSES]
    for server in servers:
        server.start()
    results, runs, progress = watch(random.Random(seed))
    alive = sum(server.is_alive() for server in servers)
    for server in servers:
        server.kill()
    print(f"{len(results)} of {JOBS} jobs are done, in {runs} runs, by {alive} servers: {progress}")
    done = results == {job: sum(range(job + 1)) for job in range(JOBS)}
    sys.exit(not done or progress.unfinished or alive != len(servers) - 1)
