"""What is run once: whose result counts, who runs it next, and what a late run is told."""

import asyncio

import pytest
from local_cluster import LocalCluster

from syncstructs.errors import OutcomeUnknown, ResultLost, SessionExpired, Timeout, Unserializable
from syncstructs.structs.once import ReplOnce


@pytest.fixture
def cluster():
    cluster = LocalCluster(3, check=True)
    yield cluster
    cluster.digest_equal()


def forbidden():
    raise AssertionError("it was run again")


def test_all_get_the_result_of_the_one_run(cluster):
    a, b, c = cluster.attach("once", ReplOnce)
    assert not a.done
    assert b.run(lambda: [1]) == [1]
    before = cluster.index
    assert a.run(forbidden) == [1]
    assert c.run(forbidden) == [1]
    assert cluster.index == before, "who knows the result asks nobody"
    assert c._claim(1) == (True, [1], 0), "who does not know it is told"
    a.run(forbidden).append(2)
    assert a.run(forbidden) == [1]
    assert a.done


def test_who_comes_meanwhile_waits_for_the_result(cluster):
    a, b, c = cluster.attach("once", ReplOnce)
    waiting = []

    def function():
        waiting.extend([b._begin.submit(None), c._begin.submit(9.0)])
        assert not any(future.done() for future in waiting)
        return "made"

    assert a.run(function) == "made"
    assert [future.result(0) for future in waiting] == [(True, "made", 0)] * 2


def test_function_that_raises_lets_the_next_one_run(cluster):
    a, b, c = cluster.attach("once", ReplOnce)
    waiting = []

    def function():
        waiting.extend([b._begin.submit(None), c._begin.submit(None)])
        raise KeyError("no luck")

    with pytest.raises(KeyError):
        a.run(function)
    done, _, token = waiting[0].result(0)
    assert not done
    assert token > 0
    assert not waiting[1].done()
    assert b._finish(token, "made")
    assert waiting[1].result(0) == (True, "made", 0)


def test_result_without_encoding_is_refused_and_another_may_run(cluster):
    a, b, _ = cluster.attach("once", ReplOnce)
    with pytest.raises(Unserializable):
        a.run(object)
    assert b.run(lambda: 5) == 5


def test_token_is_known_to_the_run_alone_and_grows(cluster):
    a, b, _ = cluster.attach("once", ReplOnce)
    tokens = []

    def function():
        tokens.append(a.token)
        assert b.token is None
        if len(tokens) < 2:
            raise KeyError
        return 1

    with pytest.raises(KeyError):
        a.run(function)
    assert a.run(function) == 1
    assert a.token is None
    assert tokens == sorted(set(tokens))


def test_expired_runner_is_taken_over_and_its_late_result_does_not_count(cluster):
    a, b, _ = cluster.attach("once", ReplOnce)
    waiting = []

    def late():
        waiting.append(b._begin.submit(None))
        cluster.expire(0)
        done, _, token = waiting[0].result(0)
        assert not done
        assert token > a.token
        assert b._finish(token, "second")
        return "first"

    assert a.run(late) == "second"
    assert b.run(forbidden) == "second"


def test_expired_waiter_waits_anew(cluster):
    a, b, c = cluster.attach("once", ReplOnce)
    waiting = []

    def function():
        waiting.extend([b._begin.submit(None), c._begin.submit(None)])
        cluster.expire(1)
        assert len(a._waiters) == 2
        return 1

    assert a.run(function) == 1
    assert [future.result(0)[1] for future in waiting] == [1, 1]


def test_wait_for_another_run_ends_in_time(cluster):
    a, b, _ = cluster.attach("once", ReplOnce)

    def function():
        with pytest.raises(Timeout, match=r"once\.run\(\): another run"):
            b.run(forbidden, timeout=2)
        assert not b._waiters
        cancelled = b._begin.submit(None)
        assert cancelled.cancel()
        assert not b._waiters
        return 1

    assert a.run(function) == 1


def test_run_that_was_granted_to_who_gives_up_goes_to_the_next(cluster):
    a, b, c = cluster.attach("once", ReplOnce)
    _, _, token = a._begin(None)
    steps = ReplOnce._begin.function(b, 1)
    next(steps)
    third = c._begin.submit(None)
    a._fail(token)
    assert not third.done()
    steps.send(False)
    with pytest.raises(Timeout):
        steps.send(steps.send(True).result(0))
    assert third.result(0)[0] is False


def test_run_whose_end_is_unknown_leaves_the_way_free(cluster, monkeypatch):
    a, b, _ = cluster.attach("once", ReplOnce)

    def lose(*args):
        raise OutcomeUnknown("by the test")

    monkeypatch.setattr(ReplOnce, "_finish", lose)
    with pytest.raises(OutcomeUnknown):
        a.run(lambda: 1)
    monkeypatch.undo()
    assert b.run(lambda: 2) == 2


@pytest.mark.parametrize("error", [ResultLost, SessionExpired])
def test_run_that_does_not_learn_how_it_ended_asks_what_counts(cluster, monkeypatch, error):
    a, b, _ = cluster.attach("once", ReplOnce)
    _, _, token = a._begin(None)
    monkeypatch.setattr(ReplOnce, "_begin", lambda self, timeout: (self.done, "other", token))

    def lose(*args):
        monkeypatch.undo()
        b._finish(token, "other")
        raise error("by the test")

    monkeypatch.setattr(ReplOnce, "_finish", lose)
    assert a.run(lambda: "mine") == "other"


def test_coroutines_are_run_once(cluster):
    a, b, _ = cluster.attach("once", ReplOnce)

    async def function():
        assert a.token is not None
        return 7

    async def both():
        return await a.run_async(function), await b.run_async(function)

    assert asyncio.run(both()) == (7, 7)


def test_state_survives_snapshots(cluster):
    a, b, c = cluster.attach("once", ReplOnce)

    def function():
        waiting = b._begin.submit(None)
        cluster.reload(1)
        cluster.reload(2)
        assert not waiting.done()
        return {"x": 1}

    assert a.run(function) == {"x": 1}
    cluster.reload(2)
    assert c.run(forbidden) == {"x": 1}
    assert repr(c).endswith(": done>")
