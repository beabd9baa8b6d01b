"""`ReplCounter`: a whole number that all members count on together.

Every change is one command, so concurrent additions from all members add up exactly. Reads are
local.
"""

from typing import Self, cast

from ..objects.replicated import Replicated, reading, replicated


class ReplCounter(Replicated):
    """A replicated `int`: `add`, `sub`, `inc`, `dec`, `set`, `compare_and_set`, and `int(counter)`.

    `counter += 1` and `counter -= 1` are commands too. It compares with numbers and with other
    counters; `+` and `-` give a plain `int`, and for all other arithmetic there is its `value`.
    Like everything that changes and has an `==`, it cannot be hashed.

    All methods take O(1), and each change is one log entry. One that is under way as the leader is
    lost counts once; after `OutcomeUnknown` it may have counted.

    >>> hits = ReplCounter(5)
    >>> hits.value, hits > 4, hits + 1
    (5, True, 6)
    """

    def __init__(self, value: int = 0) -> None:
        self._value = _whole(value)

    @property
    def value(self) -> int:
        """The present value on this member."""
        with reading(self):
            return self._value

    def get(self) -> int:
        """Return the present value on this member."""
        return self.value

    @replicated
    def set(self, value: int) -> int:
        """Replace the value; return the new one. One log entry.

        Raises:
            TypeError: `value` is no whole number; nothing has changed. So for all methods.
        """
        self._value = _whole(value)
        return self._value

    @replicated
    def add(self, amount: int) -> int:
        """Add `amount` and return the new value. One log entry, counted exactly once."""
        self._value += _whole(amount)
        return self._value

    @replicated
    def sub(self, amount: int) -> int:
        """Subtract `amount` and return the new value. One log entry, counted exactly once."""
        self._value -= _whole(amount)
        return self._value

    @replicated
    def inc(self) -> int:
        """Add 1 and return the new value. One log entry, counted exactly once."""
        self._value += 1
        return self._value

    @replicated
    def dec(self) -> int:
        """Subtract 1 and return the new value. One log entry, counted exactly once."""
        self._value -= 1
        return self._value

    @replicated
    def compare_and_set(self, expected: int, value: int) -> bool:
        """Replace the value if it is `expected`; return whether it was. One log entry."""
        value = _whole(value)
        if self._value != expected:
            return False
        self._value = value
        return True

    def __iadd__(self, amount: int) -> Self:  # type: ignore[misc]
        self.add(amount)
        return self

    def __isub__(self, amount: int) -> Self:  # type: ignore[misc]
        self.sub(amount)
        return self

    def __int__(self) -> int:
        return self.value

    def __index__(self) -> int:
        return self.value

    def __float__(self) -> float:
        return float(self.value)

    def __bool__(self) -> bool:
        return self.value != 0

    def __add__(self, other: "int | ReplCounter") -> int:
        return self.value + _number(other)

    def __radd__(self, other: int) -> int:
        return other + self.value

    def __sub__(self, other: "int | ReplCounter") -> int:
        return self.value - _number(other)

    def __rsub__(self, other: int) -> int:
        return other - self.value

    def __eq__(self, other: object) -> bool:
        return self.value == _number(other)

    def __lt__(self, other: "int | float | ReplCounter") -> bool:
        return self.value < _number(other)

    def __le__(self, other: "int | float | ReplCounter") -> bool:
        return self.value <= _number(other)

    def __gt__(self, other: "int | float | ReplCounter") -> bool:
        return self.value > _number(other)

    def __ge__(self, other: "int | float | ReplCounter") -> bool:
        return self.value >= _number(other)

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __str__(self) -> str:
        return str(self.value)

    def __repr__(self) -> str:
        return f"ReplCounter({self.value})"

    def _check(self) -> None:
        assert type(self._value) is int, self._value


def _whole(value: object, owner: str = "ReplCounter") -> int:
    if not isinstance(value, int):
        raise TypeError(f"a {owner} counts whole numbers, not {type(value).__name__}")
    return int(value)


def _number(value: object) -> int:
    """Return the value of a counter, anything else as it is."""
    return value.value if isinstance(value, ReplCounter) else cast(int, value)
