"""Transports whose peers change, and those that come without being asked: bounded, and no less
linked than a member."""

import asyncio
import contextlib
import logging
import socket

import pytest
from transports import (
    FAST,
    PATIENCE,
    Member,
    addresses,
    dialled_by_hand,
    lines,
    logged,
    next_iteration,
)

from syncstructs.config import Config
from syncstructs.errors import ConfigError
from syncstructs.net.frames import frame_header
from syncstructs.net.hello import Hello, Identity, encode_hello, reason_to_refuse
from syncstructs.net.peers import GUEST_COUNT, Peers

pytestmark = [
    pytest.mark.filterwarnings("error::ResourceWarning"),
    pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning"),
]
SLOW = Config(reconnect_interval_min=60.0, reconnect_interval_max=60.0, connect_timeout=2.0)
either_is_greater = pytest.mark.parametrize("greater", ["first", "second"])


def two_addresses(greater):
    names = addresses(2)
    return names if greater == "second" else names[::-1]


def ups_and_downs(member):
    return [event[0] for event in member.events if event[0] != "frame"]


async def until(condition):
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await next_iteration()


async def until_idle(member):
    """Wait until a transport neither has a socket nor tries anything."""
    transport = member.transport
    await until(lambda: not transport._dialler.tasks and not transport._connections)
    transport._check()
    assert not transport._peers.guests


async def greet_by_hand(own, name, *, number=1, incarnation=1):
    """Say hello as the node `name`; return the streams."""
    reader, writer = await dialled_by_hand(own)
    hello = Hello(
        cluster=FAST.cluster,
        address=name,
        dialled=own,
        incarnation=incarnation,
        number=number,
        limit_bytes=100,
    )
    payload = encode_hello(hello)
    writer.write(frame_header(payload) + payload)
    return reader, writer


async def exchange(one, other):
    """Send a message each way, and wait until both have come."""
    for sender, receiver in ((one, other), (other, one)):
        source, target = sender.transport.address, receiver.transport.address
        assert sender.transport.send(target, b"from %s" % source.encode())
        await receiver.until(
            lambda r=receiver, s=source: r.frames(s)[-1:] == [b"from %s" % s.encode()]
        )


# Peers that change


@either_is_greater
def test_a_peer_that_is_added_later_is_linked_whichever_side_adds_first(run, greater):
    async def main():
        first, second = two_addresses(greater)
        async with Member(first, []) as one, Member(second, []) as other:
            assert one.transport.links() == other.transport.links() == ()
            one.transport.set_peers([second])
            await one.until_linked(second)
            await other.until_linked(first)
            assert one.transport.links() == (second,)
            assert one.transport.guests() == ()
            assert other.transport.links() == ()
            assert other.transport.guests() == (first,)
            await exchange(one, other)
            other.transport.set_peers([first])
            assert other.transport.links() == (first,)
            assert other.transport.guests() == ()
            await exchange(one, other)
            assert ups_and_downs(one) == ups_and_downs(other) == ["up"]

    run(main)


@pytest.mark.parametrize("iterations", range(6))
@either_is_greater
def test_two_that_add_each_other_at_about_the_same_time_have_one_link(run, greater, iterations):
    async def main():
        first, second = two_addresses(greater)
        async with Member(first, [], SLOW) as one, Member(second, [], SLOW) as other:
            one.transport.set_peers([first, second])
            for _ in range(iterations):
                await asyncio.sleep(0)
            other.transport.set_peers([first, second])
            await one.until_linked(second)
            await other.until_linked(first)
            await exchange(one, other)
            assert one.transport.links() == (second,)
            assert other.transport.links() == (first,)

    run(main)


def test_peers_set_before_the_start_are_dialled_by_it(run):
    async def main():
        names = addresses(3)
        late = Member(names[0], [names[1]])
        late.transport.set_peers([names[2]])
        assert not late.transport._dialler.tasks
        async with Member(names[2], []) as other, late:
            await late.until_linked(names[2])
            await other.until_linked(names[0])
            assert late.transport.links() == (names[2],)
            assert names[1] not in late.transport._peers

    run(main)


