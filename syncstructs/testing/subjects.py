"""A user's class under test: what may be called on it, and plain copies of it that stand alone.

A copy is attached to a port that applies each command here and at once. So a method does in it
what it does on a member: commands called by other commands run inline, plain methods run outside
any command, and their calls of commands are commands of their own.
"""

from __future__ import annotations

import inspect
import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from random import Random
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from ..codec import STATE_DEPTH, copy, decode, encode
from ..errors import DecodeError, Unserializable
from ..futures import Future
from ..objects.changes import News
from ..objects.context import PARKED, Context, _current
from ..objects.image import encode_state
from ..objects.port import Binding, Steps, Turns
from ..objects.replicated import Replicated, bind, find_body, operation, type_name
from ..objects.versions import bodies_up_to, split_body
from .guards import ends_process, is_own
from .history import Raised, plain
from .violation import Violation

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_RAISED: Final = "\0raised"
_FUNCTIONS: Final = {
    "invariant": "invariant=lambda object: object.count >= 0",
    "partition": 'partition=lambda made: made.args["key"]',
}

WAITS: Final = Raised("it waits")
"""Outcome of a command that parks its call: another command has to resume it."""


class Made(NamedTuple):
    """One call as it is made: a method, and its arguments by name."""

    method: str
    args: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.method}({', '.join(f'{n}={v!r}' for n, v in self.args.items())})"

    def __repr__(self) -> str:
        return str(self)


class CallSpec:
    """A method, and how to draw each of its arguments; made by `call`."""

    def __init__(self, method: str, arguments: Mapping[str, SearchStrategy[Any]]) -> None:
        self.method = method
        self.arguments = dict(arguments)

    def __repr__(self) -> str:
        named = [f", {name}={strategy!r}" for name, strategy in self.arguments.items()]
        return f"call({self.method!r}{''.join(named)})"


def call(method: str, /, **arguments: SearchStrategy[Any]) -> CallSpec:
    """Name a method that tests shall call, with a Hypothesis strategy for each argument.

    Commands go through the log. A method that is not marked `@replicated` is made on one member,
    behind a barrier, as a program would; it may read, and may call commands and wait for them. A
    property is read.
    """
    return CallSpec(method, arguments)


