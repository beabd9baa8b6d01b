"""A class of your own, replicated: a counter on three servers.

    python examples/counter.py [address address address]

Starts the three servers as processes of this machine; each counts to 100, all end at 300. On real
servers each would run `serve` with its own address and the others'.
"""

import multiprocessing
import sys
import time

from syncstructs import SyncObj, replicated

ADDRESSES = sys.argv[1:] or ["127.0.0.1:4321", "127.0.0.1:4322", "127.0.0.1:4323"]


class MyCounter(SyncObj):
    def __init__(self, address, partners):
        super().__init__(address, partners)
        self.__counter = 0

    @replicated
    def incCounter(self):  # noqa: N802
        self.__counter += 1

    def getCounter(self):  # noqa: N802
        return self.__counter


def serve(address, partners, all_done):
    counter = MyCounter(address, partners)
    counter.wait_ready()
    for _ in range(100):
        counter.incCounter()  # returns once it is applied here, and will never be lost
    while counter.getCounter() < 300:  # a local read; the others' increments arrive by themselves
        time.sleep(0.01)
    print(f"{address} counts {counter.getCounter()}", flush=True)
    all_done.wait()  # a majority must stay until the last one has seen all
    counter.close()


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    all_done = context.Barrier(len(ADDRESSES))
    servers = [
        context.Process(target=serve, args=(address, ADDRESSES, all_done), daemon=True)
        for address in ADDRESSES
    ]
    for server in servers:
        server.start()
    for server in servers:
        server.join(60)
    sys.exit(any(server.exitcode != 0 for server in servers))
