"""The small parts of the core: quorum, ballot, progress, rounds and reads, appends, transfer."""

import doctest
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncstructs.errors import ProtocolError
from syncstructs.raft import quorum
from syncstructs.raft.appends import Appends
from syncstructs.raft.ballot import Ballot
from syncstructs.raft.membership import Membership
from syncstructs.raft.messages import (
    AppendReply,
    Entry,
    EntryKind,
    HardState,
    SnapshotMeta,
    VoteReply,
)
from syncstructs.raft.progress import Mode, Progress
from syncstructs.raft.quorum import majority, reached_by_majority
from syncstructs.raft.reads import AskedReads, HeldReads, Read, Rounds
from syncstructs.raft.transfer import Incoming, Outgoing

# Quorum


def test_the_examples_in_quorum_are_true() -> None:
    assert doctest.testmod(quorum).failed == 0


@given(st.dictionaries(st.sampled_from("abcdefg"), st.integers(0, 9), min_size=1))
def test_what_a_majority_has_reached_is_what_a_dumb_count_says(matches) -> None:
    dumb = max(
        index
        for index in range(10)
        if sum(match >= index for match in matches.values()) * 2 > len(matches)
    )
    assert reached_by_majority(matches.values()) == dumb


@given(st.integers(1, 7))
def test_two_majorities_always_overlap(count) -> None:
    sets = list(combinations(range(count), majority(count)))
    assert all(set(one) & set(other) for one in sets for other in sets)
    assert 2 * (majority(count) - 1) <= count


def test_a_quorum_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        reached_by_majority([])


# Ballot


@given(st.integers(1, 7), st.lists(st.tuples(st.integers(0, 8), st.booleans())))
def test_a_ballot_counts_the_first_answer_of_each_voter(count, answers) -> None:
    ballot, first = Ballot(Membership(tuple(str(voter) for voter in range(count)))), {}
    for voter, granted in answers:
        ballot.record(str(voter), granted)
        if voter < count:
            first.setdefault(voter, granted)
        ballot._check()
    granted = sum(first.values())
    assert ballot.won == (granted > count / 2)
    assert ballot.lost == (count - (len(first) - granted) <= count / 2)


# Progress


def test_a_peer_is_probed_until_it_accepts() -> None:
    progress = Progress(11, now=0.0)
    progress.sent(15, 500)
    assert (progress.mode, progress.next_index, progress.probe_sent) == (Mode.PROBE, 11, True)
    progress.accepted(15)
    assert (progress.mode, progress.next_index, progress.match_index) == (Mode.REPLICATE, 16, 15)
    progress._check()


def test_bytes_in_flight_are_those_not_yet_acknowledged() -> None:
    progress = Progress(1, now=0.0)
    progress.accepted(0)
    for last in (2, 4, 6):
        progress.sent(last, 100)
    assert (progress.in_flight_bytes, progress.next_index) == (300, 7)
    progress.accepted(5)
    assert progress.in_flight_bytes == 100
    progress._check()


def test_one_lost_append_costs_one_probe() -> None:
    progress = Progress(1, now=0.0)
    progress.accepted(3)
    for last in (5, 7, 9):
        progress.sent(last, 100)
    progress.refused(3)
    assert (progress.mode, progress.next_index, progress.probe_sent) == (Mode.PROBE, 4, False)
    progress.sent(5, 100)
    progress.refused(3)
    assert progress.probe_sent, "the refusals of what came behind it tell nothing new"


def test_a_peer_that_lost_what_it_acknowledged_is_believed() -> None:
    progress = Progress(1, now=0.0)
    progress.accepted(9)
    progress.relinked(now=1.0)
    progress.refused(0)
    assert (progress.match_index, progress.next_index) == (0, 1)
    progress._check()


def test_a_late_refusal_of_what_was_sent_again_meanwhile_costs_nothing() -> None:
    progress = Progress(1, now=0.0)
    progress.accepted(3)
    for last in (5, 7, 9):
        progress.sent(last, 100)
    progress.refused(3)
    progress.sent(5, 100)
    progress.accepted(5)
    progress.sent(7, 100)
    progress.refused(3)
    assert (progress.mode, progress.next_index) == (Mode.REPLICATE, 8)
    progress.refused(5)
    assert progress.mode is Mode.PROBE, "what was sent again may be lost as well"


