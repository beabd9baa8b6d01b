"""The two stores a node needs, as protocols: a log and its snapshots.

Every method may block on the disk; a driver calls them off its own thread, one at a time and in
order. When a method returns, what it was given is durable (or the store is a memory store).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

from ..raft.effects import Append
from ..raft.membership import Membership
from ..raft.messages import Restored, SnapshotMeta


class LogStore(Protocol):
    """Keep hard state and entries."""

    blocking: bool
    """Whether calls wait for a disk; a memory store says False and is called inline."""

    def load(self, snapshot: SnapshotMeta | None) -> Restored:
        """Return what was persisted; entries that `snapshot` covers are left out.

        `Restored.blank` if nothing ever was.

        Raises:
            DataDirDamaged: a record before the tail is damaged, or entries are missing between
                `snapshot` and the first one kept.
        """

    def append(self, appends: Sequence[Append]) -> None:
        """Persist all of `appends` in order with one write and one sync.

        Raises:
            StorageError: the disk failed; the store must not be used any more.
        """

    def compact(self, index: int) -> None:
        """Forget entries up to `index` where whole segments allow it; a snapshot covers them."""

    def close(self) -> None:
        """Release files and locks; idempotent."""


class SnapshotStore(Protocol):
    """Keep the newest snapshots, and the one that is being received."""

    blocking: bool

    def latest(self) -> SnapshotMeta | None:
        """Return the newest whole snapshot, or None."""

    def save(
        self, index: int, term: int, time: int, membership: Membership, image: Iterable[bytes]
    ) -> SnapshotMeta:
        """Persist an image as the snapshot that reaches to `index`, and prune older ones."""

    def draft(self) -> "Draft | None":
        """Return what a forked child can write a snapshot to; None if there is no such way."""

    def load(self, snapshot: SnapshotMeta) -> Iterable[bytes]:
        """Verify the checksum of the image, then return it in parts, read as they are taken.

        They can be taken more than once.
        """

    def read(self, snapshot: SnapshotMeta, offset: int, size: int) -> bytes | None:
        """Return a piece of the image, or None if the snapshot has been pruned meanwhile."""

    def write(self, snapshot: SnapshotMeta, offset: int, data: bytes) -> int:
        """Keep a received piece; return the offset wanted next (unchanged if `offset` is off)."""

    def finish(self, snapshot: SnapshotMeta) -> bool:
        """Verify the received image and persist it; False (and nothing kept) if it is corrupt."""

    def close(self) -> None:
        """Release files; idempotent."""


class Parts:
    """Parts of an image that can be taken again and again."""

    def __init__(self, parts: Callable[[], Iterator[bytes]]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self._parts()


class Draft(Protocol):
    """A snapshot that a forked child writes, and that its parent then makes one of the store's."""

    files: tuple[int, ...]
    """What the child must not close of the files that it has from its parent."""

    def write(
        self, index: int, term: int, time: int, membership: Membership, image: Iterable[bytes]
    ) -> SnapshotMeta:
        """Write an image, in the child."""

    def adopt(self, snapshot: SnapshotMeta) -> SnapshotMeta:
        """Keep what the child said that it has written, and prune older ones; in the parent.

        Raises:
            StorageError: it is not there.
        """

    def drop(self) -> None:
        """Remove what the child has left half done; in the parent."""
