"""Members that hold nothing: the paragraphs of `recovery.py`, one by one."""

import pytest
from msgspec.structs import replace

from syncstructs.errors import ProtocolError
from syncstructs.raft.core import Role
from syncstructs.raft.membership import Membership, encode_membership
from syncstructs.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    PreVoteReply,
    PreVoteRequest,
    RecoveryReply,
    RecoveryRequest,
    Restored,
    SnapshotChunk,
    SnapshotMeta,
    VoteReply,
    VoteRequest,
)
from syncstructs.storage.memory import MemoryLog

NOTHING = EntryId(0, 0)
ABC = Membership(("a", "b", "c"))
BCD = Membership(("b", "c", "d"), genesis=5)
BLANK = Restored(blank=True)
LAST = EntryId(3, 5)
# A nonce of a peer's life.
LIFE = 71


def only(sends, kind, to=None):
    return [m for at, m in sends if isinstance(m, kind) and to in (None, at)]


def begun(genesis: int = 5, term: int = 1) -> Entry:
    """The first entry of a cluster of a, b and c."""
    payload = encode_membership(replace(ABC, genesis=genesis))
    return Entry(term, 1, 1, EntryKind.MEMBERSHIP, payload)


def entry(index: int, term: int = 1) -> Entry:
    return Entry(term, index, index, EntryKind.BATCH, b"x")


def entry_of(membership: Membership, index: int) -> Entry:
    return Entry(1, index, index, EntryKind.MEMBERSHIP, encode_membership(membership))


def append(term, previous, *entries, commit=0, round=1, genesis=5, recovered=0):
    return AppendRequest(
        term, previous, commit, list(entries), round, 0.0, genesis=genesis, recovered=recovered
    )


def nonce_of(bench) -> int:
    return bench.core._recovery.nonce


def told(bench, term=3, last=LAST, blank=False, index=1, membership=None):
    """An answer to the blank member on the bench."""
    known = replace(ABC, genesis=5) if index else ABC
    return RecoveryReply(
        nonce_of(bench), term, last, blank, index, membership or known,
    )  # fmt: skip


def empty(bench, membership=ABC, term=0, blank=True):
    return RecoveryReply(nonce_of(bench), term, NOTHING, blank, 0, membership)


def asks_for_vote(bench, term, last, sender="b") -> bool:
    sends = bench.step(sender, VoteRequest(term, last, 5))
    return only(sends, VoteReply, sender)[-1].granted


# A blank member follows, but neither votes nor counts


