"""How many commands an entry holds, counted anew: each has a serial of its own, in batches too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..codec import decode_many
from ..objects.batches import decode_groups
from ..raft.messages import EntryKind

if TYPE_CHECKING:
    from ..objects.table import Table
    from ..raft.messages import Entry


def expected_serial(table: Table, entry: Entry) -> int | None:
    """Return the serial that `table` will have after an entry with batches; None: with none.

    Entries that may open or end sessions are left out, and those with transactions: what follows in
    them depends on that.
    """
    if entry.kind is not EntryKind.BATCH or b"batch" not in entry.payload:
        return None
    if b"transact" in entry.payload:
        return None
    serial, applied = table.serial, dict[int, int]()
    for group in decode_groups(entry.payload):
        commands: list[Any] = decode_many(group.count, group.commands)
        if group.session:
            last = applied.get(group.session, table.sessions.last(group.session))
            if last is None or group.first_sequence > last + 1:
                continue
            commands = commands[last + 1 - group.first_sequence :]
            applied[group.session] = last + len(commands)
        elif any(command[1] in ("open_session", "expire_session") for command in commands):
            return None
        for target, method, args, *_ in commands:
            serial += 1
            if target == 0 and method == "batch":
                # Of a run, the fourth part tells how many arguments each call has.
                serial += sum(
                    len(call[2]) // call[3] if type(call[-1]) is int else 1 for call in args[0]
                )
    return serial
