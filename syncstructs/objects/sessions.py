"""Sessions: which nodes the log knows, and how far the calls of each have been applied.

Part of the replicated state. A node that starts opens a session through the log and numbers its
calls in it from 1 on; number n + 1 is applied after n only, so whatever is sent again is applied
once, and what comes too early is dropped and sent again (Raft dissertation, 6.3). A session ends
by a command of the leader, which has not heard from the node for its `ttl`, or when the node opens
another one.
"""

from typing import Any

import msgspec

from ..config import is_nameless

# Observers without a session that are remembered.
_OBSERVERS_MAX = 1024
# Former lives of an address that are remembered, so that nothing late can bring them back.
_FORMER_MAX = 16


class Session(msgspec.Struct):
    """A live session."""

    address: str
    ttl: float
    """Silence in seconds after which the leader lets the session expire."""
    last: int = 0
    """The sequence number of the last call applied; 0 before the first."""


class _Opening(msgspec.Struct):
    """The newest session that an address has opened, and the incarnations it had before."""

    incarnation: int
    attempt: int
    session: int
    former: list[int]


class Sessions:
    """All live sessions, and for each address the newest one even if it has expired."""

    __slots__ = ("_forgotten", "_idle", "_live", "_newest")

    def __init__(self) -> None:
        self._live: dict[int, Session] = {}
        self._newest: dict[str, _Opening] = {}
        # Observers without a session, in the order in which they lost it, as in `_newest`.
        self._idle: dict[str, None] = {}
        self._forgotten: list[str] = []

    def open(
        self, address: str, incarnation: int, attempt: int, ttl: float, serial: int
    ) -> int | None:
        """Open a session named `serial`; None if this is a late duplicate of a former opening.

        An older session of the address is no longer live after this; the caller, who has to make
        the objects give it up, asks `of_address` before.
        """
        newest = self._newest.get(address)
        former: list[int] = []
        if newest is not None:
            # Without this, a duplicate on its way for long would end the session in use.
            if incarnation in newest.former:
                return None
            if incarnation == newest.incarnation:
                if attempt <= newest.attempt:
                    return None
                former = newest.former
            else:
                former = [*newest.former, newest.incarnation][-_FORMER_MAX:]
            self._live.pop(newest.session, None)
        self._idle.pop(address, None)
        self._newest[address] = _Opening(incarnation, attempt, serial, former)
        self._live[serial] = Session(address, ttl)
        return serial

    def accept(self, session: int, first: int, count: int) -> tuple[int, int]:
        """Take note of calls `first` to `first + count - 1`; return (calls to skip, to apply).

        Duplicates are skipped. Calls after a gap, and calls of a session that is not live, are
        dropped whole.
        """
        live = self._live.get(session)
        if live is None:
            return 0, 0
        skip = live.last + 1 - first
        if skip < 0 or skip >= count:
            return 0, 0
        live.last = first + count - 1
        return skip, count - skip

    def expire(self, session: int) -> bool:
        """End a session; False if it was not live."""
        ended = self._live.pop(session, None)
        if ended is None:
            return False
        if is_nameless(ended.address):
            self._forget_observers(ended.address)
        return True

    def _forget_observers(self, gone: str) -> None:
        """Remember of the observers that have no session only those that lost theirs last.

        Their names are used once, and there may be any number of them in a year. If one is
        forgotten before it knows that its session has ended, and comes back, it has another one.
        """
        self._newest[gone] = self._newest.pop(gone)
        self._idle[gone] = None
        while len(self._idle) > _OBSERVERS_MAX:
            address = next(iter(self._idle))
            del self._idle[address], self._newest[address]
            self._forgotten.append(address)

    def take_forgotten(self) -> list[str]:
        """Return the observers that were forgotten since the last time."""
        forgotten, self._forgotten = self._forgotten, []
        return forgotten

    def last(self, session: int) -> int | None:
        """Return the number of the last call applied (0 before the first); None if not live."""
        live = self._live.get(session)
        return None if live is None else live.last

    def owner(self, session: int) -> str | None:
        """Return the address of the node whose session it is; None if it is not live."""
        live = self._live.get(session)
        return None if live is None else live.address

    def live(self) -> dict[int, tuple[str, float]]:
        """Return address and ttl in seconds of every live session, by its id, oldest first."""
        return {id_: (session.address, session.ttl) for id_, session in self._live.items()}

    def of_address(self, address: str) -> int | None:
        """Return the live session of an address, or None."""
        newest = self._newest.get(address)
        return newest.session if newest is not None and newest.session in self._live else None

    def find(self, address: str, incarnation: int, attempt: int) -> int | None:
        """Return the session that this very attempt has opened; None if it is not live."""
        newest = self._newest.get(address)
        if newest is None or (newest.incarnation, newest.attempt) != (incarnation, attempt):
            return None
        return newest.session if newest.session in self._live else None

    def last_attempt(self, address: str, incarnation: int) -> int:
        """Return the newest attempt that this life of the address has made; 0 if none is known.

        A node whose session was opened and expired unseen must go on with a higher number.
        """
        newest = self._newest.get(address)
        return newest.attempt if newest is not None and newest.incarnation == incarnation else 0

    def state(self) -> list[object]:
        """Return everything as a value for an image."""
        return [
            [[id_, s.address, s.ttl, s.last] for id_, s in self._live.items()],
            [
                [address, n.incarnation, n.attempt, n.session, list(n.former)]
                for address, n in self._newest.items()
            ],
        ]

    def restore(self, state: Any) -> None:
        """Replace everything by what `state` returned."""
        live, newest = state
        self._live = {id_: Session(address, ttl, last) for id_, address, ttl, last in live}
        self._newest = {
            address: _Opening(incarnation, attempt, session, list(former))
            for address, incarnation, attempt, session, former in newest
        }
        self._idle = {
            address: None
            for address, opening in self._newest.items()
            if is_nameless(address) and opening.session not in self._live
        }
        self._forgotten.clear()

    def _check(self) -> None:
        for id_, session in self._live.items():
            assert session.last >= 0, (id_, session)
            assert self._newest[session.address].session == id_, (id_, session, self._newest)
        for address, newest in self._newest.items():
            assert newest.incarnation not in newest.former, (address, newest)
            assert len(newest.former) <= _FORMER_MAX, (address, newest)
        idle = [
            address
            for address, opening in self._newest.items()
            if is_nameless(address) and opening.session not in self._live
        ]
        assert list(self._idle) == idle, (self._idle, idle)
