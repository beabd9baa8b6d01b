"""The contract of a replicated class: same calls, same results, same state, wherever it runs.

Checked on copies in one process, on a copy that is restored from a snapshot before every call, and
on copies in two other processes, with other hashes, clocks and random numbers. What is found is
told with its likely cause.
"""

from __future__ import annotations

import os
import random
import sys
import time
import warnings
from collections.abc import Callable, MutableMapping, MutableSequence, MutableSet, Sequence
from types import FrameType
from typing import Any, Final

from ..codec import decode, encode
from ..errors import DecodeError, Unserializable
from ..objects.replicated import Replicated
from .copies import OtherProcess, Step, Unreachable, steps_of
from .history import Raised
from .subjects import Copy, Made, Subject, encoding, listed, shown
from .violation import Violation

_Point = tuple[bytes | str, bytes]
"""What a call came to: its outcome and the state after it, encoded."""


class ContractBroken(AssertionError):
    """A class does not keep the contract; says which call showed it, and the likely cause."""


class ContractWarning(UserWarning):
    """A part of the contract could not be checked."""


def check_contract(subject: Subject, calls: Sequence[Made]) -> None:
    """Make calls on copies in this process, and compare.

    Raises:
        ContractBroken: they differ, or something cannot be sent, kept or restored.
    """
    one = Copy(subject)
    initial = _state_of(one, "a new object", calls, 0)
    points = _first_pass(subject, one, initial, calls)
    # The members take over the first one's state: what the constructor does counts but once.
    two = Copy(subject, initial)
    for number, made in enumerate(calls, 1):
        _compare(subject, calls, number, "a second copy", points[number - 1], _made(two, made))
    _restoring_pass(subject, initial, points, calls)


def _first_pass(
    subject: Subject, one: Copy, initial: bytes, calls: Sequence[Made]
) -> list[_Point]:
    """Make the calls, look at each by itself, and return what they came to."""
    points: list[_Point] = []
    state = initial
    for number, made in enumerate(calls, 1):
        for name, value in made.args.items():
            what = f"argument {name!r} of {subject.name}.{made.method}()"
            _check_codec(what, value, calls, number)
        before, commands = state, one.command_count
        try:
            value = one.make(made)
        except Violation as violation:
            raise ContractBroken(f"{violation}{_after(calls, number)}") from violation
        if one.gave_generator and subject.is_command(made.method):
            raise ContractBroken(
                f"{subject.name}.{made.method}() is a command that returns a generator: it would"
                f" run when its caller asks for items, on one member, after other commands."
                f" Return a list{_after(calls, number)}"
            )
        state = _state_of(one, f"the state after {made}", calls, number)
        if subject.is_command(made.method) and not isinstance(value, Raised):
            _check_codec(f"the result of {subject.name}.{made.method}()", value, calls, number)
        if state != before and one.command_count == commands:
            raise ContractBroken(
                f"{subject.name}.{made.method}() changes the state, but is not marked @replicated:"
                f" the other members would not know of it\n{_change(before, state)}"
                f"{_after(calls, number)}"
            )
        points.append((encoding(value), state))
        _check_aliases(subject, one, made, value, state, calls, number)
        trouble = subject.broken(one.target)
        if trouble is not None:
            told = f"{trouble} after {made}\n  {_shown(state)}"
            raise ContractBroken(told + _after(calls, number))
    return points


def _restoring_pass(
    subject: Subject, initial: bytes, points: Sequence[_Point], calls: Sequence[Made]
) -> None:
    """Make the calls on copies, each of which is restored from the one before it."""
    state, commands = initial, 0
    for number, made in enumerate(calls, 1):
        restored = _restored(subject, state, calls, number)
        restored.command_count = commands
        its = _made(restored, made)
        other = "a copy restored from a snapshot before this call"
        _compare(subject, calls, number, other, points[number - 1], its)
        state, commands = its[1], restored.command_count


def _made(copy: Copy, made: Made) -> _Point:
    outcome = encoding(copy.make(made))
    return outcome, copy.state()


def _check_codec(what: str, value: object, calls: Sequence[Made], number: int) -> None:
    try:
        packed = encode(value)
        again = encode(decode(packed))
    except (Unserializable, DecodeError) as error:
        raise ContractBroken(f"{what} cannot be sent: {error}{_after(calls, number)}") from error
    if packed != again:
        told = f"{what} comes back as another value: {value!r}"
        raise ContractBroken(told + _after(calls, number))


def _state_of(copy: Copy, what: str, calls: Sequence[Made], number: int) -> bytes:
    try:
        return copy.state()
    except Unserializable as error:
        what = f"{what} cannot be kept in a snapshot"
        raise ContractBroken(f"{what}: {error}{_after(calls, number)}") from error


