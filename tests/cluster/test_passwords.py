"""Nodes with a password, for real: what passes between them, and who gets in."""

import asyncio
import json
import logging
import socket
import threading
import time
from contextlib import closing, suppress

import pytest
from tcp_proxy import route_through
from transports import PATIENCE
from villain import meddle_with

from syncstructs import Node, ReplDict, Timeout
from syncstructs.cli.main import main
from syncstructs.cli.processes import LocalCluster, free_addresses
from syncstructs.net import passwords

OBJECTS = {"hits": ("syncstructs:ReplCounter", []), "users": ("syncstructs:ReplDict", [])}
PASSWORD, OTHER = "a password of all nodes", "another password of all"
CLUSTER = "needle-of-a-cluster"
LIVELY = {"reconnect_interval_max": 0.1, "connect_timeout": 1.0}
WRONG = (
    "the node that dialled uses a password that the node that was dialled does not accept, or is of"
    " another cluster"
)
PLAIN_DIALS = "the node that was dialled has a password, the node that dialled has none"
PLAIN_IS_DIALLED = "the node that dialled has a password, the node that was dialled has none"


def eventually(condition, what):
    deadline = time.monotonic() + 3 * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def hit(cluster, count):
    """Have every member count so many times; each call has to return."""
    for _ in range(count):
        for member in cluster.alive:
            member.call("hits", "inc", within=60)


def check_total(cluster, total):
    for member in cluster.alive:
        member.request("barrier", timeout=30, within=40)
        assert member.call("hits", "get") == total
        assert "Traceback" not in member.log_tail(), member.log_tail()


@pytest.mark.parametrize("password", [None, PASSWORD], ids=["plain", "sealed"])
def test_keys_values_and_names_can_be_read_on_the_wire_unless_there_is_a_password(password):
    config = {"cluster": CLUSTER, **({"password": password} if password else {})}
    with (
        LocalCluster(3, objects=OBJECTS, config=config) as cluster,
        route_through(cluster, recording=True) as proxies,
    ):
        cluster.start()
        for number, member in enumerate(cluster):
            member.call("users", "set", f"needle-of-a-key-{number}", "needle-of-a-value " * 200)
        large = "needle-of-a-large-value " * 20_000
        cluster.wait_leader().call("users", "set", "large", large)
        for member in cluster:
            member.request("barrier", timeout=30, within=40)
            assert member.call("users", "get", "large") == large
        wire = b"".join(
            piece for one in proxies.recorded for side in one.kept.values() for piece in side
        )
        addresses = [setup.address for setup in cluster.setups]
    assert len(wire) > 2 * len(large)
    needles = [b"needle-of-a-key", b"needle-of-a-value", b"needle-of-a-large", CLUSTER.encode()]
    needles += [address.encode() for address in addresses]
    for needle in needles:
        assert (needle in wire) == (password is None), needle
    if password is not None:
        assert password.encode() not in wire


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", range(2))
def test_a_man_in_the_middle_can_cut_links_and_nothing_else(seed):
    meddle_with(LocalCluster(3, objects=OBJECTS, config={"password": PASSWORD, **LIVELY}), seed)


def test_what_was_recorded_of_a_link_and_is_sent_again_changes_nothing():
    """A hello with a greater number closes a link that lives: a recorded one must not."""
    config = {"password": PASSWORD, "election_timeout_min": 30.0, "election_timeout_max": 60.0,
              "session_ttl": 120.0}  # fmt: skip
    with (
        LocalCluster(3, objects=OBJECTS, config=config) as cluster,
        route_through(cluster, recording=True) as proxies,
    ):
        cluster.start(60)
        hit(cluster, 1)
        term = cluster.wait_leader().request("status")["term"]
        made = proxies.counts["connections"]
        sent = 0
        for one in list(proxies.recorded):
            host, _, port = proxies.routes[one.target].rpartition(":")
            for pieces in (one.kept["dialer"], one.kept["acceptor"], one.kept["dialer"][:1]):
                with socket.create_connection((host, int(port)), 5) as sock, suppress(OSError):
                    sock.sendall(b"".join(pieces))
                    sock.shutdown(socket.SHUT_WR)
                    sock.settimeout(5)
                    while sock.recv(65_536):
                        pass
                    sent += 1
        assert sent >= 6
        hit(cluster, 1)
        check_total(cluster, 6)
        # No link was lost: nobody had to dial again.
        assert proxies.counts["connections"] == made
        assert cluster.wait_leader().request("status")["term"] == term


def linked(status):
    return len(status["connected"]) == 2


