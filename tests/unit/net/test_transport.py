"""Transports on loopback: linked once per pair, linked again after anything, bounded throughout."""

import asyncio
import contextlib
import gc
import logging
import select
import socket
import struct
import warnings
from pathlib import Path
from random import Random

import pytest
from transports import (
    FAST,
    PATIENCE,
    Member,
    addresses,
    dialled_by_hand,
    free_ports,
    lines,
    logged,
    need_host,
    next_iteration,
)

from syncstructs.config import Config
from syncstructs.errors import BindError, ProtocolError
from syncstructs.net.cipher import TAG_BYTES
from syncstructs.net.frames import frame_header
from syncstructs.net.hello import Hello, Identity, encode_hello
from syncstructs.net.link import Link
from syncstructs.net.sockets import BACKLOG
from syncstructs.net.transport import STRANGER_COUNT, frame_limit_bytes

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]


# Links


@pytest.mark.usefixtures("wire")
def test_three_transports_link_and_exchange_in_order(run):
    async def main():
        names = addresses(3)
        async with contextlib.AsyncExitStack() as stack:
            members = [await stack.enter_async_context(Member(name, names)) for name in names]
            for member in members:
                await member.until_linked(*(set(names) - {member.transport.address}))
            payloads = [b"%d" % n * (n % 7) for n in range(500)] + [bytes(300_000), b"last"]
            for member in members:
                for peer in member.transport.links():
                    assert all(member.transport.send(peer, payload) for payload in payloads)
            for member in members:
                assert member.transport.links() == tuple(
                    name for name in names if name != member.transport.address
                )
                for peer in member.transport.links():
                    await member.until(lambda m=member, p=peer: len(m.frames(p)) == len(payloads))
                    assert member.frames(peer) == payloads
                    assert member.events.count(("up", peer)) == 1

    run(main)


@pytest.mark.pure("a method is changed")
@pytest.mark.usefixtures("wire")
def test_large_messages_arrive_whole_and_in_order_among_small_ones(run, monkeypatch):
    filled, in_place = Link.filled, 0

    def count_filled(link, count):
        nonlocal in_place
        in_place += count
        return filled(link, count)

    monkeypatch.setattr(Link, "filled", count_filled)

    async def main():
        names = addresses(2)
        async with Member(names[0], names) as one, Member(names[1], names) as other:
            await one.until_linked(names[1])
            await other.until_linked(names[0])
            random = Random(1)
            sizes = [3, 70_000, 1_048_700, 0, 65_536, 40_000, 5, 3_000_000, 262_140, 1] * 2
            payloads = [random.randbytes(size) for size in sizes]
            for source, target in ((one, names[1]), (other, names[0])):
                assert all(source.transport.send(target, payload) for payload in payloads)
            await one.until(lambda: len(one.frames(names[1])) == len(payloads))
            await other.until(lambda: len(other.frames(names[0])) == len(payloads))
            assert one.frames(names[1]) == other.frames(names[0]) == payloads

    run(main)
    assert (in_place > 0) == (Member.password is None)


def test_send_says_false_without_a_link(run):
    async def main():
        own, absent = addresses(2)
        async with Member(own, [absent]) as member:
            assert not member.transport.send(absent, b"x")
            assert not member.transport.send("unheard.of:1", b"x")
            assert not member.transport.connected(absent)
            assert member.transport.links() == ()

    run(main)


@pytest.mark.usefixtures("wire")
@pytest.mark.parametrize("restarted", ["greater", "smaller"])
def test_a_restarted_peer_is_linked_again_and_its_end_is_told_at_once(run, restarted):
    async def main():
        names = addresses(2)
        stays, leaves = names if restarted == "greater" else reversed(names)
        # The survivor alone would pause for a minute: only a knock, or the dial of the one that
        # comes back, can link them in time.
        slow = Config(reconnect_interval_min=60.0, reconnect_interval_max=60.0)
        async with Member(stays, names, slow) as member:
            for life in range(1, 4):
                async with Member(leaves, names) as other:
                    await member.until_linked(leaves)
                    await other.until_linked(stays)
                    assert other.transport.send(stays, b"%d" % life)
                    await member.until(lambda n=life: member.frames(leaves)[-1:] == [b"%d" % n])
                    assert member.transport.send(leaves, b"back")
                    await other.until(lambda o=other: o.frames(stays) == [b"back"])
                await member.until(lambda: not member.transport.connected(leaves))
            ups_and_downs = [event[0] for event in member.events if event[0] != "frame"]
            assert ups_and_downs == ["up", "down"] * 3

    run(main)


