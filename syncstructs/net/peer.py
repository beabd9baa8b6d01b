"""Peer: what the transport knows of one other node, and how long it pauses between dials."""

import asyncio

from ..config import Address, parse_address
from .connection import Connection
from .hello import is_name
from .sockets import Target


class Peer:
    """One other node: its link if there is one, and the dial under way if not.

    Raises:
        ConfigError: `name` is neither an address nor that of a nameless node.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.address: Address | None = None
        """None: it can only call."""
        if not is_name(name):
            self.address = parse_address(name, field="peer")
        self.connection: Connection | None = None
        # Set exactly while there is no link.
        self.unlinked = asyncio.Event()
        self.unlinked.set()
        # A member has one from the start to the end; a guest while it is called back.
        self.dialling: asyncio.Task[None] | None = None
        self.lookup: asyncio.Task[list[Target]] | None = None
        # The connection that the dial under way tries to make.
        self.attempt: Connection | None = None
        # It has been a member at some time.
        self.was_member = False
        # The last link broke as soon as it was up, and nobody has paused for that yet.
        self.broke_early = False
        # Dials in a row without a link, and links in a row that broke as soon as they were up.
        self.failure_count = 0
        self.early_break_count = 0

    def link(self, connection: Connection) -> None:
        """Note that there is a link."""
        assert self.connection is None, self.name
        self.connection = connection
        self.failure_count = 0
        self.unlinked.clear()

    def unlink(self, *, early: bool) -> None:
        """Note that there is no link any more; `early`: it was not up for long."""
        self.connection = None
        self.broke_early = early
        if not early:
            self.early_break_count = 0
        self.unlinked.set()

    def stop_dialling(self, reason: str) -> None:
        """Dial no more; what is under way is ended, unless it has become the link."""
        # Before the task: its hello must not leave any more.
        if self.attempt is not None and self.attempt is not self.connection:
            self.attempt.end(reason)
        if self.dialling is not None:
            self.dialling.cancel()
            self.dialling = None

    def failure(self) -> int:
        """Count a dial without a link; return how many there were in a row."""
        self.failure_count += 1
        return self.failure_count

    def early_break(self) -> int:
        """Count a link that broke early; return how many there were in a row."""
        self.broke_early = False
        self.early_break_count += 1
        return self.early_break_count

    def _check(self) -> None:
        assert self.address is not None or self.dialling is None, self.name
        assert self.unlinked.is_set() == (self.connection is None), self.name


def pause_after(failure_count: int, shortest: float, longest: float) -> float:
    """Return the pause after so many failures in a row: doubling from `shortest` to `longest`.

    >>> [pause_after(count, 0.02, 1.0) for count in (1, 2, 3, 9, 10_000)]
    [0.02, 0.04, 0.08, 1.0, 1.0]
    """
    if failure_count > 64:
        return longest
    return min(longest, shortest * 2.0 ** (failure_count - 1))
