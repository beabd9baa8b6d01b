"""A member process of another library, driven over the same channel as a member of ours."""

import sys
import time
from collections.abc import Callable
from typing import Any

from syncstructs.cli.channel import Channel, Setup, describe, leave, open_channel


class Peer:
    """The requests that the benchmark makes; each load `x:Name` is a method `run_Name`."""

    def do(self, line: dict[str, Any]) -> Any:
        """Do what a line asks for, and return the answer."""
        if line["do"] == "status":
            return self.status()
        if line["do"] == "wait_ready":
            return self.wait_ready(line["timeout"])
        if line["do"] == "usage":
            return time.process_time()
        if line["do"] == "run":
            name = line["load"].rpartition(":")[2]
            load: Callable[..., Any] = getattr(self, f"run_{name}")
            return load(**line["options"])
        raise ValueError(f"unknown request {line['do']}")

    def status(self) -> dict[str, Any]:
        """Return `address`, `leader` and `term`."""
        raise NotImplementedError

    def wait_ready(self, timeout: float) -> None:
        """Return when calls are taken."""
        raise NotImplementedError


def main(make: Callable[[Setup], Peer], doc: str | None) -> None:
    """Be a member until told to close, or until whoever started us is gone."""
    if sys.argv[1:] in (["--help"], ["-h"]):
        print(doc)
        return
    channel: Channel = open_channel()
    first = channel.receive()
    if first is not None:
        peer = make(Setup(**first))
        while (line := channel.receive()) is not None and line["do"] != "close":
            try:
                channel.send({"id": line["id"], "value": peer.do(line)})
            except Exception as error:
                channel.send({"id": line["id"], "error": describe(error)})
    leave(0)
