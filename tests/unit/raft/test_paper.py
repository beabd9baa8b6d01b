"""Sentences of the Raft paper (extended version) and of Ongaro's dissertation, each as a test."""

import pytest

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
    ReadReply,
    ReadRequest,
    Restored,
    SnapshotMeta,
    VoteReply,
    VoteRequest,
)

NOTHING = EntryId(0, 0)


def entries(*terms: int, first: int = 1) -> tuple[Entry, ...]:
    """Entries of these terms, as figure 7 draws a log."""
    return tuple(
        Entry(term, index, index, EntryKind.BATCH, b"%d.%d" % (term, index))
        for index, term in enumerate(terms, first)
    )


def held(*terms: int, term: int | None = None, vote: str | None = None) -> Restored:
    """What the store of a member with this log holds."""
    return Restored(HardState(term or terms[-1], vote), None, entries(*terms))


def append(
    term: int, previous: EntryId, *sent: Entry, commit: int = 0, round: int = 1, echo: float = 0.0
) -> AppendRequest:
    return AppendRequest(term, previous, commit, list(sent), round, echo)


def only(sends, kind):
    return [message for _, message in sends if isinstance(message, kind)]


# 5.1: terms


def test_a_server_that_sees_a_larger_term_updates_its_own(make_bench) -> None:
    bench = make_bench()
    bench.step("b", append(4, NOTHING))
    assert (bench.core.term, bench.core.leader) == (4, "b")


def test_a_candidate_or_leader_whose_term_is_out_of_date_reverts_to_follower(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    bench.step("b", AppendReply(9, 0, False, 0, 0, 1.0))
    assert (bench.core.role, bench.core.term, bench.core.leader) == (Role.FOLLOWER, 9, None)


def test_a_request_with_a_stale_term_is_rejected(make_bench) -> None:
    bench = make_bench(restored=held(1, 3))
    sends = bench.step("b", append(2, EntryId(1, 1), *entries(2, first=2)))
    (reply,) = only(sends, AppendReply)
    assert (reply.accepted, reply.term) == (False, 3)
    assert bench.core.log.last_id == EntryId(3, 2)


def test_the_refusal_of_an_old_leader_tells_nothing_to_its_next_term(make_bench) -> None:
    bench = make_bench(restored=held(1, 1, 1))
    bench.lead()
    before = bench.core._leading.peers["b"].next_index
    bench.step("b", AppendReply(bench.core.term, 0, False, 0, 0, 1.0))
    assert bench.core._leading.peers["b"].next_index == before


# 5.2: elections


def test_servers_start_as_followers(make_bench) -> None:
    assert make_bench().core.role is Role.FOLLOWER


def test_a_follower_without_communication_over_the_timeout_begins_an_election(make_bench) -> None:
    bench = make_bench()
    assert bench.config.election_timeout_min <= bench.core.deadline() - bench.now
    assert bench.core.deadline() - bench.now <= bench.config.election_timeout_max
    assert bench.time_out() == [
        ("b", PreVoteRequest(1, NOTHING)),
        ("c", PreVoteRequest(1, NOTHING)),
    ]
    assert bench.core.term == 0, "pre-vote disturbs nobody"
    sends = bench.step("b", PreVoteReply(1, True))
    assert sends == [("b", VoteRequest(1, NOTHING)), ("c", VoteRequest(1, NOTHING))]
    assert (bench.core.role, bench.core.term, bench.core.voted_for) == (Role.CANDIDATE, 1, "a")


def test_a_leader_that_speaks_keeps_its_followers_from_standing(make_bench) -> None:
    bench = make_bench()
    for round in range(1, 30):
        bench.step("b", append(1, NOTHING, round=round))
        bench.wait(bench.config.heartbeat_interval)
    assert (bench.core.role, bench.core.leader) == (Role.FOLLOWER, "b")


def test_a_candidate_wins_by_votes_of_a_majority(make_bench) -> None:
    bench = make_bench(members=("a", "b", "c", "d", "e"))
    bench.time_out()
    for peer in "bc":
        bench.step(peer, PreVoteReply(1, True))
    bench.step("b", VoteReply(1, True))
    bench.step("b", VoteReply(1, True))
    assert bench.core.role is Role.CANDIDATE, "one voter counts once"
    bench.step("c", VoteReply(1, True))
    assert bench.core.role is Role.LEADER


def test_votes_of_another_term_do_not_count(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(4)))
    bench.time_out()
    bench.step("b", PreVoteReply(5, True))
    bench.step("b", VoteReply(4, True))
    assert bench.core.role is Role.CANDIDATE


