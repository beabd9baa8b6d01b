"""`ReplOnce`: its model, and callers that run, fail, and are too late."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable
from typing import TYPE_CHECKING

from ..errors import SyncError, Timeout
from .history import NOT_APPLIED, UNKNOWN, Op, Raised
from .sequential import ILLEGAL, Model, Transition, same_call
from .violation import Violation

if TYPE_CHECKING:
    from .workload import Client


class OnceModel(Model):
    """`ReplOnce`: `run(value)`, recorded with what its function would return, and `done`.

    All are told the value of the first run that counted; one that raises does not count.
    """

    READS = frozenset({"done"})

    def initial(self) -> Hashable:
        """Return that no run has counted."""
        return None

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for operations that do the same in every state."""
        return same_call(op)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method == "done":
            return lambda state: state if op.outcome is (state is not None) else ILLEGAL
        if op.method != "run":
            raise ValueError(f"{type(self).__name__} has no method {op.method!r}")
        if isinstance(op.outcome, Raised):
            # It was run, so that none had counted when it began.
            return lambda state: state if state is None else ILLEGAL
        value = op.args[0]

        def run(state: Hashable) -> Hashable:
            after: Hashable = value if state is None else state
            return after if op.outcome in (after, UNKNOWN) else ILLEGAL

        return run


async def run_once(client: Client, name: str) -> None:
    """Run a function that mostly fails, after a while."""
    load, random, once = client.load, client.random, client._objects[name]
    recorder, fence = load.recorder, load.fence(name)
    value = load.number()
    record = recorder.begin(client.name, name, "run", value)
    tokens = []

    async def function() -> int:
        tokens.append(once.token)
        fence.write(once.token, sure=False, who=client.name)
        await asyncio.sleep(random.expovariate(1.0) * 0.3)
        if random.random() < 0.8:
            raise ZeroDivisionError
        return value

    try:
        result = await once.run_async(function, timeout=random.choice((None, 0.3, 3.0)))
    except Timeout:
        record.outcome = NOT_APPLIED
    except (SyncError, ZeroDivisionError) as error:
        recorder.fail(record, error)
    else:
        record.outcome, record.end = result, recorder.clock()
        if result == value and tokens[-1] < fence.greatest:
            raise Violation(f"the run with token {tokens[-1]} counts; {fence.greatest} had begun")