def _restored(subject: Subject, state: bytes, calls: Sequence[Made], number: int) -> Copy:
    try:
        copy = Copy(subject, state)
        again = copy.state()
    except Exception as error:
        raise ContractBroken(
            f"{subject.name} cannot be restored from its snapshot: {error!r}"
            f"{_after(calls, number - 1)}"
        ) from error
    if again != state:
        raise ContractBroken(
            f"{subject.name} is another one after it was restored from its snapshot\n"
            f"{_change(state, again)}{_after(calls, number - 1)}"
        )
    return copy


def _check_aliases(
    subject: Subject, copy: Copy, made: Made, value: object, state: bytes, calls: Sequence[Made],
    number: int,
) -> None:  # fmt: skip
    """Spoil what a plain method returned: the state must not change by that."""
    if subject.is_command(made.method) or not _spoil(value):
        return
    after = copy.state()
    if after != state:
        raise ContractBroken(
            f"{subject.name}.{made.method}() returns a part of the state itself: whoever changes"
            f" what it returned changes this member alone. Return a copy\n"
            f"{_change(state, after)}{_after(calls, number)}"
        )


def _spoil(value: object) -> bool:
    """Change a container, and those inside; return whether there was anything to change."""
    if isinstance(value, MutableSequence):
        inner = [_spoil(part) for part in list(value)]
        if isinstance(value, list):
            value.append("spoilt")
            return True
        return any(inner)
    if isinstance(value, MutableMapping):
        for part in list(value.values()):
            _spoil(part)
        value["spoilt"] = None
        return True
    if isinstance(value, MutableSet):
        value.add("spoilt")
        return True
    if isinstance(value, tuple):
        spoilt = [_spoil(part) for part in value]
        return any(spoilt)
    return False


# Differences, and why


def _compare(
    subject: Subject, calls: Sequence[Made], number: int, other: str, mine: _Point, its: _Point
) -> None:
    if mine == its:
        return
    names = ("one copy", other)
    told = _difference(subject, calls, number, names, mine, its, restored="restored" in other)
    raise ContractBroken(told)


def _difference(
    subject: Subject, calls: Sequence[Made], number: int, names: tuple[str, str], mine: _Point,
    its: _Point, restored: bool = False, hashes: bool = False,
) -> str:  # fmt: skip
    lines = [f"{subject.name} is not deterministic: two copies that were given the same calls"
             f" differ after call {number}, {calls[number - 1]}"]  # fmt: skip
    for name, (outcome, state) in zip(names, (mine, its), strict=True):
        lines.append(f"  {name}: {shown(outcome)}, {_shown(state)}")
    lines.append(f"likely cause: {_cause(subject, calls[:number], restored, hashes)}")
    return "\n".join(lines) + _after(calls, number)


def _cause(subject: Subject, calls: Sequence[Made], restored: bool, hashes: bool) -> str:
    seen = watch(subject, calls)
    if seen:
        return (
            f"{'; '.join(seen)}. Every member has its own; current_context() has a time and a"
            " random generator that are the same everywhere"
        )
    if hashes:
        return (
            "the order of a set of strings, or hash(): they follow PYTHONHASHSEED, another one in"
            " every process (sort, or use a dict as an ordered set); or the process itself: its"
            " environment, working directory, time zone or locale"
        )
    if restored and subject.local:
        names = ", ".join(repr(name) for name in sorted(subject.local))
        return (
            f"results or state depend on what LOCAL names ({names}): each member keeps its own, and"
            " no snapshot has it"
        )
    if restored:
        return (
            "two parts of the state are one object, or something that the results depend on is not"
            " in the attributes: a snapshot keeps neither"
        )
    return (
        "state outside the object: a list or dict of the class, a default argument, a global, an"
        " iterator. Make it an attribute in __init__"
    )


def _shown(state: bytes) -> str:
    try:
        return f"state {decode(state)!r}"
    except DecodeError:
        return f"state {state!r}"


def _change(before: bytes, after: bytes) -> str:
    return f"  before: {_shown(before)}\n  after:  {_shown(after)}"


def _after(calls: Sequence[Made], number: int) -> str:
    made = calls[:number]
    return f"\nthe calls:\n{listed(made)}" if made else ""


_WORLD: Final = frozenset({"time", "random", "uuid", "secrets", "_random", "posix", "os", "_uuid"})
_TELLTALE: Final = frozenset({
    "id", "hash", "now", "utcnow", "today", "time", "time_ns", "monotonic", "monotonic_ns",
    "perf_counter", "perf_counter_ns", "urandom", "getrandom", "getpid", "gethostname", "localtime",
    "gmtime", "ctime", "strftime", "getenv", "uname", "getcwd", "getcwdb", "getlogin", "getuid",
})  # fmt: skip
_CHANCE: Final = frozenset({"random", "getrandbits"})


def watch(subject: Subject, calls: Sequence[Made]) -> list[str]:
    """Make calls on a new copy, and return what each asked of the world, in words."""
    seen: dict[str, None] = {}
    ours = _module_files(subject.cls)
    copy = Copy(subject)
    for made in calls:
        before = sys.getprofile()
        sys.setprofile(_watcher(f"{made.method}()", ours, seen))
        try:
            copy.make(made)
        finally:
            sys.setprofile(before)
    return list(seen)


