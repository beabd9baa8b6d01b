"""A node's status as metrics, in Prometheus's text format 0.0.4. Pure.

Each node tells of itself; a leader also tells how far the others are. So a server that scrapes all
members sees the whole cluster. The names below are what dashboards rely on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from ..raft.core import Role
from ..status import Status

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX: Final = "syncstructs_"
_ROLES: Final = tuple(role.value for role in Role)

Labels = Mapping[str, str]


class _Family(NamedTuple):
    """One metric with all its samples."""

    name: str
    kind: str
    """'counter', 'gauge' or 'summary'."""
    about: str
    samples: Iterable[tuple[str, Labels, float]]
    """What follows the name, the labels, and the value."""


def render(status: Status) -> str:
    """Return the metrics of a node as text, one line for each sample."""
    return "".join(line + "\n" for family in _families(status) for line in _lines(family))


def _lines(family: _Family) -> Iterator[str]:
    name = _PREFIX + family.name
    about = family.about.replace("\\", r"\\").replace("\n", r"\n")
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {family.kind}"
    for suffix, labels, value in family.samples:
        yield f"{name}{suffix}{_labels(labels)} {_number(value)}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _one(name: str, kind: str, about: str, value: float) -> _Family:
    return _Family(name, kind, about, [("", {}, value)])


def _families(status: Status) -> Iterator[_Family]:
    yield from _about_the_node(status)
    yield from _about_the_log(status)
    yield from _about_the_disk(status)
    yield from _about_the_peers(status)


def _about_the_node(status: Status) -> Iterator[_Family]:
    about = {
        "address": status["address"],
        "cluster": status["cluster"],
        "release": status["release"],
        "protocol": str(status["protocol"]),
    }
    yield _Family("info", "gauge", "Always 1; what the node is.", [("", about, 1)])
    yield _one(
        "failed", "gauge", "1 if the node has stopped, closed ones too.",
        status["failure"] is not None,
    )  # fmt: skip
    # A node that has stopped has none, whatever it was.
    told = status["role"]
    present = None if status["failure"] is not None else told
    yield _Family(
        "role", "gauge", "1 for the role that the node has in its term.",
        [("", {"role": role}, role == present) for role in dict.fromkeys((*_ROLES, told))],
    )  # fmt: skip
    yield _one("is_leader", "gauge", "1 on the node that thinks that it leads.",
               present == "leader")  # fmt: skip
    yield _one("has_leader", "gauge", "1 if the node knows a leader.", status["leader"] is not None)
    yield _one("term", "gauge", "The node's term; each election raises it.", status["term"])
    yield _one(
        "recovering", "gauge", "1 if it came back empty and does not count yet.",
        status["recovering"],
    )  # fmt: skip
    membership = status["membership"]
    kinds = ("voter", membership["voters"]), ("learner", membership["learners"])
    yield _Family(
        "members", "gauge", "Members by kind; outgoing ones only while members change.",
        [
            ("", {"kind": kind}, len(members))
            for kind, members in (*kinds, ("outgoing", membership["outgoing"]))
        ],
    )  # fmt: skip
    yield _one("links", "gauge", "Other members to which there is a link.",
               len(status["connected"]))  # fmt: skip
    yield _one("pending_calls", "gauge", "Calls of this node that have not ended.",
               status["pending_calls"])  # fmt: skip
    yield _one("version", "gauge", "Version of replicated methods that is in force.",
               status["version"])  # fmt: skip
    objects = status["objects"]
    types = Counter(one["type"] for one in objects.values() if not one.get("detached"))
    yield _Family(
        "objects", "gauge", "Objects that are attached here, by class.",
        [("", {"type": kind}, count) for kind, count in sorted(types.items())],
    )  # fmt: skip
    yield _one(
        "objects_bytes", "gauge",
        "Size of the states of all objects as of their last comparison, as far as told here.",
        sum(one.get("size_bytes", 0) for one in objects.values()),
    )  # fmt: skip
    differing = {name: one["diverged"] for name, one in objects.items() if "diverged" in one}
    yield _one(
        "objects_diverged", "gauge",
        "Objects of which the members were found to have different states.",
        len(differing),
    )  # fmt: skip
    yield _Family(
        "object_diverged", "gauge", "1 for each such object, and each member that differs.",
        [
            ("", {"object": name, "member": member}, 1)
            for name, found in sorted(differing.items())
            for member in found["members"]
        ],
    )  # fmt: skip


def _about_the_log(status: Status) -> Iterator[_Family]:
    yield _one("commit_index", "gauge", "Last entry that is known to be committed.",
               status["commit_index"])  # fmt: skip
    yield _one("applied_index", "gauge", "Last entry that is applied.", status["applied_index"])
    yield _one("log_last_index", "gauge", "Last entry of the log.", status["log_last_index"])
    yield _one("log_persisted_index", "gauge", "Last entry that is synced here.",
               status["log_persisted_index"])  # fmt: skip
    yield _one("log_entries", "gauge", "Entries that are kept.", status["log_entries"])
    yield _one("log_bytes", "gauge", "Size of the entries that are kept.", status["log_bytes"])
    yield _one("snapshot_index", "gauge", "Last entry in the newest snapshot, 0 without one.",
               status["snapshot_index"])  # fmt: skip
    yield _one("snapshot_bytes", "gauge", "Size of the newest snapshot.", status["snapshot_bytes"])
    receiving = status["receiving"]
    yield _one("receiving_offset_bytes", "gauge",
               "Stored bytes of a snapshot that is coming in.",
               0 if receiving is None else receiving["offset"])  # fmt: skip
    yield _one("receiving_size_bytes", "gauge",
               "Size of a snapshot that is coming in, 0 if there is none.",
               0 if receiving is None else receiving["size_bytes"])  # fmt: skip
    yield _one("applied_commands_total", "counter",
               "Commands applied in the life of the cluster.",
               status["applied_commands"])  # fmt: skip
    yield _one("applied_bytes_total", "counter",
               "Bytes of the entries applied since the node was made.",
               status["applied_bytes"])  # fmt: skip
    yield _one("cluster_time_seconds", "gauge", "Cluster time of the last applied entry.",
               status["cluster_time"])  # fmt: skip


def _about_the_disk(status: Status) -> Iterator[_Family]:
    disk = status["disk"]
    if disk is None:
        return
    yield _Family(
        "log_append_seconds", "summary", "Writes of the log to disk, the sync included.",
        [("_sum", {}, disk["append_time"]), ("_count", {}, disk["append_count"])],
    )  # fmt: skip
    yield _one("log_append_recent_seconds", "gauge",
               "Average of the most recent writes, the newest weighing most.",
               disk["append_time_recent"])  # fmt: skip
    yield _one("log_append_max_seconds", "gauge", "The slowest write since the node was made.",
               disk["append_time_max"])  # fmt: skip


def _about_the_peers(status: Status) -> Iterator[_Family]:
    peers = [({"peer": address}, peer) for address, peer in status["peers"].items()]
    if not peers:
        return

    def family(name: str, about: str, values: Iterable[float]) -> _Family:
        labels = (label for label, _ in peers)
        return _Family(
            name, "gauge", about,
            [("", label, value) for label, value in zip(labels, values, strict=True)],
        )  # fmt: skip

    every = [peer for _, peer in peers]
    yield family("peer_match_index", "Up to here the leader knows the peer's log as persisted.",
                 [peer["match_index"] for peer in every])  # fmt: skip
    yield family("peer_lag_entries", "Entries that the peer has not acknowledged to the leader.",
                 [peer["lag_entries"] for peer in every])  # fmt: skip
    yield family("peer_in_flight_bytes", "Entries sent to the peer and not acknowledged.",
                 [peer["in_flight_bytes"] for peer in every])  # fmt: skip
    yield family("peer_silent_seconds", "How long ago the leader last heard the peer.",
                 [peer["silent"] for peer in every])  # fmt: skip
    yield family("peer_counts", "1 if the peer counts in quorums.",
                 [peer["counts"] for peer in every])  # fmt: skip
    yield family("peer_snapshot_offset_bytes", "How much of a snapshot the peer has acknowledged.",
                 [peer["snapshot_offset"] for peer in every])  # fmt: skip
    yield family("peer_snapshot_size_bytes", "Size of that snapshot, 0 if it is sent none.",
                 [peer["snapshot_bytes"] for peer in every])  # fmt: skip
