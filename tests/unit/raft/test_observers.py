"""Observers: nodes without an address, which a leader sends what is committed, in turns."""

import dataclasses
from random import Random

import pytest

from syncstructs.config import Config
from syncstructs.errors import ProtocolError
from syncstructs.raft.core import RaftCore, Role
from syncstructs.raft.membership import Membership, encode_membership
from syncstructs.raft.messages import (
    AppendReply,
    AppendRequest,
    Entry,
    EntryId,
    EntryKind,
    Introduction,
    Observe,
    Restored,
    SnapshotChunk,
    SnapshotMeta,
    SnapshotReply,
    VoteReply,
)

WATCHER, OTHER = "observer-1", "observer-2"
NOTHING = EntryId(0, 0)
SHORT = Config()


def appends(sends, to=None):
    return [m for at, m in sends if isinstance(m, AppendRequest) and to in (None, at)]


def lead(make_bench, *observers):
    """A leader whose observers have all that is committed."""
    bench = make_bench()
    bench.lead()
    for observer in observers:
        bench.step(observer, Observe())
        bench.accept(observer)
    return bench


def commit(bench, *payloads):
    """Append, and have it committed; return what is sent then."""
    for payload in payloads:
        bench.core.propose(payload, bench.now)
    bench.flush()
    return bench.accept("b")


def next_turn(bench):
    """Let time pass until the observers are served; return what is sent until then."""
    sends = []
    while not appends(sends, WATCHER):
        sends += bench.time_out()
    return sends


# On the leader


def test_an_observer_is_sent_what_is_committed(make_bench) -> None:
    bench = lead(make_bench)
    commit(bench, b"x")
    (message,) = appends(bench.step(WATCHER, Observe()), WATCHER)
    assert message.previous.index == message.commit_index == bench.core.commit_index
    refusal = AppendReply(bench.core.term, message.round, False, 0, 0, bench.now)
    (message,) = appends(bench.step(WATCHER, refusal), WATCHER)
    assert [entry.payload for entry in message.entries][-1] == b"x"


def test_it_is_not_sent_what_is_not_committed(make_bench) -> None:
    bench = lead(make_bench, WATCHER)
    bench.core.propose(b"x", bench.now)
    assert appends(bench.flush(), "b")
    assert not appends(bench.flush(), WATCHER)
    turn = bench.accept("b") + next_turn(bench)
    (message,) = [m for m in appends(turn, WATCHER) if m.entries]
    assert [entry.payload for entry in message.entries] == [b"x"]
    assert message.commit_index == bench.core.commit_index


def test_it_counts_for_nothing(make_bench) -> None:
    bench = lead(make_bench, WATCHER, OTHER)
    before = bench.core.commit_index
    bench.core.propose(b"x", bench.now)
    bench.flush()
    bench.accept(WATCHER)
    bench.accept(OTHER)
    assert bench.core.commit_index == before
    bench.core.read_index(7, bench.now)
    bench.flush()
    bench.accept(WATCHER)
    assert 7 not in bench.reads
    end = bench.now + 3 * bench.config.election_timeout_max
    while bench.now < end and bench.core.role is Role.LEADER:
        bench.time_out()
        if bench.core.role is Role.LEADER:
            bench.accept(WATCHER)
            bench.accept(OTHER)
    assert bench.core.role is Role.FOLLOWER, "heard by no quorum"


def test_all_that_are_equally_far_are_sent_the_same_message(make_bench) -> None:
    bench = lead(make_bench, WATCHER, OTHER)
    sends = commit(bench, b"x") + next_turn(bench)
    (one,) = [m for m in appends(sends, WATCHER) if m.entries]
    (other,) = [m for m in appends(sends, OTHER) if m.entries]
    assert one is other
    assert one.echo == 0.0, "it would be the clock of one of them"


def test_the_more_there_are_the_rarer_are_the_turns(make_bench) -> None:
    spans = {}
    for count in (4, 400):
        bench = lead(make_bench, *(f"observer-{number}" for number in range(1, count + 1)))
        commit(bench, b"x")
        next_turn(bench)
        for number in range(1, count + 1):
            bench.accept(f"observer-{number}", bench.core.commit_index)
        begun = bench.now
        commit(bench, b"y")
        next_turn(bench)
        spans[count] = bench.now - begun
    assert spans[4] < 0.01 < 0.05 < spans[400] < bench.config.election_timeout_min


