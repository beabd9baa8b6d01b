"""What a leader has been given to propose: groups of commands, each session's in order.

Filters what would only waste log: duplicates of what this leader already took in, and groups that
leave a gap, which the session table would drop when applying. The table has the last word.
"""

from collections import deque
from typing import Final

from .batches import encode_group

# Calls that are joined into one entry at the most: members apply an entry once all of it is there,
# and meanwhile a leader makes the next one.
_CALL_COUNT: Final = 4096


class Intake:
    """Groups of commands that wait to become entries of the present leader's term."""

    __slots__ = ("_accepted", "_call_count", "_groups", "_limit_bytes", "size_bytes")

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._groups: deque[tuple[int, bytes]] = deque()
        """Each with its number of calls."""
        self._call_count = 0
        self._accepted: dict[int, int] = {}
        self.size_bytes = 0

    def clear(self) -> None:
        """Forget everything: leadership was lost, or begins. The origins send again."""
        self._groups.clear()
        self._accepted.clear()
        self._call_count = self.size_bytes = 0

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
        self._append(count, encode_group(session, first, count, commands))
        return None

    def offer_system(self, command: bytes) -> None:
        """Queue a command of the cluster itself; it belongs to no session."""
        self._append(1, encode_group(0, 0, 1, command))

    def take(self, limit_bytes: int) -> bytes | None:
        """Return groups for one entry: up to `limit_bytes`, at least one; None if empty.

        Together they have no more than some thousands of calls, of which a batch is one.
        """
        groups = self._groups
        if not groups:
            return None
        taken: list[bytes] = []
        size = calls = 0
        while groups:
            count, group = groups[0]
            size += len(group)
            calls += count
            if taken and (size > limit_bytes or calls > _CALL_COUNT):
                size -= len(group)
                calls -= count
                break
            taken.append(group)
            groups.popleft()
        self._call_count -= calls
        self.size_bytes -= size
        return b"".join(taken) if len(taken) > 1 else taken[0]

    def entry_count(self, limit_bytes: int) -> int:
        """Return how many entries of `limit_bytes` will be made of what waits now, at about."""
        return max(self.size_bytes // limit_bytes, self._call_count // _CALL_COUNT)

    def _append(self, count: int, group: bytes) -> None:
        self._groups.append((count, group))
        self._call_count += count
        self.size_bytes += len(group)

    def _check(self) -> None:
        assert self.size_bytes == sum(len(group) for _, group in self._groups)
        assert self._call_count == sum(count for count, _ in self._groups)
