"""Every error of the package. The class of an error tells what is known about the call.

::

    SyncError
    ├── NotApplied                  the call changed nothing and never will
    │   ├── NotReady                (RuntimeError)  the node has not caught up with a leader yet
    │   ├── NodeClosed              (RuntimeError)  the node was closed before the call was sent
    │   │   └── NodeRemoved                         it was removed from the cluster, and has ended
    │   ├── MembershipRefused       (ValueError)    there can be no such membership
    │   ├── VersionRefused          (RuntimeError)  a version that is not known, or not in force yet
    │   ├── Withdrawn               (TimeoutError)  time ran out and the call was taken back unsent
    │   ├── Busy                    (RuntimeError)  too many calls of this node are pending
    │   ├── BlockingCall            (RuntimeError)  would block the loop or the driver's thread
    │   ├── NotAttached             (RuntimeError)  the object belongs to no node
    │   ├── NotReplicated           (TypeError)     the method is not marked @replicated
    │   ├── Unserializable          (TypeError)     an argument or a state has no encoding
    │   ├── TooLarge                (ValueError)    an encoded call is over the limit
    │   ├── SessionExpired          (RuntimeError)  the node was cut off too long; the wait is over
    │   ├── ObjectExists            (ValueError)    the name is taken
    │   ├── ObjectNotFound          (LookupError)   no object of that name or id in the cluster
    │   ├── ObjectMismatch          (TypeError)     same name, other class or constructor arguments
    │   └── Conflict                (RuntimeError)  what a transaction has read was changed since
    ├── OutcomeUnknown              the call may or may not have been applied
    │   └── ResultLost              it was applied, but its result can no longer be had
    ├── Cancelled                   (concurrent.futures.CancelledError)  the future was cancelled
    ├── Timeout                     (TimeoutError)  a wait ended; nothing is said about the call
    ├── LockLost                    (RuntimeError)  the lock is no longer certainly held
    ├── NotOwner                    (RuntimeError)  release of a lock that this handle does not hold
    ├── OffsetOutOfRange            (IndexError)    a topic has no such message, or dropped it
    ├── NotOwner        (RuntimeError, ValueError)  release of a lock that this handle does not hold
    ├── NodeFailed                  (RuntimeError)  the node stopped by itself; the message says why
    ├── ConfigError                 (ValueError)    a setting or an address is wrong
    ├── BindError                   (OSError)       the listening address cannot be had
    ├── DecodeError                 (ValueError)    bytes that are not what they should be
    │   ├── ProtocolError                           a peer broke the protocol; its link is closed
    │   └── UnknownType                             a value of a class that is not registered here
    └── StorageError                (OSError)       the data directory cannot be used
        ├── DataDirBusy                             another process holds it
        ├── DataDirForeign                          it belongs to another cluster or node
        └── DataDirDamaged                          damage that is not a torn tail

Each error also is the builtin that a caller would catch, so ``except TimeoutError`` works as
expected. What a replicated method itself raises reaches its caller as it is.
"""

from concurrent.futures import CancelledError


class SyncError(Exception):
    """Be the root of all errors that this package raises by itself."""


class NotApplied(SyncError):
    """The call changed nothing on any member and never will; it is safe to call again."""


class NotReady(NotApplied, RuntimeError):
    """The node has not caught up with a leader yet; call `wait_ready()` first."""


class NodeClosed(NotApplied, RuntimeError):
    """The node was closed, so the call was never sent."""


class NodeRemoved(NodeClosed):
    """The members have removed this node from the cluster, so it has ended."""


class MembershipRefused(NotApplied, ValueError):
    """The change would leave no voter, or was replaced by another one before it was done."""


class VersionRefused(NotApplied, RuntimeError):
    """A member does not know the version, or the method has no body up to the one in force."""


class Withdrawn(NotApplied, TimeoutError):
    """Time ran out while the call was still queued on this node, and it was taken back."""


class Busy(NotApplied, RuntimeError):
    """Too many calls of this node are pending; wait for some of them to end."""


class BlockingCall(NotApplied, RuntimeError):
    """A blocking call was made where it would stop the node that has to answer it."""


class NotAttached(NotApplied, RuntimeError):
    """The object is attached to no node, so nothing can be replicated."""


class NotReplicated(NotApplied, TypeError):
    """The method is not marked `@replicated` in the object's class."""


class Unserializable(NotApplied, TypeError):
    """An argument or a part of a state has no encoding; the message names its type and place."""


class TooLarge(NotApplied, ValueError):
    """The encoded call exceeds `Config.max_command_bytes`."""


class SessionExpired(NotApplied, RuntimeError):
    """This node was cut off for longer than its session lives; what it waited for was given up."""


class ObjectExists(NotApplied, ValueError):
    """The name belongs to another object already."""


class ObjectNotFound(NotApplied, LookupError):
    """The cluster has no object of that name, or it was dropped."""


class ObjectMismatch(NotApplied, TypeError):
    """The cluster has an object of that name with another class or other constructor arguments.

    Or the class here has a body of a method that came too late for its version.
    """


class Conflict(NotApplied, RuntimeError):
    """What a transaction or a condition relies on has changed: nothing of it was applied."""


class OutcomeUnknown(SyncError):
    """The call may have been applied, or may yet be: look at the state before retrying."""


class ResultLost(OutcomeUnknown):
    """The call was applied exactly once, but its result cannot be had: skipped, or unencodable.

    Or it was pickled, and cannot be unpickled on this node.
    """

    value: object = None
    """The result where it cannot be unpickled here, with its pickles as they are (`Pickled`)."""


class Cancelled(SyncError, CancelledError):
    """The future was cancelled; a call that was already sent may still be applied."""


class Timeout(SyncError, TimeoutError):
    """A wait ended before what was waited for; the call itself goes on."""


class LockLost(SyncError, RuntimeError):
    """The lock is no longer certainly held: its session may have expired."""


class NotOwner(SyncError, RuntimeError, ValueError):
    """The lock or permit is not held through this handle, so it cannot be released by it."""


class OffsetOutOfRange(SyncError, IndexError):
    """The topic has no message of that offset on this member: it was dropped, or is yet to come."""

    missed: int = 0
    """How many messages from that offset on were dropped; 0: it is yet to come."""


class NodeFailed(SyncError, RuntimeError):
    """The node stopped by itself (a failed sync, state that cannot be applied); see the message."""


class ConfigError(SyncError, ValueError):
    """A setting is wrong; the message names the field, the value and the remedy."""


class BindError(SyncError, OSError):
    """The listening address cannot be had: in use, not of this machine, or not permitted."""


class DecodeError(SyncError, ValueError):
    """Bytes that are not a value, a record or a frame."""


class ProtocolError(DecodeError):
    """A peer sent what no correct member sends; only its link is closed."""


class UnknownType(DecodeError):
    """A value of a class that this process has not registered, or has in another shape.

    Or a pickle that cannot be unpickled here.
    """


class StorageError(SyncError, OSError):
    """The data directory cannot be read or written."""


class DataDirBusy(StorageError):
    """Another process holds the data directory."""


class DataDirForeign(StorageError):
    """The data directory belongs to another cluster or another node."""


class DataDirDamaged(StorageError):
    """The log or a snapshot is damaged before its tail; nothing was guessed or repaired.

    The message says how the member can be brought back without the cluster losing anything.
    """
