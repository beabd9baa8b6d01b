"""`with` and `async with` of what is acquired and released: each block ends with its own grant."""

from collections.abc import Callable
from contextvars import ContextVar
from types import TracebackType
from typing import Any, ClassVar, Self

from ..errors import LockLost
from ..objects.port import cleaning
from .holding import Holding, named

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


class OwnSection(Holding[None], Section):
    """What an object has in common with others that are one lock, or one semaphore, without keys.

    To be named before the class that has the commands.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"on_lost"})

    def __init__(self, on_lost: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.on_lost = on_lost

    @property
    def token(self) -> int | None:
        """The fencing token of what a release would give back; None if that is nothing.

        Greater than those of all grants before.
        """
        return self._token(None)

    @property
    def held(self) -> bool:
        """Whether what a release would give back is certainly held: nobody else can have it now."""
        return self._held(None)

    def ensure_held(self) -> None:
        """Do nothing if `held`.

        Raises:
            LockLost: it is not.
        """
        self._ensure_held(None)

    def _unacquire(self, acquired: bool, *_: object, **__: object) -> None:
        if acquired:
            cleaning(self._undo.submit, None)

    def _where(self) -> tuple[Holding[Any], Any]:
        return self, None

    def _tell_lost(self, key: None) -> None:
        if self.on_lost is not None:
            self.on_lost()

    def _describe(self, key: None) -> str:
        return f"{type(self).__name__} {named(self)}".rstrip()
