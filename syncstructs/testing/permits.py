"""The permits that only some simulated runs use: how callers hold them, and what must be true then.

A run has those whose names stand in its plan's `mixes`, as with `assorted`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..structs.semaphores import ReplSemaphore
from .history import Raised
from .permitmodel import Admits, PermitModel, PermitTwin
from .violation import Violation

if TYPE_CHECKING:
    from .locktwins import LockTwin
    from .workload import Client, Load


class PermitKind(NamedTuple):
    """A type of permits, as runs use it."""

    make: Callable[[], Any]
    handles: Callable[[Any], dict[Any, Any]]
    """Return what callers acquire of such an object, by the kind of permit that it gives."""
    admits: Admits

    def twin(self, owners: dict[Any, Any]) -> LockTwin:
        """Return a twin for its log."""
        return PermitTwin(owners, self.admits)

    def model(self) -> PermitModel:
        """Return a model for what its callers saw."""
        return PermitModel(self.admits)


def _fewer_than(limit: int, held: Collection[Any], kind: Any) -> bool:
    return len(held) < limit


PERMITS: Final[dict[str, PermitKind]] = {
    "gate": PermitKind(
        lambda: ReplSemaphore(2), lambda gate: {None: gate}, partial(_fewer_than, 2)
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
    token = handle.token
    if record.outcome is not True or token is None:
        return
    record.outcome = token
    for _ in range(random.choice((0, 0, 1, 1, 2, 2, 3, 8))):
        if handle.held and handle.token == token:
            check_sure(client.load, name)
        await asyncio.sleep(random.expovariate(1.0) * 0.3)
    if random.random() < 0.05:
        return  # never released, as by a careless program, until the node ends
    seen = handle.token
    record = recorder.begin(client.name, name, "release", kind, seen)
    record.token = seen
    if seen not in (None, token):
        raise Violation(f"{client.name} was granted {token} of {name!r}, and would release {seen}")
    future = handle.release.submit()
    recorder.follow(record, future)
    await client.done(future)
    if seen is None and not (
        isinstance(record.outcome, Raised) and record.outcome.kind.endswith("LockLost")
    ):
        raise Violation(f"{client.name} has lost {token} of {name!r}; told {record.outcome!r}")


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
                raise Violation(f"besides {sure} of {name!r}, {life.host.address} has {grant}")
            sure.append(grant.key)