@pytest.mark.usefixtures("wire")
@pytest.mark.parametrize("deaf", ["greater", "smaller"])
def test_a_link_that_only_one_side_lost_is_replaced(run, deaf):
    """A side that vanished without FIN (power, partition) comes back while the other still trusts
    the old socket: the hello of the new connection must end it."""

    async def main():
        names = addresses(2)
        one, other = names if deaf == "greater" else reversed(names)
        async with Member(one, names) as member, Member(other, names) as forgetful:
            await member.until_linked(other)
            await forgetful.until_linked(one)
            forgetful.transport._peers[one].connection._stream.pause_reading()
            lost = forgetful.transport._peers[one].connection
            # As if the network had eaten what a close sends: keep the socket, forget the link.
            stream, lost._stream = lost._stream, None
            lost.end("the cable was cut")
            await member.until(lambda: member.events.count(("up", other)) == 2)
            assert [event[0] for event in member.events] == ["up", "down", "up"]
            await forgetful.until_linked(one)
            assert forgetful.transport.send(one, b"again")
            await member.until(lambda: member.frames(other) == [b"again"])
            stream.abort()

    run(main)


def test_a_late_hello_does_not_replace_a_newer_link(run):
    async def main():
        own, peer = addresses(2)
        async with Member(own, [peer]) as member:
            new, late = await dialled_by_hand(own), await dialled_by_hand(own)
            for number, (reader, writer) in ((5, new), (4, late)):
                hello = Hello(
                    cluster=FAST.cluster,
                    address=peer,
                    dialled=own,
                    incarnation=1,
                    number=number,
                    limit_bytes=100,
                )
                payload = encode_hello(hello)
                writer.write(frame_header(payload) + payload)
                await reader.read(1)
            await member.until_linked(peer)
            assert member.transport.connected(peer)
            assert [event[0] for event in member.events] == ["up"]
            assert not member.transport.send(peer, bytes(101)), "the peer's limit is 100 bytes"
            assert member.transport.send(peer, bytes(100))
            for _, writer in (new, late):
                writer.close()

    run(main)


@pytest.mark.usefixtures("wire")
def test_a_lone_message_leaves_at_once_and_a_burst_in_one_more_write(run):
    async def main():
        names = addresses(2)
        async with Member(names[0], names) as left, Member(names[1], names) as right:
            await left.until_linked(names[1])
            await right.until_linked(names[0])
            connection = left.transport._peers[names[1]].connection
            writes = []
            stream = connection._stream

            class Counting:
                def __getattr__(self, name):
                    return getattr(stream, name)

                def write(self, piece):
                    writes.append(len(piece))
                    stream.write(piece)

            connection._stream = Counting()
            lone, burst = 8, 800
            if Member.password is not None:
                lone, burst = 4 + lone + TAG_BYTES, 4 + burst + TAG_BYTES
            assert left.transport.send(names[1], b"lone")
            assert writes == [lone]
            for _ in range(100):
                assert left.transport.send(names[1], b"more")
            assert writes == [lone]
            await right.until(lambda: len(right.frames(names[0])) == 101)
            assert writes == [lone, burst]
            assert connection.at_rest

    run(main)


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 in this Python")
def test_ipv6_members_link(run):
    try:
        names = addresses(2, "::1")
    except OSError:
        pytest.skip("no IPv6 loopback")

    async def main():
        async with Member(names[0], names) as left, Member(names[1], names) as right:
            await left.until_linked(names[1])
            await right.until_linked(names[0])
            assert right.transport.send(names[0], b"six")
            await left.until(lambda: b"six" in left.frames(names[1]))

    run(main)


# Names


