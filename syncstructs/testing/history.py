"""What callers did and saw: one `Op` per call, recorded by a `History`, for the checkers.

Times are any numbers that grow: a counter of events, or monotonic seconds of one machine. An
operation takes effect at some moment from its call to its end, both included, so two that only
touch count as concurrent. An end at infinity means that the caller never learnt how the call
ended: it may take effect at any time after its call, or never.
"""

import itertools
import json
from base64 import b64decode, b64encode
from collections.abc import (
    Callable,
    ItemsView,
    Iterable,
    Iterator,
    KeysView,
    Mapping,
    Sequence,
    ValuesView,
)
from enum import Enum
from math import inf, isfinite
from typing import Any, Final, Self, TextIO, TypeAlias

import msgspec

from ..codec import decode, encode
from ..errors import (
    Cancelled,
    DecodeError,
    NodeFailed,
    NotApplied,
    OutcomeUnknown,
    ResultLost,
    Timeout,
    Unserializable,
)
from ..objects.replicated import Replicated

Process: TypeAlias = int | str

MAX_OPS = 5_000_000
"""How many operations a `History` holds at most, unless it is told otherwise."""


class _Special(Enum):
    UNKNOWN = "?"
    NOT_APPLIED = "not applied"

    def __repr__(self) -> str:
        return self.name


UNKNOWN: Final = _Special.UNKNOWN
"""Outcome of a call of which the caller never learnt how it ended, or with which result."""
NOT_APPLIED: Final = _Special.NOT_APPLIED
"""Outcome of a call that changed nothing and never will."""


class Raised(msgspec.Struct, frozen=True):
    """The outcome of a call that raised: the name of the exception's class, and its `args`."""

    kind: str
    """`KeyError` for what is built in, else with the module: `queue.Empty` is `_queue.Empty`."""
    args: tuple[Any, ...] = ()

    @classmethod
    def of(cls, error: BaseException) -> Self:
        """Return the outcome of a call that raised `error`."""
        kind = type(error)
        module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
        return cls(f"{module}{kind.__qualname__}", error.args)

    def __repr__(self) -> str:
        return f"{self.kind.rpartition('.')[2]}({', '.join(map(repr, self.args))})"


class Op(msgspec.Struct, frozen=True, kw_only=True):
    """One call by one process: what was called, from when to when, and how it ended.

    Arguments and outcome are values that nobody changes any more.
    """

    id: int
    process: Process
    """Who called: one thread, task or client."""
    method: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    call: float
    end: float = inf
    """When the caller saw the outcome. If the outcome is `UNKNOWN` and the end before infinity,
    then the call certainly took effect by that time, and only its result is not known."""
    outcome: object = UNKNOWN
    """The value, a `Raised`, `UNKNOWN` or `NOT_APPLIED`."""
    index: int | None = None
    """Its place in the log: a number that grows in the order in which commands are applied, such
    as `Context.serial`. For a read, the greatest such number whose effect it may see."""
    time: float | None = None
    """Cluster time in seconds at which it was applied, if the recorder knows it."""
    session: int = 0
    """The calling node's session; 0 if the recorder does not know it."""

    @property
    def optional(self) -> bool:
        """Whether it may never have taken effect."""
        return self.end == inf

    def argument(self, position: int, name: str, default: Any = None) -> Any:
        """Return an argument that may have been given by position or by name."""
        if position < len(self.args):
            return self.args[position]
        return self.kwargs.get(name, default)

    def __str__(self) -> str:
        named = [f"{name}={_short(value)}" for name, value in self.kwargs.items()]
        call = f"{self.method}({', '.join([*map(_short, self.args), *named])})"
        if isinstance(self.outcome, Raised):
            return f"{call} raises {_short(self.outcome)}"
        if isinstance(self.outcome, _Special):
            return f"{call} -> {self.outcome.value}"
        return f"{call} -> {_short(self.outcome)}"


def plain(value: object) -> object:
    """Return a result as a value that can be kept and compared.

    Live views and iterators become lists of what they give now; a handle on a replicated object,
    as `counter += 1` gives, becomes None.
    """
    if isinstance(value, KeysView | ValuesView | ItemsView | Iterator):
        return list(value)
    return None if isinstance(value, Replicated) else value


