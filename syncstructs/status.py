"""A typed, read-only picture of a node, for people and programs that look at it.

All of it is what this one node knows at one moment: the figures of others are as old as their last
answer to the leader. It is plain data, so that it goes through JSON and back unchanged.
"""

from collections.abc import Iterable
from typing import NotRequired, TypedDict, TypeVar

from .net.hello import PROTOCOL_VERSION
from .objects.image import state_pieces
from .objects.outbox import HasCommand
from .objects.replicated import type_name
from .raft.progress import PeerView
from .replica import Replica
from .version import VERSION

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
    detached: NotRequired[bool]
    """Only there, and true, if it is not attached here; such objects are told of if they differ."""
    digest: NotRequired[str]
    """Hex digest of its state; equal on all members that have applied the same index."""
    diverged: NotRequired[Difference]
    """Only there if members differ (see `Config.digest_interval`), and then on all of them."""
    size_bytes: NotRequired[int]
    """Size of its state as a snapshot would hold it; in memory it takes some times as much. As of
    when it was compared last (see `Config.digest_interval`), and lacking before that; as of now if
    sizes were asked for."""


class MembershipStatus(TypedDict):
    """Who the members are as this node's log has it, committed or not. Each list is sorted."""

    voters: list[str]
    learners: list[str]
    """Those who are filled with what the others have, before they have a vote."""
    outgoing: list[str]
    """The voters before, while their majority is needed too (joint consensus); else empty."""
    is_joint: bool


class PeerStatus(TypedDict):
    """Another member or an observer, as the leader sees it."""

    mode: str
    """'probe': it is being found out what it has; 'replicate'; or 'snapshot': it lacks so much
    that it is sent one."""
    match_index: int
    """Up to here its log is known to be persisted there, and equal."""
    lag_entries: int
    """How many entries of the leader's log are beyond that; all, if it has not answered this leader
    yet (`match_index` is 0 then)."""
    in_flight_bytes: int
    """Entries that were sent to it and not acknowledged yet."""
    snapshot_offset: int
    """How much of the snapshot it has acknowledged; 0 if it is sent none."""
    snapshot_bytes: int
    """Size of that snapshot, 0 if it is sent none."""
    silent: float
    """Seconds since it last answered in this term; since the election, if it has not."""
    counts: bool
    """Whether what it acknowledges counts, if it has a vote: of one that came back empty it does
    not before it has all, and of an observer never."""


class TransferStatus(TypedDict):
    """A snapshot that this node is being sent."""

    index: int
    offset: int
    """Bytes that are stored here."""
    size_bytes: int


class DiskStatus(TypedDict):
    """How long the log's disk takes: a write and its sync together. Times are seconds."""

    append_count: int
    """Writes since the node was made; each takes all entries that have gathered meanwhile."""
    append_time: float
    """Time of all of them together."""
    append_time_last: float
    append_time_recent: float
    """Average in which the newest count most: one of 16 writes ago counts about a third."""
    append_time_max: float


class Status(TypedDict):
    """What a node knows of itself. Indexes count log entries, sizes are bytes, times seconds."""

    address: str
    cluster: str
    release: str
    """The release of this library that the node runs."""
    protocol: int
    """The version of the protocol that it speaks with the others."""
    role: str
    """'follower', 'pre-candidate', 'candidate', 'leader' or 'observer'."""
    term: int
    leader: str | None
    recovering: bool
    """Whether it came back empty, and neither votes nor counts before it has all again."""
    members: list[str]
    """All of them, sorted: those in `membership`."""
    membership: MembershipStatus
    connected: list[str]
    """The other members to which there is a link now."""
    commit_index: int
    applied_index: int
    version: int
    """The version of replicated methods that is in force; see `Node.set_version`."""
    log_entries: int
    """Entries that are kept; they end at `log_last_index`."""
    log_bytes: int
    log_last_index: int
    log_persisted_index: int
    """What is beyond this is not synced to this node's disk yet."""
    snapshot_index: int
    """What the newest snapshot here reaches to; 0 if there is none."""
    snapshot_bytes: int
    receiving: TransferStatus | None
    session: int
    pending_calls: int
    cluster_time: float
    """Seconds of cluster time at `applied_index`."""
    applied_commands: int
    """Commands applied in the life of the cluster; like the indexes, it never goes back while the
    node lives, so that two pictures give a rate."""
    applied_bytes: int
    """Bytes of the entries that were applied since this node was made."""
    peers: dict[str, PeerStatus]
    """On a leader, the others that it speaks to: members, for a while former ones, and observers.
    On all other nodes empty."""
    disk: DiskStatus | None
    """None if the log is in memory."""
    objects: dict[str, ObjectStatus]
    """Those that are attached here, by name, and those that are not the same on all members;
    another node is told of a thousand only, of the latter first."""
    object_count: int
    failure: str | None
    """Why the node has stopped, or None."""


