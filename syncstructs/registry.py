"""Which classes of the user's may be encoded: dataclasses, enums and named tuples, by name.

The codec takes their values apart and puts them together through what is kept here. Only a class
that this process has registered can ever be built from bytes, and none of its code runs then.
"""

import dataclasses
import enum
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple, TypeVar, overload

from .errors import DecodeError, Unserializable

T = TypeVar("T")
_Maker = Callable[[], Any]


class Known(NamedTuple):
    """A registered class, how its values come apart, and how they are put together."""

    cls: type
    name: str
    parts: Callable[[Any], Any]
    """A dict of fields; an enum's member has its name or number instead."""
    build: Callable[[Any], Any]

    @property
    def origin(self) -> tuple[str, str]:
        return self.cls.__module__, self.cls.__qualname__


_by_name: Final[dict[str, Known]] = {}
_by_type: Final[dict[type, Known]] = {}
_MISSING: Final = object()


@overload
def register(cls: type[T], *, name: str | None = None) -> type[T]: ...
@overload
def register(*, name: str | None = None) -> Callable[[type[T]], type[T]]: ...
def register(
    cls: type[T] | None = None, *, name: str | None = None
) -> type[T] | Callable[[type[T]], type[T]]:
    """Let values of a dataclass, an enum or a named tuple be passed; a decorator, or a call.

    Every member must register the class under the same `name`, by default its module and qualified
    name (so give one to a class of a script that other members import as a module). Values come
    back field by field; neither `__init__` nor `__post_init__` runs. A field that the bytes lack
    takes its default; one that the class lacks is an error. Flags are encoded by value, other enums
    by member name.

    Raises:
        TypeError: the class is of another kind, or a dataclass that extends a builtin type.
        ValueError: another class has that name.
    """
    if cls is None:
        return lambda late: register(late, name=name)
    known = _known_as(cls, f"{cls.__module__}.{cls.__qualname__}" if name is None else name)
    holder = _by_name.get(known.name)
    if holder is not None and holder.origin != known.origin:
        raise ValueError(f"{known.name!r} is the registered name of {holder.cls!r} already")
    # A class that is defined again, as on reload, takes the name over; instances of the old one
    # can still be encoded, and come back as instances of the new one.
    _by_name[known.name] = known
    _by_type[cls] = known
    return cls


def known_type(cls: type) -> Known | None:
    """Return how values of exactly this class are encoded, or None."""
    return _by_type.get(cls)


def known_name(name: str) -> Known | None:
    """Return the class that was registered under `name`, or None."""
    return _by_name.get(name)


def kind_of(cls: type) -> str | None:
    """Return what a class is that could be registered, None for any other."""
    if issubclass(cls, enum.Enum):
        return "enum"
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return "named tuple"
    return "dataclass" if dataclasses.is_dataclass(cls) else None


def _known_as(cls: Any, name: str) -> Known:
    if issubclass(cls, enum.Flag):
        return Known(cls, name, lambda member: member.value, cls)
    if issubclass(cls, enum.Enum):
        return Known(cls, name, lambda member: member.name, lambda name: cls[name])
    if issubclass(cls, tuple) and hasattr(cls, "_fields"):
        return _known_named_tuple(cls, name)
    if dataclasses.is_dataclass(cls) and "__dataclass_fields__" in vars(cls):
        return _known_dataclass(cls, name)
    raise TypeError(
        f"{cls!r} cannot be registered: it is no dataclass, enum or named tuple itself"
    )


def _known_named_tuple(cls: Any, name: str) -> Known:
    defaults = cls._field_defaults
    makers: dict[str, _Maker | None] = {
        field: partial(defaults.__getitem__, field) if field in defaults else None
        for field in cls._fields
    }

    def build(parts: Any) -> object:
        return tuple.__new__(cls, _filled(name, makers, parts).values())

    return Known(cls, name, lambda value: dict(zip(cls._fields, value, strict=True)), build)


def _known_dataclass(cls: Any, name: str) -> Known:
    try:
        object.__new__(cls)
    except TypeError as error:
        raise TypeError(f"{cls!r} cannot be registered: {error}") from error
    makers = {field.name: _default_of(field) for field in dataclasses.fields(cls)}

    def parts(value: object) -> dict[str, object]:
        found = {field: getattr(value, field, _MISSING) for field in makers}
        for field, part in found.items():
            if part is _MISSING:
                raise Unserializable(f"its field {field!r} was never set")
        return found

    def build(parts: Any) -> object:
        value: Any = object.__new__(cls)
        for field, part in _filled(name, makers, parts).items():
            object.__setattr__(value, field, part)  # also where the class is frozen
        return value

    return Known(cls, name, parts, build)


def _default_of(field: "dataclasses.Field[Any]") -> _Maker | None:
    if field.default is not dataclasses.MISSING:
        return lambda: field.default
    return None if field.default_factory is dataclasses.MISSING else field.default_factory


def _filled(name: str, makers: dict[str, _Maker | None], parts: Any) -> dict[str, object]:
    """Return the fields in their order, absent ones by their defaults."""
    if len(parts) == len(makers) and parts.keys() == makers.keys():
        return {field: parts[field] for field in makers}
    if unknown := parts.keys() - makers.keys():
        raise DecodeError(f"{name} has no field {min(map(ascii, unknown)):.200} on this member")
    filled = {}
    for field, make in makers.items():
        if field not in parts and make is None:
            raise DecodeError(f"{name} has no value for its field {field!r}")
        filled[field] = parts[field] if field in parts else make()  # type: ignore[misc]
    return filled
