"""Transports with a password: strangers are bounded, and what was recorded opens nothing."""

import asyncio
import contextlib
import socket
from dataclasses import replace

import pytest
from transports import FAST, PATIENCE, Member, addresses, dialled_by_hand, lines, logged, need_host

from syncstructs.config import Config
from syncstructs.net import cipher, passwords
from syncstructs.net.hello import HELLO_LIMIT_BYTES, Identity
from syncstructs.net.link import Link
from syncstructs.net.transport import _ACCEPTED_AT_ONCE, STRANGER_COUNT

SEALED = replace(FAST, password="a password of no account")
PATIENT = replace(SEALED, connect_timeout=10 * PATIENCE)


def link_to(own, address, config=SEALED):
    """Return the link of a dialer that is moved by hand."""
    identity = Identity(
        cluster=config.cluster, address=own, incarnation=1, limit_bytes=HELLO_LIMIT_BYTES
    )
    keys = passwords.derive_keys(config)
    return Link("dialer", identity=identity, dialled=address, keys=keys)


def begun(own, address, number=1):
    """Return such a link, and what it says first."""
    link = link_to(own, address)
    link.greet(number)
    return link, link.data_to_send()


async def greeted(own, address, number):
    """Dial by hand up to the hello; return all that was sent, and the open connection."""
    reader, writer = await dialled_by_hand(address)
    link, first = begun(own, address, number)
    writer.write(first)
    link.receive(await reader.readexactly(4 + 15 + 48))
    hello = link.data_to_send()
    writer.write(hello)
    return first + hello, link, reader, writer


def test_a_hello_by_hand_is_taken_and_the_same_bytes_with_its_greater_number_are_not(run):
    """The first half shows that a fresh hello with a greater number does close the link."""

    async def main():
        own, peer = addresses(2)
        async with Member(own, [peer], SEALED) as member:
            recorded = []
            for number in (5, 6):
                words, link, reader, writer = await greeted(peer, own, number)
                recorded.append(words)
                while not link.limit_bytes:
                    link.receive(await reader.read(1000))
                await member.until(lambda n=number: member.events.count(("up", peer)) == n - 4)
            before = list(member.events)
            assert before == [("up", peer), ("down", peer), ("up", peer)]
            for words in recorded:
                late_reader, late_writer = await dialled_by_hand(own)
                late_writer.write(words)
                with contextlib.suppress(ConnectionError):
                    # The answer to the handshake at the most: the hello did not open.
                    assert len(await late_reader.read()) <= 4 + 15 + 48
                late_writer.close()
            writer.write(link.frames([b"still here"]))
            await member.until(lambda: member.frames(peer) == [b"still here"])
            assert [e for e in member.events if e[0] != "frame"] == before
            writer.close()

    run(main)


def test_a_flood_of_recorded_handshakes_costs_one_answer_each_and_keeps_nobody_out(
    run, monkeypatch
):
    answers = []
    write_second = cipher.Handshake.write_second

    def counted(self, private, payload=b""):
        answers.append(1)
        return write_second(self, private, payload)

    monkeypatch.setattr(cipher.Handshake, "write_second", counted)

    async def main():
        names = addresses(2)
        first = link_to("observer-1", names[0])
        first.greet(1)
        handshake = first.data_to_send()
        member = Member(names[0], names, PATIENT)
        async with member, contextlib.AsyncExitStack() as stack:
            count = STRANGER_COUNT + 50
            for _ in range(count):
                reader, writer = await dialled_by_hand(names[0])
                stack.callback(writer.close)
                writer.write(handshake)
                await reader.readexactly(4 + 15 + 48)
                # What may follow is bounded too, and kept until it is whole.
                writer.write(b"\0\0\x0f\xff" + bytes(1000))
                member.transport._check()
            assert len(answers) == count
            assert len(member.transport._strangers) <= STRANGER_COUNT
            held = sum(c.link._decoder.held_bytes() for c in member.transport._strangers)
            assert held <= STRANGER_COUNT * 4200
            assert member.events == []
            async with Member(names[1], names, SEALED) as other:
                await other.until_linked(names[0])
                await member.until_linked(names[1])

    run(main)


async def crowded(member, own, stack, *, words=b""):
    """Let more strangers come than may be, and say `words`."""
    host, _, port = own.rpartition(":")
    for _ in range(STRANGER_COUNT + 50):
        reader, writer = await asyncio.open_connection(host, int(port))
        stack.callback(writer.close)
        if words:
            writer.write(words)
            with contextlib.suppress(ConnectionError):
                await reader.read(4 + 15 + 48)
    member.transport._check()
    assert len(member.transport._strangers) > STRANGER_COUNT // 2