@pytest.mark.timeout(240)
def test_a_password_is_changed_node_by_node_while_the_cluster_serves():
    passes = (
        {"password": PASSWORD, "accepted_passwords": [OTHER]},
        {"password": OTHER, "accepted_passwords": [PASSWORD]},
        {"password": OTHER},
    )
    with LocalCluster(3, objects=OBJECTS, config={"password": PASSWORD}) as cluster:
        cluster.start(60)
        total = 0
        for settings in passes:
            for setup in cluster.setups:
                # One of three is down meanwhile, and the other two have to serve.
                cluster.members[setup.name].close()
                hit(cluster, 2)
                total += 4
                setup.config.pop("accepted_passwords", None)
                setup.config.update(settings)
                cluster.launch(setup.name).request("wait_ready", timeout=60, within=70)
                hit(cluster, 1)
                total += 3
                eventually(
                    lambda: all(linked(s) for s in cluster.statuses().values()),
                    f"not all members are linked with {settings}",
                )
        check_total(cluster, total)
        # Who has the old one alone gets in no more, and both say why.
        servers = [setup.address for setup in cluster.setups]
        with Node(None, servers, password=OTHER) as observer:
            observer.wait_ready(30)
        # Not entered, which waits until it is ready.
        with closing(Node(None, servers, password=PASSWORD)) as stranger, pytest.raises(Timeout):
            stranger.wait_ready(1.0)
        for member in cluster:
            assert WRONG in member.log_tail()
            assert PASSWORD not in member.log_tail()


PARTINGS = {
    "with one and without": (PASSWORD, None, {PLAIN_DIALS, PLAIN_IS_DIALLED}),
    "without one and with": (None, PASSWORD, {PLAIN_DIALS, PLAIN_IS_DIALLED}),
    "two": (PASSWORD, OTHER, {WRONG}),
}


@pytest.mark.parametrize("case", PARTINGS)
def test_nodes_that_do_not_share_a_password_never_talk_and_both_say_why(case, caplog):
    caplog.set_level(logging.DEBUG, "syncstructs")
    first, second, reasons = PARTINGS[case]
    addresses = sorted(free_addresses(2))
    made = [
        Node(address, addresses, consumers={"users": ReplDict()}, password=password, **LIVELY)
        for address, password in zip(addresses, (first, second), strict=True)
    ]

    def said(reason):
        """Both by the one that refused, and by the one that was told."""
        own = [m for m in caplog.messages if m.startswith("refused a link") and reason in m]
        told = [m for m in caplog.messages if "refused this node" in m and reason in m]
        return own and told

    try:
        eventually(lambda: all(map(said, reasons)), (reasons, caplog.messages))
        for node in made:
            with pytest.raises(Timeout):
                node.wait_ready(0.3)
            status = node.status()
            assert (status["connected"], status["leader"]) == ([], None)
            assert not any(p in json.dumps(status) for p in (PASSWORD, OTHER))
    finally:
        for node in made:
            node.close()
    assert not any(word in caplog.text for word in (PASSWORD, OTHER))


def test_nodes_of_two_clusters_with_one_password_part_as_if_they_had_two(caplog):
    addresses = sorted(free_addresses(2))
    made = [
        Node(address, addresses, password=PASSWORD, cluster=cluster, **LIVELY)
        for address, cluster in zip(addresses, ("red", "needle"), strict=True)
    ]
    try:
        eventually(lambda: WRONG in caplog.text, "they do not part")
        assert "needle" not in caplog.text
    finally:
        for node in made:
            node.close()


@pytest.fixture(scope="module")
def sealed_nodes():
    addresses = free_addresses(2)
    made = [
        Node(a, addresses, consumers={"users": ReplDict()}, password=PASSWORD) for a in addresses
    ]
    for node in made:
        node.barrier(30)
    yield made
    for node in made:
        node.close()


def test_an_observer_with_the_password_sees_and_writes(sealed_nodes):
    users = ReplDict()
    servers = [node.address for node in sealed_nodes]
    with Node(None, servers, consumers={"users": users}, password=PASSWORD) as observer:
        observer.wait_ready(30)
        users["ann"] = 7
        assert users["ann"] == 7
    sealed_nodes[0].barrier(10)
    assert sealed_nodes[0].objects["users"]["ann"] == 7


