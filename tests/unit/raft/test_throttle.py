"""Snapshots at a rate: how fast, to whom, and what never waits for them."""

import dataclasses
import heapq
from itertools import pairwise
from random import Random

import pytest

from syncstructs.raft.core import Role
from syncstructs.raft.messages import (
    AppendReply,
    AppendRequest,
    EntryId,
    SnapshotMeta,
    SnapshotReply,
    VoteRequest,
)

CHUNK = 100
RATE = 1000.0
# What is saved up: a tenth of a second.
SAVED = 0.1
LAGGING = ("c", "d")


class Stage:
    """A leader with two members that keep up and two that need a snapshot, and their network.

    Everybody answers after `latency`, but for those in `mute`, which the two are until they `ask`.
    Who is in `down` gets nothing.
    """

    def __init__(self, make_bench, rate=RATE, *, size=3000, latency=0.001, **config):
        base = make_bench().config
        self.bench = make_bench(
            members=("a", "b", "c", "d", "e"),
            config=dataclasses.replace(base, snapshot_rate=rate, **config),
        )
        self.latency = latency
        self.mute = set(LAGGING)
        self.down: set[str] = set()
        self.sent: list[tuple[float, str, int, int]] = []
        self.appends: list[tuple[float, str, AppendRequest]] = []
        self.stored = dict.fromkeys(LAGGING, 0)
        self.finished: dict[str, float] = {}
        self.tick_count = 0
        self.answers: list[tuple[float, int, str, object]] = []
        self.serial = 0
        bench = self.bench
        bench.elect()
        for _ in range(10):
            bench.core.propose(bytes(68), bench.now)
            bench.flush()
            for peer in ("b", "e"):
                bench.accept(peer, bench.core._leading.peers[peer].next_index - 1)
        # Until the two are known to be silent.
        self.run(1.01 * bench.config.election_timeout_max)
        index = bench.core.commit_index
        self.meta = SnapshotMeta(index, 1, bench.core.log.time_at(index), size, 7)
        bench.core.compacted(self.meta, bench.now)
        self.post(bench.flush())
        self.begun = bench.now

    def ask(self, *peers):
        """Let members say that they have nothing."""
        self.mute.difference_update(peers)
        for peer in peers:
            self.post(self.bench.step(peer, self.refusal()))

    def refusal(self):
        core = self.bench.core
        return AppendReply(core.term, core._leading.rounds.current, False, 0, 0, self.bench.now)

    def post(self, sends):
        """Carry what the leader sends, and have it answered."""
        now = self.bench.now
        for to, message in sends:
            if isinstance(message, AppendRequest) and to not in self.down:
                self.appends.append((now, to, message))
                self.reply(to, "append")
        for read in self.bench.chunk_reads:
            chunk = read.chunk
            assert read.size <= CHUNK
            self.sent.append((now, read.to, chunk.offset, read.size))
            if read.to not in self.down:
                self.reply(read.to, (chunk.snapshot, chunk.offset, read.size))
        self.bench.chunk_reads.clear()

    def reply(self, to, what):
        if to not in self.mute:
            self.serial += 1
            due = self.bench.now + self.latency
            heapq.heappush(self.answers, (due, self.serial, to, what))

    def answer(self, peer, what):
        core = self.bench.core
        if peer in self.down or core.role is not Role.LEADER:
            return []
        round = core._leading.rounds.current
        if what == "append":
            behind = peer in LAGGING and peer not in self.finished
            index = 0 if behind else core.log.last_index
            return self.bench.step(
                peer, AppendReply(core.term, round, not behind, index, 0, self.bench.now)
            )
        snapshot, offset, size = what
        if offset == self.stored[peer]:
            self.stored[peer] += size
        done = self.stored[peer] == snapshot.size_bytes
        if done:
            self.finished.setdefault(peer, self.bench.now)
        reply = SnapshotReply(
            core.term, snapshot.id, self.stored[peer], done, round, self.bench.now
        )
        return self.bench.step(peer, reply)

    def run(self, seconds):
        """Let time pass: ticks when the leader wants them, answers when they are due."""
        bench, end = self.bench, self.bench.now + seconds
        while True:
            deadline = bench.core.deadline()
            due = self.answers[0][0] if self.answers else end
            at = max(min(deadline, due), bench.now)
            if at >= end:
                bench.now = end
                return
            bench.now = at
            if deadline <= due:
                self.tick_count += 1
                bench.core.tick(at)
                had = bench.core.has_effects
                sends = bench.flush()
                assert had or not (sends or bench.chunk_reads), "nobody would have fetched it"
                self.post(sends)
                assert bench.core.deadline() > at, "a deadline that stays behind makes a node spin"
            else:
                _, _, peer, what = heapq.heappop(self.answers)
                self.post(self.answer(peer, what))

    def elect_again(self):
        """Another one stands and gets no vote; then this one leads in a newer term."""
        bench = self.bench
        term, last = bench.core.term, bench.core.log.last_id
        bench.step("e", VoteRequest(term + 1, EntryId(0, 0), 0, True))
        assert bench.core.role is Role.FOLLOWER
        assert bench.core.log.last_id == last
        self.answers.clear()
        self.post(bench.elect())

    def bytes_to(self, peer):
        return sum(size for _, to, _, size in self.sent if to == peer)

    def check_rate(self, rate=RATE):
        """In no span of time more was sent than may be."""
        total = [0]
        for _, _, _, size in self.sent:
            total.append(total[-1] + size)
        times = [at for at, *_ in self.sent]
        for first, since in enumerate(times):
            for last in range(first, len(times)):
                bytes_sent = total[last + 1] - total[first]
                bound = rate * (times[last] - since + SAVED) + CHUNK
                assert bytes_sent <= bound + 1e-6, (since, times[last], bytes_sent, bound)


