"""What a driver needs of the world, as protocols: nothing else of it is ever touched.

A simulator replaces these, and only these.
"""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, Protocol, TypeVar

from ..applying import SnapshotPoint
from ..errors import SyncError
from ..raft.messages import SnapshotMeta

T = TypeVar("T")
C_co = TypeVar("C_co", covariant=True)


class Clock(Protocol):
    """A monotonic clock; only differences mean anything."""

    def now(self) -> float:
        """Return the time in seconds."""


class Calls(Protocol[C_co]):
    """This node's calls that nobody has taken yet; others may put some at any time."""

    @property
    def waiting(self) -> Collection[C_co]:
        """Those calls, to look whether there are any."""

    def take(self, limit_bytes: int) -> Sequence[C_co]:
        """Take calls out, oldest first, until `limit_bytes` are passed."""


class Links(Protocol):
    """The connections to the other members."""

    def send(self, peer: str, payload: bytes) -> bool:
        """Send a frame if the peer's link is up and not overfull; Raft sends again what is lost."""

    def set_peers(self, peers: Collection[str]) -> None:
        """Keep links to exactly these from now on; links to others are not cut.

        Raises:
            ConfigError: one of them is no address; nothing has changed then.
        """


class Worker(Protocol):
    """Somebody who does blocking work, one job after the other."""

    def run(self, job: Callable[[], T], then: Callable[[T | BaseException], Any]) -> None:
        """Do `job` elsewhere, and call `then` with its result or error in the driver's thread.

        Jobs are done in order. A worker may also do it here and now.
        """


class Snapshotter(Protocol):
    """Somebody who writes this replica's state to the snapshot store."""

    def take(
        self,
        point: SnapshotPoint,
        image: Callable[[], Iterable[bytes]],
        outweigh: Callable[[int], bool],
        then: Callable[[SnapshotMeta | BaseException], Any],
    ) -> None:
        """Persist `image()`, the state at `point`, and report it by `then`.

        The state is that of the moment of the call, whatever is applied afterwards.
        `outweigh(limit)` tells whether the objects hold more than so many values.
        """


class Digester(Protocol):
    """Somebody who takes digests of this replica's objects."""

    def take(
        self,
        digests: Callable[[], dict[int, tuple[bytes, int]]],
        outweigh: Callable[[int], bool],
        then: Callable[[dict[int, tuple[bytes, int]] | BaseException], Any],
    ) -> None:
        """Report `digests()` by `then`, in the driver's thread.

        They are those of the moment of the call, whatever is applied afterwards. `outweigh(limit)`
        tells whether the objects hold more than so many values.
        """


class Gate(Protocol):
    """What keeps a reader from seeing a half-applied command."""

    def enter(self) -> bool:
        """Begin to apply; False if a reader holds the state (it wakes the driver when done)."""

    def leave(self) -> None:
        """End applying."""

    def refuse(self, refusal: SyncError) -> None:
        """Let nobody hold the state from now on: its objects do not fit together any more."""
