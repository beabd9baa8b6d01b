"""How the fuzzer changes inputs: as bytes, and as the trees of MessagePack that most of them are.

Bytes that hold values themselves (commands in a group, an extension, a message in a session) are
taken apart as well, so that a change deep inside leaves lengths and counts around it right.
"""

from collections.abc import Sequence
from random import Random
from typing import Any

import msgspec

Ext = msgspec.msgpack.Ext

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode

INPUT_BYTES_MAX = 64 * 1024

_NUMBERS = (
    0, 1, -1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 64, 65, 127, 128, 129, 255, 256, 1000, 4095, 4096,
    65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63, 2**64 - 1,
    -(2**31), -(2**63), -(2**63) + 1,
)  # fmt: skip
_FLOATS = (0.0, -0.0, 1.0, -1.0, 0.5, 1e9, 1e308, 5e-324, float("inf"), float("-inf"), float("nan"))
_TEXTS = (
    "", "a", "x" * 300, "\n", "\x1b[31m", "'", "\u2028", "__class__", "n1:1", "b:1", "0", "-",
    "_binding", "_watch", "_all_waiters", "_items", "box", "observer-5d41402abc4b2a76", "a:2", ":",
)  # fmt: skip
# What stands before values in bytes: nothing, the length of a record, the head of a greeting, of a
# record of the log, of a group.
_PREFIXES = (0, 8, 15, 22, 24)
_VALUE_COUNT = 6
_MAGIC = (
    b"\x00", b"\xff", b"\x7f", b"\x80", b"\xff\xff\xff\xff", b"\x00\x00\x00\x00", b"\n", b"\r\n",
)  # fmt: skip


def _big_integer(random: Random) -> Ext:
    return Ext(1, random.choice((b"\x7f", b"\x80")) + random.randbytes(random.choice((8, 9, 3000))))


def _deep(random: Random) -> Any:
    value: Any = random.choice((0, [], {}))
    for _ in range(random.choice((5, 60, 70, 130, 400))):
        value = [value]
    return value


def _anything(random: Random, pool: Sequence[Any]) -> Any:
    draws = (
        lambda: random.choice(_NUMBERS), lambda: random.choice(_FLOATS),
        lambda: random.choice(_TEXTS), lambda: None, lambda: random.random() < 0.5,
        lambda: [], lambda: {}, lambda: b"", lambda: random.randbytes(random.randrange(40)),
        lambda: _big_integer(random), lambda: _deep(random), lambda: float(random.randrange(100)),
        lambda: Ext(random.randrange(-1, 24), _encode(random.choice((0, [], "a", [1, 2], [1.5])))),
        lambda: {random.choice(_TEXTS): random.choice(_NUMBERS)},
        lambda: [random.choice(_NUMBERS)] * random.choice((1, 2, 3, 70)),
    )  # fmt: skip
    if pool and random.random() < 0.4:
        return random.choice(pool)
    return random.choice(draws)()


def values_in(data: bytes) -> tuple[bytes, list[Any]] | None:
    """Return a prefix and the values that follow it, None if there are none to be found."""
    for prefix in _PREFIXES:
        if len(data) <= prefix:
            return None
        for count in range(1, _VALUE_COUNT + 1):
            head = bytes((0x90 + count,))
            try:
                return data[:prefix], list(_decode(head + data[prefix:]))
            except msgspec.DecodeError as error:
                if "truncated" in str(error):
                    break
            except Exception:
                break
    return None


def parts_of(value: Any, found: list[Any], depth: int = 0) -> None:
    """Add what `value` is made of to `found`, to be used elsewhere."""
    if len(found) > 2000 or depth > 40:
        return
    found.append(value)
    if isinstance(value, list):
        for part in value:
            parts_of(part, found, depth + 1)
    elif isinstance(value, dict):
        for pair in value.items():
            parts_of(list(pair), found, depth + 1)
    elif isinstance(value, bytes) and len(value) < 4096:
        inner = values_in(value)
        if inner is not None:
            parts_of(inner[1], found, depth + 1)


