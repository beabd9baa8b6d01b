"""The objects of the cluster by name, and which instance stands for each on this member.

The names, ids, types and options are replicated state. Which instance carries the state is a
matter of this member: one that was offered here, else one made from the recorded arguments, else
none. An object without an instance is detached: its last state is kept as bytes together with the
commands since, and an instance that comes later is given both.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ..codec import STATE_DEPTH, copy, decode, encode, shown
from ..errors import NodeFailed, ObjectExists, Unserializable
from .context import Context, _current
from .due import DueTimes
from .image import ObjectImage, state_pieces
from .pickling import refuse_pickles
from .pieces import state_of
from .port import Binding, Port
from .replicated import (
    Replicated,
    bind,
    drop_state,
    find_body,
    find_class,
    spoil_state,
    type_name,
)
from .versions import Versions, body_name, split_body

if TYPE_CHECKING:
    from random import Random

_log = logging.getLogger("syncstructs.objects")

# In place of a method's name in a backlog: the session in its arguments has expired.
_EXPIRED: Final = None
# The same: the object was to be woken, if the time in the arguments is its due time. No method has
# this name, so releases that do not know it stop there as at a method that they lack.
_WOKEN: Final = ".on_due"

# Of what comes from outside, as much stands in a line of the log or in a message.
_SHOWN_CHARACTERS: Final = 500


class LacksMethod(NodeFailed):
    """The class of an object is of an older release here than on the member that called."""


class Record:
    """An object as the cluster knows it, and its instance on this member."""

    __slots__ = (
        "adopted", "args", "backlog", "bodies", "due", "id", "live", "methods", "name", "options",
        "size_bytes", "state", "type_name",
    )  # fmt: skip

    def __init__(
        self,
        id_: int,
        name: str,
        type_name: str,
        options: dict[str, Any],
        args: list[Any] | None,
        state: Iterable[bytes],
        backlog: list[bytes],
        methods: list[str],
    ) -> None:
        self.id = id_
        """Serial of the command that brought it: unique for ever, even if the name is reused."""
        self.name = name
        self.type_name = type_name
        self.options = options
        self.args = args
        self.live: Replicated | None = None
        self.adopted = False
        """Whether the instance was attached by the user of this member, not made for them."""
        self.state = state
        """Detached: the state in pieces, before `backlog`. Empty while there is an instance. Can be
        taken more than once."""
        self.backlog = backlog
        self.due: float | None = None
        """Detached: the due time that belongs to `state`. Else `Directory.due` has it."""
        self.methods = methods
        """Names of the commands of version 1 that the cluster takes for it, sorted: those of every
        class that was attached or created under the name. Replicated, so that what is refused is
        refused by all members, whichever release of the class each of them has."""
        self.size_bytes = 0
        """Of its state, when it was compared here last; 0: that was never."""
        self.bodies: dict[str, str] = {}
        """Which body a call of each method runs now. Follows from `methods` and the versions."""

    @property
    def commands(self) -> dict[str, str]:
        """Those of `bodies` that can be called; others are what only `super()` leads to."""
        return {method: body for method, body in self.bodies.items() if "." not in method}

    def command(self, target: Replicated, method: str, body: str) -> Callable[..., Any]:
        """Return the command of that name, which the cluster takes.

        Raises:
            LacksMethod: the class on this member has no such body.
        """
        function = find_body(type(target), body)
        if function is None:
            raise LacksMethod(
                f"{method}() was called on {self}, and the {self.type_name} of this member has no"
                " such method, as others do: its state would differ from theirs from here on;"
                " start this node again with the release of the class that they run"
            )
        return function if target._watch is None else target._watch.command(method, function)

    def refuse_lacking(self, target: Replicated, bodies: Mapping[str, str]) -> None:
        """Check that a method of several versions runs here what it runs on other members.

        All bodies, before any of them is called: a command that calls another one could catch the
        error that this would be later, and go its own way with it.

        Raises:
            LacksMethod: the class on this member lacks a body.
        """
        cls = type(target)
        for method, body in bodies.items():
            if body == method and method not in cls._body_versions:
                # Of methods that have no other version, nothing is asked.
                continue
            if find_body(cls, body) is None:
                version = split_body(body)[1]
                raise LacksMethod(
                    f"{self} runs version {version} of {method}(), which the {self.type_name} of"
                    " this member does not have: its state would differ from the others' from here"
                    " on; start this node again with a release of the class that has that version"
                )

    def __str__(self) -> str:
        options = ", ".join(
            f"{shown(name)[1:-1]}={shown(value)}" for name, value in self.options.items()
        )
        type_name = shown(self.type_name)[1:-1]
        return f"{shown(self.name)}, a {type_name}({options})"[:_SHOWN_CHARACTERS]


class _Stream:
    """Pieces that come from an image as they are taken; and, if they are taken again, once more."""

    def __init__(self, pieces: Iterable[bytes], again: Callable[[], Iterable[bytes]]) -> None:
        self._pieces: Iterable[bytes] | None = pieces
        self._again = again

    def __iter__(self) -> Iterator[bytes]:
        pieces, self._pieces = self._pieces, None
        return iter(self._again() if pieces is None else pieces)


class _Replay(Context):
    """The context of a command that is applied late, to one object that was detached."""

    __slots__ = ("crossed", "name")

    crossed: str | None
    name: str

    def check_inline(self, binding: Binding, method: str) -> None:
        # The other object ran past this command long ago: its answer would be another one here
        # than on the members where both were attached.
        if binding.name != self.name or binding.port is not self.owner:
            self.crossed = binding.name
            raise NodeFailed(f"{self.name!r} calls {method}() of {binding.name!r}, catching up")


class Directory:
    """The table's objects: records, local instances, and instances that wait for their attach."""

    __slots__ = (
        "_awaited",
        "_by_id",
        "_detached_bytes",
        "_offers",
        "_owner",
        "_random_type",
        "_versions",
        "backlog_bytes",
        "due",
        "live",
        "records",
    )  # fmt: skip

    def __init__(
        self, owner: Port, random_type: type["Random"], detached_bytes: int, versions: Versions
    ) -> None:
        self._owner = owner
        self._versions = versions
        self._random_type = random_type
        self._detached_bytes = detached_bytes
        self.records: dict[str, Record] = {}
        """All objects by name, in the order of their ids."""
        self.live: dict[int | str, tuple[Replicated, Mapping[str, Callable[..., Any]]]] = {}
        """Instance and commands by id and by name, for the table's inner loop."""
        self.due = DueTimes()
        """When instances that are attached here are to be woken."""
        self.backlog_bytes = 0
        self._by_id: dict[int, Record] = {}
        self._offers: dict[str, tuple[Replicated, dict[str, Any]]] = {}
        self._awaited: dict[str, tuple[Replicated, dict[str, Any]]] = {}
        """Offers that were taken before the command was applied that this member attaches them by;
        until then, what is dropped is offered again."""

    # Local instances

    def offer(self, name: str, target: Replicated) -> None:
        """Let an instance wait for the attach of `name`.

        Raises:
            ObjectExists: it, or another one under this name, waits or is attached already.
            Unserializable: its options have no encoding.
            ConfigError: it would unpickle what anybody sends; see `refuse_pickles`.
        """
        refuse_pickles(self._owner, name, target)
        if target._binding is not None:
            raise ObjectExists(
                f"this {type(target).__name__} is attached already, as {target._binding.name!r}"
            )
        if name in self._offers:
            raise ObjectExists(f"another object waits to be attached as {name!r} here")
        record = self.records.get(name)
        if record is not None and record.adopted:
            raise ObjectExists(f"another object is attached as {name!r} here already")
        self._offers[name] = (target, copy(target.options()))
        bind(target, Binding(self._owner, name))
        target._dropped = None

    def rewatch(self, name: str) -> None:
        """Take note that the instance of that name is watched now, or no longer."""
        record = self.records.get(name)
        if record is not None and record.live is not None:
            self._open(record, record.live)

    def withdraw(self, name: str) -> None:
        """Take back an offer; without effect once the instance is attached."""
        self._awaited.pop(name, None)
        offered = self._offers.pop(name, None)
        if offered is not None:
            offered[0]._binding = None
            if offered[0]._watch is not None:
                offered[0]._watch.end()

    def settle(self, name: str) -> None:
        """Note that the command was applied by which this member attaches `name`."""
        self._awaited.pop(name, None)

    def instances(self) -> Iterator[Replicated]:
        """Yield all instances that are attached here, or wait for it."""
        yield from (record.live for record in self.records.values() if record.live is not None)
        yield from (target for target, _ in self._offers.values())

    # The replicated directory

    def find(self, target: object) -> Record | None:
        """Return the object with that id or name, or None."""
        if isinstance(target, str):
            return self.records.get(target)
        return self._by_id.get(target) if isinstance(target, int) else None

    def add(self, record: Record) -> Exception | None:
        """Enter a new object, and give it an instance if there is one to be had.

        Return what the instance offered here raised when it was given its state.
        """
        assert record.name not in self.records, record.name
        self._choose_bodies(record)
        self.records[record.name] = record
        self._by_id[record.id] = record
        self.backlog_bytes += sum(map(len, record.backlog))
        error = self.join(record)
        if record.live is None:
            self._make(record)
        return error

    def join(self, record: Record) -> Exception | None:
        """Let an instance offered here take over; return what it raised when given the state."""
        target, options = self._offers.get(record.name, (None, None))
        if target is None or type_name(type(target)) != record.type_name:
            return None
        if options != record.options:
            return None
        error = self._fill(record, target)
        if error is None:
            self._awaited[record.name] = self._offers.pop(record.name)
            self._embody(record, target)
            record.adopted = True
        return error

    def learn(self, record: Record, methods: list[str]) -> None:
        """Take these commands for the object from now on, too."""
        union = sorted({*record.methods, *methods})
        if union != record.methods:
            record.methods = union
            self._choose_bodies(record)
            if record.live is not None:
                self._open(record, record.live)

    def knows_type(self, type_name: str) -> bool:
        """Return whether the cluster has an object of that class. O(number of objects)."""
        return any(record.type_name == type_name for record in self.records.values())

    def switch(self) -> None:
        """Run the bodies of the version that is in force now, of all objects.

        Raises:
            LacksMethod: the class of one of them lacks such a body on this member.
        """
        for record in self.records.values():
            self._choose_bodies(record)
            if record.live is not None:
                self._open(record, record.live)

    def _choose_bodies(self, record: Record) -> None:
        record.bodies = self._versions.bodies_in_force(record.type_name, record.methods)

    def remove(self, record: Record) -> None:
        """Take an object out; calls of its instance raise `ObjectNotFound` from then on."""
        del self.records[record.name]
        del self._by_id[record.id]
        self.backlog_bytes -= sum(map(len, record.backlog))
        self.due.set(record.id, None)
        if record.live is not None:
            self._let_go(record, record.live)
            del self.live[record.id]
            del self.live[record.name]

    def give_up(self, session: int, context: Context) -> None:
        """Tell every object, in the order of ids, that a session has expired."""
        for record in list(self.records.values()):
            target = record.live
            if target is None:
                self.keep(record, context, _EXPIRED, [session], {})
                continue
            # Each object draws from a fresh generator, so it does not matter whether the ones
            # before it are attached on this member.
            context._random = None
            _tell(target, "on_session_expired", session)
        context._random = None

    def wake(self, record: Record, time: float, context: Context) -> None:
        """Call `on_due` of an object whose due time is `time`, which it has no longer then.

        Of another one, nothing: it was woken already, or has set another time since.
        """
        if record.live is None:
            self.keep(record, context, _WOKEN, [time], {})
        elif self.due.of(record.id) == time:
            self.due.set(record.id, None)
            context._random = None
            _tell(record.live, "on_due")
            context._random = None

    def keep(
        self,
        record: Record,
        context: Context,
        method: str | None,
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> None:
        """Keep a command of a detached object until an instance comes.

        Raises:
            NodeFailed: more than `detached_bytes` of commands would be kept, or it is nested deeper
                than can be kept, as no correct member calls it.
        """
        at = [context.index, context.time, context.serial, context.session, context.sequence]
        parts = [*at, method, args, kwargs, *_at_version(record, context)]
        try:
            kept = encode(parts, max_depth=STATE_DEPTH)
        except Unserializable as error:
            raise NodeFailed(f"a command of {record} cannot be kept: {error}") from error
        if self.backlog_bytes + len(kept) > self._detached_bytes:
            raise NodeFailed(
                f"over {self._detached_bytes} bytes of commands wait for {record}, which is not"
                " attached on this member: attach it or drop it, or raise Config.detached_bytes"
            )
        self.backlog_bytes += len(kept)
        record.backlog.append(kept)

    # Images

    def image(self) -> Iterator[ObjectImage]:
        """Yield all objects with their states, in the order of ids.

        Raises:
            Unserializable: a part of a state has no encoding; names the object and attribute. As
                its pieces are taken.
        """
        for r in self.records.values():
            pieces = r.state if r.live is None else state_pieces(r.name, r.live)
            yield ObjectImage(
                r.id, r.name, r.type_name, r.options, r.args, r.backlog, r.methods, pieces
            )

    def due_image(self) -> dict[int, float]:
        """Return the due times of all objects for an image, by id: those of their states there."""
        kept = ((r.id, r.due) for r in self.records.values() if r.due is not None)
        return dict(sorted([*self.due.items(), *kept]))

    def restore(
        self,
        images: Iterable[ObjectImage],
        due: Mapping[int, float],
        again: Callable[[int], Iterable[bytes]],
    ) -> None:
        """Replace all objects by those of an image, one after the other, and their due times.

        Offered instances are adopted, attached ones keep standing for their object, and those
        whose object is gone are attached to nothing afterwards. What an instance had is dropped
        before it gets the other state, for there may be no room for both. `again(id)`: the pieces
        of the object with that id once more, for when an instance has refused them.

        Raises:
            NodeFailed: an instance refused its state, or calls other objects in its backlog.
        """
        former = self.records
        self.records, self._by_id, self.live, self.backlog_bytes = {}, {}, {}, 0
        self.due.clear()
        try:
            self._enter_all(images, due, former, again)
        except BaseException:
            # They have to hear that it is over.
            self.records |= {old.name: old for old in former.values() if self._is_left(old)}
            raise
        for old in former.values():
            if self._is_left(old):
                assert old.live is not None
                self._let_go(old, old.live)

    def _is_left(self, old: Record) -> bool:
        """Whether the instance of a former record stands for no object of the present ones."""
        now = self.records.get(old.name)
        if old.live is None or old.live._binding is None:
            # Another instance has taken its place already: it is the object that was not dropped.
            return False
        return now is None or now.live is not old.live

    def _enter_all(
        self,
        images: Iterable[ObjectImage],
        due: Mapping[int, float],
        former: Mapping[str, Record],
        again: Callable[[int], Iterable[bytes]],
    ) -> None:
        for image in images:
            record = Record(
                image.id, image.name, image.type_name, image.options, image.args, (),
                image.backlog, image.methods,
            )  # fmt: skip
            record.due = due.get(record.id)
            self._choose_bodies(record)
            old = former.get(record.name)
            if old is not None and old.live is not None and old.id == record.id:
                self._refill(record, old.live, image.pieces)
                record.adopted = old.adopted
            else:
                if old is not None and old.live is not None:
                    self._offer_again(old, old.live)
                record.state = _Stream(image.pieces, partial(again, record.id))
            error = self.add(record)
            if record.live is None:
                # Of a state that is decoded, there are never all pieces in memory.
                record.state = tuple(record.state)
            if error is not None:
                _log.error("%s refused the state of a snapshot", record, exc_info=error)

    def _let_go(self, record: Record, target: Replicated) -> None:
        """Attach to nothing what stood for an object that the cluster has no longer."""
        if self._offer_again(record, target):
            return
        # In this order: whoever finds no binding, in another thread, finds out why.
        target._dropped = record.name
        target._binding = None
        if target._watch is not None:
            target._watch.end()

    def _offer_again(self, record: Record, target: Replicated) -> bool:
        """Let an instance wait again if its own attach is yet to come, and will need it."""
        name = record.name
        if name in self._awaited and self._awaited[name][0] is target:
            self._offers[name] = self._awaited.pop(name)
            bind(target, Binding(self._owner, name))
        return name in self._offers and self._offers[name][0] is target

    # Giving an instance its state

    def _refill(self, record: Record, target: Replicated, pieces: Iterable[bytes]) -> None:
        drop_state(target)
        try:
            error = self._fill(record, target, pieces)
            if error is not None:
                raise NodeFailed(f"{record} refused the state of a snapshot: {error!r}") from error
            self._embody(record, target)
        except BaseException:
            # Readers may be waiting for this to end.
            spoil_state(target)
            raise

    def _make(self, record: Record) -> None:
        """Make an instance from what was recorded, if its class is known and plain enough."""
        cls = find_class(record.type_name)
        if cls is None or not cls._embeddable:
            return
        try:
            options = copy(record.options)
            target = cls(**options) if record.args is None else cls(*copy(record.args))
            if target._binding is not None or target.options() != record.options:
                return
            # Nobody on this node has asked for it, whatever its class does by itself.
            target._pickles = False
        except MemoryError:
            raise
        except Exception as error:
            _log.info("%s is not made here, but can be attached: %r", record, error)
            return
        error_of_state = self._fill(record, target)
        if error_of_state is None:
            self._embody(record, target)
        else:
            _log.warning("%s stays detached here", record, exc_info=error_of_state)

    def _fill(
        self, record: Record, target: Replicated, pieces: Iterable[bytes] | None = None
    ) -> Exception | None:
        """Give `target` the record's present state; return what it raised, or None.

        `pieces`: the state before the backlog, if the record itself has it not.

        Raises:
            NodeFailed: the backlog cannot be applied late.
        """
        before = target._binding
        bound = Binding(self._owner, record.name)
        bound.target = record.id
        bound.bodies = record.bodies
        bind(target, bound)
        try:
            if record.live is not None:
                target.restore_state(state_of(state_pieces(record.name, record.live)))
                bound.due = self.due
            else:
                target.restore_state(state_of(record.state if pieces is None else pieces))
                bound.due = self.due
                self.due.set(record.id, record.due)
                self._replay(record, target)
            if target._watch is not None:
                target._watch.replaced(_current.get())
        except (MemoryError, NodeFailed):
            raise
        except Exception as error:
            target._binding = before
            return error
        return None

    def _replay(self, record: Record, target: Replicated) -> None:
        """Apply the commands that were kept, each in its own time; nobody waits for results.

        Nor is anybody told of them, but that the state was taken over, once it is whole.
        """
        watch, target._watch = target._watch, None
        try:
            self._replay_unwatched(record, target)
        finally:
            target._watch = watch

    def _replay_unwatched(self, record: Record, target: Replicated) -> None:
        for kept in record.backlog:
            index, time, serial, session, sequence, method, args, kwargs, *then = decode(kept)
            context = _Replay(
                index=index, time=time, owner=self._owner, random_type=self._random_type
            )
            context.name, context.crossed = record.name, None
            context.serial, context.session, context.sequence = serial, session, sequence
            context.version, bodies = _bodies_then(record, then)
            record.refuse_lacking(target, bodies)
            assert target._binding is not None, record
            target._binding.bodies = bodies
            token = _current.set(context)
            try:
                if method is _EXPIRED:
                    _tell(target, "on_session_expired", *args)
                elif method == _WOKEN:
                    if self.due.of(record.id) == args[0]:
                        self.due.set(record.id, None)
                        _tell(target, "on_due")
                else:
                    command = record.command(target, method, bodies.get(method, method))
                    command(target, *args, **kwargs)
            except (MemoryError, KeyboardInterrupt, SystemExit, LacksMethod):
                raise
            except BaseException as error:
                # As on the members where it was applied in time: its caller was told there.
                _log.debug("%s() of %s raised %r", method, record, error)
            finally:
                _current.reset(token)
            if context.crossed is not None:
                raise NodeFailed(
                    f"{record} was used before it was attached on this member, and its {method}()"
                    f" calls {context.crossed!r}: attach both on every member before use"
                )

    def _embody(self, record: Record, target: Replicated) -> None:
        """Make `target`, which has the state, the instance of the record."""
        if record.live is not None:
            record.live._binding = None
            if record.live._watch is not None:
                record.live._watch.hand_over(target)
        self.backlog_bytes -= sum(map(len, record.backlog)) if record.name in self.records else 0
        record.live = target
        record.state = ()
        record.backlog = []
        record.due = None
        self._open(record, target)

    def _open(self, record: Record, target: Replicated) -> None:
        """Let the table's inner loop find the commands that the cluster takes.

        Raises:
            LacksMethod: see `Record.refuse_lacking`.
        """
        record.refuse_lacking(target, record.bodies)
        assert target._binding is not None, record
        target._binding.bodies = record.bodies
        first, later = type(target)._commands, type(target)._later_bodies
        known = {
            method: function
            for method, body in record.commands.items()
            if (function := first.get(body) or later.get(body)) is not None
        }
        if len(known) < len(record.commands):
            _log.warning(
                "%s has no method %s here, as on other members: this member will stop if it is"
                " called; run the same release everywhere",
                record,
                _listed(record.commands.keys() - known.keys()),
            )
        watch = target._watch
        if watch is not None:
            known = {name: watch.command(name, function) for name, function in known.items()}
        self.live[record.id] = self.live[record.name] = (target, known)

    def _check(self) -> None:
        ids = [record.id for record in self.records.values()]
        assert ids == sorted(ids), ids
        assert {record.id for record in self._by_id.values()} == set(ids)
        kept = sum(len(kept) for record in self.records.values() for kept in record.backlog)
        assert kept == self.backlog_bytes, (kept, self.backlog_bytes)
        for name, (target, _) in self._offers.items():
            offered = target._binding
            assert offered is not None, name
            assert offered.name == name, (name, offered.name)
            assert name not in self.records or self.records[name].live is not target, name
        for name, (target, _) in self._awaited.items():
            assert self.records[name].live is target, name
            assert name not in self._offers, name
        for name, record in self.records.items():
            assert record.name == name, (name, record.name)
            bodies = self._versions.bodies_in_force(record.type_name, record.methods)
            assert record.bodies == bodies, (record, record.bodies, bodies)
            self._check_instance(record)
        self.due._check({r.id: r for r in self.records.values() if r.live is not None})
        assert len(self.live) == 2 * sum(r.live is not None for r in self.records.values())

    def _check_instance(self, record: Record) -> None:
        found = self.live.get(record.id)
        assert found is self.live.get(record.name), record
        if found is None:
            assert record.live is None, record
            return
        assert found[0] is record.live, record
        binding = found[0]._binding
        assert binding is not None, record
        assert binding.port is self._owner, record
        assert binding.bodies == record.bodies, record
        assert (binding.name, binding.target) == (record.name, record.id), record
        assert record.state == (), record
        assert record.backlog == [], record
        assert record.due is None, record
        assert binding.due is self.due, record


def _listed(methods: Iterable[str]) -> str:
    """Return names of methods for a line of the log; they come from outside."""
    return ", ".join(f"{shown(name)[1:-1]}()" for name in sorted(methods))[:_SHOWN_CHARACTERS]


def _at_version(record: Record, context: Context) -> Iterator[object]:
    """Yield what a kept command has behind its parts, if another version than 1 is in force."""
    if context.version > 1:
        yield context.version
        yield {method: split_body(body)[1] for method, body in record.bodies.items() if ":" in body}


def _bodies_then(record: Record, then: list[Any]) -> tuple[int, dict[str, str]]:
    """Return the version that was in force when a command was kept, and what calls ran."""
    version, numbers = then or (1, {})
    later = {method: body_name(method, number) for method, number in numbers.items()}
    return version, {method: method for method in record.methods} | later


def _tell(target: Replicated, hook: str, *args: object) -> None:
    """Call what an object has for an event of the cluster; what that raises is logged."""
    function: Callable[..., Any] = getattr(type(target), hook)
    if target._watch is not None:
        function = target._watch.command(hook, function)
    try:
        function(target, *args)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:
        _log.exception("%s.%s raised, on every member", type(target).__name__, hook)