def describe(
    replica: Replica[C],
    *,
    connected: Iterable[str],
    pending_calls: int,
    failure: BaseException | None,
    disk: DiskStatus | None,
    now: float,
    digests: bool,
    sizes: bool,
) -> Status:
    """Return the picture; the caller keeps the replica from applying meanwhile.

    Raises:
        Unserializable: `digests` or `sizes` was asked for, and a state has no encoding.
    """
    core = replica.core
    membership, receiving = core.membership, core.receiving
    return {
        "address": replica.address,
        "cluster": replica.config.cluster,
        "release": VERSION,
        "protocol": PROTOCOL_VERSION,
        "role": "observer" if core.observes else core.role.value,
        "term": core.term,
        "leader": core.leader,
        "recovering": core.is_recovering,
        "members": list(membership.members),
        "membership": {
            "voters": list(membership.voters),
            "learners": list(membership.learners),
            "outgoing": list(membership.outgoing),
            "is_joint": membership.is_joint,
        },
        "connected": sorted(connected),
        "commit_index": core.commit_index,
        "applied_index": replica.table.applied_index,
        "version": replica.table.versions.in_force,
        "log_entries": core.log.last_index - core.log.base.index,
        "log_bytes": core.log.size_bytes,
        "log_last_index": core.log.last_index,
        "log_persisted_index": core.log.persisted_index,
        "snapshot_index": replica.snapshot_index,
        "snapshot_bytes": replica.snapshot_bytes,
        "receiving": None
        if receiving is None
        else {
            "index": receiving[0].index,
            "offset": receiving[1],
            "size_bytes": receiving[0].size_bytes,
        },
        "session": replica.outbox.session,
        "pending_calls": pending_calls,
        "cluster_time": replica.table.time / 1_000_000,
        "applied_commands": replica.table.serial,
        "applied_bytes": replica.applied_bytes,
        "peers": {
            peer: _describe_peer(view, core.log.last_index, now)
            for peer, view in sorted(core.peer_views().items())
        },
        "disk": disk,
        "objects": _describe_objects(replica, digests=digests, sizes=sizes),
        "object_count": len(replica.table.objects),
        "failure": None if failure is None else str(failure),
    }


def _describe_peer(view: PeerView, last_index: int, now: float) -> PeerStatus:
    return {
        "mode": view.mode.name.lower(),
        "match_index": view.match_index,
        "lag_entries": max(0, last_index - view.match_index),
        "in_flight_bytes": view.in_flight_bytes,
        "snapshot_offset": view.snapshot_offset,
        "snapshot_bytes": view.snapshot_bytes,
        "silent": max(0.0, now - view.heard),
        "counts": view.counts,
    }


def _describe_objects(
    replica: Replica[C], *, digests: bool, sizes: bool
) -> dict[str, ObjectStatus]:
    found = replica.table.digests() if digests else {}
    objects: dict[str, ObjectStatus] = {}
    known = replica.table.sizes
    for name, target in replica.table.objects.items():
        objects[name] = {"type": type_name(type(target))}
        if name in found:
            objects[name]["digest"] = found[name]
        if sizes:
            objects[name]["size_bytes"] = sum(map(len, state_pieces(name, target)))
        elif name in known:
            objects[name]["size_bytes"] = known[name]
    for name, type_, divergence in replica.table.divergences:
        # It need not be attached here.
        objects.setdefault(name, {"type": type_, "detached": True})["diverged"] = {
            "index": divergence.index,
            "members": list(divergence.members),
        }
    return objects