def test_a_snapshot_takes_as_long_as_the_rate_says(make_bench) -> None:
    stage = Stage(make_bench)
    stage.ask("c")
    stage.run(4.0)
    stage.check_rate()
    assert stage.bytes_to("c") == 3000, "nothing is sent twice"
    assert 2.9 - SAVED <= stage.finished["c"] - stage.begun <= 3.0


def test_two_receivers_share_the_rate_evenly(make_bench) -> None:
    stage = Stage(make_bench)
    stage.ask("c", "d")
    stage.run(7.0)
    stage.check_rate()
    behind = {"c": 0, "d": 0}
    for _, to, offset, size in stage.sent:
        behind[to] = offset + size
        assert abs(behind["c"] - behind["d"]) <= CHUNK, stage.sent
    assert 5.8 <= max(stage.finished.values()) - stage.begun <= 6.0


def test_what_the_log_outgrows_is_sent_to_one_after_the_other(make_bench) -> None:
    """Shared evenly, it would be outgrown again and again, and nobody would ever be filled."""
    stage = Stage(make_bench, snapshot_log_bytes=100, log_keep_bytes=1)
    bench = stage.bench
    stage.ask("c", "d")
    for outgrown in range(2):
        # Time for one of them, not for both.
        stage.run(4.0)
        assert len(stage.finished) == outgrown
        for _ in range(65):
            bench.core.propose(bytes(68), bench.now)
            bench.flush()
            for peer in ("b", "e"):
                bench.accept(peer, bench.core._leading.peers[peer].next_index - 1)
        index = bench.core.commit_index
        newer = SnapshotMeta(index, 1, bench.core.log.time_at(index), 3000, 8 + outgrown)
        stage.answers.clear()
        left = sorted(set(LAGGING) - stage.finished.keys())
        assert bench.core.compacted(newer, bench.now) == left
        stage.stored.update(dict.fromkeys(left, 0))
        stage.post(bench.flush())
    stage.run(4.0)
    assert stage.finished.keys() == set(LAGGING)
    stage.check_rate()
    # Then they are equal again.
    assert not bench.core._leading._outgrown


def test_who_comes_later_gets_half_from_then_on_and_no_more(make_bench) -> None:
    stage = Stage(make_bench, size=6000)
    stage.ask("c")
    stage.run(2.0)
    before = stage.bytes_to("c")
    stage.ask("d")
    stage.run(2.0)
    assert abs(stage.bytes_to("d") - (stage.bytes_to("c") - before)) <= CHUNK
    assert stage.bytes_to("d") >= 900
    stage.check_rate()


def test_who_does_not_answer_costs_the_others_no_more_than_a_window(make_bench) -> None:
    stage = Stage(make_bench, size=6000)
    stage.ask("c", "d")
    stage.run(1.0)
    before = stage.bytes_to("d")
    stage.mute.add("d")
    stage.run(4.0)
    window = stage.bench.config.append_window_bytes
    assert stage.bytes_to("d") - before <= window + CHUNK
    assert stage.bytes_to("c") + stage.bytes_to("d") >= 4900, "the rate is used all the same"
    stage.ask("d")
    stage.run(11.0)
    assert set(stage.finished) == {"c", "d"}
    stage.check_rate()


