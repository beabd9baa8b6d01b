"""The model of a dictionary whose keys have a time to live, behind its twin; and what its log says.

A key is gone where the log says so: never before its time is over, and as a rule soon after. No
call tells when that was. So the model keeps of each key all that may be true of it, and each call
leaves of these what it shows.
"""

from collections.abc import Callable, Collection, Hashable, Iterator
from copy import copy
from math import inf
from typing import Any, Final, NamedTuple

from ..codec import decode, encode, shown
from . import twins
from .history import UNKNOWN, Op, Raised
from .logtwins import LogTwin, Number
from .models import DictModel, hashable_only, named_keys
from .sequential import ILLEGAL, Model, Replay, Transition, frozen, outcome_on, same, thawed

_DEFAULT: Final = -1.0


class TTLDict(twins.Dict):
    """`ReplTTLDict`, in which nothing ends by itself: it notes how long each key is to live."""

    def __init__(self, ttl: float | None = None) -> None:
        super().__init__()
        self.lives: dict[Any, float] = {}
        """Of what was set or touched: for how many seconds; inf: for ever."""
        self._ttl = ttl

    def hold(self, key: Any, value: Any) -> None:
        """Set a key as if that had been long ago."""
        super().__setitem__(key, value)

    def set(self, key: Any, value: Any, ttl: float | None = _DEFAULT) -> None:
        self.lives[key] = self._life(ttl, key)
        self.hold(key, value)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.set(key, value)

    def touch(self, key: Any, ttl: float | None = _DEFAULT) -> bool:
        life = self._life(ttl)
        if key in self:
            self.lives[key] = life
        return key in self

    def setdefault(self, key: Any, default: Any = None) -> Any:
        if key not in self:
            self.set(key, default)
        return self[key]

    def update(self, other: Any = (), /, **named: Any) -> None:
        items = dict(other, **named)
        lives = {key: self._life(_DEFAULT, key) for key in items}
        super().update(items)
        self.lives |= lives

    def reset(self, other: Any = (), /, **named: Any) -> None:
        items = dict(other, **named)
        for key in items:
            self._life(_DEFAULT, key)
        super().reset(items)

    def _life(self, ttl: float | None, *keys: Any) -> float:
        ttl = self._ttl if ttl == _DEFAULT else ttl
        if ttl is None:
            return inf
        if not 0 < ttl < inf:
            raise ValueError(f"a ttl is a number of seconds above 0, None or -1, not {ttl!r}")
        for key in keys:
            if key != decode(encode(key)):
                raise ValueError(f"{shown(key)} has no ttl, as it is unlike each copy of itself")
        return ttl


class Life(NamedTuple):
    """A key that is there (None: one that is not), and when it ends, at the earliest and latest."""

    value: Hashable
    first: float
    last: float

    def __str__(self) -> str:
        return f"{self.value!r}" if self.first == inf else f"{self.value!r} to {self.first:g} s"


Lives = frozenset[tuple[Life | None, float]]
"""All that may be true of a key, each with the earliest time at which it may be so."""


class TTLState(NamedTuple):
    """The earliest time at which it may be so, and what may be true of each key then or later."""

    now: float
    lives: frozenset[tuple[Hashable, Lives]]


_Fate = Callable[[Any, Life | None, float], Collection[Life | None]]
"""Given a key, what is true of it and since when: what may be true behind a call; nothing, if the
call has shown that it is not true."""
_Span = tuple[float, float, float]
"""The begin of a call, the earliest time that it can be behind the others, and the call's end."""
_ABSENT: Final[Lives] = frozenset({(None, -inf)})

_BY_KEY: Final = DictModel._BY_KEY | {"touch"}
_UPDATES: Final = frozenset({"update", "__ior__"})
_CLEARS: Final = frozenset({"reset", "clear"})
_PAIRS: Final = frozenset({"copy", "items"})
_LISTS: Final = _PAIRS | {"keys", "__iter__"}
_COUNTS: Final = frozenset({"__len__", "values"})


