"""What a leader knows of one peer: how far it is, how to send to it, and when it was heard.

A peer is probed (one append at a time, until it is known where the logs are equal), then
replicated to (`next_index` advances with the sending, several appends on the way, bounded in
bytes), or sent a snapshot if the log no longer reaches back to it.
"""

from collections import deque
from enum import Enum
from typing import NamedTuple


class Mode(Enum):
    """How a peer is sent to."""

    PROBE = 1
    REPLICATE = 2
    SNAPSHOT = 3


class PeerView(NamedTuple):
    """One peer at one moment, for those who look at the leader; nothing is decided by it."""

    mode: Mode
    match_index: int
    in_flight_bytes: int
    heard: float
    """As `Progress.heard`."""
    counts: bool
    """Whether quorums may count it: it does not recover, and is no observer."""
    snapshot_offset: int
    """How much of a snapshot it has acknowledged, and of how much; 0 of 0 if it needs none."""
    snapshot_bytes: int


# More appends than ever are on their way to one peer.
_UNBOUNDED = 1 << 30


class Progress:
    """One peer, as its leader sees it in one term."""

    __slots__ = (
        "_allowance",
        "_barrier",
        "_blank_round",
        "_in_flight",
        "_latest",
        "_unconfirmed",
        "acknowledged_round",
        "commit_sent",
        "echo",
        "heard",
        "in_flight_bytes",
        "leaves_at",
        "match_index",
        "mode",
        "must_speak",
        "next_index",
        "observes",
        "probe_sent",
        "recovered",
        "recovering",
        "tell_recovered",
    )

    def __init__(self, next_index: int, now: float, *, observes: bool = False) -> None:
        self.observes = observes
        """Whether it is an observer: it is sent what is committed, and counts for nothing."""
        self.mode = Mode.PROBE
        self.match_index = 0
        """Persisted and equal on the peer, as far as its answers of this term tell."""
        self.next_index = next_index
        self.probe_sent = False
        self.must_speak = False
        """Whether the peer must get a message at once, if need be an empty one."""
        self.commit_sent = 0
        """The commit index that the peer knows if nothing was lost."""
        self.acknowledged_round = 0
        self.heard = now
        """When the peer last answered in this term; the election, if it has not."""
        self.echo = 0.0
        """Newest `sent` of the peer that may be echoed; see `confirm`."""
        self._latest = (0.0, now)
        self._unconfirmed = (0.0, now)
        self._in_flight: deque[tuple[int, int]] = deque()
        self.in_flight_bytes = 0
        self._allowance = _UNBOUNDED
        self.recovering = 0
        """The nonce of a recovery: until it is over, the peer counts for no quorum."""
        self.recovered = 0
        """The nonce of a recovery that is over."""
        self.tell_recovered = False
        """Whether the peer does not know yet that its recovery is over."""
        self._barrier = 0
        self._blank_round = 0
        self.leaves_at: float | None = None
        """When to speak no more to a peer that is no member any more; None: it is one."""

    # Sending

    @property
    def has_room(self) -> bool:
        """Whether one more append may be on its way.

        After a refusal it is one at first, and one more for each that is accepted: if messages
        overtake each other, a whole window of them is refused, and each refusal that comes late
        would cost another window.
        """
        return len(self._in_flight) < self._allowance

    def sent(self, last_index: int, size_bytes: int) -> None:
        """Note that entries up to `last_index` are on their way."""
        if self.mode is Mode.PROBE:
            self.probe_sent = True
            return
        if size_bytes:
            self._in_flight.append((last_index, size_bytes))
            self.in_flight_bytes += size_bytes
            self.next_index = last_index + 1

    def probe(self) -> None:
        """Find out anew what the peer has: what was on its way may be lost."""
        self._forget_in_flight()
        self.mode = Mode.PROBE
        self.next_index = self.match_index + 1
        self.probe_sent = False
        self.commit_sent = 0

    def relinked(self, now: float) -> None:
        """Forget what a former link brought: the peer may have a new life and a new clock."""
        self.echo = 0.0
        self._latest = self._unconfirmed = (0.0, now)
        self.must_speak = True
        self._allowance = _UNBOUNDED
        if self.mode is not Mode.SNAPSHOT:
            self.probe()

    def send_snapshot(self) -> None:
        """Stop appends until the peer has a snapshot."""
        self._forget_in_flight()
        self.mode = Mode.SNAPSHOT

    # Recovery (see `recovery.Recovery`)

    def begin_recovery(self, nonce: int, round: int) -> None:
        """Count the peer no more: it has forgotten all. Without effect if that is no news.

        `round`: the newest one; who answers a later one does not speak from before it forgot.
        """
        if nonce == self.recovered:
            # It has not heard it yet, or says so late.
            self.tell_recovered = not self.recovering
            return
        if nonce == self.recovering:
            return
        self.recovering, self._barrier, self.tell_recovered = nonce, 0, False
        self._blank_round = round
        self.match_index = 0
        if self.mode is not Mode.SNAPSHOT:
            self.probe()

    def is_outlived(self, nonce: int, round: int) -> bool:
        """Whether an answer is of a life of the peer before the one that recovers, or did."""
        if nonce == 0:
            return round <= self._blank_round
        return self.recovering != 0 and nonce == self.recovered

    def told_recovered(self) -> None:
        """Note that an answer tells of no recovery that is under way."""
        self.tell_recovered = False
        if self.recovering:
            # It had the answers of all: see `recovery.Recovery`. How far it is, the answer tells.
            self.recovered, self.recovering, self._barrier = self.recovering, 0, 0
            self.match_index = 0

    @property
    def awaits_barrier(self) -> bool:
        """Whether the peer recovers, and there is no entry yet that it has to reach."""
        return self.recovering != 0 and self._barrier == 0

    def set_barrier(self, index: int) -> None:
        """Let the recovery be over with entry `index`, which was appended after it had begun."""
        self._barrier = index

    def end_recovery(self, commit_index: int) -> None:
        """End the recovery if its entry is committed, and persisted by the peer."""
        if self.recovering and 0 < self._barrier <= min(commit_index, self.match_index):
            self.recovered, self.recovering, self._barrier = self.recovering, 0, 0
            self.tell_recovered = self.must_speak = True

    # Answers

    def accepted(self, index: int) -> None:
        """Note that the peer has persisted the leader's log up to `index`."""
        self.match_index = max(self.match_index, index)
        while self._in_flight and self._in_flight[0][0] <= index:
            self.in_flight_bytes -= self._in_flight.popleft()[1]
        if self.mode is Mode.PROBE:
            self.mode = Mode.REPLICATE
            self.next_index = self.match_index + 1
        else:
            self._allowance += 1
            self.next_index = max(self.next_index, self.match_index + 1)

    def caught_up(self) -> None:
        """Leave the snapshot: the log reaches back to the peer again."""
        self.mode = Mode.REPLICATE
        self.next_index = self.match_index + 1

    def refused(self, index: int) -> None:
        """Note that the logs can be equal up to `index` at the most.

        The appends behind a lost one are all refused; of probes, only what tells news counts.
        A stale refusal costs a probe, nothing else; those of one loss that come late are known by
        what the peer has acknowledged meanwhile. To a probe, one below `match_index` may be true: a
        member that keeps its log in memory was restarted, so its link is new. Then what it
        acknowledged is forgotten, which can only delay a commit.
        """
        if self.mode is Mode.PROBE and index + 1 >= self.next_index:
            return
        if self.mode is Mode.REPLICATE and index < self.match_index:
            return
        self._forget_in_flight()
        self.match_index = min(self.match_index, index)
        self.next_index = min(self.next_index, index + 1)
        self.mode = Mode.PROBE
        self.probe_sent = False
        self._allowance = 1

    def heard_at(self, round: int, sent: float, now: float) -> None:
        """Note an answer in this term, and the peer's clock when it answered."""
        self.heard = now
        if round > self.acknowledged_round:
            self.acknowledged_round = round
        if sent > self._latest[0]:
            self._latest = (sent, now)

    def confirm(self, contact: float) -> None:
        """Let echo what came in up to `contact`, a time when the leader certainly led.

        A leader that is cut off still gets answers from a minority. Echoed at once, they would
        make those members sure of sessions that a newer leader may be about to expire.
        """
        if self._unconfirmed[1] <= contact:
            self.echo = max(self.echo, self._unconfirmed[0])
            self._unconfirmed = self._latest
            if self._latest[1] <= contact:
                self.echo = max(self.echo, self._latest[0])

    def _forget_in_flight(self) -> None:
        self._in_flight.clear()
        self.in_flight_bytes = 0

    def _check(self) -> None:
        assert 0 <= self.match_index < self.next_index, (self.match_index, self.next_index)
        assert self.in_flight_bytes == sum(size for _, size in self._in_flight)
        assert self.mode is Mode.REPLICATE or not self._in_flight, self.mode
        indexes = [index for index, _ in self._in_flight]
        assert indexes == sorted(indexes), indexes
        assert all(index < self.next_index for index in indexes), (indexes, self.next_index)
        assert self.echo <= self._latest[0], (self.echo, self._latest)
