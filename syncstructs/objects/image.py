"""The whole state of a replica as bytes: what a snapshot holds.

Each object's state is encoded by itself, so a member that does not carry an object, or does not
know its class, can keep the bytes and hand them over later, or to others.
"""

from typing import Any

import msgspec

from ..codec import STATE_DEPTH, decode, encode
from ..errors import DecodeError, NodeFailed, Unserializable
from .comparison import Divergence, divergences_of, rows_of
from .replicated import Replicated, type_name

# What is written has the lowest format whose readers overlook nothing of it: 2 has the versions of
# methods, and what differs between members. Whatever a reader must not overlook raises it, or that
# member would go its own way.
_FORMATS = {1: frozenset({"serial", "time", "applied_index", "sessions", "wanted", "objects"})}
_FORMATS[2] = _FORMATS[1] | {"versions", "diverged"}


class ObjectImage(msgspec.Struct, array_like=True):
    """One object: what the cluster knows of it, its state, and what was not applied to it yet."""

    id: int
    name: str
    type_name: str
    options: dict[str, Any]
    args: list[Any] | None
    """Positional arguments of its `create`; None if it was attached."""
    state: bytes
    backlog: list[bytes]
    """Commands since `state`, oldest first; only where the object is not attached."""
    methods: list[str]
    """Names of its commands, sorted."""


class Image(msgspec.Struct):
    """The state of a replica at an applied index."""

    serial: int
    time: int
    applied_index: int
    sessions: Any
    wanted: tuple[str, ...]
    """Who is to have a vote."""
    objects: list[ObjectImage]
    versions: list[Any] | None = None
    """See `Versions.state`."""
    diverged: dict[int, Divergence] = msgspec.field(default_factory=dict)
    """The objects that are not the same on all members, by id."""


def encode_image(image: Image) -> bytes:
    """Return an image as bytes; `decode_image` of any later release reads them."""
    is_plain = image.versions is None and not image.diverged
    fields = {
        "version": 1 if is_plain else 2,
        "serial": image.serial,
        "time": image.time,
        "applied_index": image.applied_index,
        "sessions": image.sessions,
        "wanted": list(image.wanted),
        "objects": [
            [o.id, o.name, o.type_name, o.options, o.args, o.state, o.backlog, o.methods]
            for o in image.objects
        ],
    }
    if not is_plain:
        fields["versions"] = image.versions
        fields["diverged"] = rows_of(image.diverged)
    return encode(fields, max_depth=STATE_DEPTH)


def decode_image(image: bytes) -> Image:
    """Return what `encode_image` was given.

    Raises:
        NodeFailed: these bytes are no image, or of a release that came after this one.
    """
    try:
        fields = decode(image)
        version = fields.pop("version")
        if version in _FORMATS:
            if unknown := sorted(fields.keys() - _FORMATS[version]):
                raise DecodeError(f"{unknown[0]!r} is no part of format {version}")
            return Image(
                serial=fields["serial"],
                time=fields["time"],
                applied_index=fields["applied_index"],
                sessions=fields["sessions"],
                # Releases that could not change members did not say it.
                wanted=tuple(fields.get("wanted", ())),
                objects=[ObjectImage(*row) for row in fields["objects"]],
                versions=fields["versions"] if version > 1 else None,
                diverged=divergences_of(fields["diverged"]) if version > 1 else {},
            )
    except (DecodeError, LookupError, TypeError, AttributeError) as error:
        raise NodeFailed(f"a snapshot of {len(image)} bytes cannot be read: {error}") from error
    raise NodeFailed(
        f"a snapshot has format {version!r}, but this release reads formats up to {max(_FORMATS)}"
        " only; run this member with the release that the others run"
    )


def encode_state(name: str, target: Replicated) -> bytes:
    """Return the state of an object as bytes; equal states give equal bytes on every member.

    Raises:
        Unserializable: a part of it has no encoding; names the object and the attribute.
    """
    state = target.snapshot_state()
    try:
        # Deeper than a call may be: a value that came in by a call is wrapped in the state.
        return encode(state, max_depth=STATE_DEPTH)
    except Unserializable as error:
        raise Unserializable(
            f"object {name!r} ({type_name(type(target))}){_culprit(state)}: {error}"
        ) from error


def _culprit(state: object) -> str:
    if isinstance(state, dict):
        for attribute, value in state.items():
            try:
                encode(value, max_depth=STATE_DEPTH)
            except Unserializable:
                return f", attribute {attribute!r}"
    return ""
