"""`Node`: a member of a cluster, in this process."""

import logging
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, suppress
from contextvars import Token
from dataclasses import replace
from math import inf
from types import MappingProxyType
from typing import Any, NoReturn, Self, TypeVar

from ..codec import decode
from ..config import Config, parse_address
from ..errors import (
    Cancelled,
    ConfigError,
    NotApplied,
    ObjectExists,
    ObjectMismatch,
    OutcomeUnknown,
    ResultLost,
    SyncError,
    Timeout,
)
from ..futures import Future
from ..objects.image import encode_state
from ..objects.pickling import refuse_pickles
from ..objects.port import Gathers, Steps, current_batch
from ..objects.replicated import (
    Replicated,
    attach_arguments,
    bound,
    create_arguments,
    find_class,
    operation,
    type_name,
)
from ..status import Status
from .batch import Batch, leave
from .calls import Call
from .engine import Engine
from .forks import CutOffRunner
from .members import change_members, transfer_leadership
from .runners import ManualRunner
from .transaction import TransactionBlock, TransactMethod
from .verbs import take_snapshot, verbs_of
from .versions import set_version
from .world import current_world

_log = logging.getLogger("syncstructs.node")
R = TypeVar("R", bound=Replicated)
Consumers = Mapping[str, Replicated] | Iterable[Replicated]

# How long `with Node(...)` and the exit of a block wait for an orderly end.
_CLOSE_TIMEOUT = 15.0