def test_links_are_in_the_order_of_the_peers_that_were_set_last(run):
    async def main():
        names = addresses(4)
        async with contextlib.AsyncExitStack() as stack:
            members = [await stack.enter_async_context(Member(name, names)) for name in names]
            await members[0].until_linked(*names[1:])
            members[0].transport.set_peers([names[3], names[1]])
            assert members[0].transport.links() == (names[3], names[1])
            assert members[0].transport.guests() == (names[2],)

    run(main)


def test_a_peer_that_is_no_address_is_refused_and_changes_nothing(run):
    async def main():
        names = addresses(2)
        async with Member(names[0], names) as one, Member(names[1], names):
            await one.until_linked(names[1])
            with pytest.raises(ConfigError, match="no port"):
                one.transport.set_peers(["db1.example"])
            assert one.transport.links() == (names[1],)

    run(main)


@either_is_greater
def test_a_removed_peer_keeps_its_link_until_the_other_side_ends_it(run, greater):
    async def main():
        stays, removed = two_addresses(greater)
        async with Member(stays, [removed]) as one:
            async with Member(removed, [stays]) as other:
                await one.until_linked(removed)
                await other.until_linked(stays)
                one.transport.set_peers([])
                assert one.transport.links() == ()
                assert one.transport.guests() == (removed,)
                await exchange(one, other)
                assert ups_and_downs(one) == ups_and_downs(other) == ["up"]
                other.transport.set_peers([])
                assert other.transport.guests() == (stays,)
                await exchange(one, other)
            await one.until(lambda: not one.transport.connected(removed))
            assert ups_and_downs(one) == ["up", "down"]
            await until_idle(one)

    run(main)


@either_is_greater
def test_a_peer_that_was_removed_while_it_was_dialled_is_dialled_no_more(run, greater):
    """In a pause, in a lookup, in a vain connection: all is over at once."""

    async def main():
        own, silent = two_addresses(greater)
        host, _, port = silent.rpartition(":")
        with socket.create_server((host, int(port))):
            for peer in (silent, "127.0.0.1:1", "unheard.invalid:1"):
                async with Member(own, [peer]) as member:
                    for _ in range(5):
                        await next_iteration()
                    member.transport.set_peers([])
                    member.transport._check()
                    said = member.transport._hello_number
                    await until_idle(member)
                    assert member.transport._hello_number == said

    run(main)


@either_is_greater
def test_a_removed_peer_that_goes_on_calling_is_a_guest(run, greater):
    async def main():
        stays, removed = two_addresses(greater)
        async with Member(stays, [removed]) as one, Member(removed, [stays]) as other:
            await one.until_linked(removed)
            await other.until_linked(stays)
            one.transport.set_peers([])
            for count in (2, 3):
                one.transport._peers[removed].connection.end("cut by hand")
                assert one.transport.guests() == ()
                await one.until(lambda n=count: one.events.count(("up", removed)) == n)
                assert one.transport.guests() == (removed,)
                await other.until(lambda n=count: other.events.count(("up", stays)) == n)
            await exchange(one, other)
            assert ups_and_downs(one) == ups_and_downs(other) == ["up", "down"] * 2 + ["up"]

    run(main)


@either_is_greater
def test_a_guest_becomes_a_peer_and_a_guest_again_without_up_or_down(run, greater):
    async def main():
        own, guest = two_addresses(greater)
        async with Member(own, []) as one, Member(guest, [own]) as other:
            await one.until_linked(guest)
            await other.until_linked(own)
            for _ in range(3):
                one.transport.set_peers([guest])
                one.transport._check()
                assert one.transport.links() == (guest,)
                await exchange(one, other)
                one.transport.set_peers([])
                one.transport._check()
                assert one.transport.guests() == (guest,)
                await exchange(one, other)
            assert ups_and_downs(one) == ups_and_downs(other) == ["up"]
            # As a peer it is restored: its end is not the end.
            one.transport.set_peers([guest])
            other.transport.set_peers([])
            other.transport._peers[own].connection.end("cut by hand")
            await one.until(lambda: one.events.count(("up", guest)) == 2)
            await other.until(lambda: other.events.count(("up", own)) == 2)

    run(main)


def test_a_guest_that_becomes_a_peer_while_it_is_called_back_is_dialled_on(run):
    async def main():
        silent, own = addresses(2)
        host, _, port = silent.rpartition(":")
        config = Config(
            connect_timeout=0.02, reconnect_interval_min=0.001, reconnect_interval_max=0.001
        )
        with socket.create_server((host, int(port))):
            async with Member(own, [], config) as member:
                _, writer = await greet_by_hand(own, silent)
                await until(lambda: silent in member.transport._peers.guests)
                member.transport.set_peers([silent])
                await until(lambda: member.transport._hello_number > 4)
                assert member.transport._peers.guests == {}
                writer.close()

    run(main)


