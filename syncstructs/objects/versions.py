"""Versions of replicated methods: which is in force, which bodies there are, and who knows what.

Part of the replicated state. A class may have several bodies of one method, each with a version.
Which of them a call runs is decided as it is applied, by the version in force at that place of the
log: the newest body up to it of those that were recorded for the class. Nothing in this depends on
the release of the class that a member has, so a member either runs that very body, or lacks it and
stops. A body that is named "take:2" in the log is that of version 2; "take" alone is version 1.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

import msgspec

from ..codec import shown
from ..errors import DecodeError, ObjectMismatch, VersionRefused

VERSION_MAX: Final = 1_000_000
"""More than any class has, and small on wires and disks."""

WITH_TRANSACTIONS: Final = 3
"""The release that writes transactions, once all nodes have told that they read them."""

WITH_RUNS: Final = 3
"""The release that writes runs of calls into batches, once all nodes have told that they read them.

It also wakes objects. Release 2 has brought values which were pickled.
"""

RELEASE: Final = WITH_RUNS
"""Grows with every release that writes commands, or forms of them, which those before do not know.

Nodes say it through the log (`know`) before they write anything else. So whoever finds something
there that has no meaning can tell what a later release wrote, which others apply, from what nobody
understands.
"""


class _Told(msgspec.Struct, frozen=True, array_like=True):
    """What a node has told of itself."""

    version: int = 1
    """The highest version of a body that it has."""
    release: int = 1
    classes: Mapping[str, list[str]] = {}
    """Bodies of versions from 2 on, by the class's name; also of classes that have none."""

    def lacking(self, type_name: str, bodies: Iterable[str]) -> list[str]:
        """Return which of the bodies of a class it lacks; a class that it has not lacks nothing."""
        mine = self.classes.get(type_name)
        return [] if mine is None else [body for body in bodies if body not in mine]


_UNSAID: Final = _Told()


def body_name(method: str, version: int) -> str:
    """Return the name in the log of the body of `method` with that version.

    >>> body_name("take", 1), body_name("take", 2)
    ('take', 'take:2')
    """
    return method if version == 1 else f"{method}:{version}"


def split_body(name: str) -> tuple[str, int]:
    """Return method and version of a body.

    Raises:
        DecodeError: `body_name` never gives this name.
    """
    method, colon, digits = name.partition(":")
    if not colon:
        return name, 1
    version = int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 8 else 0
    if not 1 < version <= VERSION_MAX or str(version) != digits:
        raise DecodeError(f"{shown(name)} names no body of a method")
    return method, version


def split_bodies(names: Iterable[object]) -> tuple[list[str], list[str]]:
    """Return which of the names are of version 1, and which are of later ones; each sorted.

    Raises:
        DecodeError: no correct member says this.
    """
    plain: set[str] = set()
    later: set[str] = set()
    for name in names:
        if not isinstance(name, str):
            raise DecodeError(f"names of methods are text, not {shown(name)}")
        (plain if split_body(name)[1] == 1 else later).add(name)
    return sorted(plain), sorted(later)


def bodies_up_to(
    version: int, methods: Iterable[str], later: Collection[str]
) -> dict[str, str]:
    """Return which body a call of each method runs at a version.

    `methods`: those with a body of version 1; `later`: the bodies of later versions.

    >>> bodies_up_to(2, ["put", "take"], ["take:2", "take:3", "give:3"])
    {'put': 'put', 'take': 'take:2'}
    """
    if not later:
        # As in most clusters: a body of version 1 has the name of its method.
        return {method: method for method in methods}
    chosen = dict.fromkeys(methods, 1)
    for body in later:
        method, number = split_body(body)
        if number <= version:
            chosen[method] = max(number, chosen.get(method, 0))
    return {method: body_name(method, number) for method, number in chosen.items()}


