"""The whole state of a replica as bytes: what a snapshot holds.

Written and read piece by piece, so that no copy of the whole is ever made: records, each behind its
length, of which the first tells what is not in an object; then for each object a row about it, its
state in the pieces of `pieces.py`, and an empty record; another empty one is the end. A member that
does not carry an object, or does not know its class, keeps the pieces and hands them over later, or
to others.
"""

import struct
from collections.abc import Iterable, Iterator
from itertools import chain
from math import isfinite
from typing import Any, Final

import msgspec

from ..codec import STATE_DEPTH, decode, encode, shown
from ..errors import DecodeError, NodeFailed, Unserializable
from .comparison import Divergence, divergences_of, rows_of
from .pieces import pieces_of, whole
from .replicated import Replicated, type_name
from .transactions import Marks

# Formats 1 and 2 were one value of the codec, of which 2 had the versions of methods, and what
# differs between members. Whatever a reader must not overlook raises the format, or that member
# would go its own way.
_FORMATS: Final = {1: frozenset({"serial", "time", "applied_index", "sessions", "wanted"})}
_FORMATS[2] = _FORMATS[1] | {"versions", "diverged"}
# A node's classes are told in this one, too.
_FORMATS[3] = _FORMATS[2]
# Written only where there are due times, or marks: releases before can go on with all other images.
_FORMATS[4] = _FORMATS[3] | {"due", "marks"}
_FORMAT: Final = 4

_LENGTH: Final = struct.Struct(">Q")
# Of what types the parts of a row are.
_ROW: Final = (int, str, str, dict, list | None, list, list)
_ROW_LENGTH: Final = len(_ROW)
# What is passed on at once, if a single record is not larger.
_CHUNK_BYTES: Final = 256 * 1024


class ObjectImage(msgspec.Struct, array_like=True):
    """One object: what the cluster knows of it, its state, and what was not applied to it yet."""

    id: int
    name: str
    type_name: str
    options: dict[str, Any]
    args: list[Any] | None
    """Positional arguments of its `create`; None if it was attached."""
    backlog: list[bytes]
    """Commands since `pieces`, oldest first; only where the object is not attached."""
    methods: list[str]
    """Names of its commands, sorted."""
    pieces: Iterable[bytes]
    """Its state; see `pieces.pieces_of`. To be taken once, and before the next object."""


class Image(msgspec.Struct):
    """The state of a replica at an applied index."""

    serial: int
    time: int
    applied_index: int
    sessions: Any
    wanted: tuple[str, ...]
    """Who is to have a vote."""
    objects: Iterable[ObjectImage]
    """To be taken once."""
    versions: list[Any] | None = None
    """See `Versions.state`."""
    diverged: dict[int, Divergence] = msgspec.field(default_factory=dict)
    """The objects that are not the same on all members, by id."""
    marks: Marks | None = None
    """Which command ran last on each object, if the cluster keeps that."""
    due: dict[int, float] = msgspec.field(default_factory=dict)
    """The due times that belong to the states, by id."""


# Writing


def encode_image(image: Image) -> Iterator[bytes]:
    """Yield an image in parts of some 256 KiB; `decode_image` of any later release reads them.

    Raises:
        Unserializable: a state holds a value without encoding.
    """
    parts: list[bytes] = []
    size = 0
    for record in _records(image):
        parts += (_LENGTH.pack(len(record)), record)
        size += _LENGTH.size + len(record)
        if size >= _CHUNK_BYTES:
            yield b"".join(parts)
            parts, size = [], 0
    yield b"".join(parts)


def _records(image: Image) -> Iterator[bytes]:
    fields = {
        "version": 3,
        "serial": image.serial,
        "time": image.time,
        "applied_index": image.applied_index,
        "sessions": image.sessions,
        "wanted": list(image.wanted),
        "versions": image.versions,
        "diverged": rows_of(image.diverged),
    }
    if image.due or image.marks is not None:
        marks = None if image.marks is None else image.marks.state()
        fields |= {"version": _FORMAT, "due": image.due, "marks": marks}
    yield encode(fields, max_depth=STATE_DEPTH)
    for o in image.objects:
        row = [o.id, o.name, o.type_name, o.options, o.args, o.backlog, o.methods]
        yield encode(row, max_depth=STATE_DEPTH)
        yield from o.pieces
        yield b""
    yield b""


# Reading


def decode_image(chunks: Iterable[bytes]) -> Image:
    """Return what `encode_image` was given, from its bytes in parts of any size.

    No more of them is taken than what is asked of its objects needs.

    Raises:
        NodeFailed: these bytes are no image, or of a release that came after this one. Also while
            the objects are taken.
    """
    steps = iter(chunks)
    start = b""
    while not start and (chunk := next(steps, None)) is not None:
        start = chunk
    try:
        if start[:1] == b"\0":
            records = _split(chain([start], steps))
            return _image(decode(_next(records)), _objects(records))
        # A length of 2**56 and more is none: this is the first byte of a value.
        fields = decode(b"".join([start, *steps]))
        rows = fields.pop("objects", ())
        return _image(fields, [_object([*row[:5], *row[6:]], whole(row[5])) for row in rows])
    except (DecodeError, LookupError, TypeError, AttributeError) as error:
        raise _unreadable(error) from error


