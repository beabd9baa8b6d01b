"""When a leader speaks to its observers: rarely, all in one turn, so that hundreds cost little.

An observer is sent only what is committed, so one message does for entries and their commit. A
follower is spoken to with every entry; if hundreds of observers were, the leader would do nothing
else. So they are served in **turns**, the more of them the rarer, and what a turn brings is one
message for all that are equally far. Out of turn is served who has a call under way, or is behind.
"""

from collections.abc import Iterable
from itertools import islice

from ..config import Config
from .progress import Mode, Progress

# Messages to observers in turns and heartbeats, all of them together, per second of each kind.
_RATE = 4000.0
# So many of them are sent a snapshot at a time.
_TRANSFER_COUNT = 16


class Observers:
    """The observers of one leader, in the order in which they came.

    Their heartbeats come with those to the followers.
    """

    __slots__ = (
        "_beat_quota", "_due", "_expected", "_interval", "_late", "_served_index", "_spoken",
        "_turn_at", "_young", "progress",
    )  # fmt: skip

    def __init__(self, config: Config, now: float) -> None:
        self.progress: dict[str, Progress] = {}
        """Each of them, by name; the other methods are for when there are any."""
        # An echo is an interval old when it comes, and has to vouch for a session.
        self._interval = min(config.election_timeout_max, config.session_ttl / 5)
        self._beat_quota = max(1, int(_RATE * config.heartbeat_interval))
        # When each was spoken to last, the one that was so longest ago first.
        self._spoken: dict[str, float] = {}
        # Until when the new ones are spoken to often: they wait to be sure of a session.
        self._young: dict[str, float] = {}
        self._turn_at = now
        # The commit index that the last turn brought.
        self._served_index = 0
        # Who is to be looked at out of turn; and who with every commit up to an index, with the
        # commit index at which that was done last.
        self._due: dict[str, None] = {}
        self._expected: dict[str, tuple[int, int]] = {}
        # Who waits until fewer others are being sent a snapshot.
        self._late: dict[str, None] = {}

    def add(self, peer: str, progress: Progress, now: float) -> None:
        """Serve one more."""
        self.progress[peer] = progress
        self._spoken[peer] = now
        self._young[peer] = now + 2 * self._interval
        self._due[peer] = None

    def drop(self, peer: str) -> None:
        """Serve one no more."""
        del self.progress[peer], self._spoken[peer]
        for part in (self._due, self._expected, self._young, self._late):
            part.pop(peer, None)

    def expect(self, peer: str, index: int) -> None:
        """Serve one with every commit up to that of `index`: there are calls of its own."""
        if peer in self.progress:
            before, looked = self._expected.get(peer, (0, 0))
            self._expected[peer] = (max(before, index), looked)

    def look_at(self, peer: str) -> None:
        """Serve one with the next messages, whatever there is for it."""
        self._due[peer] = None

    def answered(self, peer: str, progress: Progress) -> None:
        """Serve on who is behind what it was to be told by now."""
        index, looked = self._expected.get(peer, (0, 0))
        if progress.next_index > index:
            self._expected.pop(peer, None)
        behind = progress.next_index <= max(self._served_index, looked)
        if progress.mode is not Mode.REPLICATE or behind:
            self._due[peer] = None

    def beat(self, now: float) -> None:
        """Speak to those that were not spoken to for long, and to the new ones.

        With every heartbeat to the followers only to so many that it costs little.
        """
        spoken = 0
        for peer in list(islice(self._spoken, self._beat_quota)):
            if now < self._spoken[peer] + self._interval:
                break
            self._speak_to(peer, now)
            spoken += 1
        for peer in list(islice(self._young, self._beat_quota - spoken)):
            until = self._young.pop(peer)
            if now < until:
                self._young[peer] = until
                self._speak_to(peer, now)
        # Those that are being sent a snapshot may be gone, or as good as that.
        for peer in list(islice(self._late, _TRANSFER_COUNT)):
            del self._late[peer]
            self._due[peer] = None

    def _speak_to(self, peer: str, now: float) -> None:
        del self._spoken[peer]
        self._spoken[peer] = now
        self.progress[peer].must_speak = True
        self._due[peer] = None

    def postpone(self, peer: str, transfer_count: int) -> bool:
        """Return whether one has to wait for its snapshot, as many are sent one already."""
        if transfer_count < _TRANSFER_COUNT:
            return False
        self._late[peer] = None
        return True

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
            elif self.progress[peer].next_index > index:
                del self._expected[peer]
        if commit_index <= self._served_index or now < self._turn_at:
            return single, ()
        self._served_index = commit_index
        self._turn_at = now + len(self.progress) / _RATE
        return single, self.progress

    def deadline(self, commit_index: int) -> float:
        """Return when the next turn is due, `commit_index` having been reached."""
        if self._due:
            return 0.0
        return self._turn_at if commit_index > self._served_index else float("inf")

    def _check(self) -> None:
        for part in (self._due, self._expected, self._young, self._late):
            assert part.keys() <= self.progress.keys(), (part, self.progress)
        assert self._spoken.keys() == self.progress.keys(), (self._spoken, self.progress)
        assert all(progress.observes for progress in self.progress.values())
        times = list(self._spoken.values())
        assert times == sorted(times), times
