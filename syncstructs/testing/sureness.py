"""How a node may come to be sure of its session: by what a quorum has confirmed, and not for long.

A leader ends a session when it has not heard of its node for the session's ttl. So a node counts
the time from something that it said and a leader of a quorum certainly had, or that a quorum said
to it; and as clocks differ, it relies on a part of the ttl only. All of that is checked where it
happens, long before somebody holds a lock that another one was given.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ..raft.messages import AppendReply, AppendRequest, SnapshotReply
from .watching import replace_methods

if TYPE_CHECKING:
    from ..config import Config
    from .hosts import Life

_MARGIN: Final = 0.96
"""The part of a ttl that may be relied on: the clocks of a plan differ by up to 4 %."""
_ROUNDING: Final = 1e-6


class _Contacts:
    """Who said what to whom in one life, by its own clock."""

    __slots__ = ("answered", "arrivals", "elected_at", "followed", "heard", "said", "term")

    def __init__(self) -> None:
        self.said = 0.0
        """When it composed the newest answer that it gave to a leader."""
        self.term = 0
        """In which it leads, or has led last."""
        self.elected_at = 0.0
        self.answered: dict[str, float] = {}
        """In that term: when each peer sent its newest answer."""
        self.heard: dict[str, float] = {}
        """In that term: when an answer of each peer last arrived."""
        self.arrivals: dict[str, deque[tuple[float, float]]] = {}
        """By peer: the times that its answers told, and when each arrived, from its echo on."""
        self.followed = 0.0
        """Up to when a quorum can have followed it in earlier terms."""


class Sureness:
    """The rules, for all lives of a simulation; `fail(life, what)` raises."""

    def __init__(self, config: Config, fail: Callable[[Life, str], object]) -> None:
        self._ttl = config.session_ttl
        self._fail = fail
        self._contacts: dict[Life, _Contacts] = {}

    def watch(self, life: Life) -> None:
        """Watch the node of a life from now on."""
        contacts = self._contacts[life] = _Contacts()
        replica: Any = life.replica
        expire, connected = replica._expire_sessions, replica.peer_connected

        def watched_expire(now: float) -> None:
            before = set(replica._expiring)
            expire(now)
            for session in replica._expiring - before:
                self._expires(life, contacts, session, now)

        def watched_connected(peer: str, now: float) -> None:
            contacts.arrivals.pop(peer, None)
            connected(peer, now)

        replace_methods(replica, _expire_sessions=watched_expire, peer_connected=watched_connected)

    def elected(self, life: Life, term: int) -> None:
        """Note that a node leads from now on."""
        contacts = self._contacts[life]
        contacts.followed = max(contacts.followed, self._followed_until(life, contacts))
        contacts.term = term
        contacts.elected_at = life.now()
        for of_former_term in (contacts.answered, contacts.heard, contacts.arrivals):
            of_former_term.clear()

    def answers(
        self, life: Life, leader: Life | None, message: AppendReply | SnapshotReply
    ) -> None:
        """Note an answer on its way; `leader`: the life that leads the term of the message."""
        if not message.round:
            return
        contacts = self._contacts[life]
        if message.sent > contacts.said:
            contacts.said = message.sent
        if leader is not None:
            its = self._contacts[leader]
            if its.term == message.term:
                its.answered[life.host.address] = leader.now()

    def requests(self, life: Life, peer: str, message: AppendRequest) -> None:
        """Look at a request on its way of which a leader makes another node sure."""
        leading = life.core._leading
        if not message.echo or leading is None:
            return
        if peer in leading.peers and message.echo != leading.peers[peer].echo:
            told = leading.peers[peer].echo
            self._fail(life, f"echoes {message.echo} to {peer}, which has told it {told}")
        session = life.table.sessions.of_address(peer)
        if session is None or session in life.replica._expiring:
            self._fail(
                life, f"makes {peer} sure of session {session}, which it has asked the log to end"
            )

    def hears(
        self, life: Life, sender: str, message: AppendReply | SnapshotReply, now: float
    ) -> None:
        """Look at an answer that a leader has just taken in, and at what it echoes from then on."""
        contacts = self._contacts[life]
        leading = life.core._leading
        if leading is None or message.term != life.core.term or not message.round:
            return
        if sender not in leading.peers or leading.is_outlived(sender, message):
            return
        contacts.heard[sender] = now
        arrivals = contacts.arrivals.get(sender)
        if arrivals is None:
            arrivals = contacts.arrivals[sender] = deque()
        if not arrivals or message.sent > arrivals[-1][0]:
            arrivals.append((message.sent, now))
        echo = leading.peers[sender].echo
        if not echo:
            return
        while arrivals and arrivals[0][0] < echo:
            arrivals.popleft()
        if not arrivals or arrivals[0][0] != echo:
            self._fail(life, f"echoes to {sender} the time {echo}, which it was not told")
        elif arrivals[0][1] > life.core.quorum_contact + _ROUNDING:
            self._fail(
                life,
                f"echoes to {sender} what it heard at {arrivals[0][1]}; a quorum has followed it up"
                f" to {life.core.quorum_contact} only",
            )

    def check(self, life: Life) -> None:
        """Look why a node is sure of its session, if it is."""
        replica = life.replica
        until = replica.sure_until()
        if life.core.is_alone or until <= life.now():
            return
        contacts = self._contacts[life]
        newest = max(contacts.said, contacts.followed, self._followed_until(life, contacts))
        heard = replica._heard
        if heard > newest + _ROUNDING:
            self._fail(
                life,
                f"counts its session from {heard}; what a leader or a quorum can have confirmed is"
                f" not newer than {newest}",
            )
        if until > heard + self._ttl * _MARGIN + _ROUNDING:
            self._fail(
                life,
                f"is sure of its session for {until - heard:.3f} s from what was confirmed; its"
                f" ttl is {self._ttl} s, and clocks differ",
            )

    def _followed_until(self, life: Life, contacts: _Contacts) -> float:
        """Return when a quorum had answered in its term: no round it has confirmed is newer."""
        if life.core.log.membership_index > 1:
            # There were other memberships, under which less may have been a quorum.
            return life.now()
        answered = contacts.answered
        voices = [life.host.address]
        for peer in sorted(answered, key=answered.__getitem__, reverse=True):
            voices.append(peer)
            if life.core.membership.is_quorum(voices):
                return answered[peer]
        return 0.0

    def _expires(self, life: Life, contacts: _Contacts, session: int, now: float) -> None:
        sessions = life.table.sessions
        address, ttl = sessions.live().get(session, (None, 0.0))
        if address is None:
            return
        since = max(contacts.heard.get(address, 0.0), contacts.elected_at)
        if now - since < ttl - _ROUNDING:
            self._fail(
                life,
                f"ends session {session} of {address} after a silence of {now - since:.3f} s; its"
                f" ttl is {ttl} s",
            )
