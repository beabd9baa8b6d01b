"""Servers to compare with: etcd, ZooKeeper and Redis, each with what suits it best.

They are services that do more than a library inside the caller's process can or wants to: etcd
keeps every revision and serves many clients, ZooKeeper watches and access lists, Redis is one
server without consensus. A ratio to them says what being embedded is worth, not who is better.
"""

import itertools
import json
import re
import selectors
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from grpc_client import Connection

from syncstructs.cli.bench_load import KEY_COUNT, Chains, pairs, write_blocking
from syncstructs.cli.channel import Line
from syncstructs.cli.processes import free_addresses

READY_TIMEOUT = 60.0
CONNECTION_COUNT = 8
"""Connections that calls under way are spread over; with fewer, etcd is slower."""
PIPELINE_COUNT = 1000
"""Commands of one pipeline; with a hundred, Redis is slower."""
JAVA_CLASSES = Path("/usr/share/java")


def missing_etcd() -> str | None:
    """Return why etcd cannot be measured here."""
    return None if shutil.which("etcd") else "no etcd on the PATH"


def missing_redis() -> str | None:
    """Return why Redis cannot be measured here."""
    if not shutil.which("redis-server"):
        return "no redis-server on the PATH"
    return None if find_spec("redis") else "the package redis is not installed"


def missing_zookeeper() -> str | None:
    """Return why ZooKeeper cannot be measured here."""
    if not shutil.which("java"):
        return "no java on the PATH"
    if not (JAVA_CLASSES / "zookeeper.jar").exists():
        return f"no {JAVA_CLASSES / 'zookeeper.jar'}"
    return None if find_spec("kazoo") else "the package kazoo is not installed"


@contextmanager
def running(commands: list[list[str]], room: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Have the servers run for the block; their output is kept in the room."""
    processes = []
    with open(room / "output", "ab") as output:
        try:
            for command in commands:
                processes.append(
                    subprocess.Popen(command, stdout=output, stderr=output, cwd=room)
                )
            yield processes
        finally:
            for process in processes:
                process.kill()
            for process in processes:
                process.wait()


def wait_until(check: Any, what: str) -> Any:
    """Return what `check` returns once that is something; it may raise until then."""
    deadline = time.monotonic() + READY_TIMEOUT
    while time.monotonic() < deadline:
        with suppress(OSError, ValueError, KeyError):
            if found := check():
                return found
        time.sleep(0.05)
    raise TimeoutError(f"{what} did not come up within {READY_TIMEOUT:g} s")


def port_of(address: str) -> int:
    """Return the port."""
    return int(address.rpartition(":")[2])


@contextmanager
def room_for(data_dir: Path | None) -> Iterator[Path]:
    """Give a directory for the block."""
    with tempfile.TemporaryDirectory(prefix="syncstructs-bench-", dir=data_dir) as directory:
        yield Path(directory)


# etcd


@contextmanager
def etcd(data_dir: Path | None) -> Iterator[list[int]]:
    """Run three members that sync every write; yield the ports of clients, the leader's first."""
    addresses = free_addresses(6)
    clients, peers = addresses[:3], addresses[3:]
    cluster = ",".join(f"m{number}=http://{peer}" for number, peer in enumerate(peers))
    with room_for(data_dir) as room:
        commands = [
            [
                "etcd", "--name", f"m{number}", "--data-dir", str(room / f"m{number}"),
                "--listen-client-urls", f"http://{client}",
                "--advertise-client-urls", f"http://{client}",
                "--listen-peer-urls", f"http://{peer}",
                "--initial-advertise-peer-urls", f"http://{peer}",
                "--initial-cluster", cluster, "--initial-cluster-state", "new",
                "--log-level", "error",
            ]
            for number, (client, peer) in enumerate(zip(clients, peers, strict=True))
        ]  # fmt: skip
        with running(commands, room):
            for client in clients:
                wait_until(lambda client=client: etcd_leader(client), "etcd")
            leading = [client for client in clients if etcd_leader(client) == "here"]
            ordered = [*leading, *(client for client in clients if client not in leading)]
            yield [port_of(client) for client in ordered]


def etcd_leader(client: str) -> str | None:
    """Return whether the leader is 'here' or 'there', as a member says; None if it knows none."""
    request = urllib.request.Request(f"http://{client}/v3/maintenance/status", data=b"{}")
    with urllib.request.urlopen(request, timeout=2.0) as answer:
        status = json.load(answer)
    if "leader" not in status:
        return None
    return "here" if status["leader"] == status["header"]["member_id"] else "there"


def etcd_calls(ports: list[int], *, window: int, seconds: float, warmup: float) -> Line:
    """Keep so many puts under way, over some connections that are spread over the ports."""
    count = min(CONNECTION_COUNT, window)
    connections = [Connection(port) for port in itertools.islice(itertools.cycle(ports), count)]
    in_turn = itertools.cycle(connections)
    chains = Chains(
        lambda key, value, ended: next(in_turn).put(key, value, ended),
        window=window, value_bytes=10,
    )  # fmt: skip
    ending = threading.Event()

    def pump() -> None:
        selector = selectors.DefaultSelector()
        for connection in connections:
            selector.register(connection.socket, selectors.EVENT_READ, connection)
        while not ending.is_set():
            for connection in connections:
                connection.flush()
            for key, _ in selector.select(0.1):
                key.data.pump()

    chains.begin()
    # From here on, connections are used in this thread only.
    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        return chains.measure(seconds=seconds, warmup=warmup)
    finally:
        ending.set()
        thread.join()
        for connection in connections:
            connection.socket.close()


def etcd_blocking(port: int, *, seconds: float, warmup: float) -> Line:
    """Put again and again, each time waiting for the answer."""
    connection = Connection(port)
    answers: list[object] = []

    def write(key: str, value: bytes) -> None:
        connection.put(key, value, answers.append)
        connection.flush()
        while not answers:
            connection.pump()
        if (error := answers.pop()) is not None:
            raise OSError(error)

    try:
        return write_blocking(write, seconds=seconds, warmup=warmup, value_bytes=10)
    finally:
        connection.socket.close()


# Redis


@contextmanager
def redis_server() -> Iterator[Any]:
    """Run one server that keeps all in memory; yield a client."""
    import redis

    port = port_of(free_addresses(1)[0])
    command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
               "--appendonly", "no"]  # fmt: skip
    with room_for(None) as room, running([command], room):
        client = redis.Redis(port=port)

        def answers() -> Any:
            try:
                return client.ping()
            except redis.ConnectionError:
                return None

        try:
            wait_until(answers, "Redis")
            yield client
        except redis.RedisError as error:
            raise OSError(f"Redis: {error!r}") from error
        finally:
            client.close()