def test_who_has_a_call_under_way_is_served_out_of_turn(make_bench) -> None:
    crowd = [f"observer-{number:x}" for number in range(3, 400)]
    bench = lead(make_bench, WATCHER, OTHER, *crowd)
    commit(bench, b"x")
    next_turn(bench)
    for observer in (WATCHER, OTHER, *crowd):
        bench.accept(observer, bench.core.commit_index)
    bench.core.expect(WATCHER, 0)
    sends = commit(bench, b"y")
    assert [m.entries[0].payload for m in appends(sends, WATCHER)] == [b"y"]
    assert not appends(sends, OTHER)
    # One call after the other, each made before the one before is committed.
    for payload in (b"1", b"2", b"3"):
        bench.core.expect(WATCHER, 0)
        bench.core.propose(payload, bench.now)
    first = bench.core.commit_index + 1
    bench.flush()
    for index in range(first, first + 3):
        bench.core.expect(WATCHER, 0)
        sends = bench.accept("b", index)
        assert [entry.index for m in appends(sends, WATCHER) for entry in m.entries] == [index]
        assert not appends(sends, OTHER)


def test_reads_by_themselves_speak_to_no_observer(make_bench) -> None:
    bench = lead(make_bench, *(f"observer-{number:x}" for number in range(100)))
    bench.wait(0.0)
    for number in range(50):
        bench.core.read_index(number, bench.now)
        sends = bench.flush()
        assert appends(sends, "b")
        assert not [to for to, _ in sends if to.startswith("observer")]
        bench.accept("b")


def test_however_many_are_new_heartbeats_stay_within_bounds(make_bench) -> None:
    count = 1500
    bench = make_bench()
    for number in range(count):
        bench.step(f"observer-{number:x}", Observe())
    bench.elect()
    bench.accept("b")
    begun, told = bench.now, dict.fromkeys((f"observer-{n:x}" for n in range(count)), 0)
    while bench.now < begun + 2.0:
        for to, _ in bench.time_out():
            if to in told:
                told[to] += 1
        bench.accept("b")
    assert sum(told.values()) < 2.0 * 4000 * 1.2
    assert min(told.values()) >= 2, "and each has its turn"


def test_few_are_sent_a_snapshot_at_a_time_and_little_of_it(make_bench) -> None:
    bench = lead(make_bench)
    commit(bench, *[b"%d" % number * 50 for number in range(10, 40)])
    index = bench.core.commit_index
    size = 100 * bench.config.chunk_bytes
    snapshot = SnapshotMeta(
        index, bench.core.term, bench.core.log.time_at(index), size, 0, bench.core.membership
    )
    bench.core.compacted(snapshot, bench.now)
    watchers = [f"observer-{number:x}" for number in range(40)]

    def refuse(watcher):
        round = bench.core._leading.rounds.current
        bench.step(watcher, AppendReply(bench.core.term, round, False, 0, 0, bench.now))

    def take(watcher, offset, done=False):
        reply = SnapshotReply(
            bench.core.term, snapshot.id, offset, done, bench.core._leading.rounds.current,
            bench.now,
        )  # fmt: skip
        bench.step(watcher, reply)

    for watcher in watchers:
        bench.step(watcher, Observe())
        refuse(watcher)
    served = {read.to for read in bench.chunk_reads if read.to in watchers}
    assert len(served) == 16
    bench.chunk_reads.clear()
    for watcher in served:
        take(watcher, bench.config.chunk_bytes)
    sent = [read for read in bench.chunk_reads if read.to in watchers]
    assert len(sent) <= 2 * len(served)
    # Those that have it make room for the others.
    for watcher in served:
        take(watcher, size, done=True)
    bench.chunk_reads.clear()
    bench.time_out()
    others = {read.to for read in bench.chunk_reads if read.to in watchers}
    assert others
    assert not others & served
    assert len(others) <= 16


