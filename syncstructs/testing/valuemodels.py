"""Models of the types that hold values and maps beside the first ones, each behind its twin.

As in `twins`, a twin is plain Python: what the type is like, in one process.
"""

from collections.abc import Hashable
from typing import Any, ClassVar

from . import twins
from .history import Op
from .sequential import TwinModel, frozen, thawed


class Register(twins.Register):
    """`ReplRegister`."""

    def __init__(self, value: Any = None, version: int = 0) -> None:
        super().__init__(value)
        self.version = version

    def set(self, value: Any) -> int:  # type: ignore[override]
        super().set(value)
        self.version += 1
        return self.version

    def compare_and_set(self, expected: Any, value: Any) -> bool:
        swapped = super().compare_and_set(expected, value)
        self.version += swapped
        return swapped

    def set_if_version(self, version: int, value: Any) -> bool:
        is_same = self.version == version
        if is_same:
            self.set(value)
        return is_same

    def get_versioned(self) -> tuple[Any, int]:
        return self.value, self.version


class VersionedModel(TwinModel):
    """`ReplRegister`: a register whose writes are counted."""

    READS = frozenset({"get", "get_versioned", "version"})
    ALL_OR_NOTHING: ClassVar[frozenset[str]] = frozenset({"compare_and_set", "set_if_version"})

    def __init__(self, value: object = None) -> None:
        self._initial = frozen(value), 0

    def initial(self) -> Hashable:
        """Return the first value, before any write."""
        return self._initial

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        return super().is_read(op) or (op.outcome is False and op.method in self.ALL_OR_NOTHING)

    def thaw(self, state: Any) -> Register:
        """Return a register with that value and version."""
        return Register(thawed(state[0]), state[1])

    def freeze(self, twin: Any) -> Hashable:
        """Return the register's value and version."""
        return frozen(twin.value), twin.version
