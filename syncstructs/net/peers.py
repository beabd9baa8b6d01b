"""Peers: the nodes that a transport knows of, which are the members it was told and its guests.

A **member** is a node that this one was told to keep a link to; it is known for as long as that
holds, linked or not. A **guest** is a node of the same cluster that is not among them: one that
is not a member yet, or any more, or of which this node has not heard yet that it is. It came by
itself, or was a member, and is known only while there is a link to it or it is being called back.

Whoever knows the name of the cluster can be a guest, so their number is bounded. Nameless ones,
which are observers and consoles, are counted for themselves: there may be hundreds of them.
"""

from collections.abc import Collection

from ..config import is_nameless
from ..errors import ConfigError
from .peer import Peer
from .sockets import open_files_limit

GUEST_COUNT = 256
"""One guest more is turned away. Former members stay beyond this: those are the node's doing."""

# Files that a process needs for other things: its logs, 256 connections that have not greeted, and
# what the program around the node has open. Nameless guests get the rest.
_FILES_KEPT = 640
_NAMELESS_MIN, _NAMELESS_MAX = 16, 4096


def nameless_limit() -> int:
    """Return how many nameless guests a node takes: what the limit of open files leaves.

    Of a low limit it is a quarter, so that something is left for the logs.
    """
    files = open_files_limit()
    return min(max(files - _FILES_KEPT, files // 4, _NAMELESS_MIN), _NAMELESS_MAX)


class Peers:
    """Members and guests by name; no name is both, and none is the own one.

    Raises:
        ConfigError: a name is no address.
    """

    def __init__(self, own: str, members: Collection[str]) -> None:
        self._own = own
        self._nameless_count = nameless_limit()
        self.members: dict[str, Peer] = {}
        self.guests: dict[str, Peer] = {}
        self.set_members(members)

    def get(self, name: str) -> Peer | None:
        """Return the peer of that name, or None."""
        return self.members.get(name) or self.guests.get(name)

    def __getitem__(self, name: str) -> Peer:
        return self.members[name] if name in self.members else self.guests[name]

    def __contains__(self, name: str) -> bool:
        return name in self.members or name in self.guests

    def set_members(self, names: Collection[str]) -> tuple[list[Peer], list[Peer]]:
        """Let exactly these be the members; return who has become one, and who is one no more.

        A guest among them stays the peer it was. Who is a member no more is a guest from now on,
        and to be forgotten with `forget` unless there is a link to it.

        Raises:
            ConfigError: a name is no address; nothing has changed then.
        """
        members = {
            name: self.get(name) or Peer(name) for name in dict.fromkeys(names) if name != self._own
        }
        joined = [peer for name, peer in members.items() if name not in self.members]
        left = [peer for name, peer in self.members.items() if name not in members]
        self.members = members
        for peer in joined:
            self.guests.pop(peer.name, None)
        for peer in left:
            peer.was_member = True
            self.guests[peer.name] = peer
        return joined, left

    def has_room(self, name: str) -> bool:
        """Return whether `admit` would find or make a peer of that name."""
        if name in self:
            return True
        nameless = is_nameless(name)
        count = sum(is_nameless(guest) == nameless for guest in self.guests)
        return count < self.limit(name)

    def limit(self, name: str) -> int:
        """Return how many guests like the one of that name there may be."""
        return self._nameless_count if is_nameless(name) else GUEST_COUNT

    def admit(self, name: str) -> Peer | None:
        """Return the peer of that name, as a new guest if it was not known; None: no room."""
        if name == self._own or not self.has_room(name):
            return None
        peer = self.get(name)
        if peer is None:
            try:
                peer = self.guests[name] = Peer(name)
            except ConfigError:
                return None
        return peer

    def is_guest(self, peer: Peer) -> bool:
        """Return whether this very peer is a guest at present."""
        return self.guests.get(peer.name) is peer

    def forget(self, peer: Peer) -> None:
        """Forget a guest if there is neither a link to it nor a dial under way."""
        if self.is_guest(peer) and peer.connection is None and peer.dialling is None:
            del self.guests[peer.name]

    def _check(self) -> None:
        assert self._own not in self, self._own
        assert not self.members.keys() & self.guests.keys(), (self.members, self.guests)
        named = [guest for guest in self.guests.values() if guest.address is not None]
        assert sum(not guest.was_member for guest in named) <= GUEST_COUNT
        assert len(self.guests) - len(named) <= self._nameless_count
        for name, peer in (*self.members.items(), *self.guests.items()):
            assert peer.name == name, (peer.name, name)
            peer._check()
        for name, guest in self.guests.items():
            assert guest.connection is not None or guest.dialling is not None, name
