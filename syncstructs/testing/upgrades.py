"""Rules of versions: which body a call runs, who may put a version in force, and who has to stop.

Judged by what each node was really started with, not by what it says. A version is put in force at
one place of the log, the same for all, and only if the newest life of every member that the log
knows of has it; it is refused only if one has not said so. What is in force never goes back. A call
runs the newest body up to the version in force at its place, on every member and whenever it is
applied: at once, from a log that is read again, or from a backlog. A node that lacks a body stops,
and names it; nobody else does.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ..errors import NodeFailed, ObjectMismatch, VersionRefused
from ..objects.context import Context, _current
from ..objects.versions import Versions
from .releases import BODIES, NAMES, Ran, Releases, body_at
from .watching import replace_methods

if TYPE_CHECKING:
    from ..raft.messages import Entry
    from .hosts import Life

_LACKS: Final = re.compile(r"runs version (\d+) of ([\w.<>]+)\(\), which .* does not have")


class Switch(NamedTuple):
    """Where in the log somebody asked for a version, and got it."""

    serial: int
    version: int
    session: int
    sequence: int


class Upgrades:
    """The rules, for all lives of a simulation; `fail(life, what)` raises."""

    def __init__(self, releases: Releases, fail: Callable[[Life, str], object]) -> None:
        self.switches: list[Switch] = []
        """All that have changed the version in force, in the order of the log."""
        self.refusals = 0
        self.commands: dict[str, dict[int, tuple[int, str, int]]] = {name: {} for name in NAMES}
        """What ran of each object, by serial: index of the entry, method and argument."""
        self.on_lacking: Callable[[Life], object] | None = None
        """Called with every life whose node has stopped because it lacks a body."""
        self.lacked: set[Life] = set()
        self._releases = releases
        self._fail = fail
        self._lives: dict[tuple[str, int], Life] = {}
        """By address and incarnation."""
        self._said: dict[Life, int] = {}
        """The version up to which a life has told, by the log, that it has all."""
        self._asked: dict[int, str] = {}
        """How each command that asked for a version ended, by its serial."""
        self._in_force: dict[int, int] = {}
        """The version in force behind each entry, by index."""
        self._ran: dict[tuple[str, int], list[Ran]] = {}
        """What ran in each command, by object and serial, in order."""

    # What a node does

    def watch_objects(self, life: Life, objects: dict[str, Any]) -> None:
        """Hear of every body that the objects run from now on."""
        for name in NAMES:
            objects[name].on_run = _Runs(self, life, name).ran

    def watch(self, life: Life) -> None:
        """Watch the node of a life from now on."""
        table: Any = life.table
        self._lives[life.host.address, life.replica._incarnation] = life
        watched = _WatchedVersions(self, life, table.versions)
        table.versions = table._directory._versions = watched
        apply, restore = table.apply, table.restore
        engine: Any = life.node._engine
        if engine._driver.failure is None:
            # Or it stops as soon as it runs: its snapshot is of a later release.
            self._stands(life)

        def watched_apply(entry: Entry, session: int) -> Any:
            before, count = watched.in_force, watched.switch_count
            applied = apply(entry, session)
            if watched.in_force != before and watched.switch_count == count:
                self._fail(
                    life,
                    f"goes from version {before} to {watched.in_force} in {entry.id}, which does"
                    " not ask for it",
                )
            self._stands(life)
            return applied

        def watched_restore(image: Iterable[bytes]) -> None:
            restore(image)
            self._stands(life)

        table.apply, table.restore = watched_apply, watched_restore
        stop = engine._stop

        def watched_stop(error: Exception) -> None:
            stop(error)
            if self.explains(life, error):
                self._lacks(life)

        replace_methods(engine, _stop=watched_stop)

    def _lacks(self, life: Life) -> None:
        self.lacked.add(life)
        if self.on_lacking is not None:
            self.on_lacking(life)

    def explains(self, life: Life, error: Exception | None) -> bool:
        """Whether a node stopped because it lacks a body, which it names and does lack."""
        found = _LACKS.search(str(error)) if isinstance(error, NodeFailed) else None
        if found is None:
            return False
        version, method = int(found[1]), found[2].rpartition(".")[2]
        if not any(
            version in bodies and name.endswith(f".{method}") for name, bodies in BODIES.items()
        ):
            self._fail(life, f"lacks a body that there is not: {error}")
        if version > self.latest:
            self._fail(life, f"lacks a body that was never in force: {error}")
        if version <= self._releases.of_life[life]:
            self._fail(life, f"stops for lack of what it has: {error}")
        return True

    # What is in force

    def _stands(self, life: Life) -> None:
        """Look at what is in force behind an entry, and whether this node may go on with it."""
        table = life.table
        index, version = table.applied_index, table.versions.in_force
        known = self._in_force.setdefault(index, version)
        if known != version:
            self._fail(life, f"has version {version} in force at {index}; others have {known}")
        if version > self._releases.of_life[life]:
            objects = table.objects
            for name in NAMES:
                if name in objects:
                    self._fail(
                        life,
                        f"goes on with {name!r} at version {version}, and is of release"
                        f" {self._releases.of_life[life]}",
                    )

    @property
    def latest(self) -> int:
        """The version that was put in force last."""
        return self.switches[-1].version if self.switches else 1

    def at(self, serial: int) -> int:
        """Return the version in force at a command."""
        before = bisect_right(self.switches, serial, key=lambda switch: switch.serial)
        return self.switches[before - 1].version if before else 1

    def knows(self, life: Life, address: str, version: int) -> None:
        """Note what a node has told the log, as it is being applied somewhere."""
        teller = self._newest_life(life, address)
        if teller is None:
            self._fail(life, f"takes {address} for one that knows {version}; it has no session")
        elif version > self._releases.of_life[teller]:
            self._fail(
                life,
                f"takes {address} for one that knows version {version}; it is of release"
                f" {self._releases.of_life[teller]}",
            )
        else:
            self._said[teller] = max(version, self._said.get(teller, 1))

    def switched(self, life: Life, version: int, before: int, error: str) -> None:
        """Look at how a command ended that asked for a version; `error`: why it was refused."""
        context = _current.get()
        assert context is not None, version
        serial = context.serial
        known = self._asked.get(serial)
        if known is not None:
            if known != error:
                self._fail(
                    life,
                    f"answers the question for version {version} (command {serial}) with"
                    f" {error or 'yes'!r}; others with {known or 'yes'!r}",
                )
            return
        self._asked[serial] = error
        table = life.table
        # Those on their way out too: no change of members ends without them.
        members = sorted({*table.wanted, *table.voters})
        if error:
            self._was_refused(life, version, before, members)
            return
        if version < before:
            self._fail(life, f"goes back from version {before} to {version}")
        if version == before:
            # Of those who have become members since, nobody asks it.
            return
        for member in members:
            newest = self._newest_life(life, member)
            has = 1 if newest is None else self._releases.of_life[newest]
            if has < version:
                self._fail(
                    life,
                    f"puts version {version} in force; {member} has a release with {has} only",
                )
        self.switches.append(Switch(serial, version, context.session, context.sequence))

    def _was_refused(
        self, life: Life, version: int, before: int, members: Iterable[str]
    ) -> None:
        self.refusals += 1
        lives = [self._newest_life(life, member) for member in members]
        known = [1 if newest is None else self._said.get(newest, 1) for newest in lives]
        if version >= before and min(known, default=version) >= version:
            self._fail(life, f"refuses version {version}, and all have said that they know it")

    def _newest_life(self, life: Life, address: str) -> Life | None:
        """Return the life of that node that has opened a session last, as far as a table tells."""
        newest = life.table.sessions._newest.get(address)
        return None if newest is None else self._lives.get((address, newest.incarnation))

    # What runs

    def ran(
        self, life: Life, name: str, context: Context, number: int, ran: Ran, argument: int
    ) -> None:
        """Look at the `number`-th body that ran in a command of an object."""
        method, body, version = ran
        serial = context.serial
        due = self.at(serial)
        if version != due:
            self._fail(
                life,
                f"runs {method}() of {name!r} (command {serial}) at version {version}; {due} is in"
                " force there",
            )
        if body != body_at(method, due):
            self._fail(
                life,
                f"runs version {body} of {method}() of {name!r} (command {serial}); at version"
                f" {due} it is {body_at(method, due)}",
            )
        if number == 0:
            told = context.index, method.rpartition(".")[2], argument
            self.commands[name].setdefault(serial, told)
        known = self._ran.setdefault((name, serial), [])
        if number == len(known):
            known.append(ran)
        elif known[number] != ran:
            others = known[number]
            self._fail(life, f"runs {ran} in command {serial} of {name!r}; others ran {others}")


class _Runs:
    """The bodies that one instance runs; numbered within each command."""

    def __init__(self, upgrades: Upgrades, life: Life, name: str) -> None:
        self._upgrades = upgrades
        self._life = life
        self._name = name
        self._serial = self._count = 0

    def ran(self, context: Context, ran: Ran, argument: int) -> None:
        """Report a body."""
        if context.serial != self._serial:
            self._serial, self._count = context.serial, 0
        self._upgrades.ran(self._life, self._name, context, self._count, ran, argument)
        self._count += 1


class _WatchedVersions(Versions):
    """Versions that tell the rules what happens to them."""

    __slots__ = ("_life", "_upgrades", "switch_count")

    def __init__(self, upgrades: Upgrades, life: Life, versions: Versions) -> None:
        super().__init__()
        self._upgrades = upgrades
        self._life = life
        self.switch_count = 0
        self.restore(versions.state())

    def know(
        self, address: str, version: int, release: int, classes: Mapping[str, list[str]]
    ) -> None:
        super().know(address, version, release, classes)
        self._upgrades.knows(self._life, address, version)

    def learn(self, type_name: str, bodies: Iterable[str], *, is_new: bool) -> None:
        try:
            super().learn(type_name, bodies, is_new=is_new)
        except ObjectMismatch as error:
            self._upgrades._fail(self._life, f"refuses bodies that all releases have: {error}")

    def switch(self, version: int, members: Iterable[str]) -> None:
        before = self.in_force
        try:
            super().switch(version, members)
        except VersionRefused as error:
            self._upgrades.switched(self._life, version, before, str(error))
            raise
        self.switch_count += 1
        self._upgrades.switched(self._life, version, before, "")
