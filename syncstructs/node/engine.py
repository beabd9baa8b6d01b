"""The engine behind a `Node`: puts replica, driver, stores and transport together.

Owned by the node, seen by objects as their `Port`. Everything that users call is in `Node`; here
is how calls reach the driver, and how what the driver did reaches the callers.
"""

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Hashable, Iterable
from contextlib import AbstractContextManager, suppress
from math import inf
from random import Random
from typing import Any, TypeVar, cast

from ..applying import Progress
from ..config import Config, is_nameless
from ..errors import (
    BlockingCall,
    Busy,
    NodeClosed,
    NodeFailed,
    NodeRemoved,
    NotApplied,
    ObjectMismatch,
    OutcomeUnknown,
    SyncError,
    VersionRefused,
    Withdrawn,
)
from ..futures import Future
from ..objects.batches import encode_command
from ..objects.changes import News, tell
from ..objects.directory import LacksMethod
from ..objects.port import Binding, Steps, Turns, current_batch
from ..objects.replicated import Replicated, known_bodies
from ..objects.versions import RELEASE, WITH_RUNS, WITH_TRANSACTIONS
from ..raft.messages import Message, SnapshotMeta
from ..raft.wire import encode as encode_message
from ..replica import Replica
from ..status import Status, describe
from .calls import Call, CallBlocker, CallQueue
from .changes import Changes
from .diary import Diary
from .driver import Driver
from .forks import CutOffGate, CutOffRunner, forked_refusal, watch
from .garbage import long_lived
from .gate import ReadGate, RefusingLock
from .inquiries import Inquiries
from .operations import Operation, caller, is_stepping
from .runners import AsyncioRunner, HasCancel, Loop, ThreadRunner, Timer
from .stores import Stores
from .world import current_world

R = TypeVar("R")
_log = logging.getLogger("syncstructs.node")

# A timer that is early by no more than so many seconds stays as it is, and is set anew as it runs:
# to set one at every turn would cost more under load, where each message puts off the election.
_TIMER_SLACK = 0.05
# Members that are asked for snapshots at once take them one after the other, within so many
# seconds: calls would wait for the forks of a quorum, and these for each other on one machine.
_SNAPSHOTS_WITHIN = 0.15
# How long closing waits for a disk, or for the driver's thread.
_CLOSE_TIMEOUT = 10.0
# How long closing waits at most for the cluster to note that this node's session is over.
_FAREWELL_TIMEOUT = 1.0


