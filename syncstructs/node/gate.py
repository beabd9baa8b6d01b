"""The gate between applying and reading: no reader sees a half-applied command."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, TypeVar

from ..errors import SyncError
from ..objects.port import Turns

E = TypeVar("E", bound=SyncError)


class ReadGate:
    """A re-entrant lock for short reads, and `hold` for long ones; `turns` for the shortest.

    A short read may make the driver wait for the moment it lasts. A long hold must not, or the
    node would fall silent: the driver goes on without applying, and is woken when it ends.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self.lock = threading.RLock()
        self.turns = Turns()
        self._wake = wake
        self._holders: dict[int, int] = {}
        self._missed = False
        self._is_shut = False
        self._refusal: SyncError | None = None

    def enter(self) -> bool:
        """Begin to apply; False if somebody holds the state."""
        self.lock.acquire()
        if not self._holders:
            self.turns.begin()
            return True
        self._missed = True
        self.lock.release()
        return False

    def leave(self) -> None:
        """End applying."""
        if not self._is_shut:
            self.turns.end()
        self.lock.release()

    def shut(self) -> None:
        """Let nobody read without the lock from now on."""
        self._is_shut = True
        self.turns.begin()

    def refuse(self, refusal: SyncError) -> None:
        """Let nobody hold the state from now on: its objects do not fit together any more."""
        self._refusal = refusal

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep the state as it is until the block ends, for consistent looks at many objects.

        Raises:
            SyncError: there is none; see `refuse`.
        """
        me = threading.get_ident()
        with self.lock:
            if self._refusal is not None:
                raise again(self._refusal)
            self._holders[me] = self._holders.get(me, 0) + 1
        try:
            yield
        finally:
            with self.lock:
                self._holders[me] -= 1
                if not self._holders[me]:
                    del self._holders[me]
                wake = self._missed and not self._holders
                if wake:
                    self._missed = False
            if wake:
                self._wake()

    def held_here(self) -> bool:
        """Return whether the calling thread holds the state, so that a wait would never end."""
        return threading.get_ident() in self._holders


class RefusingLock:
    """Stands for the lock of a gate behind which there is nothing to be read any more."""

    def __init__(self, refusal: SyncError) -> None:
        self._refusal = refusal

    def __enter__(self) -> NoReturn:
        raise again(self._refusal)

    def __exit__(self, *exc: object) -> None:
        """Do nothing; never entered."""


def again(error: E) -> E:
    """Return an error like this one, without its traceback."""
    return type(error)(*error.args)