def test_a_host_name_is_looked_up_at_every_connection(run, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "syncstructs.net")

    async def main():
        small, great = free_ports(2)
        peer, own = f"peer.test:{small}", f"zebra.test:{great}"
        loop_class = type(asyncio.get_running_loop())
        lookups = []

        async def getaddrinfo(self, host, port, **_):
            lookups.append(host)
            if host == "peer.test" and lookups.count(host) == 1:
                raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
            # The first of the two is not of this machine's network: all are tried in turn.
            found = ["127.0.0.1"] if host != "peer.test" else ["127.255.255.254", "127.0.0.1"]
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, port)) for ip in found]

        try:
            monkeypatch.setattr(loop_class, "getaddrinfo", getaddrinfo)
        except TypeError:
            pytest.skip("a loop written in C cannot be patched")
        async with Member(own, [peer]) as member:
            await logged(caplog, "peer.test:")
            for _ in range(2):
                async with Member(peer, [own], Config(bind=f"127.0.0.1:{small}")):
                    await member.until_linked(peer)
                await member.until(lambda: not member.transport.connected(peer))
            assert lookups.count("peer.test") >= 3
        assert lines(caplog, "does not resolve (Name or service not known)") == 1

    run(main)


def test_a_lookup_that_hangs_is_not_joined_by_others(run, monkeypatch):
    async def main():
        own = addresses(1)[0]
        config = Config(
            connect_timeout=0.01, reconnect_interval_min=0.001, reconnect_interval_max=0.001
        )
        member = Member(own, ["hangs.test:1"], config)
        lookups = []

        async def resolve(address):
            lookups.append(address)
            await asyncio.Event().wait()

        monkeypatch.setattr("syncstructs.net.dialling.resolve", resolve)
        async with member, asyncio.timeout(PATIENCE):
            while member.transport._peers["hangs.test:1"].failure_count < 4:
                await next_iteration()
            assert len(lookups) == 1

    run(main)


# Refusals


def test_another_cluster_is_refused_and_said_once_on_both_sides_while_retrying(run, caplog):
    caplog.set_level(logging.INFO, "syncstructs.net")

    async def main():
        names = addresses(2)
        red = Config(cluster="red", reconnect_interval_min=0.001, reconnect_interval_max=0.002)
        blue = Config(cluster="blue", reconnect_interval_min=0.001, reconnect_interval_max=0.002)
        async with Member(names[0], names, red) as left, Member(names[1], names, blue) as right:
            attempts = [left.transport, right.transport]
            async with asyncio.timeout(PATIENCE):
                while min(transport._hello_number for transport in attempts) < 10:
                    await next_iteration()
            assert left.events == right.events == []
        # Each side refuses the other's dial and is refused by it, and each says each once.
        assert lines(caplog, "refused a link with") == 2
        assert lines(caplog, "refused this node") == 2
        assert lines(caplog, "is of cluster 'red'") == 4

    run(main)


def test_a_refusal_is_said_again_after_a_success_in_between(run, caplog):
    caplog.set_level(logging.INFO, "syncstructs.net")

    async def main():
        names = addresses(2)
        async with Member(names[1], names) as member:
            for count in (1, 2):
                async with Member(names[0], names, Config(cluster="other")):
                    await logged(caplog, f"{names[0]} refused this node", count)
                async with Member(names[0], names):
                    await member.until_linked(names[0])
                await member.until(lambda: not member.transport.connected(names[0]))

    run(main)


def test_strangers_that_claim_to_be_a_member_do_not_keep_the_log_from_hearing_of_it(run, caplog):
    async def main():
        names = addresses(2)
        async with Member(names[1], names) as member:
            for count in range(1, 21):
                claim = Identity(cluster=f"c{count}", address=names[0], incarnation=1,
                                 limit_bytes=1 << 20)  # fmt: skip
                link = Link("dialer", identity=claim, dialled=names[1])
                link.greet(1)
                reader, writer = await dialled_by_hand(names[1])
                writer.write(link.data_to_send())
                async with asyncio.timeout(PATIENCE):
                    await reader.read()
                writer.close()
            assert lines(caplog, "refused a link with host 127.0.0.1: ") == 16
            async with Member(names[0], names, Config(cluster="other")):
                await logged(caplog, f"{names[0]} refused this node")
            assert member.events == []

    run(main)


