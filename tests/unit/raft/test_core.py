"""RaftCore beyond the paper: links, batching, windows, time, and what sessions rely on."""

from itertools import pairwise

import pytest

from syncstructs.errors import ProtocolError
from syncstructs.raft.core import Role
from syncstructs.raft.leading import Leading
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


def heartbeat(term: int = 1, round: int = 1, echo: float = 0.0) -> AppendRequest:
    return AppendRequest(term, NOTHING, 0, [], round, echo)


# A lone member


def test_a_lone_member_leads_as_soon_as_its_vote_is_persisted(make_bench) -> None:
    bench = make_bench(members=("a",))
    assert bench.core.has_effects
    assert bench.flush() == []
    assert bench.core.leader == "a"
    assert bench.core.leader_ready
    assert bench.core.deadline() == float("inf")
    bench.core.propose(b"x", bench.now)
    bench.take()
    assert bench.core.commit_index == 1, "not before it is persisted"
    bench.persist()
    assert bench.core.commit_index == 2
    assert bench.core.quorum_contact == bench.now


def test_a_slow_disk_makes_a_candidate_wait_not_stand_again(make_bench) -> None:
    bench = make_bench(members=("a",))
    bench.take()
    for _ in range(10):
        bench.now = bench.core.deadline()
        bench.core.tick(bench.now)
        assert bench.take() == []
    assert bench.core.term == 1
    bench.persist()
    assert bench.core.role is Role.LEADER


# Strangers and nonsense


def test_messages_of_itself_are_ignored(make_bench) -> None:
    bench = make_bench()
    assert bench.step("a", VoteRequest(9, NOTHING), heartbeat(9)) == []
    assert bench.core.term == 0


