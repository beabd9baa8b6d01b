"""Readers of a topic on real nodes: in threads and in asyncio."""

import asyncio
import threading

import pytest

from syncstructs import BlockingCall, Node, ReplTopic
from syncstructs.cli.processes import free_addresses


def test_a_reader_in_a_thread_is_woken_by_each_message_and_by_the_end():
    topic = ReplTopic[int]()
    with Node(free_addresses(1)[0], consumers={"topic": topic}):
        seen, woken = [], threading.Semaphore(0)

        def read():
            for message in topic.messages(0):
                seen.append(message)
                woken.release()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        for number in range(3):
            assert topic.publish(number) == number
            # It has nothing left by then, and waits.
            assert woken.acquire(timeout=20)
    reader.join(20)
    assert not reader.is_alive()
    assert seen == [(0, 0), (1, 1), (2, 2)]


def test_subscribers_in_asyncio_wait_and_commit_without_blocking_the_loop():
    async def serve():
        topic = ReplTopic[str]()
        async with Node(free_addresses(1)[0], consumers={"topic": topic}, drive="asyncio"):
            with pytest.raises(BlockingCall):
                next(topic.messages())
            billing = topic.subscriber("billing")
            first = asyncio.ensure_future(anext(billing))
            await asyncio.sleep(0)
            assert not first.done()
            await topic.publish.submit("a")
            assert await asyncio.wait_for(first, 20) == (0, "a")
            assert await billing.commit.submit() == 1
            return topic.subscribers(), billing.lag

    assert asyncio.run(serve()) == ({"billing": 1}, 0)