class Node:
    """A member of the cluster made of `address` and `peers`; carries the attached objects.

    Without an address it is an **observer** of the members `peers`: it holds all that they hold,
    live, and calls, waits and locks as they do, but listens nowhere, has no vote and is no member.
    So any number of them may come and go. What it is told comes from the leader, in turns that are
    the rarer the more observers there are; its own calls do not wait for them.

    Args:
        address: where this member listens and how the others call it, as "host:port"; None: it is
            an observer.
        peers: the addresses of the other members; the own one among them is accepted.
        consumers: objects to attach: a mapping of names to objects, or objects alone, which take
            their class's name and their ordinal in it as names ("ReplDict1").
        config: settings; single fields may be given as keyword arguments instead.

    The node runs from here on. It can be used once `wait_ready()` has returned, or right away:
    calls wait for a leader, up to `Config.call_timeout`.

    Raises:
        ConfigError: an address or a setting is wrong; or an object was made with `pickle=True`, and
            there is neither password nor certificate.
        BindError: the address cannot be had (under asyncio `wait_ready` raises it).
        StorageError: the data directory cannot be used.
        NodeFailed: its state is of a release that this one cannot go on with.
    """

    _engine: Engine
    _ready: Future[None]

    def __init__(
        self,
        address: str | None,
        peers: Iterable[str] = (),
        *,
        consumers: Consumers | None = None,
        config: Config | None = None,
        **config_fields: Any,
    ) -> None:
        self._prepare(address, peers, config, config_fields)
        self._begin(_named(consumers))

    def _prepare(
        self,
        address: str | None,
        peers: Iterable[str],
        config: Config | None,
        fields: dict[str, Any],
    ) -> None:
        if isinstance(peers, str):
            raise ConfigError(f"peers {peers!r} must be a list of addresses, not one string")
        unknown = sorted(set(fields) - set(Config.__dataclass_fields__))
        if unknown:
            raise ConfigError(f"{unknown[0]!r} is no setting; see Config for their names")
        settings = config or Config()
        if fields:
            settings = replace(settings, **fields)
        own = current_world().name() if address is None else str(parse_address(address))
        others = {str(parse_address(peer, field="peer")) for peer in peers} - {own}
        if address is None:
            _check_observer(others, settings)
        else:
            others.add(own)
        self._engine = Engine(address=own, members=tuple(sorted(others)), config=settings)
        self._engine.inquiries.verbs = verbs_of(self._engine)

    def _begin(self, consumers: dict[str, Replicated]) -> None:
        engine = self._engine
        initial: dict[str, bytes] = {}
        try:
            for name, target in consumers.items():
                engine.replica.table.offer(name, target)
            # What they are if the cluster does not have them; a snapshot may fill them now.
            arguments = [attach_arguments(name, target) for name, target in consumers.items()]
            if engine.has_earlier:
                initial = {name: encode_state(name, target) for name, target in consumers.items()}
                engine.resume()
            told = engine.tell_bodies(*map(type, consumers.values()))
            attaching = [] if told is None else [("", told)]
            for name, described in zip(consumers, arguments, strict=True):
                attaching.append((name, engine.system("attach", *described)))
            engine.start_running()
        except BaseException:
            try:
                # The objects may be attached to another node now, or to this one again.
                for name, target in consumers.items():
                    if target._binding is not None and target._binding.port is engine:
                        target._binding = None
                        if name in initial:
                            _give_back(target, decode(initial[name]))
            finally:
                engine.abort()
            raise
        self._attached = engine.start(self._attach_all(attaching))
        self._ready = engine.start(self._become_ready())

    def _attach_all(self, attaching: list[tuple[str, Future[Any]]]) -> Steps[Exception | None]:
        """Wait until the log has attached the objects; return the first error."""
        error: Exception | None = None
        for name, future in attaching:
            try:
                yield future
            except Exception as raised:
                self._engine.withdraw(name)
                error = error or raised
        return error

    def _become_ready(self) -> Steps[None]:
        error: Exception | None = yield self._attached
        if self._engine.failure is not None:
            raise self._engine.failure
        yield from self._confirm()
        if error is not None:
            raise error

    def _confirm(self, timeout: float | None = None) -> Steps[bool]:
        """Wait until a quorum confirms a leader and this node's session certainly lives.

        Return False if `timeout` seconds were not enough.
        """
        engine = self._engine
        deadline = inf if timeout is None else engine.now() + timeout
        confirmed = engine.barrier()
        try:
            in_time = yield confirmed, timeout
        except Cancelled:
            engine.forget_barrier(confirmed)
            raise
        if not in_time:
            engine.forget_barrier(confirmed)
            return False
        yield confirmed
        # A lock that is granted before the leader has vouched for the session would be given back.
        while not engine.is_sure and engine.failure is None:
            if engine.now() >= deadline:
                return False
            # Ends with the node at the latest, as its timers may not fire any more then.
            yield engine.membership_change(), engine.config.heartbeat_interval / 4
        if engine.failure is not None:
            raise engine.failure
        return True

    # Life

    @property
    def address(self) -> str:
        """This member's address; of an observer, a name that no other node has."""
        return self._engine.address

    @property
    def members(self) -> tuple[str, ...]:
        """The addresses of all members as this node knows them, sorted.

        Those who are about to have a vote, or to lose it, are among them.
        """
        return self._engine.members

    @property
    def leader(self) -> str | None:
        """The leader's address, as far as this node knows; None during an election."""
        return None if self._engine.failure else self._engine.replica.core.leader

    @property
    def is_leader(self) -> bool:
        """Whether this node thinks that it leads; another may have been elected meanwhile."""
        return self.leader == self.address

    @operation
    def wait_ready(self, timeout: float | None = None) -> Steps[None]:
        """Wait until this node has caught up with a leader and its objects are attached.

        Ready means now, however often it was before: a quorum confirms the leader after this call
        was made, everything that was acknowledged before is applied here, and the session lives.
        That is a question to other members, for whose answer a timeout of 0 is too short.

        Raises:
            Timeout: not ready within `timeout` seconds; it goes on trying. The message names the
                members to which there is no link.
            ObjectMismatch: the cluster has an object of that name and another type; or a class here
                has a new body whose version is in force already, and others do not have it.
            BindError: the address cannot be had.
            NodeClosed, NodeFailed: the node has ended.
        """
        if self._engine.failure is not None:
            raise self._engine.failure
        was_ready = self._ready.done()
        in_time = yield self._ready, timeout
        if in_time:
            yield self._ready
        if was_ready:
            # That it was ready once says nothing about now.
            in_time = yield from self._confirm(timeout)
        if not in_time:
            raise Timeout(self._why_not_ready(timeout))

    def _why_not_ready(self, timeout: float | None) -> str:
        linked = {self.address, *self._engine.links()}
        missing = ", ".join(member for member in self.members if member not in linked)
        core = self._engine.replica.core
        why = ""
        for other, members in core.unlike_members.items():
            why += (
                f"; {other} was started with the members {', '.join(members)}: give all of them the"
                " same ones"
            )
        if core.is_recovering and not why:
            why = (
                "; it started empty, and has no vote until a majority of the others, or all of them"
                " if fewer hold anything, have told it what there is"
            )
        elif core.is_dismissed:
            why = "; a member says that it is none"
        return (
            f"{self.address} is not ready within {timeout} s: members {self.members} have elected"
            f" {self.leader or 'no leader'}{f'; no link to {missing}' if missing else ''}{why}"
        )

    @operation
    def barrier(self, timeout: float | None = None) -> Steps[None]:
        """Wait until everything that was acknowledged anywhere before this call is applied here.

        Local reads after it are linearizable with respect to it (ReadIndex). On any member. On a
        node that has just been made, the objects it was made with are attached first.

        Raises:
            Timeout: no quorum answered within `timeout` seconds.
        """
        engine = self._engine
        deadline = inf if timeout is None else engine.now() + timeout
        # Until then they have their first state, whatever was acknowledged.
        if not self._attached.done() and not (yield self._attached, timeout):
            raise Timeout(f"no quorum confirmed a leader within {timeout} s")
        future = engine.barrier()
        if not (yield future, None if timeout is None else max(0.0, deadline - engine.now())):
            engine.forget_barrier(future)
            raise Timeout(f"no quorum confirmed a leader within {timeout} s")
        yield future

    # Members

    @operation
    def add_member(self, address: str, timeout: float | None = None) -> Steps[None]:
        """Let the node at `address` have a vote, and wait until it has; it may run already or not.

        It is sent all that the others hold first, and has a vote once it keeps up. It is to be
        started with `join=True` and the addresses of members, in `peers`. In memory, all members
        have to have heard of it before: remove one that is dead first. To replace members by others
        in one step, use `set_members`. Whoever leads carries the change through: the loss of
        a leader, or of this node, does not stop it.

        Raises:
            ConfigError: `address` is none.
            MembershipRefused: somebody removed it again meanwhile.
            Withdrawn: no leader was known within `timeout` seconds; nothing changes.
            Timeout: not done within `timeout` seconds; it goes on.
            OutcomeUnknown: this node has ended meanwhile; it goes on.
        """
        yield from change_members(self._engine, added=[address], timeout=timeout)

    @operation
    def remove_member(self, address: str, timeout: float | None = None) -> Steps[None]:
        """Let the node at `address` have no vote any more, and wait until that is so.

        It hears of it if it can be reached, and ends (`NodeRemoved`). It may be the leader, this
        node itself, or dead for good. Raises as `add_member`, and:

        Raises:
            MembershipRefused: it is the last member, or somebody added it again meanwhile.
        """
        yield from change_members(self._engine, removed=[address], timeout=timeout)

    @operation
    def set_members(self, addresses: Iterable[str], timeout: float | None = None) -> Steps[None]:
        """Let exactly these nodes have a vote, and wait until that is so. One step, however many.

        Until it is done, decisions need a majority of the members before and one of those to come
        (joint consensus), so that at no moment two can be made apart. In memory, those that stay
        have to have heard of those that come before. Raises as `add_member`.
        """
        if isinstance(addresses, str):
            raise ConfigError(f"members {addresses!r} must be a list of addresses, not one string")
        yield from change_members(self._engine, only=list(addresses), timeout=timeout)

    @operation
    def transfer_leadership(
        self, to: str | None = None, timeout: float | None = None
    ) -> Steps[None]:
        """Have another member lead: the one at `to`, or one that has all; wait until it does.

        On any member. Calls under way wait until the next leader has them, as after any change of
        leader. A leader that is closed does this by itself. If the leader is lost meanwhile,
        whoever is elected is asked to hand over to `to`; without `to` that one is another leader.

        Raises:
            ConfigError: `to` is no address.
            MembershipRefused: `to` has no vote, or nobody else has one.
            Withdrawn: the leader was lost before it was asked, and no other was known in time.
            Timeout: not done within `timeout` seconds; it may still come to it.
            NodeClosed, NodeFailed: this node has ended meanwhile.
        """
        yield from transfer_leadership(self._engine, to, timeout)

    @operation
    def snapshot(self, timeout: float | None = None) -> Steps[int]:
        """Write a snapshot of this member's state now, and return the index that it reaches to.

        A member does so by itself as its log grows; this is for the moment before a copy of its
        directory is made, or before it is stopped, so that it starts faster. Here only, and on
        some members up to 0.15 seconds after the call, as forks on all of them at once would hold
        up calls. If nothing was applied since the newest snapshot, that one is it.

        Raises:
            Timeout: not done within `timeout` seconds; it goes on.
            StorageError: it cannot be written.
            Unserializable: the state of an object has a value without encoding.
            NodeClosed, NodeFailed: this node has ended meanwhile.
        """
        return (yield from take_snapshot(self._engine, timeout))

    # Versions of methods

    @property
    def version(self) -> int:
        """The version of replicated methods that is in force, as of what is applied here."""
        return self._engine.replica.table.versions.in_force

    @operation
    def set_version(self, version: int, timeout: float | None = None) -> Steps[None]:
        """Put the bodies of `@replicated(version=...)` up to `version` in force, on all members.

        At one place of the log: calls before it run the bodies of before, calls behind it the new
        ones, wherever and whenever they were made. A cluster begins with version 1; what is in
        force is kept with its state. Once in force, a version cannot be taken back, and a node
        whose classes lack a body of it stops with `NodeFailed`. Any member may ask, and again. If
        the leader is lost meanwhile, the next one is asked; it counts once.

        Raises:
            ConfigError: `version` is no whole number from 1 on.
            VersionRefused: a member does not know that version: it has not been started with a
                release that has it, or not at all since. Or a later one is in force.
            Withdrawn: no leader was known within `timeout` seconds; nothing changes.
            Timeout: not done within `timeout` seconds; it may yet be.
            NodeClosed, NodeFailed: this node has ended before it was sent.
            OutcomeUnknown: it has ended meanwhile; it may have been done, or may yet be.
        """
        yield from set_version(self._engine, version, timeout)

    def tick(self, timeout: float = 0.0) -> None:
        """Run a manually driven node: do what is due, and wait for events `timeout` seconds.

        Raises:
            ConfigError: the node was not made with drive="manual".
        """
        runner = self._engine.runner
        if isinstance(runner, CutOffRunner):
            runner.refuse()
        if not isinstance(runner, ManualRunner):
            raise ConfigError("tick() needs a node made with drive='manual'")
        assert self._engine.active is not None
        runner.tick(timeout, lambda: False, self._engine.active)

    @property
    def close(self) -> "CloseMethod":
        """Close the node: `close(timeout=15)`, or `await close.submit()`; idempotent.

        Its session is ended in the cluster, so that its locks pass to the next waiters at once, and
        its waits are given up. If it leads, it hands over before it stops. Without an answer from a
        majority within a second (or `Config.call_timeout` if that is less) it closes all the same,
        and the others wait until the session has expired (`Config.session_ttl`).

        Calls that were not sent end with `NodeClosed`. Those that were get their result if it comes
        in that time; else they end with `NodeClosed` if the cluster has ended the session, for then
        they were not applied, and with `OutcomeUnknown` if not.
        """
        return CloseMethod(self._engine)

    def __enter__(self) -> Self:
        try:
            self.wait_ready()
        except BaseException:
            # Nobody else could: the block is never entered, and often nobody else has the node.
            with suppress(SyncError):
                self.close()
            self.close.submit()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        try:
            await self.wait_ready.submit()
        except BaseException:
            closed = self.close.submit()
            with suppress(SyncError):
                await closed
            raise
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close.submit()

    # Objects

    @property
    def objects(self) -> Mapping[str, Replicated]:
        """The objects of the cluster that are attached here, by name."""
        with self._engine.gate.lock:
            return MappingProxyType(self._engine.replica.table.objects)

    @operation
    def attach(self, name: str, target: R) -> Steps[R]:
        """Attach an object under `name`, here and (if its class is known there) on all members.

        If the cluster has an object of that name, `target` takes over its state.

        Raises:
            ObjectMismatch: it has another type, or other constructor arguments; or its class has a
                new body whose version is in force already, and others do not have it.
            ObjectExists: `target` is attached elsewhere.
            ConfigError: it was made with `pickle=True`, and the node lets in anybody.
        """
        _check_name(name)
        engine = self._engine
        refuse_pickles(engine, name, target)
        arguments = attach_arguments(name, target)
        engine.tell_bodies(type(target))
        with engine.gate.lock:
            engine.replica.table.offer(name, target)
        try:
            yield engine.system("attach", *arguments)
        except BaseException as error:
            engine.withdraw(name)
            # A snapshot may have brought the object, and covered the answer.
            if not isinstance(error, ResultLost) or target._binding is None:
                raise
        return target

    @operation
    def create(self, name: str, cls: type[R], *args: object) -> Steps[R]:
        """Create `cls(*args)` under `name` on all members, and return this member's.

        An existing object of the same type and arguments is returned as it is.

        Raises:
            ObjectExists: the name belongs to another object.
            ObjectMismatch: a later class has the same module and name as `cls`.
            ConfigError: it is no class of objects, or one that is made with `pickle=True`.
        """
        _check_name(name)
        if not (isinstance(cls, type) and issubclass(cls, Replicated)):
            raise ConfigError(f"{cls!r} is no class of replicated objects, so nothing can be made")
        if find_class(type_name(cls)) is not cls:
            raise ObjectMismatch(
                f"another class named {type_name(cls)!r} was defined after this one, and is the"
                " one that members would make; give them different names"
            )
        model = cls(*args)
        if model._pickles:
            raise ConfigError(
                f"{name!r} cannot be created: {cls.__name__} is made with pickle=True, and what"
                " members make by themselves never is; have each of them that is to unpickle its"
                " values attach one"
            )
        self._engine.tell_bodies(cls)
        yield self._engine.system("create", *create_arguments(name, model, args))
        found = self.objects.get(name)
        if not isinstance(found, cls):
            raise ObjectExists(f"{name!r} was dropped or replaced in the same moment")
        return found

    @operation
    def drop(self, name: str) -> Steps[None]:
        """Remove an object from the cluster; later calls of it raise `ObjectNotFound`."""
        yield self._engine.system("drop", name)

    # Many calls, many reads

    def batch(self) -> "BatchBlock":
        """Gather the calls of a `with` (or `async with`) block into one atomic command.

        The calls may be of any objects of this node. Inside the block they return None at once
        (`submit` returns a future); leaving it sends them and waits until they are applied, with
        nothing in between. All of them run, whatever the others raise; then the first error is
        raised. If the block itself raises, nothing is sent. What the block gives has conditions:
        `if_version`, `if_equal`, `if_absent`, `if_present`. If one does not hold where the batch is
        applied, nothing of it is, and `Conflict` is raised.

        Threads and tasks that take over the context (`asyncio.to_thread`) call in the block as
        well: wait for them before it ends. Who calls just then gets `OutcomeUnknown` or
        `NotApplied`, and later calls are no part of the block. The futures end after the block: to
        wait for one in it is to wait for ever.
        """
        return BatchBlock(self._engine)

    @operation
    def object_version(self, target: Replicated) -> Steps[int]:
        """Return the version of an object of this node: it grows with each command that runs on it.

        For `if_version` of a batch. No log entry, but for the first one in the life of a cluster.

        Raises:
            NotAttached, ObjectNotFound: it is attached to no node, or was dropped.
            VersionRefused: a node of the cluster has a release that does not keep versions.
        """
        engine, binding = self._engine, bound(target)
        marking = engine.begin_marking()
        if marking is not None:
            yield marking
        with engine.reading:
            marks = engine.replica.table.marks
            assert marks is not None
            return marks.last(binding.name)

    def transaction(self) -> TransactionBlock:
        """Read and change objects in a `with` (or `async with`) block, all or nothing.

        `tx[obj]` is a copy of an object of this node, to be read and changed in the block. Leaving
        it sends what was called as one atomic command, which is applied only if nothing of what
        was read has changed since, and waits for it. If the block itself raises, nothing is sent.
        Of a dict or a set, what counts as read is the keys that were looked at (all, after an
        iteration or `len`); of any other object, all of it.

        One log entry, also where nothing is changed: then all reads were true at one moment. The
        first one in the life of a cluster takes another entry.

        Raises:
            Conflict: something had changed; nothing was applied. `transact` tries again.
        """
        return TransactionBlock(self._engine)

    @property
    def transact(self) -> TransactMethod:
        """Run a function as a transaction until nobody comes between; see `TransactMethod`."""
        return TransactMethod(self._engine)

    def reading(self) -> AbstractContextManager[None]:
        """Hold this replica's state as it is for the block: a consistent look at many objects.

        Nothing is applied here meanwhile, and blocking calls inside raise `BlockingCall`.
        """
        return self._engine.gate.hold()

    def status(self, *, digests: bool = False, sizes: bool = False) -> Status:
        """Return a picture of this node, as plain data; see `syncstructs.status.Status`.

        From any thread, at any time, also after the node's end. Nothing is applied here meanwhile.
        `digests` and `sizes` add a digest of each object's state, and its size: they encode all of
        it, so they take as long as a snapshot of it. An object that is not the same on all members
        is marked `diverged` (see `Config.digest_interval`).

        Raises:
            Unserializable: `digests` or `sizes` was asked for, and a state has no encoding.
        """
        return self._engine.status(digests=bool(digests), sizes=bool(sizes))

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} {self.address} cannot be pickled or copied: it is a member of"
            " the cluster, with links and a log of its own; pass its address, and call it where"
            " it lives"
        )

    @property
    def _port(self) -> Engine:
        return self._engine


