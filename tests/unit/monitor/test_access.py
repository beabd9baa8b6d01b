"""Who may look at the pages of a node: passwords over HTTP, where they may pass, and TLS."""

import asyncio
import base64
import gc
import http.client
import logging
import os
import re
import socket
import ssl
import struct
import subprocess
import threading
import time
from contextlib import ExitStack, suppress
from shutil import which
from types import SimpleNamespace

import pytest
from certificates import Authority

from syncstructs import BindError, ConfigError, Node, ReplDict
from syncstructs.cli.processes import free_addresses
from syncstructs.monitor import guard, serve, server
from syncstructs.net import tls as tls_module
from syncstructs.net.tls import Contexts

PASSWORD, ACCEPTED = "a password of all nodes", "another password of all"
OWN, WRONG = "one of the page's own", "a password of nobody"
PATHS = ("/", "/metrics", "/status", "/cluster", "/index.html")
ABSENT = ("/x", "/../../etc/passwd", "*", "/status/", "http://elsewhere/", "/page.html")


@pytest.fixture(scope="module")
def sealed():
    [address] = free_addresses(1)
    consumers = {"users": ReplDict()}
    with Node(
        address, consumers=consumers, password=PASSWORD, accepted_passwords=[ACCEPTED]
    ) as made:
        yield made


@pytest.fixture(scope="module")
def plain():
    [address] = free_addresses(1)
    with Node(address, consumers={"users": ReplDict()}) as made:
        yield made


@pytest.fixture
def monitor(sealed):
    with serve(sealed, *free_addresses(1)) as made:
        yield made


def basic(password, user="ann"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def get(monitor, path, password=None, method="GET", **headers):
    connection = http.client.HTTPConnection(monitor.address, timeout=30)
    if password is not None:
        headers["Authorization"] = basic(password)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def exchange(monitor, words):
    host, _, port = monitor.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=30) as stream:
        stream.sendall(words)
        return everything(stream)


def everything(stream):
    parts = []
    while part := stream.recv(65536):
        parts.append(part)
    return b"".join(parts)


# Who may look


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("password", [PASSWORD, ACCEPTED])
def test_whoever_has_a_password_of_the_node_is_shown_all(monitor, method, password):
    for path in PATHS:
        response, body = get(monitor, path, password, method)
        assert response.status == 200, path
        assert bool(body) == (method == "GET")
    assert get(monitor, "/x", password, method)[0].status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_none_is_not_even_told_what_there_is(monitor, method):
    answers = set()
    for path in (*PATHS, *ABSENT):
        for password in (None, WRONG, "", OWN):
            said = "" if password is None else f"Authorization: {basic(password)}\r\n"
            answers.add(exchange(monitor, f"{method} {path} HTTP/1.1\r\n{said}\r\n".encode()))
    [answer] = answers
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b'\r\nWWW-Authenticate: Basic realm="syncstructs", charset="UTF-8"\r\n' in answer
    body = b"this needs the password of the page, under any user name\n"
    assert answer.endswith(b"\r\n\r\n" + (body if method == "GET" else b""))


def test_what_is_no_request_is_told_so_before_and_what_only_shows_changes_nothing(monitor):
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "get"):
        for path in ("/", "/x"):
            words = f"{method} {path} HTTP/1.1\r\nAuthorization: {basic(PASSWORD)}\r\n\r\n"
            assert exchange(monitor, words.encode()).startswith(b"HTTP/1.1 405 ")


def test_a_name_that_is_made_to_point_here_has_nobody_asked_for_the_password(monitor):
    for said in ("", f"Authorization: {basic(PASSWORD)}\r\n", f"Authorization: {basic(WRONG)}\r\n"):
        words = f"GET /status HTTP/1.1\r\nHost: evil.example\r\n{said}\r\n"
        answer = exchange(monitor, words.encode())
        assert answer.startswith(b"HTTP/1.1 421 ")
        assert b"WWW-Authenticate" not in answer
    # Nor can such a page guess.
    assert not monitor._guard._debts


