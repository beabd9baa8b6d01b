"""Tables fed with the same entries are equal, whatever happens to them in between.

A random program runs on three members. The second goes through images and loses its instances now
and then; the third carries some objects late; duplicates, gaps and nonsense are put into the log.
"""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from local_cluster import LocalCluster

from syncstructs.codec import encode
from syncstructs.errors import SyncError
from syncstructs.objects.batches import encode_command, encode_group
from syncstructs.objects.context import current_context
from syncstructs.objects.replicated import Replicated, replicated
from syncstructs.objects.waiters import Waiters
from syncstructs.raft.messages import EntryKind

WORDS = ["alpha", "beta", "gamma", "delta", "eps", "zeta"]


class Mixed(Replicated):
    """Mutable values, sets, chance, time, waiting, nested calls and failures."""

    def __init__(self, limit: int = 50) -> None:
        self.limit = limit
        self.words: set[str] = set()
        self.log: list[Any] = []
        self.waiting = Waiters()

    def options(self) -> dict[str, object]:
        return {"limit": self.limit}

    @replicated
    def add(self, word: str) -> set[str]:
        self.words.add(word)
        return self.words

    @replicated
    def pop(self) -> str:
        word = min(self.words)
        self.words.remove(word)
        return word

    @replicated
    def chance(self, *, at_least: int = 0) -> float:
        c = current_context()
        self._note((c.random.randrange(at_least, 1000), c.time, c.serial, c.index, c.session))
        return c.random.random()

    @replicated
    def half_way(self, word: str) -> None:
        self.add(word)
        self.chance()
        raise ValueError(word)

    @replicated
    def wait(self, ticket: int) -> Any:
        return self.waiting.park(ticket, [ticket])

    @replicated
    def serve(self) -> Any:
        self._note(self.waiting.serve(self.words))

    @replicated
    def cancel(self, ticket: int) -> bool:
        return self.waiting.cancel(ticket)

    def on_session_expired(self, session: int) -> None:
        super().on_session_expired(session)
        self._note(("expired", session, current_context().random.random()))

    def _note(self, item: Any) -> None:
        self.log.append(item)
        del self.log[: -self.limit]


class MixedPrivate(Mixed):
    """Carried only by members that attach it themselves."""

    _embeddable: ClassVar[bool] = False


class Program:
    """One random run."""

    def __init__(self, seed: int) -> None:
        self.chance = Random(seed)
        self.cluster = LocalCluster(3)
        self.cluster.attach("both", Mixed)
        self.cluster.attach_on(0, "late", MixedPrivate(9))
        self.made = 0

    def run(self, steps: int) -> None:
        actions = [self.call] * 12 + [
            self.batch, self.expire, self.image, self.create, self.drop, self.noop, self.again,
            self.gap, self.nonsense, self.attach_late,
        ]  # fmt: skip
        for _ in range(steps):
            self.cluster.now += self.chance.random()
            self.chance.choice(actions)()
        self.cluster.digest_equal()
        for member in (1, 2):
            if "late" not in self.cluster.members[member].table.objects:
                self.cluster.attach_on(member, "late", MixedPrivate(9))
        assert len({len(member.table.digests()) for member in self.cluster.members}) == 1
        self.cluster.digest_equal()
        assert len({member.table.digest() for member in self.cluster.members}) == 1

    def command(self) -> tuple[str, tuple[Any, ...]]:
        word = self.chance.choice(WORDS)
        return self.chance.choice(
            [
                ("add", (word,)), ("add", (word,)), ("pop", ()), ("chance", ()),
                ("half_way", (word,)), ("wait", (self.chance.randrange(4),)), ("serve", ()),
                ("cancel", (self.chance.randrange(4),)), ("absent", ()),
            ]
        )  # fmt: skip

    def target(self) -> tuple[int, Any]:
        member = self.chance.randrange(3)
        objects = self.cluster.members[member].table.objects
        return member, objects[self.chance.choice(sorted(objects))]

    def call(self) -> None:
        member, target = self.target()
        method, args = self.command()
        kwargs = {"at_least": 5} if method == "chance" else {}
        self.cluster.members[member].submit(target._binding, method, args, kwargs)

    def batch(self) -> None:
        member, target = self.target()
        calls = [(target, *self.command()) for _ in range(self.chance.randrange(5))]
        self.cluster.batch(member, calls)

    def expire(self) -> None:
        member = self.chance.randrange(3)
        if self.cluster.members[member].session:
            self.cluster.expire(member)

    def image(self) -> None:
        self.chance.choice([self.cluster.reload, self.cluster.renew])(1)

    def create(self) -> None:
        name = f"made{self.chance.randrange(3)}"
        with suppress(SyncError):
            self.cluster.create(self.chance.randrange(3), name, Mixed, self.chance.randrange(5, 7))

    def drop(self) -> None:
        with suppress(SyncError):
            self.cluster.drop(self.chance.randrange(3), f"made{self.chance.randrange(3)}")

    def noop(self) -> None:
        self.cluster.append(b"", EntryKind.NOOP)

    def again(self) -> None:
        payloads = [e.payload for e in self.cluster.entries if e.kind is EntryKind.BATCH]
        self.cluster.append(self.chance.choice(payloads[-10:]))

    def gap(self) -> None:
        member = self.chance.choice(self.cluster.members)
        if not member.session:
            member.open_session()
        command = encode_command("both", "add", ("never",), {})
        self.cluster.append(encode_group(member.session, member.sequence + 1000, 1, command))

    def nonsense(self) -> None:
        system = encode_command(0, self.chance.choice(["drop", "unknown"]), (), {})
        command = self.chance.choice([encode(5), encode([1, 2, 3]), b"\xc1", system])
        self.cluster.append(encode_group(0, 0, 1, command) + self.chance.choice([b"", b"", b"x"]))

    def attach_late(self) -> None:
        member = self.chance.choice([1, 2])
        if self.chance.random() < 0.5 and "late" not in self.cluster.members[member].table.objects:
            self.cluster.attach_on(member, "late", MixedPrivate(9))


@pytest.mark.parametrize("seed", range(40))
def test_tables_fed_with_the_same_entries_are_equal(seed: int) -> None:
    program = Program(seed)
    program.run(120)
    both = program.cluster.members[0].table.objects["both"]
    assert isinstance(both, Mixed)
    assert "never" not in both.words


def test_equal_also_under_another_hash_seed() -> None:
    source = f"{Path(__file__).parent}{os.pathsep}{Path(__file__).parents[2] / 'support'}"
    code = (
        "from test_equality import Program; p = Program(7); p.run(150);"
        " print(p.cluster.members[1].table.digest())"
    )
    found = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        environment["PYTHONPATH"] = source + os.pathsep + os.environ.get("PYTHONPATH", "")
        run = [sys.executable, "-c", code]
        found.add(subprocess.run(run, env=environment, capture_output=True, check=True).stdout)
    assert len(found) == 1, found
