"""Bugs planted in the engine, to see that the torture bites: `selftest()`.

A planted bug is a patch of a few words to the source of some functions. It is applied in memory
while a `with bug.planted():` lasts: the patched source is compiled, and the functions get the code
that comes out, wherever a reference to them is held. No file is changed, and afterwards each
function has its own code again.
"""

from __future__ import annotations

import importlib
import inspect
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from types import CodeType, FunctionType
from typing import Any, Final, NamedTuple, TextIO

from msgspec.structs import replace

from ..compiled import IS_COMPILED
from .plans import Plan, draw_plan
from .runs import Failure, run_plan

_ENGINE: Final = "syncstructs"
_STORM: Final = 1_000_000
"""A run that takes more than so many events is taken for a storm; most sane ones take a hundredth,
those with a command per entry and an entry per message up to three quarters."""
_DISK_FAULTS: Final = ("full_disk", "failing_disk", "failing_sync", "rot")


class StaleBug(Exception):
    """The source is another one than the patch was made for."""


class Edit(NamedTuple):
    """One replacement in the source of one function."""

    where: str
    """Module within the package, a colon, and the function's qualified name."""
    before: str
    """Text that occurs exactly once in it."""
    after: str


@dataclass(frozen=True)
class PlantedBug:
    """A mistake, how to make it, and where to look for it."""

    name: str
    wrong: str
    """One sentence: what the engine does wrong."""
    edits: tuple[Edit, ...]
    profiles: tuple[str, ...] = ("all",)
    """Profiles of plans to hunt it with; seed after seed takes the next of them."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the plan that are not left to chance: a load under which it shows."""
    disks: bool = False
    """Whether it needs the real stores on simulated disks, with their faults."""
    first_seed: int = 0
    """Where to begin, as a hint: what a seed brings about changes with the code."""
    event_limit: int = 2_000_000
    """It must be caught within so many simulated events."""
    equivalent: str = ""
    """Why it can do no harm; such a one is not hunted."""
    elusive: str = ""
    """What the torture lacks to catch it, as far as that is known; hunted, but not demanded."""

    @contextmanager
    def planted(self) -> Iterator[None]:
        """Have the engine make this mistake while the block runs; not for use in threads.

        Raises:
            StaleBug: the source is another one than the patch was made for.
        """
        with ExitStack() as undo:
            for function, code in _patched(self.edits):
                undo.callback(setattr, function, "__code__", function.__code__)
                function.__code__ = code
            yield

    def plan(self, seed: int) -> Plan:
        """Return the plan with which to hunt it under a seed."""
        plan = draw_plan(seed, self.profiles[seed % len(self.profiles)])
        plan = replace(plan, **self.fields)
        if self.disks:
            return plan
        faults = tuple(fault for fault in plan.faults if fault.kind not in _DISK_FAULTS)
        return replace(plan, disks=False, faults=faults)


@dataclass(frozen=True)
class Hunt:
    """How the hunt for a bug went."""

    bug: PlantedBug
    seed: int | None
    """The seed whose run failed; None: the bug got away."""
    runs: int
    events: int
    """Simulated events up to where it was caught."""
    seconds: float
    """CPU time."""
    message: str = ""
    """What the check that caught it said, after the class of its error."""
    token: str = ""
    """Replays the plan (`syncstructs simulate --replay TOKEN`), once the bug is planted again."""

    @property
    def is_caught(self) -> bool:
        """Whether it was caught."""
        return self.seed is not None


def hunt(bug: PlantedBug, *, event_limit: int | None = None) -> Hunt:
    """Plant a bug, and run plan after plan until one fails or the budget of events is used up."""
    budget = bug.event_limit if event_limit is None else event_limit
    begun = time.process_time()
    events, seed = 0, bug.first_seed
    with bug.planted(), _silence():
        while events < budget:
            plan = bug.plan(seed)
            outcome = run_plan(plan, event_limit=_STORM)
            events += outcome.events
            if isinstance(outcome, Failure):
                return Hunt(
                    bug, seed, seed - bug.first_seed + 1, events, time.process_time() - begun,
                    f"{outcome.kind}: {outcome.message}", plan.token(),
                )  # fmt: skip
            seed += 1
    return Hunt(bug, None, seed - bug.first_seed, events, time.process_time() - begun)