@pytest.mark.parametrize("kind", ["silent", "recorded"])
def test_a_member_on_its_way_is_not_closed_for_a_flood_of_strangers(run, kind):
    """A link takes some round trips; as many strangers as may be come in between."""
    need_host("127.0.0.2")

    async def main():
        own, peer = addresses(2)
        async with Member(own, [peer], PATIENT) as member, contextlib.AsyncExitStack() as stack:
            link, first = begun(peer, own)
            # Who has recorded a handshake cannot be told from a member, but by where it is.
            here = None if kind == "silent" else "127.0.0.2"
            reader, writer = await dialled_by_hand(own, here)
            stack.callback(writer.close)
            writer.write(first)
            link.receive(await reader.readexactly(4 + 15 + 48))
            await crowded(member, own, stack, words=b"" if kind == "silent" else first)
            writer.write(link.data_to_send())
            await member.until_linked(peer)

    run(main)


def test_whoever_comes_finds_room_among_strangers_that_all_seem_to_be_members(run):
    async def main():
        own, peer = addresses(2)
        member = Member(own, [own, peer], PATIENT)
        async with member, contextlib.AsyncExitStack() as stack:
            _, first = begun("observer-1", own)
            await crowded(member, own, stack, words=first)
            async with Member(peer, [own, peer], SEALED) as other:
                await other.until_linked(own)
                await member.until_linked(peer)

    run(main)


def test_who_comes_in_a_burst_of_recordings_is_heard_before_it_is_closed(run):
    """As many as are accepted at once: the first of them has not said a word when the last comes.

    The strangers that are there already have all said what a member says first.
    """

    async def main():
        own, peer = addresses(2)
        async with Member(own, [peer], PATIENT) as member, contextlib.AsyncExitStack() as stack:
            link, first = begun(peer, own)
            await crowded(member, own, stack, words=first)
            host, _, port = own.rpartition(":")
            # The loop does not run meanwhile.
            burst = [
                stack.enter_context(socket.create_connection((host, int(port))))
                for _ in range(_ACCEPTED_AT_ONCE)
            ]
            for sock in burst:
                sock.sendall(first)
            reader, writer = await asyncio.open_connection(sock=burst[0])
            stack.callback(writer.close)
            async with asyncio.timeout(PATIENCE):
                link.receive(await reader.readexactly(4 + 15 + 48))
                writer.write(link.data_to_send())
            await member.until_linked(peer)

    run(main)


def test_a_flood_of_handshakes_with_another_password_is_answered_without_a_key_exchange(
    run, monkeypatch, caplog
):
    def never(self):
        raise AssertionError("a key exchange for a stranger")

    async def main():
        (own,) = addresses(1)
        other = link_to("observer-1", own, replace(SEALED, password="another one altogether"))
        other.greet(1)
        handshake = other.data_to_send()
        async with Member(own, [], PATIENT) as member:
            monkeypatch.setattr(cipher.Handshake, "_shared", never)
            for _ in range(50):
                reader, writer = await dialled_by_hand(own)
                writer.write(handshake)
                async with asyncio.timeout(PATIENCE):
                    assert b"does not accept" in await reader.read()
                writer.close()
            assert member.events == []

    run(main)
    assert lines(caplog, "does not accept") == 1


@pytest.mark.parametrize("case", ["dialled", "dials"])
def test_a_node_without_a_password_and_one_with_are_never_linked_whoever_dials(run, caplog, case):
    async def main():
        names = addresses(2)
        sealed, plain = names if case == "dialled" else reversed(names)
        async with Member(sealed, names, SEALED) as one, Member(plain, names, FAST) as other:
            await logged(caplog, "the node that dialled has a password, the node that was", 2)
            await logged(caplog, "the node that was dialled has a password, the node that", 2)
            assert one.events == other.events == []

    run(main)
    assert "anybody may have said it" in caplog.text


def test_a_transport_that_is_closed_while_it_derives_its_keys_is_closed(run):
    async def main():
        (own,) = addresses(1)
        passwords.derive_psk.cache_clear()
        member = Member(own, [], SEALED)
        starting = asyncio.ensure_future(member.transport.start())
        await asyncio.sleep(0)
        await member.transport.close()
        await starting
        assert not member.transport._servers
        assert not member.transport._connections

    run(main)


def test_the_keys_are_derived_once_per_process_and_password(run, monkeypatch):
    derived = []
    scrypt = passwords.derive_psk.__wrapped__

    def counted(password, cluster):
        derived.append((password, cluster))
        return scrypt(password, cluster)

    cached = passwords.lru_cache(counted)
    monkeypatch.setattr(passwords, "derive_psk", cached)
    config = Config(password="once and for all", accepted_passwords=("the one before",))

    async def main():
        keys = await asyncio.gather(*(passwords.load_keys(config) for _ in range(4)))
        assert all(keys)

    run(main)
    assert sorted(derived) == [
        ("once and for all", "syncstructs"), ("the one before", "syncstructs")
    ]  # fmt: skip
