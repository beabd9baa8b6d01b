"""What can be asked of a node from outside, as a table: each verb is one of its own operations."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from ..errors import ConfigError, Timeout
from ..objects.port import Steps
from ..status import Status
from .engine import Engine
from .inquiries import Arguments, Verb
from .members import change_members, transfer_leadership
from .versions import set_version

OBJECT_COUNT: Final = 1000
"""Objects that a status which leaves the process names; their number is told in any case."""
_LOOK_TIMEOUT: Final = 1.0


def verbs_of(engine: Engine) -> Mapping[str, Verb]:
    """Return what can be asked of this node."""
    return {
        "status": lambda a: _status(engine),
        "cluster": lambda a: look_around(engine, min(a.timeout, _LOOK_TIMEOUT)),
        "add": lambda a: change_members(engine, added=_some(a), timeout=a.timeout),
        "remove": lambda a: change_members(engine, removed=_some(a), timeout=a.timeout),
        "set": lambda a: change_members(engine, only=_some(a), timeout=a.timeout),
        "transfer": lambda a: transfer_leadership(engine, a.to, a.timeout),
        "snapshot": lambda a: take_snapshot(engine, a.timeout),
        "set_version": lambda a: set_version(engine, a.number, a.timeout),
    }


def _some(arguments: Arguments) -> Iterable[str]:
    if not arguments.addresses:
        raise ConfigError("addresses are missing; give at least one as 'host:port'")
    return arguments.addresses


def shortened(status: Status) -> Status:
    """Return a status as it may leave the process: with so many objects only.

    Those that differ between members come before the others, then the largest, as far as known.
    """
    objects = status["objects"]
    if len(objects) > OBJECT_COUNT:

        def rank(name: str) -> tuple[bool, int, str]:
            return "diverged" not in objects[name], -objects[name].get("size_bytes", 0), name

        first = sorted(objects, key=rank)[:OBJECT_COUNT]
        status["objects"] = {name: objects[name] for name in first}
    return status


def _status(engine: Engine) -> Steps[Status]:
    # Without digests and sizes as of now: whoever has a link may ask, and those cost as much as a
    # snapshot.
    yield from ()
    return shortened(engine.status())


def look_around(engine: Engine, timeout: float) -> Steps[dict[str, Any]]:
    """Return the status of every member as it says itself; None of those that do not answer.

    They have `timeout` seconds all together. `asked` is this node, which asked them.
    """
    members = engine.replica.core.members
    asked = {
        peer: engine.inquiries.ask(peer, "status", {}) for peer in engine.links() if peer in members
    }
    deadline = engine.now() + timeout
    found: dict[str, Any] = dict.fromkeys(members)
    for peer, future in asked.items():
        in_time = yield future, max(0.0, deadline - engine.now())
        if in_time and future.exception() is None:
            found[peer] = _parsed(future.result())
        else:
            engine.inquiries.forget(future)
    found[engine.address] = shortened(engine.status())
    return {"asked": engine.address, "members": found}


def _parsed(payload: bytes) -> Any:
    try:
        said = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    return said if isinstance(said, dict) else None


def take_snapshot(engine: Engine, timeout: float | None) -> Steps[int]:
    """Take a snapshot of this node's state, and wait until it is persisted; return its index.

    Raises:
        Timeout: not done within `timeout` seconds; it goes on.
        StorageError: it cannot be written.
        Unserializable: the state of an object has a value without encoding.
        NodeClosed, NodeFailed: this node has ended meanwhile.
    """
    future = engine.take_snapshot()
    if not (yield future, timeout):
        raise Timeout(f"the snapshot is not written within {timeout} s; it goes on")
    index: int = yield future
    return index
