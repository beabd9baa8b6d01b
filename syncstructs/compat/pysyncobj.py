"""PySyncObj's names over this package, so that a program moves over by one changed import.

    from syncstructs.compat.pysyncobj import SyncObj, ReplDict, replicated      # and the rest

Then it can move on class by class: objects of our own may stand among the consumers, and what a
`Repl...` of this module replicates is a structure of ours. Names, arguments and the calling
convention are PySyncObj's (see `calls`); what happens underneath is ours, so that the following
differs on purpose:

- A method that raises is applied and over on every member; its caller gets the exception.
- A call is sent again after a change of leader, and counts once.
- Values have a codec and are copied; nothing is pickled but in containers that are made with
  `pickle=True`, on nodes with a password or certificates. What is read can't be changed in place.
- A replicated method called by another one is a part of it, `_doApply=True` or not.
- Consumers are matched by class name and ordinal, not by position alone.
- The node starts when the outermost `__init__` has returned; a port in use raises at once.

As there, attributes that were set before `super().__init__()` belong to this process alone, and so
must not be changed by replicated methods. Only a `syncstructs.Node` has versions of methods,
changes of membership, a choice of the leader, observers and a command line; asking for one of them
here raises an error. Encryption is missing altogether.
"""

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, ClassVar, NoReturn

from .. import __version__
from ..config import parse_address
from ..errors import BindError, BlockingCall, ConfigError, NodeClosed
from ..futures import Future
from ..node.node import Node, _named
from ..node.syncobj import _NAME
from ..objects.replicated import Replicated
from .batteries import (
    ReplCounter,
    ReplDict,
    ReplList,
    ReplLockManager,
    ReplPriorityQueue,
    ReplQueue,
    ReplSet,
)
from .calls import FAIL_REASON, SyncObjException
from .methods import replicated, replicated_sync
from .settings import SyncObjConf, translate

__all__ = [
    "FAIL_REASON",
    "ReplCounter",
    "ReplDict",
    "ReplList",
    "ReplLockManager",
    "ReplPriorityQueue",
    "ReplQueue",
    "ReplSet",
    "SyncObj",
    "SyncObjConf",
    "SyncObjConsumer",
    "SyncObjException",
    "TCPNode",
    "replicated",
    "replicated_sync",
]

_log = logging.getLogger("syncstructs.compat.pysyncobj")

_HOOKS = frozenset(name for name in vars(Replicated) if not name.startswith("_")) - {"LOCAL"}

_STATES = {"follower": 0, "pre-candidate": 1, "candidate": 1, "leader": 2}

_MISSING = {
    "addNodeToCluster": "the members are fixed; syncstructs.Node has add_member",
    "removeNodeFromCluster": "the members are fixed; syncstructs.Node has remove_member",
    "transferLeadership": "the leader cannot be chosen; syncstructs.Node has transfer_leadership",
    "setCodeVersion": "methods have one version; syncstructs.Node has set_version",
    "getCodeVersion": "methods have one version; syncstructs.Node has version",
    "forceLogCompaction": "the node takes snapshots when the log has grown; see SyncObjConf",
    "addOnTickCallback": "there are no ticks to call it in; use a thread of your own",
    "removeOnTickCallback": "there are no ticks to call it in; use a thread of your own",
}


class _Stateful(Replicated):
    """An object whose attributes are replicated, except those that were there before its base."""

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_own_names"})

    _own_names: frozenset[str] = frozenset()

    def _keep_own(self) -> None:
        """Note that the attributes which are there already belong to this process alone."""
        self._own_names = frozenset(vars(self))

    def _serialize(self) -> Any:
        """Return the state for a snapshot; override it together with `_deserialize`."""
        state: Any = super().snapshot_state()
        return {name: value for name, value in state.items() if name not in self._own_names}

    def _deserialize(self, data: Any) -> None:
        """Replace the state by what `_serialize` returned."""
        mine = vars(self)
        super().restore_state(data | {name: mine[name] for name in self._own_names & mine.keys()})

    def snapshot_state(self) -> object:
        """Return the state as a value the codec knows."""
        return self._serialize()

    def restore_state(self, state: Any) -> None:
        """Replace the state by what `snapshot_state` returned."""
        self._deserialize(state)


class SyncObjConsumer(_Stateful):
    """Be the base of a class of replicated objects; call its `__init__` first."""

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_syncObj"})

    _syncObj: "SyncObj | None" = None  # noqa: N815
    """The `SyncObj` it belongs to, once that has started."""

    def __init__(self) -> None:
        self._keep_own()

    def _destroy(self) -> None:
        """React to the end of the `SyncObj`."""
        self._syncObj = None


