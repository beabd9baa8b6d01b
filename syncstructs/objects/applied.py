"""What applying an entry brought about; a value."""

import msgspec

from .comparison import Divergence, Range
from .context import CallId, Outcome, _Parked
from .due import Due

Result = Outcome | _Parked


class Applied(msgspec.Struct):
    """What an entry brought about, as far as this node has to know."""

    results: list[tuple[int, list[Result]]] = msgspec.field(default_factory=list)
    """Of each run of this node's own calls, the number of the first, and how each of them ended; or
    that it parked."""
    parked: bool = False
    """Whether some call did, of this node or of another one."""
    resumed: list[tuple[int, Outcome]] = msgspec.field(default_factory=list)
    """How parked calls of this node ended."""
    opened: list[tuple[str, int, int, int]] = msgspec.field(default_factory=list)
    """Sessions of any node: (address, incarnation, attempt, session)."""
    conflicts: list[CallId] = msgspec.field(default_factory=list)
    """Transactions of any node of which nothing was applied, as what they read had changed."""
    expired: list[int] = msgspec.field(default_factory=list)
    """Sessions of any node that are no longer live."""
    woken: list[Due] = msgspec.field(default_factory=list)
    """What was to be woken, whether it was due or not."""
    changed: bool = False
    """Whether objects came or went."""
    successor: str | None = None
    """Who is asked to lead from now on; empty: whoever is able to. None: nobody is asked."""
    compared: Range | None = None
    """Which objects all members are to take digests of, as they are now."""
    noted: bool = False
    """Whether it was told which objects differ; and by name, which of them are news:"""
    diverged: list[tuple[str, Divergence]] = msgspec.field(default_factory=list)
    agreed: list[str] = msgspec.field(default_factory=list)
    """Which of them are the same on all members again."""
