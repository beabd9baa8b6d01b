"""Nodes with certificates, for real: who gets in, as whom, and new files while they serve."""

import json
import logging
import os
import shutil
import sys
import time
from contextlib import ExitStack, closing
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from certificates import Authority
from tcp_proxy import route_through
from transports import PATIENCE
from villain import meddle_with

from syncstructs import ConfigError, Node, ReplCounter, ReplDict, Timeout
from syncstructs.cli.console import AnyOf, ConsoleError, Credentials, certificates_for
from syncstructs.cli.main import main
from syncstructs.cli.processes import LocalCluster, free_addresses
from syncstructs.config import parse_address
from syncstructs.net import tls as tls_module

OBJECTS = {"hits": ("syncstructs:ReplCounter", []), "users": ("syncstructs:ReplDict", [])}
CLUSTER = "needle-of-a-cluster"
LIVELY = {"reconnect_interval_max": 0.1, "connect_timeout": 1.0}
PASSWORD = "a password of all nodes"

needs_hosts = pytest.mark.skipif(
    sys.platform != "linux", reason="needs a loopback network with several hosts"
)


def eventually(condition, what):
    deadline = time.monotonic() + 3 * PATIENCE
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def files(authority):
    return authority.issue("all", "127.0.0.1")


def test_neither_keys_nor_values_nor_the_cluster_can_be_read_on_the_wire(files):
    """Without, they can: tests/cluster/test_passwords.py."""
    config = {"cluster": CLUSTER, "tls": asdict(files)}
    with (
        LocalCluster(3, objects=OBJECTS, config=config) as cluster,
        route_through(cluster, recording=True) as proxies,
    ):
        cluster.start()
        large = "needle-of-a-large-value " * 20_000
        cluster.wait_leader().call("users", "set", "needle-of-a-key", large)
        for member in cluster:
            member.request("barrier", timeout=30, within=40)
            assert member.call("users", "get", "needle-of-a-key") == large
        wire = b"".join(
            piece for one in proxies.recorded for side in one.kept.values() for piece in side
        )
        addresses = [setup.address for setup in cluster.setups]
    assert len(wire) > 2 * len(large)
    for needle in ("needle-of-a-key", "needle-of-a-large", CLUSTER, *addresses):
        assert needle.encode() not in wire


@pytest.mark.timeout(240)
def test_a_man_in_the_middle_can_cut_links_and_nothing_else(files):
    config = {"tls": asdict(files), **LIVELY}
    meddle_with(LocalCluster(3, objects=OBJECTS, config=config), seed=0)


def hosts(count):
    """Return addresses of hosts of their own, all on this machine."""
    ports = [parse_address(address).port for address in free_addresses(count)]
    return [f"127.0.0.{number}:{port}" for number, port in enumerate(ports, 1)]


@needs_hosts
def test_a_member_gets_in_under_its_own_host_and_nobody_under_that_of_another(authority, caplog):
    """The thief has a good certificate, of the third host, and says that it is the second."""
    caplog.set_level(logging.INFO, "syncstructs")
    servers = hosts(3)
    tls = [authority.issue(f"host{n}", f"127.0.0.{n}") for n in (1, 2, 3)]

    def member(number, **changes):
        settings = {"tls": tls[number], "consumers": {"users": ReplDict()}, **LIVELY, **changes}
        return Node(servers[number], servers, **settings)

    with ExitStack() as stack:
        first, third = (stack.enter_context(closing(member(number))) for number in (0, 2))
        first.wait_ready(30)
        third.wait_ready(30)
        # It does not even start under that name with that certificate, unless it is changed.
        with pytest.raises(ConfigError, match=r"is for '127.0.0.3' and not for '127.0.0.2'"):
            member(1, tls=tls[2])
        thief = stack.enter_context(closing(thieving(lambda: member(1, tls=tls[2]))))
        reason = f"'{servers[1]}' is not proved: the certificate is for '127.0.0.3'"
        # It is told of as where it really comes from.
        begin = "refused a link with host 127.0.0."
        refusals = [begin + f"{number}: {reason}" for number in (1, 2, 3)]
        eventually(lambda: any(one in caplog.text for one in refusals), "in?")
        # Whom the thief is dialled by finds the same out itself.
        turned = "IP address mismatch, certificate is not valid for '127.0.0.2'"
        eventually(lambda: turned in caplog.text, caplog.text)
        with pytest.raises(Timeout):
            thief.wait_ready(0.5)
        assert thief.status()["connected"] == []
        assert servers[1] not in first.status()["connected"]
        first.objects["users"]["ann"] = 7
        thief.close()
        second = stack.enter_context(closing(member(1)))
        second.barrier(30)
        assert second.objects["users"]["ann"] == 7
        eventually(lambda: len(second.status()["connected"]) == 2, caplog.text)
        # An observer is nobody's host; the word of the authority is enough.
        observer = Node(None, servers, tls=tls[2], consumers={"users": ReplDict()})
        with observer:
            observer.barrier(30)
            assert observer.objects["users"]["ann"] == 7


