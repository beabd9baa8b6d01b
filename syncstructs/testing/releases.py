"""Releases of a user's program: its classes as each has them, and which node runs which.

Nodes begin with release 1. They are started again with a later one, or with an earlier one, while
others are not; and somebody asks for a version to be put in force, at a good time or at a bad one.
What has to hold then, `upgrades` says.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from random import Random
from typing import Any, Final

from ..config import is_nameless
from ..errors import VersionRefused
from ..node.world import current_world
from ..objects import replicated as registry
from ..objects.context import Context, current_context
from ..objects.replicated import Replicated, not_in_force, replicated, type_name
from .hosts import Host, Life
from .sequential import TwinModel

NEWEST: Final = 3
"""The last release. Each has the version of its own number, and those before."""

_LATE: Final = 0.15
"""How many lives of nodes attach one of the objects late, and say at their start what its class
has, as if that was imported by then."""
_SILENT: Final = 0.1
"""How many attach all of them late, and say nothing before."""

BODIES: Final[Mapping[str, tuple[int, ...]]] = {
    "Stock.take": (1, 2, 3),
    "Stock.take_twice": (1, 2),
    "Stock.give": (2, 3),
    "Stock.on_session_expired": (1,),
    "Cellar.take": (1, 3),
}
"""All bodies of each method, by the class in which it stands; each takes one number."""

Ran = tuple[str, int, int]
"""Which body ran: of which method, of which version; and which version was in force."""


def _release(number: int) -> tuple[type[Replicated], type[Replicated]]:
    """Return the classes as that release of the program has them."""

    class Stock(Replicated):
        """A number, and what each body leaves behind besides."""

        # Those of this library have no versions.
        __module__, __qualname__ = "program", "Stock"
        LOCAL = frozenset({"on_run"})

        def __init__(self) -> None:
            self.left = 0
            self.ended: list[tuple[int, int]] = []
            self.on_run: Callable[[Context, Ran, int], object] | None = None

        @replicated
        def take(self, count: int) -> tuple[int, Ran]:
            ran = self._ran("Stock.take", 1, count)
            self.left -= count
            return self.left, ran

        @replicated
        def take_twice(self, count: int) -> list[tuple[int, Ran]]:
            self._ran("Stock.take_twice", 1, count)
            return [self.take(count), self.take(1)]

        if number >= 2:

            @take.version(2)
            def take_2(self, count: int) -> tuple[int, Ran]:
                ran = self._ran("Stock.take", 2, count)
                self.left -= 10 * count
                # The first body never leaves this behind.
                self.newest = count
                return self.left, ran

            @replicated(version=2)
            def give(self, count: int) -> tuple[int, Ran]:
                ran = self._ran("Stock.give", 2, count)
                self.left += count
                return self.left, ran

            @take_twice.version(2)
            def take_twice_2(self, count: int) -> list[tuple[int, Ran]]:
                self._ran("Stock.take_twice", 2, count)
                return [self.take(1), self.take(count)]

        if number >= 3:

            @take.version(3)
            def take_3(self, count: int) -> tuple[int, Ran]:
                ran = self._ran("Stock.take", 3, count)
                self.left -= 100 * count
                # What came with the second version, and is another one with the third.
                self.give(1)
                return self.left, ran

            @give.version(3)
            def give_3(self, count: int) -> tuple[int, Ran]:
                ran = self._ran("Stock.give", 3, count)
                self.left += 1000 * count
                return self.left, ran

        def on_session_expired(self, session: int) -> None:
            """Note it, with the version in force."""
            self.ended.append((session, current_context().version))
            self._ran("Stock.on_session_expired", 1, session)

        def peek(self) -> int:
            """Return the number as it is here."""
            return self.left

        def _ran(self, method: str, body: int, argument: int) -> Ran:
            """Note that a body begins."""
            context = current_context()
            ran = method, body, context.version
            if self.on_run is not None:
                self.on_run(context, ran, argument)
            return ran

    class Cellar(Stock):
        """One that overrides a method, and calls that of its base."""

        __module__, __qualname__ = "program", "Cellar"

        @replicated
        def take(self, count: int) -> tuple[int, Ran]:
            self._ran("Cellar.take", 1, count)
            return super().take(count)

        if number >= 3:

            @take.version(3)
            def take_3(self, count: int) -> tuple[int, Ran]:
                self.left += 7
                self._ran("Cellar.take", 3, count)
                return super().take(count)

    for cls in (Stock, Cellar):
        # A process has one release only; here every node has its own, and says so.
        del registry._classes[type_name(cls)]
    return Stock, Cellar


CLASSES: Final = {number: _release(number) for number in range(1, NEWEST + 1)}
NAMES: Final = ("stock", "cellar")
"""Under which names nodes attach an object of each of the classes."""


class Releases:
    """Which release each node of a simulation runs, or will run when it is started next."""

    def __init__(self, seed: str, newest: int) -> None:
        self.newest = newest
        self.is_over = False
        """Whether from now on everybody starts with the newest."""
        self.of_life: dict[Life, int] = {}
        self._seed = seed
        self._next: dict[str, int] = {}
        self._least = 1

    def begins(self, life: Life) -> dict[str, Replicated]:
        """Return the objects with which a life begins."""
        number = self.of_life[life] = self.next_of(life.host)
        return {name: cls() for name, cls in zip(NAMES, CLASSES[number], strict=True)}

    def next_of(self, host: Host) -> int:
        """Return the release with which a node is started next."""
        if self.is_over:
            return self.newest
        if is_nameless(host.address):
            # It lives once.
            return Random(f"{self._seed}/{host.address}/release").randint(1, self.newest)
        return max(self._next.get(host.address, 1), self._least)

    def demand(self, number: int) -> None:
        """Have nobody start with an earlier release from now on."""
        self._least = max(self._least, number)

    def assign(self, host: Host, number: int) -> None:
        """Have a node start with that release, from the next time on."""
        self._next[host.address] = number

    def running(self, host: Host) -> int:
        """Return the release that runs on a host; of one that is down, the next one."""
        found = self.of_life.get(host.life) if host.life is not None else None
        return self.next_of(host) if found is None else found

    def is_late(self, life: Life, name: str) -> bool:
        """Return whether a node attaches that object only some time after its start."""
        if name not in NAMES or self.is_over:
            return False
        random = self._chance(life)
        return self._is_silent(random) or (random.random() < _LATE and random.choice(NAMES) == name)

    def says_early(self, life: Life) -> bool:
        """Return whether a node says at its start what the classes have, of late objects too."""
        return self.is_over or not self._is_silent(self._chance(life))

    def _chance(self, life: Life) -> Random:
        return Random(f"{self._seed}/{life.id}/late")

    @staticmethod
    def _is_silent(random: Random) -> bool:
        return random.random() < _SILENT


class _Imported(dict[str, type[Replicated]]):
    """The classes that a process has imported, by name: those of its own release.

    They are found while its node is being made. What counts as known to it are only those that it
    is given: of the classes of other tests all nodes here would seem to know every version.
    """

    def __init__(self, releases: Releases) -> None:
        known = registry._classes.items()
        super().__init__({name: cls for name, cls in known if not cls._later_bodies})
        self._releases = releases

    def get(self, name: str, default: Any = None) -> Any:
        """Return the class of that name, as the process has it."""
        number = self._releases.of_life.get(current_world())  # type: ignore[call-overload]
        for cls in CLASSES.get(number, ()):
            if type_name(cls) == name:
                return cls
        return super().get(name, default)


@contextmanager
def apart(releases: Releases | None) -> Iterator[None]:
    """Have every node find the classes of its own release, meanwhile."""
    before = registry._classes
    if releases is not None:
        registry._classes = _Imported(releases)
    try:
        yield
    finally:
        registry._classes = before


class _Stock:
    """What the bodies do, as plain methods, with the version in force as a part of the state."""

    def __init__(self, left: int = 0, version: int = 1) -> None:
        self.left = left
        self.version = version

    def set_version(self, version: int) -> None:
        self.version = version

    def peek(self) -> int:
        return self.left

    def take(self, count: int) -> tuple[int, Ran]:
        return self._stock_take(count)

    def _stock_take(self, count: int) -> tuple[int, Ran]:
        body = self._body("Stock.take")
        self.left -= count * (1, 10, 100)[body - 1]
        if body == 3:
            self.give(1)
        return self.left, ("Stock.take", body, self.version)

    def take_twice(self, count: int) -> list[tuple[int, Ran]]:
        counts = (count, 1) if self._body("Stock.take_twice") == 1 else (1, count)
        return [self.take(number) for number in counts]

    def give(self, count: int) -> tuple[int, Ran]:
        if self.version < 2:
            raise VersionRefused(not_in_force("give", 2, self.version))
        body = self._body("Stock.give")
        self.left += count if body == 2 else 1000 * count
        return self.left, ("Stock.give", body, self.version)

    def _body(self, method: str) -> int:
        return body_at(method, self.version)


class _Cellar(_Stock):
    def take(self, count: int) -> tuple[int, Ran]:
        if self._body("Cellar.take") == 3:
            self.left += 7
        return self._stock_take(count)


def body_at(method: str, version: int) -> int:
    """Return the version of the body that a method runs while that version is in force."""
    return max(number for number in BODIES[method] if number <= version)


class StockModel(TwinModel):
    """The objects of `NAMES`; the switches of the version are operations of theirs."""

    READS = frozenset({"peek"})
    ALL_OR_NOTHING = frozenset({"give"})

    def __init__(self, twin: type[_Stock]) -> None:
        self._twin = twin

    def initial(self) -> Hashable:
        """Return the first state."""
        return 0, 1

    def thaw(self, state: Any) -> _Stock:
        """Return a twin in that state."""
        return self._twin(*state)

    def freeze(self, twin: Any) -> Hashable:
        """Return what is left, and the version in force."""
        return twin.left, twin.version


MODELS: Final = {"stock": StockModel(_Stock), "cellar": StockModel(_Cellar)}