class TCPNode(str):
    """The address of a member, with the attributes of PySyncObj's nodes."""

    __slots__ = ()

    @property
    def id(self) -> str:
        """The address."""
        return str(self)

    @property
    def address(self) -> str:
        """The address."""
        return str(self)

    @property
    def host(self) -> str:
        """The host of the address."""
        return parse_address(self).host

    @property
    def port(self) -> int:
        """The port of the address."""
        return parse_address(self).port


class _Member:
    """What a `SyncObj` keeps for itself, in one attribute, so that the user's can't clash."""

    def __init__(
        self, address: str, partners: list[str], conf: SyncObjConf, consumers: list[Any]
    ) -> None:
        self.address = address
        self.partners = partners
        self.conf = conf
        self.consumers = consumers
        self.started = time.monotonic()
        self.destroyed = False
        self.node: Node | None = None
        self.ready: Future[None] | None = None

    @property
    def running(self) -> Node:
        if self.node is None:
            raise SyncObjException("NotStarted", "the node starts when __init__ has returned")
        return self.node

    def start(self, owner: "SyncObj") -> None:
        """Make the node."""
        targets = [_target(consumer) for consumer in self.consumers]
        named = _named(targets)
        if type(owner) is not SyncObj:
            named = {_NAME: owner, **named}
        for target in named.values():
            _refuse_hidden(target)
            if isinstance(target, SyncObjConsumer):
                target._syncObj = owner
        times = [c.unlock_time for c in self.consumers if isinstance(c, ReplLockManager)]
        settings = translate(self.conf, max(times, default=None))
        try:
            self.node = Node(self.address, self.partners, consumers=named, **settings)
        except BindError as error:
            raise SyncObjException("BindError", str(error)) from error
        self.ready = self.node.wait_ready.submit()
        self.ready.add_done_callback(self._became_ready)

    def _became_ready(self, ready: Future[None]) -> None:
        error = ready.exception()
        if error is None:
            if self.conf.onReady is not None:
                self.conf.onReady()
        elif not isinstance(error, NodeClosed):
            _log.error("%s cannot become ready: %s", self.address, error)

    def destroy(self) -> None:
        """Begin to close the node; a manually driven one is closed here, if it can be."""
        if self.destroyed:
            return
        node = self.running
        self.destroyed = True
        node.close.submit().add_done_callback(lambda _: self._tell_consumers())
        if not self.conf.autoTick:
            with suppress(BlockingCall):
                node.close()

    def _tell_consumers(self) -> None:
        for consumer in self.consumers:
            if isinstance(consumer, SyncObjConsumer):
                consumer._destroy()