@pytest.mark.usefixtures("wire")
def test_a_node_that_reaches_itself_under_another_name_says_so(run, caplog):
    async def main():
        (port,) = free_ports(1)
        own, alias = f"127.0.0.1:{port}", f"localhost:{port}"
        async with Member(own, [own, alias]) as member:
            await logged(caplog, "reached itself", 2)
            assert member.transport.links() == ()
            assert own not in member.transport._peers
            assert lines(caplog, f"'{own}' reached itself when it dialled '{alias}'") == 2

    run(main)


# Bad bytes and bad manners


def test_garbage_costs_only_its_own_connection(run, caplog):
    async def main():
        names = addresses(2)
        async with Member(names[0], names) as left, Member(names[1], names) as right:
            await left.until_linked(names[1])
            await right.until_linked(names[0])
            for noise in (b"GET / HTTP/1.1\r\n\r\n", b"\0\0\0\4evil", bytes(1000), b"\xff" * 70000):
                reader, writer = await dialled_by_hand(names[0])
                writer.write(noise)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            assert left.transport.send(names[1], b"unmoved")
            await right.until(lambda: right.frames(names[0]) == [b"unmoved"])
            assert len(left.events) == 1
        assert lines(caplog, "closed a connection with host") >= 1

    run(main)


def test_who_greets_and_errs_in_one_breath_costs_only_its_own_connection(run, caplog):
    """The hello is good, and the link is closed by the time that anybody could answer it."""

    async def main():
        own, peer = addresses(2)
        async with Member(own, [peer]) as member:
            hello = encode_hello(
                Hello(
                    cluster=FAST.cluster, address=peer, dialled=own, incarnation=1, number=1,
                    limit_bytes=100,
                )
            )  # fmt: skip
            for junk in (b"early", encode_hello.__doc__.encode(), bytes(5000)):
                reader, writer = await dialled_by_hand(own)
                writer.write(frame_header(hello) + hello + frame_header(junk) + junk)
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
                writer.close()
            assert member.events == []

    run(main)
    assert lines(caplog, "closed a connection with host 127.0.0.1: a frame came before") == 1
    assert "Traceback" not in caplog.text


def test_an_answer_to_a_frame_before_the_one_that_breaks_the_link_is_dropped(run):
    """Both came in one piece: the link is over while the callback of the first one runs."""

    async def main():
        names = addresses(2)
        sent = []

        def answer(peer, payloads):
            sent.append(left.transport.send(peer, b"answer"))

        left = Member(names[0], names, on_frames=answer)
        async with left, Member(names[1], names) as right:
            await right.until_linked(names[0])
            stream = right.transport._peers[names[0]].connection._stream
            stream.write(frame_header(b"good") + b"good" + b"\xff" * 4)
            await left.until(lambda: ("down", names[1]) in left.events)
        assert sent == [False]

    run(main)


def test_a_frame_may_bring_a_whole_command_and_what_an_earlier_release_has_made_an_entry_of():
    config = Config(max_command_bytes=10, append_bytes=10, chunk_bytes=10, batch_bytes=100_000)
    assert frame_limit_bytes(config) > 100_000


@pytest.mark.usefixtures("wire")
def test_a_frame_over_the_limit_costs_the_link_which_comes_back(run, caplog):
    async def main():
        names = addresses(2)
        async with Member(names[0], names) as left, Member(names[1], names) as right:
            await left.until_linked(names[1])
            await right.until_linked(names[0])
            too_large = frame_limit_bytes(FAST) + 1
            stream = left.transport._peers[names[1]].connection._stream
            stream.write(struct.pack("!I", too_large))
            await right.until(lambda: ("down", names[0]) in right.events)
            await right.until_linked(names[0])
        assert lines(caplog, f"a frame of {too_large} bytes is over the limit") == 1

    run(main)


@pytest.mark.usefixtures("wire")
def test_a_message_that_no_member_sends_costs_the_link(run, caplog):
    async def main():
        names = addresses(2)

        def strict(peer, payloads):
            raise ProtocolError("no \n message")

        left, right = Member(names[0], names, on_frames=strict), Member(names[1], names)
        async with left, right:
            await right.until_linked(names[0])
            await left.until_linked(names[1])
            assert right.transport.send(names[0], b"?")
            await right.until(lambda: ("down", names[0]) in right.events)
        assert lines(caplog, r"'no \n message'") == 1

    run(main)


