"""How checks watch an engine from within: they stand before its methods."""

from collections.abc import Callable
from typing import Any, Final

from ..compiled import IS_COMPILED

WATCHES: Final = not IS_COMPILED
"""Whether the engine can be watched: the objects of a compiled core are closed to that.

So less is checked there. What the members do is the same, as it is the pure code that is compiled.
"""


def replace_methods(target: object, **methods: Callable[..., Any]) -> None:
    """Let these be called in place of the methods of one object, which they are to call in turn.

    Without effect unless `WATCHES`.
    """
    if WATCHES:
        for name, method in methods.items():
            setattr(target, name, method)
