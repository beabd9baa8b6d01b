"""When a leader speaks to its observers: rarely, all in one turn, so that hundreds cost little.

An observer is sent only what is committed, so one message does for entries and their commit. A
follower is spoken to with every entry; if hundreds of observers were, the leader would do nothing
else. So they are served in **turns**, the more of them the rarer, and what a turn brings is one
message for all that are equally far. Out of turn is served who has a call under way, or is behind.
"""

from collections.abc import Iterable

from ..config import Config
from .progress import Mode, Progress

# Messages to observers in turns, all of them together, per second.
_TURN_RATE = 4000.0


class Observers:
    """The observers of one leader, in the order in which they came.

    Their heartbeats come with the leader's rounds.
    """

    __slots__ = (
        "_due", "_expected", "_heartbeat_at", "_heartbeat_interval", "_served_index", "_turn_at",
        "_young", "progress",
    )  # fmt: skip

    def __init__(self, config: Config, now: float) -> None:
        self.progress: dict[str, Progress] = {}
        """Each of them, by name; the other methods are for when there are any."""
        self._heartbeat_interval = config.election_timeout_max
        # When all of them are spoken to, if only to hear that they are there.
        self._heartbeat_at = now
        self._turn_at = now
        # The commit index that the last turn brought.
        self._served_index = 0
        # Who is to be looked at out of turn; and who with every commit up to an index, with the
        # commit index at which that was done last.
        self._due: dict[str, None] = {}
        self._expected: dict[str, tuple[int, int]] = {}
        # Until when the new ones are spoken to in every round: they wait to be sure of a session.
        self._young: dict[str, float] = {}

    def add(self, peer: str, progress: Progress, now: float) -> None:
        """Serve one more."""
        self.progress[peer] = progress
        self._young[peer] = now + 2 * self._heartbeat_interval
        self._due[peer] = None

    def drop(self, peer: str) -> None:
        """Serve one no more."""
        del self.progress[peer]
        self._due.pop(peer, None)
        self._expected.pop(peer, None)
        self._young.pop(peer, None)

    def expect(self, peer: str, index: int) -> None:
        """Serve one with every commit up to that of `index`: there are calls of its own."""
        if peer in self.progress:
            _, looked = self._expected.get(peer, (0, 0))
            self._expected[peer] = (index, looked)

    def look_at(self, peer: str) -> None:
        """Serve one with the next messages, whatever there is for it."""
        self._due[peer] = None

    def answered(self, peer: str, progress: Progress) -> None:
        """Serve on who is behind what the last turn brought."""
        if progress.mode is not Mode.REPLICATE or progress.next_index <= self._served_index:
            self._due[peer] = None

    def begin_round(self, now: float) -> None:
        """Speak to all of them if it is time for that, and to the new ones in any case."""
        spoken: Iterable[str] = tuple(self._young)
        if now >= self._heartbeat_at:
            self._heartbeat_at = now + self._heartbeat_interval
            spoken = self.progress
        for peer in spoken:
            self.progress[peer].must_speak = True
            self._due[peer] = None
        for peer in [peer for peer, until in self._young.items() if now >= until]:
            del self._young[peer]

    def has_messages(self, commit_index: int, now: float) -> bool:
        """Whether any of them is to be looked at now."""
        if self._due or (commit_index > self._served_index and now >= self._turn_at):
            return True
        return any(commit_index > looked for _, looked in self._expected.values())

    def take_due(self, commit_index: int, now: float) -> tuple[Iterable[str], Iterable[str]]:
        """Return who is to be served now by itself, and who in the turn of all."""
        single, self._due = self._due, {}
        for peer, (index, looked) in list(self._expected.items()):
            if commit_index > looked:
                single[peer] = None
                self._expected[peer] = (index, commit_index)
            if commit_index >= index:
                del self._expected[peer]
        if commit_index <= self._served_index or now < self._turn_at:
            return single, ()
        self._served_index = commit_index
        self._turn_at = now + len(self.progress) / _TURN_RATE
        return single, self.progress

    def deadline(self, commit_index: int) -> float:
        """Return when the next turn is due, `commit_index` having been reached."""
        return self._turn_at if commit_index > self._served_index else float("inf")

    def _check(self) -> None:
        for part in (self._due, self._expected, self._young):
            assert part.keys() <= self.progress.keys(), (part, self.progress)
        assert all(progress.observes for progress in self.progress.values())
