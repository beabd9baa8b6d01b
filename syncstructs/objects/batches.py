"""What the payload of an entry looks like: groups of commands, one after another.

A group is a run of one session's commands with consecutive sequence numbers. A leader joins the
groups of many nodes into one entry without decoding a command; a replica decodes each group's
commands in one call. Session 0 stands for the cluster itself: its commands carry no numbers.
"""

import struct
from collections.abc import Sequence
from typing import Any

import msgspec

from ..codec import MAX_DEPTH, decode, encode_command, encode_joined, shown
from ..errors import DecodeError
from .transactions import Condition

__all__ = [
    "Group", "command_parts", "decode_groups", "encode_batch", "encode_command", "encode_group",
    "encode_transaction",
]  # fmt: skip

_HEADER = struct.Struct(">QQII")


class Group(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run of commands of one session, numbered from `first_sequence` on without a gap."""

    session: int
    first_sequence: int
    count: int
    commands: bytes | memoryview
    """`count` encoded commands, one after another."""


def encode_batch(commands: Sequence[bytes]) -> bytes:
    """Return the command that applies `commands` one after the other, with nothing in between.

    Raises:
        Unserializable: a value is nested too deeply to stand in there.
    """
    return _with_calls("batch", (), commands)


def encode_transaction(conditions: Sequence[Condition], commands: Sequence[bytes]) -> bytes:
    """Return the command that applies `commands` as a batch does, if all `conditions` hold.

    Raises:
        Unserializable: a value is nested too deeply to stand in there.
    """
    rows = [[condition.target, condition.since, condition.reads] for condition in conditions]
    return _with_calls("transact", (rows,), commands)


def _with_calls(method: str, before: tuple[object, ...], commands: Sequence[bytes]) -> bytes:
    """Return a command of the table whose arguments are `before` and the list of commands."""
    if max(map(len, commands), default=0) > MAX_DEPTH - 3:
        # What is shorter than that cannot be too deep; of others, it has to be looked at.
        calls = [decode(command) for command in commands]
        return encode_command(0, method, (*before, calls), {})
    # All of it but the list of commands, which is its end.
    return encode_command(0, method, (*before, []), {})[:-1] + encode_joined(commands)


def command_parts(command: Any) -> tuple[int | str, str, list[Any], dict[str, Any]]:
    """Return target, method, args and kwargs of a command.

    Raises:
        DecodeError: it has another shape.
    """
    if isinstance(command, list) and 3 <= len(command) <= 4:
        target, method, args, kwargs = command if len(command) == 4 else [*command, {}]
        if (
            isinstance(target, int | str)
            and isinstance(method, str)
            and isinstance(args, list)
            and isinstance(kwargs, dict)
            and all(isinstance(name, str) for name in kwargs)
        ):
            return target, method, args, kwargs
    raise DecodeError(f"a {type(command).__name__} that is not a command: {shown(command)}")


def encode_group(session: int, first_sequence: int, count: int, commands: bytes) -> bytes:
    """Return a group as bytes; groups joined are the payload of an entry."""
    return _HEADER.pack(session, first_sequence, count, len(commands)) + commands


def decode_groups(payload: bytes) -> list[Group]:
    """Return the groups of an entry; their commands are not looked at.

    Raises:
        DecodeError: the payload is cut off, or a group says that it has no commands or more
            commands than bytes.
    """
    groups: list[Group] = []
    # Looked at where they are: a group may be as large as its only command is.
    view = memoryview(payload)
    at, end = 0, len(view)
    while at < end:
        if end - at < _HEADER.size:
            raise DecodeError(f"the header of a group is cut off at byte {at} of {end}")
        session, first, count, size = _HEADER.unpack_from(payload, at)
        at += _HEADER.size
        if size > end - at:
            raise DecodeError(f"a group of {size} bytes is cut off at byte {at} of {end}")
        if not 1 <= count <= size:
            raise DecodeError(f"a group of {size} bytes cannot hold {count} commands")
        groups.append(Group(session, first, count, view[at : at + size]))
        at += size
    return groups
