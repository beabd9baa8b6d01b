"""When a member stops waiting for its leader, and who stands then: quickly, and rarely in vain."""

from itertools import pairwise

import pytest

from syncstructs.config import Config
from syncstructs.raft.core import Role
from syncstructs.raft.messages import (
    AppendRequest,
    Entry,
    EntryId,
    EntryKind,
    HardState,
    PreVoteReply,
    PreVoteRequest,
    Restored,
    VoteRequest,
)
from syncstructs.raft.silences import SPREAD, Silences

NOTHING = EntryId(0, 0)
CONFIG = Config()
LEAST, MOST = CONFIG.election_timeout_min, CONFIG.election_timeout_max


def heartbeat(term: int = 1, round: int = 1) -> AppendRequest:
    return AppendRequest(term, NOTHING, 0, [], round, 0.0)


def speak(bench, gaps) -> None:
    """Let "b" lead and speak after each of these silences."""
    bench.step("b", heartbeat())
    for round, gap in enumerate(gaps, 2):
        bench.now += gap
        bench.step("b", heartbeat(round=round))


def held(count):
    return [Entry(1, index, 0, EntryKind.BATCH, b"x") for index in range(1, count + 1)]


def requests(sends):
    return [type(message) for _, message in sends if not isinstance(message, PreVoteReply)]


# Patience


def test_a_silence_that_ended_makes_patient_for_twice_as_long() -> None:
    silences = Silences(CONFIG, 0.0)
    assert silences.patience == LEAST
    assert not silences.ended(0.06, 1.0)
    assert silences.ended(0.2, 2.0)
    assert silences.patience == pytest.approx(0.4)
    assert not silences.ended(0.12, 3.0), "a shorter one teaches nothing"
    assert silences.ended(5.0, 8.0)
    assert silences.patience == pytest.approx(MOST / SPREAD), "a timeout has to fit in above it"


def test_what_was_learned_is_forgotten_after_one_to_two_spans() -> None:
    silences = Silences(CONFIG, 0.0)
    silences.ended(0.17, 119.0)
    patience = []
    for second in range(120, 400, 10):
        silences.ended(0.06, float(second))
        patience.append((second, silences.patience))
    assert all(p == pytest.approx(0.34) for second, p in patience if second < 240)
    assert all(p == LEAST for second, p in patience if second >= 240)
    silences.ended(0.17, 401.0)
    silences.ended(0.06, 2000.0)
    assert silences.patience == LEAST, "of so long ago nothing is known"


def test_only_the_first_word_of_a_leader_that_was_given_up_ends_its_silence() -> None:
    silences = Silences(CONFIG, 0.0)
    silences.give_up("b", 3, 10.0)
    assert not silences.spoke("c", 3, 10.2), "another one"
    assert not silences.spoke("b", 4, 10.2), "it leads anew"
    assert silences.spoke("b", 3, 10.2)
    assert silences.patience == pytest.approx(0.4)
    assert not silences.spoke("b", 3, 10.26), "it speaks all the time"


def test_timeouts_follow_the_patience_and_stay_within_the_bounds(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 20)
    quiet = bench.core.deadline() - bench.now
    assert LEAST < quiet <= SPREAD * LEAST
    speak(bench, [0.06] * 5 + [0.18] + [0.06] * 5)
    learned = bench.core.deadline() - bench.now
    assert 0.36 < learned <= SPREAD * 0.36, "it sits out silences as it has seen one"
    speak(bench, [0.06, 9.0, 0.06])
    assert bench.core.deadline() - bench.now <= MOST


def test_an_attempt_in_vain_is_followed_by_longer_ones(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 20)
    begun = bench.now
    bench.time_out()
    assert bench.now - begun <= SPREAD * LEAST
    times = []
    for _ in range(60):
        times.append(bench.now)
        bench.time_out()
    waits = [b - a for a, b in pairwise(times)]
    assert min(waits) > LEAST
    assert SPREAD * LEAST < max(waits) <= MOST, "where messages take long, two need other times"


def test_votes_are_refused_for_as_long_as_the_patience_lasts(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06, 0.18, 0.06])
    bench.now += 0.35
    assert bench.step("c", PreVoteRequest(2, NOTHING)) == [("c", PreVoteReply(1, False))]
    bench.now += 0.02
    assert bench.step("c", PreVoteRequest(2, NOTHING)) == [("c", PreVoteReply(2, True))]


def test_a_leader_that_was_given_up_too_soon_is_waited_for_the_next_time(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 3)
    bench.now += 0.33
    # Another member has not heard it either, and is elected.
    bench.step("c", VoteRequest(2, NOTHING))
    assert bench.core.term == 2
    bench.step("c", heartbeat(2))
    bench.now += 0.01
    bench.step("b", heartbeat(1, 9))
    bench.step("c", heartbeat(2, 2))
    learned = min(2 * 0.34, MOST / SPREAD)
    assert bench.core._silences.patience == pytest.approx(learned)
    assert learned < bench.core.deadline() - bench.now, "0.34 s of silence had ended"


