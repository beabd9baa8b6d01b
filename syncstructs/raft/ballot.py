"""The votes gathered in one campaign, pre-vote or vote (Raft, section 5.2)."""

from collections.abc import Collection

from .quorum import majority


class Ballot:
    """Count each voter once; the first answer of a voter stands."""

    __slots__ = ("_answers", "_voters")

    def __init__(self, voters: Collection[str]) -> None:
        self._voters = tuple(voters)
        self._answers: dict[str, bool] = {}

    def record(self, voter: str, granted: bool) -> None:
        """Note an answer; those of strangers and second answers change nothing."""
        if voter in self._voters:
            self._answers.setdefault(voter, granted)

    @property
    def won(self) -> bool:
        """Whether a majority has granted."""
        return sum(self._answers.values()) >= majority(len(self._voters))

    @property
    def lost(self) -> bool:
        """Whether so many have refused that a majority can no longer be had."""
        refused = len(self._answers) - sum(self._answers.values())
        return len(self._voters) - refused < majority(len(self._voters))

    def _check(self) -> None:
        assert all(voter in self._voters for voter in self._answers), self._answers
        assert not (self.won and self.lost), self._answers