def test_an_echo_waits_until_the_leader_certainly_led() -> None:
    progress = Progress(1, now=10.0)
    progress.heard_at(1, 501.0, now=11.0)
    progress.confirm(contact=10.9)
    assert progress.echo == 0.0
    progress.heard_at(2, 502.0, now=12.0)
    progress.confirm(contact=11.5)
    assert progress.echo == 501.0
    progress.confirm(contact=12.0)
    assert progress.echo == 502.0
    progress.relinked(now=13.0)
    assert progress.echo == 0.0, "a new life has a new clock"


# Rounds and reads


def test_contact_is_when_the_confirmed_round_began() -> None:
    rounds = Rounds(0.0)
    for now in (1.0, 2.0, 3.0):
        rounds.begin(now)
    assert rounds.confirm(2)
    assert rounds.contact == 2.0
    assert not rounds.confirm(1), "older answers are no news"
    assert (rounds.contact, rounds.confirmed) == (2.0, 2)
    rounds._check()


def test_held_reads_end_with_their_round() -> None:
    reads = HeldReads()
    reads.hold(Read(None, 1), 10, 5)
    reads.hold(Read("b", 1), 11, 6)
    assert reads.confirmed(4) == []
    assert reads.confirmed(5) == [(Read(None, 1), 10)]
    reads.forget("b")
    assert reads.take_all() == []
    reads._check()


def test_asked_reads_are_answered_once() -> None:
    asked = AskedReads(100)
    asked.ask(1)
    asked.ask(2)
    first = asked.take_message()
    asked.ask_again()
    second = asked.take_message()
    assert asked.answered(first) == [], "asked again: the newer message has them"
    assert asked.answered(second) == [1, 2]
    assert asked.answered(second) == []
    assert asked.take_all() == []


# Appends


def _entry(index: int, term: int = 1) -> Entry:
    return Entry(term, index, index, EntryKind.BATCH, b"")


def _accepted(index: int, round: int, term: int = 1) -> AppendReply:
    return AppendReply(term, round, True, index, 0, 0.0)


def test_a_burst_becomes_one_append_and_its_replies_one() -> None:
    appends = Appends()
    for index in (1, 2, 3):
        ticket = appends.add_entries([_entry(index)])
        assert appends.send_after(ticket, "b", _accepted(index, index))
    assert appends.send_after(ticket, "b", _accepted(0, 4)), "a heartbeat"
    (append,) = appends.take()
    assert [entry.index for entry in append.entries] == [1, 2, 3]
    assert append.then_send == [("b", _accepted(3, 4))]


def test_what_overwrites_comes_in_an_append_of_its_own() -> None:
    appends = Appends()
    appends.add_entries([_entry(1), _entry(2)])
    appends.add_entries([_entry(2, 2)])
    appends.add_reset(SnapshotMeta(9, 3, 9, 0, 0))
    appends.add_entries([_entry(10, 3)])
    appends._check()
    assert [append.ticket for append in appends.take()] == [1, 2, 3]


def test_a_message_waits_for_an_append_that_was_handed_out() -> None:
    appends = Appends()
    ticket = appends.add_hard_state(HardState(1, "b"))
    appends.take()
    for term in (1, 2):
        assert appends.send_after(ticket, "b", VoteReply(term, True))
    assert appends.persisted(ticket) == [("b", VoteReply(2, True))], "the newest of its kind"
    assert not appends.send_after(ticket, "b", VoteReply(1, True))


# Transfer


def _outgoing(size: int, window: int = 300) -> Outgoing:
    return Outgoing(
        SnapshotMeta(5, 1, 0, size, 0),
        chunk_bytes=100, window_bytes=window, retry_after=1.0, now=0.0,
    )  # fmt: skip


def _chunks(outgoing: Outgoing, now: float = 0.0) -> list[tuple[int, int]]:
    chunks = []
    while (piece := outgoing.next_chunk(now)) is not None:
        chunks.append(piece)
        outgoing._check()
    return chunks


def test_the_first_chunk_goes_alone_then_a_window_of_bytes() -> None:
    outgoing = _outgoing(1000)
    assert _chunks(outgoing) == [(0, 100)]
    outgoing.acknowledge(100, 0.0)
    assert _chunks(outgoing) == [(100, 100), (200, 100), (300, 100)]
    assert _chunks(outgoing) == []
    outgoing.acknowledge(200, 0.0)
    assert _chunks(outgoing) == [(400, 100)]