class BatchBlock:
    """The block of `node.batch()`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._batch = Batch(engine, engine.blocker)
        self._token: Token[Gathers | None] | None = None

    def __enter__(self) -> Batch:
        self._engine.refuse_blocking()
        return self._open()

    def __exit__(self, kind: object, *exc: object) -> None:
        call = self._send(raised=kind is not None, waits=True)
        if call is None:
            return
        try:
            self._engine.await_call(call, "Node.batch()")
        finally:
            self._end(call)
        self._raise_first()

    async def __aenter__(self) -> Batch:
        return self._open()

    async def __aexit__(self, kind: object, *exc: object) -> None:
        call = self._send(raised=kind is not None)
        if call is None:
            return
        try:
            await call
        finally:
            self._end(call)
        self._raise_first()

    def _open(self) -> Batch:
        if self._token is not None:
            raise RuntimeError("this block was entered before; ask for another node.batch()")
        opened = current_batch.get()
        if opened is not None and opened.open:
            raise RuntimeError("a batch or a transaction is open already; they cannot be nested")
        self._token = current_batch.set(self._batch)
        return self._batch

    def _send(self, *, raised: bool, waits: bool = False) -> Call | None:
        batch = self._batch
        try:
            assert self._token is not None
            batch.close()
            leave(self._token, raised=raised)
            if not raised and batch.has_any:
                if waits:
                    self._engine.refuse_blocking()
                if batch.is_conditional:
                    self._engine.refuse_unread()
                call = self._engine.send(batch.command(in_runs=self._engine.all_read_runs))
                assert isinstance(call, Call)
                return call
        except Exception as error:
            batch.discard(error)
            raise
        except BaseException:
            # Ctrl-C may have come before it was closed, or was queued, or just after.
            batch.close()
            batch.discard(OutcomeUnknown("the batch was interrupted as it was sent"))
            raise
        if raised:
            batch.discard(NotApplied("the batch's block raised, so nothing of it was sent"))
        return None

    def _end(self, call: Call) -> None:
        if call.done():
            self._batch.end(call)
        else:
            call.add_done_callback(self._batch.end)

    def _raise_first(self) -> None:
        if self._batch.first_error is not None:
            raise self._batch.first_error


class CloseMethod:
    """`node.close`: call it to wait for the end, or `submit` it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, timeout: float = _CLOSE_TIMEOUT) -> None:
        """Close, and wait at most `timeout` seconds until nothing of the node is left.

        Raises:
            Timeout: the disk did not finish in time; the node is as good as dead.
            BlockingCall: called in the thread that drives the node; use `submit`.
        """
        engine = self._engine
        if not engine.closed.done():
            engine.refuse_blocking()
            engine.close().result(timeout)
        engine.runner.join(timeout)

    def submit(self) -> Future[None]:
        """Begin to close; the future ends when the node is closed."""
        return self._engine.close()


