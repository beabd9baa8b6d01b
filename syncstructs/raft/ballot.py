"""The votes gathered in one campaign, pre-vote or vote (Raft, section 5.2)."""

from .membership import Membership


class Ballot:
    """Count each voter once; the first answer of a voter stands."""

    __slots__ = ("_answers", "_membership")

    def __init__(self, membership: Membership) -> None:
        self._membership = membership
        self._answers: dict[str, bool] = {}

    def record(self, voter: str, granted: bool) -> None:
        """Note an answer; those of strangers and second answers change nothing."""
        if self._membership.is_voter(voter):
            self._answers.setdefault(voter, granted)

    @property
    def won(self) -> bool:
        """Whether a quorum has granted."""
        return self._membership.is_quorum([v for v, granted in self._answers.items() if granted])

    @property
    def lost(self) -> bool:
        """Whether so many have refused that a quorum can no longer be had."""
        answers, membership = self._answers, self._membership
        return not membership.is_quorum(
            [voter for voter in membership.all_voters if answers.get(voter, True)]
        )

    def _check(self) -> None:
        assert all(map(self._membership.is_voter, self._answers)), self._answers
        assert not (self.won and self.lost), self._answers
