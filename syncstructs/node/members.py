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
        Timeout: it is not done within `timeout` seconds, and goes on.
        OutcomeUnknown: this node has ended meanwhile; the change goes on.
    """
    coming, leaving = _addresses(added), _addresses(removed)
    deadline = inf if timeout is None else engine.now() + timeout
    change = engine.system(
        "change_members", coming, leaving, None if only is None else _addresses(only)
    )
    if not (yield change, timeout):
        raise Timeout(f"the members were not asked to change within {timeout} s")
    wanted = tuple((yield change))
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
                " has not caught up or too few are there; the change goes on"
            )
    if not (isinstance(engine.failure, NodeRemoved) and engine.address in leaving):
        raise OutcomeUnknown(
            f"this node has ended before {', '.join(wanted)} were the members; the change goes on"
        ) from engine.failure


def _serves(
    wanted: tuple[str, ...], coming: list[str], leaving: list[str], only: Iterable[str] | None
) -> bool:
    """Return whether what somebody else wanted later keeps what was asked for here."""
    return only is None and set(coming) <= set(wanted) and not set(leaving) & set(wanted)


def _addresses(texts: Iterable[str]) -> list[str]:
    return sorted({str(parse_address(text, field="member")) for text in texts})