class _StartsWhenMade(type):
    """Start the node once the outermost `__init__` has set all attributes, not before."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        made = super().__call__(*args, **kwargs)
        # Not a method of `made`: a subclass may well have a `_start` of its own.
        made._syncstructs.start(made)
        return made


class SyncObj(_Stateful, metaclass=_StartsWhenMade):
    """A member of the cluster: inherit from it and mark methods, or give it consumers, or both.

    Args:
        selfNode: where this member listens, as "host:port".
        otherNodes: the addresses of the others; the own one among them is left out.
        conf: settings.
        consumers: replicated objects: of this module, of `syncstructs`, or of classes of yours.

    Raises:
        SyncObjException: the port cannot be had ("BindError"), or a consumer is none.
        ConfigError: a setting is wrong, or asks for what is not there.
    """

    LOCAL: ClassVar[frozenset[str]] = frozenset({"_syncstructs"})
    _embeddable: ClassVar[bool] = False

    def __init__(
        self,
        selfNode: str,  # noqa: N803
        otherNodes: Iterable[str],  # noqa: N803
        conf: SyncObjConf | None = None,
        consumers: Iterable[Any] | None = None,
    ) -> None:
        if selfNode is None:
            raise ConfigError(
                "selfNode=None: there are no read-only nodes here; give it an address, or use"
                " syncstructs.Node, which observes without one"
            )
        self._keep_own()
        conf = SyncObjConf() if conf is None else conf
        self._syncstructs = _Member(selfNode, list(otherNodes), conf, list(consumers or ()))

    def __getattr__(self, name: str) -> NoReturn:
        reason = f": {_MISSING[name]}" if name in _MISSING else ""
        raise AttributeError(
            f"{type(self).__name__!r} object has no attribute {name!r}{reason}",
            name=name,
            obj=self,
        )

    # Life

    def destroy(self) -> None:
        """Close the node, without waiting for the end."""
        self._syncstructs.destroy()

    def destroy_synchronous(self) -> None:
        """Close the node, and wait until nothing of it is left."""
        self._syncstructs.destroy()
        self._syncstructs.running.close()

    def tick_thread_alive(self) -> bool:
        """Return whether the node's own thread is at work."""
        node = self._syncstructs.running
        return bool(self.conf.autoTick) and node.status()["failure"] is None

    def waitReady(self) -> None:  # noqa: N802
        """Do nothing: a `SyncObj` that could be made is listening. See `isReady()`."""

    def waitBinded(self) -> None:  # noqa: N802
        """Do nothing: a `SyncObj` that could be made is listening."""

    def isReady(self) -> bool:  # noqa: N802
        """Return whether this node has caught up with a leader since its start."""
        ready = self._syncstructs.ready
        return ready is not None and ready.done() and ready.exception() is None

    def doTick(self, timeToWait: float = 0.0) -> None:  # noqa: N802, N803
        """Run a node with autoTick=False: do what is due, wait `timeToWait` seconds for events."""
        self._syncstructs.running.tick(timeToWait)

    # Looking at the cluster

    @property
    def conf(self) -> SyncObjConf:
        """The settings."""
        return self._syncstructs.conf

    @property
    def selfNode(self) -> TCPNode:  # noqa: N802
        """This member."""
        return TCPNode(self._syncstructs.running.address)

    @property
    def otherNodes(self) -> set[TCPNode]:  # noqa: N802
        """The other members."""
        node = self._syncstructs.running
        return {TCPNode(member) for member in node.members if member != node.address}

    def isNodeConnected(self, node: str) -> bool:  # noqa: N802
        """Return whether there is a link to that member now."""
        return str(node) in self._syncstructs.running.status()["connected"]

    @property
    def hasQuorum(self) -> bool:  # noqa: N802
        """Whether this node is linked to enough members to be one of a majority."""
        node = self._syncstructs.running
        return 2 * (len(node.status()["connected"]) + 1) > len(node.members)

    @property
    def raftLastApplied(self) -> int:  # noqa: N802
        """The index up to which the log is applied here."""
        return self._syncstructs.running.status()["applied_index"]

    @property
    def raftCommitIndex(self) -> int:  # noqa: N802
        """The index up to which the log is committed, as far as this node knows."""
        return self._syncstructs.running.status()["commit_index"]

    @property
    def raftCurrentTerm(self) -> int:  # noqa: N802
        """The present term."""
        return self._getTerm()

    def _isLeader(self) -> bool:  # noqa: N802
        """Return whether this node thinks that it leads; another may have been elected since."""
        return self._syncstructs.running.is_leader

    def _getLeader(self) -> TCPNode | None:  # noqa: N802
        """Return the leader, as far as this node knows."""
        leader = self._syncstructs.running.leader
        return None if leader is None else TCPNode(leader)

    def _getTerm(self) -> int:  # noqa: N802
        return self._syncstructs.running.status()["term"]

    def _getRaftLogSize(self) -> int:  # noqa: N802
        return self._syncstructs.running.status()["log_entries"]

    def getStatus(self) -> dict[str, Any]:  # noqa: N802
        """Return a picture of this node, under PySyncObj's keys as far as they have a meaning.

        `Node.status()` says more.
        """
        status = self._syncstructs.running.status()
        connected = {f"partner_node_status_server_{node}": 0 for node in self.otherNodes}
        connected |= {f"partner_node_status_server_{node}": 2 for node in status["connected"]}
        return {
            "version": __version__,
            "self": self.selfNode,
            "state": _STATES[status["role"]],
            "leader": self._getLeader(),
            "has_quorum": self.hasQuorum,
            "partner_nodes_count": len(connected),
            **connected,
            "log_len": status["log_entries"],
            "last_applied": status["applied_index"],
            "commit_idx": status["commit_index"],
            "raft_term": status["term"],
            "uptime": int(time.monotonic() - self._syncstructs.started),
        }

    def printStatus(self) -> None:  # noqa: N802
        """Log the picture of this node."""
        for name, value in self.getStatus().items():
            _log.info("%s: %s", name, value)


def _target(consumer: Any) -> Replicated:
    """Return the object that the cluster knows for a consumer."""
    target = consumer
    if not isinstance(target, Replicated) and hasattr(consumer, "_consumer"):
        target = consumer._consumer()
    if not isinstance(target, Replicated):
        raise SyncObjException(
            "NotConsumer", f"{type(consumer).__name__} does not inherit from SyncObjConsumer"
        )
    return target


def _refuse_hidden(target: Replicated) -> None:
    """Refuse an attribute of the user's that hides a method which the node needs."""
    hidden = sorted(vars(target).keys() & _HOOKS)
    if hidden:
        raise SyncObjException(
            "HiddenName",
            f"the attribute {hidden[0]!r} of {type(target).__name__} hides a method of"
            " syncstructs.Replicated; rename it",
        )
