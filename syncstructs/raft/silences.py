"""How long a member waits for a leader that says nothing: what the silences so far have taught it.

On a quiet machine a leader speaks every `heartbeat_interval`, and a silence of some of these means
that it is gone. Where its process stands still at times, the network does, or this member does
itself, silences come to an end that are as long; each of them makes the member more patient for a
while. So does one after which the leader had already been given up: the next one is sat out.
"""

from typing import Final

from ..config import Config

# Patience is so many times the longest silence of late.
_MARGIN: Final = 2.0
# What is learned is kept for one to two spans of so many seconds.
_SPAN: Final = 120.0
# Timeouts lie between the patience and so many times as much.
SPREAD: Final = 1.25


class Silences:
    """The silences of leaders that lived, as one member saw them."""

    __slots__ = ("_earlier", "_given_up", "_least", "_most", "_recent", "_until", "patience")

    def __init__(self, config: Config, now: float) -> None:
        self._least = config.election_timeout_min
        self._most = max(self._least, config.election_timeout_max / SPREAD)
        self._recent = self._earlier = 0.0
        self._until = now + _SPAN
        self._given_up: tuple[str, int, float] | None = None
        self.patience = self._least
        """Seconds: who has been heard within them counts as alive."""

    def ended(self, seconds: float, now: float) -> bool:
        """Note that a leader spoke after so long; return whether `patience` is another one now."""
        if now >= self._until:
            self._earlier = self._recent if now < self._until + _SPAN else 0.0
            self._recent = 0.0
            self._until = now + _SPAN
        elif seconds <= self._recent:
            return False
        self._recent = max(self._recent, seconds)
        longest = max(self._recent, self._earlier)
        before = self.patience
        self.patience = min(max(self._least, _MARGIN * longest), self._most)
        return self.patience != before

    def give_up(self, leader: str, term: int, heard_at: float) -> None:
        """Note that nobody waits any more for who led in `term` and spoke at `heard_at` last."""
        self._given_up = leader, term, heard_at

    def spoke(self, leader: str, term: int, now: float) -> bool:
        """Note that who is not followed, or no longer, speaks as the leader of `term`.

        Return whether `patience` is another one now.
        """
        given_up = self._given_up
        if given_up is None or given_up[:2] != (leader, term):
            return False
        self._given_up = None
        return self.ended(now - given_up[2], now)
