"""`SyncObjConf`: PySyncObj's settings, and what becomes of each of them here.

A setting has one of four fates: it is carried over to a field of `Config`; it has a meaning for
`SyncObj` itself; it has none here, which a warning says once; or it asks for something whose
absence would go unnoticed at a cost, and is refused. A setting left at PySyncObj's default asks for
nothing: then the default of `Config` applies.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..config import Config
from ..errors import ConfigError

_TIMES = {
    "raftMinTimeout": "election_timeout_min",
    "raftMaxTimeout": "election_timeout_max",
    "appendEntriesPeriod": "heartbeat_interval",
}
"""They make sense only together: if one is given, PySyncObj's defaults count for the others."""

_CARRIED_OVER = {
    "commandsQueueSize": "max_pending_calls",
    "appendEntriesBatchSizeBytes": "append_bytes",
    "bindAddress": "bind",
    "connectionRetryTime": "reconnect_interval_max",
    "logCompactionMinEntries": "snapshot_log_entries",
    "logCompactionBatchSize": "chunk_bytes",
    "password": "password",
}

_REFUSED = {
    "dynamicMembershipChange": "the members are fixed; give all of them the same addresses, or use"
    " syncstructs.Node, which has set_members",
    "onStateChanged": "it would never be called; ask _isLeader(), and getStatus()['state']",
    "onCodeVersionChanged": "it would never be called; methods have one version here",
    "serializer": "it would never be called; override _serialize() of a consumer",
    "deserializer": "it would never be called; override _deserialize() of a consumer",
    "serializeChecker": "it would never be called; snapshots are written by the node",
}

_UNUSED: dict[str, object] = {
    "autoTickPeriod": 0.05,
    "connectionTimeout": 3.5,
    "leaderFallbackTimeout": 30.0,
    "appendEntriesUseBatch": True,
    "preferredAddrType": "ipv4",
    "sendBufferSize": 65536,
    "recvBufferSize": 65536,
    "dnsCacheTime": 600.0,
    "dnsFailCacheTime": 30.0,
    "logCompactionMinTime": 300,
    "logCompactionSplit": False,
    "commandsWaitLeader": True,
    "bindRetryTime": 1.0,
    "maxBindRetries": 0,
    "pollerType": "auto",
    "tcp_keepalive": (16, 3, 5),
}

_DEFAULTS: dict[str, object] = {
    **_UNUSED,
    **dict.fromkeys(_REFUSED),
    "dynamicMembershipChange": False,
    "raftMinTimeout": 0.4,
    "raftMaxTimeout": 1.4,
    "appendEntriesPeriod": 0.1,
    "commandsQueueSize": 100_000,
    "appendEntriesBatchSizeBytes": 65536,
    "bindAddress": None,
    "connectionRetryTime": 5.0,
    "logCompactionMinEntries": 5000,
    "logCompactionBatchSize": 65536,
    "autoTick": True,
    "journalFile": None,
    "fullDumpFile": None,
    "onReady": None,
    "password": None,
    "useFork": True,
}

_STANDARD = Config()
_NEVER_FORK = 2**53 - 1


class SyncObjConf:
    """PySyncObj's settings, by their names there; they are checked when a `SyncObj` is made.

    `journalFile` (or else `fullDumpFile`) names the directory for the log and the snapshots. Times
    are seconds, sizes bytes.
    """

    __slots__ = tuple(sorted(_DEFAULTS))

    autoTick: bool  # noqa: N815
    onReady: Callable[[], object] | None  # noqa: N815

    def __init__(self, **fields: Any) -> None:
        unknown = sorted(set(fields) - set(_DEFAULTS))
        if unknown:
            raise TypeError(f"SyncObjConf has no setting {unknown[0]!r}")
        for name, default in _DEFAULTS.items():
            setattr(self, name, fields.get(name, default))


def translate(conf: SyncObjConf, unlock_time: float | None) -> dict[str, Any]:
    """Return the fields of `Config` that `conf` asks for; warn of the settings without a meaning.

    `unlock_time` is the longest `autoUnlockTime` of the lock managers, None if there are none.

    Raises:
        ConfigError: a setting is refused, or the file it names is one of PySyncObj's.
    """
    given = {
        name: getattr(conf, name)
        for name, default in _DEFAULTS.items()
        if getattr(conf, name) != default
    }
    for name in given.keys() & _REFUSED.keys():
        raise ConfigError(f"SyncObjConf({name}={given[name]!r}): {_REFUSED[name]}")
    for name in sorted(given.keys() & _UNUSED.keys()):
        _warn(f"SyncObjConf({name}={given[name]!r}) has no meaning here and is ignored")
    fields = {_CARRIED_OVER[name]: given[name] for name in given.keys() & _CARRIED_OVER.keys()}
    if given.keys() & _TIMES.keys():
        fields |= {field: getattr(conf, name) for name, field in _TIMES.items()}
    shortest_ttl = 2 * fields.get("election_timeout_max", _STANDARD.election_timeout_max)
    if unlock_time is not None and unlock_time < shortest_ttl:
        _warn(
            f"ReplLockManager(autoUnlockTime={unlock_time!r}) is shorter than two elections may"
            f" take; the locks of a dead node are freed after {shortest_ttl} s"
        )
    fields["session_ttl"] = max(unlock_time or _STANDARD.session_ttl, shortest_ttl)
    if not given.get("useFork", True):
        fields["snapshot_fork_bytes"] = _NEVER_FORK
    fields["drive"] = "thread" if given.get("autoTick", True) else "manual"
    fields["data_dir"] = _data_dir(given)
    return fields


def _data_dir(given: dict[str, Any]) -> str | None:
    paths = [given[name] for name in ("journalFile", "fullDumpFile") if name in given]
    for path in paths:
        if Path(path).is_file():
            raise ConfigError(
                f"{path!r} is a file, perhaps with data of PySyncObj, which cannot be read here;"
                " carry them over with a program of yours, and name a directory"
            )
    return str(paths[0]) if paths else None


def _warn(message: str) -> None:
    # Through translate(), start() and the metaclass to the line that makes the SyncObj.
    warnings.warn(message, stacklevel=5)
