"""What the codec promises: equal values of the same type, or an error that names the place."""

import dataclasses
import enum
import math
import os
import pickle
import subprocess
import sys
import time as clock
import tracemalloc
from collections import OrderedDict, defaultdict, deque, namedtuple
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from syncstructs.codec import (
    ATOMS,
    MAX_DEPTH,
    STATE_DEPTH,
    copy,
    decode,
    decode_many,
    encode,
    encode_command,
    register,
)
from syncstructs.errors import DecodeError, Unserializable


@register
class Colour(enum.Enum):
    RED = "r"
    GREEN = object()


@register
class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@register
class Word(enum.StrEnum):
    YES = "yes"


@register
class Rights(enum.Flag):
    READ = 1
    WRITE = 2


@register(name="a point")
@dataclasses.dataclass(frozen=True, order=True)
class Point:
    x: object
    y: object = 0


@register
@dataclasses.dataclass
class Basket:
    owner: str
    items: list[object] = dataclasses.field(default_factory=list)
    ran: int = dataclasses.field(init=False, default=0)

    def __post_init__(self):
        self.ran += 1


@register
@dataclasses.dataclass(slots=True)
class Slotted:
    a: object
    b: object = None


@register
class Pair(NamedTuple):
    left: object
    right: object = 7


def same(a, b):
    """Whether two values are equal and of the same types, all the way down; NaN equals NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return math.copysign(1, a) == math.copysign(1, b) and (a == b or (a != a and b != b))
    if isinstance(a, complex):
        return same(a.real, b.real) and same(a.imag, b.imag)
    if type(a) in (list, tuple, Pair):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, deque):
        return a.maxlen == b.maxlen and same(list(a), list(b))
    if isinstance(a, dict):
        return same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    if type(a) in (set, frozenset):
        return same(sorted(map(encode, a)), sorted(map(encode, b)))
    if isinstance(a, slice):
        return same((a.start, a.stop, a.step), (b.start, b.stop, b.step))
    if isinstance(a, Decimal):
        return a.as_tuple() == b.as_tuple()
    if isinstance(a, datetime | time):
        return a == b and a.fold == b.fold and repr(a) == repr(b)
    if dataclasses.is_dataclass(a):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a))
    return a == b


offsets = st.integers(-1439, 1439).map(lambda minutes: timedelta(minutes=minutes))
zones = (
    st.none()
    | st.just(UTC)
    | offsets.map(timezone)
    | st.builds(timezone, offsets, st.text(max_size=5))
    | st.sampled_from(["Europe/Berlin", "America/New_York"]).map(ZoneInfo)
)
texts = st.text(st.characters(), max_size=8)  # lone surrogates included
hashable_atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**5000, -(2**5000)]),
    st.floats(),
    st.complex_numbers(),
    texts,
    st.binary(max_size=8),
    st.dates(),
    st.datetimes(timezones=zones),
    st.times(timezones=st.none() | offsets.map(timezone)),
    st.timedeltas(),
    zones,
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.builds(range, st.integers(), st.integers(), st.integers(1)),
    st.sampled_from([*Colour, *Level, *Word, Rights.READ, Rights.READ | Rights.WRITE, Rights(0)]),
)
hashables = st.recursive(
    # A signalling NaN has no hash.
    hashable_atoms.filter(lambda v: not (isinstance(v, Decimal) and v.is_snan())),
    lambda inner: (
        st.lists(inner, max_size=3).map(tuple)
        | st.frozensets(inner, max_size=3)
        | st.builds(Point, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=6,
)
values = st.recursive(
    hashables | st.binary(max_size=8).map(bytearray),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(hashables, inner, max_size=4)
        | st.dictionaries(texts, inner, max_size=4)
        | st.sets(hashables, max_size=4)
        | st.frozensets(hashables, max_size=4)
        | st.builds(deque, st.lists(inner, max_size=3), st.none() | st.integers(3, 5))
        | st.builds(slice, inner, inner, inner)
        | st.builds(Basket, texts, st.lists(inner, max_size=3))
        | st.builds(Slotted, inner, inner)
        | st.builds(Pair, inner, inner)
    ),
    max_leaves=12,
)


@given(values)
@settings(max_examples=400)
@example({True: 1, 2: 1.0, None: 0.0, "1": -0.0, b"": [], (1, (2.0,)): {}})
@example({frozenset({1}): 1, Colour.RED: 2, 2**64: 3, "\ud800": 4})
@example([5, "set", ["k", 2**80]])
@example([5, "\udfff", ["k"]])
@example([True, {"a": [(), [], {}, set(), frozenset(), deque()]}])
def test_a_value_comes_back_equal_and_of_the_same_types(value):
    data = encode(value)
    assert same(decode(data), value)
    assert same(decode(memoryview(data)), value)
    assert encode(decode(data)) == data


@given(values)
def test_a_copy_is_the_same_and_shares_nothing_that_can_change(value):
    copied = copy(value)
    assert same(copied, value)
    assert not mutable_parts(copied) & mutable_parts(value)


def mutable_parts(value):
    found = set()
    if type(value) in (list, dict, set, bytearray, deque, Basket, Slotted):
        found.add(id(value))
    if isinstance(value, dict):
        for pair in value.items():
            found |= mutable_parts(pair)
    elif type(value) in (list, tuple, set, frozenset, deque, Pair):
        for part in value:
            found |= mutable_parts(part)
    elif isinstance(value, slice):
        found |= mutable_parts((value.start, value.stop, value.step))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            found |= mutable_parts(getattr(value, field.name))
    return found


@given(hashable_atoms)
def test_an_atom_is_its_own_copy(value):
    if type(value) in ATOMS:
        assert copy(value) is value


def test_a_datetime_keeps_its_fold_and_its_zone_by_name():
    value = datetime(2024, 10, 27, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=1)
    back = decode(encode(value))
    assert (back.fold, back.tzinfo, back.utcoffset()) == (1, value.tzinfo, timedelta(hours=1))
    assert decode(encode(datetime(2024, 1, 1, tzinfo=UTC))).tzinfo is UTC
    named = decode(encode(timezone(timedelta(hours=1), "here")))
    assert named.tzname(None) == "here"


def test_nothing_of_a_registered_class_runs_when_its_value_comes_back():
    basket = Basket("ann", [1])
    assert basket.ran == 1
    assert decode(encode(basket)).ran == 1
    assert copy(basket).ran == 1


# Refusals


class TextEnum(enum.Enum):
    A = 1


@dataclasses.dataclass
class Unknown:
    a: int = 1


class Str(str):
    __slots__ = ()


class Zone(tzinfo):
    def utcoffset(self, when):
        return timedelta(0)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: 0, "a function cannot be encoded"),
        ([1, {"x": [0, 1, 2, print]}], r"^\[1\]\['x'\]\[3\]: a builtin_function_or_method"),
        ({1: {(2, object()): 3}}, r"^\[1\]\[key a tuple\]\[1\]: an object cannot"),
        ({frozenset({TextEnum.A})}, r"^\{...\}\{...\}: a TextEnum .* register the enum"),
        (Point(1, [Unknown()]), r"^\.y\[0\]: an Unknown .* register the dataclass"),
        ([OrderedDict(a=1)], r"^\[0\]: an OrderedDict .* come back as a plain dict"),
        (defaultdict(int), "a defaultdict .* plain dict"),
        (Str("x"), "a Str .* plain str"),
        ({Str("x"): 1}, "a Str .* plain str"),
        (namedtuple("Loose", "a")(1), "a Loose .* register the named tuple"),
        (datetime(2024, 1, 1, tzinfo=Zone()), r"^\.tzinfo: a Zone cannot"),
        (memoryview(b"x"), "a memoryview"),
        (int, "a type cannot"),
        (slice(0, print), r"^\.stop: a builtin"),
        (msgspec.Raw(b"\xc0"), "a Raw"),
        (msgspec.msgpack.Ext(3, b""), "an Ext cannot"),
        (Fraction(1, 2**40_000), "Fraction of more than"),
    ],
)
def test_what_cannot_come_back_is_refused_by_type_and_place(value, message):
    with pytest.raises(Unserializable, match=message):
        encode(value)


def test_a_part_that_was_never_set_is_named():
    half = Slotted.__new__(Slotted)
    with pytest.raises(Unserializable, match=r"\[0\]: its field 'a' was never set"):
        encode([half])


def test_a_command_names_the_argument():
    def call(*args, **kwargs):
        return encode_command(7, "put", args, kwargs)

    assert call(1, [2]) == encode([7, "put", [1, [2]]])
    assert call(1, "two", b"3", None) == encode([7, "put", [1, "two", b"3", None]])
    assert call(2**70, "\ud800") == encode([7, "put", [2**70, "\ud800"]])
    assert call(1, key=2) == encode([7, "put", [1], {"key": 2}])
    with pytest.raises(Unserializable, match=r"^argument 1\['x'\]\[3\]: a function cannot"):
        call(0, {"x": [0, 1, 2, lambda: 0]})
    with pytest.raises(Unserializable, match=r"^argument 'key': a function cannot"):
        call(0, key=lambda: 0)
    with pytest.raises(Unserializable, match=r"^argument 0: an object"):
        call(object())


def test_copy_refuses_what_encode_refuses():
    with pytest.raises(Unserializable, match=r"^\['a'\]\[0\]: a function"):
        copy({"a": [lambda: 0]})
    with pytest.raises(Unserializable, match="OrderedDict"):
        copy(OrderedDict())


@pytest.mark.parametrize("kind", [list, tuple, deque, lambda v: {"k": v[0]}, lambda v: Pair(*v)])
def test_nesting_has_a_limit_that_is_met_exactly(kind):
    def nested(levels):
        value = 0
        for _ in range(levels):
            value = kind([value])
        return value

    assert same(decode(encode(nested(MAX_DEPTH))), nested(MAX_DEPTH))
    with pytest.raises(Unserializable, match="nested too deeply"):
        encode(nested(MAX_DEPTH + 1))
    state = nested(STATE_DEPTH)
    assert same(decode(encode(state, max_depth=STATE_DEPTH)), state)
    assert same(copy(state), state)
    with pytest.raises(Unserializable, match="nested too deeply"):
        copy(nested(STATE_DEPTH + 1))


def test_atoms_count_as_no_level():
    value = datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1), "x"))
    for _ in range(MAX_DEPTH):
        value = [value]
    assert same(decode(encode(value)), value)


@pytest.mark.parametrize("levels", [1, 3])
def test_a_container_in_itself_is_refused(levels):
    value = inner = []
    for _ in range(levels):
        inner.append([])
        inner = inner[0]
    inner.append(value)
    for refuse in (encode, copy):
        with pytest.raises(Unserializable, match="contains itself"):
            refuse(value)
    loop = {}
    loop["me"] = (loop,)
    with pytest.raises(Unserializable, match="contains itself"):
        encode(loop)


# Canonical bytes

_SETS = (
    "from syncstructs.codec import encode\n"
    "words = [str(n) for n in range(50)]\n"
    "print(encode([set(words), frozenset(map(tuple, words)), {frozenset(words[:9]): 1}]).hex())"
)


def test_sets_have_the_same_bytes_under_every_hash_seed():
    found = {
        subprocess.run(
            [sys.executable, "-c", _SETS],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_dicts_keep_their_order_and_it_shows_in_the_bytes():
    assert encode({"a": 1, "b": 2}) != encode({"b": 2, "a": 1})
    assert list(decode(encode({"b": 2, "a": 1}))) == ["b", "a"]


@given(values)
def test_equal_values_have_equal_bytes(value):
    assert encode(pickled(value)) == encode(value)


def pickled(value):
    if value is None or "Colour.GREEN" in repr(value):
        return value
    return pickle.loads(pickle.dumps(value))


# Bytes that are not values


def decode_or_refuse(data):
    try:
        return decode(data)
    except DecodeError:
        return None


@given(st.binary(max_size=60))
@settings(max_examples=400)
@example(b"")
@example(b"\xc1")
@example(b"\xc0\xc0")
@example(b"\xd7\xff" + b"\xff" * 8)
@example(b"\xa2\xff\xff")
@example(b"\x81\x80\xc0")
def test_random_bytes_are_a_value_or_a_decode_error(data):
    decode_or_refuse(data)


@given(st.integers(1, 30), st.binary(max_size=30))
@settings(max_examples=400)
def test_random_extensions_are_a_value_or_a_decode_error(code, payload):
    decode_or_refuse(bytes([0xC7, len(payload), code]) + payload)


@given(values, st.data())
@settings(max_examples=400)
def test_mutated_values_are_a_value_or_a_decode_error(value, data):
    mutated = bytearray(encode(value))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(mutated)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "flip" and at < len(mutated):
            mutated[at] ^= 1 << data.draw(st.integers(0, 7))
        elif kind == "cut":
            del mutated[at : at + data.draw(st.integers(1, 4))]
        else:
            mutated[at:at] = data.draw(st.binary(min_size=1, max_size=4))
    decode_or_refuse(bytes(mutated))


@given(values)
def test_every_cut_of_a_value_is_a_decode_error(value):
    data = encode(value)
    for end in range(len(data)):
        with pytest.raises(DecodeError):
            decode(data[:end])


def ext(code, payload):
    return b"\xc9" + len(payload).to_bytes(4, "big") + bytes([code]) + payload


def nested_ext(levels):
    data = b"\xc0"
    for _ in range(levels):
        data = ext(3, b"\x91" + data)
    return data


@pytest.mark.parametrize(
    "data",
    [
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        b"\xc9\xff\xff\xff\xff\x03",
        (b"\xdd" + (10**6).to_bytes(4, "big")) * 400 + b"\xc0" * (10**6 - 10),
        (b"\x81\xdd" + (10**6).to_bytes(4, "big")) * 400 + b"\xc0" * (10**6 - 10),
        b"\x91" * 1_000_000,
        b"\x81\xa1a" * 300_000,
        b"\x81" * 1_000_000,
        nested_ext(300),
        nested_ext(600),
        ext(16, b"\x92" + ext(1, b"\x7f" * 500_000) + ext(1, b"\x7e" * 500_000)),
        ext(18, b"\x92" + b"\xcf" + b"\xff" * 8 + b"\xc0"),
        ext(16, b"\x92\x01\x00"),
        ext(14, b"\x91\xaf../../etc/passwd"),
        ext(21, b"\x92\xa8os.getpid\x80"),
        ext(21, b"\x92\x90\x80"),
        ext(99, b""),
    ],
    ids=lambda data: f"{data[:8].hex()}-{len(data)}",
)
def test_hostile_bytes_cost_no_more_than_they_weigh(data):
    tracemalloc.start()
    begin = clock.process_time()
    try:
        with pytest.raises(DecodeError):
            decode(data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A pointer per byte in a list that grows by steps, and the interpreter's own.
    assert peak < 64 * len(data) + 2_000_000
    assert clock.process_time() - begin < 2.0


def test_extensions_are_bounded_before_the_stack_is():
    decode(nested_ext(STATE_DEPTH))
    with pytest.raises(DecodeError, match="extensions are nested deeper than"):
        decode(nested_ext(STATE_DEPTH + 10))


def test_a_deque_over_its_limit_is_refused_and_not_cut():
    data = encode(deque([1, 2], 2))
    assert data.count(b"\x93\x02\x01\x02") == 1
    with pytest.raises(DecodeError, match="over its limit 1"):
        decode(data.replace(b"\x93\x02\x01\x02", b"\x93\x01\x01\x02"))


def test_a_class_that_is_unknown_here_is_named():
    @register(name="soon gone")
    @dataclasses.dataclass
    class Gone:
        a: int

    data = encode(Gone(1)).replace(b"soon gone", b"long gone")
    with pytest.raises(DecodeError, match="'long gone' is not registered here"):
        decode(data)


# Registration


def test_fields_that_came_later_take_their_defaults():
    def make(fields):
        return register(dataclasses.make_dataclass("Record", fields), name="record")

    old = make([("a", int)])
    data = encode(old(1))
    new = make([("a", int), ("b", list, dataclasses.field(default_factory=list))])
    assert decode(data) == new(1, [])
    with pytest.raises(DecodeError, match="record has no value for its field 'c'"):
        make([("a", int), ("c", int)]) and decode(data)
    with pytest.raises(DecodeError, match="record has no field 'a'"):
        make([("c", int)]) and decode(data)


def test_a_name_belongs_to_one_class_but_a_class_may_be_made_again():
    def make():
        @register(name="made again")
        @dataclasses.dataclass
        class Made:
            a: int

        return Made

    first, second = make(), make()
    assert type(decode(encode(first(1)))) is second
    with pytest.raises(ValueError, match=r"'made again' is the registered name of .*Made"):
        register(Unknown, name="made again")
    with pytest.raises(Unserializable):
        encode(Unknown())


def test_only_dataclasses_enums_and_named_tuples_can_be_registered():
    @dataclasses.dataclass
    class Listed(list):
        a: int = 1

    class Derived(Unknown):
        pass

    for cls in (Str, int, object, Listed, Derived):
        with pytest.raises(TypeError, match="cannot be registered"):
            register(cls)


# Many values at once


@given(st.lists(values, max_size=5))
def test_encodings_one_after_another_are_decoded_in_one_go(many):
    data = b"".join(map(encode, many))
    assert same(decode_many(len(many), data), many)
    assert same(decode_many(len(many), memoryview(data)), many)
    for count in (len(many) - 1, len(many) + 1, -1, 2**32, 2**70):
        with pytest.raises(DecodeError):
            decode_many(count, data)
    with pytest.raises(DecodeError):
        decode_many(len(many), data + b"\xc0")


def test_none_at_all_are_an_empty_list():
    assert decode_many(0, b"") == []


def test_uuids_keep_their_number():
    assert decode(encode(UUID(int=5))) == UUID(int=5)
    assert decode(encode(date(1, 1, 1))) == date(1, 1, 1)