def test_a_transfer_resumes_from_the_receivers_cursor() -> None:
    outgoing = _outgoing(1000)
    _chunks(outgoing)
    outgoing.acknowledge(700, 0.0)
    assert _chunks(outgoing) == [(700, 100), (800, 100), (900, 100)]
    outgoing.acknowledge(800, 0.0)
    outgoing.rewind()
    assert outgoing.retry_at == float("inf"), "nothing is on the way"
    assert _chunks(outgoing, 5.0) == [(800, 100)], "one, until the receiver answers"
    assert outgoing.retry_at == 6.0
    outgoing.acknowledge(0, 5.0)
    assert _chunks(outgoing) == [(0, 100), (100, 100), (200, 100)], "it was restarted"


def test_a_stale_lower_offset_changes_nothing() -> None:
    outgoing = _outgoing(1000)
    outgoing.acknowledge(500, 0.0)
    _chunks(outgoing)
    outgoing.acknowledge(400, 0.0)
    assert _chunks(outgoing) == []


def test_a_lost_end_is_asked_for_again() -> None:
    outgoing = _outgoing(100)
    _chunks(outgoing)
    outgoing.acknowledge(100, 0.0)
    outgoing.rewind()
    assert _chunks(outgoing) == [(99, 1)]


def test_an_offset_outside_of_the_snapshot_is_refused() -> None:
    for offset in (-1, 101):
        with pytest.raises(ProtocolError):
            _outgoing(100).acknowledge(offset, 0.0)


def test_chunks_are_taken_in_order_and_within_the_window() -> None:
    incoming = Incoming(SnapshotMeta(5, 1, 0, 1000, 0), window_bytes=200)
    assert not incoming.accept(100, 100)
    assert incoming.accept(0, 100)
    assert not incoming.accept(0, 100), "doubled"
    assert incoming.accept(100, 100)
    assert not incoming.accept(200, 100), "two are being written"
    incoming.stored(0, 100, 100, True)
    assert incoming.accept(200, 100)
    incoming.stored(100, 100, 100, False)
    assert (incoming.expected, incoming.written) == (100, 100), "the store wants it again"
    incoming._check()


@given(st.integers(0, 1000), st.lists(st.sampled_from("swrl"), max_size=60))
def test_any_transfer_ends_once_nothing_is_lost(size, faults) -> None:
    meta = SnapshotMeta(5, 1, 0, size, 0)
    outgoing, incoming = _outgoing(size), Incoming(meta, window_bytes=600)
    image = 0

    def deliver(offset: int, count: int) -> bool:
        nonlocal image
        if incoming.accept(offset, count):
            assert offset == image, "no piece is written twice or skipped"
            image = offset + count
            incoming.stored(offset, count, image, True)
        return image == size and (size > 0 or count == 0)

    done = False
    for fault in [*faults, *"s" * 40]:
        if fault == "w":
            outgoing.rewind()
        elif fault == "r":
            incoming, image = Incoming(meta, window_bytes=600), 0
        elif fault == "l":
            _chunks(outgoing)
        else:
            for chunk in _chunks(outgoing) or [None]:
                if chunk is None:
                    outgoing.rewind()
                else:
                    done = deliver(*chunk)
                    outgoing.acknowledge(incoming.written, 0.0)
        outgoing._check()
        incoming._check()
    assert done or image == size


def test_after_a_refusal_appends_go_out_few_at_first():
    progress = Progress(1, 0.0)
    progress.accepted(0)
    for index in range(1, 101):
        assert progress.has_room
        progress.sent(index, 10)
    progress.accepted(3)

    progress.refused(3)  # 5 has overtaken 4, and was refused
    progress.sent(3, 0)
    progress.accepted(3)
    windows = []
    while progress.match_index < 100:
        begun = progress.next_index
        while progress.has_room and progress.next_index <= 100:
            progress.sent(progress.next_index, 10)
        windows.append(progress.next_index - begun)
        for index in range(begun, progress.next_index):
            progress.accepted(index)
    assert windows == [1, 2, 4, 8, 16, 32, 34]

    progress.relinked(1.0)
    progress.accepted(100)
    for index in range(101, 201):
        assert progress.has_room
        progress.sent(index, 10)
