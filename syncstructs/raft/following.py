"""What a member knows of the leader it follows; made anew with each leader and each term."""


class Following:
    """One leader, as one of its followers sees it."""

    __slots__ = (
        "_told", "_untold", "acknowledged_index", "echo", "excused_at", "heard_at", "link_lost",
        "round", "verified_index",
    )  # fmt: skip

    def __init__(self, commit_index: int, now: float) -> None:
        self.heard_at = now
        self.link_lost = False
        self.excused_at = 0.0
        """When the leader had been heard, as this member stood still itself after that."""
        self.round = 0
        """Newest round received; every answer tells it."""
        self.echo = 0.0
        """Newest own time that the leader has echoed."""
        self.verified_index = commit_index
        """Equal to the leader's log up to here; what is committed is so from the start (5.4)."""
        self.acknowledged_index = 0
        """Told, or about to be told, to the leader."""
        # Round and index of the newest acknowledgement that was sent over the present link; and the
        # same of one that waits for an append, with that append's ticket.
        self._told = (0, 0)
        self._untold: tuple[int, int, int] | None = None

    def heard(self, round: int, echo: float, now: float) -> None:
        """Take in what every message of the leader tells."""
        self.heard_at = now
        self.link_lost = False
        if round > self.round:
            self.round = round
        # A time yet to come is not from this life: the machine was restarted, and its clock.
        if self.echo < echo <= now:
            self.echo = echo

    def alive(self, now: float, patience: float) -> bool:
        """Whether the leader spoke within `patience`, over a link that is not known to be lost."""
        return not self.link_lost and now - self.heard_at < patience

    def acknowledges(self, index: int, ticket: int) -> None:
        """Note an acknowledgement; `ticket`: the append that it waits for, or 0."""
        if ticket:
            self._untold = (ticket, self.round, index)
        else:
            self._told = (self.round, index)

    def persisted(self, ticket: int) -> None:
        """Note that what waited for append `ticket` was sent."""
        if self._untold is not None and self._untold[0] <= ticket:
            self._told = self._untold[1:]
            self._untold = None

    def has_told(self, index: int) -> bool:
        """Whether the leader learns nothing by an acknowledgement of `index` in this round."""
        round, told = self._told
        return self.round <= round and index <= told

    def forget_told(self) -> None:
        """Tell all again: the leader may not have heard it, or has to think again."""
        self._told = (0, 0)
        self._untold = None

    def _check(self) -> None:
        assert self.acknowledged_index <= self.verified_index, (
            self.acknowledged_index, self.verified_index,
        )  # fmt: skip
        assert self.echo <= self.heard_at, (self.echo, self.heard_at)
