"""`Glimpse`: a dict that is read piece by piece looks like the dict it was made of."""

from contextlib import nullcontext

from hypothesis import given
from hypothesis import strategies as st

from syncstructs.structs.glimpse import Glimpse, still_reads

keys = st.integers(0, 3)
dicts = st.dictionaries(keys, st.integers(10, 12))
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["get", "pop", "contains", "setdefault"]), keys),
        st.tuples(st.sampled_from(["set"]), keys),
        st.tuples(st.sampled_from(["list", "len", "clear", "popitem", "reversed", "update"])),
    ),
    max_size=12,
)


def step(items, number, name, key=None):
    """Do one thing, and return what it gave or raised."""
    try:
        match name:
            case "get":
                return items[key]
            case "pop":
                return items.pop(key)
            case "contains":
                return key in items
            case "setdefault":
                return items.setdefault(key, number)
            case "set":
                items[key] = number
            case "list":
                return list(items.items())
            case "len":
                return len(items)
            case "reversed":
                return list(reversed(items))
            case "update":
                return items.update({0: number, 3: number})
            case _:
                return getattr(items, name)()
    except KeyError as error:
        return type(error)


@given(dicts, steps)
def test_it_does_what_a_dict_does(base, taken):
    before, twin = dict(base), dict(base)
    glimpse = Glimpse(lambda: base, nullcontext())
    for number, (name, *key) in enumerate(taken, 20):
        assert step(glimpse, number, name, *key) == step(twin, number, name, *key), name
    assert list(glimpse.items()) == list(twin.items())
    assert base == before


@given(dicts, steps, dicts)
def test_what_it_read_says_whether_another_dict_would_have_done_the_same(base, taken, other):
    glimpse = Glimpse(lambda: base, nullcontext())
    seen = [step(glimpse, number, *what) for number, what in enumerate(taken, 20)]
    reads = glimpse.reads()
    twin = dict(other)
    if reads is not None and still_reads(other, reads):
        assert [step(twin, number, *what) for number, what in enumerate(taken, 20)] == seen
    if reads is None:
        assert {"list", "len", "popitem", "reversed"} & {name for name, *_ in taken}


def test_a_value_of_another_type_is_another_value():
    for value in (1, True, 1.0):
        glimpse = Glimpse(lambda value=value: {"a": value}, nullcontext())
        assert "a" in glimpse
        assert [still_reads({"a": now}, glimpse.reads()) for now in (1, True, 1.0)] == [
            type(now) is type(value) for now in (1, True, 1.0)
        ]


def test_a_blind_write_is_no_read():
    glimpse = Glimpse(lambda: {"a": 1}, nullcontext())
    glimpse["a"] = 2
    glimpse.clear()
    glimpse["b"] = 3
    assert list(glimpse) == ["b"]
    assert glimpse.reads() == []


def test_what_it_gave_is_no_piece_of_the_dict():
    base = {"a": [1]}
    glimpse = Glimpse(lambda: base, nullcontext())
    glimpse["a"].append(2)
    next(iter(glimpse.values())).append(3)
    assert base == {"a": [1]}