def test_the_deadline_is_when_the_next_chunk_may_go_and_nothing_polls(make_bench) -> None:
    stage = Stage(
        make_bench, election_timeout_min=20.0, election_timeout_max=40.0, heartbeat_interval=10.0,
        session_ttl=100.0,
    )
    stage.ask("c", "d")
    stage.run(0.05)
    sent_count = len(stage.sent)
    stage.tick_count = 0
    stage.run(5.0)
    assert stage.tick_count == len(stage.sent) - sent_count
    times = [at for at, *_ in stage.sent[sent_count:]]
    for one, other in pairwise(times):
        assert other - one == pytest.approx(CHUNK / RATE)
    assert times[-1] - times[0] == pytest.approx((len(times) - 1) * CHUNK / RATE), "no drift"


def test_late_ticks_cost_no_throughput(make_bench) -> None:
    stage = Stage(make_bench)
    bench, random = stage.bench, Random(5)
    stage.ask("c")
    while "c" not in stage.finished:
        stage.run(max(bench.core.deadline() - bench.now, 0.0))
        # Somebody else had the processor.
        bench.now += random.random() * 0.04
        stage.run(0.0015)
    stage.check_rate()
    assert stage.finished["c"] - stage.begun <= 3.1


def test_a_chunk_that_is_more_than_is_ever_saved_up_goes_whole(make_bench) -> None:
    stage = Stage(make_bench, rate=10.0, size=300)
    stage.ask("c")
    stage.run(21.0)
    assert [(to, offset, size) for _, to, offset, size in stage.sent] == [
        ("c", 0, 100), ("c", 100, 100), ("c", 200, 100),
    ]  # fmt: skip
    assert stage.finished["c"] - stage.begun == pytest.approx(20.0, abs=SAVED + 0.01)


def test_heartbeats_and_appends_never_wait_for_it(make_bench) -> None:
    stage = Stage(make_bench, rate=10.0)
    bench = stage.bench
    stage.ask("c", "d")
    stage.run(3.0)
    for peer in "bcde":
        times = [stage.begun] + [at for at, to, _ in stage.appends if to == peer]
        assert max(b - a for a, b in pairwise(times)) <= bench.config.heartbeat_interval + 1e-9
    bench.core.propose(b"x", bench.now)
    sends = bench.flush()
    assert {to for to, m in sends if isinstance(m, AppendRequest) and m.entries} == {"b", "e"}


def test_a_pause_of_the_process_is_no_credit(make_bench) -> None:
    stage = Stage(make_bench, size=20_000)
    stage.ask("c")
    stage.run(1.0)
    count = len(stage.sent)
    stage.bench.now += 0.55  # not so long that it would lead no more
    resumed = stage.bench.now
    stage.run(0.05)
    burst = sum(size for at, _, _, size in stage.sent[count:] if at < resumed + 0.01)
    assert burst <= RATE * (SAVED + 0.01) + CHUNK
    stage.run(2.0)
    stage.check_rate()


def test_what_idles_is_no_credit(make_bench) -> None:
    stage = Stage(make_bench)
    stage.run(50.0)
    stage.ask("c", "d")
    stage.run(0.01)
    assert sum(size for *_, size in stage.sent) <= RATE * (SAVED + 0.01) + CHUNK


def test_a_cut_costs_only_what_was_on_the_way_and_leaves_the_rate_to_others(make_bench) -> None:
    stage = Stage(make_bench, size=4000)
    bench = stage.bench
    stage.ask("c", "d")
    stage.run(2.0)
    before = stage.bytes_to("c"), stage.bytes_to("d")
    stored = stage.stored["c"]
    stage.down.add("c")
    bench.core.peer_lost("c", bench.now)
    stage.run(2.0)
    assert stage.bytes_to("c") == before[0], "nothing goes where nobody is"
    assert stage.bytes_to("d") - before[1] >= 1900
    stage.down.clear()
    bench.core.peer_connected("c", bench.now)
    stage.post(bench.flush())
    stage.run(0.3)
    resumed = [offset for at, to, offset, _ in stage.sent if to == "c" and at >= bench.now - 0.31]
    assert resumed[0] == stored
    stage.run(8.0)
    assert set(stage.finished) == {"c", "d"}
    assert stage.bytes_to("c") <= 4000 + 2 * CHUNK
    stage.check_rate()