def test_who_stands_and_hears_its_leader_again_has_learned_from_it(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 3)
    begun = bench.now
    bench.time_out()
    assert bench.core.role is Role.PRE_CANDIDATE
    bench.step("b", heartbeat(round=9))
    assert bench.core.leader == "b"
    silence = bench.now - begun
    assert bench.core._silences.patience == pytest.approx(min(2 * silence, MOST / SPREAD))


def test_a_link_that_was_lost_is_no_silence(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 3)
    bench.core.peer_lost("b", bench.now)
    bench.time_out()
    bench.now += 5.0
    bench.core.peer_connected("b", bench.now)
    bench.step("b", heartbeat(round=9))
    assert bench.core._silences.patience == LEAST


def test_attempts_in_vain_count_no_more_once_there_is_a_leader(make_bench) -> None:
    for attempts in range(2, 12):
        bench = make_bench()
        for _ in range(attempts):
            bench.time_out()
        bench.step("b", heartbeat())
        assert bench.core.deadline() - bench.now <= SPREAD * LEAST


# Standing still


def test_who_stood_still_itself_looks_first_at_what_came_meanwhile(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 3)
    assert requests(bench.wait(1.0)) == [], "the leader may have spoken all the time"
    assert bench.core.leader == "b"
    assert 0 < bench.core.deadline() - bench.now <= LEAST / 15 + 1e-9
    assert requests(bench.time_out()) == [PreVoteRequest] * 2, "nothing came"


def test_who_is_always_late_stands_all_the_same(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 3)
    assert requests(bench.wait(1.0)) == []
    assert requests(bench.wait(1.0)) == [PreVoteRequest] * 2, "ticked by hand, once a second"


def test_a_lost_link_is_no_matter_of_who_stood_still(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 3)
    bench.core.peer_lost("b", bench.now)
    assert requests(bench.wait(1.0)) == [PreVoteRequest] * 2


# Two at once


@pytest.mark.parametrize(("rival", "gives_way"), [("b", True), ("0", False)])
def test_of_two_that_ask_at_once_one_gives_way(make_bench, rival, gives_way) -> None:
    bench = make_bench(members=("a", rival, "c"))
    bench.time_out()
    assert bench.core.role is Role.PRE_CANDIDATE
    assert bench.step(rival, PreVoteRequest(1, NOTHING)) == [(rival, PreVoteReply(1, True))]
    assert bench.core.role is (Role.FOLLOWER if gives_way else Role.PRE_CANDIDATE)
    # Its own request was on the way, and is answered: that must not make it stand.
    sends = bench.step(rival, PreVoteReply(1, True))
    assert requests(sends) == ([] if gives_way else [VoteRequest] * 2)


def test_way_is_given_to_a_longer_log_whatever_the_address(make_bench) -> None:
    bench = make_bench(members=("a", "0", "c"))
    bench.time_out()
    bench.step("0", PreVoteRequest(1, EntryId(1, 1)))
    assert bench.core.role is Role.FOLLOWER


def test_who_has_the_longer_log_does_not_give_way(make_bench) -> None:
    entries = tuple(held(2))
    bench = make_bench(restored=Restored(HardState(1), None, entries))
    bench.time_out()
    assert bench.step("b", PreVoteRequest(2, EntryId(1, 1)))[-1][1] == PreVoteReply(1, False)
    assert bench.core.role is Role.PRE_CANDIDATE
    bench.step("b", PreVoteRequest(2, EntryId(1, 3)))
    assert bench.core.role is Role.FOLLOWER


def test_a_stranger_makes_nobody_give_way(make_bench) -> None:
    bench = make_bench()
    bench.time_out()
    bench.step("x", PreVoteRequest(1, NOTHING))
    assert bench.core.role is Role.PRE_CANDIDATE


def test_who_was_promised_a_vote_has_its_try_first(make_bench) -> None:
    bench = make_bench()
    speak(bench, [0.06] * 3)
    bench.core.peer_lost("b", bench.now)
    bench.step("c", PreVoteRequest(2, NOTHING))
    assert bench.core.deadline() - bench.now >= LEAST / 15 - 1e-9
    assert requests(bench.time_out()) == [PreVoteRequest] * 2, "and no more than that"


def test_who_refuses_a_shorter_log_stands_soon(make_bench) -> None:
    entries = tuple(held(3))
    bench = make_bench(restored=Restored(HardState(1), None, entries))
    bench.step("b", AppendRequest(1, EntryId(1, 3), 0, [], 1, 0.0))
    deadline = bench.core.deadline()
    refused = [("c", PreVoteReply(1, False))]
    assert bench.step("c", PreVoteRequest(2, EntryId(1, 2))) == refused
    assert bench.core.deadline() == deadline, "its leader is heard, and may live"
    bench.core.peer_lost("b", bench.now)
    bench.core._election_at = deadline
    assert bench.step("c", PreVoteRequest(2, EntryId(1, 2))) == refused
    assert bench.core.deadline() - bench.now <= LEAST / 15, "nobody else can be elected"