def thieving(make):
    """Make a node that does not look at its own certificate first."""
    honest = tls_module.reason_to_distrust
    tls_module.reason_to_distrust = lambda certificate, address: None
    try:
        node = make()
    finally:
        tls_module.reason_to_distrust = honest
    return node


PARTINGS = {
    "nothing": ({}, "does not"),
    "a password": ({"password": PASSWORD}, "has a password"),
}


@pytest.mark.parametrize("case", PARTINGS)
@pytest.mark.parametrize("turn", [1, -1], ids=["there", "back"])
def test_nodes_with_and_without_certificates_never_talk_and_both_say_why(
    files, case, turn, caplog
):
    caplog.set_level(logging.DEBUG, "syncstructs")
    settings, words = PARTINGS[case]
    addresses = sorted(free_addresses(2))[::turn]
    made = [Node(addresses[0], addresses, tls=files, **LIVELY)]
    made.append(Node(addresses[1], addresses, **settings, **LIVELY))
    reasons = [
        f"the node that dialled speaks TLS, the node that was dialled {words}",
        f"the node that was dialled speaks TLS, the node that dialled {words}",
    ]

    def said(reason):
        own = [m for m in caplog.messages if m.startswith("refused a link") and reason in m]
        told = [m for m in caplog.messages if "refused this node" in m and reason in m]
        return own and told

    try:
        eventually(lambda: all(map(said, reasons)), (reasons, caplog.messages))
        for node in made:
            with pytest.raises(Timeout):
                node.wait_ready(0.3)
            assert (node.status()["connected"], node.status()["leader"]) == ([], None)
    finally:
        for node in made:
            node.close()


def test_all_files_are_changed_while_the_nodes_serve(authority, tmp_path, monkeypatch, caplog):
    """To those of another authority, in the order of the README; no node is made anew."""
    caplog.set_level(logging.INFO, "syncstructs")
    monkeypatch.setattr(tls_module, "RELOAD_SECONDS", 0.02)
    later = Authority(tmp_path / "later")
    addresses = free_addresses(2)
    own = []
    for number in range(2):
        issued = authority.issue(f"own{number}", "127.0.0.1")
        ca = tmp_path / f"ca{number}.pem"
        shutil.copy(authority.ca, ca)
        own.append(replace(issued, ca=str(ca)))
    made = [
        Node(address, addresses, tls=tls, consumers={"hits": ReplCounter()}, **LIVELY)
        for address, tls in zip(addresses, own, strict=True)
    ]

    def read_again():
        return caplog.text.count("the certificates were read again")

    def change(act):
        before = read_again()
        for tls in own:
            act(tls)
        eventually(lambda: read_again() >= before + 2, "the files are not read again")

    def gets_in(tls):
        with closing(Node(None, addresses, tls=tls, **LIVELY)) as observer:
            try:
                observer.wait_ready(2.0)
            except Timeout:
                return False
            return True

    def put(path, content):
        # As those do it who replace files under a program: never half of one.
        with open(f"{path}.new", "wb") as file:
            file.write(content)
        os.replace(f"{path}.new", path)

    def renew(tls):
        issued = later.issue("renewed", "127.0.0.1")
        put(tls.cert, Path(issued.cert).read_bytes())
        eventually(lambda: "mismatch; links that begin go on with" in caplog.text, "not told")
        put(tls.key, Path(issued.key).read_bytes())

    try:
        for node in made:
            node.wait_ready(30)
        former = authority.issue("former", "127.0.0.1")
        new = later.issue("new", "127.0.0.1")
        assert gets_in(former)
        assert not gets_in(new)
        both = authority.ca.read_bytes() + later.ca.read_bytes()
        change(lambda tls: put(tls.ca, both))
        change(renew)
        assert gets_in(new)
        change(lambda tls: put(tls.ca, later.ca.read_bytes()))
        assert not gets_in(former)
        assert gets_in(new)
        assert made[0].objects["hits"].inc() == 1
        assert made[1].objects["hits"].inc() == 2
        # The link between the two has outlived it all, and a new one can be made.
        assert "is down" not in "".join(m for m in caplog.messages if addresses[0] in m)
        made[1].close()
        made[1] = Node(
            addresses[1], addresses, tls=own[1], consumers={"hits": ReplCounter()}, **LIVELY
        )
        made[1].barrier(30)
        assert made[1].objects["hits"].value == 2
    finally:
        for node in made:
            node.close()