def test_two_passwords_in_one_request_are_refused(monitor):
    said = "".join(f"Authorization: {basic(one)}\r\n" for one in (WRONG, PASSWORD))
    answer = exchange(monitor, f"GET / HTTP/1.1\r\n{said}\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_who_guesses_is_asked_to_wait_and_it_is_logged_once(monitor, monkeypatch, caplog):
    # As if others than this machine could be here.
    monkeypatch.setattr(server, "source_of", lambda host: where)
    where = "10.1.2.3"
    for number in range(guard.GUESS_COUNT):
        assert get(monitor, "/status", f"a guess, number {number}")[0].status == 401
    for password in (PASSWORD, WRONG, "another guess"):
        response, body = get(monitor, "/status", password)
        assert response.status == 429
        assert 0 < int(response.getheader("Retry-After")) <= 60
        assert b"wait, and try again" in body
        assert response.getheader("WWW-Authenticate") is None
    where = "10.9.9.9"
    assert get(monitor, "/status", PASSWORD)[0].status == 200
    [message] = caplog.messages
    assert message == (
        f"the monitor of {monitor._node.address} is given one wrong password after the other from"
        " 10.1.2.3"
    )


def test_passwords_are_in_no_log_no_repr_and_no_answer(sealed, plain, caplog):
    caplog.set_level(logging.DEBUG)
    answers = []
    with ExitStack() as stack:
        shown = [
            stack.enter_context(serve(sealed, *free_addresses(1))),
            stack.enter_context(serve(plain, *free_addresses(1), password=OWN)),
        ]
        for monitor in shown:
            monitor._loop.call_soon_threadsafe(monitor._loop.set_debug, True)
            for path in (*PATHS, *ABSENT):
                for password in (PASSWORD, ACCEPTED, OWN, WRONG):
                    answers.append(get(monitor, path, password)[1])
        held = repr([(monitor, vars(monitor), vars(monitor._guard)) for monitor in shown])
        words = f"GET / HTTP/1.1\r\nAuthorization: {basic(OWN)}\r\n\r\n"
        held += repr(server.parse(words.encode()))
    assert len(answers) > 50
    told = caplog.text + held + b"".join(answers).decode()
    for password in (PASSWORD, ACCEPTED, OWN, WRONG):
        assert password not in told
        assert basic(password).removeprefix("Basic ") not in told


def test_without_a_password_anywhere_nobody_is_asked_for_one(plain):
    with serve(plain, *free_addresses(1)) as monitor:
        for password in (None, WRONG):
            assert get(monitor, "/status", password)[0].status == 200


@pytest.mark.parametrize("kind", ["sealed", "plain"])
def test_a_password_of_the_page_is_the_only_one_that_is_taken(kind, request):
    node = request.getfixturevalue(kind)
    with serve(node, *free_addresses(1), password=OWN) as monitor:
        assert get(monitor, "/status", OWN)[0].status == 200
        for password in (None, PASSWORD, ACCEPTED, WRONG):
            assert get(monitor, "/status", password)[0].status == 401


@pytest.mark.parametrize(
    ("password", "why"),
    [("short secret"[:11], "password of the monitor has 11 characters; take at least 12"),
     ("", "has 0 characters"), (b"bytes are no password", "must be a string, not bytes"),
     ("x" * 20 + "\ud800", "not Unicode text")],
)  # fmt: skip
def test_what_is_no_password_is_refused_without_being_shown(plain, password, why):
    with pytest.raises(ConfigError, match=why) as caught:
        serve(plain, "127.0.0.1:1", password=password)
    if password:
        assert str(password) not in str(caught.value)


@pytest.mark.skipif(which("curl") is None, reason="needs curl")
def test_curl_is_served(monitor):
    def curl(*arguments):
        done = subprocess.run(
            ["curl", "-sS", "-o", "-", "-w", "%{http_code}", *arguments, monitor.url + "metrics"],
            capture_output=True, text=True, timeout=60, check=True, env={"NO_PROXY": "*"},
        )  # fmt: skip
        return done.stdout

    assert curl("-u", f"syncstructs:{PASSWORD}").endswith("200")
    # Here curl asks first without one.
    assert "syncstructs_is_leader" in curl("--anyauth", "-u", f"syncstructs:{PASSWORD}")
    assert curl("-u", f"syncstructs:{WRONG}").endswith("401")
    assert curl().endswith("401")


# Where the password of the nodes may pass


def bound_to(monitor):
    return [sock.getsockname()[0] for sock in monitor._listening]


def port_of(address):
    return address.rpartition(":")[2]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.7", "[::1]", "localhost"])
def test_on_this_machine_the_password_of_the_nodes_is_taken(sealed, host, caplog):
    [free] = free_addresses(1)
    with serve(sealed, f"{host}:{port_of(free)}") as monitor:
        assert get(monitor, "/status", PASSWORD)[0].status == 200
        assert get(monitor, "/status")[0].status == 401
    assert not caplog.messages


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]"])
@pytest.mark.parametrize("given", [None, PASSWORD, ACCEPTED])
def test_elsewhere_it_would_pass_in_clear_and_is_refused(sealed, host, given):
    [free] = free_addresses(1)
    address = f"{host}:{port_of(free)}"
    with pytest.raises(ConfigError, match="would have the node's password pass in clear") as caught:
        serve(sealed, address, password=given)
    assert "serve(password=...)" in str(caught.value)
    assert PASSWORD not in str(caught.value)
    # The port is free again, and with a password of its own the page may be there.
    with serve(sealed, address, password=OWN) as monitor:
        shown = [monitor, f"127.0.0.1:{port_of(free)}"]
        assert bound_to(monitor) == [host.strip("[]")]
        shown[0]._address = shown[1]
        assert get(monitor, "/status", OWN)[0].status == 200
        assert get(monitor, "/status", PASSWORD)[0].status == 401


