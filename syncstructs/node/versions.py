"""Putting a version of replicated methods in force, as steps of a node's operations."""

from ..errors import ConfigError, ResultLost
from ..objects.port import Steps
from ..objects.versions import VERSION_MAX
from .engine import Engine
from .operations import answered


def set_version(engine: Engine, version: int | None, timeout: float | None) -> Steps[None]:
    """Put the bodies up to `version` in force on all members; see `Node.set_version`."""
    if type(version) is not int or not 1 <= version <= VERSION_MAX:
        raise ConfigError(
            f"version {version!r} must be a whole number from 1 to {VERSION_MAX}"
        )
    switched = engine.system("set_version", version)
    try:
        yield from answered(switched, timeout, f"to put version {version} in force")
    except ResultLost:
        # A snapshot has covered the answer, and tells what there was to answer.
        if engine.replica.table.versions.in_force < version:
            raise
