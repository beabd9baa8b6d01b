"""`ReplRegister`: one value that all members share, with a version that each write raises.

Every write is one command, decided by the order of the log. Reads are local.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from ..objects.pickling import Places, allow_pickles, enclosed, revealed
from ..objects.replicated import Replicated, reading, replicated
from .values import isolated

T = TypeVar("T")

_NONE: Any = None
_VALUE: Places = {0: enclosed, "value": enclosed}
_VALUE_1: Places = {1: enclosed, "value": enclosed}


class ReplRegister(Replicated, Generic[T]):
    """A replicated variable: `get`, `set`, and two ways to set it only if nobody else did.

    `compare_and_set` asks for the value, `set_if_version` for the version that was read with it.
    The second one also notices that the value went away and came back, and costs no more for
    values that are large. The version is 0 at first, and each write raises it by exactly 1.

    All methods take O(1), and a write is one log entry. A write that is under way as the leader is
    lost is sent again and takes effect once. After `OutcomeUnknown`, `get_versioned()` behind a
    barrier tells: if the version has not moved, it was not applied so far. With `pickle=True`, the
    value may be of any class that can be pickled, as those of a `ReplDict`.

    >>> limit = ReplRegister(100)
    >>> limit.get(), limit.get_versioned()
    (100, (100, 0))
    """

    VALUES_IN: ClassVar[Mapping[str, Places]] = {
        "set": _VALUE,
        "compare_and_set": {**_VALUE_1, "expected": enclosed, 0: enclosed},
        "set_if_version": _VALUE_1,
    }

    def __init__(self, value: T = _NONE, *, pickle: bool = False) -> None:
        """`pickle`: take a value of any class that can be pickled; see `ReplDict`."""
        self._value = value
        self._version = 0
        if pickle:
            allow_pickles(self)
            self._value = enclosed(value)

    # Commands

    @replicated
    def set(self, value: T) -> int:
        """Replace the value, whatever it was; return the new version."""
        return self._write(value)

    @replicated
    def compare_and_set(self, expected: T, value: T) -> bool:
        """Replace the value if it equals `expected`; return whether it was."""
        if self._value != expected:
            return False
        self._write(value)
        return True

    @replicated
    def set_if_version(self, version: int, value: T) -> bool:
        """Replace the value if nobody has since it had that version; return whether it was.

        If so, the new version is `version + 1`::

            while True:
                value, version = register.get_versioned()
                if register.set_if_version(version, changed(value)):
                    break
        """
        if self._version != version:
            return False
        self._write(value)
        return True

    def _write(self, value: T) -> int:
        self._value = value
        self._version += 1
        return self._version

    # Reads

    def get(self) -> T:
        """Return the present value on this member."""
        return self.get_versioned()[0]

    def get_versioned(self) -> tuple[T, int]:
        """Return the present value on this member and its version, both of one moment."""
        with reading(self):
            value, version = isolated(self._value), self._version
        return revealed(self, value) if self._pickles else value, version

    @property
    def version(self) -> int:
        """How many writes there were so far, as known on this member."""
        with reading(self):
            return self._version

    def __repr__(self) -> str:
        with reading(self):
            return f"{type(self).__name__}({self._value!r})"

    def _check(self) -> None:
        assert type(self._version) is int, self._version
        assert self._version >= 0, self._version
