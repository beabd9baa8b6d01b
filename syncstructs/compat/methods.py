"""`@replicated` and `@replicated_sync` as PySyncObj has them, over a command of ours."""

from collections.abc import Callable
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from ..futures import Future
from ..objects.replicated import Replicated, ReplicatedDescriptor, ReplicatedMethod
from .calls import Callback, inside_command, perform

S = TypeVar("S", bound=Replicated)
P = ParamSpec("P")
R = TypeVar("R")


class AsyncMethod(Generic[P, R]):
    """A replicated method bound to its object, called as PySyncObj's are; `submit` is ours."""

    __slots__ = ("_command", "_label", "_sync", "_timeout")

    def __init__(
        self, command: ReplicatedMethod[P, R], label: str, sync: bool, timeout: float | None
    ) -> None:
        self._command = command
        self._label = label
        self._sync = sync
        self._timeout = timeout

    def __call__(
        self,
        *args: Any,
        callback: Callback | None = None,
        sync: bool | None = None,
        timeout: float | None = None,
        _doApply: bool = False,  # noqa: N803
        **kwargs: Any,
    ) -> R | None:
        """Make the call; see the module `calls` for its outcome.

        Raises:
            SyncObjException: the call is synchronous and has no result (in time).
            RuntimeError: `_doApply=True` outside of a replicated method.
        """
        if _doApply and not inside_command():
            raise RuntimeError(f"{self._label}(_doApply=True) here would change this member alone")
        return perform(  # type: ignore[no-any-return]
            self._command,
            args,
            kwargs,
            label=self._label,
            callback=callback,
            sync=self._sync if sync is None else sync,
            timeout=self._timeout if timeout is None else timeout,
        )

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Queue the call and return a future at once."""
        return self._command.submit(*args, **kwargs)


class _Command(ReplicatedDescriptor[S, P, R]):
    """A replicated method with PySyncObj's calling convention."""

    def __init__(
        self, function: Callable[Concatenate[S, P], R], sync: bool, timeout: float | None
    ) -> None:
        super().__init__(function)
        self._sync = sync
        self._timeout = timeout

    @overload  # type: ignore[override]
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: S, owner: type | None = None) -> AsyncMethod[P, R]: ...
    def __get__(
        self, instance: S | None, owner: type | None = None
    ) -> "Self | AsyncMethod[P, R]":
        if instance is None:
            return self
        command = ReplicatedMethod[P, R](instance, self)
        label = f"{type(instance).__name__}.{self.name}"
        return AsyncMethod(command, label, self._sync, self._timeout)


_Decorator = Callable[[Callable[Concatenate[S, P], R]], _Command[S, P, R]]


@overload
def replicated(function: Callable[Concatenate[S, P], R], /) -> _Command[S, P, R]: ...
@overload
def replicated(*, ver: int = 0) -> _Decorator[S, P, R]: ...
def replicated(function: Any = None, /, *, ver: int = 0) -> Any:
    """Mark a method as a command; a call of it returns None at once, or takes `sync=True`.

    Raises:
        ValueError: `ver` is not 0; of several versions of a method, keep the one in force.
    """
    return _decorated(function, ver, sync=False, timeout=None)


@overload
def replicated_sync(function: Callable[Concatenate[S, P], R], /) -> _Command[S, P, R]: ...
@overload
def replicated_sync(*, ver: int = 0, timeout: float | None = None) -> _Decorator[S, P, R]: ...
def replicated_sync(
    function: Any = None, /, *, ver: int = 0, timeout: float | None = None
) -> Any:
    """Do as `replicated`, but calls wait for their result, `timeout` seconds at the most.

    Raises:
        ValueError: `ver` is not 0; of several versions of a method, keep the one in force.
    """
    return _decorated(function, ver, sync=True, timeout=timeout)


def _decorated(function: Any, ver: int, *, sync: bool, timeout: float | None) -> Any:
    if ver != 0:
        raise ValueError(
            f"ver={ver!r}: methods have one version here; keep the one that is in force, without"
            " `ver`, or move to syncstructs.replicated(version=...)"
        )
    if function is None:
        return lambda decorated: _Command(decorated, sync, timeout)
    return _Command(function, sync, timeout)
