"""Pickles: how values of any class get in and out of objects that were made with `pickle=True`.

To unpickle is to run what the pickle says. So it is done in one place, `_unpickled`, for an object
that the user of this node has made so (`Replicated._pickles`), on a node that lets in only who
knows its secret, and as a value is handed to that user: never while anything is applied or taken
over. All else, on all members, has `Pickled` values and treats them as bytes.

Pickles are made once, where the call is made, and only of what the codec does not know: of the
smallest part, while lists, tuples, deques, dicts by their values, and registered classes around it
stay what they are.
"""

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from ..codec import ATOMS, MAX_DEPTH, OR_PICKLE, encode
from ..errors import ConfigError, ResultLost, UnknownType, Unserializable
from ..pickled import Pickled
from ..registry import known_type
from .context import _current

if TYPE_CHECKING:
    from .port import Port
    from .replicated import Replicated

T = TypeVar("T")

PICKLE_PROTOCOL: Final = 5
"""That of Python 3.8 and all later ones: members may run different ones."""

Places: TypeAlias = Mapping[int | str, Callable[[Any], Any]]
"""Which arguments of a method are values, by position and by name, and what encloses them."""

_PLAIN: Final = frozenset({type(None), bool, int, float, str, bytes})


def allow_pickles(target: "Replicated") -> None:
    """Have values of any class go in and out of an object on this node; while it is made.

    `VALUES_IN` of its class says which arguments of which method those are, and what encloses them;
    `VALUES_OUT` names the methods that return some. What else reads them returns them `revealed`.
    """
    target._pickles = True


# Values on their way in


def enclosed(value: T) -> T:
    """Return `value` with every part that the codec does not know as a `Pickled`.

    Raises:
        Unserializable: there is such a part that cannot be pickled either.
    """
    return value if _is_native(value) else _enclosed(value, MAX_DEPTH)


def enclosed_values(pairs: dict[Any, T]) -> dict[Any, T]:
    """Return a dict with each of its values enclosed.

    Raises:
        Unserializable: a value cannot be pickled, or a key has no encoding.
    """
    for key in pairs:
        _refuse_foreign(key)
    return {key: enclosed(value) for key, value in pairs.items()}


def sought(target: "Replicated", value: T) -> T:
    """Return what an object has in the place of a value that is looked for in it."""
    if not target._pickles or _current.get() is not None:
        return value
    try:
        return enclosed(value)
    except Unserializable:
        # Nothing in there can equal it.
        return value


def enclosed_call(
    places: Places, args: tuple[object, ...], kwargs: dict[str, object]
) -> tuple[tuple[object, ...], dict[str, object]]:
    """Return the arguments of a call of an object that takes pickles, its values enclosed.

    Raises:
        Unserializable: a value cannot be pickled, or what is none has no encoding.
    """
    return (
        tuple(_argument(places, place, value) for place, value in enumerate(args)),
        {name: _argument(places, name, value) for name, value in kwargs.items()},
    )


def _argument(places: Places, place: int | str, value: object) -> object:
    enclose = places.get(place)
    try:
        if enclose is not None:
            return enclose(value)
        _refuse_foreign(value)
        return value
    except Unserializable as error:
        raise Unserializable(f"argument {place!r}: {error}") from error


def _refuse_foreign(key: object) -> None:
    """Refuse what would have to be pickled, and is no value."""
    if type(key) in _PLAIN:
        return
    try:
        encode(key)
    except Unserializable as error:
        reason = str(error).removesuffix(OR_PICKLE)
        raise Unserializable(
            f"{reason}; pickle=True is for the values that ReplDict, ReplList and queues are given,"
            " not for keys, which may be equal and have different pickles"
        ) from error


def _is_native(value: object) -> bool:
    """Whether the codec knows the value, with all its parts."""
    if type(value) in _PLAIN:
        return True
    try:
        encode(value)
    except Unserializable:
        return False
    return True


