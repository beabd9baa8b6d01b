"""The models of `ReplLock` and `ReplLockManager`: who owns a lock, and what tokens were given.

An owner is a node's session where the history tells it (`Op.session`), else a process: any thread
of a node may release what the node holds. An `acquire` may be recorded with its token instead of
True; then the tokens of later grants must be greater, whoever gets them.

The cluster takes a lock from an owner whose session has expired, and a node that cannot be sure of
its session gives up its locks. A history has to say so, or the lock counts as held for ever:

- by an operation `lost` of the owner (a process, or a session), without arguments, or for a
  manager with the key, or None for all keys. Recorded as begun, and not ended, it means that the
  owner may lose its lock at any time from then on; ended: that it had lost it by then.
- by a release that raises `LockLost`: it was lost after its acquire.
- by an acquire of unknown outcome: a request that was given up may own the lock for a while.
- by `LockModel(expiry=True)`: any owner may lose its lock at any time, and a node that is not sure
  of its session may be refused a free lock.

An acquire with a time-out may return False although nobody ever held the lock: its time may have
run out before the cluster saw the request, and the grant that came then was withdrawn before the
call returned. Calls that do not wait find a cluster that refuses free locks; these do not.

What remains certain: a release that succeeded was its owner's, from its acquire to its release.
"""

from bisect import bisect_right
from collections.abc import Callable, Collection, Hashable
from itertools import count
from math import inf
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from .history import UNKNOWN, Op, Raised
from .sequential import ILLEGAL, Model, Replay, Transition, frozen, same_call

_ACQUIRES: Final = ("acquire", "try_acquire")
_NOT_HELD: Final = ("NotOwner", "LockLost")


class LockState(NamedTuple):
    """One lock: who owns it, whether it can be taken from it, and the greatest token given."""

    owner: Hashable = None
    fleeting: bool = False
    token: int | None = None
    """The owner's token, as far as it is known."""
    greatest: int = 0

    def freed(self) -> "LockState":
        """Return the state in which nobody owns it."""
        return LockState(greatest=self.greatest)

    def __str__(self) -> str:
        if self.owner is None:
            return f"free, greatest token {self.greatest}" if self.greatest else "free"
        token = "" if self.token is None else f" with token {self.token}"
        return f"owned by {_owner_text(self.owner)}{token}{', for a while' * self.fleeting}"


