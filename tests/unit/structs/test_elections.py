"""Elections: who leads, what is announced, and what a leader and who looks on are told."""

import asyncio

import pytest
from local_cluster import LocalCluster

from syncstructs.errors import LockLost, NotOwner, OutcomeUnknown, Withdrawn
from syncstructs.structs.elections import Elected, ReplElection


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def test_one_leads_and_the_others_wait_in_the_order_in_which_they_came(cluster):
    a, b, c = cluster.attach("boss", ReplElection)
    assert a.leader is None
    assert a.campaign(value="x")
    waiting = [c.campaign.submit(value="z"), b.campaign.submit(value="y")]
    assert [e.is_leader for e in (a, b, c)] == [True, False, False]
    for election in (a, b, c):
        assert election.leader == Elected("member0:1", "x", a.token)
        assert election.candidates == ["member2:1", "member1:1"]
    assert "member0:1 leads" in repr(b)
    first = a.token
    a.resign()
    assert waiting[0].result(0)
    assert not waiting[1].done()
    assert a.leader == ("member2:1", "z", c.token)
    assert c.token > first
    assert a.token is None
    c.resign()
    assert b.leader.value == "y"
    b.resign()
    assert (b.leader, b.candidates) == (None, [])
    assert "nobody leads" in repr(b)


def test_a_campaign_ends_as_the_acquire_of_a_lock_does(cluster):
    a, b, _ = cluster.attach("boss", ReplElection)
    a.campaign()
    assert not b.campaign(blocking=False)
    assert not b.campaign(timeout=1)
    given_up = b.campaign.submit(value=1)
    assert given_up.cancel()
    assert a.candidates == []
    with pytest.raises(ValueError, match="non-blocking"):
        b.campaign(False, 1)
    with pytest.raises(NotOwner, match="leadership of ReplElection 'boss'"):
        b.resign()
    a.resign()
    with pytest.raises(NotOwner):
        a.resign()
    assert b.leader is None


def test_who_is_elected_as_its_await_is_cancelled_resigns(cluster):
    a, b, _ = cluster.attach("boss", ReplElection)
    waiting = a.campaign.submit(value=1)
    assert waiting.result(0)
    waiting.unclaimed(True)
    assert b.leader is None
    waiting.unclaimed(False)


def test_messages_call_a_campaign_by_its_name(cluster, monkeypatch):
    a = cluster.attach("boss", ReplElection)[0]
    port = cluster.members[0]
    port.call_timeout = 1.0
    sent = []

    def submit(*args):
        sent.append(type(port).submit(port, *args))
        never = type(sent[0])(cluster, lambda: True)
        return never

    monkeypatch.setattr(port, "submit", submit, raising=False)
    with pytest.raises((Withdrawn, OutcomeUnknown), match=r"boss\.campaign\(\)"):
        a.campaign(blocking=False)


def test_a_session_that_ends_elects_who_waits_longest(cluster):
    lost = []
    a, b, c = cluster.attach("boss", ReplElection)
    a.on_lost = lambda: lost.append("a")
    a.campaign(value="a")
    waiting = [b.campaign.submit(value=["b"]), c.campaign.submit(value="c")]
    cluster.expire(1)
    assert b.candidates == ["member2:1", "member1:1"], "it campaigns again, as the last one"
    cluster.expire(0)
    assert lost == ["a"]
    assert not a.is_leader
    assert waiting[1].result(0)
    assert a.leader.address == "member2:1"
    with pytest.raises(LockLost):
        a.resign()
    with pytest.raises(LockLost):
        a.proclaim(1)
    c.resign()
    assert b.leader.value == ["b"]


def test_a_leader_that_is_not_sure_is_none(cluster):
    a, _, _ = cluster.attach("boss", ReplElection)
    a.campaign()
    cluster.members[0].certain = False
    assert not a.is_leader
    with pytest.raises(LockLost):
        a.proclaim("no")
    assert a.leader.value is None


def test_a_leader_announces_another_value_and_nobody_else_does(cluster):
    a, b, _ = cluster.attach("boss", ReplElection)
    value = ["x"]
    a.campaign(value=value)
    value.append("y")
    b.leader.value.append("z")
    assert b.leader.value == ["x"]
    waiting = b.campaign.submit(value="b")
    a.proclaim("new")
    assert b.leader == ("member0:1", "new", a.token)
    with pytest.raises(LockLost):
        b.proclaim("no")
    token = a.token
    a.resign()
    assert waiting.result(0)
    assert not a._proclaim(token, "late")
    assert a.leader.value == "b"


def test_candidates_come_through_a_snapshot(cluster):
    a, b, _ = cluster.attach("boss", ReplElection)
    a.campaign(value="a")
    waiting = b.campaign.submit(value="b")
    for number in range(3):
        cluster.reload(number)
    a.resign()
    assert waiting.result(0)
    assert a.leader.value == "b"


def test_a_with_block_leads_and_resigns(cluster):
    a, b, _ = cluster.attach("boss", ReplElection)
    with a:
        assert a.is_leader
        assert b.leader == ("member0:1", None, a.token)
    assert b.leader is None

    async def lead():
        async with b:
            return a.leader.address

    assert asyncio.run(lead()) == "member1:1"
    with pytest.raises(LockLost), a:
        cluster.expire(0)


def test_observers_see_the_present_leader_and_each_change(cluster):
    a, b, c = cluster.attach("boss", ReplElection)
    with c.observe() as leaders:
        assert next(leaders) is None
        a.campaign(value=1)
        b.campaign.submit(value=2)
        assert next(leaders) == ("member0:1", 1, a.token)
        a.proclaim(3)
        assert next(leaders).value == 3
        a.resign()
        assert next(leaders).address == "member1:1"
        b.resign()
        a.campaign(value=4)
        assert next(leaders).value == 4, "who is slow is told of the last one only"
    assert list(leaders) == []

    async def seen():
        leaders = c.observe()
        first = await anext(leaders)
        a.resign()
        second = await anext(leaders)
        leaders.close()
        return first.value, second, [leader async for leader in leaders]

    assert asyncio.run(seen()) == (4, None, [])
