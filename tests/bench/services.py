"""Against services: a lock of ZooKeeper's and of Redis's, and writes by Redis's pipeline.

Each is called from Python by the client that its users would take: kazoo, and redis-py. Redis is
one server without consensus and keeps all in memory; ZooKeeper syncs to disk, ours is in memory.
"""

from collections.abc import Collection

from calls import rate, run_load, shape
from rows import (
    BEFORE,
    COMPILED,
    OURS,
    REDIS,
    ZOOKEEPER,
    ZOOKEEPER_BEST,
    ZOOKEEPER_FOLLOWER,
    Found,
    Group,
    Options,
    Row,
    versus,
)  # fmt: skip
from servers import redis_pairs, redis_pipeline, redis_server, zookeeper, zookeeper_pairs
from systems import system_of

from syncstructs.cli.bench import measure

LOCKS = (
    Row("locks", "lock acquired and released, one client", "pairs/s", "more",
        versus(ZOOKEEPER_BEST, 10) + versus(REDIS, aim=1)),
)  # fmt: skip
WRITES = (
    Row("redis-writes", "dict writes seen from Python", "ops/s", "more", versus(REDIS, 1, 3)),
)
JAVA_WARMUP = 2.0
"""Seconds until the hot paths of a JVM are compiled, more or less."""


def measure_locks(system: str, rows: Collection[str], options: Options) -> Found:
    """Acquire and release, one after the other."""
    times = {"seconds": options.seconds, "warmup": options.warmup}
    if system == REDIS:
        with redis_server() as client:
            return {"locks": rate(redis_pairs(client, **times))}
    if system in (ZOOKEEPER, ZOOKEEPER_FOLLOWER):
        with zookeeper(options.data_dir) as roles:
            client = roles["leader" if system == ZOOKEEPER else "follower"]
            figures = zookeeper_pairs(client, seconds=options.seconds, warmup=JAVA_WARMUP)
            return {"locks": rate(figures)}
    objects = {"door": ("syncstructs:ReplLock", [])}
    with system_of(system).cluster(objects=objects) as cluster:
        cluster.start()
        return {"locks": rate(run_load(cluster, "syncstructs.cli.bench_load:PairLoad", options))}


def measure_writes(system: str, rows: Collection[str], options: Options) -> Found:
    """Write to a dict, a thousand and some under way; or by pipelines of a thousand."""
    if system == REDIS:
        with redis_server() as client:
            figures = redis_pipeline(client, seconds=options.seconds, warmup=options.warmup)
            return {"redis-writes": rate(figures)}
    with system_of(system).cluster() as cluster:
        cluster.start()
        return {"redis-writes": rate(measure(cluster, shape(1024, "leader", options)))}


GROUPS = (
    Group(LOCKS, (OURS, COMPILED, BEFORE, ZOOKEEPER, ZOOKEEPER_FOLLOWER, REDIS), measure_locks),
    Group(WRITES, (OURS, COMPILED, BEFORE, REDIS), measure_writes),
)