@either_is_greater
def test_the_peers_may_be_set_in_the_callbacks(run, greater):
    async def main():
        own, other_name = two_addresses(greater)
        async with Member(own, []) as one:

            def note(event):
                Member.note(one, event)
                one.transport.set_peers([other_name] if event[0] == "up" else [])

            one.note = note
            for life in (1, 2, 3):
                async with Member(other_name, [own]) as other:
                    await one.until_linked(other_name)
                    await other.until_linked(own)
                    assert one.transport.links() == (other_name,)
                    assert other.transport.send(own, b"x")
                    await one.until(lambda n=life: len(one.frames(other_name)) == n)
                    assert one.transport.guests() == (other_name,)
                await one.until(lambda: not one.transport.connected(other_name))
            assert ups_and_downs(one) == ["up", "down"] * 3
            await until_idle(one)

    run(main)


def test_after_close_peers_are_noted_and_not_dialled(run):
    async def main():
        names = addresses(3)
        member = Member(names[0], names[:2])
        async with member:
            await member.transport.close()
            member.transport.set_peers(names)
            assert names[2] in member.transport._peers
            assert not member.transport._dialler.tasks

    run(main)


# Guests


@either_is_greater
def test_a_guest_that_restarts_has_a_new_link_and_up_and_down_alternate(run, greater):
    async def main():
        own, guest = two_addresses(greater)
        async with Member(own, []) as one:
            for life in (1, 2, 3):
                async with Member(guest, [own]) as other:
                    await one.until(lambda n=life: one.events.count(("up", guest)) == n)
                    await other.until_linked(own)
                    await exchange(one, other)
                    other.transport.set_peers([])
                await one.until(lambda n=life: one.events.count(("down", guest)) == n)
            assert ups_and_downs(one) == ["up", "down"] * 3
            await until_idle(one)

    run(main)


@either_is_greater
def test_a_guest_that_lost_its_link_without_a_word_is_linked_again(run, greater):
    async def main():
        own, guest = two_addresses(greater)
        async with Member(own, []) as one, Member(guest, [own]) as other:
            await one.until_linked(guest)
            await other.until_linked(own)
            lost = other.transport._peers[own].connection
            lost._stream.pause_reading()
            stream, lost._stream = lost._stream, None
            lost.end("the cable was cut")
            await one.until(lambda: one.events.count(("up", guest)) == 2)
            await other.until(lambda: other.events.count(("up", own)) == 2)
            assert ups_and_downs(one) == ["up", "down", "up"]
            await exchange(one, other)
            stream.abort()

    run(main)


def test_a_late_hello_of_a_guest_does_not_replace_its_link_and_a_new_life_does(run):
    async def main():
        own, guest = addresses(2)
        async with Member(own, []) as member, contextlib.AsyncExitStack() as stack:
            for number, incarnation, expected in ((5, 1, 1), (4, 1, 1), (1, 2, 2)):
                reader, writer = await greet_by_hand(
                    own, guest, number=number, incarnation=incarnation
                )
                stack.callback(writer.close)
                assert bool(await reader.read(1)) == (number != 4)
                await member.until(lambda n=expected: member.events.count(("up", guest)) == n)
            assert ups_and_downs(member) == ["up", "down", "up"]
            assert member.transport.guests() == (guest,)

    run(main)


def test_a_guest_that_cannot_be_called_back_is_dialled_once_per_knock_and_forgotten(run, caplog):
    caplog.set_level(logging.INFO, "syncstructs.net")

    async def main():
        absent, own = addresses(2)
        async with Member(own, []) as member:
            dials = count_dials(member)
            for count in (1, 2, 3):
                reader, writer = await greet_by_hand(own, absent)
                assert await reader.read(1)
                await until(lambda n=count: len(dials) == n)
                writer.close()
                await until_idle(member)
                assert dials == [absent] * count
            assert member.events == []
        assert lines(caplog, f"cannot reach {absent}") == 1

    run(main)