def test_a_new_link_again_and_again_brings_no_more(make_bench) -> None:
    stage = Stage(make_bench, size=6000)
    bench = stage.bench
    stage.ask("c")
    for _ in range(300):
        bench.core.peer_lost("c", bench.now)
        bench.core.peer_connected("c", bench.now)
        stage.post(bench.flush())
        stage.run(0.013)
    stage.check_rate()
    assert stage.stored["c"] >= 2500, "and it goes on"


def test_a_leader_that_is_elected_again_and_again_sends_no_more(make_bench) -> None:
    stage = Stage(make_bench, rate=20.0, size=2000)
    for _ in range(10):
        stage.ask("c", "d")
        stage.run(0.2)
        stage.elect_again()
    stage.check_rate(20.0)
    assert len(stage.sent) >= 2


@pytest.mark.parametrize("rate", [None, RATE])
@pytest.mark.parametrize("latency", [0.35, 0.42])
def test_who_answers_late_is_not_sent_everything_twice(make_bench, rate, latency) -> None:
    stage = Stage(make_bench, rate, latency=latency)
    assert latency > stage.bench.config.election_timeout_min, "or no answer would be late"
    stage.ask("c")
    stage.run(60.0)
    assert stage.finished["c"]
    assert stage.bytes_to("c") <= 3000 + 4 * CHUNK


def test_what_was_late_once_is_waited_for_longer_until_there_is_a_new_link(make_bench) -> None:
    stage = Stage(make_bench)
    bench = stage.bench
    # It says that it lives, and nothing of what it was sent.
    stage.post(bench.step("c", stage.refusal()))

    def wait():
        sent_count, since = len(stage.sent), bench.now
        while len(stage.sent) == sent_count:
            stage.run(0.005)
            bench.core._leading.peers["c"].heard = bench.now
        return bench.now - since

    least = bench.config.election_timeout_min
    for times in (1, 2, 4, 8, 16, 16, 16):
        assert wait() == pytest.approx(least * times, abs=0.02)
    bench.core.peer_connected("c", bench.now)
    stage.post(bench.flush())
    assert wait() == pytest.approx(least, abs=0.02)


def test_without_a_rate_windows_are_filled_at_once(make_bench) -> None:
    stage = Stage(make_bench, rate=None)
    stage.ask("c", "d")
    assert [(to, offset) for _, to, offset, _ in stage.sent] == [("c", 0), ("d", 0)]
    stage.run(0.0015)
    assert stage.bytes_to("c") == stage.bytes_to("d") == 1000
    stage.run(0.2)
    assert set(stage.finished) == {"c", "d"}
    assert stage.bytes_to("c") == 3000


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_the_rate_is_kept_and_used(make_bench, seed) -> None:
    random = Random(seed)
    rate = random.choice((50.0, 300.0, 1000.0, 20_000.0))
    size = random.randrange(1, 5000)
    stage = Stage(make_bench, rate=rate, size=size, latency=random.choice((0.0, 0.001, 0.05, 0.2)))
    bench = stage.bench
    stage.ask(*LAGGING)
    for _ in range(random.randrange(30)):
        peer = random.choice(LAGGING)
        match random.choice(("run", "run", "mute", "speak", "cut", "link", "link", "freeze")):
            case "run":
                stage.run(random.random() * 2)
            case "mute":
                stage.mute.add(peer)
            case "speak":
                stage.mute.discard(peer)
            case "cut":
                stage.down.add(peer)
                bench.core.peer_lost(peer, bench.now)
                stage.post(bench.flush())
            case "link":
                stage.down.discard(peer)
                bench.core.peer_connected(peer, bench.now)
                stage.post(bench.flush())
            case "freeze":
                bench.now += random.random() * 0.3
                stage.run(0.05)
        assert bench.core.role is Role.LEADER, f"seed {seed}"
    stage.mute.clear()
    for peer in stage.down:
        bench.core.peer_connected(peer, bench.now)
    stage.down.clear()
    stage.post(bench.flush())
    # One chunk may have to be sent again, and silence to be noticed.
    left = sum(size - stored + 2 * CHUNK for stored in stage.stored.values())
    trips = (size / 300 + 3) * 4 * max(stage.latency, 0.001)
    stage.run(left / rate + trips + 2.0)
    assert set(stage.finished) == set(LAGGING), (f"seed {seed}", stage.stored, size)
    stage.check_rate(rate)
