"""The permits that only some simulated runs use: how callers hold them, and what must be true then.

A run has those whose names stand in its plan's `mixes`, as with `assorted`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..structs.conditions import ReplCondition
from ..structs.rlocks import ReplRLock
from ..structs.rwlocks import READ, WRITE, ReplRWLock
from ..structs.semaphores import ReplSemaphore
from .conditions import ConditionTwin, doze
from .history import NOT_APPLIED, Raised
from .locktwins import LockTwin
from .permitmodel import Admits, PermitModel, PermitTwin, fewer_than, reads_or_is_alone
from .violation import Violation

if TYPE_CHECKING:
    from .workload import Client, Load


class PermitKind(NamedTuple):
    """A type of permits, as runs use it."""

    make: Callable[[], Any]
    handles: Callable[[Any], dict[Any, Any]]
    """Return what callers acquire of such an object, by the kind of permit that it gives."""
    admits: Admits
    nests: bool = False
    """Whether callers acquire again what they hold: the log has nothing of that."""
    sleeps: bool = False
    """Whether callers sleep while they hold it, and wake each other."""

    def twin(self, owners: dict[Any, Any]) -> LockTwin:
        """Return a twin for its log."""
        if self.sleeps:
            return ConditionTwin(owners)
        return LockTwin(owners) if self.nests else PermitTwin(owners, self.admits)

    def model(self) -> PermitModel:
        """Return a model for what its callers saw."""
        return PermitModel(self.admits)


PERMITS: Final[dict[str, PermitKind]] = {
    "gate": PermitKind(
        lambda: ReplSemaphore(2), lambda gate: {None: gate}, fewer_than(2)
    ),
    "book": PermitKind(
        ReplRWLock, lambda book: {READ: book.reader, WRITE: book.writer}, reads_or_is_alone
    ),
    "nested": PermitKind(ReplRLock, lambda lock: {None: lock}, fewer_than(1), True),
    "condition": PermitKind(
        ReplCondition, lambda lock: {None: lock}, fewer_than(1), sleeps=True
    ),
}
"""By the name of the object, which is that of the kind of load too."""


async def hold(client: Client, name: str) -> None:
    """Acquire a permit or give up, rely on it for a while, and release it or forget to."""
    random, recorder = client.random, client.load.recorder
    handles = PERMITS[name].handles(client.life.consumers[name])
    kind = random.choice(list(handles))
    handle = handles[kind]
    arguments = random.choice(((), (False,), (True, random.random()), (True, 3.0)))
    record = recorder.begin(client.name, name, "acquire", kind)
    future = handle.acquire.submit(*arguments)
    recorder.follow(record, future)
    if not await client.done(future):
        future.cancel()
        return
    if _is_loss(record.outcome):
        raise Violation(f"{client.name} had nothing of {name!r}; told {record.outcome!r}")
    if record.outcome is not True:
        return
    token = handle.token
    if token is not None:
        record.outcome = token
    for _ in range(random.choice((0, 0, 1, 1, 2, 2, 3, 8))):
        if handle.held and handle.token == token:
            check_sure(client.load, name)
        if PERMITS[name].nests:
            nest(client, handle)
        if PERMITS[name].sleeps:
            await doze(client, name, handle)
            token = handle.token or token
        await asyncio.sleep(random.expovariate(1.0) * 0.3)
    if random.random() < 0.05 and not PERMITS[name].nests:
        return  # never released, as by a careless program, until the node ends
    # What was not applied, as by a node that is being removed, leaves it held.
    while await release(client, name, kind, token) is NOT_APPLIED and client.load.is_open:
        await asyncio.sleep(0.5)


async def release(client: Client, name: str, kind: Any, token: int | None) -> object:
    """Release what was granted under that token (None: lost at once); return how that ended."""
    handle = PERMITS[name].handles(client.life.consumers[name])[kind]
    seen = handle.token
    record = client.load.recorder.begin(client.name, name, "release", kind, seen)
    record.token = seen
    if seen not in (None, token):
        raise Violation(f"{client.name} was granted {token} of {name!r}, and would release {seen}")
    future = handle.release.submit()
    client.load.recorder.follow(record, future)
    while not await client.done(future) and client.load.is_open:
        pass
    if seen is None and not _is_loss(record.outcome):
        raise Violation(f"{client.name} has lost {token} of {name!r}; told {record.outcome!r}")
    return record.outcome


def nest(client: Client, handle: Any) -> None:
    """Acquire what this caller holds once more, and release it: whether it is sure is known here.

    Raises:
        Violation: it waits, or the lock is lost or free though the node is sure of it.
    """
    sure = handle.held
    inner = handle.acquire.submit()
    if not inner.done() or (inner.exception() is None) != sure:
        raise Violation(f"{client.name} holds {handle!r}, sure: {sure}; told {inner!r} again")
    if sure:
        outer = handle.release.submit()
        if not outer.done() or outer.exception() is not None or not handle.held:
            raise Violation(f"{client.name} has released {handle!r} once; told {outer!r}")


def _is_loss(outcome: object) -> bool:
    return isinstance(outcome, Raised) and outcome.kind.endswith("LockLost")


def check_sure(load: Load, name: str) -> None:
    """What all nodes that are sure of permits are sure of, goes together.

    Raises:
        Violation: it does not.
    """
    sure: list[Any] = []
    for life in load.simulation.lives():
        target = life.consumers[name]
        for grant in target._grants.values() if target._binding is not None else ():
            if not target._is_sure(grant):
                continue
            if not PERMITS[name].admits(sure, grant.key):
                raise Violation(
                    f"{life.host.address} is sure of {name!r} with token {grant.token} (for"
                    f" {grant.key}) besides others that are sure of {sure}"
                )
            sure.append(grant.key)
