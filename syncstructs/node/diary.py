"""What a node's log says of the cluster's life: who leads, in which term, and who the members are.

It looks at the core after each turn of the driver and writes down what has changed, once. So the
core need not know of any log.
"""

import logging

from ..raft.core import RaftCore
from ..raft.membership import Membership

_log = logging.getLogger("syncstructs.node")


class Diary:
    """One node's; in the driver's thread."""

    def __init__(self, address: str, core: RaftCore) -> None:
        self._address = address
        self._leader: str | None = None
        self._term = 0
        """That of `_leader`."""
        self._membership: Membership = core.membership

    def note(self, core: RaftCore) -> None:
        """Write down what has changed since the last time; cheap if nothing has."""
        if core.leader != self._leader or (core.term != self._term and core.leader is not None):
            self._note_leader(core)
        membership = core.membership
        if membership is not self._membership:
            # The same value may be read anew from the log.
            if membership != self._membership:
                _log.info("%s: %s", self._address, _described(membership))
            self._membership = membership

    def _note_leader(self, core: RaftCore) -> None:
        if core.leader is None:
            _log.info("%s knows no leader any more, in term %d", self._address, core.term)
        elif core.leader == self._address:
            _log.info("%s leads in term %d", self._address, core.term)
        else:
            _log.info("%s follows %s in term %d", self._address, core.leader, core.term)
        self._leader, self._term = core.leader, core.term


def _described(membership: Membership) -> str:
    """Return a membership in words.

    >>> _described(Membership(("a:1", "b:1"), learners=("c:1",), outgoing=("a:1", "d:1")))
    'the voters are a:1, b:1; learners c:1; before a:1, d:1, whose majority is needed too'
    """
    text = f"the voters are {', '.join(membership.voters) or 'unknown'}"
    if membership.learners:
        text += f"; learners {', '.join(membership.learners)}"
    if membership.outgoing:
        text += f"; before {', '.join(membership.outgoing)}, whose majority is needed too"
    return text
