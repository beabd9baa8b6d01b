"""Who is in the cluster: a value, what a quorum of it is, and which steps of change are legal.

A membership counts from the moment its entry is in the log, committed or not (Raft, section 6).
Between two memberships of one majority each there is always a joint one, in which elections and
commits need both majorities; so any number of voters may come and go in one change. Voters to come
are learners first: they are replicated to and count for nothing.
"""

from collections.abc import Callable, Collection, Iterable

import msgspec

from ..errors import ProtocolError
from .quorum import majority

MEMBER_COUNT_MAX = 1000
"""More members than ever make sense; what claims more is no correct member."""
_ADDRESS_BYTES_MAX = 300


class Membership(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Voters and learners, each sorted and without repetition."""

    voters: tuple[str, ...] = ()
    outgoing: tuple[str, ...] = ()
    """The voters before, while their majority is needed as well; empty unless joint."""
    learners: tuple[str, ...] = ()
    genesis: int = 0
    """Drawn at random by the cluster's first leader: tells one life of a cluster from another."""

    @property
    def is_joint(self) -> bool:
        return bool(self.outgoing)

    @property
    def all_voters(self) -> tuple[str, ...]:
        """All whose vote counts in a majority, sorted."""
        if not self.outgoing:
            return self.voters
        return tuple(sorted({*self.voters, *self.outgoing}))

    @property
    def members(self) -> tuple[str, ...]:
        """All of them, learners too, sorted."""
        if not self.outgoing and not self.learners:
            return self.voters
        return tuple(sorted({*self.voters, *self.outgoing, *self.learners}))

    def is_voter(self, address: str) -> bool:
        """Whether its vote counts in a majority."""
        return address in self.voters or address in self.outgoing

    # Quorums

    def is_quorum(self, agreed: Collection[str]) -> bool:
        """Whether those who agreed are a quorum.

        >>> Membership(("a", "b", "c")).is_quorum({"a", "c", "x"})
        True
        """
        if not self.voters or not _has_majority(self.voters, agreed):
            return False
        return not self.outgoing or _has_majority(self.outgoing, agreed)

    # Change

    def next_towards(
        self, wanted: tuple[str, ...], is_ready: Callable[[str], bool]
    ) -> "Membership | None":
        """Return the next membership on the way to the voters `wanted`; None if none is due yet.

        `is_ready`: whether a learner has caught up, so that it may become a voter. A joint
        membership is always left for its own voters, whatever is wanted meanwhile.

        >>> now = Membership(("a", "b"))
        >>> now.next_towards(("a", "c"), lambda learner: False)
        Membership(voters=('a', 'b'), outgoing=(), learners=('c',), genesis=0)
        >>> Membership(("a", "b"), learners=("c",)).next_towards(("a", "c"), lambda learner: True)
        Membership(voters=('a', 'c'), outgoing=('a', 'b'), learners=(), genesis=0)
        """
        if self.outgoing:
            return Membership(self.voters, genesis=self.genesis)
        coming = tuple(address for address in wanted if address not in self.voters)
        if coming != self.learners:
            return Membership(self.voters, learners=coming, genesis=self.genesis)
        if wanted == self.voters or not all(map(is_ready, coming)):
            return None
        return Membership(wanted, outgoing=self.voters, genesis=self.genesis)

    def allows(self, following: "Membership") -> bool:
        """Whether `following` may be the next membership after this one (section 6)."""
        if self.genesis and following.genesis != self.genesis:
            return False
        if self.outgoing:
            return not following.outgoing and following.voters == self.voters
        return (following.outgoing or following.voters) == self.voters


def _has_majority(half: tuple[str, ...], agreed: Collection[str]) -> bool:
    # A plain loop: a leader asks this at every turn, and generators cost more than what they count.
    count = 0
    for voter in half:
        if voter in agreed:
            count += 1
    return count >= majority(len(half))


def sorted_members(addresses: Iterable[str]) -> tuple[str, ...]:
    """Return addresses as a `Membership` has them."""
    return tuple(sorted(set(addresses)))


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Membership)
_raw_decoder = msgspec.msgpack.Decoder(list[msgspec.Raw])


def encode_membership(membership: Membership) -> bytes:
    """Return the payload of an entry that brings `membership`."""
    return _encoder.encode(membership)


def decode_membership(payload: bytes) -> Membership:
    """Return the membership that the payload of an entry holds.

    Raises:
        ProtocolError: it holds none, or one that cannot be, or more than this release knows: what
            is overlooked in a message costs nothing, but who decides must not be mistaken.
    """
    try:
        membership = _decoder.decode(payload)
        parts = len(_raw_decoder.decode(payload))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"{len(payload)} bytes that are no membership: {error}") from error
    if parts > len(Membership.__struct_fields__):
        raise ProtocolError(
            f"a membership of {parts} parts is not known here; it may be of a later release, and"
            " this node has to run that as well"
        )
    check_membership(membership)
    if not membership.voters:
        raise ProtocolError("a membership without voters")
    return membership


def check_membership(membership: Membership) -> None:
    """Check one that came from outside; an empty one stands for "not said".

    Raises:
        ProtocolError: there can be no such membership.
    """
    for part in (membership.voters, membership.outgoing, membership.learners):
        if part != sorted_members(part) or len(part) > MEMBER_COUNT_MAX:
            raise ProtocolError(f"{len(part)} members that are too many, or not in order")
        if any(not 0 < len(address.encode()) <= _ADDRESS_BYTES_MAX for address in part):
            raise ProtocolError("a member's address is empty or too long")
    if not 0 <= membership.genesis < 2**63:
        raise ProtocolError(f"genesis {membership.genesis} is out of range")
