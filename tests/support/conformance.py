"""Run a test suite of CPython's own against replicated objects, with every exclusion reasoned.

A suite makes its objects by calling a class. `attached(ReplDict)` is such a class: calling it gives
a `ReplDict` that is attached, under a fresh name, to a member of the bench of the running test. A
bench is a cluster; `SYNCSTRUCTS_BENCH` chooses which kind, so that the same suites can run on
replicas in this process or on real nodes.
"""

import os
import unittest
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, ClassVar, Protocol

from local_cluster import LocalCluster
from threaded_cluster import ThreadedCluster

from syncstructs.cli.processes import free_addresses
from syncstructs.codec import encode
from syncstructs.node.node import Node


class Bench(Protocol):
    """A cluster on which a test runs."""

    def attach(self, name: str, factory: Callable[[], Any]) -> Any:
        """Attach what `factory` makes under that name; return one member's instance."""

    def close(self) -> None:
        """Check that all members are equal, and stop."""


class LocalBench:
    """Three replicas in this process; the objects of the second are tested."""

    def __init__(self, threads: bool) -> None:
        self._cluster = ThreadedCluster(3) if threads else LocalCluster(3)

    def attach(self, name: str, factory: Callable[[], Any]) -> Any:
        return self._cluster.attach(name, factory)[1]

    def close(self) -> None:
        if isinstance(self._cluster, ThreadedCluster):
            self._cluster.close()
        assert self._cluster.digest_equal()


class NodeBench:
    """Three real nodes of this process, kept for all tests; objects of the second are tested."""

    nodes: ClassVar[list[Node]] = []

    def __init__(self, threads: bool) -> None:
        self._attached: list[list[Any]] = []
        if not self.nodes:
            addresses = free_addresses(3)
            self.nodes.extend(Node(a, [b for b in addresses if b != a]) for a in addresses)
            for node in self.nodes:
                node.wait_ready(10)

    def attach(self, name: str, factory: Callable[[], Any]) -> Any:
        targets = [factory() for _ in self.nodes]
        for node, target in zip(self.nodes, targets, strict=True):
            node.attach(name, target)
        self._attached.append(targets)
        return targets[1]

    @classmethod
    def stop(cls) -> None:
        """Close the nodes; after the last test."""
        while cls.nodes:
            cls.nodes.pop().close()

    def close(self) -> None:
        for node in self.nodes:
            node.barrier(10)
        for targets in self._attached:
            states = {encode(target.snapshot_state()) for target in targets}
            assert len(states) == 1, targets


BENCHES: dict[str, Callable[..., Bench]] = {"local": LocalBench, "node": NodeBench}

_bench: Bench | None = None
_names = count(1)


class OnBench:
    """Mix into a suite: each test gets a new bench, and fails if its members differ at the end."""

    threads = False
    """Whether tests call from several threads, which then really wait for each other."""

    def setUp(self) -> None:
        global _bench
        _bench = BENCHES[os.environ.get("SYNCSTRUCTS_BENCH", "local")](self.threads)
        super().setUp()  # type: ignore[misc]

    def tearDown(self) -> None:
        super().tearDown()  # type: ignore[misc]
        assert _bench is not None
        _bench.close()


def attached(cls: type, name: str | None = None) -> type:
    """Return a class whose call gives an attached instance of `cls`.

    Suites also make subclasses of the class under test: an instance of such a one is attached to
    nothing, so that it can be read only.
    """

    def new(klass: type, *args: Any, **kwargs: Any) -> Any:
        if klass is not made:
            return super(made, klass).__new__(klass)
        assert _bench is not None, "objects are made inside tests only"
        return _bench.attach(f"object{next(_names)}", lambda: cls(*args, **kwargs))

    # A module of its own, or it would take the place of the real class for everybody else.
    made = type(name or cls.__name__, (cls,), {"__new__": new, "__module__": __name__})
    return made


def excluding(failing: Mapping[str, str], unfit: Mapping[str, str] | None = None) -> Any:
    """Decorate a suite: leave out tests by name, each with the reason.

    Those in `failing` are run and must fail, so that an exclusion that is needed no more is found.
    Those in `unfit` are not run: they would take too long, or test something else.
    """

    def decorate(suite: type) -> type:
        for test in failing:
            if hasattr(suite, test):
                inherited = getattr(suite, test)

                def run(self: Any, inherited: Any = inherited) -> None:
                    inherited(self)

                setattr(suite, test, unittest.expectedFailure(run))
        for test, reason in (unfit or {}).items():
            if hasattr(suite, test):
                setattr(suite, test, unittest.skip(reason)(lambda self: None))
        return suite

    return decorate
