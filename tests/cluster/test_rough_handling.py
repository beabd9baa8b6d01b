"""What programs do to nodes by mistake, and the least clusters there are."""

import asyncio
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack

import pytest

from syncstructs import (
    Node,
    ReplCounter,
    ReplDict,
    Replicated,
    ReplLock,
    ReplQueue,
    SyncObj,
    Withdrawn,
    replicated,
)
from syncstructs.cli.main import main
from syncstructs.cli.processes import free_addresses
from syncstructs.errors import ConfigError, ObjectMismatch, Timeout
from syncstructs.node.runners import new_loop
from syncstructs.testing.simulator import Simulation


@pytest.fixture
def address():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{listener.getsockname()[1]}"


class Rude(Replicated):
    """Raises what no `except Exception` catches."""

    def __init__(self):
        self.count = 0

    @replicated
    def raises(self, kind):
        self.count += 1
        raise {"cancelled": asyncio.CancelledError, "exit": GeneratorExit, "own": Own}[kind]("why")


class Own(BaseException):
    pass


@pytest.mark.parametrize("kind", ["cancelled", "exit", "own"])
def test_whatever_a_method_raises_ends_its_own_call_only(address, tmp_path, kind):
    rude = Rude()
    with Node(address, consumers={"rude": rude}, data_dir=str(tmp_path)):
        with pytest.raises(RuntimeError, match=r"raised \w+, which is no Exception: why"):
            rude.raises(kind)
        assert rude.count == 1
    # The log has it for ever; a restart applies it again.
    rude = Rude()
    with Node(address, consumers={"rude": rude}, data_dir=str(tmp_path)):
        assert rude.count == 1


def test_a_lone_node_keeps_its_lock_for_as_long_as_it_lives():
    lost = []
    simulation = Simulation(
        1, {"lock": lambda: ReplLock(on_lost=lambda: lost.append(1))}, size=1, session_ttl=2.0
    )
    simulation.start()
    acquired = simulation.objects("n1:1")["lock"].acquire.submit()
    simulation.run_until(acquired.done)
    for _ in range(40):
        simulation.run(0.5)
        assert simulation.objects("n1:1")["lock"].held
    simulation.hosts["n1:1"].pause(simulation.now + 30.0)
    simulation.run(40.0)
    # Nobody else can have got it meanwhile.
    assert simulation.objects("n1:1")["lock"].held
    assert not lost


class Book(SyncObj):
    def __init__(self, address, partners):
        super().__init__(address, partners)
        self.lines = []

    @replicated
    def write(self, line):
        self.lines.append(line)
        return len(self.lines)


def test_an_object_that_is_a_node_has_all_that_a_node_has():
    addresses = free_addresses(3)
    books = [Book(address, addresses) for address in addresses]
    try:
        books[0].wait_ready(10.0)
        books[0].write("zero")
        for number, book in enumerate(books, 1):
            # Whose state came from another member, for two of them.
            book.wait_ready(10.0)
            book.barrier(5.0)
            assert len(book.lines) == number
            hits = book.create(f"hits{number}", ReplCounter)
            with book.batch():
                book.write.submit("more")
                hits.inc.submit()
            assert (len(book.lines), hits.value) == (number + 1, 1)
            book.attach(f"users{number}", ReplDict())
            with book.reading():
                assert {"self", f"hits{number}", f"users{number}"} <= set(book.objects)
            book.drop(f"hits{number}")
            assert book.status()["address"] == book.address
            assert book.leader in book.members
            assert book.is_leader == (book.leader == book.address)
    finally:
        for book in books:
            book.close()


def test_a_block_that_is_never_entered_leaves_no_node_behind(address, tmp_path):
    room = str(tmp_path)
    with Node(address, consumers={"it": ReplCounter()}, data_dir=room):
        pass
    for _ in range(2):
        node = Node(address, consumers={"it": ReplDict()}, data_dir=room)
        with pytest.raises(ObjectMismatch), node:
            pytest.fail("entered")
    with Node(address, consumers={"it": ReplCounter()}, data_dir=room):
        pass


def test_an_async_block_that_is_never_entered_leaves_no_node_behind(address, tmp_path):
    room = str(tmp_path)

    async def enter():
        node = Node(address, ["127.0.0.1:9", "127.0.0.1:10"], drive="asyncio", data_dir=room)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2), node:
                pytest.fail("entered")

    asyncio.run(enter())
    asyncio.run(enter())


