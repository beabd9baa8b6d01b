"""The values that Raft is about: entries, hard state, snapshots, and the messages of peers.

All are frozen and carry no behaviour. The sender of a message is not part of it: the link over
which it came knows that, and a peer cannot claim another's name (`RaftCore.step(sender, ...)`).
Messages are from figures 2 and 13 of the Raft paper (Ongaro and Ousterhout, extended version),
pre-vote and ReadIndex from Ongaro's dissertation (sections 9.6 and 6.4).
"""

from enum import IntEnum
from typing import TypeAlias, final

import msgspec

from .membership import Membership


class EntryId(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """Identify an entry; compares by term first, which is the log's up-to-date order (5.4.1)."""

    term: int
    index: int


class EntryKind(IntEnum):
    """What the payload of an entry is."""

    NOOP = 0
    BATCH = 1
    MEMBERSHIP = 2
    """A membership (see `encode_membership`), which counts from here on."""


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One slot of the log: a batch of commands, stamped with cluster time by its leader."""

    term: int
    index: int
    time: int
    """Cluster time in microseconds; never smaller than that of the entry before."""
    kind: EntryKind
    payload: bytes

    @property
    def id(self) -> EntryId:
        return EntryId(self.term, self.index)


class HardState(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a member must never forget: its term, and whom it voted for in it."""

    term: int = 0
    vote: str | None = None
    recovering: bool = False
    """Whether what was known before is not recovered yet (`recovery.Recovery`)."""


class SnapshotMeta(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Describe a snapshot: the entry it reaches to, and how its image looks as bytes."""

    index: int
    term: int
    time: int
    """Cluster time in microseconds of the entry at `index`."""
    size_bytes: int
    checksum: int
    """CRC-32 of the whole image."""
    membership: Membership = Membership()
    """The membership at `index`; empty in a snapshot of a release that did not say it."""

    @property
    def id(self) -> EntryId:
        return EntryId(self.term, self.index)


class Restored(msgspec.Struct, frozen=True):
    """What a store held when the node started; `entries` follow `snapshot` without a gap."""

    hard_state: HardState = HardState()
    snapshot: SnapshotMeta | None = None
    entries: tuple[Entry, ...] = ()
    blank: bool = False
    """Nothing is held, and nobody knows whether anything ever was: the node may have forgotten
    what it voted for and acknowledged, and has to recover first (`recovery.Recovery`). Or a former
    life has begun with that, and did not come to its end."""
    lasting: bool = False
    """The store survives the process, so that one that holds nothing was most likely never used."""


class PreVoteRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """Ask whether `term` could be won, without disturbing anybody (dissertation, 9.6)."""

    term: int
    last: EntryId
    genesis: int = 0
    """That of the log; 0 if it has none yet."""


class PreVoteReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """Answer for the asked `term` if granted, with the voter's own term if not."""

    term: int
    granted: bool


class VoteRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=3):
    """Ask for a vote in `term` (5.2)."""

    term: int
    last: EntryId
    genesis: int = 0
    """That of the log; 0 if it has none yet."""
    transfer: bool = False
    """The leader itself has asked the sender to stand (`TimeoutNow`), so it may be voted out."""


class VoteReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=4):
    """Give or refuse a vote in `term`; sent only after the vote is persisted."""

    term: int
    granted: bool


class AppendRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=5):
    """Replicate `entries` after `previous`; without entries it is a heartbeat (5.3)."""

    term: int
    previous: EntryId
    commit_index: int
    entries: list[Entry]
    round: int
    """Heartbeat round; its echo confirms leadership for ReadIndex and check-quorum."""
    echo: float
    """Newest `AppendReply.sent` the leader had from this peer, 0.0 if none (session liveness)."""
    genesis: int = 0
    """That of the leader's log."""
    recovered: int = 0
    """The nonce of a recovery of the receiver that is over now; 0 if none is."""


class AppendReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=6):
    """Tell how far the follower's log is persisted and equal to the leader's, or where not."""

    term: int
    round: int
    accepted: bool
    index: int
    """Accepted: the highest index known to be persisted and equal. Refused: the hint's index."""
    hint_term: int
    """Refused: the term at `index` in the follower's log (fast backtracking, 5.3), else 0."""
    sent: float
    """The follower's own clock when it answered; only ever compared by itself."""
    recovering: int = 0
    """The nonce of the recovery that is under way: until it is over, this counts for nothing."""


class SnapshotChunk(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=7):
    """Carry a piece of the leader's snapshot to a member that fell behind the log (section 7)."""

    term: int
    snapshot: SnapshotMeta
    offset: int
    data: bytes
    round: int
    echo: float


class SnapshotReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=8):
    """Tell up to which byte the chunks of `snapshot` have arrived; resume continues from there."""

    term: int
    snapshot: EntryId
    next_offset: int
    done: bool
    round: int
    sent: float
    recovering: int = 0
    """As in `AppendReply`."""


class ReadRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=9):
    """Ask the leader for a read index (dissertation, 6.4)."""

    request: int


class ReadReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=10):
    """Give the read index of `request`; 0 says that the receiver cannot confirm leadership."""

    request: int
    index: int


@final
class Forward(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=11):
    """Bring commands of `session` to the leader, numbered from `first_sequence` on."""

    session: int
    first_sequence: int
    count: int
    commands: bytes


@final
class ForwardReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=12):
    """Tell the origin that its commands left a gap or were refused: send again from `expected`."""

    session: int
    expected: int


class RecoveryRequest(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=13):
    """Say that the sender holds nothing, and ask what there is (see `recovery.Recovery`)."""

    nonce: int
    """Differs from that of all other lives of the sender."""


class RecoveryReply(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=14):
    """Tell what the sender holds; any vote of an earlier life of the asker is void here."""

    nonce: int
    term: int
    last: EntryId
    blank: bool
    """Whether the sender recovers as well."""
    membership_index: int
    """Index of the entry that brought `membership`; 0: it is what the node was started with."""
    membership: Membership
    """Of the sender; of one who recovers, the newest that it has heard of."""


class Dismissal(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=15):
    """Tell a node that stands for election that it is no member, as of entry `index`."""

    index: int
    genesis: int = 0
    """That of the sender's log."""


class TimeoutNow(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=16):
    """Have the receiver stand for election at once (leadership transfer; dissertation, 3.10)."""

    term: int


class Observe(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=17):
    """Ask to be sent what is committed, by the receiver or whoever leads after it; for ever, or as
    long as there is a link. Who asks has no vote, and its log counts for nothing."""


class Introduction(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=21):
    """Tell an observer who the members are, as of entry `index`: one of them may lead."""

    index: int
    membership: Membership


DIGEST_BYTES = 16
REPORT_COUNT_MAX = 4096
"""Objects whose digests one report holds at the most, so that it has no more than 100 kB."""


@final
class DigestReport(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=20):
    """Tell the leader what the objects of the sender are like at `index`, where it asked for it."""

    index: int
    digests: dict[int, bytes]
    """By the ids of the objects, of those that are attached on the sender."""


@final
class Inquiry(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=18):
    """Ask a node about itself, or to do something: for people who operate the cluster."""

    id: int
    """Chosen by who asks; the answer carries it."""
    verb: str
    arguments: bytes
    """A JSON object."""


@final
class Answer(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=19):
    """Answer an `Inquiry`."""

    id: int
    ok: bool
    payload: bytes
    """JSON: what was asked for, or else an object with `error` and `message`."""


RaftMessage: TypeAlias = (
    PreVoteRequest
    | PreVoteReply
    | VoteRequest
    | VoteReply
    | AppendRequest
    | AppendReply
    | SnapshotChunk
    | SnapshotReply
    | ReadRequest
    | ReadReply
    | RecoveryRequest
    | RecoveryReply
    | Dismissal
    | TimeoutNow
    | Observe
    | Introduction
)
Message: TypeAlias = RaftMessage | Forward | ForwardReply | DigestReport | Inquiry | Answer
