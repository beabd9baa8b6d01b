"""Metrics are in the text format that Prometheus reads, and say what the status says."""

import re

import pytest

from syncstructs import ReplDict, ReplList
from syncstructs.monitor import render
from syncstructs.testing import Simulation

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.e+-]+)")


def parse(text):
    """Return the samples as {(name, labels): value}; refuse what the format does not allow."""
    assert text.endswith("\n")
    samples, kinds, helped, family = {}, {}, set(), None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name = line.split(" ", 3)[2]
            assert name not in helped, line
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family in helped, line
            assert family not in kinds, line
            assert kind in ("counter", "gauge", "summary"), line
            kinds[family] = kind
        else:
            match = SAMPLE.fullmatch(line)
            assert match, line
            suffixes = ("_sum", "_count") if kinds[family] == "summary" else ("",)
            assert match[1] in [family + suffix for suffix in suffixes], line
            assert (match[1], match[2]) not in samples, line
            samples[match[1], match[2]] = float(match[3])
    assert kinds.keys() == helped
    assert all(n.endswith("_total") == (k == "counter") for n, k in kinds.items())
    return samples


@pytest.fixture
def cluster():
    made = Simulation(3, {"users": ReplDict, "line": ReplList, "tail": ReplList})
    made.start()
    made.settle()
    users = made.objects("n1:1")["users"]
    made.await_all([users.set.submit(n, "x" * 100) for n in range(30)])
    made.run(1.0)
    yield made
    made.end()


def test_a_leader_tells_of_itself_and_of_the_others(cluster):
    leader = cluster.leader()
    status = cluster.node(leader).status()
    samples = parse(render(status))

    def value(name, labels=None):
        return samples[f"syncstructs_{name}", labels]

    assert value("is_leader") == value("has_leader") == 1
    assert value("role", 'role="leader"') == 1
    assert value("role", 'role="follower"') == value("role", 'role="candidate"') == 0
    assert value("members", 'kind="voter"') == 3
    assert value("members", 'kind="learner"') == value("members", 'kind="outgoing"') == 0
    assert value("links") == 2
    assert value("applied_commands_total") == status["applied_commands"] >= 30
    assert value("applied_bytes_total") == status["applied_bytes"] > 3000
    for name in (
        "term", "commit_index", "applied_index", "log_last_index", "log_persisted_index",
        "log_entries", "log_bytes", "snapshot_index", "snapshot_bytes", "pending_calls",
    ):  # fmt: skip
        assert value(name) == status[name], name
    assert value("cluster_time_seconds") == pytest.approx(status["cluster_time"])
    assert value("objects", 'type="syncstructs.structs.lists.ReplList"') == 2
    for peer, seen in status["peers"].items():
        labels = f'peer="{peer}"'
        assert value("peer_match_index", labels) == seen["match_index"] > 0
        assert value("peer_silent_seconds", labels) == pytest.approx(seen["silent"])
        assert value("peer_counts", labels) == 1
        assert value("peer_lag_entries", labels) == value("peer_in_flight_bytes", labels) == 0
        assert value("peer_snapshot_size_bytes", labels) == 0


def test_a_follower_tells_nothing_of_others_and_memory_nothing_of_a_disk(cluster):
    follower = next(address for address in cluster.up if address != cluster.leader())
    samples = parse(render(cluster.node(follower).status()))
    assert samples["syncstructs_is_leader", None] == 0
    assert samples["syncstructs_role", 'role="follower"'] == 1
    assert not [name for name, _ in samples if "peer" in name or "append" in name]


def test_sizes_of_objects_are_added_up(cluster):
    status = cluster.node(cluster.leader()).status()
    assert parse(render(status))["syncstructs_objects_bytes", None] == 0
    status["objects"]["users"]["size_bytes"] = 700
    status["objects"]["more"] = {"type": "x", "size_bytes": 5}
    assert parse(render(status))["syncstructs_objects_bytes", None] == 705


def test_objects_that_differ_are_counted(cluster):
    status = cluster.node(cluster.leader()).status()
    assert parse(render(status))["syncstructs_objects_diverged", None] == 0
    status["objects"]["users"]["diverged"] = {"index": 64, "members": ["n2:1"]}
    assert parse(render(status))["syncstructs_objects_diverged", None] == 1


def test_the_disk_is_a_summary_with_gauges_beside(cluster):
    status = cluster.node("n1:1").status()
    status["disk"] = {
        "append_count": 12, "append_time": 0.75, "append_time_last": 0.01,
        "append_time_recent": 0.0125, "append_time_max": 0.5,
    }  # fmt: skip
    samples = parse(render(status))
    assert samples["syncstructs_log_append_seconds_sum", None] == 0.75
    assert samples["syncstructs_log_append_seconds_count", None] == 12
    assert samples["syncstructs_log_append_recent_seconds", None] == 0.0125
    assert samples["syncstructs_log_append_max_seconds", None] == 0.5


def test_whatever_a_name_holds_the_format_stays_whole(cluster):
    status = cluster.node("n1:1").status()
    status["cluster"] = 'a"b\\c\nsyncstructs_term 99'
    samples = parse(render(status))
    [labels] = [labels for name, labels in samples if name == "syncstructs_info"]
    assert r'cluster="a\"b\\c\nsyncstructs_term 99"' in labels
    assert f'release="{status["release"]}"' in labels


def test_a_node_that_has_stopped_leads_nobody(cluster):
    status = cluster.node(cluster.leader()).status()
    status["failure"] = "the log cannot be written"
    samples = parse(render(status))
    assert samples["syncstructs_failed", None] == 1
    assert samples["syncstructs_is_leader", None] == 0
    assert all(value == 0 for (name, _), value in samples.items() if name == "syncstructs_role")


def test_what_differs_is_told_by_object_and_member(cluster):
    status = cluster.node("n1:1").status()
    samples = parse(render(status))
    assert samples["syncstructs_objects_diverged", None] == 0
    assert samples["syncstructs_version", None] == 1
    list_type = 'type="syncstructs.structs.lists.ReplList"'
    assert samples["syncstructs_objects", list_type] == 2
    differs = {"index": 7, "members": ["n2:1", "n3:1"]}
    status["objects"]["users"]["diverged"] = differs
    far = {"type": "syncstructs.structs.lists.ReplList", "detached": True, "diverged": differs}
    status["objects"]["far"] = far
    samples = parse(render(status))
    assert samples["syncstructs_objects_diverged", None] == 2
    for member in ("n2:1", "n3:1"):
        for name in ("users", "far"):
            labels = f'object="{name}",member="{member}"'
            assert samples["syncstructs_object_diverged", labels] == 1
    assert samples["syncstructs_objects", list_type] == 2, "of those that are attached"
