"""What a leader has been given to propose: groups of commands, each session's in order.

Filters what would only waste log: duplicates of what this leader already took in, and groups that
leave a gap, which the session table would drop when applying. The table has the last word.
"""

from collections import deque

from .batches import encode_group


class Intake:
    """Groups of commands that wait to become entries of the present leader's term."""

    __slots__ = ("_accepted", "_groups", "_limit_bytes", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._groups: deque[bytes] = deque()
        self._accepted: dict[int, int] = {}
        self.size_bytes = 0

    def clear(self) -> None:
        """Forget everything: leadership was lost, or begins. The origins send again."""
        self._groups.clear()
        self._accepted.clear()
        self.size_bytes = 0

    def offer(self, session: int, first: int, count: int, commands: bytes, last: int) -> int | None:
        """Queue a group; return None, or the number that `session` must send from if not taken.

        `last` is the highest number of the session in the log before this leader's term; the
        caller knows it once it has applied an entry of its own term.
        """
        accepted = self._accepted.get(session, last)
        if first > accepted + 1:
            return accepted + 1
        if first + count - 1 <= accepted:
            return None
        if self.size_bytes + len(commands) > self._limit_bytes and self._groups:
            return accepted + 1
        self._accepted[session] = first + count - 1
        self._append(encode_group(session, first, count, commands))
        return None

    def offer_system(self, command: bytes) -> None:
        """Queue a command of the cluster itself; it belongs to no session."""
        self._append(encode_group(0, 0, 1, command))

    def take(self, limit_bytes: int) -> bytes | None:
        """Return groups for one entry: up to `limit_bytes`, at least one; None if empty."""
        groups = self._groups
        if not groups:
            return None
        taken = [groups.popleft()]
        size = len(taken[0])
        while groups and size + len(groups[0]) <= limit_bytes:
            size += len(groups[0])
            taken.append(groups.popleft())
        self.size_bytes -= size
        return b"".join(taken) if len(taken) > 1 else taken[0]

    def _append(self, group: bytes) -> None:
        self._groups.append(group)
        self.size_bytes += len(group)

    def _check(self) -> None:
        assert self.size_bytes == sum(len(group) for group in self._groups)