def count_dials(member):
    """Return a list that will have the address of each dial."""
    dials = []
    reach = member.transport._dialler._reach

    async def counted(peer, *more):
        dials.append(peer.name)
        return await reach(peer, *more)

    member.transport._dialler._reach = counted
    return dials


def test_another_cluster_is_refused_as_a_guest_too(run, caplog):
    async def main():
        own, guest = addresses(2)
        async with Member(own, []) as one, Member(guest, [own], Config(cluster="other")):
            await logged(caplog, f"{own} refused this node")
            assert one.events == []
            assert not one.transport._peers.guests

    run(main)


@either_is_greater
def test_close_with_guests_leaves_nothing(run, greater):
    async def main():
        own, guest = two_addresses(greater)
        async with Member(guest, [own], SLOW) as other:
            for iterations in range(12):
                async with Member(own, []) as one:
                    if iterations == 11:
                        await one.until_linked(guest)
                    for _ in range(iterations):
                        await asyncio.sleep(0)
                    await one.transport.close()
                    assert not one.transport._dialler.tasks
                    assert not one.transport._connections
                    assert one.transport.guests() == ()
                # Its pause is a minute: as a guest, the greater one would not come again in time.
                other.transport.set_peers([])
                other.transport.set_peers([own])

    run(main)


# Strangers that say they are guests


async def read_all(reader):
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


def test_guests_that_dial_are_bounded_and_a_member_still_gets_in(run, caplog):
    async def main():
        names = addresses(2)
        async with Member(names[0], [names[1]]) as member, contextlib.AsyncExitStack() as stack:
            writers = []
            for number in range(300):
                reader, writer = await greet_by_hand(names[0], f"z{number}.test:1")
                stack.callback(writer.close)
                writers.append(writer)
                if number < GUEST_COUNT:
                    assert await reader.read(1)
                else:
                    answer = await read_all(reader)
                    assert b"has 256 guests, and no room for 'z%d.test:1'" % number in answer
                member.transport._check()
            guests = tuple(f"z{number}.test:1" for number in range(GUEST_COUNT))
            assert member.transport.guests() == guests
            async with Member(names[1], [names[0]]) as other:
                await member.until_linked(names[1])
                await exchange(member, other)
                # One that was a member has room, too.
                member.transport.set_peers([])
                member.transport._check()
                await exchange(member, other)
                member.transport.set_peers([names[1]])
            # Who leaves makes room.
            writers[7].close()
            await member.until(lambda: ("down", guests[7]) in member.events)
            reader, writer = await greet_by_hand(names[0], "z300.test:1")
            stack.callback(writer.close)
            await member.until_linked("z300.test:1")
            assert len(member.transport.guests()) == GUEST_COUNT
        assert lines(caplog, "has 256 guests") <= 16

    run(main)


def test_guests_that_knock_are_bounded_and_dialled_once_each(run, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "syncstructs.net")

    async def main():
        absent, own = addresses(2)
        member = Member(own, [], Config(connect_timeout=10 * PATIENCE))
        hanging = asyncio.Event()
        waiting = []

        async def resolve(address):
            waiting.append(address)
            await hanging.wait()
            waiting.remove(address)
            raise OSError("no such name")

        monkeypatch.setattr("syncstructs.net.dialling.resolve", resolve)
        async with member, contextlib.AsyncExitStack() as stack:
            for number in range(300):
                reader, writer = await greet_by_hand(own, f"0s{number}.test:1")
                stack.callback(writer.close)
                answer = await read_all(reader)
                assert (b"has 256 guests" in answer) == (number >= GUEST_COUNT)
                member.transport._check()
                # Threads that a member's name needs.
                assert len(waiting) <= 2
            assert len(member.transport._peers.guests) == GUEST_COUNT
            assert len(member.transport._dialler.tasks) <= GUEST_COUNT + 2
            hanging.set()
            await until_idle(member)
            # What was said of them has not used up what may be said of a member.
            monkeypatch.undo()
            caplog.set_level(logging.INFO, "syncstructs.net")
            assert lines(caplog, "does not resolve") <= 16
            member.transport.set_peers([absent])
            await logged(caplog, f"cannot reach {absent}")

    run(main)


