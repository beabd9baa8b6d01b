"""Membership: a value, its codec, and the sentences of section 6 and of dissertation, chapter 4.

`log` of a test's core begins with the entry that its first leader appends, which holds the genesis.
"""

import doctest
from contextlib import suppress
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from syncstructs.errors import ProtocolError
from syncstructs.raft import membership as module
from syncstructs.raft.core import Role
from syncstructs.raft.log import RaftLog
from syncstructs.raft.membership import (
    Membership,
    check_membership,
    decode_membership,
    encode_membership,
    sorted_members,
)
from syncstructs.raft.messages import (
    AppendReply,
    AppendRequest,
    Dismissal,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    PreVoteReply,
    PreVoteRequest,
    Restored,
    SnapshotChunk,
    SnapshotMeta,
    TimeoutNow,
    VoteReply,
    VoteRequest,
)

ABC = ("a", "b", "c")
NOTHING = EntryId(0, 0)

names = st.lists(st.sampled_from("abcdefg"), unique=True).map(sorted_members)
some_names = names.filter(bool)
memberships = st.one_of(
    st.builds(lambda v, n: Membership(v, learners=n, genesis=1), some_names, names),
    st.builds(lambda v, o: Membership(v, o, genesis=1), some_names, some_names),
)


def only(sends, kind, to=None):
    return [m for at, m in sends if isinstance(m, kind) and to in (None, at)]


# The value


def test_the_examples_in_membership_are_true() -> None:
    assert doctest.testmod(module).failed == 0


@given(memberships, names)
def test_a_quorum_is_a_majority_of_each_half(membership, agreed) -> None:
    halves = [half for half in (membership.voters, membership.outgoing) if half]
    dumb = all(2 * len([v for v in half if v in agreed]) > len(half) for half in halves)
    assert membership.is_quorum(agreed) == dumb


@given(memberships)
def test_two_quorums_of_one_membership_overlap(membership) -> None:
    sets = [
        set(agreed)
        for size in range(len(membership.all_voters) + 1)
        for agreed in combinations(membership.all_voters, size)
        if membership.is_quorum(agreed)
    ]
    assert sets
    assert all(one & other for one in sets for other in sets)


@given(memberships, some_names)
def test_quorums_of_a_membership_and_of_the_next_one_overlap(membership, wanted) -> None:
    following = membership.next_towards(wanted, lambda learner: True)
    if following is None:
        return
    everybody = sorted_members((*membership.members, *following.members))
    sets = [
        set(some) for size in range(len(everybody) + 1) for some in combinations(everybody, size)
    ]
    before = [agreed for agreed in sets if membership.is_quorum(agreed)]
    after = [agreed for agreed in sets if following.is_quorum(agreed)]
    assert all(one & other for one in before for other in after)


def test_nobody_is_no_quorum_of_nobody() -> None:
    assert not Membership().is_quorum(())
    assert not Membership().is_quorum(("a",))


@given(memberships)
def test_members_are_all_and_voters_those_who_count(membership) -> None:
    voters = {*membership.voters, *membership.outgoing}
    assert membership.all_voters == tuple(sorted(voters))
    assert membership.members == tuple(sorted({*voters, *membership.learners}))
    assert all(membership.is_voter(address) == (address in voters) for address in "abcdefg")
    assert membership.is_joint == bool(membership.outgoing)


@given(memberships, some_names)
def test_any_voters_are_reached_in_a_few_legal_steps(membership, wanted) -> None:
    now, steps = membership, 0
    while (following := now.next_towards(wanted, lambda learner: True)) is not None:
        assert now.allows(following)
        assert following.genesis == now.genesis
        if set(following.voters) != set(now.voters):
            assert following.outgoing == now.voters, "through a joint one"
        new = set(following.all_voters) - set(now.all_voters)
        assert new <= set(now.learners), "learners first"
        now, steps = following, steps + 1
        assert steps <= 4
    assert now == Membership(wanted, genesis=membership.genesis)


@given(memberships, some_names)
def test_no_learner_that_lags_gets_a_vote(membership, wanted) -> None:
    now = membership
    while (following := now.next_towards(wanted, lambda learner: False)) is not None:
        assert set(following.all_voters) <= set(now.all_voters)
        now = following
    assert not now.is_joint
    assert set(now.learners) == set(wanted) - set(now.voters)


