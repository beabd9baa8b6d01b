"""The end of a rolling upgrade: everybody goes over to the newest release, and then its version.

And what an operator does in between: who stops for lack of a body is started with a release that
has it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import TYPE_CHECKING, Any, Final

from ..config import is_nameless
from ..errors import NotApplied, SyncError, VersionRefused
from .releases import NAMES, Releases
from .violation import Violation

if TYPE_CHECKING:
    from ..futures import Future
    from .hosts import Life
    from .simulator import Simulation
    from .workload import Load

_REPLACED_AFTER: Final = 0.2
"""Virtual seconds."""
_PATIENCE: Final = 60.0
"""Virtual seconds within which a healthy cluster does each step."""


def ask_for_version(simulation: Simulation, life: Life, version: int) -> None:
    """Ask a node to put a version in force, whether it is time for that or not; in its life.

    Not if that would stop somebody who then loses what he had, and more are lost than may be.
    """
    if life.node is None or not _may_ask(simulation, version):
        return

    def compare(switch: Future[None]) -> None:
        done = not switch.cancelled() and switch.exception() is None
        upgrades = simulation.checks.upgrades
        if done and life.alive and upgrades is not None and upgrades.latest < version:
            raise Violation(f"{life.host.address} was told that version {version} is in force")

    with suppress(SyncError):
        switch = life.node.set_version.submit(version)
        # What it brought about is seen when this event is over.
        switch.add_done_callback(lambda _: simulation.schedule.soon(compare, switch))


def _may_ask(simulation: Simulation, version: int) -> bool:
    releases = simulation.releases
    if releases is None or not (simulation.forgetful and simulation.spares):
        return True
    if any(releases.running(host) < version for host in simulation.machines if host.is_up):
        return False
    # Who comes later must not lack it.
    releases.demand(version)
    return True


class Upgrading:
    """The upgrade of one run; without effect where all have the same classes.

    `serves` awaits an answer of each of the nodes that it is given.
    """

    def __init__(
        self, simulation: Simulation, load: Load, serves: Callable[[Any], object]
    ) -> None:
        self._simulation = simulation
        self._load = load
        self._serves = serves
        self._random = Random(f"{simulation.seed}/upgrading")
        if simulation.checks.upgrades is not None:
            simulation.checks.upgrades.on_lacking = self._lacks

    def is_over(self) -> None:
        """Have everybody start with the newest release from now on."""
        if self._simulation.releases is not None:
            self._simulation.releases.is_over = True

    def _lacks(self, life: Life) -> None:
        releases, schedule = self._simulation.releases, self._simulation.schedule
        assert releases is not None
        releases.assign(life.host, releases.newest)
        schedule.at(schedule.now + _REPLACED_AFTER, self._replace, life)

    def _replace(self, life: Life) -> None:
        """Start a node again, unless somebody has done so, or has stopped it for good."""
        if life.host.life is life:
            self._simulation.start_again([life.host.address])

    def upgrade_all(self) -> None:
        """Have all run the newest release, one after the other, and then its version."""
        releases, load = self._simulation.releases, self._load
        if releases is None:
            return
        cast = self._simulation.cast()
        if self._simulation.forgetful and len(cast) < 3:
            # None of them can be stopped without the loss of what only they hold.
            return
        load.is_open = True
        for address in self._random.sample(cast, len(cast)):
            if address not in self._simulation.damaged:
                self._upgrade(releases, address)
        self._replace_observers(releases)
        self._switch(releases)
        load.is_open = False
        self._simulation.run_until(lambda: load.is_idle, _PATIENCE)
        self._simulation.settle(_PATIENCE)
        load.check()

    def _upgrade(self, releases: Releases, address: str) -> None:
        simulation = self._simulation
        host = simulation.hosts[address]
        life = host.life
        if life is not None and releases.of_life[life] == releases.newest:
            return
        if simulation.forgetful:
            simulation.run_until(lambda: simulation.may_forget(host), _PATIENCE)
        if life is not None and self._random.random() < 0.5:
            life.node.close.submit()
            simulation.run(0.3)
        host.crash(silently=self._random.random() < 0.3)
        simulation.start_again([address])
        self._serves([address])

    def _replace_observers(self, releases: Releases) -> None:
        for host in list(self._simulation.hosts.values()):
            if is_nameless(host.address) and releases.running(host) < releases.newest:
                host.crash()
        self._simulation.start_observers()

    def _switch(self, releases: Releases) -> None:
        """Put the newest version in force, and call on every node what came with it."""
        simulation, newest = self._simulation, releases.newest
        lives = simulation.lives()
        asked = self._random.choice(lives)
        error = self._ended(asked, lambda: asked.node.set_version.submit(newest)).exception()
        if isinstance(error, VersionRefused) and simulation.damaged:
            # Who does not start any more has said of an older release what it has.
            return
        if error is not None:
            raise Violation(
                f"all run release {newest}, and {asked.host.address} cannot put its version in"
                f" force: {error!r}"
            ) from error
        for life in lives:
            for name in NAMES:
                self._calls_newest(life, name, newest)
            if life.node.version != newest:
                raise Violation(f"{life.host.address} is at version {life.node.version}")

    def _calls_newest(self, life: Life, name: str, newest: int) -> None:
        recorder = self._load.recorder

        def call() -> Future[Any]:
            record = recorder.begin("upgrading", name, "give", 1)
            future: Future[Any] = life.consumers[name].give.submit(1)
            recorder.follow(record, future)
            return future

        future = self._ended(life, call)
        if future.exception() is None and future.result()[1] != ("Stock.give", newest, newest):
            raise Violation(
                f"{life.host.address} calls give() of {name!r} at version {newest}, and is answered"
                f" {future.result()}"
            )

    def _ended(self, life: Life, submit: Callable[[], Future[Any]]) -> Future[Any]:
        """Return a call once it has ended, made again where there was no room for it."""
        ended: list[Future[Any]] = []

        def ask() -> None:
            try:
                future = submit()
            except NotApplied:
                life.event_loop.call_later(0.05, ask)
                return
            future.add_done_callback(answered)

        def answered(future: Future[Any]) -> None:
            error = future.exception()
            if isinstance(error, NotApplied) and not isinstance(error, VersionRefused):
                life.event_loop.call_later(0.05, ask)
            else:
                ended.append(future)

        life.soon(ask)
        self._simulation.run_until(lambda: bool(ended), _PATIENCE)
        return ended[0]