def _enclosed(value: Any, depth: int) -> Any:
    if _is_native(value):
        return value
    kind = type(value)
    if kind is dict and not _is_native(list(value)):
        # Its keys are no values, so it is pickled as a whole.
        return _pickled(value)
    if not _has_parts(value):
        return _pickled(value)
    if depth <= 0:
        raise Unserializable("it is nested too deeply, or contains itself")
    return _rebuilt(value, lambda part: _enclosed(part, depth - 1))


def _pickled(value: object) -> Pickled:
    # Whoever has no use for pickles never loads that module.
    import pickle

    try:
        return Pickled(pickle.dumps(value, PICKLE_PROTOCOL))
    except MemoryError:
        raise
    except Exception as error:
        raise Unserializable(
            f"a {type(value).__name__} can be neither encoded nor pickled: {error!r:.300}"
        ) from error


# Values on their way out


def refuse_pickles(port: "Port", name: str, target: "Replicated") -> None:
    """Refuse an object that is to unpickle on a node that lets in anybody.

    Raises:
        ConfigError: so it is.
    """
    if target._pickles and not port.authenticates:
        raise ConfigError(
            f"{name!r}, a {type(target).__name__}, was made with pickle=True, and this node lets in"
            " whoever reaches it: to unpickle what they send is to run their code; give all nodes a"
            " password or certificates (Config.password, Config.tls), or leave pickle=True out"
        )


def revealed(target: "Replicated", value: T) -> T:
    """Return what an object holds, or what a call has returned, as its reader is to see it.

    That is with its pickles unpickled, anew each time, if the object was made so on this node and
    this is no replicated method, where `value` is what it is on all members. An object that is
    attached to nothing shows it as it is, too: nobody vouches for what it was made of.

    Raises:
        UnknownType: that raised an error, such as one that its class cannot be imported here.
        ConfigError: the node lets in anybody.
    """
    binding = target._binding
    if not target._pickles or binding is None or _current.get() is not None:
        return value
    refuse_pickles(binding.port, binding.name, target)
    return _revealed(value)  # type: ignore[no-any-return]


def revealed_result(target: "Replicated", value: T) -> T:
    """Do as `revealed` with the result of a call, which is over.

    Raises:
        ResultLost: it cannot be unpickled here; `value` of the error is what it is.
    """
    try:
        return revealed(target, value)
    except UnknownType as error:
        lost = ResultLost(f"the call was applied, but its result cannot be had here: {error}")
        lost.value = value
        raise lost from error


def _revealed(value: Any) -> Any:
    kind = type(value)
    if kind in ATOMS:
        return value
    if kind is Pickled:
        return _unpickled(value)
    return _rebuilt(value, _revealed) if _has_parts(value) else value


def _unpickled(pickled: Pickled) -> Any:
    # The only place in this package where a pickle is read: see the top of the module.
    import pickle

    try:
        return pickle.loads(pickled.encoded)
    except MemoryError:
        raise
    except Exception as error:
        raise UnknownType(
            f"a pickle of {len(pickled.encoded)} bytes cannot be read on this node, which needs the"
            f" classes in it as they were where it was made: {error!r:.300}"
        ) from error


# Values with parts


def _has_parts(value: object) -> bool:
    kind = type(value)
    if kind is dict or kind in _SEQUENCES:
        return True
    known = known_type(kind)
    # Of an enum's member, the only part is its name.
    return known is not None and type(known.parts(value)) is dict


def _rebuilt(value: Any, make: Callable[[Any], Any]) -> Any:
    """Return a value with what `make` gives for each of its parts; keys stay as they are."""
    kind = type(value)
    if kind is dict:
        return {key: make(part) for key, part in value.items()}
    if kind in _SEQUENCES:
        return _SEQUENCES[kind](value, map(make, value))
    known = known_type(kind)
    assert known is not None, kind
    return known.build({name: make(part) for name, part in known.parts(value).items()})


_SEQUENCES: Final[Mapping[type, Callable[[Any, Iterable[Any]], Any]]] = {
    list: lambda value, parts: list(parts),
    tuple: lambda value, parts: tuple(parts),
    deque: lambda value, parts: deque(parts, value.maxlen),
}