@given(memberships, memberships)
def test_no_other_step_is_allowed(one, other) -> None:
    legal = [
        Membership(one.voters, learners=other.learners, genesis=one.genesis),
        Membership(other.voters, one.voters, other.learners, one.genesis),
    ]
    if one.is_joint:
        legal = legal[:1]
    assert one.allows(other) == (other in legal)
    assert not one.allows(replace(other, genesis=2))


# As bytes


@given(memberships)
def test_a_membership_comes_back_from_bytes(membership) -> None:
    assert decode_membership(encode_membership(membership)) == membership


@given(st.binary(max_size=60))
def test_junk_is_refused_as_no_membership(junk) -> None:
    with suppress(ProtocolError):
        check_membership(decode_membership(junk))


@pytest.mark.parametrize(
    "wrong",
    [
        Membership(),
        Membership(("b", "a")),
        Membership(("a", "a")),
        Membership(("",)),
        Membership(("a" * 301,)),
        Membership(("a",), ("c", "b")),
        Membership(("a",), learners=("c", "c")),
        Membership(("a",), genesis=-1),
        Membership(("a",), genesis=2**63),
        Membership(tuple(f"{number:04}" for number in range(1001))),
    ],
)
def test_what_can_be_no_membership_is_refused(wrong) -> None:
    with pytest.raises(ProtocolError):
        decode_membership(encode_membership(wrong))


# A core that leads a, b, c


def leader(make_bench, members=ABC):
    bench = make_bench(members=members)
    bench.lead()
    return bench


def answer(bench, peer, index=None, recovering=0):
    core = bench.core
    index = core.log.last_index if index is None else index
    round = core._leading.rounds.current
    return bench.step(peer, AppendReply(core.term, round, True, index, 0, bench.now, recovering))


def change(bench, *wanted) -> bool:
    changed = bench.core.change_towards(wanted, bench.now)
    bench.flush()
    return changed


def beat(bench, *peers) -> list:
    """One round that all `peers` answer."""
    sends = bench.wait(max(bench.core._leading.heartbeat_at - bench.now, 0.0))
    for peer in peers:
        if bench.core.role is Role.LEADER:
            sends += answer(bench, peer)
    return sends


def joint(bench, wanted, present) -> None:
    """Bring a leader into the joint membership, not committed; `present`: all peers that answer."""
    if any(address not in bench.core.membership.voters for address in wanted):
        assert change(bench, *wanted)
        for _ in range(3):
            beat(bench, *present)
    assert change(bench, *wanted)
    assert bench.core.membership.is_joint


def entry(index, term=1, membership=None) -> Entry:
    if membership is None:
        return Entry(term, index, index, EntryKind.BATCH, b"x")
    return Entry(term, index, index, EntryKind.MEMBERSHIP, encode_membership(membership))


def m(voters, outgoing="", learners="") -> Membership:
    return Membership(tuple(voters), tuple(outgoing), tuple(learners), genesis=5)


def append(term, previous, *entries, commit=0, round=1):
    return AppendRequest(term, previous, commit, list(entries), round, 0.0, genesis=5)


# "a server always uses the latest configuration in its log, regardless of whether the entry is
# committed" (section 6)


def test_a_server_uses_the_latest_membership_of_its_log_committed_or_not(make_bench) -> None:
    bench = make_bench()
    bench.step("b", append(1, NOTHING, entry(1, 1, m("abc")), entry(2, 1, m("bd", "abc"))))
    assert bench.core.commit_index == 0
    assert bench.core.membership == m("bd", "abc")
    assert bench.core.members == ("a", "b", "c", "d")
    bench.time_out()
    assert bench.core.role is Role.PRE_CANDIDATE
    bench.step("b", PreVoteReply(2, True))
    assert bench.core.role is Role.PRE_CANDIDATE
    bench.step("d", PreVoteReply(2, True))
    assert bench.core.role is Role.CANDIDATE


def test_whoever_truncates_its_log_goes_back_to_the_membership_before(make_bench) -> None:
    bench = make_bench()
    bench.step("b", append(1, NOTHING, entry(1, 1, m("abc")), entry(2, 1, m("bd", "abc"))))
    bench.step("c", append(2, EntryId(1, 1), entry(2, 2)))
    assert bench.core.membership == m("abc")
    assert bench.core.take_effects().peers is None
    bench = make_bench()
    bench.step("b", append(1, NOTHING, entry(1, 1, m("abc")), entry(2, 1, m("bd", "abc"))))
    bench.core.step("c", append(2, EntryId(1, 1), entry(2, 2)), bench.now)
    assert bench.core.take_effects().peers == ("b", "c")


