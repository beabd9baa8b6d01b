"""Workers that a server forks, each with an observer of its own, as gunicorn and
`multiprocessing` have them."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from syncstructs import Node, ReplCounter
from syncstructs.cli.processes import free_addresses, import_path

EXAMPLES = Path(__file__).parents[2] / "examples"
pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs fork")


@pytest.fixture
def member():
    (address,) = free_addresses(1)
    with Node(address, consumers={"hits": ReplCounter()}) as node:
        yield node


def sessions(node):
    node.barrier(30)
    return {address for address, _ in node._engine.replica.table.sessions.live().values()}


def wait_for(condition):
    deadline = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_gunicorn_workers_share_a_counter(member):
    (bind,) = free_addresses(1)
    server = subprocess.Popen(
        [sys.executable, "-m", "gunicorn", "--workers", "2", "--threads", "2", "--bind", bind,
         "--chdir", str(EXAMPLES), "--log-level", "warning", "web_workers:app"],
        env={**os.environ, "SERVERS": member.address, "PYTHONPATH": import_path()},
    )  # fmt: skip
    try:
        # Both have imported the application, and made their node.
        wait_for(lambda: len(sessions(member)) == 3)

        def get(_):
            with urllib.request.urlopen(f"http://{bind}/", timeout=30) as answer:
                return answer.read().decode().split()

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(get, range(60)))
        assert sorted(int(words[0]) for words in answers) == list(range(1, 61))
        assert member.objects["hits"].value == 60
    finally:
        server.send_signal(signal.SIGTERM)
        code = server.wait(30)
    assert code == 0
    # They have said goodbye: nobody waits for a session to expire.
    assert sessions(member) == {member.address}


def _count(servers, results):
    hits = ReplCounter()
    with Node(None, servers, consumers={"hits": hits}):
        results.put([hits.inc() for _ in range(10)])


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_processes_of_multiprocessing_share_a_counter(member, method):
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    workers = [
        context.Process(target=_count, args=([member.address], results)) for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    counts = sorted(count for _ in workers for count in results.get())
    assert counts == list(range(1, 31))
    assert sessions(member) == {member.address}