def test_votes_and_answers_of_strangers_count_for_nothing(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    bench.step("z", PreVoteReply(1, True))
    assert bench.core.role is Role.PRE_CANDIDATE
    bench.elect()
    bench.step("z", AppendReply(bench.core.term, 1, True, bench.core.log.last_index, 0, 1.0))
    assert bench.core.commit_index == 0


def test_has_effects_says_what_take_effects_would(make_bench) -> None:
    bench = make_bench()
    assert bench.core.has_effects, "who the peers are"
    bench.core.take_effects()
    assert not bench.core.has_effects
    bench.core.tick(bench.core.deadline())
    assert bench.core.has_effects
    bench.core.take_effects()
    assert not bench.core.has_effects


# Batching and bounds


def test_the_next_entries_take_the_commit_index_along_if_they_come_at_once(make_bench) -> None:
    bench = make_bench()
    bench.elect()
    core = bench.core

    def acknowledge(lacking: int = 0) -> None:
        index = core.log.last_index - lacking
        for peer in bench.peers:
            core.step(peer, AppendReply(core.term, 1, True, index, 0, 1.0), bench.now)

    def told() -> list[tuple[int, int]]:
        sends = core.take_effects(hold_commit=True).sends
        assert {to for to, _ in sends} <= {*bench.peers}
        return [(len(m.entries), m.commit_index) for to, m in sends if to == "b"]

    acknowledge()
    bench.flush()
    core.propose(b"x", bench.now)
    assert told() == [(1, 1)]
    acknowledge()
    assert told() == []
    assert core.holds_commit
    core.propose(b"y", bench.now)
    assert told() == [(1, 2)], "with what is sent anyway"
    assert not core.holds_commit
    acknowledge()
    assert told() == []
    assert told() == [(0, 3)], "by itself, as nothing came"
    core.propose(b"z", bench.now)
    core.propose(b"z", bench.now)
    assert told() == [(2, 3)]
    acknowledge(lacking=1)
    assert told() == []
    acknowledge()
    assert told() == [(0, 5)], "never held twice in a row"


def test_a_burst_of_proposals_goes_out_in_few_messages(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    for _ in range(6):
        bench.core.propose(bytes(68), bench.now)
    sends = bench.take()
    # 100 bytes each with overhead, 300 in a message.
    assert [(to, len(m.entries)) for to, m in sends] == [("b", 3), ("b", 3), ("c", 3), ("c", 3)]
    (append,) = bench.pending
    assert len(append.entries) == 6, "one write for the burst"


def test_bytes_on_the_way_to_a_follower_are_bounded(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    for _ in range(30):
        bench.core.propose(bytes(68), bench.now)
    sends = [m for to, m in bench.flush() if to == "b"]
    assert sum(len(m.entries) for m in sends) == 9
    sends = [m for to, m in bench.accept("b", sends[0].entries[-1].index) if to == "b"]
    assert [len(m.entries) for m in sends if m.entries] == [3]


def test_can_propose_ends_when_too_much_is_uncommitted(make_bench) -> None:
    bench = make_bench()
    assert not bench.core.can_propose
    assert bench.core.propose(b"x", bench.now) is None
    bench.lead()
    count = 0
    while bench.core.can_propose:
        assert bench.core.propose(bytes(68), bench.now) == EntryId(1, count + 2)
        count += 1
    assert count == 2 * bench.config.append_window_bytes // 100
    bench.flush()
    bench.accept("b", 10)
    assert bench.core.can_propose


def test_an_append_that_got_lost_is_found_by_the_next_heartbeat(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    bench.core.propose(b"lost", bench.now)
    bench.flush()
    (beat,) = [m for to, m in bench.wait(bench.config.heartbeat_interval) if to == "b"]
    assert (beat.previous.index, beat.entries) == (2, [])
    (again,) = [m for _, m in bench.step("b", AppendReply(1, beat.round, False, 1, 1, 1.0))]
    assert [entry.payload for entry in again.entries] == [b"lost"]


def test_a_silent_peer_is_sent_no_entries_again_until_it_answers(make_bench) -> None:
    bench = make_bench()
    bench.elect()
    for _ in range(5):
        bench.core.propose(bytes(68), bench.now)
        sends = bench.wait(bench.config.heartbeat_interval)
        assert [m.entries for to, m in sends if to == "c"] == [[]]
        bench.accept("b")


# Links


def test_a_new_link_makes_the_leader_send_again_at_once(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    bench.core.propose(b"lost with the link", bench.now)
    bench.flush()
    bench.core.peer_lost("b", bench.now)
    assert bench.flush() == []
    bench.core.peer_connected("b", bench.now)
    ((to, message),) = bench.flush()
    assert (to, message.previous.index, len(message.entries)) == ("b", 1, 1)


def test_a_follower_that_lost_the_link_to_its_leader_stands_soon(make_bench) -> None:
    bench = make_bench()
    bench.step("b", heartbeat())
    bench.core.peer_lost("b", bench.now)
    assert bench.core.deadline() - bench.now <= bench.config.election_timeout_min / 15
    assert [type(m) for _, m in bench.time_out()] == [PreVoteRequest, PreVoteRequest]
    assert bench.core.term == 1


def test_what_tells_of_a_commit_only_is_answered_once_a_round(make_bench) -> None:
    bench = make_bench()
    ((_, told),) = bench.step("b", heartbeat())
    assert bench.step("b", heartbeat()) == [], "the leader would learn nothing"
    ((_, again),) = bench.step("b", heartbeat(round=2))
    assert (told.round, again.round) == (1, 2), "a new round is a question"
    assert bench.step("b", heartbeat(round=1)) == [], "an older one is none"
    bench.core.peer_lost("b", bench.now)
    bench.core.peer_connected("b", bench.now)
    assert len(bench.step("b", heartbeat(round=2))) == 1, "what was said may be lost"
    entry = Entry(1, 1, EntryKind.BATCH, 0, b"x")
    for _ in range(2):
        ((_, reply),) = bench.step("b", AppendRequest(1, NOTHING, 0, [entry], 2, 0.0))
        assert reply.index == 1, "entries are answered, known ones too"
    assert bench.step("b", AppendRequest(1, entry.id, 1, [], 2, 0.0)) == []
    assert bench.core.commit_index == 1
    bench.step("b", AppendRequest(1, EntryId(1, 9), 1, [], 2, 0.0))
    assert len(bench.step("b", AppendRequest(1, entry.id, 1, [], 2, 0.0))) == 1, "it probes"


def test_an_answer_that_waits_for_the_disk_is_not_given_yet(make_bench) -> None:
    bench = make_bench()
    bench.step("b", heartbeat())
    entry = Entry(1, 1, EntryKind.BATCH, 0, b"x")
    bench.core.step("b", AppendRequest(1, NOTHING, 0, [entry], 2, 0.0), bench.now)
    bench.take()
    beat = AppendRequest(1, entry.id, 0, [], 2, 0.0)
    bench.core.step("b", beat, bench.now)
    ((_, reply),) = bench.take()
    assert (reply.round, reply.index) == (2, 0), "a read must not wait for a disk"
    bench.persist()
    assert bench.step("b", beat) == []


def test_a_lost_link_to_another_follower_means_nothing(make_bench) -> None:
    bench = make_bench()
    bench.step("b", heartbeat())
    deadline = bench.core.deadline()
    bench.core.peer_lost("c", bench.now)
    assert bench.core.deadline() == deadline


def test_a_vote_is_given_at_once_if_the_link_to_the_leader_is_lost_here_too(make_bench) -> None:
    bench = make_bench()
    bench.step("b", heartbeat())
    bench.core.peer_lost("b", bench.now)
    assert bench.step("c", PreVoteRequest(2, NOTHING)) == [("c", PreVoteReply(2, True))]
    bench = make_bench()
    bench.step("b", heartbeat())
    bench.core.peer_lost("b", bench.now)
    bench.step("b", heartbeat(round=2))
    assert bench.step("c", PreVoteRequest(2, NOTHING)) == [("c", PreVoteReply(1, False))]


def test_who_refuses_since_it_hears_the_leader_ends_the_attempt(make_bench) -> None:
    bench = make_bench()
    bench.step("b", heartbeat())
    bench.core.peer_lost("b", bench.now)
    bench.time_out()
    bench.step("c", PreVoteReply(1, False))
    assert bench.core.role is Role.PRE_CANDIDATE, "one of two peers"
    bench.step("b", PreVoteReply(1, False))
    assert (bench.core.role, bench.core.term) == (Role.FOLLOWER, 1)


def test_a_peer_whose_link_comes_up_is_asked_for_its_vote(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    bench.core.peer_connected("c", bench.now)
    assert bench.flush() == [("c", PreVoteRequest(1, NOTHING))]
    bench.core.step("c", PreVoteReply(1, True), bench.now)
    bench.take()
    bench.core.peer_connected("c", bench.now)
    assert bench.take() == [], "the vote is not persisted"
    assert [to for to, _ in bench.flush()].count("c") == 2


def test_reads_asked_over_a_lost_link_are_asked_again(make_bench) -> None:
    bench = make_bench()
    bench.step("b", heartbeat())
    bench.core.read_index(1, bench.now)
    ((_, lost),) = bench.flush()
    bench.core.peer_connected("b", bench.now)
    ((to, again),) = bench.flush()
    assert (to, type(again)) == ("b", ReadRequest)
    assert again.request != lost.request
    bench.step("b", ReadReply(again.request, 3))
    assert bench.reads == {1: 3}


def test_the_leader_forgets_what_a_former_life_of_a_peer_asked(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    bench.step("b", ReadRequest(5))
    bench.core.peer_connected("b", bench.now)
    bench.wait(bench.config.heartbeat_interval)
    assert not [m for _, m in bench.accept("c") if isinstance(m, ReadReply)]


# Time and being sure


def test_cluster_time_never_goes_backwards(make_bench) -> None:
    ahead = Entry(3, 1, 10**15, EntryKind.BATCH, b"")
    bench = make_bench(restored=Restored(HardState(3), None, (ahead,)))
    began = bench.now
    bench.lead()
    for _ in range(5):
        bench.now += 0.02
        bench.core.propose(b"x", bench.now)
        bench.flush()
        bench.accept("b")
    times = [entry.time for entry in bench.core.log.between(1, 99)]
    assert all(later >= earlier for earlier, later in pairwise(times))
    # Also while nobody led yet.
    assert times[-1] == pytest.approx(10**15 + (bench.now - began) * 1_000_000, abs=2)
    assert bench.core.cluster_time(bench.now) == pytest.approx(times[-1], abs=2)


def test_quorum_contact_is_when_the_answered_round_began(make_bench) -> None:
    bench = make_bench(members=("a", "b", "c", "d", "e"))
    bench.lead()
    bench.wait(bench.config.heartbeat_interval)
    began = bench.now
    bench.now += 0.03
    bench.accept("b")
    assert bench.core.quorum_contact < began
    bench.accept("c")
    assert bench.core.quorum_contact == began
    assert (bench.core.heard("b"), bench.core.heard("z")) == (bench.now, 0.0)


def test_a_follower_knows_the_newest_echo_of_its_current_leader(make_bench) -> None:
    bench = make_bench()
    assert bench.core.leader_echo == 0.0
    bench.step("b", heartbeat(echo=99.5), heartbeat(round=2, echo=99.0))
    assert bench.core.leader_echo == 99.5
    bench.step("b", heartbeat(round=3, echo=bench.now + 1000))
    assert bench.core.leader_echo == 99.5, "a time yet to come is of a former life's clock"
    bench.step("c", heartbeat(term=2))
    assert bench.core.leader_echo == 0.0


def test_a_leader_that_is_cut_off_makes_nobody_sure(make_bench) -> None:
    bench = make_bench(members=("a", "b", "c", "d", "e"))
    bench.lead()
    echoes = set()
    for number in range(3):
        sends = bench.wait(bench.config.heartbeat_interval)
        echoes |= {m.echo for to, m in sends if to == "b" and isinstance(m, AppendRequest)}
        leading = bench.core._leading
        bench.step("b", AppendReply(1, leading.rounds.current, True, 1, 0, 1000.0 + number))
    assert max(echoes) < 1000.0, "one of four peers answers: a newer leader may exist"


def test_reads_wait_together_when_many_rounds_are_open(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    first = bench.core._leading.rounds.current
    for request in range(1000):
        bench.core.read_index(request, bench.now)
        bench.flush()
    leading: Leading = bench.core._leading
    assert leading.rounds.current - first <= 64
    last = leading.rounds.current
    bench.step("b", AppendReply(1, last, True, 1, 0, 1.0))
    assert leading.rounds.current == last + 1, "the next round begins for those that waited"
    bench.step("b", AppendReply(1, last + 1, True, 1, 0, 1.0))
    assert len(bench.reads) == 1000
    assert 0 not in bench.reads.values()


# Restarts


def test_a_snapshot_that_came_before_its_term_was_durable_raises_the_term(make_bench) -> None:
    bench = make_bench(restored=Restored(HardState(2, "b"), SnapshotMeta(9, 5, 9, 0, 0)))
    assert (bench.core.term, bench.core.voted_for) == (5, None)
    bench.core.step("c", VoteRequest(5, EntryId(5, 9)), bench.now)
    assert bench.take() == []
    assert bench.pending[0].hard_state == HardState(5, "c")


def test_entries_that_cannot_follow_the_snapshot_are_dropped_for_good(make_bench) -> None:
    old = (Entry(3, 10, 10, EntryKind.BATCH, b"never committed"),)
    snapshot = SnapshotMeta(9, 5, 9, 0, 0)
    bench = make_bench(restored=Restored(HardState(5), snapshot, old))
    assert bench.core.log.last_id == EntryId(5, 9)
    bench.take()
    assert bench.pending[0].reset == snapshot


def test_a_member_that_restarts_empty_is_brought_up_again(make_bench) -> None:
    bench = make_bench()
    bench.lead()
    for _ in range(3):
        bench.core.propose(b"x", bench.now)
    bench.flush()
    bench.accept("b")
    bench.core.peer_connected("b", bench.now)
    bench.flush()
    sends = bench.step("b", AppendReply(1, 1, False, 0, 0, 1.0))
    assert [(to, m.previous.index, len(m.entries)) for to, m in sends] == [("b", 0, 4)]
    assert bench.core.commit_index == 4, "what is committed stays so"


def test_a_split_vote_ends_in_another_attempt(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    bench.step("b", PreVoteReply(1, True))
    for peer in bench.peers:
        bench.step(peer, VoteReply(1, False))
    assert bench.core.role is Role.FOLLOWER
    sends = bench.time_out()
    assert [m for _, m in sends] == [PreVoteRequest(2, NOTHING)] * 2


def test_entries_behind_a_snapshot_that_are_of_an_older_term_are_refused(make_bench) -> None:
    snapshot = SnapshotMeta(6, 5, 6, 10, 0)
    bench = make_bench(restored=Restored(HardState(5), snapshot))
    old = [Entry(4, index, 6, EntryKind.BATCH, b"") for index in (6, 7)]
    with pytest.raises(ProtocolError, match="after one of a later term"):
        bench.step("b", AppendRequest(5, EntryId(4, 5), 0, old, 1, 0.0))


@pytest.mark.parametrize(
    "message",
    [
        heartbeat(2**62),
        VoteReply(2**62, False),
        PreVoteReply(2**62, False),
        VoteRequest(2**62, EntryId(1, 1)),
        AppendReply(2**62, 1, False, 0, 0, 0.0),
    ],
)
def test_a_term_that_cannot_have_come_yet_is_refused(make_bench, message) -> None:
    bench = make_bench()
    with pytest.raises(ProtocolError, match="term 4611686018427387904 is beyond what may follow"):
        bench.core.step("b", message, bench.now)
    bench.core._check()
    assert bench.core.term == 0
    bench.core.step("b", VoteReply(2**32, False), bench.now)
    assert bench.core.term == 2**32, "a member that was away for long may be far behind"