def test_exit_in_a_callback_of_a_lock_ends_neither_the_node_nor_its_close(address):
    lock = ReplLock(on_lost=sys.exit)
    node = Node(address, consumers={"lock": lock})
    node.wait_ready(5.0)
    lock.acquire()
    node.close(5.0)
    assert not lock.held


def raiser(kind, ran):
    def callback(*_):
        ran.append(kind)
        raise kind("mine")

    return callback


@pytest.mark.parametrize(
    "kind", [ValueError, SystemExit, asyncio.CancelledError, GeneratorExit, KeyboardInterrupt, Own]
)
def test_whatever_a_callback_of_a_call_raises_the_node_goes_on(address, kind):
    hits, ran = ReplCounter(), []
    with Node(address, consumers={"hits": hits}, call_timeout=10.0):
        # One that comes too late runs where it is added: not in the main thread, as there it might
        # be the Ctrl-C of who adds it, who gets that.
        adder = threading.Thread(
            target=lambda: hits.inc.submit().add_done_callback(raiser(kind, ran))
        )
        adder.start()
        adder.join()
        assert hits.add(1) == 2
    assert ran == [kind]


@pytest.mark.parametrize("kind", [ValueError, SystemExit, asyncio.CancelledError, Own])
def test_whatever_subscribers_and_holders_of_locks_raise_the_node_goes_on(address, kind):
    users, told, lost = ReplDict(), [], []
    lock = ReplLock(on_lost=raiser(kind, lost))
    with Node(address, consumers={"users": users, "lock": lock}, call_timeout=10.0):
        users.subscribe(raiser(kind, told))
        users["ann"] = 7
        users["bob"] = 8
        lock.acquire()
    assert users == {"ann": 7, "bob": 8}
    assert len(told) >= 2, told
    assert lost == [kind]


def eventually(condition):
    end = time.monotonic() + 10.0
    while not condition():
        assert time.monotonic() < end, "it did not come to it"
        time.sleep(0.01)


def free_at(address):
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, port = address.split(":")
        sock.bind((host, int(port)))
        sock.listen()
    return True


@pytest.mark.parametrize("make", [asyncio.new_event_loop, new_loop])
def test_a_loop_that_is_closed_under_a_node_leaves_neither_port_nor_links(make):
    first, second = free_addresses(2)
    with Node(first, consumers={"hits": ReplCounter()}) as other:
        loop = make()

        async def observe():
            observer = Node(None, [first], drive="asyncio")
            node = Node(second, drive="asyncio")
            await observer.wait_ready.submit(10)
            await node.wait_ready.submit(10)
            return observer, node

        observer, node = loop.run_until_complete(observe())
        assert other._engine._network.guests() == (observer.address,)
        loop.close()
        node.close()
        observer.close()
        assert free_at(second)
        eventually(lambda: not other._engine._network.guests())


_CLOSED_AT_EXIT = """
import asyncio, atexit, sys
from syncstructs import Node

async def main():
    node = Node(sys.argv[1], drive="asyncio", data_dir=sys.argv[2])
    await node.wait_ready.submit(10)
    return node

def close():
    node.close()
    print("closed", node._engine.closed.done())

loop = asyncio.new_event_loop()
node = loop.run_until_complete(main())
loop.close()
atexit.register(close)
"""


