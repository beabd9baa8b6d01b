"""Values of classes that the codec does not know, for objects that pickle them."""

from pathlib import Path
from typing import Any


class Money:
    """Equal by value, as its pickles are."""

    def __init__(self, cents: int) -> None:
        self.cents = cents

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Money) and self.cents == other.cents

    def __hash__(self) -> int:
        return hash(self.cents)

    def __repr__(self) -> str:
        return f"Money({self.cents})"


class Lid:
    """Cannot be pickled."""

    def __reduce__(self) -> Any:
        raise RuntimeError("stuck")


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "x")
