"""The systems whose members are processes to start: syncstructs, PySyncObj and the floor."""

import os
import sys
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rows import (
    ETCD,
    ETCD_SPREAD,
    FLOOR,
    OURS,
    PYSYNCOBJ,
    REDIS,
    UNBATCHED,
    ZOOKEEPER,
    ZOOKEEPER_FOLLOWER,
)  # fmt: skip
from servers import missing_etcd, missing_redis, missing_zookeeper

from syncstructs.cli.bench import OBJECTS
from syncstructs.cli.processes import MEMBER_COMMAND, LocalCluster, import_path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class System:
    """A library, and how to start a member that uses it."""

    name: str
    command: tuple[str, ...]
    config: dict[str, Any] = field(default_factory=dict)
    module: str | None = None
    """What has to be installed."""

    def missing(self) -> str | None:
        """Return why it cannot be measured here, or None if it can."""
        if self.module is not None and find_spec(self.module) is None:
            return f"the package {self.module} is not installed"
        return None

    def cluster(
        self,
        members: int = 3,
        *,
        objects: dict[str, tuple[str, list[Any]]] = OBJECTS,
        config: dict[str, Any] | None = None,
        data_dir: Path | None = None,
    ) -> LocalCluster:
        """Return a cluster that is not started yet."""
        return LocalCluster(
            members,
            objects=objects,
            config={**self.config, **(config or {})},
            data_dir=data_dir,
            command=self.command,
        )


def script(name: str) -> tuple[str, ...]:
    """Return how to start a member of a script beside this one."""
    return sys.executable, str(HERE / name)


def of_tree(name: str, tree: str) -> System:
    """Return the library as it is in another checkout, which is imported before any other."""
    path = os.pathsep.join([str(Path(tree).resolve()), import_path()])
    return System(name, ("/usr/bin/env", f"PYTHONPATH={path}", *MEMBER_COMMAND))


def system_of(name: str) -> System:
    """Return the system of that name; variants of ours are ours."""
    return SYSTEMS.get(name) or SYSTEMS[name.partition(" ")[0]]


def missing(name: str) -> str | None:
    """Return why the one of that name cannot be measured here, or None if it can."""
    if name in SERVERS:
        return SERVERS[name]()
    return SYSTEMS[name].missing() if name in SYSTEMS else None


SERVERS = {
    ETCD: missing_etcd,
    ETCD_SPREAD: missing_etcd,
    REDIS: missing_redis,
    ZOOKEEPER: missing_zookeeper,
    ZOOKEEPER_FOLLOWER: missing_zookeeper,
}
SYSTEMS = {
    system.name: system
    for system in (
        System(OURS, MEMBER_COMMAND),
        System(PYSYNCOBJ, script("pysyncobj_member.py"), module="pysyncobj"),
        System(
            UNBATCHED, script("pysyncobj_member.py"), {"appendEntriesUseBatch": False}, "pysyncobj"
        ),
        System(FLOOR, script("floor_member.py")),
    )
}