class TTLDictModel(Model):
    """`ReplTTLDict`, but for the order of its keys.

    If calls have a `time`, cluster time decides, exactly: a key is there until that has come to its
    end. If none has, the history's clock must count seconds: a key may be gone from the begin of
    the call that set it plus its ttl on.
    """

    READS = _LISTS | _COUNTS | {"get", "__getitem__", "__contains__"}

    def __init__(
        self, ttl: float | None = None, *, late: float = inf, drift: float = 0.0
    ) -> None:
        """`ttl`: that of the dictionary.

        late: for how many seconds more than its ttl a key can be read at the most, counted from
            the end of the call that set it. The type promises none: nothing ends without a leader.
        drift: by which part of a second the clocks of leaders may be faster or slower than that of
            the history. The type itself adds no error: cluster time never runs ahead of them.

        Raises:
            ValueError: `drift` is not at least 0 and below 1, or no `ReplTTLDict` has such a `ttl`.
        """
        if not 0.0 <= drift < 1.0:
            raise ValueError(f"drift={drift!r} must be at least 0 and below 1")
        TTLDict(ttl)._life(_DEFAULT)
        self._ttl = ttl
        self._late = late
        self._drift = drift
        self._by_log = False
        """Whether cluster time decides."""

    def prepare(self, ops: list[Op]) -> tuple[Model, list[Op]]:
        """Return a model that knows which time decides."""
        model = copy(self)
        model._by_log = any(op.time is not None for op in ops)
        return model, ops

    def replay(self, ops: Collection[Op]) -> Replay:
        """Return what takes operations one after another."""
        return Replay(self.prepare([*ops])[0])

    def initial(self) -> Hashable:
        """Return an empty dictionary."""
        return TTLState(-inf, frozenset())

    def keys(self, op: Op) -> Collection[Hashable] | None:
        """Return the keys that `op` names or shows, unless others matter to it as well."""
        keys, whole = _scope(op)
        return None if whole else keys

    def is_read(self, op: Op) -> bool:
        """Return whether nobody saw what it read: what is seen tells which keys have ended."""
        return op.method in self.READS and op.outcome is UNKNOWN

    def transition(self, op: Op) -> Transition:
        """Return the function that `op` is."""
        begin, end = self._span(op)
        (keys, whole), fate = _scope(op), self._fate(op, end)

        def step(state: TTLState) -> Hashable:
            now = reached = max(state.now, begin)
            lives = dict(state.lives)
            span = begin, now, end
            if now > end or not _fits_count(op, lives.values(), span):
                return ILLEGAL
            for key in dict.fromkeys([*lives, *keys]) if whole else keys:
                after: dict[Life | None, float] = {}
                for life, at in _possible(lives.pop(key, _ABSENT), span):
                    for then in fate(key, life, at):
                        after[then] = min(at, after.get(then, inf))
                if not after:
                    return ILLEGAL
                reached = max(reached, min(after.values()))
                if after.keys() != {None}:
                    lives[key] = frozenset(after.items())
            return TTLState(reached, frozenset(lives.items()))

        return step

    def describe(self, state: Any) -> str:
        """Return what may be there, as text."""
        text = (f"{key!r}: {_text_of(lives)}" for key, lives in state.lives)
        return f"{{{', '.join(sorted(text))}}}"

    def _span(self, op: Op) -> tuple[float, float]:
        """Return from when to when it may have taken effect."""
        if not self._by_log:
            return op.call, op.end
        return (-inf, inf) if op.time is None else (op.time, op.time)

    def _fate(self, op: Op, end: float) -> _Fate:
        if op.method in _BY_KEY | _UPDATES | _CLEARS:
            return self._by_twin(op, end)
        if op.method == "popitem":
            return _popped(op)
        if op.method in self.READS:
            return _shown(op)
        raise ValueError(f"{type(self).__name__} has no method {op.method!r}")

    def _by_twin(self, op: Op, end: float) -> _Fate:
        """Have a twin that holds one key do it, and look what becomes of that one."""
        fast, slow = 1.0 + self._drift, 1.0 - self._drift

        def fate(key: Any, life: Life | None, now: float) -> Collection[Life | None]:
            twin = TTLDict(self._ttl)
            if life is not None:
                twin.hold(key, thawed(life.value))
            outcome = outcome_on(twin, op)
            if op.outcome is not UNKNOWN and not same(outcome, op.outcome):
                return ()
            if key not in twin:
                return (None,)
            if key not in twin.lives:
                return (life,)
            ttl = twin.lives[key]
            return (Life(frozen(twin[key]), now + ttl / fast, end + ttl / slow + self._late),)

        return fate


