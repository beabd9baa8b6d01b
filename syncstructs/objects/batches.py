"""What the payload of an entry looks like: groups of commands, one after another.

A group is a run of one session's commands with consecutive sequence numbers. A leader joins the
groups of many nodes into one entry without decoding a command; a replica decodes each group's
commands in one call. Session 0 stands for the cluster itself: its commands carry no numbers.
"""

import struct
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from ..codec import MAX_DEPTH, decode, encode_command, encode_joined, encode_run, shown
from ..errors import DecodeError, OutcomeUnknown
from .transactions import Condition

if TYPE_CHECKING:
    from .port import Binding

__all__ = [
    "NO_RUN", "Group", "Run", "command_parts", "decode_groups", "encode_batch", "encode_command",
    "encode_group", "encode_transaction", "is_run", "one_by_one",
]  # fmt: skip

_HEADER = struct.Struct(">QQII")


class Group(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run of commands of one session, numbered from `first_sequence` on without a gap."""

    session: int
    first_sequence: int
    count: int
    commands: bytes | memoryview
    """`count` encoded commands, one after another."""


class Run:
    """Calls of one method, to stand in a batch, with nothing but `codec.NATIVE` in their arguments.

    These cannot change, so they are encoded when all are there. A run takes a third of the time
    that its calls take one by one, to decode and to apply.
    """

    __slots__ = ("binding", "method", "operator", "target", "values", "width")

    def __init__(
        self, target: int | str, method: str, width: int, binding: "Binding | None" = None
    ) -> None:
        self.binding = binding
        """The object's."""
        self.operator: Callable[..., Any] | None = None
        """Whose calls need no more than that their arguments are added, if they may be in a run."""
        self.target = target
        self.method = method
        self.width = width
        """How many arguments each call has; 1 or more."""
        self.values: list[object] = []
        """The arguments of all calls, one call after the other."""

    def __len__(self) -> int:
        return len(self.values) // self.width

    def is_continued_by(self, other: "Run") -> bool:
        """Return whether the calls of both, one after the other, are one run."""
        return (self.target, self.method, self.width) == (other.target, other.method, other.width)

    def copy(self) -> "Run":
        """Return a run of the calls that are here now."""
        run = Run(self.target, self.method, self.width)
        run.values = self.values.copy()
        return run

    def encode(self) -> bytes:
        """Return the whole run as it stands in a batch: `[target, method, values, width]`."""
        return encode_run(self.target, self.method, self.values, self.width)

    def commands(self) -> list[bytes]:
        """Return the calls as commands."""
        calls = one_by_one([self.target, self.method, self.values, self.width])
        return [encode_command(target, method, args, {}) for target, method, args in calls]


NO_RUN: Final = Run("", "", 1)
"""No call continues it."""


def came_as_it_ended() -> OutcomeUnknown:
    """Return what is raised for a call that was added to a run as another thread ended the block.

    It may have been counted, or not.
    """
    return OutcomeUnknown(
        "another thread ended the block of this batch as the call was gathered: it may be part of"
        " the batch or not; wait for the threads that call in a block before it ends"
    )


def is_run(call: Any) -> bool:
    """Return whether what stands in a batch for a call is a whole run, as `Run.encode` gives it."""
    if type(call) is not list or len(call) != 4 or type(call[3]) is not int:
        return False
    target, method, values, width = call
    return (
        (type(target) is int or type(target) is str)
        and type(method) is str
        and type(values) is list
        and 0 < width <= len(values)
        and len(values) % width == 0
    )


def one_by_one(run: list[Any]) -> list[Any]:
    """Return the calls of a run as commands."""
    target, method, values, width = run
    starts = range(0, len(values), width)
    return [[target, method, values[at : at + width]] for at in starts]


def encode_batch(
    calls: Sequence[bytes | Run], conditions: Sequence[Condition] = (), *, in_runs: bool = False
) -> bytes:
    """Return the command that applies `calls` one after the other, with nothing in between.

    If there are `conditions`, only if all of them hold. `in_runs`: whether all nodes read those
    (see `versions.WITH_RUNS`).

    Raises:
        Unserializable: a value is nested too deeply to stand in there.
    """
    commands: list[bytes] = []
    may_be_deep = False
    for call in calls:
        if isinstance(call, bytes):
            commands.append(call)
            may_be_deep = may_be_deep or _may_be_deep(call)
        elif in_runs and len(call.values) > call.width:
            commands.append(call.encode())
        else:
            commands += call.commands()
    if not conditions:
        return _with_calls("batch", (), commands, may_be_deep=may_be_deep)
    return encode_transaction(conditions, commands)


def encode_transaction(conditions: Sequence[Condition], commands: Sequence[bytes]) -> bytes:
    """Return the command that applies `commands` as a batch does, if all `conditions` hold.

    Raises:
        Unserializable: a value is nested too deeply to stand in there.
    """
    rows = [[condition.target, condition.since, condition.reads] for condition in conditions]
    deep = any(map(_may_be_deep, commands))
    return _with_calls("transact", (rows,), commands, may_be_deep=deep)


def _may_be_deep(call: bytes) -> bool:
    # What is shorter than that cannot be too deep; of others, it has to be looked at.
    return len(call) > MAX_DEPTH - 3


def _with_calls(
    method: str, before: tuple[object, ...], commands: Sequence[bytes], *, may_be_deep: bool
) -> bytes:
    """Return a command of the table whose arguments are `before` and the list of commands."""
    if may_be_deep:
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