def mutate(data: bytes, random: Random, pool: Sequence[Any]) -> bytes:
    """Return another input that is near `data`; `pool`: parts of other inputs."""
    for _ in range(random.choice((1, 1, 1, 2, 3, 5))):
        changed = _mutate_tree(data, random, pool) if random.random() < 0.75 else None
        data = _mutate_bytes(data, random) if changed is None else changed
    return data[:INPUT_BYTES_MAX]


def _mutate_tree(data: bytes, random: Random, pool: Sequence[Any]) -> bytes | None:
    found = values_in(data)
    if found is None:
        return None
    prefix, values = found
    try:
        changed = _mutate_value(values, random, pool, 0)
        if not isinstance(changed, list):
            changed = [changed]
        return prefix + b"".join(map(_encode, changed))
    except (OverflowError, UnicodeEncodeError, RecursionError, TypeError):
        return None


def _mutate_value(value: Any, random: Random, pool: Sequence[Any], depth: int) -> Any:
    if isinstance(value, list) and value and (depth == 0 or random.random() < 0.85):
        return _mutate_list(value, random, pool, depth)
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        changed = dict(value)
        if random.random() < 0.2:
            del changed[key]
        elif random.random() < 0.2:
            moved = changed.pop(key)
            changed[random.choice(_TEXTS)] = moved
        else:
            changed[key] = _mutate_value(value[key], random, pool, depth + 1)
        return changed
    if isinstance(value, bytes) and value and random.random() < 0.9:
        changed = _mutate_tree(value, random, pool) if random.random() < 0.8 else None
        return _mutate_bytes(value, random) if changed is None else changed
    if isinstance(value, Ext) and random.random() < 0.9:
        if random.random() < 0.1:
            return Ext(random.randrange(24), bytes(value.data))
        inner = bytes(value.data)
        changed = _mutate_tree(inner, random, pool) if random.random() < 0.8 else None
        return Ext(value.code, _mutate_bytes(inner, random) if changed is None else changed)
    if isinstance(value, bool):
        return not value
    if isinstance(value, int) and random.random() < 0.8:
        near = (value + 1, value - 1, value + 2, value ^ (1 << random.randrange(64)), -value)
        return random.choice((random.choice(near), random.choice(_NUMBERS)))
    if isinstance(value, float) and random.random() < 0.8:
        return random.choice((*_FLOATS, value + 0.1, -value))
    if isinstance(value, str) and value and random.random() < 0.6:
        at = random.randrange(len(value) + 1)
        return value[:at] + random.choice((*_TEXTS, "")) + value[at + random.randrange(2) :]
    return _anything(random, pool)


def _mutate_list(value: list[Any], random: Random, pool: Sequence[Any], depth: int) -> list[Any]:
    changed = list(value)
    at = random.randrange(len(changed))
    choice = random.random()
    if choice < 0.70:
        changed[at] = _mutate_value(changed[at], random, pool, depth + 1)
    elif choice < 0.76:
        del changed[at]
    elif choice < 0.84:
        changed.insert(at, random.choice(changed))
    elif choice < 0.92:
        changed.insert(at, _anything(random, pool))
    elif choice < 0.97:
        other = random.randrange(len(changed))
        changed[at], changed[other] = changed[other], changed[at]
    else:
        changed = changed[:at] + changed[at : at + 3] * random.choice((2, 4, 40)) + changed[at:]
    return changed


def _mutate_bytes(data: bytes, random: Random) -> bytes:
    at = random.randrange(len(data) + 1)
    end = min(len(data), at + random.choice((1, 1, 2, 4, 8, 32, len(data))))
    choice = random.randrange(7)
    if choice == 0 and at < len(data):
        return data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]
    if choice == 1:
        return data[:at] + data[end:]
    if choice == 2:
        return data[:at] + data[at:end] * random.choice((2, 2, 3, 50)) + data[end:]
    if choice == 3:
        return data[:at] + random.choice(_MAGIC) + data[at:]
    if choice == 4:
        magic = random.choice(_MAGIC)
        return data[:at] + magic + data[at + len(magic) :]
    if choice == 5:
        number = random.choice(_NUMBERS) % 2**64
        size = random.choice((1, 2, 4, 8))
        return data[:at] + (number % 256**size).to_bytes(size, "big") + data[at + size :]
    return data[:at] + random.randbytes(random.choice((1, 2, 4, 16))) + data[end:]
