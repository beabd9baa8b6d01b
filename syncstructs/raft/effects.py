"""What the core asks of the world: one batch of effects after a burst of inputs.

The order inside a batch is free, with two exceptions that are part of the values themselves:
appends are done in the order of their tickets, and what relies on an append hangs on it
(`Append.then_send`), so that nothing can be acknowledged before it is persisted.
"""

from dataclasses import dataclass, field

import msgspec

from .messages import Entry, HardState, Message, SnapshotChunk, SnapshotMeta


@dataclass(slots=True)
class Append:
    """Persist these, in this order: `reset`, `hard_state`, `entries`; then send `then_send`.

    The executor calls `RaftCore.persisted(ticket, now)` once all of it is durable. An entry whose
    index is not above the last one in the store truncates the store's log from there first.
    """

    ticket: int
    hard_state: HardState | None = None
    reset: SnapshotMeta | None = None
    """The log is replaced by this snapshot (already persisted); no entry before it is kept."""
    entries: list[Entry] = field(default_factory=list)
    then_send: list[tuple[str, Message]] = field(default_factory=list)


@dataclass(slots=True, frozen=True)
class ChunkRead:
    """Read `size` bytes of the snapshot at `chunk.offset`, put them in `chunk.data`, send it."""

    to: str
    chunk: SnapshotChunk
    size: int


@dataclass(slots=True, frozen=True)
class ChunkWrite:
    """Store a received chunk; report with `RaftCore.chunk_written(...)`.

    `last`: verify the checksum and persist the whole snapshot before reporting.
    """

    sender: str
    snapshot: SnapshotMeta
    offset: int
    data: bytes
    last: bool


@dataclass(slots=True, frozen=True)
class ReadReady:
    """Reads of `request` may be served once everything up to `index` is applied.

    `index` is 0 if leadership could not be confirmed: ask again.
    """

    request: int
    index: int


class Effects(msgspec.Struct):
    """Everything the core wants done since it was last asked.

    One is made for every burst of events, so it is of a kind that is made fast.
    """

    sends: list[tuple[str, Message]] = msgspec.field(default_factory=list)
    appends: list[Append] = msgspec.field(default_factory=list)
    chunk_reads: list[ChunkRead] = msgspec.field(default_factory=list)
    chunk_writes: list[ChunkWrite] = msgspec.field(default_factory=list)
    install: SnapshotMeta | None = None
    """The state machine must be replaced by this snapshot before `committed` is applied."""
    committed: list[Entry] = msgspec.field(default_factory=list)
    """Newly committed entries, without a gap, each exactly once since start or `install`."""
    reads: list[ReadReady] = msgspec.field(default_factory=list)
    peers: tuple[str, ...] | None = None
    """Who the other members are from now on; None: as before."""
    dismissed: bool = False
    """A member has said that this node is none any more."""
