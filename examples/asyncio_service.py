"""A small service on asyncio: a key-value store that answers on three members.

    python examples/asyncio_service.py [address address address]

All three members live in this one process and loop, for a look; in production each has
a process of its own, and nothing in `Member` changes. A client writes to one and reads from
another.
"""

import asyncio
import sys

from syncstructs import Node, ReplDict

ADDRESSES = sys.argv[1:] or ["127.0.0.1:4321", "127.0.0.1:4322", "127.0.0.1:4323"]


class Member:
    """A node in the running loop, and a TCP service of lines: `set KEY VALUE` and `get KEY`."""

    def __init__(self, address):
        self.pairs = ReplDict[str, str]()
        self.node = Node(address, ADDRESSES, consumers={"pairs": self.pairs}, drive="asyncio")

    async def start(self):
        await self.node.wait_ready.submit()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return self.server.sockets[0].getsockname()

    async def stop(self):
        self.server.close()
        await self.server.wait_closed()
        await self.node.close.submit()

    async def serve(self, reader, writer):
        while line := await reader.readline():
            writer.write(f"{await self.answer(line.decode().split())}\n".encode())
            await writer.drain()
        writer.close()

    async def answer(self, words):
        match words:
            case ["set", key, value]:
                await self.pairs.set.submit(key, value)
                return "ok"
            case ["get", key]:
                await self.node.barrier.submit()  # without it: a local read, perhaps a moment old
                return self.pairs.get(key, "?")
            case _:
                return "set KEY VALUE, or get KEY"


async def ask(where, *lines):
    reader, writer = await asyncio.open_connection(*where)
    answers = []
    for line in lines:
        writer.write(f"{line}\n".encode())
        answers.append((await reader.readline()).decode().strip())
    writer.close()
    await writer.wait_closed()
    return answers


async def main():
    members = [Member(address) for address in ADDRESSES]
    services = await asyncio.gather(*(member.start() for member in members))
    print(await ask(services[0], "set ann 7", "set bob 8", "get ann"))
    answers = await ask(services[2], "get ann", "get bob", "get eve")
    print(answers)
    await asyncio.gather(*(member.stop() for member in members))
    return answers != ["7", "8", "?"]


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
