"""Fixtures that tests of all floors share."""

import pytest
from local_cluster import LocalCluster


@pytest.fixture
def local_cluster() -> type[LocalCluster]:
    """Give a maker of clusters without Raft: `local_cluster(n=2).attach(name, factory)`."""
    return LocalCluster
