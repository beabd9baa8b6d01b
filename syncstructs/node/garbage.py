"""The collector of garbage, where it would disturb: as a state is made, or beside a child.

A collection looks at all containers of a generation, and writes to each. A state of a million lists
that is made piece by piece would be looked at again and again, which takes longer than to make it;
and beside a child of a fork, each page that is written to is copied first.
"""

import gc
import os
import threading
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
    try:
        gc.disable()
        yield
    finally:
        if not gc.get_freeze_count():
            # There and back: what is unfrozen belongs to the oldest generation.
            gc.freeze()
            gc.unfreeze()
        gc.enable()


class Freezer:
    """Keeps all that there is out of collections for as long as somebody wants; from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders = 0
        self._froze = False

    def hold(self) -> None:
        """Let collections pass over what there is now, unless the program has frozen something."""
        with self._lock:
            if not self._holders and not gc.get_freeze_count():
                gc.freeze()
                self._froze = True
            self._holders += 1

    def release(self) -> None:
        """Undo one `hold`; after the last one, what was held belongs to the oldest generation."""
        with self._lock:
            self._holders -= 1
            if self._froze and not self._holders:
                self._froze = False
                gc.unfreeze()

    def after_fork(self) -> None:
        """Hold nothing in a child: whoever was to release it is in the parent."""
        # A new one: another thread may have had it, which is not here.
        self._lock = threading.Lock()
        self._holders = 0
        if self._froze:
            self._froze = False
            gc.unfreeze()


freezer = Freezer()
"""That of this process, as its collector."""

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=freezer.after_fork)
