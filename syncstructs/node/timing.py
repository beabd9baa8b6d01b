"""How long the disk takes to make a log durable, measured where it is waited for."""

import time
from collections.abc import Sequence

from ..raft.effects import Append
from ..raft.messages import Restored, SnapshotMeta
from ..status import DiskStatus
from ..storage.base import LogStore

# Weight of the newest write in the average of recent ones.
_NEWEST = 1 / 16


class TimedLog:
    """A `LogStore` that is another one, and knows how long its appends took.

    One thread appends at a time; any may ask. Costs two looks at a clock for each write and sync.
    """

    def __init__(self, log: LogStore) -> None:
        self.blocking = log.blocking
        self._log = log
        self._status: DiskStatus = {
            "append_count": 0,
            "append_time": 0.0,
            "append_time_last": 0.0,
            "append_time_recent": 0.0,
            "append_time_max": 0.0,
        }

    def status(self) -> DiskStatus:
        """Return the figures of all appends that have returned."""
        # Replaced as a whole, so that they fit together.
        return self._status

    def load(self, snapshot: SnapshotMeta | None) -> Restored:
        """Return what was persisted; see `LogStore`."""
        return self._log.load(snapshot)

    def append(self, appends: Sequence[Append]) -> None:
        """Persist all of `appends`; see `LogStore`."""
        began = time.perf_counter()
        self._log.append(appends)
        self._note(time.perf_counter() - began)

    def compact(self, index: int) -> None:
        """Forget entries up to `index`; see `LogStore`."""
        self._log.compact(index)

    def close(self) -> None:
        """Release files and locks."""
        self._log.close()

    def _note(self, seconds: float) -> None:
        before = self._status
        recent = before["append_time_recent"]
        weight = _NEWEST if before["append_count"] else 1.0
        self._status = {
            "append_count": before["append_count"] + 1,
            "append_time": before["append_time"] + seconds,
            "append_time_last": seconds,
            "append_time_recent": recent + (seconds - recent) * weight,
            "append_time_max": max(before["append_time_max"], seconds),
        }
