"""Images taken apart and put together, so that tests can change a part of one."""

import struct

from syncstructs.codec import STATE_DEPTH, decode, encode
from syncstructs.objects.pieces import state_of

_LENGTH = struct.Struct(">Q")


def image_of(table):
    """Return the image of a table as it is now, as bytes."""
    return b"".join(table.image())


def split(image):
    """Return the records of an image."""
    records, at = [], 0
    while at < len(image):
        (length,) = _LENGTH.unpack_from(image, at)
        at += _LENGTH.size
        records.append(image[at : at + length])
        at += length
    return records


def join(records):
    """Return the image that has these records."""
    return b"".join(_LENGTH.pack(len(record)) + record for record in records)


def fields_of(image):
    """Return what an image tells that is in no object."""
    return decode(split(image)[0])


def with_fields(image, **changed):
    """Return an image that tells something else."""
    fields = fields_of(image) | changed
    return join([encode(fields, max_depth=STATE_DEPTH), *split(image)[1:]])


def as_value(image, version):
    """Return the fields of an image as formats 1 and 2 had them, as one value."""
    head, *records = split(image)
    fields = decode(head) | {"version": version, "objects": []}
    if version == 1:
        del fields["versions"], fields["diverged"]
    steps = iter(records)
    while row := next(steps):
        *start, backlog, methods = decode(row)
        pieces = list(iter(lambda: next(steps), b""))
        state = encode(state_of(pieces), max_depth=STATE_DEPTH)
        fields["objects"].append([*start, state, backlog, methods])
    return fields
