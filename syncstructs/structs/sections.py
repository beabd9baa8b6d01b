"""`with` and `async with` of what is acquired and released: each block ends with its own grant."""

from contextvars import ContextVar
from types import TracebackType
from typing import Any, Self

from ..errors import LockLost
from .holding import Holding

_sections: ContextVar[tuple[tuple[Holding[Any], Any, int], ...]] = ContextVar(
    "syncstructs_lock_sections", default=()
)
"""The `with` blocks that the running thread or task is in: which lock, key and token."""


class Section:
    """`with` and `async with` for one key of some `Holding`.

    The end of a block releases what its beginning has acquired, never a later grant of the same
    lock to another thread. If the lock was lost meanwhile, the end raises `LockLost`, unless the
    block is left by another exception.
    """

    def _where(self) -> tuple[Holding[Any], Any]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        grants, key = self._where()
        self._push(grants._enter(key))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        grants, key = self._where()
        try:
            grants._leave(key, self._pop())
        except LockLost:
            if error is None:
                raise

    async def __aenter__(self) -> Self:
        grants, key = self._where()
        self._push(await grants._enter.submit(key))
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        grants, key = self._where()
        try:
            await grants._leave.submit(key, self._pop())
        except LockLost:
            if error is None:
                raise

    def _push(self, token: int) -> None:
        _sections.set((*_sections.get(), (*self._where(), token)))

    def _pop(self) -> int | None:
        """Return the token of the innermost block of this lock; None if begun elsewhere."""
        grants, key = self._where()
        sections = _sections.get()
        for i in reversed(range(len(sections))):
            if sections[i][0] is grants and sections[i][1] == key:
                _sections.set(sections[:i] + sections[i + 1 :])
                return sections[i][2]
        return None