class Engine:
    """One running member. Its methods may be called from any thread, unless they say otherwise."""

    def __init__(self, *, address: str, members: tuple[str, ...], config: Config) -> None:
        """`members` (with the own address): those to begin with, or to ask if it is to join.

        A nameless node is an observer, and only asks.
        """
        self.address = address
        self.config = config
        self.failure: SyncError | None = None
        """Why calls are refused; the driver may go on for a moment, to end the session."""
        self.closing = False
        self._over = False
        self._ending = False
        self._leaving: HasCancel | None = None
        self._handing_over = False
        self._world = current_world()
        self.runner: Loop = self._world.loop(config.drive, f"syncstructs-{address}")
        self.gate = ReadGate(self.wake)
        self.calls = CallQueue(config)
        self.blocker = CallBlocker(self.calls, self.block)
        self.reading: AbstractContextManager[object] = self.gate.lock
        self.active = asyncio.Event() if config.drive == "manual" else None
        """Whether something has happened since a manual tick began."""
        self.closed: Future[None] = Future(self.blocker)
        self._tickets = itertools.count(1)
        self._requests = itertools.count(1)
        self._barriers: dict[int, Future[None]] = {}
        self._woken = False
        self._timer: HasCancel | None = None
        self._timer_at = 0.0
        self._membership_waits: list[Future[None]] = []
        self._snapshot_waits: list[Future[int]] = []
        self.news: News = []
        self._earlier: tuple[SnapshotMeta, Iterable[bytes]] | None = None
        """The snapshot of an earlier life, which is to be taken over yet."""
        self._told: tuple[int, int, dict[str, list[str]]] = (1, 1, {})
        """What the cluster was told of the bodies of methods that this node has."""
        only_asks = config.join or is_nameless(address)
        self._stores = self._open_stores(() if only_asks else members)
        try:
            self.replica = self._make_replica(self._stores, members)
        except BaseException:
            self.abort()
            raise
        self._diary = Diary(address, self.replica.core)
        try:
            self._network = self._world.network(
                address=address,
                peers=[peer for peer in self.members or members if peer != address],
                config=config,
                incarnation=self._incarnation,
                on_frames=self._on_frames,
                on_link_up=self._on_link_up,
                on_link_down=self._on_link_down,
            )
        except BaseException:
            self.abort()
            raise
        self.inquiries = Inquiries(self)
        self._driver: Driver[Call] = self._make_driver(self._stores)
        self._watch = watch(self)

    def after_fork(self) -> None:
        """Be a copy in a forked child: refuse all, and touch nothing that the parent has too."""
        refusal = forked_refusal(self.address)
        self.failure, self.closing, self._over = refusal, True, True
        self.runner = CutOffRunner(self.runner, refusal)
        self.gate.shut()
        self.gate = CutOffGate(refusal)
        self.reading = self.gate.lock
        # New ones: a lock may be held for ever by a thread that is not here.
        self.calls = CallQueue(self.config)
        self.calls.close(refusal)
        self.blocker = CallBlocker(self.calls, self.block)
        self.closed = Future(self.blocker)
        self.closed.finish(None, None)
        # A child that outlives the parent would keep its address and its directory in use.
        self._network.let_go()
        self._stores.release()

    @property
    def members(self) -> tuple[str, ...]:
        """The members of the cluster as this node's log has them, learners too, sorted."""
        return self.replica.core.members

    @property
    def authenticates(self) -> bool:
        """Whether all that comes from other nodes is of such that have proved to be let in."""
        return self.config.authenticates

    def _open_stores(self, members: tuple[str, ...]) -> Stores:
        try:
            return self._world.stores(self.address, members, self.config, self._post_event)
        except BaseException:
            self.runner.abort()
            raise

    def _make_replica(self, stores: Stores, contacts: tuple[str, ...]) -> Replica[Call]:
        self._incarnation = self._world.random_bits(63)
        snapshot = stores.snapshots.latest()
        if snapshot is not None:
            # Before the log, which may begin anew behind it: a refusal is to change nothing.
            self._earlier = snapshot, stores.snapshots.load(snapshot)
        restored = stores.log.load(snapshot)
        # What has joined may have lost what it held: only others can tell who the members are.
        members = () if restored.blank and stores.joined else stores.members
        return Replica(
            address=self.address,
            members=members,
            contacts=contacts,
            config=self.config,
            random=Random(self._world.random_bits(64)),
            incarnation=self._incarnation,
            port=self,
            restored=restored,
            now=self._world.now(),
        )

    def _make_driver(self, stores: Stores) -> Driver[Call]:
        return Driver(
            self.replica,
            config=self.config,
            clock=self._world,
            links=self._network,
            log=stores.log,
            snapshots=stores.snapshots,
            log_worker=stores.log_worker,
            snapshot_worker=stores.snapshot_worker,
            snapshotter=self._world.snapshotter(stores, self.config),
            digester=self._world.digester(stores),
            gate=self.gate,
            calls=self.calls,
            on_progress=self._on_progress,
            on_inquiry=self.inquiries.received,
        )

    @property
    def has_earlier(self) -> bool:
        """Whether there is something to `resume`."""
        return self._earlier is not None

    def resume(self) -> None:
        """Take over the snapshot of an earlier life; before the node runs.

        If the class of an object is too old for it, the node stops as soon as it runs, as it does
        when an entry of the log tells.

        Raises:
            NodeFailed: it cannot be read, or an object refused its state.
        """
        assert self._earlier is not None
        try:
            with long_lived():
                self.replica.resume(*self._earlier)
        except LacksMethod as error:
            self._driver.fail(error)
        self._earlier = None

    def start_running(self) -> None:
        """Listen and begin to drive.

        Raises:
            BindError: the address cannot be had (under asyncio it ends `wait_ready` instead).
        """
        if isinstance(self.runner, AsyncioRunner):
            self.runner.when_ended = self._loop_ended
        try:
            self.runner.start(self._main())
        except BaseException:
            self._stores.close(_CLOSE_TIMEOUT)
            raise

    async def _main(self) -> None:
        try:
            await self._network.start()
        except SyncError as error:
            if self.config.drive != "asyncio":
                raise
            self._stop(error)
            return
        self.wake()

    def abort(self) -> None:
        """Release what was opened for a node that never started."""
        self._stores.close(_CLOSE_TIMEOUT)
        self.runner.abort()

    # The driver's side; all of it in the driver's thread

    def wake(self) -> None:
        """Have the driver look soon; from any thread, and cheap when it is awake already."""
        if not self._woken:
            try:
                self._woken = True
                self.runner.post(self._pump)
            except BaseException:
                # Ctrl-C: or nobody would wake it again.
                self._woken = False
                raise

    def _pump(self) -> None:
        self._woken = self.runner.told = False
        if self._over:
            return
        try:
            deadline = self._driver.pump()
        except NodeFailed as error:
            self._stop(error)
            return
        except Exception as error:
            _log.critical("the driver of %s failed", self.address, exc_info=True)
            self._stop(NodeFailed(f"an internal error stopped this node: {error!r}"))
            return
        except BaseException as error:
            # Ctrl-C in a manual tick: the state may be changed by half, so this is the end.
            self._stop(NodeFailed(f"this node was interrupted while it worked: {error!r}"))
            if isinstance(self.runner, ThreadRunner):
                # Nobody is above; and the thread has yet to close what is open.
                _log.critical("the driver of %s was interrupted", self.address, exc_info=True)
                return
            raise
        self._diary.note(self.replica.core)
        if self.active is not None:
            self.active.set()
        if self._handing_over:
            self._stop_if_followed()
        now = self._world.now()
        if self._driver.yields and self.runner.told and self._timer is not None:
            # Whoever was told wakes the driver, with another call or without one (see `block`); if
            # it gave up in this very moment, the next heartbeat tells the others.
            return
        self.runner.told = False
        if deadline <= now:
            self.wake()
        elif (
            self._timer is None
            or deadline < self._timer_at
            or deadline > self._timer_at + _TIMER_SLACK
        ):
            self._arm(deadline, now)

    def _arm(self, deadline: float, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = deadline
        self._timer = self.runner.call_later(min(deadline - now, 3600.0), self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._pump()

    def _on_frames(self, peer: str, payloads: list[bytes]) -> None:
        to_do = False
        try:
            for payload in payloads:
                to_do = self._driver.frame_received(peer, payload) or to_do
        finally:
            # What is raised for bad bytes, the transport answers by closing the link.
            if to_do and not self._woken:
                self._woken = True
                self.runner.run(self._pump)

    def _post_event(self, event: Callable[[], object]) -> None:
        """Bring an event to the driver from another thread."""

        def take_in() -> None:
            event()
            self.wake()

        self.runner.post(take_in)

    def _on_link_up(self, peer: str) -> None:
        self._driver.link_up(peer)
        self.wake()

    def _on_link_down(self, peer: str) -> None:
        self._driver.link_down(peer)
        self.inquiries.lost(peer)
        if self._leaving is not None and not self._is_heard():
            self._stop(self._closed_error())
        self.wake()

    def _on_progress(self, progress: Progress[Call]) -> None:
        ended = progress.ended
        if ended:
            # Before anybody is told: who has a result may make the next call at once.
            self.calls.ended(len(ended), sum([len(call.command) for call in ended]))
            ended.reverse()
            for outcome in progress.outcomes:
                # Not kept until all are told: Python would look among them for garbage.
                call = ended.pop()
                call.finish(outcome.value, outcome.error)
        for request in progress.barriers:
            future = self._barriers.pop(request, None)
            if future is not None:
                future.finish(None, None)
        if self.news:
            tell(self.news)
        if progress.session_lost and self.failure is None:
            self._tell_objects()
        if progress.membership_changed:
            waits, self._membership_waits = self._membership_waits, []
            for wait in waits:
                wait.finish(None, None)
        if progress.removed and not self._ending:
            self._end_soon()
        if self._leaving is not None and not self.session:
            self.runner.post(self._hand_over)

    def _hand_over(self) -> None:
        """Let another member lead, if this one does, before the node stops."""
        if self._over:
            return
        self._handing_over = self.replica.core.transfer_leadership(None, self._world.now())
        if self._handing_over:
            self.wake()
        else:
            self._stop(self._closed_error())

    def _stop_if_followed(self) -> None:
        """Stop once another member leads, which may have needed this one's vote, or none will."""
        core = self.replica.core
        if core.leader not in (None, self.address) or (core.leader and not core.hands_over):
            self._stop(self._closed_error())

    def _end_soon(self) -> None:
        """End as a removed node, but not at once: it may be on its way in again."""
        self._ending = True
        self.runner.call_later(2 * self.config.election_timeout_max, self._end_if_removed)

    def _end_if_removed(self) -> None:
        self._ending = False
        core, replica = self.replica.core, self.replica
        if not self._over and replica.has_left and core.leader not in (None, self.address):
            # Who is removed is soon spoken to no more. This one only reads of a former removal, in
            # a log that may be long.
            self._end_soon()
            return
        # Who waits to be let in is told that it is no member yet.
        is_out = core.is_dismissed and (replica.was_member or not self.config.join)
        if not self._over and (replica.has_left or (is_out and core.leader is None)):
            error = NodeRemoved(
                f"node {self.address} was removed from the cluster of {', '.join(self.members)}"
            )
            _log.warning("%s, and ends", error)
            self._stop(error)

    def membership_change(self) -> Future[None]:
        """Return a future that ends when another membership is applied here, or is wanted.

        Or when this node ends. To be called in the driver's thread.
        """
        self._membership_waits = [wait for wait in self._membership_waits if not wait.done()]
        if not self._membership_waits:
            self._membership_waits.append(Future(self.blocker))
        return self._membership_waits[0]

    def _tell_objects(self) -> None:
        """Tell the objects that this node is no longer sure of its session."""
        for target in list(self.replica.table.objects.values()):
            try:
                target.on_session_lost()
            except KeyboardInterrupt:
                raise
            except BaseException:
                _log.exception("on_session_lost of %r raised", target)

    def _leave(self) -> None:
        """Refuse all calls, and have the session ended if the cluster can be told; then stop.

        So what is held or waited for here passes to others at once. A call that was sent may still
        get its result; once the session is over, what has none was not applied.
        """
        if self._over:
            return
        error = self._closed_error()
        self.failure = error
        self._refuse_calls(error)
        # Before the cluster can give to others what is held here.
        self._tell_objects()
        if not self.replica.leave() or not self._is_heard():
            self._stop(error)
            return
        seconds = min(_FAREWELL_TIMEOUT, self.config.call_timeout or _FAREWELL_TIMEOUT)
        self._leaving = self.runner.call_later(seconds, lambda: self._stop(error))
        self.wake()

    def _is_heard(self) -> bool:
        """Return whether this node has links to as many members as can decide anything."""
        return self.replica.core.membership.is_quorum((self.address, *self.links()))

    def _closed_error(self) -> NodeClosed:
        return NodeClosed(f"node {self.address} is closed")

    def _stop(self, error: SyncError) -> None:
        """End everything that waits, and close what is open; the node does nothing more."""
        if self._over:
            return
        self._over = True
        if self._leaving is not None:
            self._leaving.cancel()
        told, self.failure = self.failure is not None, self.failure or error
        refusal = error if isinstance(error, NodeClosed | NodeFailed) else NodeFailed(str(error))
        if not self.replica.table.is_readable:
            self.reading = RefusingLock(refusal)
            self.gate.shut()
        try:
            self._end_calls(refusal)
            if not told:
                self._tell_objects()
            self._end_watches()
        finally:
            # Ctrl-C in a callback of those must not leave links and files open.
            self.runner.spawn(self._shut_down())

    def _end_watches(self) -> None:
        """Tell those who are told of changes that there will be none."""
        with self.gate.lock:
            self.replica.table.end_watches()
        tell(self.news)

    def _loop_ended(self) -> None:
        """End with the asyncio loop, which winds up or was closed under this node."""
        error = NodeClosed(
            f"the asyncio loop in which {self.address} lived has ended, and the node with it; use"
            " `async with Node(...)` around all that needs it, or drive='thread'"
        )
        if not cast(AsyncioRunner, self.runner).loop.is_closed():
            self._stop(error)
            return
        # Nothing can run there any more, so this is done in whichever thread found it out.
        self._over = True
        self.failure = self.failure or error
        # Without this, nobody could listen on this address before the memory is cleaned up.
        self._network.abandon()
        self._end_calls(error)
        self._tell_objects()
        self._end_watches()

        def close_stores() -> None:
            try:
                self._stores.close(_CLOSE_TIMEOUT)
            finally:
                self.closed.finish(None, None)

        # In a thread of its own, for it may have been a store's: that one cannot wait for itself.
        closer = threading.Thread(
            target=close_stores, name=f"closing-{self.address}", daemon=True
        )
        try:
            closer.start()
        except RuntimeError:
            # While the interpreter ends, no thread can be started any more.
            close_stores()

    def _refuse_calls(self, refusal: NodeClosed | NodeFailed) -> None:
        """End all calls that the driver has not taken, and all barriers; take no more."""
        for call in self.calls.close(refusal):
            call.finish(None, NodeClosed(f"{refusal}; the call was not sent"))
        barriers, self._barriers = self._barriers, {}
        waits, self._membership_waits = self._membership_waits, []
        snapshots, self._snapshot_waits = self._snapshot_waits, []
        for future in (*barriers.values(), *waits):
            future.finish(None, refusal)
        for snapshot in snapshots:
            snapshot.finish(None, refusal)
        self.inquiries.close(refusal)

    def _end_calls(self, refusal: NodeClosed | NodeFailed) -> None:
        self._refuse_calls(refusal)
        for call, sent in self.replica.abandon():
            if sent:
                call.finish(None, OutcomeUnknown(f"{refusal}; the call had been sent"))
            else:
                call.finish(None, NodeClosed(f"{refusal}; the call was not applied"))

    async def _shut_down(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self._network.close()
            await self._close_stores()
        except Exception:
            _log.exception("closing %s did not go cleanly", self.address)
        if self.active is not None:
            self.active.set()
        self.closed.finish(None, None)
        self.runner.stopped()

    async def _close_stores(self) -> None:
        try:
            closing = self.runner.in_thread(lambda: self._stores.close(_CLOSE_TIMEOUT))
            await closing
        except RuntimeError:
            # While the interpreter ends, no thread can be started any more.
            closing.close()
            self._stores.close(_CLOSE_TIMEOUT)

    def close(self) -> Future[None]:
        """Begin to close; the future ends when nothing of the node is left but its thread."""
        if not self.closing:
            self.closing = True
            self.runner.post(self._leave)
        return self.closed

    # Waiting

    def block(self, future: Future[Any], timeout: float | None) -> None:
        """Wait for `future` here.

        Raises:
            BlockingCall: the wait would stop the node that has to end it.
        """
        if self.gate.held_here():
            raise BlockingCall("a blocking call inside `with node.reading():` would never end")
        try:
            self.runner.block(future, timeout)
        finally:
            if self.runner.told:
                # The driver may wait for the calls of those it has told.
                self.wake()

    def post(self, function: Callable[[], object]) -> bool:
        """Run `function` in the driver's thread, soon; False if the node is closed for good."""
        return self.runner.post(function)

    def after(self, seconds: float, function: Callable[[], object]) -> Timer:
        """Run `function` in the driver's thread, `seconds` from now."""
        return self.runner.after(seconds, function)

    def in_driver(self) -> bool:
        """Return whether this is the driver's thread."""
        return self.runner.in_driver()

    def send_to(self, peer: str, message: Message) -> bool:
        """Send to a node to which there is a link; False if it was dropped. In the driver."""
        return self._network.send(peer, encode_message(message))

    def links(self) -> tuple[str, ...]:
        """Return the members to which there is a link."""
        return self._network.links()

    def status(self, *, digests: bool = False, sizes: bool = False) -> Status:
        """Return a picture of this node; see `Node.status`."""
        with self.gate.lock:
            return describe(
                self.replica,
                connected=self.links(),
                pending_calls=len(self.calls),
                failure=self.failure,
                disk=self._stores.disk(),
                now=self._world.now(),
                digests=digests,
                sizes=sizes,
            )

    # What objects ask for (see `Port`)

    def rewatch(self, binding: Binding) -> None:
        """Take note that an object is watched now, or no longer; while nothing is applied."""
        self.replica.table.rewatch(binding.name)
        if self._over:
            # Nobody else would tell that there is nothing to come.
            self._end_watches()

    def changes(self, target: Replicated, limit: int) -> Changes:
        """Return an iterator of the changes of an object that is attached here."""
        return Changes(target, limit, self.blocker)

    @property
    def turns(self) -> Turns:
        """What tells those who read without `reading` whether something was applied meanwhile."""
        return self.gate.turns

    @property
    def session(self) -> int:
        """The node's present session, 0 if it has none."""
        return self.replica.outbox.session

    def ticket(self) -> int:
        """Return a number that this node never gave before."""
        return next(self._tickets)

    def caller(self) -> Hashable:
        """Return who is calling: the asyncio task that runs here, or else the thread."""
        return caller()

    def now(self) -> float:
        """Return the monotonic clock of this node in seconds."""
        return self._world.now()

    def wall_time(self) -> float:
        """Return what the clock of this node says, in seconds since 1970."""
        return self._world.wall_time()

    def sure_until(self) -> float:
        """Return the time up to which this node's session certainly lives."""
        return 0.0 if self.failure is not None else self.replica.sure_until()

    @property
    def is_sure(self) -> bool:
        """Whether this node's session certainly lives now."""
        return self.sure_until() > self._world.now()

    def submit(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Future[Any]:
        """Encode and queue a call; inside a batch of this node, gather it."""
        batch = current_batch.get()
        if batch is not None and batch.owner is self and batch.open:
            return batch.submit(binding, method, args, kwargs)
        return self.send(encode_command(binding.target, method, args, kwargs))

    def send(self, command: bytes) -> Future[Any]:
        """Queue an encoded command.

        Raises:
            TooLarge, Busy, NodeClosed, NodeFailed
        """
        call = Call(self.blocker, command)
        try:
            self.calls.put(call)
        except Busy:
            self._queue_when_there_is_room(call)
        if not self._woken:
            self.wake()
        return call

    def _queue_when_there_is_room(self, call: Call) -> None:
        """Queue a call for the driver once there is room, where that is wanted and possible.

        Raises:
            Busy, NodeClosed, NodeFailed
        """
        timeout = self.config.call_timeout
        deadline = inf if timeout is None else self.now() + timeout
        while self._may_wait() and (left := deadline - self.now()) > 0:
            room: Future[None] = Future(self.blocker)
            self.calls.wait_for_room(room, len(call.command))
            try:
                self.block(room, None if left == inf else left)
            finally:
                self.calls.leave(room)
            with suppress(Busy):
                self.calls.put(call)
                return
        # The last word: there may be room by now.
        self.calls.put(call)

    def _may_wait(self) -> bool:
        """Whether a call may wait here for room: nobody who could make it does so meanwhile.

        An operation waits for what it was told to, no longer; and an event loop for nothing.
        """
        if self.config.when_busy == "raise" or is_stepping():
            return False
        if self.runner.in_driver() or self.gate.held_here():
            return False
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return True
        return False

    def call(
        self, binding: Binding, method: str, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Any:
        """Do as `submit`, and wait; outside of a batch."""
        self.refuse_blocking()
        future = self.submit(binding, method, args, kwargs)
        return self.await_call(cast(Call, future), f"{binding.name}.{method}()")

    def refuse_blocking(self) -> None:
        """Raise `BlockingCall` before anything is sent, where waiting is impossible."""
        if self.runner.in_driver() or self.gate.held_here():
            self.block(Future(self.blocker), 0.0)

    def await_call(self, call: Call, name: str) -> Any:
        """Wait for a call, `Config.call_timeout` at the most.

        If the wait is interrupted, a call that has not left this node is taken back.

        Raises:
            Withdrawn: time ran out, and the call had not left this node: not applied.
            OutcomeUnknown: time ran out, and a leader may have it.
        """
        timeout = self.config.call_timeout
        if not call.done():
            try:
                self.block(call, timeout)
            except BaseException:
                # Ctrl-C, or it may not wait here: what nobody waits for is not to be applied later.
                if self.calls.withdraw(call):
                    text = f"{name}: interrupted before it was sent; it was taken back"
                    call.finish(None, NotApplied(text))
                raise
        if not call.done():
            raise self.out_of_time(call, name)
        return call.result()

    def out_of_time(self, call: Call, name: str) -> SyncError:
        """Return the error for a call that takes too long; it is taken back if it can be."""
        timeout = self.config.call_timeout
        if self.calls.withdraw(call):
            error = Withdrawn(
                f"{name}: not sent within {timeout} s, as no leader was known; it was taken back"
            )
            call.finish(None, error)
            return error
        return OutcomeUnknown(
            f"{name}: no result within {timeout} s; it may have been applied, or may yet be"
        )

    def start(self, steps: Steps[R]) -> Future[R]:
        """Run an operation: its first step here, the others in the driver's thread."""
        run = Operation(self, self.blocker, steps)
        run.advance()
        return run.future

    @property
    def in_batch(self) -> bool:
        """Whether calls that are made here and now are gathered into a batch of this node."""
        batch = current_batch.get()
        return batch is not None and batch.owner is self and batch.open

    @property
    def all_read_runs(self) -> bool:
        """Whether a batch may have runs in it: no node is known that may have an older release."""
        return self.replica.table.read_by_all >= WITH_RUNS

    @property
    def call_timeout(self) -> float | None:
        """How long a call may take, in seconds; None: as long as it takes."""
        return self.config.call_timeout

    def run(
        self,
        steps: Steps[R],
        undo: Callable[[R], object] | None = None,
        name: str = "operation",
    ) -> R:
        """Run an operation and wait for it.

        `undo` takes the result back if the wait is interrupted as it comes.

        It may wait in an object for as long as it was told to. But a command of it that the
        cluster does not take in for `Config.call_timeout` ends it as it would end a plain call.
        """
        self.refuse_blocking()
        operation = Operation(self, self.blocker, steps)
        operation.advance()
        future = operation.future
        future.unclaimed = undo
        try:
            while not future.done():
                before = operation.waits_for
                self.block(future, self.config.call_timeout)
                stuck = operation.waits_for
                if future.done() or not isinstance(stuck, Call) or stuck is not before:
                    continue
                if not stuck.parked and not stuck.done():
                    error = self.out_of_time(stuck, name)
                    # A withdrawn call has ended, and the operation hears of it by itself.
                    if not isinstance(error, Withdrawn):
                        raise error
        except BaseException:
            future.abandon()
            raise
        return cast(R, future.result())

    # Barriers and objects

    def withdraw(self, name: str) -> None:
        """Undo the offer of an object that the cluster refused."""
        with self.gate.lock:
            self.replica.table.withdraw(name)
        if self.news and not self.runner.post(lambda: tell(self.news)):
            tell(self.news)

    def barrier(self) -> Future[None]:
        """Begin a barrier; the future ends when what was committed before is applied here."""
        request = next(self._requests)
        future: Future[None] = Future(self.blocker)

        def begin() -> None:
            if self.failure is not None:
                future.finish(None, self.failure)
                return
            self._barriers[request] = future
            self.replica.barrier(request, self._world.now())
            self.wake()

        if not self.runner.post(begin):
            future.finish(None, self.failure or NodeClosed(f"node {self.address} is closed"))
        return future

    def take_snapshot(self) -> Future[int]:
        """Have a snapshot taken, in turn if several members are asked at once.

        The future ends with what it reaches to once it is persisted.
        """
        future: Future[int] = Future(self.blocker)

        def end(result: int | BaseException) -> None:
            if future in self._snapshot_waits:
                self._snapshot_waits.remove(future)
            if isinstance(result, BaseException):
                future.finish(None, result)
            else:
                future.finish(result, None)

        def begin() -> None:
            if self.failure is not None:
                future.finish(None, self.failure)
                return
            self._snapshot_waits.append(future)
            self.runner.after(self.replica.turn(0.0) * _SNAPSHOTS_WITHIN, ask)

        def ask() -> None:
            if future in self._snapshot_waits:
                self._driver.ask_snapshot(end)
                self.wake()

        if not self.runner.post(begin):
            future.finish(None, self.failure or NodeClosed(f"node {self.address} is closed"))
        return future

    def forget_barrier(self, future: Future[None]) -> None:
        """Drop a barrier nobody waits for any more."""

        def forget() -> None:
            for request in [r for r, f in self._barriers.items() if f is future]:
                del self._barriers[request]
                self.replica.forget_barrier(request)

        self.runner.post(forget)

    def begin_marking(self) -> Future[Any] | None:
        """Have the cluster mark from now on which command ran last on each object.

        To be called before every transaction, and waited for: there is none without marks. None:
        the cluster does so already.

        Raises:
            VersionRefused: a node of the cluster has a release that does not know transactions.
        """
        if self.replica.table.marks is not None:
            return None
        self.refuse_unread()
        return self.system("mark")

    def refuse_unread(self) -> None:
        """Check that all nodes know transactions and conditions.

        In a cluster that keeps marks they have done so: a node that has just come, and has not told
        its release yet, changes nothing.

        Raises:
            VersionRefused: a node of the cluster has an earlier release.
        """
        if self.replica.table.marks is None and self.replica.table.read_by_all < WITH_TRANSACTIONS:
            raise VersionRefused(
                "there is no transaction, and no condition, before all members and observers run a"
                " release that knows them"
            )

    def tell_bodies(self, *classes: type[Replicated]) -> Future[Any] | None:
        """Tell the cluster its release, and which bodies of methods it has, these classes' too.

        To be called before anything of them is attached. None: there is nothing new to tell.
        """
        version, bodies = known_bodies(classes)
        told = version, RELEASE, self._told[2] | bodies
        if told == self._told:
            return None
        future = self._tell(told)
        # Behind it, for it is not told if there is no room for another call.
        self._told = told
        return future

    def _tell(self, told: tuple[int, int, dict[str, list[str]]]) -> Future[Any]:
        future = self.system("know", *told)
        future.add_done_callback(self._on_told)
        return future

    def _on_told(self, future: Future[Any]) -> None:
        error = future.exception()
        if isinstance(error, OutcomeUnknown) and self.failure is None:
            # Its session has expired meanwhile. Unsaid, no version could be put in force.
            self._tell(self._told)
        if isinstance(error, ObjectMismatch):
            # Until that is mended, no version can be put in force: it looks as if none was known.
            _log.error("%s does not count as one that knows its versions: %s", self.address, error)

    def system(self, method: str, *args: object) -> Future[Any]:
        """Queue a command to the object table itself, outside of any batch."""
        call = Call(self.blocker, encode_command(0, method, args, {}))
        self.calls.put(call)
        self.wake()
        return call