def _module_files(cls: type) -> frozenset[str]:
    files = set()
    for base in cls.__mro__:
        file = getattr(sys.modules.get(base.__module__), "__file__", None)
        if base not in (Replicated, object) and file is not None:
            files.add(file)
    return frozenset(files)


def _watcher(
    method: str, ours: frozenset[str], seen: dict[str, None]
) -> Callable[[FrameType, str, Any], None]:
    def profile(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call":
            asked = _asks_world(function)
            if asked and frame.f_code.co_filename in ours:
                seen[f"{method} calls {asked}"] = None
        elif event == "call" and frame.f_back is not None:
            if frame.f_locals.get("self") is os.environ:
                seen[f"{method} reads os.environ"] = None
            module = frame.f_globals.get("__name__")
            mine = frame.f_back.f_code.co_filename in ours
            if mine and module in ("random", "uuid", "secrets", "tempfile"):
                generator = frame.f_locals.get("self")
                if not isinstance(generator, random.Random) or generator is _shared_random():
                    seen[f"{method} calls {module}.{frame.f_code.co_name}()"] = None

    return profile


def _asks_world(function: Any) -> str:
    """Return the name of a builtin function whose result is another on every member, or ''."""
    name = getattr(function, "__name__", "")
    owner = getattr(function, "__self__", None)
    if name in _CHANCE and isinstance(owner, random.Random):
        return f"random.{name}()" if owner is _shared_random() else ""
    if name not in _TELLTALE:
        return ""
    where = getattr(owner, "__name__", "")
    return f"{name}()" if where in ("", "builtins") else f"{where}.{name}()"


def _shared_random() -> object:
    shared: object = vars(random)["_inst"]
    return shared


# Other processes


class OtherCopies:
    """The copies in two other processes, if the class can be imported there, and one here.

    Two, of which the hashes are always the same: whether a set of few strings has another order
    there than here is a matter of chance, as the hashes of this process are.
    """

    def __init__(self, subject: Subject) -> None:
        """Start the processes; they import while the caller goes on."""
        self.subject = subject
        self._initial = Copy(subject).state()
        self._processes: list[OtherProcess] = []
        try:
            for number in (1, 2):
                self._processes.append(OtherProcess(subject, number))
        except Unreachable as error:
            self._warn(error)

    def check(self, sequences: Sequence[Sequence[Made]], *, seconds: float = 5.0) -> None:
        """Make all these calls here and there, and compare.

        Raises:
            ContractBroken: a call came to another result or state; the sequence is cut short
                first, for `seconds` of real time at the most.
        """
        try:
            at = self._first_difference(sequences)
            if at is None:
                return
            deadline = time.monotonic() + seconds
            shortest, number, process = self._shrunk(sequences[at[0]][: at[1]], at[2], deadline)
            (one,), (two,) = self._made_here([shortest]), process.run(self._initial, [shortest])
        except Unreachable as error:
            self.close()
            self._warn(error)
            return
        names = ("this process", "another one")
        raise ContractBroken(
            _difference(self.subject, shortest, number, names, _point(one[number - 1]),
                        _point(two[number - 1]), hashes=True)
        )  # fmt: skip

    def close(self) -> None:
        """End the processes."""
        for process in self._processes:
            process.close()
        self._processes = []

    def _made_here(self, sequences: Sequence[Sequence[Made]]) -> list[list[Step]]:
        return [steps_of(self.subject, self._initial, calls) for calls in sequences]

    def _first_difference(
        self, sequences: Sequence[Sequence[Made]]
    ) -> tuple[int, int, OtherProcess] | None:
        """Return which sequence, after which of its calls, and where; the shortest, or None."""
        here = self._made_here(sequences) if self._processes else []
        found = [
            (number, which, at)
            for at, process in enumerate(self._processes)
            for which, (mine, its) in enumerate(
                zip(here, process.run(self._initial, sequences), strict=True)
            )
            for number, (a, b) in enumerate(zip(mine, its, strict=True), 1)
            if a != b
        ]
        if not found:
            return None
        number, which, at = min(found)
        return which, number, self._processes[at]

    def _shrunk(
        self, calls: Sequence[Made], process: OtherProcess, deadline: float
    ) -> tuple[list[Made], int, OtherProcess]:
        """Leave out calls as long as there is a difference; return them, after which, and where."""
        best, number = list(calls), len(calls)
        progress = True
        while progress and time.monotonic() < deadline:
            fewer = [best[:i] + best[i + 1 :] for i in range(len(best))]
            at = self._first_difference(fewer) if fewer else None
            progress = at is not None
            if at is not None:
                best, number, process = fewer[at[0]][: at[1]], at[1], at[2]
        return best, number, process

    def _warn(self, error: Unreachable) -> None:
        warnings.warn(
            f"whether {self.subject.name} depends on hashes could not be tested: {error}",
            ContractWarning,
            stacklevel=4,
        )


def _point(step: Step) -> _Point:
    return step

