"""How a member that holds nothing becomes one that may vote and be counted.

It may be new, or it may have lost its memory: votes it gave and entries it acknowledged. Counting
it again at once could elect two leaders in one term, or a leader that lacks what is committed. So a
blank member follows, but neither votes nor counts for any quorum, until one of these is true (that
it is not yet so is part of its hard state, as a restart in between is no end of it):

**A leader has recovered it.** The leader, told by the nonce in each answer, appends an entry of its
own term after it first saw the nonce, commits it without counting any blank member, and waits until
this one has persisted that far. Then no vote and no acknowledgement of an earlier life can matter:
whoever could use one needs a quorum, which shares a member with the quorum of that entry. That
member either refuses a log without the entry, or had left the leader's term and never acknowledged
it. The recovered member counts its vote in the leader's term as given, to the leader. (This takes
the place of the state that Viewstamped Replication Revisited, section 4.3, fetches from the primary
of the latest view.)

**All have answered.** If those who are not blank are too few to elect a leader, but every member
that any answer's membership names has answered this life, then nobody is left who could use an
earlier life's vote: candidates gave up when they were asked. Learners are asked as well, as they
may have got a vote since. The newest membership that a blank member has heard of in this life it
keeps, and tells, though whoever told it may forget. The greatest log among the answers is a floor:
a vote is given only to a log that reaches it, and the member counts once its own does, so that no
entry is lost that anybody still holds.

No acknowledged entry is lost if at any time those who are not blank are a quorum of the membership
that counts, and who is no member any more has ended (who hears of it ends by itself). For then the
answers name all voters, and as a quorum of them remembers, the greatest log is theirs. That all are
named takes a rule for changes. Let b and c be blank, and a be cut off since it had a membership of
a, b and c: nobody of them can tell whether that is still so, or d, e and f have votes as well and
go on. So a leader in memory gives newcomers a vote only when all voters that stay have the entry
that makes those learners (`RaftCore._may_become`). Hence whoever has a vote and remembers names all
who have one: learners have none, voters come after all others know of them, and a removal leaves
fewer. A blank voter may have answers from before such a change; but then it has acknowledged
nothing that came after, and a quorum for that is one without it.

Not covered: a member that was removed while it was cut off, and runs on. It can be elected if all
that were members with it run and are blank at once. To close that as well, no number of blank
members could ever go on without a leader: what they are told is the same where a majority forgot.
Where the leader's store lasts, it takes those of the others to last as well, and does not wait.

**It is a first start.** A majority has answered, all of them empty, and the rest were silent for an
election timeout. That a majority has lost its memory cannot be told from this; the genesis in each
membership keeps what comes of it apart from what a silent member may still hold.

**Its store lasts.** Where what is written survives the process, an empty store was most likely
never used: the member is new. If no leader has recovered it within an election timeout (one that
leads it may have lost all others meanwhile), it votes and counts as any other one, or a cluster
that loses one member while another one is new would stand still. Not so if it was started to join:
then it may have lost a disk.
"""

from operator import itemgetter
from typing import NamedTuple

from .membership import Membership
from .messages import EntryId, RecoveryReply


class Start(NamedTuple):
    """With what a blank member may vote."""

    term: int
    """The greatest term that anybody told: no vote is given in it."""
    floor: EntryId
    """Where the logs of those who get a vote reach to at least."""


class Recovery:
    """The answers that one life of a blank member has got."""

    __slots__ = ("_newest", "_replies", "lasting", "nonce")

    def __init__(self, nonce: int, *, lasting: bool) -> None:
        """`lasting`: whether the member's store survives its process, and it is no newcomer."""
        self.lasting = lasting
        self.nonce = nonce
        """Tells this life from all others of the member; never 0."""
        self._replies: dict[str, RecoveryReply] = {}
        # Known for good: who told it may forget, and tell of less when it is linked anew.
        self._newest = (0, Membership())

    def heard(self, sender: str, reply: RecoveryReply) -> None:
        """Keep the newest answer of a sender; those to earlier lives say nothing."""
        if reply.nonce == self.nonce:
            self._replies[sender] = reply
            if reply.membership_index:
                self._newest = self.newest(reply.membership_index, reply.membership)

    def forget(self, sender: str) -> None:
        """Drop what a sender said: it may have a new life."""
        self._replies.pop(sender, None)

    def start(
        self, address: str, own: Membership, own_index: int, *, patient: bool
    ) -> Start | None:
        """Return with what `address` may vote; None: not yet, as far as the answers tell.

        `own` is its own membership, of the entry `own_index` (0: of no entry); `patient`: no
        longer, an election timeout has passed.
        """
        replies = self._replies.values()
        told = [reply for reply in replies if reply.last.index]
        newest = self.newest(own_index, own)[1]
        term = max((reply.term for reply in replies), default=0)
        if not newest.is_voter(address):
            return None
        if (told or own_index) and newest.is_quorum((address,)):
            # Who decided alone may have decided anything since, and nobody else need know.
            return None
        if not told and self._may_be_first(address, own, patient=patient):
            return Start(term, EntryId(0, 0))
        if self.lasting and not patient:
            return Start(term, EntryId(0, 0))
        known = [newest, own] if own_index else [newest]
        if not told or not self._must_help(known, address):
            return None
        return Start(term, max(reply.last for reply in told))

    def newest(self, own_index: int, own: Membership) -> tuple[int, Membership]:
        """Return the newest membership that is known here, and the index of its entry."""
        return max((own_index, own), self._newest, key=itemgetter(0))

    def _must_help(self, known: list[Membership], address: str) -> bool:
        """Whether the others cannot elect a leader, who would recover it, and all have answered.

        `known`: the newest membership first, and others besides those that the answers tell.
        """
        replies = self._replies.items()
        awake = [sender for sender, reply in replies if not reply.blank]
        told = [r.membership for _, r in replies if r.last.index or r.membership_index]
        return not known[0].is_quorum(awake) and all(
            self._all_answered(membership, address) for membership in [*known, *told]
        )

    def _all_answered(self, membership: Membership, address: str) -> bool:
        return all(
            member in self._replies for member in membership.members if member != address
        )

    def _may_be_first(self, address: str, own: Membership, *, patient: bool) -> bool:
        if not own.is_voter(address) or own.genesis:
            # A cluster that has begun already, as far as an entry tells, is at no first start.
            return False
        if self._all_answered(own, address) and all(
            reply.membership.voters == own.voters for reply in self._replies.values()
        ):
            return True
        alike = {a for a, r in self._replies.items() if r.membership.voters == own.voters}
        return not patient and own.is_quorum({*alike, address})

    def unlike(self, own: Membership) -> dict[str, tuple[str, ...]]:
        """Return which empty members were started with another list of members, and which."""
        return {
            address: reply.membership.voters
            # Whoever asks may run beside the one who adds answers.
            for address, reply in list(self._replies.items())
            if not (reply.last.index or reply.membership_index)
            and own.voters and reply.membership.voters
            and reply.membership.voters != own.voters
        }

    def _check(self) -> None:
        assert self.nonce > 0
        assert all(reply.nonce == self.nonce for reply in self._replies.values())
