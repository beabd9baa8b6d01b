"""The HTTP server: it shows, it changes nothing, and what strangers do costs little."""

import asyncio
import asyncio.selector_events
import gc
import http.client
import json
import re
import socket
import struct
import threading
from contextlib import ExitStack, suppress
from types import SimpleNamespace

import pytest

from syncstructs import BindError, ConfigError, Node, NodeClosed, ReplDict
from syncstructs.cli.processes import free_addresses
from syncstructs.monitor import render, serve, server


@pytest.fixture
def node():
    [address] = free_addresses(1)
    with Node(address, consumers={"users": ReplDict()}) as made:
        yield made


@pytest.fixture
def monitor(node):
    [address] = free_addresses(1)
    with serve(node, address) as made:
        yield made


def connect(monitor):
    host, _, port = monitor.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(monitor, data):
    """Send bytes and return all that comes until the other side closes."""
    with connect(monitor) as stream:
        stream.sendall(data)
        return everything(stream)


def everything(stream):
    parts = []
    while part := stream.recv(65536):
        parts.append(part)
    return b"".join(parts)


def is_cut(stream, seconds=30):
    """Wait so long for the other side's end; whether it came."""
    stream.settimeout(seconds)
    try:
        return not stream.recv(1)
    except TimeoutError:
        return False
    except OSError:
        return True


def get(monitor, path, method="GET"):
    connection = http.client.HTTPConnection(monitor.address, timeout=30)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


# What is shown


def test_the_page_is_one_file_that_asks_nobody_else(monitor):
    response, body = get(monitor, "/")
    assert response.status == 200
    assert response.getheader("Content-Type") == "text/html; charset=utf-8"
    assert "default-src 'none'" in response.getheader("Content-Security-Policy")
    page = body.decode()
    assert page.startswith("<!doctype html>")
    assert "prefers-color-scheme: dark" in page
    # The name space of SVG is a name; nothing is loaded from there.
    assert set(re.findall(r"https?://[^\"'\s]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"\b(src|href)=|innerHTML|document\.write|\beval\b", page)
    assert get(monitor, "/?x=1")[1] == body


def test_status_and_metrics_are_those_of_the_node(node, monitor):
    node.objects["users"]["ann"] = 7
    response, body = get(monitor, "/status")
    assert response.getheader("Content-Type") == "application/json"
    status = json.loads(body)
    assert status["address"] == node.address
    assert status["objects"] == {"users": {"type": "syncstructs.structs.dicts.ReplDict"}}
    response, body = get(monitor, "/metrics")
    assert response.getheader("Content-Type") == "text/plain; version=0.0.4; charset=utf-8"
    names = re.compile(r"^\w+", re.MULTILINE)
    assert names.findall(body.decode()) == names.findall(render(node.status()))


def test_the_whole_cluster_is_shown_by_each_member():
    addresses = free_addresses(3)
    ports = free_addresses(3)
    with ExitStack() as stack:
        nodes = [stack.enter_context(node) for node in [Node(a, addresses) for a in addresses]]
        for node in nodes:
            node.barrier(timeout=30)
        for node, port in zip(nodes, ports, strict=True):
            monitor = stack.enter_context(serve(node, port))
            seen = json.loads(get(monitor, "/cluster")[1])
            assert seen["asked"] == node.address
            assert {a: s["address"] for a, s in seen["members"].items()} == {
                a: a for a in addresses
            }
            leader = seen["members"][node.leader]
            assert sorted([leader["address"], *leader["peers"]]) == sorted(addresses)


def test_a_node_that_nobody_ticks_shows_at_least_itself():
    address, other, port = free_addresses(3)
    node, linked = Node(address, [other], drive="manual"), Node(other, [address])
    with serve(node, port) as monitor:
        while other not in node.status()["connected"]:
            node.tick(0.1)
        # Now it has somebody to ask, and nobody has it send or hear anything.
        seen = json.loads(get(monitor, "/cluster")[1])
        assert seen["members"][other] is None
        assert seen["members"][address]["address"] == address
    linked.close()
    node.close()


def test_a_node_in_an_event_loop_is_shown_beside_it():
    address, other, port = free_addresses(3)

    async def live():
        node, linked = (
            Node(address, [other], drive="asyncio"), Node(other, [address], drive="asyncio")
        )  # fmt: skip
        async with node, linked:
            with serve(node, port) as monitor:
                body = (await asyncio.to_thread(get, monitor, "/cluster"))[1]
        return json.loads(body)

    seen = asyncio.run(asyncio.wait_for(live(), 60))
    assert {a: s["address"] for a, s in seen["members"].items()} == {address: address, other: other}


def test_head_tells_the_length_without_the_body(monitor):
    shown, page = get(monitor, "/")
    response, body = get(monitor, "/", "HEAD")
    assert (response.status, body) == (200, b"")
    assert response.getheader("Content-Length") == shown.getheader("Content-Length")
    assert int(shown.getheader("Content-Length")) == len(page)
    assert exchange(monitor, b"HEAD / HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n")


# What is refused


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "get"])
def test_nothing_but_looking_is_possible(monitor, method):
    answer = exchange(monitor, f"{method} /status HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 405 Method Not Allowed\r\n")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd", "/..%2f..%2fetc/passwd", "//etc/passwd", "/page.html/", "/./",
        "/static/../page.html", "file:///etc/passwd", "http://elsewhere/", "/STATUS", "/status/",
        "*", "/%00", "\\..\\x",
    ],
)  # fmt: skip
def test_there_is_nothing_but_the_paths_of_the_table(monitor, path):
    answer = exchange(monitor, f"GET {path} HTTP/1.1\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"root:" not in answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"\r\n\r\n", 400), (b"GET\r\n\r\n", 400), (b"GET / \r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\n\n", 400), (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1 x\r\n\r\n", 400), (b"syncstructs\x00\x01\n\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505), (b"GET / HTTP/9\r\n\r\n", 505),
    ],
)  # fmt: skip
def test_what_is_no_request_gets_a_sentence(monitor, request_, status):
    answer = exchange(monitor, request_)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert get(monitor, "/")[0].status == 200