def test_each_server_votes_for_at_most_one_candidate_first_come_first_served(make_bench) -> None:
    bench = make_bench()
    assert bench.step("b", VoteRequest(1, NOTHING)) == [("b", VoteReply(1, True))]
    assert bench.step("c", VoteRequest(1, NOTHING)) == [("c", VoteReply(1, False))]
    assert bench.step("b", VoteRequest(1, NOTHING)) == [("b", VoteReply(1, True))]


def test_a_vote_survives_a_restart(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(1, "b")))
    assert bench.step("c", VoteRequest(1, NOTHING)) == [("c", VoteReply(1, False))]


def test_a_candidate_that_hears_the_leader_of_its_term_becomes_follower(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    bench.step("b", PreVoteReply(1, True))
    bench.step("c", append(1, NOTHING))
    assert (bench.core.role, bench.core.leader, bench.core.term) == (Role.FOLLOWER, "c", 1)


def test_a_term_has_one_leader(make_bench) -> None:
    bench = make_bench()
    bench.step("b", append(1, NOTHING))
    with pytest.raises(ProtocolError):
        bench.core.step("c", append(1, NOTHING), bench.now)
    bench.core._check()
    leading = make_bench()
    leading.lead()
    with pytest.raises(ProtocolError):
        leading.core.step("c", append(1, NOTHING), leading.now)


# 5.2 and figure 2: what must be on stable storage before responding


def test_a_vote_is_persisted_before_it_is_given(make_bench) -> None:
    bench = make_bench()
    bench.core.step("b", VoteRequest(1, NOTHING), bench.now)
    assert bench.take() == []
    assert bench.pending[0].hard_state == HardState(1, "b")
    assert bench.persist() == [("b", VoteReply(1, True))]


def test_a_vote_that_is_asked_for_twice_still_waits_for_the_disk(make_bench) -> None:
    bench = make_bench()
    for _ in range(3):
        bench.core.step("b", VoteRequest(1, NOTHING), bench.now)
        assert bench.take() == []
    assert [append.then_send for append in bench.pending] == [[("b", VoteReply(1, True))]]
    assert bench.persist() == [("b", VoteReply(1, True))]
    assert bench.take() == [("b", VoteReply(1, True))]


def test_a_candidate_asks_and_counts_itself_only_after_its_vote_is_persisted(make_bench) -> None:
    bench = make_bench(members=("a",))
    assert bench.take() == []
    assert bench.core.role is Role.CANDIDATE
    bench.persist()
    assert bench.core.role is Role.LEADER
    bench = make_bench()
    bench.time_out()
    bench.core.step("b", PreVoteReply(1, True), bench.now)
    assert bench.take() == []
    assert only(bench.persist(), VoteRequest)


def test_a_new_term_is_persisted_before_any_reply_of_it(make_bench) -> None:
    for message in (
        append(5, NOTHING),
        append(5, EntryId(4, 7)),
        VoteRequest(5, NOTHING),
    ):
        bench = make_bench(restored=held(3))
        bench.core.step("b", message, bench.now)
        assert bench.take() == []
        assert bench.pending[0].hard_state.term == 5
        assert len(bench.persist()) == 1


def test_entries_are_persisted_before_they_are_acknowledged(make_bench) -> None:
    bench = make_bench()
    bench.step("b", append(1, NOTHING))
    bench.core.step("b", append(1, NOTHING, *entries(1, 1), round=2), bench.now)
    assert bench.take() == []
    bench.core.step("b", append(1, EntryId(1, 2), round=3), bench.now)
    (reply,) = only(bench.take(), AppendReply)
    assert (reply.accepted, reply.index, reply.round) == (True, 0, 3), "a heartbeat says so"
    (reply,) = only(bench.persist(), AppendReply)
    assert (reply.accepted, reply.index, reply.round) == (True, 2, 2)


def test_the_leader_counts_itself_only_where_it_has_persisted(make_bench) -> None:
    bench = make_bench()
    bench.elect()
    bench.core.propose(b"x", bench.now)
    bench.take()
    bench.core.step("b", AppendReply(1, 1, True, 2, 0, 1.0), bench.now)
    assert bench.core.commit_index == 1
    bench.persist()
    assert bench.core.commit_index == 2


# 5.3: log replication


def test_the_leader_sends_new_entries_in_parallel_to_its_own_disk(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    id = bench.core.propose(b"x", bench.now)
    sends = bench.take()
    assert [(to, [e.id for e in m.entries]) for to, m in sends] == [("b", [id]), ("c", [id])]
    assert bench.pending, "the own append is not durable yet"


def test_an_entry_is_committed_once_it_is_on_a_majority(make_bench) -> None:
    bench = make_bench(members=("a", "b", "c", "d", "e"))
    bench.lead()
    bench.core.propose(b"x", bench.now)
    bench.flush()
    bench.accept("b")
    assert bench.core.commit_index == 1
    bench.accept("c")
    assert bench.core.commit_index == 2
    assert [entry.payload for entry in bench.committed][1:] == [b"x"]


def test_followers_learn_at_once_what_is_committed(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    bench.core.propose(b"x", bench.now)
    bench.flush()
    sends = bench.accept("b")
    assert [(to, m.commit_index, m.entries) for to, m in sends] == [("b", 2, []), ("c", 2, [])]


def test_a_follower_commits_only_what_it_has_verified(make_bench) -> None:
    bench = make_bench(restored=held(1, 1, 1))
    bench.step("b", append(2, EntryId(1, 1), commit=3))
    assert bench.core.commit_index == 1


def test_the_consistency_check_refuses_an_append_without_its_predecessor(make_bench) -> None:
    bench = make_bench(restored=held(1, 1))
    (reply,) = only(bench.step("b", append(2, EntryId(1, 5))), AppendReply)
    assert (reply.accepted, reply.index, reply.hint_term) == (False, 2, 1)


def test_the_refusal_steps_over_a_whole_term(make_bench) -> None:
    # Figure 7 (f): terms 2 and 3 are unknown to the leader.
    bench = make_bench(restored=held(1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3))
    (reply,) = only(bench.step("b", append(8, EntryId(1, 5))), AppendReply)
    assert (reply.accepted, reply.index, reply.hint_term) == (False, 3, 1)


def test_the_leader_steps_back_over_whole_terms(make_bench) -> None:
    bench = make_bench(restored=held(1, 4, 4, 4, 4, 4))
    (probe, _) = only(bench.elect(), AppendRequest)
    assert probe.previous == EntryId(4, 6)
    (probe,) = only(bench.step("b", AppendReply(5, 1, False, 4, 2, 1.0)), AppendRequest)
    assert probe.previous == EntryId(1, 1)


@pytest.mark.parametrize(
    "follower",
    [
        (1, 1, 1, 4, 4, 5, 5, 6, 6),
        (1, 1, 1, 4),
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6),
        (1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7),
        (1, 1, 1, 4, 4, 4, 4),
        (1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3),
    ],
    ids="abcdef",
)
def test_any_log_of_figure_7_becomes_the_leaders(make_bench, follower) -> None:
    leader = make_bench(restored=held(1, 1, 1, 4, 4, 5, 5, 6, 6, 6, term=7))
    other = make_bench(restored=held(*follower, term=7))
    sends = leader.elect()
    exchanges = 0
    while requests := [m for to, m in sends if to == "b"]:
        exchanges += 1
        replies = [m for m in requests for _, m in other.step("b", m)]
        sends = [send for reply in replies for send in leader.step("b", reply)]
        assert exchanges < 20
    assert exchanges <= 5
    assert other.core.log.between(1, 99) == leader.core.log.between(1, 99)
    assert other.core.commit_index == leader.core.commit_index == 11


def test_a_follower_truncates_only_on_a_real_conflict(make_bench) -> None:
    bench = make_bench(restored=held(1, 1, 1, 1, term=2))
    bench.step("b", append(2, EntryId(1, 1), *entries(1, first=2)))
    assert bench.core.log.last_index == 4, "an old request, or one overtaken, cuts nothing"
    bench.step("b", append(2, EntryId(1, 2), *entries(2, first=3)))
    assert bench.core.log.last_id == EntryId(2, 3)


def test_a_follower_never_overwrites_what_is_committed(make_bench) -> None:
    bench = make_bench(restored=held(1, 1, 1))
    bench.step("b", append(1, EntryId(1, 3), commit=2))
    for lie in (
        append(3, EntryId(1, 1), *entries(3, first=2)),
        append(3, EntryId(2, 2)),
    ):
        with pytest.raises(ProtocolError):
            bench.core.step("b", lie, bench.now)
        bench.core._check()
        assert bench.core.log.last_index == 3


def test_a_stale_append_of_a_former_leader_is_not_acknowledged_to_the_new_one(make_bench) -> None:
    bench = make_bench(restored=held(1))
    bench.step("b", append(2, EntryId(1, 1)))
    bench.core.step("b", append(2, EntryId(1, 1), *entries(2, 2, first=2)), bench.now)
    bench.take()
    bench.core.step("c", append(3, EntryId(1, 1)), bench.now)
    bench.take()
    sends = bench.persist() + bench.persist() + bench.take()
    to_new = [m for to, m in sends if to == "c"]
    assert [(m.accepted, m.index) for m in to_new] == [(True, 1)]


def test_what_a_former_leader_sent_is_acknowledged_once_verified_and_persisted(make_bench) -> None:
    bench = make_bench(restored=held(1))
    bench.step("b", append(2, EntryId(1, 1)))
    bench.core.step("b", append(2, EntryId(1, 1), *entries(2, first=2)), bench.now)
    bench.take()
    bench.core.step("c", append(3, EntryId(2, 2)), bench.now)
    bench.take()
    sends = bench.persist() + bench.persist() + bench.take()
    assert max(m.index for to, m in sends if to == "c") == 2


# 5.4: safety


@pytest.mark.parametrize(
    ("last", "granted"),
    [
        (EntryId(3, 1), True),
        (EntryId(2, 3), True),
        (EntryId(2, 4), True),
        (EntryId(2, 2), False),
        (EntryId(1, 9), False),
    ],
)
def test_the_voter_denies_if_its_own_log_is_more_up_to_date(make_bench, last, granted) -> None:
    bench = make_bench(restored=held(1, 1, 2))
    reply = PreVoteReply(4, True) if granted else PreVoteReply(2, False)
    assert bench.step("b", PreVoteRequest(4, last)) == [("b", reply)]
    assert bench.step("b", VoteRequest(4, last)) == [("b", VoteReply(4, granted))]


def test_leader_commits_only_entries_of_its_own_term(make_bench) -> None:
    # Figure 8 (c): an entry of term 2 on a majority is not committed by a leader of term 4.
    bench = make_bench(members=("a", "b", "c", "d", "e"), restored=held(1, 2, term=3))
    bench.elect()
    assert bench.core.log.last_id == EntryId(4, 3)
    for peer in "bc":
        bench.accept(peer, 2)
    assert bench.core.commit_index == 0
    for peer in "bc":
        bench.accept(peer, 3)
    assert bench.core.commit_index == 3, "by the entry of term 4 all before it are committed"


def test_a_new_leader_appends_a_noop(make_bench) -> None:
    begun = Membership(("a", "b", "c"), genesis=7)
    first = Entry(1, 1, 0, EntryKind.MEMBERSHIP, encode_membership(begun))
    bench = make_bench(restored=Restored(HardState(1), None, (first,)))
    bench.elect()
    (noop,) = bench.core.log.between(2, 2)
    assert (noop.kind, noop.term, noop.payload) == (EntryKind.NOOP, 2, b"")
    assert not bench.core.leader_ready
    bench.accept("b")
    assert bench.core.leader_ready


# Section 7: snapshots (more in test_snapshots.py)


def test_a_restart_begins_from_the_snapshot(make_bench) -> None:
    snapshot = SnapshotMeta(5, 2, 5, 10, 0)
    bench = make_bench(restored=Restored(HardState(3), snapshot, entries(2, 3, first=6)))
    assert (bench.core.commit_index, bench.core.log.last_id) == (5, EntryId(3, 7))
    bench.step("b", append(3, EntryId(3, 7), commit=7))
    assert [entry.index for entry in bench.committed] == [6, 7]


# Dissertation, 4.2.3, 6.2 and 9.6: disruptive servers


def test_votes_and_pre_votes_are_refused_while_a_leader_is_heard(make_bench) -> None:
    bench = make_bench()
    bench.step("b", append(1, NOTHING))
    assert bench.step("c", PreVoteRequest(2, NOTHING)) == [("c", PreVoteReply(1, False))]
    assert bench.step("c", VoteRequest(2, NOTHING)) == [("c", VoteReply(1, False))]
    assert (bench.core.term, bench.core.leader) == (1, "b")
    bench.now += bench.config.election_timeout_min + 0.001
    assert bench.step("c", PreVoteRequest(2, NOTHING)) == [("c", PreVoteReply(2, True))]
    assert bench.step("c", VoteRequest(2, NOTHING)) == [("c", VoteReply(2, True))]


def test_a_leader_refuses_votes_too(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    assert bench.step("c", PreVoteRequest(9, EntryId(8, 9))) == [("c", PreVoteReply(1, False))]
    assert bench.step("c", VoteRequest(9, EntryId(8, 9))) == [("c", VoteReply(1, False))]
    assert bench.core.role is Role.LEADER


def test_a_pre_vote_changes_no_term(make_bench) -> None:
    bench = make_bench()
    assert bench.step("c", PreVoteRequest(7, EntryId(6, 9))) == [("c", PreVoteReply(7, True))]
    assert (bench.core.term, bench.core.voted_for) == (0, None)
    assert bench.step("b", PreVoteRequest(7, EntryId(6, 9))) == [("b", PreVoteReply(7, True))]


def test_a_refused_pre_vote_of_a_higher_term_is_adopted(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    bench.step("b", PreVoteReply(6, False))
    assert (bench.core.role, bench.core.term) == (Role.FOLLOWER, 6)


def test_a_leader_that_hears_no_quorum_steps_down(make_bench) -> None:
    bench = make_bench(members=("a", "b", "c", "d", "e"))
    bench.lead()
    elected_at = bench.now
    while bench.core.role is Role.LEADER and bench.now < elected_at + 10:
        bench.accept("b")
        bench.time_out()
    assert bench.core.role is Role.FOLLOWER, "two of five are no quorum"
    assert bench.now == elected_at + bench.config.election_timeout_max
    assert bench.core.leader is None
    assert bench.core.term == 1


def test_a_leader_that_hears_a_quorum_goes_on(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    for _ in range(20):
        bench.wait(bench.config.heartbeat_interval)
        bench.accept("c")
    assert bench.core.role is Role.LEADER


# Dissertation, 6.4: ReadIndex


def test_a_read_waits_for_a_round_of_heartbeats_that_begins_after_it(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    old = bench.core._leading.rounds.current
    bench.core.read_index(1, bench.now)
    sends = bench.flush()
    assert [(to, m.round) for to, m in sends] == [("b", old + 1), ("c", old + 1)]
    bench.step("b", AppendReply(1, old, True, 1, 0, 1.0))
    assert bench.reads == {}, "an answer to an older round proves nothing"
    bench.step("b", AppendReply(1, old + 1, True, 1, 0, 1.0))
    assert bench.reads == {1: 1}


def test_reads_of_one_burst_share_a_round_and_later_ones_do_not(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    old = bench.core._leading.rounds.current
    for request in range(50):
        bench.core.read_index(request, bench.now)
    sends = bench.flush()
    assert len(sends) == 2
    bench.core.read_index(50, bench.now)
    bench.flush()
    bench.step("b", AppendReply(1, old + 1, True, 1, 0, 1.0))
    assert sorted(bench.reads) == list(range(50))


def test_the_leader_serves_reads_only_after_it_committed_an_entry_of_its_term(make_bench) -> None:
    bench = make_bench(restored=held(1, 1))
    bench.elect()
    bench.core.read_index(1, bench.now)
    bench.step("c", ReadRequest(7))
    bench.wait(bench.config.heartbeat_interval)
    bench.accept("b", 2)
    assert bench.reads == {}
    bench.accept("b", 3)
    bench.wait(bench.config.heartbeat_interval)
    sends = bench.accept("b", 3)
    assert bench.reads == {1: 3}
    assert ("c", ReadReply(7, 3)) in sends


def test_a_cut_off_leader_confirms_no_read(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    bench.core.read_index(1, bench.now)
    bench.core.step("b", ReadRequest(8), bench.now)
    bench.flush()
    sends = bench.wait(bench.config.election_timeout_max)
    assert bench.core.role is Role.FOLLOWER
    assert bench.reads == {1: 0}
    assert ("b", ReadReply(8, 0)) in sends


def test_a_follower_asks_the_leader(make_bench) -> None:
    bench = make_bench()
    bench.core.read_index(1, bench.now)
    bench.flush()
    assert bench.reads == {1: 0}, "nobody to ask"
    bench.step("b", append(1, NOTHING))
    bench.core.read_index(2, bench.now)
    bench.core.read_index(3, bench.now)
    ((to, request),) = bench.flush()
    assert (to, type(request)) == ("b", ReadRequest)
    bench.step("c", ReadReply(request.request, 9))
    assert 2 not in bench.reads, "only the leader's answer counts"
    bench.step("b", ReadReply(request.request, 9))
    assert (bench.reads[2], bench.reads[3]) == (9, 9)
    bench.core.read_index(4, bench.now)
    bench.flush()
    bench.step("c", append(2, NOTHING))
    assert bench.reads[4] == 0, "the leader changed"


def test_a_lone_member_reads_at_once(make_bench) -> None:
    bench = make_bench(members=("a",))
    bench.flush()
    assert bench.core.leader_ready
    bench.core.read_index(1, bench.now)
    assert bench.take() == []
    assert bench.reads == {1: 1}