class _Call:
    """A call as it is being recorded."""

    __slots__ = ("applied_by", "args", "began", "end", "index", "kwargs", "method", "outcome",
                 "process", "session", "time")  # fmt: skip

    def __init__(
        self,
        process: Process,
        method: str,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        session: int,
    ) -> None:
        self.process = process
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.session = session
        self.began = 0.0
        self.end = inf
        self.outcome: object = UNKNOWN
        self.index: int | None = None
        self.time: float | None = None
        self.applied_by = inf

    def op(self, number: int) -> Op:
        # What was seen in the log has happened by then, though its caller never learnt it.
        end = min(self.end, self.applied_by) if self.outcome is UNKNOWN else self.end
        return Op(
            id=number, process=self.process, method=self.method, args=self.args,
            kwargs=self.kwargs, call=self.began, end=end, outcome=self.outcome,
            index=self.index, time=self.time, session=self.session,
        )  # fmt: skip


class History:
    """A recorder of calls: `begin` before each, `end` or `fail` after it. It only grows.

    Iterating over it gives an `Op` per call, in the order of the calls, those under way as unknown.
    All methods may be called from any thread.

    >>> history = History()
    >>> call = history.begin("ann", "set", ("x", 1))
    >>> history.end(call, None)
    >>> print(*history)
    set('x', 1) -> None
    """

    def __init__(
        self,
        clock: Callable[[], float] | None = None,
        *,
        max_ops: int = MAX_OPS,
    ) -> None:
        """Take times from `clock` (None: events are counted), and hold `max_ops` at most."""
        self._clock: Callable[[], float] = itertools.count(1).__next__ if clock is None else clock
        self._numbers = itertools.count()
        self._calls: dict[int, _Call] = {}
        self._ops: dict[int, Op] = {}
        self._max_ops = max_ops

    @classmethod
    def of(cls, ops: Iterable[Op]) -> Self:
        """Return a history of operations that were recorded elsewhere; their ids are kept.

        Raises:
            ValueError: two of them have the same id.
        """
        history = cls()
        for op in ops:
            if op.id in history._ops:
                raise ValueError(f"two operations have the id {op.id}")
            history._ops[op.id] = op
        history._numbers = itertools.count(max(history._ops, default=-1) + 1)
        return history

    def begin(
        self,
        process: Process,
        method: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        session: int = 0,
    ) -> int:
        """Record that a call is about to be made; return its id.

        Raises:
            OverflowError: the history is full.
        """
        if len(self) >= self._max_ops:
            raise OverflowError(f"the history is full: it holds {self._max_ops} operations")
        call = _Call(process, method, tuple(args), dict(kwargs or {}), session)
        number = next(self._numbers)
        call.began = self._clock()
        self._calls[number] = call
        return number

    def end(self, number: int, value: object = None) -> None:
        """Record that the call has returned `value`; see `plain`."""
        self._finish(number, plain(value))

    def fail(self, number: int, error: BaseException) -> None:
        """Record that the call has raised `error`, and what that tells of it.

        What says that the call was not applied, or that nothing is known, is no outcome of the
        method; everything else is.
        """
        if isinstance(error, NotApplied):
            self._finish(number, NOT_APPLIED)
        elif isinstance(error, ResultLost):
            self._finish(number, UNKNOWN)
        elif isinstance(error, Exception) and not isinstance(error, _NOTHING_KNOWN):
            self._finish(number, Raised.of(error))

    def applied(self, number: int, index: int, *, time: float | None = None) -> None:
        """Record that the log has the call, at `index` (see `Op.index`); it takes effect by now.

        May be said before or after the call's end. Only the first time counts.
        """
        call = self._calls[number]
        if call.index is None:
            call.index, call.time, call.applied_by = index, time, self._clock()

    def dismiss(self, number: int) -> None:
        """Record that a call of unknown outcome is not in the log, and never will be."""
        call = self._calls[number]
        if call.outcome is UNKNOWN and call.index is None:
            call.outcome, call.end = NOT_APPLIED, self._clock()

    @property
    def refused(self) -> list[Op]:
        """The calls that were not applied. If one of them is in the log, its node has lied."""
        return [op for op in self if op.outcome is NOT_APPLIED]

    def __iter__(self) -> Iterator[Op]:
        ops = [*self._ops.values(), *(call.op(n) for n, call in list(self._calls.items()))]
        return iter(sorted(ops, key=lambda op: (op.call, op.id)))

    def __len__(self) -> int:
        return len(self._ops) + len(self._calls)

    def __repr__(self) -> str:
        return f"<History of {len(self)} operations>"

    def _finish(self, number: int, outcome: object) -> None:
        call = self._calls[number]
        assert call.end == inf, f"call {number} ended twice"
        call.outcome = outcome
        call.end = self._clock()

    # As text

    def dump(self, stream: TextIO) -> None:
        """Write one JSON object per operation and line.

        Values that JSON knows are readable; others stand there as the codec's bytes in base 64.
        What the codec does not know either comes back as its `repr`.
        """
        for op in self:
            stream.write(json.dumps(_to_json(op), allow_nan=False) + "\n")

    @classmethod
    def load(cls, stream: Iterable[str]) -> Self:
        """Return what `dump` wrote; the lines of several histories with distinct ids may follow
        each other, if their times are of one clock.

        Raises:
            ValueError: a line is no operation, or two have the same id.
        """
        return cls.of(
            _from_json(number, line) for number, line in enumerate(stream, 1) if line.strip()
        )


