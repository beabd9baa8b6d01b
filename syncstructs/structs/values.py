"""Values on their way out of a replica, and collections on their way in.

A read must never hand out a piece of the state itself: whoever changed it would change this replica
alone. And nothing that a member derives from its arguments may depend on the order of a set, which
differs from process to process.
"""

from collections.abc import Iterable
from typing import Any, TypeVar

from ..codec import ATOMS, copy, encode

T = TypeVar("T")


def isolated(value: T) -> T:
    """Return `value` itself if it is immutable, else a copy that shares nothing with it."""
    return value if type(value) in ATOMS else copy(value)


def isolated_list(values: Iterable[T]) -> list[T]:
    """Return the values as a list of their own, each isolated."""
    return [value if type(value) in ATOMS else copy(value) for value in values]


def in_order(values: Iterable[T]) -> list[T]:
    """Return the values as a list whose order is the same on every member.

    Built-in sets are ordered by the encoding of their elements, as each process iterates over them
    in an order of its own. Everything else keeps the order in which it is iterated.

    Raises:
        TypeError: `values` cannot be iterated.
        Unserializable: an element of a set has no encoding.
    """
    if isinstance(values, set | frozenset):
        return sorted(values, key=_encoding)
    return list(values)


def _encoding(value: Any) -> bytes:
    return encode(value)
