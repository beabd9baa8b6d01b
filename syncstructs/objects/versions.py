"""Versions of replicated methods: which is in force, which bodies there are, and who knows what.

Part of the replicated state. A class may have several bodies of one method, each with a version.
Which of them a call runs is decided as it is applied, by the version in force at that place of the
log: the newest body up to it of those that were recorded for the class. Nothing in this depends on
the release of the class that a member has, so a member either runs that very body, or lacks it and
stops. A body that is named "take:2" in the log is that of version 2; "take" alone is version 1.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from ..errors import DecodeError, ObjectMismatch, VersionRefused

VERSION_MAX: Final = 1_000_000
"""More than any class has, and small on wires and disks."""

RELEASE: Final = 1
"""Grows with every release that writes commands, or forms of them, which those before do not know.

Nodes of later releases say it through the log (`know`), before they write anything of that kind. So
whoever finds something there that has no meaning can tell what a later release wrote, which others
apply, from what nobody understands.
"""

_UNSAID: Final = (1, 1)


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
        raise DecodeError(f"{name!r:.200} names no body of a method")
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
            raise DecodeError(f"names of methods are text, not {name!r:.200}")
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

    __slots__ = ("_bodies", "_known", "in_force")

    def __init__(self) -> None:
        self.in_force = 1
        """Never goes back."""
        self._bodies: dict[str, list[str]] = {}
        """Bodies of versions from 2 on that somebody has, by the class's name; sorted."""
        self._known: dict[str, tuple[int, int]] = {}
        """By address: the highest version of a body that the node has, and its `RELEASE`."""

    # What there is

    def has_bodies(self, type_name: str) -> bool:
        """Whether a body of a version from 2 on is known for the class."""
        return type_name in self._bodies

    def learn(self, type_name: str, bodies: Iterable[str], *, is_new: bool) -> None:
        """Take note of bodies (of versions from 2 on) that somebody has for a class.

        `is_new`: the cluster has no object of the class and knows no body of it.

        Raises:
            ObjectMismatch: one is new, but not above the version in force: it would be used at
                once, also by members that do not have it yet.
        """
        before = self._bodies.get(type_name, [])
        added = set(bodies).difference(before)
        if not added:
            return
        late = sorted(body for body in added if split_body(body)[1] <= self.in_force)
        if late and not is_new:
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

    def know(self, address: str, version: int, release: int) -> None:
        """Take note that a node has bodies up to `version`, and of its release."""
        before = self._known.get(address, _UNSAID)
        known = max(before[0], version), max(before[1], release)
        if known != _UNSAID:
            self._known[address] = known

    def forget(self, address: str) -> None:
        """Take note that a node has begun another life, maybe with another release, or none."""
        self._known.pop(address, None)

    @property
    def newest_release(self) -> int:
        """The newest release that a node of the cluster has."""
        return max((release for _, release in self._known.values()), default=RELEASE)

    def switch(self, version: int, members: Iterable[str]) -> None:
        """Put a version in force.

        Raises:
            VersionRefused: it is lower than that in force, or one of `members` does not know it.
        """
        if version < self.in_force:
            raise VersionRefused(
                f"version {version} is before version {self.in_force}, which is in force: it cannot"
                " be taken back; put another body in force by a higher version"
            )
        if version == self.in_force:
            return
        known = {member: self._known.get(member, _UNSAID)[0] for member in members}
        lacking = [f"{member} (up to {most})" for member, most in known.items() if most < version]
        if lacking:
            raise VersionRefused(
                f"version {version} is not known to {', '.join(lacking)}: start them with a release"
                " of your classes that has it, or remove them from the cluster"
            )
        self.in_force = version

    # The whole

    def state(self) -> list[Any] | None:
        """Return everything as a value for an image; None: there was never more than version 1."""
        if self.in_force == 1 and not self._bodies and not self._known:
            return None
        return [
            self.in_force,
            {type_name: list(bodies) for type_name, bodies in sorted(self._bodies.items())},
            {address: list(known) for address, known in sorted(self._known.items())},
        ]

    def restore(self, state: list[Any] | None) -> None:
        """Replace everything by what `state` returned."""
        self.in_force, bodies, known = state or (1, {}, {})
        self._bodies = {type_name: list(found) for type_name, found in bodies.items()}
        self._known = {address: (version, rel) for address, (version, rel) in known.items()}

    def _check(self) -> None:
        assert 1 <= self.in_force <= VERSION_MAX, self.in_force
        for type_name, bodies in self._bodies.items():
            assert bodies == sorted(set(bodies)), (type_name, bodies)
            assert all(split_body(body)[1] > 1 for body in bodies), (type_name, bodies)
        assert all(known != _UNSAID for known in self._known.values()), self._known