def test_those_that_take_a_snapshot_and_answer_nothing_keep_nobody_out(make_bench) -> None:
    bench = lead(make_bench)
    commit(bench, *[b"%d" % number * 50 for number in range(10, 40)])
    index = bench.core.commit_index
    snapshot = SnapshotMeta(
        index, bench.core.term, bench.core.log.time_at(index), 250, 0, bench.core.membership
    )
    bench.core.compacted(snapshot, bench.now)
    watchers = [f"observer-{number:x}" for number in range(17)]

    def refuse(watcher):
        round = bench.core._leading.rounds.current
        bench.step(watcher, AppendReply(bench.core.term, round, False, 0, 0, bench.now))

    for watcher in watchers:
        bench.step(watcher, Observe())
        refuse(watcher)
    (last,) = set(watchers) - {read.to for read in bench.chunk_reads}
    end = bench.now + 4 * bench.config.election_timeout_max
    while bench.now < end and last not in {read.to for read in bench.chunk_reads}:
        bench.time_out()
        bench.accept("b")
        refuse(last)
    assert last in {read.to for read in bench.chunk_reads}


def test_what_a_window_had_no_room_for_follows_as_soon_as_it_has(make_bench) -> None:
    crowd = [f"observer-{number:x}" for number in range(3, 400)]
    bench = lead(make_bench, WATCHER, *crowd)
    commit(bench, b"x")
    next_turn(bench)
    bench.accept(WATCHER, bench.core.commit_index)
    bench.core.expect(WATCHER, 9)
    sends = commit(bench, *[b"%d" % number * 50 for number in range(10, 20)])
    got = [entry.index for m in appends(sends, WATCHER) for entry in m.entries]
    assert got[-1] < bench.core.commit_index, "it is more than a window holds"
    while got[-1] < bench.core.commit_index:
        sends = bench.accept(WATCHER, got[-1])
        got += [entry.index for m in appends(sends, WATCHER) for entry in m.entries]


def test_it_is_heard_often_enough_for_a_short_session(make_bench) -> None:
    config = dataclasses.replace(SHORT, session_ttl=2 * SHORT.election_timeout_max)
    bench = make_bench(config=config)
    bench.step(WATCHER, Observe())
    bench.lead()
    end = bench.now + 5 * config.session_ttl
    last, longest = bench.now, 0.0
    while bench.now < end:
        if appends(bench.time_out(), WATCHER):
            longest, last = max(longest, bench.now - last), bench.now
            bench.accept(WATCHER, bench.core.commit_index)
        bench.accept("b")
    assert longest <= config.session_ttl / 5 + config.heartbeat_interval + 1e-9


def test_one_that_is_far_behind_is_sent_window_after_window(make_bench) -> None:
    bench = lead(make_bench)
    commit(bench, *[b"%d" % number * 50 for number in range(10, 40)])
    (message,) = appends(bench.step(WATCHER, Observe()), WATCHER)
    refusal = AppendReply(bench.core.term, message.round, False, 0, 0, bench.now)
    got: list[int] = []
    sends = bench.step(WATCHER, refusal)
    while got[-1:] != [bench.core.commit_index]:
        messages = appends(sends, WATCHER)
        assert messages, got
        size = sum(len(entry.payload) for m in messages for entry in m.entries)
        assert size < 3 * bench.config.append_bytes
        got += [entry.index for m in messages for entry in m.entries]
        sends = bench.accept(WATCHER, got[-1])
    assert got == list(range(1, bench.core.commit_index + 1))


def test_one_that_the_log_does_not_reach_back_to_gets_a_snapshot(make_bench) -> None:
    bench = lead(make_bench)
    commit(bench, *[b"%d" % number * 50 for number in range(10, 40)])
    index = bench.core.commit_index
    snapshot = SnapshotMeta(
        index, bench.core.term, bench.core.log.time_at(index), 250, 0, bench.core.membership
    )
    bench.core.compacted(snapshot, bench.now)
    (message,) = appends(bench.step(WATCHER, Observe()), WATCHER)
    refusal = AppendReply(bench.core.term, message.round, False, 0, 0, bench.now)
    bench.step(WATCHER, refusal)

    def chunks():
        return [read.chunk for read in bench.chunk_reads if read.to == WATCHER]

    assert isinstance(chunks()[0], SnapshotChunk)
    # A chunk that is lost is sent again.
    bench.chunk_reads.clear()
    end = bench.now + 2 * bench.config.election_timeout_min
    while bench.now < end and not chunks():
        bench.time_out()
        bench.accept("b")
    assert chunks()[0].offset == 0


