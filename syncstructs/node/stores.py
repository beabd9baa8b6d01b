"""The stores of a real node, and who works on them: in memory, or in `Config.data_dir`."""

import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import IO, Protocol

from ..config import Config
from ..status import DiskStatus
from ..storage.base import LogStore, SnapshotStore
from ..storage.disk import open_data_dir
from ..storage.memory import MemoryLog, MemorySnapshots, in_memory
from ..storage.snapshots import DiskSnapshots
from ..storage.wal import Wal
from .children import Children
from .ports import Worker
from .timing import TimedLog
from .workers import InlineWorker, ThreadWorker

_log = logging.getLogger("syncstructs.node")


class ClosableWorker(Worker, Protocol):
    """A worker that can be ended."""

    def close(self, timeout: float) -> None:
        """Finish what is queued, within `timeout` seconds if possible, and end."""


@dataclass(frozen=True, slots=True)
class Stores:
    """Log, snapshots, and the workers that may block on them."""

    members: tuple[str, ...]
    """The voters to begin with: those that the node was given when its stores were made."""
    joined: bool
    """They were made for a node that was to join, or is to: what is empty founds nothing."""
    log: LogStore
    snapshots: SnapshotStore
    log_worker: ClosableWorker
    snapshot_worker: ClosableWorker
    release: Callable[[], None]
    """Give the data directory free for others."""
    disk: Callable[[], DiskStatus | None] = lambda: None
    """Tell how long the log's disk takes; None if there is none, or nobody measures it."""
    children: Children = field(default_factory=lambda: Children(lambda function: None))

    def close(self, timeout: float) -> None:
        """Finish pending work within `timeout` seconds, and release files and the directory.

        What children are at is not finished.
        """
        self.children.close()
        self.log_worker.close(timeout)
        self.snapshot_worker.close(timeout)
        self.log.close()
        self.snapshots.close()
        self.release()


def open_stores(
    address: str,
    members: tuple[str, ...],
    config: Config,
    post: Callable[[Callable[[], object]], object],
) -> Stores:
    """Return the stores that `config` asks for; `post` runs a function in the driver's thread.

    Raises:
        StorageError: the data directory cannot be used; the message says why.
    """
    children = Children(post)
    if config.data_dir is None:
        inline = InlineWorker()
        return Stores(
            members,
            config.join,
            MemoryLog(),
            MemorySnapshots(partial(_image_file, config.snapshot_fork_bytes)),
            inline,
            inline,
            lambda: None,
            children=children,
        )
    directory = open_data_dir(
        config.data_dir, cluster=config.cluster, address=address, members=members,
        joined=config.join,
    )  # fmt: skip
    try:
        log = TimedLog(Wal(directory, segment_bytes=config.segment_bytes))
        snapshots = DiskSnapshots(directory)
    except BaseException:
        directory.close()
        raise
    return Stores(
        directory.identity.members or members,
        directory.identity.joined or config.join,
        log,
        snapshots,
        ThreadWorker(f"syncstructs-log-{address}", post),
        ThreadWorker(f"syncstructs-snapshots-{address}", post),
        directory.close,
        log.status,
        children,
    )


def _image_file(limit_bytes: int, size_bytes: int) -> IO[bytes]:
    """Return where a member in memory keeps an image: large ones in a file without a name.

    So there is room for a state that is as large as the memory, and a child can write it.
    """
    if size_bytes >= limit_bytes:
        try:
            return tempfile.TemporaryFile(prefix="syncstructs-")
        except OSError as error:
            _log.warning("images are kept in memory, set TMPDIR to have them in files: %s", error)
    return in_memory(size_bytes)