def selftest(
    *, bugs: Iterable[PlantedBug] | None = None, out: TextIO | None = None
) -> list[Hunt]:
    """Hunt the built-in bugs (or others), one after another; print a table to `out`, if given.

    Takes less than a minute of CPU time. Every bug should be caught: `all(h.is_caught for h in
    selftest())`.
    """
    hunts: list[Hunt] = []
    for bug in BUILT_IN if bugs is None else bugs:
        found = hunt(bug)
        hunts.append(found)
        if out is not None:
            if len(hunts) == 1:
                print(TABLE_HEAD, file=out)
            print(table_line(found), file=out, flush=True)
    return hunts


TABLE_HEAD: Final = f"{'planted bug':<34} {'seed':>5} {'events':>9} {'CPU s':>6}  caught by"


def table_line(found: Hunt) -> str:
    """Return one line of the table of hunts."""
    seed = "-" if found.seed is None else found.seed
    how = " ".join(found.message.split())[:90] or "NOBODY"
    return f"{found.bug.name:<34} {seed:>5} {found.events:>9,} {found.seconds:>6.1f}  {how}"


@contextmanager
def _silence() -> Iterator[None]:
    """Let a broken engine complain to nobody: what it logs is not what is asked."""
    logger = logging.getLogger(_ENGINE)
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)


# Patching


def _patched(edits: Iterable[Edit]) -> list[tuple[FunctionType, CodeType]]:
    """Return the functions that are to be changed, with their new code."""
    by_place: dict[str, list[Edit]] = {}
    for edit in edits:
        by_place.setdefault(edit.where, []).append(edit)
    changed = []
    for where, some in by_place.items():
        function = _find(where)
        changed.append((function, _compile(function, some)))
    return changed


def _find(where: str) -> FunctionType:
    """Return the function that `module:Class.method` means."""
    module_name, _, path = where.partition(":")
    found: Any = importlib.import_module(f"{_ENGINE}.{module_name}")
    for name in path.split("."):
        # Not by getattr: that would call the descriptor.
        try:
            found = vars(found)[name]
        except (KeyError, TypeError):
            raise StaleBug(f"there is no {where}") from None
    # A property, a static method, @replicated, @operation: each keeps the function in its own way.
    for attribute in ("fget", "__func__", "function"):
        found = getattr(found, attribute, None) or found
    found = inspect.unwrap(found)
    if not isinstance(found, FunctionType):
        what = "compiled, and bugs are planted in Python code" if IS_COMPILED else "no function"
        raise StaleBug(f"{where} is {what}")
    return found


