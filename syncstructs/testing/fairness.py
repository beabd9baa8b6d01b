"""Locks and lines of waiters: what each entry of the log did to them, and whether it might.

Who waits longest is served first. Who holds a lock keeps it until it releases it, gives it up, or
its session ends; and each grant has a greater token than the one before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ..codec import decode_many
from ..objects.batches import decode_groups
from ..raft.messages import EntryKind
from ..structs.grants import Grants
from ..structs.queues import ReplQueue

if TYPE_CHECKING:
    from ..objects.table import Table
    from ..raft.messages import Entry

Waiter = tuple[int, int]
Holder = tuple[int, int, int]

# Commands by which a wait in a queue ends without being served, or a whole object does.
_ENDINGS: Final = frozenset({
    "_stop_getting", "_stop_putting", "expire_session", "open_session", "drop", "shutdown",
})  # fmt: skip


class Waits:
    """Who holds each lock, and who waits for what, before an entry is applied."""

    __slots__ = ("_holders", "_lines", "_table")

    def __init__(self, table: Table) -> None:
        self._table = table
        self._holders: list[tuple[str, dict[Any, Holder]]] = []
        # Only lines of two and more: in others nobody is overtaken.
        self._lines: dict[tuple[str, str, Any], list[Waiter]] = {}
        # All of it in one loop: what is here is paid for every entry, on every node.
        kinds = _KINDS
        for record in table._directory.records.values():
            target: Any = record.live
            kind = kinds[target.__class__]
            if kind is Grants:
                if target._holders:
                    self._holders.append((record.name, target._holders.copy()))
                for key, line in target._lines.items():
                    if len(line) > 1:
                        self._lines[record.name, "lock", key] = list(line)
            elif kind is ReplQueue:
                getters, putters = target._getters._waiting, target._putters._waiting
                if len(getters) > 1:
                    self._lines[record.name, "get", None] = list(getters)
                if len(putters) > 1:
                    self._lines[record.name, "put", None] = list(putters)

    def wrong_after(self, entry: Entry) -> str | None:
        """Return what `entry` has done and should not have done; None if all is in order."""
        if not self._holders and not self._lines:
            return None
        return self._overtaking(entry) or self._taking(entry)

    def _overtaking(self, entry: Entry) -> str | None:
        for (name, what, key), line in self._lines.items():
            target = self._instance(name)
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

    def _taking(self, entry: Entry) -> str | None:
        for name, before in self._holders:
            target = self._instance(name)
            # Most entries pass no lock on, and two dictionaries are compared fast.
            if target is not None and target._holders != before:
                wrong = self._wrongly_taken(name, before, target._holders, entry)
                if wrong is not None:
                    return wrong
        return None

    def _instance(self, name: str) -> Any:
        """Return what stands for an object now; None: it is gone, or not attached here."""
        record = self._table._directory.records.get(name)
        return None if record is None else record.live

    def _wrongly_taken(
        self, name: str, before: dict[Any, Holder], after: dict[Any, Holder], entry: Entry
    ) -> str | None:
        for key, (session, ticket, token) in before.items():
            now = after.get(key)
            if now == (session, ticket, token):
                continue
            if now is not None and now[2] <= token:
                return f"{name!r} passed from {token} to token {now[2]}"
            if self._table.sessions.last(session) is None:
                continue
            mine = [(method, args) for owner, method, args in _commands(entry) if owner == session]
            if (
                ("_release", [key, token]) not in mine
                and ("_withdraw", [key, ticket]) not in mine
                and not any(m == "_sleep" and args[::2] == [key, token] for m, args in mine)
                and all(method != "batch" for method, _ in mine)
            ):
                return (
                    f"{name!r} was taken from session {session} (token {token}), which lives and"
                    " had not released it"
                )
        return None


class _Kinds(dict[type, type | None]):
    """By class, which of the classes with waits it is; None: there are no waits in it."""

    def __missing__(self, kind: type) -> type | None:
        found = next((known for known in (Grants, ReplQueue) if issubclass(kind, known)), None)
        self[kind] = found
        return found


_KINDS: Final = _Kinds()


def _ends_waits(entry: Entry) -> bool:
    """Return whether some command of the entry may end a wait without serving it."""
    return any(method in _ENDINGS for _, method, _ in _commands(entry))


def _commands(entry: Entry) -> Iterator[tuple[int, str, list[Any]]]:
    """Yield session, method and arguments of each command of an entry."""
    for group in decode_groups(entry.payload) if entry.kind is EntryKind.BATCH else ():
        for _, method, args, *_ in decode_many(group.count, group.commands):
            yield group.session, method, args
