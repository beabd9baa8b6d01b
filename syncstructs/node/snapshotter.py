"""Taking a snapshot of this replica: here if the state is small, in a forked child if not."""

import os
import threading
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import StorageError
from ..raft.messages import SnapshotMeta
from ..replica import SnapshotPoint
from ..storage.base import SnapshotStore
from .forks import fork_child
from .ports import Worker

Then = Callable[[SnapshotMeta | BaseException], Any]


class InlineSnapshotter:
    """Encode the state in the driver's thread, and write it in the worker's."""

    def __init__(self, store: SnapshotStore, worker: Worker) -> None:
        self._store = store
        self._worker = worker

    def take(
        self, point: SnapshotPoint, image: Callable[[], bytes], then: Then
    ) -> None:
        """Persist the state; see `Snapshotter`.

        Raises:
            Unserializable: a value in the state has no encoding.
        """
        encoded = image()
        self._worker.run(lambda: _save(self._store, point, encoded), then)


class ForkingStore(SnapshotStore, Protocol):
    """A store whose snapshots may be written by a child process."""

    def rescan(self) -> SnapshotMeta | None:
        """Return the newest whole snapshot after looking at the directory again."""


class ForkSnapshotter:
    """Fork when the state is large: the child writes it as it was, the node goes on.

    The child does nothing but encode, write and exit; it touches no lock of another thread.
    """

    def __init__(self, store: ForkingStore, worker: Worker, fork_bytes: int) -> None:
        self._inline = InlineSnapshotter(store, worker)
        self._store = store
        self._worker = worker
        self._fork_bytes = fork_bytes

    def take(
        self, point: SnapshotPoint, image: Callable[[], bytes], then: Then
    ) -> None:
        """Persist the state; see `Snapshotter`."""
        latest = self._store.latest()
        if latest is None or latest.size_bytes < self._fork_bytes:
            self._inline.take(point, image, then)
            return
        child = fork_child(lambda: _save(self._store, point, image()))
        threading.Thread(
            target=self._await,
            args=(child, point, then),
            name="syncstructs-snapshot-child",
            daemon=True,
        ).start()

    def _await(self, child: int, point: SnapshotPoint, then: Then) -> None:
        try:
            _, status = os.waitpid(child, 0)
        except ChildProcessError:
            status = 0  # somebody in this process reaped it; the directory tells how it went

        def look() -> SnapshotMeta:
            found = self._store.rescan()
            if status != 0 or found is None or found.index < point.index:
                raise StorageError(f"the child that wrote the snapshot failed (status {status})")
            return found

        self._worker.run(look, then)


def _save(store: SnapshotStore, point: SnapshotPoint, image: bytes) -> SnapshotMeta:
    return store.save(point.index, point.term, point.time, point.membership, image)


def make_snapshotter(
    store: SnapshotStore, worker: Worker, fork_bytes: int
) -> InlineSnapshotter | ForkSnapshotter:
    """Return the kind that suits the store and the platform."""
    if store.blocking and hasattr(os, "fork") and hasattr(store, "rescan"):
        return ForkSnapshotter(store, worker, fork_bytes)  # type: ignore[arg-type]
    return InlineSnapshotter(store, worker)
