"""Whether a recorded history can be explained: each call took effect at one moment while it ran.

`check` believes nothing but what callers saw. It searches for an order of the operations that real
time allows and the model accepts: depth first, remembering where it has been, as Wing and Gong,
Lowe ("Testing for linearizability", 2017) and Porcupine do. Operations on different keys are
checked apart. An operation that never ended may take effect at any later time, or never. Orders of
a kind that is likely (see `Model.likely`) are tried first; a history is refused only when no order
of any kind explains it.

`check_witness` believes the log's order, and only checks that it explains what callers saw and
that it agrees with real time. That takes microseconds per operation, and finds that the log or its
application is wrong even where another order would do.

Both count steps, never seconds: the same history gets the same verdict everywhere.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from enum import Enum
from itertools import islice

import msgspec

from .history import NOT_APPLIED, UNKNOWN, Op
from .origins import Origins
from .search import Search
from .sequential import Impossible, Model
from .windows import Window, timeline, window_of

BUDGET = 2_000_000
"""Steps of a check, unless it is told otherwise: some ten seconds, and a few hundred MB."""
_FIRST_SHARE = 10_000
_WINDOW_BUDGET = 200_000
_TOLD, _TOLD_BUDGET = 100, 2_000
"""How many operations, and in how many steps, are searched for no more than a better story."""
_FEW = 6
"""How many operations are easily seen to contradict each other."""
_GUESS = 4
"""How many steps per operation are spent on orders of the likely kind, before all others."""
_EXCERPTS = 100
"""How many small parts of the history are tried where the whole takes long."""


class Verdict(Enum):
    """What a check has found."""

    LINEARIZABLE = "linearizable"
    NOT_LINEARIZABLE = "not linearizable"
    UNDECIDED = "undecided"
    """The budget was used up, or the history does not say enough. It is no proof of anything."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, and why. As text, it is the story of what cannot be explained."""

    verdict: Verdict
    operation_count: int
    """How many operations were checked."""
    steps: int
    """How many times an operation was tried in a state."""
    reason: str = ""
    """What is wrong, or why it is undecided."""
    window: Window | None = None
    """The smallest part of the history that cannot be explained."""

    @property
    def ok(self) -> bool:
        """Whether the history is linearizable for certain."""
        return self.verdict is Verdict.LINEARIZABLE

    def require(self) -> None:
        """Do nothing if the history is linearizable for certain.

        Raises:
            AssertionError: it is not, or that is undecided. The message is this result's text.
        """
        if not self.ok:
            raise AssertionError(str(self))

    def __str__(self) -> str:
        head = f"{self.verdict.value}: {self.operation_count} operations, {self.steps} steps"
        window = "" if self.window is None else timeline(self.window)
        return "\n".join(filter(None, (head, self.reason, window)))


def check(history: Iterable[Op], model: Model, *, budget: int = BUDGET) -> Result:
    """Return whether some order of the operations explains the history.

    Give up, undecided, after `budget` steps. The times of the operations must be of one clock.
    What was not applied is left out, and so are reads of which nobody saw the result. A key that
    is unlike each copy of itself, as nan is, is no key for a model: it may refuse what is right.

    Raises:
        ValueError: the model does not know a method, or the budget is not positive.
    """
    if budget < 1:
        raise ValueError(f"the budget must be positive, not {budget}")
    model, ops = model.prepare([op for op in history if _counts(op, model)])
    first = Counter(model.holds())
    parts = [(part, Origins(part, model, first)) for part in partitions(ops, model)]
    searches = [Search(origins.settled(), model, whole=part) for part, origins in parts]
    impossible = _impossible(model, ops, [origins for _, origins in parts])
    if impossible is not None:
        return _refuted_at_once(impossible, searches, model, len(ops))
    spent, open_searches = 0, []
    for search in sorted(searches, key=lambda search: len(search.ops)):
        found, steps = _guess(search, model, budget - spent)
        spent += steps
        if not found:
            open_searches.append(search)
    share, left = _FIRST_SHARE, budget - spent
    while open_searches and left > 0:
        undecided = []
        for search in open_searches:
            before = search.steps
            found = search.run(min(share, max(left, 0)))
            left -= search.steps - before
            if found is None:
                undecided.append(search)
            elif not found:
                return _refuted(search, model, len(ops), budget - left, budget)
        if undecided and share == _FIRST_SHARE:
            suspect = _suspect(model, ops)
            if suspect is not None:
                return _refuted(suspect, model, len(ops), budget - left + suspect.steps, budget)
        open_searches, share = undecided, share * 2
    steps = spent + sum(search.steps for search in searches)
    if not open_searches:
        return Result(verdict=Verdict.LINEARIZABLE, operation_count=len(ops), steps=steps)
    largest = max(open_searches, key=lambda search: len(search.ops))
    return Result(
        verdict=Verdict.UNDECIDED, operation_count=len(ops), steps=steps,
        reason=f"the budget of {budget} steps was used up; {len(open_searches)} of {len(searches)}"
        f" parts are open, the largest of {len(largest.ops)} operations"
        f"{_name_of(largest, model)}; {_where(largest)}",
    )  # fmt: skip