def pieces_of_object(chunks: Iterable[bytes], id_: int) -> Iterable[bytes]:
    """Return the state of a single object from an image, in pieces.

    Raises:
        NodeFailed: it is not in there. Also while the pieces are taken.
    """
    for found in decode_image(chunks).objects:
        if found.id == id_:
            return found.pieces
    raise _unreadable(f"it has no object {id_}")


def _image(fields: dict[str, Any], objects: Iterable[ObjectImage]) -> Image:
    version = fields.pop("version")
    if version not in _FORMATS:
        raise NodeFailed(
            f"a snapshot has format {shown(version)}, but this release reads formats up to"
            f" {_FORMAT} only; run this member with the release that the others run"
        )
    if unknown := sorted(fields.keys() - _FORMATS[version]):
        raise DecodeError(f"{shown(unknown[0])} is no part of format {version}")
    return Image(
        serial=fields["serial"],
        time=fields["time"],
        applied_index=fields["applied_index"],
        sessions=fields["sessions"],
        # Releases that could not change members did not say it.
        wanted=tuple(fields.get("wanted", ())),
        objects=objects,
        versions=fields["versions"] if version > 1 else None,
        diverged=divergences_of(fields["diverged"]) if version > 1 else {},
        due=_due(fields["due"]) if version > 3 else {},
        marks=Marks.restored(fields["marks"]) if fields.get("marks") is not None else None,
    )


def _due(times: Any) -> dict[int, float]:
    kinds = {(type(id_), type(time)) for id_, time in times.items()}
    if not kinds <= {(int, float)} or not all(map(isfinite, times.values())):
        raise DecodeError(f"it has no meaning: due times are {shown(times)}")
    return dict(times)


def _objects(records: Iterator[bytes]) -> Iterator[ObjectImage]:
    try:
        while record := _next(records):
            pieces = _until_empty(records)
            yield _object(decode(record), pieces)
            # What nobody wanted to have.
            for _ in pieces:
                pass
    except DecodeError as error:
        raise _unreadable(error) from error


def _object(row: Any, pieces: Iterable[bytes]) -> ObjectImage:
    if type(row) is not list or len(row) != _ROW_LENGTH:
        raise DecodeError(f"a {type(row).__name__} where a row about an object should be")
    id_, name, type_name, options, args, backlog, methods = row
    if not all(map(isinstance, row, _ROW)):
        raise DecodeError(f"it has no meaning: a row about an object is {shown(row)}")
    if not (_is_all(backlog, bytes) and _is_all(methods, str) and _is_all(options, str)):
        raise DecodeError(f"it has no meaning: parts of object {shown(name)} are of other types")
    return ObjectImage(id_, name, type_name, options, args, backlog, methods, pieces)


def _is_all(values: Iterable[object], kind: type) -> bool:
    return all(type(value) is kind for value in values)


def _until_empty(records: Iterator[bytes]) -> Iterator[bytes]:
    while record := _next(records):
        yield record


def _next(records: Iterator[bytes]) -> bytes:
    for record in records:
        return record
    raise _unreadable("its end is missing")


def _split(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the records in chunks whose limits are anywhere."""
    kept = bytearray()
    for chunk in chunks:
        kept += chunk
        at = 0
        while len(kept) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(kept, at)
            end = at + _LENGTH.size + length
            if end > len(kept):
                break
            yield bytes(memoryview(kept)[at + _LENGTH.size : end])
            at = end
        del kept[:at]
    if kept:
        raise _unreadable("it ends in the midst of a record")


def _unreadable(error: object) -> NodeFailed:
    return NodeFailed(f"a snapshot cannot be read: {error}")


# States of single objects


def state_pieces(name: str, target: Replicated) -> Iterator[bytes]:
    """Yield the state of an object in pieces; equal states give equal ones on every member.

    Raises:
        Unserializable: a part of it has no encoding; names the object and the attribute.
    """
    state = target.snapshot_state()
    try:
        yield from pieces_of(state)
    except Unserializable as error:
        raise _with_place(name, target, state, error) from error


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
        raise _with_place(name, target, state, error) from error


def _with_place(
    name: str, target: Replicated, state: object, error: Unserializable
) -> Unserializable:
    return Unserializable(
        f"object {name!r} ({type_name(type(target))}){_culprit(state)}: {error}"
    )


def _culprit(state: object) -> str:
    if isinstance(state, dict):
        for attribute, value in state.items():
            try:
                encode(value, max_depth=STATE_DEPTH)
            except Unserializable:
                return f", attribute {attribute!r}"
    return ""