def test_a_connection_that_does_not_greet_in_time_is_closed_however_busy(run):
    async def main():
        own = addresses(1)[0]
        config = Config(connect_timeout=0.05)
        async with Member(own, [], config) as member:
            reader, writer = await dialled_by_hand(own)
            writer.write(frame_header(bytes(100)))
            ended = asyncio.ensure_future(reader.read())
            with contextlib.suppress(ConnectionError):
                while not ended.done():
                    writer.write(b"\0")
                    await next_iteration()
            with contextlib.suppress(ConnectionError):
                await ended
            writer.close()
            assert not member.transport._strangers

    run(main)


def test_a_dialled_port_that_never_greets_is_given_up_in_time(run, caplog):
    caplog.set_level(logging.INFO, "syncstructs.net")

    async def main():
        silent, own = addresses(2)
        host, _, port = silent.rpartition(":")
        listener = socket.create_server((host, int(port)))
        config = Config(
            connect_timeout=0.02, reconnect_interval_min=0.001, reconnect_interval_max=0.001
        )
        with listener:
            async with Member(own, [silent], config) as member:
                await logged(caplog, "no greeting in time")
                async with asyncio.timeout(PATIENCE):
                    while member.transport._hello_number < 3:
                        await next_iteration()
                assert lines(caplog, f"cannot reach {silent}") == 1

    run(main)


def test_strangers_are_bounded_and_a_member_still_gets_in(run):
    async def main():
        names = addresses(2)
        patient = Config(connect_timeout=10 * PATIENCE)
        member = Member(names[0], names, patient)
        async with member, contextlib.AsyncExitStack() as stack:
            host, _, port = names[0].rpartition(":")
            strangers = []
            for _ in range(STRANGER_COUNT + 20):
                sock = stack.enter_context(socket.create_connection((host, int(port))))
                sock.setblocking(False)
                strangers.append(sock)
                await asyncio.sleep(0)
                member.transport._check()
            async with Member(names[1], names) as other:
                await other.until_linked(names[0])
                await member.until_linked(names[1])
                assert len(member.transport._strangers) > STRANGER_COUNT // 2
                async with asyncio.timeout(PATIENCE):
                    while len(member.transport._connections) > STRANGER_COUNT + 2:
                        await next_iteration()
                with contextlib.suppress(ConnectionError):
                    assert strangers[0].recv(1) == b"", "the oldest had to go"
                with pytest.raises(BlockingIOError):
                    strangers[-1].recv(1)

    run(main)


@pytest.mark.parametrize("here", ["127.0.0.2", "127.0.0.1"])
def test_a_host_that_floods_a_node_closes_its_own_connections(run, here):
    need_host(here)

    async def main():
        (own,) = addresses(1)
        async with (
            Member(own, [], Config(connect_timeout=10 * PATIENCE)) as member,
            contextlib.AsyncExitStack() as stack,
        ):
            host, _, port = own.rpartition(":")
            first = stack.enter_context(
                socket.create_connection((host, int(port)), source_address=(here, 0))
            )
            for _ in range(STRANGER_COUNT + 20):
                stack.enter_context(socket.create_connection((host, int(port))))
                await asyncio.sleep(0)
                member.transport._check()
            async with asyncio.timeout(PATIENCE):
                while len(member.transport._connections) > STRANGER_COUNT:
                    await next_iteration()
            first.setblocking(False)
            if here == host:
                with contextlib.suppress(ConnectionError):
                    assert first.recv(1) == b""
            else:
                with pytest.raises(BlockingIOError):
                    first.recv(1)

    run(main)


