"""A state in pieces that are encoded and decoded one by one: no copy of the whole is ever made.

The pieces are values of the codec. The first has the places of the large containers in the state,
the second the state with these empty; then come the contents of each in blocks, ended by None.
Where blocks end follows from what is in them, so equal states give equal pieces on every member.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Final

from ..codec import STATE_DEPTH, decode, encode, shown
from ..errors import DecodeError

# A container with no more than this is written as a whole; of a larger one, the first block.
_FEW: Final = 64
_MANY: Final = 4096
# About what a block has; more if large values come after small ones.
_BLOCK_BYTES: Final = 256 * 1024
# How deep large containers are looked for: attributes of an object, and what these are made of.
_PLACE_DEPTH: Final = 2

_END: Final = encode(None)
_NOWHERE: Final = encode([])

_Place = list[Any]
"""Keys and positions that lead to a container, from the state itself."""


def pieces_of(state: object) -> Iterator[bytes]:
    """Yield a state piece by piece; it must not change until the last one is taken.

    Raises:
        Unserializable: a part of it has no encoding.
    """
    large: list[tuple[_Place, Any]] = []
    hollow = _hollow(state, [], large)
    yield encode([place for place, _ in large]) if large else _NOWHERE
    # Deeper than a call may be: a value that came in by a call is wrapped in the state.
    yield encode(hollow, max_depth=STATE_DEPTH)
    for _, container in large:
        yield from _blocks(container)
        yield _END


def whole(encoded: bytes) -> tuple[bytes, ...]:
    """Return the pieces of a state that was encoded as one value."""
    return _NOWHERE, encoded


def state_of(pieces: Iterable[bytes]) -> Any:
    """Return the state that was given to `pieces_of`; takes no piece beyond its last one.

    Raises:
        UnknownType, DecodeError: they are not pieces of a state; see `codec.decode`.
    """
    steps = iter(pieces)
    places = _next(steps)
    if type(places) is not list:
        raise DecodeError(f"a {type(places).__name__} where the places of containers should be")
    state = _next(steps)
    for place in places:
        fill = _filler(_found(state, place))
        while (block := _next(steps)) is not None:
            fill(block)
    return state


def _hollow(value: Any, place: _Place, large: list[tuple[_Place, Any]]) -> Any:
    """Return `value` with large containers in it left empty; note those, with their contents."""
    kind = type(value)
    if kind not in _EMPTY:
        return value
    if len(value) > _FEW:
        large.append((place, value))
        return _EMPTY[kind](value)
    if len(place) >= _PLACE_DEPTH or kind is deque:
        return value
    if kind is list:
        return [
            _hollow(part, [*place, at], large) if type(part) in _EMPTY else part
            for at, part in enumerate(value)
        ]
    # Other keys than text might not be found again: NaN equals nothing.
    return {
        key: _hollow(part, [*place, key], large)
        if type(part) in _EMPTY and type(key) is str
        else part
        for key, part in value.items()
    }


_EMPTY: Final[dict[type, Callable[[Any], Any]]] = {
    dict: lambda value: {},
    list: lambda value: [],
    deque: lambda value: deque(maxlen=value.maxlen),
}


def _blocks(container: Any) -> Iterator[bytes]:
    """Yield the contents of a container in parts of its type, never empty ones."""
    parts: Iterator[Any] = iter(container)
    make: Callable[[Any], Any] = list
    if type(container) is dict:
        parts, make = iter(container.items()), dict
    count = _FEW
    while block := make(islice(parts, count)):
        encoded = encode(block, max_depth=STATE_DEPTH)
        yield encoded
        count = min(max(count * _BLOCK_BYTES // len(encoded), 1), _MANY)


def _found(state: Any, place: Any) -> Any:
    try:
        for step in _checked(place, list):
            state = state[step]
    except (LookupError, TypeError) as error:
        raise DecodeError(f"the state has no place {shown(place, 100)} to be filled") from error
    return state


def _filler(container: Any) -> Callable[[Any], object]:
    """Return what puts a block into a container."""
    if type(container) is dict:
        return lambda block: container.update(_checked(block, dict))
    if type(container) in (list, deque):
        return lambda block: container.extend(_checked(block, list))
    raise DecodeError(f"a {type(container).__name__} cannot be filled by blocks")


def _checked(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise DecodeError(f"a {type(value).__name__} where a {kind.__name__} should be")
    return value


def _next(pieces: Iterator[bytes]) -> Any:
    for piece in pieces:
        return decode(piece)
    raise DecodeError("the state ends before its last piece")
