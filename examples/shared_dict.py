"""A dict shared by three servers: what one writes, all have.

    python examples/shared_dict.py [address address address]

Starts the three servers as processes of this machine. Each writes an entry of its own and one that
all write to; in the end all three hold the same dict.
"""

import multiprocessing
import sys
import time

from syncstructs import Node, ReplDict

ADDRESSES = sys.argv[1:] or ["127.0.0.1:4321", "127.0.0.1:4322", "127.0.0.1:4323"]


def serve(address, results, all_done):
    users = ReplDict[str, str]()
    with Node(address, ADDRESSES, consumers={"users": users}) as node:
        users[address] = "was here"  # applied here and on a majority when this line is done
        users["last"] = address  # three members write it; all agree on who was last
        while len(users) < len(ADDRESSES) + 1:
            time.sleep(0.01)
        all_done.wait()  # everybody has written
        node.barrier()  # from here on, reads see everything that anybody had acknowledged
        results.put((address, users.copy()))
        all_done.wait()  # a majority must stay until the last one has read


if __name__ == "__main__":
    context = multiprocessing.get_context("spawn")
    results, all_done = context.Queue(), context.Barrier(len(ADDRESSES))
    servers = [
        context.Process(target=serve, args=(address, results, all_done), daemon=True)
        for address in ADDRESSES
    ]
    for server in servers:
        server.start()
    copies = [results.get(timeout=60) for _ in servers]
    for address, copy in copies:
        print(f"{address} holds {len(copy)} entries, last written by {copy['last']}")
    for server in servers:
        server.join(60)
    equal = all(copy == copies[0][1] for _, copy in copies)
    print("all equal" if equal else "NOT EQUAL")
    sys.exit(not equal or any(server.exitcode != 0 for server in servers))
