"""Nothing is held or waited for in the cluster that its owner knows nothing of.

A lock that a caller gave up, was never told of or believes to have lost has to be free again, and
whoever has stopped waiting has to be out of the line: otherwise all others wait for ever. And who
still waits has to stand in a line, or nobody will ever serve him. Keys whose time is over are gone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from ..structs.grants import Grants
from ..structs.permits import Permits
from ..structs.queues import ReplQueue
from ..structs.ttl import ReplTTLDict
from .assorted import ASSORTED
from .presence import absences
from .violation import Violation

if TYPE_CHECKING:
    from .hosts import Life
    from .recording import Record
    from .workload import Load

_PATIENCE: Final = 5.0
"""Seconds within which a healthy cluster has carried out what cleans up; no key of a run lives for
so long, unless it lives for ever."""


def check_leaks(load: Load) -> None:
    """Check it, once all is well and nobody calls: what cleans up gets some time for it.

    Raises:
        Violation: something is held, or is waited for, by nobody; or somebody waits in no line.
    """
    simulation = load.simulation
    end = simulation.now + _PATIENCE
    while simulation.now < end and any(_leaks(load)):
        simulation.run(0.05)
    for leak in _leaks(load):
        raise Violation(leak)


def _leaks(load: Load) -> Iterator[str]:
    yield from absences(load)
    skipped = load.simulation.checks.skipped
    for life in load.simulation.lives():
        session = life.replica.outbox.session
        pending = _pending(load, life)
        for name, target in life.table.objects.items():
            if isinstance(target, ReplTTLDict) and target._ends:
                yield f"{[*target._ends]} of {name!r} have not ended on {life.host.address}"
            if isinstance(target, Grants | Permits):
                yield from _unknown_grants(life, name, target, session)
                waiting = Counter({
                    "acquire": sum(_count(line, session) for line in target._all_waiters()),
                })
            elif isinstance(target, ReplQueue) and life not in skipped:
                waiting = Counter({
                    "get": _count(target._getters, session),
                    "put": _count(target._putters, session),
                    "join": _count(target._joiners, session),
                })
            elif name in ASSORTED and life not in skipped:
                lines = ASSORTED[name].lines.items()
                waiting = Counter({m: _count(getattr(target, line), session) for m, line in lines})
            else:
                # Of a queue the answer may be lost, and its caller was told so.
                continue
            for method, count in waiting.items():
                if count != pending[name, method]:
                    yield (
                        f"in {name!r} {count} calls of {life.host.address} wait to {method}, but"
                        f" {pending[name, method]} of its callers do"
                    )
        for name, method in pending:
            if name not in life.table.objects:
                yield f"a call of {life.host.address} waits to {method} in {name!r}, which is gone"


def _unknown_grants(life: Life, name: str, locks: Any, session: int) -> Iterator[str]:
    known = {grant.token for grant in locks._grants.values()}
    for key, holder in locks._holders.items():
        token = key if isinstance(locks, Permits) else holder[2]
        if holder[0] == session and token not in known:
            yield (
                f"{key or name!r} of {name!r} is held by {life.host.address} with token {token},"
                f" which knows of {known} only: nobody will ever release it"
            )


def _count(waiters: object, session: int) -> int:
    return sum(owner == session for owner, _ in waiters)  # type: ignore[attr-defined]


def _pending(load: Load, life: Life) -> Counter[tuple[str, str]]:
    """Count the calls of a node's callers that have not ended, by object and kind."""
    prefix = f"{life.host.address}.{life.number}/"
    waits = Counter(
        (name, "get") for where, name, wait in load.waits if where is life and not wait.done()
    )
    return waits + Counter(
        (name, record.method.removesuffix("_nowait"))
        for name, records in load.recorder.records.items()
        for record in records
        if _waits(record, prefix)
    ) + Counter(
        (name, record.method.removesuffix("_nowait"))
        for name, record in load.recorder.made
        if _waits(record, prefix)
    )


def _waits(record: Record, prefix: str) -> bool:
    call = record.call
    return call is not None and record.process.startswith(prefix) and not call.done()