def _guess(search: Search, model: Model, budget: int) -> tuple[bool | None, int]:
    """Return whether an order of the likely kind explains the operations, and after what steps."""
    likely = model.likely(search.ops)
    if likely is None:
        return False, 0
    guess = Search(likely[1], likely[0], hurry=False)
    return guess.run(min(_GUESS * len(search.ops), budget)), guess.steps


def _impossible(model: Model, ops: Sequence[Op], parts: Iterable[Origins]) -> Impossible | None:
    """Return the first to end of what cannot be explained for certain, if it is easy to see.

    What takes only few operations to show goes before what takes many.
    """
    found = [model.impossible(ops), *(origins.fault() for origins in parts)]
    return min(
        filter(None, found), key=lambda one: (len(one.ops) > _FEW, one.culprit.end), default=None
    )


def _refuted_at_once(
    impossible: Impossible, searches: Sequence[Search], model: Model, count: int
) -> Result:
    culprit, involved, why = impossible
    # None has it if the model has taken it to pieces.
    whole = next((search.whole for search in searches if culprit in search.whole), ())
    if len(whole) <= _TOLD:
        # A search tells the states before it too, and finds what is wrong even earlier.
        search = Search(whole, model)
        if search.run(_TOLD_BUDGET) is False:
            return _refuted(search, model, count, search.steps, _WINDOW_BUDGET)
    running = {op.id for op in whole if op.end >= culprit.call and op.call <= culprit.end}
    window = Window(
        culprit=culprit, ops=tuple(sorted(involved, key=lambda op: (op.call, op.id))),
        start=culprit.call, end=culprit.end,
        hidden_count=len(running - {op.id for op in involved}),
    )  # fmt: skip
    return Result(
        verdict=Verdict.NOT_LINEARIZABLE, operation_count=count, steps=0,
        reason=f"nothing explains {culprit} by {culprit.process}: {why}", window=window,
    )


def _name_of(search: Search, model: Model) -> str:
    """Return which part of the state it is about, to follow its size."""
    keys: dict[Hashable, None] = {}
    for op in search.ops:
        keys.update(dict.fromkeys(model.keys(op) or ()))
    names = [repr(key) for key in keys]
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f" on {', '.join(names[:3])}{more}" if names else ""


def _where(search: Search) -> str:
    """Return how far the search got."""
    stuck = search.furthest
    return f"no order gets past {stuck} by {stuck.process}, which ended at {stuck.end:g}, so far"


def _counts(op: Op, model: Model) -> bool:
    return op.outcome is not NOT_APPLIED and not (op.outcome is UNKNOWN and model.is_read(op))


def _suspect(model: Model, ops: Sequence[Op]) -> Search | None:
    """Return the search of an excerpt that cannot be explained, if one is found at once."""
    for excerpt in islice(model.excerpts(ops), _EXCERPTS):
        search = Search(excerpt, model)
        if search.run(_FIRST_SHARE) is False:
            return search
    return None


def _refuted(search: Search, model: Model, count: int, steps: int, budget: int) -> Result:
    budget = min(budget, _WINDOW_BUDGET)
    # What follows from the operations is not told: the story is of what callers saw.
    plain = Search(search.whole, model)
    if search.whole is not search.ops and plain.run(_FIRST_SHARE) is False:
        search = plain
    window = window_of(search, model, budget)
    if not window.states:
        suspect = _suspect(model, search.ops)
        window = window if suspect is None else window_of(suspect, model, budget)
    return Result(
        verdict=Verdict.NOT_LINEARIZABLE, operation_count=count, steps=steps,
        reason=f"nothing explains {window.culprit} by {window.culprit.process}", window=window,
    )  # fmt: skip


def partitions(ops: Sequence[Op], model: Model) -> list[list[Op]]:
    """Return the operations in groups that have no part of the state in common."""
    parent: dict[Hashable, Hashable] = {}

    def root(key: Hashable) -> Hashable:
        while parent[key] != key:
            parent[key] = parent[parent[key]]
            key = parent[key]
        return key

    touched: list[list[Hashable]] = []
    for op in ops:
        keys = model.keys(op)
        if keys is None:
            return [list(ops)]
        # What touches nothing is a group of its own.
        mine: list[Hashable] = [("key", key) for key in keys] or [("operation", op.id)]
        touched.append(mine)
        for key in mine:
            parent.setdefault(key, key)
            parent[root(key)] = root(mine[0])
    groups: dict[Hashable, list[Op]] = {}
    for op, mine in zip(ops, touched, strict=True):
        groups.setdefault(root(mine[0]), []).append(op)
    return list(groups.values())


