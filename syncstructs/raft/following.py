"""What a member knows of the leader it follows; made anew with each leader and each term."""


class Following:
    """One leader, as one of its followers sees it."""

    __slots__ = ("acknowledged_index", "echo", "heard_at", "link_lost", "round", "verified_index")

    def __init__(self, commit_index: int, now: float) -> None:
        self.heard_at = now
        self.link_lost = False
        self.round = 0
        """Newest round received; every answer tells it."""
        self.echo = 0.0
        """Newest own time that the leader has echoed."""
        self.verified_index = commit_index
        """Equal to the leader's log up to here; what is committed is so from the start (5.4)."""
        self.acknowledged_index = 0
        """Told, or about to be told, to the leader."""

    def heard(self, round: int, echo: float, now: float) -> None:
        """Take in what every message of the leader tells."""
        self.heard_at = now
        self.link_lost = False
        self.round = max(self.round, round)
        # A time yet to come is not from this life: the machine was restarted, and its clock.
        if self.echo < echo <= now:
            self.echo = echo

    def alive(self, now: float, patience: float) -> bool:
        """Whether the leader spoke within `patience`, over a link that is not known to be lost."""
        return not self.link_lost and now - self.heard_at < patience

    def _check(self) -> None:
        assert self.acknowledged_index <= self.verified_index, (
            self.acknowledged_index, self.verified_index,
        )  # fmt: skip
        assert self.echo <= self.heard_at, (self.echo, self.heard_at)
