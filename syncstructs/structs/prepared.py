"""`@prepared`: public methods that bring their arguments into a form that can be replicated.

`update(*others)` takes any iterable, a generator included; the command behind it takes a list. The
preparation runs where the call is made, the command on every member. For the caller both are one
method: it blocks and returns, has a typed `.submit`, counts as one command in a batch, and runs
inline inside another command.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Concatenate, Generic, ParamSpec, Self, TypeVar, overload

from ..objects.replicated import ReplicatedMethod

if TYPE_CHECKING:
    from ..futures import Future

S = TypeVar("S")
P = ParamSpec("P")
R = TypeVar("R")


class Prepared(Generic[R]):
    """A command and its arguments, ready to go."""

    __slots__ = ("args", "method")

    def __init__(self, method: ReplicatedMethod[..., R], *args: object) -> None:
        self.method = method
        self.args = args


class PreparedMethod(Generic[P, R]):
    """A prepared command bound to its object: call it to wait for the result, or `submit` it."""

    __slots__ = ("_function", "_target")

    def __init__(self, target: object, function: Callable[..., Prepared[R]]) -> None:
        self._target = target
        self._function = function

    def __call__(self, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Prepare the arguments, apply the command on every member and return its result."""
        prepared = self._function(self._target, *args, **kwargs)
        return prepared.method(*prepared.args)

    def submit(self, /, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Prepare the arguments, queue the command, and return a future at once."""
        prepared = self._function(self._target, *args, **kwargs)
        return prepared.method.submit(*prepared.args)


class prepared(Generic[S, P, R]):  # noqa: N801  (a decorator is spelled like a function)
    """Mark a method that returns `Prepared(self.command, arguments...)`; see the module."""

    def __init__(self, function: Callable[Concatenate[S, P], Prepared[R]]) -> None:
        self.function = function
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: S, owner: type | None = None) -> PreparedMethod[P, R]: ...
    def __get__(
        self, instance: S | None, owner: type | None = None
    ) -> "Self | PreparedMethod[P, R]":
        if instance is None:
            return self
        return PreparedMethod(instance, self.function)