def test_it_counts_what_a_name_stands_for_and_not_what_it_is_called(sealed, plain, monkeypatch):
    """As if 'localhost' was not this machine alone."""
    look_up, chosen = socket.getaddrinfo, None

    def elsewhere(host, *arguments, flags=0, **options):
        if host in ("localhost", "inside.example") and not flags & socket.AI_NUMERICHOST:
            return [found for one in chosen for found in look_up(one, *arguments, **options)]
        return look_up(host, *arguments, flags=flags, **options)

    monkeypatch.setattr(socket, "getaddrinfo", elsewhere)
    for name, chosen in (
        ("localhost", ["0.0.0.0"]), ("localhost", ["127.0.0.1", "0.0.0.0"]),
        ("localhost", ["127.0.0.1", "::"]), ("inside.example", ["0.0.0.0"]),
    ):  # fmt: skip
        [free] = free_addresses(1)
        # Linux gives no port to 0.0.0.0 that 127.0.0.1 has, and others do.
        with pytest.raises((ConfigError, BindError)) as caught:
            serve(sealed, f"{name}:{port_of(free)}")
        if len(chosen) == 1:
            assert isinstance(caught.value, ConfigError)
            assert "(0.0.0.0)" in str(caught.value)
    chosen = ["127.0.0.1"]
    with serve(sealed, f"inside.example:{port_of(free)}") as monitor:
        assert bound_to(monitor) == ["127.0.0.1"]


def test_a_mapped_address_counts_as_what_it_stands_for(sealed):
    class Socket:
        def __init__(self, host):
            self.host = host

        def getsockname(self):
            return self.host, 1, 0, 0

    monitor = server.Monitor(sealed, "x:1", guard=guard.Guard([PASSWORD]), is_password_of_node=True)
    monitor._check_exposure([Socket("::ffff:127.0.0.1"), Socket("::1")])
    for host in ("::ffff:10.0.0.1", "::", "fe80::1%lo", "192.168.1.1"):
        with pytest.raises(ConfigError, match=re.escape(f"({host})")):
            monitor._check_exposure([Socket("::1"), Socket(host)])
    monitor._loop.close()


