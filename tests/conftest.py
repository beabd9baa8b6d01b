"""Fixtures that tests of all floors share, and what a compiled core leaves out."""

import pytest
from local_cluster import LocalCluster

from syncstructs.compiled import IS_COMPILED


@pytest.fixture
def local_cluster() -> type[LocalCluster]:
    """Give a maker of clusters without Raft: `local_cluster(n=2).attach(name, factory)`."""
    return LocalCluster


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "pure(reason): has a meaning for the pure Python code only")
    config.addinivalue_line("markers", "compiled: has a meaning for a compiled core only")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if IS_COMPILED:
            for mark in item.iter_markers("pure"):
                item.add_marker(pytest.mark.skip(reason=f"the core is compiled: {mark.args[0]}"))
        elif item.get_closest_marker("compiled") is not None:
            item.add_marker(pytest.mark.skip(reason="the core is not compiled"))
