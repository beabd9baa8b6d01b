"""A member process: one node and its objects, told what to do over stdin, answering on stdout.

Started as `python -m syncstructs.cli.member` by `processes`; the first line is the `Setup`. The
process ends when its stdin does, so it never outlives whoever started it, however that one died.

Requests (`do`): `status`, `wait_ready`, `barrier`, `call` a method of an object, `state` of an
object, `usage` of the CPU, `start` a load, `stop` it, `run` a load to its end, `close`.
"""

import faulthandler
import importlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from ..config import Tls
from ..node.node import Node
from ..objects.replicated import Replicated
from .channel import Channel, Line, Setup, describe, leave, open_channel, stacks_signal

CLOSE_TIMEOUT = 5.0
"""Seconds that an orderly end may take before the process ends anyway."""

Emit = Callable[[Line], None]


class Load(Protocol):
    """Work that a member does by itself until told to stop; named as 'module:class'."""

    def __init__(self, node: Node, objects: dict[str, Any], emit: Emit, **options: Any) -> None: ...

    def run(self) -> Any:
        """Do the work, in a thread of its own, and return what is to be reported."""

    def stop(self) -> None:
        """Make `run` return soon; called from another thread."""


class Member:
    """The node of this process, its objects and at most one load, behind a channel."""

    def __init__(self, setup: Setup, channel: Channel) -> None:
        self._channel = channel
        self._objects: dict[str, Replicated] = {
            name: resolve(spec)(*arguments) for name, (spec, arguments) in setup.objects.items()
        }
        config = dict(setup.config)
        if config.get("tls") is not None:
            config["tls"] = Tls(**config["tls"])
        self._node = Node(setup.address, setup.peers, consumers=self._objects, **config)
        self._load: Load | None = None
        self._load_thread: threading.Thread | None = None
        # Requests may wait long (a lock, a barrier), and the status is wanted meanwhile.
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="request")

    def serve(self) -> None:
        """Answer requests until the other end is gone or asks to close."""
        while (line := self._channel.receive()) is not None:
            if line["do"] == "close":
                break
            if line["do"] == "status":
                self._answer(line)
            else:
                self._pool.submit(self._answer, line)

    def close(self) -> None:
        """Stop the load and the node; end the process if that takes longer than it should."""
        deadline = threading.Timer(CLOSE_TIMEOUT, leave, (1,))
        deadline.daemon = True
        deadline.start()
        if self._load is not None:
            self._load.stop()
        self._node.close()

    def _answer(self, line: Line) -> None:
        try:
            answer: Line = {"id": line["id"], "value": self._do(line)}
        except Exception as error:
            answer = {"id": line["id"], "error": describe(error)}
        self._channel.send(answer)

    def _do(self, line: Line) -> Any:
        options = {key: value for key, value in line.items() if key not in ("id", "do")}
        action: Callable[..., Any] = getattr(self, f"_do_{line['do']}")
        return action(**options)

    def _do_status(self, digests: bool = False) -> Any:
        return self._node.status(digests=digests)

    def _do_wait_ready(self, timeout: float) -> None:
        self._node.wait_ready(timeout)

    def _do_barrier(self, timeout: float) -> None:
        self._node.barrier(timeout)

    def _do_call(
        self, name: str, method: str, args: list[Any], kwargs: dict[str, Any] | None = None
    ) -> Any:
        return getattr(self._objects[name], method)(*args, **(kwargs or {}))

    def _do_state(self, name: str) -> Any:
        with self._node.reading():
            return self._objects[name].snapshot_state()

    def _do_usage(self) -> float:
        # The clock of the process is finer than `os.times`, which knows of the children, too.
        times = os.times()
        return time.process_time() + times.children_user + times.children_system

    def _do_start(self, load: str, options: dict[str, Any]) -> None:
        self._prepare(load, options)
        assert self._load is not None
        self._load_thread = threading.Thread(target=self._run_load, name="load", daemon=True)
        self._load_thread.start()

    def _do_run(self, load: str, options: dict[str, Any]) -> Any:
        return self._prepare(load, options).run()

    def _do_stop(self, timeout: float) -> bool:
        if self._load is None or self._load_thread is None:
            return True
        self._load.stop()
        self._load_thread.join(timeout)
        return not self._load_thread.is_alive()

    def _prepare(self, load: str, options: dict[str, Any]) -> Load:
        if self._load_thread is not None and self._load_thread.is_alive():
            raise RuntimeError("a load is under way already; stop it first")
        made: Load = resolve(load)(self._node, self._objects, self._channel.send, **options)
        self._load = made
        return made

    def _run_load(self) -> None:
        assert self._load is not None
        try:
            self._load.run()
        except Exception as error:
            self._channel.send({"event": "load failed", **describe(error)})
            logging.getLogger(__name__).exception("the load failed")


def resolve(spec: str) -> Any:
    """Return what `'module:name'` names."""
    module, _, name = spec.partition(":")
    return getattr(importlib.import_module(module), name)


def main() -> None:
    """Be a member until told to close, or until whoever started us is gone."""
    logging.basicConfig(
        level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s"
    )
    if sys.platform != "win32":
        faulthandler.register(stacks_signal())
    channel = open_channel()
    first = channel.receive()
    if first is None:
        return
    try:
        member = Member(Setup(**first), channel)
        channel.send({"event": "started"})
        member.serve()
        member.close()
    except Exception as error:
        logging.getLogger(__name__).exception("the member failed")
        with suppress(OSError):
            channel.send({"event": "failed", **describe(error)})
        leave(1)
    leave(0)


if __name__ == "__main__":
    main()