def test_a_node_whose_files_are_of_no_use_leaves_nothing_behind(files, tmp_path):
    [address] = free_addresses(1)
    data = tmp_path / "data"
    wrong = replace(files, key=str(tmp_path / "absent"))
    for _ in range(2):
        with pytest.raises(ConfigError, match="absent' cannot be read: No such file"):
            Node(address, tls=wrong, data_dir=str(data))
    with Node(address, tls=files, data_dir=str(data), consumers={"users": ReplDict()}) as node:
        node.objects["users"]["ann"] = 7


def test_that_files_are_read_no_more_is_told(files, monkeypatch, caplog):
    def fail(contexts):
        raise ZeroDivisionError("nobody expects it")

    monkeypatch.setattr(tls_module, "RELOAD_SECONDS", 0.02)
    monkeypatch.setattr(tls_module.Contexts, "reload", fail)
    [address] = free_addresses(1)
    with Node(address, tls=files) as node:
        eventually(lambda: "read again no more, which is a bug" in caplog.text, caplog.text)
        node.wait_ready(10)


def test_a_certificate_that_ends_soon_is_a_warning(authority, caplog):
    [address] = free_addresses(1)
    short = authority.issue("short", "127.0.0.1", lasts=timedelta(days=2, hours=12))
    with Node(address, tls=short) as node:
        node.wait_ready(10)
        eventually(lambda: "certificate of this node ends in 2 days" in caplog.text, caplog.text)


def test_a_certificate_that_has_ended_is_told_of_as_such(files, caplog, monkeypatch):
    monkeypatch.setattr(tls_module, "RELOAD_SECONDS", 0.02)
    later = SimpleNamespace(time=lambda: time.time() + 29.9 * 86_400)
    monkeypatch.setattr(tls_module, "time", later)
    [address] = free_addresses(1)
    with Node(address, tls=files, consumers={"users": ReplDict()}) as node:
        eventually(lambda: "certificate of this node ends in 0 days" in caplog.text, caplog.text)
        later.time = lambda: time.time() + 31 * 86_400
        ended = "the certificate of this node has ended, so no link begins"
        eventually(lambda: ended in caplog.text, caplog.text)
        node.objects["users"]["ann"] = 7


def test_the_command_line_needs_certificates_too(files, authority, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("SYNCSTRUCTS_PASSWORD", PASSWORD)
    [address] = free_addresses(1)
    own = authority.issue("operator")
    given = ["--tls-cert", own.cert, "--tls-key", own.key, "--tls-ca", own.ca]
    other = Authority(tmp_path / "other")
    foreign = other.issue("operator")
    status = ["status", "--node", address, "--json"]
    with Node(address, tls=files) as node:
        node.wait_ready(10)
        assert main([*status, *given]) == 0
        assert json.loads(capsys.readouterr().out)["asked"] == address
        assert main(["top", "--node", address, "--count", "1", *given]) == 0
        assert main(["snapshot", "--node", address, *given]) == 0
        capsys.readouterr()
        for arguments, why in (
            ([], "the node that was dialled speaks TLS, the node that dialled has a password"),
            (given[:4], "belong together: give --tls-ca"),
            ([*given[:5], str(other.ca)], "would not be taken by a node that trusts"),
            (["--tls-cert", foreign.cert, "--tls-key", foreign.key, "--tls-ca", str(other.ca)],
             "the node that dialled does not take the certificate of the node that was dialled"),
            ([*given, "--password-file", own.cert], "not both"),
        ):  # fmt: skip
            for command in (status, ["top", "--node", address, "--count", "1"]):
                assert main([*command, *arguments]) == 1
                # `top` shows it in its picture.
                assert why in "".join(capsys.readouterr()), (command, arguments)
        monkeypatch.delenv("SYNCSTRUCTS_PASSWORD")
        assert main(status) == 1
        assert "speaks TLS, the node that dialled does not" in capsys.readouterr().err


def test_the_command_line_takes_new_files_for_its_next_link(files, authority, tmp_path):
    """As `top` does, which may run for longer than certificates last."""
    [address] = free_addresses(1)
    foreign = Authority(tmp_path / "foreign").issue("operator")
    own = authority.issue("operator")
    given = asdict(foreign)
    with Node(address, tls=files) as node:
        node.wait_ready(10)
        credentials = Credentials(certificates=certificates_for(given))
        with closing(AnyOf([address], cluster="syncstructs", credentials=credentials)) as asked:
            for _ in range(2):
                with pytest.raises(ConsoleError, match="does not take the certificate"):
                    asked.ask("status", {}, 5.0)
                # At first they do not belong together.
                shutil.copy(own.cert, foreign.cert)
            shutil.copy(own.key, foreign.key)
            shutil.copy(own.ca, foreign.ca)
            assert asked.ask("status", {}, 5.0)["address"] == address