def test_who_shows_all_to_everybody_is_told_so_once(plain, caplog):
    [free] = free_addresses(1)
    address = f"0.0.0.0:{port_of(free)}"
    with serve(plain, address):
        pass
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert "asks for no password, so that whoever reaches it may look" in record.getMessage()
    caplog.clear()
    with serve(plain, address, password=OWN), serve(plain, *free_addresses(1)):
        pass
    assert not caplog.records


# TLS, as it can be handed in


@pytest.fixture(scope="module")
def contexts(tmp_path_factory):
    """That of the server of a node, and those of clients with and without a certificate."""
    files = Authority(tmp_path_factory.mktemp("authority")).issue("node", "127.0.0.1")
    made = Contexts(files, "127.0.0.1:1")
    nobody = ssl.create_default_context(cafile=files.ca)
    return made.server, made.client, nobody


@pytest.fixture
def secured(sealed, contexts):
    """A monitor with TLS and, to see both at once, a password."""
    monitor = server.Monitor(
        sealed, *free_addresses(1), guard=guard.Guard([OWN]), is_password_of_node=True,
        context=contexts[0],
    )  # fmt: skip
    monitor._begin()
    with monitor:
        yield monitor


def connect(monitor):
    host, _, port = monitor.address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def get_secured(monitor, context, path, password=OWN, method="GET"):
    connection = http.client.HTTPSConnection(monitor.address, timeout=30, context=context)
    try:
        connection.request(method, path, headers={"Authorization": basic(password)})
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


def test_over_tls_all_is_as_without(secured, contexts, caplog):
    caplog.set_level(logging.DEBUG, "syncstructs")
    assert secured.url.startswith("https://")
    for path in PATHS:
        response, body = get_secured(secured, contexts[1], path)
        assert response.status == 200
        assert len(body) == int(response.getheader("Content-Length")) > 0
    response, body = get_secured(secured, contexts[1], "/status", method="HEAD")
    assert (response.status, body) == (200, b"")
    assert get_secured(secured, contexts[1], "/status", WRONG)[0].status == 401
    assert get_secured(secured, contexts[1], "/x")[0].status == 404
    assert not caplog.messages


def test_over_tls_an_answer_of_any_size_arrives_whole(secured, contexts):
    large = b"x" * 20_000_000
    secured._shown._page = server.Response(200, "text/html", large)
    assert get_secured(secured, contexts[1], "/")[1] == large


@pytest.mark.parametrize("pieces", ["one", "bytes"])
def test_over_tls_a_request_may_come_with_the_end_of_the_handshake_or_in_bytes(
    secured, contexts, pieces
):
    """What comes with it is heard before the server knows what to answer over."""
    words = b"GET /x HTTP/1.1\r\n\r\n"
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = contexts[1].wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    with connect(secured) as stream:
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                stream.sendall(outgoing.read())
                incoming.write(stream.recv(65536))
        # The last flight is not sent yet.
        for piece in [words] if pieces == "one" else [bytes([byte]) for byte in words]:
            tls.write(piece)
        stream.sendall(outgoing.read())
        heard = b""
        while not heard.endswith(b"under any user name\n"):
            try:
                heard += tls.read(65536)
            except ssl.SSLWantReadError:
                part = stream.recv(65536)
                assert part, heard
                incoming.write(part)
    assert heard.startswith(b"HTTP/1.1 401 ")


@pytest.fixture
def certified(tmp_path):
    """A node with certificates, their authority, and contexts of clients with one and without."""
    authority = Authority(tmp_path)
    [address] = free_addresses(1)
    with Node(address, tls=authority.issue("node", "127.0.0.1")) as node:
        node.wait_ready(30)
        own = Contexts(authority.issue("reader"), "observer-1").client
        yield node, authority, own, ssl.create_default_context(cafile=str(authority.ca))


