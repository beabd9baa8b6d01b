"""Changing the members of the cluster, as steps of a node's operations.

A change is a command in the log that says who is to have a vote. Whoever leads then brings the
membership there (`Membership.next_towards`): through any number of changes of leader, and without
whoever asked for it.
"""

from collections.abc import Iterable
from math import inf

from ..config import parse_address
from ..errors import MembershipRefused, NodeRemoved, OutcomeUnknown, Timeout
from ..objects.port import Steps
from .engine import Engine
from .operations import answered


def change_members(
    engine: Engine,
    *,
    added: Iterable[str] = (),
    removed: Iterable[str] = (),
    only: Iterable[str] | None = None,
    timeout: float | None,
) -> Steps[None]:
    """Change who has a vote, and wait until exactly those who are to have one do.

    Raises:
        ConfigError: one of them is no address.
        MembershipRefused: nobody would be left; or another change has taken the place of this one.
        Withdrawn: no leader was known within `timeout` seconds; nothing changes.
        Timeout: it is not done within `timeout` seconds, and goes on.
        OutcomeUnknown: this node has ended meanwhile; the change goes on.
    """
    coming, leaving = _addresses(added), _addresses(removed)
    deadline = inf if timeout is None else engine.now() + timeout
    change = engine.system(
        "change_members", coming, leaving, None if only is None else _addresses(only)
    )
    wanted = tuple((yield from answered(change, timeout, "to change the members")))
    while engine.failure is None:
        # Looked at first: what has taken its place may be settled already.
        now_wanted = engine.replica.table.wanted
        if now_wanted != wanted and not _serves(now_wanted, coming, leaving, only):
            raise MembershipRefused(
                f"another change has taken its place: {', '.join(now_wanted)} are to be members"
            )
        if engine.replica.is_settled:
            return
        left = None if timeout is None else max(0.0, deadline - engine.now())
        changed = engine.membership_change()
        if not (yield changed, left):
            raise Timeout(
                f"{', '.join(wanted)} are not yet the members after {timeout} s, as one of them"
                " has not caught up or is away, or too few are there; the change goes on"
            )
    if not (isinstance(engine.failure, NodeRemoved) and engine.address in leaving):
        raise OutcomeUnknown(
            f"this node has ended before {', '.join(wanted)} were the members; the change goes on"
        ) from engine.failure


def transfer_leadership(engine: Engine, to: str | None, timeout: float | None) -> Steps[None]:
    """Have another voter lead: `to`, or any one that is able to; wait until it does.

    It is a command in the log, so that it can be asked for anywhere. A leader gives it up after an
    election timeout; then it is asked again.

    Raises:
        ConfigError: `to` is no address.
        MembershipRefused: `to` has no vote, or nobody else has one.
        Withdrawn: the leader was lost before it was asked, and no other was known in time.
        Timeout: nobody else leads after `timeout` seconds; it may still come to it.
    """
    successor = "" if to is None else str(parse_address(to, field="to"))
    deadline = inf if timeout is None else engine.now() + timeout
    core, config = engine.replica.core, engine.config
    former, ask_at = core.leader, 0.0
    while engine.failure is None:
        leader = core.leader
        former = former or leader
        if leader is not None and (leader == successor or (not successor and leader != former)):
            return
        now = engine.now()
        if now >= deadline:
            raise Timeout(f"{leader or 'nobody'} leads after {timeout} s, and not {_whom(to)}")
        if now >= ask_at and leader is not None:
            _check_successor(engine, successor, leader)
            asked = engine.system("transfer_leadership", successor)
            left = None if timeout is None else max(0.0, deadline - now)
            yield from answered(asked, left, "to hand over")
            ask_at = engine.now() + 1.5 * config.election_timeout_max
        # Ends with the node at the latest, as its timers may not fire any more then.
        yield engine.membership_change(), config.heartbeat_interval / 4
    raise engine.failure


def _whom(to: str | None) -> str:
    return "another member" if to is None else to


def _check_successor(engine: Engine, successor: str, leader: str) -> None:
    voters = engine.replica.core.membership.voters
    if successor and successor not in voters:
        raise MembershipRefused(
            f"{successor} has no vote, so it cannot lead; those who have: {', '.join(voters)}"
        )
    if voters == (leader,):
        raise MembershipRefused(f"nobody but {leader} has a vote, so nobody else can lead")


def _serves(
    wanted: tuple[str, ...], coming: list[str], leaving: list[str], only: Iterable[str] | None
) -> bool:
    """Return whether what somebody else wanted later keeps what was asked for here."""
    return only is None and set(coming) <= set(wanted) and not set(leaving) & set(wanted)


def _addresses(texts: Iterable[str]) -> list[str]:
    return sorted({str(parse_address(text, field="member")) for text in texts})
