"""Taking a snapshot of this replica: here if the state is small, in a forked child if not."""

import os
from collections.abc import Callable, Iterable
from typing import Any

from ..applying import SnapshotPoint
from ..raft.messages import SnapshotMeta
from ..storage.base import SnapshotStore
from .children import Children, while_parent_lives
from .ports import Snapshotter, Worker

Then = Callable[[SnapshotMeta | BaseException], Any]
Image = Callable[[], Iterable[bytes]]

# What a value counts for if `snapshot_fork_bytes` is to be reached, about.
_VALUE_BYTES = 64
# Without another part of the image: one object's `snapshot_state`, or the sync in the end.
_CHILD_SECONDS = 3600.0


class InlineSnapshotter:
    """Encode the state in the driver's thread, and write it in the worker's."""

    def __init__(self, store: SnapshotStore, worker: Worker) -> None:
        self._store = store
        self._worker = worker

    def take(
        self, point: SnapshotPoint, image: Image, outweigh: Callable[[int], bool], then: Then
    ) -> None:
        """Persist the state; see `Snapshotter`.

        Raises:
            Unserializable: a value in the state has no encoding.
        """
        parts = list(image())
        index, term, time, membership = point.index, point.term, point.time, point.membership
        self._worker.run(lambda: self._store.save(index, term, time, membership, parts), then)


class ForkSnapshotter:
    """Fork when there is much to write: the child writes it as it was, the node goes on.

    The child does nothing but encode, write and exit; it touches no lock of another thread.
    """

    def __init__(
        self, store: SnapshotStore, worker: Worker, children: Children, fork_bytes: int
    ) -> None:
        self._inline = InlineSnapshotter(store, worker)
        self._store = store
        self._worker = worker
        self._children = children
        self._fork_bytes = fork_bytes

    def take(
        self, point: SnapshotPoint, image: Image, outweigh: Callable[[int], bool], then: Then
    ) -> None:
        """Persist the state; see `Snapshotter`.

        Raises:
            Unserializable: a value in the state has no encoding, and it is not done in a child.
            OSError, RuntimeError: there is no room for another process, or for a thread.
        """
        large = outweigh(self._fork_bytes // _VALUE_BYTES)
        draft = self._store.draft() if large else None
        if draft is None:
            self._inline.take(point, image, outweigh, then)
            return
        index, term, time, membership = point.index, point.term, point.time, point.membership
        own = os.getpid()

        def told(result: SnapshotMeta | BaseException) -> None:
            if isinstance(result, BaseException):
                self._worker.run(draft.drop, lambda _: then(result))
            else:
                self._worker.run(lambda: draft.adopt(result), then)

        try:
            self._children.do(
                lambda at_work: draft.write(
                    index, term, time, membership, while_parent_lives(image(), own, at_work)
                ),
                SnapshotMeta, told, name="snapshot", seconds=_CHILD_SECONDS, files=draft.files,
            )  # fmt: skip
        except BaseException:
            # Not here, beside what else is done with the store.
            self._worker.run(draft.drop, lambda _: None)
            raise


def make_snapshotter(
    store: SnapshotStore, worker: Worker, children: Children, fork_bytes: int
) -> Snapshotter:
    """Return the kind that suits the platform."""
    if hasattr(os, "fork"):
        return ForkSnapshotter(store, worker, children, fork_bytes)
    return InlineSnapshotter(store, worker)