def test_a_lost_message_is_found_out_by_the_next_heartbeat(make_bench) -> None:
    bench = lead(make_bench, WATCHER)
    commit(bench, b"x")
    next_turn(bench)
    sends = []
    while not [m for m in appends(sends, WATCHER) if not m.entries]:
        sends += bench.time_out()
        bench.accept("b")
    (beat, *_) = [m for m in appends(sends, WATCHER) if not m.entries]
    refusal = AppendReply(bench.core.term, beat.round, False, beat.previous.index - 1, 1, bench.now)
    (message,) = appends(bench.step(WATCHER, refusal), WATCHER)
    assert [entry.payload for entry in message.entries] == [b"x"]


def test_it_is_heard_seldom_when_nothing_happens(make_bench) -> None:
    bench = lead(make_bench, WATCHER)
    bench.wait(0.0)
    end = bench.now + 4 * bench.config.election_timeout_max
    while bench.now < end:  # it is new
        bench.time_out()
        bench.accept("b")
        bench.accept(WATCHER)
    beats = {"b": 0, WATCHER: 0}
    end = bench.now + 10 * bench.config.election_timeout_max
    while bench.now < end:
        for to, _ in bench.time_out():
            if to in beats:
                beats[to] += 1
        bench.accept("b")
        bench.accept(WATCHER)
    assert 8 <= beats[WATCHER] <= 11
    assert beats["b"] > 3 * beats[WATCHER]


def test_without_a_link_it_is_forgotten_except_when_it_was_heard(make_bench) -> None:
    bench = lead(make_bench, WATCHER)
    heard = bench.core.heard(WATCHER)
    assert heard == bench.now
    bench.core.peer_lost(WATCHER, bench.now)
    assert not appends(commit(bench, b"x"), WATCHER)
    assert bench.core.heard(WATCHER) == heard
    bench.core.forget_departed({WATCHER}, heard + 1)
    bench.core.forget_departed((), heard)
    assert bench.core.heard(WATCHER) == heard
    bench.core.forget_departed((), heard + 1)
    assert bench.core.heard(WATCHER) == 0.0


def test_a_new_leader_speaks_to_those_that_asked_before(make_bench) -> None:
    bench = make_bench()
    bench.step(WATCHER, Observe())
    sends = bench.elect()
    assert appends(sends, WATCHER)


def test_who_does_not_lead_tells_who_the_members_are(make_bench) -> None:
    bench = make_bench()
    sends = bench.step(WATCHER, Observe())
    assert sends == [(WATCHER, Introduction(0, Membership(("a", "b", "c"))))]


def test_a_node_with_an_address_cannot_observe(make_bench) -> None:
    bench = lead(make_bench)
    with pytest.raises(ProtocolError, match="has an address"):
        bench.step("z:1", Observe())


def test_a_recovery_that_an_observer_claims_changes_nothing(make_bench) -> None:
    bench = lead(make_bench, WATCHER)
    last = bench.core.log.last_index
    round = bench.core._leading.rounds.current
    bench.step(WATCHER, AppendReply(bench.core.term, round, True, 1, 0, bench.now, recovering=5))
    assert bench.core.log.last_index == last, "no barrier was set"


# On the observer


@pytest.fixture
def observe(make_bench):
    """A bench with an observer that knows the contacts b and c."""
    bench = make_bench(members=())
    bench.core = RaftCore(
        address=WATCHER, members=(), contacts=("b:1", "c:1"), config=bench.config,
        random=Random(0), restored=Restored(blank=True), now=bench.now,
    )  # fmt: skip
    bench.flush()
    return bench


def follow(bench, sender="b:1", term=3):
    entry = Entry(term, 1, 5, EntryKind.NOOP, b"")
    return bench.step(sender, AppendRequest(term, NOTHING, 1, [entry], 1, 0.0))


