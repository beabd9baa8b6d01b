"""What a type checker makes of a user's program, and that it finds the package at all."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PROGRAM = '''
from collections.abc import MutableMapping, MutableSequence, MutableSet
from datetime import datetime
from typing import assert_type

from syncstructs import (
    Elected, Future, Job, Message, Node, ReplBarrier, ReplCondition, ReplCounter, ReplCounterMap,
    ReplDeque, ReplDict, ReplElection, ReplEvent, ReplGroup, Replicated, ReplIdGenerator, ReplLatch,
    ReplList, ReplMultiDict, ReplOnce, ReplQueue, ReplRateLimiter, ReplRegister, ReplRLock,
    ReplRWLock, ReplScheduler, ReplSemaphore, ReplSet, ReplSortedDict, ReplSortedSet, ReplTopic,
    Task, replicated,
)


class Money:
    pass


ages = ReplDict[str, int]()
assert_type(ages.get("ann"), int | None)
assert_type(ages.get("ann", None), int | None)
assert_type(ages.get("ann", 0), int)
assert_type(ages.get("ann", "none"), int | str)
assert_type(ages.pop("ann"), int)
assert_type(ages.pop("ann", 0), int)
assert_type(ages.pop("ann", None), int | None)
assert_type(ages.pop.submit("ann"), Future[int])
assert_type(ages.pop.submit("ann", 0), Future[int])
assert_type(ages.pop.submit("ann", None), Future[int | None])
assert_type(ages.setdefault("ann", 0), int)
assert_type(ages.set.submit("ann", 1), Future[None])
assert_type(ages.popitem(), tuple[str, int])
assert_type(ReplDict[str, Money](pickle=True)["ann"], Money)
assert_type(ReplDict({"ann": Money()}, pickle=True), ReplDict[str, Money])
assert_type(ReplList([Money()], pickle=True)[0], Money)
assert_type(ReplQueue[Money](5, pickle=True).get.submit(), Future[Money])
mapping: MutableMapping[str, int] = ages
sequence: MutableSequence[str] = ReplList[str]()
members: MutableSet[str] = ReplSet[str]()
assert_type(ReplList[int]().pop(), int)
assert_type(ReplQueue[str]().get(timeout=1.0), str)
assert_type(ReplQueue[str]().get.submit(timeout=1.0), Future[str])
assert_type(ReplCounter().add.submit(5), Future[int])
assert_type(ReplEvent().wait(1.0), bool)
assert_type(ReplEvent().wait.submit(timeout=1.0), Future[bool])
assert_type(ReplBarrier(2).wait(timeout=1.0), int)
assert_type(ReplBarrier(2).wait.submit(), Future[int])
assert_type(ReplCondition().wait(timeout=1.0), bool)
assert_type(ReplCondition().wait.submit(1.0), Future[bool])
assert_type(ReplCondition().wait_for(lambda: "made"), str)
assert_type(ReplCondition().notify.submit(2), Future[None])
with ReplCondition() as condition:
    condition.notify_all()
assert_type(ReplOnce[str]().run(lambda: "made", timeout=1.0), str)
assert_type(ReplLatch(2).count_down(), int)
assert_type(ReplLatch(2).wait.submit(), Future[bool])
assert_type(ReplRLock().acquire(timeout=1.0), bool)
assert_type(ReplRWLock(on_lost=print).reader.acquire.submit(timeout=1.0), Future[bool])
assert_type(ReplSemaphore(2).acquire(timeout=1.0), bool)
assert_type(ReplSemaphore(2).acquire.submit(False), Future[bool])
with ReplSemaphore(2) as gate:
    assert_type(gate.token, int | None)
assert_type(ReplCounterMap("abc"), ReplCounterMap[str])
assert_type(ReplCounterMap("abc").inc.submit("a", 2), Future[int])
assert_type(ReplCounterMap[str]().most_common(), list[tuple[str, int]])
tally: MutableMapping[str, int] = ReplCounterMap[str](a=1)
recent: MutableSequence[int] = ReplDeque([1], maxlen=2)
assert_type(ReplDeque([1], 2)[0], int)
assert_type(ReplDeque[int]().popleft.submit(), Future[int])
assert_type(ReplIdGenerator().next_id(), int)
assert_type(ReplIdGenerator().next_id.submit(), Future[int])
labels: MutableMapping[str, int] = ReplMultiDict([("a", 1)])
assert_type(ReplMultiDict([("a", 1)]).getall("a"), list[int])
assert_type(ReplMultiDict([("a", 1)]).getall("a", None), list[int] | None)
prices: MutableMapping[int, str] = ReplSortedDict({1: "a"})
assert_type(ReplSortedDict({1: "a"})[1:], dict[int, str])
assert_type(ReplSortedDict({1: "a"})[1], str)
assert_type(ReplSortedDict[int, str]().peekitem(), tuple[int, str])
assert_type(ReplSortedSet[int]()[0], int)
assert_type(ReplSortedSet[int]().pop.submit(0), Future[int])
assert_type(ReplElection[str]().leader, Elected[str] | None)
assert_type(ReplElection[str]().campaign.submit(value="a"), Future[bool])
assert_type(next(ReplElection[str]().observe()), Elected[str] | None)
assert_type(ReplGroup[str]().members, dict[str, str | None])
assert_type(ReplGroup[str]().join.submit("idle"), Future[bool])
assert_type(ReplGroup[str]().update("busy"), None)
assert_type(ReplRegister(5), ReplRegister[int])
assert_type(ReplRegister[int | None]().get_versioned(), tuple[int | None, int])
assert_type(ReplRegister("a").compare_and_set.submit("a", "b"), Future[bool])
limiter = ReplRateLimiter[str](10, per=60.0)
assert_type(limiter.try_acquire(2, key="ip"), bool)
assert_type(limiter.throttle.submit(key="ip"), Future[float])
assert_type(limiter.acquire(2, timeout=1.0, key="ip"), bool)
assert_type(limiter.acquire.submit(key="ip"), Future[bool])
rota = ReplScheduler[int](lease=None)
assert_type(rota.add("tick", 5, every=1.0), bool)
assert_type(rota.add.submit("report", cron="@daily"), Future[bool])
assert_type(rota.jobs(), list[Job])
assert_type(rota.get(timeout=1.0).scheduled, datetime | None)
for due in rota:
    assert_type(due, Task[int])
    assert_type(due.payload, int)
topic = ReplTopic[str](maxlen=None, max_bytes=1_000_000)
assert_type(topic[0], str)
assert_type(topic.read(0, limit=5), list[Message[str]])
assert_type(topic.publish.submit("hello"), Future[int])
for message in topic.messages(0):
    assert_type(message.value, str)
    assert_type(topic.subscriber("billing").commit(message.offset + 1), int)
billing = topic.subscriber("billing")
assert_type(billing.commit.submit(), Future[int])
for offset, text in billing:
    assert_type((offset, text), tuple[int, str])


async def follow() -> None:
    async for message in topic.subscriber("billing"):
        assert_type(message, Message[str])


class Auction(Replicated):
    def __init__(self) -> None:
        self.bids: list[int] = []

    @replicated
    def bid(self, amount: int, *, by: str = "") -> str:
        self.bids.append(amount)
        return by

    @bid.version(2)
    def bid_2(self, amount: int, *, by: str = "") -> str:
        return by.upper()

    @replicated(version=2)
    def close(self) -> int:
        return max(self.bids)

    @replicated
    def open(self) -> None: ...

    @replicated(version=2)  # type: ignore[no-redef]
    def open(self) -> None: ...


def work(node: Node) -> None:
    auction = node.attach("auction", Auction())
    assert_type(auction, Auction)
    assert_type(auction.bid(3, by="ann"), str)
    assert_type(auction.bid.submit(3, by="ann").result(1.0), str)
    assert_type(node.create("other", Auction), Auction)
    assert_type(auction.close(), int)
    assert_type(auction.close.submit(), Future[int])
    assert_type(node.version, int)
    assert_type(node.set_version.submit(2, timeout=1.0), Future[None])
    assert_type(node.wait_ready.submit(1.0), Future[None])


async def serve() -> None:
    assert_type(await ages.pop.submit("ann", None), int | None)
    assert_type(await Auction().bid.submit(3), str)
'''

MISTAKES = '''
from syncstructs import Replicated, ReplDict, replicated

class Auction(Replicated):
    @replicated
    def bid(self, amount: int) -> None: ...

    @replicated(version=2)
    def close(self, at: int) -> None: ...

Auction().close("now")
Auction().bid.version("2")
ReplDict[str, int]().pop(3)
ReplDict[str, int]().pop.submit(3)
ReplDict[str, int]().set.submit("ann", "seven")
Auction().bid("much")
Auction().bid.submit("much")
'''


@pytest.fixture
def checked(tmp_path, tmp_path_factory):
    """Return what `mypy --strict` says of a program outside of this tree."""
    cache = tmp_path_factory.getbasetemp() / "mypy"  # Shared: the first check takes seconds.

    def check(program):
        (tmp_path / "program.py").write_text(program, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "program.py"],
            cwd=tmp_path,
            env=os.environ | {"MYPYPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=110,
        )
        return done.stdout + done.stderr

    return check


def test_a_users_program_has_the_types_that_it_expects(checked):
    said = checked(PROGRAM)
    assert said == "Success: no issues found in 1 source file\n", said


def test_wrong_arguments_of_a_call_and_of_submit_are_noticed(checked):
    said = checked(MISTAKES)
    wrong = MISTAKES.splitlines()[-7:]
    first = len(MISTAKES.splitlines()) - len(wrong) + 1
    for number, line in enumerate(wrong, first):
        assert f"program.py:{number}: error" in said, f"{line}\n{said}"


def test_an_editable_install_is_an_entry_of_the_path_so_that_type_checkers_follow_it(tmp_path):
    """By default it may be a finder instead, which finds modules only when they are imported."""
    pytest.importorskip("setuptools", "70.1", reason="older ones build no wheel alone")
    tree = tmp_path / "tree"
    (tree / "syncstructs").mkdir(parents=True)
    (tree / "syncstructs" / "__init__.py").touch()
    # More folders than one at the top are what makes the default a finder.
    (tree / "tests").mkdir()
    for name in ("setup.py", "setup.cfg", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree / name)
    build = (
        "from setuptools import build_meta;"
        f"build_meta.build_editable({str(tmp_path)!r})"
    )
    subprocess.run(
        [sys.executable, "-c", build], cwd=tree, check=True, capture_output=True, timeout=60
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        (entry,) = [name for name in opened.namelist() if name.endswith(".pth")]
        assert opened.read(entry).decode().strip() == str(tree)