def asked_as(monitor, host):
    return exchange(monitor, b"GET /status HTTP/1.1\r\nX: y\r\nhOsT:%s\r\n\r\n" % host)


@pytest.mark.parametrize(
    "host",
    [
        b" localhost", b"localhost:8080", b" LOCALHOST.:1 ", b"a.localhost", b"127.0.0.1",
        b"10.1.2.3:80", b"[::1]:8080", b"[fe80::1]", b"Node1.Example.org:8080", b"",
    ],
)  # fmt: skip
def test_it_answers_to_names_that_it_was_given_and_to_numbers(node, host):
    [address] = free_addresses(1)
    with serve(node, address, hosts=["node1.example.ORG"]) as monitor:
        assert asked_as(monitor, host).startswith(b"HTTP/1.1 200 "), host


@pytest.mark.parametrize(
    "host",
    [
        b"evil.example", b"evil.example:8080", b"127.0.0.1.evil.example", b"localhost.evil.example",
        b"notlocalhost", b"evil.example:127.0.0.1", b"\xff\x00", b"<script>", b"x" * 5000,
    ],
)  # fmt: skip
def test_a_name_that_is_made_to_point_here_shows_nothing(monitor, host):
    answer = asked_as(monitor, b" " + host)
    assert answer.startswith(b"HTTP/1.1 421 Misdirected Request\r\n")
    assert b"does not answer to the name '" in answer
    assert b"applied_index" not in answer