def test_lookups_of_guests_that_hang_are_not_joined_by_those_of_the_next_knock(run, monkeypatch):
    async def main():
        own = addresses(1)[0]
        lookups = []

        async def resolve(address):
            lookups.append(address.host)
            await asyncio.Event().wait()

        monkeypatch.setattr("syncstructs.net.dialling.resolve", resolve)
        async with Member(own, [], Config(connect_timeout=0.02)) as member:
            for count in range(1, 5):
                _, writer = await greet_by_hand(own, "0hangs.test:1")
                await until(lambda n=count: member.transport._hello_number == n)
                await until(lambda: not member.transport._peers.guests)
                writer.close()
            assert len(lookups) == 2

    run(main)


def test_a_name_is_a_member_or_a_guest_or_unknown_and_keeps_its_peer():
    peers = Peers("own:1", ["own:1", "a:1"])
    assert list(peers.members) == ["a:1"]
    assert peers.admit("own:1") is None
    assert peers.admit("no address") is None
    guest = peers.admit("b:1")
    assert peers.admit("b:1") is guest
    assert peers.is_guest(guest)
    joined, left = peers.set_members(["b:1", "c:1", "b:1"])
    assert [peer.name for peer in joined] == ["b:1", "c:1"]
    assert [peer.name for peer in left] == ["a:1"]
    assert joined[0] is guest
    assert not peers.is_guest(guest)
    peers.forget(guest)
    assert peers["b:1"] is guest
    peers.forget(left[0])
    assert "a:1" not in peers
    peers._check()


# Nodes without an address


def test_a_nameless_node_listens_nowhere_and_always_dials(run):
    async def main():
        (address,) = addresses(1)
        for name in ("observer-0", "console-f"):
            async with Member(address, []) as member, Member(name, [address]) as observer:
                await observer.until_linked(address)
                await member.until_linked(name)
                assert not observer.transport._servers
                assert member.transport.guests() == (name,)
                await exchange(member, observer)
                assert not member.transport._dialler.tasks

    run(main)


def test_a_nameless_node_dials_again_and_is_never_called_back(run):
    async def main():
        (address,) = addresses(1)
        async with Member("observer-0", [address]) as observer:
            async with Member(address, []) as member:
                await observer.until_linked(address)
                await member.until_linked("observer-0")
            await observer.until(lambda: not observer.transport.connected(address))
            async with Member(address, []) as member:
                await observer.until_linked(address)
                await exchange(member, observer)
                # Its link is broken under it: the member waits to be dialled.
                observer.transport._peers[address].connection.abort()
                await member.until(lambda: ups_and_downs(member) == ["up", "down", "up"])
                assert not member.transport._dialler.tasks

    run(main)


def test_two_nodes_without_an_address_cannot_meet(run):
    one = Hello(
        cluster=FAST.cluster, address="observer-1", dialled="observer-2", incarnation=1, number=1,
        limit_bytes=100,
    )  # fmt: skip
    identity = Identity(
        cluster=FAST.cluster, address="observer-2", incarnation=2, limit_bytes=100
    )
    assert "have no address" in str(reason_to_refuse(one, identity=identity))


@pytest.mark.parametrize(
    "name", ["observer-", "observer-xyz", "observer-" + "a" * 33, "observer", "observer-1\n", "o-1"]
)
def test_what_a_nameless_node_may_be_called_is_narrow(run, caplog, name):
    async def main():
        (own,) = addresses(1)
        async with Member(own, []) as member:
            reader, writer = await greet_by_hand(own, name)
            await reader.read()
            writer.close()
            assert not member.transport._peers.guests
            await logged(caplog, "is no address")

    run(main)


def test_nameless_guests_do_not_take_the_room_of_others():
    peers = Peers("a:1", [])
    limit = peers.limit("observer-0")
    assert 16 <= limit <= 4096
    for number in range(limit):
        assert peers.admit(f"observer-{number:x}") is not None
    assert peers.admit(f"observer-{limit:x}") is None
    assert peers.admit("b:1") is not None
    for number in range(GUEST_COUNT - 1):
        assert peers.admit(f"c{number}:1") is not None
    assert peers.admit("d:1") is None


def test_there_are_no_more_nameless_guests_than_files_to_spare(monkeypatch):
    for files, expected in ((1024, 384), (256, 64), (20, 16), (10**9, 4096)):
        monkeypatch.setattr("syncstructs.net.peers.open_files_limit", lambda files=files: files)
        assert Peers("a:1", []).limit("observer-0") == expected