class Versions:
    """The version in force, the bodies that the cluster knows, and what each member knows."""

    __slots__ = ("_bodies", "_told", "in_force")

    def __init__(self) -> None:
        self.in_force = 1
        """Never goes back."""
        self._bodies: dict[str, list[str]] = {}
        """Bodies of versions from 2 on that somebody has, by the class's name; sorted."""
        self._told: dict[str, _Told] = {}
        """By address."""

    # What there is

    def has_bodies(self, type_name: str) -> bool:
        """Whether a body of a version from 2 on is known for the class."""
        return type_name in self._bodies

    def learn(self, type_name: str, bodies: Iterable[str], *, is_new: bool) -> None:
        """Take note of bodies (of versions from 2 on) that somebody has for a class.

        `is_new`: the cluster has no object of the class and knows no body of it. If no node has
        told of the class either, it may begin with any version.

        Raises:
            ObjectMismatch: one is new, but not above the version in force: it would be used at
                once, also by members that do not have it yet.
        """
        before = self._bodies.get(type_name, [])
        added = set(bodies).difference(before)
        if not added:
            return
        late = sorted(body for body in added if split_body(body)[1] <= self.in_force)
        if late and not (is_new and all(type_name not in t.classes for t in self._told.values())):
            method, version = split_body(late[0])
            raise ObjectMismatch(
                f"{type_name}.{method}() has a body of version {version}, which nobody had when the"
                f" cluster went to version {self.in_force}: give it a version above that"
            )
        self._bodies[type_name] = sorted({*before, *added})

    def bodies_in_force(self, type_name: str, methods: Iterable[str]) -> dict[str, str]:
        """Return which body a call of each method runs; `methods`: those that have version 1."""
        return bodies_up_to(self.in_force, methods, self._bodies.get(type_name, ()))

    def first_version(self, type_name: str, method: str) -> int | None:
        """Return the lowest version from 2 on in which there is such a method, or None."""
        found = map(split_body, self._bodies.get(type_name, ()))
        return min((version for name, version in found if name == method), default=None)

    # Who knows what

    def know(
        self, address: str, version: int, release: int, classes: Mapping[str, list[str]]
    ) -> None:
        """Take note that a node has bodies up to `version`, of its release, and its classes.

        `classes`: for each class that it tells of, the bodies of versions from 2 on.
        """
        before = self._told.get(address, _UNSAID)
        version, release = max(before.version, version), max(before.release, release)
        if (version, release) != (1, 1):
            self._told[address] = _Told(version, release, {**before.classes, **classes})

    def forget(self, address: str) -> None:
        """Take note that a node has begun another life, maybe with another release, or none."""
        self._told.pop(address, None)

    def oldest_release(self, addresses: Iterable[str]) -> int:
        """Return the oldest release that one of these nodes has, as far as they have told."""
        return min((self._told.get(a, _UNSAID).release for a in addresses), default=1)

    @property
    def newest_release(self) -> int:
        """The newest release that a node of the cluster has."""
        return max((told.release for told in self._told.values()), default=RELEASE)

    def switch(self, version: int, members: Iterable[str]) -> None:
        """Put a version in force.

        Raises:
            VersionRefused: it is lower than that in force, or one of `members` does not know it, or
                lacks a body up to it that others have, of a class of its own.
        """
        if version < self.in_force:
            raise VersionRefused(
                f"version {version} is before version {self.in_force}, which is in force: it cannot"
                " be taken back; put another body in force by a higher version"
            )
        if version == self.in_force:
            return
        lacks = {member: self._what_lacks(member, version) for member in members}
        lacking = [f"{member} ({what})" for member, what in lacks.items() if what is not None]
        if lacking:
            raise VersionRefused(
                f"version {version} is not known to {', '.join(lacking)}: start them with a release"
                " of your classes that has it, or remove them from the cluster"
            )
        self.in_force = version

    def _what_lacks(self, member: str, version: int) -> str | None:
        """Return why a member cannot go to a version, or None if it can."""
        told = self._told.get(member, _UNSAID)
        if told.version < version:
            return f"up to {told.version}"
        for type_name, bodies in sorted(self._bodies.items()):
            used = [body for body in bodies if split_body(body)[1] <= version]
            for body in told.lacking(type_name, used):
                method, number = split_body(body)
                return f"its {type_name} lacks version {number} of {method}()"
        return None

    # The whole

    def state(self) -> list[Any] | None:
        """Return everything as a value for an image; None: there was never more than version 1."""
        if self.in_force == 1 and not self._bodies and not self._told:
            return None
        return [
            self.in_force,
            _sorted(self._bodies),
            {address: _row(told) for address, told in sorted(self._told.items())},
        ]

    def restore(self, state: list[Any] | None) -> None:
        """Replace everything by what `state` returned."""
        self.in_force, bodies, told = state or (1, {}, {})
        self._bodies = _sorted(bodies)
        # Images of before have no classes there.
        self._told = {address: _Told(*row) for address, row in told.items()}

    def _check(self) -> None:
        assert 1 <= self.in_force <= VERSION_MAX, self.in_force
        for type_name, bodies in self._bodies.items():
            assert bodies == sorted(set(bodies)), (type_name, bodies)
            assert all(split_body(body)[1] > 1 for body in bodies), (type_name, bodies)
        assert all((t.version, t.release) != (1, 1) for t in self._told.values()), self._told


def _sorted(bodies: Mapping[str, list[str]]) -> dict[str, list[str]]:
    return {type_name: list(found) for type_name, found in sorted(bodies.items())}


def _row(told: _Told) -> list[Any]:
    if not told.classes:
        return [told.version, told.release]
    return [told.version, told.release, _sorted(told.classes)]
