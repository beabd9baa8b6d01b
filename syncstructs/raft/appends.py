"""The appends of one member on their way to the store, and the messages that rely on them.

Appends are numbered and become durable in order. A message that must not be sent before something
is durable hangs on the append that holds it, or is held here if that append was handed out already.
"""

from collections.abc import Sequence

from msgspec.structs import replace

from .effects import Append
from .messages import AppendReply, Entry, HardState, Message, SnapshotMeta


class Appends:
    """Gather appends; give each message the earliest moment at which it may be sent."""

    __slots__ = ("_held", "_ticket", "durable_ticket", "hard_state_ticket", "ready")

    def __init__(self) -> None:
        self._ticket = 0
        self.hard_state_ticket = 0
        """The append that holds the newest hard state; 0 if that came from the store."""
        self.ready: list[Append] = []
        """What there is to take."""
        self._held: dict[tuple[str, type[Message]], tuple[int, Message]] = {}
        self.durable_ticket = 0
        """All appends up to this one are durable."""

    @property
    def last_ticket(self) -> int:
        return self._ticket

    # What is to be persisted; each returns the ticket of its append

    def add_hard_state(self, hard_state: HardState) -> int:
        append = self._last() or self._new()
        append.hard_state = hard_state
        self.hard_state_ticket = append.ticket
        return append.ticket

    def add_entries(self, entries: Sequence[Entry]) -> int:
        append = self._last() or self._new()
        if append.entries and append.entries[-1].index + 1 != entries[0].index:
            # What overwrites entries goes into an append of its own, so that each is one run.
            append = self._new()
        append.entries.extend(entries)
        return append.ticket

    def add_reset(self, snapshot: SnapshotMeta) -> int:
        append = self._last()
        if append is None or append.entries or append.reset is not None:
            append = self._new()
        append.reset = snapshot
        return append.ticket

    # What relies on it

    def send_after(self, ticket: int, to: str, message: Message) -> bool:
        """Let `message` wait for append `ticket`; return False if that is durable already."""
        if ticket <= self.durable_ticket:
            return False
        if self.ready and ticket >= self.ready[0].ticket:
            _hang(self.ready[ticket - self.ready[0].ticket], to, message)
        else:
            # Of each kind the newest is enough for a peer: it tells all that older ones do.
            self._held[to, type(message)] = (ticket, message)
        return True

    def take(self) -> list[Append]:
        """Hand out what was gathered, in the order of the tickets."""
        ready, self.ready = self.ready, []
        return ready

    def persisted(self, ticket: int) -> list[tuple[str, Message]]:
        """Note that all up to `ticket` is durable; return what may be sent now."""
        assert ticket <= self._ticket, (ticket, self._ticket)
        self.durable_ticket = max(self.durable_ticket, ticket)
        if not self._held:
            return []
        due = [key for key, (needed, _) in self._held.items() if needed <= ticket]
        return [(key[0], self._held.pop(key)[1]) for key in due]

    def _last(self) -> Append | None:
        return self.ready[-1] if self.ready else None

    def _new(self) -> Append:
        self._ticket += 1
        append = Append(self._ticket)
        self.ready.append(append)
        return append

    def _check(self) -> None:
        assert self.durable_ticket <= self._ticket, (self.durable_ticket, self._ticket)
        tickets = [append.ticket for append in self.ready]
        first = self._ticket - len(tickets) + 1
        assert tickets == list(range(first, self._ticket + 1)), tickets
        for append in self.ready:
            for before, entry in zip(append.entries, append.entries[1:], strict=False):
                assert entry.index == before.index + 1, (before.id, entry.id)


def _hang(append: Append, to: str, message: Message) -> None:
    """Add `message`; the replies to a run of appends become one."""
    sends = append.then_send
    if sends and isinstance(message, AppendReply):
        last_to, last = sends[-1]
        if (
            last_to == to
            and isinstance(last, AppendReply)
            and (last.term, last.accepted) == (message.term, message.accepted)
        ):
            # All of it is true once this append is durable.
            index = max(last.index, message.index) if message.accepted else message.index
            sends[-1] = (to, replace(message, index=index))
            return
    sends.append((to, message))