def redis_pipeline(client: Any, *, seconds: float, warmup: float) -> Line:
    """Set keys by pipelines; the figures are of keys."""
    keys = itertools.cycle([f"key-{number:05}" for number in range(KEY_COUNT)])
    value = b"x" * 10

    def write(_key: str, _value: bytes) -> None:
        pipeline = client.pipeline(transaction=False)
        for key in itertools.islice(keys, PIPELINE_COUNT):
            pipeline.set(key, value)
        pipeline.execute()

    figures = write_blocking(write, seconds=seconds, warmup=warmup, value_bytes=0)
    return {**figures, "ops_per_second": figures["ops_per_second"] * PIPELINE_COUNT}


def redis_pairs(client: Any, *, seconds: float, warmup: float) -> Line:
    """Acquire and release redis-py's lock."""
    lock = client.lock("door", timeout=10.0, thread_local=False)
    return pairs(lock.acquire, lock.release, seconds=seconds, warmup=warmup)


# ZooKeeper


@contextmanager
def zookeeper(data_dir: Path | None) -> Iterator[dict[str, str]]:
    """Run three members that sync every write; yield an address for 'leader' and 'follower'."""
    addresses = free_addresses(9)
    clients, peers, elections = addresses[:3], addresses[3:6], addresses[6:]
    members = [
        f"server.{number}=127.0.0.1:{port_of(peer)}:{port_of(election)}"
        for number, (peer, election) in enumerate(zip(peers, elections, strict=True), 1)
    ]
    with room_for(data_dir) as room:
        commands = []
        for number, client in enumerate(clients, 1):
            directory = room / f"m{number}"
            directory.mkdir()
            (directory / "myid").write_text(f"{number}\n")
            config = [
                f"dataDir={directory}", f"clientPort={port_of(client)}",
                "clientPortAddress=127.0.0.1", "tickTime=500", "initLimit=20", "syncLimit=10",
                "admin.enableServer=false", "4lw.commands.whitelist=srvr", *members,
            ]  # fmt: skip
            (directory / "zoo.cfg").write_text("\n".join(config) + "\n")
            classes = f"{JAVA_CLASSES}/zookeeper.jar:{JAVA_CLASSES}/slf4j-nop.jar"
            commands.append([
                "java", "-Xmx512m", "-cp", classes,
                "org.apache.zookeeper.server.quorum.QuorumPeerMain", str(directory / "zoo.cfg"),
            ])  # fmt: skip
        with running(commands, room):
            roles = {
                wait_until(lambda client=client: zookeeper_role(client), "ZooKeeper"): client
                for client in clients
            }
            yield roles


def zookeeper_role(client: str) -> str | None:
    """Return 'leader' or 'follower', or None before it is one."""
    with socket.create_connection(("127.0.0.1", port_of(client)), 2.0) as connection:
        connection.sendall(b"srvr")
        said = b""
        while received := connection.recv(4096):
            said += received
    found = re.search(rb"^Mode: (\w+)", said, re.MULTILINE)
    return found[1].decode() if found else None


def zookeeper_pairs(client: str, *, seconds: float, warmup: float) -> Line:
    """Acquire and release kazoo's lock."""
    from kazoo.client import KazooClient
    from kazoo.exceptions import KazooException
    from kazoo.handlers.threading import KazooTimeoutError

    kazoo = KazooClient(client)
    try:
        kazoo.start(READY_TIMEOUT)
        lock = kazoo.Lock("/door", "bench")
        return pairs(lock.acquire, lock.release, seconds=seconds, warmup=warmup)
    except (KazooException, KazooTimeoutError) as error:
        raise OSError(f"ZooKeeper: {error!r}") from error
    finally:
        kazoo.stop()
        kazoo.close()