def test_the_page_of_a_node_with_certificates_asks_for_one(certified):
    node, _, own, nobody = certified
    with serve(node, *free_addresses(1)) as monitor:
        assert monitor.url.startswith("https://")
        for path in PATHS:
            assert get_secured(monitor, own, path)[0].status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get_secured(monitor, nobody, "/status")
        with connect(monitor) as stream:
            stream.sendall(b"GET /status HTTP/1.1\r\n\r\n")
            with suppress(ConnectionError):
                assert b"HTTP" not in stream.recv(65536)


def test_a_certificate_with_a_name_that_is_no_text_is_shown_nothing(certified, caplog):
    node, authority, own, _ = certified
    odd = authority.issue("odd", raw_names=b"\x30\x04\x82\x02\xff\xfe")
    context = ssl.create_default_context(cafile=odd.ca)
    context.load_cert_chain(odd.cert, odd.key)
    with serve(node, *free_addresses(1)) as monitor:
        with pytest.raises((OSError, http.client.HTTPException)):
            get_secured(monitor, context, "/status")
        assert is_dropped(monitor)
        assert get_secured(monitor, own, "/status")[0].status == 200
    gc.collect()
    assert "exception was never retrieved" not in caplog.text


def test_with_a_password_of_its_own_it_asks_for_that_and_for_no_certificate(certified, caplog):
    node, _, own, nobody = certified
    [free] = free_addresses(1)
    with serve(node, f"0.0.0.0:{port_of(free)}", password=OWN) as monitor:
        # To the name that the certificate is for, it answers without being told.
        assert "127.0.0.1" in monitor._hosts
        monitor._address = free
        for context in (own, nobody):
            assert get_secured(monitor, context, "/status")[0].status == 200
            assert get_secured(monitor, context, "/status", WRONG)[0].status == 401
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_page_takes_new_files_and_keeps_the_former_until_they_fit(
    certified, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "syncstructs.monitor")
    monkeypatch.setattr(tls_module, "RELOAD_SECONDS", 0.02)
    node, _, own, _ = certified
    later = Authority(tmp_path / "later")
    new = later.issue("new", "127.0.0.1")
    theirs = Contexts(later.issue("reader"), "observer-1").client
    files = node._engine.config.tls
    with serve(node, *free_addresses(1)) as monitor:
        context = monitor._context
        with pytest.raises(ssl.SSLError):
            get_secured(monitor, theirs, "/status")
        os.replace(new.cert, files.cert)
        eventually(lambda: "goes on with the former certificates" in caplog.text)
        assert monitor._context is context
        assert get_secured(monitor, own, "/status")[0].status == 200
        os.replace(later.ca, files.ca)
        os.replace(new.key, files.key)
        eventually(lambda: monitor._context is not context)
        assert get_secured(monitor, theirs, "/status")[0].status == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get_secured(monitor, own, "/status")