def test_a_blank_member_gives_no_vote(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    (reply,) = only(bench.step("b", PreVoteRequest(9, EntryId(8, 9))), PreVoteReply)
    assert not reply.granted
    assert not asks_for_vote(bench, 9, EntryId(8, 9))
    assert (bench.core.term, bench.core.voted_for) == (9, None)


def test_a_blank_member_stands_not_but_asks_again_with_every_election_timeout(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    for _ in range(3):
        request = RecoveryRequest(nonce_of(bench))
        assert bench.time_out() == [("b", request), ("c", request)]
        assert bench.core.role is Role.FOLLOWER


def test_a_blank_member_asks_whoever_is_linked(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.core.peer_connected("z", bench.now)
    assert bench.flush() == [("z", RecoveryRequest(nonce_of(bench)))]


def test_a_blank_member_asks_no_observer(make_bench) -> None:
    # What it would tell of the members may be long outdated: it names some that are gone.
    bench = make_bench(restored=BLANK)
    bench.core.peer_connected("observer-0001", bench.now)
    assert bench.flush() == []


def test_a_blank_member_follows_and_says_in_each_answer_that_it_is_blank(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    (taken,) = only(bench.step("b", append(1, NOTHING, begun())), AppendReply)
    (refused,) = only(bench.step("b", append(1, EntryId(1, 7), round=2)), AppendReply)
    assert (taken.accepted, taken.index, taken.recovering) == (True, 1, nonce_of(bench))
    assert (refused.accepted, refused.recovering) == (False, nonce_of(bench))


def test_a_blank_lone_member_leads_at_once(make_bench) -> None:
    bench = make_bench(members=("a",), restored=BLANK)
    bench.flush()
    assert bench.core.leader_ready
    assert not bench.core.is_recovering


def test_the_answer_to_a_blank_member_tells_all_that_it_may_need(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(4, "c"), None, (begun(), entry(2))))
    (reply,) = only(bench.step("b", RecoveryRequest(LIFE)), RecoveryReply, "b")
    membership = replace(ABC, genesis=5)
    assert reply == RecoveryReply(LIFE, 4, EntryId(1, 2), False, 1, membership)
    blank = make_bench(restored=BLANK)
    (reply,) = only(blank.step("b", RecoveryRequest(LIFE)), RecoveryReply, "b")
    assert reply == RecoveryReply(LIFE, 0, NOTHING, True, 0, ABC)


# The leader does not count it


def lead_with_blank_b(make_bench):
    """A leader of three that knows that b is blank."""
    bench = make_bench()
    bench.lead()
    bench.step("b", RecoveryRequest(LIFE))
    return bench


def answer(bench, peer, recovering=0, index=None, round=None):
    core = bench.core
    index = core.log.last_index if index is None else index
    round = core._leading.rounds.current if round is None else round
    reply = AppendReply(core.term, round, True, index, 0, bench.now, recovering)
    return bench.step(peer, reply)


def test_a_blank_member_counts_for_no_commit(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    bench.core.propose(b"x", bench.now)
    before = bench.core.commit_index
    answer(bench, "b", LIFE)
    assert bench.core.commit_index == before
    answer(bench, "c")
    assert bench.core.commit_index == bench.core.log.last_index


def test_what_a_member_has_acknowledged_before_it_forgot_counts_no_more(make_bench) -> None:
    bench = make_bench()
    bench.elect()
    bench.core._leading.peers["b"].accepted(1)
    bench.step("b", RecoveryRequest(LIFE))
    bench.flush()
    answer(bench, "c", index=0)
    assert bench.core.commit_index == 0


def test_a_blank_member_confirms_no_round(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    answer(bench, "c")
    bench.core.read_index(1, bench.now)
    bench.flush()
    answer(bench, "b", LIFE)
    assert 1 not in bench.reads
    answer(bench, "c")
    assert bench.reads[1] == bench.core.commit_index


def test_a_blank_member_is_no_successor_and_becomes_no_voter(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    answer(bench, "b", LIFE)
    assert not bench.core.transfer_leadership("b", bench.now)
    bench.core._leading.settled_index = 1
    assert not bench.core._leading.keeps_up("b")
    assert bench.core._leading.keeps_up("c")


# The leader recovers it


def test_a_leader_appends_an_entry_that_the_blank_member_has_to_reach(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    before = bench.core.log.last_index
    bench.step("b", RecoveryRequest(LIFE))
    assert bench.core.log.last_index == before + 1
    bench.step("b", RecoveryRequest(LIFE))
    answer(bench, "b", LIFE, index=0)
    assert bench.core.log.last_index == before + 1, "once per life"


def test_a_leader_that_is_not_ready_waits_with_that_entry(make_bench) -> None:
    bench = make_bench()
    bench.elect()
    bench.step("b", RecoveryRequest(LIFE))
    assert bench.core.log.last_index == 1
    answer(bench, "c")
    assert bench.core.commit_index == 1
    assert bench.core.log.last_index == 2
    answer(bench, "b", LIFE)
    assert bench.core._leading.peers["b"].recovering, "committed by c it is not"
    sends = answer(bench, "c")
    assert only(sends, AppendRequest, "b")[-1].recovered == LIFE


@pytest.mark.parametrize("order", ["bc", "cb"])
def test_it_is_over_when_that_entry_is_committed_and_persisted_by_it(make_bench, order) -> None:
    bench = lead_with_blank_b(make_bench)
    barrier = bench.core.log.last_index
    answer(bench, "b", LIFE, index=barrier - 1)
    answer(bench, "c", index=barrier - 1)
    for peer in order:
        assert bench.core._leading.peers["b"].recovering
        sends = answer(bench, peer, LIFE if peer == "b" else 0)
    assert not bench.core._leading.peers["b"].recovering
    assert [m.recovered for m in only(sends, AppendRequest, "b")] == [LIFE]
    bench.core.propose(b"x", bench.now)
    answer(bench, "b", LIFE)
    assert bench.core.commit_index == barrier + 1, "it counts, although it may not know it yet"


def test_a_leader_says_that_it_is_over_until_it_was_heard(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    answer(bench, "b", LIFE)
    answer(bench, "c")
    for _ in range(3):
        sends = bench.wait(bench.config.heartbeat_interval)
        assert [m.recovered for m in only(sends, AppendRequest, "b")] == [LIFE]
        assert [m.recovered for m in only(sends, AppendRequest, "c")] == [0]
        answer(bench, "c")
        answer(bench, "b", LIFE)
    bench.wait(bench.config.heartbeat_interval)
    answer(bench, "b", 0)
    sends = bench.wait(bench.config.heartbeat_interval)
    assert [m.recovered for m in only(sends, AppendRequest, "b")] == [0]


def test_a_member_that_says_late_that_it_recovers_is_told_again(make_bench) -> None:
    # Without this it would recover for ever: an answer of before it forgot came in between.
    bench = lead_with_blank_b(make_bench)
    answer(bench, "b", LIFE)
    answer(bench, "c")
    bench.wait(bench.config.heartbeat_interval)
    answer(bench, "b", 0)
    answer(bench, "b", LIFE)
    answer(bench, "c")
    sends = bench.wait(bench.config.heartbeat_interval)
    assert [m.recovered for m in only(sends, AppendRequest, "b")] == [LIFE]


def test_an_answer_of_before_a_member_forgot_counts_for_nothing(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    round = bench.core._leading.rounds.current
    bench.core.propose(b"x", bench.now)
    bench.flush()
    index = bench.core.log.last_index
    bench.step("b", RecoveryRequest(LIFE))
    before = bench.core.commit_index
    answer(bench, "b", 0, index=index, round=round)
    progress = bench.core._leading.peers["b"]
    assert (progress.recovering, progress.match_index) == (LIFE, 0)
    assert bench.core.commit_index == before


def test_a_member_may_say_in_a_later_round_that_it_has_recovered_by_itself(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    bench.wait(bench.config.heartbeat_interval)
    answer(bench, "b", 0)
    assert not bench.core._leading.peers["b"].recovering
    assert bench.core.commit_index == bench.core.log.last_index


def test_what_a_member_had_before_it_recovered_by_itself_it_tells_anew(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    bench.core.propose(b"x", bench.now)
    last = bench.core.log.last_index
    # Late, of a life between the two: it held more than the one that is there now.
    answer(bench, "b", LIFE - 1)
    bench.wait(bench.config.heartbeat_interval)
    answer(bench, "b", 0, index=1)
    assert bench.core._leading.peers["b"].match_index == 1
    assert bench.core.commit_index < last


def test_a_new_life_recovers_anew(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    answer(bench, "b", LIFE)
    answer(bench, "c")
    bench.wait(bench.config.heartbeat_interval)
    answer(bench, "b", 0)
    last = bench.core.log.last_index
    bench.step("b", RecoveryRequest(LIFE + 1))
    assert bench.core._leading.peers["b"].recovering == LIFE + 1
    assert bench.core._leading.peers["b"].match_index == 0
    assert bench.core.log.last_index == last + 1


def test_an_answer_of_a_life_that_had_recovered_counts_not_for_the_next(make_bench) -> None:
    bench = lead_with_blank_b(make_bench)
    answer(bench, "b", LIFE)
    answer(bench, "c")
    bench.step("b", RecoveryRequest(LIFE + 1))
    answer(bench, "b", LIFE)
    progress = bench.core._leading.peers["b"]
    assert (progress.recovering, progress.match_index) == (LIFE + 1, 0)


def test_a_recovered_member_votes_but_not_in_the_term_of_its_leader(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", append(2, NOTHING, begun(), entry(2, 2)))
    assert bench.core.is_recovering
    bench.step("b", append(2, EntryId(2, 2), round=2, recovered=nonce_of(bench)))
    assert not bench.core.is_recovering
    bench.core.peer_lost("b", bench.now)
    assert not asks_for_vote(bench, 2, EntryId(1, 9), "c")
    assert not asks_for_vote(bench, 2, EntryId(2, 2), "c")
    assert asks_for_vote(bench, 3, EntryId(2, 2), "c")


def test_a_recovered_member_keeps_for_good_that_it_is_and_whom_its_vote_is(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", append(2, NOTHING, begun(), entry(2, 2)))
    bench.core.step("b", append(2, EntryId(2, 2), round=2, recovered=nonce_of(bench)), bench.now)
    bench.take()
    assert bench.pending[-1].hard_state == HardState(2, "b", False)


def test_that_another_life_has_recovered_says_nothing(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", append(2, NOTHING, begun(), recovered=nonce_of(bench) - 1))
    assert bench.core.is_recovering


def test_a_restart_does_not_make_an_end_of_recovery(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    log = MemoryLog()
    bench.core.step("b", append(2, NOTHING, begun(), entry(2, 2)), bench.now)
    bench.take()
    log.append(bench.pending)
    restored = log.load(None)
    assert restored.hard_state == HardState(2, None, True)
    assert restored.entries
    again = make_bench(restored=restored)
    assert again.core.is_recovering
    assert not asks_for_vote(again, 3, EntryId(2, 2))


def test_a_snapshot_without_a_hard_state_came_to_a_blank_member(make_bench) -> None:
    snapshot = SnapshotMeta(4, 2, 4, 10, 0, replace(ABC, genesis=5))
    log = MemoryLog()
    restored = log.load(snapshot)
    assert restored.blank
    bench = make_bench(restored=restored)
    bench.take()
    log.append(bench.pending)
    assert bench.core.is_recovering
    again = make_bench(restored=log.load(snapshot))
    assert again.core.is_recovering
    assert not asks_for_vote(again, 3, EntryId(2, 4))


def test_who_begins_to_recover_believes_not_that_it_is_alone(make_bench) -> None:
    # It has the log up to a time when it was; that ends early, and others have joined since.
    alone = entry_of(Membership(("a",), genesis=5), 2)
    state = HardState(3, None, True)
    bench = make_bench(restored=Restored(state, None, (begun(), alone), blank=True))
    assert bench.core.role is Role.FOLLOWER
    bench.time_out()
    assert bench.core.is_recovering
    bench.step(
        "b", told(bench, 1, EntryId(1, 2), index=2, membership=Membership(("a",), genesis=5))
    )
    bench.time_out()
    assert bench.core.is_recovering, "what a former member tells is as old"


def test_it_asks_again_while_it_follows_a_leader_that_may_be_unable_to_recover_it(
    make_bench,
) -> None:
    bench = make_bench(restored=BLANK)
    requests = []
    for round in range(1, 60):
        sends = bench.step("b", append(1, NOTHING, begun(), round=round))
        sends += bench.wait(bench.config.heartbeat_interval)
        requests += only(sends, RecoveryRequest, "c")
    assert bench.core.leader == "b"
    assert len(requests) >= 2


# All have answered


def test_it_votes_for_a_log_that_reaches_the_greatest_of_all_answers(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", told(bench, 3, EntryId(3, 5)))
    bench.step("c", told(bench, 2, EntryId(2, 9), blank=True))
    assert bench.core.is_recovering, "it counts not before its own log is there"
    assert not asks_for_vote(bench, 4, EntryId(2, 9), "c")
    assert not asks_for_vote(bench, 4, EntryId(3, 4), "c")
    assert asks_for_vote(bench, 4, EntryId(3, 5), "b")


def test_no_vote_in_a_term_that_any_answer_tells(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", told(bench, 3))
    bench.step("c", told(bench, 7, EntryId(2, 9), blank=True))
    assert not asks_for_vote(bench, 7, EntryId(3, 5), "b")
    assert asks_for_vote(bench, 8, EntryId(3, 5), "b")


def test_it_counts_when_its_own_log_reaches_the_floor(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", told(bench, 1, EntryId(1, 2)))
    bench.step("c", told(bench, 1, EntryId(1, 1), blank=True))
    (reply,) = only(bench.step("b", append(2, NOTHING, begun())), AppendReply)
    assert reply.recovering
    bench.core.step("b", append(2, EntryId(1, 1), entry(2), round=2), bench.now)
    bench.take()
    assert bench.core.is_recovering, "not persisted yet"
    bench.flush()
    assert not bench.core.is_recovering
    (reply,) = only(bench.step("b", append(2, EntryId(1, 2), round=3)), AppendReply)
    assert reply.recovering == 0


def test_if_those_who_remember_are_a_quorum_a_leader_has_to_recover_it(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", told(bench))
    bench.step("c", told(bench))
    bench.time_out()
    assert bench.core.is_recovering
    assert not asks_for_vote(bench, 4, EntryId(3, 5))


def test_one_answer_that_is_missing_may_be_of_one_who_has_its_vote(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", told(bench))
    bench.time_out()
    assert bench.core.is_recovering
    assert not asks_for_vote(bench, 4, EntryId(3, 5))


def test_all_are_those_of_each_membership_that_an_answer_names(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    joint = Membership(("a", "b", "c", "d"), ("a", "b", "c"), genesis=5)
    bench.step("b", told(bench, index=4, membership=joint))
    bench.step("c", told(bench, blank=True))
    assert not asks_for_vote(bench, 4, EntryId(3, 5))
    bench.step("d", told(bench, blank=True))
    assert asks_for_vote(bench, 5, EntryId(3, 5))


def test_a_learner_may_be_a_voter_by_now_and_has_to_answer_as_well(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    # Of one who was cut off while d took the place of a, which is on the bench.
    behind = Membership(("a", "b", "c"), learners=("d",), genesis=5)
    bench.step("b", told(bench, index=4, membership=behind))
    bench.step("c", told(bench, last=NOTHING, blank=True))
    assert not asks_for_vote(bench, 4, EntryId(3, 5))
    bench.step("d", told(bench, last=EntryId(3, 9), index=8, membership=BCD))
    assert not asks_for_vote(bench, 5, EntryId(3, 9))


def test_what_another_blank_member_has_heard_of_the_members_counts(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", told(bench, index=4))
    bench.step("c", told(bench, last=NOTHING, blank=True, index=8, membership=BCD))
    assert not asks_for_vote(bench, 4, EntryId(3, 5)), "it has no vote any more"


def test_a_blank_member_passes_on_the_newest_membership_it_has_heard_of(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    (reply,) = only(bench.step("c", RecoveryRequest(LIFE)), RecoveryReply)
    assert (reply.blank, reply.membership_index, reply.membership) == (True, 0, ABC)
    bench.step("b", told(bench, index=8, membership=BCD))
    bench.step("c", told(bench, index=4))
    (reply,) = only(bench.step("c", RecoveryRequest(LIFE)), RecoveryReply)
    assert (reply.last, reply.membership_index, reply.membership) == (NOTHING, 8, BCD)


def test_what_it_has_heard_of_the_members_it_knows_though_who_told_it_forgets(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    grown = Membership(("a", "b", "c", "d", "e", "f", "g"), genesis=5)
    bench.step("c", told(bench, index=8, membership=grown))
    bench.core.peer_connected("c", bench.now)
    # All that is left to them is the beginning of what a leader has sent.
    for peer in "bc":
        bench.step(peer, told(bench, last=EntryId(1, 2), blank=True))
    assert not asks_for_vote(bench, 4, EntryId(3, 5))
    (reply,) = only(bench.step("b", RecoveryRequest(LIFE)), RecoveryReply)
    assert (reply.membership_index, reply.membership) == (8, grown)


def test_who_is_no_voter_is_recovered_by_a_leader_only(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    others = Membership(("b", "c"), genesis=5)
    bench.step("b", told(bench, membership=others))
    bench.step("c", told(bench, membership=others, blank=True))
    assert not asks_for_vote(bench, 4, EntryId(3, 5))


def test_who_is_linked_anew_has_to_answer_anew(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", told(bench))
    bench.step("c", told(bench, blank=True))
    bench.core.peer_connected("b", bench.now)
    assert not asks_for_vote(bench, 4, EntryId(3, 5))
    bench.step("b", told(bench, 4))
    assert asks_for_vote(bench, 5, EntryId(3, 5))


def test_the_answer_to_another_life_says_nothing(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", replace(told(bench), nonce=nonce_of(bench) - 1))
    bench.step("c", told(bench, blank=True))
    assert not asks_for_vote(bench, 4, EntryId(3, 5))


# Candidates give up when they are asked


def test_a_candidate_gives_up_when_a_blank_voter_asks_once_per_life(make_bench) -> None:
    bench = make_bench()
    for life in (LIFE, LIFE + 1):
        bench.time_out()
        bench.step("c", PreVoteReply(bench.core.term + 1, True))
        assert bench.core.role is Role.CANDIDATE
        (reply,) = only(bench.step("b", RecoveryRequest(life)), RecoveryReply)
        assert bench.core.role is Role.FOLLOWER
        assert reply.term == bench.core.term
        bench.step("b", VoteReply(bench.core.term, True))
        assert bench.core.role is Role.FOLLOWER, "a vote of before it forgot"
    bench.time_out()
    bench.step("c", PreVoteReply(bench.core.term + 1, True))
    bench.step("b", RecoveryRequest(LIFE + 1))
    assert bench.core.role is Role.CANDIDATE


def test_who_has_no_vote_to_give_stops_no_candidate(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    bench.step("z", RecoveryRequest(LIFE))
    assert bench.core.role is Role.PRE_CANDIDATE


# A first start


def test_when_all_have_answered_and_are_empty_the_cluster_begins(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", empty(bench))
    assert bench.core.is_recovering
    bench.step("c", empty(bench))
    assert not bench.core.is_recovering
    assert bench.core.deadline() - bench.now <= bench.config.election_timeout_min / 15
    assert only(bench.time_out(), PreVoteRequest)


def test_an_empty_majority_begins_when_the_rest_was_silent_for_an_election_timeout(
    make_bench,
) -> None:
    bench = make_bench(restored=BLANK)
    assert not only(bench.time_out(), PreVoteRequest), "alone it is none"
    bench = make_bench(restored=BLANK)
    bench.step("b", empty(bench))
    assert bench.core.is_recovering
    assert only(bench.time_out(), PreVoteRequest)
    assert not bench.core.is_recovering


def test_members_with_other_lists_of_members_begin_nothing(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    other = Membership(("a", "b"))
    bench.step("b", empty(bench, other))
    bench.step("c", empty(bench, other))
    bench.time_out()
    assert bench.core.is_recovering
    assert bench.core._recovery.unlike(ABC) == {"b": ("a", "b"), "c": ("a", "b")}


def test_a_node_that_is_to_join_begins_nothing(make_bench) -> None:
    bench = make_bench(members=(), restored=BLANK)
    for peer in "bc":
        bench.step(peer, empty(bench, Membership()))
    bench.time_out()
    assert bench.core.is_recovering


def test_who_holds_entries_already_is_at_no_first_start(make_bench) -> None:
    # Else it would vote with half a log, when its leader falls silent: "b" may hold nothing only
    # because it lags.
    bench = make_bench(restored=BLANK)
    bench.step("b", empty(bench, blank=False))
    bench.step("c", append(2, NOTHING, begun(), commit=1))
    bench.time_out()
    bench.time_out()
    assert bench.core.is_recovering
    assert not asks_for_vote(bench, 9, EntryId(2, 1))
    bench.step("c", empty(bench))
    assert bench.core.is_recovering, "that was the answer of a time before"


def test_the_first_vote_is_in_a_term_that_nobody_has_told(make_bench) -> None:
    bench = make_bench(restored=BLANK)
    bench.step("b", empty(bench, term=1))
    bench.step("c", empty(bench, term=1))
    assert not asks_for_vote(bench, 1, NOTHING)
    assert asks_for_vote(bench, 2, NOTHING)


# A member whose store lasts


def test_a_member_whose_store_lasts_votes_after_an_election_timeout(make_bench) -> None:
    bench = make_bench(restored=Restored(blank=True, lasting=True))
    bench.step("b", told(bench))
    assert not asks_for_vote(bench, 4, EntryId(3, 5))
    bench.time_out()
    # As any new member does: whoever told of more may be gone for good.
    assert not asks_for_vote(bench, 3, EntryId(2, 4)), "that term may have had its vote before"
    assert asks_for_vote(bench, 4, EntryId(3, 4))


def test_a_member_whose_store_lasts_counts_though_its_leader_has_lost_all_others(
    make_bench,
) -> None:
    bench = make_bench(restored=Restored(blank=True, lasting=True))
    end = bench.now + bench.config.election_timeout_max
    while bench.now < end:
        # Its leader speaks, but cannot recover it: that takes a quorum of others.
        assert bench.core.is_recovering
        bench.now += bench.config.heartbeat_interval
        bench.step("b", append(4, NOTHING, begun(5)))
    bench.step("b", told(bench))
    assert not bench.core.is_recovering


# Genesis: one life of a cluster, and another


def test_the_first_leader_begins_the_life_of_the_cluster(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    assert bench.core.membership.genesis > 0
    assert replace(bench.core.membership, genesis=0) == ABC
    assert bench.core.log.membership_index == 1
    bench.step("b", VoteRequest(9, EntryId(8, 9), bench.core.membership.genesis, True))
    assert bench.core.voted_for == "b"


def test_what_is_committed_is_of_one_life(make_bench) -> None:
    bench = make_bench()
    bench.step("b", append(1, NOTHING, begun(5), commit=1))
    bench.core.peer_lost("b", bench.now)
    for other in (PreVoteRequest(9, EntryId(8, 9), 6), VoteRequest(9, EntryId(8, 9), 6, True)):
        (reply,) = only(bench.step("c", other), PreVoteReply | VoteReply)
        assert not reply.granted
    with pytest.raises(ProtocolError, match="another life of the cluster"):
        bench.step("c", append(10, NOTHING, begun(6, 10), genesis=6))
    assert bench.core.commit_index == 1


def test_a_snapshot_of_another_life_leaves_nothing_of_this_one(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(1), None, (begun(5), entry(2), entry(3))))
    snapshot = SnapshotMeta(2, 1, 2, 4, 0, replace(ABC, genesis=6))
    bench.step("c", SnapshotChunk(2, snapshot, 0, b"abcd", 1, 0.0))
    (write,) = bench.chunk_writes
    bench.core.chunk_written(write, 4, True, bench.now)
    bench.flush()
    assert bench.core.log.last_index == 2
    assert bench.core.membership.genesis == 6


def test_a_snapshot_that_came_too_late_for_its_life_is_left_alone(make_bench) -> None:
    bench = make_bench()
    snapshot = SnapshotMeta(2, 1, 2, 4, 0, replace(ABC, genesis=6))
    bench.step("c", SnapshotChunk(2, snapshot, 0, b"abcd", 1, 0.0))
    (write,) = bench.chunk_writes
    bench.step("b", append(3, NOTHING, begun(5), commit=1))
    bench.core.chunk_written(write, 4, True, bench.now)
    bench.flush()
    assert bench.core.membership.genesis == 5


def test_what_is_not_committed_gives_way_to_another_life(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(1), None, (begun(5), entry(2), entry(3))))
    # Of the same term, with the same indexes.
    (reply,) = only(bench.step("c", append(2, EntryId(1, 2), genesis=6)), AppendReply)
    assert not reply.accepted
    bench.step("c", append(2, NOTHING, begun(6), round=2, genesis=6))
    assert bench.core.membership.genesis == 6
    assert bench.core.log.last_index == 1
