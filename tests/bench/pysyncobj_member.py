"""A member process with a PySyncObj node, driven over the same channel as a member of ours.

PySyncObj is called in the way that suits it best: each success callback starts the next call, in
its own thread, so that no thread is woken per call.
"""

import os
import sys
import time
from collections.abc import Callable
from typing import Any

from failover import longest_gap
from pysyncobj import SyncObj, SyncObjConf
from pysyncobj.batteries import ReplDict

from syncstructs.cli.bench_load import Chains, Ended, write_blocking
from syncstructs.cli.channel import Channel, Setup, describe, leave, open_channel


class Peer:
    """The node, its one dict, and the requests that the benchmark makes."""

    def __init__(self, setup: Setup) -> None:
        self.address = setup.address
        self._cells = ReplDict()
        # Defaults but for what `setup.config` says: appendEntriesUseBatch is the only choice made.
        conf = SyncObjConf(**setup.config)
        self._node = SyncObj(setup.address, setup.peers, conf=conf, consumers=[self._cells])

    def do(self, line: dict[str, Any]) -> Any:
        if line["do"] == "status":
            leader = self._node._getLeader()
            return {
                "address": self.address,
                "leader": None if leader is None else leader.address,
                "term": self._node.getStatus()["raft_term"],
            }
        if line["do"] == "wait_ready":
            return self._wait_ready(line["timeout"])
        if line["do"] == "usage":
            times = os.times()
            return times.user + times.system
        if line["do"] == "run":
            return self._run(**line["options"])
        raise ValueError(f"unknown request {line['do']}")

    def _wait_ready(self, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not self._node.isReady():
            if time.monotonic() > deadline:
                raise TimeoutError("not ready")
            time.sleep(0.02)

    def _run(
        self,
        *,
        seconds: float,
        warmup: float | None = None,
        window: int = 1,
        value_bytes: int = 10,
        blocking: bool = True,
    ) -> Any:
        if warmup is None:
            # A call that hangs must not hide that the next one would succeed.
            return longest_gap(
                lambda key, value: self._cells.set(key, value, sync=True, timeout=0.3), seconds
            )
        if blocking:
            return write_blocking(
                lambda key, value: self._cells.set(key, value, sync=True, timeout=10.0),
                seconds=seconds,
                warmup=warmup,
                value_bytes=value_bytes,
            )
        chains = Chains(
            lambda key, value, callback: self._cells.set(key, value, callback=callback),
            window=window, value_bytes=value_bytes, adapt=of_callback,
        )  # fmt: skip
        return chains.run(seconds=seconds, warmup=warmup)


def of_callback(ended: Ended) -> Callable[[object, int], None]:
    """Return what PySyncObj calls with (result, error) at the end; 0 is its SUCCESS."""
    return lambda _, error: ended(error or None)


def serve(channel: Channel) -> None:
    first = channel.receive()
    if first is None:
        return
    peer = Peer(Setup(**first))
    while (line := channel.receive()) is not None and line["do"] != "close":
        try:
            channel.send({"id": line["id"], "value": peer.do(line)})
        except Exception as error:
            channel.send({"id": line["id"], "error": describe(error)})


if __name__ == "__main__":
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(__doc__)
    else:
        serve(open_channel())
        leave(0)
