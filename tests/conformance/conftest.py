"""Real nodes, if the suites run on some, live as long as the session."""

import pytest
from conformance import NodeBench


@pytest.fixture(scope="session", autouse=True)
def _nodes():
    yield
    NodeBench.stop()