# The order of the log


def check_witness(history: Iterable[Op], model: Model) -> Result:
    """Return whether the order of the log (`Op.index`) explains the history.

    Takes O(n log n), and one call of the model's `replay` per operation. An operation of unknown
    outcome and without a place counts as not applied. A call that waits in the log (see
    `Model.may_wait`) takes effect at the first place from its own on where it can; of several,
    the one that asked first.

    Undecided if a call that ended has no place, or if something does not fit behind a call that
    waited, or was taken back, at a time that the history does not tell.

    Raises:
        ValueError: the model does not know a method.
    """
    placed: list[tuple[int, bool, int, Op]] = []
    ops = list(history)
    for op in ops:
        if op.outcome is NOT_APPLIED or (op.index is None and op.outcome is UNKNOWN):
            continue
        if op.index is not None:
            # A read sees what was applied at its place.
            placed.append((op.index, model.is_read(op), len(placed), op))
        elif not model.replay(()).take(op) or model.keys(op) is None or model.keys(op):
            return _witnessed(Verdict.UNDECIDED, len(placed), f"no place in the log: {op}")
    placed.sort(key=lambda entry: entry[:3])
    return _Witness(model, ops).check([(index, op) for index, _, _, op in placed])


class _Witness:
    """One pass over the log, in its order."""

    def __init__(self, model: Model, ops: Sequence[Op]) -> None:
        self._model = model
        self._replay = model.replay(ops)
        self._waiting: list[Op] = []
        self._doubt: Op | None = None
        self._latest: Op | None = None
        """Which of what took effect before this place was called last."""
        self._latest_here: Op | None = None
        """The same for reads at this place, which have no order among themselves."""
        self._place = -1

    def check(self, placed: Sequence[tuple[int, Op]]) -> Result:
        may_wait, take = self._model.may_wait, self._replay.take
        for number, (place, op) in enumerate(placed):
            if place != self._place:
                self._move_to(place)
            waits = may_wait(op)
            unknown = waits and op.outcome is UNKNOWN
            if unknown or self._model.may_be_undone(op):
                # It may have been withdrawn while it waited, or what it took was put back.
                self._doubt = self._doubt or op
            if unknown:
                take(op)
            elif take(op):
                problem = self._passed(op)
                if problem:
                    return _witnessed(Verdict.NOT_LINEARIZABLE, number, problem)
            elif waits:
                self._waiting.append(op)
                continue
            else:
                return self._misfit(number, op, self._replay.problem)
            if self._waiting:
                problem = self._serve()
                if problem:
                    return _witnessed(Verdict.NOT_LINEARIZABLE, number, problem)
        if self._waiting:
            return self._misfit(len(placed), self._waiting[0], "it could not take effect")
        return _witnessed(Verdict.LINEARIZABLE, len(placed), "")

    def _move_to(self, place: int) -> None:
        here, self._latest_here, self._place = self._latest_here, None, place
        if here is not None and (self._latest is None or here.call > self._latest.call):
            self._latest = here

    def _passed(self, op: Op) -> str:
        """Note that `op` takes effect here; say how real time forbids that, if it does."""
        latest = self._latest
        if latest is not None and op.end < latest.call:
            return (
                f"{latest.process} called {latest} at {latest.call}, after {op.process} had seen"
                f" the end of {op} at {op.end}, but takes effect before it in the log"
            )
        if self._latest_here is None or op.call > self._latest_here.call:
            self._latest_here = op
        if not self._model.is_read(op):
            self._move_to(self._place)
        return ""

    def _serve(self) -> str:
        """Let what waits take effect, if it can now."""
        served = True
        while served:
            served = False
            for number, op in enumerate(self._waiting):
                if self._replay.take(op):
                    del self._waiting[number]
                    problem = self._passed(op)
                    if problem:
                        return problem
                    served = True
                    break
        return ""

    def _misfit(self, number: int, op: Op, why: str) -> Result:
        where = f"{op.process} called {op}; in the order of the log (place {op.index}) {why}"
        if self._doubt is not None:
            doubt = f"{where}; but nobody knows how {self._doubt} by {self._doubt.process} ended"
            return _witnessed(Verdict.UNDECIDED, number, doubt)
        return _witnessed(Verdict.NOT_LINEARIZABLE, number, where)


def _witnessed(verdict: Verdict, count: int, reason: str) -> Result:
    return Result(verdict=verdict, operation_count=count, steps=count, reason=reason)