def test_it_asks_whoever_it_is_linked_to(observe) -> None:
    observe.core.peer_connected("b:1", observe.now)
    assert observe.flush() == [("b:1", Observe())]


def test_it_asks_again_when_it_hears_nothing_and_never_stands(observe) -> None:
    follow(observe)
    for _ in range(5):
        sends = observe.time_out()
        assert sorted(sends) == [("b:1", Observe()), ("c:1", Observe())]
        assert observe.core.role is Role.FOLLOWER
        assert observe.core.term == 3


def test_it_asks_soon_when_the_link_to_its_leader_is_lost(observe) -> None:
    follow(observe)
    begun = observe.now
    observe.core.peer_lost("b:1", begun)
    assert ("c:1", Observe()) in observe.time_out()
    assert observe.now - begun < observe.config.election_timeout_min


def test_it_waits_for_several_of_the_rare_heartbeats(observe) -> None:
    follow(observe)
    assert observe.core.deadline() - observe.now > 2 * observe.config.election_timeout_max


def test_it_follows_without_recovering_and_answers(observe) -> None:
    sends = follow(observe)
    (reply,) = [m for to, m in sends if to == "b:1"]
    assert reply.accepted
    assert reply.index == 1
    assert reply.recovering == 0
    assert [entry.index for entry in observe.committed] == [1]


def test_a_vote_for_it_makes_no_leader(observe) -> None:
    observe.step("b:1", VoteReply(0, True))
    assert observe.core.role is Role.FOLLOWER


def test_an_introduction_tells_it_whom_to_ask(observe) -> None:
    observe.core.take_effects()
    observe.core.step("b:1", Introduction(4, Membership(("c:1", "d:1"), genesis=8)), observe.now)
    assert observe.core.take_effects().peers == ("c:1", "d:1", "b:1")
    observe.core.step("b:1", Introduction(3, Membership(("e:1",), genesis=8)), observe.now)
    assert observe.core.take_effects().peers is None, "older"
    # Its log tells of an older membership, as far as it goes: then it has to hear again.
    older = Membership(("b:1",), genesis=8)
    entry = Entry(3, 1, 5, EntryKind.MEMBERSHIP, encode_membership(older))
    observe.core.step("b:1", AppendRequest(3, NOTHING, 1, [entry], 1, 0.0, 8), observe.now)
    assert observe.core.take_effects().peers == ("b:1", "c:1"), "and those it was given, for ever"
    observe.core.step("b:1", Introduction(4, Membership(("c:1", "d:1"), genesis=8)), observe.now)
    assert observe.core.take_effects().peers == ("c:1", "d:1", "b:1")


def test_members_that_are_not_committed_are_not_introduced(make_bench) -> None:
    bench = lead(make_bench)
    committed = bench.core.log.membership_index
    bench.core.change_towards(("a", "b", "c", "d"), bench.now)
    bench.flush()
    assert bench.core.log.membership_index > committed
    bench.step("b", VoteReply(bench.core.term + 1, False))
    assert bench.core.role is Role.FOLLOWER
    (introduction,) = [m for _, m in bench.step(WATCHER, Observe()) if type(m) is Introduction]
    assert introduction.index == committed
    assert introduction.membership.members == ("a", "b", "c")


def test_it_is_stranded_when_the_members_begin_another_life(observe) -> None:
    begun = Membership(("b:1", "c:1"), genesis=8)
    entry = Entry(3, 1, 5, EntryKind.MEMBERSHIP, encode_membership(begun))
    observe.step("b:1", AppendRequest(3, NOTHING, 1, [entry], 1, 0.0, 8))
    assert not observe.core.is_stranded
    with pytest.raises(ProtocolError, match="another life"):
        observe.step("c:1", AppendRequest(4, NOTHING, 0, [], 1, 0.0, 9))
    assert observe.core.is_stranded


def test_a_member_takes_no_introduction(make_bench) -> None:
    bench = make_bench()
    bench.core.take_effects()
    bench.core.step("b", Introduction(9, Membership(("z",))), bench.now)
    assert bench.core.take_effects().peers is None