def test_the_command_line_needs_the_password_too(sealed_nodes, tmp_path, monkeypatch, capsys):
    [one, _] = [node.address for node in sealed_nodes]
    monkeypatch.delenv("SYNCSTRUCTS_PASSWORD", raising=False)
    right, wrong, short = tmp_path / "right", tmp_path / "wrong", tmp_path / "short"
    right.write_text(PASSWORD + "\n")
    wrong.write_text(OTHER)
    short.write_text("short")
    status = ["status", "--node", one, "--json"]
    assert main([*status, "--password-file", str(right)]) == 0
    assert json.loads(capsys.readouterr().out)["asked"] == one
    monkeypatch.setenv("SYNCSTRUCTS_PASSWORD", PASSWORD)
    assert main(status) == 0
    assert main(["top", "--node", one, "--count", "1"]) == 0
    assert main(["snapshot", "--node", one]) == 0
    capsys.readouterr()
    # The file counts for more.
    assert main([*status, "--password-file", str(wrong)]) == 1
    assert WRONG in capsys.readouterr().err
    monkeypatch.delenv("SYNCSTRUCTS_PASSWORD")
    assert main(status) == 1
    assert PLAIN_DIALS in capsys.readouterr().err
    for path, why in ((short, "5 characters"), (tmp_path / "absent", "No such file")):
        for command in ("status", "top"):
            assert main([command, "--node", one, "--password-file", str(path)]) == 1
            assert why in capsys.readouterr().err


COMMANDS = {
    "status": ["status"], "status --json": ["status", "--json"], "members": ["members"],
    "members add": ["members", "add", "127.0.0.1:1"],
    "members remove": ["members", "remove", "127.0.0.1:1"],
    "members set": ["members", "set", "127.0.0.1:1"], "transfer": ["transfer"],
    "snapshot": ["snapshot"], "version": ["version"], "version --set": ["version", "--set", "1"],
    "top": ["top"],
}  # fmt: skip


@pytest.fixture(scope="module")
def plain_node():
    [address] = free_addresses(1)
    with Node(address) as node:
        yield node


@pytest.mark.timeout(60)
@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("kind", "given", "why"),
    [
        ("sealed", None, PLAIN_DIALS), ("sealed", OTHER, WRONG),
        ("plain", PASSWORD, PLAIN_IS_DIALLED),
    ],
    ids=["none", "another one", "one that the node has not"],
)  # fmt: skip
def test_every_command_ends_with_a_sentence_where_the_passwords_are_not_the_same(
    sealed_nodes, plain_node, tmp_path, monkeypatch, capsys, command, kind, given, why
):
    """Not `top` alone would go on for ever otherwise: no count and no time is given."""
    node = sealed_nodes[0] if kind == "sealed" else plain_node
    before = node.status()
    monkeypatch.delenv("SYNCSTRUCTS_PASSWORD", raising=False)
    [name, *rest] = COMMANDS[command]
    # By the file, and by the environment where that goes.
    where = []
    if given is not None and command in ("status", "members add", "transfer"):
        monkeypatch.setenv("SYNCSTRUCTS_PASSWORD", given)
    elif given is not None:
        path = tmp_path / "password"
        path.write_text(given)
        where = ["--password-file", str(path)]
    assert main([name, *rest, "--node", node.address, *where]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    # A console without a password takes what is in clear at its word.
    doubt = "" if given is None else " (in clear, so anybody may have said it)"
    assert shown.err.splitlines() == [
        f"syncstructs {name}: {node.address} and this console part{doubt}: {why}"
        "; see --password-file and SYNCSTRUCTS_PASSWORD"
    ]
    after = node.status()
    for field in ("leader", "term", "members", "snapshot_index", "version"):
        assert after[field] == before[field]


def test_top_waits_for_who_is_not_there_and_not_where_it_is_refused(sealed_nodes, capsys):
    [nobody] = free_addresses(1)
    begin = ["top", "--interval", "0.1", "--count", "2", "--node"]
    assert main([*begin, nobody]) == 1
    assert capsys.readouterr().out.count("nobody answers") == 2
    # Of several it is what the others say that counts.
    assert main([*begin, f"{nobody},{sealed_nodes[0].address}"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert PLAIN_DIALS in shown.err
    assert f"{nobody} cannot be reached" in shown.err


def test_a_node_with_a_password_may_be_made_in_a_loop_that_goes_on_meanwhile(monkeypatch):
    """The derivation is slow on purpose, and in another thread."""
    passwords.derive_psk.cache_clear()
    threads = []
    derive = passwords.derive_psk.__wrapped__

    def watched(password, cluster):
        threads.append(threading.current_thread())
        return derive(password, cluster)

    monkeypatch.setattr(passwords, "derive_psk", watched)

    async def serve():
        [address] = free_addresses(1)
        async with Node(address, password=PASSWORD, drive="asyncio"):
            return threading.current_thread()

    own = asyncio.run(serve())
    assert threads
    assert own not in threads
    [address] = free_addresses(1)
    with Node(address, password=PASSWORD, drive="manual", consumers={"users": ReplDict()}) as node:
        future = node.objects["users"].set.submit("ann", 7)
        while not future.done():
            node.tick(0.01)
