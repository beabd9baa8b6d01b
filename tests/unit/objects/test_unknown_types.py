"""A value whose class is registered on some members only must stop the others, not part them."""

import dataclasses

import pytest
from local_cluster import LocalCluster

from syncstructs import registry
from syncstructs.codec import register
from syncstructs.errors import NodeFailed
from syncstructs.structs.dicts import ReplDict


@dataclasses.dataclass
class Point:
    x: int


def test_a_replica_that_does_not_know_a_class_stops_instead_of_skipping(monkeypatch):
    register(Point, name="test.Point")
    cluster = LocalCluster(1)
    [points] = cluster.attach("points", ReplDict)
    points["known"] = Point(1)
    assert points["known"] == Point(1)
    with monkeypatch.context() as patch:
        encoded = Point(2)
        patch.setattr("syncstructs.codec.known_name", lambda name: None)
        with pytest.raises(NodeFailed, match="register"):
            points["unknown"] = encoded
    assert registry.known_name("test.Point") is not None
