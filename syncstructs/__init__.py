"""Replicated Python data structures over one embedded Raft log."""

from . import compiled as compiled
from .codec import register
from .config import Address, Config, Tls
from .errors import (
    BindError,
    BlockingCall,
    Busy,
    Cancelled,
    ConfigError,
    Conflict,
    DataDirBusy,
    DataDirDamaged,
    DataDirForeign,
    DecodeError,
    LockLost,
    MembershipRefused,
    NodeClosed,
    NodeFailed,
    NodeRemoved,
    NotApplied,
    NotAttached,
    NotOwner,
    NotReady,
    NotReplicated,
    ObjectExists,
    ObjectMismatch,
    ObjectNotFound,
    OffsetOutOfRange,
    OutcomeUnknown,
    ProtocolError,
    ResultLost,
    SessionExpired,
    StorageError,
    SyncError,
    Timeout,
    TooLarge,
    UnknownType,
    Unserializable,
    VersionRefused,
    Withdrawn,
)
from .futures import Future
from .node.node import Node
from .node.syncobj import SyncObj
from .objects.changes import Change, Subscription, notify
from .objects.context import Context, current_context
from .objects.port import Steps, cleaning
from .objects.replicated import Replicated, bound, operation, reading, replicated
from .objects.waiters import Waiters
from .pickled import Pickled
from .structs.barriers import ReplBarrier
from .structs.conditions import ReplCondition
from .structs.countermaps import ReplCounterMap
from .structs.counters import ReplCounter
from .structs.deques import ReplDeque
from .structs.dicts import ReplDict
from .structs.elections import Elected, ReplElection
from .structs.events import ReplEvent, ReplLatch
from .structs.groups import ReplGroup
from .structs.idgenerators import ReplIdGenerator
from .structs.leases import Task
from .structs.limits import ReplRateLimiter
from .structs.lists import ReplList
from .structs.locks import ReplLock, ReplLockManager
from .structs.multidicts import ReplMultiDict
from .structs.once import ReplOnce
from .structs.queues import ReplPriorityQueue, ReplQueue, ShutDown
from .structs.registers import ReplRegister
from .structs.rlocks import ReplRLock
from .structs.rwlocks import ReplRWLock
from .structs.schedulers import Job, ReplScheduler
from .structs.semaphores import ReplSemaphore
from .structs.sets import ReplSet
from .structs.sorteddicts import ReplSortedDict
from .structs.sortedsets import ReplSortedSet
from .structs.tasks import DeadTask, Progress, ReplTaskQueue
from .structs.topics import Message, Messages, ReplTopic, Subscriber
from .structs.ttl import ReplTTLDict
from .structs.waiting import Wait
from .version import VERSION

__version__ = VERSION

__all__ = [
    "Address",
    "BindError",
    "BlockingCall",
    "Busy",
    "Cancelled",
    "Change",
    "Config",
    "ConfigError",
    "Conflict",
    "Context",
    "DataDirBusy",
    "DataDirDamaged",
    "DataDirForeign",
    "DeadTask",
    "DecodeError",
    "Elected",
    "Future",
    "Job",
    "LockLost",
    "MembershipRefused",
    "Message",
    "Messages",
    "Node",
    "NodeClosed",
    "NodeFailed",
    "NodeRemoved",
    "NotApplied",
    "NotAttached",
    "NotOwner",
    "NotReady",
    "NotReplicated",
    "ObjectExists",
    "ObjectMismatch",
    "ObjectNotFound",
    "OffsetOutOfRange",
    "OutcomeUnknown",
    "Pickled",
    "Progress",
    "ProtocolError",
    "ReplBarrier",
    "ReplCondition",
    "ReplCounter",
    "ReplCounterMap",
    "ReplDeque",
    "ReplDict",
    "ReplElection",
    "ReplEvent",
    "ReplGroup",
    "ReplIdGenerator",
    "ReplLatch",
    "ReplList",
    "ReplLock",
    "ReplLockManager",
    "ReplMultiDict",
    "ReplOnce",
    "ReplPriorityQueue",
    "ReplQueue",
    "ReplRLock",
    "ReplRWLock",
    "ReplRateLimiter",
    "ReplRegister",
    "ReplScheduler",
    "ReplSemaphore",
    "ReplSet",
    "ReplSortedDict",
    "ReplSortedSet",
    "ReplTTLDict",
    "ReplTaskQueue",
    "ReplTopic",
    "Replicated",
    "ResultLost",
    "SessionExpired",
    "ShutDown",
    "Steps",
    "StorageError",
    "Subscriber",
    "Subscription",
    "SyncError",
    "SyncObj",
    "Task",
    "Timeout",
    "Tls",
    "TooLarge",
    "UnknownType",
    "Unserializable",
    "VersionRefused",
    "Wait",
    "Waiters",
    "Withdrawn",
    "bound",
    "cleaning",
    "current_context",
    "notify",
    "operation",
    "reading",
    "register",
    "replicated",
]
