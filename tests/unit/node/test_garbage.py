"""What is made in one go is old from its birth, and no collection looks at it meanwhile."""

import gc

import pytest

from syncstructs.node.garbage import long_lived


@pytest.fixture(autouse=True)
def collector():
    enabled = gc.isenabled()
    gc.enable()
    yield
    gc.unfreeze()
    if not enabled:
        gc.disable()


def generation_of(value):
    return [number for number in range(3) if any(o is value for o in gc.get_objects(number))]


def test_nothing_is_collected_meanwhile():
    before = [generation["collections"] for generation in gc.get_stats()]
    with long_lived():
        made = [[n] for n in range(100_000)]
        assert [generation["collections"] for generation in gc.get_stats()] == before
    assert gc.isenabled()
    assert len(made) == 100_000


def test_what_was_made_is_old():
    with long_lived():
        made = [[n] for n in range(100)]
    assert generation_of(made) == generation_of(made[50]) == [2]
    young = [1]
    assert generation_of(young) == [0]


def test_it_is_garbage_one_day_like_everything():
    with long_lived():
        ring = []
        ring.append(ring)
    known = id(ring)
    del ring
    gc.collect()
    assert not any(id(o) == known and type(o) is list for o in gc.get_objects())


def test_what_the_program_has_frozen_stays_so():
    frozen = [1]
    gc.freeze()
    with long_lived():
        pass
    assert generation_of(frozen) == []
    assert gc.get_freeze_count()


def test_where_nothing_is_collected_nothing_changes():
    gc.disable()
    with long_lived():
        pass
    assert not gc.isenabled()


def test_an_error_leaves_it_as_it_was():
    with pytest.raises(ValueError, match="no state"), long_lived():
        raise ValueError("no state")
    assert gc.isenabled()