class LockModel(Model):
    """`ReplLock`: `acquire`, `release`, `locked`, `token`, `held`, `ensure_held`, and `lost`.

    And `ReplElection`, if `campaign` is recorded as `acquire`, and `resign` as `release`.
    """

    READS = frozenset({"locked", "held", "ensure_held"})

    def __init__(self, *, expiry: bool = False) -> None:
        self._expiry = expiry
        self._excused: frozenset[int] = frozenset()
        """Ids of calls that may have met a request that was given up."""
        self._losers: frozenset[Hashable] = frozenset()
        """Owners that may lose their lock at any time."""

    def initial(self) -> Hashable:
        """Return a lock that nobody owns."""
        return LockState()

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return a model that knows who was in whose way, and with the losses as operations."""
        model = type(self)(expiry=self._expiry)
        model._excused = _excused(ops, self.may_wait)
        ops = self._split(ops)
        return model, ops + self._losses(ops)

    def replay(self, ops: Collection[Op]) -> Replay:
        """Return what takes operations one after another; who lost a lock did so at any time."""
        model = type(self)(expiry=self._expiry)
        model._excused = _excused(ops, self.may_wait)
        model._losers = frozenset(
            _owner_of(op) for op in ops if op.method == "lost" or _kind(op) == "LockLost"
        )
        return Replay(model)

    def _split(self, ops: list[Op]) -> list[Op]:
        """Return the operations, each with one key."""
        return ops

    def _losses(self, ops: list[Op]) -> list[Op]:
        """Return for each release of what was lost that it had been lost, since its acquire."""
        losses: list[Op] = []
        acquires: dict[Hashable, list[Op]] = {}
        numbers = count(max((op.id for op in ops), default=0) + 1)
        for op in sorted(ops, key=lambda op: (op.call, op.id)):
            named = _owner_of(op), op.argument(0, "key") if self._skipped() else None
            if op.method in _ACQUIRES and op.outcome is not False:
                acquires.setdefault(named, []).append(op)
            elif _kind(op) == "LockLost" and op.method == "release":
                since = [a.call for a in acquires.get(named, ()) if a.end <= op.call]
                losses.append(replace(
                    op, id=next(numbers), method="lost", outcome=None,
                    call=max(since, default=op.call),
                ))  # fmt: skip
        return losses

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        return self._step(op)

    def is_read(self, op: Op) -> bool:
        """Return whether `op`, with the outcome it had, certainly changed nothing."""
        if op.method in _ACQUIRES:
            return op.outcome is False or isinstance(op.outcome, Raised)
        return op.method in self.READS or (op.method == "token" and op.outcome in (None, UNKNOWN))

    def may_wait(self, op: Op) -> bool:
        """Return whether `op` may be granted by whoever frees the lock."""
        return op.method == "acquire" and bool(op.argument(self._skipped(), "blocking", True))

    def may_be_undone(self, op: Op) -> bool:
        """Return whether `op` may have owned the lock for a while."""
        return _was_given_up(op, self.may_wait)

    def identity(self, op: Op) -> Hashable:
        """Return what is equal for operations that do the same in every state."""
        return same_call(op), _owner_of(op), op.id in self._excused

    def describe(self, state: Any) -> str:
        """Return the state as text."""
        return str(state)

    def _skipped(self) -> int:
        """Return how many arguments come before `blocking`."""
        return 0

    def _step(self, op: Op) -> Transition:
        method = op.method
        if method in _ACQUIRES:
            return self._acquire(op)
        if method in ("release", "lost"):
            return self._release(op) if method == "release" else self._lose(op)
        if method in ("locked", "token", "held", "ensure_held"):
            return self._look(op)
        raise ValueError(f"{type(self).__name__} has no method {method!r}")

    def _can_lose(self, state: LockState) -> bool:
        return self._expiry or state.fleeting or state.owner in self._losers

    def _acquire(self, op: Op) -> Transition:
        owner, outcome = _owner_of(op), op.outcome
        token = outcome if type(outcome) is int else None
        # A request whose time ran out may have been granted, and have given the lock back.
        excused = op.id in self._excused or self._expiry or self.may_wait(op)

        def acquire(state: LockState) -> Hashable:
            if outcome is False:
                fits = excused or state.owner is not None
                return state if fits else ILLEGAL
            if state.owner is not None and not self._can_lose(state):
                return ILLEGAL
            if token is not None and token <= state.greatest:
                return ILLEGAL
            greatest = state.greatest if token is None else token
            return LockState(owner, outcome is UNKNOWN, token, greatest)

        # It was refused before it asked anybody.
        return (lambda state: state) if isinstance(outcome, Raised) else acquire

    def _release(self, op: Op) -> Transition:
        owner, outcome = _owner_of(op), op.outcome
        failed = _kind(op) in _NOT_HELD
        is_lost = _kind(op) == "LockLost"

        def release(state: LockState) -> Hashable:
            if outcome is UNKNOWN:
                return state.freed() if state.owner == owner else state
            if failed:
                # Nobody else's lock is touched. Its own is gone, or may be; but where it was lost
                # (see `_losses`), what the session owns now may have been granted since.
                if state.owner != owner or is_lost:
                    return state
                return state.freed() if self._can_lose(state) else ILLEGAL
            return state.freed() if outcome is None and state.owner == owner else ILLEGAL

        return release

    def _lose(self, op: Op) -> Transition:
        owner = _owner_of(op)
        return lambda state: state.freed() if state.owner == owner else state

    def _look(self, op: Op) -> Transition:
        owner, outcome, method = _owner_of(op), op.outcome, op.method
        excused = op.id in self._excused

        def look(state: LockState) -> Hashable:
            mine = state.owner == owner
            if outcome is UNKNOWN:
                return state
            if method == "locked":
                fits = (state.owner is not None) == outcome or excused or (
                    not outcome and self._can_lose(state)
                )  # fmt: skip
                return state if fits else ILLEGAL
            if method == "token":
                return self._see_token(state, outcome, mine)
            # Not to be sure is always right.
            sure = outcome is True if method == "held" else outcome is None
            return ILLEGAL if sure and not mine else state

        return look

    def _see_token(self, state: LockState, token: Any, mine: bool) -> Hashable:
        if token is None:
            return ILLEGAL if mine and not self._can_lose(state) else state
        if not mine:
            # A node that does not know yet that it has lost the lock.
            return state if token <= state.greatest else ILLEGAL
        if state.token is not None:
            return state if token == state.token else ILLEGAL
        if token <= state.greatest:
            return ILLEGAL
        return state._replace(token=token, greatest=token)


class LockManagerModel(LockModel):
    """`ReplLockManager`: by key, the first argument, as long as nothing asks for all `keys`."""

    READS = LockModel.READS | {"keys"}

    def initial(self) -> Hashable:
        """Return that nobody owns any lock."""
        return frozenset()

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the key that `op` names."""
        key = None if op.method == "keys" else op.argument(0, "key")
        return None if key is None else (key,)

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        if op.method == "keys":
            return lambda states: self._keys(states, op)
        step, key = self._step(op), op.argument(0, "key")
        if key is None:
            return lambda states: frozenset((k, step(state)) for k, state in states)

        def on_key(states: frozenset[tuple[Hashable, LockState]]) -> Hashable:
            before = next((state for k, state in states if k == key), LockState())
            after = step(before)
            if after is ILLEGAL:
                return ILLEGAL
            return states - {(key, before)} | {(key, after)}

        return on_key

    def describe(self, state: Any) -> str:
        """Return who owns what, as text."""
        return ", ".join(sorted(f"{key!r}: {lock}" for key, lock in state)) or "all free"

    def _split(self, ops: list[Op]) -> list[Op]:
        """Return the operations, each with one key."""
        keys = {frozen(op.argument(0, "key")): op.argument(0, "key") for op in ops}
        numbers = count(max((op.id for op in ops), default=0) + 1)
        split: list[Op] = []
        for op in ops:
            if op.method == "lost" and op.argument(0, "key") is None:
                split += [
                    replace(op, id=next(numbers), args=(key,))
                    for key in keys.values() if key is not None
                ]  # fmt: skip
            else:
                split.append(op)
        return split

    def _keys(self, states: frozenset[tuple[Hashable, LockState]], op: Op) -> Hashable:
        seen: Any = op.outcome
        if op.outcome is UNKNOWN:
            return states
        sure = {frozen(k) for k, s in states if s.owner is not None and not self._can_lose(s)}
        owned = {frozen(k) for k, s in states if s.owner is not None}
        return states if sure <= {frozen(key) for key in seen} <= owned else ILLEGAL

    def _skipped(self) -> int:
        return 1