def _text_of(lives: Lives) -> str:
    return " or ".join(sorted("gone" if life is None else str(life) for life, _ in lives))


def _scope(op: Op) -> tuple[Collection[Hashable], bool]:
    """Return the keys that a call names or shows, and whether all others matter to it as well."""
    method, seen = op.method, op.outcome
    if method in _BY_KEY:
        return hashable_only((op.argument(0, "key"),)), False
    if method in _UPDATES or method == "reset":
        return named_keys(op), method == "reset"
    if method == "popitem" and type(seen) is tuple:
        return seen[:1], False
    return _listed(op) if method in _LISTS else (), True


def _listed(op: Op) -> dict[Any, Any]:
    """Return the keys that were seen, with their values if these were seen, too."""
    seen: Any = op.outcome
    if seen is UNKNOWN or isinstance(seen, Raised):
        return {}
    return dict(seen) if op.method in _PAIRS else dict.fromkeys(seen)


def _popped(op: Op) -> _Fate:
    value = frozen(op.outcome[1]) if type(op.outcome) is tuple else None

    def fate(_: Any, life: Life | None, now: float) -> Collection[Life | None]:
        if op.outcome is UNKNOWN:
            return (life, None)
        if isinstance(op.outcome, Raised):
            return (None,) if life is None else ()
        return (None,) if life is not None and life.value == value else ()

    return fate


def _shown(op: Op) -> _Fate:
    """Return what a look at all keys, or a count of them, leaves true of each."""
    seen = _listed(op) if op.method in _LISTS else None

    def fate(key: Any, life: Life | None, now: float) -> Collection[Life | None]:
        if seen is None or isinstance(op.outcome, Raised):
            return (life,)
        if life is None or key not in seen:
            return (None,) if life is None and key not in seen else ()
        return (life,) if op.method not in _PAIRS or life.value == frozen(seen[key]) else ()

    return fate


def _fits_count(op: Op, all_lives: Collection[Lives], span: _Span) -> bool:
    """Return whether there may be as many keys as a call has counted, if it has."""
    seen: Any = op.outcome
    if op.method not in _COUNTS or seen is UNKNOWN or isinstance(seen, Raised):
        return True
    possible = [[life for life, _ in _possible(lives, span)] for lives in all_lives]
    least = sum(None not in some for some in possible)
    most = sum(any(some) for some in possible)
    return least <= (seen if type(seen) is int else len(seen)) <= most


def _possible(lives: Lives, span: _Span) -> Iterator[tuple[Life | None, float]]:
    """Yield what may be true of a key as a call takes effect, and from when on.

    That is told from calls on this key alone. If it was from those on others as well, each order of
    all calls would be a state of its own, and a search would try all of them.
    """
    begin, now, end = span
    for life, since in lives:
        at = max(begin, since)
        if at <= end and (life is None or max(at, now) <= life.last):
            yield life, at
        if life is not None and at <= end and life.first <= end and life.first < inf:
            yield None, max(at, life.first)


class TTLDictTwin(LogTwin):
    """A `ReplTTLDict` as its commands describe it: keys end where the log says that it is time."""

    def __init__(self, ttl: float | None = None) -> None:
        super().__init__()
        self._keys = TTLDict(ttl)
        self._ends: dict[Any, float] = {}

    def command(self, number: Number, method: str, args: list[Any]) -> None:
        """Carry out a command."""
        self.began[number] = method
        try:
            self._value(number, getattr(self._keys, method.lstrip("_"))(*args))
        except Exception as error:
            self._error(number, type(error))
        now = self.now / 1_000_000
        self._ends |= {key: now + life for key, life in self._keys.lives.items()}
        self._ends = {key: end for key, end in self._ends.items() if key in self._keys}
        self._keys.lives.clear()

    def wake(self, due: float) -> None:
        """Let end whose time is over, unless this was for a key that lives on."""
        if due == min(self._ends.values(), default=inf):
            for key in [k for k, end in self._ends.items() if end <= self.now / 1_000_000]:
                del self._keys[key], self._ends[key]

    def state(self) -> object:
        """Return the keys and values, in their order."""
        return list(self._keys.items())
