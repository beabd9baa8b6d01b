"""A member process with a PySyncObj node.

PySyncObj is called in the way that suits it best: each success callback starts the next call, in
its own thread, so that no thread is woken per call. Its settings are the defaults but for what the
configuration says: `appendEntriesUseBatch` is the only choice made (periods of a millisecond in
place of its defaults fall between the two), and with `data_dir` a journal and a dump.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from our_loads import state
from peering import Peer, main
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplDict

from syncstructs.cli.bench_load import (
    BULK_WINDOW,
    Chains,
    Ended,
    bulk_entries,
    in_bulk,
    longest_gap,
    write_blocking,
)
from syncstructs.cli.channel import Setup

GAP_CALL_TIMEOUT = 0.3
"""A call that hangs must not hide that the next one would succeed."""


class PySyncObj(Peer):
    """The node and its one dict."""

    def __init__(self, setup: Setup) -> None:
        self.address = setup.address
        self._cells = ReplDict()
        config = dict(setup.config)
        if (data_dir := config.pop("data_dir", None)) is not None:
            Path(data_dir).mkdir(parents=True, exist_ok=True)
            config |= {"journalFile": f"{data_dir}/journal", "fullDumpFile": f"{data_dir}/dump"}
        conf = SyncObjConf(**config)
        self._node = SyncObj(setup.address, setup.peers, conf=conf, consumers=[self._cells])

    def status(self) -> dict[str, Any]:
        leader = self._node._getLeader()
        return {
            "address": self.address,
            "leader": None if leader is None else leader.address,
            "term": self._node.getStatus()["raft_term"],
        }

    def wait_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._node.isReady():
            if time.monotonic() > deadline:
                raise TimeoutError("not ready")
            time.sleep(0.01)

    def run_WriteLoad(  # noqa: N802
        self, *, seconds: float, warmup: float, window: int, value_bytes: int, blocking: bool
    ) -> Any:
        if blocking:
            return write_blocking(
                lambda key, value: self._cells.set(key, value, sync=True, timeout=10.0),
                seconds=seconds, warmup=warmup, value_bytes=value_bytes,
            )  # fmt: skip
        chains = Chains(
            lambda key, value, callback: self._cells.set(key, value, callback=callback),
            window=window, value_bytes=value_bytes, adapt=of_callback,
        )  # fmt: skip
        return chains.run(seconds=seconds, warmup=warmup)

    def run_UpdateLoad(self, *, seconds: float, warmup: float) -> Any:  # noqa: N802
        entries = bulk_entries()
        chains = Chains(
            lambda key, value, callback: self._cells.update(next(entries), callback=callback),
            window=BULK_WINDOW, value_bytes=10, adapt=of_callback,
        )  # fmt: skip
        return in_bulk(chains.run(seconds=seconds, warmup=warmup))

    def run_Fill(self, *, entry_count: int) -> None:  # noqa: N802
        for piece in state(entry_count):
            self._cells.update(piece, sync=True, timeout=60.0)

    def run_GapLoad(self, *, seconds: float) -> Any:  # noqa: N802
        return longest_gap(
            lambda key, value: self._cells.set(key, value, sync=True, timeout=GAP_CALL_TIMEOUT),
            seconds,
        )


def of_callback(ended: Ended) -> Callable[[object, int], None]:
    """Return what PySyncObj calls with (result, error) at the end; 0 is its SUCCESS."""
    return lambda _, error: ended(error or None)


if __name__ == "__main__":
    main(PySyncObj, __doc__)
