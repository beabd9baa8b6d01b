"""What a transaction relies on, and how that is checked where it is applied.

A condition names an object, the serial number up to which a copy of it was known to be good, and
what was read of the copy. It holds if no command has run on the object since (`Marks`), or, where
its class can tell what was read, if that would still be read (`Replicated.still_reads`).
"""

from typing import Any, Self

import msgspec

from ..codec import shown
from ..errors import DecodeError


class Marks:
    """The serial number of the last command that ran on each object. Replicated state.

    Kept from the first transaction in the cluster's life on, which a command of its own says.
    """

    __slots__ = ("_of", "since")

    def __init__(self, since: int, of: dict[str, int] | None = None) -> None:
        self.since = since
        """No mark is lower: what was before is not known."""
        self._of = of if of is not None else {}

    def set(self, name: str, serial: int) -> None:
        """Take note that a command runs on the object of that name."""
        self._of[name] = serial

    def last(self, name: str) -> int:
        """Return the mark of the object of that name."""
        return self._of.get(name, self.since)

    def drop(self, name: str) -> None:
        """Forget an object that is gone; whoever takes its name has another id."""
        self._of.pop(name, None)

    def state(self) -> list[Any]:
        """Return all of it as a value for the image; `restored` reads it."""
        return [self.since, self._of]

    @classmethod
    def restored(cls, state: Any) -> Self:
        """Return what `state` was taken of.

        Raises:
            DecodeError: it is no state of marks.
        """
        try:
            since, of = state
            return cls(msgspec.convert(since, int), msgspec.convert(of, dict[str, int]))
        except (ValueError, TypeError) as error:
            raise DecodeError(f"marks of objects that have no meaning: {error}") from error


class Condition(msgspec.Struct, frozen=True, array_like=True):
    """What a transaction relies on, of one object."""

    target: int
    """The object's id."""
    since: int
    """The serial number of the last command that was applied when the copy was made."""
    reads: Any = None
    """What was read of the copy, for `Replicated.still_reads`; None: all of it."""

    @classmethod
    def of(cls, row: Any) -> Self:
        """Return a condition that came as a row.

        Raises:
            DecodeError: it is none.
        """
        if isinstance(row, list) and len(row) == 3:
            target, since, reads = row
            if type(target) is int and type(since) is int:
                return cls(target, since, reads)
        raise DecodeError(f"a condition that has no meaning: {shown(row)}")