def eventually(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_dropped(monitor):
    """Wait until nothing is left of all connections."""
    empty = threading.Event()

    def look():
        if monitor._connections:
            monitor._loop.call_later(0.01, look)
        else:
            empty.set()

    monitor._loop.call_soon_threadsafe(look)
    return empty.wait(30)


def test_who_has_no_certificate_or_speaks_in_clear_is_shown_nothing(
    secured, contexts, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    # Nothing of it waits for that.
    monkeypatch.setattr(server, "REQUEST_SECONDS", 1000.0)
    with pytest.raises((ssl.SSLError, OSError)):
        get_secured(secured, contexts[2], "/status")
    for words in (b"GET /status HTTP/1.1\r\n\r\n", b"\x16\x03\x01\xff\xff" + b"x" * 5000, b"\x00"):
        with connect(secured) as stream:
            stream.sendall(words)
            stream.shutdown(socket.SHUT_WR)
            with suppress(ConnectionResetError):
                assert b"HTTP" not in everything(stream)
    with connect(secured) as stream:
        stream.sendall(b"\x16\x03\x01")
        # By now that one is in the middle of its handshake; it is reset.
        assert get_secured(secured, contexts[1], "/status")[0].status == 200
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert is_dropped(secured)
    assert get_secured(secured, contexts[1], "/status")[0].status == 200
    assert "Traceback" not in caplog.text
    assert all(record.levelno < logging.WARNING for record in caplog.records), caplog.text


def test_handshakes_that_come_to_no_end_are_cut_and_keep_nobody_out(
    secured, contexts, monkeypatch
):
    with monkeypatch.context() as patch, ExitStack() as stack:
        patch.setattr(server, "REQUEST_SECONDS", 1000.0)
        streams = []
        for _ in range(2 * server.CONNECTION_COUNT):
            streams.append(stack.enter_context(connect(secured)))
            streams[-1].sendall(b"\x16\x03\x01")
        assert get_secured(secured, contexts[1], "/status")[0].status == 200
        assert len(secured._connections) <= server.CONNECTION_COUNT
        for stream in streams[: server.CONNECTION_COUNT]:
            with suppress(ConnectionResetError):
                assert not stream.recv(1)
    assert is_dropped(secured)
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    with connect(secured) as stream, suppress(ConnectionResetError):
        stream.sendall(b"\x16\x03\x01")
        assert not stream.recv(1)


def test_nothing_is_read_before_the_handshake(secured):
    paused, spawned = [], []
    watched = SimpleNamespace(
        _context=secured._context,
        _admit=lambda _: True,
        _loop=SimpleNamespace(call_later=lambda *_: None),
        _spawn=lambda work: (spawned.append(work), work.close()),
    )
    connection = server._Connection(watched)
    connection.connection_made(
        SimpleNamespace(get_extra_info=lambda _: None, pause_reading=lambda: paused.append(1))
    )
    assert len(paused) == len(spawned) == 1
    # Nor is anything answered, should it have been heard all the same.
    words = b"GET / HTTP/1.1\r\n\r\n"
    connection.get_buffer(-1)[: len(words)] = words
    connection.buffer_updated(len(words))
    assert connection.awaits_answer


def test_over_tls_who_closes_a_side_has_no_answer_and_it_is_no_matter(secured, contexts, caplog):
    asked, release = threading.Event(), asyncio.Event()

    async def slow():
        asked.set()
        await release.wait()
        return server.Response(200, "text/plain", b"late")

    secured._shown._makers["/cluster"] = slow
    with (
        connect(secured) as stream,
        contexts[1].wrap_socket(stream, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(f"GET /cluster HTTP/1.1\r\nAuthorization: {basic(OWN)}\r\n\r\n".encode())
        assert asked.wait(30)
        tls.shutdown(socket.SHUT_WR)
        assert is_dropped(secured)
    secured._loop.call_soon_threadsafe(release.set)
    assert get_secured(secured, contexts[1], "/status")[0].status == 200
    assert not caplog.messages


def test_a_client_that_never_ends_its_side_is_cut(secured, contexts, monkeypatch):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.5)
    with (
        connect(secured) as stream,
        contexts[1].wrap_socket(stream, server_hostname="127.0.0.1") as tls,
    ):
        tls.sendall(f"GET /status HTTP/1.1\r\nAuthorization: {basic(OWN)}\r\n\r\n".encode())
        assert tls.recv(12) == b"HTTP/1.1 200"
        assert is_dropped(secured)


def test_a_monitor_ends_in_the_middle_of_handshakes(sealed, contexts):
    monitor = server.Monitor(sealed, *free_addresses(1), context=contexts[0])
    monitor._begin()
    with connect(monitor) as idle, connect(monitor) as halfway:
        halfway.sendall(b"\x16\x03\x01")
        monitor.close(30)
        assert not monitor._thread.is_alive()
        for stream in (idle, halfway):
            with suppress(ConnectionResetError):
                assert not stream.recv(1)
