"""`Replicated`, the base of everything a node carries, and the two decorators of its methods.

`@replicated` marks a method as a command: a call of it goes through the log and runs on every
member. It may have several bodies, each with a version. `@operation` marks a generator that
composes commands on the calling side, such as "take, or wait at most so long, then withdraw". Both
give the method a typed `.submit`.
"""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from copy import copy as shallow_copy
from functools import partial, wraps
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Concatenate,
    Final,
    Generic,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeVar,
    cast,
    overload,
)

import msgspec

from ..codec import NATIVE, copy, shown
from ..errors import (
    DecodeError,
    NodeFailed,
    NotAttached,
    ObjectNotFound,
    ResultLost,
    VersionRefused,
)
from .batches import Run, came_as_it_ended
from .changes import Change, Subscription, Watch, subscribe
from .context import Context, _current, current_context
from .pickling import Places, enclosed_call, revealed_result
from .port import Binding, Changes, Port, Steps, Turns, current_batch, in_place_of
from .versions import VERSION_MAX, body_name, split_body
from .waiters import Waiters

if TYPE_CHECKING:
    from ..futures import Future

S = TypeVar("S", bound="Replicated")
W = TypeVar("W", bound="HasPort")
P = ParamSpec("P")
R = TypeVar("R")

_classes: dict[str, type["Replicated"]] = {}
_NOT_STATE = frozenset(
    {"_binding", "_dropped", "_pickles", "_port_turns", "_watch", "__orig_class__"}
)
"""`typing` sets the last one on what `ReplDict[str, int]()` makes; it is no state."""
_unattached: AbstractContextManager[object] = nullcontext()
# Of who is attached nowhere: all take the lock, or what stands for it.
_no_turns = Turns()
_no_turns.begin()
# Stands for an argument that was not given.
_NONE: Final = object()
# Found here, they take half the time.
_batch = current_batch.get
_context = _current.get
# What the ends of a `with` block do is known to users by other names.
_SPOKEN = {"_enter": "acquire", "_leave": "release"}


