"""`ReplTTLDict`: keys are there until their time is over, and gone on all members at once then."""

from random import Random
from typing import Any

import pytest
from local_cluster import LocalCluster

from syncstructs.structs.ttl import _EXPIRED_MAX, ReplTTLDict


@pytest.fixture
def cluster() -> LocalCluster:
    return LocalCluster(2, check=True)


@pytest.fixture
def pair(cluster: LocalCluster) -> list[ReplTTLDict[Any, Any]]:
    return cluster.attach("d", lambda: ReplTTLDict(ttl=10))


def test_a_key_lives_as_long_as_it_was_told(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]]
) -> None:
    one, other = pair
    one["default"] = 1
    one.set("short", 2, ttl=3)
    one.set("ever", 3, None)
    assert (one.expires_at("default"), one.expires_at("short")) == (11.0, 4.0)
    assert one.expires_at("ever") is None
    cluster.advance(2.9)
    assert other == {"default": 1, "short": 2, "ever": 3}
    cluster.advance(0.1)
    assert other == {"default": 1, "ever": 3}
    cluster.advance(1000)
    assert other == {"ever": 3}
    with pytest.raises(KeyError):
        one.expires_at("short")


def test_without_a_ttl_keys_live_for_ever(cluster: LocalCluster) -> None:
    one = cluster.attach("d", ReplTTLDict)[0]
    one["key"] = 1
    cluster.advance(1000)
    assert one == {"key": 1}


@pytest.mark.parametrize("change", [
    lambda d: d.set("key", 2), lambda d: d.touch("key"), lambda d: d.update(key=2),
    lambda d: d.compare_and_set("key", 1, 2), lambda d: d.reset(key=2),
    lambda d: (d.pop("key"), d.setdefault("key", 2)),
])  # fmt: skip
def test_whatever_sets_a_key_gives_it_a_new_life(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]], change: Any
) -> None:
    pair[0].set("key", 1, ttl=5)
    cluster.advance(4)
    change(pair[0])
    cluster.advance(9.9)
    assert list(pair[1]) == ["key"]
    cluster.advance(0.2)
    assert list(pair[1]) == []


@pytest.mark.parametrize("change", [
    lambda d: d.set("key", 2, None), lambda d: d.touch("key", None),
    lambda d: (d.pop("key"), d.set("key", 1, None)), lambda d: (d.clear(), d.set("key", 1, None)),
    lambda d: (d.popitem(), d.set("key", 1, None)),
    lambda d: (d.delete("key"), d.set("key", 1, None)),
])  # fmt: skip
def test_a_former_end_of_a_key_does_not_count(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]], change: Any
) -> None:
    pair[0].set("key", 1, ttl=5)
    change(pair[0])
    cluster.advance(100)
    assert list(pair[1]) == ["key"]
    assert all(member.table.first_due is None for member in cluster.members)


def test_what_leaves_a_value_as_it_is_leaves_its_life(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]]
) -> None:
    pair[0].set("key", 1, ttl=5)
    cluster.advance(4)
    assert pair[0].setdefault("key", 2) == 1
    assert not pair[0].compare_and_set("key", 7, 2)
    assert not pair[0].touch("another")
    cluster.advance(1)
    assert list(pair[1]) == []


def test_what_was_removed_with_all_others_has_no_end(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]]
) -> None:
    pair[0].update(a=1, b=2)
    pair[0].reset(a=3)
    pair[1]._check()
    pair[0].clear()
    pair[1]._check()
    assert cluster.members[1].table.first_due is None


def test_many_expire_in_parts(cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]]) -> None:
    pair[0].update(dict.fromkeys(range(2 * _EXPIRED_MAX + 1), 0))
    before = cluster.index
    cluster.advance(10)
    assert len(pair[1]) == 0
    assert cluster.index == before + 3


@pytest.mark.parametrize("ttl", [0, -2, float("inf"), float("nan")])
def test_what_is_no_ttl_is_refused(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]], ttl: float
) -> None:
    with pytest.raises(ValueError, match="seconds above 0"):
        ReplTTLDict(ttl)
    with pytest.raises(ValueError, match="seconds above 0"):
        pair[0].set("key", 1, ttl)
    assert "key" not in pair[1]
    with pytest.raises(TypeError, match="begins empty"):
        ReplTTLDict.fromkeys("ab")


def test_who_wants_to_know_is_told_of_each_key_after_it_went(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]]
) -> None:
    told: list[Any] = []
    subscription = pair[0].on_expire(lambda key, value: told.append((key, value)))
    pair[0].update({"a": [1], "b": 2})
    pair[0].set("c", 3, 15)
    cluster.advance(12)
    assert told == [("a", [1]), ("b", 2)]
    subscription.close()
    cluster.advance(12)
    assert len(told) == 2


@pytest.mark.parametrize("seed", range(6))
def test_it_is_a_dict_of_what_lives(seed: int) -> None:
    random = Random(seed)
    cluster = LocalCluster(2, check=True)
    pair = cluster.attach("d", lambda: ReplTTLDict(ttl=4))
    model: dict[int, tuple[int, float]] = {}
    for number in range(250):
        d, key = random.choice(pair), random.randrange(6)
        ttl = random.choice([-1, None, 1, 2.5, 7])
        ends = float("inf") if ttl is None else cluster.now + (4 if ttl == -1 else ttl)
        step = random.randrange(8)
        if step < 3:
            d.set(key, number, ttl)
            model[key] = number, ends
        elif step == 3:
            assert d.touch(key, ttl) == (key in model)
            if key in model:
                model[key] = model[key][0], ends
        elif step == 4:
            assert d.pop(key, None) == model.pop(key, (None, 0))[0]
        elif step == 5:
            cluster.reload(random.randrange(2))
        else:
            cluster.advance(random.choice([0.25, 1, 3]))
            model = {key: row for key, row in model.items() if row[1] > cluster.now}
        for each in pair:
            assert each == {key: value for key, (value, _) in model.items()}
            each._check()


@pytest.mark.parametrize("key", [float("nan"), (1, float("nan"))])
def test_a_key_that_is_unlike_its_copies_has_no_ttl(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]], key: Any
) -> None:
    one, other = pair
    one["a"] = 1
    for refused in (one.set, one.setdefault):
        with pytest.raises(ValueError, match="unlike each copy of itself"):
            refused(key, 2)
    for refused_all in (one.update, one.reset):
        with pytest.raises(ValueError, match="unlike each copy of itself"):
            refused_all({"b": 2, key: 2})
    assert one == other == {"a": 1}
    one.set(key, 3, ttl=None)
    cluster.reload(1)
    cluster.advance(10.0)
    assert list(one.values()) == list(other.values()) == [3]
    cluster.digest_equal()


def test_who_wants_to_know_no_more_takes_no_space(
    cluster: LocalCluster, pair: list[ReplTTLDict[Any, Any]]
) -> None:
    one, _ = pair
    one.on_expire(lambda key, value: None).close()
    one["a"] = 1
    cluster.advance(10.0)
    assert not one._listeners[0][0]
