"""The story of a run: a table of who knew what when, with what befell the cluster in between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from .hosts import Host, Life, Watcher
from .plans import Plan
from .runs import Failure, Run, quietly

if TYPE_CHECKING:
    from ..storage.base import LogStore

_WIDTH: Final = 26
_ROLES: Final = {
    "LEADER": "leads", "FOLLOWER": "follows", "CANDIDATE": "stands", "PRE_CANDIDATE": "asks",
}  # fmt: skip


class Story(Watcher):
    """What happens in a run, line by line: the turns of the plot, and the end in detail.

    A turn is a fault, or a node's new term or role. Up to `length` turns and as many other lines
    are kept, the last ones.
    """

    def __init__(self, run: Run, *, length: int = 60) -> None:
        self._run = run
        self._turns: deque[tuple[int, str]] = deque(maxlen=length)
        self._details: deque[tuple[int, str]] = deque(maxlen=length)
        self._states: dict[str, tuple[object, ...]] = {}
        self._count = 0
        self._noted = 0
        self._inner: Watcher = run.simulation.checks
        for host in run.simulation.hosts.values():
            host.watcher = self

    def opened(self, life: Life, log: LogStore) -> LogStore:
        return self._inner.opened(life, log)

    def sends(self, life: Life, peer: str, payload: bytes) -> None:
        self._inner.sends(life, peer, payload)

    def ended(self, life: Life) -> None:
        self._inner.ended(life)
        self._states.pop(life.host.address, None)
        self._row(f"{life.host.address} is gone")

    def erased(self, host: Host) -> None:
        self._inner.erased(host)

    def touched(self, life: Life) -> None:
        self._catch_up()
        if life.node is not None:
            core = life.core
            log = core.log
            last = log.last_id
            state = (core.role.name, core.term, core.commit_index, last.index, last.term)
            before = self._states.get(life.host.address)
            if before != state:
                self._states[life.host.address] = state
                self._row(turn=before is None or before[:2] != state[:2])
        self._inner.touched(life)

    def _catch_up(self) -> None:
        """Tell what the nemesis did and what callers did since the last line."""
        nemesis = self._run.nemesis
        if nemesis is not None:
            for _, what in nemesis.log[self._noted :]:
                self._row(f"** {what} **")
            self._noted = len(nemesis.log)

    def _row(self, what: str = "", *, turn: bool = True) -> None:
        now = self._run.simulation.now - self._run.simulation.schedule.begin
        if not what:
            cells = [self._cell(address) for address in self._run.simulation.addresses]
            what = "".join(f"{cell:{_WIDTH}}" for cell in cells).rstrip()
        self._count += 1
        (self._turns if turn else self._details).append((self._count, f"{now:9.4f}  {what}"))

    def _cell(self, address: str) -> str:
        state = self._states.get(address)
        if state is None:
            return "-"
        role, term, commit, last, last_term = state
        return f"{_ROLES.get(str(role), role)} {term}, {commit} of {last}@{last_term}"

    def lines(self) -> Iterator[str]:
        """Yield the table: a head, and a line per change."""
        addresses = self._run.simulation.addresses
        yield " " * 11 + "".join(f"{address:{_WIDTH}}" for address in addresses).rstrip()
        yield " " * 11 + "role term, commit index of last index@its term"
        told = 0
        for number, line in sorted([*self._turns, *self._details]):
            if told and number > told + 1:
                yield " " * 11 + "..."
            told = number
            yield line

    def __str__(self) -> str:
        return "\n".join(self.lines())


def tell(plan: Plan, *, length: int = 60) -> str:
    """Carry out a plan once more, and return its story, how it ended included."""
    run = Run(plan)
    story = Story(run, length=length)
    end = "and all was well"
    with quietly():
        try:
            run.go()
        except Exception as error:
            first = run.simulation.checks.violation or error
            end = f"{type(first).__name__}: {first}"
    plot = [f"A cluster of {plan.size}, {len(plan.faults)} faults: {plan}", str(story)]
    return "\n".join([*plot, end])


def explain(failure: Failure) -> str:
    """Return a failure with its story and the token that replays it."""
    return f"{tell(failure.plan)}\nreplay with the token {failure.plan.token()}"
