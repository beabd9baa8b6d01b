"""Keys of `ReplList.sort` that can be replicated: functions that have a name in the log.

A lambda or a function of one's own exists in the caller's process only, maybe in another version
than in the others, so it can't be part of a command. What is here means the same on every member:
a fixed table of built-ins, and `operator.itemgetter` and `operator.attrgetter` with their
arguments. `str`, `repr` and `hash` are missing on purpose: their results for sets, and hashes of
strings, differ from process to process.
"""

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any

_NAMED: dict[str, Callable[[Any], Any]] = {
    "abs": abs,
    "bool": bool,
    "bytes.lower": bytes.lower,
    "float": float,
    "int": int,
    "len": len,
    "max": max,
    "min": min,
    "str.casefold": str.casefold,
    "str.lower": str.lower,
    "str.strip": str.strip,
    "str.upper": str.upper,
    "sum": sum,
}
_NAMES = {function: name for name, function in _NAMED.items()}


def encode_sort_key(key: Callable[[Any], Any] | None) -> list[Any] | None:
    """Return the key as a value that can be replicated.

    >>> encode_sort_key(str.lower)
    ['str.lower']
    >>> encode_sort_key(itemgetter(1, 0))
    ['itemgetter', 1, 0]

    Raises:
        TypeError: it is another function; the message says what to do.
    """
    if key is None:
        return None
    if isinstance(key, itemgetter | attrgetter):
        return [type(key).__name__, *key.__reduce__()[1]]
    name = _NAMES.get(key) if callable(key) and getattr(key, "__hash__", None) else None
    if name is None:
        raise TypeError(
            f"sort(key={key!r}) cannot be replicated: the other members do not have that function."
            f" Use one of {', '.join(_NAMED)}, operator.itemgetter or operator.attrgetter; or sort"
            " here, which sorts what this member sees: items[:] = sorted(items, key=...)"
        )
    return [name]


def decode_sort_key(key: list[Any] | None) -> Callable[[Any], Any] | None:
    """Return the function that `encode_sort_key` has named.

    Raises:
        TypeError: this version does not know the name.
    """
    if key is None:
        return None
    name, *args = key
    if name == "itemgetter":
        return itemgetter(*args)
    if name == "attrgetter":
        return attrgetter(*args)
    if name not in _NAMED:
        raise TypeError(f"the sort key {name!r} is unknown to this version")
    return _NAMED[name]
