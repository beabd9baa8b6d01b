"""A typed, read-only picture of a node, for people and programs that look at it."""

from collections.abc import Iterable
from typing import NotRequired, TypedDict, TypeVar

from .objects.outbox import HasCommand
from .objects.replicated import type_name
from .replica import Replica

C = TypeVar("C", bound=HasCommand)


class Difference(TypedDict):
    """That an object is not the same on all members."""

    index: int
    """Where in the log that was found."""
    members: list[str]
    """Who has another state than most; all who were compared, if no state is that of most."""


class ObjectStatus(TypedDict):
    """One object, as this node has it."""

    type: str
    digest: NotRequired[str]
    """Hex digest of its state; equal on all members that have applied the same index."""
    diverged: NotRequired[Difference]
    """Only there if members differ (see `Config.digest_interval`), and then on all of them."""


class Status(TypedDict):
    """What a node knows of itself. Indexes count log entries, sizes are bytes."""

    address: str
    role: str
    term: int
    leader: str | None
    members: list[str]
    connected: list[str]
    """The other members to which there is a link now."""
    commit_index: int
    applied_index: int
    version: int
    """The version of replicated methods that is in force; see `Node.set_version`."""
    log_entries: int
    log_bytes: int
    snapshot_index: int
    session: int
    pending_calls: int
    cluster_time: float
    """Seconds of cluster time at `applied_index`."""
    objects: dict[str, ObjectStatus]
    failure: str | None
    """Why the node has stopped, or None."""


def describe(
    replica: Replica[C],
    *,
    connected: Iterable[str],
    pending_calls: int,
    failure: BaseException | None,
    digests: bool,
) -> Status:
    """Return the picture; the caller keeps the replica from applying meanwhile."""
    core = replica.core
    found = replica.table.digests() if digests else {}
    objects: dict[str, ObjectStatus] = {}
    for name, target in replica.table.objects.items():
        objects[name] = {"type": type_name(type(target))}
        if name in found:
            objects[name]["digest"] = found[name]
    for name, type_, divergence in replica.table.divergences:
        # It need not be attached here.
        objects.setdefault(name, {"type": type_})["diverged"] = {
            "index": divergence.index,
            "members": list(divergence.members),
        }
    return {
        "address": replica.address,
        "role": "observer" if core.observes else core.role.name.lower().replace("_", "-"),
        "term": core.term,
        "leader": core.leader,
        "members": sorted(core.members),
        "connected": sorted(connected),
        "commit_index": core.commit_index,
        "applied_index": replica.table.applied_index,
        "version": replica.table.versions.in_force,
        "log_entries": core.log.last_index - core.log.base.index,
        "log_bytes": core.log.size_bytes,
        "snapshot_index": replica.snapshot_index,
        "session": replica.outbox.session,
        "pending_calls": pending_calls,
        "cluster_time": replica.table.time / 1_000_000,
        "objects": objects,
        "failure": None if failure is None else str(failure),
    }
