"""ReadIndex requests (Ongaro's dissertation, section 6.4) and the rounds that confirm them.

A round is one message to every peer. Once a majority has answered a round, the leader was still
leading when it began: everything committed anywhere before then is at or below the commit index
that was noted before the round began. Many requests share one round.
"""

from collections import deque
from typing import NamedTuple

# Rounds for reads begin at once while fewer than this are unconfirmed; then reads wait and share.
_OPEN_ROUNDS_MAX = 64
# Reads that others asked for, held until confirmed; a sane cluster has a few per member.
_HELD_READS_MAX = 65_536
# Messages of read requests whose answer is awaited; what is older is asked again by its caller.
_ASKED_MAX = 1024


class Rounds:
    """Number the rounds of one leader in one term, and remember when each began."""

    __slots__ = ("_starts", "confirmed", "contact", "current", "fresh")

    def __init__(self, now: float) -> None:
        self.current = 0
        self.confirmed = 0
        self.contact = now
        """Beginning of the newest confirmed round: since then at least, a quorum followed."""
        self.fresh = False
        """Whether no message of the current round has been sent yet."""
        self._starts: deque[tuple[int, float]] = deque()

    def begin(self, now: float) -> None:
        """Begin the next round."""
        self.current += 1
        self.fresh = True
        self._starts.append((self.current, now))

    def confirm(self, round: int) -> bool:
        """Note that a quorum has answered `round`; return whether that is news."""
        if round <= self.confirmed:
            return False
        self.confirmed = round
        while self._starts and self._starts[0][0] <= round:
            self.contact = self._starts.popleft()[1]
        return True

    @property
    def crowded(self) -> bool:
        """Whether reads should wait for the next round instead of beginning one."""
        return self.current - self.confirmed >= _OPEN_ROUNDS_MAX

    def _check(self) -> None:
        assert self.confirmed <= self.current, (self.confirmed, self.current)
        assert len(self._starts) == self.current - self.confirmed, self._starts
        starts = [start for _, start in self._starts]
        assert starts == sorted(starts), starts


class Read(NamedTuple):
    """A read the leader must confirm; `origin` is the asking member, None for the leader itself."""

    origin: str | None
    request: int


class HeldReads:
    """The leader's reads: first until it knows the commit index, then until a round confirms."""

    __slots__ = ("_held", "_waiting")

    def __init__(self) -> None:
        self._waiting: list[Read] = []
        self._held: deque[tuple[int, int, Read]] = deque()

    @property
    def full(self) -> bool:
        return len(self._waiting) + len(self._held) >= _HELD_READS_MAX

    @property
    def awaits_round(self) -> int:
        """The newest round that a read waits for, 0 if none."""
        return self._held[-1][0] if self._held else 0

    def wait(self, read: Read) -> None:
        """Keep a read until `take_waiting`: the leader has committed nothing of its term yet."""
        self._waiting.append(read)

    def take_waiting(self) -> list[Read]:
        waiting, self._waiting = self._waiting, []
        return waiting

    def hold(self, read: Read, index: int, round: int) -> None:
        """Keep a read until `round` is confirmed; rounds come in order."""
        self._held.append((round, index, read))

    def confirmed(self, round: int) -> list[tuple[Read, int]]:
        """Take out the reads that a confirmed round covers, with their index."""
        ready = []
        while self._held and self._held[0][0] <= round:
            _, index, read = self._held.popleft()
            ready.append((read, index))
        return ready

    def forget(self, origin: str) -> None:
        """Drop what `origin` asked over a former link, or in a former life: it asks again."""
        self._waiting = [read for read in self._waiting if read.origin != origin]
        self._held = deque(item for item in self._held if item[2].origin != origin)

    def take_all(self) -> list[Read]:
        """Take out everything; it can no longer be confirmed."""
        reads = self.take_waiting() + [read for _, _, read in self._held]
        self._held.clear()
        return reads

    def _check(self) -> None:
        rounds = [round for round, _, _ in self._held]
        assert rounds == sorted(rounds), rounds
        assert len(self._waiting) + len(self._held) <= 2 * _HELD_READS_MAX


class AskedReads:
    """A follower's reads: those of one burst share one message to the leader."""

    __slots__ = ("_asked", "_next", "_open", "unsent")

    def __init__(self, first: int) -> None:
        """Number messages from `first`, a random number: an earlier life's answers must not fit."""
        self._next = first
        self._open: dict[int, None] = {}
        self.unsent: list[int] = []
        """What is to be asked with the next message."""
        self._asked: dict[int, list[int]] = {}

    def ask(self, request: int) -> None:
        """Keep a request until it is answered."""
        self._open[request] = None
        self.unsent.append(request)

    def ask_again(self) -> None:
        """Ask for everything open again: the messages may be lost."""
        self._asked.clear()
        self.unsent = list(self._open)

    def take_message(self) -> int:
        """Return the number of one message that asks for everything unsent."""
        self._next += 1
        self._asked[self._next] = self.unsent
        self.unsent = []
        while len(self._asked) > _ASKED_MAX:
            del self._asked[next(iter(self._asked))]
        return self._next

    def answered(self, message: int) -> list[int]:
        """Return the requests that the answer to `message` settles."""
        settled = [r for r in self._asked.pop(message, ()) if r in self._open]
        for request in settled:
            self._open.pop(request, None)
        return settled

    def take_all(self) -> list[int]:
        """Take out everything: the leader that was asked leads no more."""
        requests = list(self._open)
        self._open.clear()
        self.unsent.clear()
        self._asked.clear()
        return requests

    def _check(self) -> None:
        assert len(self._asked) <= _ASKED_MAX, len(self._asked)
