"""Members with a compiled core and members with the pure one make one cluster."""

import pytest

from syncstructs.cli.processes import LocalCluster

OBJECTS = {"hits": ("syncstructs:ReplCounter", []), "users": ("syncstructs:ReplDict", [])}
# Whole numbers, where annotations speak of floats.
CONFIG = {"session_ttl": 5, "call_timeout": 20, "digest_interval": 1}


@pytest.mark.compiled
@pytest.mark.parametrize("pure", [("m1",), ("m1", "m2")])
def test_pure_and_compiled_members_hold_the_same(pure, monkeypatch):
    with LocalCluster(3, objects=OBJECTS, config=CONFIG) as cluster:

        def launch(name):
            monkeypatch.setenv("SYNCSTRUCTS_PURE", "1" if name in pure else "0")
            cluster.launch(name)

        for setup in cluster.setups:
            launch(setup.name)
        cluster.start()
        count = 0
        for _ in range(3):
            for member in cluster:
                count += 1
                assert member.call("hits", "inc") == count
                member.call("users", "__setitem__", member.name, [member.name, count, 1.5, None])
            # Another one leads then, and teaches who comes back all that it has forgotten.
            leader = cluster.wait_leader()
            leader.kill()
            launch(leader.name)
            cluster.start()
        for member in cluster:
            member.request("barrier", timeout=10)
        states = [status["objects"] for status in cluster.statuses(digests=True).values()]
        assert len(states) == 3
        assert {state["hits"]["digest"] for state in states} == {states[0]["hits"]["digest"]}
        assert {state["users"]["digest"] for state in states} == {states[0]["users"]["digest"]}
        assert not any("diverged" in one for state in states for one in state.values()), states