def _named(consumers: Consumers | None) -> dict[str, Replicated]:
    """Return the objects by name; a list's members are named by class and ordinal."""
    if consumers is None:
        return {}
    if isinstance(consumers, Mapping):
        named = dict(consumers)
    else:
        named = {}
        for target in consumers:
            kind = type(target).__name__
            ordinal = 1 + sum(type(other) is type(target) for other in named.values())
            named[f"{kind}{ordinal}"] = target
    for name, target in named.items():
        _check_name(name)
        if not isinstance(target, Replicated):
            raise ConfigError(f"consumer {name!r} is a {type(target).__name__}, not a Replicated")
    return named


def _give_back(target: Replicated, state: Any) -> None:
    """Let an object be what it was before a node was made with it that could not begin."""
    try:
        target.restore_state(state)
    except Exception:
        # Why the node could not begin is what its maker has to know.
        _log.exception("%s refused the state that it had itself", type(target).__name__)


def _check_observer(servers: set[str], config: Config) -> None:
    if not servers:
        raise ConfigError("peers is empty: an observer needs the addresses of members")
    for field in ("data_dir", "bind", "join"):
        value = getattr(config, field)
        if value not in (None, False):
            raise ConfigError(
                f"{field} {value!r} is for members: an observer keeps nothing, listens nowhere and"
                " does not become one; leave it out, or give the node an address"
            )


def _check_name(name: str) -> None:
    if not isinstance(name, str) or not 0 < len(name.encode("utf-8", "replace")) <= 255:
        raise ConfigError(f"object name {name!r} must be a string of 1 to 255 bytes")
    if not name.isprintable():
        raise ConfigError(f"object name {name!r} has characters that cannot be printed")
