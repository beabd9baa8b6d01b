"""Members of any releases, in any order of events: they hold the same or stop; none parts."""

from collections import Counter
from random import Random
from typing import Any

import pytest
from local_cluster import SESSION_TTL, LocalCluster, LocalPort

from syncstructs.errors import NodeFailed, ObjectMismatch, SyncError, VersionRefused
from syncstructs.objects import replicated as module
from syncstructs.objects.batches import encode_command, encode_group
from syncstructs.objects.context import current_context
from syncstructs.objects.replicated import Replicated, attach_arguments, known_bodies, replicated
from syncstructs.raft.messages import Entry, EntryKind

MEMBERS = 3
RUNS = 40
Event = tuple[str, int, int]
"""What happens, to which member, and a number for it."""


class Base(Replicated):
    @replicated
    def put(self, item: int) -> int:
        self.items.append((item, 1))
        return 1


def release(number: int) -> type[Any]:
    """Return the class of a release: each has one more version of something."""

    class Box(Base):
        _embeddable = False

        def __init__(self) -> None:
            self.items: list[Any] = []

        @replicated
        def move(self, item: int) -> int:
            return self.put(item) + self.put(item + 1)

        if number >= 2:

            @replicated(version=2)
            def put(self, item: int) -> int:
                # Another state, and not only another note of it.
                self.items.insert(0, (item, current_context().version))
                return super().put(item)

        if number >= 3:

            @replicated(version=3)
            def clear(self) -> None:
                self.items.clear()

            @replicated(version=3)
            def move(self, item: int) -> int:
                self.items.append(("moved", item))
                return self.put(item)

        def on_session_expired(self, session: int) -> None:
            super().on_session_expired(session)
            self.put(session)

    Box.__qualname__ = "Box"
    return Box


class Mixed(LocalCluster):
    """A cluster whose members may stop, and be started again with another release."""

    def __init__(self) -> None:
        super().__init__(MEMBERS, check=True)
        self.all = list(self.members)
        self.releases = {member.address: 0 for member in self.all}
        """0: it does not have the class."""
        self.said = dict.fromkeys(self.releases, 1)
        """Up to which version each has told that it knows, in the last life that told anything."""
        self.lives = dict.fromkeys(self.releases, 0)
        self.classes = {number: release(number) for number in (1, 2, 3)}
        # No process has all of them.
        module._classes.clear()

    def append(self, payload: bytes, kind: EntryKind = EntryKind.BATCH) -> None:
        self.index += 1
        entry = Entry(1, self.index, round(self.now * 1_000_000), kind, payload)
        for member in list(self.members):
            try:
                member.take_in(member.table.apply(entry, member.session))
            except NodeFailed as error:
                self.stop(member, error)
        if self.members:
            self.digest_equal()
        while self.ended:
            future, outcome = self.ended.pop(0)
            future.finish(outcome.value, outcome.error)

    def stop(self, member: LocalPort, error: NodeFailed) -> None:
        """Take out a member that has stopped, which only one with an older class may do."""
        assert "does not have" in str(error), error
        in_force = max(m.table.versions.in_force for m in [*self.members, member])
        assert 0 < self.releases[member.address] < in_force, (self.releases, error)
        self.members.remove(member)
        for future in member.pending.values():
            future.finish(None, NodeFailed("it has stopped"))
        member.pending.clear()

    def start(self, member: LocalPort, number: int) -> None:
        """Start a member again with a release, from the state of one that runs."""
        source = next((m for m in self.members if m is not member), member)
        if source not in self.members:
            return
        image = list(source.table.image())
        if member in self.members:
            self.members.remove(member)
        for target in member.table.objects.values():
            target._binding = None
        member.table = member.new_table()
        member.session = member.sequence = 0
        member.pending.clear()
        self.releases[member.address] = number
        self.lives[member.address] += 1
        self.members.append(member)
        target = self.classes[number]() if number else None
        if target is not None:
            member.table.offer("box", target)
        try:
            member.table.restore(image)
        except NodeFailed as error:
            self.stop(member, error)
            return
        self.said[member.address] = 1
        self.open(member)
        if target is None or member not in self.members:
            return
        version, bodies = known_bodies([type(target)])
        self.said[member.address] = version
        for method, args in (
            ("know", (version, 1, bodies)),
            ("attach", attach_arguments("box", target)),
        ):
            if member in self.members:
                self.tell(member, method, *args)

    def attach_late(self, member: LocalPort, number: int) -> None:
        """Attach the object on a member that runs without it, and has kept what was called."""
        if self.releases[member.address]:
            return
        target = self.classes[number]()
        self.releases[member.address] = number
        member.table.offer("box", target)
        version, bodies = known_bodies([type(target)])
        self.said[member.address] = version
        self.tell(member, "know", version, 1, bodies)
        self.tell(member, "attach", *attach_arguments("box", target))

    def open(self, member: LocalPort) -> None:
        """Open a session for the present life of a member."""
        member.attempt += 1
        opening = (member.address, 1 + self.lives[member.address], member.attempt, SESSION_TTL)
        self.append(encode_group(0, 0, 1, encode_command(0, "open_session", opening, {})))

    def tell(self, member: LocalPort, method: str, *args: Any) -> BaseException | None:
        """Have a command of the cluster applied; return what it was refused with."""
        if member in self.members and not member.session:
            self.open(member)
        if member not in self.members:
            return None
        error = member.send(encode_command(0, method, args, {})).exception()
        assert error is None or isinstance(error, SyncError), error
        return error

    def call(self, member: LocalPort, method: str, *args: Any) -> None:
        """Make a call of the object."""
        if not member.session:
            self.open(member)
        if member in self.members:
            member.send(encode_command("box", method, args, {}))


