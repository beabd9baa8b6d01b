"""Transports on loopback whose callbacks are remembered, and ways to wait without a sleep."""

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest

from syncstructs.cli.processes import ports_to_try
from syncstructs.config import Config
from syncstructs.net.transport import Transport

PATIENCE = 10.0
FAST = Config(reconnect_interval_min=0.005, reconnect_interval_max=0.02, connect_timeout=2.0)


def free_ports(count, host="127.0.0.1"):
    """Return ports of which no system makes the other end of somebody's connection meanwhile."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = []
    for port in ports_to_try():
        if len(found) == count:
            break
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((host, port))
            found.append(port)
    return found


def addresses(count, host="127.0.0.1"):
    shown = f"[{host}]" if ":" in host else host
    return sorted(f"{shown}:{port}" for port in free_ports(count, host))


class Member:
    """A transport whose callbacks are remembered, and can be waited for."""

    incarnations = 0
    password = None
    """What all of them have, whatever their settings say otherwise; see the fixture `wire`."""

    def __init__(self, address, peers, config=FAST, on_frames=None, incarnation=None):
        Member.incarnations += 1
        if Member.password is not None:
            config = replace(config, password=Member.password)
        self.events = []
        self.changed = asyncio.Event()
        self.transport = Transport(
            address=address,
            peers=peers,
            config=config,
            incarnation=Member.incarnations if incarnation is None else incarnation,
            on_frames=on_frames or self.note_frames,
            on_link_up=lambda peer: self.note(("up", peer)),
            on_link_down=lambda peer: self.note(("down", peer)),
        )

    def note_frames(self, peer, payloads):
        for payload in payloads:
            self.note(("frame", peer, payload))

    def note(self, event):
        self.events.append(event)
        self.changed.set()
        self.transport._check()

    async def until(self, condition):
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def until_linked(self, *peers):
        await self.until(lambda: all(self.transport.connected(peer) for peer in peers))

    def frames(self, peer):
        return [event[2] for event in self.events if event[0] == "frame" and event[1] == peer]

    async def __aenter__(self):
        await self.transport.start()
        return self

    async def __aexit__(self, *_):
        await self.transport.close()
        assert not self.transport._dialler.tasks
        assert not self.transport._connections
        self.transport._check()


def need_host(host):
    """Skip a test that dials from an address that only some systems have of themselves."""
    with socket.socket() as sock:
        try:
            sock.bind((host, 0))
        except OSError:
            pytest.skip(f"this system has no address {host}")


async def dialled_by_hand(address, here=None):
    """Return reader and writer of a connection; `here` is the host that it is to come from."""
    host, _, port = address.rpartition(":")
    local = None if here is None else (here, 0)
    return await asyncio.open_connection(host, int(port), local_addr=local)


async def logged(caplog, text, count=1):
    """Wait until the log has `count` lines with `text`."""
    async with asyncio.timeout(PATIENCE):
        while lines(caplog, text) < count:
            await next_iteration()


def lines(caplog, text):
    return sum(text in message for message in caplog.messages)


async def next_iteration():
    loop = asyncio.get_running_loop()
    turn = loop.create_future()
    loop.call_later(0.001, lambda: turn.done() or turn.set_result(None))
    await turn
