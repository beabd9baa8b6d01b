"""Leadership transfer (dissertation, 3.10): who leads lets another one stand at once."""

import pytest

from syncstructs.raft.core import Role
from syncstructs.raft.messages import (
    AppendRequest,
    EntryId,
    RecoveryRequest,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

NOTHING = EntryId(0, 0)


def only(sends, kind, to=None):
    return [m for at, m in sends if isinstance(m, kind) and to in (None, at)]


def lead(make_bench, members=("a", "b", "c")):
    bench = make_bench(members=members)
    bench.lead()
    return bench


def transfer(bench, to):
    able = bench.core.transfer_leadership(to, bench.now)
    return able, bench.flush()


def follow(make_bench, term=1):
    """A follower of b in `term`."""
    bench = make_bench()
    bench.step("b", AppendRequest(term, NOTHING, 0, [], 1, 0.0))
    return bench


# On the leader


def test_a_successor_that_has_the_whole_log_is_asked_to_stand_at_once(make_bench) -> None:
    bench = lead(make_bench)
    able, sends = transfer(bench, "b")
    assert able
    assert [(to, m) for to, m in sends if isinstance(m, TimeoutNow)] == [
        ("b", TimeoutNow(bench.core.term))
    ]


def test_a_successor_that_lags_is_asked_when_it_has_the_whole_log(make_bench) -> None:
    bench = lead(make_bench)
    bench.core.propose(b"x", bench.now)
    able, sends = transfer(bench, "b")
    assert able
    assert not only(sends, TimeoutNow)
    assert not only(bench.accept("c"), TimeoutNow)
    assert only(bench.accept("b"), TimeoutNow, "b")


def test_without_a_name_the_voter_with_most_of_the_log_is_chosen(make_bench) -> None:
    bench = lead(make_bench)
    bench.core.propose(b"x", bench.now)
    bench.flush()
    bench.accept("c")
    able, sends = transfer(bench, None)
    assert able
    assert only(sends, TimeoutNow, "c")


def test_nothing_is_proposed_meanwhile(make_bench) -> None:
    bench = lead(make_bench)
    assert bench.core.can_propose
    transfer(bench, "b")
    assert not bench.core.can_propose


def test_who_is_no_voter_or_recovers_is_no_successor(make_bench) -> None:
    bench = lead(make_bench)
    bench.core.change_towards(("a", "b", "c", "d"), bench.now)
    bench.flush()
    bench.accept("b")
    bench.accept("d")
    bench.step("c", RecoveryRequest(9))
    for address in ("a", "c", "d", "z"):
        assert transfer(bench, address) == (False, [])
    assert bench.core.can_propose
    assert transfer(bench, "b")[0]


def test_a_lone_leader_has_no_successor(make_bench) -> None:
    bench = make_bench(members=("a",))
    bench.flush()
    assert transfer(bench, None) == (False, [])
    assert bench.core.role is Role.LEADER


def test_a_follower_transfers_nothing(make_bench) -> None:
    assert transfer(follow(make_bench), "c") == (False, [])


def test_one_transfer_at_a_time(make_bench) -> None:
    bench = lead(make_bench)
    transfer(bench, "b")
    assert transfer(bench, "c") == (True, [])
    assert bench.core._leading.successor == "b"


def test_it_is_given_up_after_an_election_timeout(make_bench) -> None:
    bench = lead(make_bench)
    transfer(bench, "b")
    end = bench.now + bench.config.election_timeout_max
    while bench.now < end:
        assert not bench.core.can_propose
        bench.time_out()
        bench.accept("c")
    assert bench.core.can_propose
    assert not only(bench.accept("b"), TimeoutNow)


def test_the_leader_gives_its_own_vote_to_the_successor(make_bench) -> None:
    bench = lead(make_bench)
    transfer(bench, "b")
    last, genesis = bench.core.log.last_id, bench.core.membership.genesis
    term = bench.core.term + 1
    (reply,) = only(bench.step("b", VoteRequest(term, last, genesis)), VoteReply)
    assert not reply.granted, "without the leader's word it is a disturbance"
    (reply,) = only(bench.step("b", VoteRequest(term, last, genesis, True)), VoteReply)
    assert reply == VoteReply(term, True)
    assert (bench.core.role, bench.core.voted_for) == (Role.FOLLOWER, "b")


# On the successor


def test_the_successor_stands_at_once_without_asking_first(make_bench) -> None:
    bench = follow(make_bench)
    sends = bench.step("b", TimeoutNow(1))
    assert sends == [(peer, VoteRequest(2, NOTHING, 0, True)) for peer in "bc"]
    bench.step("c", VoteReply(2, True))
    assert bench.core.role is Role.LEADER


@pytest.mark.parametrize(("sender", "term"), [("c", 1), ("b", 0), ("b", 2)])
def test_nobody_stands_but_for_the_leader_of_the_term(make_bench, sender, term) -> None:
    bench = follow(make_bench)
    assert bench.step(sender, TimeoutNow(term)) == []
    assert bench.core.role is Role.FOLLOWER


def test_asked_twice_it_stands_once(make_bench) -> None:
    bench = follow(make_bench)
    bench.step("b", TimeoutNow(1), TimeoutNow(1))
    assert bench.core.term == 2


def test_a_later_election_is_in_nobodys_name(make_bench) -> None:
    bench = follow(make_bench)
    bench.step("b", TimeoutNow(1))
    bench.time_out()
    bench.core._campaign()
    assert {m.transfer for m in only(bench.flush(), VoteRequest)} == {False}


def test_voters_of_a_live_leader_vote_for_its_successor_only(make_bench) -> None:
    bench = follow(make_bench)
    (reply,) = only(bench.step("c", VoteRequest(2, EntryId(1, 1))), VoteReply)
    assert reply == VoteReply(1, False)
    (reply,) = only(bench.step("c", VoteRequest(2, EntryId(1, 1), transfer=True)), VoteReply)
    assert reply == VoteReply(2, True)


def test_the_successor_leads_and_the_former_leader_follows(make_world) -> None:
    world = make_world(5, 3)
    leader = world.elect()
    world.propose(leader.address, b"x")
    successor = next(address for address in world.addresses if address != leader.address)
    assert leader.transfer_leadership(successor, world.now)
    world.later(0.0, "pump", leader.address)
    world.run(0.1)
    assert world.leader.address == successor
    assert leader.role is Role.FOLLOWER
