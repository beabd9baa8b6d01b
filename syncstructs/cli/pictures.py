"""A cluster as lines of text: what `status` prints once, and `top` again and again."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from .formats import count_of, plain, size_of, table, time_of

_HEAD: Final = (
    "member", "role", "term", "committed", "applied", "lag", "commands/s", "log", "snapshot",
    "disk", "",
)  # fmt: skip
_RIGHT: Final = (2, 3, 4, 5, 6, 7, 8, 9)
_RATE: Final = 6
_BARS: Final = " ▁▂▃▄▅▆▇█"
_ASCII_BARS: Final = " .:-=+*%#"
_RATE_COUNT: Final = 40
_NAMED_COUNT: Final = 3

Seen = Mapping[str, Any]
"""What the inquiry `cluster` gives; it came over a network, so nothing of it is certain."""


class Rates:
    """How fast members apply commands, from one picture to the next."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[float, int, float]] = {}
        self.history: deque[float] = deque(maxlen=_RATE_COUNT)
        """Of whoever is fastest, newest last."""

    def take_in(self, seen: Seen, now: float) -> dict[str, float]:
        """Note a picture, and return commands per second by member, as far as that is known."""
        rates: dict[str, float] = {}
        for address, status in statuses(seen).items():
            commands = status["applied_commands"]
            known = self._known.get(address)
            if known is not None and known[1] <= commands and now > known[0]:
                rates[address] = (commands - known[1]) / (now - known[0])
            self._known[address] = now, commands, rates.get(address, 0.0)
        if rates:
            self.history.append(max(rates.values()))
        return rates


def statuses(seen: Seen) -> dict[str, Any]:
    """Return the statuses of those members that answered what can be read."""
    members = seen.get("members")
    if not isinstance(members, dict):
        return {}
    return {
        str(address): status
        for address, status in sorted(members.items())
        if isinstance(status, dict) and _is_sound(status)
    }


def _is_sound(status: Mapping[str, Any]) -> bool:
    numbers = (
        "term", "commit_index", "applied_index", "applied_commands", "log_bytes", "snapshot_index",
        "snapshot_bytes", "object_count",
    )  # fmt: skip
    membership = status.get("membership")
    return (
        all(isinstance(status.get(name), int) for name in numbers)
        and isinstance(status.get("role"), str)
        and isinstance(status.get("peers"), dict)
        and isinstance(membership, dict)
        and all(isinstance(membership.get(k), list) for k in ("voters", "learners", "outgoing"))
    )


def leader_of(seen: Seen) -> str | None:
    """Return who leads in the newest term that anybody tells of; None: nobody, as far as told."""
    newest = max(statuses(seen).values(), key=lambda status: status["term"], default=None)
    leader = None if newest is None else newest.get("leader")
    return leader if isinstance(leader, str) else None


def headline(seen: Seen) -> str:
    """Return in one line how the cluster is."""
    known = statuses(seen)
    members = seen.get("members") or {}
    leader = leader_of(seen)
    term = max((status["term"] for status in known.values()), default=0)
    name = next((status.get("cluster") for status in known.values()), "?")
    led = f"led by {leader}" if leader else "NO LEADER"
    watching, differing = observers(seen), differing_objects(seen)
    return _in_one_line(
        f"cluster {name}: {led}, term {term:,}; {len(known)} of"
        f" {count_of(len(members), 'member')} answer"
        + (f"; {count_of(len(watching), 'observer')}" if watching else "")
        + (f"; MEMBERS DIFFER in {_some(differing)}" if differing else "")
    )


def observers(seen: Seen) -> list[str]:
    """Return the observers that the leader speaks to."""
    known, leader = statuses(seen), leader_of(seen)
    peers = known[leader]["peers"] if leader in known else {}
    # Only they have names that are no addresses.
    return sorted(str(peer) for peer in peers if ":" not in str(peer))


def differing_objects(seen: Seen) -> list[str]:
    """Return the objects of which members were found to have different states."""
    found = set()
    for status in statuses(seen).values():
        objects = status.get("objects")
        for name, one in objects.items() if isinstance(objects, dict) else ():
            if isinstance(one, dict) and one.get("diverged"):
                found.add(str(name))
    return sorted(found)


def largest_objects(seen: Seen, count: int) -> list[str]:
    """Return the lines of a table of the largest objects, as far as sizes are known."""
    found: dict[str, tuple[int, str]] = {}
    for status in statuses(seen).values():
        objects = status.get("objects")
        for name, one in objects.items() if isinstance(objects, dict) else ():
            size_bytes = one.get("size_bytes") if isinstance(one, dict) else None
            if isinstance(size_bytes, int) and size_bytes > found.get(name, (0, ""))[0]:
                found[name] = size_bytes, str(one.get("type"))
    order = sorted(found, key=lambda name: (-found[name][0], name))[:count]
    cells = [(name, size_of(found[name][0]), found[name][1]) for name in order]
    return table([("object", "size", "class"), *map(_cells, cells)], right=[1]) if cells else []


