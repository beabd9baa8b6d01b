"""The collector of garbage, where a large state is made in one go.

A collection looks at all containers of a generation. A state of a million lists that is made piece
by piece would be looked at again and again, which takes longer than to make it.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def long_lived() -> Iterator[None]:
    """Collect nothing in a `with` block, and take all that there is after it for old.

    So the next collections of young objects, soon after, do not look at it either. Garbage is
    collected with the old generation then.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():
            # There and back: what is unfrozen belongs to the oldest generation.
            gc.freeze()
            gc.unfreeze()
        gc.enable()