class Replicated:
    """Be the base class of objects attached to a node.

    The instance's attributes are its state; they must be values that the codec knows, or
    `snapshot_state` and `restore_state` must be overridden. Names in `LOCAL` belong to this
    process alone. Methods that change state are marked `@replicated` and use nothing but their
    arguments, the state and `current_context()`.

    A snapshot writes values, not identities: one list that stands in two places of the state is two
    lists on a member that was filled from a snapshot, and a change through one of them is no longer
    seen in the other there. So keep a mutable value in one place only.

    What a method returns is copied for its caller; the exception that it raises is not. Whatever
    of the state stands in its `args` is the state itself, which the caller must not change; raise
    with plain values or with copies.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset()
    """Names of attributes that are not replicated, such as callbacks; merged over base classes."""
    VALUES_IN: ClassVar[Mapping[str, Places]] = {}
    """Which arguments are values that may be pickled, by method; see `pickling.allow_pickles`."""
    VALUES_OUT: ClassVar[frozenset[str]] = frozenset()
    """Methods that return such values, or containers of them."""

    _binding: Binding | None = None
    _port_turns: Turns = _no_turns
    """Those of the node to which it is, or was last, attached."""
    _dropped: str | None = None
    """The name under which it was dropped from the cluster, if it was and is attached nowhere."""
    _watch: Watch | None = None
    """Who wants to know of its changes here; None: nobody."""
    _pickles: bool = False
    """Whether values are pickled here if need be, and unpickled for who reads them; of containers
    that the user of this node has made so. What is replicated knows nothing of it."""
    _local: ClassVar[frozenset[str]] = _NOT_STATE
    _commands: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    """Bodies of version 1 by the names of the methods."""
    _later_bodies: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    """Bodies of later versions, by the names of `body_name`."""
    _body_versions: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    """All versions of those methods that have later ones, ascending."""
    _embeddable: ClassVar[bool] = True
    """Whether a member may make an instance by itself, of what another member attached."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        methods: dict[str, dict[int, Callable[..., Any]]] = {}
        local = set(_NOT_STATE)
        for base in reversed(cls.__mro__):
            local |= base.__dict__.get("LOCAL", frozenset())
            for name, member in vars(base).items():
                before = methods.pop(name, {})
                if isinstance(member, ReplicatedDescriptor):
                    # What it overrides is gone; but a later version leaves the earlier ones.
                    if name == "on_due":
                        raise TypeError(
                            f"{type_name(cls)}.on_due() is called by the cluster, on every member:"
                            " leave @replicated away"
                        )
                    lowest = min(member.versions)
                    kept = {number: body for number, body in before.items() if number < lowest}
                    methods[name] = kept | member.versions
        cls._commands = {name: found[1] for name, found in methods.items() if 1 in found}
        later = {
            body_name(name, number): body
            for name, found in methods.items()
            for number, body in found.items()
            if number > 1
        }
        cls._later_bodies = later | dict(_overridden(cls))
        cls._body_versions = {
            name: tuple(sorted(found)) for name, found in methods.items() if max(found) > 1
        }
        cls._local = frozenset(local)
        _classes[type_name(cls)] = cls

    def options(self) -> dict[str, object]:
        """Return the constructor's arguments that change behaviour; members must agree on them."""
        return {}

    def snapshot_state(self) -> object:
        """Return the state as a value the codec knows; called while nothing is applied."""
        local = self._local
        return {
            name: value.state() if isinstance(value, Waiters) else value
            for name, value in vars(self).items()
            if name not in local
        }

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` of another replica returned.

        What is local here stays as it is; it may have been state in an earlier release.

        Raises:
            DecodeError: it has what no state has: this node would take that for its own.
        """
        mine = vars(self)
        for name in state:
            if not isinstance(name, str) or name in _NOT_STATE or name in _OWN_NAMES:
                raise DecodeError(f"{shown(name)} is no part of the state of an object")
        for name in [n for n in mine if n not in self._local and n not in state]:
            del mine[name]
        for name, value in state.items():
            if name in self._local:
                continue
            if isinstance(mine.get(name), Waiters):
                mine[name].restore(value)
            else:
                mine[name] = value

    def initial_state(self) -> Any:
        """Return the state with which the cluster is to have this object, if it has none so named.

        As `snapshot_state`, without what belongs to sessions: nobody holds anything of a new object
        or waits in it. An object that was dropped, or whose cluster has ended, still has that, and
        no expiry would ever take it away: those sessions are over, or never were of this cluster.
        This leaves out what waits in attributes; a class with an `on_session_expired` of its own
        leaves out the rest. So does one with `on_due` with what hangs on its due time, of which a
        new object has none; cluster time may be another one, too. Called where the object is
        attached, not as a part of a command.
        """
        state = self.snapshot_state()
        waits = [name for name, value in vars(self).items() if isinstance(value, Waiters)]
        if not isinstance(state, dict):
            return state
        return state | {name: [] for name in waits if name in state}

    def transaction_copy(self) -> tuple[Self, Callable[[], object]]:
        """Return a copy for a transaction to work on, and what tells at its end what was read.

        Called while nothing is applied. The copy is attached to nothing. What was read is a value
        that the codec knows, for `still_reads`: a container, empty if nothing was; or None, if no
        command may have run on the object meanwhile. Of a class that overrides neither method it
        is None, and the copy is made as another member would make one: of `options()`, and filled
        with the state. O(size of the state).
        """
        if not self._embeddable:
            raise TypeError(
                f"{type(self).__name__} cannot be copied for a transaction: the copy would be"
                " another node; keep what transactions change in an object of its own"
            )
        try:
            made = type(self)(**copy(self.options()))
        except TypeError as error:
            raise TypeError(
                f"{type(self).__name__} cannot be copied for a transaction, as more than options()"
                f" is needed to make one ({error}); give it a transaction_copy() of its own"
            ) from error
        made.restore_state(copy(self.snapshot_state()))
        return made, lambda: None

    def still_reads(self, reads: Any) -> bool:
        """Return whether a transaction that has read `reads` of its copy would read the same now.

        Part of a command: on every member, the same everywhere. An object of a class that has this
        must be attached on all members.
        """
        return False

    def on_session_expired(self, session: int) -> None:
        """Give up what `session` holds or waits for. Applied on every member, as a command is.

        It has no versions: where it is to do something else in a new release, let it ask
        `current_context().version`.
        """
        for waiters in self._all_waiters():
            waiters.expire(session)

    def set_due(self, time: float | None) -> None:
        """Have `on_due` called once cluster time has reached `time`, in seconds; None: not at all.

        To be called where this object is changed: in its replicated methods, in
        `on_session_expired` and in `on_due`. An object has one due time, which replaces that of
        before; of many, set the earliest. It is a part of the state and survives whatever the state
        survives. No log entry; O(log n) with n objects that have one.

        The leader puts the call into the log: not before `time`, and as a rule within one round
        trip after it, also if it has passed already. While there is no leader, nobody does; then
        the next one does. If the leader has not attached this object, and does not know its class,
        another member tells it, some seconds later.

        Raises:
            RuntimeError: called where no command is applied, or in `restore_state`.
            NotAttached: this object is attached to no node, such as one that is a value in the
                state of another one.
            TypeError: its class has no `on_due`, or `time` is no number.
            ValueError: `time` is infinite, or not a number at all.
        """
        context = current_context()
        binding = bound(self)
        context.check_inline(binding, "set_due")
        if binding.due is None:
            raise RuntimeError("set_due() in restore_state: due times come with the state already")
        if not has_due_times(type(self)):
            raise TypeError(f"{type(self).__name__} has no on_due(), which set_due() has called")
        assert isinstance(binding.target, int), binding.target
        binding.due.set(binding.target, None if time is None else _point_in_time(time))

    def on_due(self) -> None:
        """Do what is due, as `set_due` has asked for. Applied on every member, as a command is.

        The due time is not set any more: to be called again, set the next one. `current_context()`
        gives the time, which is the due time or later, and no session. What this raises is logged,
        and the object stays as it is then. Long work can be done in parts, by a due time that has
        passed. It has no versions, as `on_session_expired` has none.
        """

    def subscribe(self, callback: Callable[[Change], object]) -> Subscription:
        """Have `callback(change)` called after every change of this object, on this member.

        In the node's driver, in the order of the log, each change exactly once, from those on that
        are applied after this call. Inside `with node.reading():` the state that is seen and the
        changes that follow it fit together without a gap. A change that says `resynchronised` takes
        the place of all that led to a state which was taken over as a whole (from a snapshot, or
        from the cluster as the object was attached). What the callback raises is logged; it must
        not block. If another instance is attached in the place of this one, which the node had made
        by itself, its changes are told from then on.

        Raises:
            NotAttached: it is attached to no node.
            ObjectNotFound: it was dropped from the cluster.
        """
        with self._port.reading:
            return subscribe(self, bound(self), callback)

    def changes(self, *, limit: int = 10_000) -> "Changes":
        """Return an iterator of this object's changes here, for `for` and for `async for`.

        As `subscribe`, from this call on. It ends when the object is dropped or the node ends. If
        more than `limit` changes wait to be taken, one that says `resynchronised` takes the place
        of all of them.

        Raises:
            NotAttached: it is attached to no node.
            ObjectNotFound: it was dropped from the cluster.
        """
        return bound(self).port.changes(self, limit)

    def on_session_lost(self) -> None:
        """React when this node can no longer be sure of its session. Here only, not replicated."""

    def _all_waiters(self) -> Iterator[Waiters]:
        """Yield every queue of parked calls."""
        for value in list(vars(self).values()):
            if isinstance(value, Waiters):
                yield value

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be pickled or copied: it is a handle on replicated"
            " state; pass its name, and take the object from the node there"
        )

    @property
    def _port(self) -> Port:
        return bound(self).port


def reading(target: Replicated) -> AbstractContextManager[object]:
    """Hold an object as it is for a block: for methods that look at more than one thing in it.

    Nothing is applied on its node meanwhile, so the block is to be short, and may wait for no call.
    In commands it changes nothing, nor where the object is attached nowhere.

        class Account(Replicated):
            def balance(self):          # in one piece, whatever is applied beside it
                with reading(self):
                    return sum(self.paid_in) - sum(self.paid_out)
    """
    binding = target._binding
    return _unattached if binding is None else binding.port.reading


def bind(target: Replicated, binding: Binding) -> None:
    """Attach `target`. Where it was attached before, nothing changes it any more."""
    target._port_turns = binding.port.turns
    target._binding = binding
    # Whoever has looked at `vars` has made it a dict that shares its keys with those of other
    # instances, and in one of these, CPython 3.11 and 3.12 look every attribute up the slow way.
    object.__setattr__(target, "__dict__", {**vars(target)})


def bound(target: Replicated) -> Binding:
    """Return where `target` is attached.

    Raises:
        ObjectNotFound: it was dropped from the cluster.
        NotAttached: it is attached to no node.
    """
    binding = target._binding
    if binding is None:
        if target._dropped is not None:
            raise ObjectNotFound(
                f"{target._dropped!r} was dropped from the cluster; this"
                f" {type(target).__name__} keeps the last state, and may be attached anew"
            )
        raise NotAttached(
            f"{type(target).__name__} is attached to no node: pass it to Node(consumers=...)"
            " or node.attach(name, object) first"
        )
    return binding


def type_name(cls: type[Replicated]) -> str:
    """Return the name under which the class is known in the log."""
    return f"{cls.__module__}.{cls.__qualname__}"


def find_class(name: str) -> type[Replicated] | None:
    """Return the imported class of that name, or None; nothing is imported."""
    return _classes.get(name)


def has_due_times(cls: type[Replicated]) -> bool:
    """Return whether objects of the class may ask to be woken."""
    return cls.on_due is not Replicated.on_due


def known_bodies(classes: Iterable[type[Replicated]] = ()) -> tuple[int, dict[str, list[str]]]:
    """Return the highest version of a body in this process, and the later bodies by class name.

    Those of all classes that are imported, and of `classes`; also that a class has none. But none
    at all, where all have version 1 only. The classes of this library have no versions.
    """
    by_name = {type_name(cls): cls for cls in (*_classes.values(), *classes)}
    found = {
        name: sorted(cls._later_bodies)
        for name, cls in by_name.items()
        if not name.startswith("syncstructs.")
    }
    version = max((split_body(b)[1] for bodies in found.values() for b in bodies), default=1)
    return version, found if version > 1 else {}


def _point_in_time(time: float) -> float:
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise TypeError(f"a point in cluster time is a number of seconds, not {shown(time)}")
    if not -sys.float_info.max <= time <= sys.float_info.max:
        raise ValueError(f"{shown(time)} is no point in cluster time")
    return float(time)


def _overridden(cls: type[Replicated]) -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield later bodies of base classes that only `super()` leads to, by names of their own."""
    for base in cls.__mro__[1:]:
        for method, versions in base.__dict__.get("_body_versions", {}).items():
            hidden = base.__dict__.get(method)
            if isinstance(hidden, ReplicatedDescriptor) and not _is_own(cls, method, hidden):
                for number in versions[versions[0] == 1 :]:
                    body = find_body(base, body_name(method, number))
                    assert body is not None, (base, method, number)
                    yield body_name(f"{type_name(base)}.{method}", number), body


def _is_own(cls: type, method: str, descriptor: object) -> bool:
    """Whether a call of the method on an instance of the class finds that descriptor."""
    found = (vars(base)[method] for base in cls.__mro__ if method in vars(base))
    return next(found, None) is descriptor


def find_body(cls: type[Replicated], name: str) -> Callable[..., Any] | None:
    """Return the body of that name (see `body_name`) that the class has, or None."""
    return cls._commands.get(name) or cls._later_bodies.get(name)


def _in_force(
    target: Replicated, descriptor: "ReplicatedDescriptor[Any, Any, Any]", context: Context
) -> Callable[..., Any]:
    """Return the body of a method that another command runs inline.

    That the class here has it was seen to when the version was put in force.

    Raises:
        VersionRefused: the method has none up to the version in force.
    """
    owner, method = type(target), descriptor.name
    known_as = method
    if not _is_own(owner, method, descriptor):
        # By super().
        if descriptor.owner is None:
            return descriptor.versions[min(descriptor.versions)]
        owner, known_as = descriptor.owner, f"{type_name(descriptor.owner)}.{method}"
    versions = owner._body_versions.get(method)
    if versions is None:
        return descriptor.function
    if target._binding is not None:
        version = split_body(target._binding.bodies.get(known_as, method))[1]
    else:
        version = max((number for number in versions if number <= context.version), default=1)
    body = find_body(owner, body_name(method, version))
    if body is None:
        raise VersionRefused(not_in_force(method, versions[0], context.version))
    return body


def not_in_force(method: str, first: int, version: int) -> str:
    """Return the sentence that refuses a call of a method which is not in force yet."""
    return (
        f"{method}() begins with version {first}, and version {version} is in force: once all"
        f" members know it, call node.set_version({first})"
    )


class ReplicatedMethod(msgspec.Struct, Generic[P, R], eq=False):
    """A command bound to its object: call it to wait for the result, or `submit` it."""

    # A Struct is made in half the time of a class with `__init__`: this is paid for each call.
    _target: Replicated
    # A `ReplicatedDescriptor`; as such, type checkers would take it for that of the field.
    _descriptor: Any

    __repr__ = object.__repr__

    @property
    def _name(self) -> str:
        return cast(str, self._descriptor.name)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Apply the command on every member and return its result, or raise what it raised.

        Inside another command it runs inline, as part of that, with copies of its arguments: two
        objects that shared a value would part when one replica is restored from a snapshot.
        """
        target = self._target
        context = _context()
        if context is None:
            binding = target._binding or bound(target)
            method = self._descriptor.name
            if target._pickles:
                args, kwargs = self._enclosed(args, kwargs)
            batch = _batch()
            if batch is not None and batch.owner is binding.port and batch.open:
                batch.add(binding, method, args, kwargs)
                return None  # type: ignore[return-value]
            result: R = binding.port.call(binding, method, args, kwargs)
            if target._pickles and self._descriptor.returns_values_in(type(target)):
                return revealed_result(target, result)
            return result
        if target._binding is not None:
            context.check_inline(target._binding, self._name)
        function: Callable[..., Any] = self._descriptor.function
        if type(target)._later_bodies:
            function = _in_force(target, self._descriptor, context)
        copied = {name: copy(value) for name, value in kwargs.items()}
        watch = target._watch
        if watch is not None:
            return cast(R, watch.run(self._name, function, target, tuple(map(copy, args)), copied))
        return cast(R, function(target, *map(copy, args), **copied))

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Queue the command and return a future at once; it is awaitable and has `result()`."""
        target = self._target
        if _context() is not None:
            _refuse_inside_command(self._name)
        binding = target._binding or bound(target)
        if not target._pickles:
            return binding.port.submit(binding, self._descriptor.name, args, kwargs)
        given = self._enclosed(args, kwargs)
        future: Future[R] = binding.port.submit(binding, self._name, *given)
        if self._descriptor.returns_values_in(type(target)):
            _reveal(future, target)
        return future

    def _enclosed(self, args: Any, kwargs: Any) -> Any:
        return enclosed_call(self._descriptor.places_in(type(self._target)), args, kwargs)


def _reveal(future: "Future[Any]", target: Replicated) -> None:
    """Have who takes the result read it: not who ends the future, which is the node's driver."""
    future.reads = partial(revealed_result, target)


# CO_GENERATOR, CO_COROUTINE and CO_ASYNC_GENERATOR, as `inspect` has them.
_PAUSES = 0x20 | 0x80 | 0x200


class ReplicatedDescriptor(Generic[S, P, R]):
    """A command in its class: what `@replicated` makes of a method."""

    def __init__(
        self,
        function: Callable[Concatenate[S, P], R],
        version: int = 1,
        earlier: Mapping[int, Callable[..., Any]] | None = None,
    ) -> None:
        """`earlier`: the bodies of other versions, by version."""
        self.versions: dict[int, Callable[..., Any]] = dict(earlier or {})
        self._add(function, version)
        self.function = function
        self.name = function.__name__
        self._home: type | None = None
        self._origin: ReplicatedDescriptor[Any, Any, Any] | None = None
        """The command that this is under another name, or in another class."""
        self.owner: type[Replicated] | None = None
        """The class in whose body it stands; None if that is no `Replicated`."""
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def version(
        self, number: int
    ) -> Callable[[Callable[Concatenate[S, P], R]], Callable[Concatenate[S, P], R]]:
        """Decorate another body of this method, which counts from version `number` on.

        It has a name of its own, by which nobody calls it::

            @take.version(2)
            def take_2(self, count): ...

        Raises:
            TypeError: it is a command of a class that is complete, so that the body would be one
                of all classes that have it.
        """
        if self._home is not None:
            raise TypeError(
                f"{self._home.__qualname__}.{self.name}() is complete, and a body added to it would"
                f" be one of all classes that have it: in your class, write"
                f" @replicated(version={number}) above a body with the name of the command"
            )

        def decorate(body: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
            if body.__name__ == self.name:
                raise TypeError(
                    f"{body.__qualname__}() would hide the method itself: give the body another"
                    f" name, such as {self.name}_{number}, or write @replicated(version={number})"
                )
            self._add(body, number)
            return body

        return decorate

    def _add(self, function: Callable[..., Any], version: int) -> None:
        code = getattr(function, "__code__", None)
        if code is not None and code.co_flags & _PAUSES:
            raise TypeError(
                f"{function.__qualname__}() is a coroutine or a generator: a command runs at once"
                " and to its end on every member, so it must be a plain function"
            )
        if type(version) is not int or not 1 <= version <= VERSION_MAX:
            raise ValueError(
                f"{function.__qualname__}() has version {version!r}; versions are whole numbers"
                f" from 1 to {VERSION_MAX}"
            )
        if version in self.versions:
            raise TypeError(
                f"{function.__qualname__}() is the second body of version {version}: members that"
                " run the first one would part from those that run this; give it a higher version"
            )
        self.versions[version] = function

    def __set_name__(self, owner: type, name: str) -> None:
        command = self
        if self._home is not None:
            # Under another name, or in another class, it is a command of its own: what has its
            # first name there, or in a subclass, may be something else.
            command = shallow_copy(self)
            command._origin = self
            setattr(owner, name, command)
        command.name, command._home = name, owner
        command.owner = owner if issubclass(owner, Replicated) else None

    def places_in(self, cls: type) -> Places:
        """Return which of its arguments are values in objects of `cls`; see `VALUES_IN`.

        Under another name it has those of the command that it was, unless `cls` names others.
        """
        places: Places | None = getattr(cls, "VALUES_IN", {}).get(self.name)
        if places is None and self._origin is not None:
            return self._origin.places_in(self._origin_home)
        return places or {}

    def returns_values_in(self, cls: type) -> bool:
        """Return whether objects of `cls` return values by it; see `VALUES_OUT`."""
        if self.name in getattr(cls, "VALUES_OUT", ()):
            return True
        return self._origin is not None and self._origin.returns_values_in(self._origin_home)

    @property
    def _origin_home(self) -> type:
        """The class that tells what the command that it was takes: its own one, if it has that."""
        origin, home = cast(ReplicatedDescriptor[Any, Any, Any], self._origin), self._home
        if getattr(home, origin.name, None) is not origin:
            home = origin._home
        return cast(type, home)

    @property
    def operator(self) -> Callable[Concatenate[S, P], R]:
        """The call as a function, for an operator of the class: `__setitem__ = set.operator`.

        As `def __setitem__(self, key, value): self.set(key, value)`; and with two arguments, in a
        batch in less than half the time, if the call before was one of the same operator and
        object. Of a command of another class, it calls by the name that the command has there.
        """
        return cast(Callable[Concatenate[S, P], R], _calling(self))

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: S, owner: type | None = None) -> ReplicatedMethod[P, R]: ...
    def __get__(
        self, instance: S | None, owner: type | None = None
    ) -> "Self | ReplicatedMethod[P, R]":
        if instance is None:
            return self
        return ReplicatedMethod(instance, self)


@overload
def replicated(
    function: Callable[Concatenate[S, P], R], /
) -> ReplicatedDescriptor[S, P, R]: ...
@overload
def replicated(
    *, version: int
) -> Callable[[Callable[Concatenate[S, P], R]], ReplicatedDescriptor[S, P, R]]: ...
def replicated(function: Any = None, /, *, version: int = 1) -> Any:
    """Mark a method as a command: it runs on every member, in the same order everywhere.

    To change what a method does without stopping the cluster, leave its body as it is and write the
    new one below it, under the same name, with the next version. All members go on with the old
    body until `Node.set_version` puts the new one in force, at one place of the log. A method that
    is new takes a version, too; calls of it are refused with `VersionRefused` until then. The new
    body must take the arguments of the old one, as calls that are under way run it as well::

        class Stock(Replicated):
            @replicated
            def take(self, count): ...

            @replicated(version=2)  # type: ignore[no-redef]
            def take(self, count): ...  # noqa: F811

    Type checkers and linters take it for a slip, so they want the comments, and may lose the types.
    Where they matter, decorate another name instead: `@take.version(2)` above `def take_2`.

    A version in a subclass leaves the earlier bodies of its bases in force until then. What is
    called by `super()` runs the version in force, too (of a base that is no `Replicated`: the
    first).

    Of one class, a version is said once: whatever is added later takes a version above all before.
    An old body may go once every member has a snapshot (or an empty log) from after the switch.

    Raises:
        TypeError: a coroutine or a generator, or a second body of that version.
        ValueError: `version` is no whole number from 1 on.
    """
    if function is None:
        return lambda decorated: _declared(decorated, version, sys._getframe(1).f_locals)
    return _declared(function, version, sys._getframe(1).f_locals)


def _calling(command: ReplicatedDescriptor[Any, Any, Any]) -> Callable[..., Any]:
    """Return a function that calls a command; one of two arguments is spelled out in batches."""

    @wraps(command.function)
    def call(
        target: Any, first: Any = _NONE, second: Any = _NONE, /, *more: Any, **named: Any
    ) -> Any:
        batch = _batch()
        if batch is not None:
            run = batch.run
            if (
                run.operator is call
                and run.binding is target._binding
                and type(first) in NATIVE
                and type(second) in NATIVE
                and not more
                and not named
                and _context() is None
            ):
                run.values.extend((first, second))
                if not batch.open:
                    raise came_as_it_ended()
                return None
        args = tuple(arg for arg in (first, second) if arg is not _NONE) + more
        # The name not before: the class may yet give it another one.
        method = getattr(target, command.name)
        result = method(*args, **named)
        # What overrides a command may change the arguments, and call that one.
        if batch is not None and _context() is None and isinstance(method, ReplicatedMethod):
            _add_to_run(batch.run, call, target, command.name)
        return result

    return call


def _add_to_run(run: Run, operator: Callable[..., Any], target: Any, method: str) -> None:
    """Have the next calls of an operator with two arguments added to a run, if that takes them.

    Whoever calls at the same time, or in between, may have begun another run.
    """
    if (
        run.binding is target._binding
        and run.method == method
        and run.width == 2
        and not target._pickles
        # Not a property, which may give another one the next time.
        and isinstance(getattr(type(target), method, None), ReplicatedDescriptor)
    ):
        run.operator = operator


def _declared(
    function: Callable[..., Any], version: int, body_of_class: Mapping[str, object]
) -> ReplicatedDescriptor[Any, Any, Any]:
    """Return the command that `function` is, with the bodies that stand above it in the class."""
    above = body_of_class.get(function.__name__)
    if not isinstance(above, ReplicatedDescriptor):
        return ReplicatedDescriptor(function, version)
    if above._home is not None and version > 1:
        # `put = ReplDict.set` stands above: this goes on from there.
        command = ReplicatedDescriptor(function, version, above.versions)
        command._origin = above
        return command
    if above.function.__qualname__ == function.__qualname__:
        return ReplicatedDescriptor(function, version, above.versions)
    return ReplicatedDescriptor(function, version)


def at_once(
    command: ReplicatedDescriptor[Any, Any, Any],
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorate what does many calls of a command at once, where they stand together in a batch.

    It is given a list of each argument's values, and does what the calls would, one after the
    other, if each returned None. If it raises, or returns `NotImplemented`, all of them are made
    one by one: what it did before must not change what they do. So they are where somebody
    subscribed to the object, and where a class or a later version has another body.

    For types of this library: nothing sees to it that it leaves alone its lists, the context, and
    all other commands, which would be taken for a part of another call.
    """

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        AT_ONCE[id(command.function)] = function
        return function

    return decorate


AT_ONCE: Final[dict[int, Callable[..., Any]]] = {}
"""What `at_once` decorates, by the identity of the command's body, which needs no hash."""


class HasPort(Protocol):
    """Whatever has operations: an attached object, or a node."""

    @property
    def _port(self) -> Port: ...


class OperationMethod(Generic[P, R]):
    """An operation bound to its object: call it to wait for the result, or `submit` it."""

    __slots__ = ("_function", "_target", "_undo")

    def __init__(
        self,
        target: HasPort,
        function: Callable[..., Steps[R]],
        undo: Callable[..., object] | None = None,
    ) -> None:
        self._target = target
        self._function = function
        self._undo = undo

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the operation and return its result, or raise what it raised."""
        target = self._target
        _refuse_to_wait(target, self._function.__name__)
        undo = self._undo
        steps = self._function(target, *args, **kwargs)
        name = call_name(target, self._function.__name__)
        if undo is None:
            result = target._port.run(steps, None, name)
        else:
            result = target._port.run(
                steps, lambda result: undo(target, result, *args, **kwargs), name
            )
        if not (isinstance(target, Replicated) and self._function.__name__ in target.VALUES_OUT):
            return result
        try:
            return revealed_result(target, result)
        except ResultLost:
            raise
        except BaseException:
            # Ctrl-C while it is unpickled, or no memory for it: its caller never had it.
            if undo is not None:
                undo(target, result, *args, **kwargs)
            raise

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> "Future[R]":
        """Start the operation and return a future at once; cancelling it withdraws the wait."""
        _refuse_to_wait(self._target, self._function.__name__)
        future = self._target._port.start(self._function(self._target, *args, **kwargs))
        undo = self._undo
        if undo is not None:
            caller = self._target._port.caller()
            future.unclaimed = lambda result: in_place_of(
                caller, lambda: undo(self._target, result, *args, **kwargs)
            )
        target, name = self._target, self._function.__name__
        if isinstance(target, Replicated) and target._pickles and name in target.VALUES_OUT:
            _reveal(future, target)
        return future


class operation(Generic[W, P, R]):  # noqa: N801
    """Mark a generator method (see `Steps`) as an operation on the calling side."""

    def __init__(self, function: "Callable[Concatenate[W, P], Steps[R]]") -> None:
        self.function = function
        self.undo: Callable[..., object] | None = None
        self.__doc__ = function.__doc__
        self.__wrapped__ = function

    def undone_by(self, undo: Callable[..., object]) -> Callable[..., object]:
        """Decorate what takes a result back whose `await` was cancelled as it came.

        It is called with the object, the result, and the operation's arguments; it must not wait.
        """
        self.undo = undo
        return undo

    @overload
    def __get__(self, instance: None, owner: type | None = None) -> Self: ...
    @overload
    def __get__(self, instance: W, owner: type | None = None) -> OperationMethod[P, R]: ...
    def __get__(
        self, instance: W | None, owner: type | None = None
    ) -> "Self | OperationMethod[P, R]":
        if instance is None:
            return self
        return OperationMethod(instance, self.function, self.undo)


def call_name(target: object, method: str) -> str:
    """Return how messages name a call: by the object's name in the cluster, and the method."""
    binding = getattr(target, "_binding", None)
    owner = type(target).__name__ if binding is None else binding.name
    return f"{owner}.{_SPOKEN.get(method, method)}()"


def _refuse_inside_command(name: str) -> None:
    if _context() is not None:
        raise RuntimeError(
            f"{name}: a command cannot wait for another call; call replicated methods directly,"
            " they run as part of the command"
        )


# What an attribute of an instance would hide from those who look after it.
_OWN_NAMES = frozenset(name for name in vars(Replicated) if name[0] == "_" or name.isupper())


def _refuse_to_wait(target: HasPort, name: str) -> None:
    _refuse_inside_command(name)
    if target._port.in_batch:
        raise RuntimeError(
            f"{call_name(target, name)} waits for answers, which a batch or a transaction does not"
            " have before its block ends; call it before the block or after it"
        )


def _refuse_to_be_read(*args: object) -> NoReturn:
    raise NodeFailed("the state of this object was not taken over to its end, so the node stops")


class _Gone:
    """Stands where there is no state: whoever reads it is told so, and takes it for no value."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        _refuse_to_be_read()


for _operator in (
    "bool", "len", "iter", "contains", "getitem", "setitem", "delitem", "call", "hash", "eq", "ne",
    "lt", "le", "gt", "ge", "index", "int", "float", "neg", "add", "radd", "sub", "rsub", "mul",
    "rmul", "truediv", "floordiv", "mod", "and", "rand", "or", "ror",
):  # fmt: skip
    setattr(_Gone, f"__{_operator}__", _refuse_to_be_read)
_GONE = _Gone()


def drop_state(target: Replicated) -> None:
    """Drop a state that is to be replaced, where all of it comes anew whatever there was before."""
    if type(target).restore_state is Replicated.restore_state:
        spoil_state(target)


def spoil_state(target: Replicated) -> None:
    """Let nobody read a state that is not whole."""
    for name, value in vars(target).items():
        if name not in target._local and not isinstance(value, Waiters):
            # Its place stays: attributes have an order, which is part of the state as bytes.
            vars(target)[name] = _GONE


def attach_arguments(name: str, target: Replicated) -> tuple[object, ...]:
    """Return the arguments of the command that attaches `target`: what the cluster records."""
    cls = type(target)
    methods = sorted([*cls._commands, *cls._later_bodies])
    state = target.initial_state()
    if cls.restore_state is not Replicated.restore_state:
        # It may be filled in place, by another state, before this is sent.
        state = copy(state)
    return name, type_name(cls), target.options(), state, methods


def create_arguments(name: str, model: Replicated, args: tuple[object, ...]) -> tuple[object, ...]:
    """Return the arguments of the command that creates what was made as `model` with `args`."""
    _, *recorded = attach_arguments(name, model)
    return name, recorded[0], list(args), *recorded[1:]