OLDER_AGAIN: list[Event] = [
    *(("start", member, 3) for member in range(3)),
    ("switch", 0, 3), ("start", 0, 1), ("put", 1, 1),
]  # fmt: skip
CATCHING_UP: list[Event] = [
    *(("start", member, 3) for member in range(3)),
    ("switch", 0, 2), ("start", 2, 0), ("put", 0, 1), ("move", 1, 2), ("expire", 0, 0),
    ("reload", 2, 0), ("attach", 2, 3), ("put", 2, 4),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_classes", {})


def drawn(seed: int) -> list[Event]:
    """Return events: at first the members have older releases, and then newer ones."""
    random = Random(seed)
    events: list[Event] = []
    for newest in (1, 2, 2, 3, 3):
        for _ in range(random.randint(2, 9)):
            event = random.choice(
                ["start", "start", "attach", "put", "move", "clear", "expire", "reload"]
            )
            number = newest if random.random() < 0.7 else random.randint(0, 3)
            events.append((event, random.randrange(MEMBERS), number))
        events.append(("switch", random.randrange(MEMBERS), newest))
        events.append((random.choice(["put", "batch"]), random.randrange(MEMBERS), 9))
    return events


@pytest.mark.parametrize("events", [OLDER_AGAIN, CATCHING_UP], ids=["older", "catching up"])
def test_members_hold_the_same_or_stop(events: list[Event]) -> None:
    run(events)


def test_members_hold_the_same_or_stop_whatever_comes() -> None:
    seen: Counter[int] = Counter()
    stopped = 0
    for seed in range(RUNS):
        try:
            cluster = run(drawn(seed))
        except BaseException as error:
            error.add_note(f"run(drawn({seed}))")
            raise
        seen[max(m.table.versions.in_force for m in cluster.all)] += 1
        stopped += len(cluster.all) - len(cluster.members)
    # Or it would say little.
    assert min(seen[1], seen[2], seen[3], stopped) > RUNS / 20, (seen, stopped)


def run(events: list[Event]) -> Mixed:
    cluster = Mixed()
    for number in range(MEMBERS):
        cluster.start(cluster.all[number], 1)
    for event, which, number in events:
        member = cluster.all[which]
        if event == "start":
            cluster.start(member, number)
        elif member not in cluster.members:
            continue
        elif event == "switch":
            switch(cluster, member, number)
        elif event == "expire":
            if member.session:
                cluster.expire(cluster.members.index(member))
        elif event == "reload":
            cluster.reload(cluster.members.index(member))
        elif event == "attach":
            cluster.attach_late(member, max(1, number))
        elif event == "batch":
            calls = [["box", "put", [number]], ["box", "move", [number]]]
            cluster.tell(member, "batch", calls)
        else:
            cluster.call(member, event, *([] if event == "clear" else [number]))
    boxes = [m.table.objects["box"] for m in cluster.members if "box" in m.table.objects]
    assert all(box.items == boxes[0].items for box in boxes)  # type: ignore[attr-defined]
    if cluster.members:
        cluster.digest_equal()
    return cluster


def switch(cluster: Mixed, member: LocalPort, number: int) -> None:
    """Ask for a version, and check that it comes if and only if all who count know it."""
    before = cluster.members[0].table.versions.in_force
    sessions = cluster.members[0].table.sessions.live().values()
    counted = {address for address, _ in sessions} | {member.address}
    known = min(cluster.said[address] for address in counted)
    error = cluster.tell(member, "set_version", max(1, number))
    if not cluster.members or member not in cluster.members:
        return
    after = cluster.members[0].table.versions.in_force
    wanted = max(1, number)
    if wanted == before or before < wanted <= known:
        assert error is None
        assert after == wanted
    else:
        assert isinstance(error, VersionRefused), error
        assert after == before


def test_a_late_body_cannot_come_in_by_any_release(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Mixed()
    for number in range(MEMBERS):
        cluster.start(cluster.all[number], 2)
    assert cluster.tell(cluster.all[0], "set_version", 2) is None
    late = type("Box", (cluster.classes[2],), {"more": replicated(version=2)(lambda self: None)})
    late.__module__, late.__qualname__ = Base.__module__, "Box"
    _, bodies = known_bodies([late])
    assert isinstance(cluster.tell(cluster.all[1], "know", 2, 1, bodies), ObjectMismatch)
    assert len(cluster.members) == MEMBERS