def test_a_burst_of_connections_waits_to_be_accepted_and_not_for_the_next_try(run):
    """A member must not wait a second because others came while the loop was at something."""
    limit = Path("/proc/sys/net/core/somaxconn")
    if not limit.exists() or int(limit.read_text()) < BACKLOG:
        pytest.skip("this system lets fewer connections wait, or does not tell")

    async def main():
        (own,) = addresses(1)
        async with Member(own, []) as member, contextlib.AsyncExitStack() as stack:
            host, _, port = own.rpartition(":")
            # Without the loop, so that none of them is accepted meanwhile.
            for _ in range(BACKLOG // 2):
                stack.enter_context(socket.create_connection((host, int(port)), timeout=0.9))
            async with asyncio.timeout(PATIENCE):
                while len(member.transport._strangers) < STRANGER_COUNT // 2:
                    await next_iteration()
            member.transport._check()

    run(main)


@pytest.mark.pure("a method is changed")
def test_whoever_waits_while_there_is_no_room_learns_it_before_he_gives_up(run, monkeypatch):
    """Nobody waits in a queue that is longer than what is taken out of it meanwhile."""
    limit = Path("/proc/sys/net/core/somaxconn")
    if not limit.exists() or int(limit.read_text()) < BACKLOG:
        pytest.skip("this system lets fewer connections wait, or does not tell")

    async def main():
        (own,) = addresses(1)
        patient = Config(connect_timeout=10 * PATIENCE)
        async with Member(own, [], patient) as member, contextlib.AsyncExitStack() as stack:
            host, _, port = own.rpartition(":")

            def connect():
                stack.enter_context(socket.create_connection((host, int(port)), timeout=0.9))

            for _ in range(STRANGER_COUNT + 20):
                connect()
                await asyncio.sleep(0)
            # Without the loop, so that none of them is accepted meanwhile.
            for _ in range(BACKLOG // 2):
                connect()
            heard, made = [], member.transport.made
            monkeypatch.setattr(
                member.transport, "made", lambda one: (heard.append(one), made(one))
            )
            (listening,) = member.transport._listening
            async with asyncio.timeout(PATIENCE):
                while select.select([listening], [], [], 0)[0]:
                    await asyncio.sleep(0)
            assert len(heard) < BACKLOG // 8, "each has waited for all that came before"
            member.transport._check()

    run(main)


@pytest.mark.usefixtures("wire")
def test_guests_that_come_and_go_are_told_of_to_who_wants_to_know_all(run, caplog):
    caplog.set_level(logging.DEBUG, "syncstructs.net")

    async def main():
        names = addresses(2)
        async with Member(names[0], []) as member:
            for number in range(3):
                async with Member(f"observer-{number}", [names[0]]) as guest:
                    await guest.until_linked(names[0])
                await member.until(lambda n=number: len(member.events) == 2 * n + 2)
            async with Member(names[1], names):
                await member.until_linked(names[1])
                member.transport.set_peers(names)
            await member.until(lambda: member.events[-1][0] == "down")

    run(main)
    told = [r for r in caplog.records if "of observer" not in r.getMessage()]
    guests = [r for r in told if r.getMessage().startswith("the link to observer")]
    assert {r.levelno for r in guests} == {logging.DEBUG}
    assert len(guests) == 6
    assert "INFO" in [r.levelname for r in told if " is down: " in r.getMessage()]


# Push back


@pytest.mark.usefixtures("wire")
def test_a_peer_that_does_not_read_costs_no_more_than_the_bound(run):
    async def main():
        names = addresses(2)
        bound = 1024 * 1024
        config = Config(link_buffer_bytes=bound, connect_timeout=PATIENCE)
        async with Member(names[0], names, config) as left, Member(names[1], names) as right:
            await left.until_linked(names[1])
            await right.until_linked(names[0])
            deaf = right.transport._peers[names[0]].connection._stream
            deaf.pause_reading()
            payload = bytes(50_000)
            sent = 0
            refusals_in_a_row = 0
            # Until it stays full although the loop had every chance to write.
            while refusals_in_a_row < 20:
                if left.transport.send(names[1], payload):
                    sent += 1
                    refusals_in_a_row = 0
                else:
                    refusals_in_a_row += 1
                    await next_iteration()
                assert left.transport.queued_bytes(names[1]) <= bound
                left.transport._check()
            assert left.transport.queued_bytes(names[1]) > bound - 2 * len(payload)
            assert not left.transport.send(names[1], payload)
            deaf.resume_reading()
            await right.until(lambda: len(right.frames(names[0])) == sent)
            async with asyncio.timeout(PATIENCE):
                while left.transport.queued_bytes(names[1]):
                    await next_iteration()
            assert left.transport.send(names[1], b"flows again")
            await right.until(lambda: right.frames(names[0])[-1] == b"flows again")

    run(main)


@pytest.mark.usefixtures("wire")
def test_tiny_messages_are_counted_with_what_they_cost(run):
    async def main():
        names = addresses(2)
        config = Config(link_buffer_bytes=100_000)
        async with Member(names[0], names, config) as left, Member(names[1], names):
            await left.until_linked(names[1])
            sent = sum(left.transport.send(names[1], b"") for _ in range(5000))
            assert 500 < sent < 2000

    run(main)


@pytest.mark.usefixtures("wire")
def test_a_message_larger_than_the_bound_goes_if_nothing_else_is_queued(run):
    async def main():
        names = addresses(2)
        config = Config(link_buffer_bytes=1000)
        async with Member(names[0], names, config) as left, Member(names[1], names) as right:
            await left.until_linked(names[1])
            assert left.transport.send(names[1], b"first")
            assert left.transport.send(names[1], bytes(2_000_000))
            assert not left.transport.send(names[1], b"third")
            await right.until(lambda: len(right.frames(names[0])) == 2)
            assert len(right.frames(names[0])[1]) == 2_000_000

    run(main)


# Beginning and end


def test_a_port_in_use_is_a_bind_error_that_says_so(run):
    async def main():
        own = addresses(1)[0]
        async with Member(own, []):
            with pytest.raises(BindError, match="the port is in use"):
                await Member(own, []).transport.start()

    run(main)


def test_an_address_of_another_machine_is_a_bind_error_that_says_so(run):
    async def main():
        with pytest.raises(BindError, match=r"192\.0\.2\.1 is not an address of this machine"):
            await Member("192.0.2.1:4321", []).transport.start()

    run(main)


def test_a_name_that_does_not_resolve_is_a_bind_error_that_says_so(run):
    async def main():
        with pytest.raises(BindError, match="does not resolve"):
            await Member("no-such-host.invalid:4321", []).transport.start()

    run(main)


def test_bind_may_differ_from_the_address(run):
    async def main():
        names = addresses(2)
        port = names[0].rpartition(":")[2]
        wide = Config(bind=f"0.0.0.0:{port}")
        async with Member(names[0], names, wide) as left, Member(names[1], names) as right:
            await left.until_linked(names[1])
            await right.until_linked(names[0])

    run(main)


@pytest.mark.usefixtures("wire")
def test_close_may_be_called_at_any_time_and_again(run):
    async def main():
        names = addresses(3)
        never_started = Member(names[0], names)
        await never_started.transport.close()
        for iterations in range(12):
            async with Member(names[0], names) as left, Member(names[1], names) as right:
                for _ in range(iterations):
                    await asyncio.sleep(0)
                await asyncio.gather(left.transport.close(), left.transport.close())
                told = len(left.events)
                await left.transport.close()
                assert not left.transport.send(names[1], b"x")
                await right.until(lambda r=right: not r.transport.connected(names[0]))
                assert len(left.events) == told

    run(main)


@pytest.mark.usefixtures("wire")
def test_what_was_sent_before_close_arrives(run):
    async def main():
        names = addresses(2)
        async with Member(names[1], names) as right:
            async with Member(names[0], names) as left:
                await left.until_linked(names[1])
                for n in range(10):
                    assert left.transport.send(names[1], b"%d" % n)
            await right.until(lambda: len(right.frames(names[0])) == 10)

    run(main)


@pytest.mark.usefixtures("wire")
def test_close_waits_for_a_peer_that_does_not_read_only_a_moment(run):
    async def main():
        names = addresses(2)
        async with Member(names[1], names) as right, Member(names[0], names) as left:
            await left.until_linked(names[1])
            await right.until_linked(names[0])
            right.transport._peers[names[0]].connection._stream.pause_reading()
            left.transport.send(names[1], bytes(8_000_000))
            async with asyncio.timeout(2.0):
                await left.transport.close()

    run(main)


@pytest.mark.usefixtures("wire")
def test_no_socket_is_left_to_the_collector(run):
    # The filters at the top turn a ResourceWarning into a failure only if one is raised at all.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        socket.socket()
        gc.collect()
    assert any(issubclass(warning.category, ResourceWarning) for warning in caught)
