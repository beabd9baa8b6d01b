"""Who waits longest is served first: a check on what each entry of the log did to the waiters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from ..codec import decode_many
from ..objects.batches import decode_groups
from ..structs.grants import Grants
from ..structs.queues import ReplQueue

if TYPE_CHECKING:
    from ..objects.table import Table
    from ..raft.messages import Entry

Waiter = tuple[int, int]
Lines = Mapping[tuple[str, str, Any], list[Waiter]]

# Commands by which a wait ends without being served, or a whole object.
_ENDINGS: Final = frozenset({
    "_stop_getting", "_stop_putting", "expire_session", "open_session", "drop", "shutdown",
})  # fmt: skip


def lines_of(table: Table) -> Lines:
    """Return who waits for each lock and each queue, the longest waiting first.

    Only lines of two and more: in others nobody is overtaken.
    """
    lines: dict[tuple[str, str, Any], list[Waiter]] = {}
    for name, target in table.objects.items():
        if isinstance(target, Grants):
            for key, line in target._lines.items():
                if len(line) > 1:
                    lines[name, "lock", key] = list(line)
        elif isinstance(target, ReplQueue):
            for what, waiters in (("get", target._getters), ("put", target._putters)):
                if len(waiters) > 1:
                    lines[name, what, None] = list(waiters)
    return lines


def overtaking(before: Lines, table: Table, entry: Entry) -> str | None:
    """Return who was served although another one had waited longer; None if all went in order.

    `before`: the lines before `entry` was applied to `table`.
    """
    for (name, what, key), line in before.items():
        target: Any = table.objects.get(name)
        if target is None:
            continue
        if what == "lock":
            still = target._lines.get(key, ())
            served = [waiter for waiter in line if target._holders.get(key, ())[:2] == waiter]
        else:
            still = set(target._getters if what == "get" else target._putters)
            served = [waiter for waiter in line if waiter not in still]
        for waiter in served:
            ahead = [other for other in line[: line.index(waiter)] if other in still]
            if ahead and (what == "lock" or not _ends_waits(entry)):
                return (
                    f"in {name!r} {waiter} (session, ticket) was served, while {ahead[0]} has"
                    f" waited longer to {what}"
                )
    return None


def _ends_waits(entry: Entry) -> bool:
    """Return whether some command of the entry may end a wait without serving it."""
    for group in decode_groups(entry.payload):
        for command in decode_many(group.count, group.commands):
            if command[1] in _ENDINGS:
                return True
    return False
