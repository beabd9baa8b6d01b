"""Python values to bytes and back: typed, bounded, and never running code from the wire.

What comes back is equal and of the exact same type. That holds for None, bool, int of any size,
float, complex, str (lone surrogates too), bytes, bytearray, list, tuple, dict, set, frozenset,
`collections.deque`, range, slice, datetime, date, time, timedelta, timezone, ZoneInfo, Decimal,
Fraction, UUID, and for dataclasses, enums and named tuples that were registered. All else is
refused, subclasses of builtin types included, as their type would be lost. What was pickled (see
`objects.pickling`) is bytes here, in a `Pickled`, and stays so.

The bytes are MessagePack. What MessagePack lacks is an extension of a code below, whose payload
again is MessagePack where it holds values. Bytes are canonical: values that are equal, of the same
types and in the same order of insertion have equal bytes in every process. Sets are sorted by the
bytes of their elements, so `hash()` has no part in it.

msgspec encodes tuples, sets, datetimes, enums and others natively, but not so that they come back:
nothing but None, bool, int, float, str, bytes, list and dict may ever reach its encoder unpacked.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from itertools import chain
from operator import itemgetter
from typing import Any, Final, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from .errors import DecodeError, UnknownType, Unserializable
from .pickled import Pickled
from .registry import kind_of, known_name, known_type, register

__all__ = [
    "ATOMS", "MAX_DEPTH", "NATIVE", "OR_PICKLE", "STATE_DEPTH", "copy", "decode", "decode_many",
    "encode", "encode_command", "encode_joined", "encode_run", "register", "shown",
]  # fmt: skip

T = TypeVar("T")

MAX_DEPTH: Final = 64
"""Containers inside containers that `encode` takes unless it is told another number."""

STATE_DEPTH: Final = 128
"""The deepest that `copy` and `decode` follow: room for the containers around passed values."""

ATOMS: Final[frozenset[type]] = frozenset(
    {type(None), bool, int, float, complex, str, bytes, range, date, datetime, time, timedelta}
    | {timezone, ZoneInfo, Decimal, Fraction, UUID}
)
"""The immutable types without parts; a value of them needs no copy."""

OR_PICKLE: Final = "; made with pickle=True, ReplDict, ReplList and queues take it as a value"
"""How a sentence ends that refuses a type."""

# A datetime holds a timezone, that holds a timedelta, that holds integers.
_ATOM_DEPTH: Final = 4

# Under so many bytes, nothing that is quadratic takes long. Text and bytes have hashes that nobody
# can foresee, and of numbers that stand in 64 bits, few have the same.
_FEW_BYTES: Final = 8192
_SAME_HASH_MAX: Final = 128

# All bytes with which no container begins, an extension included; where calls are of so many bytes
# on average, it is faster to look at these than at the values.
_NO_CONTAINERS: Final = bytes(
    byte
    for byte in range(256)
    if not any(
        first <= byte <= last
        for first, last in ((0x80, 0x9F), (0xC7, 0xC9), (0xD4, 0xD8), (0xDC, 0xDF))
    )
)
_SMALL_BYTES: Final = 300
# In a run of values that take no more than this each, looking at all bytes is faster.
_TINY_BYTES: Final = 32
_ARGUMENTS: Final = itemgetter(2)
# What comes apart as it is, and what takes up no depth.
_ROWS: Final = frozenset({list, tuple, set, frozenset, deque})
_LEAVES: Final = ATOMS | {bytearray}

# A Fraction is reduced when it is decoded, in quadratic time: this bounds it to milliseconds.
_FRACTION_BITS: Final = 32_768

NATIVE: Final[frozenset[type]] = frozenset({type(None), bool, int, float, str, bytes})
"""Those of `ATOMS` that the encoder takes as they are; nothing of them is ever refused."""
# Integers over 64 bits and lone surrogates are rare: if it meets one, everything is packed again
# with them looked at too.
_THOROUGH: Final[frozenset[type]] = NATIVE - {int, str}

_Ext = msgspec.msgpack.Ext
_encode: Final = msgspec.msgpack.Encoder().encode
_Native = frozenset[type]
_Decode = Callable[[bytes | memoryview], Any]


class _Code:
    """The extension codes; they are on disks and wires and never change their meaning."""

    INT: Final = 1
    STR: Final = 2
    TUPLE: Final = 3
    SET: Final = 4
    FROZENSET: Final = 5
    DICT: Final = 6
    BYTEARRAY: Final = 7
    COMPLEX: Final = 8
    DATE: Final = 9
    DATETIME: Final = 10
    TIME: Final = 11
    TIMEDELTA: Final = 12
    TIMEZONE: Final = 13
    ZONE: Final = 14
    DECIMAL: Final = 15
    FRACTION: Final = 16
    UUID: Final = 17
    DEQUE: Final = 18
    RANGE: Final = 19
    SLICE: Final = 20
    REGISTERED: Final = 21
    PICKLED: Final = 22


# Public functions


def encode(value: object, *, max_depth: int = MAX_DEPTH) -> bytes:
    """Return `value` as bytes, canonical and the same on every member.

    Raises:
        Unserializable: a part has no encoding; the message names its place and type. Also if
            containers are nested deeper than `max_depth`, as one that contains itself is.
    """
    try:
        return _encode_native(value, max_depth)
    except (Unserializable, RecursionError) as error:
        raise _explained(_pack_thorough, value, max_depth, str(error)) from None


def encode_command(
    target: int | str, method: str, args: tuple[object, ...], kwargs: dict[str, object]
) -> bytes:
    """Return a call of `method` of the object with the id or name `target` as a command.

    That is `[target, method, args]` or `[target, method, args, kwargs]`, as `encode` encodes it.
    Target 0 is the object table itself.

    Raises:
        Unserializable: an argument has no encoding; the message names the place by its argument:
            `argument 1['x'][3]`, counted from 0 as in `args`.
    """
    if not kwargs:
        for argument in args:
            if type(argument) not in NATIVE:
                break
        else:
            # What nearly every call is. Tuples that hold no others come out as lists do.
            try:
                return _encode((target, method, args))
            except (OverflowError, UnicodeEncodeError):
                pass
    values: list[object] = [target, method, list(args)]
    if kwargs:
        values.append(kwargs)
    try:
        return _encode_native(values, MAX_DEPTH)
    except (Unserializable, RecursionError) as error:
        for name, argument in [*enumerate(args), *kwargs.items()]:
            try:
                _pack_thorough(argument, MAX_DEPTH - 2)
            except (Unserializable, RecursionError) as found:
                raise _explained(
                    _pack_thorough, argument, MAX_DEPTH - 2, str(found), f"argument {name!r}"
                ) from None
        raise Unserializable(str(error)) from None


def encode_run(target: int | str, method: str, values: list[object], width: int) -> bytes:
    """Return `[target, method, values, width]` as bytes; `values` are all of `NATIVE` types."""
    run = [target, method, values, width]
    try:
        return _encode(run)
    except (OverflowError, UnicodeEncodeError):
        return encode(run)


def encode_joined(parts: Sequence[bytes]) -> bytes:
    """Return the bytes of the list of the values that `parts` are the bytes of."""
    count = len(parts)
    if count < 16:
        head = bytes((0x90 | count,))
    elif count < 2**16:
        head = b"\xdc" + count.to_bytes(2, "big")
    else:
        head = b"\xdd" + count.to_bytes(4, "big")
    return head + b"".join(parts)


def decode(data: bytes | memoryview) -> Any:
    """Return the value that `data` encodes; takes memory and time in proportion to its size.

    Raises:
        UnknownType: a registered class is unknown here, or differs: another member may decode it.
        DecodeError: `data` is anything but one whole value, or nesting is deeper than extensions or
            the interpreter allow.
    """
    return _guarded(data, _decode)


def _guarded(data: bytes | memoryview, decoder: _Decode) -> Any:
    try:
        return decoder(data)
    except (DecodeError, MemoryError):
        raise
    except Exception as error:
        # Hostile bytes reach constructors of many types and `__eq__` of registered ones.
        # What these raise may quote the bytes; it is logged, in one line that has an end.
        raise DecodeError(f"{len(data)} bytes that are not a value: {error!r:.300}") from error


def decode_many(count: int, data: bytes | memoryview) -> list[Any]:
    """Return the `count` values whose encodings stand in `data` one after the other.

    As these are of others, values are refused that are many, different and all of one hash: a dict
    or a set of them takes quadratic time. Numbers of any size, and what is made of them, are easily
    chosen so. And those that are nested deeper than `MAX_DEPTH`: no snapshot could be taken of a
    state with them, and how deep bytes can be followed is another matter in each interpreter. What
    has come in once is never refused: states are read by `decode`.

    Raises:
        UnknownType, DecodeError: `data` is anything but `count` whole values; see `decode`.
    """
    if not 0 <= count <= len(data):
        raise DecodeError(f"{len(data)} bytes cannot hold {count} values")
    decoder = _decode if len(data) < _FEW_BYTES else _Wary().decoder()
    values: list[Any]
    if count == 1:
        # Most values that are large come by themselves: that saves them a copy.
        values = [_guarded(data, decoder)]
    else:
        values = _guarded(b"\xdd" + count.to_bytes(4, "big") + data, decoder)
    # To take a value of the user's classes apart may raise anything, as to build it.
    if not _are_flat(values, data) and _guarded(data, lambda _: _are_deeper(values, data)):
        raise DecodeError(f"a value is nested too deeply: {MAX_DEPTH} containers are allowed")
    return values


def copy(value: T) -> T:
    """Return a deep copy, or `value` itself where nothing in it can change.

    Raises:
        Unserializable: a part is of a type that the codec does not know; see `encode`.
    """
    if type(value) in ATOMS:
        return value
    try:
        copied: T = _copy(value, STATE_DEPTH)
        return copied
    except (Unserializable, RecursionError) as error:
        raise _explained(_copy, value, STATE_DEPTH, str(error)) from None


def shown(value: object, limit: int = 200) -> str:
    """Return a value from outside as a message tells it: cut after `limit` characters.

    >>> shown(["a"]), shown(10**5000)
    ("['a']", 'a large int')
    """
    try:
        return repr(value)[:limit]
    except MemoryError:
        raise
    except Exception:
        # Integers of thousands of digits have no text, and what a class of the user's says of
        # itself is its own code, which may rely on what the bytes did not hold.
        return f"a large {type(value).__name__}"


# Packing: from a value to what the encoder can take


def _encode_native(value: Any, depth: int) -> bytes:
    try:
        return _encode(_pack(value, depth, NATIVE))
    except (OverflowError, UnicodeEncodeError):
        return _encode(_pack_thorough(value, depth))


def _pack_thorough(value: object, depth: int) -> object:
    return _pack(value, depth, _THOROUGH)


def _pack(value: Any, depth: int, native: _Native) -> Any:
    kind = type(value)
    return value if kind in native else _PACKERS[kind](value, depth, native)


def _pack_items(values: Iterable[Any], depth: int, native: _Native) -> list[Any]:
    if depth <= 0:
        raise Unserializable("it is nested too deeply, or contains itself")
    depth -= 1
    packers = _PACKERS
    return [
        item if (kind := type(item)) in native else packers[kind](item, depth, native)
        for item in values
    ]


def _pack_int(value: int, depth: int, native: _Native) -> object:
    if -(2**63) <= value < 2**64:
        return value
    return _Ext(_Code.INT, value.to_bytes(value.bit_length() // 8 + 1, "big", signed=True))


def _pack_str(value: str, depth: int, native: _Native) -> object:
    try:
        value.encode()
    except UnicodeEncodeError:
        return _Ext(_Code.STR, value.encode("utf-8", "surrogatepass"))
    return value


def _pack_list(value: list[Any] | tuple[Any, ...], depth: int, native: _Native) -> object:
    if depth > 0 and native.issuperset(map(type, value)):
        return value
    return _pack_items(value, depth, native)


def _pack_tuple(value: tuple[Any, ...], depth: int, native: _Native) -> object:
    return _Ext(_Code.TUPLE, _encode(_pack_list(value, depth, native)))


def _pack_dict(value: dict[Any, Any], depth: int, native: _Native) -> object:
    parts = value.values()
    if depth > 0 and native.issuperset(map(type, value)):
        if native.issuperset(map(type, parts)):
            return value
        return dict(zip(value, _pack_items(parts, depth, native), strict=True))
    keys = _pack_items(value, depth, native)
    values = _pack_items(parts, depth, native)
    if all(packed is key for packed, key in zip(keys, value, strict=True)):
        return dict(zip(keys, values, strict=True))
    # Extensions cannot be keys for the encoder, so keys and values alternate.
    pairs = [part for pair in zip(keys, values, strict=True) for part in pair]
    return _Ext(_Code.DICT, _encode(pairs))


def _pack_set(value: set[Any] | frozenset[Any], depth: int, native: _Native) -> object:
    parts = sorted(map(_encode, _pack_items(value, depth, native)))
    code = _Code.SET if type(value) is set else _Code.FROZENSET
    return _Ext(code, b"\xdd" + len(parts).to_bytes(4, "big") + b"".join(parts))


def _pack_atom(code: int, parts: Callable[[Any], Iterable[Any]]) -> "_Packer":
    """Return a packer for immutable values made of `parts`; they do not count as containers."""

    def pack(value: Any, depth: int, native: _Native) -> object:
        return _Ext(code, _encode(_pack_items(parts(value), _ATOM_DEPTH, native)))

    return pack


def _pack_parts(code: int, parts: Callable[[Any], Iterable[Any]]) -> "_Packer":
    """Return a packer for containers made of `parts`."""

    def pack(value: Any, depth: int, native: _Native) -> object:
        return _Ext(code, _encode(_pack_items(parts(value), depth, native)))

    return pack


def _pack_raw(code: int, raw: Callable[[Any], bytes]) -> "_Packer":
    return lambda value, depth, native: _Ext(code, raw(value))


def _pack_other(value: Any, depth: int, native: _Native) -> object:
    known = known_type(type(value))
    if known is None:
        raise Unserializable(_refusal(type(value)))
    parts = _pack(known.parts(value), depth, native)
    return _Ext(_Code.REGISTERED, _encode([known.name, parts]))


def _refusal(kind: type) -> str:
    """Return why values of `kind` cannot be encoded, and what to do about it."""
    name = f"{'an' if kind.__name__[:1].lower() in tuple('aeiou') else 'a'} {kind.__name__}"
    sort = kind_of(kind)
    if sort is not None:
        return (
            f"{name} cannot be encoded: register the {sort} on every member, with"
            f" @syncstructs.register above it{OR_PICKLE}"
        )
    for base in kind.__mro__[1:-1]:
        if base in _PACKERS or base in ATOMS:
            plain = f"it would come back as a plain {base.__name__}"
            return f"{name} cannot be encoded: {plain}{OR_PICKLE}"
    return (
        f"{name} cannot be encoded: of classes, dataclasses, enums and named tuples can be, once"
        f" every member has registered them{OR_PICKLE}"
    )


def _datetime_parts(value: datetime) -> list[Any]:
    day = [value.year, value.month, value.day]
    return [*day, *_time_parts(value)]


def _time_parts(value: datetime | time) -> list[Any]:
    return [
        value.hour, value.minute, value.second, value.microsecond, value.fold, value.tzinfo,
    ]  # fmt: skip


def _timedelta_parts(value: timedelta) -> list[Any]:
    return [value.days, value.seconds, value.microseconds]


def _timezone_parts(value: timezone) -> list[Any]:
    offset = value.utcoffset(None)
    name = value.tzname(None)
    return [offset, None if name == timezone(offset).tzname(None) else name]


def _zone_parts(value: ZoneInfo) -> list[Any]:
    if value.key is None:
        raise Unserializable("a ZoneInfo without key cannot be encoded: its rules are not a name")
    return [value.key]


def _fraction_parts(value: Fraction) -> list[Any]:
    parts = [value.numerator, value.denominator]
    if max(part.bit_length() for part in parts) > _FRACTION_BITS:
        raise Unserializable(f"a Fraction of more than {_FRACTION_BITS} bits cannot be encoded")
    return parts


def _slice_parts(value: Any) -> list[Any]:
    return [value.start, value.stop, value.step]


def _complex_parts(value: complex) -> list[Any]:
    return [value.real, value.imag]


_Packer = Callable[[Any, int, _Native], Any]


class _Packers(dict[type, _Packer]):
    """How to pack what is not native, by its type; all others are registered types, or refused."""

    def __missing__(self, kind: type) -> _Packer:
        return _pack_other


_PACKERS: Final = _Packers({
    # The first six come here only in the thorough way, or when they hold others.
    int: _pack_int,
    str: _pack_str,
    list: _pack_list,
    dict: _pack_dict,
    tuple: _pack_tuple,
    set: _pack_set,
    frozenset: _pack_set,
    bytearray: _pack_raw(_Code.BYTEARRAY, bytes),
    complex: _pack_atom(_Code.COMPLEX, _complex_parts),
    date: _pack_atom(_Code.DATE, lambda day: (day.year, day.month, day.day)),
    datetime: _pack_atom(_Code.DATETIME, _datetime_parts),
    time: _pack_atom(_Code.TIME, _time_parts),
    timedelta: _pack_atom(_Code.TIMEDELTA, _timedelta_parts),
    timezone: _pack_atom(_Code.TIMEZONE, _timezone_parts),
    ZoneInfo: _pack_atom(_Code.ZONE, _zone_parts),
    Decimal: _pack_raw(_Code.DECIMAL, lambda number: str(number).encode()),
    Fraction: _pack_atom(_Code.FRACTION, _fraction_parts),
    UUID: _pack_raw(_Code.UUID, lambda uuid: uuid.bytes),
    deque: _pack_parts(_Code.DEQUE, lambda value: (value.maxlen, *value)),
    range: _pack_atom(_Code.RANGE, _slice_parts),
    slice: _pack_parts(_Code.SLICE, _slice_parts),
    Pickled: _pack_raw(_Code.PICKLED, lambda value: value.encoded),
})  # fmt: skip


# Unpacking: from an extension to a value


def _items(data: memoryview, inner: _Decode) -> list[Any]:
    values = inner(data)
    if type(values) is not list:
        raise DecodeError(f"a {type(values).__name__} where parts of a value should be")
    return values


def _unpack_dict(data: memoryview, inner: _Decode) -> dict[Any, Any]:
    parts = _items(data, inner)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def _unpack_datetime(data: memoryview, inner: _Decode) -> datetime:
    year, month, day, hour, minute, second, micro, fold, zone = _items(data, inner)
    return datetime(year, month, day, hour, minute, second, micro, zone, fold=fold)


def _unpack_time(data: memoryview, inner: _Decode) -> time:
    hour, minute, second, micro, fold, zone = _items(data, inner)
    return time(hour, minute, second, micro, zone, fold=fold)


def _unpack_timezone(data: memoryview, inner: _Decode) -> timezone:
    offset, name = _items(data, inner)
    if name is not None:
        return timezone(offset, name)
    return timezone(offset) if offset else UTC


def _unpack_fraction(data: memoryview, inner: _Decode) -> Fraction:
    numerator, denominator = _items(data, inner)
    if max(numerator.bit_length(), denominator.bit_length()) > _FRACTION_BITS:
        raise DecodeError("the parts of a Fraction are too large")
    return Fraction(numerator, denominator)


def _unpack_deque(data: memoryview, inner: _Decode) -> deque[Any]:
    limit, *values = _items(data, inner)
    if limit is not None and limit < len(values):
        raise DecodeError(f"a deque of {len(values)} values over its limit {limit}")
    return deque(values, limit)


def _unpack_zone(data: memoryview, inner: _Decode) -> ZoneInfo:
    [key] = _items(data, inner)
    try:
        return ZoneInfo(key)
    except (ZoneInfoNotFoundError, OSError) as error:
        # Another machine may have it, so this is not a matter of the bytes.
        raise UnknownType(
            f"this machine has no time zone {shown(key, 100)}; install tzdata"
        ) from error


def _unpack_registered(data: memoryview, inner: _Decode) -> object:
    name, parts = _items(data, inner)
    known = known_name(name)
    if known is None:
        raise UnknownType(
            f"the class {shown(name)} is not registered here: every member must call"
            " syncstructs.register with it before its node starts"
        )
    try:
        return known.build(parts)
    except MemoryError:
        raise
    except Exception as error:
        raise UnknownType(
            f"{shown(name)} has other fields or members here than where the value was made: {error}"
        ) from error


_Unpacker = Callable[[memoryview, _Decode], object]
_UNPACKERS: Final[dict[int, _Unpacker]] = {
    _Code.INT: lambda data, inner: int.from_bytes(data, "big", signed=True),
    _Code.STR: lambda data, inner: str(data, "utf-8", "surrogatepass"),
    _Code.TUPLE: lambda data, inner: tuple(_items(data, inner)),
    _Code.SET: lambda data, inner: set(_items(data, inner)),
    _Code.FROZENSET: lambda data, inner: frozenset(_items(data, inner)),
    _Code.DICT: _unpack_dict,
    _Code.BYTEARRAY: lambda data, inner: bytearray(data),
    _Code.COMPLEX: lambda data, inner: complex(*_items(data, inner)),
    _Code.DATE: lambda data, inner: date(*_items(data, inner)),
    _Code.DATETIME: _unpack_datetime,
    _Code.TIME: _unpack_time,
    _Code.TIMEDELTA: lambda data, inner: timedelta(*_items(data, inner)),
    _Code.TIMEZONE: _unpack_timezone,
    _Code.ZONE: _unpack_zone,
    _Code.DECIMAL: lambda data, inner: Decimal(str(data, "ascii")),
    _Code.FRACTION: _unpack_fraction,
    _Code.UUID: lambda data, inner: UUID(bytes=bytes(data)),
    _Code.DEQUE: _unpack_deque,
    _Code.RANGE: lambda data, inner: range(*_items(data, inner)),
    _Code.SLICE: lambda data, inner: slice(*_items(data, inner)),
    _Code.REGISTERED: _unpack_registered,
    _Code.PICKLED: lambda data, inner: Pickled(bytes(data)),
}


def _decoder(inner: _Decode, note: Callable[[object], None] | None = None) -> _Decode:
    """Return a decoder whose extensions are decoded by `inner`, and told to `note`."""

    def unpack(code: int, data: memoryview) -> object:
        unpacker = _UNPACKERS.get(code)
        if unpacker is None:
            raise DecodeError(f"unknown extension {code}; written by a later release?")
        value = unpacker(data, inner)
        if note is not None:
            note(value)
        return value

    return msgspec.msgpack.Decoder(ext_hook=unpack).decode


class _Wary:
    """Decodes one value, and notes how many of its parts have the same hash."""

    def __init__(self) -> None:
        self._first: dict[int, object] = {}
        self._others: dict[int, list[object]] = {}

    def decoder(self, level: int = 0) -> _Decode:
        """Return what decodes values in so many extensions."""
        if level == STATE_DEPTH + _ATOM_DEPTH:
            return _too_deep
        made: _Decode | None = None

        def inner(data: bytes | memoryview) -> Any:
            # Not before it is needed: hardly ever are there more than two.
            nonlocal made
            if made is None:
                made = self.decoder(level + 1)
            return made(data)

        return _decoder(inner, self._note)

    def _note(self, value: object) -> None:
        try:
            hashed = hash(value)
            first = self._first.setdefault(hashed, value)
            if first is value or first == value:
                return
            others = self._others.setdefault(hashed, [])
            if value in others:
                return
        except MemoryError:
            raise
        except Exception:
            # It cannot be a key; or it is of a class of the user's, and another field is missing.
            return
        others.append(value)
        if len(others) >= _SAME_HASH_MAX:
            raise DecodeError(f"over {_SAME_HASH_MAX} different values have the same hash")


def _too_deep(data: bytes | memoryview) -> Any:
    raise DecodeError(f"extensions are nested deeper than {STATE_DEPTH}")


def _nested_decoder() -> _Decode:
    # One decoder per level: the depth is bounded without counting in a hook that threads share.
    decoder: _Decode = _too_deep
    for _ in range(STATE_DEPTH + _ATOM_DEPTH):
        decoder = _decoder(decoder)
    return decoder


_decode: Final = _nested_decoder()


# Depth


def _are_flat(values: list[Any], data: bytes | memoryview) -> bool:
    """Return whether their bytes tell at once that `values` are not nested deeper than allowed.

    They do of what there is most of: small calls, each a list that has a list of arguments in it;
    or one call that has nothing but a list of such calls as its argument, as a batch has.
    """
    # Only lists are looked into: with others, that may be code of the user's, of any kind.
    if len(values) == 1 and len(data) > _SMALL_BYTES and type(values[0]) is list:
        with contextlib.suppress(LookupError):
            arguments = _ARGUMENTS(values[0])
            if type(arguments) is list and len(arguments) == 1 and type(arguments[0]) is list:
                # All that is around it counts, as depth and as bytes alike.
                values = arguments[0]
    if len(data) > _SMALL_BYTES * (len(values) + 1):
        return False
    container_bytes = _container_bytes(data)
    if container_bytes <= MAX_DEPTH:
        return True
    if container_bytes > 2 * len(values) + MAX_DEPTH - 2:
        return False
    # All have these two: so none of them can have more than `MAX_DEPTH`.
    if {*map(type, values)} != {list}:
        return False
    with contextlib.suppress(LookupError):
        return {*map(type, map(_ARGUMENTS, values))} == {list}
    return False


def _container_bytes(data: bytes | memoryview) -> int:
    """Return how many bytes could begin a container; each container takes one at least."""
    return len(bytes(data).translate(None, _NO_CONTAINERS))


def _are_deeper(values: list[Any], data: bytes | memoryview) -> bool:
    """Return whether one of `values`, of which `data` are the bytes, is nested too deeply.

    Level by level and not value by value, with all values of a level at once: calls are small and
    many, and this is paid for each of them.
    """
    inside: list[Any] = [values]
    for _ in range(MAX_DEPTH + 1):
        apart: Iterable[Any] = inside
        if not _ROWS.issuperset(map(type, inside)):
            apart = map(_contents, inside)
        parts = list(chain.from_iterable(apart))
        # Where values are this small, it is faster to look at all bytes than at each of them.
        if len(data) <= _TINY_BYTES * len(parts) and _container_bytes(data) <= MAX_DEPTH:
            return False
        if _LEAVES.issuperset(map(type, parts)):
            return False
        inside = [part for part in parts if type(part) not in _LEAVES]
    return any(_contents(part) is not _NOTHING for part in inside)


# No tuple: an empty one that is a value is the very same.
_NOTHING: Final[list[Any]] = []


def _contents(value: Any) -> Iterable[Any]:
    """Return what stands one level inside; `_NOTHING` if it is no container."""
    kind = type(value)
    if kind in _ROWS:
        return value  # type: ignore[no-any-return]
    if kind is dict:
        return chain(value, value.values())
    if kind is slice:
        return _slice_parts(value)
    known = known_type(kind)
    if known is not None:
        parts = known.parts(value)
        if type(parts) is dict:
            return parts.values()
    return _NOTHING


# Copies


def _copy(value: Any, depth: int) -> Any:
    kind = type(value)
    if kind in ATOMS:
        return value
    copier = _COPIERS.get(kind)
    if copier is not None:
        return copier(value, depth)
    known = known_type(kind)
    if known is None:
        raise Unserializable(_refusal(kind))
    parts = known.parts(value)
    return known.build(_copy(parts, depth)) if type(parts) is dict else value


def _copy_items(values: Iterable[Any], depth: int) -> list[Any]:
    if depth <= 0:
        raise Unserializable("it is nested too deeply, or contains itself")
    depth -= 1
    return [item if type(item) in ATOMS else _copy(item, depth) for item in values]


def _copy_list(value: list[Any], depth: int) -> list[Any]:
    if depth > 0 and ATOMS.issuperset(map(type, value)):
        return value[:]
    return _copy_items(value, depth)


def _copy_dict(value: dict[Any, Any], depth: int) -> dict[Any, Any]:
    keys: Iterable[Any] = value
    if depth <= 0 or not ATOMS.issuperset(map(type, value)):
        keys = _copy_items(value, depth)
    elif ATOMS.issuperset(map(type, value.values())):
        return value.copy()
    return dict(zip(keys, _copy_items(value.values(), depth), strict=True))


def _copy_tuple(value: tuple[Any, ...], depth: int) -> tuple[Any, ...]:
    if depth > 0 and ATOMS.issuperset(map(type, value)):
        return value
    return tuple(_copy_items(value, depth))


_COPIERS: Final[dict[type, Callable[[Any, int], Any]]] = {
    list: _copy_list,
    dict: _copy_dict,
    tuple: _copy_tuple,
    set: lambda value, depth: set(_copy_items(value, depth)),
    frozenset: lambda value, depth: frozenset(_copy_items(value, depth)),
    bytearray: lambda value, depth: value[:],
    deque: lambda value, depth: deque(_copy_items(value, depth), value.maxlen),
    slice: lambda value, depth: slice(*_copy_items(_slice_parts(value), depth)),
    Pickled: lambda value, depth: value,
}


# Errors that name the place


def _explained(
    attempt: Callable[[Any, int], object], value: object, depth: int, reason: str, place: str = ""
) -> Unserializable:
    """Return the error for `value`, with the way to the part that `attempt` fails on."""
    while depth > 0:
        for step, part in _parts(value):
            try:
                attempt(part, depth - 1)
            except (Unserializable, RecursionError) as error:
                place, value, reason = place + step, part, str(error)
                break
        else:
            break
        depth -= 1
    if len(place) > 300:
        place = f"{place[:200]}...{place[-60:]}"
    return Unserializable(f"{place}: {reason}" if place else reason)


def _parts(value: Any) -> Iterator[tuple[str, object]]:
    """Yield the parts of a container, each with its place in it."""
    kind = type(value)
    if kind in (list, tuple, deque):
        yield from ((f"[{index}]", part) for index, part in enumerate(value))
    elif kind is dict:
        yield from ((f"[key {_short(key)}]", key) for key in value)
        yield from ((f"[{_short(key)}]", part) for key, part in value.items())
    elif kind in (set, frozenset):
        yield from (("{...}", part) for part in value)
    elif kind is slice:
        yield from zip((".start", ".stop", ".step"), _slice_parts(value), strict=True)
    elif kind in (datetime, time):
        yield ".tzinfo", value.tzinfo
    elif (known := known_type(kind)) is not None:
        try:
            parts = known.parts(value)
        except Unserializable:
            return
        if type(parts) is dict:
            yield from ((f".{name}", part) for name, part in parts.items())


def _short(key: object) -> str:
    return shown(key, 60) if type(key) in ATOMS else f"a {type(key).__name__}"