def _owner_of(op: Op) -> Hashable:
    return ("session", op.session) if op.session else ("process", op.process)


def _owner_text(owner: Any) -> str:
    kind, name = owner
    return f"session {name}" if kind == "session" else f"{name}"


def _kind(op: Op) -> str:
    return op.outcome.kind.rpartition(".")[2] if isinstance(op.outcome, Raised) else ""


def _was_given_up(op: Op, may_wait: Callable[[Op], bool]) -> bool:
    """Return whether it may own the lock for a while although it never returned True."""
    if op.method not in _ACQUIRES:
        return False
    return op.outcome is UNKNOWN or (op.outcome is False and may_wait(op))


def _excused(ops: Collection[Op], may_wait: Callable[[Op], bool]) -> frozenset[int]:
    """Return the ids of what overlaps with a request that was given up.

    Such a request may have owned the lock when nobody else did, so `acquire` may fail meanwhile.
    """
    given_up = sorted(
        (op.call, inf if op.outcome is UNKNOWN else op.end, op.id)
        for op in ops
        if _was_given_up(op, may_wait)
    )
    # Of those called first to n-th, the two that end last: one of them may be the call itself.
    latest: list[list[tuple[float, int]]] = [[]]
    for _, end, number in given_up:
        latest.append(sorted([*latest[-1], (end, number)])[-2:])
    excused = set()
    for op in ops:
        if op.method in ("locked", "keys") or (op.method in _ACQUIRES and op.outcome is False):
            begun = latest[bisect_right(given_up, op.end, key=lambda span: span[0])]
            if any(end >= op.call and number != op.id for end, number in begun):
                excused.add(op.id)
    return frozenset(excused)