def _compile(function: FunctionType, edits: Iterable[Edit]) -> CodeType:
    """Return the code that the function has once its source is edited."""
    module = inspect.getmodule(function)
    assert module is not None, function
    lines = inspect.getsource(module).splitlines(keepends=True)
    body, first = inspect.getsourcelines(function)
    text = "".join(body)
    for where, before, after in edits:
        if text.count(before) != 1:
            raise StaleBug(f"{before!r} occurs {text.count(before)} times in {where}")
        text = text.replace(before, after)
    source = "".join([*lines[: first - 1], text, *lines[first - 1 + len(body) :]])
    filename = function.__code__.co_filename
    whole = compile(source, filename, "exec", dont_inherit=True)
    old = function.__code__
    for code in _codes(whole):
        if (code.co_qualname, code.co_firstlineno) == (old.co_qualname, old.co_firstlineno):
            return code
    raise StaleBug(f"the source of {function.__qualname__} is not the one that was imported")


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Yield the code of everything that is defined in a piece of code, however deep."""
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield constant
            yield from _codes(constant)


def bug(
    name: str, wrong: str, *edits: tuple[str, str, str], **more: Any
) -> PlantedBug:
    """Return a planted bug; each edit is (where, before, after)."""
    return PlantedBug(name, wrong, tuple(Edit(*edit) for edit in edits), **more)


# Many reads, few writes, and leaders that notice late that they lead no more.
READING: Final[dict[str, Any]] = {
    "size": 3, "clients": 3, "think": 0.03,
    "mixes": {"read": 10.0, "count": 1.0, "write_key": 1.0},
    "settings": {
        "election_timeout_min": 0.1, "election_timeout_max": 0.5, "heartbeat_interval": 0.04,
        "session_ttl": 1.0,
    },
}  # fmt: skip
# Sessions that end within a common fault.
SHORT_SESSIONS: Final[dict[str, Any]] = {
    "size": 3,
    "settings": {
        "election_timeout_min": 0.1, "election_timeout_max": 0.2, "heartbeat_interval": 0.03,
        "session_ttl": 0.4, "snapshot_log_entries": 15, "log_keep_bytes": 1, "batch_bytes": 600,
    },
}  # fmt: skip

BUILT_IN: Final = (
    bug(
        "commit_of_older_term",
        "A leader commits an entry of an older term by counting (5.4.2, figure 8).",
        (
            "raft.core:RaftCore._advance_commit",
            "if index <= self.commit_index or self.log.term_at(index) != self.term:",
            "if index <= self.commit_index:",
        ),
    ),
    bug(
        "vote_not_persisted",
        "A vote is given without being persisted, so a crash makes it be given twice.",
        ("raft.core:RaftCore._on_vote_request", "self._persist_hard_state()", "pass"),
    ),
    bug(
        "vote_for_log_behind",
        "A vote is given to a candidate whose log is behind the own (5.4.1).",
        (
            "raft.core:RaftCore._up_to_date",
            "last >= max(self.log.last_id, self._floor)",
            "last >= self._floor",
        ),
    ),
    bug(
        "acknowledged_before_sync",
        "A follower acknowledges entries that its disk has not synced yet.",
        (
            "raft.core:RaftCore._acknowledge",
            "self._send_after(max(ticket, self._appends.hard_state_ticket), self.leader, reply)",
            "self._effects.sends.append((self.leader, reply))",
        ),
    ),
    bug(
        "read_without_round",
        "A leader answers a read without asking a majority whether it still leads.",
        (
            "raft.core:RaftCore._lead_read",
            "leading.hold_read(read, self.commit_index, self._now)",
            "self._answer_read(read, self.commit_index)",
        ),
        profiles=("network",),
        fields=READING,
    ),
    bug(
        "snapshot_without_sessions",
        "A snapshot leaves the sessions out, so calls that are sent again are applied again.",
        ("objects.table:Table.image", "sessions=self.sessions.state()", "sessions=[[], []]"),
    ),
    bug(
        "duplicate_applied_whole",
        "A run of calls that is a duplicate in part is applied as a whole.",
        (
            "objects.sessions:Sessions.accept",
            "return skip, count - skip",
            "return 0, count",
        ),
    ),
    bug(
        "pop_by_process",
        "What a set's pop() takes depends on the process, as the order of a built-in set does.",
        (
            "structs.sets:ReplSet.pop",
            "return self._items.popitem()[0]",
            "order = sorted(self._items)\n"
            "        element = order[sum(self._port.address.encode()) % len(order)]\n"
            "        del self._items[element]\n"
            "        return element",
        ),
    ),
    bug(
        "sure_by_hearing",
        "A node is sure of its session for as long as it hears the leader, heard or not.",
        (
            "raft.following:Following.heard",
            "if self.echo < echo <= now:\n            self.echo = echo",
            "self.echo = now",
        ),
        profiles=("locks",),
        fields=SHORT_SESSIONS,
    ),
    bug(
        "item_served_twice",
        "A queue hands out an item and keeps it.",
        (
            "structs.queues:ReplQueue._pop_first",
            "return self._items.popleft()",
            "return self._items[0] if len(self._items) == 2 else self._items.popleft()",
        ),
    ),
)
"""Bugs of all rooms, for `selftest`."""


def by_name(bugs: Iterable[PlantedBug]) -> dict[str, PlantedBug]:
    """Return the bugs by name.

    Raises:
        ValueError: two have the same name.
    """
    named: dict[str, PlantedBug] = {}
    for one in bugs:
        if named.setdefault(one.name, one) is not one:
            raise ValueError(f"two planted bugs are called {one.name!r}")
    return named