class Subject:
    """A class under test, with all that its tests need to know.

    Raises:
        TypeError: it is no class that can be tested so, or a call does not fit it.
        ValueError: there is nothing to call.
    """

    def __init__(
        self,
        cls: type[Replicated],
        calls: Sequence[CallSpec],
        *,
        args: Sequence[Any] = (),
        invariant: Callable[[Any], object] | None = None,
        partition: Callable[[Made], Hashable] | None = None,
        methods: Sequence[str] = (),
    ) -> None:
        """Take `methods` instead of `calls` where nothing is to be drawn."""
        if not (isinstance(cls, type) and issubclass(cls, Replicated)):
            raise TypeError(
                f"replicated_test() takes a class that inherits from Replicated, not {cls!r}"
            )
        if not _is_list(calls):
            raise TypeError(f"calls={calls!r} must be a list; write calls=[{calls!r}]")
        if not _is_list(args):
            raise TypeError(f"args={args!r} must be a list of arguments; write args=[{args!r}]")
        for name, function in (("invariant", invariant), ("partition", partition)):
            if function is not None and not callable(function):
                raise TypeError(f"{name}={function!r} must be a function; write {_FUNCTIONS[name]}")
        if not calls and not methods:
            raise ValueError(
                f"replicated_test({cls.__name__}, calls=[]) has nothing to call; give it"
                ' call("method", argument=strategy) for each method that matters'
            )
        self.cls = cls
        try:
            self.args = copy(list(args))
        except Unserializable as error:
            raise TypeError(f"args={args!r} must be values that can be sent: {error}") from error
        self.calls = list(calls)
        numbers = [split_body(body)[1] for body in cls._later_bodies]
        self.version = max(numbers, default=1)
        """The version at which it is tested: its newest."""
        self.bodies = bodies_up_to(self.version, cls._commands, cls._later_bodies)
        self.commands: dict[str, Callable[..., Any]] = {
            method: body
            for method, name in self.bodies.items()
            if "." not in method and (body := find_body(cls, name)) is not None
        }
        self.local = cls._local - Replicated._local
        self.invariant = invariant
        self.partition = partition
        self._parameters: dict[str, list[inspect.Parameter]] = {}
        for method in methods:
            self._accept_method(method)
        for spec in self.calls:
            if not isinstance(spec, CallSpec):
                raise TypeError(f'calls= takes call("method", argument=strategy), not {spec!r}')
            self._accept_method(spec.method)
            self._accept_arguments(spec)

    @property
    def name(self) -> str:
        """The name of the class."""
        return self.cls.__name__

    @property
    def methods(self) -> list[str]:
        """The names of the methods that may be called."""
        return list(self._parameters)

    def make(self) -> Replicated:
        """Return a new object of the class."""
        return self.cls(*copy(self.args))

    def check_constructor(self) -> None:
        """Make an object.

        Raises:
            TypeError: the constructor raised something.
        """
        try:
            self.make()
        except Exception as error:
            raise TypeError(
                f"{self.name}() cannot be made with args={self.args!r}, it raised {error!r}; give"
                f" the arguments of its constructor by args=[...]"
            ) from error

    def accepts(self, made: Made) -> bool:
        """Return whether the method is one that may be called, and takes these arguments."""
        parameters = self._parameters.get(made.method)
        if parameters is None:
            return False
        names = {parameter.name for parameter in parameters}
        return made.args.keys() <= names or any(p.kind is p.VAR_KEYWORD for p in parameters)

    def is_command(self, method: str) -> bool:
        """Return whether the method is marked `@replicated`."""
        return method in self.commands

    def bind(self, made: Made) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return copies of the arguments as they are passed: by position as long as possible."""
        values: dict[str, Any] = {name: copy(value) for name, value in made.args.items()}
        by_position: list[Any] = []
        for parameter in self._parameters[made.method]:
            if parameter.name not in values or parameter.kind is parameter.KEYWORD_ONLY:
                break
            if parameter.kind is parameter.VAR_POSITIONAL:
                by_position.extend(values.pop(parameter.name))
                break
            if parameter.kind is parameter.VAR_KEYWORD:
                break
            by_position.append(values.pop(parameter.name))
        for parameter in self._parameters[made.method]:
            if parameter.kind is parameter.VAR_KEYWORD and parameter.name in values:
                values.update(values.pop(parameter.name))
        return tuple(by_position), values

    def broken(self, target: Replicated) -> str | None:
        """Return how the invariant is broken by this object; None if it holds."""
        if self.invariant is None:
            return None
        try:
            # None counts as kept: an invariant may be a function of asserts.
            kept = self.invariant(target)
        except Exception as error:
            return f"the invariant raised {error!r}"
        return None if kept is None or kept else "the invariant does not hold"

    def _accept_method(self, method: str) -> None:
        name = f"{self.name}.{method}"
        member = inspect.getattr_static(self.cls, method, None)
        if member is None:
            raise TypeError(f"{name} does not exist")
        if isinstance(member, operation):
            raise TypeError(
                f"{name} is an @operation, which may wait for other callers; give the commands"
                " that it is made of"
            )
        if isinstance(member, property):
            self._parameters[method] = []
            return
        function = self.commands.get(method) or getattr(member, "function", member)
        if not inspect.isfunction(function):
            raise TypeError(f"{name} is no method or property of its objects")
        self._parameters[method] = list(inspect.signature(function).parameters.values())[1:]

    def _accept_arguments(self, spec: CallSpec) -> None:
        from .strategies import hypothesis

        name = f"{self.name}.{spec.method}"
        strategy_type = hypothesis().strategies.SearchStrategy
        parameters = {parameter.name: parameter for parameter in self._parameters[spec.method]}
        takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for argument, strategy in spec.arguments.items():
            if argument not in parameters and not takes_any:
                known = ", ".join(parameters) or "none"
                raise TypeError(f"{name}() has no argument {argument!r}; it takes {known}")
            if not isinstance(strategy, strategy_type):
                raise TypeError(
                    f"call({spec.method!r}, {argument}=...) needs a Hypothesis strategy, such as"
                    f" st.just({strategy!r}), not {strategy!r}"
                )
        for parameter in parameters.values():
            optional = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
            if optional or parameter.default is not parameter.empty:
                continue
            if parameter.name not in spec.arguments:
                raise TypeError(
                    f"call({spec.method!r}) lacks a strategy for the argument"
                    f" {parameter.name!r} of {name}()"
                )

    def __str__(self) -> str:
        return type_name(self.cls)


def _is_list(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


class Moment(NamedTuple):
    """Where in the log a command was applied: what `current_context()` said there."""

    serial: int
    entry: int
    time: float
    session: int
    sequence: int


class Copy:
    """One object of a class, by itself: a `Port` whose commands are applied here and at once."""

    reading: AbstractContextManager[object] = nullcontext()
    turns = Turns()
    address = "copy"
    session = 1
    call_timeout: float | None = None
    in_batch = False
    # There are no others who could send anything.
    authenticates = True

    def __init__(self, subject: Subject, state: bytes | None = None) -> None:
        self.subject = subject
        self.command_count = 0
        """How many commands were applied here."""
        self.moments: deque[Moment] = deque()
        """What the next commands shall see; made up when there is none."""
        self.gave_generator = False
        """Whether the last call has returned one."""
        self.news: News = []
        """What subscribers would be told; there are none."""
        self._serials = itertools.count(1)
        self._tickets = itertools.count(1)
        self.target = subject.make()
        self._binding = Binding(cast(Any, self), "object")
        self._binding.target = 1
        self._binding.bodies = subject.bodies
        bind(self.target, self._binding)
        if state is not None:
            self.target.restore_state(decode(state))

    def state(self) -> bytes:
        """Return the state, encoded.

        Raises:
            Unserializable: it has no encoding; names the attribute.
        """
        return encode_state(self.subject.name, self.target)

    def make(self, made: Made) -> object:
        """Make a call; return its value, or `Raised`."""
        args, kwargs = self.subject.bind(made)
        return self.invoke(made.method, args, kwargs)

    def invoke(self, method: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> object:
        """Make a call with arguments as they are passed."""
        try:
            value = getattr(self.target, method)
            if callable(value):
                value = value(*args, **kwargs)
            self.gave_generator = inspect.isgenerator(value)
            # Inside the try: what an iterator gives is part of the result.
            return plain(value)
        except Exception as error:
            return Raised.of(error)
        except (SystemExit, KeyboardInterrupt) as error:
            if not is_own(error):
                raise
            raise Violation(ends_process(self.subject, method, error)) from error

    # As objects see it (`objects.port.Port`)

    def call(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Any:
        """Apply a command."""
        function = self.subject.commands[method]
        number = self.command_count + 1
        moment = (
            self.moments.popleft()
            if self.moments
            else Moment(number, number, 1000.0 + number, 1, number)
        )
        context = Context(
            index=moment.entry, time=moment.time, owner=self, random_type=Random
        )
        context.serial, context.session, context.sequence = (
            moment.serial, moment.session, moment.sequence,
        )  # fmt: skip
        context.version = self.subject.version
        self.command_count = number
        passed = [copy(value) for value in args]
        named = {name: copy(value) for name, value in kwargs.items()}
        token = _current.set(context)
        try:
            value = function(self.target, *passed, **named)
        finally:
            _current.reset(token)
        return WAITS if value is PARKED else value

    def submit(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Future[Any]:
        """Apply a command, and return a future that is done."""
        future: Future[Any] = Future(cast(Any, self))
        try:
            future.finish(self.call(binding, method, args, kwargs), None)
        except Exception as error:
            future.finish(None, error)
        return future

    def start(self, steps: Steps[Any]) -> Future[Any]:
        """Refuse: an operation waits."""
        raise TypeError("an @operation waits for others, which a copy by itself does not have")

    def run(self, steps: Steps[Any], undo: object = None, name: str = "operation") -> Any:
        """Refuse: an operation waits."""
        return self.start(steps)

    def ticket(self) -> int:
        """Return a number that was not given before."""
        return next(self._tickets)

    def caller(self) -> Hashable:
        """Return that all calls are of one caller."""
        return 0

    def now(self) -> float:
        """Return a clock that stands still."""
        return 0.0

    def wall_time(self) -> float:
        """Return a time of day that stands still."""
        return 0.0

    def sure_until(self) -> float:
        """Return that the session lives."""
        return 1e9


def encoding(value: object) -> bytes | str:
    """Return something that is equal for equal values of one type, for results and exceptions."""
    try:
        if isinstance(value, Raised):
            return encode((_RAISED, value.kind, value.args), max_depth=STATE_DEPTH)
        return encode(value, max_depth=STATE_DEPTH)
    except Unserializable:
        return f"{type(value).__qualname__} {value!r}"


def shown(outcome: bytes | str) -> str:
    """Return what `encoding` gave as text for a person."""
    if isinstance(outcome, str):
        return outcome
    try:
        value = decode(outcome)
    except DecodeError:
        return repr(outcome)
    if isinstance(value, tuple) and len(value) == 3 and value[0] == _RAISED:
        return f"raises {Raised(value[1], value[2])!r}"
    return f"result {value!r}"


def listed(calls: Iterable[Made]) -> str:
    """Return calls as a numbered list."""
    return "\n".join(f"  {number}. {made}" for number, made in enumerate(calls, 1))
