"""A state comes back from its pieces as it was; equal states have equal ones, and none is large."""

import tracemalloc
from collections import deque
from math import nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncstructs.codec import decode, encode
from syncstructs.errors import DecodeError, Unserializable
from syncstructs.objects import pieces as module
from syncstructs.objects.pieces import pieces_of, state_of, whole

ATOMS = st.none() | st.integers() | st.text(max_size=30) | st.floats(allow_nan=False)
KEYS = st.text(max_size=3) | st.integers() | st.tuples(st.integers(), st.booleans())
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=12)
        | st.dictionaries(KEYS, inner, max_size=12)
        | st.lists(inner, max_size=12).map(lambda parts: deque(parts, 20))
        | st.lists(inner, max_size=4).map(tuple)
        | st.sets(KEYS, max_size=5)
    ),
    max_leaves=40,
)
STATES = st.dictionaries(st.text(max_size=4), VALUES, max_size=6) | VALUES


@pytest.fixture
def small(monkeypatch):
    """Let everything be large that has three parts and more."""
    monkeypatch.setattr(module, "_FEW", 3)
    monkeypatch.setattr(module, "_BLOCK_BYTES", 40)


@given(STATES)
def test_a_state_comes_back_as_it_was(state):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEW", 3)
        patch.setattr(module, "_BLOCK_BYTES", 40)
        before = encode(state)
        pieces = list(pieces_of(state))
        assert encode(state) == before
        assert pieces == list(pieces_of(state_of(pieces)))
        # Types and the order of insertion, too.
        assert encode(state_of(pieces)) == before


def test_what_is_large_is_in_blocks_of_about_a_size(small):
    state = {"few": [1, 2, 3], "many": dict.fromkeys(range(50), "x" * 10)}
    places, hollow, *blocks = map(decode, pieces_of(state))
    assert places == [["many"]]
    assert hollow == {"few": [1, 2, 3], "many": {}}
    assert blocks.pop() is None
    assert [len(block) for block in blocks] == [3, 3, *[3] * 14, 2]
    assert list(state["many"]) == [number for block in blocks for number in block]


def test_blocks_follow_the_size_of_what_is_in_them():
    large = ["x" * 100_000] * 80
    blocks = [decode(piece) for piece in list(pieces_of(large))[2:-1]]
    assert [len(block) for block in blocks] == [64, 2, 2, 2, 2, 2, 2, 2, 2]
    tiny = list(pieces_of(dict.fromkeys(range(20_000), 1)))[2:-1]
    assert [len(decode(piece)) for piece in tiny] == [64, 4096, 4096, 4096, 4096, 3552]


def test_attributes_and_what_they_are_made_of_are_looked_into_and_nothing_deeper(small):
    large = [1, 2, 3, 4]
    state = {"a": large, "b": {"c": large, "d": {"e": large}}, "f": [[0], large]}
    assert decode(next(pieces_of(state))) == [["a"], ["b", "c"], ["f", 1]]
    assert state_of(pieces_of(state)) == state
    state = {"g": (large,), "h": deque(large, 9), 5: large}
    assert decode(next(pieces_of(state))) == [["h"]]
    assert state_of(pieces_of(state)) == state
    assert state_of(pieces_of(state))["h"].maxlen == 9
    assert decode(next(pieces_of(large))) == [[]]


def test_keys_that_equal_nothing_are_not_looked_for(small):
    [(key, value)] = state_of(pieces_of({nan: [1, 2, 3, 4]})).items()
    assert key != key
    assert value == [1, 2, 3, 4]


def test_a_state_that_was_one_value_has_pieces():
    state = {"a": list(range(1000))}
    assert state_of(whole(encode(state))) == state


def test_no_piece_is_taken_behind_the_last_one(small):
    for state in ({}, 5, {"a": [1, 2, 3, 4]}):
        steps = iter([*pieces_of(state), b"another's"])
        assert state_of(steps) == state
        assert next(steps) == b"another's"


def test_what_has_no_encoding_is_refused_where_it_stands():
    state = {"a": [*range(500), object()]}
    with pytest.raises(Unserializable, match="an object cannot be encoded"):
        list(pieces_of(state))


@pytest.mark.parametrize(
    "pieces",
    [
        [], [b"junk"], [[]], [5, {}], [[["a"]], {}], [[["a"]], {"a": {}}], [[["a"]], {"a": {}}, 5],
        [[["a"]], {"a": {}}, {}], [[["a"]], {"a": {}}, [1], None], [[["a"]], {"a": 5}, None],
        [[["b"]], {"a": []}, None], [[5], [], None], [[[{}]], {}, None], [[["a", "b"]], {"a": 1}],
        [[["a"]], {"a": []}, {1: 2}, None], [[["a"]], {"a": ()}, None],
    ],
)  # fmt: skip
def test_pieces_that_are_none_are_refused(pieces):
    with pytest.raises(DecodeError):
        state_of([piece if type(piece) is bytes else encode(piece) for piece in pieces])


def test_no_copy_of_the_whole_is_made():
    state = {"_items": {f"key-{number}": "x" * 100 for number in range(50_000)}}
    tracemalloc.start()
    try:
        size = sum(map(len, pieces_of(state)))
        written = tracemalloc.get_traced_memory()[1]
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        restored = state_of(pieces_of(state))
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert restored == state
    assert size > 5_000_000
    assert written < size / 4
    assert peak - now < size / 4, (before, now, peak)