def test_a_node_whose_loop_is_closed_can_be_closed_as_the_interpreter_ends(address, tmp_path):
    ended = subprocess.run(
        [sys.executable, "-c", _CLOSED_AT_EXIT, address, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stdout == "closed True\n", ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("how", ["beside a tick", "by ticks alone"])
def test_a_manual_node_that_was_closed_leaves_no_loop(address, tmp_path, how):
    node = Node(address, drive="manual", data_dir=str(tmp_path))
    node.wait_ready(10)
    if how == "beside a tick":
        def tick():
            while not node._engine.closed.done():
                node.tick(60.0)

        ticker = threading.Thread(target=tick)
        ticker.start()
        eventually(node._engine.runner.loop.is_running)
        node.close()
        ticker.join(10)
        assert not ticker.is_alive()
    else:
        closing = node.close.submit()
        while not closing.done():
            node.tick(0.1)
    assert node._engine.runner.loop.is_closed()


def test_what_nobody_was_asked_in_time_is_not_done_when_there_is_a_leader_again():
    addresses = free_addresses(3)
    first, second, third = addresses
    with ExitStack() as stack:
        alone = Node(first, addresses, consumers={"hits": ReplCounter()})
        stack.callback(alone.close)
        with pytest.raises(Withdrawn, match="nothing changes"):
            alone.remove_member(third, timeout=0.3)
        with pytest.raises(Withdrawn, match="nothing changes"):
            alone.set_version(1, timeout=0.3)
        removing = alone.remove_member.submit(third)
        assert removing.cancel()
        stack.enter_context(Node(second, addresses, consumers={"hits": ReplCounter()}))
        # It comes after all that was queued before it.
        alone.barrier(timeout=20)
        assert alone.objects["hits"].inc() == 1
        assert alone.members == tuple(sorted(addresses))


class Quitter(Replicated):
    @replicated
    def quit(self):
        sys.exit(3)


def test_exit_in_a_method_stops_the_node_which_can_be_closed(address):
    quitter = Quitter()
    node = Node(address, consumers={"quitter": quitter}, call_timeout=5.0)
    node.wait_ready(5.0)
    with pytest.raises(Exception, match="interrupted"):
        quitter.quit()
    node.close(5.0)
    with pytest.raises(Exception, match="interrupted"):
        quitter.quit()


def test_a_timeout_of_a_node_without_a_quorum_is_not_a_leak(address):
    node = Node(address, ["127.0.0.1:9", "127.0.0.1:10"])
    with pytest.raises(Timeout):
        node.wait_ready(0.1)
    node.close(5.0)


def test_nothing_that_waits_can_be_part_of_a_batch(address):
    lock, jobs, hits = ReplLock(), ReplQueue(), ReplCounter()
    with Node(address, consumers={"lock": lock, "jobs": jobs, "hits": hits}) as node:
        waits = [
            lock.acquire, lock.acquire.submit, lock.__enter__, jobs.get, jobs.get.submit,
            lambda: lock.acquire(False), lambda: jobs.put("item"), lambda: node.barrier(),
            lambda: node.create("more", ReplCounter),
        ]  # fmt: skip
        for wait in waits:
            with node.batch():
                hits.inc()
                with pytest.raises(RuntimeError, match="a batch or a transaction does not have"):
                    wait()
        assert hits.value == len(waits)
        assert not lock.locked()
        assert jobs.empty()
        with lock, node.batch():
            jobs.put_nowait("item")
        assert jobs.get_nowait() == "item"


def test_names_that_a_node_needs_for_itself_are_refused(address):
    with pytest.raises(TypeError, match=r"Sealed\.close would hide what every node has"):

        class Sealed(SyncObj):
            @replicated
            def close(self):
                pass

    with pytest.raises(TypeError, match=r"Hidden\._ready would hide"):

        class Hidden(SyncObj):
            _ready = False

    class Early(SyncObj):
        def __init__(self, address):
            super().__init__(address)
            self._ready = False

    with pytest.raises(TypeError, match="Early has set one of _attached, _consumers"):
        Early(address)

    class Polite(SyncObj):
        closed = False

        def close(self):
            type(self).closed = True
            super().close()

    polite = Polite(address)
    polite.wait_ready(5.0)
    polite.close()
    assert Polite.closed


def test_what_is_no_command_and_no_class_is_refused_in_a_sentence(address, tmp_path):
    with pytest.raises(TypeError, match=r"later.* is a coroutine or a generator"):

        class Later(Replicated):
            @replicated
            async def later(self):
                pass

    with pytest.raises(TypeError, match=r"some.* is a coroutine or a generator"):

        class Some(Replicated):
            @replicated
            def some(self):
                yield 1

    with Node(address) as node:
        with pytest.raises(ConfigError, match="no class of replicated objects"):
            node.create("it", dict)
        with pytest.raises(ConfigError, match="cannot be printed"):
            node.create("\ud800", ReplCounter)
    file = tmp_path / "file"
    file.write_text("")
    assert main(["demo", "--data-dir", str(file)]) == 2