def test_two_names_in_one_request_are_refused(monitor):
    answer = exchange(monitor, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_hosts_are_a_list_of_names(node):
    for hosts in ("localhost", [7]):
        with pytest.raises(ConfigError, match="must be a list of names"):
            serve(node, "127.0.0.1:1", hosts=hosts)


def test_a_huge_request_is_answered_and_costs_a_few_kib(monitor):
    with connect(monitor) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nX: " + b"x" * (server.REQUEST_BYTES * 20))
        assert everything(stream).startswith(b"HTTP/1.1 431 ")
    # The last one that fits is served, and the end may come in any pieces.
    rest = server.REQUEST_BYTES - len(b"GET / HTTP/1.1\r\nX: \r\n\r\n")
    whole = b"GET / HTTP/1.1\r\nX: " + b"x" * rest + b"\r\n\r\n"
    assert exchange(monitor, whole).startswith(b"HTTP/1.1 200 ")
    assert exchange(monitor, whole.replace(b"X: ", b"X: x")).startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("end", [b"\r\n\r\n", b"\n\n"])
def test_a_request_may_come_byte_by_byte(end):
    asked = []
    watched = SimpleNamespace(
        _context=None,
        _admit=lambda _: True,
        _judge=lambda *_: None,
        _loop=SimpleNamespace(call_later=lambda *_: None),
        _spawn=lambda work: (asked.append(work), work.close()),
    )
    connection = server._Connection(watched)
    connection.connection_made(SimpleNamespace(get_extra_info=lambda _: ("127.0.0.1", 5)))
    for byte in b"GET /status HTTP/1.0\r\nHost: x" + end:
        assert not asked
        connection.get_buffer(-1)[0] = byte
        connection.buffer_updated(1)
    assert len(asked) == 1


def test_a_request_that_never_comes_to_its_end_gets_none(monitor):
    with connect(monitor) as stream:
        stream.sendall(b"GET /status HT")
        stream.shutdown(socket.SHUT_WR)
        assert everything(stream) == b""


def test_who_has_asked_may_close_one_side_and_wait_on_the_other(monitor, monkeypatch):
    half_closed = threading.Event()
    release = asyncio.Event()
    hear = server._Connection.eof_received

    async def slow():
        await release.wait()
        return server.Response(200, "text/plain", b"late")

    def eof_received(self):
        half_closed.set()
        return hear(self)

    monkeypatch.setattr(server._Connection, "eof_received", eof_received)
    monitor._shown._makers["/cluster"] = slow
    with connect(monitor) as stream:
        stream.sendall(b"GET /cluster HTTP/1.1\n\n")
        stream.shutdown(socket.SHUT_WR)
        assert half_closed.wait(30)
        monitor._loop.call_soon_threadsafe(release.set)
        assert everything(stream).endswith(b"late")


# What strangers can cost


def test_two_thousand_idle_connections_keep_nobody_out(monitor):
    with ExitStack() as stack:
        # In this process both ends count: fewer at a time, as many in all.
        for _ in range(4):
            idle = [stack.enter_context(connect(monitor)) for _ in range(500)]
            assert get(monitor, "/status")[0].status == 200
            assert len(monitor._connections) <= server.CONNECTION_COUNT
            for stream in idle:
                stream.close()
        assert get(monitor, "/metrics")[0].status == 200


def test_those_who_have_asked_are_not_driven_out_by_idle_ones(monitor):
    asked = threading.Event()
    release = asyncio.Event()

    async def slow():
        asked.set()
        await release.wait()
        return server.Response(200, "text/plain", b"late")

    monitor._shown._makers["/cluster"] = slow
    with connect(monitor) as stream, ExitStack() as stack:
        stream.sendall(b"GET /cluster HTTP/1.1\r\n\r\n")
        assert asked.wait(30)
        for _ in range(2 * server.CONNECTION_COUNT):
            stack.enter_context(connect(monitor))
        assert get(monitor, "/status")[0].status == 200
        monitor._loop.call_soon_threadsafe(release.set)
        assert everything(stream).endswith(b"late")


def test_where_all_wait_for_an_answer_one_more_is_turned_away(monitor):
    asked = threading.Semaphore(0)
    ask = server._Connection._ask
    release = asyncio.Event()

    async def slow():
        await release.wait()
        return server.Response(200, "text/plain", b"late")

    monitor._shown._makers["/cluster"] = slow
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:
        patch.setattr(
            server._Connection, "_ask", lambda self, request: (ask(self, request), asked.release())
        )
        streams = [stack.enter_context(connect(monitor)) for _ in range(server.CONNECTION_COUNT)]
        for stream in streams:
            stream.sendall(b"GET /cluster HTTP/1.1\r\n\r\n")
        for _ in streams:
            assert asked.acquire(timeout=30)
        with connect(monitor) as late:
            assert is_cut(late)
        monitor._loop.call_soon_threadsafe(release.set)
        assert all(everything(stream).endswith(b"late") for stream in streams)


def test_who_sends_slowly_is_cut(node, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    [address] = free_addresses(1)
    with serve(node, address) as monitor, connect(monitor) as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nX: ")
        # It is cut although something always comes: nothing puts the end off.
        while not is_cut(stream, seconds=0.01):
            with suppress(OSError):
                stream.sendall(b"x")
        assert not monitor._connections


def test_who_does_not_read_is_cut(node, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    lost = threading.Event()
    end = server._Connection.connection_lost
    monkeypatch.setattr(
        server._Connection, "connection_lost", lambda self, error: (end(self, error), lost.set())
    )
    [address] = free_addresses(1)
    with serve(node, address) as monitor, connect(monitor) as stream:
        monitor._shown._page = server.Response(200, "text/html", b"x" * 50_000_000)
        stream.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert lost.wait(30)
        assert not monitor._connections


def test_who_resets_the_connection_under_the_answer_leaves_no_trace(monitor, monkeypatch):
    stream = connect(monitor)
    # The end of a socket that lingers for 0 s is a reset.
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    told, cut = [], threading.Event()
    monitor._loop.call_soon_threadsafe(
        monitor._loop.set_exception_handler, lambda _, context: told.append(context)
    )
    gone = monitor._gone
    write = asyncio.selector_events._SelectorSocketTransport.write

    def write_to_who_leaves(transport, data):
        write(transport, data)
        stream.close()

    monkeypatch.setattr(
        asyncio.selector_events._SelectorSocketTransport, "write", write_to_who_leaves
    )
    monkeypatch.setattr(monitor, "_gone", lambda connection: (gone(connection), cut.set()))
    stream.sendall(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert cut.wait(30)
    monkeypatch.undo()
    assert get(monitor, "/status")[0].status == 200
    gc.collect()
    assert told == []


@pytest.mark.pure("a method is changed")
def test_however_many_look_the_node_is_asked_once_in_a_while(monitor, monkeypatch):
    monkeypatch.setattr(server, "FRESH_SECONDS", 1000.0)
    engine = monitor._shown._engine
    status, count = engine.status, []
    monkeypatch.setattr(engine, "status", lambda: (count.append(1), status())[1])
    for _ in range(30):
        get(monitor, "/metrics")
    assert len(count) == 1
    monkeypatch.setattr(server, "FRESH_SECONDS", 0.0)
    get(monitor, "/metrics")
    get(monitor, "/metrics")
    assert len(count) == 3


@pytest.mark.pure("a method is changed")
def test_a_status_that_fails_is_told_and_logged_and_the_next_one_is_tried(monitor, monkeypatch):
    monkeypatch.setattr(server, "FRESH_SECONDS", 0.0)

    def fail():
        raise RuntimeError("a bug")

    with monkeypatch.context() as patch:
        patch.setattr(monitor._shown._engine, "status", fail)
        response, body = get(monitor, "/status")
    assert response.status == 500
    assert b"a bug" not in body
    assert get(monitor, "/status")[0].status == 200


# Life


def test_it_ends_with_its_node_and_gives_the_port_free():
    address, port = free_addresses(2)
    node = Node(address)
    monitor = serve(node, port)
    idle = connect(monitor)
    node.close()
    monitor._thread.join(30)
    assert not monitor._thread.is_alive()
    with idle:
        assert is_cut(idle)
    with pytest.raises(NodeClosed):
        serve(node, port)
    with Node(address) as second:
        again = serve(second, port)
        assert get(again, "/")[0].status == 200
        again.close()
        again.close()
        assert not again._thread.is_alive()
        # The node goes on without it.
        assert second.status()["failure"] is None


@pytest.mark.parametrize("steps", range(8))
def test_who_comes_in_the_moment_of_the_end_is_cut_as_well(node, steps):
    """The end comes so many steps of the loop after the connection."""
    [address] = free_addresses(1)
    monitor = serve(node, address)
    made = []

    def end_after(count):
        if not made:
            made.append(connect(monitor))
        if count:
            monitor._loop.call_soon(end_after, count - 1)
        else:
            monitor._closing.set()

    monitor._loop.call_soon_threadsafe(end_after, steps)
    monitor._thread.join(30)
    assert not monitor._thread.is_alive()
    with made[0] as stream:
        assert is_cut(stream, seconds=5)


def test_an_address_that_cannot_be_had_is_told_at_once(node, monitor):
    with pytest.raises(BindError, match="in use"):
        serve(node, monitor.address)
    with pytest.raises(ConfigError, match="address of the monitor"):
        serve(node, "8080")
    with pytest.raises(ConfigError, match="is no Node"):
        serve("127.0.0.1:4321")


def test_it_listens_on_this_machine_only_unless_told_otherwise():
    assert server.serve.__defaults__ == ("127.0.0.1:8080",)