def test_a_snapshot_carries_the_membership(make_bench) -> None:
    meta = SnapshotMeta(7, 1, 7, 10, 0, m("abcd"))
    bench = make_bench(restored=Restored(HardState(1), meta, (entry(8),)))
    assert bench.core.membership == m("abcd")
    bench = make_bench(restored=Restored(HardState(1), meta, (entry(8, 1, m("abc", "abcd")),)))
    assert bench.core.membership == m("abc", "abcd")
    bench = make_bench()
    bench.step("b", SnapshotChunk(1, meta, 0, b"0123456789", 1, 0.0))
    (write,) = bench.chunk_writes
    bench.core.chunk_written(write, 10, True, bench.now)
    bench.flush()
    assert bench.core.membership == m("abcd")
    assert bench.core.log.membership_index == 7


def test_a_log_knows_the_membership_at_each_of_its_entries() -> None:
    log = RaftLog(None, (entry(1, 1, m("abc")), entry(2), entry(3, 1, m("abc", "", "d")), entry(4)))
    assert [log.membership_at(index) for index in range(1, 5)] == [
        m("abc"), m("abc"), m("abc", "", "d"), m("abc", "", "d"),
    ]  # fmt: skip
    assert log.memberships_from(2) == [m("abc"), m("abc", "", "d")]
    log.compact(3)
    assert log.membership_at(4) == m("abc", "", "d")
    log._check()
    log.truncate(4)
    assert log.membership == m("abc", "", "d")


# Joint consensus


def test_an_agreement_needs_majorities_of_both_the_old_and_the_new(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "d", "e"), "bcde")
    index = bench.core.log.last_index
    answer(bench, "b")
    answer(bench, "c")
    assert bench.core.commit_index < index, "the old alone"
    answer(bench, "d")
    assert bench.core.commit_index == index
    bench = leader(make_bench)
    joint(bench, ("a", "d", "e"), "bcde")
    answer(bench, "d")
    answer(bench, "e")
    assert bench.core.commit_index < index, "the new alone"
    answer(bench, "c")
    assert bench.core.commit_index == index


@pytest.mark.parametrize(
    ("granting", "won"), [("bc", False), ("de", False), ("bd", True), ("ce", True)]
)
def test_an_election_needs_majorities_of_both(make_bench, granting, won) -> None:
    log = (entry(1, 1, m("abc")), entry(2, 1, m("ade", "abc")))
    bench = make_bench(restored=Restored(HardState(1), None, log))
    bench.time_out()
    for peer in "bcde":
        bench.step(peer, PreVoteReply(2, True))
    for peer in granting:
        bench.step(peer, VoteReply(2, True))
    assert (bench.core.role is Role.LEADER) == won


def test_reads_and_check_quorum_need_majorities_of_both(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "d", "e"), "bcde")
    bench.core.read_index(1, bench.now)
    bench.flush()
    answer(bench, "b")
    assert 1 not in bench.reads
    answer(bench, "e")
    assert 1 in bench.reads
    for _ in range(10):
        if bench.core.role is not Role.LEADER:
            break
        beat(bench, "b", "c")
    assert bench.core.role is Role.FOLLOWER, "the new ones were silent"


def test_no_joint_membership_begins_while_too_few_of_the_new_are_there(make_bench) -> None:
    bench = leader(make_bench)
    assert change(bench, "a", "d", "e")
    for _ in range(3):
        beat(bench, "b", "c", "d", "e")
    end = bench.now + bench.config.election_timeout_max
    while bench.now < end:
        beat(bench, "b", "c")
    assert not change(bench, "a", "d", "e")
    beat(bench, "b", "c", "d")
    assert change(bench, "a", "d", "e")