_NOTHING_KNOWN = (OutcomeUnknown, Timeout, Cancelled, NodeFailed)
_VALUE, _RAISED, _BYTES, _REPR = "value", "raised", "base64", "repr"


def _to_json(op: Op) -> dict[str, object]:
    line: dict[str, object] = {
        "id": op.id,
        "process": op.process,
        "method": op.method,
        "args": [_pack(value) for value in op.args],
        "kwargs": {name: _pack(value) for name, value in op.kwargs.items()},
        "call": op.call,
        "end": None if op.end == inf else op.end,
        "outcome": _pack_outcome(op.outcome),
    }
    optional = {"index": op.index, "time": op.time, "session": op.session or None}
    return line | {name: value for name, value in optional.items() if value is not None}


def _from_json(number: int, line: str) -> Op:
    try:
        fields = json.loads(line)
        end = fields["end"]
        return Op(
            id=fields["id"],
            process=fields["process"],
            method=fields["method"],
            args=tuple(map(_unpack, fields["args"])),
            kwargs={name: _unpack(value) for name, value in fields["kwargs"].items()},
            call=fields["call"],
            end=inf if end is None else end,
            outcome=_unpack_outcome(fields["outcome"]),
            index=fields.get("index"),
            time=fields.get("time"),
            session=fields.get("session", 0),
        )
    except (LookupError, TypeError, AttributeError, ValueError, DecodeError) as error:
        raise ValueError(f"line {number} is no operation: {error!r}") from error


def _pack_outcome(outcome: object) -> object:
    if isinstance(outcome, _Special):
        return outcome.value
    if isinstance(outcome, Raised):
        return {_RAISED: outcome.kind, "args": [_pack(value) for value in outcome.args]}
    return {_VALUE: _pack(outcome)}


def _unpack_outcome(packed: Any) -> object:
    if isinstance(packed, str):
        return _Special(packed)
    if _RAISED in packed:
        return Raised(packed[_RAISED], tuple(map(_unpack, packed["args"])))
    return _unpack(packed[_VALUE])


def _pack(value: object) -> object:
    if _is_json(value):
        return value
    try:
        return {_BYTES: b64encode(encode(value)).decode()}
    except Unserializable:
        return {_REPR: repr(value)}


def _unpack(packed: Any) -> Any:
    if type(packed) is not dict:
        return packed
    return decode(b64decode(packed[_BYTES])) if _BYTES in packed else packed[_REPR]


def _is_json(value: object) -> bool:
    """Return whether JSON gives back the same value, and of the same type."""
    if type(value) is float:
        return isfinite(value)
    if type(value) is list:
        return all(map(_is_json, value))
    if type(value) is str:
        return value.isprintable()
    return value is None or type(value) in (bool, int)


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}...{text[-15:]}"