def _cells(row: Sequence[str]) -> Sequence[str]:
    return [_in_one_line(cell) for cell in row]


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED_COUNT} more" if len(names) > _NAMED_COUNT else ""
    return ", ".join(repr(name[:40]) for name in names[:_NAMED_COUNT]) + more


def rows(seen: Seen, rates: Mapping[str, float] | None) -> list[tuple[str, str]]:
    """Return the lines of a table of members, each with what it is: a role, 'head' or 'silent'.

    `rates`: as of `Rates.take_in`; without, the table has no such column.
    """
    known, leader = statuses(seen), leader_of(seen)
    peers = known[leader]["peers"] if leader in known else {}
    cells: list[Sequence[str]] = [_HEAD]
    kinds = ["head"]
    for address in sorted(seen.get("members") or {}):
        status = known.get(address)
        peer = peers.get(address) if isinstance(peers.get(address), dict) else None
        if status is None:
            cells.append((address, "no answer", "", "", "", _lag(peer), "", "", "", "", ""))
            kinds.append("silent")
        else:
            cells.append(_row(address, status, peer, (rates or {}).get(address)))
            kinds.append("silent" if status.get("failure") else status["role"])
    right = list(_RIGHT)
    if rates is None:
        cells = [(*row[:_RATE], *row[_RATE + 1 :]) for row in cells]
        right = [at - (at > _RATE) for at in _RIGHT if at != _RATE]
    lines = table([[_in_one_line(cell) for cell in row] for row in cells], right=right)
    return list(zip(lines, kinds, strict=True))


def _in_one_line(text: str) -> str:
    return plain(text).replace("\n", " ")


def _row(
    address: str, status: Mapping[str, Any], peer: Mapping[str, Any] | None, rate: float | None
) -> Sequence[str]:
    disk = status.get("disk")
    recent = disk.get("append_time_recent") if isinstance(disk, dict) else None
    snapshot = "-"
    if status["snapshot_index"]:
        snapshot = f"{status['snapshot_index']:,} {size_of(status['snapshot_bytes'])}"
    return (
        address,
        "stopped" if status.get("failure") else status["role"],
        f"{status['term']:,}",
        f"{status['commit_index']:,}",
        f"{status['applied_index']:,}",
        _lag(peer),
        "-" if rate is None else f"{rate:,.0f}",
        size_of(status["log_bytes"]),
        snapshot,
        time_of(recent) if isinstance(recent, float | int) else "memory",
        _note(address, status, peer),
    )


def _lag(peer: Mapping[str, Any] | None) -> str:
    """Return how far a member is behind its leader; '-' if that is not known."""
    if peer is None or not peer.get("match_index"):
        return "-"
    lag = peer.get("lag_entries")
    return f"{lag:,}" if isinstance(lag, int) else "-"


def _note(address: str, status: Mapping[str, Any], peer: Mapping[str, Any] | None) -> str:
    """Return what is out of the ordinary about a member."""
    membership = status["membership"]
    if status.get("failure"):
        return str(status["failure"])[:200]
    notes = []
    if address in membership["learners"]:
        notes.append("learner")
    elif address in membership["outgoing"] and address not in membership["voters"]:
        notes.append("about to leave")
    if status.get("recovering"):
        notes.append("recovers")
    if peer is not None and isinstance(peer.get("snapshot_bytes"), int) and peer["snapshot_bytes"]:
        share = 100 * peer.get("snapshot_offset", 0) / peer["snapshot_bytes"]
        notes.append(f"snapshot {share:.0f} % of {size_of(peer['snapshot_bytes'])}")
    return ", ".join(notes)


def spark(history: Sequence[float], encoding: str | None = "utf-8") -> str:
    """Return figures as a row of bars that the encoding has, the highest for the greatest.

    >>> spark([0.0, 4.0, 8.0]), spark([0.0, 4.0, 8.0], "latin-1")
    (' ▄█', ' =#')
    """
    bars = _BARS if _has(encoding, _BARS) else _ASCII_BARS
    top = max(history, default=0.0) or 1.0
    return "".join(bars[round(figure / top * (len(bars) - 1))] for figure in history)


def _has(encoding: str | None, text: str) -> bool:
    try:
        text.encode(encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