def test_a_joint_membership_is_left_whatever_is_wanted_meanwhile(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b"), "bc")
    answer(bench, "b")
    assert change(bench, "a", "b", "c", "d")
    assert replace(bench.core.membership, genesis=0) == Membership(("a", "b"))


# "no change before an entry of its term is committed" (Ongaro's report of 2015)


def test_no_change_before_an_entry_of_its_own_term_is_committed(make_bench) -> None:
    bench = make_bench()
    bench.elect()
    assert not change(bench, "a", "b")
    answer(bench, "b")
    assert change(bench, "a", "b")
    # Also where the membership itself is known to be committed.
    held = Restored(HardState(1), SnapshotMeta(4, 1, 4, 10, 0, m("abc")))
    bench = make_bench(restored=held)
    bench.elect()
    answer(bench, "b", index=4)
    assert bench.core.log.membership_index <= bench.core.commit_index
    assert not change(bench, "a", "b")
    answer(bench, "b")
    assert change(bench, "a", "b")


def test_no_change_while_another_is_not_committed(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b"), "bc")
    assert not change(bench, "a", "b")
    answer(bench, "b")
    assert change(bench, "a", "b")
    assert not change(bench, "a", "b", "d")


def test_a_follower_changes_nothing(make_bench) -> None:
    bench = make_bench()
    assert not change(bench, "a", "b")
    assert bench.core.log.last_index == 0


def test_nothing_is_changed_while_leadership_is_transferred(make_bench) -> None:
    bench = leader(make_bench)
    assert bench.core.transfer_leadership("b", bench.now)
    assert not change(bench, "a", "c")
    end = bench.now + bench.config.election_timeout_max
    while bench.now < end:
        beat(bench, "b", "c")
    assert bench.core._leading.successor is None
    assert change(bench, "a", "c")


# New servers are non-voting members until they have caught up


def test_a_new_server_has_no_vote_until_it_has_caught_up(make_bench) -> None:
    bench = leader(make_bench)
    assert change(bench, "a", "b", "c", "d")
    membership = bench.core.membership
    assert (membership.voters, membership.learners) == (ABC, ("d",))
    beat(bench, "b", "c")
    beat(bench, "b", "c")
    assert not change(bench, "a", "b", "c", "d")
    bench.core.propose(b"x", bench.now)
    beat(bench, "b", "c", "d")
    beat(bench, "b", "c", "d")
    assert change(bench, "a", "b", "c", "d")
    assert bench.core.membership.is_joint


def test_in_memory_newcomers_get_votes_when_all_who_stay_have_heard_of_them(make_bench) -> None:
    bench = leader(make_bench)
    assert change(bench, "a", "b", "c", "d")
    for _ in range(3):
        beat(bench, "b", "d")
    assert not change(bench, "a", "b", "c", "d"), "c was cut off and may meet those that forget"
    answer(bench, "c")
    assert change(bench, "a", "b", "c", "d")


def test_nobody_waits_for_who_is_to_go(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b", "d"), "bd")
    # Nor for anybody if none comes: of who is dead, a new leader knows nothing.
    bench = make_bench(restored=Restored(HardState(1), None, (entry(1, 1, m("abcde")),)))
    bench.elect()
    answer(bench, "b")
    answer(bench, "c")
    assert bench.core._leading.peers["d"].match_index == 0
    joint(bench, ("a", "b", "c", "d"), "bc")


def test_where_stores_last_nobody_waits_for_who_is_cut_off(make_bench) -> None:
    bench = make_bench(restored=Restored(lasting=True))
    bench.lead()
    joint(bench, ("a", "b", "c", "d"), "bd")


def test_a_learner_counts_for_nothing(make_bench) -> None:
    bench = leader(make_bench)
    assert change(bench, "a", "b", "c", "d")
    answer(bench, "b")
    bench.core.propose(b"x", bench.now)
    before = bench.core.commit_index
    answer(bench, "d")
    assert bench.core.commit_index == before
    bench.core.read_index(1, bench.now)
    bench.flush()
    answer(bench, "d")
    assert 1 not in bench.reads
    for _ in range(10):
        if bench.core.role is Role.LEADER:
            beat(bench, "d")
    assert bench.core.role is Role.FOLLOWER


def test_a_learner_stands_for_no_election_and_elects_nobody(make_bench) -> None:
    log = (entry(1, 1, m("bcd", "", "a")),)
    bench = make_bench(members=("b", "c", "d"), restored=Restored(HardState(1), None, log))
    bench.time_out()
    assert bench.core.role is Role.FOLLOWER, "it asks, but does not stand"
    for peer in "bcd":
        bench.step(peer, PreVoteReply(2, True))
    assert (bench.core.role, bench.core.term) == (Role.FOLLOWER, 1)
    log = (entry(1, 1, m("abc", "", "d")),)
    bench = make_bench(restored=Restored(HardState(1), None, log))
    bench.time_out()
    bench.step("d", PreVoteReply(2, True))
    assert bench.core.role is Role.PRE_CANDIDATE


def test_a_learner_stands_if_nobody_with_a_vote_is_elected(make_bench) -> None:
    """Others may know it as a voter already, and it refuses them: its log is the newest.

    "a server that is not part of its own latest configuration should still start new elections, as
    it might still be needed" (dissertation, 4.2.2).
    """
    log = (entry(1, 1, m("bcd", "", "a")), entry(2, 3))
    bench = make_bench(members=("b", "c", "d"), restored=Restored(HardState(3), None, log))
    bench.time_out()
    assert bench.core.role is Role.FOLLOWER
    # Nor does a vote for it count that comes too early.
    bench.step("b", PreVoteReply(4, True))
    bench.time_out()
    assert bench.core.role is Role.PRE_CANDIDATE
    assert bench.core.term == 3
    bench.step("b", PreVoteReply(4, True))
    assert bench.core.role is Role.PRE_CANDIDATE, "its own vote counts for nothing"
    bench.step("c", PreVoteReply(4, True))
    assert (bench.core.role, bench.core.term) == (Role.CANDIDATE, 4)
    bench.step("b", VoteReply(4, True))
    bench.step("c", VoteReply(4, True))
    assert bench.core.role is Role.LEADER
    # Once all that it has is committed, somebody with a vote takes over.
    index = bench.core.log.last_index
    answer(bench, "b")
    assert bench.core.commit_index < index
    sent = answer(bench, "c")
    assert bench.core.commit_index == index
    assert [to for to, message in sent if type(message) is TimeoutNow] in (["b"], ["c"])


def test_a_learner_that_hears_a_leader_again_is_patient_again(make_bench) -> None:
    log = (entry(1, 1, m("bcd", "", "a")),)
    bench = make_bench(members=("b", "c", "d"), restored=Restored(HardState(1), None, log))
    for _ in range(3):
        bench.time_out()
        assert bench.core.role is Role.FOLLOWER
        bench.step("b", append(1, EntryId(1, 1)))
        assert bench.core.leader == "b"
    bench.time_out()
    assert bench.core.role is Role.FOLLOWER


# A leader that is not in the new configuration


def leave(make_bench):
    """A leader that has appended a membership without itself, which is not committed."""
    bench = leader(make_bench)
    joint(bench, ("b", "c"), "bc")
    answer(bench, "b")
    answer(bench, "c")
    assert change(bench, "b", "c")
    assert not bench.core.membership.is_voter("a")
    return bench


def test_a_leader_does_not_count_itself_in_a_membership_without_it(make_bench) -> None:
    bench = leave(make_bench)
    index = bench.core.log.last_index
    answer(bench, "b")
    assert bench.core.commit_index == index - 1, "b and itself are no majority of b and c"
    bench.core.read_index(1, bench.now)
    bench.flush()
    answer(bench, "b")
    assert 1 not in bench.reads


def test_a_leader_outside_of_the_membership_leads_until_it_is_committed(make_bench) -> None:
    bench = leave(make_bench)
    assert bench.core.role is Role.LEADER
    sends = []
    for peer in "bc":
        assert bench.core.can_propose
        sends += answer(bench, peer)
    assert only(sends, TimeoutNow), "it hands over"
    assert bench.core.role is Role.LEADER
    assert not bench.core.can_propose
    end = bench.now + bench.config.election_timeout_max
    while bench.now < end:
        beat(bench, "b", "c")
    assert bench.core.role is Role.FOLLOWER, "and steps down if nobody takes over"
    bench.time_out()
    assert bench.core.role is Role.FOLLOWER


def test_a_commit_before_that_makes_it_leave_nothing(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("b", "c"), "bc")
    answer(bench, "b")
    answer(bench, "c")
    bench.core.propose(b"x", bench.now)
    bench.flush()
    index = bench.core.log.last_index
    assert change(bench, "b", "c")
    answer(bench, "b", index)
    sends = answer(bench, "c", index)
    assert bench.core.commit_index == index
    assert not only(sends, TimeoutNow)
    assert bench.core.can_propose


def test_those_who_left_are_spoken_to_until_they_know_it(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b"), "bc")
    answer(bench, "b")
    assert change(bench, "a", "b")
    answer(bench, "b")
    assert bench.core._leading.departing == ("c",)
    assert only(beat(bench, "b", "c"), AppendRequest, "c")
    beat(bench, "b", "c")
    assert bench.core._leading.departing == ()
    assert not only(beat(bench, "b"), AppendRequest, "c")


def test_those_who_left_and_are_silent_are_spoken_to_no_more_after_a_while(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b"), "bc")
    answer(bench, "b")
    assert change(bench, "a", "b")
    end = bench.now + 3 * bench.config.election_timeout_max
    while bench.now < end:
        beat(bench, "b")
    assert bench.core._leading.departing == ()


def test_those_who_leave_are_spoken_to_as_long_as_it_is_not_committed(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b"), "bc")
    answer(bench, "b")
    index = bench.core.commit_index
    assert change(bench, "a", "b")
    end = bench.now + 3 * bench.config.election_timeout_max
    while bench.now < end:
        beat(bench)
        answer(bench, "b", index)
    assert bench.core._leading.departing == ("c",)


# A server that is to lose its vote, and is needed until that is committed (dissertation, 4.2.2)


def test_a_server_outside_of_its_latest_membership_stands_until_that_is_committed(
    make_bench,
) -> None:
    log = (entry(1, 1, m("abc")), entry(2, 1, m("bc", "abc")), entry(3, 1, m("bc")))
    bench = make_bench(restored=Restored(HardState(1), None, log))
    assert only(bench.time_out(), PreVoteRequest, "b")
    bench.step("b", PreVoteReply(2, True))
    assert bench.core.role is Role.PRE_CANDIDATE, "it counts not its own vote"
    bench.step("c", PreVoteReply(2, True))
    bench.step("b", VoteReply(2, True))
    assert bench.core.role is Role.CANDIDATE
    bench.step("c", VoteReply(2, True))
    assert bench.core.role is Role.LEADER
    answer(bench, "b")
    answer(bench, "c")
    assert bench.core.commit_index == 4
    assert bench.core._leading.successor is not None, "it hands over then"


def test_a_server_stands_no_more_once_it_knows_that_it_is_removed(make_bench) -> None:
    log = (entry(1, 1, m("abc")), entry(2, 1, m("bc", "abc")), entry(3, 1, m("bc")))
    bench = make_bench(restored=Restored(HardState(1), None, log))
    bench.step("b", append(1, EntryId(1, 3), commit=3))
    bench.time_out()
    assert bench.core.role is Role.FOLLOWER


# Removed servers cannot disrupt


def test_a_removed_server_unseats_no_leader(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b"), "bc")
    answer(bench, "b")
    assert change(bench, "a", "b")
    answer(bench, "b")
    term, last = bench.core.term, bench.core.log.last_id
    genesis = bench.core.membership.genesis
    bench.step("c", VoteRequest(term + 1, last, genesis))
    bench.step("c", PreVoteRequest(term + 1, last, genesis))
    assert (bench.core.role, bench.core.term) == (Role.LEADER, term)


def test_a_removed_server_that_stands_is_told_and_stands_no_more(make_bench) -> None:
    bench = leader(make_bench)
    joint(bench, ("a", "b"), "bc")
    answer(bench, "b")
    assert change(bench, "a", "b")
    index = bench.core.log.last_index
    sends = bench.step("c", PreVoteRequest(2, EntryId(1, 1), 0))
    assert not only(sends, Dismissal), "not before it is committed"
    answer(bench, "b")
    sends = bench.step("c", PreVoteRequest(2, EntryId(1, 1), 0))
    assert only(sends, Dismissal, "c") == [Dismissal(index, bench.core.membership.genesis)]
    assert not only(bench.step("b", PreVoteRequest(2, EntryId(1, 1), 0)), Dismissal)

    log = (entry(1, 1, m("abc")), entry(2, 2))
    removed = make_bench(restored=Restored(HardState(2), None, log))
    removed.time_out()
    assert removed.core.role is Role.PRE_CANDIDATE
    genesis = removed.core.membership.genesis
    removed.step("b", Dismissal(index, genesis + 1))
    assert not removed.core.is_dismissed, "that was another life of the cluster"
    removed.step("b", Dismissal(index, genesis))
    assert removed.core.role is Role.FOLLOWER
    assert removed.core.is_dismissed
    removed.time_out()
    assert removed.core.role is Role.FOLLOWER


def test_a_first_leader_whom_nobody_followed_is_told_by_the_cluster_of_another_one(
    make_bench,
) -> None:
    log = (entry(1, 1, m("abc")), entry(2))
    alone = make_bench(restored=Restored(HardState(1), None, log))
    other = Dismissal(7, alone.core.membership.genesis + 1)
    alone.step("b", other)
    assert alone.core.is_dismissed
    followed = make_bench(restored=Restored(HardState(1), None, log))
    followed.step("b", append(1, EntryId(1, 2), commit=2))
    followed.core.peer_lost("b", followed.now)
    followed.time_out()
    followed.step("c", other)
    assert not followed.core.is_dismissed, "what it holds is committed"


def test_who_knows_a_newer_membership_is_not_dismissed(make_bench) -> None:
    log = (entry(1, 1, m("abc")), *(entry(index) for index in range(2, 9)), entry(9, 1, m("abc")))
    bench = make_bench(restored=Restored(HardState(1), None, log))
    bench.step("b", Dismissal(8, bench.core.membership.genesis))
    assert only(bench.time_out(), PreVoteRequest)


def test_who_was_dismissed_and_hears_a_leader_is_so_no_more(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(1), None, (entry(1, 1, m("abc")),)))
    bench.step("b", Dismissal(4, bench.core.membership.genesis))
    bench.step("b", append(2, EntryId(1, 1)))
    assert not bench.core.is_dismissed
    bench.step("c", Dismissal(4, bench.core.membership.genesis))
    assert not bench.core.is_dismissed, "the leader knows better"
    assert only(bench.time_out(), PreVoteRequest)


# "a vote is given to a candidate outside of the own configuration" (dissertation, 4.1)


def test_a_vote_is_given_to_a_candidate_that_is_no_member_as_far_as_the_voter_knows(
    make_bench,
) -> None:
    bench = make_bench(restored=Restored(HardState(1), None, (entry(1, 1, m("abc")),)))
    (reply,) = only(bench.step("z", PreVoteRequest(2, EntryId(1, 9), 5)), PreVoteReply)
    assert reply.granted
    (reply,) = only(bench.step("z", VoteRequest(2, EntryId(1, 9), 5)), VoteReply)
    assert reply.granted


def test_a_leader_is_followed_that_is_no_member_as_far_as_the_follower_knows(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(1), None, (entry(1, 1, m("abc")),)))
    (reply,) = only(bench.step("z", append(2, EntryId(1, 1), entry(2, 2))), AppendReply)
    assert reply.accepted
    assert bench.core.leader == "z"


def test_the_vote_of_a_stranger_counts_not(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    for stranger in "xyz":
        bench.step(stranger, PreVoteReply(1, True))
    assert bench.core.role is Role.PRE_CANDIDATE


def test_the_answers_of_strangers_tell_a_leader_nothing(make_bench) -> None:
    bench = leader(make_bench)
    bench.core.propose(b"x", bench.now)
    before = bench.core.commit_index
    for stranger in "xyz":
        answer(bench, stranger)
    assert bench.core.commit_index == before
    assert set(bench.core._leading.peers) == {"b", "c"}


# Votes are counted under one membership


def test_a_candidate_whose_membership_changes_gives_up(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(2), None, (entry(1, 1, m("abc")),)))
    meta = SnapshotMeta(7, 1, 7, 10, 0, m("abcd"))
    bench.step("b", SnapshotChunk(2, meta, 0, b"0123456789", 1, 0.0))
    bench.time_out()
    assert bench.core.role is Role.PRE_CANDIDATE
    (write,) = bench.chunk_writes
    bench.core.chunk_written(write, 10, True, bench.now)
    bench.flush()
    assert bench.core.role is Role.FOLLOWER


def test_a_lone_leader_grows_and_shrinks(make_bench) -> None:
    bench = make_bench(members=("a",))
    bench.flush()
    assert change(bench, "a", "b")
    for _ in range(3):
        beat(bench, "b")
    assert change(bench, "a", "b")
    assert not bench.core.is_alone
    answer(bench, "b")
    assert change(bench, "a", "b")
    answer(bench, "b")
    assert bench.core.membership.voters == ("a", "b")
    assert change(bench, "a")
    answer(bench, "b")
    assert change(bench, "a")
    assert bench.core.commit_index == bench.core.log.last_index
    assert bench.core.is_alone
    while bench.core._leading.peers:
        bench.time_out()
    bench.core.propose(b"x", bench.now)
    bench.flush()
    assert bench.core.commit_index == bench.core.log.last_index
